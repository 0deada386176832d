"""The reference engine under its own suite: on asyncio in virtual time, and on real threads.

Read it as an example of an adapter, which is three small things: generators that are the probe's
calls (`_Calls`, `_ThreadCalls`), an observer that reports to the probe all that calls leave open
(`_Reports`), and a reader of the table (`read_table`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from cellspec.conformance.run.backend import CAPABILITIES
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.values import SKIPPED, Table
from cellspec.engine.aio import AsyncioEngine
from cellspec.engine.calls import Backoff, Call, Drop, Failed, Restored
from cellspec.engine.observer import Observer
from cellspec.engine.scheduler import Scheduler
from cellspec.engine.storage.filesystem import RealFileSystem
from cellspec.engine.storage.recovery import RunDirectory
from cellspec.engine.threads import ThreadEngine
from cellspec.machine.machine import Outcome
from cellspec.state.checkpoint import Checkpoint

__all__ = ["LockedCalls", "ReferenceBackend", "ThreadBackend", "read_table"]

Row = Mapping[str, Any]


class ReferenceBackend:
    """`cellspec.engine.aio.AsyncioEngine` in virtual time.

    Attributes:
        scheduler_class: the scheduler, which decides; tests put in one that is wrong on purpose.
        engine_class: the engine, which drives it.
    """

    name = "cellspec-asyncio"
    version = version("cellspec")
    # It saves rows, and then the claim on them.
    capabilities = frozenset(CAPABILITIES) - {
        "commits",
        "cache",
        "lost_workers",
        "row_ids",
    }
    killer_tries = 2
    reads_foreign = True
    # All output of a barrier is there in one step, so that a claim holds all of a scope or nothing.
    unasked: Collection[Sometimes] = (Sometimes.BARRIER_BETWEEN,)
    scheduler_class: type[Scheduler] = Scheduler
    engine_class: type[AsyncioEngine] = AsyncioEngine
    _engine: AsyncioEngine | None = None

    async def run(self, probe: Probe) -> None:
        """Run one incarnation of the workload."""
        # In virtual time both clocks are one; in real time the probe's begins with the run.
        reports = _Reports(probe, behind_s=asyncio.get_running_loop().time() - probe.now())
        calls = _Calls(probe, reports)
        engine = self.engine_class(
            probe.graph,
            {name: calls.generator(name) for name in probe.graph.column_names},
            **_arguments(probe, reports, self.scheduler_class),
        )
        self._engine = engine
        engine.storing = probe.storage
        await engine.run(keep=probe.work.keep)

    def request_stop(self, probe: Probe) -> None:  # noqa: ARG002 - the run that goes on
        """Ask the engine to stop."""
        assert self._engine is not None
        self._engine.request_stop()

    def table(self, probe: Probe) -> Table:
        """The durable table."""
        return read_table(probe)


class LockedCalls(ThreadEngine):
    """Calls generators under its lock; they give it back while they wait (`let_go`)."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def let_go(self, function: Callable[[], None]) -> None:
        """Release the lock while a function takes its time, and count the bound from here."""
        self.begin_bound()
        self.unlocked(function)


class ThreadBackend:
    """`cellspec.engine.threads.ThreadEngine`, in real time with real threads.

    The probe sees a call start, or fail, a little before or after the engine decides the next step,
    and in between another thread may act in a way that would be wrong in the other order. So here
    the engine's lock is held at the first and the last instant of a call, and free while its time
    passes: observations and decisions then have one order.
    """

    name = "cellspec-threads"
    version = version("cellspec")
    capabilities = ReferenceBackend.capabilities - {"counted_work"}
    unasked = ReferenceBackend.unasked
    killer_tries = ReferenceBackend.killer_tries
    reads_foreign = True
    scheduler_class: type[Scheduler] = Scheduler
    engine_class: type[LockedCalls] = LockedCalls
    _engine: LockedCalls | None = None

    def run(self, probe: Probe) -> None:
        """Run one incarnation of the workload."""
        reports = _Reports(probe)
        calls = _ThreadCalls(probe, reports)
        engine = self.engine_class(
            probe.graph,
            {name: calls.generator(name) for name in probe.graph.column_names},
            backoff=Backoff(first_s=0.004),
            **_arguments(probe, reports, self.scheduler_class),
        )
        engine.clock = probe.now
        engine.storing = probe.storage_sync
        probe.pass_time_in(engine.let_go)
        self._engine = engine
        engine.run(keep=probe.work.keep)

    def request_stop(self, probe: Probe) -> None:  # noqa: ARG002 - the run that goes on
        """Ask the engine to stop."""
        assert self._engine is not None
        self._engine.request_stop()

    def table(self, probe: Probe) -> Table:
        """The durable table."""
        return read_table(probe)


def _arguments(probe: Probe, reports: _Reports, scheduler: type[Scheduler]) -> dict[str, Any]:
    """The arguments of either engine for a workload."""
    work = probe.work
    return {
        "folder": probe.folder,
        "limits": work.limits,
        "failures": work.failures,
        "skip_when": {
            item.name: lambda row, _, name=item.name: probe.wants_skip(name, row)
            for item in work.columns
            if item.may_skip
        },
        "timeout_s": probe.timeout_s,
        "foreign": work.foreign,
        "checkpoint_every_rows": work.checkpoint_every_rows,
        "checkpoint_version": work.checkpoint_version,
        "killer_tries": _killer_tries(probe),
        "observer": reports,
        "scheduler_class": scheduler,
    }


def _killer_tries(probe: Probe) -> int | None:
    """How many processes may die with a cell, where so many can."""
    work, tries = probe.work, ReferenceBackend.killer_tries
    promised = "killer_cells" in probe.capabilities
    return tries if promised and (work.killers or work.incarnations > tries) else None


def read_table(probe: Probe) -> Table:
    """Every claimed cell that `cellspec.engine.storage.durable` holds in the folder of a probe."""
    work = probe.work
    # An incarnation that is asked for fewer rows than are there may die before it can refuse.
    graph = work.graph(max(range(work.incarnations), key=work.rows_of))
    found = RunDirectory(RealFileSystem(probe.folder), graph).read()
    if found is None:
        return Table({})
    causes = {row: drop.kind for row, drop in found.dropped.items()}
    return Table(dict(found.rows), frozenset(found.dropped), causes=causes)


class _Reports(Observer):
    """Tells the probe of events beside the calls, and remembers the attempt of each started call.

    Args:
        probe: the probe to report to.
        behind_s: how far the probe's clock is behind the engine's, in seconds.
    """

    def __init__(self, probe: Probe, *, behind_s: float = 0.0) -> None:
        self.probe = probe
        self._behind_s = behind_s
        # A report is a step at which the process may die, so there is none without a need.
        self._slow_storage = bool(probe.work.storage_s or probe.work.storage_faults)
        self.attempts: dict[tuple[str, int], int] = {}

    def began(self) -> None:
        if self.probe.incarnation:
            self.probe.resumed(0)

    def resumed(self, restored: Restored) -> None:
        claim = _claim(restored.checkpoint)
        skipped: dict[str, list[int]] = {}
        for row, values in restored.rows.items():
            for name, value in values.items():
                if value is SKIPPED:
                    skipped.setdefault(name, []).append(row)
        self.probe.resumed(
            claim,
            restored.dropped,
            skipped,
            keep=self.probe.work.keep,
            config=self.probe.graph.config or None,
        )

    def started(self, call: Call) -> None:
        position = call.start if call.scope is None else call.scope
        self.attempts[call.column, position] = call.attempt

    def failed(self, call: Call, failed: Failed) -> None:
        if failed.until_s is not None:
            position = next(iter(call.left)) if call.scope is None else call.scope
            self.probe.cooling(call.column, position, failed.until_s - self._behind_s)

    def abandoned(self, call: Call) -> None:
        position = next(iter(call.left)) if call.scope is None else call.scope
        self.probe.abandon(call.column, position)

    def skipped(self, column: str, row: int) -> None:
        self.probe.skip(column, row)

    def dropped(self, start: int, stop: int, drop: Drop) -> None:
        self.probe.drop(start, stop, drop.column, drop.kind)

    def admitted(self, group: int) -> None:
        self.probe.admit(group)

    def retired(self, group: int) -> None:
        self.probe.retire(group)

    def rows_begin(self, column: str, start: int, stop: int) -> None:
        if self._slow_storage:
            self.probe.write_begin(column, start, stop)

    def rows_durable(self, column: str, start: int, stop: int) -> None:
        self.probe.durable(column, start, stop)

    def drops_begin(self, start: int, stop: int) -> None:
        if self._slow_storage:
            self.probe.write_begin("", start, stop)

    def drops_durable(self, start: int, stop: int) -> None:
        if self._slow_storage:
            self.probe.durable("", start, stop)

    def checkpoint_begin(self, checkpoint: Checkpoint) -> None:
        self.probe.checkpoint_begin(_claim(checkpoint))

    def checkpoint_durable(self, checkpoint: Checkpoint) -> None:  # noqa: ARG002 - as begun
        self.probe.checkpoint_durable()

    def checkpoint_failed(self, checkpoint: Checkpoint, error: Exception) -> None:  # noqa: ARG002
        self.probe.checkpoint_failed()

    def rows_failed(self, error: Exception) -> None:  # noqa: ARG002
        self.probe.checkpoint_failed()

    def storage_step(self, name: str) -> None:
        self.probe.storage_step(name)

    def stopped(self, reason: str) -> None:
        self.probe.stop(reason)

    def ended(self, outcome: Outcome, reason: str) -> None:
        self.probe.end(outcome, reason)


def _claim(checkpoint: Checkpoint) -> dict[str, Any] | int:
    rows: int = checkpoint["completed_rows"]
    by_column: dict[str, Any] | None = checkpoint.get("column_rows")
    return rows if by_column is None else by_column


class _Calls:
    """The probe's calls as coroutine functions."""

    def __init__(self, probe: Probe, reports: _Reports) -> None:
        self._probe = probe
        self._attempts = reports.attempts

    def generator(self, name: str) -> Any:
        """The generator of a column."""
        rule = self._probe.graph.rules.columns[self._probe.graph.rules.index[name]]

        async def cell(row: int, inputs: Row) -> Any:
            return await self._probe.cell(name, row, _made(inputs), self._attempts[name, row])

        async def barrier(rows: Sequence[int], inputs: Sequence[Row]) -> Any:
            scope = rows[0] // rule.scope_rows
            made = list(map(_made, inputs))
            return await self._probe.barrier(name, scope, rows, made, self._attempts[name, scope])

        async def stream(
            rows: Sequence[int], inputs: Sequence[Row]
        ) -> AsyncIterator[tuple[int, Any]]:
            attempt = self._attempts[name, rows[0]]
            made = list(map(_made, inputs))
            async for item in self._probe.range(name, rows[0], rows[-1] + 1, made, attempt):
                yield item

        return barrier if rule.is_barrier else stream if rule.streamable else cell


class _ThreadCalls:
    """The probe's calls as plain functions."""

    def __init__(self, probe: Probe, reports: _Reports) -> None:
        self._probe = probe
        self._attempts = reports.attempts

    def generator(self, name: str) -> Any:
        """The generator of a column."""
        rule = self._probe.graph.rules.columns[self._probe.graph.rules.index[name]]

        def cell(row: int, inputs: Row) -> Any:
            return self._probe.cell_sync(name, row, _made(inputs), self._attempts[name, row])

        def barrier(rows: Sequence[int], inputs: Sequence[Row]) -> Any:
            scope = rows[0] // rule.scope_rows
            made = list(map(_made, inputs))
            return self._probe.barrier_sync(name, scope, rows, made, self._attempts[name, scope])

        def stream(rows: Sequence[int], inputs: Sequence[Row]) -> Iterator[tuple[int, Any]]:
            attempt = self._attempts[name, rows[0]]
            made = list(map(_made, inputs))
            yield from self._probe.range_sync(name, rows[0], rows[-1] + 1, made, attempt)

        return barrier if rule.is_barrier else stream if rule.streamable else cell


def _made(inputs: Row) -> dict[str, str]:
    """The inputs that have a value."""
    return {name: value for name, value in inputs.items() if value is not SKIPPED}
