"""The picture of a run: slices without overlap on a track, and counters that are right."""

from __future__ import annotations

import json
import re
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
from cellspec.trace.format import RequestStep
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
    barrier = ExecutionGraph(1, [ColumnDescriptor("v", traits=T.BARRIER)])
    found = picture(
        header_for(barrier, engine="suite", version="1"),
        numbered((1.0, "recall", "v", None, 0), (2.0, "emit", "v", 0)),
    )
    assert rows_counted(found) == [(0, 0, 0, 0), (2, 1, 0, 0)]


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


PAIR = header_for(
    ExecutionGraph(
        6,
        [
            ColumnDescriptor("r", traits=T.ROW_STREAMABLE),
            ColumnDescriptor("q", traits=T.ROW_STREAMABLE),
            ColumnDescriptor("c"),
        ],
    ),
    engine="suite",
    version="1",
    limits=Limits(resources={"x": 9, "y": 9}, column_resource={"r": "x", "q": "y"}),
)
"""Two columns that stream, each on a resource of its own, and one without."""


def ends(found: Picture) -> list[tuple[str, int, str]]:
    """Each slice: its name, the second in which it ends, and how."""
    return [
        (e["name"], (e["ts"] + e["dur"]) // 1_000_000, e["args"]["ended"])
        for e in of_phase(found, "X")
    ]


def test_the_rows_of_a_range_end_its_one_slice_and_nothing_else() -> None:
    found = picture(
        PAIR,
        [
            Event(1, 0.0, "start", "r", (0, 3)),
            Event(2, 0.0, "start", "r", (3, 6)),
            Event(3, 1.0, "complete", "r", (0, 1)),
            Event(4, 2.0, "fail", "r", (2, 3), failure="permanent"),
            Event(5, 3.0, "cancel", "r", 3),
            Event(6, 4.0, "complete", "r", (5, 6)),
            Event(7, 5.0, "start", "r", (3, 6)),
            Event(8, 6.0, "complete", "r", (3, 5)),
            Event(9, 7.0, "complete", "r", 5),
        ],
    )
    assert ends(found) == [
        ("r[0:3]", 2, "fail"),
        ("r[3:6]", 3, "cancel"),
        ("r[3:6]", 7, "complete"),
    ]
    shown = [e["name"] for e in of_phase(found, "i")]
    assert shown == ["permanent failure", "complete r[5]"]


def test_an_event_may_end_several_ranges_and_cells() -> None:
    found = picture(
        PAIR,
        numbered(
            *((0.0, "start", "r", rows) for rows in ((0, 2), (2, 5), 5)),
            (1.0, "complete", "r", (1, 6)),
            (2.0, "complete", "r", 0),
        ),
    )
    assert ends(found) == [
        ("r[2:5]", 1, "complete"),
        ("r[5]", 1, "complete"),
        ("r[0:2]", 2, "complete"),
    ]
    assert not of_phase(found, "i")


def test_a_crash_ends_all_ranges_of_all_columns_once() -> None:
    found = picture(
        PAIR,
        [
            *numbered(
                (0.0, "start", "r", (0, 2)),
                (0.0, "start", "r", (2, 4)),
                (0.0, "start", "q", (0, 3)),
                (0.0, "start", "c", 0),
                (1.0, "crash"),
            ),
            Event(6, 1.0, "resume", claim={}),
            Event(7, 2.0, "complete", "r", (0, 2)),
        ],
    )
    names = ["c[0]", "r[0:2]", "r[2:4]", "q[0:3]"]
    assert ends(found) == [(name, 1, "crash") for name in names]


def test_calls_that_end_together_are_counted_together() -> None:
    found = picture(
        PAIR,
        numbered(
            (0.0, "start", "r", 0),
            (0.0, "start", "q", 0),
            (0.0, "start", "c", (0, 2)),
            (1.0, "complete", "c", (0, 2)),
            (2.0, "complete", "r", 0),
            (2.0, "complete", "q", 0),
        ),
    )
    calls = [
        (e["ts"] // 1_000_000, e["pid"], e["args"]["calls"])
        for e in of_phase(found, "C")
        if e["name"] == "in flight"
    ]
    assert calls == [(0, 1, 1), (0, 2, 1), (0, 3, 2), (1, 3, 0), (2, 1, 0), (2, 2, 0)]
    done = [("c[0]", 1), ("c[1]", 1), ("r[0]", 2), ("q[0]", 2)]
    assert ends(found) == [(name, second, "complete") for name, second in done]


def test_a_cell_of_a_column_that_streams_is_called_as_any_other() -> None:
    """So a second call of it ends the first one, and a range, which is a call of many rows, not."""
    found = picture(
        PAIR,
        numbered(
            (0.0, "start", "r", 0),
            (1.0, "start", "r", (0, 1)),
            (2.0, "complete", "r", 0),
            (3.0, "start", "r", (0, 2)),
            (4.0, "complete", "r", (0, 2)),
        ),
    )
    assert ends(found) == [
        ("r[0]", 1, "started again"),
        ("r[0]", 2, "complete"),
        ("r[0:2]", 4, "complete"),
    ]


def test_a_clock_that_falls_behind_goes_on_from_where_it_was() -> None:
    found = picture(
        PAIR,
        [
            Event(1, 7.0, "crash"),
            Event(2, 2.0, "resume", claim={}),
            Event(3, 4.0, "stop"),
            Event(4, 1.0, "crash"),
            Event(5, 1.5, "end"),
        ],
    )
    moments = [e["ts"] / 1e6 for e in of_phase(found, "i")]
    assert moments == [7, 7, 9, 9, 9.5]


def test_a_slice_shows_what_its_events_say_of_the_call() -> None:
    reads = ((0, 1), (2, 3))
    found = picture(
        HEADER,
        [
            Event(1, 0.0, "start", "v", scope=0, reads=reads),
            Event(2, 0.0, "start", "c", 0),
            Event(3, 0.0, "start", "c", 1, attempt=2),
            Event(4, 1.0, "fail", "c", 0, failure="retryable", until=2.5, reason="busy"),
            Event(5, 2.0, "cancel", "c", 1, reason="not wanted"),
            Event(6, 3.0, "checkpoint_begin", claim={"a": 1}),
            Event(7, 3.0, "checkpoint_failed"),
            Event(8, 4.0, "checkpoint_begin", claim={"a": 1}),
            Event(9, 5.0, "checkpoint_begin", claim={"a": ((1, 3),)}),
            Event(10, 6.0, "checkpoint_failed", reason="full"),
            Event(11, 7.0, "resume", claim={}),
        ],
    )
    failure = {"failure": "retryable", "until": 2.5, "reason": "busy"}
    assert [(e["name"], e["args"]) for e in of_phase(found, "X")] == [
        ("c[0]", {"seq": 2, "column": "c", "attempt": 1, "ended": "fail", **failure}),
        (
            "c[1]",
            {"seq": 3, "column": "c", "attempt": 2, "ended": "cancel", "reason": "not wanted"},
        ),
        ("checkpoint", {"seq": 6, "claim": {"a": 1}, "ended": "failed"}),
        ("checkpoint", {"seq": 8, "claim": {"a": 1}, "ended": "begun again"}),
        (
            "checkpoint",
            {"seq": 9, "claim": {"a": ((1, 3),)}, "ended": "failed", "reason": "full"},
        ),
        (
            "barrier 0 of 'v'",
            {
                **{"seq": 1, "column": "v", "attempt": 1},
                **{"reads": [[0, 1], [2, 3]], "ended": "resume"},
            },
        ),
    ]
    (failed, resumed) = of_phase(found, "i")
    assert (failed["name"], failed["args"]) == ("retryable failure", {"seq": 4, **failure})
    assert resumed["name"] == "resume"


def test_each_event_that_is_no_call_is_an_instant_on_the_track_of_its_kind() -> None:
    found = picture(
        HEADER,
        [
            Event(1, 0.0, "admit", rows=(0, 2)),
            Event(2, 0.0, "skip", "a", 0),
            Event(3, 0.0, "emit", "v", (0, 2)),
            Event(4, 0.0, "recall", "a", 1),
            Event(5, 0.0, "drop", "a", 2, reason="odd"),
            Event(6, 0.0, "lose", "v", scope=0),
            Event(7, 0.0, "durable", rows=(0, 2)),
            Event(8, 0.0, "commit_begin", "a", 0, commit=3),
            Event(9, 0.0, "committed", commit=3),
            Event(10, 0.0, "pause", until=3.0),
            Event(11, 0.0, "request", "a", 0, request=RequestStep("sent")),
            Event(12, 0.0, "crash", reason="lightning"),
            Event(13, 0.0, "resume", claim={"a": 1}, records=2, incarnation=1),
            Event(14, 0.0, "end", outcome="failed"),
        ],
    )
    events, storage = 0, 1
    assert [(e["name"], e["tid"], e["s"], e["args"]) for e in of_phase(found, "i")] == [
        ("admit rows[0:2]", events, "t", {"seq": 1}),
        ("skip a[0]", events, "t", {"seq": 2}),
        ("emit v[0:2]", events, "t", {"seq": 3}),
        ("recall a[1]", events, "t", {"seq": 4}),
        ("drop a[2]", events, "t", {"seq": 5, "reason": "odd"}),
        ("lose barrier 0 of 'v'", events, "t", {"seq": 6}),
        ("durable rows[0:2]", storage, "t", {"seq": 7}),
        ("commit_begin a[0]", storage, "t", {"seq": 8, "commit": 3}),
        ("committed", storage, "t", {"seq": 9, "commit": 3}),
        ("pause", events, "t", {"seq": 10}),
        ("request a[0]", events, "t", {"seq": 11, "step": "sent"}),
        ("crash", events, "g", {"seq": 12, "reason": "lightning"}),
        ("resume", events, "g", {"seq": 13, "claim": {"a": 1}, "records": 2, "incarnation": 1}),
        ("end", events, "g", {"seq": 14, "outcome": "failed"}),
    ]


def test_processes_and_tracks_have_their_names_and_their_order() -> None:
    found = of_phase(picture(PAIR, []), "M")
    names = [(e["name"], e["pid"], e["tid"], *e["args"].values()) for e in found]
    processes = ["suite 1", "x", "y", "no resource"]
    assert names == [
        ("process_name", 0, 0, "suite 1"),
        ("thread_name", 0, 0, "events"),
        ("thread_name", 0, 1, "storage"),
        *(("process_name", pid, 0, processes[pid]) for pid in (1, 2, 3)),
        *(("process_sort_index", pid, 0, pid) for pid in range(4)),
    ]


# Rows after a resume


def after(claim: dict[str, Any], *events: Event, **resume: Any) -> tuple[int, ...]:
    """Rows that are complete, dropped and in progress after a crash, a resume and some events.

    The graph has three rows of one column.
    """
    begun = [Event(1, 0.0, "crash"), Event(2, 0.0, "resume", claim=claim, **resume)]
    return rows_counted(picture(ONE_COLUMN, [*begun, *events]))[-1][1:]


def test_a_claim_tells_which_rows_are_complete_after_a_resume() -> None:
    assert after({}) == (0, 0, 0)
    assert after({"a": 2}) == (2, 0, 0)
    assert after({"a": ((1, 3),)}) == (2, 0, 0)
    # Rows that are dropped count as that alone, and those that nothing is kept of as neither.
    assert after({"a": 3}, dropped=((0, 2),)) == (1, 2, 0)
    assert after({"a": ((2, 3),)}, dropped=((0, 1), (2, 3))) == (0, 1, 0)
    # A resume with fewer rows forgets the others.
    assert after({"a": 2}, dropped=((1, 3),), records=2) == (1, 1, 0)
    assert after({"a": 3}, dropped=((1, 3),), records=2)[1] == 1
    # What is claimed is not lost with a worker; a trace that says so is drawn as it is.
    assert after({"a": 3}, Event(3, 1.0, "lose", "a", (1, 3))) == (1, 0, 0)


def test_only_a_row_with_something_to_make_is_in_progress_and_once() -> None:
    assert after({"a": 1}, Event(3, 1.0, "start", "a", 0)) == (1, 0, 0)
    again = [Event(seq, seq, "start", "a", 1) for seq in (3, 4)]
    assert after({"a": 1}, *again) == (1, 0, 1)
    assert after({"a": 1}, *again, Event(5, 5.0, "complete", "a", 1)) == (2, 0, 0)
    assert after({"a": 1}, Event(3, 3.0, "start", "a", (1, 3))) == (1, 0, 2)


def test_a_row_that_is_dropped_again_counts_once() -> None:
    drops = [Event(seq, 1.0, "drop", "a", (0, 2)) for seq in (3, 4)]
    assert after({"a": 1}, *drops) == (0, 2, 0)
    assert after({"a": 3}, *drops) == (1, 2, 0)


@pytest.mark.parametrize(
    ("between", "kept"),
    [
        (Event(3, 0.0, "commit_begin", "a", 2), 1),
        (Event(3, 0.0, "checkpoint_begin", claim={"a": 0}), 1),
        (Event(3, 0.0, "committed"), 0),
        (Event(3, 0.0, "commit_failed"), 0),
        (Event(3, 0.0, "durable", "a", 2), 0),
    ],
)
def test_drops_before_a_claim_was_begun_stay_though_a_resume_does_not_list_them(
    between: Event, kept: int
) -> None:
    """Which rows are dropped is kept with the claim, so later drops are gone with the process."""
    events = [
        Event(1, 0.0, "drop", "a", 0),
        between,
        Event(4, 0.0, "drop", "a", 1),
        Event(5, 0.0, "committed"),
        Event(6, 0.0, "crash"),
        Event(7, 0.0, "resume", claim={"a": 3}),
    ]
    assert rows_counted(picture(ONE_COLUMN, events))[-1][1:] == (3 - kept, kept, 0)


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
        (numbered((0.0, "drop", "a", (2, 4))), "line 2: rows: expected rows below 3, got 3"),
        ([Event(1, 0.0, "checkpoint_begin", claim={"b": 1})], "line 2: claim.b: no such column"),
        (
            [Event(1, 0.0, "checkpoint_begin", claim={"a": 1, "b": 1})],
            "line 2: claim.b: no such column",
        ),
        (
            [Event(1, 0.0, "resume", claim={}, dropped=((0, 1), (2, 4)))],
            "line 2: dropped: expected rows below 3, got 3",
        ),
        (
            [Event(1, 0.0, "resume", claim={}, dropped=((2, 5),), records=4)],
            "line 2: dropped: expected rows below 4, got 4",
        ),
        (
            [Event(1, 0.0, "resume", claim={}, dropped=((2, 4),), records=2)],
            "line 2: dropped: expected rows below 3, got 3",
        ),
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
        # Python 3.13 finds it another way.
        (tmp_path / "a\0b", "(stat: )?embedded null (byte|character in path)"),
    ):
        line = f"{re.escape(str(output))}: cannot be written: {words}$"
        with pytest.raises(TraceError, match=line):
            export_chrome(trace, output)
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]
    assert not list(tmp_path.parent.glob(f"*{PARTIAL}"))


def test_no_trace_gives_no_picture(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="expected a trace, got an empty file"):
        export_chrome("/dev/null", tmp_path / "run.json")
    assert list(tmp_path.iterdir()) == []
    earlier = tmp_path / "run.json"
    earlier.write_text("earlier")
    with pytest.raises(TraceError, match=r"none\.jsonl: cannot be read"):
        export_chrome(tmp_path / "none.jsonl", earlier)
    assert earlier.read_text() == "earlier"


def test_the_file_shows_calls_that_never_end_up_to_the_last_event(tmp_path: Path) -> None:
    events = numbered((1.0, "start", "c", 0), (3.0, "start", "c", 1))
    trace = write_trace(tmp_path / "run.jsonl", HEADER, events)
    assert export_chrome(trace, tmp_path / "run.json") == ""
    found = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["traceEvents"]
    assert ends(found) == [("c[0]", 3, "the trace ends"), ("c[1]", 3, "the trace ends")]


def test_a_run_that_is_too_large_to_follow_is_refused(tmp_path: Path) -> None:
    huge = ExecutionGraph(2**50, [ColumnDescriptor("a")])
    header = header_for(huge, engine="suite", version="1")
    trace = write_trace(tmp_path / "run.jsonl", header, [])
    with pytest.raises(TraceError, match=r"^\S+run.jsonl: line 1: graph.rows: .* may be used$"):
        export_chrome(trace, tmp_path / "run.json")
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]
    resume = [
        Event(1, 0.0, "crash"),
        Event(2, 0.0, "resume", claim={"a": 0, "v": 0, "c": 0}, records=2**50),
    ]
    trace = write_trace(tmp_path / "run.jsonl", HEADER, resume)
    assert "line 3: records: " in export_chrome(trace, tmp_path / "run.json")


def test_a_picture_may_take_a_byte_a_cell_and_four_a_row_of_half_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = [Event(1, 0.0, "crash"), Event(2, 0.0, "resume", claim={}, records=4)]
    for pages, words in (
        (56, ""),
        (54, "trace: line 3: records: "),
        (42, "trace: line 3: records: "),
        (40, "trace: line 1: graph.rows: "),
    ):
        sizes = {"SC_PHYS_PAGES": pages, "SC_PAGE_SIZE": 1}
        monkeypatch.setattr("os.sysconf", sizes.__getitem__)
        refused = ""
        try:
            picture(HEADER, more)
        except TraceError as error:
            refused = str(error)
        assert refused.startswith(words)
        assert bool(refused) == bool(words)
