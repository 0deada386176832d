"""An engine that appends each finished cell to a journal and resumes from the cells in it.

As graph runners do that keep the writes of each task: a line a cell, synced before anybody builds
on it. With `marks` a second line says that the first one counts, so that data and claim are two
writes; without, a line is both at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cellspec.conformance import Probe, Table
from tests.conformance.odd.adapting import job_of, table_of
from tests.conformance.odd.pipeline import SKIP, Again, Busy, Job, Node

__all__ = [
    "DataThenClaim",
    "Journal",
    "JournalEngine",
    "OneCommit",
    "TablesAlone",
    "read_journal",
    "whole_rows",
]

Cells = dict[tuple[str, int], Any]


def _lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of a journal, and their length in bytes; a torn last line is left out."""
    data = path.read_bytes() if path.exists() else b""
    size = data.rfind(b"\n") + 1
    return [json.loads(line) for line in data[:size].splitlines()], size


def read_journal(path: Path, marks: bool) -> tuple[Cells, dict[int, str]]:
    """The cells in a journal, and the rows that were given up with the column that failed."""
    cells: Cells = {}
    dropped: dict[int, str] = {}
    last: dict[str, Any] = {}
    for line in _lines(path)[0]:
        if marks and "counts" not in line:
            last = line
            continue
        record = last if marks else line
        if "drop" in record:
            dropped[record["drop"]] = record["cause"]
        else:
            cells[record["column"], record["row"]] = record.get("value", SKIP)
    return cells, dropped


def whole_rows(folder: Path, columns: Sequence[str], marks: bool) -> dict[int, dict[str, Any]]:
    """The rows of a folder's journal that have every column and were not given up."""
    cells, dropped = read_journal(folder / "journal", marks)
    rows = {row for _, row in cells} - set(dropped)
    return {
        row: {name: cells[name, row] for name in columns}
        for row in sorted(rows)
        if all((name, row) in cells for name in columns)
    }


class Journal:
    """The journal of one process."""

    def __init__(self, path: Path, marks: bool) -> None:
        self.path, self.marks = path, marks
        self.cells, self.dropped = read_journal(path, marks)
        self.file: int | None = None

    def append(self, line: dict[str, Any]) -> None:
        """Append a line, in the pieces in which a long line reaches the disk, and sync it."""
        if self.file is None:
            self.file = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            size = _lines(self.path)[1]
            if os.fstat(self.file).st_size > size:
                self.step("cut the torn line")
                os.truncate(self.path, size)
        data = (json.dumps(line) + "\n").encode()
        self.step("append half a line")
        os.write(self.file, data[: len(data) // 2])
        self.step("append the rest")
        os.write(self.file, data[len(data) // 2 :])
        self.step("sync")
        os.fsync(self.file)

    def record(self, line: dict[str, Any]) -> None:
        """Make a record last."""
        self.append(line)
        if self.marks:
            self.mark(line)

    def mark(self, line: dict[str, Any]) -> None:
        """Say that the line before counts."""
        self.append({"counts": line.get("column", "row")})

    def step(self, name: str) -> None:
        """Called before each change of the file."""

    def close(self) -> None:
        if self.file is not None:
            os.close(self.file)


class JournalEngine:
    """A task a node; each waits for its inputs, for a slot, and for its own line."""

    def __init__(self, job: Job, journal: Journal) -> None:
        self.job, self.journal = job, journal
        new = asyncio.get_running_loop().create_future
        self.cells = {(c.name, row): new() for c in job.columns for row in range(job.rows)}
        self.dropped = dict(journal.dropped)
        for cell, value in journal.cells.items():
            self.cells[cell].set_result(value)
        for row in self.dropped:
            self.let_go(row)
        slots = {"": sys.maxsize, **job.resources}
        self.workers = asyncio.Semaphore(job.workers or sys.maxsize)
        self.slots = {name: asyncio.Semaphore(count) for name, count in slots.items()}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for node in self.job.nodes():
                tasks.create_task(self.node(node))
        self.journal.close()

    async def node(self, node: Node) -> None:
        for name in node.column.needs:
            for row in node.rows:
                await self.cells[name, row]
        if not self.wanted(node):
            self.leave_out(node)
        attempt = 1
        while True:
            async with self.slots[node.column.resource], self.workers:
                if not self.wanted(node):
                    self.leave_out(node)
                    return
                reads = self.reads(node)
                inputs = [self.inputs(node, row) for row in reads]
                pause = 0.0
                try:
                    values = await node.column.make(node.number, reads, inputs)
                except Busy as busy:
                    pause = busy.after_s
                except Again:
                    attempt, pause = attempt + 1, 2.0**attempt
                except Exception:
                    attempt = self.job.attempts + 1
                else:
                    self.keep(node, reads, values)
                    self.leave_out(node)
                    return
                if attempt > self.job.attempts:
                    for row in self.wanted(node):
                        self.drop(row, node.column.name)
                    self.leave_out(node)
                    return
            await asyncio.sleep(pause)

    def keep(self, node: Node, rows: list[int], values: Sequence[Any]) -> None:
        for row, value in zip(rows, values, strict=True):
            if not self.cells[node.column.name, row].done():
                self.finish(node, row, value)

    def wanted(self, node: Node) -> list[int]:
        """The rows that the node is to make: open, and not to be left out."""
        return [
            row for row in self.open(node) if not node.column.skips(row, self.inputs(node, row))
        ]

    def leave_out(self, node: Node) -> None:
        """Leave out what the node will not make: of a barrier, after its call."""
        for row in self.open(node):
            self.finish(node, row, SKIP)

    def open(self, node: Node) -> list[int]:
        return [row for row in node.rows if not self.cells[node.column.name, row].done()]

    def reads(self, node: Node) -> list[int]:
        """The rows of a call: of a barrier every live one, also those that are in the journal."""
        if not node.column.scope_rows:
            return list(node.rows)
        return [
            row
            for row in node.rows
            if row not in self.dropped and not node.column.skips(row, self.inputs(node, row))
        ]

    def inputs(self, node: Node, row: int) -> dict[str, Any]:
        return {name: self.cells[name, row].result() for name in node.column.needs}

    def finish(self, node: Node, row: int, value: Any) -> None:
        line = {"column": node.column.name, "row": row}
        self.journal.record(line if value is SKIP else {**line, "value": value})
        self.cells[node.column.name, row].set_result(value)

    def drop(self, row: int, cause: str) -> None:
        self.dropped[row] = cause
        self.journal.record({"drop": row, "cause": cause})
        self.let_go(row)

    def let_go(self, row: int) -> None:
        for column in self.job.columns:
            if not self.cells[column.name, row].done():
                self.cells[column.name, row].set_result(None)


# The adapters: three honest ways to report what this engine does.


class _Watched(JournalEngine):
    probe: Probe

    def finish(self, node: Node, row: int, value: Any) -> None:
        if value is SKIP:
            self.probe.skip(node.column.name, row)
        super().finish(node, row, value)

    def drop(self, row: int, cause: str) -> None:
        self.probe.drop(row, row + 1, cause)
        super().drop(row, cause)


def _row_of(line: dict[str, Any]) -> int:
    return int(line["drop"] if "drop" in line else line["row"])


class _Silent(Journal):
    """Says when it changes its file, and claims nothing: only the table shows what it keeps."""

    def __init__(self, path: Path, marks: bool, probe: Probe) -> None:
        super().__init__(path, marks)
        self.probe = probe

    def step(self, name: str) -> None:
        self.probe.storage_step(name)


class _Committing(_Silent):
    """A line is a commit: data and claim at once."""

    def record(self, line: dict[str, Any]) -> None:
        row = _row_of(line)
        self.probe.commit_begin(line.get("column", ""), row, row + 1)
        super().record(line)
        self.probe.committed()


class _Claiming(_Silent):
    """A line is data, and its mark is the claim: of everything that is marked by then."""

    def __init__(self, path: Path, marks: bool, probe: Probe) -> None:
        super().__init__(path, marks, probe)
        names = [column.name for column in probe.graph.rules.columns]
        self.claim: dict[str, set[int]] = {name: set(self.dropped) for name in names}
        for name, row in self.cells:
            self.claim[name].add(row)

    def mark(self, line: dict[str, Any]) -> None:
        column, row = line.get("column", ""), _row_of(line)
        self.probe.durable(column, row, row + 1)
        for name in [column] if column else self.claim:
            self.claim[name].add(row)
        self.probe.checkpoint_begin(self.claim)
        super().mark(line)
        self.probe.checkpoint_durable()


class TablesAlone:
    """The journal under the suite, which is shown its table and no claim."""

    name = "odd-journal-tables-alone"
    version = "1"
    capabilities = frozenset(
        {"core", "batch_barriers", "work_conserving", "retries", "drops", "skips"}
        | {"resume", "storage_steps", "torn_writes"}
    )
    journal: type[_Silent] = _Silent
    marks = False

    async def run(self, probe: Probe) -> None:
        journal = self.journal(probe.folder / "journal", self.marks, probe)
        engine = _Watched(job_of(probe), journal)
        engine.probe = probe
        self.resume(probe, journal)
        await engine.run()
        probe.end("success")

    def resume(self, probe: Probe, journal: _Silent) -> None:
        """Report what the process goes on from."""

    def table(self, probe: Probe) -> Table:
        names = [column.name for column in probe.graph.rules.columns]
        dropped = read_journal(probe.folder / "journal", self.marks)[1]
        return table_of(whole_rows(probe.folder, names, self.marks), set(dropped))


class OneCommit(TablesAlone):
    """The journal under the suite: each line is one commit."""

    name = "odd-journal-one-commit"
    capabilities = TablesAlone.capabilities | {"set_claims", "commits", "prompt_saving"}
    journal: type[_Silent] = _Committing

    def resume(self, probe: Probe, journal: _Silent) -> None:
        if not probe.incarnation:
            return
        claim: dict[str, set[int]] = {
            column.name: set(journal.dropped) for column in probe.graph.rules.columns
        }
        skipped: dict[str, list[int]] = {}
        for (name, row), value in journal.cells.items():
            claim[name].add(row)
            if value is SKIP:
                skipped.setdefault(name, []).append(row)
        probe.resumed(claim, dropped=journal.dropped, skipped=skipped)


class DataThenClaim(OneCommit):
    """The journal with marks: each line is data, each mark a claim."""

    name = "odd-journal-data-then-claim"
    capabilities = TablesAlone.capabilities | {"set_claims", "prompt_saving"}
    journal: type[_Silent] = _Claiming
    marks = True
