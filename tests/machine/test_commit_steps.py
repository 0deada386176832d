"""Commits step by step: what one may name, and what it leaves on storage."""

from __future__ import annotations

from typing import Any

import pytest

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Machine,
    Violation,
)
from cellspec.machine.limits import ClaimKind, SavePolicy
from cellspec.state.claims import Claim, Rows
from tests.machine.test_refusals import made, refusal, take

T = ExecutionTraits
ROW_2: Rows = ((2, 3),)


def machine(columns: str = "azb", rows: int = 5, **options: Any) -> Machine:
    chosen = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("z", traits=T.START),
        ColumnDescriptor("b", dependencies=["a", "z"]),
        ColumnDescriptor("o", traits=T.ORDERED),
    ]
    graph = ExecutionGraph(rows, [each for each in chosen if each.name in columns])
    return Machine(graph, failures=FailurePolicy(1), **options)


def commit(run: Machine, cells: Claim) -> None:
    run.commit_begin(cells)
    run.committed()


@pytest.mark.clause("CKPT-05")
def test_a_cell_is_committed_with_each_of_its_inputs() -> None:
    run = machine()
    take(run, *(words for column in "azb" for words in made(column, *range(5))))
    commit(run, (1, 1, 0))
    for inputs, missing in (
        ((5, 1), "b[1] is in a commit, but its input 'z'"),
        ((1, 5), "b[1] is"),
    ):
        with pytest.raises(Violation) as found:
            run.commit_begin((*inputs, 5))
        assert str(found.value).startswith(f"CKPT-05: {missing}")
    with pytest.raises(
        Violation, match=r"^CKPT-05: b\[2\] is in a commit, but its input 'a' is ne"
    ):
        run.commit_begin((((1, 2), (3, 5)), 5, 5))
    run.commit_begin((((1, 5),), ((1, 5),), 5))


@pytest.mark.clause("CKPT-05")
def test_rows_come_in_order_past_those_that_are_dropped() -> None:
    run = machine("zo")
    take(run, "start z 1", "fail z 1 failure=permanent", "drop z 1", *made("o", 0, 2, 3, 4))
    commit(run, (0, ((1, 2),)))
    order = "which comes before it in order, is neither in it nor claimed"
    for rows, message in (
        (((1, 3),), f"o[2] is in a commit, but o[0], {order}"),
        (((0, 1), (3, 4)), f"o[3] is in a commit, but o[2], {order}"),
        (((0, 1), (2, 3), (4, 5)), f"o[4] is in a commit, but o[3], {order}"),
    ):
        with pytest.raises(Violation) as found:
            run.commit_begin((0, rows))
        assert str(found.value) == f"CKPT-05: {message}"
    run.commit_begin((0, ((0, 1), (2, 4))))


@pytest.mark.clause("CKPT-17")
@pytest.mark.parametrize("lands", [True, False])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_commit_brings_the_drops_that_were_recorded_before_it(
    lands: bool, recorded: bool
) -> None:
    run = machine("az")
    take(run, *made("z", 0), "start a 0", "fail a 0 failure=permanent")
    drop = ["drop a 0"]
    take(run, *(drop if recorded else []))
    run.commit_begin((0, 1))
    take(run, *([] if recorded else drop))
    if lands:
        run.committed()
    take(run, "crash")
    run.resume((0, 1))
    assert (0 in run.counters.dropped) == recorded


@pytest.mark.clause("CKPT-12")
def test_a_claim_that_was_begun_before_a_commit_stands_beside_it() -> None:
    run = machine("a")
    take(run, *made("a", 0, 2), "durable a 0")
    run.checkpoint_begin((1,))
    commit(run, (ROW_2,))
    take(run, "crash")
    with pytest.raises(Violation, match=r"^CKPT-(12|09)"):
        run.resume((1,))
    run.resume((((0, 1), (2, 3)),))


@pytest.mark.clause("CKPT-12")
def test_a_claim_is_read_back_as_it_was_where_nothing_was_committed() -> None:
    run = machine("a")
    take(run, *made("a", 0, 1), "durable a 0:2")
    run.checkpoint_begin((1,))
    take(run, "checkpoint_durable")
    run.checkpoint_begin((2,))
    take(run, "crash")
    run.resume((2,))
    assert run.completed_rows == 2


@pytest.mark.clause("SCHED-14", "CKPT-23")
def test_a_commit_that_failed_is_a_loss_until_its_cells_are_claimed() -> None:
    run = machine("a")
    take(run, *made("a", 0, 1, 2))
    run.commit_begin((1,))
    take(run, "commit_failed")
    commit(run, (ROW_2,))
    assert refusal(run, "end outcome=failed") == ""
    run = machine("a", 1)
    take(run, *made("a", 0))
    run.commit_begin((1,))
    take(run, "commit_failed")
    run.durable_rows(0, 1)
    assert refusal(run, "end") == (
        "CKPT-23: success with 0 of 1 row of 'a' claimed from row 0 on, after a claim that could "
        "not be written"
    )


def test_after_a_commit_the_writes_that_failed_before_it_are_forgotten() -> None:
    run = machine("a")
    take(run, *made("a", 0, 1, 2), "write_begin a 0", "checkpoint_failed")
    commit(run, (ROW_2,))
    assert not run.state.lost_rows
    take(run, "write_begin a 1", "checkpoint_failed")
    assert run.state.lost_rows
    run.apply(Action("durable", "a", (1, 2)))
    assert not run.state.lost_rows


@pytest.mark.clause("STOP-07")
def test_a_run_that_commits_claims_what_lies_behind_a_gap_too() -> None:
    run = machine("a")
    take(run, *made("a", 0, 2))
    commit(run, (1,))
    assert refusal(run, "stop_requested", "end outcome=interrupted").startswith("STOP-07: the run")
    commit(run, (ROW_2,))
    assert refusal(run, "end outcome=interrupted") == ""


@pytest.mark.clause("CKPT-19")
def test_a_commit_that_failed_is_no_save() -> None:
    run = machine(
        "a",
        saving=SavePolicy(rows=1),
        waive=["SCHED-09", "SCHED-15"],
        claims=ClaimKind(3, by_column=True),
    )
    take(run, *made("a", 0))
    run.commit_begin((1,))
    run.at(1.0)
    take(run, "commit_failed", *made("a", 1, 2))
    run.commit_begin((ROW_2,))
    with pytest.raises(Violation, match=r"^CKPT-19: 3 rows could be claimed at t=1 s, 2 at the la"):
        run.at(2.0)
