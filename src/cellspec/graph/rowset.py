"""Sets of rows, at one bit a row, and the ranges in which they are written down.

Dropped rows and skipped cells are rare, but may be many; a Python set would take dozens of bytes
for each. A `RowSet` takes a bit a row of the dataset from its first row on. In
actions and traces rows stand as ranges ``[start, stop)`` in order, none empty, none touching the
next: one set of rows is written in one way only.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import TypeAlias

__all__ = ["Ranges", "RowSet", "add_range", "part_of", "parts_touched", "ranges_of", "rows_of"]

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Rows as ranges ``[start, stop)`` in order, none empty, none touching the next."""


_NOT_EMPTY = re.compile(rb"[^\x00]")


class RowSet:
    """A set of rows at one bit a row; membership and insertion cost O(1)."""

    __slots__ = ("_bits", "_count", "_rows")

    def __init__(self, num_records: int, rows: Iterable[int] = ()) -> None:
        self._rows = num_records
        self._bits = bytearray()
        self._count = 0
        for row in rows:
            self.add(row)

    def add(self, row: int) -> None:
        """Put a row in; one that is in already stays."""
        if not self._bits:
            self._bits = bytearray(-(-self._rows // 8))
        mask = 1 << (row & 7)
        if not self._bits[row >> 3] & mask:
            self._bits[row >> 3] |= mask
            self._count += 1

    def __contains__(self, row: int) -> bool:
        return bool(self._count) and bool(self._bits[row >> 3] >> (row & 7) & 1)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        """Rows in order; whole bytes without a row are passed over."""
        return self.within(0, self._rows)

    def within(self, start: int, stop: int) -> Iterator[int]:
        """Those of rows ``[start, stop)`` that are in the set, in order: O(their bytes)."""
        for found in _NOT_EMPTY.finditer(self._bits, start >> 3, (stop + 7) >> 3):
            place = found.start()
            for bit in range(8):
                row = place * 8 + bit
                if self._bits[place] >> bit & 1 and start <= row < stop:
                    yield row


def ranges_of(rows: Iterable[int]) -> Ranges:
    """Rows in order, as ranges."""
    found: list[tuple[int, int]] = []
    for row in rows:
        if found and found[-1][1] == row:
            found[-1] = (found[-1][0], row + 1)
        else:
            found.append((row, row + 1))
    return tuple(found)


def add_range(ranges: list[tuple[int, int]], start: int, stop: int) -> None:
    """Put rows ``[start, stop)`` into a list of ranges in order, and join those that touch.

    O(log n) comparisons, and one move of the list's end.
    """
    first = bisect_left(ranges, start, key=lambda span: span[1])
    last = bisect_right(ranges, stop, lo=first, key=lambda span: span[0])
    if first < last:
        start, stop = min(start, ranges[first][0]), max(stop, ranges[last - 1][1])
    ranges[first:last] = [(start, stop)]


def rows_of(ranges: Ranges) -> Iterator[int]:
    """The rows of ranges, in order."""
    for start, stop in ranges:
        yield from range(start, stop)


def parts_touched(start: int, stop: int, size: int) -> range:
    """The numbers of the parts (row groups, or batches) of `size` rows that hold a row of a span.

    The span is rows ``[start, stop)``, and is not empty.
    """
    return range(start // size, -(-stop // size))


def part_of(number: int, size: int, num_records: int) -> tuple[int, int]:
    """The rows ``[start, stop)`` of one part of `size` rows; the last part may be short."""
    return number * size, min((number + 1) * size, num_records)
