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

from cellspec.rules import Rules

__all__ = ["CLAIMED", "DONE", "READY", "RUNNING", "Claim", "Counters"]

READY = 0
RUNNING = 250
DONE = 251
CLAIMED = 252
SKIPPED = 253
DROPPED = 254

Claim = tuple[int, ...]
"""For each column, by position: how many rows from row 0 a checkpoint claims as resolved."""

_UNRESOLVED = re.compile(rb"[\x00-\xfa]")
_COUNT_DOWN = bytes(v - 1 if 0 < v < RUNNING else v for v in range(256))


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

    Args:
        rules: the compiled rules of the graph.
        groups: for each column the group whose count of ready cells it adds to; by default each
            column is its own group.
        on_cell: for each column, what to call with the row of a cell that became ready.
        on_cells: called with (column, start, stop) when all cells of a range became ready.
        on_barrier: called with (column, scope) when a barrier node became ready.

    Attributes:
        ready: ready cells by group.
        cells: by column, a byte a row.
        barriers: by column, a byte a barrier node (empty for a row column).
        open_cells: by column, the number of cells not resolved.
        claimed: by column, the rows that the last restored checkpoint claimed.
    """

    __slots__ = (
        "_barrier_plan",
        "_groups",
        "_missing",
        "_on_barrier",
        "_on_cell",
        "_on_cells",
        "_plan",
        "_prefix",
        "_scope_prefix",
        "barriers",
        "cells",
        "claimed",
        "open_barriers",
        "open_cells",
        "ready",
        "rules",
    )

    def __init__(
        self,
        rules: Rules,
        *,
        groups: Sequence[int] | None = None,
        on_cell: Sequence[Callable[[int], object]] | None = None,
        on_cells: Callable[[int, int, int], object] = _ignore,
        on_barrier: Callable[[int, int], object] = _ignore,
    ) -> None:
        count = len(rules.columns)
        self.rules = rules
        self._groups = list(groups) if groups is not None else list(range(count))
        self._on_cell = list(on_cell) if on_cell is not None else [_ignore] * count
        self._on_cells = on_cells
        self._on_barrier = on_barrier
        self.ready = [0] * (max(self._groups) + 1)
        self.restore((0,) * count)

    # Restoring

    def restore(self, claim: Claim) -> None:
        """Forget everything but `claim`: its cells are resolved, all else is as at the start.

        A barrier node is complete exactly if every output cell of its scope is claimed (clause
        CKPT-07). Everything that is ready is announced, in row ranges.
        """
        rules = self.rules
        self.claimed = claim
        self.cells: list[bytearray | _Uniform] = []
        self.barriers: list[bytearray] = []
        self._missing: list[array[int]] = []
        self.open_cells = [rules.num_records - claimed for claimed in claim]
        self.open_barriers = [0] * len(claim)
        self._prefix = list(claim)
        self._scope_prefix = [0] * len(claim)
        self.ready = [0] * len(self.ready)
        for index in range(len(claim)):
            self._restore_column(index, claim)
        self._build_plans()
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

    def _build_plans(self) -> None:
        self._plan: list[list[tuple[bytearray, int, Callable[[int], object]]]] = []
        self._barrier_plan: list[list[tuple[int, int, array[int]]]] = []
        for rule in self.rules.columns:
            entries = []
            for other in rule.cell_dependents:
                body = self.cells[other]
                if isinstance(body, bytearray):
                    entries.append((body, self._groups[other], self._on_cell[other]))
            self._plan.append(entries)
            self._barrier_plan.append(
                [
                    (other, self.rules.columns[other].scope_rows, self._missing[other])
                    for other in rule.barrier_dependents
                ]
            )

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
            self.ready[self._groups[index]] += stop - claim[index]
            self._on_cells(index, claim[index], stop)

    # Moving

    def resolve(self, column: int, row: int, code: int = DONE) -> None:
        """A cell reached its end state `code`; cells and barriers that wait for it count down.

        The cell must not be resolved already, and no longer be counted as ready.
        """
        self.cells[column][row] = code  # type: ignore[index]  # not finished: it holds this cell
        for body, group, announce in self._plan[column]:
            missing = body[row]
            if missing < RUNNING:
                body[row] = missing - 1
                if missing == 1:
                    self.ready[group] += 1
                    announce(row)
        for other, scope_rows, counts in self._barrier_plan[column]:
            scope = row // scope_rows
            counts[scope] -= 1
            if not counts[scope]:
                self._barrier_ready(other, scope)
        rule = self.rules.columns[column]
        if rule.ordered and not rule.scope_rows:
            self._advance_order(column, row + 1)
        self.open_cells[column] -= 1
        if not self.open_cells[column]:
            self._finish(column)

    def resolve_range(self, column: int, start: int, stop: int, code: int = DONE) -> None:
        """`resolve` for rows ``[start, stop)`` of a barrier column, none of them resolved."""
        body = self.cells[column]
        assert isinstance(body, bytearray)
        body[start:stop] = _fill(code, stop - start)
        for other in self.rules.columns[column].cell_dependents:
            waiting = self.cells[other]
            if isinstance(waiting, bytearray):
                before = waiting.count(READY, start, stop)
                waiting[start:stop] = waiting[start:stop].translate(_COUNT_DOWN)
                made = waiting.count(READY, start, stop) - before
                if made:
                    self._announce_rows(other, start, stop, made)
        for other, scope_rows, counts in self._barrier_plan[column]:
            for scope in range(start // scope_rows, -(-stop // scope_rows)):
                first, last = scope * scope_rows, (scope + 1) * scope_rows
                counts[scope] -= min(stop, last) - max(start, first)
                if not counts[scope]:
                    self._barrier_ready(other, scope)
        self.open_cells[column] -= stop - start
        if not self.open_cells[column]:
            self._finish(column)

    def _announce_rows(self, column: int, start: int, stop: int, made: int) -> None:
        """Announce the `made` rows of a range that have just become ready."""
        self.ready[self._groups[column]] += made
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

    def resolve_barrier(self, column: int, scope: int) -> None:
        """A barrier node completed: its output cells become ready, and an ordered successor may."""
        rule = self.rules.columns[column]
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
                self.ready[self._groups[column]] += 1
                self._on_cell[column](row)

    def _finish(self, column: int) -> None:
        """Every cell of the column is resolved: its bytes, and its plan, are needed no more."""
        self._prefix[column] = self.rules.num_records
        self.cells[column] = _Uniform(DONE)
        self._plan[column] = []

    # Asking

    def is_resolved(self, column: int, row: int) -> bool:
        """True if the cell is complete, claimed, skipped or dropped."""
        return self.cells[column][row] >= DONE

    def is_barrier_resolved(self, column: int, scope: int) -> bool:
        """True if the barrier node is complete, or its whole scope was claimed."""
        return self.barriers[column][scope] >= DONE

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
                and self.barriers[rule.index][row // rule.scope_rows] < DONE
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
        while scope < len(states) and states[scope] >= DONE:
            scope += 1
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
