"""`ReadyQueues`: the nodes that may start, and the order in which they do.

There is one queue for each resource, so that a busy resource holds up no other. A node that is
dropped, or joins a range, leaves its entry in the queue; `ReadyQueues.take` passes over it.
"""

from __future__ import annotations

import heapq

from cellspec.engine.call_states import QUEUED
from cellspec.engine.calls import Order
from cellspec.engine.progress import Progress
from cellspec.engine.slots import Slots
from cellspec.graph.nodes import NodeKey, column_of, is_barrier_key, split_key

__all__ = ["ReadyQueues"]


class ReadyQueues:
    """A priority queue of node keys for each resource.

    Args:
        progress: the states of the nodes.
        slots: which resources are free.
        order: "row-first" (rows finish early) or "fifo".

    Attributes:
        queues: for each resource, a heap of (rank, key).
    """

    def __init__(self, progress: Progress, slots: Slots, order: Order) -> None:
        self.progress = progress
        self.slots = slots
        self.queues: list[list[tuple[int, NodeKey]]] = [[] for _ in slots.capacity]
        self._order = order
        self._columns = progress.column_count
        self._stamp = 0

    def enqueue(self, key: NodeKey) -> None:
        """A node may start as soon as a worker and its resource are free."""
        self.progress.state[key] = QUEUED
        resource = self.slots.resource_of[column_of(key)]
        heapq.heappush(self.queues[resource], (self.rank(key), key))

    def rank(self, key: NodeKey) -> int:
        """The place of a node in the order, lower first; it differs for each node."""
        if self._order == "fifo":
            return self.stamp()
        column, place, is_barrier = split_key(key)
        row = self.progress.rules.scope_bounds(column, place)[0] if is_barrier else place
        # Of one row, the later column first: the row is nearer to its end.
        return row * self._columns + self._columns - 1 - column

    def stamp(self) -> int:
        """A number that is larger than each one given before."""
        self._stamp += 1
        return self._stamp

    def take(self) -> NodeKey | None:
        """Remove the first node among those whose resource is free, or return None."""
        best: list[tuple[int, NodeKey]] | None = None
        for resource, queue in enumerate(self.queues):
            if not self.slots.has_slot(resource):
                continue
            self._drop_stale(queue)
            if queue and (best is None or queue[0] < best[0]):
                best = queue
        return None if best is None else heapq.heappop(best)[1]

    def is_empty(self) -> bool:
        """True if the queues hold only entries that cannot start."""
        for queue in self.queues:
            self._drop_stale(queue)
        return not any(self.queues)

    def _drop_stale(self, queue: list[tuple[int, NodeKey]]) -> None:
        while queue and not self.is_startable(queue[0][1]):
            heapq.heappop(queue)

    def is_startable(self, key: NodeKey) -> bool:
        """True if a queued node is still to be run: no drop ended it, and no range took it in."""
        progress = self.progress
        if progress.state[key] != QUEUED:
            return False
        # The last row that wanted a barrier's output may have been dropped while it was in line.
        if not is_barrier_key(key):
            return True
        return not progress.tracker.is_complete(progress.node(key))
