"""Runs with a baseline, as a developer who runs the suite every day meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cellspec import ColumnDescriptor
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.verdict import Judgement, Verdict
from cellspec.conformance.pytest.accepted import Accepted
from cellspec.conformance.run.case import Case
from cellspec.conformance.run.workload import Workload
from cellspec.exit_codes import FINE, INCONCLUSIVE, VIOLATED
from tests.conformance.pytest.test_plugin import SUITE, few_are_enough, judge, suite, text_of

__all__ = ["suite"]  # a fixture

pytest_plugins = ["pytester"]
FEW = ("--profile=core", "--max-examples=8")


@pytest.fixture(autouse=True)
def no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that do not time the engine: half of such a short one."""
    monkeypatch.setattr(Suite, "cost", lambda _: {})


def results_file(path: str, **verdicts: str) -> None:
    """Write the results of an earlier run of the engine."""
    clauses = {name.replace("_", "-"): {"verdict": verdict} for name, verdict in verdicts.items()}
    backends = [{"name": "columns", "version": "1", "clauses": clauses}]
    Path(path).write_text(json.dumps({"format": 2, "suite": {}, "backends": backends}))


def renamed(*names: str) -> str:
    """A module with engines of the same name: what its developer has on different days."""
    lines = ["import engine"]
    for name in names:
        lines += [f"class {name}(engine.{name}):", "    name = 'columns'"]
    return "\n".join(lines)


def on_a_day(suite: pytest.Pytester, name: str, *options: str) -> pytest.RunResult:
    return suite.runpytest(*SUITE, f"--engine-backend=days:{name}", *FEW, *options)


def test_a_new_break_fails_a_run_with_a_baseline_and_a_known_one_does_not(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(days=renamed("Forgetful"))
    results_file("good.json", BARR_06="pass")
    broke = on_a_day(
        suite, "Forgetful", "--conformance-baseline=good.json", "--conformance-json=bad.json"
    )
    assert broke.ret == VIOLATED
    broke.stdout.fnmatch_lines(["  broke (was pass, is violated: barrier 0 *): BARR-06"])
    known = on_a_day(
        suite,
        "Forgetful",
        "--conformance-baseline=bad.json",
        "--conformance-json=again.json",
        "--junitxml=junit.xml",
        "-rx",
    )
    assert known.ret == FINE
    assert known.parseoutcomes()["xfailed"] == 1
    known.stdout.fnmatch_lines(["  still broken: BARR-06", "XFAIL *broken in bad.json too: *"])
    found = json.loads(Path("again.json").read_text())["backends"][0]
    assert found["clauses"]["BARR-06"]["verdict"] == "violated"
    assert found["baseline"]["changes"]["BARR-06"]["change"] == "still broken"
    assert 'value="violated"' in Path("junit.xml").read_text()


def test_a_strict_run_accepts_nothing(suite: pytest.Pytester) -> None:
    results_file("bad.json", BARR_06="violated", BARR_01="inconclusive")
    broken, unknown = Judgement(Verdict.VIOLATED, "so"), Judgement(Verdict.INCONCLUSIVE, "so")
    for option, accepts in (("--conformance-strict", False), ("-q", True)):
        config = suite.parseconfigure(
            *SUITE, "--engine-backend=engine:Backend", "--conformance-baseline=bad.json", option
        )
        accepted = Accepted(config, "columns", [])
        assert bool(accepted.why("BARR-06", broken)) == accepts
        assert bool(accepted.why("BARR-01", unknown)) == accepts
        assert not accepted.why("BARR-01", broken)
        assert not accepted.why("BARR-06", unknown)


def test_a_clause_that_was_inconclusive_before_does_not_fail_a_run_of_the_default_number(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_are_enough(monkeypatch)
    three = (FEW[0], "--max-examples=3")
    assert judge(suite, "Backend", *three, "--conformance-json=base.json").ret == INCONCLUSIVE
    with_it = judge(suite, "Backend", *three, "--conformance-baseline=base.json")
    assert with_it.ret == FINE
    assert "each clause has the verdict that it had" in text_of(with_it)


def test_a_baseline_that_the_run_would_overwrite_is_refused(suite: pytest.Pytester) -> None:
    Path("out").mkdir()
    results_file("base.json")
    results_file("out/results.json")
    for base, option in (
        ("base.json", "--conformance-json=./base.json"),
        ("out/results.json", "--conformance-report=out"),
    ):
        with pytest.raises(pytest.UsageError, match="would write its own results there"):
            suite.parseconfigure(
                *SUITE, "--engine-backend=engine:Backend", f"--conformance-baseline={base}", option
            )


def test_a_baseline_in_the_configuration_leaves_replays_alone(suite: pytest.Pytester) -> None:
    Path("case.json").write_text(Case(Workload((ColumnDescriptor("a"),), rows=2)).to_json())
    options = ("--conformance-baseline=missing.json", "--replay=case.json")
    assert judge(suite, "Backend", *options).ret == FINE
