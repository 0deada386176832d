"""Results that go with a worker, and what a run that has stopped makes of them (FAIL-08)."""

from __future__ import annotations

import pytest

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Machine,
    Violation,
)
from cellspec.machine import attempts

T = ExecutionTraits
COLUMNS = (
    ColumnDescriptor("a"),
    ColumnDescriptor("v", traits=T.BARRIER),
    ColumnDescriptor("b", dependencies=["v"]),
)
V = Action("start", "v", scope=0)
LOST = Action("worker_lost")
LOSE_A, LOSE_V = Action("lose", "a", (0, 1)), Action("lose", "v", scope=0)


def cell(kind: str, column: str, row: int) -> Action:
    return Action(kind, column, (row, row + 1))


def machine(*waive: str, rows: int = 2, window: int | None = None) -> Machine:
    failures = FailurePolicy(1, stop_window=window)
    waive = ("SCHED-09", "SCHED-15", *waive)
    return Machine(ExecutionGraph(rows, COLUMNS), failures=failures, waive=waive)


def take(run: Machine, *steps: Action) -> Machine:
    for step in steps:
        run.apply(step)
    return run


def made(run: Machine, *rows: int, column: str = "a") -> Machine:
    for row in rows:
        take(run, cell("start", column, row), cell("complete", column, row))
    return run


def ran(run: Machine) -> Machine:
    return take(run, V, V._replace(kind="complete"))


FAILS = (cell("start", "a", 1), cell("fail", "a", 1)._replace(failure="permanent"))


Z = Action("start", "z", (0, 1))
ENDS: dict[str, tuple[str, tuple[Action, ...]]] = {
    "must stop": ("STOP-01", (Z, Z._replace(kind="fail", failure="permanent"))),
    "stopped": ("STOP-01", (Action("stop"),)),
    "asked to stop": ("STOP-05", (Action("stop_requested"),)),
    "pauses": (
        "SCHED-16",
        (Z, Z._replace(kind="fail", failure="backpressure"), Action("pause", until=5.0)),
    ),
}


@pytest.mark.clause("FAIL-08", "STOP-01", "STOP-05", "SCHED-16")
@pytest.mark.parametrize("judged", [True, False])
@pytest.mark.parametrize("case", ENDS)
def test_a_lost_cell_of_a_column_that_was_complete_starts_only_if_others_may(
    case: str, judged: bool
) -> None:
    clause, steps = ENDS[case]
    columns = [ColumnDescriptor("a"), ColumnDescriptor("z")]
    run = Machine(
        ExecutionGraph(1 if case != "must stop" else 2, columns),
        failures=FailurePolicy(2, stop_window=1 if case == "must stop" else None),
        waive=("SCHED-09", "SCHED-15", "STOP-02", *(() if judged else (clause,))),
    )
    rows = range(run.graph.num_records)
    made(run, *rows)
    # The call that fails is of another row than the cell that is lost.
    lost = rows[-1]
    take(run, *steps, LOST, cell("lose", "a", lost))
    if judged:
        with pytest.raises(Violation, match=rf"^{clause}: a\[{lost}\] starts"):
            run.apply(cell("start", "a", lost))
    else:
        run.apply(cell("start", "a", lost))


@pytest.mark.clause("FAIL-08", "SCHED-16")
def test_after_the_pause_a_lost_cell_starts() -> None:
    run = Machine(ExecutionGraph(1, [ColumnDescriptor("a"), ColumnDescriptor("z")]))
    run.state.judges_progress = run.state.judges_idleness = False
    take(made(run, 0), *ENDS["pauses"][1], LOST, LOSE_A)
    run.at(5.0)
    take(run, cell("start", "a", 0))


@pytest.mark.clause("FAIL-08")
def test_a_loss_without_the_loss_of_a_worker_is_taken_if_it_is_not_judged() -> None:
    for lose in (LOSE_A, LOSE_V):
        with pytest.raises(Violation, match=r"^FAIL-08: .* is lost although no worker was"):
            ran(made(machine(), 0)).apply(lose)
    run = take(ran(made(machine("FAIL-08"), 0)), LOSE_A, LOSE_V)
    take(run, cell("start", "a", 0), V)


@pytest.mark.clause("FAIL-08")
def test_only_cells_that_were_made_before_the_loss_of_a_worker_go_with_it() -> None:
    run = made(take(made(machine(rows=4), 0, 2), LOST), 1)
    with pytest.raises(
        Violation, match=r"^FAIL-08: a\[1\] is lost .*, but was made after the loss"
    ):
        run.apply(cell("lose", "a", 1))
    take(run, LOSE_A, cell("lose", "a", 2))


@pytest.mark.clause("FAIL-08", "SKIP-01")
def test_output_that_was_given_and_went_with_a_worker_is_made_again_and_not_skipped() -> None:
    run = take(made(ran(machine(rows=5)), 0, 1, 2, 3, column="v"), cell("durable", "v", 0), LOST)
    ran(take(run, LOSE_V))
    for row in (1, 2, 3):
        with pytest.raises(
            Violation, match=rf"^FAIL-08: v\[{row}\] is skipped although it was made"
        ):
            run.apply(cell("skip", "v", row))
    # What is durable stays, and nobody has seen what was not given.
    for row in (0, 4):
        with pytest.raises(Violation, match=r"^SKIP-01"):
            run.apply(cell("skip", "v", row))


@pytest.mark.clause("FAIL-08", "SCHED-01")
def test_a_node_that_needs_a_lost_barrier_is_refused_for_the_loss() -> None:
    run = take(made(ran(machine()), 0, column="v"), LOST, LOSE_V)
    with pytest.raises(Violation, match=r"^FAIL-08: b\[0\] starts although .* was lost with a"):
        run.apply(cell("start", "b", 0))


@pytest.mark.clause("FAIL-08")
def test_a_barrier_whose_output_nobody_wants_any_more_loses_nothing() -> None:
    run = ran(machine())
    for row in (0, 1):
        fails = cell("fail", "a", row)._replace(failure="permanent")
        take(run, cell("start", "a", row), fails, cell("drop", "a", row))
    take(run, LOST, LOSE_V)
    assert run.completed_rows == 2


@pytest.mark.clause("FAIL-08")
def test_output_of_a_dropped_row_keeps_no_barrier_from_being_durable() -> None:
    run = made(ran(machine()), 0, 1, column="v")
    take(run, cell("durable", "v", 0), *FAILS, cell("drop", "a", 1), LOST)
    with pytest.raises(Violation, match=r"^FAIL-08: .*, but all that it gave is durable"):
        run.apply(LOSE_V)


@pytest.mark.clause("FAIL-08", "FAIL-01")
def test_a_lost_barrier_whose_attempts_were_forgotten_may_go_on_with_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "_FORGET_ABOVE", 0)
    failures = FailurePolicy(3)
    run = Machine(ExecutionGraph(2, COLUMNS), failures=failures)
    take(run, V, V._replace(kind="fail", failure="retryable"))
    ran(run)
    for row in (0, 1):
        fails = cell("fail", "a", row)._replace(failure="retryable")
        made(take(run, cell("start", "a", row), fails), row)
    assert (-2, 0) not in run.attempts
    take(run, LOST, LOSE_V, V._replace(attempt=3))


@pytest.mark.clause("FAIL-08", "FAIL-01")
def test_a_lost_cell_whose_attempts_are_known_goes_on_with_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "_FORGET_ABOVE", 0)
    run = Machine(ExecutionGraph(6, COLUMNS), failures=FailurePolicy(3))
    for row in range(6):
        fails = cell("fail", "a", row)._replace(failure="retryable")
        made(take(run, cell("start", "a", row), fails), row)
    take(run, LOST)
    known = {row: (0, row) in run.attempts for row in range(6)}
    assert set(known.values()) == {True, False}
    for row, is_known in known.items():
        take(run, cell("lose", "a", row))
        start = cell("start", "a", row)._replace(attempt=3)
        if is_known:
            with pytest.raises(Violation, match=r"^FAIL-01: a\[\d\] starts as attempt 3"):
                run.apply(start)
        else:
            run.apply(start)
