"""Answers from a cache: an engine that resumes from nothing else is not blamed, and is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance import Workload, run_workload
from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.judge.profiles import profile_of
from cellspec.conformance.judge.run_result import RunResult
from tests.conformance.cache_engine import Cached


@pytest.mark.long
@pytest.mark.clause("CKPT-25", "TABLE-06")
def test_an_engine_that_resumes_from_its_cache_alone_passes_with_its_tables_judged() -> None:
    engine = Cached()
    recalled: Counter[str] = Counter()

    def run(work: Workload, waived: Collection[str]) -> RunResult:
        result = run_workload(engine, work, waive=waived)
        words = [set(event) for event in result.events if event["event"] == "recall"]
        recalled.update("barrier" if "scope" in fields else "cell" for fields in words)
        return result

    campaign = run_campaign(
        run,
        "cache",
        beside=engine.capabilities,
        max_examples=100,
    )
    assert campaign.failures == {}
    assert recalled["barrier"] > 10
    assert recalled["cell"] > 100
    assert campaign.evidence.exercised["CKPT-25"]
    assert campaign.evidence.exercised["TABLE-06"]
    goals = profile_of("cache").goals
    assert [goal.what for goal in goals if not campaign.evidence.sometimes[goal.what]] == []


@pytest.mark.clause("CKPT-25")
def test_an_engine_is_not_blamed_for_what_it_had_no_time_to_report() -> None:
    # The barrier leaves row 1 out: one write of its answer takes two reports.
    columns = (
        ColumnDescriptor("a", may_skip=True),
        ColumnDescriptor("v", traits=ExecutionTraits.BARRIER, dependencies=["a"]),
    )
    died, recalled = set[str](), 0
    for step in range(1, 20):
        work = Workload(columns, rows=3, skips=(("a", 1),), crashes=(step,))
        result = run_workload(Cached(), work)
        assert result.violations == []
        kinds = [str(event["event"]) for event in result.events]
        if "crash" in kinds:
            died.add(kinds[kinds.index("crash") - 1])
            if kinds[: kinds.index("crash")].count("durable") == 3:
                recalled += 1
                assert "recall" in kinds[kinds.index("crash") :]
    assert "durable" in died
    assert recalled
