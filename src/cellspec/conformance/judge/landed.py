"""What landed: the claim of a resume is held against the table that the process before it left.

Claim and data are two facts on storage. The table judge finds data that changed; this module finds
one of the two without the other, at the first moment at which both are known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from cellspec.conformance.judge.table_judge import Claimed, TableViolation, holds, holds_row
from cellspec.conformance.run.values import Table

__all__ = ["judge_landed"]


def judge_landed(
    table: Table,
    claim: Mapping[str, Claimed],
    commits: Sequence[Mapping[str, Claimed]],
    reported: Mapping[str, Claimed],
    dropped: Collection[int],
) -> Iterator[TableViolation]:
    """Each cell of which storage held the claim or the data, and not the other.

    Data without a claim is a fault of commits alone: an engine ignores what it finds beyond a
    claim. A row of which the table shows nothing may be half claimed: some tables show whole rows
    alone.

    Args:
        table: as the process before left it.
        claim: what the incarnation resumes from, by column.
        commits: the cells of each commit of the run that was begun.
        reported: cells whose data was reported durable without a commit.
        dropped: rows whose drop storage gave back.
    """
    unmade = frozenset(dropped) | table.dropped
    for name, row in _cells(claim):
        cells = table.rows.get(row)
        shown = cells is not None or holds_row(claim, row)
        if row in unmade or not shown or name in (cells or {}):
            continue
        committed = any(holds(commit.get(name, 0), row) for commit in commits)
        why = "a commit brought it" if committed else "its data was to be there before"
        yield TableViolation(
            "CKPT-18" if committed else "CKPT-10",
            f"resumed with {name}[{row}] claimed, but the table does not hold it; {why}",
            (name, row),
        )
    for commit in commits:
        for name, row in _cells(commit):
            known = holds(claim.get(name, 0), row) or holds(reported.get(name, 0), row)
            if not known and row not in unmade and name in table.rows.get(row, {}):
                yield TableViolation(
                    "CKPT-18",
                    f"the table holds {name}[{row}], which a commit brought, and the resume found "
                    "no claim on it",
                    (name, row),
                )


def _cells(claim: Mapping[str, Claimed]) -> Iterator[tuple[str, int]]:
    """The cells of a claim."""
    for name, rows in claim.items():
        for start, stop in ((0, rows),) if isinstance(rows, int) else rows:
            yield from ((name, row) for row in range(start, stop))
