"""The composition of a simulator: which parts of an engine a run asks for.

What a run does not ask for is not in it: no part, and no test for it at its events.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cellspec.graph.graph import ExecutionGraph
from cellspec.machine.machine import Machine
from cellspec.trace.format import EndpointSums
from sim.simulator.bare_route import BareRoute
from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.plan import RunPlan
from sim.simulator.recording import Notify, record
from sim.simulator.route import Route

__all__ = ["Composition", "is_even"]

_OF_TIME = ("SCHED-08", "SCHED-09", "GROUP-06", "SCHED-15")
"""The clauses that a run which is not checked does without."""

_OF_ADMISSION = ("GROUP-06", "SCHED-15")
"""The clauses that a run does without in which rows wait that have not come yet."""


def is_even(graph: ExecutionGraph, plan: RunPlan, outcomes: CallOutcomes | None) -> bool:
    """True if each call is the first of its node in an incarnation, makes one cell or runs one
    barrier, and gives its value; nothing is skipped, and no row has to wait for others.
    """
    makes_several = any(
        rule.streamable and plan.range_rows.get(rule.name, 1) > 1 for rule in graph.rules.columns
    )
    waits = plan.limits.group_rows is not None
    return not (outcomes or plan.start_from or plan.accept or plan.shares or makes_several or waits)


class Composition:
    """What a run is made of.

    Args:
        graph, plan: of the run.
        outcomes: how calls end, and which cells are skipped; None if all end well.
        notify: receives every step; None if nobody records the run.
        routes: by column, what its calls go through; other columns' calls take their latency.

    Attributes:
        range_rows: by column, how many rows one call makes.
        has_ranges: some column makes more than one.
        skips: by column, whether its own condition may skip a cell.
        has_skips: that of some column may.
        has_groups: rows are admitted in groups.
        may_fail: a call may end badly.
        hands_turns_on: a row that is dropped may hand its turn in an ordered column on.
        may_stop: the run may stop early.
        is_even: each call makes one cell or runs one barrier, and ends well; nothing is skipped.
        is_plain: nor does any call have a route.
        bare: by column that has one, its bare route.
        is_looped: `sim.simulator.plain_loop` can run it.
        each_route: the routes, each once.
        by_steps: cells take the machine's methods, which look at more than its counters do.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        plan: RunPlan,
        outcomes: CallOutcomes | None,
        notify: Notify | None,
        routes: Mapping[int, Route],
    ) -> None:
        self._graph, self._plan = graph, plan
        self.outcomes, self.notify, self.routes = outcomes, notify, routes
        rules = graph.rules
        self.range_rows = [
            plan.range_rows.get(rule.name, 1) if rule.streamable else 1 for rule in rules.columns
        ]
        self.has_ranges = any(rows > 1 for rows in self.range_rows)
        self.skips = [outcomes is not None and rule.may_skip for rule in rules.columns]
        self.has_skips = any(self.skips)
        self.has_groups = plan.limits.group_rows is not None
        failures = plan.failures
        self.may_stop = failures is not None and failures.stop_window is not None
        self.is_even = is_even(graph, plan, outcomes)
        self.is_plain = self.is_even and not routes
        ordered = any(rule.ordered and not rule.is_barrier for rule in rules.columns)
        self.may_fail = outcomes is not None and (
            bool(plan.timeouts) or any(outcomes.may_fail(rule.index) for rule in rules.columns)
        )
        self.hands_turns_on = ordered and (self.may_fail or plan.accept is not None)
        # An early stop counts the ends of calls, and a bound knows when each began.
        bound_s = failures.timeout_s if failures is not None else None
        self.by_steps = notify is not None or self.may_stop or bound_s is not None
        waits = plan.checkpoint is not None and plan.checkpoint.blocking
        # A bare route exists only where nothing is asked of a call but that it runs.
        self.bare = {
            column: route for column, route in routes.items() if isinstance(route, BareRoute)
        }
        asks_more = bool(routes) and not (self.is_even and len(self.bare) == len(routes))
        self.is_looped = not (
            self.by_steps
            or waits
            or asks_more
            or plan.start_from
            or plan.accept
            or plan.shares
            or self.has_ranges
            or self.has_skips
            or self.hands_turns_on
        )
        self.each_route = list(dict.fromkeys(routes.values()))

    def make_machine(self, *, checked: bool, waive: Collection[str]) -> Machine:
        """The machine that judges the run."""
        if not checked and self.is_timed:
            waive = (*waive, *_OF_TIME)
        plan = self._plan
        if plan.arrivals:
            waive = (*waive, *_OF_ADMISSION)
        machine = Machine(self._graph, plan.limits, failures=plan.failures, waive=waive)
        if self.notify is not None:
            machine.on_step = record(
                machine,
                self.notify,
                starts_from=plan.start_from is not None,
                sums=self._sums if self.each_route else None,
            )
        return machine

    def _sums(self, t: float) -> dict[str, EndpointSums]:
        return {name: sums for one in self.each_route for name, sums in one.sums(t).items()}

    @property
    def is_timed(self) -> bool:
        """True if the machine gets the time, also where time is not judged.

        Backoffs end when it does, and a record holds it.
        """
        return not self.is_plain or self.notify is not None
