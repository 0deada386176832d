"""Rules broken on purpose, for the explorer to find: one table or one method of a relation each.

The first ones are the seed's own rules. Each mutant names the smallest graph and faults that show
it, the clause that it breaks and the fewest steps in which it can. The number is pinned: it must
not grow (the search is breadth first) and cannot shrink.
"""

# ruff: noqa: ARG002 - what overrides a method takes what the method takes

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cellspec.explore.bounds import Configuration, drops_of
from cellspec.explore.invariants import Invariants
from cellspec.explore.pipelines import parse_shape
from cellspec.explore.relation import Faults, Relation, bits
from cellspec.explore.search import Search
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId
from cellspec.state.claims import Claim

__all__ = ["MUTANTS", "Mutant", "mutant_table", "search_of"]


def needs_of(relation: Relation, place: int, needs: set[NodeId]) -> None:
    relation.needs[place] = sum(relation.bit[node] for node in needs)


class Seed(Relation):
    """The dependencies of the seed's graph, with one of its mistakes."""

    def __init__(self, graph: ExecutionGraph, faults: Faults) -> None:
        super().__init__(graph, faults)
        for place, node in enumerate(self.nodes):
            column = graph.rules.columns[graph.rules.index[node.column]]
            found = set(graph.get_dependencies(node))
            barriers = {need for need in column.needs if graph.rules.columns[need].scope_rows}
            needs_of(self, place, self.mistake(node, found, barriers))

    def barrier(self, column: int) -> NodeId:
        return self.graph.barrier_node(column, 0)

    def mistake(self, node: NodeId, needs: set[NodeId], barriers: set[int]) -> set[NodeId]:
        raise NotImplementedError


class WaitsForTheNodeOnly(Seed):
    """A cell after a barrier waits for the barrier node, not for the output cell in its row."""

    def mistake(self, node: NodeId, needs: set[NodeId], barriers: set[int]) -> set[NodeId]:
        if isinstance(node, BarrierNodeId) or not barriers:
            return needs
        names = {self.graph.column_names[index] for index in barriers}
        kept = {need for need in needs if need.column not in names}
        return kept | {self.barrier(index) for index in barriers}


class BarrierAfterBarrierNode(Seed):
    """A barrier over a barrier waits for the other's node, not for its output cells."""

    def mistake(self, node: NodeId, needs: set[NodeId], barriers: set[int]) -> set[NodeId]:
        if isinstance(node, CellNodeId) or not barriers:
            return needs
        names = {self.graph.column_names[index] for index in barriers}
        kept = {need for need in needs if need.column not in names}
        return kept | {self.barrier(index) for index in barriers}


class StartBarrierGivesCells(Seed):
    """The cells of a barrier without inputs do not wait for their barrier."""

    def mistake(self, node: NodeId, needs: set[NodeId], barriers: set[int]) -> set[NodeId]:
        rule = self.graph.rules.columns[self.graph.rules.index[node.column]]
        return set() if rule.scope_rows and not rule.needs else needs


class StartNodesFirst(Seed):
    """The second column is a START column, and its cells are offered though they need the first."""

    def mistake(self, node: NodeId, needs: set[NodeId], barriers: set[int]) -> set[NodeId]:
        return set() if node.column == self.graph.column_names[1] else needs


class RestoresEveryBarrier(Relation):
    """After a resume from any claim all barriers are complete."""

    def __init__(self, graph: ExecutionGraph, faults: Faults) -> None:
        super().__init__(graph, faults)
        barriers = self.every & ~self.cells
        self.restored = [self.restored[0]] + [done | barriers for done in self.restored[1:]]


class ForgetsClaimsOfRows(Relation):
    """A row whose barrier must run again is not complete, though it was claimed."""

    def claim_after(self, version: int, done: int, dropped: int, durable: int) -> Claim:
        return super().claim_after(version, done, dropped, 0)


# What other engines get wrong


class RestoresNoBarrier(Relation):
    """After a resume no barrier is complete, even if all its output was claimed."""

    def __init__(self, graph: ExecutionGraph, faults: Faults) -> None:
        super().__init__(graph, faults)
        self.restored = [done & self.cells for done in self.restored]


class RestoresOneRowMore(Relation):
    """After a resume the row after the claim is complete too."""

    def __init__(self, graph: ExecutionGraph, faults: Faults) -> None:
        super().__init__(graph, faults)
        last = len(self.restored) - 1
        self.restored = [
            done if index in (0, last) else done | self.row_cells[index]
            for index, done in enumerate(self.restored)
        ]


class LosesBarriersAfterResume(Relation):
    """A barrier some of whose output was claimed is never started again."""

    def ready(self, done: int) -> int:
        found = super().ready(done)
        for place, outputs in enumerate(self.outputs):
            if outputs & done:
                found &= ~(1 << place)
        return found


class KeepsCallsOfTheDead(Relation):
    """What was in flight at a crash is in flight after the resume."""

    def restore(self, claim: int, dropped: int) -> int:
        # Only the rows are told to a restore; a call of the first cell stands for what ran.
        base = super().restore(claim, dropped)
        return base if base & 1 else base | 1 << self.size


class ReplacesTheClaimInPlace(Relation):
    """A torn write leaves nothing of the claim before it."""

    def interrupted(self, durable: int, pending: int | None) -> Iterator[tuple[str, int]]:
        for outcome, claim in super().interrupted(durable, pending):
            yield outcome, 0 if outcome == "torn" else claim


class ResumesFromTheOneBefore(Relation):
    """A resume reads the claim before the last durable one."""

    def interrupted(self, durable: int, pending: int | None) -> Iterator[tuple[str, int]]:
        for outcome, claim in super().interrupted(durable, pending):
            yield outcome, max(0, claim - 1) if outcome == "old" else claim


class ClaimsTheFurthestColumn(Relation):
    """A claim of rows counts the rows of the column that is furthest."""

    def claim_after(self, version: int, done: int, dropped: int, durable: int) -> Claim:
        width = self.graph.num_columns
        best = 0
        for column in range(width):
            count = 0
            while count < len(self.row_cells) and done >> count * width + column & 1:
                count += 1
            best = max(best, count)
        return (max(best, *self.claims[durable]),) * width


class ClaimsWithGaps(Relation):
    """A claim of columns counts cells, gaps or not."""

    def claim_after(self, version: int, done: int, dropped: int, durable: int) -> Claim:
        width = self.graph.num_columns
        counts = [
            sum(done >> row * width + column & 1 for row in range(len(self.row_cells)))
            for column in range(width)
        ]
        return tuple(counts)


class StartsTwice(Relation):
    """What may start is looked up in what is done; what is in flight is not looked at."""

    def startable(self, ready: int, flight: int) -> int:
        return ready


class UsesOneWorkerMore(Relation):
    """The limit is checked with ≤ for <."""

    def startable(self, ready: int, flight: int) -> int:
        workers = self.faults.workers
        found = ready & ~flight
        if workers is not None and (flight & self.calls).bit_count() > workers:
            found &= ~self.calls
        return found


class IgnoresOrder(Seed):
    """A cell of an ordered column does not wait for the row before."""

    def mistake(self, node: NodeId, needs: set[NodeId], barriers: set[int]) -> set[NodeId]:
        return {need for need in needs if need.column != node.column}


class BarrierByLastRow(Seed):
    """A barrier waits for the last row of its scope only."""

    def mistake(self, node: NodeId, needs: set[NodeId], barriers: set[int]) -> set[NodeId]:
        if isinstance(node, CellNodeId):
            return needs
        last = max(need.row for need in needs if isinstance(need, CellNodeId))
        return {need for need in needs if isinstance(need, CellNodeId) and need.row == last}


class ShortBatchNeverStarts(Seed):
    """The barrier of a short last batch waits for a row that there is not."""

    def mistake(self, node: NodeId, needs: set[NodeId], barriers: set[int]) -> set[NodeId]:
        short = isinstance(node, BarrierNodeId) and len(needs) < (self.graph.batch_size or 0)
        return needs | {node} if short else needs


class RunsBarriersOverNothing(Relation):
    """A barrier all of whose rows were dropped runs all the same."""

    def settle(self, done: int, flight: int) -> int:
        return done


class DropHoldsBarriers(Relation):
    """Cells of a dropped row that had not started stay open, and barriers wait for them."""

    def fail(self, base: int, place: int) -> int:
        after = super().fail(base, place)
        new = (after >> 2 * self.size) & ~(base >> 2 * self.size)
        for row in bits(new):
            after &= ~(self.row_cells[row] & ~base) | 1 << place
        return after


class DropsTheNextRow(Relation):
    """The row after the one that failed is dropped."""

    def fail(self, base: int, place: int) -> int:
        width = self.graph.num_columns
        last = len(self.row_cells) - 1
        if place < width * last:
            moved = base & ~(1 << place + self.size) | 1 << place + width + self.size
            return super().fail(moved, place + width)
        return super().fail(base, place)


class ForgetsDrops(Relation):
    """After a resume no row is dropped."""

    def restore(self, claim: int, dropped: int) -> int:
        return super().restore(claim, 0)


class ReportsSuccessEarly(Relation):
    """Success is reported when the last column is complete."""

    def is_end(self, done: int) -> bool:
        width = self.graph.num_columns
        last = sum(1 << row * width + width - 1 for row in range(len(self.row_cells)))
        return not last & ~done


class FillsTheGap(Relation):
    """After a resume everything before the last claimed row of a column is resolved."""

    def __init__(self, graph: ExecutionGraph, faults: Faults) -> None:
        super().__init__(graph, faults)
        for index, cells in enumerate(self.claimed_cells):
            width = graph.num_columns
            for place in bits(cells):
                self.restored[index] |= sum(1 << n for n in range(place % width, place, width))


class ForgetsTheSet(Relation):
    """A claim of cells leaves out claimed ones whose barrier must run again."""

    def claim_after(self, version: int, done: int, dropped: int, durable: int) -> Claim:
        return super().claim_after(version, done, dropped, 0 if version == 3 else durable)


class ClaimsOutOfOrder(Relation):
    """A claim of cells holds each resolved one, whatever comes before it in order."""

    def __init__(self, graph: ExecutionGraph, faults: Faults) -> None:
        super().__init__(graph, faults)
        width = graph.num_columns
        for column, full in enumerate(self.cell_full):
            for row in range(len(full)):
                mine = self.bit[graph.cell_node(column, row)]
                full[row] = full[row] & ~self.cells & self.needs[row * width + column] | mine


class StartsAfterTheRequest(Relation):
    """After a stop was requested calls start as before."""

    def startable_in_stop(self, ready: int, flight: int) -> int:
        return self.startable(ready, flight)


class EndsBeforeTheClaim(Relation):
    """A run that was asked to stop ends with finished rows that it has not claimed."""

    def may_interrupt(self, claim: Claim, durable: int, *, stopping: bool) -> bool:
        return stopping


class EndsUnasked(Relation):
    """A run ends as interrupted, and nobody asked it to stop."""

    def may_interrupt(self, claim: Claim, durable: int, *, stopping: bool) -> bool:
        return super().may_interrupt(claim, durable, stopping=True)


class WaitsForTheWholeTable(Relation):
    """A run that was asked to stop ends as interrupted only if every cell is claimed."""

    def may_interrupt(self, claim: Claim, durable: int, *, stopping: bool) -> bool:
        return stopping and not self.cells & ~self.claimed_cells[durable]


class LosesWhatIsClaimed(Relation):
    """With a worker go results that are claimed, or whose claim is being written."""

    def may_lose(self, base: int, place: int, safe: int) -> bool:
        return super().may_lose(base, place, 0)


class LosesWhatWasMadeFromIt(Relation):
    """With a lost result goes what was made from it."""

    def lose(self, base: int, place: int, safe: int) -> int:
        made = sum(1 << n for n, needs in enumerate(self.needs) if needs >> place & 1)
        return super().lose(base, place, safe) & ~made


class KeepsTheOutput(Relation):
    """A barrier that is lost is run again, and its output is kept."""

    def lose(self, base: int, place: int, safe: int) -> int:
        return super().lose(base, place, self.outputs[place])


class StartsBeforeAdmission(Relation):
    """A node does not wait for the row group of its rows to be admitted."""

    def hold_groups(self) -> None:
        pass


class AdmitsOneGroupMore(Relation):
    """The limit of row groups is checked with ≤ for <."""

    def places_taken(self, done: int) -> int:
        return max(0, super().places_taken(done) - 1)


class AdmitsInAnyOrder(Relation):
    """A row group is admitted whenever there is room for it."""

    def leads_on(self, done: int) -> bool:
        return True


class ForgetsTheRestOfTheBatch(Relation):
    """The admission of a row group takes no account of the rest of its batch."""

    def leads_on(self, done: int) -> bool:
        barriers = sum(1 << place for place, outputs in enumerate(self.outputs) if outputs)
        return super().leads_on(done | barriers)


@dataclass(frozen=True)
class Mutant:
    """A broken relation and where it shows.

    Attributes:
        relation: the class.
        graph, rows, batch: the graph that shows it.
        clause: the first clause that it breaks.
        steps: the fewest steps in which it does.
        faults: the faults that it needs.
    """

    relation: type[Relation]
    graph: str
    clause: str
    steps: int
    rows: int = 2
    batch: int | None = None
    faults: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.relation.__name__


ONE_CRASH = {"crashes": 1}
_DROP = {"drops": 1}
_CELLS = {"crashes": 1, "versions": (3,)}
_STOP = {"stops": 1}
_LOSS = {"losses": 1}
_ONE_GROUP = {"group_rows": 1, "groups": 1}

MUTANTS = (
    Mutant(RestoresEveryBarrier, "a v:barrier(a)", "CKPT-07", 10, faults=ONE_CRASH),
    Mutant(WaitsForTheNodeOnly, "a v:barrier(a) c(v)", "SCHED-01", 7),
    Mutant(BarrierAfterBarrierNode, "a v:barrier(a) w:barrier(v)", "BARR-01", 7),
    Mutant(StartBarrierGivesCells, "v:barrier", "BARR-02", 1),
    Mutant(StartNodesFirst, "a b(a)", "SCHED-01", 1),
    Mutant(ForgetsClaimsOfRows, "a v:barrier(a)", "CKPT-09", 10, faults=ONE_CRASH),
    Mutant(RestoresNoBarrier, "a v:barrier(a)", "CKPT-07", 12, faults=ONE_CRASH),
    Mutant(RestoresOneRowMore, "a", "CKPT-06", 4, faults=ONE_CRASH),
    Mutant(LosesBarriersAfterResume, "a v:barrier(a)", "SCHED-12", 10, faults=ONE_CRASH),
    Mutant(KeepsCallsOfTheDead, "a", "SCHED-04", 1, faults=ONE_CRASH),
    Mutant(ReplacesTheClaimInPlace, "a", "CKPT-12", 8, faults={"crashes": 1, "torn": True}),
    Mutant(ResumesFromTheOneBefore, "a", "CKPT-12", 5, faults=ONE_CRASH),
    Mutant(ClaimsTheFurthestColumn, "a b(a)", "CKPT-02", 2, faults=ONE_CRASH),
    Mutant(ClaimsWithGaps, "a", "CKPT-13", 2, faults={"crashes": 1, "versions": (2,)}),
    Mutant(StartsTwice, "a", "SCHED-02", 2),
    Mutant(UsesOneWorkerMore, "a", "SCHED-06", 2, faults={"workers": 1}),
    Mutant(IgnoresOrder, "a:row+ordered", "SCHED-13", 1),
    Mutant(BarrierByLastRow, "a v:barrier(a)", "BARR-01", 3),
    Mutant(ShortBatchNeverStarts, "a v:batch(a)", "SCHED-12", 0, rows=3, batch=2),
    Mutant(RunsBarriersOverNothing, "a v:barrier(a)", "BARR-08", 5, faults={"drops": 2}),
    Mutant(DropHoldsBarriers, "a b(a)", "DROP-03", 3, faults=_DROP),
    Mutant(DropsTheNextRow, "a", "DROP-01", 2, faults=_DROP),
    Mutant(ForgetsDrops, "a", "CKPT-17", 4, faults={"crashes": 1, "drops": 1}),
    Mutant(ReportsSuccessEarly, "a b", "SCHED-10", 4),
    Mutant(FillsTheGap, "a", "CKPT-06", 4, faults=_CELLS),
    Mutant(ForgetsTheSet, "a v:barrier(a)", "CKPT-09", 10, faults=_CELLS),
    Mutant(ClaimsOutOfOrder, "v:batch+ordered", "CKPT-13", 6, batch=1, faults=_CELLS),
    Mutant(StartsAfterTheRequest, "a", "STOP-05", 2, faults=_STOP),
    Mutant(EndsBeforeTheClaim, "a", "STOP-07", 4, faults=_STOP),
    Mutant(EndsUnasked, "a", "STOP-06", 1, faults=_STOP),
    Mutant(WaitsForTheWholeTable, "a", "SCHED-12", 1, faults=_STOP),
    Mutant(LosesWhatIsClaimed, "a", "FAIL-08", 4, faults={"crashes": 1, "losses": 1}),
    Mutant(LosesWhatWasMadeFromIt, "a b(a)", "FAIL-08", 5, faults=_LOSS),
    Mutant(KeepsTheOutput, "a v:barrier(a)", "FAIL-08", 9, faults=_LOSS),
    Mutant(StartsBeforeAdmission, "a", "GROUP-01", 1, faults=_ONE_GROUP),
    Mutant(AdmitsOneGroupMore, "a", "GROUP-02", 2, faults=_ONE_GROUP),
    Mutant(AdmitsInAnyOrder, "a:row+ordered", "GROUP-08", 1, faults=_ONE_GROUP),
    Mutant(
        ForgetsTheRestOfTheBatch,
        "v:batch",
        "GROUP-08",
        2,
        rows=4,
        batch=2,
        faults={"group_rows": 1, "groups": 2},
    ),
)


def search_of(mutant: Mutant, *, symmetric: bool = False, waive: tuple[str, ...] = ()) -> Search:
    """The search of a mutant's graph under its broken relation."""
    graph = parse_shape(mutant.graph).graph(mutant.rows, mutant.batch)
    relation = mutant.relation(graph, Faults(**mutant.faults))
    faults = relation.faults
    invariants = Invariants(
        graph,
        relation.claims,
        faults.workers,
        waive,
        drops_of(relation),
        losses=bool(faults.losses),
        group_rows=faults.group_rows,
        groups=faults.groups,
    )
    return Search(relation, invariants, symmetric=symmetric)


def mutant_table() -> str:
    """The table of broken rules on ``specs/exploration.md``."""
    lines = [
        "| broken rule | graph | rows | batch | rules | clause | steps |",
        "| --- | --- | --: | --: | --- | --- | --: |",
    ]
    for mutant in MUTANTS:
        doc = (mutant.relation.__doc__ or "").strip().rstrip(".")
        rules = Configuration(mutant.rows, Faults(**mutant.faults)).rules()
        lines.append(
            f"| {doc} | `{mutant.graph}` | {mutant.rows} | {mutant.batch or '–'} | {rules} | "
            f"{mutant.clause} | {mutant.steps} |"
        )
    return "".join(line + "\n" for line in lines)
