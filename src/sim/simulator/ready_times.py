"""The times at which cells of the sample became ready, where each call notes its own wait."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from sim.simulator.run_state import RunState
from sim.simulator.timings import SAMPLED

__all__ = ["ReadyTimes"]


class ReadyTimes:
    """By column, when each cell of the sample became ready.

    Args:
        state: the run; its `timings` say which rows are in the sample.
        noted: somebody notes them.
    """

    def __init__(self, state: RunState, *, noted: bool) -> None:
        self._run, self._flags = state.machine.state, state.timings.flags
        self._every = every = state.timings.every
        count = -(-state.graph.num_records // every) if noted else 0
        self.times = [array("d", bytes(8 * count)) for _ in state.rules.columns]

    def of(self, column: int, row: int) -> float:
        """When a cell of the sample became ready; any number for a row outside of it."""
        return self.times[column][row // self._every]

    def noting(self, column: int, push: Callable[[int], object]) -> Callable[[int], object]:
        """`push`, with a note of the time for each row of the sample."""
        flags, every, times, run = self._flags, self._every, self.times[column], self._run

        def take(row: int) -> None:
            if flags[row] & SAMPLED:
                times[row // every] = run.now
            push(row)

        return take

    def note_rows(self, column: int, start: int, stop: int) -> None:
        """All cells of rows ``[start, stop)`` became ready now."""
        first, last = -(-start // self._every), -(-stop // self._every)
        self.times[column][first:last] = array("d", [self._run.now]) * (last - first)
