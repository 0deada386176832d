"""Engines broken on purpose: each is the reference with one function of it replaced.

A mutant passes the smoke example; what it breaks is a clause, and the matrix measures which one
catches it. The twelve defects of the seed are among them, marked with their number.
"""

from __future__ import annotations

import contextlib
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

from cellspec import (
    BarrierNodeId,
    CellNodeId,
    CheckpointError,
    ColumnDescriptor,
    CompletionTracker,
    ExecutionGraph,
    GraphError,
    Limits,
    NodeError,
    NodeId,
    SpecError,
    ThreadSafeCompletionTracker,
)
from cellspec.build.inference import Known
from cellspec.graph.graph import CompletionTrackerProtocol
from cellspec.graph.rowset import RowSet, ranges_of
from cellspec.graph.rules import ColumnRule, Rules
from cellspec.state.checkpoint import read_payload
from cellspec.state.claims import (
    Claim,
    Prefixes,
    Rows,
    as_prefixes,
    covers,
    join,
    normal,
    prefix_of,
    reach,
    spans,
)
from cellspec.state.codes import CLAIMED, DROPPED_BEHIND, READY
from cellspec.state.counters import Counters
from cellspec.state.moving import advance_order
from sim.simulator.outcome import Incarnation
from sim.simulator.queues import ReadyQueue
from sim.simulator.simulator import Simulator
from tests.matrix.subject import Subject


@dataclass(frozen=True)
class Mutant:
    """A subject that is wrong, and how, in a sentence."""

    name: str
    wrong: str
    subject: Subject


MUTANTS: list[Mutant] = []


def mutant(wrong: str, part: str) -> Callable[[Any], Any]:
    """Register a class or function as the broken `part` of a subject."""

    def register(broken: Any) -> Any:
        name = broken.__name__
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in name).replace("_", " ")
        MUTANTS.append(Mutant(words.strip(), wrong, replace(Subject(), **{part: broken})))
        return broken

    return register


# ---------------------------------------------------------------------------------------- graph


def _as_list(columns: Iterable[ColumnDescriptor]) -> list[ColumnDescriptor]:
    return list(columns)


@mutant("columns of one name collapse into the last one (seed defect 7)", "graph")
class CollapsesNames(ExecutionGraph):
    def __init__(self, rows: int, columns: Iterable[ColumnDescriptor], **options: Any) -> None:
        super().__init__(rows, {item.name: item for item in columns}.values(), **options)


@mutant("a side effect may shadow a column (seed defect 7)", "graph")
class LetsSideEffectsShadow(ExecutionGraph):
    def __init__(self, rows: int, columns: Iterable[ColumnDescriptor], **options: Any) -> None:
        given = _as_list(columns)
        names = {item.name for item in given}
        kept = [
            _with(item, side_effects=[n for n in item.side_effects if n not in names])
            for item in given
        ]
        super().__init__(rows, kept, **options)


def _with(item: ColumnDescriptor, **changes: Any) -> ColumnDescriptor:
    fields = {
        "name": item.name,
        "traits": item.traits,
        "dependencies": item.dependencies,
        "side_effects": item.side_effects,
    }
    return ColumnDescriptor(**{**fields, **changes})


@mutant("unknown dependencies are dropped in silence (seed defect 7)", "graph")
class IgnoresUnknownNames(ExecutionGraph):
    def __init__(self, rows: int, columns: Iterable[ColumnDescriptor], **options: Any) -> None:
        super().__init__(rows, columns, **{**options, "strict": False})


@mutant("only the first unknown dependency is named", "graph")
class NamesOneUnknown(ExecutionGraph):
    def __init__(self, rows: int, columns: Iterable[ColumnDescriptor], **options: Any) -> None:
        try:
            super().__init__(rows, columns, **options)
        except GraphError as error:
            raise GraphError(str(error).partition(",")[0]) from None


@mutant("a cycle is cut at its last column instead of being refused (seed defect 7)", "graph")
class CutsCycles(ExecutionGraph):
    def __init__(self, rows: int, columns: Iterable[ColumnDescriptor], **options: Any) -> None:
        given = _as_list(columns)
        while True:
            try:
                super().__init__(rows, given, **options)
            except GraphError as error:
                if "cycle" not in str(error):
                    raise
                last = next(i for i in range(len(given)) if repr(given[i].name) in str(error))
                given[last] = _with(given[last], dependencies=())
            else:
                return


@mutant("columns are sorted by name before they are put into order", "graph")
class SortsColumns(ExecutionGraph):
    def __init__(self, rows: int, columns: Iterable[ColumnDescriptor], **options: Any) -> None:
        super().__init__(rows, sorted(columns, key=lambda c: c.name, reverse=True), **options)


@mutant("cells after a barrier are no dependents of its output (seed defect 2)", "graph")
class LosesCellsAfterBarriers(ExecutionGraph):
    def get_dependents(self, node: NodeId) -> list[NodeId]:
        found = super().get_dependents(node)
        rule = self.rules.columns[self.rules.index[node.column]]
        if isinstance(node, CellNodeId) and rule.is_barrier:
            return []
        return found


@mutant(
    "barriers that need a side effect are no dependents of its producer (seed defect 2)", "graph"
)
class LosesSideEffectsOfBarriers(ExecutionGraph):
    def get_dependents(self, node: NodeId) -> list[NodeId]:
        def by_side_effect(found: NodeId) -> bool:
            return isinstance(found, BarrierNodeId) and (
                node.column not in self.get_column_descriptor(found.column).dependencies
            )

        own = (found for found in super().get_dependents(node))
        return [n for n in own if n.column == node.column or not by_side_effect(n)]


@mutant("both kinds of barrier are accepted, and the dataset wins", "descriptor")
class AcceptsBothBarriers(ColumnDescriptor):
    __slots__ = ()

    def __init__(self, *args: Any, **fields: Any) -> None:
        try:
            super().__init__(*args, **fields)
        except GraphError:
            fields["traits"] = fields["traits"] & ~type(fields["traits"]).BATCH_BARRIER
            super().__init__(*args, **fields)


class _OtherRules(ExecutionGraph):
    """A graph whose compiled rules are changed after the fact."""

    def __init__(self, rows: int, columns: Iterable[ColumnDescriptor], **options: Any) -> None:
        super().__init__(rows, columns, **options)
        self._rules = self._change(self._rules)

    def _change(self, rules: Rules) -> Rules:
        changed = [self._change_column(rule, rules) for rule in rules.columns]
        final = [
            replace(
                rule,
                cell_dependents=tuple(
                    other.index
                    for other in changed
                    if rule.index in other.needs and not other.is_barrier
                ),
                barrier_dependents=tuple(
                    other.index
                    for other in changed
                    if rule.index in other.needs and other.is_barrier
                ),
            )
            for rule in changed
        ]
        return Rules(rules.num_records, tuple(final), rules.index)

    def _change_column(self, rule: ColumnRule, rules: Rules, /) -> ColumnRule:
        raise NotImplementedError


@mutant("a cell forgets the last of several inputs", "graph")
class ForgetsLastInput(_OtherRules):
    def _change_column(self, rule: ColumnRule, _: Rules, /) -> ColumnRule:
        if rule.is_barrier or len(rule.needs) < 2:
            return rule
        return replace(rule, needs=rule.needs[:-1])


@mutant("a cell does not wait for columns whose side effect it needs", "graph")
class ForgetsSideEffects(_OtherRules):
    def _change_column(self, rule: ColumnRule, rules: Rules, /) -> ColumnRule:
        if rule.is_barrier:
            return rule
        names = self.get_column_descriptor(rule.name).dependencies
        return replace(
            rule, needs=tuple(need for need in rule.needs if rules.columns[need].name in names)
        )


@mutant("a barrier waits for one of its inputs only", "graph")
class BarrierForgetsInputs(_OtherRules):
    def _change_column(self, rule: ColumnRule, _: Rules, /) -> ColumnRule:
        return replace(rule, needs=rule.needs[:1]) if rule.is_barrier else rule


@mutant("order is forgotten", "graph")
class ForgetsOrder(_OtherRules):
    def _change_column(self, rule: ColumnRule, _: Rules, /) -> ColumnRule:
        return replace(rule, ordered=False)


class _OtherEdges(ExecutionGraph):
    """A graph whose dependencies are changed node by node, and dependents with them."""

    def iter_dependencies(self, node: NodeId) -> Iterator[NodeId]:
        yield from self._change(node, list(super().iter_dependencies(node)))

    def get_dependents(self, node: NodeId) -> list[NodeId]:
        self.check_node(node)
        return [other for other in self.iter_nodes() if node in self.get_dependencies(other)]

    def _change(self, node: NodeId, found: list[NodeId]) -> Iterable[NodeId]:
        raise NotImplementedError

    def _rule(self, node: NodeId) -> ColumnRule:
        return self.rules.columns[self.rules.index[node.column]]


@mutant("a barrier does not wait for the last row of a scope of several", "graph")
class BarrierForgetsLastRow(_OtherEdges):
    def _change(self, node: NodeId, found: list[NodeId]) -> Iterable[NodeId]:
        if not isinstance(node, BarrierNodeId):
            return found
        last = max((n.row for n in found if isinstance(n, CellNodeId)), default=0)
        first = min((n.row for n in found if isinstance(n, CellNodeId)), default=0)
        return [
            n for n in found if first == last or not (isinstance(n, CellNodeId) and n.row == last)
        ]


@mutant("output cells of a START barrier wait for nothing (seed defect 5)", "graph")
class StartBarrierDoesNotHold(_OtherEdges):
    def _change(self, node: NodeId, found: list[NodeId]) -> Iterable[NodeId]:
        rule = self._rule(node)
        if isinstance(node, CellNodeId) and rule.is_barrier and rule.is_start and not rule.needs:
            return []
        return found


@mutant("cells after a barrier wait for its node, not its output (seed defect 3)", "graph")
class WaitsForNodeOnly(_OtherEdges):
    def _change(self, node: NodeId, found: list[NodeId]) -> Iterable[NodeId]:
        if isinstance(node, BarrierNodeId):
            return found
        return [self._node_of(n) if n.column != node.column else n for n in found]

    def _node_of(self, need: NodeId) -> NodeId:
        rule = self._rule(need)
        if isinstance(need, CellNodeId) and rule.is_barrier:
            return self.barrier_node(rule.index, need.row // rule.scope_rows)
        return need


@mutant("a barrier after a barrier waits for its node, not its output (seed defect 4)", "graph")
class BarrierWaitsForNodeOnly(WaitsForNodeOnly):
    def _change(self, node: NodeId, found: list[NodeId]) -> Iterable[NodeId]:
        if isinstance(node, CellNodeId):
            return found
        return dict.fromkeys(self._node_of(n) for n in found)


@mutant("start nodes are all cells of START columns (seed defect 6)", "graph")
class StartsEverything(ExecutionGraph):
    def iter_start_nodes(self) -> Iterator[NodeId]:
        for name in self.start_columns:
            for row in range(self.num_records):
                yield CellNodeId(row, name)


@mutant("start nodes include dependency-free columns that are not START", "graph")
class StartsAnyFreeColumn(ExecutionGraph):
    def iter_start_nodes(self) -> Iterator[NodeId]:
        yield from (node for node in self.iter_nodes() if not self.get_dependencies(node))


@mutant("ready nodes are a snapshot taken before the first is given", "graph")
class SnapshotsReady(ExecutionGraph):
    def iter_ready_nodes(self, completed: CompletionTrackerProtocol) -> Iterator[NodeId]:
        yield from list(super().iter_ready_nodes(completed))


@mutant("the fingerprint holds the number of rows", "graph")
class FingerprintsRows(ExecutionGraph):
    @property
    def fingerprint(self) -> str:
        return f"{super().fingerprint}-{self.num_records}"


@mutant("the fingerprint holds the columns' names only", "graph")
class FingerprintsNamesOnly(ExecutionGraph):
    @property
    def fingerprint(self) -> str:
        return "-".join(self.column_names)


@mutant("what a lenient graph drops is not reported", "graph")
class DropsInSilence(ExecutionGraph):
    @property
    def dropped_dependencies(self) -> tuple[tuple[str, str], ...]:
        return ()


@mutant("a lenient graph drops all dependencies of a column that has an unknown one", "graph")
class DropsTooMuch(ExecutionGraph):
    def iter_dependencies(self, node: NodeId) -> Iterator[NodeId]:
        if node.column not in {column for column, _ in self.dropped_dependencies}:
            yield from super().iter_dependencies(node)


@mutant("nodes are listed row by row, so a barrier comes before cells it waits for", "graph")
class ListsRowByRow(ExecutionGraph):
    def iter_nodes(self) -> Iterator[NodeId]:
        def first_row(node: NodeId) -> int:
            return node.row if isinstance(node, CellNodeId) else (node.batch or 0)

        yield from sorted(super().iter_nodes(), key=first_row)


@mutant("barrier nodes are not counted", "graph")
class CountsCellsOnly(ExecutionGraph):
    @property
    def num_nodes(self) -> int:
        return self.num_records * self.num_columns


@mutant("a node is ready when any of its dependencies is complete", "graph")
class AnyInputWillDo(ExecutionGraph):
    def _ready_of(self, column: int, completed: CompletionTrackerProtocol) -> Iterator[NodeId]:
        for node in self._nodes_of(column):
            needs = self.get_dependencies(node)
            if node not in completed and (not needs or any(n in completed for n in needs)):
                yield node


@mutant("a row equal to the number of rows is accepted (seed defect 8)", "graph")
class AcceptsOneRowMore(ExecutionGraph):
    def _check(self, node: NodeId) -> None:
        if not (isinstance(node, CellNodeId) and node.row == self.num_records):
            super()._check(node)


@mutant("a barrier of a batch that does not exist is accepted", "graph")
class AcceptsAnyBatch(ExecutionGraph):
    def _check(self, node: NodeId) -> None:
        if isinstance(node, BarrierNodeId) and type(node.batch) is int and node.batch > 0:
            node = replace(node, batch=0)
        super()._check(node)


@mutant(
    "the first constant that a property returns is taken for its value (seed defect 12)", "infer"
)
def takes_first_constant(cls: type, name: str, expected: type) -> Any:
    member = getattr(cls, name)
    code = getattr(member, "fget", member).__code__
    return next(Known(value) for value in code.co_consts if type(value) is expected)


# -------------------------------------------------------------------------------------- tracker


@mutant("marking a node again counts it again", "tracker")
class CountsTwice(CompletionTracker):
    _again = 0

    def mark_complete(self, node: NodeId) -> None:
        if self.is_complete(node) and isinstance(node, CellNodeId) and node.row:
            self._again += 1
        super().mark_complete(node)

    def __len__(self) -> int:
        return super().__len__() + self._again


@mutant("a row out of range wraps around to another (seed defect 8)", "tracker")
class WrapsRows(CompletionTracker):
    def mark_complete(self, node: NodeId) -> None:
        if isinstance(node, CellNodeId):
            node = replace(node, row=node.row % self.num_records)
        super().mark_complete(node)


@mutant("a row out of range is counted (seed defect 8)", "tracker")
class CountsRowsOutOfRange(CompletionTracker):
    _extra = 0

    def mark_complete(self, node: NodeId) -> None:
        try:
            super().mark_complete(node)
        except NodeError:
            if not isinstance(node, CellNodeId) or node.row < self.num_records:
                raise
            self._extra += 1

    def column_completion_count(self, column: str) -> int:
        return super().column_completion_count(column) + self._extra


@mutant("a graph's own tracker takes marks of any column", "tracker")
class TakesAnyColumn(CompletionTracker):
    @classmethod
    def for_graph(cls, graph: ExecutionGraph) -> Self:
        tracker = super().for_graph(graph)
        tracker._closed = False
        return tracker


@mutant("a graph is complete when as many nodes were marked as it has", "tracker")
class CompleteByNumber(CompletionTracker):
    def all_complete(self, graph: ExecutionGraph) -> bool:
        return len(self) >= graph.num_nodes


@mutant("a column is complete when its last row is", "tracker")
class CompleteByLastRow(CompletionTracker):
    def is_column_complete(self, column: str) -> bool:
        return self.is_complete(CellNodeId(self.num_records - 1, column))


@mutant("a barrier becomes ready one cell early", "tracker")
class BarrierReadyEarly(CompletionTracker):
    def _counters_for(self, graph: ExecutionGraph) -> Counters:
        new = self._counters is None
        counters = super()._counters_for(graph)
        if new:
            for missing in counters.missing:
                for scope, count in enumerate(missing):
                    missing[scope] = count - (count > 1)
        return counters


@mutant("a node whose second input completes first is never ready", "tracker")
class LosesWakeUp(CompletionTracker):
    def ready_nodes(self, graph: ExecutionGraph, column: int | None) -> Iterator[NodeId]:
        for node in super().ready_nodes(graph, column):
            rule = graph.rules.columns[graph.rules.index[node.column]]
            late = len(rule.needs) > 1 and isinstance(node, CellNodeId) and node.row == 1
            if not late:
                yield node


@mutant("a row whose output cells are there counts before its barrier ran", "tracker")
class IgnoresBarriersOfRows(CompletionTracker):
    def row_complete(self, graph: ExecutionGraph, row: int) -> bool:
        return all(CellNodeId(row, name) in self for name in graph.column_names)


@mutant("a claimed row does not count while its barrier must run again (seed defect 1)", "tracker")
class ForgetsClaimsOfRows(CompletionTracker):
    def row_complete(self, graph: ExecutionGraph, row: int) -> bool:
        return graph._row_complete(row, self)


@mutant("every row of a half-done column is kept in a set (seed defect 11)", "tracker")
class KeepsSets(CompletionTracker):
    def __init__(self, num_records: int) -> None:
        super().__init__(num_records)
        self._rows: dict[str, set[int]] = {}

    def mark_complete(self, node: NodeId) -> None:
        super().mark_complete(node)
        if isinstance(node, CellNodeId):
            self._rows.setdefault(node.column, set()).add(node.row)
            if self.is_column_complete(node.column):
                self._rows[node.column] = set()


@mutant("the bytes of a complete column are kept", "tracker")
class KeepsCompleteColumns(CompletionTracker):
    def __init__(self, num_records: int) -> None:
        super().__init__(num_records)
        self._kept: dict[str, bytearray] = {}

    def mark_complete(self, node: NodeId) -> None:
        super().mark_complete(node)
        if self.is_column_complete(node.column):
            self._kept[node.column] = bytearray(self.num_records)


@mutant("the lock is not taken", "thread_safe")
class TakesNoLock(ThreadSafeCompletionTracker):
    def __init__(self, num_records: int) -> None:
        super().__init__(num_records)
        self._lock: Any = contextlib.nullcontext()


@mutant("reset forgets cells, not barriers", "tracker")
class ResetKeepsBarriers(CompletionTracker):
    def reset(self) -> None:
        done: list[NodeId] = []
        if self._graph is not None:
            done = [
                n for n in self._graph.iter_nodes() if isinstance(n, BarrierNodeId) and n in self
            ]
        super().reset()
        for node in done:
            self.mark_complete(node)


@mutant("completed rows are counted, gaps or not", "tracker")
class CountsRowsWithGaps(CompletionTracker):
    def completed_row_count(self, graph: ExecutionGraph) -> int:
        return sum(self.row_complete(graph, row) for row in range(graph.num_records))


@mutant("completed rows are counted from row 0 each time (seed defect 10)", "tracker")
class RescansRows(CompletionTracker):
    def completed_row_count(self, graph: ExecutionGraph) -> int:
        row = 0
        while row < graph.num_records and self.row_complete(graph, row):
            row += 1
        return row


@mutant("a cell that is resolved is skipped all the same", "tracker")
class SkipsWhatIsResolved(CompletionTracker):
    def mark_skipped(self, cell: CellNodeId) -> None:
        counters, column, row = self._known_cell(cell)
        if isinstance(counters.cells[column], bytearray):
            counters.skip(column, row)


@mutant("a row that is dropped counts as one that has had its turn", "tracker")
class HandsTurnsOnAtOnce(CompletionTracker):
    def mark_dropped(self, row: int) -> None:
        super().mark_dropped(row)
        assert self._counters is not None
        for column, body in enumerate(self._counters.cells):
            if body[row] == DROPPED_BEHIND:
                advance_order(self._counters, column, row)


@mutant("who listens hears of what becomes ready from then on, and of nothing before", "tracker")
class TellsOfWhatComesOnly(CompletionTracker):
    def listen(self, on_ready: Callable[[NodeId], object]) -> None:
        silent = True
        super().listen(lambda node: silent or on_ready(node))
        silent = False


# -------------------------------------------------------------------------------------- barrier


@mutant("the rows of a short last batch join the batch before", "graph")
class MergesShortBatch(_OtherEdges):
    def _change(self, node: NodeId, found: list[NodeId]) -> Iterable[NodeId]:
        rule = self._rule(node)
        if isinstance(node, CellNodeId) and rule.batched and self.num_records % rule.scope_rows:
            last = self.num_records // rule.scope_rows
            return [
                BarrierNodeId(rule.name, min(n.batch or 0, max(last - 1, 0)))
                for n in found
                if isinstance(n, BarrierNodeId)
            ]
        return found


@mutant("batch scope is ignored for barriers that declare the dataset", "graph")
class IgnoresBatchScope(ExecutionGraph):
    def __init__(self, rows: int, columns: Iterable[ColumnDescriptor], **options: Any) -> None:
        super().__init__(rows, columns, **{**options, "barrier_scope": "declared"})


@mutant("a batch size is made up where none was given", "graph")
class MakesUpBatchSize(ExecutionGraph):
    def __init__(self, rows: int, columns: Iterable[ColumnDescriptor], **options: Any) -> None:
        super().__init__(
            rows, columns, **{**options, "batch_size": options.get("batch_size") or 1000}
        )


# ----------------------------------------------------------------------------------- checkpoint


@mutant("the default payload holds the graph's fingerprint too", "tracker")
class SaysMoreThanVersionOne(CompletionTracker):
    def to_checkpoint(self, graph: ExecutionGraph, version: int = 1) -> dict[str, Any]:
        return {**super().to_checkpoint(graph, version), "graph": graph.fingerprint}


@mutant("version 2 claims the rows of the column that is furthest", "tracker")
class ClaimsFurthestColumn(CompletionTracker):
    def to_checkpoint(self, graph: ExecutionGraph, version: int = 1) -> dict[str, Any]:
        payload = super().to_checkpoint(graph, version)
        if version == 2:
            payload["completed_rows"] = max(payload["column_rows"].values())
        return payload


@mutant("version 3 claims the finished rows of the column that is furthest", "tracker")
class ClaimsFurthestSet(CompletionTracker):
    def to_checkpoint(self, graph: ExecutionGraph, version: int = 1) -> dict[str, Any]:
        payload = super().to_checkpoint(graph, version)
        if version == 3:
            firsts = [rows[0] for rows in payload["column_rows"].values() if rows]
            payload["completed_rows"] = max((b for a, b in firsts if a == 0), default=0)
        return payload


class _OtherReader(CompletionTracker):
    """Restores from a payload that is first changed, or read by someone more lenient."""

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Any, graph: ExecutionGraph, *, dropped: Iterable[int] = (), **_: Any
    ) -> Self:
        dropped = list(dropped)
        claim = cls._read(checkpoint, graph, dropped)
        tracker = cls.for_graph(graph)
        tracker._counters_for(graph).restore(claim, RowSet(graph.num_records, dropped))
        return tracker

    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        raise NotImplementedError


@mutant("counts are converted with int() (seed defect 9)", "tracker")
class ConvertsCounts(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        with contextlib.suppress(TypeError, ValueError, KeyError):
            checkpoint = {**checkpoint, "completed_rows": int(checkpoint["completed_rows"])}
        return read_payload(checkpoint, graph, dropped)


@mutant("counts out of range are cut to it (seed defect 9)", "tracker")
class ClampsCounts(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        with contextlib.suppress(TypeError, KeyError):
            rows = min(max(checkpoint["completed_rows"], 0), graph.num_records)
            checkpoint = {**checkpoint, "completed_rows": rows}
        return read_payload(checkpoint, graph, dropped)


@mutant("a missing version is taken for version 1 (seed defect 9)", "tracker")
class AssumesVersion(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        if isinstance(checkpoint, dict):
            checkpoint = {"version": 1, **checkpoint}
        return read_payload(checkpoint, graph, dropped)


@mutant("ranges of version 3 that touch are joined, not refused", "tracker")
class JoinsRangesThatTouch(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        with contextlib.suppress(TypeError, ValueError, KeyError, AttributeError):
            if checkpoint["version"] == 3:
                joined = {n: spans(normal(rows)) for n, rows in checkpoint["column_rows"].items()}
                if all(a <= b for rows in joined.values() for a, b in pairwise(rows)):
                    checkpoint = {**checkpoint, "column_rows": joined}
        return read_payload(checkpoint, graph, dropped)


@mutant("in version 3 the graph's fingerprint is not compared", "tracker")
class TrustsAnyGraphOfSets(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        if (
            isinstance(checkpoint, dict)
            and checkpoint.get("version") == 3
            and "graph" in checkpoint
        ):
            checkpoint = {**checkpoint, "graph": graph.fingerprint}
        return read_payload(checkpoint, graph, dropped)


@mutant("a claim of a cell without those before it in order is accepted", "tracker")
class AcceptsOrderGaps(_OtherReader):
    @classmethod
    def _read(
        cls,
        checkpoint: Any,
        graph: ExecutionGraph,
        dropped: list[int],  # noqa: ARG003
    ) -> Claim:
        # Cells of dropped rows need nothing that comes before them.
        return read_payload(checkpoint, graph, range(graph.num_records))


@mutant("a gap is restored as if it had been claimed", "tracker")
class RestoresGaps(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        return tuple(map(reach, read_payload(checkpoint, graph, dropped)))


@mutant("the graph's fingerprint is not compared (seed defect 9)", "tracker")
class TrustsAnyGraph(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        if isinstance(checkpoint, dict) and "graph" in checkpoint:
            checkpoint = {**checkpoint, "graph": graph.fingerprint}
        return read_payload(checkpoint, graph, dropped)


@mutant("column counts are believed without their inputs", "tracker")
class BelievesColumns(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        try:
            return read_payload(checkpoint, graph, dropped)
        except CheckpointError as error:
            if "but its input" not in str(error):
                raise
            return tuple(checkpoint["column_rows"].values())


@mutant("a column's count is compared with that of its first input only", "tracker")
class BelievesLaterInputs(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        try:
            return read_payload(checkpoint, graph, dropped)
        except CheckpointError as error:
            claim = checkpoint["column_rows"] if "but its input" in str(error) else {}
            names = graph.column_names
            firsts = [(r.name, names[r.needs[0]]) for r in graph.rules.columns if r.needs]
            if not claim or any(claim[name] > claim[need] for name, need in firsts):
                raise
            return tuple(claim[name] for name in names)


@mutant("completed_rows of version 2 is not compared with its columns", "tracker")
class BelievesRows(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        known = checkpoint if isinstance(checkpoint, dict) else {}
        if known.get("version") == 2 and isinstance(known.get("column_rows"), dict):
            least = min(checkpoint["column_rows"].values(), default=0)
            if "completed_rows" in checkpoint:
                checkpoint = {**checkpoint, "completed_rows": least}
        return read_payload(checkpoint, graph, dropped)


@mutant("a restore brings back one row more than was claimed", "tracker")
class RestoresOneRowMore(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        claim = read_payload(checkpoint, graph, dropped)
        least = min(map(prefix_of, claim))
        more = min(graph.num_records, least + 1)
        return tuple(join(rows, more) if least else rows for rows in claim)


@mutant("a restore of version 2 brings back finished rows only", "tracker")
class RestoresRowsOnly(_OtherReader):
    @classmethod
    def _read(cls, checkpoint: Any, graph: ExecutionGraph, dropped: list[int]) -> Claim:
        claim = read_payload(checkpoint, graph, dropped)
        return (min(map(prefix_of, claim)),) * len(claim)


class _OtherRestore(CompletionTracker):
    """Restores as it should, then marks more nodes."""

    @classmethod
    def from_checkpoint(cls, checkpoint: object, graph: ExecutionGraph, **more: Any) -> Self:
        tracker = super().from_checkpoint(checkpoint, graph, **more)
        claim = read_payload(checkpoint, graph, more.get("dropped", ()))
        for node in list(graph.iter_nodes()):
            if isinstance(node, BarrierNodeId):
                rule = graph.rules.columns[graph.rules.index[node.column]]
                scope = range(*graph.rules.scope_bounds(rule.index, node.batch or 0))
                if cls._complete(claim[rule.index], scope):
                    tracker.mark_complete(node)
        return tracker

    @staticmethod
    def _complete(claimed: Rows, scope: range) -> bool:
        raise NotImplementedError


@mutant("every barrier is restored complete (seed defect 1)", "tracker")
class RestoresEveryBarrier(_OtherRestore):
    @staticmethod
    def _complete(claimed: Rows, scope: range) -> bool:  # noqa: ARG004
        return claimed != 0


@mutant("a barrier is restored complete if any row of its scope was claimed", "tracker")
class RestoresTouchedBarriers(_OtherRestore):
    @staticmethod
    def _complete(claimed: Rows, scope: range) -> bool:
        return any(covers(claimed, row) for row in scope)


@mutant("a barrier is restored complete if the last row of its scope was claimed", "tracker")
class RestoresBarriersOverGaps(_OtherRestore):
    @staticmethod
    def _complete(claimed: Rows, scope: range) -> bool:
        return covers(claimed, scope[-1])


@mutant("barriers are restored as if they had to run again, all of them", "tracker")
class RestoresNoBarrier(CompletionTracker):
    @classmethod
    def from_checkpoint(cls, checkpoint: object, graph: ExecutionGraph, **more: Any) -> Self:
        tracker = super().from_checkpoint(checkpoint, graph, **more)
        counters = tracker._counters_for(graph)
        for column in range(graph.num_columns):
            count = graph.rules.scope_count(column)
            # What is complete keeps nothing; this brings it back, as if it had to run.
            if count and not counters.open_barriers[column]:
                counters.barriers[column] = bytearray([READY]) * count
                counters.missing[column] = array("q", [0] * count)
                counters.open_barriers[column] = count
        return tracker


@mutant("version 2 counts complete cells of a column, gaps or not", "tracker")
class ClaimsCellsWithGaps(CompletionTracker):
    def to_checkpoint(self, graph: ExecutionGraph, version: int = 1) -> dict[str, Any]:
        payload = super().to_checkpoint(graph, version)
        if version == 2:
            for name in graph.column_names:
                payload["column_rows"][name] = self.column_completion_count(name)
        return payload


@mutant("version 2 claims output cells whose barrier has not run", "tracker")
class ClaimsOutputWithoutBarrier(CompletionTracker):
    def to_checkpoint(self, graph: ExecutionGraph, version: int = 1) -> dict[str, Any]:
        payload = super().to_checkpoint(graph, version)
        if version == 2:
            for name in graph.column_names:
                row = 0
                while row < self.num_records and CellNodeId(row, name) in self:
                    row += 1
                payload["column_rows"][name] = row
        return payload


@mutant("version 3 claims output cells whose barrier has not run", "tracker")
class ClaimsSetsOfEarlyOutput(CompletionTracker):
    def to_checkpoint(self, graph: ExecutionGraph, version: int = 1) -> dict[str, Any]:
        payload = super().to_checkpoint(graph, version)
        for rule in graph.rules.columns if version == 3 else ():
            if rule.is_barrier:
                rows = range(self.num_records)
                made = ranges_of(row for row in rows if CellNodeId(row, rule.name) in self)
                payload["column_rows"][rule.name] = list(map(list, made))
        return payload


@mutant("a restored tracker forgets the rows that were claimed behind a gap", "tracker")
class ForgetsClaimedSets(CompletionTracker):
    @classmethod
    def from_checkpoint(cls, checkpoint: object, graph: ExecutionGraph, **more: Any) -> Self:
        tracker = super().from_checkpoint(checkpoint, graph, **more)
        tracker._counters_for(graph).claimed_sets = {}
        return tracker


class _KeepsTheClaim(CompletionTracker):
    """A restored tracker that holds its claim as a value."""

    claim: Claim = ()

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Any, graph: ExecutionGraph, *, dropped: Iterable[int] = (), **_: Any
    ) -> Self:
        tracker = super().from_checkpoint(checkpoint, graph, dropped=dropped)
        tracker.claim = read_payload(checkpoint, graph, list(dropped))
        return tracker


@mutant("a restored tracker keeps a claim as its ranges", "tracker")
class KeepsRanges(_KeepsTheClaim):
    pass


@mutant("after a restore nothing that lies in a gap is ready", "tracker")
class ForgetsGaps(_KeepsTheClaim):
    def reset(self) -> None:
        super().reset()
        self.claim = ()

    def ready_nodes(self, graph: ExecutionGraph, column: int | None) -> Iterator[NodeId]:
        for node in super().ready_nodes(graph, column):
            rows = self.claim[graph.rules.index[node.column]] if self.claim else 0
            if isinstance(node, BarrierNodeId) or node.row >= reach(rows):
                yield node


@mutant("after a restore a batch may overtake open ones before a claimed one", "tracker")
class LetsBatchesOvertake(CompletionTracker):
    @classmethod
    def from_checkpoint(cls, checkpoint: object, graph: ExecutionGraph, **more: Any) -> Self:
        tracker = super().from_checkpoint(checkpoint, graph, **more)
        counters = tracker._counters_for(graph)
        for rule in graph.rules.columns:
            states, counts = counters.barriers[rule.index], counters.missing[rule.index]
            for scope in range(1, len(states)):
                if rule.ordered and states[scope - 1] == CLAIMED and counts[scope]:
                    counts[scope] -= counters.open_barriers[rule.index] > len(states) - scope
                    if not counts[scope]:
                        states[scope] = READY
        return tracker


@mutant("a restored tracker forgets what was claimed, so its rows wait for barriers", "tracker")
class ForgetsTheClaim(CompletionTracker):
    @classmethod
    def from_checkpoint(cls, checkpoint: object, graph: ExecutionGraph, **more: Any) -> Self:
        tracker = super().from_checkpoint(checkpoint, graph, **more)
        counters = tracker._counters_for(graph)
        counters.claimed = (0,) * len(counters.claimed)
        return tracker


@mutant("after a restore cells are ready although they wait for a barrier", "tracker")
class ReadyBeforeBarrier(CompletionTracker):
    @classmethod
    def from_checkpoint(cls, checkpoint: object, graph: ExecutionGraph, **more: Any) -> Self:
        tracker = super().from_checkpoint(checkpoint, graph, **more)
        counters = tracker._counters_for(graph)
        for rule in graph.rules.columns:
            body = counters.cells[rule.index]
            if rule.is_barrier and counters.claimed[rule.index] and isinstance(body, bytearray):
                for row in range(counters.claimed[rule.index], graph.num_records):
                    if not counters.is_resolved(rule.index, row):
                        body[row] = READY
                        counters.ready[rule.index] += 1
        return tracker


@mutant("after a restore a barrier waits for rows that were dropped", "tracker")
class WaitsForDroppedRows(CompletionTracker):
    @classmethod
    def from_checkpoint(
        cls, checkpoint: object, graph: ExecutionGraph, *, dropped: Iterable[int] = (), **_: Any
    ) -> Self:
        tracker = super().from_checkpoint(checkpoint, graph, dropped=dropped)
        counters = tracker._counters_for(graph)
        for rule in graph.rules.columns:
            lost = [r for r in dropped for n in rule.needs if r in counters.lost.get(n, ())]
            for row in lost if counters.open_barriers[rule.index] else ():
                scope = row // rule.scope_rows
                counters.missing[rule.index][scope] += 1
                counters.barriers[rule.index][scope] = 1
        return tracker


@mutant("after a restore a half-done row's next cell is forgotten", "tracker")
class ForgetsHalfDoneRows(CompletionTracker):
    _stale = False

    @classmethod
    def from_checkpoint(cls, checkpoint: object, graph: ExecutionGraph, **more: Any) -> Self:
        tracker = super().from_checkpoint(checkpoint, graph, **more)
        claim = read_payload(checkpoint, graph, more.get("dropped", ()))
        tracker._stale = len(set(claim)) > 1
        return tracker

    def ready_nodes(self, graph: ExecutionGraph, column: int | None) -> Iterator[NodeId]:
        for node in super().ready_nodes(graph, column):
            needs = graph.rules.columns[graph.rules.index[node.column]].needs
            if not (self._stale and needs and isinstance(node, CellNodeId)):
                yield node


# --------------------------------------------------------------------------------------- groups


@mutant("a barrier is taken to need as many row groups as its scope has room for", "check_limits")
def divides_scope_by_group(limits: Limits, rules: Rules) -> None:
    size, most = limits.group_rows, limits.groups
    for rule in rules.columns:
        if size is not None and most is not None and -(-rule.scope_rows // size) > most:
            raise SpecError(f"limits: groups: barrier {rule.name!r} needs more than {most}")


# ------------------------------------------------------------------------------------- the run


class _Queue:
    """A ready queue around another: what it gives may differ."""

    def __init__(self, inner: ReadyQueue) -> None:
        self.inner = inner
        self.cell_pusher = inner.cell_pusher
        self.push_cells = inner.push_cells
        self.push_barrier = inner.push_barrier
        self.head_key = inner.head_key

    def pop(self) -> tuple[int, int] | None:
        return self.inner.pop()


class _Impatient(_Queue):
    def __init__(self, inner: ReadyQueue, rules: Rules) -> None:
        super().__init__(inner)
        self._rules = rules
        self._next: list[tuple[int, int]] = []

    def pop(self) -> tuple[int, int] | None:
        if self._next:
            return self._next.pop()
        node = self.inner.pop()
        if node is not None and node[0] >= 0:
            for other in self._rules.columns[node[0]].cell_dependents:
                rule = self._rules.columns[other]
                if len(rule.needs) > 1 and rule.needs[-1] == node[0]:
                    self._next.append((other, node[1]))
        return node


@mutant("a cell with several inputs starts with the last of them, not after it", "simulator")
class StartsWithItsInput(Simulator):
    def _make_queue(self, group: int, clock: Iterator[int] | None) -> ReadyQueue:
        return _Impatient(super()._make_queue(group, clock), self.rules)


class _Repeating(_Queue):
    """Gives a node that it gave before, once, when asked for the `when`-th time."""

    def __init__(self, inner: ReadyQueue, when: int, back: int) -> None:
        super().__init__(inner)
        self._when, self._back = when, back
        self._given: list[tuple[int, int]] = []

    def pop(self) -> tuple[int, int] | None:
        if len(self._given) == self._when:
            self._given.append(self._given[-self._back])
            return self._given[-1]
        node = self.inner.pop()
        if node is not None:
            self._given.append(node)
        return node


@mutant("a node just given is given again to the next free worker", "simulator")
class GivesTwice(Simulator):
    def _make_queue(self, group: int, clock: Iterator[int] | None) -> ReadyQueue:
        return _Repeating(super()._make_queue(group, clock), when=3, back=1)


@mutant("a stale snapshot gives a node that is complete", "simulator")
class GivesCompleteNodes(Simulator):
    def _make_queue(self, group: int, clock: Iterator[int] | None) -> ReadyQueue:
        return _Repeating(super()._make_queue(group, clock), when=8, back=7)


@mutant("a completion is reported twice", "simulator")
class ReportsTwice(Simulator):
    def _completion(self) -> Callable[[Any], None]:
        inner, count = super()._completion(), itertools.count(1)

        def completed(task: Any) -> None:
            column, row = task.column, task.row
            inner(task)
            if next(count) == 5 and column >= 0:
                self.machine.complete_cell(column, row)

        return completed


@mutant("a call of the dead process completes after the resume", "simulator")
class HearsTheDead(Simulator):
    def _resume(self, incarnation: Incarnation, t: float) -> None:
        lost = [
            task
            for task in self.state.tasks
            if task.ends_s > incarnation.end_s and task.column >= 0
        ]
        super()._resume(incarnation, t)
        for task in lost:
            self.machine.complete_cell(task.column, task.row)


@mutant("a resume queues claimed rows again", "simulator")
class QueuesClaimedRows(Simulator):
    def _resume(self, incarnation: Incarnation, t: float) -> None:
        super()._resume(incarnation, t)
        claim = as_prefixes(self.machine.durable_claim)
        for rule in self.rules.columns:
            if claim[rule.index] > 1 and not rule.is_barrier:
                self.queues[self.machine.group_of[rule.index]].cell_pusher(rule.index)(0)


@mutant("one worker too many is used", "simulator")
class UsesOneWorkerMore(Simulator):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.state.workers += 1


@mutant("a slot of a resource is released twice", "simulator")
class UsesOneSlotMore(Simulator):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        first, *others = self.state.capacity
        self.state.capacity = [first + 1, *others]


@mutant("the dead process finishes its write after the crash", "simulator")
class WritesAfterCrash(Simulator):
    def _claim_after_crash(self) -> Claim:
        if self.machine.pending_claim is not None:
            self.machine.checkpoint_durable()
        return super()._claim_after_crash()


@mutant("the clock starts again at 0 after a resume", "simulator")
class RestartsClock(Simulator):
    def _resume(self, incarnation: Incarnation, t: float) -> None:
        super()._resume(incarnation, t - incarnation.end_s)


@mutant("a completion wakes one worker only", "simulator")
class WakesOneWorker(Simulator):
    def _picker(self) -> Callable[[], tuple[int, int] | None]:
        inner = super()._picker()
        self._woken = 0

        def pick() -> tuple[int, int] | None:
            self._woken += 1
            return inner() if self._woken == 1 or self.machine.completed_rows == 0 else None

        return pick

    def _dispatcher(self) -> Callable[[float], None]:
        inner = super()._dispatcher()

        def dispatch(t: float) -> None:
            self._woken = 0
            inner(t)

        return dispatch


@mutant("the head of the queue blocks work for other endpoints", "simulator")
class HeadBlocksTheRest(Simulator):
    def _picker(self) -> Callable[[], tuple[int, int] | None]:
        def pick() -> tuple[int, int] | None:
            group = min(range(len(self.queues)), key=lambda g: self.queues[g].head_key())
            free = self.machine.counters.busy[group] < self.state.capacity[group]
            return self.queues[group].pop() if free else None

        return pick


@mutant("success is reported before the last rows are written", "simulator")
class ReportsSuccessEarly(Simulator):
    def _finish_run(self) -> None:
        if self.outcome.checkpoints:
            self.machine.end()
        super()._finish_run()


@mutant("a barrier that becomes ready after a resume wakes nobody", "simulator")
class LosesBarriersAfterResume(Simulator):
    def _make_queue(self, group: int, clock: Iterator[int] | None) -> ReadyQueue:
        queue = _Queue(super()._make_queue(group, clock))
        if self.machine.crashed:
            queue.push_barrier = lambda column, scope: None  # noqa: ARG005
        return queue


@mutant("a barrier starts with the last row of its scope, not after all of them", "simulator")
class BarrierStartsByLastRow(Simulator):
    def _completion(self) -> Callable[[Any], None]:
        inner = super()._completion()

        def completed(task: Any) -> None:
            column, row = task.column, task.row
            if column >= 0:
                for other in self.rules.columns[column].barrier_dependents:
                    scope = row // self.rules.columns[other].scope_rows
                    if row == self.rules.scope_bounds(other, scope)[1] - 1:
                        self.queues[self.machine.group_of[other]].push_barrier(other, scope)
            inner(task)

        return completed


@mutant("after a resume a barrier's old output is given without a new run", "simulator")
class GivesOldOutput(Simulator):
    def _resume(self, incarnation: Incarnation, t: float) -> None:
        super()._resume(incarnation, t)
        claim = as_prefixes(self.machine.durable_claim)
        for rule in self.rules.columns:
            if rule.is_barrier and 0 < claim[rule.index] < self.graph.num_records:
                self.state.emissions.append((rule.index, claim[rule.index], claim[rule.index] + 1))


@mutant("a claim counts finished rows, gaps or not", "simulator")
class ClaimsWithGaps(Simulator):
    def _claim(self, version: int) -> Prefixes:
        counters = self.machine.counters
        rows = sum(counters.is_row_complete(row) for row in range(self.graph.num_records))
        return tuple(max(rows, mine) for mine in as_prefixes(super()._claim(version)))


@mutant("after a resume claims count from the rows of this incarnation", "simulator")
class CountsFromTheResume(Simulator):
    def _claim(self, version: int) -> Prefixes:
        base = self.outcome.incarnations[-1].claimed_rows
        return tuple(max(rows - base, 0) for rows in as_prefixes(super()._claim(version)))


@mutant("the data of a checkpoint is flushed after its claim", "simulator")
class ClaimsBeforeData(Simulator):
    def _make_durable(self, claim: Claim) -> None:
        if self.plan.checkpoint is None or self.machine.pending_claim is not None:
            super()._make_durable(claim)


@mutant("a checkpoint is begun while another is being written", "simulator")
class WritesTwoAtOnce(Simulator):
    def _is_due(self) -> bool:
        self._writing = False
        return super()._is_due()


@mutant("a run resumes from the checkpoint before the last", "simulator")
class ResumesFromTheOneBefore(Simulator):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._claims: list[Prefixes] = [as_prefixes(self.machine.durable_claim)]

    def _checkpoint_durable(self, size: int) -> None:
        super()._checkpoint_durable(size)
        self._claims.append(as_prefixes(self.machine.durable_claim))

    def _claim_after_crash(self) -> Prefixes:
        return self._claims[-2] if len(self._claims) > 1 else self._claims[-1]


@mutant("a run resumes from what was in memory when it crashed", "simulator")
class ResumesFromMemory(Simulator):
    def _claim_after_crash(self) -> Claim:
        plan = self.plan.checkpoint
        return self.machine.claim(plan.version if plan else 1)
