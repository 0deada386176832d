"""Runs with a baseline or with pinned clauses, as somebody meets them who runs the suite daily."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cellspec import ColumnDescriptor
from cellspec.clauses import clauses
from cellspec.conformance.campaign.pins import pins_text
from cellspec.conformance.campaign.results import Failure
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.verdict import Judgement, Verdict
from cellspec.conformance.pytest.accepted import Accepted
from cellspec.conformance.pytest.session import Session
from cellspec.conformance.report.results import results, suite_sources
from cellspec.conformance.report.summary import summary
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


def accepted_by(suite: pytest.Pytester, *options: str) -> Accepted:
    """What a run of the engine with these options accepts."""
    config = suite.parseconfigure(*SUITE, "--engine-backend=engine:Backend", *options)
    session: Session = config.pluginmanager.getplugin("cellspec-conformance")
    return session.accepted


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
    known.stdout.fnmatch_lines(["XFAIL *broken in bad.json too: *", "  still broken: BARR-06"])
    found = json.loads(Path("again.json").read_text())["backends"][0]
    assert found["clauses"]["BARR-06"]["verdict"] == "violated"
    assert found["baseline"]["changes"]["BARR-06"]["change"] == "still broken"
    assert 'value="violated"' in Path("junit.xml").read_text()


def test_a_strict_run_accepts_nothing(suite: pytest.Pytester) -> None:
    results_file("bad.json", BARR_06="violated", BARR_01="inconclusive")
    broken, unknown = Judgement(Verdict.VIOLATED, "so"), Judgement(Verdict.INCONCLUSIVE, "so")
    for option, accepts in (("--conformance-strict", False), ("-q", True)):
        accepted = accepted_by(suite, "--conformance-baseline=bad.json", option)
        assert bool(accepted.why("BARR-06", broken)) == accepts
        assert bool(accepted.why("BARR-01", unknown)) == accepts
        # A campaign that ends with the first failure goes on after one that fails no run.
        assert accepted.suite.is_accepted("BARR-06") == accepts
        assert not accepted.suite.is_accepted("BARR-01")
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


def test_a_consequence_of_what_was_broken_before_fails_no_run(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    results_file("bad.json", BARR_06="violated", BARR_01="pass")
    accepted = accepted_by(suite, "--conformance-baseline=bad.json", *FEW)
    assert not accepted.why("BARR-01", Judgement(Verdict.VIOLATED, "so"))
    work = Workload((ColumnDescriptor("a"),), rows=2)
    accepted.suite.causes.add(Failure("BARR-06", "so", (), work, {}, ()))
    monkeypatch.setattr(Suite, "consequences", {"BARR-01": 1})
    assert accepted.why("BARR-01", Judgement(Verdict.VIOLATED, "so")) == (
        "a consequence of BARR-06, which is broken in bad.json too"
    )


def test_a_consequence_of_a_new_root_cause_fails_the_run_though_it_was_broken_before(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("BARR-06", "BARR-01")
    verdicts: dict[str, dict[str, Any]] = {name: {"verdict": "violated"} for name in names}
    verdicts["BARR-06"]["failure"] = {"detail": "so"}
    backends = [{"name": "columns", "version": "1", "clauses": verdicts}]
    found = {"format": 2, "suite": {"sources": suite_sources()}, "backends": backends}
    Path("bad.json").write_text(json.dumps(found))
    only = "--conformance-only=BARR-01"
    accepted = accepted_by(suite, "--conformance-baseline=bad.json", only, *FEW)
    monkeypatch.setattr(Suite, "consequences", {"BARR-01": 1})
    work = Workload((ColumnDescriptor("a"),), rows=2)
    for detail, accepts in (("so", True), ("other", False)):
        accepted.suite.causes.roots.clear()
        accepted.suite.causes.add(Failure("BARR-06", detail, (), work, {}, ()))
        assert bool(accepted.why("BARR-01", Judgement(Verdict.VIOLATED, "so"))) == accepts


def test_a_new_root_cause_of_a_clause_that_was_broken_before_fails_the_run(
    suite: pytest.Pytester,
) -> None:
    broken = {"verdict": "violated", "failure": {"detail": "barrier 0 of 'a' reads row 1"}}
    behind = {"verdict": "violated", "failure": None}
    clauses = {"BARR-06": broken, "SCHED-12": behind}
    backends = [{"name": "columns", "version": "1", "clauses": clauses}]
    found = {"format": 2, "suite": {"sources": suite_sources()}, "backends": backends}
    Path("bad.json").write_text(json.dumps(found))
    accepted = accepted_by(suite, "--conformance-baseline=bad.json", *FEW)
    causes, work = accepted.suite.causes, Workload((ColumnDescriptor("a"),), rows=2)
    says = {"BARR-06": "barrier 1 of 'b' reads row 3", "SCHED-12": "nothing can ever run"}
    one, hang = (causes.add(Failure(name, says[name], (), work, {}, ())) for name in says)
    assert accepted.why_root(one) == "broken in bad.json too: barrier 1 of 'b' reads row 3"
    assert accepted.suite.is_accepted("BARR-06")
    # It was broken as a consequence alone.
    assert not accepted.why_root(hang)
    assert not accepted.suite.is_accepted("SCHED-12")
    other = causes.add(Failure("BARR-06", "barrier 0 of 'a' starts twice", (), work, {}, ()))
    assert not accepted.why_root(other)
    assert not accepted.why("BARR-06", Judgement(Verdict.VIOLATED, "so"))
    # Its other words are those of the other sources, perhaps.
    found["suite"] = {"sources": "0"}
    Path("old.json").write_text(json.dumps(found))
    assert accepted_by(suite, "--conformance-baseline=old.json", *FEW).why_root(other)


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
    suite.makeini("[pytest]\naddopts = --conformance-baseline=missing.json --seeds=2 --slow")
    assert judge(suite, "Backend", "--replay=case.json").ret == FINE


def pins_file(**changes: Any) -> None:
    """Write the file that pins the clauses of another version: these clauses are otherwise."""
    found = json.loads(pins_text())
    for name, entry in changes.items():
        number = name.replace("_", "-")
        if entry is None:
            del found["clauses"][number]
        else:
            found["clauses"][number] = entry
    Path("pins.json").write_text(json.dumps(found))


def test_the_first_run_pins_the_clauses_and_a_later_one_says_that_they_are_the_same(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_are_enough(monkeypatch)
    options = ("--profile=core", "--max-examples=1", "--conformance-clauses=ci/pins.json")
    judge(suite, "Backend", *options).stdout.fnmatch_lines(["written: ci/pins.json"])
    assert Path("ci/pins.json").read_text() == pins_text()
    later = judge(suite, "Backend", *options)
    later.stdout.fnmatch_lines(["clauses: as pinned in ci/pins.json"])
    assert "written: " not in text_of(later)


def test_clauses_that_are_new_or_changed_are_told_apart_and_fail_no_run(
    suite: pytest.Pytester,
) -> None:
    pins_file(BARR_06=None, SCHED_01=["another digest", "Otherwise."], SCHED_77=["digest", "Gone."])
    result = judge(suite, "Forgetful", *FEW, "--conformance-clauses=pins.json")
    assert result.ret == FINE
    assert result.parseoutcomes()["xfailed"] == 1
    result.stdout.fnmatch_lines(
        [
            "clauses that are not as pinned in pins.json (clause set *), and fail no run:",
            "  new: BARR-06: violated (*",
            "  changed: SCHED-01: *",
            "    was: Otherwise.",
            f"    is: {clauses()['SCHED-01'].text}",
            "  removed: SCHED-77: this version of cellspec has no such clause",
            "  to judge by them from now on, remove pins.json: the next run pins this clause set",
        ]
    )
    strict = judge(
        suite, "Forgetful", *FEW, "--conformance-clauses=pins.json", "--conformance-strict"
    )
    assert strict.ret == VIOLATED
    strict.stdout.fnmatch_lines(
        ["clauses that are not as pinned in pins.json (*), and fail this run as others do (*):"]
    )
    assert "fail no run" not in text_of(strict)


def test_what_pinned_clauses_accept_is_what_is_new_or_changed_since(
    suite: pytest.Pytester,
) -> None:
    pins_file(BARR_06=None, SCHED_01=["another digest", "Otherwise."])
    broken = Judgement(Verdict.VIOLATED, "so")
    accepted = accepted_by(suite, "--conformance-clauses=pins.json")
    why = {number: accepted.why(number, broken) for number in ("BARR-06", "SCHED-01", "SCHED-02")}
    assert why == {
        "BARR-06": "BARR-06 is new since pins.json was written",
        "SCHED-01": "SCHED-01 was changed since pins.json was written",
        "SCHED-02": "",
    }
    strict = accepted_by(suite, "--conformance-clauses=pins.json", "--conformance-strict")
    assert not strict.why("BARR-06", broken)


def test_a_coverage_goal_that_is_not_pinned_fails_no_run(suite: pytest.Pytester) -> None:
    pins_file()
    found = json.loads(pins_text())
    found["goals"]["core"] = []
    Path("older.json").write_text(json.dumps(found))
    options = ("--profile=core", "--max-examples=1")
    for pins, why in (
        ("pins.json", ""),
        ("older.json", "it lacks a coverage goal that is new since older.json was written"),
    ):
        accepted = accepted_by(suite, *options, f"--conformance-clauses={pins}")
        accepted.suite.run_all()
        (core,) = accepted.suite.profiles
        judgement = accepted.suite.judge(clauses()["TABLE-01"], core)
        assert judgement.verdict is Verdict.INCONCLUSIVE
        assert accepted.why("TABLE-01", judgement) == why
        found = results(accepted.suite)
        accepted.add_to(found)
        told = [line for line in summary(found) if line.startswith("  new coverage goal: ")]
        assert len(told) == (len(core.goals) if why else 0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "not JSON: "),
        ("{}", "expected a file that pins clauses; where there is no file, a run writes one"),
        ('{"clause_pins": 2}', "clause_pins: expected 1, got 2"),
        ('{"clause_pins": 1}', "clauses: expected an object with clauses, got None"),
        ('{"clause_pins": 1, "clauses": {"A": 1}}', "clauses: A: expected a digest and a sentence"),
        ('{"clause_pins": 1, "clauses": {"A": ["", ""]}}', "goals: expected an object, got None"),
    ],
)
def test_a_file_that_pins_nothing_is_refused_in_one_line(
    suite: pytest.Pytester, text: str, line: str
) -> None:
    Path("pins.json").write_text(text)
    with pytest.raises(pytest.UsageError) as refused:
        accepted_by(suite, "--conformance-clauses=pins.json")
    assert str(refused.value).startswith(f"--conformance-clauses: pins.json: {line}")
    assert "\n" not in str(refused.value)
