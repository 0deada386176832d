"""Rows, for engines that know tasks only: what is kept of them, and what a lost one stops.

Dask and Ray run graphs of tasks. They order tasks, limit them and repeat them; but of a *row* they
know nothing, nor of a folder in which rows outlive the process. An adapter for such an engine has a
*driver*: the part that submits the tasks, learns of each that has ended, and writes down what must
not be lost. `DriverState` is what the driver knows. It takes results one at a time, in an order in
which no node comes before what it needs, and never decides what runs.

*What is durable.* The folder holds two files. ``rows.jsonl`` is appended to and synced: a line for
each row, or part of one, and a line for each dropped row. ``claim.json`` says how many of its bytes
count, and which cells they hold; it is written beside, synced, and renamed into place. What a dead
process left beyond its claim is cut off by the next one.

*What takes the place of a value.* A cell that was left out on purpose hands `SKIPPED` on to the
tasks that read it, and a cell of a row that was given up a `Dropped`. A task that is given either
knows what to do without being told about rows: pass it on, or, in a barrier, leave that row out.

*What a lost row stops.* That is all such an engine can do about a row that is given up: it stops
what reads the failure. Another task of the same row, which reads neither the failed cell nor is
read by it, runs on (clause DROP-03). A driver that cancels it is too late as often as not. So where
a column may fail for good, `with_failures_in_line` makes the workload one in which each other
column is before it or after it; there nothing of a dropped row is left that could run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from cellspec.conformance.run.probe import Probe, Refused
from cellspec.conformance.run.values import SKIPPED, Skipped, Table, Value
from cellspec.conformance.run.workload import Workload
from cellspec.errors import CheckpointError, SpecError
from cellspec.files import sync_file, sync_folder
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import BarrierNodeId, CellNodeId
from cellspec.machine.policy import changed_scopes, within_budget
from cellspec.state.checkpoint import Checkpoint
from cellspec.state.tracker import CompletionTracker

__all__ = [
    "DriverState",
    "Dropped",
    "Kept",
    "Result",
    "append",
    "claim",
    "cut",
    "read",
    "table",
    "with_failures_in_line",
]

ROWS = "rows.jsonl"
CLAIM = "claim.json"


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a cell of a row that was given up hands on.

    Attributes:
        column: the column whose failure is the cause.
    """

    column: str


Result: TypeAlias = str | Skipped | Dropped
"""What a cell gives to the tasks that read it."""

Step: TypeAlias = Callable[[str], None]
"""Told the name of a step on storage before it is done."""


# Files


@dataclass(frozen=True, slots=True)
class Kept:
    """What a folder holds, as far as its claim counts it.

    Attributes:
        record: the claim, as `claim` was given it.
        rows: by row, its cells by column.
        dropped: by dropped row, the column that failed.
    """

    record: Mapping[str, Any]
    rows: Mapping[int, Mapping[str, Value]] = field(default_factory=dict)
    dropped: Mapping[int, str] = field(default_factory=dict)


def append(folder: Path, lines: Iterable[Mapping[str, Any]], step: Step) -> int:
    """Append lines to the table, and push them to the disk.

    Args:
        folder: the folder.
        lines: JSON objects, a line each.
        step: told of each step before it is done.

    Returns:
        The table's size in bytes; what a claim that covers these lines must name.
    """
    step("append rows")
    with (folder / ROWS).open("ab") as file:
        for line in lines:
            file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        file.flush()
        step("sync rows")
        sync_file(file)
        return file.tell()


def claim(folder: Path, record: Mapping[str, Any], step: Step) -> None:
    """Put a claim in the place of the one before, whole.

    Args:
        folder: the folder.
        record: a JSON object; ``bytes`` in it says how much of the table counts.
        step: told of each step before it is done.
    """
    new = folder / f"{CLAIM}.new"
    step("write claim")
    with new.open("w") as file:
        json.dump(record, file)
        file.flush()
        step("sync claim")
        sync_file(file)
    step("replace claim")
    new.replace(folder / CLAIM)
    step("sync folder")
    sync_folder(folder)


def cut(folder: Path, size: int, step: Step) -> None:
    """Cut off what a dead process left in the table beyond its claim.

    Args:
        folder: the folder.
        size: the bytes that count.
        step: told of each step before it is done.
    """
    path = folder / ROWS
    if path.exists() and path.stat().st_size > size:
        step("cut rows")
        os.truncate(path, size)


def read(folder: Path) -> Kept | None:
    """What the claim in a folder counts; None if there is no claim.

    Raises:
        SpecError: a table that is shorter than its claim says, or a line that is none.
    """
    path = folder / CLAIM
    if not path.exists():
        return None
    record = json.loads(path.read_bytes())
    body = (folder / ROWS).read_bytes()[: record["bytes"]] if record["bytes"] else b""
    if len(body) < record["bytes"]:
        raise SpecError(f"{ROWS}: expected {record['bytes']} bytes, found {len(body)}")
    rows: dict[int, dict[str, Value]] = {}
    dropped: dict[int, str] = {}
    for number, line in enumerate(body.splitlines(), 1):
        try:
            entry = json.loads(line)
            if "dropped" in entry:
                dropped[entry["row"]] = entry["dropped"]
            else:
                cells = {c: SKIPPED if v is None else v for c, v in entry["cells"].items()}
                rows.setdefault(entry["row"], {}).update(cells)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SpecError(f"{ROWS}: line {number}: cannot be read") from None
    for row in dropped:
        # Column by column, cells of it may have been written before it was given up.
        rows.pop(row, None)
    return Kept(record, rows, dropped)


def table(folder: Path) -> Table:
    """The table in a folder, for a backend's `table`.

    Raises:
        SpecError: as `read`.
    """
    kept = read(folder)
    return Table({}) if kept is None else Table(kept.rows, frozenset(kept.dropped))


# The ledger


class DriverState:
    """What the driver of one life knows, and what it keeps.

    Args:
        probe: the life. The driver's reports go to it: rows dropped, what is durable, claims.

    Attributes:
        values: the result of every cell that has one.
        dropped: by row that was given up, the column that failed.
        claimed: by column, how many first rows a claim covers.
        tracker: what is resolved, as far as the driver knows.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.graph = probe.work.graph(probe.incarnation)
        self.values: dict[tuple[str, int], Value] = {}
        self.dropped: dict[int, str] = {}
        self.claimed = dict.fromkeys(self.graph.column_names, 0)
        self.tracker = CompletionTracker.for_graph(self.graph)
        self._kept_drops: frozenset[int] = frozenset()
        self._size = 0

    # A life begins

    def restore(self) -> None:
        """Take over what the folder holds, and tell the probe what that is.

        Raises:
            Refused: it does not fit the number of rows that this life is asked for (CKPT-16).
            SpecError: it cannot be read, or is of another graph.
        """
        kept = read(self.probe.folder)
        if kept is None:
            cut(self.probe.folder, 0, self.probe.storage_step)
            if self.probe.incarnation:
                self.probe.resumed(0, dropped=(), skipped={})
            return
        record = kept.record
        if record["graph"] != self.graph.fingerprint:
            raise SpecError(f"{self.probe.folder}: holds rows of another graph")
        self._take(kept)
        self._check_scopes(record["records"])
        cut(self.probe.folder, record["bytes"], self.probe.storage_step)
        self._size = record["bytes"]
        skipped = self._skipped(kept.rows)
        self.probe.resumed(self.claimed, self.dropped, skipped, keep=self.probe.work.keep)

    def _take(self, kept: Kept) -> None:
        checkpoint = kept.record["checkpoint"]
        try:
            self.tracker = CompletionTracker.from_checkpoint(
                checkpoint,
                self.graph,
                dropped=sorted(kept.dropped),
                skipped=self._skipped(kept.rows),
            )
        except CheckpointError as error:
            raise Refused(str(error)) from None
        self.claimed = _rows_by_column(checkpoint, self.graph)
        self.dropped = dict(kept.dropped)
        self._kept_drops = frozenset(kept.dropped)
        self.values = {
            (column, row): value
            for row, cells in kept.rows.items()
            for column, value in cells.items()
        }

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

    # What a task needs to be given

    def result(self, column: str, row: int) -> Result | None:
        """What a cell that is resolved hands on; None if it is open."""
        if row in self.dropped:
            return Dropped(self.dropped[row])
        return self.values.get((column, row))

    def row_before(self, row: int) -> int:
        """The last live row before one, which an ordered column waits for; −1 if there is none."""
        row -= 1
        while row in self.dropped:
            row -= 1
        return row

    def wanted(self, column: str, rows: Iterable[int]) -> tuple[int, ...]:
        """Those of the rows whose output a barrier of the column has still to give."""
        known = self.claimed[column]
        return tuple(row for row in rows if row >= known and row not in self.dropped)

    @property
    def complete(self) -> bool:
        """True if every row is complete, or was given up."""
        return self.graph.is_complete(self.tracker)

    # What a task gave

    def settle(self, column: str, row: int, result: Result) -> None:
        """A cell is resolved; a row is given up with the first of its cells that is."""
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
        """A barrier has run, or need not: the results of the rows that wanted its output."""
        self.tracker.mark_complete(node)
        for row, result in results.items():
            self.settle(node.column, row, result)

    def drop(self, row: int, column: str) -> None:
        """A row is given up because of what failed in a column."""
        self.probe.drop(row, row + 1, column)
        self.dropped[row] = column
        self.tracker.mark_dropped(row)

    # Storage

    def save_if_due(self) -> None:
        """Write a checkpoint, if the workload asks for one by now."""
        every = self.probe.work.checkpoint_every_rows
        if every is None:
            return
        ahead = [rows - self.claimed[name] for name, rows in self._claim().items()]
        due = max(ahead) if self.probe.work.checkpoint_version == 2 else min(ahead)
        if due >= every:
            self.save()

    def save(self) -> None:
        """Write all that is resolved without a gap, and claim it."""
        new = self._claim()
        if new == self.claimed:
            return
        drops = [row for row in sorted(self.dropped) if row < max(new.values())]
        lines = [*self._lines(new), *self._drop_lines(drops)]
        folder, step = self.probe.folder, self.probe.storage_step
        self._size = append(folder, lines, step)
        for name, rows in new.items():
            if rows > self.claimed[name]:
                self.probe.durable(name, self.claimed[name], rows)
        self.probe.checkpoint_begin(new)
        claim(folder, self._record(), step)
        self.probe.checkpoint_durable()
        self.claimed, self._kept_drops = new, frozenset(drops)

    def _record(self) -> dict[str, Any]:
        version = self.probe.work.checkpoint_version
        return {
            "checkpoint": self.tracker.to_checkpoint(self.graph, version),
            "graph": self.graph.fingerprint,
            "records": self.graph.num_records,
            "bytes": self._size,
        }

    def _claim(self) -> dict[str, int]:
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


# What a lost row stops


def with_failures_in_line(work: Workload) -> Workload:
    """The workload, with every column before or after each one that may fail for good.

    A column that is neither needs that one from now on, or is needed by it, as they stand in the
    graph's order. A workload in which nothing fails for good stays as it is, and so does one that
    this has been done to.
    """
    names = work.graph().column_names
    needs = {item.name: list(item.dependencies) for item in work.columns}
    maker = {made: item.name for item in work.columns for made in item.all_produced_columns}
    for failing in [name for name in names if _may_fail_for_good(work, name)]:
        place = names.index(failing)
        for earlier in names[:place]:
            if earlier not in _ancestors(failing, needs, maker):
                needs[failing].append(earlier)
        for later in names[place + 1 :]:
            if failing not in _ancestors(later, needs, maker):
                needs[later].append(failing)
    columns = tuple(
        item
        if needs[item.name] == list(item.dependencies)
        else replace(item, dependencies=tuple(needs[item.name]))
        for item in work.columns
    )
    return work if columns == work.columns else replace(work, columns=columns)


def _may_fail_for_good(work: Workload, column: str) -> bool:
    mine = [fault.failure for fault in work.faults if fault.column == column]
    return len(within_budget(mine, work.failures.max_attempts)) < len(mine)


def _ancestors(
    column: str, needs: Mapping[str, Iterable[str]], maker: Mapping[str, str]
) -> frozenset[str]:
    found: set[str] = set()
    left = [column]
    while left:
        for need in needs[left.pop()]:
            if maker[need] not in found:
                found.add(maker[need])
                left.append(maker[need])
    return frozenset(found)
