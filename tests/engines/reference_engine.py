"""The reference engine behind the line protocol: a process that speaks all of it.

`LineProbe` has the face of a probe, and writes a line for each call and each report; so the
backend of the reference runs here as it does in the suite's own process, on a loop whose clock is
the suite's. ``python -m tests.engines.reference_engine`` is the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, FailurePolicy, Limits
from cellspec.conformance import Probe, Refused, Workload
from cellspec.conformance.run.backend import CAPABILITIES
from cellspec.conformance.run.values import REJECTED, SKIPPED
from cellspec.engines.lines import messages as m
from cellspec.engines.lines.backend import NOT_BY_LINES
from cellspec.engines.reference import ReferenceBackend
from cellspec.errors import SpecError
from cellspec.faults import BackPressure, Permanent, Retryable
from cellspec.graph.rowset import ranges_of, rows_of
from cellspec.machine.actions import Cause
from cellspec.shapes import Range
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

    def __init__(self, talk: Talk, run: m.Run) -> None:
        self._talk = talk
        self.work = workload_of(run)
        self._config = run.config or None
        self.timeout_s = self.work.timeout_s
        self.incarnation, self.rows, self.folder = run.incarnation, run.rows, Path(run.folder)
        self.graph: ExecutionGraph = self.work.graph(0)
        self._skips = {(item.name, row) for item in run.columns for row in item.skip_rows}
        self._answers: dict[tuple[str, int], asyncio.Queue[Any]] = {}
        self.storage_reported = False
        self.on_request: Callable[[], None] = lambda: None
        self._over = False

    def _say(self, message: m.Line) -> None:
        if not self._over:
            self._talk.say(message)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # Calls

    def receive(self, message: m.Complete | m.Fail | m.StopRequested) -> None:
        """The end of a call, or the next row of a range; or a request to stop."""
        if isinstance(message, m.StopRequested):
            self.on_request()
            return
        place = message.rows if message.scope is None else message.scope
        row = place if isinstance(place, int) else place[0] if place is not None else -1
        self._answers[message.column, row].put_nowait(message)

    async def _end(
        self, column: str, position: int, reads: Sequence[int] = (), **place: Any
    ) -> Any:
        mine = self._answers[column, position] = asyncio.Queue()
        try:
            answer = await mine.get()
        except asyncio.CancelledError:
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

    async def cell(self, column: str, row: int, inputs: Any, attempt: int) -> Any:
        self._say(m.Start(column, rows=row, inputs=dict(inputs), attempt=attempt))
        return await self._end(column, row, rows=row)

    async def barrier(
        self, column: str, scope: int, rows: Sequence[int], inputs: Any, attempt: int
    ) -> Any:
        given = tuple(map(dict, inputs))
        reads = ranges_of(rows)
        self._say(m.Start(column, scope=scope, reads=reads, inputs=given, attempt=attempt))
        return await self._end(column, scope, rows, scope=scope)

    async def range(
        self, column: str, start: int, stop: int, inputs: Any, attempt: int
    ) -> AsyncIterator[tuple[int, Any]]:
        given = tuple(map(dict, inputs))
        self._say(m.Start(column, rows=(start, stop), inputs=given, attempt=attempt))
        row = start
        try:
            for row in range(start, stop):
                yield row, await self._end(column, row, rows=(row, stop))
        except GeneratorExit:
            if row + 1 < stop:
                self._say(m.Cancel(column, rows=(row + 1, stop)))
            raise

    # Reports

    def wants_skip(self, column: str, row: int) -> bool:
        return (column, row) in self._skips

    def cooling(self, column: str, position: int, until_s: float) -> None:
        rule = self.graph.rules.columns[self.graph.rules.index[column]]
        place = {"scope": position} if rule.is_barrier else {"rows": position}
        self._say(m.Cooling(column, until_s, **place))

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

    def durable(self, column: str, start: int, stop: int) -> None:
        self._say(m.Durable((start, stop), column or None))

    def checkpoint_begin(self, claim: Mapping[str, int] | int) -> None:
        self._say(m.CheckpointBegin(self._claim(claim)))

    def checkpoint_durable(self) -> None:
        self._say(m.CheckpointDurable())

    def checkpoint_failed(self) -> None:
        self._say(m.CheckpointFailed())

    def _claim(self, claim: Mapping[str, int] | int) -> dict[str, int]:
        if isinstance(claim, int):
            return dict.fromkeys(self.graph.column_names, claim)
        return dict(claim)

    def resumed(
        self,
        claim: Mapping[str, int] | int,
        dropped: Iterable[int] = (),
        skipped: Mapping[str, Iterable[int]] | None = None,
        keep: bool = False,  # noqa: ARG002 - the suite knows
        config: Mapping[str, str] | None = None,  # noqa: ARG002 - digests of the line's digests
    ) -> None:
        marks = {name: ranges_of(sorted(rows)) for name, rows in (skipped or {}).items()}
        self._say(m.Resume(self._claim(claim), ranges_of(sorted(dropped)), marks, self._config))

    @contextlib.asynccontextmanager
    async def storage(self, write: str) -> AsyncIterator[None]:  # noqa: ARG002 - never fails here
        """Storage that takes no time: slow or failing storage is no matter of the protocol."""
        yield

    def storage_step(self, name: str) -> None:
        self._say(m.Step(name))
        assert isinstance(self._talk.listen(), m.Go)

    def stop(self, reason: str) -> None:
        self._say(m.Stop(reason))

    def end(self, outcome: Any, reason: str | None = None) -> None:
        self._say(m.End(outcome, reason))
        self._over = True


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
    backend_class: type[ReferenceBackend] = ReferenceBackend
    probe_class: type[LineProbe] = LineProbe

    def hello(self) -> m.Hello:
        mine = self.backend_class.capabilities.difference(NOT_BY_LINES)
        able = tuple(name for name in CAPABILITIES if name in mine)
        return m.Hello(m.PROTOCOL_VERSION, self.name, "1", able)

    def run(self, talk: Talk, asked: m.Run) -> None:
        """One run of the process."""
        probe = self.probe_class(talk, asked)
        loop = LineLoop(talk, probe, asked.t)
        backend = self.backend_class()
        probe.on_request = lambda: backend.request_stop(cast(Probe, probe))
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
            folder = Path(asked.folder)

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


if __name__ == "__main__":
    Engine().serve()
