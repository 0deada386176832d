"""The values, the tables and the calls of a conformance run.

Every value is a digest of the column and row that it was made for and of the values that it was
made from; the output of a barrier is a digest of all rows that it read, in order. A `Registry`
keeps every call that gave a value. With the two, a table is judged by its own content: a value
that is lost, doubled, stale or in the wrong row shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import Final, Literal, Self, TypeAlias

from cellspec.rejected import REJECTED, Rejected
from cellspec.skipped import SKIPPED, Skipped
from cellspec.text import node_words, row_words

__all__ = [
    "PLAIN",
    "REJECTED",
    "SKIPPED",
    "BarrierRun",
    "CellCall",
    "Reads",
    "Registry",
    "Rejected",
    "Skipped",
    "Style",
    "Table",
    "Texts",
    "Value",
    "barrier_value",
    "barrier_values",
    "value_of",
]


Value: TypeAlias = str | Skipped
"""The content of a cell of a table: the value, or the marker."""


@dataclass(frozen=True, slots=True)
class Table:
    """The table on an engine's storage, as a backend reads it back.

    Attributes:
        rows: for each durable row its columns, with their values or `SKIPPED`. An engine that
            keeps single cells leaves out rows of which it does not have every cell yet.
        dropped: rows whose drop is durable.
        doubled: rows that storage holds more than once; `from_records` finds them.
        causes: of some dropped rows why; an adapter that does not know leaves them out.
    """

    rows: Mapping[int, Mapping[str, Value]]
    dropped: frozenset[int] = frozenset()
    doubled: frozenset[int] = frozenset()
    causes: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def from_records(
        cls, records: Iterable[tuple[int, Mapping[str, Value]]], dropped: Iterable[int] = ()
    ) -> Self:
        """A table of (row, columns) records in any order; the first record of a row counts."""
        rows: dict[int, Mapping[str, Value]] = {}
        doubled = []
        for row, columns in records:
            if row in rows:
                doubled.append(row)
            else:
                rows[row] = columns
        return cls(rows, frozenset(dropped), frozenset(doubled))


Reads: TypeAlias = Sequence[tuple[int, Mapping[str, Value]]]
"""The input of a barrier: rows in order, each with the values of the columns that it needs."""


Texts: TypeAlias = Literal["", "empty", "null", "number", "lines", "long", "same"]
"""How the values of a column look; "" for plain digests."""

_LOOK_ALIKES: Mapping[Texts, Sequence[str]] = {
    "empty": ("", " "),
    "null": ("null", "None", "NaN", "nan", "\\N", "NULL", "undefined"),
    "number": ("007", "1e5", "1.0", "-0", "1_000", "0x10", "true"),
    "same": ("same",),
}


@dataclass(frozen=True, slots=True)
class Style:
    """What the values of a column depend on beside their inputs: its version, and their looks."""

    version: str = ""
    texts: Texts = ""

    def dress(self, value: str, row: int) -> str:
        """The text that stands for a value; of look-alikes every third row keeps the digest."""
        if self.texts == "lines":
            return f'{value}\n"quoted", and\r\n\ttabbed\u2028\U0001f600'
        if self.texts == "long":
            return value + "." * 70_000
        found = _LOOK_ALIKES.get(self.texts, ())
        if not found or (row % 3 == 2 and self.texts != "same"):
            return value
        return found[row % len(found)]


PLAIN = Style()
"""Plain digests, of columns without a version."""


def value_of(column: str, row: int, inputs: Mapping[str, Value], style: Style = PLAIN) -> str:
    """The value of a cell: its column and row, and a digest of the values that it was made from.

    A skipped input counts as a missing one; each version of a column makes other values.
    """
    digest = _digest(f"{_quoted(column)},{row},{_listed(inputs)}{_version(style)}")
    return style.dress(f"{column}.{row}.{digest}", row)


def barrier_value(column: str, row: int, reads: Reads) -> str:
    """The value that a run of a barrier gives a row: a digest of its input, in order."""
    return next(iter(barrier_values(column, (row,), reads).values()))


def barrier_values(
    column: str, rows: Iterable[int], reads: Reads, style: Style = PLAIN
) -> dict[int, str]:
    """`barrier_value` of several rows of one run."""
    read = ",".join([f"[{row},{_listed(inputs)}]" for row, inputs in reads])
    seen = _digest(f"{_quoted(column)},[{read}]{_version(style)}")
    return {
        row: style.dress(f"{column}.{row}.{_digest(f'{_quoted(seen)},{row}')}", row) for row in rows
    }


# The list that a value is a digest of is put together as JSON by hand: an encoder takes longer
# than all the rest of a call.

_LONG: Final = 1_000
"""Characters; of a longer value its digest is read, which is made once."""


def _listed(inputs: Mapping[str, Value]) -> str:
    found = [
        f"[{_quoted(name)},{_quoted(value if len(value) < _LONG else _short(value))}]"
        for name, value in sorted(inputs.items())
        if isinstance(value, str)
    ]
    return f"[{','.join(found)}]"


def _version(style: Style) -> str:
    return f",{_quoted(style.version)}" if style.version else ""


@lru_cache(1_024)
def _short(value: str) -> str:
    return f"{len(value)} characters: {_digest(_quoted(value))}"


def _digest(items: str) -> str:
    return hashlib.blake2b(f"[{items}]".encode(), digest_size=6).hexdigest()


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
    """A call of a barrier that ended well: its input, and the value of each row in it."""

    incarnation: int
    column: str
    scope: int
    reads: Reads
    values: Mapping[int, str]


@dataclass(slots=True)
class Registry:
    """Every call of a run that gave a value, over all its incarnations.

    Attributes:
        cells: by value, the first call that made it.
        made: by column, row and value, every call that made it there.
        runs: by column, the runs of a barrier.
        late: by value, the column whose call gave it after the engine had given that call up.
        refused: by value, the barrier whose answer had another length than its input.
        used: where a value of `refused` was given to a call, as (column, place of the call, value).
        ranged: columns of which several rows were run as one call, in the order seen.
        odd_recalls: answers of a cache that no call with the same inputs gave, in words.
    """

    cells: dict[str, CellCall] = field(default_factory=dict)
    made: dict[tuple[str, int, str], list[CellCall]] = field(default_factory=dict)
    runs: dict[str, list[BarrierRun]] = field(default_factory=dict)
    ranged: dict[str, None] = field(default_factory=dict)
    late: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    used: list[tuple[str, int, str]] = field(default_factory=list)
    odd_recalls: list[str] = field(default_factory=list)

    def add_cell(
        self, incarnation: int, column: str, row: int, inputs: Mapping[str, Value], value: str
    ) -> None:
        """Keep a call that made a cell."""
        call = CellCall(incarnation, column, row, inputs, value)
        self.cells.setdefault(value, call)
        self.made.setdefault((column, row, value), []).append(call)

    def was_made(self, column: str, row: int) -> bool:
        """True if a call gave a value of this cell. O(calls)."""
        return any(place[:2] == (column, row) for place in self.made) or any(
            row in run.values for run in self.runs.get(column, ())
        )

    def add_barrier(
        self, incarnation: int, column: str, scope: int, reads: Reads, values: Mapping[int, str]
    ) -> None:
        """Keep a run of a barrier."""
        self.runs.setdefault(column, []).append(
            BarrierRun(incarnation, column, scope, reads, values)
        )

    def note_recall(self, column: str, row: int, inputs: Mapping[str, Value], value: str) -> None:
        """Keep an answer of a cache if a call with other inputs, or none, gave it."""
        calls = self.made.get((column, row, value), ())
        if not any(call.inputs == inputs for call in calls):
            self.odd_recalls.append(
                f"{column}[{row}] is recalled as {value!r}, which no call of it with the same "
                "inputs gave"
            )

    def note_barrier_recall(
        self, column: str, scope: int, reads: Reads, values: Mapping[int, str]
    ) -> None:
        """Keep an answer of a cache for a barrier if no run of it read the same and gave it."""
        mine = list(reads)
        for run in self.runs.get(column, ()):
            if run.scope == scope and list(run.reads) == mine and run.values == values:
                return
        where, rows = node_words(column, scope=scope), row_words((row, row + 1) for row in values)
        self.odd_recalls.append(
            f"{where} is recalled for {rows}, with values that no run of it gave for the same "
            "inputs of exactly these rows"
        )

    def note_late(self, value: str, column: str) -> str:
        """The answer of a call that was given up: another value, so that it shows if it is used."""
        late = f"{value}.late"
        self.late[late] = column
        return late

    def note_refused(self, values: Iterable[str], column: str) -> list[str]:
        """A barrier's answer of a wrong length: other values, so that their use shows."""
        odd = [f"{value}.refused" for value in values]
        self.refused.update(dict.fromkeys(odd, column))
        return odd

    def note_inputs(self, column: str, place: int, inputs: Mapping[str, Value]) -> None:
        """A call was given these inputs: a value that had to be refused is used here."""
        for value in inputs.values() if self.refused else ():
            if isinstance(value, str) and value in self.refused:
                self.used.append((column, place, value))

    @property
    def calls(self) -> int:
        """How many different cells and how many runs of barriers there are."""
        return len(self.made) + sum(map(len, self.runs.values()))
