"""Answers from a cache: an engine that resumes from nothing else is not blamed, and is judged."""

from __future__ import annotations

import pytest

from cellspec.conformance import run_workload
from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.judge.profiles import profile_of
from tests.conformance.cache_engine import Cached


@pytest.mark.clause("CKPT-25", "TABLE-06")
def test_an_engine_that_resumes_from_its_cache_alone_passes_with_its_tables_judged() -> None:
    engine = Cached()
    campaign = run_campaign(
        lambda work, waived: run_workload(engine, work, waive=waived),
        "cache",
        beside=engine.capabilities,
        max_examples=100,
    )
    assert campaign.failures == {}
    assert campaign.evidence.exercised["CKPT-25"]
    assert campaign.evidence.exercised["TABLE-06"]
    goals = profile_of("cache").goals
    assert [goal.what for goal in goals if not campaign.evidence.sometimes[goal.what]] == []
