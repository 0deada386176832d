"""The probe: the generators that an engine runs under test, and the ear that listens to it.

A backend gets one `Probe` for each life of a workload. The engine's generators are the probe's
calls: `Probe.cell`, `Probe.barrier`, `Probe.range`, each also for threads (``…_sync``). A call
takes as long as the workload says, then gives its value or fails as the workload says. So the suite
sees for itself when each call starts, what it is given, and when it ends; an engine cannot forget
to tell, nor tell it otherwise. These events are *observed*.

What no call shows, the backend *reports*: cells left out, rows dropped, row groups, what storage
did, how a life was resumed, and how it ended.

Values are provenance: what a call gives is a digest of its column, its row and the values that it
was given (see `cellspec.conformance.run.values`). An engine must hand them on as they are.

When a life's crash step is reached, the folder is frozen as it is at that instant, and `Crash`
comes out of that call and of every later one. It is no `Exception`, and means: this process is
gone. A backend lets it pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import (
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from types import FrameType
from typing import Any, NoReturn, Protocol, TypeAlias

from cellspec.conformance.run.values import SKIPPED, Registry, Value, barrier_values, value_of
from cellspec.conformance.run.workload import Fault, Workload
from cellspec.errors import SpecError
from cellspec.faults import BackPressure, GeneratorError, Permanent, Retryable
from cellspec.graph.graph import CompletionTrackerProtocol, ExecutionGraph
from cellspec.graph.nodes import NodeId
from cellspec.graph.rowset import ranges_of
from cellspec.machine.machine import Failure, Outcome
from cellspec.machine.policy import is_final
from cellspec.text import counted

__all__ = [
    "AdapterError",
    "Clock",
    "CountingGraph",
    "Crash",
    "Entry",
    "Inputs",
    "Lost",
    "Probe",
    "Refused",
]

_LOOK_S = 0.01
"""Seconds of the clock between two looks at whether the caller of a threaded call still lives."""

IsLost: TypeAlias = Callable[[], bool]
"""Tells whether the caller of a threaded call has died."""

Inputs: TypeAlias = Mapping[str, Value | None]
"""The values of the columns that a cell needs, by column, or by the names that it needs them by.
A skipped input may be `SKIPPED`, None or left out; further names are ignored."""

Entry: TypeAlias = dict[str, Any]
"""One recorded event: the fields of a trace event but its number."""


class Crash(BaseException):
    """The life ends here: raised out of the call at the crash step, and out of every later one."""


class Refused(Exception):  # noqa: N818 - the word that the specification uses
    """Raised by a backend whose engine refuses what the workload asks for; the reason is the text.

    Right for limits that can never admit a barrier's scope (clause GROUP-04), and for a resume with
    another target that would change a claimed barrier (clause CKPT-16).
    """


class Lost(Exception):  # noqa: N818 - what became of the caller
    """A threaded call ends here, because whoever made it died; nobody is there to be answered."""


class AdapterError(SpecError):
    """The backend used the probe in a way that no engine could mean; the adapter is wrong."""


class Clock(Protocol):
    """What time is for one life: virtual, or real with shortened latencies."""

    scale: float
    """Seconds of this clock for one second of the workload."""

    def now(self) -> float:
        """Seconds since the run began, over all its lives."""

    async def sleep(self, seconds: float, who: tuple[str, int]) -> None:
        """Let `seconds` pass, for a coroutine: the call of a column's row or scope."""

    def wait(self, seconds: float, gone: threading.Event) -> None:
        """Let `seconds` of this clock pass, for a thread, or less if `gone` is set."""

    def halt(self, reason: BaseException) -> NoReturn:
        """Raise `reason`, and let nothing else run if that can be had."""


class CountingGraph(ExecutionGraph):
    """A graph that counts what it is asked: one for each question and for each node it answers.

    Attributes:
        questions: the count. What an engine asks for each event must not grow with rows.
    """

    __slots__ = ("questions",)

    questions: int

    @classmethod
    def of(cls, work: Workload, incarnation: int) -> CountingGraph:
        """The graph of one life of a workload."""
        graph = cls(
            work.rows_of(incarnation),
            work.columns,
            batch_size=work.batch_size,
            barrier_scope=work.barrier_scope,
        )
        graph.questions = 0
        return graph

    def _counted(self, nodes: Iterable[NodeId]) -> Iterator[NodeId]:
        self.questions += 1
        for node in nodes:
            self.questions += 1
            yield node

    def iter_dependencies(self, node: NodeId) -> Iterator[NodeId]:
        return self._counted(super().iter_dependencies(node))

    def get_dependents(self, node: NodeId) -> list[NodeId]:
        return list(self._counted(super().get_dependents(node)))

    def iter_nodes(self) -> Iterator[NodeId]:
        return self._counted(super().iter_nodes())

    def iter_start_nodes(self) -> Iterator[NodeId]:
        return self._counted(super().iter_start_nodes())

    def iter_ready_nodes(self, completed: CompletionTrackerProtocol) -> Iterator[NodeId]:
        return self._counted(super().iter_ready_nodes(completed))

    def iter_ready_nodes_for_column(
        self, column: str, completed: CompletionTrackerProtocol
    ) -> Iterator[NodeId]:
        return self._counted(super().iter_ready_nodes_for_column(column, completed))


@dataclass(slots=True)
class _Call:
    """A call in flight."""

    column: str
    start: int
    """The row, the first row that a range has still to give, or the barrier's scope."""
    stop: int
    latency_s: float
    fault: Fault | None
    scoped: bool
    reads: Sequence[int] = ()
    """The rows that a barrier reads."""
    attempt: int = 1
    """The number that it was started with."""


class Probe:
    """One life of a workload, as its backend sees it. See `cellspec.conformance.run.probe`.

    Calls and reports may come from any thread; they are put into one order.

    Args:
        work: the workload.
        life: which life this is, from 0.
        folder: where the engine keeps what is durable.
        claims: the capabilities that the engine is asked for.
        clock: what time is.
        registry: where every call is kept for the judge of tables.
        freeze: called at the instant of the crash; it copies the folder.
        call_limit: calls after which the run is stopped, because it will never end.

    Attributes:
        work: the workload.
        graph: its graph for this life; it counts what it is asked.
        life: which life this is, from 0. In later ones `folder` holds what the one before left.
        folder: where the engine keeps what is durable; this life's own.
        rows: how many rows this life is asked for.
        claims: the capabilities that the engine is asked for.
        log: the events of this life, in order.
        steps: the points so far at which the process could die.
        calls: the calls so far.
        ended_by: ``"crash"``, ``"limit"`` or ``"misuse"``, if the probe ended the life.
        ended_at_s: when.
        misuse: what the adapter did wrong, in one line.
        misuse_place: where in the adapter, in one line, if that is known.
        storage_reported: the backend said what storage did.
        lost_as: how a call fails whose caller died (see `cell_sync`). An engine that counts dead
            workers and failed calls on one budget sets it to ``"retryable"``.
    """

    def __init__(
        self,
        work: Workload,
        incarnation: int,
        folder: Path,
        claims: frozenset[str],
        clock: Clock,
        registry: Registry,
        *,
        freeze: Callable[[], None] = lambda: None,
        call_limit: int = 1_000_000,
    ) -> None:
        self.work = work
        self.incarnation = incarnation
        self.folder = folder
        self.rows = work.rows_of(incarnation)
        self.claims = claims
        self.graph = CountingGraph.of(work, incarnation)
        self.log: list[Entry] = []
        self.steps = 0
        self.calls = 0
        self.ended_by = ""
        self.ended_at_s = 0.0
        self.misuse = ""
        self.misuse_place: tuple[str, ...] = ()
        self.storage_reported = False
        self.lost_as: Failure = "backpressure"
        self._rules = self.graph.rules
        self._producer = _producers(work)
        self._clock = clock
        self._registry = registry
        self._freeze = freeze
        self._call_limit = call_limit
        self._lock = threading.RLock()
        self._gone = threading.Event()
        self._let_go: Callable[[Callable[[], None]], None] = lambda wait: wait()
        self._calls_of: dict[tuple[str, int], int] = {}
        self._spent: dict[tuple[str, int], int] = {}
        self._last_fail: dict[tuple[str, int], tuple[Entry, float | None]] = {}
        self._dropped: set[int] = set()
        self._claimed: dict[str, int] = {}

    @property
    def life(self) -> int:
        """`incarnation`, by its name up to version 0.1."""
        return self.incarnation

    # Calls

    async def cell(self, column: str, row: int, inputs: Inputs, attempt: int | None = None) -> str:
        """Make one cell.

        Args:
            column: its column.
            row: its row.
            inputs: the values of the columns that it needs.
            attempt: which attempt this is, if the engine counts them; else the probe does.

        Raises:
            GeneratorError: `Retryable`, `BackPressure` or `Permanent`, as the workload says.
            AdapterError: there is no such cell.
        """
        call = self._start_cell(column, row, attempt)
        await self._pass_time(call)
        return self._end_cell(call, inputs)

    def cell_sync(
        self,
        column: str,
        row: int,
        inputs: Inputs,
        attempt: int | None = None,
        lost: IsLost | None = None,
    ) -> str:
        """`cell`, for threads.

        Args:
            column: as for `cell`, like all that follow it.
            row: the row.
            inputs: the values.
            attempt: the attempt.
            lost: whether the process that the call is made for has died, asked while time passes.
                The call then ends without an answer and fails as `lost_as` says: by default it is
                turned away, spends no attempt, and may be made again at once.

        Raises:
            Lost: the caller died.
            GeneratorError, AdapterError: as `cell`.
        """
        call = self._start_cell(column, row, attempt)
        self._wait(call, lost)
        return self._end_cell(call, inputs)

    async def barrier(
        self,
        column: str,
        scope: int,
        rows: Sequence[int],
        inputs: Sequence[Inputs],
        attempt: int | None = None,
    ) -> list[str]:
        """Run a barrier over the rows that it reads, and give the value of each of them.

        Args:
            column: the barrier's column.
            scope: the number of its scope; 0 if that is the dataset.
            rows: the rows that it reads, in order.
            inputs: for each of them, the values of the columns that the barrier needs.
            attempt: as for `cell`.

        Raises:
            GeneratorError, AdapterError: as `cell`.
        """
        call = self._start_barrier(column, scope, rows, inputs, attempt)
        await self._pass_time(call)
        return self._end_barrier(call, rows, inputs)

    def barrier_sync(
        self,
        column: str,
        scope: int,
        rows: Sequence[int],
        inputs: Sequence[Inputs],
        attempt: int | None = None,
        lost: IsLost | None = None,
    ) -> list[str]:
        """`barrier`, for threads; `lost` as for `cell_sync`."""
        call = self._start_barrier(column, scope, rows, inputs, attempt)
        self._wait(call, lost)
        return self._end_barrier(call, rows, inputs)

    async def range(
        self,
        column: str,
        start: int,
        stop: int,
        inputs: Sequence[Inputs],
        attempt: int | None = None,
    ) -> AsyncIterator[tuple[int, str]]:
        """Run rows ``[start, stop)`` of a row-streamable column as one call.

        Gives (row, value) one at a time, in row order, each as it is ready. If it fails, the rows
        that it gave stay.

        Args:
            column: a row-streamable column.
            start: the first row.
            stop: the row after the last.
            inputs: for each row, the values of the columns that the column needs.
            attempt: as for `cell`.

        Raises:
            GeneratorError, AdapterError: as `cell`.
        """
        call = self._start_range(column, start, stop, inputs, attempt)
        try:
            for row in range(start, stop):
                self._reach(call, row)
                await self._clock.sleep(call.latency_s, (column, row))
                yield row, self._end_row(call, inputs[row - start])
        except (asyncio.CancelledError, GeneratorExit):
            self._cancel(call)
            raise

    def range_sync(
        self,
        column: str,
        start: int,
        stop: int,
        inputs: Sequence[Inputs],
        attempt: int | None = None,
        lost: IsLost | None = None,
    ) -> Generator[tuple[int, str], None, None]:
        """`range`, for threads; `lost` as for `cell_sync`."""
        call = self._start_range(column, start, stop, inputs, attempt)
        try:
            for row in range(start, stop):
                self._reach(call, row)
                self._wait(call, lost)
                yield row, self._end_row(call, inputs[row - start])
        except GeneratorExit:
            self._cancel(call)
            raise

    # Reports

    def now(self) -> float:
        """The time that every event is stamped with: seconds since the run began, over all its
        lives. In virtual time it is the loop's own."""
        return self._clock.now()

    def pass_time_in(self, let_go: Callable[[Callable[[], None]], None]) -> None:
        """Let the time of threaded calls pass within `let_go`.

        For an engine that holds a lock while it makes a call: `let_go` gives it back, calls what it
        is given, and takes it again. What the probe sees of a call and what the engine makes of it
        are then one step, and no other thread comes in between.
        """
        self._let_go = let_go

    def wants_skip(self, column: str, row: int) -> bool:
        """True if the column's own condition says to skip this cell."""
        self._check_row(column, row)
        return self.work.wants_skip(column, row)

    def cooling(self, column: str, position: int, until_s: float) -> None:
        """The node that just failed will be started again at `until_s`, and not before.

        Call it when the failure is caught. A failure that nobody calls it for is never counted as
        work that waits for no reason.

        Args:
            column: the node's column.
            position: its row, a row of the range that failed, or its scope.
            until_s: the time, as `now` gives it.
        """
        with self._lock:
            self._check_alive()
            entry, least = self._last_fail.get((column, position), (None, None))
            if entry is None:
                self._refuse(f"cooling({column!r}, {position}): it did not fail before")
            entry["until"] = until_s if least is None else max(until_s, least)
            self._step()

    def skip(self, column: str, row: int) -> None:
        """The cell is skipped: by its own condition, or because an input was."""
        self._check_row(column, row)
        self._report("skip", column=column, rows=row)

    def drop(self, start: int, stop: int, column: str) -> None:
        """Rows ``[start, stop)`` are dropped, because of what failed in `column`."""
        self._check_column(column)
        self._report("drop", column=column, rows=self._rows(start, stop))
        with self._lock:
            self._dropped.update(range(start, stop))

    def admit(self, group: int) -> None:
        """A row group enters."""
        self._report("admit", rows=self._group(group))

    def retire(self, group: int) -> None:
        """A row group leaves: all its rows are resolved."""
        self._report("retire", rows=self._group(group))

    def durable(self, column: str, start: int, stop: int) -> None:
        """Rows ``[start, stop)`` of a column, or with ``""`` of every one, are safe on storage."""
        if column:
            self._check_column(column)
        self._report_storage("durable", column=column, rows=self._rows(start, stop))

    def checkpoint_begin(self, claim: Mapping[str, int] | int) -> None:
        """A claim is being written: rows from 0 on, by column, or the same number for each."""
        self._report_storage("checkpoint_begin", claim=self._claim(claim))

    def checkpoint_durable(self) -> None:
        """The claim that was being written is safe on storage."""
        self._report_storage("checkpoint_durable")

    def checkpoint_failed(self) -> None:
        """The claim that was being written, or the rows for the next one, could not be written."""
        self._report_storage("checkpoint_failed")

    def resumed(
        self,
        claim: Mapping[str, int] | int,
        dropped: Iterable[int] | None = None,
        skipped: Mapping[str, Iterable[int]] | None = None,
        keep: bool = False,
    ) -> None:
        """This life goes on from a claim that storage gave back. Say so before the first call.

        Args:
            claim: the claim, as `checkpoint_begin` takes it.
            dropped: the rows whose drop storage gave back, within the claim; None if the engine
                does not say.
            skipped: the cells, by column, whose skip mark storage gave back, within the claim; None
                if the engine does not say.
            keep: claimed rows of barriers that change with the target are kept.
        """
        if self.incarnation == 0:
            self._refuse("resumed: the first life has nothing to resume from")
        claimed = self._claim(claim)
        fields: Entry = {"claim": claimed}
        if dropped is not None:
            dropped = sorted(set(dropped))
            fields["dropped"] = ranges_of(dropped)
        if skipped is not None:
            marks = {column: ranges_of(sorted(set(rows))) for column, rows in skipped.items()}
            fields["skipped"] = {column: spans for column, spans in marks.items() if spans}
        if self.rows != self.work.rows_of(self.incarnation - 1):
            fields["records"] = self.rows
        if keep:
            fields["keep"] = True
        with self._lock:
            self._claimed = claimed
            self._dropped.update(dropped or ())
            self._report("resume", **fields)

    def stop(self, reason: str) -> None:
        """The run stops early: nothing starts any more."""
        self._report("stop", reason=reason)

    def end(self, outcome: Outcome, reason: str | None = None) -> None:
        """The run is over, and says how it went: ``success``, ``stopped`` or ``failed``."""
        if outcome not in ("success", "stopped", "failed"):
            self._refuse(f"end: expected success, stopped or failed, got {outcome!r}")
        fields = {"outcome": outcome} | ({"reason": reason} if reason is not None else {})
        self._report("end", **fields)

    def storage_step(self, name: str) -> None:  # noqa: ARG002 - for whoever reads the adapter
        """The engine is about to do one step on storage: a write, a sync, a rename, by name.

        The process may be killed here; the step is then not done.
        """
        with self._lock:
            self._check_alive()
            self._step()

    # Starts

    def _start_cell(self, column: str, row: int, attempt: int | None) -> _Call:
        self._check_row(column, row)
        rule = self._rules.columns[self._rules.index[column]]
        if rule.is_barrier:
            self._refuse(f"cell: column {column!r} is a barrier; call barrier")
        with self._lock:
            self._check_alive()
            call = self._count(column, row, row + 1, False)
            self._record_start(call, attempt, rows=row)
        return call

    def _start_barrier(
        self,
        column: str,
        scope: int,
        rows: Sequence[int],
        inputs: Sequence[Inputs],
        attempt: int | None,
    ) -> _Call:
        self._check_column(column)
        count = self._rules.scope_count(self._rules.index[column])
        if not count:
            self._refuse(f"barrier: column {column!r} is no barrier; call cell")
        if type(scope) is not int or not 0 <= scope < count:
            self._refuse(f"barrier: column {column!r} has no scope {scope!r} of {count}")
        if len(rows) != len(inputs):
            self._refuse(
                f"barrier: {column!r}: {counted(len(rows), 'row')}, {counted(len(inputs), 'input')}"
            )
        for row in rows:
            self._check_row(column, row)
        with self._lock:
            self._check_alive()
            call = self._count(column, scope, scope + 1, True)
            call.reads = rows
            self._record_start(call, attempt, scope=scope, reads=ranges_of(rows))
        return call

    def _start_range(
        self,
        column: str,
        start: int,
        stop: int,
        inputs: Sequence[Inputs],
        attempt: int | None,
    ) -> _Call:
        self._check_column(column)
        rows = self._rows(start, stop)
        if not self._rules.columns[self._rules.index[column]].streamable:
            self._refuse(f"range: column {column!r} is not row-streamable; call cell")
        if stop - start != len(inputs):
            self._refuse(
                f"range: {column!r}: {counted(stop - start, 'row')}, "
                f"{counted(len(inputs), 'input')}"
            )
        with self._lock:
            self._check_alive()
            if stop > start + 1:
                self._registry.ranged[column] = None
            call = _Call(column, start, stop, 0.0, None, False)
            self._record_start(call, attempt, rows=rows)
        return call

    def _count(self, column: str, start: int, stop: int, scoped: bool) -> _Call:
        """A call comes to a cell or a barrier: the n-th one decides how it goes."""
        nth = self._calls_of.get((column, start), 0) + 1
        self._calls_of[column, start] = nth
        end_s = self.work.end_s(self.incarnation, column, start, nth)
        if end_s is None:
            latency_s = self.work.latency(column, start, nth) * self._clock.scale
        else:
            latency_s = max(0.0, end_s * self._clock.scale - self._clock.now())
        fault = self.work.fault(column, start, nth)
        return _Call(column, start, stop, latency_s, fault, scoped)

    def _record_start(self, call: _Call, attempt: int | None, **fields: Any) -> None:
        self.calls += 1
        if self.calls > self._call_limit:
            self._halt("limit", Crash(f"stopped after {self._call_limit} calls"))
        if attempt is None:
            attempt = self._spent.get((call.column, call.start), 0) + 1
        call.attempt = attempt
        for position in range(call.start, call.stop):
            self._judge_cool_down(call.column, position)
        self._record("start", column=call.column, attempt=attempt, **fields)
        self._step()

    def _judge_cool_down(self, column: str, position: int) -> None:
        """A call that was told when to come back is seen to come back: too early, or not.

        It cooled down until now if nobody said when it would be made again.
        """
        entry, least = self._last_fail.pop((column, position), (None, None))
        if entry is None or least is None:
            return
        now = self._clock.now()
        if now < least:
            entry["until"] = least
        elif _is_of_one_node(entry):
            entry.setdefault("until", now)

    def _note_cool_downs(self) -> None:
        """The process dies: what was told when to come back was cooling down, said or not."""
        now = self._clock.now()
        for entry, least in self._last_fail.values():
            if least is not None and now < least:
                entry.setdefault("until", least)

    # Time

    async def _pass_time(self, call: _Call) -> None:
        try:
            await self._clock.sleep(call.latency_s, (call.column, call.start))
        except asyncio.CancelledError:
            self._cancel(call)
            raise

    def _reach(self, call: _Call, row: int) -> None:
        """A range comes to its next row."""
        with self._lock:
            self._check_alive()
            at = self._count(call.column, row, row + 1, False)
            call.latency_s, call.fault = at.latency_s, at.fault

    def _cancel(self, call: _Call) -> None:
        with self._lock:
            if not self._gone.is_set() and call.start < call.stop:
                self._record("cancel", column=call.column, **self._place(call))
                self._step()

    def _wait(self, call: _Call, lost: IsLost | None) -> None:
        if lost is None:
            self._let_go(lambda: self._clock.wait(call.latency_s, self._gone))
            return
        left_s = call.latency_s
        while left_s > 0 and not self._gone.is_set() and not lost():
            step_s = min(left_s, _LOOK_S)
            self._let_go(partial(self._clock.wait, step_s, self._gone))
            left_s -= step_s
        if lost():
            self._lose(call)

    def _lose(self, call: _Call) -> NoReturn:
        """The caller died, and somebody still wants what it asked for."""
        with self._lock:
            self._check_alive()
            with contextlib.suppress(GeneratorError):
                self._fail(call, Fault(call.column, call.start, failure=self.lost_as))
        raise Lost(f"{call.column} {call.start}: the caller died")

    # Ends

    def _end_cell(self, call: _Call, inputs: Inputs) -> str:
        with self._lock:
            self._check_alive()
            if call.fault is not None:
                self._fail(call, call.fault)
            value = self._make(call.column, call.start, inputs)
            self._record("complete", column=call.column, rows=call.start)
            self._step()
            return value

    def _end_row(self, call: _Call, inputs: Inputs) -> str:
        with self._lock:
            value = self._end_cell(call, inputs)
            call.start += 1
            return value

    def _end_barrier(self, call: _Call, rows: Sequence[int], inputs: Sequence[Inputs]) -> list[str]:
        column, scope = call.column, call.start
        with self._lock:
            self._check_alive()
            if call.fault is not None:
                self._fail(call, call.fault)
            reads = [
                (row, self._inputs(column, mine)) for row, mine in zip(rows, inputs, strict=True)
            ]
            values = barrier_values(column, rows, reads)
            self._registry.add_barrier(self.incarnation, column, scope, reads, values)
            self._record("complete", column=column, scope=scope)
            claimed = self._claimed.get(column, 0)
            wanted = (row for row in rows if row >= claimed and row not in self._dropped)
            for start, stop in ranges_of(wanted):
                self._record("emit", column=column, rows=self._rows(start, stop))
            self._step()
            return [values[row] for row in rows]

    def _make(self, column: str, row: int, inputs: Inputs) -> str:
        own = self._inputs(column, inputs)
        value = value_of(column, row, own)
        self._registry.add_cell(self.incarnation, column, row, own, value)
        return value

    def _fail(self, call: _Call, fault: Fault) -> NoReturn:
        """Record how the call fails, and raise it. Of a range, what it has not given yet fails."""
        wait_s = fault.cool_down_s * self._clock.scale
        told = fault.failure == "backpressure" and wait_s > 0
        self._record_failure(call, fault.failure, wait_s if told else None)
        for position in range(call.start, call.stop):
            if self._was_last(call.column, position, fault):
                # A barrier that fails for good drops who still wants its output.
                lost = (row for row in call.reads if row >= self._claimed.get(call.column, 0))
                self._dropped.update(lost if call.scoped else (position,))
        self._step()
        raise _failure(call, fault, wait_s)

    def _record_failure(self, call: _Call, failure: Failure, wait_s: float | None) -> None:
        """Record that a call fails, and how long it was told to wait."""
        entry = self._record(
            "fail",
            column=call.column,
            **self._place(call),
            attempt=call.attempt,
            failure=failure,
        )
        least = None if wait_s is None else entry["t"] + wait_s
        for position in range(call.start, call.stop):
            self._last_fail[call.column, position] = (entry, least)

    def _was_last(self, column: str, position: int, fault: Fault) -> bool:
        """Count a failure of a node; True if it has failed for good."""
        attempt = self._spent.get((column, position), 0) + 1
        if fault.failure == "retryable":
            self._spent[column, position] = attempt
        return is_final(fault.failure, attempt, self.work.failures.max_attempts)

    # Recording

    def _place(self, call: _Call) -> Entry:
        if call.scoped:
            return {"scope": call.start}
        return {"rows": self._rows(call.start, call.stop)}

    def _record(self, event: str, **fields: Any) -> Entry:
        entry: Entry = {"t": self._clock.now(), "event": event, **fields}
        self.log.append(entry)
        return entry

    def _report(self, event: str, **fields: Any) -> None:
        with self._lock:
            self._check_alive()
            self._record(event, **fields)
            if event != "end":
                # What has ended cannot crash any more.
                self._step()

    def _report_storage(self, event: str, **fields: Any) -> None:
        with self._lock:
            self.storage_reported = True
            self._report(event, **fields)

    def _step(self) -> None:
        """One more point at which the process may die."""
        self.steps += 1
        if self.steps == self.work.crash_step(self.incarnation):
            self._gone.set()
            self._note_cool_downs()
            self._freeze()
            self._halt("crash", Crash(f"the process dies at step {self.steps}"))

    def _halt(self, why: str, reason: BaseException) -> NoReturn:
        if not self.ended_by:
            self.ended_by, self.ended_at_s = why, self._clock.now()
        self._gone.set()
        self._clock.halt(reason)

    def _refuse(self, what: str) -> NoReturn:
        """The adapter made a mistake: the run is over, whatever the engine makes of the error."""
        if not self.misuse:
            self.misuse, self.misuse_place = what, _caller()
        self._halt("misuse", AdapterError(what))

    def _check_alive(self) -> None:
        if self._gone.is_set():
            raise Crash("the process is gone")

    def close(self) -> None:
        """The life is over: whatever is still running is told so by `Crash`."""
        with self._lock:
            self._gone.set()

    # Checks

    def _check_column(self, column: str) -> None:
        if column not in self._rules.index:
            known = ", ".join(map(repr, self.graph.column_names))
            self._refuse(f"unknown column {column!r}; the workload has {known}")

    def _check_row(self, column: str, row: int) -> None:
        self._check_column(column)
        if type(row) is not int:
            self._refuse(f"{column!r}: expected the number of a row, got {row!r}")
        if not 0 <= row < self.rows:
            self._refuse(f"{column!r}: row {row!r} is out of range; there are {self.rows}")

    def _rows(self, start: int, stop: int) -> int | tuple[int, int]:
        ints = type(start) is int and type(stop) is int
        if not ints or not 0 <= start < stop <= self.rows:
            self._refuse(f"rows [{start!r}, {stop!r}) are not within 0 to {self.rows}")
        return start if stop == start + 1 else (start, stop)

    def _group(self, group: int) -> int | tuple[int, int]:
        size = self.work.limits.group_rows
        if size is None:
            self._refuse("the workload has no row groups")
        return self._rows(group * size, min((group + 1) * size, self.rows))

    def _claim(self, claim: Mapping[str, int] | int) -> dict[str, int]:
        if isinstance(claim, int):
            return dict.fromkeys(self.graph.column_names, claim)
        for column in claim:
            self._check_column(column)
        return {column: claim.get(column, 0) for column in self.graph.column_names}

    def _inputs(self, column: str, inputs: Inputs) -> dict[str, Value]:
        """The inputs that count, by producing column; what was skipped is left out."""
        own: dict[str, Value] = {}
        for name, producer in self._producer[column].items():
            value = inputs.get(name)
            if value is None:
                value = inputs.get(producer)
            if value is not None and value is not SKIPPED:
                own[producer] = value
        return own


def _caller() -> tuple[str, ...]:
    """The line of code outside of this package that called it, if there is one."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != "cellspec":
            code = frame.f_code
            file = "/".join(PurePath(code.co_filename).parts[-2:])
            return (f"called in {code.co_qualname} ({file}:{frame.f_lineno})",)
        frame = frame.f_back
    return ()


def _is_of_one_node(entry: Entry) -> bool:
    """Whether an event is about one cell or barrier, and no range of rows."""
    return isinstance(entry.get("rows", 0), int)


def _producers(work: Workload) -> dict[str, dict[str, str]]:
    """For each column, the names that it needs, and which column makes each."""
    maker = {name: item.name for item in work.columns for name in item.all_produced_columns}
    return {item.name: {name: maker[name] for name in item.dependencies} for item in work.columns}


def _failure(call: _Call, fault: Fault, wait_s: float) -> GeneratorError:
    what = f"{call.column} {'barrier ' if call.scoped else ''}{call.start}"
    text = f"{what}: call {fault.call} fails, as the workload says"
    if fault.failure == "retryable":
        return Retryable(text)
    if fault.failure == "permanent":
        return Permanent(text)
    return BackPressure(text, retry_after_s=wait_s)
