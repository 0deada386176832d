"""`Store`: the operations of storage that an engine uses; `MemoryStore` for a run without a folder.

A store does three things: it makes rows safe, makes a checkpoint safe, and gives both back. The
engine calls it in that order, one call at a time: rows first, then the checkpoint on them. Each
store decides which failures it survives (`cellspec.engine.storage.durable` survives a crash at any
moment).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from cellspec.engine.calls import Drop, Restored, Save
from cellspec.state.checkpoint import Checkpoint

__all__ = ["MemoryStore", "Store"]


class Store(Protocol):
    """The place where a run keeps its finished rows."""

    def load(self) -> Restored | None:
        """The claimed rows of earlier incarnations; None if there was none.

        Raises:
            SpecError: the stored data cannot be trusted, or is of another graph.
        """

    def write_rows(self, save: Save) -> None:
        """Make `Save.rows` and `Save.dropped` safe; when this returns, they survive a crash.

        A row may be written again, whole or with further columns; later values count.

        Raises:
            OSError: they could not be written; data that was safe still is.
        """

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint safe; until this returns, the one before still counts.

        Raises:
            OSError: it could not be written.
        """

    def close(self) -> None:
        """End the incarnation: another may begin. Safe rows can still be read."""

    def table(self) -> tuple[Mapping[int, Mapping[str, Any]], Mapping[int, Drop]]:
        """Every safe row that is claimed by the newest checkpoint, and every dropped one."""


class MemoryStore:
    """Keeps rows in memory: for a run that need not outlive its process.

    Args:
        records: rows of the dataset.
    """

    def __init__(self, records: int) -> None:
        self.records = records
        self._rows: dict[int, dict[str, Any]] = {}
        self._dropped: dict[int, Drop] = {}
        self._checkpoint: Checkpoint | None = None

    def load(self) -> Restored | None:
        """The rows and the checkpoint, if one was written."""
        if self._checkpoint is None:
            return None
        return Restored(self._checkpoint, self.records, *self.table())

    def write_rows(self, save: Save) -> None:
        """Keep rows, and reasons of drops."""
        for row, values in save.rows.items():
            self._rows.setdefault(row, {}).update(values)
        self._dropped.update(save.dropped)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint."""
        self._checkpoint = dict(checkpoint)

    def close(self) -> None:
        """Do nothing: the memory belongs to this process alone."""

    def table(self) -> tuple[Mapping[int, Mapping[str, Any]], Mapping[int, Drop]]:
        """Rows that were not dropped after they were kept, in order, and the dropped ones."""
        rows = {row: self._rows[row] for row in sorted(self._rows) if row not in self._dropped}
        return rows, {row: self._dropped[row] for row in sorted(self._dropped)}
