"""Pauses: the engine says that it starts no call before a time (clause SCHED-16).

A pause is the engine's own answer to trouble: an endpoint turned a call away, or storage a write,
and it leaves both alone, with everything else. It excuses idleness (SCHED-15) and, after a failed
write, a save that is due (CKPT-19), so it may not be had for nothing: each one answers a call or a
write that failed, and has an end. An engine that looks at several ended calls together answers
each of them when it likes, so they are counted. Output that is there already may be given
meanwhile, row groups may be admitted and data saved, for none of that calls anybody.
"""

from __future__ import annotations

import math

from cellspec.machine.explain_refusal import expect_running
from cellspec.machine.run_state import RunState

__all__ = ["end_pause", "pause"]


def pause(run: RunState, until: float | None) -> None:
    """The engine starts no call before `until`, in seconds; a longer pause stays as it was.

    Args:
        until: the end; None if it has none.

    Raises:
        Violation: SCHED-16 (a pause without an end, or with no failure left to answer), SCHED-07.
    """
    if not expect_running(run, "pause"):
        return
    if until is None or not math.isfinite(until):
        run.breaks("SCHED-16", "the engine pauses, and names no end of the pause")
        return
    if run.unanswered:
        run.unanswered -= 1
    else:
        run.breaks(
            "SCHED-16",
            f"the engine pauses until t={until:g} s, and each call or write that failed before "
            "has had its pause, or none failed",
        )
    run.paused_until = max(run.paused_until, until)
    if run.is_paused and "SCHED-16" not in run.waived:
        run.counters.block_calls()


def end_pause(run: RunState) -> None:
    """The clock moved: once the pause is over, calls may start again."""
    if run.is_paused:
        return
    run.paused_until = 0.0
    if not run.is_over:
        run.counters.allow_calls()
