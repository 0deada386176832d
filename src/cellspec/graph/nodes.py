"""The names of things that run: one cell of the table, or one barrier.

A *cell node* makes the value of one column in one row. A *barrier node* stands for the single
moment in which a barrier column reads all rows of its scope; the column's cells come after it.
Both are plain values: equal by content, hashable, cheap, and with no reference to a graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["BarrierNodeId", "CellNodeId", "NodeId"]


@dataclass(frozen=True, slots=True, order=True)
class CellNodeId:
    """The cell of `column` in `row` (0-based)."""

    row: int
    column: str

    def __repr__(self) -> str:
        return f"Cell({self.row!r}, {self.column!r})"


@dataclass(frozen=True, slots=True)
class BarrierNodeId:
    """The barrier of `column`: of the whole dataset, or of one `batch` of rows (0-based)."""

    column: str
    batch: int | None = None

    def __repr__(self) -> str:
        scope = "" if self.batch is None else f", {self.batch!r}"
        return f"Barrier({self.column!r}{scope})"


NodeId: TypeAlias = CellNodeId | BarrierNodeId
