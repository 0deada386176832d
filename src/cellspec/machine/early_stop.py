"""Stops: how the last calls ended, and from when starts are refused, early or on request."""

from __future__ import annotations

from cellspec.machine.explain_refusal import expect_running
from cellspec.machine.run_state import RunState
from cellspec.text import counted

__all__ = ["call_ended", "expect_stop", "request_stop", "stop"]


def call_ended(run: RunState, *, failed: bool) -> None:
    """A call ended, for the early stop: completed, or failed permanently (clause STOP-01)."""
    most = run.stop_failures
    if most is None:
        return
    ends = run.ends
    if len(ends) == ends.maxlen:
        run.failed_ends -= ends[0]
    ends.append(failed)
    run.failed_ends += failed
    full = len(ends) == ends.maxlen
    if full and run.failed_ends >= most and not run.must_stop:
        run.must_stop, run.must_stop_at = True, run.now
        if run.hears_late:
            run.judges_delays = True
        else:
            expect_stop(run, run.now)


def expect_stop(run: RunState, t: float) -> None:
    """Refuse starts from time `t` on, if an engine that must stop knows it by then (STOP-01)."""
    if "STOP-01" not in run.waived and not run.may_be_news(run.must_stop_at, at_s=t):
        run.counters.block_starts()


def stop(run: RunState) -> None:
    """The engine stops early: calls in flight may end, and starts are refused.

    Raises:
        Violation: STOP-02 (too few of the last calls failed), SCHED-07.
    """
    if not expect_running(run, "stop"):
        return
    if not run.must_stop:
        most = run.stop_failures
        detail = (
            "this run has no early stop"
            if most is None
            else f"{run.failed_ends} of the last {counted(len(run.ends), 'call')} failed "
            f"permanently; it takes {most} of {run.failures.stop_window}"
        )
        run.breaks("STOP-02", f"the run is stopped early, but {detail}")
    run.stopped = True
    if "STOP-01" not in run.waived:
        run.counters.block_starts()


def request_stop(run: RunState) -> None:
    """Somebody asks the run to stop; asking again changes nothing.

    Raises:
        Violation: SCHED-07.
    """
    if not expect_running(run, "stop_requested"):
        return
    run.stop_requested = True
    if "STOP-05" not in run.waived:
        run.counters.block_starts()
