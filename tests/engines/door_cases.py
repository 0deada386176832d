"""A workload that both doors of DataDesigner meet, and what must come of it."""

from __future__ import annotations

from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance import Fault, Workload
from cellspec.conformance.judge.run_result import RunResult

__all__ = ["DROPPED_IN_A_BARRIER", "expect_a_drop_and_no_skip"]

DROPPED_IN_A_BARRIER = Workload(
    (
        ColumnDescriptor("b", may_skip=True),
        ColumnDescriptor("d"),
        ColumnDescriptor("e", traits=ExecutionTraits.BATCH_BARRIER, dependencies=["b"]),
    ),
    rows=2,
    batch_size=2,
    skips=(("b", 0),),
    latency_s={"d": 1.0, "e": 4.0},
    faults=(Fault("d", 0, failure="permanent"),),
)
"""Row 0 is left out of a barrier for its skip, and dropped while the barrier runs."""


def expect_a_drop_and_no_skip(result: RunResult) -> None:
    """The row is over once it is dropped: the end of the barrier does not skip it."""
    assert not result.violations
    assert {event["event"]: event.get("rows") for event in result.events}["drop"] == 0
    assert ("e", 0) not in {
        (event["column"], event["rows"]) for event in result.events if event["event"] == "skip"
    }
