"""A tracker by definition: which marks were made, and all that follows from them.

Written from the clauses, like `tests.oracles`, and as slow. Marks come in any order: nothing is
refused, so a cell may be resolved before what it waits for. What is asked is worked out anew each
time from the marks, the rows that were given up, and what the last restore claimed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

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
        self.restore(dict.fromkeys(self.names, ()))

    def restore(
        self,
        claim: Mapping[str, Collection[int]],
        dropped: Iterable[int] = (),
        skipped: Mapping[str, Iterable[int]] | None = None,
    ) -> None:
        """Clauses CKPT-06 and CKPT-07: what is claimed is resolved, and what is told is known."""
        skips = {CellNodeId(r, name) for name, rows in (skipped or {}).items() for r in rows}
        self.claimed = {name: set(rows) for name, rows in claim.items()}
        self.dropped = set(dropped)
        self.ran: set[BarrierNodeId] = set()
        self.results = {
            cell: SKIP if cell in skips else VALUE
            for name in self.names
            for cell in self.definition.cells(name)
            if self.is_claimed(cell)
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
        return cell.row in self.claimed[cell.column]

    def is_restored(self, barrier: BarrierNodeId) -> bool:
        """A checkpoint claimed its whole scope."""
        return all(map(self.is_claimed, self.outputs(barrier)))

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
            or self.is_restored(node)
            or (not self.wanted(node) and self.waits_for_nothing(node))
        )

    def hands_on(self, node: NodeId) -> bool:
        """Its turn is the next one's: its row was dropped before it was made, or its scope was."""
        if isinstance(node, BarrierNodeId):
            return self.is_restored(node)
        return node.row in self.dropped and (node not in self.results or self.is_claimed(node))

    def is_in_turn(self, node: NodeId) -> bool:
        """Clauses GRAPH-13 and SCHED-13: the one before it that does not hand on is there."""
        if not self.definition.is_ordered(node.column):
            return True
        line: list[NodeId] = list(self.definition.barriers(node.column))
        if not line:
            line = list(self.definition.cells(node.column))
        elif isinstance(node, CellNodeId):
            return True
        before = [other for other in line[: line.index(node)] if not self.hands_on(other)]
        return not before or self.resolved(before[-1])

    def waits_for_nothing(self, node: NodeId) -> bool:
        needs = self.definition.dependencies(node)
        if isinstance(node, CellNodeId) and self.definition.is_barrier(node.column):
            return all(map(self.resolved, needs))
        inputs = {other for other in needs if other.column != node.column}
        return self.is_in_turn(node) and all(map(self.resolved, inputs))

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

    def claim(self, version: int) -> dict[str, set[int]]:
        """What a checkpoint claims: no cell without its inputs, or before its turn (CKPT-05)."""
        if version == 1:
            return {name: set(range(self.completed_rows())) for name in self.names}
        found: dict[str, set[int]] = {}
        while len(found) < len(self.names):
            for name in self.names:
                inputs = self.definition.inputs(name)
                if inputs <= found.keys():
                    rows = {cell.row for cell in self.definition.cells(name) if self.counts(cell)}
                    rows = rows.intersection(*(found[need] for need in inputs))
                    if version == 2:
                        rows = {row for row in rows if rows.issuperset(range(row))}
                    found[name] = self.in_order(name, rows)
        return found

    def rows_before(self, name: str, row: int) -> set[int]:
        """The rows whose cells come before a cell in order: earlier ones, or of earlier batches."""
        node: NodeId = CellNodeId(row, name)
        if self.definition.is_barrier(name):
            node = self.definition.barrier_of(name, row)
        found: set[int] = set()
        for other in self.definition.earlier(node):
            found |= set(
                [other.row] if isinstance(other, CellNodeId) else self.definition.scope(other)
            )
        return found

    def in_order(self, name: str, rows: set[int]) -> set[int]:
        """Those of the rows that have all that comes before them, or are dropped."""
        return {row for row in rows if row in self.dropped or rows >= self.rows_before(name, row)}
