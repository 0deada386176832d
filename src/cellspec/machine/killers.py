"""Killer cells: how often processes died of them, for an engine that gives such cells up.

Whoever finds a dead process knows which calls were in flight, and not which of them killed it. So
an engine suspects each of them: a row may be given up once so many processes died with the named
node in flight since it last ended well, and a cell that never did must not start again. What ended
at the very moment of the death may count as in flight, for the process may have died before it
wrote the end down, and so may what was to be tried again: that clears nothing, and a call that
timed out may have gone on. Kept only for a run whose engine promises a number of tries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cellspec.graph.nodes import NodeKey, is_barrier_key

__all__ = ["Killers"]


class Killers:
    """What each node did in processes that died.

    Args:
        tries: how often a cell that ends the process is tried, from 1.
        unheard_s: for how many seconds an engine may not know of the end of a call; 0 for the
            moment of that end alone.

    Attributes:
        tries: the same.
        started: the nodes that this incarnation started.
        spent: nodes that were in flight when so many processes died, and never ended well; their
            cells start no more.
    """

    def __init__(self, tries: int, *, unheard_s: float = 0.0) -> None:
        self.tries = tries
        self._unheard_s = unheard_s
        self.started: set[NodeKey] = set()
        self.spent: set[NodeKey] = set()
        self._well: set[NodeKey] = set()
        self._in_flight: Counter[NodeKey] = Counter()
        self._suspected: Counter[NodeKey] = Counter()
        self._to_try_again: set[NodeKey] = set()
        self._just_ended: dict[NodeKey, bool] = {}
        self._ended_at = 0.0

    def begin(self) -> None:
        """An incarnation begins."""
        self.started.clear()
        self._to_try_again.clear()
        self._just_ended.clear()

    def process_died(self, in_flight: Iterable[NodeKey], now: float) -> None:
        """The process died at a time in seconds, with these nodes in flight."""
        self._note_ends(now)
        running = set(in_flight)
        self._suspected.update(running | self._to_try_again | self._just_ended.keys())
        died_in = {key for key in running if not is_barrier_key(key)} - self._well
        self._in_flight.update(died_in)
        self.spent.update(key for key in died_in if self._in_flight[key] >= self.tries)

    def ended(self, keys: Iterable[NodeKey], now: float, *, well: bool, again: bool) -> None:
        """A call of nodes ended at a time in seconds; one that ended well kills no process.

        Args:
            keys: the nodes.
            now: the time.
            well: it ended well.
            again: if it did not, its nodes may be tried again.
        """
        self._note_ends(now)
        self._ended_at = now
        self._just_ended.update(dict.fromkeys(keys, well))
        if well:
            self._well.update(keys)
            self.spent.difference_update(keys)
        elif again:
            self._to_try_again.update(keys)

    def _note_ends(self, now: float) -> None:
        """What ended long enough before this moment is known to the engine."""
        if not 0 <= now - self._ended_at <= self._unheard_s:
            for key, well in self._just_ended.items():
                if well:
                    self._suspected.pop(key, None)
                    self._to_try_again.discard(key)
            self._just_ended.clear()

    def may_give_up(self, key: NodeKey, now: float) -> bool:
        """True if so many processes died with a node in flight since it last ended well."""
        self._note_ends(now)
        return self._suspected[key] >= self.tries
