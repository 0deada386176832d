"""Which node starts next: the first in the policy's order of those whose resource is free."""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from cellspec.graph.nodes import NodeKey
from cellspec.state.counters import Counters
from cellspec.state.places import SharedPlaces
from sim.simulator.queues import FifoQueue, PriorityQueue, ReadyQueue

__all__ = ["FifoPicker", "LoopPicker", "Picker", "pick_in_loop", "pick_of"]

Picker: TypeAlias = Callable[[], NodeKey | None]
"""Takes the next node to start, of those whose resource is free."""


def pick_of(queues: Sequence[ReadyQueue], capacity: Sequence[int], counters: Counters) -> Picker:
    """A function that takes the next node to start, of those whose resource is free.

    Args:
        queues: by group of columns; the queues of groups without columns stay empty.
        capacity: by group, how many nodes may run at once.
        counters: how many run.
    """
    busy, groups = counters.busy, sorted(set(counters.groups))
    group = groups[0]
    if isinstance(capacity, SharedPlaces):
        return _pick_that_fits([(group, queues[group]) for group in groups], capacity)
    only, most = queues[group], capacity[group]
    # Other queues draw when they are asked for their heads.
    if len(queues) == 1 or (len(groups) == 1 and isinstance(only, FifoQueue | PriorityQueue)):
        if most == sys.maxsize:
            return only.pop
        return lambda: only.pop() if busy[group] < most else None
    fifo = {group: queue for group in groups if isinstance(queue := queues[group], FifoQueue)}
    if len(fifo) == len(groups):
        return FifoPicker(fifo, capacity, busy)
    return _pick_of_any(queues, capacity, busy)


def _pick_of_any(
    queues: Sequence[ReadyQueue], capacity: Sequence[int], busy: Sequence[int]
) -> Picker:
    """`pick_of` for queues of any policy."""

    def pick() -> NodeKey | None:
        best, chosen = math.inf, -1
        for group, queue in enumerate(queues):
            if busy[group] < capacity[group]:
                key = queue.head_key()
                if key < best:
                    best, chosen = key, group
        return queues[chosen].pop() if chosen >= 0 else None

    return pick


def _pick_that_fits(lines: Sequence[tuple[int, ReadyQueue]], places: SharedPlaces) -> Picker:
    """`pick_of` where calls take several places: the first of those that fit."""

    def pick() -> NodeKey | None:
        best, chosen = math.inf, None
        for group, queue in lines:
            key = queue.head_key()
            if key < best and places.fits(group):
                best, chosen = key, queue
        return None if chosen is None else chosen.pop()

    return pick


class FifoPicker:
    """Of several first-in-first-out queues, the one whose head is oldest: O(log groups) a node.

    Args:
        queues, capacity: by group, its queue, and how many of its nodes may run at once.
        busy: by group, how many run.

    Attributes:
        heads: the oldest of each queue that holds anything and is not parked, as a heap.
        parked: by group, the same of those that get no slot until one is freed, or until it is
            known that the node taken last does not start.
    """

    def __init__(
        self, queues: Mapping[int, FifoQueue], capacity: Sequence[int], busy: Sequence[int]
    ) -> None:
        self._queues, self._capacity, self._busy = queues, capacity, busy
        self.heads: list[tuple[int, int]] = []
        self.parked: dict[int, tuple[int, int]] = {}
        for group, queue in queues.items():
            if queue.coming:
                self.heads.append((int(queue.head_key()), group))
            queue.heads, queue.group = self.heads, group
        heapq.heapify(self.heads)

    def __call__(self) -> NodeKey | None:
        """Take the next node to start, of those whose resource is free."""
        for group in [*self.parked]:
            if self._busy[group] < self._capacity[group]:
                heapq.heappush(self.heads, self.parked.pop(group))
        return self.pick()

    def pick(self) -> NodeKey | None:
        """Take the next node to start, if the groups with a free slot have their heads in `heads`.

        Others may have theirs there too.
        """
        heads, busy = self.heads, self._busy
        while heads:
            head = heads[0]
            group = head[1]
            left = self._capacity[group] - busy[group]
            if left <= 0:
                self.parked[group] = heapq.heappop(heads)
                continue
            queue = self._queues[group]
            node = queue.pop()
            stamps = queue.coming_stamps
            if not stamps:
                heapq.heappop(heads)
            elif left > 1:
                heapq.heapreplace(heads, (stamps[-1], group))
            else:
                heapq.heappop(heads)
                self.parked[group] = (stamps[-1], group)
            return node
        return None


class LoopPicker(NamedTuple):
    """How a loop that holds its picker in parts takes the next node.

    Attributes:
        coming: cells, as `sim.simulator.queues.FifoQueue` writes them, that may be taken from the
            end while less than `most` run.
        pick: takes the next node when `coming` is empty.
        most: how many nodes may run at once.
        parked: by group that the loop is to put back when a slot got free, its entry of `heads`.
        heads: see `parked`; a heap.
    """

    coming: list[int]
    pick: Picker
    most: int
    parked: dict[int, tuple[int, int]]
    heads: list[tuple[int, int]]


def pick_in_loop(
    picker: Picker, queues: Sequence[ReadyQueue], capacity: Sequence[int], counters: Counters
) -> LoopPicker:
    """The parts of `pick_of`, which made the picker of the same arguments."""
    if isinstance(picker, FifoPicker):
        return LoopPicker([], picker.pick, sys.maxsize, picker.parked, picker.heads)
    groups = set(counters.groups)
    if isinstance(capacity, SharedPlaces):
        return LoopPicker([], picker, sys.maxsize, {}, [])
    only = queues[min(groups)]
    if len(groups) == 1 and isinstance(only, FifoQueue):
        return LoopPicker(only.coming, only.pop, capacity[min(groups)], {}, [])
    return LoopPicker([], picker, sys.maxsize, {}, [])
