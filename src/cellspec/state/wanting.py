"""The demand for a barrier node: how many output cells of its scope still want its run."""

from __future__ import annotations

from collections.abc import Iterable

from cellspec.state.codes import (
    DONE,
    LAST_WAIT,
    SKIPPED,
)
from cellspec.state.node_states import (
    NodeStates,
)

__all__ = ["wanted", "wants"]


def wanted(nodes: NodeStates, column: int, scope: int) -> int:
    """How many output cells of an open barrier node still want its run.

    One that is claimed, dropped, or is to be skipped does not. Counted once, in O(scope).
    """
    known = nodes.wanted_rows.get((column, scope))
    if known is None:
        body = nodes.cells[column]
        start, stop = nodes.rules.scope_bounds(column, scope)
        early: Iterable[int] = range(max(start, nodes.claimed[column]), stop)
        known = 0
        if isinstance(body, bytearray):
            # Until the barrier has run, an output cell waits for one thing, or is resolved:
            # then it was marked before its turn, and its barrier has to run all the same.
            known = body.count(LAST_WAIT, start, stop)
            if not body.count(DONE, start, stop) and not body.count(SKIPPED, start, stop):
                early = ()
        known += sum(wants(nodes, column, row) for row in early if nodes.cells[column][row] >= DONE)
        nodes.wanted_rows[column, scope] = known
    return known


def wants(nodes: NodeStates, column: int, row: int) -> bool:
    """True if the output cell of a row still wants a run of its barrier node."""
    rule = nodes.rules.columns[column]
    return (
        not nodes.is_barrier_resolved(column, row // rule.scope_rows)
        and not nodes.is_claimed(column, row)
        and row not in nodes.dropped
        and not nodes.is_kept(column, row)
        and not (rule.propagates and any(nodes.is_skipped(need, row) for need in rule.needs))
    )
