"""The tally of a run: rows that were tried, rows that were given up, cells that were made."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from cellspec.graph.rowset import RowSet
from sim.simulator.outcome import Incarnation
from sim.simulator.run_state import RunState

__all__ = ["Tally"]


class Tally:
    """What is counted for the figures beside the events.

    Args:
        state: the run.
        tries_all: nothing can keep a row from being tried, so that nobody has to note it.

    Attributes:
        tried: by row, 1 if it is noted that it had a call, or a skipped cell.
        made: by column, the cells that got a value in this incarnation.
        given_up: the rows that were given up in this incarnation, in that order.
    """

    def __init__(self, state: RunState, *, tries_all: bool) -> None:
        self._state = state
        self._tries_all = tries_all
        columns, rows = state.graph.num_columns, state.graph.num_records
        state.outcome.failures = [
            {"retryable": 0, "backpressure": 0, "permanent": 0} for _ in range(columns)
        ]
        self.tried = bytearray(0 if tries_all else rows)
        self.made = [0] * columns
        self.given_up = array("q")
        self._blamed = [RowSet(0 if tries_all else rows) for _ in range(columns)]
        self._first_live = 0

    def begin(self) -> None:
        """A new incarnation begins."""
        self.made[:] = [0] * len(self.made)
        del self.given_up[:]
        self._first_live = 0

    def tried_rows(self, start: int, stop: int) -> None:
        """Rows ``[start, stop)`` had a call."""
        if not self._tries_all:
            self.tried[start:stop] = self.tried[start:stop].replace(b"\0", b"\1")

    def trying(self, read: Callable[[int], float]) -> Callable[[int], float]:
        """`read`, which is asked of a row when it has a call: that is noted."""
        tried = self.tried

        def note(row: int) -> float:
            tried[row] = 1
            return read(row)

        return note

    def blame(self, column: int, row: int) -> None:
        """A row is given up because of a column."""
        self._blamed[column].add(row)
        self.given_up.append(row)

    def resumed(self) -> None:
        """The machine was restored: of the rows that were given up, some are tried again."""
        if self._tries_all:
            return
        total, dropped = self._state.graph.num_records, self._state.machine.counters.dropped
        self._blamed = [
            RowSet(total, (row for row in rows if row in dropped)) for rows in self._blamed
        ]

    def has_live_row(self, rows: int) -> bool:
        """True if one of the first `rows` rows was not dropped; asked of ever more rows."""
        dropped = self._state.machine.counters.dropped
        while self._first_live < rows and self._first_live in dropped:
            self._first_live += 1
        return self._first_live < rows

    def rows_tried(self) -> int:
        """How many rows had a call, or a skipped cell."""
        return (
            self._state.graph.num_records
            if self._tries_all
            else len(self.tried) - self.tried.count(0)
        )

    def count_cells(self, incarnation: Incarnation) -> None:
        """Add up the cells that an incarnation made."""
        incarnation.cells_done = sum(self.made)
        for column, done in enumerate(self.made):
            self._state.outcome.done[column] += done

    def count_table(self) -> None:
        """Add rows and cells of the finished table to the outcome, by column."""
        counters, outcome = self._state.machine.counters, self._state.outcome
        outcome.rows_dropped = [len(rows) for rows in self._blamed]
        outcome.skipped = [
            sum(row not in counters.dropped for row in counters.skipped.get(column, ()))
            for column in range(self._state.graph.num_columns)
        ]
