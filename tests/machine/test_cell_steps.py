"""Cells: what counts as a call, and what a step does that is refused, or is not judged."""

from __future__ import annotations

from typing import Any

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
from cellspec.machine.killers import Killers
from tests.pair import snapshot

pytestmark = pytest.mark.invariant

T = ExecutionTraits
A0 = Action("start", "a", (0, 1))
V = Action("start", "v", scope=0)
OUTPUT = Action("start", "v", (1, 2))
RANGE = Action("start", "s", (0, 3))


def machine(
    *waive: str,
    limits: Limits | None = None,
    failures: FailurePolicy | None = None,
    traits: ExecutionTraits = T.ROW_STREAMABLE,
    **promises: Any,
) -> Machine:
    """Column a; s, which runs in ranges; v, a barrier of every two rows; b, which waits for a."""
    columns = [
        ColumnDescriptor("a", may_skip=True),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE | traits),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER),
        ColumnDescriptor("b", dependencies=["a"], propagate_skip=False),
    ]
    graph = ExecutionGraph(4, columns, batch_size=2)
    failures = failures or FailurePolicy(3)
    return Machine(graph, limits, failures=failures, waive=waive, **promises)


def end(start: Action, kind: str = "complete", **fields: Any) -> Action:
    return start._replace(kind=kind, **fields)


def take(run: Machine, *actions: Action) -> Machine:
    for action in actions:
        run.apply(action)
    return run


def refused(run: Machine, action: Action) -> str:
    """What is wrong with a step, which then changed nothing; "" if nothing is."""
    before = snapshot(run)
    try:
        run.apply(action)
    except Violation as broken:
        assert snapshot(run) == before
        return str(broken)
    return ""


# What counts as a call

FAILS = [(A0._replace(rows=(row, row + 1))) for row in (0, 3)]
GOOD: list[tuple[int, tuple[Action, ...]]] = [
    (1, (Action("start", "a", (1, 2)), Action("complete", "a", (1, 2)))),
    (1, (RANGE._replace(rows=(1, 3)), Action("complete", "s", (1, 3)))),
    (1, (V, end(V))),
    (1, (V, end(V), OUTPUT, end(OUTPUT))),
    (1, (V, end(V), Action("emit", "v", (1, 2)))),
    (0, (Action("skip", "a", (1, 3)),)),
    (2, (Action("start", "a", (1, 3)), Action("complete", "a", (1, 3)))),
]


@pytest.mark.clause("STOP-01")
@pytest.mark.parametrize(("calls", "steps"), GOOD)
def test_a_range_is_one_call_for_the_early_stop_and_output_is_none(
    calls: int, steps: tuple[Action, ...]
) -> None:
    """With so many good calls between two that fail, two of the last so many and two have."""
    for window in (2, 3, 4):
        run = machine(failures=FailurePolicy(stop_window=window, stop_rate=2 / window))
        take(run, *FAILS, end(FAILS[0], "fail", failure="permanent"), *steps)
        assert not run.must_stop
        take(run, end(FAILS[1], "fail", failure="permanent"))
        assert run.must_stop is (window == calls + 2)


@pytest.mark.clause("STOP-01")
@pytest.mark.parametrize("column", ["a", "s"])
def test_the_good_end_of_a_call_whose_row_was_dropped_is_good(column: str) -> None:
    run = machine(failures=FailurePolicy(stop_window=2))
    call, other = (
        Action("start", column, (0, 1)),
        Action("start", "s" if column == "a" else "a", (0, 1)),
    )
    take(run, call, other, end(other, "fail", failure="permanent"), end(call))
    assert not run.must_stop


@pytest.mark.clause("FAIL-07")
def test_output_takes_no_call_so_it_has_no_bound() -> None:
    run = machine("SCHED-09", "SCHED-15", failures=FailurePolicy(timeout_s=1.0))
    take(run, V, end(V), OUTPUT)
    run.at(9.0)
    run.apply(end(OUTPUT))
    take(run, A0)
    with pytest.raises(Violation, match=r"^FAIL-07: a\[0\] is in flight since t=9 s"):
        run.at(19.0)


@pytest.mark.clause("FAIL-08")
def test_output_that_is_given_after_the_loss_of_a_worker_is_no_barrier_that_ran_after_it() -> None:
    run = machine()
    other = V._replace(scope=1)
    take(run, V, end(V), other, end(other), Action("worker_lost"), OUTPUT, end(OUTPUT))
    run.apply(Action("lose", "v", scope=1))
    assert run.counters.barrier_state(2, 1) == 0


@pytest.mark.clause("SCHED-06", "BARR-02")
def test_output_takes_no_worker_even_where_it_comes_too_early_unjudged() -> None:
    run = machine("BARR-02", limits=Limits(workers=1))
    take(run, A0, OUTPUT)
    assert run.in_flight == 1
    assert refused(run, Action("start", "a", (1, 2))).startswith("SCHED-06: a[1] starts with 1")


# Killers


@pytest.mark.clause("DROP-06")
def test_a_spent_cell_starts_neither_alone_nor_in_a_range_and_those_beside_it_do() -> None:
    run = machine()
    run.state.killers = Killers(1)
    take(run, Action("start", "a", (1, 2)), Action("start", "s", (1, 2)), Action("crash"))
    run.apply(Action("resume", claim=(0,) * 4))
    assert refused(run, Action("start", "a", (1, 2))).startswith("DROP-06: a[1] starts again")
    for rows in ((0, 2), (1, 3), (0, 4)):
        said = refused(run, RANGE._replace(rows=rows))
        assert said.startswith("DROP-06: s[1] starts again")
    take(run, A0, Action("start", "a", (2, 3)), Action("start", "s", (2, 4)))
    assert run.in_flight == 3


# Ends that are refused, or not judged


@pytest.mark.clause("SCHED-04", "FAIL-05")
@pytest.mark.parametrize("rejected", [None, ((0, 1),)])
def test_the_number_of_the_attempt_is_asked_of_a_call_that_is_in_flight(
    rejected: tuple[tuple[int, int], ...] | None,
) -> None:
    ends = end(A0, attempt=7, rejected=rejected)
    run = machine()
    assert refused(run, ends).startswith("SCHED-04: a[0] completes, but is not running")
    assert refused(take(run, A0), ends).startswith("FAIL-05: attempt 7 of a[0] ends, but attempt 1")
    assert not refused(run, ends._replace(attempt=1))
    run = take(machine(), RANGE)
    ends = end(RANGE, rows=(0, 1), attempt=7, rejected=rejected)
    assert refused(run, ends).startswith("FAIL-05: attempt 7 of s[0] ends, but attempt 1")


@pytest.mark.clause("RANGE-02")
@pytest.mark.parametrize("reject", [False, True])
def test_a_range_of_an_ordered_column_gives_its_rows_in_turn(reject: bool) -> None:
    run = machine(traits=T.ORDERED)
    take(run, Action("start", "s", (0, 1)), Action("complete", "s", (0, 1)))
    run.apply(Action("start", "s", (1, 4)))
    for row in (1, 2, 3):
        for other in {1, 2, 3} - {*range(row + 1)}:
            rows = (other, other + 1)
            late = Action("complete", "s", rows, rejected=(rows,) if reject else None)
            assert refused(run, late).startswith(
                f"RANGE-02: s[{other}] is given before the row before it, in an ordered column"
            )
        rows = (row, row + 1)
        run.apply(Action("complete", "s", rows, rejected=(rows,) if reject else None))
    assert run.in_flight == 0


GONE = [Action("crash"), Action("end", outcome="failed")]


@pytest.mark.clause("SCHED-07")
@pytest.mark.parametrize("gone", GONE, ids=["crash", "end"])
@pytest.mark.parametrize("step", [A0, end(A0), RANGE, OUTPUT, Action("skip", "a", (0, 1))])
@pytest.mark.parametrize("before", [False, True])
def test_steps_of_a_process_that_is_gone_are_refused_or_ignored(
    gone: Action, step: Action, before: bool
) -> None:
    begun = (A0,) if before else ()
    assert refused(take(machine("SCHED-14"), *begun, gone), step).startswith("SCHED-07: ")
    run = take(machine("SCHED-14", "SCHED-07"), *begun, gone)
    was = snapshot(run)
    run.apply(step)
    assert snapshot(run) == was


BACKS_OFF = end(A0, "fail", failure="retryable", until=5.0)


@pytest.mark.clause("SCHED-04", "SKIP-01")
@pytest.mark.parametrize("kind", ["complete", "skip"])
def test_a_cell_that_is_resolved_unjudged_in_its_backoff_backs_off_no_longer(kind: str) -> None:
    run = take(machine("SCHED-04", "SKIP-01"), A0, BACKS_OFF)
    run.apply(end(A0, kind))
    assert (run.backoffs, run.counters.is_resolved(0, 0)) == ({}, True)
    assert run.counters.is_skipped(0, 0) is (kind == "skip")
    run.apply(Action("start", "b", (0, 1)))


# Ranges


@pytest.mark.clause("FAIL-03", "RANGE-01")
@pytest.mark.parametrize("until", [None, 5.0])
@pytest.mark.parametrize("traits", [T.ROW_STREAMABLE, T.ORDERED])
def test_what_is_left_of_a_range_that_failed_starts_again_as_a_range(
    until: float | None, traits: ExecutionTraits
) -> None:
    run = machine("SCHED-09", "SCHED-15", traits=traits)
    take(run, RANGE, Action("complete", "s", (0, 1)))
    run.apply(Action("fail", "s", (1, 2), failure="retryable", until=until))
    again = RANGE._replace(rows=(1, 4))
    if until is not None:
        assert refused(run, again).startswith("FAIL-03: s[1] starts at t=0 s, in a backoff until")
        run.at(until)
    run.apply(again)
    assert (run.backoffs, run.in_flight) == ({}, 1)
    run.apply(Action("complete", "s", (1, 4)))
    assert run.in_flight == 0


@pytest.mark.clause("GROUP-01", "RANGE-01")
def test_a_row_of_a_range_waits_for_its_row_group_also_where_the_row_before_it_is_made() -> None:
    columns = [ColumnDescriptor("s", traits=T.ROW_STREAMABLE | T.ORDERED)]
    run = Machine(ExecutionGraph(2, columns), Limits(group_rows=1), waive=["SCHED-03"])
    take(run, Action("admit", rows=(0, 1)), Action("start", "s", (0, 1)))
    run.apply(Action("complete", "s", (0, 1)))
    assert refused(run, Action("start", "s", (0, 2))).startswith("GROUP-01: s[1] starts although")


@pytest.mark.clause("SCHED-17")
@pytest.mark.parametrize(("rows", "wrong"), [((0, 2), False), ((2, 4), True)])
def test_a_range_that_starts_out_of_turn_overtakes(rows: tuple[int, int], wrong: bool) -> None:
    columns = [
        ColumnDescriptor("a"),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE, dependencies=["a"]),
    ]
    run = Machine(ExecutionGraph(5, columns), bypass=2)
    for row in range(5):
        take(run, A0._replace(rows=(row, row + 1)), end(A0, rows=(row, row + 1)))
    run.apply(Action("start", "s", rows))
    said = refused(run, Action("start", "s", (4, 5)))
    assert said.startswith("SCHED-17: s[4] starts, and is number 3") is wrong


@pytest.mark.clause("SCHED-09")
@pytest.mark.parametrize("start", [A0, RANGE._replace(rows=(0, 2)), V], ids=["a", "s", "v"])
def test_work_whose_turn_it_is_waits_anew_from_each_start(start: Action) -> None:
    limits = Limits(resources={"r": 1}, column_resource={start.column: "r"})
    run = machine(limits=limits, slack_s=2.0)
    others = [Action("start", each, (0, 4)) for each in "as" if each != start.column]
    if start != V:
        others += [V, V._replace(scope=1)]
    take(run, *others)
    run.at(1.5)
    run.apply(start)
    run.apply(end(start))
    if start == A0:
        run.apply(Action("start", "b", (0, 1)))
    if start == V:
        run.apply(Action("emit", "v", (0, 2)))
    run.at(3.0)
    assert refused_at(run, 3.6).startswith("SCHED-09: ")
    assert "since t=1.5 s" in refused_at(run, 3.6)


def refused_at(run: Machine, t: float) -> str:
    try:
        run.at(t)
    except Violation as broken:
        return str(broken)
    return ""


# Skips


@pytest.mark.clause("SKIP-01", "FAIL-08")
def test_a_skip_is_refused_for_what_the_cell_is() -> None:
    assert refused(take(machine(), RANGE), Action("skip", "s", (1, 2))).startswith(
        "SKIP-01: s[1] is skipped although it has started, or is resolved"
    )
    assert refused(machine(), Action("skip", "b", (1, 2))).startswith(
        "SKIP-01: b[1] is skipped although it waits for others"
    )
    run = take(machine(), A0, end(A0), Action("worker_lost"), Action("lose", "a", (0, 1)))
    skip = Action("skip", "a", (0, 1))
    assert refused(run, skip).startswith("FAIL-08: a[0] is skipped although it was made, and lost")
    take(run, A0, end(A0))
    assert refused(run, skip).startswith("SKIP-01: a[0] is skipped although it has started")
