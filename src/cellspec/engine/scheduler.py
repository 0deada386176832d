"""The scheduler: what runs next, and what follows when it ends. It does no input or output.

A driver (`cellspec.engine.aio`, `cellspec.engine.threads`) owns a clock, tasks and storage; the
`Scheduler` owns everything else, and neither waits nor writes. The two talk like this::

    scheduler.begin(restored)                     # or None: a first life
    scheduler.advance(now)                        # before anything else, whenever time moved on
    while call := scheduler.next_call():          # takes a slot; make the call
        ...
    scheduler.on_complete(call, value)            # or on_row … on_range_end, on_fail, on_cancel
    if save := scheduler.due_save():              # write the rows, then the checkpoint
        scheduler.on_rows_durable(save); scheduler.on_checkpoint_begin(save); ...
    scheduler.wake_s()                            # when to `advance` although nothing ends
    scheduler.is_over(); scheduler.finish()

What waits for what is known to the tracker, which announces each node as it becomes ready. From
there a node goes through one byte of state:

=========  =========================================================================================
WAITING    something it depends on is open, or its row group is not admitted
QUEUED     it may start as soon as a worker and its resource are free
COOLING    it failed and rests
RUNNING    a call is in flight
ENDED      it has its value, or was skipped, or its row was dropped
=========  =========================================================================================

Every decision is one small method: which node is next (`_rank`), whether a slot is free
(`_has_slot`), whether a failure is final (`_is_final`), what a barrier reads (`_read_rows`), what
is claimed (`_claim`), what the run says of itself at the end (`_judge_end`). Nothing on the way of
an event looks at all rows: an event costs its own cells, the logarithm of a queue, and no more.
Exceptions, by design: a barrier looks at its scope, and a save at the rows that it writes.
"""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from cellspec.engine.calls import (
    BARRIER,
    CELL,
    RANGE,
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
from cellspec.engine.observer import Observer
from cellspec.engine.values import SKIPPED, Values
from cellspec.errors import CheckpointError, SpecError
from cellspec.faults import BackPressure, GeneratorError, Permanent
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import CellNodeId, NodeId
from cellspec.graph.rowset import ranges_of, rows_of
from cellspec.machine.actions import Failure
from cellspec.machine.limits import FailurePolicy, Limits, check_limits
from cellspec.machine.policy import changed_scopes, is_final
from cellspec.state.checkpoint import Checkpoint, read_payload
from cellspec.state.counters import Claim
from cellspec.state.tracker import CompletionTracker
from cellspec.text import counted

__all__ = ["Scheduler", "WantsSkip"]

WAITING, QUEUED, COOLING, RUNNING, ENDED = range(5)

WantsSkip = Callable[[int, Mapping[str, Any]], bool]
"""A column's own condition: (row, inputs) -> True to skip the cell."""

FINAL_TRIES = 3
"""How often the last save of a life is tried before the run is said to have failed."""


class Scheduler:
    """Decides what one life of a run does; see the module for how it is driven.

    Args:
        graph: what is to be generated.
        limits: what may run at once.
        failures: attempts, and when to stop early.
        order: which ready node goes first: "row-first" (rows finish early) or "fifo".
        range_rows: most rows of one range, for columns that can run several rows in one call.
        ranged: the columns that run ranges; others run cell by cell.
        plan: when to save.
        backoff: how long a node rests after a failure.
        wants_skip: the conditions of columns that may skip.
        observer: hears of every step.
        tracker_class: which tracker to use.

    Attributes:
        tracker: what is resolved; safe to read at any time if it is thread-safe.
        values: the values that this life still needs.
        dropped: the rows given up so far, with the reason.
        now: seconds of the driver's clock, as `advance` was last told.

    Raises:
        SpecError: limits that can never admit a barrier's whole scope (clause GROUP-04), or an
            argument that is not of its kind.
    """

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
        self.now = 0.0
        self._columns = graph.rules.columns
        self._count = len(self._columns)
        self._rows = graph.num_records
        self._order = order
        self._range_rows = range_rows
        self._ranged = frozenset(ranged)
        self._wants_skip = dict(wants_skip or {})
        self._tracker_class = tracker_class
        self._check()
        self.tracker = tracker_class.for_graph(graph)
        self._reset()

    def _check(self) -> None:
        if self._order not in ("row-first", "fifo"):
            raise SpecError(f"order: expected 'row-first' or 'fifo', got {self._order!r}")
        numbers = [("range_rows", self._range_rows)]
        if self.plan.every_rows is not None:
            numbers.append(("every_rows", self.plan.every_rows))
        for name, number in numbers:
            if type(number) is not int or number < 1:
                raise SpecError(f"{name}: expected a positive integer, got {number!r}")
        if self.plan.version not in (1, 2):
            raise SpecError(f"version: expected 1 or 2, got {self.plan.version!r}")
        check_limits(self.limits, self.graph.rules)

    def _reset(self) -> None:
        """Everything that a life keeps, empty."""
        nodes = self._rows * self._count
        nodes += max(map(self.graph.rules.scope_count, range(self._count))) * self._count
        self.values = Values(self.graph)
        self.dropped: dict[int, Drop] = {}
        self._state = bytearray(nodes)
        self._open = array("L", [self._count]) * self._rows
        self._unresolved = self._rows
        self._heard: deque[NodeId] = deque()
        resources = list(self.limits.resources)
        self._capacity: list[int | None] = [*self.limits.resources.values(), None]
        self._resource_of = [
            resources.index(self.limits.column_resource[rule.name])
            if rule.name in self.limits.column_resource
            else len(resources)
            for rule in self._columns
        ]
        self._queues: list[list[tuple[int, int]]] = [[] for _ in self._capacity]
        self._busy = [0] * len(self._capacity)
        self._stamp = 0
        self._running: dict[int, Call] = {}
        self._calls = 0
        self._barriers_running = [0] * self._count
        self._held_back: dict[int, list[int]] = {}
        # Output cells to be skipped when the call of their barrier has ended.
        self._skipped_later: dict[int, list[int]] = {}
        self._attempts: dict[int, int] = {}
        self._rests: dict[int, int] = {}
        self._cooling: list[tuple[float, int, tuple[int, ...]]] = []
        self._dropped_since = False
        self._ends: deque[bool] = deque(maxlen=self.failures.stop_window)
        self._stop_failures = self.failures.stop_failures
        self._stop_reason: str | None = None
        self._ended = False
        self._claimed: Claim = (0,) * self._count
        self._reset_groups()
        self._reset_saving()

    # A life begins

    def begin(self, restored: Restored | None = None, *, keep: bool = False) -> None:
        """Begin a life: the first, or one that goes on from what storage gave back.

        Args:
            restored: what storage gave back, or None.
            keep: with another number of rows, keep what a barrier gave to rows whose scope is now
                another one (clause CKPT-16).

        Raises:
            CheckpointError: a checkpoint that cannot be trusted, or does not fit (CKPT-03 to
                CKPT-05, CKPT-16).
        """
        self._reset()
        if restored is None:
            self.tracker = self._tracker_class.for_graph(self.graph)
            self.observer.began()
        else:
            self._restore(restored, keep=keep)
        self._count_groups()
        self._listen()
        self._admit_groups()
        self._settle()

    def _restore(self, restored: Restored, *, keep: bool) -> None:
        claim = read_payload(restored.checkpoint, self.graph)
        self._check_target(restored.records, claim, keep=keep)
        self.dropped = self._covered_drops(restored, claim)
        self.tracker = self._restore_tracker(restored, claim)
        self._restore_states(claim)
        self._restore_values(restored, claim)
        self._durable = list(claim)
        self._released = min(claim)
        self._claimed = claim
        self._plan_save()
        self.observer.resumed(restored)

    def _check_target(self, records: int, claim: Claim, *, keep: bool) -> None:
        """Refuse another number of rows if it changes a scope that has output (clause CKPT-16)."""
        if keep:
            return
        for changed in changed_scopes(self.graph.rules, records, self._rows):
            if claim[changed.column] > changed.start:
                raise CheckpointError(
                    f"checkpoint: barrier {self._columns[changed.column].name!r} gave output to "
                    f"claimed rows from rows {changed.start} to {changed.before - 1}; with "
                    f"{self._rows} rows it would read rows {changed.start} to {changed.after - 1}; "
                    "resume with keep=True to keep that output"
                )

    def _covered_drops(self, restored: Restored, claim: Claim) -> dict[int, Drop]:
        """The drops that the claim covers; any other row is tried again (clause CKPT-17)."""
        return {row: drop for row, drop in restored.dropped.items() if row < max(claim)}

    def _restore_tracker(self, restored: Restored, claim: Claim) -> CompletionTracker:
        skipped = {
            rule.name: [
                row
                for row in range(claim[rule.index])
                if self._is_live(row) and restored.rows[row].get(rule.name) is SKIPPED
            ]
            for rule in self._columns
            if rule.skippable
        }
        return self._tracker_class.from_checkpoint(
            restored.checkpoint, self.graph, dropped=self.dropped, skipped=skipped
        )

    def _restore_states(self, claim: Claim) -> None:
        count = self._count
        for column, rows in enumerate(claim):
            self._state[column : rows * count : count] = bytes((ENDED,)) * rows
        edges = sorted({0, *claim, self._rows})
        for start, stop in pairwise(edges):
            left = sum(rows <= start for rows in claim)
            self._open[start:stop] = array("L", [left]) * (stop - start)
        self._unresolved = self._rows - min(claim)
        for row in self.dropped:
            self._unresolved -= row >= min(claim)
            self._end_row(row)
        for rule in self._columns:
            for scope in range(self.graph.rules.scope_count(rule.index)):
                if self.graph.rules.scope_bounds(rule.index, scope)[1] <= claim[rule.index]:
                    self._state[self._barrier_code(rule.index, scope)] = ENDED

    def _restore_values(self, restored: Restored, claim: Claim) -> None:
        """Take back what a cell of an unfinished row, or a barrier that must run, will read."""
        first = min(claim)
        for rule in self._columns:
            for scope in range(self.graph.rules.scope_count(rule.index)):
                if self._state[self._barrier_code(rule.index, scope)] != ENDED:
                    first = min(first, self.graph.rules.scope_bounds(rule.index, scope)[0])
                    break
        for row in range(first, max(claim)):
            if row not in self.dropped:
                for name, value in restored.rows[row].items():
                    column = self.graph.rules.index[name]
                    if row < claim[column]:
                        self.values.put(column, row, value)

    # Nodes as integers

    def _cell_code(self, column: int, row: int) -> int:
        return row * self._count + column

    def _barrier_code(self, column: int, scope: int) -> int:
        return (self._rows + scope) * self._count + column

    def _code(self, node: NodeId) -> int:
        column = self.graph.rules.index[node.column]
        if isinstance(node, CellNodeId):
            return self._cell_code(column, node.row)
        return self._barrier_code(column, node.batch or 0)

    def _split(self, code: int) -> tuple[int, int, bool]:
        """Column, row (or scope), and whether it is a barrier node."""
        place, column = divmod(code, self._count)
        if place < self._rows:
            return column, place, False
        return column, place - self._rows, True

    def _node(self, code: int) -> NodeId:
        column, place, is_barrier = self._split(code)
        if is_barrier:
            return self.graph.barrier_node(column, place)
        return CellNodeId(place, self._columns[column].name)

    # What becomes ready

    def _listen(self) -> None:
        """From here on the tracker announces each node that becomes ready."""
        self.tracker.listen(self._heard.append)

    def _settle(self) -> None:
        """Deal with all that became ready, and with what becomes ready by that."""
        while self._heard:
            self._offer(self._code(self._heard.popleft()))

    def _offer(self, code: int) -> None:
        """A node waits for nothing any more: skip it, give it, or queue it."""
        if self._state[code] != WAITING:
            return
        if not self._is_admitted(code):
            self._hold(code)
            return
        column, place, is_barrier = self._split(code)
        rule = self._columns[column]
        if is_barrier:
            if not self._waits_its_turn(column, place):
                self._enqueue(code)
        elif self._must_skip(column, place):
            if not self._waits_for_its_barrier(column, place):
                self._skip(column, place)
        elif rule.is_barrier:
            self._emit(column, place)
        else:
            self._enqueue(code)

    def _waits_its_turn(self, column: int, scope: int) -> bool:
        """True if a call of an earlier batch is still in flight, in an ordered column.

        Its rows may have been dropped meanwhile: then nothing waits for its output any more, but
        barriers of one column still run one at a time.
        """
        if not self._columns[column].ordered or not self._barriers_running[column]:
            return False
        self._held_back.setdefault(column, []).append(self._barrier_code(column, scope))
        return True

    def _waits_for_its_barrier(self, column: int, row: int) -> bool:
        """True if the barrier over an output cell still runs, although nobody wants it any more.

        What is skipped is skipped once it could start (clause SKIP-01), and that is when the call
        has ended.
        """
        rule = self._columns[column]
        if not rule.is_barrier:
            return False
        barrier = self._barrier_code(column, row // rule.scope_rows)
        if self._state[barrier] != RUNNING:
            return False
        self._skipped_later.setdefault(barrier, []).append(self._cell_code(column, row))
        return True

    def _must_skip(self, column: int, row: int) -> bool:
        """True if an input of the cell was skipped, or its column's own condition says so."""
        name = self._columns[column].name
        if self.tracker.must_skip(CellNodeId(row, name)):
            return True
        condition = self._wants_skip.get(name)
        return condition is not None and condition(row, self.values.inputs(column, row))

    def _skip(self, column: int, row: int) -> None:
        """Resolve a cell without a call (clause SKIP-01)."""
        name = self._columns[column].name
        self.observer.skipped(name, row)
        self.values.put(column, row, SKIPPED)
        self._state[self._cell_code(column, row)] = ENDED
        self.tracker.mark_skipped(CellNodeId(row, name))
        self._count_cell(row)

    def _emit(self, column: int, row: int) -> None:
        """Give the output cell of a finished barrier; its value was kept when the barrier ended."""
        self.observer.emitted(self._columns[column].name, row)
        self._resolve(column, row)

    def _enqueue(self, code: int) -> None:
        self._state[code] = QUEUED
        resource = self._resource_of[code % self._count]
        heapq.heappush(self._queues[resource], (self._rank(code), code))

    def _rank(self, code: int) -> int:
        """Where a node stands in line, lower first; no two nodes alike."""
        if self._order == "fifo":
            self._stamp += 1
            return self._stamp
        column, place, is_barrier = self._split(code)
        row = self.graph.rules.scope_bounds(column, place)[0] if is_barrier else place
        # Of one row, the later column first: the row is nearer to its end.
        return row * self._count + self._count - 1 - column

    # What starts

    def next_call(self) -> Call | None:
        """Start the next node: it takes its slot and its call is to be made at once.

        Returns:
            None if nothing may start now.
        """
        if not self._may_start():
            return None
        code = self._take()
        return None if code is None else self._start(code)

    def _may_start(self) -> bool:
        """True unless the run is over, stops, or has every worker busy."""
        return self._stop_reason is None and not self._ended and self._has_worker()

    def _has_worker(self) -> bool:
        workers = self.limits.workers
        return workers is None or len(self._running) < workers

    def _has_slot(self, resource: int) -> bool:
        capacity = self._capacity[resource]
        return capacity is None or self._busy[resource] < capacity

    def _take(self) -> int | None:
        """The first node in line among those whose resource is free."""
        best: list[tuple[int, int]] | None = None
        for resource, queue in enumerate(self._queues):
            if not self._has_slot(resource):
                continue
            self._drop_stale(queue)
            if queue and (best is None or queue[0] < best[0]):
                best = queue
        return None if best is None else heapq.heappop(best)[1]

    def _drop_stale(self, queue: list[tuple[int, int]]) -> None:
        while queue and not self._is_startable(queue[0][1]):
            heapq.heappop(queue)

    def _is_startable(self, code: int) -> bool:
        """True if a queued node is still to be run: nothing dropped it, or took it into a range."""
        if self._state[code] != QUEUED:
            return False
        # The last row that wanted a barrier's output may have been dropped while it was in line.
        return code < self._rows * self._count or not self.tracker.is_complete(self._node(code))

    def _start(self, code: int) -> Call:
        column, place, is_barrier = self._split(code)
        if is_barrier:
            call = self._barrier_call(column, place)
        elif self._columns[column].name in self._ranged:
            call = self._range_call(column, place)
        else:
            call = self._cell_call(column, place)
        self._calls += 1
        self._take_slot(call)
        for each in self._codes(call):
            self._state[each] = RUNNING
        self.observer.started(call)
        return call

    def _cell_call(self, column: int, row: int) -> Call:
        return Call(
            number=self._calls,
            column=self._columns[column].name,
            index=column,
            kind=CELL,
            start=row,
            stop=row + 1,
            scope=None,
            attempt=self._attempt(self._cell_code(column, row)),
            rows=(row,),
            inputs=(self.values.inputs(column, row),),
            left={row: None},
        )

    def _range_call(self, column: int, row: int) -> Call:
        rows = range(row, self._range_stop(column, row))
        return Call(
            number=self._calls,
            column=self._columns[column].name,
            index=column,
            kind=RANGE,
            start=rows.start,
            stop=rows.stop,
            scope=None,
            attempt=self._attempt(self._cell_code(column, row)),
            rows=rows,
            inputs=[self.values.inputs(column, each) for each in rows],
            left=dict.fromkeys(rows),
        )

    def _barrier_call(self, column: int, scope: int) -> Call:
        start, stop = self.graph.rules.scope_bounds(column, scope)
        rows = self._read_rows(column, scope)
        return Call(
            number=self._calls,
            column=self._columns[column].name,
            index=column,
            kind=BARRIER,
            start=start,
            stop=stop,
            scope=scope,
            attempt=self._attempt(self._barrier_code(column, scope)),
            rows=rows,
            inputs=self._read_inputs(column, rows),
        )

    def _range_stop(self, column: int, row: int) -> int:
        """The end of the longest range from `row` that may start now (clause RANGE-01)."""
        stop = row + 1
        limit = min(row + self._range_rows, self._rows)
        while stop < limit and self._may_join(column, row, stop):
            stop += 1
        return stop

    def _may_join(self, column: int, first: int, row: int) -> bool:
        """True if `row` can be run in one range with `first`, which lies before it."""
        code = self._cell_code(column, row)
        if self._attempt(code) != self._attempt(self._cell_code(column, first)):
            return False
        if not self._columns[column].ordered:
            return self._state[code] == QUEUED
        # It must wait for nothing but the row before, which the range itself will give.
        return (
            self._state[code] == WAITING
            and self._is_admitted(code)
            and all(
                CellNodeId(row, self._columns[need].name) in self.tracker
                for need in self._columns[column].needs
            )
            and not self._must_skip(column, row)
        )

    def _read_rows(self, column: int, scope: int) -> list[int]:
        """What a barrier reads: rows that are live and not to be skipped, in order (BARR-06)."""
        node = self.graph.barrier_node(column, scope)
        return list(rows_of(self.tracker.barrier_reads(node)))

    def _read_inputs(self, column: int, rows: Iterable[int]) -> list[dict[str, Any]]:
        """The values that a barrier reads, as they are now: what happens later is not its own."""
        return [self.values.inputs(column, row) for row in rows]

    def _attempt(self, code: int) -> int:
        """The number of the attempt that comes next (clause FAIL-01)."""
        return 1 + self._attempts.get(code, 0)

    def _take_slot(self, call: Call) -> None:
        self._running[call.number] = call
        self._busy[self._resource_of[call.index]] += 1
        self._barriers_running[call.index] += call.scope is not None

    def _release_slot(self, call: Call) -> None:
        del self._running[call.number]
        self._busy[self._resource_of[call.index]] -= 1
        if call.scope is not None:
            self._barriers_running[call.index] -= 1
            barrier = self._barrier_code(call.index, call.scope)
            for waiting in (
                self._held_back.pop(call.index, ()),
                self._skipped_later.pop(barrier, ()),
            ):
                self._heard.extend(map(self._node, waiting))

    def _codes(self, call: Call) -> list[int]:
        """The nodes of a call that are still to be resolved by it."""
        if call.scope is not None:
            return [self._barrier_code(call.index, call.scope)]
        return [self._cell_code(call.index, row) for row in call.left]

    # What ends well

    def on_complete(self, call: Call, value: Any) -> None:
        """The call of a cell or a barrier returned.

        Args:
            call: what `next_call` gave.
            value: the cell's value, or a barrier's values in the order of `Call.rows`.
        """
        if call.kind == BARRIER:
            self._complete_barrier(call, value)
        else:
            self._complete_cell(call, value)
        self._settle()

    def _complete_cell(self, call: Call, value: Any) -> None:
        self._release_slot(call)
        if not self._is_wanted(call):
            self._ignore(call)
            self._note_end(well=True)
            return
        self.observer.completed(call, call.start)
        self._note_end(well=True)
        self.values.put(call.index, call.start, value)
        self._resolve(call.index, call.start)

    def _complete_barrier(self, call: Call, values: Any) -> None:
        try:
            given = list(values)
        except TypeError:
            given = []
        if len(given) != len(call.rows):
            error = Permanent(
                f"expected {len(call.rows)} values, one for each row that it was given, got "
                f"{len(given) if given else repr(values)[:60]}"
            )
            self.on_fail(call, error)
            return
        self._release_slot(call)
        if not self._is_wanted(call):
            self._ignore(call)
            self._note_end(well=True)
            return
        self.observer.completed(call, None)
        self._note_end(well=True)
        for row, value in zip(call.rows, given, strict=True):
            if self._wants_output(call.index, row):
                self.values.put(call.index, row, value)
        code = self._codes(call)[0]
        self._forget(code)
        self.tracker.mark_complete(self._node(code))
        # Rows that are safe already were kept for this barrier.
        self._release_rows(call.start, min(call.stop, self._released))

    def _wants_output(self, column: int, row: int) -> bool:
        """True if the row is live and its output cell not claimed (clauses BARR-07, TABLE-05)."""
        return self._state[self._cell_code(column, row)] == WAITING

    def on_row(self, call: Call, row: int, value: Any) -> None:
        """A range gave one of its rows.

        Raises:
            Permanent: a row that is not of the range, was given before, or in an ordered column is
                not the next one (clause RANGE-02). The driver reports it as the call's failure.
        """
        expected = next(iter(call.left), None)
        if row not in call.left or (self._columns[call.index].ordered and row != expected):
            raise Permanent(f"gave row {row!r} of {call}; expected row {expected}")
        del call.left[row]
        wanted = self._state[self._cell_code(call.index, row)] == RUNNING
        if wanted:
            self.observer.completed(call, row)
        if not call.left:
            self._end_range(call)
            self._note_end(well=True)
        if wanted:
            self.values.put(call.index, row, value)
            self._resolve(call.index, row)
        self._settle()

    def _end_range(self, call: Call) -> None:
        """A range gave its last row: its slot is free (clause RANGE-02)."""
        self._release_slot(call)
        self.observer.range_ended(call)

    def on_range_end(self, call: Call) -> None:
        """The iterator of a range is exhausted."""
        if self._is_running(call):
            self.on_fail(call, Permanent(f"ended without row {next(iter(call.left))} of {call}"))

    def _resolve(self, column: int, row: int) -> None:
        """A cell has its value: who waited for it may become ready."""
        self._forget(self._cell_code(column, row))
        self.tracker.mark_complete(CellNodeId(row, self._columns[column].name))
        self._count_cell(row)

    def _forget(self, code: int) -> None:
        self._state[code] = ENDED
        self._attempts.pop(code, None)
        self._rests.pop(code, None)

    def _count_cell(self, row: int) -> None:
        self._cells_done += 1
        self._open[row] -= 1
        if not self._open[row]:
            self._row_resolved(row)

    def _row_resolved(self, row: int) -> None:
        self._unresolved -= 1
        self._count_row_of_group(row)

    def _ignore(self, call: Call) -> None:
        """A call ended whose rows were dropped while it ran."""
        self.observer.ignored(call)
        for code in self._codes(call):
            self._forget(code)

    def _is_live(self, row: int) -> bool:
        return row not in self.dropped

    def _is_running(self, call: Call) -> bool:
        return call.number in self._running

    def _is_wanted(self, call: Call) -> bool:
        """True if the end of a call still matters to any node."""
        return bool(self._unfinished(call))

    def _unfinished(self, call: Call) -> list[int]:
        """The nodes of a call that no drop has resolved meanwhile."""
        codes = [code for code in self._codes(call) if self._state[code] == RUNNING]
        if call.kind == BARRIER and codes and self.tracker.is_complete(self._node(codes[0])):
            return []
        return codes

    # What fails

    def on_fail(self, call: Call, error: BaseException) -> None:
        """The call raised: try it again later, or give its rows up.

        Args:
            call: what `next_call` gave.
            error: what it raised; anything but a `GeneratorError` is permanent.
        """
        if not self._is_running(call):
            # A range that gave all its rows, and failed at nothing.
            return
        self._release_slot(call)
        codes = self._unfinished(call)
        failure = self._failure_of(error)
        if codes:
            self._fail(call, codes, failure, error)
        else:
            self._ignore(call)
            if failure == "permanent":
                self._note_end(well=False)
        self._settle()

    def _fail(self, call: Call, codes: list[int], failure: Failure, error: BaseException) -> None:
        final = self._is_final(call, failure)
        if failure == "retryable":
            self._spend_attempt(codes)
        until = None if final else self._rest_until(codes[0], error)
        self.observer.failed(call, Failed(failure, final, until, error))
        if failure == "permanent":
            self._note_end(well=False)
        if until is None:
            self._give_up(call, codes, error)
        else:
            self._rest(codes, until)

    def on_cancel(self, call: Call) -> None:
        """The call was cancelled, and gave nothing; no attempt is spent."""
        if not self._is_running(call):
            return
        self._release_slot(call)
        self.observer.cancelled(call)
        codes = self._unfinished(call)
        for code in self._codes(call):
            if code in codes:
                self._state[code] = COOLING
                self._wake(code)
            else:
                self._forget(code)
        self._settle()

    def _failure_of(self, error: BaseException) -> Failure:
        if isinstance(error, GeneratorError):
            return error.failure
        return "permanent"

    def _is_final(self, call: Call, failure: Failure) -> bool:
        """True if the node is not tried again: no use, or no attempt left."""
        return is_final(failure, call.attempt, self.failures.max_attempts)

    def _spend_attempt(self, codes: Iterable[int]) -> None:
        for code in codes:
            self._attempts[code] = self._attempts.get(code, 0) + 1

    def _rest_until(self, code: int, error: BaseException) -> float:
        """When a node that failed may start again (clause FAIL-03)."""
        if isinstance(error, BackPressure) and error.retry_after_s is not None:
            return self.now + max(0.0, error.retry_after_s)
        self._rests[code] = self._rests.get(code, 0) + 1
        return self.now + self.backoff.rest_s(self._rests[code])

    def _rest(self, codes: list[int], until: float) -> None:
        for code in codes:
            self._state[code] = COOLING
        self._stamp += 1
        heapq.heappush(self._cooling, (until, self._stamp, tuple(codes)))
        self._wake_due()

    def advance(self, now: float) -> None:
        """The driver's clock reads `now` seconds: what has rested enough is in line again."""
        self.now = now
        self._wake_due()
        self._settle()

    def _wake_due(self) -> None:
        while self._cooling and self._cooling[0][0] <= self.now:
            for code in heapq.heappop(self._cooling)[2]:
                self._wake(code)

    def _wake(self, code: int) -> None:
        if self._state[code] != COOLING:
            return
        if self._is_ready(code):
            self._enqueue(code)
        else:
            # A row of an ordered range, behind the one that failed.
            self._state[code] = WAITING

    def _is_ready(self, code: int) -> bool:
        """True if a node that was started before waits for nothing."""
        column, row, is_barrier = self._split(code)
        return is_barrier or self.tracker.is_in_turn(CellNodeId(row, self._columns[column].name))

    def wake_s(self) -> float | None:
        """When, on the driver's clock, to call `advance` next; None if nothing rests."""
        while self._cooling and all(self._state[code] != COOLING for code in self._cooling[0][2]):
            heapq.heappop(self._cooling)
        if not self._cooling or self._stop_reason is not None:
            return None
        return self._cooling[0][0]

    def _give_up(self, call: Call, codes: list[int], error: BaseException) -> None:
        """A node failed for good: its rows are dropped, with one cause (clause DROP-01)."""
        if call.kind == BARRIER:
            self._state[codes[0]] = ENDED
            # What it did not read, because an input was skipped, wanted nothing of it.
            rows = [row for row in call.rows if self._wants_output(call.index, row)]
        else:
            rows = [code // self._count for code in codes]
        text = str(error)
        cause = f"{type(error).__name__}: {text}" if text else type(error).__name__
        self._drop(rows, Drop(call.column, cause))

    def _drop(self, rows: list[int], drop: Drop) -> None:
        for start, stop in ranges_of(rows):
            self.observer.dropped(start, stop, drop)
        for row in rows:
            self._drop_row(row, drop)

    def _drop_row(self, row: int, drop: Drop) -> None:
        """Resolve all that is open of a row; barriers that waited for it are released."""
        self.dropped[row] = drop
        self._dropped_since = True
        heapq.heappush(self._unsaved_drops, row)
        self._end_row(row)
        self.values.forget_row(row)
        self.tracker.mark_dropped(row)
        self._row_resolved(row)

    def _end_row(self, row: int) -> None:
        """Nothing of the row is queued, rests, or is waited for any more (clause DROP-03)."""
        self._open[row] = 0
        for column in range(self._count):
            self._forget(self._cell_code(column, row))

    def doomed(self) -> list[Call]:
        """Running calls whose end nobody waits for any more; a driver may cancel them.

        Each is named once or oftener; without a drop since the last question there is none.
        """
        if not self._dropped_since:
            return []
        self._dropped_since = False
        return [call for call in self._running.values() if not self._is_wanted(call)]

    # Early stop

    def _note_end(self, *, well: bool) -> None:
        """A call that completed, or failed permanently, enters the window of the early stop.

        What became of its rows meanwhile does not matter: the endpoint answered (clause STOP-01).
        What may be tried again says nothing yet, and a spent budget of attempts is no permanent
        failure: the endpoint may be down, the pipeline is not wrong.
        """
        if self.failures.stop_window is None:
            return
        self._ends.append(well)
        if self._stop_reason is None and self._fails_too_often():
            bad = self._ends.count(False)
            self._stop(f"{bad} of the last {counted(len(self._ends), 'call')} failed for good")

    def _fails_too_often(self) -> bool:
        most = self._stop_failures
        full = len(self._ends) == self._ends.maxlen
        return most is not None and full and self._ends.count(False) >= most

    def _stop(self, reason: str) -> None:
        """Nothing starts any more; what runs may end (clause STOP-01)."""
        self._stop_reason = reason
        self.observer.stopped(reason)

    # Row groups

    def _reset_groups(self) -> None:
        size = self.limits.group_rows or self._rows
        self._group_rows = size
        self._group_count = -(-self._rows // size) if self.limits.group_rows else 0
        self._group_state = bytearray(self._group_count)
        self._group_open = [0] * self._group_count
        self._group_held: dict[int, list[int]] = {}
        self._next_group = 0
        self._groups_in = 0

    def _count_groups(self) -> None:
        """How many rows of each group are open, as a life begins."""
        for group in range(self._group_count):
            rows = self._open[group * self._group_rows : (group + 1) * self._group_rows]
            self._group_open[group] = len(rows) - rows.count(0)

    def _group_of(self, row: int) -> int:
        return row // self._group_rows

    def _is_admitted(self, code: int) -> bool:
        """True if the node's rows are in an admitted group (clause GROUP-01)."""
        return not self._group_count or self._last_group_out(code) is None

    def _last_group_out(self, code: int) -> int | None:
        """The last group that still has to be admitted for a node; None if it may run.

        What waits for cells of its rows, or for its barrier, waits for them alone.
        """
        column, place, is_barrier = self._split(code)
        rule = self._columns[column]
        if not is_barrier:
            group = self._group_of(place)
            return group if not rule.is_barrier and group >= self._next_group else None
        last = self._group_of(self.graph.rules.scope_bounds(column, place)[1] - 1)
        return last if not rule.needs and last >= self._next_group else None

    def _hold(self, code: int) -> None:
        group = self._last_group_out(code)
        assert group is not None
        self._group_held.setdefault(group, []).append(code)

    def _admit_groups(self) -> None:
        """Admit groups, lowest rows first, while the limit allows (clauses GROUP-02, GROUP-06)."""
        while self._next_group < self._group_count and self._may_admit():
            group = self._next_group
            self._next_group += 1
            # What an earlier life finished needs no admission.
            if self._group_open[group]:
                self._groups_in += 1
                self.observer.admitted(group)
            for code in self._group_held.pop(group, ()):
                self._heard.append(self._node(code))

    def _may_admit(self) -> bool:
        most = self.limits.groups
        room = most is None or self._groups_in < most
        return room and self._stop_reason is None

    def _count_row_of_group(self, row: int) -> None:
        if not self._group_count:
            return
        group = self._group_of(row)
        self._group_open[group] -= 1
        if not self._group_open[group] and group < self._next_group:
            self._retire(group)

    def _retire(self, group: int) -> None:
        self._groups_in -= 1
        self.observer.retired(group)
        self._admit_groups()

    # What is saved

    def _reset_saving(self) -> None:
        self._durable = [0] * self._count
        self._released = 0
        self._cells_done = 0
        self._unsaved_drops: list[int] = []
        self._saving: Save | None = None
        self._final_saved = False
        self._final_tries = 0
        self._storage_error: Exception | None = None
        self._plan_save()

    def _plan_save(self) -> None:
        """From where on progress is counted until the next save is due."""
        self._due_rows = min(self._claimed)
        self._due_cells = self._cells_done

    def due_save(self) -> Save | None:
        """What is to be written now; None if nothing is, or a save is in flight (CKPT-11).

        The driver writes `Save.rows` and `Save.dropped`, and after them `Save.checkpoint`, and
        reports each step.
        """
        if self._saving is not None or self._ended or self._final_saved:
            return None
        final = self._is_work_over()
        if not final and not self._is_due():
            return None
        save = self._make_save(final=final)
        if not save.ranges and not save.dropped and save.checkpoint is None:
            self._plan_save()
            self._final_saved = final
            return None
        self._saving = save
        return save

    def _is_due(self) -> bool:
        every = self.plan.every_rows
        if every is None:
            return False
        if self.plan.version == 2:
            return self._cells_done - self._due_cells >= every * self._count
        return self._completed_rows() - self._due_rows >= every

    def _completed_rows(self) -> int:
        return self.graph.get_completed_row_count(self.tracker)

    def _claim(self) -> Checkpoint:
        """What a checkpoint may say now: the longest resolved prefix (clauses CKPT-02, CKPT-13)."""
        return self.tracker.to_checkpoint(self.graph, self.plan.version)

    def _make_save(self, *, final: bool) -> Save:
        checkpoint = self._claim()
        claim = read_payload(checkpoint, self.graph)
        rows: dict[int, dict[str, Any]] = {}
        ranges = []
        for column, stop in enumerate(claim):
            start, name = self._durable[column], self._columns[column].name
            if start < stop:
                ranges.append((name, start, stop))
            for row in range(start, stop):
                if self._is_live(row):
                    rows.setdefault(row, {})[name] = self.values.get(column, row)
        return Save(
            ranges=tuple(ranges),
            rows=rows,
            dropped=self._drops_to_save(max(claim)),
            checkpoint=checkpoint if claim != self._claimed else None,
            final=final,
        )

    def _drops_to_save(self, stop: int) -> dict[int, Drop]:
        """The drops before row `stop` that storage does not know of (clause DROP-04)."""
        found: dict[int, Drop] = {}
        while self._unsaved_drops and self._unsaved_drops[0] < stop:
            row = heapq.heappop(self._unsaved_drops)
            found[row] = self.dropped[row]
        return found

    def on_rows_durable(self, save: Save) -> None:
        """The rows of a save are safe; a checkpoint may be begun on them (clause CKPT-10)."""
        for name, start, stop in save.ranges:
            self._durable[self.graph.rules.index[name]] = stop
            self.observer.rows_durable(name, start, stop)
        safe = min(self._durable)
        self._release_rows(self._released, safe)
        self._released = max(self._released, safe)
        if save.checkpoint is None:
            self._saved(save)

    def on_rows_failed(self, save: Save, error: Exception) -> None:
        """The rows of a save could not be written: nothing is claimed on them."""
        self.observer.rows_failed(error)
        for row in save.dropped:
            heapq.heappush(self._unsaved_drops, row)
        self._save_failed(save, error)

    def on_checkpoint_begin(self, save: Save) -> None:
        """The checkpoint of a save is about to be written."""
        assert save.checkpoint is not None
        self.observer.checkpoint_begin(save.checkpoint)

    def on_checkpoint_durable(self, save: Save) -> None:
        """The checkpoint of a save is safe."""
        assert save.checkpoint is not None
        self._claimed = read_payload(save.checkpoint, self.graph)
        self.observer.checkpoint_durable(save.checkpoint)
        self._saved(save)

    def on_checkpoint_failed(self, save: Save, error: Exception) -> None:
        """The checkpoint of a save could not be written; the one before still counts."""
        assert save.checkpoint is not None
        self.observer.checkpoint_failed(save.checkpoint, error)
        self._save_failed(save, error)

    def _saved(self, save: Save) -> None:
        self._saving = None
        self._final_saved = save.final
        self._storage_error = None
        self._plan_save()

    def _save_failed(self, save: Save, error: Exception) -> None:
        """Work goes on, and the next save tries again; the last one a few times."""
        self._saving = None
        self._storage_error = error
        self._final_tries += save.final
        self._due_rows, self._due_cells = self._completed_rows(), self._cells_done

    def _release_rows(self, start: int, stop: int) -> None:
        """Forget the values of rows that are safe, unless a barrier has still to read them."""
        for row in range(start, stop):
            if not self._is_pinned(row):
                self.values.forget_row(row)

    def _is_pinned(self, row: int) -> bool:
        """True if a barrier that has not run will read the row."""
        return any(
            rule.is_barrier
            and self._state[self._barrier_code(rule.index, row // rule.scope_rows)] != ENDED
            for rule in self._columns
        )

    # How a life ends

    def _is_work_over(self) -> bool:
        """True if nothing runs and nothing more will."""
        if self._running:
            return False
        return not self._unresolved or self._stop_reason is not None or self._is_stuck()

    def _is_stuck(self) -> bool:
        """True if rows are open and nothing can ever run: it must be said, and not waited for."""
        for queue in self._queues:
            self._drop_stale(queue)
        return not self._running and not any(self._queues) and self.wake_s() is None

    def is_over(self) -> bool:
        """True if there is nothing left to run or to write, and `finish` is due."""
        if not self._is_work_over() or self._saving is not None:
            return False
        return self._final_saved or self._final_tries >= FINAL_TRIES

    def finish(self) -> Ending:
        """End the life, and say truthfully how it went (clauses SCHED-10, SCHED-14, STOP-03)."""
        self._ended = True
        ending = self._judge_end()
        self.observer.ended(ending.outcome, ending.reason)
        return ending

    def _judge_end(self) -> Ending:
        saved = min(self._claimed)
        lost = sum(row < saved for row in self.dropped)
        rows = f"{saved - lost} of {counted(self._rows, 'row')} saved, {len(self.dropped)} dropped"
        if self._stop_reason is not None:
            return Ending("stopped", f"{self._stop_reason}; {rows}")
        if self._unresolved:
            return Ending(
                "failed", f"nothing can run; {counted(self._unresolved, 'row')} open, {rows}"
            )
        if min(self._claimed) < self._rows:
            # Rows that no checkpoint claims are as good as lost: the next life makes them again.
            return Ending("failed", f"could not save: {self._storage_error}; {rows}")
        return Ending("success", rows)
