"""The figures of a run as plain values: nested for JSON, and flat for one line of a sheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from sim.results import EndpointFigures, ResourceFigures, Result
from sim.results_together import CommonEndpoint, TogetherResult

__all__ = ["Scalar", "csv_cell", "csv_text", "flat", "plain"]

Scalar: TypeAlias = str | int | float | bool | None
"""One figure of a run."""


def plain(result: Result | TogetherResult) -> dict[str, Any]:
    """The figures as plain values; without endpoints it has none of their fields."""
    if isinstance(result, TogetherResult):
        return asdict(result) | {"pipelines": [plain(one) for one in result.pipelines]}
    found = asdict(result)
    if result.binding is None:
        for name in ("cost", "by_endpoint", "call_times", "bill", "binding"):
            del found[name]
    return found


def flat(result: Result | TogetherResult) -> dict[str, Scalar]:
    """By name, every single figure, and those of each resource and endpoint.

    Columns and incarnations are left out, because their number differs between runs. The names are
    the same for all runs with the same resources. Those of a resource begin with
    ``resource.NAME.``, those of an endpoint with ``endpoint.NAME.``, and those of a pipeline that
    ran beside others with ``pipeline.NAME.``.
    """
    found: dict[str, Scalar] = {
        key: value for key, value in plain(result).items() if not isinstance(value, tuple | list)
    }
    if isinstance(result, TogetherResult):
        found |= _of_parts("endpoint", result.common_endpoints)
        for one in result.pipelines:
            found |= {f"pipeline.{one.name}.{key}": value for key, value in flat(one).items()}
        return found
    found |= _of_parts("resource", result.by_resource)
    return found | _of_parts("endpoint", result.by_endpoint)


def _of_parts(
    kind: str, parts: Iterable[ResourceFigures | EndpointFigures | CommonEndpoint]
) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for part in parts:
        fields = asdict(part)
        name = fields.pop(kind)
        if name is not None:
            found |= {f"{kind}.{name}.{key}": value for key, value in fields.items()}
    return found


def csv_text(header: Sequence[str], lines: Iterable[Mapping[str, Scalar]]) -> str:
    """Lines as CSV; a column of the header that a line lacks is empty there."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for line in lines:
        writer.writerow([csv_cell(line.get(key)) for key in header])
    return text.getvalue()


def csv_cell(value: Scalar) -> str | int | float:
    """A value as CSV holds it: nothing for None, and true or false as in JSON."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value
