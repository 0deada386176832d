"""The prompts that a server reads: one at a time, in the order in which they came."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import simpy
from simpy.events import NORMAL

from sim.endpoints.request import Request
from sim.endpoints.sharing import Sharing
from sim.endpoints.timer import SAME_S, Wake

__all__ = ["PrefillLine"]


class PrefillLine:
    """Prompts that are read one after the other.

    Args:
        env: the clock.
        tokens_per_s: how fast.
        on_read: gets a request whose prompt was read, and the time in seconds. The next prompt, if
            there is one, is being read by then.
        stalled: stands still while a prompt is being read.
    """

    def __init__(
        self,
        env: simpy.Environment,
        tokens_per_s: float,
        on_read: Callable[[Request, float], object],
        stalled: Sharing | None = None,
    ) -> None:
        self._tokens_per_s = tokens_per_s
        self._on_read = on_read
        self._stalled = stalled
        # The first is being read for `_rest_s` from the start or the end of the stall on.
        self._line: OrderedDict[Request, None] = OrderedDict()
        self._rest_s = 0.0
        self._stalls = 0
        self.attach(env)

    def attach(self, env: simpy.Environment) -> None:
        """Go on with another clock; no prompt may be here."""
        self._env, self._schedule = env, env.schedule
        self._callbacks: list[Any] = [self._woken]
        self._spare: list[Wake] = []
        # When the first prompt has been read; None while nothing advances.
        self._wake: Wake | None = None

    def add(self, request: Request, t: float) -> None:
        """A prompt joins at time t in seconds."""
        self._line[request] = None
        if len(self._line) == 1:
            if self._stalled is not None:
                self._stalled.stall(t)
            self._begin(t)

    def remove(self, request: Request, t: float) -> bool:
        """A prompt is not to be read any more; False if it is not here."""
        if request not in self._line:
            return False
        first = next(iter(self._line)) is request
        del self._line[request]
        if first:
            self._wake = None
            self._next(t)
        return True

    def members(self) -> list[Request]:
        """The requests whose prompts are here, in the order in which they joined."""
        return list(self._line)

    def stall(self, t: float) -> None:
        """No prompt advances from time t on, until each stall has ended by `go_on`."""
        if not self._stalls:
            while self._wake is not None and self._wake.at_s <= t + SAME_S:
                self._read(t)
            if self._wake is not None:
                self._rest_s = self._wake.at_s - t
                self._wake = None
        self._stalls += 1

    def go_on(self, t: float) -> None:
        """One stall ends at time t."""
        self._stalls -= 1
        if not self._stalls and self._line:
            self._wake_after(self._rest_s, t)

    def _begin(self, t: float) -> None:
        """The first prompt of the line is to be read from time t on."""
        self._rest_s = next(iter(self._line)).prompt_tokens / self._tokens_per_s
        if not self._stalls:
            self._wake_after(self._rest_s, t)

    def _wake_after(self, seconds: float, t: float) -> None:
        self._wake = wake = self._spare.pop() if self._spare else Wake(self._env)
        wake.at_s = t + seconds
        wake.callbacks = self._callbacks
        self._schedule(wake, NORMAL, seconds)

    def _woken(self, wake: Wake) -> None:
        self._spare.append(wake)
        if wake is self._wake:
            self._read(wake.at_s)

    def _read(self, t: float) -> None:
        """The first prompt has been read."""
        self._wake = None
        request, _ = self._line.popitem(last=False)
        self._next(t)
        self._on_read(request, t)

    def _next(self, t: float) -> None:
        """The prompt that was being read is gone."""
        if self._line:
            self._begin(t)
        elif self._stalled is not None:
            self._stalled.go_on(t)
