"""Prompt saving: by the policy that an engine declares, a save that is due must be under way.

Counted are whole rows that a claim could hold. Where claims hold any rows, the counters know how
many rows, or row groups, are resolved, and the claims and commits how many of them are claimed.
Elsewhere, and where a column is ORDERED, it is the rows from row 0 on; of claims with gaps that is
less than could be claimed, so that an engine is never blamed for a save that was not due.

What open saves hold is not due: rows of a claim or commit, and rows whose data is on the way, until
it is durable. Nor is what became claimable since the oldest open save began; see
`cellspec.machine.open_saves`. By seconds, rows that a save leaves out go on waiting: nobody knows
which ones they are, so it counts as if it had taken those that had waited longest.

After a write that failed the policy counts anew: so many rows more, another row group, or so many
seconds from then. Meanwhile the engine may leave storage alone; if more time than that is needed,
it pauses, for what it makes and cannot save is what a crash costs.
"""

from __future__ import annotations

from functools import reduce
from math import inf, nextafter

from cellspec.graph.rowset import GrowingRows, WholeParts
from cellspec.machine.open_saves import Mark
from cellspec.machine.run_state import OpenWrite, RunState
from cellspec.state.claims import (
    Claim,
    Rows,
    are_prefixes,
    count_parts,
    count_rows,
    join,
    meet,
    minus,
    normal,
    prefix_of,
    spans,
)
from cellspec.state.node_states import filled
from cellspec.text import counted, instants

__all__ = [
    "begin_claim",
    "begin_commit",
    "begin_write",
    "count_from_claim",
    "count_from_now",
    "end_commit",
    "end_writes",
    "leave_unsaved",
]


def begin_claim(run: RunState, claim: Claim) -> None:
    """This claim is pending from now on: what it holds is not due. O(its ranges)."""
    if run.saving is None:
        run.pending_claim = claim
        return
    if claim != run.durable_claim:
        run.saves.begin("claim", _note_begin(run), claims=True)
    run.pending_claim = claim
    if run.held is not None:
        for column, rows in enumerate(claim):
            for start, stop in spans(minus(rows, normal(run.held.ranges(column)))):
                _hold(run.held, column, start, stop)
    run.held_rows = _count_held(run)


def begin_commit(run: RunState, cells: Claim, number: int | None) -> None:
    """These cells are about to be committed: O(cells)."""
    if run.saving is None:
        return
    held = _held(run)
    new = [
        (column, start, stop)
        for column, rows in enumerate(cells)
        for start, stop in spans(rows)
        if held.first_outside(column, start, stop) >= 0
    ]
    if new:
        run.saves.begin(f"commit {number}", _note_begin(run))
    for column, start, stop in new:
        _hold(held, column, start, stop)
    run.held_rows = _count_held(run)


def _hold(held: GrowingRows, column: int, start: int, stop: int) -> None:
    """Rows of a column are held from now on."""
    add = held.add if held.parts is None else held.add_counted
    add(column, start, stop)


def end_commit(run: RunState, number: int | None, *, failed: bool) -> None:
    """A commit is on storage, or has failed; what it held is then due again."""
    run.saves.end(f"commit {number}", run.now, failed=failed)


def begin_write(run: RunState) -> None:
    """The last of the writes begins: its rows are on the way."""
    if run.saving is not None:
        run.saves.begin(_name(run.writes[-1]), _note_begin(run))
        run.on_the_way = _on_the_way(run)


def end_writes(run: RunState, *, failed: bool) -> None:
    """Some writes are over; rows that are durable now are due, until they are claimed."""
    if run.saving is not None:
        run.saves.keep_writes(set(map(_name, run.writes)), run.now, failed=failed)
        run.on_the_way = _on_the_way(run)


def _name(write: OpenWrite) -> tuple[tuple[int, ...], int, int]:
    """A write as a key."""
    return tuple(write.columns), write.start, write.stop


def _on_the_way(run: RunState) -> Rows:
    """The rows whose data is being written, without those that are claimed whole."""
    if not run.writes:
        return 0
    rows = normal((write.start, write.stop) for write in run.writes)
    return minus(rows, reduce(meet, run.durable_claim)) if run.counters.parts else rows


def _note_begin(run: RunState) -> Mark:
    """This moment, at which a save begins: it may have been due."""
    rows, base = _claimable(run), _base(run)
    if _note_wait(run, rows):
        rows_left = rows - _held_beside(run, base, rows)
        due = rows_left > base and _why_due(run, rows_left, base, nextafter(run.now, inf))
        run.due_saves += bool(due) and run.completed_rows < run.graph.num_records
    return Mark(run.now, rows)


def count_from_claim(run: RunState) -> None:
    """A claim, or a commit, is durable: the next save counts from it.

    O(open writes, and ranges of the claim).
    """
    if run.saving is not None:
        if run.pending_claim is None:
            run.saves.end("claim", run.now)
        run.held_rows = run.held_before = run.saved_rows = _count_held(run)
        run.on_the_way = _on_the_way(run)
        run.tried_rows = 0


def count_from_now(run: RunState) -> None:
    """A write failed: the next save counts from here, or a full disk would be written for ever.

    What it held behind a gap is not known, and counts as tried: O(rows behind the first gap).
    """
    run.unanswered += 1
    if run.saving is None:
        return
    if run.pending_claim is None:
        run.saves.end("claim", run.now, failed=True)
    run.held = None
    run.held_rows = run.held_before = _count_held(run)
    if run.saving.seconds is not None:
        run.waits.clear()
        return
    run.saved_rows = _claimable(run)
    if run.counters.parts is None:
        run.tried_rows = reduce(meet, run.counters.claimable())


def leave_unsaved(run: RunState, t: float) -> None:
    """Time moves on to `t` seconds: a save that is due must be under way.

    Raises:
        Violation: CKPT-19.
    """
    if run.is_over:
        return
    assert run.saving is not None
    rows, base, since = _claimable(run), _base(run), run.saves.since
    if not _note_wait(run, rows):
        return
    if (run.unsaved or run.lost_rows) and t <= run.paused_until:
        return
    if since is not None and run.saving.seconds is None:
        rows = min(rows, since.rows)
    rows -= _held_beside(run, base, rows)
    until = t if since is None else since.at
    due = _why_due(run, rows, base, until) if rows > base else ""
    if due:
        now, later = instants(run.now, t)
        unit = "row group" if run.saving.group and run.counters.parts is not None else "row"
        what = "none was begun" if since is None else "those that were begun leave it undone"
        run.breaks(
            "CKPT-19",
            f"{counted(rows, unit)} could be claimed at t={now}, {base} at "
            f"the last save; {due}, and {what} before t={later}",
        )


def _base(run: RunState) -> int:
    """How many rows, or row groups, are no matter of the next save: others hold them."""
    return run.saved_rows + run.held_rows - run.held_before


def _note_wait(run: RunState, rows: int) -> bool:
    """Note, for a policy of seconds, since when so many rows could be claimed; false for none."""
    base = _base(run)
    assert run.saving is not None
    if run.saving.seconds is None:
        return rows > base
    if run.waits and rows < run.waits[-1][1]:
        # Results were lost; what is left waits from now on.
        run.waits.clear()
    while run.waits and run.waits[0][1] <= base:
        run.waits.popleft()
    if rows > (run.waits[-1][1] if run.waits else base):
        run.waits.append((run.now, rows))
    return rows > base


def _count_held(run: RunState) -> int:
    """How many rows, or row groups, are claimed, or held by a claim or commit that is open."""
    parts, held = run.counters.parts, None
    if run.committed is not None or run.commits:
        held = _held(run)
    claim = run.durable_claim if run.pending_claim is None else run.pending_claim
    if parts is None:
        return min(map(prefix_of, claim) if held is None else held.firsts)
    if held is not None:
        assert held.parts is not None
        return held.parts.count
    return count_parts(reduce(meet, claim), parts.size, run.graph.num_records)


def _held(run: RunState) -> GrowingRows:
    """The cells that are claimed, or in an open commit: kept while commits come, O(1) a cell."""
    if run.held is None:
        total, claim = run.graph.num_records, run.durable_claim
        for cells in (run.pending_claim, *(commit.cells for commit in run.commits.values())):
            claim = claim if cells is None else tuple(map(join, claim, cells))
        run.held = GrowingRows(total, len(claim))
        for column, rows in enumerate(claim):
            for start, stop in spans(rows):
                run.held.add(column, start, stop)
        parts = run.counters.parts
        if parts is not None:
            missing = (_missing(rows, total) for rows in claim)
            run.held.parts = WholeParts(total, parts.size, missing, len(claim))
    return run.held


def _missing(rows: Rows, total: int) -> bytearray:
    """A byte a row: 0 if it is among the rows, or else 1."""
    flags = filled(1, total)
    for start, stop in spans(rows):
        flags[start:stop] = bytes(stop - start)
    return flags


def _held_beside(run: RunState, base: int, rows: int) -> int:
    """How many more of the claimable rows are held: behind a gap, or by data on the way."""
    parts, on_the_way = run.counters.parts, spans(run.on_the_way)
    if parts is not None:
        touched = (
            (start // parts.size, (stop - 1) // parts.size + 1) for start, stop in on_the_way
        )
        return count_rows(normal(touched))
    since = normal([(base, rows)])
    found = count_rows(meet(normal(on_the_way), since))
    if run.held is not None:
        # Most that were tried are held too, if anything is.
        tried = spans(meet(run.tried_rows, since))
        more = sum(stop - start - run.held.count_common(start, stop) for start, stop in tried)
        return run.held.count_common(base, rows) + more + found
    claims = [claim for claim in (run.durable_claim, run.pending_claim) if claim is not None]
    saved: Rows = 0
    for claim in claims:
        saved = saved if are_prefixes(claim) else join(saved, reduce(meet, claim))
    return count_rows(meet(join(saved, run.tried_rows), since)) + found


def _claimable(run: RunState) -> int:
    """How many rows, or row groups, a claim could hold now; without a count, from row 0 on."""
    # Of an unrecorded drop no claim may hold a cell (DROP-04).
    parts = run.counters.parts
    if parts is None:
        rows = run.completed_rows
        return min(rows, *run.unrecorded) if run.unrecorded else rows
    unrecorded = {row // parts.size for row in run.unrecorded}
    return parts.count - sum(map(parts.is_whole, unrecorded))


def _why_due(run: RunState, rows: int, base: int, t: float) -> str:
    """Why a save is due by `t` with so many claimable rows, in words; "" if it is not."""
    policy, size = run.saving, run.limits.group_rows
    assert policy is not None
    if policy.rows is not None:
        due = rows - base >= policy.rows
        return f"a save is due every {counted(policy.rows, 'row')}" if due else ""
    if policy.seconds is not None:
        held = run.waits[-1][1] - (rows - base)
        since = next(at for at, count in run.waits if count > held)
        failed = run.unsaved or run.lost_rows
        first = "a write that failed" if failed else "the first of them, which was"
        late = f"{policy.seconds:g} s after {first} at {since:g} s"
        return f"a save is due {late}" if t > since + policy.seconds else ""
    if size is None:
        return ""
    whole = (
        run.counters.parts is not None
        or rows == run.graph.num_records
        or rows // size > base // size
    )
    return f"a save is due for every row group of {counted(size, 'row')}" if whole else ""
