"""The execution graph: which node waits for which, for any number of rows in O(columns) memory.

A graph is a list of columns and a number of rows. Its nodes are virtual: `CellNodeId(row, column)`
for every row and column, and the barrier nodes of barrier columns. Edges follow from four rules,
compiled by `cellspec.graph.rules`:

- a cell waits for the cells of its own row in the columns it needs;
- a barrier node waits for the cells of every row of its scope in the columns it needs;
- a cell of a barrier column waits for the barrier node of its row alone;
- in an ordered column a cell also waits for the cell of the row before, and a barrier node for the
  barrier node of the batch before. Trackers, which know the dropped rows, pass this on over
  them (clause SCHED-13).

A cell or barrier after a barrier thus waits for the barrier's *output cell* in its row.
`get_dependents` is the exact inverse of `get_dependencies`.

A graph is immutable, and the same before and after a run. Questions about progress take a tracker:
anything that answers ``node in tracker``. A plain `set` of nodes will do; the package's own
trackers answer from counters, at a cost that grows with the nodes they yield.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Protocol, TypeGuard, runtime_checkable

from cellspec.errors import GraphError, NodeError, UnknownColumnError
from cellspec.graph.columns import ColumnDescriptor
from cellspec.graph.configuration import config_digest
from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId
from cellspec.graph.rowset import Ranges
from cellspec.graph.rules import Rules, compile_rules, fingerprint, resolve_columns
from cellspec.text import listed_names

__all__ = [
    "BarrierScope",
    "CompletionTrackerProtocol",
    "ExecutionGraph",
    "GraphTracker",
    "IndexedTracker",
    "provide_tracker",
]

BarrierScope = Literal["declared", "batch"]


@runtime_checkable
class CompletionTrackerProtocol(Protocol):
    """All that a graph asks of a tracker: is this node complete?"""

    def __contains__(self, node: object, /) -> bool:
        """True if `node` is complete."""
        ...


class IndexedTracker(CompletionTrackerProtocol, Protocol):
    """A tracker that answers a graph's questions itself, without a look at every node."""

    def ready_nodes(self, graph: ExecutionGraph, column: int | None) -> Iterator[NodeId]: ...

    def completed_row_count(self, graph: ExecutionGraph) -> int: ...

    def row_complete(self, graph: ExecutionGraph, row: int) -> bool: ...

    def all_complete(self, graph: ExecutionGraph) -> bool: ...


class GraphTracker(IndexedTracker, Protocol):
    """A tracker of one graph, as `ExecutionGraph.tracker` makes it.

    `cellspec.state.tracker.CompletionTracker` is one, and documents each method.
    """

    @property
    def num_records(self) -> int: ...

    def mark_complete(self, node: NodeId) -> None: ...

    def mark_skipped(self, cell: CellNodeId) -> None: ...

    def mark_dropped(self, row: int) -> None: ...

    def is_complete(self, node: NodeId) -> bool: ...

    def is_skipped(self, cell: CellNodeId) -> bool: ...

    def is_dropped(self, row: int) -> bool: ...

    def must_skip(self, cell: CellNodeId) -> bool: ...

    def is_in_turn(self, cell: CellNodeId) -> bool: ...

    def barrier_reads(self, barrier: BarrierNodeId) -> Ranges: ...

    def listen(self, on_ready: Callable[[NodeId], object]) -> None: ...

    def is_column_complete(self, column: str) -> bool: ...

    def is_barrier_complete(self, column: str, batch: int | None = None) -> bool: ...

    def column_completion_count(self, column: str) -> int: ...

    def reset(self) -> None: ...

    def to_checkpoint(self, graph: ExecutionGraph, version: int = 1) -> dict[str, Any]: ...

    def __len__(self) -> int: ...


_make_tracker: Callable[[ExecutionGraph], GraphTracker] | None = None

_PROVIDER = "cellspec.state.tracker"
"""Registers a tracker when it is imported; a graph finds it by name, as one finds a plugin."""


def provide_tracker(make: Callable[[ExecutionGraph], GraphTracker]) -> None:
    """Register the function by which `ExecutionGraph.tracker` makes a tracker.

    Trackers live in `cellspec.state`, which builds on graphs, so graphs do not import them.
    """
    global _make_tracker
    _make_tracker = make


class ExecutionGraph:
    """Columns × rows, with their dependencies; immutable, O(columns) in memory.

    Args:
        num_records: rows of the dataset, at least 1.
        column_descriptors: the columns, in any order; the graph keeps them in topological order,
            and keeps an order that is valid as it was given.
        strict: refuse dependencies without a producer; if False, drop them and list them in
            `dropped_dependencies`.
        batch_size: rows of one batch, needed if any barrier has batch scope.
        barrier_scope: ``"declared"`` (each barrier's own trait) or ``"batch"`` (every barrier waits
            for its batch only).

    Raises:
        GraphError: clauses GRAPH-01 to GRAPH-03, or a count that is not a positive integer.
    """

    __slots__ = (
        "_barrier_scope",
        "_batch_size",
        "_columns",
        "_dropped",
        "_fingerprint",
        "_rules",
    )

    def __init__(
        self,
        num_records: int,
        column_descriptors: Iterable[ColumnDescriptor],
        *,
        strict: bool = True,
        batch_size: int | None = None,
        barrier_scope: BarrierScope = "declared",
    ) -> None:
        _expect_positive("num_records", num_records)
        if batch_size is not None:
            _expect_positive("batch_size", batch_size)
        if barrier_scope not in ("declared", "batch"):
            raise GraphError(
                f"barrier_scope: expected 'declared' or 'batch', got {barrier_scope!r}"
            )
        self._columns, self._dropped = resolve_columns(column_descriptors, strict=strict)
        self._batch_size = batch_size
        self._barrier_scope = barrier_scope
        self._rules = compile_rules(
            num_records, self._columns, batch_size=batch_size, barrier_scope=barrier_scope
        )
        self._fingerprint = fingerprint(self._columns, self._rules, batch_size)

    def resized(self, num_records: int) -> ExecutionGraph:
        """The same columns for another number of rows; the fingerprint is the same.

        Raises:
            GraphError: if `num_records` is not a positive integer.
        """
        other = ExecutionGraph.__new__(type(self))
        ExecutionGraph.__init__(
            other,
            num_records,
            self._columns,
            batch_size=self._batch_size,
            barrier_scope=self._barrier_scope,
        )
        return other

    # What the graph is made of

    @property
    def num_records(self) -> int:
        """Rows of the dataset."""
        return self._rules.num_records

    @property
    def num_columns(self) -> int:
        """Columns that a generator makes; side effects are not counted."""
        return len(self._columns)

    @property
    def num_nodes(self) -> int:
        """All cell nodes and all barrier nodes."""
        barriers = sum(self._rules.scope_count(c) for c in range(len(self._columns)))
        return self.num_records * self.num_columns + barriers

    @property
    def batch_size(self) -> int | None:
        """Rows of one batch as it was given, or None."""
        return self._batch_size

    @property
    def column_names(self) -> list[str]:
        """Column names in topological order."""
        return [item.name for item in self._columns]

    @property
    def start_columns(self) -> list[str]:
        """Names of the columns whose generators make values from nothing."""
        return [rule.name for rule in self._rules.columns if rule.is_start]

    @property
    def dropped_dependencies(self) -> tuple[tuple[str, str], ...]:
        """The (column, name) pairs that ``strict=False`` dropped for want of a producer."""
        return self._dropped

    @property
    def rules(self) -> Rules:
        """The compiled column rules that every interpreter works from."""
        return self._rules

    @property
    def fingerprint(self) -> str:
        """A digest of columns, traits, dependencies, side effects, order, scope and batch size.

        The number of rows is not part of it: a run may be resumed with another target (clause
        GRAPH-15).
        """
        return self._fingerprint

    @property
    def config(self) -> dict[str, str]:
        """By column, the digest of its version; columns without a version are left out."""
        return {
            item.name: config_digest(item.version)
            for item in self._columns
            if item.version is not None
        }

    def __repr__(self) -> str:
        return (
            f"ExecutionGraph(num_records={self.num_records}, "
            f"columns=[{', '.join(self.column_names)}])"
        )

    def get_column_descriptor(self, column: str) -> ColumnDescriptor:
        """The descriptor of a column.

        Raises:
            NodeError: if the graph has no such column; the message lists those it has.
        """
        return self._columns[self._column(column)]

    def get_generator_and_config(self, node: NodeId) -> tuple[type | None, Any]:
        """The generator class and config with which an engine runs `node`.

        Raises:
            NodeError: if the node is not of this graph.
        """
        self._check(node)
        item = self._columns[self._rules.index[node.column]]
        return item.generator_cls, item.config

    # Edges

    def get_dependencies(self, node: NodeId) -> list[NodeId]:
        """The nodes that must be complete before `node` may start, by column, then by row.

        A barrier node's list holds a node for every row of its scope.

        Raises:
            NodeError: if the node is not of this graph.
        """
        return list(self.iter_dependencies(node))

    def iter_dependencies(self, node: NodeId) -> Iterator[NodeId]:
        """`get_dependencies`, one at a time."""
        self._check(node)
        rules = self._rules
        rule = rules.columns[rules.index[node.column]]
        if isinstance(node, BarrierNodeId):
            scope = node.batch or 0
            start, stop = rules.scope_bounds(rule.index, scope)
            for need in rule.needs:
                name = rules.columns[need].name
                for row in range(start, stop):
                    yield CellNodeId(row, name)
            if rule.ordered and scope > 0:
                yield self.barrier_node(rule.index, scope - 1)
        elif rule.is_barrier:
            yield self.barrier_node(rule.index, node.row // rule.scope_rows)
        else:
            for need in rule.needs:
                yield CellNodeId(node.row, rules.columns[need].name)
            if rule.ordered and node.row > 0:
                yield CellNodeId(node.row - 1, node.column)

    def get_dependents(self, node: NodeId) -> list[NodeId]:
        """The nodes that wait for `node`: the exact inverse of `get_dependencies` (GRAPH-05).

        Raises:
            NodeError: if the node is not of this graph.
        """
        self._check(node)
        rules = self._rules
        rule = rules.columns[rules.index[node.column]]
        if isinstance(node, BarrierNodeId):
            scope = node.batch or 0
            start, stop = rules.scope_bounds(rule.index, scope)
            found: list[NodeId] = [CellNodeId(row, rule.name) for row in range(start, stop)]
            if rule.ordered and scope + 1 < rules.scope_count(rule.index):
                found.append(self.barrier_node(rule.index, scope + 1))
            return found
        found = []
        if rule.ordered and not rule.is_barrier and node.row + 1 < self.num_records:
            found.append(CellNodeId(node.row + 1, node.column))
        for other in sorted((*rule.cell_dependents, *rule.barrier_dependents)):
            later = rules.columns[other]
            if later.is_barrier:
                found.append(self.barrier_node(other, node.row // later.scope_rows))
            else:
                found.append(CellNodeId(node.row, later.name))
        return found

    # Nodes

    def iter_nodes(self) -> Iterator[NodeId]:
        """Every node once, each after all that it depends on: by column, barriers before cells."""
        for rule in self._rules.columns:
            yield from self._nodes_of(rule.index)

    def iter_start_nodes(self) -> Iterator[NodeId]:
        """The nodes of START columns without dependencies (GRAPH-12)."""
        for rule in self._rules.columns:
            if not rule.is_start or rule.needs:
                continue
            if rule.is_barrier:
                count = 1 if rule.ordered else self._rules.scope_count(rule.index)
                for scope in range(count):
                    yield self.barrier_node(rule.index, scope)
            else:
                for row in range(1 if rule.ordered else self.num_records):
                    yield CellNodeId(row, rule.name)

    def cell_node(self, column: int, row: int) -> CellNodeId:
        """The cell of a column, by position, in a row."""
        return CellNodeId(row, self._rules.columns[column].name)

    def barrier_node(self, column: int, scope: int) -> BarrierNodeId:
        """The barrier node of a column by position; dataset scope has a batch of None."""
        rule = self._rules.columns[column]
        return BarrierNodeId(rule.name, scope if rule.batched else None)

    def _nodes_of(self, column: int) -> Iterator[NodeId]:
        for scope in range(self._rules.scope_count(column)):
            yield self.barrier_node(column, scope)
        name = self._rules.columns[column].name
        for row in range(self.num_records):
            yield CellNodeId(row, name)

    # Progress

    def iter_ready_nodes(self, completed: CompletionTrackerProtocol) -> Iterator[NodeId]:
        """Nodes that are not complete and whose dependencies all are, in topological order.

        The iterator is live: a node that becomes ready because an earlier one was marked complete
        on the way is yielded too, so one pass that marks each node finishes the graph (GRAPH-14).
        """
        if _is_indexed(completed):
            yield from completed.ready_nodes(self, None)
            return
        for rule in self._rules.columns:
            yield from self._ready_of(rule.index, completed)

    def iter_ready_nodes_for_column(
        self, column: str, completed: CompletionTrackerProtocol
    ) -> Iterator[NodeId]:
        """`iter_ready_nodes`, of one column.

        Raises:
            NodeError: if the graph has no such column.
        """
        index = self._column(column)
        if _is_indexed(completed):
            yield from completed.ready_nodes(self, index)
        else:
            yield from self._ready_of(index, completed)

    def _ready_of(self, column: int, completed: CompletionTrackerProtocol) -> Iterator[NodeId]:
        for node in self._nodes_of(column):
            if node not in completed and all(
                need in completed for need in self.iter_dependencies(node)
            ):
                yield node

    def is_complete(self, completed: CompletionTrackerProtocol) -> bool:
        """True if every row is complete, and every barrier that an unclaimed row needs."""
        if _is_indexed(completed):
            return completed.all_complete(self)
        return all(node in completed for node in self.iter_nodes())

    def is_row_complete(self, row: int, completed: CompletionTrackerProtocol) -> bool:
        """True if all cells of the row are complete and each of its barriers is.

        A row that a checkpoint claimed counts although a barrier must run again for the others
        (clause TRACK-06); only the package's trackers remember claims.

        Raises:
            NodeError: if the row is out of range.
        """
        self._check_row(row)
        if _is_indexed(completed):
            return completed.row_complete(self, row)
        return self._row_complete(row, completed)

    def _row_complete(self, row: int, completed: CompletionTrackerProtocol) -> bool:
        for rule in self._rules.columns:
            if CellNodeId(row, rule.name) not in completed:
                return False
            if (
                rule.is_barrier
                and self.barrier_node(rule.index, row // rule.scope_rows) not in completed
            ):
                return False
        return True

    def get_completed_row_count(self, completed: CompletionTrackerProtocol) -> int:
        """How many rows are complete without a gap from row 0: O(columns) with our trackers."""
        if _is_indexed(completed):
            return completed.completed_row_count(self)
        row = 0
        while row < self.num_records and self._row_complete(row, completed):
            row += 1
        return row

    def tracker(self) -> GraphTracker:
        """A tracker that knows this graph's nodes and refuses all others (TRACK-03)."""
        if _make_tracker is None:
            importlib.import_module(_PROVIDER)
        assert _make_tracker is not None, f"{_PROVIDER} provides no tracker"
        return _make_tracker(self)

    # Checks

    def check_node(self, node: NodeId) -> None:
        """Refuse a node that this graph does not have.

        Raises:
            NodeError: an unknown column, a row or batch out of range, a barrier of a column that
                is none, or the wrong kind of scope.
        """
        self._check(node)

    def _column(self, column: str) -> int:
        index = self._rules.index.get(column)
        if index is None:
            known = listed_names(self.column_names)
            raise UnknownColumnError(f"unknown column {column!r}; this graph has {known}")
        return index

    def _check_row(self, row: int) -> None:
        if type(row) is not int or not 0 <= row < self.num_records:
            raise NodeError(f"Row {row!r} is out of range; expected 0 to {self.num_records - 1}")

    def _check(self, node: NodeId) -> None:
        if isinstance(node, CellNodeId):
            self._column(node.column)
            self._check_row(node.row)
            return
        if not isinstance(node, BarrierNodeId):
            raise NodeError(f"expected a CellNodeId or a BarrierNodeId, got {node!r}")
        rule = self._rules.columns[self._column(node.column)]
        if not rule.is_barrier:
            raise NodeError(f"column {node.column!r} is not a barrier and has no barrier node")
        if not rule.batched:
            if node.batch is not None:
                raise NodeError(
                    f"barrier {node.column!r} waits for the dataset; batch {node.batch!r} given"
                )
            return
        count = self._rules.scope_count(rule.index)
        if type(node.batch) is not int or not 0 <= node.batch < count:
            raise NodeError(
                f"barrier {node.column!r}: batch {node.batch!r} is out of range; "
                f"expected 0 to {count - 1}"
            )


def _is_indexed(completed: CompletionTrackerProtocol) -> TypeGuard[IndexedTracker]:
    return hasattr(completed, "ready_nodes")


def _expect_positive(field: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise GraphError(f"{field} must be positive: expected an integer from 1, got {value!r}")
