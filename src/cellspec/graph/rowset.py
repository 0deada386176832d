"""Sets of rows, at one bit a row, and the ranges in which they are written down.

Dropped rows and skipped cells are rare, but may be many; a Python set would take dozens of bytes
for each. A `RowSet` takes a bit a row of the dataset from its first row on. In
actions and traces rows stand as ranges ``[start, stop)`` in order, none empty, none touching the
next: one set of rows is written in one way only.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from typing import TypeAlias

__all__ = [
    "GrowingRows",
    "Ranges",
    "RowSet",
    "WholeParts",
    "flagged",
    "part_of",
    "parts_touched",
    "ranges_of",
    "rows_of",
]

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Rows as ranges ``[start, stop)`` in order, none empty, none touching the next."""


_NOT_EMPTY = re.compile(rb"[^\x00]")
_NOT_FULL = re.compile(rb"[^\xff]")

_AS_DIGITS = bytes((ord("0"), ord("1"), *range(2, 256)))
_FROM_DIGITS = bytes(value == ord("1") for value in range(256))


class RowSet:
    """A set of rows at one bit a row; membership and insertion cost O(1)."""

    __slots__ = ("_bits", "_count", "_rows")

    def __init__(self, num_records: int, rows: Iterable[int] = ()) -> None:
        self._rows = num_records
        self._bits = bytearray()
        self._count = 0
        for row in rows:
            self.add(row)

    @classmethod
    def from_flags(cls, flags: bytes | bytearray) -> RowSet:
        """The rows whose byte is 1 and not 0, of as many rows as there are bytes."""
        found = cls(len(flags))
        found._count = flags.count(1)
        if found._count:
            # In base 2 a text becomes a number in O(its length), at the speed of C.
            bits = int(flags[::-1].translate(_AS_DIGITS), 2)
            found._bits = bytearray(bits.to_bytes(-(-len(flags) // 8), "little"))
        return found

    @classmethod
    def from_ranges(cls, num_records: int, ranges: Ranges) -> RowSet:
        """The rows of ranges: O(ranges), and the bytes between them at the speed of C."""
        found = cls(num_records)
        for start, stop in ranges:
            first, last = -(-start // 8), stop // 8
            if first < last:
                if not found._bits:
                    found._bits = bytearray(-(-num_records // 8))
                found._bits[first:last] = b"\xff" * (last - first)
                found._count += 8 * (last - first)
            for row in (*range(start, min(8 * first, stop)), *range(max(8 * last, start), stop)):
                found.add(row)
        return found

    def flags(self, start: int, stop: int) -> bytes:
        """A byte for each of rows ``[start, stop)``: 1 if the row is in the set, or else 0."""
        if not self._count or start >= stop:
            return bytes(stop - start)
        bits = self._slice(start, stop)
        return f"{bits:0{stop - start}b}".encode()[::-1].translate(_FROM_DIGITS)

    def holds(self, start: int, stop: int) -> bool:
        """True if each of rows ``[start, stop)`` is in the set: O(their bytes)."""
        every: int = (1 << stop - start) - 1
        return bool(self._count) and self._slice(start, stop) == every

    def _slice(self, start: int, stop: int) -> int:
        """The bits of rows ``[start, stop)``, the first row's the lowest."""
        bits = int.from_bytes(self._bits[start >> 3 : (stop + 7) >> 3], "little") >> (start & 7)
        return bits & ((1 << stop - start) - 1)

    def add(self, row: int) -> None:
        """Put a row in; one that is in already stays."""
        if not self._bits:
            self._bits = bytearray(-(-self._rows // 8))
        mask = 1 << (row & 7)
        if not self._bits[row >> 3] & mask:
            self._bits[row >> 3] |= mask
            self._count += 1

    def add_range(self, start: int, stop: int) -> None:
        """Put rows ``[start, stop)`` in: O(their bytes)."""
        first, last = -(-start // 8), stop // 8
        if first >= last:
            for row in range(start, stop):
                self.add(row)
            return
        for row in (*range(start, first * 8), *range(last * 8, stop)):
            self.add(row)
        if not self._bits:
            self._bits = bytearray(-(-self._rows // 8))
        known = int.from_bytes(self._bits[first:last], "little").bit_count()
        self._bits[first:last] = b"\xff" * (last - first)
        self._count += 8 * (last - first) - known

    def as_integer(self) -> int:
        """The set as a number: bit n is row n."""
        return int.from_bytes(self._bits, "little")

    def first_outside(self, start: int, stop: int) -> int:
        """The first of rows ``[start, stop)`` that is not in the set; −1 if all are in."""
        if not self._count or start >= self._rows:
            return start if start < stop else -1
        row, last = start, min(stop, self._rows)
        while row < last:
            if row & 7 == 0 and self._bits[row >> 3] == 255:
                found = _NOT_FULL.search(self._bits, row >> 3)
                row = found.start() * 8 if found else self._rows
            elif row not in self:
                return row
            else:
                row += 1
        return row if row < stop else -1

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


class GrowingRows:
    """The rows of each column that are safe: they only become more.

    Rows from 0 on are a number; those behind a gap take a bit each, and nothing while there is no
    gap.

    Args:
        num_records: rows of the dataset.
        columns: how many columns there are.

    Attributes:
        firsts: by column, how many rows from 0 on are in.
        parts: counts the parts of which every column is in, or None.
    """

    __slots__ = ("_beyond", "_rows", "firsts", "parts")

    def __init__(self, num_records: int, columns: int) -> None:
        self.firsts = [0] * columns
        self.parts: WholeParts | None = None
        self.clear(num_records)

    def clear(self, num_records: int) -> None:
        """Forget all rows; from now on there are so many."""
        self._rows = num_records
        self._beyond: list[RowSet | None] = [None] * len(self.firsts)
        self.firsts[:] = [0] * len(self.firsts)

    def add(self, column: int, start: int, stop: int) -> None:
        """Put rows ``[start, stop)`` of a column in: O(1) without a gap, else O(their bytes)."""
        first, beyond = self.firsts[column], self._beyond[column]
        if start > first:
            if beyond is None:
                beyond = self._beyond[column] = RowSet(self._rows)
            beyond.add_range(start, stop)
            return
        first = max(first, stop)
        if beyond is not None and first < self._rows and first in beyond:
            found = beyond.first_outside(first, self._rows)
            first = found if found >= 0 else self._rows
        self.firsts[column] = first

    def add_counted(self, column: int, start: int, stop: int) -> None:
        """`add` rows, and count the parts that are whole by them: O(rows)."""
        assert self.parts is not None
        for row in range(start, stop):
            if self.first_outside(column, row, row + 1) >= 0:
                self.parts.add(row)
        self.add(column, start, stop)

    def first_outside(self, column: int, start: int, stop: int) -> int:
        """The first of rows ``[start, stop)`` of a column that is not in; −1 if all are in."""
        start, beyond = max(start, self.firsts[column]), self._beyond[column]
        if start >= stop:
            return -1
        return start if beyond is None else beyond.first_outside(start, stop)

    def count_common(self, start: int, stop: int) -> int:
        """How many of rows ``[start, stop)`` are in every column: O(their bytes) a column."""
        common = ((1 << max(stop - start, 0)) - 1) << start
        for first, beyond in zip(self.firsts, self._beyond, strict=True):
            if first < stop:
                mine = (1 << first) - 1
                common &= mine if beyond is None else mine | beyond.as_integer()
        return common.bit_count()

    def ranges(self, column: int) -> Ranges:
        """The rows of a column, as ranges."""
        return self.within(column, 0, self._rows)

    def within(self, column: int, start: int, stop: int) -> Ranges:
        """Those of rows ``[start, stop)`` of a column that are in, as ranges."""
        first, beyond = min(self.firsts[column], stop), self._beyond[column]
        later = () if beyond is None else ranges_of(beyond.within(max(first, start), stop))
        return ((start, first), *later) if start < first else later


class WholeParts:
    """How many parts of the rows have every cell in, kept as cells come and go: O(1) a cell.

    A part is a row, or a row group. It takes two bytes, or eight if it has more cells than that.

    Args:
        num_records: rows of the dataset.
        size: rows of a part; the last part may be short.
        missing: by column, a byte a row: 1 if the cell is not in, or else 0. Columns that are in
            may be left out.
        columns: how many columns there are.

    Attributes:
        size: rows of a part.
        count: how many parts have every cell in.
    """

    __slots__ = ("_left", "count", "size")

    def __init__(
        self, num_records: int, size: int, missing: Iterable[bytes | bytearray], columns: int
    ) -> None:
        self.size = size
        flags = [*missing] or [bytes(num_records)]
        counts = (
            map(sum, zip(*flags, strict=True))
            if size == 1
            else (
                sum(each.count(1, start, start + size) for each in flags)
                for start in range(0, num_records, size)
            )
        )
        self._left = array("H" if columns * size < 1 << 16 else "Q", counts)
        self.count = self._left.count(0)

    def add(self, row: int) -> None:
        """A cell of a row is in that was not."""
        part = row // self.size
        self._left[part] -= 1
        if not self._left[part]:
            self.count += 1

    def take(self, row: int) -> None:
        """A cell of a row is not in any more."""
        part = row // self.size
        if not self._left[part]:
            self.count -= 1
        self._left[part] += 1

    def is_whole(self, part: int) -> bool:
        """True if every cell of a part is in."""
        return not self._left[part]


def ranges_of(rows: Iterable[int]) -> Ranges:
    """Rows in order, as ranges."""
    found: list[tuple[int, int]] = []
    for row in rows:
        if found and found[-1][1] == row:
            found[-1] = (found[-1][0], row + 1)
        else:
            found.append((row, row + 1))
    return tuple(found)


def flagged(flags: bytes | bytearray, offset: int = 0) -> Iterator[tuple[int, int]]:
    """The rows whose byte is 1 and not 0, as ranges in order; the first byte is of row `offset`."""
    start = flags.find(1)
    while start >= 0:
        stop = flags.find(0, start)
        if stop < 0:
            stop = len(flags)
        yield start + offset, stop + offset
        start = flags.find(1, stop)


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
