"""The moves that a resolved node sets off: those that wait for it count down, and become ready.

`compile_start` and `compile_resolve` make the functions of one column that start and end its cells.
They are the innermost loop of everything: a function holds its column's bytes and those of the
columns that wait for it. When the column is complete the function is replaced, and the bytes are
gone. The other moves serve all that is less frequent: barrier nodes, ranges of output, an ordered
column's turn.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from cellspec.graph.rowset import parts_touched
from cellspec.state.codes import (
    CLAIMED,
    DONE,
    DROPPED,
    DROPPED_BEHIND,
    LAST_WAIT,
    RANGED,
    READY,
    RUNNING,
    SKIP_READY,
)
from cellspec.state.node_states import (
    COUNT_DOWN,
    UNLIMITED,
    UNRESOLVED,
    NodeStates,
    Uniform,
    filled,
)
from cellspec.state.places import SharedPlaces
from cellspec.state.prefixes import prefix
from cellspec.state.wanting import wanted

__all__ = [
    "advance_order",
    "advance_rows",
    "allow_calls",
    "barrier_ready",
    "block",
    "block_calls",
    "block_starts",
    "compile_resolve",
    "compile_start",
    "count_down_barrier",
    "count_down_rows",
    "forget_barriers",
    "halt",
    "resolve_barrier",
    "resolve_range",
    "resolve_unrun",
    "resolved_one",
]


def compile_start(nodes: NodeStates, column: int) -> Callable[[int], None]:
    """The function that starts a cell of the column: its byte, a slot, one ready cell less.

    Output cells of a barrier run without a slot: the barrier's own run made them.
    """
    body = nodes.cells[column]
    group = nodes.cell_groups[column]
    ready, busy = nodes.ready, nodes.busy
    capacity, workers = nodes.capacity[group], nodes.workers
    judge = nodes.judge
    takes_slot = not nodes.rules.columns[column].scope_rows

    def start_unlimited(row: int) -> None:
        if body[row] and judge.not_ready(column, row):
            return
        running = nodes.load
        if running >= workers:
            judge.no_slot(column, row)
        nodes.load = running + 1
        body[row] = RUNNING  # type: ignore[index]  # a ready cell: the column is not finished
        ready[group] -= 1

    if takes_slot and capacity >= UNLIMITED:
        # A group without a limit is not counted: nobody could ask.
        return start_unlimited

    places = nodes.capacity if isinstance(nodes.capacity, SharedPlaces) else None

    def start_among_others(row: int) -> None:
        if body[row] and judge.not_ready(column, row):
            return
        running = nodes.load
        assert places is not None
        if running >= workers or not places.fits(group):
            judge.no_slot(column, row)
        nodes.load = running + 1
        busy[group] += 1
        body[row] = RUNNING  # type: ignore[index]  # a ready cell: the column is not finished
        ready[group] -= 1

    if takes_slot and places is not None:
        return start_among_others

    def start_limited(row: int) -> None:
        if body[row] and judge.not_ready(column, row):
            return
        running = nodes.load
        if running >= workers or busy[group] >= capacity:
            judge.no_slot(column, row)
        nodes.load = running + 1
        busy[group] += 1
        body[row] = RUNNING  # type: ignore[index]  # a ready cell: the column is not finished
        ready[group] -= 1

    if takes_slot:
        return start_limited

    def start_output(row: int) -> None:
        if body[row] and judge.not_ready(column, row):
            return
        body[row] = RUNNING  # type: ignore[index]  # a ready cell: the column is not finished
        ready[group] -= 1

    return start_output


def compile_resolve(nodes: NodeStates, column: int) -> Callable[[int], None]:
    """The function that completes a cell: cells and barriers that wait for it count down."""
    rule = nodes.rules.columns[column]
    body = nodes.cells[column]
    group = nodes.cell_groups[column]
    ready, busy, open_cells = nodes.ready, nodes.busy, nodes.open_cells
    judge = nodes.judge
    takes_slot = not rule.scope_rows
    limited = nodes.capacity[group] < UNLIMITED
    waiting = [
        (cells, nodes.cell_groups[other], nodes.on_cell[other], other)
        for other in rule.cell_dependents
        if isinstance(cells := nodes.cells[other], bytearray)
    ]
    barriers = rule.barrier_dependents
    on_skip = nodes.on_skip
    ends_rows = rule.is_sink or column in nodes.watched
    orders_next = rule.ordered and not rule.scope_rows
    others = orders_next or bool(barriers)
    parts = nodes.parts
    if len(waiting) == 1 and parts is None and not (others or ends_rows):
        return _resolve_in_chain(nodes, column, *waiting[0])

    def resolve(row: int) -> None:
        if body[row] != RUNNING:
            if judge.not_running(column, row):
                return
        elif takes_slot:
            nodes.load -= 1
            if limited:
                busy[group] -= 1
        body[row] = DONE  # type: ignore[index]  # not finished: it holds this cell
        for cells, of_group, announce, other in waiting:
            missing = cells[row]
            if missing == LAST_WAIT:
                cells[row] = READY
                ready[of_group] += 1
                announce(row)
            elif missing < RANGED:
                cells[row] = missing - 1
                if missing == SKIP_READY + 1:
                    on_skip(other, row)
        if others:
            for other in barriers:
                count_down_barrier(nodes, other, row)
            if orders_next:
                advance_order(nodes, column, row + 1)
        open_cells[column] = left = open_cells[column] - 1
        if not left:
            _finish(nodes, column)
        if ends_rows and row == nodes.rows:
            advance_rows(nodes)

    if parts is None:
        return resolve

    def resolve_counted(row: int) -> None:
        before = body[row]
        resolve(row)
        if before < DONE <= body[row]:
            parts.add(row)

    return resolve_counted


def _resolve_in_chain(
    nodes: NodeStates,
    column: int,
    following: bytearray,
    following_group: int,
    announce: Callable[[int], object],
    other: int,
) -> Callable[[int], None]:
    """`compile_resolve` of a column for which one cell of each row waits, and nothing else."""
    body, group = nodes.cells[column], nodes.cell_groups[column]
    ready, busy, open_cells = nodes.ready, nodes.busy, nodes.open_cells
    judge, on_skip = nodes.judge, nodes.on_skip
    takes_slot = not nodes.rules.columns[column].scope_rows
    limited = nodes.capacity[group] < UNLIMITED

    def resolve(row: int) -> None:
        if body[row] != RUNNING:
            if judge.not_running(column, row):
                return
        elif takes_slot:
            nodes.load -= 1
            if limited:
                busy[group] -= 1
        body[row] = DONE  # type: ignore[index]  # not finished: it holds this cell
        missing = following[row]
        if missing == LAST_WAIT:
            following[row] = READY
            ready[following_group] += 1
            announce(row)
        elif missing < RANGED:
            following[row] = missing - 1
            if missing == SKIP_READY + 1:
                on_skip(other, row)
        open_cells[column] = left = open_cells[column] - 1
        if not left:
            _finish(nodes, column)

    return resolve


def count_down_barrier(nodes: NodeStates, column: int, row: int) -> None:
    """A barrier node waits for one node less."""
    if not nodes.open_barriers[column]:
        return
    scope = row // nodes.rules.columns[column].scope_rows
    counts = nodes.missing[column]
    counts[scope] -= 1
    if not counts[scope]:
        barrier_ready(nodes, column, scope)


def advance_rows(nodes: NodeStates) -> None:
    """The next rows are finished, as the columns at the end of the graph say."""
    # A row's sinks are the last of it to finish: what feeds them is resolved already.
    rows = min(prefix(nodes, rule.index) for rule in nodes.rules.columns if rule.is_sink)
    for column, stop in [*nodes.watched.items()] if nodes.watched else ():
        found = prefix(nodes, column)
        rows = min(rows, found)
        if found >= stop:
            del nodes.watched[column]
    nodes.rows = rows


def resolve_range(nodes: NodeStates, column: int, start: int, stop: int) -> None:
    """`resolve` for ready rows ``[start, stop)`` of a barrier column, without a start each."""
    nodes.ready[nodes.cell_groups[column]] -= stop - start
    body = nodes.cells[column]
    assert isinstance(body, bytearray)
    body[start:stop] = filled(DONE, stop - start)
    for other in nodes.rules.columns[column].cell_dependents:
        count_down_rows(nodes, other, start, stop)
    for other in nodes.rules.columns[column].barrier_dependents:
        if not nodes.open_barriers[other]:
            continue
        scope_rows, counts = nodes.rules.columns[other].scope_rows, nodes.missing[other]
        for scope in parts_touched(start, stop, scope_rows):
            first, last = scope * scope_rows, (scope + 1) * scope_rows
            counts[scope] -= min(stop, last) - max(start, first)
            if not counts[scope]:
                barrier_ready(nodes, other, scope)
    nodes.open_cells[column] -= stop - start
    if nodes.parts is not None:
        for row in range(start, stop):
            nodes.parts.add(row)
    if not nodes.open_cells[column]:
        _finish(nodes, column)
    ends_rows = nodes.rules.columns[column].is_sink or column in nodes.watched
    if ends_rows and start <= nodes.rows < stop:
        advance_rows(nodes)


def count_down_rows(nodes: NodeStates, column: int, start: int, stop: int) -> None:
    """Cells of rows ``[start, stop)`` wait for one node less, each."""
    body = nodes.cells[column]
    if not isinstance(body, bytearray):
        return
    # A cell may be ready already if it started too early, and nobody judged it, and failed.
    before = body.count(READY, start, stop)
    body[start:stop] = body[start:stop].translate(COUNT_DOWN)
    made = body.count(READY, start, stop) - before
    if made:
        _announce_rows(nodes, column, start, stop, made)
    if body.count(SKIP_READY, start, stop):
        for row in nodes.iter_rows(column, SKIP_READY, start):
            if row >= stop:
                break
            nodes.on_skip(column, row)


def _announce_rows(nodes: NodeStates, column: int, start: int, stop: int, made: int) -> None:
    """Announce the `made` rows of a range that have just become ready."""
    nodes.ready[nodes.cell_groups[column]] += made
    body = nodes.cells[column]
    assert isinstance(body, bytearray)
    first, last = body.find(READY, start, stop), body.rfind(READY, start, stop)
    if made == last + 1 - first:
        nodes.on_cells(column, first, last + 1)
        return
    for row in nodes.iter_rows(column, READY, first):
        if row >= stop:
            break
        nodes.on_cell[column](row)


def resolve_barrier(nodes: NodeStates, column: int, scope: int) -> None:
    """A barrier node completed: its output cells become ready, and an ordered successor may."""
    rule = nodes.rules.columns[column]
    if nodes.barriers[column][scope] == RUNNING:
        nodes.busy[nodes.groups[column]] -= 1
        nodes.load -= 1
    elif nodes.barriers[column][scope] == READY:
        nodes.ready_barriers[nodes.groups[column]] -= 1
    nodes.barriers[column][scope] = DONE
    nodes.open_barriers[column] -= 1
    nodes.wanted_rows.pop((column, scope), None)
    start, stop = nodes.rules.scope_bounds(column, scope)
    count_down_rows(nodes, column, start, stop)
    if rule.ordered:
        _advance_batches(nodes, column, scope + 1)
    forget_barriers(nodes, column)


def _advance_batches(nodes: NodeStates, column: int, scope: int) -> None:
    """It is the turn of a barrier node in an ordered column; one that was claimed hands it on."""
    states = nodes.barriers[column]
    if column in nodes.turns:
        found = UNRESOLVED.search(states, nodes.turns[column])
        scope = found.start() if found else len(states)
        if scope == nodes.turns[column]:
            return
        nodes.turns[column] = scope
    while scope < len(states) and states[scope] == CLAIMED:
        scope += 1
    if scope < len(states):
        counts = nodes.missing[column]
        counts[scope] -= 1
        if not counts[scope]:
            barrier_ready(nodes, column, scope)


def forget_barriers(nodes: NodeStates, column: int) -> None:
    """Once every barrier node of a column is resolved, their states are let go."""
    if not nodes.open_barriers[column]:
        nodes.barriers[column] = bytearray()
        nodes.missing[column] = array("q")


def barrier_ready(nodes: NodeStates, column: int, scope: int) -> None:
    """All that a barrier node waited for is resolved; it is announced if output is wanted."""
    if nodes.barriers[column][scope] != LAST_WAIT:
        return
    nodes.barriers[column][scope] = READY
    nodes.ready_barriers[nodes.groups[column]] += 1
    unwanted = nodes.dropped or nodes.skipped or nodes.kept
    if unwanted and not wanted(nodes, column, scope):
        resolve_unrun(nodes, column, scope)
    else:
        nodes.on_barrier(column, scope)


def resolve_unrun(nodes: NodeStates, column: int, scope: int) -> None:
    """The output of a barrier node is unwanted: it resolves without a run (BARR-08)."""
    nodes.unrun.add((column, scope))
    resolve_barrier(nodes, column, scope)


def advance_order(nodes: NodeStates, column: int, row: int) -> None:
    """It is a row's turn in an ordered column; one that is dropped hands it on."""
    body, total = nodes.cells[column], nodes.rules.num_records
    if column in nodes.turns:
        row = prefix(nodes, column)
        if row == nodes.turns[column]:
            return
        nodes.turns[column] = row
    if not isinstance(body, bytearray):
        return
    while row < total and body[row] == DROPPED_BEHIND:
        body[row] = DROPPED
        row += 1
    if row >= total:
        return
    missing = body[row]
    # A cell that started out of turn, where that is not judged, may wait for nothing.
    if READY < missing < RANGED and missing != SKIP_READY:
        body[row] = missing - 1
        if missing == LAST_WAIT:
            nodes.ready[nodes.cell_groups[column]] += 1
            nodes.on_cell[column](row)
        elif missing == SKIP_READY + 1:
            nodes.on_skip(column, row)


def resolved_one(nodes: NodeStates, column: int, row: int) -> None:
    """A cell of a column is resolved that the compiled function did not resolve."""
    nodes.open_cells[column] -= 1
    if nodes.parts is not None:
        nodes.parts.add(row)
    if not nodes.open_cells[column]:
        _finish(nodes, column)


def _finish(nodes: NodeStates, column: int) -> None:
    """Every cell of the column is resolved: its bytes are let go."""
    nodes.prefix_found[column] = nodes.rules.num_records
    nodes.cells[column] = Uniform(DONE)
    block(nodes, column)
    for need in nodes.rules.columns[column].needs:
        # Marks may come in any order: an input that is still open would keep the bytes.
        if isinstance(nodes.cells[need], bytearray):
            nodes.resolve[need] = compile_resolve(nodes, need)


def block(nodes: NodeStates, column: int) -> None:
    """Every step of the column is out of order from now on."""
    judge = nodes.judge
    _block_start(nodes, column)

    def resolve(row: int) -> None:
        judge.not_running(column, row)

    nodes.resolve[column] = resolve


def _block_start(nodes: NodeStates, column: int) -> None:
    """Every start in the column is out of order from now on."""
    judge = nodes.judge

    def start(row: int) -> None:
        judge.not_ready(column, row)

    nodes.start[column] = start


def block_starts(nodes: NodeStates) -> None:
    """Calls of cells cannot start from now on; output cells can, and calls in flight may end."""
    nodes.starts_blocked = True
    block_calls(nodes)


def block_calls(nodes: NodeStates) -> None:
    """No call of a cell can start until `allow_calls`; output of barriers may be given."""
    for rule in nodes.rules.columns:
        if not rule.scope_rows:
            _block_start(nodes, rule.index)


def allow_calls(nodes: NodeStates) -> None:
    """Calls may start again, unless all starts are blocked for good."""
    if nodes.starts_blocked:
        return
    for rule in nodes.rules.columns:
        if not rule.scope_rows and isinstance(nodes.cells[rule.index], bytearray):
            nodes.start[rule.index] = compile_start(nodes, rule.index)


def halt(nodes: NodeStates) -> None:
    """The process is gone, with its calls; every step is out of order until a restore."""
    nodes.abandoned.clear()
    nodes.busy[:] = [0] * len(nodes.busy)
    nodes.load = 0
    for column in range(len(nodes.cells)):
        block(nodes, column)
