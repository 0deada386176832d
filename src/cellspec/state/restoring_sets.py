"""The bytes of a column at the start of an incarnation, if it or an input was claimed with a gap.

A claim with few edges is filled in piece by piece. One with many is worked out for all cells at
once: a column of bytes is one long integer, so that one subtraction counts down every cell. What a
cell waits for is at most `MAX_NEEDS` inputs, its turn and its row group, so no byte carries over
into the next.
"""

from __future__ import annotations

from collections.abc import Iterator

from cellspec.graph.rowset import RowSet, flagged
from cellspec.graph.rules import ColumnRule
from cellspec.state.claims import Claim, Rows, covers, prefix_of, spans
from cellspec.state.codes import CLAIMED, DROPPED_BEHIND, LAST_WAIT, READY
from cellspec.state.node_states import NodeStates, Uniform, filled

__all__ = ["FEW_EDGES", "FEW_RANGES", "claimed_flags", "fill_column", "ready_runs"]

FEW_EDGES = 256
"""Up to so many edges of ranges, of a column and its inputs, pieces are faster."""

FEW_RANGES = 2_048
"""Up to so many ranges of a column, setting the bits of each is faster."""

_IS_READY = bytes(code == READY for code in range(256))
_IS_CLAIMED = bytes(code in (CLAIMED, DROPPED_BEHIND) for code in range(256))
_AS_OUTPUT = bytes(CLAIMED if claimed else LAST_WAIT for claimed in range(256))


def fill_column(nodes: NodeStates, rule: ColumnRule, claim: Claim) -> bytearray:
    """The states of a column's cells, of which some are not claimed.

    Its inputs' states are there already, and no row is dropped yet.

    A cell of an ordered column that is claimed behind a gap is of a dropped row (clause CKPT-05):
    its turn is still to come, and is then handed on.
    """
    total = nodes.rules.num_records
    mine = claim[rule.index]
    if rule.is_barrier:
        body = _flags_of(mine, total).translate(_AS_OUTPUT)
    elif _count_edges(rule, claim) <= FEW_EDGES:
        body = _fill_pieces(nodes, rule, claim)
    else:
        body = _fill_at_once(nodes, rule, claim)
    if rule.ordered and not rule.is_barrier:
        body[prefix_of(mine)] -= 1
    if not isinstance(mine, int):
        rows = (
            RowSet.from_ranges(total, mine)
            if len(mine) <= FEW_RANGES
            else RowSet.from_flags(body.translate(_IS_CLAIMED))
        )
        nodes.claimed_sets[rule.index] = rows
        nodes.open_cells[rule.index] = total - len(rows)
    return body


def claimed_flags(nodes: NodeStates, column: int) -> bytearray:
    """A byte for each cell of a column: 1 if it was claimed, or else 0. While no row is dropped."""
    body = nodes.cells[column]
    if isinstance(body, Uniform):
        return filled(1, nodes.rules.num_records)
    assert isinstance(body, bytearray)
    return body.translate(_IS_CLAIMED)


def ready_runs(body: bytearray, start: int) -> Iterator[tuple[int, int]]:
    """The ranges of ready cells of a column from a row on, as they are now."""
    return flagged(body[start:].translate(_IS_READY), start)


def _flags_of(rows: Rows, total: int) -> bytearray:
    flags = bytearray(total)
    ones = filled(1, total)
    for start, stop in spans(rows):
        if stop == start + 1:
            flags[start] = 1
        else:
            flags[start:stop] = ones[: stop - start]
    return flags


def _sets_of(rule: ColumnRule, claim: Claim) -> Iterator[Rows]:
    yield claim[rule.index]
    yield from (claim[need] for need in rule.needs)


def _count_edges(rule: ColumnRule, claim: Claim) -> int:
    return sum(2 * len(spans(rows)) for rows in _sets_of(rule, claim))


def _claimed_code(rule: ColumnRule, *, behind: bool) -> int:
    return DROPPED_BEHIND if rule.ordered and behind else CLAIMED


def _fill_pieces(nodes: NodeStates, rule: ColumnRule, claim: Claim) -> bytearray:
    total = nodes.rules.num_records
    mine, inputs = claim[rule.index], [claim[need] for need in rule.needs]
    held = nodes.group_rows is not None
    edges = {edge for rows in _sets_of(rule, claim) for span in spans(rows) for edge in span}
    body = bytearray()
    row = 0
    for edge in sorted(edges | {total}):
        if covers(mine, row):
            code = _claimed_code(rule, behind=row >= prefix_of(mine))
        else:
            code = sum(not covers(rows, row) for rows in inputs) + rule.ordered + held
        body += filled(code, edge - row)
        row = edge
    return body


def _fill_at_once(nodes: NodeStates, rule: ColumnRule, claim: Claim) -> bytearray:
    total = nodes.rules.num_records
    ones = int.from_bytes(filled(1, total), "little")
    held = nodes.group_rows is not None
    waits = (len(rule.needs) + rule.ordered + held) * ones
    for need in rule.needs:
        waits -= int.from_bytes(claimed_flags(nodes, need), "little")
    mine = claim[rule.index]
    flags = _flags_of(mine, total)
    claimed = int.from_bytes(flags, "little")
    waits &= 255 * (ones - claimed)
    body = bytearray((waits | _claimed_code(rule, behind=True) * claimed).to_bytes(total, "little"))
    if rule.ordered:
        body[: prefix_of(mine)] = filled(CLAIMED, prefix_of(mine))
    return body
