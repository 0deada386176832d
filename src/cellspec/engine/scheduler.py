"""The scheduler: decides which call runs next, and what follows when one ends.

It does not read, write or wait. A driver (`cellspec.engine.aio`,
`cellspec.engine.threads`) owns a clock, tasks and storage, and talks to the `Scheduler` like this::

    scheduler.begin(restored)                     # or None: the first incarnation
    scheduler.advance(now)                        # before anything else, whenever time moved on
    while call := scheduler.next_call():          # takes a slot; make the call
        ...
    scheduler.on_complete(call, value)            # or on_row … on_range_end, on_fail, on_cancel
    if save := scheduler.due_save():              # write the rows, then the checkpoint
        scheduler.on_rows_durable(save); scheduler.on_checkpoint_begin(save); ...
    scheduler.wake_s()                            # when to `advance` although nothing ends
    scheduler.request_stop()                      # somebody wants the run to end soon
    scheduler.is_over(); scheduler.finish()

The `Scheduler` is assembled from parts, each in a module of its own:

==================  ================================================================================
module              it decides or keeps
==================  ================================================================================
``progress``        the state of each node (``call_states``), attempts, values, dropped rows
``slots``           running calls, and whether limits allow one more
``ready_nodes``     whether a node that became ready is queued, skipped, emitted or held back
``ready_queues``    which ready node goes first
``barrier_turns``   nodes held back until a running barrier call has ended
``row_groups``      which rows are admitted
``skips``           which cells are skipped
``call_builder``    rows, inputs and attempt of a call; how far a range goes
``failures``        whether a failure is final, backoff, early stop
``saving``          when rows and checkpoints are written, and what a checkpoint claims
``resume``          the states and values that an earlier incarnation left
==================  ================================================================================

An event costs its own cells, the logarithm of a queue, and no more. Two exceptions are by design: a
barrier looks at its scope, and a save at the rows that it writes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

from cellspec.engine.barrier_turns import BarrierTurns
from cellspec.engine.call_builder import CallBuilder
from cellspec.engine.call_states import RUNNING
from cellspec.engine.calls import (
    BARRIER,
    Backoff,
    Call,
    CheckpointPlan,
    Drop,
    Ending,
    Failed,
    Order,
    Restored,
    Save,
)
from cellspec.engine.failures import EarlyStop, Retries, cause_of, failure_of
from cellspec.engine.observer import Observer
from cellspec.engine.progress import Progress
from cellspec.engine.ready_nodes import ReadyNodes
from cellspec.engine.ready_queues import ReadyQueues
from cellspec.engine.resume import Resume
from cellspec.engine.row_groups import RowGroups
from cellspec.engine.saving import Saving
from cellspec.engine.skips import Skips, WantsSkip
from cellspec.engine.slots import Slots
from cellspec.engine.values import Values
from cellspec.errors import SpecError
from cellspec.faults import Permanent
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import NodeId, NodeKey, cell_key, place_of
from cellspec.graph.rowset import ranges_of
from cellspec.machine.actions import Failure
from cellspec.machine.limits import FailurePolicy, Limits, check_limits
from cellspec.machine.policy import spends_attempt
from cellspec.rejected import REJECTED
from cellspec.state.checkpoint import read_payload
from cellspec.state.claims import Claim, count_rows, covers, meet
from cellspec.state.tracker import CompletionTracker
from cellspec.text import counted

__all__ = ["Parts", "Scheduler", "WantsSkip"]

_KILLER = "processes died while it was in flight"


@dataclass(frozen=True)
class Parts:
    """The classes that a scheduler is assembled from; a test puts a broken one in their place."""

    progress: type[Progress] = Progress
    slots: type[Slots] = Slots
    queues: type[ReadyQueues] = ReadyQueues
    turns: type[BarrierTurns] = BarrierTurns
    groups: type[RowGroups] = RowGroups
    skips: type[Skips] = Skips
    ready: type[ReadyNodes] = ReadyNodes
    calls: type[CallBuilder] = CallBuilder
    retries: type[Retries] = Retries
    early_stop: type[EarlyStop] = EarlyStop
    saving: type[Saving] = Saving
    resume: type[Resume] = Resume


class Scheduler:
    """Decides what one incarnation of a run does; see the module for how it is driven.

    Args:
        graph: the columns and rows to generate.
        limits: how much may run at once.
        failures: attempts, and when to stop early.
        order: which ready node goes first: "row-first" (rows finish early) or "fifo".
        range_rows: most rows of one range, for columns that can run several rows in one call.
        ranged: the columns that run ranges; others run cell by cell.
        plan: when to save.
        backoff: how long a node waits after a failure.
        foreign: how to read an exception that names no kind.
        wants_skip: the conditions of columns that may skip.
        observer: is notified of every step.
        tracker_class: which tracker to use.

    Attributes:
        parts: the classes that it is assembled from.
        now: seconds of the driver's clock, as given to the last `advance`.
        on_news: called when `next_call` gave up a row, so that a save or the end may be due.
        spent: cells to give up: so many processes died with them in flight (clause DROP-06).

    Raises:
        SpecError: limits that cannot admit a barrier's whole scope (clause GROUP-04), or an
            argument that is not of its kind.
    """

    parts: ClassVar[Parts] = Parts()

    def __init__(
        self,
        graph: ExecutionGraph,
        *,
        limits: Limits | None = None,
        failures: FailurePolicy | None = None,
        order: Order = "row-first",
        range_rows: int = 32,
        ranged: Iterable[str] = (),
        plan: CheckpointPlan | None = None,
        backoff: Backoff | None = None,
        foreign: Failure = "permanent",
        wants_skip: Mapping[str, WantsSkip] | None = None,
        observer: Observer | None = None,
        tracker_class: type[CompletionTracker] = CompletionTracker,
    ) -> None:
        self.graph = graph
        self.limits = limits or Limits()
        self.failures = failures or FailurePolicy()
        self.plan = plan or CheckpointPlan()
        self.backoff = backoff or Backoff()
        self.observer = observer or Observer()
        self.now, self._stop_requested, self._begun = 0.0, False, False
        self.on_news: Callable[[], object] = lambda: None
        self.spent: Collection[NodeKey] = ()
        self._columns = graph.rules.columns
        self._foreign = foreign
        self._order = order
        self._range_rows = range_rows
        self._ranged = frozenset(ranged)
        self._wants_skip = dict(wants_skip or {})
        self._tracker_class = tracker_class
        _check(order, range_rows, self.plan)
        check_limits(self.limits, graph.rules)
        self._assemble()

    def _assemble(self) -> None:
        """Make the parts of an incarnation that begins with nothing."""
        parts = self.parts
        announced: deque[NodeId] = deque()
        self._calls = 0
        self._dropped_since = False
        self._ended = False
        tracker = self._tracker_class.for_graph(self.graph)
        self.progress = parts.progress(self.graph, tracker, lambda row: self.groups.count_row(row))
        self.slots = parts.slots(self.graph, self.limits)
        self.queues = parts.queues(self.progress, self.slots, self._order)
        self.turns = parts.turns(self.progress)
        self.early_stop = parts.early_stop(self.failures, self.observer)
        self.groups = parts.groups(
            self.progress, self.limits, self.early_stop, self.observer, announced.append
        )
        self.skips = parts.skips(self.progress, self._wants_skip)
        self.ready = parts.ready(
            announced,
            self.progress,
            self.queues,
            self.groups,
            self.turns,
            self.skips,
            self.observer,
        )
        self.calls = parts.calls(
            self.progress, self.groups, self.skips, self._ranged, self._range_rows
        )
        self.retries = parts.retries(self.progress, self.queues, self.failures, self.backoff)
        self.saving = parts.saving(self.progress, self.plan, self.observer)
        self.resume = parts.resume(self.graph, self._tracker_class)

    @property
    def tracker(self) -> CompletionTracker:
        """The resolved nodes; safe to read at any time if it is thread-safe."""
        return self.progress.tracker

    @property
    def values(self) -> Values:
        """The values that this incarnation still needs."""
        return self.progress.values

    @property
    def dropped(self) -> dict[int, Drop]:
        """The rows given up so far, with the reason."""
        return self.progress.dropped

    # An incarnation begins

    def begin(self, restored: Restored | None = None, *, keep: bool = False) -> None:
        """Begin an incarnation: the first, or one that goes on from storage.

        Args:
            restored: the rows and the claim of earlier incarnations, or None.
            keep: with another number of rows, keep the output of a barrier in rows whose scope is
                now another one (clause CKPT-16).

        Raises:
            CheckpointError: a checkpoint that cannot be trusted, or does not fit (CKPT-03 to
                CKPT-05, CKPT-16).
        """
        if self._begun:
            self._assemble()
        self._begun, self.progress.spent = True, self.spent
        if restored is None:
            self.observer.began()
        else:
            self._restore(restored, keep=keep)
        self.groups.begin()
        if self._stop_requested:
            self.groups.close()
        # From here on the tracker announces each node that becomes ready.
        self.tracker.listen(self.ready.announced.append)
        self.groups.admit()
        self.ready.settle()

    def _restore(self, restored: Restored, *, keep: bool) -> None:
        claim = read_payload(restored.checkpoint, self.graph, restored.dropped)
        self.resume.check_target(restored.records, claim, keep=keep)
        self.progress.dropped = self.resume.covered_drops(restored, claim)
        self.progress.tracker = self.resume.restore_tracker(restored, claim, self.dropped)
        self._restore_states(claim)
        self.resume.restore_values(self.progress, restored, claim)
        self.saving.restore(claim)
        self.observer.resumed(restored)

    def _restore_states(self, claim: Claim) -> None:
        self.resume.restore_states(self.progress, claim)

    # Calls that start

    def next_call(self) -> Call | None:
        """Start the next node, if one may: it takes its slot, and is to be called at once."""
        while self.may_start() and (key := self.queues.take()) is not None:
            if key not in self.spent:
                return self._start(key)
            self._drop([place_of(key)], Drop(self._columns[key[0]].name, _KILLER, "killer"))
            self.ready.settle()
            self.on_news()
        return None

    def may_start(self) -> bool:
        """True unless the run is over, stops, or has every worker busy."""
        return not self._stops() and not self._ended and self.slots.has_worker()

    def _stops(self) -> bool:
        """True if no call may start any more: too many failed, or somebody wants the run to end."""
        return self._stop_requested or self.early_stop.reason is not None

    def _start(self, key: NodeKey) -> Call:
        call = self.calls.build(key, self._calls)
        self._calls += 1
        self.slots.take(call)
        self.turns.started(call)
        for each in self.progress.keys_of(call):
            self.progress.state[each] = RUNNING
        self.observer.started(call)
        return call

    def _release_slot(self, call: Call) -> None:
        self.slots.release(call)
        self.ready.announced.extend(map(self.progress.node, self.turns.ended(call)))

    # Calls that end well

    def on_complete(self, call: Call, value: Any) -> None:
        """The call of a cell or a barrier returned.

        Args:
            call: the call, as `next_call` gave it.
            value: the cell's value or `REJECTED`, or a barrier's values: a list in the order of
                `Call.rows`, or a mapping by row that may leave rows out.
        """
        if value is REJECTED and self.progress.is_wanted(call):
            self._reject(call, [call.start])
        if call.kind == BARRIER:
            self._complete_barrier(call, value)
        elif self._end_well(call, call.start):
            self.progress.values.put(call.index, call.start, value)
            self.progress.resolve(call.index, call.start)
        self.ready.settle()

    def _end_well(self, call: Call, row: int | None) -> bool:
        """A call completed; false if its rows were dropped while it ran."""
        self._release_slot(call)
        wanted = self.progress.is_wanted(call)
        if wanted:
            self.observer.completed(call, row)
        else:
            self._ignore(call)
        self.early_stop.note_end(well=True)
        return wanted

    def _complete_barrier(self, call: Call, values: Any) -> None:
        try:
            given = _check_values(call, values)
        except Permanent as error:
            self.on_fail(call, error)
            return
        progress = self.progress
        wanted = [row for row in call.rows if progress.wants_output(call.index, row)]
        self._reject(call, [row for row in wanted if row not in given])
        if not self._end_well(call, None):
            return
        for row in wanted:
            if row in given:
                progress.values.put(call.index, row, given[row])
        key = progress.keys_of(call)[0]
        progress.end(key)
        progress.tracker.mark_complete(progress.node(key))
        self.saving.release_scope(call.start, call.stop)

    def _reject(self, call: Call, rows: list[int]) -> None:
        """The answer of a call rejects rows: they are dropped, and nothing has failed (DROP-05)."""
        if rows:
            self._drop(rows, Drop(call.column, "rejected by the answer", "filtered"))

    def on_row(self, call: Call, row: int, value: Any) -> None:
        """A range gave one of its rows.

        Raises:
            Permanent: a row that is not of the range, was given before, or in an ordered column is
                not the next one (clause RANGE-02). The driver reports it as the call's failure.
        """
        _check_row(call, row, ordered=self._columns[call.index].ordered)
        wanted = self.progress.state[cell_key(call.index, row)] == RUNNING
        if wanted and value is REJECTED:
            self._reject(call, [row])
            wanted = False
        del call.left[row]
        (self.observer.completed if wanted else self.observer.row_ignored)(call, row)
        if not call.left:
            self._end_range(call)
            self.early_stop.note_end(well=True)
        if wanted:
            self.progress.values.put(call.index, row, value)
            self.progress.resolve(call.index, row)
        self.ready.settle()

    def _end_range(self, call: Call) -> None:
        """A range gave its last row: its slot is free (clause RANGE-02)."""
        self._release_slot(call)
        self.observer.range_ended(call)

    def on_range_end(self, call: Call) -> None:
        """The iterator of a range is exhausted."""
        if self.slots.is_running(call):
            self.on_fail(call, Permanent(f"ended without row {next(iter(call.left))} of {call}"))

    def _ignore(self, call: Call) -> None:
        """A call ended whose rows were dropped while it ran."""
        self.observer.ignored(call)
        for key in self.progress.keys_of(call):
            self.progress.end(key)

    # Calls that fail

    def on_fail(self, call: Call, error: BaseException) -> None:
        """The call raised: try it again later, or give its rows up.

        Args:
            call: the call, as `next_call` gave it.
            error: the exception.
        """
        if not self.slots.is_running(call):
            # A range that gave all its rows, and failed at nothing.
            return
        self._release_slot(call)
        keys = self.progress.unfinished(call)
        failure = failure_of(error, self._foreign)
        if keys:
            self._fail(call, keys, failure, error)
        else:
            self._ignore(call)
            if failure == "permanent":
                self.early_stop.note_end(well=False)
        self.ready.settle()

    def _fail(
        self, call: Call, keys: list[NodeKey], failure: Failure, error: BaseException
    ) -> None:
        final = self.retries.is_final(call, failure)
        if spends_attempt(failure):
            self.retries.spend_attempt(keys)
        until = None if final else self.retries.backoff_until(keys[0], error, self.now)
        self.observer.failed(call, Failed(failure, final, until, error))
        if failure == "permanent":
            self.early_stop.note_end(well=False)
        if until is None:
            self._give_up(call, keys, error)
        else:
            self._back_off(keys, until)

    def _back_off(self, keys: list[NodeKey], until: float) -> None:
        self.retries.back_off(keys, until)
        self.retries.wake_due(self.now)

    def on_cancel(self, call: Call) -> None:
        """The call was cancelled: its attempt is not spent."""
        if not self.slots.is_running(call):
            return
        self._release_slot(call)
        self.observer.cancelled(call)
        keys = self.progress.unfinished(call)
        for key in self.progress.keys_of(call):
            if key in keys:
                self.retries.return_at_once(key)
            else:
                self.progress.end(key)
        self.ready.settle()

    def advance(self, now: float) -> None:
        """The driver's clock reads `now` seconds: nodes whose backoff is over are queued again."""
        self.now = now
        self.retries.wake_due(now)
        self.ready.settle()

    def wake_s(self) -> float | None:
        """When, on the driver's clock, to call `advance` next; None if no node is in backoff."""
        return None if self._stops() else self.retries.next_wake_s()

    # Rows that are dropped

    def _give_up(self, call: Call, keys: list[NodeKey], error: BaseException) -> None:
        """A node failed for good: its rows are dropped, with one cause (clause DROP-01)."""
        self._drop(self.progress.give_up(call, keys), Drop(call.column, cause_of(error)))

    def _drop(self, rows: list[int], drop: Drop) -> None:
        for start, stop in ranges_of(rows):
            self.observer.dropped(start, stop, drop)
        for row in rows:
            self._drop_row(row, drop)

    def _drop_row(self, row: int, drop: Drop) -> None:
        self._dropped_since = True
        self.saving.note_drop(row)
        self.progress.drop_row(row, drop)

    def doomed(self) -> list[Call]:
        """Running calls whose rows were all dropped; a driver may cancel them.

        Each is named once or oftener, and only after a drop since the last question.
        """
        if not self._dropped_since:
            return []
        self._dropped_since = False
        return [call for call in self.slots.running.values() if not self.progress.is_wanted(call)]

    # Saves

    def due_save(self) -> Save | None:
        """The save that is to be written now; None if it is not due, or one is in flight (CKPT-11).

        The driver writes `Save.rows` and `Save.dropped`, and after them `Save.checkpoint`, and
        reports each step.
        """
        return self.saving.next_save(final=self._is_work_over()) if self.is_save_due() else None

    def is_save_due(self) -> bool:
        """True if `due_save` is to be asked: a save is due, and none is in flight."""
        may_begin = not self._ended and self.saving.may_begin()
        return may_begin and (self.saving.is_due() or self._is_work_over())

    def on_rows_durable(self, save: Save) -> None:
        """The rows of a save are safe; a checkpoint may be begun on them (clause CKPT-10)."""
        self.saving.on_rows_durable(save)

    def on_rows_failed(self, save: Save, error: Exception) -> None:
        """The rows of a save could not be written: they are not claimed."""
        self.saving.on_rows_failed(save, error)

    def on_checkpoint_begin(self, save: Save) -> None:
        """The checkpoint of a save is about to be written."""
        self.saving.on_checkpoint_begin(save)

    def on_checkpoint_durable(self, save: Save) -> None:
        """The checkpoint of a save is safe."""
        self.saving.on_checkpoint_durable(save)

    def on_checkpoint_failed(self, save: Save, error: Exception) -> None:
        """The checkpoint of a save could not be written; the one before still counts."""
        self.saving.on_checkpoint_failed(save, error)

    # How an incarnation ends

    def request_stop(self) -> None:
        """Start no further call: those in flight end, what is finished is saved, the run is over.

        Asking again changes nothing (clauses STOP-05 to STOP-07). A request that comes before
        `begin` counts as well.
        """
        self._stop_requested = True
        self.groups.close()

    def _is_work_over(self) -> bool:
        """True if all calls have ended and no call can start."""
        if self.slots.running:
            return False
        return not self.progress.open_rows or self._stops() or self._is_stuck()

    def _is_stuck(self) -> bool:
        """True if no call can ever start, although rows are open: the run must end and say so."""
        return self.queues.is_empty() and not self.slots.running and self.wake_s() is None

    def is_over(self) -> bool:
        """True if all is run and written, and `finish` is due."""
        if not self._is_work_over() or self.saving.in_flight is not None:
            return False
        return self.saving.is_done()

    def finish(self) -> Ending:
        """End the incarnation, and say how it went (SCHED-10, SCHED-14, STOP-03, STOP-06)."""
        self._ended = True
        ending = self._judge_end()
        self._stop_requested = False
        self.observer.ended(ending.outcome, ending.reason)
        return ending

    def _judge_end(self) -> Ending:
        return judge_end(
            self.progress, self.saving, self.early_stop, stop_requested=self._stop_requested
        )


def judge_end(
    progress: Progress, saving: Saving, early_stop: EarlyStop, *, stop_requested: bool
) -> Ending:
    """How an incarnation ended whose work is over."""
    records = progress.rows
    whole = reduce(meet, saving.claimed)
    saved = count_rows(whole)
    lost = sum(covers(whole, row) for row in progress.dropped)
    rows = f"{saved - lost} of {counted(records, 'row')} saved, {len(progress.dropped)} dropped"
    if early_stop.reason is not None:
        return Ending("stopped", f"{early_stop.reason}; {rows}")
    if progress.open_rows and stop_requested and saving.error is None:
        left = counted(progress.open_rows, "row")
        return Ending("interrupted", f"a stop was requested; {left} open, {rows}")
    if progress.open_rows and not stop_requested:
        left = counted(progress.open_rows, "row")
        return Ending("failed", f"nothing can run; {left} open, {rows}")
    if saved < records:
        # Rows that no checkpoint claims are as good as lost: the next run makes them again.
        why = saving.error or "no save was tried"
        return Ending("failed", f"could not save: {why}; {rows}")
    return Ending("success", rows)


def _check(order: str, range_rows: int, plan: CheckpointPlan) -> None:
    if order not in ("row-first", "fifo"):
        raise SpecError(f"order: expected 'row-first' or 'fifo', got {order!r}")
    numbers = [("range_rows", range_rows)]
    if plan.every_rows is not None:
        numbers.append(("every_rows", plan.every_rows))
    for name, number in numbers:
        if type(number) is not int or number < 1:
            raise SpecError(f"{name}: expected a positive integer, got {number!r}")
    if plan.version not in (1, 2, 3):
        raise SpecError(f"version: expected 1, 2 or 3, got {plan.version!r}")


def _check_row(call: Call, row: int, *, ordered: bool) -> None:
    expected = next(iter(call.left), None)
    if row not in call.left or (ordered and row != expected):
        raise Permanent(f"gave row {row!r} of {call}; expected row {expected}")


def _check_values(call: Call, values: Any) -> Mapping[int, Any]:
    """The values of a barrier by row: of all rows that it was given, or of those in a mapping.

    Raises:
        Permanent: a list of another length (clause FAIL-09), a row that it was not given, or no
            values at all.
    """
    if isinstance(values, Mapping):
        odd = next((row for row in values if row not in call.rows), None)
        if odd is not None:
            raise Permanent(f"answers for row {odd!r}, which {call} was not given")
        return values
    try:
        given = list(values)
    except TypeError:
        given = []
    if len(given) != len(call.rows):
        raise Permanent(
            f"expected {len(call.rows)} values, one for each row that it was given, got "
            f"{len(given) if given else repr(values)[:60]}"
        )
    return dict(zip(call.rows, given, strict=True))
