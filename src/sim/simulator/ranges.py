"""Calls that make a range of rows, one after the other, and give each when it is made.

A range that fails does so when it has given half of its rows.
"""

from __future__ import annotations

from cellspec.state.codes import LAST_WAIT, READY
from sim.simulator.composition import Composition
from sim.simulator.consequences import Consequences
from sim.simulator.run_state import RunState

__all__ = ["Ranges"]


class Ranges:
    """The ranges of a run.

    Args:
        state, consequences: of the run.
        parts: what the run asks for.
    """

    def __init__(self, state: RunState, consequences: Consequences, parts: Composition) -> None:
        self._state, self._consequences, self._parts = state, consequences, parts

    def stop_of(self, column: int, row: int) -> int:
        """Where the range ends that begins with a ready cell: at the first row that cannot join."""
        state = self._state
        most = min(row + self._parts.range_rows[column], state.graph.num_records)
        rule, body = state.rules.columns[column], state.machine.counters.cells[column]
        attempts = state.machine.attempts
        attempt = attempts.get((column, row))
        size = state.plan.limits.group_rows
        if rule.ordered and size is not None:
            most = min(most, (row // size + 1) * size)
        # In order, a cell waits for the one before it, which is in the range.
        joins = LAST_WAIT if rule.ordered else READY
        stop = row + 1
        while (
            stop < most
            and body[stop] == joins
            and attempts.get((column, stop)) == attempt
            and not self._consequences.is_skipped(column, stop)
        ):
            stop += 1
        return stop
