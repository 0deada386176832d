"""Dropped rows in the machine: which record of a drop is right, and what follows from it."""

from __future__ import annotations

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionGraph, ExecutionTraits, Machine, Violation
from cellspec.machine.killers import Killers

T = ExecutionTraits


def machine(*waive: str) -> Machine:
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("b", traits=T.START),
        ColumnDescriptor("c", dependencies=["a"]),
    ]
    return Machine(ExecutionGraph(4, columns), waive=waive)


def fail(run: Machine, column: int, *rows: int) -> None:
    for row in rows:
        run.start_cell(column, row)
    for row in rows:
        run.fail_cell(column, row, "permanent")


@pytest.mark.clause("DROP-01", "DROP-02")
def test_a_record_of_several_rows_is_one_of_each() -> None:
    run = machine()
    fail(run, 0, 0, 1, 3)
    with pytest.raises(Violation, match=r"^DROP-01: row 2 is dropped although nothing of it"):
        run.record_drop(0, 1, 3)
    run.record_drop(0, 0, 2)
    for row in (0, 1):
        with pytest.raises(Violation, match=rf"^DROP-02: the drop of row {row} is recorded again"):
            run.record_drop(0, row, row + 1)
    with pytest.raises(Violation, match=r"^DROP-02: the drop of row 1 is"):
        run.record_drop(0, 1, 4)
    run.record_drop(0, 3, 4)


@pytest.mark.clause("DROP-01")
def test_a_drop_is_recorded_with_the_column_that_failed() -> None:
    run = machine()
    fail(run, 0, 1)
    with pytest.raises(
        Violation,
        match=r"^DROP-01: row 1 is recorded dropped because of 'b', but it was 'a' that failed",
    ):
        run.record_drop(1, 1, 2)
    run.record_drop(0, 1, 2)


@pytest.mark.clause("DROP-01", "DROP-05")
def test_of_two_columns_that_failed_either_may_be_recorded() -> None:
    for column in (0, 1):
        run = machine()
        run.start_cell(0, 2)
        run.start_cell(1, 2)
        run.fail_cell(0, 2, "permanent")
        run.fail_cell(1, 2, "permanent")
        with pytest.raises(Violation, match=r"^DROP-0[15]: row 2 is recorded dropped"):
            run.record_drop(column, 2, 3, "filtered")
        with pytest.raises(Violation, match=r"^DROP-01"):
            run.record_drop(2, 2, 3)
        run.record_drop(column, 2, 3)
        with pytest.raises(Violation, match=r"^DROP-02"):
            run.record_drop(1 - column, 2, 3)


@pytest.mark.clause("DROP-01")
def test_where_it_is_not_judged_a_row_that_is_recorded_dropped_is_gone() -> None:
    run = machine("DROP-01")
    run.record_drop(0, 0, 1)
    with pytest.raises(Violation, match=r"^DROP-03"):
        run.start_cell(0, 0)
    with pytest.raises(Violation, match=r"^DROP-02"):
        run.record_drop(0, 0, 1)


@pytest.mark.clause("CKPT-17")
def test_a_drop_that_was_recorded_before_a_claim_is_read_back_with_it() -> None:
    run = machine()
    fail(run, 0, 0)
    run.record_drop(0, 0, 1)
    for column in range(3):
        run.durable_rows(column, 1)
    run.checkpoint_begin((1, 1, 1))
    run.checkpoint_durable()
    run.crash()
    with pytest.raises(Violation, match=r"^CKPT-17"):
        run.resume((1, 1, 1), dropped=())
    run.resume((1, 1, 1), dropped=((0, 1),))
    assert run.completed_rows == 1


@pytest.mark.clause("CKPT-17")
@pytest.mark.parametrize("recorded", [True, False])
def test_storage_keeps_a_drop_that_was_recorded_before_the_claim_on_its_row(
    recorded: bool,
) -> None:
    run = machine()
    run.start_cell(0, 0)
    run.complete_cell(0, 0)
    fail(run, 2, 0)
    run.durable_rows(0, 1)
    if recorded:
        run.record_drop(2, 0, 1)
    run.checkpoint_begin((1, 0, 0))
    run.checkpoint_durable()
    run.crash()
    if not recorded:
        with pytest.raises(Violation, match=r"^CKPT-17"):
            run.resume((1, 0, 0), dropped=((0, 1),))
    run.resume((1, 0, 0))
    assert (0 in run.counters.dropped) == recorded


@pytest.mark.clause("DROP-04")
@pytest.mark.parametrize("rows", [(1,), (1, 2)])
def test_a_claim_names_the_first_cell_that_an_unrecorded_drop_left_unmade(
    rows: tuple[int, ...],
) -> None:
    run = machine("CKPT-10")
    for column in (0, 1):
        run.start_cell(column, 0)
        run.complete_cell(column, 0)
    fail(run, 0, *rows)
    run.start_cell(2, 0)
    run.complete_cell(2, 0)
    run.checkpoint_begin((1, 1, 1))
    run.checkpoint_durable()
    with pytest.raises(Violation, match=r"^DROP-04: a\[1\] is claimed, but was never made: row 1"):
        run.checkpoint_begin((2, 1, 1))
    run.record_drop(0, 1, 2)
    run.checkpoint_begin((2, 1, 1))


@pytest.mark.clause("DROP-01")
def test_a_barrier_that_fails_over_rows_that_are_given_up_may_be_recorded_for_each() -> None:
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("v", traits=T.BARRIER),
    ]
    run = Machine(ExecutionGraph(3, columns))
    run.start_barrier(1, 0)
    fail(run, 0, 0, 1)
    run.fail_barrier(1, 0, "permanent")
    run.record_drop(1, 0, 2)
    run.record_drop(1, 2, 3)


@pytest.mark.clause("DROP-04")
def test_a_claim_is_refused_for_the_row_that_is_not_recorded_beside_one_that_is() -> None:
    run = machine("CKPT-10")
    fail(run, 0, 0, 1)
    run.record_drop(0, 0, 1)
    with pytest.raises(Violation, match=r"^DROP-04: a\[1\] is claimed, but was never made: row 1"):
        run.checkpoint_begin((2, 1, 1))


@pytest.mark.clause("DROP-06")
def test_only_a_record_that_names_a_killer_gives_a_row_up() -> None:
    run = Machine(ExecutionGraph(1, [ColumnDescriptor("a"), ColumnDescriptor("b")]))
    run.state.killers = Killers(1)
    for action in (Action("start", "a", (0, 1), attempt=1), Action("crash")):
        run.apply(action)
    run.apply(Action("resume", claim=(0, 0)))
    with pytest.raises(Violation, match=r"^DROP-01: row 0 is dropped although nothing"):
        run.record_drop(0, 0, 1)
    fail(run, 1, 0)
    with pytest.raises(Violation, match=r"^DROP-01: row 0 is recorded dropped because of 'a', but"):
        run.record_drop(0, 0, 1, "killer")
    run.record_drop(1, 0, 1)


@pytest.mark.clause("DROP-06")
@pytest.mark.parametrize("row", [0, 3])
def test_a_row_is_given_up_for_the_barrier_of_its_batch(row: int) -> None:
    columns = [ColumnDescriptor("v", traits=T.BATCH_BARRIER)]
    run = Machine(ExecutionGraph(4, columns, batch_size=2))
    run.state.killers = Killers(1)
    for action in (Action("start", "v", scope=row // 2, attempt=1), Action("crash")):
        run.apply(action)
    run.apply(Action("resume", claim=(0,)))
    other = 3 - row
    with pytest.raises(Violation, match=rf"^DROP-06: row {other} is given up as a killer before 1"):
        run.record_drop(0, other, other + 1, "killer")
    run.record_drop(0, row, row + 1, "killer")
    with pytest.raises(Violation, match=r"^DROP-0[126]"):
        run.record_drop(0, row, row + 1, "killer")


@pytest.mark.clause("DROP-01", "DROP-06")
def test_a_run_that_promises_no_number_of_tries_gives_no_row_up_as_a_killer() -> None:
    with pytest.raises(Violation, match=r"^DROP-01: row 0 is dropped although nothing of it"):
        machine().record_drop(0, 0, 1, "killer")
