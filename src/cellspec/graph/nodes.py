"""The names of things that run: one cell of the table, or one barrier.

A *cell node* makes the value of one column in one row. A *barrier node* stands for the single
moment in which a barrier column reads all rows of its scope; the column's cells come after it.
Both are plain values: equal by content, hashable, cheap, and independent of a graph.

`NodeKey` names a node by position, for machinery that looks nodes up for each event: a pair of
integers, in which the sign of the first one tells a cell from a barrier node. `cell_key` and
`barrier_key` encode; `is_barrier_key`, `column_of`, `place_of` and `split_key` decode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "BarrierNodeId",
    "CellNodeId",
    "NodeId",
    "NodeKey",
    "barrier_key",
    "cell_key",
    "column_of",
    "is_barrier_key",
    "place_of",
    "split_key",
]


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

NodeKey: TypeAlias = tuple[int, int]
"""A node by position: (column, row) of a cell, (−1 − column, scope) of a barrier node.

The order of keys is that of columns, then rows, with barrier nodes first.
"""


def cell_key(column: int, row: int) -> NodeKey:
    """The key of a cell."""
    return column, row


def barrier_key(column: int, scope: int) -> NodeKey:
    """The key of a barrier node."""
    return ~column, scope


def is_barrier_key(key: NodeKey) -> bool:
    """True if a key is of a barrier node."""
    return key[0] < 0


def column_of(key: NodeKey) -> int:
    """The column of a node, by position."""
    column = key[0]
    return column if column >= 0 else ~column


def place_of(key: NodeKey) -> int:
    """The row of a cell, or the scope of a barrier node."""
    return key[1]


def split_key(key: NodeKey) -> tuple[int, int, bool]:
    """Column, row or scope, and whether it is a barrier node."""
    column, place = key
    return (column, place, False) if column >= 0 else (~column, place, True)
