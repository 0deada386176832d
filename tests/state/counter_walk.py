"""Random steps on the counters of random graphs, each in order, as the machine would take them.

After each step all that became ready has been announced, once, and every count is right, as
`tests.state.recount` says.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits
from cellspec.graph.rowset import RowSet, ranges_of
from cellspec.graph.rules import ColumnRule
from cellspec.state.claims import Claim, covers
from cellspec.state.codes import BACKOFF, DONE, RANGED, READY, RUNNING, SKIP_READY
from cellspec.state.counters import UNLIMITED, Counters
from cellspec.state.places import SharedPlaces
from cellspec.state.slots import release
from tests.state.recount import expect_counted

__all__ = ["CounterWalk"]

T = ExecutionTraits
KINDS = (T.NONE, T.NONE, T.BARRIER, T.BATCH_BARRIER, T.BATCH_BARRIER)
SELDOM = {"drop": 0.1, "restore": 0.05, "lose": 0.4, "save": 0.5, "fail": 0.5}

Node = tuple[str, int, int]
Offer = tuple[str, Callable[[], object]]


class CounterWalk:
    """The counters of the graph with this number, and what happened to them."""

    def __init__(self, number: int) -> None:
        self.draw = random.Random(number)
        self.heard: list[Node] = []
        self.saved: set[tuple[int, int]] = set()
        self.gone: set[tuple[int, int]] = set()
        self.ranges: list[tuple[int, int, int]] = []
        self.held: set[int] = set()
        self.counters = counters = self._counters()
        self.rules = counters.rules.columns
        self.rows = range(counters.rules.num_records)
        counters.listen(
            [partial(self._hear, "cell", rule.index) for rule in self.rules],
            self._hear_rows,
            partial(self._hear, "node"),
            partial(self._hear, "cell"),
        )
        self._restore((0,) * len(self.rules))
        self._check(set())

    def step(self) -> bool:
        """Take a step, and compare; False if there is none."""
        offers: dict[str, list[Callable[[], object]]] = defaultdict(list)
        for name, act in self._offers():
            offers[name].append(act)
        if not offers:
            return False
        (kind,) = self.draw.choices(list(offers), [SELDOM.get(name, 1.0) for name in offers])
        before = set() if kind == "restore" else self._ready()
        self.draw.choice(offers[kind])()
        self._check(before)
        return True

    def _counters(self) -> Counters:
        draw = self.draw
        columns: list[ColumnDescriptor] = []
        skips = draw.random() < 0.5
        for name in "abcde"[: draw.randint(1, 5)]:
            before = [item.name for item in columns]
            columns.append(
                ColumnDescriptor(
                    name,
                    traits=draw.choice(KINDS) | (T.ORDERED if draw.random() < 0.3 else T.NONE),
                    dependencies=draw.sample(before, draw.randint(0, min(2, len(before)))),
                    may_skip=skips and draw.random() < 0.4,
                    propagate_skip=draw.random() < 0.7,
                )
            )
        takes = [draw.choice(({}, {0: 1}, {1: 2}, {0: 1, 1: 1})) for _ in columns]
        limits = [draw.choice((1, 2, UNLIMITED)) for _ in columns]
        return Counters(
            ExecutionGraph(draw.randint(1, 7), columns, batch_size=draw.randint(1, 3)).rules,
            groups=[draw.randrange(len(columns)) for _ in columns],
            capacity=draw.choice((None, limits, SharedPlaces([2, 3], takes, UNLIMITED))),
            workers=draw.choice((2, UNLIMITED)),
            group_rows=draw.choice((None, None, 1, 2, 3)),
            part_rows=draw.choice((None, 1, 2)),
        )

    # Comparisons

    def _hear(self, kind: str, column: int, place: int) -> None:
        self.heard.append((kind, column, place))

    def _hear_rows(self, column: int, start: int, stop: int) -> None:
        for row in range(start, stop):
            self._hear("cell", column, row)

    def _ready(self) -> set[Node]:
        cells = self.counters.cells
        found: set[Node] = {
            ("cell", rule.index, row)
            for rule in self.rules
            for row in self.rows
            if cells[rule.index][row] in (READY, SKIP_READY)
        }
        for column, states in enumerate(self.counters.barriers):
            found |= {("node", column, at) for at, state in enumerate(states) if state == READY}
        return found

    def _check(self, before: set[Node]) -> None:
        assert sorted(self.heard) == sorted(self._ready() - before)
        self.heard.clear()
        calls = Counter(column for column, _, _ in self.ranges)
        calls.update(column for (column, _), slot in self.counters.abandoned.items() if slot)
        expect_counted(self.counters, self.held, calls)

    # Steps

    def _offers(self) -> Iterator[Offer]:
        for rule in self.rules:
            if rule.is_barrier:
                yield from self._offers_of_nodes(rule)
            for row in self.rows:
                yield from self._offers_of_cell(rule, row)
        for place in range(len(self.ranges)):
            yield "complete", partial(self._end_range, place)
        for key in self.counters.abandoned:
            yield "complete", partial(self._end_abandoned, *key)
        for row in self.rows:
            if row not in self.counters.dropped:
                yield "drop", partial(self.counters.drop, row)
        for group in self.held:
            yield "admit", partial(self._admit, group)
        yield "restore", self._restore_own

    def _offers_of_cell(self, rule: ColumnRule, row: int) -> Iterator[Offer]:
        counters, column = self.counters, rule.index
        code = counters.cells[column][row]
        may_skip = rule.may_skip and (column, row) not in self.gone
        if code == SKIP_READY or (code == READY and may_skip):
            yield "skip", partial(counters.skip, column, row)
        if code == READY and rule.is_barrier:
            yield "complete", partial(self._give, column, row)
        elif code == READY:
            yield "start", partial(counters.start[column], row)
            if counters.find_unresolved(column, row, row + 1) == row:
                yield "start", partial(self._start_range, column, row)
        if code == RUNNING:
            yield "complete", partial(counters.resolve[column], row)
            yield "fail", partial(counters.hold, column, row)
        if code == BACKOFF:
            yield "release", partial(release, counters, column, row)
        if code == DONE and not counters.is_skipped(column, row):
            yield "save", partial(self.saved.add, (column, row))
            saved = (column, row) in self.saved or self._unmade(column, row)
            saved |= counters.is_claimed(column, row)
            if not rule.is_barrier and not saved and row not in counters.dropped:
                yield "lose", partial(self._lose, column, row)

    def _unmade(self, column: int, row: int) -> bool:
        return row in self.counters.lost.get(column, ())

    def _offers_of_nodes(self, rule: ColumnRule) -> Iterator[Offer]:
        counters, column = self.counters, rule.index
        for scope in range(counters.rules.scope_count(column)):
            code = counters.barrier_state(column, scope)
            if code == READY:
                yield "start", partial(counters.start_barrier, column, scope)
            elif code == RUNNING:
                yield "complete", partial(counters.resolve_barrier, column, scope)
                yield "fail", partial(counters.hold_barrier, column, scope)
            elif code == BACKOFF:
                yield "release", partial(counters.release_barrier, column, scope)
            elif code == DONE and (column, scope) not in counters.unrun:
                rows = range(*counters.rules.scope_bounds(column, scope))
                kept = [row for row in rows if self._stays(column, row)]
                live = [row for row in rows if row not in {*kept, *counters.dropped}]
                codes = [counters.cells[column][row] for row in live]
                if any(code in (READY, DONE) for code in codes):
                    yield "lose", partial(self._lose_barrier, column, scope, kept)

    def _lose(self, column: int, row: int) -> None:
        self.gone.add((column, row))
        self.counters.lose(column, row)

    def _lose_barrier(self, column: int, scope: int, kept: list[int]) -> None:
        body, rows = self.counters.cells[column], self.counters.rules.scope_bounds(column, scope)
        self.gone |= {
            (column, row) for row in range(*rows) if row not in kept and body[row] == DONE
        }
        self.counters.lose_barrier(column, scope, ranges_of(kept))

    def _stays(self, column: int, row: int) -> bool:
        return (
            (column, row) in self.saved
            or self.counters.is_claimed(column, row)
            or self.counters.is_skipped(column, row)
        )

    def _give(self, column: int, row: int) -> None:
        body, stop = self.counters.cells[column], row + 1
        while stop < len(self.rows) and body[stop] == READY and self.draw.random() < 0.6:
            stop += 1
        if stop == row + 1 and self.draw.random() < 0.5:
            self.counters.start[column](row)
            self.counters.resolve[column](row)
        else:
            self.counters.resolve_range(column, row, stop)

    def _start_range(self, column: int, row: int) -> None:
        body, stop = self.counters.cells[column], row + 1
        while stop < len(self.rows) and body[stop] == READY and self.draw.random() < 0.8:
            stop += 1
        self.counters.start_range(column, row, stop)
        self.ranges.append((column, row, stop))

    def _end_range(self, place: int) -> None:
        """It gives some of its rows; the others may be tried again."""
        column, start, stop = self.ranges.pop(place)
        for row in range(start, stop):
            if self.counters.cells[column][row] == RANGED and self.draw.random() < 0.6:
                self.counters.offer(column, row)
                self.counters.recall(column, row)
        self.counters.stop_range(column, start, stop)
        self.counters.free_slot(column)

    def _end_abandoned(self, column: int, row: int) -> None:
        if self.counters.abandoned.pop((column, row)):
            self.counters.free_slot(column)

    def _admit(self, group: int) -> None:
        size = self.counters.group_rows or 1
        self.held.remove(group)
        self.counters.admit(group * size, min((group + 1) * size, len(self.rows)))

    def _restore_own(self) -> None:
        """From its own claim, of the rows of each column that are resolved."""
        counters = self.counters
        claim = counters.claimable()
        if self.draw.random() < 0.3:
            claim = counters.column_prefixes()
        self._restore(
            claim,
            [row for row in counters.dropped if any(covers(rows, row) for rows in claim)],
            {
                column: [row for row in rows if covers(claim[column], row)]
                for column, rows in counters.skipped.items()
            },
        )

    def _restore(
        self,
        claim: Claim,
        dropped: list[int] | None = None,
        skipped: dict[int, list[int]] | None = None,
    ) -> None:
        total = len(self.rows)
        self.saved.clear()
        self.gone.clear()
        self.ranges.clear()
        skips = {column: RowSet(total, rows) for column, rows in (skipped or {}).items()}
        self.counters.restore(claim, RowSet(total, dropped or ()), skips)
        self.held = {group for group, held in enumerate(self.counters.held_groups) if held}
