"""The moments at which calls are given up if they have no answer by then."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import simpy

from sim.endpoints.request import Request
from sim.endpoints.timer import Timer

__all__ = ["Deadlines"]


class Deadlines:
    """The deadlines of calls that are out.

    Bounds are few, one for each column or so, and the calls of one bound are due in the order in
    which they were sent. So there is a line for each bound, and one timer for the heads of all.

    Args:
        env: the clock.
        passed: the call has no answer at its deadline; called then, in seconds.
    """

    def __init__(self, env: simpy.Environment, passed: Callable[[Request, float], object]) -> None:
        self._passed = passed
        self._lines: dict[float, OrderedDict[Request, float]] = {}
        self.attach(env)

    def attach(self, env: simpy.Environment) -> None:
        """Begin a new incarnation, in which no call is out."""
        self._lines.clear()
        self._timer = Timer(env, self._look)

    def start(self, request: Request, t: float) -> None:
        """A call is sent at time t; it may take `timeout_s`."""
        bound_s = request.timeout_s
        line = self._lines.get(bound_s)
        if line is None:
            line = self._lines[bound_s] = OrderedDict()
        line[request] = due_s = t + bound_s
        if due_s < self._timer.due_s:
            self._timer.at(due_s)

    def stop(self, request: Request) -> None:
        """A call has its answer, perhaps at its deadline. The timer finds out when it looks."""
        self._lines[request.timeout_s].pop(request, None)

    def _look(self, t: float) -> None:
        late: list[Request] = []
        for line in self._lines.values():
            while line and (head := next(iter(line.items())))[1] <= t:
                late.append(head[0])
                del line[head[0]]
        for request in late:
            self._passed(request, t)
        due_s = min((next(iter(line.values())) for line in self._lines.values() if line), default=0)
        if due_s:
            self._timer.at(due_s)
