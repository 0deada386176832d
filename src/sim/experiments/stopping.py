"""How many runs are enough: a first round, then a quarter more, until an interval is narrow enough.

With fewer than ten runs in the first round the estimate of the deviation is so rough that the rule
stops too early too often. Looking again after each run would do the same; a quarter more at a time
looks seldom, and makes at most a quarter too many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from sim.experiments.intervals import Mean

__all__ = [
    "FIRST_ROUND",
    "MOST_RUNS",
    "FixedRuns",
    "Precision",
    "Stopping",
    "next_size",
    "run_until",
]

FIRST_ROUND = 10
"""Runs before the first look."""

MOST_RUNS = 1000
"""Runs after which no narrower interval is tried for, if nothing else is said."""


class Stopping(Protocol):
    """A rule that says when an experiment has enough runs: `FixedRuns` or `Precision`."""

    def is_met(self, found: Mean) -> bool:
        """Whether the runs that an interval came from are enough."""

    def next_size(self, runs: int) -> int:
        """How many runs there are to be at the next look; the same number if there is none."""


@dataclass(frozen=True, slots=True)
class FixedRuns:
    """So many runs, whatever comes out.

    Attributes:
        runs: of each scenario.
    """

    runs: int

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

    def is_met(self, found: Mean) -> bool:
        """Whether an interval is as narrow as was wished."""
        return found.relative is not None and found.relative <= self.half_width

    def runs_wanted(self, found: Mean) -> int | None:
        """An estimate of the runs that are enough; None if the runs so far give none.

        The half-width falls with the square root of the runs.
        """
        if found.relative is None:
            return None
        return max(ceil(found.runs * (found.relative / self.half_width) ** 2), FIRST_ROUND)

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
        The last interval, and whether the rule is met.
    """
    size = rule.next_size(0)
    while True:
        grow(size)
        found = look()
        met, following = rule.is_met(found), rule.next_size(size)
        if met or following == size:
            return found, met
        size = following
