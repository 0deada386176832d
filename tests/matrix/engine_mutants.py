"""Reference engines broken on purpose: each has one method of one class replaced.

They are judged as any engine would be, by the conformance suite: by calls, reports and tables. Most
break the scheduler, one decision each; some break the driver that makes the calls, what is written,
or how the table is read back. A mutant passes the smoke test: what is wrong with it shows only
under failures, crashes, limits or an unlucky order.
"""

from __future__ import annotations

import asyncio
import heapq
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.values import SKIPPED, Table
from cellspec.engine.aio import AsyncioEngine
from cellspec.engine.base import Result
from cellspec.engine.call_builder import CallBuilder
from cellspec.engine.call_states import BACKOFF, ENDED, QUEUED, RUNNING, WAITING
from cellspec.engine.calls import BARRIER, RANGE, Call, Drop, Ending, Restored, Save
from cellspec.engine.failures import EarlyStop, Retries
from cellspec.engine.observer import Observer
from cellspec.engine.progress import Progress
from cellspec.engine.ready_nodes import ReadyNodes
from cellspec.engine.ready_queues import ReadyQueues
from cellspec.engine.resume import Resume
from cellspec.engine.row_groups import RowGroups
from cellspec.engine.saving import Saving
from cellspec.engine.scheduler import Scheduler
from cellspec.engine.skips import Skips
from cellspec.engine.slots import Slots
from cellspec.engine.storage.durable import Storage, StorageError
from cellspec.engine.storage.filesystem import RealFileSystem
from cellspec.engine.storage.recovery import CURRENT, PREVIOUS
from cellspec.engine.storage.stores import Store
from cellspec.engine.values import Values
from cellspec.engines.reference import ReferenceBackend
from cellspec.faults import BackPressure, GeneratorError
from cellspec.graph.nodes import (
    CellNodeId,
    NodeKey,
    barrier_key,
    cell_key,
    column_of,
    is_barrier_key,
    place_of,
    split_key,
)
from cellspec.machine.machine import Failure
from cellspec.machine.policy import stop_threshold
from cellspec.state.checkpoint import Checkpoint, make_payload, read_payload
from cellspec.state.claims import Claim, as_prefixes, join, meet, normal, prefix_of
from cellspec.state.codes import DROPPED_BEHIND
from cellspec.state.moving import advance_order
from cellspec.state.tracker import CompletionTracker

MEASURED = ReferenceBackend.capabilities - {"set_claims", "killer_cells"}
"""The capabilities by which most mutants are measured: claims without gaps, and no killers."""


@dataclass(frozen=True)
class EngineMutant:
    """A reference engine that is wrong, and how, in a sentence.

    Attributes:
        scheduler, engine: the classes it is made of.
        export: what it makes of the table that storage holds, given the incarnation's probe.
        lacks: capabilities of the reference that it does not declare.
        wide: its workloads ask for claims of any cells, and have killers, too.
    """

    name: str
    wrong: str
    scheduler: type[Scheduler] = Scheduler
    engine: type[AsyncioEngine] = AsyncioEngine
    export: Callable[[Table, Probe], Table] | None = None
    lacks: tuple[str, ...] = ()
    wide: bool = False

    @property
    def able(self) -> frozenset[str]:
        """The capabilities that its workloads are drawn for."""
        return ReferenceBackend.capabilities if self.wide else MEASURED

    def backend(self) -> ReferenceBackend:
        """The engine as the suite takes it."""
        broken = ReferenceBackend()
        broken.scheduler_class = self.scheduler
        broken.engine_class = self.engine
        broken.capabilities = self.able.difference(self.lacks)
        if self.export is not None:
            export, table = self.export, broken.table
            broken.table = lambda probe: export(table(probe), probe)  # type: ignore[method-assign]
        return broken

    def as_right(self) -> EngineMutant:
        """The right engine that it was made from, with its capabilities."""
        return replace(
            self,
            name="reference",
            wrong="nothing",
            scheduler=Scheduler,
            engine=AsyncioEngine,
            export=None,
        )


ENGINE_MUTANTS: list[EngineMutant] = []


PARTS = {getattr(Scheduler.parts, item.name): item.name for item in fields(Scheduler.parts)}
"""The classes that a scheduler is assembled from, with the names of their fields in `Parts`."""


def as_scheduler(broken: type) -> type[Scheduler]:
    """A scheduler class that holds a broken part, or the broken scheduler class itself."""
    if issubclass(broken, Scheduler):
        return broken
    field = next(name for part, name in PARTS.items() if issubclass(broken, part))
    changed: dict[str, Any] = {field: broken}
    parts = replace(Scheduler.parts, **changed)
    return type(broken.__name__, (Scheduler,), {"parts": parts, "__module__": broken.__module__})


def mutant(wrong: str, *, lacks: str = "", wide: bool = False) -> Callable[[Any], Any]:
    """Register a broken part of the scheduler, a scheduler, an engine, or an export function.

    Args:
        wrong: what is wrong with it, in a sentence.
        lacks: a capability that it does not promise.
        wide: its workloads ask for claims of any cells, and have killers, too.
    """

    def register(broken: Any) -> Any:
        name = broken.__name__
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
        if not isinstance(broken, type):
            kind, made, words = "export", broken, broken.__name__.replace("_", " ")
        elif issubclass(broken, AsyncioEngine):
            kind, made = "engine", broken
        else:
            kind, made = "scheduler", as_scheduler(broken)
        missing = (lacks,) if lacks else ()
        broken_one = EngineMutant(words, wrong, lacks=missing, wide=wide, **{kind: made})
        ENGINE_MUTANTS.append(broken_one)
        return broken

    return register


# ------------------------------------------------------------------------------ wake-ups, queues


@mutant("lost wake-up: of several nodes that become ready at once only the first is queued")
class QueuesTheFirstOnly(ReadyNodes):
    def settle(self) -> None:
        if self.announced and self.queues.slots.running:
            self.offer(self.progress.key(self.announced.popleft()))
            self.announced.clear()
        else:
            super().settle()


@mutant("stale ready snapshot: a node in line is started without a look at what became of it")
class StartsFromSnapshot(ReadyQueues):
    def is_startable(self, key: NodeKey) -> bool:  # noqa: ARG002
        return True


@mutant("a task is offered again after its row was dropped")
class OffersDroppedRows(Progress):
    def end_row(self, row: int) -> None:
        queued = [key for key in _row_keys(self, row) if self.state[key] == QUEUED]
        super().end_row(row)
        for key in queued:
            self.state[key] = QUEUED


def _row_keys(progress: Progress, row: int) -> list[NodeKey]:
    """The keys of the cells of a row."""
    return [cell_key(column, row) for column in range(progress.column_count)]


@mutant("a cell in backoff is not forgotten when its row is dropped, and comes back")
class RevivesRestingCells(Progress):
    def end_row(self, row: int) -> None:
        resting = [key for key in _row_keys(self, row) if self.state[key] == BACKOFF]
        super().end_row(row)
        for key in resting:
            self.state[key] = BACKOFF


@mutant("a drop does not release the barriers that wait for the row")
class DropHoldsBarriers(Progress):
    def drop_row(self, row: int, drop: Drop) -> None:
        mark = self.tracker.mark_dropped
        waiting = any(
            rule.is_barrier and self.state[cell_key(rule.index, row)] == WAITING
            for rule in self.rules.columns
        )
        if waiting:
            self.tracker.mark_dropped = lambda row: None  # type: ignore[method-assign]  # noqa: ARG005
        super().drop_row(row, drop)
        self.tracker.mark_dropped = mark  # type: ignore[method-assign]


# ----------------------------------------------------------------------------------------- slots


@mutant("a slot is not released when a call fails and will be tried again")
class KeepsSlotOnRetry(Retries):
    def back_off(self, keys: list[NodeKey], until: float) -> None:
        slots = self.queues.slots
        slots.busy[slots.resource_of[column_of(keys[0])]] += 1
        super().back_off(keys, until)


@mutant("the slot of a call whose row was dropped is never released")
class KeepsSlotOfDropped(Scheduler):
    def _release_slot(self, call: Call) -> None:
        lost = not self.progress.is_wanted(call)
        super()._release_slot(call)
        if lost:
            self.slots.busy[self.slots.resource_of[call.index]] += 1


@mutant("the slot of a retry is released twice")
class ReleasesRetrySlotTwice(Slots):
    def release(self, call: Call) -> None:
        super().release(call)
        if call.attempt > 1:
            self.busy[self.resource_of[call.index]] -= 1


@mutant("a barrier takes no slot of its resource")
class BarriersTakeNoSlot(Slots):
    def has_slot(self, resource: int) -> bool:
        barriers = sum(
            call.kind == BARRIER and self.resource_of[call.index] == resource
            for call in self.running.values()
        )
        capacity = self.capacity[resource]
        return capacity is None or self.busy[resource] - barriers < capacity


@mutant("a retry is started without a look at the limit of workers")
class RetriesBeyondWorkers(Scheduler):
    def may_start(self) -> bool:
        return super().may_start() or (
            self.early_stop.reason is None
            and not self._ended
            and len(self.slots.running) == self.limits.workers
            and bool(self.progress.attempts)
        )


# --------------------------------------------------------------------------- attempts and retries


@mutant("a retry never comes back")
class ForgetsSecondRetry(Retries):
    def wake(self, key: NodeKey) -> None:
        if self.progress.attempts.get(key, 0) < 2:
            super().wake(key)


@mutant("a retry is counted against the first column of its row")
class CountsAgainstTheRow(Retries):
    def spend_attempt(self, keys: Iterable[NodeKey]) -> None:
        super().spend_attempt(
            key if is_barrier_key(key) else cell_key(0, place_of(key)) for key in keys
        )


@mutant("back-pressure spends an attempt")
class BackPressureSpends(Retries):
    def backoff_until(self, key: NodeKey, error: BaseException, now: float) -> float:
        if isinstance(error, BackPressure):
            self.spend_attempt([key])
        return super().backoff_until(key, error, now)


@mutant("a node that spent its last attempt is tried once more")
class TriesOnceMore(Retries):
    def is_final(self, call: Call, failure: Failure) -> bool:
        if failure == "retryable":
            return call.attempt > self.policy.max_attempts
        return super().is_final(call, failure)


@mutant("a permanent failure is tried again as long as attempts are left")
class RetriesPermanentFailures(Retries):
    def is_final(self, call: Call, failure: Failure) -> bool:
        return call.attempt >= self.policy.max_attempts and failure != "backpressure"


@mutant("a node is given up one attempt too early")
class GivesUpEarly(Retries):
    def is_final(self, call: Call, failure: Failure) -> bool:
        budget = max(self.policy.max_attempts - 1, 1)
        return failure == "permanent" or (failure == "retryable" and call.attempt >= budget)


@mutant("a call that takes longer than its bound is waited for")
class WaitsForLateCalls(AsyncioEngine):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "timeout_s": None})


@mutant("a call that timed out spends no attempt")
class TimeoutsSpendNothing(Retries):
    def spend_attempt(self, keys: Iterable[NodeKey]) -> None:
        if not self.timed_out:
            super().spend_attempt(keys)

    def is_final(self, call: Call, failure: Failure) -> bool:
        self.timed_out = failure == "timeout"
        return super().is_final(call, failure)


@mutant("a call that times out is made again for ever")
class RepeatsTimeoutsForEver(Retries):
    def is_final(self, call: Call, failure: Failure) -> bool:
        return failure != "timeout" and super().is_final(call, failure)


@mutant("a call that times out is given up for good, whatever attempts are left")
class GivesUpAtATimeout(Retries):
    def is_final(self, call: Call, failure: Failure) -> bool:
        return failure == "timeout" or super().is_final(call, failure)


@mutant("a time-out counts as a permanent failure in the window of the early stop")
class CountsTimeoutsInTheWindow(Scheduler):
    def on_fail(self, call: Call, error: BaseException) -> None:
        super().on_fail(call, error)
        if isinstance(error, TimeoutError):
            self.early_stop.note_end(well=False)


@mutant("an exception that names no kind counts as an empty answer")
class TakesUnknownExceptionsAsAnswers(Scheduler):
    def on_fail(self, call: Call, error: BaseException) -> None:
        known = isinstance(error, GeneratorError | TimeoutError)
        if known or call.kind == RANGE:
            super().on_fail(call, error)
        else:
            self.on_complete(call, [""] * len(call.rows) if call.kind == BARRIER else "")


@mutant("an exception that names no kind is read as retryable, whatever the engine was told")
class RepeatsUnknownExceptions(Scheduler):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "foreign": "retryable"})


@mutant("the next event wakes every node in backoff, due or not")
class WakesTooEarly(Scheduler):
    def advance(self, now: float) -> None:
        pending, self.retries.pending = self.retries.pending, []
        for _, stamp, keys in pending:
            heapq.heappush(self.retries.pending, (now, stamp, keys))
        super().advance(now)


@mutant("attempts are remembered when a node's neighbour of the same row ends well")
class ForgetsAttempts(Progress):
    def count_cell(self, row: int) -> None:
        for key in _row_keys(self, row):
            self.attempts.pop(key, None)
        super().count_cell(row)


@mutant("a call that is made again is taken back from its worker nine times before it may end")
class TakesBackNineTimes(AsyncioEngine):
    async def _make(self, call: Call) -> None:
        place = call.column, call.scope, call.start
        self._handed: dict[tuple[str, int | None, int], int] = getattr(self, "_handed", {})
        if call.attempt > 1 and call.kind != RANGE and self._handed.get(place, 0) < 9:
            self._handed[place] = self._handed.get(place, 0) + 1
            self._loop.call_soon(self._hand_over, call)
        await super()._make(call)

    def _hand_over(self, call: Call) -> None:
        task = self._task_of.get(call.number)
        if task is not None and call.number not in self._cancelled:
            position = call.start if call.scope is None else call.scope
            self.observer.probe.take_back(call.column, position)  # type: ignore[attr-defined]
            self._cancelled.add(call.number)
            task.cancel()


# --------------------------------------------------------------------------------------- filters


@mutant("a row that an answer rejects is recorded as failed")
class RecordsFilteredAsFailed(Scheduler):
    def _drop(self, rows: list[int], drop: Drop) -> None:
        super()._drop(rows, replace(drop, kind="failed"))


@mutant(
    "a row that failed is recorded as filtered if an answer of its column rejected a row before"
)
class RecordsFailedAsFiltered(Scheduler):
    def _drop(self, rows: list[int], drop: Drop) -> None:
        known = self.progress.dropped.values()
        if any(each.kind == "filtered" and each.column == drop.column for each in known):
            drop = replace(drop, kind="filtered")
        super()._drop(rows, drop)


@mutant("an answer that rejects its row counts as a failure in the window of the early stop")
class CountsRejectsAsFailures(Scheduler):
    def _end_well(self, call: Call, row: int | None) -> bool:
        wanted = super()._end_well(call, row)
        dropped = self.progress.dropped.get(call.start)
        if dropped is not None and dropped.kind == "filtered" and self.early_stop.ends:
            self.early_stop.ends.pop()
            self.early_stop.note_end(well=False)
        return wanted


@mutant("a barrier's answer that is a list of another length is matched to rows by position")
class ZipsTheAnswer(Scheduler):
    def _complete_barrier(self, call: Call, values: Any) -> None:
        if isinstance(values, list) and len(values) != len(call.rows):
            values = dict(zip(call.rows, values, strict=False))
            values = {row: values.get(row, "") for row in call.rows}
        super()._complete_barrier(call, values)


@mutant("rows that a barrier's answer leaves out are given up as failed")
class FailsRowsLeftOut(Scheduler):
    def _reject(self, call: Call, rows: list[int]) -> None:
        if call.kind != BARRIER:
            super()._reject(call, rows)
        elif rows:
            self._drop(rows, Drop(call.column, "no value"))


# ----------------------------------------------------------------------------------------- drops


@mutant("a drop is recorded under the first column, whatever failed")
class BlamesTheFirstColumn(Scheduler):
    def _drop(self, rows: list[int], drop: Drop) -> None:
        super()._drop(rows, Drop(self._columns[0].name, drop.cause))


@mutant("a drop of several rows is recorded once for all, and once for each")
class RecordsTwice(Scheduler):
    def _drop(self, rows: list[int], drop: Drop) -> None:
        if len(rows) > 1:
            self.observer.dropped(rows[0], rows[0] + 1, drop)
        super()._drop(rows, drop)


@mutant("a barrier that fails for good drops the rows that it read, and not those to be skipped")
class DropsNoRowsOfBarrier(Scheduler):
    def _give_up(self, call: Call, keys: list[NodeKey], error: BaseException) -> None:
        if call.kind == BARRIER:
            call = call if len(call.rows) == 1 else _with_rows(call, call.rows[:-1])
            self.progress.state[keys[0]] = ENDED
            self._drop(list(call.rows), Drop(call.column, str(error)))
            return
        super()._give_up(call, keys, error)


def _with_rows(call: Call, rows: Any) -> Call:
    call.rows = rows
    return call


@mutant("a failure of one cell drops the row after it too, if that has started")
class DropsTheNextRow(Scheduler):
    def _give_up(self, call: Call, keys: list[NodeKey], error: BaseException) -> None:
        super()._give_up(call, keys, error)
        row, known = call.start + 1, self.progress
        if call.kind == BARRIER or row >= self.graph.num_records or not known.is_live(row):
            return
        started = any(known.state[key] == RUNNING for key in _row_keys(known, row))
        if started and known.open_cells[row]:
            self._drop([row], Drop(call.column, str(error)))


@mutant("running calls of the row after a dropped one are cancelled too")
class CancelsNeighbours(Scheduler):
    def doomed(self) -> list[Call]:
        found = super().doomed()
        rows = {call.start + 1 for call in found if call.kind != BARRIER}
        return found + [
            call
            for call in self.slots.running.values()
            if call.kind != BARRIER and call.start in rows and call not in found
        ]


@mutant("of several rows that are dropped at once only the first is recorded")
class RecordsTheFirstDrop(Scheduler):
    def _drop(self, rows: list[int], drop: Drop) -> None:
        self.observer.dropped(rows[0], rows[0] + 1, drop)
        for row in rows:
            self._drop_row(row, drop)


@mutant("drops are not written to storage")
class WritesNoDrops(Saving):
    def drops_to_save(self, stop: int) -> dict[int, Drop]:
        super().drops_to_save(stop)
        return {}


# -------------------------------------------------------------------------------------- barriers


class _ReadsMore(CallBuilder):
    """Makes up the inputs of rows that were dropped."""

    def read_inputs(self, column: int, rows: Iterable[int]) -> list[dict[str, Any]]:
        known = self.progress
        columns = known.rules.columns
        names = [columns[need].name for need in columns[column].needs]
        return [
            known.values.inputs(column, row) if known.is_live(row) else dict.fromkeys(names, "gone")
            for row in rows
        ]


@mutant("a barrier reads rows that were dropped")
class BarrierReadsDroppedRows(_ReadsMore):
    def read_rows(self, column: int, scope: int) -> list[int]:
        start, stop = self.progress.rules.scope_bounds(column, scope)
        rows = super().read_rows(column, scope)
        if not self.progress.rules.columns[column].needs:
            return rows
        have = [
            row
            for row in range(start, stop)
            if not self.progress.is_live(row) and row >= min(rows, default=0)
        ]
        return sorted({*rows, *have})


@mutant("a barrier reads rows in the order in which they were finished")
class BarrierReadsAsFinished(CallBuilder):
    def read_rows(self, column: int, scope: int) -> list[int]:
        rows = super().read_rows(column, scope)
        return rows[::-1] if self.progress.attempts or self.progress.dropped else rows


@mutant("a barrier that is tried again reads what it read the first time")
class BarrierReadsStaleRows(_ReadsMore):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._seen: dict[tuple[int, int], list[int]] = {}

    def read_rows(self, column: int, scope: int) -> list[int]:
        rows = self._seen.setdefault((column, scope), super().read_rows(column, scope))
        return list(rows)


@mutant("a barrier reads rows that are to be skipped")
class BarrierReadsSkippedRows(CallBuilder):
    def read_rows(self, column: int, scope: int) -> list[int]:
        start, stop = self.progress.rules.scope_bounds(column, scope)
        return [row for row in range(start, stop) if self.progress.is_live(row)]


@mutant("output of a barrier is given in the order of the rows of its scope, read or not")
class MisplacesOutput(Scheduler):
    def _complete_barrier(self, call: Call, values: Any) -> None:
        if self.dropped and len(call.rows) > 1:
            values = [*list(values)[1:], *list(values)[:1]]
        super()._complete_barrier(call, values)


@mutant("after a resume every barrier that gave any output counts as complete (seed defect 1)")
class ResumesBarriersComplete(Resume):
    def restore_tracker(
        self, restored: Restored, claim: Claim, dropped: dict[int, Drop]
    ) -> CompletionTracker:
        tracker = super().restore_tracker(restored, claim, dropped)
        for rule in self.graph.rules.columns:
            rows = prefix_of(claim[rule.index])
            if rule.is_barrier and 0 < rows < self.graph.num_records:
                scope = rows // rule.scope_rows
                tracker.mark_complete(self.graph.barrier_node(rule.index, scope))
        return tracker


# ----------------------------------------------------------------------------------------- skips


def _skipped_needs(progress: Progress, column: int, row: int) -> list[int]:
    """The columns that a cell needs and that were skipped in its row."""
    columns = progress.rules.columns
    return [
        need
        for need in columns[column].needs
        if progress.tracker.is_skipped(CellNodeId(row, columns[need].name))
    ]


@mutant("a column that takes skipped inputs is skipped all the same")
class SkipsWithoutReason(Skips):
    def must_skip(self, column: int, row: int) -> bool:
        if self.progress.rules.columns[column].is_barrier:
            return super().must_skip(column, row)
        return super().must_skip(column, row) or bool(_skipped_needs(self.progress, column, row))


@mutant("a skip goes on to the cells of later columns in its row, needed or not")
class SkipsTheRestOfTheRow(Skips):
    def must_skip(self, column: int, row: int) -> bool:
        columns, tracker = self.progress.rules.columns, self.progress.tracker
        if columns[column].is_barrier or super().must_skip(column, row):
            return super().must_skip(column, row)
        before = (CellNodeId(row, rule.name) for rule in columns[:column])
        return any(map(tracker.is_skipped, before))


@mutant("a cell is skipped only if all its inputs were")
class SkipsIfAllInputsWere(Skips):
    def must_skip(self, column: int, row: int) -> bool:
        rule = self.progress.rules.columns[column]
        if not super().must_skip(column, row) or rule.is_barrier:
            return super().must_skip(column, row)
        if self.conditions.get(rule.name) is not None:
            return True
        return len(_skipped_needs(self.progress, column, row)) == len(rule.needs)


@mutant("a column's own condition is asked about the row before")
class AsksTheRowBefore(Skips):
    def must_skip(self, column: int, row: int) -> bool:
        name = self.progress.rules.columns[column].name
        if self.progress.tracker.must_skip(CellNodeId(row, name)):
            return True
        condition = self.conditions.get(name)
        return condition is not None and condition(max(row - 1, 0), {})


@mutant("a skip is passed on to the first column that needs it only")
class PassesSkipsOnOnce(Skips):
    def must_skip(self, column: int, row: int) -> bool:
        if not super().must_skip(column, row):
            return False
        columns = self.progress.rules.columns
        skipped = _skipped_needs(self.progress, column, row)
        if self.conditions.get(columns[column].name) is not None or not skipped:
            return True
        return columns[skipped[0]].cell_dependents[:1] == (column,)


# ------------------------------------------------------------------------------ order and ranges


@mutant("ordered work is tried again out of order")
class RetriesOutOfOrder(Retries):
    def is_ready(self, key: NodeKey) -> bool:  # noqa: ARG002
        return True


class _HandsOnTurns(CompletionTracker):
    """A dropped row counts as one that has had its turn."""

    def mark_dropped(self, row: int) -> None:
        super().mark_dropped(row)
        assert self._counters is not None
        for column, body in enumerate(self._counters.cells):
            if body[row] == DROPPED_BEHIND:
                advance_order(self._counters, column, row)


@mutant("in an ordered column the row after one that is dropped does not wait for those before it")
class DropsLetRowsOvertake(Scheduler):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "tracker_class": _HandsOnTurns})


class _Lax(Values):
    """Values that give what they have."""

    def inputs(self, column: int, row: int) -> dict[str, Any]:
        return {
            name: self._columns[producer].get(row, "") for name, producer in self._sources[column]
        }


@mutant("a range takes in the row behind, whether its inputs are there or not")
class RangesTakeWaitingRows(CallBuilder):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.progress.values = _Lax(self.progress.graph)

    def may_join(self, column: int, first: int, row: int) -> bool:
        known = self.progress
        rule = known.rules.columns[column]
        key = cell_key(column, row)
        waits = known.state[key] == WAITING and self.groups.is_admitted(key) and known.is_live(row)
        skip = known.tracker.must_skip(CellNodeId(row, rule.name))
        return super().may_join(column, first, row) or (waits and not rule.ordered and not skip)


@mutant("a range that fails half-way starts again from its first row")
class RestartsWholeRanges(Scheduler):
    def _back_off(self, keys: list[NodeKey], until: float) -> None:
        column, row, is_barrier = split_key(min(keys))
        name = self._columns[column].name
        if not is_barrier and name in self._ranged and row:
            given = CellNodeId(row - 1, name) in self.tracker
            if given and self.progress.is_live(row - 1) and len(keys) > 1:
                keys = [cell_key(column, row - 1), *keys]
        super()._back_off(keys, until)


@mutant("a range counts as many slots as it has rows when it ends")
class FreesASlotForEachRow(Scheduler):
    def _end_range(self, call: Call) -> None:
        super()._end_range(call)
        if len(call.rows) > 1:
            self.slots.busy[self.slots.resource_of[call.index]] -= 1


# ------------------------------------------------------------------------------------ row groups


@mutant("one row group too many is admitted while another is about to end")
class AdmitsOneMore(RowGroups):
    def may_admit(self) -> bool:
        most = self.limits.groups
        ending = any(0 < left < 2 for left in self.group_open[: self.next_group])
        return super().may_admit() or (
            most is not None
            and self.groups_in == most
            and ending
            and self.early_stop.reason is None
        )


@mutant("a row group that ends by a drop gives no place to the next")
class LosesGroupSlotOnDrop(Scheduler):
    def _drop_row(self, row: int, drop: Drop) -> None:
        admit = self.groups.admit
        self.groups.admit = lambda: None  # type: ignore[method-assign]
        super()._drop_row(row, drop)
        self.groups.admit = admit  # type: ignore[method-assign]


@mutant("the queue of calls that wait to be tried again holds eight: one more is forgotten")
class HoldsEightRetries(Retries):
    def back_off(self, keys: list[NodeKey], until: float) -> None:
        super().back_off(keys, until)
        if len(self.pending) > 8:
            self.pending.remove(max(self.pending))


@mutant("row groups have names of one digit: no more than ten are ever admitted")
class AdmitsTenGroups(RowGroups):
    def may_admit(self) -> bool:
        return self.next_group < 10 and super().may_admit()


@mutant("a row group retires when its last row is in flight")
class RetiresEarly(RowGroups):
    def count_row(self, row: int) -> None:
        if not self.group_count:
            return
        group = self.group_of(row)
        self.group_open[group] -= 1
        last = min(1, self.group_rows - 1)
        if self.group_open[group] == last and group < self.next_group:
            self.retire(group)


@mutant("the row group after the last that was admitted runs too, once a row was finished")
class RunsOneGroupAhead(RowGroups):
    def last_group_out(self, key: NodeKey) -> int | None:
        last = super().last_group_out(key)
        if last == self.next_group and self.progress.completed_rows():
            return None
        return last


@mutant("the second row group that is admitted is the last one, to see the end of the table soon")
class AdmitsLastGroupEarly(RowGroups):
    ahead = -1

    def admit(self) -> None:
        last = self.group_count - 1
        early = self.ahead < 0 and self.next_group == 1 and last > 2 and self.group_open[last]
        if early and self.may_admit():
            self.ahead = last
            self.groups_in += 1
            self._observer.admitted(last)
        super().admit()


@mutant("after a drop the next row group waits until all that are admitted have ended")
class AdmitsInWaves(RowGroups):
    def may_admit(self) -> bool:
        return super().may_admit() and not (self.progress.dropped and self.groups_in)


class _ShiftedGroups(RowGroups):
    """Groups whose first one ends `shift` rows later."""

    shift = 0

    def group_of(self, row: int) -> int:
        return max(0, row - self.shift) // self.group_rows


@mutant("row groups are numbered again from the first open row at a resume")
class RenumbersGroups(Scheduler):
    parts = replace(Scheduler.parts, groups=_ShiftedGroups)

    def _restore_states(self, claim: Claim) -> None:
        super()._restore_states(claim)
        assert isinstance(self.groups, _ShiftedGroups)
        self.groups.shift = min(map(prefix_of, claim)) % self.groups.group_rows


# ------------------------------------------------------------------------------------ early stop


@mutant("work is dispatched after an early stop while calls are in flight")
class DispatchesAfterStop(Scheduler):
    def may_start(self) -> bool:
        return (
            not self._ended
            and self.slots.has_worker()
            and bool(self.early_stop.reason is None or self.slots.running)
        )


@mutant("a run that stops early goes on as long as a failed call waits to be tried again")
class GoesOnWhileACallWaits(Scheduler):
    def _stops(self) -> bool:
        return super()._stops() and (self._stop_requested or self.retries.next_wake_s() is None)


@mutant("time-outs count towards the early stop")
class TimeOutsStopTheRun(Scheduler):
    def _fail(
        self, call: Call, keys: list[NodeKey], failure: Failure, error: BaseException
    ) -> None:
        if failure == "retryable":
            self.early_stop.note_end(well=False)
        super()._fail(call, keys, failure, error)


@mutant("the window of the early stop is never full: completions push failures out twice")
class StopsTooLate(EarlyStop):
    def note_end(self, *, well: bool) -> None:
        super().note_end(well=well)
        if well and self.policy.stop_window is not None:
            super().note_end(well=True)


@mutant("the early stop does not wait for its window to be full")
class StopsTooEarly(EarlyStop):
    def fails_too_often(self) -> bool:
        bad = self.ends.count(False)
        ended = len(self.ends)
        return ended > 1 and bad >= stop_threshold(ended, self.policy.stop_rate)


@mutant("a run that stopped early, with every row resolved that had started, reports success")
class ReportsSuccessAfterStop(Scheduler):
    def _judge_end(self) -> Ending:
        ending = super()._judge_end()
        return Ending("success", ending.reason) if ending.outcome == "stopped" else ending


@mutant("a run that dropped rows reports failure, though all the rest is safe")
class ReportsFailureForDrops(Scheduler):
    def _judge_end(self) -> Ending:
        ending = super()._judge_end()
        if ending.outcome == "success" and self.dropped:
            return Ending("failed", ending.reason)
        return ending


@mutant("a run gives up when all that is left is in backoff after a failure")
class GivesUpInsteadOfWaiting(Scheduler):
    def _is_stuck(self) -> bool:
        return super()._is_stuck() or not (self.slots.running or any(self.queues.queues))


# ----------------------------------------------------------------------------- saves and resumes


@mutant("success is reported before the last rows are written, if a checkpoint was")
class EndsBeforeTheLastSave(Scheduler):
    def is_over(self) -> bool:
        saves = self.saving
        return super().is_over() or (
            self._is_work_over() and saves.in_flight is None and min(as_prefixes(saves.claimed)) > 0
        )

    def _judge_end(self) -> Ending:
        ending = super()._judge_end()
        return Ending("success", "") if min(as_prefixes(self.saving.claimed)) > 0 else ending


@mutant("a claim counts finished rows, gaps or not")
class ClaimsFinishedRows(Scheduler):
    def _assemble(self) -> None:
        super()._assemble()
        right = self.saving.claim
        self.saving.claim = lambda: self._with_gaps(right())  # type: ignore[method-assign]

    def _with_gaps(self, checkpoint: Checkpoint) -> Checkpoint:
        if self._is_work_over() or self.slots.running:
            rows = sum(not left for left in self.progress.open_cells)
            claim = as_prefixes(read_payload(checkpoint, self.graph))
            more = tuple(max(mine, rows) for mine in claim)
            return make_payload(self.graph, more, self.plan.version)
        return checkpoint


@mutant("after a resume claims count from the rows of this incarnation")
class ClaimsFromTheResume(Saving):
    _base = 0

    def restore(self, claim: Claim) -> None:
        super().restore(claim)
        self._base = min(as_prefixes(claim))

    def claim(self) -> Checkpoint:
        graph = self.progress.graph
        claim = as_prefixes(read_payload(super().claim(), graph))
        if min(claim) < graph.num_records:
            claim = tuple(max(rows - self._base, 0) for rows in claim)
        return make_payload(graph, claim, self.plan.version)


@mutant("a save writes rows up to the first gap only, and claims those behind it", wide=True)
class WritesUpToTheFirstGap(Saving):
    def next_save(self, *, final: bool) -> Save | None:
        save = super().next_save(final=final)
        if save is None or save.checkpoint is None:
            return save
        claim = read_payload(save.checkpoint, self.progress.graph, self.progress.dropped)
        first = dict(zip(self.progress.graph.column_names, map(prefix_of, claim), strict=True))
        ranges = tuple(each for each in save.ranges if each[2] <= first[each[0]])
        self.in_flight = replace(save, ranges=ranges)
        return self.in_flight


@mutant("a resume from a claim of any cells takes its first rows alone as done", wide=True)
class CountsFirstRowsAsDone(Scheduler):
    def _restore_states(self, claim: Claim) -> None:
        super()._restore_states(tuple(map(prefix_of, claim)))


@mutant("a cell with which processes died is tried again without end", wide=True)
class TriesKillersWithoutEnd(Scheduler):
    def begin(self, restored: Restored | None = None, *, keep: bool = False) -> None:
        self.spent = ()
        super().begin(restored, keep=keep)


@mutant("a run that claims any cells claims first rows when it is asked to stop", wide=True)
class ClaimsFirstRowsAtAStop(Scheduler):
    def _assemble(self) -> None:
        super()._assemble()
        self.saving.claim = self._claim  # type: ignore[method-assign]
        self._all = type(self.saving).claim

    def _claim(self) -> Checkpoint:
        checkpoint = self._all(self.saving)
        if not self._stop_requested or self.plan.version < 3:
            return checkpoint
        claim = read_payload(checkpoint, self.graph, self.dropped)
        less = tuple(map(join, map(prefix_of, claim), self.saving.claimed))
        return make_payload(self.graph, less, 3)


@mutant("a resume forgets the drops that its claim covers")
class ForgetsDrops(Resume):
    def covered_drops(self, restored: Restored, claim: Claim) -> dict[int, Drop]:  # noqa: ARG002
        return {}


@mutant("a resume with another target keeps what barriers gave, whatever it is told")
class KeepsBarrierOutput(Resume):
    def check_target(self, records: int, claim: Claim, *, keep: bool) -> None:
        pass


@mutant("a resume queues a claimed cell again, if its barrier must run again")
class RunsClaimedCells(Scheduler):
    def _restore_states(self, claim: Claim) -> None:
        super()._restore_states(claim)
        known = self.progress
        for rule in self._columns:
            rows = prefix_of(claim[rule.index])
            if not rule.is_barrier and 1 < rows < self.graph.num_records and rule.needs:
                key = cell_key(rule.index, rows - 1)
                known.state[key] = WAITING
                known.open_cells[rows - 1] += 1
                known.open_rows += known.open_cells[rows - 1] == 1
                self.ready.announced.append(known.node(key))
                return


@mutant("after a resume a barrier that some claimed rows are of runs again, and then once more")
class RunsClaimedBarriersTwice(Scheduler):
    _once_more: frozenset[NodeKey] = frozenset()

    def _restore_states(self, claim: Claim) -> None:
        super()._restore_states(claim)
        rules = self.graph.rules
        self._once_more = frozenset(
            barrier_key(rule.index, scope)
            for rule in rules.columns
            for scope in range(rules.scope_count(rule.index))
            if meet(claim[rule.index], normal([rules.scope_bounds(rule.index, scope)]))
        )

    def _complete_barrier(self, call: Call, values: Any) -> None:
        (key,) = self.progress.keys_of(call)
        if key not in self._once_more:
            super()._complete_barrier(call, values)
            return
        self._once_more -= {key}
        self._release_slot(call)
        self.retries.return_at_once(key)


@mutant("after a drop a checkpoint is begun before its rows are written")
class ChecksPointsAheadOfData(AsyncioEngine):
    async def _save(self, save: Save) -> None:
        if save.checkpoint is not None and self.scheduler.dropped:
            self._save_step(self.scheduler.on_checkpoint_begin, save)
            await self._in_thread(self.store.write_checkpoint, save.checkpoint)
            await self._in_thread(self.store.write_rows, save)
            self._save_step(self.scheduler.on_rows_durable, save)
            self._save_step(self.scheduler.on_checkpoint_durable, save)
            return
        await super()._save(save)


@mutant("a row is dropped in which two calls end at the same moment")
class DropsOnDoubleEnd(AsyncioEngine):
    _last_s = -1.0

    def _report(self, step: Callable[..., None], *arguments: Any) -> None:
        super()._report(step, *arguments)
        call = arguments[0]
        if step == self.scheduler.on_complete and call.kind != RANGE:
            if self._last_s == self._loop.time() and call.kind != BARRIER:
                self.scheduler.observer.dropped(call.start, call.stop, Drop(call.column, "again"))
            self._last_s = self._loop.time()


# ------------------------------------------------------------------------------ storage and table


@mutant("saves at the end alone, whatever the workload asks for")
class SavesAtTheEnd(Saving):
    def is_due(self) -> bool:
        return False


@mutant("ends as success although the last writes failed")
class EndsWellAfterAFailedWrite(Scheduler):
    def _judge_end(self) -> Ending:
        ending = super()._judge_end()
        saved = self.progress.open_rows or ending.outcome != "failed"
        return ending if saved else Ending("success", "every row was made")


@mutant("ends without the last claim, for every row is on storage")
class EndsWithoutTheLastClaim(Scheduler):
    def due_save(self) -> Save | None:
        save = super().due_save()
        done = not self.progress.open_rows
        if save is not None and save.final and done and any(self.saving.claimed):
            return replace(save, checkpoint=None)
        return save

    def _judge_end(self) -> Ending:
        ending = super()._judge_end()
        left = self.progress.open_rows or self.saving.error or ending.outcome != "failed"
        return ending if left else Ending("success", "every row is on storage")


@mutant("an early stop ends at once, without a last save")
class StopsWithoutSaving(Scheduler):
    def due_save(self) -> Save | None:
        stops = self.early_stop.reason is not None
        return None if stops and self._is_work_over() else super().due_save()

    def is_over(self) -> bool:
        stops = self.early_stop.reason is not None
        return (stops and self._is_work_over()) or super().is_over()


@mutant("an early stop ends at once, without a last save, and is reported as a failure")
class FailsWithoutSaving(StopsWithoutSaving):
    def _judge_end(self) -> Ending:
        ending = super()._judge_end()
        return Ending("failed", ending.reason) if ending.outcome == "stopped" else ending


@mutant("after the first write that failed nothing is saved any more", lacks="prompt_saving")
class NeverSavesAgain(Saving):
    _gave_up = False

    def _fail(self, save: Save, error: Exception) -> None:
        super()._fail(save, error)
        self._gave_up = True

    def is_done(self) -> bool:
        return self._gave_up or super().is_done()

    def next_save(self, *, final: bool) -> Save | None:
        return None if self._gave_up else super().next_save(final=final)


@mutant("after a claim that could not be written, the claim before is thrown away too")
class ThrowsTheClaimBeforeAway(AsyncioEngine):
    def _save_step(self, step: Callable[..., None], *arguments: Any) -> None:
        super()._save_step(step, *arguments)
        if step == self.scheduler.on_checkpoint_failed:
            assert isinstance(self.store, Storage)
            assert isinstance(self.store.files, RealFileSystem)
            for name in (CURRENT, PREVIOUS):
                (self.store.files.root / name).unlink(missing_ok=True)


@mutant("a group retires only after all groups before it")
class RetiresInOrder(RowGroups):
    def retire(self, group: int) -> None:
        waiting = vars(self).setdefault("finished", set())
        waiting.add(group)
        for one in sorted(waiting):
            if not any(self.group_open[: one + 1]):
                waiting.discard(one)
                super().retire(one)


@mutant(
    "an engine that does not promise work conservation retires a group only after all before it",
    lacks="work_conserving",
)
class RetiresInOrderAtLeisure(RetiresInOrder):
    pass


@mutant("the skip conditions of columns are never asked")
class IgnoresConditions(Skips):
    def must_skip(self, column: int, row: int) -> bool:
        name = self.progress.rules.columns[column].name
        return self.progress.tracker.must_skip(CellNodeId(row, name))


@mutant("saves one row late")
class SavesOneRowLate(Saving):
    def is_due(self) -> bool:
        every = self.plan.every_rows
        return every is not None and self.progress.completed_rows() - self._due_rows > every


@mutant("holds saves back while a failed call waits to be tried again")
class HoldsSavesWhileRetrying(Scheduler):
    def due_save(self) -> Save | None:
        return None if self.wake_s() is not None else super().due_save()


class _OtherStorage(AsyncioEngine):
    """An engine whose storage is another one."""

    storage: type[Storage] = Storage

    def _open_store(self, folder: str | Path | None, run: str) -> Store:
        assert folder is not None
        files = RealFileSystem(Path(folder), before_step=self.observer.storage_step)
        return self.storage(files, self.graph, run=run)


class _SwapsRows(Storage):
    def write_rows(self, save: Save) -> None:
        rows = dict(save.rows)
        full = [
            row
            for row in sorted(rows)
            if row > 2 and row - 1 in rows and rows[row].keys() == rows[row - 1].keys()
        ]
        if full:
            rows[full[0]], rows[full[0] - 1] = rows[full[0] - 1], rows[full[0]]
        super().write_rows(replace(save, rows=rows))


@mutant("rows of one save are written in each other's place")
class SwapsRowsOnWrite(_OtherStorage):
    storage = _SwapsRows


class _ForgetsSkipMarks(Storage):
    def load(self) -> Restored | None:
        found = super().load()
        if found is None:
            return None
        rows = {
            row: {name: "" if value is SKIPPED else value for name, value in values.items()}
            for row, values in found.rows.items()
        }
        return replace(found, rows=rows)


@mutant("skip marks are read back as empty values")
class ReadsSkipsAsValues(_OtherStorage):
    storage = _ForgetsSkipMarks


class _BelievesTheNewest(Storage):
    def load(self) -> Restored | None:
        found = super().load()
        if found is None or found.checkpoint["version"] != 1:
            return found
        rows = found.checkpoint["completed_rows"]
        return replace(found, checkpoint={"version": 1, "completed_rows": max(rows - 1, 0)})


@mutant("a resume goes back a row behind the last checkpoint, to be on the safe side")
class ResumesARowBack(_OtherStorage):
    storage = _BelievesTheNewest


@mutant("the version of a column is not compared: cells of an earlier prompt are taken over")
class TakesAnyVersion(AsyncioEngine):
    def expect_config(self, restored: Restored) -> None:
        pass


@mutant("the version of the first column alone is compared")
class ComparesOneVersion(AsyncioEngine):
    def expect_config(self, restored: Restored) -> None:
        first = self.graph.column_names[0]
        config = {name: v for name, v in (restored.config or {}).items() if name == first}
        super().expect_config(replace(restored, config=config))


class _ClearsTheFolder(Storage):
    def load(self) -> Restored | None:
        try:
            return super().load()
        except StorageError:
            for name in self.files.names():
                self.files.remove(name)
            return super().load()


@mutant("a folder that holds another pipeline is cleared, and the run begins in it")
class ClearsTheFolder(_OtherStorage):
    storage = _ClearsTheFolder


class _FailsOnce(Storage):
    """A disk that cannot write the second checkpoint of an incarnation."""

    writes = 0

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        self.writes += 1
        if self.writes != 2:
            super().write_checkpoint(checkpoint)


@mutant("a checkpoint write error is swallowed: the claim is taken for durable")
class SwallowsWriteErrors(_OtherStorage):
    storage = _FailsOnce


@mutant("skip marks are left out of the table")
def table_without_skip_marks(table: Table, _: Probe) -> Table:
    rows = {
        row: {name: value for name, value in cells.items() if value is not SKIPPED}
        for row, cells in table.rows.items()
    }
    return Table(rows, table.dropped)


@mutant("the table closes the gaps that dropped rows leave")
def table_without_gaps(table: Table, _: Probe) -> Table:
    rows = {number: table.rows[row] for number, row in enumerate(sorted(table.rows))}
    return Table(rows, frozenset())


@mutant("rows are read back in the order of their names as texts: 10 stands before 2")
def table_in_order_of_names(table: Table, _: Probe) -> Table:
    names = sorted(table.rows, key=str)
    return Table(
        {row: table.rows[name] for row, name in zip(sorted(table.rows), names, strict=True)},
        table.dropped,
    )


@mutant("texts that look like a null are read back as empty")
def table_without_nulls(table: Table, _: Probe) -> Table:
    nulls = {"null", "None", "NaN", "nan", "NULL", ""}
    rows = {
        row: {name: "" if value in nulls else value for name, value in cells.items()}
        for row, cells in table.rows.items()
    }
    return Table(rows, table.dropped)


@mutant("the table is read back line by line: a text of several lines ends with its first one")
def table_of_first_lines(table: Table, _: Probe) -> Table:
    rows = {
        row: {
            name: value.partition("\n")[0] if isinstance(value, str) else value
            for name, value in cells.items()
        }
        for row, cells in table.rows.items()
    }
    return Table(rows, table.dropped)


@mutant("texts that look like a number are read back as the number")
def table_with_numbers(table: Table, _: Probe) -> Table:
    def read(value: Any) -> Any:
        try:
            return f"{float(value):g}" if isinstance(value, str) else value
        except ValueError:
            return value

    rows = {
        row: {name: read(value) for name, value in cells.items()}
        for row, cells in table.rows.items()
    }
    return Table(rows, table.dropped)


@mutant("of rows with equal values only the first is kept")
def table_without_duplicates(table: Table, _: Probe) -> Table:
    seen = set()
    kept = {}
    for row, cells in sorted(table.rows.items()):
        values = tuple(value for value in cells.values() if value is not SKIPPED)
        if not values or values not in seen:
            kept[row] = cells
        seen.add(values)
    return Table(kept, table.dropped)


@mutant("a barrier reads a window of 64 rows")
class BarrierReadsAWindow(CallBuilder):
    def _barrier_call(self, column: int, scope: int, number: int) -> Call:
        call = super()._barrier_call(column, scope, number)
        return replace(call, rows=call.rows[:64], inputs=call.inputs[:64])


@mutant("slots are counted for all resources together")
class OnePoolOfSlots(Slots):
    def has_slot(self, resource: int) -> bool:
        capacity = self.capacity[resource]
        return capacity is None or sum(self.busy[:-1]) < capacity


@mutant("dropped rows stand in the table, empty")
def table_with_dropped_rows(table: Table, _: Probe) -> Table:
    names = [name for cells in table.rows.values() for name in cells]
    if not names:
        return table
    empty = {row: dict(next(iter(table.rows.values()))) for row in table.dropped}
    return Table({**table.rows, **empty}, table.dropped)


@mutant("after a resume the table leaves out the first row, which an earlier incarnation wrote")
def table_of_this_incarnation(table: Table, probe: Probe) -> Table:
    return Table(
        {row: cells for row, cells in table.rows.items() if row or not probe.incarnation},
        table.dropped,
    )


@mutant("after a resume claimed cells are read back as skipped if the column may skip")
def table_that_forgets_values(table: Table, probe: Probe) -> Table:
    if probe.incarnation < 1:
        return table
    rows = {
        row: {
            name: SKIPPED if row == 0 and place == 0 else value
            for place, (name, value) in enumerate(cells.items())
        }
        for row, cells in table.rows.items()
    }
    return Table(rows, table.dropped)


@mutant("until the run is over the drops of earlier incarnations are not read back")
def table_that_forgets_drops(table: Table, probe: Probe) -> Table:
    over = len(table.rows) + len(table.dropped) == probe.graph.num_records
    return table if over or not probe.incarnation else Table(table.rows, frozenset())


@mutant("the last row counts as dropped in the table, if any row was dropped")
def table_that_drops_the_last_row(table: Table, probe: Probe) -> Table:
    last = probe.graph.num_records - 1
    if not table.dropped or last not in table.rows:
        return table
    rows = {row: cells for row, cells in table.rows.items() if row != last}
    return Table(rows, table.dropped | {last})


@mutant("of a plain column the values of rows 2 and 3 stand in each other's place")
def table_with_values_swapped(table: Table, probe: Probe) -> Table:
    rows = {row: dict(cells) for row, cells in table.rows.items()}
    for rule in probe.graph.rules.columns:
        if not rule.scope_rows and rule.name in rows.get(2, {}) and rule.name in rows.get(3, {}):
            rows[2][rule.name], rows[3][rule.name] = rows[3][rule.name], rows[2][rule.name]
            break
    return Table(rows, table.dropped)


# ---------------------------------------------------------------- engines that promise less


@mutant(
    "while a node waits to be tried again nothing starts, and nobody is told of a pause",
    lacks="work_conserving",
)
class SleepsInBackoff(Scheduler):
    def next_call(self) -> Call | None:
        return None if self.wake_s() is not None else super().next_call()


class _KeepsPlaces(RowGroups):
    due: tuple[int, ...] = ()

    def retire(self, group: int) -> None:
        self.due += (group,)


class RetiresOnTheNextTick(as_scheduler(_KeepsPlaces)):  # type: ignore[misc]  # made of a part
    tick_s: float | None = None

    def advance(self, now: float) -> None:
        if self.tick_s is not None and now >= self.tick_s:
            due, self.groups.due, self.tick_s = self.groups.due, (), None
            for group in due:
                RowGroups.retire(self.groups, group)
        super().advance(now)

    def wake_s(self) -> float | None:
        if self.groups.due and self.tick_s is None:
            self.tick_s = self.now + 0.5
        times = (super().wake_s(), None if self._stops() else self.tick_s)
        return min((each for each in times if each is not None), default=None)


ENGINE_MUTANTS.append(
    EngineMutant(
        "retires on the next tick",
        "a row group that is finished retires half a second later, and another waits for its place",
        scheduler=RetiresOnTheNextTick,
        lacks=("work_conserving",),
    )
)


class _HoldsSkips(ReadyNodes):
    held: tuple[NodeKey, ...] = ()

    def offer(self, key: NodeKey) -> None:
        column, place, is_barrier = split_key(key)
        rules = self.progress.rules.columns
        if not is_barrier and self.progress.state[key] == WAITING:
            cell = CellNodeId(place, rules[column].name)
            if self.progress.tracker.must_skip(cell) and self._groups.is_admitted(key):
                self.held += (key,)
                return
        super().offer(key)


class PassesSkipsOnLate(as_scheduler(_HoldsSkips)):  # type: ignore[misc]  # made of a part
    tick_s: float | None = None

    def advance(self, now: float) -> None:
        if self.tick_s is not None and now >= self.tick_s:
            due, self.ready.held, self.tick_s = self.ready.held, (), None
            for key in due:
                ReadyNodes.offer(self.ready, key)
        super().advance(now)

    def wake_s(self) -> float | None:
        if self.ready.held and self.tick_s is None:
            self.tick_s = self.now + 0.5
        times = (super().wake_s(), None if self._stops() else self.tick_s)
        return min((each for each in times if each is not None), default=None)


ENGINE_MUTANTS.append(
    EngineMutant(
        "passes skips on late",
        "a cell of which an input was skipped is skipped half a second later",
        scheduler=PassesSkipsOnLate,
        lacks=("work_conserving",),
    )
)


@mutant(
    "once it has saved, the engine looks for work one tick late when its last call has ended",
    lacks="work_conserving",
)
class IdlesOneTick(AsyncioEngine):
    saved = False

    async def _save(self, save: Save) -> None:
        await super()._save(save)
        self.saved = save.checkpoint is not None

    async def _work(self) -> None:
        if self.saved and not self._task_of:
            await asyncio.sleep(1 / 16)
        await super()._work()


# ---------------------------------------------------------------- storage that is not reported


class _Quiet(Observer):
    """Tells nobody of storage, as an engine does that has no hook for it."""

    def __init__(
        self, inner: Observer, silent: Collection[str] = ("rows_", "checkpoint_", "storage_")
    ) -> None:
        for name, step in vars(Observer).items():
            if callable(step) and not name.startswith(("_", *silent)):
                setattr(self, name, getattr(inner, name))


class ReportsNoStorage(AsyncioEngine):
    def __init__(self, *arguments: Any, observer: Observer, **options: Any) -> None:
        super().__init__(*arguments, observer=_Quiet(observer), **options)


class ClaimsNothingLater(AsyncioEngine):
    def __init__(self, *arguments: Any, observer: Any, **options: Any) -> None:
        resumed = observer.probe.incarnation > 0
        later = resumed and observer.probe.work.failures.stop_window is None
        observer = _Quiet(observer, ("checkpoint_",)) if later else observer
        options["checkpoint_version"] = 1
        super().__init__(*arguments, observer=observer, **options)


class ReportsNoClaims(AsyncioEngine):
    def __init__(self, *arguments: Any, observer: Any, **options: Any) -> None:
        # Of storage that fails nobody may be silent.
        faults = observer.probe.work.storage_faults
        options["checkpoint_version"] = 1
        super().__init__(*arguments, observer=observer if faults else _Quiet(observer), **options)


ENGINE_MUTANTS.append(
    EngineMutant(
        "leaves a table without its last rows",
        "an early stop ends without a last save, and storage is not reported",
        scheduler=StopsWithoutSaving,
        engine=ReportsNoClaims,
        lacks=("prompt_saving", "column_checkpoints"),
    )
)


ENGINE_MUTANTS.append(
    EngineMutant(
        "claims nothing later",
        "a process that was resumed, and cannot stop early, reports no claim on what it saves",
        engine=ClaimsNothingLater,
        # Nobody asks it for claims: only those that it made show that it does make them.
        lacks=("prompt_saving", "column_checkpoints"),
    )
)


# ------------------------------------------------------------------------------- stops on request


@mutant("after a request to stop a slot that comes free is filled once more")
class FillsOneMoreSlot(Scheduler):
    _more = True

    def may_start(self) -> bool:
        return super().may_start() or (
            self._stop_requested and self._more and self.slots.has_worker() and not self._ended
        )

    def _start(self, key: NodeKey) -> Call:
        self._more = not self._stop_requested
        return super()._start(key)


@mutant("after a request to stop a row group is admitted in the place of one that retires")
class AdmitsAfterTheRequest(RowGroups):
    def close(self) -> None:
        pass


@mutant("after a request to stop a call that fails is tried again")
class RetriesAfterTheRequest(Scheduler):
    def _stops(self) -> bool:
        waits = self.retries.next_wake_s() is not None or not self.queues.is_empty()
        return super()._stops() and not (self._stop_requested and self.progress.attempts and waits)


@mutant("a run that is asked to stop waits until its backoffs are over")
class WaitsOutItsBackoffs(Scheduler):
    def _is_work_over(self) -> bool:
        return super()._is_work_over() and self.retries.next_wake_s() is None

    def wake_s(self) -> float | None:
        return self.retries.next_wake_s()


@mutant("a run that was asked to stop reports an early stop")
class CallsARequestAnEarlyStop(Scheduler):
    def _judge_end(self) -> Ending:
        ending = super()._judge_end()
        asked = ending.outcome == "interrupted"
        return Ending("stopped", ending.reason) if asked else ending


@mutant("a run that was asked to stop reports success")
class CallsAnInterruptionSuccess(Scheduler):
    def _judge_end(self) -> Ending:
        ending = super()._judge_end()
        asked = ending.outcome == "interrupted"
        return Ending("success", ending.reason) if asked else ending


@mutant("a run that was asked to stop reports failure")
class CallsAnInterruptionFailure(Scheduler):
    def _judge_end(self) -> Ending:
        ending = super()._judge_end()
        asked = ending.outcome == "interrupted"
        return Ending("failed", ending.reason) if asked else ending


@mutant("a run that stops early reports that it was interrupted")
class CallsAnEarlyStopARequest(Scheduler):
    def _judge_end(self) -> Ending:
        ending = super()._judge_end()
        early = ending.outcome == "stopped"
        return Ending("interrupted", ending.reason) if early else ending


class _SaysInterrupted(Scheduler):
    def _judge_end(self) -> Ending:
        ending = super()._judge_end()
        saved = min(as_prefixes(self.saving.claimed))
        asked = self._stop_requested and saved < self.graph.num_records
        return Ending("interrupted", ending.reason) if asked else ending


@mutant("a run that is asked to stop leaves what is finished unsaved")
class LeavesFinishedRowsUnsaved(_SaysInterrupted):
    def due_save(self) -> Save | None:
        return None if self._stop_requested else super().due_save()

    def is_over(self) -> bool:
        stops = self._stop_requested and self.saving.in_flight is None
        return super().is_over() or (stops and self._is_work_over())


@mutant("the last save comes when the run is asked to stop, before the last call has ended")
class SavesAtTheRequest(_SaysInterrupted):
    def due_save(self) -> Save | None:
        asked = self._stop_requested and self.slots.running and self.saving.may_begin()
        return self.saving.next_save(final=True) if asked else super().due_save()


@mutant("a second request ends the run at once, with calls in flight and without the last save")
class BreaksOffAtTheSecondRequest(_SaysInterrupted):
    _breaks_off = False

    def request_stop(self) -> None:
        self._breaks_off = self._stop_requested
        super().request_stop()

    def is_over(self) -> bool:
        return super().is_over() or (self._breaks_off and self.saving.in_flight is None)


class EndsAtTheRequest(Scheduler):
    def _is_work_over(self) -> bool:
        return self._stop_requested or super()._is_work_over()


class LetsCallsRunOn(AsyncioEngine):
    async def _abandon(self) -> None:
        if self._error is not None:
            await super()._abandon()


ENGINE_MUTANTS.append(
    EngineMutant(
        "leaves calls in flight",
        "a run that is asked to stop saves what is finished and ends, while its calls run on",
        scheduler=EndsAtTheRequest,
        engine=LetsCallsRunOn,
    )
)


@mutant("an interrupted run is begun anew by the next process")
class BeginsAnewAfterAnInterruption(AsyncioEngine):
    def _open_store(self, folder: str | Path | None, run: str) -> Store:
        assert folder is not None
        self._mark = Path(folder, "interrupted")
        if self._mark.exists():
            shutil.rmtree(folder)
            Path(folder).mkdir()
        return super()._open_store(folder, run)

    def result_of(self, ending: Ending) -> Result:
        if ending.outcome == "interrupted":
            self._mark.touch()
        return super().result_of(ending)


class GivesUpTheRowAtTheClaim(Scheduler):
    def _restore_states(self, claim: Claim) -> None:
        super()._restore_states(claim)
        row = min(as_prefixes(claim))
        known = self.progress
        if 0 < row < self.graph.num_records and known.is_live(row) and known.open_cells[row]:
            self._drop([row], Drop(self._columns[-1].name, "it ran when the process died"))


ENGINE_MUTANTS.append(
    EngineMutant(
        "gives up the row at the claim",
        "a resume gives up the first row that is not claimed, and storage is not reported",
        scheduler=GivesUpTheRowAtTheClaim,
        engine=ReportsNoStorage,
        # It claims nothing that the suite hears of.
        lacks=("prompt_saving", "column_checkpoints"),
    )
)
