"""The words of ``cellspec sweep``: its points with the interval of one figure, in each format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cellspec.text import counted
from sim.experiments.intervals import Mean
from sim.experiments.sweep.derived import PointRuns, of_point
from sim.experiments.sweep.plan import LadderEnd
from sim.experiments.sweep.points import value_words
from sim.experiments.sweep.spec import SweepSpec
from sim.output.result_table import integers, printable, table
from sim.output.uncertain import known, percent
from sim.result_fields import csv_text

__all__ = ["render_points", "render_sweep"]


def render_sweep(
    name: str,
    spec: SweepSpec,
    points: Sequence[PointRuns],
    ends: Sequence[LadderEnd | None],
    *,
    figure: str,
    form: str,
) -> str:
    """The points of a sweep, with a figure of each.

    Args:
        name: of the scenario.
        spec: the sweep.
        points: with their runs.
        ends: of each ladder, where it ended.
        figure: which one.
        form: table, json or csv.
    """
    means = [point.mean(figure) for point in points]
    if form == "table":
        return _table(name, spec, points, means, ends, figure)
    lines = [
        {"point": one.point.number, "runs": len(one.good), "wanted": one.wanted}
        | {"error": one.error, "figure": figure}
        | {
            "mean": mean and mean.mean,
            "half_width": mean and mean.half_width,
            "sd": mean and mean.sd,
        }
        for one, mean in zip(points, means, strict=True)
    ]
    if form == "json":
        found: list[dict[str, Any]] = [
            line | {"fields": dict(one.point.fields)}
            for line, one in zip(lines, points, strict=True)
        ]
        data: dict[str, Any] = {"scenario": name, "points": found}
        if spec.ladder is not None:
            data["ladders"] = [_end_data(end) for end in ends]
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    fields = [f"field.{name}" for name in spec.fields]
    rows = [line | of_point(one.point) for line, one in zip(lines, points, strict=True)]
    return csv_text(["point", *fields, *(key for key in lines[0] if key != "point")], rows)


def render_points(spec: SweepSpec, points: Sequence[PointRuns], lacking: Mapping[str, int]) -> str:
    """The points of a sweep and how many runs each has and lacks, as ``--dry-run`` shows them.

    Args:
        spec: the sweep.
        points: with their runs.
        lacking: by digest, how many runs are to be made; points of one digest share them.
    """
    rest = dict(lacking)
    missing = [rest.pop(one.point.digest or "", 0) for one in points]
    lines = table(
        [
            *_point_columns(points, spec.fields),
            ("runs", integers([len(one.runs) for one in points])),
            ("missing", integers(missing)),
            ("", _notes(points, spec)),
        ],
        words=1 + len(spec.fields),
    )
    end = f"{counted(len(points), 'point')}, {counted(sum(missing), 'missing run')}"
    return "".join(f"{line.rstrip()}\n" for line in [*lines, "", end])


def _table(
    name: str,
    spec: SweepSpec,
    points: Sequence[PointRuns],
    means: Sequence[Mean | None],
    ends: Sequence[LadderEnd | None],
    figure: str,
) -> str:
    made = sum(len(one.runs) for one in points)
    wanted = sum(one.wanted for one in points)
    runs = counted(made, "run") if made == wanted else f"{made:,} of {counted(wanted, 'run')}"
    title = f"{printable(name)}: {counted(len(points), 'point')}, {runs}"
    shown = [_known(one) for one in means]
    lines = table(
        [
            *_point_columns(points, spec.fields),
            ("runs", [_runs(one) for one in points]),
            (printable(figure), [mean for mean, _, _ in shown]),
            ("± (95 %)", [half_width for _, half_width, _ in shown]),
            ("sd", [sd for _, _, sd in shown]),
            ("", _notes(points, spec)),
        ],
        words=1 + len(spec.fields),
    )
    parts = [title, "", *lines]
    if spec.ladder is not None:
        size = len(points) // max(len(ends), 1)
        parts.append("")
        for place, end in enumerate(ends):
            rungs = points[place * size : (place + 1) * size]
            parts.append(_ladder(spec, rungs, end))
    return "".join(f"{line.rstrip()}\n" for line in parts)


def _point_columns(
    points: Sequence[PointRuns], fields: Sequence[str]
) -> list[tuple[str, Sequence[str]]]:
    columns: list[tuple[str, Sequence[str]]] = [("point", [str(p.point.number) for p in points])]
    for name in fields:
        columns.append(
            (printable(name), [printable(value_words(p.point.fields[name])) for p in points])
        )
    return columns


def _known(mean: Mean | None) -> list[str]:
    """Mean, half-width and deviation of a point, with the digits that are known."""
    if mean is None:
        return ["–"] * 3
    return known([mean.mean, mean.half_width, mean.sd], mean.half_width)


def _runs(one: PointRuns) -> str:
    there = len(one.runs)
    return f"{there:,}" if there == one.wanted else f"{there:,} of {one.wanted:,}"


def _notes(points: Sequence[PointRuns], spec: SweepSpec) -> list[str]:
    """A remark on each point; all equally long, so that they stand at the left of their column."""
    notes = [_note(one, spec) for one in points]
    longest = max(map(len, notes))
    return [note.ljust(longest) for note in notes]


def _note(one: PointRuns, spec: SweepSpec) -> str:
    if one.error is not None:
        return f"cannot be run: {printable(one.error)}"
    if not one.reached:
        return "not reached"
    if spec.precision is None or not one.wanted or len(one.runs) < one.wanted:
        return ""
    figure = spec.precision.figure
    mean, wished = one.mean(figure), f"± {percent(spec.precision.half_width)} was wished"
    if mean is None or mean.relative is None:
        return f"{printable(figure)} has no interval in per cent; {wished}"
    if spec.stopping.is_met(mean):
        return ""
    return f"{printable(figure)} reached ± {percent(mean.relative)}; {wished}"


def _ladder(spec: SweepSpec, rungs: Sequence[PointRuns], end: LadderEnd | None) -> str:
    """Where a ladder ended, and how sure that is."""
    ladder = spec.ladder
    assert ladder is not None
    others = [
        f"{printable(name)}={printable(value_words(value))}"
        for name, value in rungs[0].point.fields.items()
        if name != ladder.field
    ]
    where = f"ladder of {printable(ladder.field)}" + (f" at {', '.join(others)}" if others else "")
    if end is None:
        return f"{where}: has not ended yet"
    place = next(i for i, one in enumerate(rungs) if one.point.number == end.point)
    last = value_words(rungs[place].point.fields[ladder.field])
    if end.why == "failed":
        return f"{where}: ends at {last}, which cannot be run or has no {printable(ladder.figure)}"
    least = percent(ladder.gain)
    if end.why == "top":
        if not place:
            return f"{where}: ends at {last}, its only rung: there is no step to judge"
        return f"{where}: ends at {last}, its last rung; no step gained less than {least}"
    assert end.gain is not None
    before = value_words(rungs[place - 1].point.fields[ladder.field])
    gain = f"{printable(ladder.figure)} gains {_share(end.gain)}"
    if end.half_width is None:
        sure = "not shown: one run has no interval"
    else:
        gain += f" ± {_share(end.half_width)}"
        sure = "shown" if end.shown else "not shown: the interval reaches above that"
    return f"{where}: ends at {last}: {gain} over {before}, less than {least} ({sure})"


def _share(share: float) -> str:
    # Without the dust that sums of equal figures leave.
    return percent(round(share, 9))


def _end_data(end: LadderEnd | None) -> dict[str, Any] | None:
    if end is None:
        return None
    return {
        "point": end.point,
        "why": end.why,
        "gain": end.gain,
        "half_width": end.half_width,
        "shown": end.shown,
    }
