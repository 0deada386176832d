"""What follows an event by itself: output of barriers, skipped cells, row groups that move."""

from __future__ import annotations

from collections.abc import Callable

from sim.simulator.arrivals import Arrivals
from sim.simulator.composition import Composition
from sim.simulator.row_groups import RowGroups
from sim.simulator.run_state import RunState, Settle
from sim.simulator.tally import Tally

__all__ = ["Consequences"]


class Consequences:
    """The steps that an engine takes before it starts nodes.

    Args:
        state, tally: of the run.
        parts: what the run asks for.

    Attributes:
        skips: cells that are to be skipped because an input of theirs was.
        groups: the row groups of this incarnation; None in a run without.
        gave_output: is told the rows of output cells, from the first to the one after the last;
            None if nobody asks.
    """

    def __init__(self, state: RunState, tally: Tally, parts: Composition) -> None:
        self._state, self._tally, self._parts = state, tally, parts
        self.skips: list[tuple[int, int]] = []
        self.groups: RowGroups | None = None
        self._arrivals = Arrivals(state) if state.plan.arrivals else None
        self.gave_output: Callable[[int, int], None] | None = None

    def begin(self) -> None:
        """A new incarnation begins."""
        if self._arrivals is not None:
            self.groups = self._arrivals.begin()
        elif self._parts.has_groups:
            self.groups = RowGroups(self._state)

    def watch(self, settle: Settle) -> None:
        """From now on rows may come, and `settle` follows each time."""
        if self._arrivals is not None:
            self._arrivals.watch(settle)

    @property
    def rows_come(self) -> bool:
        """True if a row has not come yet."""
        return self._arrivals is not None and self._arrivals.are_to_come

    def take(self) -> None:
        """Give output, skip cells that must be skipped, and move row groups, until all is done."""
        while True:
            if self._state.emissions:
                self._emit()
            elif self.skips:
                column, row = self.skips.pop()
                if self._state.machine.counters.must_skip(column, row):
                    self.skip(column, row)
            elif self.groups is None or not self.groups.move():
                return

    def _emit(self) -> None:
        state = self._state
        while state.emissions:
            column, start, stop = self._skip_outputs(*state.emissions.pop())
            if start == stop:
                continue
            state.machine.emit(column, start, stop)
            state.done += stop - start
            state.other_events -= 2 * (stop - start)
            self._tally.made[column] += stop - start
            state.gave_output(column, start, stop)
            if self.gave_output is not None:
                self.gave_output(start, stop)
            self.touch(start, stop)
            state.count_event()

    def _skip_outputs(self, column: int, start: int, stop: int) -> tuple[int, int, int]:
        """Skip ready output cells by their column's own condition, up to the first rows that stay.

        Returns:
            Those rows, as an empty range if all were skipped; the rows after them wait their turn.
        """
        if not self._parts.skips[column]:
            return column, start, stop
        while start < stop and self.is_skipped(column, start):
            self.skip(column, start)
            start += 1
        end = start
        while end < stop and not self.is_skipped(column, end):
            end += 1
        if end < stop:
            self._state.emissions.append((column, end, stop))
        return column, start, end

    def is_skipped(self, column: int, row: int) -> bool:
        """True if a column's own condition skips a cell."""
        outcomes = self._parts.outcomes
        return self._parts.skips[column] and outcomes is not None and outcomes.skips(column, row)

    def skip(self, column: int, row: int) -> None:
        """Skip a cell."""
        state = self._state
        state.machine.skip_cell(column, row)
        if column in self._parts.routes:
            self._parts.routes[column].skip(column, row)
        state.timings.ended(column, row, state.env.now)
        self._tally.tried_rows(row, row + 1)
        self.touch(row, row + 1)
        state.count_event()

    def touch(self, start: int, stop: int) -> None:
        """Cells of rows ``[start, stop)`` were resolved."""
        if self.groups is not None:
            self.groups.touch(start, stop)
