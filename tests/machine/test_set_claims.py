"""Claims of any rows and commits, against sets of cells and a search through every choice.

The machine decides in the work that a claim or a commit names. Here each decision is made again,
slow and obvious: a claim is a set of cells, and what storage may give back is every choice of open
commits beside every whole claim.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from typing import TypeAlias

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Machine, Violation
from cellspec.machine.limits import FailurePolicy
from cellspec.state.claims import Claim, normal, spans

T = ExecutionTraits
Cell: TypeAlias = tuple[int, int]
Cells: TypeAlias = frozenset[Cell]
NONE: Cells = frozenset()
KINDS = (T.NONE, T.NONE, T.ORDERED, T.BARRIER, T.BATCH_BARRIER, T.BATCH_BARRIER | T.ORDERED)


class Run:
    """A machine that is driven at random, and what it was told of storage, as sets."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        rows = self.dice.randint(1, 5)
        columns: list[ColumnDescriptor] = []
        for place in range(self.dice.randint(1, 4)):
            needs = [one.name for one in columns if self.dice.random() < 0.5]
            columns.append(
                ColumnDescriptor("abcd"[place], traits=self.dice.choice(KINDS), dependencies=needs)
            )
        self.machine = Machine(
            ExecutionGraph(rows, columns, batch_size=2), failures=FailurePolicy()
        )
        self.rules = self.machine.graph.rules
        self.made: set[Cell] = set()
        self.forget(NONE)

    def forget(self, claim: Cells) -> None:
        self.base = self.durable = self.claimed = claim
        self.pending: Cells | None = None
        self.failed: list[Cells] = []
        self.open: dict[int, Cells] = {}
        self.doubtful: list[Cells] = []

    # Definitions

    def cells(self) -> list[Cell]:
        rows = range(self.rules.num_records)
        return [(rule.index, row) for rule in self.rules.columns for row in rows]

    def is_claimable(self, cell: Cell) -> bool:
        column, row = cell
        rule, counters = self.rules.columns[column], self.machine.counters
        ready = not rule.is_barrier or counters.is_barrier_resolved(column, row // rule.scope_rows)
        known = cell in self.base or row in counters.dropped
        return counters.is_resolved(column, row) and (ready or known)

    def before(self, cell: Cell) -> Iterator[Cell]:
        """The cells that come before a cell in order."""
        column, row = cell
        rule = self.rules.columns[column]
        if rule.ordered and row not in self.machine.counters.dropped:
            stop = row // rule.scope_rows * rule.scope_rows if rule.is_barrier else row
            yield from ((column, earlier) for earlier in range(stop))

    def inputs(self, cell: Cell) -> Iterator[Cell]:
        yield from ((need, cell[1]) for need in self.rules.columns[cell[0]].needs)

    def broken_by(self, cells: Cells, beside: Cells) -> set[str]:
        """The clauses that a claim of these cells breaks, where `beside` is claimed already."""
        broken = set()
        all_of_them = cells | beside
        for cell in cells:
            column, row = cell
            if not self.is_claimable(cell):
                broken.add("CKPT-08")
            if not all_of_them.issuperset((*self.inputs(cell), *self.before(cell))):
                broken.add("CKPT-05")
            lost = row in self.machine.counters.lost.get(column, ())
            if row in self.machine.unrecorded and lost:
                broken.add("DROP-04")
        return broken

    def resumable(self) -> set[Cells]:
        """Every claim that storage may give back."""
        bases = [self.claimed, *self.failed, *([] if self.pending is None else [self.pending])]
        commits = [*self.open.values(), *self.doubtful]
        return {
            # What was committed stands beside a claim that was begun before it.
            base.union(self.claimed, *chosen)
            for base in bases
            for count in range(len(commits) + 1)
            for chosen in combinations(commits, count)
        }

    # Choices

    def some(self, cells: Iterable[Cell], share: float) -> Cells:
        return frozenset(cell for cell in sorted(cells) if self.dice.random() < share)

    def closed(self, cells: Cells, beside: Cells = NONE) -> Cells:
        """The cells without those that a claim may not hold; now and then as they are."""
        if self.dice.random() < 0.15:
            return cells
        kept = {cell for cell in cells if not self.broken_by(frozenset({cell}), NONE) & {"CKPT-08"}}
        while True:
            held = kept | beside
            odd = {
                cell
                for cell in kept
                if not held.issuperset((*self.inputs(cell), *self.before(cell)))
            }
            if not odd:
                return frozenset(kept)
            kept -= odd

    def claim(self, cells: Cells) -> Claim:
        columns = range(len(self.rules.columns))
        return tuple(normal((row, row + 1) for c, row in cells if c == one) for one in columns)

    # Steps

    def step(self) -> None:
        kind = self.dice.choice(
            ("work", "work", "work", "store", "claim", "commit", "end", "crash")
        )
        if self.machine.crashed:
            self.resume()
        elif kind == "work":
            options = [
                action
                for action in self.machine.enabled()
                if action.kind in ("start", "complete", "emit", "drop", "skip")
                or (action.kind == "fail" and action.failure == "permanent")
            ]
            if options:
                self.machine.apply(self.dice.choice(options))
        elif kind == "store":
            for cell in self.some(self.cells(), 0.7):
                if not self.broken_by(frozenset({cell}), NONE) & {"DROP-04"} and (
                    self.machine.counters.is_resolved(*cell)
                ):
                    self.machine.durable_rows(cell[0], cell[1] + 1, cell[1])
                    self.durable |= {cell}
        elif kind == "claim":
            self.begin_claim()
        elif kind == "commit":
            self.begin_commit()
        elif kind == "end":
            self.end_write()
        elif self.dice.random() < 0.5:
            self.machine.crash()

    def begin_claim(self) -> None:
        more = self.some(self.durable if self.dice.random() < 0.8 else self.cells(), 0.7)
        less = self.claimed if self.dice.random() < 0.9 else self.some(self.claimed, 0.8)
        cells = self.closed(more, less) | less
        broken = self.broken_by(cells, NONE)
        broken |= {"CKPT-11"} if self.pending is not None else set()
        broken |= {"CKPT-09"} if not cells >= self.claimed else set()
        broken |= {"CKPT-10"} if not cells <= self.durable else set()
        if self.agree(broken, lambda: self.machine.checkpoint_begin(self.claim(cells))):
            self.pending = cells

    def begin_commit(self) -> None:
        cells = self.closed(self.some(self.cells(), 0.5), self.claimed)
        number = self.dice.randint(0, 2)
        broken = self.broken_by(cells, self.claimed)
        broken |= {"CKPT-11"} if number in self.open else set()
        if self.agree(broken, lambda: self.machine.commit_begin(self.claim(cells), number)):
            self.open[number] = cells

    def end_write(self) -> None:
        well = self.dice.random() < 0.7
        if self.pending is not None and self.dice.random() < 0.5:
            if well:
                self.machine.checkpoint_durable()
                self.claimed, self.failed = self.pending | self.claimed, []
            else:
                self.machine.checkpoint_failed()
                self.failed.append(self.pending)
            self.pending = None
        number = self.dice.randint(0, 2)
        call = self.machine.committed if well else self.machine.commit_failed
        known = number in self.open
        if self.agree(set() if known else {"CKPT-11"}, lambda: call(number)):
            cells = self.open.pop(number)
            if well:
                self.claimed |= cells
                self.durable |= cells
            else:
                self.doubtful.append(cells)

    def resume(self) -> None:
        allowed = self.resumable()
        found = self.dice.choice(sorted(allowed, key=sorted))
        if self.dice.random() < 0.5:
            found ^= self.some(self.cells(), 0.2)
        broken = set() if found in allowed else {"CKPT-09", "CKPT-12"}
        if self.agree(broken, lambda: self.machine.resume(self.claim(found))):
            self.forget(found)
            assert self.claim(found) == self.machine.durable_claim

    def agree(self, broken: set[str], take: Callable[[], object]) -> bool:
        """Take a step; the machine refuses it exactly if it breaks something. True if taken."""
        refused = ""
        try:
            take()
        except Violation as found:
            refused = found.clause
        assert refused in broken if refused else not broken, (refused, broken)
        return not refused


@pytest.mark.clause("CKPT-05", "CKPT-08", "CKPT-09", "CKPT-10", "CKPT-11", "CKPT-12", "DROP-04")
@pytest.mark.parametrize("block", range(8))
def test_claims_and_commits_are_those_of_sets_of_cells(block: int) -> None:
    for seed in range(40):
        run = Run(1_000 * block + seed)
        for _ in range(60):
            run.step()
            known = {
                (column, row)
                for column, rows in enumerate(run.machine.durable_claim)
                for span in spans(rows)
                for row in range(*span)
            }
            assert known == run.claimed
