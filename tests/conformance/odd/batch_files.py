"""An engine that writes files of whole rows, each by one rename: a file is data and claim at once.

As exporters do that leave parquet files behind and look on a restart which rows they find there.
Rows stand in a file in the order in which they were finished, so they need not be neighbours. A
file is written beside the work, and two may be under way.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

from cellspec.conformance import Probe, Table
from tests.conformance.odd.adapting import job_of, table_of
from tests.conformance.odd.pipeline import (
    SKIP,
    Again,
    Busy,
    Job,
    Node,
    packed,
    ranges,
    sync_folder,
    unpacked,
)

__all__ = ["BatchFiles", "BatchFilesEngine", "WatchedBatchFiles", "read_files"]

Row = dict[str, Any]


def read_files(folder: Path) -> tuple[dict[int, Row], dict[int, str]]:
    """The rows of all files, and the rows that were given up with the column that failed."""
    rows: dict[int, Row] = {}
    dropped: dict[int, str] = {}
    for path in sorted(folder.glob("batch-*.json")):
        for record in json.loads(path.read_text()):
            if "cause" in record:
                dropped[record["row"]] = record["cause"]
            else:
                rows[record["row"]] = {
                    name: unpacked(value) for name, value in record["cells"].items()
                }
    return rows, dropped


class BatchFilesEngine:
    """One loop that starts whatever may start; finished rows go to files of `job.every` rows."""

    write_s = 0.25  # How long a file takes on its way to storage.

    def __init__(self, job: Job) -> None:
        self.job = job
        self.rows, self.dropped = read_files(job.folder)
        self.saved = self.rows.keys() | self.dropped.keys()
        for row in range(job.rows):
            self.rows.setdefault(row, {})
        self.full: list[int] = []  # Finished rows that no file holds yet.
        self.files = max((int(p.stem[6:]) for p in job.folder.glob("batch-*.json")), default=0)
        self.waiting = [node for node in job.nodes() if not self.saved.issuperset(node.rows)]
        self.attempts = dict.fromkeys(self.waiting, 1)
        self.ready: deque[Node] = deque()
        self.busy = {"": 0} | dict.fromkeys(job.resources, 0)
        self.running: set[Node] = set()
        self.resting = 0
        self.changed = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self.changed.clear()
                self.settle()
                while len(self.full) >= self.job.every:
                    batch = [self.full.pop(0) for _ in range(self.job.every)]
                    tasks.create_task(self.write(batch))
                for node in self.startable():
                    tasks.create_task(self.call(node))
                if not (self.waiting or self.ready or self.running or self.resting):
                    break
                await self.changed.wait()
            if self.full:
                tasks.create_task(self.write(self.full))

    def has(self, name: str, row: int) -> bool:
        return row in self.dropped or name in self.rows[row]

    def settle(self) -> None:
        """Make nodes ready whose inputs are there, and leave out what is to be left out."""
        again = True
        while again:
            again = False
            for node in list(self.waiting):
                if all(self.has(name, row) for name in node.column.needs for row in node.rows):
                    self.waiting.remove(node)
                    self.ready.append(node)
                    if not self.wanted(node):
                        self.leave_out(node)
                        again = True

    def startable(self) -> list[Node]:
        found, later = [], deque[Node]()
        for node in self.ready:
            limit = self.job.resources.get(node.column.resource)
            if not self.wanted(node):
                self.leave_out(node)
                self.changed.set()
                continue
            if (self.job.workers is not None and len(self.running) >= self.job.workers) or (
                limit is not None and self.busy[node.column.resource] >= limit
            ):
                later.append(node)
                continue
            self.running.add(node)
            self.busy[node.column.resource] += 1
            found.append(node)
        self.ready = later
        return found

    async def call(self, node: Node) -> None:
        reads = [
            row
            for row in node.rows
            if row not in self.dropped and not node.column.skips(row, self.inputs(node, row))
        ]
        pause = None
        try:
            values = await node.column.make(
                node.number, reads, [self.inputs(node, row) for row in reads]
            )
        except Busy as busy:
            pause = busy.after_s
        except Again:
            self.attempts[node] += 1
            if self.attempts[node] <= self.job.attempts:
                pause = 0.5 * self.attempts[node]
            else:
                self.give_up(node)
        except Exception:
            self.give_up(node)
        else:
            for row, value in zip(reads, values, strict=True):
                self.keep(node, row, value)
            self.leave_out(node)
        self.running.remove(node)
        self.busy[node.column.resource] -= 1
        self.changed.set()
        if pause is not None:
            self.resting += 1
            await asyncio.sleep(pause)
            self.resting -= 1
            self.ready.append(node)
            self.changed.set()

    def wanted(self, node: Node) -> list[int]:
        """The rows that the node is to make: open, and not to be left out."""
        return [
            row for row in self.open(node) if not node.column.skips(row, self.inputs(node, row))
        ]

    def leave_out(self, node: Node) -> None:
        """Leave out what the node will not make: of a barrier, after its call."""
        for row in self.open(node):
            self.keep(node, row, SKIP)

    def open(self, node: Node) -> list[int]:
        return [row for row in node.rows if not self.has(node.column.name, row)]

    def inputs(self, node: Node, row: int) -> Row:
        return {name: self.rows[row].get(name) for name in node.column.needs}

    def keep(self, node: Node, row: int, value: Any) -> None:
        if not self.has(node.column.name, row):
            self.rows[row][node.column.name] = value
            if len(self.rows[row]) == len(self.job.columns):
                self.full.append(row)

    def give_up(self, node: Node) -> None:
        for row in self.wanted(node):
            self.drop(row, node.column.name)
        self.leave_out(node)

    def drop(self, row: int, cause: str) -> None:
        self.dropped[row] = cause
        self.full.append(row)

    async def write(self, batch: list[int]) -> None:
        """Write one file: a temporary one that nobody reads, then its name."""
        self.files += 1
        number = self.files
        path = self.job.folder / f"batch-{number:05}.json"
        records = [
            {"row": row, "cause": self.dropped[row]}
            if row in self.dropped
            else {"row": row, "cells": {n: packed(v) for n, v in self.rows[row].items()}}
            for row in batch
        ]
        self.begin(number, batch)
        new = path.with_suffix(".new")
        try:
            async with self.disk():
                self.step(f"write {new.name}")
                new.write_text(json.dumps(records))
                await asyncio.sleep(self.write_s)
                self.step(f"rename to {path.name}")
                new.replace(path)
                self.step("sync the folder")
                sync_folder(self.job.folder)
        except OSError as error:
            self.not_written(number, error)
        else:
            self.written(number)

    def disk(self) -> AbstractAsyncContextManager[None]:
        """What surrounds the steps of one file."""
        return nullcontext()

    def not_written(self, number: int, error: OSError) -> None:  # noqa: ARG002 - for whoever goes on
        """Called when a file could not be written."""
        raise error

    def begin(self, number: int, batch: list[int]) -> None:
        """Called before a file is begun."""

    def written(self, number: int) -> None:
        """Called when it has its name."""

    def step(self, name: str) -> None:
        """Called before each change of the folder."""


# The adapter.


class WatchedBatchFiles(BatchFilesEngine):
    """The engine, with reports: each file is a commit."""

    probe: Probe

    def keep(self, node: Node, row: int, value: Any) -> None:
        if value is SKIP and not self.has(node.column.name, row):
            self.probe.skip(node.column.name, row)
        super().keep(node, row, value)

    def drop(self, row: int, cause: str) -> None:
        self.probe.drop(row, row + 1, cause)
        super().drop(row, cause)

    def begin(self, number: int, batch: list[int]) -> None:
        claim = {column.name: ranges(batch) for column in self.job.columns}
        self.probe.commit_begin(claim=claim, number=number)

    def written(self, number: int) -> None:
        self.probe.committed(number)

    def step(self, name: str) -> None:
        self.probe.storage_step(name)


class BatchFiles:
    """Batch files under the suite: each file is one commit, and commits overlap."""

    name = "odd-batch-files"
    version = "1"
    capabilities = frozenset(
        {"core", "batch_barriers", "work_conserving", "retries", "drops", "skips"}
        | {"resume", "set_claims", "commits", "storage_steps", "torn_writes", "prompt_saving"}
    )

    async def run(self, probe: Probe) -> None:
        engine = WatchedBatchFiles(job_of(probe))
        engine.probe = probe
        self.resume(probe, engine)
        await engine.run()
        probe.end("success")

    def resume(self, probe: Probe, engine: WatchedBatchFiles) -> None:
        """Report what the process goes on from."""
        if not probe.incarnation:
            return
        rows, dropped = read_files(probe.folder)
        claim = {column.name: ranges(engine.saved) for column in engine.job.columns}
        skipped = {
            column.name: [row for row in rows if rows[row][column.name] is SKIP]
            for column in engine.job.columns
        }
        probe.resumed(claim, dropped=dropped, skipped=skipped)

    def table(self, probe: Probe) -> Table:
        rows, dropped = read_files(probe.folder)
        return table_of(rows, set(dropped))
