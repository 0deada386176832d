"""The order in which an engine starts ready calls: which of our policies it agrees with most.

At each start of a call for which others were ready too, every policy of `sim.policies` but
``random`` names the call that it would start. So does ``fifo`` with equal `shares`, which takes the
column that has the fewest calls in flight. The share of starts in which that is the engine's choice
is the policy's agreement; the greatest one is taken. No engine has to follow any of these orders,
but how long the end of its run takes depends on the order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, Literal, TypeAlias, get_args

from sim.experiments.calibration.record import Call, Record
from sim.policies import Policy

__all__ = ["Dispatch", "Order", "dispatch_of"]

Order: TypeAlias = Literal["fifo", "row-first", "column-first", "critical-path", "shares"]
"""An order that is tried; ``shares`` is ``fifo`` with equal shares of each resource."""

_ORDERS: Final[tuple[Order, ...]] = get_args(Order)
_SAME_S = 1e-9

Key: TypeAlias = Callable[[Call], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Dispatch:
    """How far an engine follows each order.

    Attributes:
        starts: of calls for which others were ready too.
        agreement: by order, the share of these starts that it would have made.
    """

    starts: int
    agreement: Mapping[Order, float]

    @property
    def order(self) -> Order:
        """The one that the engine agrees with most; of equal ones the first of `Order`."""
        return max(_ORDERS, key=lambda name: self.agreement.get(name, 0.0))

    def words(self, resources: Mapping[str, str]) -> dict[str, Any]:
        """The fields of a scenario that say so.

        Args:
            resources: by column that takes one, its resource.
        """
        policy: Policy = "fifo" if self.order == "shares" else self.order
        found: dict[str, Any] = {"policy": policy}
        if self.order == "shares":
            shares: dict[str, dict[str, float]] = {}
            for column, resource in resources.items():
                shares.setdefault(resource, {})[column] = 1.0
            found["shares"] = {name: each for name, each in shares.items() if len(each) > 1}
        return found


def dispatch_of(record: Record) -> Dispatch:
    """The order that an engine agrees with most."""
    calls = [call for call in record.calls if call.ready_s is not None and call.number == 1]
    keys = _keys(record, calls)
    by_queue: dict[str, list[Call]] = {}
    for call in calls:
        by_queue.setdefault(record.resources.get(call.column, ""), []).append(call)
    starts, agreed = 0, dict.fromkeys(_ORDERS, 0)
    for mine in by_queue.values():
        starts += _agree(mine, keys, agreed)
    shares = {name: count / starts for name, count in agreed.items()} if starts else {}
    return Dispatch(starts, shares)


def _keys(record: Record, calls: Sequence[Call]) -> dict[Order, Key]:
    """By policy, the key of a ready call: the least one starts first."""
    place = {name: number for number, name in enumerate(record.columns)}
    seconds: dict[str, list[float]] = {}
    for call in calls:
        seconds.setdefault(call.column, []).append(call.seconds)
    path_s = _paths_s(record, {name: fmean(each) for name, each in seconds.items()})
    return {
        "fifo": _ready,
        "row-first": lambda call: (call.place, -place[call.column]),
        "column-first": lambda call: (place[call.column], call.place),
        "critical-path": lambda call: (-path_s[call.column], call.place),
    }


def _ready(call: Call) -> tuple[float, ...]:
    return (call.ready_s or 0.0,)


def _paths_s(record: Record, mean_s: Mapping[str, float]) -> dict[str, float]:
    """By column, the longest mean time from the start of its call to the end of the row."""
    items = record.scenario["columns"]
    maker = {name: item["name"] for item in items for name in _produced(item)}
    found: dict[str, float] = {name: mean_s.get(name, 0.0) for name in record.columns}
    # Longest paths settle after as many rounds as there are columns.
    for _ in items:
        for item in items:
            for need in item.get("dependencies", ()):
                before = maker.get(need, item["name"])
                longer = mean_s.get(before, 0.0) + found[item["name"]]
                if before != item["name"]:
                    found[before] = max(found[before], longer)
    return found


def _produced(item: Mapping[str, Any]) -> list[str]:
    return [item["name"], *item.get("side_effects", ())]


class _Heap:
    """Ready calls by a key, of which those that started are left out late."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self._items: list[tuple[tuple[float, ...], int]] = []

    def push(self, call: Call, number: int) -> None:
        heapq.heappush(self._items, (self.key(call), number))

    def is_first(self, call: Call) -> bool:
        """Whether no other has a lesser key, but for a rounding of a time."""
        if not self._items:
            return False
        mine, least = self.key(call), self._items[0][0]
        return mine <= least or (len(mine) == 1 and mine[0] <= least[0] + _SAME_S)

    def leave_out(self, started: Container[int]) -> bool:
        """Leave out calls that have started; gives whether any is left."""
        while self._items and self._items[0][1] in started:
            heapq.heappop(self._items)
        return bool(self._items)


def _agree(calls: Sequence[Call], keys: Mapping[Order, Key], agreed: dict[Order, int]) -> int:
    """Count, for the calls of one queue, the starts that each order would have made."""
    order = sorted(range(len(calls)), key=lambda number: calls[number].start_s)
    coming = sorted(range(len(calls)), key=lambda number: calls[number].ready_s or 0.0)
    heaps = {name: _Heap(key) for name, key in keys.items()}
    columns = {call.column: _Heap(_ready) for call in calls}
    running: list[tuple[float, str]] = []
    in_flight = dict.fromkeys(columns, 0)
    started: set[int] = set()
    starts = next_one = 0
    for count, number in enumerate(order):
        call = calls[number]
        until = call.free_s if call.free_s is not None else call.start_s
        while next_one < len(coming) and (calls[coming[next_one]].ready_s or 0.0) <= until:
            one = coming[next_one]
            for heap in (*heaps.values(), columns[calls[one].column]):
                heap.push(calls[one], one)
            next_one += 1
        while running and running[0][0] <= until:
            in_flight[heapq.heappop(running)[1]] -= 1
        if next_one - count >= 2:
            starts += 1
            for name, heap in heaps.items():
                heap.leave_out(started)
                agreed[name] += heap.is_first(call)
            fewest = min(in_flight[x] for x, heap in columns.items() if heap.leave_out(started))
            its_turn = in_flight[call.column] == fewest
            agreed["shares"] += its_turn and columns[call.column].is_first(call)
        started.add(number)
        heapq.heappush(running, (call.end_s, call.column))
        in_flight[call.column] += 1
    return starts
