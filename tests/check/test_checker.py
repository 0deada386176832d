"""The checker: right runs pass, and each wrong step is found with clause, line and explanation."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cellspec import (
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    Limits,
    Machine,
    SpecError,
    Violation,
)
from cellspec.check.checker import RECENT_EVENTS, Checker, CheckResult, Finding, check_file
from cellspec.clauses import clause_set, clause_set_version, clauses, version_of
from cellspec.conformance.judge.verdict import Verdict, judge_trace
from cellspec.machine.machine import FailurePolicy
from cellspec.trace import (
    Event,
    Header,
    TraceError,
    TraceWriter,
    action_of,
    failures_of,
    graph_of,
    header_for,
    limits_of,
)
from cellspec.trace.format import RequestStep
from sim.cli import main
from tests.traces import (
    CALM,
    EVERYTHING_LIMITS,
    Dice,
    everything,
    renumbered,
    toy_run,
    write_trace,
)

T = ExecutionTraits
ROOT = Path(__file__).parents[2]

Run = tuple[Header, list[Event]]


def runs(*, dice: Sequence[Dice] = (Dice(), Dice(fail=0.4), CALM)) -> st.SearchStrategy[Run]:
    """Runs that are right, of every kind."""
    return st.builds(
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
        st.sampled_from([FailurePolicy(), FailurePolicy(3), FailurePolicy(2, 6, 0.5)]),
        seed=st.integers(0, 10**6),
        dice=st.sampled_from(dice),
    )


def judged(run: Run, waive: Collection[str] = (), *, slack_s: float = 0.0) -> CheckResult:
    header, events = run
    checker = Checker(header, waive=waive, slack_s=slack_s)
    for event in events:
        checker.feed(event)
    return checker.result()


def verdict(data: bytes) -> Verdict:
    return judge_trace(check_file(io.BytesIO(data))).verdict


def file_bytes(run: Run, folder: Path, name: str = "run.jsonl") -> bytes:
    return write_trace(folder / name, *run).read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


# Right runs


@given(run=runs())
def test_a_right_run_breaks_no_clause(run: Run) -> None:
    result = judged(run)
    assert not result.violations, result.violations[0].explanation
    assert result.ended
    assert result.outcome == run[1][-1].outcome
    assert result.events == len(run[1])
    assert result.incarnations == 1 + sum(event.event == "resume" for event in run[1])


@given(run=runs(dice=[Dice(fail=0.4)]), broken=st.booleans(), place=st.integers(0, 99))
def test_the_way_of_a_call_through_an_endpoint_decides_nothing(
    run: Run, broken: bool, place: int
) -> None:
    header, events = run
    if broken:
        events = [event for at, event in enumerate(events) if at != place % len(events)]
    steps: list[Event] = []
    for event in events:
        steps.append(event)
        if event.event == "start":
            said = replace(event, event="request", attempt=None, reads=None)
            steps.append(replace(said, request=RequestStep("sent", work=1.5)))
            steps.append(replace(said, request=RequestStep("refused", retry_after_s=0.25)))
    without = judged((header, renumbered(events)))
    result = judged((header, renumbered(steps)))
    assert [one.clause for one in result.violations] == [one.clause for one in without.violations]
    assert (result.outcome, result.evidence) == (without.outcome, without.evidence)
    odd = Event(1, 0.0, "request", "nobody", 0, request=RequestStep("sent"))
    (found,) = judged((header, [odd])).violations
    assert (found.clause, found.detail) == ("TRACE-02", "column: no such column: 'nobody'")


@given(run=runs(), compressed=st.booleans())
def test_a_file_of_a_right_run_breaks_no_clause(folder: Path, run: Run, compressed: bool) -> None:
    path = write_trace(folder / ("run.gz" if compressed else "run.jsonl"), *run)
    result = check_file(path)
    assert result.footer is not None
    assert result.counts == result.footer.counts
    assert judge_trace(result).verdict is Verdict.PASS


def test_each_judged_step_is_counted() -> None:
    header, events = toy_run(everything(), EVERYTHING_LIMITS, FailurePolicy(2), seed=3)
    evidence = judged((header, events)).evidence
    kinds = [event.event for event in events]
    assert evidence["starts"] == kinds.count("start")
    assert evidence["starts of barriers"] == sum(
        e.event == "start" and e.scope is not None for e in events
    )
    assert evidence["claims"] == kinds.count("checkpoint_begin")
    assert evidence["early stops"] == 0


# One wrong step, each

GRAPH = ExecutionGraph(
    4,
    [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("b", dependencies=["a"]),
        ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["b"]),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE | T.ORDERED),
        ColumnDescriptor("k", dependencies=["a"], may_skip=True),
        ColumnDescriptor("p", dependencies=["k"]),
    ],
    batch_size=2,
)


def header(
    limits: Limits | None = None,
    failures: FailurePolicy | None = None,
    claims: Sequence[str] = ("core",),
    graph: ExecutionGraph = GRAPH,
) -> Header:
    return header_for(
        graph, engine="suite", version="1", limits=limits, failures=failures, claims=claims
    )


PLAIN = header()
RETRY = header(failures=FailurePolicy(2))
BOUNDED = header(failures=FailurePolicy(2, timeout_s=2.0))
STOPS = header(failures=FailurePolicy(1, stop_window=2, stop_rate=0.5))
GROUPS = header(Limits(group_rows=2, groups=1))
PATIENT = replace(header(), trace=2, idle_s=1.0)
PUSHED_BACK = ("start a 0", "fail a 0 failure=backpressure until=3")
PUSHED_BACK_TWICE = (
    *("start a 0", "start a 1"),
    *("fail a 0 failure=backpressure until=3", "fail a 1 failure=backpressure until=5"),
)
TIMED = header(Limits(workers=2), claims=("core", "work_conserving"))

IN_ORDER = ExecutionGraph(
    2, [ColumnDescriptor("a"), ColumnDescriptor("o", traits=T.ORDERED, dependencies=["a"])]
)
LOOSE = ExecutionGraph(4, [ColumnDescriptor("a"), ColumnDescriptor("k")])
PERMANENT = "failure=permanent"

CLAIMS_NOTHING = dict.fromkeys(GRAPH.column_names, 0)


def steps(*given: Any) -> list[Event]:
    """Events from words: ``"start a 0"``, ``"complete v scope=1"``, or dicts; t=0 unless told."""
    made = []
    kind: Any
    for seq, step in enumerate(given, 1):
        fields: dict[str, Any] = {"t": 0.0}
        if isinstance(step, str):
            kind, *rest = step.split()
            for word in rest:
                name, equals, value = word.partition("=")
                if equals:
                    fields[name] = float(value) if name in ("t", "until") else _plain(value)
                    if name == "rejected":
                        fields[name] = ((int(value), int(value) + 1),)
                elif word[0].isdigit():
                    start, _, stop = word.partition(":")
                    fields["rows"] = (int(start), int(stop)) if stop else int(start)
                else:
                    fields["column"] = word
        else:
            fields |= step
            kind = fields.pop("event")
        made.append(Event(seq, fields.pop("t"), kind, **fields))
    return made


def _plain(value: str) -> Any:
    return int(value) if value.isdigit() else value


def a_to_b(rows: Sequence[int]) -> list[str]:
    return [
        f"{kind} {column} {row}"
        for row in rows
        for column in "ab"
        for kind in ("start", "complete")
    ]


TWICE = ["start a 0", "fail a 0 failure=retryable", "start a 0 attempt=2"]
DROPPED_MEANWHILE = ["start a 0", "complete a 0", "start k 0", "start b 0", f"fail b 0 {PERMANENT}"]

SMALL = header(graph=ExecutionGraph(1, [ColumnDescriptor("a")]))
STREAMS = header(
    graph=ExecutionGraph(2, [ColumnDescriptor("s", traits=T.START | T.ROW_STREAMABLE)])
)
SKIPS_ON = header(
    graph=ExecutionGraph(
        1, [ColumnDescriptor("a", may_skip=True), ColumnDescriptor("b", dependencies=["a"])]
    )
)
RETRY_ONE = header(
    failures=FailurePolicy(2),
    graph=ExecutionGraph(
        1,
        [
            ColumnDescriptor("a"),
            ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]),
        ],
    ),
)
DROPPING = header(claims=("core", "drops"))
ALL_MADE = ["start a 0", "complete a 0"]
ALL_SAVED = [*ALL_MADE, "durable a 0"]
BEGUN = {"event": "checkpoint_begin", "claim": {"a": 1}}
A_SAVED = ALL_SAVED
OTHERS_SAVED = [*ALL_MADE, "start a 1", "complete a 1", "checkpoint_failed", "durable a 1"]
"""Two rows could not be written, and one of them is later."""
LOST_BESIDE_A_CALL = [*ALL_MADE, "start a 1", "checkpoint_failed"]
"""A row could not be written while the next is made."""
GIVES_UP = ["end outcome=failed"]
RESUMED = {"event": "resume", "claim": CLAIMS_NOTHING}
BEGUN_OF_A = {"event": "checkpoint_begin", "claim": {**CLAIMS_NOTHING, "a": 1}}

KEPT_A = [
    *("start a 0", "complete a 0", "durable a 0", "crash"),
    {"event": "resume", "claim": CLAIMS_NOTHING},
]
"""A cell was made and is on storage; the next incarnation begins from nothing."""

TAKEN_BACK = ["start s 1", "take_back s 1"] * 8

KILLS = replace(header(), trace=2, killer_tries=2)
DIED = ["start a 0", "crash", RESUMED]
RANGE_DIED = ["start s 0:2", "crash", RESUMED]

CASES: list[tuple[str, Header, list[Any]]] = [
    ("SCHED-01", PLAIN, ["start b 0"]),
    ("SCHED-02", PLAIN, ["start a 0", "start a 0"]),
    ("SCHED-03", PLAIN, ["start a 0", "complete a 0", "start a 0"]),
    ("SCHED-04", PLAIN, ["complete a 0"]),
    ("SCHED-04", PLAIN, ["start a 0", "complete a 0", "complete a 0"]),
    (
        "SCHED-05",
        PLAIN,
        [
            "start s 0",
            "complete s 0",
            "durable s 0",
            {"event": "checkpoint_begin", "claim": {**CLAIMS_NOTHING, "s": 1}},
            "checkpoint_durable",
            "crash",
            {"event": "resume", "claim": {**CLAIMS_NOTHING, "s": 1}},
            "start s 0",
        ],
    ),
    ("SCHED-06", header(Limits(workers=1)), ["start a 0", "start a 1"]),
    ("SCHED-07", PLAIN, ["crash", "start a 0"]),
    ("SCHED-07", PLAIN, [{"event": "resume", "claim": CLAIMS_NOTHING}]),
    ("SCHED-08", PLAIN, ["start a 0", "complete a 0 t=2", "start a 1 t=1"]),
    ("SCHED-09", TIMED, ["start a 0", "complete a 0 t=1"]),
    ("SCHED-10", PLAIN, ["end outcome=success"]),
    (
        "SCHED-11",
        header(Limits(resources={"x": 1}, column_resource={"a": "x"})),
        ["start a 0 resource=x", "start a 1 resource=x"],
    ),
    ("SCHED-13", PLAIN, ["start s 1"]),
    ("SCHED-15", PLAIN, ["start a 0", "complete a 0 t=1", "start a 1 t=2"]),
    ("SCHED-15", RETRY, ["start a 0", "fail a 0 failure=backpressure until=3", "start a 0 t=3"]),
    ("SCHED-15", RETRY_ONE, [*PUSHED_BACK, "start a 0 t=4"]),
    # Row groups are work too.
    ("SCHED-15", header(Limits(group_rows=2)), ["admit 0:2 t=1"]),
    # Without `work_conserving`; a commit of the group would excuse it.
    (
        "SCHED-15",
        header(
            Limits(group_rows=1, groups=1),
            graph=ExecutionGraph(2, [ColumnDescriptor("a")]),
            claims=["core", "groups"],
        ),
        ["admit 0", "start a 0", "complete a 0 t=1", "retire 0 t=2"],
    ),
    # A wait begins anew with each call, however short it is.
    ("SCHED-15", PATIENT, ["start a 0 t=1", "complete a 0 t=1", "start a 1 t=2.5"]),
    ("SCHED-16", PLAIN, ["pause until=3"]),
    ("SCHED-16", RETRY, [*PUSHED_BACK, "pause"]),
    ("SCHED-16", RETRY, [*PUSHED_BACK, "pause until=3", "pause until=4"]),
    ("SCHED-16", RETRY, [*PUSHED_BACK, "pause until=3", "start a 1"]),
    ("SCHED-16", RETRY, [*PUSHED_BACK, "pause until=3", "start v scope=0 t=1"]),
    ("SCHED-16", RETRY, [*PUSHED_BACK, "pause until=3", "start s 0:2 t=2"]),
    (
        "SCHED-17",
        replace(header(graph=IN_ORDER), trace=2, bypass=0),
        ["start a 0", "complete a 0", "start o 0"],
    ),
    ("SCHED-14", PLAIN, ["end outcome=failed"]),
    ("SCHED-14", PLAIN, [{"event": "end", "outcome": "failed", "reason": "tired"}]),
    ("SCHED-14", SMALL, ["start a 0", "end outcome=failed"]),
    ("SCHED-14", SMALL, [*ALL_MADE, "end outcome=failed"]),
    (
        "SCHED-14",
        RETRY,
        ["start a 0", "fail a 0 failure=retryable until=9", *GIVES_UP],
    ),
    # All that is left rests after a failure.
    ("SCHED-14", RETRY_ONE, ["start a 0", "fail a 0 failure=retryable until=9", *GIVES_UP]),
    ("SCHED-14", RETRY_ONE, ["start a 0", "fail a 0 failure=backpressure until=9", *GIVES_UP]),
    (
        "SCHED-14",
        RETRY_ONE,
        [
            *("start a 0", "complete a 0", "start v scope=0"),
            *("fail v scope=0 failure=backpressure until=9", *GIVES_UP),
        ],
    ),
    ("SCHED-14", SKIPS_ON, ["skip a 0", *GIVES_UP]),
    ("SCHED-14", STREAMS, ["start s 0:2", *GIVES_UP]),
    # It drops rows and goes on: then what is left is not given up.
    (
        "SCHED-14",
        DROPPING,
        ["start a 0", f"fail a 0 {PERMANENT}", "drop a 0", "end outcome=failed"],
    ),
    ("DROP-04", DROPPING, ["start a 0", f"fail a 0 {PERMANENT}", "end outcome=failed"]),
    # What failed for good in an earlier incarnation is tried again in this one.
    (
        "SCHED-14",
        PLAIN,
        ["start a 0", f"fail a 0 {PERMANENT}", *GIVES_UP, RESUMED, *GIVES_UP],
    ),
    ("BARR-01", PLAIN, ["start v scope=0"]),
    ("BARR-02", PLAIN, ["emit v 0:2"]),
    (
        "BARR-06",
        PLAIN,
        [*a_to_b([0, 1]), {"event": "start", "column": "v", "scope": 0, "reads": ((0, 1),)}],
    ),
    (
        "BARR-06",
        PLAIN,
        [
            *a_to_b([0, 1]),
            {"event": "start", "column": "v", "scope": 0, "reads": ((1, 2), (0, 1))},
        ],
    ),
    (
        "BARR-07",
        PLAIN,
        [
            *a_to_b([1]),
            "start a 0",
            "fail a 0 failure=permanent",
            "start v scope=0",
            "complete v scope=0 t=1",
            "emit v 0:2 t=1",
        ],
    ),
    (
        "BARR-08",
        PLAIN,
        [
            "start a 0",
            "start a 1",
            "fail a 0 failure=permanent",
            "fail a 1 failure=permanent",
            "start v scope=0",
        ],
    ),
    ("FAIL-01", RETRY, ["start a 0 attempt=2"]),
    ("FAIL-01", RETRY, ["start a 0", "fail a 0 failure=retryable", "start a 0"]),
    ("FAIL-02", PLAIN, ["start a 0", "fail a 0 failure=retryable", "start a 0 attempt=2"]),
    (
        "FAIL-03",
        RETRY_ONE,
        ["start a 0", "fail a 0 failure=retryable until=5", "start a 0 attempt=2 t=4"],
    ),
    ("FAIL-04", PLAIN, ["fail a 0 failure=permanent"]),
    ("FAIL-04", PLAIN, ["start a 0", "cancel a 0"]),
    # What could not be written is written: there is no reason to give up.
    ("FAIL-04", PLAIN, [*ALL_MADE, "start a 1", "checkpoint_failed", "durable a 0", "cancel a 1"]),
    # A run that gives up makes nothing again, and nothing else.
    ("FAIL-04", PLAIN, [*ALL_MADE, "start a 1", "checkpoint_failed", "cancel a 1", "start a 1"]),
    ("FAIL-04", PLAIN, [*ALL_MADE, "start a 1", "checkpoint_failed", "cancel a 1", "start b 0"]),
    (
        "FAIL-04",
        STREAMS,
        ["start s 0:2", "complete s 0", "checkpoint_failed", "cancel s 1", "start s 1"],
    ),
    ("FAIL-01", BOUNDED, ["start a 0", "fail a 0 failure=timeout t=2", "start a 0 t=2"]),
    (
        "FAIL-02",
        BOUNDED,
        [
            *("start a 0", "fail a 0 failure=timeout t=2", "start a 0 attempt=2 t=2"),
            *("fail a 0 failure=timeout t=4", "start a 0 attempt=3 t=4"),
        ],
    ),
    ("DROP-05", PLAIN, ["start a 0", "complete a 0 rejected=0", "drop a 0"]),
    (
        "DROP-05",
        PLAIN,
        ["start a 0", "fail a 0 failure=permanent", "drop a 0 cause=filtered"],
    ),
    ("DROP-01", PLAIN, ["start a 0", "complete a 0", "drop a 0 cause=filtered"]),
    ("DROP-01", PLAIN, [*DIED, *DIED, "drop a 0 cause=killer"]),
    ("DROP-01", KILLS, [*DIED, *ALL_MADE, "drop a 0 cause=killer"]),
    ("DROP-02", KILLS, [*DIED, *DIED, *["drop a 0 cause=killer"] * 2]),
    ("DROP-03", KILLS, [*DIED, *DIED, "drop a 0 cause=killer", "start a 0"]),
    ("DROP-06", KILLS, [*DIED, "drop a 0 cause=killer"]),
    ("DROP-06", KILLS, [*DIED, *DIED, "drop a 1 cause=killer"]),
    ("DROP-06", KILLS, [*DIED, *DIED, "drop k 0 cause=killer"]),
    ("DROP-06", KILLS, [*DIED, *DIED, "start a 0"]),
    ("DROP-06", KILLS, [*RANGE_DIED, *RANGE_DIED, "start s 0:2"]),
    ("DROP-06", KILLS, ["start a 0", f"fail a 0 {PERMANENT}", "drop a 0 cause=killer"]),
    ("DROP-03", PLAIN, ["start a 1", "start a 0", "complete a 0 rejected=0", "start k 0 t=1"]),
    # Rows that have spent unlike numbers of attempts are no range.
    ("FAIL-01", RETRY, ["start s 0", "fail s 0 failure=retryable", "start s 0:2 attempt=2"]),
    ("FAIL-01", RETRY, ["start s 0", "fail s 0 failure=retryable", "start s 0:2"]),
    ("FAIL-06", PLAIN, ["take_back a 0"]),
    ("FAIL-06", PLAIN, ["start a 0", "take_back a 0"] * 9),
    # Each row of a range counts, with whatever rows it is called.
    ("FAIL-06", PLAIN, ["start s 0:2", "complete s 0", "take_back s 0", *TAKEN_BACK]),
    ("FAIL-01", PLAIN, ["start a 0", "take_back a 0", "start a 0 attempt=2"]),
    ("SCHED-09", TIMED, ["start a 0", "take_back a 0", "start a 1 t=1"]),
    # After a lost write work may wait, until something starts again.
    ("SCHED-09", TIMED, [*LOST_BESIDE_A_CALL, "complete a 1 t=1", "start b 0 t=1"]),
    ("SCHED-09", TIMED, [*LOST_BESIDE_A_CALL, "durable a 0 t=1", "start b 0 t=1"]),
    ("SCHED-09", TIMED, [*LOST_BESIDE_A_CALL, "durable a 0", "complete a 1 t=1"]),
    ("FAIL-07", BOUNDED, ["start a 0", "fail a 0 failure=timeout t=1.5"]),
    ("FAIL-07", BOUNDED, ["start a 0", "complete a 0 t=2.5"]),
    ("FAIL-07", BOUNDED, ["start a 0", "start a 1 t=2.5"]),
    ("CKPT-25", PLAIN, ["recall a 0"]),
    ("CKPT-25", PLAIN, [*KEPT_A, "recall a 1"]),
    ("SCHED-01", PLAIN, [*KEPT_A, "recall b 0"]),
    ("SCHED-03", PLAIN, [*KEPT_A, "recall a 0", "start a 0"]),
    ("FAIL-08", PLAIN, ["start a 0", "complete a 0", "lose a 0"]),
    ("FAIL-08", PLAIN, ["start a 0", "worker_lost", "lose a 0"]),
    ("FAIL-08", PLAIN, ["start a 0", "complete a 0", "durable a 0", "worker_lost", "lose a 0"]),
    ("FAIL-08", PLAIN, ["start a 0", "complete a 0", "worker_lost", "lose a 0", "start b 0"]),
    ("FAIL-08", PLAIN, ["start a 0", "worker_lost", "complete a 0", "lose a 0"]),
    (
        "FAIL-08",
        PLAIN,
        [
            *("start a 0", "complete a 0", "worker_lost", "lose a 0"),
            *("start a 0", "complete a 0", "lose a 0"),
        ],
    ),
    ("FAIL-05", PLAIN, ["start a 0", "complete a 0 attempt=7"]),
    ("FAIL-05", STOPS, ["start a 0", "complete a 0 attempt=2"]),
    ("FAIL-05", RETRY, [*TWICE, "complete a 0 attempt=1"]),
    ("FAIL-05", RETRY, [*TWICE, "fail a 0 failure=retryable attempt=1"]),
    ("FAIL-05", RETRY, [*TWICE, "fail a 0 failure=backpressure attempt=3"]),
    (
        "FAIL-05",
        RETRY,
        ["start a 1", *TWICE, "fail a 0 failure=permanent attempt=2", "complete a 1 attempt=2"],
    ),
    (
        "FAIL-05",
        RETRY,
        [*a_to_b([0, 1]), "start v scope=0", "complete v scope=0 attempt=2"],
    ),
    (
        "FAIL-05",
        RETRY,
        [
            *a_to_b([0, 1]),
            "start v scope=0",
            "fail v scope=0 failure=retryable attempt=1",
            "start v scope=0 attempt=2",
            "fail v scope=0 failure=permanent attempt=1",
        ],
    ),
    ("FAIL-05", RETRY, ["start s 0:2", "complete s 0 attempt=1", "complete s 1 attempt=2"]),
    (
        "FAIL-05",
        RETRY,
        [
            "start s 0:2",
            "complete s 0",
            "fail s 1 failure=retryable",
            "start s 1 attempt=2",
            "complete s 1 attempt=1",
        ],
    ),
    ("FAIL-05", RETRY, ["start s 0:3", "fail s 0:3 failure=retryable attempt=2"]),
    # Calls that run on for rows that were dropped meanwhile.
    ("FAIL-05", PLAIN, [*DROPPED_MEANWHILE, "complete k 0 attempt=2"]),
    ("FAIL-05", PLAIN, [*DROPPED_MEANWHILE, "fail k 0 failure=retryable attempt=2"]),
    ("FAIL-05", PLAIN, [*DROPPED_MEANWHILE, "cancel k 0 attempt=2"]),
    # Calls that are wanted, cancelled by a run that gives up.
    ("FAIL-05", RETRY, [*TWICE, "start a 1", f"fail a 1 {PERMANENT}", "cancel a 0 attempt=1"]),
    (
        "FAIL-05",
        RETRY,
        ["start s 0:2", "start a 1", f"fail a 1 {PERMANENT}", "cancel s 0:2 attempt=2"],
    ),
    (
        "FAIL-05",
        RETRY,
        [
            *a_to_b([0, 1]),
            "start v scope=0",
            "start a 3",
            f"fail a 3 {PERMANENT}",
            "cancel v scope=0 attempt=2",
        ],
    ),
    ("DROP-01", PLAIN, ["drop a 0"]),
    ("DROP-02", PLAIN, ["start a 0", "fail a 0 failure=permanent", "drop a 0", "drop a 0"]),
    ("DROP-03", PLAIN, ["start a 1", "start a 0", "fail a 0 failure=permanent", "start k 0 t=1"]),
    ("DROP-03", PLAIN, ["start a 0", "fail a 0 failure=permanent", "drop a 0", "start k 0"]),
    (
        "DROP-04",
        PLAIN,
        ["start a 0", "fail a 0 failure=permanent", "durable a 0"],
    ),
    ("SKIP-01", PLAIN, ["skip a 0"]),
    ("SKIP-02", PLAIN, ["start a 0", "complete a 0", "skip k 0", "start p 0"]),
    ("GROUP-01", GROUPS, ["start a 0"]),
    ("GROUP-02", GROUPS, ["admit 0:2", "admit 2:4"]),
    ("GROUP-03", GROUPS, ["admit 0:2", "retire 0:2"]),
    (
        "GROUP-04",
        header(Limits(group_rows=1, groups=1)),
        ["admit 0"],
    ),
    ("GROUP-05", GROUPS, ["admit 1:3"]),
    (
        "GROUP-06",
        header(Limits(group_rows=2), claims=("core", "work_conserving")),
        [{"event": "crash", "t": 1.0}],
    ),
    (
        "GROUP-07",
        header(
            Limits(group_rows=1, groups=1),
            claims=("core", "work_conserving"),
            graph=ExecutionGraph(2, [ColumnDescriptor("a")]),
        ),
        ["admit 0", *ALL_MADE, "retire 0 t=1"],
    ),
    (
        "GROUP-08",
        header(Limits(group_rows=1, groups=1), graph=IN_ORDER),
        ["admit 1"],
    ),
    ("RANGE-01", header(graph=everything()), ["start many 0:2"]),
    ("RANGE-02", PLAIN, ["start s 0:2", "complete s 0", "complete s 0"]),
    (
        "STOP-01",
        STOPS,
        ["start a 0", "start a 1", "complete a 0", "fail a 1 failure=permanent", "start a 2 t=1"],
    ),
    ("STOP-02", PLAIN, ["stop"]),
    ("STOP-03", PLAIN, ["end outcome=stopped"]),
    ("STOP-04", SMALL, [*ALL_SAVED, "end outcome=failed"]),
    ("STOP-04", SMALL, [*ALL_SAVED, BEGUN, "checkpoint_durable", "end outcome=failed"]),
    ("STOP-04", SMALL, [*ALL_SAVED, BEGUN, "end outcome=failed"]),
    ("STOP-05", PLAIN, ["stop_requested", "start a 0"]),
    ("STOP-05", PLAIN, ["start a 0", "stop_requested", "complete a 0", "start k 0"]),
    ("STOP-05", GROUPS, ["stop_requested", "admit 0:2"]),
    ("STOP-06", PLAIN, ["end outcome=interrupted"]),
    ("STOP-06", PLAIN, ["stop_requested", "end outcome=stopped"]),
    (
        "STOP-07",
        SMALL,
        [*ALL_SAVED, BEGUN, "stop_requested", "end outcome=interrupted"],
    ),
    ("STOP-09", PLAIN, ["start a 0", "stop_requested", "end outcome=interrupted"]),
    # The row that was finished before the endpoint broke is not on storage.
    (
        "STOP-08",
        header(
            failures=FailurePolicy(1, stop_window=2, stop_rate=0.5),
            claims=("core", "resume"),
            graph=ExecutionGraph(4, [ColumnDescriptor("a")]),
        ),
        [
            *(*ALL_SAVED, "start a 1", "complete a 1", "start a 2"),
            *(f"fail a 2 {PERMANENT}", "drop a 2", "stop", "end outcome=stopped"),
        ],
    ),
    (
        "CKPT-05",
        PLAIN,
        [
            "start a 0",
            "complete a 0",
            "start k 0",
            "complete k 0",
            "durable k 0",
            {"event": "checkpoint_begin", "claim": {**CLAIMS_NOTHING, "k": 1}},
        ],
    ),
    ("CKPT-08", PLAIN, ["durable a 0"]),
    (
        "CKPT-09",
        PLAIN,
        [
            "start a 0",
            "complete a 0",
            "durable a 0",
            {"event": "checkpoint_begin", "claim": {**CLAIMS_NOTHING, "a": 1}},
            "checkpoint_durable",
            {"event": "checkpoint_begin", "claim": CLAIMS_NOTHING},
        ],
    ),
    (
        "CKPT-10",
        PLAIN,
        [
            "start a 0",
            "complete a 0",
            {"event": "checkpoint_begin", "claim": {**CLAIMS_NOTHING, "a": 1}},
        ],
    ),
    ("CKPT-11", PLAIN, ["checkpoint_durable"]),
    ("CKPT-12", PLAIN, ["crash", {"event": "resume", "claim": {**CLAIMS_NOTHING, "a": 2}}]),
    ("CKPT-16", PLAIN, []),
    (
        "CKPT-17",
        PLAIN,
        ["crash", {"event": "resume", "claim": CLAIMS_NOTHING, "dropped": ((0, 1),)}],
    ),
    (
        "SKIP-03",
        PLAIN,
        ["crash", {"event": "resume", "claim": CLAIMS_NOTHING, "skipped": {"k": ((0, 1),)}}],
    ),
    ("TRACE-02", PLAIN, ["start x 0"]),
    ("TRACE-02", PLAIN, ["start a 4"]),
    ("TRACE-02", PLAIN, ["start v scope=2"]),
    ("TRACE-02", PLAIN, ["start a 0 resource=x"]),
    (
        "TRACE-02",
        header(Limits(resources={"x": 1, "y": 1}, column_resource={"a": "x"})),
        ["start a 0 resource=y"],
    ),
    ("TRACE-02", PLAIN, ["admit 0:2"]),
    ("TRACE-02", PLAIN, ["emit a 0"]),
    (
        "TRACE-02",
        PLAIN,
        ["crash", {"event": "resume", "claim": CLAIMS_NOTHING, "incarnation": 2}],
    ),
    ("TRACE-02", PLAIN, [{"event": "checkpoint_begin", "claim": {"a": 1}}]),
]


def _claim_16() -> list[Any]:
    """Rows of a barrier are claimed, and then the last batch grows."""
    everything_done: list[Any] = []
    for row in range(3):
        everything_done += a_to_b([row])
    everything_done += [
        "start v scope=0", "complete v scope=0", "emit v 0:2",
        "start v scope=1", "complete v scope=1", "emit v 2",
        {"event": "durable", "column": "a", "rows": (0, 3)},
        {"event": "durable", "column": "b", "rows": (0, 3)},
        {"event": "durable", "column": "v", "rows": (0, 3)},
        {"event": "checkpoint_begin", "claim": {**CLAIMS_NOTHING, "a": 3, "b": 3, "v": 3}},
        "checkpoint_durable",
        "crash",
        {"event": "resume", "claim": {**CLAIMS_NOTHING, "a": 3, "b": 3, "v": 3}, "records": 4},
    ]  # fmt: skip
    return everything_done


CASES[[clause for clause, *_ in CASES].index("CKPT-16")] = (
    "CKPT-16",
    header(graph=GRAPH.resized(3)),
    _claim_16(),
)


@pytest.mark.clause("DROP-06")
@pytest.mark.parametrize(
    "last",
    [["start a 0"], ["drop a 0 cause=killer", "start a 1"]],
    ids=["tried again", "given up"],
)
def test_a_cell_that_ended_well_as_the_process_died_may_start_or_be_given_up(
    last: list[str],
) -> None:
    """The process may have died before it wrote the end down."""
    made = [*DIED, *ALL_MADE, "crash", RESUMED]
    assert not judged((KILLS, steps(*made, *last))).violations


@pytest.mark.parametrize(
    ("clause", "given_header", "given_steps"),
    [
        pytest.param(*case, marks=pytest.mark.clause(case[0]), id=f"{case[0]}-{number}")
        for number, case in enumerate(CASES)
    ],
)
def test_the_step_that_breaks_a_clause_is_named_by_its_number(
    tmp_path: Path, clause: str, given_header: Header, given_steps: list[Any]
) -> None:
    events = steps(*given_steps)
    path = write_trace(tmp_path / "run.jsonl", given_header, events)
    result = check_file(path)
    (found,) = result.violations
    assert found.clause == clause, found
    assert found.seq == len(events)
    assert found.line == len(events) + 1
    assert "\n" not in found.detail
    assert found.explanation[0] == f"{clause}: {clauses()[clause].text}"
    assert found.explanation[1].startswith(f"event {len(events)} (line {len(events) + 1}): t=")
    assert f"found: {found.detail}" in found.explanation
    assert judge_trace(result).verdict is Verdict.VIOLATED
    assert not result.unreadable
    # Without the last step nothing is wrong.
    assert not judged((given_header, events[:-1])).violations


FAILS_FAST = ["start a 0", "start a 1", f"fail a 0 {PERMANENT}"]
"""A node fails for good in an engine that does not claim to drop rows, and another one runs."""


@pytest.mark.clause("SCHED-14", "STOP-04", "DROP-04", "FAIL-04")
@pytest.mark.parametrize(
    ("given_header", "given_steps"),
    [
        (PLAIN, [*A_SAVED, BEGUN_OF_A, "checkpoint_failed"]),
        (PLAIN, [*A_SAVED, BEGUN_OF_A, "checkpoint_failed", BEGUN_OF_A]),
        (PLAIN, [*A_SAVED, "checkpoint_failed", BEGUN_OF_A, "checkpoint_durable"]),
        (
            PLAIN,
            [
                *A_SAVED,
                "checkpoint_failed",
                BEGUN_OF_A,
                *("checkpoint_failed", BEGUN_OF_A),
                "checkpoint_durable",
            ],
        ),
        (SMALL, [*ALL_SAVED, BEGUN, "checkpoint_failed"]),
        (SMALL, [*ALL_MADE, "checkpoint_failed"]),
        (STOPS, ["start a 0", "complete a 0", "start a 1", f"fail a 1 {PERMANENT}", "drop a 1"]),
        (PLAIN, [*OTHERS_SAVED]),
        (
            PLAIN,
            [
                *ALL_MADE,
                "start a 1",
                "complete a 1",
                "write_begin a 0",
                "checkpoint_failed",
                "write_begin a 1",
                "durable a 1",
            ],
        ),
        (
            PLAIN,
            [
                *(*A_SAVED, "start a 1", "complete a 1", "durable a 1"),
                *({**BEGUN_OF_A, "claim": {**CLAIMS_NOTHING, "a": 2}}, "checkpoint_failed"),
                *(BEGUN_OF_A, "checkpoint_durable"),
            ],
        ),
        (PLAIN, [*ALL_MADE, "start a 1", "checkpoint_failed", "cancel a 1"]),
        (PLAIN, [*OTHERS_SAVED, "start a 2", "cancel a 2"]),
        (PLAIN, [*A_SAVED, "start a 1", BEGUN_OF_A, "checkpoint_failed", "cancel a 1"]),
        (STREAMS, ["start s 0:2", "complete s 0", "checkpoint_failed", "cancel s 1"]),
        (
            RETRY_ONE,
            [*ALL_MADE, "start v scope=0", "checkpoint_failed", "cancel v scope=0"],
        ),
        (PLAIN, FAILS_FAST),
        (PLAIN, [*FAILS_FAST, "complete a 1"]),
        (PLAIN, [*FAILS_FAST, "cancel a 1"]),
        (PLAIN, [*FAILS_FAST, "drop a 0"]),
        (PLAIN, [*FAILS_FAST, "drop a 0", "cancel a 1"]),
        (RETRY, [*TWICE, "fail a 0 failure=retryable attempt=2"]),
        (TIMED, ["start a 0", "start a 1", f"fail a 0 {PERMANENT} t=1", "complete a 1 t=3"]),
        (TIMED, [*LOST_BESIDE_A_CALL, "complete a 1 t=1"]),
        (PLAIN, [*A_SAVED, BEGUN_OF_A, "checkpoint_failed", BEGUN_OF_A, "checkpoint_durable"]),
        (PLAIN, [*ALL_MADE, "checkpoint_failed", "durable a 0"]),
        (DROPPING, [*ALL_MADE, "start a 1", f"fail a 1 {PERMANENT}", "checkpoint_failed"]),
    ],
    ids=[
        *("claim failed", "next claim on its way", "rows lost, others claimed"),
        *("rows lost, others claimed at last", "last claim failed"),
        *("rows not written", "early stop", "rows lost, others saved"),
        *("announced rows lost, others saved", "claim lost, a smaller one made"),
        *("rows lost and calls cancelled", "others saved and calls cancelled"),
        *("claim lost and calls cancelled", "rows lost and a range cancelled"),
        *("rows lost and a barrier cancelled", "fails fast", "lets calls end", "cancels calls"),
        *("records the drop", "records the drop and cancels", "budget spent", "waits for calls"),
        *("a write is lost and calls end", "a last claim is written", "what was lost is written"),
        "drops are not recorded either",
    ],
)
def test_a_run_may_give_up_where_something_stood_in_its_way(
    given_header: Header, given_steps: list[Any]
) -> None:
    last = max(event.t for event in steps(*given_steps))
    run = steps(*given_steps, f"end outcome=failed t={last:g}")
    assert not judged((given_header, run)).violations


@pytest.mark.clause("SCHED-14")
def test_a_run_may_give_up_when_the_rest_can_never_get_a_place() -> None:
    """Row groups were admitted out of order: the cursor waits for a group that never gets in."""
    columns = [ColumnDescriptor("s", traits=T.ORDERED)]
    graph = ExecutionGraph(2, columns)
    given_header = header(Limits(group_rows=1, groups=1), graph=graph)
    fills_up = steps("admit 1", "end outcome=failed")
    assert not judged((given_header, fills_up), waive=["GROUP-08"]).violations
    (found,) = judged((given_header, fills_up)).violations
    assert found.clause == "GROUP-08"
    (found,) = judged((given_header, steps("end outcome=failed"))).violations
    assert found.clause == "SCHED-14"
    assert found.detail == "the run gives up although row group [0:1] may be admitted"


@pytest.mark.clause("GROUP-04", "SCHED-14")
def test_limits_that_must_be_refused_are_so_by_a_run_that_fails_at_once() -> None:
    given_header = header(Limits(group_rows=1, groups=1))
    assert not judged((given_header, steps("end outcome=failed"))).violations
    for late in (["admit 0", "end outcome=failed"], ["end outcome=success"]):
        (found,) = judged((given_header, steps(*late))).violations
        assert (found.clause, found.seq) == ("GROUP-04", 1)


@pytest.mark.clause("GROUP-04")
def test_a_resume_with_more_rows_than_its_limits_can_ever_admit_had_to_be_refused() -> None:
    columns = [ColumnDescriptor("a"), ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"])]
    given_header = header(Limits(group_rows=1, groups=1), graph=ExecutionGraph(1, columns))
    more = {"event": "resume", "claim": {"a": 0, "v": 0}, "records": 2}
    (found,) = judged((given_header, steps("admit 0", "crash", more))).violations
    assert found.clause == "GROUP-04"
    assert "only 1 may be admitted at once" in found.detail


LATE = ["start k 0", "start a 0", "fail k 0 failure=permanent"]
"""A row is dropped while another call for it runs; the early stop looks at the last two calls."""


@pytest.mark.clause("STOP-01", "STOP-02")
@pytest.mark.parametrize("end", ["complete a 0", "fail a 0 failure=permanent"])
def test_a_call_that_ends_after_its_row_was_dropped_counts_for_the_early_stop(end: str) -> None:
    given_header = header(failures=FailurePolicy(stop_window=2, stop_rate=0.5), graph=LOOSE)
    assert not judged((given_header, steps(*LATE, end, "stop"))).violations
    (found,) = judged((given_header, steps(*LATE, end, "start a 1 t=1"))).violations
    assert found.clause == "STOP-01"


@pytest.mark.clause("STOP-02")
@pytest.mark.parametrize(
    "end",
    ["cancel a 0", "fail a 0 failure=retryable", "fail a 0 failure=backpressure"],
)
def test_a_call_that_is_cancelled_or_may_be_made_again_does_not_count(end: str) -> None:
    given_header = header(failures=FailurePolicy(stop_window=2, stop_rate=0.5), graph=LOOSE)
    assert not judged((given_header, steps(*LATE, end, "start a 1"))).violations
    (found,) = judged((given_header, steps(*LATE, end, "stop"))).violations
    assert found.clause == "STOP-02"


@pytest.mark.clause("STOP-01", "STOP-02")
def test_a_rate_of_failures_means_its_decimal_number() -> None:
    given_header = header(
        failures=FailurePolicy(stop_window=25, stop_rate=0.28),
        graph=ExecutionGraph(30, [ColumnDescriptor("a")]),
    )
    fails = [word for row in range(7) for word in (f"start a {row}", f"fail a {row} {PERMANENT}")]
    ends = [word for row in range(7, 25) for word in (f"start a {row}", f"complete a {row}")]
    assert not judged((given_header, steps(*fails, *ends, "stop"))).violations
    (found,) = judged((given_header, steps(*fails, *ends, "start a 25 t=1"))).violations
    assert found.clause == "STOP-01"
    fewer = judged((given_header, steps(*fails[:-2], *ends, "start a 6", "complete a 6", "stop")))
    assert fewer.violations[0].clause == "STOP-02"


def test_every_clause_that_a_single_trace_can_break_has_a_case() -> None:
    by_trace = {"SCHED", "BARR", "FAIL", "DROP", "SKIP", "GROUP", "RANGE", "STOP"}
    resumed = {
        "CKPT-05",
        "CKPT-08",
        "CKPT-09",
        "CKPT-10",
        "CKPT-11",
        "CKPT-12",
        "CKPT-16",
        "CKPT-17",
    }
    # Graphs and their nodes; and a run that stands still writes no event.
    # FAIL-09 shows in values, and SKIP-04 in the conditions of columns.
    elsewhere = {"FAIL-09", "SKIP-04", "BARR-03", "BARR-04", "BARR-05", "SCHED-12"}
    expected = {n for n in clauses() if n.partition("-")[0] in by_trace} | resumed
    missing = expected - elsewhere - {clause for clause, *_ in CASES}
    assert missing == set()


# Explanations


def test_an_explanation_has_the_rule_the_event_the_state_and_earlier_events() -> None:
    given_header = header(
        Limits(workers=3, resources={"gpu": 2}, column_resource={"b": "gpu"}), FailurePolicy(3)
    )
    events = steps(
        "start a 2",
        "start a 0",
        "fail a 0 failure=retryable until=4 t=1.5",
        "start b 0 t=2 resource=gpu",
    )
    (found,) = judged((given_header, events)).violations
    assert list(found.explanation) == [
        f"SCHED-01: {clauses()['SCHED-01'].text}",
        "event 4 (line 5): t=2 s start b[0] resource=gpu",
        "found: b[0] starts although a[0] is not complete",
        "state: b[0] is waiting",
        "state: b[0] waits for a[0] (failed, to be tried again)",
        "state: 1 in flight, workers: 3; 'gpu': 0 of 2",
        "before it, of what it has to do with:",
        "  2: t=0 s start a[0]",
        "  3: t=1.5 s fail a[0] failure=retryable until=4.0",
    ]


def test_the_explanation_of_a_claim_says_what_is_on_storage() -> None:
    events = steps(
        "start a 0",
        "complete a 0",
        "start a 1",
        "complete a 1",
        "durable a 0",
        {"event": "checkpoint_begin", "claim": {**CLAIMS_NOTHING, "a": 2}},
    )
    (found,) = judged((PLAIN, events)).violations
    assert found.clause == "CKPT-10"
    others = "0 of 'b', 0 of 'v', 0 of 's', 0 of 'k', 0 of 'p'"
    assert f"state: rows resolved without a gap: 2 of 'a', {others}" in found.explanation
    assert f"state: rows on storage: 1 of 'a', {others}" in found.explanation
    assert "state: last durable claim: 0 of every column" in found.explanation
    assert found.explanation[-1] == "  5: t=0 s durable a[0]"


def test_a_claim_with_gaps_that_goes_beyond_the_table_is_told_with_its_last_row() -> None:
    claim = {**CLAIMS_NOTHING, "a": [[1, GRAPH.num_records + 1]]}
    calls = (
        f"{kind} a {row}" for row in range(GRAPH.num_records) for kind in ("start", "complete")
    )
    events = steps(*calls, "durable a 0", {"event": "checkpoint_begin", "claim": claim})
    (found,) = judged((PLAIN, events)).violations
    assert found.clause == "CKPT-08"
    assert f"a[{GRAPH.num_records}] is claimed, but the table ends with row" in found.detail


def test_the_explanation_of_an_idle_worker_has_the_load_and_not_the_next_event() -> None:
    (found,) = judged((TIMED, steps("start a 0", "complete a 0 t=1"))).violations
    assert list(found.explanation[1:]) == [
        "event 2 (line 3): t=1 s complete a[0]",
        "found: a[1] at t=0 s was ready, with a worker and its resource free, and was not started "
        "before t=1 s",
        "state: 1 in flight, workers: 2",
        "before it, of what it has to do with:",
        "  1: t=0 s start a[0]",
    ]


@given(run=runs(), data=st.data())
def test_an_explanation_is_short_whatever_broke(run: Run, data: st.DataObject) -> None:
    found = judged(data.draw(damaged_runs(run)))
    for finding in found.violations:
        assert len(finding.explanation) <= 40
        assert all("\n" not in line and len(line) < 600 for line in finding.explanation)


# What is not judged


def test_after_the_first_finding_nothing_more_is_judged() -> None:
    checker = Checker(PLAIN)
    first = [checker.feed(event) for event in steps("complete a 0", "start b 0", "start b 0")]
    assert first[0] is not None
    assert first == [first[0]] * 3
    assert checker.result().events == 1


def test_a_waived_clause_is_not_judged_and_the_result_says_so() -> None:
    events = steps("start b 0", "complete b 0")
    result = judged((PLAIN, events), waive=["SCHED-01"])
    assert not result.violations
    assert result.waived == ("SCHED-01",)
    with pytest.raises(SpecError, match="no such clause: 'SCHED-99'"):
        Checker(PLAIN, waive=["SCHED-99"])


@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_idle_work_is_judged_only_if_the_engine_claims_to_leave_none(clock: Any) -> None:
    events = steps("start a 0", "complete a 0 t=1")
    for claims, judges in (
        (("core",), False),
        (("core", "work_conserving"), clock == "virtual"),
    ):
        given_header = header_for(GRAPH, engine="suite", version="1", clock=clock, claims=claims)
        result = judged((given_header, events))
        assert bool(result.violations) is judges
        progress = {"SCHED-15"} if clock == "real" else set()
        unjudged = set() if judges else {"SCHED-09", "GROUP-06"} | progress
        assert set(result.unjudged) == unjudged


DIES: tuple[Any, ...] = ("crash", {"event": "resume", "claim": CLAIMS_NOTHING})
CLAIM_LOST = [*A_SAVED, BEGUN_OF_A, "checkpoint_failed"]
BOTH_LOST = [
    *(*A_SAVED, "start a 1", "complete a 1", "durable a 1", BEGUN_OF_A, "checkpoint_failed"),
    "write_begin a 0:2",
]

MOMENTS: list[tuple[list[Any], str]] = [
    # While a call is in flight, or nothing is ready, nobody waits.
    (["start a 0", "complete a 0 t=5", "start a 1 t=5"], ""),
    (["start a 0", "complete a 0 t=5", "start a 1 t=5.1"], "SCHED-15"),
    (
        ["start a 0", "complete a 0 t=5", {"event": "end", "t": 9.0, "outcome": "failed"}],
        "SCHED-14",
    ),
    # A write, or a claim, is a step of storage.
    (["start a 0", "complete a 0", "write_begin a 0", "durable a 0 t=3", "start a 1 t=3"], ""),
    (["start a 0", "complete a 0", "write_begin a 0", "durable a 0", "start a 1 t=3"], "SCHED-15"),
    (["start a 0", "complete a 0", "write_begin a 0", "durable 0 t=3"], "CKPT-08"),
    (
        ["start a 0", "complete a 0", "write_begin a 0", "checkpoint_failed", "start a 1 t=3"],
        "SCHED-15",
    ),
    # What is durable may be written once more, after a failed write alone.
    ([*A_SAVED, "write_begin a 0", "durable a 0 t=3", "start a 1 t=3"], "SCHED-15"),
    ([*CLAIM_LOST, "write_begin a 0", "durable a 0 t=3", "start a 1 t=3"], ""),
    ([*CLAIM_LOST, "write_begin a 0", "durable a 0 t=3", "start a 1 t=4"], "SCHED-15"),
    ([*BOTH_LOST, "durable a 0 t=3", "durable a 1 t=4", "start a 2 t=4"], ""),
    ([*BOTH_LOST, "durable a 0 t=3", "durable a 1 t=3", "start a 2 t=4"], "SCHED-15"),
    # So are a stop and the next try of a write that failed.
    ([*ALL_MADE, "stop_requested", "checkpoint_failed", "durable a 0 t=3"], ""),
    ([*ALL_MADE, "stop_requested", "write_begin a 0", "durable a 0 t=3"], ""),
    ([*A_SAVED, "stop_requested", "write_begin a 0", "durable a 0 t=3"], ""),
    ([*ALL_MADE, "stop_requested", "durable a 0 t=3"], "STOP-05"),
    ([*ALL_MADE, "checkpoint_failed", "durable a 0", "stop_requested", "crash t=3"], "STOP-05"),
    # A pause ends when it says.
    ([*PUSHED_BACK, "pause until=3", "start a 1 t=3"], ""),
    ([*PUSHED_BACK, "pause until=3", "start a 1 t=3.5"], "SCHED-15"),
    ([*PUSHED_BACK, "pause until=3", "pause until=2"], "SCHED-16"),
    (
        [
            *PUSHED_BACK,
            "start a 1",
            "pause until=3",
            "fail a 1 failure=retryable t=1",
            "pause until=2 t=1",
            "start a 1 t=2 attempt=2",
        ],
        "SCHED-16",
    ),
    (
        [
            *PUSHED_BACK,
            "start a 1",
            "pause until=3",
            "fail a 1 failure=retryable t=1",
            "pause until=4 t=1",
            "start a 1 t=4 attempt=2",
        ],
        "",
    ),
    # Two calls that were turned away, seen together, have a pause each, and no third one.
    (
        [*PUSHED_BACK_TWICE, "pause until=3", "pause until=5", "start a 0 t=5"],
        "",
    ),
    (
        [*PUSHED_BACK_TWICE, *("pause until=3", "pause until=4", "pause until=5")],
        "SCHED-16",
    ),
    # The next process may know how long a call asked to be left alone, and that one pause.
    ([*PUSHED_BACK, *DIES, "pause until=3", "start a 1 t=3"], ""),
    ([*PUSHED_BACK, *DIES, "pause until=3", "pause until=4", "start a 1 t=4"], "SCHED-16"),
    ([*PUSHED_BACK, *DIES, "start a 1 t=3"], "SCHED-15"),
    (["start a 0", "fail a 0 failure=backpressure", *DIES, "pause until=3"], "SCHED-16"),
    # A crash ends it; the next process may go on with it.
    (
        [
            *PUSHED_BACK,
            "pause until=3",
            "crash",
            {"event": "resume", "claim": CLAIMS_NOTHING},
            "start a 1",
        ],
        "",
    ),
    (
        [
            *PUSHED_BACK,
            "pause until=3",
            "crash",
            {"event": "resume", "claim": CLAIMS_NOTHING},
            "pause until=3",
            "start a 1 t=3",
        ],
        "",
    ),
]


@pytest.mark.clause("SCHED-15", "SCHED-16")
@pytest.mark.parametrize(("given_steps", "clause"), MOMENTS)
def test_an_engine_without_promises_is_idle_only_while_nothing_happens(
    given_steps: list[Any], clause: str
) -> None:
    found = [one.clause for one in judged((RETRY, steps(*given_steps))).violations]
    assert found == ([clause] if clause else [])


GROUPS_OF_ONE = Limits(group_rows=1, groups=2)
ONE_COLUMN = ExecutionGraph(3, [ColumnDescriptor("a")])
BY_GROUP = header(GROUPS_OF_ONE, claims=("core", "groups", "work_conserving"), graph=ONE_COLUMN)
AT_LEISURE = header(GROUPS_OF_ONE, claims=("core", "groups"), graph=ONE_COLUMN)
POLLS = replace(AT_LEISURE, trace=2, idle_s=1.0)
TWO_GROUPS = ("admit 0", "admit 1", "start a 0", "start a 1")
FIRST_WRITTEN = (*TWO_GROUPS, "complete a 0 t=1", "write_begin a 0", "complete a 1 t=2")
SECOND_FIRST = (*TWO_GROUPS, "complete a 1 t=1")
NEXT = ("durable 0 t=3", "retire 0", "admit 2", "start a 2")

BY_THREE = replace(BY_GROUP, limits=Limits(group_rows=1, groups=3))
IN_LINE = (
    *("admit 0", "admit 1", "admit 2", "start a 0", "start a 1", "start a 2"),
    *("complete a 0 t=1", "complete a 1", "complete a 2", "write_begin a 0"),
    *("durable 0:2 t=2", "retire 0", "write_begin a 2"),
)

RETIREMENTS: list[tuple[Header, list[str], str]] = [
    # Storage takes one group after the other; the second one waits for it, and for no group.
    (BY_GROUP, [*FIRST_WRITTEN, *NEXT, "write_begin a 1", "durable 1 t=4", "retire 1 t=4"], ""),
    (
        BY_GROUP,
        [*FIRST_WRITTEN, *NEXT, "write_begin a 1", "durable 1 t=4", "retire 1 t=5"],
        "GROUP-07",
    ),
    # It does nothing while storage is free; and what is safe waits for no storage.
    (BY_GROUP, [*FIRST_WRITTEN, *NEXT, "write_begin a 1 t=4"], "GROUP-07"),
    (
        BY_GROUP,
        [
            *TWO_GROUPS,
            "complete a 0 t=1",
            "durable 0",
            *("complete a 1", "write_begin a 1", "durable 1 t=2"),
        ],
        "GROUP-07",
    ),
    # The write of another group makes it safe, of which it learns when its turn comes.
    (BY_THREE, [*IN_LINE, "retire 1 t=3"], ""),
    (BY_THREE, [*IN_LINE, "durable 2 t=3", "retire 1 t=4"], "GROUP-07"),
    # After a write that failed it may be giving up, until a group is admitted.
    (BY_GROUP, [*FIRST_WRITTEN[:6], "checkpoint_failed t=2", "complete a 1 t=3"], ""),
    (BY_GROUP, [*FIRST_WRITTEN, "checkpoint_failed t=3", "retire 0", "admit 2 t=4"], "GROUP-06"),
    # Without a promise of work conservation it may not wait for another group either.
    (AT_LEISURE, [*SECOND_FIRST, "complete a 0 t=50"], "GROUP-07"),
    (AT_LEISURE, [*SECOND_FIRST, "retire 1", "complete a 0 t=50"], ""),
    (
        AT_LEISURE,
        [
            *TWO_GROUPS,
            "complete a 0 t=1",
            "durable 0",
            "complete a 1",
            "write_begin a 1",
            "durable 1 t=2",
            "retire 0",
            "retire 1",
        ],
        "",
    ),
    (AT_LEISURE, [*SECOND_FIRST, "complete a 0", "durable 0:2 t=2"], "SCHED-15"),
    (POLLS, [*SECOND_FIRST, "retire 1 t=2", "complete a 0 t=50"], ""),
    (POLLS, [*SECOND_FIRST, "durable 1 t=2", "complete a 0 t=2.5"], "GROUP-07"),
    (
        POLLS,
        [*SECOND_FIRST, "write_begin a 1", "durable 1 t=2", "retire 1 t=3", "complete a 0 t=3.5"],
        "",
    ),
]


@pytest.mark.clause("GROUP-07", "SCHED-15")
@pytest.mark.parametrize(("given_header", "given_steps", "clause"), RETIREMENTS)
def test_a_finished_row_group_waits_for_storage_and_for_no_other_group(
    given_header: Header, given_steps: list[str], clause: str
) -> None:
    timed, last = [], "t=0"
    for each in given_steps:
        # A step without a time happens at that of the step before.
        step, _, told = each.partition(" t=")
        last = f"t={told}" if told else last
        timed.append(f"{step} {last}")
    found = [one.clause for one in judged((given_header, steps(*timed))).violations]
    assert found == ([clause] if clause else [])


ONE_BY_ONE = [
    f"start {name} {row} t={1000 + 0.04 * (2 * row + (name == 'k'))}"
    for row in range(4)
    for name in "ak"
]
ANOTHER_CLOCK: list[Any] = [
    "start a 0 t=1000",
    "crash t=1000.01",
    {"event": "resume", "claim": {"a": 0, "k": 0}, "t": 5.0},
    "start a 0 t=5.02",
    "complete a 0 t=5.03",
]
REAL_STEPS: list[tuple[bool, list[Any], str]] = [
    (False, ["start a 0 t=1000", "complete a 0 t=1001", "start a 1 t=1001.04"], ""),
    (False, ["start a 0 t=1000", "complete a 0 t=1001", "start a 1 t=1001.2"], "SCHED-15"),
    # Each start ends the waits of its resource: this engine starts one call after the other.
    (True, ONE_BY_ONE, ""),
    (True, [*ONE_BY_ONE[:4], "complete a 0 t=1000.2"], "SCHED-09"),
    (True, ["start a 0 t=1000", "complete a 0 t=1000.5"], "SCHED-09"),
    (True, ANOTHER_CLOCK, ""),
]


@pytest.mark.clause("SCHED-09", "SCHED-15")
@pytest.mark.parametrize(("conserves", "given_steps", "clause"), REAL_STEPS)
def test_in_real_time_a_slack_says_from_when_an_engine_is_idle(
    conserves: bool, given_steps: list[Any], clause: str
) -> None:
    claims = ("core", "work_conserving") if conserves else ("core",)
    real = header_for(LOOSE, engine="suite", version="1", clock="real", claims=claims)
    result = judged((real, steps(*given_steps)), slack_s=0.05)
    assert [one.clause for one in result.violations] == ([clause] if clause else [])
    assert set(result.unjudged) == (set() if conserves else {"SCHED-09", "GROUP-06"})
    assert not judged((real, steps(*given_steps))).violations


@pytest.mark.clause("GROUP-06")
@pytest.mark.parametrize(("late", "clause"), [(7.04, ""), (7.2, "GROUP-06")])
def test_in_real_time_a_slack_says_from_when_a_row_group_waits(late: float, clause: str) -> None:
    limits = Limits(workers=1, group_rows=2)
    claims = ("core", "work_conserving")
    real = header_for(
        LOOSE, engine="suite", version="1", limits=limits, clock="real", claims=claims
    )
    admits = {"event": "admit", "rows": (2, 4), "t": late}
    events = steps("admit 0:2 t=7", "start a 0 t=7", admits, "complete a 0 t=8")
    found = [one.clause for one in judged((real, events), slack_s=0.05).violations]
    assert found == ([clause] if clause else [])


def test_inferred_events_are_judged_and_counted_and_are_no_evidence(
    tmp_path: Path,
) -> None:
    events = [replace(event, inferred=True) for event in steps("start a 0", "complete a 0")]
    result = judged((PLAIN, events))
    assert result.inferred == 2
    assert result.evidence["starts"] == 0
    header_, right = toy_run(everything(2), dice=CALM)
    right[3] = replace(right[3], inferred=True)
    result = check_file(write_trace(tmp_path / "run.jsonl", header_, right))
    assert not result.violations
    assert judge_trace(result).verdict is Verdict.INCONCLUSIVE
    wrong = [replace(event, inferred=True) for event in steps("start b 0")]
    assert judged((PLAIN, wrong)).violations


def test_a_run_that_did_not_end_allows_no_verdict(tmp_path: Path) -> None:
    header_, events = toy_run(everything(2), dice=CALM)
    path = write_trace(tmp_path / "run.jsonl", header_, events[:-1])
    judgement = judge_trace(check_file(path))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason == "the run did not come to its end"


def test_limits_that_must_be_refused_break_a_clause_only_if_something_runs() -> None:
    impossible = header(Limits(group_rows=1, groups=1))
    assert not judged((impossible, [])).violations
    (found,) = judged((impossible, steps("admit 0"))).violations
    assert found.clause == "GROUP-04"


def test_a_resume_may_change_the_number_of_rows() -> None:
    events = steps(
        "crash",
        {"event": "resume", "claim": CLAIMS_NOTHING, "records": 6, "incarnation": 1},
        "start a 5",
    )
    assert not judged((PLAIN, events)).violations
    fewer = [*events[:1], replace(events[1], records=2), replace(events[2], rows=2)]
    (found,) = judged((PLAIN, fewer)).violations
    assert found.clause == "TRACE-02"


def test_a_new_incarnation_may_read_another_clock() -> None:
    events = steps(
        "start a 0",
        {"event": "crash", "t": 100.0},
        {"event": "resume", "claim": CLAIMS_NOTHING, "t": 3.0},
        "start a 0 t=3",
        "complete a 0 t=2",
    )
    (found,) = judged((PLAIN, events)).violations
    assert (found.clause, found.seq) == ("SCHED-08", 5)


# Memory


def test_a_run_that_is_too_large_to_follow_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "run.jsonl", PLAIN, [])
    result = check_file(path, memory_bytes=23)
    assert result.unreadable == (
        f"{path}: line 1: graph.rows: 4 rows × 6 columns need 0 MiB of memory; 0 MiB may be used"
    )
    # In a run whose turns are judged, each row takes 25 bytes more.
    turns = write_trace(path, replace(PLAIN, bypass=1), [])
    assert "graph.rows" in check_file(turns, memory_bytes=4 * (6 + 25) - 1).unreadable
    assert "graph.rows" not in check_file(turns, memory_bytes=4 * (6 + 25)).unreadable
    huge = header(graph=ExecutionGraph(2**50, [ColumnDescriptor("a")]))
    assert "graph.rows" in check_file(write_trace(path, huge, [])).unreadable
    resume = steps("crash", {"event": "resume", "claim": CLAIMS_NOTHING, "records": 2**50})
    result = check_file(write_trace(path, PLAIN, resume))
    assert "line 3: records: 1,125," in result.unreadable
    assert judge_trace(result).verdict is Verdict.INCONCLUSIVE


@pytest.mark.measured
def test_memory_does_not_grow_with_the_number_of_events(tmp_path: Path) -> None:
    def peak(times: int) -> int:
        path = tmp_path / "run.jsonl"
        with TraceWriter(path, PLAIN) as writer:
            for _ in range(times):
                writer.add("start", 0.0, column="a", rows=0)
                writer.add("fail", 0.0, column="a", rows=0, failure="backpressure")
        tracemalloc.start()
        try:
            result = check_file(path)
            assert result.events == 2 * times
            assert not result.violations
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(24_000) < 1.2 * peak(6_000)


def test_a_cell_takes_at_most_a_byte() -> None:
    def peak(rows: int) -> int:
        columns = [
            ColumnDescriptor("a"),
            *(ColumnDescriptor(name, dependencies=["a"]) for name in "bcdefgh"),
        ]
        given_header = header(graph=ExecutionGraph(rows, columns))
        tracemalloc.start()
        try:
            checker = Checker(given_header)
            for event in steps("start a 0", "complete a 0"):
                checker.feed(event)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = peak(50_000), peak(250_000)
    # While a column's bytes are laid out there is one more copy of them.
    assert (large - small) / (200_000 * 8) < 1.3


def test_only_the_last_events_are_kept() -> None:
    checker = Checker(PLAIN)
    events = steps(*["start a 0", "fail a 0 failure=backpressure"] * RECENT_EVENTS)
    for event in events:
        assert checker.feed(event) is None
    assert len(checker._recent) == RECENT_EVENTS


# Against the transition system, step by step


def first_broken(run: Run) -> tuple[str, int] | None:
    """The verdict of the transition system alone: each event as an action, without shortcuts."""
    header_, events = run
    waive = ("SCHED-09", "GROUP-06") if "work_conserving" not in header_.claims else ()
    machine = Machine(
        graph_of(header_), limits_of(header_), failures=failures_of(header_), waive=waive
    )
    for event in events:
        try:
            if event.event == "resume" and event.t < machine.now:
                machine.set_clock(event.t)
            machine.at(event.t)
            action = action_of(event, machine.graph)
            takes = header_.limits.column_resource.get(action.column)
            if event.resource not in (None, takes):
                return "TRACE-02", event.seq
            machine.apply(action)
        except Violation as broken:
            return broken.clause, event.seq
        except SpecError:
            return "TRACE-02", event.seq
    return None


@st.composite
def damaged_runs(draw: st.DrawFn, run: Run) -> Run:
    """A right run with one thing changed in its events, numbered anew."""
    header_, events = run
    events = list(events)
    one = draw(st.integers(0, len(events) - 1))
    two = draw(st.integers(0, len(events) - 1))
    event = events[one]
    how = draw(st.sampled_from(["remove", "double", "move", "row", "column", "t", "field", "kind"]))
    if how == "remove":
        del events[one]
    elif how == "double":
        events.insert(two, event)
    elif how == "move":
        events.insert(two, events.pop(one))
    elif how == "row" and event.rows is not None:
        events[one] = replace(event, rows=draw(st.integers(0, header_.graph.rows)))
    elif how == "column" and event.column is not None:
        names = [column.name for column in header_.graph.columns]
        events[one] = replace(event, column=draw(st.sampled_from(names)))
    elif how == "t":
        events[one] = replace(event, t=draw(st.integers(0, 64)) / 8)
    elif how == "field":
        events[one] = _other_field(draw, event, header_)
    elif how == "kind" and event.event in ("start", "complete"):
        other = "complete" if event.event == "start" else "start"
        events[one] = replace(event, event=other, reads=None)
    return header_, renumbered(events)


def _other_field(draw: st.DrawFn, event: Event, header_: Header) -> Event:
    if event.claim is not None:
        name = draw(st.sampled_from(sorted(event.claim)))
        rows = draw(st.integers(0, header_.graph.rows))
        return replace(event, claim={**event.claim, name: rows})
    if event.event in ("start", "complete", "cancel"):
        return replace(event, attempt=(event.attempt or 1) + 1)
    if event.failure is not None:
        return replace(event, failure="permanent", until=None)
    if event.outcome is not None:
        return replace(event, outcome=draw(st.sampled_from(["success", "stopped", "failed"])))
    return event


@given(run=runs(), data=st.data())
def test_checker_and_transition_system_agree(run: Run, data: st.DataObject) -> None:
    damaged = data.draw(damaged_runs(run))
    found = judged(damaged).violations
    expected = first_broken(damaged)
    assert [(one.clause, one.seq) for one in found] == ([] if expected is None else [expected])


@given(run=runs(), data=st.data(), waive=st.sets(st.sampled_from(sorted(clauses())), max_size=8))
def test_whatever_is_waived_nothing_but_a_finding_or_one_line_comes_out(
    run: Run, data: st.DataObject, waive: set[str]
) -> None:
    header_, events = data.draw(damaged_runs(run))
    checker = Checker(header_, waive=sorted(waive))
    try:
        for event in events:
            found = checker.feed(event)
            assert found is None or found.clause not in waive
    except TraceError as error:
        message = str(error)
        assert "\n" not in message
    checker.result()


# Files that are no whole trace


@pytest.fixture(scope="module")
def good(folder: Path) -> bytes:
    run = toy_run(everything(4), EVERYTHING_LIMITS, FailurePolicy(2), seed=11)
    data = file_bytes(run, folder)
    assert verdict(data) is Verdict.PASS
    return data


@pytest.mark.clause("TRACE-01")
def test_a_trace_without_one_of_its_lines_never_passes(good: bytes) -> None:
    lines = good.splitlines(keepends=True)
    for number in range(len(lines)):
        assert verdict(b"".join(lines[:number] + lines[number + 1 :])) is not Verdict.PASS


@pytest.mark.clause("TRACE-01")
def test_a_trace_with_a_line_twice_never_passes(good: bytes) -> None:
    lines = good.splitlines(keepends=True)
    for number, line in enumerate(lines):
        for place in (number, len(lines) // 2, len(lines)):
            doubled = [*lines[:place], line, *lines[place:]]
            assert verdict(b"".join(doubled)) is not Verdict.PASS


@pytest.mark.clause("TRACE-01")
def test_a_trace_with_two_lines_exchanged_never_passes(good: bytes) -> None:
    lines = good.splitlines(keepends=True)
    for number in range(len(lines)):
        for other in (number - 1, number // 2):
            changed = list(lines)
            changed[number], changed[other] = changed[other], changed[number]
            if changed != lines:
                assert verdict(b"".join(changed)) is not Verdict.PASS


@pytest.mark.clause("TRACE-01")
def test_a_trace_that_is_cut_anywhere_never_passes_and_says_in_which_line(good: bytes) -> None:
    whole = good.rstrip(b"\n")
    for place in (*range(0, len(whole), 37), *range(len(whole) - 60, len(whole))):
        result = check_file(io.BytesIO(whole[:place]))
        assert judge_trace(result).verdict is Verdict.INCONCLUSIVE
        # Cut at the very end of a line, the next one is missing.
        line = whole[:place].count(b"\n") + 1 + (whole[place : place + 1] == b"\n")
        assert place == 0 or f"line {line}" in result.unreadable, result.unreadable
    assert verdict(whole) is Verdict.PASS


@pytest.mark.clause("TRACE-02")
def test_events_of_another_run_never_pass(good: bytes, folder: Path) -> None:
    other = toy_run(everything(5), Limits(workers=5), FailurePolicy(2), seed=12)
    lines = good.splitlines(keepends=True)
    theirs = file_bytes(other, folder).splitlines(keepends=True)
    assert verdict(b"".join([lines[0], *theirs[1:]])) is not Verdict.PASS
    assert verdict(b"".join([theirs[0], *lines[1:]])) is not Verdict.PASS
    assert verdict(b"".join([*lines[:-1], theirs[-1]])) is not Verdict.PASS


@given(data=st.data())
def test_a_damaged_file_gives_a_verdict_and_never_a_traceback(
    good: bytes, data: st.DataObject
) -> None:
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed) - 1))
        how = data.draw(st.sampled_from(["flip", "cut", "insert", "digit"]))
        if how == "flip":
            changed[place] ^= data.draw(st.integers(1, 255))
        elif how == "cut":
            del changed[place : place + data.draw(st.integers(1, 40))]
        elif how == "insert":
            changed[place:place] = data.draw(st.binary(max_size=6))
        else:
            changed[place : place + 1] = data.draw(st.sampled_from([b"0", b"9", b"7777777", b"-"]))
        if not changed:
            break
    result = check_file(io.BytesIO(bytes(changed)), memory_bytes=1 << 20)
    judgement = judge_trace(result)
    assert judgement.verdict in (Verdict.PASS, Verdict.VIOLATED, Verdict.INCONCLUSIVE)
    assert "\n" not in judgement.reason
    for finding in result.violations:
        assert finding.line is not None
    if result.unreadable:
        assert not result.violations


def test_a_finding_of_the_file_has_its_line_and_no_event(good: bytes) -> None:
    lines = good.splitlines(keepends=True)
    (found,) = check_file(io.BytesIO(b"".join([lines[0], *lines[2:]]))).violations
    assert found == Finding(
        "TRACE-01",
        "seq: expected 1, got 2",
        None,
        2,
        (
            f"TRACE-01: {clauses()['TRACE-01'].text}",
            "line 2 of trace",
            "found: seq: expected 1, got 2",
        ),
    )


# The command


def run_check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, list[str]]:
    code = main(["check", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, [line for line in err.splitlines() if not line.startswith("wall time")]


def test_the_command_judges_a_right_trace_with_code_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run(everything(), EVERYTHING_LIMITS, FailurePolicy(2), seed=3)
    path = write_trace(tmp_path / "run.jsonl.gz", *run)
    code, out, err = run_check(capsys, path)
    assert (code, err) == (0, [])
    assert "not compared: the configuration, which header and resume must state (CKPT-20)" in out
    lines = out.splitlines()
    assert lines[0] == f"{path}: toy 1, 7 rows × 6 columns, virtual clock"
    assert lines[-1] == f"pass: {len(run[1])} events, each of them allowed"
    assert run_check(capsys, path)[1] == out


def test_the_command_counts_one_of_a_thing_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = ExecutionGraph(1, [ColumnDescriptor("a", traits=ExecutionTraits.START)])
    events = steps("start a 0", "complete a 0")
    path = write_trace(tmp_path / "run.jsonl", header(graph=graph), events)
    _, out, _ = run_check(capsys, path)
    assert out.startswith(f"{path}: suite 1, 1 row × 1 column, ")
    assert "\n2 events in 1 incarnation, 1 row resolved without a gap, not ended\n" in out


def test_the_command_names_the_clause_sets_of_a_trace_written_for_an_earlier_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = "63ca8bff2ad02c2e"
    assert version_of(first) == "1"
    old = msgspec.structs.replace(PLAIN, clauses=first)
    path = write_trace(tmp_path / "run.jsonl", old, steps("start a 0"))
    now = clause_set_version()
    _, out, _ = run_check(capsys, path)
    assert f"\nwritten for clause set 1, judged by clause set {now}\n" in out
    _, out, _ = run_check(capsys, path, "--format", "json")
    sets = {"written_for": first, "judged_by": clause_set(), "version": now}
    assert json.loads(out)["clauses"] == sets
    path = write_trace(tmp_path / "run.jsonl", PLAIN, steps("start a 0"))
    assert "written for clause set" not in run_check(capsys, path)[1]


def test_the_command_notes_a_clause_set_that_no_version_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = steps("start a 0", "complete a 0")
    known = run_check(capsys, write_trace(tmp_path / "known.jsonl", PLAIN, trace))
    other = msgspec.structs.replace(PLAIN, clauses="0000000000000000")
    code, out, err = run_check(capsys, write_trace(tmp_path / "other.jsonl", other, trace))
    assert (code, err) == (known[0], known[2])
    now = clause_set_version()
    note = "written for clause set 0000000000000000 (of no known version)"
    assert f"\n{note}, judged by clause set {now}\n" in out


def test_the_command_explains_a_violation_and_ends_with_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_trace(tmp_path / "run.jsonl", PLAIN, steps("start a 0", "start b 0"))
    code, out, err = run_check(capsys, path)
    assert (code, err) == (1, [])
    assert "\nviolated: SCHED-01 at line 3\n\n  SCHED-01: A cell starts only when" in out
    assert "  state: b[0] waits for a[0] (running)\n" in out
    assert "pass" not in out


def test_the_command_prints_json_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_trace(tmp_path / "run.jsonl", PLAIN, steps("start a 0", "start b 0"))
    code, out, _ = run_check(capsys, path, "--format", "json")
    found = json.loads(out)
    assert code == 1
    assert found["verdict"] == "violated"
    assert found["violations"][0]["clause"] == "SCHED-01"
    assert found["violations"][0]["line"] == 3
    assert found["counts"] == {"start": 2}


@pytest.mark.parametrize(
    ("events", "arguments", "words"),
    [
        (["start a 0"], [], "inconclusive: the run did not come to its end"),
        ([], [], "inconclusive: the trace has no event"),
        (["start b 0"], ["--waive", "SCHED-01"], "inconclusive: the run did not come to its end"),
    ],
)
def test_the_command_says_why_a_trace_allows_no_verdict_with_code_3(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    events: list[Any],
    arguments: list[str],
    words: str,
) -> None:
    path = write_trace(tmp_path / "run.jsonl", PLAIN, steps(*events))
    code, out, err = run_check(capsys, path, *arguments)
    assert (code, err) == (3, [])
    assert out.splitlines()[-1] == words


def test_the_command_names_the_line_where_a_file_is_cut_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_trace(tmp_path / "run.jsonl", PLAIN, steps("start a 0", "start a 1"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    code, out, _ = run_check(capsys, path)
    assert code == 3
    assert out.splitlines()[-1] == (
        f"inconclusive: {path}: line 3: expected event 2 or the footer, but the file ends: the "
        "trace is cut off"
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.jsonl", None, "cannot be read: No such file or directory"),
        ("empty.jsonl", b"", "expected a trace, got an empty file"),
        ("other.yaml", b"rows: 5\n", "line 1: expected a JSON object, got something else"),
    ],
)
def test_the_command_refuses_a_file_that_is_no_trace_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    words: str,
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    code, out, err = run_check(capsys, path)
    assert (code, out) == (2, "")
    assert len(err) == 1
    assert err[0].startswith(f"error: {path}: {words}")


def test_the_command_refuses_a_clause_that_does_not_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_trace(tmp_path / "run.jsonl", PLAIN, [])
    assert run_check(capsys, path, "--waive", "SCHED-99") == (
        2,
        "",
        ["error: waive: no such clause: 'SCHED-99'"],
    )


def test_the_command_writes_a_picture_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run(everything(), EVERYTHING_LIMITS, seed=3)
    path = write_trace(tmp_path / "run.jsonl", *run)
    assert run_check(capsys, path, "--chrome", tmp_path / "run.json")[0] == 0
    assert "traceEvents" in json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    code, _, err = run_check(capsys, path, "--chrome", tmp_path / "none" / "run.json")
    assert code == 2
    assert err[0].endswith("cannot be written: No such file or directory")


def test_the_command_prints_the_same_for_any_hash_seed(tmp_path: Path) -> None:
    run = toy_run(everything(), Limits(workers=2, group_rows=3), FailurePolicy(2), seed=8)
    path = write_trace(tmp_path / "run.jsonl", *run)
    outputs = set()
    for hash_seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-m", "sim", "check", str(path), "--format", "json"],
            capture_output=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "src")},
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("saving", "words"),
    [
        ({}, "expected one of rows, group and seconds"),
        ({"group": False}, "expected one of rows, group and seconds"),
        ({"rows": 1, "seconds": 2.0}, "expected one of rows, group and seconds"),
        ({"group": True}, "saving.group: this run has no row groups"),
    ],
)
def test_a_promise_to_save_that_means_nothing_gives_no_verdict(
    good: bytes, saving: dict[str, Any], words: str
) -> None:
    first, *rest = good.splitlines(keepends=True)
    value = json.loads(first)
    value["limits"].update(group_rows=None, groups=None)
    value["saving"] = saving
    data = b"".join([json.dumps(value).encode() + b"\n", *rest])
    found = check_file(io.BytesIO(data))
    assert found.header is None
    assert not found.violations
    assert words in found.unreadable


# Calls that end with the run, results that go with a worker, and what a cache answers

TWO_ROWS = ExecutionGraph(2, [ColumnDescriptor("a")])
OVER_TWO = ExecutionGraph(
    2, [ColumnDescriptor("a"), ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"])]
)
ONE_GROUP = header(Limits(group_rows=1, groups=1), graph=TWO_ROWS, claims=("core", "groups"))
CACHES = header(graph=OVER_TWO, claims=("core", "cache", "drops"))
ASKED, INTERRUPTED = "stop_requested", "end outcome=interrupted"
BARRIER = ("start v scope=0", "complete v scope=0")
BEFORE_V = ("start a 0", "start a 1", "complete a 0", "complete a 1", *BARRIER)
CRASHED = ("crash", {"event": "resume", "claim": {"a": 0, "v": 0}})
KEPT_BOTH = (*BEFORE_V, "emit v 0:2", "durable a 0:2", "durable v 0:2", *CRASHED)
LOST_ROW = ("recall a 0", "start a 1", f"fail a 1 {PERMANENT}", "drop a 1")
KEPT_ONE = (*BARRIER, "emit v 0", "durable v 0", *CRASHED)
GIVEN_UP = {"event": "fail", "column": "a", "rows": 0, "t": 2.0, "failure": "timeout"}
MADE_AT_1 = ("admit 0", "start a 0", "complete a 0 t=1")

OF_CALLS: list[tuple[str, Header, Sequence[Any]]] = [
    ("", BOUNDED, ["start a 0", ASKED, {**GIVEN_UP, "abandoned": True}, f"{INTERRUPTED} t=2"]),
    ("", PLAIN, ["start a 0", ASKED, "take_back a 0", INTERRUPTED]),
    ("", RETRY, ["start a 0", ASKED, "fail a 0 failure=retryable until=9", INTERRUPTED]),
    ("", STREAMS, ["start s 0:2", "complete s 0", ASKED, "cancel s 1", INTERRUPTED]),
    ("STOP-09", STREAMS, ["start s 0:2", "complete s 0", ASKED, INTERRUPTED]),
    ("", header(graph=OVER_TWO), [*BEFORE_V, "start v 0", ASKED, INTERRUPTED]),
    ("", header(graph=OVER_TWO), ["start a 0", *CRASHED, ASKED, INTERRUPTED]),
    ("", PLAIN, ["start a 0", "worker_lost", "complete a 0", "worker_lost", "lose a 0"]),
    ("", PLAIN, ["start a 0", "complete a 0", "worker_lost", "start a 1", "lose a 0"]),
    ("", header(graph=OVER_TWO), [*BEFORE_V, "worker_lost", "emit v 0:2", "lose v scope=0"]),
    ("", STREAMS, ["start s 0:2", "complete s 0", "worker_lost", "complete s 1", "lose s 0"]),
    ("FAIL-08", STREAMS, ["start s 0:2", "worker_lost", "complete s 0", "lose s 0"]),
    ("", ONE_GROUP, [*MADE_AT_1, "retire 0 t=1", "admit 1 t=1", "start a 1 t=1"]),
    ("", ONE_GROUP, [*MADE_AT_1, "write_begin a 0 t=1", "durable a 0 t=3", "retire 0 t=3"]),
    (
        "",
        ONE_GROUP,
        [
            *(*MADE_AT_1, "stop_requested t=1", "write_begin a 0 t=1"),
            *("durable a 0 t=2", "end outcome=interrupted t=2"),
        ],
    ),
    ("SCHED-15", ONE_GROUP, [*MADE_AT_1, "durable a 0 t=1", "retire 0 t=3"]),
    ("", CACHES, [*KEPT_BOTH, "recall a 0", "recall a 1", "recall v scope=0"]),
    ("CKPT-25", CACHES, [*KEPT_BOTH, *LOST_ROW, "recall v scope=0"]),
    ("", CACHES, [*KEPT_BOTH, *LOST_ROW, *KEPT_ONE, *LOST_ROW, "recall v scope=0"]),
    (
        "",
        CACHES,
        [*KEPT_BOTH, *LOST_ROW, *KEPT_ONE, "recall a 0", "recall a 1", "recall v scope=0"],
    ),
]


@pytest.mark.clause("STOP-09", "FAIL-08", "SCHED-15", "CKPT-25")
@pytest.mark.parametrize(("clause", "head", "given_steps"), OF_CALLS)
def test_calls_results_and_answers_that_go_and_come_are_judged_rightly(
    clause: str, head: Header, given_steps: Sequence[Any]
) -> None:
    checker = Checker(head)
    for event in steps(*given_steps):
        checker.feed(event)
    assert ("" if checker.finding is None else checker.finding.clause) == clause


@pytest.mark.clause("FAIL-07")
def test_in_real_time_a_timer_of_the_engine_begins_before_the_call() -> None:
    early = ["start a 0", "fail a 0 failure=timeout t=1.99"]
    real = replace(BOUNDED, trace=2, clock="real", claims=("core", "timeouts"), idle_s=9.0)
    assert [found.clause for found in judged((BOUNDED, steps(*early))).violations] == ["FAIL-07"]
    assert not judged((real, steps(*early))).violations
    assert not judged((real, steps(*early)), slack_s=0.05).violations
    (found,) = judged(
        (real, steps("start a 0", "fail a 0 failure=timeout t=1")), slack_s=0.05
    ).violations
    assert found.clause == "FAIL-07"
