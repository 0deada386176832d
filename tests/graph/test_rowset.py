"""Sets of rows and ranges of rows, against Python's own sets."""

from __future__ import annotations

import itertools
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec.graph.rowset import (
    GrowingRows,
    RowSet,
    WholeParts,
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


def test_flags_are_of_rows_from_0_on_if_nothing_else_is_said() -> None:
    assert list(flagged(b"\1\1\0\1")) == [(0, 2), (3, 4)]


@given(rows=few, start=ends, stop=ends)
def test_a_set_of_rows_is_made_of_flags_or_of_ranges(rows: set[int], start: int, stop: int) -> None:
    flags = bytes(row in rows for row in range(42))
    assert list(flagged(flags, 3)) == list(ranges_of(row + 3 for row in sorted(rows)))
    for mine in (RowSet.from_flags(flags), RowSet.from_ranges(42, ranges_of(sorted(rows)))):
        assert (list(mine), len(mine)) == (sorted(rows), len(rows))
        if start < stop:
            assert mine.flags(start, stop) == flags[start:stop]
            assert mine.holds(start, stop) == (set(range(start, stop)) <= rows)


@pytest.mark.measured
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


# Many small cases, drawn without Hypothesis: a hundred take as long as one of its examples.


def some_rows(dice: random.Random, total: int) -> set[int]:
    """Rows, in spans and alone; now and then all, or none."""
    if dice.random() < 0.15:
        return set(range(total)) if dice.random() < 0.5 else set()
    spans = [(dice.randrange(total), dice.choice((3, 24, 90))) for _ in range(dice.randint(0, 2))]
    rows = {row for start, length in spans for row in range(start, min(start + length, total))}
    return rows | {dice.randrange(total) for _ in range(dice.randint(0, 3))}


def test_a_set_of_rows_answers_as_a_set_however_it_was_made() -> None:
    dice = random.Random("sets of rows")
    for _ in range(400):
        total = dice.randint(1, dice.choice((50, 50, 250)))
        rows = some_rows(dice, total)
        ranges = ranges_of(sorted(rows))
        added = RowSet(total)
        for span in dice.sample(ranges, len(ranges)):
            added.add_range(*span)
        flags = bytes(row in rows for row in range(total))
        one_by_one = RowSet(total, dice.sample(sorted(rows), len(rows)))
        start = dice.randint(0, total)
        stop = dice.randint(start, total)
        outside = [row for row in range(start, stop) if row not in rows]
        for mine in (
            added,
            one_by_one,
            RowSet.from_flags(flags),
            RowSet.from_ranges(total, ranges),
        ):
            assert (list(mine), len(mine)) == (sorted(rows), len(rows))
            assert mine.flags(start, stop) == flags[start:stop]
            assert mine.as_integer() == sum(1 << row for row in rows)
            assert start == stop or mine.holds(start, stop) == (not outside)
            assert mine.first_outside(start, stop) == (outside[0] if outside else -1)
            # Rows beyond the dataset are not in.
            gaps = (row for row in range(start, total) if row not in rows)
            assert mine.first_outside(start, total + 3) == min(gaps, default=total)
            assert mine.first_outside(total + 1, total + 2) == total + 1
            assert mine.first_outside(total + 1, total + 1) == -1
            assert list(mine.within(start, stop)) == sorted(rows & set(range(start, stop)))
        more = range(start, stop)
        added.add_range(start, stop)
        assert (list(added), len(added)) == (sorted(rows | set(more)), len(rows | set(more)))


def test_growing_rows_of_several_columns_are_sets() -> None:
    dice = random.Random("growing rows")
    for _ in range(200):
        total, columns = dice.randint(1, 30), dice.randint(1, 3)
        mine, model = GrowingRows(total, columns), [set[int]() for _ in range(columns)]
        size = dice.randint(1, 4)
        mine.parts = WholeParts(total, size, [b"\1" * total for _ in range(columns)], columns)
        assert mine.firsts == [0] * columns
        for _ in range(dice.randint(1, 12)):
            column, start = dice.randrange(columns), dice.randrange(total)
            stop = dice.randint(start, min(total, start + 12))
            if dice.random() < 0.3:
                start, stop = mine.firsts[column], min(total, mine.firsts[column] + 3)
            mine.add_counted(column, start, stop)
            model[column] |= set(range(start, stop))
            common = set.intersection(*model)
            first, last = sorted((dice.randint(0, total), dice.randint(0, total)))
            assert mine.count_common(first, last) == len(common & set(range(first, last)))
            assert not mine.count_common(last, first)
            whole = [set(range(*part_of(n, size, total))) for n in range(-(-total // size))]
            assert mine.parts.count == sum(part <= common for part in whole)
            assert [mine.parts.is_whole(n) for n, part in enumerate(whole)] == [
                part <= common for part in whole
            ]
            for each, rows in enumerate(model):
                gaps = [row for row in range(total) if row not in rows]
                assert mine.firsts[each] == min(gaps, default=total)
                assert mine.within(each, first, last) == ranges_of(
                    sorted(rows & set(range(first, last)))
                )
                missing = [row for row in range(first, last) if row not in rows]
                assert mine.first_outside(each, first, last) == min(missing, default=-1)
        mine.clear(total + 1)
        assert (mine.firsts, mine.count_common(0, total + 1)) == ([0] * columns, 0)


def test_parts_lose_cells_and_get_them_back() -> None:
    parts = WholeParts(5, 2, [b"\1\0\0\0\0", b"\1\1\0\0\0"], 2)
    assert (parts.count, [parts.is_whole(n) for n in range(3)]) == (2, [False, True, True])
    for row, count in ((3, 1), (4, 0)):
        parts.take(row)
        assert parts.count == count
    parts.take(3)
    for row, count in ((3, 0), (3, 1), (4, 2), (0, 2), (0, 2), (1, 3)):
        parts.add(row)
        assert parts.count == count


@pytest.mark.parametrize(("size", "count"), [(1, 5), (2, 3)])
def test_parts_without_a_missing_column_are_whole(size: int, count: int) -> None:
    assert WholeParts(5, size, (), 2).count == count


@pytest.mark.parametrize(("size", "columns"), [(65_535, 1), (65_536, 1), (40_000, 2), (70_000, 1)])
def test_a_part_may_have_more_cells_than_two_bytes_count(size: int, columns: int) -> None:
    parts = WholeParts(size, size, [b"\1" * size for _ in range(columns)], columns)
    for _ in range(columns):
        for row in range(size):
            assert not parts.count
            parts.add(row)
    assert parts.count == 1
