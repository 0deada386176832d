"""What is worked out of the runs of a sweep: each point's figures, and the files for spreadsheets.

All of it is a function of the sweep and of the set of its runs. Whatever the order in which they
were made, and by how many processes, the files have the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellspec.errors import MissingExtraError
from sim.experiments.intervals import Mean, mean_of
from sim.experiments.sweep.plan import LadderEnd, Run, Runs, climb, units, values_of, wishes
from sim.experiments.sweep.points import Point
from sim.experiments.sweep.spec import SweepSpec
from sim.result_fields import csv_cell, csv_text

__all__ = [
    "DERIVED",
    "PointRuns",
    "derived_files",
    "field_cell",
    "ladder_ends",
    "of_point",
    "parquet_bytes",
    "point_runs",
]

DERIVED = ("runs.csv", "summary.csv", "runs.parquet", "summary.parquet")
"""The names of the files that `derived_files` makes."""

_NO_FIGURES = {"seed"}
"""Numbers of a run that are no figures of it."""


@dataclass(frozen=True, slots=True)
class PointRuns:
    """A point, and those of its runs that the sweep wants.

    Attributes:
        point: the point.
        wanted: how many runs there are to be, as far as is known; 0 for a point that cannot be
            run, or that a ladder has not come to.
        runs: those that are there, by seed.
        reached: whether a ladder has come to it; it has to a point without a ladder.
    """

    point: Point
    wanted: int
    runs: Mapping[int, Run]
    reached: bool = True

    @property
    def good(self) -> Mapping[int, Run]:
        """The runs that did not fail."""
        return {seed: run for seed, run in self.runs.items() if run.error is None}

    @property
    def error(self) -> str | None:
        """Why the point, or its first run that failed, cannot be run; None if all is well.

        It is well too with a rung that its ladder does not reach.
        """
        if not self.reached:
            return None
        if self.point.error is not None:
            return self.point.error
        failed = ((seed, run) for seed, run in self.runs.items() if run.error is not None)
        return next((f"seed {seed}: {run.error}" for seed, run in failed), None)

    @property
    def violated(self) -> bool:
        """Whether a run broke a clause."""
        return any(run.violated for run in self.runs.values())

    def mean(self, figure: str) -> Mean | None:
        """A figure with its interval; None if a run failed, or has no such figure.

        Raises:
            MissingExtraError: scipy is not installed.
        """
        values = values_of(self.runs, self.wanted, figure)
        return None if values is None else mean_of(values)


def point_runs(spec: SweepSpec, points: Sequence[Point], runs: Runs) -> list[PointRuns]:
    """Every point, with those of its runs that the sweep wants."""
    found = []
    for unit in units(spec, points):
        for wish in wishes(spec, unit, runs):
            there = runs.get(wish.point.digest or "", {})
            kept = {seed: there[seed] for seed in range(wish.size) if seed in there}
            found.append(PointRuns(wish.point, wish.size, kept, wish.reached))
    return found


def ladder_ends(spec: SweepSpec, points: Sequence[Point], runs: Runs) -> list[LadderEnd | None]:
    """Where each ladder ended; None for one that has not ended yet. Empty without ladders."""
    if spec.ladder is None:
        return []
    return [climb(spec, spec.ladder, unit, runs)[1] for unit in units(spec, points)]


def derived_files(
    spec: SweepSpec, points: Sequence[PointRuns], *, parquet: bool = False
) -> dict[str, str | bytes]:
    """The files that are worked out of the runs, by name.

    Args:
        spec: the sweep.
        points: as `point_runs` gives them.
        parquet: the same tables as Parquet files too.

    Raises:
        MissingExtraError: scipy is not installed; or pyarrow, for Parquet.
    """
    tables = {"runs": list(_run_lines(points)), "summary": list(_summary(points))}
    heads = {
        "runs": [*_head(spec), "seed", "error"],
        "summary": [*_head(spec), "runs", "error", "figure", "mean", "half_width", "sd"],
    }
    found: dict[str, str | bytes] = {}
    for name, lines in tables.items():
        header = list(dict.fromkeys([*heads[name], *(key for line in lines for key in line)]))
        found[f"{name}.csv"] = csv_text(header, lines)
        if parquet:
            found[f"{name}.parquet"] = parquet_bytes(header, lines)
    return found


def _head(spec: SweepSpec) -> list[str]:
    return ["point", *(f"field.{name}" for name in spec.fields)]


def of_point(point: Point) -> dict[str, Any]:
    """The cells of a table that say which point a line is about."""
    fields = {f"field.{name}": field_cell(value) for name, value in point.fields.items()}
    return {"point": point.number} | fields


def field_cell(value: Any) -> Any:
    """A value of a field as it stands in a table: text for what is no single value."""
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def _run_lines(points: Iterable[PointRuns]) -> Iterator[dict[str, Any]]:
    """A line for each run, and one for each point that cannot be run."""
    for one in points:
        line = of_point(one.point)
        if one.point.error is not None and one.reached:
            yield line | {"error": one.point.error}
        for seed, run in one.runs.items():
            yield line | {"seed": seed, "error": run.error} | dict(run.figures)


def _summary(points: Iterable[PointRuns]) -> Iterator[dict[str, Any]]:
    """A line for each figure of each point; a point with an error has one that says so."""
    for one in points:
        line = of_point(one.point) | {"runs": len(one.good)}
        if one.error is not None:
            yield line | {"error": one.error}
            continue
        names = dict.fromkeys(name for run in one.runs.values() for name in run.figures)
        for name in names:
            mean = None if name in _NO_FIGURES else one.mean(name)
            if mean is not None:
                numbers = {"mean": mean.mean, "half_width": mean.half_width, "sd": mean.sd}
                yield line | {"figure": name} | numbers


def parquet_bytes(header: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> bytes:
    """Lines as a Parquet file.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet as files
    except ImportError:
        raise MissingExtraError("a Parquet file", "parquet") from None
    columns = {}
    for key in header:
        cells = [line.get(key) for line in lines]
        kinds = {type(cell) for cell in cells if cell is not None}
        if not (len(kinds) < 2 or kinds <= {int, float}):
            # One column has one type: what a CSV file would hold.
            cells = [None if cell is None else str(csv_cell(cell)) for cell in cells]
        columns[key] = pa.array(cells)
    sink: Any = pa.BufferOutputStream()
    write: Any = files.write_table
    write(pa.table(columns), sink)
    return bytes(sink.getvalue())
