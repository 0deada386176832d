"""How nodes start and end: the calls of a run, as its driver asks for them.

`Calls` is the protocol. `PlainCalls` makes one cell or one barrier a call, and every call ends
well; `sim.simulator.stepwise` adds failures, drops, skips, row groups and ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeAlias

import simpy

from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import NodeKey, column_of
from cellspec.machine.machine import Machine
from sim.simulator.outcome import Incarnation
from sim.simulator.plan import RunPlan
from sim.simulator.run_state import RunState, Task
from sim.simulator.timings import SAMPLED

__all__ = ["Calls", "Picker", "PlainCalls", "Settle"]

Settle: TypeAlias = Callable[[float], None]
"""Follows each event, at its time: starts nodes, finishes rows, begins checkpoints."""

Picker: TypeAlias = Callable[[], NodeKey | None]
"""Takes the next node to start, of those whose resource is free."""


class Calls(Protocol):
    """Starts and ends the nodes of one run.

    Attributes:
        counts_calls: starts and ends of calls are counted one by one; see `RunState`.
        always_timed: the machine must get the time also if time is not judged.
    """

    counts_calls: bool
    always_timed: bool

    def make_machine(
        self, graph: ExecutionGraph, plan: RunPlan, *, checked: bool, waive: Collection[str]
    ) -> Machine:
        """The machine that judges the run."""

    def attach(self, state: RunState) -> None:
        """Take the run that the calls belong to; called once."""

    def begin(self) -> None:
        """A new incarnation begins."""

    def settler(self, settle: Settle, finish_stopped: Callable[[], None]) -> Settle:
        """`settle`, with the steps that the calls take at each event.

        Args:
            settle: the driver's part.
            finish_stopped: for a run that has stopped early.
        """

    def dispatcher(self, pick: Picker) -> Settle:
        """Starts nodes, at time t, while a worker, a resource and ready work are there."""

    def completion(self, settle: Settle) -> Callable[[Task], None]:
        """The handler of an incarnation's completions."""

    def emit(self) -> None:
        """Give the output cells of barriers that have completed; each at once."""

    def ready_pusher(self, column: int, push: Callable[[int], object]) -> Callable[[int], object]:
        """Receives the row of each cell that becomes ready, and passes it to `push`."""

    def rows_ready(self, column: int, start: int, stop: int) -> None:
        """All cells of rows ``[start, stop)`` became ready."""

    def to_skip(self, column: int, row: int) -> None:
        """A cell is to be skipped."""

    def has_live_row(self, rows: int) -> bool:
        """True if one of the first `rows` rows was not dropped."""

    def rows_tried(self) -> int:
        """How many rows had a call, or a skipped cell."""

    def count_cells(self, incarnation: Incarnation, open_before: Sequence[int]) -> None:
        """Add up the cells that an incarnation made, given how many were open at its start."""

    def count_table(self) -> None:
        """Add rows and cells of the finished table to the outcome, by column."""

    def saved(self) -> None:
        """A claim is durable."""

    def crashed(self) -> None:
        """The process crashed; `RunState.running` holds the calls that ran."""

    def resumed(self, in_flight_lost: int) -> None:
        """The machine was restored, and so many calls that were in flight are gone."""

    def lost_s(self, task: Task) -> float:
        """How long a call in flight takes, less the part whose values it gave."""

    def cell_cost(self, column: int) -> Callable[[int], float]:
        """By row, the worker time that a value took; latencies are asked again, not kept."""

    def barrier_cost(self, column: int, scope: int) -> float:
        """The time that a barrier node took."""


class PlainCalls:
    """Calls that make one cell, or run one barrier, and end well."""

    counts_calls = False
    always_timed = False

    def __init__(self) -> None:
        self._state: RunState

    def make_machine(
        self,
        graph: ExecutionGraph,
        plan: RunPlan,
        *,
        checked: bool,  # noqa: ARG002
        waive: Collection[str],
    ) -> Machine:
        return Machine(graph, plan.limits, waive=waive)

    def attach(self, state: RunState) -> None:
        self._state = state

    def begin(self) -> None:
        """A plain call has no memory to clear."""

    def settler(self, settle: Settle, finish_stopped: Callable[[], None]) -> Settle:  # noqa: ARG002
        return settle

    def dispatcher(self, pick: Picker) -> Settle:
        state = self._state
        machine, spare, busy_s = state.machine, state.spare, state.outcome.busy_s
        counters, start, workers = state.counters, machine.counters.start, state.workers
        schedule, on_completed = state.env.schedule, state.on_completed
        readers = [state.latency.reader(column) for column in range(state.graph.num_columns)]
        flags, columns = state.timings.flags, state.graph.num_columns
        begin, begin_s = state.timings.begun.append, state.timings.begun_s.append
        barrier_s, normal = state.latency.get_barrier, simpy.events.NORMAL

        def dispatch(t: float) -> None:
            while counters.load < workers:
                node = pick()
                if node is None:
                    return
                column, row = node
                # `is_barrier_key`, inlined: a call for each node would be felt.
                if column >= 0:
                    start[column](row)
                    seconds = readers[column](row)
                    busy_s[column] += seconds
                    if flags[row]:
                        begin(row * columns + column)
                        begin_s(t)
                else:
                    barrier = column_of(node)
                    machine.start_barrier(barrier, row)
                    seconds = barrier_s(barrier, row)
                    busy_s[barrier] += seconds
                task = spare.pop() if spare else self._new_task()
                task.column = column
                task.row = row
                task.ends_s = t + seconds
                task.callbacks = on_completed
                schedule(task, normal, seconds)
                if state.crash_event:
                    state.crash_if_due()

        return dispatch

    def _new_task(self) -> Task:
        task = Task(self._state.env)
        self._state.tasks.append(task)
        return task

    def completion(self, settle: Settle) -> Callable[[Task], None]:
        state = self._state
        env, machine, outcome = state.env, state.machine, state.outcome
        counters = state.counters
        resolve, at, timed = machine.counters.resolve, machine.at, state.timed
        num_records, log, spare = state.graph.num_records, state.log.append, state.spare.append
        timings, works = state.timings, state.works
        flags, ends, every, ended = timings.flags, timings.ends, timings.every, timings.ended
        sampled = SAMPLED

        def completed(task: Task) -> None:
            t = env.now
            if timed:
                at(t)
            column, row = task.column, task.row
            if column >= 0:
                resolve[column](row)
                state.done = done = state.done + 1
                flag = flags[row]
                if flag == sampled:
                    ends[column][row // every] = t
                elif flag:
                    ended(column, row, t)
                if row > state.furthest and works[column]:
                    state.furthest = row
                    if row - counters.rows >= outcome.window_rows:
                        outcome.window_rows = row + 1 - counters.rows
                if not done & 0xFFFF:
                    state.note_progress(t)
            else:
                barrier = column_of((column, row))
                outcome.calls[barrier] += 1
                machine.complete_barrier(barrier, row)
                # Its start stops counting as in flight.
                state.other_events += 2
            log(column * num_records + row)
            spare(task)
            if state.crash_event:
                state.crash_if_due()
            settle(t)

        return completed

    def emit(self) -> None:
        state = self._state
        while state.emissions:
            column, start, stop = state.emissions.pop()
            state.machine.emit(column, start, stop)
            state.done += stop - start
            state.other_events -= 2 * (stop - start)
            state.gave_output(column, start, stop)
            state.count_event()

    def ready_pusher(self, column: int, push: Callable[[int], object]) -> Callable[[int], object]:  # noqa: ARG002
        return push

    def rows_ready(self, column: int, start: int, stop: int) -> None:
        """The times are worked out afterwards; see `Timings.settle`."""

    def to_skip(self, column: int, row: int) -> None:
        """Without a condition to skip by, every cell is made."""

    def has_live_row(self, rows: int) -> bool:
        return rows > 0

    def rows_tried(self) -> int:
        """A run without failures tries every row."""
        return self._state.graph.num_records

    def count_cells(self, incarnation: Incarnation, open_before: Sequence[int]) -> None:
        state, outcome = self._state, self._state.outcome
        for column, before in enumerate(open_before):
            done = before - state.machine.counters.open_cells[column]
            incarnation.cells_done += done
            outcome.done[column] += done
            if not state.rules.columns[column].is_barrier:
                outcome.calls[column] += done
        for task in state.running:
            outcome.calls[column_of((task.column, task.row))] += 1

    def count_table(self) -> None:
        """The table holds values only."""

    def saved(self) -> None:
        """Latencies can be asked again: there are no costs to forget."""

    def crashed(self) -> None:
        """Latencies can be asked again: there are no costs to keep."""

    def resumed(self, in_flight_lost: int) -> None:
        self._state.other_events += in_flight_lost

    def lost_s(self, task: Task) -> float:
        latency = self._state.latency
        if task.column >= 0:
            return latency.get(task.column, task.row)
        return latency.get_barrier(column_of((task.column, task.row)), task.row)

    def cell_cost(self, column: int) -> Callable[[int], float]:
        if self._state.rules.columns[column].is_barrier:
            return lambda _: 0.0
        get = self._state.latency.get
        return lambda row: get(column, row)

    def barrier_cost(self, column: int, scope: int) -> float:
        return self._state.latency.get_barrier(column, scope)
