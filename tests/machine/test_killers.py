"""Cells that processes died of: when one is given up, and who has to wait for it (DROP-06)."""

from __future__ import annotations

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionGraph, ExecutionTraits, Machine, Violation
from cellspec.machine.killers import Killers

T = ExecutionTraits
START = Action("start", "a", (0, 1), attempt=1)


def machine(tries: int = 1, *columns: ColumnDescriptor) -> Machine:
    made = Machine(ExecutionGraph(1, columns or (ColumnDescriptor("a"),)))
    made.state.killers = Killers(tries)
    return made


def die(run: Machine, *steps: Action) -> Machine:
    """A process takes these steps and dies; the next one starts from nothing."""
    for action in (*steps, Action("crash")):
        run.apply(action)
    run.apply(Action("resume", claim=(0,) * run.graph.num_columns))
    return run


@pytest.mark.clause("DROP-06")
def test_a_spent_killer_is_given_up_and_nothing_else_is_left_to_do() -> None:
    run = die(die(machine(2), START), START)
    with pytest.raises(Violation, match=r"^DROP-06: a\[0\] starts again although it was in"):
        run.apply(START)
    offered = [str(action) for action in run.enabled() if action.kind in ("start", "drop")]
    assert offered == ["drop a[0]"]
    run.apply(Action("drop", "a", (0, 1), cause="killer"))
    assert run.completed_rows == 1


@pytest.mark.clause("DROP-06", "SCHED-09")
def test_nobody_has_to_start_a_killer() -> None:
    run = die(machine(1), START)
    assert run.dispatchable() == ""
    run.at(1.0)


@pytest.mark.clause("DROP-06")
def test_a_cell_that_ended_well_once_is_no_killer_of_any_later_process() -> None:
    run = die(machine(1), START, START._replace(kind="complete", attempt=None))
    die(run, START)
    run.apply(START)


@pytest.mark.clause("DROP-06")
def test_a_row_is_not_given_up_for_a_cell_that_is_made() -> None:
    run = die(machine(1), START, START._replace(kind="complete", attempt=None))
    give_up = Action("drop", "a", (0, 1), cause="killer")
    run.apply(START)
    run.apply(START._replace(kind="complete", attempt=None))
    with pytest.raises(Violation, match=r"^DROP-01"):
        run.apply(give_up)


@pytest.mark.clause("DROP-06")
def test_output_of_a_barrier_takes_no_call_and_kills_nobody() -> None:
    run = machine(1, ColumnDescriptor("a", traits=T.BARRIER))
    steps = [Action("start", "a", scope=0), Action("complete", "a", scope=0), START]
    die(run, *steps)
    for action in steps:
        run.apply(action)


@pytest.mark.clause("SCHED-07", "DROP-06")
def test_after_a_crash_a_killer_is_refused_as_every_step_is() -> None:
    run = die(machine(1), START)
    run.apply(Action("crash"))
    with pytest.raises(Violation, match=r"^SCHED-07"):
        run.apply(START)


@pytest.mark.clause("CKPT-16")
def test_a_resume_with_fewer_rows_forgets_why_the_rows_beyond_them_were_dropped() -> None:
    run = Machine(ExecutionGraph(9, (ColumnDescriptor("a"),)))
    for row in (0, 8):
        run.apply(Action("start", "a", (row, row + 1)))
        run.apply(Action("complete", "a", (row, row + 1), rejected=((row, row + 1),)))
        run.apply(Action("drop", "a", (row, row + 1), cause="filtered"))
    run.apply(Action("durable", "a", (0, 1)))
    run.apply(Action("checkpoint_begin", claim=(1,)))
    run.apply(Action("crash"))
    run.apply(Action("resume", claim=(1,), records=1, dropped=((0, 1),)))
    assert list(run.state.causes) == [0]
