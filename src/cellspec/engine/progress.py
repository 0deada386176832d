"""`Progress`: how far each node and each row of one incarnation of a run has come.

A node has one byte of state:

=========  =========================================================================================
WAITING    something it depends on is open, or its row group is not admitted
QUEUED     it may start as soon as a worker and its resource are free
BACKOFF    it failed, and may not start again before a moment in time
RUNNING    a call is in flight
ENDED      it has its value, or was skipped, or its row was dropped
=========  =========================================================================================

The parts of the scheduler share one `Progress`. An event changes the cells of its own node; a drop
changes one row.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from cellspec.engine.calls import BARRIER, Call, Drop
from cellspec.engine.codes import NodeCodes
from cellspec.engine.values import Values
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import CellNodeId
from cellspec.state.tracker import CompletionTracker

__all__ = ["BACKOFF", "ENDED", "QUEUED", "RUNNING", "WAITING", "Progress"]

WAITING, QUEUED, BACKOFF, RUNNING, ENDED = range(5)


class Progress:
    """States, attempts, values and open cells of one incarnation.

    Args:
        graph: what is generated.
        tracker: what is resolved so far.
        on_row_resolved: called with each row whose last open cell was resolved.

    Attributes:
        rules: the graph's columns, compiled.
        codes: the integers that stand for nodes.
        state: for each code, the state of the node.
        attempts: for each code that spent one, the number of attempts spent (clause FAIL-01).
        backoffs: for each code that failed, the number of backoffs since it last began.
        values: the values that this incarnation still needs.
        dropped: the rows given up so far, with the reason.
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
        self.codes = NodeCodes(graph)
        self.values = Values(graph)
        self.dropped: dict[int, Drop] = {}
        self.state = bytearray(self.codes.size)
        self.attempts: dict[int, int] = {}
        self.backoffs: dict[int, int] = {}
        self.open_cells = array("L", [self.codes.columns]) * self.codes.rows
        self.open_rows = self.codes.rows
        self.cells_done = 0
        self._on_row_resolved = on_row_resolved

    def is_live(self, row: int) -> bool:
        """True unless the row was dropped."""
        return row not in self.dropped

    def attempt(self, code: int) -> int:
        """The number of the attempt that comes next (clause FAIL-01)."""
        return 1 + self.attempts.get(code, 0)

    def completed_rows(self) -> int:
        """The rows from row 0 on that are resolved without a gap."""
        return self.graph.get_completed_row_count(self.tracker)

    # Nodes of a call

    def codes_of(self, call: Call) -> list[int]:
        """The nodes that a call has still to resolve."""
        if call.scope is not None:
            return [self.codes.barrier(call.index, call.scope)]
        return [self.codes.cell(call.index, row) for row in call.left]

    def unfinished(self, call: Call) -> list[int]:
        """The nodes of a call that no drop has resolved meanwhile."""
        codes = [code for code in self.codes_of(call) if self.state[code] == RUNNING]
        if call.kind == BARRIER and codes and self.tracker.is_complete(self.codes.node(codes[0])):
            return []
        return codes

    def is_wanted(self, call: Call) -> bool:
        """True if the end of a call still matters to any node."""
        return bool(self.unfinished(call))

    def wants_output(self, column: int, row: int) -> bool:
        """True if the row is live and its output cell not claimed (clauses BARR-07, TABLE-05)."""
        return self.state[self.codes.cell(column, row)] == WAITING

    # What ends

    def end(self, code: int) -> None:
        """A node has ended; its attempts and backoffs are forgotten."""
        self.state[code] = ENDED
        self.attempts.pop(code, None)
        self.backoffs.pop(code, None)

    def resolve(self, column: int, row: int) -> None:
        """A cell has its value; the nodes that waited for it may become ready."""
        self.end(self.codes.cell(column, row))
        self.tracker.mark_complete(CellNodeId(row, self.rules.columns[column].name))
        self.count_cell(row)

    def skip(self, column: int, row: int) -> None:
        """A cell is resolved without a call (clause SKIP-01)."""
        self.state[self.codes.cell(column, row)] = ENDED
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
        """No cell of the row is queued, in backoff or waiting any more (clause DROP-03)."""
        self.open_cells[row] = 0
        for column in range(self.codes.columns):
            self.end(self.codes.cell(column, row))
