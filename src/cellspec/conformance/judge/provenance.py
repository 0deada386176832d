"""Values that say where they come from, and the judge of tables that reads them.

Every value of a conformance run is a digest of the column and row that it was made for and of the
values that it was made from; the output of a barrier is a digest of all rows that it read, in
order. Every call is kept in a `Registry`. So a table can be judged on its own, without one word of
the engine about what it did: a value that is lost, doubled, stale, or in the wrong row shows.

`TableJudge` holds clauses TABLE-01 to TABLE-08. What a run must end with (TABLE-06, TABLE-08) is
worked out here by an interpreter of its own, slow and obvious: it goes through the columns in
order, cell by cell, and reads traits straight off the descriptors. It shares no code with the
graph, the rules, the counters or the machine, which are what engines are built on and judged by.

Some workloads leave room: a row that fails in one column may be dropped before or after a barrier
that does not wait for that column has read it, and both are right. Values that depend on such a
race are *open*, and are not compared; everything else is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cellspec.conformance.run.backend import SKIPPED, Table, Value
from cellspec.conformance.run.workload import Workload
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.text import counted

__all__ = [
    "BarrierRun",
    "Broken",
    "CellCall",
    "Expected",
    "Reads",
    "Registry",
    "TableJudge",
    "barrier_value",
    "expected_table",
    "value_of",
]

Reads: TypeAlias = Sequence[tuple[int, Mapping[str, Value]]]
"""What a barrier read: rows in order, each with the values of the columns that it needs."""


def value_of(column: str, row: int, inputs: Mapping[str, Value]) -> str:
    """The value of a cell: its column and row, and a digest of the values that it was made from.

    An input that was skipped and one that is not there are the same.
    """
    return f"{column}.{row}.{_digest([column, row, _plain(inputs)])}"


def barrier_value(column: str, row: int, reads: Reads) -> str:
    """The value that a run of a barrier gives a row: a digest of all that it read, in order."""
    return next(iter(barrier_values(column, (row,), reads).values()))


def barrier_values(column: str, rows: Iterable[int], reads: Reads) -> dict[int, str]:
    """`barrier_value` of several rows of one run."""
    seen = _digest([column, [[row, _plain(inputs)] for row, inputs in reads]])
    return {row: f"{column}.{row}.{_digest([seen, row])}" for row in rows}


def _plain(inputs: Mapping[str, Value]) -> list[list[str]]:
    return [[name, value] for name, value in sorted(inputs.items()) if isinstance(value, str)]


def _digest(data: object) -> str:
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


# What was called


@dataclass(frozen=True, slots=True)
class CellCall:
    """A call that made one cell."""

    incarnation: int
    column: str
    row: int
    inputs: Mapping[str, Value]
    value: str


@dataclass(frozen=True, slots=True)
class BarrierRun:
    """A call of a barrier that ended well: what it read, and what it gave each row that it read."""

    incarnation: int
    column: str
    scope: int
    reads: Reads
    values: Mapping[int, str]


@dataclass(slots=True)
class Registry:
    """Every call of a run that gave something, over all its lives.

    Attributes:
        cells: by value, the first call that made it.
        runs: by column, the runs of a barrier.
        ranged: columns of which several rows were run as one call, in the order seen.
    """

    cells: dict[str, CellCall] = field(default_factory=dict)
    runs: dict[str, list[BarrierRun]] = field(default_factory=dict)
    ranged: dict[str, None] = field(default_factory=dict)

    def add_cell(
        self, incarnation: int, column: str, row: int, inputs: Mapping[str, Value], value: str
    ) -> None:
        """Keep a call that made a cell."""
        self.cells.setdefault(value, CellCall(incarnation, column, row, inputs, value))

    def add_barrier(
        self, incarnation: int, column: str, scope: int, reads: Reads, values: Mapping[int, str]
    ) -> None:
        """Keep a run of a barrier."""
        self.runs.setdefault(column, []).append(
            BarrierRun(incarnation, column, scope, reads, values)
        )

    @property
    def calls(self) -> int:
        """How many different cells and how many runs of barriers there are."""
        return len(self.cells) + sum(map(len, self.runs.values()))


# Columns, as this module sees them


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the pipeline: what it needs and reaches, and how it treats skips."""

    name: str
    needs: tuple[str, ...]
    before: frozenset[str]
    """Every column that it waits for, directly or not."""
    scope_rows: int
    """Rows of one scope of a barrier; 0 for a row column."""
    streams: bool
    propagates: bool

    def scope(self, number: int, total: int) -> range:
        return range(number * self.scope_rows, min((number + 1) * self.scope_rows, total))

    def scopes(self, total: int) -> Iterator[tuple[int, range]]:
        for number in range(-(-total // self.scope_rows)):
            yield number, self.scope(number, total)


def _columns(work: Workload, total: int) -> list[_Column]:
    """The columns, each after those that it needs."""
    maker = {name: item.name for item in work.columns for name in item.all_produced_columns}
    left = list(work.columns)
    done: dict[str, _Column] = {}
    while left:
        for item in left:
            needs = tuple(dict.fromkeys(maker[name] for name in item.dependencies))
            if all(need in done for need in needs):
                before = frozenset(needs).union(*(done[need].before for need in needs))
                done[item.name] = _column(item, needs, before, work, total)
                left.remove(item)
                break
        else:
            raise AssertionError("a workload has a graph, and a graph has no cycle")
    return list(done.values())


def _column(
    item: ColumnDescriptor,
    needs: tuple[str, ...],
    before: frozenset[str],
    work: Workload,
    total: int,
) -> _Column:
    of_dataset = ExecutionTraits.BARRIER in item.traits
    of_batch = ExecutionTraits.BATCH_BARRIER in item.traits
    scope_rows = 0
    if of_batch or (of_dataset and work.barrier_scope == "batch"):
        scope_rows = work.batch_size or total
    elif of_dataset:
        scope_rows = total
    return _Column(
        name=item.name,
        needs=needs,
        before=before,
        scope_rows=scope_rows,
        streams=ExecutionTraits.ROW_STREAMABLE in item.traits,
        propagates=item.propagate_skip,
    )


# What a run must end with


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run that ends with success leaves in the table.

    Attributes:
        rows: for each row that lives its columns; None for a value that is open.
        dropped: rows that fail for good; None if it depends on how the engine cuts ranges.
    """

    rows: Mapping[int, Mapping[str, Value | None]]
    dropped: frozenset[int] | None


_NORMAL, _SKIP, _FAILS, _BLOCKED = range(4)


def expected_table(
    work: Workload,
    total: int,
    *,
    resumed: bool = False,
    ranged: Iterable[str] = (),
    open_scopes: Iterable[tuple[str, int]] = (),
) -> Expected:
    """What an uninterrupted run ends with, as far as the workload decides it.

    Args:
        work: the workload.
        total: its number of rows.
        resumed: the run that is judged was resumed. A row that failed after a barrier had read it
            may then be missing when the barrier runs again.
        ranged: columns of which several rows were run as one call: a failure of one is a failure of
            those after it.
        open_scopes: scopes of barriers, by column and number, whose values are open.
    """
    columns = _columns(work, total)
    cut = set(ranged)
    if any(column.streams and column.name in cut and _may_drop(work, column) for column in columns):
        return Expected({}, None)
    row_outcomes = _Fates(work, columns, total)
    table: dict[int, dict[str, Value | None]] = {row: {} for row in range(total)}
    known_open = set(open_scopes)
    for column in columns:
        if not column.scope_rows:
            for row in range(total):
                table[row][column.name] = _cell(column, row, row_outcomes, table[row])
            continue
        for number, scope in column.scopes(total):
            is_open = (column.name, number) in known_open or row_outcomes.races(
                column, scope, resumed
            )
            _fill_scope(column, scope, row_outcomes, table, is_open)
    dropped = frozenset(row_outcomes.failed_in)
    return Expected({row: table[row] for row in table if row not in dropped}, dropped)


def _cell(
    column: _Column, row: int, row_outcomes: _Fates, beside: Mapping[str, Value | None]
) -> Value | None:
    row_outcome = row_outcomes.of[column.name][row]
    if row_outcome == _SKIP:
        return SKIPPED
    inputs = {need: beside[need] for need in column.needs}
    if row_outcome != _NORMAL or None in inputs.values():
        return None
    return value_of(column.name, row, _present(inputs))


def _fill_scope(
    column: _Column,
    scope: range,
    row_outcomes: _Fates,
    table: dict[int, dict[str, Value | None]],
    is_open: bool,
) -> None:
    row_outcome = row_outcomes.of[column.name]
    read = [row for row in scope if row_outcome[row] in (_NORMAL, _FAILS)]
    inputs = [{need: table[row][need] for need in column.needs} for row in read]
    is_open = is_open or any(None in mine.values() for mine in inputs)
    reads = [(row, _present(mine)) for row, mine in zip(read, inputs, strict=True)]
    values = {} if is_open else barrier_values(column.name, read, reads)
    for row in scope:
        table[row][column.name] = SKIPPED if row_outcome[row] == _SKIP else values.get(row)


def _present(inputs: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in inputs.items() if value is not None}


def _may_drop(work: Workload, column: _Column) -> bool:
    """True if the column's failures can be for good, however its rows are cut into ranges."""
    mine = [fault.failure for fault in work.faults if fault.column == column.name]
    return "permanent" in mine or mine.count("retryable") >= work.failures.max_attempts


def _fails_for_good(work: Workload, column: str, position: int) -> bool:
    """How a node ends if it is called until it succeeds or may be called no more."""
    spent = 0
    call = 1
    while (fault := work.fault(column, position, call)) is not None:
        spent += fault.failure == "retryable"
        if fault.failure == "permanent" or spent == work.failures.max_attempts:
            return True
        call += 1
    return False


class _Fates:
    """For each cell, whether it is made, skipped, fails for good, or never gets its inputs.

    Attributes:
        of: by column, the fate of each row.
        failed_in: for each row that is dropped, the columns in which it fails.
    """

    def __init__(self, work: Workload, columns: Sequence[_Column], total: int) -> None:
        self.of: dict[str, list[int]] = {}
        self.failed_in: dict[int, list[str]] = {}
        self._before = {column.name: column.before for column in columns}
        for column in columns:
            row_outcomes = [self._wait(work, column, row) for row in range(total)]
            self.of[column.name] = row_outcomes
            if column.scope_rows:
                for number, scope in column.scopes(total):
                    if _fails_for_good(work, column.name, number):
                        self._fail(
                            column.name, [row for row in scope if row_outcomes[row] == _NORMAL]
                        )
            else:
                self._fail(
                    column.name,
                    [
                        row
                        for row in range(total)
                        if row_outcomes[row] == _NORMAL and _fails_for_good(work, column.name, row)
                    ],
                )

    def _wait(self, work: Workload, column: _Column, row: int) -> int:
        """What a cell's inputs make of it."""
        inputs = [self.of[need][row] for need in column.needs]
        if _FAILS in inputs or _BLOCKED in inputs:
            return _BLOCKED
        if work.wants_skip(column.name, row) or (column.propagates and _SKIP in inputs):
            return _SKIP
        return _NORMAL

    def _fail(self, column: str, rows: Iterable[int]) -> None:
        for row in rows:
            self.of[column][row] = _FAILS
            self.failed_in.setdefault(row, []).append(column)

    def races(self, column: _Column, scope: range, resumed: bool) -> bool:
        """True if a row may be dropped before or after this barrier reads it."""
        for row in scope:
            if self.of[column.name][row] != _NORMAL:
                continue
            for failed in self.failed_in.get(row, ()):
                after = column.name in self._before[failed]
                if resumed or not after:
                    return True
        return False


# The judge


@dataclass(frozen=True, slots=True)
class Broken:
    """A clause that a table breaks, how, in one line, and in which cell, if it is one."""

    clause: str
    detail: str
    cell: tuple[str, int] | None = None


class TableJudge:
    """Judges what storage holds at the end of each life.

    Args:
        work: the workload.
        registry: the calls of the run, so far.
        by_column: rows may be durable column by column, so that a row may be half there.
        waive: clauses not to judge.
    """

    def __init__(
        self,
        work: Workload,
        registry: Registry,
        *,
        by_column: bool = False,
        waive: Collection[str] = (),
    ) -> None:
        self._work = work
        self._registry = registry
        self._by_column = by_column
        self._waive = frozenset(waive)
        self._names = [item.name for item in work.columns]
        self._side_effects = {name for item in work.columns for name in item.side_effects}
        columns = _columns(work, work.rows)
        self._needs = {column.name: column.needs for column in columns}
        self._may_drop = any(_may_drop(work, column) for column in columns)
        self._crashed = False
        self._odd: set[tuple[str, int]] = set()
        """Cells of the table that break a clause that is waived: what else is odd follows."""
        self._claims: list[tuple[int, Table, Mapping[str, int] | None]] = []
        self._open_scopes: list[tuple[str, int]] = []

    def judge(
        self,
        incarnation: int,
        table: Table,
        outcome: str,
        claim: Mapping[str, int] | None = None,
        dropped: Container[int] | None = None,
    ) -> Broken | None:
        """The first clause that the table at the end of a life breaks, or None.

        Args:
            life: which life ended; lives are judged in order.
            table: what the backend read back.
            outcome: ``"success"``, ``"stopped"``, ``"failed"``, or ``"crash"``.
            claim: the last durable claim, by column; None if the backend reports none. Then only
                values that stand in two tables are compared, if nothing can be dropped.
            dropped: the rows that the run dropped, by its events; None if nobody knows.
        """
        self._odd.clear()
        for broken in self._all_broken(incarnation, table, outcome, dropped):
            if broken.clause not in self._waive:
                return broken
            if broken.cell is not None:
                self._odd.add(broken.cell)
        self._crashed = self._crashed or outcome == "crash"
        self._claims.append((incarnation, table, claim))
        self._note_open_scopes(incarnation, table)
        return None

    def _all_broken(
        self, incarnation: int, table: Table, outcome: str, dropped: Container[int] | None
    ) -> Iterator[Broken]:
        yield from self._complete(table, outcome == "success" or not self._by_column)
        yield from self._partition(incarnation, table, outcome)
        # By column, each after those that it needs: what a wrong value made wrong comes after it.
        for column in _columns(self._work, self._work.rows_of(incarnation)):
            if column.scope_rows:
                yield from self._barrier_values(incarnation, column, table)
            else:
                yield from self._own_values(incarnation, column, table)
        yield from self._unchanged(incarnation, table)
        if outcome == "success":
            if dropped is not None:
                yield from self._dropped(incarnation, table, dropped)
            yield from self._final(incarnation, table)

    def _complete(self, table: Table, whole: bool) -> Iterator[Broken]:
        for row in sorted(table.doubled):
            yield Broken("TABLE-01", f"storage holds row {row} more than once")
        for row, cells in sorted(table.rows.items()):
            for name in self._names:
                if name not in cells and whole:
                    yield Broken("TABLE-01", f"row {row} is durable without a cell in {name!r}")
                value = cells.get(name, "")
                if not isinstance(value, str) and value is not SKIPPED:
                    yield Broken(
                        "TABLE-01", f"{name}[{row}] holds {value!r}: no value and no skip mark"
                    )
            for name in cells:
                if name not in self._names and name not in self._side_effects:
                    yield Broken("TABLE-01", f"row {row} holds a column {name!r} that is none")

    def _partition(self, incarnation: int, table: Table, outcome: str) -> Iterator[Broken]:
        total = self._work.rows_of(incarnation)
        both = sorted(table.dropped & set(table.rows))
        if both:
            yield Broken("TABLE-04", f"row {both[0]} is durable and dropped")
        # Rows beyond a smaller target may stay from a life that had them.
        earlier = {row for _, old, _ in self._claims for row in (*old.rows, *old.dropped)}
        for row in sorted({*table.rows, *table.dropped}):
            if not 0 <= row < total and row not in earlier:
                yield Broken(
                    "TABLE-04", f"storage holds row {row}, but the run has {counted(total, 'row')}"
                )
        if outcome == "success":
            for row in range(total):
                if row not in table.rows and row not in table.dropped:
                    yield Broken(
                        "TABLE-04", f"success, but row {row} is neither durable nor dropped"
                    )

    def _own_values(self, incarnation: int, column: _Column, table: Table) -> Iterator[Broken]:
        for row, cells in sorted(table.rows.items()):
            value = cells.get(column.name)
            if isinstance(value, str) and (
                why := self._misfit(incarnation, column, row, value, cells)
            ):
                yield Broken(
                    "TABLE-02",
                    f"{column.name}[{row}] holds {value!r}: {why}",
                    (column.name, row),
                )

    def _misfit(
        self, incarnation: int, column: _Column, row: int, value: str, cells: Mapping[str, Value]
    ) -> str:
        made = self._registry.cells.get(value)
        if made is None:
            return "no call made it"
        if (made.column, made.row) != (column.name, row):
            earlier = _in_earlier(made.incarnation, incarnation)
            return f"it was made for {made.column}[{made.row}]{earlier}"
        for need in column.needs:
            if (need, row) not in self._odd and _text(made.inputs.get(need)) != _text(
                cells.get(need)
            ):
                return (
                    f"it was made{_in_earlier(made.incarnation, incarnation)} from "
                    f"{_quoted(made.inputs.get(need))} of {need!r}, but "
                    f"{_quoted(cells.get(need))} stands beside it"
                )
        return ""

    def _barrier_values(self, incarnation: int, column: _Column, table: Table) -> Iterator[Broken]:
        for row, cells in sorted(table.rows.items()):
            value = cells.get(column.name)
            if isinstance(value, str) and (
                why := self._stray(incarnation, column, row, value, table)
            ):
                yield Broken(
                    "TABLE-03",
                    f"{column.name}[{row}] holds {value!r}: {why}",
                    (column.name, row),
                )

    def _stray(self, incarnation: int, column: _Column, row: int, value: str, table: Table) -> str:
        runs = self._registry.runs.get(column.name, [])
        mine = [run for run in runs if run.values.get(row) == value]
        if not mine:
            owner = [(run, r) for run in runs for r, v in run.values.items() if v == value]
            if owner:
                run, given = owner[0]
                earlier = _in_earlier(run.incarnation, incarnation)
                return f"a run of {column.name!r} gave it{earlier} to row {given}"
            return f"no run of {column.name!r} gave it to this row"
        odd = ""
        for run in mine:
            odd = self._other_input(incarnation, run, table)
            if not odd:
                return ""
        return odd

    def _other_input(self, incarnation: int, run: BarrierRun, table: Table) -> str:
        """How what a run read differs from what the table holds; "" if it does not.

        What a run of an earlier life read and nobody claimed was made again since, perhaps by a
        barrier that then ran without a row that was dropped meanwhile.
        """
        for need in self._needs[run.column]:
            safe = self._safe_rows(run.incarnation, need) if run.incarnation < incarnation else None
            for row, inputs in run.reads:
                cells = table.rows.get(row, {})
                if need not in cells or (safe is not None and row >= safe):
                    continue
                if (need, row) in self._odd:
                    continue
                if _text(cells[need]) != _text(inputs.get(need)):
                    earlier = _in_earlier(run.incarnation, incarnation)
                    return (
                        f"the run{earlier} read {_quoted(inputs.get(need))} in "
                        f"{need}[{row}], but {_quoted(cells[need])} stands there"
                    )
        return ""

    def _safe_rows(self, incarnation: int, column: str) -> int:
        """Rows of a column that were claimed when a life ended."""
        for earlier, _, claim in self._claims:
            if earlier == incarnation:
                return claim.get(column, 0) if claim else 0
        return 0

    def _unchanged(self, incarnation: int, table: Table) -> Iterator[Broken]:
        for earlier, old, claim in self._claims:
            whole = min(claim.values(), default=0) if claim else 0
            for row, cells in sorted(old.rows.items()):
                if row in table.dropped and row >= whole:
                    # It was not finished yet: the rest of it failed later.
                    continue
                for name, value in cells.items():
                    now = table.rows.get(row, {}).get(name)
                    if (name, row) in self._odd:
                        continue
                    if now != value and self._was_claimed(claim, name, row, now):
                        held = "nothing" if now is None else repr(now)
                        yield Broken(
                            "TABLE-05",
                            f"{name}[{row}] was safe at the end of life {earlier} as {value!r}, "
                            f"and at the end of life {incarnation} {held} stands there",
                        )
            for row in sorted(old.dropped):
                if claim and row < min(claim.values()) and row not in table.dropped:
                    yield Broken(
                        "TABLE-05",
                        f"the drop of row {row} was safe at the end of life {earlier}, and at the "
                        f"end of life {incarnation} there is no record of it",
                    )

    def _was_claimed(
        self, claim: Mapping[str, int] | None, name: str, row: int, now: Value | None
    ) -> bool:
        if claim is not None:
            return row < claim.get(name, 0)
        # What was not claimed may be thrown away and made again, to the same value.
        return now is not None and not self._may_drop

    def _note_open_scopes(self, incarnation: int, table: Table) -> None:
        """Scopes that hold claimed rows and change with the next target: two runs may mix there."""
        work = self._work
        if incarnation + 1 >= work.incarnations or work.rows_of(incarnation + 1) == work.rows_of(
            incarnation
        ):
            return
        before, after = work.rows_of(incarnation), work.rows_of(incarnation + 1)
        old = {column.name: column for column in _columns(work, before)}
        for column in _columns(work, after):
            if not column.scope_rows:
                continue
            for number, scope in column.scopes(after):
                was = old[column.name].scope(number, before)
                held = any(column.name in table.rows.get(row, {}) for row in was)
                if held and was != scope:
                    self._open_scopes.append((column.name, number))

    def _dropped(self, incarnation: int, table: Table, dropped: Container[int]) -> Iterator[Broken]:
        """The table gives up the rows that the run gave up."""
        rows = range(self._work.rows_of(incarnation))
        for row in rows:
            if row in table.dropped and row not in dropped:
                yield Broken(
                    "TABLE-07",
                    f"row {row} counts as dropped in the table, and the run did not drop it",
                )
            elif row in dropped and row in table.rows:
                yield Broken("TABLE-07", f"row {row} was dropped, and stands in the table")

    def _final(self, incarnation: int, table: Table) -> Iterator[Broken]:
        work, total = self._work, self._work.rows_of(incarnation)
        if work.failures.stop_window is not None:
            return
        expected = expected_table(
            work,
            total,
            resumed=incarnation > 0,
            ranged=self._registry.ranged,
            open_scopes=self._open_scopes,
        )
        if expected.dropped is None:
            return
        yield from self._skips(table, expected)
        if not self._crashed:
            return
        dropped = frozenset(row for row in table.dropped if row < total)
        for row in sorted(dropped ^ expected.dropped):
            must = "does not drop it" if row in dropped else "drops it"
            there = "is dropped" if row in dropped else "stands in the table"
            yield Broken("TABLE-06", f"row {row} {there}; a run without a crash {must}")
        for row, cells in sorted(expected.rows.items()):
            for name, value in cells.items():
                held = table.rows.get(row, {}).get(name)
                if (
                    isinstance(value, str)
                    and isinstance(held, str)
                    and held != value
                    and (name, row) not in self._odd
                ):
                    made = self._made_earlier(name, row, held, incarnation)
                    yield Broken(
                        "TABLE-06",
                        f"{name}[{row}] ends as {held!r}{made}; a run without a crash ends with "
                        f"{value!r}",
                    )

    def _skips(self, table: Table, expected: Expected) -> Iterator[Broken]:
        """A cell is skipped where the workload asks for it, and nowhere else."""
        for row, cells in sorted(expected.rows.items()):
            for name, value in cells.items():
                held = table.rows.get(row, {}).get(name)
                if held is SKIPPED and value is not SKIPPED:
                    yield Broken(
                        "TABLE-08",
                        f"{name}[{row}] is skipped, and has no reason to be: neither its column's "
                        "condition nor a skipped input asks for it",
                        (name, row),
                    )
                elif value is SKIPPED and isinstance(held, str) and (name, row) not in self._odd:
                    yield Broken(
                        "TABLE-08",
                        f"{name}[{row}] holds {held!r}, and must be skipped in this workload",
                        (name, row),
                    )

    def _made_earlier(self, column: str, row: int, value: str, incarnation: int) -> str:
        """Which earlier run of the process made a value, in words; "" if it was this one."""
        made = self._registry.cells.get(value)
        incarnations = [
            run.incarnation
            for run in self._registry.runs.get(column, ())
            if value == run.values.get(row)
        ]
        return _in_earlier(
            max([made.incarnation] if made is not None else incarnations, default=incarnation),
            incarnation,
        )


def _in_earlier(made: int, incarnation: int) -> str:
    """That an earlier run of the process made something, in words; "" if this one did."""
    return (
        f" in run {made + 1} of the process (this is run {incarnation + 1})"
        if made < incarnation
        else ""
    )


def _quoted(value: Value | None) -> str:
    return repr(value) if isinstance(value, str) else "nothing"


def _text(value: Value | None) -> str:
    return value if isinstance(value, str) else ""
