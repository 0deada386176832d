"""Dropped rows: from the failure that gives a row up to the engine's record of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cellspec.graph.nodes import barrier_key
from cellspec.machine.actions import Cause
from cellspec.machine.explain_refusal import expect_running
from cellspec.machine.run_state import News, RunState
from cellspec.text import counted

__all__ = ["drop_row", "fails_too", "record_drop", "unexplained"]


_DEED: Mapping[Cause, str] = {
    "failed": "failed for good",
    "filtered": "rejected the row",
    "killer": "ended the process too often",
}
"""What the column of a drop did, in the words of messages."""


def drop_row(run: RunState, row: int, column: int, cause: Cause = "failed") -> None:
    """A row is given up because a node of a column failed for good, or for another cause."""
    run.unrecorded[row] = column
    if cause != "failed":
        run.causes[row] = cause
    if run.hears_late:
        run.news[row] = News(run.now)
    run.counters.drop(row)


def fails_too(run: RunState, rows: Iterable[int], column: int) -> None:
    """Another node failed for good over rows that are given up, and that nobody has recorded."""
    for row in rows:
        if row in run.unrecorded:
            run.also_failed.setdefault(row, set()).add(column)


def record_drop(
    run: RunState, column: int, start: int, stop: int, cause: Cause | None = None
) -> None:
    """The engine records that rows ``[start, stop)`` are dropped because of a column.

    Args:
        column: the one that failed for good, or rejected the rows.
        start, stop: the rows.
        cause: why; None for "failed".

    Raises:
        Violation: DROP-01 (nothing of the row failed for good, or not this column), DROP-02
            (it is recorded already), DROP-05 (it was another cause), DROP-06 (too few processes
            died of it), SCHED-07.
    """
    if not expect_running(run, "drop"):
        return
    given = cause or "failed"
    for row in range(start, stop):
        if given == "killer":
            _give_up(run, column, row)
        if row not in run.counters.dropped:
            run.breaks("DROP-01", f"row {row} is dropped although nothing of it failed for good")
            # Not judged: the row is gone all the same, and what follows is no finding.
            drop_row(run, row, column)
        elif row not in run.unrecorded:
            run.breaks("DROP-02", f"the drop of row {row} is recorded again")
        elif column in run.also_failed.get(row, ()) and given == "failed":
            # Of failures at one instant an engine may look at any first.
            pass
        elif run.unrecorded[row] != column:
            other = run.name_of(run.unrecorded[row])
            run.breaks(
                "DROP-01",
                f"row {row} is recorded dropped because of {run.name_of(column)!r}, but it was "
                f"{other!r} that {_DEED[run.cause_of(row)]}",
            )
        elif run.cause_of(row) != given:
            run.breaks(
                "DROP-06" if "killer" in (given, run.cause_of(row)) else "DROP-05",
                f"row {row} is recorded dropped as {given}, but {run.name_of(column)!r} "
                f"{_DEED[run.cause_of(row)]}",
            )
    for row in range(start, stop):
        if run.unrecorded.pop(row, None) is not None:
            run.recorded.append(row)
            run.also_failed.pop(row, None)
            run.news.pop(row, None)


def _give_up(run: RunState, column: int, row: int) -> None:
    """Give a row up because processes died of a node of it (DROP-06), if that may be."""
    # Every cell of a dropped row is resolved.
    if run.killers is None or run.counters.is_resolved(column, row):
        return
    rule = run.graph.rules.columns[column]
    key = barrier_key(column, row // rule.scope_rows) if rule.is_barrier else (column, row)
    if not run.killers.may_give_up(key, run.now):
        tries = counted(run.killers.tries, "process", "processes")
        run.breaks(
            "DROP-06",
            f"row {row} is given up as a killer before {tries} died with {run.where(key)} in "
            "flight since it last ended well",
        )
    drop_row(run, row, column, "killer")


def unexplained(run: RunState, column: int, start: int, stop: int) -> int:
    """The first of rows ``[start, stop)`` whose cell a drop left unmade that is not recorded.

    −1 if there is none. It costs a look at the rows' bits, unless all drops are recorded.
    """
    lost = run.counters.lost.get(column)
    if not run.unrecorded or lost is None:
        return -1
    return next((row for row in lost.within(start, stop) if _is_hole(run, column, row)), -1)


def _is_hole(run: RunState, column: int, row: int) -> bool:
    """True if the drop of a row is not recorded, and left the cell unmade."""
    news = run.news.get(row)
    return row in run.unrecorded and (news is None or column not in news.made)
