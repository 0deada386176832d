"""Calls that their node cannot take, where that is not judged: each holds a slot until it ends."""

from __future__ import annotations

import pytest

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Machine,
    Violation,
)

T = ExecutionTraits
CELL = Action("start", "a", (0, 1))
BARRIER = Action("start", "v", scope=0)
BOTH = pytest.mark.parametrize("start", [CELL, BARRIER], ids=["cell", "barrier"])


def machine(*waive: str, failures: FailurePolicy | None = None) -> Machine:
    columns = [
        ColumnDescriptor("a"),
        ColumnDescriptor("v", traits=T.BARRIER),
        ColumnDescriptor("w", dependencies=["a"], traits=T.BATCH_BARRIER),
    ]
    graph = ExecutionGraph(3, columns, batch_size=2)
    return Machine(graph, failures=failures, waive=("SCHED-02", *waive))


@pytest.mark.clause("SCHED-02", "SCHED-04")
@BOTH
@pytest.mark.parametrize("end", ["complete", "cancel", "take_back", "fail"])
def test_as_many_calls_end_as_were_started(start: Action, end: str) -> None:
    run = machine(failures=FailurePolicy(9))
    for _ in range(4):
        run.apply(start)
    ends = start._replace(kind=end, failure="retryable" if end == "fail" else None)
    for left in (3, 2, 1):
        run.apply(ends)
        assert run.in_flight == left
    run.apply(start._replace(kind="complete"))
    assert run.in_flight == 0
    with pytest.raises(Violation, match=r"^SCHED-04"):
        run.apply(start._replace(kind="complete"))


@pytest.mark.clause("FAIL-05")
@BOTH
def test_once_a_second_call_has_ended_the_number_of_the_attempt_is_judged_again(
    start: Action,
) -> None:
    run = machine("SCHED-03", "FAIL-03", failures=FailurePolicy(9))
    end, fail = start._replace(kind="complete", attempt=2), start._replace(kind="fail")
    run.apply(start)
    run.apply(start)
    run.apply(fail._replace(failure="backpressure"))
    if start is BARRIER:
        with pytest.raises(Violation, match=r"^FAIL-05"):
            run.apply(end)
    else:
        run.apply(fail._replace(failure="backpressure"))
        run.apply(start)
        with pytest.raises(Violation, match=r"^FAIL-05"):
            run.apply(end)


@pytest.mark.clause("FAIL-05")
@BOTH
def test_of_two_calls_of_a_node_nobody_can_tell_which_one_ends(start: Action) -> None:
    run = machine(failures=FailurePolicy(9))
    run.apply(start)
    run.apply(start._replace(attempt=1))
    run.apply(start._replace(kind="complete", attempt=5))
    run.apply(start._replace(kind="complete", attempt=1))


@pytest.mark.clause("STOP-01", "STOP-02")
@pytest.mark.parametrize("second", [False, True])
@BOTH
def test_the_good_end_of_each_call_counts_for_the_early_stop(start: Action, second: bool) -> None:
    """Of the last three calls two failed, unless a further good one is among them."""
    run = machine(failures=FailurePolicy(stop_window=3, stop_rate=0.6))
    run.apply(Action("start", "a", (1, 3)))
    for _ in range(1 + second):
        run.apply(start)
    fail = Action("fail", "a", (1, 2), failure="permanent")
    run.apply(fail)
    run.apply(start._replace(kind="complete"))
    if second:
        run.apply(start._replace(kind="complete"))
    run.apply(fail._replace(rows=(2, 3)))
    assert run.must_stop is not second


@pytest.mark.clause("BARR-02", "SCHED-03")
def test_a_barrier_that_runs_after_its_output_was_given_runs_once() -> None:
    run = machine("BARR-02")
    for row in (0, 1):
        run.apply(Action("start", "a", (row, row + 1)))
        if row == 0:
            run.apply(Action("emit", "w", (0, 1)))
        run.apply(Action("complete", "a", (row, row + 1)))
    first = Action("start", "w", scope=0)
    run.apply(first)
    assert run.in_flight == 1
    with pytest.raises(Violation, match=r"^SCHED-03: barrier 0 of 'w' starts although it is"):
        run.apply(first)
