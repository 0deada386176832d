"""Engines of this process behind the line protocol: a process that speaks all of it.

`LineProbe` has the face of a probe, and writes a line for each call and each report; so a backend
runs here as it does in the suite's own process, on a loop whose clock is the suite's.
``python -m tests.engines.reference_engine`` is the command of the reference engine; a module and a
class, as in ``tests.conformance.second_engine:ColumnFirst``, name another backend.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, FailurePolicy, Limits
from cellspec.conformance import Backend, Probe, Refused, Workload
from cellspec.conformance.run.backend import CAPABILITIES, bypass_bound_of, idle_s_of
from cellspec.conformance.run.values import REJECTED, SKIPPED
from cellspec.engines.lines import messages as m
from cellspec.engines.lines.backend import NOT_BY_LINES
from cellspec.engines.reference import ReferenceBackend
from cellspec.errors import SpecError
from cellspec.faults import BackPressure, Permanent, Retryable
from cellspec.graph.rowset import ranges_of, rows_of
from cellspec.machine.actions import Cause
from cellspec.machine.limits import SavePolicy
from cellspec.shapes import Range
from cellspec.trace.format import SavingPolicy
from cellspec.virtualtime.loop import VirtualTimeLoop

T = ExecutionTraits


class Talk:
    """Lines out, and lines in."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    def say(self, message: m.Line) -> None:
        self.said.append(m.encode(message))

    def listen(self) -> Any:
        sys.stdout.buffer.write(b"".join(self.said))
        sys.stdout.buffer.flush()
        self.said.clear()
        line = sys.stdin.buffer.readline()
        if not line:
            raise SystemExit(0)
        return m.decode(line, m.TO_ENGINE)


class LineLoop(VirtualTimeLoop):
    """A loop that says `wait` when nothing is ready, and takes the time that it is told."""

    def __init__(self, talk: Talk, probe: LineProbe, start_s: float) -> None:
        super().__init__(start_s=start_s)
        self._talk = talk
        self._probe = probe

    def _jump(self) -> None:
        due = [when for when, _, _, timer in self._timers if not timer._cancelled]
        self._talk.say(m.Wait(min(due, default=None)))
        message = self._talk.listen()
        self._now = message.t
        self._idle_iterations = 1
        if not isinstance(message, m.Wake):
            self._probe.receive(message)


class LineProbe:
    """A probe whose calls and reports are lines."""

    def __init__(self, talk: Talk, run: m.Run, capabilities: frozenset[str]) -> None:
        self._talk = talk
        self.capabilities = capabilities
        # Storage may take its time, as the answer to each write says.
        self.work = workload_of(run).replace(storage_s=1.0)
        self._config = run.config or None
        self.timeout_s = self.work.timeout_s
        self.incarnation, self.rows, self.folder = run.incarnation, run.rows, Path(run.folder)
        self.graph: ExecutionGraph = self.work.graph(0)
        self._skips = {(item.name, row) for item in run.columns for row in item.skip_rows}
        self.row_ids = run.row_ids or tuple(range(run.rows))
        self.row_of = row_finder(run)
        self._answers: dict[tuple[str, int], asyncio.Queue[Any]] = {}
        self._late: dict[tuple[str, int], list[asyncio.Queue[Any]]] = {}
        self._taken_back: dict[tuple[str, int], str | None] = {}
        self.storage_reported = False
        self.on_request: Callable[[], None] = lambda: None
        self.on_loss: Callable[[], None] = lambda: None
        self._over = False

    def _say(self, message: m.Line) -> None:
        if not self._over:
            self._talk.say(message)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # Calls

    def receive(self, message: m.Complete | m.Fail | m.StopRequested | m.WorkerLost) -> None:
        """The end of a call, or the next row of a range; a request to stop, or a loss."""
        if isinstance(message, m.StopRequested):
            self.on_request()
            return
        if isinstance(message, m.WorkerLost):
            self.on_loss()
            return
        place = message.rows if message.scope is None else message.scope
        row = place if isinstance(place, int) else place[0] if place is not None else -1
        if message.late:
            self._late[message.column, row].pop(0).put_nowait(message)
        else:
            self._answers[message.column, row].put_nowait(message)

    async def _end(
        self, column: str, position: int, reads: Sequence[int] = (), **place: Any
    ) -> Any:
        mine = self._answers[column, position] = asyncio.Queue()
        try:
            answer = await mine.get()
        except asyncio.CancelledError:
            if (column, position) in self._taken_back:
                reason = self._taken_back.pop((column, position))
                self._say(m.TakeBack(column, **place, reason=reason))
            elif mine not in self._late.get((column, position), ()):
                self._say(m.Cancel(column, **place))
            raise
        if isinstance(answer, m.Complete):
            if answer.values is None:
                return REJECTED if answer.rejected else answer.value
            if answer.rejected:
                left_out = set(rows_of(answer.rejected))
                kept = (row for row in reads if row not in left_out)
                return dict(zip(kept, answer.values, strict=True))
            return list(answer.values)
        if answer.failure == "backpressure":
            raise BackPressure("turned away", retry_after_s=answer.retry_after)
        raise (Retryable if answer.failure == "retryable" else Permanent)("failed")

    async def cell(self, column: str, row: int, inputs: Any, attempt: int | None = None) -> Any:
        self._say(m.Start(column, rows=row, inputs=given(inputs), attempt=attempt))
        return await self._end(column, row, rows=row)

    async def barrier(
        self, column: str, scope: int, rows: Sequence[int], inputs: Any, attempt: int | None = None
    ) -> Any:
        each = tuple(map(given, inputs))
        reads = ranges_of(rows)
        self._say(m.Start(column, scope=scope, reads=reads, inputs=each, attempt=attempt))
        return await self._end(column, scope, rows, scope=scope)

    async def range(
        self, column: str, start: int, stop: int, inputs: Any, attempt: int | None = None
    ) -> AsyncIterator[tuple[int, Any]]:
        each = tuple(map(given, inputs))
        self._say(m.Start(column, rows=(start, stop), inputs=each, attempt=attempt))
        row = start
        try:
            for row in range(start, stop):
                yield row, await self._end(column, row, rows=(row, stop))
        except GeneratorExit:
            if row + 1 < stop:
                self._say(m.Cancel(column, rows=(row + 1, stop)))
            raise

    def take_back(self, column: str, position: int, reason: str = "") -> None:
        self._taken_back[column, position] = reason or None

    def abandon(self, column: str, position: int) -> None:
        key = column, position
        self._late.setdefault(key, []).append(self._answers.pop(key))
        place: dict[str, Any] = self._place(column, position)
        self._say(m.Abandon(column, **place))

    # Reports

    def wants_skip(self, column: str, row: int) -> bool:
        return (column, row) in self._skips

    def cooling(self, column: str, position: int, until_s: float) -> None:
        self._say(m.Cooling(column, until_s, **self._place(column, position)))

    def _place(self, column: str, position: int) -> dict[str, int]:
        rule = self.graph.rules.columns[self.graph.rules.index[column]]
        return {"scope": position} if rule.is_barrier else {"rows": position}

    def pause(self, until_s: float, reason: str = "") -> None:
        self._say(m.Pause(until_s, reason or None))

    def recall(self, column: str, row: int, inputs: Mapping[str, Any], value: str) -> None:
        self._say(m.Recall(column, row, value, given(inputs)))

    def recall_barrier(
        self,
        column: str,
        scope: int,
        rows: Sequence[int],
        inputs: Sequence[Mapping[str, Any]],
        values: Sequence[str],
    ) -> None:
        each, reads = tuple(map(given, inputs)), ranges_of(rows)
        self._say(m.Recall(column, None, None, each, scope, reads, tuple(values)))

    def lost(self, column: str, start: int, stop: int) -> None:
        self._say(m.Lose(column, (start, stop)))

    def skip(self, column: str, row: int) -> None:
        self._say(m.Skip(column, row))

    def drop(self, start: int, stop: int, column: str, cause: Cause = "failed") -> None:
        self._say(m.Drop(column, (start, stop), cause=None if cause == "failed" else cause))

    def admit(self, group: int) -> None:
        self._say(m.Admit(self._group(group)))

    def retire(self, group: int) -> None:
        self._say(m.Retire(self._group(group)))

    def _group(self, group: int) -> Range:
        size = self.work.limits.group_rows
        assert size is not None
        return group * size, min((group + 1) * size, self.rows)

    def write_begin(self, column: str, start: int, stop: int) -> None:
        self._say(m.WriteBegin((start, stop), column or None))

    def durable(self, column: str, start: int, stop: int) -> None:
        self._say(m.Durable((start, stop), column or None))

    def checkpoint_begin(self, claim: Mapping[str, Any] | int) -> None:
        self._say(m.CheckpointBegin(self._claim(claim)))

    def checkpoint_durable(self) -> None:
        self._say(m.CheckpointDurable())

    def checkpoint_failed(self) -> None:
        self._say(m.CheckpointFailed())

    def commit_begin(
        self,
        column: str = "",
        start: int = 0,
        stop: int = 0,
        *,
        claim: Mapping[str, Any] | None = None,
        number: int | None = None,
    ) -> None:
        if claim is None:
            self._say(m.CommitBegin((start, stop), column or None, commit=number))
        else:
            self._say(m.CommitBegin(claim=self._claim(claim), commit=number))

    def committed(self, number: int | None = None) -> None:
        self._say(m.Committed(number))

    def commit_failed(self, number: int | None = None) -> None:
        self._say(m.CommitFailed(number))

    def _claim(self, claim: Mapping[str, Any] | int) -> dict[str, m.Claimed]:
        if isinstance(claim, int):
            return dict.fromkeys(self.graph.column_names, claim)
        return {
            name: rows if isinstance(rows, int) else ranges_of(sorted(all_rows(rows)))
            for name, rows in claim.items()
        }

    def resumed(
        self,
        claim: Mapping[str, Any] | int,
        dropped: Iterable[int] | None = None,
        skipped: Mapping[str, Iterable[int]] | None = None,
        keep: bool = False,  # noqa: ARG002 - the suite knows
        config: Mapping[str, str] | None = None,
        keep_config: bool = False,
    ) -> None:
        # The engine's digests are those of the line's digests, which the suite compares.
        self._say(
            m.Resume(
                self._claim(claim),
                None if dropped is None else ranges_of(sorted(set(dropped))),
                None
                if skipped is None
                else {name: ranges_of(sorted(set(rows))) for name, rows in skipped.items()},
                None if config is None else self._config,
                keep_config,
            )
        )

    @contextlib.asynccontextmanager
    async def storage(self, write: m.StorageWrite) -> AsyncIterator[None]:
        """One write, of which the suite says how it goes."""
        self._say(m.Storage(write))
        go = self._talk.listen()
        assert isinstance(go, m.Go)
        if go.until is not None:
            await asyncio.sleep(go.until - self.now())
        if go.error is not None and not go.lands:
            raise OSError(getattr(errno, go.error), "the write fails")
        yield
        if go.error is not None:
            raise OSError(getattr(errno, go.error), "the write is done, and reports an error")

    def storage_step(self, name: str) -> None:
        self._say(m.Step(name))
        assert isinstance(self._talk.listen(), m.Go)

    def stop(self, reason: str) -> None:
        self._say(m.Stop(reason))

    def end(self, outcome: Any, reason: str | None = None) -> None:
        self._say(m.End(outcome, reason))
        self._over = True


def given(inputs: Mapping[str, Any]) -> m.Values:
    """Inputs as a line gives them."""
    return {name: None if value is SKIPPED else value for name, value in inputs.items()}


def all_rows(rows: Iterable[Any]) -> Iterable[int]:
    """The rows of single rows, or of ranges."""
    for one in rows:
        yield from (one,) if isinstance(one, int) else range(*one)


def row_finder(asked: m.Run | m.Read) -> Callable[[object], int]:
    """`Probe.row_of` for the rows of a line."""
    ids = asked.row_ids or tuple(range(asked.rows))
    known: dict[Any, int] = {(type(one), one): row for row, one in enumerate(ids)}
    return lambda one: known.get((type(one), one), -1)


def workload_of(asked: m.Run | m.Read) -> Workload:
    """The workload of a line, as the reference reads it."""
    columns = []
    for item in asked.columns:
        traits = T.ORDERED if item.ordered else T.NONE
        if item.kind == "barrier":
            traits |= T.BATCH_BARRIER if item.batched else T.BARRIER
        elif item.kind == "range":
            traits |= T.ROW_STREAMABLE
        columns.append(
            ColumnDescriptor(
                item.name,
                traits=traits,
                dependencies=list(item.needs),
                may_skip=item.kind != "barrier",
                propagate_skip=item.passes_skips,
            )
        )
    sizes = [item.scope_rows for item in asked.columns if item.batched]
    common: dict[str, Any] = {"rows": asked.rows, "batch_size": next(iter(sizes), None)}
    if isinstance(asked, m.Run):
        limits, failures = asked.limits, asked.failures
        resource = {item.name: item.resource for item in asked.columns if item.resource}
        common |= {
            "limits": Limits(
                limits.workers, limits.resources, resource, limits.group_rows, limits.groups
            ),
            "failures": FailurePolicy(
                failures.max_attempts,
                failures.stop_window,
                failures.stop_rate,
                failures.timeout_s,
            ),
            "checkpoint_every_rows": asked.checkpoint.every_rows,
            "checkpoint_version": asked.checkpoint.version,
            "keep": asked.keep,
            "versions": asked.config,
        }
    return Workload(tuple(columns), **common)


class Engine:
    """The loop over lines; a test overrides a method to make it wrong."""

    name = "cellspec-by-lines"
    backend_class: type[Any] = ReferenceBackend
    probe_class: type[LineProbe] = LineProbe

    def hello(self) -> m.Hello:
        mine = self.backend_class.capabilities.difference(NOT_BY_LINES)
        if issubclass(self.backend_class, ReferenceBackend):
            # It counts deaths where a workload has several, which no line foretells.
            mine -= {"killer_cells"}
        able = tuple(name for name in CAPABILITIES if name in mine)
        backend: Backend = self.backend_class()
        own: SavePolicy | None = getattr(backend, "saving", None)
        return m.Hello(
            m.PROTOCOL_VERSION,
            self.name,
            "1",
            able,
            idle_s=idle_s_of(backend),
            bypass_bound=bypass_bound_of(backend),
            killer_tries=getattr(backend, "killer_tries", None),
            saving=None if own is None else SavingPolicy(own.rows, own.group, own.seconds),
            unasked=tuple(map(str, getattr(backend, "unasked", ()))),
        )

    def run(self, talk: Talk, asked: m.Run) -> None:
        """One run of the process."""
        backend = self.backend_class()
        probe = self.probe_class(talk, asked, frozenset(backend.capabilities))
        loop = LineLoop(talk, probe, asked.t)
        probe.on_request = lambda: backend.request_stop(cast(Probe, probe))
        probe.on_loss = lambda: backend.lose_worker(cast(Probe, probe))
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(backend.run(cast(Probe, probe)))
        except (Refused, SpecError) as error:
            talk.say(m.Refuse(str(error)))
        finally:
            with contextlib.suppress(RuntimeError):
                loop.close()

    def read(self, asked: m.Read) -> m.Table:
        """The table in a folder."""

        class Place:
            work = workload_of(asked)
            graph = work.graph(0)
            rows = asked.rows
            folder = Path(asked.folder)
            row_of = staticmethod(row_finder(asked))

        table = self.backend_class().table(cast(Probe, Place))
        rows = (
            m.Row(row, {name: None if cell is SKIPPED else cell for name, cell in cells.items()})
            for row, cells in sorted(table.rows.items())
        )
        return m.Table(tuple(rows), tuple(sorted(table.dropped)))

    def serve(self) -> None:
        """Answer lines until there are none."""
        talk = Talk()
        talk.say(self.hello())
        while True:
            asked = talk.listen()
            if isinstance(asked, m.Read):
                talk.say(self.read(asked))
            else:
                self.run(talk, asked)


def main(arguments: Sequence[str]) -> None:
    """Serve the reference engine, or the backend that is named."""
    engine = Engine()
    for name in arguments:
        module, _, attribute = name.partition(":")
        engine.backend_class = getattr(importlib.import_module(module), attribute)
        engine.name = engine.backend_class.name
    engine.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
