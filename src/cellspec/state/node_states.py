"""The state of every node of a graph, at a byte each, and the questions that may be asked of it.

`NodeStates` is the record on which the counters work: `cellspec.state.moving` and its siblings
change it. A column that is complete is one byte in all (`Uniform`); which of its cells were
skipped, and which rows were dropped, is kept at one bit each.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from cellspec.graph.rowset import Ranges, RowSet, WholeParts, ranges_of
from cellspec.graph.rules import Rules
from cellspec.state.claims import Prefixes
from cellspec.state.codes import (
    CLAIMED,
    DONE,
    DROPPED,
    DROPPED_BEHIND,
    RANGED,
    READY,
    SKIP_READY,
)
from cellspec.state.places import SharedPlaces

__all__ = [
    "COUNT_DOWN",
    "UNLIMITED",
    "UNRESOLVED",
    "Judge",
    "Lenient",
    "NodeStates",
    "Uniform",
    "filled",
    "ignore",
]

UNLIMITED = 1 << 62
"""A limit that is none."""

UNRESOLVED = re.compile(rb"[\x00-\xfa]")
"""Any state of a node that is not resolved."""

COUNT_DOWN = bytes(v - (READY < v < RANGED and v != SKIP_READY) for v in range(256))
"""The state of a node after one of those that it waits for is resolved, by its state before."""


class Judge(Protocol):
    """Notified of each step that is out of order. To refuse it, it raises."""

    def not_ready(self, column: int, row: int) -> bool | None:
        """A cell starts that is not ready; True if it is to be ignored."""

    def not_running(self, column: int, row: int) -> bool | None:
        """A cell resolves that does not run by itself; True if it is to be ignored."""

    def no_slot(self, column: int, row: int) -> None:
        """A cell starts though all workers, or its group's slots, are busy."""


class Uniform:
    """A finished column: every row has the same state, stored once."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code

    def __getitem__(self, _row: int) -> int:
        return self.code


def filled(value: int, count: int) -> bytearray:
    """`count` bytes of one value."""
    return bytearray((value,)) * count


def ignore(*_: int) -> None:
    """A subscriber that ignores ready work."""


class NodeStates:
    """Completion and readiness of every node of a graph.

    Args:
        rules: the compiled rules of the graph.
        groups: for each column the group whose slots its cells, or its barrier nodes, take.
        output_group: the group that counts ready output cells of barriers, or None.
        capacity: for each group, how many cells and barriers may run at once.
        workers: how many may run at once in all.
        group_rows: rows of a row group, if rows wait until their group is admitted.
        part_rows: rows of a part, if the parts are counted of which every cell is resolved.


        start, resolve: by column, the compiled functions that start and end a cell.
        claimed: by column, how many first rows were claimed without a gap.
        claimed_sets: by column that was claimed with a gap, all rows that were.
        starts_blocked: starts are out of order until the next restore.
        missing: by column and barrier node, how many nodes it waits for.
        wanted_rows: by barrier node (column, scope), how many output cells want it, once counted.
        prefix_found, scope_prefix, exempt_prefix: by column, how far the searches for the finished
            prefix have come.
        held_groups: by row group, whether its rows wait for it to be admitted.
        on_cell, on_cells, on_barrier, on_skip: the subscribers to ready work.
        watched: by column of which results were lost, the row after the last of them; such a
            column may be open in a row that the columns at the end of the graph have finished.
        turns: by ordered column of which results were lost, the row whose turn it is.
        parts: counts the parts of which every cell is resolved, if they are counted.
        kept: by barrier column of which results were lost, output that stayed without its barrier.
    """

    __slots__ = (
        "abandoned",
        "barriers",
        "busy",
        "capacity",
        "cell_groups",
        "cells",
        "claimed",
        "claimed_sets",
        "dropped",
        "exempt_prefix",
        "group_rows",
        "groups",
        "held_groups",
        "judge",
        "kept",
        "load",
        "lost",
        "missing",
        "on_barrier",
        "on_cell",
        "on_cells",
        "on_skip",
        "open_barriers",
        "open_cells",
        "part_rows",
        "parts",
        "prefix_found",
        "ready",
        "ready_barriers",
        "resolve",
        "rows",
        "rules",
        "scope_prefix",
        "skipped",
        "start",
        "starts_blocked",
        "turns",
        "unrun",
        "wanted_rows",
        "watched",
        "workers",
    )

    abandoned: dict[tuple[int, int], bool]
    barriers: list[bytearray]
    busy: list[int]
    cells: list[bytearray | Uniform]
    claimed: Prefixes
    claimed_sets: dict[int, RowSet]
    exempt_prefix: list[int]
    dropped: RowSet
    held_groups: bytearray
    judge: Judge
    kept: dict[int, RowSet]
    load: int
    lost: dict[int, RowSet]
    missing: list[array[int]]
    on_barrier: Callable[[int, int], object]
    on_cell: list[Callable[[int], object]]
    on_cells: Callable[[int, int, int], object]
    on_skip: Callable[[int, int], object]
    open_barriers: list[int]
    open_cells: list[int]
    parts: WholeParts | None
    prefix_found: list[int]
    ready: list[int]
    ready_barriers: list[int]
    rows: int
    scope_prefix: list[int]
    skipped: dict[int, RowSet]
    starts_blocked: bool
    turns: dict[int, int]
    unrun: set[tuple[int, int]]
    wanted_rows: dict[tuple[int, int], int]
    watched: dict[int, int]

    def __init__(
        self,
        rules: Rules,
        *,
        groups: Sequence[int] | None,
        output_group: int | None,
        capacity: Sequence[int] | None,
        workers: int,
        group_rows: int | None,
        part_rows: int | None,
    ) -> None:
        count = len(rules.columns)
        self.rules = rules
        self.groups = list(groups) if groups is not None else list(range(count))
        self.cell_groups = [
            output_group if rule.scope_rows and output_group is not None else group
            for rule, group in zip(rules.columns, self.groups, strict=True)
        ]
        self.capacity = [UNLIMITED] * count if capacity is None else capacity
        if isinstance(capacity, SharedPlaces):
            capacity.watch(self)
        self.workers = workers
        self.group_rows = group_rows
        self.part_rows = part_rows
        self.start: list[Callable[[int], None]] = []
        self.resolve: list[Callable[[int], None]] = []

    def is_resolved(self, column: int, row: int) -> bool:
        """True if the cell is complete, claimed, skipped or dropped."""
        return self.cells[column][row] >= DONE

    def is_barrier_resolved(self, column: int, scope: int) -> bool:
        """True if the barrier node is complete, or its whole scope was claimed."""
        return not self.open_barriers[column] or self.barriers[column][scope] >= DONE

    def is_claimed(self, column: int, row: int) -> bool:
        """True if a checkpoint claimed the cell."""
        if row < self.claimed[column]:
            return True
        rows = self.claimed_sets.get(column)
        return rows is not None and row in rows

    def is_scope_claimed(self, column: int, scope: int) -> bool:
        """True if a checkpoint claimed every output cell of a barrier node."""
        start, stop = self.rules.scope_bounds(column, scope)
        if stop <= self.claimed[column]:
            return True
        rows = self.claimed_sets.get(column)
        return rows is not None and rows.holds(start, stop)

    def barrier_state(self, column: int, scope: int) -> int:
        """The state of a barrier node: `READY`, 1 (it waits), or one from `BACKOFF` up."""
        if self.open_barriers[column]:
            return self.barriers[column][scope]
        return CLAIMED if self.is_scope_claimed(column, scope) else DONE

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
            found = UNRESOLVED.search(body, start, stop)
        return found.start() if found else -1

    def is_range_resolved(self, start: int, stop: int) -> bool:
        """True if every cell of rows ``[start, stop)`` is resolved."""
        return all(
            self.find_unresolved(column, start, stop) < 0 for column in range(len(self.cells))
        )

    def is_skipped(self, column: int, row: int) -> bool:
        """True if the cell was skipped."""
        rows = self.skipped.get(column)
        return rows is not None and row in rows

    def must_skip(self, column: int, row: int) -> bool:
        """True if the cell is not resolved, and will be skipped because an input of it was."""
        return SKIP_READY <= self.cells[column][row] < RANGED

    def is_behind(self, column: int, row: int) -> bool:
        """True if it is not a cell's turn: its column is ordered, and an earlier row is open."""
        rule = self.rules.columns[column]
        if not row or not rule.ordered or rule.is_barrier:
            return False
        if column in self.turns:
            return self.turns[column] < row
        before = self.cells[column][row - 1]
        return before < DONE or before == DROPPED_BEHIND

    def is_kept(self, column: int, row: int) -> bool:
        """True for output that stayed when its barrier node was lost."""
        rows = self.kept.get(column)
        return rows is not None and row in rows

    def open_inputs(self, column: int, row: int, *, in_turn: bool = False) -> int:
        """How many nodes a cell in backoff waits for: inputs that are open, and its turn.

        Args:
            column, row: the cell.
            in_turn: it is known that the rows before it do not hold it up.
        """
        needs = self.rules.columns[column].needs
        waits = sum(self.cells[need][row] < DONE for need in needs)
        return waits + (not in_turn and self.is_behind(column, row))

    def row_in_turn(self, column: int, row: int) -> int:
        """The row before `row` in an ordered column, dropped ones passed over; −1 if none is left.

        For telling why a cell waits: it looks at each row that it passes.
        """
        if self.turns.get(column, row) < row:
            return self.turns[column]
        row -= 1
        while row >= 0 and self.cells[column][row] in (DROPPED, DROPPED_BEHIND):
            row -= 1
        return row

    def reads(self, column: int, scope: int) -> Ranges:
        """The rows that a run of the barrier node reads if it starts now (clause BARR-06).

        A row whose output was skipped by the column's own condition is read: the condition is
        asked after the run, and a run that is repeated reads the same rows again.
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
                and not self.is_barrier_resolved(rule.index, row // rule.scope_rows)
                and not self.is_claimed(rule.index, row)
            ):
                return False
        return True


class Lenient:
    """A judge that lets anything happen, and keeps the count of ready cells right: for trackers."""

    def __init__(self, nodes: NodeStates) -> None:
        self._nodes = nodes

    def not_ready(self, column: int, row: int) -> None:
        pass

    def no_slot(self, column: int, row: int) -> None:
        pass

    def not_running(self, column: int, row: int) -> None:
        nodes = self._nodes
        if nodes.cells[column][row] == READY:
            nodes.ready[nodes.cell_groups[column]] -= 1
