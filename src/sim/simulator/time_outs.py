"""The bounds of calls: one that would take longer ends then as a time-out, and is tried again.

A latency and an outcome are functions of (seed, column, row, attempt), so both sides of a bound are
too: `BoundedLatency` says how long a call is in flight, and `BoundedOutcomes` whether it timed out.
An attempt draws a new time. A time-out comes before any other failure of the same call.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

from cellspec.errors import SpecError
from cellspec.graph.graph import ExecutionGraph
from cellspec.machine.actions import Failure
from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.latency import Latency

__all__ = ["BoundedLatency", "BoundedOutcomes", "bounded"]


def bounded(
    graph: ExecutionGraph,
    timeouts: Mapping[str, float],
    latency: Latency,
    outcomes: CallOutcomes | None,
    routed: Container[int],
) -> tuple[Latency, CallOutcomes]:
    """Latencies and outcomes under bounds, which are seconds by name of column.

    On a route the client looks after the bound: the columns `routed` are as they were.

    Raises:
        SpecError: nothing says how failures are answered.
    """
    if outcomes is None:
        name = next(iter(timeouts))
        raise SpecError(
            f"timeouts: {name!r} has a bound, and nothing says how failures are answered: "
            "give outcomes"
        )
    index = graph.rules.index
    bounds = {index[name]: s for name, s in timeouts.items() if index[name] not in routed}
    return BoundedLatency(latency, bounds), BoundedOutcomes(outcomes, latency, bounds)


class BoundedLatency:
    """Latencies that end at a bound.

    Args:
        latency: without it.
        bounds: by column, the seconds after which a call is given up; columns without one are
            left out.
    """

    def __init__(self, latency: Latency, bounds: Mapping[int, float]) -> None:
        self._latency, self._bounds = latency, bounds

    def reader(self, column: int) -> Callable[[int], float]:
        read, bound_s = self._latency.reader(column), self._bounds.get(column)
        return read if bound_s is None else lambda row: min(read(row), bound_s)

    def get(self, column: int, row: int, attempt: int = 1) -> float:
        return self._bounded(column, self._latency.get(column, row, attempt))

    def get_barrier(self, column: int, scope: int, attempt: int = 1) -> float:
        return self._bounded(column, self._latency.get_barrier(column, scope, attempt))

    def mean_s(self, column: int) -> float:
        """The expected seconds without the bound: what a policy knows of a column."""
        return self._latency.mean_s(column)

    def _bounded(self, column: int, seconds: float) -> float:
        bound_s = self._bounds.get(column)
        return seconds if bound_s is None else min(seconds, bound_s)


class BoundedOutcomes:
    """Outcomes in which a call that would take longer than its bound times out.

    Args:
        outcomes: without it.
        latency: without it.
        bounds: as of `BoundedLatency`.
    """

    def __init__(
        self, outcomes: CallOutcomes, latency: Latency, bounds: Mapping[int, float]
    ) -> None:
        self._outcomes, self._latency, self._bounds = outcomes, latency, bounds
        self.skips, self.of_skips, self.failing = (
            outcomes.skips,
            outcomes.of_skips,
            outcomes.failing,
        )
        self.backoff_s, self.backoffs_s = outcomes.backoff_s, outcomes.backoffs_s

    def of_cell(self, column: int, row: int, call: int) -> Failure | None:
        bound_s = self._bounds.get(column)
        if bound_s is not None and self._latency.get(column, row, call) > bound_s:
            return "timeout"
        return self._outcomes.of_cell(column, row, call)

    def may_fail(self, column: int) -> bool:
        return column in self._bounds or self._outcomes.may_fail(column)

    def only_failure(self, column: int) -> Failure | None:
        return None if column in self._bounds else self._outcomes.only_failure(column)

    def foresees(self, column: int) -> bool:
        return column not in self._bounds and self._outcomes.foresees(column)

    def of_barrier(self, column: int, scope: int, call: int) -> Failure | None:
        bound_s = self._bounds.get(column)
        if bound_s is not None and self._latency.get_barrier(column, scope, call) > bound_s:
            return "timeout"
        return self._outcomes.of_barrier(column, scope, call)
