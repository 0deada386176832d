"""Reference engines that do the right thing and far too much of it: what they give is right.

Each breaks no clause but one about cost, and each does one thing that engines really do: it looks
at everything, it keeps what is over, it searches a line from its start, it counts what is missing.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable

from cellspec.engine.calls import Call
from cellspec.engine.scheduler import ENDED, QUEUED, Scheduler
from tests.matrix.engine_mutants import EngineMutant

COST_MUTANTS: list[EngineMutant] = []


def mutant(wrong: str) -> Callable[[type[Scheduler]], type[Scheduler]]:
    """Register a scheduler that does too much."""

    def register(broken: type[Scheduler]) -> type[Scheduler]:
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in broken.__name__).strip()
        COST_MUTANTS.append(EngineMutant(words, wrong, scheduler=broken))
        return broken

    return register


# ------------------------------------------------------------------------------------------ rows


@mutant("to find the next node, every node of the graph is looked at")
class LooksAtEveryNode(Scheduler):
    def _take(self) -> int | None:
        found = None
        for code, state in enumerate(self._state):
            free = state == QUEUED and self._has_slot(self._resource_of[code % self._count])
            if free and self._is_startable(code) and (found is None or self._before(code, found)):
                found = code
        return found

    def _before(self, code: int, other: int) -> bool:
        return Scheduler._rank(self, code) < Scheduler._rank(self, other)


@mutant("at each event every running call is asked whether it is still wanted")
class AsksEveryRunningCall(Scheduler):
    def doomed(self) -> list[Call]:
        self._dropped_since = True
        return super().doomed()


@mutant("how many rows are complete is counted from the first row at each event (seed defect 10)")
class CountsRowsFromTheFirst(Scheduler):
    def _completed_rows(self) -> int:
        row = 0
        while row < self._rows and not self._open[row]:
            row += 1
        return row


# --------------------------------------------------------------------------------------- history


@mutant("what was done is counted from a log of everything that was done")
class ReadsItsLogAgain(Scheduler):
    def _reset(self) -> None:
        super()._reset()
        self._log: list[int] = []

    def _count_cell(self, row: int) -> None:
        self._log.append(row)
        super()._count_cell(row)
        self._cells_done = sum(1 for _ in self._log)


class _OneLine(Scheduler):
    """A scheduler with one line for all that is ready, and a look at it from its start."""

    def _reset(self) -> None:
        super()._reset()
        self._line: list[tuple[int, int]] = []

    def _enqueue(self, code: int) -> None:
        super()._enqueue(code)
        insort(self._line, (self._rank(code), code))

    def _may_take(self, code: int) -> bool:
        return self._has_slot(self._resource_of[code % self._count]) and self._is_startable(code)


@mutant("what was started stays in line, and is passed over each time")
class KeepsWhatIsOver(_OneLine):
    def _take(self) -> int | None:
        for _, code in self._line:
            if self._may_take(code):
                return code
        return None


# ----------------------------------------------------------------------------------------- queue


@mutant("there is one line for all resources, and it is searched from its start each time")
class SearchesTheLine(_OneLine):
    def _take(self) -> int | None:
        for place, (_, code) in enumerate(self._line):
            if self._may_take(code):
                del self._line[place]
                return code
        return None


# --------------------------------------------------------------------------------------- barrier


@mutant("at each cell that a barrier needs, the rows that it still waits for are counted")
class CountsWhatIsMissing(Scheduler):
    def _resolve(self, column: int, row: int) -> None:
        super()._resolve(column, row)
        for rule in self._columns:
            if rule.is_barrier and column in rule.needs:
                self._missing(column, row // rule.scope_rows, rule.index)

    def _missing(self, column: int, scope: int, barrier: int) -> int:
        start, stop = self.graph.rules.scope_bounds(barrier, scope)
        rows = range(start, stop)
        return sum(self._state[self._cell_code(column, row)] != ENDED for row in rows)


@mutant("at each cell that a barrier needs, the first row that it waits for is searched")
class SearchesWhatIsMissing(CountsWhatIsMissing):
    def _missing(self, column: int, scope: int, barrier: int) -> int:
        row, stop = self.graph.rules.scope_bounds(barrier, scope)
        while row < stop and self._state[self._cell_code(column, row)] == ENDED:
            row += 1
        return row
