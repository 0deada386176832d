"""The judge of endpoints: right runs break nothing, and a trace that is odd is said to be so."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cellspec.check.endpoints
from cellspec.check.checker import CheckResult, check_file
from cellspec.conformance.judge.verdict import judge_trace
from tests.check.endpoint_runs import draw
from tests.matrix.endpoint_mutants import ENDPOINT_MUTANTS
from tests.recompute.runner import run

Lines = list[dict[str, Any]]


def test_each_call_that_an_endpoint_took_in_is_counted_once(tmp_path: Path) -> None:
    for number in range(20):
        done = run(draw(number), tmp_path)
        accepted = sum(one["accepted"] for one in done.printed["by_endpoint"])
        assert check_file(tmp_path / "run.jsonl").evidence["calls at endpoints"] == accepted


def traced(number: int, folder: Path) -> Lines:
    """The trace of a right run."""
    done = run(draw(number), folder)
    assert done.code == 0, done.said
    return [json.loads(line) for line in done.trace]


def judged(lines: Lines, folder: Path) -> CheckResult:
    path = folder / "changed.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return check_file(path)


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_right_runs_break_nothing(first: int, tmp_path: Path) -> None:
    calls = 0
    for number in range(first, first + 20):
        result = judged(traced(number, tmp_path), tmp_path)
        assert result.violations == [], number
        assert result.unreadable == ""
        calls += result.evidence["calls at endpoints"]
    assert calls > 200


def test_a_trace_that_does_not_claim_endpoints_is_judged_as_before(tmp_path: Path) -> None:
    lines = traced(0, tmp_path)
    lines[0]["claims"].remove("endpoints")
    lines[0]["endpoints"] = {"chat": {"max_in_flight": "as many as you like"}}
    result = judged(lines, tmp_path)
    assert (result.violations, result.unreadable) == ([], "")
    assert "calls at endpoints" not in result.evidence


def test_in_real_time_nothing_is_judged(tmp_path: Path) -> None:
    lines = traced(0, tmp_path)
    lines[0] |= {"clock": "real", "endpoints": {"chat": {"max_in_flight": 1}}}
    result = judged(lines, tmp_path)
    assert result.violations == []
    assert "calls at endpoints" not in result.evidence


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"max_in_flight": "many"}, "max_in_flight: expected `int`"),
        ({"tpot_s": {"some": 1.0}}, "tpot_s: expected numbers of calls, from 1, got 'some'"),
        ({"tpot_s": {}}, "tpot_s: expected at least one number of calls"),
        ({"limits": [{"per_s": 60}]}, "limits.0: expected either requests or tokens"),
        ({"limits": [{"requests": 1}]}, "limits[0].per_s: expected a value, got none"),
        ({"outages": [{"from_s": 1}]}, "outages[0].to_s: expected a value, got none"),
        # What is divided by is not so small that a quotient overflows.
        ({"limits": [{"requests": 1, "per_s": 1e-320}]}, "limits[0].per_s: expected `float` >= 1e"),
        ({"tpot_s": {"1": 1e-320}}, "tpot_s"),
        ({"throttle": {"decrease": 1e308}}, "throttle.decrease: expected `float` <= 1"),
        (17, "expected `object`"),
    ],
)
def test_words_that_no_endpoint_has_make_a_trace_unreadable_in_one_line(
    words: object, said: str, tmp_path: Path
) -> None:
    lines = traced(0, tmp_path)
    lines[0]["endpoints"] = {"chat": words}
    result = judged(lines, tmp_path)
    assert result.violations == []
    assert "\n" not in result.unreadable
    assert "line 1: endpoints" in result.unreadable
    assert said.replace("`", "") in result.unreadable


def test_steps_in_any_order_break_a_clause_and_nothing_else(tmp_path: Path) -> None:
    steps = ("entered", "sent", "queued", "refused", "serving", "decoding", "lost", "answered")
    found = set()
    for number in range(6):
        right = traced(number, tmp_path)
        for place, step in enumerate(steps):
            lines = json.loads(json.dumps(right))
            of_calls = [line for line in lines if line.get("event") == "request"]
            for line in of_calls[place::11]:
                line["request"]["step"] = step
            result = judged(lines, tmp_path)
            assert result.unreadable == ""
            found |= {one.clause.partition("-")[0] for one in result.violations}
    assert found == {"ENDP"}


def test_the_judge_of_endpoints_shares_nothing_with_who_simulates_them() -> None:
    folder = Path(cellspec.check.endpoints.__file__).parent
    taken = {
        node.module
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module is not None
    }
    ours = {name for name in taken if name.startswith(("cellspec", "sim"))}
    assert {name for name in ours if not name.startswith("cellspec.check.endpoints")} == {
        "cellspec.errors",
        "cellspec.trace",
        "cellspec.trace.format",
        "cellspec.trace.reader",
    }


def test_a_run_that_writes_a_trace_is_judged_while_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant = next(one for one in ENDPOINT_MUTANTS if one.name == "cuts at each refusal")
    monkeypatch.setattr(mutant.place, mutant.part)
    codes = {number: run(draw(number), tmp_path) for number in (1, 13)}
    assert [done.code for done in codes.values()] == [0, 1]
    assert "ENDP-14" in codes[13].said


# Traces that leave out or repeat what happens to a call


def _small(folder: Path, **more: Any) -> Lines:
    """Six calls to an endpoint that takes four in two seconds, and has two places."""
    column = {"name": "a", "traits": ["START"], "resource": "chat"}
    seconds = {"model": "list", "values_s": [1, 2, 3, 4, 5, 6]}
    refusal = {"latency_s": 0.25, "retry_after": "none"}
    endpoint = {"max_in_flight": 2, "limits": [{"requests": 4, "per_s": 2}], "refusal": refusal}
    data = {
        "name": "six calls",
        "rows": 6,
        "columns": [column | {"latency": seconds}],
        "limits": {"workers": 6, "resources": {"chat": 6}},
        "policy": "fifo",
        "failures": {"backoff": {"first_s": 1, "jitter": 0}},
        "endpoints": {"chat": endpoint},
        **more,
    }
    done = run(data, folder)
    assert done.code == 0, done.said
    return [json.loads(line) for line in done.trace]


def _numbered(lines: Lines) -> Lines:
    """The lines with the numbers and counts that a writer gives them."""
    events = lines[1:-1]
    counts = Counter(line["event"] for line in events)
    numbered = [line | {"seq": number} for number, line in enumerate(events, 1)]
    return [lines[0], *numbered, lines[-1] | {"events": len(events), "counts": counts}]


def _is_step(line: dict[str, Any], row: int, *steps: str) -> bool:
    """A line tells of a step of a row's call; of any step if none is named."""
    request = line.get("request")
    named = request is not None and (not steps or request["step"] in steps)
    return named and line["rows"] == row


def _without_steps_of_the_last(lines: Lines) -> Lines:
    return [line for line in lines if not _is_step(line, 5)]


def _without_any_step(lines: Lines) -> Lines:
    return [line for line in lines if line.get("event") != "request"]


def _sent_before_its_start(lines: Lines) -> Lines:
    place = next(n for n, line in enumerate(lines) if _is_step(line, 0, "sent"))
    return [lines[0], lines[place], *lines[1:place], *lines[place + 1 :]]


def _sent_after_its_end(lines: Lines) -> Lines:
    place = next(n for n, line in enumerate(lines) if line.get("event") == "complete")
    sent = next(line for line in lines if _is_step(line, lines[place]["rows"], "sent"))
    return [*lines[: place + 1], sent | {"t": lines[place]["t"]}, *lines[place + 1 :]]


def _refused_before_it_is_sent(lines: Lines) -> Lines:
    place = next(n for n, line in enumerate(lines) if _is_step(line, 0, "sent"))
    refused = lines[place] | {"request": {"step": "refused"}}
    return [*lines[:place], refused, *lines[place:]]


def _refused_twice(lines: Lines) -> Lines:
    place = next(n for n, line in enumerate(lines) if _is_step(line, 5, "refused"))
    return [*lines[: place + 1], lines[place], *lines[place + 1 :]]


def _sent_again_unheard(lines: Lines) -> Lines:
    return [line for line in lines if not _is_step(line, 5, "refused")]


def _unnamed(lines: Lines) -> Lines:
    return [lines[0] | {"endpoints": {}}, *lines[1:]]


def _sums_of_another(lines: Lines) -> Lines:
    sums = lines[-2]["endpoints"]
    return [*lines[:-2], lines[-2] | {"endpoints": sums | {"b": sums["chat"]}}, lines[-1]]


@pytest.mark.parametrize(
    ("change", "clause", "said"),
    [
        (_without_steps_of_the_last, "ENDP-16", "was never sent"),
        (_without_any_step, "ENDP-16", "a[0] ended at 1 s and was never sent"),
        (_sent_before_its_start, "ENDP-16", "a[0] is on its way to an endpoint, and not in flight"),
        (_sent_after_its_end, "ENDP-16", "a[0] is on its way to an endpoint, and not in flight"),
        (_refused_before_it_is_sent, "ENDP-16", "'refused' does not follow its last step"),
        (_refused_twice, "ENDP-16", "a[5]: 'refused' does not follow its last step"),
        (_sent_again_unheard, "ENDP-16", "a[5]: 'sent' does not follow its last step"),
        (_unnamed, "ENDP-16", "'a' takes 'chat', and the header names no endpoint of it"),
        (_sums_of_another, "ENDP-05", "endpoint 'b': sums of no endpoint of the header"),
    ],
)
def test_a_trace_tells_of_each_call_and_of_no_other(
    change: Callable[[Lines], Lines], clause: str, said: str, tmp_path: Path
) -> None:
    lines = _small(tmp_path)
    assert judged(_numbered(lines), tmp_path).violations == []
    (found,) = judged(_numbered(change(lines)), tmp_path).violations
    assert found.clause == clause
    assert said in found.detail


def test_the_limit_that_lacks_something_is_named_by_its_number(tmp_path: Path) -> None:
    lines = _small(tmp_path)
    more = {"requests": 1, "per_s": 2, "burst": 1}
    limits = lines[0]["endpoints"]["chat"]["limits"]
    lines[0]["endpoints"]["chat"]["limits"] = [*limits, more]
    (found,) = judged(lines, tmp_path).violations
    assert (found.clause, "limit 2, of 2 s, has 0" in found.detail) == ("ENDP-08", True)


def test_sums_that_are_not_stated_are_not_judged_and_that_is_said(tmp_path: Path) -> None:
    lines = _small(tmp_path)
    lines[-2].pop("endpoints")
    result = judged(lines, tmp_path)
    assert result.violations == []
    assert set(result.unjudged) == {"ENDP-05", "ENDP-15"}
    assert judge_trace(result).reason.endswith("each of them allowed, but for ENDP-05, ENDP-15")


def test_what_the_process_before_a_start_made_was_sent_to_no_endpoint(tmp_path: Path) -> None:
    lines = _small(tmp_path, start_from={"version": 1, "completed_rows": 2})
    assert judged(lines, tmp_path).violations == []
    crash = next(line for line in lines if line.get("event") == "crash")
    assert crash.pop("reason") == "start_from"
    (found,) = judged(lines, tmp_path).violations
    assert (found.clause, found.seq) == ("ENDP-16", crash["seq"])


def test_an_answer_of_several_rows_comes_row_by_row(tmp_path: Path) -> None:
    column = {"name": "a", "traits": ["START", "ROW_STREAMABLE"], "resource": "chat"}
    seconds = {"model": "constant", "value_s": 1}
    lines = _small(tmp_path, columns=[column | {"range_rows": 4, "latency": seconds}])
    assert sum(line.get("event") == "complete" for line in lines) > 2
    assert judged(lines, tmp_path).violations == []


def test_levels_that_nobody_can_know_are_said_not_to_be_judged(tmp_path: Path) -> None:
    """A call that begins and ends at one instant gives back, before or after what comes then."""
    output = {"model": "list", "values": [4, 4, 0, 4, 4, 4]}
    latency = {"model": "request", "output_tokens": output, "max_output_tokens": 10}
    limit = {"tokens": 20, "per_s": 4, "give_back": True}
    lines = _small(
        tmp_path,
        columns=[{"name": "a", "traits": ["START"], "resource": "chat", "latency": latency}],
        endpoints={"chat": {"tpot_s": {"1": 1}, "beyond": "hold", "limits": [limit]}},
    )
    result = judged(lines, tmp_path)
    assert result.violations == []
    assert set(result.unjudged) == {"ENDP-08", "ENDP-09", "ENDP-10"}
