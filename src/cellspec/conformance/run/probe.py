"""The probe: the generators of an engine under test, and the reports that its adapter makes.

A backend gets one `Probe` for each incarnation of a workload. The engine's generators are the
probe's calls: `Probe.cell`, `Probe.barrier`, `Probe.range`, each also for threads (``…_sync``). A
call takes as long as the workload says, then gives its value or fails as the workload says. So the
suite sees by itself when each call starts, on which inputs, and when it ends. These events are
*observed*: an engine cannot forget or change them.

Your adapter *reports* the events that no call shows: cells left out, rows dropped, row groups,
steps of storage, the resume of an incarnation, and its end.

Values are provenance: the value of a call is a digest of its column, its row and the values that it
was given (see `cellspec.conformance.run.values`). An engine must hand them on unchanged.

At the crash step of an incarnation the folder is frozen, and `Crash` comes out of that call and of
every later one. It is no `Exception`: the process is gone. A backend lets it pass.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import (
    AsyncIterator,
    Callable,
    Generator,
    Sequence,
)
from pathlib import Path
from typing import TypeAlias, get_args

from cellspec.conformance.run.arguments import Arguments, Inputs
from cellspec.conformance.run.bounds import ROOMY, Bounds
from cellspec.conformance.run.calls import Calls, IsLost, Lost
from cellspec.conformance.run.clock import Clock
from cellspec.conformance.run.counting_graph import CountingGraph
from cellspec.conformance.run.disturbing import Disturbing
from cellspec.conformance.run.node_reports import NodeReports
from cellspec.conformance.run.recorder import AdapterError, Crash, Endless, Entry, Recorder
from cellspec.conformance.run.storage import WorkloadStorage
from cellspec.conformance.run.storage_reports import StorageReports
from cellspec.conformance.run.values import Registry, Rejected
from cellspec.conformance.run.workload import Workload
from cellspec.machine.actions import Cause, Failure, Outcome

__all__ = [
    "AdapterError",
    "Crash",
    "Endless",
    "Entry",
    "Inputs",
    "IsLost",
    "Lost",
    "Probe",
    "Refused",
]


AskToStop: TypeAlias = "Callable[[Probe], None]"
"""Asks the engine of a probe's incarnation to stop, and returns at once."""


class Refused(Exception):  # noqa: N818 - the word that the specification uses
    """Raised by a backend whose engine refuses the workload; the reason is the text.

    Right for limits that can never admit a barrier's scope (clause GROUP-04), and for a resume with
    another target that would change a claimed barrier (clause CKPT-16).
    """


class Probe(NodeReports, StorageReports):
    """One incarnation of a workload, as its backend sees it. See `cellspec.conformance.run.probe`.

    Calls and reports may come from any thread; they are put into one order.

    Args:
        work: the workload.
        incarnation: the number of the incarnation, from 0.
        folder: where the engine keeps its durable state.
        capabilities: the capabilities that the engine is asked for.
        clock: the time of the incarnation.
        registry: keeps every call for the table judge.
        freeze: called at the instant of the crash; it copies the folder.
        bounds: how much the incarnation may do before it counts as one that never ends.
        recorder: records the events; by default one of its own.

    Attributes:
        work: the workload.
        graph: its graph for this incarnation; it counts the questions that it is asked.
        incarnation: the number of this run of the process, from 0. In later ones `folder` holds
            the state that the one before left.
        folder: where the engine keeps its durable state; this incarnation's own.
        rows: how many rows this incarnation is asked for.
        row_ids: the ids of these rows, in order, by which the engine is to name them.
        row_of: called with an id, gives the number of its row; −1 if no row has that id.
        capabilities: the capabilities that the engine is asked for.
        disturbing: what the workload does to the engine.
    """

    def __init__(
        self,
        work: Workload,
        incarnation: int,
        folder: Path,
        capabilities: frozenset[str],
        clock: Clock,
        registry: Registry,
        *,
        freeze: Callable[[], None] = lambda: None,
        bounds: Bounds = ROOMY,
        recorder: Recorder | None = None,
    ) -> None:
        self.folder = folder
        self.capabilities = capabilities
        self.graph = CountingGraph.of(work, incarnation)
        self.row_ids = work.ids[: work.rows_of(incarnation)]
        self.row_of = work.row_of
        self._clock = clock
        stops = work.stop_steps(incarnation) if "interrupts" in capabilities else ()
        self._recorder = recorder or Recorder(
            clock,
            work.crash_step(incarnation),
            freeze,
            stop_steps=stops,
            notice_s=clock.notice_s,
            bounds=bounds,
        )
        self._arguments = Arguments(work, incarnation, self._recorder.refuse)
        self._calls = Calls(
            work, incarnation, clock, self._arguments, self._recorder, registry, bounds.calls
        )
        storage = WorkloadStorage(work, clock, self._recorder)
        NodeReports.__init__(self, self._recorder, self._arguments, self._calls, registry)
        StorageReports.__init__(
            self, work, incarnation, self._recorder, self._arguments, self._calls, storage
        )
        if "timeouts" in capabilities:
            self._calls.bound_s = self.timeout_s
        self.disturbing = Disturbing(work, incarnation, self._recorder, self._calls)

    @property
    def log(self) -> list[Entry]:
        """The events of this incarnation, in order."""
        return self._recorder.log

    @property
    def steps(self) -> int:
        """The steps so far at which the process could die."""
        return self._recorder.steps

    @property
    def calls(self) -> int:
        """The number of calls so far."""
        return self._calls.count

    @property
    def ended_by(self) -> str:
        """``"crash"``, ``"limit"`` or ``"misuse"``, if the probe ended the incarnation."""
        return self._recorder.ended_by

    @property
    def endless(self) -> Endless | None:
        """Why the suite stopped an incarnation that would never end; None if it did not."""
        return self._recorder.endless

    @property
    def ended_at_s(self) -> float:
        """The time at which the probe ended the incarnation."""
        return self._recorder.ended_at_s

    @property
    def left_at_s(self) -> float:
        """The time on the clock when the incarnation was over; 0.0 while it runs."""
        return self._recorder.left_at_s or 0.0

    @property
    def misuse(self) -> str:
        """The mistake of the adapter, in one line; "" for none."""
        return self._recorder.misuse

    @property
    def misuse_place(self) -> tuple[str, ...]:
        """The line of the adapter that made the mistake, if that is known."""
        return self._recorder.misuse_place

    @property
    def storage_reported(self) -> bool:
        """True if the backend reported a step of storage."""
        return self._recorder.storage_reported

    @property
    def lost_as(self) -> Failure:
        """How a call fails whose caller died (see `cell_sync`).

        An engine that counts dead workers and failed calls on one budget sets it to
        ``"retryable"``.
        """
        return self._calls.lost_as

    @lost_as.setter
    def lost_as(self, failure: Failure) -> None:
        self._calls.lost_as = failure

    # Names up to version 0.1

    @property
    def life(self) -> int:
        """`incarnation`, by its name up to version 0.1."""
        return self.incarnation

    @property
    def claims(self) -> frozenset[str]:
        """`capabilities`, by its name up to version 0.1."""
        return self.capabilities

    # Calls

    async def cell(
        self, column: str, row: int, inputs: Inputs, attempt: int | None = None
    ) -> str | Rejected:
        """Make one cell: its value, or `REJECTED` if the row is to be dropped as filtered.

        Args:
            column: its column.
            row: its row.
            inputs: the values of the columns that it needs.
            attempt: which attempt this is, if the engine counts them; else the probe does.

        Raises:
            GeneratorError: `Retryable`, `BackPressure` or `Permanent`, as the workload says.
            AdapterError: there is no such cell.
        """
        call = self._calls.start_cell(column, row, attempt)
        await self._calls.pass_time(call)
        return self._calls.end_cell(call, inputs)

    def cell_sync(
        self,
        column: str,
        row: int,
        inputs: Inputs,
        attempt: int | None = None,
        lost: IsLost | None = None,
    ) -> str | Rejected:
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
        call = self._calls.start_cell(column, row, attempt)
        self._calls.wait(call, lost)
        return self._calls.end_cell(call, inputs)

    async def barrier(
        self,
        column: str,
        scope: int,
        rows: Sequence[int],
        inputs: Sequence[Inputs],
        attempt: int | None = None,
    ) -> list[str] | dict[int, str]:
        """Run a barrier over the rows that it reads, and give the value of each of them.

        An answer that leaves rows out is a mapping by row; these rows are to be dropped as
        filtered. A list of another length than `rows` is a mistake of the generator: refuse it.

        Args:
            column: the barrier's column.
            scope: the number of its scope; 0 if that is the dataset.
            rows: the rows that it reads, in order.
            inputs: for each of them, the values of the columns that the barrier needs.
            attempt: as for `cell`.

        Raises:
            GeneratorError, AdapterError: as `cell`.
        """
        call = self._calls.start_barrier(column, scope, rows, inputs, attempt)
        await self._calls.pass_time(call)
        return self._calls.end_barrier(call, rows, inputs)

    def barrier_sync(
        self,
        column: str,
        scope: int,
        rows: Sequence[int],
        inputs: Sequence[Inputs],
        attempt: int | None = None,
        lost: IsLost | None = None,
    ) -> list[str] | dict[int, str]:
        """`barrier`, for threads; `lost` as for `cell_sync`."""
        call = self._calls.start_barrier(column, scope, rows, inputs, attempt)
        self._calls.wait(call, lost)
        return self._calls.end_barrier(call, rows, inputs)

    async def range(
        self,
        column: str,
        start: int,
        stop: int,
        inputs: Sequence[Inputs],
        attempt: int | None = None,
    ) -> AsyncIterator[tuple[int, str | Rejected]]:
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
        call = self._calls.start_range(column, start, stop, inputs, attempt)
        try:
            for row in range(start, stop):
                self._calls.reach(call, row)
                await self._clock.sleep(call.latency_s, (column, row))
                yield row, self._calls.end_row(call, inputs[row - start])
        except (asyncio.CancelledError, GeneratorExit):
            self._calls.cancel(call)
            raise

    def range_sync(
        self,
        column: str,
        start: int,
        stop: int,
        inputs: Sequence[Inputs],
        attempt: int | None = None,
        lost: IsLost | None = None,
    ) -> Generator[tuple[int, str | Rejected], None, None]:
        """`range`, for threads; `lost` as for `cell_sync`."""
        call = self._calls.start_range(column, start, stop, inputs, attempt)
        try:
            for row in range(start, stop):
                self._calls.reach(call, row)
                self._calls.wait(call, lost)
                yield row, self._calls.end_row(call, inputs[row - start])
        except GeneratorExit:
            self._calls.cancel(call)
            raise

    # Reports

    @property
    def timeout_s(self) -> float | None:
        """Seconds, as `now` counts them, that each call may be in flight; None without a bound."""
        bound_s = self.work.timeout_s
        return None if bound_s is None else bound_s * self._clock.scale

    def now(self) -> float:
        """The time on every event: seconds since the run began, over all its incarnations. In
        virtual time it is the loop's own."""
        return self._clock.now()

    def pass_time_in(self, let_go: Callable[[Callable[[], None]], None]) -> None:
        """Let the time of threaded calls pass within `let_go`.

        For an engine that holds a lock while it makes a call: `let_go` releases it, calls its
        argument, and takes it again. The probe's record of a call and the engine's reaction to it
        are then one step for all other threads.
        """
        self._calls.let_go = let_go

    def wants_skip(self, column: str, row: int) -> bool:
        """True if the column's own condition says to skip this cell."""
        self._arguments.check_row(column, row)
        return self.work.wants_skip(column, row)

    def pause(self, until_s: float, reason: str = "") -> None:
        """The engine starts no call before `until_s`, because a call or a write failed.

        Until then it is not idle (clause SCHED-15), and after a write that failed it need not save
        (CKPT-19). Each pause answers one failure, of which several may be seen together; so report
        one for each failure, or only a pause that ends later than those before. Where pauses
        overlap, the latest end counts (clause SCHED-16).

        Args:
            until_s: the time, as `now` gives it.
            reason: for people.
        """
        fields: Entry = {"until": until_s} if math.isfinite(until_s) else {}
        self._recorder.report("pause", **fields, **({"reason": reason} if reason else {}))

    def drop(self, start: int, stop: int, column: str, cause: Cause = "failed") -> None:
        """Rows ``[start, stop)`` are dropped, because of a failure or an answer in `column`.

        A barrier that fails for good drops the rows that it would have given output to, and no
        row whose output cell was claimed or is to be skipped (clause DROP-01). A row is dropped
        when its call has failed for good, though the report comes later: an engine looks at ended
        calls before it starts others.

        Args:
            start: the first row.
            stop: the row after the last.
            column: the column.
            cause: ``"filtered"`` if its answer rejected the rows; ``"killer"`` if processes died.
        """
        self._arguments.check_column(column)
        if cause not in get_args(Cause):
            known = ", ".join(get_args(Cause))
            self._recorder.refuse(f"drop: cause: expected one of {known}, got {cause!r}")
        rows = self._arguments.rows(start, stop)
        with self._recorder.lock:
            self._calls.note_drop(start, stop, column)
            more = {} if cause == "failed" else {"cause": cause}
            self._recorder.report("drop", column=column, rows=rows, **more)

    def admit(self, group: int) -> None:
        """A row group enters; only if the workload's limits have row groups."""
        self._recorder.report("admit", rows=self._arguments.group(group))

    def retire(self, group: int) -> None:
        """A row group leaves: all its rows are resolved."""
        self._recorder.report("retire", rows=self._arguments.group(group))

    def stop(self, reason: str) -> None:
        """The run stops early: it starts no further call."""
        self._recorder.report("stop", reason=reason)

    def end(self, outcome: Outcome, reason: str | None = None) -> None:
        """The run is over, and says how it went.

        Args:
            outcome: ``success``, ``stopped``, ``failed``, or ``interrupted`` after a stop that was
                requested.
            reason: the same in words.
        """
        known = get_args(Outcome)
        if outcome not in known:
            self._recorder.refuse(f"end: expected one of {', '.join(known)}, got {outcome!r}")
        fields = {"outcome": outcome} | ({"reason": reason} if reason is not None else {})
        self._recorder.report("end", **fields)

    # For the suite and its adapters

    def note_misuse(self, mistake: str, place: tuple[str, ...]) -> None:
        """Keep a mistake that an adapter found by itself, in one line, and where it was made."""
        self._recorder.misuse, self._recorder.misuse_place = mistake, place

    def ask_to_stop(self, later: Callable[[Callable[[], None]], object], ask: AskToStop) -> None:
        """Have the engine asked to stop after the steps that the workload names.

        Args:
            later: has a function called soon, outside of the engine's own steps.
            ask: asks the engine; it gets this probe.
        """
        recorder = self._recorder
        recorder.on_stop_step = lambda: later(lambda: recorder.request_stop(lambda: ask(self)))

    def close(self) -> None:
        """End the incarnation: calls that are still running get `Crash`."""
        self._recorder.close()
