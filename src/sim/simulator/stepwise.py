"""The simulator for everything that can go wrong: failures, drops, skips, row groups, ranges.

`StepwiseSimulator` drives a run with `sim.simulator.stepwise_calls`, the rest of an engine's work:
calls that fail and are tried again after a backoff, rows that are given up, cells that are skipped,
rows admitted in groups, calls that make a range of rows, an early stop. For a scenario without
all this it takes the same steps as the plain simulator, which is faster.

`sim.simulator.call_outcomes.CallOutcomes` decides how a call ends, which cells their own condition
skips, and how long a backoff is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellspec.errors import SpecError
from cellspec.graph.graph import ExecutionGraph
from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.latency import Latency
from sim.simulator.outcome import Outcome
from sim.simulator.plan import RunPlan
from sim.simulator.recording import Notify
from sim.simulator.route import Route
from sim.simulator.simulator import Simulator
from sim.simulator.stepwise_calls import StepwiseCalls
from sim.simulator.time_outs import BoundedLatency, BoundedOutcomes

__all__ = ["StepwiseSimulator"]


class StepwiseSimulator:
    """One run, every step by the machine's methods.

    Args:
        graph, latency, plan: as of `Simulator`.
        outcomes: how calls end; None if all end well.
        notify: receives every step; see `sim.simulator.recording`.
        routes: by column, what its calls go through; see `sim.simulator.route`.
        options: `checked`, `choose` and `progress` of `Simulator`.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        latency: Latency,
        plan: RunPlan,
        *,
        outcomes: CallOutcomes | None = None,
        notify: Notify | None = None,
        routes: Mapping[int, Route] | None = None,
        **options: Any,
    ) -> None:
        if plan.timeouts:
            if outcomes is None:
                name = next(iter(plan.timeouts))
                raise SpecError(
                    f"timeouts: {name!r} has a bound, and nothing says how failures are answered: "
                    "give outcomes"
                )
            index = graph.rules.index
            bounds = {index[name]: bound_s for name, bound_s in plan.timeouts.items()}
            # On a route the client looks after the bound.
            bounds = {c: bound_s for c, bound_s in bounds.items() if c not in (routes or {})}
            outcomes = BoundedOutcomes(outcomes, latency, bounds)
            latency = BoundedLatency(latency, bounds)
        self._calls = StepwiseCalls(outcomes, notify, routes)
        self._driver = Simulator(graph, latency, plan, calls=self._calls, **options)

    def run(self) -> Outcome:
        """Run to the end, as `Simulator.run`.

        Raises:
            Violation: an event breaks a clause.
        """
        return self._driver.run()
