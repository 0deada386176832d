"""Row groups: who has to retire and when (GROUP-07), and which groups wait for a place."""

from __future__ import annotations

from typing import Any

import pytest

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    Limits,
    Machine,
    Violation,
)
from cellspec.machine.clock import compile_at
from cellspec.machine.row_groups import way_of_groups
from cellspec.state.claims import Claim, spans

T = ExecutionTraits
A = ColumnDescriptor("a")
X = ColumnDescriptor("x", traits=T.BATCH_BARRIER, dependencies=["a"])
C = ColumnDescriptor("c", dependencies=["a"])
CONSERVES_NOTHING = ("SCHED-09", "GROUP-06")
RETIRE = r"^GROUP-07: every row of row group \[0:2\] is resolved at t="


def machine(
    *waive: str, rows: int = 4, names: str = "a", groups: int | None = 2, **promises: Any
) -> Machine:
    """Columns that need nothing, one worker, and groups of two rows."""
    columns = [ColumnDescriptor(name) for name in names]
    limits = Limits(workers=1, group_rows=2, groups=groups)
    return Machine(ExecutionGraph(rows, columns), limits, waive=waive, **promises)


def batches(*columns: ColumnDescriptor, rows: int = 8, waive: tuple[str, ...] = ()) -> Machine:
    """Two groups of two rows at once, and batches of four rows."""
    graph = ExecutionGraph(rows, list(columns), batch_size=4)
    return Machine(graph, Limits(group_rows=2, groups=2), waive=waive)


def take(run: Machine, *actions: Action) -> Machine:
    for action in actions:
        run.apply(action)
    return run


def admit(run: Machine, *groups: int) -> Machine:
    return take(run, *(Action("admit", rows=(2 * each, 2 * each + 2)) for each in groups))


def start(run: Machine, column: str, row: int) -> Machine:
    return take(run, Action("start", column, (row, row + 1)))


def make(run: Machine, column: str, *rows: int) -> Machine:
    for row in rows:
        start(run, column, row).apply(Action("complete", column, (row, row + 1)))
    return run


def go_on(run: Machine, claim: Claim) -> Machine:
    """The rows of a claim are saved, and the next process begins from it."""
    for name, rows in zip(run.graph.column_names, claim, strict=True):
        for span in spans(rows):
            run.apply(Action("durable", name, span))
    take(run, Action("checkpoint_begin", claim=claim), Action("checkpoint_durable"))
    return take(run, Action("crash"), Action("resume", claim=claim))


# A driver that looks again only where something may have changed


@pytest.mark.clause("GROUP-07")
@pytest.mark.parametrize("last", ["a", "b", "c", "ab", "ac", "abc"])
def test_a_group_is_finished_by_the_last_cell_of_any_column(last: str) -> None:
    run = admit(machine(names="abc"), 0, 1)
    tick = compile_at(run.state)
    for name in "abc":
        make(run, name, *((0,) if name in last else (0, 1)))
    start(run, last[0], 1)
    tick(1.0)
    tick(2.0)
    run.apply(Action("complete", last[0], (1, 2)))
    for name in last[1:]:
        make(run, name, 1)
    start(run, "a", 2)
    with pytest.raises(Violation, match=RETIRE + "2 s"):
        tick(3.0)


@pytest.mark.clause("GROUP-06")
@pytest.mark.parametrize(("groups", "most"), [(2, "2"), (None, "any number")])
def test_a_group_that_has_a_place_is_admitted_before_time_moves(
    groups: int | None, most: str
) -> None:
    run = start(admit(machine(groups=groups), 0), "a", 0)
    with pytest.raises(Violation, match=rf"^GROUP-06: 1 row group waits at t=0 s with 1 of {most}"):
        compile_at(run.state)(1.0)


@pytest.mark.clause("GROUP-07")
def test_a_group_that_is_finished_when_it_is_admitted_retires_at_once() -> None:
    run = start(admit(go_on(make(admit(machine(), 0), "a", 0, 1), (2,)), 1), "a", 2)
    tick = compile_at(run.state)
    tick(1.0)
    tick(2.0)
    admit(run, 0)
    with pytest.raises(Violation, match=RETIRE + "2 s"):
        tick(3.0)


@pytest.mark.clause("GROUP-07", "FAIL-08")
def test_a_result_that_is_lost_does_not_stand_for_one_that_is_made() -> None:
    run = make(make(admit(machine(names="ab"), 0, 1), "a", 0), "b", 0, 1, 2)
    tick = compile_at(start(run, "a", 1).state)
    tick(1.0)
    tick(2.0)
    take(run, Action("worker_lost"), Action("lose", "b", (2, 3)))
    start(take(run, Action("complete", "a", (1, 2))), "a", 2)
    with pytest.raises(Violation, match=RETIRE + "2 s"):
        tick(3.0)


# When a finished group need not retire


@pytest.mark.clause("GROUP-07")
def test_in_a_process_that_is_gone_no_group_retires() -> None:
    run = take(make(admit(machine(), 0, 1), "a", 0, 1), Action("crash"))
    run.at(1.0)


@pytest.mark.clause("GROUP-07")
@pytest.mark.parametrize("drops", [True, False])
def test_an_engine_that_gives_up_for_a_row_retires_no_group(drops: bool) -> None:
    run = start(make(admit(machine(drops=drops), 0, 1), "a", 0), "a", 1)
    start(take(run, Action("fail", "a", (1, 2), failure="permanent")), "a", 2)
    if not drops:
        run.at(1.0)
        return
    with pytest.raises(Violation, match=RETIRE):
        run.at(1.0)


@pytest.mark.clause("GROUP-07", "GROUP-03")
def test_where_a_group_may_retire_unfinished_others_that_are_finished_still_retire() -> None:
    run = start(admit(machine("GROUP-03", groups=1), 0), "a", 1)
    run.at(1.0)
    admit(take(run, Action("retire", rows=(0, 2))), 1)
    run.apply(Action("complete", "a", (1, 2)))
    start(make(run, "a", 2, 3), "a", 0)
    with pytest.raises(Violation, match=r"^GROUP-07: every row of row group \[2:4\] is resolved"):
        run.at(2.0)


@pytest.mark.clause("GROUP-07")
def test_a_group_does_not_keep_its_place_in_line_over_a_time_in_which_nothing_is_written() -> None:
    run = start(make(admit(machine(), 0, 1), "a", 0, 1), "a", 2)
    run.apply(Action("write_begin", "a", (0, 2)))
    run.at(1.0)
    run.apply(Action("checkpoint_failed"))
    run.at(2.0)
    take(run, Action("durable", "a", (0, 2)), Action("complete", "a", (2, 3)))
    start(take(run, Action("write_begin", "a", (2, 3))), "a", 3)
    with pytest.raises(Violation, match=RETIRE + "2 s"):
        run.at(3.0)


@pytest.mark.clause("GROUP-07")
@pytest.mark.parametrize("at_risk", [1, 2, 3, None])
def test_a_group_waits_for_storage_while_a_row_that_is_not_dropped_is_not_safe(
    at_risk: int | None,
) -> None:
    columns = [ColumnDescriptor("a")]
    run = Machine(ExecutionGraph(8, columns), Limits(workers=1, group_rows=4, groups=2))
    take(run, Action("admit", rows=(0, 4)), Action("admit", rows=(4, 8)))
    start(run, "a", 0).apply(Action("fail", "a", (0, 1), failure="permanent"))
    make(take(run, Action("drop", "a", (0, 1))), "a", 1, 2, 3, 4)
    for row in (1, 2, 3):
        if row != at_risk:
            run.apply(Action("durable", "a", (row, row + 1)))
    start(take(run, Action("write_begin", "a", (4, 5))), "a", 5)
    if at_risk is not None:
        run.at(1.0)
        return
    with pytest.raises(Violation, match=r"^GROUP-07: every row of row group \[0:4\] is resolved"):
        run.at(1.0)


@pytest.mark.clause("GROUP-07")
def test_a_group_that_is_safe_retires_beside_one_that_waits_for_storage() -> None:
    run = machine(rows=6, groups=3)
    make(admit(run, 0, 1, 2), "a", *range(4))
    start(take(run, Action("durable", "a", (2, 4)), Action("write_begin", "a", (0, 2))), "a", 4)
    with pytest.raises(Violation, match=r"^GROUP-07: every row of row group \[2:4\] is resolved"):
        run.at(1.0)


@pytest.mark.clause("GROUP-07")
def test_a_group_that_waits_for_storage_learns_in_its_turn_that_its_rows_are_safe() -> None:
    run = start(make(admit(machine(), 0, 1), "a", 0, 1, 2), "a", 3)
    take(run, Action("write_begin", "a", (0, 2)), Action("write_begin", "a", (2, 3)))
    run.at(1.0)
    run.apply(Action("durable", "a", (0, 2)))
    run.at(2.0)
    run.apply(Action("durable", "a", (2, 3)))
    with pytest.raises(Violation, match=RETIRE + "2 s"):
        run.at(3.0)


@pytest.mark.clause("GROUP-07", "FAIL-08")
def test_a_finished_group_that_loses_a_result_is_finished_once_that_is_made_again() -> None:
    run = start(make(admit(machine(), 0, 1), "a", 0, 1, 2), "a", 3)
    run.apply(Action("write_begin", "a", (2, 3)))
    run.at(1.0)
    take(run, Action("durable", "a", (2, 3)), Action("worker_lost"), Action("lose", "a", (1, 2)))
    run.at(2.0)
    make(take(run, Action("take_back", "a", (3, 4))), "a", 1)
    start(run, "a", 3)
    with pytest.raises(Violation, match=RETIRE + "2 s"):
        run.at(3.0)


@pytest.mark.clause("GROUP-07")
def test_a_group_that_ends_before_an_earlier_one_retires_before_it() -> None:
    run = start(admit(machine(), 0, 1), "a", 1)
    run.at(1.0)
    run.apply(Action("complete", "a", (1, 2)))
    start(make(run, "a", 2, 3), "a", 0)
    with pytest.raises(Violation, match=r"^GROUP-07: every row of row group \[2:4\] is resolved"):
        run.at(2.0)


@pytest.mark.clause("GROUP-07")
def test_in_a_run_that_stops_no_group_retires() -> None:
    run = start(make(admit(machine(), 0, 1), "a", 0, 1), "a", 2)
    run.apply(Action("stop_requested"))
    run.at(1.0)


# An engine that may let work wait


@pytest.mark.clause("GROUP-07")
def test_a_group_that_keeps_no_other_waiting_may_wait_where_work_may() -> None:
    run = make(admit(machine(*CONSERVES_NOTHING, "SCHED-15", groups=1), 0), "a", 0, 1)
    run.at(1.0)


@pytest.mark.clause("GROUP-07", "SCHED-16")
def test_a_pause_explains_that_a_finished_group_waits_and_its_end_does_not() -> None:
    run = start(make(admit(machine(*CONSERVES_NOTHING), 0, 1), "a", 0, 1), "a", 2)
    take(run, Action("fail", "a", (2, 3), failure="backpressure"))
    start(run, "a", 3).apply(Action("pause", until=2.0))
    run.at(1.0)
    run.at(2.0)
    with pytest.raises(Violation, match=RETIRE + "2 s"):
        run.at(3.0)


@pytest.mark.clause("GROUP-07")
def test_after_a_write_a_finished_group_may_wait_anew() -> None:
    run = start(make(admit(machine(*CONSERVES_NOTHING, idle_s=1.0), 0, 1), "a", 0, 1), "a", 2)
    run.at(0.75)
    run.apply(Action("write_begin", "a", (0, 1)))
    run.at(0.875)
    run.apply(Action("durable", "a", (0, 1)))
    run.at(1.5)
    with pytest.raises(Violation, match=RETIRE):
        run.at(2.0)


@pytest.mark.clause("GROUP-07")
def test_a_finished_group_waits_no_longer_than_the_declared_time_and_the_slack() -> None:
    run = admit(machine(*CONSERVES_NOTHING, idle_s=1.0, slack_s=0.5), 0, 1)
    start(make(run, "a", 0, 1), "a", 2)
    run.at(1.25)
    with pytest.raises(Violation, match=RETIRE):
        run.at(1.75)


@pytest.mark.clause("GROUP-07")
def test_of_several_finished_groups_the_one_is_named_that_has_waited_for_too_long() -> None:
    run = admit(machine(*CONSERVES_NOTHING, rows=6, groups=3, idle_s=1.0), 0, 1, 2)
    start(make(run, "a", 2, 3), "a", 0)
    run.at(0.5)
    start(make(take(run, Action("complete", "a", (0, 1))), "a", 1), "a", 4)
    with pytest.raises(Violation, match=r"^GROUP-07: every row of row group \[2:4\] is resolved"):
        run.at(1.25)


# Groups that wait for a place


@pytest.mark.clause("GROUP-06")
def test_an_admission_lets_the_other_groups_wait_for_the_slack_once_more() -> None:
    run = machine(rows=6, groups=None, slack_s=1.0)
    run.at(0.875)
    start(admit(run, 0), "a", 0)
    run.at(1.5)
    with pytest.raises(Violation, match=r"^GROUP-06: 2 row groups wait at t=0.875 s with 1 of any"):
        run.at(2.0)


@pytest.mark.clause("GROUP-05")
def test_where_other_rows_may_be_admitted_those_of_every_group_that_they_touch_may_run() -> None:
    run = take(machine("GROUP-05", rows=6), Action("admit", rows=(0, 4)))
    make(run, "a", 0, 1, 2, 3)
    with pytest.raises(Violation, match=r"^GROUP-01: "):
        start(run, "a", 4)


def test_the_groups_that_wait_have_work_left_and_were_not_admitted() -> None:
    run = go_on(make(admit(machine(rows=6, groups=None), 0), "a", 0, 1), (2,))
    waiting = [run.state.waiting_groups]
    for group in (0, 1, 2):
        waiting.append(admit(run, group).state.waiting_groups)
    assert waiting == [2, 2, 1, 0]


@pytest.mark.clause("SCHED-14")
def test_a_run_that_gives_up_could_have_admitted_or_retired_the_first_group_that_may() -> None:
    run = machine(rows=8, groups=None)
    assert way_of_groups(run.state) == "row group [0:2] may be admitted"
    run = admit(machine(rows=8, groups=3), 0, 1)
    assert way_of_groups(run.state) == "row group [4:6] may be admitted"
    make(admit(run, 2), "a", 0, 1, 4, 5)
    assert way_of_groups(run.state) == "row group [0:2] may retire"
    admit(take(run, Action("retire", rows=(0, 2))), 3)
    assert way_of_groups(run.state) == ""
    run = make(admit(machine(rows=8), 0, 2), "a", 0, 1, 4, 5)
    admit(take(run, Action("retire", rows=(0, 2))), 1)
    assert way_of_groups(run.state) == "row group [4:6] may retire"


# Groups that wait for rows of each other


@pytest.mark.clause("GROUP-08")
@pytest.mark.parametrize(("first", "second"), [(2, 0), (1, 3), (0, 2), (3, 1), (0, 3), (1, 2)])
def test_two_groups_that_wait_for_others_do_not_fill_the_limit(first: int, second: int) -> None:
    run = admit(batches(A, X), first)
    with pytest.raises(Violation, match=rf"^GROUP-08: row group {second} is admitted with 1 adm"):
        admit(run, second)
    admit(run, first ^ 1)


def half_claimed(rows: tuple[int, int], columns: tuple[int, ...]) -> Machine:
    """Of the first batch these rows are claimed, in these columns."""
    run = make(admit(batches(A, X, C), 0, 1), "a", *range(4))
    take(run, Action("start", "x", scope=0), Action("complete", "x", scope=0))
    take(run, Action("emit", "x", (0, 4)))
    make(run, "c", *range(4))
    span = rows[1] if rows[0] == 0 else (rows,)
    return go_on(run, tuple(span if column in columns else 0 for column in range(3)))


@pytest.mark.clause("GROUP-08")
def test_nobody_waits_for_a_group_that_was_claimed_whole() -> None:
    admit(half_claimed((2, 4), (0, 1, 2)), 2, 0)
    with pytest.raises(Violation, match=r"^GROUP-08: "):
        admit(half_claimed((2, 4), (0, 2)), 2, 0)


@pytest.mark.clause("GROUP-08")
def test_a_group_whose_output_is_claimed_does_not_wait_for_the_rest_of_its_batch() -> None:
    admit(half_claimed((0, 2), (0, 1)), 2, 0)
    with pytest.raises(Violation, match=r"^GROUP-08: "):
        admit(half_claimed((0, 2), (0,)), 2, 0)


@pytest.mark.clause("GROUP-08")
def test_a_group_of_dropped_rows_does_not_wait_for_its_turn() -> None:
    ordered = ColumnDescriptor("o", traits=T.ORDERED)
    run = admit(batches(ordered, A, rows=6), 2)
    for row in (4, 5):
        start(run, "a", row).apply(Action("fail", "a", (row, row + 1), failure="permanent"))
    admit(run, 1)
    with pytest.raises(Violation, match=r"^GROUP-08: "):
        admit(batches(ordered, A, rows=6), 2, 1)


# Rows that are no group, where that is not judged

ODD = [(1, 3), (5, 7), (0, 4), (4, 8), (7, 8)]


@pytest.mark.clause("GROUP-05", "GROUP-08")
@pytest.mark.parametrize("rows", ODD)
def test_rows_that_are_no_group_neither_wait_for_others_nor_retire(rows: tuple[int, int]) -> None:
    run = admit(batches(A, X, waive=("GROUP-05",)), 1)
    make(take(run, Action("admit", rows=rows)), "a", *range(*rows))
    for group in range(4):
        run = take(batches(A, X, waive=("GROUP-05", "SCHED-09")), Action("admit", rows=rows))
        start(admit(run, group), "a", 2 * group)
        run.at(1.0)
        with pytest.raises(Violation, match=r"^GROUP-02: row group \d is admitted with 2 admitted"):
            admit(run, group ^ 1)


@pytest.mark.clause("GROUP-05", "GROUP-07")
def test_rows_that_are_no_group_are_not_waiting_for_one_that_is_finished() -> None:
    run = take(machine("GROUP-05", *CONSERVES_NOTHING, rows=6), Action("admit", rows=(3, 5)))
    start(make(admit(run, 0), "a", 0, 1), "a", 3)
    run.at(1.0)
