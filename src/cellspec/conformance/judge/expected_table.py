"""The table that a run without a crash ends with: an interpreter of workloads, slow and obvious.

It goes through the columns in order, cell by cell, and reads the traits straight off the
descriptors. It is independent of the graph, the rules, the counters and the machine, on which
engines are built and by which they are judged.

Some workloads leave room: a row that fails in one column may be dropped before or after a barrier
has read it, if the barrier does not wait for that column, and both are right. The values that
depend on such a race are *open*, and are not compared. All other values are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cellspec.conformance.run.values import PLAIN, SKIPPED, Style, Value, barrier_values, value_of
from cellspec.conformance.run.workload import Workload
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits

__all__ = ["Expected", "PlainColumn", "expected_table", "may_drop", "plain_columns"]

# Columns, as this module sees them


@dataclass(frozen=True, slots=True)
class PlainColumn:
    """A column of the pipeline: its inputs, the columns before it, and how it treats skips."""

    name: str
    needs: tuple[str, ...]
    before: frozenset[str]
    """Every column that it waits for, directly or not."""
    scope_rows: int
    """Rows of one scope of a barrier; 0 for a row column."""
    streams: bool
    propagates: bool
    style: Style = PLAIN

    def scope(self, number: int, total: int) -> range:
        return range(number * self.scope_rows, min((number + 1) * self.scope_rows, total))

    def scopes(self, total: int) -> Iterator[tuple[int, range]]:
        for number in range(-(-total // self.scope_rows)):
            yield number, self.scope(number, total)


def plain_columns(work: Workload, total: int) -> list[PlainColumn]:
    """The columns, each after those that it needs."""
    maker = {name: item.name for item in work.columns for name in item.all_produced_columns}
    left = list(work.columns)
    done: dict[str, PlainColumn] = {}
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
) -> PlainColumn:
    of_dataset = ExecutionTraits.BARRIER in item.traits
    of_batch = ExecutionTraits.BATCH_BARRIER in item.traits
    scope_rows = 0
    if of_batch or (of_dataset and work.barrier_scope == "batch"):
        scope_rows = work.batch_size or total
    elif of_dataset:
        scope_rows = total
    return PlainColumn(
        name=item.name,
        needs=needs,
        before=before,
        scope_rows=scope_rows,
        streams=ExecutionTraits.ROW_STREAMABLE in item.traits,
        propagates=item.propagate_skip,
        style=work.style(item.name),
    )


# The table at the end


@dataclass(frozen=True, slots=True)
class Expected:
    """The table that a run leaves when it ends with success.

    Attributes:
        rows: for each row that is kept its columns; None for a value that is open.
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
    killed: Iterable[int] | None = (),
) -> Expected:
    """The table of a run without a crash, as far as the workload decides it.

    Args:
        work: the workload.
        total: its number of rows.
        resumed: the run that is judged was resumed. A row that failed after a barrier had read it
            may then be missing when the barrier runs again.
        ranged: columns of which several rows were run as one call: a failure of one is a failure of
            those after it.
        open_scopes: scopes of barriers, by column and number, whose values are open.
        killed: rows that the run dropped because processes died of them: beside the killers an
            engine may suspect what was in flight with them. None if that is unknown.
    """
    columns = plain_columns(work, total)
    cut = set(ranged)
    if any(fault.answers for fault in work.faults) or (work.killers and killed is None):
        # Whether the call that gave such an answer is made again is the engine's choice, as is
        # which rows it suspects.
        return Expected({}, None)
    if any(column.streams and column.name in cut and may_drop(work, column) for column in columns):
        return Expected({}, None)
    row_outcomes = _RowOutcomes(work, columns, total)
    for row in killed or ():
        row_outcomes.failed_in.setdefault(row, []).append(columns[0].name)
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
    column: PlainColumn, row: int, row_outcomes: _RowOutcomes, beside: Mapping[str, Value | None]
) -> Value | None:
    row_outcome = row_outcomes.of[column.name][row]
    if row_outcome == _SKIP:
        return SKIPPED
    inputs = {need: beside[need] for need in column.needs}
    if row_outcome != _NORMAL or None in inputs.values():
        return None
    return value_of(column.name, row, _present(inputs), column.style)


def _fill_scope(
    column: PlainColumn,
    scope: range,
    row_outcomes: _RowOutcomes,
    table: dict[int, dict[str, Value | None]],
    is_open: bool,
) -> None:
    row_outcome = row_outcomes.of[column.name]
    read = [row for row in scope if row_outcome[row] in (_NORMAL, _FAILS)]
    inputs = [{need: table[row][need] for need in column.needs} for row in read]
    is_open = is_open or any(None in mine.values() for mine in inputs)
    reads = [(row, _present(mine)) for row, mine in zip(read, inputs, strict=True)]
    values = {} if is_open else barrier_values(column.name, read, reads, column.style)
    for row in scope:
        table[row][column.name] = SKIPPED if row_outcome[row] == _SKIP else values.get(row)


def _present(inputs: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in inputs.items() if value is not None}


def may_drop(work: Workload, column: PlainColumn) -> bool:
    """True if rows can be lost in the column, however its rows are cut into ranges."""
    if any(column.name == name for name, _ in work.rejects):
        return True
    if work.timeout_s is not None:
        # Any call may take too long, and a range longer than one of its rows.
        return True
    mine = [fault.failure for fault in work.faults if fault.column == column.name]
    return "permanent" in mine or mine.count("retryable") >= work.failures.max_attempts


def _fails_for_good(work: Workload, column: str, position: int) -> bool:
    """True if a node fails for good when it is called as often as it may be."""
    spent = 0
    call = 1
    while (failure := work.failure_of(column, position, call)) is not None:
        spent += failure in ("retryable", "timeout")
        if failure == "permanent" or spent == work.failures.max_attempts:
            return True
        call += 1
    return False


class _RowOutcomes:
    """The row outcomes: each cell is made, is skipped, fails for good, or lacks an input.

    Attributes:
        of: by column, the outcome of each row.
        failed_in: for each row that is dropped, the columns in which it fails.
    """

    def __init__(self, work: Workload, columns: Sequence[PlainColumn], total: int) -> None:
        self.of: dict[str, list[int]] = {}
        self.failed_in: dict[int, list[str]] = {}
        self._before = {column.name: column.before for column in columns}
        for column in columns:
            row_outcomes = [self._wait(work, column, row) for row in range(total)]
            self.of[column.name] = row_outcomes
            if column.scope_rows:
                for number, scope in column.scopes(total):
                    fails = _fails_for_good(work, column.name, number)
                    lost = [row for row in scope if row_outcomes[row] == _NORMAL]
                    if not fails:
                        lost = [row for row in lost if work.is_rejected(column.name, row)]
                    self._fail(column.name, lost)
            else:
                self._fail(
                    column.name,
                    [
                        row
                        for row in range(total)
                        if row_outcomes[row] == _NORMAL
                        and (
                            work.is_rejected(column.name, row)
                            or work.is_killer(column.name, row)
                            or _fails_for_good(work, column.name, row)
                        )
                    ],
                )

    def _wait(self, work: Workload, column: PlainColumn, row: int) -> int:
        """The outcome of a cell as its inputs decide it."""
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

    def races(self, column: PlainColumn, scope: range, resumed: bool) -> bool:
        """True if a row may be dropped before or after this barrier reads it."""
        for row in scope:
            outcome = self.of[column.name][row]
            if outcome == _FAILS and resumed:
                # Its answer left the row out, and a barrier that runs again does not read it.
                return True
            if outcome != _NORMAL:
                continue
            for failed in self.failed_in.get(row, ()):
                after = column.name in self._before[failed]
                if resumed or not after:
                    return True
        return False
