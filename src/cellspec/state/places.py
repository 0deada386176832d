"""Places of resources, where a call may take several: of one resource, or of several resources.

A *group* of columns takes the same places. A call of it starts when all of them are free, and holds
all of them to its end. Who needs more than are free is passed over: what fits starts before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, overload

__all__ = ["SharedPlaces"]


class _Busy(Protocol):
    busy: list[int]


class SharedPlaces(Sequence[int]):
    """By group, how many of its calls may be in flight beside those of other groups that are.

    It stands where a list of capacities does, and is worked out when somebody asks: O(groups of the
    resources that the group takes).

    Args:
        limits: by resource, its places.
        takes: by group, by resource that it takes, the places that a call takes.
        unlimited: the number of calls of a group that takes none.
    """

    def __init__(
        self, limits: Sequence[int], takes: Sequence[Mapping[int, int]], unlimited: int
    ) -> None:
        self._limits = limits
        self._takes = [tuple(each.items()) for each in takes]
        self._takers = [
            [(group, each[resource]) for group, each in enumerate(takes) if resource in each]
            for resource in range(len(limits))
        ]
        # By group, for each resource: what may be taken if it is to fit, and who takes any.
        self._most = [
            [(limits[resource] - places, self._takers[resource]) for resource, places in each]
            for each in self._takes
        ]
        self._unlimited = unlimited
        self._nodes: _Busy | None = None

    def watch(self, nodes: _Busy) -> None:
        """From now on these nodes are those in flight."""
        self._nodes = nodes

    def fits(self, group: int) -> bool:
        """True if all places that a call takes are free."""
        assert self._nodes is not None
        busy = self._nodes.busy
        for most, takers in self._most[group]:
            taken = 0
            for other, places in takers:
                taken += busy[other] * places
            if taken > most:
                return False
        return True

    def taken(self, resource: int) -> int:
        """The places of a resource that calls in flight hold."""
        if self._nodes is None:
            return 0
        busy = self._nodes.busy
        return sum(busy[group] * places for group, places in self._takers[resource])

    def lacking(self, group: int) -> Iterator[tuple[int, int]]:
        """The resources of which too few places are free for a call, and how many it takes."""
        for resource, places in self._takes[group]:
            if self.taken(resource) + places > self._limits[resource]:
                yield resource, places

    @overload
    def __getitem__(self, group: int) -> int: ...

    @overload
    def __getitem__(self, group: slice) -> list[int]: ...

    def __getitem__(self, group: int | slice) -> int | list[int]:
        if isinstance(group, slice):
            return [self[each] for each in range(*group.indices(len(self)))]
        takes = self._takes[group]
        if not takes:
            return self._unlimited
        more = min((self._limits[each] - self.taken(each)) // places for each, places in takes)
        return more if self._nodes is None else self._nodes.busy[group] + more

    def __len__(self) -> int:
        return len(self._takes)
