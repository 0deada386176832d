"""Prompt saving by each policy, step by step (clause CKPT-19), and what a failed write costs."""

from __future__ import annotations

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionGraph, Limits, Machine, Violation
from cellspec.machine.limits import SavePolicy

GRAPH = ExecutionGraph(6, [ColumnDescriptor("a")])


def machine(saving: SavePolicy, waive: tuple[str, ...] = ()) -> Machine:
    return Machine(
        GRAPH, Limits(1, group_rows=2), saving=saving, waive=("SCHED-09", "SCHED-15", *waive)
    )


def finish(run: Machine, row: int, t: float) -> None:
    run.at(t)
    if row % 2 == 0:
        run.apply(Action("admit", rows=(row, row + 2)))
    run.apply(Action("start", "a", (row, row + 1)))
    run.apply(Action("complete", "a", (row, row + 1)))


def save(run: Machine, rows: int) -> None:
    run.apply(Action("durable", "a", (0, rows)))
    run.apply(Action("checkpoint_begin", claim=(rows,)))


@pytest.mark.clause("CKPT-19")
@pytest.mark.parametrize(
    ("saving", "late_at", "on_time"),
    [
        (SavePolicy(rows=2), 2.5, 2.0),
        (SavePolicy(group=True), 2.5, 2.0),
        (SavePolicy(seconds=1.0), 2.5, 2.0),
    ],
    ids=["rows", "group", "seconds"],
)
def test_a_save_is_due_by_each_policy(saving: SavePolicy, late_at: float, on_time: float) -> None:
    run = machine(saving, waive=("GROUP-06",))
    finish(run, 0, 1.0)
    finish(run, 1, on_time)
    with pytest.raises(Violation, match=r"^CKPT-19: 2 rows could be claimed at t=2 s, 0 at the"):
        run.at(late_at)
    save(run, 2)
    run.at(9.0)
    run.apply(Action("checkpoint_durable"))
    run.at(20.0)


@pytest.mark.clause("CKPT-19")
def test_after_a_failed_write_a_save_is_due_by_what_is_new() -> None:
    run = machine(SavePolicy(rows=2), waive=("GROUP-06",))
    finish(run, 0, 1.0)
    finish(run, 1, 1.0)
    save(run, 2)
    run.apply(Action("checkpoint_failed"))
    finish(run, 2, 2.0)
    run.at(3.0)
    finish(run, 3, 3.0)
    with pytest.raises(Violation, match=r"^CKPT-19"):
        run.at(4.0)


@pytest.mark.clause("CKPT-23", "CKPT-12")
@pytest.mark.parametrize(("fails", "clause"), [(True, "CKPT-23"), (False, "CKPT-12")])
def test_a_failed_write_never_costs_what_was_safe(fails: bool, clause: str) -> None:
    run = machine(SavePolicy(rows=2), waive=("GROUP-06",))
    finish(run, 0, 1.0)
    save(run, 1)
    run.apply(Action("checkpoint_durable"))
    finish(run, 1, 1.0)
    save(run, 2)
    if fails:
        run.apply(Action("checkpoint_failed"))
    run.apply(Action("crash"))
    with pytest.raises(Violation, match=f"^{clause}: resumed from a claim of 0 rows"):
        run.apply(Action("resume", claim=(0,)))
    # One that reported an error may have landed.
    run.apply(Action("resume", claim=(2,)))


@pytest.mark.clause("CKPT-23")
def test_rows_that_could_not_be_written_are_made_good_by_themselves() -> None:
    run = machine(SavePolicy(rows=9), waive=("GROUP-06",))
    finish(run, 0, 1.0)
    finish(run, 1, 1.0)
    run.apply(Action("write_begin", "a", (0, 1)))
    run.apply(Action("checkpoint_failed"))
    run.apply(Action("durable", "a", (1, 2)))
    assert run.state.lost_rows
    run.apply(Action("durable", "a", (0, 1)))
    assert not run.state.lost_rows


@pytest.mark.clause("CKPT-22")
def test_success_of_an_engine_that_claims_needs_a_claim_of_everything() -> None:
    run = machine(SavePolicy(rows=9), waive=("GROUP-06",))
    for row in range(6):
        finish(run, row, 1.0)
        if row == 2:
            save(run, 3)
            run.apply(Action("checkpoint_durable"))
    run.apply(Action("durable", "a", (0, 6)))
    with pytest.raises(Violation, match=r"^CKPT-22: success with 3 of 6 rows of 'a' claimed"):
        run.apply(Action("end", outcome="success"))
    save(run, 6)
    run.apply(Action("checkpoint_durable"))
    run.apply(Action("end", outcome="success"))
