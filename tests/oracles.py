"""Two oracles for the reference, written from the clauses and sharing no code with it.

`Definition` says what a pipeline's nodes are and what each waits for, by looking at the column
descriptors anew at every question. `NaiveModel` is a run: a set of done nodes, a set of running
ones, and what storage holds. It says which clauses a step would break; a step that breaks none is
allowed. `SorterOracle` unrolls the pipeline to single nodes, from inputs to those that wait for
them, and leaves readiness to `graphlib`.

Nothing here is fast, and nothing is kept that could be asked again. All that is imported from
`cellspec` are the values that both sides talk in; a test checks it.
"""

from __future__ import annotations

import graphlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId

__all__ = ["Definition", "NaiveModel", "SorterOracle"]


@dataclass(frozen=True)
class Definition:
    """A pipeline as it was given: any order of columns, nothing compiled."""

    num_records: int
    columns: Sequence[ColumnDescriptor]
    batch_size: int | None = None
    barrier_scope: str = "declared"

    def column(self, name: str) -> ColumnDescriptor:
        return next(item for item in self.columns if item.name == name)

    def producer(self, name: str) -> str:
        """The column that makes a name: its own, or one of its side effects."""
        return next(c.name for c in self.columns if name == c.name or name in c.side_effects)

    def inputs(self, column: str) -> set[str]:
        return {self.producer(name) for name in self.column(column).dependencies}

    def is_barrier(self, column: str) -> bool:
        traits = self.column(column).traits
        return ExecutionTraits.BARRIER in traits or ExecutionTraits.BATCH_BARRIER in traits

    def is_batched(self, column: str) -> bool:
        if not self.is_barrier(column):
            return False
        declared = ExecutionTraits.BATCH_BARRIER in self.column(column).traits
        return declared or self.barrier_scope == "batch"

    def is_ordered(self, column: str) -> bool:
        return ExecutionTraits.ORDERED in self.column(column).traits

    def batches(self) -> list[range]:
        """Clause BARR-03: rows in order, in runs of the batch size, the last one maybe short."""
        assert self.batch_size is not None
        rows = range(self.num_records)
        return [rows[i : i + self.batch_size] for i in rows[:: self.batch_size]]

    def barriers(self, column: str) -> list[BarrierNodeId]:
        if not self.is_barrier(column):
            return []
        if not self.is_batched(column):
            return [BarrierNodeId(column)]
        return [BarrierNodeId(column, batch) for batch in range(len(self.batches()))]

    def scope(self, barrier: BarrierNodeId) -> range:
        """The rows that a barrier node waits for."""
        if barrier.batch is None:
            return range(self.num_records)
        return self.batches()[barrier.batch]

    def barrier_of(self, column: str, row: int) -> BarrierNodeId:
        return next(node for node in self.barriers(column) if row in self.scope(node))

    def cells(self, column: str) -> list[CellNodeId]:
        return [CellNodeId(row, column) for row in range(self.num_records)]

    def nodes(self) -> list[NodeId]:
        found: list[NodeId] = []
        for item in self.columns:
            found += self.barriers(item.name)
            found += self.cells(item.name)
        return found

    def dependencies(self, node: NodeId) -> set[NodeId]:
        """Clauses GRAPH-07 to GRAPH-11 and GRAPH-13, one after the other."""
        column = node.column
        found: set[NodeId] = set()
        if isinstance(node, BarrierNodeId):
            for name in self.inputs(column):
                found |= {CellNodeId(row, name) for row in self.scope(node)}
            if self.is_ordered(column) and node.batch:
                found.add(BarrierNodeId(column, node.batch - 1))
        elif self.is_barrier(column):
            found.add(self.barrier_of(column, node.row))
        else:
            found |= {CellNodeId(node.row, name) for name in self.inputs(column)}
            if self.is_ordered(column) and node.row > 0:
                found.add(CellNodeId(node.row - 1, column))
        return found

    def earlier(self, node: NodeId) -> set[NodeId]:
        """Clause SCHED-13: what comes before a node in an ordered column, all of it."""
        column = node.column
        if not self.is_ordered(column):
            return set()
        if isinstance(node, BarrierNodeId):
            return {BarrierNodeId(column, batch) for batch in range(node.batch or 0)}
        if self.is_barrier(column):
            return set()
        return {CellNodeId(row, column) for row in range(node.row)}

    def start_nodes(self) -> set[NodeId]:
        """Clause GRAPH-12."""
        return {
            node
            for node in self.nodes()
            if ExecutionTraits.START in self.column(node.column).traits
            and not self.dependencies(node)
        }


@dataclass
class NaiveModel:
    """A run by definition: sets of nodes, and what is on storage by column name.

    The methods named ``…_breaks`` give the numbers of the clauses that a step would break now; a
    step that breaks none is allowed, and the method of the same name takes it.
    """

    definition: Definition
    workers: int | None = None
    resources: Mapping[str, int] = field(default_factory=dict)
    column_resource: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.done: set[NodeId] = set()
        self.running: set[NodeId] = set()
        self.names = [item.name for item in self.definition.columns]
        nothing = dict.fromkeys(self.names, 0)
        self.claimed: dict[str, int] = dict(nothing)
        self.durable: dict[str, int] = dict(nothing)
        self.durable_claim: dict[str, int] = dict(nothing)
        self.pending_claim: dict[str, int] | None = None
        self.crashed = False
        self.ended = False

    # What is complete

    def is_claimed(self, cell: CellNodeId) -> bool:
        return cell.row < self.claimed[cell.column]

    def ready(self) -> set[NodeId]:
        """Nodes neither done nor running whose dependencies are all done."""
        return {
            node
            for node in self.definition.nodes()
            if node not in self.done
            and node not in self.running
            and self.definition.dependencies(node) <= self.done
        }

    def startable(self) -> set[NodeId]:
        return {node for node in self.ready() if not self.start_breaks(node)}

    def row_complete(self, row: int) -> bool:
        """Clause TRACK-06."""
        for column in self.names:
            cell = CellNodeId(row, column)
            if cell not in self.done:
                return False
            if self.definition.is_barrier(column):
                barrier = self.definition.barrier_of(column, row)
                if barrier not in self.done and not self.is_claimed(cell):
                    return False
        return True

    def completed_rows(self) -> int:
        """Clause TRACK-10."""
        rows = range(self.definition.num_records)
        return next((row for row in rows if not self.row_complete(row)), len(rows))

    def prefix(self, column: str) -> int:
        """Clause CKPT-13."""
        for cell in self.definition.cells(column):
            counts = cell in self.done
            if counts and self.definition.is_barrier(column) and not self.is_claimed(cell):
                counts = self.definition.barrier_of(column, cell.row) in self.done
            if not counts:
                return cell.row
        return self.definition.num_records

    def prefixes(self) -> dict[str, int]:
        return {column: self.prefix(column) for column in self.names}

    def rows_claim(self) -> dict[str, int]:
        """What a checkpoint of version 1 claims, column by column."""
        return dict.fromkeys(self.names, self.completed_rows())

    def mark(self, node: NodeId) -> None:
        """A tracker is told that a node is complete."""
        self.done.add(node)

    def restore(self, claim: Mapping[str, int]) -> None:
        """Clauses CKPT-06 and CKPT-07: exactly what is claimed is complete."""
        self.claimed = dict(claim)
        self.running = set()
        self.done = {
            cell
            for column in self.names
            for cell in self.definition.cells(column)
            if self.is_claimed(cell)
        }
        for column in self.names:
            for barrier in self.definition.barriers(column):
                if all(row < claim[column] for row in self.definition.scope(barrier)):
                    self.done.add(barrier)

    # What a step would break

    def _over(self) -> set[str]:
        return {"SCHED-07"} if self.crashed or self.ended else set()

    def _is_output(self, node: NodeId) -> bool:
        return isinstance(node, CellNodeId) and self.definition.is_barrier(node.column)

    def working(self) -> list[NodeId]:
        """What takes a worker: all that runs, but for output cells."""
        return [node for node in self.running if not self._is_output(node)]

    def start_breaks(self, node: NodeId) -> set[str]:
        if self._over():
            return self._over()
        if node in self.running:
            return {"SCHED-02"}
        if node in self.done:
            return self._again_breaks(node)
        broken = self._limit_breaks(node)
        if not self.definition.dependencies(node) <= self.done:
            if isinstance(node, BarrierNodeId):
                broken.add("BARR-01")
            elif self._is_output(node):
                broken.add("BARR-02")
            else:
                before = CellNodeId(node.row - 1, node.column)
                only_order = self.definition.dependencies(node) - self.done == {before}
                broken.add("SCHED-13" if only_order else "SCHED-01")
        return broken

    def _again_breaks(self, node: NodeId) -> set[str]:
        """A node starts that is complete. What a checkpoint claimed has a clause of its own."""
        if isinstance(node, CellNodeId):
            return {"SCHED-05"} if self.is_claimed(node) else {"SCHED-03"}
        # A barrier whose whole scope was claimed is complete and claimed: either clause says so.
        claimed = all(row < self.claimed[node.column] for row in self.definition.scope(node))
        return {"SCHED-03", "SCHED-05"} if claimed else {"SCHED-03"}

    def _limit_breaks(self, node: NodeId) -> set[str]:
        broken: set[str] = set()
        if self._is_output(node):
            return broken
        working = self.working()
        if self.workers is not None and len(working) >= self.workers:
            broken.add("SCHED-06")
        resource = self.column_resource.get(node.column)
        if resource is not None:
            busy = [n for n in working if self.column_resource.get(n.column) == resource]
            if len(busy) >= self.resources[resource]:
                broken.add("SCHED-11")
        return broken

    def complete_breaks(self, node: NodeId) -> set[str]:
        return self._over() or (set() if node in self.running else {"SCHED-04"})

    def emit_breaks(self, cells: Iterable[CellNodeId]) -> set[str]:
        return {clause for cell in cells for clause in self.start_breaks(cell)}

    def durable_breaks(self, column: str, rows: int) -> set[str]:
        return self._over() or ({"CKPT-08"} if rows > self.prefix(column) else set())

    def begin_breaks(self, claim: Mapping[str, int]) -> set[str]:
        if self._over():
            return self._over()
        broken = set() if self.pending_claim is None else {"CKPT-11"}
        for column in self.names:
            if claim[column] > self.prefix(column):
                broken.add("CKPT-08")
            if claim[column] < self.durable_claim[column]:
                broken.add("CKPT-09")
            if claim[column] > self.durable[column]:
                broken.add("CKPT-10")
            if any(claim[column] > claim[name] for name in self.definition.inputs(column)):
                broken.add("CKPT-05")
        return broken

    def written_breaks(self) -> set[str]:
        return self._over() or (set() if self.pending_claim is not None else {"CKPT-11"})

    def crash_breaks(self) -> set[str]:
        return self._over()

    def resume_breaks(self, claim: Mapping[str, int]) -> set[str]:
        if not self.crashed and not self.ended:
            return {"SCHED-07"}
        return set() if claim in (self.durable_claim, self.pending_claim) else {"CKPT-12"}

    def end_breaks(self) -> set[str]:
        if self._over():
            return self._over()
        total = self.definition.num_records
        saved = all(rows == total for rows in self.durable.values())
        return set() if saved and self.completed_rows() == total else {"SCHED-10"}

    def wait_breaks(self) -> set[str]:
        """Time moves on."""
        if self._over():
            return set()
        return {"SCHED-09"} if self.startable() else set()

    # Steps

    def start(self, node: NodeId) -> None:
        self.running.add(node)

    def complete(self, node: NodeId) -> None:
        self.running.remove(node)
        self.done.add(node)

    def emit(self, cells: Iterable[CellNodeId]) -> None:
        self.done.update(cells)

    def store(self, column: str, rows: int) -> None:
        self.durable[column] = max(rows, self.durable[column])

    def begin(self, claim: Mapping[str, int]) -> None:
        self.pending_claim = dict(claim)

    def written(self) -> None:
        assert self.pending_claim is not None
        self.durable_claim, self.pending_claim = self.pending_claim, None

    def crash(self) -> None:
        self.crashed = True
        self.running = set()

    def resume(self, claim: Mapping[str, int]) -> None:
        self.durable_claim = dict(claim)
        self.durable = dict(claim)
        self.pending_claim = None
        self.crashed = self.ended = False
        self.restore(claim)

    def end(self) -> None:
        self.ended = True
        self.running = set()


class SorterOracle:
    """Readiness by `graphlib`, over single nodes and the edges that lead from each to the next.

    Args:
        definition: the pipeline.
        done: nodes that are complete from the start; what waits for them does not wait.
    """

    def __init__(self, definition: Definition, done: Iterable[NodeId] = ()) -> None:
        finished = set(done)
        self._sorter: graphlib.TopologicalSorter[NodeId] = graphlib.TopologicalSorter()
        for node in definition.nodes():
            if node not in finished:
                self._sorter.add(node)
        for before, after in _edges(definition):
            if before not in finished and after not in finished:
                self._sorter.add(after, before)
        self._sorter.prepare()
        self._ready = set(self._sorter.get_ready())

    def ready(self) -> set[NodeId]:
        return set(self._ready)

    def mark(self, node: NodeId) -> None:
        self._ready.remove(node)
        self._sorter.done(node)
        self._ready.update(self._sorter.get_ready())


def _edges(definition: Definition) -> Iterator[tuple[NodeId, NodeId]]:
    """Every edge, told by the side that comes first."""
    rows = range(definition.num_records)
    for late in definition.columns:
        ordered = ExecutionTraits.ORDERED in late.traits
        barriers = definition.barriers(late.name)
        for name in late.dependencies:
            for early in definition.columns:
                if name not in early.all_produced_columns:
                    continue
                if barriers:
                    for barrier in barriers:
                        for row in definition.scope(barrier):
                            yield CellNodeId(row, early.name), barrier
                else:
                    for row in rows:
                        yield CellNodeId(row, early.name), CellNodeId(row, late.name)
        for barrier in barriers:
            for row in definition.scope(barrier):
                yield barrier, CellNodeId(row, late.name)
        if ordered and barriers:
            yield from itertools.pairwise(barriers)
        elif ordered:
            for row in rows[1:]:
                yield CellNodeId(row - 1, late.name), CellNodeId(row, late.name)
