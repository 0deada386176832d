"""The generator: each workload is valid, uses only the capabilities given, and shrinks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import ExecutionTraits, Machine
from cellspec.check.checker import Finding
from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.campaign.choices import SeededChoices
from cellspec.conformance.campaign.generator.features import (
    FEATURES,
    NEEDS,
    NEVER_TOGETHER,
    features_of,
)
from cellspec.conformance.campaign.generator.workload import workload
from cellspec.conformance.campaign.shrink_workload import size_of
from cellspec.conformance.judge.profiles import DRAWN
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import CAPABILITIES
from cellspec.conformance.run.case import Case, describe, python_test
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError
from tests.workloads import workloads

NAMES = [profile.name for profile in DRAWN]
T = ExecutionTraits

everything = st.sampled_from(NAMES).flatmap(lambda name: workloads(name, beside=CAPABILITIES))


def smallest(
    profile: str, that: Callable[[Workload], Any], beside: Collection[str] = CAPABILITIES
) -> Workload:
    """The smallest workload of which something holds, as a campaign finds it."""

    def run(work: Workload, _waive: Collection[str]) -> RunResult:
        return RunResult(work, {}, violations=[Finding("BARR-01", "")] if that(work) else [])

    return run_campaign(run, profile, beside=beside).failures["BARR-01"].workload


@lru_cache
def drawn(profile: str, beside: tuple[str, ...]) -> list[Workload]:
    """The workloads of a campaign."""
    found: list[Workload] = []

    def run(work: Workload, _waive: Collection[str]) -> RunResult:
        found.append(work)
        return RunResult(work, {})

    run_campaign(run, profile, beside=beside, max_examples=60)
    return found


def is_refused(work: Workload) -> bool:
    try:
        Machine(work.graph(), work.limits, failures=work.failures)
    except SpecError:
        return True
    return False


# Validity


@given(everything)
def test_every_workload_can_be_written_down_and_read_back(work: Workload) -> None:
    again = Workload.from_json(work.to_json())
    assert again.to_json() == work.to_json()
    assert again == work


@given(everything)
def test_every_workload_can_be_described_and_made_by_python(work: Workload) -> None:
    assert describe(work)
    code = python_test(Case(work, "BARR-01", "too soon", "engine:Backend"))
    made: dict[str, Any] = {}
    start = code.index("    work = ") + len("    work = ")
    stop = code.index("    result = ")
    lines = code[start:stop].splitlines()
    imports = (line for line in code.splitlines() if line.startswith("from cellspec"))
    exec("\n".join(imports), made)
    assert eval("\n".join(lines), made) == work


@given(everything)
def test_limits_let_every_barrier_run_unless_refusing_them_is_the_point(work: Workload) -> None:
    if work.limits.groups is None or work.crashes or work.targets:
        for incarnation in range(work.incarnations):
            Machine(work.graph(incarnation), work.limits, failures=work.failures)


def test_limits_that_must_be_refused_are_drawn_too() -> None:
    work = smallest("groups", is_refused, beside=("core", "streaming", "ordered"))
    assert (len(work.columns), work.rows) == (1, 2)


@given(workloads("retries", beside=("core", "streaming", "groups", "ordered")))
def test_without_drops_no_node_spends_its_attempts(work: Workload) -> None:
    for column, position in {(fault.column, fault.position) for fault in work.faults}:
        mine = [f for f in work.faults if (f.column, f.position) == (column, position)]
        spent = sum(fault.failure == "retryable" for fault in mine)
        assert spent < work.failures.max_attempts
        assert not any(fault.failure == "permanent" for fault in mine)


# What a profile may and may not do


@given(workloads("core"))
def test_the_core_has_nothing_that_is_a_profile_of_its_own(work: Workload) -> None:
    assert (work.faults, work.skips, work.crashes, work.targets) == ((), (), (), ())
    assert work.limits.group_rows is None
    assert work.failures.max_attempts == 1
    assert work.checkpoint_every_rows is None
    special = T.ORDERED | T.ROW_STREAMABLE | T.BATCH_BARRIER
    assert not any(item.traits & special or item.may_skip for item in work.columns)
    assert work.batch_size is None


# A profile whose feature shows in what an engine does, and not in the workload.
UNSEEN = {"cache": "resume"}


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_profile_uses_its_feature_and_none_that_is_not_beside_it(name: str) -> None:
    own = UNSEEN.get(name, name)
    # A call that hangs as often as it may be tried drops its row; so does a spent attempt.
    alike = {own, *NEEDS.get(name, ())}
    alone = [features_of(work) - alike for work in drawn(name, ())]
    assert set().union(*alone) == set()
    assert sum(own in features_of(work) for work in drawn(name, ())) > 40


@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_beside_the_profile_is_used_now_and_then(name: str) -> None:
    assert any(name in features_of(work) for work in drawn("resume", CAPABILITIES))


def test_features_that_are_kept_apart_never_meet() -> None:
    for name in NAMES:
        for work in drawn(name, CAPABILITIES):
            has = features_of(work)
            assert not [pair for pair in NEVER_TOGETHER if pair <= has], work


@pytest.mark.parametrize("name", FEATURES)
def test_a_workload_has_the_features_that_are_forced_on_it(name: str) -> None:
    for seed in range(20):
        work = workload(SeededChoices(str(seed)), "resume", CAPABILITIES, forced=(name,))
        assert name in features_of(work)


# Shrinking


def test_the_smallest_workload_of_a_profile_is_a_cell() -> None:
    for name in NAMES:
        work = smallest(name, lambda _: True)
        assert size_of(work)[:4] == (1, 1, 0, 0)
        assert work.columns[0].traits in (T.NONE, T.ORDERED)
        assert work.limits.workers is None
        assert (work.seed, work.order_seed) == (0, 0)


def barrier_between(work: Workload) -> bool:
    """A cell that needs a barrier that needs a cell."""
    barriers = [item for item in work.columns if item.is_barrier and item.dependencies]
    return any(
        set(barrier.all_produced_columns) & set(item.dependencies)
        for barrier in barriers
        for item in work.columns
    )


@pytest.mark.parametrize(
    ("profile", "that", "size"),
    [
        ("core", lambda w: len(w.columns) > 2, (3, 1, 0, 0)),
        ("core", lambda w: w.rows > 2, (1, 3, 0, 0)),
        ("core", barrier_between, (3, 1, 0, 0)),
        ("retries", lambda w: any(f.call > 1 for f in w.faults), (1, 1, 0, 1)),
        ("drops", lambda w: {f.position for f in w.faults} == {0, 1}, (1, 2, 0, 2)),
        ("resume", lambda w: len(w.crashes) > 1, (1, 1, 2, 0)),
        ("resume", lambda w: w.crashes and w.faults, (1, 1, 1, 1)),
        ("resume", lambda w: max(w.targets, default=0) > w.rows, (1, 2, 1, 0)),
        ("skips", lambda w: len(w.skips) > 1, (1, 2, 0, 2)),
    ],
)
def test_features_that_do_not_matter_are_shrunk_away(
    profile: str, that: Callable[[Workload], Any], size: tuple[int, ...]
) -> None:
    assert size_of(smallest(profile, that))[:4] == size
