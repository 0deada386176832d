"""`Skips`: which cells are skipped in place of a call (clause SKIP-01)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from cellspec.engine.progress import Progress
from cellspec.graph.nodes import CellNodeId

__all__ = ["Skips", "WantsSkip"]

WantsSkip: TypeAlias = Callable[[int, Mapping[str, Any]], bool]
"""A column's own condition: (row, inputs) -> True to skip the cell."""


class Skips:
    """The conditions of columns that may skip.

    Attributes:
        conditions: by column, its own condition.
    """

    def __init__(self, progress: Progress, conditions: Mapping[str, WantsSkip]) -> None:
        self.progress = progress
        self.conditions = conditions

    def must_skip(self, column: int, row: int) -> bool:
        """True if an input of the cell was skipped, or its column's own condition says so."""
        progress = self.progress
        name = progress.rules.columns[column].name
        if progress.tracker.must_skip(CellNodeId(row, name)):
            return True
        condition = self.conditions.get(name)
        return condition is not None and condition(row, progress.values.inputs(column, row))
