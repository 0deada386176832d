"""Cells that processes died of: when one is given up, and who has to wait for it (DROP-06)."""

from __future__ import annotations

import math

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
from cellspec.machine.killers import Killers

T = ExecutionTraits
V = ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"])
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


MADE = START._replace(kind="complete", attempt=None)
FAILED = MADE._replace(kind="fail", failure="permanent")
RETRIED = MADE._replace(kind="fail", failure="retryable", until=9.0)
TIMED_OUT = MADE._replace(kind="fail", failure="timeout", until=9.0)
BARRIER = Action("start", "v", scope=0)


@pytest.mark.clause("DROP-06")
@pytest.mark.parametrize(
    ("lives", "lawful"),
    [
        ([(START, 1), (START, 1)], True),
        ([(START, 1)], False),
        # A bystander that had ended well when the process died, of another cell.
        ([(START, MADE, 1), (START, MADE, 1)], False),
        ([(START, FAILED, 1), (START, FAILED, 1)], False),
        # The process may have died before it wrote the end down.
        ([(START, 1, MADE), (START, 1, MADE)], True),
        ([(START, 1, FAILED), (START, 1, FAILED)], True),
        # What was to be tried again clears nothing; a call that timed out may have gone on.
        ([(START, RETRIED, 1), (START, RETRIED, 1)], True),
        ([(START, TIMED_OUT, 1), (START, TIMED_OUT, 1)], True),
        ([(START, TIMED_OUT, START._replace(attempt=2), MADE, 1), (START, 1)], False),
        # Deaths count anew once it ended well.
        ([(START, 1), (START, MADE, 1), (START, 1)], False),
        ([(START, 1), (START, MADE, 1), (START, 1), (START, 1)], True),
        ([(START, 1), (START, 1, MADE)], True),
    ],
)
def test_only_deaths_with_a_node_in_flight_count(
    lives: list[tuple[Action | int, ...]], lawful: bool
) -> None:
    run = Machine(
        ExecutionGraph(2, (ColumnDescriptor("a"),)),
        failures=FailurePolicy(max_attempts=2),
        waive=["SCHED-09", "SCHED-15", "FAIL-03"],
    )
    run.state.killers = Killers(2)
    for life in lives:
        for step in life:
            if isinstance(step, Action):
                run.apply(step)
            else:
                run.at(run.now + step)
        die(run)
    give_up = Action("drop", "a", (0, 1), cause="killer")
    if lawful:
        run.apply(give_up)
        return
    with pytest.raises(Violation, match=r"^DROP-06: row 0 is given up as a killer before 2 proc"):
        run.apply(give_up)


@pytest.mark.clause("DROP-06")
def test_a_row_is_given_up_for_a_barrier_with_which_processes_died() -> None:
    run = die(machine(1, ColumnDescriptor("a"), V), START, MADE, BARRIER)
    run.apply(Action("drop", "v", (0, 1), cause="killer"))


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


@pytest.mark.clause("DROP-06")
def test_a_dropped_row_of_a_range_that_goes_on_is_in_flight_until_the_range_gives_it() -> None:
    def after(*steps: Action) -> Machine:
        b = ColumnDescriptor("b", traits=T.ROW_STREAMABLE)
        run = Machine(ExecutionGraph(2, (ColumnDescriptor("a"), b)))
        run.state.killers = Killers(1)
        fails = Action("fail", "a", (1, 2), failure="permanent")
        begun = (Action("start", "a", (1, 2)), Action("start", "b", (0, 2)))
        return die(run, *begun, *steps, fails, Action("drop", "a", (1, 2)))

    after().apply(Action("drop", "b", (1, 2), cause="killer"))
    given = after(*(Action("complete", "b", (row, row + 1)) for row in (0, 1)))
    given.apply(Action("start", "b", (0, 2)))


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


@pytest.mark.clause("DROP-06")
def test_who_hears_late_of_an_end_may_count_its_call_as_in_flight() -> None:
    for unheard_s, may in ((0.0, False), (1.0, True), (math.inf, True)):
        killers, cell = Killers(1, unheard_s=unheard_s), (0, 0)
        killers.ended([cell], 2.0, well=True, again=False)
        killers.process_died([], 2.5)
        assert killers.may_give_up(cell, 2.5) is may


@pytest.mark.clause("DROP-06")
def test_of_a_range_that_failed_as_the_process_died_only_rows_that_it_had_left_are_suspected() -> (
    None
):
    s = ColumnDescriptor("s", traits=T.ROW_STREAMABLE)
    run = Machine(
        ExecutionGraph(4, (s,)), failures=FailurePolicy(2), waive=["SCHED-09", "SCHED-15"]
    )
    run.state.killers = Killers(1)
    run.apply(Action("start", "s", (0, 4)))
    run.apply(Action("complete", "s", (1, 2)))
    run.at(1.0)
    run.apply(Action("fail", "s", (0, 1), failure="retryable", until=9.0))
    die(run)
    for row, suspected in ((0, True), (1, False), (2, True), (3, True)):
        give_up = Action("drop", "s", (row, row + 1), cause="killer")
        if suspected:
            run.apply(give_up)
            continue
        with pytest.raises(Violation, match=rf"^DROP-06: row {row} is given up as a killer"):
            run.apply(give_up)


@pytest.mark.clause("DROP-06")
def test_a_cell_that_ends_well_after_all_is_no_killer() -> None:
    killers, cell = Killers(1), (0, 0)
    killers.process_died([cell], 1.0)
    assert killers.spent == {cell}
    killers.ended([cell], 2.0, well=True, again=False)
    assert killers.spent == set()
