"""Killer cells: how often processes died of them, for an engine that gives such cells up.

Whoever finds a dead process knows which calls it had started, and not which of them killed it. So
an engine suspects each of them, and the rules are as generous as that: a row may be given up once
so many processes died that had started the named node, and a cell must not start again once so
many died while it was in flight. Kept only for a run whose engine promises a number of tries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cellspec.graph.nodes import NodeKey

__all__ = ["Killers"]


class Killers:
    """What each node did in processes that died.

    Args:
        tries: how often a cell that ends the process is tried, from 1.

    Attributes:
        tries: the same.
        started: the nodes that this incarnation started.
        spent: nodes that were in flight when so many processes died, and never ended well; their
            cells start no more.
    """

    def __init__(self, tries: int) -> None:
        self.tries = tries
        self.started: set[NodeKey] = set()
        self.spent: set[NodeKey] = set()
        self._well: set[NodeKey] = set()
        self._in_flight: Counter[NodeKey] = Counter()
        self._started: Counter[NodeKey] = Counter()

    def begin(self) -> None:
        """An incarnation begins."""
        self.started.clear()

    def process_died(self, in_flight: Iterable[NodeKey]) -> None:
        """The process died, with these nodes in flight."""
        self._started.update(self.started)
        died_in = set(in_flight) - self._well
        self._in_flight.update(died_in)
        self.spent.update(key for key in died_in if self._in_flight[key] >= self.tries)

    def ended_well(self, key: NodeKey) -> None:
        """A call of a node ended well: it kills no process."""
        self._well.add(key)
        self.spent.discard(key)

    def may_give_up(self, key: NodeKey) -> bool:
        """True if so many processes died that had started a node."""
        return self._started[key] >= self.tries
