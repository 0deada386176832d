"""Claims: for each column a set of rows, each set with one value.

A column's rows are a number or ranges. A set that is exactly the first n rows is the number n, any
other is a tuple of ranges in order, none empty, none touching the next. So one set has one value:
claims are hashed and compared as they are, and a claim of versions 1 and 2 is a tuple of numbers
(`Prefixes`), as ever. This module alone looks inside `Rows`; others ask the functions here.

The cost of a question is O(log ranges), of a comparison or a union O(ranges); a number costs O(1).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable, Sequence
from operator import itemgetter
from typing import TypeAlias, TypeGuard

from cellspec.graph.rowset import Ranges, RowSet, rows_of
from cellspec.graph.rules import Rules

__all__ = [
    "Claim",
    "Prefixes",
    "Rows",
    "are_prefixes",
    "as_prefixes",
    "as_rows",
    "beyond",
    "count_parts",
    "count_rows",
    "covers",
    "end_of",
    "first_outside",
    "holds",
    "join",
    "meet",
    "minus",
    "normal",
    "order_gap",
    "prefix_of",
    "reach",
    "reaches",
    "spans",
]

Rows: TypeAlias = int | Ranges
"""A set of rows: the first n as the number n, any other set as ranges."""

Claim: TypeAlias = tuple[Rows, ...]
"""For each column, by position: the rows that a checkpoint claims as resolved."""

Prefixes: TypeAlias = tuple[int, ...]
"""A claim without a gap in any column: for each, how many rows from row 0 on."""

_START = itemgetter(0)


def are_prefixes(claim: Claim) -> TypeGuard[Prefixes]:
    """True if no column has a gap: each is claimed from row 0 on."""
    return tuple not in map(type, claim)


def as_prefixes(claim: Claim) -> Prefixes:
    """A claim of a run that never claims with a gap, as numbers.

    Raises:
        ValueError: a claim with a gap.
    """
    if not are_prefixes(claim):
        raise ValueError("a claim with a gap, where only the first rows of a column are claimed")
    return claim


def normal(ranges: Iterable[tuple[int, int]]) -> Rows:
    """The set that ranges hold: they may come in any order, be empty, overlap and touch."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if start >= stop:
            continue
        if merged and start <= merged[-1][1]:
            if stop > merged[-1][1]:
                merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return as_rows(merged)


def as_rows(ranges: Sequence[tuple[int, int]]) -> Rows:
    """The set of ranges that are in order already, none empty, none touching the next."""
    if not ranges:
        return 0
    if len(ranges) == 1 and ranges[0][0] == 0:
        return ranges[0][1]
    return tuple(ranges)


def spans(rows: Rows) -> Ranges:
    """The rows as ranges, also if they are the first ones."""
    if isinstance(rows, int):
        return ((0, rows),) if rows else ()
    return rows


def covers(rows: Rows, row: int) -> bool:
    """True if a row is among the rows."""
    if isinstance(rows, int):
        return row < rows
    place = bisect_right(rows, row, key=_START)
    return place > 0 and row < rows[place - 1][1]


def holds(rows: Rows, start: int, stop: int) -> bool:
    """True if each of rows ``[start, stop)`` is among the rows; there is at least one."""
    if isinstance(rows, int):
        return stop <= rows
    place = bisect_right(rows, start, key=_START)
    return place > 0 and stop <= rows[place - 1][1]


def prefix_of(rows: Rows) -> int:
    """How many rows from row 0 on are among the rows without a gap."""
    if isinstance(rows, int):
        return rows
    start, stop = rows[0]
    return 0 if start else stop


def beyond(rows: Rows) -> Ranges:
    """The rows behind the first gap."""
    if isinstance(rows, int):
        return ()
    return rows if rows[0][0] else rows[1:]


def reach(rows: Rows) -> int:
    """The row after the last one; 0 if there is none."""
    return rows if isinstance(rows, int) else rows[-1][1]


def end_of(claim: Claim) -> int:
    """The row after the last one of any column; 0 for an empty claim."""
    return max(map(reach, claim))


def reaches(claim: Claim, row: int) -> bool:
    """True if the claim holds a cell of a row."""
    return any(covers(rows, row) for rows in claim)


def count_rows(rows: Rows) -> int:
    """How many rows there are."""
    if isinstance(rows, int):
        return rows
    return sum(stop - start for start, stop in rows)


def count_parts(rows: Rows, size: int, num_records: int) -> int:
    """How many parts of `size` rows, of which the last may be short, are whole among the rows."""
    found = 0
    for start, stop in spans(rows):
        last = -(-stop // size) if stop == num_records else stop // size
        found += max(0, last - -(-start // size))
    return found


def first_outside(rows: Rows, others: Rows) -> int:
    """The first of the rows that is not among the others; −1 if there is none."""
    if isinstance(rows, int) and isinstance(others, int):
        return others if rows > others else -1
    theirs = spans(others)
    place, count = 0, len(theirs)
    for start, stop in spans(rows):
        while place < count and theirs[place][1] <= start:
            place += 1
        if place == count or theirs[place][0] > start:
            return start
        if theirs[place][1] < stop:
            return theirs[place][1]
    return -1


def join(rows: Rows, others: Rows) -> Rows:
    """The rows that are in either set."""
    if isinstance(rows, int) and isinstance(others, int):
        return max(rows, others)
    return normal((*spans(rows), *spans(others)))


def meet(rows: Rows, others: Rows) -> Rows:
    """The rows that are in both sets."""
    if isinstance(rows, int) and isinstance(others, int):
        return min(rows, others)
    mine, theirs = spans(rows), spans(others)
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(mine) and j < len(theirs):
        start, stop = max(mine[i][0], theirs[j][0]), min(mine[i][1], theirs[j][1])
        if start < stop:
            found.append((start, stop))
        if mine[i][1] == stop:
            i += 1
        else:
            j += 1
    return as_rows(found)


def minus(rows: Rows, others: Rows) -> Rows:
    """The rows that are not among the others."""
    theirs = spans(others)
    found: list[tuple[int, int]] = []
    place = 0
    for start, stop in spans(rows):
        while place < len(theirs) and theirs[place][1] <= start:
            place += 1
        after = place
        while after < len(theirs) and theirs[after][0] < stop:
            if start < theirs[after][0]:
                found.append((start, theirs[after][0]))
            start = theirs[after][1]
            after += 1
        if start < stop:
            found.append((start, stop))
    return as_rows(found)


def order_gap(
    claim: Claim, rules: Rules, dropped: Container[int] | RowSet = ()
) -> tuple[int, int] | None:
    """The first cell (column, row) that is claimed without what comes before it in order.

    In an ORDERED column a cell needs the cells of all earlier rows; an output cell of an ordered
    barrier those of all earlier batches. Cells of dropped rows need nothing. None if each cell has
    what it needs (clause CKPT-05).
    """
    if are_prefixes(claim):
        return None
    for rule in rules.columns:
        rows = claim[rule.index]
        if not rule.ordered or isinstance(rows, int):
            continue
        free = prefix_of(rows)
        if rule.is_barrier:
            # Within the first batch that is not whole any row may be claimed.
            free = (free // rule.scope_rows + 1) * rule.scope_rows
        for row in rows_of(beyond(rows)):
            if row >= free and row not in dropped:
                return rule.index, row
    return None
