"""The states at the start of an incarnation: exactly those of a claim, its drops and skips.

Row groups enter here too: a row that waits for its group waits for one thing more, until the group
is admitted.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Mapping

from cellspec.graph.rowset import RowSet, WholeParts, parts_touched
from cellspec.state.claims import Claim, Rows, are_prefixes, holds, prefix_of
from cellspec.state.codes import (
    CLAIMED,
    DONE,
    DROPPED,
    DROPPED_BEHIND,
    LAST_WAIT,
    READY,
    SKIP_READY,
)
from cellspec.state.moving import (
    advance_rows,
    barrier_ready,
    block,
    compile_resolve,
    compile_start,
    count_down_rows,
    forget_barriers,
)
from cellspec.state.node_states import (
    COUNT_DOWN,
    NodeStates,
    Uniform,
    filled,
)
from cellspec.state.restoring_sets import claimed_flags, fill_column, ready_runs
from cellspec.state.without_value import lose, mark_skip

__all__ = ["admit", "announce_all", "restore"]

_READY_RUN = re.compile(rb"\x00+")
_IS_OPEN = bytes(code < DONE for code in range(256))


def restore(
    nodes: NodeStates,
    claim: Claim,
    dropped: RowSet | None = None,
    skipped: Mapping[int, RowSet] | None = None,
    lost: Mapping[int, RowSet] | None = None,
) -> None:
    """Forget everything but `claim`: its cells are resolved, all else is as at the start.

    So are the open cells of dropped rows. A barrier node is resolved exactly if every output
    cell of its scope is claimed, or if all it waits for is resolved and its output is unwanted
    (clause CKPT-07). Everything that is ready is announced, in row ranges.

    Args:
        claim: for each column the rows that are resolved; it obeys clause CKPT-05.
        dropped: rows that are dropped, also beyond the claim of a column.
        skipped: by column, those of the claimed cells that were skipped.
        lost: by column, those of the claimed cells that a drop left unmade.
    """
    rules = nodes.rules
    count = len(claim)
    nodes.claimed = claim if are_prefixes(claim) else tuple(map(prefix_of, claim))
    nodes.claimed_sets = {}
    # They hold the bytes of the state that ends here.
    nodes.start.clear()
    nodes.resolve.clear()
    nodes.cells = []
    nodes.barriers = []
    nodes.missing = []
    nodes.open_cells = [rules.num_records - claimed for claimed in nodes.claimed]
    nodes.open_barriers = [0] * count
    nodes.prefix_found = list(nodes.claimed)
    nodes.exempt_prefix = [0] * count
    nodes.scope_prefix = [0] * count
    nodes.ready = [0] * len(nodes.capacity)
    nodes.ready_barriers = [0] * len(nodes.capacity)
    nodes.busy = [0] * len(nodes.capacity)
    nodes.load = 0
    nodes.starts_blocked = False
    nodes.dropped = dropped if dropped is not None else RowSet(rules.num_records)
    nodes.skipped = dict(skipped or {})
    nodes.lost = dict(lost or {})
    nodes.abandoned = {}
    nodes.unrun = set()
    nodes.wanted_rows = {}
    nodes.watched, nodes.turns, nodes.kept = {}, {}, {}
    for index in range(count):
        _restore_column(nodes, index, claim)
    _restore_skips(nodes)
    for row in nodes.dropped:
        _restore_dropped(nodes, row)
    _restore_groups(nodes)
    finished = [index for index in range(count) if not nodes.open_cells[index]]
    # Before anything is compiled: what their inputs resolve with would keep their bytes.
    for index in finished:
        if isinstance(nodes.cells[index], bytearray):
            nodes.cells[index] = Uniform(DONE)
    nodes.parts = None if nodes.part_rows is None else _whole_parts(nodes, nodes.part_rows)
    nodes.start[:] = [compile_start(nodes, index) for index in range(count)]
    nodes.resolve[:] = [compile_resolve(nodes, index) for index in range(count)]
    for index in finished:
        block(nodes, index)
        nodes.prefix_found[index] = rules.num_records
    advance_rows(nodes)
    for index in range(count):
        _announce(nodes, index)


def _whole_parts(nodes: NodeStates, size: int) -> WholeParts:
    """The parts of which every cell is resolved."""
    bodies = (body for body in nodes.cells if isinstance(body, bytearray))
    missing = (body.translate(_IS_OPEN) for body in bodies)
    return WholeParts(nodes.rules.num_records, size, missing, len(nodes.cells))


def _restore_column(nodes: NodeStates, index: int, claim: Claim) -> None:
    """The bytes of a column, and the states of its barrier nodes."""
    rules = nodes.rules
    rule = rules.columns[index]
    total = rules.num_records
    nodes.barriers.append(bytearray())
    nodes.missing.append(array("q"))
    if rule.is_barrier:
        _restore_barriers(nodes, index, claim)
    rows = (claim[index], *(claim[need] for need in rule.needs))
    if not are_prefixes(rows):
        nodes.cells.append(
            Uniform(CLAIMED) if claim[index] == total else fill_column(nodes, rule, claim)
        )
        return
    mine, *inputs = rows
    if rule.is_barrier:
        body = filled(CLAIMED, mine) + filled(LAST_WAIT, total - mine)
    else:
        body = filled(CLAIMED, mine)
        row = mine
        held = nodes.group_rows is not None
        # The number of open needs changes only where some need's claim ends.
        for edge in sorted({*inputs, total}):
            if edge > row:
                still_open = sum(end <= row for end in inputs)
                body += filled(still_open + rule.ordered + held, edge - row)
                row = edge
        if rule.ordered and mine < total:
            body[mine] -= 1
    nodes.cells.append(Uniform(CLAIMED) if mine == total else body)


def _restore_barriers(nodes: NodeStates, index: int, claim: Claim) -> None:
    """The states of the barrier nodes of a column."""
    rules = nodes.rules
    rule = rules.columns[index]
    states = nodes.barriers[index]
    missing = nodes.missing[index]
    open_cells = [_open_cells_within(nodes, need, claim[need]) for need in rule.needs]
    in_turn = True
    for scope in range(rules.scope_count(index)):
        start, stop = rules.scope_bounds(index, scope)
        if holds(claim[index], start, stop):
            states.append(CLAIMED)
            missing.append(0)
            continue
        waits = rule.ordered and not in_turn
        missing.append(sum(count(start, stop) for count in open_cells) + waits)
        states.append(LAST_WAIT if missing[scope] else READY)
        nodes.open_barriers[index] += 1
        in_turn = False
    forget_barriers(nodes, index)


def _open_cells_within(nodes: NodeStates, column: int, rows: Rows) -> Callable[[int, int], int]:
    """How many cells of a column are not claimed, as a function of a range of rows."""
    if isinstance(rows, int):
        return lambda start, stop: stop - min(max(rows, start), stop)
    flags = claimed_flags(nodes, column)
    return lambda start, stop: flags.count(0, start, stop)


def _restore_groups(nodes: NodeStates) -> None:
    """Barriers wait for the row groups of their scope, also if their inputs are all claimed.

    A group whose cells are all resolved is not waited for.
    """
    size, total = nodes.group_rows, nodes.rules.num_records
    nodes.held_groups = bytearray()
    if size is None:
        return
    for start in range(0, total, size):
        stop = min(start + size, total)
        nodes.held_groups.append(not nodes.is_range_resolved(start, stop))
        if not nodes.held_groups[-1]:
            continue
        for rule in nodes.rules.columns:
            if not nodes.open_barriers[rule.index]:
                continue
            for scope in parts_touched(start, stop, rule.scope_rows):
                if nodes.barriers[rule.index][scope] < DONE:
                    nodes.missing[rule.index][scope] += 1
                    nodes.barriers[rule.index][scope] = LAST_WAIT


def _restore_skips(nodes: NodeStates) -> None:
    """Cells that wait, and have a skipped claimed input, are to be skipped."""
    for index, rows in sorted(nodes.skipped.items()):
        rule = nodes.rules.columns[index]
        for row in rows:
            for other in (*rule.cell_dependents, *rule.barrier_dependents):
                if nodes.rules.columns[other].propagates:
                    mark_skip(nodes, other, row, restoring=True)


def _restore_dropped(nodes: NodeStates, row: int) -> None:
    """Resolve the cells of a dropped row that the claim does not hold."""
    for rule in nodes.rules.columns:
        body = nodes.cells[rule.index]
        if not isinstance(body, bytearray) or body[row] >= DONE:
            continue
        body[row] = DROPPED
        lose(nodes, rule.index, row)
        nodes.open_cells[rule.index] -= 1
        for other in rule.barrier_dependents:
            if nodes.open_barriers[other]:
                scope = row // nodes.rules.columns[other].scope_rows
                nodes.missing[other][scope] -= 1
                if not nodes.missing[other][scope]:
                    nodes.barriers[other][scope] = READY
        if rule.ordered and not rule.is_barrier:
            if nodes.is_behind(rule.index, row):
                body[row] = DROPPED_BEHIND
                continue
            following = row + 1
            while following < len(body) and body[following] == DROPPED_BEHIND:
                # It was claimed, behind a gap that this row was the last of.
                body[following] = DROPPED
                following += 1
            body[following : following + 1] = body[following : following + 1].translate(COUNT_DOWN)


def _announce(nodes: NodeStates, index: int) -> None:
    """Tell of everything of a column that is ready, after a restore."""
    rule = nodes.rules.columns[index]
    if rule.is_barrier:
        # One that nobody wants resolves at once, and may make the next one ready: those that
        # are ready now are found first, so that none is announced twice.
        states = nodes.barriers[index]
        ready = [scope for scope, state in enumerate(states) if state == READY]
        for scope in ready:
            states[scope] = LAST_WAIT
        for scope in ready:
            barrier_ready(nodes, index, scope)
        return
    body = nodes.cells[index]
    if not isinstance(body, bytearray):
        return
    first = nodes.claimed[index]
    runs = (
        ready_runs(body, first)
        if nodes.claimed_sets
        else (run.span() for run in _READY_RUN.finditer(bytes(body), first))
    )
    for start, stop in runs:
        nodes.ready[nodes.cell_groups[index]] += stop - start
        nodes.on_cells(index, start, stop)
    if nodes.skipped:
        for row in nodes.iter_rows(index, SKIP_READY, nodes.claimed[index]):
            nodes.on_skip(index, row)


def announce_all(nodes: NodeStates) -> None:
    """Announce everything that is ready to the present subscribers, and later the rest."""
    for index in range(len(nodes.cells)):
        if isinstance(nodes.cells[index], bytearray):
            nodes.resolve[index] = compile_resolve(nodes, index)
        if nodes.open_barriers[index]:
            for scope, state in enumerate(nodes.barriers[index]):
                if state == READY:
                    nodes.on_barrier(index, scope)
        body = nodes.cells[index]
        if isinstance(body, bytearray):
            for run in _READY_RUN.finditer(bytes(body)):
                nodes.on_cells(index, run.start(), run.end())
        if nodes.skipped:
            for row in nodes.iter_rows(index, SKIP_READY):
                nodes.on_skip(index, row)


def admit(nodes: NodeStates, start: int, stop: int) -> None:
    """The row group ``[start, stop)`` is admitted: its nodes wait for one thing less."""
    assert nodes.group_rows is not None
    if not nodes.held_groups[start // nodes.group_rows]:
        return
    for rule in nodes.rules.columns:
        if not rule.is_barrier:
            first = max(start, nodes.claimed[rule.index])
            if first < stop:
                count_down_rows(nodes, rule.index, first, stop)
        elif nodes.open_barriers[rule.index]:
            counts = nodes.missing[rule.index]
            for scope in parts_touched(start, stop, rule.scope_rows):
                if counts[scope]:
                    counts[scope] -= 1
                    if not counts[scope]:
                        barrier_ready(nodes, rule.index, scope)
