"""Rows on storage and claims of them: what is refused of each, and which cell is named."""

from __future__ import annotations

from typing import Any

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionGraph, ExecutionTraits, Machine, Violation
from cellspec.machine.limits import ClaimKind, FailurePolicy, SavePolicy
from cellspec.state.claims import Claim, Rows
from tests.machine.test_refusals import made, ran, refusal, take

T = ExecutionTraits
ANY = ClaimKind(3, by_column=True)


def machine(columns: str = "azc", rows: int = 5, **options: Any) -> Machine:
    chosen = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("z", traits=T.START),
        ColumnDescriptor("c", dependencies=["a", "z"]),
        ColumnDescriptor("u", traits=T.BATCH_BARRIER, dependencies=["a"], may_skip=True),
    ]
    graph = ExecutionGraph(rows, [x for x in chosen if x.name in columns], batch_size=2)
    return Machine(graph, failures=FailurePolicy(1), **options)


def told(run: Machine, claim: Claim) -> str:
    with pytest.raises(Violation) as found:
        run.apply(Action("checkpoint_begin", claim=claim))
    return str(found.value)


def lost(column: str, row: int) -> list[str]:
    """A row is dropped, and nobody has recorded it yet."""
    return [f"start {column} {row}", f"fail {column} {row} failure=permanent"]


@pytest.mark.clause("DROP-04")
@pytest.mark.parametrize("column", "az")
def test_of_every_column_no_cell_is_stored_that_an_unrecorded_drop_left_unmade(
    column: str,
) -> None:
    run = machine("az")
    take(run, *made("z" if column == "a" else "a", 0), *lost(column, 0))
    assert refusal(run, "durable 0") == (
        f"DROP-04: {column}[0] is on storage, but was never made: row 0 was dropped, which is not "
        "recorded yet"
    )


@pytest.mark.clause("CKPT-08")
@pytest.mark.parametrize("column", "az")
@pytest.mark.parametrize("row", [0, 2])
def test_of_every_column_the_rows_on_storage_are_resolved(column: str, row: int) -> None:
    run = machine("az")
    for name in "az":
        take(run, *made(name, *(each for each in range(3) if (name, each) != (column, row))))
    count = "2 rows are" if row else "0 rows are"
    assert refusal(run, "durable 0:3") == (
        f"CKPT-08: rows 0–2 of {column!r} are reported durable, but row {row} is not resolved; "
        f"{count} resolved without a gap"
    )


UNMADE = "claimed, but was never made: row 0 was dropped, which is not recorded yet"


@pytest.mark.clause("DROP-04")
@pytest.mark.parametrize("claim", [(1, 1), (((0, 1), (2, 3)), 0)])
def test_where_storage_is_not_judged_such_a_cell_is_still_not_claimed(claim: Claim) -> None:
    run = machine("az", waive=["CKPT-10"])
    take(run, *lost("a", 0), *made("a", 2))
    assert told(run, claim) == f"DROP-04: a[0] is {UNMADE}"


@pytest.mark.clause("CKPT-05")
@pytest.mark.parametrize("missing", "az")
def test_a_cell_is_claimed_behind_a_gap_with_each_of_its_inputs(missing: str) -> None:
    run = machine()
    take(run, *(step for name in "azc" for step in made(name, 0, 2)), "durable 0", "durable 2")
    gap, less = ((0, 1), (2, 3)), 1
    claim: Claim = (less, gap, gap) if missing == "a" else (gap, less, gap)
    assert told(run, claim) == f"CKPT-05: c[2] is claimed, but its input {missing!r} is not"


BEHIND: Claim = (((1, 2),), 0, 0)
"""A gap, by which every column of a claim is looked at cell by cell."""


@pytest.mark.clause("CKPT-08")
@pytest.mark.parametrize("row", [0, 1, 4])
def test_of_a_claim_beyond_the_table_the_first_cell_is_named_that_is_not_resolved(
    row: int,
) -> None:
    run = machine("az", waive=["CKPT-10"])
    take(run, *made("a", 1), *made("z", *(each for each in range(5) if each != row)))
    assert told(run, (((1, 2),), 7)) == f"CKPT-08: z[{row}] is claimed, but is not resolved"
    take(run, *made("z", row))
    assert told(run, (((1, 2),), 7)) == ("CKPT-08: z[5] is claimed, but the table ends with row 4")


@pytest.mark.clause("CKPT-08")
def test_beyond_the_table_no_barrier_is_asked() -> None:
    run = machine("au", waive=["CKPT-10"])
    take(run, *made("a", 1))
    assert told(run, (0, ((7, 9),))) == "CKPT-08: u[7] is claimed, but the table ends with row 4"


STORED = [*ran("u", 0), "emit u 0", "durable u 0"]
OPEN = "is claimed, but its barrier is not complete"


@pytest.mark.clause("CKPT-08")
@pytest.mark.parametrize(
    ("steps", "rows", "words"),
    [
        (ran("u", 0), ((0, 2), (3, 4)), "u[0] is claimed, but is not resolved"),
        (ran("u", 0), 4, "u[0] is claimed, but is not resolved"),
        (["skip u 0", "skip u 1"], ((0, 1), (3, 4)), f"u[0] {OPEN}"),
        (["skip u 0", "skip u 1"], ((1, 2),), f"u[1] {OPEN}"),
        (["skip u 1", "skip u 2"], ((1, 4),), f"u[1] {OPEN}"),
        ([*ran("u", 0), "emit u 0:2", "skip u 2"], 3, f"u[2] {OPEN}"),
        ([*ran("u", 1), "emit u 2:4", "skip u 1"], ((1, 4),), f"u[1] {OPEN}"),
        (["skip u 1", *lost("z", 0), "drop z 0"], 2, f"u[1] {OPEN}"),
        (["skip u 0", *lost("z", 1), "drop z 1"], ((1, 2),), "taken"),
        ([*STORED, "worker_lost", "lose u /0"], 2, "u[1] is claimed, but is not resolved"),
        ([*STORED, "worker_lost", "lose u /0"], 1, "taken"),
    ],
)
def test_output_that_came_before_its_barrier_is_claimed_only_after_it(
    steps: list[str], rows: Rows, words: str
) -> None:
    """But not of a dropped row, nor what is on storage: that stays when its barrier is lost."""
    run = machine("azu", waive=["SKIP-01", "CKPT-10", "CKPT-05"])
    take(run, *made("a", 0, 1, 2, 3), *steps)
    claim: Claim = (((1, 2),), 0, rows)
    if words == "taken":
        run.apply(Action("checkpoint_begin", claim=claim))
    else:
        assert told(run, claim) == f"CKPT-08: {words}"


@pytest.mark.clause("CKPT-19")
@pytest.mark.parametrize("fails", [True, False])
def test_a_save_that_begins_when_a_write_has_failed_does_not_go_on_with_it(fails: bool) -> None:
    run = machine("a", saving=SavePolicy(rows=1), waive=["SCHED-09", "SCHED-15"], claims=ANY)
    take(run, *made("a", 0), "write_begin a 0")
    run.at(1.0)
    take(run, "checkpoint_failed" if fails else "durable a 0", *made("a", 1, 2), "write_begin a 1")
    try:
        run.at(2.0)
        found = ""
    except Violation as late:
        found = str(late)
    assert found == (
        "CKPT-19: 2 rows could be claimed at t=1 s, 1 at the last save; a save is due every 1 row, "
        "and those that were begun leave it undone before t=2 s"
        if fails
        else ""
    )


@pytest.mark.clause("SCHED-15")
@pytest.mark.parametrize(
    ("steps", "is_open"),
    [
        ([], True),
        (["durable a 0:3"], True),
        (["durable z 0:3"], True),
        (["durable 0:1"], True),
        (["durable 1:3"], True),
        (["durable a 0:2", "durable z 0:1"], True),
        (["durable a 0:2", "durable z 0:1", "durable z 1:2"], False),
        (["durable 0:1", "durable 1:2"], False),
        (["durable 0:1", "durable 0:1"], True),
        (["durable 0:2"], False),
        (["durable 0:3"], False),
    ],
)
@pytest.mark.parametrize("columns", ["both", "each"])
def test_rows_that_are_written_again_are_open_until_each_cell_is_reported_again(
    columns: str, steps: list[str], is_open: bool
) -> None:
    run = machine("az")
    take(run, *made("a", 0, 1, 2), *made("z", 0, 1, 2), "durable 0:3", "stop_requested")
    take(
        run, *(["write_begin 0:2"] if columns == "both" else [f"write_begin {x} 0:2" for x in "az"])
    )
    take(run, *steps)
    assert run.state.stores == is_open


@pytest.mark.clause("CKPT-12")
@pytest.mark.parametrize("lands", [True, False])
def test_a_claim_that_failed_may_be_read_back_until_a_later_one_lands(lands: bool) -> None:
    run = machine("a")
    take(run, *made("a", 0, 1), "durable a 0:2")
    run.apply(Action("checkpoint_begin", claim=(1,)))
    take(run, "checkpoint_failed")
    run.apply(Action("checkpoint_begin", claim=(2,)))
    take(run, "checkpoint_durable" if lands else "checkpoint_failed", "crash")
    try:
        run.apply(Action("resume", claim=(1,)))
        found = ""
    except Violation as violation:
        found = str(violation)
    assert found.partition(":")[0] == ("CKPT-12" if lands else "")


@pytest.mark.clause("CKPT-11", "CKPT-12")
@pytest.mark.parametrize("row", [1, 2])
def test_of_two_claims_at_once_which_is_not_judged_either_may_be_read_back(row: int) -> None:
    run = machine("a", waive=["CKPT-11"])
    take(run, *made("a", 0, 1), "durable a 0:2")
    for rows in (1, 2):
        run.apply(Action("checkpoint_begin", claim=(rows,)))
    take(run, "crash")
    run.apply(Action("resume", claim=(row,)))
    assert run.completed_rows == row


@pytest.mark.clause("CKPT-17")
def test_a_claim_that_lands_after_a_commit_takes_no_drop_away() -> None:
    run = machine("az")
    take(run, *made("a", 0), "durable a 0", *made("z", 0, 1))
    run.apply(Action("checkpoint_begin", claim=(1, 0)))
    take(run, *lost("a", 1), "drop a 1")
    run.commit_begin((0, 2))
    run.committed()
    take(run, "checkpoint_durable", "crash")
    run.resume((1, 2))
    assert list(run.counters.dropped) == [1]


@pytest.mark.clause("CKPT-05")
def test_behind_a_gap_an_ordered_column_is_claimed_in_order() -> None:
    columns = [ColumnDescriptor("o", traits=T.ORDERED), ColumnDescriptor("a", traits=T.START)]
    run = Machine(ExecutionGraph(4, columns), failures=FailurePolicy(1))
    take(run, *made("o", 0, 1, 2), "durable o 0:3")
    assert told(run, (((0, 1), (2, 3)), 0)) == (
        "CKPT-05: o[2] is claimed, but not the cells that come before it in order"
    )
