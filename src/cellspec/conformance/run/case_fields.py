"""The fields of a case file: the type of each, and a message for a field that cannot be used.

The models are strict: a file that a stranger sent is never read as something near it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cellspec.errors import SpecError
from cellspec.graph.graph import BarrierScope
from cellspec.machine.machine import Failure

__all__ = ["read_fields"]


def read_fields(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of a case file as plain data, each checked, with the default of those left out.

    Args:
        data: the file's JSON object.
        source: where it came from; messages begin with it.

    Raises:
        SpecError: a field that is missing, unknown or cannot be used.
    """
    try:
        return _CaseFile.model_validate(data).model_dump()
    except ValidationError as error:
        raise SpecError(f"{source}: {_first_error(error)}") from None


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


_Many = Field(strict=False)
"""JSON has lists only; a field that is a tuple takes one."""

_Trait = Literal["START", "CELL_BY_CELL", "ROW_STREAMABLE", "BARRIER", "BATCH_BARRIER", "ORDERED"]


class _ColumnFile(_Strict):
    name: str
    traits: list[_Trait] = []
    needs: list[str] = []
    side_effects: list[str] = []
    may_skip: bool = False
    propagate_skip: bool = True


class _LimitsFile(_Strict):
    workers: int | None = None
    resources: dict[str, int] = {}
    column_resource: dict[str, str] = {}
    group_rows: int | None = None
    groups: int | None = None


class _PolicyFile(_Strict):
    max_attempts: int = 1
    stop_window: int | None = None
    stop_rate: float = 1.0


class _FaultFile(_Strict):
    column: str
    position: int
    call: int = 1
    failure: Failure = "retryable"
    cool_down_s: float = 0.0


class _EndFile(_Strict):
    life: int
    column: str
    position: int
    call: int
    t: float


class _CaseFile(_Strict):
    case: Literal[1]
    columns: list[_ColumnFile]
    rows: int
    batch_size: int | None = None
    barrier_scope: BarrierScope = "declared"
    seed: int = 0
    limits: _LimitsFile = _LimitsFile()
    failures: _PolicyFile = _PolicyFile()
    latency_s: dict[str, float] = {}
    faults: list[_FaultFile] = []
    skips: list[Annotated[tuple[str, int], _Many]] = []
    checkpoint_every_rows: int | None = None
    checkpoint_version: Literal[1, 2] = 1
    crashes: list[int] = []
    targets: list[int] = []
    order_seed: int = 0
    keep: bool = False
    ends: list[_EndFile] = []


def _first_error(error: ValidationError) -> str:
    found = error.errors(include_url=False)
    first = found[0]
    path = _path(first["loc"])
    if first["type"] == "missing":
        text = "is missing"
    elif first["type"] == "extra_forbidden":
        text = "is no field of a case file"
    else:
        shown = repr(first["input"])
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        text = f"{first['msg'][:1].lower()}{first['msg'][1:]}, got {shown}"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{path}: {text}{more}"


def _path(parts: Iterable[int | str]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
