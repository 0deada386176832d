"""The early stop: when it binds an engine, and what an engine may still do."""

from __future__ import annotations

from typing import Any

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, FailurePolicy, Machine
from tests.machine.test_refusals import made, refusal, take

T = ExecutionTraits


def machine(window: int = 1, **options: Any) -> Machine:
    """A run that stops when half of its last calls failed."""
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("z", traits=T.START),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["a"]),
    ]
    stops = FailurePolicy(1, stop_window=window, stop_rate=0.5)
    return Machine(ExecutionGraph(8, columns, batch_size=2), failures=stops, **options)


def ends(row: int, *, failed: bool) -> list[str]:
    """The steps of one call."""
    return [f"start z {row}", f"fail z {row} failure=permanent" if failed else f"complete z {row}"]


@pytest.mark.clause("STOP-01")
@pytest.mark.parametrize(
    ("calls", "stops"),
    [
        ("f", False),
        ("ff", False),
        ("fff", False),
        ("oofo", False),
        ("oooff", True),
        ("foof", True),
        ("fooofoo", False),
        ("ofoof", True),
    ],
)
def test_starts_are_refused_once_so_many_of_the_last_calls_failed(calls: str, stops: bool) -> None:
    run = machine(window=4)
    for row, call in enumerate(calls):
        assert not run.must_stop
        take(run, *ends(row, failed=call == "f"))
    assert refusal(run, "start a 7").partition(":")[0] == ("STOP-01" if stops else "")


@pytest.mark.clause("STOP-01")
def test_where_it_is_not_judged_calls_run_on() -> None:
    run = machine(waive=["STOP-01"])
    take(run, *ends(0, failed=True), *made("a", 2, 3), "start v /1", "complete v /1", "emit v 2:4")
    assert run.must_stop
    assert run.counters.is_resolved(2, 3)


@pytest.mark.clause("STOP-01")
def test_an_engine_that_may_not_know_of_it_makes_what_it_starts() -> None:
    run = machine(hears_late=True, idle_s=1.0)
    take(run, "start z 1", *ends(0, failed=True))
    run.at(0.5)
    take(run, *made("a", 2))
    assert run.counters.is_resolved(0, 2)
    run.at(1.5)
    assert refusal(run, "start a 3").partition(":")[0] == "STOP-01"


@pytest.mark.clause("STOP-01")
def test_a_later_failure_puts_it_off_for_nobody() -> None:
    run = machine(hears_late=True, waive=["SCHED-09", "SCHED-15"])
    take(run, *made("a", 2, 3), "start z 0", "start z 1", "fail z 0 failure=permanent")
    run.at(1.0)
    take(run, "fail z 1 failure=permanent")
    assert refusal(run, "start v /1").partition(":")[0] == "STOP-01"
