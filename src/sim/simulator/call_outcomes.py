"""The outcomes of calls: failures, skipped cells, backoffs, each a draw from the run's seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cellspec.errors import SpecError
from cellspec.machine.actions import Failure
from sim.draws import unit, units

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CallOutcomes", "ColumnRates", "DrawnOutcomes"]

BLOCK_SHIFT = 10
BLOCK_MASK = (1 << BLOCK_SHIFT) - 1
"""The outcomes of so many calls of a column, and one more, are drawn together."""

KEPT_BLOCKS = 256
"""So many such blocks are kept, of each column and each number of a call."""

SPARSE = 1 / 16
"""Below this share of the rows that come to a call of that number, each is drawn for itself."""

DENSE_CALLS = 16
"""And beyond this number of a call."""

_FEW = 12
"""Fewer calls than these are drawn one by one in less time than together."""

_ENDS: tuple[Failure | None, ...] = (None, "permanent", "retryable", "backpressure", "timeout")
"""How a call may end, in the order in which a draw is looked at."""


class CallOutcomes(Protocol):
    """How calls end; each answer is a function of the seed and its arguments alone.

    Attributes:
        backoffs_s: what `backoff_s` says after the n-th call, by n - 1, as far as that is all that
            it depends on.
    """

    backoffs_s: Sequence[float]

    def of_cell(self, column: int, row: int, call: int) -> Failure | None:
        """How the n-th call of a cell in an incarnation fails; None if it ends well."""

    def may_fail(self, column: int) -> bool:
        """True if a call of some cell of the column may fail."""

    def only_failure(self, column: int) -> Failure | None:
        """How calls of cells of the column fail, if all that fail do so alike; None if not."""

    def foresees(self, column: int) -> bool:
        """True if `failing` knows it of cells of the column."""

    def failing(self, column: int, rows: NDArray[np.uint64], call: int) -> NDArray[np.bool_]:
        """Of some rows, whether the n-th call of each fails."""

    def of_barrier(self, column: int, scope: int, call: int) -> Failure | None:
        """How the n-th run of a barrier node fails; None if it ends well."""

    def skips(self, column: int, row: int) -> bool:
        """True if the column's own condition skips the cell."""

    def of_skips(self, column: int) -> Callable[[int], bool] | None:
        """``skips(column, row)`` by row; None if no cell of the column is."""

    def backoff_s(self, column: int, place: int, call: int, failure: Failure) -> float:
        """The seconds from a failure of a node to its next try."""


@dataclass(frozen=True, slots=True)
class ColumnRates:
    """How often calls of a column fail, by kind, and how often its own condition skips a cell."""

    retryable: float = 0.0
    backpressure: float = 0.0
    permanent: float = 0.0
    skip: float = 0.0


def _dense_calls(share: float) -> int:
    """Up to which call of a cell so many rows come that a block of them is drawn together.

    Args:
        share: of the calls that fail.
    """
    if share >= 1:
        return DENSE_CALLS
    return min(DENSE_CALLS, 1 + int(math.log(SPARSE) / math.log(share))) if share else 0


class DrawnOutcomes:
    """CallOutcomes drawn from a seed at given rates.

    Any number of calls of a node may be answered with back-pressure, so that the share of calls is
    the rate; with a rate of 1 every call would fail, for ever (clause SCHED-12 supposes
    finitely many).

    Args:
        seed: of the run.
        columns: the rates, by column.
        first_s, factor, most_s: the backoff after the n-th failure of a node is
            ``first_s * factor ** (n - 1)`` seconds, at most `most_s`.
        jitter: the share of that by which it may be longer or shorter, drawn.
        recorded: the failures of replayed requests, from
            `sim.scenario.sampler.LatencySource.failure`; None if no column replays any.

    Raises:
        SpecError: a column whose every call is answered with back-pressure.
    """

    def __init__(
        self,
        seed: int,
        columns: Sequence[ColumnRates],
        *,
        first_s: float = 1.0,
        factor: float = 2.0,
        most_s: float = 60.0,
        jitter: float = 0.0,
        recorded: Callable[..., Failure | None] | None = None,
    ) -> None:
        if any(rates.backpressure >= 1 for rates in columns):
            raise SpecError("a column whose every call is answered with back-pressure never ends")
        self._seed = seed
        self._columns = columns
        self._rests_s = [min(most_s, first_s * factor**count) for count in range(61)]
        self.backoffs_s: Sequence[float] = () if jitter else self._rests_s
        self._jitter = jitter
        self._recorded = recorded
        # By column, up to which call blocks of rows are drawn.
        shares = [each.permanent + each.retryable + each.backpressure for each in columns]
        self._dense = [_dense_calls(share) for share in shares]
        self._may_fail = [share > 0 or recorded is not None for share in shares]
        # By column and call, blocks of rows.
        self._blocks: dict[tuple[int, int], dict[int, bytes]] = {}
        # An incarnation that draws anew adds its number to the keys; the first never does.
        self._anew: tuple[int, ...] = ()

    def begin(self, incarnation: int) -> None:
        """Draw failures and backoffs anew for an incarnation.

        Which cells are skipped stays: a condition reads the row's values, and those that were
        saved are the same.
        """
        self._anew = (incarnation,) if incarnation else ()
        self._blocks.clear()

    def of_cell(self, column: int, row: int, call: int) -> Failure | None:
        if call > self._dense[column]:
            return self._outcome(column, row, call, 0)
        try:
            return _ENDS[self._blocks[column, call][row >> BLOCK_SHIFT][row & BLOCK_MASK]]
        except KeyError:
            return _ENDS[self._block(column, row >> BLOCK_SHIFT, call)[row & BLOCK_MASK]]

    def may_fail(self, column: int) -> bool:
        return self._may_fail[column]

    def only_failure(self, column: int) -> Failure | None:
        rates = self._columns[column]
        kinds: list[Failure] = []
        kinds += ["permanent"] if rates.permanent else []
        kinds += ["retryable"] if rates.retryable else []
        kinds += ["backpressure"] if rates.backpressure else []
        return kinds[0] if len(kinds) == 1 and self._recorded is None else None

    def foresees(self, column: int) -> bool:  # noqa: ARG002
        return True

    def failing(self, column: int, rows: NDArray[np.uint64], call: int) -> NDArray[np.bool_]:
        return self._codes(column, rows, call) > 0

    def _block(self, column: int, block: int, call: int) -> bytes:
        """How calls of consecutive cells end, a byte each, as places in `_ENDS`."""
        import numpy as np

        kept = self._blocks.setdefault((column, call), {})
        if len(kept) >= KEPT_BLOCKS:
            del kept[next(iter(kept))]
        first = block << BLOCK_SHIFT
        rows = np.arange(first, first + BLOCK_MASK + 1, dtype=np.uint64)
        found = kept[block] = self._codes(column, rows, call).tobytes()
        return found

    def _codes(self, column: int, rows: NDArray[np.uint64], call: int) -> NDArray[np.uint8]:
        """How the n-th calls of some cells end, as places in `_ENDS`."""
        import numpy as np

        if len(rows) < _FEW:
            each = (self._outcome(column, row, call, 0) for row in rows.tolist())
            return np.array([_ENDS.index(end) for end in each], np.uint8)
        found, rates = np.zeros(len(rows), np.uint8), self._columns[column]
        u = units((self._seed, column), rows, (call, 0, *self._anew))
        for code, rate in enumerate((rates.permanent, rates.retryable, rates.backpressure), 1):
            if rate:
                found[(found == 0) & (u < rate)] = code
                u = u - rate
        if self._recorded is not None:
            for place in (found == 0).nonzero()[0].tolist():
                row = int(rows[place])
                found[place] = _ENDS.index(self._recorded(column, row, call, barrier=False))
        return found

    def of_barrier(self, column: int, scope: int, call: int) -> Failure | None:
        return self._outcome(column, scope, call, 1)

    def _outcome(self, column: int, place: int, call: int, kind: int) -> Failure | None:
        if not self._may_fail[column]:
            return None
        rates = self._columns[column]
        u = unit(self._seed, column, place, call, kind, *self._anew)
        if u < rates.permanent:
            return "permanent"
        u -= rates.permanent
        if u < rates.retryable:
            return "retryable"
        u -= rates.retryable
        if u < rates.backpressure:
            return "backpressure"
        if self._recorded is None:
            return None
        return self._recorded(column, place, call, barrier=kind == 1)

    def skips(self, column: int, row: int) -> bool:
        rate = self._columns[column].skip
        return rate > 0 and unit(self._seed, column, row, 0, 2) < rate

    def of_skips(self, column: int) -> Callable[[int], bool] | None:
        rate = self._columns[column].skip
        if not rate:
            return None
        import numpy as np

        kept: dict[int, list[bool]] = {}

        def of_row(row: int) -> bool:
            try:
                return kept[row >> BLOCK_SHIFT][row & BLOCK_MASK]
            except KeyError:
                if len(kept) >= KEPT_BLOCKS:
                    del kept[next(iter(kept))]
                first = row & ~BLOCK_MASK
                rows = np.arange(first, first + BLOCK_MASK + 1, dtype=np.uint64)
                u = units((self._seed, column), rows, (0, 2))
                kept[row >> BLOCK_SHIFT] = (u < rate).tolist()
                return kept[row >> BLOCK_SHIFT][row & BLOCK_MASK]

        return of_row

    def backoff_s(self, column: int, place: int, call: int, failure: Failure) -> float:  # noqa: ARG002
        backoff = self._rests_s[min(call - 1, 60)]
        if self._jitter:
            u = unit(self._seed, column, place, call, 3, *self._anew)
            backoff *= 1 + self._jitter * (2 * u - 1)
        return backoff
