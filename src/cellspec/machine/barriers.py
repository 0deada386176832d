"""Barrier nodes: they start, they complete, and they give their output."""

from __future__ import annotations

from cellspec.graph.nodes import (
    barrier_key,
)
from cellspec.graph.rowset import Ranges, rows_of
from cellspec.machine.attempts import expect_attempt, is_wrong_attempt, refuse_attempt
from cellspec.machine.call_bound import note_start
from cellspec.machine.calls import end_stray, start_stray
from cellspec.machine.drops import drop_row
from cellspec.machine.early_stop import call_ended
from cellspec.machine.explain_refusal import (
    expect_no_pause,
    expect_running,
    expect_starts,
    may_retry,
    reads_news,
    refuse_barrier,
    refuse_complete,
    refuse_limit,
    refuse_output,
)
from cellspec.machine.run_state import RunState
from cellspec.state.codes import (
    RANGED,
    READY,
    RUNNING,
    is_resolved,
    is_waiting,
)
from cellspec.state.moving import advance_rows
from cellspec.text import row_words

__all__ = ["complete_barrier", "emit", "start_barrier"]


def start_barrier(
    run: RunState,
    column: int,
    scope: int,
    reads: Ranges | None,
    attempt: int | None,
) -> None:
    """A barrier node starts, and reads every live row of its scope.

    Args:
        column: by position.
        scope: which of its nodes.
        reads: the rows that it reads, if the engine says so.
        attempt: the number that the engine gives it, if it does.

    Raises:
        Violation: BARR-01, BARR-06, BARR-08, SCHED-02 to SCHED-07, SCHED-11, FAIL-01 to
            FAIL-03, GROUP-01, STOP-01.
    """
    counters, key = run.counters, barrier_key(column, scope)
    state = counters.barrier_state(column, scope)
    if not expect_starts(run, run.where(barrier_key(column, scope))):
        return
    expect_no_pause(run, run.where(key))
    fits = state == READY or may_retry(run, key, state)
    if not fits:
        refuse_barrier(run, column, scope)
    if is_wrong_attempt(run, key, attempt):
        refuse_attempt(run, key, attempt)
    # What one reads that starts too early, which is not judged, is no second mistake.
    if reads is not None and fits and not _reads_right(run, column, scope, reads):
        run.breaks(
            "BARR-06",
            f"{run.where(key)} reads {row_words(reads)}, but of its scope "
            f"{row_words(counters.reads(column, scope))} should be read",
        )
    group = run.group_of[column]
    if not run.has_slot(group):
        refuse_limit(run, group, run.where(barrier_key(column, scope)))
    if run.overtaking is not None:
        run.overtaking.expect_turn(key)
    run.presumed.discard((column, scope))
    if state >= RUNNING:
        start_stray(run, key)
        return
    run.backoffs.pop(key, None)
    if run.once_read is not None:
        run.reads[key] = counters.reads(column, scope)
    counters.start_barrier(column, scope)
    note_start(run, key)
    run.begin_call(key)


def _reads_right(run: RunState, column: int, scope: int, reads: Ranges) -> bool:
    """True if a barrier node reads the rows that it should, as far as its engine may know."""
    return reads == run.counters.reads(column, scope) or reads_news(run, column, scope, reads)


def complete_barrier(
    run: RunState,
    column: int,
    scope: int,
    attempt: int | None,
    rejected: Ranges | None = None,
) -> None:
    """A running barrier node ends well: its output cells are ready.

    Args:
        column: by position.
        scope: which of its nodes.
        attempt: the attempt that ended; None for the one in flight.
        rejected: rows that its answer leaves out, if any: those that want its output are dropped
            as filtered.

    Raises:
        Violation: SCHED-04, FAIL-05 (another attempt is in flight), SCHED-07.
    """
    state, key = run.counters.barrier_state(column, scope), barrier_key(column, scope)
    if state != RUNNING or run.crashed or run.ended:
        if end_stray(run, key):
            call_ended(run, failed=False)
            return
        alive = refuse_complete(run, run.where(barrier_key(column, scope)), state)
        if not alive or is_resolved(state):
            return
        run.backoffs.pop(key, None)
    elif attempt is not None:
        expect_attempt(run, key, attempt)
    if rejected:
        for row in rows_of(rejected):
            if not run.counters.is_resolved(column, row):
                drop_row(run, row, column, "filtered")
    run.counters.resolve_barrier(column, scope)
    if run.waived:
        # Rows whose output came too early, which is not judged, are finished now.
        advance_rows(run.counters)
    if run.since_loss is not None:
        run.since_loss.add(column, scope, scope + 1)
    call_ended(run, failed=False)


def emit(run: RunState, column: int, start: int, stop: int) -> None:
    """A finished barrier gives its output cells of rows ``[start, stop)``.

    Raises:
        Violation: BARR-02 (a cell whose barrier is not complete), BARR-07 (a row that was
            dropped, or left out), SCHED-02 to SCHED-05, SCHED-07.
    """
    if not expect_running(run, f"output of {run.name_of(column)!r}"):
        return
    if run.waits_s:
        run.note_start(run.output_group)
    counters = run.counters
    body = counters.cells[column]
    ready = isinstance(body, bytearray) and body.count(READY, start, stop) == stop - start
    if ready:
        counters.resolve_range(column, start, stop)
        return
    for row in range(start, stop):
        if body[row] != READY:
            refuse_output(run, column, row)
    for row in range(start, stop):
        _take_output(run, column, row)


def _take_output(run: RunState, column: int, row: int) -> None:
    """An output cell is given, whether it is ready or, which is not judged, is not.

    One that came before its barrier had run counts as if it had: most engines that make this
    mistake do not run it afterwards.
    """
    scope = row // run.graph.rules.columns[column].scope_rows
    state = run.counters.cells[column][row]
    if is_waiting(state) and run.counters.barrier_state(column, scope) < RUNNING:
        run.backoffs.pop(barrier_key(column, scope), None)
        run.presumed.add((column, scope))
        run.counters.resolve_barrier(column, scope)
        state = run.counters.cells[column][row]
    if state < RANGED:
        run.counters.offer(column, row)
        run.counters.resolve_range(column, row, row + 1)
