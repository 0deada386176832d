"""The scheduler's one loop around the way of every call: a time for each start, and for each end.

A call takes its place, waits for the loop and is started by it; then it goes through its endpoint,
or takes its latency; its end waits for the loop too, and only then its place is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import simpy

from cellspec.graph.rowset import RowSet
from cellspec.machine.actions import Failure
from cellspec.trace.format import EndpointSums, RequestStep
from sim.endpoints.plan import SerialPlan
from sim.endpoints.serial import SerialLoop
from sim.simulator.latency import Latency
from sim.simulator.outcome import Outcome
from sim.simulator.recording import Notify
from sim.simulator.route import Finish, Route
from sim.simulator.row_times import RowTimes
from sim.simulator.run_state import CallDetails, Task

__all__ = ["SerialRoute"]


class _Start(NamedTuple):
    """A call that waits to be started: what its route is to be given."""

    task: Task
    call: int
    stop: int
    fails: bool


class _End(NamedTuple):
    """A call that waits to be ended."""

    task: Task
    failure: Failure | None


class SerialRoute:
    """The way of all columns.

    Args:
        plan: what a start and an end take.
        inner: by column that has one, its own route.
        latency: of the other columns.
        bounds: by column, the seconds after which a call of these is given up.
        names: of the columns.
        notify: receives what happens to a call between its start and its end.
    """

    def __init__(
        self,
        plan: SerialPlan,
        inner: Mapping[int, Route],
        latency: Latency,
        bounds: Mapping[int, float],
        names: Sequence[str],
        notify: Notify | None,
    ) -> None:
        self._plan, self._inner, self._latency, self._bounds = plan, inner, latency, bounds
        self._names, self._notify = names, notify
        # By call that was let go, the fields that name its node in a trace, and whether it fails.
        self._nodes: dict[Task, tuple[dict[str, Any], bool]] = {}
        self._routes = list(dict.fromkeys(inner.values()))
        self._loop: SerialLoop[_Start | _End] | None = None

    def attach(
        self, env: simpy.Environment, finish: Finish, dropped: RowSet, times: RowTimes
    ) -> None:
        self._env, self._finish, self._times = env, finish, times
        if self._loop is None:
            self._loop = SerialLoop(self._plan, env, self._started, self._ended)
        else:
            self._loop.attach(env)
        for route in self._routes:
            route.attach(env, self._through, dropped, times)

    def enter(self, task: Task, call: int, stop: int, fails: bool, t: float) -> None:  # noqa: ARG002
        assert self._loop is not None
        self._loop.start(_Start(task, call, stop, fails))

    def _started(self, start: _Start | _End, t: float) -> None:
        assert isinstance(start, _Start)
        task, call, stop, fails = start
        column = task.column if task.column >= 0 else ~task.column
        if task.column >= 0:
            self._times.entered(column, task.row, stop, t)
        if self._notify is not None:
            node: dict[str, Any] = {"scope": task.row}
            if task.column >= 0:
                node = {"rows": task.row if stop == task.row + 1 else (task.row, stop)}
            node["column"] = self._names[column]
            self._nodes[task] = node, fails
            self._notify("request", t, **node, request=RequestStep("entered"))
        route = self._inner.get(column)
        if route is not None:
            route.enter(task, call, stop, fails, t)
            return
        if task.column >= 0:
            seconds = self._latency.get(column, task.row, call)
        else:
            seconds = self._latency.get_barrier(column, task.row, call)
        failure: Failure | None = None
        bound_s = self._bounds.get(column)
        if bound_s is not None and seconds > bound_s:
            seconds, failure = bound_s, "timeout"
        through: list[Any] = [lambda _: self._through(task, failure)]
        self._env.timeout(seconds).callbacks = through

    def _through(self, task: Task, failure: Failure | None = None) -> None:
        assert self._loop is not None
        if self._notify is not None:
            node, fails = self._nodes.pop(task)
            step = RequestStep("answered", failed=fails or failure is not None)
            self._notify("request", self._env.now, **node, request=step)
        if task.column >= 0:
            assert isinstance(task.details, CallDetails)
            self._times.answered(task.column, task.row, task.details.stop, self._env.now)
        self._loop.end(_End(task, failure))

    def _ended(self, end: _Start | _End, t: float) -> None:  # noqa: ARG002
        assert isinstance(end, _End)
        column = end.task.column if end.task.column >= 0 else ~end.task.column
        if column in self._inner:
            self._inner[column].ended(end.task)
        self._finish(end.task, end.failure)

    def skip(self, column: int, row: int) -> None:
        if column in self._inner:
            self._inner[column].skip(column, row)

    def ended(self, task: Task) -> None:
        """Nothing holds its calls up."""

    def gave(self, task: Task) -> None:
        if task.column in self._inner:
            self._inner[task.column].gave(task)

    may_hold_up = True

    def holds_up(self) -> str:
        for route in self._routes:
            name = route.holds_up()
            if name:
                return name
        return "scheduler" if self._loop is not None and self._loop.waiting else ""

    def crash(self, t: float) -> None:
        self._nodes.clear()
        for route in self._routes:
            route.crash(t)

    def sums(self, t: float) -> dict[str, EndpointSums]:
        return {name: sums for route in self._routes for name, sums in route.sums(t).items()}

    def add_up(self, outcome: Outcome) -> None:
        for route in self._routes:
            route.add_up(outcome)
