"""Results that are lost with a worker: what is ready then is what the edges of the graph say.

What is on storage is not lost, nor is the output of a barrier that is on storage when its node is.
"""

from __future__ import annotations

import random

import pytest

from cellspec.graph.nodes import CellNodeId
from cellspec.machine.actions import Action
from tests.state.by_definition import ROWS, SHAPES, Run


@pytest.mark.clause("FAIL-08")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(6))
def test_after_a_loss_a_node_may_start_once_all_that_it_depends_on_is_made_again(
    shape: str, seed: int
) -> None:
    drawn, run = random.Random(f"{shape} {seed}"), Run(shape)
    for _ in range(80):
        ready = sorted(run.ready(), key=str)
        assert run.offered() == set(ready)
        counters = run.machine.counters
        assert sum(counters.ready) + sum(counters.ready_barriers) == len(ready)
        complete = [
            all(CellNodeId(row, name) in run.done for name in run.graph.column_names)
            for row in range(ROWS)
        ]
        assert run.machine.completed_rows == [*complete, False].index(False)
        lost = run.may_lose()
        if lost and drawn.random() < 0.2:
            run.machine.apply(Action("worker_lost"))
            run.take(drawn.choice(lost), "lose")
        elif run.running and drawn.random() < 0.4:
            run.take(drawn.choice(sorted(run.running, key=str)), "complete")
        elif drawn.random() < 0.15 and (cells := run.may_save()):
            run.save(drawn.choice(cells))
        elif ready:
            run.take(drawn.choice(ready), "start")
