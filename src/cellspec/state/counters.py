"""The counters interpreter: what is ready and what is done, in O(1) for each completion.

The rules of a graph are interpreted over one byte a cell. A byte below `RANGED` is a countdown:
how many of the nodes that this cell waits for are still open, so 0 is *ready*. Its high bit says
that an input was skipped, so that the cell will be skipped and not run: `SKIP_READY` is that bit
and a count of 0. A byte from `RANGED` up is a state. Completing a cell decrements the bytes of the
cells that wait for it; a byte that reaches zero is handed to whoever schedules. A barrier node has
the same kind of byte, and beside it one integer: the number of cells of its scope that are still
open. A column that is complete keeps no bytes at all; which of its cells were skipped, and which
rows were dropped, is kept at one bit each.

A row group that has to be admitted is one more thing that each of its cells waits for.

In an ordered column a cell waits for the row before it. A row that is dropped before its turn still
stands between its neighbours: the turn passes over it, once, when it comes.

No operation looks at other rows or at all columns, with these exceptions, by design: dropping a row
visits each of its cells once; a turn passes over the dropped rows that follow; releasing or
restoring a range works on whole slices at the speed of `memset`; the length of a column's finished
prefix is found by a search that never goes back; and what a barrier reads, and whether any of its
output is wanted, is found by a look at its scope.

`Counters` moves state and refuses nothing: a tracker may mark nodes in any order. Legality is the
business of `cellspec.machine.machine`, which drives the same counters.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Protocol

from cellspec.graph.rowset import Ranges, RowSet, ranges_of
from cellspec.graph.rules import Rules
from cellspec.state.codes import (
    BACKOFF,
    CLAIMED,
    DONE,
    DROPPED,
    DROPPED_BEHIND,
    LAST_WAIT,
    RANGED,
    READY,
    RUNNING,
    SKIP_READY,
    SKIPPED,
)

__all__ = [
    "UNLIMITED",
    "Claim",
    "Counters",
    "Judge",
]

Claim = tuple[int, ...]
"""For each column, by position: how many rows from row 0 a checkpoint claims as resolved."""

UNLIMITED = 1 << 62

_UNRESOLVED = re.compile(rb"[\x00-\xfa]")
_READY_RUN = re.compile(rb"\x00+")
_COUNT_DOWN = bytes(v - 1 if 0 < v < RANGED and v != SKIP_READY else v for v in range(256))
_COUNT_UP = bytes(v + 1 if v < RANGED - 1 else v for v in range(256))


class Judge(Protocol):
    """Who is told of a step that is out of order. To refuse it, raise."""

    def not_ready(self, column: int, row: int) -> bool | None:
        """A cell starts that is not ready; True if it is to be ignored."""

    def not_running(self, column: int, row: int) -> bool | None:
        """A cell resolves that is no running task of its own; True if it is to be ignored."""

    def no_slot(self, column: int, row: int) -> None:
        """A cell starts though all workers, or its group's slots, are busy."""


class _Lenient:
    """Lets anything happen, and keeps the count of ready cells right: for trackers."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def not_ready(self, column: int, row: int) -> None:
        pass

    def no_slot(self, column: int, row: int) -> None:
        pass

    def not_running(self, column: int, row: int) -> None:
        counters = self._counters
        if counters.cells[column][row] == READY:
            counters.ready[column] -= 1


class _Uniform:
    """A finished column: every row has one state, and there is nothing to store."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code

    def __getitem__(self, _row: int) -> int:
        return self.code


def _ignore(*_: int) -> None:
    """For an interpreter whose ready work nobody queues."""


class Counters:
    """Completion and readiness of every node of a graph.

    Cells move through two lists of functions, compiled for each column at each restore because
    this is the innermost loop of everything: ``start[column](row)`` and ``resolve[column](row)``.
    A function holds its column's bytes and those of the columns that wait for it; when the column
    is complete it is replaced, and the bytes are gone.

    Args:
        rules: the compiled rules of the graph.
        groups: for each column the group whose slots its cells, or its barrier nodes, take; ready
            cells are counted by group too. By default each column is its own group.
        output_group: the group that counts ready output cells of barriers, which take no slot; by
            default their column's.
        capacity: for each group, how many cells and barriers may run at once.
        workers: how many may run at once in all.
        judge: who is told of a step that is out of order; by default nobody.
        group_rows: rows of a row group, if rows wait until their group is admitted.

    Attributes:
        ready: ready cells by group.
        busy: running cells and barriers by group, for groups that have a limit.
        ready_barriers: ready barrier nodes by group.
        load: one number, all that run; output cells of barriers are not counted.
        cells: by column, a byte a row.
        barriers: by column, a byte a barrier node, as long as one of them is not resolved.
        open_cells, open_barriers: by column, how many are not resolved.
        claimed: by column, the rows that the last restored checkpoint claimed.
        rows: one number, the rows finished without a gap from row 0, as the columns that nothing
            waits for tell it. Exact as long as nothing resolves before what it waits for.
        dropped: the rows that were dropped.
        skipped: by column, the rows whose cell was skipped.
        lost: by column, the rows whose cell was resolved by a drop: it has no value.
        abandoned: cells (column, row) that run although their row was dropped; they hold a slot if
            their value says so.
        unrun: barrier nodes (column, scope) that resolved without a run, their output not wanted.
    """

    __slots__ = (
        "_capacity",
        "_cell_groups",
        "_drop_prefix",
        "_group_rows",
        "_groups",
        "_held_groups",
        "_judge",
        "_missing",
        "_on_barrier",
        "_on_cell",
        "_on_cells",
        "_on_skip",
        "_prefix",
        "_scope_prefix",
        "_wanted",
        "_workers",
        "abandoned",
        "barriers",
        "busy",
        "cells",
        "claimed",
        "dropped",
        "load",
        "lost",
        "open_barriers",
        "open_cells",
        "ready",
        "ready_barriers",
        "resolve",
        "rows",
        "rules",
        "skipped",
        "start",
        "unrun",
    )

    def __init__(
        self,
        rules: Rules,
        *,
        groups: Sequence[int] | None = None,
        output_group: int | None = None,
        capacity: Sequence[int] | None = None,
        workers: int = UNLIMITED,
        judge: Judge | None = None,
        group_rows: int | None = None,
    ) -> None:
        count = len(rules.columns)
        self.rules = rules
        self._groups = list(groups) if groups is not None else list(range(count))
        self._cell_groups = [
            output_group if rule.scope_rows and output_group is not None else group
            for rule, group in zip(rules.columns, self._groups, strict=True)
        ]
        self._capacity = list(capacity) if capacity is not None else [UNLIMITED] * count
        self._workers = workers
        self._judge = judge if judge is not None else _Lenient(self)
        self._group_rows = group_rows
        self.load = [0]
        self.rows = [0]
        self.start: list[Callable[[int], None]] = []
        self.resolve: list[Callable[[int], None]] = []
        self.listen()
        self.restore((0,) * count)

    def listen(
        self,
        on_cell: Sequence[Callable[[int], object]] | None = None,
        on_cells: Callable[[int, int, int], object] = _ignore,
        on_barrier: Callable[[int, int], object] = _ignore,
        on_skip: Callable[[int, int], object] = _ignore,
    ) -> None:
        """Say who hears of ready work, from the next `restore` on.

        A barrier node that was announced may resolve by itself before it starts, when the last row
        that wanted its output is dropped; and a ready cell may be dropped. Whoever keeps a queue
        looks at the node's state when it takes it out.

        Args:
            on_cell: for each column, what to call with the row of a cell that became ready.
            on_cells: called with (column, start, stop) when all cells of a range became ready.
            on_barrier: called with (column, scope) when a barrier node became ready.
            on_skip: called with (column, row) when a cell waits for nothing any more and is to be
                skipped, because an input of it was.
        """
        self._on_cell = list(on_cell) if on_cell else [_ignore] * len(self.rules.columns)
        self._on_cells = on_cells
        self._on_barrier = on_barrier
        self._on_skip = on_skip

    def hear_as(self, other: Counters) -> None:
        """Tell of ready work whoever hears of it from `other`."""
        self.listen(other._on_cell, other._on_cells, other._on_barrier, other._on_skip)

    def announce_all(self) -> None:
        """Tell whoever listens now of everything that is ready, and from now on of the rest."""
        for index in range(len(self.cells)):
            if isinstance(self.cells[index], bytearray):
                self.resolve[index] = self._compile_resolve(index)
            if self.open_barriers[index]:
                for scope, state in enumerate(self.barriers[index]):
                    if state == READY:
                        self._on_barrier(index, scope)
            body = self.cells[index]
            if isinstance(body, bytearray):
                for run in _READY_RUN.finditer(bytes(body)):
                    self._on_cells(index, run.start(), run.end())
            if self.skipped:
                for row in self.iter_rows(index, SKIP_READY):
                    self._on_skip(index, row)

    # Restoring

    def restore(
        self,
        claim: Claim,
        dropped: RowSet | None = None,
        skipped: Mapping[int, RowSet] | None = None,
        lost: Mapping[int, RowSet] | None = None,
    ) -> None:
        """Forget everything but `claim`: its cells are resolved, all else is as at the start.

        So are the open cells of dropped rows. A barrier node is resolved exactly if every output
        cell of its scope is claimed, or if it waits for nothing and none of them is wanted (clause
        CKPT-07). Everything that is ready is announced, in row ranges.

        Args:
            claim: for each column the rows that are resolved.
            dropped: rows that are dropped, whatever their columns claim.
            skipped: by column, those of the claimed cells that were skipped.
            lost: by column, those of the claimed cells that were never made, their row dropped.
        """
        rules = self.rules
        count = len(claim)
        self.claimed = claim
        # They hold the bytes of the state that ends here.
        self.start.clear()
        self.resolve.clear()
        self.cells: list[bytearray | _Uniform] = []
        self.barriers: list[bytearray] = []
        self._missing: list[array[int]] = []
        self.open_cells = [rules.num_records - claimed for claimed in claim]
        self.open_barriers = [0] * count
        self._prefix = list(claim)
        self._drop_prefix = [0] * count
        self._scope_prefix = [0] * count
        self.ready = [0] * len(self._capacity)
        self.ready_barriers = [0] * len(self._capacity)
        self.busy = [0] * len(self._capacity)
        self.load[0] = 0
        self.dropped = dropped if dropped is not None else RowSet(rules.num_records)
        self.skipped = dict(skipped or {})
        self.lost = dict(lost or {})
        self.abandoned: dict[tuple[int, int], bool] = {}
        self.unrun: set[tuple[int, int]] = set()
        self._wanted: dict[tuple[int, int], int] = {}
        for index in range(count):
            self._restore_column(index, claim)
        self._restore_skips(claim)
        for row in self.dropped:
            self._restore_dropped(row)
        self._restore_groups()
        finished = [
            index
            for index, body in enumerate(self.cells)
            if isinstance(body, bytearray) and not self.open_cells[index]
        ]
        # Before anything is compiled: what their inputs resolve with would keep their bytes.
        for index in finished:
            self.cells[index] = _Uniform(DONE)
        self.start[:] = [self._compile_start(index) for index in range(count)]
        self.resolve[:] = [self._compile_resolve(index) for index in range(count)]
        for index in finished:
            self._block(index)
            self._prefix[index] = rules.num_records
        self._advance_rows()
        for index in range(count):
            self._announce(index)

    def _restore_column(self, index: int, claim: Claim) -> None:
        rules = self.rules
        rule = rules.columns[index]
        total = rules.num_records
        mine = claim[index]
        self.barriers.append(bytearray())
        self._missing.append(array("q"))
        if rule.is_barrier:
            self._restore_barriers(index, claim)
            body = _fill(CLAIMED, mine) + _fill(LAST_WAIT, total - mine)
        else:
            body = _fill(CLAIMED, mine)
            row = mine
            held = self._group_rows is not None
            # The number of open needs changes only where some need's claim ends.
            for edge in sorted({claim[need] for need in rule.needs} | {total}):
                if edge > row:
                    still_open = sum(claim[need] <= row for need in rule.needs)
                    body += _fill(still_open + rule.ordered + held, edge - row)
                    row = edge
            if rule.ordered and mine < total:
                body[mine] -= 1
        self.cells.append(_Uniform(CLAIMED) if mine == total else body)

    def _restore_barriers(self, index: int, claim: Claim) -> None:
        rules = self.rules
        rule = rules.columns[index]
        states = self.barriers[index]
        missing = self._missing[index]
        finished = 0
        for scope in range(rules.scope_count(index)):
            start, stop = rules.scope_bounds(index, scope)
            if claim[index] >= stop:
                states.append(CLAIMED)
                missing.append(0)
                finished += 1
                continue
            missing.append(
                sum(stop - min(max(claim[need], start), stop) for need in rule.needs)
                + (rule.ordered and scope > finished)
            )
            states.append(LAST_WAIT if missing[scope] else READY)
            self.open_barriers[index] += 1
        self._forget_barriers(index)

    def _restore_groups(self) -> None:
        """Barriers wait for the row groups of their scope, also if their inputs are all claimed.

        A group of which nothing is left need not be admitted, and nobody waits for it.
        """
        size, total = self._group_rows, self.rules.num_records
        self._held_groups = bytearray()
        if size is None:
            return
        for start in range(0, total, size):
            stop = min(start + size, total)
            self._held_groups.append(not self.is_range_resolved(start, stop))
            if not self._held_groups[-1]:
                continue
            for rule in self.rules.columns:
                if not self.open_barriers[rule.index]:
                    continue
                for scope in range(start // rule.scope_rows, -(-stop // rule.scope_rows)):
                    if self.barriers[rule.index][scope] < DONE:
                        self._missing[rule.index][scope] += 1
                        self.barriers[rule.index][scope] = LAST_WAIT

    def is_range_resolved(self, start: int, stop: int) -> bool:
        """True if every cell of rows ``[start, stop)`` is resolved."""
        return all(
            self.find_unresolved(column, start, stop) < 0 for column in range(len(self.cells))
        )

    def _restore_skips(self, claim: Claim) -> None:
        """Cells that wait, and have a skipped claimed input, are to be skipped."""
        for index, rows in sorted(self.skipped.items()):
            rule = self.rules.columns[index]
            for row in rows:
                for other in (*rule.cell_dependents, *rule.barrier_dependents):
                    if self.rules.columns[other].propagates and row >= claim[other]:
                        self._mark_skip(other, row, restoring=True)

    def _restore_dropped(self, row: int) -> None:
        """Resolve the cells of a dropped row that the claim does not hold."""
        for rule in self.rules.columns:
            body = self.cells[rule.index]
            if not isinstance(body, bytearray) or body[row] >= DONE:
                continue
            body[row] = DROPPED
            self._lose(rule.index, row)
            self.open_cells[rule.index] -= 1
            for other in rule.barrier_dependents:
                if self.open_barriers[other]:
                    scope = row // self.rules.columns[other].scope_rows
                    self._missing[other][scope] -= 1
                    if not self._missing[other][scope] and self.barriers[other][scope] == LAST_WAIT:
                        self.barriers[other][scope] = READY
            if rule.ordered and not rule.is_barrier:
                # Rows come in order: none that follows is dropped yet.
                if self.is_behind(rule.index, row):
                    body[row] = DROPPED_BEHIND
                else:
                    following = body[row + 1 : row + 2]
                    body[row + 1 : row + 2] = following.translate(_COUNT_DOWN)

    def _announce(self, index: int) -> None:
        """Tell of everything of a column that is ready, after a restore."""
        rule = self.rules.columns[index]
        if rule.is_barrier:
            # One that nobody wants resolves at once, and may make the next one ready: those that
            # are ready now are found first, so that none is announced twice.
            states = self.barriers[index]
            ready = [scope for scope, state in enumerate(states) if state == READY]
            for scope in ready:
                states[scope] = LAST_WAIT
            for scope in ready:
                self._barrier_ready(index, scope)
            return
        body = self.cells[index]
        if not isinstance(body, bytearray):
            return
        for run in _READY_RUN.finditer(bytes(body), self.claimed[index]):
            self.ready[self._cell_groups[index]] += run.end() - run.start()
            self._on_cells(index, run.start(), run.end())
        if self.skipped:
            for row in self.iter_rows(index, SKIP_READY, self.claimed[index]):
                self._on_skip(index, row)

    # Moving

    def _compile_start(self, column: int) -> Callable[[int], None]:
        """What starts a cell of the column: its byte, a slot, and one ready cell less.

        Output cells of a barrier take no slot: the barrier's own run made them.
        """
        body = self.cells[column]
        group = self._cell_groups[column]
        ready, busy, load = self.ready, self.busy, self.load
        capacity, workers = self._capacity[group], self._workers
        judge = self._judge
        takes_slot = not self.rules.columns[column].scope_rows
        # A group without a limit is not counted: nobody could ask.
        limited = takes_slot and capacity < UNLIMITED

        def start(row: int) -> None:
            if body[row] and judge.not_ready(column, row):
                return
            if takes_slot:
                running = load[0]
                if running >= workers or (limited and busy[group] >= capacity):
                    judge.no_slot(column, row)
                load[0] = running + 1
                if limited:
                    busy[group] += 1
            body[row] = RUNNING  # type: ignore[index]  # a ready cell: the column is not finished
            ready[group] -= 1

        return start

    def _compile_resolve(self, column: int) -> Callable[[int], None]:
        """What ends a cell of the column well: cells and barriers that wait for it count down."""
        rule = self.rules.columns[column]
        body = self.cells[column]
        group = self._cell_groups[column]
        ready, busy, load, open_cells = self.ready, self.busy, self.load, self.open_cells
        judge, rows = self._judge, self.rows
        takes_slot = not rule.scope_rows
        limited = takes_slot and self._capacity[group] < UNLIMITED
        waiting = [
            (cells, self._cell_groups[other], self._on_cell[other], other)
            for other in rule.cell_dependents
            if isinstance(cells := self.cells[other], bytearray)
        ]
        barriers = rule.barrier_dependents
        on_skip = self._on_skip
        is_sink = rule.is_sink
        orders_next = rule.ordered and not rule.scope_rows

        def resolve(row: int) -> None:
            if body[row] != RUNNING:
                if judge.not_running(column, row):
                    return
            elif takes_slot:
                load[0] -= 1
                if limited:
                    busy[group] -= 1
            body[row] = DONE  # type: ignore[index]  # not finished: it holds this cell
            for cells, of_group, announce, other in waiting:
                missing = cells[row]
                if missing == LAST_WAIT:
                    cells[row] = READY
                    ready[of_group] += 1
                    announce(row)
                elif missing < RANGED:
                    cells[row] = missing - 1
                    if missing == SKIP_READY + 1:
                        on_skip(other, row)
            for other in barriers:
                self._count_down_barrier(other, row)
            if orders_next:
                self._advance_order(column, row + 1)
            open_cells[column] = left = open_cells[column] - 1
            if not left:
                self._finish(column)
            if is_sink and row == rows[0]:
                self._advance_rows()

        return resolve

    def _count_down_barrier(self, column: int, row: int) -> None:
        if not self.open_barriers[column]:
            return
        scope = row // self.rules.columns[column].scope_rows
        counts = self._missing[column]
        counts[scope] -= 1
        if not counts[scope]:
            self._barrier_ready(column, scope)

    def _advance_rows(self) -> None:
        # A row's sinks are the last of it to finish: what feeds them is resolved already.
        self.rows[0] = min(self.prefix(rule.index) for rule in self.rules.columns if rule.is_sink)

    def resolve_range(self, column: int, start: int, stop: int) -> None:
        """`resolve` for ready rows ``[start, stop)`` of a barrier column, without a start each."""
        self.ready[self._cell_groups[column]] -= stop - start
        body = self.cells[column]
        assert isinstance(body, bytearray)
        body[start:stop] = _fill(DONE, stop - start)
        for other in self.rules.columns[column].cell_dependents:
            self._count_down_rows(other, start, stop)
        for other in self.rules.columns[column].barrier_dependents:
            if not self.open_barriers[other]:
                continue
            scope_rows, counts = self.rules.columns[other].scope_rows, self._missing[other]
            for scope in range(start // scope_rows, -(-stop // scope_rows)):
                first, last = scope * scope_rows, (scope + 1) * scope_rows
                counts[scope] -= min(stop, last) - max(start, first)
                if not counts[scope]:
                    self._barrier_ready(other, scope)
        self.open_cells[column] -= stop - start
        if not self.open_cells[column]:
            self._finish(column)
        if self.rules.columns[column].is_sink and start <= self.rows[0] < stop:
            self._advance_rows()

    def _count_down_rows(self, column: int, start: int, stop: int) -> None:
        """Cells of rows ``[start, stop)`` wait for one node less, each."""
        body = self.cells[column]
        if not isinstance(body, bytearray):
            return
        before = body.count(READY, start, stop)
        skips = body.count(SKIP_READY, start, stop)
        body[start:stop] = body[start:stop].translate(_COUNT_DOWN)
        made = body.count(READY, start, stop) - before
        if made:
            self._announce_rows(column, start, stop, made)
        if body.count(SKIP_READY, start, stop) > skips:
            for row in self.iter_rows(column, SKIP_READY, start):
                if row >= stop:
                    break
                self._on_skip(column, row)

    def _announce_rows(self, column: int, start: int, stop: int, made: int) -> None:
        """Announce the `made` rows of a range that have just become ready."""
        self.ready[self._cell_groups[column]] += made
        body = self.cells[column]
        assert isinstance(body, bytearray)
        first, last = body.find(READY, start, stop), body.rfind(READY, start, stop)
        if made == last + 1 - first:
            self._on_cells(column, first, last + 1)
            return
        for row in self.iter_rows(column, READY, first):
            if row >= stop:
                break
            self._on_cell[column](row)

    def start_barrier(self, column: int, scope: int) -> None:
        """A ready barrier node starts: it takes a slot."""
        if self.barriers[column][scope] == READY:
            self.ready_barriers[self._groups[column]] -= 1
        self.barriers[column][scope] = RUNNING
        self.busy[self._groups[column]] += 1
        self.load[0] += 1

    def resolve_barrier(self, column: int, scope: int) -> None:
        """A barrier node completed: its output cells become ready, and an ordered successor may."""
        rule = self.rules.columns[column]
        if self.barriers[column][scope] == RUNNING:
            self.busy[self._groups[column]] -= 1
            self.load[0] -= 1
        elif self.barriers[column][scope] == READY:
            self.ready_barriers[self._groups[column]] -= 1
        self.barriers[column][scope] = DONE
        self.open_barriers[column] -= 1
        self._wanted.pop((column, scope), None)
        start, stop = self.rules.scope_bounds(column, scope)
        self._count_down_rows(column, start, stop)
        if rule.ordered and scope + 1 < len(self.barriers[column]):
            counts = self._missing[column]
            counts[scope + 1] -= 1
            if not counts[scope + 1]:
                self._barrier_ready(column, scope + 1)
        self._forget_barriers(column)

    def _forget_barriers(self, column: int) -> None:
        """Once every barrier node of a column is resolved, nothing is kept of them."""
        if not self.open_barriers[column]:
            self.barriers[column] = bytearray()
            self._missing[column] = array("q")

    def _barrier_ready(self, column: int, scope: int) -> None:
        """What a barrier node waited for is resolved; it is announced if any output is wanted."""
        if self.barriers[column][scope] != LAST_WAIT:
            return
        self.barriers[column][scope] = READY
        self.ready_barriers[self._groups[column]] += 1
        if (self.dropped or self.skipped) and not self.wanted(column, scope):
            self._resolve_unrun(column, scope)
        else:
            self._on_barrier(column, scope)

    def wanted(self, column: int, scope: int) -> int:
        """How many output cells of an open barrier node still want its run.

        One that is claimed, dropped, or is to be skipped does not. Counted once, in O(scope).
        """
        known = self._wanted.get((column, scope))
        if known is None:
            body = self.cells[column]
            start, stop = self.rules.scope_bounds(column, scope)
            early: Iterable[int] = range(max(start, self.claimed[column]), stop)
            known = 0
            if isinstance(body, bytearray):
                # Until the barrier has run, an output cell waits for one thing, or is resolved:
                # then it was marked before its turn, and its barrier has to run all the same.
                known = body.count(LAST_WAIT, start, stop)
                if not body.count(DONE, start, stop) and not body.count(SKIPPED, start, stop):
                    early = ()
            known += sum(
                self._wants(column, row) for row in early if self.cells[column][row] >= DONE
            )
            self._wanted[column, scope] = known
        return known

    def _wants(self, column: int, row: int) -> bool:
        """True if the output cell of a row still wants a run of its barrier node."""
        rule = self.rules.columns[column]
        return (
            row >= self.claimed[column]
            and self.barrier_state(column, row // rule.scope_rows) < DONE
            and row not in self.dropped
            and not (rule.propagates and any(self.is_skipped(need, row) for need in rule.needs))
        )

    def _unwant(self, column: int, row: int) -> None:
        """The output cell of a row is not wanted any more: was it the last of a waiting node?"""
        if not self.open_barriers[column]:
            return
        scope = row // self.rules.columns[column].scope_rows
        if (column, scope) in self._wanted:
            self._wanted[column, scope] -= 1
        state = self.barriers[column][scope]
        if state in (READY, BACKOFF) and not self.wanted(column, scope):
            self._resolve_unrun(column, scope)

    def give_up(self, column: int, scope: int) -> None:
        """A held barrier node that will not be tried again resolves without a run."""
        if self.open_barriers[column] and self.barriers[column][scope] == BACKOFF:
            self._resolve_unrun(column, scope)

    def _resolve_unrun(self, column: int, scope: int) -> None:
        """Nobody wants the output of a barrier node: it resolves without a run (BARR-08)."""
        self.unrun.add((column, scope))
        self.resolve_barrier(column, scope)

    def _advance_order(self, column: int, row: int) -> None:
        """It is a row's turn in an ordered column; one that is dropped hands it on."""
        body, total = self.cells[column], self.rules.num_records
        while row < total and isinstance(body, bytearray) and body[row] == DROPPED_BEHIND:
            body[row] = DROPPED
            row += 1
        if row >= total:
            return
        missing = body[row]
        if 0 < missing < RANGED and missing != SKIP_READY and isinstance(body, bytearray):
            body[row] = missing - 1
            if missing == LAST_WAIT:
                self.ready[self._cell_groups[column]] += 1
                self._on_cell[column](row)
            elif missing == SKIP_READY + 1:
                self._on_skip(column, row)

    # Failures, skips, drops, ranges, row groups

    def hold(self, column: int, row: int) -> None:
        """A running cell failed and may be tried again: its slot is free, and it is not ready."""
        body = self.cells[column]
        assert isinstance(body, bytearray)
        if body[row] == RUNNING:
            self.free_slot(column)
        body[row] = BACKOFF

    def release(self, column: int, row: int) -> None:
        """A held cell is ready again, or waits for the row before it in order."""
        body = self.cells[column]
        if isinstance(body, bytearray) and body[row] == BACKOFF:
            if self.is_behind(column, row):
                body[row] = LAST_WAIT
                return
            body[row] = READY
            self.ready[self._cell_groups[column]] += 1
            self._on_cell[column](row)

    def is_behind(self, column: int, row: int) -> bool:
        """True if it is not a cell's turn: its column is ordered, and an earlier row is open."""
        rule = self.rules.columns[column]
        if not row or not rule.ordered or rule.is_barrier:
            return False
        before = self.cells[column][row - 1]
        return before < DONE or before == DROPPED_BEHIND

    def row_in_turn(self, column: int, row: int) -> int:
        """The row before `row` in an ordered column, dropped ones passed over; −1 if none is left.

        For telling why a cell waits: it looks at each row that it passes.
        """
        row -= 1
        while row >= 0 and self.cells[column][row] in (DROPPED, DROPPED_BEHIND):
            row -= 1
        return row

    def hold_barrier(self, column: int, scope: int) -> None:
        """A running barrier node failed and may be tried again."""
        self.busy[self._groups[column]] -= 1
        self.load[0] -= 1
        self.barriers[column][scope] = BACKOFF

    def release_barrier(self, column: int, scope: int) -> None:
        """A held barrier node is ready again."""
        if self.open_barriers[column] and self.barriers[column][scope] == BACKOFF:
            self.barriers[column][scope] = 1
            if not self._missing[column][scope]:
                self._barrier_ready(column, scope)

    def free_slot(self, column: int) -> None:
        """What ran of a column, and is no cell of its own, ran: its slot is free."""
        self.load[0] -= 1
        group = self._groups[column]
        # Groups without a limit count barriers only.
        if self._capacity[group] < UNLIMITED:
            self.busy[group] -= 1

    def take_slot(self, column: int) -> None:
        """Something of a column runs that is no cell of its own."""
        self.load[0] += 1
        group = self._groups[column]
        if self._capacity[group] < UNLIMITED:
            self.busy[group] += 1

    def start_range(self, column: int, start: int, stop: int) -> None:
        """Rows ``[start, stop)`` run as one task, in one slot."""
        self.join_range(column, start, stop)
        self.take_slot(column)

    def join_range(self, column: int, start: int, stop: int) -> None:
        """Rows ``[start, stop)`` belong to a range that runs."""
        body = self.cells[column]
        assert isinstance(body, bytearray)
        self.ready[self._cell_groups[column]] -= body.count(READY, start, stop)
        body[start:stop] = _fill(RANGED, stop - start)

    def offer(self, column: int, row: int) -> None:
        """A cell that waits, or is held, counts as ready: it starts, or ends, at once."""
        body = self.cells[column]
        assert isinstance(body, bytearray)
        self.ready[self._cell_groups[column]] += body[row] != READY
        body[row] = READY

    def stop_range(self, column: int, start: int, stop: int) -> list[int]:
        """Rows of a range that ended which were not given are held; they are listed."""
        body = self.cells[column]
        left = list(takewhile(lambda row: row < stop, self.iter_rows(column, RANGED, start)))
        for row in left:
            assert isinstance(body, bytearray)
            body[row] = BACKOFF
        return left

    def skip(self, column: int, row: int) -> None:
        """A cell that waits for nothing is skipped: who waits for it counts down."""
        body = self.cells[column]
        assert isinstance(body, bytearray)
        if body[row] == READY:
            self.ready[self._cell_groups[column]] -= 1
        body[row] = SKIPPED
        rule = self.rules.columns[column]
        for other in rule.barrier_dependents:
            key = (other, row // self.rules.columns[other].scope_rows)
            if self.rules.columns[other].propagates and key in self._wanted:
                self._wanted[key] -= self._wants(other, row)
        self.skipped.setdefault(column, RowSet(self.rules.num_records)).add(row)
        for other in (*rule.cell_dependents, *rule.barrier_dependents):
            if self.rules.columns[other].propagates:
                self._mark_skip(other, row)
        for other in rule.cell_dependents:
            self._count_down_rows(other, row, row + 1)
        for other in rule.barrier_dependents:
            self._count_down_barrier(other, row)
        if rule.ordered and not rule.is_barrier:
            self._advance_order(column, row + 1)
        self._resolved_one(column)
        if rule.is_sink and row == self.rows[0]:
            self._advance_rows()

    def _mark_skip(self, column: int, row: int, *, restoring: bool = False) -> None:
        body = self.cells[column]
        if isinstance(body, bytearray) and 0 <= body[row] < SKIP_READY:
            body[row] += SKIP_READY
            if body[row] == SKIP_READY and not restoring:
                # Marks came out of order: the cell was ready before this input was resolved. It was
                # announced then, and whoever keeps a queue looks at its state (TRACK-14: once).
                self.ready[self._cell_groups[column]] -= 1

    def _resolved_one(self, column: int) -> None:
        self.open_cells[column] -= 1
        if not self.open_cells[column]:
            self._finish(column)

    def _lose(self, column: int, row: int) -> None:
        if column not in self.lost:
            self.lost[column] = RowSet(self.rules.num_records)
        self.lost[column].add(row)

    def drop(self, row: int) -> None:
        """A row is given up: each of its open cells is resolved as dropped, and holds up nobody.

        A cell that runs goes on, in `abandoned`, until it ends.
        """
        released: list[int] = []
        unwanted: list[int] = []
        in_turn: list[int] = []
        for rule in self.rules.columns:
            column = rule.index
            if rule.is_barrier and self._wants(column, row):
                unwanted.append(column)
            body = self.cells[column]
            if not isinstance(body, bytearray) or body[row] >= DONE:
                continue
            state = body[row]
            if state == RUNNING:
                self.abandoned[column, row] = not rule.is_barrier
            elif state == READY:
                self.ready[self._cell_groups[column]] -= 1
            body[row] = DROPPED
            self._lose(column, row)
            released += rule.barrier_dependents
            if rule.ordered and not rule.is_barrier:
                if self.is_behind(column, row):
                    body[row] = DROPPED_BEHIND
                else:
                    in_turn.append(column)
            self._resolved_one(column)
        self.dropped.add(row)
        for column in in_turn:
            self._advance_order(column, row + 1)
        for column in unwanted:
            self._unwant(column, row)
        for column in released:
            self._count_down_barrier(column, row)
        if row == self.rows[0]:
            self._advance_rows()

    def admit(self, start: int, stop: int) -> None:
        """The row group ``[start, stop)`` is admitted: its nodes wait for one thing less."""
        assert self._group_rows is not None
        if not self._held_groups[start // self._group_rows]:
            return
        for rule in self.rules.columns:
            if not rule.is_barrier:
                first = max(start, self.claimed[rule.index])
                if first < stop:
                    self._count_down_rows(rule.index, first, stop)
            elif self.open_barriers[rule.index]:
                counts = self._missing[rule.index]
                for scope in range(start // rule.scope_rows, -(-stop // rule.scope_rows)):
                    if counts[scope]:
                        counts[scope] -= 1
                        if not counts[scope]:
                            self._barrier_ready(rule.index, scope)

    def block_starts(self) -> None:
        """No cell starts any more; what runs may end."""
        for column in range(len(self.cells)):
            self._block_start(column)

    def _finish(self, column: int) -> None:
        """Every cell of the column is resolved: its bytes are needed no more."""
        self._prefix[column] = self.rules.num_records
        self.cells[column] = _Uniform(DONE)
        self._block(column)
        for need in self.rules.columns[column].needs:
            # Marks may come in any order: an input that is still open would keep the bytes.
            if isinstance(self.cells[need], bytearray):
                self.resolve[need] = self._compile_resolve(need)

    def _block(self, column: int) -> None:
        judge = self._judge
        self._block_start(column)

        def resolve(row: int) -> None:
            judge.not_running(column, row)

        self.resolve[column] = resolve

    def _block_start(self, column: int) -> None:
        judge = self._judge

        def start(row: int) -> None:
            judge.not_ready(column, row)

        self.start[column] = start

    def halt(self) -> None:
        """The process is gone: nothing runs, and every step is out of order until a restore."""
        self.abandoned.clear()
        self.busy[:] = [0] * len(self.busy)
        self.load[0] = 0
        for column in range(len(self.cells)):
            self._block(column)

    # Asking

    def is_resolved(self, column: int, row: int) -> bool:
        """True if the cell is complete, claimed, skipped or dropped."""
        return self.cells[column][row] >= DONE

    def is_barrier_resolved(self, column: int, scope: int) -> bool:
        """True if the barrier node is complete, or its whole scope was claimed."""
        return self.barrier_state(column, scope) >= DONE

    def barrier_state(self, column: int, scope: int) -> int:
        """The state of a barrier node: `READY`, 1 (it waits), or one from `BACKOFF` up."""
        if self.open_barriers[column]:
            return self.barriers[column][scope]
        claimed = self.claimed[column] >= self.rules.scope_bounds(column, scope)[1]
        return CLAIMED if claimed else DONE

    def iter_rows(self, column: int, code: int, start: int = 0) -> Iterator[int]:
        """Rows from `start` on whose byte is `code`, in order; live."""
        while True:
            body = self.cells[column]
            if not isinstance(body, bytearray):
                return
            row = body.find(code, start)
            if row < 0:
                return
            yield row
            start = row + 1

    def find_unresolved(self, column: int, start: int, stop: int) -> int:
        """The first row of ``[start, stop)`` whose cell is not resolved; −1 if there is none."""
        body = self.cells[column]
        found = None
        if isinstance(body, bytearray):
            found = _UNRESOLVED.search(body, start, stop)
        return found.start() if found else -1

    def is_skipped(self, column: int, row: int) -> bool:
        """True if the cell was skipped."""
        rows = self.skipped.get(column)
        return rows is not None and row in rows

    def must_skip(self, column: int, row: int) -> bool:
        """True if the cell is not resolved, and will be skipped because an input of it was."""
        return SKIP_READY <= self.cells[column][row] < RANGED

    def reads(self, column: int, scope: int) -> Ranges:
        """The rows that a run of the barrier node reads if it starts now (clause BARR-06).

        A row whose output was skipped by the column's own condition is read: the condition is
        asked after the run, and a run that is repeated reads what the first one did.
        """
        start, stop = self.rules.scope_bounds(column, scope)
        rule = self.rules.columns[column]
        left_out = [self.dropped] if self.dropped else []
        if rule.propagates:
            left_out += [self.skipped[need] for need in rule.needs if need in self.skipped]
        if not left_out:
            return ((start, stop),)
        return ranges_of(
            row for row in range(start, stop) if not any(row in rows for rows in left_out)
        )

    def is_row_complete(self, row: int) -> bool:
        """True if the row was dropped, or each of its cells, and each barrier of it, is resolved.

        A barrier counts as resolved for a row whose output cell was claimed.
        """
        if row in self.dropped:
            return True
        for rule in self.rules.columns:
            if self.cells[rule.index][row] < DONE:
                return False
            if (
                rule.scope_rows
                and self.barrier_state(rule.index, row // rule.scope_rows) < DONE
                and row >= self.claimed[rule.index]
            ):
                return False
        return True

    def prefix(self, column: int) -> int:
        """How many rows of the column are resolved without a gap from row 0.

        An output cell counts only if its barrier is complete too, or the cell was claimed.
        Amortised O(1): the search goes on where the last one ended.
        """
        body = self.cells[column]
        if isinstance(body, bytearray):
            found = _UNRESOLVED.search(body, self._prefix[column])
            self._prefix[column] = found.start() if found else self.rules.num_records
        rows = self._prefix[column]
        if self.open_barriers[column]:
            limit = self._barrier_limit(column)
            if self.dropped and limit < rows:
                # A dropped row waits for no barrier.
                size = self.rules.columns[column].scope_rows
                limit = max(limit, self._drop_prefix[column])
                while limit < rows and (
                    limit in self.dropped or self.barriers[column][limit // size] >= DONE
                ):
                    limit += 1
                self._drop_prefix[column] = limit
            rows = min(rows, limit)
        return rows

    def _barrier_limit(self, column: int) -> int:
        states = self.barriers[column]
        size = self.rules.columns[column].scope_rows
        scope = max(self._scope_prefix[column], self.claimed[column] // size)
        found = _UNRESOLVED.search(states, scope)
        scope = found.start() if found else len(states)
        self._scope_prefix[column] = scope
        return max(self.claimed[column], scope * size)

    def completed_rows(self) -> int:
        """How many rows are complete without a gap from row 0: O(columns)."""
        return min(self.prefix(column) for column in range(len(self.cells)))

    def column_prefixes(self) -> Claim:
        """By column, its `prefix` as far as its inputs reach: what a checkpoint of columns claims.

        Marks may come in any order: a cell that resolved before its input is not claimed without it
        (clause CKPT-13).
        """
        found: list[int] = []
        for rule in self.rules.columns:
            inputs = (found[need] for need in rule.needs)
            found.append(min(self.prefix(rule.index), *inputs, self.rules.num_records))
        return tuple(found)


def _fill(value: int, count: int) -> bytearray:
    return bytearray((value,)) * count
