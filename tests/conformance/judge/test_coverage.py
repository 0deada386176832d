"""The coverage of a run: each coverage goal, in the shortest run that covers it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits, Limits
from cellspec.check.checker import Checker
from cellspec.conformance.judge.coverage import Coverage, coverage_of
from cellspec.conformance.judge.profiles import DRAWN
from cellspec.conformance.judge.run_result import Torn
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.workload import Fault, Workload
from cellspec.machine.machine import FailurePolicy, SavePolicy
from cellspec.trace.convert import header_for
from cellspec.trace.format import Event

T = ExecutionTraits
S = Sometimes
A = ColumnDescriptor("a")
B = ColumnDescriptor("b", dependencies=["a"])
C = ColumnDescriptor("c", dependencies=["a", "b"])
V = ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"])
W = ColumnDescriptor("w", traits=T.BARRIER, dependencies=["v"])
X = ColumnDescriptor("x", traits=T.BATCH_BARRIER, dependencies=["a"])
O = ColumnDescriptor("o", traits=T.ORDERED, dependencies=["a"])  # noqa: E741
R = ColumnDescriptor("r", traits=T.ROW_STREAMABLE)
F = ColumnDescriptor("f", dependencies=["r"])
M = ColumnDescriptor("m", may_skip=True)
N = ColumnDescriptor("n", dependencies=["m"])
K = ColumnDescriptor("k", dependencies=["m"], propagate_skip=False)
Y = ColumnDescriptor("y", traits=T.BARRIER, dependencies=["m"])


def events(text: str) -> Iterator[Mapping[str, Any]]:
    """Events in short: ``time event node key=value …``, parted by semicolons.

    A node is ``a0`` (a cell), ``a0-2`` (rows up to 2, not with it), ``v/1`` (a barrier's scope) or
    ``0-2`` (rows alone).
    """
    now = "0"
    for seq, line in enumerate(text.split(";"), 1):
        words = line.split()
        if words[0].replace(".", "").isdigit():
            now = words.pop(0)
        event: dict[str, Any] = {"seq": seq, "t": float(now), "event": words.pop(0)}
        for word in words:
            key, equals, value = word.partition("=")
            if equals:
                event[key] = json.loads(value)
                continue
            if key[0].isalpha():
                event["column"], key = key[0], key[1:]
            if key.startswith("/"):
                event["scope"] = int(key[1:])
            elif key:
                start, _, stop = key.partition("-")
                event["rows"] = [int(start), int(stop)] if stop else int(start)
        yield event


def seen(work: Workload, text: str) -> Coverage:
    torn = [Torn(incarnation, "write") for incarnation, number in enumerate(work.torn) if number]
    found = list(events(text))
    return coverage_of(work, found, visits=work.visits, torn=torn, due_saves=due_saves(work, found))


def due_saves(work: Workload, found: list[Mapping[str, Any]]) -> int:
    """How many saves were due by the policy of the workload; the machine knows, as in a run."""
    every = work.checkpoint_every_rows
    if every is None:
        return 0
    checker = Checker(
        header_for(work.graph(), engine="engine", version="1", saving=SavePolicy(rows=every))
    )
    for event in found:
        checker.feed(Event(**event))
    return checker.machine.state.due_saves


def work(*columns: ColumnDescriptor, rows: int = 2, **more: Any) -> Workload:
    return Workload(columns, rows, **more)


RETRY = FailurePolicy(max_attempts=2)
PERMANENT = 'failure="permanent"'
BOUNDED = FailurePolicy(max_attempts=2, timeout_s=2.0)
ODD = Fault("v", 0, answers="short")
REJECTED = "rejected=[[0,1]]"
TIMEOUT = 'failure="timeout"'
RETRYABLE = 'failure="retryable"'
CLAIM_1 = 'resume claim={"a":1}'

KILLED = 'start a0; 1 crash; resume claim={"a":0}'
MADE = "start a0; 1 complete a0; worker_lost"
SHOWN: list[tuple[Sometimes, Workload, str]] = [
    (S.WORKERS_FULL, work(A, limits=Limits(workers=2)), "start a0; start a1"),
    (
        S.RESOURCE_FULL,
        work(A, limits=Limits(resources={"x": 1}, column_resource={"a": "x"})),
        "start a0",
    ),
    (S.BARRIER_RAN, work(A, V), "start v/0"),
    (S.BARRIER_CHAIN, work(A, V, W), "start w/0"),
    (S.JOIN, work(A, B, C), "start c0"),
    (S.SHORT_BATCH, work(A, X, rows=3, batch_size=2), "start x/1"),
    (S.OVERTAKING, work(A), "start a0; start a1; 1 complete a1"),
    (S.WENT_ON, work(A), "start a0; 1 complete a0; start a1"),
    (
        S.ORDER_HELD,
        work(A, O),
        "start a0; start a1; 1 complete a0; complete a1; start o0; 2 complete o0; start o1",
    ),
    (
        S.ORDER_INVERTED,
        work(A, O),
        "start a0; start a1; 1 complete a1; 2 complete a0; start o0; 3 complete o0; start o1",
    ),
    (S.ODD_TEXTS, work(A, texts={"a": "null"}), "start a0; 1 complete a0"),
    (S.EQUAL_TEXTS, work(A, texts={"a": "same"}), "start a1; 1 complete a1"),
    (S.ALIKE_IDS, work(A, row_ids="digits"), "start a0"),
    (S.IDS_RESUMED, work(A, row_ids="text"), f"crash; {CLAIM_1}"),
    (S.MANY_ROWS, work(A, rows=66), "start a65; 1 complete a65"),
    (S.RANGE_STARTED, work(R), "start r0-2"),
    (S.RANGE_PART, work(R), "start r0-2; 1 complete r0"),
    (S.RANGE_FED, work(R, F), "start r0-2; 1 complete r0; start f0"),
    (S.SHORT_GROUP, work(A, rows=3, limits=Limits(group_rows=2)), "admit 0-2; admit 2"),
    (S.GROUPS_FULL, work(A, limits=Limits(group_rows=1, groups=1)), "admit 0"),
    (
        S.GROUP_TURN,
        work(A, limits=Limits(group_rows=1, groups=1)),
        "admit 0; 1 retire 0; admit 1",
    ),
    (
        S.GROUP_OF_ORDER,
        work(A, O, limits=Limits(group_rows=1, groups=1)),
        "admit 0",
    ),
    (S.SCOPE_OVER_GROUPS, work(A, V, limits=Limits(group_rows=1)), "start v/0"),
    (
        S.RETRIED,
        work(A, failures=RETRY),
        f"start a0; 1 fail a0 {RETRYABLE}; start a0 attempt=2",
    ),
    (S.PUSHED_BACK, work(A), 'start a0; 1 fail a0 failure="backpressure"'),
    (
        S.BACKOFF_ENDED,
        work(A, failures=RETRY),
        f"start a0; 1 fail a0 {RETRYABLE} until=3.0; 3 start a0 attempt=2",
    ),
    (
        S.BARRIER_RETRIED,
        work(A, V, failures=RETRY),
        f"start v/0; 1 fail v/0 {RETRYABLE}; start v/0 attempt=2",
    ),
    (
        S.LAST_ATTEMPT,
        work(A, failures=RETRY),
        f"start a0; 1 fail a0 {RETRYABLE}; start a0 attempt=2; 2 complete a0 attempt=2",
    ),
    (
        S.RANGE_RETRIED,
        work(R, failures=RETRY),
        f"start r0-2; 1 complete r0; 2 fail r1 {RETRYABLE}",
    ),
    (S.DROPPED, work(A), f"start a0; 1 fail a0 {PERMANENT}"),
    (S.SPENT, work(A), f"start a0; 1 fail a0 {RETRYABLE}"),
    (
        S.DROP_BESIDE_CALL,
        work(A, ColumnDescriptor("d")),
        f"start a0; start d0; 1 fail a0 {PERMANENT}",
    ),
    (
        S.DROP_DURING_BARRIER,
        work(A, V, ColumnDescriptor("d")),
        f"start v/0; start d0; 1 fail d0 {PERMANENT}",
    ),
    (
        S.BARRIER_WITHOUT_ROW,
        work(A, V),
        f"start a0; 1 fail a0 {PERMANENT}; start v/0 reads=[[1,2]]",
    ),
    (S.BARRIER_FAILED, work(A, V), f"start v/0; 1 fail v/0 {PERMANENT}"),
    (S.SCOPE_DROPPED, work(A, V, rows=1), f"start a0; 1 fail a0 {PERMANENT}"),
    (S.STOPPED, work(A), "stop"),
    (S.STOPPED_IN_FLIGHT, work(A), "start a0; stop"),
    (S.SKIPPED, work(M), "skip m0"),
    (S.SKIP_SPREAD, work(M, N), "skip m0; skip n0"),
    (S.SKIP_HELD, work(M, K), "skip m0; start k0"),
    (S.BARRIER_WITHOUT_SKIP, work(M, Y), "skip m0; start y/0 reads=[[1,2]]"),
    (S.SCOPE_SKIPPED, work(M, Y), "skip m0; skip m1"),
    (S.CRASH_EARLY, work(A), "start a0; 1 crash"),
    (S.CLAIM_PART, work(A), f"crash; {CLAIM_1}"),
    (S.CRASH_TWICE, work(A), f"crash; {CLAIM_1}; 1 crash"),
    (S.CRASH_IN_BARRIER, work(A, V), "start v/0; 1 crash"),
    (S.CRASH_LATE, work(A, rows=1), "start a0; 1 complete a0; crash"),
    (S.CRASH_IN_CLAIM, work(A), 'checkpoint_begin claim={"a":1}; crash'),
    (S.BARRIER_AGAIN, work(A, V), 'crash; resume claim={"a":1,"v":1}; start v/0'),
    (S.CLAIM_WITH_DROP, work(A), f"crash; {CLAIM_1} dropped=[[0,1]]"),
    (S.CLAIM_WITH_SKIP, work(M), 'crash; resume claim={"m":1} skipped={"m":[[0,1]]}'),
    (
        S.CRASH_IN_GROUP,
        work(A, limits=Limits(group_rows=2)),
        "admit 0-2; start a0; 1 complete a0; crash",
    ),
    (
        S.CRASH_IN_BACKOFF,
        work(A, failures=RETRY),
        f"start a0; 1 fail a0 {RETRYABLE} until=3.0; 2 crash",
    ),
    (S.MORE_ROWS, work(A, targets=(2, 3)), f"crash; {CLAIM_1} records=3"),
    (S.FEWER_ROWS, work(A, targets=(2, 1)), f"crash; {CLAIM_1} records=1"),
    (S.OTHER_CONFIG, work(A, visits=("config",)), "crash"),
    (S.OTHER_PIPELINE, work(A, visits=("pipeline",)), "crash"),
    (S.OTHER_BATCHES, work(A, visits=("batch_size",)), "crash"),
    (S.CLAIM_GAP, work(A, rows=3), 'crash; resume claim={"a":[[0,1],[2,3]]}'),
    (S.BARRIER_BETWEEN, work(A, V), 'crash; resume claim={"a":2,"v":[[1,2]]}; start v/0'),
    (S.COMMIT_LANDED, work(A), f"commit_begin a0; 1 crash; {CLAIM_1}"),
    (S.COMMIT_LOST, work(A), 'commit_begin claim={"a":[[1,2]]}; 1 crash; resume claim={"a":0}'),
    (S.LOST_NEEDED, work(A, B), f"{MADE}; lose a0"),
    (S.LOST_UNDER, work(A, B), f"{MADE}; start b0; 1 complete b0; lose a0"),
    (S.LOST_BARRIER, work(A, V), "start v/0; 1 complete v/0; emit v0; worker_lost; lose v/0"),
    (S.LOST_BESIDE_DURABLE, work(A), "start a0; 1 complete a0; durable a0; worker_lost"),
    (S.REMADE, work(A), f"{MADE}; lose a0; start a0; 1 complete a0"),
    (S.KILLED_AGAIN, work(A, killers=(("a", 0),)), f"{KILLED}; start a0; 1 crash"),
    (S.KILLER_DROPPED, work(A), f'{KILLED}; drop a0 cause="killer"'),
    (S.RECALLED, work(A), "recall a0"),
    (S.RECALLED_UNDER, work(A, B), "recall a0; start b0"),
    (S.COLUMN_CLAIM, work(A, B), 'crash; resume claim={"a":2,"b":1}'),
    (S.TIMED_OUT, work(A, failures=BOUNDED), f"start a0; 2 fail a0 {TIMEOUT}"),
    (S.BARRIER_TIMED_OUT, work(A, V, failures=BOUNDED), f"start v/0; 2 fail v/0 {TIMEOUT}"),
    (S.SPENT_BY_TIMEOUT, work(A), f"start a0; 2 fail a0 {TIMEOUT}"),
    (
        S.SAVE_DUE,
        work(A, checkpoint_every_rows=1),
        'start a0; 1 complete a0; durable a0; checkpoint_begin claim={"a":1}',
    ),
    (S.ASKED_IN_FLIGHT, work(A), "start a0; stop_requested"),
    (
        S.ASKED_IN_BACKOFF,
        work(A, failures=RETRY),
        f"start a0; 1 fail a0 {RETRYABLE} until=3.0; 2 stop_requested",
    ),
    (S.ASKED_IN_CLAIM, work(A), 'checkpoint_begin claim={"a":1}; stop_requested'),
    (
        S.ASKED_IN_GROUP,
        work(A, limits=Limits(group_rows=1, groups=1)),
        "admit 0; stop_requested",
    ),
    (S.ASKED_TWICE, work(A), "stop_requested; stop_requested"),
    (S.INTERRUPTED, work(A), 'stop_requested; 1 end outcome="interrupted"'),
    (
        S.INTERRUPTED_RESUMED,
        work(A),
        f'stop_requested; 1 end outcome="interrupted"; {CLAIM_1}',
    ),
    (S.CLAIM_FAILED, work(A), 'checkpoint_begin claim={"a":1}; checkpoint_failed'),
    (S.ROWS_FAILED, work(A), "write_begin a0; checkpoint_failed"),
    (S.MADE_GOOD, work(A), "write_begin a0; checkpoint_failed; durable a0"),
    (S.SLOW_WRITE, work(A), "start a1; write_begin a0; 1 complete a1"),
    (S.WRITE_TORN, work(A, crashes=(1,), torn=(1,)), "crash"),
    (
        S.LANDED,
        work(A),
        f'checkpoint_begin claim={{"a":1}}; checkpoint_failed; crash; {CLAIM_1}',
    ),
    (S.FILTERED, work(A), f"start a0; 2 complete a0 {REJECTED}"),
    (S.LEFT_OUT, work(A, V), f"start v/0; 2 complete v/0 {REJECTED}"),
    (S.ANSWER_REFUSED, work(A, V, faults=(ODD,)), f"start v/0; 2 fail v/0 {PERMANENT}"),
    (
        S.FILTERED_IN_WINDOW,
        work(A, failures=FailurePolicy(1, 2)),
        f"start a0; 2 complete a0 {REJECTED}",
    ),
]


@pytest.mark.parametrize(("what", "asked", "text"), SHOWN, ids=[what.name for what, *_ in SHOWN])
def test_a_situation_is_seen_at_the_event_that_makes_it(
    what: Sometimes, asked: Workload, text: str
) -> None:
    assert what in seen(asked, text).sometimes
    without_the_last = text.rpartition(";")[0]
    if without_the_last:
        assert what not in seen(asked, without_the_last).sometimes


@pytest.mark.clause("CKPT-25")
def test_the_output_of_a_recalled_barrier_counts_as_recalled() -> None:
    after = work(A, V, ColumnDescriptor("c", dependencies=["v"]))
    assert S.RECALLED_UNDER in seen(after, "recall v/0; emit v0; start c0").sometimes


def test_every_situation_has_its_run() -> None:
    assert [what for what, *_ in SHOWN] == list(Sometimes)


NOT_SHOWN: list[tuple[Sometimes, Workload, str]] = [
    (S.WORKERS_FULL, work(A, limits=Limits(workers=2)), "start a0; 1 complete a0; start a1"),
    (S.JOIN, work(A, B), "start b0"),
    (S.SHORT_BATCH, work(A, X, rows=4, batch_size=2), "start x/1"),
    (S.OVERTAKING, work(A), "start a0; start a1; 1 complete a0; 2 complete a1"),
    (S.GROUP_OF_ORDER, work(A, O, limits=Limits(group_rows=1, groups=1)), "admit 1"),
    (S.WENT_ON, work(A), "start a0; start a1; 1 complete a0"),
    (
        S.ORDER_INVERTED,
        work(A, O),
        "start a0; start a1; 1 complete a0; 2 complete a1; start o0; 3 complete o0; start o1",
    ),
    (S.RANGE_FED, work(R, F), "start r0; 1 complete r0; start f0"),
    (S.SHORT_GROUP, work(A, limits=Limits(group_rows=3)), "admit 0-2"),
    (S.BACKOFF_ENDED, work(A), 'start a0; 1 fail a0 failure="backpressure"; start a0'),
    (
        S.LAST_ATTEMPT,
        work(A, failures=RETRY),
        "start a0; 1 complete a0",
    ),
    (S.FILTERED, work(A), "start a0; 2 complete a0"),
    (S.FILTERED_IN_WINDOW, work(A), f"start a0; 2 complete a0 {REJECTED}"),
    (S.ANSWER_REFUSED, work(A, V), f"start v/0; 2 fail v/0 {PERMANENT}"),
    (S.SPENT_BY_TIMEOUT, work(A, failures=RETRY), f"start a0; 2 fail a0 {TIMEOUT}"),
    (S.SPENT, work(A), f"start a0; 2 fail a0 {TIMEOUT}"),
    (S.SPENT, work(A, failures=RETRY), f"start a0; 1 fail a0 {RETRYABLE}"),
    (S.DROP_DURING_BARRIER, work(A, V), f"start a0; start a1; 1 fail a0 {PERMANENT}"),
    (S.SKIPPED, work(M, N), "start m0"),
    (
        S.CRASH_EARLY,
        work(A),
        'checkpoint_begin claim={"a":1}; checkpoint_durable; crash',
    ),
    (S.CLAIM_PART, work(A), 'crash; resume claim={"a":2}'),
    (S.CRASH_IN_CLAIM, work(A), 'checkpoint_begin claim={"a":1}; checkpoint_failed; crash'),
    (S.ASKED_IN_FLIGHT, work(A), "start a0; 1 complete a0; stop_requested"),
    (
        S.ASKED_IN_CLAIM,
        work(A),
        'checkpoint_begin claim={"a":1}; checkpoint_durable; stop_requested',
    ),
    (S.ASKED_TWICE, work(A), f"stop_requested; crash; {CLAIM_1}; stop_requested"),
    (S.INTERRUPTED_RESUMED, work(A), f"stop_requested; crash; {CLAIM_1}"),
    (S.CRASH_IN_BARRIER, work(A, V), "start v/0; 1 complete v/0; crash"),
    (S.BARRIER_AGAIN, work(A, V), 'crash; resume claim={"a":1,"v":0}; start v/0'),
    (S.CRASH_IN_BACKOFF, work(A, failures=RETRY), f"start a0; 1 fail a0 {RETRYABLE}; 2 crash"),
]


@pytest.mark.parametrize(
    ("what", "asked", "text"), NOT_SHOWN, ids=[what.name for what, *_ in NOT_SHOWN]
)
def test_a_run_that_only_resembles_a_situation_does_not_cover_it(
    what: Sometimes, asked: Workload, text: str
) -> None:
    assert what not in seen(asked, text).sometimes


# Exercised clauses


def test_a_clause_on_a_limit_is_exercised_only_when_the_limit_is_reached() -> None:
    limited = work(A, limits=Limits(workers=2))
    assert "SCHED-06" not in seen(limited, "start a0").exercised
    assert "SCHED-06" in seen(limited, "start a0; start a1").exercised
    assert "SCHED-06" not in seen(work(A), "start a0; start a1").exercised


def test_a_clause_exercised_by_an_inferred_event_is_kept_apart() -> None:
    shown = seen(work(A, B), "start a0; 1 complete a0; start b0 inferred=true")
    assert "SCHED-01" not in shown.exercised
    assert "SCHED-01" in shown.exercised_inferred
    assert (shown.events, shown.inferred) == (3, 1)


def test_a_refusal_exercises_the_clause_that_demands_it() -> None:
    tight = work(A, V, limits=Limits(group_rows=1, groups=1))
    assert coverage_of(tight, [], refused=True).exercised == {"GROUP-04"}
    assert coverage_of(work(A, V, targets=(2, 3)), [], refused=True).exercised == {"CKPT-16"}
    assert coverage_of(tight, []).exercised == set()


def test_every_clause_is_exercised_in_some_of_these_runs() -> None:
    found = {"GROUP-04"}
    for _, asked, text in SHOWN:
        found |= seen(asked, text).exercised
    for text in (
        'start a0; 1 complete a0; durable a0; checkpoint_begin claim={"a":1}; checkpoint_durable; '
        f"crash; {CLAIM_1} dropped=[[0,1]] records=3; start a1; "
        'checkpoint_begin claim={"a":2}; 2 end outcome="success"',
        f"start a0; 1 fail a0 {PERMANENT}; drop a0; cancel a1; start a1",
    ):
        found |= seen(work(A, targets=(2, 3)), text).exercised
    claimed = 'checkpoint_begin claim={"a":1}; checkpoint_durable'
    stopped = f'{claimed}; end outcome="stopped"'
    found |= seen(work(A, failures=FailurePolicy(1, 1)), stopped).exercised
    found |= seen(work(M, N), 'skip m0; start n1; crash; resume claim={"m":1}').exercised
    found |= seen(work(M), 'skip m0; 1 end outcome="success"').exercised
    barrier = f"start a0; 1 fail a0 {PERMANENT}; start v/0; 2 complete v/0; emit v1"
    found |= seen(work(A, V), barrier).exercised
    found |= seen(
        work(A),
        'checkpoint_begin claim={"a":1}; checkpoint_durable; stop_requested; '
        'end outcome="interrupted"',
    ).exercised
    requested = 'start a0; stop_requested; 1 complete a0; end outcome="interrupted"'
    found |= seen(work(A), requested).exercised
    two = work(A, limits=Limits(group_rows=1, groups=2))
    found |= seen(two, "admit 0; admit 1; retire 1").exercised
    groups = work(A, limits=Limits(group_rows=1, groups=1))
    found |= seen(groups, "admit 0; start a0; 1 complete a0").exercised
    homes = {clause.number for profile in DRAWN for clause in profile.clauses}
    assert sorted(homes - found) == []
    assert sorted(found - homes) == []


def test_an_event_of_an_unknown_column_is_passed_over() -> None:
    shown = seen(work(A), "start z0; 1 complete z0; complete a1; cancel a0; fail a1 " + PERMANENT)
    assert shown.events == 5


def test_the_order_of_events_makes_the_digest_and_not_their_times() -> None:
    one = seen(work(A), "start a0; start a1; 1 complete a0; 2 complete a1")
    same = seen(work(A), "start a0; start a1; 3 complete a0; 4 complete a1")
    other = seen(work(A), "start a0; start a1; 1 complete a1; 2 complete a0")
    assert one.digest == same.digest
    assert one.digest != other.digest
