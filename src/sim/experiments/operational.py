"""Bounds on throughput by the number of calls at once, and the points that no other beats.

*Operational analysis* (Denning and Buzen, The Operational Analysis of Queueing Network Models, ACM
Computing Surveys 10(3), 1978; Lazowska, Zahorjan, Graham and Sevcik, Quantitative System
Performance, 1984, chapter 5) bounds the throughput of N calls at once from both sides: N calls do
at most N times as much as one that has the system for itself, and never more than the bottleneck
does when it is always busy. The two bounds cross at the *knee*: below it more calls help, above it
they wait.

A sweep measures both bounds: the first by its fewest calls at once, the second by the most that it
saw. The second is one only if throughput has stopped to grow; `Asymptotes.is_saturated` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sim.experiments.intervals import mean_of

__all__ = ["Asymptotes", "Measured", "asymptotes", "pareto_front"]

_MORE = 1.25
"""So many times as many calls that do no more show that throughput has stopped to grow."""


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
class Asymptotes:
    """The two bounds.

    Attributes:
        fewest: calls at once by which `each` was measured.
        each: throughput of one call at once: N calls do at most N times as much.
        most: throughput that no number of calls exceeds.
        is_saturated: whether throughput has stopped to grow where it was measured; else `most` is
            only the largest that was seen.
        holds: whether no measured throughput is shown to be above the first bound. One may be where
            a longer run does more work, because it loses more to crashes; then there is no knee.
    """

    fewest: float
    each: float
    most: float
    is_saturated: bool
    holds: bool = True
    each_half_width: float = 0.0
    most_half_width: float = 0.0
    knee_half_width: float | None = None

    @property
    def knee(self) -> float:
        """The number of calls at which the bounds cross."""
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
        MissingExtraError: scipy is not installed, which the interval of the knee takes.
    """
    known = sorted(points, key=lambda point: point.calls)
    if len(known) < 2 or known[0].rate <= 0:
        return None
    best = max(known, key=lambda point: point.rate)
    rivals = [
        one
        for one in known
        if one.rate + one.half_width >= best.rate - best.half_width
        and max(one.calls, best.calls) >= _MORE * min(one.calls, best.calls)
    ]
    fell = known[-1].calls >= _MORE * best.calls
    fewest = known[0]
    each, high = fewest.rate / fewest.calls, (fewest.rate + fewest.half_width) / fewest.calls
    holds = all(one.rate - one.half_width <= one.calls * high * (1 + 1e-9) for one in known)
    return Asymptotes(
        fewest.calls,
        each,
        best.rate,
        fell or bool(rivals),
        holds,
        fewest.half_width / fewest.calls,
        best.half_width,
        _knee_half_width(fewest, best),
    )


def _knee_half_width(fewest: Measured, best: Measured) -> float | None:
    """The interval of the ratio of two means over the same seeds, by its linear part.

    It is that of the mean of ``b - knee * a`` over the runs, divided by the mean of a: what both
    have in common, as rows that are long in each, makes it narrower.
    """
    seeds = sorted(set(fewest.by_seed) & set(best.by_seed))
    if len(seeds) < 2:
        return None
    each = [fewest.by_seed[seed] / fewest.calls for seed in seeds]
    most = [best.by_seed[seed] for seed in seeds]
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
