"""The outcomes of calls: failures, skipped cells, backoffs, each a draw from the run's seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cellspec.errors import SpecError
from cellspec.machine.actions import Failure
from sim.draws import unit, units

__all__ = ["CallOutcomes", "ColumnRates", "DrawnOutcomes"]

BLOCK_SHIFT = 10
BLOCK_MASK = (1 << BLOCK_SHIFT) - 1
"""The outcomes of so many calls of a column, and one more, are drawn together."""

KEPT_BLOCKS = 32
"""So many such blocks are kept, of each column and each number of a call."""

SPARSE = 1 / 16
"""Below this share of the rows that come to a call of that number, each is drawn for itself."""

DENSE_CALLS = 16
"""And beyond this number of a call."""


class CallOutcomes(Protocol):
    """How calls end; each answer is a function of the seed and its arguments alone."""

    def of_cell(self, column: int, row: int, call: int) -> Failure | None:
        """How the n-th call of a cell in an incarnation fails; None if it ends well."""

    def of_first_calls(self, column: int) -> Callable[[int], Failure | None] | None:
        """``of_cell(column, row, 1)`` by row, for this incarnation; None if all of it are None."""

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


def _dense_calls(rates: ColumnRates) -> int:
    """Up to which call of a cell so many rows come that a block of them is drawn together."""
    share = rates.permanent + rates.retryable + rates.backpressure
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
        self._first_s, self._factor, self._most_s = first_s, factor, most_s
        self._jitter = jitter
        self._recorded = recorded
        # By column, up to which call blocks of rows are drawn.
        self._dense = [_dense_calls(each) for each in columns]
        # By column and call, blocks of rows.
        self._blocks: dict[tuple[int, int], dict[int, list[Failure | None]]] = {}
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
        if call <= self._dense[column]:
            return self._from_block(column, row, call)
        return self._outcome(column, row, call, 0)

    def of_first_calls(self, column: int) -> Callable[[int], Failure | None] | None:
        if not self._dense[column]:
            if self._recorded is None:
                return None
            return lambda row: self._outcome(column, row, 1, 0)
        kept = self._blocks.setdefault((column, 1), {})

        def of_row(row: int) -> Failure | None:
            try:
                return kept[row >> BLOCK_SHIFT][row & BLOCK_MASK]
            except KeyError:
                return self._from_block(column, row, 1)

        return of_row

    def _from_block(self, column: int, row: int, call: int) -> Failure | None:
        kept = self._blocks.setdefault((column, call), {})
        block = row >> BLOCK_SHIFT
        found = kept.get(block)
        if found is None:
            if len(kept) >= KEPT_BLOCKS:
                del kept[next(iter(kept))]
            found = kept[block] = self._draw(column, block, call)
        return found[row & BLOCK_MASK]

    def _draw(self, column: int, block: int, call: int) -> list[Failure | None]:
        """How calls of consecutive cells fail."""
        size, rates = BLOCK_MASK + 1, self._columns[column]
        found: list[Failure | None] = [None] * size
        kinds: list[tuple[float, Failure]] = [
            (rates.permanent, "permanent"),
            (rates.retryable, "retryable"),
            (rates.backpressure, "backpressure"),
        ]
        u = units((self._seed, column), block * size, size, (call, 0, *self._anew))
        others = u >= 0
        for rate, failure in kinds:
            for place in (others & (u < rate)).nonzero()[0].tolist():
                found[place] = failure
            others &= u >= rate
            u = u - rate
        if self._recorded is not None:
            for place in others.nonzero()[0].tolist():
                found[place] = self._recorded(column, block * size + place, call, barrier=False)
        return found

    def of_barrier(self, column: int, scope: int, call: int) -> Failure | None:
        return self._outcome(column, scope, call, 1)

    def _outcome(self, column: int, place: int, call: int, kind: int) -> Failure | None:
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
        kept: dict[int, list[bool]] = {}

        def of_row(row: int) -> bool:
            try:
                return kept[row >> BLOCK_SHIFT][row & BLOCK_MASK]
            except KeyError:
                if len(kept) >= KEPT_BLOCKS:
                    del kept[next(iter(kept))]
                first = row & ~BLOCK_MASK
                u = units((self._seed, column), first, BLOCK_MASK + 1, (0, 2))
                kept[row >> BLOCK_SHIFT] = (u < rate).tolist()
                return kept[row >> BLOCK_SHIFT][row & BLOCK_MASK]

        return of_row

    def backoff_s(self, column: int, place: int, call: int, failure: Failure) -> float:  # noqa: ARG002
        backoff = min(self._most_s, self._first_s * self._factor ** min(call - 1, 60))
        if self._jitter:
            u = unit(self._seed, column, place, call, 3, *self._anew)
            backoff *= 1 + self._jitter * (2 * u - 1)
        return backoff
