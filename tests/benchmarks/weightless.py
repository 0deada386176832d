"""Calls that cost nothing: what is left of an engine's cost when its generators have none.

`Weightless` is a probe whose calls give an empty value after one turn of the loop, and which writes
nothing down. `bare` makes the same calls with no scheduler at all: the unit of comparison.
"""

# What is overridden here takes what it takes in a probe, and has no use for most of it.
# ruff: noqa: ARG002

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from cellspec.conformance.run.probe import Inputs, Probe
from cellspec.conformance.run.recorder import Recorder
from cellspec.conformance.run.values import Registry
from cellspec.conformance.run.workload import Workload

__all__ = ["WORKERS", "Weightless", "bare"]

WORKERS = 8
"""Calls at once."""


class _Clock:
    """Whatever the time is, nothing takes any."""

    scale = 1.0
    notice_s = 0.0
    timer_share = 1.0

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now

    async def sleep(self, seconds: float, who: tuple[str, int]) -> None:
        await asyncio.sleep(0)

    def wait(self, seconds: float, gone: threading.Event, *_: Any) -> None:
        """Nothing to wait for."""

    def halt(self, reason: BaseException) -> NoReturn:
        raise reason


class _Silent(Recorder):
    """A recorder that keeps no report."""

    def report(self, event: str, **fields: Any) -> None:
        """Keep nothing."""

    report_storage = report


class Weightless(Probe):
    """A probe whose calls take one turn of the loop, give nothing, and leave no trace."""

    def __init__(self, work: Workload, folder: Path, now: Callable[[], float]) -> None:
        clock = _Clock(now)
        silent = _Silent(clock, 0, lambda: None)
        super().__init__(work, 0, folder, frozenset(), clock, Registry(), recorder=silent)
        # The probe's own graph counts what it is asked.
        self.graph = work.graph()  # type: ignore[assignment]
        self.tasks = 0
        self.outcome = ""

    async def cell(self, *_: Any, **__: Any) -> str:
        self.tasks += 1
        await asyncio.sleep(0)
        return ""

    def cell_sync(self, *_: Any, **__: Any) -> str:
        self.tasks += 1
        return ""

    async def barrier(
        self, column: str, scope: int, rows: Sequence[int], *_: Any, **__: Any
    ) -> list[str]:
        self.tasks += 1
        await asyncio.sleep(0)
        return [""] * len(rows)

    def barrier_sync(
        self, column: str, scope: int, rows: Sequence[int], *_: Any, **__: Any
    ) -> list[str]:
        self.tasks += 1
        return [""] * len(rows)

    async def range(
        self, column: str, start: int, stop: int, inputs: Sequence[Inputs], *_: Any, **__: Any
    ) -> AsyncIterator[tuple[int, str]]:
        for row in range(start, stop):
            self.tasks += 1
            await asyncio.sleep(0)
            yield row, ""

    def end(self, outcome: Any, reason: str | None = None) -> None:
        self.outcome = outcome

    def storage_step(self, name: str) -> None:
        """Nobody listens."""


async def bare(probe: Probe) -> None:
    """The calls of a workload without a scheduler: a task for each, and no more than `WORKERS`."""
    slots = asyncio.Semaphore(WORKERS)

    async def call(name: str, row: int) -> None:
        async with slots:
            await probe.cell(name, row, {})

    for rule in probe.graph.rules.columns:
        if not rule.is_barrier:
            await asyncio.gather(*(call(rule.name, row) for row in range(probe.rows)))
