"""Slots and backoffs: what may start is what limits, and the edges of the graph, say."""

from __future__ import annotations

import random

import pytest

from cellspec import Action, Limits
from tests.state.by_definition import SHAPES, Run

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
