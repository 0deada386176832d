"""The observer of a machine receives the steps that were taken, in order, and no others."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits, Machine, Violation
from cellspec.machine.actions import Action
from cellspec.machine.limits import FailurePolicy


def _graph() -> ExecutionGraph:
    return ExecutionGraph(
        4,
        [
            ColumnDescriptor("a", traits=ExecutionTraits.START, may_skip=True),
            ColumnDescriptor("b", dependencies=["a"], traits=ExecutionTraits.BATCH_BARRIER),
            ColumnDescriptor("c", dependencies=["b"], traits=ExecutionTraits.ROW_STREAMABLE),
        ],
        batch_size=2,
    )


def _machine() -> Machine:
    limits = Limits(workers=2, group_rows=2)
    return Machine(_graph(), limits, failures=FailurePolicy(max_attempts=2))


def _by_method(machine: Machine, step: Action) -> None:
    """Take a step by the method of its kind, as a driver does that knows what comes next."""
    column = machine.graph.rules.index.get(step.column, -1)
    start, stop = step.rows or (0, 0)
    scope, attempt = step.scope, step.attempt
    if scope is not None:
        of_barriers: dict[str, Callable[[], None]] = {
            "start": lambda: machine.start_barrier(column, scope, step.reads, attempt),
            "complete": lambda: machine.complete_barrier(column, scope, attempt),
            "cancel": lambda: machine.cancel_barrier(column, scope, attempt),
            "fail": lambda: machine.fail_barrier(
                column, scope, step.failure or "permanent", step.until, attempt
            ),
        }
        of_barriers[step.kind]()
        return
    claim = step.claim or ()
    of_others: dict[str, Callable[[], None]] = {
        "admit": lambda: machine.admit(start, stop),
        "cancel": lambda: machine.cancel_cell(column, start, attempt),
        "checkpoint_begin": lambda: machine.checkpoint_begin(claim),
        "checkpoint_durable": machine.checkpoint_durable,
        "checkpoint_failed": machine.checkpoint_failed,
        "commit_begin": lambda: machine.commit_begin(claim, step.commit),
        "commit_failed": lambda: machine.commit_failed(step.commit),
        "committed": lambda: machine.committed(step.commit),
        "complete": lambda: machine.complete_cell(column, start, attempt),
        "crash": machine.crash,
        "drop": lambda: machine.record_drop(column, start, stop, step.cause),
        "durable": lambda: machine.durable_rows(column, stop, start),
        "emit": lambda: machine.emit(column, start, stop),
        "end": lambda: machine.end(step.outcome or "success"),
        "fail": lambda: machine.fail_cell(
            column, start, step.failure or "permanent", step.until, attempt
        ),
        "pause": lambda: machine.pause(step.until),
        "resume": lambda: machine.resume(
            claim, dropped=step.dropped, skipped=step.skipped, records=step.records, keep=step.keep
        ),
        "retire": lambda: machine.retire(start, stop),
        "skip": lambda: machine.skip_cell(column, start),
        "start": lambda: (
            machine.start_range(column, start, stop, attempt)
            if stop > start + 1
            else machine.start_cell(column, start, attempt)
        ),
        "stop": machine.stop,
        "stop_requested": machine.request_stop,
        "write_begin": lambda: machine.write_begin(column if step.column else None, start, stop),
    }
    of_others[step.kind]()


SAVED = [
    Action("start", "a", (0, 1), attempt=1),
    Action("fail", "a", (0, 1), attempt=1, failure="retryable", until=0.0),
    Action("start", "a", (0, 1), attempt=2),
    Action("complete", "a", (0, 1), attempt=2),
    Action("start", "a", (1, 2)),
    Action("complete", "a", (1, 2)),
    Action("start", "b", scope=0, attempt=1, reads=((0, 2),)),
    Action("fail", "b", scope=0, attempt=1, failure="retryable", until=0.0),
    Action("start", "b", scope=0, attempt=2, reads=((0, 2),)),
    Action("complete", "b", scope=0, attempt=2),
    Action("emit", "b", (0, 2)),
    Action("write_begin", "a", (0, 2)),
    Action("start", "c", (0, 2), attempt=1),
    Action("complete", "c", (0, 1), attempt=1),
    Action("complete", "c", (1, 2), attempt=1),
    Action("write_begin", "", (0, 2)),
    Action("pause", until=5.0),
]
STOPPED = [
    Action("start", "a", (0, 1)),
    Action("complete", "a", (0, 1)),
    Action("start", "a", (1, 2)),
    Action("complete", "a", (1, 2)),
    Action("start", "b", scope=0, attempt=1, reads=((0, 2),)),
    Action("start", "a", (2, 3), attempt=1),
    Action("stop_requested"),
    Action("cancel", "a", (2, 3), attempt=1),
    Action("cancel", "b", scope=0, attempt=1),
    Action("end", outcome="interrupted"),
]
COMMITTED = [
    Action("start", "a", (0, 1)),
    Action("complete", "a", (0, 1)),
    Action("commit_begin", claim=(1, 0, 0), commit=1),
    Action("commit_failed", commit=1),
    Action("commit_begin", claim=(1, 0, 0), commit=2),
    Action("committed", commit=2),
]
GIVEN_UP = [
    Action("start", "a", (0, 1)),
    Action("fail", "a", (0, 1), failure="permanent"),
    Action("stop"),
    Action("drop", "a", (0, 1)),
    Action("end", outcome="stopped"),
]


@pytest.mark.parametrize("steps", [SAVED, STOPPED, COMMITTED, GIVEN_UP])
def test_a_method_is_observed_as_the_action_of_its_name(steps: list[Action]) -> None:
    policy = FailurePolicy(max_attempts=2, stop_window=1, stop_rate=1.0)
    machine, seen = Machine(_graph(), failures=policy), list[Action]()
    machine.on_step = seen.append
    same = Machine(_graph(), failures=policy)
    for step in steps:
        _by_method(machine, step)
        same.apply(step)
        assert machine.state.stores == same.state.stores
        assert machine.state.paused_until == same.state.paused_until
    assert seen == steps


@pytest.mark.parametrize("seed", range(10))
def test_a_method_does_what_the_action_of_its_name_does(seed: int) -> None:
    drawn = random.Random(seed)
    by_action, by_method = _machine(), _machine()
    of_actions, of_methods = list[Action](), list[Action]()
    by_action.on_step, by_method.on_step = of_actions.append, of_methods.append
    for _ in range(60):
        options = list(by_action.enabled())
        assert list(by_method.enabled()) == options
        if not options:
            break
        step = drawn.choice(options)
        by_action.apply(step)
        _by_method(by_method, step)
        assert of_methods == of_actions


@pytest.mark.parametrize("seed", range(20))
def test_the_observed_steps_are_those_applied_and_replay_to_the_same_state(seed: int) -> None:
    drawn = random.Random(seed)
    machine, seen, applied = _machine(), list[Action](), list[Action]()
    machine.on_step = seen.append
    for _ in range(120):
        options = list(machine.enabled())
        if not options:
            break
        step = drawn.choice(options)
        applied.append(step)
        machine.apply(step)
    # Of rows only what is new on storage is passed on: the kinds are alike, step by step.
    assert [(step.kind, step.column) for step in seen] == [(s.kind, s.column) for s in applied]
    again = _machine()
    for step in seen:
        again.apply(step)
    assert again.durable == machine.durable
    assert again.incarnation == machine.incarnation
    assert again.completed_rows == machine.completed_rows
    assert list(again.enabled()) == list(machine.enabled())


@pytest.mark.clause("SCHED-12")
def test_a_run_with_work_left_that_nothing_moves_on_is_stuck() -> None:
    machine = Machine(_graph())
    with pytest.raises(Violation, match=r"^SCHED-12: nothing can ever run again at t=0 s, with 0"):
        machine.stuck()
    machine.request_stop()
    machine.end("interrupted")
    machine.stuck()


def test_a_refused_step_is_not_observed() -> None:
    machine, seen = _machine(), list[Action]()
    machine.on_step = seen.append
    with pytest.raises(Violation):
        machine.start_cell(2, 0)
    assert seen == []


def test_a_range_and_the_rows_it_gives_are_observed_as_such() -> None:
    graph = ExecutionGraph(3, [ColumnDescriptor("s", traits=ExecutionTraits.ROW_STREAMABLE)])
    machine, seen = Machine(graph), list[Action]()
    machine.on_step = seen.append
    machine.start_range(0, 0, 3)
    machine.complete_cell(0, 1)
    assert seen == [Action("start", "s", (0, 3)), Action("complete", "s", (1, 2))]


@pytest.mark.parametrize("is_observed", [True, False])
def test_rows_that_are_written_again_are_on_storage_whoever_looks_on(is_observed: bool) -> None:
    machine = Machine(ExecutionGraph(2, [ColumnDescriptor("a")]))
    machine.on_step = list[Action]().append if is_observed else None
    for row in range(2):
        machine.start_cell(0, row)
        machine.complete_cell(0, row)
    machine.durable_rows(0, 2)
    machine.request_stop()
    machine.write_begin(0, 0, 2)
    assert machine.state.stores
    machine.durable_rows(0, 2)
    assert not machine.state.stores
