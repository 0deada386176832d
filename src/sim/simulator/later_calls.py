"""The times of second and later calls of cells, which come to ever fewer rows.

The blocks in which they are drawn are the dearer the fewer of their rows are asked for, and rows
come to their calls in places far apart. Which rows have one is known before: those whose calls
before fail. So the later calls of a part of the rows are drawn together, each block once, and what
is kept are the calls that will be made.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from sim.simulator.call_outcomes import CallOutcomes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sim.draws import Floats

__all__ = ["InBlocks", "LaterCalls"]

_SHIFT = 12
_ROWS = 1 << _SHIFT
_MASK = _ROWS - 1
"""The later calls of so many rows, and one more, are drawn together; two bytes can count them."""

LAST = 16
"""Later calls than this one are drawn each for itself."""

_KEPT = 1 << 23
"""So many calls are kept, of 8 bytes each; those of older parts are drawn each for itself too."""

_Part: TypeAlias = "tuple[array[int], array[float]]"
"""By row of a part, how many calls come before its own; and two zeros, then the calls by row."""


@runtime_checkable
class InBlocks(Protocol):
    """Latencies that come in blocks of rows."""

    def block_rows(self, attempt: int) -> int:
        """How many rows a block has."""

    def of_rows(self, column: int, rows: NDArray[np.uint64], attempt: int) -> Floats:
        """The latencies of some rows, in ascending order, in one attempt."""


class LaterCalls:
    """The later calls of one incarnation.

    Args:
        latency: how long each call takes.
        outcomes: how it ends.
        rows: of the dataset.
    """

    def __init__(self, latency: InBlocks, outcomes: CallOutcomes, rows: int) -> None:
        self._latency, self._outcomes, self._rows = latency, outcomes, rows
        # All that is kept, the oldest first: parts of a column, those forgotten, the number of one.
        self._kept: deque[tuple[dict[int, _Part], set[int], int]] = deque()
        self._room = _KEPT

    def of(self, column: int, one: Callable[[int, int], float]) -> Callable[[int, int], float]:
        """Of a column, by row and number of a call: its seconds; negative if it fails.

        Args:
            column: by position.
            one: the same, asked for by itself.
        """
        parts: dict[int, _Part] = {}
        forgotten: set[int] = set()

        def get(row: int, call: int) -> float:
            if call > LAST:
                return one(row, call)
            try:
                starts, times = parts[row >> _SHIFT]
            except KeyError:
                # Of what is old, few calls are left to be made.
                if row >> _SHIFT in forgotten:
                    return one(row, call)
                starts, times = self._keep(column, row >> _SHIFT, parts, forgotten)
            return times[starts[row & _MASK] + call]

        return get

    def _keep(
        self, column: int, number: int, parts: dict[int, _Part], forgotten: set[int]
    ) -> _Part:
        """Draw a part, and forget the oldest while too much is kept."""
        found = parts[number] = self._draw(column, number << _SHIFT)
        self._kept.append((parts, forgotten, number))
        self._room -= len(found[1])
        while self._room < 0 and len(self._kept) > 1:
            others, gone, oldest = self._kept.popleft()
            self._room += len(others.pop(oldest)[1])
            gone.add(oldest)
        return found

    def _draw(self, column: int, first: int) -> _Part:
        """The later calls of the rows of a part, each to the first that ends well."""
        import numpy as np

        left = np.arange(first, min(first + _ROWS, self._rows), dtype=np.uint64)
        fails = self._outcomes.failing(column, left, 1)
        of_rows, times, call = [left[:0]], [np.zeros(0)], 2
        while call <= LAST and len(left := left[fails]):
            seconds = self._latency.of_rows(column, left, call)
            fails = self._outcomes.failing(column, left, call)
            np.negative(seconds, out=seconds, where=fails)
            of_rows.append(left)
            times.append(seconds)
            call += 1
        places = (np.concatenate(of_rows) - np.uint64(first)).astype(np.int64)
        counts = np.bincount(places, minlength=_ROWS)
        by_row = np.concatenate(times)[np.argsort(places, kind="stable")]
        # The second call of a row is its first one here: two places are left free.
        starts = (np.cumsum(counts) - counts).astype("H")
        return array("H", starts.tobytes()), array("d", bytes(16) + by_row.tobytes())
