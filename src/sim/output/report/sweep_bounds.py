"""The bounds of throughput by concurrency, and their knee, as a chart of a sweep shows them.

A single series has both bounds drawn from end to end. Of several, each has one line in its own
colour: the lower of its two bounds, which bends at the knee.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cellspec.text import counted
from sim.experiments.operational import Asymptotes, Gain, Measured, asymptotes
from sim.output.report.charts import Colour, Dots, Layer, Level, Line, Marks
from sim.output.report.scale import Axis, measured
from sim.output.report.sweep_folder import SweepPoint
from sim.output.result_table import printable

__all__ = ["SeriesBounds", "bound_layers", "bounds_of"]

_SMOOTH = 48
"""Points of a curved bound."""

_KNEE = "knee, with its interval"

_MOST_LISTED = 3
"""Points above a bound that a sentence lists."""


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
        """What the runs show about the series and its bounds."""
        found = self.found
        where = f"{printable(self.words)}: " if self.words else ""
        each = f"X₁ = {measured(found.each, found.each_half_width)} rows/s"
        if found.fewest != 1:
            each += f" (by {found.fewest:g} calls at once, the fewest)"
        most = measured(found.most, found.most_half_width)
        if not found.holds:
            return f"{where}{each}; the most seen is {most} rows/s. {_excess_words(found)}"
        at = f"{measured(found.knee, found.knee_half_width)} calls at once"
        if found.is_saturated:
            knee = f"the two bounds meet at {at}, the knee"
            if found.is_knee_below:
                knee = f"the knee lies at {found.fewest:g} calls at once, or below"
            beyond = (
                f" Measured around and beyond it: {_gain_words(found.gains)}."
                if found.gains
                else ""
            )
            return f"{where}{each}, Xmax = {most} rows/s; {knee}.{beyond}"
        last = _gain_words([found.last])
        if found.is_growing:
            return (
                f"{where}{each}; throughput still grows at the most calls: {last}. The most seen "
                f"is {most} rows/s, which N · X₁ reaches at {at}: the knee lies further on."
            )
        tells = "More replications" if found.is_last_near else "A point at half of the most calls"
        return (
            f"{where}{each}; the most seen is {most} rows/s. These runs do not show whether "
            f"throughput still grows at the most calls: {last}. If it does not, the two bounds "
            f"meet at {at}, the knee; else it lies further on. {tells} can tell."
        )


def _gain_words(gains: Sequence[Gain]) -> str:
    """Each gain with its interval: ``from 16 to 32 calls at once +0.12 ± 0.05 rows/s (…)``."""
    said = []
    for one in gains:
        words = f"from {one.few:g} to {one.many:g} calls at once "
        if one.half_width == 0 and one.more == 0:
            said.append(f"{words}no change in any run")
            continue
        words += f"{_signed(one.more, one.half_width)} rows/s"
        shown = "" if one.is_shown or one.half_width is None else ", no difference shown"
        if one.share is not None:
            half = None if one.share_half_width is None else 100 * one.share_half_width
            words += f" ({_signed(100 * one.share, half)} %{shown})"
        said.append(words)
    return ", ".join(said)


def _excess_words(found: Asymptotes) -> str:
    """Where points are above the first bound, and why they can be."""
    listed = [
        f"by {measured(one.more, one.half_width)} rows/s with {one.calls:g} calls at once"
        for one in found.above[:_MOST_LISTED]
    ]
    more = len(found.above) - len(listed)
    listed += [f"and at {counted(more, 'more point')}"] if more else []
    return (
        "N · X₁ is no bound here, and there is no knee: run by run on the same seeds, throughput "
        f"is above it {', '.join(listed)}. This can be: X₁ was measured at N = {found.fewest:g}, "
        "where a run takes longer and can lose a larger share of its time to crashes or "
        f"checkpoints, so that X₁ is too low. At the most calls: {_gain_words([found.last])}."
    )


def _signed(value: float, half_width: float | None) -> str:
    return f"{'+' if value >= 0 else ''}{measured(value, half_width)}"


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
    """Both bounds of each series, as far as they lie in the chart, and the knee.

    Of several series those whose points are above their bound have none.
    """
    held = [one for one in bounds if one.found.holds]
    if len(bounds) == 1:
        layers = list(_alone(bounds[0].found, x, y))
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
        name = "N · X₁" if found.holds else "N · X₁, which points exceed"
        yield Line(rising, name, "quiet", dashed=True)
    yield Level(found.most, "Xmax" if found.is_saturated else "the most seen", "limit")
    if SeriesBounds("", 0, found).has_knee and x.low <= found.knee <= x.high:
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
