"""The end of a run: which outcome its state allows it to report."""

from __future__ import annotations

from itertools import chain

from cellspec.graph.nodes import (
    NodeKey,
    column_of,
    is_barrier_key,
    place_of,
)
from cellspec.machine.actions import Outcome
from cellspec.machine.enabled import key_of, of_state, skips, starts, waits_again
from cellspec.machine.explain_refusal import expect_running
from cellspec.machine.lost_writes import (
    has_failed_write,
    has_lost_claim,
    has_lost_rows,
    has_lost_write,
)
from cellspec.machine.resuming import halt
from cellspec.machine.row_groups import way_of_groups
from cellspec.machine.run_state import RunState
from cellspec.machine.unclaimed import unsaved
from cellspec.state.codes import (
    BACKOFF,
    RUNNING,
)
from cellspec.text import be, counted

__all__ = ["end", "expect_failure", "stuck"]


def end(run: RunState, outcome: Outcome) -> None:
    """The run reports how it ended.

    Raises:
        Violation: SCHED-10 (success with a row that is not complete, or not durable), DROP-04
            (with a drop that is not recorded), STOP-03 (stopped or not, and the other said),
            STOP-04 (failure with all work done and saved), SCHED-14 (failure, and nothing
            stood in the way), STOP-06 (interrupted without a request, or a request that is
            called an early stop), STOP-07 (interrupted with less claimed than could be), STOP-08
            (ended after an early stop, or when one was due, with less claimed than could be),
            STOP-09 (the same, or interrupted, with a call in flight), CKPT-22 (success without a
            claim of everything), CKPT-23 (success after a write that failed for good), SCHED-07.
    """
    if not expect_running(run, "end"):
        return
    fails_for_it = outcome == "failed" and (run.gives_up() or has_failed_write(run))
    if run.unrecorded and not fails_for_it:
        row = min(run.unrecorded)
        run.breaks("DROP-04", f"the run ends, but the drop of row {row} is not recorded")
    if outcome == "success":
        _expect_success(run)
    elif outcome == "failed":
        expect_failure(run)
        _expect_stop_in_failure(run)
    else:
        _expect_stop(run, outcome)
    run.ended = True
    halt(run)


def _expect_stop(run: RunState, outcome: Outcome) -> None:
    """Refuse an end as interrupted or stopped without its cause, or that leaves work behind."""
    if outcome == "interrupted":
        _expect_interruption(run)
    elif not run.stopped and run.stop_requested:
        run.breaks("STOP-06", "the run ends as stopped; a stop was requested, and none came early")
    elif not run.stopped:
        run.breaks("STOP-03", "the run ends as stopped, and had not stopped early")
    elif left := unsaved(run):
        run.breaks("STOP-08", f"the run stops early, and {left}")
    _expect_no_calls(run, outcome)


def _expect_no_calls(run: RunState, outcome: Outcome) -> None:
    """Refuse an end of a stopped run beside its calls."""
    running = run.counters.load
    if running:
        calls = f"{counted(running, 'call')} {be(running)}"
        run.breaks("STOP-09", f"the run ends as {outcome}, and {calls} in flight")


def _expect_stop_in_failure(run: RunState) -> None:
    """Refuse a failure, by which an early stop is told, that leaves work behind."""
    if not run.stopped and not run.must_stop:
        return
    if left := unsaved(run):
        when = "after an early stop" if run.stopped else "where an early stop is due"
        run.breaks("STOP-08", f"the run ends as failed {when}, and {left}")
    if not has_lost_write(run) and not _lost_a_row(run):
        _expect_no_calls(run, "failed")


def _lost_a_row(run: RunState) -> bool:
    """True of a run that may fail because a row did, without which it cannot go on."""
    return run.failed_for_good and not run.drops_rows


def _expect_success(run: RunState) -> None:
    """Refuse success if a row is not complete, or not durable."""
    total = run.graph.num_records
    if run.stopped:
        run.breaks("STOP-03", "success is reported by a run that stopped early")
    if run.completed_rows != total:
        run.breaks(
            "SCHED-10",
            f"success with {run.completed_rows} of {counted(total, 'row')} complete",
        )
    lost = has_lost_rows(run)
    for column, rows in enumerate(run.durable):
        if rows != total:
            run.breaks(
                "CKPT-23" if lost else "SCHED-10",
                f"success with {rows} of {counted(total, 'row')} of "
                f"{run.name_of(column)!r} durable from row 0 on"
                + (", after a write of rows that failed" if lost else ""),
            )
    _expect_claimed(run)


def _expect_claimed(run: RunState) -> None:
    """Refuse success of a run that claims rows, and has not claimed them all."""
    if not run.makes_claims:
        return
    total, lost = run.graph.num_records, has_lost_claim(run)
    for column, rows in enumerate(run.claimed_rows()):
        if rows != total:
            run.breaks(
                "CKPT-23" if lost else "CKPT-22",
                f"success with {rows} of {counted(total, 'row')} of "
                f"{run.name_of(column)!r} claimed from row 0 on"
                + (", after a claim that could not be written" if lost else ""),
            )


def _expect_interruption(run: RunState) -> None:
    """Refuse an interruption that nobody asked for, or that leaves finished work behind."""
    if not run.stop_requested:
        run.breaks("STOP-06", "the run ends as interrupted, and no stop was requested")
    left = unsaved(run)
    if left:
        run.breaks("STOP-07", f"the run ends as interrupted, but {left}{_open_claim(run)}")


def expect_failure(run: RunState) -> None:
    """Refuse failure if success was possible."""
    total = run.graph.num_records
    if run.completed_rows == total and min(run.durable) == total:
        # An engine that could not claim its rows makes them again in the next incarnation.
        if not has_lost_claim(run):
            run.breaks(
                "STOP-04",
                "the run ends as failed with every row resolved and durable, and no claim "
                f"that could not be written{_open_claim(run)}",
            )
        return
    # A run that has given up, on a call or on work that waits, did so after a failed write.
    stood = has_failed_write(run) or _lost_a_row(run)
    if stood or run.stopped or run.must_stop:
        return
    left = _way_forward(run)
    if left:
        words = f"the run gives up although {left}{_open_claim(run)}"
        run.breaks("SCHED-14", words)


def _open_claim(run: RunState) -> str:
    """Words for a claim in flight: that it could not be written would have to be reported."""
    if run.pending_claim is None:
        return ""
    return "; that the claim it began could not be written is not reported"


def _way_forward(run: RunState) -> str:
    """One thing by which the run could go on, in words; "" if there is none."""
    if run.completed_rows == run.graph.num_records:
        return "every row is resolved, and nothing kept the rest from storage"
    running = run.counters.load
    if running:
        return f"{counted(running, 'call')} {be(running)} in flight"
    for action in chain(starts(run), of_state(run, "complete", RUNNING)):
        key = key_of(run.graph.rules.index[action.column], action)
        return f"{run.where(key)} is ready, and its places are free"
    for key in run.backoffs:
        if _waits_for_attempt(run, key):
            return f"{run.where(key)} may be tried again"
    for action in skips(run):
        key = key_of(run.graph.rules.index[action.column], action)
        return f"{run.where(key)} is to be skipped"
    return way_of_groups(run)


def _waits_for_attempt(run: RunState, key: NodeKey) -> bool:
    """True for a node that failed and waits for its next attempt alone."""
    if is_barrier_key(key):
        state = run.counters.barrier_state(column_of(key), place_of(key))
    else:
        state = run.counters.cells[key[0]][key[1]]
    return state == BACKOFF and not waits_again(run, key)


def stuck(run: RunState) -> None:
    """The driver finds that the run is deadlocked.

    Raises:
        Violation: SCHED-12, if the run has not ended.
    """
    if not run.ended:
        run.breaks(
            "SCHED-12",
            f"nothing can ever run again at t={run.now:g} s, with {run.completed_rows} of "
            f"{counted(run.graph.num_records, 'row')} complete",
        )
