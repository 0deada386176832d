"""Row groups of a run: each is admitted in turn, and retired when all its cells are resolved."""

from __future__ import annotations

import math

from cellspec.state.codes import is_resolved
from sim.simulator.run_state import RunState

__all__ = ["RowGroups"]


class RowGroups:
    """The row groups of one incarnation.

    Args:
        state: the run, whose limits have row groups.

    Attributes:
        come: so many groups may be admitted; the others wait for their rows to come.
        may_move: a group may have come to its end since the last `move`, or was never admitted.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state
        size = state.plan.limits.group_rows
        assert size is not None
        self._size = size
        self._next = 0
        self.come = -(-state.graph.num_records // size)
        self.may_move = True
        self._touched: dict[int, None] = {}
        # By group that is admitted, the first column and row that may be unresolved.
        self._scans: dict[int, tuple[int, int]] = {}

    def touch(self, start: int, stop: int) -> None:
        """Cells of rows ``[start, stop)`` were resolved: their groups may be at an end."""
        for group in range(start // self._size, (stop - 1) // self._size + 1):
            if group in self._scans:
                self._touched[group] = None
                self.may_move = True

    def touch_last(self, row: int) -> None:
        """The last cell of a row was resolved, and nothing else follows from that by itself."""
        scan = self._scans.get(row // self._size)
        # As long as the first cell that may be open is, the group is not over.
        if scan is not None and is_resolved(self._state.counters.cells[scan[0]][scan[1]]):
            self.touch(row, row + 1)

    def move(self) -> bool:
        """Retire groups that are at an end, and admit others; True if one came or went."""
        machine, size, state = self._state.machine, self._size, self._state
        self.may_move = False
        if machine.must_stop or machine.stopped or machine.stop_requested:
            return False
        moved = False
        for group in self._touched:
            if self._is_over(group, size):
                machine.retire(*self._bounds(group, size))
                del self._scans[group]
                state.other_events += 1
                moved = True
        self._touched.clear()
        most = state.plan.limits.groups or math.inf
        while len(machine.admitted) < most and self._next < self.come:
            group = self._next
            self._next += 1
            self._scans[group] = (0, group * size)
            if self._is_over(group, size):
                del self._scans[group]
                continue
            machine.admit(*self._bounds(group, size))
            state.timings.admitted(*self._bounds(group, size), machine.now)
            state.other_events += 1
            moved = True
        return moved

    def _bounds(self, group: int, size: int) -> tuple[int, int]:
        return group * size, min((group + 1) * size, self._state.graph.num_records)

    def _is_over(self, group: int, size: int) -> bool:
        """True if every cell of the group is resolved; the search never goes back."""
        counters = self._state.machine.counters
        column, row = self._scans[group]
        start, stop = self._bounds(group, size)
        while column < len(counters.cells):
            found = counters.find_unresolved(column, row, stop)
            if found >= 0:
                self._scans[group] = (column, found)
                return False
            column, row = column + 1, start
        self._scans[group] = (column, row)
        return True
