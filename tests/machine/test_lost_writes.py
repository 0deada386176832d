"""Writes that failed: what of them is lost until all that they held is safe (STOP-05, SCHED-14)."""

from __future__ import annotations

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionGraph, Machine, Violation
from cellspec.machine.lost_writes import give_up, has_lost_claim, has_lost_rows

COLUMNS = (ColumnDescriptor("a"), ColumnDescriptor("b"))
FAILED = Action("checkpoint_failed")


def machine(rows: int = 3) -> Machine:
    """Every cell is made, and none is durable."""
    run = Machine(ExecutionGraph(rows, COLUMNS), waive=("SCHED-09", "SCHED-15"))
    for column in "ab":
        for row in range(rows):
            for kind in ("start", "complete"):
                run.apply(Action(kind, column, (row, row + 1)))
    return run


def store(run: Machine, column: str, *rows: int) -> None:
    for row in rows:
        run.apply(Action("durable", column, (row, row + 1)))


def claim(run: Machine, *claimed: int) -> None:
    run.apply(Action("checkpoint_begin", claim=claimed))


@pytest.mark.parametrize("announced", [True, False])
def test_rows_are_lost_until_each_that_was_being_written_is_on_storage(announced: bool) -> None:
    run = machine()
    if announced:
        run.apply(Action("write_begin", "a", (0, 1)))
        run.apply(Action("write_begin", "b", (1, 2)))
    run.apply(FAILED)
    lost = (
        [("a", 0), ("b", 1)] if announced else [(name, row) for name in "ab" for row in (2, 0, 1)]
    )
    for name, row in lost:
        assert has_lost_rows(run.state)
        store(run, name, row)
    assert not has_lost_rows(run.state)


def test_rows_are_lost_though_a_commit_brought_others() -> None:
    run = machine()
    for row in (1, 2):
        run.apply(Action("write_begin", "b", (row, row + 1)))
    run.apply(FAILED)
    run.apply(Action("commit_begin", "", (0, 1)))
    run.apply(Action("committed"))
    for row in (1, 2):
        assert has_lost_rows(run.state)
        store(run, "b", row)
    assert not has_lost_rows(run.state)


def test_of_writes_that_were_announced_the_rows_are_known_also_if_one_was_on_storage() -> None:
    run = machine()
    store(run, "a", 0)
    run.apply(Action("stop_requested"))
    run.apply(Action("write_begin", "a", (0, 1)))
    run.apply(Action("write_begin", "b", (1, 2)))
    run.apply(FAILED)
    store(run, "b", 1)
    assert not has_lost_rows(run.state)


def test_a_claim_of_nothing_new_is_lost_until_the_next() -> None:
    run = machine()
    for name in "ab":
        store(run, name, 0)
    for last in ("checkpoint_durable", "checkpoint_failed"):
        claim(run, 1, 1)
        run.apply(Action(last))
    assert has_lost_claim(run.state)
    claim(run, 1, 1)
    run.apply(Action("checkpoint_durable"))
    assert not has_lost_claim(run.state)


def test_rows_that_were_on_storage_already_are_lost_until_they_are_written_again() -> None:
    run = machine()
    store(run, "a", 0)
    run.apply(FAILED)
    for name in "ab":
        store(run, name, 0, 1, 2)
    run.apply(Action("write_begin", "a", (0, 1)))
    run.apply(FAILED)
    assert has_lost_rows(run.state)
    store(run, "a", 0)
    assert not has_lost_rows(run.state)


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("commits", [True, False])
def test_a_claim_is_lost_until_each_cell_of_it_is_claimed(commits: bool, column: int) -> None:
    run = machine()
    for name in "ab":
        store(run, name, 0, 1, 2)
    assert not has_lost_claim(run.state)
    if commits:
        run.apply(Action("commit_begin", "ab"[column], (0, 1)))
        run.apply(Action("commit_failed"))
    else:
        claim(run, *(int(each == column) for each in (0, 1)))
        run.apply(FAILED)
    assert has_lost_claim(run.state)
    # The other column alone is claimed.
    claim(run, *(int(each != column) for each in (0, 1)))
    run.apply(Action("checkpoint_durable"))
    assert has_lost_claim(run.state)
    claim(run, 1, 1)
    run.apply(Action("checkpoint_durable"))
    assert not has_lost_claim(run.state)


@pytest.mark.clause("STOP-05")
def test_after_a_claim_that_failed_a_run_that_was_asked_to_stop_may_wait_until_it_is_safe() -> None:
    run = Machine(ExecutionGraph(3, COLUMNS))
    for kind in ("start", "complete"):
        run.apply(Action(kind, "a", (0, 1)))
    store(run, "a", 0)
    claim(run, 1, 0)
    run.apply(FAILED)
    run.apply(Action("stop_requested"))
    run.at(1.0)
    claim(run, 1, 0)
    run.apply(Action("checkpoint_durable"))
    with pytest.raises(Violation, match=r"^STOP-05: a stop was requested, and the run waited"):
        run.at(2.0)


@pytest.mark.clause("SCHED-09", "SCHED-14")
def test_a_run_that_gives_up_is_held_to_the_first_thing_that_showed_it() -> None:
    run = machine()
    for clause, why in (("SCHED-09", "work waited"), ("FAIL-04", "a call was cancelled")):
        give_up(run.state, clause, why)
        assert run.state.gave_up == ("SCHED-09", "work waited")
