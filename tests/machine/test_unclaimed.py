"""What a run leaves unclaimed when it is interrupted, or stops early, and by what it is excused."""

from __future__ import annotations

from typing import Any

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits, Machine
from cellspec.machine.limits import ClaimKind, FailurePolicy
from cellspec.state.claims import Claim
from tests.machine.test_refusals import made, ran, refusal, take

T = ExecutionTraits
BY_ROW, BY_COLUMN, ANY = (
    ClaimKind(1, by_column=False),
    ClaimKind(2, by_column=True),
    ClaimKind(3, by_column=True),
)
INTERRUPTED = ("stop_requested", "end outcome=interrupted")


def machine(columns: str = "az", rows: int = 4, **options: Any) -> Machine:
    chosen = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("z", traits=T.START),
        ColumnDescriptor("u", traits=T.BATCH_BARRIER | T.ORDERED, dependencies=["a"]),
        ColumnDescriptor("x", dependencies=["u"]),
    ]
    chosen = [each for each in chosen if each.name in columns]
    graph = ExecutionGraph(rows, chosen, batch_size=2)
    return Machine(graph, Limits(), **{"failures": FailurePolicy(2), **options})


def stored(run: Machine) -> None:
    """All that is resolved of each column is durable."""
    for column in run.graph.column_names:
        for row in range(run.graph.num_records):
            if run.counters.is_resolved(run.graph.rules.index[column], row):
                take(run, f"durable {column} {row}")


def claim(run: Machine, cells: Claim, *, lands: bool = True) -> None:
    run.apply(Action("checkpoint_begin", claim=cells))
    take(run, "checkpoint_durable" if lands else "checkpoint_failed")


@pytest.mark.clause("STOP-08")
@pytest.mark.parametrize("claims", [BY_ROW, BY_COLUMN, ANY])
def test_of_an_engine_that_ends_with_a_row_only_the_rows_before_it_are_asked_for(
    claims: ClaimKind,
) -> None:
    run = machine(drops=False, waive=["STOP-02"], claims=claims)
    take(run, *made("a", 0, 2), *made("z", 0, 2))
    for row in (3, 1):
        take(run, f"start a {row}", f"fail a {row} failure=permanent")
    take(run, *(f"durable {column} {row}" for column in "az" for row in (0,)))
    claim(run, (1, 1))
    assert refusal(run, "stop", "end outcome=failed") == ""


@pytest.mark.clause("STOP-07")
@pytest.mark.parametrize(("rows", "claimed"), [(3, 2), (4, 3), (5, 4)])
def test_of_an_ordered_barrier_that_has_given_all_the_last_batch_is_asked_for(
    rows: int, claimed: int
) -> None:
    run = machine("aux", rows, claims=ANY)
    take(run, *made("a", *range(rows)))
    for batch in range((rows + 1) // 2):
        take(run, *ran("u", batch), f"emit u {2 * batch}:{min(2 * batch + 2, rows)}")
    take(run, *made("x", *range(rows)))
    stored(run)
    claim(run, (rows, rows, claimed))
    assert refusal(run, *INTERRUPTED) == (
        f"STOP-07: the run ends as interrupted, but x[{claimed}] could be claimed, and is not"
    )


@pytest.mark.clause("STOP-07")
def test_what_depends_on_a_batch_that_is_not_whole_may_be_left_with_it() -> None:
    run = machine("aux", claims=ANY)
    take(run, *made("a", *range(4)), *ran("u", 0), "emit u 0:2", *made("x", 0, 1))
    take(run, *ran("u", 1), "emit u 2:3", *made("x", 2))
    stored(run)
    claim(run, (4, 2, 1))
    claim(run, (4, 2, 2))
    assert refusal(run, *INTERRUPTED) == ""


@pytest.mark.clause("STOP-07")
@pytest.mark.parametrize("later", [True, False])
def test_rows_that_reach_storage_after_the_failure_show_that_it_works_again(later: bool) -> None:
    run = machine()
    take(run, *made("a", 0, 1), *made("z", 0, 1))
    take(run, "write_begin z 0", "write_begin z 1", "checkpoint_failed")
    if later:
        run.at(1.0)
    take(run, "durable a 0:2", "durable z 0")
    found = refusal(run, *INTERRUPTED)
    left = "STOP-07: the run ends as interrupted, but 2 rows finished, and 1 is durable"
    assert found == (left if later else "")


@pytest.mark.clause("STOP-07")
@pytest.mark.parametrize("column", "az")
def test_each_of_the_writes_that_failed_excuses_until_its_rows_are_durable(column: str) -> None:
    run = machine("az", 1)
    take(run, *made("a", 0), *made("z", 0))
    take(run, "write_begin a 0", "write_begin z 0", "checkpoint_failed", f"durable {column} 0")
    assert refusal(run, *INTERRUPTED) == ""


@pytest.mark.clause("STOP-07")
def test_rows_that_could_not_be_written_excuse_every_claim_that_could_have_held_them() -> None:
    """Where any rows are claimed, those behind a gap too."""
    run = machine(claims=ANY)
    take(run, *made("a", 0, 2), *made("z", 0, 3), "checkpoint_failed")
    assert refusal(run, *INTERRUPTED) == ""


@pytest.mark.clause("STOP-07")
def test_rows_behind_a_gap_could_not_be_claimed_where_claims_have_none() -> None:
    run = machine("a", 2, claims=BY_COLUMN)
    take(run, *made("a", 1), "checkpoint_failed", *made("a", 0), "durable a 0")
    claim(run, (1,), lands=False)
    assert refusal(run, *INTERRUPTED) == (
        "STOP-07: the run ends as interrupted, but 2 rows of 'a' could be claimed, and 0 are"
    )


@pytest.mark.clause("STOP-07")
@pytest.mark.parametrize("fails_again", [True, False])
def test_a_claim_that_lands_ends_the_excuse_of_rows_that_failed_before_it(
    fails_again: bool,
) -> None:
    run = machine("a", claims=BY_COLUMN)
    take(run, *made("a", 0, 1), "durable a 0", "write_begin a 1", "checkpoint_failed")
    claim(run, (1,))
    if fails_again:
        take(run, "write_begin a 1", "checkpoint_failed")
    found = refusal(run, *INTERRUPTED)
    left = "STOP-07: the run ends as interrupted, but 2 rows of 'a' could be claimed, and 1 is"
    assert found == ("" if fails_again else left)


@pytest.mark.clause("STOP-07")
def test_only_what_could_not_be_written_is_excused() -> None:
    run = machine("az", 1, claims=BY_COLUMN)
    take(run, *made("a", 0), *made("z", 0), "durable a 0", "durable z 0")
    claim(run, (1, 0))
    left = "STOP-07: the run ends as interrupted, but 1 row of 'z' could be claimed, and 0 are"
    assert refusal(run, *INTERRUPTED) == left
    take(run, "write_begin z 0", "checkpoint_failed", "durable z 0")
    assert refusal(run, *INTERRUPTED[1:]) == left
    claim(run, (1, 1), lands=False)
    assert refusal(run, *INTERRUPTED[1:]) == ""


@pytest.mark.clause("STOP-07")
@pytest.mark.parametrize("by_column", [True, False])
def test_where_whole_rows_are_claimed_a_cell_may_be_left_with_its_row(by_column: bool) -> None:
    run = machine("az", claims=ClaimKind(3, by_column=by_column))
    take(run, *made("a", 0, 2), *made("z", 2), "durable a 2", "durable z 2")
    rest = refusal(run, *INTERRUPTED)
    row = 0 if by_column else 2
    told = f"STOP-07: the run ends as interrupted, but a[{row}] could be claimed, and is not"
    assert rest == told
    claim(run, (((2, 3),), ((2, 3),)))
    assert refusal(run, *INTERRUPTED[1:]) == (told if by_column else "")


@pytest.mark.clause("STOP-07")
@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("resumes", [True, False])
def test_without_claims_a_later_process_goes_on_from_the_rows_on_storage(
    stores: bool, resumes: bool
) -> None:
    run = machine("a")
    if not resumes:
        run.state.resumes = False
    take(run, *made("a", 0, 1), *(["durable a 0"] if stores else []))
    left = "STOP-07: the run ends as interrupted, but 2 rows finished, and 1 is durable"
    assert refusal(run, *INTERRUPTED) == (left if stores and resumes else "")


@pytest.mark.clause("STOP-07")
def test_a_claim_that_fails_excuses_its_cells_alone() -> None:
    run = machine("a", claims=BY_COLUMN)
    take(run, *made("a", 0), "durable a 0")
    claim(run, (1,), lands=False)
    assert refusal(run, "stop_requested", "start a 1").startswith("STOP-05")
    assert refusal(run, *INTERRUPTED[1:]) == ""
    run = machine("a", claims=BY_COLUMN)
    take(run, *made("a", 0, 1), "durable a 0:2")
    claim(run, (1,), lands=False)
    assert refusal(run, *INTERRUPTED) == (
        "STOP-07: the run ends as interrupted, but 2 rows of 'a' could be claimed, and 0 are"
    )


@pytest.mark.clause("STOP-07")
def test_a_write_behind_a_gap_that_failed_excuses_its_rows() -> None:
    run = machine("a")
    take(run, *made("a", 1), "write_begin a 1", "checkpoint_failed", *made("a", 0), "durable a 0")
    assert refusal(run, *INTERRUPTED) == ""
