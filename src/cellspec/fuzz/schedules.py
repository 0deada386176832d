"""Which of the calls in flight ends next: the schedules that a fuzzed engine meets.

============  ====================================================================================
schedule      the next call to end is
============  ====================================================================================
``latency``   the one whose latency is over: each call takes as long as the workload says
``random``    any, each as likely
``pct``       the one of the highest priority; priorities are drawn, and lowered at a few random
              steps
============  ====================================================================================

``pct`` is probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010). A mistake that takes
d orderings of events to show is met in one run with probability at least 1 / (n · k^(d−1)), where n
is how many calls there are and k how many ends of calls. With `DEPTH` − 1 lowered priorities the
bound holds for every d up to `DEPTH`. Random schedules lack such a bound: they hardly ever hold one
call back for long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from cellspec.conformance.campaign.choices import Choices, SeededChoices
from cellspec.machine.actions import Choose

__all__ = ["DEPTH", "SCHEDULES", "pct_bound", "schedule"]

T = TypeVar("T")

SCHEDULES = ("latency", "random", "pct")

DEPTH = 3
"""The depth d of mistakes that a ``pct`` run is drawn for."""


def schedule(name: str, seed: int, calls: int) -> Choose | None:
    """The choice of a schedule; None for ``latency``, where time decides.

    Args:
        name: one of `SCHEDULES`.
        seed: the seed of the draws.
        calls: how many calls the run is expected to make.
    """
    if name == "latency":
        return None
    dice = SeededChoices(f"{name} {seed}")
    if name == "random":
        return _Random(dice)
    return _Pct(dice, calls)


def pct_bound(calls: int, depth: int = DEPTH) -> float:
    """The least probability with which one ``pct`` run meets a mistake of a depth."""
    return float(calls) ** -depth


class _Random:
    def __init__(self, dice: Choices) -> None:
        self._dice = dice

    def __call__(self, _label: str, options: Sequence[T], /) -> T:
        return self._dice.sample(options)


class _Pct:
    """Priorities are drawn from 1 up; the lowered ones are below that, the last the lowest."""

    def __init__(self, dice: Choices, calls: int) -> None:
        self._dice = dice
        self._priority: dict[object, int] = {}
        self._ends = 0
        lowered = sorted(dice.integer(0, max(1, calls) - 1) for _ in range(DEPTH - 1))
        self._lower_at = {end: -place for place, end in enumerate(lowered)}

    def __call__(self, _label: str, options: Sequence[T], /) -> T:
        for option in options:
            if option not in self._priority:
                self._priority[option] = self._dice.integer(1, 2**40)
        first = max(options, key=self._priority.__getitem__)
        lower = self._lower_at.get(self._ends)
        self._ends += 1
        if lower is not None:
            self._priority[first] = lower
            first = max(options, key=self._priority.__getitem__)
        return first
