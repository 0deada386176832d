"""Calls that take or free a slot: barrier nodes, ranges, and cells in backoff."""

from __future__ import annotations

from collections.abc import Collection
from itertools import takewhile

from cellspec.state.codes import (
    BACKOFF,
    RANGED,
    READY,
    RUNNING,
)
from cellspec.state.moving import barrier_ready
from cellspec.state.node_states import (
    UNLIMITED,
    NodeStates,
    filled,
)

__all__ = [
    "free_slot",
    "hold",
    "hold_barrier",
    "join_range",
    "offer",
    "recall",
    "release",
    "release_barrier",
    "start_barrier",
    "start_range",
    "stop_range",
    "take_slot",
]


def start_barrier(nodes: NodeStates, column: int, scope: int) -> None:
    """A ready barrier node starts: it takes a slot."""
    if nodes.barriers[column][scope] == READY:
        nodes.ready_barriers[nodes.groups[column]] -= 1
    nodes.barriers[column][scope] = RUNNING
    nodes.busy[nodes.groups[column]] += 1
    nodes.load += 1


def hold(nodes: NodeStates, column: int, row: int) -> None:
    """A running cell failed and may be tried again: its slot is free, and it is not ready."""
    body = nodes.cells[column]
    assert isinstance(body, bytearray)
    if body[row] == RUNNING:
        nodes.load -= 1
        group = nodes.groups[column]
        if nodes.capacity[group] < UNLIMITED:
            nodes.busy[group] -= 1
    body[row] = BACKOFF


def release(nodes: NodeStates, column: int, row: int) -> None:
    """A held cell is ready again, or waits for its turn, or for inputs that are open.

    They are if they were lost, or if it started too early and nobody judged it.
    """
    body = nodes.cells[column]
    if body[row] == BACKOFF:
        waits = nodes.open_inputs(column, row)
        body[row] = waits  # type: ignore[index]  # a held cell: the column is not finished
        if not waits:
            nodes.ready[nodes.cell_groups[column]] += 1
            nodes.on_cell[column](row)


def hold_barrier(nodes: NodeStates, column: int, scope: int) -> None:
    """A running barrier node failed and may be tried again."""
    nodes.busy[nodes.groups[column]] -= 1
    nodes.load -= 1
    nodes.barriers[column][scope] = BACKOFF


def release_barrier(nodes: NodeStates, column: int, scope: int) -> None:
    """A held barrier node is ready again."""
    if nodes.open_barriers[column] and nodes.barriers[column][scope] == BACKOFF:
        nodes.barriers[column][scope] = 1
        if not nodes.missing[column][scope]:
            barrier_ready(nodes, column, scope)


def free_slot(nodes: NodeStates, column: int) -> None:
    """A call of a column ended that the cells do not count: its slot is free."""
    nodes.load -= 1
    group = nodes.groups[column]
    # Groups without a limit count barriers only.
    if nodes.capacity[group] < UNLIMITED:
        nodes.busy[group] -= 1


def take_slot(nodes: NodeStates, column: int) -> None:
    """A call of a column begins that the cells do not count."""
    nodes.load += 1
    group = nodes.groups[column]
    if nodes.capacity[group] < UNLIMITED:
        nodes.busy[group] += 1


def recall(nodes: NodeStates, column: int, row: int) -> None:
    """A ready cell is complete without a call."""
    body = nodes.cells[column]
    assert isinstance(body, bytearray)
    take_slot(nodes, column)
    nodes.ready[nodes.cell_groups[column]] -= 1
    body[row] = RUNNING
    nodes.resolve[column](row)


def start_range(nodes: NodeStates, column: int, start: int, stop: int) -> None:
    """Rows ``[start, stop)`` run as one task, in one slot."""
    join_range(nodes, column, start, stop)
    take_slot(nodes, column)


def join_range(nodes: NodeStates, column: int, start: int, stop: int) -> None:
    """Rows ``[start, stop)`` belong to a range that runs."""
    body = nodes.cells[column]
    assert isinstance(body, bytearray)
    nodes.ready[nodes.cell_groups[column]] -= body.count(READY, start, stop)
    body[start:stop] = filled(RANGED, stop - start)


def offer(nodes: NodeStates, column: int, row: int) -> None:
    """A cell that waits, or is held, counts as ready: it starts, or ends, at once."""
    body = nodes.cells[column]
    assert isinstance(body, bytearray)
    nodes.ready[nodes.cell_groups[column]] += body[row] != READY
    body[row] = READY


def stop_range(
    nodes: NodeStates, column: int, start: int, stop: int, given: Collection[int] = ()
) -> list[int]:
    """Rows of a range that ended which were not given are held; they are listed."""
    body = nodes.cells[column]
    rows = takewhile(lambda row: row < stop, nodes.iter_rows(column, RANGED, start))
    # A row that it gave, and that was lost, may be part of another range by now.
    left = [row for row in rows if row not in given]
    for row in left:
        assert isinstance(body, bytearray)
        body[row] = BACKOFF
    return left
