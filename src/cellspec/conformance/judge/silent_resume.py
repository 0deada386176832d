"""Resumes without a claim: what the tables show of an engine that does not say where it goes on.

Such an engine is judged by its tables from its first crash on, and by those of its calls that need
no claim (`cellspec.conformance.judge.silent_calls`). What it left whole in its
table stands for what it claimed: a reader may have used it. So the clauses that a table shows are
judged as for any other engine, and this module says which of them a resume exercised, and which
situations it was in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.values import SKIPPED, Table

__all__ = ["OF_CALLS", "SilentResume", "exercised_by", "situations_of"]


OF_CALLS = frozenset(
    (
        Sometimes.CRASH_IN_BARRIER,
        Sometimes.CRASH_IN_BACKOFF,
        Sometimes.CRASH_IN_GROUP,
        Sometimes.KILLER_DROPPED,
        Sometimes.RECALLED,
        Sometimes.RECALLED_UNDER,
    )
)
"""Situations that the events of an incarnation show, whatever it resumed from."""


@dataclass(frozen=True, slots=True)
class SilentResume:
    """A run of the process that went on from a table, and reported no claim.

    Attributes:
        incarnation: its number, from 1.
        before: the table that the run before it left.
        columns: the names of all columns.
        rows_before, rows: the number of rows that the run before was asked for, and this one.
        crashes: how many runs of the process had crashed before it.
        outcome: how it ended.
        interrupted: the run before it was interrupted.
        kills: how often the cell that ended this run has ended one; 0 if none did.
        cut_write: the run before it died at a step on storage.
        barriers: the rows that each run of a barrier in it read.
        log: its events.
    """

    incarnation: int
    before: Table
    columns: tuple[str, ...]
    rows_before: int
    rows: int
    crashes: int
    outcome: str
    interrupted: bool = False
    kills: int = 0
    cut_write: bool = False
    barriers: tuple[frozenset[int], ...] = ()
    log: Sequence[Mapping[str, Any]] = ()

    @property
    def whole(self) -> frozenset[int]:
        """The rows that stood whole in the table before."""
        return frozenset(
            row
            for row, cells in self.before.rows.items()
            if row not in self.before.dropped and all(name in cells for name in self.columns)
        )


def exercised_by(resume: SilentResume) -> Iterator[str]:
    """The clauses that could have failed."""
    if resume.whole and resume.rows == resume.rows_before:
        yield from ("TABLE-05", "TABLE-09")
    if (resume.crashes or resume.interrupted) and resume.outcome == "success":
        yield "TABLE-06"
    if resume.kills > 1:
        # The harness counts deaths over runs of the process, whatever these resumed from.
        yield "DROP-06"
    if any(event["event"] == "recall" for event in resume.log):
        # Its value is compared with those that calls gave, whatever the claim was.
        yield "CKPT-25"


def situations_of(resume: SilentResume) -> Iterator[Sometimes]:
    """The situations that the run was in, as far as its tables show them."""
    whole = resume.whole
    if resume.crashes and not resume.before.rows and not resume.before.dropped:
        yield Sometimes.CRASH_EARLY
    if resume.interrupted:
        yield Sometimes.INTERRUPTED_RESUMED
    if resume.kills > 1:
        yield Sometimes.KILLED_AGAIN
    if resume.cut_write:
        yield Sometimes.CRASH_IN_CLAIM
    if 0 < len(whole) < resume.rows_before:
        yield Sometimes.CLAIM_PART
    if resume.crashes and resume.outcome == "crash":
        yield Sometimes.CRASH_TWICE
    if any(not reads.isdisjoint(whole) for reads in resume.barriers):
        yield Sometimes.BARRIER_AGAIN
    if resume.before.dropped:
        yield Sometimes.CLAIM_WITH_DROP
    if any(SKIPPED in cells.values() for cells in resume.before.rows.values()):
        yield Sometimes.CLAIM_WITH_SKIP
    if resume.rows != resume.rows_before:
        more = resume.rows > resume.rows_before
        yield Sometimes.MORE_ROWS if more else Sometimes.FEWER_ROWS
