"""The attempts of a node: which number a call has, and what is remembered of it."""

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
from cellspec.machine import attempts
from cellspec.machine.actions import Failure
from cellspec.machine.taking_back import TAKEN_BACK_MAX

T = ExecutionTraits


def machine(
    *waive: str, rows: int = 3, most: int = 3, drops: bool = True, timeout_s: float | None = None
) -> Machine:
    columns = [ColumnDescriptor("a"), ColumnDescriptor("s", traits=T.ROW_STREAMABLE)]
    return Machine(
        ExecutionGraph(rows, columns),
        failures=FailurePolicy(most, timeout_s=timeout_s),
        drops=drops,
        waive=waive,
    )


def fail(run: Machine, row: int, times: int = 1) -> None:
    """A cell fails so often, and may be tried again."""
    for _ in range(times):
        run.start_cell(0, row)
        run.fail_cell(0, row, "retryable")


def make(run: Machine, row: int, attempt: int | None = None) -> None:
    run.start_cell(0, row, attempt)
    run.complete_cell(0, row, attempt)


@pytest.mark.clause("FAIL-01", "FAIL-02", "FAIL-05")
def test_a_node_that_failed_for_good_has_no_next_number() -> None:
    """It must not start at all; where that is not judged, its number is neither."""
    run = machine("FAIL-02")
    run.start_cell(0, 0)
    run.fail_cell(0, 0, "permanent")
    run.start_cell(0, 0, attempt=7)
    run.complete_cell(0, 0, attempt=9)
    judged = machine()
    judged.start_cell(0, 0)
    judged.fail_cell(0, 0, "permanent")
    with pytest.raises(Violation, match=r"^FAIL-02: a\[0\] starts although it failed for good"):
        judged.start_cell(0, 0, attempt=7)


@pytest.mark.clause("FAIL-06")
@pytest.mark.parametrize("failure", ["retryable", "backpressure"])
def test_a_call_that_ends_in_another_way_may_be_taken_back_as_often_again(failure: Failure) -> None:
    run = machine()
    call = Action("start", "a", (0, 1))
    for _ in range(2):
        for _ in range(TAKEN_BACK_MAX):
            run.apply(call)
            run.apply(call._replace(kind="take_back"))
        run.apply(call)
        run.apply(call._replace(kind="fail", failure=failure))
    for _ in range(TAKEN_BACK_MAX):
        run.apply(call)
        run.apply(call._replace(kind="take_back"))
    run.apply(call)
    with pytest.raises(Violation, match=r"^FAIL-06: a\[0\] is taken back again, after 8 times"):
        run.apply(call._replace(kind="take_back"))


@pytest.mark.clause("SCHED-14", "FAIL-04")
def test_once_a_node_has_failed_for_good_the_run_may_give_up_whatever_fails_later() -> None:
    run = machine(drops=False)
    for row in range(3):
        run.start_cell(0, row)
    run.fail_cell(0, 0, "permanent")
    run.record_drop(0, 0, 1)
    run.fail_cell(0, 1, "retryable")
    run.cancel_cell(0, 2)
    run.end("failed")


@pytest.mark.clause("SCHED-07", "FAIL-05")
def test_after_the_end_no_attempt_is_in_flight_so_its_number_is_not_judged() -> None:
    run = machine(drops=False)
    run.start_cell(0, 0)
    run.start_cell(0, 1)
    run.fail_cell(0, 0, "permanent")
    run.end("failed")
    with pytest.raises(Violation, match=r"^SCHED-07: end of a\[1\] after the end"):
        run.complete_cell(0, 1, attempt=7)


@pytest.mark.clause("FAIL-02", "FAIL-05")
def test_a_range_may_give_a_row_that_failed_for_good_where_that_is_not_judged() -> None:
    run = machine("FAIL-02")
    run.start_cell(1, 0)
    run.fail_cell(1, 0, "permanent")
    run.start_range(1, 0, 2)
    for row in (0, 1):
        run.complete_cell(1, row, attempt=1)
    assert run.in_flight == 0


# What is forgotten


def forgetting(monkeypatch: pytest.MonkeyPatch, above: int = 0, most: int = 3) -> Machine:
    """A run that looks for attempts to forget once it knows of more nodes than so many."""
    monkeypatch.setattr(attempts, "_FORGET_ABOVE", above)
    return machine(rows=12, most=most)


def test_as_many_nodes_as_may_be_are_remembered_whatever_became_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = forgetting(monkeypatch, above=2)
    for row in (0, 1):
        fail(run, row)
        make(run, row)
    fail(run, 2)
    assert sorted(run.attempts) == [(0, 0), (0, 1), (0, 2)]
    fail(run, 3)
    assert sorted(run.attempts) == [(0, 2), (0, 3)]


@pytest.mark.clause("FAIL-01", "FAIL-02", "DROP-03")
def test_what_may_matter_again_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    run = forgetting(monkeypatch)
    fail(run, 0, 2)
    fail(run, 1, 1)
    run.start_cell(0, 2)
    run.fail_cell(0, 2, "permanent")
    fail(run, 3)
    run.start_cell(0, 3)
    # Its row was dropped, but its call is in flight, and may be tried again.
    run.apply(Action("start", "s", (3, 4)))
    run.apply(Action("fail", "s", (3, 4), failure="permanent"))
    fail(run, 4)
    make(run, 4)
    fail(run, 5)
    fail(run, 6)
    fail(run, 7)
    fail(run, 8)
    assert (0, 4) not in run.attempts
    assert {key: run.attempts[key] for key in ((0, 0), (0, 1), (0, 3))} == {
        (0, 0): 2,
        (0, 1): 1,
        (0, 3): 1,
    }
    run.complete_cell(0, 3, attempt=2)
    make(run, 0, attempt=3)
    make(run, 1, attempt=2)
    with pytest.raises(Violation, match=r"^FAIL-02: a\[2\] starts although it failed for good"):
        run.start_cell(0, 2)


def test_attempts_are_looked_through_when_they_have_doubled_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So each is looked at a few times in all, however many are kept."""
    run = forgetting(monkeypatch)
    known = []
    for row in range(12):
        fail(run, row)
        if row > 1:
            make(run, row)
        known.append(len(run.attempts))
    # Rows 0 and 1 stay open.
    assert known == [1, 2, *(3, 4) * 5]


@pytest.mark.clause("FAIL-01", "FAIL-05", "FAIL-08")
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_of_a_lost_node_whose_attempts_were_forgotten_the_next_number_is_right_once(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run = forgetting(monkeypatch)
    for row in range(4):
        fail(run, row)
        make(run, row)
    assert (0, 0) not in run.attempts
    run.apply(Action("worker_lost"))
    run.apply(Action("lose", "a", (0, 1)))
    run.start_cell(0, 0, attempt=number)
    wrong = max(number, 1) + 1
    with pytest.raises(Violation, match=rf"^FAIL-05: attempt {wrong} of a\[0\] ends"):
        run.complete_cell(0, 0, attempt=wrong)
    run.fail_cell(0, 0, "retryable", attempt=max(number, 1))
    if number == 3:
        assert list(run.unrecorded) == [0]
        return
    with pytest.raises(Violation, match=r"^FAIL-01: a\[0\] starts as attempt 7"):
        run.start_cell(0, 0, attempt=7)
    run.start_cell(0, 0, attempt=wrong)
