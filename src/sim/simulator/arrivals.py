"""Rows that come one after the other: each is a row group, which is admitted when it comes."""

from __future__ import annotations

from bisect import bisect_right

from sim.simulator.row_groups import RowGroups
from sim.simulator.run_state import RunState, Settle

__all__ = ["Arrivals"]


class Arrivals:
    """The rows that have come, and those that are still to come.

    Args:
        state: the run, whose plan says when rows come.

    Attributes:
        groups: the row groups of this incarnation.
    """

    def __init__(self, state: RunState) -> None:
        self._state, self._times = state, state.plan.arrivals
        self._settle: Settle

    def begin(self) -> RowGroups:
        """A new incarnation begins, and finds the rows that have come."""
        self.groups = RowGroups(self._state)
        self.groups.come = bisect_right(self._times, self._state.env.now)
        return self.groups

    @property
    def are_to_come(self) -> bool:
        """True if a row has not come yet."""
        return self.groups.come < len(self._times)

    def watch(self, settle: Settle) -> None:
        """From now on rows come, and `settle` follows each time."""
        self._settle = settle
        self._wait()

    def _wait(self) -> None:
        if self.are_to_come:
            state = self._state
            state.after(max(0.0, self._times[self.groups.come] - state.env.now), self._come)

    def _come(self) -> None:
        """The next row is there, and each that comes at the same time."""
        groups, times = self.groups, self._times
        groups.come = bisect_right(times, times[groups.come])
        groups.may_move = True
        self._settle(self._state.env.now)
        self._wait()
