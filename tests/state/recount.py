"""What the counters keep, counted anew from the state of each node: as plain as it is slow.

`expect_counted` may be asked after any step. The states of the nodes come from the counters; what
a node waits for, what is ready, and how far columns are finished is worked out from these alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from cellspec.graph.rules import ColumnRule
from cellspec.state.codes import BACKOFF, DONE, LAST_WAIT, RANGED, READY, RUNNING, SKIP_READY
from cellspec.state.counters import UNLIMITED, Counters

__all__ = ["Recount", "expect_counted"]


class Recount:
    """The counters, and the row groups that are not admitted."""

    def __init__(self, counters: Counters, held: Collection[int] = ()) -> None:
        self.counters = counters
        self.rules = counters.rules.columns
        self.rows = range(counters.rules.num_records)
        self.held = held

    def nodes(self, rule: ColumnRule) -> range:
        return range(self.counters.rules.scope_count(rule.index))

    def scope(self, rule: ColumnRule, scope: int) -> range:
        return range(*self.counters.rules.scope_bounds(rule.index, scope))

    def code(self, column: int, row: int) -> int:
        return self.counters.cells[column][row]

    def is_open(self, column: int, row: int) -> bool:
        return self.code(column, row) < DONE

    def node_code(self, rule: ColumnRule, scope: int) -> int:
        states = self.counters.barriers[rule.index]
        return states[scope] if states else DONE

    def node_is_open(self, rule: ColumnRule, scope: int) -> bool:
        return self.node_code(rule, scope) < DONE

    def is_held(self, row: int) -> bool:
        size = self.counters.group_rows
        return size is not None and row // size in self.held

    def cell_waits(self, rule: ColumnRule, row: int) -> int:
        if rule.is_barrier:
            return int(self.node_is_open(rule, row // rule.scope_rows))
        behind = rule.ordered and any(self.is_open(rule.index, other) for other in range(row))
        return sum(self.is_open(need, row) for need in rule.needs) + behind + self.is_held(row)

    def node_waits(self, rule: ColumnRule, scope: int) -> int:
        rows = self.scope(rule, scope)
        behind = rule.ordered and any(self.node_is_open(rule, other) for other in range(scope))
        groups = {row // (self.counters.group_rows or 1) for row in rows if self.is_held(row)}
        return (
            sum(self.is_open(need, row) for need in rule.needs for row in rows)
            + behind
            + len(groups)
        )

    def has_skipped_input(self, rule: ColumnRule, row: int) -> bool:
        skipped = self.counters.skipped
        return rule.propagates and any(row in skipped.get(need, ()) for need in rule.needs)

    def is_exempt(self, rule: ColumnRule, row: int) -> bool:
        """The row waits for no run of its barrier node."""
        counters = self.counters
        return (
            counters.is_claimed(rule.index, row)
            or row in counters.dropped
            or row in counters.kept.get(rule.index, ())
        )

    def wanted(self, rule: ColumnRule, scope: int) -> int:
        """How many output cells of a barrier node want its run, if it is open."""
        return sum(
            not self.is_exempt(rule, row) and not self.has_skipped_input(rule, row)
            for row in self.scope(rule, scope)
        )

    def counts(self, rule: ColumnRule, row: int) -> bool:
        """The cell is resolved, and so is its barrier node, if it needs it."""
        if self.is_open(rule.index, row):
            return False
        if not rule.is_barrier or self.is_exempt(rule, row):
            return True
        return not self.node_is_open(rule, row // rule.scope_rows)

    def prefix(self, rule: ColumnRule) -> int:
        """How many rows of a column count without a gap."""
        return next((row for row in self.rows if not self.counts(rule, row)), len(self.rows))

    def by_group(self, count: Callable[[ColumnRule], int], groups: Collection[int]) -> list[int]:
        found = [0] * len(self.counters.capacity)
        for rule, group in zip(self.rules, groups, strict=True):
            found[group] += count(rule)
        return found

    def count(self, rule: ColumnRule, code: int) -> int:
        return sum(self.code(rule.index, row) == code for row in self.rows)

    def count_nodes(self, rule: ColumnRule, code: int) -> int:
        return sum(self.node_code(rule, scope) == code for scope in self.nodes(rule))


def expect_counted(
    counters: Counters, held: Collection[int] = (), others: Mapping[int, int] | None = None
) -> None:
    """Every count is right.

    Args:
        counters: of a run in which every start was in order.
        held: the row groups that nodes wait for.
        others: by column, how many calls hold a slot that no cell or barrier node shows.
    """
    of = Recount(counters, held)
    calls, others = [], others or {}
    for rule in of.rules:
        column = rule.index
        calls.append(others.get(column, 0) + of.count_nodes(rule, RUNNING))
        for row in of.rows:
            code = of.code(column, row)
            if code < RANGED:
                skip = SKIP_READY * of.has_skipped_input(rule, row)
                assert code == of.cell_waits(rule, row) + skip, f"{rule.name}[{row}]"
        for scope in of.nodes(rule):
            code = of.node_code(rule, scope)
            where = f"{rule.name}, node {scope}"
            if code < DONE:
                assert counters.missing[column][scope] == of.node_waits(rule, scope), where
            if code < BACKOFF:
                assert code == (LAST_WAIT if of.node_waits(rule, scope) else READY), where
                assert of.wanted(rule, scope) or code != READY, where
            if (column, scope) in counters.wanted_rows:
                assert counters.wanted_rows[column, scope] == of.wanted(rule, scope), where
        assert counters.open_cells[column] == sum(of.is_open(column, row) for row in of.rows)
        assert counters.open_barriers[column] == sum(
            of.node_is_open(rule, scope) for scope in of.nodes(rule)
        )
        assert counters.prefix(column) == of.prefix(rule), rule.name
    assert counters.rows == min(of.prefix(rule) for rule in of.rules)
    assert counters.ready == of.by_group(lambda rule: of.count(rule, READY), counters.cell_groups)
    assert counters.ready_barriers == of.by_group(
        lambda rule: of.count_nodes(rule, READY), counters.groups
    )
    running = [0 if rule.is_barrier else of.count(rule, RUNNING) for rule in of.rules]
    assert counters.load == sum(running) + sum(calls)
    for group, busy in enumerate(of.by_group(lambda rule: calls[rule.index], counters.groups)):
        own = [rule for rule in of.rules if counters.groups[rule.index] == group]
        if counters.capacity[group] < UNLIMITED:
            assert counters.busy[group] == busy + sum(running[rule.index] for rule in own)
        else:
            # Without a limit only barrier nodes are counted.
            assert counters.busy[group] == sum(of.count_nodes(rule, RUNNING) for rule in own)
    size = counters.part_rows
    if size is not None:
        assert counters.parts is not None
        whole = [
            all(not of.is_open(rule.index, row) for rule in of.rules for row in part)
            for part in (of.rows[first : first + size] for first in of.rows[::size])
        ]
        assert counters.parts.count == sum(whole)
