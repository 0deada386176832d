"""The crashes of a run: when they strike, and which claim storage gives back after one."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

from sim.draws import sequence
from sim.simulator.plan import RunPlan

__all__ = ["CrashSchedule", "SeededChoice"]

T = TypeVar("T")


class SeededChoice:
    """Answers open questions of a run with draws from its seed, in order for each question."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._draws: dict[str, random.Random] = {}

    def __call__(self, label: str, options: Sequence[T], /) -> T:
        draw = self._draws.setdefault(label, sequence(self._seed, label))
        return draw.choice(options)


class CrashSchedule:
    """The crashes still to come, in the order in which they strike."""

    def __init__(self, plan: RunPlan) -> None:
        self._events = iter(sorted(c.at_event for c in plan.crashes if c.at_event is not None))
        self._times = sorted(c.at_time_s for c in plan.crashes if c.at_time_s is not None)
        self._means = [
            mean for c in plan.crashes if (mean := c.mean_s) is not None for _ in range(c.count)
        ]
        self._draw = sequence(plan.seed, "crashes")
        self._random_s = math.inf
        self._next_s = math.inf
        self._reached_s = 0.0
        self.event = next(self._events, None)

    def next_time(self, start_s: float) -> float | None:
        """When the next crash that has a time strikes a process that starts at `start_s`."""
        # A crash that falls into the restart has no effect.
        self._times = [t for t in self._times if t >= start_s]
        self._random_s = math.inf
        if self._means:
            self._random_s = start_s + self._draw.expovariate(1 / self._means[0])
        self._next_s = min(self._random_s, self._times[0] if self._times else math.inf)
        return None if self._next_s == math.inf else self._next_s

    def reach(self) -> None:
        """The crash of `next_time` is due, though rounding may let the clock say a bit less."""
        self._reached_s = self._next_s

    def strike(self, events: int, now_s: float) -> None:
        """A crash came: forget those that are spent."""
        now_s = max(now_s, self._reached_s)
        while self.event is not None and self.event <= events:
            self.event = next(self._events, None)
        self._times = [t for t in self._times if t > now_s]
        if self._random_s <= now_s:
            self._means.pop(0)
