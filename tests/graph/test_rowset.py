"""Sets of rows and ranges of rows, against Python's own sets."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec.graph.rowset import (
    GrowingRows,
    RowSet,
    flagged,
    part_of,
    parts_touched,
    ranges_of,
    rows_of,
)
from tests.matrix.checks import steps

sparse = st.sets(st.integers(0, 40))
# Sets of rows fill bytes of eight rows; few sets of single rows hold a whole one.
dense = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), max_size=3).map(
    lambda spans: {row for start, length in spans for row in range(start, min(start + length, 41))}
)
few = sparse | dense
ends = st.integers(0, 42)


@given(total=st.integers(1, 40), picks=st.lists(st.integers(0, 63)))
def test_a_set_of_rows_is_a_set(total: int, picks: list[int]) -> None:
    mine, model = RowSet(total), set[int]()
    for pick in picks:
        mine.add(pick % total)
        model.add(pick % total)
        assert len(mine) == len(model)
    assert [row in mine for row in range(total)] == [row in model for row in range(total)]
    assert list(mine) == sorted(model)
    again = RowSet(total, sorted(model) if picks else ())
    assert (list(again), len(again)) == (list(mine), len(mine))


@given(rows=few, start=ends, stop=ends)
def test_a_set_of_rows_gives_those_within_a_range_in_order(
    rows: set[int], start: int, stop: int
) -> None:
    assert list(RowSet(41, rows).within(start, stop)) == sorted(rows & set(range(start, stop)))


@given(rows=few, start=ends, stop=ends)
def test_a_set_of_rows_is_made_of_flags_or_of_ranges(rows: set[int], start: int, stop: int) -> None:
    flags = bytes(row in rows for row in range(42))
    assert list(flagged(flags, 3)) == list(ranges_of(row + 3 for row in sorted(rows)))
    for mine in (RowSet.from_flags(flags), RowSet.from_ranges(42, ranges_of(sorted(rows)))):
        assert (list(mine), len(mine)) == (sorted(rows), len(rows))
        if start < stop:
            assert mine.flags(start, stop) == flags[start:stop]
            assert mine.holds(start, stop) == (set(range(start, stop)) <= rows)


def test_a_set_of_rows_holds_a_bit_a_row_and_nothing_while_it_is_empty() -> None:
    rows = 800_000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        mine = RowSet(rows)
        assert tracemalloc.get_traced_memory()[0] - before < 1_000
        mine.add(rows - 1)
        assert tracemalloc.get_traced_memory()[0] - before < rows // 8 + 1_000
    finally:
        tracemalloc.stop()
    assert list(mine) == [rows - 1]


def test_a_look_at_a_range_costs_nothing_for_the_rows_outside_of_it() -> None:
    full = RowSet(1_000, range(1_000))
    for start in (0, 8, 496, 992):
        alone = RowSet(1_000, range(start, start + 8))
        span = (start, start + 8)
        assert list(full.within(*span)) == list(alone.within(*span))
        assert steps(lambda: list(full.within(*span))) == steps(lambda: list(alone.within(*span)))  # noqa: B023


@given(rows=few)
def test_ranges_are_in_order_and_none_is_empty_or_touches_the_next(rows: set[int]) -> None:
    found = ranges_of(sorted(rows))
    assert list(rows_of(found)) == sorted(rows)
    assert all(start < stop for start, stop in found)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))


@given(rows=few, start=st.integers(0, 40), length=st.integers(1, 33))
def test_a_set_of_rows_takes_a_range_and_finds_the_first_row_outside(
    rows: set[int], start: int, length: int
) -> None:
    mine, model = RowSet(80, sorted(rows)), rows | set(range(start, start + length))
    mine.add_range(start, start + length)
    assert (list(mine), len(mine)) == (sorted(model), len(model))
    for first in range(80):
        outside = sorted(set(range(first, 80)) - model)
        assert mine.first_outside(first, 80) == (outside[0] if outside else -1)
        assert mine.first_outside(first, start) in (-1, outside[0] if outside else -1)


@given(added=st.lists(st.tuples(st.integers(0, 39), st.integers(1, 12))), total=st.integers(40, 52))
def test_growing_rows_are_a_set_that_knows_its_first_gap(
    added: list[tuple[int, int]], total: int
) -> None:
    mine, model = GrowingRows(total, 2), set[int]()
    for start, length in added:
        stop = min(start + length, total)
        mine.add(1, start, stop)
        model |= set(range(start, stop))
        gaps = sorted(set(range(total)) - model)
        assert mine.firsts == [0, gaps[0] if gaps else total]
        assert mine.ranges(1) == ranges_of(sorted(model))
        assert mine.first_outside(1, start, stop) == -1
        assert mine.first_outside(1, 0, total) == (gaps[0] if gaps else -1)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_parts_that_a_span_touches_are_those_of_its_rows(size: int) -> None:
    for start in range(8):
        for stop in range(start + 1, 9):
            expected = sorted({row // size for row in range(start, stop)})
            assert list(parts_touched(start, stop, size)) == expected
            rows = {row for n in expected for row in range(*part_of(n, size, 8))}
            assert set(range(start, min(stop, 8))) <= rows <= set(range(8))
