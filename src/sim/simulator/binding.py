"""The part of a run that held it up, moment by moment; `sim.figures` defines which.

It is asked when time is about to move: what comes and goes within an instant does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from sim.simulator.route import Route
from sim.simulator.run_state import RunState

__all__ = ["Binding"]

PIPELINE, RESTART = "pipeline", "restart"


class Binding:
    """Adds up the seconds of a run by what held it up.

    Args:
        state: of the run.
        routes: each once, in the order in which they are asked.
    """

    def __init__(self, state: RunState, routes: Sequence[Route]) -> None:
        self._state, self._routes = state, routes
        self._seconds: dict[str, float] = {}
        limits = state.plan.limits
        taken = [limits.places_of(column) for column in state.graph.column_names]
        # By resource, the places that are taken when no call fits any more.
        self._resources = [
            (
                group,
                most + 1 - min((n[name] for n in taken if name in n), default=1),
                f"resource {name}",
            )
            for group, (name, most) in enumerate(limits.resources.items())
        ]

    def passes(self, seconds: float) -> None:
        """So much time passes, in the state of now."""
        name = self._now()
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def _now(self) -> str:
        for route in self._routes:
            name = route.holds_up()
            if name:
                return name
        counters, places = self._state.counters, self._state.machine.state.places
        for group, most, name in self._resources:
            busy = counters.busy[group] if places is None else places.taken(group)
            if busy >= most:
                return name
        return "workers" if counters.load >= self._state.workers else PIPELINE

    def seconds(self) -> Mapping[str, float]:
        """By what held it up, the seconds; the most first, and of the same by name."""
        found = dict(self._seconds)
        incarnations = self._state.outcome.incarnations
        gaps = sum(after.start_s - before.end_s for before, after in pairwise(incarnations))
        if gaps:
            found[RESTART] = gaps
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
