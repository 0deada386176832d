"""Failures and cancellations of calls, and the rows that are given up with them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from itertools import takewhile

from cellspec.graph.nodes import (
    NodeKey,
    barrier_key,
    column_of,
    is_barrier_key,
)
from cellspec.machine.actions import Failure
from cellspec.machine.attempts import expect_attempt, expect_attempt_of_range, fails_for_good
from cellspec.machine.backoff import begin_backoff
from cellspec.machine.call_bound import expect_bound_reached
from cellspec.machine.calls import end_range, end_stray, range_of
from cellspec.machine.drops import drop_row, fails_too
from cellspec.machine.early_stop import call_ended
from cellspec.machine.explain_refusal import expect_running, refuse_complete, state_of
from cellspec.machine.lost_writes import give_up, has_lost_write
from cellspec.machine.policy import is_final
from cellspec.machine.run_state import RunState
from cellspec.state.codes import (
    BACKOFF,
    LAST_WAIT,
    RANGED,
    READY,
    RUNNING,
    is_resolved,
    may_begin,
)
from cellspec.state.node_states import UNLIMITED
from cellspec.state.slots import hold
from cellspec.text import counted, noun

__all__ = ["cancel_barrier", "cancel_cell", "compile_fail", "fail_barrier", "fail_cell"]


def fail_cell(
    run: RunState,
    column: int,
    row: int,
    failure: Failure,
    until: float | None,
    attempt: int | None,
) -> None:
    """A running cell, or the rest of the running range that it is in, ends badly.

    Args:
        column: by position.
        row: of the cell, or of any row of the range.
        failure: its kind.
        until: when it may start again, in seconds; None if the engine leaves it open.
        attempt: the attempt that ended; None for the one in flight.

    Raises:
        Violation: FAIL-04 (it was not running), FAIL-05 (another attempt is in flight),
            FAIL-07 (it timed out before its bound), SCHED-07.
    """
    plain = attempt is None and failure != "timeout" and not (run.strays or run.is_over)
    if plain and run.counters.cells[column][row] == RUNNING and not run.barrier_flags[column]:
        # A cell that runs by itself, whose call is all that there is: the common case.
        hold(run.counters, column, row)
        run.unanswered += 1
        if failure == "permanent":
            call_ended(run, failed=True)
        key = column, row
        # What spends no attempt is never final.
        counts = failure != "backpressure" or run.taken_back
        if counts and fails_for_good(run, key, failure):
            drop_row(run, row, column)
        else:
            begin_backoff(run, key, until)
        return
    slot = _end_abandoned(run, column, row, attempt, timed_out=failure == "timeout")
    if slot is not None:
        run.unanswered += 1
        if slot:
            run.counters.free_slot(column)
            if failure == "permanent":
                call_ended(run, failed=True)
        spent = 1 + run.attempts.get((column, row), 0)
        if is_final(failure, spent, run.failures.max_attempts):
            fails_too(run, (row,), column)
        if run.waived or row in run.news:
            # A retry of it, which is not judged, or not yet, counts on from here.
            fails_for_good(run, (column, row), failure)
        return
    if end_stray(run, (column, row)):
        run.unanswered += 1
        _fail_stray(run, (column, row), failure, row, row + 1)
        return
    alone = run.counters.cells[column][row] == RUNNING
    ranged = None if alone else range_of(run, column, row)
    if ranged is not None:
        expect_attempt_of_range(run, column, ranged, attempt)
        if failure == "timeout":
            expect_bound_reached(run, (column, ranged.start))
        end_range(run, column, ranged)
        rows = run.counters.stop_range(column, ranged.start, ranged.stop, ranged.given)
    else:
        if not _expect_fails(run, column, row):
            return
        if attempt is not None:
            expect_attempt(run, (column, row), attempt)
        if failure == "timeout":
            expect_bound_reached(run, (column, row))
        run.counters.hold(column, row)
        rows = [row]
    _fail_rows(run, column, rows, failure, until)


def compile_fail(run: RunState) -> Callable[[NodeKey, Failure, float], None]:
    """`fail_cell` as a function, for a driver that calls it often in an incarnation.

    Its arguments are the cell, its failure and the end of its backoff. It passes a cell that runs
    by itself, and whose failure spends no attempt, by one look.
    """
    counters, cells, flags, due, backoffs = (
        *(run.counters, run.counters.cells, run.barrier_flags, run.due, run.backoffs),
    )
    busy, group_of, push = counters.busy, counters.groups, heapq.heappush
    limited = [counters.capacity[group] < UNLIMITED for group in group_of]

    def fail(key: NodeKey, failure: Failure, until: float) -> None:
        column, row = key
        body = cells[column]
        if (
            failure != "backpressure"
            or body[row] != RUNNING
            or flags[column]
            or run.strays
            or run.taken_back
            or run.crashed
            or run.ended
            or until <= run.now
        ):
            fail_cell(run, column, row, failure, until, None)
            return
        # As `hold` and `begin_backoff`, inlined.
        counters.load -= 1
        if limited[column]:
            busy[group_of[column]] -= 1
        body[row] = BACKOFF  # type: ignore[index]  # a running cell: the column is not finished
        run.unanswered += 1
        backoffs[key] = until
        push(due, (until, key))

    return fail


def _fail_rows(
    run: RunState, column: int, rows: Iterable[int], failure: Failure, until: float | None
) -> None:
    """A call fails, and these rows with it: they may be tried again, or are dropped."""
    run.unanswered += 1
    if failure == "permanent":
        call_ended(run, failed=True)
    for row in rows:
        if fails_for_good(run, (column, row), failure):
            drop_row(run, row, column)
        else:
            begin_backoff(run, (column, row), until)


def _expect_fails(run: RunState, column: int, row: int) -> bool:
    """True if a cell fails that runs, or, where that is not judged, could have run."""
    where = f"{run.name_of(column)}[{row}]"
    if run.counters.cells[column][row] == RUNNING and not run.barrier_flags[column]:
        return expect_running(run, f"failure of {where}")
    state = state_of(run, column, row)
    alive = refuse_complete(run, where, state, "FAIL-04", "fails")
    if not alive or run.barrier_flags[column] or not may_begin(state):
        return False
    run.counters.ready[run.group_of[column]] -= state == READY
    return True


def _fail_stray(run: RunState, key: NodeKey, failure: Failure, start: int, stop: int) -> None:
    """A stray of a node over rows ``[start, stop)`` ends badly; if for good, they are dropped."""
    if failure == "permanent":
        call_ended(run, failed=True)
    if not fails_for_good(run, key, failure):
        return
    column = column_of(key)
    fails_too(run, [row for row in run.unrecorded if start <= row < stop], column)
    body = run.counters.cells[column]
    for row in range(start, stop):
        made = is_barrier_key(key) and is_resolved(body[row])
        if not made and row not in run.counters.dropped:
            drop_row(run, row, column)


def _end_abandoned(
    run: RunState, column: int, row: int, attempt: int | None, *, timed_out: bool = False
) -> bool | None:
    """End a call whose row was dropped meanwhile; True if it held a slot, None if there is none."""
    if (column, row) in run.counters.abandoned:
        if attempt is not None:
            expect_attempt(run, (column, row), attempt)
        if timed_out:
            expect_bound_reached(run, (column, row))
    return run.counters.abandoned.pop((column, row), None)


def cancel_cell(run: RunState, column: int, row: int, attempt: int | None) -> None:
    """A running cell, or range, ends without a result: its row was dropped, or the run stops.

    Raises:
        Violation: FAIL-04 (it was not running, or its result is wanted), FAIL-05 (another
            attempt is in flight), SCHED-07.
    """
    where = f"{run.name_of(column)}[{row}]"
    if not expect_running(run, f"cancellation of {where}"):
        return
    slot = _end_abandoned(run, column, row, attempt)
    if slot is None and end_stray(run, (column, row)):
        return
    # A row that its range gave and a worker lost may run again by itself.
    alone = run.counters.cells[column][row] == RUNNING
    ranged = None if alone else range_of(run, column, row)
    if slot is not None:
        if slot:
            run.counters.free_slot(column)
    elif ranged is not None:
        left = run.counters.iter_rows(column, RANGED, ranged.start)
        first = next((each for each in left if each not in ranged.given), ranged.stop)
        if first < ranged.stop and not _may_cancel(run):
            name = run.name_of(column)
            run.breaks(
                "FAIL-04",
                f"{name}[{ranged.start}:{ranged.stop}] is cancelled although {name}[{first}] of it "
                "is wanted",
            )
        expect_attempt_of_range(run, column, ranged, attempt)
        end_range(run, column, ranged)
        given = ranged.given
        for each in run.counters.stop_range(column, ranged.start, ranged.stop, given):
            begin_backoff(run, (column, each), None)
    else:
        state = run.counters.cells[column][row]
        if state != RUNNING or run.barrier_flags[column]:
            refuse_complete(run, where, state_of(run, column, row), "FAIL-04", "is cancelled")
            return
        if not _may_cancel(run):
            run.breaks("FAIL-04", f"{where} is cancelled although its value is wanted")
        if attempt is not None:
            expect_attempt(run, (column, row), attempt)
        run.counters.hold(column, row)
        begin_backoff(run, (column, row), None)


def _may_cancel(run: RunState) -> bool:
    """True if a call may be cancelled whose value is wanted; after a lost write the run gives up.

    What it gives up is final: nothing starts in this incarnation any more.
    """
    if run.starts_no_more():
        return True
    if not has_lost_write(run):
        return False
    give_up(run, "FAIL-04", "a call whose value is wanted was cancelled after a write that failed")
    return True


def fail_barrier(
    run: RunState,
    column: int,
    scope: int,
    failure: Failure,
    until: float | None,
    attempt: int | None,
) -> None:
    """A running barrier node ends badly; if for good, rows that want its output are dropped.

    Raises:
        Violation: FAIL-04 (it was not running), FAIL-05 (another attempt is in flight),
            FAIL-07 (it timed out before its bound), SCHED-07.
    """
    where = run.where(barrier_key(column, scope))
    state, key = run.counters.barrier_state(column, scope), barrier_key(column, scope)
    if end_stray(run, key):
        _fail_stray(run, key, failure, *run.graph.rules.scope_bounds(column, scope))
        return
    if state != RUNNING:
        refuse_complete(run, where, state, "FAIL-04", "fails")
        return
    if not expect_running(run, f"failure of {where}"):
        return
    if attempt is not None:
        expect_attempt(run, key, attempt)
    if failure == "timeout":
        expect_bound_reached(run, key)
    run.unanswered += 1
    run.counters.hold_barrier(column, scope)
    if failure == "permanent":
        call_ended(run, failed=True)
    if not fails_for_good(run, key, failure):
        if not run.counters.wanted(column, scope):
            run.counters.give_up(column, scope)
            return
        begin_backoff(run, key, until)
        return
    start, stop = run.graph.rules.scope_bounds(column, scope)
    # An output cell that is wanted waits for its barrier, and for nothing else.
    wanting = run.counters.iter_rows(column, LAST_WAIT, start)
    fails_too(run, [row for row in run.unrecorded if start <= row < stop], column)
    for row in list(takewhile(lambda row: row < stop, wanting)):
        drop_row(run, row, column)
    run.counters.give_up(column, scope)


def cancel_barrier(run: RunState, column: int, scope: int, attempt: int | None) -> None:
    """A running barrier node is cancelled: its output is unwanted, or the run stops.

    Raises:
        Violation: FAIL-04 (it was not running, or is wanted), FAIL-05 (another attempt is in
            flight), SCHED-07.
    """
    where = run.where(barrier_key(column, scope))
    state = run.counters.barrier_state(column, scope)
    if end_stray(run, barrier_key(column, scope)):
        return
    if state != RUNNING:
        refuse_complete(run, where, state, "FAIL-04", "is cancelled")
        return
    if not expect_running(run, f"cancellation of {where}"):
        return
    wanted = run.counters.wanted(column, scope)
    if wanted and not _may_cancel(run):
        run.breaks(
            "FAIL-04",
            f"{where} is cancelled although {counted(wanted, 'row')} "
            f"{noun(wanted, 'wants', 'want')} its output",
        )
    if attempt is not None:
        expect_attempt(run, barrier_key(column, scope), attempt)
    run.counters.hold_barrier(column, scope)
    if wanted:
        begin_backoff(run, barrier_key(column, scope), None)
    else:
        run.counters.give_up(column, scope)
