"""A moment that can be moved: one event of SimPy, used again and again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import simpy

from sim.endpoints.request import Request

__all__ = ["SAME_S", "Taken", "Timer", "Wake"]

SAME_S = 1e-9
"""Moments that are so few seconds apart are one: sums of times are rounded."""


class Taken(Protocol):
    """Calls that run, whose ends a driver takes itself; `sim.endpoints.sharing.Sharing` is one."""

    def take(self, wake: Wake) -> Request | None:
        """The call that ends alone by a wake that is due; None if all that it was for is done."""

    def take_next(self, t: float, before_s: float) -> Request | None:
        """`resume`, and take the call that ends next, if it ends alone and before `before_s`."""

    def resume(self, t: float) -> None:
        """All is said of the call that was taken, and others may have joined; t is now."""

    @property
    def counted_s(self) -> float:
        """When the call ends that `take_next` returned."""


class Wake(simpy.events.Event):
    """A triggered event, as a Timeout is: the kernel runs its callbacks when it is due.

    Attributes:
        at_s: when that is, as the kernel rounds it, for who sets it.
        ok: it never fails.
        sharing: whose next end it is, for a driver that takes that itself; None if none does.
    """

    ok = True  # no property: the kernel asks at each event

    def __init__(self, env: simpy.Environment) -> None:
        super().__init__(env)
        self._ok = True
        self._value = None
        self.at_s = math.inf
        self.sharing: Taken | None = None


class Timer:
    """Calls `action` at a time that may be moved as often as wanted.

    SimPy cannot take back an event that it was given. A timer that moves on to a later moment lets
    the earlier wake come and looks again; one that moves to an earlier moment is given a wake
    more, and ignores the late one. A timer that was cleared may wake once, and does nothing.

    Args:
        env: the clock.
        action: gets the time, in seconds.
    """

    __slots__ = ("_action", "_callbacks", "_due_s", "_env", "_event", "_wake_s")

    def __init__(self, env: simpy.Environment, action: Callable[[float], object]) -> None:
        self._env = env
        self._action = action
        self._due_s = self._wake_s = math.inf
        self._callbacks: list[Any] = [self._woken]
        self._event = Wake(env)
        self._event.callbacks = self._callbacks

    @property
    def due_s(self) -> float:
        """When it will act; infinity if it will not."""
        return self._due_s

    def at(self, t: float) -> None:
        """Act at time t in seconds, and no longer at another; at once in SimPy's order if past."""
        self._due_s = t
        if t < self._wake_s:
            now = self._env.now
            delay = t - now if t > now else 0.0
            # As the kernel works it out: what it rounds, this must round too.
            self._wake_s = now + delay
            self._env.schedule(self._event, delay=delay)

    def clear(self) -> None:
        """Do not act."""
        self._due_s = math.inf

    def _woken(self, event: simpy.events.Event) -> None:
        # The kernel takes the callbacks away; other wakes of this event may be to come.
        event.callbacks = self._callbacks
        now = self._env.now
        if now < self._wake_s:
            return
        self._wake_s = math.inf
        due_s = self._due_s
        if due_s > now:
            if due_s < math.inf:
                self.at(due_s)
            return
        self._due_s = math.inf
        self._action(now)
