"""How the checker takes events in: its clock, what it counts, and what it leaves unjudged."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits, Machine, SpecError
from cellspec.check.checker import Checker, check_file
from cellspec.machine.machine import FailurePolicy
from cellspec.trace import Event, TraceError, header_for
from cellspec.trace.format import Clock, RequestStep
from tests.check.test_checker import (
    BOUNDED,
    CLAIMS_NOTHING,
    LOOSE,
    PLAIN,
    RESUMED,
    TIMED,
    Run,
    file_bytes,
    header,
    judged,
    steps,
)
from tests.traces import write_trace

T = ExecutionTraits
TWO = ExecutionGraph(2, [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])])
WIDE = ExecutionGraph(
    1, [ColumnDescriptor("a"), ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"])]
)
SHORT: Run = (header(graph=LOOSE), steps("start a 0", "complete a 0", "start a 1", "complete a 1"))


def first_broken(run: Run, waive: Sequence[str] = ()) -> tuple[str, int | None]:
    """The clause of the finding, and the number of its event; the clause is "" without one."""
    found = judged(run, waive).violations
    return (found[0].clause, found[0].seq) if found else ("", None)


# Waivers


def test_each_clause_to_waive_must_exist() -> None:
    for waive in (["SCHED-99", "SCHED-01"], ["SCHED-01", "SCHED-99"]):
        with pytest.raises(SpecError, match="no such clause: 'SCHED-99'"):
            Checker(PLAIN, waive=waive)


def test_a_waived_limit_of_row_groups_is_no_finding_at_a_resume_either() -> None:
    given = header(Limits(group_rows=1, groups=1), graph=WIDE)
    more = {"event": "resume", "claim": {"a": 0, "v": 0}, "records": 2}
    events = steps("admit 0", "crash", more)
    assert first_broken((given, events)) == ("GROUP-04", 3)
    assert first_broken((given, events), ["GROUP-04"])[0] != "GROUP-04"


def test_a_waived_clause_of_the_file_leaves_it_unreadable(tmp_path: Path) -> None:
    lines = file_bytes(SHORT, tmp_path).splitlines(keepends=True)
    data = b"".join(lines[:2] + lines[3:])
    (found,) = check_file(io.BytesIO(data)).violations
    assert found.clause == "TRACE-01"
    result = check_file(io.BytesIO(data), waive=["TRACE-01"])
    assert not result.violations
    assert result.unreadable.startswith("trace: line 3")


def test_a_fault_of_the_checker_is_not_told_as_one_of_the_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Machine, "apply", fault)
    (event,) = steps("crash")
    with pytest.raises(ZeroDivisionError):
        Checker(PLAIN).feed(event)
    # After a step that broke a waived clause the state may be one that no run has.
    with pytest.raises(TraceError, match=r"is waived, and was taken .*ZeroDivisionError"):
        Checker(PLAIN, waive=["SCHED-01"]).feed(event)


# Limits that must be refused


@pytest.mark.clause("GROUP-04")
@pytest.mark.parametrize(
    "given_steps",
    [["start a 0"], ["complete a 3"], ["start a 0:2"], ["end outcome=failed"] * 2],
)
def test_a_run_whose_limits_must_be_refused_only_fails_at_once(given_steps: list[str]) -> None:
    impossible = header(Limits(group_rows=1, groups=1))
    assert first_broken((impossible, steps(*given_steps))) == ("GROUP-04", len(given_steps))


# The clock


@pytest.mark.clause("SCHED-08")
@pytest.mark.parametrize("end", ["complete a 1 t=2", "fail a 1 t=2 failure=permanent", "crash t=2"])
def test_time_falls_with_no_event_but_a_resume(end: str) -> None:
    begin = ("start a 0", "start a 1", "complete a 0 t=3")
    assert first_broken((header(graph=LOOSE), steps(*begin, end))) == ("SCHED-08", 4)
    resume = {"event": "resume", "claim": {"a": 0, "k": 0}, "t": 2.0}
    assert first_broken((header(graph=LOOSE), steps(*begin, "crash t=3", resume)))[0] == ""


@pytest.mark.clause("SCHED-09")
def test_the_time_before_a_resume_that_no_crash_allows_is_judged_first() -> None:
    assert first_broken((TIMED, steps({**RESUMED, "t": 5.0}))) == ("SCHED-09", 1)
    assert first_broken((TIMED, steps("crash", {**RESUMED, "t": 5.0})))[0] == ""


# What is counted


def test_the_finding_of_a_caller_counts_its_event_and_ends_the_judging() -> None:
    checker = Checker(PLAIN)
    first, second = steps("start a 0", "complete a 0")
    assert checker.feed(first) is None
    found = checker.refuse("SKIP-04", "only the caller knows", second)
    assert (found.clause, found.detail) == ("SKIP-04", "only the caller knows")
    assert (found.seq, found.line) == (2, 3)
    assert checker.feed(second) is found
    assert checker.result().counts == {"start": 1, "complete": 1}
    assert checker.result().violations == [found]


@pytest.mark.parametrize("data", [b"", b"no trace"])
def test_of_a_file_without_a_header_nothing_is_judged(data: bytes) -> None:
    result = check_file(io.BytesIO(data), waive=["SCHED-01"])
    assert result.unreadable
    assert (result.header, result.footer, result.outcome) == (None, None, None)
    assert not result.violations
    assert (result.events, result.inferred, result.incarnations) == (0, 0, 0)
    assert result.completed_rows == 0
    assert result.ended is False
    # Nothing was there to compare, so nothing was left out.
    assert result.compares_config is True
    assert result.waived == ("SCHED-01",)


@pytest.mark.parametrize(("between", "is_told"), [(255, True), (256, False)])
def test_an_explanation_looks_back_over_the_last_events_alone(between: int, is_told: bool) -> None:
    graph = ExecutionGraph(300, [ColumnDescriptor("a")])
    others = [f"start a {row}" for row in range(1, between + 1)]
    (found,) = judged((header(graph=graph), steps("start a 0", *others, "start a 0"))).violations
    assert found.clause == "SCHED-02"
    assert any(line.lstrip().startswith("1: ") for line in found.explanation) is is_told


def test_what_the_engine_only_infers_is_no_evidence_of_any_kind_of_start() -> None:
    graph = ExecutionGraph(
        2,
        [
            ColumnDescriptor("s", traits=T.START | T.ROW_STREAMABLE),
            ColumnDescriptor("v", traits=T.BARRIER, dependencies=["s"]),
        ],
    )
    made = ["start s 0:2", "complete s 0", "complete s 1"]
    reads = {"event": "start", "column": "v", "scope": 0, "reads": ((0, 2),)}
    events = steps(*made, reads)
    for inferred, counts in ((False, (2, 1, 1)), (True, (0, 0, 0))):
        given = [replace(event, inferred=inferred) for event in events]
        result = judged((header(graph=graph), given))
        assert not result.violations
        kinds = ("starts", "starts of barriers", "starts of ranges")
        assert tuple(result.evidence[kind] for kind in kinds) == counts


def test_progress_is_told_now_and_then_to_those_who_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellspec.check.checker._PROGRESS_EVENTS", 3)
    events = [event for row in range(4) for event in (f"start a {row}", f"complete a {row}")]
    path = write_trace(tmp_path / "run.jsonl", SHORT[0], steps(*events))
    seen: list[int] = []
    assert check_file(path, progress=seen.append).events == 8
    assert seen == [3, 6]
    assert check_file(path).events == 8


# What a step must be


@pytest.mark.clause("TRACE-02")
def test_only_a_call_that_timed_out_fails_and_goes_on() -> None:
    fails = {"event": "fail", "column": "a", "rows": 0, "failure": "retryable", "abandoned": True}
    (found,) = judged((BOUNDED, steps("start a 0", fails))).violations
    assert (found.clause, found.seq) == ("TRACE-02", 2)
    assert found.detail == "abandoned: only of a call that timed out, got 'retryable'"


def test_without_endpoints_nobody_asks_where_a_request_is() -> None:
    sent = Event(1, 0.0, "request", "a", 0, request=RequestStep("sent"))
    assert first_broken((PLAIN, [sent])) == ("", None)


# What is left unjudged


@pytest.mark.clause("CKPT-20")
@pytest.mark.parametrize(
    ("before", "claimed", "after", "compares"),
    [
        ({"a": "1"}, 1, {"a": "1"}, True),
        ({"a": "1"}, 1, None, False),
        (None, 1, {"a": "1"}, False),
        (None, 1, None, False),
        ({"a": "1"}, 1, {}, False),
        ({"a": "1", "b": "2"}, 1, {"a": "1"}, True),
        ({"a": "1"}, 1, {"a": "1", "b": "2"}, True),
        ({"a": "1"}, 0, None, True),
        (None, 0, None, True),
    ],
)
def test_a_resume_from_claimed_cells_is_compared_if_it_states_what_the_header_does(
    before: dict[str, str] | None, claimed: int, after: dict[str, str] | None, compares: bool
) -> None:
    claim = {"a": claimed, "b": 0}
    events = steps(
        *("start a 0", "complete a 0", "durable a 0"),
        *({"event": "checkpoint_begin", "claim": claim}, "checkpoint_durable", "crash"),
        {"event": "resume", "claim": claim, "config": after},
    )
    given = header_for(TWO, engine="suite", version="1", claims=("core", "resume"), config=before)
    result = judged((given, events))
    assert not result.violations
    assert result.compares_config is compares


MADE = ("start a 0", "complete a 0")
ASKED = ("stop_requested", "end outcome=interrupted")
NOTHING_CLAIMED = ({"event": "checkpoint_begin", "claim": CLAIMS_NOTHING}, "checkpoint_durable")


@pytest.mark.clause("STOP-07")
@pytest.mark.parametrize(
    ("resumes", "given_steps", "unjudged"),
    [
        (True, (*MADE, *ASKED), {"STOP-07"}),
        (False, (*MADE, *ASKED), set()),
        (True, ASKED, set()),
        (True, (*MADE, "durable a 0", *ASKED), set()),
        (True, (*MADE, *NOTHING_CLAIMED, *ASKED), set()),
        (True, (*MADE, "checkpoint_failed", "end outcome=failed"), set()),
    ],
)
def test_what_a_stopped_run_had_to_claim_is_unknown_if_nothing_tells_its_claims(
    resumes: bool, given_steps: tuple[Any, ...], unjudged: set[str]
) -> None:
    claims = ("core", "work_conserving", "interrupts", *(("resume",) if resumes else ()))
    result = judged((header(claims=claims), steps(*given_steps)))
    assert not result.violations
    assert set(result.unjudged) == unjudged


@pytest.mark.clause("FAIL-07")
@pytest.mark.parametrize(
    ("clock", "timeout_s", "slack_s", "judged_late"),
    [
        ("real", 2.0, 0.0, False),
        ("real", 2.0, 0.05, True),
        ("real", None, 0.0, True),
        ("virtual", 2.0, 0.0, True),
    ],
)
def test_in_real_time_a_slack_says_from_when_a_call_is_beyond_its_bound(
    clock: Clock, timeout_s: float | None, slack_s: float, judged_late: bool
) -> None:
    failures = FailurePolicy(timeout_s=timeout_s)
    given = header_for(LOOSE, engine="suite", version="1", failures=failures, clock=clock)
    assert ("FAIL-07" not in Checker(given, slack_s=slack_s).unjudged) is judged_late
