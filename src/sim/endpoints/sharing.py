"""Processor sharing: calls that run at once, and slow each other down.

Each call that runs progresses at a speed that depends on how many run. The work that a call would
have done that had run from the beginning is the *progress* V: it grows by ``1 / unit_s(n)`` a
second while n calls run, and stands still in a stall. A call that joins at V ends when V has grown
by its work, whatever joins and leaves meanwhile. So a change costs a step in a heap of ends, and
nobody's remaining work is ever worked out anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import Any

import simpy
from simpy.events import NORMAL

from cellspec.errors import SpecError
from sim.endpoints.plan import SpeedTable
from sim.endpoints.request import Request
from sim.endpoints.timer import SAME_S, Wake

__all__ = ["Sharing"]

REBASED_AT = 4096.0
"""Progress is counted anew when it is so large: what is added to it is rounded by its size."""


INF = math.inf

_ticket = attrgetter("ticket")


class Sharing:
    """The calls that run at one server, and their ends.

    Args:
        env: the clock.
        speed: the seconds that a unit of work takes, by how many run; None if each call runs as if
            it were alone, and a unit takes a second.
        on_end: gets the calls that end at one instant, in the order in which they joined, and the
            instant. All of them have left; others may join before it returns.
        on_one: gets a call that ends alone instead of a list of it; None if `on_end` does.
        on_overdue: told the time before a call joins, if others end by then, which may be taken
            out; None if nobody is to be told.
        taken: a driver that knows how may `take` calls that end instead of `on_one`.

    Attributes:
        running: how many calls run, or stand still in a stall.
        joined: how many calls have joined.
        ended: how many calls have ended, those included that `free` took out.
        call_s, counted_s: the integral of the calls that ran over time, in seconds, up to
            `counted_s`; it stands for no `remove`.
        sojourn_s: the time from their start of calls that ended.
        due_s: when the next call ends if nothing changes; infinity if none does.
    """

    __slots__ = (
        "_alone",
        "_at_s",
        "_callbacks",
        "_env",
        "_free_until",
        "_heap",
        "_move_to",
        "_on_end",
        "_on_one",
        "_on_overdue",
        "_ran",
        "_rebased",
        "_schedule",
        "_spare",
        "_speed",
        "_stalls",
        "_taken",
        "_unit_s",
        "_units",
        "_v",
        "_wake",
        "_waking",
        "call_s",
        "counted_s",
        "due_s",
        "ended",
        "joined",
        "running",
        "sojourn_s",
    )

    def __init__(
        self,
        env: simpy.Environment,
        speed: SpeedTable | None,
        on_end: Callable[[list[Request], float], object],
        on_one: Callable[[Request, float], object] | None = None,
        on_overdue: Callable[[float], object] | None = None,
        *,
        taken: bool = False,
    ) -> None:
        # Alone, progress is the time itself: a call ends at the very sum of start and work.
        self._alone = speed is None
        self._speed = speed or SpeedTable(((1, 1.0),))
        self._units = [self._speed.unit_s(0)]
        self._on_end = on_end
        self._on_overdue, self._taken = on_overdue, taken
        self._on_one = on_one or (lambda request, t: on_end([request], t))
        self._heap: list[tuple[float, int, Request]] = []
        self.running = 0
        # Progress was `_v` at `_at_s`, and has grown since at one unit in `_unit_s` seconds.
        self._v = self._at_s = 0.0
        self._unit_s = self._units[0]
        self._stalls = 0
        self.joined = self.ended = self._rebased = self._ran = 0
        self.call_s = self.counted_s = self.sojourn_s = 0.0
        self.attach(env)

    def attach(self, env: simpy.Environment) -> None:
        """Go on with another clock; no call may run."""
        self._env, self._schedule = env, env.schedule
        # A clock that knows how is moved on by who takes the call that ends next.
        self._free_until: Callable[[], float] = getattr(env, "free_until", _is_not_free)
        self._move_to: Callable[[float], object] = getattr(env, "move_to", _is_not_free)
        self._callbacks: list[Any] = [self._woken]
        # What `sim.endpoints.timer` does, without a call for each step: this is the hot path.
        self._spare: list[Wake] = []
        self._wake = self._new_wake()
        self._waking = False
        self.due_s = INF

    def _new_wake(self) -> Wake:
        wake = Wake(self._env)
        if self._taken:
            wake.sharing = self
        return wake

    # Joining and leaving

    def add(self, request: Request, t: float) -> None:
        """A call joins at time t in seconds: its answer begins."""
        if not self._waking and self.due_s <= t + SAME_S and self._on_overdue is not None:
            self._on_overdue(t)
        running = self.running
        if t > self.counted_s:
            self.call_s += running * (t - self.counted_s)
            self.counted_s = t
        request.decoding_s = t
        if running:
            v = self._v if self._stalls else self._v + (t - self._at_s) / self._unit_s
        elif self._alone and not self._stalls:
            v = self._v + (t - self._at_s)
        else:
            v = self._v = 0.0
            self._at_s = t
        self.joined = request.ticket = ticket = self.joined + 1
        heappush(self._heap, (v + request.work, ticket, request))
        self.running = running + 1
        if not self._waking:
            self._change(t)

    def remove(self, request: Request, t: float) -> bool:
        """A call leaves before its end; False if it does not run."""
        if request.ticket < 0:
            return False
        request.ticket = -1
        self.running -= 1
        # The ends of calls that left stay in the heap until they come up, or are too many.
        if len(self._heap) > 2 * self.running + 16:
            self._heap = [entry for entry in self._heap if entry[1] == entry[2].ticket]
            heapify(self._heap)
        if not self._waking:
            self._change(t)
        return True

    def free(self, t: float) -> list[Request]:
        """Take out the calls that end at time t, before the timer comes to it.

        Returns:
            The calls in the order in which they joined; `on_end` does not get them.
        """
        due = self._take_due(t)
        if due and not self._waking:
            self._change(t)
        return due

    def members(self) -> list[Request]:
        """The calls that run, in the order in which they joined."""
        here = [request for _, ticket, request in self._heap if ticket == request.ticket]
        here.sort(key=_ticket)
        return here

    # Stalls

    def stall(self, t: float) -> None:
        """No call advances from time t on, until each stall has ended by `go_on`."""
        if not self._stalls:
            self._v += (t - self._at_s) / self._unit_s
            self._at_s = t
            self.due_s = INF
        self._stalls += 1

    def go_on(self, t: float) -> None:
        """One stall ends at time t."""
        self._stalls -= 1
        if not self._stalls:
            self._at_s = t
            if not self._waking:
                self._change(t)

    # The next end

    def _woken(self, wake: Wake) -> None:
        t, request = wake.at_s, self.take(wake)
        while request is not None:
            self._on_one(request, t)
            request = self.take_next(t, self._free_until())
            if request is not None:
                t = self.counted_s
                self._move_to(t)

    def take(self, wake: Wake) -> Request | None:
        """The call that ends alone by a wake that is due; None if all that it was for is done.

        Who takes it asks for the next, or to `resume`, when all is said of it.
        """
        if wake is not self._wake:
            self._spare.append(wake)
            return None
        t = wake.at_s
        wake.at_s = INF
        if self.due_s > t:
            # By rounding it came too early.
            self._change(t)
            return None
        # Until all is said of this instant nobody asks for the speed of those who run.
        self._ran, self._waking = self.running, True
        due = self._take_due(t)
        self.due_s = INF
        if len(due) == 1:
            return due[0]
        self._on_end(due, t)
        self.resume(t)
        return None

    def resume(self, t: float) -> None:
        """All is said of calls that ended, and others may have joined; t is now."""
        self.take_next(t, -INF)

    def take_next(self, t: float, before_s: float) -> Request | None:
        """`resume`, and take the call that ends next, if it ends alone and before `before_s`.

        Returns:
            That call, which ends at `counted_s`; None if a wake is set for it, or none is to come.
        """
        if self._v > REBASED_AT and self.joined - self._rebased > len(self._heap):
            self._rebase()
        heap, running = self._heap, self.running
        # While some run the heap has an end at least.
        end, ticket, request = heap[0] if running else (INF, 0, None)
        if request is None or running != self._ran or self._stalls or ticket != request.ticket:
            self._waking = False
            self._change(t)
            return None
        # As many run as before, so that nothing has changed but who is the next.
        at_s, v, unit_s = self._at_s, self._v, self._unit_s
        due_s = at_s + (end - v) * unit_s
        delay = due_s - t if due_s > t else 0.0
        # As the kernel works it out: what it rounds, this must round too.
        ends_s = t + delay
        if due_s <= ends_s < before_s:
            heappop(heap)
            if not heap or at_s + (heap[0][0] - v) * unit_s > ends_s + SAME_S:
                request.ticket = -1
                self.call_s += running * (ends_s - self.counted_s)
                self.counted_s = ends_s
                self.sojourn_s += ends_s - request.decoding_s
                self.ended += 1
                self.running = running - 1
                return request
            heappush(heap, (end, ticket, request))
        self._waking, self.due_s = False, due_s
        wake = self._wake
        wake.at_s, wake.callbacks = ends_s, self._callbacks
        self._schedule(wake, NORMAL, delay)
        return None

    def _take_due(self, t: float) -> list[Request]:
        """Take the calls from the heap that end at time t, in the order in which they joined."""
        if self._stalls:
            return []
        # Ends that only rounding keeps apart are one: else the first could begin a stall.
        by_s = t + SAME_S
        due: list[Request] = []
        heap, v, at_s, unit_s = self._heap, self._v, self._at_s, self._unit_s
        while heap:
            end, ticket, request = heap[0]
            if ticket == request.ticket:
                if at_s + (end - v) * unit_s > by_s:
                    break
                due.append(request)
            heappop(heap)
        if len(due) > 1:
            due.sort(key=_ticket)
        self.call_s += self.running * (t - self.counted_s)
        self.counted_s = t
        for request in due:
            request.ticket = -1
            self.sojourn_s += t - request.decoding_s
        self.ended += len(due)
        self.running -= len(due)
        return due

    def _change(self, t: float) -> None:
        """Go on at the speed of those who run now, and wake at the next end; t is now.

        An early wake looks again, and one too late is left alone.
        """
        running, units = self.running, self._units
        unit_s = units[running] if running < len(units) else self._unit_of(running)
        if self._stalls:
            self._unit_s = unit_s
            return
        if unit_s != self._unit_s:
            self._v += (t - self._at_s) / self._unit_s
            self._at_s = t
            self._unit_s = unit_s
        heap = self._heap
        while heap:
            end, ticket, request = heap[0]
            if ticket == request.ticket:
                break
            heappop(heap)
        else:
            self.due_s = INF
            return
        self.due_s = due_s = self._at_s + (end - self._v) * unit_s
        wake = self._wake
        if due_s < wake.at_s:
            if wake.at_s < INF:
                self._wake = wake = self._spare.pop() if self._spare else self._new_wake()
            delay = due_s - t if due_s > t else 0.0
            wake.at_s = t + delay
            wake.callbacks = self._callbacks
            self._schedule(wake, NORMAL, delay)

    def _unit_of(self, running: int) -> float:
        """Seconds a unit while so many run, kept for the next time."""
        units = self._units
        while len(units) <= running:
            unit_s = self._speed.unit_s(len(units))
            if not unit_s > 0:
                raise SpecError(
                    f"speed: a unit of work takes {unit_s:g} s with {len(units)} calls at once: "
                    "give a table whose seconds stay above 0"
                )
            units.append(unit_s)
        return units[running]

    def _rebase(self) -> None:
        """Count progress anew; ends less a whole number are exact, and keep their order."""
        if self._alone:
            return
        base = math.floor(self._v)
        self._v -= base
        self._heap = [(end - base, ticket, request) for end, ticket, request in self._heap]
        self._rebased = self.joined


def _is_not_free(_t: float = 0.0) -> float:
    """A clock that always wants to be told by an event."""
    return -INF
