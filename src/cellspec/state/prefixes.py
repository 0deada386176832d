"""The finished prefix of a column, of the rows, and of all that a checkpoint may claim."""

from __future__ import annotations

from cellspec.state.claims import Prefixes
from cellspec.state.codes import (
    DONE,
)
from cellspec.state.node_states import (
    UNRESOLVED,
    NodeStates,
)

__all__ = ["column_prefixes", "completed_rows", "prefix"]


def prefix(nodes: NodeStates, column: int) -> int:
    """How many rows of the column are resolved without a gap from row 0.

    An output cell counts only if its barrier is complete too, or the cell was claimed.
    Amortised O(1): the search goes on where the last one ended.
    """
    body = nodes.cells[column]
    if isinstance(body, bytearray):
        found = UNRESOLVED.search(body, nodes.prefix_found[column])
        nodes.prefix_found[column] = found.start() if found else nodes.rules.num_records
    rows = nodes.prefix_found[column]
    if nodes.open_barriers[column]:
        limit = _barrier_limit(nodes, column)
        if limit < rows and (nodes.dropped or nodes.kept or column in nodes.claimed_sets):
            # A dropped row waits for no barrier, nor does a claimed cell, or output that was kept.
            size, states = nodes.rules.columns[column].scope_rows, nodes.barriers[column]
            limit = max(limit, nodes.exempt_prefix[column])
            while limit < rows:
                if states[limit // size] >= DONE:
                    limit += size - limit % size
                elif (
                    limit in nodes.dropped
                    or nodes.is_claimed(column, limit)
                    or nodes.is_kept(column, limit)
                ):
                    limit += 1
                else:
                    break
            nodes.exempt_prefix[column] = limit
        rows = min(rows, limit)
    return rows


def _barrier_limit(nodes: NodeStates, column: int) -> int:
    """The first row of a column whose barrier node is not resolved."""
    states = nodes.barriers[column]
    size = nodes.rules.columns[column].scope_rows
    scope = max(nodes.scope_prefix[column], nodes.claimed[column] // size)
    found = UNRESOLVED.search(states, scope)
    scope = found.start() if found else len(states)
    nodes.scope_prefix[column] = scope
    return max(nodes.claimed[column], scope * size)


def completed_rows(nodes: NodeStates) -> int:
    """How many rows are complete without a gap from row 0: O(columns)."""
    return min(prefix(nodes, column) for column in range(len(nodes.cells)))


def column_prefixes(nodes: NodeStates) -> Prefixes:
    """By column, its `prefix` as far as its inputs reach: the claim of a checkpoint of columns.

    Marks may come in any order: a cell that resolved before its input is not claimed without it
    (clause CKPT-13).
    """
    found: list[int] = []
    for rule in nodes.rules.columns:
        inputs = (found[need] for need in rule.needs)
        found.append(min(prefix(nodes, rule.index), *inputs, nodes.rules.num_records))
    return tuple(found)
