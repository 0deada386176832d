"""What a process leaves behind when it dies, and the next one does not find."""

from __future__ import annotations

from typing import Any

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
from cellspec.machine import attempts
from cellspec.machine.limits import FailurePolicy
from cellspec.state.claims import Claim
from tests.machine.test_refusals import made, ran, refusal, take

T = ExecutionTraits
CONSERVES_NOTHING = ("SCHED-09", "GROUP-06")


def machine(
    columns: str = "a", rows: int = 4, groups: int | None = None, **options: Any
) -> Machine:
    chosen = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("k", dependencies=["a"], may_skip=True),
        ColumnDescriptor("u", traits=T.BATCH_BARRIER, dependencies=["a"]),
    ]
    graph = ExecutionGraph(rows, [x for x in chosen if x.name in columns], batch_size=2)
    limits = Limits() if groups is None else Limits(group_rows=2, groups=groups)
    return Machine(graph, limits, **{"failures": FailurePolicy(3), **options})


def go_on(run: Machine, claim: Claim | None = None) -> None:
    """The process dies, and the next one begins, in the same moment."""
    take(run, "crash")
    run.resume((0,) * run.graph.num_columns if claim is None else claim)


def admit(run: Machine, *groups: int) -> None:
    for group in groups:
        run.apply(Action("admit", rows=(2 * group, 2 * group + 2)))


def late(run: Machine, t: float) -> str:
    """What is said when time moves on; "" if nothing is."""
    try:
        run.at(t)
    except Violation as violation:
        return str(violation)
    return ""


@pytest.mark.clause("GROUP-07")
def test_a_group_that_an_earlier_process_had_open_hides_none_that_is_finished() -> None:
    run = machine(groups=1)
    admit(run, 0)
    take(run, "start a 0", "start a 1")
    assert late(run, 1.0) == ""
    go_on(run)
    admit(run, 1)
    take(run, *made("a", 2, 3))
    assert late(run, 2.0).startswith("GROUP-07: every row of row group [2:4] is resolved at t=1 s")


@pytest.mark.clause("GROUP-07")
def test_a_group_that_waited_for_storage_in_an_earlier_process_waits_in_line_no_more() -> None:
    run = machine(groups=2)
    admit(run, 0, 1)
    take(run, *made("a", 0, 1), "start a 2", "start a 3", "write_begin a 0:2")
    assert late(run, 1.0) == ""
    go_on(run)
    admit(run, 0, 1)
    take(run, *made("a", 0, 1, 2), "start a 3", "durable a 0:2", "write_begin a 2")
    assert late(run, 2.0).startswith("GROUP-07: every row of row group [0:2] is resolved at t=1 s")


@pytest.mark.clause("GROUP-07")
def test_how_long_a_group_was_held_up_is_measured_within_a_process() -> None:
    run = machine(groups=2, idle_s=1.0, waive=CONSERVES_NOTHING)

    def hold_up() -> None:
        admit(run, 0, 1)
        take(run, *made("a", 0, 1), "start a 2", "start a 3")

    hold_up()
    assert late(run, 0.75) == ""
    go_on(run)
    hold_up()
    assert late(run, 1.5) == ""
    assert late(run, 2.0).startswith("GROUP-07: every row of row group [0:2] is resolved")


@pytest.mark.clause("FAIL-08", "SKIP-01")
@pytest.mark.parametrize("crashes", [True, False])
def test_a_cell_that_an_earlier_process_lost_may_be_skipped(crashes: bool) -> None:
    run = machine("ak")
    take(run, *made("a", 0), *made("k", 0), "worker_lost", "lose k 0")
    if crashes:
        go_on(run)
        take(run, *made("a", 0))
    found = refusal(run, "skip k 0")
    assert found.partition(":")[0] == ("" if crashes else "FAIL-08")


@pytest.mark.clause("FAIL-01")
@pytest.mark.parametrize("forgets", [True, False])
@pytest.mark.parametrize("crashes", [True, False])
def test_the_attempts_of_a_lost_node_are_open_only_if_they_were_forgotten_in_this_process(
    monkeypatch: pytest.MonkeyPatch, forgets: bool, crashes: bool
) -> None:
    monkeypatch.setattr(attempts, "_FORGET_ABOVE", 0 if forgets else 1024)
    run = machine(rows=6)
    for row in (0, 1, 2):
        take(run, f"start a {row}", f"fail a {row} failure=retryable", *made("a", row))
    take(run, "start a 3", "fail a 3 failure=retryable", "worker_lost", "lose a 0")
    assert (((0, 0) in run.attempts), (0, 0) in run.state.uncounted) == (not forgets, forgets)
    if crashes:
        go_on(run)
    found = refusal(run, "start a 0 attempt=3")
    assert found.partition(":")[0] == ("" if forgets and not crashes else "FAIL-01")


@pytest.mark.clause("FAIL-01")
def test_the_attempts_of_a_lost_node_are_known_where_none_were_forgotten() -> None:
    run = machine()
    take(run, *made("a", 0), "worker_lost", "lose a 0")
    assert refusal(run, "start a 0 attempt=2").startswith(
        "FAIL-01: a[0] starts as attempt 2, but 0"
    )


@pytest.mark.clause("SCHED-09")
def test_no_moment_is_judged_in_which_a_wait_of_an_earlier_process_would_have_ended() -> None:
    run = machine()
    take(run, "start a 0", "fail a 0 failure=retryable until=5")
    go_on(run)
    assert late(run, 9.0).endswith("and was not started before t=9 s")


@pytest.mark.clause("STOP-02")
@pytest.mark.parametrize("crashes", [True, False])
def test_the_early_stop_counts_the_calls_of_one_process(crashes: bool) -> None:
    run = machine(failures=FailurePolicy(1, stop_window=3, stop_rate=1.0))

    def fail(*rows: int) -> None:
        for row in rows:
            take(run, f"start a {row}", f"fail a {row} failure=permanent")

    fail(0, 1)
    if crashes:
        go_on(run)
        fail(0, 1)
        assert refusal(run, "stop").startswith("STOP-02: the run is stopped early, but 2 of the la")
    fail(2)
    assert refusal(run, "stop") == ""


@pytest.mark.clause("CKPT-25")
def test_a_barrier_is_recalled_for_no_rows_that_were_read_in_vain() -> None:
    """One process reads a batch, the next a part of it, and a third one recalls the first."""
    run = machine("au", 2, failures=FailurePolicy(1))
    run.state.once_read = {}
    recall = Action("recall", "u", scope=0)

    def begin() -> None:
        run.set_clock(run.now + 1.0)
        go_on(run)
        take(run, *made("a", 0))

    take(run, *made("a", 0, 1), *ran("u", 0), "emit u 0:2", "durable u 0:2")
    begin()
    take(run, "start a 1", "fail a 1 failure=permanent", *ran("u", 0))
    begin()
    take(run, *made("a", 1))
    run.apply(recall)
    take(run, "emit u 0:2", "durable u 0:2")
    begin()
    take(run, "start a 1", "fail a 1 failure=permanent")
    with pytest.raises(Violation, match=r"^CKPT-25: .* for row 0, but its calls read rows 0–1$"):
        run.apply(recall)


@pytest.mark.clause("FAIL-07")
def test_a_call_is_late_by_the_clock_of_its_own_process() -> None:
    run = machine(rows=1, failures=FailurePolicy(1, timeout_s=1.0))
    run.set_clock(9.0)
    take(run, "start a 0", "crash")
    run.set_clock(0.0)
    run.resume((0,))
    take(run, "start a 0")
    assert late(run, 2.0).startswith("FAIL-07: a[0] is in flight since t=0 s")
