"""The clocks of an incarnation: virtual time on a loop, chosen ends of calls, or real time.

A probe asks its clock for the time, and lets time pass on it while a call runs.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import NoReturn, Protocol

from cellspec import virtualtime
from cellspec.conformance.run.workload import TICK_S
from cellspec.machine.actions import Choose

__all__ = ["ChosenClock", "Clock", "LoopClock", "WallClock"]


class Clock(Protocol):
    """The time of one incarnation: virtual, or real with shortened latencies."""

    scale: float
    """Seconds of this clock for one second of the workload."""

    notice_s: float
    """Seconds of this clock in which an engine notices that it was asked to stop."""

    timer_share: float
    """The share of a bound of a call after which a timer of the engine may have run out: in real
    time the timer begins earlier than the call, and nobody can say by how much."""

    def now(self) -> float:
        """Seconds since the run began, over all its incarnations."""

    async def sleep(self, seconds: float, who: tuple[str, int]) -> None:
        """Let `seconds` pass for a coroutine: the call of a column's row or scope."""

    def wait(self, seconds: float, gone: threading.Event) -> None:
        """Let `seconds` of this clock pass for a thread, or less if `gone` is set."""

    def halt(self, reason: BaseException) -> NoReturn:
        """Raise `reason`, and stop all other tasks if the clock can."""


class LoopClock:
    """The time of a virtual loop."""

    scale = 1.0
    notice_s = 0.0
    timer_share = 1.0

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float, who: tuple[str, int]) -> None:  # noqa: ARG002
        await asyncio.sleep(seconds)

    def wait(self, seconds: float, gone: threading.Event) -> None:
        """Return at once: a function that runs inline in the loop is instantaneous."""

    def halt(self, reason: BaseException) -> NoReturn:
        assert isinstance(self._loop, virtualtime.VirtualTimeLoop)
        self._loop.abort(reason)


class ChosenClock(LoopClock):
    """A virtual clock on which calls end one by one, a tick apart, in an order of choice.

    Whenever the engine has nothing left to do, `choose` picks one of the calls in flight. A virtual
    loop goes on to its next timer at that moment, so a timer a tick ahead is enough. Without a call
    in flight the loop has no timer, so an engine that waits for nothing is still found.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, choose: Choose) -> None:
        super().__init__(loop)
        self._choose = choose
        self._calls: dict[asyncio.Future[None], tuple[str, int]] = {}
        self._armed = False

    async def sleep(self, seconds: float, who: tuple[str, int]) -> None:  # noqa: ARG002
        ends = self._loop.create_future()
        self._calls[ends] = who
        self._arm()
        try:
            await ends
        finally:
            self._calls.pop(ends, None)

    def _arm(self) -> None:
        if self._calls and not self._armed:
            self._armed = True
            self._loop.call_later(TICK_S, self._end_one)

    def _end_one(self) -> None:
        self._armed = False
        # A call that was cancelled in this instant is in flight until its task hears of it.
        futures = [future for future in self._calls if not future.done()]
        if futures:
            named = {self._calls[future]: future for future in futures}
            ends = named[self._choose("end of call", list(named))]
            del self._calls[ends]
            ends.set_result(None)
        self._arm()


class WallClock:
    """Real time, counted from the start of the run, with latencies shortened."""

    notice_s = 0.05
    timer_share = 0.0

    def __init__(self, scale: float, origin_s: float) -> None:
        self.scale = scale
        self._origin_s = origin_s

    def now(self) -> float:
        return time.monotonic() - self._origin_s

    async def sleep(self, seconds: float, who: tuple[str, int]) -> None:  # noqa: ARG002
        await asyncio.sleep(seconds)

    def wait(self, seconds: float, gone: threading.Event) -> None:
        gone.wait(seconds)

    def halt(self, reason: BaseException) -> NoReturn:
        raise reason
