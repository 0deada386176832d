"""A tracker by definition: which marks were made, and all that follows from them.

Written from the clauses, like `tests.oracles`, and as slow. Marks come in any order: nothing is
refused, so a cell may be resolved before what it waits for. What is asked is worked out anew each
time from the marks, the rows that were given up, and what the last restore claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId
from tests.oracles import Definition

__all__ = ["TrackerModel"]

Spans = tuple[tuple[int, int], ...]
VALUE, SKIP = "value", "skip"


class TrackerModel:
    """The marks of one tracker of `definition`."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.names = [item.name for item in definition.columns]
        self.rows = range(definition.num_records)
        self.restore(dict.fromkeys(self.names, 0))

    def restore(
        self,
        claim: Mapping[str, int],
        dropped: Iterable[int] = (),
        skipped: Mapping[str, Iterable[int]] | None = None,
    ) -> None:
        """Clauses CKPT-06 and CKPT-07: what is claimed is resolved, and what is told is known."""
        skips = {CellNodeId(r, name) for name, rows in (skipped or {}).items() for r in rows}
        self.claimed = dict(claim)
        self.dropped = set(dropped)
        self.ran: set[BarrierNodeId] = set()
        self.results = {
            cell: SKIP if cell in skips else VALUE
            for name in self.names
            for cell in self.definition.cells(name)[: claim[name]]
        }

    # Marks: on what is resolved they change nothing (TRACK-01, TRACK-12)

    def mark_complete(self, node: NodeId) -> None:
        if self.resolved(node):
            return
        if isinstance(node, BarrierNodeId):
            self.ran.add(node)
        else:
            self.results[node] = VALUE

    def mark_skipped(self, cell: CellNodeId) -> None:
        if not self.resolved(cell):
            self.results[cell] = SKIP

    def mark_dropped(self, row: int) -> None:
        self.dropped.add(row)

    # What is resolved

    def is_claimed(self, cell: CellNodeId) -> bool:
        return cell.row < self.claimed[cell.column]

    def is_skipped(self, cell: CellNodeId) -> bool:
        return self.results.get(cell) == SKIP

    def has_skipped_input(self, cell: CellNodeId) -> bool:
        """An input of it was skipped, and its column passes skips on."""
        inputs = self.definition.inputs(cell.column)
        return self.definition.column(cell.column).propagate_skip and any(
            self.is_skipped(CellNodeId(cell.row, name)) for name in inputs
        )

    def must_skip(self, cell: CellNodeId) -> bool:
        return not self.resolved(cell) and self.has_skipped_input(cell)

    def outputs(self, barrier: BarrierNodeId) -> list[CellNodeId]:
        return [CellNodeId(row, barrier.column) for row in self.definition.scope(barrier)]

    def wanted(self, barrier: BarrierNodeId) -> list[CellNodeId]:
        """Clause BARR-08: output cells that are not claimed, dropped, or to be skipped."""
        return [
            cell
            for cell in self.outputs(barrier)
            if not self.is_claimed(cell)
            and cell.row not in self.dropped
            and not self.has_skipped_input(cell)
        ]

    def resolved(self, node: NodeId) -> bool:
        if isinstance(node, CellNodeId):
            return node in self.results or node.row in self.dropped
        return (
            node in self.ran
            or all(map(self.is_claimed, self.outputs(node)))
            or (not self.wanted(node) and self.waits_for_nothing(node))
        )

    def is_lost(self, cell: CellNodeId) -> bool:
        """Only the drop of its row resolved it."""
        return cell.row in self.dropped and cell not in self.results

    def is_in_turn(self, cell: CellNodeId) -> bool:
        """Clauses GRAPH-13 and SCHED-13: the live cell before it in an ordered column is there."""
        if not self.definition.is_ordered(cell.column) or self.definition.is_barrier(cell.column):
            return True
        before = [CellNodeId(row, cell.column) for row in range(cell.row)]
        live = [other for other in before if not self.is_lost(other)]
        return not live or self.resolved(live[-1])

    def waits_for_nothing(self, node: NodeId) -> bool:
        needs = self.definition.dependencies(node)
        if isinstance(node, CellNodeId):
            needs = {n for n in needs if n.column != node.column or isinstance(n, BarrierNodeId)}
            if not self.is_in_turn(node):
                return False
        return all(map(self.resolved, needs))

    # What is asked

    def done(self) -> set[NodeId]:
        return {node for node in self.definition.nodes() if self.resolved(node)}

    def notified(self) -> set[NodeId]:
        """What has been announced and is not resolved: what can start, or be skipped at once."""
        return {
            node
            for node in self.definition.nodes()
            if not self.resolved(node) and self.waits_for_nothing(node)
        }

    def ready(self) -> set[NodeId]:
        return {
            node
            for node in self.notified()
            if isinstance(node, BarrierNodeId) or not self.must_skip(node)
        }

    def reads(self, barrier: BarrierNodeId) -> list[int]:
        """Clause BARR-06."""
        return [
            cell.row
            for cell in self.outputs(barrier)
            if cell.row not in self.dropped and not self.has_skipped_input(cell)
        ]

    def counts(self, cell: CellNodeId) -> bool:
        """It is resolved, and so is its barrier, if it needs it (TRACK-06, CKPT-13)."""
        if cell.row in self.dropped:
            return True
        if not self.resolved(cell):
            return False
        return (
            not self.definition.is_barrier(cell.column)
            or self.is_claimed(cell)
            or self.resolved(self.definition.barrier_of(cell.column, cell.row))
        )

    def row_complete(self, row: int) -> bool:
        return all(self.counts(CellNodeId(row, name)) for name in self.names)

    def completed_rows(self) -> int:
        return next((row for row in self.rows if not self.row_complete(row)), len(self.rows))

    def claim(self, version: int) -> dict[str, int]:
        """What a checkpoint claims: no row of a column that one of its inputs does not claim."""
        if version == 1:
            return dict.fromkeys(self.names, self.completed_rows())
        found: dict[str, int] = {}
        while len(found) < len(self.names):
            for name in self.names:
                inputs = self.definition.inputs(name)
                if inputs <= found.keys():
                    cells = self.definition.cells(name)
                    own = next((c.row for c in cells if not self.counts(c)), len(cells))
                    found[name] = min([own, *(found[need] for need in inputs)])
        return found
