"""Intervals: how far from the truth a figure of several independent runs may be.

*Means* have a Student t-interval. *Quantiles* have an interval between two order statistics, which
holds for any distribution (Conover, Practical Nonparametric Statistics, 1999, section 3.2): it
takes a number of runs, below which there is none. *Differences* of two scenarios are taken seed by
seed: where both met the same random numbers, what these add to both cancels out (common random
numbers; Law, Simulation Modeling and Analysis, 2015, section 11.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev
from typing import Any

from cellspec.errors import MissingExtraError
from sim.results import tidy

__all__ = [
    "LEVEL",
    "NO_MEAN",
    "Difference",
    "Mean",
    "Quantile",
    "least_runs",
    "mean_of",
    "paired",
    "quantile_of",
]

LEVEL = 0.95
"""The share of experiments whose interval holds the truth, if nothing else is said."""


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of a figure over runs, with its t-interval.

    Attributes:
        runs: how many.
        mean: of the figure, in its unit.
        sd: the standard deviation of a run; None for a single run.
        half_width: the interval is the mean, less and more this; None for a single run.
    """

    runs: int
    mean: float
    sd: float | None
    half_width: float | None

    @property
    def relative(self) -> float | None:
        """The half-width as a share of the mean; None for a single run, or a mean of 0.

        It is 0 where all runs agree.
        """
        if self.half_width is None:
            return None
        if self.half_width == 0:
            return 0.0
        return None if self.mean == 0 else self.half_width / abs(self.mean)


NO_MEAN = Mean(0, 0.0, None, None)
"""Of a figure that some run lacks: the runs that have it would be another kind of run."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of a figure over runs, between two order statistics.

    Attributes:
        share: the share of runs below it.
        value: the estimate: the smallest figure that so many of the runs do not exceed.
        low, high: the interval.
    """

    share: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of B less the same figure of A, over pairs of runs.

    Attributes:
        pairs: runs of each.
        a, b: the figure of each alone.
        difference: the mean of the differences, with its interval.
        gain: how many times as many independent runs would give an interval as narrow: the sum of
            both variances over the variance of the differences. None where the differences do not
            vary, and for a single pair.
        identical: every pair is equal.
        relative_half_width: the interval of `relative` is that, less and more this. It is wider
            than the interval of the difference where only A's mean is uncertain, and narrower where
            B is a share of A. None for a single pair, or a mean of A of 0.
    """

    pairs: int
    a: Mean
    b: Mean
    difference: Mean
    gain: float | None
    identical: bool
    relative_half_width: float | None = None

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves zero out: the difference is more than chance."""
        found = self.difference
        return found.half_width is not None and abs(found.mean) > found.half_width

    @property
    def relative(self) -> float | None:
        """The difference as a share of A's mean; None if that is 0."""
        return None if self.a.mean == 0 else tidy(self.difference.mean / abs(self.a.mean))

    @property
    def share(self) -> tuple[float, float] | None:
        """The difference as a share of A's mean with its half-width, where it says enough.

        None without an interval; where the interval of the share leaves zero out and that of the
        difference does not, or the other way round; and where it reaches below -1: a figure that
        is never negative cannot fall by more than all of it.
        """
        share, half = self.relative, self.relative_half_width
        if share is None or half is None:
            return None
        agrees = (abs(share) > half) == self.is_shown
        return (share, half) if agrees and share - half >= -1 else None


def mean_of(values: Sequence[float], level: float = LEVEL) -> Mean:
    """The mean of independent runs, with its t-interval.

    Args:
        values: a figure of each run; at least one.
        level: the share of experiments whose interval holds the true mean.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    mean = fmean(values)
    if len(values) < 2:
        return Mean(len(values), tidy(mean), None, None)
    # Of equal figures the mean may be off by a rounding, and then their deviation is not 0.
    sd = 0.0 if min(values) == max(values) else stdev(values, mean)
    half = _t(level, len(values) - 1) * sd / math.sqrt(len(values))
    return Mean(len(values), tidy(mean), tidy(sd), tidy(half))


def paired(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> Difference:
    """The difference of two scenarios, run by run.

    Args:
        a, b: a figure of each run, those of one seed at one place; as many of each.
        level: as of `mean_of`.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    difference = mean_of([y - x for x, y in zip(a, b, strict=True)], level)
    one, other = mean_of(a, level), mean_of(b, level)
    gain = None
    if difference.sd and one.sd is not None and other.sd is not None:
        gain = tidy((one.sd**2 + other.sd**2) / difference.sd**2)
    of_share = _half_width_of_share(a, b, level)
    return Difference(len(a), one, other, difference, gain, list(a) == list(b), of_share)


def _half_width_of_share(a: Sequence[float], b: Sequence[float], level: float) -> float | None:
    """The half-width of the interval around the difference as a share of A's mean.

    The share is a ratio of two means, and its deviation follows from what is left of each
    difference when its share of A is taken away (Cochran, Sampling Techniques, 1977, section 6.3).
    """
    mean = fmean(a)
    if mean == 0:
        return None
    share = (fmean(b) - mean) / mean
    half = mean_of([(y - x) - share * x for x, y in zip(a, b, strict=True)], level).half_width
    return None if half is None else tidy(half / abs(mean))


def quantile_of(values: Sequence[float], share: float, level: float = LEVEL) -> Quantile | None:
    """A quantile of independent runs; None if they are too few for an interval of it.

    Args:
        values: a figure of each run, in any order.
        share: above 0 and below 1.
        level: the least share of experiments whose interval holds the true quantile.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    runs, ordered = len(values), sorted(values)
    if runs < least_runs(share, level):
        return None
    low, high = _ranks(runs, share, level)
    return Quantile(
        share,
        tidy(ordered[_rank(runs, share) - 1]),
        tidy(ordered[low - 1]),
        tidy(ordered[high - 1]),
    )


@cache
def least_runs(share: float, level: float = LEVEL) -> int:
    """The fewest runs that an interval of a quantile takes.

    The widest interval, from the least to the greatest of n runs, misses the quantile if all runs
    lie on one side of it: with probability share**n + (1 - share)**n.
    """
    runs = 2
    while share**runs + (1 - share) ** runs > 1 - level:
        runs += 1
    return runs


def _rank(runs: int, share: float) -> int:
    """The rank of the estimate, from 1; what a float adds to a whole product does not count."""
    return min(max(math.ceil(share * runs - 1e-9), 1), runs)


@cache
def _ranks(runs: int, share: float, level: float) -> tuple[int, int]:
    """The ranks (from 1) of the narrowest interval around the estimate that keeps the level.

    It grows from the rank of the estimate to the side that holds more probability.
    """
    special = _special()
    rank = _rank(runs, share)
    low, high = rank, rank
    # So many runs or fewer lie below the quantile: it is above the order statistic of rank k with
    # the probability that at least k of them do.
    below = [float(special.bdtr(k, runs, share)) for k in range(runs + 1)]
    mass = [below[0], *(below[k] - below[k - 1] for k in range(1, runs + 1))]

    def held() -> float:
        return below[high - 1] - below[low - 1]

    while held() < level and (low > 1 or high < runs):
        gain_low = mass[low - 1] if low > 1 else -1.0
        gain_high = mass[high] if high < runs else -1.0
        if gain_low > gain_high:
            low -= 1
        else:
            high += 1
    return low, high


@cache
def _t(level: float, degrees: int) -> float:
    """The two-sided quantile of Student's distribution."""
    return float(_special().stdtrit(degrees, (1 + level) / 2))


def _special() -> Any:
    """``scipy.special``: a fifth of a second to import, where ``scipy.stats`` takes a whole one.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        from scipy import special
    except ImportError:
        raise MissingExtraError("an interval", "experiments") from None
    return special
