"""The clock of a run: all work that could start has started when time moves on."""

from __future__ import annotations

from cellspec.machine.backoff import end_backoffs
from cellspec.machine.call_bound import expect_none_late
from cellspec.machine.enabled import key_of, of_state
from cellspec.machine.prompt_saving import leave_unsaved
from cellspec.machine.row_groups import leave_groups
from cellspec.machine.run_state import RunState
from cellspec.state.codes import (
    READY,
)

__all__ = ["at", "dispatchable"]


def at(run: RunState, t: float) -> None:
    """The clock reads `t` seconds; all that could have started before must have started.

    Raises:
        Violation: SCHED-08 (time fell), SCHED-09 (dispatchable work was left when time moved),
            GROUP-06 (a row group was left waiting), FAIL-07 (a call passed its bound), CKPT-19 (a
            save was due).
    """
    if t > run.now:
        if run.begun:
            expect_none_late(run, t)
        if run.saving is not None:
            leave_unsaved(run, t)
        while run.due and run.due[0][0] < t:
            # A node whose backoff ends at a moment without any other step is ready from then.
            _leave_moment(run, run.due[0][0])
            end_backoffs(run, run.due[0][0])
        _leave_moment(run, t)
        end_backoffs(run, t)
    elif t < run.now:
        run.breaks("SCHED-08", f"t fell from {run.now:g} s to {t:g} s")


def _leave_moment(run: RunState, t: float) -> None:
    """Time moves on to `t`: all that could have started must have started."""
    # With every worker busy only output cells and groups could wait; the common case ends here.
    counters = run.counters
    if (
        t > run.now
        and run.judges_idleness
        and (counters.load < run.workers or counters.ready[run.output_group] or run.waiting_groups)
        and not (run.crashed or run.ended or run.is_stopping)
    ):
        if not run.drops_rows and run.gives_up():
            return
        idle = dispatchable(run)
        if idle:
            run.breaks(
                "SCHED-09",
                f"{idle} at t={run.now:g} s was ready, with a worker and its resource "
                f"free, and was not started before t={t:g} s",
            )
        leave_groups(run, t)


def dispatchable(run: RunState) -> str:
    """One node that could start now, in words; "" if there is none. O(resources)."""
    ready, barriers = run.counters.ready, run.counters.ready_barriers
    if ready[run.output_group]:
        return _find_ready(run, run.output_group)
    if run.counters.load >= run.workers:
        return ""
    for group in range(run.output_group):
        if (ready[group] or barriers[group]) and run.has_slot(group):
            return _find_ready(run, group)
    return ""


def _find_ready(run: RunState, group: int) -> str:
    """The first ready node of a group, in words."""
    for action in of_state(run, "start", READY):
        column = run.graph.rules.index[action.column]
        output = action.scope is None and run.barrier_flags[column]
        if (run.output_group if output else run.group_of[column]) == group:
            key = key_of(column, action)
            return run.where(key)
    raise AssertionError("a ready count has no ready node")
