"""Shares of a resource: of the columns that could start, the one furthest below its share does.

The share of a column is its part, by weight, of the calls that run of the resource, among the
columns that run or could start: so what one column does not use the others take, and shares hold
where workers are fewer than places. A share is seldom a whole number of places. Each column has its
whole places at any moment; the place that is left over goes to the column that has had the least
time in places for its weight (as in start-time fair queuing: Goyal, Vin, Cheng, SIGCOMM 1996). A
column that had nothing to start does not save its time up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import simpy

from cellspec.graph.nodes import NodeKey
from cellspec.machine.machine import Machine
from sim.simulator.plan import RunPlan
from sim.simulator.queues import ReadyQueue

__all__ = ["Shares"]

_SAME = 1e-9
"""Places, and seconds, that are no difference."""


class Shares:
    """The columns that share a resource by weights, and how many calls of each run.

    Args:
        machine: of the run.
        plan: what is shared; a column that it leaves out has weight 1.

    Attributes:
        now: seconds on the clock of the incarnation.
    """

    def __init__(self, machine: Machine, plan: RunPlan) -> None:
        columns = machine.graph.rules.columns
        self._groups = machine.state.output_group
        self._weights: dict[int, dict[int, float]] = {}
        for group, resource in enumerate(plan.limits.resources):
            weights = plan.shares.get(resource)
            if weights is not None:
                mine = [rule for rule in columns if machine.group_of[rule.index] == group]
                self._weights[group] = {rule.index: weights.get(rule.name, 1.0) for rule in mine}
        self.uses: list[_Use] = []
        self._columns = len(columns)

    @property
    def now(self) -> float:
        """The time in seconds."""
        return float(self._env.now)

    def begin(self, env: simpy.Environment) -> None:
        """A new incarnation begins, in which nothing runs, with a clock of its own."""
        self._env = env
        self.uses[:] = [_Use(env.now) for _ in range(self._columns)]

    def began(self, column: int) -> None:
        """A call of the column starts now."""
        self.uses[column].change(1, self.now)

    def ended(self, column: int) -> None:
        """A call of the column ends now."""
        self.uses[column].change(-1, self.now)

    def queue(self, group: int, make: Callable[[int], ReadyQueue]) -> ReadyQueue:
        """The queue of a group of columns.

        Args:
            group: its number.
            make: gives an empty queue, by a number of its own.
        """
        weights = self._weights.get(group)
        if weights is None:
            return make(group)
        return _SharedQueue({c: make(self._groups + c) for c in weights}, weights, self)


class _Use:
    """How many places a column has, and has had.

    Attributes:
        running: its calls in flight.
        is_active: it ran, or could start, when it was last looked at.
    """

    __slots__ = ("_at_s", "_place_s", "is_active", "running")

    def __init__(self, start_s: float) -> None:
        self.running, self.is_active = 0, False
        self._place_s, self._at_s = 0.0, start_s

    def place_s(self, now: float) -> float:
        """The place-seconds so far."""
        return self._place_s + self.running * (now - self._at_s)

    def at_least(self, place_s: float, now: float) -> None:
        """It has had so many place-seconds, or more."""
        self._place_s, self._at_s = max(self.place_s(now), place_s), now

    def change(self, by: int, now: float) -> None:
        """So many calls more are in flight from now on."""
        self._place_s, self._at_s = self.place_s(now), now
        self.running += by


class _SharedQueue:
    """Ready nodes of one resource, in a queue for each of its columns.

    Args:
        queues: by column.
        weights: by column.
        shares: how many calls of each column run.
    """

    def __init__(
        self, queues: Mapping[int, ReadyQueue], weights: Mapping[int, float], shares: Shares
    ) -> None:
        self._queues, self._weights, self._shares = queues, weights, shares

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
        keys = {column: queue.head_key() for column, queue in self._queues.items()}
        could_start = [column for column, key in keys.items() if key < math.inf]
        if not could_start:
            return -1, math.inf
        uses, now = self._shares.uses, self._shares.now
        active = [column for column in keys if keys[column] < math.inf or uses[column].running]
        had_s = self._had_s(active, now)
        places = 1 + sum(uses[column].running for column in active)
        weights = sum(self._weights[column] for column in active)

        def rank(column: int) -> tuple[bool, bool, float, float]:
            """Lower goes first: whole places by share, then the place that is left over."""
            running = uses[column].running
            lacks = places * self._weights[column] / weights - running
            lacks_whole = lacks > 1 - _SAME
            left_over = not lacks_whole and lacks > _SAME
            return not lacks_whole, not left_over, had_s[column] * left_over, -lacks

        chosen = min(could_start, key=rank)
        return chosen, keys[chosen]

    def _had_s(self, active: Sequence[int], now: float) -> dict[int, float]:
        """Place-seconds by weight of the columns that are active, in whole billionths."""
        uses, weights = self._shares.uses, self._weights
        old = [column for column in active if uses[column].is_active]
        least = min((uses[c].place_s(now) / weights[c] for c in old), default=0.0)
        for column in self._queues:
            use = uses[column]
            if column in active and not use.is_active:
                use.at_least(least * weights[column], now)
            use.is_active = column in active
        return {c: round(uses[c].place_s(now) / weights[c] / _SAME) * _SAME for c in active}
