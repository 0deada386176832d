"""How many runs are enough: a first round, then a quarter more, until an interval is narrow enough.

An interval can be narrow by chance, and whoever looks again and again, to stop at the first that
is, stops too early too often. So the rule looks seldom, a quarter more runs at a time. It wants two
narrow intervals in a row: one that was so by chance is seldom so again. And it wants twenty runs,
for in fewer the rare long runs of a skewed figure may be absent, and then the estimate of its
deviation is far too low. ``simulations/coverage.md`` says how often the last interval holds the
mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from sim.experiments.intervals import NO_MEAN, Mean

__all__ = [
    "FIRST_ROUND",
    "LEAST_RUNS",
    "MOST_RUNS",
    "FixedRuns",
    "Precision",
    "Stopping",
    "next_size",
    "run_until",
]

FIRST_ROUND = 10
"""Runs before the first look."""

LEAST_RUNS = 20
"""Runs before which no interval is narrow enough to stop."""

MOST_RUNS = 1000
"""Runs after which no narrower interval is tried for, if nothing else is said."""


class Stopping(Protocol):
    """A rule that says when an experiment has enough runs: `FixedRuns` or `Precision`."""

    def is_enough(self, found: Mean, before: Mean | None, /) -> bool:
        """Whether no more runs are needed, given the interval now and at the look before."""

    def is_met(self, found: Mean) -> bool:
        """Whether an interval is what was wished for."""

    def next_size(self, runs: int) -> int:
        """How many runs there are to be at the next look; the same number if there is none."""


@dataclass(frozen=True, slots=True)
class FixedRuns:
    """So many runs, whatever comes out.

    Attributes:
        runs: of each scenario.
    """

    runs: int

    def is_enough(self, found: Mean, _before: Mean | None, /) -> bool:
        """Whether there are as many."""
        return self.is_met(found)

    def is_met(self, found: Mean) -> bool:
        """Whether there are as many."""
        return found.runs >= self.runs

    def next_size(self, runs: int) -> int:
        """All of them at once."""
        return max(self.runs, runs)


@dataclass(frozen=True, slots=True)
class Precision:
    """The wish for a narrow interval.

    Attributes:
        half_width: of the interval, as a share of the mean.
        most_runs: the cap.
    """

    half_width: float
    most_runs: int = MOST_RUNS

    def is_enough(self, found: Mean, before: Mean | None, /) -> bool:
        """Whether two intervals in a row are as narrow, the later one of at least 20 runs."""
        narrow = self.is_met(found) and before is not None and self.is_met(before)
        return narrow and found.runs >= LEAST_RUNS

    def is_met(self, found: Mean) -> bool:
        """Whether an interval is as narrow as was wished."""
        return found.relative is not None and found.relative <= self.half_width

    def runs_wanted(self, found: Mean) -> int | None:
        """An estimate of the runs that are enough; None if the runs so far give none.

        The half-width falls with the square root of the runs; one look more has to confirm it.
        """
        if found.relative is None:
            return None
        narrow = ceil(found.runs * (found.relative / self.half_width) ** 2)
        return max(next_size(narrow), LEAST_RUNS)

    def next_size(self, runs: int) -> int:
        """How many runs there are to be at the next look; as many as there are at the cap."""
        return min(next_size(runs), max(self.most_runs, runs))


def next_size(runs: int) -> int:
    """The number of runs at the next look: 10, then a quarter more, rounded up."""
    return FIRST_ROUND if runs < FIRST_ROUND else runs + (runs + 3) // 4


def run_until(
    rule: Stopping, grow: Callable[[int], object], look: Callable[[], Mean]
) -> tuple[Mean, bool]:
    """Make runs, round by round, until a rule is met or lets no more be made.

    Args:
        rule: when there are enough.
        grow: makes runs until there are so many.
        look: the interval that the rule is about, of the runs so far.

    Returns:
        The last interval, and whether it is what was wished for. At the cap it may be as narrow as
        was wished for the first time. It is `NO_MEAN` at the first look at which a run lacks the
        figure: no more runs give it an interval.
    """
    size, before = rule.next_size(0), None
    while True:
        grow(size)
        found = look()
        following = rule.next_size(size)
        if found == NO_MEAN or rule.is_enough(found, before) or following == size:
            return found, rule.is_met(found)
        size, before = following, found
