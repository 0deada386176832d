"""Calls that may fail, be skipped, give a range of rows, or wait for their row group.

`StepwiseCalls` takes every step by the machine's own methods, so that a trace can hold each of them
(`sim.simulator.recording`). A call that fails takes as long as one that ends well. A range that
fails does so when it has given half of its rows; one that times out has given none.

A column may have a route (`sim.simulator.route`): then nobody knows how long a call will take until
the route says that it is through, and a range gives all of its rows at that moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import simpy

from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import NodeKey, barrier_key, column_of
from cellspec.graph.rowset import RowSet
from cellspec.machine.actions import Failure
from cellspec.machine.machine import Machine
from cellspec.state.codes import LAST_WAIT, RANGED, READY, RUNNING
from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.calls import Picker, Settle
from sim.simulator.costs import CallCosts
from sim.simulator.outcome import Incarnation
from sim.simulator.plan import RunPlan
from sim.simulator.ready_times import ReadyTimes
from sim.simulator.recording import Notify, record
from sim.simulator.route import Route
from sim.simulator.row_groups import RowGroups
from sim.simulator.run_state import RunState, Task

__all__ = ["StepwiseCalls"]


class _Work(Task):
    """A call in flight.

    Attributes:
        call: which call of its node, or of the first row of its range, from 1.
        stop: the row after the last of its range; for anything else the row after its own.
        given: rows of its range that it has given, or passed over.
        start_s, seconds: when it began, and how long it takes in all; of a call on a route that is
            known at its end.
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

    @property
    def row_s(self) -> float:
        """The seconds of each row of its range."""
        return self.seconds / (self.stop - self.row)

    def costs(self, *, on_route: bool) -> tuple[int, int, float]:
        """Rows that it gave, as [start, stop), and the seconds of each.

        On a route all rows come at one moment: the first has taken all the time.
        """
        if on_route:
            return self.row, self.row + min(self.given, 1), self.seconds
        return self.row, self.row + self.given, self.row_s

    def lost_s(self, *, on_route: bool) -> float:
        """Its seconds, less those of the rows that it gave."""
        if on_route:
            return 0.0 if self.given else self.seconds
        return self.seconds * (1 - self.given / (self.stop - self.row))


class StepwiseCalls:
    """Calls that may fail, give a range of rows, and wait for their row group.

    Args:
        outcomes: how calls end; None if all end well.
        notify: receives every step.
        routes: by column, what its calls go through; other columns' calls take their latency.
    """

    counts_calls = True
    # Backoffs end when the machine gets the time.
    always_timed = True

    def __init__(
        self,
        outcomes: CallOutcomes | None,
        notify: Notify | None,
        routes: Mapping[int, Route] | None = None,
    ) -> None:
        self._outcomes = outcomes
        self._notify = notify
        self._routes = routes or {}

    def make_machine(
        self, graph: ExecutionGraph, plan: RunPlan, *, checked: bool, waive: Collection[str]
    ) -> Machine:
        # Without the check of time the clauses about it are waived.
        waive = waive if checked else (*waive, "SCHED-08", "SCHED-09", "GROUP-06", "SCHED-15")
        machine = Machine(graph, plan.limits, failures=plan.failures, waive=waive)
        if self._notify is not None:
            machine.on_step = record(machine, self._notify, starts_from=plan.start_from is not None)
        return machine

    def attach(self, state: RunState) -> None:
        self._state, self._machine = state, state.machine
        graph, index = state.graph, state.rules.index
        self._range_rows = [1] * graph.num_columns
        for name, rows in state.plan.range_rows.items():
            if graph.rules.columns[index[name]].streamable:
                self._range_rows[index[name]] = rows
        self._skips: list[tuple[int, int]] = []
        state.outcome.failures = [
            {"retryable": 0, "backpressure": 0, "permanent": 0} for _ in state.rules.columns
        ]
        # What a crash may lose: only then somebody asks what it took.
        self._kept = set(self._routes) if state.plan.crashes else set()
        self._tried = RowSet(graph.num_records)
        self._blamed = [RowSet(graph.num_records) for _ in state.rules.columns]
        self._ready = ReadyTimes(state)

    def begin(self) -> None:
        self._calls: dict[NodeKey, int] = {}
        self._groups = RowGroups(self._state)
        self._made = [0] * self._state.graph.num_columns
        self._first_live = 0
        streams = {column for column, rows in enumerate(self._range_rows) if rows > 1}
        self._costs = CallCosts(self._state.latency, self._outcomes, sorted(streams | self._kept))
        for route in dict.fromkeys(self._routes.values()):
            route.attach(self._state.env, self._through)

    # What follows by itself

    def settler(self, settle: Settle, finish_stopped: Callable[[], None]) -> Settle:
        machine = self._machine
        self._settle: Settle

        def settle_all(t: float) -> None:
            self._prepare()
            settle(t)
            if machine.stopped:
                finish_stopped()

        self._settle = settle_all
        return settle_all

    def _prepare(self) -> None:
        """Give output, skip cells that must be skipped, and move row groups, until all is done."""
        while True:
            if self._state.emissions:
                self.emit()
            elif self._skips:
                column, row = self._skips.pop()
                if self._machine.counters.must_skip(column, row):
                    self._skip(column, row)
            elif not self._groups.move():
                return

    def emit(self) -> None:
        state = self._state
        while state.emissions:
            column, start, stop = self._skip_outputs(*state.emissions.pop())
            if start == stop:
                continue
            self._machine.emit(column, start, stop)
            state.done += stop - start
            self._made[column] += stop - start
            state.gave_output(column, start, stop)
            self._groups.touch(start, stop)
            state.count_event()

    def _skip_outputs(self, column: int, start: int, stop: int) -> tuple[int, int, int]:
        """Skip ready output cells by their column's own condition, up to the first rows that stay.

        Returns:
            Those rows, as an empty range if all were skipped; the rows after them wait their turn.
        """
        if not self._state.rules.columns[column].may_skip:
            return column, start, stop
        while start < stop and self._is_skipped(column, start):
            self._skip(column, start)
            start += 1
        end = start
        while end < stop and not self._is_skipped(column, end):
            end += 1
        if end < stop:
            self._state.emissions.append((column, end, stop))
        return column, start, end

    def _skip(self, column: int, row: int) -> None:
        self._machine.skip_cell(column, row)
        if column in self._routes:
            self._routes[column].skip(column, row)
        self._state.timings.ended(column, row, self._state.env.now)
        self._try_rows(row, row + 1)
        self._groups.touch(row, row + 1)
        self._state.count_event()

    def _try_rows(self, start: int, stop: int) -> None:
        if len(self._tried) < self._state.graph.num_records:
            for row in range(start, stop):
                self._tried.add(row)

    # What becomes ready

    def ready_pusher(self, column: int, push: Callable[[int], object]) -> Callable[[int], object]:
        return self._ready.noting(column, push)

    def rows_ready(self, column: int, start: int, stop: int) -> None:
        self._ready.note_rows(column, start, stop)

    def to_skip(self, column: int, row: int) -> None:
        self._skips.append((column, row))

    # What starts

    def dispatcher(self, pick: Picker) -> Settle:
        machine, workers = self._machine, self._state.workers
        counters = machine.counters

        def dispatch(t: float) -> None:
            while counters.load < workers and not (machine.must_stop or machine.stopped):
                node = pick()
                if node is None:
                    return
                column, place = node
                if column >= 0:
                    self._begin_cell(column, place, t)
                elif machine.counters.barrier_state(column_of(node), place) == READY:
                    self._begin_barrier(column_of(node), place, t)

        return dispatch

    def _begin_cell(self, column: int, row: int, t: float) -> None:
        """Start a cell, or the range that begins with it, unless it is not ready any more."""
        machine, state = self._machine, self._state
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
        if column not in self._routes:
            task.seconds = state.latency.get(column, row, call)
        task.failure = self._outcomes.of_cell(column, row, call) if self._outcomes else None
        state.timings.called(column, row, stop, t, self._ready.of(column, row))
        self._try_rows(row, stop)
        self._launch(task, column)

    def _is_skipped(self, column: int, row: int) -> bool:
        may = self._state.rules.columns[column].may_skip
        return may and self._outcomes is not None and self._outcomes.skips(column, row)

    def _range_stop(self, column: int, row: int) -> int:
        """Where the range ends that begins with a ready cell: at the first row that cannot join."""
        most = min(row + self._range_rows[column], self._state.graph.num_records)
        rule, body = self._state.rules.columns[column], self._machine.counters.cells[column]
        attempts = self._machine.attempts
        attempt = attempts.get((column, row))
        size = self._state.plan.limits.group_rows
        if rule.ordered and size is not None:
            most = min(most, (row // size + 1) * size)
        # In order, a cell waits for the one before it, which is in the range.
        joins = LAST_WAIT if rule.ordered else READY
        stop = row + 1
        while (
            stop < most
            and body[stop] == joins
            and attempts.get((column, stop)) == attempt
            and not self._is_skipped(column, stop)
        ):
            stop += 1
        return stop

    def _begin_barrier(self, column: int, scope: int, t: float) -> None:
        key = barrier_key(column, scope)
        self._machine.start_barrier(column, scope, None, 1 + self._machine.attempts.get(key, 0))
        call = self._call(key)
        task = self._take_task(*key, t)
        task.call, task.stop = call, scope + 1
        if column not in self._routes:
            task.seconds = self._state.latency.get_barrier(column, scope, call)
        task.failure = self._outcomes.of_barrier(column, scope, call) if self._outcomes else None
        self._try_rows(*self._state.rules.scope_bounds(column, scope))
        self._launch(task, column)

    def _call(self, key: NodeKey) -> int:
        """Which call of its node in this incarnation begins.

        Kept of nodes that failed, until they end well.
        """
        return self._calls.get(key, 0) + 1

    def _take_task(self, column: int, row: int, t: float) -> _Work:
        state = self._state
        if state.spare:
            task = state.spare.pop()
        else:
            task = _Work(state.env)
            state.tasks.append(task)
        assert isinstance(task, _Work)
        task.column, task.row, task.start_s, task.given = column, row, t, 0
        return task

    def _launch(self, task: _Work, column: int) -> None:
        self._state.outcome.calls[column] += 1
        route = self._routes.get(column)
        if route is None:
            self._state.outcome.busy_s[column] += task.seconds
            task.ends_s = task.start_s + task.seconds
            self._await(task, task.seconds if task.failure == "timeout" else task.row_s)
        else:
            task.ends_s = -math.inf
            route.enter(task, task.call, task.stop, task.failure is not None, task.start_s)
        self._state.count_event()

    def _await(self, task: _Work, seconds: float) -> None:
        task.callbacks = self._state.on_completed
        self._state.env.schedule(task, simpy.events.NORMAL, seconds)

    # What ends

    def _through(self, task: Task, failure: Failure | None = None) -> None:
        """A call is through its route, now; with a failure of the route, it fails by that."""
        assert isinstance(task, _Work)
        if failure is not None:
            task.failure = failure
        self._book(task)
        self._state.on_completed[0](task)

    def _book(self, task: _Work) -> None:
        """Count what a call on a route took up to now."""
        now = self._state.env.now
        task.seconds, task.ends_s = now - task.start_s, now
        self._state.outcome.busy_s[column_of((task.column, task.row))] += task.seconds

    def completion(self, settle: Settle) -> Callable[[Task], None]:
        state, env, machine = self._state, self._state.env, self._machine

        def completed(task: Task) -> None:
            assert isinstance(task, _Work)
            t = env.now
            machine.at(t)
            if task.column < 0:
                self._end_barrier(task, t)
            elif task.stop > task.row + 1:
                self._end_row(task, t)
            else:
                self._end_cell(task, t)
            state.other_events += 1
            # A run in which all rows are complete has no starts to stop.
            left = machine.completed_rows < state.graph.num_records
            if left and machine.must_stop and not machine.stopped:
                machine.stop()
                state.other_events += 1
            if state.crash_event:
                state.crash_if_due()
            settle(t)

        return completed

    def _end_cell(self, task: _Work, t: float) -> None:
        column, row, machine = task.column, task.row, self._machine
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
        self._state.spare.append(task)

    def _end_row(self, task: _Work, t: float) -> None:
        """A range gives its next row, or fails half-way."""
        column, machine, state = task.column, self._machine, self._state
        row = task.row + task.given
        if task.failure is not None and (
            task.failure == "timeout" or task.given >= (task.stop - task.row) // 2
        ):
            state.outcome.busy_s[column] -= max(0.0, task.ends_s - t)
            self._keep_stream(task)
            self._fail((column, task.row), column, row, task, t)
            state.spare.append(task)
            return
        wanted = machine.counters.cells[column][row] == RANGED
        machine.complete_cell(column, row)
        if wanted:
            self._gave(column, row, t)
        task.given += 1
        if row + 1 == task.stop:
            self._keep_stream(task)
            state.spare.append(task)
            return
        # From the start, so that rounding does not add up.
        due = task.start_s + task.seconds * (task.given + 1) / (task.stop - task.row)
        self._await(task, max(0.0, due - t))

    def _gave(self, column: int, row: int, t: float) -> None:
        """A cell has its value."""
        state = self._state
        state.done = done = state.done + 1
        self._made[column] += 1
        state.timings.ended(column, row, t)
        self._groups.touch(row, row + 1)
        if row > state.furthest and state.works[column]:
            state.furthest = row
            if row - state.counters.rows >= state.outcome.window_rows:
                state.outcome.window_rows = row + 1 - state.counters.rows
        state.log.append(column * state.graph.num_records + row)
        if not done & 0xFFFF:
            state.note_progress(t)

    def _end_barrier(self, task: _Work, t: float) -> None:
        column, scope, state = column_of((task.column, task.row)), task.row, self._state
        if task.failure is not None:
            self._fail((task.column, scope), column, scope, task, t)
        else:
            self._machine.complete_barrier(column, scope)
            if column in self._kept:
                self._costs.add_barrier(column, scope, task.seconds)
            self._calls.pop((task.column, scope), None)
            state.log.append(task.column * state.graph.num_records + scope)
        state.spare.append(task)

    def _fail(self, key: NodeKey, column: int, place: int, task: _Work, t: float) -> None:
        """A call fails: it is tried again after a backoff, or its rows are given up."""
        failure, machine, state = task.failure, self._machine, self._state
        assert failure is not None and self._outcomes is not None  # noqa: PT018
        state.outcome.failures[column]["retryable" if failure == "timeout" else failure] += 1
        self._calls[key[0], place] = task.call
        backoff = self._outcomes.backoff_s(column, place, task.call, failure)
        if key[0] >= 0:
            machine.fail_cell(column, place, failure, t + backoff)
        else:
            machine.fail_barrier(column, place, failure, t + backoff)
        for row, cause in sorted(machine.unrecorded.items()):
            machine.record_drop(cause, row, row + 1)
            self._blamed[cause].add(row)
            state.other_events += 1
            self._groups.touch(row, row + 1)
        if machine.backoffs:
            state.after(backoff, lambda: self._settle(state.env.now))

    # Counts

    def has_live_row(self, rows: int) -> bool:
        dropped = self._machine.counters.dropped
        while self._first_live < rows and self._first_live in dropped:
            self._first_live += 1
        return self._first_live < rows

    def rows_tried(self) -> int:
        return len(self._tried)

    def count_cells(self, incarnation: Incarnation, open_before: Sequence[int]) -> None:  # noqa: ARG002
        incarnation.cells_done = sum(self._made)
        for column, done in enumerate(self._made):
            self._state.outcome.done[column] += done
        for task in self._state.running:
            if task.ends_s == -math.inf:
                assert isinstance(task, _Work)
                self._book(task)

    def count_table(self) -> None:
        counters, outcome = self._machine.counters, self._state.outcome
        for route in dict.fromkeys(self._routes.values()):
            route.add_up(outcome)
        outcome.rows_dropped = [len(rows) for rows in self._blamed]
        outcome.skipped = [
            sum(row not in counters.dropped for row in counters.skipped.get(column, ()))
            for column in range(self._state.graph.num_columns)
        ]

    # What a crash costs

    def saved(self) -> None:
        self._costs.forget(self._machine.durable_claim)

    def crashed(self) -> None:
        self._skips.clear()
        for route in dict.fromkeys(self._routes.values()):
            route.crash(self._state.env.now)
        for task in self._state.running:
            assert isinstance(task, _Work)
            self._keep_stream(task)

    def resumed(self, in_flight_lost: int) -> None:  # noqa: ARG002
        total, dropped = self._state.graph.num_records, self._machine.counters.dropped
        self._blamed = [
            RowSet(total, (row for row in rows if row in dropped)) for rows in self._blamed
        ]

    def _keep_stream(self, task: _Work) -> None:
        """Remember the cost of the rows that a call gave, until a claim holds them."""
        self._costs.add_rows(task.column, *task.costs(on_route=task.column in self._routes))

    def lost_s(self, task: Task) -> float:
        assert isinstance(task, _Work)
        return task.lost_s(on_route=column_of((task.column, task.row)) in self._routes)

    def cell_cost(self, column: int) -> Callable[[int], float]:
        if self._state.rules.columns[column].is_barrier:
            return lambda _: 0.0
        return self._costs.of_cells(column, self._state.graph.num_records)

    def barrier_cost(self, column: int, scope: int) -> float:
        return self._costs.of_barrier(column, scope)
