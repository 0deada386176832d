"""What calls of drawn workloads do: odd values, ids of rows, foreign exceptions, many rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cellspec.conformance import CAPABILITIES
from cellspec.conformance.campaign.campaign import drawn_workload
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
MANY = [drawn_workload(5, "resume", number, CAPABILITIES) for number in range(2, 242)]

TURNS_UP: dict[str, Callable[[Workload], bool]] = {
    "many rows": lambda work: work.rows > 64,
    "a name with two digits": lambda work: 9 < work.rows < 64,
    "three resources": lambda work: len(work.limits.resources) > 2,
    "retries of a whole column": lambda work: len(work.faults) > 8,
    "odd texts": lambda work: bool(work.texts),
    "row ids of digits": lambda work: work.row_ids == "digits",
    "row ids with gaps": lambda work: work.row_ids == "gappy",
    "row ids out of order": lambda work: work.row_ids == "shuffled",
    "row ids that are texts": lambda work: work.row_ids == "text",
    "another version": lambda work: "config" in work.visits and bool(work.versions),
    "another pipeline": lambda work: "pipeline" in work.visits,
}


@pytest.mark.parametrize("what", TURNS_UP)
def test_each_rare_property_turns_up_in_some_workloads(what: str) -> None:
    assert 0 < sum(map(TURNS_UP[what], MANY)) < len(MANY) * 2 // 3


def test_the_looks_of_a_value_are_those_of_its_column() -> None:
    plain = value_of("a", 0, {})
    assert value_of("a", 0, {}, PLAIN) == plain
    assert value_of("a", 0, {}, Style(version="2")) != plain
    assert [value_of("a", row, {}, Style(texts="same")) for row in (0, 1)] == ["same"] * 2
    assert value_of("a", 0, {}, Style(texts="empty")) == ""
    assert len(value_of("a", 0, {}, Style(texts="long"))) > 65_536
    assert value_of("a", 0, {}, Style(texts="lines")).startswith(f"{plain}\n")


@pytest.mark.parametrize("able", [("retries",), ("retries", "filters")])
def test_every_engine_meets_foreign_exceptions_and_some_are_told_how_to_read_them(
    able: tuple[str, ...],
) -> None:
    """An engine that is told nothing takes an exception that it does not know for permanent."""
    found = [drawn_workload(0, "drops", number, able) for number in range(2, 200)]
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


def test_every_engine_that_retries_is_turned_away_without_a_time_to_come_back() -> None:
    """As by a 429 without the header."""
    found = [drawn_workload(0, "retries", number) for number in range(2, 60)]
    waits = {f.cool_down_s for work in found for f in work.faults if f.failure == "backpressure"}
    assert {None, 0.0, 1.0} <= waits
