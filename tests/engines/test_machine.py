"""The machine as an engine: it says what storage gives back."""

from __future__ import annotations

from dataclasses import replace

from cellspec import ColumnDescriptor, ExecutionTraits, FailurePolicy, Limits
from cellspec.conformance import Fault, Workload, run_workload
from cellspec.conformance.judge.coverage import run_coverage
from cellspec.engines.machine import MachineBackend


def test_a_resume_of_the_machine_names_the_cells_that_the_claim_holds_as_skipped() -> None:
    columns = (ColumnDescriptor("a", may_skip=True), ColumnDescriptor("b", dependencies=["a"]))
    work = Workload(
        columns,
        6,
        limits=Limits(1),
        skips=(("a", 0), ("a", 1), ("a", 5)),
        checkpoint_every_rows=1,
        crashes=(30,),
    )
    result = run_workload(MachineBackend(), work)
    assert result.violations == []
    (resume,) = (event for event in result.events if event["event"] == "resume")
    assert resume["claim"] == {"a": 3, "b": 3}
    assert resume["skipped"] == {"a": ((0, 2),), "b": ((0, 2),)}
    assert "SKIP-03" in run_coverage(result).exercised


def test_a_process_begins_no_earlier_than_the_one_before_died() -> None:
    """It dies while it writes, two seconds after its last event."""
    work = Workload(
        (ColumnDescriptor("a"), ColumnDescriptor("b")),
        rows=2,
        failures=FailurePolicy(max_attempts=2, timeout_s=0.53125),
        latency_s={"a": 2.0, "b": 0.0625},
        faults=(Fault("b", 1), Fault("b", 1, call=2, failure="backpressure", cool_down_s=3.0)),
        crashes=(1,),
        torn=(1,),
    )
    result = run_workload(MachineBackend(), work)
    assert not result.violations
    times = {event["event"]: event["t"] for event in result.events}
    assert times["resume"] == 3.125


def test_the_machine_stores_anew_what_no_claim_covered_at_a_crash() -> None:
    """A barrier runs again: beside its second answer no cell of its first stands."""
    work = Workload(
        (
            ColumnDescriptor("a", traits=ExecutionTraits.BATCH_BARRIER),
            ColumnDescriptor("b"),
            ColumnDescriptor("c", dependencies=["b", "a"]),
            ColumnDescriptor("d", traits=ExecutionTraits.START, dependencies=["b", "a"]),
        ),
        rows=10,
        batch_size=3,
        seed=255,
        limits=Limits(3, {"r": 2}, {"b": "r"}, group_rows=1, groups=3),
        failures=FailurePolicy(max_attempts=2, timeout_s=0.53125),
        latency_s={"c": 0.25, "d": 0.25},
        faults=(Fault("b", 3, failure="timeout"),),
        checkpoint_every_rows=2,
        crashes=(120,),
    )
    for step in range(100, 130):
        result = run_workload(MachineBackend(), replace(work, crashes=(step,)))
        assert not result.violations, result.violations
