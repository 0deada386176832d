"""The bound of calls: which call is in flight for too long, and which timed out too soon."""

from __future__ import annotations

from typing import Any

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
BOUND_S = 1.0
CELL = Action("start", "a", (0, 1))
NAMES = {"a": "a[0]", "s": "s[0]", "v": "barrier 'v'"}
CALLS = [CELL, Action("start", "s", (0, 2)), Action("start", "v", scope=0)]
EACH = pytest.mark.parametrize("start", CALLS, ids=list(NAMES))


def machine(*waive: str, drops: bool = True, **promises: Any) -> Machine:
    columns = [
        ColumnDescriptor("a"),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE),
        ColumnDescriptor("v", traits=T.BARRIER),
    ]
    return Machine(
        ExecutionGraph(2, columns),
        failures=FailurePolicy(2, timeout_s=BOUND_S),
        drops=drops,
        waive=("SCHED-09", "SCHED-15", *waive),
        **promises,
    )


LATE = [
    # In real time without a slack nobody can say.
    ({}, 1.0, 1.1),
    ({"real_time": True, "slack_s": 0.5}, 1.5, 1.6),
    ({"real_time": True}, 9.0, None),
]


@pytest.mark.clause("FAIL-07")
@EACH
@pytest.mark.parametrize(("promises", "well", "late"), LATE)
def test_a_call_may_be_in_flight_as_long_as_its_bound_and_the_slack(
    start: Action, promises: dict[str, Any], well: float, late: float | None
) -> None:
    run = machine(**promises)
    run.apply(start)
    run.at(well)
    if late is not None:
        with pytest.raises(Violation, match=rf"^FAIL-07: {start.column}\[0\]|barrier"):
            run.at(late)
    run.apply(start._replace(kind="complete"))
    run.at(99.0)


@pytest.mark.clause("FAIL-07")
@EACH
@pytest.mark.parametrize(
    ("promises", "soon", "well"),
    [
        ({}, 0.9, 1.0),
        ({"real_time": True, "slack_s": 0.5}, 0.4, 0.5),
        ({"real_time": True}, None, 0.0),
    ],
)
def test_a_call_may_time_out_from_its_bound_on(
    start: Action, promises: dict[str, Any], soon: float | None, well: float
) -> None:
    run = machine(**promises)
    run.at(7.0)
    run.apply(start)
    fails = start._replace(kind="fail", failure="timeout")
    if soon is not None:
        run.at(7 + soon)
        said = rf"^FAIL-07: .* ends as timed out {soon:g} s after its start, and the bound is 1 s"
        with pytest.raises(Violation, match=said):
            run.apply(fails)
    run.at(7 + well)
    run.apply(fails)


@pytest.mark.clause("FAIL-07")
def test_who_promises_no_bound_may_call_any_failure_a_time_out() -> None:
    run = Machine(ExecutionGraph(1, [ColumnDescriptor("a")]))
    run.apply(CELL)
    run.apply(CELL._replace(kind="fail", failure="timeout"))


@pytest.mark.clause("FAIL-07")
def test_a_range_that_gave_its_first_row_is_in_flight_until_the_last() -> None:
    for rows, late in (((0, 1), True), ((0, 2), False)):
        run = machine()
        run.apply(Action("start", "s", (0, 2)))
        run.apply(Action("complete", "s", rows))
        if not late:
            run.at(9.0)
            continue
        with pytest.raises(Violation, match=r"^FAIL-07: s\[0\] is in flight since t=0"):
            run.at(1.1)


def with_a_failed_row(*waive: str, drops: bool = True) -> Machine:
    """Cell s[0] is in flight, and its row was dropped."""
    run = machine(*waive, drops=drops)
    run.apply(Action("start", "s", (0, 1)))
    run.apply(CELL)
    run.apply(CELL._replace(kind="fail", failure="permanent"))
    return run


@pytest.mark.clause("FAIL-07")
def test_the_call_of_a_row_that_was_dropped_has_its_bound_too() -> None:
    run = with_a_failed_row()
    with pytest.raises(Violation, match=r"^FAIL-07: s\[0\] is in flight since t=0"):
        run.at(1.1)
    run.apply(Action("complete", "s", (0, 1)))
    run.at(1.1)


@pytest.mark.clause("FAIL-07")
@pytest.mark.parametrize("end", [Action("end", outcome="failed"), Action("crash")])
def test_no_call_outlives_its_process_nor_begins_after_it(end: Action) -> None:
    run = with_a_failed_row("SCHED-07", drops=False)
    start = Action("start", "a", (1, 2))
    run.apply(start)
    run.apply(end)
    run.at(9.0)
    run.apply(start)
    run.at(19.0)


@pytest.mark.clause("FAIL-07")
def test_a_call_that_is_made_again_has_the_bound_anew() -> None:
    run = machine()
    run.apply(CELL)
    run.at(0.6)
    run.apply(CELL._replace(kind="take_back"))
    run.apply(CELL)
    run.at(1.6)
    with pytest.raises(Violation, match=r"^FAIL-07: a\[0\] is in flight since t=0.6 s"):
        run.at(1.7)
