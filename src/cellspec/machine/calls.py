"""The calls in flight that the counters do not hold: ranges of rows, and strays.

A range is one call that makes several rows in one slot. A stray is a call that its
node cannot take, and whose clause is waived (see `cellspec.machine.explain_refusal`).
"""

from __future__ import annotations

from bisect import bisect_right, insort

from cellspec.graph.nodes import (
    NodeKey,
    column_of,
    is_barrier_key,
    place_of,
)
from cellspec.machine.run_state import RunningRange, RunState
from cellspec.state.codes import (
    RUNNING,
)

__all__ = [
    "begin_range",
    "end_range",
    "end_stray",
    "is_in_flight",
    "range_of",
    "runs",
    "start_stray",
]


def begin_range(run: RunState, column: int, start: int, stop: int) -> None:
    """Rows ``[start, stop)`` of a column are in flight as one call."""
    insort(run.ranges[column], RunningRange(start, stop, stop - start), key=_start_of)


def _start_of(ranged: RunningRange) -> int:
    return ranged.start


def range_of(run: RunState, column: int, row: int) -> RunningRange | None:
    """The range in flight that a row of a column is part of, or None."""
    ranges = run.ranges[column]
    place = bisect_right(ranges, row, key=_start_of) - 1
    found = ranges[place] if place >= 0 and row < ranges[place].stop else None
    if (run.gone or run.waived) and (found is None or row in found.given):
        # Rows that were given and then lost may run anew while the rest of their range still does;
        # and a range may start, where that is not judged, on rows of another.
        holding = [each for each in ranges if each.start <= row < each.stop]
        left = (each for each in holding if row not in each.given)
        found = next(left, holding[0] if holding else None)
    return found


def end_range(run: RunState, column: int, ranged: RunningRange) -> None:
    """A range ends: its slot is free."""
    ranges = run.ranges[column]
    place = bisect_right(ranges, ranged.start, key=_start_of) - 1
    while ranges[place] is not ranged:
        place -= 1
    del ranges[place]
    run.counters.free_slot(column)


def is_in_flight(run: RunState, column: int, row: int) -> bool:
    """True if a call runs that may still give the cell, whether anybody wants it or not."""
    if run.crashed or run.ended:
        return False
    if run.counters.cells[column][row] == RUNNING or (column, row) in run.counters.abandoned:
        return True
    ranged = range_of(run, column, row)
    return ranged is not None and row not in ranged.given


def runs(run: RunState, key: NodeKey) -> bool:
    """True if the call of a barrier node is in flight, or that of a cell, or of a range from it."""
    if run.crashed or run.ended:
        return False
    column, place = column_of(key), place_of(key)
    if is_barrier_key(key):
        return run.counters.barrier_state(column, place) == RUNNING
    if run.counters.cells[column][place] == RUNNING or (column, place) in run.counters.abandoned:
        return True
    # A range is in flight until its last row, also when it has given its first.
    return any(ranged.start == place for ranged in run.ranges[column])


def start_stray(run: RunState, key: NodeKey) -> None:
    """A call begins that its node cannot take: all it does is hold a slot."""
    run.strays[key] = run.strays.get(key, 0) + 1
    run.counters.take_slot(column_of(key))


def end_stray(run: RunState, key: NodeKey) -> bool:
    """End a stray of a node, if there is one."""
    count = run.strays.pop(key, 0)
    if count > 1:
        run.strays[key] = count - 1
    if count:
        run.counters.free_slot(column_of(key))
    return count > 0
