"""The costs of values that a crash may lose: the worker time that each of them took.

A cell or barrier node that was made by a call of its own is asked for again: its latency and the
outcomes of its calls are functions of the seed. The rows of a range, and all that came over a route
(`sim.simulator.route`), are kept here, rows until a claim holds them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable

from cellspec.state.claims import Claim, holds
from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.latency import Latency
from sim.simulator.run_state import FailingCall

__all__ = ["CallCosts"]


class CallCosts:
    """The costs of one incarnation.

    Args:
        latency: how long each call takes.
        outcomes: how calls end; None if all end well.
        streams: the columns whose rows are kept.
    """

    def __init__(
        self, latency: Latency, outcomes: CallOutcomes | None, streams: Iterable[int]
    ) -> None:
        self._latency, self._outcomes = latency, outcomes
        # By column: [start, stop) of the rows that each call gave, and the seconds of each row.
        self._streams = {column: (array("q"), array("d")) for column in streams}
        self._barriers: dict[tuple[int, int], float] = {}

    def add_rows(self, column: int, start: int, stop: int, row_s: float) -> None:
        """A call gave rows ``[start, stop)``, each in `row_s` seconds; the range may be empty."""
        kept = self._streams.get(column)
        if kept is not None and stop > start:
            kept[0].extend((start, stop))
            kept[1].append(row_s)

    def add_barrier(self, column: int, scope: int, seconds: float) -> None:
        """A barrier node of a column with a route was complete after so many seconds."""
        self._barriers[column, scope] = seconds

    def forget(self, claim: Claim) -> None:
        """The rows that a claim holds are safe: their costs are not asked any more."""
        for column, (bounds, seconds) in self._streams.items():
            rows = claim[column]
            left = [
                place
                for place in range(len(seconds))
                if not holds(rows, *bounds[2 * place : 2 * place + 2])
            ]
            self._streams[column] = (
                array("q", (bounds[2 * p + k] for p in left for k in (0, 1))),
                array("d", (seconds[p] for p in left)),
            )

    def of_cells(self, column: int, num_records: int) -> Callable[[int], float]:
        """By row, the seconds that the cell of a column took."""
        if column in self._streams:
            bounds, seconds = self._streams[column]
            of_row = array("d", bytes(8 * num_records))
            for place, each in enumerate(seconds):
                start, stop = bounds[2 * place : 2 * place + 2]
                of_row[start:stop] = array("d", [each]) * (stop - start)
            return of_row.__getitem__
        return lambda row: self.of_call(column, row)

    def of_call(self, column: int, row: int, failing: FailingCall | None = None) -> float:
        """The seconds of a call of a cell: of one that fails, or of the one that ends well."""
        call, outcomes = 1 if failing is None else failing.call, self._outcomes
        # Calls are numbered through: the first that does not fail gives the value.
        while failing is None and outcomes and outcomes.of_cell(column, row, call) is not None:
            call += 1
        return self._latency.get(column, row, call)

    def of_barrier(self, column: int, scope: int) -> float:
        """The seconds that a barrier node took."""
        kept = self._barriers.get((column, scope))
        if kept is not None:
            return kept
        call, outcomes = 1, self._outcomes
        while outcomes is not None and outcomes.of_barrier(column, scope, call) is not None:
            call += 1
        return self._latency.get_barrier(column, scope, call)
