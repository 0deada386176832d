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
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Protocol

from cellspec.graph.nodes import NodeKey, barrier_key
from cellspec.graph.rules import Rules
from cellspec.state.codes import READY
from cellspec.state.counters import Counters
from sim.draws import sequence
from sim.policies import Policy

__all__ = [
    "FifoQueue",
    "PriorityQueue",
    "RandomQueue",
    "ReadyQueue",
    "make_queue",
]

_NOBODY = 1 << 62

_COMING = 256
"""So many nodes of a queue are taken out in advance."""


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

    A cell is column x rows + row, a barrier node the same below -1, and -1 is the next range.

    The next few nodes are taken out in advance, as all that comes later is behind them.

    Attributes:
        coming: those nodes, the first of them last. If a queue with a clock holds any, some are
            there.
        coming_stamps: their places among the nodes of several queues, if there is a clock.
        heads: a heap that gets (stamp, group) of the head when the queue was empty; None if nobody
            asks.
        group: how heads name this queue.
    """

    def __init__(self, num_records: int, num_columns: int, clock: Iterator[int] | None) -> None:
        self._rows = num_records
        # Stamps order the heads of several queues; a queue that is alone needs none.
        self._clock = clock
        self._entries = array("i" if num_columns * num_records < 1 << 30 else "q")
        self._stamps = array("q")
        self._head = 0
        self._ranges: deque[list[int]] = deque()
        # Entries in the array that are no cells: ranges and barriers.
        self._others = 0
        self.coming: list[int] = []
        self.coming_stamps: list[int] = []
        self.heads: list[tuple[int, int]] | None = None
        self.group = 0

    def cell_pusher(self, column: int) -> Callable[[int], object]:
        base = column * self._rows
        entries, stamps, clock = self._entries.append, self._stamps.append, self._clock
        if clock is None:
            return lambda row: entries(base + row)

        coming, coming_stamps = self.coming, self.coming_stamps

        def push(row: int) -> None:
            stamp = next(clock)
            if coming:
                entries(base + row)
                stamps(stamp)
                return
            coming.append(base + row)
            coming_stamps.append(stamp)
            if self.heads is not None:
                heapq.heappush(self.heads, (stamp, self.group))

        return push

    def push_cells(self, column: int, start: int, stop: int) -> None:
        base = column * self._rows
        self._ranges.append([base + start, base + stop])
        self._append(-1)

    def push_barrier(self, column: int, scope: int) -> None:
        self._append(-2 - column * self._rows - scope)

    def _append(self, entry: int) -> None:
        self._entries.append(entry)
        self._others += 1
        if self._clock is not None:
            self._stamps.append(next(self._clock))
            if not self.coming:
                self._fetch()
                if self.heads is not None:
                    heapq.heappush(self.heads, (self.coming_stamps[-1], self.group))

    def head_key(self) -> float:
        if self._clock is not None:
            return self.coming_stamps[-1] if self.coming else math.inf
        return 0 if self.coming or self._head < len(self._entries) else math.inf

    def pop(self) -> NodeKey | None:
        coming = self.coming
        if not (coming or self._fetch()):
            return None
        entry = coming.pop()
        stamps = self.coming_stamps
        if stamps:
            stamps.pop()
            if not stamps:
                self._fetch()
        if entry >= 0:
            # As `divmod`, in less time.
            column = entry // self._rows
            return column, entry - column * self._rows
        return barrier_key(*divmod(-2 - entry, self._rows))

    def _fetch(self) -> bool:
        """Take the next nodes out of the array; False if there are none."""
        head = self._head
        part = self._entries[head : head + _COMING]
        if not part:
            return False
        if self._others:
            part = array(part.typecode, takewhile((0).__le__, part)) or part[:1]
        coming, passed, first = self.coming, len(part), part[0]
        if first == -1:
            start, stop = span = self._ranges[0]
            span[0] = last = min(start + _COMING, stop)
            coming += range(last - 1, start - 1, -1)
            passed = int(last == stop)
            if passed:
                self._ranges.popleft()
        else:
            part.reverse()
            coming += part
        if first < 0:
            self._others -= passed
        if self._clock is not None:
            # All nodes of a range have its stamp.
            stamps = self._stamps[head : head + passed][::-1].tolist()
            many = first == -1
            self.coming_stamps += [self._stamps[head]] * len(coming) if many else stamps
        self._head = head = head + passed
        if head > 65_536 and head * 32 > len(self._entries):
            del self._entries[:head]
            del self._stamps[:head]
            self._head = 0
        return True


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
