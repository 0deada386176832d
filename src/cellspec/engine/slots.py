"""`Slots`: the calls that run, and whether the limits on workers and resources allow one more."""

from __future__ import annotations

from cellspec.engine.calls import Call
from cellspec.errors import SpecError
from cellspec.graph.graph import ExecutionGraph
from cellspec.machine.limits import Limits

__all__ = ["Slots"]


class Slots:
    """Counts running calls, in all and by resource.

    Attributes:
        running: the calls in flight, by number.
        capacity: for each resource, the most calls at once; None without a limit. The last
            entry is for columns without a resource.
        busy: for each resource, the calls in flight.
        resource_of: for each column, the position of its resource.
    """

    def __init__(self, graph: ExecutionGraph, limits: Limits) -> None:
        if limits.column_places:
            raise SpecError("limits: column_places: this engine takes one place for each call")
        self._workers = limits.workers
        names = list(limits.resources)
        self.running: dict[int, Call] = {}
        self.capacity: list[int | None] = [*limits.resources.values(), None]
        self.busy = [0] * len(self.capacity)
        self.resource_of = [
            names.index(limits.column_resource[rule.name])
            if rule.name in limits.column_resource
            else len(names)
            for rule in graph.rules.columns
        ]

    def has_worker(self) -> bool:
        """True if one more call may run at all."""
        return self._workers is None or len(self.running) < self._workers

    def has_slot(self, resource: int) -> bool:
        """True if one more call may use a resource."""
        capacity = self.capacity[resource]
        return capacity is None or self.busy[resource] < capacity

    def take(self, call: Call) -> None:
        """A call starts."""
        self.running[call.number] = call
        self.busy[self.resource_of[call.index]] += 1

    def release(self, call: Call) -> None:
        """A call has ended."""
        del self.running[call.number]
        self.busy[self.resource_of[call.index]] -= 1

    def is_running(self, call: Call) -> bool:
        """True if the call holds its slot."""
        return call.number in self.running
