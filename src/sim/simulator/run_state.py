"""The state of a run that its parts share: clock, machine, nodes in flight, counts.

`sim.simulator.simulator.Simulator` drives a run from start to end; `sim.simulator.calls` and the
parts beside it start and end its nodes. All hold the one `RunState` of the run.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import simpy

from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import column_of
from cellspec.machine.actions import Failure
from cellspec.machine.machine import Machine
from sim.endpoints.request import Request
from sim.simulator.clock import Clock
from sim.simulator.latency import Latency
from sim.simulator.outcome import Outcome
from sim.simulator.plan import RunPlan
from sim.simulator.queues import ReadyQueue
from sim.simulator.timings import Timings

__all__ = [
    "FLUSHED_EVERY",
    "CallDetails",
    "Crashed",
    "FailingCall",
    "RunState",
    "Settle",
    "Task",
]

Settle: TypeAlias = Callable[[float], None]
"""Follows each event, at its time: starts nodes, finishes rows, begins checkpoints."""

FLUSHED_EVERY = 1 << 16
"""After so many cells the log is added to the fingerprint, and progress is reported."""


class Crashed(Exception):  # noqa: N818 - a control transfer out of the event loop
    """The process crashes."""


@dataclass(slots=True)
class CallDetails:
    """What a call has beyond its node: it is on a route, or is that of a range or a barrier.

    Attributes:
        call: which call of its node, or of the first row of its range, from 1.
        start: the row, or the first row of its range; of a barrier node its scope.
        stop: the row after the last of its range; for anything else the row after its own.
        start_s, seconds: when it began, and how long it takes in all.
        failure: how it will fail, or None.
        given: rows of its range that it has given, or passed over.
        ends_like_first: of one cell on a route, it ends well, and nobody asks later what it took.
    """

    call: int
    start: int
    stop: int
    start_s: float
    seconds: float
    failure: Failure | None
    given: int = 0
    ends_like_first: bool = False

    @property
    def row_s(self) -> float:
        """The seconds of each row of its range."""
        return self.seconds / (self.stop - self.start)

    def costs(self, *, on_route: bool) -> tuple[int, int, float]:
        """Rows that it gave, as [start, stop), and the seconds of each.

        On a route all rows come at one moment: the first has taken all the time.
        """
        if on_route:
            return self.start, self.start + min(self.given, 1), self.seconds
        return self.start, self.start + self.given, self.row_s

    def lost_s(self, *, on_route: bool) -> float:
        """Its seconds, less those of the rows that it gave."""
        if on_route:
            return 0.0 if self.given else self.seconds
        return self.seconds * (1 - self.given / (self.stop - self.start))


@dataclass(frozen=True, slots=True)
class FailingCall:
    """The n-th call of one cell, which fails; all else is asked when it ends."""

    call: int
    ends_like_first: ClassVar[bool] = False


class Task(simpy.events.Event):
    """A node in flight: a pooled event that is scheduled again and again.

    Attributes:
        column, row: the node's key (`cellspec.graph.nodes.NodeKey`), in two attributes.
        start_s: when it began, if it has a route and no details.
        ends_s: when it ends, unless the process crashes before; minus infinity while nobody knows.
        request: its record on a route that keeps one with it.
        details: None for a call of one cell that ends well.
    """

    def __init__(self, env: simpy.Environment) -> None:
        super().__init__(env)
        # A triggered event, as a Timeout is: the kernel then runs its callbacks when it is due.
        self._ok = True
        self._value = None
        self.column = 0
        self.row = 0
        self.start_s = self.ends_s = 0.0
        self.request: Request | None = None
        self.details: CallDetails | FailingCall | None = None


class _Last(Task):
    """The last event of an instant; no call."""


class RunState:
    """One run, between its events.

    Attributes:
        timed: the machine gets the time of each event.
        groups: how many groups of columns there are that take different places.
        capacity: by group of columns, how many nodes may run at once.
        works: by column, whether it ages a row.
        order: gives the events of all incarnations their places in an instant.
        env: the clock and the events to come, of this incarnation.
        tasks, spare: all tasks of this incarnation, and those of them that are free.
        emissions: output of barriers that is to be given: column, first row, row after the last.
        queues: by group, the nodes that are ready.
        done: cells with a value, those made again included.
        other_events: events beside those that `done` and the calls in flight stand for.
        rows_seen: how many finished rows were seen, without a gap from row 0.
        furthest: the highest row of a working column that has a value in this incarnation.
        crash_event: the number of the event after which the next crash strikes.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        latency: Latency,
        plan: RunPlan,
        machine: Machine,
        *,
        timed: bool,
        progress: Callable[[float, int], object] | None,
    ) -> None:
        self.graph, self.rules, self.latency, self.plan = graph, graph.rules, latency, plan
        self.machine = machine
        self.timed = timed
        self.progress = progress
        limits = plan.limits
        # Without the machine's group of output, which takes no slot.
        self.groups = machine.state.output_group
        self.capacity: Sequence[int] = [*limits.resources.values(), sys.maxsize]
        if limits.column_places:
            self.capacity = machine.state.capacity
        self.workers = plan.limits.workers or sys.maxsize
        columns = graph.num_columns
        self.outcome = Outcome(done=[0] * columns, calls=[0] * columns, busy_s=[0.0] * columns)
        takes = [rule.name in limits.column_resource for rule in graph.rules.columns]
        self.works = takes if any(takes) else [True] * columns
        of_resource = [
            [group for group, places in enumerate(limits.takes) if name in places]
            for name in limits.resources
        ]
        groups = [*of_resource, [self.groups - 1]]
        self.timings = Timings(graph.rules, machine.group_of, groups, self.works)
        self.counters = machine.counters
        self.emissions: list[tuple[int, int, int]] = []
        self.queues: list[ReadyQueue] = []
        self.done = 0
        self.rows_seen = -1
        self.other_events = 0
        self.crash_event: int | None = None
        self.log = array("q")
        self.digest = hashlib.blake2b(digest_size=16)
        self.order: Iterator[int] = itertools.count()

    def begin(self, start_s: float) -> None:
        """A new incarnation begins, with a new clock and without tasks."""
        self.env = Clock(start_s, Task, self.order)
        self.tasks: list[Task] = []
        self.spare: list[Task] = []
        self.running: list[Task] = []
        self.furthest = self.machine.completed_rows - 1

    # Events

    @property
    def events(self) -> int:
        """Actions so far. A cell that is done has started and completed; a call in flight started.

        Whatever is otherwise is made good in `other_events` when it happens.
        """
        return 2 * self.done + self.machine.in_flight + self.other_events

    def count_event(self) -> None:
        """One more event; a crash may strike just after it.

        Raises:
            Crashed: it does.
        """
        self.other_events += 1
        self.crash_if_due()

    def crash_if_due(self) -> None:
        """Crash if the event of the next crash has happened.

        Raises:
            Crashed: it has.
        """
        if self.crash_event and self.events >= self.crash_event:
            raise Crashed

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Let `action` happen so many seconds from now."""

        def due(_: simpy.events.Event) -> None:
            if self.timed:
                self.machine.at(self.env.now)
            action()

        callbacks: list[Any] = [due]
        self.env.timeout(seconds).callbacks = callbacks

    def after_all(self, action: Callable[[], None]) -> None:
        """Let `action` happen now, when all else has happened that is due now."""
        event = _Last(self.env)
        event.callbacks = [lambda _: action()]
        self.env.schedule(event, simpy.events.EventPriority(simpy.events.NORMAL + 1))

    # Counts

    def gave_output(self, column: int, start: int, stop: int) -> None:
        """Output cells of a barrier got their values."""
        self.timings.ended_rows(column, start, stop, self.env.now)
        if self.works[column]:
            self.furthest = max(self.furthest, stop - 1)
            self.outcome.window_rows = max(self.outcome.window_rows, stop - self.counters.rows)

    def note_progress(self, t: float) -> None:
        """Flush the log and report progress; called once for `FLUSHED_EVERY` cells."""
        self.flush_log()
        if self.progress is not None:
            self.progress(t, self.counters.rows)

    def flush_log(self) -> None:
        """Add the completions since the last call, with their times, to the fingerprint."""
        self.digest.update(self.log)
        self.digest.update(array("d", [self.env.now]))
        del self.log[:]

    def stop_tasks(self) -> None:
        """The incarnation is over: each running call was booked in full, and gives back the rest.

        `running` then holds the calls that ran.
        """
        now, idle = self.env.now, set(map(id, self.spare))
        self.running = [task for task in self.tasks if id(task) not in idle]
        for task in self.running:
            column = column_of((task.column, task.row))
            booked = self.outcome.busy_s[column]
            left = booked - max(0.0, task.ends_s - now)
            # What rounding leaves of nothing is nothing; a share of it would be a number.
            self.outcome.busy_s[column] = left if left > 1e-12 * booked else 0.0
