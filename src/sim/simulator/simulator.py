"""The discrete-event simulator: a run of a graph in virtual time, on SimPy.

Time decides which action comes next: a node that starts takes a latency, and completes when SimPy's
clock reaches its end. Everything else is the specification's: `cellspec.machine.machine` says what
is ready, refuses what is not allowed, and restores what a checkpoint claims. So the simulator holds
only what an engine would: queues, workers, the moment of a checkpoint, storage that takes time, and
crashes.

One event handler runs for each completion, and does the same four things: complete the node, start
what can be started, checkpoint if it is time, count. Nothing in it grows with rows or columns. A
started node is one pooled SimPy event, handed back to the kernel each time; creating a `Timeout`
for each node would cost as much again as all the rest of the kernel.

A crash throws away the SimPy environment, with all that was in flight. The next incarnation begins
after the restart delay, from a claim that storage gives back: the last one that was durable, or the
one that was being written, by a draw from the seed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import simpy

from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.rowset import RowSet
from cellspec.machine.machine import Choose, FailurePolicy, Limits, Machine
from cellspec.state.checkpoint import make_payload
from cellspec.state.codes import DONE
from cellspec.state.counters import Claim
from sim.draws import sequence
from sim.simulator.queues import FifoQueue, Policy, PriorityQueue, RandomQueue, ReadyQueue
from sim.simulator.timings import Timings, Waits

__all__ = [
    "CheckpointPlan",
    "CrashPlan",
    "Incarnation",
    "Latency",
    "Outcome",
    "RunPlan",
    "Simulator",
]


T = TypeVar("T")


class Latency(Protocol):
    """Durations in seconds, each a function of (seed, column, row, attempt) alone."""

    def reader(self, column: int) -> Callable[[int], float]:
        """Of the first attempt at a column's cells, by row."""

    def get(self, column: int, row: int, attempt: int = 1) -> float:
        """Of one attempt at a cell."""

    def get_barrier(self, column: int, scope: int, attempt: int = 1) -> float:
        """Of one barrier node."""

    def mean_s(self, column: int) -> float:
        """The expected duration of a column's cell, or of its barrier node."""


@dataclass(frozen=True, slots=True)
class CheckpointPlan:
    """When a checkpoint is written, and how long storage takes.

    Attributes:
        every_rows: after so many rows. With version 1 rows are finished rows; with version 2, which
            saves columns too, so many rows' worth of cells in any column.
        every_s: after so many seconds.
        version: of the payload.
        write_s: seconds from the begin of a write until it is durable.
    """

    every_rows: int | None = None
    every_s: float | None = None
    version: int = 1
    write_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CrashPlan:
    """One cause of crashes: a number of an event, a time, or a mean time between crashes."""

    at_event: int | None = None
    at_time_s: float | None = None
    mean_s: float | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Everything that decides a run, beside its graph and its latencies.

    Failures, row groups and ranges (`range_rows`: how many rows one call of a column makes) are
    for `sim.simulator.stepwise.StepwiseSimulator`; `Simulator` runs without them.
    """

    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    policy: Policy = "row-first"
    checkpoint: CheckpointPlan | None = None
    crashes: Sequence[CrashPlan] = ()
    restart_delay_s: float = 0.0
    failures: FailurePolicy | None = None
    range_rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Incarnation:
    """What one life of the process did. Times in seconds.

    Attributes:
        claimed_rows: rows that were complete when it began.
        cells_done: cells that got a value.
        cells_lost: of all cells with a value at its crash, those that are to be made again.
        in_flight_lost: calls that ran when it crashed.
        busy_lost_s: worker time of both.
    """

    number: int
    start_s: float
    claimed_rows: int
    end_s: float = 0.0
    crashed: bool = False
    cells_done: int = 0
    cells_lost: int = 0
    in_flight_lost: int = 0
    busy_lost_s: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What a run did, as counters; `sim.figures` defines them, `sim.results` shows them.

    Attributes:
        makespan_s: from the start to the end of the last write, restarts included.
        events: actions taken: starts, completions, emissions, storage, crashes and resumes.
        done: by column, cells that got a value, those done again included.
        calls: by column, calls that started.
        busy_s: by column, seconds of worker time.
        waits: by resource (then the columns that take none), how long calls were ready.
        sampled_every: waits and ages are those of every so many rows.
        ages_s: percentiles of the age of rows when they were complete.
        first_row_s: when the first row was complete that no crash took back.
        window_rows: the largest distance from the first unfinished row to a finished cell.
        checkpoints, checkpoint_bytes: written, and durable.
        tried, delivered, dropped: rows.
        made: cells with a value in delivered rows.
        outcome: how the run ended: "success" or "stopped".
        failures: by column, calls that failed, by kind; empty if no failure was asked for.
        rows_dropped: by column, rows given up because of it, as they are at the end.
        skipped: by column, cells of other rows that were skipped, likewise.
        fingerprint: a digest of the order of all completions, of the clock at intervals, at each
            resume and at the end, and of each resume's claim.
    """

    makespan_s: float = 0.0
    events: int = 0
    cells_done: int = 0
    done: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    busy_s: list[float] = field(default_factory=list)
    waits: list[Waits] = field(default_factory=list)
    sampled_every: int = 1
    ages_s: tuple[float | None, ...] = ()
    first_row_s: float = math.inf
    window_rows: int = 0
    checkpoints: int = 0
    checkpoint_bytes: int = 0
    tried: int = 0
    delivered: int = 0
    dropped: int = 0
    made: int = 0
    incarnations: list[Incarnation] = field(default_factory=list)
    outcome: str = "success"
    failures: list[dict[str, int]] = field(default_factory=list)
    rows_dropped: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    fingerprint: str = ""

    @property
    def wait_s(self) -> list[float]:
        """By resource (then the columns that take none), the sum of the waits."""
        return [item.total_s for item in self.waits]


class _Crash(Exception):  # noqa: N818 - a control transfer out of the event loop
    pass


class _End(Exception):  # noqa: N818 - likewise
    pass


class _Task(simpy.events.Event):
    """A node in flight: a pooled event that is scheduled again and again."""

    def __init__(self, env: simpy.Environment) -> None:
        super().__init__(env)
        # A triggered event, as a Timeout is: the kernel then runs its callbacks when it is due.
        self._ok = True
        self._value = None
        self.column = 0
        self.row = 0
        self.ends_s = 0.0


class Simulator:
    """One run. An engine broken on purpose overrides one of its methods.

    Args:
        graph: what is generated.
        latency: how long each node takes.
        plan: limits, policy, checkpoints, crashes and the seed.
        checked: judge time too (SCHED-08, SCHED-09); all other clauses are part of how the state
            moves, and cannot be switched off.
        choose: answers what time leaves open: "claim after crash". By default a draw from the seed.
        progress: called now and then with (seconds, finished rows).
    """

    waive: Collection[str] = ()
    """Clauses not to judge: for measuring what else would catch a broken engine."""

    def __init__(
        self,
        graph: ExecutionGraph,
        latency: Latency,
        plan: RunPlan,
        *,
        checked: bool = True,
        choose: Choose | None = None,
        progress: Callable[[float, int], object] | None = None,
    ) -> None:
        self.graph = graph
        self.rules = graph.rules
        self.latency = latency
        self.plan = plan
        self.checked = checked
        self.progress = progress
        self.machine = self._make_machine()
        self._other_events = 0
        self._capacity = [*plan.limits.resources.values(), sys.maxsize]
        self._workers = plan.limits.workers or sys.maxsize
        self.outcome = Outcome(
            done=[0] * graph.num_columns,
            calls=[0] * graph.num_columns,
            busy_s=[0.0] * graph.num_columns,
        )
        takes = [rule.name in plan.limits.column_resource for rule in graph.rules.columns]
        self._works = takes if any(takes) else [True] * graph.num_columns
        self.timings = Timings(graph.rules, self.machine.group_of, len(self._capacity), self._works)
        self._emissions: list[tuple[int, int, int]] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self._log = array("q")
        self._crashes = _CrashSchedule(plan)
        self.choose = choose or _Seeded(plan.seed)
        self._rows = self.machine.counters.rows
        self._done = 0

    def _make_machine(self) -> Machine:
        return Machine(self.graph, self.plan.limits, waive=self.waive)

    def run(self) -> Outcome:
        """Run to the end, through every crash, and return what happened.

        Raises:
            Violation: an event breaks a clause.
        """
        self._listen()
        start_s = 0.0
        while True:
            incarnation = Incarnation(
                self.machine.incarnation, start_s, self.machine.completed_rows
            )
            self.outcome.incarnations.append(incarnation)
            self._live(incarnation)
            if not incarnation.crashed:
                break
            start_s = incarnation.end_s + self.plan.restart_delay_s
            self._resume(incarnation, start_s)
        self._flush_log()
        self.outcome.makespan_s = incarnation.end_s
        self.outcome.events = self.events
        self.outcome.cells_done = sum(
            incarnation.cells_done for incarnation in self.outcome.incarnations
        )
        self.outcome.waits = self.timings.waits(incarnation.end_s)
        self.outcome.sampled_every = self.timings.every
        self._count_table()
        self.outcome.fingerprint = self._digest.hexdigest()
        return self.outcome

    def _count_table(self) -> None:
        """Add up what the finished table holds."""
        outcome, counters = self.outcome, self.machine.counters
        durable, dropped = min(self.machine.durable), counters.dropped
        gone = sum(row < durable for row in dropped)
        outcome.tried = self._rows_tried()
        outcome.dropped = len(dropped)
        outcome.delivered = durable - gone
        outcome.made = outcome.delivered * self.graph.num_columns - sum(
            row < durable and row not in dropped
            for rows in counters.skipped.values()
            for row in rows
        )
        outcome.ages_s = self.timings.ages(durable, dropped)
        if not outcome.delivered:
            outcome.first_row_s = math.inf

    def _rows_tried(self) -> int:
        """A run in which nothing goes wrong tries every row."""
        return self.graph.num_records

    def _live(self, incarnation: Incarnation) -> None:
        """One life of the process, to its crash or to the end of the run."""
        machine = self.machine
        open_before = list(machine.counters.open_cells)
        self.env = simpy.Environment(initial_time=incarnation.start_s)
        self._tasks: list[_Task] = []
        self._spare: list[_Task] = []
        self._crash_event = self._crashes.event
        # One list for all tasks: the kernel reads it and never changes it.
        self._on_completed: list[Any] = []
        self._settle = self._settler()
        self._on_completed.append(self._completion())
        self._writing = False
        self._furthest = machine.completed_rows - 1
        self._rows_seen = -1
        if not self._has_live_row(machine.completed_rows):
            # No row was complete yet, or the crash lost the first one that was.
            self.outcome.first_row_s = math.inf
        self._plan_claim()
        self._schedule_crash(incarnation.start_s)
        self._schedule_timer()
        try:
            self._settle(incarnation.start_s)
            self.env.run()
            machine.stuck()
        except _End:
            pass
        except _Crash:
            incarnation.crashed = True
            incarnation.in_flight_lost = self.machine.in_flight
        incarnation.end_s = self.env.now
        self.timings.settle(incarnation.start_s)
        self._emissions.clear()
        self._stop_tasks()
        self._count_cells(incarnation, open_before)

    def _count_cells(self, incarnation: Incarnation, open_before: Sequence[int]) -> None:
        """Add up the cells that a life completed, given how many were open when it began."""
        for column, before in enumerate(open_before):
            done = before - self.machine.counters.open_cells[column]
            incarnation.cells_done += done
            self.outcome.done[column] += done
            if not self.rules.columns[column].is_barrier:
                self.outcome.calls[column] += done
        for task in self._running:
            self.outcome.calls[task.column if task.column >= 0 else -1 - task.column] += 1

    # Nodes

    def _settler(self) -> Callable[[float], None]:
        """What follows any event: give barrier output, start what can start, checkpoint, finish."""
        rows, emissions, dispatch = self._rows, self._emissions, self._dispatcher()

        def settle(t: float) -> None:
            if emissions:
                self._emit()
            dispatch(t)
            if rows[0] != self._rows_seen:
                self._rows_finished(t)
            if self._done >= self._next_claim_at and self._is_due():
                self._begin_checkpoint()

        return settle

    def _completion(self) -> Callable[[_Task], None]:
        """The handler of a life's completions, with all that it needs at hand."""
        env, machine, rows = self.env, self.machine, self._rows
        resolve, settle, at = machine.counters.resolve, self._settle, machine.at
        num_records = self.graph.num_records
        log, spare, checked = self._log.append, self._spare.append, self.checked
        timings, works = self.timings, self._works
        flags, ends, every, ended = timings.flags, timings.ends, timings.every, timings.ended

        def completed(task: _Task) -> None:
            t = env.now
            if checked:
                at(t)
            column, row = task.column, task.row
            if column >= 0:
                resolve[column](row)
                self._done = done = self._done + 1
                flag = flags[row]
                if flag == 1:
                    ends[column][row // every] = t
                elif flag:
                    ended(column, row, t)
                if row > self._furthest and works[column]:
                    self._furthest = row
                    if row - rows[0] >= self.outcome.window_rows:
                        self.outcome.window_rows = row + 1 - rows[0]
                if not done & 0xFFFF:
                    self._flush_log()
                    if self.progress is not None:
                        self.progress(t, rows[0])
            else:
                self.outcome.calls[-1 - column] += 1
                machine.complete_barrier(-1 - column, row)
                # Its start stops counting as in flight.
                self._other_events += 2
            log(column * num_records + row)
            spare(task)
            if self._crash_event:
                self._crash_if_due()
            settle(t)

        return completed

    def _emit(self) -> None:
        """Give the output cells of barriers that have completed; they take no time."""
        while self._emissions:
            column, start, stop = self._emissions.pop()
            self.machine.emit(column, start, stop)
            self._done += stop - start
            self._other_events -= 2 * (stop - start)
            self._given(column, start, stop)
            self._count_event()

    def _given(self, column: int, start: int, stop: int) -> None:
        """Output cells have their values."""
        self.timings.ended_rows(column, start, stop, self.env.now)
        if self._works[column]:
            self._furthest = max(self._furthest, stop - 1)
            self.outcome.window_rows = max(self.outcome.window_rows, stop - self._rows[0])

    def _dispatcher(self) -> Callable[[float], None]:
        """What starts nodes, at time t, while a worker, a resource and ready work are there."""
        machine, spare, busy_s = self.machine, self._spare, self.outcome.busy_s
        load, start, workers = machine.counters.load, machine.counters.start, self._workers
        pick, schedule, on_completed = self._picker(), self.env.schedule, self._on_completed
        readers = [self.latency.reader(column) for column in range(self.graph.num_columns)]
        flags, columns = self.timings.flags, self.graph.num_columns
        begin, begin_s = self.timings.begun.append, self.timings.begun_s.append
        normal = simpy.events.NORMAL

        def dispatch(t: float) -> None:
            while load[0] < workers:
                node = pick()
                if node is None:
                    return
                column, row = node
                if column >= 0:
                    start[column](row)
                    seconds = readers[column](row)
                    busy_s[column] += seconds
                    if flags[row]:
                        begin(row * columns + column)
                        begin_s(t)
                else:
                    machine.start_barrier(-1 - column, row)
                    seconds = self.latency.get_barrier(-1 - column, row)
                    busy_s[-1 - column] += seconds
                task = spare.pop() if spare else self._new_task()
                task.column = column
                task.row = row
                task.ends_s = t + seconds
                task.callbacks = on_completed
                schedule(task, normal, seconds)
                if self._crash_event:
                    self._crash_if_due()

        return dispatch

    def _new_task(self) -> _Task:
        task = _Task(self.env)
        self._tasks.append(task)
        return task

    def _picker(self) -> Callable[[], tuple[int, int] | None]:
        """What gives the next node to start, of those whose resource is free."""
        queues, capacity, counters = self.queues, self._capacity, self.machine.counters
        if len(queues) == 1:
            return queues[0].pop

        def pick() -> tuple[int, int] | None:
            best, chosen = math.inf, -1
            for group, queue in enumerate(queues):
                if counters.busy[group] < capacity[group]:
                    key = queue.head_key()
                    if key < best:
                        best, chosen = key, group
            return queues[chosen].pop() if chosen >= 0 else None

        return pick

    @property
    def events(self) -> int:
        """Actions so far. Each node that started has completed, or runs, or was lost."""
        return 2 * self._done + self.machine.in_flight + self._other_events

    def _count_event(self) -> None:
        self._other_events += 1
        if self._crash_event:
            self._crash_if_due()

    def _crash_if_due(self) -> None:
        if self._crash_event and self.events >= self._crash_event:
            raise _Crash

    # Rows and checkpoints

    def _rows_finished(self, t: float) -> None:
        machine = self.machine
        self._rows_seen = machine.completed_rows
        if self.outcome.first_row_s > t and self._has_live_row(self._rows_seen):
            self.outcome.first_row_s = t
        if self.progress is not None:
            self.progress(t, self._rows_seen)
        if self._rows_seen == self.graph.num_records:
            self._finish_run()

    def _has_live_row(self, rows: int) -> bool:
        """True if one of the first `rows` rows was not dropped."""
        return rows > 0

    def _plan_claim(self) -> None:
        """Set the count of rows, or of cells done, at which the next claim is due.

        Version 1 saves finished rows only; version 2 saves cells of any column.
        """
        plan = self.plan.checkpoint
        self._next_claim_at: float = math.inf
        self._next_claim_row: float = math.inf
        if plan is None or plan.every_rows is None:
            return
        if plan.version == 1:
            self._next_claim_at = 0
            self._next_claim_row = self.machine.completed_rows + plan.every_rows
        else:
            self._next_claim_at = self._done + plan.every_rows * self.graph.num_columns
            self._next_claim_row = 0

    def _is_due(self) -> bool:
        return (
            not self._writing
            and self._done >= self._next_claim_at
            and self.machine.completed_rows >= self._next_claim_row
        )

    def _begin_checkpoint(self) -> None:
        """Make data durable, then write a claim on it."""
        plan, machine = self.plan.checkpoint, self.machine
        assert plan is not None
        claim = self._claim(plan.version)
        self._plan_claim()
        if claim == machine.durable_claim:
            return
        self._make_durable(claim)
        machine.checkpoint_begin(claim)
        self._count_event()
        text = json.dumps(make_payload(self.graph, claim, plan.version))
        self._writing = True
        if plan.write_s:
            self._after(plan.write_s, lambda: self._written(len(text)))
        else:
            self._checkpoint_durable(len(text))

    def _claim(self, version: int) -> Claim:
        return self.machine.claim(version)

    def _make_durable(self, claim: Claim) -> None:
        for column, rows in enumerate(claim):
            if rows > self.machine.durable[column]:
                self.machine.durable_rows(column, rows)
                self._count_event()

    def _written(self, size: int) -> None:
        self._checkpoint_durable(size)
        if self._rows_seen == self.graph.num_records:
            self._finish_run()
        elif self._is_due():
            self._begin_checkpoint()

    def _checkpoint_durable(self, size: int) -> None:
        self.machine.checkpoint_durable()
        self._writing = False
        self.outcome.checkpoints += 1
        self.outcome.checkpoint_bytes += size
        self._count_event()

    def _finish_run(self) -> None:
        """Every row is complete: write the last checkpoint if one is due, then report success."""
        machine = self.machine
        if self._writing:
            return
        if self.plan.checkpoint is None:
            self._make_durable((self.graph.num_records,) * self.graph.num_columns)
        elif min(machine.durable_claim) < self.graph.num_records:
            self._begin_checkpoint()
            if self._writing:
                return
        machine.end()
        self._other_events += 1
        raise _End

    def _schedule_timer(self) -> None:
        plan = self.plan.checkpoint
        if plan is not None and plan.every_s is not None:
            self._after(plan.every_s, self._on_timer)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        def due(_: simpy.events.Event) -> None:
            if self.checked:
                self.machine.at(self.env.now)
            action()

        callbacks: list[Any] = [due]
        self.env.timeout(seconds).callbacks = callbacks

    def _on_timer(self) -> None:
        if not self._writing:
            self._begin_checkpoint()
        # A run that is stuck must run out of events, and not tick on for ever.
        if self._writing or self.machine.in_flight or self.machine.backoffs:
            self._schedule_timer()

    # Crash and resume

    def _schedule_crash(self, start_s: float) -> None:
        at_s = self._crashes.next_time(start_s)
        if at_s is not None:
            self._after(at_s - start_s, self._on_crash)

    def _on_crash(self) -> None:
        self._crashes.reach()
        raise _Crash

    def _stop_tasks(self) -> None:
        """The life is over: what runs was booked in full, and takes no worker any more."""
        now, idle = self.env.now, set(map(id, self._spare))
        self._running = [task for task in self._tasks if id(task) not in idle]
        for task in self._running:
            column = task.column if task.column >= 0 else -1 - task.column
            booked = self.outcome.busy_s[column]
            left = booked - max(0.0, task.ends_s - now)
            # What rounding leaves of nothing is nothing; a share of it would be a number.
            self.outcome.busy_s[column] = left if left > 1e-12 * booked else 0.0

    def _resume(self, incarnation: Incarnation, t: float) -> None:
        machine, counters = self.machine, self.machine.counters
        self._flush_log()
        self._crashes.strike(self.events, incarnation.end_s)
        machine.crash()
        machine.at(t)
        claim = self._claim_after_crash()
        incarnation.busy_lost_s = self._lost_in_flight(incarnation.end_s) + self._lost_barriers(
            claim
        )
        nothing = RowSet(self.graph.num_records)
        cells, valueless = counters.cells, (counters.skipped, counters.lost)
        self._listen()
        machine.resume(claim)
        for column, rows in enumerate(claim):
            made = self._made(
                cells[column], [sets.get(column, nothing) for sets in valueless], rows
            )
            # A row that stays dropped is not made again.
            self._lose(incarnation, column, (row for row in made if row not in counters.dropped))
        self._other_events += incarnation.in_flight_lost + 2
        self._digest.update(repr((machine.incarnation, t, claim)).encode())

    def _made(self, states: Any, valueless: Sequence[RowSet], start: int) -> Iterator[int]:
        """Rows of a column from `start` on whose cell had a value, given what its states were."""
        if isinstance(states, bytearray):
            row = states.find(DONE, start)
            while row >= 0:
                yield row
                row = states.find(DONE, row + 1)
            return
        for row in range(start, self.graph.num_records):
            if not any(row in rows for rows in valueless):
                yield row

    def _lose(self, incarnation: Incarnation, column: int, rows: Iterable[int]) -> None:
        """Values of a column are gone, and what they took was in vain."""
        cost = self._coster(column)
        for row in rows:
            incarnation.cells_lost += 1
            incarnation.busy_lost_s += cost(row)

    def _coster(self, column: int) -> Callable[[int], float]:
        """What tells the worker time that a value took; latencies are asked again, not kept."""
        if self.rules.columns[column].is_barrier:
            return lambda _: 0.0
        get = self.latency.get
        return lambda row: get(column, row)

    def _lost_in_flight(self, now: float) -> float:
        lost_s = 0.0
        for task in self._running:
            lost_s += self._call_s(task) - max(0.0, task.ends_s - now)
        return lost_s

    def _call_s(self, task: _Task) -> float:
        """How long a call in flight takes, less what it has been good for."""
        if task.column >= 0:
            return self.latency.get(task.column, task.row)
        return self.latency.get_barrier(-1 - task.column, task.row)

    def _lost_barriers(self, claim: Claim) -> float:
        """The time of barrier nodes that are complete, and will not be when `claim` is restored."""
        counters, lost_s = self.machine.counters, 0.0
        for rule in self.rules.columns:
            claimed = claim[rule.index]
            # The last scope may be short: a claim of all rows reaches its end too.
            if not rule.is_barrier or claimed == self.graph.num_records:
                continue
            for scope in range(claimed // rule.scope_rows, self.rules.scope_count(rule.index)):
                ran = counters.barrier_state(rule.index, scope) == DONE
                if ran and (rule.index, scope) not in counters.unrun:
                    lost_s += self._barrier_s(rule.index, scope)
        return lost_s

    def _barrier_s(self, column: int, scope: int) -> float:
        return self.latency.get_barrier(column, scope)

    def _claim_after_crash(self) -> Claim:
        """What storage gives back: the last durable claim, or the one that was being written."""
        machine = self.machine
        if machine.pending_claim is None:
            return machine.durable_claim
        return self.choose("claim after crash", (machine.durable_claim, machine.pending_claim))

    # Queues

    def _listen(self) -> None:
        """New queues, and the machine told to fill them."""
        clock = itertools.count() if len(self._capacity) > 1 else None
        group_of = self.machine.group_of
        self.queues = [self._make_queue(group, clock) for group in range(len(self._capacity))]
        self.machine.listen(
            [
                self._hear_output(rule.index) if rule.is_barrier else self._hear_cell(rule.index)
                for rule in self.rules.columns
            ],
            self._hear_cells,
            lambda column, scope: self.queues[group_of[column]].push_barrier(column, scope),
            self._hear_skip,
        )

    def _make_queue(self, group: int, clock: Iterator[int] | None) -> ReadyQueue:
        rows, columns = self.graph.num_records, self.graph.num_columns
        policy = self.plan.policy
        if policy == "fifo":
            return FifoQueue(rows, columns, clock)
        if policy == "random":
            draws = sequence(self.plan.seed, self.machine.incarnation, group)
            return RandomQueue(rows, draws)
        counters = self.machine.counters
        if policy == "row-first":
            return PriorityQueue(counters, range(columns)[::-1], row_first=True)
        if policy == "column-first":
            return PriorityQueue(counters, range(columns), row_first=False)
        return PriorityQueue(counters, self._critical_rank(), row_first=False)

    def _critical_rank(self) -> list[int]:
        """Rank of each column by the mean latency from its start to the end of the row."""
        columns = self.rules.columns
        tail = [0.0] * len(columns)
        for rule in reversed(columns):
            after = [tail[d] for d in (*rule.cell_dependents, *rule.barrier_dependents)]
            tail[rule.index] = self.latency.mean_s(rule.index) + max(after, default=0.0)
        order = sorted(range(len(columns)), key=lambda c: (-tail[c], c))
        rank = [0] * len(columns)
        for place, column in enumerate(order):
            rank[column] = place
        return rank

    def _hear_cell(self, column: int) -> Callable[[int], object]:
        return self.queues[self.machine.group_of[column]].cell_pusher(column)

    def _hear_output(self, column: int) -> Callable[[int], object]:
        return lambda row: self._emissions.append((column, row, row + 1))

    def _hear_cells(self, column: int, start: int, stop: int) -> None:
        if self.rules.columns[column].is_barrier:
            self._emissions.append((column, start, stop))
        else:
            self.queues[self.machine.group_of[column]].push_cells(column, start, stop)

    def _hear_skip(self, column: int, row: int) -> None:
        """A cell is to be skipped; nothing is, without a condition to skip by."""

    def _flush_log(self) -> None:
        """Add the completions since the last call, with their times, to the fingerprint."""
        self._digest.update(self._log.tobytes() + array("d", [self.env.now]).tobytes())
        del self._log[:]


class _Seeded:
    """Answers what a run leaves open with draws from a seed, a stream for each kind of question."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._draws: dict[str, random.Random] = {}

    def __call__(self, label: str, options: Sequence[T], /) -> T:
        draw = self._draws.setdefault(label, sequence(self._seed, label))
        return draw.choice(options)


class _CrashSchedule:
    """The crashes still to come, in the order in which they strike."""

    def __init__(self, plan: RunPlan) -> None:
        self._events = iter(sorted(c.at_event for c in plan.crashes if c.at_event is not None))
        self._times = sorted(c.at_time_s for c in plan.crashes if c.at_time_s is not None)
        self._means = [
            mean for c in plan.crashes if (mean := c.mean_s) is not None for _ in range(c.count)
        ]
        self._draw = sequence(plan.seed, "crashes")
        self._random_s = math.inf
        self._next_s = math.inf
        self._reached_s = 0.0
        self.event = next(self._events, None)

    def next_time(self, start_s: float) -> float | None:
        """When the next crash that has a time strikes a process that starts at `start_s`."""
        # A crash that falls into the restart strikes nobody.
        self._times = [t for t in self._times if t >= start_s]
        self._random_s = math.inf
        if self._means:
            self._random_s = start_s + self._draw.expovariate(1 / self._means[0])
        self._next_s = min(self._random_s, self._times[0] if self._times else math.inf)
        return None if self._next_s == math.inf else self._next_s

    def reach(self) -> None:
        """The crash of `next_time` is due, though rounding may let the clock say a bit less."""
        self._reached_s = self._next_s

    def strike(self, events: int, now_s: float) -> None:
        """A crash came: forget those that are spent."""
        now_s = max(now_s, self._reached_s)
        while self.event is not None and self.event <= events:
            self.event = next(self._events, None)
        self._times = [t for t in self._times if t > now_s]
        if self._random_s <= now_s:
            self._means.pop(0)
