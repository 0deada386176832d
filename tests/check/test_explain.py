"""Explanations: what the reader of a violation is told of the state, each fact once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits, Machine
from cellspec.check.checker import Checker
from cellspec.check.explain import describe, explain, how
from cellspec.clauses import clauses
from cellspec.machine.machine import FailurePolicy
from cellspec.trace import Event, Header
from tests.check.test_checker import header, judged, steps

T = ExecutionTraits
ROWS = 8

GRAPH = ExecutionGraph(
    ROWS,
    [
        ColumnDescriptor("a"),
        ColumnDescriptor("b", dependencies=["a"]),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["a"]),
        ColumnDescriptor("w", traits=T.BARRIER, dependencies=["b"]),
    ],
    batch_size=2,
)
PLAIN = header(graph=GRAPH)
RETRY = header(failures=FailurePolicy(3), graph=GRAPH)
RESOURCES = header(
    Limits(resources={"x": 2, "y": 1}, column_resource={"a": "x", "b": "y"}), graph=GRAPH
)
WHOLE = header(
    failures=FailurePolicy(3),
    graph=ExecutionGraph(
        1, [ColumnDescriptor("a"), ColumnDescriptor("w", traits=T.BARRIER, dependencies=["a"])]
    ),
)
GROUPS = header(Limits(group_rows=4), graph=GRAPH)
STOPS = header(failures=FailurePolicy(1, stop_window=2, stop_rate=0.5), graph=GRAPH)
BOUNDED = header(failures=FailurePolicy(1, timeout_s=2.0), graph=GRAPH)

NO_CLAIM = dict.fromkeys(GRAPH.column_names, 0)
NOTHING_STORED = [
    "rows on storage: 0 of every column",
    "last durable claim: 0 of every column",
]
IDLE = "0 in flight, workers: no limit"


def explained(clause: str, given: Header, *past_and_event: Any) -> list[str]:
    """The explanation of the last step, after the steps before it, without the finding."""
    *past, event = steps(*past_and_event)
    checker = Checker(given)
    for one in past:
        assert checker.feed(one) is None
    _, told, found, *lines = explain(clause, "why", event, checker.machine, past)
    assert told == f"event {event.seq} (line {event.seq + 1}): {describe(event)}"
    assert found == "found: why"
    return lines


def state(clause: str, given: Header, *past_and_event: Any) -> list[str]:
    """What the explanation says of the state."""
    lines = explained(clause, given, *past_and_event)
    return [line.removeprefix("state: ") for line in lines if line.startswith("state: ")]


def before(clause: str, given: Header, *past_and_event: Any) -> list[int]:
    """The numbers of the events before it that it shows."""
    lines = explained(clause, given, *past_and_event)
    return [int(line.split(":")[0]) for line in lines if line.startswith("  ")]


def made(column: str, rows: Sequence[int]) -> list[str]:
    return [f"{kind} {column} {row}" for row in rows for kind in ("start", "complete")]


@pytest.mark.parametrize("clause", ["DROP-04", "CKPT-20", "SCHED-14"])
def test_the_explanation_of_an_end_says_once_what_is_on_storage(clause: str) -> None:
    machine = Machine(ExecutionGraph(2, [ColumnDescriptor("a")]))
    end = Event(1, 0.0, "end", outcome="failed")
    told = [line for line in explain(clause, "", end, machine, []) if line.startswith("state: ")]
    assert told == [
        "state: 0 of 2 rows resolved without a gap",
        "state: rows resolved without a gap: 0 of every column",
        "state: rows on storage: 0 of every column",
        "state: last durable claim: 0 of every column",
    ]


def test_a_violation_without_an_event_or_a_state_is_told_as_it_is() -> None:
    machine, event = Machine(GRAPH), Event(1, 0.0, "crash")
    rule = f"TRACE-02: {clauses()['TRACE-02'].text}"
    for without_event, without_state in ((True, True), (False, True), (True, False)):
        about, of = None if without_event else event, None if without_state else machine
        assert explain("TRACE-02", "why", about, of, [event]) == [rule, "found: why"]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("start a 3", "start a[3]"),
        ("start s 2:5 attempt=2", "start s[2:5] attempt=2"),
        ("start v scope=1 attempt=1", "start barrier 1 of 'v'"),
        ("admit 4:8", "admit rows 4–7"),
        ("durable 4", "durable row 4"),
        ("crash", "crash"),
        (
            {"event": "start", "column": "v", "scope": 1, "reads": ((2, 3), (5, 8))},
            "start barrier 1 of 'v' reads=[2:3], [5:8]",
        ),
        (
            {"event": "start", "column": "v", "scope": 1, "reads": ()},
            "start barrier 1 of 'v' reads=none",
        ),
        (
            {"event": "resume", "claim": {}, "dropped": ()},
            "resume claim=none dropped=none",
        ),
        ({"event": "crash", "reason": "x" * 80}, "crash reason=" + "x" * 80),
        ({"event": "crash", "reason": "x" * 81}, "crash reason=" + "x" * 77 + "..."),
    ],
)
def test_an_event_is_described_by_its_place_and_its_fields(step: Any, words: str) -> None:
    (event,) = steps(step)
    assert describe(event) == f"t=0 s {words}"


# The state of nodes


def test_a_cell_is_told_with_all_that_it_waits_for() -> None:
    needs = [ColumnDescriptor(name) for name in "abc"]
    graph = ExecutionGraph(1, [*needs, ColumnDescriptor("d", dependencies=["a", "b", "c"])])
    told = state("SCHED-01", header(graph=graph), *made("b", [0]), "start c 0", "start d 0")
    assert told == [
        "d[0] is waiting",
        "d[0] waits for a[0] (ready), c[0] (running)",
        "1 in flight, workers: no limit",
    ]


def test_a_barrier_node_is_told_with_its_own_attempts_and_inputs() -> None:
    fails = "failure=retryable"
    past = [*made("a", [2, 3]), "start v scope=1", f"fail v scope=1 {fails} until=9"]
    assert state("FAIL-03", RETRY, *past, "start v scope=1 attempt=2") == [
        "barrier 1 of 'v' is failed, to be tried again, 1 of 3 attempts spent, "
        "in a backoff until t=9 s",
        IDLE,
    ]
    assert state("BARR-01", RETRY, *past, "start a 4", "start v scope=2") == [
        "barrier 2 of 'v' is waiting",
        "barrier 2 of 'v' waits for a[4] (running), a[5] (ready)",
        "1 in flight, workers: no limit",
    ]
    assert state("BARR-01", RETRY, "start w scope=0") == [
        "barrier 0 of 'w' is waiting",
        "barrier 0 of 'w' waits for "
        + ", ".join(f"b[{row}] (waiting)" for row in range(6))
        + ", and 2 more",
        IDLE,
    ]
    assert state(
        "FAIL-01",
        WHOLE,
        *made("a", [0]),
        "start w scope=0",
        f"fail w scope=0 {fails}",
        "start w scope=0",
    )[0] == (
        "barrier 0 of 'w' is failed, to be tried again, 1 of 3 attempts spent, "
        "its retry is left open"
    )
    # The graph has no such node.
    assert state("TRACE-02", RETRY, "start v scope=4") == [IDLE]


def test_a_barrier_node_is_not_of_the_row_that_has_its_number() -> None:
    lost = ["start a 1", "fail a 1 failure=permanent"]
    told = state("SCHED-02", PLAIN, *lost, *made("a", [2, 3]), "start v scope=1")
    assert told[0] == "barrier 1 of 'v' is ready"


def test_a_node_that_failed_for_good_is_no_longer_counted_in_attempts() -> None:
    past = ["start a 0", "fail a 0 failure=retryable", "start a 0 attempt=2"]
    assert state("FAIL-05", RETRY, *past, "cancel a 0")[0] == (
        "a[0] is running, 1 of 3 attempts spent"
    )
    given_up = [*past, "fail a 0 failure=permanent attempt=2"]
    assert state("FAIL-02", RETRY, *given_up, "start a 0 attempt=3")[:2] == [
        "a[0] is of row 0, dropped, it failed for good",
        IDLE,
    ]
    assert state("SCHED-02", RETRY, "start a 0", "start a 0")[0] == "a[0] is running"


@pytest.mark.parametrize(("rows", "more"), [("0:5", []), ("0:6", []), ("0:7", ["1 more row"])])
def test_of_a_range_the_first_rows_are_told_and_how_many_more_there_are(
    rows: str, more: list[str]
) -> None:
    told = state("RANGE-02", PLAIN, f"complete s {rows}")
    shown = min(int(rows[2:]), 6)
    assert told == [
        *(f"s[{row}] is ready" for row in range(shown)),
        *(f"and {words}" for words in more),
    ]


def test_only_a_cell_is_of_a_row_group_that_is_not_admitted() -> None:
    assert state("GROUP-01", GROUPS, "admit 0:4", "start a 4") == [
        "a[4] is waiting, row group 1 is not admitted",
        IDLE,
        "row groups admitted: 0",
    ]
    assert state("GROUP-01", GROUPS, "admit 0:4", "start a 3")[0] == "a[3] is ready"
    # The number of a barrier node is no row.
    single = header(
        Limits(group_rows=1),
        graph=ExecutionGraph(
            2,
            [ColumnDescriptor("a"), ColumnDescriptor("v", traits=T.BATCH_BARRIER)],
            batch_size=1,
        ),
    )
    assert (
        state("SCHED-02", single, "admit 0", "start v scope=1")[0] == "barrier 1 of 'v' is waiting"
    )


def test_a_cell_in_order_whose_row_is_dropped_before_its_turn_is_dropped() -> None:
    columns = [ColumnDescriptor("a"), ColumnDescriptor("o", traits=T.ORDERED)]
    checker = Checker(header(graph=ExecutionGraph(4, columns)))
    for row in (0, 2):
        for step in steps(f"start a {row}", f"fail a {row} failure=permanent"):
            assert checker.feed(step) is None
    cells = [how(checker.machine.graph.cell_node(1, row), checker.machine) for row in range(4)]
    assert cells == ["dropped", "ready", "dropped", "waiting"]


# The state of the run


def test_groups_are_told_only_of_a_run_that_has_them() -> None:
    assert state("GROUP-02", GROUPS, "admit 0:4", "retire 4:8") == ["row groups admitted: 0"]
    # The limits contradict the graph: they are not taken.
    columns = [ColumnDescriptor("a"), ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"])]
    refused = header(Limits(group_rows=1, groups=1), graph=ExecutionGraph(2, columns))
    (found,) = judged((refused, steps("admit 0"))).violations
    assert found.clause == "GROUP-04"
    assert not [line for line in found.explanation if line.startswith("state: ")]


def test_a_run_says_that_it_must_stop_until_it_has_stopped() -> None:
    past = ["start a 0", "start a 1", "complete a 0", "fail a 1 failure=permanent"]
    lost = "not recorded as dropped: row 1"
    assert state("STOP-01", STOPS, *past, "start a 2") == [
        "a[2] is ready",
        "the run must stop early",
        IDLE,
        lost,
    ]
    assert state("STOP-01", STOPS, *past, "stop", "start a 2")[1] == "the run has stopped early"


def test_a_start_is_told_with_what_is_taken_of_each_resource() -> None:
    assert state("SCHED-11", RESOURCES, *made("a", [0]), "start a 1", "start b 0", "start a 2") == [
        "a[2] is ready",
        "2 in flight, workers: no limit; 'x': 1 of 2; 'y': 1 of 1",
    ]


def test_commits_are_told_while_they_are_open_and_when_they_failed() -> None:
    commits = replace(header(graph=GRAPH, claims=("core", "commits")), trace=2, claim_version=3)
    past = [
        *made("a", range(4)),
        *(f"commit_begin a {row} commit={row}" for row in range(4)),
        *(f"commit_failed commit={row}" for row in (0, 2)),
    ]
    assert state("CKPT-11", commits, *past, "committed commit=7") == [
        "rows resolved without a gap: 4 of 'a', 0 of 'b', 0 of 's', 0 of 'v', 0 of 'w'",
        *NOTHING_STORED,
        "commit open: row 1 of 'a', 0 of 'b', 0 of 's', 0 of 'v', 0 of 'w'",
        "commit open: row 3 of 'a', 0 of 'b', 0 of 's', 0 of 'v', 0 of 'w'",
        "commit that reported an error: 1 of 'a', 0 of 'b', 0 of 's', 0 of 'v', 0 of 'w'",
        "commit that reported an error: row 2 of 'a', 0 of 'b', 0 of 's', 0 of 'v', 0 of 'w'",
    ]


# The events before it


def test_a_barrier_node_shows_the_events_of_the_rows_of_its_scope() -> None:
    late = [*made("a", [0, 1, 2]), "start s 1:3"]
    assert before("BARR-01", PLAIN, *late, "start v scope=1") == [5, 6, 7]
    assert before("BARR-01", PLAIN, *late, "start v scope=0") == [1, 2, 3, 4, 7]
    # Nothing is of rows that are not there, or of no rows: then the last events are shown.
    for step in ("start v scope=4", "start nobody scope=0", "pause until=3"):
        assert before("FAIL-07", BOUNDED, *late, step) == [1, 2, 3, 4, 5, 6, 7]


def test_an_event_shows_the_crashes_since_the_first_one_of_its_rows() -> None:
    resume = {"event": "resume", "claim": NO_CLAIM}
    past = ["crash", resume, "start a 0", "crash", resume, "start a 1"]
    assert before("SCHED-02", PLAIN, *past, "start a 0") == [3, 4, 5]
    assert before("SCHED-02", PLAIN, *past, "start a 1") == [6]
    assert before("SCHED-02", PLAIN, *past, "start a 2") == [1, 2, 3, 4, 5, 6]


def test_of_many_events_the_last_eight_are_shown() -> None:
    past = ["start a 0", "take_back a 0"] * 5
    assert before("SCHED-04", PLAIN, *past, "complete a 0") == list(range(3, 11))
