"""The table judge: checks the table at the end of each incarnation, by the clauses TABLE-….

The values show their provenance (`cellspec.conformance.run.values`), and the registry holds every
call. The judge compares the table with the calls, with the tables before it, and with the table
that a run without a crash ends with (`cellspec.conformance.judge.expected_table`). Checker
and machine are outside it. The harness gives it two facts that come from the engine's reports: the
last durable claim, and for TABLE-07 the rows that the machine counts as dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from cellspec.conformance.judge.expected_table import (
    PlainColumn,
    expected_table,
    may_drop,
    plain_columns,
)
from cellspec.conformance.run.values import SKIPPED, BarrierRun, CellCall, Registry, Table, Value
from cellspec.conformance.run.workload import Workload
from cellspec.text import counted

Claimed: TypeAlias = int | Sequence[tuple[int, int]]
"""The claimed rows of a column: the first ones as a number, or ranges ``[start, stop)``."""

_Killed: TypeAlias = Sequence[int] | None

__all__ = ["Claimed", "TableJudge", "TableViolation", "holds", "holds_row"]


@dataclass(frozen=True, slots=True)
class TableViolation:
    """A clause that a table breaks: the violation in one line, and the cell, if it is about one."""

    clause: str
    detail: str
    cell: tuple[str, int] | None = None


class TableJudge:
    """Judges the table at the end of each incarnation.

    Args:
        work: the workload.
        registry: the calls of the run, so far.
        by_column: rows may be durable column by column, so that a row may be half there.
        resumes: the engine goes on from its table, so that a stop loses no finished row.
        gives_up: the engine drops rows that it suspects of having ended processes.
        waive: clauses not to judge.

    Attributes:
        held_up: a call timed out that was to be fast: what the run drops is the machine's doing.
    """

    def __init__(
        self,
        work: Workload,
        registry: Registry,
        *,
        by_column: bool = False,
        resumes: bool = False,
        gives_up: bool = False,
        waive: Collection[str] = (),
    ) -> None:
        self._work, self._registry = work, registry
        self._by_column, self._resumes, self._gives_up = by_column, resumes, gives_up
        self._waive = frozenset(waive)
        self._names = [item.name for item in work.columns]
        self._side_effects = {name for item in work.columns for name in item.side_effects}
        self._columns: dict[int, list[PlainColumn]] = {}
        columns = self._columns_for(work.rows)
        self._needs = {column.name: column.needs for column in columns}
        self._may_drop = gives_up or any(may_drop(work, column) for column in columns)
        self._crashed = self.held_up = False
        self._odd: set[tuple[str, int]] = set()
        """Cells of the table that break a waived clause: further violations follow from them."""
        self._claims: list[tuple[int, Table, Mapping[str, Claimed] | None]] = []
        self._open_scopes: list[tuple[str, int]] = []

    def judge(
        self,
        incarnation: int,
        table: Table,
        outcome: str,
        claim: Mapping[str, Claimed] | None = None,
        dropped: Container[int] | None = None,
        *,
        causes: Mapping[int, str] | None = None,
        started: Collection[tuple[str, int]] = (),
        silent: bool = False,
        stopped: bool = False,
    ) -> TableViolation | None:
        """The first clause that the table at the end of an incarnation breaks, or None.

        Args:
            incarnation: its number; incarnations are judged in order.
            table: the table, as the backend read it back.
            outcome: ``"success"``, ``"stopped"``, ``"failed"``, ``"interrupted"`` or ``"crash"``.
            claim: the last durable claim, by column; None if the backend does not report claims.
                Then only values that stand in two tables are compared, and only if rows cannot be
                dropped.
            dropped: the rows that the run dropped, by its events; None if unknown.
            causes: of some of these why; the others failed.
            started: the cells whose calls this incarnation started.
            silent: it went on, and reported no claim: the table before it stands for that.
            stopped: it stopped early, or had to.
        """
        self._odd.clear()
        early = "STOP-08" if stopped and outcome in ("stopped", "failed") else ""
        clause = "STOP-07" if outcome == "interrupted" else early
        known = (self._work, self._registry, incarnation, table, dropped or (), clause)
        for broken in chain(
            self._all_broken(incarnation, table, outcome, dropped, causes or {}, silent),
            self._made_again(incarnation, started, silent),
            _left_behind(*known) if clause and claim is None and self._resumes else (),
        ):
            if broken.clause not in self._waive:
                return broken
            if broken.cell is not None:
                self._odd.add(broken.cell)
        # What a run without a crash makes is asked of one that was interrupted, too.
        self._crashed = self._crashed or outcome in ("crash", "interrupted")
        self._claims.append((incarnation, table, claim))
        self._note_open_scopes(incarnation, table, unknown=claim is None)
        return None

    def _columns_for(self, total: int) -> list[PlainColumn]:
        """The columns of an incarnation that has so many rows."""
        if total not in self._columns:
            self._columns[total] = plain_columns(self._work, total)
        return self._columns[total]

    def _all_broken(
        self,
        incarnation: int,
        table: Table,
        outcome: str,
        dropped: Container[int] | None,
        causes: Mapping[int, str],
        silent: bool,
    ) -> Iterator[TableViolation]:
        yield from self._complete(table, outcome == "success" or not self._by_column)
        yield from self._partition(incarnation, table, outcome)
        # By column, each after those that it needs: a wrong value comes before its consequences.
        for column in self._columns_for(self._work.rows_of(incarnation)):
            if column.scope_rows:
                yield from self._barrier_values(incarnation, column, table)
            else:
                yield from self._own_values(incarnation, column, table)
        yield from self._unchanged(incarnation, table, silent)
        if outcome == "success" and dropped is not None:
            yield from self._dropped(incarnation, table, dropped, causes)
        columns = self._columns_for(self._work.rows_of(incarnation))
        yield from _wrong_skips(self._work, columns, table, self._odd)
        if outcome == "success" and (dropped is not None or not self._gives_up):
            yield from self._final(incarnation, table, _killed(dropped, causes))

    def _complete(self, table: Table, whole: bool) -> Iterator[TableViolation]:
        for row in sorted(table.doubled):
            yield TableViolation("TABLE-01", f"storage holds row {row} more than once")
        for row, cells in sorted(table.rows.items()):
            for name in self._names:
                if name not in cells and whole:
                    yield TableViolation(
                        "TABLE-01", f"row {row} is durable without a cell in {name!r}"
                    )
                value = cells.get(name, "")
                if not isinstance(value, str) and value is not SKIPPED:
                    yield TableViolation(
                        "TABLE-01", f"{name}[{row}] holds {value!r}: no value and no skip mark"
                    )
            for name in cells:
                if name not in self._names and name not in self._side_effects:
                    yield TableViolation(
                        "TABLE-01", f"row {row} holds a column {name!r} that is none"
                    )

    def _partition(self, incarnation: int, table: Table, outcome: str) -> Iterator[TableViolation]:
        total = self._work.rows_of(incarnation)
        both = sorted(table.dropped & set(table.rows))
        if both:
            yield TableViolation("TABLE-04", f"row {both[0]} is durable and dropped")
        # Rows beyond a smaller target may stay from an incarnation that had them.
        earlier = {row for _, old, _ in self._claims for row in (*old.rows, *old.dropped)}
        for row in sorted({*table.rows, *table.dropped}):
            if not 0 <= row < total and row not in earlier:
                held = f"row {row}" if row >= 0 else "an id that no row has"
                rows = counted(total, "row")
                yield TableViolation("TABLE-04", f"storage holds {held}, but the run has {rows}")
        if outcome == "success":
            for row in range(total):
                if row not in table.rows and row not in table.dropped:
                    yield TableViolation(
                        "TABLE-04", f"success, but row {row} is neither durable nor dropped"
                    )

    def _own_values(
        self, incarnation: int, column: PlainColumn, table: Table
    ) -> Iterator[TableViolation]:
        for row, cells in sorted(table.rows.items()):
            value = cells.get(column.name)
            if isinstance(value, str) and (
                why := self._misfit(incarnation, column, row, value, cells)
            ):
                yield TableViolation(
                    "TABLE-02",
                    f"{column.name}[{row}] holds {value!r}: {why}",
                    (column.name, row),
                )

    def _misfit(
        self,
        incarnation: int,
        column: PlainColumn,
        row: int,
        value: str,
        cells: Mapping[str, Value],
    ) -> str:
        calls = self._registry.made.get((column.name, row, value))
        if calls is None:
            made = self._registry.cells.get(value)
            if made is None:
                return "no call made it" + self._lateness(value)
            earlier = _in_earlier(made.incarnation, incarnation)
            return f"it was made for {made.column}[{made.row}]{earlier}"
        # Calls on other inputs may give one value; it fits if one of them does.
        return min(self._other_beside(incarnation, column, made, cells) for made in calls)

    def _other_beside(
        self, incarnation: int, column: PlainColumn, made: CellCall, cells: Mapping[str, Value]
    ) -> str:
        """How the inputs of a call differ from what stands beside its value; "" if they do not."""
        row = made.row
        for need in column.needs:
            given = made.inputs.get(need)
            if (
                (need, row) not in self._odd
                and _text(given) != _text(cells.get(need))
                and not _was_remade(self._work, self._registry, need, row, given)
            ):
                return (
                    f"it was made{_in_earlier(made.incarnation, incarnation)} from "
                    f"{_quoted(made.inputs.get(need))} of {need!r}, but "
                    f"{_quoted(cells.get(need))} stands beside it"
                )
        return ""

    def _lateness(self, value: str) -> str:
        """The words for the answer of a call that the engine had given up; "" for others."""
        late = self._registry.late.get(value)
        return "" if late is None else f": it is the late answer of a call of {late!r} given up"

    def _barrier_values(
        self, incarnation: int, column: PlainColumn, table: Table
    ) -> Iterator[TableViolation]:
        # Every row of a scope holds a value of one run, whose input is compared once.
        compared: dict[int, str] = {}
        for row, cells in sorted(table.rows.items()):
            value = cells.get(column.name)
            if isinstance(value, str) and (
                why := self._stray(incarnation, column, row, value, table, compared)
            ):
                yield TableViolation(
                    "TABLE-03",
                    f"{column.name}[{row}] holds {value!r}: {why}",
                    (column.name, row),
                )

    def _stray(
        self,
        incarnation: int,
        column: PlainColumn,
        row: int,
        value: str,
        table: Table,
        compared: dict[int, str],
    ) -> str:
        runs = self._registry.runs.get(column.name, [])
        mine = [run for run in runs if run.values.get(row) == value]
        if not mine:
            owner = [(run, r) for run in runs for r, v in run.values.items() if v == value]
            if owner:
                run, given = owner[0]
                earlier = _in_earlier(run.incarnation, incarnation)
                return f"a run of {column.name!r} gave it{earlier} to row {given}"
            return f"no run of {column.name!r} gave it to this row{self._lateness(value)}"
        odd = ""
        for run in mine:
            if id(run) not in compared:
                compared[id(run)] = self._other_input(incarnation, run, table)
            odd = compared[id(run)]
            if not odd:
                return ""
        return odd

    def _other_input(self, incarnation: int, run: BarrierRun, table: Table) -> str:
        """How the input of a barrier's run differs from the table; "" if it does not.

        Values that an earlier incarnation read without a claim on them were made again since,
        perhaps by a barrier that then ran without a row that was dropped meanwhile.
        """
        for need in self._needs[run.column]:
            safe = self._safe_rows(run.incarnation, need) if run.incarnation < incarnation else None
            for row, inputs in run.reads:
                cells = table.rows.get(row, {})
                if need not in cells or (safe is not None and not holds(safe, row)):
                    continue
                if (need, row) in self._odd:
                    continue
                given = inputs.get(need)
                if _text(cells[need]) != _text(given) and not _was_remade(
                    self._work, self._registry, need, row, given
                ):
                    earlier = _in_earlier(run.incarnation, incarnation)
                    return (
                        f"the run{earlier} read {_quoted(inputs.get(need))} in "
                        f"{need}[{row}], but {_quoted(cells[need])} stands there"
                    )
        return ""

    def _safe_rows(self, incarnation: int, column: str) -> Claimed:
        """The rows of a column that were claimed when an incarnation ended."""
        for earlier, _, claim in self._claims:
            if earlier == incarnation:
                return claim.get(column, 0) if claim else 0
        return 0

    def _made_again(
        self, incarnation: int, started: Collection[tuple[str, int]], silent: bool
    ) -> Iterator[TableViolation]:
        """A row that was safe when the process before ended is not made again."""
        if not self._claims:
            return
        earlier, old, claim = self._claims[-1]
        safe = self._whole_rows(earlier, incarnation, old) if silent else ()
        for name, row in sorted(started):
            if row in safe or (not silent and holds_row(claim, row)):
                where = "stood whole in the table" if silent else "was claimed whole"
                yield TableViolation(
                    "TABLE-09",
                    f"{name}[{row}] is made again in {_process(incarnation)}, although row {row} "
                    f"{where} at the end of {_process(earlier)}",
                    (name, row),
                )

    def _whole_rows(self, earlier: int, incarnation: int, table: Table) -> Collection[int]:
        """The rows of an earlier table that stand for a claim: whole, and of the same target."""
        if self._work.rows_of(earlier) != self._work.rows_of(incarnation):
            return ()
        return {
            row
            for row, cells in table.rows.items()
            if row not in table.dropped and all(name in cells for name in self._names)
        }

    def _unchanged(self, incarnation: int, table: Table, silent: bool) -> Iterator[TableViolation]:
        for earlier, old, known in self._claims:
            claim = known
            if silent:
                whole = sorted(self._whole_rows(earlier, incarnation, old))
                claim = {name: [(row, row + 1) for row in whole] for name in self._names}
            for row, cells in sorted(old.rows.items()):
                if row in table.dropped and not holds_row(claim, row):
                    # It was not finished yet: the rest of it failed later.
                    continue
                for name, value in cells.items():
                    now = table.rows.get(row, {}).get(name)
                    if (name, row) in self._odd:
                        continue
                    if now != value and self._was_claimed(claim, name, row, now):
                        held = "nothing" if now is None else repr(now)
                        yield TableViolation(
                            "TABLE-05",
                            f"{name}[{row}] was safe at the end of {_process(earlier)} as "
                            f"{value!r}, and at the end of {_process(incarnation)} {held} stands "
                            "there",
                        )
            for row in sorted(old.dropped):
                if holds_row(claim, row) and row not in table.dropped:
                    yield TableViolation(
                        "TABLE-05",
                        f"the drop of row {row} was safe at the end of {_process(earlier)}, and at "
                        f"the end of {_process(incarnation)} there is no record of it",
                    )

    def _was_claimed(
        self, claim: Mapping[str, Claimed] | None, name: str, row: int, now: Value | None
    ) -> bool:
        if claim is not None:
            return holds(claim.get(name, 0), row)
        # Unclaimed values may be thrown away and made again, to the same value.
        return now is not None and not self._may_drop

    def _note_open_scopes(self, incarnation: int, table: Table, *, unknown: bool) -> None:
        """Keep the scopes that hold claimed rows and change with the next target.

        Values of two runs of a barrier may mix there, and a table need not show what is kept. Rows
        beyond a smaller target may be there, from before a process that died before it refused.
        """
        work = self._work
        if incarnation + 1 >= work.incarnations or work.rows_of(incarnation + 1) == work.rows_of(
            incarnation
        ):
            return
        before, after = work.rows_of(incarnation), work.rows_of(incarnation + 1)
        old = {column.name: column for column in self._columns_for(before)}
        for column in self._columns_for(after):
            if not column.scope_rows:
                continue
            for number, scope in column.scopes(after):
                was = old[column.name].scope(number, before)
                held = any(column.name in table.rows.get(row, {}) for row in (*was, *scope))
                if (held or (unknown and work.keep)) and was != scope:
                    self._open_scopes.append((column.name, number))

    def _dropped(
        self,
        incarnation: int,
        table: Table,
        dropped: Container[int],
        causes: Mapping[int, str],
    ) -> Iterator[TableViolation]:
        """The table drops the rows that the run dropped, for the same cause if it says one."""
        rows = range(self._work.rows_of(incarnation))
        for row in rows:
            if row in table.dropped and row not in dropped:
                yield TableViolation(
                    "TABLE-07",
                    f"row {row} counts as dropped in the table, and the run did not drop it",
                )
            elif row in dropped and row in table.rows:
                yield TableViolation("TABLE-07", f"row {row} was dropped, and stands in the table")
            elif row in table.causes and table.causes[row] != causes.get(row, "failed"):
                yield TableViolation(
                    "TABLE-07",
                    f"row {row} counts as {table.causes[row]} in the table, and the run dropped it "
                    f"as {causes.get(row, 'failed')}",
                )

    def _final(self, incarnation: int, table: Table, killed: _Killed) -> Iterator[TableViolation]:
        work, total = self._work, self._work.rows_of(incarnation)
        expected = expected_table(
            work,
            total,
            resumed=incarnation > 0 or bool(work.worker_losses),
            ranged=self._registry.ranged,
            open_scopes=self._open_scopes,
            killed=killed,
        )
        if expected.dropped is None or not self._crashed or self.held_up:
            return
        dropped = frozenset(row for row in table.dropped if row < total)
        for row in sorted(dropped ^ expected.dropped):
            must = "does not drop it" if row in dropped else "drops it"
            there = "is dropped" if row in dropped else "stands in the table"
            yield TableViolation("TABLE-06", f"row {row} {there}; a run without a crash {must}")
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
                    yield TableViolation(
                        "TABLE-06",
                        f"{name}[{row}] ends as {held!r}{made}; a run without a crash ends with "
                        f"{value!r}",
                    )

    def _made_earlier(self, column: str, row: int, value: str, incarnation: int) -> str:
        """The words for the earlier run of the process that made a value; "" for this one."""
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


def _killed(dropped: Container[int] | None, causes: Mapping[int, str]) -> _Killed:
    """The rows that the run dropped as killers, by its events; None if unknown."""
    return None if dropped is None else [row for row, why in causes.items() if why == "killer"]


def holds(rows: Claimed, row: int) -> bool:
    """True if a row is among the claimed rows of a column."""
    if isinstance(rows, int):
        return row < rows
    return any(start <= row < stop for start, stop in rows)


def holds_row(claim: Mapping[str, Claimed] | None, row: int) -> bool:
    """True if every column claims a row."""
    return bool(claim) and all(holds(rows, row) for rows in (claim or {}).values())


def _left_behind(
    work: Workload,
    registry: Registry,
    incarnation: int,
    table: Table,
    dropped: Container[int],
    clause: str,
) -> Iterator[TableViolation]:
    """Finished rows, from row 0 on, that a stopped engine without claims does not keep."""
    if work.worker_losses or work.storage_faults:
        # What was made need not be there: it went with a worker, or could not be written.
        return
    made = {
        (column, row)
        for (column, row, _), calls in registry.made.items()
        if any(call.incarnation == incarnation for call in calls)
    }
    for column, runs in registry.runs.items():
        made |= {
            (column, row) for run in runs if run.incarnation == incarnation for row in run.values
        }
    for row in range(work.rows_of(incarnation)):
        if row in table.rows or row in table.dropped or row in dropped:
            continue
        if all((item.name, row) in made for item in work.columns):
            how = "was interrupted" if clause == "STOP-07" else "stopped early"
            yield TableViolation(
                clause,
                f"the run {how}, and row {row}, of which every cell was made, is not in the table",
            )
        return


def _wrong_skips(
    work: Workload,
    columns: Sequence[PlainColumn],
    table: Table,
    odd: Collection[tuple[str, int]],
) -> Iterator[TableViolation]:
    """A cell is skipped exactly where its column's condition, or a skipped input, asks for it.

    That is so in every table, however the run ended. An input that is not there may have been
    skipped or not.
    """
    for row, cells in sorted(table.rows.items()):
        for column in columns:
            name, held = column.name, cells.get(column.name)
            inputs = [cells.get(need) for need in column.needs if column.propagates]
            asked = work.wants_skip(name, row) or SKIPPED in inputs
            if held is SKIPPED and not asked and None not in inputs:
                yield TableViolation(
                    "TABLE-08",
                    f"{name}[{row}] is skipped, and has no reason to be: neither its column's "
                    "condition nor a skipped input asks for it",
                    (name, row),
                )
            elif asked and isinstance(held, str) and (name, row) not in odd:
                yield TableViolation(
                    "TABLE-08",
                    f"{name}[{row}] holds {held!r}, and must be skipped in this workload",
                    (name, row),
                )


def _process(incarnation: int) -> str:
    return f"run {incarnation + 1} of the process"


def _in_earlier(made: int, incarnation: int) -> str:
    """The words for an earlier run of the process that made a value; "" for this one."""
    return f" in {_process(made)} (this is run {incarnation + 1})" if made < incarnation else ""


def _quoted(value: Value | None) -> str:
    return repr(value) if isinstance(value, str) else "nothing"


def _text(value: Value | None) -> str:
    return value if isinstance(value, str) else ""


def _was_remade(
    work: Workload, registry: Registry, column: str, row: int, value: Value | None
) -> bool:
    """True if a value may have gone with a worker, and another have been made instead.

    A barrier that runs again reads no row that was dropped meanwhile.
    """
    if not work.worker_losses or not isinstance(value, str):
        return False
    if registry.made.get((column, row, value)):
        return True
    return any(run.values.get(row) == value for run in registry.runs.get(column, ()))
