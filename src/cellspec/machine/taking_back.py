"""Calls that are taken back: cancelled, to be made again by another worker (clause FAIL-06)."""

from __future__ import annotations

from typing import Final

from cellspec.graph.nodes import NodeKey, barrier_key
from cellspec.machine.attempts import expect_attempt, expect_attempt_of_range
from cellspec.machine.backoff import begin_backoff
from cellspec.machine.calls import end_range, end_stray, range_of
from cellspec.machine.explain_refusal import expect_running, refuse_complete, state_of
from cellspec.machine.run_state import RunState
from cellspec.state.codes import RUNNING
from cellspec.text import counted

__all__ = ["TAKEN_BACK_MAX", "take_back_barrier", "take_back_cell"]

TAKEN_BACK_MAX: Final = 8
"""How often a node is taken back before one of its calls ends in another way."""


def take_back_cell(run: RunState, column: int, row: int, attempt: int | None) -> None:
    """The call of a cell, or range, is taken back: what it has not given is ready again at once.

    Args:
        column: by position.
        row: of the cell, or of any row of the range.
        attempt: the attempt that ended; None for the one in flight.

    Raises:
        Violation: FAIL-06 (it was not running, or was taken back too often), FAIL-05 (another
            attempt is in flight), SCHED-07.
    """
    where = f"{run.name_of(column)}[{row}]"
    if not expect_running(run, f"taking back of {where}"):
        return
    key = (column, row)
    if key in run.counters.abandoned:
        # Its row was dropped meanwhile, so it does not start again.
        if attempt is not None:
            expect_attempt(run, key, attempt)
        if run.counters.abandoned.pop(key):
            run.counters.free_slot(column)
        return
    if end_stray(run, key):
        return
    # A row that its range gave and a worker lost may run again by itself.
    alone = run.counters.cells[column][row] == RUNNING
    ranged = None if alone else range_of(run, column, row)
    if ranged is not None:
        expect_attempt_of_range(run, column, ranged, attempt)
        rows = range(ranged.start, ranged.stop)
        _count(run, where, *((column, each) for each in rows if each not in ranged.given))
        end_range(run, column, ranged)
        for each in run.counters.stop_range(column, ranged.start, ranged.stop, ranged.given):
            begin_backoff(run, (column, each), run.now)
        return
    if run.counters.cells[column][row] != RUNNING or run.barrier_flags[column]:
        refuse_complete(run, where, state_of(run, column, row), "FAIL-06", "is taken back")
        return
    if attempt is not None:
        expect_attempt(run, key, attempt)
    _count(run, where, key)
    run.counters.hold(column, row)
    begin_backoff(run, key, run.now)


def take_back_barrier(run: RunState, column: int, scope: int, attempt: int | None) -> None:
    """The call of a barrier node is taken back: the node is ready again at once, if wanted.

    Raises:
        Violation: as `take_back_cell`.
    """
    key = barrier_key(column, scope)
    where = run.where(key)
    if end_stray(run, key):
        return
    state = run.counters.barrier_state(column, scope)
    if state != RUNNING:
        refuse_complete(run, where, state, "FAIL-06", "is taken back")
        return
    if not expect_running(run, f"taking back of {where}"):
        return
    if attempt is not None:
        expect_attempt(run, key, attempt)
    _count(run, where, key)
    run.counters.hold_barrier(column, scope)
    if run.counters.wanted(column, scope):
        begin_backoff(run, key, run.now)
    else:
        run.counters.give_up(column, scope)


def _count(run: RunState, where: str, *keys: NodeKey) -> None:
    """Count that the call of nodes is taken back."""
    times = {key: run.taken_back.get(key, 0) + 1 for key in keys}
    if max(times.values()) > TAKEN_BACK_MAX:
        run.breaks(
            "FAIL-06",
            f"{where} is taken back again, after {counted(TAKEN_BACK_MAX, 'time')} in a row",
        )
    run.taken_back.update(times)
