"""The arguments of a probe's calls and reports: each is checked against the workload.

An adapter that names a column, a row, a group or a claim that the workload does not have has a
mistake, and its run ends with a message that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn, TypeAlias

from cellspec.conformance.run.values import SKIPPED, Value
from cellspec.conformance.run.workload import Workload
from cellspec.graph.rowset import part_of
from cellspec.graph.rules import ColumnRule
from cellspec.state.claims import Rows, normal
from cellspec.text import be, counted, listed_names

__all__ = ["Arguments", "ClaimedRows", "Inputs"]

ClaimedRows: TypeAlias = int | Iterable[int] | Iterable[tuple[int, int]]
"""The claimed rows of a column: how many from row 0 on, any rows, or ranges ``[start, stop)``."""

Inputs: TypeAlias = Mapping[str, Value | None]
"""The values of the columns that a cell needs, by column, or by the names that it needs them by.
A skipped input may be `SKIPPED`, None or left out; further names are ignored."""


_CELL_WORDS = {"barrier": "cell", "recall_barrier": "recall"}
"""By what names a barrier node, what names a cell."""


class Arguments:
    """Checks the arguments of one incarnation.

    Args:
        work: the workload.
        incarnation: the number of the incarnation, from 0.
        refuse: called with the mistake, in one line; it must raise.
    """

    def __init__(self, work: Workload, incarnation: int, refuse: Callable[[str], NoReturn]) -> None:
        graph = work.graph(incarnation)
        self._rules = graph.rules
        self._names = graph.column_names
        self._total = work.rows_of(incarnation)
        self._group_rows = work.limits.group_rows
        self._producer = _producers(work)
        self._refuse = refuse

    def check_column(self, column: str) -> None:
        """Refuse a column that the workload does not have."""
        if column not in self._rules.index:
            known = listed_names(self._names)
            self._refuse(f"unknown column {column!r}; the workload has {known}")

    def rule(self, column: str) -> ColumnRule:
        """The compiled rule of a column that was checked."""
        return self._rules.columns[self._rules.index[column]]

    def scope_count(self, column: str) -> int:
        """The number of scopes of a barrier's column; 0 for another column."""
        self.check_column(column)
        return self._rules.scope_count(self._rules.index[column])

    def check_row(self, column: str, row: int) -> None:
        """Refuse a row that is out of range."""
        self.check_column(column)
        if type(row) is not int:
            self._refuse(f"{column!r}: expected the number of a row, got {row!r}")
        if not 0 <= row < self._total:
            self._refuse(f"{column!r}: row {row!r} is out of range; there are {self._total}")

    def check_barrier(
        self, what: str, column: str, scope: int, rows: Sequence[int], inputs: Sequence[Inputs]
    ) -> None:
        """Refuse a barrier node that there is not, or rows that it is not given the inputs of.

        Args:
            what: what names it, such as ``"barrier"``.
            column: its column.
            scope: the number of its scope.
            rows: the rows that it reads.
            inputs: their inputs.
        """
        count = self.scope_count(column)
        if not count:
            self._refuse(f"{what}: column {column!r} is no barrier; call {_CELL_WORDS[what]}")
        if type(scope) is not int or not 0 <= scope < count:
            self._refuse(f"{what}: column {column!r} has no scope {scope!r} of {count}")
        if len(rows) != len(inputs):
            given = f"{counted(len(rows), 'row')}, {counted(len(inputs), 'input')}"
            self._refuse(f"{what}: {column!r}: {given}")
        for row in rows:
            self.check_row(column, row)

    def rows(self, start: int, stop: int) -> int | tuple[int, int]:
        """Rows ``[start, stop)`` as an event writes them: the number of one row, or a pair."""
        ints = type(start) is int and type(stop) is int
        if not ints or not 0 <= start < stop <= self._total:
            self._refuse(f"rows [{start!r}, {stop!r}) are not within 0 to {self._total}")
        return start if stop == start + 1 else (start, stop)

    def group(self, group: int) -> int | tuple[int, int]:
        """The rows of a row group, as an event writes them."""
        size = self._group_rows
        if size is None:
            self._refuse("the workload has no row groups")
        return self.rows(*part_of(group, size, self._total))

    def claim(self, claim: Mapping[str, ClaimedRows] | int) -> dict[str, Rows]:
        """A claim with the rows of every column: a number, or ranges if they have a gap."""
        if isinstance(claim, int):
            return dict.fromkeys(self._names, claim)
        for column in claim:
            self.check_column(column)
        return {column: self._claimed(column, claim.get(column, 0)) for column in self._names}

    def _claimed(self, column: str, rows: ClaimedRows) -> Rows:
        if isinstance(rows, int):
            return rows
        spans = []
        for one in rows:
            span = tuple(one) if isinstance(one, tuple | list) else (one, one)
            if len(span) != 2 or any(type(row) is not int for row in span):
                self._refuse(f"claim of {column!r}: expected rows or ranges, got {one!r}")
            start, stop = span[0], span[1] + (not isinstance(one, tuple | list))
            if not 0 <= start < stop:
                self._refuse(f"claim of {column!r}: rows [{start!r}, {stop!r}) are none")
            spans.append((start, stop))
        return normal(spans)

    def certain_inputs(self, column: str) -> list[str]:
        """The columns that a column needs of which no cell can be skipped."""
        return [
            producer
            for producer in dict.fromkeys(self._producer[column].values())
            if not self.rule(producer).skippable
        ]

    def words_of_lost(self, column: str, row: int, lost: Sequence[str], inputs: Inputs) -> str:
        """The mistake of a call without the inputs that were made for it, in one line."""
        got = listed_names(list(inputs)) if inputs else "none"
        return (
            f"{column!r}: row {row}: inputs: {listed_names(lost)} {be(len(lost))} missing, and "
            f"{'was' if len(lost) == 1 else 'were'} made; got {got}"
        )

    def inputs(self, column: str, inputs: Inputs) -> dict[str, Value]:
        """The inputs that the column needs, by producing column; skipped ones are left out."""
        own: dict[str, Value] = {}
        if not isinstance(inputs, Mapping):
            got = type(inputs).__name__
            self._refuse(f"{column!r}: inputs: expected values by column, got a {got}")
        for name, producer in self._producer[column].items():
            value = inputs.get(name)
            if value is None:
                value = inputs.get(producer)
            if value is not None and value is not SKIPPED:
                if not isinstance(value, str):
                    self._refuse(
                        f"{column!r}: inputs: expected of {name!r} the text that its call "
                        f"returned, got {value!r:.60}"
                    )
                own[producer] = value
        return own


def _producers(work: Workload) -> dict[str, dict[str, str]]:
    """For each column, the names that it needs, each with the column that produces it."""
    maker = {name: item.name for item in work.columns for name in item.all_produced_columns}
    return {item.name: {name: maker[name] for name in item.dependencies} for item in work.columns}
