"""The warmth of a server: one that was not used for long needs time before it begins to serve."""

from __future__ import annotations

import math
from collections.abc import Callable

import simpy

from sim.endpoints.plan import ColdStart
from sim.endpoints.timer import SAME_S, Timer

__all__ = ["Warmth"]


class Warmth:
    """Whether a server is warm; it starts cold.

    Args:
        plan: how long it takes to become warm, and when it is cold again.
        env: the clock.
        on_warm: gets the time in seconds at which it has become warm.

    Attributes:
        warm: calls can be served.
    """

    def __init__(
        self, plan: ColdStart, env: simpy.Environment, on_warm: Callable[[float], object]
    ) -> None:
        self._plan = plan
        self._on_warm = on_warm
        self.warm = False
        self._used_s = -math.inf
        # Becoming warm until `_end_s`, or in a stall for `_rest_s` after it; None if it is not.
        self._end_s: float | None = None
        self._rest_s = 0.0
        self._stalls = 0
        self.attach(env)

    def attach(self, env: simpy.Environment) -> None:
        """Go on with another clock: what was becoming warm goes on, too."""
        self._timer = Timer(env, self._done)
        if self._end_s is not None and not self._stalls:
            self._timer.at(self._end_s)

    def called(self, t: float) -> None:
        """A call comes at time t to a server that had none."""
        if self._end_s is not None and not self._stalls and self._end_s <= t:
            self._done(t)
        if self._end_s is not None:
            return
        if t - self._used_s >= self._plan.idle_s or self._used_s == -math.inf:
            self.warm = False
            self._end_s, self._rest_s = t + self._plan.first_s, self._plan.first_s
            if not self._stalls:
                self._timer.at(self._end_s)

    @property
    def becoming(self) -> bool:
        """True while it becomes warm."""
        return self._end_s is not None

    def left(self, t: float) -> None:
        """The last call leaves at time t."""
        self._used_s = t

    def stall(self, t: float) -> None:
        """Nothing becomes warm from time t on, until each stall has ended by `go_on`."""
        if not self._stalls and self._end_s is not None:
            if self._end_s <= t + SAME_S:
                self._done(t)
            else:
                self._rest_s = self._end_s - t
                self._timer.clear()
        self._stalls += 1

    def go_on(self, t: float) -> None:
        """One stall ends at time t."""
        self._stalls -= 1
        if not self._stalls and self._end_s is not None:
            self._end_s = t + self._rest_s
            self._timer.at(self._end_s)

    def _done(self, t: float) -> None:
        if self._end_s is not None:
            self._used_s = max(self._used_s, self._end_s)
        self._end_s = None
        self.warm = True
        self._timer.clear()
        self._on_warm(t)
