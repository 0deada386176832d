"""The turns of the suite and an engine in one run of the process."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any, Literal, NoReturn, TypeVar

import msgspec

from cellspec import virtualtime
from cellspec.conformance.run.foreign import is_foreign
from cellspec.conformance.run.probe import AdapterError, Probe, Refused
from cellspec.engines.lines import messages as m
from cellspec.engines.lines.conversation import Conversation
from cellspec.engines.lines.in_flight import Begun, InFlight
from cellspec.engines.lines.workload_lines import run_message
from cellspec.faults import BackPressure, GeneratorError
from cellspec.graph.rowset import ranges_of, rows_of
from cellspec.rejected import REJECTED, Rejected
from cellspec.shapes import Range

__all__ = ["Incarnation"]

T = TypeVar("T")


class Incarnation:
    """One run of the process: the engine's lines go to the probe, and the results back to it."""

    def __init__(self, conversation: Conversation, probe: Probe) -> None:
        self._conversation = conversation
        self._probe = probe
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._calls: list[InFlight] = []
        self._timer: asyncio.TimerHandle | None = None
        # Far more lines than any turn needs: beyond them it has no end.
        self._turn_lines_max = 1_000 + 20 * probe.graph.num_nodes
        self._takes: dict[type[m.Line], Callable[[Any], None]] = {
            m.Start: self._start,
            m.Cancel: self._cancel,
            m.Abandon: self._abandon,
            m.TakeBack: self._take_back,
            m.Cooling: self._backoff,
            m.Skip: self._skip,
            m.Drop: self._drop,
            m.Recall: self._recall,
            m.Lose: lambda line: probe.lost(line.column, *_span(line.rows)),
            m.Admit: lambda line: probe.admit(self._group(line)),
            m.Retire: lambda line: probe.retire(self._group(line)),
            m.Step: self._step,
            m.Storage: self._storage,
            m.WriteBegin: lambda line: probe.write_begin(line.column or "", *_span(line.rows)),
            m.Durable: self._durable,
            m.CheckpointBegin: lambda line: probe.checkpoint_begin(line.claim),
            m.CheckpointDurable: lambda _: probe.checkpoint_durable(),
            m.CheckpointFailed: lambda _: probe.checkpoint_failed(),
            m.CommitBegin: self._commit_begin,
            m.Committed: lambda line: probe.committed(line.commit),
            m.CommitFailed: lambda line: probe.commit_failed(line.commit),
            m.Resume: self._resume,
            m.Pause: lambda line: probe.pause(line.until, line.reason or ""),
            m.Stop: lambda line: probe.stop(line.reason or ""),
        }

    async def run(self) -> None:
        """Run it to its end."""
        self._guarded(self._conversation.ready)
        self._turn(run_message(self._probe))
        await self._over

    def request_stop(self) -> None:
        """Ask the engine to stop: a turn of its own, between two others."""
        self._turn(m.StopRequested(t=self._probe.now()))

    def lose_worker(self) -> None:
        """Have the engine lose a worker: a turn of its own, too."""
        self._turn(m.WorkerLost(t=self._probe.now()))

    # Turns

    def _turn(self, message: m.Line) -> None:
        """Send the engine one message, and act on each line of its answer."""
        if self._over.done():
            return
        try:
            self._guarded(lambda: self._conversation.send(message))
            for _ in range(self._turn_lines_max):
                if not self._take(self._guarded(self._conversation.receive)):
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
        """Talk to the engine; a bad line is refused."""
        try:
            return talk()
        except m.BadLine as error:
            self._refuse(str(error))

    def _take(self, line: m.Line) -> bool:
        """Act on a line; False if it ends the turn."""
        take = self._takes.get(type(line))
        if take is not None:
            try:
                take(line)
            except AdapterError as error:
                self._refuse_line(line, str(error))
            return True
        if isinstance(line, m.Wait):
            self._wait(line)
        elif isinstance(line, m.End):
            self._probe.end(line.outcome, line.reason)
            self._over.set_result(None)
        elif isinstance(line, m.Refuse):
            raise Refused(line.reason)
        else:
            self._refuse_line(line, "not expected here")
        return False

    def _wait(self, line: m.Wait) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if line.until is not None:
            self._timer = self._loop.call_at(line.until, self._wake)
        elif not self._calls:
            now = self._probe.now()
            recent = [f"\n  {text}" for text in self._conversation.recent()]
            raise virtualtime.Deadlock(
                f"the engine waits for nothing at virtual time {now:.12g} s: no call is in flight, "
                f"and it asked for no time to be woken at\nthe last lines:{''.join(recent)}",
                now,
            )

    def _wake(self) -> None:
        self._timer = None
        self._turn(m.Wake(t=self._probe.now()))

    def _refuse_line(self, line: m.Line, why: str) -> NoReturn:
        self._refuse(f"line {self._conversation.line_number}: {m.kind_of(line)}: {why}")

    def _refuse(self, what: str) -> NoReturn:
        """Report that the engine breaks the protocol, which is no matter of a clause."""
        self._probe.note_misuse(what, ("the last lines:", *self._conversation.recent()))
        raise AdapterError(what)

    # Calls

    def _start(self, line: m.Start) -> None:
        call = InFlight(line)
        self._check_rows(((call.start, call.stop), *(line.reads or ())))
        own = ((call.start, call.stop),) if line.reads is None else line.reads
        rows = list(rows_of(own))
        each = _inputs_of_each(line, len(rows))
        if line.scope is not None:
            self._begin(
                call, self._probe.barrier(line.column, line.scope, rows, each, line.attempt)
            )
        elif isinstance(line.rows, int):
            self._begin(call, self._probe.cell(line.column, line.rows, each[0], line.attempt))
        else:
            rows_given = self._probe.range(line.column, call.start, call.stop, each, line.attempt)
            call.begun = Begun(_next(rows_given))
            self._calls.append(call)
            call.task = self._loop.create_task(self._give_rows(call, rows_given))

    def _begin(self, call: InFlight, coroutine: Coroutine[Any, Any, Any]) -> None:
        call.begun = Begun(coroutine)
        self._calls.append(call)
        call.task = self._loop.create_task(self._give_value(call))

    async def _give_value(self, call: InFlight) -> None:
        assert call.begun is not None
        try:
            value = await call.begun
        except Exception as error:
            self._fail(call, error)
            return
        self._calls.remove(call)
        place: dict[str, Any] = call.place | call.lateness
        if call.scope is None:
            given = _answer(call.start, value)
        elif isinstance(value, dict):
            left_out = ranges_of([row for row in call.reads if row not in value])
            given = {"values": tuple(value.values()), "rejected": left_out}
        else:
            given = {"values": tuple(value)}
        self._turn(m.Complete(t=self._probe.now(), column=call.column, **place | given))

    async def _give_rows(
        self, call: InFlight, rows: AsyncIterator[tuple[int, str | Rejected]]
    ) -> None:
        while call.begun is not None:
            try:
                row, value = await call.begun
            except Exception as error:
                self._fail(call, error)
                return
            call.start = row + 1
            try:
                # Before the engine is notified, so that it can cancel what is left.
                call.begun = Begun(_next(rows))
            except StopAsyncIteration:
                call.begun = None
                self._calls.remove(call)
            given = _answer(row, value)
            given |= call.lateness
            self._turn(m.Complete(t=self._probe.now(), column=call.column, rows=row, **given))

    def _fail(self, call: InFlight, error: Exception) -> None:
        """Tell the engine of a failure, in the words of the protocol.

        Exceptions are a matter of a language: a foreign one goes over as the workload reads it.
        """
        if not isinstance(error, GeneratorError) and not is_foreign(error):
            raise error
        own = error.failure if isinstance(error, GeneratorError) else self._probe.work.foreign
        self._calls.remove(call)
        wait_s = error.retry_after_s if isinstance(error, BackPressure) else None
        self._turn(
            m.Fail(
                t=self._probe.now(),
                column=call.column,
                failure=own,
                retry_after=wait_s,
                **call.place,
                **call.lateness,
            )
        )

    def _abandon(self, line: m.Abandon) -> None:
        call = self._call_of(line)
        self._probe.abandon(call.column, call.start if call.scope is None else call.scope)
        call.abandoned = True

    def _take_back(self, line: m.TakeBack) -> None:
        rows = line.rows if line.scope is None else line.scope
        assert rows is not None
        position = rows if isinstance(rows, int) else rows[0]
        self._probe.take_back(line.column, position, line.reason or "")
        self._cancel(line)

    def _cancel(self, line: m.Cancel | m.TakeBack) -> None:
        call = self._call_of(line)
        assert call.begun is not None
        assert call.task is not None
        self._calls.remove(call)
        call.begun.cancel()
        call.task.cancel()

    def _call_of(self, line: m.Cancel | m.Abandon | m.TakeBack) -> InFlight:
        """The call in flight that a line names."""
        for call in self._calls:
            if call.is_that_of(line):
                return call
        raise AdapterError("no such call is in flight")

    def _backoff(self, line: m.Cooling) -> None:
        rows = line.rows if line.scope is None else line.scope
        assert rows is not None
        position = rows if isinstance(rows, int) else rows[0]
        self._probe.cooling(line.column, position, line.until)

    # Reports

    def _skip(self, line: m.Skip) -> None:
        for row in range(*_span(line.rows)):
            self._probe.skip(line.column, row)

    def _recall(self, line: m.Recall) -> None:
        self._check_rows(line.reads or ())
        rows = list(rows_of(line.reads or ()))
        if line.scope is not None:
            each = _inputs_of_each(line, len(rows))
            self._probe.recall_barrier(line.column, line.scope, rows, each, line.values or ())
        elif line.rows is not None and line.value is not None:
            self._probe.recall(line.column, line.rows, _inputs_of_each(line, 1)[0], line.value)

    def _drop(self, line: m.Drop) -> None:
        self._probe.drop(*_span(line.rows), line.column, line.cause or "failed")

    def _durable(self, line: m.Durable) -> None:
        self._probe.durable(line.column or "", *_span(line.rows))

    def _step(self, line: m.Step) -> None:
        self._probe.storage_step(line.name)
        self._conversation.send(m.Go(t=self._probe.now()))

    def _storage(self, line: m.Storage) -> None:
        planned = self._probe.next_write(line.write)
        now = self._probe.now()
        go = m.Go(t=now, until=now + planned.latency_s if planned.latency_s else None)
        if planned.error is not None:
            full = planned.error.errno == errno.ENOSPC
            error: Literal["EIO", "ENOSPC"] = "ENOSPC" if full else "EIO"
            go = msgspec.structs.replace(go, error=error, lands=planned.lands)
        self._conversation.send(go)

    def _commit_begin(self, line: m.CommitBegin) -> None:
        if line.rows is None:
            self._check_claim(line.claim or {})
            self._probe.commit_begin(claim=line.claim, number=line.commit)
        else:
            self._probe.commit_begin(line.column or "", *_span(line.rows), number=line.commit)

    def _check_claim(self, claim: Mapping[str, m.Claimed]) -> None:
        for rows in claim.values():
            self._check_rows(((0, rows),) if isinstance(rows, int) else rows)

    def _resume(self, line: m.Resume) -> None:
        dropped, skipped = line.dropped, line.skipped
        if self._conversation.protocol == 1:
            dropped, skipped = dropped or (), skipped or {}
        self._check_rows(dropped or ())
        for ranges in (skipped or {}).values():
            self._check_rows(ranges)
        marks = None if skipped is None else {name: rows_of(mine) for name, mine in skipped.items()}
        self._probe.resumed(
            line.claim,
            None if dropped is None else rows_of(dropped),
            marks,
            keep=self._probe.work.keep,
            config=line.config,
            keep_config=line.keep_config,
        )

    def _check_rows(self, ranges: Iterable[Range]) -> None:
        """Refuse rows beyond the table before a list of them is made."""
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


def _inputs_of_each(line: m.Start | m.Recall, rows: int) -> list[m.Values]:
    """The inputs of each row that a line is for: none, those of its one cell, or a list."""
    if line.inputs is None or isinstance(line.inputs, dict):
        return [line.inputs or {}] * rows
    return list(line.inputs)


def _answer(row: int, value: str | Rejected) -> dict[str, Any]:
    """The answer of one row, as fields of a line."""
    return {"rejected": ((row, row + 1),)} if value is REJECTED else {"value": value}


async def _next(
    rows: AsyncIterator[tuple[int, str | Rejected]],
) -> tuple[int, str | Rejected]:
    return await anext(rows)
