"""Bounds on throughput by the number of calls at once, and the points that no other beats.

*Operational analysis* (Denning and Buzen, The Operational Analysis of Queueing Network Models, ACM
Computing Surveys 10(3), 1978; Lazowska, Zahorjan, Graham and Sevcik, Quantitative System
Performance, 1984, chapter 5) bounds the throughput of N calls at once from both sides: N calls do
at most N times as much as one that has the system for itself, and never more than the bottleneck
does when it is always busy. The two bounds meet at the *knee*: below it calls have the system for
themselves as the first bound counts them, above it they wait.

A sweep measures both bounds: the first by its fewest calls at once, the second by the most
throughput that it saw. Neither is more than an estimate. The second is a bound only if throughput
has stopped to grow, which `Asymptotes.is_saturated` judges by the last gain; the first only if no
point is above it, which `Asymptotes.above` lists. Gains and excesses are taken run by run over the
seeds that both points have: where runs differ much, as by random crashes, the intervals of two
points overlap although every run of one is above that of the other.

The knee is where the two bounds meet, and not where throughput stops to grow: near it real
throughput lies below both and approaches the second as calls are added. `Asymptotes.gains` are how
much.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sim.experiments.intervals import mean_of, paired

__all__ = ["Asymptotes", "Excess", "Gain", "Measured", "asymptotes", "pareto_front"]

_MORE = 1.25
"""Only so many times as many calls can show that throughput has stopped to grow."""

_FAR = 4
"""A gain over so many times as many calls, or more, does not show that the last of them added."""

_LITTLE = 0.1
"""Throughput has stopped to grow if its last gain is below this share, its interval included."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Throughput at one concurrency.

    Attributes:
        calls: at once, at most.
        rate: the mean throughput, in any unit.
        half_width: of its interval; 0 if it is not known.
        by_seed: the throughput of each run.
    """

    calls: float
    rate: float
    half_width: float = 0.0
    by_seed: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gain:
    """How much more throughput some number of calls has than fewer.

    Attributes:
        few, many: calls at once.
        more: throughput by `many` less that by `few`.
        half_width: of its interval; None if it is not known.
        share: `more` as a share of the throughput by `few`; None if that is 0.
        share_half_width: of its interval; None if it is not known.
    """

    few: float
    many: float
    more: float
    half_width: float | None
    share: float | None
    share_half_width: float | None

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.half_width is not None and abs(self.more) > self.half_width

    @property
    def is_little(self) -> bool:
        """Whether all of the interval of the share is below a tenth."""
        return self.share is not None and self.share + (self.share_half_width or 0.0) < _LITTLE


@dataclass(frozen=True, slots=True)
class Excess:
    """Throughput above the first bound.

    Attributes:
        calls: at once.
        more: throughput less the bound.
        half_width: of its interval; None if it is not known.
    """

    calls: float
    more: float
    half_width: float | None


@dataclass(frozen=True, slots=True)
class Asymptotes:
    """The two bounds.

    Attributes:
        fewest: calls at once by which `each` was measured.
        each: throughput of one call at once: N calls do at most N times as much.
        most: the most throughput that was seen; no number of calls exceeds it if throughput has
            stopped to grow.
        last: the gain up to the most calls, from the point that is nearest to half of them.
        gains: to the most calls from the points on both sides of the knee.
        above: where throughput is shown to be above the first bound. It may be where fewer calls
            make a longer run that loses a larger share of its work to crashes or checkpoints; then
            there is no knee.
    """

    fewest: float
    each: float
    most: float
    last: Gain
    gains: tuple[Gain, ...] = ()
    above: tuple[Excess, ...] = ()
    each_half_width: float = 0.0
    most_half_width: float = 0.0
    knee_half_width: float | None = None

    @property
    def is_saturated(self) -> bool:
        """Whether throughput has stopped to grow: the last gain is shown to be little."""
        return self.last.is_little and self.last.many >= _MORE * self.last.few

    @property
    def is_growing(self) -> bool:
        """Whether throughput is shown to grow at the most calls; else it may, or may not."""
        return (
            not self.is_saturated
            and self.is_last_near
            and self.last.is_shown
            and self.last.more > 0
        )

    @property
    def is_last_near(self) -> bool:
        """Whether the last gain is over few enough calls to be one at the most calls."""
        return self.last.many < _FAR * self.last.few

    @property
    def holds(self) -> bool:
        """Whether no measured throughput is shown to be above the first bound."""
        return not self.above

    @property
    def knee(self) -> float:
        """The number of calls at which the bounds meet."""
        return self.most / self.each

    @property
    def is_knee_below(self) -> bool:
        """Whether the fewest calls do nearly as much as any number, so that the knee is no more."""
        return self.knee < _MORE * self.fewest

    def bound(self, calls: float) -> float:
        """The most that so many calls at once can do."""
        return min(calls * self.each, self.most)


def asymptotes(points: Sequence[Measured]) -> Asymptotes | None:
    """Both bounds, as measured; None for fewer than two concurrencies, or without throughput.

    Args:
        points: in any order; each concurrency once, above 0.

    Raises:
        MissingExtraError: scipy is not installed, which intervals take.
    """
    known = sorted(points, key=lambda point: point.calls)
    if len(known) < 2 or known[0].rate <= 0:
        return None
    best = max(known, key=lambda point: point.rate)
    fewest, end = known[0], known[-1]
    knee = best.rate * fewest.calls / fewest.rate
    fewer = [one for one in known if _MORE * one.calls <= end.calls] or [fewest]
    before = min(fewer, key=lambda one: abs(math.log(2 * one.calls / end.calls)))
    sides = [one for one in known if one.calls <= knee][-1:]
    sides += [one for one in known if one.calls > knee][:1]
    return Asymptotes(
        fewest.calls,
        fewest.rate / fewest.calls,
        best.rate,
        _gain(before, end),
        tuple(_gain(one, end) for one in sides if one is not end),
        tuple(_above(fewest, known[1:])),
        fewest.half_width / fewest.calls,
        best.half_width,
        _knee_half_width(fewest, best),
    )


def _common(one: Measured, other: Measured) -> tuple[list[float], list[float]] | None:
    """The runs of both with the same seeds; None if these are too few for an interval."""
    seeds = sorted(set(one.by_seed) & set(other.by_seed))
    if len(seeds) < 2:
        return None
    return [one.by_seed[seed] for seed in seeds], [other.by_seed[seed] for seed in seeds]


def _gain(few: Measured, many: Measured) -> Gain:
    runs = _common(few, many)
    if runs is None:
        # Without common seeds the two are independent.
        half = math.hypot(few.half_width, many.half_width) or None
        more, rate = many.rate - few.rate, few.rate
        share = more / rate if rate else None
        share_half = half / rate if rate and half else None
        return Gain(few.calls, many.calls, more, half, share, share_half)
    found = paired(*runs)
    more, half = found.difference.mean, found.difference.half_width
    return Gain(few.calls, many.calls, more, half, found.relative, found.relative_half_width)


def _above(fewest: Measured, rest: Sequence[Measured]) -> Iterator[Excess]:
    """Those points whose throughput is shown to be above that of the fewest calls, scaled up."""
    for one in rest:
        times = one.calls / fewest.calls
        runs = _common(fewest, one)
        if runs is None:
            more = one.rate - times * fewest.rate
            half = math.hypot(times * fewest.half_width, one.half_width) or None
        else:
            found = mean_of([many - times * few for few, many in zip(*runs, strict=True)])
            more, half = found.mean, found.half_width
        if more > (half or 0.0) + 1e-9 * one.rate:
            yield Excess(one.calls, more, half)


def _knee_half_width(fewest: Measured, best: Measured) -> float | None:
    """The interval of the ratio of two means over the same seeds, by its linear part.

    It is that of the mean of ``b - knee * a`` over the runs, divided by the mean of a: what both
    have in common, as rows that are long in each, makes it narrower.
    """
    runs = _common(fewest, best)
    if runs is None:
        return None
    each, most = [rate / fewest.calls for rate in runs[0]], runs[1]
    mean = sum(each) / len(each)
    if mean <= 0:
        return None
    knee = sum(most) / sum(each)
    half = mean_of([b - knee * a for a, b in zip(each, most, strict=True)]).half_width
    return None if half is None else half / mean


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of those points that no other beats: none is less in one and no more in the other.

    Args:
        points: two figures each, of which less is better.

    Returns:
        By the first figure, upwards; of equal points the first alone.
    """
    order = sorted(range(len(points)), key=lambda place: (points[place], place))
    found: list[int] = []
    for place in order:
        if not found or points[place][1] < points[found[-1]][1]:
            found.append(place)
    return found
