"""What was made and is lost again: the calls of an incarnation that loses a worker."""

from __future__ import annotations

from collections.abc import Collection, Iterable

__all__ = ["Remade"]


class Remade:
    """The nodes of one incarnation that were made, as far as they may be lost and made again.

    Attributes:
        on: results may be lost; a node that is made again meets no fault.
    """

    def __init__(self) -> None:
        self.on = False
        self._made: set[tuple[str, int]] = set()
        self._given: dict[str, set[int]] = {}
        self._lost_scopes: set[tuple[str, int]] = set()

    def is_again(self, column: str, position: int) -> bool:
        """True if the node was made before, so that the next call makes it again."""
        return (column, position) in self._made

    def note(self, column: str, position: int) -> None:
        """A node was made."""
        if self.on:
            self._made.add((column, position))

    def new_output(self, column: str, scope: int, rows: Collection[int]) -> Collection[int]:
        """The rows to which a run of a barrier gives output: not those that have it still."""
        if not self.on:
            return rows
        given = self._given.setdefault(column, set())
        new = [row for row in rows if row not in given]
        given.update(new)
        self._lost_scopes.discard((column, scope))
        self.note(column, scope)
        return new

    def lose_output(self, column: str, rows: range, scopes: Iterable[int]) -> list[int]:
        """Output of a barrier is lost: the scopes that run again, and did not have to before."""
        self._given.setdefault(column, set()).difference_update(rows)
        touched = {(column, scope) for scope in scopes} - self._lost_scopes
        self._lost_scopes |= touched
        return sorted(scope for _, scope in touched)
