"""The clock: a driver that takes the compiled function of an incarnation is judged alike."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits, Machine, Violation
from cellspec.machine.clock import compile_at
from cellspec.machine.limits import FailurePolicy

T = ExecutionTraits

LIMITS = {
    "workers": Limits(workers=2),
    "a resource": Limits(workers=3, resources={"r": 1}, column_resource={"b": "r", "d": "r"}),
    "shared places": Limits(
        resources={"r": 3, "q": 1},
        column_resource={"a": "r", "b": "r", "d": "q"},
        column_places={"a": {"r": 2, "q": 1}},
    ),
    "row groups": Limits(workers=2, group_rows=1, groups=3),
    "groups of all": Limits(workers=3, group_rows=2),
}
OF_ONE_INCARNATION = ("start", "complete", "emit", "fail", "drop", "skip", "admit", "retire")


def machine(limits: Limits) -> Machine:
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("b", dependencies=["a"]),
        ColumnDescriptor("c", dependencies=["a"], traits=T.BATCH_BARRIER),
        ColumnDescriptor("d", dependencies=["c"], traits=T.ORDERED),
    ]
    graph = ExecutionGraph(4, columns, batch_size=2)
    return Machine(graph, limits, failures=FailurePolicy(max_attempts=3))


def refused(clock: Callable[[float], None], t: float) -> str:
    """What is wrong with the clock's move; "" if nothing is."""
    try:
        clock(t)
    except Violation as broken:
        return str(broken)
    return ""


@pytest.mark.clause("SCHED-08", "SCHED-09", "GROUP-06", "SCHED-15")
@pytest.mark.parametrize("limits", LIMITS.values(), ids=list(LIMITS))
@pytest.mark.parametrize("seed", range(8))
def test_the_compiled_clock_passes_and_refuses_the_moments_that_the_clock_does(
    limits: Limits, seed: int
) -> None:
    drawn = random.Random(seed)
    said, looked = machine(limits), machine(limits)
    tick = compile_at(looked.state)
    for _ in range(150):
        options = [step for step in said.enabled() if step.kind in OF_ONE_INCARNATION]
        assert [s for s in looked.enabled() if s.kind in OF_ONE_INCARNATION] == options
        due = [step for step in options if step.kind not in ("complete", "fail", "skip")]
        if drawn.random() < (0.04 if due else 0.5):
            t = said.now + drawn.choice((0.0, 1.0, 1.0, 2.0, -1.0 if said.now else 0.0))
            why = refused(said.at, t)
            assert refused(tick, t) == why
            assert looked.now == said.now
            if why and t > said.now:
                break
        elif options:
            step = drawn.choice(due or options)
            if step.kind == "fail" and step.failure in ("retryable", "backpressure"):
                step = step._replace(until=said.now + drawn.choice((0.0, 1.0, 1.5)))
            said.apply(step)
            looked.apply(step)


@pytest.mark.clause("SCHED-08", "SCHED-09", "SCHED-15")
@pytest.mark.parametrize(
    ("waive", "towards", "broken"),
    [([], 1.0, "SCHED-09"), (["SCHED-09"], 1.0, "SCHED-15"), ([], 0.0, "SCHED-08")],
)
def test_the_moments_of_a_refusal_are_written_apart_however_near_they_are(
    waive: list[str], towards: float, broken: str
) -> None:
    run = Machine(ExecutionGraph(1, [ColumnDescriptor("a", traits=T.START)]), waive=waive)
    run.state.now = 0.5
    said = refused(run.at, math.nextafter(0.5, towards))
    assert said.startswith(broken)
    moments = re.findall(r"\b0\.\d+", said)
    assert len(moments) == len(set(moments)) == 2, said
