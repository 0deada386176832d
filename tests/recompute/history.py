"""The history in a trace, and nothing beside it: calls, cells, rows and incarnations.

Plain JSON and the standard library. A trace is read as it is published (plans/trace.md): the first
line holds the graph, the rest are events in order. No rule is judged here. What is worked out is
what an event means: which cells are made, skipped or given up, and what a resume leaves of that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Call", "Cell", "Claim", "Column", "History", "Incarnation", "read"]

Cell: TypeAlias = tuple[str, int]
"""Column and row."""
Event: TypeAlias = dict[str, Any]
Claim: TypeAlias = dict[str, set[int]]
"""By column, the rows that a checkpoint holds."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the header gives it.

    Attributes:
        needs: the columns that it waits for; a side effect stands for its column.
        scope_rows: how many rows one barrier node reads; 0 for a column that is no barrier.
        resource: what each of its calls takes, or None.
        places: how many places each takes, of each resource.
    """

    name: str
    needs: tuple[str, ...]
    scope_rows: int
    ordered: bool
    may_skip: bool
    propagates: bool
    resource: str | None
    places: dict[str, int]


@dataclass(slots=True)
class Call:
    """One call of a generator, from its start to its end: a cell, a range, or a barrier node.

    Attributes:
        rows: what it was asked for: its cell, its range, or the scope of its barrier node.
        scope: the number of its barrier node; None for anything else.
        gave: the rows that it gave so far, those that had been dropped included, and when.
        end_s: when it ended; None while it runs.
        outcome: "complete", "retryable", "backpressure", "permanent" or "timeout";
            "cancelled" by the engine; "lost" in a crash; "running" where the run ended before it.
        backoff_end_s: the end of the backoff of its first cell before it, if it had one.
        way: how far it came on its way through an endpoint, and when.
        unwanted: its row, or the first of its range, had been dropped when it gave an answer.
    """

    column: str
    rows: range
    scope: int | None
    start_s: float
    gave: list[tuple[int, float]] = field(default_factory=list)
    end_s: float | None = None
    outcome: str = "running"
    backoff_end_s: float | None = None
    way: list[tuple[float, Event]] = field(default_factory=list)
    unwanted: bool = False

    @property
    def last_s(self) -> float:
        """When it last gave a row, or when it began."""
        return self.gave[-1][1] if self.gave else self.start_s


@dataclass(slots=True)
class Incarnation:
    """One incarnation: one run of the process.

    Attributes:
        made, skipped: when each cell got its value, or was skipped, in this incarnation.
        cost_s: what each value that a call gave took.
        restored: cells that the claim gave back, with "made" or "skipped", and when that was; of a
            dropped row none.
        dropped: rows recorded as dropped, with the column that caused it and when.
        restored_drops: rows that were dropped again by the resume.
        backoffs: (column, row or scope, from, until) of each backoff after a failure.
        backoff_ends: of each cell that a failure left, the end of its last backoff so far.
        admitted: (rows, from) of each group of rows.
        durable: by column, the rows whose data is safe.
        drop_causes: of each row, the column that its last drop named, also before.
        writes: of each checkpoint, when its write began and ended; infinite while it runs.
    """

    number: int
    start_s: float
    claim: Claim = field(default_factory=dict)
    end_s: float = 0.0
    ended_by: str = "end"
    outcome: str | None = None
    stopped_s: float | None = None
    stop_asked_s: float | None = None
    calls: list[Call] = field(default_factory=list)
    made: dict[Cell, float] = field(default_factory=dict)
    skipped: dict[Cell, float] = field(default_factory=dict)
    cost_s: dict[Cell, float] = field(default_factory=dict)
    restored: dict[Cell, tuple[str, float]] = field(default_factory=dict)
    dropped: dict[int, tuple[str, float]] = field(default_factory=dict)
    restored_drops: set[int] = field(default_factory=set)
    failures: list[tuple[str, str, float]] = field(default_factory=list)
    backoffs: list[tuple[str, int, float, float]] = field(default_factory=list)
    backoff_ends: dict[Cell, float] = field(default_factory=dict)
    admitted: list[tuple[range, float]] = field(default_factory=list)
    retired: list[tuple[range, float]] = field(default_factory=list)
    claims_durable: list[tuple[Claim, float]] = field(default_factory=list)
    pending: Claim | None = None
    durable: dict[str, set[int]] = field(default_factory=dict)
    drop_causes: dict[int, str] = field(default_factory=dict)
    writes: list[tuple[float, float]] = field(default_factory=list)

    def has(self, cell: Cell) -> bool:
        """True if the cell has its value, or was skipped."""
        return cell in self.made or cell in self.skipped or cell in self.restored

    def is_resolved(self, cell: Cell) -> bool:
        """True if nobody waits for the cell any more."""
        return self.has(cell) or self.is_dropped(cell[1])

    def is_dropped(self, row: int) -> bool:
        return row in self.dropped or row in self.restored_drops

    def was_skipped(self, cell: Cell) -> bool:
        return cell in self.skipped or (
            cell in self.restored and self.restored[cell][0] == "skipped"
        )

    def has_value(self, cell: Cell) -> bool:
        return self.has(cell) and not self.was_skipped(cell)

    def since_s(self, cell: Cell) -> float:
        """When a cell got its value, or was skipped, in this incarnation or before."""
        if cell in self.restored:
            return self.restored[cell][1]
        return self.made[cell] if cell in self.made else self.skipped[cell]

    def resolved_s(self, cell: Cell) -> float:
        """Since when, in this incarnation, nobody waits for the cell any more."""
        times = [found[cell] for found in (self.made, self.skipped) if cell in found]
        if cell[1] in self.dropped:
            times.append(self.dropped[cell[1]][1])
        if cell in self.restored or cell[1] in self.restored_drops:
            times.append(self.start_s)
        return min(times, default=math.inf)


@dataclass(frozen=True, slots=True)
class Step:
    """What an event did.

    Attributes:
        given: the cells that got a value.
        finished_rows: rows from row 0 on without a gap whose cells are all resolved, after it.
    """

    t: float
    incarnation: int
    given: list[Cell]
    finished_rows: int


@dataclass(frozen=True, slots=True)
class History:
    """A whole run.

    Attributes:
        header: the first line.
        incarnations: in order, without the one that left the checkpoint which the run starts from.
        steps: one for each event, in order.
    """

    header: dict[str, Any]
    rows: int
    columns: dict[str, Column]
    incarnations: list[Incarnation]
    steps: list[Step]

    def numbered(self, number: int) -> Incarnation:
        """An incarnation by its number."""
        return self.incarnations[number - self.incarnations[0].number]

    @property
    def found(self) -> Claim:
        """What the run found when it began."""
        return self.incarnations[0].claim

    @property
    def limits(self) -> dict[str, Any]:
        found: dict[str, Any] = self.header["limits"]
        return found


def read(lines: Iterable[str]) -> History:
    """The history that the lines of a trace file tell."""
    header, *events, footer = map(json.loads, lines)
    assert "trace" in header
    assert footer["events"] == len(events)
    rows = header["graph"]["rows"]
    columns = _columns(header)
    reader = _Reader(rows, columns)
    for event in events:
        reader.take(event)
    return History(header, rows, columns, reader.incarnations, reader.steps)


def _columns(header: dict[str, Any]) -> dict[str, Column]:
    graph = header["graph"]
    producer = {
        name: item["name"]
        for item in graph["columns"]
        for name in (item["name"], *item["side_effects"])
    }
    found = {}
    for item in graph["columns"]:
        traits, scope = item["traits"], 0
        if "BARRIER" in traits and graph["barrier_scope"] == "declared":
            scope = graph["rows"]
        elif "BARRIER" in traits or "BATCH_BARRIER" in traits:
            scope = graph["batch_size"]
        resource = header["limits"]["column_resource"].get(item["name"])
        one = {} if resource is None else {resource: 1}
        found[item["name"]] = Column(
            item["name"],
            tuple(dict.fromkeys(producer[name] for name in item["needs"])),
            scope,
            "ORDERED" in traits,
            item["may_skip"],
            item["propagate_skip"],
            resource,
            (header.get("places") or {}).get(item["name"], one),
        )
    return found


def _rows(event: Event) -> range:
    rows = event["rows"]
    return range(rows, rows + 1) if isinstance(rows, int) else range(*rows)


def _claim(event: Event) -> Claim:
    """A number stands for so many rows from row 0 on."""
    return {
        name: set(range(rows)) if isinstance(rows, int) else {n for r in rows for n in range(*r)}
        for name, rows in event["claim"].items()
    }


class _Reader:
    """Takes one event after the other."""

    def __init__(self, rows: int, columns: dict[str, Column]) -> None:
        self.rows, self.columns = rows, columns
        nothing: Claim = {name: set() for name in columns}
        self.incarnations = [Incarnation(0, 0.0, nothing)]
        self.incarnations[0].durable = {name: set() for name in columns}
        self.steps: list[Step] = []
        self.given: list[Cell] = []
        self.finished = 0
        self.running: list[Call] = []
        # A claim, and the rows that had been dropped when it was begun.
        self.durable: tuple[Claim, set[int]] = (nothing, set())
        self.pending: tuple[Claim, set[int]] | None = None
        self.is_before = False

    @property
    def incarnation(self) -> Incarnation:
        return self.incarnations[-1]

    def take(self, event: Event) -> None:
        if event["event"] == "request":
            step = event["request"] | {"seq": event["seq"]}
            self._call(event).way.append((event["t"], step))
            return
        self.given = []
        getattr(self, f"on_{event['event']}")(event, event["t"])
        while self.finished < self.rows and all(
            self.incarnation.is_resolved((name, self.finished)) for name in self.columns
        ):
            self.finished += 1
        self.steps.append(Step(event["t"], self.incarnation.number, self.given, self.finished))

    # Calls

    def on_start(self, event: Event, t: float) -> None:
        column, scope = event["column"], event.get("scope")
        if scope is None:
            rows = _rows(event)
        else:
            size = self.columns[column].scope_rows
            rows = range(scope * size, min((scope + 1) * size, self.rows))
        call = Call(column, rows, scope, t)
        if scope is None:
            call.backoff_end_s = self.incarnation.backoff_ends.get((column, rows[0]))
        self.incarnation.calls.append(call)
        self.running.append(call)

    def on_complete(self, event: Event, t: float) -> None:
        call = self._call(event)
        self._note_answer(call)
        if call.scope is None:
            for row in _rows(event):
                rejected = any(start <= row < stop for start, stop in event.get("rejected") or ())
                if not self.incarnation.is_dropped(row) and not rejected:
                    self._give((call.column, row), t)
                    self.incarnation.cost_s[call.column, row] = t - call.last_s
                call.gave.append((row, t))
            if len(call.gave) < len(call.rows):
                return
        self._end(call, "complete", t)

    def on_fail(self, event: Event, t: float) -> None:
        call = self._call(event)
        self.incarnation.failures.append((call.column, event["failure"], t))
        self._end(call, event["failure"], t)
        if event.get("until") is not None:
            first = call.scope if call.scope is not None else _rows(event)[0]
            self.incarnation.backoffs.append((call.column, first, t, event["until"]))
            if call.scope is None:
                given = {row for row, _ in call.gave}
                for row in call.rows:
                    if row not in given:
                        self.incarnation.backoff_ends[call.column, row] = event["until"]

    def on_cancel(self, event: Event, t: float) -> None:
        self._end(self._call(event), "cancelled", t)

    def on_stop_requested(self, event: Event, t: float) -> None:  # noqa: ARG002
        self.incarnation.stop_asked_s = t

    def _call(self, event: Event) -> Call:
        """The call that an event speaks of: of its node, or the range that still owes its row."""
        scope = event.get("scope")
        for call in self.running:
            if call.column == event["column"] and call.scope == scope:
                if scope is not None:
                    return call
                row = _rows(event)[0]
                if row in call.rows and row not in [given for given, _ in call.gave]:
                    return call
        raise AssertionError(f"no call for {event}")

    def _end(self, call: Call, outcome: str, t: float) -> None:
        call.end_s, call.outcome = t, outcome
        self._note_answer(call)
        self.running.remove(call)

    def _note_answer(self, call: Call) -> None:
        """An answer comes; unless it came before, as its row may be dropped since."""
        if not call.gave:
            call.unwanted = call.scope is None and self.incarnation.is_dropped(call.rows[0])

    # Cells and rows

    def on_emit(self, event: Event, t: float) -> None:
        for row in _rows(event):
            self._give((event["column"], row), t)

    def _give(self, cell: Cell, t: float) -> None:
        self.incarnation.made[cell] = t
        self.given.append(cell)

    def on_skip(self, event: Event, t: float) -> None:
        for row in _rows(event):
            self.incarnation.skipped[event["column"], row] = t

    def on_drop(self, event: Event, t: float) -> None:
        for row in _rows(event):
            self.incarnation.dropped[row] = (event["column"], t)
            self.incarnation.drop_causes[row] = event["column"]

    def on_admit(self, event: Event, t: float) -> None:
        self.incarnation.admitted.append((_rows(event), t))

    def on_retire(self, event: Event, t: float) -> None:
        self.incarnation.retired.append((_rows(event), t))

    # Storage

    def on_durable(self, event: Event, t: float) -> None:  # noqa: ARG002
        for name in [event["column"]] if "column" in event else self.columns:
            self.incarnation.durable[name].update(_rows(event))

    def on_checkpoint_begin(self, event: Event, t: float) -> None:
        self.incarnation.writes.append((t, math.inf))
        claim = self.incarnation.pending = _claim(event)
        self.pending = claim, set(self.incarnation.dropped) | self.incarnation.restored_drops

    def on_checkpoint_durable(self, event: Event, t: float) -> None:  # noqa: ARG002
        assert self.incarnation.pending is not None
        assert self.pending is not None
        self.durable, self.pending = self.pending, None
        self.incarnation.claims_durable.append((self.incarnation.pending, t))
        self.incarnation.writes[-1] = self.incarnation.writes[-1][0], t
        self.incarnation.pending = None

    # The process

    def on_stop(self, event: Event, t: float) -> None:  # noqa: ARG002
        self.incarnation.stopped_s = t

    def on_end(self, event: Event, t: float) -> None:
        self.incarnation.end_s, self.incarnation.outcome = t, event["outcome"]

    def on_crash(self, event: Event, t: float) -> None:
        self.incarnation.end_s, self.incarnation.ended_by = t, "crash"
        for call in self.running:
            call.outcome = "lost"
        self.running.clear()
        self.is_before = event.get("reason") == "start_from"

    def on_resume(self, event: Event, t: float) -> None:
        before, claim = self.incarnation, _claim(event)
        if claim != self.durable[0]:
            assert self.pending is not None
            self.durable = self.pending
        assert claim == self.durable[0]
        self.pending = None
        incarnation = Incarnation(before.number + 1, t, claim)
        # What a resume that tells nothing else found in storage (plans/trace.md).
        incarnation.restored_drops = {
            row for row in self.durable[1] if any(row in rows for rows in claim.values())
        }
        for name, rows in claim.items():
            for row in sorted(rows):
                if not incarnation.is_dropped(row):
                    cell = (name, row)
                    assert before.has(cell), cell
                    what = "skipped" if before.was_skipped(cell) else "made"
                    incarnation.restored[cell] = what, before.since_s(cell)
        incarnation.durable = {name: set(rows) for name, rows in claim.items()}
        incarnation.drop_causes = dict(before.drop_causes)
        if self.is_before:
            self.incarnations.clear()
            self.steps.clear()
            self.is_before = False
        self.incarnations.append(incarnation)
        self.finished = 0
