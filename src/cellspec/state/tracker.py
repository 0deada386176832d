"""Completion trackers: the nodes that have run, at a byte a cell, saved and restored.

`CompletionTracker(num_records)` is a bare tracker: it counts any column that a mark names.
``graph.tracker()`` makes one that knows a graph's columns and refuses others. The first question
that a graph asks of a bare tracker binds the two: its marks become the graph's counters
(`cellspec.state.counters`), and from then on ready nodes and finished rows come from counters.

A row that is given up, and a cell that is left out on purpose, are marked too: `mark_dropped`
resolves the open cells of a row, so that barriers go on without it, and `mark_skipped` resolves a
cell without a value and tells which cells must be skipped because of it. `listen` hands every node
on when it becomes ready, so that an engine need not look for work.

A tracker remembers which rows a checkpoint claimed. After a restore, exactly the claimed cells are
resolved, and those of rows marked as dropped. A barrier is only if its whole scope was
claimed or the rest is unwanted: otherwise it must run again for the other rows, while the claimed
rows stay complete (clauses CKPT-06 and CKPT-07).

`CompletionTracker` is for one thread (an asyncio engine); `ThreadSafeCompletionTracker` is the same
behind one lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

from cellspec.errors import CheckpointError, NodeError
from cellspec.graph.graph import ExecutionGraph, provide_tracker
from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId
from cellspec.graph.rowset import Ranges, RowSet
from cellspec.state.checkpoint import (
    CHECKPOINT_VERSION,
    Checkpoint,
    Kept,
    expect_config,
    kept_digests,
    make_payload,
    make_prefix_payload,
    parse_payload,
)
from cellspec.state.claims import Claim, are_prefixes, reaches
from cellspec.state.codes import DONE, READY
from cellspec.state.counters import Counters

__all__ = ["CompletionTracker", "ThreadSafeCompletionTracker"]


class _Marks:
    """Marks of columns before a graph is known: a byte a cell, until the column is full."""

    __slots__ = ("barriers", "count", "flags", "num_records")

    def __init__(self, num_records: int) -> None:
        self.num_records = num_records
        self.flags: bytearray | None = bytearray(num_records)
        self.count = 0
        self.barriers: set[int | None] = set()

    def has(self, row: int) -> bool:
        return self.flags is None or bool(self.flags[row])

    def add(self, row: int) -> None:
        if self.flags is not None and not self.flags[row]:
            self.flags[row] = 1
            self.count += 1
            if self.count == self.num_records:
                self.flags = None

    def rows(self) -> Iterator[int]:
        if self.flags is None:
            yield from range(self.num_records)
            return
        row = self.flags.find(1)
        while row >= 0:
            yield row
            row = self.flags.find(1, row + 1)


class CompletionTracker:
    """Which nodes are complete; for one thread.

    Memory is at most one byte for each cell of a column that is not complete, and a constant for
    one that is (clause TRACK-07). A mark costs the same at any time.

    Args:
        num_records: rows of the dataset, at least 1.

    Raises:
        NodeError: if `num_records` is not a positive integer.
    """

    def __init__(self, num_records: int) -> None:
        if type(num_records) is not int or num_records < 1:
            raise NodeError(
                f"num_records must be positive: expected an integer from 1, got {num_records!r}"
            )
        self._num_records = num_records
        self._loose: dict[str, _Marks] = {}
        self._graph: ExecutionGraph | None = None
        self._counters: Counters | None = None
        self._index: Mapping[str, int] = {}
        self._config: dict[str, str] | None = None
        self._kept_config: Kept = {}
        self._closed = False

    @classmethod
    def for_graph(cls, graph: ExecutionGraph) -> Self:
        """A tracker of `graph` that refuses nodes which the graph does not have (TRACK-03)."""
        tracker = cls(graph.num_records)
        tracker._counters_for(graph)
        tracker._closed = True
        return tracker

    @property
    def num_records(self) -> int:
        """Rows of the dataset."""
        return self._num_records

    # Marks

    def mark_complete(self, node: NodeId) -> None:
        """Record that `node` is complete; marking it again has the same result (TRACK-01).

        Raises:
            NodeError: a row out of range (TRACK-02), or, for a tracker of a graph, a node that the
                graph does not have.
        """
        if isinstance(node, CellNodeId) and self._counters is not None:
            # The common case, without a tuple; all that may be wrong with the cell is said below.
            column, row = self._index.get(node.column), node.row
            if column is not None and type(row) is int and 0 <= row < self._num_records:
                if self._counters.cells[column][row] < DONE:
                    self._counters.resolve[column](row)
                return
        known = self._known(node)
        if known is None:
            self._mark_loose(node)
            return
        counters, column, scope = known
        if not counters.is_barrier_resolved(column, scope):
            counters.resolve_barrier(column, scope)

    def mark_skipped(self, cell: CellNodeId) -> None:
        """Record that `cell` is resolved without a value; cells that read it are skipped too.

        Barriers leave its row out. A cell that is resolved stays as it is.

        Raises:
            NodeError: a tracker without a graph, or a cell that the graph does not have.
        """
        counters, column, row = self._known_cell(cell)
        if not counters.is_resolved(column, row):
            counters.skip(column, row)

    def mark_dropped(self, row: int) -> None:
        """Record that `row` is given up: its open cells are resolved, and barriers leave it out.

        A barrier node that only this row still wanted resolves by itself (clause BARR-08). Marking
        a dropped row again has the same result.

        Raises:
            NodeError: a tracker without a graph, or a row out of range.
        """
        counters = self._bound("mark_dropped")
        if type(row) is not int or not 0 <= row < self._num_records:
            raise NodeError(f"Row {row!r} is out of range; expected 0 to {self._num_records - 1}")
        if row not in counters.dropped:
            counters.drop(row)

    def is_dropped(self, row: int) -> bool:
        """True if the row was given up."""
        return self._counters is not None and row in self._counters.dropped

    def is_skipped(self, cell: CellNodeId) -> bool:
        """True if the cell was skipped.

        Raises:
            NodeError: as `mark_skipped`.
        """
        counters, column, row = self._known_cell(cell)
        return counters.is_skipped(column, row)

    def must_skip(self, cell: CellNodeId) -> bool:
        """True if the cell is open and has a skipped input, in a column that passes skips on.

        Raises:
            NodeError: as `mark_skipped`.
        """
        counters, column, row = self._known_cell(cell)
        return counters.must_skip(column, row)

    def is_in_turn(self, cell: CellNodeId) -> bool:
        """True unless the cell's column is ORDERED, and an earlier row of it is open (SCHED-13).

        For a cell that was started and is to be tried again: everything else it waits for is there.

        Raises:
            NodeError: as `mark_skipped`.
        """
        counters, column, row = self._known_cell(cell)
        return not counters.is_behind(column, row)

    def barrier_reads(self, barrier: BarrierNodeId) -> Ranges:
        """The rows that a barrier node reads if it starts now, as ranges in order (BARR-06).

        Raises:
            NodeError: a tracker without a graph, or a barrier that the graph does not have.
        """
        self._bound("barrier_reads")
        known = self._known(barrier) if isinstance(barrier, BarrierNodeId) else None
        if known is None:
            raise NodeError(f"{barrier} is no barrier of this graph")
        counters, column, scope = known
        return counters.reads(column, scope)

    def listen(self, on_ready: Callable[[NodeId], object]) -> None:
        """Call `on_ready` for each node when it becomes ready, and now for all that are.

        A cell that must be skipped is announced too. A node may be resolved between its call and
        the time at which the engine takes it up: its row was dropped, or the barrier's output is
        unwanted by then. Calls come from within the mark that made the node ready.

        Raises:
            NodeError: a tracker without a graph.
        """
        counters = self._bound("listen")
        graph = self._graph
        assert graph is not None

        def on_cell(name: str) -> Callable[[int], object]:
            return lambda row: on_ready(CellNodeId(row, name))

        def on_cells(column: int, start: int, stop: int) -> None:
            name = graph.rules.columns[column].name
            for row in range(start, stop):
                on_ready(CellNodeId(row, name))

        counters.listen(
            [on_cell(name) for name in graph.column_names],
            on_cells,
            lambda column, scope: on_ready(graph.barrier_node(column, scope)),
            lambda column, row: on_ready(graph.cell_node(column, row)),
        )
        counters.announce_all()

    def _bound(self, what: str) -> Counters:
        if self._counters is None:
            raise NodeError(f"{what}: needs a tracker of a graph; graph.tracker() makes one")
        return self._counters

    def _known_cell(self, cell: CellNodeId) -> tuple[Counters, int, int]:
        self._bound("a skip")
        known = self._known(cell) if isinstance(cell, CellNodeId) else None
        if known is None:
            raise NodeError(f"{cell} is no cell of this graph")
        return known

    def is_complete(self, node: NodeId) -> bool:
        """True if `node` is resolved: complete, skipped, dropped, or claimed by a checkpoint.

        Raises:
            NodeError: as `mark_complete`.
        """
        known = self._known(node)
        if known is not None:
            counters, column, position = known
            if isinstance(node, CellNodeId):
                return counters.is_resolved(column, position)
            return counters.is_barrier_resolved(column, position)
        marks = self._loose.get(node.column)
        if marks is None:
            return False
        return marks.has(node.row) if isinstance(node, CellNodeId) else node.batch in marks.barriers

    def __contains__(self, node: object) -> bool:
        if not isinstance(node, CellNodeId | BarrierNodeId):
            return False
        try:
            return self.is_complete(node)
        except NodeError:
            return False

    def __len__(self) -> int:
        """Complete nodes: cells and barriers."""
        total = sum(marks.count + len(marks.barriers) for marks in self._loose.values())
        if self._counters is not None:
            counters = self._counters
            total += self._num_records * len(counters.cells) - sum(counters.open_cells)
            barriers = sum(map(counters.rules.scope_count, range(len(counters.cells))))
            total += barriers - sum(counters.open_barriers)
        return total

    def is_column_complete(self, column: str) -> bool:
        """True if every cell of the column is complete.

        Raises:
            NodeError: for a tracker of a graph, an unknown column.
        """
        return self.column_completion_count(column) == self._num_records

    def is_barrier_complete(self, column: str, batch: int | None = None) -> bool:
        """True if the barrier node of `column` (of `batch`, for a batch scope) is complete.

        Raises:
            NodeError: for a tracker of a graph, a barrier that the graph does not have.
        """
        return self.is_complete(BarrierNodeId(column, batch))

    def column_completion_count(self, column: str) -> int:
        """How many cells of the column are complete.

        Raises:
            NodeError: for a tracker of a graph, an unknown column.
        """
        if self._counters is not None:
            assert self._graph is not None
            index = self._index.get(column)
            if index is not None:
                return self._num_records - self._counters.open_cells[index]
            if self._closed:
                self._graph.get_column_descriptor(column)
        marks = self._loose.get(column)
        return marks.count if marks else 0

    def reset(self) -> None:
        """Forget every mark, and the claim of a checkpoint."""
        self._loose.clear()
        self._config, self._kept_config = None, {}
        if self._counters is not None:
            self._counters.restore((0,) * len(self._counters.cells))

    # Checkpoints

    def to_checkpoint(self, graph: ExecutionGraph, version: int = CHECKPOINT_VERSION) -> Checkpoint:
        """The resolved nodes, as a JSON object (CKPT-02, CKPT-13).

        Versions 1 and 2 cost O(columns) at any number of rows, version 3 costs O(rows behind the
        first that is not complete). Version 3 also keeps the graph's configuration, of a column
        without a version what the last checkpoint said, and the digests `kept` on purpose.

        Args:
            graph: the graph of the run.
            version: 1 claims rows; 2 rows of each column; 3 any rows of each column.

        Raises:
            CheckpointError: for any other version.
        """
        counters = self._counters_for(graph)
        if type(version) is int and version == 3:
            known = {**(self._config or {}), **graph.config} or self._config
            return make_payload(graph, counters.claimable(), version, known, self._kept_config)
        return make_prefix_payload(graph, counters.column_prefixes(), version)

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: object,
        graph: ExecutionGraph,
        *,
        dropped: Iterable[int] = (),
        skipped: Mapping[str, Iterable[int]] | None = None,
        keep_config: bool = False,
    ) -> Self:
        """A tracker in which exactly what `checkpoint` claims is resolved (CKPT-06, CKPT-07).

        Args:
            checkpoint: the payload.
            graph: the graph of the run.
            dropped: the dropped rows that storage read back, each with a claimed cell; the other
                cells of these rows are resolved too.
            skipped: by column, the skipped rows that it read back, all within the column's claim.
            keep_config: keep claimed cells of another version of their column, on record.

        Raises:
            CheckpointError: if the payload cannot be trusted (`cellspec.state.checkpoint`), for a
                dropped or skipped row outside the claim (CKPT-17, SKIP-03), and for claimed cells
                of another configuration (CKPT-20).
        """
        given = list(dropped)
        payload = parse_payload(checkpoint, graph, frozenset(filter(_is_row, given)))
        claim, config = payload.claim, payload.config
        if not keep_config:
            expect_config(graph, claim, config)
        drops = RowSet(graph.num_records, _covered("dropped", given, claim))
        skips = _covered_skips(skipped or {}, claim, graph)
        tracker = cls.for_graph(graph)
        tracker._config, tracker._kept_config = config, kept_digests(graph, payload)
        tracker._counters_for(graph).restore(claim, drops, skips)
        return tracker

    # What a graph asks (see `cellspec.graph.graph.IndexedTracker`)

    def ready_nodes(self, graph: ExecutionGraph, column: int | None) -> Iterator[NodeId]:
        """Ready nodes of one column by position, or of all; live, and skips idle columns."""
        columns = graph.rules.columns if column is None else (graph.rules.columns[column],)
        for rule in columns:
            index = rule.index
            scope = -1
            while rule.scope_rows:
                scope = self._counters_for(graph).barriers[index].find(READY, scope + 1)
                if scope < 0:
                    break
                yield graph.barrier_node(index, scope)
            yield from self._ready_cells(graph, index, rule.name)

    def _ready_cells(self, graph: ExecutionGraph, index: int, name: str) -> Iterator[NodeId]:
        counters = self._counters_for(graph)
        # Nothing before the finished prefix can be ready, so no search looks there.
        start = row = counters.prefix(index)
        left_ready = 0
        while True:
            body = counters.cells[index]
            if not isinstance(body, bytearray):
                return
            if counters.ready[index] <= left_ready:
                # Nodes that were yielded and not marked are ready still, and lie behind; but some
                # may have been marked since, so they are counted before the search is given up.
                left_ready = body.count(READY, start, row)
                if counters.ready[index] <= left_ready:
                    return
            row = body.find(READY, row) + 1
            if not row:
                return
            yield CellNodeId(row - 1, name)
            if self._counters is not counters:
                counters = self._counters_for(graph)
            left_ready += counters.cells[index][row - 1] == READY

    def completed_row_count(self, graph: ExecutionGraph) -> int:
        """Rows complete without a gap from row 0; O(columns)."""
        return self._counters_for(graph).completed_rows()

    def row_complete(self, graph: ExecutionGraph, row: int) -> bool:
        """True if the row's cells are complete, and its barriers are or the row was claimed."""
        return self._counters_for(graph).is_row_complete(row)

    def all_complete(self, graph: ExecutionGraph) -> bool:
        """True if every node of the graph is complete."""
        counters = self._counters_for(graph)
        return not any(counters.open_cells) and not any(counters.open_barriers)

    # Binding

    def _counters_for(self, graph: ExecutionGraph) -> Counters:
        if self._counters is not None:
            assert self._graph is not None
            same_shape = self._graph.fingerprint == graph.fingerprint
            if same_shape and graph.num_records == self._num_records:
                return self._counters
            if self._closed and not same_shape:
                raise NodeError(
                    f"this tracker belongs to {self._graph!r}; it was asked about {graph!r}"
                )
        if graph.num_records != self._num_records:
            raise NodeError(
                f"a tracker of {self._num_records} rows was asked about a graph of "
                f"{graph.num_records}"
            )
        self._unbind()
        counters = Counters(graph.rules)
        self._graph, self._counters, self._index = graph, counters, graph.rules.index
        for name in graph.column_names:
            marks = self._loose.pop(name, None)
            if marks is not None:
                self._adopt(name, marks)
        return counters

    def _adopt(self, name: str, marks: _Marks) -> None:
        """Turn the loose marks of a column into counters; those that the graph lacks stay loose."""
        for row in marks.rows():
            self.mark_complete(CellNodeId(row, name))
        for batch in marks.barriers:
            self.mark_complete(BarrierNodeId(name, batch))

    def _unbind(self) -> None:
        """Turn counters back into loose marks: another graph asks.

        A tracker that was restored is a graph's own, so claims do not occur here.
        """
        graph, counters = self._graph, self._counters
        if counters is None:
            return
        assert graph is not None
        self._graph = self._counters = None
        for rule in graph.rules.columns:
            marks = self._loose.setdefault(rule.name, _Marks(self._num_records))
            for row in range(self._num_records):
                if counters.is_resolved(rule.index, row):
                    marks.add(row)
            for scope in range(graph.rules.scope_count(rule.index)):
                if counters.is_barrier_resolved(rule.index, scope):
                    marks.barriers.add(graph.barrier_node(rule.index, scope).batch)

    def _known(self, node: NodeId) -> tuple[Counters, int, int] | None:
        """Counters, column and row (or scope) of a node of the bound graph; None if it has none."""
        if isinstance(node, CellNodeId):
            row = node.row
            if type(row) is not int or not 0 <= row < self._num_records:
                raise NodeError(
                    f"Row {row!r} is out of range; expected 0 to {self._num_records - 1}"
                )
            position = row
        elif isinstance(node, BarrierNodeId):
            position = node.batch or 0
        else:
            raise NodeError(f"expected a CellNodeId or a BarrierNodeId, got {node!r}")
        graph, counters = self._graph, self._counters
        if counters is None:
            return None
        assert graph is not None
        column = graph.rules.index.get(node.column)
        if column is not None and isinstance(node, CellNodeId):
            return counters, column, position
        try:
            graph.check_node(node)
        except NodeError:
            if self._closed:
                raise
            return None
        assert column is not None
        return counters, column, position

    def _mark_loose(self, node: NodeId) -> None:
        marks = self._loose.setdefault(node.column, _Marks(self._num_records))
        if isinstance(node, CellNodeId):
            marks.add(node.row)
        else:
            marks.barriers.add(node.batch)


def _is_row(row: object) -> bool:
    return type(row) is int and row >= 0


def _covered_skips(
    skipped: Mapping[str, Iterable[int]], claim: Claim, graph: ExecutionGraph
) -> dict[int, RowSet]:
    """By column, the skipped rows that storage read back, if the claim covers each of them."""
    found = {}
    for name, rows in skipped.items():
        index = graph.rules.index.get(name)
        if index is None:
            raise CheckpointError(f"skipped: unknown column {name!r}")
        covered = _covered(f"skipped.{name}", rows, (claim[index],))
        if covered:
            found[index] = RowSet(graph.num_records, covered)
    return found


def _covered(field: str, rows: Iterable[int], claim: Claim) -> list[int]:
    """Rows that storage read back, if some column of the claim holds each of them."""
    found = list(rows)
    expected = "of which the checkpoint claims a cell"
    if are_prefixes(claim):
        expected = f"from 0 to {max(claim) - 1}, which the checkpoint claims"
    for row in found:
        if not (_is_row(row) and reaches(claim, row)):
            raise CheckpointError(f"{field}: expected rows {expected}; got {row!r}")
    return found


class ThreadSafeCompletionTracker(CompletionTracker):
    """`CompletionTracker` behind one lock: any method from any thread (clause TRACK-08).

    An iteration over ready nodes takes the lock for each node, not for the whole pass, so other
    threads may mark nodes while it runs; each node it yields was ready at that moment. Two threads
    that iterate see the same ready nodes: the engine settles which one runs which.
    """

    def __init__(self, num_records: int) -> None:
        self._lock = threading.RLock()
        super().__init__(num_records)

    def mark_complete(self, node: NodeId) -> None:
        with self._lock:
            super().mark_complete(node)

    def mark_skipped(self, cell: CellNodeId) -> None:
        with self._lock:
            super().mark_skipped(cell)

    def mark_dropped(self, row: int) -> None:
        with self._lock:
            super().mark_dropped(row)

    def is_complete(self, node: NodeId) -> bool:
        with self._lock:
            return super().is_complete(node)

    def is_dropped(self, row: int) -> bool:
        with self._lock:
            return super().is_dropped(row)

    def is_skipped(self, cell: CellNodeId) -> bool:
        with self._lock:
            return super().is_skipped(cell)

    def must_skip(self, cell: CellNodeId) -> bool:
        with self._lock:
            return super().must_skip(cell)

    def is_in_turn(self, cell: CellNodeId) -> bool:
        with self._lock:
            return super().is_in_turn(cell)

    def barrier_reads(self, barrier: BarrierNodeId) -> Ranges:
        with self._lock:
            return super().barrier_reads(barrier)

    def listen(self, on_ready: Callable[[NodeId], object]) -> None:
        """As of the base; `on_ready` is called while the lock is held."""
        with self._lock:
            super().listen(on_ready)

    def __len__(self) -> int:
        with self._lock:
            return super().__len__()

    def column_completion_count(self, column: str) -> int:
        with self._lock:
            return super().column_completion_count(column)

    def reset(self) -> None:
        with self._lock:
            super().reset()

    def to_checkpoint(
        self, graph: ExecutionGraph, version: int = CHECKPOINT_VERSION
    ) -> dict[str, Any]:
        with self._lock:
            return super().to_checkpoint(graph, version)

    def ready_nodes(self, graph: ExecutionGraph, column: int | None) -> Iterator[NodeId]:
        nodes = super().ready_nodes(graph, column)
        while True:
            with self._lock:
                node = next(nodes, None)
            if node is None:
                return
            yield node

    def completed_row_count(self, graph: ExecutionGraph) -> int:
        with self._lock:
            return super().completed_row_count(graph)

    def row_complete(self, graph: ExecutionGraph, row: int) -> bool:
        with self._lock:
            return super().row_complete(graph, row)

    def all_complete(self, graph: ExecutionGraph) -> bool:
        with self._lock:
            return super().all_complete(graph)


provide_tracker(CompletionTracker.for_graph)
