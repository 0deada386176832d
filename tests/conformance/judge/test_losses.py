"""Workers that are lost: right engines are not blamed, and every situation comes up."""

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
from cellspec.conformance import Backend, Probe, Workload, run_workload
from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.judge.profiles import profile_of
from cellspec.engines.machine import MachineBackend
from cellspec.errors import SpecError
from tests.conformance.second_engine import ColumnFirst

T = ExecutionTraits
CHAIN = (
    ColumnDescriptor("a"),
    ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]),
    ColumnDescriptor("c", dependencies=["v"]),
)
LOSING = Workload(CHAIN, rows=4, worker_losses=(12,))


@pytest.mark.long
@pytest.mark.clause("FAIL-08")
@pytest.mark.parametrize("backend", [ColumnFirst(), MachineBackend()], ids=lambda one: one.name)
def test_an_engine_that_makes_lost_results_again_passes_and_meets_every_goal(
    backend: Backend,
) -> None:
    campaign = run_campaign(
        lambda work, waived: run_workload(backend, work, waive=waived),
        "lost_workers",
        beside=backend.capabilities,
        max_examples=100,
    )
    assert campaign.failures == {}
    goals = profile_of("lost_workers").goals
    missed = [goal.what for goal in goals if not campaign.evidence.sometimes[goal.what]]
    assert missed == []


@pytest.mark.clause("FAIL-08")
def test_what_was_lost_is_made_again_and_what_was_made_from_it_stays() -> None:
    result = run_workload(ColumnFirst(), LOSING)
    assert not result.violations, result.violations
    kinds = [event["event"] for event in result.events]
    assert "worker_lost" in kinds
    lost = [event for event in result.events if event["event"] == "lose"]
    assert lost
    lost += [event for event in result.events if event["event"] == "take_back"]
    starts = [
        (e["column"], e.get("rows"), e.get("scope"))
        for e in result.events[:]
        if e["event"] == "start"
    ]
    again = {start for start in starts if starts.count(start) > 1}
    assert again == {(e["column"], e.get("rows"), e.get("scope")) for e in lost}
    assert result.outcomes == ["success"]


@pytest.mark.clause("TABLE-06")
def test_what_is_made_again_does_not_time_out_where_a_run_without_a_loss_does_not() -> None:
    """The barrier is in time at first; all its later calls would take longer than the bound."""
    work = Workload(
        (
            ColumnDescriptor("a", traits=T.START | T.BARRIER),
            ColumnDescriptor("b", dependencies=["a"]),
        ),
        rows=2,
        seed=2,
        failures=FailurePolicy(max_attempts=2, timeout_s=1.03125),
        latency_s={"a": 2.0},
        crashes=(3,),
        worker_losses=(3, 3),
    )
    result = run_workload(ColumnFirst(), work)
    assert {"worker_lost", "crash"} <= {event["event"] for event in result.events}
    assert not result.violations


def test_an_engine_that_cannot_lose_a_worker_is_not_asked_to() -> None:
    engine = MachineBackend()
    engine.capabilities = engine.capabilities - {"lost_workers"}
    result = run_workload(engine, LOSING)
    assert not result.violations
    assert "worker_lost" not in {event["event"] for event in result.events}


class Fragile(ColumnFirst):
    """Falls over when a worker is lost."""

    def lose_worker(self, probe: Probe) -> None:  # noqa: ARG002
        raise RuntimeError("no such worker")


class Without(ColumnFirst):
    """Names the capability, and has no method for it."""

    lose_worker = None  # type: ignore[assignment]


def test_a_backend_that_cannot_do_what_it_says_has_a_mistake_of_the_adapter() -> None:
    with pytest.raises(SpecError, match="lose_worker: expected a method"):
        run_workload(Without(), LOSING)
    assert run_workload(Fragile(), LOSING).adapter == "lose_worker: RuntimeError: no such worker"


# The machine


def machine_with(*steps: Action) -> Machine:
    machine = Machine(ExecutionGraph(3, CHAIN))
    for step in steps:
        machine.apply(step)
    return machine


def cell(kind: str, column: str, row: int) -> Action:
    return Action(kind, column, (row, row + 1))


ROWS = [cell(kind, "a", row) for row in range(3) for kind in ("start", "complete")]
RAN = [Action(kind, "v", scope=0) for kind in ("start", "complete")]


@pytest.mark.clause("FAIL-08")
def test_output_that_is_durable_stays_when_its_barrier_is_lost() -> None:
    given = [*ROWS, *RAN, Action("emit", "v", (0, 3)), Action("durable", "v", (0, 2))]
    machine = machine_with(*given, Action("worker_lost"), Action("lose", "v", scope=0))
    assert machine.counters.prefix(1) == 2
    for step in (*RAN, Action("emit", "v", (2, 3))):
        machine.apply(step)
    assert machine.counters.prefix(1) == 3
    machine = machine_with(*given, Action("durable", "v", (0, 3)), Action("worker_lost"))
    with pytest.raises(Violation, match="all that it gave is durable"):
        machine.apply(Action("lose", "v", scope=0))


@pytest.mark.clause("FAIL-08")
def test_the_finished_rows_walk_back_and_come_forward_again() -> None:
    made = [cell(kind, "c", row) for row in range(3) for kind in ("start", "complete")]
    machine = machine_with(*ROWS, *RAN, Action("emit", "v", (0, 3)), *made, Action("worker_lost"))
    assert machine.completed_rows == 3
    machine.apply(Action("lose", "a", (1, 2)))
    assert machine.completed_rows == 1
    assert machine.claim(2) == (1, 1, 1)
    for kind in ("start", "complete"):
        machine.apply(cell(kind, "a", 1))
    assert machine.completed_rows == 3


@pytest.mark.clause("FAIL-08", "SCHED-13")
def test_a_lost_row_takes_the_turn_of_an_ordered_column_and_hands_it_on() -> None:
    machine = Machine(ExecutionGraph(4, [ColumnDescriptor("s", traits=T.ORDERED)]))
    for row in range(3):
        machine.apply(cell("start", "s", row))
        machine.apply(cell("complete", "s", row))
    machine.apply(Action("worker_lost"))
    machine.apply(cell("lose", "s", 1))
    with pytest.raises(Violation, match=r"s\[3\] starts although .*s\[1\]"):
        machine.apply(cell("start", "s", 3))
    machine.apply(cell("start", "s", 1))
    machine.apply(cell("complete", "s", 1))
    machine.apply(cell("start", "s", 3))


def test_output_is_lost_by_its_scope() -> None:
    machine = machine_with(*ROWS, *RAN, Action("emit", "v", (0, 3)), Action("worker_lost"))
    with pytest.raises(SpecError, match="what a barrier gave is named by its scope"):
        machine.apply(cell("lose", "v", 0))
