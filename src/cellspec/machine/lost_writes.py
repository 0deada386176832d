"""Writes that failed: what they held, and whether it was written since.

An engine whose disk is full for a while may go on, save what comes later, and say at the end that
something was lost; or it may give up at once. Both are right as long as what a failed write held is
not safe. So the machine remembers it for the rest of the incarnation: of a claim or a commit its
cells, of rows those that the engine had announced, else every row that it could have written.
"""

from __future__ import annotations

from cellspec.machine.run_state import OpenWrite, RunState
from cellspec.state.claims import Claim, as_rows, first_outside, join, spans

__all__ = [
    "cells_of_writes",
    "give_up",
    "has_failed_write",
    "has_lost_claim",
    "has_lost_rows",
    "has_lost_write",
    "is_stored",
    "note_lost_claim",
    "note_lost_rows",
]


def cells_of_writes(run: RunState) -> Claim:
    """The cells of the rows that are handed to storage, in writes that are not over."""
    found: Claim = (0,) * run.graph.num_columns
    for write in run.writes:
        held, columns = as_rows(((write.start, write.stop),)), range(run.graph.num_columns)
        cells = tuple(held if column in write.columns else 0 for column in columns)
        found = tuple(map(join, found, cells))
    return found


def is_stored(run: RunState, write: OpenWrite) -> bool:
    """True if every row of a write is on storage."""
    columns, start, stop, _ = write
    return all(run.on_storage.first_outside(column, start, stop) < 0 for column in columns)


def note_lost_rows(run: RunState) -> None:
    """Rows could not be written: those of the open writes, or any that are resolved."""
    announced = not all(is_stored(run, write) for write in run.writes)
    cells = cells_of_writes(run) if announced else run.counters.claimable()
    run.lost_cells = _joined(run.lost_cells, cells)


def note_lost_claim(run: RunState, cells: Claim) -> None:
    """A claim of these cells, or a commit, could not be written."""
    run.lost_claims = _joined(run.lost_claims, cells)


def _joined(known: Claim | None, cells: Claim) -> Claim:
    return cells if known is None else tuple(map(join, known, cells))


def has_failed_write(run: RunState) -> bool:
    """True if a write failed in this incarnation, whatever came of it: the run may give up."""
    return run.lost_cells is not None or run.lost_claims is not None


def has_lost_rows(run: RunState) -> bool:
    """True if rows could not be written in this incarnation, and some are not on storage."""
    return run.lost_rows or any(
        run.on_storage.first_outside(column, start, stop) >= 0
        for column, rows in enumerate(run.lost_cells or ())
        for start, stop in spans(rows)
    )


def has_lost_claim(run: RunState) -> bool:
    """True if a claim or commit could not be written in this incarnation, and is not claimed."""
    return run.unsaved or any(
        first_outside(rows, claimed) >= 0
        for rows, claimed in zip(run.lost_claims or (), run.durable_claim, strict=False)
    )


def has_lost_write(run: RunState) -> bool:
    """True if what a failed write of this incarnation held is not safe."""
    return has_lost_rows(run) or has_lost_claim(run)


def give_up(run: RunState, clause: str, why: str) -> None:
    """After a lost write the engine shows that it goes on no more: nothing may start from here on.

    Args:
        run: the run, which may fail.
        clause: what a later start in this incarnation breaks.
        why: what showed it, in words that follow "although".
    """
    run.gave_up = run.gave_up or (clause, why)
    if clause not in run.waived:
        run.counters.block_starts()
