"""How many calls of each node failed: a byte a cell where calls may fail."""

from __future__ import annotations

from cellspec.graph.nodes import NodeKey, is_barrier_key

__all__ = ["MANY", "Tries"]

MANY = 255
"""In the place of a count: so many calls, or more."""


class Tries:
    """The failed calls of one incarnation.

    Args:
        rows, columns: of the dataset.
        expected: calls of cells are to fail; else the bytes are made when one does.

    Attributes:
        counts: by column, then by row, a count or `MANY`; empty where none is kept.
    """

    def __init__(self, rows: int, columns: int, *, expected: bool) -> None:
        self._rows, self._expected = rows, expected
        self.counts = [bytearray() for _ in range(columns)]
        # Of barrier nodes, and of cells with `MANY`.
        self._others: dict[NodeKey, int] = {}

    def clear(self) -> None:
        """A new incarnation begins: no call has failed."""
        self._others.clear()
        for counts in self.counts:
            counts[:] = bytes(self._rows if self._expected else 0)

    def of(self, key: NodeKey) -> int:
        """How many calls of a node failed."""
        if not is_barrier_key(key):
            counts = self.counts[key[0]]
            count = counts[key[1]] if counts else 0
            if count < MANY:
                return count
        return self._others.get(key, 0)

    def note(self, key: NodeKey, count: int) -> None:
        """So many calls of a node have failed by now."""
        if not is_barrier_key(key):
            counts = self.counts[key[0]]
            if not counts:
                counts[:] = bytes(self._rows)
            counts[key[1]] = min(count, MANY)
        if is_barrier_key(key) or count >= MANY:
            self._others[key] = count
