"""Steps that a waived clause forbids: the run goes on from them as if they had been allowed."""

from __future__ import annotations

import pytest

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Limits,
    Machine,
    Violation,
)

T = ExecutionTraits
A, B = ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])
SKIPS = ColumnDescriptor("a", may_skip=True)
IN_ORDER_SKIPS = ColumnDescriptor("a", traits=T.ORDERED, may_skip=True)
IN_ORDER = ColumnDescriptor("a", traits=T.ORDERED)
STREAM = ColumnDescriptor("a", traits=T.ROW_STREAMABLE)
ORDERED_STREAM = ColumnDescriptor("a", traits=T.ORDERED | T.ROW_STREAMABLE)
LOSS = Action("worker_lost")
ADMIT = Action("admit", rows=(0, 3))
IDLE = ("SCHED-09", "SCHED-15", "GROUP-06")


def cell(kind: str, column: str, row: int, stop: int | None = None) -> Action:
    return Action(kind, column, (row, stop or row + 1))


def made(column: str, *rows: int) -> list[Action]:
    return [cell(kind, column, row) for row in rows for kind in ("start", "complete")]


def failed(column: str, row: int, stop: int | None = None) -> list[Action]:
    """A call that fails, and may be made again at once."""
    fail = Action("fail", column, (row, row + 1), failure="retryable", until=0.0)
    return [cell("start", column, row, stop), fail]


def taken(
    columns: list[ColumnDescriptor], waive: tuple[str, ...], steps: list[Action], group_rows: int
) -> Machine:
    machine = Machine(
        ExecutionGraph(6, columns),
        Limits(group_rows=group_rows, groups=2) if group_rows else None,
        failures=FailurePolicy(3),
        waive=(*IDLE, *waive),
    )
    for step in steps:
        machine.apply(step)
    return machine


CASES = {
    "a start in a pause, after a loss": (
        [A, B],
        ("SCHED-16",),
        [*made("a", 0), LOSS, Action("pause", until=5.0), cell("lose", "a", 0), *made("a", 0, 1)],
        0,
        [("a", 0), ("a", 1)],
    ),
    "a range in order before its group is admitted": (
        [ORDERED_STREAM],
        ("GROUP-01",),
        [*failed("a", 0, 3), ADMIT, *made("a", 0)],
        3,
        [("a", 0)],
    ),
    "a row before its turn, which was lost": (
        [IN_ORDER],
        ("SCHED-13",),
        [*made("a", 0, 2), LOSS, cell("lose", "a", 2), *made("a", 1, 2)],
        0,
        [("a", 0), ("a", 1), ("a", 2)],
    ),
    "a cell that is to be skipped, before its group is admitted": (
        [SKIPS, B],
        ("GROUP-01", "SCHED-01"),
        [*failed("a", 0), *failed("b", 0), cell("skip", "a", 0), ADMIT, cell("skip", "b", 0)],
        3,
        [("a", 0), ("b", 0)],
    ),
    "a range over another": (
        [STREAM],
        ("SCHED-02",),
        [
            *(cell("start", "a", 0, 4), cell("start", "a", 1, 3), cell("complete", "a", 1)),
            Action("fail", "a", (2, 3), failure="retryable", until=0.0),
            cell("complete", "a", 0),
        ],
        0,
        [("a", 0), ("a", 1)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_goes_on_from_what_is_not_judged(name: str) -> None:
    columns, waive, steps, group_rows, resolved = CASES[name]
    machine = taken(columns, waive, steps, group_rows)
    index = machine.state.graph.rules.index
    for column, row in resolved:
        assert machine.counters.is_resolved(index[column], row), (column, row)


@pytest.mark.clause("FAIL-02", "SCHED-02")
def test_a_node_that_failed_for_good_stays_so_whatever_becomes_of_a_call_beside_it() -> None:
    steps = [
        *(cell("start", "a", 0), cell("start", "a", 0)),
        Action("fail", "a", (0, 1), failure="permanent"),
        Action("fail", "a", (0, 1), failure="retryable", until=0.0),
    ]
    machine = taken([A], ("SCHED-02",), steps, 0)
    with pytest.raises(Violation, match=r"^FAIL-02"):
        machine.apply(cell("start", "a", 0))


def test_a_row_that_is_to_be_skipped_stays_so_when_its_turn_comes_a_second_time() -> None:
    columns = [IN_ORDER_SKIPS, ColumnDescriptor("b", traits=T.ORDERED, dependencies=["a"])]
    steps = [
        *(cell("skip", "a", 2), *made("b", 3), cell("skip", "b", 1)),
        *(cell("lose", "b", 3), cell("skip", "b", 0)),
    ]
    machine = taken(columns, ("SCHED-01", "SKIP-01", "FAIL-08"), steps, 0)
    assert machine.counters.must_skip(1, 2)
