"""The times of calls: how long each call of a cell takes, and in its sign whether it fails.

Both are functions of the seed, known before the call. So whoever starts a cell reads one number,
and only for a negative one looks closer: at whether the cell was tried before, and, when the call
ends, at how it fails.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from functools import partial

from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.latency import Latency
from sim.simulator.later_calls import InBlocks, LaterCalls

__all__ = ["CallTimes"]

_KEPT_ROWS = 1 << 15
"""Of about so many rows of each column, first calls are kept."""


class CallTimes:
    """The times of the calls of one incarnation.

    Args:
        latency: how long each call takes.
        outcomes: how it ends; None if every call ends well.
        rows: of the dataset.
        columns: how many there are.

    Attributes:
        first: by column, of the first call of a cell, by row: its seconds; negative if it fails.
        later: by column, the same of the second and later calls, by row and number of the call.
    """

    def __init__(
        self, latency: Latency, outcomes: CallOutcomes | None, rows: int, columns: int
    ) -> None:
        self._rows = rows
        self.first: list[Callable[[int], float]] = []
        self.later: list[Callable[[int, int], float]] = []
        in_blocks = latency if isinstance(latency, InBlocks) else None
        together = LaterCalls(in_blocks, outcomes, rows) if outcomes and in_blocks else None
        for column in range(columns):
            first = latency.reader(column)
            later: Callable[[int, int], float] = partial(_one, latency, outcomes, column)
            if outcomes is not None and outcomes.may_fail(column):
                first = partial(_one, latency, outcomes, column, call=1)
                if in_blocks is not None and together is not None and outcomes.foresees(column):
                    first = self._of_blocks(in_blocks, outcomes, column)
                    later = together.of(column, later)
            self.first.append(first)
            self.later.append(later)

    def _of_blocks(
        self, latency: InBlocks, outcomes: CallOutcomes, column: int
    ) -> Callable[[int], float]:
        """`first` of a column."""
        size, total = latency.block_rows(1), self._rows
        shift, mask, most = size.bit_length() - 1, size - 1, _KEPT_ROWS // size
        kept: dict[int, array[float]] = {}
        # By block that was drawn, which calls fail, a bit a row: it may be drawn again and again.
        known: dict[int, bytes] = {}

        def draw(block: int) -> array[float]:
            import numpy as np

            rows = np.arange(block * size, min((block + 1) * size, total), dtype=np.uint64)
            if block not in known:
                known[block] = np.packbits(outcomes.failing(column, rows, 1)).tobytes()
            bits = np.frombuffer(known[block], np.uint8)
            seconds = latency.of_rows(column, rows, 1)
            np.negative(seconds, out=seconds, where=np.unpackbits(bits, count=len(rows)) > 0)
            if len(kept) >= most:
                del kept[next(iter(kept))]
            found = kept[block] = array("d", seconds.tobytes())
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


def _one(
    latency: Latency, outcomes: CallOutcomes | None, column: int, row: int, call: int
) -> float:
    """A call that is asked for by itself: its seconds; negative if it fails."""
    seconds = latency.get(column, row, call)
    fails = outcomes is not None and outcomes.of_cell(column, row, call) is not None
    return -seconds if fails else seconds
