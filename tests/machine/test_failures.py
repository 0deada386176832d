"""Calls that end badly or are cancelled: which call ends, and what is left of its node."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Machine, Violation
from cellspec.machine.failures import compile_fail
from cellspec.machine.limits import FailurePolicy
from tests.machine.test_refusals import made, ran, refusal, take

T = ExecutionTraits

NAMES = "azsv"


def machine(**options: Any) -> Machine:
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("z", traits=T.START),
        ColumnDescriptor("s", traits=T.START | T.ROW_STREAMABLE),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["a"]),
    ]
    options.setdefault("failures", FailurePolicy(2))
    return Machine(ExecutionGraph(4, columns, batch_size=2), **options)


def gives_up(row: int) -> str:
    """The step after which a row is dropped, while other calls of it go on."""
    return f"fail z {row} failure=permanent"


BOUNDED = FailurePolicy(2, timeout_s=2.0)

REFUSED: list[tuple[list[str], str]] = [
    (["start a 0", "fail a 0 failure=retryable attempt=2"], "FAIL-05: attempt 2 of a[0] ends"),
    (["start a 0", "fail a 0 failure=backpressure attempt=2"], "FAIL-05: attempt 2 of a[0] ends"),
    (["start a 0", "fail a 0 failure=retryable attempt=1"], ""),
    (["start a 0", "crash", "fail a 0 failure=retryable"], "SCHED-07: failure of a[0] after a cr"),
    (
        [*made("a", 0, 1), *ran("v", 0), "start v 0", "fail v 0 failure=retryable"],
        "FAIL-04: v[0] fails, but is not running",
    ),
    (
        [*made("a", 0, 1), *ran("v", 0), "start v 0", "stop_requested", "cancel v 0"],
        "FAIL-04: v[0] is cancelled, but is not running",
    ),
    (["cancel a 0"], "FAIL-04: a[0] is cancelled, but is not running"),
    (["start a 0", "stop_requested", "cancel a 0 attempt=2"], "FAIL-05: attempt 2 of a[0] ends"),
    (["start s 0:2", "stop_requested", "cancel s 0 attempt=2"], "FAIL-05: attempt 2 of s[0] ends"),
    (["start s 0:2", "start z 0", "start z 1", gives_up(0), "cancel s 0"], "FAIL-04: s[0:2] is"),
    (["start s 0:2", "start z 0", "start z 1", gives_up(0), gives_up(1), "cancel s 0"], ""),
    (["start a 0", "cancel a 0"], "FAIL-04: a[0] is cancelled although its value is wanted"),
    (["start s 0:2", "cancel s 0"], "FAIL-04: s[0:2] is cancelled although s[0] of it is wanted"),
]


@pytest.mark.clause("FAIL-04", "FAIL-05", "SCHED-07")
@pytest.mark.parametrize(("steps", "said"), REFUSED)
def test_only_a_call_in_flight_fails(steps: list[str], said: str) -> None:
    found = refusal(machine(), *steps)
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.clause("FAIL-07")
@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("fail a 0 failure=timeout", "FAIL-07: a[0] "),
        ("fail a 0 failure=retryable", ""),
        ("fail a 0 failure=permanent", ""),
        ("cancel a 0", ""),
    ],
)
def test_a_call_whose_row_was_dropped_times_out_at_its_bound_too(end: str, said: str) -> None:
    steps = ["start a 0", "start z 0", gives_up(0), end]
    found = refusal(machine(failures=BOUNDED), *steps)
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.clause("FAIL-06")
@pytest.mark.parametrize("between", [["fail a 0 failure=backpressure", "start a 0"], []])
def test_a_call_that_was_pushed_back_may_be_taken_back_as_often_again(between: list[str]) -> None:
    steps = ["take_back a 0", "start a 0"] * 8
    found = refusal(machine(), "start a 0", *steps, *between, "take_back a 0")
    assert found.partition(":")[0] == ("" if between else "FAIL-06")


# Calls whose row was dropped meanwhile


@pytest.mark.clause("DROP-01")
@pytest.mark.parametrize("spent", [0, 1])
def test_a_call_that_spends_its_last_attempt_for_a_dropped_row_may_be_what_is_recorded(
    spent: int,
) -> None:
    steps = ["start a 0", "fail a 0 failure=retryable"] * spent
    steps += ["start a 0", "start z 0", gives_up(0), "fail a 0 failure=retryable", "drop a 0"]
    assert refusal(machine(), *steps).partition(":")[0] == ("" if spent else "DROP-01")


@pytest.mark.clause("FAIL-01")
@pytest.mark.parametrize(
    ("options", "clause"),
    [
        ({"hears_late": True}, "FAIL-01"),
        ({"waive": ["DROP-03"]}, "FAIL-01"),
        ({}, "DROP-03"),
    ],
)
def test_an_engine_that_does_not_know_of_the_drop_counts_the_attempts_of_its_call(
    options: dict[str, Any], clause: str
) -> None:
    run = machine(**options)
    take(run, "start a 0", "start z 0", gives_up(0), "fail a 0 failure=retryable")
    assert refusal(run, "start a 0 attempt=1").partition(":")[0] == clause
    again = refusal(run, "start a 0 attempt=2").partition(":")[0]
    assert again == ("DROP-03" if clause == "DROP-03" else "")


# Calls that their node cannot take, where that is not judged


@pytest.mark.clause("SCHED-16")
def test_the_failure_of_a_call_beside_another_is_answered_by_one_pause() -> None:
    run = machine(waive=["SCHED-02"])
    take(run, "start a 0", "start a 0", "fail a 0 failure=retryable", "pause until=1")
    with pytest.raises(Violation, match=r"^SCHED-16"):
        run.pause(2.0)


@pytest.mark.parametrize("end", ["fail a 0 failure=retryable", "cancel a 0"])
def test_the_call_beside_another_ends_first(end: str) -> None:
    run = machine(waive=["SCHED-02"])
    take(run, "start a 0", "start a 0", end)
    assert run.in_flight == 1
    take(run, "complete a 0")
    assert run.in_flight == 0
    assert run.counters.is_resolved(0, 0)


def test_the_call_of_a_dropped_row_ends_before_the_one_beside_it() -> None:
    run = machine(waive=["SCHED-02", "DROP-03"])
    take(run, "start a 0", "start z 0", gives_up(0), "start a 0")
    for left in (1, 0):
        take(run, "cancel a 0")
        assert run.in_flight == left


@pytest.mark.clause("DROP-01")
@pytest.mark.parametrize(
    ("row", "recorded", "allowed"), [(1, 1, True), (1, 0, False), (0, 0, True), (0, 1, False)]
)
def test_a_call_that_fails_over_a_dropped_row_may_be_recorded_for_that_row_alone(
    row: int, recorded: int, allowed: bool
) -> None:
    steps = ["start z 0", "start z 1", gives_up(0), gives_up(1)]
    steps += [f"start a {row}", f"fail a {row} failure=permanent", f"drop a {recorded}"]
    found = refusal(machine(waive=["DROP-03"]), *steps)
    assert found.partition(":")[0] == ("" if allowed else "DROP-01")


@pytest.mark.clause("DROP-01")
@pytest.mark.parametrize("row", [1, 2])
def test_a_barrier_that_fails_may_be_recorded_for_the_rows_of_its_batch_alone(row: int) -> None:
    steps = [*made("a", 0, 1), "start v /0", f"start z {row}", gives_up(row)]
    found = refusal(machine(), *steps, "fail v /0 failure=permanent", f"drop v {row}")
    assert found.partition(":")[0] == ("" if row == 1 else "DROP-01")


def test_output_that_is_said_to_fail_can_be_given_all_the_same() -> None:
    steps = [*made("a", 0, 1), *ran("v", 0), "fail v 0 failure=retryable", "emit v 0:2"]
    assert refusal(machine(waive=["FAIL-04"]), *steps) == ""


# Ranges

LOST_OF_A_RANGE = ["start s 0:3", "complete s 0", "complete s 1", "worker_lost", "lose s 0:2"]
"""A range that still has its last row to give; the others are to be made again."""


def test_a_row_that_runs_again_beside_its_range_is_cancelled_alone() -> None:
    run = machine()
    take(run, *LOST_OF_A_RANGE, "start s 0", "stop_requested", "cancel s 0")
    assert run.in_flight == 1
    take(run, "complete s 2")
    assert run.in_flight == 0


@pytest.mark.clause("FAIL-04")
def test_a_range_is_wanted_for_what_it_has_not_given() -> None:
    assert refusal(machine(), *LOST_OF_A_RANGE, "start s 0:2", "cancel s 2") == (
        "FAIL-04: s[0:3] is cancelled although s[2] of it is wanted"
    )


def test_what_is_cancelled_waits_for_another_call() -> None:
    run = machine()
    take(run, "start s 0:4", "complete s 1", "start a 0", "stop_requested", "cancel s 0")
    assert run.in_flight == 1
    take(run, "cancel a 0")
    assert run.in_flight == 0
    assert run.backoffs == {(0, 0): None} | {(2, row): None for row in (0, 2, 3)}


# One compiled look

LOOKS: list[tuple[Collection[str], list[str], str]] = [
    ((), [], "a 0"),
    ((), made("a", 0), "a 0"),
    ((), [*made("a", 0, 1), *ran("v", 0), "start v 0"], "v 0"),
    (["SCHED-02"], ["start a 0", "start a 0"], "a 0"),
    ((), ["start a 0", "take_back a 0", "start a 0"], "a 0"),
    ((), ["start a 0", "crash"], "a 0"),
    (["SCHED-14", "SCHED-10", "STOP-09"], ["start a 0", "end outcome=failed"], "a 0"),
    ((), ["start a 0"], "a 0"),
]


@pytest.mark.parametrize(("waive", "steps", "of"), LOOKS)
def test_a_compiled_failure_refuses_what_the_failure_does(
    waive: Collection[str], steps: list[str], of: str
) -> None:
    left, right = machine(waive=waive), machine(waive=waive)
    take(left, *steps)
    take(right, *steps)
    column, row = of.split()
    words = ["", ""]
    try:
        left.fail_cell(NAMES.index(column), int(row), "backpressure", 3.0)
    except Violation as violation:
        words[0] = str(violation)
    try:
        compile_fail(right.state)((NAMES.index(column), int(row)), "backpressure", 3.0)
    except Violation as violation:
        words[1] = str(violation)
    assert words[0] == words[1]
    for seen in ("backoffs", "taken_back", "strays", "attempts", "unanswered"):
        assert getattr(left.state, seen) == getattr(right.state, seen)
    assert left.in_flight == right.in_flight
