"""`OpenSaves`: which saves are being written, and what could be claimed when each was begun.

What becomes claimable while a save is being written may wait for its end: an engine that writes one
save at a time can do no more. So a save is *open since* its begin; one that begins as another
ends was due while that one was written, and is open since the begin of that one. A claim whose data
was durable just now is one save with that data.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable
from typing import NamedTuple

__all__ = ["Mark", "OpenSaves"]


class Mark(NamedTuple):
    """A moment: the time in seconds, and what could be claimed then, as the policy counts it."""

    at: float
    rows: int


class OpenSaves:
    """Writes, claims and commits that are open, in the order in which they began."""

    def __init__(self) -> None:
        self._open: OrderedDict[Hashable, tuple[Mark, Mark]] = OrderedDict()
        self._ended_at = 0.0
        self._ended: Mark | None = None
        self._data_ended: Mark | None = None

    def begin(self, save: Hashable, now: Mark, *, claims: bool = False) -> None:
        """A save begins now; `claims` if it is a claim on data that was written before it."""
        if self._ended_at != now.at:
            self._ended = self._data_ended = None
        own = self._data_ended if claims and self._data_ended is not None else now
        since = own if self._ended is None else min(own, self._ended)
        self._open.setdefault(save, (own, since))

    def end(self, save: Hashable, at: float, *, failed: bool = False) -> None:
        """A save is durable, or has failed, at a time in seconds."""
        own, _ = self._open.pop(save, (None, None))
        if self._ended_at != at:
            self._ended_at, self._ended, self._data_ended = at, None, None
        if own is None or failed:
            return
        self._ended = own if self._ended is None else min(own, self._ended)
        if isinstance(save, tuple):
            self._data_ended = own if self._data_ended is None else min(own, self._data_ended)

    def keep_writes(self, writes: Collection[Hashable], at: float, *, failed: bool = False) -> None:
        """Of writes of rows, which are tuples, these alone are open still."""
        over = [save for save in self._open if isinstance(save, tuple) and save not in writes]
        for save in over:
            self.end(save, at, failed=failed)

    def clear(self) -> None:
        """The process is gone, with its saves."""
        self._open.clear()
        self._ended = self._data_ended = None

    @property
    def since(self) -> Mark | None:
        """The moment since which the oldest of them is open; None if none is."""
        return next(iter(self._open.values()))[1] if self._open else None
