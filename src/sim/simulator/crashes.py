"""The crashes of a run: when they strike, and which claim storage gives back after one."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

from cellspec.errors import SpecError
from cellspec.state.claims import Claim
from cellspec.text import counted
from sim.draws import sequence
from sim.simulator.plan import RunPlan

__all__ = ["CrashSchedule", "EndlessError", "Progress", "SeededChoice"]

T = TypeVar("T")

FRUITLESS_CRASHES = 10_000
"""After so many crashes in a row before which nothing more was saved, a run is given up."""

FRUITLESS_EVENTS, FEW_CRASHES = 10_000_000, 100
"""It is given up too after so many events before which nothing more was saved, and so many crashes:
where each process goes far, ten thousand of them would be a night."""


class EndlessError(SpecError):
    """A run whose crashes come so often that it may never end."""


class SeededChoice:
    """Answers open questions of a run with draws from its seed, in order for each question."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._draws: dict[str, random.Random] = {}

    def __call__(self, label: str, options: Sequence[T], /) -> T:
        draw = self._draws.setdefault(label, sequence(self._seed, label))
        return draw.choice(options)


class CrashSchedule:
    """The crashes still to come, in the order in which they strike.

    Random crashes with a count come one cause after the other; those without, all the time, each
    cause for itself. Both are counted from the start, or a resume, of a process.

    Args:
        plan: the crashes.
        spent: receives those at an event or a time whose moment came: the field, its value, and
            whether it struck; another crash may have come at that moment.

    Attributes:
        event: after which the next one strikes; None if none does.
    """

    def __init__(self, plan: RunPlan, spent: list[tuple[str, float, bool]]) -> None:
        self._events = iter(sorted(c.at_event for c in plan.crashes if c.at_event is not None))
        self._times = sorted(c.at_time_s for c in plan.crashes if c.at_time_s is not None)
        at_random = [(c.mean_s, c.count) for c in plan.crashes if c.mean_s is not None]
        # The mean of each cause, and how often it strikes yet; the last one is next.
        self._counted = [[mean, count] for mean, count in reversed(at_random) if count is not None]
        self._means = [mean for mean, count in at_random if count is None]
        self._draw = sequence(plan.seed, "crashes")
        self._counted_s = math.inf
        self._next_s = math.inf
        self._reached_s = -math.inf
        self.event = next(self._events, None)
        self._spent = spent

    @property
    def next_s(self) -> float:
        """When the crash of `next_time` strikes; infinite if there is none."""
        return self._next_s

    @property
    def end_never(self) -> bool:
        """True if crashes come again and again, to the end of the run."""
        return bool(self._means)

    def next_time(self, start_s: float) -> float | None:
        """When the next crash that has a time strikes a process that starts at `start_s`."""
        # A crash that falls into the restart has no effect.
        self._times = [t for t in self._times if t >= start_s]
        self._counted_s = math.inf
        if self._counted:
            self._counted_s = start_s + self._draw.expovariate(1 / self._counted[-1][0])
        at_random = [start_s + self._draw.expovariate(1 / mean) for mean in self._means]
        self._next_s = min(self._counted_s, *self._times[:1], *at_random, math.inf)
        return None if self._next_s == math.inf else self._next_s

    def reach(self) -> None:
        """The crash of `next_time` is due, though rounding may let the clock say a bit less."""
        self._reached_s = self._next_s

    def strike(self, events: int, now_s: float) -> None:
        """A crash came: forget those that are spent."""
        now_s = max(now_s, self._reached_s)
        was_due = self._reached_s == self._next_s
        strikes = not was_due
        while self.event is not None and self.event <= events:
            self._spent.append(("at_event", self.event, strikes))
            self.event, strikes = next(self._events, None), False
        strikes = was_due
        while self._times and self._times[0] <= now_s:
            t = self._times.pop(0)
            self._spent.append(("at_time_s", t, strikes and t == self._next_s))
            strikes = False
        if self._counted_s <= now_s:
            self._counted[-1][1] -= 1
            if not self._counted[-1][1]:
                self._counted.pop()


class Progress:
    """Whether a run whose crashes never end comes to its own end.

    Args:
        claim: what storage holds before the run.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._events = 0
        self._crashes = 0

    def expect(self, claim: Claim, events: int) -> None:
        """A process resumes from `claim`, after so many events of the run.

        Raises:
            EndlessError: nothing more was saved for so long that it never may.
        """
        if claim != self._claim:
            self._claim, self._events, self._crashes = claim, events, 0
            return
        self._crashes += 1
        lost = events - self._events
        if self._crashes < FRUITLESS_CRASHES and (
            self._crashes < FEW_CRASHES or lost < FRUITLESS_EVENTS
        ):
            return
        raise EndlessError(
            f"crashes: {counted(self._crashes, 'crash', 'crashes')} in a row came before anything "
            "more was saved, and the run may never end; save more often (checkpoint), let crashes "
            "come less often (random.mean_s), or say how many there are (random.count)"
        )
