"""Saving: rows become durable, and claims are begun, written, or lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cellspec.graph.rowset import parts_touched
from cellspec.machine.drops import unexplained
from cellspec.machine.explain_refusal import expect_running
from cellspec.machine.lost_writes import (
    cells_of_writes,
    has_lost_write,
    is_stored,
    note_lost_claim,
    note_lost_rows,
)
from cellspec.machine.prompt_saving import (
    begin_claim,
    begin_write,
    count_from_claim,
    count_from_now,
    end_writes,
)
from cellspec.machine.run_state import Commit, OpenWrite, RunState
from cellspec.state.claims import (
    Claim,
    Prefixes,
    Rows,
    are_prefixes,
    as_rows,
    first_outside,
    join,
    minus,
    order_gap,
    spans,
)
from cellspec.state.codes import CLAIMED
from cellspec.text import be, cell_words, counted, noun, row_words

__all__ = [
    "checkpoint_begin",
    "checkpoint_durable",
    "checkpoint_failed",
    "excuse",
    "first_unclaimable",
    "longest_claim",
    "note_kind",
    "store",
    "write_begin",
]


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
    run.has_stored, run.stored_at = True, run.now
    for column in columns:
        run.on_storage.add(column, start, stop)
    if run.now > run.excused_at:
        # Storage works again, and there was time to try what had failed once more.
        run.excused = None
    if run.writes:
        _end_writes(run, set(columns), start, stop)
    if run.lost_rows:
        # Writes that were announced are made good by their rows, others by any.
        run.lost_writes = [write for write in run.lost_writes if not is_stored(run, write)]
        run.lost_rows = bool(run.lost_writes)


def write_begin(run: RunState, columns: Sequence[int], start: int, stop: int) -> None:
    """Rows ``[start, stop)`` of some columns are handed to storage, which takes its time.

    The write is open until these rows are reported durable, or a write is reported as failed;
    while one is, the engine is not idle (SCHED-15). Rows that all are durable already open one only
    after a failed write, which is made good so, or a request to stop: else an engine could call any
    stall a write.

    Raises:
        Violation: CKPT-08 (rows that are not there), SCHED-07.
    """
    if not expect_running(run, "write_begin"):
        return
    for column in columns:
        _check_stored(run, column, start, stop, "handed to storage")
    if start == stop:
        return
    write = OpenWrite(columns, start, stop, {})
    if is_stored(run, write):
        if not (has_lost_write(run) or run.stop_requested):
            return
        write.again.update(dict.fromkeys(columns, as_rows(((start, stop),))))
    run.writes.append(write)
    begin_write(run)
    run.idle_since = None


def _end_writes(run: RunState, columns: set[int], start: int, stop: int) -> None:
    """These rows are durable: writes of which nothing is open any more are over."""
    reported = as_rows(((start, stop),))

    def is_over(write: OpenWrite) -> bool:
        again = write.again
        if not again:
            return is_stored(run, write)
        for column in columns.intersection(again):
            again[column] = minus(again[column], reported)
        return not any(again.values())

    run.writes = [write for write in run.writes if not is_over(write)]
    end_writes(run, failed=False)


def _check_stored(
    run: RunState, column: int, start: int, stop: int, what: str = "reported durable"
) -> None:
    """Refuse rows that are written, or to be written, and are not resolved."""
    if stop <= run.counters.prefix(column):
        return
    odd = run.counters.find_unresolved(column, max(start, run.durable[column]), stop)
    if odd >= 0:
        run.breaks(
            "CKPT-08",
            f"{row_words([(start, stop)])} of {run.name_of(column)!r} "
            f"{be(stop - start)} {what}, but row {odd} is not resolved; "
            f"{counted(run.counters.prefix(column), 'row')} "
            f"{be(run.counters.prefix(column))} resolved without a gap",
        )


def note_kind(run: RunState, claim: Claim, *, gaps: bool) -> None:
    """Learn from a claim, or a commit, which kind of claims the run makes."""
    run.makes_claims = True
    run.claims_by_column |= len(set(claim)) > 1
    run.claim_version = max(run.claim_version, 3 if gaps else 2 if run.claims_by_column else 1)


def longest_claim(run: RunState, version: int) -> Prefixes:
    """The longest claim that a checkpoint of this version may make: the resolved prefix."""
    if version == 2:
        return run.counters.column_prefixes()
    return (run.completed_rows,) * len(run.barrier_flags)


def checkpoint_begin(run: RunState, claim: Claim) -> None:
    """A claim is handed to storage.

    Raises:
        Violation: CKPT-05 (a column claims rows that one of its inputs does not, or out of
            order), CKPT-08 (more than is resolved), CKPT-09 (less than before), CKPT-10 (its data
            is not durable), CKPT-11 (another claim is being written), DROP-04 (it holds a cell
            that was never made, and the drop of its row is not recorded).
    """
    if not expect_running(run, "checkpoint_begin"):
        return
    if run.pending_claim is not None:
        run.breaks("CKPT-11", "a claim is begun while another is being written")
        # Not judged: either of the two may be what storage gives back.
        run.failed_claims.append(Commit(run.pending_claim, run.pending_drops))
    known = run.durable_claim
    if are_prefixes(claim) and are_prefixes(known):
        for column, rows in enumerate(claim):
            _check_claim(run, column, rows, claim, known[column])
    else:
        for column in range(len(claim)):
            _check_set(run, column, claim, known[column])
        gap = order_gap(claim, run.graph.rules, run.counters.dropped)
        if gap is not None:
            run.breaks(
                "CKPT-05",
                f"{cell_words(run.name_of(gap[0]), gap[1])} is claimed, but not the cells that "
                "come before it in order",
            )
    note_kind(run, claim, gaps=not are_prefixes(claim))
    begin_claim(run, claim)
    run.idle_since = None
    run.pending_drops = len(run.recorded)


def _check_claim(run: RunState, column: int, rows: int, claim: Prefixes, known: int) -> None:
    """Refuse a claim without gaps that says too much, or too little, of a column."""
    name = run.name_of(column)
    these = f"{counted(rows, 'row')} of {name!r} {be(rows)}"
    if rows > run.counters.prefix(column):
        run.breaks(
            "CKPT-08",
            f"{these} claimed, but only {run.counters.prefix(column)} "
            f"{be(run.counters.prefix(column))} resolved without a gap",
        )
    if rows < known:
        run.breaks("CKPT-09", f"{these} claimed after {known} {noun(known, 'was', 'were')}")
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


def _check_set(run: RunState, column: int, claim: Claim, known: Rows) -> None:
    """`_check_claim` for a claim with gaps, or after one; each reason names the first odd cell."""

    def refuse(clause: str, row: int, reason: str) -> None:
        if row >= 0:
            run.breaks(clause, f"{cell_words(run.name_of(column), row)} {reason}")

    rows = claim[column]
    refuse("CKPT-09", first_outside(known, rows), "was claimed before, and is not any more")
    for start, stop in spans(rows):
        row = first_unclaimable(run, column, start, stop)
        refuse("CKPT-08", row, f"is claimed, but {_why_unclaimable(run, column, row)}")
        row = run.on_storage.first_outside(column, start, stop)
        refuse("CKPT-10", row, "is claimed, but its data is not durable")
        row = unexplained(run, column, start, stop)
        refuse("DROP-04", row, unrecorded_words(row))
    for need in run.graph.rules.columns[column].needs:
        row = first_outside(rows, claim[need])
        refuse("CKPT-05", row, f"is claimed, but its input {run.name_of(need)!r} is not")


def unrecorded_words(row: int) -> str:
    """Words for a claimed cell that the drop of its row left unmade."""
    return f"is claimed, but was never made: row {row} was dropped, which is not recorded yet"


def first_unclaimable(run: RunState, column: int, start: int, stop: int) -> int:
    """The first of rows ``[start, stop)`` of a column that no claim may hold; −1 for none.

    A cell must be resolved, and an output cell needs its barrier to be complete too, unless it
    was claimed or its row is dropped (clause CKPT-08).
    """
    counters = run.counters
    if stop <= counters.prefix(column):
        return -1
    total = run.graph.num_records
    odd = counters.find_unresolved(column, start, min(stop, total))
    if odd < 0 and stop > total:
        odd = max(start, total)
    stop = odd if odd >= 0 else stop
    if start >= stop or not counters.open_barriers[column]:
        return odd
    for scope in parts_touched(start, stop, run.graph.rules.columns[column].scope_rows):
        if counters.is_barrier_resolved(column, scope):
            continue
        first, last = run.graph.rules.scope_bounds(column, scope)
        for row in range(max(first, start), min(last, stop)):
            exempt = row in counters.dropped or counters.is_kept(column, row)
            if counters.cells[column][row] != CLAIMED and not exempt:
                return row
    return odd


def _why_unclaimable(run: RunState, column: int, row: int) -> str:
    if row >= run.graph.num_records:
        return f"the table ends with row {run.graph.num_records - 1}"
    resolved = row >= 0 and run.counters.is_resolved(column, row)
    return "its barrier is not complete" if resolved else "is not resolved"


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
    claim = run.pending_claim
    if run.committed is not None:
        # A commit that ended meanwhile stands beside it.
        claim = tuple(map(join, claim, run.durable_claim))
    run.durable_claim = claim
    run.durable_drops = max(run.durable_drops, run.pending_drops)
    run.pending_claim = None
    run.failed_claims.clear()
    run.unsaved = False
    run.excused = None
    count_from_claim(run)


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
        sets = run.claim_version == 3
        excuse(run, run.counters.claimable() if sets else run.counters.column_prefixes())
        excuse(run, cells_of_writes(run))
        note_lost_rows(run)
        run.lost_writes += run.writes
        run.writes.clear()
        end_writes(run, failed=True)
    else:
        run.unsaved = True
        # A write that reported an error may have landed all the same.
        run.failed_claims.append(Commit(run.pending_claim, run.pending_drops))
        excuse(run, run.pending_claim)
        note_lost_claim(run, run.pending_claim)
    run.pending_claim = None
    count_from_now(run)


def excuse(run: RunState, cells: Claim) -> None:
    """A write failed that held these cells: who ends now leaves them for a reason."""
    run.excused = cells if run.excused is None else tuple(map(join, run.excused, cells))
    run.excused_at = run.now
