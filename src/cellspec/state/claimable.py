"""All that a claim of sets may hold: every resolved cell, as far as the clauses allow (CKPT-13)."""

from __future__ import annotations

from cellspec.graph.rowset import flagged, ranges_of
from cellspec.graph.rules import ColumnRule
from cellspec.state.claims import Claim, Rows, as_rows, first_outside, join, meet, prefix_of, spans
from cellspec.state.codes import DONE
from cellspec.state.node_states import UNRESOLVED, NodeStates, filled
from cellspec.state.prefixes import prefix

__all__ = ["claimable"]

_IS_RESOLVED = bytes(code >= DONE for code in range(256))


def claimable(nodes: NodeStates) -> Claim:
    """By column, every resolved row without those that clause CKPT-05 forbids.

    Marks may come in any order: a cell that resolved before its input, or before its turn, is not
    claimed without it.
    """
    found: list[Rows] = []
    for rule in nodes.rules.columns:
        rows = _resolved(nodes, rule.index)
        for need in rule.needs:
            if first_outside(rows, found[need]) >= 0:
                rows = meet(rows, found[need])
        if rule.ordered and not isinstance(rows, int):
            rows = _in_order(nodes, rule, rows)
        found.append(rows)
    return tuple(found)


def _resolved(nodes: NodeStates, column: int) -> Rows:
    """The resolved rows of a column; an output cell only as in clause CKPT-08."""
    total = nodes.rules.num_records
    first = prefix(nodes, column)
    if total - nodes.open_cells[column] == first:
        return first
    body = nodes.cells[column]
    flags = (
        body[first:].translate(_IS_RESOLVED)
        if isinstance(body, bytearray)
        else filled(1, total - first)
    )
    if nodes.open_barriers[column]:
        _leave_out_early_output(nodes, column, flags, first)
    return as_rows((*spans(first), *flagged(flags, first)))


def _leave_out_early_output(nodes: NodeStates, column: int, flags: bytearray, first: int) -> None:
    """Of a node that is not resolved, keep the cells that were claimed, and those of dropped rows.

    Args:
        flags: by row from `first` on, whether its cell is resolved.
    """
    total, size = nodes.rules.num_records, nodes.rules.columns[column].scope_rows
    rows = nodes.claimed_sets.get(column)
    claimed = rows.flags(first, total) if rows is not None else bytes(total - first)
    for node in UNRESOLVED.finditer(nodes.barriers[column], first // size):
        start, stop = nodes.rules.scope_bounds(column, node.start())
        within = slice(max(start - first, 0), stop - first)
        flags[within] = claimed[within]
    for row in nodes.dropped.within(first, total):
        flags[row - first] = 1
    for row in nodes.kept[column].within(first, total) if column in nodes.kept else ():
        flags[row - first] = nodes.is_resolved(column, row)


def _in_order(nodes: NodeStates, rule: ColumnRule, rows: Rows) -> Rows:
    """Those of the rows that have what comes before them in order, or are dropped."""
    free = prefix_of(rows)
    if rule.is_barrier:
        # Within the first batch that is not whole any row may be claimed.
        free = (free // rule.scope_rows + 1) * rule.scope_rows
    dropped = ranges_of(nodes.dropped.within(free, nodes.rules.num_records))
    return join(meet(rows, free), as_rows(dropped))
