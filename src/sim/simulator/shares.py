"""Shares of a resource: of the columns that could start, the one furthest below its share does.

The share of a column is its part of the resource's limit by weight, among the columns of the
resource that run or could start. So what one column does not use the others take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from cellspec.graph.nodes import NodeKey
from cellspec.machine.machine import Machine
from sim.simulator.plan import RunPlan
from sim.simulator.queues import ReadyQueue

__all__ = ["Shares"]


class Shares:
    """The columns that share a resource by weights, and how many calls of each run.

    Args:
        machine: of the run.
        plan: what is shared; a column that it leaves out has weight 1.

    Attributes:
        running: by column, its calls in flight.
    """

    def __init__(self, machine: Machine, plan: RunPlan) -> None:
        columns = machine.graph.rules.columns
        self._groups = len(plan.limits.resources) + 1
        self._weights: dict[int, dict[int, float]] = {}
        self._limits = list(plan.limits.resources.values())
        for group, resource in enumerate(plan.limits.resources):
            weights = plan.shares.get(resource)
            if weights is not None:
                mine = [rule for rule in columns if machine.group_of[rule.index] == group]
                self._weights[group] = {rule.index: weights.get(rule.name, 1.0) for rule in mine}
        self.running = [0] * len(columns)

    def begin(self) -> None:
        """A new incarnation begins, in which nothing runs."""
        self.running[:] = [0] * len(self.running)

    def queue(self, group: int, make: Callable[[int], ReadyQueue]) -> ReadyQueue:
        """The queue of a group of columns.

        Args:
            group: its number.
            make: gives an empty queue, by a number of its own.
        """
        weights = self._weights.get(group)
        if weights is None:
            return make(group)
        queues = {column: make(self._groups + column) for column in weights}
        return _SharedQueue(queues, weights, self._limits[group], self.running)


class _SharedQueue:
    """Ready nodes of one resource, in a queue for each of its columns.

    Args:
        queues: by column.
        weights: by column.
        limit: how many calls the resource takes.
        running: by column, how many run.
    """

    def __init__(
        self,
        queues: Mapping[int, ReadyQueue],
        weights: Mapping[int, float],
        limit: int,
        running: Sequence[int],
    ) -> None:
        self._queues, self._weights, self._limit, self._running = queues, weights, limit, running

    def cell_pusher(self, column: int) -> Callable[[int], object]:
        return self._queues[column].cell_pusher(column)

    def push_cells(self, column: int, start: int, stop: int) -> None:
        self._queues[column].push_cells(column, start, stop)

    def push_barrier(self, column: int, scope: int) -> None:
        self._queues[column].push_barrier(column, scope)

    def head_key(self) -> float:
        return self._next()[1]

    def pop(self) -> NodeKey | None:
        column, _ = self._next()
        return None if column < 0 else self._queues[column].pop()

    def _next(self) -> tuple[int, float]:
        """The column that starts next, and the place of its head in the order; −1 for none."""
        running, weights = self._running, self._weights
        keys = {column: queue.head_key() for column, queue in self._queues.items()}
        active = sum(weights[c] for c, key in keys.items() if key < math.inf or running[c])
        chosen, most = -1, -math.inf
        for column, key in keys.items():
            lacks = weights[column] * self._limit / (active or 1.0) - running[column]
            if key < math.inf and lacks > most:
                chosen, most = column, lacks
        return chosen, keys.get(chosen, math.inf)
