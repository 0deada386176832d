"""A run that is asked to stop: what the transition system allows from then on."""

from __future__ import annotations

import pytest

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Limits,
    Machine,
    Violation,
)
from tests.pair import Pair
from tests.strategies import Case, Plan

pytestmark = pytest.mark.invariant

T = ExecutionTraits
COLUMNS = (
    ColumnDescriptor("a"),
    ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["a"]),
    ColumnDescriptor("c", dependencies=["v"]),
)
PLAN = Plan(
    Case(4, COLUMNS, batch_size=2),
    Limits(workers=2, group_rows=2, groups=1),
    FailurePolicy(2, stop_window=2, stop_rate=1.0),
)


def cell(kind: str, column: str, row: int, **more: object) -> Action:
    return Action(kind, column, (row, row + 1), **more)  # type: ignore[arg-type]


BEFORE = (
    (),
    (Action("admit", rows=(0, 2)), cell("start", "a", 0, attempt=1)),
    (
        Action("admit", rows=(0, 2)),
        *(cell(kind, "a", row) for row in (0, 1) for kind in ("start", "complete")),
        Action("start", "v", scope=0, attempt=1),
        Action("complete", "v", scope=0),
    ),
    (
        Action("admit", rows=(0, 2)),
        cell("start", "a", 0),
        cell("start", "a", 1),
        cell("fail", "a", 0, failure="permanent"),
        cell("fail", "a", 1, failure="permanent"),
    ),
)


@pytest.mark.clause("STOP-01", "STOP-05", "STOP-06", "STOP-07", "FAIL-04", "SCHED-14")
@pytest.mark.parametrize("before", BEFORE, ids=["new", "in flight", "barrier has run", "stops"])
def test_after_a_request_machine_and_model_allow_the_same_steps(before: tuple[Action, ...]) -> None:
    pair = Pair(PLAN)
    for action in before:
        pair.take(action)
    pair.take(Action("stop_requested"))
    for _ in range(2):
        pair.check()
        for kind in ("start", "emit", "fail", "cancel", "complete"):
            pair.sweep(kind)
        pair.attempt(Action("admit", rows=(2, 4)))
        # Asking again changes nothing.
        pair.take(Action("stop_requested"))
    offers = [each for each in pair.enabled() if each.kind in ("start", "admit")]
    assert all(pair.model.is_output(pair.node(each)) for each in offers)


def run_of(rows: int = 3) -> Machine:
    """Two rows are made, and one of them is claimed; row 2 is in flight."""
    machine = Machine(ExecutionGraph(rows, [ColumnDescriptor("a")]))
    for row in range(2):
        machine.start_cell(0, row)
        machine.complete_cell(0, row)
    machine.durable_rows(0, 2)
    machine.checkpoint_begin((1,))
    machine.checkpoint_durable()
    machine.start_cell(0, 2)
    return machine


def refused(machine: Machine, *actions: Action) -> str:
    *before, last = actions
    for action in before:
        machine.apply(action)
    with pytest.raises(Violation) as caught:
        machine.apply(last)
    return str(caught.value)


ASKED = Action("stop_requested")
INTERRUPTED = Action("end", outcome="interrupted")


@pytest.mark.clause("STOP-05")
def test_no_call_starts_after_a_request() -> None:
    start = cell("start", "a", 3)
    assert refused(run_of(4), ASKED, start) == (
        "STOP-05: a[3] starts although a stop was requested"
    )


@pytest.mark.clause("STOP-05")
def test_after_a_request_only_calls_in_flight_and_storage_take_time() -> None:
    machine = run_of()
    machine.apply(ASKED)
    machine.at(1.0)
    machine.complete_cell(0, 2)
    machine.durable_rows(0, 3)
    machine.checkpoint_begin((3,))
    machine.at(2.0)
    machine.checkpoint_durable()
    with pytest.raises(Violation, match="STOP-05: a stop was requested, and the run waited from"):
        machine.at(3.0)


@pytest.mark.clause("STOP-06")
def test_a_run_is_interrupted_only_by_a_request() -> None:
    assert refused(run_of(), INTERRUPTED).startswith("STOP-06: the run ends as interrupted, and no")
    stopped = Action("end", outcome="stopped")
    assert refused(run_of(), ASKED, stopped).startswith("STOP-06: the run ends as stopped")
    assert refused(run_of(), stopped).startswith("STOP-03")


@pytest.mark.clause("STOP-07")
def test_an_interrupted_run_has_claimed_what_it_could() -> None:
    found = refused(run_of(), ASKED, INTERRUPTED)
    assert found == (
        "STOP-07: the run ends as interrupted, but 2 rows of 'a' could be claimed, and 1 is"
    )
    begun = Action("checkpoint_begin", claim=(2,))
    found = refused(run_of(), ASKED, begun, INTERRUPTED)
    assert found.endswith("that the claim it began could not be written is not reported")
    for answer in ("checkpoint_durable", "checkpoint_failed"):
        machine = run_of()
        for action in (ASKED, begun, Action(answer), cell("cancel", "a", 2), INTERRUPTED):
            machine.apply(action)


@pytest.mark.clause("STOP-09")
def test_a_run_that_is_interrupted_or_stops_early_has_ended_its_calls() -> None:
    saved = (Action("checkpoint_begin", claim=(2,)), Action("checkpoint_durable"))
    found = refused(run_of(), ASKED, *saved, INTERRUPTED)
    assert found == "STOP-09: the run ends as interrupted, and 1 call is in flight"
    for end in (
        cell("complete", "a", 2),
        cell("cancel", "a", 2),
        cell("take_back", "a", 2),
    ):
        machine = run_of()
        for action in (ASKED, *saved, end):
            machine.apply(action)
        if end.kind == "complete":
            machine.durable_rows(0, 3)
            machine.checkpoint_begin((3,))
            machine.checkpoint_durable()
        machine.apply(INTERRUPTED)


@pytest.mark.clause("STOP-09")
def test_a_call_of_a_dropped_row_is_in_flight_until_it_ends() -> None:
    failures = FailurePolicy(1, stop_window=1, stop_rate=1.0)
    columns = [ColumnDescriptor("a"), ColumnDescriptor("b")]
    machine = Machine(ExecutionGraph(1, columns), failures=failures)
    stopped = Action("end", outcome="stopped")
    steps = (
        cell("start", "a", 0),
        cell("start", "b", 0),
        cell("fail", "a", 0, failure="permanent"),
        cell("drop", "a", 0),
        Action("stop"),
    )
    found = refused(machine, *steps, stopped)
    assert found == "STOP-09: the run ends as stopped, and 1 call is in flight"
    assert Action("end", outcome="stopped") not in machine.enabled()
    machine.apply(cell("complete", "b", 0))
    machine.apply(stopped)


@pytest.mark.clause("STOP-07")
def test_rows_of_a_run_that_claims_by_column_could_be_claimed_by_column() -> None:
    """A run that claims whole rows has nothing to claim of a row that is half done."""
    graph = ExecutionGraph(2, [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])])
    for first, breaks in (((1, 1), False), ((1, 0), True)):
        machine = Machine(graph)
        for column, row in ((0, 0), (1, 0), (0, 1)):
            machine.start_cell(column, row)
            machine.complete_cell(column, row)
            machine.durable_rows(column, row + 1)
        for claim in dict.fromkeys((first, (1, 1))):
            machine.checkpoint_begin(claim)
            machine.checkpoint_durable()
        if breaks:
            assert refused(machine, ASKED, INTERRUPTED).startswith("STOP-07")
        else:
            for action in (ASKED, INTERRUPTED):
                machine.apply(action)


@pytest.mark.clause("FAIL-04")
def test_a_call_may_be_cancelled_after_a_request() -> None:
    cancel = cell("cancel", "a", 2)
    assert refused(run_of(), cancel).startswith("FAIL-04")
    machine = run_of()
    for action in (ASKED, cancel):
        machine.apply(action)
    assert not machine.in_flight


@pytest.mark.clause("STOP-05")
def test_the_next_process_may_start_again() -> None:
    machine = run_of()
    saved = (Action("checkpoint_begin", claim=(2,)), Action("checkpoint_durable"))
    for action in (ASKED, cell("cancel", "a", 2), *saved, INTERRUPTED):
        machine.apply(action)
    assert [each.kind for each in machine.enabled()] == []
    machine.apply(Action("resume", claim=(2,)))
    assert not machine.stop_requested
    machine.start_cell(0, 2)
