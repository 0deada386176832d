"""The calls of a process that went on from storage and reported no claim."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cellspec.conformance import Probe
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.silent_calls import judge_silent_calls
from cellspec.conformance.run.values import Table
from cellspec.conformance.run.workload import Workload
from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.trace import Event, header_for
from tests.conformance.journal_engine import Tables
from tests.conformance.judge.test_coverage import A, V, events, work

TWICE = "start a0; start a0"
FAILED = 'start a0; 1 fail a0 failure="permanent"'


def found(asked: Workload, text: str, before: Table | None = None) -> str:
    """The clause that a process breaks by its calls, or \"\"."""
    header = header_for(
        asked.graph(),
        engine="hand",
        version="1",
        limits=asked.limits,
        failures=asked.failures,
        claims=("core", "drops", "resume", "work_conserving", "groups"),
    )
    steps = [msgspec.convert(event, Event) for event in events(text)]
    broken = judge_silent_calls(header, asked.graph(), steps, before or Table({}))
    return "" if broken is None else broken.clause


@pytest.mark.parametrize(
    ("clause", "text", "more"),
    [
        ("SCHED-02", TWICE, {}),
        ("SCHED-03", "start a0; 1 complete a0; start a0", {}),
        ("SCHED-06", "start a0; start a1", {"limits": Limits(workers=1)}),
        (
            "SCHED-11",
            'start a0 resource="r"; start a1 resource="r"',
            {"limits": Limits(resources={"r": 1}, column_resource={"a": "r"})},
        ),
        ("FAIL-01", "start a0 attempt=2", {"failures": FailurePolicy(2)}),
        ("FAIL-02", f"{FAILED}; 2 start a0", {}),
        ("STOP-05", "stop_requested; 1 start a0", {}),
        ("SCHED-16", f"{FAILED}; pause until=5; 2 start a1", {}),
    ],
)
def test_what_needs_no_claim_is_judged_in_a_process_without_one(
    clause: str, text: str, more: dict[str, Any]
) -> None:
    asked = work(A, V, rows=3, **more)
    assert found(asked, text) == clause
    assert found(asked, "start a0") == ""


@pytest.mark.parametrize(
    ("text", "before"),
    [
        # The barrier reads what the process does not make: it was there.
        ("start a2; 1 complete a2; start v/0 reads=[[0,3]]; 2 complete v/0; emit v0-3", {}),
        # Row 1 was dropped before, as the table says, or as what the barrier leaves out shows.
        ("start a0; 1 complete a0; start v/0 reads=[[0,1],[2,3]]; 2 complete v/0", {1}),
        ("start a0; 1 complete a0; start v/0 reads=[[0,1],[2,3]]; 2 complete v/0", {}),
        # A pause that the process before had begun goes on.
        ("pause until=5; 6 start a0", {}),
        ('drop a1 cause="killer"; start a0; 1 complete a0', {}),
        # A cell that the engine makes before its input: nobody knows, for it is no clause of these.
        ("start v/0 reads=[[0,3]]; start a0; start a0", {}),
    ],
)
def test_what_a_claim_may_explain_is_not_judged(text: str, before: set[int]) -> None:
    asked = work(A, V, rows=3, limits=Limits(group_rows=1, groups=1))
    assert found(asked, text, Table({}, frozenset(before))) == ""


@pytest.mark.clause("SCHED-03")
def test_an_engine_without_claims_that_calls_twice_after_a_crash_is_found() -> None:
    class Twice(Tables):
        async def run(self, probe: Probe) -> None:
            once = probe.cell

            async def twice(*arguments: Any, **more: Any) -> Any:
                await once(*arguments, **more)
                return await once(*arguments, **more)

            if probe.incarnation:
                vars(probe)["cell"] = twice
            await super().run(probe)

    crashing = Workload((A,), 3, checkpoint_every_rows=1, crashes=(3,))
    assert run_workload(Tables(), crashing).violations == []
    broken = run_workload(Twice(), crashing).violations
    assert [one.clause for one in broken] == ["SCHED-03"]
    assert broken[0].detail.endswith(", in run 2 of the process")
