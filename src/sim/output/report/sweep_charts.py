"""The charts of a sweep: those that its fields and figures support.

===============================  ==================================================================
chart                            is there if
===============================  ==================================================================
throughput by concurrency        a limit of workers or of a resource takes several values
makespan by a field              any other number takes several values, as a checkpoint interval
makespan against cost            calls cost something, and there are several points
differences from the best        several points have runs with the same seeds
===============================  ==================================================================

Where other fields vary too, the points that agree in them are a series. A field of which each value
goes with other values of the rest, as in a random sweep, gives dots without lines.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cellspec.text import counted
from sim.experiments.intervals import Difference, paired
from sim.experiments.operational import Asymptotes, Measured, asymptotes, pareto_front
from sim.output.report.charts import (
    MOST_SERIES,
    Band,
    Chart,
    Dots,
    Layer,
    Level,
    Line,
    Marks,
)
from sim.output.report.scale import (
    ROOM,
    ROOM_BESIDE_WORDS,
    Axis,
    lanes,
    linear,
    logarithmic,
    number,
    of_values,
)
from sim.output.report.sweep_folder import SweepPoint, SweepTables, is_number
from sim.output.result_table import printable

__all__ = ["MAKESPAN", "Against", "against_best", "best_point", "charts_of_sweep"]

MAKESPAN, RATE, COST = "makespan_s", "rows_per_s", "cost"

_CONCURRENCY = re.compile(r"limits\.(workers|resources\..+)")

_MOST_DIFFERENCES = 30
"""At most so many points are drawn beside the best one."""

_LEAST_ON_A_LINE = 3
"""Points that a line takes, where a field has so many values."""

_WIDE = 20
"""An axis is logarithmic where its largest mean is so many times the least."""

_SMOOTH = 48
"""Points of a curved bound."""


@dataclass(frozen=True, slots=True)
class Against:
    """The makespan of a point less that of the best, over the seeds that both have."""

    point: SweepPoint
    difference: Difference


def charts_of_sweep(sweep: SweepTables, against: Sequence[Against]) -> list[Chart]:
    """Every chart that the sweep supports.

    Args:
        sweep: as read.
        against: as `against_best` gives it.
    """
    charts = []
    for place, name in enumerate(sweep.fields):
        values = sweep.varied(name)
        if len(values) < 2 or not all(map(is_number, values)):
            continue
        if _CONCURRENCY.fullmatch(name) and _has(sweep, RATE):
            charts.append(_throughput(f"throughput-{place + 1}", sweep, name))
        if _has(sweep, MAKESPAN):
            charts.append(_makespan(f"makespan-{place + 1}", sweep, name))
    costs = {point.figures[COST].value for point in sweep.good if COST in point.figures}
    if costs and costs != {0.0} and len(sweep.good) > 1 and _has(sweep, MAKESPAN):
        charts.append(_pareto(sweep))
    if against:
        charts.append(_differences(sweep, against))
    return charts


def _has(sweep: SweepTables, figure: str) -> bool:
    return sum(figure in point.figures for point in sweep.points) > 1


# Series


def _series(sweep: SweepTables, field: str, figure: str) -> list[tuple[str, list[SweepPoint]]]:
    """Points that agree in all other fields, by the value of one; the words of what they agree in.

    Empty if most points do not.
    """
    found: dict[str, list[SweepPoint]] = {}
    for point in sweep.good:
        if figure in point.figures and is_number(point.fields[field]):
            found.setdefault(point.words(without=field), []).append(point)
    ordered = [
        (words, sorted(points, key=lambda point: float(point.fields[field])))
        for words, points in found.items()
    ]
    least = min(_LEAST_ON_A_LINE, len(sweep.varied(field)))
    lines = [(words, points) for words, points in ordered if len(points) >= least]
    # Of random points a few agree by chance; a line through them would hide the others.
    return lines if 2 * sum(len(points) for _, points in lines) > len(sweep.good) else []


def _drawn(sweep: SweepTables, field: str, figure: str) -> tuple[list[Layer], list[str]]:
    """Bands, lines and dots of a figure by a field; and notes."""
    series = _series(sweep, field, figure)
    layers: list[Layer] = []
    for colour, (words, points) in enumerate(series[:MOST_SERIES]):
        name = printable(words) or "mean, with its interval"
        at = [(float(point.fields[field]), point.figures[figure]) for point in points]
        band = tuple((x, cell.value - cell.half, cell.value + cell.half) for x, cell in at)
        line = tuple((x, cell.value) for x, cell in at)
        layers += [Band(band, "", colour), Line(line, name, colour)]
        layers.append(_dots(points, field, figure, name, colour))
    if not series:
        some = [point for point in sweep.good if figure in point.figures]
        layers.append(_dots(some, field, figure, "a point, with its interval", 0))
        return layers, ["Each dot is a point of the sweep; the other fields vary too."]
    more = len(series) - MOST_SERIES
    further = f"{counted(more, 'further series')} in the table." if more > 0 else ""
    return layers, [further] * bool(further)


def _dots(points: Sequence[SweepPoint], field: str, figure: str, name: str, colour: int) -> Dots:
    places, titles = [], []
    for point in points:
        cell = point.figures[figure]
        at = float(point.fields[field])
        places.append((at, cell.value, cell.value - cell.half, cell.value + cell.half))
        titles.append(f"{_named(point)}: {figure} {cell.mean} ± {cell.half_width or '?'}")
    return Dots(tuple(places), name, colour, tuple(titles))


def _named(point: SweepPoint) -> str:
    return printable(f"point {point.number} ({point.words()})")


def _ends(sweep: SweepTables, figure: str) -> Iterator[float]:
    """The ends of every interval of a figure, which is never below 0."""
    for point in sweep.good:
        if figure in point.figures:
            cell = point.figures[figure]
            yield max(0.0, cell.value - cell.half)
            yield cell.value + cell.half


def _axis(
    label: str, values: Sequence[float], ends: Sequence[float], room: int | None = None
) -> Axis:
    """The axis of a figure: logarithmic where its means are of several magnitudes."""
    if min(values) > 0 and max(values) >= _WIDE * min(values):
        around = [end for end in ends if end >= min(values) / 2]
        return logarithmic(label, [min(values) / 1.25, 1.25 * max(values), *around], room=room)
    return linear(label, ends, zero=min(ends) < 0.5 * max(ends), room=room)


def _means(sweep: SweepTables, figure: str) -> list[float]:
    return [one.figures[figure].value for one in sweep.good if figure in one.figures]


def _interval_words(sweep: SweepTables) -> str:
    runs = {point.runs for point in sweep.good}
    each = counted(min(runs), "run")
    size = f"{each} a point" if len(runs) == 1 else f"{min(runs):,} to {max(runs):,} runs a point"
    return f"Means over {size}, each with its interval at 95 %."


# Throughput by concurrency


def _throughput(key: str, sweep: SweepTables, field: str) -> Chart:
    """Throughput by a limit, its two bounds, and their knee."""
    layers, notes = _drawn(sweep, field, RATE)
    x = of_values(f"{field}, calls at once", [float(value) for value in sweep.varied(field)])
    y = linear("throughput, rows/s", _ends(sweep, RATE))
    bounds = _bounds(sweep, field)
    for place, (words, found) in enumerate(bounds):
        notes.append(_bound_words(words, found))
        # The bounds of one series are drawn; of several they would hide each other.
        if place == 0 and len(bounds) == 1 and found.holds:
            layers[:0] = _bound_lines(found, x, y)
    return Chart(
        key,
        f"Throughput by {printable(field)}",
        f"Delivered rows per second by {printable(field)}. {_interval_words(sweep)}",
        x,
        y,
        tuple(layers),
        notes=(
            _interval_words(sweep),
            *notes,
            *(["Bounds after Denning and Buzen, 1978: N calls at once do at most N · X₁, X₁ being "
               "what one does, and never more than Xmax; the knee is where they cross."]
              if bounds else []),
        ),
    )  # fmt: skip


def _bounds(sweep: SweepTables, field: str) -> list[tuple[str, Asymptotes]]:
    found = []
    for words, points in _series(sweep, field, RATE)[:MOST_SERIES]:
        measured = [
            Measured(float(point.fields[field]), cell.value, cell.half)
            for point in points
            if float(point.fields[field]) > 0
            for cell in (point.figures[RATE],)
        ]
        bound = asymptotes(measured)
        if bound is not None:
            found.append((words, bound))
    return found


def _bound_words(words: str, found: Asymptotes) -> str:
    where = f"{printable(words)}: " if words else ""
    each = f"X₁ = {found.each:.4g} rows/s"
    if found.fewest != 1:
        each += f" (by {found.fewest:g} calls at once, the fewest)"
    if not found.holds:
        return (
            f"{where}{each}; N calls at once are shown to do more than N times as much, as where a "
            "longer run loses more to crashes: the bound does not hold, and there is no knee."
        )
    if not found.is_saturated:
        return (
            f"{where}{each}; throughput still grows at {found.most:.4g} rows/s, the most that was "
            "seen: the knee lies further on."
        )
    most = f"{each}, Xmax = {found.most:.4g} rows/s"
    if found.is_knee_below:
        return f"{where}{most}: the knee lies at {found.fewest:g} calls at once, or below."
    return f"{where}{most}, knee at {found.knee:.3g} calls at once."


def _bound_lines(found: Asymptotes, x: Axis, y: Axis) -> list[Layer]:
    """Both bounds, as far as they lie inside the chart, and the knee."""
    top = min(x.high, y.high / found.each)
    low = max(x.low, top * 1e-6)
    if top > low:
        steps = [low + (top - low) * k / _SMOOTH for k in range(_SMOOTH + 1)]
        if x.is_log:
            ratio = math.log(top / low)
            steps = [low * math.exp(ratio * k / _SMOOTH) for k in range(_SMOOTH + 1)]
        rising = tuple((at, at * found.each) for at in steps)
        lines: list[Layer] = [Line(rising, "N · X₁", "quiet", dashed=True)]
    else:
        lines = []
    name = "Xmax" if found.is_saturated else "the most seen"
    lines.append(Level(found.most, name, "limit"))
    if found.is_saturated and not found.is_knee_below and x.low <= found.knee <= x.high:
        lines.append(Marks((found.knee,), "knee", "checkpoint"))
    return lines


# Makespan


def _makespan(key: str, sweep: SweepTables, field: str) -> Chart:
    layers, notes = _drawn(sweep, field, MAKESPAN)
    unit = ", s" if field.endswith("_s") else ", rows" if field.endswith("_rows") else ""
    return Chart(
        key,
        f"Makespan by {printable(field)}",
        f"Makespan by {printable(field)}. {_interval_words(sweep)}",
        of_values(f"{field}{unit}", [float(value) for value in sweep.varied(field)]),
        _axis("makespan, s", _means(sweep, MAKESPAN), list(_ends(sweep, MAKESPAN))),
        tuple(layers),
        notes=(_interval_words(sweep), *notes),
    )


def _pareto(sweep: SweepTables) -> Chart:
    """Makespan against cost; those points that no other beats in both are joined."""
    points = [point for point in sweep.good if {COST, MAKESPAN} <= set(point.figures)]
    places = [(point.figures[COST].value, point.figures[MAKESPAN].value) for point in points]
    front = pareto_front(places)
    on = [points[place] for place in front]
    rest = [point for place, point in enumerate(points) if place not in set(front)]
    corners = tuple(places[place] for place in front)
    layers: list[Layer] = [Line(corners, "front", 0, stepped=True)]
    for some, name, colour in ((rest, "beaten by one of these", "quiet"), (on, "on the front", 0)):
        if some:
            titles = tuple(
                f"{_named(point)}: {COST} {point.figures[COST].mean}, "
                f"{MAKESPAN} {point.figures[MAKESPAN].mean}"
                for point in some
            )
            dots = tuple(
                (
                    point.figures[COST].value,
                    cell.value,
                    cell.value - cell.half,
                    cell.value + cell.half,
                )
                for point in some
                for cell in (point.figures[MAKESPAN],)
            )
            layers.append(Dots(dots, name, colour, titles))
    listed = "; ".join(_named(point) for point in on[:6])
    return Chart(
        "pareto",
        "Makespan against cost",
        "Makespan and cost of each point. No point is cheaper than one on the front and as fast.",
        _axis("cost, money of the scenario", _means(sweep, COST), _means(sweep, COST), ROOM),
        _axis("makespan, s", _means(sweep, MAKESPAN), list(_ends(sweep, MAKESPAN))),
        tuple(layers),
        notes=(
            f"On the front, from the cheapest on: {listed}{'; …' if len(on) > 6 else ''}.",
            "By means: points whose intervals overlap may change places.",
        ),
    )


# Differences


def best_point(sweep: SweepTables) -> SweepPoint | None:
    """The point of the least mean makespan, of several the first; None without figures."""
    some = [point for point in sweep.good if MAKESPAN in point.figures and not point.error]
    return min(some, key=lambda point: point.figures[MAKESPAN].value, default=None)


def against_best(sweep: SweepTables) -> list[Against]:
    """The differences of all points from the best one, seed by seed; the nearest first.

    Points that have fewer than two seeds in common with it are left out.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    best = best_point(sweep)
    if best is None:
        return []
    found = []
    for point in sweep.good:
        seeds = [
            seed
            for seed in sorted(set(point.by_seed) & set(best.by_seed))
            if MAKESPAN in point.by_seed[seed] and MAKESPAN in best.by_seed[seed]
        ]
        if point is not best and len(seeds) > 1:
            ours = [best.by_seed[seed][MAKESPAN] for seed in seeds]
            theirs = [point.by_seed[seed][MAKESPAN] for seed in seeds]
            found.append(Against(point, paired(ours, theirs)))
    return sorted(found, key=lambda one: (one.difference.difference.mean, one.point.number))


def _lane(point: SweepPoint) -> str:
    """The number of a point, and its values, which a chart cuts off where they are long."""
    return printable(f"{point.number}: {', '.join(point.fields.values())}")


def _differences(sweep: SweepTables, against: Sequence[Against]) -> Chart:
    best = best_point(sweep)
    assert best is not None
    some = against[:_MOST_DIFFERENCES]
    layers: list[Layer] = [Marks((0.0,), f"point {best.number}, the best", "limit")]
    for name, shown, colour in (("shown", True, 1), ("no difference shown", False, "quiet")):
        dots, titles = [], []
        for lane, one in enumerate(some):
            found = one.difference.difference
            if one.difference.is_shown is shown:
                half = found.half_width or 0.0
                at = found.mean
                dots.append((at, lane + 0.5, at - half, at + half))
                titles.append(f"{_named(one.point)}: {number(at)} ± {number(half)} s")
        if dots:
            layers.append(Dots(tuple(dots), name, colour, tuple(titles), across=True))
    ends = [
        end for layer in layers if isinstance(layer, Dots) for p in layer.points for end in p[2:]
    ]
    notes = [
        f"Makespan less that of {_named(best)}, run by run on the same seeds, with intervals at "
        "95 %; each holds by itself. The best of many points was chosen by these same runs.",
    ]
    if len(against) > len(some):
        notes.append(f"The nearest {len(some)} of {counted(len(against), 'point')}.")
    return Chart(
        "differences",
        "Paired differences from the best point",
        f"How much longer the runs of other points take than those of point {best.number}.",
        linear("makespan more than the best, s", ends, room=ROOM_BESIDE_WORDS),
        lanes([_lane(one.point) for one in some], "point: values of its fields"),
        tuple(layers),
        notes=tuple(notes),
        down=True,
        height=94 + 24 * len(some),
    )
