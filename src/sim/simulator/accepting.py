"""Rows that are accepted or not when their last cell ends, and how many are."""

from __future__ import annotations

from array import array
from functools import reduce

from cellspec.graph.nodes import column_of
from cellspec.graph.rowset import ranges_of
from cellspec.machine.actions import Action
from cellspec.state.claims import count_rows, covers, meet, spans
from sim.draws import unit
from sim.simulator.consequences import Consequences
from sim.simulator.plan import AcceptPlan
from sim.simulator.run_state import CallDetails, RunState
from sim.simulator.tally import Tally

__all__ = ["Accepting", "cancel_running"]

_KIND = 4
"""The kind of its draws; see `sim.simulator.call_outcomes` for the others."""


class Accepting:
    """The rows that a run accepts.

    A row is judged when the last of its cells ends, by a draw. If it is not accepted, that answer
    rejects it: the row is dropped as filtered.

    Args:
        state, tally, consequences: of the run.
        plan: how many rows are wanted, and the share that is accepted.

    Attributes:
        accepted: rows that are complete and not dropped.
    """

    def __init__(
        self, state: RunState, tally: Tally, consequences: Consequences, plan: AcceptPlan
    ) -> None:
        self._state, self._tally, self._consequences, self._plan = state, tally, consequences, plan
        self._anew: tuple[int, ...] = ()
        self.accepted = 0
        consequences.gave_output = self._gave_output

    @property
    def has_enough(self) -> bool:
        """True if as many rows are accepted as are wanted."""
        return self.accepted >= self._plan.rows

    def begin(self) -> None:
        """A new incarnation begins: with the rows that its claim holds whole."""
        import numpy as np

        machine, graph = self._state.machine, self._state.graph
        claim, incarnation = machine.durable_claim, machine.incarnation
        self._anew = (incarnation,) if incarnation and self._plan.draws_anew else ()
        # How many cells of each row are open.
        self._left = array("i", [graph.num_columns]) * graph.num_records
        left = np.frombuffer(self._left, dtype=np.intc)
        for rows in claim:
            for start, stop in spans(rows):
                left[start:stop] -= 1
        whole = reduce(meet, claim)
        gone = sum(covers(whole, row) for row in machine.counters.dropped)
        self.accepted = count_rows(whole) - gone

    def _accepts(self, row: int) -> bool:
        return unit(self._state.plan.seed, 0, row, 0, _KIND, *self._anew) < self._plan.rate

    def rejects(self, column: int, row: int) -> bool:
        """A called cell ends well: True if it rejects its row, which is then done."""
        left = self._left[row] - 1
        if left or self._accepts(row):
            self._left[row] = left
            self.accepted += not left
            return False
        name = self._state.rules.columns[column].name
        rows = ((row, row + 1),)
        self._state.machine.apply(Action("complete", name, rows[0], rejected=rows))
        self._record_drop(column, row)
        # Its start and its end, which gives no cell.
        self._state.other_events += 2
        return True

    def complete_barrier(self, column: int, scope: int) -> None:
        """A barrier ends well, and rejects the rows of which only its output is left."""
        machine, bounds = self._state.machine, self._state.rules.scope_bounds(column, scope)
        find, counters = machine.counters.find_unresolved, machine.counters
        rejected, row = [], find(column, *bounds)
        while row >= 0:
            if self._left[row] == 1 and row not in counters.dropped and not self._accepts(row):
                rejected.append(row)
            row = find(column, row + 1, bounds[1])
        name, rows = self._state.rules.columns[column].name, ranges_of(rejected)
        machine.apply(Action("complete", name, scope=scope, rejected=rows or None))
        for row in rejected:
            self._record_drop(column, row)

    def _record_drop(self, column: int, row: int) -> None:
        self._state.machine.record_drop(column, row, row + 1, "filtered")
        self._tally.blame(column, row)
        self._state.other_events += 1
        self._consequences.touch(row, row + 1)

    def _gave_output(self, start: int, stop: int) -> None:
        """A barrier gave output cells: those that are the last of their row are accepted."""
        for row in range(start, stop):
            self._left[row] -= 1
            self.accepted += not self._left[row]


def cancel_running(state: RunState) -> None:
    """Cancel the calls of `RunState.running`, and forget all that was to come."""
    machine = state.machine
    for task in state.running:
        if task.column < 0:
            machine.cancel_barrier(column_of((task.column, task.row)), task.row)
        else:
            given = task.details.given if isinstance(task.details, CallDetails) else 0
            machine.cancel_cell(task.column, task.row + given)
        # Its start, which stops counting as in flight, and its end.
        state.other_events += 2
    state.tasks.clear()
    state.spare.clear()
    state.env.queue.clear()
