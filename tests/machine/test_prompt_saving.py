"""Prompt saving by each policy, step by step (clause CKPT-19), and what a failed write costs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    Limits,
    Machine,
    SpecError,
    Violation,
)
from cellspec.clauses import clauses
from cellspec.machine.limits import ClaimKind, SavePolicy
from tests.explore.any_action import any_action, graph_of, renamed_limits
from tests.strategies import Plan, plans

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
@pytest.mark.parametrize(
    ("saving", "due"),
    [
        (SavePolicy(rows=2), 1),
        (SavePolicy(rows=3), 0),
        (SavePolicy(group=True), 1),
        (SavePolicy(seconds=1.0), 1),
        (SavePolicy(seconds=1.5), 0),
    ],
)
def test_a_save_that_was_not_due_by_the_policy_is_no_evidence(saving: SavePolicy, due: int) -> None:
    run = machine(saving, waive=("GROUP-06",))
    finish(run, 0, 1.0)
    finish(run, 1, 2.0)
    save(run, 2)
    run.apply(Action("checkpoint_durable"))
    assert run.state.due_saves == due
    for row in range(2, 6):
        finish(run, row, 2.0)
    # Nothing is left that a later save could lose.
    save(run, 6)
    assert run.state.due_saves == due


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


@pytest.mark.clause("CKPT-19")
def test_a_row_behind_a_gap_may_have_been_in_a_save_that_failed() -> None:
    run = Machine(GRAPH, Limits(4), saving=SavePolicy(rows=2), waive=("SCHED-09", "SCHED-15"))
    make(run, 0, 2)
    run.at(1.0)
    run.apply(Action("durable", "a", (0, 1)))
    run.apply(Action("checkpoint_begin", claim=(1,)))
    run.apply(Action("checkpoint_failed"))
    make(run, 1)
    run.at(2.0)
    make(run, 3)
    with pytest.raises(Violation, match=r"^CKPT-19: 3 rows"):
        run.at(3.0)


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


ANY_ROWS = ClaimKind(3, by_column=True)
NEVER = 10**9


def claiming_any(
    saving: SavePolicy, rows: int = 6, *columns: ColumnDescriptor, drops: bool = True
) -> Machine:
    graph = ExecutionGraph(rows, columns or [ColumnDescriptor("a")])
    waive = ("SCHED-09", "SCHED-15", "GROUP-06", "GROUP-07")
    limits = Limits(group_rows=2)
    run = Machine(graph, limits, drops=drops, waive=waive, saving=saving, claims=ANY_ROWS)
    for start in range(0, rows, 2):
        run.apply(Action("admit", rows=(start, min(start + 2, rows))))
    return run


def make(run: Machine, *rows: int, column: str = "a") -> None:
    for row in rows:
        run.apply(Action("start", column, (row, row + 1)))
        run.apply(Action("complete", column, (row, row + 1)))


def commit(run: Machine, *rows: int, column: str = "", ends: str = "committed") -> None:
    for row in rows:
        run.apply(Action("commit_begin", column, (row, row + 1)))
        run.apply(Action(ends))


@pytest.mark.clause("CKPT-19")
@pytest.mark.parametrize(
    ("saving", "words"),
    [
        (SavePolicy(rows=2), "2 rows could be claimed at t=0 s, 0 at the last save"),
        (SavePolicy(group=True), "1 row group could be claimed at t=0 s, 0 at the last save"),
        (SavePolicy(seconds=1.0), "2 rows could be claimed at t=0 s, 0 at the last save"),
    ],
    ids=["rows", "group", "seconds"],
)
def test_rows_behind_a_gap_count_where_any_rows_are_claimed(saving: SavePolicy, words: str) -> None:
    run = claiming_any(saving)
    make(run, 2, 3)
    with pytest.raises(Violation, match=rf"^CKPT-19: {words}"):
        run.at(2.0)
    commit(run, 2, 3)
    run.at(9.0)


@pytest.mark.clause("CKPT-19")
def test_rows_of_two_groups_make_no_group() -> None:
    run = claiming_any(SavePolicy(group=True), 5)
    make(run, 1, 2)
    run.at(1.0)
    # The last group is short.
    make(run, 4)
    with pytest.raises(Violation, match=r"^CKPT-19: 1 row group"):
        run.at(2.0)


@pytest.mark.clause("CKPT-19")
def test_a_row_counts_once_every_cell_of_it_could_be_claimed() -> None:
    b = ColumnDescriptor("b", dependencies=["a"])
    run = claiming_any(SavePolicy(rows=1), 6, ColumnDescriptor("a"), b)
    make(run, 3)
    run.at(1.0)
    commit(run, 3, column="a")
    make(run, 3, column="b")
    with pytest.raises(Violation, match=r"^CKPT-19"):
        run.at(2.0)
    # A commit of half a row saves no row.
    make(run, 4)
    commit(run, 4, column="a")
    with pytest.raises(Violation, match=r"^CKPT-19: 1 row could be claimed at t=1 s, 0 at"):
        run.at(2.0)
    commit(run, 3, column="b")
    run.at(2.0)


@pytest.mark.clause("CKPT-19", "DROP-04")
def test_a_row_whose_drop_is_not_recorded_could_not_be_claimed() -> None:
    run = claiming_any(SavePolicy(rows=1))
    run.apply(Action("start", "a", (3, 4)))
    run.apply(Action("fail", "a", (3, 4), failure="permanent"))
    run.at(1.0)
    run.apply(Action("drop", "a", (3, 4)))
    with pytest.raises(Violation, match=r"^CKPT-19"):
        run.at(2.0)


@pytest.mark.clause("CKPT-19", "CKPT-05")
def test_with_an_ordered_column_rows_count_from_row_0_on() -> None:
    ordered = ColumnDescriptor(
        "o", dependencies=["a"], traits=ExecutionTraits.ROW_STREAMABLE | ExecutionTraits.ORDERED
    )
    b = ColumnDescriptor("b", dependencies=["o"])
    run = claiming_any(SavePolicy(rows=1), 6, ColumnDescriptor("a"), ordered, b)
    make(run, 0, 1)
    make(run, 0, 1, column="o")
    # Row 1 is whole; as a row it is claimed after row 0.
    make(run, 1, column="b")
    run.at(1.0)
    make(run, 0, column="b")
    with pytest.raises(Violation, match=r"^CKPT-19: 2 rows"):
        run.at(2.0)


@pytest.mark.clause("CKPT-19")
def test_after_a_commit_that_failed_a_save_is_due_by_what_is_new() -> None:
    run = claiming_any(SavePolicy(rows=2))
    make(run, 4, 5)
    commit(run, 4, ends="commit_failed")
    make(run, 2)
    run.at(1.0)
    make(run, 1)
    with pytest.raises(Violation, match=r"^CKPT-19: 4 rows could be claimed at t=1 s, 2 at"):
        run.at(2.0)


@given(
    plans(max_columns=4, max_rows=5),
    st.sampled_from([SavePolicy(rows=NEVER), SavePolicy(seconds=NEVER), SavePolicy(group=True)]),
    st.integers(0, 10**6),
)
def test_what_is_counted_is_what_a_look_at_every_row_finds(
    plan: Plan, saving: SavePolicy, seed: int
) -> None:
    waive = [number for number in clauses() if number != "CKPT-19"]
    machine = Machine(
        graph_of(plan.case),
        renamed_limits(plan.limits),
        failures=plan.failures,
        waive=waive,
        saving=saving,
        claims=ANY_ROWS,
    )
    rng = random.Random(seed)
    for _ in range(80):
        if rng.random() < 0.2:
            # A moment at which no save was due.
            machine.set_clock(machine.now + 1)
        try:
            machine.apply(any_step(machine, rng))
        except SpecError:
            continue
        expect_counts(machine)


def any_step(machine: Machine, rng: random.Random) -> Action:
    """Any action, also a commit of single cells, or a loss."""
    column = rng.randrange(machine.graph.num_columns)
    name, row = machine.graph.column_names[column], rng.randrange(machine.graph.num_records)
    if machine.state.commits:
        return Action("committed")
    if rng.random() < 0.3:
        return Action("commit_begin", rng.choice(("", name)), (row, row + 1))
    if rng.random() < 0.2:
        return Action("worker_lost")
    if rng.random() < 0.1:
        size = machine.graph.rules.columns[column].scope_rows
        if size:
            return Action("lose", name, scope=row // size)
        return Action("lose", name, (row, row + 1))
    return any_action(machine, rng)


def expect_counts(machine: Machine) -> None:
    """The counts of parts are what a look at every cell finds."""
    counters, held = machine.counters, machine.state.held
    rules, total = machine.graph.rules, machine.graph.num_records
    ordered = any(rule.ordered for rule in rules.columns)
    assert (counters.parts is None) == ordered
    if counters.parts is None:
        return
    size = counters.parts.size
    parts = [range(start, min(start + size, total)) for start in range(0, total, size)]
    columns = range(len(rules.columns))
    assert counters.parts.count == sum(
        all(counters.is_resolved(column, row) for column in columns for row in part)
        for part in parts
    )
    if held is not None and held.parts is not None:
        assert held.parts.count == sum(
            all(held.first_outside(column, part.start, part.stop) < 0 for column in columns)
            for part in parts
        )


@pytest.mark.clause("CKPT-19")
def test_a_claim_is_open_until_it_ends_itself_whatever_commits_end() -> None:
    for ends in ("committed", "commit_failed"):
        run = claiming_any(SavePolicy(rows=1))
        make(run, 0)
        run.apply(Action("durable", "a", (0, 1)))
        run.apply(Action("checkpoint_begin", claim=(1,)))
        make(run, 1)
        commit(run, 1, ends=ends)
        make(run, 2)
        run.at(5.0)
        run.apply(Action("checkpoint_durable"))
        make(run, 3)
        with pytest.raises(Violation, match=r"^CKPT-19: .*, and none was begun before t=6 s"):
            run.at(6.0)


@pytest.mark.clause("CKPT-19")
def test_before_a_claim_with_a_gap_begins_its_rows_are_due() -> None:
    run = Machine(GRAPH, saving=SavePolicy(rows=1), waive=("SCHED-09", "SCHED-15"))
    make(run, 0, 2)
    run.apply(Action("durable", "a", (0, 1)))
    run.apply(Action("durable", "a", (2, 3)))
    run.apply(Action("checkpoint_begin", claim=(((0, 1), (2, 3)),)))
    assert run.state.due_saves == 1


@pytest.mark.clause("CKPT-19")
def test_a_row_that_is_held_and_was_tried_counts_once() -> None:
    run = Machine(GRAPH, saving=SavePolicy(rows=2), waive=("SCHED-09", "SCHED-15"))
    make(run, 1, 2)
    commit(run, 1)
    commit(run, 2, ends="commit_failed")
    make(run, 0, 3)
    with pytest.raises(Violation, match=r"^CKPT-19: 2 rows could be claimed at t=0 s, 0 at the la"):
        run.at(1.0)


@pytest.mark.clause("CKPT-19")
def test_a_row_that_is_claimed_while_it_is_written_counts_once() -> None:
    run = claiming_any(SavePolicy(rows=1))
    make(run, 0, 1, 2)
    run.apply(Action("write_begin", "a", (0, 2)))
    commit(run, 0)
    with pytest.raises(
        Violation, match=r"^CKPT-19: 2 rows .* 1 at the last save; .* leave it undo"
    ):
        run.at(1.0)


@pytest.mark.clause("CKPT-19")
def test_what_was_on_the_way_when_the_process_died_is_held_by_nobody() -> None:
    run = machine(SavePolicy(rows=1), waive=("GROUP-06",))
    for life in (1, 2):
        finish(run, 0, 1.0)
        run.apply(Action("write_begin", "a", (0, 1)))
        assert run.state.due_saves == life
        run.apply(Action("crash"))
        run.apply(Action("resume", claim=(0,)))


def late(run: Machine, t: float) -> str:
    """What the machine says of a save that is late at a time."""
    with pytest.raises(Violation, match=r"^CKPT-19: ") as refused:
        run.at(t)
    return str(refused.value)


@pytest.mark.clause("CKPT-19")
def test_a_claim_on_data_that_was_durable_just_then_began_with_the_data() -> None:
    run = machine(SavePolicy(rows=1), waive=("GROUP-06",))
    finish(run, 0, 1.0)
    run.apply(Action("write_begin", "a", (0, 1)))
    finish(run, 1, 2.0)
    finish(run, 2, 2.0)
    save(run, 1)
    run.at(3.0)
    run.apply(Action("checkpoint_durable"))
    run.apply(Action("write_begin", "a", (1, 2)))
    run.at(4.0)


@pytest.mark.clause("CKPT-19")
def test_a_claim_that_failed_is_no_reason_for_the_next_save_to_wait() -> None:
    run = machine(SavePolicy(rows=1), waive=("GROUP-06",))
    finish(run, 0, 0.0)
    save(run, 1)
    finish(run, 1, 1.0)
    run.apply(Action("checkpoint_failed"))
    finish(run, 2, 1.0)
    run.apply(Action("write_begin", "a", (0, 1)))
    assert "3 rows could be claimed at t=1 s, 2 at the last save" in late(run, 2.0)


@pytest.mark.clause("CKPT-19", "SCHED-16")
@pytest.mark.parametrize("begun", [False, True], ids=["rows", "a claim"])
def test_after_a_failed_write_rows_wait_anew_and_longer_in_one_pause(begun: bool) -> None:
    run = machine(SavePolicy(seconds=2.0), waive=("GROUP-06",))
    finish(run, 0, 0.0)
    run.at(1.0)
    if begun:
        save(run, 1)
    run.apply(Action("checkpoint_failed"))
    run.at(3.0)
    assert "a save is due 2 s after a write that failed at 1 s" in late(run, 3.5)
    run.apply(Action("pause", until=9.0))
    run.at(9.0)
    with pytest.raises(Violation, match=r"^SCHED-16: "):
        run.apply(Action("pause", until=12.0))
    late(run, 9.5)


@pytest.mark.clause("CKPT-19")
def test_all_saves_that_are_open_hold_their_rows_when_another_has_failed() -> None:
    run = claiming_any(SavePolicy(rows=2))
    make(run, 0, 1, 2, 3, 4)
    run.apply(Action("durable", "a", (0, 1)))
    run.apply(Action("checkpoint_begin", claim=(1,)))
    for row in (1, 2, 3):
        run.apply(Action("commit_begin", "", (row, row + 1), commit=row))
    run.apply(Action("commit_failed", commit=3))
    for row in (1, 2):
        run.apply(Action("committed", commit=row))
    assert "5 rows could be claimed at t=0 s, 3 at the last save" in late(run, 1.0)


@pytest.mark.clause("CKPT-19")
def test_each_row_group_of_which_data_is_on_the_way_is_held() -> None:
    run = claiming_any(SavePolicy(group=True))
    make(run, *range(6))
    run.apply(Action("write_begin", "a", (0, 2)))
    run.apply(Action("write_begin", "a", (5, 6)))
    assert "1 row group could be claimed at t=0 s, 0 at the last save" in late(run, 1.0)


@pytest.mark.clause("CKPT-19")
def test_behind_a_gap_what_was_tried_is_held_and_what_is_on_the_way() -> None:
    run = Machine(GRAPH, saving=SavePolicy(rows=1), waive=("SCHED-09", "SCHED-15"))
    make(run, 1, 3, 5)
    commit(run, 1)
    commit(run, 3, ends="commit_failed")
    run.at(1.0)
    make(run, 0, 2, 4)
    run.apply(Action("write_begin", "a", (0, 1)))
    assert "2 rows could be claimed at t=1 s, 0 at the last save" in late(run, 2.0)


@pytest.mark.clause("CKPT-19")
def test_behind_a_gap_the_rows_of_a_claim_are_held_before_it_is_durable_and_after() -> None:
    run = Machine(GRAPH, saving=SavePolicy(rows=1), waive=("SCHED-09", "SCHED-15"))
    make(run, 2, 4)
    for claim in ((2, 3),), ((2, 3), (4, 5)):
        run.apply(Action("durable", "a", claim[-1]))
        run.apply(Action("checkpoint_begin", claim=(claim,)))
        if claim == ((2, 3),):
            run.apply(Action("checkpoint_durable"))
            run.at(1.0)
            make(run, 0, 1, 3)
    run.apply(Action("write_begin", "a", (0, 1)))
    assert "2 rows could be claimed at t=1 s, 0 at the last save" in late(run, 2.0)


@pytest.mark.clause("CKPT-19")
def test_the_rows_of_a_last_row_group_that_is_short_are_due_as_those_of_others() -> None:
    graph = ExecutionGraph(5, [ColumnDescriptor("a")])
    waive = ("SCHED-09", "SCHED-15", "GROUP-06")
    run = Machine(graph, Limits(group_rows=2), saving=SavePolicy(group=True), waive=waive)
    for start, stop in ((0, 2), (2, 4), (4, 5)):
        run.apply(Action("admit", rows=(start, stop)))
    make(run, 0, 1, 2, 3)
    save(run, 4)
    run.apply(Action("checkpoint_durable"))
    make(run, 4)
    assert "for every row group of 2 rows, and none was begun" in late(run, 1.0)


@pytest.mark.clause("CKPT-19")
def test_a_pause_after_a_call_that_failed_is_no_reason_to_save_later() -> None:
    run = claiming_any(SavePolicy(rows=1))
    make(run, 1)
    run.apply(Action("start", "a", (0, 1)))
    run.apply(Action("fail", "a", (0, 1), failure="backpressure"))
    run.apply(Action("pause", until=9.0))
    assert "1 row could be claimed at t=0 s, 0 at the last save" in late(run, 1.0)


@pytest.mark.clause("CKPT-19", "FAIL-08")
def test_after_a_loss_the_rows_that_are_left_wait_anew() -> None:
    run = claiming_any(SavePolicy(seconds=2.0))
    make(run, 0, 1)
    run.at(1.0)
    run.apply(Action("worker_lost"))
    run.apply(Action("lose", "a", (1, 2)))
    run.at(3.0)
    assert "1 row could be claimed at t=3 s, 0 at the last save; a save is due 2 s" in late(
        run, 3.5
    )


@pytest.mark.clause("CKPT-19")
def test_a_commit_that_begins_as_another_is_durable_was_due_while_that_was_written() -> None:
    run = claiming_any(SavePolicy(rows=1))
    make(run, 0)
    run.apply(Action("commit_begin", "", (0, 1)))
    run.at(1.0)
    make(run, 1, 2)
    run.apply(Action("committed"))
    run.apply(Action("commit_begin", "", (1, 2)))
    run.at(2.0)


@pytest.mark.clause("CKPT-19")
def test_a_write_that_begins_as_another_is_durable_was_due_while_that_was_written() -> None:
    run = machine(SavePolicy(rows=3), waive=("GROUP-06",))
    finish(run, 0, 0.0)
    run.apply(Action("write_begin", "a", (0, 1)))
    for row in (1, 2, 3):
        finish(run, row, 1.0)
    run.apply(Action("durable", "a", (0, 1)))
    run.apply(Action("write_begin", "a", (1, 2)))
    run.at(2.0)


@pytest.mark.clause("CKPT-19", "CKPT-09")
def test_rows_that_a_smaller_claim_gives_up_wait_from_then() -> None:
    run = machine(SavePolicy(seconds=2.0), waive=("GROUP-06", "CKPT-09"))
    finish(run, 0, 0.0)
    finish(run, 1, 0.0)
    for t, rows in ((0.0, 2), (1.0, 1)):
        run.at(t)
        save(run, rows)
        run.apply(Action("checkpoint_durable"))
    run.at(3.0)
    assert "a save is due 2 s after the first of them, which was at 1 s" in late(run, 3.5)
