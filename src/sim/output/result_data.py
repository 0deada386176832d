"""The result of a run for programs: one JSON object, or a line of CSV for a sheet of many runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sim.result_fields import Scalar, csv_text, flat, plain
from sim.results import Result

__all__ = ["csv_lines", "csv_of", "render_csv", "render_json"]


def render_json(result: Result) -> str:
    """The result as one JSON object, indented, keys always in the same order."""
    return json.dumps(plain(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def render_csv(result: Result) -> str:
    """A header and one line: every single figure, and those of each resource and endpoint.

    Columns and incarnations are left out, because their number differs between runs. The header
    is the same for all runs with the same resources.
    """
    return csv_of([result])


def csv_of(results: Sequence[Result]) -> str:
    """The same of several runs, a line for each; a figure that one has not is empty there."""
    return csv_lines([flat(one) for one in results])


def csv_lines(lines: Sequence[Mapping[str, Scalar]]) -> str:
    """A header and lines of a sheet.

    Args:
        lines: by column, the values of each; one that is missing or None is empty there.
    """
    return csv_text(list(dict.fromkeys(key for line in lines for key in line)), lines)
