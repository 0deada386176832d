"""Results that are lost: complete nodes that are pending again, while their dependents stay.

A cell that is lost waits for its inputs anew, as at the start of a run. Each node that waits for it
has one open input more: one that was ready waits again, one that runs or is resolved stays as it
is. A barrier node is lost with those of its output cells that nothing keeps; the others stay
resolved, and the run that gives the lost ones anew gives these no value.

In an ordered column the turn goes to the first row that is not resolved. So a row that was lost
takes it from a later one, and hands it on to the next open row, past those that are resolved.
"""

from __future__ import annotations

import re

from cellspec.graph.rowset import Ranges, RowSet, parts_touched
from cellspec.state.codes import (
    CLAIMED,
    DONE,
    DROPPED,
    LAST_WAIT,
    RANGED,
    READY,
    SKIP_READY,
    SKIPPED,
)
from cellspec.state.moving import barrier_ready, compile_resolve, compile_start
from cellspec.state.node_states import UNRESOLVED, NodeStates, filled
from cellspec.state.prefixes import prefix

__all__ = ["lose", "lose_barrier"]

_COUNT_UP = bytes(v + (v < RANGED) for v in range(256))
"""The state of a node after one of those that it waits for is open again, by its state before.

No node waits for as many as the count has room for.
"""

_TAKE_OUTPUT = bytes(LAST_WAIT if v in (READY, DONE) else v + (v == SKIP_READY) for v in range(256))
"""The state of an output cell after its barrier node was lost, by its state before."""

_GIVEN = re.compile(rb"[%c%c%c]+" % (READY, SKIP_READY, DONE))
"""Output cells that wait for nothing more than to be given or skipped, or were given."""


def lose(nodes: NodeStates, column: int, row: int) -> None:
    """A complete cell of a column that is no barrier is pending again.

    Its bytes are made anew if the column was complete: O(rows) of memory filling, once.
    """
    rule = nodes.rules.columns[column]
    _watch(nodes, column, row + 1)
    body = _reopen(nodes, column)
    waits = sum(nodes.cells[need][row] < DONE for need in rule.needs)
    if rule.ordered:
        waits += _take_turn(nodes, column, body, row)
    body[row] = waits
    nodes.open_cells[column] += 1
    if nodes.parts is not None:
        nodes.parts.take(row)
    nodes.prefix_found[column] = min(nodes.prefix_found[column], row)
    nodes.rows = min(nodes.rows, row)
    _count_up(nodes, column, row, row + 1)
    if not waits:
        nodes.ready[nodes.cell_groups[column]] += 1
        nodes.on_cell[column](row)


def lose_barrier(nodes: NodeStates, column: int, scope: int, kept: Ranges) -> None:
    """A complete barrier node is pending again, with its output but that of the rows `kept`.

    O(rows of the scope), like its first run.
    """
    start, stop = nodes.rules.scope_bounds(column, scope)
    _watch(nodes, column, stop)
    body = _reopen(nodes, column)
    lost = _lost_output(nodes, column, (start, stop), kept)
    _keep_output(nodes, column, (start, stop), lost)
    _reopen_barrier(nodes, column, scope)
    for first, after in lost:
        done = body.count(DONE, first, after)
        nodes.ready[nodes.cell_groups[column]] -= body.count(READY, first, after)
        nodes.open_cells[column] += done
        before = bytes(body[first:after])
        if nodes.parts is not None:
            for row in (row for row, code in enumerate(before, first) if code == DONE):
                nodes.parts.take(row)
        body[first:after] = before.translate(_TAKE_OUTPUT)
        if done == after - first:
            _count_up(nodes, column, first, after)
            continue
        for row, code in enumerate(before, first):
            if code == DONE:
                _count_up(nodes, column, row, row + 1)
    if lost:
        nodes.prefix_found[column] = min(nodes.prefix_found[column], lost[0][0])
        nodes.rows = min(nodes.rows, lost[0][0])
    if not nodes.missing[column][scope]:
        barrier_ready(nodes, column, scope)


def _lost_output(nodes: NodeStates, column: int, span: tuple[int, int], kept: Ranges) -> Ranges:
    """The output of a barrier node that goes with it: not of dropped rows, nor what is kept."""
    body = nodes.cells[column]
    assert isinstance(body, bytearray)
    start, stop = span
    stays = sorted([*kept, *((row, row + 1) for row in nodes.dropped.within(start, stop))])
    found: list[tuple[int, int]] = []
    for first, after in (*stays, (stop, stop)):
        if start < first:
            found += (each.span() for each in _GIVEN.finditer(body, start, min(first, stop)))
        start = max(start, after)
    return tuple(found)


def _keep_output(nodes: NodeStates, column: int, span: tuple[int, int], lost: Ranges) -> None:
    """Output of a lost barrier node that stays is known: its barrier's next run gives no value."""
    if column not in nodes.kept:
        nodes.kept[column] = RowSet(nodes.rules.num_records)
    kept, at = nodes.kept[column], span[0]
    for first, after in (*lost, (span[1], span[1])):
        for row in range(at, first):
            kept.add(row)
        at = after


def _reopen(nodes: NodeStates, column: int) -> bytearray:
    """The bytes of a column, made anew if it was complete."""
    body = nodes.cells[column]
    if isinstance(body, bytearray):
        return body
    total = nodes.rules.num_records
    body = filled(DONE, total)
    for rows, code in ((nodes.skipped, SKIPPED), (nodes.lost, DROPPED)):
        for row in rows.get(column, ()):
            body[row] = code
    claimed = nodes.claimed[column]
    body[:claimed] = filled(CLAIMED, claimed)
    for row in nodes.claimed_sets.get(column, ()):
        body[row] = CLAIMED
    nodes.cells[column] = body
    nodes.start[column] = compile_start(nodes, column)
    nodes.resolve[column] = compile_resolve(nodes, column)
    for need in nodes.rules.columns[column].needs:
        if isinstance(nodes.cells[need], bytearray):
            nodes.resolve[need] = compile_resolve(nodes, need)
    return body


def _watch(nodes: NodeStates, column: int, stop: int) -> None:
    """Cells of a column below row `stop` may be open although the columns after it are complete."""
    known = nodes.watched.get(column)
    nodes.watched[column] = max(stop, known or 0)
    if known is None and isinstance(nodes.cells[column], bytearray):
        nodes.resolve[column] = compile_resolve(nodes, column)


def _take_turn(nodes: NodeStates, column: int, body: bytearray, row: int) -> bool:
    """Give the turn of an ordered column to a lost row; True if an earlier row has it."""
    turn = nodes.turns.get(column)
    if turn is None:
        turn = nodes.turns[column] = prefix(nodes, column)
    if turn < row:
        return True
    nodes.turns[column] = row
    if turn < nodes.rules.num_records:
        _add_wait(nodes, column, body, turn)
    return False


def _add_wait(nodes: NodeStates, column: int, body: bytearray, row: int) -> None:
    """One cell waits for one node more."""
    if body[row] == READY:
        nodes.ready[nodes.cell_groups[column]] -= 1
    body[row] = _COUNT_UP[body[row]]


def _count_up(nodes: NodeStates, column: int, start: int, stop: int) -> None:
    """All that waits for cells ``[start, stop)`` of a column has that many inputs open again."""
    rule = nodes.rules.columns[column]
    for other in rule.cell_dependents:
        body = nodes.cells[other]
        if isinstance(body, bytearray):
            nodes.ready[nodes.cell_groups[other]] -= body.count(READY, start, stop)
            body[start:stop] = body[start:stop].translate(_COUNT_UP)
    for other in rule.barrier_dependents:
        if nodes.open_barriers[other]:
            size = nodes.rules.columns[other].scope_rows
            for scope in parts_touched(start, stop, size):
                more = min(stop, (scope + 1) * size) - max(start, scope * size)
                _hold_barrier(nodes, other, scope, more)


def _hold_barrier(nodes: NodeStates, column: int, scope: int, more: int) -> None:
    """A barrier node waits for `more` nodes more."""
    nodes.missing[column][scope] += more
    if nodes.barriers[column][scope] == READY:
        nodes.barriers[column][scope] = LAST_WAIT
        nodes.ready_barriers[nodes.groups[column]] -= 1


def _reopen_barrier(nodes: NodeStates, column: int, scope: int) -> None:
    """A barrier node waits for its inputs anew."""
    rules, rule = nodes.rules, nodes.rules.columns[column]
    count = rules.scope_count(column)
    if not nodes.open_barriers[column]:
        nodes.barriers[column] = bytearray(
            nodes.barrier_state(column, each) for each in range(count)
        )
        nodes.missing[column].extend([0] * count)
    states = nodes.barriers[column]
    start, stop = rules.scope_bounds(column, scope)
    waits = 0
    for need in rule.needs:
        body = nodes.cells[need]
        if isinstance(body, bytearray):
            waits += len(UNRESOLVED.findall(body, start, stop))
    if rule.ordered:
        waits += _take_turn_of_batch(nodes, column, scope)
    states[scope] = LAST_WAIT
    nodes.missing[column][scope] = waits
    nodes.open_barriers[column] += 1
    nodes.scope_prefix[column] = min(nodes.scope_prefix[column], scope)
    nodes.exempt_prefix[column] = min(nodes.exempt_prefix[column], start)


def _take_turn_of_batch(nodes: NodeStates, column: int, scope: int) -> bool:
    """Give the turn of an ordered barrier to a lost node; True if an earlier one has it."""
    turn = nodes.turns.get(column)
    if turn is None:
        found = UNRESOLVED.search(nodes.barriers[column])
        turn = found.start() if found else len(nodes.barriers[column])
    nodes.turns[column] = min(turn, scope)
    if turn < scope:
        return True
    if turn < len(nodes.barriers[column]):
        _hold_barrier(nodes, column, turn, 1)
    return False
