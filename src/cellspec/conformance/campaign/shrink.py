"""Shrinking: the search for a smaller example that breaks the same clause.

The search is the same for a workload (`cellspec.conformance.campaign.shrink_workload`) and for a
trace (`cellspec.replay.shrink_trace`). A caller brings *passes*: each pass takes an example and
gives a smaller one that still breaks the clause. `shrink` applies them until every pass fails, so
the last example is small in every respect that some pass looks at.

A count bounds the tries. A clock would make the answer depend on the speed of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeAlias, TypeVar

__all__ = ["Pass", "Tries", "fewest", "shrink"]

E = TypeVar("E")
T = TypeVar("T")

Pass: TypeAlias = Callable[[E], E | None]
"""Gives a smaller example that still breaks the clause; None if it finds none."""


class Tries(Generic[E]):
    """Asks whether an example still breaks the clause: each example once, within a limit.

    Args:
        breaks: runs an example; true if it breaks the same clause.
        most: how often `breaks` may be asked.
        key: equal for equal examples; without it, `breaks` is asked about every example.
    """

    def __init__(
        self,
        breaks: Callable[[E], bool],
        most: int,
        key: Callable[[E], Hashable] | None = None,
    ) -> None:
        self._breaks = breaks
        self._key = key
        self._asked: set[Hashable] = set()
        self.left = most

    def skip(self, example: E) -> None:
        """Take an example as asked already."""
        if self._key is not None:
            self._asked.add(self._key(example))

    def breaks(self, example: E) -> bool:
        """True if the example was asked about now, and breaks the clause."""
        if self.left <= 0:
            return False
        if self._key is not None:
            key = self._key(example)
            if key in self._asked:
                return False
            self._asked.add(key)
        self.left -= 1
        return self._breaks(example)


def shrink(example: E, passes: Sequence[Pass[E]]) -> E:
    """The last of the smaller examples; after each the passes begin again with the first."""
    while True:
        smaller = next((new for one in passes if (new := one(example)) is not None), None)
        if smaller is None:
            return example
        example = smaller


def fewest(items: Sequence[T], suffices: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """The items that are left when each single one of them is needed.

    It takes away runs of items, long ones first (delta debugging; Zeller, TSE 2002).

    Args:
        items: items that suffice.
        suffices: true if these items do as well; always called with at least one.
    """
    size = max(1, len(items) // 2)
    while True:
        place = 0
        while place < len(items):
            left = [*items[:place], *items[place + size :]]
            if left and suffices(left):
                items = left
            else:
                place += size
        if size == 1:
            return items
        size //= 2
