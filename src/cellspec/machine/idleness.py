"""Idleness: work that could start and does not, and how long it may wait.

Three clauses judge it when time moves on. SCHED-09 and GROUP-06 allow an engine that conserves
work no wait at all. SCHED-15 holds every engine to less: while *nothing* happens (no call is in
flight, no storage step runs, and no pause was reported) ready work waits no longer than declared.

After a write that failed an engine may give up, and then its work waits rightly: whether it did is
known once something starts, or the run ends.

Without a declared wait and without slack one look at the state decides, for any passing of time is
too long. Otherwise a wait is measured over the moments of the run: it begins when work could start
and ends when some of that work starts, so an engine that is busy starting is not idle.
"""

from __future__ import annotations

from cellspec.graph.nodes import NodeKey
from cellspec.machine.enabled import key_of, of_state
from cellspec.machine.lost_writes import give_up, has_lost_write
from cellspec.machine.row_groups import count_waiting, finished_group, may_admit
from cellspec.machine.run_state import RunState, is_over
from cellspec.state.codes import READY, SKIP_READY
from cellspec.text import cell_words, counted, instants, noun

__all__ = ["dispatchable", "leave_moment"]


def leave_moment(run: RunState, t: float, *, ends: bool) -> None:
    """Time moves on to `t`: work that could have started must have, as far as it is promised.

    Raises:
        Violation: SCHED-09 (dispatchable work waits), GROUP-06 (a row group waits), SCHED-15
            (work waits, and nothing is in flight), STOP-05 (the run should have ended: a stop was
            requested, and nothing is in flight).
    """
    if run.is_over:
        return
    if run.stop_requested and run.judges_progress:
        _expect_end(run, t)
    if run.is_stopping:
        return
    if run.judges_idleness:
        if run.slack_s:
            _measure_waits(run, t)
        elif may_admit(run) or _dispatchable_groups(run):
            _expect_no_wait(run, t)
    if run.judges_progress and not ends:
        if not run.counters.load:
            _expect_progress(run, t)
        elif run.waits_s:
            run.idle_since = None


# An engine that conserves work


def _expect_no_wait(run: RunState, t: float) -> None:
    """Nothing that could start waits at all."""
    if run.gives_up():
        return
    idle = dispatchable(run)
    if idle:
        now, later = instants(run.now, t)
        _refuse_wait(
            run,
            "SCHED-09",
            f"{idle} at t={now} was ready, with a worker and its resource "
            f"free, and was not started before t={later}",
        )
    if may_admit(run):
        _expect_admission(run, run.now, t)


def _measure_waits(run: RunState, t: float) -> None:
    """No group of work waits for longer than the slack without a start."""
    if run.gives_up():
        return
    since = run.waiting_since
    open_groups = set(_dispatchable_groups(run))
    if may_admit(run):
        open_groups.add(run.output_group + 1)
    for group, began in enumerate(since):
        if group not in open_groups:
            since[group] = None
            continue
        since[group] = began = run.now if began is None else began
        if not is_over(t, began, run.slack_s):
            continue
        if group > run.output_group:
            _expect_admission(run, began, t)
        elif "SCHED-09" not in run.waived:
            _refuse_wait(
                run,
                "SCHED-09",
                f"{_find_ready(run, group)} is ready, and since t={began:g} s a worker and its "
                f"resource were free and nothing that takes it was started before t={t:g} s, "
                f"which is longer than the slack of {run.slack_s:g} s",
            )


def _expect_admission(run: RunState, since_s: float, t: float) -> None:
    """No row group waits that the limit would admit."""
    if "GROUP-06" in run.waived:
        return
    waits = _waiting_groups(run)
    if waits:
        most = run.limits.groups
        since, later = instants(since_s, t)
        _refuse_wait(
            run,
            "GROUP-06",
            f"{waits} {noun(run.waiting_groups, 'waits', 'wait')} at t={since} with "
            f"{len(run.admitted)} of {'any number' if most is None else most} admitted, and "
            f"none was admitted before t={later}",
        )


def _refuse_wait(run: RunState, clause: str, words: str) -> None:
    """Work waits that need not. After a lost write a later start shows that it was not given up."""
    if clause in run.waived:
        return
    if has_lost_write(run):
        give_up(run, clause, f"{words}, after a write that failed")
    else:
        run.breaks(clause, words)


def _waiting_groups(run: RunState) -> str:
    """How many row groups wait to be admitted, in words; "" for none."""
    waiting = count_waiting(run)
    return counted(waiting, "row group") if waiting else ""


# Every engine


def _expect_progress(run: RunState, t: float) -> None:
    """While nothing is in flight, work does not wait for longer than the engine declared."""
    since = max(run.now, run.paused_until)
    if since >= t or run.stores or run.starts_no_more():
        run.idle_since = None
        return
    groups = _dispatchable_groups(run)
    others = groups or may_admit(run)
    over = None if others else finished_group(run)
    skip = "" if others else _find_skip(run)
    if not others and over is None and not skip:
        run.idle_since = None
        return
    if run.waits_s:
        if run.idle_since is not None:
            since = max(run.idle_since, run.paused_until)
        run.idle_since = since
        if not is_over(t, since, run.idle_s + run.slack_s):
            return
    waits = skip or (_find_ready(run, groups[0]) if groups else _waiting_groups(run))
    if waits and not skip and over is not None:
        waits += f", for row group [{over[0]}:{over[1]}], whose rows are all resolved,"
    if waits:
        declared = f", for longer than the declared {run.idle_s:g} s" if run.idle_s else ""
        began, later = instants(since, t)
        run.breaks(
            "SCHED-15",
            f"{waits} waited from t={began} to t={later} with nothing in flight, and no write "
            f"reported as begun{declared}",
        )


def _find_skip(run: RunState) -> str:
    """One cell that only has to be skipped, as an input of it was, in words; "" if there is none.

    Its byte is looked for, O(cells): only while nothing is in flight, and nothing else could start.
    """
    for rule in run.graph.rules.columns if run.counters.skipped else ():
        row = next(run.counters.iter_rows(rule.index, SKIP_READY), -1)
        if row >= 0:
            return f"{cell_words(rule.name, row)}, which is to be skipped,"
    return ""


def _expect_end(run: RunState, t: float) -> None:
    """After a request to stop only calls in flight and storage take time, or its next try."""
    if has_lost_write(run):
        return
    if run.counters.load or run.stores or not is_over(t, run.now, run.idle_s + run.slack_s):
        return
    now, later = instants(run.now, t)
    run.breaks(
        "STOP-05",
        f"a stop was requested, and the run waited from t={now} to t={later} with nothing in "
        "flight, and no write reported as begun, in place of its end",
    )


# What could start


def dispatchable(run: RunState) -> str:
    """One node that could start now, in words; "" if there is none. O(resources)."""
    groups = _dispatchable_groups(run)
    return _find_ready(run, groups[0]) if groups else ""


def _dispatchable_groups(run: RunState) -> list[int]:
    """The groups of work of which something could start now; output, which takes no slot, first."""
    counters, capacity = run.counters, run.capacity
    ready, barriers, busy = counters.ready, counters.ready_barriers, counters.busy
    found = [run.output_group] if ready[run.output_group] else []
    if counters.load < run.workers:
        for group in range(run.output_group):
            if (ready[group] or barriers[group]) and busy[group] < capacity[group]:
                found.append(group)
    if run.killers is not None and run.killers.spent:
        return [group for group in found if _first_ready(run, group) is not None]
    return found


def _find_ready(run: RunState, group: int) -> str:
    """The first ready node of a group, in words."""
    key = _first_ready(run, group)
    assert key is not None, "a ready count has no ready node"
    return run.where(key)


def _first_ready(run: RunState, group: int) -> NodeKey | None:
    """The first ready node of a group, but for cells that are given up as killers (DROP-06)."""
    spent = run.killers.spent if run.killers is not None else ()
    for action in of_state(run, "start", READY):
        column = run.graph.rules.index[action.column]
        output = action.scope is None and run.barrier_flags[column]
        if (run.output_group if output else run.group_of[column]) == group:
            key = key_of(column, action)
            if key not in spent:
                return key
    return None
