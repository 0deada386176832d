"""The trace file: a written trace is read back, and a mistake is refused with its line."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
import tracemalloc
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cellspec import Action, ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits, SpecError
from cellspec.check.checker import check_file
from cellspec.machine.machine import FailurePolicy
from cellspec.trace import (
    KINDS,
    PARTIAL,
    Event,
    Footer,
    Header,
    TraceError,
    TraceReader,
    TraceWriter,
    action_of,
    claimed_rows,
    event_from_json,
    event_of,
    failures_of,
    graph_of,
    header_for,
    header_from_json,
    limits_of,
    misfit,
    to_json,
)
from cellspec.trace.format import EndpointSums, RequestStep, fields_of
from cellspec.trace.schema import schema_text
from tests.strategies import Case, limited_cases

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "plans" / "trace.md"
T = ExecutionTraits
ROWS = 6
GRAPH = ExecutionGraph(
    ROWS,
    [
        ColumnDescriptor("a", traits=T.START | T.ROW_STREAMABLE, side_effects=["extra"]),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["extra"]),
        ColumnDescriptor("c", dependencies=["a", "v"], may_skip=True, propagate_skip=False),
    ],
    batch_size=4,
)
HEADER = header_for(
    GRAPH,
    engine="suite",
    version="1.0",
    limits=Limits(workers=3, resources={"x": 2}, column_resource={"c": "x"}, group_rows=2),
    failures=FailurePolicy(max_attempts=3, stop_window=10, stop_rate=0.5),
    seed=7,
    claims=("core", "drops"),
)


# What a trace may hold

times = st.integers(0, 10**6).map(lambda n: n / 16)
ranges = st.tuples(st.integers(0, ROWS - 1), st.integers(1, ROWS)).filter(lambda r: r[0] < r[1])
words = st.text(st.characters(codec="utf-8"), max_size=5)


@st.composite
def row_sets(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """Rows as ranges in order, with gaps between them."""
    rows = sorted(draw(st.sets(st.integers(0, ROWS - 1))))
    found: list[tuple[int, int]] = []
    for row in rows:
        if found and found[-1][1] == row:
            found[-1] = (found[-1][0], row + 1)
        else:
            found.append((row, row + 1))
    return tuple(found)


VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "column": st.sampled_from(GRAPH.column_names),
    "rows": st.integers(0, ROWS - 1) | ranges,
    "attempt": st.integers(1, 9),
    "resource": st.sampled_from(["x", "y"]),
    "failure": st.sampled_from(["retryable", "backpressure", "permanent", "timeout"]),
    "until": times,
    "reads": row_sets(),
    "claim": st.fixed_dictionaries(
        {name: st.integers(0, ROWS) | row_sets().map(claimed_rows) for name in GRAPH.column_names}
    ),
    "dropped": row_sets(),
    "skipped": st.dictionaries(st.sampled_from(GRAPH.column_names), row_sets()),
    "records": st.integers(1, ROWS),
    "keep": st.booleans(),
    "outcome": st.sampled_from(["success", "stopped", "failed", "interrupted"]),
    "reason": words,
    "incarnation": st.integers(1, 5),
    "commit": st.integers(0, 9),
    "abandoned": st.booleans(),
    "rejected": row_sets(),
    "cause": st.sampled_from(["failed", "filtered", "killer"]),
    "config": st.dictionaries(st.sampled_from(GRAPH.column_names), words),
    "keep_config": st.booleans(),
    "request": st.builds(
        RequestStep,
        st.sampled_from(["sent", "turned_away", "refused", "serving", "decoding", "lost"]),
        prompt_tokens=st.none() | times,
        retry_after_s=st.none() | times,
        by=st.none() | words,
        failed=st.booleans(),
    ),
    "endpoints": st.dictionaries(
        st.sampled_from(["x", "y"]), st.builds(EndpointSums, times, times, times, times, times)
    ),
}


@st.composite
def events(draw: st.DrawFn, seq: int = 1, kind: str | None = None) -> Event:
    """An event that fits its kind and `GRAPH`."""
    kind = kind if kind is not None else draw(st.sampled_from(list(KINDS)))
    shape = KINDS[kind]
    fields = {name: draw(VALUES[name]) for name in shape.needs}
    fields |= {name: draw(VALUES[name]) for name in shape.may if draw(st.booleans())}
    if shape.node:
        if draw(st.booleans()):
            fields["column"], fields["scope"] = "v", draw(st.integers(0, 1))
        else:
            fields["rows"] = draw(VALUES["rows"])
            fields.pop("reads", None)
    if kind == "commit_begin":
        if "claim" in fields:
            fields = {
                name: value for name, value in fields.items() if name not in ("rows", "column")
            }
        else:
            fields["rows"] = draw(VALUES["rows"])
    return Event(seq, draw(times), kind, **fields, inferred=draw(st.booleans()))  # type: ignore[arg-type]


@st.composite
def runs(draw: st.DrawFn, max_size: int = 6) -> list[Event]:
    """Events numbered from 1; together they may be senseless."""
    return [draw(events(seq + 1)) for seq in range(draw(st.integers(0, max_size)))]


def written(folder: Path, run: list[Event], name: str = "run.jsonl") -> Path:
    path = folder / name
    with TraceWriter(path, HEADER) as writer:
        for event in run:
            writer.write(event)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


SAMPLE = [
    Event(1, 0.0, "start", "a", (0, 6)),
    Event(2, 1.0, "complete", "a", (0, 6)),
    Event(3, 1.0, "start", "v", None, 0, reads=((0, 4),)),
    Event(4, 2.5, "complete", "v", None, 0),
    Event(5, 2.5, "emit", "v", (0, 4)),
    Event(6, 2.5, "start", "c", 0, resource="x"),
    Event(7, 3.0, "fail", "c", 0, failure="retryable", until=4.0),
    Event(8, 3.0, "durable", None, (0, 0 + 1)),
    Event(9, 3.0, "checkpoint_begin", claim={"a": 0, "v": 0, "c": 0}),
]


def lines_of(run: list[Event]) -> list[bytes]:
    """The lines of a good trace, each with its end."""
    with TemporaryDirectory() as place:
        return written(Path(place), run).read_bytes().splitlines(keepends=True)


def read_all(data: bytes) -> tuple[Header, list[Event], Footer | None]:
    with TraceReader(io.BytesIO(data)) as reader:
        run = list(reader)
        return reader.header, run, reader.footer


def refusal(data: bytes) -> TraceError:
    with pytest.raises(TraceError) as caught:
        read_all(data)
    assert "\n" not in str(caught.value)
    return caught.value


# Written and read


@given(run=runs(), compressed=st.booleans())
def test_a_written_trace_is_read_back_equal(
    folder: Path, run: list[Event], compressed: bool
) -> None:
    path = written(folder, run, "run.jsonl.gz" if compressed else "run.jsonl")
    with TraceReader(path) as reader:
        assert reader.header == HEADER
        assert list(reader) == run
        assert reader.footer is not None
        assert reader.footer.events == len(run) == reader.events
        assert sum(reader.footer.counts.values()) == len(run)
        assert reader.line == len(run) + 2
    assert path.read_bytes().startswith(b"\x1f\x8b") is compressed


def test_a_line_holds_only_the_fields_that_say_something_in_one_order() -> None:
    lines = lines_of(SAMPLE)
    assert lines[1] == b'{"seq":1,"t":0.0,"event":"start","column":"a","rows":[0,6]}\n'
    assert lines[7] == (
        b'{"seq":7,"t":3.0,"event":"fail","column":"c","rows":0,"failure":"retryable","until":4.0}\n'
    )
    order = Event.__struct_fields__
    for line in lines[1:-1]:
        assert list(json.loads(line)) == [name for name in order if name in json.loads(line)]


def test_a_trace_is_read_whatever_its_name_says_of_compression(tmp_path: Path) -> None:
    path = written(tmp_path, SAMPLE, "a.gz")
    other = path.rename(tmp_path / "b.jsonl")
    with TraceReader(other) as reader:
        assert list(reader) == SAMPLE


def test_a_last_line_needs_no_newline() -> None:
    assert read_all(b"".join(lines_of(SAMPLE)).rstrip(b"\n"))[1] == SAMPLE


def test_other_orders_of_fields_spaces_and_line_ends_are_read() -> None:
    lines = [json.loads(line) for line in lines_of(SAMPLE)]
    text = "\r\n".join(json.dumps(dict(reversed(line.items())), indent=None) for line in lines)
    assert read_all(text.encode())[1] == SAMPLE


def test_reading_takes_no_more_memory_for_more_events(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        run = (Event(seq, 0.0, "start", "a", 1) for seq in range(1, count + 1))
        path = tmp_path / f"{count}.jsonl"
        with TraceWriter(path, HEADER) as writer:
            for event in run:
                writer.write(event)
        tracemalloc.start()
        try:
            with TraceReader(path) as reader:
                assert sum(1 for _ in reader) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(60_000) < 1.2 * peak(15_000)


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cellspec.trace.reader.LINE_BYTES_MAX", 1 << 20)

    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            assert self.given < 4 << 20
            return b"x" * size

    with pytest.raises(TraceError, match="line 1: expected a line of at most 1 MiB"):
        TraceReader(Endless())  # type: ignore[arg-type]


# The schema


@lru_cache(maxsize=1)
def validator() -> Any:
    schema = json.loads((ROOT / "specs" / "trace.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def fits_schema(line: object) -> bool:
    return bool(validator().is_valid(line))


def test_the_published_schema_is_that_of_the_types() -> None:
    published = (ROOT / "specs" / "trace.schema.json").read_text(encoding="utf-8")
    assert published == schema_text(), "python -m cellspec.trace > specs/trace.schema.json"


def test_every_field_and_every_kind_of_the_schema_is_described() -> None:
    parts = validator().schema["$defs"]
    for name, part in parts.items():
        assert part.get("description"), name
        for field, value in part.get("properties", {}).items():
            assert "$ref" in value or "const" in value or value.get("description"), (name, field)


@given(event=events())
def test_every_event_that_is_written_satisfies_the_schema(event: Event) -> None:
    assert misfit(event) is None
    assert fits_schema(json.loads(json.dumps(to_json(event))))


def test_header_and_footer_satisfy_the_schema() -> None:
    lines = lines_of(SAMPLE)
    assert fits_schema(json.loads(lines[0]))
    assert fits_schema(json.loads(lines[-1]))


@given(event=events(), data=st.data())
def test_reader_and_schema_refuse_the_same_fields(event: Event, data: st.DataObject) -> None:
    line = to_json(event)
    how = data.draw(st.sampled_from(["remove", "foreign", "unknown"]))
    if how == "remove":
        line.pop(data.draw(st.sampled_from(sorted(line))))
    elif how == "foreign":
        name = data.draw(st.sampled_from(sorted(VALUES)))
        line[name] = msgspec.to_builtins(data.draw(VALUES[name]))
    else:
        line["colour"] = "red"
    line = json.loads(json.dumps(line))
    try:
        read = event_from_json(line)
    except TraceError:
        assert not fits_schema(line)
    else:
        # A field may be given with the value that it has when it is left out.
        given = {name for name in line if name in fields_of(read.event)} == set(line)
        assert fits_schema(line) is given


# Lines that are refused

START = {"seq": 1, "t": 0.0, "event": "start", "column": "a", "rows": 0}


def line(**changes: Any) -> bytes:
    """The line of a good event with fields changed; None takes one away."""
    fields = {**START, **changes}
    return json.dumps({k: v for k, v in fields.items() if v is not None}).encode()


BAD_EVENTS: list[tuple[bytes, str]] = [
    (b"", "expected a JSON object, got an empty line"),
    (b"   ", "expected a JSON object, got an empty line"),
    (b"nonsense", "expected a JSON object, got something else: Expecting value at character 1"),
    (b'{"seq": 1', "expected a JSON object, got something else"),
    (b"[1, 2]", "expected a JSON object, got [1, 2]"),
    (b'"start"', 'expected a JSON object, got "start"'),
    (line()[:-1] + b"} {}", "expected a JSON object, got something else: Extra data"),
    (line(column="X").replace(b"X", b"\xff"), "expected UTF-8, got byte 0xff"),
    (b"\xef\xbb\xbf" + line(), "expected a JSON object, got a byte order mark"),
    (b"[" * 100_000, "expected a JSON object, got one nested too deeply"),
    (line().replace(b"0.0", b"NaN"), "expected finite numbers, got NaN"),
    (line().replace(b"0.0", b"Infinity"), "expected finite numbers, got Infinity"),
    (line().replace(b"0.0", b"-Infinity"), "expected finite numbers, got -Infinity"),
    (line().replace(b"0.0", b"1e999"), "t: number out of range"),
    (line(t=-0.5), "t: expected float >= 0.0; got -0.5"),
    (line(t=1e16), "t: expected float <= 1000000000000000.0; got 1e+16"),
    (line(t="0"), 't: expected float, got str; got "0"'),
    (line(seq=True), "seq: expected int, got bool; got true"),
    (line(seq=0), "seq: expected int >= 1; got 0"),
    (line(seq=-1), "seq: expected int >= 1; got -1"),
    (line(seq=10**30), "seq: expected int <= 9007199254740991; got 1000"),
    (
        line().replace(b'"seq": 1,', b'"seq": ' + b"9" * 5000 + b","),
        "expected a JSON object, got something else: a number that is too long",
    ),
    (line(seq=1.5), "seq: expected int, got float; got 1.5"),
    (line(seq=None), "seq: expected a value, got none"),
    (line(t=None), "t: expected a value, got none"),
    (line(event=None), "event: expected a value, got none"),
    (line(event="begin"), "event: expected one of start, complete, emit, fail, cancel"),
    (line(event=3), "event: expected str, got int; got 3"),
    (line(column=None), "column: expected a value, which a start event needs"),
    (line(column=""), "column: expected a value, which a start event needs"),
    (line(rows=None), "rows: expected either rows, of cells, or scope, of a barrier node"),
    (line(scope=0), "rows: expected either rows, of cells, or scope, of a barrier node"),
    (line(rows=-1), "rows: expected an integer from 0, or a range of rows"),
    (line(rows=2**53), "rows: expected an integer from 0, or a range of rows"),
    (line(rows=0.5), "rows: expected int | array | null, got float; got 0.5"),
    (line(rows=[0]), "rows: expected array of length 2; got [0]"),
    (line(rows=[0, 1, 2]), "rows: expected array of length 2; got [0, 1, 2]"),
    (line(rows=[0, -1]), "rows[1]: expected int >= 0; got -1"),
    (line(rows=[3, 3]), "rows: expected a range [start, stop) that is not empty"),
    (line(rows=[3, 2]), "rows: expected a range [start, stop) that is not empty"),
    (line(rows=None, scope=-1), "scope: expected int >= 0; got -1"),
    (line(attempt=0), "attempt: expected int >= 1; got 0"),
    (line(reads=[[0, 1]]), "reads: no such field of a cell"),
    (line(rows=None, scope=0, reads=[[1, 1]]), "reads: expected ranges [start, stop) that are"),
    (line(failure="retryable"), "failure: no such field in a start event"),
    (line(until=1), "until: no such field in a start event"),
    (line(claim={}), "claim: no such field in a start event"),
    (line(colour="red"), "colour: no such field"),
    (line(**{"a\nb": 1}), "a\\nb: no such field"),
    (line(event="fail"), "failure: expected a value, which a fail event needs"),
    (
        line(event="fail", failure="fatal"),
        "failure: expected one of retryable, backpressure, permanent, timeout; got ",
    ),
    (line(event="emit", attempt=2), "attempt: no such field in an emit event"),
    (line(event="drop", rows=None), "rows: expected a value, which a drop event needs"),
    (line(event="admit"), "column: no such field in an admit event"),
    (line(event="durable", column=""), "column: expected a name that is not empty"),
    (line(event="crash"), "column: no such field in a crash event"),
    (
        b'{"seq": 1, "t": 0, "event": "resume"}',
        "claim: expected a value, which a resume event needs",
    ),
    (
        b'{"seq": 1, "t": 0, "event": "resume", "claim": {"a": -1}}',
        "claim.a: expected an integer from 0, or ranges of rows",
    ),
    (
        b'{"seq": 1, "t": 0, "event": "resume", "claim": {}, "dropped": [[2, 3], [0, 1]]}',
        "dropped: expected ranges [start, stop) in row order",
    ),
    (
        b'{"seq": 1, "t": 0, "event": "resume", "claim": {}, "skipped": {"a": [[0, 2], [1, 3]]}}',
        "skipped.a: expected ranges [start, stop) in row order",
    ),
    (b'{"seq": 1, "t": 0, "event": "end"}', "outcome: expected a value, which an end event needs"),
    (
        b'{"seq": 1, "t": 0, "event": "end", "outcome": "done"}',
        "outcome: expected one of success, stopped, failed, interrupted",
    ),
]


@pytest.mark.parametrize(("bad", "words"), BAD_EVENTS, ids=[words for _, words in BAD_EVENTS])
def test_a_malformed_event_is_refused_with_its_line_and_field(bad: bytes, words: str) -> None:
    error = refusal(lines_of([])[0] + bad + b"\n")
    assert str(error).startswith(f"trace: line 2: {words}"), str(error)
    assert error.line == 2
    assert error.clause is None
    assert len(str(error)) < 400


@pytest.mark.parametrize(("bad", "words"), BAD_EVENTS, ids=[words for _, words in BAD_EVENTS])
def test_no_malformed_event_satisfies_the_schema(bad: bytes, words: str) -> None:
    try:
        value = json.loads(bad.decode())
    except (ValueError, RecursionError):
        return
    nonstandard = b"NaN" in bad or b"Infinity" in bad or b"1e999" in bad
    # What lies between numbers is beyond a schema.
    relations = ("[start, stop)",)
    if not nonstandard and not any(word in words for word in relations):
        assert not fits_schema(value)


def damaged_header(change: Callable[[dict[str, Any]], object]) -> bytes:
    value = to_json(HEADER)
    change(value)
    return json.dumps(value).encode() + b"\n"


BAD_HEADERS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda h: h.pop("engine"), "engine: expected a value, got none"),
    (lambda h: h.pop("limits"), "limits: expected a value, got none"),
    (lambda h: h.update(colour=1), "colour: no such field"),
    (
        lambda h: h.update(trace=3),
        "trace: expected version 1 to 2, got 3, which is newer than this",
    ),
    (lambda h: h.update(trace=0), "trace: expected int >= 1; got 0"),
    (lambda h: h.update(trace="1"), 'trace: expected int, got str; got "1"'),
    (lambda h: h.update(clock="sun"), 'clock: expected one of virtual, real; got "sun"'),
    (lambda h: h["graph"].update(rows=0), "graph.rows: expected int >= 1; got 0"),
    (lambda h: h["graph"].update(rows=None), "graph.rows: expected int, got null; got null"),
    (lambda h: h["graph"].update(columns=[]), "graph.columns: expected array of length >= 1"),
    (lambda h: h["graph"]["columns"][1].pop("name"), "graph.columns[1].name: expected a value"),
    (
        lambda h: h["graph"]["columns"][0].update(traits=["FAST"]),
        "graph.columns[0].traits[0]: expected one of START, CELL_BY_CELL, ROW_STREAMABLE, ",
    ),
    (lambda h: h["limits"].update(workers=0), "limits.workers: expected int >= 1; got 0"),
    (lambda h: h["failures"].update(stop_rate=0), "failures.stop_rate: expected float > 0"),
    (lambda h: h["failures"].update(stop_rate=2), "failures.stop_rate: expected float <= 1"),
]


@pytest.mark.parametrize(("change", "words"), BAD_HEADERS, ids=[words for _, words in BAD_HEADERS])
def test_a_malformed_header_is_refused_with_its_field(
    change: Callable[[dict[str, Any]], object], words: str
) -> None:
    error = refusal(damaged_header(change))
    assert str(error).startswith(f"trace: line 1: {words}"), str(error)
    assert error.clause is None
    assert not fits_schema(json.loads(damaged_header(change)))


# Files that are refused


def shifted(lines: list[bytes], by: int) -> list[bytes]:
    """The same events with other numbers."""
    moved = []
    for text in lines:
        value = json.loads(text)
        value["seq"] += by
        moved.append(json.dumps(value).encode() + b"\n")
    return moved


GOOD = lines_of(SAMPLE)
HEAD, EVENTS, FOOT = GOOD[0], GOOD[1:-1], GOOD[-1]
COUNTED = json.loads(FOOT)

BAD_FILES: list[tuple[str, list[bytes], str, str | None]] = [
    ("no header", [*EVENTS, FOOT], "line 1: expected the header first, got an event", "TRACE-01"),
    ("a footer only", [FOOT], "line 1: expected the header first, got a footer", "TRACE-01"),
    ("a foreign file", [b'{"a": 1}\n'], "line 1: expected the header of a trace, got anoth", None),
    ("two headers", [HEAD, HEAD], "line 2: trace: expected an event, got a second", "TRACE-01"),
    (
        "a header later",
        [HEAD, *EVENTS, HEAD, FOOT],
        "line 11: trace: expected an event, got a second header",
        "TRACE-01",
    ),
    ("no footer", [HEAD, *EVENTS], "line 11: expected event 10 or the footer, but the f", None),
    ("a header only", [HEAD], "line 2: expected event 1 or the footer, but the file ends", None),
    ("half a line", [HEAD, EVENTS[0][:20]], "line 2: expected a JSON object, got some", None),
    (
        "a footer in the middle",
        [HEAD, *EVENTS[:3], FOOT, *EVENTS[3:]],
        "line 5: events: expected 3, the number of events before it, got 9",
        "TRACE-01",
    ),
    ("two footers", [*GOOD, FOOT], "line 12: expected nothing after the footer", "TRACE-01"),
    ("an event after", [*GOOD, EVENTS[0]], "line 12: expected nothing after the foot", "TRACE-01"),
    ("a blank line after", [*GOOD, b"\n"], "line 12: expected nothing after the fo", "TRACE-01"),
    (
        "an event left out",
        [HEAD, *EVENTS[:2], *EVENTS[3:], FOOT],
        "line 4: seq: expected 3, got 4",
        "TRACE-01",
    ),
    (
        "an event twice",
        [HEAD, *EVENTS[:3], *EVENTS[2:], FOOT],
        "line 5: seq: expected 4, got 3",
        "TRACE-01",
    ),
    (
        "two events exchanged",
        [HEAD, EVENTS[1], EVENTS[0], *EVENTS[2:], FOOT],
        "line 2: seq: expected 1, got 2",
        "TRACE-01",
    ),
    (
        "events that begin at 2",
        [HEAD, *shifted(EVENTS, 1), FOOT],
        "line 2: seq: expected 1, got 2",
        "TRACE-01",
    ),
    (
        "the last event left out",
        [HEAD, *EVENTS[:-1], FOOT],
        "line 10: events: expected 8, the number of events before it, got 9",
        "TRACE-01",
    ),
    (
        "a footer that counts wrongly",
        [HEAD, *EVENTS, FOOT.replace(b'"start":3', b'"start":2')],
        "line 11: counts.start: expected 3, got 2",
        "TRACE-01",
    ),
    (
        "a footer that counts what was not there",
        [HEAD, *EVENTS, FOOT.replace(b'"start":3', b'"start":3,"crash":1')],
        "line 11: counts.crash: expected 0, got 1",
        "TRACE-01",
    ),
    (
        "a footer that says false",
        [HEAD, *EVENTS, FOOT.replace(b"true", b"false")],
        "line 11: footer: expected true, got false",
        None,
    ),
    (
        "a footer with a field",
        [HEAD, *EVENTS, FOOT.replace(b"true", b'true,"x":1')],
        "line 11: x: no such field",
        None,
    ),
    (
        "a footer with an odd kind",
        [HEAD, *EVENTS, FOOT.replace(b'"start"', b'"begin"')],
        "line 11: counts: expected one of start",
        None,
    ),
    (
        "a footer with an odd verdict",
        [HEAD, *EVENTS, FOOT.replace(b"null", b'"fine"')],
        "line 11: verdict: expected one of pass, violated, inconclusive",
        None,
    ),
]


@pytest.mark.clause("TRACE-01")
@pytest.mark.parametrize(
    ("data", "words", "clause"),
    [
        pytest.param(b"".join(data), words, clause, id=name)
        for name, data, words, clause in BAD_FILES
    ],
)
def test_a_file_that_is_no_trace_is_refused_with_its_line(
    data: bytes, words: str, clause: str | None
) -> None:
    error = refusal(data)
    assert str(error).startswith(f"trace: {words}"), str(error)
    assert error.clause == clause


def test_an_empty_file_a_folder_and_no_file_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    for path, words in (
        (empty, "expected a trace, got an empty file"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "none.jsonl", "cannot be read: No such file or directory"),
        (tmp_path / "a\0b", "cannot be read: embedded null byte"),
    ):
        with pytest.raises(TraceError) as caught:
            TraceReader(path)
        assert str(caught.value) == f"{path}: {words}"
        assert caught.value.line is None


@pytest.mark.parametrize("kept", [1, 2, 5, 11, 40, -12, -8, -1])
def test_a_compressed_trace_that_is_cut_off_is_refused(kept: int) -> None:
    data = gzip.compress(b"".join(GOOD))[:kept]
    error = refusal(data)
    assert error.line is not None
    if kept > 1:
        assert "the compressed file is cut off here" in str(error)


def test_a_compressed_trace_that_is_damaged_is_refused() -> None:
    data = bytearray(gzip.compress(b"".join(GOOD)))
    data[len(data) // 2] ^= 0xFF
    assert refusal(bytes(data)).line is not None
    assert "cannot be read further" in str(refusal(gzip.compress(GOOD[0]) + b"junk"))


def test_storage_that_fails_while_reading_is_reported_in_one_line() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(5, f"Input/output error in {size} bytes")
            return super().read(len(GOOD[0]))

    with TraceReader(Failing(b"".join(GOOD))) as reader, pytest.raises(TraceError) as caught:
        list(reader)
    assert "line 2: cannot be read further: " in str(caught.value)


def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """One thing done to the bytes or the lines of a file."""
    lines = data.splitlines(keepends=True) or [b""]
    one = draw(st.integers(0, len(lines) - 1))
    two = draw(st.integers(0, len(lines) - 1))
    place = draw(st.integers(0, max(len(data) - 1, 0)))
    how = draw(st.sampled_from(["delete", "double", "swap", "cut", "flip", "insert", "token"]))
    if how == "delete":
        del lines[one]
    elif how == "double":
        lines.insert(two, lines[one])
    elif how == "swap":
        lines[one], lines[two] = lines[two], lines[one]
    elif how == "cut":
        return data[:place]
    elif how == "flip" and data:
        bits = draw(st.integers(1, 255))
        return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]
    elif how == "insert":
        return data[:place] + draw(st.binary(max_size=4)) + data[place:]
    elif how == "token":
        old = draw(st.sampled_from([b"0", b"1", b"true", b'"a"', b"start", b"[", b"null"]))
        new = draw(
            st.sampled_from([b"-1", b"NaN", b"1e400", b"{}", b"null", b'"v"', b"", b"9" * 40])
        )
        return data.replace(old, new, draw(st.integers(1, 3)))
    return b"".join(lines)


@st.composite
def damaged_traces(draw: st.DrawFn) -> bytes:
    data = b"".join(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        data = mutations(draw, data)
    return data


@given(data=damaged_traces(), compressed=st.booleans(), cut=st.integers(0, 200))
def test_a_damaged_trace_is_read_or_refused_in_one_line(
    data: bytes, compressed: bool, cut: int
) -> None:
    if compressed:
        data = gzip.compress(data)[: -cut or None]
    try:
        header, run, footer = read_all(data)
    except TraceError as error:
        refused = str(error)
    else:
        # What is read to its end is whole: numbered without a gap, and counted.
        refused = ""
        assert isinstance(header, Header)
        assert [event.seq for event in run] == list(range(1, len(run) + 1))
        assert footer is not None
        assert footer.events == len(run)
        assert all(misfit(event) is None for event in run)
    assert "\n" not in refused
    assert len(refused) < 500


# The writer


def test_a_trace_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    partial = tmp_path / ("run.jsonl" + PARTIAL)
    path.write_text("the trace of an earlier run")
    writer = TraceWriter(path, HEADER)
    writer.add("start", 0.0, column="a", rows=0)
    assert path.read_text() == "the trace of an earlier run"
    assert partial.exists()
    footer = writer.close("inconclusive")
    assert not partial.exists()
    assert footer == Footer(True, 1, {"start": 1}, "inconclusive")
    with TraceReader(path) as reader:
        assert len(list(reader)) == 1
        assert reader.footer == footer
    assert writer.close() is footer


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.gz"])
def test_a_writer_that_is_abandoned_leaves_its_lines_under_another_name(
    tmp_path: Path, name: str
) -> None:
    writer = TraceWriter(tmp_path / name, HEADER)
    with contextlib.suppress(RuntimeError), writer:
        writer.write(SAMPLE[0])
        writer.write(SAMPLE[1])
        raise RuntimeError("the run failed")
    assert [path.name for path in tmp_path.iterdir()] == [name + PARTIAL]
    found: list[Event] = []
    cut_off = pytest.raises(TraceError, match=r"line 4: .* the trace is cut off")
    with TraceReader(tmp_path / (name + PARTIAL)) as reader, cut_off:
        found.extend(reader)
    assert found == SAMPLE[:2]
    with pytest.raises(TraceError, match="it is closed"):
        writer.add("crash", 1.0)
    writer.abandon()


def test_one_run_gives_one_sequence_of_bytes(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.gz"):
        first = written(tmp_path, SAMPLE, name).read_bytes()
        assert written(tmp_path, SAMPLE, name).read_bytes() == first


BAD_WRITES: list[tuple[dict[str, Any], str]] = [
    ({"t": float("nan")}, "t: expected float, got null"),
    ({"t": float("inf")}, "t: expected float, got null"),
    ({"t": -1.0}, "t: expected float >= 0.0; got -1.0"),
    ({"event": "begin"}, "event: expected one of start"),
    ({"rows": 2**70}, "rows: expected an integer from 0"),
    ({"rows": None}, "rows: expected either rows, of cells, or scope, of a barrier node"),
    ({"column": "\ud800"}, "expected values that JSON has, and text that UTF-8 has"),
    ({"column": object()}, "expected values that JSON has, and text that UTF-8 has"),
    ({"claim": {"a": 1}}, "claim: no such field in a start event"),
]


@pytest.mark.parametrize(("fields", "words"), BAD_WRITES, ids=[words for _, words in BAD_WRITES])
def test_an_event_that_no_reader_takes_is_not_written(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    path = tmp_path / "run.jsonl"
    with TraceWriter(path, HEADER) as writer:
        with pytest.raises(TraceError) as caught:
            writer.add(**{"event": "start", "t": 0.0, "column": "a", "rows": 0, **fields})
        assert str(caught.value).startswith(f"{path}: line 2: {words}"), str(caught.value)
        writer.add("start", 0.0, column="a", rows=0)
    with TraceReader(path) as reader:
        assert len(list(reader)) == 1


def test_a_writer_numbers_events_and_takes_no_other_number(tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "run.jsonl", HEADER) as writer:
        assert writer.add("start", 0.0, column="a", rows=0).seq == 1
        with pytest.raises(TraceError, match="line 3: seq: expected 2, got 3"):
            writer.write(SAMPLE[2])


def test_a_header_that_no_reader_takes_is_not_written(tmp_path: Path) -> None:
    header = header_for(GRAPH, engine="", version="1")
    with pytest.raises(TraceError, match=r"line 1: engine.name: expected str of length >= 1"):
        TraceWriter(tmp_path / "run.jsonl", header)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "none" / "run.jsonl", "No such file or directory"),
        (tmp_path, "it is a folder"),
    ):
        with pytest.raises(TraceError) as caught:
            TraceWriter(path, HEADER)
        assert str(caught.value) == f"{path}: cannot be written: {words}"


def test_a_full_disk_is_reported_in_one_line_and_leaves_the_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    writer = TraceWriter(tmp_path / "run.jsonl", HEADER)
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(TraceError, match="cannot be written: No space left on device"):
        writer.close()
    writer.abandon()
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl" + PARTIAL]


# Header, graph, limits


@given(given_case=limited_cases(max_columns=5, max_rows=6))
def test_a_graph_and_its_limits_come_back_from_the_header(given_case: tuple[Case, Limits]) -> None:
    case, limits = given_case
    graph = case.graph()
    header = header_for(graph, engine="suite", version="1", limits=limits)
    back = graph_of(header_from_json(json.loads(json.dumps(to_json(header)))))
    assert back.fingerprint == graph.fingerprint
    assert back.num_records == graph.num_records
    assert back.rules == graph.rules
    assert back.batch_size == graph.batch_size
    names = graph.column_names
    assert [back.get_column_descriptor(name) for name in names] == [
        graph.get_column_descriptor(name) for name in names
    ]
    assert limits_of(header) == limits
    assert failures_of(header) == FailurePolicy()


def test_a_header_holds_limits_and_policy_as_they_are() -> None:
    assert limits_of(HEADER) == Limits(3, {"x": 2}, {"c": "x"}, 2)
    assert failures_of(HEADER) == FailurePolicy(3, 10, 0.5)


BAD_MEANINGS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (
        lambda h: h["graph"]["columns"][2].update(needs=["b"]),
        "line 1: graph: column 'c' depends on unknown column 'b'; available names",
    ),
    (
        lambda h: h["graph"]["columns"][0].update(needs=["c"]),
        "line 1: graph: the columns form a cycle",
    ),
    (lambda h: h["graph"].update(batch_size=None), "line 1: graph: column 'v' is a barrier of bat"),
    (
        lambda h: h["graph"]["columns"][1].update(traits=["BARRIER", "BATCH_BARRIER"]),
        "line 1: graph: column 'v': traits BARRIER and BATCH_BARRIER exclude each other",
    ),
    (
        lambda h: h["graph"].update(columns=[*h["graph"]["columns"], {"name": "a"}]),
        "line 1: graph: name 'a' is produced twice",
    ),
    (
        lambda h: h["limits"].update(column_resource={"b": "x"}),
        "line 1: limits.column_resource.b: no such column",
    ),
    (
        lambda h: h["limits"].update(column_resource={"a": "y"}),
        "line 1: limits: column 'a' uses resource 'y', which has no limit",
    ),
    (
        lambda h: h["limits"].update(group_rows=None, groups=2),
        "line 1: limits: groups: needs group_rows",
    ),
]


@pytest.mark.clause("TRACE-02")
@pytest.mark.parametrize(
    ("change", "words"), BAD_MEANINGS, ids=[words for _, words in BAD_MEANINGS]
)
def test_a_header_whose_graph_or_limits_mean_nothing_is_refused(
    change: Callable[[dict[str, Any]], object], words: str
) -> None:
    value = to_json(HEADER)
    change(value)
    header = header_from_json(json.loads(json.dumps(value)))
    with pytest.raises(TraceError) as caught:
        limits_of(header) if "limits" in words else graph_of(header)
    assert str(caught.value).startswith(f"trace: {words}")
    assert caught.value.clause == "TRACE-02"
    assert isinstance(caught.value, SpecError)


# Event and action


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "request"])
def test_an_action_comes_back_from_its_event(kind: str) -> None:
    @given(event=events(kind=kind))
    def property_(event: Event) -> None:
        action = action_of(event, GRAPH)
        again = event_of(
            action,
            GRAPH,
            seq=event.seq,
            t=event.t,
            resource=event.resource,
            incarnation=event.incarnation,
            inferred=event.inferred,
        )
        assert action_of(again, GRAPH) == action
        assert misfit(again) is None
        one_row = isinstance(event.rows, tuple) and event.rows[1] == event.rows[0] + 1
        first = event.event == "start" and event.attempt == 1
        # What was counted at endpoints is no part of the action.
        event = replace(event, endpoints=None)
        assert again == (replace(event, attempt=None) if first else event) or one_row

    property_()


def test_an_event_gives_the_action_that_it_reports() -> None:
    claim = {"c": 1, "a": 3, "v": 2}
    for event, action in (
        # A start that leaves its number out is the first; an end is that of what is in flight.
        (Event(1, 0.0, "start", "a", 3), Action("start", "a", (3, 4), attempt=1)),
        (Event(1, 0.0, "start", "a", 3, attempt=1), Action("start", "a", (3, 4), attempt=1)),
        (Event(1, 0.0, "start", "a", (3, 5)), Action("start", "a", (3, 5), attempt=1)),
        (Event(1, 0.0, "complete", "a", 3), Action("complete", "a", (3, 4))),
        (Event(1, 0.0, "complete", "a", 3, attempt=1), Action("complete", "a", (3, 4), attempt=1)),
        (
            Event(1, 0.0, "start", "v", scope=1, attempt=2, reads=((4, 5), (5, 6))),
            Action("start", "v", scope=1, attempt=2, reads=((4, 6),)),
        ),
        (
            Event(1, 0.0, "fail", "c", 0, failure="retryable", until=9.0, reason="503"),
            Action("fail", "c", (0, 1), failure="retryable", until=9.0, reason="503"),
        ),
        (Event(1, 0.0, "durable", rows=(0, 2)), Action("durable", "", (0, 2))),
        (Event(1, 0.0, "admit", rows=(0, 2)), Action("admit", "", (0, 2))),
        (
            Event(1, 0.0, "resume", claim=claim, dropped=((0, 1),), skipped={"c": ((1, 2),)}),
            Action("resume", claim=(3, 2, 1), dropped=((0, 1),), skipped={"c": ((1, 2),)}),
        ),
        (Event(1, 0.0, "end", outcome="failed"), Action("end", outcome="failed")),
    ):
        assert action_of(event, GRAPH) == action


FOREIGN: list[tuple[Event, str]] = [
    (Event(4, 0.0, "start", "b", 0), "column: no such column: 'b'"),
    (Event(4, 0.0, "start", "extra", 0), "column: no such column: 'extra'"),
    (Event(4, 0.0, "start", "a", 6), "rows: expected rows below 6, got 6"),
    (Event(4, 0.0, "start", "a", (0, 7)), "rows: expected rows below 6, got 6"),
    (Event(4, 0.0, "admit", rows=(4, 8)), "rows: expected rows below 6, got 7"),
    (Event(4, 0.0, "start", "v", scope=2), "scope: 'v' has 2 barrier nodes, got number 2"),
    (Event(4, 0.0, "start", "a", scope=0), "scope: 'a' has 0 barrier nodes, got number 0"),
    (Event(4, 0.0, "start", "v", scope=1, reads=((4, 7),)), "reads: expected rows below 6"),
    (
        Event(4, 0.0, "checkpoint_begin", claim={"a": 1, "v": 1}),
        "claim.c: missing: a claim names every column",
    ),
    (
        Event(4, 0.0, "resume", claim={"a": 1, "v": 1, "c": 1, "d": 1}),
        "claim.d: no such column",
    ),
    (
        Event(4, 0.0, "resume", claim={"a": 1, "v": 1, "c": 1}, skipped={"d": ((0, 1),)}),
        "skipped.d: no such column",
    ),
]


@pytest.mark.clause("TRACE-02")
@pytest.mark.parametrize(("event", "words"), FOREIGN, ids=[words for _, words in FOREIGN])
def test_an_event_of_something_that_the_graph_does_not_have_is_refused(
    event: Event, words: str
) -> None:
    with pytest.raises(TraceError) as caught:
        action_of(event, GRAPH, "run.jsonl")
    assert str(caught.value) == f"run.jsonl: line 5: {words}"
    assert caught.value.clause == "TRACE-02"


# The page


def example() -> tuple[Header, list[dict[str, Any]]]:
    """The run that the page tells, made with the package."""
    graph = ExecutionGraph(
        2,
        [
            ColumnDescriptor("topic", traits=T.START),
            ColumnDescriptor("answer", traits=T.CELL_BY_CELL, dependencies=["topic"]),
            ColumnDescriptor("duplicate_of", traits=T.BARRIER, dependencies=["answer"]),
        ],
    )
    header = header_for(
        graph,
        engine="example",
        version="1",
        limits=Limits(2, {"model": 1}, {"answer": "model"}),
        failures=FailurePolicy(2),
        claims=("core", "retries", "drops"),
    )
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = blocks[0].splitlines()
    columns = [json.loads(line) for line in blocks[1].splitlines()]
    shown = json.loads(lines[0].replace("[…]", json.dumps(columns)))
    shown["clauses"] = header.clauses
    assert shown == json.loads(json.dumps(to_json(header)))
    return header, [json.loads(line) for line in lines[1:]]


def test_the_example_of_the_page_is_a_trace_as_it_is_written(tmp_path: Path) -> None:
    header, lines = example()
    path = tmp_path / "run.jsonl"
    with TraceWriter(path, header) as writer:
        for line in lines[:-1]:
            writer.write(event_from_json(line))
    block = PAGE.read_text(encoding="utf-8").partition("```json\n")[2].partition("```")[0]
    assert path.read_text(encoding="utf-8").splitlines()[1:] == block.splitlines()[1:]
    assert all(fits_schema(line) for line in lines)


def test_the_run_of_the_page_is_right(tmp_path: Path) -> None:
    header, lines = example()
    with TraceWriter(tmp_path / "run.jsonl", header) as writer:
        for line in lines[:-1]:
            writer.write(event_from_json(line))
    result = check_file(tmp_path / "run.jsonl")
    assert not result.violations, result.violations
    assert result.ended


def test_the_page_names_every_kind_with_the_fields_that_it_holds() -> None:
    rows = re.findall(
        r"^\| `(\w+)` +\|(.*)\|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [kind for kind, *_ in rows] == list(KINDS)
    for kind, needs, may in rows:
        shape = KINDS[kind]
        node = ["rows", "scope"] if shape.node else []
        needed = [*shape.needs[:1], *node, *shape.needs[1:]] if node else list(shape.needs)
        assert re.findall(r"`(\w+)`", needs) == needed, kind
        assert re.findall(r"`(\w+)`", may) == list(shape.may), kind
