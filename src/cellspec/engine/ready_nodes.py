"""`ReadyNodes`: the way of a node from the moment at which all that it needs is resolved.

The tracker announces each such node. It is then queued, skipped, emitted (an output cell of a
finished barrier), or held back: by its row group, or by a barrier call that is in flight.
"""

from __future__ import annotations

from collections import deque

from cellspec.engine.barrier_turns import BarrierTurns
from cellspec.engine.call_states import WAITING
from cellspec.engine.observer import Observer
from cellspec.engine.progress import Progress
from cellspec.engine.ready_queues import ReadyQueues
from cellspec.engine.row_groups import RowGroups
from cellspec.engine.skips import Skips
from cellspec.engine.values import SKIPPED
from cellspec.graph.nodes import NodeId, NodeKey, split_key

__all__ = ["ReadyNodes"]


class ReadyNodes:
    """Deals with announced nodes, in the order in which they were announced.

    Args:
        announced: where nodes are announced.
        progress: the states of nodes.
        queues: take the nodes that need a call.
        groups: hold back nodes of rows that are not admitted.
        turns: hold back nodes behind a barrier call in flight.
        skips: which cells are skipped.
        observer: is notified of cells that are skipped or emitted.
    """

    def __init__(
        self,
        announced: deque[NodeId],
        progress: Progress,
        queues: ReadyQueues,
        groups: RowGroups,
        turns: BarrierTurns,
        skips: Skips,
        observer: Observer,
    ) -> None:
        self.announced = announced
        self.progress = progress
        self.queues = queues
        self._groups = groups
        self._turns = turns
        self._skips = skips
        self._observer = observer

    def settle(self) -> None:
        """Deal with all that was announced, and with all that is announced by that."""
        while self.announced:
            self.offer(self.progress.key(self.announced.popleft()))

    def offer(self, key: NodeKey) -> None:
        """Deal with one node."""
        progress = self.progress
        if progress.state[key] != WAITING:
            return
        if not self._groups.is_admitted(key):
            self._groups.hold(key)
            return
        column, place, is_barrier = split_key(key)
        rule = progress.rules.columns[column]
        if is_barrier:
            if not self._turns.hold_barrier(column, place):
                self.queues.enqueue(key)
        elif self._skips.must_skip(column, place):
            if not self._turns.hold_skip(column, place):
                self._observer.skipped(rule.name, place)
                progress.values.put(column, place, SKIPPED)
                progress.skip(column, place)
        elif rule.is_barrier:
            # Its value was kept when the barrier ended.
            self._observer.emitted(rule.name, place)
            progress.resolve(column, place)
        else:
            self.queues.enqueue(key)
