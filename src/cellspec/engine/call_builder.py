"""`CallBuilder`: makes the `Call` of a node that starts: its rows, inputs and attempt."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from cellspec.engine.call_states import QUEUED, WAITING
from cellspec.engine.calls import BARRIER, CELL, RANGE, Call
from cellspec.engine.progress import Progress
from cellspec.engine.row_groups import RowGroups
from cellspec.engine.skips import Skips
from cellspec.graph.nodes import CellNodeId, NodeKey, barrier_key, cell_key, split_key
from cellspec.graph.rowset import rows_of

__all__ = ["CallBuilder"]


class CallBuilder:
    """Builds calls of cells, ranges and barriers.

    Args:
        progress: states and values.
        groups: which rows are admitted; a range takes in no other.
        skips: which cells are skipped; a range takes in none of them.
        ranged: the columns that run ranges; others run cell by cell.
        range_rows: most rows of one range.
    """

    def __init__(
        self,
        progress: Progress,
        groups: RowGroups,
        skips: Skips,
        ranged: Collection[str],
        range_rows: int,
    ) -> None:
        self.progress = progress
        self.groups = groups
        self._skips = skips
        self._ranged = ranged
        self._range_rows = range_rows
        self._columns = progress.rules.columns

    def build(self, key: NodeKey, number: int) -> Call:
        """The call that runs a node.

        Args:
            key: the node.
            number: the number of the call.
        """
        column, place, is_barrier = split_key(key)
        if is_barrier:
            return self._barrier_call(column, place, number)
        if self._columns[column].name in self._ranged:
            return self._range_call(column, place, number)
        return self._cell_call(column, place, number)

    def _cell_call(self, column: int, row: int, number: int) -> Call:
        progress = self.progress
        return Call(
            number=number,
            column=self._columns[column].name,
            index=column,
            kind=CELL,
            start=row,
            stop=row + 1,
            scope=None,
            attempt=progress.attempt(cell_key(column, row)),
            rows=(row,),
            inputs=(progress.values.inputs(column, row),),
            left={row: None},
        )

    def _range_call(self, column: int, row: int, number: int) -> Call:
        progress = self.progress
        rows = range(row, self.range_stop(column, row))
        return Call(
            number=number,
            column=self._columns[column].name,
            index=column,
            kind=RANGE,
            start=rows.start,
            stop=rows.stop,
            scope=None,
            attempt=progress.attempt(cell_key(column, row)),
            rows=rows,
            inputs=[progress.values.inputs(column, each) for each in rows],
            left=dict.fromkeys(rows),
        )

    def _barrier_call(self, column: int, scope: int, number: int) -> Call:
        start, stop = self.progress.rules.scope_bounds(column, scope)
        rows = self.read_rows(column, scope)
        return Call(
            number=number,
            column=self._columns[column].name,
            index=column,
            kind=BARRIER,
            start=start,
            stop=stop,
            scope=scope,
            attempt=self.progress.attempt(barrier_key(column, scope)),
            rows=rows,
            inputs=self.read_inputs(column, rows),
        )

    def range_stop(self, column: int, row: int) -> int:
        """The end of the longest range from `row` that may start now (clause RANGE-01)."""
        stop = row + 1
        limit = min(row + self._range_rows, self.progress.rows)
        while stop < limit and self.may_join(column, row, stop):
            stop += 1
        return stop

    def may_join(self, column: int, first: int, row: int) -> bool:
        """True if `row` can be run in one range with `first`, which lies before it."""
        progress = self.progress
        key = cell_key(column, row)
        if progress.attempt(key) != progress.attempt(cell_key(column, first)):
            return False
        if key in progress.spent:
            return False
        if not self._columns[column].ordered:
            return progress.state[key] == QUEUED
        # It must wait for nothing but the row before, which the range itself will give.
        return (
            progress.state[key] == WAITING
            and self.groups.is_admitted(key)
            and all(
                CellNodeId(row, self._columns[need].name) in progress.tracker
                for need in self._columns[column].needs
            )
            and not self._skips.must_skip(column, row)
        )

    def read_rows(self, column: int, scope: int) -> list[int]:
        """The rows that a barrier reads: live and not to be skipped, in order (BARR-06)."""
        node = self.progress.graph.barrier_node(column, scope)
        return list(rows_of(self.progress.tracker.barrier_reads(node)))

    def read_inputs(self, column: int, rows: Iterable[int]) -> list[dict[str, Any]]:
        """The values that a barrier reads, as they are now; a later change does not reach them."""
        return [self.progress.values.inputs(column, row) for row in rows]
