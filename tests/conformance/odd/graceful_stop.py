"""An engine that ends well when it is asked to, and goes on from there the next time.

As orchestrators do on SIGTERM: nothing new starts, running calls end (or are cancelled), the state
is saved, and the outcome is *interrupted*. The state is one file with all values, replaced as a
whole, so data and claim are one write.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Literal

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

__all__ = ["GracefulCancels", "GracefulEngine", "GracefulStop", "read_state"]

Cells = dict[str, dict[int, Any]]


def read_state(folder: Path) -> tuple[Cells, dict[int, str]]:
    """The cells of a folder by column, and the rows given up with the column that failed."""
    path = folder / "state.json"
    state = json.loads(path.read_text()) if path.exists() else {"cells": {}, "dropped": {}}
    cells = {
        name: {int(row): unpacked(value) for row, value in column.items()}
        for name, column in state["cells"].items()
    }
    return cells, {int(row): cause for row, cause in state["dropped"].items()}


class GracefulEngine:
    """A dispatcher that waits for whatever comes first: a call, the end of a rest, a request."""

    cancels = False  # Whether a request cancels running calls, or lets them end.
    save_s = 0.0  # How long a save takes; nothing starts meanwhile.

    def __init__(self, job: Job) -> None:
        self.job = job
        stored, self.dropped = read_state(job.folder)
        self.cells: Cells = {column.name: stored.get(column.name, {}) for column in job.columns}
        self.saved = {name: set(column) | set(self.dropped) for name, column in self.cells.items()}
        self.pending = dict.fromkeys((node for node in job.nodes() if self.open(node)), 0.0)
        self.attempts = dict.fromkeys(self.pending, 1)
        self.running: dict[asyncio.Task[None], Node] = {}
        self.requested = asyncio.Event()
        self.unsaved = 0
        self.now = asyncio.get_running_loop().time

    def request_stop(self) -> None:
        self.requested.set()

    async def run(self) -> Literal["success", "interrupted"]:
        request = asyncio.create_task(self.requested.wait())
        while True:
            for task in [task for task in self.running if task.done()]:
                self.ended(task, self.running.pop(task))
            while self.settle():
                pass
            if self.unsaved >= self.job.every:
                await self.save()
                continue
            rest = None if self.requested.is_set() else self.start_all()
            if not self.running and (self.requested.is_set() or not self.pending):
                break
            if self.requested.is_set():
                if self.cancels:
                    for task in self.running:
                        task.cancel()
                await asyncio.wait(self.running)
            else:
                waits = [*self.running, request]
                await asyncio.wait(waits, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
        request.cancel()
        if self.unsaved:
            await self.save()
        return "interrupted" if any(map(self.open, self.pending)) else "success"

    def start_all(self) -> float | None:
        """Start what may start; the seconds until a node has rested, if one rests."""
        rest = None
        for node, earliest in list(self.pending.items()):
            if not self.open(node):
                del self.pending[node]
            elif not self.has_inputs(node) or node in self.running.values():
                pass
            elif earliest > self.now():
                rest = min(earliest - self.now(), rest or earliest)
            elif self.has_slot(node):
                self.running[asyncio.create_task(self.call(node))] = node
        return rest

    async def call(self, node: Node) -> None:
        reads = self.reads(node)
        if self.requested.is_set() or not self.wanted(node):
            return  # The world changed between the decision and the task's first step.
        inputs = [self.inputs(node, row) for row in reads]
        values = await node.column.make(node.number, reads, inputs)
        for row, value in zip(reads, values, strict=True):
            self.keep(node, row, value)
        self.leave_out(node)

    def ended(self, task: asyncio.Task[None], node: Node) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Busy):
            self.pending[node] = self.now() + error.after_s
        elif isinstance(error, Again) and self.attempts[node] < self.job.attempts:
            self.pending[node] = self.now() + 0.75 * self.attempts[node]
            self.attempts[node] += 1
        elif isinstance(error, Exception):
            for row in self.wanted(node):
                self.drop(row, node.column.name)
        elif error is not None:
            raise error
        if not self.open(node):
            self.pending.pop(node, None)

    def settle(self) -> bool:
        """Leave out cells whose turn has come; True if some were."""
        found = False
        for node in self.pending:
            if node in self.running.values() or not self.has_inputs(node):
                continue
            if self.open(node) and not self.wanted(node):
                self.leave_out(node)
                found = True
        return found

    def wanted(self, node: Node) -> list[int]:
        """The rows that the node is to make: open, and not to be left out."""
        return [
            row for row in self.open(node) if not node.column.skips(row, self.inputs(node, row))
        ]

    def leave_out(self, node: Node) -> None:
        """Leave out what the node will not make: of a barrier, after its call."""
        for row in self.open(node):
            self.keep(node, row, SKIP)

    def has(self, name: str, row: int) -> bool:
        return row in self.dropped or row in self.cells[name]

    def has_inputs(self, node: Node) -> bool:
        return all(self.has(name, row) for name in node.column.needs for row in node.rows)

    def has_slot(self, node: Node) -> bool:
        name = node.column.resource
        used = sum(other.column.resource == name for other in self.running.values())
        workers = self.job.workers
        return (workers is None or len(self.running) < workers) and (
            name not in self.job.resources or used < self.job.resources[name]
        )

    def open(self, node: Node) -> list[int]:
        return [row for row in node.rows if not self.has(node.column.name, row)]

    def reads(self, node: Node) -> list[int]:
        return [
            row
            for row in node.rows
            if row not in self.dropped and not node.column.skips(row, self.inputs(node, row))
        ]

    def inputs(self, node: Node, row: int) -> dict[str, Any]:
        return {name: self.cells[name].get(row) for name in node.column.needs}

    def keep(self, node: Node, row: int, value: Any) -> None:
        if not self.has(node.column.name, row):
            self.cells[node.column.name][row] = value
            self.unsaved += 1

    def drop(self, row: int, cause: str) -> None:
        """Give a row up, and cancel its calls: nobody wants their values."""
        self.dropped[row] = cause
        self.unsaved += 1
        for task, node in self.running.items():
            if not node.column.scope_rows and row in node.rows:
                task.cancel()

    def new(self) -> dict[str, set[int]]:
        """The cells that the file does not hold yet, by column."""
        dropped = set(self.dropped)
        return {name: (set(self.cells[name]) | dropped) - self.saved[name] for name in self.cells}

    async def save(self) -> None:
        """Replace the file by all that there is now; it may take time."""
        new = self.new()
        cells = {
            name: {row: packed(value) for row, value in column.items()}
            for name, column in self.cells.items()
        }
        state = {"cells": cells, "dropped": dict(self.dropped)}
        self.unsaved = 0
        self.begin(new)
        if self.save_s:
            await asyncio.sleep(self.save_s)
        atomically(self.job.folder / "state.json", state, self.step)
        for name, rows in new.items():
            self.saved[name] |= rows
        self.written()

    def begin(self, new: dict[str, set[int]]) -> None:
        """Called before a save, with the cells that it adds to the file."""

    def written(self) -> None:
        """Called after it."""

    def step(self, name: str) -> None:
        """Called before each change of the folder."""


# The adapters.


class _Watched(GracefulEngine):
    probe: Probe

    def keep(self, node: Node, row: int, value: Any) -> None:
        if value is SKIP and not self.has(node.column.name, row):
            self.probe.skip(node.column.name, row)
        super().keep(node, row, value)

    def drop(self, row: int, cause: str) -> None:
        self.probe.drop(row, row + 1, cause)
        super().drop(row, cause)

    def begin(self, new: dict[str, set[int]]) -> None:
        self.probe.commit_begin(claim={name: ranges(rows) for name, rows in new.items() if rows})

    def written(self) -> None:
        self.probe.committed()

    def step(self, name: str) -> None:
        self.probe.storage_step(name)


class GracefulStop:
    """Graceful stop under the suite: a request lets running calls end."""

    name = "odd-graceful-stop"
    version = "1"
    capabilities = frozenset(
        {"core", "batch_barriers", "work_conserving", "retries", "drops", "skips"}
        | {"resume", "set_claims", "commits", "storage_steps", "torn_writes", "interrupts"}
    )
    cancels = False
    save_s = 0.0
    # A save takes no time, and has all that a barrier gave, or none.
    unasked = frozenset(
        {Sometimes.ASKED_IN_CLAIM, Sometimes.BARRIER_AGAIN, Sometimes.BARRIER_BETWEEN}
    )
    engine: _Watched

    async def run(self, probe: Probe) -> None:
        self.engine = engine = _Watched(job_of(probe))
        engine.probe, engine.cancels, engine.save_s = probe, self.cancels, self.save_s
        if probe.incarnation:
            skipped = {
                name: [row for row, value in column.items() if value is SKIP]
                for name, column in engine.cells.items()
            }
            probe.resumed(
                {name: ranges(rows) for name, rows in engine.saved.items()},
                dropped=list(engine.dropped),
                skipped=skipped,
            )
        probe.end(await engine.run())

    def request_stop(self, probe: Probe) -> None:  # noqa: ARG002 - the suite's signature
        self.engine.request_stop()

    def table(self, probe: Probe) -> Table:
        cells, dropped = read_state(probe.folder)
        names = [column.name for column in probe.graph.rules.columns]
        whole = [set(cells.get(name, ())) for name in names]
        rows = set.intersection(*whole) - set(dropped)
        return table_of(
            {row: {name: cells[name][row] for name in names} for row in rows}, set(dropped)
        )


class GracefulCancels(GracefulStop):
    """Graceful stop under the suite: a request cancels running calls; a save takes its time."""

    name = "odd-graceful-cancels"
    capabilities = GracefulStop.capabilities - {"work_conserving"}
    cancels = True
    save_s = 0.25
    unasked = frozenset({Sometimes.BARRIER_AGAIN, Sometimes.BARRIER_BETWEEN})
