"""Slots and backoffs: what may start is what limits, and the edges of the graph, say."""

from __future__ import annotations

import random

import pytest

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Limits,
    Machine,
)
from tests.state.by_definition import SHAPES, Run

T = ExecutionTraits

LIMITS = {
    "none": Limits(),
    "workers": Limits(workers=2),
    "a resource": Limits(
        workers=3, resources={"r": 1, "q": 2}, column_resource={"b": "r", "c": "q"}
    ),
}


@pytest.mark.clause("SCHED-06", "SCHED-11", "FAIL-03", "FAIL-08")
@pytest.mark.parametrize("limits", LIMITS.values(), ids=list(LIMITS))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_a_node_starts_when_it_is_ready_its_backoff_is_over_and_a_slot_is_free(
    shape: str, limits: Limits, seed: int
) -> None:
    drawn, run = random.Random(f"{shape} {seed}"), Run(shape, limits)
    for _ in range(70):
        startable = sorted(run.startable(), key=str)
        assert run.offered() == set(startable)
        counters = run.machine.counters
        assert sum(counters.ready) + sum(counters.ready_barriers) == len(run.ready())
        assert run.machine.in_flight == len(run.running)
        lost = run.may_lose()
        if lost and drawn.random() < 0.1:
            run.machine.apply(Action("worker_lost"))
            run.take(drawn.choice(lost), "lose")
        elif run.running and drawn.random() < (0.5 if startable else 0.9):
            node = drawn.choice(sorted(run.running, key=str))
            if drawn.random() < 0.4:
                run.fail(node, run.machine.now + drawn.choice((0.0, 1.0, 2.0)))
            else:
                run.take(node, "complete")
        elif startable:
            run.take(drawn.choice(startable), "start")
        elif waits := sorted(until for until in run.backoff.values() if until > run.machine.now):
            run.machine.at(waits[0])


EARLY = {
    "an input": [("a", T.NONE, ""), ("b", T.NONE, "a")],
    "an input of two cells": [("a", T.NONE, ""), ("b", T.NONE, "a"), ("c", T.NONE, "a")],
    "the output of a barrier": [("a", T.BARRIER, ""), ("b", T.NONE, "a")],
    "two inputs": [("a", T.NONE, ""), ("v", T.NONE, ""), ("b", T.NONE, "av")],
}


@pytest.mark.clause("SCHED-01", "FAIL-03")
@pytest.mark.parametrize("columns", EARLY.values(), ids=list(EARLY))
def test_a_cell_that_nobody_kept_from_an_early_start_waits_when_it_failed(
    columns: list[tuple[str, T, str]],
) -> None:
    graph = ExecutionGraph(
        1,
        [
            ColumnDescriptor(name, traits=kind, dependencies=[*needs])
            for name, kind, needs in columns
        ],
    )
    machine = Machine(graph, failures=FailurePolicy(max_attempts=2), waive=("SCHED-01",))
    machine.apply(Action("start", "b", (0, 1)))
    machine.apply(Action("fail", "b", (0, 1), failure="retryable", until=0.0))
    calls = ("start", "complete", "emit")
    for _ in range(5):
        steps = [step for step in machine.enabled() if step.kind in calls]
        inputs = [step for step in steps if step.column not in "bc"]
        if not inputs:
            break
        assert all(step.column != "b" for step in steps)
        machine.apply(inputs[0])
    assert "start b[0]" in map(str, machine.enabled())
