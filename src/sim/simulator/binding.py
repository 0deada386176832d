"""The part of a run that held it up, moment by moment; `sim.figures` defines which.

It is asked when time is about to move: what comes and goes within an instant does not count.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from cellspec.graph.nodes import NodeKey, column_of, is_barrier_key, place_of
from cellspec.state.codes import BACKOFF
from sim.simulator.route import Route
from sim.simulator.run_state import RunState

__all__ = ["Binding", "WhenBusy"]

CHECKPOINT, PIPELINE, RESTART = "checkpoint", "pipeline", "restart"
WORKERS = "workers"


class WhenBusy(NamedTuple):
    """What holds a run up while cells are ready, where all take places of one resource.

    Attributes:
        ready, group: `ready[group]` cells are; if none is, more is to be looked at.
        name: what it is; `seconds[name]` has the seconds.
    """

    ready: Sequence[int]
    group: int
    name: str
    seconds: MutableMapping[str, float]


class Binding:
    """Adds up the seconds of a run by what held it up.

    Args:
        state: of the run.
        routes: each once, in the order in which they are asked.
    """

    def __init__(self, state: RunState, routes: Sequence[Route]) -> None:
        self._state = state
        self._routes = [route for route in routes if route.may_hold_up]
        self._seconds = defaultdict[str, float](float)
        limits, checkpoint = state.plan.limits, state.plan.checkpoint
        self._names = [f"resource {name}" for name in limits.resources]
        self._limits = list(limits.resources.values())
        self._blocks = checkpoint is not None and checkpoint.blocking

    def watch(self) -> Callable[[float], None]:
        """What is told of the seconds that pass, each time, in the state of then."""
        state, seconds = self._state, self._seconds
        run, counters, env, workers = state.machine.state, state.counters, state.env, state.workers
        if self._asks_more:
            return self._passes
        asked = [route.holds_up for route in self._routes]
        due, ready, barriers, busy = run.due, counters.ready, counters.ready_barriers, counters.busy
        lines = self._lines()

        def passes(passed_s: float) -> None:
            """As `_passes`, where a call takes one place, and nothing waits for a checkpoint."""
            if due and due[0][0] < env.now + passed_s:
                self._passes(passed_s)
                return
            for holds_up in asked:
                found = holds_up()
                if found:
                    seconds[found] += passed_s
                    return
            name = PIPELINE
            if not (run.stopped or run.stop_requested):
                for group, limit, resource in lines:
                    if ready[group] or barriers[group]:
                        if busy[group] >= limit:
                            name = resource
                            break
                        if counters.load >= workers:
                            name = WORKERS
            seconds[name] += passed_s

        return passes

    def when_busy(self) -> WhenBusy:
        """What `watch` finds at most moments; for a loop that saves the call."""
        lines = self._lines()
        if self._asks_more or self._routes or len(lines) > 1:
            return WhenBusy([0], 0, PIPELINE, self._seconds)
        # A cell that is ready waits for a worker or a place: for that of which there are fewer.
        ((group, limit, resource),) = lines
        name = resource if self._state.workers >= limit else WORKERS
        return WhenBusy(self._state.counters.ready, group, name, self._seconds)

    @property
    def _asks_more(self) -> bool:
        """True if calls take several places, or nodes may wait for a checkpoint."""
        return self._blocks or self._state.machine.state.places is not None

    def _lines(self) -> list[tuple[int, float, str]]:
        """Of each group whose nodes may wait: its number, its resource's places and name."""
        state = self._state
        most = [*self._limits, *[math.inf] * (state.groups - len(self._limits))]
        names = [*self._names, *[WORKERS] * (state.groups - len(self._names))]
        return [(group, most[group], names[group]) for group in sorted({*state.counters.groups})]

    def _passes(self, seconds: float) -> None:
        """So much time passes, in the state of now."""
        due, now = self._state.machine.state.due, float(self._state.env.now)
        end = now + seconds
        if due and due[0][0] < end:
            self._passes_backoffs(now, end)
        else:
            self._add(self._now(()), seconds)

    def _passes_backoffs(self, now: float, end: float) -> None:
        """Time passes to `end`, and nodes are ready again before: the machine sees them later."""
        machine = self._state.machine
        backoffs, ready = machine.state.backoffs, list[int]()
        for until, key in _before(machine.state.due, end):
            if backoffs.get(key) == until and self._is_held(key):
                if until > now:
                    self._add(self._now(ready), until - now)
                    now = until
                ready.append(machine.group_of[column_of(key)])
        self._add(self._now(ready), end - now)

    def _is_held(self, key: NodeKey) -> bool:
        """True if a node that failed is tried again: nobody dropped its row meanwhile."""
        counters, column, place = self._state.counters, column_of(key), place_of(key)
        if is_barrier_key(key):
            return counters.barrier_state(column, place) == BACKOFF
        return counters.cells[column][place] == BACKOFF

    def _add(self, name: str, seconds: float) -> None:
        self._seconds[name] += seconds

    def _now(self, ready: Sequence[int]) -> str:
        """What holds the run up; `ready` are groups with nodes whose backoff is over."""
        for route in self._routes:
            name = route.holds_up()
            if name:
                return name
        waiting = self._waiting(ready)
        if not waiting:
            return PIPELINE
        if self._blocks and self._state.machine.pending_claim is not None:
            return CHECKPOINT
        lacking = [resource for group in waiting for resource in self._lacking(group)]
        if lacking:
            return self._names[min(lacking)]
        return WORKERS if self._state.counters.load >= self._state.workers else PIPELINE

    def _waiting(self, more: Sequence[int]) -> list[int]:
        """The groups of columns with a node that is ready, and would start if it could."""
        machine, counters = self._state.machine, self._state.counters
        if machine.stopped or machine.stop_requested:
            return []
        ready, barriers = counters.ready, counters.ready_barriers
        found = [group for group in range(self._state.groups) if ready[group] or barriers[group]]
        return [*found, *more] if more else found

    def _lacking(self, group: int) -> Iterator[int]:
        """The resources of which too few places are free for a call of a group."""
        places = self._state.machine.state.places
        if places is not None:
            yield from (resource for resource, _ in places.lacking(group))
        elif group < len(self._limits) and self._state.counters.busy[group] >= self._limits[group]:
            yield group

    def seconds(self) -> Mapping[str, float]:
        """By what held it up, the seconds, in no order that means anything."""
        found = dict(self._seconds)
        incarnations = self._state.outcome.incarnations
        gaps = sum(after.start_s - before.end_s for before, after in pairwise(incarnations))
        if gaps:
            found[RESTART] = gaps
        return found


def _before(heap: Sequence[tuple[float, NodeKey]], end: float) -> list[tuple[float, NodeKey]]:
    """The entries of a heap before `end`, in order; in time that grows with their number alone."""
    found, places = [], [0]
    while places:
        place = places.pop()
        if place < len(heap) and heap[place][0] < end:
            found.append(heap[place])
            places += (2 * place + 1, 2 * place + 2)
    return sorted(found)
