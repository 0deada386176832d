"""A promised bypass bound: which starts count, and which do not (SCHED-17)."""

from __future__ import annotations

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

T = ExecutionTraits


@pytest.mark.clause("SCHED-17")
def test_output_of_a_barrier_is_not_taken_for_the_barrier_of_the_next_batch() -> None:
    """Cell 1 of the column has the place of barrier node 1, which became ready later."""
    columns = [
        ColumnDescriptor("d"),
        ColumnDescriptor("b", traits=T.BATCH_BARRIER | T.ORDERED),
    ]
    run = Machine(ExecutionGraph(4, columns, batch_size=2), bypass=0)
    run.apply(Action("start", "b", scope=0))
    run.apply(Action("complete", "b", scope=0))
    run.apply(Action("start", "b", (1, 2)))
    with pytest.raises(Violation, match=r"^SCHED-17: barrier 1 of 'b' starts, and is number 1 of"):
        run.apply(Action("start", "b", scope=1))


@pytest.mark.clause("SCHED-17", "RANGE-01")
def test_each_row_of_a_range_overtakes() -> None:
    columns = [
        ColumnDescriptor("a", traits=T.BARRIER),
        ColumnDescriptor("d"),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE, dependencies=["a"]),
    ]
    for bound, allowed in ((1, 1), (2, 2)):
        run = Machine(ExecutionGraph(3, columns), bypass=bound)
        run.apply(Action("start", "a", scope=0))
        run.apply(Action("complete", "a", scope=0))
        run.apply(Action("emit", "a", (0, 3)))
        with pytest.raises(Violation, match=rf"^SCHED-17: s\[{allowed}\] starts, and is number"):
            run.apply(Action("start", "s", (0, allowed + 1)))
        run.apply(Action("start", "s", (0, allowed)))


@pytest.mark.clause("SCHED-17")
def test_only_starts_that_keep_the_bound_are_offered() -> None:
    chain = [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])]
    run = Machine(ExecutionGraph(2, chain), bypass=0)
    run.apply(Action("start", "a", (0, 1)))
    run.apply(Action("complete", "a", (0, 1)))
    assert [str(each) for each in run.enabled() if each.kind == "start"] == ["start a[1]"]


@pytest.mark.clause("SCHED-17")
def test_groups_that_are_admitted_one_after_the_other_are_ready_at_one_step() -> None:
    graph = ExecutionGraph(2, [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])])
    run = Machine(graph, Limits(group_rows=1), bypass=0)
    for row in (0, 1):
        run.apply(Action("admit", rows=(row, row + 1)))
    run.apply(Action("start", "a", (1, 2)))
    assert run.in_flight == 1


@pytest.mark.clause("SCHED-17")
@pytest.mark.parametrize("first", [0, 1])
def test_what_an_earlier_step_made_ready_is_ready_earlier(first: int) -> None:
    chain = [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])]
    run = Machine(ExecutionGraph(2, chain), bypass=0)
    run.apply(Action("start", "a", (0, 2)))
    for row in (1, 0):
        run.apply(Action("complete", "a", (row, row + 1)))
    start = Action("start", "b", (first, first + 1))
    if first == 1:
        run.apply(start)
        return
    with pytest.raises(Violation, match=r"^SCHED-17: b\[0\] starts, and is number 1 of those"):
        run.apply(start)
