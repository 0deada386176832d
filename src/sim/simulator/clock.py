"""The clock of an incarnation: SimPy's environment, with a loop that knows the calls of a run.

SimPy's own loop hands each event to a list of callbacks. Nearly all events here are calls of one
handler, whose time and order are all that counts: an entry of this clock's heap is a time, a number
in the order of scheduling, and an event, as in SimPy's, and a call goes to the handler at once.
Whatever else is scheduled (timers, timeouts, anything of SimPy's) finds the environment that it
knows.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import simpy
from simpy.events import NORMAL, Event

__all__ = ["Clock"]

_URGENT = 1 << 62
"""An urgent event comes before all others of its instant, and one of a late priority after them."""


class Clock(simpy.Environment):
    """An environment whose queue its users may push to.

    Args:
        initial_time: the time at its begin, in seconds.
        kind: the class of the events that are calls.
        order: gives events their places in an instant; clocks that share one share its order.

    Attributes:
        now: the time.
        queue: a heap of events to come: their times, their order within an instant, the events;
            then, of a cell's call that `sim.simulator.plain_loop` started, column, row and number
            of the cell, and of all else -1 and zeros.
        order: gives the next event its place in that order.
        handler: takes each call that is due.
        watch: if given, is called before time moves, with the seconds.
    """

    now: float = 0.0  # a plain attribute is read at each event

    def __init__(
        self, initial_time: float, kind: type[Event], order: Iterator[int] | None = None
    ) -> None:
        super().__init__(initial_time)
        self.now = initial_time
        self._kind = kind
        self.queue: list[tuple[float, int, Any, int, int, int]] = []
        self.order = itertools.count() if order is None else order
        self.handler: Callable[[Any], object]
        self.watch: Callable[[float], object] | None = None
        # It moves on by itself, and nobody else makes it.
        self._runs = False

    def schedule(self, event: Event, priority: Any = NORMAL, delay: float = 0) -> None:
        """Let an event happen so many seconds from now."""
        order = next(self.order)
        if priority != NORMAL:
            order += _URGENT if priority > NORMAL else -_URGENT
        heapq.heappush(self.queue, (self.now + delay, order, event, -1, 0, 0))

    def free_until(self) -> float:
        """The time before which nothing is to happen, so that it may `move_to` any earlier one.

        Who would have an event there needs none. Minus infinity if it does not move by itself.
        """
        queue = self.queue
        if not self._runs:
            return -math.inf
        return queue[0][0] if queue else math.inf

    def move_to(self, t: float) -> None:
        """Move on to a time that `free_until` allows."""
        if t > self.now:
            if self.watch is not None:
                self.watch(t - self.now)
            self.now = t

    def peek(self) -> float:
        """The time of the next event; infinite if there is none."""
        return self.queue[0][0] if self.queue else math.inf

    def run(self, until: Any = None) -> None:
        """Let all events happen, one after the other, until none is left or one raises."""
        assert until is None
        queue, kind, handler, pop = self.queue, self._kind, self.handler, heapq.heappop
        watch, self._runs = self.watch, True
        while queue:
            t, _, event, *_ = pop(queue)
            if watch is not None and t > self.now:
                watch(t - self.now)
            self.now = t
            if event.__class__ is kind:
                handler(event)
            else:
                self.happen(event)

    def step(self) -> None:
        """Let the next event happen; nobody watches."""
        self.now, _, event, *_ = heapq.heappop(self.queue)
        self.happen(event)

    def happen(self, event: Event) -> None:
        """An event is due, a call or any other; it is no more in the queue."""
        if event.__class__ is self._kind:
            self.handler(event)
            return
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
        for callback in callbacks:
            callback(event)
        assert event.ok or event.defused, event
