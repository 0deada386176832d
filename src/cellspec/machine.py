"""The transition system: a run's state, the actions it allows, and what each one does.

Everything that runs, explores or judges goes through `Machine`. Its state is, for each node,
pending (a countdown), running, complete, skipped or dropped; what is durable; the claim being
written; and the incarnation, 0 and then one more at each resume. An action that the specification
does not allow raises `Violation` with the clause that it would break, and changes nothing.

====================  =======================================================================
action                meaning
====================  =======================================================================
start                 a cell, or a barrier node, begins; it takes a worker and a resource
complete              what was started ends well; who waited for it may become ready
emit                  output cells of a finished barrier, as a range: start and complete at once
durable               the data of a column's first rows is safe on storage
checkpoint_begin      a claim is being written
checkpoint_durable    that claim is safe on storage
crash                 everything that is not durable is gone
resume                a new incarnation begins, from a claim that storage gave back
end                   the run reports success
====================  =======================================================================

``fail``, ``skip`` and ``drop`` are names of the action set without rules yet: `apply` refuses them.

A driver decides which action comes next. The simulator, where time decides, calls the methods
directly. A driver that enumerates asks `enabled` and hands an `Action` to `apply`; an action names
its column, so a recorded list replays on any driver.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from cellspec.counters import CLAIMED, DONE, READY, RUNNING, UNLIMITED, Claim, Counters
from cellspec.errors import SpecError, Violation
from cellspec.graph import ExecutionGraph
from cellspec.nodes import CellNodeId, NodeId

__all__ = ["Action", "Choose", "Failure", "FailurePolicy", "Limits", "Machine", "Outcome", "Ranges"]

T = TypeVar("T")

Failure: TypeAlias = Literal["retryable", "backpressure", "permanent"]
Outcome: TypeAlias = Literal["success", "stopped", "failed"]
Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Rows as ranges ``[start, stop)`` in order, none empty, none touching the next."""


class Choose(Protocol):
    """How a driver answers what a run leaves open: picks one of `options`, which is not empty.

    The label says what is asked ("action", "claim after crash"), so that a recorded answer can be
    read, and an enumerator can treat kinds of question differently.
    """

    def __call__(self, label: str, options: Sequence[T], /) -> T: ...


class Action(NamedTuple):
    """One step of a run, by name; what a trace publishes and a case file stores.

    Attributes:
        kind: see the table in `cellspec.machine`.
        column: the column, or "" for actions of the whole run.
        rows: rows ``[start, stop)`` of cells.
        scope: a barrier node's scope number; None for cells.
        attempt: 1 for the first try in an incarnation.
        claim: rows claimed, by column position.
        failure: of a fail: "retryable", "backpressure" or "permanent".
        until: of a fail: the time in seconds at which the node may start again; None if the engine
            leaves it open.
        reads: of a barrier's start: the rows it read, as ranges in row order.
        dropped: of a resume: the dropped rows that storage read back, as ranges.
        skipped: of a resume: for each column the skipped rows that storage read back, as ranges.
        records: of a resume: the number of rows from now on, if it is another one.
        keep: of a resume with another number of rows: keep claimed rows of barriers that change.
        outcome: of an end: "success", "stopped" or "failed".
        reason: of a stop or an end, for people.
    """

    kind: str
    column: str = ""
    rows: tuple[int, int] | None = None
    scope: int | None = None
    attempt: int = 1
    claim: Claim | None = None
    failure: Failure | None = None
    until: float | None = None
    reads: Ranges | None = None
    dropped: Ranges | None = None
    skipped: Mapping[str, Ranges] | None = None
    records: int | None = None
    keep: bool = False
    outcome: Outcome | None = None
    reason: str | None = None

    def __str__(self) -> str:
        where = self.column
        if self.scope is not None:
            where += f" barrier {self.scope}"
        elif self.rows is not None:
            start, stop = self.rows
            where += f"[{start}]" if stop == start + 1 else f"[{start}:{stop}]"
        claim = "" if self.claim is None else f" {list(self.claim)}"
        return f"{self.kind} {where}".rstrip() + claim


@dataclass(frozen=True, slots=True)
class Limits:
    """What may run at once.

    Attributes:
        workers: nodes in flight in all; None for no limit.
        resources: nodes in flight by resource (a model endpoint, say).
        column_resource: the resource that each node of a column takes; columns not named take none.
        group_rows: rows of a row group; None if rows are not admitted in groups.
        groups: row groups that may be admitted at once; None for no limit.

    Raises:
        SpecError: a limit below 1, a column whose resource has no limit, or a limit of groups
            without their size.
    """

    workers: int | None = None
    resources: Mapping[str, int] = field(default_factory=dict)
    column_resource: Mapping[str, str] = field(default_factory=dict)
    group_rows: int | None = None
    groups: int | None = None

    def __post_init__(self) -> None:
        own = (
            ("workers", self.workers),
            ("group_rows", self.group_rows),
            ("groups", self.groups),
        )
        if self.groups is not None and self.group_rows is None:
            raise SpecError("limits: groups: needs group_rows, the rows of a row group")
        for name, limit in (*own, *self.resources.items()):
            if limit is not None and (type(limit) is not int or limit < 1):
                raise SpecError(f"limits: {name}: expected a positive integer, got {limit!r}")
        for column, resource in self.column_resource.items():
            if resource not in self.resources:
                raise SpecError(
                    f"limits: column {column!r} uses resource {resource!r}, which has no limit"
                )


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """What a run does about failures.

    Attributes:
        max_attempts: attempts that a node has in an incarnation; the last one that fails is final.
        stop_window: an early stop looks at this many ended calls, the latest ones: completions and
            permanent failures, not what is tried again; None for no early stop.
        stop_rate: the share of permanent failures among them at which nothing starts any more.

    Raises:
        SpecError: a count below 1, or a rate that is not above 0 and at most 1.
    """

    max_attempts: int = 1
    stop_window: int | None = None
    stop_rate: float = 1.0

    def __post_init__(self) -> None:
        counts = (("max_attempts", self.max_attempts), ("stop_window", self.stop_window))
        for name, count in counts:
            if name == "stop_window" and count is None:
                continue
            if type(count) is not int or count < 1:
                raise SpecError(f"failures: {name}: expected a positive integer, got {count!r}")
        rate = self.stop_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise SpecError(
                f"failures: stop_rate: expected a number above 0 and at most 1, got {rate!r}"
            )


class Machine:
    """The transition system of one run, interpreted by counters.

    Args:
        graph: what is to be generated.
        limits: what may run at once.
        waive: clauses not to judge; a step that breaks one is taken as it is. For measuring which
            clause would catch an engine next.

    Attributes:
        counters: what is ready and what is done.
        incarnation: 0, and one more at each resume.
        now: the time of the last event, in seconds.
        durable: for each column, how many first rows are safe on storage.
        durable_claim: the last claim that became durable.
        pending_claim: the claim being written, or None.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        limits: Limits | None = None,
        *,
        waive: Collection[str] = (),
    ) -> None:
        limits = limits or Limits()
        self._waived = frozenset(waive)
        self.graph = graph
        self.limits = limits
        rules = graph.rules
        # Groups of ready work: one a resource, one for columns that take none, and one for the
        # output cells of barriers, which take no worker either.
        names = list(limits.resources)
        self._free_group = len(names)
        self._output_group = len(names) + 1
        self._capacity = [*limits.resources.values(), UNLIMITED, UNLIMITED]
        self._workers = UNLIMITED if limits.workers is None else limits.workers
        resource_of = limits.column_resource
        self.group_of = [
            names.index(resource_of[rule.name]) if rule.name in resource_of else self._free_group
            for rule in rules.columns
        ]
        self._is_barrier = [rule.is_barrier for rule in rules.columns]
        self._ready_barriers = [0] * len(self._capacity)
        self._tell_barrier: Callable[[int, int], object] = lambda *_: None
        self.incarnation = 0
        self.now = 0.0
        self.crashed = False
        self.ended = False
        zero = (0,) * len(rules.columns)
        self.durable = list(zero)
        self.durable_claim: Claim = zero
        self.pending_claim: Claim | None = None
        self.counters = Counters(
            rules,
            groups=self.group_of,
            output_group=self._output_group,
            capacity=self._capacity,
            workers=self._workers,
            judge=self,
        )
        self.listen(None, lambda *_: None, lambda *_: None)

    def listen(
        self,
        on_cell: Sequence[Callable[[int], object]] | None,
        on_cells: Callable[[int, int, int], object],
        on_barrier: Callable[[int, int], object],
    ) -> None:
        """Say who hears of ready work (see `Counters.listen`), from now or the next resume on.

        Before the first action everything that is ready is announced at once; later, a driver
        calls this between a crash and its resume.
        """
        self._tell_barrier = on_barrier
        self.counters.listen(on_cell, on_cells, self._hear_barrier)
        if not self.crashed:
            self._restore(self.durable_claim)

    def _restore(self, claim: Claim) -> None:
        self._ready_barriers = [0] * len(self._ready_barriers)
        self.counters.restore(claim)

    def _hear_barrier(self, column: int, scope: int) -> None:
        self._ready_barriers[self.group_of[column]] += 1
        self._tell_barrier(column, scope)

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
            Violation: SCHED-08 (time fell), SCHED-09 (dispatchable work was left when time moved).
        """
        if t > self.now:
            # With every worker busy only output cells could wait; the common case ends here.
            counters = self.counters
            if (counters.load[0] < self._workers or counters.ready[self._output_group]) and not (
                self.crashed or self.ended
            ):
                idle = self.dispatchable()
                if idle:
                    self._breaks(
                        "SCHED-09",
                        f"{idle} at t={self.now:g} s was ready, with a worker and its resource "
                        f"free, and was not started before t={t:g} s",
                    )
            self.now = t
        elif t < self.now:
            self._breaks("SCHED-08", f"t fell from {self.now:g} s to {t:g} s")

    def dispatchable(self) -> str:
        """One node that could start now, in words; "" if there is none. O(resources)."""
        ready = self.counters.ready
        if ready[self._output_group]:
            return self._find_ready(self._output_group)
        if self.counters.load[0] >= self._workers:
            return ""
        for group in range(self._output_group):
            if (ready[group] or self._ready_barriers[group]) and self._has_slot(group):
                return self._find_ready(group)
        return ""

    def _find_ready(self, group: int) -> str:
        for action in self._starts():
            column = self.graph.rules.index[action.column]
            output = action.scope is None and self._is_barrier[column]
            if (self._output_group if output else self.group_of[column]) == group:
                return str(action)[len("start ") :]
        raise AssertionError("a ready count has no ready node")

    # Cells and barriers

    def start_cell(self, column: int, row: int) -> None:
        """A cell starts. A hot loop calls ``counters.start[column](row)``, which is the same.

        Raises:
            Violation: SCHED-01 to SCHED-07, SCHED-11, BARR-02.
        """
        self.counters.start[column](row)

    def complete_cell(self, column: int, row: int) -> None:
        """A running cell ends well. The same as ``counters.resolve[column](row)``.

        Raises:
            Violation: SCHED-04 (it was not running), SCHED-07 (the run is over).
        """
        self.counters.resolve[column](row)

    def start_barrier(self, column: int, scope: int) -> None:
        """A barrier node starts, and reads every row of its scope.

        Raises:
            Violation: BARR-01, SCHED-02 to SCHED-07.
        """
        if self.counters.barrier_state(column, scope) != READY or self.crashed or self.ended:
            self._refuse_barrier(column, scope)
        group = self.group_of[column]
        if not self._has_slot(group):
            self._refuse_limit(group, f"{self._name(column)} barrier {scope}")
        self._ready_barriers[group] -= 1
        self.counters.start_barrier(column, scope)

    def _has_slot(self, group: int) -> bool:
        counters = self.counters
        return counters.load[0] < self._workers and counters.busy[group] < self._capacity[group]

    def complete_barrier(self, column: int, scope: int) -> None:
        """A running barrier node ends well: its output cells are ready.

        Raises:
            Violation: SCHED-04, SCHED-07.
        """
        state = self.counters.barrier_state(column, scope)
        if state != RUNNING or self.crashed or self.ended:
            self._refuse_complete(f"{self._name(column)} barrier {scope}", state)
        self.counters.resolve_barrier(column, scope)

    def emit(self, column: int, start: int, stop: int) -> None:
        """A finished barrier gives its output cells of rows ``[start, stop)``.

        Raises:
            Violation: BARR-02 (a cell whose barrier is not complete), SCHED-02 to SCHED-05.
        """
        counters = self.counters
        body = counters.cells[column]
        ready = isinstance(body, bytearray) and body.count(READY, start, stop) == stop - start
        if not ready or self.crashed or self.ended or not self._is_barrier[column]:
            odd = next((row for row in range(start, stop) if body[row] != READY), start)
            self.not_ready(column, odd)
        counters.resolve_range(column, start, stop)

    # Storage, crash and resume

    def durable_rows(self, column: int, rows: int) -> None:
        """The first `rows` rows of a column are safe on storage.

        Raises:
            Violation: CKPT-08 (rows that are not there), SCHED-07.
        """
        self._expect_running("durable")
        if rows > self.counters.prefix(column):
            self._breaks(
                "CKPT-08",
                f"{self._name(column)}: {rows} rows durable, but only "
                f"{self.counters.prefix(column)} are resolved",
            )
        self.durable[column] = max(self.durable[column], rows)

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
                CKPT-11 (another claim is being written).
        """
        self._expect_running("checkpoint_begin")
        if self.pending_claim is not None:
            self._breaks("CKPT-11", "a claim is begun while another is being written")
        for column, rows in enumerate(claim):
            name = self._name(column)
            if rows > self.counters.prefix(column):
                self._breaks(
                    "CKPT-08",
                    f"{name}: {rows} rows claimed, but only {self.counters.prefix(column)} are "
                    "resolved without a gap",
                )
            if rows < self.durable_claim[column]:
                self._breaks(
                    "CKPT-09",
                    f"{name}: {rows} rows claimed after {self.durable_claim[column]} were",
                )
            if rows > self.durable[column]:
                self._breaks(
                    "CKPT-10",
                    f"{name}: {rows} rows claimed, but only {self.durable[column]} are durable",
                )
            for need in self.graph.rules.columns[column].needs:
                if rows > claim[need]:
                    self._breaks(
                        "CKPT-05",
                        f"{name}: {rows} rows claimed, but its input {self._name(need)} claims "
                        f"{claim[need]}",
                    )
        self.pending_claim = claim

    def checkpoint_durable(self) -> None:
        """The claim being written is safe on storage.

        Raises:
            Violation: CKPT-11 (none was being written), SCHED-07.
        """
        self._expect_running("checkpoint_durable")
        if self.pending_claim is None:
            self._breaks("CKPT-11", "a claim became durable that nobody had begun")
            return
        self.durable_claim = self.pending_claim
        self.pending_claim = None

    def crash(self) -> None:
        """The process is gone, with all that runs.

        Raises:
            Violation: SCHED-07 (it had crashed or ended already).
        """
        self._expect_running("crash")
        self.crashed = True
        self.counters.halt()

    def resume(self, claim: Claim) -> None:
        """A new process begins from `claim`; exactly what it claims is complete.

        Raises:
            Violation: CKPT-12 (a claim that storage cannot have given back), SCHED-07 (no crash
                came before).
        """
        if not self.crashed:
            self._breaks("SCHED-07", "resume without a crash")
        if claim != self.durable_claim and claim != self.pending_claim:
            self._breaks(
                "CKPT-12",
                f"resumed from {list(claim)}; the last durable claim is "
                f"{list(self.durable_claim)}, in flight was "
                f"{None if self.pending_claim is None else list(self.pending_claim)}",
            )
        self.durable_claim = claim
        self.pending_claim = None
        self.durable = list(claim)
        self.crashed = False
        self.incarnation += 1
        self._restore(claim)

    def end(self) -> None:
        """The run reports success.

        Raises:
            Violation: SCHED-10 (a row is not complete, or not durable), SCHED-07.
        """
        self._expect_running("end")
        total = self.graph.num_records
        if self.completed_rows != total:
            self._breaks("SCHED-10", f"success with {self.completed_rows} of {total} rows complete")
        for column, rows in enumerate(self.durable):
            if rows != total:
                self._breaks(
                    "SCHED-10",
                    f"success with {rows} of {total} rows of {self._name(column)} durable",
                )
        self.ended = True
        self.counters.halt()

    def stuck(self) -> None:
        """The driver finds that nothing can ever happen again.

        Raises:
            Violation: SCHED-12, if the run has not ended.
        """
        if not self.ended:
            self._breaks(
                "SCHED-12",
                f"nothing can ever run again at t={self.now:g} s, with {self.completed_rows} of "
                f"{self.graph.num_records} rows complete",
            )

    # Actions by name

    def enabled(self) -> Iterator[Action]:
        """Every action that the specification allows now, lazily, in a fixed order.

        Checkpoints are offered for version 1 and 2, each with its longest claim; data is offered
        to storage as a whole column prefix.
        """
        if self.ended:
            return
        if self.crashed:
            claims = dict.fromkeys((self.durable_claim, self.pending_claim or self.durable_claim))
            yield from (Action("resume", claim=claim) for claim in claims)
            return
        for action in self._starts():
            column = self.graph.rules.index[action.column]
            group = self.group_of[column]
            output = action.scope is None and self._is_barrier[column]
            if output or self._has_slot(group):
                yield action
        yield from self._of_state("complete", RUNNING)
        yield from self._storage_actions()
        yield Action("crash")

    def _storage_actions(self) -> Iterator[Action]:
        prefixes = self.counters.column_prefixes()
        for column, rows in enumerate(prefixes):
            if rows > self.durable[column]:
                yield Action("durable", self._name(column), (0, rows))
        if self.pending_claim is not None:
            yield Action("checkpoint_durable")
        else:
            for claim in dict.fromkeys((self.claim(1), self.claim(2))):
                covered = all(c <= d for c, d in zip(claim, self.durable, strict=True))
                grows = all(c >= d for c, d in zip(claim, self.durable_claim, strict=True))
                if covered and grows and claim != self.durable_claim:
                    yield Action("checkpoint_begin", claim=claim)
        total = self.graph.num_records
        if self.completed_rows == total and min(self.durable) == total:
            yield Action("end")

    def _starts(self) -> Iterator[Action]:
        yield from self._of_state("start", READY)

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
            Violation: the clause that the step would break; the state is then as it was.
            SpecError: an action that names no such column, rows or kind.
        """
        kind = action.kind
        if kind in ("start", "complete", "emit", "durable"):
            column = self.graph.rules.index.get(action.column)
            if column is None:
                raise SpecError(f"action {action}: unknown column {action.column!r}")
            if action.attempt != 1:
                raise SpecError(f"action {action}: attempt {action.attempt} has no rule yet")
            self._apply_node(kind, column, action)
        elif kind in ("checkpoint_begin", "resume") and action.claim is not None:
            if len(action.claim) != self.graph.num_columns:
                raise SpecError(
                    f"action {action}: claims {len(action.claim)} columns of "
                    f"{self.graph.num_columns}"
                )
            getattr(self, kind)(action.claim)
        elif kind in ("checkpoint_durable", "crash", "end"):
            getattr(self, kind)()
        else:
            raise SpecError(f"action {action}: unknown, or incomplete")

    def _apply_node(self, kind: str, column: int, action: Action) -> None:
        if action.scope is not None and kind in ("start", "complete"):
            if not 0 <= action.scope < self.graph.rules.scope_count(column):
                raise SpecError(f"action {action}: no such barrier node")
            move = self.start_barrier if kind == "start" else self.complete_barrier
            move(column, action.scope)
            return
        total = self.graph.num_records
        if action.rows is None or not 0 <= action.rows[0] < action.rows[1] <= total:
            raise SpecError(f"action {action}: expected rows within 0 to {total}")
        start, stop = action.rows
        if kind == "emit":
            if not self._is_barrier[column]:
                raise SpecError(f"action {action}: only a barrier emits")
            self.emit(column, start, stop)
        elif kind == "durable":
            if start > self.durable[column]:
                self._breaks(
                    "CKPT-08",
                    f"{action.column}: rows from {start} durable, but only "
                    f"{self.durable[column]} before them",
                )
            self.durable_rows(column, stop)
        elif stop != start + 1:
            raise SpecError(f"action {action}: a range of rows has no rule yet")
        else:
            (self.start_cell if kind == "start" else self.complete_cell)(column, start)

    # Why not

    def _breaks(self, clause: str, detail: str) -> None:
        """Refuse a step, unless its clause is waived: the step is then taken as it is."""
        if clause not in self._waived:
            raise Violation(clause, detail)

    def _name(self, column: int) -> str:
        return self.graph.rules.columns[column].name

    def _expect_running(self, what: str) -> None:
        if self.crashed or self.ended:
            state = "the end" if self.ended else "a crash, before the resume"
            self._breaks("SCHED-07", f"{what} after {state}")

    def not_ready(self, column: int, row: int) -> None:
        """Refuse to start a cell that is not ready, with the clause that says why."""
        where = f"{self._name(column)}[{row}]"
        self._expect_running(f"start of {where}")
        state = self._state(column, row)
        if state >= RUNNING:
            self._refuse_again(where, state)
        elif self._is_barrier[column]:
            self._breaks("BARR-02", f"{where} is given although its barrier is not complete")
        else:
            node = CellNodeId(row, self._name(column))
            missing = next(self._open_needs(node), None)
            self._breaks("SCHED-01", f"{where} starts although {missing} is not complete")

    def _refuse_barrier(self, column: int, scope: int) -> None:
        where = f"{self._name(column)} barrier {scope}"
        self._expect_running(f"start of {where}")
        state = self.counters.barrier_state(column, scope)
        if state >= RUNNING:
            # Claims are of cells; a barrier that they made complete is complete.
            self._refuse_again(where, DONE if state == CLAIMED else state)
        else:
            missing = list(self._open_needs(self.graph.barrier_node(column, scope)))
            self._breaks(
                "BARR-01",
                f"{where} starts although {len(missing)} nodes that it waits for are open, first "
                f"{missing[:1]}",
            )

    def _refuse_again(self, where: str, state: int) -> None:
        if state == CLAIMED:
            self._breaks("SCHED-05", f"{where} starts although a checkpoint claimed it")
        elif state == RUNNING:
            self._breaks("SCHED-02", f"{where} starts while it is in flight")
        else:
            self._breaks("SCHED-03", f"{where} starts although it is complete")

    def not_running(self, column: int, row: int) -> None:
        """Refuse to complete a cell that is not running."""
        self._refuse_complete(f"{self._name(column)}[{row}]", self._state(column, row))

    def _state(self, column: int, row: int) -> int:
        state = self.counters.cells[column][row]
        # A column that is finished keeps one state for all its rows; what was claimed stays so.
        return CLAIMED if state == DONE and row < self.counters.claimed[column] else state

    def no_slot(self, column: int, row: int) -> None:
        """Refuse to start a cell beyond a limit."""
        self._refuse_limit(self.group_of[column], f"{self._name(column)}[{row}]")

    def _refuse_complete(self, where: str, state: int) -> None:
        self._expect_running(f"completion of {where}")
        self._breaks("SCHED-04", f"{where} completes, but is {_word(state)}")

    def _refuse_limit(self, group: int, where: str) -> None:
        if self.in_flight >= self._workers:
            self._breaks(
                "SCHED-06", f"{where} starts with {self.in_flight} workers busy of as many"
            )
        name = list(self.limits.resources)[group]
        self._breaks(
            "SCHED-11",
            f"{where} starts with {self.counters.busy[group]} of {name!r} busy of as many",
        )

    def _open_needs(self, node: NodeId) -> Iterator[NodeId]:
        return (n for n in self.graph.iter_dependencies(node) if not self._resolved_node(n))

    def _resolved_node(self, node: NodeId) -> bool:
        index = self.graph.rules.index[node.column]
        if isinstance(node, CellNodeId):
            return self.counters.is_resolved(index, node.row)
        return self.counters.is_barrier_resolved(index, node.batch or 0)


def _word(state: int) -> str:
    if state == CLAIMED:
        return "claimed by a checkpoint"
    return "complete already" if state >= DONE else "not running"
