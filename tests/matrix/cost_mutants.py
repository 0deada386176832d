"""Reference engines that do the right thing and far too much of it: what they give is right.

Each breaks no clause but one about cost, and each does one thing that engines really do: it looks
at everything, it keeps what is over, it searches a line from its start, it counts what is missing.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from typing import Any

from cellspec.engine.call_states import ENDED, QUEUED
from cellspec.engine.calls import Call
from cellspec.engine.progress import Progress
from cellspec.engine.ready_queues import ReadyQueues
from cellspec.engine.scheduler import Scheduler
from cellspec.graph.nodes import NodeKey, barrier_key, cell_key, column_of
from tests.matrix.engine_mutants import EngineMutant, as_scheduler

COST_MUTANTS: list[EngineMutant] = []


def mutant(wrong: str) -> Callable[[type], type]:
    """Register a scheduler, or a part of one, that does too much."""

    def register(broken: type) -> type:
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in broken.__name__).strip()
        COST_MUTANTS.append(EngineMutant(words, wrong, scheduler=as_scheduler(broken)))
        return broken

    return register


# ------------------------------------------------------------------------------------------ rows


@mutant("to find the next node, every node of the graph is looked at")
class LooksAtEveryNode(ReadyQueues):
    def take(self) -> NodeKey | None:
        found = None
        for key in self._every_key():
            free = self.progress.state[key] == QUEUED and self.slots.has_slot(
                self.slots.resource_of[column_of(key)]
            )
            if free and self.is_startable(key) and (found is None or self._before(key, found)):
                found = key
        return found

    def _every_key(self) -> Iterator[NodeKey]:
        rules, columns = self.progress.rules, range(self.progress.column_count)
        for row in range(self.progress.rows):
            yield from (cell_key(column, row) for column in columns)
        for column in columns:
            yield from (barrier_key(column, scope) for scope in range(rules.scope_count(column)))

    def _before(self, key: NodeKey, other: NodeKey) -> bool:
        return ReadyQueues.rank(self, key) < ReadyQueues.rank(self, other)


@mutant("at each event every running call is asked whether it is still wanted")
class AsksEveryRunningCall(Scheduler):
    def doomed(self) -> list[Call]:
        self._dropped_since = True
        return super().doomed()


@mutant("how many rows are complete is counted from the first row at each event (seed defect 10)")
class CountsRowsFromTheFirst(Progress):
    def completed_rows(self) -> int:
        row = 0
        while row < self.rows and not self.open_cells[row]:
            row += 1
        return row


# --------------------------------------------------------------------------------------- history


@mutant("what was done is counted from a log of everything that was done")
class ReadsItsLogAgain(Progress):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._log: list[int] = []

    def count_cell(self, row: int) -> None:
        self._log.append(row)
        super().count_cell(row)
        self.cells_done = sum(1 for _ in self._log)


class _OneLine(ReadyQueues):
    """One line for all that is ready, which is searched from its start."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._line: list[tuple[int, NodeKey]] = []

    def enqueue(self, key: NodeKey) -> None:
        super().enqueue(key)
        insort(self._line, (self.rank(key), key))

    def _may_take(self, key: NodeKey) -> bool:
        resource = self.slots.resource_of[column_of(key)]
        return self.slots.has_slot(resource) and self.is_startable(key)


@mutant("what was started stays in line, and is passed over each time")
class KeepsWhatIsOver(_OneLine):
    def take(self) -> NodeKey | None:
        for _, key in self._line:
            if self._may_take(key):
                return key
        return None


# ----------------------------------------------------------------------------------------- queue


@mutant("there is one line for all resources, and it is searched from its start each time")
class SearchesTheLine(_OneLine):
    def take(self) -> NodeKey | None:
        for place, (_, key) in enumerate(self._line):
            if self._may_take(key):
                del self._line[place]
                return key
        return None


# --------------------------------------------------------------------------------------- barrier


@mutant("at each cell that a barrier needs, the rows that it still waits for are counted")
class CountsWhatIsMissing(Progress):
    def resolve(self, column: int, row: int) -> None:
        super().resolve(column, row)
        for rule in self.rules.columns:
            if rule.is_barrier and column in rule.needs:
                self._missing(column, row // rule.scope_rows, rule.index)

    def _missing(self, column: int, scope: int, barrier: int) -> int:
        start, stop = self.rules.scope_bounds(barrier, scope)
        rows = range(start, stop)
        return sum(self.state[cell_key(column, row)] != ENDED for row in rows)


@mutant("at each cell that a barrier needs, the first row that it waits for is searched")
class SearchesWhatIsMissing(CountsWhatIsMissing):
    def _missing(self, column: int, scope: int, barrier: int) -> int:
        row, stop = self.rules.scope_bounds(barrier, scope)
        while row < stop and self.state[cell_key(column, row)] == ENDED:
            row += 1
        return row
