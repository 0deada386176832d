"""Variations of drawn workloads: each follows from the workload, and turns up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cellspec.conformance import CAPABILITIES, run_workload
from cellspec.conformance.campaign.variations import varied
from cellspec.conformance.run.backend import check_capabilities, fit_of
from cellspec.conformance.run.values import PLAIN, Style, value_of
from cellspec.conformance.run.workload import Fault, Workload
from cellspec.engines.reference import ReferenceBackend
from cellspec.errors import SpecError
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.machine.limits import FailurePolicy, Limits

PLAIN_WORK = Workload(
    columns=(
        ColumnDescriptor("a", traits=ExecutionTraits.START),
        ColumnDescriptor("v", traits=ExecutionTraits.BARRIER, dependencies=["a"]),
        ColumnDescriptor("c", dependencies=["v"]),
    ),
    rows=4,
    limits=Limits(resources={"r": 1}, column_resource={"a": "r", "c": "r"}),
    failures=FailurePolicy(3),
    faults=(Fault("a", 1), Fault("v", 0)),
    checkpoint_every_rows=1,
    crashes=(20, 20),
    targets=(4, 5),
)
MANY = [PLAIN_WORK.replace(seed=seed) for seed in range(240)]

TURNS_UP: dict[str, Callable[[Workload], bool]] = {
    "many rows": lambda work: work.rows > 64,
    "a name with two digits": lambda work: 9 < work.rows < 64,
    "three resources": lambda work: len(work.limits.resources) > 1,
    "retries of a whole column": lambda work: len(work.faults) > 4,
    "odd texts": lambda work: bool(work.texts),
    "row ids of digits": lambda work: work.row_ids == "digits",
    "row ids with gaps": lambda work: work.row_ids == "gappy",
    "row ids out of order": lambda work: work.row_ids == "shuffled",
    "row ids that are texts": lambda work: work.row_ids == "text",
    "another version": lambda work: "config" in work.visits and bool(work.versions),
    "another pipeline": lambda work: "pipeline" in work.visits,
}


@pytest.mark.parametrize("what", TURNS_UP)
def test_each_variation_turns_up_and_leaves_most_workloads_as_they_are(what: str) -> None:
    found = [work for work in MANY if TURNS_UP[what](varied(work, CAPABILITIES))]
    assert 0 < len(found) < len(MANY) * 2 // 3


def test_a_variation_follows_from_the_workload_alone() -> None:
    assert [varied(work, CAPABILITIES) for work in MANY] == [
        varied(work, CAPABILITIES) for work in MANY
    ]


def test_an_engine_is_asked_only_for_what_it_is_able_to_do() -> None:
    for work in MANY:
        plain = varied(work, {"core"})
        assert (plain.texts, plain.visits, plain.versions) == ({}, (), {})
        assert plain.row_ids == ""
        assert len(plain.faults) == len(work.faults)


def test_a_varied_workload_is_run_like_any_other() -> None:
    for work in MANY[:24]:
        result = run_workload(ReferenceBackend(), varied(work, CAPABILITIES))
        assert not result.violations, (varied(work, CAPABILITIES), result.violations)


def test_the_looks_of_a_value_are_those_of_its_column() -> None:
    plain = value_of("a", 0, {})
    assert value_of("a", 0, {}, PLAIN) == plain
    assert value_of("a", 0, {}, Style(version="2")) != plain
    assert [value_of("a", row, {}, Style(texts="same")) for row in (0, 1)] == ["same"] * 2
    assert value_of("a", 0, {}, Style(texts="empty")) == ""
    assert len(value_of("a", 0, {}, Style(texts="long"))) > 65_536
    assert value_of("a", 0, {}, Style(texts="lines")).startswith(f"{plain}\n")


@pytest.mark.parametrize("able", [{"retries", "drops"}, {"retries", "drops", "filters"}])
def test_every_engine_meets_foreign_exceptions_and_some_are_told_how_to_read_them(
    able: set[str],
) -> None:
    """An engine that is told nothing takes an exception that it does not know for permanent."""
    failing = PLAIN_WORK.replace(faults=(Fault("a", 1), Fault("v", 0, failure="permanent")))
    found = [varied(failing.replace(seed=seed), able) for seed in range(60)]
    raised = {(work.foreign, f.failure) for work in found for f in work.faults if f.raises}
    told = {("retryable", "retryable")} if "filters" in able else set()
    assert raised == {("permanent", "permanent")} | told


def test_only_an_engine_that_asks_how_to_read_an_exception_is_told_to_try_again() -> None:
    class Asks(ReferenceBackend):
        reads_foreign = True

    class AsksNothing(ReferenceBackend):
        reads_foreign = False

    raised = Fault("a", 1, raises="OSError")
    work = PLAIN_WORK.replace(faults=(raised,), foreign="retryable")
    assert fit_of(Asks())(work) == work
    plain = fit_of(AsksNothing())(work)
    assert plain == PLAIN_WORK.replace(faults=(replace(raised, raises=""),))
    permanent = work.replace(faults=(replace(raised, failure="permanent"),), foreign="permanent")
    assert fit_of(AsksNothing())(permanent) == permanent
    AsksNothing.reads_foreign = 1  # type: ignore[assignment]
    with pytest.raises(SpecError, match="reads_foreign: expected True or False"):
        check_capabilities(AsksNothing())


@pytest.mark.parametrize("able", [{"retries"}, {"retries", "drops"}, {"retries", "filters"}])
def test_every_engine_that_retries_is_turned_away_without_a_time_to_come_back(
    able: set[str],
) -> None:
    """As by a 429 without the header; where a time is named, it stays."""
    faults = (
        Fault("a", 1, failure="backpressure"),
        Fault("a", 2, failure="backpressure", cool_down_s=1.0),
    )
    turned = PLAIN_WORK.replace(faults=faults)
    found = [varied(turned.replace(seed=seed), able).faults for seed in range(60)]
    waits = {(fault.position > 1, fault.cool_down_s) for drawn in found for fault in drawn}
    assert {wait_s for late, wait_s in waits if not late} == {0.0, None}


def test_a_larger_run_is_disturbed_at_the_same_part_of_it() -> None:
    disturbed = PLAIN_WORK.replace(
        crashes=(), checkpoint_every_rows=None, stop_at=(10, 0), worker_losses=(10,)
    )
    found = [varied(disturbed.replace(seed=seed), {"core"}) for seed in range(60)]
    larger = [work for work in found if work.rows > 8]
    assert larger
    for work in larger:
        # One barrier, two calls of a row, and two steps of a call; one save.
        before, after = (2 * (2 * (rows + 1) + 1) + 4 for rows in (4, work.rows))
        assert work.stop_at == (1 + 9 * after // before, 0)
        assert work.worker_losses == (1 + 9 * after // before,)


@pytest.mark.parametrize("spare", [0, 1, -1])
def test_as_many_more_groups_are_admitted_as_the_scopes_of_a_larger_run_touch(spare: int) -> None:
    """The spare number stays; without one the workload must be refused, and still must be."""
    limits = Limits(group_rows=2, groups=3 + spare)
    grouped = PLAIN_WORK.replace(limits=limits, crashes=())
    found = [varied(grouped.replace(seed=seed), {"core"}) for seed in range(60)]
    larger = [work for work in found if work.rows > 8]
    assert larger
    for work in larger:
        assert work.limits.groups == -(-(work.rows + 1) // 2) + spare
