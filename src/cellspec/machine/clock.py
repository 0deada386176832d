"""The clock of a run: at each moment that it leaves, all that had to start has started."""

from __future__ import annotations

from collections.abc import Callable

from cellspec.machine.backoff import end_backoffs
from cellspec.machine.call_bound import expect_none_late
from cellspec.machine.early_stop import expect_stop
from cellspec.machine.idleness import leave_moment
from cellspec.machine.pauses import end_pause
from cellspec.machine.prompt_saving import leave_unsaved
from cellspec.machine.row_groups import compile_at_rest, expect_retired, may_admit
from cellspec.machine.run_state import RunState
from cellspec.state.places import SharedPlaces
from cellspec.text import instants

__all__ = ["at", "compile_at"]


def at(run: RunState, t: float, *, ends: bool = False) -> None:
    """The clock reads `t` seconds; all that could have started before must have started.

    Args:
        t: the time.
        ends: the run reports its end now. Whether it may, with work left, is judged by that end
            (SCHED-10, SCHED-14), and not by the wait before it.

    Raises:
        Violation: SCHED-08 (time fell), SCHED-09 (dispatchable work was left when time moved),
            GROUP-06 (a row group was left waiting), SCHED-15 (work was left waiting while nothing
            was in flight), FAIL-07 (a call passed its bound), CKPT-19 (a save was due),
            GROUP-07 (a row group did not retire).
    """
    if t > run.now:
        if run.judges_delays:
            _expect_no_delay(run, t)
        while run.due and run.due[0][0] < t:
            # A node whose backoff ends at a moment without any other step is ready from then.
            _move(run, run.due[0][0], ends)
        _move(run, t, ends)
    elif t < run.now:
        before, after = instants(run.now, t)
        run.breaks("SCHED-08", f"t fell from {before} to {after}")


def _expect_no_delay(run: RunState, t: float) -> None:
    """Time moves on to `t`: no call, save or row group was due before."""
    if run.begun:
        expect_none_late(run, t)
    if run.must_stop:
        expect_stop(run, t)
    if run.saving is not None:
        leave_unsaved(run, t)
    if run.judges_retirement and run.admitted:
        expect_retired(run, t)


def _move(run: RunState, t: float, ends: bool) -> None:
    """From one moment to the next."""
    counters = run.counters
    # With every worker busy only output cells could wait, and groups where one more may be
    # admitted; the common case passes here.
    if (
        counters.load < run.workers
        or counters.ready[run.output_group]
        or run.waits_s
        or (run.waiting_groups and may_admit(run))
    ):
        leave_moment(run, t, ends=ends)
    if run.overtaking is not None:
        run.overtaking.next_step()
    if run.due:
        end_backoffs(run, t)
    else:
        run.now = t
    if run.paused_until:
        end_pause(run)


def compile_at(run: RunState) -> Callable[[float], None]:
    """`at` as a function of the time, for a driver that calls it at each event of an incarnation.

    It passes moments in which nothing could be late, or wait, by one look: every worker is busy, no
    output is to be given, no backoff ends, no row group may come or is finished.
    """
    quick = not (run.waits_s or run.hears_late or run.saving or run.bound_s is not None)
    if not quick or run.overtaking is not None:
        return lambda t: at(run, t)
    counters, due, workers, output = run.counters, run.due, run.workers, run.output_group
    ready, busy, barriers = counters.ready, counters.busy, counters.ready_barriers
    # What groups take may depend on each other: then one look does not tell.
    fixed = not isinstance(run.capacity, SharedPlaces)
    limits = list(enumerate(run.capacity[:output])) if fixed else []
    are_at_rest = None if run.limits.group_rows is None else compile_at_rest(run)

    def tick(t: float) -> None:
        load = counters.load
        if (
            (load >= workers or (fixed and load))
            and t > run.now
            and not ready[output]
            and not run.paused_until
            and (are_at_rest is None or are_at_rest())
        ):
            if load >= workers:
                # With every worker busy nothing is judged at the end of a backoff.
                while due and due[0][0] <= t:
                    end_backoffs(run, due[0][0])
            elif due and due[0][0] <= t:
                at(run, t)
                return
            else:
                # As `leave_moment` looks, group by group, for what could start now.
                for group, most in limits:
                    if (ready[group] or barriers[group]) and busy[group] < most:
                        at(run, t)
                        return
            run.now = t
        elif t != run.now:
            at(run, t)

    return tick
