"""Claims of any rows, and commits: what the machine takes, refuses, and may resume from."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest

from cellspec import Action, ColumnDescriptor, ExecutionGraph, ExecutionTraits, Machine, Violation
from cellspec.machine.commits import resumable
from cellspec.machine.limits import FailurePolicy
from cellspec.state.claims import Claim

T = ExecutionTraits
GAP: Claim = (((0, 1), (2, 3)), 0, 0)
"""Rows 0 and 2 of the first column."""


def graph(rows: int = 4, *, ordered: bool = False) -> ExecutionGraph:
    return ExecutionGraph(
        rows,
        [
            ColumnDescriptor("a", traits=T.START | (T.ORDERED if ordered else T.NONE)),
            ColumnDescriptor("b", dependencies=["a"]),
            ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]),
        ],
    )


def machine(done: Iterable[int] = (0, 2), *, of_b: Iterable[int] = (), rows: int = 4) -> Machine:
    """A run in which some cells of the first two columns are complete."""
    made = Machine(graph(rows), failures=FailurePolicy())
    for column, cells in ((0, done), (1, of_b)):
        for row in cells:
            made.start_cell(column, row)
            made.complete_cell(column, row)
    return made


def store(run: Machine, column: int, rows: Iterable[int]) -> Machine:
    for row in rows:
        run.durable_rows(column, row + 1, row)
    return run


@pytest.mark.clause("CKPT-08", "CKPT-10", "CKPT-12")
def test_a_claim_may_have_gaps_and_is_resumed_from_as_it_is() -> None:
    run = store(machine(), 0, (0, 2))
    run.checkpoint_begin(GAP)
    run.checkpoint_durable()
    assert run.durable_claim == GAP
    run.crash()
    with pytest.raises(Violation, match=r"^CKPT-12: resumed without a\[2\], which the last"):
        run.resume((1, 0, 0))
    with pytest.raises(Violation, match=r"^CKPT-12: resumed with a\[1\], which the last durable"):
        run.resume((3, 0, 0))


@pytest.mark.clause("CKPT-05", "CKPT-08", "CKPT-09", "CKPT-10")
@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ((((0, 1), (3, 4)), 0, 0), "CKPT-08: a[3] is claimed, but is not resolved"),
        ((((2, 3),), 0, 0), "CKPT-09: a[0] was claimed before, and is not any more"),
        ((((0, 1), (2, 3)), ((1, 2),), 0), "CKPT-08: b[1] is claimed, but is not resolved"),
        ((((0, 1), (2, 3)), ((0, 1),), 0), "CKPT-10: b[0] is claimed, but its data is not"),
        ((((0, 1),), ((2, 3),), 0), "CKPT-10: b[2] is claimed, but its data is not durable"),
        ((GAP[0], 0, ((2, 3),)), "CKPT-08: v[2] is claimed, but is not resolved"),
        ((((0, 1), (2, 9)), 0, 0), "CKPT-08: a[3] is claimed, but is not resolved"),
    ],
)
def test_a_refused_claim_names_the_first_odd_cell(claim: Claim, message: str) -> None:
    run = store(machine(of_b=(0, 2)), 0, (0, 2))
    run.checkpoint_begin((1, 0, 0))
    run.checkpoint_durable()
    with pytest.raises(Violation) as found:
        run.checkpoint_begin(claim)
    assert str(found.value).startswith(message)


@pytest.mark.clause("CKPT-05")
def test_a_claim_with_a_gap_holds_each_input_in_its_row() -> None:
    run = store(store(machine((0, 1, 2), of_b=(0, 1, 2)), 0, (0, 1, 2)), 1, (0, 1, 2))
    with pytest.raises(Violation, match=r"^CKPT-05: b\[1\] is claimed, but its input 'a' is not"):
        run.checkpoint_begin((((0, 1), (2, 3)), 3, 0))


@pytest.mark.clause("CKPT-05")
def test_an_ordered_column_is_claimed_in_order() -> None:
    run = Machine(graph(ordered=True))
    for row in range(3):
        run.start_cell(0, row)
        run.complete_cell(0, row)
    store(run, 0, range(3))
    with pytest.raises(Violation, match=r"^CKPT-05: a\[2\] is claimed, but not the cells that"):
        run.checkpoint_begin((((0, 1), (2, 3)), 0, 0))
    with pytest.raises(Violation, match=r"^CKPT-05: a\[1\] is in a commit, but a\[0\], which"):
        run.commit_begin((((1, 2),), 0, 0))
    run.commit_begin((2, 0, 0))
    run.committed()
    run.commit_begin((((2, 3),), 0, 0))


@pytest.mark.clause("CKPT-08")
def test_an_output_cell_is_claimed_only_after_its_barrier() -> None:
    run = machine(range(4))
    store(run, 0, range(4))
    run.start_barrier(2, 0)
    run.complete_barrier(2, 0)
    run.emit(2, 1, 3)
    store(run, 2, (1, 2))
    run.checkpoint_begin((4, 0, ((1, 3),)))
    run.checkpoint_durable()


@pytest.mark.clause("CKPT-11", "CKPT-12", "CKPT-18")
def test_a_crash_leaves_any_of_the_open_commits_each_whole() -> None:
    halves: list[Claim] = [(1, 1, 0), (((2, 3),), ((2, 3),), 0)]
    for found in ((0, 0, 0), halves[0], halves[1], (GAP[0], GAP[0], 0)):
        run = machine(of_b=(0, 2))
        for number, half in enumerate(halves):
            run.commit_begin(half, number)
        run.crash()
        for odd in ((1, 0, 0), (GAP[0], 1, 0), (((2, 3),), 0, 0)):
            with pytest.raises(Violation, match=r"^CKPT-12: resumed with"):
                run.resume(odd)
        assert resumable(run.state, found) == 0


@pytest.mark.clause("CKPT-09")
def test_what_a_commit_brought_is_not_gone_after_a_crash() -> None:
    run = machine()
    run.commit_begin((1, 0, 0))
    run.committed()
    run.commit_begin((((2, 3),), 0, 0))
    run.crash()
    with pytest.raises(Violation, match=r"^CKPT-09: resumed without a\[0\], which the last"):
        run.resume((((2, 3),), 0, 0))


@pytest.mark.clause("CKPT-10", "CKPT-11")
def test_a_commit_is_data_and_claim_at_once() -> None:
    run = machine()
    run.apply(Action("commit_begin", "a", (2, 3), commit=7))
    assert run.state.committed is not None
    assert run.state.committed.ranges(0) == ()
    with pytest.raises(Violation, match=r"^CKPT-11: commit 7 is begun while it is open"):
        run.apply(Action("commit_begin", "a", (0, 1), commit=7))
    with pytest.raises(Violation, match=r"^CKPT-11: a commit became durable that nobody had begun"):
        run.apply(Action("committed"))
    run.apply(Action("committed", commit=7))
    assert run.durable_claim == (((2, 3),), 0, 0)
    assert run.state.on_storage.ranges(0) == ((2, 3),)
    run.apply(Action("commit_begin", "a", (0, 1)))
    run.apply(Action("committed"))
    assert run.durable_claim == GAP
    assert run.durable[0] == 1


@pytest.mark.clause("CKPT-05", "CKPT-08")
def test_each_cell_of_a_commit_has_its_inputs_in_it_or_claimed() -> None:
    run = machine(of_b=(0, 2))
    for cells, message in (
        ((((3, 4),), 0, 0), "CKPT-08: a[3] is in a commit, but is not resolved"),
        ((0, ((2, 3),), 0), "CKPT-05: b[2] is in a commit, but its input 'a' is neither in it"),
        ((1, GAP[0], 0), "CKPT-05: b[2] is in a commit, but its input 'a' is neither in it"),
    ):
        with pytest.raises(Violation) as found:
            run.commit_begin(cells)
        assert str(found.value).startswith(message)
    run.commit_begin((((2, 3),), ((2, 3),), 0))
    # It may not land: what needs it does not count on it.
    run.commit_begin((1, 0, 0), 1)
    with pytest.raises(Violation, match=r"^CKPT-05: b\[0\] is in a commit"):
        run.commit_begin((0, 1, 0), 2)
    run.committed(1)
    run.commit_begin((0, 1, 0), 2)


@pytest.mark.clause("CKPT-12")
@pytest.mark.parametrize("way", ["claim", "commit"])
def test_a_write_that_reported_an_error_may_have_landed(way: str) -> None:
    for found in ((0, 0, 0), (1, 0, 0)):
        run = store(machine(), 0, (0,)) if way == "claim" else machine()
        if way == "claim":
            run.checkpoint_begin((1, 0, 0))
            run.checkpoint_failed()
        else:
            run.commit_begin((1, 0, 0))
            run.commit_failed()
        run.crash()
        run.resume(found)
        assert run.durable_claim == found


@pytest.mark.clause("CKPT-12")
def test_a_failed_claim_is_superseded_by_the_next_durable_one() -> None:
    run = store(machine((0, 1)), 0, (0, 1))
    run.checkpoint_begin((1, 0, 0))
    run.checkpoint_failed()
    run.checkpoint_begin((2, 0, 0))
    run.checkpoint_durable()
    run.crash()
    with pytest.raises(Violation, match=r"^CKPT-12"):
        run.resume((1, 0, 0))


@pytest.mark.clause("DROP-04", "CKPT-17")
def test_a_commit_holds_no_cell_that_an_unrecorded_drop_left_unmade() -> None:
    run = machine((0,))
    run.start_cell(0, 1)
    run.fail_cell(0, 1, "permanent")
    # The cells of another row, made long ago, are not what the drop is about.
    run.commit_begin((1, 0, 0))
    run.committed()
    with pytest.raises(Violation, match=r"^DROP-04: a\[1\] is claimed, but was never made"):
        run.commit_begin((((1, 2),), ((1, 2),), ((1, 2),)))
    run.record_drop(0, 1, 2)
    run.commit_begin((((1, 2),), ((1, 2),), ((1, 2),)))


@pytest.mark.measured
def test_the_work_for_a_commit_does_not_grow_with_the_rows_that_are_claimed() -> None:
    def cost_s(rows: int) -> float:
        run = machine((), rows=rows)
        # Every other row: a claim of as many ranges.
        for row in range(0, rows, 2):
            run.start_cell(0, row)
            run.complete_cell(0, row)
        began = time.process_time()
        for row in range(0, rows, 2):
            run.apply(Action("commit_begin", "a", (row, row + 1)))
            run.apply(Action("committed"))
        return (time.process_time() - began) / rows

    small = min(cost_s(500) for _ in range(3))
    assert min(cost_s(16_000) for _ in range(2)) < 5 * small


@pytest.mark.clause("CKPT-05")
def test_a_dropped_row_of_a_later_batch_needs_nothing_in_a_commit() -> None:
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("e", traits=T.BATCH_BARRIER | T.ORDERED, dependencies=["a"]),
    ]
    run = Machine(ExecutionGraph(6, columns, batch_size=3), failures=FailurePolicy())
    for row in range(6):
        run.start_cell(0, row)
        if row == 3:
            run.fail_cell(0, row, "permanent")
            run.record_drop(0, 3, 4)
        else:
            run.complete_cell(0, row)
    for scope in range(2):
        run.start_barrier(1, scope)
        run.complete_barrier(1, scope)
    run.emit(1, 2, 3)
    run.commit_begin((6, ((2, 4),)))
    run.commit_failed()
    # Row 4 has a value, so it needs the rows of the first batch.
    run.emit(1, 4, 5)
    with pytest.raises(Violation, match=r"^CKPT-05: e\[4\] is in a commit, but e\[0\], which"):
        run.commit_begin((6, ((2, 5),)))
