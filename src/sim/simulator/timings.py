"""How long calls waited and how old rows became, on a sample of rows, in bounded memory.

It takes 8 or 16 bytes for each cell of the sample, which has `SAMPLED_CELLS` cells or a few
more, and what `sim.simulator.row_times` says; 16 for each of its calls in this incarnation, and 24
for each of at most `KEPT_CALLS` calls.
`sim.figures` defines the sample and the figures.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias

from cellspec.graph.rules import Rules
from cellspec.state.claims import Rows, spans
from sim.figures import KEPT_CALLS, SAMPLED_CELLS
from sim.simulator.row_times import RowTimes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Ages", "Timings", "Waits", "percentiles", "place_of", "sample_every"]

SAMPLED, BEFORE_SAMPLED = 1, 2
_SETTLED = 1 << 15
"""So many starts are settled at a time."""
PERCENTS = (50, 95, 99)

BOUNDARY: Literal["left", "right"] = "right"
"""A start on the boundary of two quarters is in the later one."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The waits of a resource's calls, in seconds; None for a resource without calls.

    Attributes:
        calls: how many are looked at.
        percentiles: the 50th, 95th and 99th.
        by_quarter: the mean by quarter of the makespan.
    """

    calls: int
    total_s: float
    percentiles: tuple[float | None, ...]
    by_quarter: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Ages:
    """How old the rows of the sample became, in seconds.

    Attributes:
        rows: how many are looked at.
        total_s: their ages together.
        percentiles: the 50th, 95th and 99th.
        parts_s: where the time of all went, by part.
        calls: by column, the same percentiles of the calls that gave their cells.
    """

    rows: int = 0
    total_s: float = 0.0
    percentiles: tuple[float | None, ...] = (None,) * len(PERCENTS)
    parts_s: Mapping[str, float] = field(default_factory=dict)
    calls: Sequence[tuple[float | None, ...]] = ()


def sample_every(rows: int, columns: int) -> int:
    """Every how many rows one is in the sample: 1, or a prime number.

    A prime, so that a sample is not always the same row of a batch.
    """
    least = -(-rows * columns // SAMPLED_CELLS)
    while least > 1 and any(least % k == 0 for k in range(2, math.isqrt(least) + 1)):
        least += 1
    return least


def place_of(percent: int, count: int) -> int:
    """Among so many values in order, the place of the first that so many percent are not above."""
    return -(-percent * count // 100) - 1


def percentiles(values: Floats) -> tuple[float | None, ...]:
    """Those of `PERCENTS`, each one of the values, which are left in another order."""
    if not len(values):
        return (None,) * len(PERCENTS)
    places = [place_of(percent, len(values)) for percent in PERCENTS]
    values.partition(places)
    found: list[float] = values[places].tolist()
    return tuple(found)


class Timings:
    """Times of the sample's cells and calls.

    Args:
        rules: of the graph.
        group_of: by column, the group whose waits its calls are counted in.
        groups: for each item of `waits`, the groups whose calls it is about.
        works: by column, whether it ages a row.

    Attributes:
        every: each so many rows, one is in the sample.
        flags: by row, whether it is in the sample, and whether the row before one is, as bits;
            the second only where the order of a column makes somebody ask.
        ends: by column, when each cell of the sample got its value, or was skipped.
        held_at, held_s: by some of these starts, as places among them, a time before which its cell
            was not ready. See `held`.
        begun, begun_s: starts of flagged cells in an incarnation, each as column × rows + row,
            and their times: all that a start has time for. See `settle`.
        of_rows: where the time of its rows went.
    """

    def __init__(
        self,
        rules: Rules,
        group_of: Sequence[int],
        groups: Sequence[Sequence[int]],
        works: Sequence[bool],
    ) -> None:
        rows, columns = rules.num_records, len(rules.columns)
        self.every = every = sample_every(rows, columns)
        count = -(-rows // every)
        ordered = [rule.ordered and not rule.is_barrier for rule in rules.columns]
        self.flags = bytearray(rows)
        self.flags[::every] = bytes((SAMPLED,)) * count
        if any(ordered):
            for row in range(every - 1, rows - 1, every):
                self.flags[row] |= BEFORE_SAMPLED
        self._rows, self._group_of, self._groups, self._works = rows, group_of, groups, works
        self.ends = [array("d", bytes(8 * count)) for _ in range(columns)]
        self._before = [array("d", bytes(8 * count)) if each else None for each in ordered]
        self._waits_for = [[self.ends[need] for need in rule.needs] for rule in rules.columns]
        for mine, before in zip(self._waits_for, self._before, strict=True):
            if before is not None:
                mine.append(before)
        self.of_rows = RowTimes(rules.columns, every, self.ends, self._before)
        self._first = array("d", [math.inf]) * count
        self._starts, self._waits, self._call_groups = array("d"), array("d"), array("i")
        self._seen, self._step = 0, 1
        self.begun, self.begun_s = array("i" if rows * columns < 1 << 31 else "q"), array("d")
        self.held_at, self.held_s = array("q"), array("d")
        # By row of the sample, when its row group was admitted; empty as long as none was.
        self._admitted_s = array("d")

    def settle(self, begin_s: float) -> None:
        """Add the waits of the starts in `begun`, at the end of an incarnation from `begin_s` on.

        A cell was ready when the last cell that it waited for was made, its row group was admitted
        and the incarnation had begun, or later where `held` says so. Each of these cells is made
        once in an incarnation, so all can be looked at when it is over.
        """
        self.of_rows.began(begin_s)
        if not self.begun:
            return
        import numpy as np

        held, held_s = np.array(self.held_at, dtype=np.int64), np.array(self.held_s)
        # A part at a time: all at once would take more memory than the run did.
        for first in range(0, len(self.begun), _SETTLED):
            part = slice(first, first + _SETTLED)
            begun = np.array(self.begun[part], dtype=np.int64)
            ready_s = np.full(len(begun), begin_s)
            # What is held again is held longer.
            mine = slice(*np.searchsorted(held, (first, first + _SETTLED)))
            ready_s[held[mine] - first] = held_s[mine]
            np.maximum(ready_s, begin_s, out=ready_s)
            self._settle_starts(begun, np.array(self.begun_s[part]), ready_s)
        self._settle_rows()
        del self.begun[:], self.begun_s[:], self.held_at[:], self.held_s[:]
        self._halve()

    def _settle_rows(self) -> None:
        """Tell of all starts of an incarnation, in their order, where the time of rows went."""
        import numpy as np

        seen, starts = np.zeros((len(self.ends), len(self._first)), dtype=bool), 0
        for columns, places, _ in self._starts_of_sample(_SETTLED):
            seen[columns, places] = True
            starts += len(columns)
        # Of a cell that starts twice both starts are looked at together.
        once = starts == np.count_nonzero(seen) and not self.of_rows.has_tries
        for part in self._starts_of_sample(_SETTLED if once else len(self.begun)):
            self.of_rows.called(*part)

    def _starts_of_sample(
        self, size: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Floats]]:
        """Columns, places and times of the starts in `begun`, so many at a time."""
        import numpy as np

        for first in range(0, len(self.begun), size):
            part = slice(first, first + size)
            columns, rows = np.divmod(np.array(self.begun[part], dtype=np.int64), self._rows)
            places, beside = np.divmod(rows, self.every)
            sampled = beside == 0
            yield columns[sampled], places[sampled], np.array(self.begun_s[part])[sampled]

    def _settle_starts(self, begun: NDArray[np.int64], start_s: Floats, ready_s: Floats) -> None:
        """Add the waits of some starts, of which it is known when they were not ready before."""
        import numpy as np

        columns, rows = np.divmod(begun, self._rows)
        places, beside = np.divmod(rows, self.every)
        if beside.any():
            sampled = beside == 0
            places, columns = places[sampled], columns[sampled]
            start_s, ready_s = start_s[sampled], ready_s[sampled]
        if self._admitted_s:
            np.maximum(ready_s, np.frombuffer(self._admitted_s)[places], out=ready_s)
        self._wait_for_cells(columns, places, ready_s)
        aging = np.array(self._works)[columns]
        np.minimum.at(np.frombuffer(self._first), places[aging], start_s[aging])
        groups = np.array(self._group_of, dtype="i")[columns]
        taken = slice(-self._seen % self._step, None, self._step)
        self._seen += len(start_s)
        self._starts.frombytes(start_s[taken].tobytes())
        self._waits.frombytes((start_s - ready_s)[taken].tobytes())
        self._call_groups.frombytes(groups[taken].tobytes())

    def _wait_for_cells(
        self, columns: NDArray[np.int64], places: NDArray[np.int64], ready_s: Floats
    ) -> None:
        """Cells are not ready before the last cell that each waited for was made."""
        import numpy as np

        # A stable sort of small numbers is one by digits.
        small = columns.astype(np.min_scalar_type(len(self._waits_for)))
        by_column = np.argsort(small, kind="stable")
        edges = np.searchsorted(
            columns, np.arange(len(self._waits_for) + 1), sorter=by_column
        ).tolist()
        for column, (start, stop) in enumerate(pairwise(edges)):
            mine = by_column[start:stop]
            for ends in self._waits_for[column] if start < stop else ():
                ready_s[mine] = np.maximum(ready_s[mine], np.frombuffer(ends)[places[mine]])

    def held(self, until_s: float) -> None:
        """The cell of the last start in `begun` was not ready before that time."""
        self.held_at.append(len(self.begun) - 1)
        self.held_s.append(until_s)

    def admitted(self, start: int, stop: int, t: float) -> None:
        """The row group ``[start, stop)`` was admitted."""
        if not self._admitted_s:
            self._admitted_s = array("d", bytes(8 * len(self._first)))
        first, last = -(-start // self.every), -(-stop // self.every)
        self._admitted_s[first:last] = array("d", [t]) * (last - first)

    def called(self, column: int, start: int, stop: int, t: float, held_s: float) -> None:
        """Rows ``[start, stop)`` start as one call, the first of them not ready before `held_s`."""
        if stop > start + 1:
            self.of_rows.called_rows(column, start, stop, t)
        if stop > start + 1 and self._works[column]:
            every = self.every
            for place in range(-(-start // every), -(-stop // every)):
                self._first[place] = min(self._first[place], t)
        if self.flags[start] & SAMPLED:
            self.begun.append(column * self._rows + start)
            self.begun_s.append(t)
            if held_s:
                self.held(held_s)

    def _halve(self) -> None:
        """Leave every second call out while there are too many."""
        while len(self._waits) > KEPT_CALLS:
            del self._starts[1::2], self._waits[1::2], self._call_groups[1::2]
            self._step *= 2

    def ended(self, column: int, row: int, t: float) -> None:
        """A flagged cell got its value, or was skipped."""
        flags = self.flags[row]
        if flags & SAMPLED:
            self.ends[column][row // self.every] = t
        if flags & BEFORE_SAMPLED:
            before = self._before[column]
            if before is not None:
                before[(row + 1) // self.every] = t

    def ended_rows(self, column: int, start: int, stop: int, t: float) -> None:
        """Cells of rows ``[start, stop)`` of a barrier column got their values."""
        first, last = -(-start // self.every), -(-stop // self.every)
        self.ends[column][first:last] = array("d", [t]) * (last - first)

    # What it comes to

    def waits(self, makespan_s: float) -> list[Waits]:
        """By item of `groups`, of all incarnations; that of each is settled."""
        import numpy as np

        of_call = np.frombuffer(self._call_groups, dtype="i")
        starts, waits = np.frombuffer(self._starts), np.frombuffer(self._waits)
        is_mine = np.zeros((len(self._groups), 1 + max(chain(self._group_of, *self._groups))), bool)
        for mine, groups in zip(is_mine, self._groups, strict=True):
            mine[list(groups)] = True
        each = (mine[of_call] for mine in is_mine)
        return [_waits(starts, waits, mine, makespan_s) for mine in each]

    def ages(self, rows: Rows, dropped: Iterable[int]) -> Ages:
        """How old those of `rows` became that were not dropped, and why."""
        import numpy as np

        every, columns = self.every, range(len(self.ends))
        parts = (slice(-(-start // every), -(-stop // every)) for start, stop in spans(rows))
        wanted = np.isfinite(np.frombuffer(self._first))
        kept = np.zeros(len(wanted), dtype=bool)
        for part in parts:
            kept[part] = True
        kept[[row // every for row in dropped if row % every == 0]] = False
        delivered, places = kept.nonzero()[0], (kept & wanted).nonzero()[0]
        first = np.frombuffer(self._first)[places]
        last = np.zeros(len(places))
        for ends in self.ends:
            last = np.maximum(last, np.frombuffer(ends)[places])
        found = last - first
        return Ages(
            len(found),
            math.fsum(found.data),
            percentiles(found),
            self.of_rows.parts_s(places, first),
            [percentiles(self.of_rows.call_s(column, delivered)) for column in columns],
        )


def _three_quarters(makespan_s: float) -> float:
    """The first number that is not before three quarters of the makespan."""
    found = 3 * makespan_s / 4
    exact = 3 * Fraction(makespan_s) / 4
    return found if Fraction(found) >= exact else math.nextafter(found, math.inf)


def _waits(starts: Floats, waits: Floats, mine: NDArray[np.bool_], makespan_s: float) -> Waits:
    """The waits of those calls that are `mine`; each copy is let go before the next is made."""
    import numpy as np

    bounds = (makespan_s / 4, makespan_s / 2, _three_quarters(makespan_s))
    quarters = np.searchsorted(bounds, starts[mine], side=BOUNDARY)
    counts = np.bincount(quarters, minlength=4).tolist()
    found = waits[mine]
    # One after the other, in the order of the starts.
    sums = np.bincount(quarters, weights=found, minlength=4).tolist()
    del quarters
    return Waits(
        len(found),
        math.fsum(found.data),
        percentiles(found),
        tuple(s / n if n else None for s, n in zip(sums, counts, strict=True)),
    )
