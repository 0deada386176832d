"""The end of a run: which outcome it may report, and what is said of one that it may not."""

from __future__ import annotations

from typing import Any

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionGraph, ExecutionTraits, Machine
from cellspec.machine.limits import ClaimKind, FailurePolicy
from tests.machine.test_refusals import made, refusal, take

T = ExecutionTraits
STOPS = FailurePolicy(1, stop_window=1, stop_rate=1.0)
BY_ROW = ClaimKind(1, by_column=False)


def machine(columns: str = "azb", rows: int = 3, **options: Any) -> Machine:
    chosen = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("z", traits=T.START),
        ColumnDescriptor("k", dependencies=["a"], may_skip=True),
        ColumnDescriptor("b", dependencies=["a"]),
    ]
    graph = ExecutionGraph(rows, [each for each in chosen if each.name in columns])
    return Machine(graph, **{"failures": FailurePolicy(2), **options})


@pytest.mark.clause("DROP-04")
@pytest.mark.parametrize("outcome", ["success", "interrupted", "failed"])
def test_only_a_run_that_fails_for_a_row_leaves_its_drop_out(outcome: str) -> None:
    run = machine("az", drops=False)
    steps = ["start a 1", "fail a 1 failure=permanent", "stop_requested", f"end outcome={outcome}"]
    assert refusal(run, *steps) == (
        ""
        if outcome == "failed"
        else "DROP-04: the run ends, but the drop of row 1 is not recorded"
    )


@pytest.mark.clause("STOP-08")
def test_a_stopped_run_claims_what_it_can_before_it_fails() -> None:
    run = machine("az", waive=["STOP-02"], claims=BY_ROW)
    take(run, *made("a", 0), *made("z", 0), "durable a 0", "durable z 0", "stop")
    assert refusal(run, "end outcome=failed").startswith(
        "STOP-08: the run ends as failed after an early stop, and 1 row"
    )


@pytest.mark.clause("SCHED-14")
@pytest.mark.parametrize("stops", [True, False])
def test_a_stopped_run_may_fail_whatever_is_ready(stops: bool) -> None:
    steps = ["stop"] if stops else []
    found = refusal(machine("az", waive=["STOP-02"]), *steps, "end outcome=failed")
    assert found.partition(":")[0] == ("" if stops else "SCHED-14")


@pytest.mark.clause("STOP-09")
@pytest.mark.parametrize("loses", [True, False])
def test_beside_a_call_a_stopped_run_fails_only_after_a_lost_write(loses: bool) -> None:
    run = machine("az", failures=STOPS)
    take(run, *made("a", 0), "start a 1", "start z 2", "fail z 2 failure=permanent", "drop z 2")
    take(run, *(["checkpoint_failed"] if loses else []))
    found = refusal(run, "end outcome=failed")
    assert found == ("" if loses else "STOP-09: the run ends as failed, and 1 call is in flight")


@pytest.mark.clause("CKPT-22")
def test_success_is_refused_for_the_column_that_is_not_claimed() -> None:
    run = machine("az", 1, claims=ClaimKind(2, by_column=True))
    take(run, *made("a", 0), *made("z", 0), "durable a 0", "durable z 0")
    run.apply(Action("checkpoint_begin", claim=(1, 0)))
    assert refusal(run, "checkpoint_durable", "end") == (
        "CKPT-22: success with 0 of 1 row of 'z' claimed from row 0 on"
    )


@pytest.mark.clause("STOP-04", "SCHED-14")
def test_where_storage_is_not_judged_unmade_cells_are_a_way_forward() -> None:
    run = machine("a", 1, waive=["CKPT-08"])
    assert refusal(run, "durable a 0", "end outcome=failed").startswith(
        "SCHED-14: the run gives up although a[0] is ready"
    )


FORWARD: list[tuple[list[str], str]] = [
    ([], "a[0] is ready, and its places are free"),
    (["start a 0"], "1 call is in flight"),
    (
        [
            *("start a 0", "start a 1", "start z 0", "fail a 0 failure=retryable until=5"),
            *("fail z 0 failure=permanent", "drop z 0", "fail a 1 failure=retryable until=6"),
            *(*made("z", 1, 2), *made("a", 2), *made("k", 2), *made("b", 2)),
        ],
        "a[1] may be tried again",
    ),
    (
        [
            *(*made("a", 0, 1, 2), *made("z", 0, 1, 2), *made("k", 0, 1, 2), *made("b", 1, 2)),
            *("start b 0", "fail b 0 failure=retryable until=5", "worker_lost", "lose a 0"),
            *("start a 0", "fail a 0 failure=retryable until=6"),
        ],
        "a[0] may be tried again",
    ),
    (
        [
            *(*made("a", 0, 1, 2), *made("z", 0, 1, 2), *made("b", 0, 1, 2), *made("k", 1, 2)),
            *("start k 0", "fail k 0 failure=retryable until=5"),
        ],
        "k[0] may be tried again",
    ),
]


@pytest.mark.clause("SCHED-14")
@pytest.mark.parametrize(("steps", "way"), FORWARD)
def test_who_gives_up_is_told_how_the_run_could_go_on(steps: list[str], way: str) -> None:
    assert refusal(machine("azkb"), *steps, "end outcome=failed") == (
        f"SCHED-14: the run gives up although {way}"
    )


@pytest.mark.clause("SCHED-14")
def test_a_cell_that_is_to_be_skipped_is_a_way_forward() -> None:
    columns = [ColumnDescriptor("k", may_skip=True), ColumnDescriptor("c", dependencies=["k"])]
    run = Machine(ExecutionGraph(1, columns))
    assert refusal(run, "skip k 0", "end outcome=failed") == (
        "SCHED-14: the run gives up although c[0] is to be skipped"
    )


@pytest.mark.clause("SCHED-14")
def test_after_a_write_that_failed_a_run_may_give_up_whatever_is_ready() -> None:
    assert refusal(machine("az"), *made("a", 0), "checkpoint_failed", "end outcome=failed") == ""


ALL_SAID = "the run ends as failed with every row resolved and durable, and no claim that could not"


@pytest.mark.clause("STOP-04", "SCHED-14")
def test_with_everything_done_a_run_fails_only_for_its_claim() -> None:
    def done() -> Machine:
        run = machine("az", 1, claims=BY_ROW)
        take(run, *made("a", 0), *made("z", 0), "durable a 0")
        return run

    failed = "end outcome=failed"
    rest = "every row is resolved, and nothing kept the rest from storage"
    assert refusal(done(), failed) == f"SCHED-14: the run gives up although {rest}"
    assert refusal(done(), "durable z 0", failed) == f"STOP-04: {ALL_SAID} be written"
    run = done()
    take(run, "durable z 0")
    run.apply(Action("checkpoint_begin", claim=(1, 1)))
    assert refusal(run, failed) == (
        f"STOP-04: {ALL_SAID} be written; that the claim it began could not be written is not "
        "reported"
    )
    assert refusal(run, "checkpoint_failed", failed) == ""
