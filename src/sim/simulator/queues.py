"""Ready queues: which of the nodes that could start goes first.

A dispatch policy (`sim.policies`) is an order on ready nodes. Each *group* of columns that shares a
resource has a queue of its own, so that work for an idle endpoint does not wait for a busy one;
between groups the queue whose head comes first in the policy's order goes first.

Memory: ``row-first``, ``column-first`` and ``critical-path`` find their next row in the state bytes
and need no memory. ``fifo`` stores 16 bytes, ``random`` 8 bytes, for each waiting node.
"""

from __future__ import annotations

import heapq
import math
import random
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

from cellspec.graph.nodes import NodeKey, barrier_key
from cellspec.graph.rules import Rules
from cellspec.state.codes import READY
from cellspec.state.counters import Counters
from cellspec.state.places import SharedPlaces
from sim.draws import sequence
from sim.policies import Policy

__all__ = [
    "FifoQueue",
    "Picker",
    "PriorityQueue",
    "RandomQueue",
    "ReadyQueue",
    "make_queue",
    "pick_of",
]

_NOBODY = 1 << 62

Picker: TypeAlias = Callable[[], NodeKey | None]
"""Takes the next node to start, of those whose resource is free."""


class ReadyQueue(Protocol):
    """Ready nodes of one group, in the order of a policy."""

    def cell_pusher(self, column: int) -> Callable[[int], object]:
        """A function that takes the row of each cell of `column` that becomes ready."""

    def push_cells(self, column: int, start: int, stop: int) -> None:
        """All cells of rows ``[start, stop)`` became ready."""

    def push_barrier(self, column: int, scope: int) -> None:
        """A barrier node became ready."""

    def head_key(self) -> float:
        """Where the head stands in the policy's order, lower first; infinite if there is none."""

    def pop(self) -> NodeKey | None:
        """Take the head; None if there is none."""


class FifoQueue:
    """First in, first out: nodes as integers in one array, ranges as one entry.

    Attributes:
        key: the stamp of the head; infinite in an empty queue, and not kept without a clock.
    """

    def __init__(self, num_records: int, num_columns: int, clock: Iterator[int] | None) -> None:
        # A node is one integer, its column above the bits of its row.
        self._shift = num_records.bit_length()
        # Stamps order the heads of several queues; a queue that is alone needs none.
        self._clock = clock
        self._entries = array("i" if num_columns << self._shift < 1 << 30 else "q")
        self._stamps = array("q")
        self._head = 0
        self._ranges: deque[list[int]] = deque()
        self.key = math.inf

    def cell_pusher(self, column: int) -> Callable[[int], object]:
        base = column << self._shift
        entries, stamps, clock = self._entries.append, self._stamps.append, self._clock
        if clock is None:
            return lambda row: entries(base + row)

        empty = math.inf

        def push(row: int) -> None:
            entries(base + row)
            stamp = next(clock)
            stamps(stamp)
            if self.key == empty:
                self.key = stamp

        return push

    def push_cells(self, column: int, start: int, stop: int) -> None:
        base = column << self._shift
        self._ranges.append([base + start, base + stop])
        self._append(-1)

    def push_barrier(self, column: int, scope: int) -> None:
        self._append(-2 - (column << self._shift) - scope)

    def _append(self, entry: int) -> None:
        self._entries.append(entry)
        if self._clock is not None:
            stamp = next(self._clock)
            self._stamps.append(stamp)
            if self.key == math.inf:
                self.key = stamp

    def head_key(self) -> float:
        if self._clock is not None:
            return self.key
        return math.inf if self._head == len(self._entries) else 0

    def pop(self) -> NodeKey | None:
        head = self._head
        try:
            entry = self._entries[head]
        except IndexError:
            return None
        shift = self._shift
        if entry == -1:
            span = self._ranges[0]
            entry = span[0]
            span[0] += 1
            if span[0] < span[1]:
                column = entry >> shift
                return column, entry - (column << shift)
            self._ranges.popleft()
        self._head = head = head + 1
        if self._clock is not None:
            self.key = self._stamps[head] if head < len(self._stamps) else math.inf
        if head > 65_536 and head * 8 > len(self._entries):
            del self._entries[: self._head]
            del self._stamps[: self._head]
            self._head = 0
        if entry >= 0:
            column = entry >> shift
            return column, entry - (column << shift)
        column, scope = divmod(-2 - entry, 1 << shift)
        return barrier_key(column, scope)


class PriorityQueue:
    """A static order of columns and rows; the next row of a column is found in its state bytes.

    A cell's place in the order is one integer, of its row and its column's rank: the one that comes
    first above the bits of the other. The heap holds one live entry a column, its lowest ready row;
    an entry is stale once a lower row became ready.

    Args:
        counters: where the state bytes are.
        rank: by column, its rank among the columns.
        row_first: which of the two comes first.
    """

    def __init__(self, counters: Counters, rank: Sequence[int], *, row_first: bool) -> None:
        rows, columns = counters.rules.num_records, len(rank)
        self._counters = counters
        self._row_first = row_first
        self._shift = (columns if row_first else rows).bit_length()
        self._mask = (1 << self._shift) - 1
        self._row_shift = self._shift if row_first else 0
        self._base = [place if row_first else place << self._shift for place in rank]
        self._by_rank = sorted(range(columns), key=rank.__getitem__)
        self._heads = [_NOBODY] * columns
        self._waiting = [0] * columns
        self._heap: list[int] = []
        self._barriers: list[tuple[int, int, int]] = []

    def cell_pusher(self, column: int) -> Callable[[int], object]:
        heads, heap, base, shift = self._heads, self._heap, self._base[column], self._row_shift
        waiting, heappush = self._waiting, heapq.heappush

        def push(row: int) -> None:
            waiting[column] += 1
            key = base + (row << shift)
            if key < heads[column]:
                heads[column] = key
                heappush(heap, key)

        return push

    def push_cells(self, column: int, start: int, stop: int) -> None:
        self._waiting[column] += stop - start - 1
        self.cell_pusher(column)(start)

    def push_barrier(self, column: int, scope: int) -> None:
        heapq.heappush(self._barriers, (self._base[column], column, scope))

    def head_key(self) -> float:
        if self._barriers:
            return -1
        heap = self._heap
        while heap and self._heads[self._column_of(heap[0])] != heap[0]:
            heapq.heappop(heap)
        return heap[0] if heap else math.inf

    def _column_of(self, key: int) -> int:
        return self._by_rank[key & self._mask if self._row_first else key >> self._shift]

    def pop(self) -> NodeKey | None:
        if self._barriers:
            _, column, scope = heapq.heappop(self._barriers)
            return barrier_key(column, scope)
        heap, heads, waiting = self._heap, self._heads, self._waiting
        while heap:
            key = heap[0]
            if self._row_first:
                row = key >> self._shift
                column = self._by_rank[key & self._mask]
            else:
                row = key & self._mask
                column = self._by_rank[key >> self._shift]
            if heads[column] != key:
                heapq.heappop(heap)
                continue
            waiting[column] = left = waiting[column] - 1
            # The search would be long where no other row waits.
            following = -1
            if left:
                body = self._counters.cells[column]
                # What waited may be resolved by now: dropped, skipped, or run in a range.
                if isinstance(body, bytearray):
                    following = body.find(READY, row + 1)
            if following < 0:
                heapq.heappop(heap)
                heads[column] = _NOBODY
            else:
                heads[column] = key = key + ((following - row) << self._row_shift)
                heapq.heapreplace(heap, key)
            return column, row
        return None


class RandomQueue:
    """Uniform over the nodes that are ready.

    Args:
        num_records: rows of the dataset.
        draws: where its numbers come from.
    """

    def __init__(self, num_records: int, draws: random.Random) -> None:
        self._rows = num_records
        self._draw = draws
        self._entries = array("q")

    def cell_pusher(self, column: int) -> Callable[[int], object]:
        base = column * self._rows
        append = self._entries.append
        return lambda row: append(base + row)

    def push_cells(self, column: int, start: int, stop: int) -> None:
        self._entries.extend(range(column * self._rows + start, column * self._rows + stop))

    def push_barrier(self, column: int, scope: int) -> None:
        self._entries.append(-1 - column * self._rows - scope)

    def head_key(self) -> float:
        # A race of exponential clocks: each queue wins in proportion to what it holds.
        return self._draw.expovariate(len(self._entries)) if self._entries else math.inf

    def pop(self) -> NodeKey | None:
        entries = self._entries
        if not entries:
            return None
        place = int(self._draw.random() * len(entries))
        entry = entries[place]
        last = entries.pop()
        if place < len(entries):
            entries[place] = last
        if entry >= 0:
            return divmod(entry, self._rows)
        column, scope = divmod(-1 - entry, self._rows)
        return barrier_key(column, scope)


def make_queue(
    policy: Policy,
    counters: Counters,
    clock: Iterator[int] | None,
    label: tuple[int, int, int],
    mean_s: Callable[[int], float],
) -> ReadyQueue:
    """An empty queue of a policy.

    Args:
        policy: the order.
        counters: the state that the queue looks rows up in.
        clock: orders the heads of several queues; None if the queue is alone.
        label: seed, incarnation and group, which key the draws of the random policy.
        mean_s: by column, the expected seconds of its cell or barrier node.
    """
    rules = counters.rules
    rows, columns = rules.num_records, len(rules.columns)
    if policy == "fifo":
        return FifoQueue(rows, columns, clock)
    if policy == "random":
        return RandomQueue(rows, sequence(*label))
    if policy == "row-first":
        return PriorityQueue(counters, range(columns)[::-1], row_first=True)
    if policy == "column-first":
        return PriorityQueue(counters, range(columns), row_first=False)
    return PriorityQueue(counters, _critical_rank(rules, mean_s), row_first=False)


def _critical_rank(rules: Rules, mean_s: Callable[[int], float]) -> list[int]:
    """Rank of each column by the mean latency from its start to the end of the row."""
    columns = rules.columns
    tail = [0.0] * len(columns)
    for rule in reversed(columns):
        after = [tail[d] for d in (*rule.cell_dependents, *rule.barrier_dependents)]
        tail[rule.index] = mean_s(rule.index) + max(after, default=0.0)
    order = sorted(range(len(columns)), key=lambda c: (-tail[c], c))
    rank = [0] * len(columns)
    for place, column in enumerate(order):
        rank[column] = place
    return rank


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
        return _pick_of_any(queues, capacity, busy)
    only, most = queues[group], capacity[group]
    # Other queues draw when they are asked for their heads.
    if len(queues) == 1 or (len(groups) == 1 and isinstance(only, FifoQueue | PriorityQueue)):
        if most == sys.maxsize:
            return only.pop
        return lambda: only.pop() if busy[group] < most else None
    if all(queue.__class__ is FifoQueue for queue in queues):
        found = [(group, queues[group], capacity[group]) for group in groups]
        return _pick_of_fifo(found, busy)  # type: ignore[arg-type]

    return _pick_of_any(queues, capacity, busy)


def _pick_of_any(
    queues: Sequence[ReadyQueue], capacity: Sequence[int], busy: Sequence[int]
) -> Picker:
    """`pick_of` for queues of any policy, and for capacities that change."""

    def pick() -> NodeKey | None:
        best, chosen = math.inf, -1
        for group, queue in enumerate(queues):
            if busy[group] < capacity[group]:
                key = queue.head_key()
                if key < best:
                    best, chosen = key, group
        return queues[chosen].pop() if chosen >= 0 else None

    return pick


def _pick_of_fifo(groups: Sequence[tuple[int, FifoQueue, int]], busy: Sequence[int]) -> Picker:
    """`pick_of` for queues that know the stamps of their heads: group, queue, capacity."""

    def pick() -> NodeKey | None:
        best, chosen = math.inf, None
        for group, queue, most in groups:
            if queue.key < best and busy[group] < most:
                best, chosen = queue.key, queue
        return None if chosen is None else chosen.pop()

    return pick
