"""The state of the driver of one run of the process: results, dropped rows, and claims."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cellspec.conformance.run.probe import Probe, Refused
from cellspec.conformance.run.values import SKIPPED, Value
from cellspec.engines.rows import storage
from cellspec.engines.rows.results import Dropped, Result
from cellspec.errors import CheckpointError, SpecError
from cellspec.graph.configuration import Config
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import BarrierNodeId, CellNodeId
from cellspec.machine.policy import changed_scopes
from cellspec.state.checkpoint import Checkpoint, expect_config
from cellspec.state.tracker import CompletionTracker

__all__ = ["DriverState"]


class DriverState:
    """The results that the driver of one run of the process has seen, and the rows on storage.

    Args:
        probe: the probe of this run. It receives the driver's reports: dropped rows, durable rows
            and claims.

    Attributes:
        values: the result of every cell that has one.
        dropped: for each dropped row the column that failed.
        claimed: for each column the number of first rows that a claim covers.
        tracker: the nodes that are resolved, as far as the driver knows.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.graph = probe.work.graph(probe.incarnation)
        self.values: dict[tuple[str, int], Value] = {}
        self.dropped: dict[int, str] = {}
        self.claimed = dict.fromkeys(self.graph.column_names, 0)
        self.tracker = CompletionTracker.for_graph(self.graph)
        self._kept_drops: frozenset[int] = frozenset()
        self._config = self.graph.config
        self._size = 0

    # The run begins

    def restore(self) -> None:
        """Take over the rows in the folder, and report them to the probe.

        Raises:
            Refused: they do not fit the number of rows that this run is asked for (CKPT-16), or
                were made under another configuration (CKPT-20).
            SpecError: the folder cannot be read, or holds rows of another graph.
        """
        kept = storage.read(self.probe.folder)
        if kept is None:
            storage.cut(self.probe.folder, 0, self.probe.storage_step)
            if self.probe.incarnation:
                self.probe.resumed(0, dropped=(), skipped={})
            return
        record = kept.record
        if record["graph"] != self.graph.fingerprint:
            raise SpecError(f"{self.probe.folder}: holds rows of another graph")
        self._take(kept)
        self._check_scopes(record["records"])
        storage.cut(self.probe.folder, record["bytes"], self.probe.storage_step)
        self._size = record["bytes"]
        skipped = self._skipped(kept.rows)
        self.probe.resumed(
            self.claimed,
            self.dropped,
            skipped,
            keep=self.probe.work.keep,
            config=self.graph.config or None,
        )

    def _take(self, kept: storage.Kept) -> None:
        checkpoint = kept.record["checkpoint"]
        try:
            self.tracker = CompletionTracker.from_checkpoint(
                checkpoint,
                self.graph,
                dropped=sorted(kept.dropped),
                skipped=self._skipped(kept.rows),
            )
            self.claimed = _rows_by_column(checkpoint, self.graph)
            self.expect_config(kept.record.get("config", {}))
        except CheckpointError as error:
            raise Refused(str(error)) from None
        self.dropped = dict(kept.dropped)
        self._kept_drops = frozenset(kept.dropped)
        self.values = {
            (column, row): value
            for row, cells in kept.rows.items()
            for column, value in cells.items()
        }

    def expect_config(self, before: Config) -> None:
        """Refuse claimed cells of another version of their column (CKPT-20).

        Args:
            before: by column, the digest of the version that its cells on storage are of.

        Raises:
            CheckpointError: the column, and both digests.
        """
        expect_config(self.graph, tuple(self.claimed.values()), before)
        # What a run does not state stays as it was stated before.
        self._config = {**before, **self._config}

    def _skipped(self, rows: Mapping[int, Mapping[str, Value]]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row, cells in sorted(rows.items()):
            for column, value in cells.items():
                if value is SKIPPED:
                    found.setdefault(column, []).append(row)
        return found

    def _check_scopes(self, before: int) -> None:
        """Refuse another number of rows if a barrier's claimed output came of other rows."""
        if self.probe.work.keep:
            return
        rows, names = self.graph.num_records, self.graph.column_names
        for changed in changed_scopes(self.graph.rules, before, rows):
            name, start = names[changed.column], changed.start
            if self.claimed[name] > start:
                raise Refused(
                    f"claimed output of barrier {name!r} was made from rows {start} to "
                    f"{changed.before - 1}; with {rows} rows it would be made from {start} to "
                    f"{changed.after - 1}"
                )

    # Inputs of tasks

    def result(self, column: str, row: int) -> Result | None:
        """The result of a resolved cell; None if it is open."""
        if row in self.dropped:
            return Dropped(self.dropped[row])
        return self.values.get((column, row))

    def row_before(self, row: int) -> int:
        """The last live row before `row`, for which an ordered column waits; −1 without one."""
        row -= 1
        while row in self.dropped:
            row -= 1
        return row

    def wanted(self, column: str, rows: Iterable[int]) -> tuple[int, ...]:
        """The rows whose output a barrier of the column has still to give."""
        known = self.claimed[column]
        return tuple(row for row in rows if row >= known and row not in self.dropped)

    @property
    def complete(self) -> bool:
        """True if every row is complete or dropped."""
        return self.graph.is_complete(self.tracker)

    # Results of tasks

    def settle(self, column: str, row: int, result: Result) -> None:
        """Resolve a cell; a `Dropped` drops its row, if no other has before."""
        cell = CellNodeId(row, column)
        if row in self.dropped or self.tracker.is_complete(cell):
            return
        if isinstance(result, Dropped):
            self.drop(row, result.column)
            return
        self.values[column, row] = result
        if result is SKIPPED:
            self.tracker.mark_skipped(cell)
        else:
            self.tracker.mark_complete(cell)

    def settle_barrier(self, node: BarrierNodeId, results: Mapping[int, Result]) -> None:
        """Resolve a barrier that has run, or need not run, and the rows that wanted its output."""
        self.tracker.mark_complete(node)
        for row, result in results.items():
            self.settle(node.column, row, result)

    def drop(self, row: int, column: str) -> None:
        """Drop a row because of a failure in a column."""
        self.probe.drop(row, row + 1, column)
        self.dropped[row] = column
        self.tracker.mark_dropped(row)

    # Storage

    def save_if_due(self) -> None:
        """Write a checkpoint, if the workload asks for one by now."""
        every = self.probe.work.checkpoint_every_rows
        if every is None:
            return
        ahead = [rows - self.claimed[name] for name, rows in self.claim().items()]
        due = max(ahead) if self.probe.work.checkpoint_version == 2 else min(ahead)
        if due >= every:
            self.save()

    def save(self) -> None:
        """Write the rows that are resolved without a gap from the first on, and claim them."""
        new = self.claim()
        if new == self.claimed:
            return
        drops = [row for row in sorted(self.dropped) if row < max(new.values())]
        lines = [*self._lines(new), *self._drop_lines(drops)]
        folder, step = self.probe.folder, self.probe.storage_step
        self._size = storage.append(folder, lines, step)
        for name, rows in new.items():
            if rows > self.claimed[name]:
                self.probe.durable(name, self.claimed[name], rows)
        self.probe.checkpoint_begin(new)
        storage.claim(folder, self._record(), step)
        self.probe.checkpoint_durable()
        self.claimed, self._kept_drops = new, frozenset(drops)

    def _record(self) -> dict[str, Any]:
        version = self.probe.work.checkpoint_version
        return {
            "checkpoint": self.tracker.to_checkpoint(self.graph, version),
            "graph": self.graph.fingerprint,
            "records": self.graph.num_records,
            "config": self._config,
            "bytes": self._size,
        }

    def claim(self) -> dict[str, int]:
        """The claim that could be written now: by column, its first rows without a gap."""
        version = self.probe.work.checkpoint_version
        return _rows_by_column(self.tracker.to_checkpoint(self.graph, version), self.graph)

    def _lines(self, new: Mapping[str, int]) -> Iterator[dict[str, Any]]:
        for row in range(min(self.claimed.values()), max(new.values())):
            cells = {
                name: None if self.values[name, row] is SKIPPED else self.values[name, row]
                for name, rows in new.items()
                if self.claimed[name] <= row < rows and row not in self.dropped
            }
            if cells:
                yield {"row": row, "cells": cells}

    def _drop_lines(self, drops: Iterable[int]) -> Iterator[dict[str, Any]]:
        for row in drops:
            if row not in self._kept_drops:
                yield {"row": row, "dropped": self.dropped[row]}


def _rows_by_column(checkpoint: Checkpoint, graph: ExecutionGraph) -> dict[str, int]:
    rows: int = checkpoint["completed_rows"]
    columns: dict[str, int] = checkpoint.get("column_rows", {})
    return {name: columns.get(name, rows) for name in graph.column_names}
