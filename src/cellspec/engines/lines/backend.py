"""`LineBackend`: an engine in any language under the suite, in virtual time.

The engine is a process that reads and writes lines (`cellspec.engines.lines.messages`). It takes
*turns* with the suite. It is told one thing: a workload, the value of a call, a failure, that a
time has come. Then it writes whatever it does about it, a line each, and says ``wait``. As nobody
else does anything in between, no time passes in a turn; when it waits, the clock of the suite moves
to the next end of a call, or to the time that the engine asked to be woken at. So an engine that
takes a millisecond, or a second, to think is judged alike, and two runs are equal to the byte.

A ``start`` line is the call of a generator: here it becomes a call of the probe, which records it,
lets its time pass, and gives what the engine is told. Each end of a call is recorded at the moment
at which the engine is told, so it is never judged by what it cannot know.

When the probe says that the process dies, the process dies: it is killed with its whole group, and
the next life is a process of its own. What it had in its folder at that step is kept, and so an
engine asks (``step``) before it changes anything there.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cellspec import virtualtime
from cellspec.conformance.run.probe import AdapterError, Probe, Refused
from cellspec.conformance.run.values import SKIPPED, Table, Value
from cellspec.engines.lines import messages as m
from cellspec.engines.lines.process import EngineProcess, EngineSilent, Watch
from cellspec.errors import SpecError
from cellspec.faults import BackPressure, GeneratorError
from cellspec.graph.rowset import rows_of
from cellspec.shapes import Range

__all__ = ["COMMAND_VARIABLE", "SILENCE_S", "LineBackend"]

COMMAND_VARIABLE = "CELLSPEC_ENGINE"
"""The environment variable that holds the command of an engine, as a shell would read it."""

SILENCE_S = 10.0
"""Real seconds without a line after which an engine that should write one is given up."""

_SILENCE_LEAST_S = 0.5
_SLOWEST_TIMES = 20


T = TypeVar("T")


class LineBackend:
    """An engine that speaks the line protocol.

    Its process is started when the backend is made, because it says there what it is called and
    what it claims; it serves one life after the other, and is started again after a crash.

    Args:
        command: the program and its arguments; by default what ``CELLSPEC_ENGINE`` holds.
        folder: the working directory of the process; None for that of this process.
        silence_s: real seconds without a line after which it is given up.
        watch: is told each line that passes.

    Raises:
        SpecError: no command, one that cannot be started, or one that does not begin with `hello`.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        folder: Path | None = None,
        silence_s: float = SILENCE_S,
        watch: Watch | None = None,
    ) -> None:
        self.command = tuple(_command_of_environment() if command is None else command)
        if not self.command:
            raise SpecError("engine command: expected a program and its arguments, got nothing")
        self._folder = folder
        self._silence_s = silence_s
        self._slowest_s = 0.0
        self._was_silent = False
        self._watch = watch
        self._process: EngineProcess | None = None
        self._last_stop: Callable[[], object] = lambda: None
        try:
            hello = self._begin()
        except (m.BadLine, RuntimeError, TimeoutError) as error:
            self.close()
            what = str(error).partition("\n")[0]
            raise SpecError(f"engine command {shlex.join(self.command)}: {what}") from None
        if "counted_work" in hello.capabilities:
            self.close()
            raise SpecError(
                f"engine command {shlex.join(self.command)}: hello: capabilities: 'counted_work' "
                "cannot be claimed: the work of another process cannot be counted from here"
            )
        self.name = hello.name
        self.version = hello.version
        self.capabilities = frozenset(hello.capabilities)

    # The process

    def _begin(self) -> m.Hello:
        """Start the process, and hear who it is."""
        self._process = EngineProcess(self.command, self._folder, self._watch)
        # At the end of the program, or of the backend, nothing is left running.
        self._last_stop = weakref.finalize(self, self._process.stop)
        hello = self._decoded(self._process.hear(self._silence_s))
        if not isinstance(hello, m.Hello):
            raise m.BadLine(f"line 1: expected hello, got {m.kind_of(hello)}")
        if hello.protocol not in m.VERSIONS_READ:
            spoken = ", ".join(map(str, m.VERSIONS_READ))
            raise m.BadLine(f"line 1: hello: protocol: expected {spoken}, got {hello.protocol}")
        return hello

    def _ready(self) -> None:
        """See that there is a process to talk to."""
        if self._process is None:
            self._begin()

    def close(self) -> None:
        """Kill the process, if there is one; the next life starts another."""
        self._process = None
        self._last_stop()

    def tell(self, message: m.Line) -> None:
        """Write a line to the engine."""
        assert self._process is not None
        self._process.tell(m.encode(message), self._limit_s())

    def hear(self) -> Any:
        """The next line of the engine.

        Raises:
            BadLine: it is no message; the text begins with its number.
            EngineDied, EngineSilent: there is none.
        """
        assert self._process is not None
        began_s = time.monotonic()
        try:
            line = self._process.hear(self._limit_s())
        except EngineSilent:
            self._was_silent = True
            raise
        self._slowest_s = max(self._slowest_s, time.monotonic() - began_s)
        return self._decoded(line)

    def _decoded(self, line: bytes) -> Any:
        try:
            return m.decode(line)
        except m.BadLine as error:
            raise m.BadLine(f"line {self.line_number}: {error}") from None

    def _limit_s(self) -> float:
        """How long to wait for a line. An engine that was silent once is not given as long again:
        the search for a smaller workload would wait for hours."""
        if not self._was_silent:
            return self._silence_s
        return min(self._silence_s, max(_SILENCE_LEAST_S, _SLOWEST_TIMES * self._slowest_s))

    @property
    def line_number(self) -> int:
        """The number of the line that was heard last, in this process."""
        return 0 if self._process is None else self._process.heard

    def recent(self) -> list[str]:
        """The last lines of both sides."""
        return [] if self._process is None else self._process.recent()

    # The backend

    async def run(self, probe: Probe) -> None:
        """Run one life of the workload."""
        over = False
        try:
            await _Incarnation(self, probe).run(self._ready)
            over = True
        except Refused:
            over = True
            raise
        finally:
            if not over:
                self.close()

    def table(self, probe: Probe) -> Table:
        """Ask what a folder holds."""
        try:
            self._ready()
            self.tell(m.read_message(probe))
            answer = self.hear()
            if not isinstance(answer, m.Table):
                raise m.BadLine(
                    f"line {self.line_number}: expected table, the answer to read, "
                    f"got {m.kind_of(answer)}"
                )
        except BaseException:
            self.close()
            raise
        return Table.from_records(
            ((row.row, _values(row.values)) for row in answer.rows), answer.dropped
        )


def _command_of_environment() -> list[str]:
    text = os.environ.get(COMMAND_VARIABLE, "")
    if not text.strip():
        raise SpecError(
            f"{COMMAND_VARIABLE}: expected the command that starts your engine, "
            "such as 'node examples/node/engine.mjs'"
        )
    try:
        return shlex.split(text)
    except ValueError as error:
        raise SpecError(f"{COMMAND_VARIABLE}: cannot be read: {error}") from None


def _values(values: m.Values) -> dict[str, Value]:
    return {name: SKIPPED if value is None else value for name, value in values.items()}


class _Begun:
    """A coroutine that has run up to its first wait already; await it to go on from there.

    A call has started when the engine says so, and not when a task gets to it.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._waits_for = coroutine.send(None)
        self.cancelled = False

    def cancel(self) -> None:
        """Let the coroutine see its cancellation now."""
        self.cancelled = True
        try:
            self._coroutine.throw(asyncio.CancelledError())
        except (asyncio.CancelledError, StopIteration):
            return

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for = self._waits_for
        try:
            while True:
                try:
                    told = yield waits_for
                except BaseException as error:
                    if self.cancelled:
                        raise
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(told)
        except StopIteration as done:
            return done.value


class _InFlight:
    """A call in flight: a barrier node, or rows [start, stop) of which a range gives the first."""

    def __init__(self, start: m.Start) -> None:
        self.column = start.column
        self.scope = start.scope
        rows = 0 if start.rows is None else start.rows
        self.start, self.stop = (rows, rows + 1) if isinstance(rows, int) else rows
        self.begun: _Begun | None = None
        self.task: asyncio.Task[None] | None = None

    def is_that_of(self, line: m.Cancel) -> bool:
        """Whether a line that names a call names this one."""
        if line.column != self.column or line.scope != self.scope:
            return False
        rows = line.rows
        first = self.start if rows is None else rows if isinstance(rows, int) else rows[0]
        return self.start <= first < self.stop

    @property
    def place(self) -> dict[str, Any]:
        """How a line names it."""
        if self.scope is not None:
            return {"scope": self.scope}
        one = self.stop == self.start + 1
        return {"rows": self.start if one else (self.start, self.stop)}


class _Incarnation:
    """One life of a workload: what the engine says goes to the probe, what comes of it back."""

    def __init__(self, backend: LineBackend, probe: Probe) -> None:
        self._backend = backend
        self._probe = probe
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._calls: list[_InFlight] = []
        self._timer: asyncio.TimerHandle | None = None
        # Far more than there is to say: beyond them a turn has no end.
        self._turn_lines_max = 1_000 + 20 * probe.graph.num_nodes
        self._takes: dict[type[m.Line], Callable[[Any], None]] = {
            m.Start: self._start,
            m.Cancel: self._cancel,
            m.Cooling: self._cooling,
            m.Skip: self._skip,
            m.Drop: self._drop,
            m.Admit: lambda line: probe.admit(self._group(line)),
            m.Retire: lambda line: probe.retire(self._group(line)),
            m.Step: self._step,
            m.Durable: self._durable,
            m.CheckpointBegin: lambda line: probe.checkpoint_begin(line.claim),
            m.CheckpointDurable: lambda _: probe.checkpoint_durable(),
            m.CheckpointFailed: lambda _: probe.checkpoint_failed(),
            m.Resume: self._resume,
            m.Stop: lambda line: probe.stop(line.reason or ""),
        }

    async def run(self, ready: Callable[[], None]) -> None:
        """Run it to its end."""
        self._guarded(ready)
        self._turn(m.run_message(self._probe))
        await self._over

    # Turns

    def _turn(self, message: m.Line) -> None:
        """Tell the engine one thing, and do all that it does about it."""
        if self._over.done():
            return
        try:
            self._guarded(lambda: self._backend.tell(message))
            for _ in range(self._turn_lines_max):
                if not self._take(self._guarded(self._backend.hear)):
                    return
            raise virtualtime.Livelock(
                f"the engine wrote {self._turn_lines_max:,} lines in one turn, and no wait",
                self._probe.now(),
            )
        except Exception as error:
            # A turn may come from a timer or a task, and the error must come out of `run`.
            if not self._over.done():
                self._over.set_exception(error)

    def _guarded(self, talk: Callable[[], T]) -> T:
        """What the engine says, or one line on why that cannot be used."""
        try:
            return talk()
        except m.BadLine as error:
            self._refuse(str(error))

    def _take(self, line: m.Line) -> bool:
        """Do what a line says; False if it ends the turn."""
        take = self._takes.get(type(line))
        if take is not None:
            try:
                take(line)
            except AdapterError as error:
                self._refuse(f"line {self._backend.line_number}: {m.kind_of(line)}: {error}")
            return True
        if isinstance(line, m.Wait):
            self._wait(line)
        elif isinstance(line, m.End):
            self._probe.end(line.outcome, line.reason)
            self._over.set_result(None)
        elif isinstance(line, m.Refuse):
            raise Refused(line.reason)
        else:
            self._refuse(f"line {self._backend.line_number}: {m.kind_of(line)}: not expected here")
        return False

    def _wait(self, line: m.Wait) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if line.until is not None:
            self._timer = self._loop.call_at(line.until, self._wake)
        elif not self._calls:
            now = self._probe.now()
            recent = [f"\n  {text}" for text in self._backend.recent()]
            raise virtualtime.Deadlock(
                f"the engine waits for nothing at virtual time {now:.12g} s: no call is in flight, "
                f"and it asked for no time to be woken at\nthe last lines:{''.join(recent)}",
                now,
            )

    def _wake(self) -> None:
        self._timer = None
        self._turn(m.Wake(t=self._probe.now()))

    def _refuse(self, what: str) -> NoReturn:
        """The engine's side of the talk is wrong: that is no matter of a clause."""
        self._probe.note_misuse(what, ("the last lines:", *self._backend.recent()))
        raise AdapterError(what)

    # Calls

    def _start(self, line: m.Start) -> None:
        call = _InFlight(line)
        inputs = line.inputs
        self._check_rows(((call.start, call.stop), *(line.reads or ())))
        if inputs is None or isinstance(inputs, dict):
            each = [inputs or {}] * (call.stop - call.start)
        else:
            each = list(inputs)
        if line.scope is not None:
            rows = list(rows_of(line.reads or ()))
            given = [{}] * len(rows) if inputs is None else each
            self._begin(
                call, self._probe.barrier(line.column, line.scope, rows, given, line.attempt)
            )
        elif isinstance(line.rows, int):
            self._begin(call, self._probe.cell(line.column, line.rows, each[0], line.attempt))
        else:
            rows_given = self._probe.range(line.column, call.start, call.stop, each, line.attempt)
            call.begun = _Begun(_next(rows_given))
            self._calls.append(call)
            call.task = self._loop.create_task(self._give_rows(call, rows_given))

    def _begin(self, call: _InFlight, coroutine: Coroutine[Any, Any, Any]) -> None:
        call.begun = _Begun(coroutine)
        self._calls.append(call)
        call.task = self._loop.create_task(self._give_value(call))

    async def _give_value(self, call: _InFlight) -> None:
        assert call.begun is not None
        try:
            value = await call.begun
        except GeneratorError as error:
            self._fail(call, error)
            return
        self._calls.remove(call)
        given = {"value": value} if call.scope is None else {"values": tuple(value)}
        self._turn(m.Complete(t=self._probe.now(), column=call.column, **call.place | given))

    async def _give_rows(self, call: _InFlight, rows: AsyncIterator[tuple[int, str]]) -> None:
        while call.begun is not None:
            try:
                row, value = await call.begun
            except GeneratorError as error:
                self._fail(call, error)
                return
            call.start = row + 1
            try:
                # Before the engine is told, so that it can cancel what is left.
                call.begun = _Begun(_next(rows))
            except StopAsyncIteration:
                call.begun = None
                self._calls.remove(call)
            self._turn(m.Complete(t=self._probe.now(), column=call.column, rows=row, value=value))

    def _fail(self, call: _InFlight, error: GeneratorError) -> None:
        self._calls.remove(call)
        wait_s = error.retry_after_s if isinstance(error, BackPressure) else None
        self._turn(
            m.Fail(
                t=self._probe.now(),
                column=call.column,
                failure=error.failure,
                retry_after=wait_s,
                **call.place,
            )
        )

    def _cancel(self, line: m.Cancel) -> None:
        for call in self._calls:
            if call.is_that_of(line):
                assert call.begun is not None
                assert call.task is not None
                self._calls.remove(call)
                call.begun.cancel()
                call.task.cancel()
                return
        raise AdapterError("no such call is in flight")

    def _cooling(self, line: m.Cooling) -> None:
        rows = line.rows if line.scope is None else line.scope
        assert rows is not None
        position = rows if isinstance(rows, int) else rows[0]
        self._probe.cooling(line.column, position, line.until)

    # Reports

    def _skip(self, line: m.Skip) -> None:
        for row in range(*_span(line.rows)):
            self._probe.skip(line.column, row)

    def _drop(self, line: m.Drop) -> None:
        self._probe.drop(*_span(line.rows), line.column)

    def _durable(self, line: m.Durable) -> None:
        self._probe.durable(line.column or "", *_span(line.rows))

    def _step(self, line: m.Step) -> None:
        self._probe.storage_step(line.name)
        self._backend.tell(m.Go(t=self._probe.now()))

    def _resume(self, line: m.Resume) -> None:
        self._check_rows(line.dropped)
        for ranges in line.skipped.values():
            self._check_rows(ranges)
        self._probe.resumed(
            line.claim,
            rows_of(line.dropped),
            {name: rows_of(ranges) for name, ranges in line.skipped.items()},
            keep=self._probe.work.keep,
        )

    def _check_rows(self, ranges: Iterable[Range]) -> None:
        """Refuse rows that are not there before anybody makes a list of them."""
        for start, stop in ranges:
            if stop > self._probe.rows:
                what = f"rows [{start}, {stop})" if stop > start + 1 else f"row {start}"
                raise AdapterError(f"{what}: there are {self._probe.rows} rows")

    def _group(self, line: m.Admit | m.Retire) -> int:
        """The number of the row group whose rows a line names."""
        size = self._probe.work.limits.group_rows
        start, stop = _span(line.rows)
        if size is not None:
            first = start - start % size
            last = min(first + size, self._probe.rows)
            if (start, stop) != (first, last):
                raise AdapterError(f"rows: expected a row group, such as [{first}, {last}]")
        return start // (size or 1)


def _span(rows: m.Rows) -> tuple[int, int]:
    return (rows, rows + 1) if isinstance(rows, int) else rows


async def _next(rows: AsyncIterator[tuple[int, str]]) -> tuple[int, str]:
    return await anext(rows)
