"""A second interpreter of the rules, for one small graph, on bit masks.

It gives the nodes that may start and the state after each step.

A state's *base* is one integer: a bit for each node that is resolved, a bit for each that is in
flight, and a bit for each row that was dropped. This module states no dependency of its own. A
`Relation` asks the reference about every node and every claim of its graph, once:

===============  ===================================================================================
table            asked of
===============  ===================================================================================
``needs``        `ExecutionGraph.get_dependencies`, for each node, and along its own column
``restored``     `CompletionTracker.from_checkpoint`, for each claim: which nodes are in it
``claims``       the same: claims that it refuses are none
``row_full``     `ExecutionGraph.is_row_complete`, for each row, with every node but one done
``cell_full``    a tracker restored from r rows of a column and r + 1 of what it needs, and given
                 every node but one: does the column's prefix in its checkpoint reach past row r?
===============  ===================================================================================

Bit operations on the tables give the steps: the nodes that may start, the state after a step, the
claims that may be made. These are the *mask* interpreter of the rules.
`cellspec.explore.equivalence` holds it against the other one, `cellspec.machine.machine.Machine`,
state by state. The methods are small so that a test can break one and see the explorer find it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from cellspec.errors import CheckpointError, SpecError
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import BarrierNodeId, NodeId
from cellspec.graph.rowset import ranges_of, rows_of
from cellspec.state.checkpoint import make_payload
from cellspec.state.claims import (
    Claim,
    Rows,
    covers,
    end_of,
    first_outside,
    normal,
    prefix_of,
    spans,
)
from cellspec.state.tracker import CompletionTracker

__all__ = ["Faults", "Relation", "bits"]


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of a run, each with how often it may happen, and the limits.

    Attributes:
        crashes: how often the process may die; without one, and without a stop, the run writes no
            checkpoint.
        torn: an interrupted write of a claim may also leave a torn file, besides the old claim and
            the new one.
        retries: how many calls may fail and be tried again.
        drops: how many calls may fail for good.
        stops: how often the run is asked to stop, ends as interrupted, and is resumed.
        losses: how many results may be lost with a worker.
        workers: calls in flight at once; None for no limit.
        group_rows: rows of a row group; None if rows are not admitted in groups.
        groups: row groups that may be admitted at once; None for no limit.
        versions: which checkpoints are written, in order: 1 claims whole rows, 2 a prefix of each
            column, 3 any cells.

    Raises:
        SpecError: a count below 0, a limit below 1, an empty `versions`, drops beside claims of any
            cells or beside losses, a limit of groups without groups, or groups beside losses.
    """

    crashes: int = 0
    torn: bool = False
    retries: int = 0
    drops: int = 0
    stops: int = 0
    losses: int = 0
    workers: int | None = None
    group_rows: int | None = None
    groups: int | None = None
    versions: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        for name in ("crashes", "retries", "drops", "stops", "losses"):
            if getattr(self, name) < 0:
                raise SpecError(f"{name}: expected a number from 0, got {getattr(self, name)}")
        for name in ("workers", "group_rows", "groups"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise SpecError(f"{name}: expected a number from 1, got {limit}")
        if self.groups is not None and self.group_rows is None:
            raise SpecError("groups: needs group_rows, the rows of a row group")
        if not self.versions or self.versions != tuple(sorted({1, 2, 3} & {*self.versions})):
            raise SpecError(f"versions: expected some of 1, 2 and 3, got {self.versions}")
        if 3 in self.versions and self.drops:
            raise SpecError("drops: not beside version 3: claims of any cells leave them out")
        if self.losses and self.drops:
            raise SpecError("drops: not beside losses: of a dropped row nothing is lost")
        if self.losses and self.group_rows is not None:
            raise SpecError("group_rows: not beside losses: a group that retired stays so")

    @property
    def saves(self) -> bool:
        """Whether checkpoints are written: only if one may be resumed from."""
        return bool(self.crashes or self.stops)

    @property
    def claims_hold_drops(self) -> bool:
        """Whether two claims of the same rows may hold different drops.

        A claim of rows reaches resolved rows, which are dropped before it or never. A column's
        claim may reach a row that is dropped after it was begun: that drop it does not hold.
        """
        return bool(self.drops and self.saves and 2 in self.versions)


def bits(mask: int) -> Iterator[int]:
    """The positions of the bits of a mask, from the lowest."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _rows_of(found: int | list[list[int]]) -> Rows:
    """The rows of a column in a checkpoint: a count, or ranges."""
    return found if isinstance(found, int) else normal((start, stop) for start, stop in found)


def _is_alike(node: NodeId, other: NodeId) -> bool:
    """True for two nodes of one kind and column."""
    return node.column == other.column and type(node) is type(other)


class Relation:
    """The steps of one graph, on masks.

    A base is ``done | flight << size | dropped << 2 * size``. A row group is a bit of ``done`` too,
    after those of the nodes: it was admitted in this incarnation, or had nothing open when that
    began.

    Args:
        graph: a small graph.
        faults: the faults and limits.

    Attributes:
        nodes: the node of each bit: cells row by row, then barrier nodes.
        size: how many nodes and row groups there are.
        every: the mask of all of them.
        groups: the row groups of the graph, with its cells, and with the nodes that wait for it.
        needs: by node, the mask of the nodes that it waits for.
        calls: the nodes that an engine makes a call for: all but output cells of barriers. They
            take a worker, and may fail.
        outputs: by node, the output cells of a barrier node; 0 for a cell.
        row_cells: by row, its cells.
        claims: every claim that a checkpoint can make, the empty one first; where claims hold drops
            (`Faults.claims_hold_drops`), once for each set of rows that may have been dropped.
        claim_drops: by claim, the dropped rows that it holds, as a mask; 0 where the rows that it
            reaches say that.
        restored: by claim, the nodes that are complete after a restore.
        row_full: by row, the nodes that make it complete if it was not claimed.
        cell_full: by column and row, the nodes that let the column's prefix reach past it.
    """

    def __init__(self, graph: ExecutionGraph, faults: Faults) -> None:
        self.graph, self.faults = graph, faults
        rows, columns = graph.num_records, graph.num_columns
        barriers = [node for node in graph.iter_nodes() if isinstance(node, BarrierNodeId)]
        self.nodes: list[NodeId] = [
            graph.cell_node(column, row) for row in range(rows) for column in range(columns)
        ] + list(barriers)
        self.bit = {node: 1 << place for place, node in enumerate(self.nodes)}
        self.row_cells = [((1 << columns) - 1) << row * columns for row in range(rows)]
        self.cells = (1 << rows * columns) - 1
        self._ask_edges()
        self.groups = list(self._row_groups())
        self._leads_on: dict[int, bool] = {}
        self.hold_groups()
        self.size = len(self.nodes) + len(self.groups)
        self.every = (1 << self.size) - 1
        self._ask_claims()
        self._ask_completeness()

    def _ask_edges(self) -> None:
        graph, bit = self.graph, self.bit
        self.needs = [sum(bit[n] for n in self._needs_of(node)) for node in self.nodes]
        self.outputs = [
            sum(bit[n] for n in graph.get_dependents(node) if not isinstance(n, BarrierNodeId))
            if isinstance(node, BarrierNodeId)
            else 0
            for node in self.nodes
        ]
        self.calls = (1 << len(self.nodes)) - 1
        for outputs in self.outputs:
            self.calls &= ~outputs

    def hold_groups(self) -> None:
        """A node waits for the row groups of its rows to be admitted (clause GROUP-01)."""
        for group, _, waiting in self.groups:
            for place in bits(waiting):
                self.needs[place] |= group

    def _row_groups(self) -> Iterator[tuple[int, int, int]]:
        """The row groups: the bit of each, its cells, and the nodes that wait for its admission."""
        size, total = self.faults.group_rows, self.graph.num_records
        if size is None:
            return
        for place, start in enumerate(range(0, total, size), len(self.nodes)):
            rows = range(start, min(start + size, total))
            cells = sum(self.row_cells[row] for row in rows)
            waiting = [1 << n for n, outputs in enumerate(self.outputs) if outputs & cells]
            yield 1 << place, cells, cells | sum(waiting)

    def _needs_of(self, node: NodeId) -> set[NodeId]:
        """The nodes that a node waits for, and all before them in the same column.

        With order that is every earlier row, so that a drop in between lets no row overtake.
        """
        found = set(self.graph.get_dependencies(node))
        for before in [need for need in found if _is_alike(need, node)]:
            found |= {need for need in self._needs_of(before) if _is_alike(need, node)}
        return found

    def _restore(self, claim: Claim) -> CompletionTracker:
        version = max(self.faults.versions)
        return CompletionTracker.from_checkpoint(
            make_payload(self.graph, claim, version), self.graph
        )

    def _ask_claims(self) -> None:
        rows, columns = self.graph.num_records, self.graph.num_columns
        claims: list[Claim] = [(0,) * columns]
        if self.faults.saves:
            if self.faults.versions == (1,):
                claims = [(count,) * columns for count in range(rows + 1)]
            elif 3 in self.faults.versions:
                sets = [normal(ranges_of(bits(mask))) for mask in range(1 << rows)]
                claims = list(itertools.product(sets, repeat=columns))
            else:
                claims = list(itertools.product(range(rows + 1), repeat=columns))
        self.claims: list[Claim] = []
        self.claim_drops: list[int] = []
        self.restored: list[int] = []
        for claim in claims:
            try:
                tracker = self._restore(claim)
            except CheckpointError:
                continue
            restored = sum(self.bit[node] for node in self.nodes if node in tracker)
            for drops in range(self.drops_below(claim, -1) + 1):
                self.claims.append(claim)
                self.claim_drops.append(drops)
                self.restored.append(restored)
        self.claimed_cells = [self._cells_of(claim) for claim in self.claims]
        self._claim_of: dict[int, Claim] = {}
        self._may_claim: dict[tuple[Claim, int, int], int | None] = {}
        pairs = zip(self.claims, self.claim_drops, strict=True)
        self.claim_index = {pair: index for index, pair in enumerate(pairs)}

    def _cells_of(self, claim: Claim) -> int:
        """The cells of a claim, as a mask."""
        columns = self.graph.num_columns
        return sum(
            1 << row * columns + column
            for column, rows in enumerate(claim)
            for row in rows_of(spans(rows))
        )

    def drops_below(self, claim: Claim, dropped: int) -> int:
        """Of some dropped rows those that a claim holds if it is begun now, as in `claim_drops`."""
        if not self.faults.claims_hold_drops:
            return 0
        return dropped & ((1 << end_of(claim)) - 1)

    def _ask_completeness(self) -> None:
        graph, every = self.graph, set(self.nodes)
        rows = range(graph.num_records)
        self.row_full = [0 for _ in rows]
        self.cell_full = [[0 for _ in rows] for _ in range(graph.num_columns)]
        if not self.faults.saves:
            return
        for node, bit in self.bit.items():
            every.remove(node)
            for row in rows:
                if not graph.is_row_complete(row, every):
                    self.row_full[row] |= bit
            every.add(node)
        if self.faults.losses:
            # Output that was given stays and counts, also if its barrier is lost later.
            self.row_full = [full & self.cells for full in self.row_full]
        if self.faults.versions == (1,):
            return
        order = list(graph.iter_nodes())
        columns = range(graph.num_columns)
        self._inputs = [
            sum(1 << row * len(columns) + need for need in self._inputs_of(column))
            for row in rows
            for column in columns
        ]
        for column, name in enumerate(graph.column_names):
            inputs = self._inputs_of(column)
            for row, missing in itertools.product(rows, order):
                # The column's inputs are claimed, so the answer depends on its own cell alone.
                claim = tuple(row + (c in inputs) for c in columns)
                if 3 in self.faults.versions:
                    claim = tuple(row + 1 if c in inputs else 0 for c in columns)
                tracker = self._restore(claim)
                for node in order:
                    if node != missing:
                        tracker.mark_complete(node)
                found = tracker.to_checkpoint(graph, max(self.faults.versions))["column_rows"]
                if not covers(_rows_of(found[name]), row):
                    self.cell_full[column][row] |= self.bit[missing]
        if self.faults.losses:
            self.cell_full = [[full & self.cells for full in each] for each in self.cell_full]

    def _inputs_of(self, column: int) -> set[int]:
        """The columns that a column needs, and those that they need."""
        found = set(self.graph.rules.columns[column].needs)
        return found.union(*(self._inputs_of(need) for need in found))

    # Steps

    def ready(self, done: int) -> int:
        """The open nodes whose needs are all done."""
        found, node, undone = 0, 1, ~done
        for need in self.needs:
            if not need & undone:
                found |= node
            node <<= 1
        return found & undone

    def startable(self, ready: int, flight: int) -> int:
        """Those of the ready nodes that may start while others are in flight."""
        found = ready & ~flight
        workers = self.faults.workers
        if workers is not None and (flight & self.calls).bit_count() >= workers:
            found &= ~self.calls
        return found

    def places_taken(self, done: int) -> int:
        """How many row groups are admitted and have an open cell: a group that has none retires."""
        return sum(bool(done & group and cells & ~done) for group, cells, _ in self.groups)

    def admissible(self, done: int, flight: int) -> int:
        """The row groups that may be admitted, as a mask (clauses GROUP-02 and GROUP-08)."""
        most = self.faults.groups
        if most is not None and self.places_taken(done) >= most:
            return 0
        return sum(
            group
            for group, cells, _ in self.groups
            if not group & done and cells & ~done and self.leads_on(done | flight | group)
        )

    def leads_on(self, done: int) -> bool:
        """True if some order of admissions resolves every cell, with all work done at once.

        That is clause GROUP-08 as it stands: each order is tried.
        """
        while now := self.ready(done):
            done |= now
        most = self.faults.groups
        if most is None or not self.cells & ~done:
            return True
        if done not in self._leads_on:
            has_place = self.places_taken(done) < most
            self._leads_on[done] = has_place and any(
                self.leads_on(done | group) for group, _, _ in self.groups if not group & done
            )
        return self._leads_on[done]

    def admit(self, base: int, group: int) -> int:
        """The base after the admission of a row group, by the place of its bit."""
        return self._settled(base | 1 << group)

    def startable_in_stop(self, ready: int, flight: int) -> int:
        """After a stop was requested: output cells alone, for they take no call."""
        return ready & ~flight & ~self.calls

    def endable(self, done: int, flight: int) -> int:
        """The nodes that may end: those in flight."""
        del done
        return flight

    def settle(self, done: int, flight: int) -> int:
        """After a drop: also the barrier nodes whose output is all dropped (clause BARR-08)."""
        changed = True
        while changed:
            changed = False
            for place, outputs in enumerate(self.outputs):
                node = 1 << place
                if outputs and not (done | flight) & node:
                    if outputs & ~done or self.needs[place] & ~done:
                        continue
                    done |= node
                    changed = True
        return done

    def complete(self, base: int, place: int) -> int:
        """The base after a call in flight has ended well, or one of a dropped row has ended."""
        node = 1 << place
        base = base & ~(node << self.size) | node
        return self._settled(base)

    def _settled(self, base: int) -> int:
        dropped = base >> 2 * self.size
        if not dropped:
            return base
        done, flight = base & self.every, base >> self.size & self.every
        return self.settle(done, flight) | flight << self.size | dropped << 2 * self.size

    def retry(self, base: int, place: int) -> int:
        """The base after a call has failed and may be made again."""
        return self._settled(base & ~(1 << place + self.size))

    def fail(self, base: int, place: int) -> int:
        """The base after a call has failed for good: the rows that want it are dropped."""
        base &= ~(1 << place + self.size)
        node = 1 << place
        wanting = (self.outputs[place] or node) & ~base
        if self.outputs[place]:
            base |= node
        for row, cells in enumerate(self.row_cells):
            if wanting & cells:
                base |= cells | 1 << 2 * self.size + row
        return self._settled(base)

    def failable(self, base: int) -> int:
        """The calls in flight that may fail: those of rows that are not dropped."""
        return base >> self.size & self.calls & ~base

    def restore(self, claim: int, dropped: int) -> int:
        """The base after a resume from a claim, by its index; of the drops it keeps its own."""
        kept = self.claim_drops[claim]
        if not self.faults.claims_hold_drops:
            kept = dropped & ((1 << end_of(self.claims[claim])) - 1)
        base = self.restored[claim] | kept << 2 * self.size
        for row in bits(kept):
            base |= self.row_cells[row]
        for group, cells, _ in self.groups:
            if not cells & ~base:
                base |= group
        return self._settled(base)

    def interrupted(self, durable: int, pending: int | None) -> Iterator[tuple[str, int]]:
        """The claims that storage may give back after a crash: (outcome of the write, claim), by
        index.

        A torn file is recognised, and the claim before it is still there.
        """
        yield "old", durable
        if pending is not None:
            yield "new", pending
            if self.faults.torn:
                yield "torn", durable

    def claim_after(self, version: int, done: int, dropped: int, durable: int) -> Claim:
        """The claim of a checkpoint now: what is resolved, beside the last claim.

        Of version 1 whole rows, of version 2 each column, both counted on from the last claim; of
        version 3 any cells.
        """
        if version == 3:
            return self._set_after(done, durable)
        claimed = self.claims[durable]
        if self.faults.versions == (1,):
            count = prefix_of(claimed[0])
            while count < len(self.row_full) and (
                dropped >> count & 1 or not self.row_full[count] & ~done
            ):
                count += 1
            return (count,) * len(claimed)
        held = self.claimed_cells[durable]
        counts = [prefix_of(rows) for rows in claimed]
        columns = len(counts)
        for column, full in enumerate(self.cell_full):
            while counts[column] < len(full) and (
                held >> counts[column] * columns + column & 1
                or dropped >> counts[column] & 1
                or not full[counts[column]] & ~done
            ):
                counts[column] += 1
            if self.faults.losses:
                # An input that is lost holds back the claim of what was made from it.
                needs = self.graph.rules.columns[column].needs
                counts[column] = min([counts[column], *(counts[need] for need in needs)])
        return tuple(counts) if version == 2 else (min(counts),) * columns

    def _set_after(self, done: int, durable: int) -> Claim:
        """Every cell that may be claimed: resolved, and all claimed that it is claimed after."""
        claimed, columns = self.claimed_cells[durable], self.graph.num_columns
        for row, column in itertools.product(range(len(self.row_cells)), range(columns)):
            full = self.cell_full[column][row]
            after = full & self.cells | self._inputs[row * columns + column]
            cell = 1 << row * columns + column
            if not full & ~done and not after & ~(claimed | cell):
                claimed |= cell
        found = self._claim_of.get(claimed)
        if found is None:
            found = self._claim_of[claimed] = tuple(
                normal(ranges_of(row for row in range(len(self.row_cells)) if mine >> row & 1))
                for mine in (self._column_of(claimed, column) for column in range(columns))
            )
        return found

    def _column_of(self, cells: int, column: int) -> int:
        """The rows of a column among some cells, as a mask."""
        columns = self.graph.num_columns
        return sum(
            (cells >> row * columns + column & 1) << row for row in range(len(self.row_cells))
        )

    def may_claim(self, claim: Claim, dropped: int, durable: int) -> int | None:
        """The index of a claim that may be begun after another: one that is more."""
        key = (claim, self.drops_below(claim, dropped), durable)
        if key not in self._may_claim:
            before = self.claims[durable]
            grows = claim != before and all(
                first_outside(mine, rows) < 0 for rows, mine in zip(claim, before, strict=True)
            )
            self._may_claim[key] = self.claim_index.get(key[:2]) if grows else None
        return self._may_claim[key]

    def may_lose(self, base: int, place: int, safe: int) -> bool:
        """True if what a complete node gave may go with a worker.

        Args:
            base: the base; the node is complete.
            place: the node: a cell of a row column, or a barrier node.
            safe: those of the cells that it gives which a claim holds, or one being written.
        """
        outputs = self.outputs[place]
        if not outputs:
            return not safe
        # Output that is being given stays, as what runs on it.
        return bool(outputs & ~safe & ~(base >> self.size))

    def lose(self, base: int, place: int, safe: int) -> int:
        """The base after the loss: that alone is pending again, and of a barrier its output."""
        return base & ~(1 << place | self.outputs[place] & ~safe)

    def may_interrupt(self, claim: Claim, durable: int, *, stopping: bool) -> bool:
        """True if the run may end as interrupted, with nothing in flight.

        Args:
            claim: what a checkpoint made now would claim, of the largest version.
            durable: the last durable claim.
            stopping: a stop was requested in this incarnation.
        """
        return stopping and claim == self.claims[durable]

    def is_end(self, done: int) -> bool:
        """True if the run may report success, once its data is durable: every cell is resolved.

        A barrier node may be open still: one in flight whose output is claimed or was dropped.
        """
        return not self.cells & ~done
