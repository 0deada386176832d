"""Overtaking: which ready nodes started before one that was ready earlier (clause SCHED-17).

Kept only for a run whose engine promises a bound. Nodes get a number when they become ready; those
that one step makes ready share it, for none of them is later than another. Of the nodes of one
resource the one with the lowest number that still waits was overtaken most, by each
node with a higher number that has started: these are kept, and there are no more of them than the
promised bound. So a start costs O(log bound), and memory is eight bytes for each cell that became
ready and for each that waits.
"""

from __future__ import annotations

from array import array
from bisect import bisect, insort
from collections.abc import Callable, Sequence

from cellspec.graph.nodes import NodeKey, barrier_key, column_of, is_barrier_key, place_of
from cellspec.machine.explain_refusal import expect_starts
from cellspec.machine.run_state import RunState
from cellspec.state.codes import READY
from cellspec.text import counted

__all__ = ["Overtaking"]

_NEVER = -1


class Overtaking:
    """The order in which nodes became ready, and the starts that were out of it.

    Args:
        run: the run.
        bound: the most later nodes of its resource that may overtake a ready one.
    """

    def __init__(self, run: RunState, bound: int) -> None:
        self._run = run
        self._bound = bound
        self.begin()

    def begin(self) -> None:
        """Forget everything: an incarnation begins."""
        groups = self._run.output_group + 1
        self._next = 0
        self._numbers: dict[int, array[int]] = {}
        # By resource: the numbers and the nodes in line, and the starts ahead of the first.
        self._lines = [(array("q"), array("q")) for _ in range(groups)]
        self._heads = [0] * groups
        self._ahead: list[list[int]] = [[] for _ in range(groups)]

    def listener(
        self,
        on_cell: Sequence[Callable[[int], object]] | None,
        on_cells: Callable[[int, int, int], object],
        on_barrier: Callable[[int, int], object],
    ) -> tuple[
        list[Callable[[int], object]],
        Callable[[int, int, int], object],
        Callable[[int, int], object],
    ]:
        """Subscribers that number each ready node, and hand it on to others."""

        def of(column: int) -> Callable[[int], object]:
            hand_on = None if not on_cell else on_cell[column]

            def ready(row: int) -> None:
                self._number(column, row)
                if hand_on is not None:
                    hand_on(row)

            return ready

        def cells(column: int, start: int, stop: int) -> None:
            for row in range(start, stop):
                self._number(column, row)
            on_cells(column, start, stop)

        def barrier(column: int, scope: int) -> None:
            self._number(*barrier_key(column, scope))
            on_barrier(column, scope)

        return [of(column) for column in range(len(self._run.barrier_flags))], cells, barrier

    def _number(self, first: int, second: int) -> None:
        """Give a node, by its key, the number of this step."""
        run, key = self._run, (first, second)
        column = column_of(key)
        if run.barrier_flags[column] and not is_barrier_key(key):
            # Output waits for no turn: it needs no call.
            return
        known = self._numbers.get(column)
        if known is None:
            places = run.graph.num_records
            known = self._numbers[column] = array("q", (_NEVER,)) * places
        known[place_of(key)] = self._next
        numbers, places_in_line = self._lines[run.group_of[column]]
        numbers.append(self._next)
        places_in_line.append(column * run.graph.num_records + place_of(key))

    def next_step(self) -> None:
        """What becomes ready from now on is ready later than what already is."""
        self._next += 1

    def expect_turn(self, *keys: NodeKey) -> None:
        """Refuse a start that overtakes a node once too often: of a node, or a range (SCHED-17)."""
        passed = self._passed(keys)
        if passed is None or not expect_starts(self._run, self._run.where(keys[0])):
            return
        waiting, starts = passed
        self._run.breaks(
            "SCHED-17",
            f"{self._run.where(keys[-1])} starts, and is number {starts} of those that were "
            f"ready after {self._run.where(waiting)}, which still waits; the engine promises "
            f"{counted(self._bound, 'node')} at most",
        )

    def is_in_turn(self, key: NodeKey) -> bool:
        """True if the start of a node overtakes no other once too often, or is none anyway."""
        return self._passed((key,)) is None

    def _passed(self, keys: Sequence[NodeKey]) -> tuple[NodeKey, int] | None:
        """The node that a start would overtake once too often, and how often with it."""
        group = self._run.group_of[column_of(keys[0])]
        first, ahead = self._first(group)
        later = [self._number_of(key) for key in keys if self._waits(key)]
        if first is None or max(later, default=_NEVER) <= first[0]:
            return None
        number, waiting = first[0], self._key(*first[1:])
        if waiting in keys:
            beside = self._first_beside(group, keys)
            if beside is None:
                return None
            number, waiting = beside
        starts = len(ahead) - bisect(ahead, number) + sum(each > number for each in later)
        if max(later) <= number or starts <= self._bound:
            return None
        return waiting, starts

    def _first_beside(self, group: int, keys: Sequence[NodeKey]) -> tuple[int, NodeKey] | None:
        """The node of a resource that waits longest, beside some that start, and its number."""
        for number, place in zip(*self._lines[group], strict=True):
            key = self._key(*divmod(place, self._run.graph.num_records))
            if self._number_of(key) == number and key not in keys and self._waits(key):
                return number, key
        return None

    def _waits(self, key: NodeKey) -> bool:
        return self._number_of(key) != _NEVER and self._is_ready(column_of(key), place_of(key))

    def _key(self, column: int, place: int) -> NodeKey:
        return barrier_key(column, place) if self._is_barrier(column) else (column, place)

    def started(self, key: NodeKey) -> None:
        """A node has started."""
        self.next_step()
        number = self._number_of(key)
        if number == _NEVER:
            return
        column = column_of(key)
        self._numbers[column][place_of(key)] = _NEVER
        first, ahead = self._first(self._run.group_of[column])
        if first is not None and first[0] < number:
            insort(ahead, number)

    def _number_of(self, key: NodeKey) -> int:
        column = column_of(key)
        if self._is_barrier(column) and not is_barrier_key(key):
            # Its place would be that of another barrier node.
            return _NEVER
        known = self._numbers.get(column)
        return _NEVER if known is None else known[place_of(key)]

    def _first(self, group: int) -> tuple[tuple[int, int, int] | None, list[int]]:
        """The node of a resource that waits longest, with its number; the starts ahead of it."""
        numbers, nodes = self._lines[group]
        head, rows, ahead = self._heads[group], self._run.graph.num_records, self._ahead[group]
        first = None
        while head < len(numbers):
            column, place = divmod(nodes[head], rows)
            if self._numbers[column][place] == numbers[head] and self._is_ready(column, place):
                first = numbers[head], column, place
                break
            head += 1
        if 2 * head > len(numbers):
            # They are more than those that move up, so a node that passes costs O(1).
            del numbers[:head], nodes[:head]
            head = 0
        self._heads[group] = head
        del ahead[: bisect(ahead, first[0]) if first is not None else len(ahead)]
        return first, ahead

    def _is_barrier(self, column: int) -> bool:
        return self._run.barrier_flags[column]

    def _is_ready(self, column: int, place: int) -> bool:
        counters, killers = self._run.counters, self._run.killers
        if self._is_barrier(column):
            return counters.barrier_state(column, place) == READY
        if killers is not None and (column, place) in killers.spent:
            return False
        return counters.cells[column][place] == READY
