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

    def expect_turn(self, key: NodeKey) -> None:
        """Refuse the start of a ready node that overtakes another once too often (SCHED-17)."""
        number = self._number_of(key)
        if number == _NEVER or not self._is_ready(column_of(key), place_of(key)):
            return
        first, ahead = self._first(self._run.group_of[column_of(key)])
        if first is not None and first[0] < number and len(ahead) >= self._bound:
            column, place = first[1:]
            waiting = barrier_key(column, place) if self._is_barrier(column) else (column, place)
            self._run.breaks(
                "SCHED-17",
                f"{self._run.where(key)} starts, and is number {len(ahead) + 1} of those that were "
                f"ready after {self._run.where(waiting)}, which still waits; the engine promises "
                f"{counted(self._bound, 'node')} at most",
            )

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
        known = self._numbers.get(column_of(key))
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
        if head > 65_536 and 2 * head > len(numbers):
            del numbers[:head], nodes[:head]
            head = 0
        self._heads[group] = head
        del ahead[: bisect(ahead, first[0]) if first is not None else len(ahead)]
        return first, ahead

    def _is_barrier(self, column: int) -> bool:
        return self._run.barrier_flags[column]

    def _is_ready(self, column: int, place: int) -> bool:
        counters = self._run.counters
        if self._is_barrier(column):
            return counters.barrier_state(column, place) == READY
        return counters.cells[column][place] == READY
