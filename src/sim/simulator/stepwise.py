"""The simulator for everything that can go wrong: failures, drops, skips, row groups, ranges.

`StepwiseSimulator` is `sim.simulator.simulator.Simulator`, which sees only cells and barriers that
end well, with the rest of an engine's life: calls that fail and are tried again after a cool-down,
rows that are given up, cells that are skipped, rows admitted in groups, calls that make a range of
rows, an early stop. It takes every step by the machine's own methods, so that a trace can be told
of each (`sim.simulator.recording`). For a scenario that needs none of this both do the same, event
by event; the plain one is faster.

What a call's fate is, which cells their own condition skips, and how long a node rests are answers
of `Fates`: functions of (seed, column, row or scope, call), never of the order in which they are
asked. A call that fails takes as long as one that does not. A range that fails does so when it has
given half of its rows.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import simpy

from cellspec.errors import SpecError
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.rowset import RowSet
from cellspec.machine.machine import Failure, Machine
from cellspec.state.codes import RANGED, READY, RUNNING
from cellspec.state.counters import Claim
from sim.draws import unit
from sim.simulator.recording import Tell, record
from sim.simulator.simulator import (
    Incarnation,
    Latency,
    Outcome,
    RunPlan,
    Simulator,
    _End,
    _Task,
)
from sim.simulator.timings import SAMPLED

__all__ = ["ColumnFates", "DrawnFates", "Fates", "StepwiseSimulator"]


class Fates(Protocol):
    """What becomes of a call; each answer a function of the seed and its arguments alone."""

    def of_cell(self, column: int, row: int, call: int) -> Failure | None:
        """How the n-th call of a cell in an incarnation fails; None if it ends well."""

    def of_barrier(self, column: int, scope: int, call: int) -> Failure | None:
        """How the n-th run of a barrier node fails; None if it ends well."""

    def skips(self, column: int, row: int) -> bool:
        """True if the column's own condition skips the cell."""

    def rest_s(self, column: int, place: int, call: int, failure: Failure) -> float:
        """How long a node rests after a failure, in seconds."""


@dataclass(frozen=True, slots=True)
class ColumnFates:
    """How often calls of a column fail, by kind, and how often its own condition skips a cell."""

    retryable: float = 0.0
    backpressure: float = 0.0
    permanent: float = 0.0
    skip: float = 0.0


class DrawnFates:
    """Fates drawn from a seed at given rates.

    Any number of calls of a node may be answered with back-pressure, so that the share of calls is
    the rate; a rate of 1 would never let a call end well, and a run would never end (clause
    SCHED-12 supposes finitely many).

    Args:
        seed: of the run.
        columns: the rates, by column.
        first_s, factor, most_s: a node rests ``first_s * factor ** (n - 1)`` seconds after its n-th
            failure, at most `most_s`.
        jitter: the share of that by which it may be longer or shorter, drawn.
        recorded: what becomes of calls beside, as `sim.scenario.latency.LatencySource.failure`
        tells it.

    Raises:
        SpecError: a column whose every call is answered with back-pressure.
    """

    def __init__(
        self,
        seed: int,
        columns: Sequence[ColumnFates],
        *,
        first_s: float = 1.0,
        factor: float = 2.0,
        most_s: float = 60.0,
        jitter: float = 0.0,
        recorded: Callable[..., Failure | None] | None = None,
    ) -> None:
        if any(rates.backpressure >= 1 for rates in columns):
            raise SpecError("a column whose every call is answered with back-pressure never ends")
        self._seed = seed
        self._columns = columns
        self._first_s, self._factor, self._most_s = first_s, factor, most_s
        self._jitter = jitter
        self._recorded = recorded

    def of_cell(self, column: int, row: int, call: int) -> Failure | None:
        return self._fate(column, row, call, 0)

    def of_barrier(self, column: int, scope: int, call: int) -> Failure | None:
        return self._fate(column, scope, call, 1)

    def _fate(self, column: int, place: int, call: int, kind: int) -> Failure | None:
        rates = self._columns[column]
        u = unit(self._seed, column, place, call, kind)
        if u < rates.permanent:
            return "permanent"
        u -= rates.permanent
        if u < rates.retryable:
            return "retryable"
        u -= rates.retryable
        if u < rates.backpressure:
            return "backpressure"
        if self._recorded is None:
            return None
        return self._recorded(column, place, call, barrier=kind == 1)

    def skips(self, column: int, row: int) -> bool:
        rate = self._columns[column].skip
        return rate > 0 and unit(self._seed, column, row, 0, 2) < rate

    def rest_s(self, column: int, place: int, call: int, failure: Failure) -> float:  # noqa: ARG002
        rest = min(self._most_s, self._first_s * self._factor ** min(call - 1, 60))
        if self._jitter:
            rest *= 1 + self._jitter * (2 * unit(self._seed, column, place, call, 3) - 1)
        return rest


class _Work(_Task):
    """A call in flight.

    Attributes:
        call: which call of its node, or of the first row of its range, from 1.
        stop: the row after the last of its range; for anything else the row after its own.
        given: rows of its range that it has given, or passed over.
        start_s, seconds: when it began, and how long it takes in all.
        failure: how it will fail, or None.
    """

    def __init__(self, env: simpy.Environment) -> None:
        super().__init__(env)
        self.call = 1
        self.stop = 0
        self.given = 0
        self.start_s = 0.0
        self.seconds = 0.0
        self.failure: Failure | None = None


class StepwiseSimulator(Simulator):
    """One run, every step by the machine's methods.

    Args:
        graph, latency, plan, checked, choose, progress: as of `Simulator`.
        fates: what becomes of calls; None if all end well and nothing is skipped.
        tell: hears of every step; see `sim.simulator.recording`.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        latency: Latency,
        plan: RunPlan,
        *,
        row_outcomes: Fates | None = None,
        tell: Tell | None = None,
        **options: Any,
    ) -> None:
        self._fates = row_outcomes
        self._tell = tell
        super().__init__(graph, latency, plan, **options)
        index = graph.rules.index
        self._range_rows = [1] * graph.num_columns
        for name, rows in plan.range_rows.items():
            if graph.rules.columns[index[name]].streamable:
                self._range_rows[index[name]] = rows
        self._acts = 0
        self._to_skip: list[tuple[int, int]] = []
        self.outcome.failures = [
            {"retryable": 0, "backpressure": 0, "permanent": 0} for _ in self.rules.columns
        ]
        self._tried = RowSet(graph.num_records)
        self._blamed = [RowSet(graph.num_records) for _ in self.rules.columns]
        self._sampled_ready = [
            array("d", bytes(8 * -(-graph.num_records // self.timings.every)))
            for _ in self.rules.columns
        ]

    def _make_machine(self) -> Machine:
        # Cool-downs end when the machine is told the time, so it is always told; without the check
        # of time what it would say is waived.
        waive = self.waive if self.checked else (*self.waive, "SCHED-08", "SCHED-09", "GROUP-06")
        machine = Machine(self.graph, self.plan.limits, failures=self.plan.failures, waive=waive)
        if self._tell is not None:
            machine.on_step = record(machine, self._tell)
        return machine

    # One life

    def _live(self, incarnation: Incarnation) -> None:
        self._calls: dict[tuple[int, int], int] = {}
        self._touched: dict[int, None] = {}
        self._scans: dict[int, list[int]] = {}
        self._next_group = 0
        self._life_done = [0] * self.graph.num_columns
        self._first_live = 0
        # Of columns that stream: [start, stop) of what each call gave, and the seconds of each row.
        self._streams = {
            column: (array("q"), array("d"))
            for column, rows in enumerate(self._range_rows)
            if rows > 1
        }
        super()._live(incarnation)

    def _count_cells(self, incarnation: Incarnation, open_before: Sequence[int]) -> None:  # noqa: ARG002
        incarnation.cells_done = sum(self._life_done)
        for column, done in enumerate(self._life_done):
            self.outcome.done[column] += done

    def _count_table(self) -> None:
        super()._count_table()
        counters = self.machine.counters
        self.outcome.rows_dropped = [len(rows) for rows in self._blamed]
        self.outcome.skipped = [
            sum(row not in counters.dropped for row in counters.skipped.get(column, ()))
            for column in range(self.graph.num_columns)
        ]

    def _rows_tried(self) -> int:
        return len(self._tried)

    def _has_live_row(self, rows: int) -> bool:
        dropped = self.machine.counters.dropped
        while self._first_live < rows and self._first_live in dropped:
            self._first_live += 1
        return self._first_live < rows

    def _hear_cell(self, column: int) -> Callable[[int], object]:
        push, flags, every = super()._hear_cell(column), self.timings.flags, self.timings.every
        ready, machine = self._sampled_ready[column], self.machine

        def hear(row: int) -> None:
            if flags[row] & SAMPLED:
                ready[row // every] = machine.now
            push(row)

        return hear

    def _hear_cells(self, column: int, start: int, stop: int) -> None:
        every = self.timings.every
        first, last = -(-start // every), -(-stop // every)
        times = array("d", [self.machine.now]) * (last - first)
        self._sampled_ready[column][first:last] = times
        super()._hear_cells(column, start, stop)

    @property
    def events(self) -> int:
        return self._acts

    def _count_event(self) -> None:
        self._acts += 1
        if self._crash_event:
            self._crash_if_due()

    def _new_task(self) -> _Work:
        task = _Work(self.env)
        self._tasks.append(task)
        return task

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        def due(_: simpy.events.Event) -> None:
            self.machine.at(self.env.now)
            action()

        callbacks: list[Any] = [due]
        self.env.timeout(seconds).callbacks = callbacks

    def _settler(self) -> Callable[[float], None]:
        inner = super()._settler()

        def settle(t: float) -> None:
            self._prepare()
            inner(t)
            if self.machine.stopped:
                self._finish_stopped()

        return settle

    # What follows by itself

    def _hear_skip(self, column: int, row: int) -> None:
        self._to_skip.append((column, row))

    def _prepare(self) -> None:
        """Give output, skip what must be skipped, and move row groups, until nothing is left."""
        while True:
            if self._emissions:
                self._emit()
            elif self._to_skip:
                column, row = self._to_skip.pop()
                if self.machine.counters.must_skip(column, row):
                    self._skip(column, row)
            elif not self._move_groups():
                return

    def _emit(self) -> None:
        while self._emissions:
            column, start, stop = self._skip_outputs(*self._emissions.pop())
            if start == stop:
                continue
            self.machine.emit(column, start, stop)
            self._done += stop - start
            self._life_done[column] += stop - start
            self._given(column, start, stop)
            self._touch(start, stop)
            self._count_event()

    def _skip_outputs(self, column: int, start: int, stop: int) -> tuple[int, int, int]:
        """Skip ready output cells by their column's own condition, up to the first rows that stay.

        Returns:
            Those rows, perhaps none; what comes after them waits its turn.
        """
        if not self.rules.columns[column].may_skip:
            return column, start, stop
        while start < stop and self._is_skipped(column, start):
            self._skip(column, start)
            start += 1
        end = start
        while end < stop and not self._is_skipped(column, end):
            end += 1
        if end < stop:
            self._emissions.append((column, end, stop))
        return column, start, end

    def _skip(self, column: int, row: int) -> None:
        self.machine.skip_cell(column, row)
        self.timings.ended(column, row, self.env.now)
        self._try_rows(row, row + 1)
        self._touch(row, row + 1)
        self._count_event()

    def _try_rows(self, start: int, stop: int) -> None:
        if len(self._tried) < self.graph.num_records:
            for row in range(start, stop):
                self._tried.add(row)

    def _touch(self, start: int, stop: int) -> None:
        """Cells of these rows were resolved: their groups may be at an end."""
        size = self.plan.limits.group_rows
        if size is not None:
            for group in range(start // size, (stop - 1) // size + 1):
                if group in self._scans:
                    self._touched[group] = None

    def _move_groups(self) -> bool:
        """Let row groups go that are at an end, and others come; True if one came or went."""
        machine, size = self.machine, self.plan.limits.group_rows
        if size is None or machine.must_stop or machine.stopped:
            return False
        moved = False
        for group in self._touched:
            if self._is_over(group):
                machine.retire(*self._bounds(group, size))
                del self._scans[group]
                self._acts += 1
                moved = True
        self._touched.clear()
        most = self.plan.limits.groups or math.inf
        while len(machine.admitted) < most and self._next_group * size < self.graph.num_records:
            group = self._next_group
            self._next_group += 1
            self._scans[group] = [0, group * size]
            if self._is_over(group):
                del self._scans[group]
                continue
            machine.admit(*self._bounds(group, size))
            self._acts += 1
            moved = True
        return moved

    def _bounds(self, group: int, size: int) -> tuple[int, int]:
        return group * size, min((group + 1) * size, self.graph.num_records)

    def _is_over(self, group: int) -> bool:
        """True if every cell of the group is resolved; the search never goes back."""
        counters, size = self.machine.counters, self.plan.limits.group_rows
        assert size is not None
        place = self._scans[group]
        start, stop = self._bounds(group, size)
        while place[0] < len(counters.cells):
            row = counters.find_unresolved(place[0], place[1], stop)
            if row >= 0:
                place[1] = row
                return False
            place[:] = [place[0] + 1, start]
        return True

    # What starts

    def _dispatcher(self) -> Callable[[float], None]:
        machine, pick = self.machine, self._picker()
        load, workers = machine.counters.load, self._workers

        def dispatch(t: float) -> None:
            while load[0] < workers and not (machine.must_stop or machine.stopped):
                node = pick()
                if node is None:
                    return
                column, place = node
                if column >= 0:
                    self._begin_cell(column, place, t)
                elif machine.counters.barrier_state(-1 - column, place) == READY:
                    self._begin_barrier(-1 - column, place, t)

        return dispatch

    def _begin_cell(self, column: int, row: int, t: float) -> None:
        """Start a cell, or the range that begins with it, unless it is not ready any more."""
        machine = self.machine
        if machine.counters.cells[column][row] != READY:
            return
        if self._is_skipped(column, row):
            self._skip(column, row)
            self._prepare()
            return
        stop = self._range_stop(column, row)
        attempt = 1 + machine.attempts.get((column, row), 0)
        if stop == row + 1:
            machine.start_cell(column, row, attempt)
        else:
            machine.start_range(column, row, stop, attempt)
        call = self._call((column, row))
        task = self._take_task(column, row, t)
        task.stop, task.call = stop, call
        task.seconds = self.latency.get(column, row, call)
        task.failure = self._fates.of_cell(column, row, call) if self._fates else None
        ready_s = self._sampled_ready[column][row // self.timings.every]
        self.timings.called(column, row, stop, t, ready_s)
        self._try_rows(row, stop)
        self._launch(task, column)

    def _is_skipped(self, column: int, row: int) -> bool:
        may = self.rules.columns[column].may_skip
        return may and self._fates is not None and self._fates.skips(column, row)

    def _range_stop(self, column: int, row: int) -> int:
        """Where the range ends that begins with a ready cell: at the first row that cannot join."""
        most = min(row + self._range_rows[column], self.graph.num_records)
        rule, body = self.rules.columns[column], self.machine.counters.cells[column]
        attempts = self.machine.attempts
        attempt = attempts.get((column, row))
        size = self.plan.limits.group_rows
        if rule.ordered and size is not None:
            most = min(most, (row // size + 1) * size)
        stop = row + 1
        while (
            stop < most
            and body[stop] == (1 if rule.ordered else READY)
            and attempts.get((column, stop)) == attempt
            and not self._is_skipped(column, stop)
        ):
            stop += 1
        return stop

    def _begin_barrier(self, column: int, scope: int, t: float) -> None:
        key = (-1 - column, scope)
        self.machine.start_barrier(column, scope, None, 1 + self.machine.attempts.get(key, 0))
        call = self._call(key)
        task = self._take_task(-1 - column, scope, t)
        task.call, task.stop = call, scope + 1
        task.seconds = self.latency.get_barrier(column, scope, call)
        task.failure = self._fates.of_barrier(column, scope, call) if self._fates else None
        self._try_rows(*self.rules.scope_bounds(column, scope))
        self._launch(task, column)

    def _call(self, key: tuple[int, int]) -> int:
        """Which call of its node in this incarnation begins.

        Kept of nodes that failed, until they end well.
        """
        return self._calls.get(key, 0) + 1

    def _take_task(self, column: int, row: int, t: float) -> _Work:
        task = self._spare.pop() if self._spare else self._new_task()
        assert isinstance(task, _Work)
        task.column, task.row, task.start_s, task.given = column, row, t, 0
        return task

    def _launch(self, task: _Work, column: int) -> None:
        self.outcome.calls[column] += 1
        self.outcome.busy_s[column] += task.seconds
        task.ends_s = task.start_s + task.seconds
        self._await(task, task.seconds / (task.stop - task.row))
        self._count_event()

    def _await(self, task: _Work, seconds: float) -> None:
        task.callbacks = self._on_completed
        self.env.schedule(task, simpy.events.NORMAL, seconds)

    # What ends

    def _completion(self) -> Callable[[_Task], None]:
        env, machine = self.env, self.machine

        def completed(task: _Task) -> None:
            assert isinstance(task, _Work)
            t = env.now
            machine.at(t)
            if task.column < 0:
                self._end_barrier(task, t)
            elif task.stop > task.row + 1:
                self._end_row(task, t)
            else:
                self._end_cell(task, t)
            self._acts += 1
            # Where nothing is left to start there is nothing to stop.
            left = machine.completed_rows < self.graph.num_records
            if left and machine.must_stop and not machine.stopped:
                machine.stop()
                self._acts += 1
            if self._crash_event:
                self._crash_if_due()
            self._settle(t)

        return completed

    def _end_cell(self, task: _Work, t: float) -> None:
        column, row, machine = task.column, task.row, self.machine
        wanted = machine.counters.cells[column][row] == RUNNING
        if task.failure is not None and wanted:
            self._fail((column, row), column, row, task, t)
        else:
            machine.complete_cell(column, row)
            self._calls.pop((column, row), None)
            if wanted:
                task.given = 1
                self._keep_stream(task)
                self._gave(column, row, t)
        self._spare.append(task)

    def _end_row(self, task: _Work, t: float) -> None:
        """A range gives its next row, or fails half-way."""
        column, machine = task.column, self.machine
        row = task.row + task.given
        if task.failure is not None and task.given >= (task.stop - task.row) // 2:
            self.outcome.busy_s[column] -= max(0.0, task.ends_s - t)
            self._keep_stream(task)
            self._fail((column, task.row), column, row, task, t)
            self._spare.append(task)
            return
        wanted = machine.counters.cells[column][row] == RANGED
        machine.complete_cell(column, row)
        if wanted:
            self._gave(column, row, t)
        task.given += 1
        if row + 1 == task.stop:
            self._keep_stream(task)
            self._spare.append(task)
            return
        # From the start, so that rounding does not add up.
        due = task.start_s + task.seconds * (task.given + 1) / (task.stop - task.row)
        self._await(task, max(0.0, due - t))

    def _gave(self, column: int, row: int, t: float) -> None:
        """A cell has its value."""
        self._done = done = self._done + 1
        self._life_done[column] += 1
        self.timings.ended(column, row, t)
        self._touch(row, row + 1)
        if row > self._furthest and self._works[column]:
            self._furthest = row
            if row - self._rows[0] >= self.outcome.window_rows:
                self.outcome.window_rows = row + 1 - self._rows[0]
        self._log.append(column * self.graph.num_records + row)
        if not done & 0xFFFF:
            self._flush_log()
            if self.progress is not None:
                self.progress(t, self._rows[0])

    def _end_barrier(self, task: _Work, t: float) -> None:
        column, scope = -1 - task.column, task.row
        if task.failure is not None:
            self._fail((task.column, scope), column, scope, task, t)
        else:
            self.machine.complete_barrier(column, scope)
            self._calls.pop((task.column, scope), None)
            self._log.append(task.column * self.graph.num_records + scope)
        self._spare.append(task)

    def _fail(self, key: tuple[int, int], column: int, place: int, task: _Work, t: float) -> None:
        """A call fails: it is tried again after a rest, or its rows are given up."""
        failure, machine = task.failure, self.machine
        assert failure is not None and self._fates is not None  # noqa: PT018
        self.outcome.failures[column][failure] += 1
        self._calls[key[0], place] = task.call
        rest = self._fates.rest_s(column, place, task.call, failure)
        if key[0] >= 0:
            machine.fail_cell(column, place, failure, t + rest)
        else:
            machine.fail_barrier(column, place, failure, t + rest)
        for row, cause in sorted(machine.unrecorded.items()):
            machine.record_drop(cause, row, row + 1)
            self._blamed[cause].add(row)
            self._acts += 1
            self._touch(row, row + 1)
        if machine.backoffs:
            self._after(rest, lambda: self._settle(self.env.now))

    # Storage and the end

    def _make_durable(self, claim: Claim) -> None:
        for column, rows in enumerate(claim):
            known = self.machine.durable[column]
            if rows > known:
                self.machine.durable_rows(column, rows, known)
                self._count_event()

    def _resume(self, incarnation: Incarnation, t: float) -> None:
        self._to_skip.clear()
        for task in self._running:
            assert isinstance(task, _Work)
            self._keep_stream(task)
        super()._resume(incarnation, t)
        total, dropped = self.graph.num_records, self.machine.counters.dropped
        self._blamed = [
            RowSet(total, (row for row in rows if row in dropped)) for rows in self._blamed
        ]
        self._acts += 2

    # What a crash costs

    def _keep_stream(self, task: _Work) -> None:
        """Remember what the rows that a call gave took, until a claim holds them."""
        kept = self._streams.get(task.column)
        if kept is not None and task.given:
            kept[0].extend((task.row, task.row + task.given))
            kept[1].append(task.seconds / (task.stop - task.row))

    def _checkpoint_durable(self, size: int) -> None:
        super()._checkpoint_durable(size)
        for column, (bounds, seconds) in self._streams.items():
            rows = self.machine.durable_claim[column]
            left = [place for place in range(len(seconds)) if bounds[2 * place + 1] > rows]
            self._streams[column] = (
                array("q", (bounds[2 * p + k] for p in left for k in (0, 1))),
                array("d", (seconds[p] for p in left)),
            )

    def _coster(self, column: int) -> Callable[[int], float]:
        if self.rules.columns[column].is_barrier:
            return super()._coster(column)
        if column in self._streams:
            bounds, seconds = self._streams[column]
            of_row = array("d", bytes(8 * self.graph.num_records))
            for place, each in enumerate(seconds):
                start, stop = bounds[2 * place : 2 * place + 2]
                of_row[start:stop] = array("d", [each]) * (stop - start)
            return of_row.__getitem__
        get, row_outcomes = self.latency.get, self._fates

        def cost_s(row: int) -> float:
            # Calls are numbered through: the first that does not fail gave the value.
            call = 1
            while row_outcomes is not None and row_outcomes.of_cell(column, row, call) is not None:
                call += 1
            return get(column, row, call)

        return cost_s

    def _call_s(self, task: _Task) -> float:
        assert isinstance(task, _Work)
        return task.seconds * (1 - task.given / (task.stop - task.row))

    def _barrier_s(self, column: int, scope: int) -> float:
        call, row_outcomes = 1, self._fates
        while row_outcomes is not None and row_outcomes.of_barrier(column, scope, call) is not None:
            call += 1
        return self.latency.get_barrier(column, scope, call)

    def _written(self, size: int) -> None:
        super()._written(size)
        if self.machine.stopped:
            self._finish_stopped()

    def _finish_run(self) -> None:
        if self.machine.stopped:
            self._finish_stopped()
        else:
            super()._finish_run()

    def _finish_stopped(self) -> None:
        """An early stop: when nothing runs any more, save what there is, and say so."""
        machine, plan = self.machine, self.plan.checkpoint
        if machine.in_flight or self._writing:
            return
        if plan is None:
            self._make_durable(self._claim(1))
        elif self._claim(plan.version) != machine.durable_claim:
            self._begin_checkpoint()
            if self._writing:
                return
        machine.end("stopped")
        self.outcome.outcome = "stopped"
        raise _End

    def run(self) -> Outcome:
        outcome = super().run()
        # The end itself is an event too.
        outcome.events = self._acts + 1
        return outcome
