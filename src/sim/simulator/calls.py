"""How nodes start and end: the calls of a run.

A cell whose call ends well at the first try takes one path in every run: the counters' compiled
functions, a pooled event, a few sums. What is less common (a range, a call that fails or was tried
before) has `CallDetails` and takes methods of `Starts` and `Ends`; one test finds it. A call that
fails takes as long as one that ends well.

A column may have a route (`sim.simulator.route`): then nobody knows how long a call will take until
the route says that it is through, and a range gives all of its rows at that moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from cellspec.graph.nodes import column_of
from sim.simulator.accepting import Accepting, cancel_running
from sim.simulator.binding import Binding
from sim.simulator.claim_schedule import ClaimSchedule
from sim.simulator.composition import Composition
from sim.simulator.consequences import Consequences
from sim.simulator.ending import Ends
from sim.simulator.failing import Failing
from sim.simulator.outcome import Incarnation
from sim.simulator.picking import Picker
from sim.simulator.plain_loop import run_plain
from sim.simulator.queues import ReadyQueue
from sim.simulator.ready_times import ReadyTimes
from sim.simulator.run_state import CallDetails, RunState, Settle, Task
from sim.simulator.shares import Shares
from sim.simulator.starting import Starts
from sim.simulator.tally import Tally

__all__ = ["Calls"]


class Calls:
    """Starts and ends the nodes of one run.

    Args:
        state: the run.
        parts: what it asks for.

    Attributes:
        tally: the counts beside the events.
        consequences: what follows an event before nodes start.
        accepting: the rows that are accepted; None where all rows are wanted.
        shares: how many calls of each column run; None where no resource is shared by weights.
    """

    def __init__(self, state: RunState, parts: Composition) -> None:
        self._state, self._parts = state, parts
        self.tally = Tally(state, tries_all=parts.is_even)
        self.consequences = Consequences(state, self.tally, parts)
        self._ready = ReadyTimes(state, noted=parts.hands_turns_on)
        self._failing = Failing(state, self.tally, self.consequences, self._ready, parts.outcomes)
        accept = state.plan.accept
        self.accepting = (
            None if accept is None else Accepting(state, self.tally, self.consequences, accept)
        )
        self.shares = Shares(state.machine, state.plan) if state.plan.shares else None
        shared = (state, parts, self.tally, self.consequences, self._failing)
        self._starts, self._ends = (
            Starts(*shared, self._ready, self.shares),
            Ends(*shared, self.accepting, self.shares),
        )
        self._binding = Binding(state, parts.each_route) if parts.routes else None

    def begin(self) -> None:
        """A new incarnation begins."""
        self.tally.begin()
        self.consequences.begin()
        if self.accepting is not None:
            self.accepting.begin()
        self._failing.begin()
        self._ready.begin()
        if self.shares is not None:
            self.shares.begin(self._state.env)
        self._ends.begin()
        for route in self._parts.each_route:
            state = self._state
            route.attach(
                state.env, self._ends.through, state.counters.dropped, state.timings.of_rows
            )
        if self._binding is not None:
            self._state.env.watch = self._binding.watch()

    def dispatcher(self, pick: Picker) -> Settle:
        """Starts nodes, at time t, while a worker, a resource and ready work are there."""
        return self._starts.dispatcher(pick)

    def run_plain(
        self,
        picker: Picker,
        queues: Sequence[ReadyQueue],
        claims: ClaimSchedule,
        settle: Settle,
        follow: Settle,
    ) -> None:
        """Let all events of an incarnation happen; see `sim.simulator.plain_loop.run_plain`."""
        failing = self._failing if self._parts.may_fail else None
        groups, starts, ends = self.consequences.groups, self._starts, self._ends
        run_plain(
            *(self._state, self.tally, groups, failing, starts, ends, self._parts.bare),
            None if self._binding is None else self._binding.when_busy(),
            *(picker, queues, claims, settle, follow),
        )

    def completion(self, settle: Settle) -> Callable[[Task], None]:
        """The handler of an incarnation's completions."""
        self._failing.settle = settle
        return self._ends.completion(settle)

    # What becomes ready

    def ready_pusher(self, column: int, push: Callable[[int], object]) -> Callable[[int], object]:
        """Receives the row of each cell that becomes ready, and passes it to `push`."""
        return self._ready.noting(column, push) if self._ready.notes else push

    def rows_ready(self, column: int, start: int, stop: int) -> None:
        """All cells of rows ``[start, stop)`` became ready."""
        if self._ready.notes:
            self._ready.note_rows(column, start, stop)

    def to_skip(self, column: int, row: int) -> None:
        """A cell is to be skipped."""
        self.consequences.skips.append((column, row))

    # Counts

    def count(self, incarnation: Incarnation) -> None:
        """Count the cells that an incarnation made, and the time of what is on its way."""
        self.tally.count_cells(incarnation)
        self._book_running()

    def give_up(self) -> None:
        """Cancel every call that runs: nobody wants its answer any more."""
        self._state.stop_tasks()
        self._book_running()
        self.crashed()
        cancel_running(self._state)

    def _book_running(self) -> None:
        for task in self._state.running:
            if task.ends_s == -math.inf:
                self._ends.book(task)

    def count_table(self) -> None:
        """Add what the parts counted to the outcome, when the run is over."""
        for route in self._parts.each_route:
            route.add_up(self._state.outcome)
        if self._binding is not None:
            self._state.outcome.binding = self._binding.seconds()
        self.tally.count_table()

    # What a crash costs

    def saved(self) -> None:
        """A claim is durable."""
        self._ends.costs.forget(self._state.machine.durable_claim)

    def crashed(self) -> None:
        """The process crashed; `RunState.running` holds the calls that ran."""
        self.consequences.skips.clear()
        for route in self._parts.each_route:
            route.crash(self._state.env.now)
        for task in self._state.running:
            self._ends.keep_costs(task)

    def resumed(self, in_flight_lost: int) -> None:
        """The machine was restored, and so many calls that were in flight are gone."""
        self._state.other_events += in_flight_lost
        self.tally.resumed()

    def lost_s(self, task: Task) -> float:
        """How long a call in flight takes, less the part whose values it gave."""
        if not isinstance(task.details, CallDetails):
            return self._ends.costs.of_call(task.column, task.row, task.details)
        on_route = column_of((task.column, task.row)) in self._parts.routes
        return task.details.lost_s(on_route=on_route)

    def cell_cost(self, column: int) -> Callable[[int], float]:
        """By row, the worker time that a value took; latencies are asked again, not kept."""
        if self._state.rules.columns[column].is_barrier:
            return lambda _: 0.0
        return self._ends.costs.of_cells(column, self._state.graph.num_records)

    def barrier_cost(self, column: int, scope: int) -> float:
        """The time that a barrier node took."""
        return self._ends.costs.of_barrier(column, scope)
