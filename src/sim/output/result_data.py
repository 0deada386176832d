"""The result of a run for programs: one JSON object, or a line of CSV for a sheet of many runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sim.results import Result

__all__ = ["csv_of", "plain", "render_csv", "render_json"]


def render_json(result: Result) -> str:
    """The result as one JSON object, indented, keys always in the same order."""
    return json.dumps(plain(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(result: Result) -> dict[str, Any]:
    """The result as plain values; where calls take their latency it has no field of endpoints."""
    found = asdict(result)
    if result.binding is None:
        for name in ("cost", "by_endpoint", "call_times", "bill", "binding"):
            del found[name]
    return found


def render_csv(result: Result) -> str:
    """A header and one line: every single figure, and those of each resource and endpoint.

    Columns and incarnations are left out, because their number differs between runs. The header
    is the same for all runs with the same resources.
    """
    return csv_of([result])


def csv_of(results: Sequence[Result]) -> str:
    """The same of several runs, a line for each; a figure that one has not is empty there."""
    lines = [_flat(result) for result in results]
    header = list(dict.fromkeys(key for line in lines for key in line))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for line in lines:
        writer.writerow("" if line.get(key) is None else line[key] for key in header)
    return text.getvalue()


def _flat(result: Result) -> dict[str, Any]:
    """By name, every single figure."""
    flat: dict[str, Any] = {
        key: value for key, value in plain(result).items() if not isinstance(value, tuple | list)
    }
    flat["checked"] = str(result.checked).lower()
    for item in result.by_resource:
        for key, value in asdict(item).items():
            if key != "resource" and item.resource is not None:
                flat[f"resource.{item.resource}.{key}"] = value
    for endpoint in result.by_endpoint:
        for key, value in asdict(endpoint).items():
            if key != "endpoint":
                flat[f"endpoint.{endpoint.endpoint}.{key}"] = value
    return flat
