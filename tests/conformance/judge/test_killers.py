"""Cells that end the process: an engine that gives them up is not blamed, and is judged."""

from __future__ import annotations

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance import Workload, run_workload
from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.judge.profiles import profile_of
from cellspec.conformance.run.case import describe
from cellspec.errors import SpecError
from tests.conformance.second_engine import ColumnFirst, Incarnation

T = ExecutionTraits
CHAIN = (
    ColumnDescriptor("a"),
    ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]),
    ColumnDescriptor("c", dependencies=["v"]),
)
KILLED = Workload(CHAIN, rows=4, killers=(("a", 1),), checkpoint_every_rows=1)


@pytest.mark.long
@pytest.mark.clause("DROP-06")
def test_an_engine_that_gives_killers_up_passes_and_meets_every_goal() -> None:
    engine = ColumnFirst()
    campaign = run_campaign(
        lambda work, waived: run_workload(engine, work, waive=waived),
        "killer_cells",
        beside=engine.capabilities,
        max_examples=100,
    )
    assert campaign.failures == {}
    assert campaign.evidence.exercised["DROP-06"]
    goals = profile_of("killer_cells").goals
    assert [goal.what for goal in goals if not campaign.evidence.sometimes[goal.what]] == []


@pytest.mark.clause("DROP-06", "DROP-01")
def test_a_killer_is_tried_so_often_and_then_its_row_is_dropped() -> None:
    work = KILLED.replace(limits=KILLED.limits.__class__(workers=1))
    result = run_workload(ColumnFirst(), work)
    assert not result.violations, result.violations
    assert result.outcomes == ["crash", "crash", "success"]
    assert result.tables[-1].dropped == {1}
    tries = [e for e in result.events if (e["event"], e.get("rows")) == ("start", 1)]
    assert [one["column"] for one in tries] == ["a", "a"]
    drops = [(e["column"], e["rows"], e["cause"]) for e in result.events if e["event"] == "drop"]
    assert drops == [("a", 1, "killer")]


@pytest.mark.clause("DROP-06")
def test_kills_are_counted_of_an_engine_whose_events_are_not_judged() -> None:
    """Without DROP-06 the run ends by itself: so many processes are enough."""
    broken = ColumnFirst()
    broken.killer_tries = 1  # it tries each killer once more than it declares
    result = run_workload(broken, KILLED)
    assert [one.clause for one in result.violations] == ["DROP-06"]
    waived = run_workload(broken, KILLED, waive=["DROP-06"])
    assert not waived.violations


def test_an_engine_that_tries_for_ever_ends_after_so_many_processes() -> None:
    class Stubborn(Incarnation):
        def give_up_some(self) -> bool:
            return False

    engine = ColumnFirst()
    engine.begin = Stubborn  # type: ignore[method-assign]
    result = run_workload(engine, KILLED, waive=["DROP-06"])
    assert result.outcomes == ["crash"] * 4


@pytest.mark.parametrize("tries", [None, 0, 1.5, True])
def test_the_number_of_tries_is_an_integer_from_1(tries: object) -> None:
    engine = ColumnFirst()
    engine.killer_tries = tries  # type: ignore[assignment]
    with pytest.raises(SpecError, match="killer_tries: expected an integer from 1"):
        run_workload(engine, KILLED)


def test_a_barrier_is_no_killer() -> None:
    with pytest.raises(SpecError, match=r"killers\[0\]: column 'v' is a barrier"):
        KILLED.replace(killers=(("v", 0),))


def test_killers_stand_in_the_words_of_a_workload() -> None:
    assert "ends the process: a[1]" in describe(KILLED)
    assert Workload.from_json(KILLED.to_json()) == KILLED
