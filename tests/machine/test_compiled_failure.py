"""The failure of a cell as one compiled look, held against the machine's method."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits
from cellspec.machine.actions import Failure
from cellspec.machine.failures import compile_fail
from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.machine.machine import Machine

WALK = ("start", "complete", "drop")
KINDS: tuple[Failure, ...] = ("backpressure", "backpressure", "retryable", "permanent")


def machine(limits: Limits) -> Machine:
    columns = [
        ColumnDescriptor("a", traits=ExecutionTraits.START | ExecutionTraits.ROW_STREAMABLE),
        ColumnDescriptor("b", traits=ExecutionTraits.ROW_STREAMABLE, dependencies=("a",)),
    ]
    # A walk starts what it likes, when it likes.
    waive = ("SCHED-09", "SCHED-15")
    return Machine(ExecutionGraph(5, columns), limits, failures=FailurePolicy(3), waive=waive)


def seen(of: Machine) -> list[Any]:
    run = of.state
    counters = run.counters
    cells = [[body[row] for row in range(5)] for body in counters.cells]
    return [
        *(cells, counters.load, counters.busy, counters.ready, sorted(counters.dropped)),
        *(run.backoffs, sorted(run.due), run.attempts, run.unanswered, run.unrecorded, run.now),
    ]


@pytest.mark.parametrize("resources", [{}, {"r": 2}])
def test_a_compiled_failure_is_the_failure(resources: dict[str, int]) -> None:
    of_column = {"a": "r"} if resources else {}
    limits = Limits(workers=4, resources=resources, column_resource=of_column)
    kinds: set[Failure] = set()
    for seed in range(60):
        draw = random.Random(f"fails/{seed}")
        left, right = machine(limits), machine(limits)
        fail, t = compile_fail(right.state), 0.0
        for _ in range(40):
            t += draw.choice((0.0, 0.5))
            left.at(t)
            right.at(t)
            actions = [each for each in left.enabled() if each.kind in WALK]
            if not actions:
                break
            action = draw.choice(actions)
            column, row = "ab".index(str(action.column)), action.rows[0] if action.rows else 0
            if action.kind == "complete" and draw.random() < 0.6:
                kind, until = draw.choice(KINDS), t + draw.choice((0.0, 0.5, 2.0))
                left.fail_cell(column, row, kind, until)
                fail((column, row), kind, until)
                kinds.add(kind)
            else:
                left.apply(action)
                right.apply(action)
            assert seen(left) == seen(right)
    assert kinds == set(KINDS)
