"""An engine whose workers keep their results in memory, and lose them when they die.

As clusters do: a worker hands a value to another that needs it, and the driver gathers values only
for a barrier and for a save. When a worker is lost, what it alone held is made again; cells that
were made from it stay. The output of a barrier goes to the driver at once: made a second time it
might differ, if a row was given up in between.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from cellspec.conformance import Probe, Table
from cellspec.conformance.run.coverage_goals import Sometimes
from tests.conformance.odd.adapting import job_of, table_of
from tests.conformance.odd.pipeline import (
    SKIP,
    Again,
    Busy,
    Job,
    Node,
    atomically,
    packed,
    ranges,
    unpacked,
)

__all__ = ["LostWorker", "LostWorkerEngine", "read_parts"]

Cell = tuple[str, int]


def read_parts(folder: Path) -> tuple[dict[Cell, Any], dict[int, str]]:
    """The cells of the parts that the manifest names, and the rows that were given up."""
    cells: dict[Cell, Any] = {}
    dropped: dict[int, str] = {}
    path = folder / "manifest.json"
    for name in json.loads(path.read_text()) if path.exists() else ():
        part = json.loads((folder / name).read_text())
        cells |= {(column, row): unpacked(value) for column, row, value in part["cells"]}
        dropped |= {int(row): cause for row, cause in part["dropped"].items()}
    return cells, dropped


class Worker:
    """A worker runs one call at a time and remembers what it made."""

    def __init__(self) -> None:
        self.memory: dict[Cell, Any] = {}
        self.node: Node | None = None
        self.calling = False  # A node that was just assigned waits for the task's first step.
        self.task: asyncio.Task[None] | None = None


class LostWorkerEngine:
    """The driver: it knows who holds what, and gives nodes to idle workers."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.driver, self.dropped = read_parts(job.folder)  # What cannot be lost with a worker.
        self.stored, self.told = set(self.driver), set(self.dropped)
        path = job.folder / "manifest.json"
        self.parts: list[str] = json.loads(path.read_text()) if path.exists() else []
        self.workers = [Worker() for _ in range(job.workers or 4)]
        self.nodes = list(job.nodes())
        self.attempts = dict.fromkeys(self.nodes, 1)
        self.resting: dict[Node, asyncio.TimerHandle] = {}
        self.changed = asyncio.Event()

    async def run(self) -> None:
        while True:
            self.changed.clear()
            held = sum(len(worker.memory) for worker in self.workers)
            if held >= self.job.every * len(self.job.columns):
                self.save()
            self.assign()
            if not self.resting and all(worker.node is None for worker in self.workers):
                break
            await self.changed.wait()
        self.save()

    def memories(self) -> list[dict[Cell, Any]]:
        return [self.driver, *(worker.memory for worker in self.workers)]

    def find(self, cell: Cell) -> Any:
        """The value of a cell, wherever it is; None for one of a row that was given up."""
        return next((memory[cell] for memory in self.memories() if cell in memory), None)

    def has(self, name: str, row: int) -> bool:
        return row in self.dropped or any((name, row) in memory for memory in self.memories())

    def open(self, node: Node) -> list[int]:
        return [row for row in node.rows if not self.has(node.column.name, row)]

    def wanted(self, node: Node) -> list[int]:
        """The rows that the node is to make: open, and not to be left out."""
        return [
            row for row in self.open(node) if not node.column.skips(row, self.inputs(node, row))
        ]

    def leave_out(self, node: Node) -> None:
        """Leave out what the node will not make: of a barrier, after its call."""
        for row in self.open(node):
            self.skip(node, row)

    def inputs(self, node: Node, row: int) -> dict[str, Any]:
        return {name: self.find((name, row)) for name in node.column.needs}

    def has_inputs(self, node: Node) -> bool:
        return all(self.has(name, row) for name in node.column.needs for row in node.rows)

    def assign(self) -> None:
        """Give a node to each idle worker, the first that may start."""
        busy = [worker.node for worker in self.workers if worker.node]
        for node in self.nodes:
            if node in busy or node in self.resting or not self.open(node):
                continue
            if not self.has_inputs(node):
                continue
            if not self.wanted(node):
                self.leave_out(node)
                self.changed.set()
                continue
            idle = next((worker for worker in self.workers if worker.node is None), None)
            limit = self.job.resources.get(node.column.resource)
            used = sum(other.column.resource == node.column.resource for other in busy)
            if idle is None or (limit is not None and used >= limit):
                continue
            if node.column.scope_rows:
                self.save()  # A barrier reads what the driver has gathered.
            busy.append(node)
            idle.node = node
            idle.task = asyncio.create_task(self.work(idle, node))

    async def work(self, worker: Worker, node: Node) -> None:
        reads = [
            row
            for row in node.rows
            if row not in self.dropped and not node.column.skips(row, self.inputs(node, row))
        ]
        try:
            # Between the assignment and the first step of this task the inputs may be lost.
            if self.has_inputs(node) and self.wanted(node):
                worker.calling = True
                values = await node.column.make(
                    node.number, reads, [self.inputs(node, row) for row in reads]
                )
                memory = self.driver if node.column.scope_rows else worker.memory
                for row, value in zip(reads, values, strict=True):
                    if not self.has(node.column.name, row):
                        memory[node.column.name, row] = value
                self.leave_out(node)
        except Busy as busy:
            self.rest(node, busy.after_s)
        except Again:
            self.attempts[node] += 1
            if self.attempts[node] <= self.job.attempts:
                self.rest(node, 0.5)
            else:
                self.give_up(node)
        except Exception:
            self.give_up(node)
        worker.node = worker.task = None
        worker.calling = False
        self.changed.set()

    def rest(self, node: Node, seconds: float) -> None:
        def rested() -> None:
            del self.resting[node]
            self.changed.set()

        self.resting[node] = asyncio.get_running_loop().call_later(seconds, rested)

    def lose(self) -> None:
        """The worker that holds most is lost; another takes its place when its call has ended."""
        worker = max(self.workers, key=lambda each: (len(each.memory), each.node is not None))
        heir = Worker()
        self.workers[self.workers.index(worker)] = heir
        if worker.node is not None and worker.task is not None:
            if worker.calling:
                self.take_back(worker.node)
            heir.node = worker.node
            worker.task.add_done_callback(lambda _: self.ready(heir))
            worker.task.cancel()
        self.lost({cell for cell in worker.memory if cell[1] not in self.dropped})
        self.changed.set()

    def ready(self, heir: Worker) -> None:
        heir.node = None
        self.changed.set()

    def skip(self, node: Node, row: int) -> None:
        self.driver[node.column.name, row] = SKIP

    def give_up(self, node: Node) -> None:
        for row in self.wanted(node):
            self.drop(row, node.column.name)
        self.leave_out(node)

    def drop(self, row: int, cause: str) -> None:
        self.dropped[row] = cause

    def take_back(self, node: Node) -> None:
        """Called before a call is cancelled because its worker was lost."""

    def lost(self, cells: set[Cell]) -> None:
        """Called with the cells that were in no other place."""

    def save(self) -> None:
        """Gather what workers hold, write it to a part, and name the part in the manifest."""
        for worker in self.workers:
            self.driver |= worker.memory
            worker.memory.clear()
        new, dropped = self.driver.keys() - self.stored, self.dropped.keys() - self.told
        if not new and not dropped:
            return
        name = f"part-{len(self.parts):05}.json"
        cells = [[column, row, packed(self.driver[column, row])] for column, row in sorted(new)]
        causes = {row: self.dropped[row] for row in dropped}
        atomically(self.job.folder / name, {"cells": cells, "dropped": causes}, self.step)
        self.stored |= new
        self.told |= dropped
        self.part_written(new, dropped)
        self.write_manifest([*self.parts, name])

    def write_manifest(self, parts: list[str]) -> None:
        self.parts = parts
        atomically(self.job.folder / "manifest.json", parts, self.step)

    def part_written(self, cells: set[Cell], dropped: set[int]) -> None:
        """Called when a part is on storage."""

    def step(self, name: str) -> None:
        """Called before each change of the folder."""


# The adapter.


class _Watched(LostWorkerEngine):
    probe: Probe

    def skip(self, node: Node, row: int) -> None:
        self.probe.skip(node.column.name, row)
        super().skip(node, row)

    def drop(self, row: int, cause: str) -> None:
        self.probe.drop(row, row + 1, cause)
        super().drop(row, cause)

    def take_back(self, node: Node) -> None:
        self.probe.take_back(node.column.name, node.number)

    def lost(self, cells: set[Cell]) -> None:
        for column, rows in self.by_column(cells).items():
            for start, stop in ranges(rows):
                self.probe.lost(column, start, stop)

    def by_column(self, cells: set[Cell]) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {column.name: set() for column in self.job.columns}
        for column, row in cells:
            found[column].add(row)
        return found

    def part_written(self, cells: set[Cell], dropped: set[int]) -> None:
        for column, rows in self.by_column(cells).items():
            for start, stop in ranges(rows - dropped):
                self.probe.durable(column, start, stop)
        for row in sorted(dropped):
            self.probe.durable("", row, row + 1)

    def claim(self) -> dict[str, list[tuple[int, int]]]:
        return {
            column: ranges(rows | self.told) for column, rows in self.by_column(self.stored).items()
        }

    def write_manifest(self, parts: list[str]) -> None:
        self.probe.checkpoint_begin(self.claim())
        super().write_manifest(parts)
        self.probe.checkpoint_durable()

    def step(self, name: str) -> None:
        self.probe.storage_step(name)


class LostWorker:
    """Lost workers under the suite."""

    name = "odd-lost-worker"
    version = "1"
    capabilities = frozenset(
        {"core", "batch_barriers", "retries", "drops", "skips"}
        | {"resume", "set_claims", "storage_steps", "torn_writes", "lost_workers"}
    )
    unasked = frozenset({Sometimes.LOST_BARRIER})  # The driver has it at once.
    engine: _Watched

    async def run(self, probe: Probe) -> None:
        self.engine = engine = _Watched(job_of(probe))
        engine.probe = probe
        if probe.incarnation:
            skipped = {
                name: [row for row in rows if engine.driver[name, row] is SKIP]
                for name, rows in engine.by_column(engine.stored).items()
            }
            probe.resumed(engine.claim(), dropped=list(engine.dropped), skipped=skipped)
        await engine.run()
        probe.end("success")

    def lose_worker(self, probe: Probe) -> None:  # noqa: ARG002 - the suite's signature
        self.engine.lose()

    def table(self, probe: Probe) -> Table:
        cells, dropped = read_parts(probe.folder)
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
