"""The counters interpreter: what is ready and what is done, in O(1) for each completion.

The rules of a graph are interpreted over one byte a cell. A byte below `RUNNING` is a countdown:
how many of the nodes that this cell waits for are still open, so 0 is *ready*. A byte from
`RUNNING` up is a state. Completing a cell decrements the bytes of the cells that wait for it; a
byte that reaches zero is handed to whoever schedules. A barrier node has the same kind of byte, and
beside it one integer: the number of cells of its scope that are still open. A column that is
complete keeps no bytes at all.

No operation looks at other rows or at all columns, with two exceptions, both by design: releasing
or restoring a range works on whole slices at the speed of `memset`; and the length of a column's
finished prefix is found by a search that never goes back.

`Counters` moves state and refuses nothing: a tracker may mark nodes in any order. Legality is the
business of `cellspec.machine`, which drives the same counters.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from cellspec.rules import Rules

__all__ = ["CLAIMED", "DONE", "READY", "RUNNING", "UNLIMITED", "Claim", "Counters", "Judge"]

READY = 0
RUNNING = 250
DONE = 251
CLAIMED = 252
SKIPPED = 253
DROPPED = 254

Claim = tuple[int, ...]
"""For each column, by position: how many rows from row 0 a checkpoint claims as resolved."""

UNLIMITED = 1 << 62

_UNRESOLVED = re.compile(rb"[\x00-\xfa]")
_COUNT_DOWN = bytes(v - 1 if 0 < v < RUNNING else v for v in range(256))


class Judge(Protocol):
    """Who is told of a step that is out of order. To refuse it, raise."""

    def not_ready(self, column: int, row: int) -> None:
        """A cell starts that is not ready."""

    def not_running(self, column: int, row: int) -> None:
        """A cell resolves that is not running."""

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

    Attributes:
        ready: ready cells by group.
        busy: running cells and barriers by group, for groups that have a limit.
        load: one number, all that run; output cells of barriers are not counted.
        cells: by column, a byte a row.
        barriers: by column, a byte a barrier node, as long as one of them is not resolved.
        open_cells, open_barriers: by column, how many are not resolved.
        claimed: by column, the rows that the last restored checkpoint claimed.
        rows: one number, the rows finished without a gap from row 0, as the columns that nothing
            waits for tell it. Exact as long as nothing resolves before what it waits for.
    """

    __slots__ = (
        "_capacity",
        "_cell_groups",
        "_groups",
        "_judge",
        "_missing",
        "_on_barrier",
        "_on_cell",
        "_on_cells",
        "_prefix",
        "_scope_prefix",
        "_workers",
        "barriers",
        "busy",
        "cells",
        "claimed",
        "load",
        "open_barriers",
        "open_cells",
        "ready",
        "resolve",
        "rows",
        "rules",
        "start",
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
    ) -> None:
        """Say who hears of ready work, from the next `restore` on.

        Args:
            on_cell: for each column, what to call with the row of a cell that became ready.
            on_cells: called with (column, start, stop) when all cells of a range became ready.
            on_barrier: called with (column, scope) when a barrier node became ready.
        """
        self._on_cell = list(on_cell) if on_cell else [_ignore] * len(self.rules.columns)
        self._on_cells = on_cells
        self._on_barrier = on_barrier

    # Restoring

    def restore(self, claim: Claim) -> None:
        """Forget everything but `claim`: its cells are resolved, all else is as at the start.

        A barrier node is complete exactly if every output cell of its scope is claimed (clause
        CKPT-07). Everything that is ready is announced, in row ranges.
        """
        rules = self.rules
        self.claimed = claim
        # They hold the bytes of the state that ends here.
        self.start.clear()
        self.resolve.clear()
        self.cells: list[bytearray | _Uniform] = []
        self.barriers: list[bytearray] = []
        self._missing: list[array[int]] = []
        self.open_cells = [rules.num_records - claimed for claimed in claim]
        self.open_barriers = [0] * len(claim)
        self._prefix = list(claim)
        self._scope_prefix = [0] * len(claim)
        self.ready = [0] * len(self._capacity)
        self.busy = [0] * len(self._capacity)
        self.load[0] = 0
        for index in range(len(claim)):
            self._restore_column(index, claim)
        self.start[:] = [self._compile_start(index) for index in range(len(claim))]
        self.resolve[:] = [self._compile_resolve(index) for index in range(len(claim))]
        self._advance_rows()
        for index in range(len(claim)):
            self._announce(index, claim)

    def _restore_column(self, index: int, claim: Claim) -> None:
        rules = self.rules
        rule = rules.columns[index]
        total = rules.num_records
        mine = claim[index]
        self.barriers.append(bytearray())
        self._missing.append(array("q"))
        if rule.is_barrier:
            self._restore_barriers(index, claim)
            body = _fill(CLAIMED, mine) + _fill(1, total - mine)
        else:
            body = _fill(CLAIMED, mine)
            row = mine
            # The number of open needs changes only where some need's claim ends.
            for edge in sorted({claim[need] for need in rule.needs} | {total}):
                if edge > row:
                    still_open = sum(claim[need] <= row for need in rule.needs)
                    body += _fill(still_open + rule.ordered, edge - row)
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
            states.append(1 if missing[scope] else READY)
            self.open_barriers[index] += 1
        self._forget_barriers(index)

    def _announce(self, index: int, claim: Claim) -> None:
        rule = self.rules.columns[index]
        if rule.is_barrier:
            for scope, state in enumerate(self.barriers[index]):
                if state == READY:
                    self._on_barrier(index, scope)
            return
        total = self.rules.num_records
        stop = min((claim[need] for need in rule.needs), default=total)
        if rule.ordered:
            stop = min(stop, claim[index] + 1)
        if claim[index] < stop:
            self.ready[self._cell_groups[index]] += stop - claim[index]
            self._on_cells(index, claim[index], stop)

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
            if body[row]:
                judge.not_ready(column, row)
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
            (cells, self._cell_groups[other], self._on_cell[other])
            for other in rule.cell_dependents
            if isinstance(cells := self.cells[other], bytearray)
        ]
        barriers = rule.barrier_dependents
        is_sink = rule.is_sink
        orders_next = rule.ordered and not rule.scope_rows

        def resolve(row: int) -> None:
            if body[row] != RUNNING:
                judge.not_running(column, row)
            elif takes_slot:
                load[0] -= 1
                if limited:
                    busy[group] -= 1
            body[row] = DONE  # type: ignore[index]  # not finished: it holds this cell
            for cells, of_group, announce in waiting:
                missing = cells[row]
                if missing == 1:
                    cells[row] = READY
                    ready[of_group] += 1
                    announce(row)
                elif missing < RUNNING:
                    cells[row] = missing - 1
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
            waiting = self.cells[other]
            if isinstance(waiting, bytearray):
                before = waiting.count(READY, start, stop)
                waiting[start:stop] = waiting[start:stop].translate(_COUNT_DOWN)
                made = waiting.count(READY, start, stop) - before
                if made:
                    self._announce_rows(other, start, stop, made)
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
        """A barrier node starts: it takes a slot."""
        self.barriers[column][scope] = RUNNING
        self.busy[self._groups[column]] += 1
        self.load[0] += 1

    def resolve_barrier(self, column: int, scope: int) -> None:
        """A barrier node completed: its output cells become ready, and an ordered successor may."""
        rule = self.rules.columns[column]
        if self.barriers[column][scope] == RUNNING:
            self.busy[self._groups[column]] -= 1
            self.load[0] -= 1
        self.barriers[column][scope] = DONE
        self.open_barriers[column] -= 1
        start, stop = self.rules.scope_bounds(column, scope)
        body = self.cells[column]
        if isinstance(body, bytearray):
            body[start:stop] = body[start:stop].translate(_COUNT_DOWN)
            made = body.count(READY, start, stop)
            if made:
                self._announce_rows(column, start, stop, made)
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
        if self.barriers[column][scope] == 1:
            self.barriers[column][scope] = READY
            self._on_barrier(column, scope)

    def _advance_order(self, column: int, row: int) -> None:
        if row >= self.rules.num_records:
            return
        body = self.cells[column]
        missing = body[row]
        if missing < RUNNING and isinstance(body, bytearray):
            body[row] = missing - 1
            if missing == 1:
                self.ready[self._cell_groups[column]] += 1
                self._on_cell[column](row)

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
        self.start[column] = lambda row: judge.not_ready(column, row)
        self.resolve[column] = lambda row: judge.not_running(column, row)

    def halt(self) -> None:
        """The process is gone: nothing runs, and every step is out of order until a restore."""
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
        """The state of a barrier node: `READY`, 1 (it waits), `RUNNING`, `DONE` or `CLAIMED`."""
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

    def is_row_complete(self, row: int) -> bool:
        """True if every cell of the row is resolved, and each barrier too or the row claimed."""
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
            rows = min(rows, self._barrier_limit(column))
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
        """`prefix` of every column: what a checkpoint of columns claims."""
        return tuple(self.prefix(column) for column in range(len(self.cells)))


def _fill(value: int, count: int) -> bytearray:
    return bytearray((value,)) * count
