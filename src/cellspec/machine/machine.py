"""The transition system: a run's state, the actions it allows, and what each one does.

Everything that runs, explores or judges goes through `Machine`. Its state is, for each node,
pending (a countdown), running, complete, skipped or dropped; which rows are dropped, and which of
these drops the engine has recorded; what is durable; the claim being written; and the incarnation,
0 and then one more at each resume. An action that the specification does not allow raises
`Violation` with the clause that it would break, and changes nothing; of an action on several single
cells, those before the one that breaks it have been taken.

====================  =======================================================================
action                meaning
====================  =======================================================================
start                 a cell, a range of a streamable column, or a barrier node begins; it takes
                      a worker and a resource
complete              what was started ends well, or gives some rows of its range
emit                  output cells of a finished barrier, as a range: start and complete at once
fail                  what was started ends badly; it may be tried again, or has failed for good
cancel                what was started ends without a result, because nobody wants it any more
skip                  a cell is resolved without a value
drop                  the engine records that rows are given up, and because of which column
admit, retire         a row group begins, and ends
durable               data is safe on storage
checkpoint_begin      a claim is being written
checkpoint_durable    that claim is safe on storage
checkpoint_failed     that claim could not be written
crash                 everything that is not durable is gone
resume                a new incarnation begins, from a claim that storage gave back
stop                  an early stop: nothing starts any more
end                   the run reports how it ended
====================  =======================================================================

A node *fails for good* with a permanent failure, or when a retryable one spends its last attempt.
At that moment its row is dropped: every open cell of the row is resolved, and barriers wait for it
no longer. A barrier that fails for good drops the rows that still wanted its output. The `drop`
that follows is a record, and comes before a claim holds a cell that the drop left unmade.

A driver decides which action comes next. The simulator, where time decides, calls the methods
directly. A driver that enumerates asks `enabled` and hands an `Action` to `apply`; an action names
its column, so a recorded list replays on any driver.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile
from typing import Any

from cellspec.errors import SpecError
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.rowset import Ranges, RowSet, add_range, ranges_of, rows_of
from cellspec.machine.actions import Action, Choose, Failure, Outcome
from cellspec.machine.explain_refusal import FAILED, Key, Refusals, words_of
from cellspec.machine.limits import FailurePolicy, Limits, check_limits
from cellspec.machine.policy import changed_scopes, is_final
from cellspec.state.counters import (
    COOLING,
    DONE,
    RANGED,
    READY,
    RUNNING,
    SKIP_READY,
    UNLIMITED,
    Claim,
    Counters,
)
from cellspec.text import be, counted, row_words

__all__ = [
    "Action",
    "Choose",
    "Failure",
    "FailurePolicy",
    "Limits",
    "Machine",
    "Outcome",
    "Ranges",
]

_FORGET_ABOVE = 1024


@dataclass(slots=True)
class _Range:
    """A range in flight: rows ``[start, stop)``, and those that it has not given yet."""

    start: int
    stop: int
    left: int
    given: set[int] = field(default_factory=set)


def _start_of(ranged: _Range) -> int:
    return ranged.start


class Machine(Refusals):
    """The transition system of one run, interpreted by counters.

    Args:
        graph: what is to be generated.
        limits: what may run at once.
        failures: what failures do; by default nothing is tried again. `enabled` offers failures
            only if this is given.
        drops: the engine claims to drop rows and to go on without them; where it does not, a run
            may give up at a failure for good (clause SCHED-14).
        waive: clauses not to judge; a step that breaks one is taken, and what follows is judged as
            if it had been right (see `cellspec.machine.explain_refusal`).

    Raises:
        SpecError: limits under which a barrier could never run (clause GROUP-04).

    Attributes:
        counters: what is ready and what is done.
        incarnation: 0, and one more at each resume.
        now: the time of the last event, in seconds.
        durable: for each column, how many first rows are safe on storage.
        durable_claim: the last claim that became durable.
        pending_claim: the claim being written, or None.
        attempts: by node, the attempts that it has spent in this incarnation, or `FAILED`.
        cooling: by node that failed and may be tried again, from when; None if that is left open.
        unrecorded: rows that are dropped and not yet recorded, each with the column that failed.
        admitted: the row groups that are admitted.
        must_stop: so many of the last calls failed that nothing may start any more.
        stopped: the engine has stopped early.
        unsaved: a claim could not be written, and none has been since.
        on_step: called with each step that was taken, as an `Action`, after it was; None for
            nobody. A step that is refused is not passed on, nor are those that a driver takes on
            `counters` directly.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        limits: Limits | None = None,
        *,
        failures: FailurePolicy | None = None,
        drops: bool = True,
        waive: Collection[str] = (),
    ) -> None:
        limits = limits or Limits()
        self._drops_rows = drops
        self._waived = frozenset(waive)
        self._judges_idleness = not {"SCHED-09", "GROUP-06"} <= self._waived
        self.limits = limits
        self.failures = failures or FailurePolicy()
        self._stop_failures = self.failures.stop_failures
        self.on_step: Callable[[Action], object] | None = None
        self._offers_failures = failures is not None
        # Groups of ready work: one a resource, one for columns that take none, and one for the
        # output cells of barriers, which take no worker either.
        self._output_group = len(limits.resources) + 1
        self._capacity = [*limits.resources.values(), UNLIMITED, UNLIMITED]
        self._workers = UNLIMITED if limits.workers is None else limits.workers
        self.incarnation = 0
        self.now = 0.0
        self.crashed = False
        self.ended = False
        zero = (0,) * graph.num_columns
        self.durable_claim: Claim = zero
        self.pending_claim: Claim | None = None
        self.durable = list(zero)
        self._set_graph(graph)
        self.listen(None, lambda *_: None, lambda *_: None)

    def _set_graph(self, graph: ExecutionGraph) -> None:
        rules = graph.rules
        check_limits(self.limits, rules)
        self.graph = graph
        self._is_barrier = [rule.is_barrier for rule in rules.columns]
        names = list(self.limits.resources)
        resource_of = self.limits.column_resource
        self.group_of = [
            names.index(resource_of[rule.name]) if rule.name in resource_of else len(names)
            for rule in rules.columns
        ]
        self.counters = Counters(
            rules,
            groups=self.group_of,
            output_group=self._output_group,
            capacity=self._capacity,
            workers=self._workers,
            judge=self,
            group_rows=self.limits.group_rows,
        )

    def listen(
        self,
        on_cell: Sequence[Callable[[int], object]] | None,
        on_cells: Callable[[int, int, int], object],
        on_barrier: Callable[[int, int], object],
        on_skip: Callable[[int, int], object] = lambda *_: None,
    ) -> None:
        """Say who hears of ready work (see `Counters.listen`), from now or the next resume on.

        Before the first action everything that is ready is announced at once; later, a driver
        calls this between a crash and its resume.
        """
        self.counters.listen(on_cell, on_cells, on_barrier, on_skip)
        if not self.crashed and not self.ended:
            self._restore(self.durable_claim)

    def _note(
        self,
        kind: str,
        column: int | None = None,
        rows: tuple[int, int] | None = None,
        **fields: Any,
    ) -> None:
        """Hand a step that was taken to `on_step`."""
        assert self.on_step is not None
        name = "" if column is None else self._name(column)
        self.on_step(Action(kind, name, rows, **fields))

    def _restore(
        self,
        claim: Claim,
        dropped: RowSet | None = None,
        skipped: Mapping[int, RowSet] | None = None,
        lost: Mapping[int, RowSet] | None = None,
    ) -> None:
        self.attempts = {}
        self.cooling = {}
        self._due: list[tuple[float, Key]] = []
        self._ranges: list[list[_Range]] = [[] for _ in claim]
        self._strays = {}
        self._presumed = set()
        self._stored: list[list[tuple[int, int]]] = [[] for _ in claim]
        self.unrecorded: dict[int, int] = {}
        self._forget_at = 0
        # Recorded drops, in the order in which they came: storage holds those before a claim.
        self._recorded = array("q", dropped or ())
        self._durable_drops = self._pending_drops = len(self._recorded)
        self.must_stop = self.stopped = self.unsaved = False
        self._lost_rows = self._failed_for_good = False
        self._ends: deque[bool] = deque(maxlen=self.failures.stop_window or 1)
        self._failed_ends = 0
        self.admitted = set()
        self._admissions: set[int] = set()
        self._was_admitted = set()
        self.counters.restore(claim, dropped, skipped, lost)
        self._waiting_groups = self._open_groups()

    def _open_groups(self) -> int:
        """How many row groups have something left to do, and are not admitted."""
        size, total = self.limits.group_rows, self.graph.num_records
        if size is None:
            return 0
        return sum(
            start // size not in self._was_admitted
            and not self.counters.is_range_resolved(start, min(start + size, total))
            for start in range(0, total, size)
        )

    def _unresolved(self, start: int, stop: int) -> str | None:
        """One cell of rows ``[start, stop)`` that is not resolved, in words."""
        for rule in self.graph.rules.columns:
            row = self.counters.find_unresolved(rule.index, start, stop)
            if row >= 0:
                return f"{rule.name}[{row}]"
        return None

    @property
    def completed_rows(self) -> int:
        """Rows resolved without a gap from row 0. O(1): kept as rows finish."""
        return self.counters.rows[0]

    @property
    def in_flight(self) -> int:
        """Nodes running, output cells of barriers not counted."""
        return self.counters.load[0]

    # Time

    def at(self, t: float) -> None:
        """The clock reads `t` seconds; what could have been started before must have been.

        Raises:
            Violation: SCHED-08 (time fell), SCHED-09 (dispatchable work was left when time moved),
                GROUP-06 (a row group was left waiting).
        """
        if t > self.now:
            while self._due and self._due[0][0] < t:
                # What cools down until a moment at which nothing else happens is ready from then.
                self._leave(self._due[0][0])
                self._cool_down(self._due[0][0])
            self._leave(t)
            self._cool_down(t)
        elif t < self.now:
            self._breaks("SCHED-08", f"t fell from {self.now:g} s to {t:g} s")

    def _leave(self, t: float) -> None:
        """Time moves on to `t`: nothing that could have been started may be left."""
        # With every worker busy only output cells and groups could wait; the common case ends here.
        counters = self.counters
        if (
            t > self.now
            and self._judges_idleness
            and (
                counters.load[0] < self._workers
                or counters.ready[self._output_group]
                or self._waiting_groups
            )
            and not (self.crashed or self.ended or self.must_stop or self.stopped)
        ):
            if not self._drops_rows and self._gives_up():
                return
            idle = self.dispatchable()
            if idle:
                self._breaks(
                    "SCHED-09",
                    f"{idle} at t={self.now:g} s was ready, with a worker and its resource "
                    f"free, and was not started before t={t:g} s",
                )
            self._leave_groups(t)

    def _starts_no_more(self) -> bool:
        """True if the run stops early, or may be giving up: it may, with or without a record."""
        lost = not self._drops_rows and self._failed_for_good
        return self.must_stop or self.stopped or lost or self._gives_up()

    def _gives_up(self) -> bool:
        """True if a row is lost to an engine that does not claim to go on without rows.

        One that records the drop shows that it does go on.
        """
        return not self._drops_rows and bool(self.unrecorded)

    def _leave_groups(self, t: float) -> None:
        most = self.limits.groups
        if (
            not self._waiting_groups
            or (most is not None and len(self.admitted) >= most)
            or "GROUP-06" in self._waived
        ):
            return
        # A group whose last cells were skipped needs no admission any more.
        self._waiting_groups = self._open_groups()
        if self._waiting_groups:
            self._breaks(
                "GROUP-06",
                f"{counted(self._waiting_groups, 'row group')} "
                f"{'waits' if self._waiting_groups == 1 else 'wait'} at t={self.now:g} s with "
                f"{len(self.admitted)} of {'any number' if most is None else most} admitted, and "
                f"none was admitted before t={t:g} s",
            )

    def _cool_down(self, t: float) -> None:
        self.now = t
        while self._due and self._due[0][0] <= t:
            until, key = heapq.heappop(self._due)
            if self.cooling.get(key) == until:
                del self.cooling[key]
                if key[0] >= 0:
                    self.counters.release(*key)
                else:
                    self.counters.release_barrier(-1 - key[0], key[1])

    def dispatchable(self) -> str:
        """One node that could start now, in words; "" if there is none. O(resources)."""
        ready, barriers = self.counters.ready, self.counters.ready_barriers
        if ready[self._output_group]:
            return self._find_ready(self._output_group)
        if self.counters.load[0] >= self._workers:
            return ""
        for group in range(self._output_group):
            if (ready[group] or barriers[group]) and self._has_slot(group):
                return self._find_ready(group)
        return ""

    def _find_ready(self, group: int) -> str:
        for action in self._of_state("start", READY):
            column = self.graph.rules.index[action.column]
            output = action.scope is None and self._is_barrier[column]
            if (self._output_group if output else self.group_of[column]) == group:
                key = self._key(column, action)
                return self._where(key)
        raise AssertionError("a ready count has no ready node")

    # Cells

    def start_cell(self, column: int, row: int, attempt: int | None = None) -> None:
        """A cell starts. A hot loop calls ``counters.start[column](row)``, which is the same.

        Args:
            column: by position.
            row: of the cell.
            attempt: the number that the engine gives it, from 1; None if it says none.

        Raises:
            Violation: SCHED-01 to SCHED-07, SCHED-11, SCHED-13, BARR-02, FAIL-01 to FAIL-03,
                DROP-03, SKIP-02, GROUP-01, STOP-01.
        """
        self._start_cell(column, row, attempt)
        if self.on_step is not None:
            self._note("start", column, (row, row + 1), attempt=attempt)

    def _start_cell(self, column: int, row: int, attempt: int | None) -> None:
        if self._is_wrong_attempt((column, row), attempt):
            if not self._expect_starts(f"{self._name(column)}[{row}]"):
                return
            if self.counters.cells[column][row] not in (READY, COOLING):
                self._judge_start(column, row)
            self._refuse_attempt((column, row), attempt)
        self.counters.start[column](row)

    def _is_wrong_attempt(self, key: Key, attempt: int | None) -> bool:
        spent = self.attempts.get(key, 0)
        return attempt is not None and attempt != 1 + spent and spent != FAILED

    def _refuse_attempt(self, key: Key, attempt: int | None) -> None:
        assert attempt is not None
        spent = self.attempts.get(key, 0)
        self._breaks(
            "FAIL-01",
            f"{self._where(key)} starts as attempt {attempt}, but {counted(spent, 'attempt')} "
            f"{'was' if spent == 1 else 'were'} spent in this incarnation: expected {spent + 1}",
        )
        # Not judged: then it is the engine's count that its next attempts go on from.
        self.attempts[key] = max(attempt - 1, 0)

    def complete_cell(self, column: int, row: int, attempt: int | None = None) -> None:
        """A running cell ends well; of one whose row was dropped only the call counts (STOP-01).

        Without an early stop or an attempt it is the same as ``counters.resolve[column](row)``.

        Args:
            column: by position.
            row: of the cell.
            attempt: the attempt that ended; None for the one in flight.

        Raises:
            Violation: SCHED-04 (it was not running), RANGE-02 (its range had given it), FAIL-05
                (another attempt is in flight), SCHED-07.
        """
        self._complete_cell(column, row, attempt)
        if self.on_step is not None:
            self._note("complete", column, (row, row + 1), attempt=attempt)

    def _complete_cell(self, column: int, row: int, attempt: int | None) -> None:
        if attempt is not None and self._is_in_flight(column, row):
            self._expect_attempt((column, row), attempt)
        single = self.counters.cells[column][row] == RUNNING
        self.counters.resolve[column](row)
        if single and not self._is_barrier[column]:
            self._called(failed=False)

    def not_running(self, column: int, row: int) -> bool | None:
        """A cell ends that is no running task of its own: of a dropped row, of a range, or wrong.

        Raises:
            Violation: SCHED-04, RANGE-02, SCHED-07.
        """
        slot = self.counters.abandoned.pop((column, row), None)
        if slot is not None:
            if slot:
                self.counters.free_slot(column)
                self._called(failed=False)
            return True
        ranged = self._range_of(column, row)
        if ranged is None:
            return self._complete_unbooked(column, row)
        if row in ranged.given:
            self._breaks("RANGE-02", f"{self._name(column)}[{row}] is given again by its range")
            return True
        if self.graph.rules.columns[column].ordered and row - ranged.start != len(ranged.given):
            self._breaks(
                "RANGE-02",
                f"{self._name(column)}[{row}] is given before the row before it, in an ordered "
                "column",
            )
        ignored = self.counters.cells[column][row] != RANGED
        ranged.given.add(row)
        ranged.left -= 1
        if not ranged.left:
            self._end_range(column, ranged)
            self._called(failed=False)
        return ignored

    def _complete_unbooked(self, column: int, row: int) -> bool:
        """A cell that does not run ends well; True if that changes nothing."""
        if self._end_stray((column, row)):
            self._called(failed=False)
            return True
        state = self._state(column, row)
        alive = self._refuse_complete(f"{self._name(column)}[{row}]", state)
        if not alive or (state >= RANGED and state != COOLING):
            return True
        # Not judged: it is complete from now on, for those that wait for it too.
        self.cooling.pop((column, row), None)
        self.counters.offer(column, row)
        self.counters.ready[self._cell_group(column)] -= 1
        return False

    def _cell_group(self, column: int) -> int:
        return self._output_group if self._is_barrier[column] else self.group_of[column]

    def _is_in_flight(self, column: int, row: int) -> bool:
        """True if a call runs that may still give the cell, whether anybody wants it or not."""
        if self.crashed or self.ended:
            return False
        if self.counters.cells[column][row] == RUNNING or (column, row) in self.counters.abandoned:
            return True
        ranged = self._range_of(column, row)
        return ranged is not None and row not in ranged.given

    def _expect_attempt(self, key: Key, attempt: int) -> None:
        """Refuse the end of another attempt than the one that is in flight (clause FAIL-05)."""
        spent = self.attempts.get(key, 0)
        expected = 1 + spent
        # After a start that broke a clause and was let pass, nobody can tell which call ends.
        if attempt != expected and spent != FAILED and key not in self._strays:
            self._breaks(
                "FAIL-05",
                f"attempt {attempt} of {self._where(key)} ends, but attempt {expected} is in "
                "flight",
            )

    def _expect_attempt_of_range(self, column: int, ranged: _Range, attempt: int | None) -> None:
        """The same for all rows that a range has not given yet."""
        if attempt is None:
            return
        for row in range(ranged.start, ranged.stop):
            if row not in ranged.given:
                self._expect_attempt((column, row), attempt)

    def _range_of(self, column: int, row: int) -> _Range | None:
        ranges = self._ranges[column]
        place = bisect_right(ranges, row, key=_start_of) - 1
        return ranges[place] if place >= 0 and row < ranges[place].stop else None

    def _end_range(self, column: int, ranged: _Range) -> None:
        """A range runs no more: its slot is free."""
        ranges = self._ranges[column]
        del ranges[bisect_right(ranges, ranged.start, key=_start_of) - 1]
        self.counters.free_slot(column)

    def start_range(self, column: int, start: int, stop: int, attempt: int | None = None) -> None:
        """Rows ``[start, stop)`` of a streamable column start as one task.

        Raises:
            Violation: RANGE-01 (a row is not ready), FAIL-01, and as `start_cell`.
        """
        self._start_range(column, start, stop, attempt)
        if self.on_step is not None:
            self._note("start", column, (start, stop), attempt=attempt)

    def _start_range(self, column: int, start: int, stop: int, attempt: int | None) -> None:
        if not self._expect_starts(f"{self._name(column)}[{start}:{stop}]"):
            return
        body = self.counters.cells[column]
        ordered = self.graph.rules.columns[column].ordered
        whole = True
        for row in range(start, stop):
            behind = ordered and row > start
            waits = behind and body[row] == 1 and self._group_of_row(row) is None
            if (
                body[row] != READY
                and not waits
                and not self._may_retry((column, row), body[row], in_turn=behind)
            ):
                self._refuse_range(column, row, (start, stop))
                whole = False
            if self._is_wrong_attempt((column, row), attempt):
                self._refuse_attempt((column, row), attempt)
        group = self.group_of[column]
        if not self._has_slot(group):
            self._refuse_limit(group, f"{self._name(column)}[{start}:{stop}]")
        for row in range(start, stop) if self.cooling else ():
            self.cooling.pop((column, row), None)
        if whole:
            self.counters.start_range(column, start, stop)
        else:
            # Not judged: a row that is resolved, or runs, changes nothing when the range gives it.
            self.counters.take_slot(column)
            for row in range(start, stop):
                if body[row] < RANGED or body[row] == COOLING:
                    self.counters.join_range(column, row, row + 1)
        insort(self._ranges[column], _Range(start, stop, stop - start), key=_start_of)

    def _refuse_range(self, column: int, row: int, span: tuple[int, int]) -> None:
        """A row of a range is not ready; what is wrong with the row alone is said first."""
        state = self._state(column, row)
        if 0 < state < SKIP_READY and self._group_of_row(row) is None:
            self._expect_starts(f"{self._name(column)}[{row}]")
            node = next(self._open_needs(self.graph.cell_node(column, row)), None)
            self._breaks(
                "RANGE-01",
                f"{self._name(column)}[{span[0]}:{span[1]}] starts although row {row} waits for "
                + ("its turn" if node is None else words_of(node)),
            )
        else:
            self._judge_start(column, row)

    # Failures

    def fail_cell(
        self,
        column: int,
        row: int,
        failure: Failure,
        until: float | None = None,
        attempt: int | None = None,
    ) -> None:
        """A running cell, or what is left of the running range that it is in, ends badly.

        Args:
            column: by position.
            row: of the cell, or of any row of the range.
            failure: what kind.
            until: when it may start again, in seconds; None if the engine leaves it open.
            attempt: the attempt that ended; None for the one in flight.

        Raises:
            Violation: FAIL-04 (it was not running), FAIL-05 (another attempt is in flight),
                SCHED-07.
        """
        self._fail_cell(column, row, failure, until, attempt)
        if self.on_step is not None:
            self._note(
                "fail", column, (row, row + 1), failure=failure, until=until, attempt=attempt
            )

    def _fail_cell(
        self,
        column: int,
        row: int,
        failure: Failure,
        until: float | None,
        attempt: int | None,
    ) -> None:
        slot = self._end_abandoned(column, row, attempt)
        if slot is not None:
            if slot:
                self.counters.free_slot(column)
                if failure == "permanent":
                    self._called(failed=True)
            if self._waived:
                # A retry of it, which is not judged, counts on from here.
                self._fails_for_good((column, row), failure)
            return
        if self._end_stray((column, row)):
            self._fail_stray((column, row), failure, (row,))
            return
        ranged = self._range_of(column, row)
        if ranged is not None:
            self._expect_attempt_of_range(column, ranged, attempt)
            self._end_range(column, ranged)
            rows = self.counters.stop_range(column, ranged.start, ranged.stop)
        else:
            if not self._expect_fails(column, row):
                return
            if attempt is not None:
                self._expect_attempt((column, row), attempt)
            self.counters.hold(column, row)
            rows = [row]
        if failure == "permanent":
            self._called(failed=True)
        for each in rows:
            if self._fails_for_good((column, each), failure):
                self._drop(each, column)
            else:
                self._cool((column, each), until)

    def _expect_fails(self, column: int, row: int) -> bool:
        """True if a cell fails that runs, or, where that is not judged, could have run."""
        where = f"{self._name(column)}[{row}]"
        if self.counters.cells[column][row] == RUNNING and not self._is_barrier[column]:
            return self._expect_running(f"failure of {where}")
        state = self._state(column, row)
        alive = self._refuse_complete(where, state, "FAIL-04")
        if not alive or self._is_barrier[column] or state not in (READY, COOLING):
            return False
        self.counters.ready[self.group_of[column]] -= state == READY
        return True

    def _fail_stray(self, key: Key, failure: Failure, rows: Iterable[int]) -> None:
        """A stray of a node ends badly; if for good, the rows that it stands for are dropped."""
        if failure == "permanent":
            self._called(failed=True)
        if self._fails_for_good(key, failure):
            column = key[0] if key[0] >= 0 else -1 - key[0]
            for row in rows:
                if row not in self.counters.dropped:
                    self._drop(row, column)

    def _end_abandoned(self, column: int, row: int, attempt: int | None) -> bool | None:
        """End a call whose row was dropped meanwhile; True if it held a slot, None for no such."""
        if attempt is not None and (column, row) in self.counters.abandoned:
            self._expect_attempt((column, row), attempt)
        return self.counters.abandoned.pop((column, row), None)

    def _drop(self, row: int, column: int) -> None:
        """A row is given up because a node of a column failed for good."""
        self.unrecorded[row] = column
        self.counters.drop(row)

    def _unexplained(self, column: int, start: int, stop: int) -> int:
        """The first of rows ``[start, stop)`` whose cell a drop left unmade that is not recorded.

        −1 if there is none. It costs a look at the rows' bits, and nothing if all is recorded.
        """
        lost = self.counters.lost.get(column)
        if not self.unrecorded or lost is None or start >= stop:
            return -1
        return next((row for row in lost.within(start, stop) if row in self.unrecorded), -1)

    def _fails_for_good(self, key: Key, failure: Failure) -> bool:
        """Count the failure of a node; True if it was its last."""
        if failure == "backpressure":
            return False
        if len(self.attempts) > _FORGET_ABOVE:
            self._forget_attempts()
        spent = self.attempts.get(key, 0) + 1
        final = is_final(failure, spent, self.failures.max_attempts)
        self.attempts[key] = FAILED if final else spent
        self._failed_for_good = self._failed_for_good or final
        return final

    def _forget_attempts(self) -> None:
        """Drop what is kept of nodes that are resolved, once they are the larger part."""
        if len(self.attempts) < self._forget_at:
            return
        kept = {
            key: spent
            for key, spent in self.attempts.items()
            if spent == FAILED or not self._is_over(key)
        }
        self.attempts = kept
        self._forget_at = 2 * len(kept)

    def _is_over(self, key: Key) -> bool:
        """True if a node is resolved, and no call of it runs on for a dropped row."""
        if key[0] < 0:
            return self.counters.is_barrier_resolved(-1 - key[0], key[1])
        return self.counters.is_resolved(*key) and not self._is_in_flight(*key)

    def _cool(self, key: Key, until: float | None) -> None:
        self.cooling[key] = until
        if until is not None:
            heapq.heappush(self._due, (until, key))
            if until <= self.now:
                self._cool_down(self.now)

    def _called(self, *, failed: bool) -> None:
        """A call ended, for the early stop: completed, or failed permanently (clause STOP-01)."""
        most = self._stop_failures
        if most is None:
            return
        ends = self._ends
        full = len(ends) == ends.maxlen
        if full:
            self._failed_ends -= ends[0]
        ends.append(failed)
        self._failed_ends += failed
        full = full or len(ends) == ends.maxlen
        if full and self._failed_ends >= most and not self.must_stop:
            self.must_stop = True
            if "STOP-01" not in self._waived:
                self.counters.block_starts()

    def cancel_cell(self, column: int, row: int, attempt: int | None = None) -> None:
        """A running cell, or range, ends without a result: its row was dropped, or the run stopped.

        Raises:
            Violation: FAIL-04 (it was not running, or its result is wanted), FAIL-05 (another
                attempt is in flight), SCHED-07.
        """
        self._cancel_cell(column, row, attempt)
        if self.on_step is not None:
            self._note("cancel", column, (row, row + 1), attempt=attempt)

    def _cancel_cell(self, column: int, row: int, attempt: int | None) -> None:
        where = f"{self._name(column)}[{row}]"
        if not self._expect_running(f"cancellation of {where}"):
            return
        slot = self._end_abandoned(column, row, attempt)
        if slot is None and self._end_stray((column, row)):
            return
        ranged = self._range_of(column, row) if slot is None else None
        if slot is not None:
            if slot:
                self.counters.free_slot(column)
        elif ranged is not None:
            left = next(self.counters.iter_rows(column, RANGED, ranged.start), ranged.stop)
            if left < ranged.stop and not self._starts_no_more():
                self._breaks("FAIL-04", f"{where} is cancelled although its rows are wanted")
            self._expect_attempt_of_range(column, ranged, attempt)
            self._end_range(column, ranged)
            for each in self.counters.stop_range(column, ranged.start, ranged.stop):
                self._cool((column, each), None)
        else:
            state = self.counters.cells[column][row]
            if state != RUNNING or self._is_barrier[column]:
                self._refuse_complete(where, self._state(column, row), "FAIL-04")
                return
            if not self._starts_no_more():
                self._breaks("FAIL-04", f"{where} is cancelled although its value is wanted")
            if attempt is not None:
                self._expect_attempt((column, row), attempt)
            self.counters.hold(column, row)
            self._cool((column, row), None)

    def record_drop(self, column: int, start: int, stop: int) -> None:
        """The engine records that rows ``[start, stop)`` are dropped because `column` failed.

        Raises:
            Violation: DROP-01 (nothing of the row failed for good, or not this column), DROP-02
                (it is recorded already), SCHED-07.
        """
        self._record_drop(column, start, stop)
        if self.on_step is not None:
            self._note("drop", column, (start, stop))

    def _record_drop(self, column: int, start: int, stop: int) -> None:
        if not self._expect_running("drop"):
            return
        for row in range(start, stop):
            if row not in self.counters.dropped:
                self._breaks(
                    "DROP-01", f"row {row} is dropped although nothing of it failed for good"
                )
                # Not judged: the row is gone all the same, and what follows is no finding.
                self._drop(row, column)
            elif row not in self.unrecorded:
                self._breaks("DROP-02", f"the drop of row {row} is recorded again")
            elif self.unrecorded[row] != column:
                cause = self._name(self.unrecorded[row])
                self._breaks(
                    "DROP-01",
                    f"row {row} is recorded dropped because of {self._name(column)!r}, but it was "
                    f"{cause!r} that failed for good",
                )
        for row in range(start, stop):
            if self.unrecorded.pop(row, None) is not None:
                self._recorded.append(row)

    def skip_cell(self, column: int, row: int) -> None:
        """A cell is resolved without a value.

        Raises:
            Violation: SKIP-01 (it is not ready, or there is no reason to skip it), SCHED-07.
        """
        self._skip_cell(column, row)
        if self.on_step is not None:
            self._note("skip", column, (row, row + 1))

    def _skip_cell(self, column: int, row: int) -> None:
        where = f"{self._name(column)}[{row}]"
        if not self._expect_running(f"skip of {where}"):
            return
        state = self.counters.cells[column][row]
        if state == READY and not self.graph.rules.columns[column].may_skip:
            self._breaks(
                "SKIP-01",
                f"{where} is skipped although no input of it was, and its column has no condition",
            )
        elif state not in (READY, SKIP_READY):
            waits = state < RANGED
            self._breaks(
                "SKIP-01",
                f"{where} is skipped although it "
                + ("waits for others" if waits else "has started, or is resolved"),
            )
            if not waits and state != COOLING:
                return
            self.cooling.pop((column, row), None)
        self.counters.skip(column, row)

    # Row groups

    def admit(self, start: int, stop: int) -> None:
        """A row group begins: from now on its rows may run.

        Raises:
            Violation: GROUP-02 (too many at once), GROUP-03 (it was admitted before), GROUP-05
                (these rows are no group), SCHED-07, STOP-01.
        """
        self._admit(start, stop)
        if self.on_step is not None:
            self._note("admit", None, (start, stop))

    def _admit(self, start: int, stop: int) -> None:
        self._expect_groups(start, stop)
        if not self._expect_starts(f"row group [{start}:{stop}]"):
            return
        group = self._group(start, stop)
        if group in self._admissions:
            self._breaks("GROUP-03", f"row group {group} is admitted again")
            return
        most = self.limits.groups
        if most is not None and len(self.admitted) >= most:
            self._breaks(
                "GROUP-02",
                f"row group {group} is admitted with {len(self.admitted)} admitted of {most}",
            )
        self.admitted.add(group)
        self._admissions.add(group)
        size, total = self.limits.group_rows, self.graph.num_records
        assert size is not None
        # It is one, unless it is none, which is not judged.
        for each in range(start // size, -(-stop // size)):
            if each not in self._was_admitted:
                span = (each * size, min((each + 1) * size, total))
                self._waiting_groups -= self._unresolved(*span) is not None
                self._was_admitted.add(each)
                self.counters.admit(*span)

    def retire(self, start: int, stop: int) -> None:
        """A row group ends: each of its rows is resolved.

        Raises:
            Violation: GROUP-03 (a row of it is not resolved, or it was not admitted), GROUP-05.
        """
        self._retire(start, stop)
        if self.on_step is not None:
            self._note("retire", None, (start, stop))

    def _retire(self, start: int, stop: int) -> None:
        self._expect_groups(start, stop)
        if not self._expect_running(f"end of row group [{start}:{stop}]"):
            return
        group = self._group(start, stop)
        if group not in self.admitted:
            self._breaks("GROUP-03", f"row group {group} retires, but is not admitted")
        left = self._unresolved(start, stop)
        if left is not None:
            self._breaks("GROUP-03", f"row group {group} retires although {left} is not resolved")
        self.admitted.discard(group)

    def _expect_groups(self, start: int, stop: int) -> None:
        if self.limits.group_rows is None:
            raise SpecError(f"row group [{start}:{stop}]: this run has no row groups")

    def _group(self, start: int, stop: int) -> int:
        size = self.limits.group_rows
        assert size is not None
        if start % size or stop != min(start + size, self.graph.num_records):
            first = start - start % size
            last = min(first + size, self.graph.num_records)
            self._breaks(
                "GROUP-05",
                f"rows [{start}:{stop}] are no row group; row {start} is in [{first}:{last}]",
            )
            # Not judged: a name of its own, which no group has.
            return -1 - start
        return start // size

    # Barriers

    def start_barrier(
        self,
        column: int,
        scope: int,
        reads: Ranges | None = None,
        attempt: int | None = None,
    ) -> None:
        """A barrier node starts, and reads every live row of its scope.

        Args:
            column: by position.
            scope: which of its nodes.
            reads: the rows that it reads, if the engine says so.
            attempt: the number that the engine gives it, if it does.

        Raises:
            Violation: BARR-01, BARR-06, BARR-08, SCHED-02 to SCHED-07, SCHED-11, FAIL-01 to
                FAIL-03, GROUP-01, STOP-01.
        """
        self._start_barrier(column, scope, reads, attempt)
        if self.on_step is not None:
            reads = self.counters.reads(column, scope) if reads is None else reads
            self._note("start", column, scope=scope, attempt=attempt, reads=reads)

    def _start_barrier(
        self,
        column: int,
        scope: int,
        reads: Ranges | None,
        attempt: int | None,
    ) -> None:
        counters, key = self.counters, (-1 - column, scope)
        state = counters.barrier_state(column, scope)
        if not self._expect_starts(self._where((-1 - column, scope))):
            return
        fits = state == READY or self._may_retry(key, state)
        if not fits:
            self._refuse_barrier(column, scope)
        if self._is_wrong_attempt(key, attempt):
            self._refuse_attempt(key, attempt)
        # What one reads that starts too early, which is not judged, is no second mistake.
        if reads is not None and fits and reads != counters.reads(column, scope):
            self._breaks(
                "BARR-06",
                f"{self._where(key)} reads {row_words(reads)}, but of its scope "
                f"{row_words(counters.reads(column, scope))} should be read",
            )
        group = self.group_of[column]
        if not self._has_slot(group):
            self._refuse_limit(group, self._where((-1 - column, scope)))
        self._presumed.discard((column, scope))
        if state >= RUNNING:
            self._start_stray(key)
            return
        self.cooling.pop(key, None)
        counters.start_barrier(column, scope)

    def _has_slot(self, group: int) -> bool:
        counters = self.counters
        return counters.load[0] < self._workers and counters.busy[group] < self._capacity[group]

    def complete_barrier(self, column: int, scope: int, attempt: int | None = None) -> None:
        """A running barrier node ends well: its output cells are ready.

        Raises:
            Violation: SCHED-04, FAIL-05 (another attempt is in flight), SCHED-07.
        """
        self._complete_barrier(column, scope, attempt)
        if self.on_step is not None:
            self._note("complete", column, scope=scope, attempt=attempt)

    def _complete_barrier(self, column: int, scope: int, attempt: int | None) -> None:
        state, key = self.counters.barrier_state(column, scope), (-1 - column, scope)
        if state != RUNNING or self.crashed or self.ended:
            if self._end_stray(key):
                self._called(failed=False)
                return
            alive = self._refuse_complete(self._where((-1 - column, scope)), state)
            if not alive or state >= RUNNING:
                return
            self.cooling.pop(key, None)
        elif attempt is not None:
            self._expect_attempt(key, attempt)
        self.counters.resolve_barrier(column, scope)
        self._called(failed=False)

    def emit(self, column: int, start: int, stop: int) -> None:
        """A finished barrier gives its output cells of rows ``[start, stop)``.

        Raises:
            Violation: BARR-02 (a cell whose barrier is not complete), BARR-07 (a row that was
                dropped, or left out), SCHED-02 to SCHED-05, SCHED-07.
        """
        self._emit(column, start, stop)
        if self.on_step is not None:
            self._note("emit", column, (start, stop))

    def _emit(self, column: int, start: int, stop: int) -> None:
        if not self._expect_running(f"output of {self._name(column)!r}"):
            return
        counters = self.counters
        body = counters.cells[column]
        ready = isinstance(body, bytearray) and body.count(READY, start, stop) == stop - start
        if ready:
            counters.resolve_range(column, start, stop)
            return
        for row in range(start, stop):
            if body[row] != READY:
                self._refuse_output(column, row)
        for row in range(start, stop):
            self._take_output(column, row)

    def _take_output(self, column: int, row: int) -> None:
        """An output cell is given, whether it is ready or, which is not judged, is not.

        One that came before its barrier had run counts as if it had: most engines that make this
        mistake never run it.
        """
        scope = row // self.graph.rules.columns[column].scope_rows
        state = self.counters.cells[column][row]
        if 0 < state < SKIP_READY and self.counters.barrier_state(column, scope) < RUNNING:
            self.cooling.pop((-1 - column, scope), None)
            self._presumed.add((column, scope))
            self.counters.resolve_barrier(column, scope)
            state = self.counters.cells[column][row]
        if state < RANGED:
            self.counters.offer(column, row)
            self.counters.resolve_range(column, row, row + 1)

    def fail_barrier(
        self,
        column: int,
        scope: int,
        failure: Failure,
        until: float | None = None,
        attempt: int | None = None,
    ) -> None:
        """A running barrier node ends badly; if for good, rows that want its output are dropped.

        Raises:
            Violation: FAIL-04 (it was not running), FAIL-05 (another attempt is in flight),
                SCHED-07.
        """
        self._fail_barrier(column, scope, failure, until, attempt)
        if self.on_step is not None:
            self._note("fail", column, scope=scope, failure=failure, until=until, attempt=attempt)

    def _fail_barrier(
        self,
        column: int,
        scope: int,
        failure: Failure,
        until: float | None,
        attempt: int | None,
    ) -> None:
        where = self._where((-1 - column, scope))
        state, key = self.counters.barrier_state(column, scope), (-1 - column, scope)
        if self._end_stray(key):
            start, stop = self.graph.rules.scope_bounds(column, scope)
            body = self.counters.cells[column]
            self._fail_stray(key, failure, [row for row in range(start, stop) if body[row] < DONE])
            return
        if state != RUNNING:
            self._refuse_complete(where, state, "FAIL-04")
            return
        if not self._expect_running(f"failure of {where}"):
            return
        if attempt is not None:
            self._expect_attempt(key, attempt)
        self.counters.hold_barrier(column, scope)
        if failure == "permanent":
            self._called(failed=True)
        if not self._fails_for_good(key, failure):
            if not self.counters.wanted(column, scope):
                self.counters.give_up(column, scope)
                return
            self._cool(key, until)
            return
        start, stop = self.graph.rules.scope_bounds(column, scope)
        # An output cell that is wanted waits for its barrier, and for nothing else.
        wanting = self.counters.iter_rows(column, 1, start)
        for row in list(takewhile(lambda row: row < stop, wanting)):
            self._drop(row, column)
        self.counters.give_up(column, scope)

    def cancel_barrier(self, column: int, scope: int, attempt: int | None = None) -> None:
        """A running barrier node ends without a result: nobody wants it, or the run stopped.

        Raises:
            Violation: FAIL-04 (it was not running, or is wanted), FAIL-05 (another attempt is in
                flight), SCHED-07.
        """
        self._cancel_barrier(column, scope, attempt)
        if self.on_step is not None:
            self._note("cancel", column, scope=scope, attempt=attempt)

    def _cancel_barrier(self, column: int, scope: int, attempt: int | None) -> None:
        where = self._where((-1 - column, scope))
        state = self.counters.barrier_state(column, scope)
        if self._end_stray((-1 - column, scope)):
            return
        if state != RUNNING:
            self._refuse_complete(where, state, "FAIL-04")
            return
        if not self._expect_running(f"cancellation of {where}"):
            return
        wanted = self.counters.wanted(column, scope)
        if wanted and not self._starts_no_more():
            self._breaks(
                "FAIL-04",
                f"{where} is cancelled although {counted(wanted, 'row')} "
                f"{'wants' if wanted == 1 else 'want'} its output",
            )
        if attempt is not None:
            self._expect_attempt((-1 - column, scope), attempt)
        self.counters.hold_barrier(column, scope)
        if wanted:
            self._cool((-1 - column, scope), None)
        else:
            self.counters.give_up(column, scope)

    # Storage, crash and resume

    def durable_rows(self, column: int, stop: int, start: int = 0) -> None:
        """Rows ``[start, stop)`` of a column, drops and skip marks among them, are on storage.

        Raises:
            Violation: CKPT-08 (rows that are not there), DROP-04 (a drop that is not recorded),
                SCHED-07.
        """
        if self.on_step is not None:
            # Of rows that are on storage already nothing is told again.
            start = max(start, self.durable[column])
        self._store((column,), start, stop)
        if self.on_step is not None:
            self._note("durable", column, (start, stop))

    def _store(self, columns: Iterable[int], start: int, stop: int) -> None:
        if not self._expect_running("durable"):
            return
        for column in columns:
            self._check_stored(column, start, stop)
        for column in columns:
            # What is durable already was looked at, and a cell that was made stays so.
            row = self._unexplained(column, max(start, self.durable[column]), stop)
            if row >= 0:
                self._breaks(
                    "DROP-04",
                    f"{self._name(column)}[{row}] is on storage, but was never made: row {row} was "
                    "dropped, which is not recorded yet",
                )
        self._lost_rows = False
        for column in columns:
            known = self.durable[column]
            later = self._stored[column]
            if start > known:
                add_range(later, start, stop)
                continue
            rows, joined = max(known, stop), 0
            while joined < len(later) and later[joined][0] <= rows:
                rows = max(rows, later[joined][1])
                joined += 1
            del later[:joined]
            self.durable[column] = rows

    def _check_stored(self, column: int, start: int, stop: int) -> None:
        odd = -1
        if stop > self.counters.prefix(column):
            start_new = max(start, self.durable[column])
            odd = self.counters.find_unresolved(column, start_new, stop)
        if odd >= 0:
            self._breaks(
                "CKPT-08",
                f"{row_words([(start, stop)])} of {self._name(column)!r} "
                f"{be(stop - start)} reported durable, but row {odd} is not resolved; "
                f"{counted(self.counters.prefix(column), 'row')} "
                f"{be(self.counters.prefix(column))} resolved without a gap",
            )

    def claim(self, version: int) -> Claim:
        """What a checkpoint of this version may claim now: the longest resolved prefix."""
        if version == 2:
            return self.counters.column_prefixes()
        return (self.completed_rows,) * len(self._is_barrier)

    def checkpoint_begin(self, claim: Claim) -> None:
        """A claim is handed to storage.

        Raises:
            Violation: CKPT-05 (a column claims rows that one of its inputs does not), CKPT-08 (more
                than is resolved), CKPT-09 (less than before), CKPT-10 (its data is not durable),
                CKPT-11 (another claim is being written), DROP-04 (it holds a cell that was never
                made, and the drop of its row is not recorded).
        """
        self._checkpoint_begin(claim)
        if self.on_step is not None:
            self._note("checkpoint_begin", claim=claim)

    def _checkpoint_begin(self, claim: Claim) -> None:
        if not self._expect_running("checkpoint_begin"):
            return
        if self.pending_claim is not None:
            self._breaks("CKPT-11", "a claim is begun while another is being written")
        for column, rows in enumerate(claim):
            self._check_claim(column, rows, claim)
        self.pending_claim = claim
        self._pending_drops = len(self._recorded)

    def _check_claim(self, column: int, rows: int, claim: Claim) -> None:
        name = self._name(column)
        told = f"{counted(rows, 'row')} of {name!r} {be(rows)}"
        if rows > self.counters.prefix(column):
            self._breaks(
                "CKPT-08",
                f"{told} claimed, but only {self.counters.prefix(column)} "
                f"{be(self.counters.prefix(column))} resolved without a gap",
            )
        if rows < self.durable_claim[column]:
            self._breaks(
                "CKPT-09",
                f"{told} claimed after {self.durable_claim[column]} "
                f"{'was' if self.durable_claim[column] == 1 else 'were'}",
            )
        if rows > self.durable[column]:
            self._breaks(
                "CKPT-10",
                f"{told} claimed, but only {self.durable[column]} "
                f"{be(self.durable[column])} durable",
            )
        for need in self.graph.rules.columns[column].needs:
            if rows > claim[need]:
                self._breaks(
                    "CKPT-05",
                    f"{told} claimed, but only {claim[need]} of its input {self._name(need)!r}",
                )
        row = self._unexplained(column, self.durable[column], rows)
        if row >= 0:
            self._breaks(
                "DROP-04",
                f"{name}[{row}] is claimed, but was never made: row {row} was dropped, which is "
                "not recorded yet",
            )

    def _claim_words(self, claim: Claim) -> str:
        if len(set(claim)) == 1:
            return f"{counted(claim[0], 'row')} of every column"
        rows = zip(self.graph.column_names, claim, strict=True)
        return ", ".join(f"{count} of {name!r}" for name, count in rows)

    def checkpoint_durable(self) -> None:
        """The claim being written is safe on storage.

        Raises:
            Violation: CKPT-11 (none was being written), SCHED-07.
        """
        self._checkpoint_durable()
        if self.on_step is not None:
            self._note("checkpoint_durable")

    def _checkpoint_durable(self) -> None:
        if not self._expect_running("checkpoint_durable"):
            return
        if self.pending_claim is None:
            self._breaks("CKPT-11", "a claim became durable that nobody had begun")
            return
        self.durable_claim = self.pending_claim
        self._durable_drops = self._pending_drops
        self.pending_claim = None
        self.unsaved = False

    def checkpoint_failed(self) -> None:
        """The claim being written, or else rows, could not be written; the claim before stands.

        Raises:
            Violation: SCHED-07.
        """
        self._checkpoint_failed()
        if self.on_step is not None:
            self._note("checkpoint_failed")

    def _checkpoint_failed(self) -> None:
        if not self._expect_running("checkpoint_failed"):
            return
        if self.pending_claim is None:
            # It was the rows for the next one; a claim of other rows does not write them.
            self._lost_rows = True
        else:
            self.unsaved = True
        self.pending_claim = None

    def crash(self) -> None:
        """The process is gone, with all that runs.

        Raises:
            Violation: SCHED-07 (it had crashed or ended already).
        """
        self._crash()
        if self.on_step is not None:
            self._note("crash")

    def _crash(self) -> None:
        if not self._expect_running("crash"):
            return
        self.crashed = True
        self._halt()

    def _halt(self) -> None:
        """The process is gone, and nothing of it comes back by itself."""
        self.counters.halt()
        self._strays.clear()
        self._ranges = [[] for _ in self._ranges]
        self.cooling.clear()
        self._due.clear()

    def resume(
        self,
        claim: Claim,
        *,
        dropped: Ranges | None = None,
        skipped: Mapping[str, Ranges] | None = None,
        records: int | None = None,
        keep: bool = False,
    ) -> None:
        """A new process begins from `claim`; exactly what it claims is complete.

        Args:
            claim: for each column the rows that storage gave back.
            dropped: the dropped rows that it gave back, if the engine says so.
            skipped: by column, the skipped rows that it gave back, if the engine says so.
            records: the number of rows from now on; None for the same as before.
            keep: keep claimed rows of barriers whose scope changes with the number of rows.

        Raises:
            Violation: CKPT-12 (a claim that storage cannot have given back), CKPT-16 (another
                target that the claimed rows do not allow), CKPT-17 (other drops than the claim
                covers), SKIP-03 (other skips), SCHED-07 (no crash or end came before).
        """
        self._resume(claim, dropped, skipped, records, keep=keep)
        if self.on_step is not None:
            self._note(
                "resume", claim=claim, dropped=dropped, skipped=skipped, records=records, keep=keep
            )

    def _resume(
        self,
        claim: Claim,
        dropped: Ranges | None,
        skipped: Mapping[str, Ranges] | None,
        records: int | None,
        *,
        keep: bool,
    ) -> None:
        if not self.crashed and not self.ended:
            self._breaks("SCHED-07", "resume without a crash or an end")
        if claim != self.durable_claim and claim != self.pending_claim:
            self._breaks(
                "CKPT-12",
                f"resumed from a claim of {self._claim_words(claim)}; the last durable one is of "
                f"{self._claim_words(self.durable_claim)}, and being written was "
                + (
                    "none"
                    if self.pending_claim is None
                    else f"one of {self._claim_words(self.pending_claim)}"
                ),
            )
        drops = self._covered_drops(claim)
        if dropped is not None:
            drops = list(rows_of(dropped))
            self._check_drops(claim, frozenset(drops))
        skips = self._covered_skips(claim, frozenset(drops), skipped)
        lost = {
            column: [row for row in rows if row < claim[column]]
            for column, rows in sorted(self.counters.lost.items())
        }
        self._change_target(claim, records, keep=keep)
        total = self.graph.num_records
        # More than there are, if CKPT-16 is not judged.
        claim = tuple(min(rows, total) for rows in claim)

        def kept(rows: Iterable[int]) -> RowSet:
            return RowSet(total, (row for row in rows if row < total))

        self.durable_claim = claim
        self.pending_claim = None
        self.durable = list(claim)
        self.crashed = self.ended = False
        self.incarnation += 1
        self._restore(
            claim,
            kept(drops),
            {column: kept(rows) for column, rows in skips.items()},
            {column: kept(rows) for column, rows in lost.items()},
        )

    def _covered_drops(self, claim: Claim) -> list[int]:
        """The drops that storage holds with a claim: recorded before it was begun, not beyond it.

        And, if DROP-04 was not judged, those of cells that the claim holds and that nobody made.
        """
        durable = claim == self.durable_claim
        before = self._recorded[: self._durable_drops if durable else self._pending_drops]
        covered = max(claim)
        return sorted({*(row for row in before if row < covered), *self._unmade(claim)})

    def _unmade(self, claim: Claim) -> set[int]:
        """The dropped rows of which a claim holds a cell that was never made."""
        return {
            row
            for column, rows in self.counters.lost.items()
            for row in rows.within(0, claim[column])
        }

    def _check_drops(self, claim: Claim, told: Collection[int]) -> None:
        """Storage gave back these dropped rows: all that the claim rests on, and none made up."""
        lost = self._unmade(claim).difference(told)
        if lost:
            self._breaks(
                "CKPT-17",
                f"resumed without the drop of {row_words(ranges_of(sorted(lost)))}, of which the "
                "claim covers cells that were never made",
            )
        made_up = [
            row
            for row in told
            if row >= max(claim) or row not in self.counters.dropped or row in self.unrecorded
        ]
        if made_up:
            self._breaks(
                "CKPT-17",
                f"resumed with the drop of {row_words(ranges_of(sorted(made_up)))}, which the "
                "claim does not reach, or which nobody recorded",
            )

    def _covered_skips(
        self, claim: Claim, dropped: Collection[int], told: Mapping[str, Ranges] | None
    ) -> dict[int, list[int]]:
        """By column, the skipped cells that a claim covers; compared with what storage said.

        Of a dropped row nothing is kept but that it was dropped.
        """
        skips = {
            column: [row for row in rows if row < claim[column] and row not in dropped]
            for column, rows in sorted(self.counters.skipped.items())
        }
        if told is not None:
            mine = {self._name(column): ranges_of(rows) for column, rows in skips.items()}
            for name in dict.fromkeys((*mine, *told)):
                given = (row for row in rows_of(told.get(name, ())) if row not in dropped)
                found, expected = ranges_of(given), mine.get(name, ())
                if found != expected:
                    self._breaks(
                        "SKIP-03",
                        f"resumed with {row_words(found)} of {name!r} skipped; the claim covers "
                        f"skips of {row_words(expected)}",
                    )
                    # Not judged: the engine goes on from what it read.
                    column = self.graph.rules.index[name]
                    skips[column] = [row for row in rows_of(found) if row < claim[column]]
        return {column: rows for column, rows in skips.items() if rows}

    def _change_target(self, claim: Claim, records: int | None, *, keep: bool) -> None:
        if records is None or records == self.graph.num_records:
            return
        if records < max(claim):
            self._breaks(
                "CKPT-16",
                f"resumed with {counted(records, 'row')}, but {max(claim)} "
                f"{be(max(claim))} claimed",
            )
        before = self.graph.num_records
        for changed in changed_scopes(self.graph.rules, before, records):
            rows = claim[changed.column]
            if rows > changed.start and not keep:
                self._breaks(
                    "CKPT-16",
                    f"resumed with {counted(records, 'row')} instead of {before}: the barrier of "
                    f"{self._name(changed.column)!r} had {counted(rows, 'row')} claimed, and its "
                    "scope changes",
                )
        heard = self.counters
        self._set_graph(self.graph.resized(records))
        self.counters.hear_as(heard)

    # The end

    def stop(self) -> None:
        """The engine stops early: what runs may end, and nothing starts any more.

        Raises:
            Violation: STOP-02 (too few of the last calls failed), SCHED-07.
        """
        self._stop()
        if self.on_step is not None:
            self._note("stop")

    def _stop(self) -> None:
        if not self._expect_running("stop"):
            return
        if not self.must_stop:
            most = self._stop_failures
            detail = (
                "this run has no early stop"
                if most is None
                else f"{self._failed_ends} of the last {counted(len(self._ends), 'call')} failed "
                f"permanently; it takes {most} of {self.failures.stop_window}"
            )
            self._breaks("STOP-02", f"the run is stopped early, but {detail}")
        self.stopped = True
        if "STOP-01" not in self._waived:
            self.counters.block_starts()

    def end(self, outcome: Outcome = "success") -> None:
        """The run reports how it ended.

        Raises:
            Violation: SCHED-10 (success with a row that is not complete, or not durable), DROP-04
                (with a drop that is not recorded), STOP-03 (stopped or not, and the other said),
                STOP-04 (failure with all work done and saved), SCHED-14 (failure, and nothing
                stood in the way), SCHED-07.
        """
        self._end(outcome)
        if self.on_step is not None:
            self._note("end", outcome=outcome)

    def _end(self, outcome: Outcome) -> None:
        if not self._expect_running("end"):
            return
        if self.unrecorded and not (outcome == "failed" and self._gives_up()):
            row = min(self.unrecorded)
            self._breaks("DROP-04", f"the run ends, but the drop of row {row} is not recorded")
        if outcome == "success":
            self._expect_success()
        elif outcome == "failed":
            self._expect_failure()
        elif not self.stopped:
            self._breaks("STOP-03", "the run ends as stopped, and had not stopped early")
        self.ended = True
        self._halt()

    def _expect_success(self) -> None:
        total = self.graph.num_records
        if self.stopped:
            self._breaks("STOP-03", "success is reported by a run that stopped early")
        if self.completed_rows != total:
            self._breaks(
                "SCHED-10",
                f"success with {self.completed_rows} of {counted(total, 'row')} complete",
            )
        for column, rows in enumerate(self.durable):
            if rows != total:
                self._breaks(
                    "SCHED-10",
                    f"success with {rows} of {counted(total, 'row')} of "
                    f"{self._name(column)!r} durable",
                )

    def _expect_failure(self) -> None:
        total = self.graph.num_records
        if self.completed_rows == total and min(self.durable) == total:
            # An engine that could not claim its rows makes them again in the next life.
            if not self.unsaved:
                self._breaks(
                    "STOP-04",
                    "the run ends as failed with every row resolved and durable, and no claim "
                    f"that could not be written{self._open_claim()}",
                )
            return
        stood = self.unsaved or self._lost_rows or self.stopped or self.must_stop
        if stood or (self._failed_for_good and not self._drops_rows):
            return
        left = self._way_forward()
        if left:
            told = f"the run gives up although {left}{self._open_claim()}"
            self._breaks("SCHED-14", told)

    def _open_claim(self) -> str:
        """Who knows that a claim could not be written must report it; a claim on its way may be."""
        if self.pending_claim is None:
            return ""
        return "; that the claim it began could not be written is not reported"

    def _way_forward(self) -> str:
        """One thing by which the run could go on, in words; "" if there is none."""
        if self.completed_rows == self.graph.num_records:
            return "every row is resolved, and nothing kept the rest from storage"
        running = self.counters.load[0]
        if running:
            return f"{counted(running, 'call')} {be(running)} in flight"
        for action in chain(self._starts(), self._of_state("complete", RUNNING)):
            key = self._key(self.graph.rules.index[action.column], action)
            return f"{self._where(key)} is ready, and its places are free"
        for key in self.cooling:
            if self._is_cooling(key):
                return f"{self._where(key)} may be tried again"
        for action in self._skips():
            key = self._key(self.graph.rules.index[action.column], action)
            return f"{self._where(key)} is to be skipped"
        return self._way_of_groups()

    def _is_cooling(self, key: Key) -> bool:
        """True for a node that failed and waits for nothing but its next attempt."""
        if key[0] < 0:
            return self.counters.barrier_state(-1 - key[0], key[1]) == COOLING
        return self.counters.cells[key[0]][key[1]] == COOLING and not self.counters.is_behind(*key)

    def _way_of_groups(self) -> str:
        size, total, most = self.limits.group_rows, self.graph.num_records, self.limits.groups
        if size is None:
            return ""
        spans = [(start, min(start + size, total)) for start in range(0, total, size)]
        waiting = [s for s in spans if s[0] // size not in self._was_admitted and self._left(s)]
        if not waiting:
            return ""
        if most is None or len(self.admitted) < most:
            return f"row group [{waiting[0][0]}:{waiting[0][1]}] may be admitted"
        over = [s for s in spans if s[0] // size in self.admitted and not self._left(s)]
        return f"row group [{over[0][0]}:{over[0][1]}] may retire" if over else ""

    def _left(self, span: tuple[int, int]) -> bool:
        return self._unresolved(*span) is not None

    def stuck(self) -> None:
        """The driver finds that nothing can ever happen again.

        Raises:
            Violation: SCHED-12, if the run has not ended.
        """
        if not self.ended:
            self._breaks(
                "SCHED-12",
                f"nothing can ever run again at t={self.now:g} s, with {self.completed_rows} of "
                f"{counted(self.graph.num_records, 'row')} complete",
            )

    # Actions by name

    def enabled(self) -> Iterator[Action]:
        """Every action that the specification allows now, lazily, in a fixed order.

        Checkpoints are offered for version 1 and 2, each with its longest claim; data is offered
        to storage as a whole column prefix; ranges, and resumes with another target, are not
        offered, nor is an end as failed. A failure is offered as each kind, without a cool-down.
        """
        if self.ended:
            return
        if self.crashed:
            claims = dict.fromkeys((self.durable_claim, self.pending_claim or self.durable_claim))
            yield from (Action("resume", claim=claim) for claim in claims)
            return
        if not (self.must_stop or self.stopped):
            yield from self._starts()
        yield from self._of_state("complete", RUNNING)
        if self._offers_failures:
            yield from self._failures()
        yield from self._ends_of_dropped()
        yield from self._skips()
        yield from self._groups()
        for row, column in sorted(self.unrecorded.items()):
            yield Action("drop", self._name(column), (row, row + 1))
        yield from self._storage_actions()
        yield Action("crash")
        if self.must_stop and not self.stopped:
            yield Action("stop")
        if self.stopped and not self.unrecorded:
            yield Action("end", outcome="stopped")

    def _starts(self) -> Iterator[Action]:
        for state in (READY, COOLING):
            for action in self._of_state("start", state):
                column = self.graph.rules.index[action.column]
                output = action.scope is None and self._is_barrier[column]
                key = self._key(column, action)
                until = self.cooling.get(key) if state == COOLING else None
                if until is not None and until > self.now:
                    continue
                if state == COOLING and key[0] >= 0 and self.counters.is_behind(*key):
                    continue
                if output or self._has_slot(self.group_of[column]):
                    yield action._replace(attempt=1 + self.attempts.get(key, 0))

    def _key(self, column: int, action: Action) -> Key:
        if action.scope is not None:
            return -1 - column, action.scope
        assert action.rows is not None
        return column, action.rows[0]

    def _failures(self) -> Iterator[Action]:
        kinds: tuple[Failure, ...] = ("retryable", "backpressure", "permanent")
        for action in self._of_state("fail", RUNNING):
            if (
                action.scope is not None
                or not self._is_barrier[self.graph.rules.index[action.column]]
            ):
                for kind in kinds:
                    yield action._replace(failure=kind)

    def _ends_of_dropped(self) -> Iterator[Action]:
        """What runs on for a dropped row ends somehow."""
        for column, row in sorted(self.counters.abandoned):
            for ending in ("complete", "cancel"):
                yield Action(ending, self._name(column), (row, row + 1))

    def _skips(self) -> Iterator[Action]:
        for rule in self.graph.rules.columns:
            if rule.skippable:
                states = (READY, SKIP_READY) if rule.may_skip else (SKIP_READY,)
                for state in states:
                    for row in self.counters.iter_rows(rule.index, state):
                        yield Action("skip", rule.name, (row, row + 1))

    def _groups(self) -> Iterator[Action]:
        size, total, most = self.limits.group_rows, self.graph.num_records, self.limits.groups
        if size is None:
            return
        room = (most is None or len(self.admitted) < most) and not (self.must_stop or self.stopped)
        for start in range(0, total, size):
            span = (start, min(start + size, total))
            if start // size in self.admitted:
                if self._unresolved(*span) is None:
                    yield Action("retire", rows=span)
            elif room and start // size not in self._was_admitted:
                yield Action("admit", rows=span)

    def _storage_actions(self) -> Iterator[Action]:
        prefixes = self.counters.column_prefixes()
        for column, rows in enumerate(prefixes):
            unexplained = self._unexplained(column, self.durable[column], rows)
            rows = unexplained if unexplained >= 0 else rows
            if rows > self.durable[column]:
                yield Action("durable", self._name(column), (0, rows))
        if self.pending_claim is not None:
            yield Action("checkpoint_durable")
            if self._offers_failures:
                yield Action("checkpoint_failed")
        else:
            for claim in dict.fromkeys((self.claim(1), self.claim(2))):
                covered = all(c <= d for c, d in zip(claim, self.durable, strict=True))
                grows = all(c >= d for c, d in zip(claim, self.durable_claim, strict=True))
                if covered and grows and claim != self.durable_claim:
                    yield Action("checkpoint_begin", claim=claim)
        total = self.graph.num_records
        done = self.completed_rows == total and min(self.durable) == total and not self.unrecorded
        if done and not self.stopped:
            yield Action("end")

    def _of_state(self, kind: str, state: int) -> Iterator[Action]:
        counters = self.counters
        for rule in self.graph.rules.columns:
            scope = counters.barriers[rule.index].find(state)
            while scope >= 0:
                yield Action(kind, rule.name, scope=scope)
                scope = counters.barriers[rule.index].find(state, scope + 1)
            for row in counters.iter_rows(rule.index, state):
                yield Action(kind, rule.name, (row, row + 1))

    def apply(self, action: Action) -> None:
        """Take one step.

        Raises:
            Violation: the clause that the step would break; the state is then as it was, but for
                the cells before, in an action on several single cells.
            SpecError: an action that names no such column, rows or kind.
        """
        kind = action.kind
        if kind in _ON_NODES or (kind == "durable" and action.column):
            column = self.graph.rules.index.get(action.column)
            if column is None:
                raise SpecError(f"action {action}: unknown column {action.column!r}")
            if action.scope is not None and kind in _ON_BARRIERS:
                self._apply_barrier(column, action)
            else:
                self._apply_rows(column, action, *self._rows_of(action))
        elif kind == "durable":
            start, stop = self._rows_of(action)
            self._store(range(self.graph.num_columns), start, stop)
            if self.on_step is not None:
                self.on_step(action)
        elif kind in ("admit", "retire"):
            getattr(self, kind)(*self._rows_of(action))
        elif kind in ("checkpoint_begin", "resume") and action.claim is not None:
            self._apply_claim(action, action.claim)
        elif kind == "end":
            self.end(action.outcome or "success")
        elif kind in ("checkpoint_durable", "checkpoint_failed", "crash", "stop"):
            getattr(self, kind)()
        else:
            raise SpecError(f"action {action}: unknown, or incomplete")

    def _rows_of(self, action: Action) -> tuple[int, int]:
        total = self.graph.num_records
        if action.rows is None or not 0 <= action.rows[0] < action.rows[1] <= total:
            raise SpecError(f"action {action}: expected rows within 0 to {total}")
        return action.rows

    def _apply_barrier(self, column: int, action: Action) -> None:
        scope = action.scope
        assert scope is not None
        if not 0 <= scope < self.graph.rules.scope_count(column):
            raise SpecError(f"action {action}: no such barrier node")
        if action.kind == "start":
            self.start_barrier(column, scope, action.reads, action.attempt)
        elif action.kind == "complete":
            self.complete_barrier(column, scope, action.attempt)
        elif action.kind == "cancel":
            self.cancel_barrier(column, scope, action.attempt)
        else:
            failure = self._failure_of(action)
            self.fail_barrier(column, scope, failure, action.until, action.attempt)

    def _failure_of(self, action: Action) -> Failure:
        if action.failure is None:
            raise SpecError(f"action {action}: failure: missing")
        return action.failure

    def _apply_rows(self, column: int, action: Action, start: int, stop: int) -> None:
        kind = action.kind
        streamed = stop > start + 1 and self.graph.rules.columns[column].streamable
        if kind == "start" and streamed:
            self.start_range(column, start, stop, action.attempt)
        elif kind == "emit":
            if not self._is_barrier[column]:
                raise SpecError(f"action {action}: only a barrier emits")
            self.emit(column, start, stop)
        elif kind == "durable":
            self.durable_rows(column, stop, start)
        elif kind == "drop":
            self.record_drop(column, start, stop)
        elif streamed and kind in ("fail", "cancel"):
            # Any row of a range stands for all that is left of it.
            ranged = self._range_of(column, start) or self._range_of(column, stop - 1)
            for row in range(start, stop) if ranged is None else (ranged.start,):
                self._apply_cell(column, row, action)
        else:
            for row in range(start, stop):
                self._apply_cell(column, row, action)

    def _apply_cell(self, column: int, row: int, action: Action) -> None:
        if action.kind == "start":
            self.start_cell(column, row, action.attempt)
        elif action.kind == "complete":
            self.complete_cell(column, row, action.attempt)
        elif action.kind == "skip":
            self.skip_cell(column, row)
        elif action.kind == "cancel":
            self.cancel_cell(column, row, action.attempt)
        else:
            failure = self._failure_of(action)
            self.fail_cell(column, row, failure, action.until, action.attempt)

    def _apply_claim(self, action: Action, claim: Claim) -> None:
        if len(claim) != self.graph.num_columns:
            raise SpecError(
                f"action {action}: claims {len(claim)} columns of {self.graph.num_columns}"
            )
        if action.kind == "checkpoint_begin":
            self.checkpoint_begin(claim)
            return
        self.resume(
            claim,
            dropped=action.dropped,
            skipped=action.skipped,
            records=action.records,
            keep=action.keep,
        )


_ON_BARRIERS = frozenset(("start", "complete", "fail", "cancel"))
_ON_NODES = _ON_BARRIERS | {"emit", "skip", "drop"}
