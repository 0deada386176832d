"""Sets of rows that have one value each, against Python's own sets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits
from cellspec.graph.rowset import ranges_of
from cellspec.state.claims import (
    Claim,
    Rows,
    are_prefixes,
    as_prefixes,
    beyond,
    count_parts,
    count_rows,
    covers,
    end_of,
    first_outside,
    holds,
    join,
    meet,
    minus,
    normal,
    order_gap,
    prefix_of,
    reach,
    reaches,
    spans,
)

TOTAL = 12
sets = st.frozensets(st.integers(0, TOTAL - 1)) | st.integers(0, TOTAL).map(
    lambda n: frozenset(range(n))
)
ends = st.integers(0, TOTAL)


def value_of(rows: frozenset[int]) -> Rows:
    return normal(ranges_of(sorted(rows)))


def set_of(rows: Rows) -> frozenset[int]:
    return frozenset(row for start, stop in spans(rows) for row in range(start, stop))


def first_gap(rows: frozenset[int]) -> int:
    return min(set(range(TOTAL + 1)) - rows)


@given(rows=sets)
def test_one_set_has_one_value(rows: frozenset[int]) -> None:
    value = value_of(rows)
    assert set_of(value) == rows
    assert isinstance(value, int) == (rows == frozenset(range(len(rows))))
    assert spans(value) == ranges_of(sorted(rows))


@given(st.lists(st.tuples(ends, ends)))
def test_ranges_in_any_order_have_the_value_of_their_set(ranges: list[tuple[int, int]]) -> None:
    rows = frozenset(row for start, stop in ranges for row in range(start, stop))
    assert normal(ranges) == value_of(rows)


@given(rows=sets)
def test_questions_about_a_set_are_answered_as_of_the_set(rows: frozenset[int]) -> None:
    value = value_of(rows)
    assert [covers(value, row) for row in range(TOTAL)] == [row in rows for row in range(TOTAL)]
    for start in range(TOTAL):
        for stop in range(start + 1, TOTAL + 1):
            assert holds(value, start, stop) == (frozenset(range(start, stop)) <= rows)
    assert prefix_of(value) == first_gap(rows)
    assert beyond(value) == ranges_of(row for row in sorted(rows) if row > first_gap(rows))
    assert reach(value) == max(rows, default=-1) + 1
    assert count_rows(value) == len(rows)


@given(rows=sets, others=sets)
def test_two_sets_are_combined_as_sets_are(rows: frozenset[int], others: frozenset[int]) -> None:
    mine, theirs = value_of(rows), value_of(others)
    assert join(mine, theirs) == value_of(rows | others)
    assert meet(mine, theirs) == value_of(rows & others)
    assert minus(mine, theirs) == value_of(rows - others)
    assert first_outside(mine, theirs) == min(rows - others, default=-1)
    assert (mine == theirs) == (rows == others)


@given(st.lists(sets, min_size=1, max_size=4))
def test_a_claim_reaches_the_rows_of_which_it_holds_a_cell(columns: list[frozenset[int]]) -> None:
    claim: Claim = tuple(map(value_of, columns))
    held = frozenset().union(*columns)
    assert [reaches(claim, row) for row in range(TOTAL)] == [row in held for row in range(TOTAL)]
    assert end_of(claim) == max(held, default=-1) + 1
    assert are_prefixes(claim) == all(isinstance(rows, int) for rows in claim)


@pytest.mark.clause("CKPT-05")
@given(rows=sets, batched=sets, free=sets, dropped=sets, size=st.integers(1, 5))
def test_a_cell_out_of_order_is_one_whose_earlier_cells_are_missing(
    rows: frozenset[int],
    batched: frozenset[int],
    free: frozenset[int],
    dropped: frozenset[int],
    size: int,
) -> None:
    traits = ExecutionTraits
    columns = [
        ColumnDescriptor("free", None, None, traits.CELL_BY_CELL),
        ColumnDescriptor("row", None, None, traits.CELL_BY_CELL | traits.ORDERED),
        ColumnDescriptor("batch", None, None, traits.BATCH_BARRIER | traits.ORDERED, ["free"]),
    ]
    graph = ExecutionGraph(TOTAL, columns, batch_size=size)
    odd = []
    for index, name in enumerate(graph.column_names):
        mine = {"row": rows, "batch": batched}.get(name)
        for row in sorted(mine or ()):
            before = range(row if name == "row" else row // size * size)
            if row not in dropped and not frozenset(before) <= (mine or frozenset()):
                odd.append((index, row))
    by_name = {"free": free, "row": rows, "batch": batched}
    claim = tuple(value_of(by_name[name]) for name in graph.column_names)
    assert order_gap(claim, graph.rules, dropped) == min(odd, default=None)


# Many small cases, drawn without Hypothesis: a hundred take as long as one of its examples.


def test_sets_are_combined_as_sets_are_in_many_cases() -> None:
    dice = random.Random("claims")
    for _ in range(1000):
        rows, others = (
            frozenset(row for row in range(TOTAL) if dice.random() < dice.choice((0.3, 0.6, 0.9)))
            for _ in range(2)
        )
        mine, theirs = value_of(rows), value_of(others)
        assert join(mine, theirs) == value_of(rows | others)
        assert meet(mine, theirs) == value_of(rows & others)
        assert minus(mine, theirs) == value_of(rows - others)
        assert first_outside(mine, theirs) == min(rows - others, default=-1)
        assert normal((*spans(mine), *spans(theirs), (3, 3), (9, 2))) == value_of(rows | others)
        claim = (0, mine, theirs)
        reached = [row in rows | others for row in range(TOTAL)]
        assert [reaches(claim, row) for row in range(TOTAL)] == reached
        for size in (1, 2, 5):
            parts = [range(n, min(n + size, TOTAL)) for n in range(0, TOTAL, size)]
            whole = sum(frozenset(part) <= rows for part in parts)
            assert count_parts(mine, size, TOTAL) == whole


@pytest.mark.clause("CKPT-05")
def test_of_an_ordered_column_the_first_cell_out_of_order_is_found_in_many_cases() -> None:
    dice, traits = random.Random("order"), ExecutionTraits
    for _ in range(400):
        size = dice.randint(1, 5)
        columns = [
            ColumnDescriptor("row", traits=traits.ORDERED),
            ColumnDescriptor("batch", traits=traits.BATCH_BARRIER | traits.ORDERED),
        ]
        graph = ExecutionGraph(TOTAL, columns, batch_size=size)
        dropped = {row for row in range(TOTAL) if dice.random() < 0.3}
        odd: list[tuple[int, int]] = []
        claim: list[Rows] = []
        for index in range(2):
            share, first = dice.choice((0.2, 0.7)), dice.randint(0, TOTAL)
            rows = {row for row in range(TOTAL) if row < first or dice.random() < share}
            claim.append(value_of(frozenset(rows)))
            for row in sorted(rows - dropped):
                before = range(row // size * size if index else row)
                odd += [(index, row)] * (not rows.issuperset(before))
        found = order_gap(tuple(claim), graph.rules, dropped)
        assert found == (odd[0] if odd else None)


def test_a_claim_with_a_gap_is_no_number_of_rows_a_column() -> None:
    assert as_prefixes((3, 0)) == (3, 0)
    with pytest.raises(ValueError, match="a claim with a gap"):
        as_prefixes((3, ((1, 2),)))
