"""How nodes start and end: the calls of a run.

A cell whose call ends well at the first try takes one path in every run: the counters' compiled
functions, a pooled event, a few sums. What is less common (a range, a call that fails or was tried
before) has `CallDetails` and takes the methods of `Calls`; one test finds it. A call that fails
takes as long as one that ends well.

A column may have a route (`sim.simulator.route`): then nobody knows how long a call will take until
the route says that it is through, and a range gives all of its rows at that moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import simpy

from cellspec.graph.nodes import barrier_key, column_of
from cellspec.machine.actions import Failure
from cellspec.state.codes import RANGED, READY, RUNNING
from sim.simulator.composition import Composition
from sim.simulator.consequences import Consequences
from sim.simulator.costs import CallCosts
from sim.simulator.failing import Failing
from sim.simulator.outcome import Incarnation
from sim.simulator.queues import Picker
from sim.simulator.ranges import Ranges
from sim.simulator.ready_times import ReadyTimes
from sim.simulator.run_state import CallDetails, RunState, Settle, Task
from sim.simulator.tally import Tally
from sim.simulator.timings import SAMPLED

__all__ = ["Calls"]


class Calls:
    """Starts and ends the nodes of one run.

    Args:
        state: the run.
        parts: what it asks for.

    Attributes:
        tally: the counts beside the events.
        consequences: what follows an event before nodes start.
    """

    def __init__(self, state: RunState, parts: Composition) -> None:
        self._state, self._parts = state, parts
        self.tally = Tally(state, tries_all=parts.is_plain)
        self.consequences = Consequences(state, self.tally, parts)
        self._failing = Failing(state, self.tally, self.consequences, parts.outcomes)
        self._ranges = Ranges(state, self.consequences, parts)
        self._ready = ReadyTimes(state)
        # Whether a column's calls may be anything but one cell each, which takes its latency.
        self._is_odd = [
            rows > 1 or skips or column in parts.routes
            for column, (rows, skips) in enumerate(zip(parts.range_rows, parts.skips, strict=True))
        ]
        # What a crash may lose: only then somebody asks what it took.
        self._kept = set(parts.routes) if state.plan.crashes else set()

    def begin(self) -> None:
        """A new incarnation begins."""
        self.tally.begin()
        self.consequences.begin()
        self._failing.begin()
        streams = {column for column, rows in enumerate(self._parts.range_rows) if rows > 1}
        kept = sorted(streams | self._kept)
        self._costs = CallCosts(self._state.latency, self._parts.outcomes, kept)
        for route in self._parts.each_route:
            route.attach(self._state.env, self._through, self._state.counters.dropped)

    # What becomes ready

    def ready_pusher(self, column: int, push: Callable[[int], object]) -> Callable[[int], object]:
        """Receives the row of each cell that becomes ready, and passes it to `push`."""
        return push if self._parts.is_plain else self._ready.noting(column, push)

    def rows_ready(self, column: int, start: int, stop: int) -> None:
        """All cells of rows ``[start, stop)`` became ready."""
        if not self._parts.is_plain:
            self._ready.note_rows(column, start, stop)

    def to_skip(self, column: int, row: int) -> None:
        """A cell is to be skipped."""
        self.consequences.skips.append((column, row))

    # What starts

    def dispatcher(self, pick: Picker) -> Settle:
        """Starts nodes, at time t, while a worker, a resource and ready work are there."""
        state, machine, parts = self._state, self._state.machine, self._parts
        spare, busy_s, calls = state.spare, state.outcome.busy_s, state.outcome.calls
        counters, start, workers = state.counters, self._starts(), state.workers
        schedule, on_completed = state.env.schedule, state.on_completed
        readers = [state.latency.reader(column) for column in range(state.graph.num_columns)]
        flags, columns = state.timings.flags, state.graph.num_columns
        begun, begun_s = state.timings.begun.append, state.timings.begun_s.append
        ready_s, ready_times = state.timings.ready_s.append, self._ready.times
        every, tried, normal = state.timings.every, self.tally.tried, simpy.events.NORMAL
        is_plain, may_stop, is_odd = parts.is_plain, parts.may_stop, self._is_odd
        cells, again, failures = counters.cells, self._failing.calls, self._first_failures()

        def dispatch(t: float) -> None:
            if may_stop and (machine.must_stop or machine.stopped):
                return
            while counters.load < workers:
                node = pick()
                if node is None:
                    return
                column, row = node
                # `is_barrier_key`, inlined: a call for each node would be felt.
                if column < 0:
                    self._begin_barrier(column_of(node), row, t)
                    continue
                if not is_plain:
                    # What waited in a queue may be resolved by now: dropped, skipped, in a range.
                    if cells[column][row] != READY:
                        continue
                    if is_odd[column]:
                        self._begin_cell(column, row, t)
                        continue
                    if node in again:
                        self._begin_again(column, row, t)
                        continue
                    tried[row] = 1
                start[column](row)
                seconds = readers[column](row)
                busy_s[column] += seconds
                calls[column] += 1
                if flags[row]:
                    begun(row * columns + column)
                    begun_s(t)
                    if not is_plain:
                        ready_s(ready_times[column][row // every])
                task = spare.pop() if spare else self._new_task()
                task.column = column
                task.row = row
                task.ends_s = t + seconds
                task.callbacks = on_completed
                schedule(task, normal, seconds)
                if failures is not None:
                    failure_of = failures[column]
                    failure = None if failure_of is None else failure_of(row)
                    if failure is not None:
                        task.details = CallDetails(1, row, row + 1, t, seconds, failure)
                if state.crash_event:
                    state.crash_if_due()

        return dispatch

    def _starts(self) -> Sequence[Callable[[int], object]]:
        """By column, what starts a cell at its first attempt."""
        machine = self._state.machine
        if not self._parts.by_steps:
            return machine.counters.start

        def start_of(column: int) -> Callable[[int], object]:
            return lambda row: machine.start_cell(column, row, 1)

        return [start_of(column) for column in range(self._state.graph.num_columns)]

    def _resolves(self) -> Sequence[Callable[[int], object]]:
        """By column, what completes a cell."""
        machine = self._state.machine
        if not self._parts.by_steps:
            return machine.counters.resolve

        def resolve_of(column: int) -> Callable[[int], object]:
            return lambda row: machine.complete_cell(column, row)

        return [resolve_of(column) for column in range(self._state.graph.num_columns)]

    def _first_failures(self) -> Sequence[Callable[[int], Failure | None] | None] | None:
        """By column, how the first call of a cell fails; None if none does."""
        outcomes = self._parts.outcomes
        if outcomes is None:
            return None
        found = [outcomes.of_first_calls(column) for column in range(len(self._is_odd))]
        return found if any(found) else None

    def _begin_again(self, column: int, row: int, t: float) -> None:
        """Start a cell that failed before."""
        state, outcomes, key = self._state, self._parts.outcomes, (column, row)
        assert outcomes is not None
        call = 1 + self._failing.calls[key]
        if self._parts.by_steps:
            state.machine.start_cell(column, row, 1 + state.machine.attempts.get(key, 0))
        else:
            state.counters.start[column](row)
        seconds = state.latency.get(column, row, call)
        if state.timings.flags[row]:
            state.timings.called(column, row, row + 1, t, self._ready.of(column, row))
        failure = outcomes.of_cell(column, row, call)
        self._launch(column, row, CallDetails(call, row, row + 1, t, seconds, failure))

    def _begin_cell(self, column: int, row: int, t: float) -> None:
        """Start a ready cell, or the range that begins with it, whatever its call may be."""
        state, machine, outcomes = self._state, self._state.machine, self._parts.outcomes
        if self.consequences.is_skipped(column, row):
            self.consequences.skip(column, row)
            self.consequences.take()
            return
        stop = self._ranges.stop_of(column, row)
        attempt = 1 + machine.attempts.get((column, row), 0)
        if stop == row + 1:
            machine.start_cell(column, row, attempt)
        else:
            machine.start_range(column, row, stop, attempt)
        call = 1 + self._failing.calls.get((column, row), 0)
        routed = column in self._parts.routes
        seconds = 0.0 if routed else state.latency.get(column, row, call)
        failure = outcomes.of_cell(column, row, call) if outcomes else None
        state.timings.called(column, row, stop, t, self._ready.of(column, row))
        self.tally.tried_rows(row, stop)
        details = CallDetails(call, row, stop, t, seconds, failure)
        self._launch(column, row, details)

    def _begin_barrier(self, column: int, scope: int, t: float) -> None:
        """Start a barrier node, unless it is not ready any more."""
        state, machine, outcomes = self._state, self._state.machine, self._parts.outcomes
        # The last row that wanted its output may have been dropped.
        if not self._parts.is_plain and machine.counters.barrier_state(column, scope) != READY:
            return
        key = barrier_key(column, scope)
        machine.start_barrier(column, scope, None, 1 + machine.attempts.get(key, 0))
        call = 1 + self._failing.calls.get(key, 0)
        routed = column in self._parts.routes
        seconds = 0.0 if routed else state.latency.get_barrier(column, scope, call)
        failure = outcomes.of_barrier(column, scope, call) if outcomes else None
        self.tally.tried_rows(*state.rules.scope_bounds(column, scope))
        self._launch(~column, scope, CallDetails(call, scope, scope + 1, t, seconds, failure))

    def _launch(self, column: int, row: int, details: CallDetails) -> None:
        """A call with details begins; the column is that of its key."""
        state, own = self._state, column_of((column, row))
        state.outcome.calls[own] += 1
        task = state.spare.pop() if state.spare else self._new_task()
        task.column, task.row, task.details = column, row, details
        route = self._parts.routes.get(own)
        if route is None:
            state.outcome.busy_s[own] += details.seconds
            task.ends_s = details.start_s + details.seconds
            timed_out = details.failure == "timeout"
            self._await(task, details.seconds if timed_out else details.row_s)
        else:
            call, fails = details.call, details.failure is not None
            task.ends_s = -math.inf
            route.enter(task, call, details.stop, fails, details.start_s)
        state.crash_if_due()

    def _new_task(self) -> Task:
        task = Task(self._state.env)
        self._state.tasks.append(task)
        return task

    def _await(self, task: Task, seconds: float) -> None:
        task.callbacks = self._state.on_completed
        self._state.env.schedule(task, simpy.events.NORMAL, seconds)

    # What ends

    def _through(self, task: Task, failure: Failure | None = None) -> None:
        """A call is through its route, now; with a failure of the route, it fails by that."""
        assert task.details is not None
        if failure is not None:
            task.details.failure = failure
        self._book(task, task.details)
        self._state.on_completed[0](task)

    def _book(self, task: Task, details: CallDetails) -> None:
        """Count what a call on a route took up to now."""
        now = self._state.env.now
        details.seconds, task.ends_s = now - details.start_s, now
        self._state.outcome.busy_s[column_of((task.column, task.row))] += details.seconds

    def completion(self, settle: Settle) -> Callable[[Task], None]:
        """The handler of an incarnation's completions."""
        state, parts = self._state, self._parts
        env, machine, outcome, counters = state.env, state.machine, state.outcome, state.counters
        resolve, at, timed = self._resolves(), machine.at, state.timed
        num_records, log, spare = state.graph.num_records, state.log.append, state.spare.append
        timings, works, made = state.timings, state.works, self.tally.made
        flags, ends, every, ended = timings.flags, timings.ends, timings.every, timings.ended
        is_plain, may_stop, touch = parts.is_plain, parts.may_stop, self.consequences.touch
        cells, sampled, has_groups = counters.cells, SAMPLED, parts.has_groups
        emissions, skips = state.emissions, self.consequences.skips
        ends_rows = [rule.is_sink for rule in state.rules.columns]
        self._failing.settle = settle

        def completed(task: Task) -> None:
            t = env.now
            if timed:
                at(t)
            column, row = task.column, task.row
            if task.details is not None:
                self._end(task, task.details, t)
            elif not is_plain and cells[column][row] != RUNNING:
                self._end_unwanted(column, row)
                spare(task)
            else:
                resolve[column](row)
                state.done = done = state.done + 1
                made[column] += 1
                flag = flags[row]
                if flag == sampled:
                    ends[column][row // every] = t
                elif flag:
                    ended(column, row, t)
                # A group ends with a cell that nothing waits for, or with what follows by itself.
                if has_groups and (ends_rows[column] or emissions or skips):
                    touch(row, row + 1)
                if row > state.furthest and works[column]:
                    state.furthest = row
                    if row - counters.rows >= outcome.window_rows:
                        outcome.window_rows = row + 1 - counters.rows
                if done & 0xFFFF:
                    log(column * num_records + row)
                else:
                    self._log_and_flush(column * num_records + row, t)
                spare(task)
            if may_stop:
                self._stop_if_due()
            if state.crash_event:
                state.crash_if_due()
            settle(t)

        return completed

    def _log_and_flush(self, key: int, t: float) -> None:
        """Every so many cells the log is flushed; fingerprints are older than this function."""
        state, is_plain = self._state, self._parts.is_plain
        if not is_plain:
            state.log.append(key)
        state.note_progress(t)
        if is_plain:
            state.log.append(key)

    def _stop_if_due(self) -> None:
        """Stop early if too many calls failed."""
        state, machine = self._state, self._state.machine
        # A run in which all rows are complete has no starts to stop.
        left = machine.completed_rows < state.graph.num_records
        if left and machine.must_stop and not machine.stopped:
            machine.stop()
            state.other_events += 1

    def _end(self, task: Task, details: CallDetails, t: float) -> None:
        """A call with details ends, or gives a row of its range."""
        if task.column < 0:
            self._end_barrier(task, details, t)
        elif details.stop > details.start + 1:
            if not self._end_row(task, details, t):
                return
        else:
            self._end_cell(task, details, t)
        task.details = None
        self._state.spare.append(task)

    def _end_cell(self, task: Task, details: CallDetails, t: float) -> None:
        column, row, machine = task.column, task.row, self._state.machine
        if machine.counters.cells[column][row] != RUNNING:
            self._end_unwanted(column, row)
        elif details.failure is not None:
            self._failing.fail((column, row), details, t)
        else:
            machine.complete_cell(column, row)
            self._failing.calls.pop((column, row), None)
            details.given = 1
            self._keep_costs(task)
            self._gave(column, row, t)

    def _end_unwanted(self, column: int, row: int) -> None:
        """The call of a row ends that was dropped meanwhile."""
        self._state.machine.complete_cell(column, row)
        # Its start and its end, which gives no cell.
        self._state.other_events += 2

    def _end_row(self, task: Task, details: CallDetails, t: float) -> bool:
        """A range gives its next row, or fails half-way; True if it is over."""
        column, machine, state = task.column, self._state.machine, self._state
        row, rows = details.start + details.given, details.stop - details.start
        if details.failure is not None and (
            details.failure == "timeout" or details.given >= rows // 2
        ):
            state.outcome.busy_s[column] -= max(0.0, task.ends_s - t)
            self._keep_costs(task)
            self._failing.fail((column, row), details, t)
            return True
        wanted = machine.counters.cells[column][row] == RANGED
        machine.complete_cell(column, row)
        # Of a range each row is one event, and its start another.
        state.other_events += -1 if wanted else 1
        if wanted:
            self._gave(column, row, t)
        details.given += 1
        if row + 1 == details.stop:
            state.other_events += 1
            self._keep_costs(task)
            return True
        # From the start, so that rounding does not add up.
        due = details.start_s + details.seconds * (details.given + 1) / rows
        self._await(task, max(0.0, due - t))
        return False

    def _end_barrier(self, task: Task, details: CallDetails, t: float) -> None:
        column, scope, state = column_of((task.column, task.row)), task.row, self._state
        if details.failure is not None:
            self._failing.fail((task.column, scope), details, t)
            return
        state.machine.complete_barrier(column, scope)
        if column in self._kept:
            self._costs.add_barrier(column, scope, details.seconds)
        self._failing.calls.pop((task.column, scope), None)
        # Its start stops counting as in flight.
        state.other_events += 2
        state.log.append(task.column * state.graph.num_records + scope)

    def _gave(self, column: int, row: int, t: float) -> None:
        """A cell has its value."""
        state = self._state
        state.done = done = state.done + 1
        self.tally.made[column] += 1
        state.timings.ended(column, row, t)
        self.consequences.touch(row, row + 1)
        if row > state.furthest and state.works[column]:
            state.furthest = row
            if row - state.counters.rows >= state.outcome.window_rows:
                state.outcome.window_rows = row + 1 - state.counters.rows
        state.log.append(column * state.graph.num_records + row)
        if not done & 0xFFFF:
            state.note_progress(t)

    def count(self, incarnation: Incarnation) -> None:
        """Count the cells that an incarnation made, and the time of what is on its way."""
        self.tally.count_cells(incarnation)
        for task in self._state.running:
            if task.ends_s == -math.inf:
                assert task.details is not None
                self._book(task, task.details)

    def count_table(self) -> None:
        """Add what the parts counted to the outcome, when the run is over."""
        for route in self._parts.each_route:
            route.add_up(self._state.outcome)
        self.tally.count_table()

    # What a crash costs

    def saved(self) -> None:
        """A claim is durable."""
        self._costs.forget(self._state.machine.durable_claim)

    def crashed(self) -> None:
        """The process crashed; `RunState.running` holds the calls that ran."""
        self.consequences.skips.clear()
        for route in self._parts.each_route:
            route.crash(self._state.env.now)
        for task in self._state.running:
            self._keep_costs(task)

    def resumed(self, in_flight_lost: int) -> None:
        """The machine was restored, and so many calls that were in flight are gone."""
        self._state.other_events += in_flight_lost
        self.tally.resumed()

    def _keep_costs(self, task: Task) -> None:
        """Remember the cost of the rows that a call gave, until a claim holds them."""
        if task.details is not None:
            on_route = task.column in self._parts.routes
            self._costs.add_rows(task.column, *task.details.costs(on_route=on_route))

    def lost_s(self, task: Task) -> float:
        """How long a call in flight takes, less the part whose values it gave."""
        if task.details is None:
            return self._state.latency.get(task.column, task.row)
        on_route = column_of((task.column, task.row)) in self._parts.routes
        return task.details.lost_s(on_route=on_route)

    def cell_cost(self, column: int) -> Callable[[int], float]:
        """By row, the worker time that a value took; latencies are asked again, not kept."""
        if self._state.rules.columns[column].is_barrier:
            return lambda _: 0.0
        return self._costs.of_cells(column, self._state.graph.num_records)

    def barrier_cost(self, column: int, scope: int) -> float:
        """The time that a barrier node took."""
        return self._costs.of_barrier(column, scope)
