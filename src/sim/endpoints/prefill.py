"""The prompts that a server reads: one at a time, in the order in which they came."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import simpy

from sim.endpoints.request import Request
from sim.endpoints.timer import SAME_S, Timer

__all__ = ["PrefillLine"]


class PrefillLine:
    """Prompts that are read one after the other.

    Args:
        env: the clock.
        tokens_per_s: how fast.
        on_read: gets a request whose prompt was read, and the time in seconds. The next prompt, if
            there is one, is being read by then.
    """

    def __init__(
        self,
        env: simpy.Environment,
        tokens_per_s: float,
        on_read: Callable[[Request, float], object],
    ) -> None:
        self._tokens_per_s = tokens_per_s
        self._on_read = on_read
        # The first is being read until `_end_s`, or in a stall for `_rest_s` after it.
        self._line: OrderedDict[Request, None] = OrderedDict()
        self._end_s = self._rest_s = 0.0
        self._stalls = 0
        self.attach(env)

    def attach(self, env: simpy.Environment) -> None:
        """Go on with another clock; no prompt may be here."""
        self._timer = Timer(env, self._read)

    @property
    def busy(self) -> bool:
        """True while a prompt is being read."""
        return bool(self._line)

    def add(self, request: Request, t: float) -> None:
        """A prompt joins at time t in seconds."""
        self._line[request] = None
        if len(self._line) == 1:
            self._begin(t)

    def remove(self, request: Request, t: float) -> bool:
        """A prompt is not to be read any more; False if it is not here."""
        if request not in self._line:
            return False
        first = next(iter(self._line)) is request
        del self._line[request]
        if first:
            self._timer.clear()
            if self._line:
                self._begin(t)
        return True

    def members(self) -> list[Request]:
        """The requests whose prompts are here, in the order in which they joined."""
        return list(self._line)

    def clear(self) -> list[Request]:
        """All prompts are gone; gives their requests in the order in which they joined."""
        gone = self.members()
        self._line.clear()
        self._timer.clear()
        return gone

    def stall(self, t: float) -> None:
        """No prompt advances from time t on, until each stall has ended by `go_on`."""
        if not self._stalls:
            while self._line and self._end_s <= t + SAME_S:
                self._read(t)
            self._rest_s = self._end_s - t
            self._timer.clear()
        self._stalls += 1

    def go_on(self, t: float) -> None:
        """One stall ends at time t."""
        self._stalls -= 1
        if not self._stalls and self._line:
            self._end_s = t + self._rest_s
            self._timer.at(self._end_s)

    def _begin(self, t: float) -> None:
        """The first prompt of the line is to be read from time t on."""
        self._rest_s = next(iter(self._line)).prompt_tokens / self._tokens_per_s
        if not self._stalls:
            self._end_s = t + self._rest_s
            self._timer.at(self._end_s)

    def _read(self, t: float) -> None:
        request, _ = self._line.popitem(last=False)
        if self._line:
            self._begin(t)
        self._on_read(request, t)
