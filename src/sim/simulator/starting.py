"""How nodes start: from the queue into flight."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence

from cellspec.graph.nodes import NodeKey, barrier_key, column_of
from cellspec.state.codes import READY
from sim.simulator.call_times import CallTimes
from sim.simulator.composition import Composition
from sim.simulator.consequences import Consequences
from sim.simulator.failing import Failing
from sim.simulator.picking import Picker
from sim.simulator.ranges import Ranges
from sim.simulator.ready_times import ReadyTimes
from sim.simulator.run_state import CallDetails, FailingCall, RunState, Settle, Task
from sim.simulator.shares import Shares
from sim.simulator.tally import Tally

__all__ = ["Starts"]

NEVER = -math.inf
"""Nobody knows yet when a call ends: `Task.ends_s`."""


class Starts:
    """Starts the nodes of one run.

    Args:
        state: the run.
        parts: what it asks for.
        tally, consequences, failing, ready: its parts.
        shares: counts the calls that run; None if nobody asks.
    """

    def __init__(
        self,
        state: RunState,
        parts: Composition,
        tally: Tally,
        consequences: Consequences,
        failing: Failing,
        ready: ReadyTimes,
        shares: Shares | None,
    ) -> None:
        self._state, self._parts, self._tally = state, parts, tally
        self._consequences, self._failing, self._ready = consequences, failing, ready
        self._ranges, self._shares = Ranges(state, consequences, parts), shares
        accepts_or_shares = state.plan.accept is not None or shares is not None
        # Whether a column's calls may be anything but one cell each.
        self._is_odd = [rows > 1 or accepts_or_shares for rows in parts.range_rows]

    def dispatcher(self, pick: Picker) -> Settle:
        """Starts nodes, at time t, while a worker, a resource and ready work are there."""
        state, machine, parts = self._state, self._state.machine, self._parts
        spare, busy_s, calls = state.spare, state.outcome.busy_s, state.outcome.calls
        counters, start, workers = state.counters, self._starts(), state.workers
        queue, order, push = state.env.queue, state.env.order, heapq.heappush
        readers = self.readers()
        flags, rows = state.timings.flags, state.graph.num_records
        begun, begun_s = state.timings.begun.append, state.timings.begun_s.append
        held, ready = state.timings.held, self._ready
        is_even, may_stop, is_odd = parts.is_even, parts.may_stop, self._is_odd
        cells, rests, wake = counters.cells, self._failing.rests, self._failing.wake
        on_route = [column in parts.routes for column in range(state.graph.num_columns)]
        # A crash asks of each call what it took, and so does a scheduler that takes time.
        asked = bool(state.plan.crashes) or state.plan.serial is not None
        keeps_details = asked or not parts.is_even
        quick = [
            None if keeps_details or column not in parts.routes else parts.routes[column].enter
            for column in range(state.graph.num_columns)
        ]
        skips = self._own_conditions()

        def dispatch(t: float) -> None:
            if may_stop and (machine.must_stop or machine.stopped):
                return
            while counters.load < workers:
                node = pick()
                if node is None:
                    if rests:
                        wake()
                    return
                column, row = node
                # `is_barrier_key`, inlined: a call for each node would be felt.
                if column < 0:
                    self.begin_barrier(column_of(node), row, t)
                    continue
                details, held_s = None, 0.0
                if is_even:
                    start[column](row)
                    enter = quick[column]
                    if enter is not None:
                        calls[column] += 1
                        if flags[row]:
                            begun(column * rows + row)
                            begun_s(t)
                        task = spare.pop() if spare else self.new_task()
                        task.column, task.row, task.start_s, task.ends_s = column, row, t, NEVER
                        enter(task, 1, row + 1, False, t)
                        continue
                    if on_route[column]:
                        self._send(column, row, t)
                        continue
                    seconds = readers[column](row)
                else:
                    # What waited in a queue may be resolved by now: dropped, skipped, in a range.
                    if cells[column][row] != READY:
                        continue
                    if is_odd[column]:
                        self._begin_cell(column, row, t)
                        continue
                    if skips is not None and skips[column](row):
                        self._skip(column, row)
                        continue
                    start[column](row)
                    if on_route[column]:
                        self._send(column, row, t)
                        continue
                    seconds = readers[column](row)
                    if seconds <= 0.0:
                        details, seconds, held_s = self.look_closer(column, row, seconds)
                busy_s[column] += seconds
                calls[column] += 1
                if flags[row]:
                    begun(column * rows + row)
                    begun_s(t)
                    if held_s or ready.notes:
                        held(held_s or ready.of(column, row))
                task = spare.pop() if spare else self.new_task()
                task.column = column
                task.row = row
                task.ends_s = ends_s = t + seconds
                if details is not None:
                    task.details = details
                push(queue, (ends_s, next(order), task, -1, 0, 0))
                if state.crash_event:
                    state.crash_if_due()

        return dispatch

    def _starts(self) -> Sequence[Callable[[int], object]]:
        """By column, what starts a cell."""
        machine = self._state.machine
        if not self._parts.by_steps:
            return machine.counters.start
        spent = machine.attempts

        def start_of(column: int) -> Callable[[int], object]:
            return lambda row: machine.start_cell(column, row, 1 + spent.get((column, row), 0))

        return [start_of(column) for column in range(self._state.graph.num_columns)]

    def readers(self) -> Sequence[Callable[[int], float]]:
        """By column, what the first call of a cell takes; negative if it fails."""
        state, parts = self._state, self._parts
        rows, columns = state.graph.num_records, state.graph.num_columns
        self._times = CallTimes(state.latency, parts.outcomes, rows, columns)
        found = self._times.first
        if parts.is_even:
            return found
        # A row is tried with a cell that waits for no other, unless its first cells were found.
        starts_from = state.plan.start_from is not None
        return [
            read if rule.needs and not starts_from else self._tally.trying(read)
            for rule, read in zip(state.rules.columns, found, strict=True)
        ]

    @property
    def later(self) -> Sequence[Callable[[int, int], float]]:
        """Of the calls that `readers` reads, `CallTimes.later`."""
        return self._times.later

    @property
    def rested(self) -> dict[NodeKey, float]:
        """By cell of the sample that failed, and was not tried again, the end of its backoff."""
        return self._ready.until

    def _own_conditions(self) -> Sequence[Callable[[int], bool]] | None:
        """By column, whether its own condition skips a cell; None if none does."""
        outcomes, skips = self._parts.outcomes, self._parts.skips
        if outcomes is None or not any(skips):
            return None
        found = [
            outcomes.of_skips(column) if may_skip else None for column, may_skip in enumerate(skips)
        ]
        return [each or _is_made for each in found]

    def _skip(self, column: int, row: int) -> None:
        """A ready cell is skipped, with all that follows from that."""
        self._consequences.skip(column, row)
        self._consequences.take()

    def look_closer(
        self, column: int, row: int, seconds: float
    ) -> tuple[FailingCall | None, float, float]:
        """A cell starts whose first call fails, or takes no time.

        Returns:
            How its call fails, or None; its seconds; and a time before which it was not ready.
        """
        failing, times, ready = self._failing, self._times, self._ready
        key, held_s = (column, row), 0.0
        call = 1 + failing.tries.of(key)
        if call > 1:
            seconds = times.later[column](row, call)
            held_s = ready.of(column, row) if ready.notes else ready.until.pop(key, 0.0)
        if seconds > 0.0 or not (seconds < 0.0 or times.fails(seconds)):
            return None, seconds, held_s
        return failing.call(call), -seconds, held_s

    def _send(self, column: int, row: int, t: float) -> None:
        """A cell that was started goes on its route."""
        state, outcomes = self._state, self._parts.outcomes
        call = 1 + self._failing.tries.of((column, row))
        failure = outcomes.of_cell(column, row, call) if outcomes else None
        state.timings.called(column, row, row + 1, t, self._ready.of(column, row))
        self._tally.tried_rows(row, row + 1)
        details = CallDetails(call, row, row + 1, t, 0.0, failure)
        # Costs are kept only where a crash may lose the value.
        details.ends_like_first = failure is None and not state.plan.crashes
        self._launch(column, row, details)

    def _begin_cell(self, column: int, row: int, t: float) -> None:
        """Start a ready cell, or the range that begins with it, whatever its call may be."""
        state, machine, outcomes = self._state, self._state.machine, self._parts.outcomes
        if self._consequences.is_skipped(column, row):
            self._skip(column, row)
            return
        stop = self._ranges.stop_of(column, row)
        attempt = 1 + machine.attempts.get((column, row), 0)
        if stop == row + 1:
            machine.start_cell(column, row, attempt)
        else:
            machine.start_range(column, row, stop, attempt)
        call = 1 + self._failing.tries.of((column, row))
        routed = column in self._parts.routes
        seconds = 0.0 if routed else state.latency.get(column, row, call)
        failure = outcomes.of_cell(column, row, call) if outcomes else None
        state.timings.called(column, row, stop, t, self._ready.of(column, row))
        self._tally.tried_rows(row, stop)
        self._launch(column, row, CallDetails(call, row, stop, t, seconds, failure))

    def begin_barrier(self, column: int, scope: int, t: float) -> None:
        """Start a barrier node, unless it is not ready any more."""
        state, machine, outcomes = self._state, self._state.machine, self._parts.outcomes
        # The last row that wanted its output may have been dropped.
        if not self._parts.is_even and machine.counters.barrier_state(column, scope) != READY:
            return
        key = barrier_key(column, scope)
        machine.start_barrier(column, scope, None, 1 + machine.attempts.get(key, 0))
        call = 1 + self._failing.tries.of(key)
        routed = column in self._parts.routes
        seconds = 0.0 if routed else state.latency.get_barrier(column, scope, call)
        failure = outcomes.of_barrier(column, scope, call) if outcomes else None
        self._tally.tried_rows(*state.rules.scope_bounds(column, scope))
        self._launch(~column, scope, CallDetails(call, scope, scope + 1, t, seconds, failure))

    def _launch(self, column: int, row: int, details: CallDetails) -> None:
        """A call with details begins; the column is that of its key."""
        state, own = self._state, column_of((column, row))
        state.outcome.calls[own] += 1
        if self._shares is not None:
            self._shares.began(own)
        task = state.spare.pop() if state.spare else self.new_task()
        task.column, task.row, task.details = column, row, details
        route = self._parts.routes.get(own)
        if route is None:
            state.outcome.busy_s[own] += details.seconds
            task.ends_s = details.start_s + details.seconds
            timed_out = details.failure == "timeout"
            state.env.schedule(task, delay=details.seconds if timed_out else details.row_s)
        else:
            call, fails = details.call, details.failure is not None
            task.ends_s = NEVER
            route.enter(task, call, details.stop, fails, details.start_s)
        state.crash_if_due()

    def new_task(self) -> Task:
        """A task more in the pool, which runs at once."""
        task = Task(self._state.env)
        self._state.tasks.append(task)
        return task


def _is_made(_row: int) -> bool:
    """No condition skips the cell."""
    return False
