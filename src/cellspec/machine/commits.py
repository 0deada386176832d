"""Commits: data and the claim on it in one write, which a crash leaves whole or not at all.

A commit names what is new. Its claim is what was claimed before, and these cells; so the work for
one grows with the cells that it names alone. Commits may overlap: each is checked by itself, for
any of them may land without the others.
"""

from __future__ import annotations

from cellspec.graph.rowset import GrowingRows, Ranges
from cellspec.machine.drops import unexplained
from cellspec.machine.explain_refusal import expect_running
from cellspec.machine.lost_writes import note_lost_claim
from cellspec.machine.prompt_saving import (
    begin_commit,
    count_from_claim,
    count_from_now,
    end_commit,
)
from cellspec.machine.run_state import Commit, RunState
from cellspec.machine.saving import excuse, first_unclaimable, note_kind, unrecorded_words
from cellspec.state.claims import Claim, first_outside, join, minus, spans
from cellspec.text import cell_words

__all__ = ["commit_begin", "commit_failed", "committed", "resumable"]


def commit_begin(run: RunState, cells: Claim, number: int | None) -> None:
    """Data is handed to storage in one write with the claim on it.

    Args:
        run: the run.
        cells: for each column the rows that are new.
        number: the commit's number; None while no other is open.

    Raises:
        Violation: CKPT-05 (a cell without an input, or without what comes before it in order, in
            the same commit or claimed), CKPT-08 (a cell that is not resolved), CKPT-11 (its number
            is open already), DROP-04 (a cell that was never made, and the drop of its row is not
            recorded), SCHED-07.
    """
    if not expect_running(run, "commit_begin"):
        return
    if number in run.commits:
        which = "without a number" if number is None else f"{number}"
        run.breaks("CKPT-11", f"commit {which} is begun while it is open")
    known = _claimed(run)
    for column, rows in enumerate(cells):
        for start, stop in spans(rows):
            _check_cells(run, column, start, stop)
            _check_inputs(run, known, cells, column, (start, stop))
    note_kind(run, cells, gaps=True)
    begin_commit(run, cells, number)
    run.commits[number] = Commit(cells, len(run.recorded))
    run.idle_since = None


def _claimed(run: RunState) -> GrowingRows:
    """The cells that are claimed, kept so that a commit adds to them in the work that it names."""
    if run.committed is None:
        claim = run.durable_claim
        grown = GrowingRows(run.graph.num_records, len(claim))
        for column, rows in enumerate(claim):
            for start, stop in spans(rows):
                grown.add(column, start, stop)
        run.committed = grown
    return run.committed


def _check_cells(run: RunState, column: int, start: int, stop: int) -> None:
    """Refuse cells that no claim may hold."""
    row = first_unclaimable(run, column, start, stop)
    if row >= 0:
        where = cell_words(run.name_of(column), row)
        run.breaks("CKPT-08", f"{where} is in a commit, but is not resolved")
    row = unexplained(run, column, start, stop)
    if row >= 0:
        run.breaks("DROP-04", f"{cell_words(run.name_of(column), row)} {unrecorded_words(row)}")


def _check_inputs(
    run: RunState, known: GrowingRows, cells: Claim, column: int, span: tuple[int, int]
) -> None:
    """Refuse cells without their inputs, or out of order, in the commit or claimed before."""
    rule = run.graph.rules.columns[column]
    for need in rule.needs:
        for start, stop in spans(minus(_rows(span), cells[need])):
            row = known.first_outside(need, start, stop)
            if row >= 0:
                run.breaks(
                    "CKPT-05",
                    f"{cell_words(rule.name, row)} is in a commit, but its input "
                    f"{run.name_of(need)!r} is neither in it nor claimed",
                )
    if not rule.ordered:
        return
    # A dropped row needs nothing. Of a barrier the rows of one batch may come in any order, so the
    # last row tells.
    rows = reversed(range(*span)) if rule.is_barrier else range(*span)
    mine = next((row for row in rows if row not in run.counters.dropped), None)
    if mine is None:
        return
    limit = mine // rule.scope_rows * rule.scope_rows if rule.is_barrier else mine
    for start, stop in spans(minus(_rows((known.firsts[column], limit)), cells[column])):
        row = known.first_outside(column, start, stop)
        if row >= 0:
            run.breaks(
                "CKPT-05",
                f"{cell_words(rule.name, mine)} is in a commit, but "
                f"{cell_words(rule.name, row)}, which comes before it in order, is neither in it "
                "nor claimed",
            )


def _rows(span: tuple[int, int]) -> int | Ranges:
    start, stop = span
    return 0 if start >= stop else (span,) if start else stop


def committed(run: RunState, number: int | None) -> None:
    """A commit is safe on storage: its data, and the claim on it.

    Raises:
        Violation: CKPT-11 (it is not open), SCHED-07.
    """
    if not expect_running(run, "committed"):
        return
    commit = run.commits.pop(number, None)
    if commit is None:
        run.breaks("CKPT-11", f"{_words(number)} became durable that nobody had begun")
        return
    known = _claimed(run)
    for column, rows in enumerate(commit.cells):
        for start, stop in spans(rows):
            run.on_storage.add(column, start, stop)
            known.add(column, start, stop)
    run.durable_drops = max(run.durable_drops, commit.drops)
    run.unsaved = run.lost_rows = False
    run.excused = None
    run.lost_writes.clear()
    end_commit(run, number, failed=False)
    count_from_claim(run)


def commit_failed(run: RunState, number: int | None) -> None:
    """A commit reported an error; it may be on storage all the same.

    Raises:
        Violation: CKPT-11 (it is not open), SCHED-07.
    """
    if not expect_running(run, "commit_failed"):
        return
    commit = run.commits.pop(number, None)
    if commit is None:
        run.breaks("CKPT-11", f"{_words(number)} failed that nobody had begun")
        return
    run.failed_commits.append(commit)
    run.unsaved = True
    excuse(run, commit.cells)
    note_lost_claim(run, commit.cells)
    end_commit(run, number, failed=True)
    count_from_now(run)


def _words(number: int | None) -> str:
    return "a commit" if number is None else f"commit {number}"


def resumable(run: RunState, claim: Claim) -> int | None:
    """How many recorded drops storage holds with a claim that it gave back (clause CKPT-12).

    It may give back one whole claim: the last durable one, the one being written, or one whose
    write reported an error after it. Beside it, it may hold some of the commits that were open or
    reported an error. If any choice of them makes this claim, those that lie wholly in it do.

    Returns:
        None for a claim that storage cannot have given back.
    """
    bases = [Commit(run.durable_claim, run.durable_drops)]
    if run.pending_claim is not None:
        bases.append(Commit(run.pending_claim, run.pending_drops))
    bases += run.failed_claims
    if run.committed is None:
        for base in bases:
            if base.cells == claim:
                return base.drops
        if not run.commits and not run.failed_commits:
            return None
    landed = [
        commit
        for commit in (*run.commits.values(), *run.failed_commits)
        if all(first_outside(*rows) < 0 for rows in zip(commit.cells, claim, strict=True))
    ]
    for base in bases:
        # What was committed stands beside a claim that was begun before.
        parts = [bases[0], base, *landed]
        together = parts[0].cells
        for part in parts[1:]:
            together = tuple(map(join, together, part.cells))
        if together == claim:
            return max(part.drops for part in parts)
    return None
