"""Where the time of rows went, on a sample of rows, in bounded memory.

A row is as old as the chain of cells that ended last: each cell of it waited for the one before.
So it is enough to keep, of each cell of the sample, the moments of the call that gave it: 8 bytes,
8 more where calls fail, 8 more after a crash, 16 with a scheduler that takes time, and 40
behind an endpoint. Nothing is kept for that while events happen, but at the end of an incarnation;
an endpoint's moments are kept as calls leave it. `sim.figures` defines the parts.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from cellspec.graph.rules import ColumnRule
from cellspec.state.claims import Claim, spans
from sim.endpoints.request import Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Places: TypeAlias = NDArray[np.int64]

__all__ = ["ROW_PARTS", "RowTimes"]

ROW_PARTS = (
    "redone",
    "order",
    "waiting",
    "retries",
    "scheduler",
    "outage",
    "line",
    "refused",
    "queue",
    "prefill",
    "decode",
    "running",
    "barrier",
)
"""Where the time of a row goes."""

AT_ONCE = 1 << 12
"""So many rows are looked at together."""

WAY = 5
"""Moments of a call at an endpoint: begun anew, first sent, accepted, served, decoding."""


class RowTimes:
    """The moments of the sample's cells. Times in seconds.

    Args:
        columns: the rules of the graph's columns.
        every: each so many rows, one is in the sample.
        ends: by column, when each cell of the sample got its value, or was skipped.
        before: by column, when the cell of the row before did; None where no order is kept.
    """

    def __init__(
        self,
        columns: Sequence[ColumnRule],
        every: int,
        ends: Sequence[array[float]],
        before: Sequence[array[float] | None],
    ) -> None:
        self._columns, self._every, self._ends, self._before = columns, every, ends, before
        self._count = len(ends[0]) if ends else 0
        # By column and cell: its last start, its first one in the same incarnation if it was
        # started again, and when the incarnation began that made it, if a claim holds it.
        self._moments: dict[Literal["start", "try", "begin"], Floats] = {}
        self._begin_s = 0.0
        # By column, when the scheduler let a call go, and when it was through.
        self._entered: dict[int, array[float]] = {}
        self._answered: dict[int, array[float]] = {}
        self._behind: set[int] = set()
        self._ways: dict[int, array[float]] = {}

    # What happens

    def began(self, begin_s: float) -> None:
        """The incarnation that is over began then."""
        self._begin_s = begin_s

    @property
    def has_tries(self) -> bool:
        """True if a call before the last of its cell, or a range, was noted."""
        return "try" in self._moments

    def called(self, columns: Places, places: Places, start_s: Floats) -> None:
        """Cells were started in an incarnation, in this order; some of them perhaps again."""
        cells = columns * self._count + places
        # Of equal cells the last one counts.
        starts = self._of("start", -math.inf).reshape(-1)
        starts[cells] = _later(starts[cells], start_s)
        if (starts[cells] > start_s).any():
            tries = self._of("try", math.inf).reshape(-1)
            tries[cells[::-1]] = _earlier(tries[cells], start_s)[::-1]

    def called_rows(self, column: int, start: int, stop: int, t: float) -> None:
        """Rows ``[start, stop)`` were started as one call."""
        part = self._part(start, stop)
        tries = self._of("try", math.inf)[column]
        self._of("start", -math.inf)[column][part] = t
        tries[part] = _earlier(tries[part], t)

    def resumed(self, claim: Claim) -> None:
        """The process crashed and resumes; what `claim` does not hold is to be made again."""
        import numpy as np

        lost = np.ones((len(claim), self._count), dtype=bool)
        for column, rows in enumerate(claim):
            for start, stop in spans(rows):
                lost[column, self._part(start, stop)] = False
        begins = self._of("begin", math.nan)
        begins[~lost & np.isnan(begins)] = self._begin_s
        for moment, nothing in (("start", -math.inf), ("try", math.inf)):
            if moment in self._moments:
                self._moments[moment][lost] = nothing

    def behind(self, columns: Iterable[int]) -> None:
        """These columns are behind an endpoint: what is not said of their calls is decode."""
        self._behind.update(columns)

    def entered(self, column: int, start: int, stop: int, t: float) -> None:
        """The scheduler let a call go."""
        self._note(self._entered, column, start, stop, (t,))

    def answered(self, column: int, start: int, stop: int, t: float) -> None:
        """A call is through, and its end waits for the scheduler."""
        self._note(self._answered, column, start, stop, (t,))

    def went(self, column: int, start: int, stop: int, request: Request) -> None:
        """A call has its answer from an endpoint; need not be told of one that waited nowhere."""
        if stop == start + 1 and start % self._every:
            return
        first_s = request.first_sent_s
        moments = (
            request.entered_s,
            request.sent_s if math.isnan(first_s) else first_s,
            request.accepted_s,
            request.served_s,
            request.decoding_s,
        )
        self._note(self._ways, column, start, stop, moments)

    def _part(self, start: int, stop: int) -> slice:
        return slice(-(-start // self._every), -(-stop // self._every))

    def _of(self, moment: Literal["start", "try", "begin"], nothing: float) -> Floats:
        import numpy as np

        if moment not in self._moments:
            self._moments[moment] = np.full((len(self._columns), self._count), nothing)
        return self._moments[moment]

    def _note(
        self,
        moments: dict[int, array[float]],
        column: int,
        start: int,
        stop: int,
        values: tuple[float, ...],
    ) -> None:
        part = self._part(start, stop)
        rows, size = part.stop - part.start, len(values)
        if rows:
            if column not in moments:
                moments[column] = array("d", bytes(8 * size * self._count))
            moments[column][part.start * size : part.stop * size] = array("d", values) * rows

    # What it comes to

    def call_s(self, column: int, places: Places) -> Floats:
        """How long each call took that gave a cell of these, up to its value."""
        import numpy as np

        start_s = self._of("start", -math.inf)[column][places]
        taken: Floats = (np.frombuffer(self._ends[column])[places] - start_s)[start_s > -math.inf]
        return taken

    def parts_s(self, places: Places, first_s: Floats) -> dict[str, float]:
        """The sum over rows of the seconds in each of `ROW_PARTS`, from `first_s` of each on.

        Looks at the cell of each row that ended last, and goes back from each cell to the one of
        those that it needs that ended last, and not after it; of equal ones the first column.
        """
        sums = dict.fromkeys(ROW_PARTS, 0.0)
        for start in range(0, len(places), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            self._add_chains(places[part], first_s[part], sums)
        return sums

    def _add_chains(self, places: Places, first_s: Floats, sums: dict[str, float]) -> None:
        import numpy as np

        ends = [np.frombuffer(each)[places] for each in self._ends]
        at = np.argmax(np.stack(ends), axis=0)
        for column in reversed(range(len(ends))):
            mine = (at == column).nonzero()[0]
            if not len(mine):
                continue
            end_s = ends[column][mine]
            since_s, before = np.full(len(mine), -math.inf), np.full(len(mine), -1)
            for need in sorted(self._columns[column].needs):
                other = ends[need][mine]
                later = (other <= end_s) & (other > since_s)
                since_s[later], before[later] = other[later], need
            at[mine] = before
            first = first_s[mine]
            span = _Span(np.maximum(since_s, first), np.maximum(end_s, first), sums)
            self._divide(span, column, places[mine])

    def _divide(self, span: _Span, column: int, places: Places) -> None:
        """Where the time went from the end of the cell before to the end of each of these."""
        import numpy as np

        if "begin" in self._moments:
            begins = self._moments["begin"][column][places]
            span.take("redone", np.where(np.isnan(begins), self._begin_s, begins))
        rule = self._columns[column]
        if rule.is_barrier:
            span.take("barrier")
            return
        start_s = self._of("start", -math.inf)[column][places]
        # A skipped cell has no call.
        start_s = np.where(start_s > -math.inf, start_s, math.inf)
        tried_s = start_s
        if "try" in self._moments:
            tried_s = _earlier(start_s, self._moments["try"][column][places])
        before = self._before[column]
        if before is not None:
            # In a range the row before may end after this one began.
            turn_s = np.frombuffer(before)[places]
            span.take("order", np.where(turn_s <= tried_s, turn_s, -math.inf))
        span.take("waiting", tried_s)
        span.take("retries", start_s)
        if column in self._entered:
            span.take("scheduler", np.frombuffer(self._entered[column])[places])
        last, own = "running", span.end_s
        if column in self._answered:
            own = np.frombuffer(self._answered[column])[places]
        if column in self._behind:
            last = "decode"
        if column in self._ways:
            # Of a call that is not told of, moments of earlier ones are before its start.
            way = np.frombuffer(self._ways[column]).reshape(-1, WAY)[places]
            for part, moment in zip(ROW_PARTS[5:10], way.T, strict=True):
                span.take(part, moment)
        span.take(last, own)
        span.take("scheduler")


class _Span:
    """Stretches of time that are divided from their beginnings on."""

    def __init__(self, since_s: Floats, end_s: Floats, sums: dict[str, float]) -> None:
        self._since_s, self.end_s, self._sums = since_s, end_s, sums

    def take(self, part: str, until_s: Floats | None = None) -> None:
        """The time up to a moment, as far as it is within the stretch, is that part's."""
        import numpy as np

        until = self.end_s
        if until_s is not None:
            until = np.minimum(np.maximum(until_s, self._since_s), self.end_s)
        self._sums[part] += float((until - self._since_s).sum())
        self._since_s = until


def _later(these: Floats, those: Floats) -> Floats:
    import numpy as np

    found: Floats = np.maximum(these, those)
    return found


def _earlier(these: Floats, those: Floats | float) -> Floats:
    import numpy as np

    found: Floats = np.minimum(these, those)
    return found
