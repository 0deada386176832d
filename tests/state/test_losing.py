"""Results that are lost with a worker: what is ready then is what the edges of the graph say.

What is on storage is not lost, nor is the output of a barrier that is on storage when its node is.
"""

from __future__ import annotations

import random

import pytest

from cellspec import (
    Action,
    CellNodeId,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    Machine,
    Violation,
)
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


@pytest.mark.clause("FAIL-08", "SKIP-02")
def test_output_that_was_given_and_lost_is_made_again_and_only_other_output_is_skipped() -> None:
    """Else a cell that has read it, and is lost next, would read a value that was never made."""
    columns = [
        ColumnDescriptor("b", traits=ExecutionTraits.BARRIER, may_skip=True),
        ColumnDescriptor("c", dependencies=["b"]),
    ]
    machine = Machine(ExecutionGraph(5, columns))

    def run_node() -> None:
        for kind in ("start", "complete"):
            machine.apply(Action(kind, "b", scope=0))

    run_node()
    machine.apply(Action("emit", "b", (0, 4)))
    for kind in ("start", "complete"):
        machine.apply(Action(kind, "c", (0, 1)))
    machine.apply(Action("durable", "b", (1, 2)))
    machine.apply(Action("worker_lost"))
    machine.apply(Action("lose", "b", scope=0))
    run_node()
    assert [str(step) for step in machine.enabled() if step.kind == "skip"] == ["skip b[4]"]
    for row in (0, 2, 3):
        words = rf"^FAIL-08: b\[{row}\] is skipped although it was made"
        with pytest.raises(Violation, match=words):
            machine.apply(Action("skip", "b", (row, row + 1)))
        machine.apply(Action("emit", "b", (row, row + 1)))
    machine.apply(Action("skip", "b", (4, 5)))
    assert all(machine.counters.is_resolved(0, row) for row in range(5))
    assert [row for row in range(5) if machine.counters.is_skipped(0, row)] == [4]
