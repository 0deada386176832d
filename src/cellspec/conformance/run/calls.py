"""The calls of the generators: when each starts, how long it takes, and how it ends.

The workload decides how a call goes: the n-th call of a cell or barrier in an incarnation takes the
time and meets the fault that the workload gives it. Each start, end, failure and cancellation is
recorded as it happens, and the registry keeps every call that gave a value.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn, TypeAlias

from cellspec.conformance.run.arguments import Arguments, Inputs
from cellspec.conformance.run.clock import Clock
from cellspec.conformance.run.foreign import FOREIGN
from cellspec.conformance.run.handed_inputs import HandedInputs
from cellspec.conformance.run.recorder import Entry, Recorder
from cellspec.conformance.run.remade import Remade
from cellspec.conformance.run.values import (
    REJECTED,
    Registry,
    Rejected,
    barrier_values,
    value_of,
)
from cellspec.conformance.run.workload import HANG_BOUNDS, TICK_S, Fault, Workload
from cellspec.faults import BackPressure, GeneratorError, Permanent, Retryable
from cellspec.graph.rowset import ranges_of
from cellspec.machine.machine import Failure
from cellspec.machine.policy import is_final, spends_attempt
from cellspec.state.claims import Rows, covers
from cellspec.text import counted

__all__ = ["Call", "Calls", "IsLost", "Lost"]

_LOOK_S = 0.01
"""Seconds of the clock between two checks that the caller of a threaded call is alive."""

IsLost: TypeAlias = Callable[[], bool]
"""True once the caller of a threaded call has died."""


class Lost(Exception):  # noqa: N818 - what became of the caller
    """A threaded call ends here because its caller died, and there is none left to answer."""


@dataclass(slots=True, eq=False)
class Call:
    """A call in flight.

    Attributes:
        column: the column.
        start: the row, the first row that a range has still to give, or the barrier's scope.
        stop: the row or scope after the last.
        latency_s: seconds of the clock that the call takes; of a range, that its next row takes.
        fault: the fault that it meets, if any.
        scoped: it is the call of a barrier.
        reads: the rows that a barrier reads.
        attempt: the number of its attempt, from 1.
        began_s: the time of its start.
        taken_back: why the engine is about to cancel it, and to make it again; None if it is not.
        abandoned: the engine gave it up although it cannot end it: its end is nobody's.
    """

    column: str
    start: int
    stop: int
    latency_s: float
    fault: Fault | None
    scoped: bool
    reads: Sequence[int] = ()
    attempt: int = 1
    began_s: float = 0.0
    taken_back: str | None = None
    abandoned: bool = False


class Calls:
    """The calls of one incarnation.

    Args:
        work: the workload.
        incarnation: the number of the incarnation, from 0.
        clock: the time of the incarnation.
        arguments: checks what the calls are given.
        recorder: records the events.
        registry: keeps every call that gave a value.
        limit: calls after which the run is stopped, because it will never end.

    Attributes:
        count: the calls so far.
        lost_as: how a call fails whose caller died.
        let_go: lets the time of a threaded call pass; see `Probe.pass_time_in`.
        bound_s: seconds of the clock after which a cancelled call counts as timed out, or None.
        dropped: rows that are dropped.
        claimed: by column, the rows that storage gave back as resolved.
        remade: the nodes that may be lost and made again.
    """

    def __init__(
        self,
        work: Workload,
        incarnation: int,
        clock: Clock,
        arguments: Arguments,
        recorder: Recorder,
        registry: Registry,
        limit: int,
    ) -> None:
        self.count = 0
        self.lost_as: Failure = "backpressure"
        self.let_go: Callable[[Callable[[], None]], None] = lambda wait: wait()
        self.bound_s: float | None = None
        self.dropped: set[int] = set()
        self.claimed: dict[str, Rows] = {}
        self.remade = Remade()
        self._work = work
        self._incarnation = incarnation
        self._clock = clock
        self._arguments = arguments
        self._recorder = recorder
        self._registry = registry
        self._handed = HandedInputs(arguments, registry, recorder.refuse, incarnation)
        self._limit = limit
        self._calls_of: dict[tuple[str, int], int] = {}
        self._spent: dict[tuple[str, int], int] = {}
        self._in_flight: dict[Call, None] = {}
        self._undecided: dict[tuple[str, int], Entry] = {}
        self._last_fail: dict[tuple[str, int], tuple[Entry, float | None]] = {}
        recorder.before_crash = self._note_backoffs

    # Starts

    def start_cell(self, column: str, row: int, attempt: int | None) -> Call:
        """Start the call of one cell."""
        self._arguments.check_row(column, row)
        rule = self._arguments.rule(column)
        if rule.is_barrier:
            self._recorder.refuse(f"cell: column {column!r} is a barrier; call barrier")
        with self._recorder.lock:
            self._recorder.check_alive()
            call = self._new(column, row, row + 1, False)
            self._record_start(call, attempt, rows=row)
        return call

    def start_barrier(
        self,
        column: str,
        scope: int,
        rows: Sequence[int],
        inputs: Sequence[Inputs],
        attempt: int | None,
    ) -> Call:
        """Start the call of a barrier's scope."""
        self._arguments.check_barrier("barrier", column, scope, rows, inputs)
        with self._recorder.lock:
            self._recorder.check_alive()
            call = self._new(column, scope, scope + 1, True)
            call.reads = rows
            self._record_start(call, attempt, scope=scope, reads=ranges_of(rows))
        return call

    def start_range(
        self,
        column: str,
        start: int,
        stop: int,
        inputs: Sequence[Inputs],
        attempt: int | None,
    ) -> Call:
        """Start the call of a range of rows; `reach` then brings it to each of them."""
        self._arguments.check_column(column)
        rows = self._arguments.rows(start, stop)
        if not self._arguments.rule(column).streamable:
            self._recorder.refuse(f"range: column {column!r} is not row-streamable; call cell")
        if stop - start != len(inputs):
            self._recorder.refuse(
                f"range: {column!r}: {counted(stop - start, 'row')}, "
                f"{counted(len(inputs), 'input')}"
            )
        with self._recorder.lock:
            self._recorder.check_alive()
            if stop > start + 1:
                self._registry.ranged[column] = None
            call = Call(column, start, stop, 0.0, None, False)
            self._record_start(call, attempt, rows=rows)
        return call

    def reach(self, call: Call, row: int) -> None:
        """Bring the call of a range to its next row."""
        with self._recorder.lock:
            self._recorder.check_alive()
            at = self._new(call.column, row, row + 1, False)
            call.latency_s, call.fault = at.latency_s, at.fault

    def _new(self, column: str, start: int, stop: int, scoped: bool) -> Call:
        """The next call of a cell or a barrier; its number decides how it goes."""
        nth = self._calls_of.get((column, start), 0) + 1
        self._calls_of[column, start] = nth
        again = self.remade.is_again(column, start)
        end_s = self._work.end_s(self._incarnation, column, start, nth)
        if end_s is None:
            latency_s = self._work.latency(column, start, nth)
            if again and self._work.timeout_s is not None:
                # A node that is made again meets no fault: so it does not time out either.
                latency_s = min(latency_s, _tick_before(self._work.timeout_s))
            latency_s *= self._clock.scale
        else:
            latency_s = max(0.0, end_s * self._clock.scale - self._clock.now())
        fault = None if again else self._work.fault(column, start, nth)
        if fault is not None and fault.failure == "timeout":
            # It does not fail by itself: the engine has to end it.
            assert self._work.timeout_s is not None
            latency_s += HANG_BOUNDS * self._work.timeout_s * self._clock.scale
            fault = None
        return Call(column, start, stop, latency_s, fault, scoped)

    def _record_start(self, call: Call, attempt: int | None, **fields: Any) -> None:
        self.count += 1
        if self.count > self._limit:
            self._recorder.stop_endless(counted(self._limit, "call"))
        if attempt is None:
            attempt = self._spent.get((call.column, call.start), 0) + 1
        call.attempt = attempt
        call.began_s = self._clock.now()
        for position in range(call.start, call.stop):
            self._end_backoff(call.column, position)
            self._undecided.pop((call.column, position), None)
        self._recorder.record("start", column=call.column, attempt=attempt, **fields)
        self._in_flight[call] = None
        self._recorder.step()

    # Time

    async def pass_time(self, call: Call) -> None:
        """Let the time of a call pass, for a coroutine."""
        try:
            await self._clock.sleep(call.latency_s, (call.column, call.start))
        except asyncio.CancelledError:
            self.cancel(call)
            raise

    def wait(self, call: Call, lost: IsLost | None) -> None:
        """Let the time of a call pass, for a thread.

        Raises:
            Lost: the caller died meanwhile.
        """
        gone = self._recorder.gone
        if lost is None:
            self.let_go(lambda: self._clock.wait(call.latency_s, gone))
            return
        left_s = call.latency_s
        while left_s > 0 and not gone.is_set() and not lost():
            step_s = min(left_s, _LOOK_S)
            self.let_go(partial(self._clock.wait, step_s, gone))
            left_s -= step_s
        if lost():
            self._lose(call)

    def cancel(self, call: Call) -> None:
        """Record that the engine ended a call in flight: late enough, it timed out."""
        with self._recorder.lock:
            if self._recorder.gone.is_set() or call not in self._in_flight:
                return
            if call.taken_back is not None:
                self._take_back(call)
            elif self._may_be_late(call):
                self._spend(call, Fault(call.column, call.start, failure="timeout"), None)
            else:
                del self._in_flight[call]
                self._recorder.record("cancel", column=call.column, **self._place(call))
            self._recorder.step()

    def _may_be_late(self, call: Call) -> bool:
        """True if the bound of a call may have passed, by a timer of the engine."""
        if self.bound_s is None:
            return False
        return self._clock.now() >= call.began_s + self.bound_s * self._clock.timer_share

    def mark_taken_back(self, column: str, position: int, reason: str) -> None:
        """Note that a call in flight will be taken back; see `Probe.take_back`."""
        with self._recorder.lock:
            self._recorder.check_alive()
            call = self._call_at(column, position)
            if call is None:
                what = f"take_back: no call of {column!r} at {position} is in flight"
                self._recorder.refuse(what)
            call.taken_back = reason

    def _take_back(self, call: Call) -> None:
        """A call is taken back: the next one of the node is the same call, made by another."""
        del self._in_flight[call]
        self._calls_of[call.column, call.start] -= 1
        why = {"reason": call.taken_back} if call.taken_back else {}
        self._recorder.record("take_back", column=call.column, **self._place(call), **why)

    def abandon(self, column: str, position: int) -> None:
        """Record that the engine gave up a call that it cannot end; see `Probe.abandon`."""
        with self._recorder.lock:
            self._recorder.check_alive()
            call = self._call_at(column, position)
            if call is None:
                self._recorder.refuse(f"abandon: no call of {column!r} at {position} is in flight")
            self._spend(call, Fault(column, position, failure="timeout"), None, abandoned=True)
            call.abandoned = True
            self._recorder.step()

    def _call_at(self, column: str, position: int) -> Call | None:
        """The call in flight of a cell, a row of a range, or a barrier's scope."""
        mine = (call for call in self._in_flight if call.column == column)
        return next((call for call in mine if call.start <= position < call.stop), None)

    def _lose(self, call: Call) -> NoReturn:
        """End a call whose caller died; the cell is still wanted."""
        with self._recorder.lock:
            self._recorder.check_alive()
            if call.taken_back is not None:
                self._take_back(call)
                self._recorder.step()
            else:
                with contextlib.suppress(GeneratorError):
                    self._fail(call, Fault(call.column, call.start, failure=self.lost_as))
        raise Lost(f"{call.column} {call.start}: the caller died")

    # Ends

    def end_cell(self, call: Call, inputs: Inputs) -> str | Rejected:
        """End the call of a cell: gives its value or `REJECTED`, or raises its fault."""
        with self._recorder.lock:
            self._recorder.check_alive()
            if self._work.is_killer(call.column, call.start):
                self._recorder.kill(call.column, call.start)
            if call.fault is not None:
                self._fail(call, call.fault)
            value = self._make(call, inputs)
            if call.abandoned:
                return value
            if call.start + 1 == call.stop:
                del self._in_flight[call]
            rejected = {}
            if value is REJECTED:
                self.dropped.add(call.start)
                rejected = {"rejected": ((call.start, call.start + 1),)}
            self._recorder.record("complete", column=call.column, rows=call.start, **rejected)
            self._recorder.step()
            return value

    def end_row(self, call: Call, inputs: Inputs) -> str | Rejected:
        """End one row of a range: gives its value or `REJECTED`, or raises its fault."""
        with self._recorder.lock:
            value = self.end_cell(call, inputs)
            call.start += 1
            return value

    def end_barrier(
        self, call: Call, rows: Sequence[int], inputs: Sequence[Inputs]
    ) -> list[str] | dict[int, str]:
        """End the call of a barrier: gives the value of each row, or raises its fault.

        An answer that leaves rows out is a mapping by row.
        """
        column, scope = call.column, call.start
        with self._recorder.lock:
            self._recorder.check_alive()
            if call.fault is not None and not call.fault.answers:
                self._fail(call, call.fault)
            reads = [
                (row, self._handed.inputs(column, row, mine))
                for row, mine in zip(rows, inputs, strict=True)
            ]
            values = barrier_values(column, rows, reads, self._work.style(column))
            if call.abandoned:
                return [self._registry.note_late(value, column) for value in values.values()]
            for _, own in reads:
                self._registry.note_inputs(column, scope, own)
            if call.fault is not None:
                return self._misshape(call, call.fault, list(values.values()))
            del self._in_flight[call]
            wanted = self.wanted(column, rows)
            left_out = [row for row in wanted if self._work.is_rejected(column, row)]
            values = {row: values[row] for row in rows if row not in left_out}
            self._registry.add_barrier(self._incarnation, column, scope, reads, values)
            rejected = {"rejected": ranges_of(left_out)} if left_out else {}
            self._recorder.record("complete", column=column, scope=scope, **rejected)
            self.dropped.update(left_out)
            self.give_output(column, scope, [row for row in wanted if row in values])
            self._recorder.step()
            return values if left_out else [values[row] for row in rows]

    def wanted(self, column: str, rows: Sequence[int]) -> list[int]:
        """Of the rows that a barrier reads, those that still want its output."""
        claimed = self.claimed.get(column, 0)
        return [row for row in rows if not covers(claimed, row) and row not in self.dropped]

    def give_output(self, column: str, scope: int, wanted: Sequence[int]) -> None:
        """Record the rows to which a barrier gives output."""
        new = list(self.remade.new_output(column, scope, wanted))
        for start, stop in ranges_of(new):
            self._recorder.record("emit", column=column, rows=self._arguments.rows(start, stop))

    def _misshape(self, call: Call, fault: Fault, values: Sequence[str]) -> list[str]:
        """A barrier answers with a list of another length, which the engine must refuse.

        It may fail the call as retryable or as permanent. Until the engine drops the rows, the
        event says retryable (see `note_drop`).
        """
        column, scope = call.column, call.start
        odd = self._registry.note_refused([*values, f"{column}.{scope}.more"], column)
        self._spend(call, replace(fault, failure="retryable"), None)
        spent = self._spent[column, scope]
        if not is_final("retryable", spent, self._work.failures.max_attempts):
            self._undecided[column, scope] = self._last_fail[column, scope][0]
        self._recorder.step()
        return odd if fault.answers == "long" else odd[:-2]

    def note_drop(self, start: int, stop: int, column: str) -> None:
        """The engine drops rows because of a column: so an answer that it refused was its last."""
        self.dropped.update(range(start, stop))
        for key in list(self._undecided):
            if key[0] == column:
                size = self._arguments.rule(column).scope_rows
                if start < (key[1] + 1) * size and stop > key[1] * size:
                    self._undecided.pop(key)["failure"] = "permanent"

    def _make(self, call: Call, inputs: Inputs) -> str | Rejected:
        column, row = call.column, call.start
        own = self._handed.inputs(column, row, inputs)
        value = value_of(column, row, own, self._work.style(column))
        if call.abandoned:
            return self._registry.note_late(value, column)
        self._registry.note_inputs(column, row, own)
        if self._work.is_rejected(column, row):
            return REJECTED
        self._registry.add_cell(self._incarnation, column, row, own, value)
        self.remade.note(column, row)
        return value

    # Failures

    def _fail(self, call: Call, fault: Fault) -> NoReturn:
        """Record a failure, and raise it. Of a range, the rows that it has not given yet fail."""
        wait_s = None if fault.cool_down_s is None else fault.cool_down_s * self._clock.scale
        if call.abandoned:
            raise _failure(call, fault, wait_s)
        bounded = fault.failure == "backpressure" and bool(wait_s)
        self._spend(call, fault, wait_s if bounded else None)
        self._recorder.step()
        raise _failure(call, fault, wait_s)

    def _spend(
        self, call: Call, fault: Fault, wait_s: float | None, *, abandoned: bool = False
    ) -> None:
        """Record the failure of a call, and the rows that fail for good with it."""
        del self._in_flight[call]
        self._record_failure(call, fault.failure, wait_s, abandoned=abandoned)
        for position in range(call.start, call.stop):
            if self._was_last(call.column, position, fault):
                # A barrier that fails for good drops the rows that still want its output.
                claimed = self.claimed.get(call.column, 0)
                lost = (row for row in call.reads if not covers(claimed, row))
                self.dropped.update(lost if call.scoped else (position,))

    def _record_failure(
        self, call: Call, failure: Failure, wait_s: float | None, *, abandoned: bool
    ) -> None:
        """Record a failure, with the backoff that it asks for in seconds, if any."""
        entry = self._recorder.record(
            "fail",
            column=call.column,
            **self._place(call),
            attempt=call.attempt,
            failure=failure,
            **({"abandoned": True} if abandoned else {}),
        )
        least = None if wait_s is None else entry["t"] + wait_s
        for position in range(call.start, call.stop):
            self._last_fail[call.column, position] = (entry, least)

    def _was_last(self, column: str, position: int, fault: Fault) -> bool:
        """Count a failure of a node; True if it has failed for good."""
        attempt = self._spent.get((column, position), 0) + 1
        if spends_attempt(fault.failure):
            self._spent[column, position] = attempt
        return is_final(fault.failure, attempt, self._work.failures.max_attempts)

    def _place(self, call: Call) -> Entry:
        if call.scoped:
            return {"scope": call.start}
        return {"rows": self._arguments.rows(call.start, call.stop)}

    # Backoff

    def report_backoff(self, column: str, position: int, until_s: float) -> None:
        """Record that the engine waits with a failed node until a time; see `Probe.cooling`."""
        with self._recorder.lock:
            self._recorder.check_alive()
            entry, least = self._last_fail.get((column, position), (None, None))
            if entry is None:
                self._recorder.refuse(
                    f"no backoff of {column!r} at {position}: it did not fail before"
                )
            entry["until"] = until_s if least is None else max(until_s, least)
            self._recorder.step()

    def _end_backoff(self, column: str, position: int) -> None:
        """Record when a node is called again, if its failure said how long to wait.

        Without a report of the engine, its backoff lasted until now.
        """
        entry, least = self._last_fail.pop((column, position), (None, None))
        if entry is None or least is None:
            return
        now = self._clock.now()
        if now < least:
            entry["until"] = least
        elif _is_of_one_node(entry):
            entry.setdefault("until", now)

    def _note_backoffs(self) -> None:
        """Record the backoffs that the crash interrupts, reported or not."""
        now = self._clock.now()
        for entry, least in self._last_fail.values():
            if least is not None and now < least:
                entry.setdefault("until", least)


def _is_of_one_node(entry: Entry) -> bool:
    """Whether an event is about one cell or barrier, and no range of rows."""
    return isinstance(entry.get("rows", 0), int)


def _failure(call: Call, fault: Fault, wait_s: float | None) -> Exception:
    if call.scoped:
        node = f"barrier {call.start} of {call.column!r}"
    else:
        node = f"{call.column}[{call.start}]"
    text = f"{node}: call {fault.call} fails, as the workload says"
    if fault.raises:
        return FOREIGN[fault.raises](text)
    if fault.failure == "retryable":
        return Retryable(text)
    if fault.failure == "permanent":
        return Permanent(text)
    return BackPressure(text, retry_after_s=wait_s)


def _tick_before(bound_s: float) -> float:
    """The longest latency of a call that does not reach its bound."""
    return (math.ceil(bound_s / TICK_S) - 1) * TICK_S
