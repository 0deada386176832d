"""What a drop leaves to those that come after it: turns in order, claims, barriers.

Single cases, each once wrong; the random ones are in `test_machine_stateful` and
`test_tracker_stateful`.
"""

from __future__ import annotations

import pytest

from cellspec import (
    Action,
    BarrierNodeId,
    CellNodeId,
    ColumnDescriptor,
    CompletionTracker,
    ExecutionGraph,
    ExecutionTraits,
    Limits,
    Machine,
    Violation,
)
from cellspec.machine.drops import drop_row
from tests.matrix.checks import steps

T = ExecutionTraits
C = ColumnDescriptor


def ordered(rows: int, traits: T = T.ORDERED) -> ExecutionGraph:
    return ExecutionGraph(rows, [C("a", traits=T.START), C("o", traits=traits, dependencies=["a"])])


def cell(kind: str, column: str, row: int, **more: object) -> Action:
    return Action(kind, column, (row, row + 1), **more)  # type: ignore[arg-type]


def made(machine: Machine, column: str, *rows: int) -> None:
    for row in rows:
        machine.apply(cell("start", column, row))
        machine.apply(cell("complete", column, row))


def dropped(machine: Machine, column: str, *rows: int) -> None:
    for row in rows:
        machine.apply(cell("start", column, row))
        machine.apply(cell("fail", column, row, failure="permanent"))


def starts(machine: Machine, column: str) -> list[int]:
    found = (a for a in machine.enabled() if a.kind == "start" and a.column == column)
    return [action.rows[0] for action in found if action.rows is not None]


# Order


@pytest.mark.clause("SCHED-13")
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (1, 3, 2)])
def test_a_row_behind_dropped_ones_waits_for_the_first_live_one(order: tuple[int, ...]) -> None:
    machine = Machine(ordered(5))
    made(machine, "a", 4)
    dropped(machine, "a", *order)
    with pytest.raises(Violation) as refused:
        machine.apply(cell("start", "o", 4))
    assert str(refused.value) == (
        "SCHED-13: o[4] starts although o[0] before it in order is not resolved"
    )
    made(machine, "a", 0)
    assert starts(machine, "o") == [0]
    made(machine, "o", 0)
    assert starts(machine, "o") == [4]


@pytest.mark.clause("SCHED-13")
def test_a_row_whose_earlier_rows_are_all_dropped_has_its_turn() -> None:
    machine = Machine(ordered(3))
    made(machine, "a", 2)
    dropped(machine, "a", 1)
    assert starts(machine, "o") == []
    dropped(machine, "a", 0)
    assert starts(machine, "o") == [2]


@pytest.mark.clause("SCHED-13", "CKPT-15")
@pytest.mark.parametrize("claim", [(2, 1), (2, 0)])
def test_a_resume_does_not_let_a_row_overtake_either(claim: tuple[int, int]) -> None:
    machine = Machine(ordered(6))
    made(machine, "a", 0, 1)
    if claim[1]:
        made(machine, "o", 0)
    dropped(machine, "a", 2, 3)
    machine.apply(Action("drop", "a", (2, 4)))
    made(machine, "a", 4)
    for column, rows in zip("ao", (5, claim[1]), strict=True):
        if rows:
            machine.apply(Action("durable", column, (0, rows)))
    claim = (5, claim[1])
    machine.apply(Action("checkpoint_begin", claim=claim))
    machine.apply(Action("checkpoint_durable"))
    machine.apply(Action("crash"))
    machine.apply(Action("resume", claim=claim, dropped=((2, 4),)))
    for row in range(claim[1], 2):
        assert starts(machine, "o") == [row]
        made(machine, "o", row)
    assert starts(machine, "o") == [4]


@pytest.mark.clause("SCHED-13", "RANGE-01")
def test_a_range_that_failed_is_tried_again_in_order_over_a_dropped_row() -> None:
    machine = Machine(ordered(3, T.ORDERED | T.ROW_STREAMABLE))
    made(machine, "a", 0, 1, 2)
    machine.apply(Action("start", "o", (0, 3)))
    machine.apply(cell("fail", "o", 0, failure="backpressure"))
    drop_row(machine.state, 1, 0)
    assert starts(machine, "o") == [0]
    with pytest.raises(Violation, match=r"^SCHED-13: o\[2\]"):
        machine.apply(cell("start", "o", 2))
    made(machine, "o", 0, 2)


@pytest.mark.clause("SCHED-13", "BARR-01")
def test_a_batch_after_one_that_is_dropped_waits_for_the_first() -> None:
    graph = ExecutionGraph(
        3,
        [C("a", traits=T.START), C("v", traits=T.BATCH_BARRIER | T.ORDERED, dependencies=["a"])],
        batch_size=1,
    )
    machine = Machine(graph)
    made(machine, "a", 2)
    dropped(machine, "a", 1)
    with pytest.raises(Violation, match=r"^BARR-01"):
        machine.apply(Action("start", "v", scope=2))
    made(machine, "a", 0)
    for scope in (0, 2):
        machine.apply(Action("start", "v", scope=scope))
        machine.apply(Action("complete", "v", scope=scope))


@pytest.mark.clause("SCHED-13", "TRACK-11")
@pytest.mark.parametrize("forwards", [True, False])
def test_handing_turns_on_costs_no_more_steps_for_more_dropped_rows(forwards: bool) -> None:
    def costs(rows: int) -> float:
        tracker = ordered(rows).tracker()
        order = range(1, rows - 1) if forwards else range(rows - 2, 0, -1)

        def work() -> None:
            for row in order:
                tracker.mark_dropped(row)
            for column in "ao":
                tracker.mark_complete(CellNodeId(0, column))

        return steps(work) / rows

    assert costs(2000) <= costs(200) + 1


# Records


BARRIER = ExecutionGraph(2, [C("a", traits=T.START), C("b", traits=T.BARRIER, dependencies=["a"])])


def with_a_failed_barrier() -> Machine:
    """Both rows of a are made; barrier b failed for good; only the drop of row 0 is recorded."""
    machine = Machine(BARRIER)
    made(machine, "a", 0, 1)
    machine.apply(Action("start", "b", scope=0))
    machine.apply(Action("fail", "b", scope=0, failure="permanent"))
    machine.apply(cell("drop", "b", 0))
    return machine


@pytest.mark.clause("DROP-04")
def test_a_claim_of_cells_that_were_made_needs_no_record_of_a_later_drop() -> None:
    machine = with_a_failed_barrier()
    machine.apply(Action("durable", "a", (0, 2)))
    machine.apply(Action("durable", "b", (0, 1)))
    machine.apply(Action("checkpoint_begin", claim=(2, 1)))
    machine.apply(Action("checkpoint_durable"))


@pytest.mark.clause("DROP-04")
def test_a_report_that_holds_a_cell_that_a_drop_left_unmade_needs_its_record() -> None:
    machine = with_a_failed_barrier()
    with pytest.raises(Violation) as refused:
        machine.apply(Action("durable", "b", (0, 2)))
    assert str(refused.value) == (
        "DROP-04: b[1] is on storage, but was never made: row 1 was dropped, which is not recorded "
        "yet"
    )
    machine.apply(cell("drop", "b", 1))
    machine.apply(Action("durable", "b", (0, 2)))


@pytest.mark.clause("DROP-04")
def test_a_claim_that_holds_a_cell_that_a_drop_left_unmade_needs_its_record() -> None:
    machine = Machine(BARRIER, waive=("CKPT-10",))
    made(machine, "a", 0)
    dropped(machine, "a", 1)
    with pytest.raises(Violation) as refused:
        machine.apply(Action("checkpoint_begin", claim=(2, 0)))
    assert str(refused.value) == (
        "DROP-04: a[1] is claimed, but was never made: row 1 was dropped, which is not recorded yet"
    )


@pytest.mark.clause("DROP-04", "CKPT-17")
@pytest.mark.parametrize("given_back", [True, False])
def test_a_resume_from_a_claim_before_the_record_is_without_the_drop(given_back: bool) -> None:
    machine = with_a_failed_barrier()
    machine.apply(Action("durable", "a", (0, 2)))
    machine.apply(Action("durable", "b", (0, 1)))
    machine.apply(Action("checkpoint_begin", claim=(2, 1)))
    machine.apply(Action("checkpoint_durable"))
    machine.apply(Action("crash"))
    with pytest.raises(Violation, match=r"^CKPT-17: resumed with the drop of row 1, "):
        machine.apply(Action("resume", claim=(2, 1), dropped=((0, 2),)))
    machine.apply(Action("resume", claim=(2, 1), dropped=((0, 1),) if given_back else None))
    assert list(machine.counters.dropped) == [0]
    assert [str(a) for a in machine.enabled() if a.kind == "start"] == ["start b barrier 0"]


@pytest.mark.clause("CKPT-17")
@pytest.mark.parametrize("incarnations", [1, 2, 3])
def test_a_drop_that_a_claim_rests_on_is_given_at_every_resume(incarnations: int) -> None:
    machine = Machine(ExecutionGraph(2, [C("a")]))
    made(machine, "a", 0)
    dropped(machine, "a", 1)
    machine.apply(cell("drop", "a", 1))
    machine.apply(Action("durable", "a", (0, 2)))
    machine.apply(Action("checkpoint_begin", claim=(2,)))
    machine.apply(Action("checkpoint_durable"))
    for _ in range(incarnations):
        machine.apply(Action("crash"))
        with pytest.raises(Violation, match=r"^CKPT-17: resumed without the drop of row 1, "):
            machine.apply(Action("resume", claim=(2,), dropped=()))
        machine.apply(Action("resume", claim=(2,), dropped=((1, 2),)))


@pytest.mark.clause("CKPT-17")
def test_a_cell_that_a_given_drop_left_unmade_is_not_claimed_without_the_drop() -> None:
    machine = Machine(ExecutionGraph(2, [C("a"), C("b", dependencies=["a"])]))
    made(machine, "a", 0)
    dropped(machine, "a", 1)
    machine.apply(cell("drop", "a", 1))
    machine.apply(Action("durable", "a", (0, 2)))
    machine.apply(Action("checkpoint_begin", claim=(2, 0)))
    machine.apply(Action("checkpoint_durable"))
    machine.apply(Action("crash"))
    machine.apply(Action("resume", claim=(2, 0), dropped=((1, 2),)))
    assert list(machine.counters.lost[1]) == [1]


@pytest.mark.clause("GROUP-01")
def test_after_a_resume_a_group_is_admitted_anew_if_any_column_of_it_is_open() -> None:
    graph = ExecutionGraph(2, [C("a"), C("b", dependencies=["a"])])
    machine = Machine(graph, limits=Limits(group_rows=1))
    for row in (0, 1):
        machine.apply(Action("admit", rows=(row, row + 1)))
    made(machine, "a", 0, 1)
    machine.apply(Action("durable", "a", (0, 2)))
    machine.apply(Action("checkpoint_begin", claim=(2, 0)))
    machine.apply(Action("checkpoint_durable"))
    machine.apply(Action("crash"))
    machine.apply(Action("resume", claim=(2, 0)))
    for row in (0, 1):
        assert starts(machine, "b") == list(range(row))
        machine.apply(Action("admit", rows=(row, row + 1)))
    assert starts(machine, "b") == [0, 1]


@pytest.mark.clause("DROP-04")
def test_a_run_does_not_end_before_every_drop_is_recorded() -> None:
    machine = with_a_failed_barrier()
    with pytest.raises(Violation, match=r"^DROP-04: the run ends, but the drop of row 1 is not"):
        machine.apply(Action("end", outcome="failed"))


# Barriers


@pytest.mark.clause("BARR-08", "TRACK-06")
@pytest.mark.parametrize("drop", [True, False])
def test_a_drop_in_another_batch_does_not_excuse_a_barrier_from_its_run(drop: bool) -> None:
    """Output cells were marked before their barrier node: it has to run all the same."""
    graph = ExecutionGraph(
        3,
        [C("a", traits=T.START), C("v", traits=T.BATCH_BARRIER, dependencies=["a"])],
        batch_size=2,
    )
    tracker = graph.tracker()
    for row in (0, 1):
        tracker.mark_complete(CellNodeId(row, "v"))
    if drop:
        tracker.mark_dropped(2)
    for row in (0, 1):
        tracker.mark_complete(CellNodeId(row, "a"))
    assert BarrierNodeId("v", 0) in set(graph.iter_ready_nodes(tracker))
    assert graph.get_completed_row_count(tracker) == 0
    tracker.mark_complete(BarrierNodeId("v", 0))
    assert graph.get_completed_row_count(tracker) == (3 if drop else 2)


@pytest.mark.clause("CKPT-05", "CKPT-13")
def test_a_column_that_was_marked_before_its_input_is_claimed_as_far_as_its_input() -> None:
    graph = ordered(3)
    tracker = graph.tracker()
    for row in range(3):
        tracker.mark_complete(CellNodeId(row, "o"))
    tracker.mark_complete(CellNodeId(0, "a"))
    payload = tracker.to_checkpoint(graph, 2)
    assert payload["column_rows"] == {"a": 1, "o": 1}
    restored = CompletionTracker.from_checkpoint(payload, graph)
    assert restored.to_checkpoint(graph, 2) == payload
