"""Cells resolved without a value: skipped ones, and those of dropped rows."""

from __future__ import annotations

from cellspec.graph.rowset import RowSet
from cellspec.state.codes import (
    BACKOFF,
    DONE,
    DROPPED,
    DROPPED_BEHIND,
    READY,
    RUNNING,
    SKIP_READY,
    SKIPPED,
)
from cellspec.state.moving import (
    advance_order,
    advance_rows,
    count_down_barrier,
    count_down_rows,
    resolve_unrun,
    resolved_one,
)
from cellspec.state.node_states import (
    NodeStates,
)
from cellspec.state.wanting import wanted, wants

__all__ = ["drop", "give_up", "lose", "mark_skip", "skip"]


def skip(nodes: NodeStates, column: int, row: int) -> None:
    """A cell that waits no longer is skipped: those that wait for it count down."""
    body = nodes.cells[column]
    assert isinstance(body, bytearray)
    if body[row] == READY:
        nodes.ready[nodes.cell_groups[column]] -= 1
    body[row] = SKIPPED
    rule = nodes.rules.columns[column]
    for other in rule.barrier_dependents:
        key = (other, row // nodes.rules.columns[other].scope_rows)
        if nodes.rules.columns[other].propagates and key in nodes.wanted_rows:
            nodes.wanted_rows[key] -= wants(nodes, other, row)
    nodes.skipped.setdefault(column, RowSet(nodes.rules.num_records)).add(row)
    for other in (*rule.cell_dependents, *rule.barrier_dependents):
        if nodes.rules.columns[other].propagates:
            mark_skip(nodes, other, row)
    for other in rule.cell_dependents:
        count_down_rows(nodes, other, row, row + 1)
    for other in rule.barrier_dependents:
        count_down_barrier(nodes, other, row)
    if rule.ordered and not rule.is_barrier:
        advance_order(nodes, column, row + 1)
    resolved_one(nodes, column, row)
    if (rule.is_sink or column in nodes.watched) and row == nodes.rows:
        advance_rows(nodes)


def mark_skip(nodes: NodeStates, column: int, row: int, *, restoring: bool = False) -> None:
    """An input of a cell was skipped: so will the cell be."""
    body = nodes.cells[column]
    if isinstance(body, bytearray) and 0 <= body[row] < SKIP_READY:
        body[row] += SKIP_READY
        if body[row] == SKIP_READY and not restoring:
            # Marks came out of order: the cell was ready before this input was resolved. It was
            # announced then, and whoever keeps a queue looks at its state (TRACK-14: once).
            nodes.ready[nodes.cell_groups[column]] -= 1


def lose(nodes: NodeStates, column: int, row: int) -> None:
    """A cell is resolved by a drop, without a value."""
    if column not in nodes.lost:
        nodes.lost[column] = RowSet(nodes.rules.num_records)
    nodes.lost[column].add(row)


def drop(nodes: NodeStates, row: int) -> None:
    """A row is given up: each of its open cells is resolved, as dropped.

    A cell that runs goes on, in `abandoned`, until it ends.
    """
    released: list[int] = []
    unwanted: list[int] = []
    in_turn: list[int] = []
    for rule in nodes.rules.columns:
        column = rule.index
        if rule.is_barrier and wants(nodes, column, row):
            unwanted.append(column)
        body = nodes.cells[column]
        if not isinstance(body, bytearray) or body[row] >= DONE:
            continue
        state = body[row]
        if state == RUNNING:
            nodes.abandoned[column, row] = not rule.is_barrier
        elif state == READY:
            nodes.ready[nodes.cell_groups[column]] -= 1
        body[row] = DROPPED
        lose(nodes, column, row)
        released += rule.barrier_dependents
        if rule.ordered and not rule.is_barrier:
            if nodes.is_behind(column, row):
                body[row] = DROPPED_BEHIND
            else:
                in_turn.append(column)
        resolved_one(nodes, column, row)
    nodes.dropped.add(row)
    for column in in_turn:
        advance_order(nodes, column, row + 1)
    for column in unwanted:
        _unwant(nodes, column, row)
    for column in released:
        count_down_barrier(nodes, column, row)
    if row == nodes.rows:
        advance_rows(nodes)


def _unwant(nodes: NodeStates, column: int, row: int) -> None:
    """The output cell of a row is not wanted any more: was it the last of a waiting node?"""
    if not nodes.open_barriers[column]:
        return
    scope = row // nodes.rules.columns[column].scope_rows
    if (column, scope) in nodes.wanted_rows:
        nodes.wanted_rows[column, scope] -= 1
    state = nodes.barriers[column][scope]
    if state in (READY, BACKOFF) and not wanted(nodes, column, scope):
        resolve_unrun(nodes, column, scope)


def give_up(nodes: NodeStates, column: int, scope: int) -> None:
    """A held barrier node that will not be tried again resolves without a run."""
    if nodes.open_barriers[column] and nodes.barriers[column][scope] == BACKOFF:
        resolve_unrun(nodes, column, scope)
