"""Prompt saving: by the policy that an engine declares, a save that is due must be under way.

Counted are whole rows that a claim could hold. Where claims hold any rows, the counters know how
many rows, or row groups, are resolved, and the claims and commits how many of them are claimed.
Elsewhere, and where a column is ORDERED, it is the rows from row 0 on; of claims with gaps that is
less than could be claimed, so that an engine is never blamed for a save that was not due.

After a write that failed the policy counts anew: so many rows more, another row group, or so many
seconds from then. Meanwhile the engine may leave storage alone; if more time than that is needed,
it pauses, for what it makes and cannot save is what a crash costs.
"""

from __future__ import annotations

from functools import reduce

from cellspec.machine.run_state import RunState
from cellspec.state.claims import are_prefixes, count_parts, count_rows, join, meet, normal
from cellspec.text import counted

__all__ = ["begin_save", "count_from_claim", "count_from_now", "leave_unsaved"]


def count_from_claim(run: RunState) -> None:
    """A claim is durable: the next save counts from it. O(columns)."""
    if run.saving is not None:
        run.saved_rows, run.unsaved_since, run.tried_rows = _claimed(run), None, 0


def count_from_now(run: RunState) -> None:
    """A write failed: the next save counts from here, or a full disk would be written for ever.

    What it held behind a gap is not known, and counts as tried: O(rows behind the first gap).
    """
    run.unanswered += 1
    if run.saving is not None and run.saving.seconds is not None:
        run.unsaved_since = run.now
    elif run.saving is not None:
        run.saved_rows, run.unsaved_since = _claimable(run), None
        if run.counters.parts is None:
            run.tried_rows = reduce(meet, run.counters.claimable())


def begin_save(run: RunState) -> None:
    """Rows, a claim or a commit are handed to storage: note it if a save was due just now."""
    if run.saving is None:
        return
    rows, since = _unsaved(run), run.unsaved_since
    waited = since is not None and since + (run.saving.seconds or 0.0) <= run.now
    due = waited if run.saving.seconds is not None else bool(_why_due(run, rows, run.now))
    if rows > run.saved_rows and due and run.completed_rows < run.graph.num_records:
        run.due_saves += 1


def leave_unsaved(run: RunState, t: float) -> None:
    """Time moves on to `t` seconds: a save that is due must be under way.

    Raises:
        Violation: CKPT-19.
    """
    if run.is_over or run.pending_claim is not None or run.commits or run.writes:
        return
    if (run.unsaved or run.lost_rows) and t <= run.paused_until:
        return
    rows = _unsaved(run)
    if rows <= run.saved_rows:
        return
    if run.unsaved_since is None:
        run.unsaved_since = run.now
    due = _why_due(run, rows, t)
    if due:
        run.breaks(
            "CKPT-19",
            f"{counted(rows, _unit(run))} could be claimed at t={run.now:g} s, {run.saved_rows} at "
            f"the last save; {due}, and none was begun before t={t:g} s",
        )


def _unsaved(run: RunState) -> int:
    """`_claimable`, without what a save held already behind a gap that has closed since."""
    rows = _claimable(run)
    if rows > run.saved_rows and run.counters.parts is None:
        rows -= _saved_behind_a_gap(run, rows)
    return rows


def _unit(run: RunState) -> str:
    """What is counted, as a noun."""
    by_group = run.saving is not None and run.saving.group and run.counters.parts is not None
    return "row group" if by_group else "row"


def _claimed(run: RunState) -> int:
    """How many rows, or row groups, the last durable claim holds, with the commits since."""
    parts = run.counters.parts
    if parts is None:
        return min(run.claimed_rows())
    if run.committed is not None and run.committed.parts is not None:
        return run.committed.parts.count
    return count_parts(reduce(meet, run.durable_claim), parts.size, run.graph.num_records)


def _saved_behind_a_gap(run: RunState, rows: int) -> int:
    """How many of the first rows a save held already, behind a gap that has closed since."""
    since = normal([(run.saved_rows, rows)])
    if run.committed is not None:
        tried = count_rows(meet(run.tried_rows, since))
        return run.committed.count_common(run.saved_rows, rows) + tried
    claim = run.durable_claim
    saved = 0 if are_prefixes(claim) else reduce(meet, claim)
    return count_rows(meet(join(saved, run.tried_rows), since))


def _claimable(run: RunState) -> int:
    """How many rows, or row groups, a claim could hold now; without a count, from row 0 on."""
    # Of an unrecorded drop no claim may hold a cell (DROP-04).
    parts = run.counters.parts
    if parts is None:
        rows = run.completed_rows
        return min(rows, *run.unrecorded) if run.unrecorded else rows
    unrecorded = {row // parts.size for row in run.unrecorded}
    return parts.count - sum(map(parts.is_whole, unrecorded))


def _why_due(run: RunState, rows: int, t: float) -> str:
    """Why a save is due before `t` with so many claimable rows, in words; "" if it is not."""
    policy, size = run.saving, run.limits.group_rows
    assert policy is not None
    if policy.rows is not None:
        due = rows - run.saved_rows >= policy.rows
        return f"a save is due every {counted(policy.rows, 'row')}" if due else ""
    if policy.seconds is not None:
        assert run.unsaved_since is not None
        due = t > run.unsaved_since + policy.seconds
        failed = run.unsaved or run.lost_rows
        first = "a write that failed" if failed else "the first of them, which was"
        late = f"{policy.seconds:g} s after {first} at {run.unsaved_since:g} s"
        return f"a save is due {late}" if due else ""
    if size is None:
        return ""
    whole = (
        run.counters.parts is not None
        or rows == run.graph.num_records
        or rows // size > run.saved_rows // size
    )
    return f"a save is due for every row group of {counted(size, 'row')}" if whole else ""
