"""The times of calls: how long each call of a cell takes, and in its sign whether it fails.

Both are functions of the seed, known before the call. So whoever starts a cell reads one number,
and only for a negative one looks closer: at whether the cell was tried before, and, when the call
ends, at how it fails.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.latency import Latency

__all__ = ["CallTimes"]

_KEPT_ROWS = 1 << 15
"""About so many rows are kept, of each column and each number of a call."""


@runtime_checkable
class _InBlocks(Protocol):
    """Latencies that come in blocks of rows."""

    def block(self, column: int, block: int, attempt: int = 1) -> list[float]:
        """The latencies of consecutive rows; the last block may be short."""

    def block_rows(self, attempt: int) -> int:
        """How many rows a block has."""


class CallTimes:
    """The times of the calls of one incarnation.

    Args:
        latency: how long each call takes.
        outcomes: how it ends; None if every call ends well.

    Attributes:
        later: by column and number of a call, as far as was asked, `of` by row.
    """

    def __init__(self, latency: Latency, outcomes: CallOutcomes | None) -> None:
        self._latency, self._outcomes = latency, outcomes
        self.later: defaultdict[int, list[Callable[[int], float]]] = defaultdict(list)

    def first(self, column: int) -> Callable[[int], float]:
        """Of the first call of each cell of a column, by row: its seconds; negative if it fails."""
        outcomes = self._outcomes
        if outcomes is None or not outcomes.may_fail(column):
            return self._latency.reader(column)
        return self._reader(outcomes, column, 1)

    def of(self, column: int, row: int, call: int) -> float:
        """The same of any call of a cell."""
        known = self.later[column]
        while len(known) <= call:
            assert self._outcomes is not None
            known.append(self._reader(self._outcomes, column, len(known)))
        return known[call](row)

    def _reader(self, outcomes: CallOutcomes, column: int, call: int) -> Callable[[int], float]:
        latency = self._latency
        if not isinstance(latency, _InBlocks) or outcomes.failing(column, call, 0, 0) is None:

            def one(row: int) -> float:
                seconds = latency.get(column, row, call)
                return seconds if outcomes.of_cell(column, row, call) is None else -seconds

            return one
        in_blocks, size = latency, latency.block_rows(call)
        shift, mask, most = size.bit_length() - 1, size - 1, _KEPT_ROWS // size
        kept: dict[int, list[float]] = {}

        def draw(block: int) -> list[float]:
            if len(kept) >= most:
                del kept[next(iter(kept))]
            found = kept[block] = in_blocks.block(column, block, call).copy()
            first = block * size
            for row in outcomes.failing(column, call, first, first + len(found)) or ():
                found[row - first] = -found[row - first]
            return found

        def get(row: int) -> float:
            try:
                return kept[row >> shift][row & mask]
            except KeyError:
                return draw(row >> shift)[row & mask]

        return get

    @staticmethod
    def fails(seconds: float) -> bool:
        """True if a call of so many seconds, which are not above 0, fails."""
        return math.copysign(1.0, seconds) < 0
