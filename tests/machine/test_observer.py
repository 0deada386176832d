"""The observer of a machine receives the steps that were taken, in order, and no others."""

from __future__ import annotations

import random

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
