"""Saving: rows become durable, and claims are begun, written, or lost."""

from __future__ import annotations

from collections.abc import Iterable

from cellspec.graph.rowset import add_range
from cellspec.machine.drops import unexplained
from cellspec.machine.explain_refusal import expect_running
from cellspec.machine.run_state import RunState
from cellspec.state.claims import Prefixes
from cellspec.text import be, counted, noun, row_words

__all__ = ["checkpoint_begin", "checkpoint_durable", "checkpoint_failed", "longest_claim", "store"]


def store(run: RunState, columns: Iterable[int], start: int, stop: int) -> None:
    """Rows ``[start, stop)`` of a column, drops and skip marks among them, are on storage.

    Raises:
        Violation: CKPT-08 (rows that are not there), DROP-04 (a drop that is not recorded),
            SCHED-07.
    """
    if not expect_running(run, "durable"):
        return
    for column in columns:
        _check_stored(run, column, start, stop)
    for column in columns:
        # What is durable already was looked at, and a cell that was made stays so.
        row = unexplained(run, column, max(start, run.durable[column]), stop)
        if row >= 0:
            run.breaks(
                "DROP-04",
                f"{run.name_of(column)}[{row}] is on storage, but was never made: row {row} was "
                "dropped, which is not recorded yet",
            )
    run.lost_rows = False
    for column in columns:
        known = run.durable[column]
        later = run.stored[column]
        if start > known:
            add_range(later, start, stop)
            continue
        rows, joined = max(known, stop), 0
        while joined < len(later) and later[joined][0] <= rows:
            rows = max(rows, later[joined][1])
            joined += 1
        del later[:joined]
        run.durable[column] = rows


def _check_stored(run: RunState, column: int, start: int, stop: int) -> None:
    """Refuse rows as durable that are not resolved."""
    odd = -1
    if stop > run.counters.prefix(column):
        start_new = max(start, run.durable[column])
        odd = run.counters.find_unresolved(column, start_new, stop)
    if odd >= 0:
        run.breaks(
            "CKPT-08",
            f"{row_words([(start, stop)])} of {run.name_of(column)!r} "
            f"{be(stop - start)} reported durable, but row {odd} is not resolved; "
            f"{counted(run.counters.prefix(column), 'row')} "
            f"{be(run.counters.prefix(column))} resolved without a gap",
        )


def longest_claim(run: RunState, version: int) -> Prefixes:
    """The longest claim that a checkpoint of this version may make: the resolved prefix."""
    if version == 2:
        return run.counters.column_prefixes()
    return (run.completed_rows,) * len(run.barrier_flags)


def checkpoint_begin(run: RunState, claim: Prefixes) -> None:
    """A claim is handed to storage.

    Raises:
        Violation: CKPT-05 (a column claims rows that one of its inputs does not), CKPT-08 (more
            than is resolved), CKPT-09 (less than before), CKPT-10 (its data is not durable),
            CKPT-11 (another claim is being written), DROP-04 (it holds a cell that was never
            made, and the drop of its row is not recorded).
    """
    if not expect_running(run, "checkpoint_begin"):
        return
    if run.pending_claim is not None:
        run.breaks("CKPT-11", "a claim is begun while another is being written")
    for column, rows in enumerate(claim):
        _check_claim(run, column, rows, claim)
    run.pending_claim = claim
    run.pending_drops = len(run.recorded)


def _check_claim(run: RunState, column: int, rows: int, claim: Prefixes) -> None:
    """Refuse a claim that says too much, or too little, of a column."""
    name = run.name_of(column)
    these = f"{counted(rows, 'row')} of {name!r} {be(rows)}"
    if rows > run.counters.prefix(column):
        run.breaks(
            "CKPT-08",
            f"{these} claimed, but only {run.counters.prefix(column)} "
            f"{be(run.counters.prefix(column))} resolved without a gap",
        )
    if rows < run.durable_claim[column]:
        run.breaks(
            "CKPT-09",
            f"{these} claimed after {run.durable_claim[column]} "
            f"{noun(run.durable_claim[column], 'was', 'were')}",
        )
    if rows > run.durable[column]:
        run.breaks(
            "CKPT-10",
            f"{these} claimed, but only {run.durable[column]} {be(run.durable[column])} durable",
        )
    for need in run.graph.rules.columns[column].needs:
        if rows > claim[need]:
            run.breaks(
                "CKPT-05",
                f"{these} claimed, but only {claim[need]} of its input {run.name_of(need)!r}",
            )
    row = unexplained(run, column, run.durable[column], rows)
    if row >= 0:
        run.breaks(
            "DROP-04",
            f"{name}[{row}] is claimed, but was never made: row {row} was dropped, which is "
            "not recorded yet",
        )


def checkpoint_durable(run: RunState) -> None:
    """The claim being written is safe on storage.

    Raises:
        Violation: CKPT-11 (none was being written), SCHED-07.
    """
    if not expect_running(run, "checkpoint_durable"):
        return
    if run.pending_claim is None:
        run.breaks("CKPT-11", "a claim became durable that nobody had begun")
        return
    run.durable_claim = run.pending_claim
    run.durable_drops = run.pending_drops
    run.pending_claim = None
    run.unsaved = False


def checkpoint_failed(run: RunState) -> None:
    """The claim being written, or else rows, could not be written; the claim before stands.

    Raises:
        Violation: SCHED-07.
    """
    if not expect_running(run, "checkpoint_failed"):
        return
    if run.pending_claim is None:
        # It was the rows for the next one; a claim of other rows does not write them.
        run.lost_rows = True
    else:
        run.unsaved = True
    run.pending_claim = None
