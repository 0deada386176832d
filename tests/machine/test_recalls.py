"""Answers of a cache: what may be recalled after a crash, and what a recall leaves behind."""

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
from tests.pair import snapshot

pytestmark = pytest.mark.invariant

T = ExecutionTraits
NONE = (0, 0, 0, 0)
START = Action("start", "v", scope=0)
END = START._replace(kind="complete")
RECALL = START._replace(kind="recall")
CRASH, RESUME = Action("crash"), Action("resume", claim=NONE)
STORE = Action("durable", "v", (0, 2))


def machine(*waive: str, cache: bool = True) -> Machine:
    """Cells of a, a barrier over every two of them, cells that need its output, and others."""
    columns = [
        ColumnDescriptor("a"),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["a"]),
        ColumnDescriptor("it starts here", dependencies=["v"]),
        ColumnDescriptor("d"),
    ]
    made = Machine(ExecutionGraph(4, columns, batch_size=2), failures=FailurePolicy(2), waive=waive)
    made.state.once_read = {} if cache else None
    return made


def take(run: Machine, *actions: Action) -> Machine:
    for action in actions:
        run.apply(action)
    return run


def make(run: Machine, *rows: int, column: str = "a") -> Machine:
    for row in rows:
        cell = Action("start", column, (row, row + 1))
        take(run, cell, cell._replace(kind="complete"))
    return run


def drop(run: Machine, row: int, column: str = "a") -> Machine:
    start = Action("start", column, (row, row + 1))
    return take(run, start, start._replace(kind="fail", failure="permanent"))


def run_barrier(run: Machine, *scopes: int) -> Machine:
    """Each of these barrier nodes runs, and gives what is wanted of its output."""
    for scope in scopes:
        start = START._replace(scope=scope)
        take(run, start, start._replace(kind="complete"))
        for first, last in run.counters.reads(1, scope):
            run.apply(Action("emit", "v", (first, last)))
    return run


def go_on(run: Machine) -> Machine:
    """The process dies, long after it last reported anything durable, and begins from nothing."""
    run.set_clock(run.now + 1.0)
    return take(run, CRASH, RESUME)


@pytest.mark.clause("CKPT-25")
@pytest.mark.parametrize("scope", [0, 1])
def test_a_barrier_is_recalled_for_the_rows_that_one_of_its_calls_read(scope: int) -> None:
    run = run_barrier(make(machine(), *range(4)), 0, 1)
    run.apply(Action("durable", "v", (0, 4)))
    go_on(run)
    first, recall = 2 * scope, RECALL._replace(scope=scope)
    drop(make(run, first), first + 1)
    with pytest.raises(Violation) as found:
        run.apply(recall)
    assert str(found.value) == (
        f"CKPT-25: barrier {scope} of 'v' is recalled from a cache for row {first}, but its calls "
        f"read rows {first}–{first + 1}"
    )
    run_barrier(run, scope)
    run.apply(Action("durable", "v", (first, first + 1)))
    drop(make(go_on(run), first), first + 1)
    take(run, recall, Action("emit", "v", (first, first + 1)))
    make(go_on(run), first, first + 1)
    run.apply(recall)


@pytest.mark.clause("CKPT-25")
def test_the_reads_of_a_call_whose_output_went_with_its_process_are_not_in_the_cache() -> None:
    run = take(run_barrier(make(machine(), 0, 1), 0), STORE)
    run_barrier(drop(make(go_on(run), 0), 1), 0)
    drop(make(go_on(run), 0), 1)
    with pytest.raises(Violation, match=r"^CKPT-25: .* but its calls read rows 0–1$"):
        run.apply(RECALL)


@pytest.mark.clause("CKPT-25")
def test_of_a_process_that_dies_while_it_tells_of_storage_a_barrier_may_be_in_the_cache() -> None:
    run = run_barrier(make(machine(), 0, 1), 0)
    take(run, Action("durable", "a", (0, 1)), CRASH, RESUME)
    drop(make(run, 0), 1)
    with pytest.raises(Violation, match=r"^CKPT-25: .* but its calls read rows 0–1$"):
        run.apply(RECALL)
    make(go_on(run), 0, 1)
    run.apply(RECALL)


@pytest.mark.clause("CKPT-25")
def test_a_process_that_ends_has_told_what_it_made_durable() -> None:
    run = machine("SCHED-14")
    take(make(run, 0), Action("durable", "a", (0, 1)), CRASH, RESUME)
    make(run, 1)
    take(run, Action("end", outcome="failed"), RESUME)
    run.apply(Action("recall", "a", (0, 1)))
    with pytest.raises(Violation, match=r"^CKPT-25: a\[1\] is recalled from a cache, but no"):
        run.apply(Action("recall", "a", (1, 2)))


@pytest.mark.clause("CKPT-25")
def test_where_nobody_knows_what_calls_read_a_barrier_is_recalled_for_any_rows() -> None:
    run = take(run_barrier(make(machine(cache=False), 0, 1), 0), STORE)
    drop(make(go_on(run), 0), 1)
    run.apply(RECALL)
    assert run.state.once_read is None


@pytest.mark.clause("CKPT-25")
def test_several_cells_are_recalled_at_once() -> None:
    run = take(make(machine(), 0, 1, 2), Action("durable", "a", (0, 3)))
    go_on(run).apply(Action("recall", "a", (0, 3)))
    assert [run.counters.is_resolved(0, row) for row in range(4)] == [True, True, True, False]


@pytest.mark.clause("CKPT-25")
def test_a_recalled_barrier_has_run_without_a_worker() -> None:
    run = take(run_barrier(make(machine(), 0, 1), 0), STORE)
    make(go_on(run), 0, 1)
    run.apply(RECALL)
    assert run.in_flight == 0
    assert run.counters.busy == [0] * len(run.counters.busy)
    run.apply(Action("emit", "v", (0, 2)))
    make(make(run, 0, 1, column="it starts here"), 0, 1, column="d")
    assert run.completed_rows == 2


@pytest.mark.clause("FAIL-08", "CKPT-25")
@pytest.mark.parametrize("recalled", [0, 1])
def test_what_was_recalled_after_the_loss_of_a_worker_did_not_go_with_it(recalled: int) -> None:
    run = run_barrier(make(machine(), *range(4)), 0, 1)
    take(run, Action("durable", "a", (0, 4)), Action("durable", "v", (0, 4)))
    go_on(run)
    make(run, *(row for row in range(4) if row != recalled))
    run.apply(Action("worker_lost"))
    run.apply(Action("recall", "a", (recalled, recalled + 1)))
    with pytest.raises(Violation, match=rf"^FAIL-08: a\[{recalled}\] is lost with a worker, but"):
        run.apply(Action("lose", "a", (recalled, recalled + 1)))
    run.apply(Action("lose", "a", (recalled + 1, recalled + 2)))


@pytest.mark.clause("FAIL-08", "CKPT-25")
@pytest.mark.parametrize("recalled", [0, 1])
def test_a_barrier_that_was_recalled_after_the_loss_of_a_worker_did_not_go_with_it(
    recalled: int,
) -> None:
    run = run_barrier(make(machine(), *range(4)), 0, 1)
    run.apply(Action("durable", "v", (0, 4)))
    run_barrier(make(go_on(run), *range(4)), 1 - recalled)
    take(run, Action("worker_lost"), RECALL._replace(scope=recalled))
    lose = Action("lose", "v", scope=recalled)
    with pytest.raises(Violation, match=rf"^FAIL-08: barrier {recalled} of 'v' .* after the loss"):
        run.apply(lose)
    run.apply(lose._replace(scope=1 - recalled))


@pytest.mark.clause("FAIL-03", "CKPT-25")
def test_a_cell_in_backoff_is_recalled_once_that_is_over() -> None:
    run = take(make(machine(), 0, 1), Action("durable", "a", (0, 2)))
    go_on(run)
    back_off = Action("fail", "a", (0, 1), failure="retryable")
    take(
        run, *(Action("start", "a", (row, row + 1)) for row in (0, 1)), back_off._replace(until=3.0)
    )
    with pytest.raises(Violation) as found:
        run.apply(Action("recall", "a", (0, 1)))
    assert str(found.value) == "FAIL-03: a[0] is recalled at t=1 s, in a backoff until t=3 s"
    take(run, back_off._replace(rows=(1, 2)), Action("recall", "a", (1, 2)))
    assert list(run.backoffs.values()) == [3.0]
    assert (run.in_flight, run.counters.ready[0]) == (0, 6)


@pytest.mark.clause("FAIL-03", "CKPT-25")
def test_a_barrier_in_backoff_is_recalled_once_that_is_over() -> None:
    run = take(run_barrier(make(machine("SCHED-09", "SCHED-15"), 0, 1), 0), STORE)
    make(go_on(run), 0, 1)
    take(run, START, START._replace(kind="fail", failure="retryable", until=5.0))
    with pytest.raises(Violation) as found:
        run.apply(RECALL)
    assert str(found.value) == (
        "FAIL-03: barrier 0 of 'v' is recalled at t=1 s, in a backoff until t=5 s"
    )
    run.at(5.0)
    take(run, RECALL, Action("emit", "v", (0, 2)))


@pytest.mark.clause("CKPT-25")
@pytest.mark.parametrize("missing", [0, 1])
def test_a_barrier_is_recalled_only_if_all_of_its_output_was_durable(missing: int) -> None:
    run = run_barrier(make(machine(), 0, 1), 0)
    run.apply(Action("durable", "v", (1 - missing, 2 - missing)))
    make(go_on(run), 0, 1)
    with pytest.raises(Violation, match=r"^CKPT-25: barrier 0 of 'v' .*, but no earlier incarn"):
        run.apply(RECALL)


@pytest.mark.clause("CKPT-25")
def test_a_barrier_that_may_be_tried_again_at_any_time_is_recalled_and_backs_off_no_longer() -> (
    None
):
    run = take(run_barrier(make(machine(), 0, 1), 0), STORE)
    make(go_on(run), 0, 1)
    take(run, START, START._replace(kind="fail", failure="retryable"), RECALL)
    assert (run.backoffs, run.in_flight) == ({}, 0)
    run.apply(Action("emit", "v", (0, 2)))


@pytest.mark.clause("SCHED-01", "BARR-01")
def test_a_recall_that_could_not_start_is_refused_as_a_recall() -> None:
    run = machine()
    with pytest.raises(Violation) as found:
        run.apply(Action("recall", "it starts here", (0, 1)))
    assert (
        str(found.value) == "SCHED-01: it starts here[0] is recalled although v[0] is not complete"
    )
    with pytest.raises(Violation) as found:
        run.apply(RECALL)
    assert str(found.value) == (
        "BARR-01: barrier 0 of 'v' is recalled although 2 nodes that it waits for are open, first "
        "a[0]"
    )


@pytest.mark.clause("SCHED-02", "SCHED-03", "CKPT-25")
@pytest.mark.parametrize("ends", [False, True])
def test_a_recall_of_a_barrier_that_has_begun_changes_nothing_where_that_is_not_judged(
    ends: bool,
) -> None:
    run = take(run_barrier(make(machine("SCHED-02", "SCHED-03"), 0, 1), 0), STORE)
    make(go_on(run), 0, 1)
    run.apply(START)
    if ends:
        run.apply(END)
    # It would read other rows now than any call did.
    drop(run, 1, "d")
    before = snapshot(run)
    run.apply(RECALL)
    assert snapshot(run) == before


@pytest.mark.clause("GROUP-01", "CKPT-25")
def test_a_barrier_is_recalled_although_a_group_that_was_claimed_whole_is_not_admitted() -> None:
    columns = [
        ColumnDescriptor("a"),
        ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]),
    ]
    run = Machine(ExecutionGraph(4, columns), Limits(group_rows=2))
    run.state.once_read = {}
    take(run, Action("admit", rows=(0, 2)), Action("admit", rows=(2, 4)))
    run_barrier(make(run, *range(4)), 0)
    take(run, Action("durable", rows=(0, 4)), Action("checkpoint_begin", claim=(2, 2)))
    take(run, Action("checkpoint_durable"), CRASH, RESUME._replace(claim=(2, 2)))
    make(take(run, Action("admit", rows=(2, 4))), 2, 3)
    take(run, RECALL, Action("emit", "v", (2, 4)))
    assert run.completed_rows == 4
