"""Ranges of a streamable column: rows that one call makes, one after the other."""

from __future__ import annotations

import random

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits, Machine, Violation
from cellspec.machine.actions import Action

T = ExecutionTraits


def machine(
    traits: ExecutionTraits = T.ROW_STREAMABLE,
    limits: Limits | None = None,
    waive: tuple[str, ...] = (),
) -> Machine:
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE | traits, dependencies=["a"]),
    ]
    return Machine(ExecutionGraph(5, columns), limits, waive=waive)


def make(run: Machine, *rows: int) -> None:
    """Make cells of the first column."""
    for row in rows:
        run.start_cell(0, row)
        run.complete_cell(0, row)


@pytest.mark.clause("RANGE-01")
@pytest.mark.parametrize("traits", [T.ROW_STREAMABLE, T.ORDERED])
def test_a_range_waits_for_inputs_and_not_for_its_own_rows(traits: ExecutionTraits) -> None:
    run = machine(traits)
    make(run, 0, 1, 3)
    with pytest.raises(
        Violation, match=r"^RANGE-01: s\[0:4\] starts although row 2 waits for a\[2\]"
    ):
        run.start_range(1, 0, 4)
    run.start_range(1, 0, 2)
    assert run.in_flight == 1


@pytest.mark.clause("RANGE-01")
def test_a_range_of_an_ordered_column_waits_for_the_rows_before_it() -> None:
    run = machine(T.ORDERED)
    make(run, 0, 1, 2)
    with pytest.raises(
        Violation, match=r"^RANGE-01: s\[1:3\] starts although row 1 waits for s\[0\]"
    ):
        run.start_range(1, 1, 3)
    run.start_range(1, 0, 1)
    run.complete_cell(1, 0)
    run.start_range(1, 1, 3)


@pytest.mark.clause("FAIL-08")
def test_a_row_that_was_given_and_lost_runs_again_beside_the_rest_of_its_range() -> None:
    run = machine()
    make(run, *range(5))
    run.start_range(1, 0, 3)
    run.complete_cell(1, 0)
    run.complete_cell(1, 1)
    run.apply(Action("worker_lost"))
    run.apply(Action("lose", "s", (0, 2)))
    run.start_range(1, 0, 2)
    assert run.in_flight == 2
    run.complete_cell(1, 2)
    assert run.in_flight == 1, "the first call gave its last row"
    run.complete_cell(1, 0)
    run.complete_cell(1, 1)
    assert run.in_flight == 0
    assert run.completed_rows == 3


@pytest.mark.clause("SCHED-06")
def test_a_range_takes_one_worker() -> None:
    run = machine(limits=Limits(workers=1))
    make(run, *range(5))
    run.start_range(1, 0, 2)
    with pytest.raises(Violation, match=r"^SCHED-06: s\[3:5\]"):
        run.start_range(1, 3, 5)
    run.complete_cell(1, 0)
    run.complete_cell(1, 1)
    run.start_range(1, 3, 5)


@pytest.mark.clause("RANGE-02", "SCHED-04")
def test_a_range_gives_each_of_its_rows_once_and_no_other() -> None:
    run = machine()
    make(run, *range(5))
    run.start_range(1, 1, 3)
    run.complete_cell(1, 1, attempt=1)
    for attempt in (None, 1, 7):
        with pytest.raises(Violation, match=r"^RANGE-02: s\[1\] is given again by its range"):
            run.complete_cell(1, 1, attempt=attempt)
    for row in (0, 3):
        with pytest.raises(
            Violation, match=rf"^SCHED-04: s\[{row}\] completes, but is not running"
        ):
            run.complete_cell(1, row)
    assert run.in_flight == 1
    run.complete_cell(1, 2)
    assert run.in_flight == 0


@pytest.mark.clause("RANGE-02", "SCHED-04", "SCHED-02")
@pytest.mark.parametrize("seed", range(12))
def test_where_ranges_may_overlap_each_is_in_flight_until_it_has_given_its_rows(seed: int) -> None:
    """The rows that each call has left, written down one by one."""
    drawn = random.Random(seed)
    run = machine(waive=("SCHED-02", "SCHED-03"))
    make(run, *range(5))
    left: list[set[int]] = []
    for _ in range(60):
        row = drawn.randrange(5)
        holding = [rows for rows in left if row in rows]
        if drawn.random() < 0.3 and len(left) < 4:
            start, stop = sorted(drawn.sample(range(6), 2))
            if stop - start > 1:
                run.start_range(1, start, stop)
                left.append({*range(start, stop)})
        elif len(holding) == 1:
            run.complete_cell(1, row)
            holding[0].discard(row)
        elif not holding:
            with pytest.raises(Violation, match=r"^(RANGE-02|SCHED-04): "):
                run.complete_cell(1, row)
        left = [rows for rows in left if rows]
        assert run.in_flight == len(left)
