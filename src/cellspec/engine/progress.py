"""`Progress`: how far each node and each row of one incarnation of a run has come.

The parts of the scheduler share one `Progress`. An event changes the cells of its own node; a drop
changes one row.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection

from cellspec.engine.call_states import ENDED, RUNNING, WAITING, CallStates
from cellspec.engine.calls import BARRIER, Call, Drop
from cellspec.engine.values import Values
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import (
    CellNodeId,
    NodeId,
    NodeKey,
    barrier_key,
    cell_key,
    place_of,
    split_key,
)
from cellspec.state.tracker import CompletionTracker

__all__ = ["Progress"]


class Progress:
    """States, attempts, values and open cells of one incarnation.

    Args:
        graph: the columns and rows to generate.
        tracker: the nodes that are resolved so far.
        on_row_resolved: called with each row whose last open cell was resolved.

    Attributes:
        rules: the graph's columns, compiled.
        rows, column_count: the size of the table.
        state: for each node, its state.
        attempts: for each node that spent one, the number of attempts spent (clause FAIL-01).
        backoffs: for each node that failed, how often it has backed off.
        values: the values that this incarnation still needs.
        dropped: the rows given up so far, with the reason.
        spent: cells that do not start: too many processes died with them in flight.
        open_cells: for each row, how many of its cells are unresolved.
        open_rows: how many rows have an unresolved cell.
        cells_done: how many cells this incarnation has resolved without a drop.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        tracker: CompletionTracker,
        on_row_resolved: Callable[[int], None],
    ) -> None:
        self.graph = graph
        self.rules = graph.rules
        self.tracker = tracker
        self.rows = graph.num_records
        self.column_count = graph.num_columns
        self.values = Values(graph)
        self.dropped: dict[int, Drop] = {}
        self.spent: Collection[NodeKey] = ()
        self.state = CallStates(graph)
        self.attempts: dict[NodeKey, int] = {}
        self.backoffs: dict[NodeKey, int] = {}
        self.open_cells = array("L", [self.column_count]) * self.rows
        self.open_rows = self.rows
        self.cells_done = 0
        self._on_row_resolved = on_row_resolved

    def is_live(self, row: int) -> bool:
        """True unless the row was dropped."""
        return row not in self.dropped

    def attempt(self, key: NodeKey) -> int:
        """The number of the attempt that comes next (clause FAIL-01)."""
        return 1 + self.attempts.get(key, 0)

    def completed_rows(self) -> int:
        """The rows from row 0 on that are resolved without a gap."""
        return self.graph.get_completed_row_count(self.tracker)

    def key(self, node: NodeId) -> NodeKey:
        """The key of a node."""
        column = self.rules.index[node.column]
        if isinstance(node, CellNodeId):
            return cell_key(column, node.row)
        return barrier_key(column, node.batch or 0)

    def node(self, key: NodeKey) -> NodeId:
        """The node of a key."""
        column, place, is_barrier = split_key(key)
        if is_barrier:
            return self.graph.barrier_node(column, place)
        return CellNodeId(place, self.rules.columns[column].name)

    # Nodes of a call

    def keys_of(self, call: Call) -> list[NodeKey]:
        """The nodes that a call has still to resolve."""
        if call.scope is not None:
            return [barrier_key(call.index, call.scope)]
        return [cell_key(call.index, row) for row in call.left]

    def unfinished(self, call: Call) -> list[NodeKey]:
        """The nodes of a call that no drop has resolved meanwhile."""
        keys = [key for key in self.keys_of(call) if self.state[key] == RUNNING]
        if call.kind == BARRIER and keys and self.tracker.is_complete(self.node(keys[0])):
            return []
        return keys

    def is_wanted(self, call: Call) -> bool:
        """True if the end of a call still matters to any node."""
        return bool(self.unfinished(call))

    def wants_output(self, column: int, row: int) -> bool:
        """True if the row is live and its output cell not claimed (clauses BARR-07, TABLE-05)."""
        return self.state[cell_key(column, row)] == WAITING

    # What ends

    def end(self, key: NodeKey) -> None:
        """A node has ended; its attempts and backoffs are forgotten."""
        self.state[key] = ENDED
        self.attempts.pop(key, None)
        self.backoffs.pop(key, None)

    def give_up(self, call: Call, keys: list[NodeKey]) -> list[int]:
        """The nodes of a call failed for good; returns the rows that they take with them."""
        if call.kind != BARRIER:
            return [place_of(key) for key in keys]
        self.state[keys[0]] = ENDED
        # A row that it did not read, because an input was skipped, wanted nothing of it.
        return [row for row in call.rows if self.wants_output(call.index, row)]

    def resolve(self, column: int, row: int) -> None:
        """A cell has its value; the nodes that waited for it may become ready."""
        self.end(cell_key(column, row))
        self.tracker.mark_complete(CellNodeId(row, self.rules.columns[column].name))
        self.count_cell(row)

    def skip(self, column: int, row: int) -> None:
        """A cell is resolved without a call (clause SKIP-01)."""
        self.state[cell_key(column, row)] = ENDED
        self.tracker.mark_skipped(CellNodeId(row, self.rules.columns[column].name))
        self.count_cell(row)

    def count_cell(self, row: int) -> None:
        """One cell of a row was resolved."""
        self.cells_done += 1
        self.open_cells[row] -= 1
        if not self.open_cells[row]:
            self._resolve_row(row)

    def _resolve_row(self, row: int) -> None:
        self.open_rows -= 1
        self._on_row_resolved(row)

    def drop_row(self, row: int, drop: Drop) -> None:
        """Resolve all that is open of a row; barriers that waited for it are released."""
        self.dropped[row] = drop
        self.end_row(row)
        self.values.forget_row(row)
        self.tracker.mark_dropped(row)
        self._resolve_row(row)

    def end_row(self, row: int) -> None:
        """Take every cell of the row out of queues, backoff and waiting (clause DROP-03)."""
        self.open_cells[row] = 0
        for column in range(self.column_count):
            self.end(cell_key(column, row))
