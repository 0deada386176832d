"""The bounds of throughput by concurrency, and their knee, as a chart of a sweep shows them.

A single series has both bounds drawn from end to end. Of several, each has one line in its own
colour: the lower of its two bounds, which bends at the knee.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sim.experiments.operational import Asymptotes, Measured, asymptotes
from sim.output.report.charts import Colour, Dots, Layer, Level, Line, Marks
from sim.output.report.scale import Axis, measured
from sim.output.report.sweep_folder import SweepPoint
from sim.output.result_table import printable

__all__ = ["SeriesBounds", "bound_layers", "bounds_of"]

_SMOOTH = 48
"""Points of a curved bound."""

_KNEE = "knee, with its interval"


@dataclass(frozen=True, slots=True)
class SeriesBounds:
    """The bounds of one series.

    Attributes:
        words: of the series; "" if there is but one.
        colour: of the series.
        found: the bounds.
    """

    words: str
    colour: int
    found: Asymptotes

    @property
    def has_knee(self) -> bool:
        """Whether the knee was seen: both bounds hold, and cross where calls were measured."""
        found = self.found
        return found.holds and found.is_saturated and not found.is_knee_below

    def sentence(self) -> str:
        """What they say about the series."""
        found = self.found
        where = f"{printable(self.words)}: " if self.words else ""
        each = f"X₁ = {measured(found.each, found.each_half_width)} rows/s"
        if found.fewest != 1:
            each += f" (by {found.fewest:g} calls at once, the fewest)"
        if not found.holds:
            return (
                f"{where}{each}; N calls at once are shown to do more than N times as much, as "
                "where a longer run loses more to crashes: the bound does not hold, and there is "
                "no knee."
            )
        most = measured(found.most, found.most_half_width)
        if not found.is_saturated:
            return (
                f"{where}{each}; throughput still grows at {most} rows/s, the most that was seen: "
                "the knee lies further on."
            )
        if found.is_knee_below:
            knee = f"the knee lies at {found.fewest:g} calls at once, or below"
        else:
            at = measured(found.knee, found.knee_half_width)
            knee = f"the knee lies at {at} calls at once: more of them gain little"
        return f"{where}{each}, Xmax = {most} rows/s; {knee}."


def bounds_of(series: Sequence[tuple[str, Sequence[SweepPoint]]], field: str) -> list[SeriesBounds]:
    """The bounds of each series that has throughput at two concurrencies or more.

    Args:
        series: the words and the points of each, in the order of their colours.
        field: the limit that varies.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    figure = "rows_per_s"
    found = []
    for colour, (words, points) in enumerate(series):
        known = [
            Measured(
                float(point.fields[field]),
                point.figures[figure].value,
                point.figures[figure].half,
                {seed: run[figure] for seed, run in point.by_seed.items() if figure in run},
            )
            for point in points
            if float(point.fields[field]) > 0
        ]
        bound = asymptotes(known)
        if bound is not None:
            found.append(SeriesBounds(words, colour, bound))
    return found


def bound_layers(bounds: Sequence[SeriesBounds], x: Axis, y: Axis) -> list[Layer]:
    """Both bounds of each series where they hold, as far as they lie in the chart, and the knee."""
    held = [one for one in bounds if one.found.holds]
    if len(bounds) == 1:
        layers = list(_alone(held[0].found, x, y)) if held else []
    else:
        named = "the lower of N · X₁ and Xmax, of each series"
        # A name for all of them, in no series' colour.
        layers = [Line((), named, "quiet", dashed=True)] if held else []
        layers += [_bent(one, x, y) for one in held]
    knees = [one for one in held if one.has_knee and x.low <= one.found.knee <= x.high]
    for one in knees:
        layers.append(_knee(one, "checkpoint" if len(bounds) == 1 else one.colour))
    return layers


def _alone(found: Asymptotes, x: Axis, y: Axis) -> Iterator[Layer]:
    rising = _rising(found, x, min(x.high, y.high / found.each))
    if rising:
        yield Line(rising, "N · X₁", "quiet", dashed=True)
    yield Level(found.most, "Xmax" if found.is_saturated else "the most seen", "limit")
    if found.is_saturated and not found.is_knee_below and x.low <= found.knee <= x.high:
        yield Marks((found.knee,), "", "checkpoint")


def _bent(one: SeriesBounds, x: Axis, y: Axis) -> Line:
    """The lower of both bounds; where throughput still grows, the first alone."""
    found = one.found
    top = found.most if found.is_saturated else y.high
    points = _rising(found, x, min(x.high, top / found.each))
    if found.is_saturated:
        start = max(x.low, min(x.high, found.knee))
        points += ((start, found.most), (x.high, found.most))
    return Line(points, "", one.colour, dashed=True)


def _knee(one: SeriesBounds, colour: Colour) -> Dots:
    found = one.found
    half = found.knee_half_width or 0.0
    place = (found.knee, found.most, found.knee - half, found.knee + half)
    title = one.sentence()
    return Dots((place,), _KNEE, colour, (title,), across=True, hollow=True)


def _rising(found: Asymptotes, x: Axis, top: float) -> tuple[tuple[float, float], ...]:
    """The first bound from the low end of the axis to so many calls."""
    low = max(x.low, top * 1e-6)
    if top <= low:
        return ()
    steps = [low + (top - low) * k / _SMOOTH for k in range(_SMOOTH + 1)]
    if x.is_log:
        ratio = math.log(top / low)
        steps = [low * math.exp(ratio * k / _SMOOTH) for k in range(_SMOOTH + 1)]
    return tuple((at, at * found.each) for at in steps)
