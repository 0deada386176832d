"""An engine that saves seldom, in one transaction: every few seconds, or when a row group is done.

As curators of large datasets do that keep a database beside the work. A crash loses much, and what
was lost is made again, rightly. Rows enter in groups, and leave when all their cells are there.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from cellspec.conformance import Probe, Refused, SavePolicy, Table
from cellspec.conformance.run.coverage_goals import Sometimes
from tests.conformance.odd.adapting import job_of, table_of
from tests.conformance.odd.pipeline import (
    SKIP,
    Again,
    Busy,
    Job,
    Node,
    packed,
    ranges,
    unpacked,
)

__all__ = ["SavesByGroup", "SavesBySeconds", "SeldomEngine", "read_database"]

Cell = tuple[str, int]


def read_database(folder: Path) -> tuple[dict[Cell, Any], dict[int, str]]:
    """The cells in a folder's database, and the rows given up with the column that failed."""
    path = folder / "cells.db"
    if not path.exists():
        return {}, {}
    # Not immutable: a journal that a dead process left behind belongs to the database.
    with closing(sqlite3.connect(path)) as base:
        tables = base.execute("SELECT name FROM sqlite_master").fetchall()
        if ("dropped",) not in tables:
            return {}, {}
        cells = {
            (name, row): unpacked(json.loads(text))
            for name, row, text in base.execute("SELECT name, row, value FROM cells")
        }
        return cells, dict(base.execute("SELECT row, cause FROM dropped").fetchall())


class SeldomEngine:
    """A task a group, and in it a task a cell; barriers are tasks beside them.

    Args:
        job: what to do.
        group_rows: rows of a group.
        groups: groups that may be in at once.
        seconds: seconds between two saves; None to save when a group is done.
    """

    def __init__(
        self, job: Job, group_rows: int, groups: int | None, seconds: float | None
    ) -> None:
        self.job, self.seconds, self.group_rows = job, seconds, group_rows
        stored, self.dropped = read_database(job.folder)
        new = asyncio.get_running_loop().create_future
        self.cells = {(c.name, row): new() for c in job.columns for row in range(job.rows)}
        for cell, value in stored.items():
            self.cells[cell].set_result(value)
        for row in self.dropped:
            self.let_go(row)
        self.stored, self.told = set(stored), set(self.dropped)
        self.places = asyncio.Semaphore(groups or sys.maxsize)
        self.inside = [asyncio.Event() for _ in range(0, job.rows, group_rows)]
        slots = {"": sys.maxsize, **job.resources}
        self.workers = asyncio.Semaphore(job.workers or sys.maxsize)
        self.slots = {name: asyncio.Semaphore(count) for name, count in slots.items()}

    def rows_of(self, group: int) -> range:
        return range(group * self.group_rows, min((group + 1) * self.group_rows, self.job.rows))

    async def run(self) -> None:
        timer = asyncio.create_task(self.save_now_and_then())
        async with asyncio.TaskGroup() as tasks:
            for node in self.job.nodes():
                if node.column.scope_rows:
                    tasks.create_task(self.node(node))
            for group, inside in enumerate(self.inside):
                rows = self.rows_of(group)
                if all(self.cells[c.name, row].done() for c in self.job.columns for row in rows):
                    inside.set()
                    continue
                await self.places.acquire()
                self.admit(group)
                inside.set()
                tasks.create_task(self.group(group, tasks))
        timer.cancel()
        self.save()

    async def group(self, group: int, tasks: asyncio.TaskGroup) -> None:
        rows = self.rows_of(group)
        for node in self.job.nodes():
            if not node.column.scope_rows and node.number in rows:
                tasks.create_task(self.node(node))
        for column in self.job.columns:
            for row in rows:
                await asyncio.wait([self.cells[column.name, row]])
        if self.seconds is None:
            self.save()
        self.retire(group)
        self.places.release()

    async def save_now_and_then(self) -> None:
        while self.seconds is not None:
            await asyncio.sleep(self.seconds)
            self.save()

    async def node(self, node: Node) -> None:
        for group in range(node.rows[0] // self.group_rows, node.rows[-1] // self.group_rows + 1):
            await self.inside[group].wait()
        for name in node.column.needs:
            for row in node.rows:
                await asyncio.wait([self.cells[name, row]])
        if not self.wanted(node):
            self.leave_out(node)
        attempt = 1
        while True:
            async with self.slots[node.column.resource], self.workers:
                if not self.wanted(node):
                    self.leave_out(node)
                    return
                reads = [
                    row
                    for row in node.rows
                    if row not in self.dropped
                    and not node.column.skips(row, self.inputs(node, row))
                ]
                pause = 0.0
                try:
                    self.keep(
                        node,
                        reads,
                        await node.column.make(
                            node.number, reads, [self.inputs(node, row) for row in reads]
                        ),
                    )
                    self.leave_out(node)
                except Busy as busy:
                    pause = busy.after_s
                except Again:
                    attempt, pause = attempt + 1, 1.0
                except Exception:
                    attempt = self.job.attempts + 1
                if attempt > self.job.attempts:
                    for row in self.wanted(node):
                        self.drop(row, node.column.name)
            await asyncio.sleep(pause)

    def wanted(self, node: Node) -> list[int]:
        """The rows that the node is to make: open, and not to be left out."""
        return [
            row for row in self.open(node) if not node.column.skips(row, self.inputs(node, row))
        ]

    def leave_out(self, node: Node) -> None:
        """Leave out what the node will not make: of a barrier, after its call."""
        for row in self.open(node):
            self.skip(node, row)

    def open(self, node: Node) -> list[int]:
        return [row for row in node.rows if not self.cells[node.column.name, row].done()]

    def inputs(self, node: Node, row: int) -> dict[str, Any]:
        return {name: self.cells[name, row].result() for name in node.column.needs}

    def keep(self, node: Node, rows: list[int], values: Sequence[Any]) -> None:
        for row, value in zip(rows, values, strict=True):
            if not self.cells[node.column.name, row].done():
                self.cells[node.column.name, row].set_result(value)

    def skip(self, node: Node, row: int) -> None:
        self.cells[node.column.name, row].set_result(SKIP)

    def drop(self, row: int, cause: str) -> None:
        self.dropped[row] = cause
        self.let_go(row)

    def let_go(self, row: int) -> None:
        for column in self.job.columns:
            if not self.cells[column.name, row].done():
                self.cells[column.name, row].set_result(None)

    def admit(self, group: int) -> None:
        """Called when a group enters."""

    def retire(self, group: int) -> None:
        """Called when a group leaves."""

    def new(self) -> tuple[set[Cell], set[int]]:
        """The cells and the dropped rows that the database does not hold yet."""
        made = {
            cell
            for cell, value in self.cells.items()
            if value.done() and value.result() is not None and cell not in self.stored
        }
        return made, self.dropped.keys() - self.told

    def save(self) -> None:
        """Write all that is new, in one transaction."""
        cells, dropped = self.new()
        if not cells and not dropped:
            return
        self.begin()
        with closing(sqlite3.connect(self.job.folder / "cells.db")) as base:
            self.step("begin")
            with base:
                base.execute("CREATE TABLE IF NOT EXISTS cells (name, row, value)")
                base.execute("CREATE TABLE IF NOT EXISTS dropped (row, cause)")
                base.executemany(
                    "INSERT INTO cells VALUES (?, ?, ?)",
                    [
                        (name, row, json.dumps(packed(self.cells[name, row].result())))
                        for name, row in sorted(cells)
                    ],
                )
                base.executemany(
                    "INSERT INTO dropped VALUES (?, ?)",
                    [(row, self.dropped[row]) for row in sorted(dropped)],
                )
                self.step("commit")
            self.step("close")
        self.stored |= cells
        self.told |= dropped
        self.saved()

    def begin(self) -> None:
        """Called before a transaction."""

    def saved(self) -> None:
        """Called after it."""

    def step(self, name: str) -> None:
        """Called before each change of the folder."""


# The adapters.


class _Watched(SeldomEngine):
    probe: Probe

    def admit(self, group: int) -> None:
        if self.probe.work.limits.group_rows:  # Else all rows are one group, and nobody asked.
            self.probe.admit(group)

    def retire(self, group: int) -> None:
        if self.probe.work.limits.group_rows:
            self.probe.retire(group)

    def skip(self, node: Node, row: int) -> None:
        self.probe.skip(node.column.name, row)
        super().skip(node, row)

    def drop(self, row: int, cause: str) -> None:
        self.probe.drop(row, row + 1, cause)
        super().drop(row, cause)

    def claim(self, cells: set[Cell], dropped: set[int]) -> dict[str, list[tuple[int, int]]]:
        return {
            column.name: ranges({row for name, row in cells if name == column.name} | dropped)
            for column in self.job.columns
        }

    def begin(self) -> None:
        claim = self.claim(*self.new())
        self.probe.commit_begin(claim={name: rows for name, rows in claim.items() if rows})

    def saved(self) -> None:
        self.probe.committed()

    def step(self, name: str) -> None:
        self.probe.storage_step(name)


class SavesByGroup:
    """Seldom saves under the suite: one when a group is done."""

    name = "odd-saves-by-group"
    version = "1"
    capabilities = frozenset(
        {"core", "batch_barriers", "work_conserving", "groups", "retries", "drops", "skips"}
        | {"resume", "set_claims", "commits", "storage_steps", "prompt_saving"}
    )
    saving = SavePolicy(group=True)

    async def run(self, probe: Probe) -> None:
        limits = probe.work.limits
        group_rows = limits.group_rows or max(probe.rows, 1)
        for rule in probe.graph.rules.columns:
            for start in range(0, probe.rows, rule.scope_rows or probe.rows):
                last = min(start + rule.scope_rows, probe.rows) - 1
                wide = last // group_rows - start // group_rows + 1
                if rule.is_barrier and limits.groups is not None and wide > limits.groups:
                    raise Refused(f"{rule.name} reads {wide} groups, and {limits.groups} fit")
        engine = _Watched(job_of(probe), group_rows, limits.groups, self.saving.seconds)
        engine.probe = probe
        if probe.incarnation:
            skipped: dict[str, list[int]] = {}
            for name, row in engine.stored:
                if engine.cells[name, row].result() is SKIP:
                    skipped.setdefault(name, []).append(row)
            claim = engine.claim(engine.stored, engine.told)
            probe.resumed(claim, dropped=list(engine.dropped), skipped=skipped)
        await engine.run()
        probe.end("success")

    def table(self, probe: Probe) -> Table:
        cells, dropped = read_database(probe.folder)
        names = [column.name for column in probe.graph.rules.columns]
        rows = {row for _, row in cells} - set(dropped)
        return table_of(
            {
                row: {name: cells[name, row] for name in names}
                for row in rows
                if all((name, row) in cells for name in names)
            },
            set(dropped),
        )


class SavesBySeconds(SavesByGroup):
    """Seldom saves under the suite: one every two seconds."""

    name = "odd-saves-by-seconds"
    saving = SavePolicy(seconds=2.0)
    unasked = frozenset({Sometimes.BARRIER_BETWEEN})  # A save has all that a barrier gave, or none.
