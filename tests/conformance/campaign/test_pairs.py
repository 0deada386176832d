"""Pairs of features: all that can meet do so in a campaign, and those that cannot are named."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.campaign.pairs import Pairs
from cellspec.conformance.judge.evidence import Evidence
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import CAPABILITIES
from cellspec.conformance.run.workload import Workload


def evidence(
    profile: str, fit: Callable[[Workload], Workload | None] = lambda work: work, seed: int = 0
) -> Evidence:
    def run(work: Workload, _waive: Collection[str]) -> RunResult:
        return RunResult(work, {})

    done = run_campaign(run, profile, beside=CAPABILITIES, max_examples=250, fit=fit, seed=seed)
    return done.evidence


@pytest.mark.parametrize("profile", ["resume", "torn_writes"])
def test_a_campaign_of_the_default_size_has_each_pair_in_several_workloads(profile: str) -> None:
    found = evidence(profile)
    assert found.unmet_pairs == []
    assert len(found.pair_goals) > 150
    assert min(found.pairs[pair] for pair in found.pair_goals) >= 4


def test_a_pair_that_the_backend_takes_away_is_named_and_asked_for_a_few_times_only() -> None:
    def no_skips(work: Workload) -> Workload:
        return work.replace(skips=())

    found = evidence("resume", no_skips)
    assert found.unmet_pairs
    assert all("skips" in pair for pair in found.unmet_pairs)
    assert found.to_json()["pairs"]["unmet"] == [" + ".join(pair) for pair in found.unmet_pairs]
    others = [found.pairs[pair] for pair in found.pair_goals if "skips" not in pair]
    assert min(others) >= 4


def test_features_that_never_meet_are_no_goals() -> None:
    goals = Pairs("killer_cells", CAPABILITIES).goals
    assert not [pair for pair in goals if {"targets", "config"} & {*pair}]
    assert ("killer_cells", "storage_faults") in goals


def test_every_other_workload_is_left_to_chance() -> None:
    pairs = Pairs("drops", CAPABILITIES)
    assert [bool(pairs.next(example)) for example in range(1, 7)] == [False, True] * 3
