"""Work that waits: when it is judged, and what is said of it (SCHED-09, SCHED-15, STOP-05)."""

from __future__ import annotations

import math

import pytest

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Limits,
    Machine,
)
from tests.machine.test_clock import refused, refused_step, take

STOP = Action("stop_requested")


def machine(rows: int = 2, limits: Limits | None = None, **promises: object) -> Machine:
    columns = [ColumnDescriptor("a", may_skip=True), ColumnDescriptor("b", dependencies=["a"])]
    return Machine(ExecutionGraph(rows, columns), limits, **promises)  # type: ignore[arg-type]


def cell(kind: str, column: str, row: int) -> Action:
    return Action(kind, column, (row, row + 1))


@pytest.mark.clause("STOP-05")
def test_after_a_crash_and_after_the_end_nothing_waits() -> None:
    crashed, ended = machine(), machine()
    take(crashed, STOP, Action("crash"))
    take(ended, STOP, Action("end", outcome="interrupted"))
    for run in (crashed, ended):
        assert not refused(run.at, 5.0)


@pytest.mark.clause("STOP-05", "SCHED-15")
def test_who_may_wait_as_long_as_he_likes_may_do_so_before_he_stops() -> None:
    run = machine(waive=["SCHED-15", "SCHED-09"])
    take(run, cell("start", "a", 0), cell("complete", "a", 0), STOP)
    assert not refused(run.at, 5.0)


@pytest.mark.clause("STOP-05")
def test_after_a_request_a_run_may_wait_as_long_as_it_declared() -> None:
    for slack_s, most in ((0.0, 2.0), (1.0, 3.0)):
        run = machine(waive=["SCHED-09"], idle_s=2.0, slack_s=slack_s)
        take(run, STOP)
        assert not refused(run.at, most)
        said = refused(run.at, 2 * most + 0.5)
        assert said.startswith("STOP-05: ")
        assert f"waited from t={most:g} s" in said


@pytest.mark.clause("SCHED-09")
def test_a_backoff_that_is_over_as_it_begins_makes_no_moment() -> None:
    for until in (0.0, 1.0):
        run = machine(failures=FailurePolicy(2))
        take(run, cell("start", "a", 0), cell("start", "a", 1))
        run.at(1.0)
        take(run, cell("fail", "a", 1)._replace(failure="retryable", until=until))
        take(run, cell("complete", "a", 0))
        assert refused(run.at, 3.0).endswith("and was not started before t=3 s")


@pytest.mark.clause("SCHED-15", "GROUP-07")
def test_a_finished_group_is_named_only_if_another_waits_for_its_place() -> None:
    limits = Limits(group_rows=1, groups=1)
    run = machine(2, limits, waive=["SCHED-09", "GROUP-06", "GROUP-07"])
    take(run, Action("admit", rows=(0, 1)), cell("start", "a", 0), cell("complete", "a", 0))
    take(run, cell("start", "b", 0), cell("complete", "b", 0))
    said = refused(run.at, 1.0)
    assert said.startswith("SCHED-15: 1 row group, for row group [0:1], whose rows are all resolv")


@pytest.mark.clause("SCHED-15", "GROUP-07")
def test_a_group_without_anything_left_to_do_waits_for_no_place() -> None:
    for rows, waits in ((3, "SCHED-15: 1 row group, for row group [0:1]"), (2, "")):
        run = machine(rows, Limits(group_rows=1, groups=1), waive=["GROUP-01", "GROUP-07"])
        take(run, Action("admit", rows=(0, 1)))
        # Where its admission is not judged a group may be done without one.
        for row in (0, 1):
            for column in "ab":
                take(run, cell("start", column, row), cell("complete", column, row))
        said = refused(run.at, 1.0)
        assert said.startswith(waits)
        assert bool(said) == bool(waits)


@pytest.mark.clause("SCHED-15", "GROUP-07")
def test_of_a_cell_to_be_skipped_and_a_finished_group_the_cell_is_named() -> None:
    limits = Limits(group_rows=1, groups=2)
    run = machine(3, limits, waive=["SCHED-09", "GROUP-06", "GROUP-07"])
    for row in (0, 1):
        take(run, Action("admit", rows=(row, row + 1)))
    for column in "ab":
        take(run, cell("start", column, 0), cell("complete", column, 0))
    take(run, cell("skip", "a", 1))
    assert refused(run.at, 1.0).startswith("SCHED-15: b[1], which is to be skipped, waited from")


@pytest.mark.clause("SCHED-15", "SCHED-03")
def test_a_call_that_is_not_judged_is_in_flight_as_any_other() -> None:
    columns = [ColumnDescriptor("a"), ColumnDescriptor("v", traits=ExecutionTraits.BARRIER)]
    waive = ["SCHED-09", "SCHED-03", "SCHED-04"]
    run = Machine(ExecutionGraph(1, columns), waive=waive, idle_s=1.0)
    barrier = Action("start", "v", scope=0)
    take(run, barrier, barrier._replace(kind="complete"))
    assert not refused(run.at, 0.8)
    take(run, barrier)
    assert not refused(run.at, 1.6)
    take(run, barrier._replace(kind="complete"))
    assert not refused(run.at, 2.4)
    assert refused(run.at, 3.2).startswith("SCHED-15: ")


@pytest.mark.clause("SCHED-16")
def test_a_pause_has_an_end() -> None:
    run = machine(failures=FailurePolicy(2), waive=["SCHED-09"])
    take(run, cell("start", "a", 0), cell("fail", "a", 0)._replace(failure="backpressure"))
    for never in (None, math.inf, math.nan):
        said = refused_step(run, Action("pause", until=never))
        assert said == "SCHED-16: the engine pauses, and names no end of the pause"
    take(run, Action("pause", until=1.0))
