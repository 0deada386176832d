"""The scheduler's own time: one loop does one thing at a time for each start and each end.

A call that takes its place waits for the loop, then `start_s`, and then begins; its end waits for
the loop, then `end_s`, and then its place is free. Ends that wait go before starts that wait; each
go first come first served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import simpy

from sim.endpoints.plan import SerialPlan
from sim.endpoints.timer import Timer

__all__ = ["SerialLoop"]

C = TypeVar("C")


class SerialLoop(Generic[C]):
    """Calls that wait for the one loop of their scheduler.

    Args:
        plan: what a start and an end take.
        env: the clock.
        started: the start of a call is done, at this time in seconds.
        ended: its end is.

    Attributes:
        busy_s: how long the loop has worked, in seconds; what it is at counts in full.
    """

    def __init__(
        self,
        plan: SerialPlan,
        env: simpy.Environment,
        started: Callable[[C, float], object],
        ended: Callable[[C, float], object],
    ) -> None:
        self.busy_s = 0.0
        self._start_s, self._end_s = plan.start_s, plan.end_s
        self._started, self._ended = started, ended
        self._starts: deque[C] = deque()
        self._ends: deque[C] = deque()
        self._then = started
        self._at: C | None = None
        self._busy = False
        self.attach(env)

    def attach(self, env: simpy.Environment) -> None:
        """Begin a new incarnation: what waited is gone."""
        self._starts.clear()
        self._ends.clear()
        self._at, self._busy = None, False
        self._env = env
        self._timer = Timer(env, self._done)

    @property
    def waiting(self) -> int:
        """How many starts and ends wait for the loop, beside what it is at."""
        return len(self._starts) + len(self._ends)

    def start(self, call: C) -> None:
        """A call took its place now."""
        self._starts.append(call)
        if not self._busy:
            self._next(self._env.now)

    def end(self, call: C) -> None:
        """A call is through now."""
        self._ends.append(call)
        if not self._busy:
            self._next(self._env.now)

    def _done(self, t: float) -> None:
        call = self._at
        assert call is not None
        self._then(call, t)
        self._next(t)

    def _next(self, t: float) -> None:
        self._busy = True
        while True:
            if self._ends:
                call, seconds, then = self._ends.popleft(), self._end_s, self._ended
            elif self._starts:
                call, seconds, then = self._starts.popleft(), self._start_s, self._started
            else:
                break
            if seconds:
                self._at, self._then = call, then
                self.busy_s += seconds
                self._timer.at(t + seconds)
                return
            then(call, t)
        self._at, self._busy = None, False
