"""The diagnosis of a refused step: which clause it would break, and the words that say why.

The counters notice that a step is out of order; the machine asks here for the clause. Finding it
may take long, because it happens once: the step is refused, and a run that is judged ends there.
The order of the questions is part of the answer: first the run (it is over, it has stopped early),
then the row (it was dropped, its group was not admitted), then the node.

The functions read a `cellspec.machine.run_state.RunState` and leave it as it is. Each raises
`Violation`, or returns where the step is allowed or its clause is waived.

A step that breaks a waived clause is taken, and leaves a state from which the next steps are judged
rightly. A call that its node cannot take (the node is complete, its row was dropped, it runs
already) is a *stray*: all it does is hold a slot until it ends. The steps of a process
that crashed or ended are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator

from cellspec.graph.nodes import (
    BarrierNodeId,
    CellNodeId,
    NodeId,
    NodeKey,
    barrier_key,
    cell_key,
    column_of,
    is_barrier_key,
    place_of,
)
from cellspec.graph.rowset import Ranges, parts_touched, rows_of
from cellspec.machine.run_state import FAILED, RunState
from cellspec.state.codes import (
    BACKOFF,
    CLAIMED,
    DONE,
    DROPPED,
    DROPPED_BEHIND,
    RANGED,
    RUNNING,
    SKIP_READY,
    SKIPPED,
    has_begun,
    is_to_be_skipped,
    is_waiting,
)
from cellspec.text import be, cell_words, counted, instants, node_words, noun

__all__ = [
    "expect_no_pause",
    "expect_running",
    "expect_starts",
    "is_open_to",
    "judge_start",
    "may_retry",
    "note_made",
    "reads_news",
    "refuse_barrier",
    "refuse_complete",
    "refuse_limit",
    "refuse_output",
    "refuse_range",
    "state_of",
    "unadmitted_group",
    "words_of",
]


def expect_running(run: RunState, what: str) -> bool:
    """True if there is a process; steps of one that is gone are ignored (SCHED-07)."""
    if not (run.crashed or run.ended):
        return True
    state = "the end" if run.ended else "a crash, before the resume"
    run.breaks("SCHED-07", f"{what} after {state}")
    return False


def expect_starts(run: RunState, where: str, verb: str = "starts") -> bool:
    """True if starts are allowed at all; refuses one of a run that stops, or has given up."""
    if not expect_running(run, f"start of {where}"):
        return False
    if run.stopped or (run.must_stop and not run.may_be_news(run.must_stop_at)):
        run.breaks(
            "STOP-01",
            f"{where} {verb} although "
            + ("the run was stopped" if run.stopped else "too many of the last calls failed"),
        )
    if run.stop_requested:
        run.breaks("STOP-05", f"{where} {verb} although a stop was requested")
    if run.gave_up:
        clause, why = run.gave_up
        run.breaks(clause, f"{where} {verb} although {why}, as only a run that gives up does")
    return True


def expect_no_pause(run: RunState, where: str) -> None:
    """Refuse the start of a call while the engine pauses (SCHED-16)."""
    if run.is_paused:
        now, until = instants(run.now, run.paused_until)
        run.breaks(
            "SCHED-16",
            f"{where} starts at t={now}, in a pause until t={until}",
        )


def judge_start(run: RunState, column: int, row: int, *, start: int | None = None) -> None:
    """Refuse a start that the state does not allow; return if it does, or is not judged.

    Args:
        column, row: the cell.
        start: the first row of the range with which it starts, which gives those before it in turn.
    """
    state = state_of(run, column, row)
    key = (column, row)
    if may_retry(run, key, state):
        return
    if row in run.counters.dropped:
        if not _could_start(run, column, row):
            _refuse_dropped(run, key)
        return
    held = unadmitted_group(run, row)
    if held is not None and state < RANGED:
        where = run.where(key)
        run.breaks("GROUP-01", f"{where} starts although row group {held} is not admitted")
    if has_begun(state):
        _refuse_again(run, key, state)
    elif run.barrier_flags[column] and state < SKIP_READY:
        run.breaks("BARR-02", f"{run.where(key)} is given although its barrier is not complete")
    else:
        if is_to_be_skipped(state):
            run.breaks(
                "SKIP-02",
                f"{run.where(key)} starts although {_skipped_input(run, column, row)}",
            )
        node = CellNodeId(row, run.name_of(column))
        missing = list(_open_needs(run, node))
        if missing and not _is_of_range(missing[0], node, start):
            _refuse_early(run, node, missing)


def _is_of_range(need: NodeId, cell: CellNodeId, start: int | None) -> bool:
    """True for a cell before another one in the range that begins with a row."""
    if start is None or not isinstance(need, CellNodeId):
        return False
    return need.column == cell.column and need.row >= start


def _refuse_early(run: RunState, cell: CellNodeId, missing: list[NodeId]) -> None:
    """Refuse a cell that waits for other nodes."""
    where = f"{cell.column}[{cell.row}]"
    _refuse_lost(run, where, missing)
    if isinstance(missing[0], BarrierNodeId):
        run.breaks("BARR-02", f"{where} is given although its barrier is not complete")
    elif missing[0].column == cell.column:
        # The row before it in order is the last that a cell waits for.
        row = run.counters.row_in_turn(run.graph.rules.index[cell.column], cell.row)
        run.breaks(
            "SCHED-13",
            f"{where} starts although {cell.column}[{row}] before it in order is not resolved",
        )
    else:
        run.breaks("SCHED-01", f"{where} starts although {words_of(missing[0])} is not complete")


def _refuse_lost(run: RunState, where: str, missing: list[NodeId]) -> None:
    """Refuse a node that needs a result which went with a worker, and is not made again."""
    for node in missing if run.gone else ():
        column = run.graph.rules.index[node.column]
        key: NodeKey
        if isinstance(node, CellNodeId):
            key = cell_key(column, node.row)
            if run.barrier_flags[column]:
                scope = node.row // run.graph.rules.columns[column].scope_rows
                key = barrier_key(column, scope)
        else:
            key = barrier_key(column, node.batch or 0)
        if key in run.gone:
            run.breaks(
                "FAIL-08",
                f"{where} starts although {words_of(node)} was lost with a worker, and is not "
                "made again",
            )
            return


def _skipped_input(run: RunState, column: int, row: int) -> str:
    """Which input of a cell was skipped, in words."""
    for need in run.graph.rules.columns[column].needs:
        if run.counters.is_skipped(need, row):
            return f"its input {run.name_of(need)}[{row}] was skipped"
    return "an input of it was skipped"


def _refuse_dropped(run: RunState, key: NodeKey) -> None:
    """Refuse a start in a dropped row."""
    if run.attempts.get(key) == FAILED:
        run.breaks("FAIL-02", f"{run.where(key)} starts although it failed for good")
    else:
        run.breaks("DROP-03", f"{run.where(key)} starts although row {place_of(key)} was dropped")
    if key in run.counters.abandoned or key in run.strays:
        run.breaks("SCHED-02", f"{run.where(key)} starts while it is in flight")


def _is_news(run: RunState, row: int) -> bool:
    """True if a row is dropped, and the engine may not have heard of it yet."""
    news = run.news.get(row)
    return news is not None and run.may_be_news(news.since_s)


def _is_open(run: RunState, column: int, row: int) -> bool:
    """True for a cell of a dropped row that was not made, before the drop or in ignorance of it."""
    lost = run.counters.lost.get(column)
    return lost is not None and row in lost and column not in run.news[row].made


def is_open_to(run: RunState, column: int, row: int) -> bool:
    """True for a cell of a dropped row that is open to an engine that may not know of the drop."""
    return _is_news(run, row) and _is_open(run, column, row)


def note_made(run: RunState, column: int, row: int) -> None:
    """A cell of a dropped row was made: an engine that does not know goes on from it."""
    news = run.news.get(row)
    if news is not None:
        news.made.add(column)


def _could_read(run: RunState, column: int, row: int) -> bool:
    """True if an engine that does not know of a drop could read the row for a node."""
    rule = run.graph.rules.columns[column]
    if rule.propagates and any(run.counters.is_skipped(need, row) for need in rule.needs):
        return False
    return not any(_is_open(run, need, row) for need in rule.needs)


def _could_start(run: RunState, column: int, row: int) -> bool:
    """True if a cell of a dropped row could start if the row were not, and that may be news."""
    key = (column, row)
    if not (is_open_to(run, column, row) and _could_read(run, column, row)):
        return False
    if key in run.counters.abandoned or key in run.strays or run.attempts.get(key) == FAILED:
        return False
    return run.backoffs.get(key) is None and not run.counters.is_behind(column, row)


def _barrier_could_start(run: RunState, column: int, scope: int) -> bool:
    """True if a barrier node could start if a row that wanted it were not dropped; may be news."""
    key = barrier_key(column, scope)
    if key in run.strays or run.backoffs.get(key) is not None:
        return False
    start, stop = run.graph.rules.scope_bounds(column, scope)
    news = [row for row in run.news if start <= row < stop and _is_news(run, row)]
    return any(_is_open(run, column, row) and _could_read(run, column, row) for row in news)


def reads_news(run: RunState, column: int, scope: int, reads: Ranges) -> bool:
    """True if a barrier reads what it should, and rows of whose drop the engine may not know."""
    expected = set(rows_of(run.counters.reads(column, scope)))
    found = list(rows_of(reads))
    more = set(found) - expected
    may = all(_is_news(run, row) and _could_read(run, column, row) for row in more)
    return may and found == sorted(expected | more)


def may_retry(run: RunState, key: NodeKey, state: int, *, in_turn: bool = False) -> bool:
    """True for a node that failed, and whose backoff is over or was left to the engine.

    Args:
        key: the node.
        state: of the node.
        in_turn: it is known that the rows before it do not hold it up.

    Raises:
        Violation: FAIL-03, if the backoff is not over.
    """
    if state != BACKOFF:
        return False
    # A time that is known is still to come: the clock ends a backoff.
    until = run.backoffs.get(key)
    if until is not None:
        now, end = instants(run.now, until)
        run.breaks(
            "FAIL-03",
            f"{run.where(key)} starts at t={now}, in a backoff until t={end}",
        )
    if is_barrier_key(key):
        return not run.counters.missing[column_of(key)][place_of(key)]
    return not run.counters.open_inputs(*key, in_turn=in_turn)


def _refuse_again(run: RunState, key: NodeKey, state: int, verb: str = "starts") -> None:
    """Refuse a start, or the output, of a node that has begun."""
    where = f"{run.where(key)} {verb}"
    if state == CLAIMED:
        run.breaks("SCHED-05", f"{where} although a checkpoint claimed it")
    elif state in (RUNNING, RANGED):
        run.breaks("SCHED-02", f"{where} while it is in flight")
    elif not is_barrier_key(key) and run.counters.is_skipped(*key):
        run.breaks("SCHED-03", f"{where} although it was skipped")
    else:
        run.breaks("SCHED-03", f"{where} although it is complete")


def state_of(run: RunState, column: int, row: int) -> int:
    """The state of a cell, as far as messages tell states apart."""
    # A column that is finished keeps one state for all its rows; what was claimed stays so.
    claimed = run.counters.is_claimed(column, row)
    return CLAIMED if claimed else run.counters.cells[column][row]


def unadmitted_group(run: RunState, row: int) -> int | None:
    """The row's group, if there are groups and it was not admitted."""
    size = run.limits.group_rows
    if size is None or row // size in run.was_admitted:
        return None
    return row // size


def refuse_limit(run: RunState, group: int, where: str) -> None:
    """Refuse a start beyond a limit."""
    workers = run.limits.workers
    if workers is not None and run.counters.load >= workers:
        run.breaks(
            "SCHED-06",
            f"{where} starts with {counted(run.counters.load, 'worker')} busy of {workers}",
        )
    names = list(run.limits.resources)
    if run.places is not None:
        for resource, places in run.places.lacking(group):
            name = names[resource]
            taken = counted(run.places.taken(resource), "place")
            run.breaks(
                "SCHED-11",
                f"{where} takes {counted(places, 'place')} of {name!r}, and starts with {taken} "
                f"taken of {run.limits.resources[name]}",
            )
        return
    if group >= len(names) or run.counters.busy[group] < run.limits.resources[names[group]]:
        return
    name = names[group]
    run.breaks(
        "SCHED-11",
        f"{where} starts with {counted(run.counters.busy[group], 'call')} of {name!r} in "
        f"flight, of {run.limits.resources[name]} at most",
    )


def refuse_complete(
    run: RunState, where: str, state: int, clause: str = "SCHED-04", verb: str = "completes"
) -> bool:
    """Refuse the end of a call that does not run.

    Args:
        where: its node, in words.
        state: of the node.
        clause: the clause that this end breaks.
        verb: how it ends, in words.

    Returns:
        True if the clause is waived, and there is a process whose step this is.
    """
    if not expect_running(run, f"end of {where}"):
        return False
    run.breaks(clause, f"{where} {verb}, but is {_word(state)}")
    return True


def refuse_barrier(run: RunState, column: int, scope: int) -> None:
    """Refuse the start of a barrier node that is not ready."""
    where = run.where(barrier_key(column, scope))
    state = run.counters.barrier_state(column, scope)
    if (column, scope) in run.counters.unrun:
        if run.attempts.get(barrier_key(column, scope)) == FAILED:
            run.breaks("FAIL-02", f"{where} starts although it failed for good")
            return
        if not _barrier_could_start(run, column, scope):
            run.breaks("BARR-08", f"{where} starts although no row of its scope wants its output")
    elif (column, scope) in run.presumed:
        _refuse_early_barrier(run, column, scope, where)
    elif state > BACKOFF:
        # Claims are of cells; a barrier that they made complete is complete.
        _refuse_again(run, barrier_key(column, scope), DONE if state == CLAIMED else state)
    else:
        _refuse_early_barrier(run, column, scope, where)


def _refuse_early_barrier(run: RunState, column: int, scope: int, where: str) -> None:
    """Refuse a barrier node that waits for something."""
    missing = list(_open_needs(run, run.graph.barrier_node(column, scope)))
    _refuse_lost(run, where, missing)
    start, stop = run.graph.rules.scope_bounds(column, scope)
    size = run.limits.group_rows
    if not missing:
        if size is None:
            return
        of_scope = parts_touched(start, stop, size)
        groups = [group for group in of_scope if group not in run.was_admitted]
        if groups:
            words = ", ".join(map(str, groups))
            groups_noun = noun(len(groups), "row group")
            run.breaks(
                "GROUP-01",
                f"{where} starts although {groups_noun} {words} {be(len(groups))} not admitted",
            )
        return
    run.breaks(
        "BARR-01",
        f"{where} starts although {counted(len(missing), 'node')} that it waits for "
        f"{be(len(missing))} open, first {words_of(missing[0])}",
    )


def refuse_output(run: RunState, column: int, row: int) -> None:
    """An output cell is given that is not ready."""
    where = f"{run.name_of(column)}[{row}]"
    state = state_of(run, column, row)
    if row in run.counters.dropped:
        if is_open_to(run, column, row):
            note_made(run, column, row)
        else:
            run.breaks("BARR-07", f"{where} is given although row {row} was dropped")
    elif is_to_be_skipped(state) or (state != CLAIMED and _left_out(run, column, row)):
        run.breaks("BARR-07", f"{where} is given although its barrier left the row out")
    elif has_begun(state):
        _refuse_again(run, (column, row), state, "is given")
    else:
        run.breaks("BARR-02", f"{where} is given although its barrier is not complete")


def _left_out(run: RunState, column: int, row: int) -> bool:
    """True if an input of the cell was skipped, and so was the cell."""
    rule, is_skipped = run.graph.rules.columns[column], run.counters.is_skipped
    skipped = is_skipped(column, row) and rule.propagates
    return skipped and any(is_skipped(need, row) for need in rule.needs)


def _open_needs(run: RunState, node: NodeId) -> Iterator[NodeId]:
    """The nodes that a node waits for; in an ordered column, past the dropped rows."""
    index = run.graph.rules.index[node.column]
    for need in run.graph.iter_dependencies(node):
        if isinstance(node, CellNodeId) and need == CellNodeId(node.row - 1, node.column):
            row = run.counters.row_in_turn(index, node.row)
            need = CellNodeId(max(row, 0), node.column)
        if not _resolved_node(run, need):
            yield need


def _resolved_node(run: RunState, node: NodeId) -> bool:
    """True if a node is resolved."""
    index = run.graph.rules.index[node.column]
    if isinstance(node, CellNodeId):
        return run.counters.is_resolved(index, node.row)
    return run.counters.is_barrier_resolved(index, node.batch or 0)


def refuse_range(run: RunState, column: int, row: int, span: tuple[int, int]) -> None:
    """A row of a range is not ready; a fault of the row alone is named first."""
    state = state_of(run, column, row)
    if is_waiting(state) and unadmitted_group(run, row) is None:
        node = next(_open_needs(run, run.graph.cell_node(column, row)), None)
        run.breaks(
            "RANGE-01",
            f"{run.name_of(column)}[{span[0]}:{span[1]}] starts although row {row} waits for "
            + ("its turn" if node is None else words_of(node)),
        )
    else:
        judge_start(run, column, row, start=span[0])


def words_of(node: NodeId) -> str:
    """A node as messages name it."""
    if isinstance(node, CellNodeId):
        return cell_words(node.column, node.row)
    return node_words(node.column, scope=node.batch)


def _word(state: int) -> str:
    words = {
        CLAIMED: "claimed by a checkpoint",
        BACKOFF: "waiting to be tried again",
        SKIPPED: "skipped",
        DROPPED: "dropped",
        DROPPED_BEHIND: "dropped",
    }
    return words.get(state, "complete already" if state >= DONE else "not running")
