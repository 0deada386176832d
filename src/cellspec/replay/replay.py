"""A failure as a file: replayed step by step, on any engine, and made small.

Whatever finds a failure leaves one of two files behind, and ``python -m sim replay`` takes both:

- a *trace* (`cellspec.trace`): the steps themselves, by name. The explorer and ``sim fuzz`` write
  their counterexamples so, and every engine writes its runs so. It is replayed on the transition
  system, which says of each step whether it is allowed;
- a *case file* (`cellspec.conformance.run.case`): the workload that an engine failed on. It is
  replayed on that engine, or on another one.

A trace can be put to an engine too: `workload_of` makes the workload in which each call ends at the
very time at which it ends in the trace, so that an engine meets what was met there.

A file may travel as one line of text, a *replay string* (`to_string`), and is the same file again
at the other end. `shrunk_trace` takes away what is not needed for the same clause to break: first
columns and rows, then every step that is not a cause.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cellspec.check.checker import Checker, Finding
from cellspec.conformance.run.case import Case, case_of
from cellspec.conformance.run.workload import DEFAULT_LATENCY_S, TICK_S, End, Fault, Workload
from cellspec.errors import GraphError, SpecError, TraceError
from cellspec.graph.graph import ExecutionGraph
from cellspec.trace import (
    Event,
    Header,
    TraceReader,
    failures_of,
    graph_of,
    limits_of,
    to_json,
)

__all__ = [
    "PREFIX",
    "Steps",
    "ends_of",
    "events_until",
    "judge",
    "plain_workload_of",
    "read_source",
    "shrunk_trace",
    "timed",
    "to_string",
    "workload_of",
]

PREFIX = "cellspec1."
"""What a replay string begins with; the number is that of its format."""

_STRING_BYTES_MAX = 1 << 22
"""A replay string that unpacks to more than this is refused: it is no small failure."""


@dataclass(frozen=True, slots=True)
class Steps:
    """A trace in memory: what a failure of a few hundred steps is.

    Attributes:
        source: what it is called.
        header: line 1.
        events: the steps, in order.
        unread: why reading ended before the footer; "" if it did not.
    """

    source: str
    header: Header
    events: tuple[Event, ...]
    unread: str = ""

    def to_lines(self) -> list[str]:
        """The trace again, without a footer: a failure is no whole run."""
        lines = [to_json(self.header), *map(to_json, self.events)]
        return [json.dumps(line, separators=(",", ":")) for line in lines]


@dataclass(slots=True)
class Judged:
    """What the transition system said to the steps of a trace.

    Attributes:
        events: the steps that were put to it, the one that it refused with them.
        finding: the first that is not allowed; None if all are.
        checker: the state after the last step that was allowed.
    """

    checker: Checker
    events: list[Event] = field(default_factory=list)
    finding: Finding | None = None


# Reading


def read_source(source: str) -> Steps | Case:
    """What a file, or a replay string, holds.

    Raises:
        SpecError: it cannot be read, or is neither a trace nor a case; one line that names it.
    """
    if source.startswith(PREFIX):
        name, data = "replay string", _unpacked(source)
    else:
        name = source
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise SpecError(f"{source}: cannot be read: {error.strerror}") from None
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise SpecError(f"{name}: is damaged: it cannot be decompressed") from None
    if _is_case(data):
        return case_of(data, name)
    return _read_steps(data, name)


def _is_case(data: bytes) -> bool:
    """A case is one object with a field of its own; a trace's first line is an object already."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        # Not a trace either, perhaps: what is wrong is best said of what it seems to be.
        return data.lstrip()[:1] == b"{" and b'"trace"' not in data.partition(b"\n")[0]
    return not (isinstance(whole, dict) and "trace" in whole)


def _read_steps(data: bytes, name: str) -> Steps:
    with TraceReader(io.BytesIO(data), name=name) as reader:
        events: list[Event] = []
        unread = ""
        try:
            events.extend(reader)
        except TraceError as error:
            unread = str(error)
        return Steps(name, reader.header, tuple(events), unread)


# Replay strings


def to_string(text: str) -> str:
    """One line of text that `read_source` takes in place of a file.

    Args:
        text: the file's content.
    """
    packed = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9))
    return PREFIX + packed.decode().rstrip("=")


def _unpacked(line: str) -> bytes:
    body = line.removeprefix(PREFIX).strip()
    try:
        packed = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        unzip = zlib.decompressobj()
        data = unzip.decompress(packed, _STRING_BYTES_MAX)
    except (binascii.Error, ValueError, zlib.error):
        raise SpecError("replay string: is damaged; copy the whole line") from None
    if not unzip.eof:
        raise SpecError("replay string: is damaged or too long; copy the whole line, or the file")
    return data


# Replaying on the transition system


def judge(steps: Steps, until: int | None = None) -> Judged:
    """Put the steps of a trace to the transition system, one by one.

    Args:
        steps: the trace.
        until: the number of the last step to take, from 1; None for all.

    Raises:
        TraceError: a header that describes no graph.
    """
    judged = Judged(Checker(steps.header, source=steps.source))
    for event in events_until(steps.events, until):
        judged.events.append(event)
        judged.finding = judged.checker.feed(event)
        if judged.finding is not None:
            break
    return judged


def events_until(events: Iterable[Event], until: int | None) -> Iterator[Event]:
    """The events up to a number, that one with them."""
    return (event for event in events if until is None or event.seq <= until)


# Replaying on an engine


def timed(steps: Steps) -> Steps:
    """The trace with its steps a tick apart, if it knows no times: the explorer has none."""
    if any(event.t > 0 for event in steps.events):
        return steps
    events = tuple(
        msgspec.structs.replace(event, t=number * TICK_S)
        for number, event in enumerate(steps.events, 1)
    )
    return Steps(steps.source, steps.header, events, steps.unread)


def workload_of(steps: Steps) -> Workload:
    """The workload that makes an engine meet what a trace tells.

    Columns, rows, limits and failures are the trace's, and each call ends when it does there; what
    does not end there ends after the last event of that life. When a call begins is the engine's
    own affair, and so is when it writes what: a crash is left to the caller (see
    `Workload.crashes`).

    Args:
        steps: the trace; of one that knows no times, what `timed` makes of it.

    Raises:
        SpecError: a trace that no workload describes: its columns form no graph, say.
    """
    plain = plain_workload_of(steps)
    graph = plain.graph()
    able = {name for name in graph.column_names if graph.get_column_descriptor(name).may_skip}
    skips: dict[tuple[str, int], None] = {}
    last_s = [0.0]
    for event in steps.events:
        if event.event == "resume":
            last_s.append(event.t)
        last_s[-1] = event.t
        if event.event == "skip" and isinstance(event.rows, int) and event.column in able:
            skips[event.column, event.rows] = None
    faults: dict[tuple[str, int, int], Fault] = {}
    ends: list[End] = []
    for end, event in ends_of(steps.events, graph):
        ends.append(end)
        if event.event == "fail":
            wait_s = 0.0 if event.until is None else max(0.0, event.until - event.t)
            faults[end.column, end.position, end.call] = Fault(
                end.column, end.position, end.call, event.failure or "retryable", wait_s
            )
    ended = {(end.incarnation, end.column, end.position) for end in ends}
    for incarnation, t in enumerate(last_s):
        for column, position in _calls_of(graph):
            if (incarnation, column, position) not in ended:
                ends.append(End(incarnation, column, position, 1, t + DEFAULT_LATENCY_S))
    return plain.replace(
        faults=tuple(faults.values()),
        skips=tuple(skips),
        ends=tuple(ends),
        checkpoint_every_rows=1,
        checkpoint_version=1 if _claims_rows(steps.events) else 2,
    )


def plain_workload_of(steps: Steps) -> Workload:
    """What a run was asked for: columns, limits, and the rows of each life; no call of it.

    Raises:
        SpecError: a trace that no workload describes.
    """
    graph = graph_of(steps.header, steps.source)
    targets = [graph.num_records]
    for event in steps.events:
        if event.event == "resume":
            targets.append(event.records or targets[-1])
    return Workload(
        columns=tuple(map(graph.get_column_descriptor, graph.column_names)),
        rows=graph.num_records,
        batch_size=graph.batch_size,
        barrier_scope=steps.header.graph.barrier_scope,
        limits=limits_of(steps.header, steps.source),
        failures=failures_of(steps.header),
        targets=tuple(targets) if len(set(targets)) > 1 else (),
    )


def ends_of(events: Iterable[Event], graph: ExecutionGraph) -> Iterator[tuple[End, Event]]:
    """When each call of a run ended, and the event that says so.

    A barrier's output cells take no call: where a trace tells of each of them, that is left out.
    """
    barriers = {rule.name for rule in graph.rules.columns if rule.is_barrier}
    incarnation = 0
    calls: dict[tuple[str, int], int] = {}
    for event in events:
        if event.event == "resume":
            incarnation += 1
            calls = {}
        elif event.event in ("complete", "fail") and event.column:
            if event.scope is None and event.column in barriers:
                continue
            for position in _positions(event):
                nth = calls[event.column, position] = calls.get((event.column, position), 0) + 1
                yield End(incarnation, event.column, position, nth, event.t), event


def _calls_of(graph: ExecutionGraph) -> Iterator[tuple[str, int]]:
    """Every call that a graph takes: its column, and its row or scope."""
    for rule in graph.rules.columns:
        for position in range(graph.rules.scope_count(rule.index) or graph.num_records):
            yield rule.name, position


def _positions(event: Event) -> Sequence[int]:
    if event.scope is not None:
        return (event.scope,)
    rows = event.rows
    return range(*rows) if isinstance(rows, tuple) else () if rows is None else (rows,)


def _claims_rows(events: Iterable[Event]) -> bool:
    """Whether every claim of a trace is one number for all columns, as version 1 has it."""
    return all(len(set(event.claim.values())) < 2 for event in events if event.claim)


# Making it small


def shrunk_trace(steps: Steps, *, tries_max: int = 20_000) -> Steps:
    """The smallest trace found whose first step that is not allowed breaks the same clause.

    Columns and rows go first, then each step that the rest does without. What is left are causes:
    without any one of them that clause is not the first to break.

    Args:
        steps: a trace that breaks a clause.
        tries_max: how many smaller ones may be looked at.

    Raises:
        SpecError: nothing in the trace breaks a clause.
    """
    judged = judge(steps)
    if judged.finding is None:
        raise SpecError(f"{steps.source}: every step is allowed; there is nothing to shrink")
    search = _Search(judged.finding.clause, tries_max)
    best = Steps(steps.source, steps.header, tuple(judged.events))
    while True:
        smaller = search.without_columns(best)
        smaller = search.with_fewer_rows(smaller)
        smaller = search.without_events(smaller)
        if len(smaller.to_lines()) == len(best.to_lines()) and smaller.header == best.header:
            return best
        best = smaller


class _Search:
    """Looks for smaller traces that break one clause first."""

    def __init__(self, clause: str, tries: int) -> None:
        self.clause = clause
        self.tries = tries

    def breaks(self, steps: Steps) -> bool:
        """Whether a trace still breaks the clause first, and at its last step."""
        if self.tries <= 0:
            return False
        self.tries -= 1
        try:
            judged = judge(steps)
        except (TraceError, GraphError):
            return False
        found = judged.finding
        return found is not None and found.clause == self.clause

    def without_events(self, steps: Steps) -> Steps:
        """Take away runs of events, long ones first (delta debugging; Zeller, TSE 2002)."""
        size = max(1, len(steps.events) // 2)
        while True:
            place = 0
            while place < len(steps.events):
                left = steps.events[:place] + steps.events[place + size :]
                tried = Steps(steps.source, steps.header, _numbered(left))
                if left and self.breaks(tried):
                    steps = tried
                else:
                    place += size
            if size == 1:
                return steps
            size //= 2

    def without_columns(self, steps: Steps) -> Steps:
        for column in reversed(steps.header.graph.columns):
            tried = _without_column(steps, column.name)
            if tried is not None and self.breaks(tried):
                steps = tried
        return steps

    def with_fewer_rows(self, steps: Steps) -> Steps:
        rows = steps.header.graph.rows
        for fewer in range(1, rows):
            if self.tries <= 0:
                break
            graph = msgspec.structs.replace(steps.header.graph, rows=fewer)
            header = msgspec.structs.replace(steps.header, graph=graph)
            tried = Steps(steps.source, header, steps.events)
            if all(_within(event, fewer) for event in steps.events) and self.breaks(tried):
                return tried
        return steps


def _numbered(events: Iterable[Event]) -> tuple[Event, ...]:
    return tuple(
        msgspec.structs.replace(event, seq=number) for number, event in enumerate(events, 1)
    )


def _within(event: Event, rows: int) -> bool:
    spans = [(one, one + 1) if isinstance(one, int) else one for one in (event.rows,) if one]
    spans += [*(event.reads or ()), *(event.dropped or ())]
    claimed = max((event.claim or {"": 0}).values())
    return all(stop <= rows for _, stop in spans) and claimed <= rows


def _without_column(steps: Steps, name: str) -> Steps | None:
    """The trace as if a column had never been; None if another one needs it."""
    old = steps.header
    left = tuple(column for column in old.graph.columns if column.name != name)
    made = {name, *next(item.side_effects for item in old.graph.columns if item.name == name)}
    if not left or any(made & set(column.needs) for column in left):
        return None
    used = {key: value for key, value in old.limits.column_resource.items() if key != name}
    header = msgspec.structs.replace(
        old,
        graph=msgspec.structs.replace(old.graph, columns=left),
        limits=msgspec.structs.replace(old.limits, column_resource=used),
    )
    events = []
    for event in steps.events:
        if event.column == name:
            continue
        changed = event
        for field_name in ("claim", "skipped"):
            value = getattr(event, field_name)
            if value is not None:
                kept = {key: item for key, item in value.items() if key != name}
                changed = msgspec.structs.replace(changed, **{field_name: kept})
        events.append(changed)
    return Steps(steps.source, header, _numbered(events))
