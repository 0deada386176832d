"""What a run could have claimed when it ended, and did not.

It depends on the claims that the run makes. Of whole rows it is the rows from row 0 on that are
resolved; by column, those of each column; of any rows, every row that is resolved, or every cell.
The trace says of which kind they are (`claim_version` in its header), or the claims show it.
"""

from __future__ import annotations

from functools import reduce

from cellspec.machine.run_state import RunState
from cellspec.machine.saving import longest_claim
from cellspec.state.claims import Claim, Rows, covers, first_outside, join, meet, prefix_of
from cellspec.text import be, cell_words, counted

__all__ = ["unsaved"]


def unsaved(run: RunState) -> str:
    """Cells that could be claimed and are not, in words; "" if there are none.

    Of a run without claims, finished rows that are not durable, if it reports any as durable and
    a later process goes on from its table. A claim that could not be written, or rows, excuse what
    the write held, until the next claim is durable, or other rows at a later time.
    """
    excused = _excused(run)
    if not run.claim_version:
        return _not_durable(run, excused) if run.has_stored and run.resumes else ""
    if run.claim_version == 3:
        return _beyond_gaps(run, excused)
    known, end = run.durable_claim, _known_rows(run)
    for column, most in enumerate(longest_claim(run, run.claim_version)):
        rows = min(most, end)
        if rows > prefix_of(join(known[column], excused[column])):
            claimed = prefix_of(known[column])
            return (
                f"{counted(rows, 'row')} of {run.name_of(column)!r} could be claimed, and "
                f"{claimed} {be(claimed)}"
            )
    return ""


def _known_rows(run: RunState) -> int:
    """The rows before the first drop that is not recorded, by an engine that ends with it."""
    return min(run.unrecorded, default=run.graph.num_records)


def _excused(run: RunState) -> Claim:
    """By column the rows that need not be claimed, for their write failed."""
    if run.excused is None or not (run.unsaved or run.lost_rows):
        return (0,) * run.graph.num_columns
    return run.excused


def _not_durable(run: RunState, excused: Claim) -> str:
    """Live rows finished without a gap that are not durable, in words; "" if there are none."""
    done = min(run.completed_rows, _known_rows(run))
    for column, durable in enumerate(run.durable):
        row = run.on_storage.first_outside(column, durable, done)
        while row >= 0 and (row in run.counters.dropped or covers(excused[column], row)):
            row = run.on_storage.first_outside(column, row + 1, done)
        if row >= 0:
            return f"{counted(done, 'row')} finished, and {durable} {be(durable)} durable"
    return ""


def _beyond_gaps(run: RunState, excused: Claim) -> str:
    """The first cell that a claim of any rows could hold, in words; "" if there is none."""
    # A cell whose input was lost, say, is claimed with the input or not at all.
    claim = run.counters.claimable()
    if not run.claims_by_column:
        claim = (_whole_rows(run, claim),) * len(claim)
    for column, rows in enumerate(run.durable_claim):
        mine = meet(claim[column], min(_in_order(run, column), _known_rows(run)))
        row = first_outside(mine, join(rows, excused[column]))
        if row >= 0:
            return f"{cell_words(run.name_of(column), row)} could be claimed, and is not"
    return ""


def _whole_rows(run: RunState, claim: Claim) -> Rows:
    """The rows of which a claim holds every cell; in order, if a column is ORDERED."""
    rows = reduce(meet, claim)
    return prefix_of(rows) if run.in_order else rows


def _in_order(run: RunState, column: int) -> int:
    """How many rows of a column, from row 0 on, may be claimed whatever else is.

    Output of an ordered barrier is claimed with that of the batches before, or not at all.
    """
    total, counters = run.graph.num_records, run.counters
    rows = total
    for each in _upstream(run, column):
        rule = run.graph.rules.columns[each]
        if rule.is_barrier and rule.ordered and (done := counters.prefix(each)) < total:
            rows = min(rows, done - done % rule.scope_rows)
    return rows


def _upstream(run: RunState, column: int) -> set[int]:
    """A column, and all that its cells depend on."""
    found, left = set(), [column]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += run.graph.rules.columns[one].needs
    return found
