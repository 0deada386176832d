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

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from cellspec.text import counted
from sim.experiments.intervals import Difference, paired
from sim.experiments.operational import pareto_front
from sim.output.report.charts import (
    MOST_SERIES,
    Band,
    Chart,
    Dots,
    Layer,
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
    measured,
    number,
    of_values,
    symmetric,
)
from sim.output.report.sweep_bounds import bound_layers, bounds_of
from sim.output.report.sweep_folder import SweepPoint, SweepTables, is_number
from sim.output.result_table import printable

__all__ = [
    "MAKESPAN",
    "Against",
    "against_best",
    "best_point",
    "charts_of_sweep",
    "verdict",
    "verdict_words",
]

MAKESPAN, RATE, COST = "makespan_s", "rows_per_s", "cost"

_CONCURRENCY = re.compile(r"limits\.(workers|resources\..+)")

_MOST_DIFFERENCES = 30
"""At most so many points are drawn beside the best one."""

_UNITS = {
    "_in_flight": "calls at once",
    "max_concurrent": "calls at once",
    "_per_s": "tokens per second",
    "_per_minute": "requests per minute",
    "_s": "s",
    "rows": "rows",
    "tokens": "tokens",
    "batch_size": "rows",
    "_per_million": "money per million tokens",
    "_share": "share",
    "_rate": "share",
    "_rates": "share",
}
"""By the end of a field's name, the unit of its values."""

_LONGEST_NAME = 36
"""Letters of a field's name along an axis; of a longer one its end."""

_MEAN = "mean, with its interval"

_LEAST_ON_A_LINE = 3
"""Points that a line takes, where a field has so many values."""

_WIDE = 20
"""An axis is logarithmic where its largest value is so many times the least."""

_FAR = 4
"""It also is where it is so many times the least, and the lower half lies close together."""

_CLOSE = 0.1
"""Half of the values are close together if they take this share of an axis."""


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
    drawn = _best_series(series, figure)
    layers: list[Layer] = []
    for colour, (words, points) in enumerate(drawn):
        name = printable(words) or ("a single run" if _runs(sweep) == {1} else _MEAN)
        at = [(float(point.fields[field]), point.figures[figure]) for point in points]
        band = tuple((x, cell.value - cell.half, cell.value + cell.half) for x, cell in at)
        line = tuple((x, cell.value) for x, cell in at)
        layers += [Band(band, "", colour), Line(line, "", colour)]
        layers.append(_dots(points, field, figure, name, colour))
    if not series:
        some = [point for point in sweep.good if figure in point.figures]
        name = "a point" if _runs(sweep) == {1} else "a point, with its interval"
        layers.append(_dots(some, field, figure, name, 0))
        return layers, ["Each dot is a point of the sweep; the other fields vary too."]
    if len(series) == len(drawn):
        return layers, []
    return layers, [f"The {len(drawn)} best of {len(series):,} series; the rest is in the table."]


def _best_series(
    series: list[tuple[str, list[SweepPoint]]], figure: str
) -> list[tuple[str, list[SweepPoint]]]:
    """As many series as can be told apart, those with the best means, in their order."""

    def best(place: int) -> tuple[float, int]:
        means = [point.figures[figure].value for point in series[place][1]]
        return (-max(means) if figure == RATE else min(means), place)

    kept = sorted(sorted(range(len(series)), key=best)[:MOST_SERIES])
    return [series[place] for place in kept]


def _dots(points: Sequence[SweepPoint], field: str, figure: str, name: str, colour: int) -> Dots:
    places, titles = [], []
    for point in points:
        cell = point.figures[figure]
        at = float(point.fields[field])
        places.append((at, cell.value, cell.value - cell.half, cell.value + cell.half))
        half = f" ± {cell.half_width}" if cell.half_width else ", one run"
        titles.append(f"{_named(point)}: {figure} {cell.mean}{half}")
    return Dots(tuple(places), name, colour, tuple(titles), shape=colour)


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
    """The axis of a figure: logarithmic where a linear one would not tell its means apart."""
    if min(values) > 0 and _is_wide(values):
        around = [end for end in ends if end >= min(values) / 2]
        return logarithmic(label, [min(values) / 1.25, 1.25 * max(values), *around], room=room)
    return linear(label, ends, zero=min(ends) < 0.5 * max(ends), room=room)


def _is_wide(values: Sequence[float]) -> bool:
    """Whether values above 0 are of several magnitudes, or a few far ones press the rest."""
    low, high = min(values), max(values)
    close = median(values) - low < _CLOSE * (high - low)
    return high >= _WIDE * low or (high >= _FAR * low and close)


def _axis_of_differences(label: str, ends: Sequence[float], shown: Sequence[float]) -> Axis:
    """The axis of differences: logarithmic beyond the least that is shown, if others are far.

    Args:
        label: what it shows, and the unit.
        ends: of all intervals.
        shown: the sizes of those differences that are shown, above 0.
    """
    if shown and _is_wide([*shown, max(map(abs, ends))]):
        return symmetric(label, ends, min(shown), room=ROOM_BESIDE_WORDS)
    return linear(label, ends, room=ROOM_BESIDE_WORDS)


def _means(sweep: SweepTables, figure: str) -> list[float]:
    return [one.figures[figure].value for one in sweep.good if figure in one.figures]


def _interval_words(sweep: SweepTables) -> str:
    runs = _runs(sweep)
    if runs == {1}:
        return "One run a point, which is one draw: nothing says how sure these figures are."
    each = counted(min(runs), "run")
    size = f"{each} a point" if len(runs) == 1 else f"{min(runs):,} to {max(runs):,} runs a point"
    single = "; a single run has none" if 1 in runs else ""
    return f"Means over {size}, each with its interval at 95 %{single}."


def _runs(sweep: SweepTables) -> set[int]:
    return {point.runs for point in sweep.good}


def _extreme_words(sweep: SweepTables, figure: str, unit: str) -> str:
    """Where a figure is least and most."""
    some = sorted(
        (point for point in sweep.good if figure in point.figures),
        key=lambda point: (point.figures[figure].value, point.number),
    )
    parts = []
    for word, point in (("Least", some[0]), ("most", some[-1])):
        cell = point.figures[figure]
        parts.append(f"{word} at {_named(point)}: {measured(cell.value, cell.half)} {unit}")
    return f"{'; '.join(parts)}."


def _field_label(field: str) -> str:
    """The name of a field on an axis, with the unit of its values if it has one."""
    name = printable(field)
    name = name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
    unit = "calls at once" if _CONCURRENCY.fullmatch(field) else None
    unit = unit or next((word for end, word in _UNITS.items() if field.endswith(end)), None)
    return f"{name}, {unit}" if unit else name


# Throughput by concurrency


def _throughput(key: str, sweep: SweepTables, field: str) -> Chart:
    """Throughput by a limit, its two bounds, and their knee."""
    layers, notes = _drawn(sweep, field, RATE)
    x = of_values(_field_label(field), [float(value) for value in sweep.varied(field)])
    y = linear("throughput, rows/s", _ends(sweep, RATE))
    bounds = bounds_of(_best_series(_series(sweep, field, RATE), RATE), field)
    if bounds:
        notes.append(
            "Bounds after Denning and Buzen, 1978: N calls at once do at most N · X₁, X₁ being "
            "what one does, and never more than Xmax; the knee is where the two meet, and around "
            "it throughput lies below both. Here they are estimates, by the fewest calls at once "
            "and by the most throughput seen; a point may lie above them by chance."
        )
        if _runs(sweep) != {1}:
            notes.append(
                "Gains are taken run by run on the same seeds, with intervals at 95 % that hold "
                "each by itself."
            )
        if any(one.found.fewest > 1 for one in bounds):
            notes.append(
                "If the fewest calls at once already wait for each other, X₁ is too low, and the "
                "knee lies at fewer calls than is said."
            )
    return Chart(
        key,
        f"Throughput by {printable(field)}",
        f"Delivered rows per second by {printable(field)}. {_interval_words(sweep)}",
        x,
        y,
        (*bound_layers(bounds, x, y), *layers),
        notes=(_interval_words(sweep), *notes),
        says=[one.sentence() for one in bounds] or [_extreme_words(sweep, RATE, "rows/s")],
    )


# Makespan


def _makespan(key: str, sweep: SweepTables, field: str) -> Chart:
    layers, notes = _drawn(sweep, field, MAKESPAN)
    # Of many series some are not drawn, and must not stretch the axis.
    dots = [dot for layer in layers if isinstance(layer, Dots) for dot in layer.points]
    return Chart(
        key,
        f"Makespan by {printable(field)}",
        f"Makespan by {printable(field)}. {_interval_words(sweep)}",
        of_values(_field_label(field), [float(value) for value in sweep.varied(field)]),
        _axis(
            "makespan, s", [y for _, y, _, _ in dots], [max(0.0, y) for _, *ys in dots for y in ys]
        ),
        tuple(layers),
        notes=(_interval_words(sweep), *notes),
        says=[_extreme_words(sweep, MAKESPAN, "s")],
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
            beaten = some is rest
            layers.append(Dots(dots, name, colour, titles, hollow=beaten))
    listed = "; ".join(_named(point) for point in on[:6])
    return Chart(
        "pareto",
        "Makespan against cost",
        "Makespan and cost of each point. No point is cheaper than one on the front and as fast.",
        _axis("cost, money of the scenario", _means(sweep, COST), _means(sweep, COST), ROOM),
        _axis("makespan, s", _means(sweep, MAKESPAN), list(_ends(sweep, MAKESPAN))),
        tuple(layers),
        says=[f"On the front, from the cheapest on: {listed}{'; …' if len(on) > 6 else ''}."],
        notes=("By means: points whose intervals overlap may change places.",),
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


def verdict(one: Against) -> str:
    """What the runs show about a point beside the best."""
    found = one.difference
    if found.identical:
        return "identical"
    return "longer" if found.is_shown else "no difference shown"


def verdict_words(against: Sequence[Against]) -> str:
    """How many other points take longer, and how many may be as good."""
    count = dict.fromkeys(("longer", "no difference shown", "identical"), 0)
    for one in against:
        count[verdict(one)] += 1
    said = [f"shown to take longer: {count['longer']:,} of {counted(len(against), 'other point')}"]
    if count["no difference shown"]:
        said.append(f"no difference shown: {count['no difference shown']:,}")
    if count["identical"]:
        said.append(f"as long in every run: {count['identical']:,}")
    words = "; ".join(said)
    return f"{words[0].upper()}{words[1:]}."


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
            how = {"across": True, "hollow": not shown}
            layers.append(Dots(tuple(dots), name, colour, tuple(titles), **how))
    ends = [
        end for layer in layers if isinstance(layer, Dots) for p in layer.points for end in p[2:]
    ]
    sizes = [abs(one.difference.difference.mean) for one in some if one.difference.is_shown]
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
        _axis_of_differences("makespan more than the best, s", ends, sizes),
        lanes([_lane(one.point) for one in some], "point: values of its fields"),
        tuple(layers),
        notes=tuple(notes),
        says=[verdict_words(against)],
        down=True,
        height=94 + 24 * len(some),
    )
