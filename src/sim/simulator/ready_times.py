"""The times before which cells of the sample were not ready, where their inputs do not say it.

When a cell was ready follows from the ends of the cells that it waited for, which
`sim.simulator.timings` has. Two things are noted beside: the end of a cell's backoff, and, where a
row that is dropped may hand its turn on, the time of each turn.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from cellspec.graph.nodes import NodeKey
from sim.simulator.run_state import RunState
from sim.simulator.timings import SAMPLED

__all__ = ["ReadyTimes"]


class ReadyTimes:
    """What is noted in one incarnation.

    Args:
        state: the run; its `timings` say which rows are in the sample.
        noted: each cell is noted when it becomes ready.

    Attributes:
        notes: that is so.
        until: by cell that failed, and was not tried again, the end of its backoff.
    """

    def __init__(self, state: RunState, *, noted: bool) -> None:
        self._run, self._flags = state.machine.state, state.timings.flags
        self._every = every = state.timings.every
        self.notes = noted
        count = -(-state.graph.num_records // every) if noted else 0
        self._times = [array("d", bytes(8 * count)) for _ in state.rules.columns]
        self.until: dict[NodeKey, float] = {}

    def begin(self) -> None:
        """A new incarnation begins, in which nothing has failed."""
        self.until.clear()

    def rests(self, column: int, start: int, stop: int, until: float) -> None:
        """Cells of rows ``[start, stop)`` failed, and are in backoff until then."""
        for row in range(start, stop):
            if self._flags[row] & SAMPLED:
                self.until[column, row] = until

    def of(self, column: int, row: int) -> float:
        """A cell starts: a time before which it was not ready; 0 if nothing is noted of it."""
        until = self.until.pop((column, row), 0.0) if self.until else 0.0
        return max(until, self._times[column][row // self._every]) if self.notes else until

    def noting(self, column: int, push: Callable[[int], object]) -> Callable[[int], object]:
        """`push`, with a note of the time for each row of the sample."""
        flags, every, times, run = self._flags, self._every, self._times[column], self._run

        def take(row: int) -> None:
            if flags[row] & SAMPLED:
                times[row // every] = run.now
            push(row)

        return take

    def note_rows(self, column: int, start: int, stop: int) -> None:
        """All cells of rows ``[start, stop)`` became ready now."""
        first, last = -(-start // self._every), -(-stop // self._every)
        self._times[column][first:last] = array("d", [self._run.now]) * (last - first)
