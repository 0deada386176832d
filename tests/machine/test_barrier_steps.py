"""Barrier nodes: what they read, when they may end, and the output that they give."""

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
START = Action("start", "v", scope=0)
END = START._replace(kind="complete")
BACK_OFF = START._replace(kind="fail", failure="retryable", until=5.0)


def machine(*waive: str, limits: Limits | None = None, **promises: Any) -> Machine:
    """Cells of a, and a barrier over every two of them."""
    columns = [
        ColumnDescriptor("a"),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["a"]),
    ]
    failures = FailurePolicy(2)
    graph = ExecutionGraph(4, columns, batch_size=2)
    return Machine(graph, limits, failures=failures, waive=waive, **promises)


def make(run: Machine, *rows: int) -> Machine:
    for row in rows:
        run.apply(Action("start", "a", (row, row + 1)))
        run.apply(Action("complete", "a", (row, row + 1)))
    return run


def take(run: Machine, *actions: Action) -> Machine:
    for action in actions:
        run.apply(action)
    return run


@pytest.mark.clause("BARR-01", "BARR-06")
def test_a_barrier_reads_the_rows_of_its_scope_and_one_that_starts_early_what_it_finds() -> None:
    read = START._replace(reads=((0, 1),))
    with pytest.raises(Violation, match=r"^BARR-06: barrier 0 of 'v' reads row 0, but of its"):
        make(machine(), 0, 1).apply(read)
    with pytest.raises(Violation, match=r"^BARR-01: barrier 0 of 'v' starts although 1 node"):
        make(machine(), 0).apply(read)
    assert make(machine("BARR-01"), 0).in_flight == 0
    assert take(make(machine("BARR-01"), 0), read).in_flight == 1
    assert take(make(machine(), 0, 1), START._replace(reads=((0, 2),))).in_flight == 1
    assert take(make(machine(), 0, 1), START).in_flight == 1


@pytest.mark.clause("SCHED-07")
@pytest.mark.parametrize("end", [Action("crash"), Action("end", outcome="failed")])
@pytest.mark.parametrize("before", [(), (START,), (START, BACK_OFF)], ids=["", "runs", "failed"])
def test_no_barrier_ends_in_a_process_that_is_gone(end: Action, before: tuple[Action, ...]) -> None:
    run = take(make(machine("SCHED-14"), 0, 1), *before, end)
    with pytest.raises(Violation, match=r"^SCHED-07: end of barrier 0 of 'v' after"):
        run.apply(END)
    run = take(make(machine("SCHED-14", "SCHED-07"), 0, 1), *before, end)
    gone = snapshot(run)
    run.apply(END)
    assert snapshot(run) == gone


@pytest.mark.clause("SCHED-04", "BARR-02")
@pytest.mark.parametrize("early", [END, Action("emit", "v", (0, 1))])
def test_a_barrier_that_was_not_tried_again_and_gives_output_backs_off_no_longer(
    early: Action,
) -> None:
    """Where that is not judged it counts as run."""
    run = take(make(machine("SCHED-04", "BARR-02"), 0, 1), START, BACK_OFF)
    assert len(run.backoffs) == 1
    run.apply(early)
    assert run.backoffs == {}
    run.apply(Action("emit", "v", (1, 2)))
    assert run.counters.is_resolved(1, 1)


@pytest.mark.clause("BARR-07")
@pytest.mark.parametrize("skips", [False, True])
def test_output_of_a_row_that_is_left_out_is_no_sign_of_a_barrier_that_ran(skips: bool) -> None:
    columns = [
        ColumnDescriptor("a", may_skip=True),
        ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]),
    ]
    run = Machine(ExecutionGraph(2, columns), waive=["BARR-07"])
    if skips:
        run.apply(Action("skip", "a", (0, 1)))
    else:
        run.apply(Action("start", "a", (0, 1)))
        run.apply(Action("fail", "a", (0, 1), failure="permanent"))
    run.apply(Action("emit", "v", (0, 1)))
    make(run, 1)
    with pytest.raises(Violation, match=r"^BARR-02: v\[1\] is given although its barrier is not"):
        run.apply(Action("emit", "v", (1, 2)))
    take(run, START)
    assert run.in_flight == 1
    take(run, END, Action("emit", "v", (1, 2)))
    assert run.completed_rows == 2


@pytest.mark.clause("FAIL-08")
@pytest.mark.parametrize("before", [0, 1])
def test_only_what_a_barrier_gave_before_the_loss_of_a_worker_went_with_it(before: int) -> None:
    run = make(machine(), *range(4))
    first, second = (START._replace(scope=scope) for scope in (before, 1 - before))
    for start in (first, second):
        if start is second:
            run.apply(Action("worker_lost"))
        take(run, start, start._replace(kind="complete"))
    run.apply(Action("lose", "v", scope=before))
    with pytest.raises(Violation, match=r"^FAIL-08: .* ran after the loss"):
        run.apply(Action("lose", "v", scope=1 - before))


@pytest.mark.clause("SCHED-09")
@pytest.mark.parametrize("first", [START, Action("emit", "v", (0, 1))])
def test_work_that_takes_its_turn_waits_anew(first: Action) -> None:
    """Of a barrier and of its output, each with as much left."""
    limits = Limits(workers=2, resources={"r": 1}, column_resource={"v": "r"})
    run = make(machine(limits=limits, slack_s=2.0), *range(4))
    if first.kind == "emit":
        for start in (START, START._replace(scope=1)):
            take(run, start, start._replace(kind="complete"))
    run.at(1.5)
    run.apply(first)
    if first == START:
        run.apply(END)
        run.apply(Action("emit", "v", (0, 2)))
    run.at(3.0)
    with pytest.raises(Violation, match=r"^SCHED-09: .* is ready, and since t=1.5 s"):
        run.at(3.6)


@pytest.mark.clause("SCHED-17")
def test_a_barrier_that_starts_out_of_turn_overtakes() -> None:
    for bound in (0, 1):
        run = make(machine(bypass=bound), 0, 2, 1, 3)
        late = START._replace(scope=1)
        if bound == 0:
            with pytest.raises(Violation, match=r"^SCHED-17: barrier 1 of 'v' starts"):
                run.apply(late)
            continue
        take(run, late, START)


@pytest.mark.clause("SCHED-17")
def test_each_barrier_that_overtakes_counts() -> None:
    chain = [
        ColumnDescriptor("a"),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["a"]),
    ]
    run = make(Machine(ExecutionGraph(6, chain, batch_size=2), bypass=1), *range(6))
    run.apply(START._replace(scope=2))
    with pytest.raises(Violation, match=r"^SCHED-17: barrier 1 of 'v' starts, and is number 2"):
        run.apply(START._replace(scope=1))


@pytest.mark.clause("DROP-06")
def test_a_barrier_that_started_is_suspected_of_the_death_of_its_process() -> None:
    run = make(machine(), 0, 1)
    run.state.killers = Killers(1)
    take(run, START, Action("crash"), Action("resume", claim=(0, 0)))
    take(run, Action("drop", "v", (0, 2), cause="killer"))
    with pytest.raises(Violation, match=r"^DROP-06: row 2 is given up as a killer"):
        run.apply(Action("drop", "v", (2, 3), cause="killer"))


@pytest.mark.clause("BARR-06")
def test_who_may_not_have_heard_of_a_drop_may_read_the_row_and_nobody_else() -> None:
    columns = [ColumnDescriptor("b"), ColumnDescriptor("v", traits=T.BARRIER)]
    for late in (False, True):
        run = Machine(ExecutionGraph(2, columns), hears_late=late)
        run.apply(Action("start", "b", (0, 1)))
        run.apply(Action("fail", "b", (0, 1), failure="permanent"))
        both = START._replace(reads=((0, 2),))
        if late:
            run.apply(both)
            continue
        with pytest.raises(
            Violation, match=r"^BARR-06: barrier 0 of 'v' reads rows 0.1, but of its scope row 1"
        ):
            run.apply(both)
        run.apply(START._replace(reads=((1, 2),)))


LIMIT = Limits(resources={"r": 1}, column_resource={"v": "r"})
RUNS = START._replace(scope=1)
REFUSED = [
    ("SCHED-16", (START, BACK_OFF, Action("pause", until=9.0)), RUNS),
    ("SCHED-11", (START,), RUNS),
    ("FAIL-01", (), START._replace(attempt=2)),
    ("FAIL-01", (START, BACK_OFF._replace(until=None)), START._replace(attempt=1)),
    ("FAIL-03", (START, BACK_OFF), START),
    ("SCHED-02", (START,), START),
]


@pytest.mark.clause("SCHED-16", "SCHED-11", "FAIL-01", "FAIL-03", "SCHED-02")
@pytest.mark.parametrize(("clause", "before", "start"), REFUSED)
def test_a_barrier_starts_as_every_call_does(
    clause: str, before: tuple[Action, ...], start: Action
) -> None:
    run = take(make(machine(limits=LIMIT), *range(4)), *before)
    with pytest.raises(Violation, match=f"^{clause}: "):
        run.apply(start)


@pytest.mark.clause("FAIL-03")
@pytest.mark.parametrize("until", [None, 5.0])
def test_a_barrier_that_is_tried_again_backs_off_no_longer(until: float | None) -> None:
    run = make(machine("SCHED-09", "SCHED-15"), 0, 1)
    take(run, START, BACK_OFF._replace(until=until))
    if until is not None:
        run.at(until)
    run.apply(START._replace(attempt=2))
    assert (run.backoffs, run.in_flight) == ({}, 1)


@pytest.mark.clause("SCHED-04")
def test_a_barrier_that_ends_twice_where_that_is_not_judged_has_ended_once() -> None:
    run = take(make(machine("SCHED-04"), 0, 1), START, END)
    once = snapshot(run)
    run.apply(END)
    assert snapshot(run) == once


@pytest.mark.parametrize("known", [None, {}])
def test_what_a_barrier_read_is_kept_for_an_engine_that_has_a_cache(
    known: dict[Any, Any] | None,
) -> None:
    run = make(machine(), 0, 1)
    run.state.once_read = known
    run.apply(START)
    assert list(run.state.reads.values()) == ([] if known is None else [((0, 2),)])


def test_output_that_is_given_together_makes_ready_together_what_waits_for_it() -> None:
    columns = [
        ColumnDescriptor("v", traits=T.BARRIER),
        ColumnDescriptor("b", dependencies=["v"]),
    ]
    run, announced = Machine(ExecutionGraph(5, columns)), list[tuple[int, int, int]]()
    run.listen(None, lambda *cells: announced.append(cells), lambda *_: None)
    take(run, START, END)
    announced.clear()
    for rows in ((0, 2), (2, 5)):
        run.apply(Action("emit", "v", rows))
    assert announced == [(1, 0, 2), (1, 2, 5)]
