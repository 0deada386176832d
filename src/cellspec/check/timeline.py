"""A run as a picture: a trace in the Chrome trace format, for Perfetto (https://ui.perfetto.dev).

Each resource is a process of the picture, and each of its concurrency slots a track: the calls
there are slices one after the other. A call takes the lowest slot that is free, so the tracks that
are always busy come first, and a limit that was not reached shows as missing tracks. Beside the
slices stand events without duration, as instants: failures on the track of the call, and for the
whole run drops, skips, output of barriers, crashes and resumes. Two kinds of counters show how many
rows are complete, dropped and in progress, and how many calls each resource has in flight. A row is
in progress from the first start of a cell that takes a resource (of any cell, if none does).

Times are whole microseconds of the engine's clock. Where the clock of a trace falls (a new
incarnation may start it anew), the picture goes on from where it was.

The export draws every event as it is, also a forbidden one: a run that went wrong is the one to
look at. It is a stream; beside what is in flight it keeps five bytes for each row.
"""

from __future__ import annotations

import heapq
import json
from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import Any

from cellspec.errors import TraceError
from cellspec.files import GrowingFile
from cellspec.graph.rowset import RowSet, rows_of
from cellspec.state.claims import Rows, count_rows, covers, meet, reaches, spans
from cellspec.text import cell_words, node_words
from cellspec.trace import Event, Header, TraceReader, check_size, claimed_rows, graph_of

__all__ = ["ChromeWriter", "export_chrome"]

_RUN_PID = 0
_EVENTS_TID, _STORAGE_TID = 0, 1

_NOT_STARTED, _STARTED, _OVER = range(3)

_GLOBAL = frozenset({"crash", "resume", "stop", "stop_requested", "end"})


@dataclass(slots=True)
class _Call:
    """A call in flight: its track, and since when."""

    pid: int
    tid: int
    start_us: int
    name: str
    args: dict[str, Any]


@dataclass(slots=True)
class _Range:
    """A call of many rows, and how many of them it has yet to give."""

    call: _Call
    rows: range
    left: int


@dataclass(slots=True)
class _Process:
    """The slots of one resource: which are free, and how many there are."""

    name: str
    free: list[int] = field(default_factory=list)
    slots: int = 0
    busy: int = 0

    def take(self) -> int:
        """The lowest free slot, from 1."""
        self.busy += 1
        if self.free:
            return heapq.heappop(self.free)
        self.slots += 1
        return self.slots

    def give_back(self, slot: int) -> None:
        self.busy -= 1
        heapq.heappush(self.free, slot)


class ChromeWriter:
    """Turns the events of one trace into Chrome trace events, one by one.

    Args:
        header: line 1 of the trace.
        put: called with each Chrome trace event, as plain values.
        source: the name of the trace in errors.

    Raises:
        TraceError: a header with an invalid graph.
    """

    def __init__(
        self, header: Header, put: Callable[[dict[str, Any]], object], source: str = "trace"
    ) -> None:
        check_size(header.graph.rows, len(header.graph.columns) + 4, source, 1)
        self._rules = graph_of(header, source).rules
        self._source = source
        self._put = put
        self._now_us = self._offset_us = 0
        self._rows = header.graph.rows
        # Pid 0 is the run itself; then the resources, then the columns without one.
        names = [*header.limits.resources, "no resource"]
        self._processes = [_Process(name) for name in names]
        takes = header.limits.column_resource
        self._pid_of = {
            rule.name: 1 + names.index(takes.get(rule.name, "no resource"))
            for rule in self._rules.columns
        }
        self._calls: dict[tuple[str, int, bool], _Call] = {}
        self._ranges: dict[str, list[_Range]] = {}
        self._claim: _Call | None = None
        self._working = frozenset(takes) or frozenset(self._pid_of)
        self._open = array("I")
        self._begun = bytearray()
        self._in_progress = 0
        self._claimed: list[Rows] = [0] * len(self._rules.columns)
        self._edges: list[int] = []
        self._complete = 0
        self._dropped = RowSet(self._rows)
        self._covered_drops: list[int] = []
        self._changed: dict[int, None] = {}
        self._rows_changed = False
        self._name_tracks(header)

    def _name_tracks(self, header: Header) -> None:
        engine = f"{header.engine.name} {header.engine.version}".strip()
        self._name(_RUN_PID, "process_name", engine)
        self._name(_RUN_PID, "thread_name", "events", _EVENTS_TID)
        self._name(_RUN_PID, "thread_name", "storage", _STORAGE_TID)
        for pid, process in enumerate(self._processes, 1):
            self._name(pid, "process_name", process.name)
        for pid in range(len(self._processes) + 1):
            self._put(
                {
                    "ph": "M",
                    "pid": pid,
                    "tid": 0,
                    "name": "process_sort_index",
                    "args": {"sort_index": pid},
                }
            )
        self._count_rows()

    def _name(self, pid: int, what: str, name: str, tid: int = 0) -> None:
        self._put({"ph": "M", "pid": pid, "tid": tid, "name": what, "args": {"name": name}})

    # Events

    def add(self, event: Event) -> None:
        """Take the next event of the trace.

        Raises:
            TraceError: clause TRACE-02: it names a column or row that the header does not have.
        """
        self._move_clock(event)
        self._check(event)
        if event.event == "start":
            self._start(event)
        elif event.event in ("complete", "fail", "cancel", "take_back"):
            self._end(event)
        elif event.event in ("emit", "skip", "recall"):
            assert event.column is not None
            # A barrier that is recalled gives its output by events of their own.
            for row in _rows(event):
                self._resolve(row)
            self._instant(event, _EVENTS_TID)
        elif event.event == "lose":
            for row in _rows(event):
                self._lose(row)
            self._instant(event, _EVENTS_TID)
        elif event.event.startswith("checkpoint_"):
            self._checkpoint(event)
        elif event.event.startswith("commit"):
            if event.event == "commit_begin" and len(self._dropped) > len(self._covered_drops):
                self._covered_drops = list(self._dropped)
            self._instant(event, _STORAGE_TID)
        elif event.event == "durable":
            self._instant(event, _STORAGE_TID)
        elif event.event == "drop":
            self._drop(event)
        else:
            self._of_run(event)

    def close(self, why: str = "the trace ends") -> None:
        """End the calls that are still in flight, and write the counters a last time."""
        self._stop_all(why)
        self._flush_counters()

    def _move_clock(self, event: Event) -> None:
        us = round(event.t * 1e6) + self._offset_us
        if us < self._now_us:
            self._offset_us += self._now_us - us
            us = self._now_us
        if us > self._now_us:
            self._flush_counters()
            self._now_us = us

    def _check(self, event: Event) -> None:
        if event.column is not None and event.column not in self._pid_of:
            self._refuse(event, "column", f"no such column: {event.column!r}")
        total = self._rows if event.records is None else event.records
        if event.records is not None:
            check_size(total, len(self._claimed) + 4, self._source, event.seq + 1)
        stop = _rows(event).stop
        if stop > total:
            self._refuse(event, "rows", f"expected rows below {total}, got {stop - 1}")
        for _, stop in event.dropped or ():
            if stop > max(total, self._rows):
                expected = f"expected rows below {max(total, self._rows)}, got {stop - 1}"
                self._refuse(event, "dropped", expected)
        for name in event.claim or ():
            if name not in self._pid_of:
                self._refuse(event, f"claim.{name}", "no such column")

    def _refuse(self, event: Event, field: str, expected: str) -> None:
        raise TraceError(self._source, event.seq + 1, field, expected, clause="TRACE-02")

    # Calls

    def _start(self, event: Event) -> None:
        assert event.column is not None
        column = event.column
        rule = self._rules.columns[self._rules.index[column]]
        args: dict[str, Any] = {
            "seq": event.seq,
            "column": column,
            "attempt": event.attempt or 1,
        }
        if event.scope is not None:
            if event.reads is not None:
                args["reads"] = [list(span) for span in event.reads]
            name = node_words(column, scope=event.scope)
            self._open_call((column, event.scope, True), column, name, args)
            return
        rows = _rows(event)
        if column in self._working:
            for row in rows:
                self._begin(row)
        if rule.streamable and len(rows) > 1:
            call = self._take(column, cell_words(column, rows.start, rows.stop), args)
            self._ranges.setdefault(column, []).append(_Range(call, rows, len(rows)))
        elif not rule.is_barrier:
            # Output cells of a barrier are no calls: its own run made them.
            for row in rows:
                self._open_call((column, row, False), column, cell_words(column, row), args)

    def _open_call(
        self, key: tuple[str, int, bool], column: str, name: str, args: dict[str, Any]
    ) -> None:
        if key in self._calls:
            self._close_call(self._calls.pop(key), "started again", {})
        self._calls[key] = self._take(column, name, args)

    def _take(self, column: str, name: str, args: dict[str, Any]) -> _Call:
        pid = self._pid_of[column]
        process = self._processes[pid - 1]
        known = process.slots
        tid = process.take()
        if process.slots > known:
            self._name(pid, "thread_name", f"slot {tid}", tid)
        self._changed[pid] = None
        return _Call(pid, tid, self._now_us, name, args)

    def _end(self, event: Event) -> None:
        assert event.column is not None
        column = event.column
        more: dict[str, Any] = {}
        for name in ("failure", "until", "reason"):
            if getattr(event, name) is not None:
                more[name] = getattr(event, name)
        if event.scope is not None:
            self._end_one(self._calls.pop((column, event.scope, True), None), event, more)
            return
        rows = _rows(event)
        rest = len(rows) - self._end_ranges(column, rows, event, more)
        for row in rows if rest else ():
            call = self._calls.pop((column, row, False), None)
            if call is not None or len(rows) == 1:
                self._end_one(call, event, more)
        if event.event == "complete":
            for row in rows:
                self._resolve(row)

    def _end_ranges(self, column: str, rows: range, event: Event, more: dict[str, Any]) -> int:
        """End, or go on with, the ranges that hold some of `rows`; how many rows they hold."""
        held = 0
        for one in list(self._ranges.get(column, ())):
            shared = min(rows.stop, one.rows.stop) - max(rows.start, one.rows.start)
            if shared <= 0:
                continue
            held += shared
            one.left -= shared
            if event.event != "complete" or one.left <= 0:
                self._ranges[column].remove(one)
                self._end_one(one.call, event, more)
        return held

    def _end_one(self, call: _Call | None, event: Event, more: dict[str, Any]) -> None:
        if call is None:
            # An end without a start: shown, and left for a checker to explain.
            self._instant(event, _EVENTS_TID)
            return
        self._close_call(call, event.event, more)
        if event.event == "fail":
            self._put(
                {
                    "ph": "i",
                    "s": "t",
                    "cat": "fail",
                    "name": f"{event.failure} failure",
                    "pid": call.pid,
                    "tid": call.tid,
                    "ts": self._now_us,
                    "args": {"seq": event.seq, **more},
                }
            )

    def _close_call(self, call: _Call, how: str, more: dict[str, Any]) -> None:
        self._slice(call, how, more)
        self._processes[call.pid - 1].give_back(call.tid)
        self._changed[call.pid] = None

    def _slice(self, call: _Call, how: str, more: dict[str, Any]) -> None:
        self._put(
            {
                "ph": "X",
                "cat": how,
                "name": call.name,
                "pid": call.pid,
                "tid": call.tid,
                "ts": call.start_us,
                "dur": self._now_us - call.start_us,
                "args": {**call.args, "ended": how, **more},
            }
        )

    def _stop_all(self, why: str) -> None:
        calls = [
            *self._calls.values(),
            *(one.call for ranges in self._ranges.values() for one in ranges),
        ]
        for call in calls:
            self._close_call(call, why, {})
        self._calls.clear()
        self._ranges.clear()
        if self._claim is not None:
            self._slice(self._claim, why, {})
            self._claim = None

    # The run

    def _checkpoint(self, event: Event) -> None:
        if event.event == "checkpoint_begin":
            if self._claim is not None:
                self._slice(self._claim, "begun again", {})
            assert event.claim is not None
            args = {"seq": event.seq, "claim": dict(event.claim)}
            self._covered_drops = list(self._dropped)
            self._claim = _Call(_RUN_PID, _STORAGE_TID, self._now_us, "checkpoint", args)
        elif self._claim is None:
            self._instant(event, _STORAGE_TID)
        else:
            more = {} if event.reason is None else {"reason": event.reason}
            self._slice(self._claim, event.event.removeprefix("checkpoint_"), more)
            self._claim = None

    def _of_run(self, event: Event) -> None:
        if event.event == "crash":
            self._stop_all("crash")
        elif event.event == "resume":
            self._resume(event)
        self._instant(event, _EVENTS_TID, "g" if event.event in _GLOBAL else "t")

    def _resume(self, event: Event) -> None:
        self._stop_all("resume")
        assert event.claim is not None
        claim = event.claim
        self._rows = event.records if event.records is not None else self._rows
        self._claimed = [claimed_rows(claim.get(rule.name, 0)) for rule in self._rules.columns]
        self._edges = sorted({edge for rows in self._claimed for edge in chain(*spans(rows))})
        self._open, self._begun, self._in_progress = array("I"), bytearray(), 0
        # Drops before the claim was begun stay, whether the engine lists them or not.
        dropped = self._covered_drops if event.dropped is None else rows_of(event.dropped)
        self._dropped = RowSet(self._rows)
        for row in dropped:
            if row < self._rows and reaches(tuple(self._claimed), row):
                self._forget(row)
        self._covered_drops = list(self._dropped)
        whole = reduce(meet, self._claimed)
        self._complete = count_rows(whole) - sum(covers(whole, row) for row in self._dropped)
        self._rows_changed = True

    def _instant(self, event: Event, tid: int, scope: str = "t") -> None:
        fields = {
            name: getattr(event, name)
            for name in (
                "claim",
                "commit",
                "failure",
                "outcome",
                "reason",
                "records",
                "incarnation",
            )
            if getattr(event, name) is not None
        }
        if event.request is not None:
            fields["step"] = event.request.step
        self._put(
            {
                "ph": "i",
                "s": scope,
                "cat": event.event,
                "name": _title(event),
                "pid": _RUN_PID,
                "tid": tid,
                "ts": self._now_us,
                "args": {"seq": event.seq, **fields},
            }
        )

    def _drop(self, event: Event) -> None:
        for row in _rows(event):
            self._forget(row)
        self._rows_changed = True
        self._instant(event, _EVENTS_TID)

    def _forget(self, row: int) -> None:
        """A row is dropped: calls of it may still end, and do not make it complete.

        It was complete if its last cell has ended by an answer that rejects it.
        """
        self._grow(row)
        if not self._open[row] and row not in self._dropped:
            self._complete -= 1
        self._dropped.add(row)
        self._open[row] = 0
        self._in_progress -= self._begun[row] == _STARTED
        self._begun[row] = _OVER

    # Counters

    def _begin(self, row: int) -> None:
        """A call of a row starts; the first one puts it in progress, if it has cells to make."""
        self._grow(row)
        if self._open[row] and self._begun[row] == _NOT_STARTED:
            self._begun[row] = _STARTED
            self._in_progress += 1
            self._rows_changed = True

    def _resolve(self, row: int) -> None:
        """One more cell of a row is there; when it was the last, the row is complete."""
        self._grow(row)
        known = self._open
        if known[row]:
            known[row] -= 1
            if not known[row]:
                self._complete += 1
                self._in_progress -= self._begun[row] == _STARTED
                self._begun[row] = _OVER
                self._rows_changed = True

    def _lose(self, row: int) -> None:
        """A cell of a row is gone; a row that was complete waits for the next start of its cells.

        Of what a barrier gave, only storage knows the rows that are lost: they stay as they are.
        """
        self._grow(row)
        if row in self._dropped:
            return
        if not self._open[row]:
            self._complete -= 1
            self._begun[row] = _NOT_STARTED
            self._rows_changed = True
        self._open[row] += 1

    def _grow(self, row: int) -> None:
        """Know of each row up to this one how many of its columns are open."""
        known = self._open
        while len(known) <= row:
            # As many rows as have the same number of columns left.
            first = len(known)
            place = bisect_right(self._edges, first)
            last = min([row + 1, *self._edges[place : place + 1]])
            left = sum(not covers(rows, first) for rows in self._claimed)
            known.extend(array("I", (left,)) * (last - first))
            self._begun.extend(bytes(last - first))

    def _flush_counters(self) -> None:
        for pid in self._changed:
            self._put(
                {
                    "ph": "C",
                    "name": "in flight",
                    "pid": pid,
                    "ts": self._now_us,
                    "args": {"calls": self._processes[pid - 1].busy},
                }
            )
        self._changed.clear()
        if self._rows_changed:
            self._count_rows()

    def _count_rows(self) -> None:
        self._rows_changed = False
        self._put(
            {
                "ph": "C",
                "name": "rows",
                "pid": _RUN_PID,
                "ts": self._now_us,
                "args": {
                    "complete": self._complete,
                    "dropped": len(self._dropped),
                    "in progress": self._in_progress,
                },
            }
        )


def _rows(event: Event) -> range:
    """The rows of an event; none for a barrier node or the whole run."""
    if isinstance(event.rows, int):
        return range(event.rows, event.rows + 1)
    return range(*event.rows or (0,))


def _title(event: Event) -> str:
    if event.scope is not None:
        return f"{event.event} {node_words(event.column or '', scope=event.scope)}"
    where = event.column or ""
    if event.rows is not None:
        rows = _rows(event)
        where = cell_words(where or "rows", rows.start, rows.stop)
    return f"{event.event} {where}".strip()


def export_chrome(trace: Path | str, output: Path | str) -> str:
    """Write the Chrome trace of a trace file; open it in Perfetto or ``chrome://tracing``.

    Args:
        trace: the trace, as `TraceReader` takes it.
        output: the file to write; it has its name only when it is whole.

    Returns:
        "" if the trace was whole, else where and why reading ended; the picture then ends there.

    Raises:
        TraceError: the trace lacks a usable header, or the output cannot be written.
    """
    output = Path(output)
    if output.exists() and Path(trace).exists() and output.samefile(trace):
        raise TraceError(str(output), None, "", "cannot be written: it is the trace itself")
    with TraceReader(trace) as reader:
        growing = None
        try:
            growing = GrowingFile(output)
            put = growing.file.write
            put(b'{"displayTimeUnit": "ms", "traceEvents": [\n')
            unread = _copy(reader, lambda text: put(text.encode()))
            put(b"\n]}\n")
            growing.publish()
        except (OSError, ValueError) as error:
            if isinstance(error, TraceError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise TraceError(str(output), None, "", f"cannot be written: {reason}") from None
        finally:
            if growing is not None:
                growing.abandon()
    return unread


def _copy(reader: TraceReader, write: Callable[[str], object]) -> str:
    between = ""

    def put(value: dict[str, Any]) -> None:
        nonlocal between
        write(between + json.dumps(value, separators=(",", ":")))
        between = ",\n"

    picture = ChromeWriter(reader.header, put, reader.name)
    try:
        for event in reader:
            picture.add(event)
    except TraceError as error:
        picture.close("the trace cannot be read further")
        return str(error)
    picture.close()
    return ""
