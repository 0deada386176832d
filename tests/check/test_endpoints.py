"""The judge of endpoints: right runs break nothing, and a trace that is odd is said to be so."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import cellspec.check.endpoints
from cellspec.check.checker import CheckResult, check_file
from tests.check.endpoint_runs import draw
from tests.matrix.endpoint_mutants import ENDPOINT_MUTANTS
from tests.recompute.runner import run

Lines = list[dict[str, Any]]


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
