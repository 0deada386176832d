"""When the next claim is due, by the rows that are finished or the cells that are done."""

from __future__ import annotations

import math

from sim.simulator.run_state import RunState

__all__ = ["ClaimSchedule"]


class ClaimSchedule:
    """The count at which the next claim is due; `plan` sets it anew.

    Version 1 saves finished rows only; versions 2 and 3 save cells of any column.

    Args:
        state: of the run.

    Attributes:
        cells: no claim is due before so many cells are done.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state
        self.cells = self._rows = math.inf

    def plan(self) -> None:
        """A process begins, or a claim is made: the next is due after so many rows more."""
        state, plan = self._state, self._state.plan.checkpoint
        self.cells = self._rows = math.inf
        if plan is None or plan.every_rows is None:
            return
        if plan.version == 1:
            self.cells = 0
            self._rows = state.machine.completed_rows + plan.every_rows
        else:
            self.cells = state.done + plan.every_rows * state.graph.num_columns
            self._rows = 0

    @property
    def is_due(self) -> bool:
        """True if enough is there that is not saved."""
        return self._state.done >= self.cells and self._state.machine.completed_rows >= self._rows
