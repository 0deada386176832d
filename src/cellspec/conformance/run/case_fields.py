"""The fields of a case file: the type of each, and a message for a field that cannot be used.

The models are strict: a file that a stranger sent is never read as something near it. Those of a
column, the limits and the rules for failures are made from `cellspec.shapes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args, get_origin

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from cellspec.errors import SpecError
from cellspec.shapes import Column, FailureKind, FailureRules, RunLimits, Scope

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


def _as_list(kind: Any) -> Any:
    """The type of a shape's field in JSON, without its bounds; JSON has lists for tuples."""
    if get_origin(kind) is Annotated:
        return _as_list(get_args(kind)[0])
    if get_origin(kind) is tuple:
        return list[_as_list(get_args(kind)[0])]  # type: ignore[misc]  # a type that is worked out
    return kind


def _strict(shape: type[msgspec.Struct]) -> Any:
    """The strict model of a shape, with its fields and defaults; `Workload` checks the bounds."""
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(shape):
        default = field.default
        if default is msgspec.NODEFAULT:
            default = ... if field.required else Field(default_factory=field.default_factory)
        elif isinstance(default, tuple):
            default = list(default)
        fields[field.name] = (_as_list(field.type), default)
    return create_model(shape.__name__, __base__=_Strict, **fields)


if TYPE_CHECKING:
    _ColumnFile: TypeAlias = BaseModel
    _LimitsFile: TypeAlias = BaseModel
    _PolicyFile: TypeAlias = BaseModel
else:
    _ColumnFile, _LimitsFile = map(_strict, (Column, RunLimits))

    class _PolicyFile(_strict(FailureRules)):
        timeout_s: float | None = None


class _FaultFile(_Strict):
    column: str
    position: int
    call: int = 1
    failure: FailureKind = "retryable"
    cool_down_s: float | None = 0.0
    answers: Literal["", "short", "long"] = ""
    raises: str = ""


class _EndFile(_Strict):
    life: int
    column: str
    position: int
    call: int
    t: float


class _StorageFaultFile(_Strict):
    write: Literal["data", "claim"]
    number: int = 1
    lands: bool = False
    lasts: bool = False


class _CaseFile(_Strict):
    case: Literal[1]
    columns: list[_ColumnFile]
    rows: int
    batch_size: int | None = None
    barrier_scope: Scope = "declared"
    seed: int = 0
    limits: _LimitsFile = _LimitsFile()
    failures: _PolicyFile = _PolicyFile()
    latency_s: dict[str, float] = {}
    faults: list[_FaultFile] = []
    skips: list[Annotated[tuple[str, int], _Many]] = []
    foreign: Literal["permanent", "retryable"] = "permanent"
    rejects: list[Annotated[tuple[str, int], _Many]] = []
    killers: list[Annotated[tuple[str, int], _Many]] = []
    checkpoint_every_rows: int | None = None
    checkpoint_version: Literal[1, 2, 3] = 1
    crashes: list[int] = []
    targets: list[int] = []
    order_seed: int = 0
    keep: bool = False
    ends: list[_EndFile] = []
    versions: dict[str, str] = {}
    texts: dict[str, Literal["", "empty", "null", "number", "lines", "long", "same"]] = {}
    visits: list[Literal["", "config", "batch_size", "pipeline"]] = []
    stop_at: list[int] = []
    stop_twice: bool = False
    storage_s: float = 0.0
    storage_faults: list[_StorageFaultFile] = []
    worker_losses: list[int] = []
    torn: list[int] = []
    row_ids: Literal["", "shuffled", "gappy", "text", "digits"] = ""


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
