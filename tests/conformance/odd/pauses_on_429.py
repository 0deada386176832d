"""An engine that pauses every start after a 429, whichever call got it.

As clients of one rate-limited endpoint do. A fixed crew of workers takes nodes from one line, so a
worker that waits for a resource holds up those behind it: this engine does not promise to use
every slot. It saves each column by itself, as far as it is finished from the first row on.
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
from tests.conformance.odd.pipeline import (
    SKIP,
    Again,
    Busy,
    Job,
    Node,
    atomically,
    packed,
    unpacked,
)

__all__ = ["PausesOn429", "PausingEngine", "read_columns"]

_DROPPED = "dropped"


def read_columns(
    folder: Path, columns: Sequence[str]
) -> tuple[dict[str, list[Any]], dict[int, str]]:
    """The claimed cells of each column from row 0 on, and the rows that were given up.

    A cell that was never made, for its row was given up, is None.
    """
    path = folder / "claim.json"
    claim = json.loads(path.read_text()) if path.exists() else {}
    cells: dict[str, list[Any]] = {}
    dropped: dict[int, str] = {}
    for name in columns:
        rows, size = claim.get(name, (0, 0))
        data = (folder / f"{name}.jsonl").read_bytes()[:size] if rows else b""
        cells[name] = []
        for row, line in enumerate(data.splitlines()):
            record = json.loads(line)
            if isinstance(record, dict) and _DROPPED in record:
                dropped[row] = record[_DROPPED]
                record = None
            cells[name].append(unpacked(record))
    return cells, dropped


class PausingEngine:
    """A crew of workers, one line of nodes, and one gate before every call.

    Args:
        job: what to do.
        by_column: whether columns are claimed each for itself, or rows as a whole.
    """

    crew = 6

    def __init__(self, job: Job, by_column: bool) -> None:
        self.job, self.by_column = job, by_column
        self.names = [column.name for column in job.columns]
        self.cells, self.dropped = read_columns(job.folder, self.names)
        self.claimed = {name: len(cells) for name, cells in self.cells.items()}
        self.made: dict[tuple[str, int], Any] = {
            (name, row): value
            for name, cells in self.cells.items()
            for row, value in enumerate(cells)
            if value is not None
        }
        self.done = dict(self.claimed)  # By column, the rows finished from the first on.
        self.line = [node for node in job.nodes() if self.open(node)]
        self.attempts = dict.fromkeys(self.line, 1)
        self.left = len(self.line)
        self.inside: set[Node] = set()  # Nodes that a worker has in its hands.
        self.gate = 0.0  # Nothing starts before this time.
        self.changed = asyncio.Condition()
        self.slots = {n: asyncio.Semaphore(count) for n, count in job.resources.items()}
        self.slots[""] = asyncio.Semaphore(sys.maxsize)
        self.loop = asyncio.get_running_loop()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(self.job.workers or self.crew, self.crew)):
                tasks.create_task(self.worker(tasks))
        self.save()

    async def worker(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            async with self.changed:
                while (node := self.next()) is None and self.left:
                    await self.changed.wait()
            if node is None:
                return
            self.inside.add(node)
            async with self.slots[node.column.resource]:
                while self.gate > self.loop.time():
                    await asyncio.sleep(self.gate - self.loop.time())
                rest = await self.call(node) if self.wanted(node) else None
                self.leave_out(node, rest is None)
            self.inside.remove(node)
            if self.unsaved() >= self.job.every:
                self.save()
            if rest is None:
                await self.back(None)
            else:
                tasks.create_task(self.rest(node, rest))

    def next(self) -> Node | None:
        """Take the first node from the line whose turn has come."""
        for node in list(self.line):
            if not self.open(node):
                self.line.remove(node)
                self.left -= 1
                self.changed.notify_all()
            elif self.may_start(node):
                self.line.remove(node)
                return node
        return None

    async def rest(self, node: Node, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.back(node)

    async def back(self, node: Node | None) -> None:
        """A node is done with, or comes back to the end of the line."""
        async with self.changed:
            if node is None:
                self.left -= 1
            else:
                self.line.append(node)
            self.changed.notify_all()

    async def call(self, node: Node) -> float | None:
        """Make one call; the seconds to rest before the next, if there is to be one."""
        reads = [
            row
            for row in node.rows
            if row not in self.dropped and not node.column.skips(row, self.inputs(node, row))
        ]
        inputs = [self.inputs(node, row) for row in reads]
        try:
            values = await node.column.make(node.number, reads, inputs)
        except Busy as busy:
            self.pause(self.loop.time() + busy.after_s)
            return busy.after_s
        except Again:
            self.attempts[node] += 1
            if self.attempts[node] <= self.job.attempts:
                return 0.5
        except Exception:
            self.attempts[node] = self.job.attempts + 1
        else:
            for row, value in zip(reads, values, strict=True):
                if not self.has(node.column.name, row):
                    self.made[node.column.name, row] = value
            return None
        for row in self.wanted(node):
            self.drop(row, node.column.name)
        return None

    def pause(self, until: float) -> None:
        self.gate = max(self.gate, until)

    def has(self, name: str, row: int) -> bool:
        return row in self.dropped or (name, row) in self.made

    def may_start(self, node: Node) -> bool:
        """Whether its inputs are there, and in an ordered column what comes before it."""
        if node.column.ordered and any(other.column is node.column for other in self.inside):
            return False
        before = range(node.rows[0]) if node.column.ordered else range(0)
        return all(self.has(name, row) for name in node.column.needs for row in node.rows) and all(
            self.has(node.column.name, row) for row in before
        )

    def wanted(self, node: Node) -> list[int]:
        """The rows that the node is to make: open, and not to be left out."""
        return [
            row for row in self.open(node) if not node.column.skips(row, self.inputs(node, row))
        ]

    def leave_out(self, node: Node, over: bool) -> None:
        """Leave out what the node will not make, when it is over: of a barrier, after its call."""
        for row in self.open(node) if over else ():
            self.skip(node, row)

    def open(self, node: Node) -> list[int]:
        return [row for row in node.rows if not self.has(node.column.name, row)]

    def inputs(self, node: Node, row: int) -> dict[str, Any]:
        return {name: self.made.get((name, row)) for name in node.column.needs}

    def skip(self, node: Node, row: int) -> None:
        self.made[node.column.name, row] = SKIP

    def drop(self, row: int, cause: str) -> None:
        self.dropped[row] = cause

    def unsaved(self) -> int:
        """How much more could be claimed by the column that is furthest ahead of its claim."""
        for name in self.names:
            while self.done[name] < self.job.rows and self.has(name, self.done[name]):
                self.done[name] += 1
        if not self.by_column:
            self.done = dict.fromkeys(self.names, min(self.done.values()))
        return max(self.done[name] - self.claimed[name] for name in self.names)

    def save(self) -> None:
        """Append to each column what is new, then replace the claim."""
        if not self.unsaved():
            return
        path = self.job.folder / "claim.json"
        claim = json.loads(path.read_text()) if path.exists() else {}
        for name in self.names:
            start, stop = self.claimed[name], self.done[name]
            if start == stop:
                continue
            lines = [
                packed(self.made[name, row])
                if (name, row) in self.made
                else {_DROPPED: self.dropped[row]}
                for row in range(start, stop)
            ]
            self.step(f"append to {name}")
            size = claim.get(name, (0, 0))[1]
            with (self.job.folder / f"{name}.jsonl").open("ab") as file:
                file.truncate(size)  # What a dead process appended and did not claim.
                file.seek(size)
                file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())
                claim[name] = (stop, file.tell())
            self.appended(name, start, stop)
        self.write_claim(path, claim)
        self.claimed = dict(self.done)

    def appended(self, name: str, start: int, stop: int) -> None:
        """Called when rows of a column are on storage."""

    def write_claim(self, path: Path, claim: dict[str, tuple[int, int]]) -> None:
        atomically(path, claim, self.step)

    def step(self, name: str) -> None:
        """Called before each change of the folder."""


# The adapter.


class _Watched(PausingEngine):
    probe: Probe

    def pause(self, until: float) -> None:
        super().pause(until)
        self.probe.pause(self.gate, "429")

    def skip(self, node: Node, row: int) -> None:
        self.probe.skip(node.column.name, row)
        super().skip(node, row)

    def drop(self, row: int, cause: str) -> None:
        self.probe.drop(row, row + 1, cause)
        super().drop(row, cause)

    def appended(self, name: str, start: int, stop: int) -> None:
        self.probe.durable(name, start, stop)

    def write_claim(self, path: Path, claim: dict[str, tuple[int, int]]) -> None:
        self.probe.checkpoint_begin({name: self.done[name] for name in self.names})
        super().write_claim(path, claim)
        self.probe.checkpoint_durable()

    def step(self, name: str) -> None:
        self.probe.storage_step(name)


class PausesOn429:
    """Pauses under the suite."""

    name = "odd-pauses-on-429"
    version = "1"
    capabilities = frozenset(
        {"core", "batch_barriers", "ordered", "retries", "drops", "skips"}
        | {"resume", "column_checkpoints", "storage_steps", "torn_writes"}
    )

    async def run(self, probe: Probe) -> None:
        engine = _Watched(job_of(probe), probe.work.checkpoint_version == 2)
        engine.probe = probe
        if probe.incarnation:
            skipped = {
                name: [row for row, value in enumerate(cells) if value is SKIP]
                for name, cells in engine.cells.items()
            }
            probe.resumed(engine.claimed, dropped=list(engine.dropped), skipped=skipped)
        await engine.run()
        probe.end("success")

    def table(self, probe: Probe) -> Table:
        names = [column.name for column in probe.graph.rules.columns]
        cells, dropped = read_columns(probe.folder, names)
        whole = min(len(column) for column in cells.values())
        return table_of(
            {
                row: {name: cells[name][row] for name in names}
                for row in range(whole)
                if row not in dropped
            },
            set(dropped),
        )
