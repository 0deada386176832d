"""The machine as an engine: it says what storage gives back."""

from __future__ import annotations

from cellspec import ColumnDescriptor, Limits
from cellspec.conformance import Workload, run_workload
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
