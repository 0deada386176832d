"""Actions by name: which are no step at all, and which are several."""

from __future__ import annotations

import re

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionGraph, ExecutionTraits, Machine, SpecError
from cellspec.machine.actions import Failure
from cellspec.machine.limits import FailurePolicy
from cellspec.trace import event_of

T = ExecutionTraits


def machine() -> Machine:
    columns = [
        ColumnDescriptor("a", traits=T.START, may_skip=True),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["a"]),
    ]
    graph = ExecutionGraph(4, columns, batch_size=2)
    return Machine(graph, failures=FailurePolicy(max_attempts=2))


WRONG = [
    (Action("start", "x", (0, 1)), "unknown column 'x'"),
    (Action("durable", "x", (0, 1)), "unknown column 'x'"),
    (Action("lose", "x", (0, 1)), "unknown column 'x'"),
    (Action("write_begin", "x", (0, 1)), "unknown column 'x'"),
    (Action("commit_begin", "x", (0, 1)), "unknown column 'x'"),
    (Action("start", "a"), "expected rows within 0 to 4"),
    (Action("start", "a", (3, 5)), "expected rows within 0 to 4"),
    (Action("start", "a", (-1, 1)), "expected rows within 0 to 4"),
    (Action("durable", "a", (2, 2)), "expected rows within 0 to 4"),
    (Action("admit", rows=(0, 5)), "expected rows within 0 to 4"),
    (Action("start", "v", scope=2), "no such barrier node"),
    (Action("start", "v", scope=-1), "no such barrier node"),
    (Action("lose", "v", scope=2), "no such barrier node"),
    (Action("lose", "v", (0, 1)), "what a barrier gave is named by its scope"),
    (Action("recall", "v", (0, 1)), "what a barrier gave is named by its scope"),
    (Action("fail", "a", (0, 1)), "failure: missing"),
    (Action("fail", "v", scope=0), "failure: missing"),
    (Action("emit", "a", (0, 1)), "only a barrier emits"),
    (Action("complete", "a", (1, 2), rejected=((0, 2),)), "expected rows within 1 to 2"),
    (Action("complete", "a", (1, 2), rejected=((1, 3),)), "expected rows within 1 to 2"),
    (Action("complete", "v", scope=1, rejected=((1, 3),)), "expected rows within 2 to 4"),
    (Action("complete", "v", scope=1, rejected=((2, 3), (3, 5))), "expected rows within 2 to 4"),
    (Action("checkpoint_begin"), "unknown, or incomplete"),
    (Action("checkpoint_begin", claim=(0,)), "claims 1 columns of 3"),
    (Action("commit_begin", claim=(0, 0)), "claims 2 columns of 3"),
    (Action("resume"), "unknown, or incomplete"),
    (Action("resume", claim=(0,)), "claims 1 columns of 3"),
    (Action("nonsense"), "unknown, or incomplete"),
]


@pytest.mark.parametrize(("action", "said"), WRONG, ids=lambda value: str(value)[:40])
def test_an_action_that_names_no_step_is_refused_and_changes_nothing(
    action: Action, said: str
) -> None:
    run, seen = machine(), list[Action]()
    before = list(run.enabled())
    run.on_step = seen.append
    with pytest.raises(SpecError) as refused:
        run.apply(action)
    assert str(refused.value).startswith(f"action {action}: ")
    assert said in str(refused.value)
    run.on_step = None
    with pytest.raises(SpecError, match=re.escape(said)):
        run.apply(action)
    assert (seen, list(run.enabled())) == ([], before)


def steps_of(*actions: Action) -> list[tuple[str, tuple[int, int] | None]]:
    """The steps that actions become; each takes all that they name."""
    run, seen = machine(), list[Action]()
    run.on_step = seen.append
    for action in actions:
        run.apply(action)
    return [(step.kind, step.rows) for step in seen]


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_an_action_on_several_cells_is_a_step_of_each(end: str) -> None:
    failure: Failure | None = "retryable" if end == "fail" else None
    found = steps_of(Action("start", "a", (0, 3)), Action(end, "a", (1, 3), failure=failure))
    assert found == [
        *(("start", (row, row + 1)) for row in range(3)),
        *((end, (row, row + 1)) for row in (1, 2)),
    ]
    assert steps_of(Action("skip", "a", (1, 3))) == [("skip", (1, 2)), ("skip", (2, 3))]


def test_a_range_starts_and_fails_in_one_step_and_gives_its_rows_one_by_one() -> None:
    start = Action("start", "s", (0, 4))
    given = Action("complete", "s", (0, 2))
    for rows in ((0, 4), (1, 4), (2, 3), (0, 3)):
        found = steps_of(start, given, Action("fail", "s", rows, failure="retryable"))
        assert found == [
            ("start", (0, 4)),
            ("complete", (0, 1)),
            ("complete", (1, 2)),
            ("fail", (0, 1) if rows[1] - rows[0] > 1 else rows),
        ]


def test_a_commit_may_name_rows_of_one_column_or_of_each() -> None:
    for column, expected in (("a", {"a"}), ("", {"a", "s", "v"})):
        run = machine()
        for step in (
            Action("start", "a", (0, 2)),
            Action("complete", "a", (0, 2)),
            Action("start", "s", (0, 2)),
            Action("complete", "s", (0, 2)),
            Action("start", "v", scope=0),
            Action("complete", "v", scope=0),
            Action("emit", "v", (0, 2)),
            Action("commit_begin", column, (0, 2)),
            Action("committed"),
        ):
            run.apply(step)
        columns = zip(run.graph.column_names, run.durable, strict=True)
        assert {name for name, rows in columns if rows == 2} == expected


def test_any_row_of_a_range_stands_for_what_is_left_of_it_at_either_end_of_the_rows() -> None:
    start = Action("start", "s", (1, 3))
    for rows in ((1, 3), (0, 3), (0, 2), (2, 4), (1, 4)):
        for end in ("fail", "take_back"):
            failure: Failure | None = "retryable" if end == "fail" else None
            found = steps_of(start, Action(end, "s", rows, failure=failure))
            assert found == [("start", (1, 3)), (end, (1, 2))]


def test_a_scope_says_nothing_to_steps_of_cells_and_rows_nothing_to_a_call_of_a_barrier() -> None:
    made = [Action("start", "a", (0, 2)), Action("complete", "a", (0, 2))]
    found = steps_of(
        *made, Action("skip", "a", (2, 4), scope=0), Action("start", "v", (0, 2), scope=0)
    )
    assert found[-3:] == [("skip", (2, 3)), ("skip", (3, 4)), ("start", (0, 2))]


def test_output_that_names_its_barrier_is_given_by_its_rows() -> None:
    run = machine()
    for row in (0, 1):
        run.apply(Action("start", "a", (row, row + 1)))
        run.apply(Action("complete", "a", (row, row + 1)))
    run.apply(Action("start", "v", scope=0))
    run.apply(Action("complete", "v", scope=0))
    run.apply(Action("emit", "v", (1, 2), scope=0))
    assert [run.counters.is_resolved(2, row) for row in (0, 1)] == [False, True]


REJECTED = [
    (((0, 1),), {0}),
    (((1, 2),), {1}),
    (((0, 1), (2, 3)), {0, 2}),
    (((0, 3),), {0, 1, 2}),
]


@pytest.mark.clause("DROP-05")
@pytest.mark.parametrize(("rejected", "rows"), REJECTED)
@pytest.mark.parametrize("column", ["a", "s"])
def test_of_an_answer_to_several_rows_exactly_the_rejected_ones_are_dropped(
    column: str, rejected: tuple[tuple[int, int], ...], rows: set[int]
) -> None:
    run = machine()
    run.apply(Action("start", column, (0, 3)))
    run.apply(Action("complete", column, (0, 3), rejected=rejected))
    assert set(run.counters.dropped) == rows
    assert run.in_flight == 0
    of = run.graph.rules.index[column]
    assert all(run.counters.is_resolved(of, row) for row in range(3))
    for row in rows:
        run.apply(Action("drop", column, (row, row + 1), cause="filtered"))


@pytest.mark.clause("DROP-05")
@pytest.mark.parametrize(("rejected", "rows"), [((), set()), (((1, 2),), {1}), (((0, 2),), {0, 1})])
def test_a_barrier_may_reject_rows_of_its_scope(
    rejected: tuple[tuple[int, int], ...], rows: set[int]
) -> None:
    run = machine()
    run.apply(Action("start", "a", (0, 2)))
    run.apply(Action("complete", "a", (0, 2)))
    run.apply(Action("start", "v", scope=0))
    run.apply(Action("complete", "v", scope=0, rejected=rejected))
    assert set(run.counters.dropped) == rows
    left = {0, 1} - rows
    assert {row for row in (0, 1) if not run.counters.is_resolved(2, row)} == left


@pytest.mark.parametrize("reads", [None, ((0, 1),), ((0, 2),)])
def test_an_observer_sees_what_a_barrier_read_by_the_engine_or_else_by_the_rule(
    reads: tuple[tuple[int, int], ...] | None,
) -> None:
    columns = [ColumnDescriptor("v", traits=T.BARRIER)]
    run, seen = Machine(ExecutionGraph(2, columns), waive=["BARR-06"]), list[Action]()
    run.on_step = seen.append
    run.apply(Action("start", "v", scope=0, reads=reads))
    assert seen[0].reads == (reads or ((0, 2),))


def test_a_call_goes_on_after_its_end_only_if_the_step_says_so() -> None:
    graph, ends = machine().graph, Action("fail", "a", (0, 1), failure="timeout")
    for step, goes_on in ((ends, False), (ends._replace(abandoned=True), True)):
        assert event_of(step, graph, seq=1, t=0.0).abandoned is goes_on
