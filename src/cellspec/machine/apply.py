"""Actions by name, turned into steps, for `Machine.apply`.

An action of several single cells is one step for each of them; an action of a range of a
streamable column, of output, of durable rows or of a drop is one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cellspec.errors import SpecError
from cellspec.graph.nodes import NodeKey, barrier_key
from cellspec.graph.rowset import Ranges
from cellspec.machine import (
    barriers,
    cells,
    commits,
    drops,
    early_stop,
    ending,
    failures,
    losing,
    pauses,
    recalling,
    resuming,
    row_groups,
    saving,
    taking_back,
)
from cellspec.machine.actions import Action, Failure
from cellspec.machine.calls import range_of
from cellspec.machine.run_state import RunState
from cellspec.state.claims import Claim, normal

__all__ = ["resume_arguments", "take_action"]

_ON_BARRIERS = frozenset(("start", "complete", "fail", "cancel", "take_back"))
_ENDS = _ON_BARRIERS - {"start"}
_ON_CELLS = _ON_BARRIERS | {"skip"}
_ON_NODES = _ON_CELLS | {"emit", "drop"}


def take_action(run: RunState, action: Action, on_step: Callable[[Action], object] | None) -> None:
    """Take one action, and hand each step of it to `on_step` when it was taken.

    Raises:
        Violation: the clause that a step would break.
        SpecError: an action with an unknown column, rows or kind, or a resume.
    """
    rows = action.rows
    if run.overtaking is not None and action.kind != "admit":
        # Row groups that are admitted one after the other make no node later than another.
        run.overtaking.next_step()
    if action.rejected:
        _check_rejected(run, action, action.rejected)
    if rows is None or rows[1] == rows[0] + 1 or action.kind not in _ON_CELLS:
        _take_step(run, action, on_step)
    else:
        for step in _steps(run, action):
            _take_step(run, step, on_step)


def _take_step(run: RunState, step: Action, on_step: Callable[[Action], object] | None) -> None:
    ending = _ended(run, step) if run.killers is not None and step.kind in _ENDS else []
    notified = step if on_step is None else _as_notified(run, step)
    _take(run, step)
    if ending:
        assert run.killers is not None
        well, again = step.kind == "complete", step.failure != "permanent"
        run.killers.ended(ending, run.now, well=well, again=again)
    if on_step is not None:
        on_step(notified)


def _ended(run: RunState, step: Action) -> list[NodeKey]:
    """The nodes whose call ends with a step; good ends of cells are noted with them."""
    column = _column_of(run, step)
    if step.scope is not None:
        return [barrier_key(column, _scope_of(run, step, step.scope))]
    if step.kind == "complete":
        return []
    row = _rows_of(run, step)[0]
    ranged = range_of(run, column, row)
    rows = [row] if ranged is None else range(ranged.start, ranged.stop)
    return [(column, each) for each in rows if ranged is None or each not in ranged.given]


def _as_notified(run: RunState, step: Action) -> Action:
    """A step as observers see it: durable rows are the new ones, and a barrier names its reads."""
    if step.kind == "durable" and step.column:
        column = _column_of(run, step)
        start, stop = _rows_of(run, step)
        return step._replace(rows=(max(start, run.durable[column]), stop))
    if step.kind == "start" and step.scope is not None and step.reads is None:
        column, scope = _column_of(run, step), _scope_of(run, step, step.scope)
        return step._replace(reads=run.counters.reads(column, scope))
    return step


def _steps(run: RunState, action: Action) -> Iterable[Action]:
    """The steps of an action on several rows."""
    kind, column = action.kind, _column_of(run, action)
    if action.scope is not None and kind in _ON_BARRIERS:
        return (action,)
    start, stop = _rows_of(run, action)
    streamable = run.graph.rules.columns[column].streamable
    if streamable and kind == "start":
        return (action,)
    if streamable and kind in ("fail", "cancel", "take_back"):
        # Any row of a range stands for all that is left of it.
        ranged = range_of(run, column, start) or range_of(run, column, stop - 1)
        if ranged is not None:
            return (action._replace(rows=(ranged.start, ranged.start + 1)),)
    return (action._replace(rows=(row, row + 1)) for row in range(start, stop))


def _column_of(run: RunState, action: Action) -> int:
    column = run.graph.rules.index.get(action.column)
    if column is None:
        raise SpecError(f"action {action}: unknown column {action.column!r}")
    return column


def _take(run: RunState, action: Action) -> None:
    kind = action.kind
    if kind in _ON_RESULTS:
        _take_of_result(run, _column_of(run, action), action)
    elif kind in _ON_NODES or (kind == "durable" and action.column):
        column = _column_of(run, action)
        if action.scope is not None and kind in _ON_BARRIERS:
            _take_of_barrier(run, column, action.scope, action)
        else:
            _take_of_rows(run, column, action)
    elif kind == "durable":
        saving.store(run, range(run.graph.num_columns), *_rows_of(run, action))
    elif kind == "write_begin":
        columns = [_column_of(run, action)] if action.column else range(run.graph.num_columns)
        saving.write_begin(run, columns, *_rows_of(run, action))
    elif kind == "pause":
        pauses.pause(run, action.until)
    elif kind == "admit":
        row_groups.admit(run, *_rows_of(run, action))
    elif kind == "retire":
        row_groups.retire(run, *_rows_of(run, action))
    elif kind == "checkpoint_begin" and action.claim is not None:
        saving.checkpoint_begin(run, _claim_of(run, action, action.claim))
    elif kind == "commit_begin":
        commits.commit_begin(run, _cells_of(run, action), action.commit)
    elif kind == "committed":
        commits.committed(run, action.commit)
    elif kind == "commit_failed":
        commits.commit_failed(run, action.commit)
    elif kind == "end":
        ending.end(run, action.outcome or "success")
    elif kind in _OF_THE_RUN:
        _OF_THE_RUN[kind](run)
    else:
        raise SpecError(f"action {action}: unknown, or incomplete")


_OF_THE_RUN: dict[str, Callable[[RunState], None]] = {
    "checkpoint_durable": saving.checkpoint_durable,
    "checkpoint_failed": saving.checkpoint_failed,
    "crash": resuming.crash,
    "stop": early_stop.stop,
    "stop_requested": early_stop.request_stop,
    "worker_lost": losing.worker_lost,
}

_ON_RESULTS = {
    "lose": (losing.lose_cells, losing.lose_barrier),
    "recall": (recalling.recall_cells, recalling.recall_barrier),
}
"""Of steps on what nodes gave: the functions for cells, and for what a barrier node gave."""


def _take_of_result(run: RunState, column: int, action: Action) -> None:
    of_cells, of_barrier = _ON_RESULTS[action.kind]
    if action.scope is not None:
        of_barrier(run, column, _scope_of(run, action, action.scope))
    elif run.barrier_flags[column]:
        raise SpecError(f"action {action}: what a barrier gave is named by its scope")
    else:
        of_cells(run, column, *_rows_of(run, action))


def _take_of_barrier(run: RunState, column: int, scope: int, action: Action) -> None:
    _scope_of(run, action, scope)
    attempt = action.attempt
    if action.kind == "start":
        barriers.start_barrier(run, column, scope, action.reads, attempt)
    elif action.kind == "complete":
        barriers.complete_barrier(run, column, scope, attempt, action.rejected)
    elif action.kind == "cancel":
        failures.cancel_barrier(run, column, scope, attempt)
    elif action.kind == "take_back":
        taking_back.take_back_barrier(run, column, scope, attempt)
    else:
        failure = _failure_of(action)
        failures.fail_barrier(run, column, scope, failure, action.until, attempt)


def _take_of_rows(run: RunState, column: int, action: Action) -> None:
    kind, attempt = action.kind, action.attempt
    start, stop = _rows_of(run, action)
    if kind == "start":
        if stop == start + 1:
            cells.start_cell(run, column, start, attempt)
        else:
            cells.start_range(run, column, start, stop, attempt)
    elif kind == "complete":
        if action.rejected and any(first <= start < last for first, last in action.rejected):
            cells.reject_cell(run, column, start, attempt)
        else:
            cells.complete_cell(run, column, start, attempt)
    elif kind == "skip":
        cells.skip_cell(run, column, start)
    elif kind == "cancel":
        failures.cancel_cell(run, column, start, attempt)
    elif kind == "take_back":
        taking_back.take_back_cell(run, column, start, attempt)
    elif kind == "fail":
        failures.fail_cell(run, column, start, _failure_of(action), action.until, attempt)
    elif kind == "durable":
        saving.store(run, (column,), start, stop)
    elif kind == "drop":
        drops.record_drop(run, column, start, stop, action.cause)
    elif not run.barrier_flags[column]:
        raise SpecError(f"action {action}: only a barrier emits")
    else:
        barriers.emit(run, column, start, stop)


def _scope_of(run: RunState, action: Action, scope: int) -> int:
    if not 0 <= scope < run.graph.rules.scope_count(_column_of(run, action)):
        raise SpecError(f"action {action}: no such barrier node")
    return scope


def _rows_of(run: RunState, action: Action) -> tuple[int, int]:
    total = run.graph.num_records
    if action.rows is None or not 0 <= action.rows[0] < action.rows[1] <= total:
        raise SpecError(f"action {action}: expected rows within 0 to {total}")
    return action.rows


def _check_rejected(run: RunState, action: Action, rejected: Ranges) -> None:
    """Refuse an answer that rejects rows which the call was not for."""
    if action.scope is None:
        first, last = _rows_of(run, action)
    else:
        scope = _scope_of(run, action, action.scope)
        first, last = run.graph.rules.scope_bounds(_column_of(run, action), scope)
    for start, stop in rejected:
        if start < first or stop > last:
            raise SpecError(f"action {action}: rejected: expected rows within {first} to {last}")


def _failure_of(action: Action) -> Failure:
    if action.failure is None:
        raise SpecError(f"action {action}: failure: missing")
    return action.failure


def _claim_of(run: RunState, action: Action, claim: Claim) -> Claim:
    if len(claim) != run.graph.num_columns:
        raise SpecError(f"action {action}: claims {len(claim)} columns of {run.graph.num_columns}")
    return claim


def _cells_of(run: RunState, action: Action) -> Claim:
    """What a commit names: a claim of what is new, or rows of one column or of every one."""
    if action.claim is not None:
        return _claim_of(run, action, action.claim)
    new = normal([_rows_of(run, action)])
    names = run.graph.column_names
    if action.column:
        _column_of(run, action)
    return tuple(new if action.column in ("", name) else 0 for name in names)


def resume_arguments(run: RunState, action: Action) -> dict[str, Any]:
    """The arguments of the resume that an action names.

    Raises:
        SpecError: a resume without a claim, or with one of another number of columns.
    """
    if action.claim is None:
        raise SpecError(f"action {action}: unknown, or incomplete")
    return {
        "claim": _claim_of(run, action, action.claim),
        "dropped": action.dropped,
        "skipped": action.skipped,
        "records": action.records,
        "keep": action.keep,
        "config": action.config,
        "keep_config": action.keep_config,
    }
