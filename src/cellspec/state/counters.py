"""The counters interpreter: which nodes are ready and which are done, in O(1) for each completion.

The rules of a graph are interpreted over one byte a cell (`cellspec.state.codes`). Completing a
cell decrements the bytes of the cells that wait for it; a byte that reaches zero is announced to
the scheduler. A barrier node has the same kind of byte, and beside it one integer: the number of
cells of its scope that are still open.

A row group that has to be admitted is one more thing that each of its cells waits for.

In an ordered column a cell waits for the row before it. A row that is dropped before its turn still
stands between its neighbours: the turn passes over it, once, when it comes.

An operation looks at its own row and the columns that wait for it. Exceptions, by design: dropping
a row visits each of its cells once; a turn passes over the dropped rows that follow; releasing or
restoring a range works on whole slices at the speed of `memset`; the length of a column's finished
prefix is found by a search that goes forward only; and the rows that a barrier reads, and whether
any of its output is wanted, are found by a look at its scope.

`Counters` moves state without judging: a tracker may mark nodes in any order. Legality is the
business of `cellspec.machine.machine`, which drives the same counters. The work is done by the
modules beside this one (`moving`, `restoring`, `slots`, `wanting`, `without_value`, `prefixes`) on
the record `cellspec.state.node_states.NodeStates`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from cellspec.graph.rowset import Ranges, RowSet
from cellspec.graph.rules import Rules
from cellspec.state import (
    claimable,
    losing,
    moving,
    prefixes,
    restoring,
    slots,
    wanting,
    without_value,
)
from cellspec.state.claims import Claim, Prefixes
from cellspec.state.node_states import UNLIMITED, Judge, Lenient, NodeStates, ignore

__all__ = ["UNLIMITED", "Claim", "Counters", "Judge"]


class Counters(NodeStates):
    """Completion and readiness of every node of a graph.

    Cells move through two lists of functions, compiled for each column at each restore because
    this is the innermost loop of everything: ``start[column](row)`` and ``resolve[column](row)``.
    A function holds its column's bytes and those of the columns that wait for it; when the column
    is complete it is replaced, and the bytes are gone.

    Args:
        rules: the compiled rules of the graph.
        groups: for each column the group whose slots its cells, or its barrier nodes, take; ready
            cells are counted by group too. By default each column is its own group.
        output_group: the group that counts ready output cells of barriers, which run without a
            slot; by default their column's.
        capacity: for each group, how many cells and barriers may run at once.
        workers: how many may run at once in all.
        judge: notified of each step that is out of order; by default such a step is let pass.
        group_rows: rows of a row group, if rows wait until their group is admitted.
        part_rows: rows of a part, if the parts are counted of which every cell is resolved.

    Its attributes are those of `NodeStates`.
    """

    __slots__ = ()

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
        part_rows: int | None = None,
    ) -> None:
        super().__init__(
            rules,
            groups=groups,
            output_group=output_group,
            capacity=capacity,
            workers=workers,
            group_rows=group_rows,
            part_rows=part_rows,
        )
        self.judge = judge if judge is not None else Lenient(self)
        self.listen()
        self.restore((0,) * len(rules.columns))

    def listen(
        self,
        on_cell: Sequence[Callable[[int], object]] | None = None,
        on_cells: Callable[[int, int, int], object] = ignore,
        on_barrier: Callable[[int, int], object] = ignore,
        on_skip: Callable[[int, int], object] = ignore,
    ) -> None:
        """Subscribe to ready work, from the next `restore` on.

        A barrier node that was announced may resolve by itself before it starts, when the last row
        that wanted its output is dropped; and a ready cell may be dropped. A scheduler
        looks at a node's state when it takes it from its queue.

        Args:
            on_cell: for each column, called with the row of a cell that became ready.
            on_cells: called with (column, start, stop) when all cells of a range became ready.
            on_barrier: called with (column, scope) when a barrier node became ready.
            on_skip: called with (column, row) when a cell waits no longer, and is to be
                skipped, because an input of it was.
        """
        self.on_cell = list(on_cell) if on_cell else [ignore] * len(self.rules.columns)
        self.on_cells = on_cells
        self.on_barrier = on_barrier
        self.on_skip = on_skip

    def subscribe_as(self, other: Counters) -> None:
        """Announce ready work to the subscribers of `other`."""
        self.listen(other.on_cell, other.on_cells, other.on_barrier, other.on_skip)

    def announce_all(self) -> None:
        """Announce everything that is ready to the present subscribers, and later the rest."""
        restoring.announce_all(self)

    def restore(
        self,
        claim: Claim,
        dropped: RowSet | None = None,
        skipped: Mapping[int, RowSet] | None = None,
        lost: Mapping[int, RowSet] | None = None,
    ) -> None:
        """Forget everything but `claim`: its cells are resolved, all else is as at the start.

        So are the open cells of dropped rows. A barrier node is resolved exactly if every output
        cell of its scope is claimed, or if all it waits for is resolved and its output is unwanted
        (clause CKPT-07). Everything that is ready is announced, in row ranges.

        Args:
            claim: for each column the rows that are resolved.
            dropped: rows that are dropped, also beyond the claim of a column.
            skipped: by column, those of the claimed cells that were skipped.
            lost: by column, those of the claimed cells that a drop left unmade.
        """
        restoring.restore(self, claim, dropped, skipped, lost)

    def admit(self, start: int, stop: int) -> None:
        """The row group ``[start, stop)`` is admitted: its nodes wait for one thing less."""
        restoring.admit(self, start, stop)

    def resolve_range(self, column: int, start: int, stop: int) -> None:
        """`resolve` for ready rows ``[start, stop)`` of a barrier column, without a start each."""
        moving.resolve_range(self, column, start, stop)

    def resolve_barrier(self, column: int, scope: int) -> None:
        """A barrier node completed: its output cells become ready, and an ordered successor may."""
        moving.resolve_barrier(self, column, scope)

    def block_starts(self) -> None:
        """Calls of cells cannot start from now on; output cells can, and calls may end."""
        moving.block_starts(self)

    def block_calls(self) -> None:
        """No call of a cell can start until `allow_calls`; output of barriers may be given."""
        moving.block_calls(self)

    def allow_calls(self) -> None:
        """Calls of cells may start again, unless all starts are blocked for good."""
        moving.allow_calls(self)

    def halt(self) -> None:
        """The process is gone, with its calls; every step is out of order until a restore."""
        moving.halt(self)

    def skip(self, column: int, row: int) -> None:
        """A cell that waits no longer is skipped: those that wait for it count down."""
        without_value.skip(self, column, row)

    def drop(self, row: int) -> None:
        """A row is given up: each of its open cells is resolved, as dropped."""
        without_value.drop(self, row)

    def recall(self, column: int, row: int) -> None:
        """A ready cell is complete without a call."""
        slots.recall(self, column, row)

    def lose(self, column: int, row: int) -> None:
        """The value of a complete cell is gone: the cell alone is pending again."""
        losing.lose(self, column, row)

    def lose_barrier(self, column: int, scope: int, kept: Ranges) -> None:
        """A complete barrier node is pending again, with its output but that of rows `kept`."""
        losing.lose_barrier(self, column, scope, kept)

    def give_up(self, column: int, scope: int) -> None:
        """A held barrier node that will not be tried again resolves without a run."""
        without_value.give_up(self, column, scope)

    def wanted(self, column: int, scope: int) -> int:
        """How many output cells of an open barrier node still want its run."""
        return wanting.wanted(self, column, scope)

    def start_barrier(self, column: int, scope: int) -> None:
        """A ready barrier node starts: it takes a slot."""
        slots.start_barrier(self, column, scope)

    def hold(self, column: int, row: int) -> None:
        """A running cell failed and may be tried again: its slot is free, and it is not ready."""
        slots.hold(self, column, row)

    def hold_barrier(self, column: int, scope: int) -> None:
        """A running barrier node failed and may be tried again."""
        slots.hold_barrier(self, column, scope)

    def release_barrier(self, column: int, scope: int) -> None:
        """A held barrier node is ready again."""
        slots.release_barrier(self, column, scope)

    def free_slot(self, column: int) -> None:
        """A call of a column ended that the cells do not count: its slot is free."""
        slots.free_slot(self, column)

    def take_slot(self, column: int) -> None:
        """A call of a column begins that the cells do not count."""
        slots.take_slot(self, column)

    def start_range(self, column: int, start: int, stop: int) -> None:
        """Rows ``[start, stop)`` run as one task, in one slot."""
        slots.start_range(self, column, start, stop)

    def join_range(self, column: int, start: int, stop: int) -> None:
        """Rows ``[start, stop)`` belong to a range that runs."""
        slots.join_range(self, column, start, stop)

    def offer(self, column: int, row: int) -> None:
        """A cell that waits, or is held, counts as ready: it starts, or ends, at once."""
        slots.offer(self, column, row)

    def stop_range(
        self, column: int, start: int, stop: int, given: Collection[int] = ()
    ) -> list[int]:
        """Rows of a range that ended which were not given are held; they are listed."""
        return slots.stop_range(self, column, start, stop, given)

    def prefix(self, column: int) -> int:
        """How many rows of the column are resolved without a gap from row 0."""
        return prefixes.prefix(self, column)

    def completed_rows(self) -> int:
        """How many rows are complete without a gap from row 0: O(columns)."""
        return prefixes.completed_rows(self)

    def column_prefixes(self) -> Prefixes:
        """By column, its `prefix` as far as its inputs reach: the claim of columns."""
        return prefixes.column_prefixes(self)

    def claimable(self) -> Claim:
        """By column, every resolved row that a claim of sets may hold: O(rows after the prefix)."""
        return claimable.claimable(self)
