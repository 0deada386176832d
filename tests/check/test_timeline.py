"""The picture of a run: slices without overlap on a track, and counters that are right."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits
from cellspec.check.timeline import ChromeWriter, export_chrome
from cellspec.machine.machine import FailurePolicy
from cellspec.trace import PARTIAL, Event, Header, TraceError, header_for
from tests.traces import EVERYTHING_LIMITS, Dice, everything, toy_run, write_trace

T = ExecutionTraits
GRAPH = ExecutionGraph(
    3,
    [
        ColumnDescriptor("a", traits=T.START | T.ROW_STREAMABLE),
        ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]),
        ColumnDescriptor("c", dependencies=["v"]),
    ],
)
LIMITS = Limits(resources={"gpu": 2}, column_resource={"c": "gpu"})
HEADER = header_for(GRAPH, engine="suite", version="1", limits=LIMITS)

Picture = list[dict[str, Any]]


def picture(header: Header, events: list[Event]) -> Picture:
    found: Picture = []
    writer = ChromeWriter(header, found.append)
    for event in events:
        writer.add(event)
    writer.close()
    return found


def numbered(*events: tuple[Any, ...], **common: Any) -> list[Event]:
    """Events from (t, kind, column, rows, scope), numbered."""
    return [Event(seq, *fields, **common) for seq, fields in enumerate(events, 1)]


def of_phase(found: Picture, phase: str) -> Picture:
    return [event for event in found if event["ph"] == phase]


def slices_by_track(found: Picture) -> dict[tuple[int, int], list[tuple[int, int]]]:
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for event in of_phase(found, "X"):
        tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    return tracks


def check_format(found: Picture) -> None:
    """The rules of the trace event format for each event."""
    needs = {
        "M": {"name", "pid", "tid", "args"},
        "X": {"name", "cat", "pid", "tid", "ts", "dur", "args"},
        "i": {"name", "cat", "pid", "tid", "ts", "s", "args"},
        "C": {"name", "pid", "ts", "args"},
    }
    named = {(e["pid"], e["tid"]) for e in of_phase(found, "M") if e["name"] == "thread_name"}
    processes = {e["pid"] for e in of_phase(found, "M") if e["name"] == "process_name"}
    for event in found:
        assert set(event) == needs[event["ph"]] | {"ph"}, event
        assert event["pid"] in processes
        if event["ph"] in ("X", "i"):
            assert (event["pid"], event["tid"]) in named, event
            assert type(event["ts"]) is int
            assert event["ts"] >= 0
        if event["ph"] == "X":
            assert type(event["dur"]) is int
            assert event["dur"] >= 0
        if event["ph"] == "i":
            assert event["s"] in ("g", "p", "t")
        if event["ph"] == "C":
            assert all(type(value) is int and value >= 0 for value in event["args"].values())


runs = st.builds(
    toy_run,
    st.builds(everything, st.integers(1, 9)),
    st.sampled_from(
        [
            EVERYTHING_LIMITS,
            Limits(),
            Limits(workers=2, group_rows=2),
            Limits(resources={"gpu": 1}, column_resource={"seed": "gpu", "last": "gpu"}),
        ]
    ),
    st.builds(FailurePolicy, st.integers(1, 3)),
    seed=st.integers(0, 10**6),
    dice=st.sampled_from([Dice(), Dice(fail=0.5), Dice(crash=0.2, crashes=3)]),
)


@given(run=runs)
def test_slices_of_one_track_never_overlap(run: tuple[Header, list[Event]]) -> None:
    found = picture(*run)
    check_format(found)
    for track, spans in slices_by_track(found).items():
        spans.sort()
        for (_, stop), (start, _) in pairwise(spans):
            assert stop <= start, track


@given(run=runs)
def test_every_call_is_a_slice_and_shows_how_it_ended(run: tuple[Header, list[Event]]) -> None:
    header, events = run
    found = picture(header, events)
    starts = Counter(event.seq for event in events if event.event == "start")
    calls = [event for event in of_phase(found, "X") if event["pid"] > 0]
    assert Counter(event["args"]["seq"] for event in calls) == starts
    ended = Counter(event["args"]["ended"] for event in calls)
    counts = Counter(event.event for event in events)
    assert ended["fail"] == counts["fail"]
    assert ended["cancel"] == counts["cancel"]
    assert ended["the trace ends"] == 0 or counts["end"] == 1
    fails = [event for event in of_phase(found, "i") if event["cat"] == "fail"]
    assert len(fails) == counts["fail"]


@given(run=runs)
def test_no_more_tracks_than_the_limit_and_no_gap_in_their_numbers(
    run: tuple[Header, list[Event]],
) -> None:
    header, events = run
    found = picture(header, events)
    slots: dict[int, set[int]] = defaultdict(set)
    for pid, tid in slices_by_track(found):
        slots[pid].add(tid)
    for pid, (name, limit) in enumerate(header.limits.resources.items(), 1):
        assert slots[pid] == set(range(1, len(slots[pid]) + 1)), name
        assert len(slots[pid]) <= limit


@given(run=runs)
def test_counters_end_at_the_values_of_the_run(run: tuple[Header, list[Event]]) -> None:
    header, events = run
    found = picture(header, events)
    rows = [event["args"] for event in of_phase(found, "C") if event["name"] == "rows"]
    if events[-1].outcome == "success":
        assert rows[-1]["complete"] + rows[-1]["dropped"] == header.graph.rows
        assert rows[-1]["in progress"] == 0
    assert all(sum(one.values()) <= header.graph.rows for one in rows)
    last: dict[int, int] = {}
    for event in of_phase(found, "C"):
        if event["name"] == "in flight":
            last[event["pid"]] = event["args"]["calls"]
    assert set(last.values()) <= {0}


def test_a_call_takes_the_lowest_free_slot_of_its_resource() -> None:
    found = picture(
        HEADER,
        numbered(
            (0.0, "start", "c", 0),
            (0.0, "start", "c", 1),
            (1.0, "complete", "c", 0),
            (1.0, "start", "c", 2),
            (2.5, "complete", "c", 1),
            (3.0, "complete", "c", 2),
        ),
    )
    spans = {e["name"]: (e["pid"], e["tid"], e["ts"], e["dur"]) for e in of_phase(found, "X")}
    assert spans == {
        "c[0]": (1, 1, 0, 1_000_000),
        "c[1]": (1, 2, 0, 2_500_000),
        "c[2]": (1, 1, 1_000_000, 2_000_000),
    }
    names = {e["args"]["name"] for e in of_phase(found, "M") if "name" in e["args"]}
    assert names == {"suite 1", "events", "storage", "gpu", "no resource", "slot 1", "slot 2"}


def test_a_range_is_one_slice_until_it_has_given_all_its_rows() -> None:
    found = picture(
        HEADER,
        numbered(
            (0.0, "start", "a", (0, 3)),
            (1.0, "complete", "a", 1),
            (2.0, "complete", "a", (0, 1)),
            (4.0, "complete", "a", 2),
        ),
    )
    assert [(e["name"], e["dur"]) for e in of_phase(found, "X")] == [("a[0:3]", 4_000_000)]


def test_a_range_of_a_column_that_does_not_stream_is_a_slice_for_each_cell() -> None:
    found = picture(HEADER, numbered((0.0, "start", "c", (0, 2)), (1.0, "complete", "c", (0, 2))))
    assert [(e["name"], e["tid"]) for e in of_phase(found, "X")] == [("c[0]", 1), ("c[1]", 2)]


def test_a_checkpoint_is_a_slice_on_the_track_of_storage() -> None:
    claim = {"a": 0, "v": 0, "c": 0}
    found = picture(
        HEADER,
        [
            Event(1, 1.0, "checkpoint_begin", claim=claim),
            Event(2, 1.5, "checkpoint_durable"),
            Event(3, 2.0, "checkpoint_begin", claim=claim),
            Event(4, 2.25, "checkpoint_failed", reason="no space"),
            Event(5, 3.0, "checkpoint_begin", claim=claim),
            Event(6, 4.0, "crash"),
        ],
    )
    spans = [(e["ts"], e["dur"], e["args"]["ended"]) for e in of_phase(found, "X")]
    assert spans == [
        (1_000_000, 500_000, "durable"),
        (2_000_000, 250_000, "failed"),
        (3_000_000, 1_000_000, "crash"),
    ]
    assert {(e["pid"], e["tid"]) for e in of_phase(found, "X")} == {(0, 1)}


def test_a_crash_ends_every_slice_and_a_clock_that_starts_anew_goes_on() -> None:
    found = picture(
        HEADER,
        [
            Event(1, 5.0, "start", "a", 0),
            Event(2, 7.0, "crash"),
            Event(3, 0.0, "resume", claim={"a": 0, "v": 0, "c": 0}),
            Event(4, 1.0, "start", "a", 0),
            Event(5, 2.0, "complete", "a", 0),
        ],
    )
    spans = [(e["ts"], e["dur"], e["args"]["ended"]) for e in of_phase(found, "X")]
    assert spans == [(5_000_000, 2_000_000, "crash"), (8_000_000, 1_000_000, "complete")]
    moments = [(e["name"], e["ts"], e["s"]) for e in of_phase(found, "i")]
    assert moments == [("crash", 7_000_000, "g"), ("resume", 7_000_000, "g")]


def test_events_that_make_no_sense_are_shown_all_the_same() -> None:
    found = picture(
        HEADER,
        numbered(
            (1.0, "complete", "c", 0),
            (2.0, "start", "c", 1),
            (3.0, "start", "c", 1),
            (1.0, "complete", "c", 1),
            (4.0, "checkpoint_durable"),
        ),
    )
    check_format(found)
    assert [e["args"]["ended"] for e in of_phase(found, "X")] == ["started again", "complete"]
    assert [e["name"] for e in of_phase(found, "i")] == ["complete c[0]", "checkpoint_durable"]


def test_rows_that_were_claimed_count_as_complete_after_a_resume() -> None:
    found = picture(
        HEADER,
        [
            Event(1, 0.0, "crash"),
            Event(2, 0.0, "resume", claim={"a": 3, "v": 2, "c": 1}),
            Event(3, 1.0, "start", "c", 1),
            Event(4, 2.0, "complete", "c", 1),
        ],
    )
    rows = [(e["ts"], e["args"]["complete"]) for e in of_phase(found, "C") if e["name"] == "rows"]
    assert rows == [(0, 0), (0, 1), (1_000_000, 1), (2_000_000, 2)]


def test_a_row_that_its_last_answer_rejects_is_dropped_and_not_complete() -> None:
    found = picture(
        HEADER,
        [
            Event(1, 0.0, "crash"),
            Event(2, 0.0, "resume", claim={"a": 3, "v": 3, "c": 1}),
            Event(3, 1.0, "start", "c", 1),
            Event(4, 2.0, "complete", "c", 1, rejected=((1, 2),)),
            Event(5, 2.0, "drop", "c", 1, cause="filtered"),
        ],
    )
    rows = [e["args"] for e in of_phase(found, "C") if e["name"] == "rows"]
    assert rows[-1] == {"complete": 1, "dropped": 1, "in progress": 0}


def test_a_row_is_in_progress_from_the_first_start_that_takes_a_resource_to_its_end() -> None:
    found = picture(
        HEADER,
        [
            Event(1, 0.0, "start", "a", (0, 3)),
            Event(2, 1.0, "complete", "a", (0, 3)),
            Event(3, 1.0, "start", "v", scope=0, reads=((0, 3),)),
            Event(4, 2.0, "complete", "v", scope=0),
            Event(5, 2.0, "emit", "v", (0, 3)),
            Event(6, 2.0, "start", "c", 0),
            Event(7, 3.0, "start", "c", 1),
            Event(8, 4.0, "complete", "c", 0),
            Event(9, 5.0, "drop", "c", 1),
            Event(10, 6.0, "start", "c", 2),
            Event(11, 7.0, "crash"),
            Event(12, 7.0, "resume", claim={"a": 3, "v": 3, "c": 1}),
            Event(13, 8.0, "start", "c", 1),
        ],
    )
    counted = [e for e in of_phase(found, "C") if e["name"] == "rows"]
    progress = [(e["ts"] // 1_000_000, e["args"]["in progress"]) for e in counted]
    assert progress == [(0, 0), (2, 1), (3, 2), (4, 1), (5, 0), (6, 1), (7, 0), (8, 1)]
    columns = {e["args"]["column"] for e in of_phase(found, "X")}
    assert columns == {"a", "v", "c"}


def rows_counted(found: Picture) -> list[tuple[int, int, int, int]]:
    """The counter of rows: at which second how many are complete, dropped and in progress."""
    counted = [e for e in of_phase(found, "C") if e["name"] == "rows"]
    return [(e["ts"] // 1_000_000, *e["args"].values()) for e in counted]


ONE_COLUMN = header_for(ExecutionGraph(3, [ColumnDescriptor("a")]), engine="suite", version="1")


def test_a_cell_that_a_cache_gives_is_there_without_a_call() -> None:
    found = picture(
        ONE_COLUMN,
        numbered((1.0, "recall", "a", (0, 2)), (2.0, "recall", "a", 2), (3.0, "end")),
    )
    assert rows_counted(found) == [(0, 0, 0, 0), (1, 2, 0, 0), (2, 3, 0, 0)]
    assert not of_phase(found, "X")
    assert [e["name"] for e in of_phase(found, "i")] == ["recall a[0:2]", "recall a[2]", "end"]
    # The output of a barrier is given after the recall, as after a run.
    found = picture(HEADER, numbered((1.0, "recall", "v", None, 0)))
    assert rows_counted(found) == [(0, 0, 0, 0)]


def test_a_call_that_is_taken_back_ends_there() -> None:
    found = picture(
        HEADER,
        numbered(
            (0.0, "start", "c", 0),
            (0.0, "start", "v", None, 0),
            (0.0, "start", "a", (0, 3)),
            (1.0, "take_back", "c", 0),
            (2.0, "take_back", "v", None, 0),
            (3.0, "take_back", "a", 1),
            (4.0, "start", "c", 0),
            (5.0, "complete", "c", 0),
        ),
    )
    spans = [(e["name"], e["ts"], e["dur"], e["args"]["ended"]) for e in of_phase(found, "X")]
    assert spans == [
        ("c[0]", 0, 1_000_000, "take_back"),
        ("barrier 0 of 'v'", 0, 2_000_000, "take_back"),
        ("a[0:3]", 0, 3_000_000, "take_back"),
        ("c[0]", 4_000_000, 1_000_000, "complete"),
    ]
    assert not of_phase(found, "i")


def test_a_row_is_open_again_when_a_worker_was_lost_with_a_cell_of_it() -> None:
    found = picture(
        ONE_COLUMN,
        numbered(
            (0.0, "start", "a", (0, 3)),
            (1.0, "complete", "a", (0, 3)),
            (1.0, "drop", "a", 2),
            (2.0, "worker_lost"),
            (2.0, "lose", "a", (1, 3)),
            (3.0, "start", "a", 1),
            (4.0, "complete", "a", 1),
        ),
    )
    assert rows_counted(found) == [
        *((0, 0, 0, 0), (0, 0, 0, 3), (1, 2, 1, 0)),
        *((2, 1, 1, 0), (3, 1, 1, 1), (4, 2, 1, 0)),
    ]


def test_a_row_that_loses_a_cell_needs_it_again_to_be_complete() -> None:
    columns = [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])]
    found = picture(
        header_for(ExecutionGraph(1, columns), engine="suite", version="1"),
        numbered(
            *((0.0, "start", "a", 0), (1.0, "complete", "a", 0), (1.0, "start", "b", 0)),
            *((2.0, "worker_lost"), (2.0, "lose", "a", 0), (3.0, "complete", "b", 0)),
            *((4.0, "start", "a", 0), (5.0, "complete", "a", 0)),
        ),
    )
    assert rows_counted(found) == [(0, 0, 0, 0), (0, 0, 0, 1), (5, 1, 0, 0)]


# The file


def test_the_file_is_json_that_holds_the_picture(tmp_path: Path) -> None:
    header, events = toy_run(everything(), EVERYTHING_LIMITS, FailurePolicy(2), seed=3)
    trace = write_trace(tmp_path / "run.jsonl.gz", header, events)
    assert export_chrome(trace, tmp_path / "run.json") == ""
    read = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert list(read) == ["displayTimeUnit", "traceEvents"]
    assert read["traceEvents"] == json.loads(json.dumps(picture(header, events)))
    check_format(read["traceEvents"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.jsonl.gz"]


def test_a_trace_that_is_cut_off_gives_a_picture_up_to_there(tmp_path: Path) -> None:
    header, events = toy_run(everything(), EVERYTHING_LIMITS, seed=1)
    trace = write_trace(tmp_path / "run.jsonl", header, events)
    lines = trace.read_bytes().splitlines(keepends=True)
    trace.write_bytes(b"".join(lines[:20]))
    unread = export_chrome(trace, tmp_path / "run.json")
    assert unread == (
        f"{trace}: line 21: expected event 20 or the footer, but the file ends: the trace is cut "
        "off"
    )
    found = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["traceEvents"]
    check_format(found)
    assert "the trace cannot be read further" in {e["cat"] for e in of_phase(found, "X")}


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (numbered((0.0, "start", "b", 0)), "line 2: column: no such column: 'b'"),
        (numbered((0.0, "start", "a", 3)), "line 2: rows: expected rows below 3, got 3"),
        ([Event(1, 0.0, "checkpoint_begin", claim={"b": 1})], "line 2: claim.b: no such column"),
        (
            [Event(1, 0.0, "resume", claim={"a": 0, "v": 0, "c": 0}, dropped=((0, 2**50),))],
            f"line 2: dropped: expected rows below 3, got {2**50 - 1}",
        ),
    ],
)
def test_an_event_of_another_graph_ends_the_picture(
    tmp_path: Path, events: list[Event], words: str
) -> None:
    trace = write_trace(tmp_path / "run.jsonl", HEADER, events)
    assert export_chrome(trace, tmp_path / "run.json") == f"{trace}: {words}"
    json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))


def test_a_picture_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "run.jsonl", HEADER, [])
    for output, words in (
        (tmp_path / "none" / "run.json", "No such file or directory"),
        (tmp_path, "it is a folder"),
        (trace, "it is the trace itself"),
    ):
        with pytest.raises(TraceError) as caught:
            export_chrome(trace, output)
        assert str(caught.value) == f"{output}: cannot be written: {words}"
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]
    assert not list(tmp_path.parent.glob(f"*{PARTIAL}"))


def test_no_trace_gives_no_picture(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="expected a trace, got an empty file"):
        export_chrome("/dev/null", tmp_path / "run.json")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_too_large_to_follow_is_refused(tmp_path: Path) -> None:
    huge = ExecutionGraph(2**50, [ColumnDescriptor("a")])
    header = header_for(huge, engine="suite", version="1")
    trace = write_trace(tmp_path / "run.jsonl", header, [])
    with pytest.raises(TraceError, match=r"line 1: graph.rows: .* MiB may be used"):
        export_chrome(trace, tmp_path / "run.json")
    resume = [
        Event(1, 0.0, "crash"),
        Event(2, 0.0, "resume", claim={"a": 0, "v": 0, "c": 0}, records=2**50),
    ]
    trace = write_trace(tmp_path / "run.jsonl", HEADER, resume)
    assert "line 3: records: " in export_chrome(trace, tmp_path / "run.json")
