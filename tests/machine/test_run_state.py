"""What a run takes from its set-up, and what the parts of the machine ask of its state."""

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
from cellspec.machine.limits import ClaimKind, FailurePolicy, SavePolicy
from cellspec.machine.run_state import is_over
from cellspec.state.claims import Claim
from tests.machine.test_refusals import made, refusal, take

T = ExecutionTraits
ANY = ClaimKind(3, by_column=True)
MAY_WAIT = ("SCHED-09", "SCHED-15")
STOPS = FailurePolicy(1, stop_window=1, stop_rate=1.0)


def machine(
    columns: str = "a", rows: int = 4, limits: Limits | None = None, **options: Any
) -> Machine:
    chosen = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("z", traits=T.START),
    ]
    graph = ExecutionGraph(rows, [each for each in chosen if each.name in columns])
    return Machine(graph, limits, **{"failures": FailurePolicy(2), **options})


def resume(run: Machine, claim: Claim = (0,), **fields: Any) -> None:
    take(run, "crash")
    run.apply(Action("resume", claim=claim, **fields))


def late(run: Machine, t: float) -> str:
    """What is said when time moves on; "" if nothing is."""
    try:
        run.at(t)
    except Violation as violation:
        return str(violation)
    return ""


# Times


@pytest.mark.parametrize(
    ("t", "since_s", "allowed_s", "over"),
    [
        (2.0, 1.0, 1.0, False),
        (2.5, 1.0, 1.0, True),
        (0.1 + 0.2, 0.0, 0.3, False),
        (0.3000001, 0.0, 0.3, True),
        # Rounding grows with the time itself, above one second.
        (1e9 + 0.5, 0.0, 1e9, False),
        (1e9 + 1.5, 0.0, 1e9, True),
        (5e-10, 0.0, 0.0, False),
        (1e-9, 0.0, 0.0, False),
        (1e-8, 0.0, 0.0, True),
        (0.0, 0.0, 0.0, False),
    ],
)
def test_a_wait_is_over_when_it_was_longer_by_more_than_sums_are_rounded(
    t: float, since_s: float, allowed_s: float, over: bool
) -> None:
    assert is_over(t, since_s, allowed_s) == over


@pytest.mark.parametrize("hears_late", [True, False])
@pytest.mark.parametrize(("idle_s", "slack_s"), [(0.0, 0.0), (2.0, 0.0), (0.0, 1.0), (2.0, 1.0)])
def test_news_is_what_happened_within_the_waits_of_an_engine_that_hears_late(
    hears_late: bool, idle_s: float, slack_s: float
) -> None:
    run = machine(hears_late=hears_late, idle_s=idle_s, slack_s=slack_s).state
    until = 1.0 + idle_s + slack_s
    assert run.may_be_news(1.0, at_s=until) == hears_late
    assert not run.may_be_news(1.0, at_s=until + 0.5)


@pytest.mark.clause("STOP-01")
@pytest.mark.parametrize("hears_late", [True, False])
def test_who_hears_late_may_start_a_call_in_the_moment_in_which_the_stop_is_due(
    hears_late: bool,
) -> None:
    run = machine(failures=STOPS, hears_late=hears_late)
    take(run, "start a 0", "fail a 0 failure=permanent")
    found = refusal(run, "start a 1")
    told = "STOP-01: a[1] starts although too many of the last calls failed"
    assert found == ("" if hears_late else told)


@pytest.mark.clause("FAIL-07")
@pytest.mark.parametrize("bound_s", [1.0, None])
def test_a_bound_of_calls_is_judged_by_itself(bound_s: float | None) -> None:
    run = machine(rows=1, failures=FailurePolicy(1, timeout_s=bound_s))
    take(run, "start a 0")
    assert late(run, 3.0).partition(":")[0] == ("" if bound_s is None else "FAIL-07")


@pytest.mark.clause("GROUP-07")
@pytest.mark.parametrize("waives", [True, False])
@pytest.mark.parametrize("groups", [1, None])
def test_the_end_of_row_groups_is_judged_where_so_many_may_be_open(
    groups: int | None, waives: bool
) -> None:
    waived = ["SCHED-15", *(["GROUP-07"] if waives else [])]
    run = machine(rows=2, limits=Limits(group_rows=2, groups=groups), waive=waived)
    run.apply(Action("admit", rows=(0, 2)))
    take(run, *made("a", 0, 1))
    assert late(run, 1.0).partition(":")[0] == ("" if waives or groups is None else "GROUP-07")


@pytest.mark.clause("CKPT-25")
@pytest.mark.parametrize(
    ("promises", "known"),
    [
        ({}, False),
        ({"slack_s": 1.0}, False),
        ({"slack_s": 3.0}, True),
        ({"real_time": True}, True),
        ({"real_time": True, "slack_s": 1.0}, False),
    ],
)
def test_in_real_time_more_may_be_durable_than_a_process_told(
    promises: dict[str, Any], known: bool
) -> None:
    run = machine(rows=2, waive=MAY_WAIT, **promises)
    take(run, *made("a", 0, 1), "durable a 0")
    run.at(2.0)
    resume(run)
    recall = Action("recall", "a", (1, 2))
    if known:
        run.apply(recall)
    else:
        with pytest.raises(Violation, match=r"^CKPT-25: "):
            run.apply(recall)


@pytest.mark.clause("CKPT-25")
def test_a_process_that_ended_has_told_all_that_is_durable() -> None:
    run = machine(rows=2)
    take(run, *made("a", 0), "stop_requested", "end outcome=interrupted")
    run.apply(Action("resume", claim=(0,)))
    with pytest.raises(Violation, match=r"^CKPT-25: "):
        run.apply(Action("recall", "a", (0, 1)))


@pytest.mark.clause("CKPT-20")
def test_a_process_may_tell_its_configuration_where_none_was_told_before() -> None:
    run = machine(rows=2)
    take(run, *made("a", 0), "durable a 0")
    run.apply(Action("checkpoint_begin", claim=(1,)))
    take(run, "checkpoint_durable")
    resume(run, (1,), config={"a": "x"})
    assert run.state.config == {"a": "x"}


# Saves


@pytest.mark.clause("CKPT-19")
@pytest.mark.parametrize("saving", [SavePolicy(group=True), SavePolicy(rows=2)])
@pytest.mark.parametrize(
    ("claims", "claim", "counted"),
    [
        (ANY, (((1, 2),),), True),
        (ClaimKind(2, by_column=True), (0,), False),
        (None, (((1, 2),),), False),
    ],
)
def test_rows_behind_a_gap_count_for_a_save_where_any_rows_are_claimed(
    saving: SavePolicy, claims: ClaimKind | None, claim: Claim, counted: bool
) -> None:
    """That a claim of an earlier process had gaps does not show that every one may have them."""
    limits = Limits(group_rows=2)
    run = machine("a", 6, limits, saving=saving, claims=claims, waive=MAY_WAIT)
    run.apply(Action("admit", rows=(0, 2)))
    take(run, *made("a", 1), "durable a 1")
    run.apply(Action("checkpoint_begin", claim=claim))
    take(run, "checkpoint_durable")
    resume(run, claim, records=5)
    for start in (0, 2, 4):
        run.apply(Action("admit", rows=(start, min(start + 2, 5))))
    take(run, *made("a", 2))
    assert late(run, run.now + 1.0) == ""
    take(run, *made("a", 3))
    assert late(run, run.now + 1.0).partition(":")[0] == ("CKPT-19" if counted else "")


@pytest.mark.clause("CKPT-19")
def test_without_row_groups_no_save_is_due_for_one() -> None:
    run = machine(saving=SavePolicy(group=True), claims=ANY, waive=MAY_WAIT)
    take(run, *made("a", 0, 1, 2, 3))
    assert late(run, 1.0) == ""
    assert run.state.due_saves == 0


@pytest.mark.clause("CKPT-19")
def test_saves_are_counted_that_were_due_when_they_began() -> None:
    run = machine(saving=SavePolicy(rows=2), waive=MAY_WAIT)
    for row in range(4):
        take(run, *made("a", row), f"write_begin a {row}", f"durable a {row}")
    assert run.state.due_saves == 2


# What is in flight


@pytest.mark.clause("SCHED-15")
@pytest.mark.parametrize("ends", [True, False])
def test_while_a_commit_is_open_a_run_is_not_idle(ends: bool) -> None:
    run = machine(waive=["SCHED-09"])
    take(run, *made("a", 0))
    run.commit_begin((1,))
    take(run, *(["committed"] if ends else []))
    assert late(run, 1.0).partition(":")[0] == ("SCHED-15" if ends else "")


# Giving up


@pytest.mark.clause("SCHED-09", "DROP-04")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("fails", [True, False])
def test_only_a_row_that_failed_is_one_that_an_engine_gives_up_for(
    fails: bool, order: tuple[int, int]
) -> None:
    run = machine(drops=False)
    for row in order:
        take(run, f"start a {row}")
        if row == 0 or not fails:
            run.apply(Action("complete", "a", (row, row + 1), rejected=((row, row + 1),)))
        else:
            take(run, f"fail a {row} failure=permanent")
    assert run.state.gives_up() == fails
    assert late(run, 1.0).partition(":")[0] == ("" if fails else "SCHED-09")


@pytest.mark.clause("SCHED-15")
@pytest.mark.parametrize("drops", [True, False])
@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("records", [True, False])
def test_who_cannot_go_on_without_a_row_may_leave_the_others(
    drops: bool, fails: bool, records: bool
) -> None:
    run = machine(drops=drops, waive=["SCHED-09"])
    if fails:
        take(run, "start a 0", "fail a 0 failure=permanent")
        take(run, *(["drop a 0"] if records else []))
    assert run.state.gives_up() == (fails and not drops and not records)
    assert late(run, 1.0).partition(":")[0] == ("" if fails and not drops else "SCHED-15")


@pytest.mark.clause("STOP-01", "STOP-05")
@pytest.mark.parametrize("why", ["none", "due", "stop", "stop_requested", "gave_up"])
def test_a_run_that_stops_for_any_reason_is_asked_for_no_more_calls(why: str) -> None:
    run = machine(failures=STOPS, waive=["STOP-02", "SCHED-15"])
    if why == "due":
        take(run, "start a 0", "fail a 0 failure=permanent")
    elif why == "gave_up":
        take(run, *made("a", 0), "write_begin a 0", "checkpoint_failed")
        run.at(0.5)
    elif why != "none":
        take(run, why)
    assert run.state.is_stopping == (why != "none")
    assert any(each.kind == "start" for each in run.enabled()) == (why == "none")
    assert late(run, 1.0).partition(":")[0] == ("SCHED-09" if why == "none" else "")


# By default


@pytest.mark.clause("SCHED-09", "SCHED-15")
@pytest.mark.parametrize("promises", [{"idle_s": 1.0}, {"slack_s": 1.0}])
def test_work_may_wait_by_what_is_declared_of_either_kind(promises: dict[str, Any]) -> None:
    run = machine(waive=["SCHED-09"], **promises)
    assert late(run, 1.0) == ""
    assert late(run, 2.0).partition(":")[0] == "SCHED-15"


@pytest.mark.clause("FAIL-08")
def test_the_loss_of_a_worker_is_offered_to_those_who_ask_for_it() -> None:
    run = machine()
    take(run, *made("a", 0))
    for asks in (False, True):
        assert any(each.kind == "worker_lost" for each in run.enabled()) == asks
        run.state.offers_losses = True


def test_incarnations_are_counted_from_the_first_resume_on() -> None:
    run = machine()
    for number in range(3):
        assert run.incarnation == number
        resume(run)


@pytest.mark.clause("SCHED-16")
@pytest.mark.parametrize("fails", [True, False])
def test_a_run_pauses_for_a_failure_of_its_own(fails: bool) -> None:
    run = machine()
    take(run, *(["start a 0", "fail a 0 failure=retryable"] if fails else []))
    assert refusal(run, "pause until=5").partition(":")[0] == ("" if fails else "SCHED-16")
