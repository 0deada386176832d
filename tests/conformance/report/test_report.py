"""Reports: case files, the results file, the summary, and files written whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cellspec.conformance.run.case
from cellspec import ColumnDescriptor, Limits
from cellspec.check.checker import Finding
from cellspec.clauses import clause_set, clause_set_version
from cellspec.conformance.campaign.options import Options
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.profiles import PROFILES
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.report.failure_text import failure_text
from cellspec.conformance.report.results import results
from cellspec.conformance.report.summary import summary
from cellspec.conformance.report.write import (
    check_report_folder,
    clear_report,
    write_reports,
)
from cellspec.conformance.run.backend import check_capabilities
from cellspec.conformance.run.case import Case, describe, python_test, read_case
from cellspec.conformance.run.loading import load_backend
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError
from cellspec.files import write_files
from cellspec.machine.limits import FailurePolicy

WORK = Workload((ColumnDescriptor("a"),), rows=2)
CASE = Case(WORK, "BARR-01", "too soon", "engine:Backend", ("SCHED-09",))


class Backend:
    """Stays idle: its suite gets results of runs by hand."""

    name = "engine"
    version = "2"
    capabilities = frozenset({"core", "retries"})

    async def run(self, probe: Any) -> None: ...

    def table(self, probe: Any) -> Any: ...


class ScriptedSuite(Suite):
    """A suite in which workloads of three rows or more break a clause."""

    def run(self, work: Workload, waive: Collection[str] = ()) -> RunResult:
        events: list[Mapping[str, Any]] = [
            {"seq": 1, "t": 0.0, "event": "start", "column": "a", "rows": 0},
            {"seq": 2, "t": 1.0, "event": "end", "outcome": "success"},
        ]
        found = RunResult(work, header(work), events=events, outcomes=["success"])
        if work.rows > 2 and "SCHED-01" not in waive:
            found.violations.append(
                Finding("SCHED-01", "a[2] is early", 1, explanation=("#1 t=0 start a[0]",))
            )
        return found


def header(work: Workload) -> dict[str, Any]:
    plain = work.to_dict()
    return {
        "trace": 1,
        "engine": {"name": "engine", "version": "2"},
        "graph": {"rows": work.rows, "columns": plain["columns"]},
    }


def scripted_suite(folder: Path, **options: Any) -> ScriptedSuite:
    return ScriptedSuite(
        Options("tests.conformance.report.test_report:Backend", folder, **options),
        Backend(),
        True,
        PROFILES,
        {},
    )


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    suite = scripted_suite(tmp_path, max_examples=20)
    suite.run_all()
    return results(suite)


# Case files


def test_a_case_that_was_written_is_read_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    path.write_text(CASE.to_json())
    assert read_case(path) == CASE


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", "expected an object, got list"),
        ("\xff", "byte 0: expected the text of a case file, got 0xff"),
        ('{"failure": 2}', "failure: this version of cellspec reads format 1 of case files, got 2"),
        ('{"failure": 1, "clauses": []}', "clauses: is no field of a case file"),
        ('{"failure": 1, "clause": "BARR-01"}', "workload: is missing"),
        ('{"failure": 1, "workload": {}, "clause": 1}', "clause: expected a string, got 1"),
        ('{"failure": 1, "workload": {}, "waived": "x"}', "waived: expected a list of clauses"),
        ('{"failure": 1, "workload": {}, "waived": ["A-1"]}', "waived: no such clause: 'A-1'"),
        ('{"failure": 1, "workload": {"case": 1, "rows": 2}}', "workload: columns: is missing"),
        ('{"failure": 1, "workload": [1]}', "workload: expected an object, got list"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_case_file_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, text: str, line: str
) -> None:
    path = tmp_path / "case.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError) as caught:
        read_case(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_case_that_waives_a_clause_that_was_retired_since_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cellspec.conformance.run.case, "retired_clauses", lambda: {"OLD-01": "so"})
    path = tmp_path / "case.json"
    path.write_text(replace(CASE, waived=("OLD-01", "SCHED-01")).to_json())
    assert read_case(path) == replace(CASE, waived=("SCHED-01",))


def test_a_case_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        read_case(tmp_path / "case.json")


def test_a_description_leaves_out_usual_values() -> None:
    assert describe(WORK) == [
        "1 column × 2 rows",
        "  'a': cell, takes about 0.5 s",
    ]
    limits = Limits(resources={"gpu": 2}, column_resource={"a": "gpu"})
    assert describe(WORK.replace(limits=limits, seed=3, order_seed=5))[2:] == [
        "at most 2 calls of 'a' at once (resource 'gpu')",
        "latencies of seed 3",
        "what wakes up together runs in another order: order seed 5",
    ]


def test_an_early_stop_is_described_by_the_failures_that_it_counts() -> None:
    failures = FailurePolicy(max_attempts=2, stop_window=4, stop_rate=0.5)
    assert describe(WORK.replace(failures=failures))[2:] == [
        "2 attempts",
        "stops early if 50% of the last 4 calls failed permanently",
    ]


def test_a_test_to_paste_imports_exactly_the_names_that_it_uses() -> None:
    assert (
        python_test(CASE)
        == '''\
from engine import Backend

from cellspec import ColumnDescriptor
from cellspec.conformance import Workload, run_workload


def test_barr_01() -> None:
    """BARR-01: too soon"""
    work = Workload(
        columns=(
            ColumnDescriptor('a'),
        ),
        rows=2,
    )
    result = run_workload(Backend(), work, waive=('SCHED-09',))
    assert not result.violations, result.violations[0]
'''
    )
    nasty = Case(WORK, "BARR-01", 'say """no""" \\ twice\n', "a.b:C.D")
    compile(python_test(nasty, made_by_call=False), "pasted", "exec")
    assert "run_workload(C.D, work)" in python_test(nasty, made_by_call=False)


# The results


def test_results_have_the_shape_that_programs_read(found: dict[str, Any]) -> None:
    assert found["format"] == 2
    assert sorted(found["suite"]) == ["clauses", "digest", "sources", "version"]
    assert found["suite"]["clauses"] == clause_set_version()
    assert found["suite"]["digest"] == clause_set()
    (backend,) = found["backends"]
    assert (backend["name"], backend["version"], backend["seed"]) == ("engine", "2", 0)
    assert backend["capabilities"] == ["core", "retries"]
    assert list(backend["clauses"]) == [c.number for p in PROFILES for c in p.clauses]
    for entry in backend["clauses"].values():
        assert sorted(entry) == ["examples", "exercised", "failure", "reason", "verdict"]
    broken = backend["clauses"]["SCHED-01"]
    assert (broken["verdict"], broken["reason"]) == ("violated", "a[2] is early")
    assert sorted(broken["failure"]) == [
        "clause",
        "detail",
        "pytest",
        "replay",
        "seq",
        "story",
        "trace",
        "workload",
    ]
    assert Workload.from_dict(broken["failure"]["workload"]).rows == 3
    assert json.loads(json.dumps(found)) == found


def test_results_say_of_every_other_clause_why_there_is_no_verdict(found: dict[str, Any]) -> None:
    entries = found["backends"][0]["clauses"]
    assert entries["SCHED-02"]["verdict"] == "inconclusive"
    assert "it never happened that" in entries["FAIL-01"]["reason"]
    assert entries["DROP-01"]["verdict"] == "not claimed"


def test_the_summary_names_the_violations_and_the_profiles_claimed(found: dict[str, Any]) -> None:
    text = "\n".join(summary(found))
    assert f"engine 2, seed 0, clause set {clause_set_version()}" in text
    assert re.search(r"core +20 of 20 ", text)
    assert "root causes: 1" in text
    assert re.search(r"^  1\. SCHED-01: a\[2\] is early \(\d+ columns?, 3 rows; in ", text, re.M)
    assert "violated (a[2] is early): SCHED-01" in text
    assert "not claimed (the backend lacks the capability 'ordered'): SCHED-13" in text
    assert not re.search(r"^ordered ", text, re.MULTILINE)
    assert all(len(line.rstrip()) == len(line) for line in summary(found))


def test_a_failure_text_has_everything_in_the_order_in_which_it_is_wanted(tmp_path: Path) -> None:
    suite = scripted_suite(tmp_path, max_examples=20)
    suite.run_all()
    text = failure_text(suite, suite.failures["SCHED-01"])
    titles = [line for line in text.splitlines()[1:] if line and not line.startswith(" ")]
    assert titles == [
        "the rule",
        "what happened",
        "the smallest workload that breaks it",
        "how it came about",
        "run it again",
        "as a test of your own",
    ]


def test_a_folder_of_reports_holds_the_files_of_one_run_alone(
    found: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    earlier = {**found, "backends": [{**found["backends"][0], "name": "earlier"}]}
    write_reports(earlier, folder=out)
    cases = ("earlier-SCHED-01.json", "mine-SCHED-01.json", "kept for a colleague.json")
    write_files(out / "cases", dict.fromkeys(cases, CASE.to_json()))
    write_files(out / "cases", {"theirs-SCHED-01.json": "{}"})
    theirs = dict.fromkeys(("failure-notes.html", "failure-of-SCHED-01.html"), "of a person")
    write_files(out, {"junit.xml": "", **theirs})
    mine = {**found, "backends": [{**found["backends"][0], "cases": ["mine-SCHED-01.json"]}]}
    write_reports(mine, folder=out)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        "cases/kept for a colleague.json",
        "cases/mine-SCHED-01.json",
        "cases/theirs-SCHED-01.json",
        "failure-engine-SCHED-01.html",
        "failure-notes.html",
        "failure-of-SCHED-01.html",
        "index.html",
        "junit.xml",
        "results.json",
    ]
    assert json.loads((out / "results.json").read_text()) == mine
    clear_report(out)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        "cases/kept for a colleague.json",
        "cases/theirs-SCHED-01.json",
        "failure-notes.html",
        "failure-of-SCHED-01.html",
        "junit.xml",
    ]


def test_a_report_that_fails_leaves_that_of_the_run_before(
    found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_reports(found, folder=out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    other = {**found, "backends": [{**found["backends"][0], "name": "other"}]}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SpecError, match="No space left"):
        write_reports(other, folder=out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("text", ["{", "[]", '{"results": 1}', '{"format": 1}'])
def test_a_file_of_somebody_else_is_not_taken_for_a_report(text: str, tmp_path: Path) -> None:
    check_report_folder(tmp_path / "missing", "out")
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(SpecError, match="was written by no run of the suite"):
        check_report_folder(tmp_path, "out")


def test_pages_lead_back_to_the_matrix_whatever_it_is_called(
    found: dict[str, Any], tmp_path: Path
) -> None:
    assert write_reports(found, html_file=tmp_path / "mine.html") == [tmp_path / "mine.html"]
    pages = {path.name: path.read_text() for path in tmp_path.glob("*.html")}
    assert len(pages) == 2
    for text in pages.values():
        for link in re.findall(r'href="([^"#]+)', text):
            if not link.startswith(("http", "data:")):
                assert link in pages


def test_every_report_says_where_real_time_passed_inside_virtual_time(
    found: dict[str, Any], tmp_path: Path
) -> None:
    assert "real_time_in_virtual_time" not in found["backends"][0]["evidence"]

    class Sleeping(ScriptedSuite):
        def run(self, work: Workload, waive: Collection[str] = ()) -> RunResult:
            ended = super().run(work, waive)
            ended.blocking = {"time.sleep() at engine/io.py:7": None}
            return ended

    plain = scripted_suite(tmp_path, max_examples=2)
    suite = Sleeping(plain.options, plain.backend, True, plain.profiles, {})
    suite.run_all()
    told = results(suite)
    calls = ["time.sleep() at engine/io.py:7"]
    assert told["backends"][0]["evidence"]["real_time_in_virtual_time"] == calls
    assert f"real time inside virtual time: {calls[0]}" in summary(told)
    write_reports(told, folder=tmp_path)
    assert calls[0] in (tmp_path / "index.html").read_text()


class Reasoned(Backend):
    """Says why it cannot be asked for something."""

    unasked: Mapping[str, str] = {"every worker was busy": "no limits"}
    unclaimed: Mapping[str, str] = {"resume": "it keeps nothing"}


def test_a_report_says_why_an_engine_cannot_be_asked(tmp_path: Path) -> None:
    suite = scripted_suite(tmp_path, max_examples=2)
    suite.backend = Reasoned()
    suite.run_all()
    found = results(suite)
    (backend,) = found["backends"]
    assert backend["unasked"] == Reasoned.unasked
    assert backend["unclaimed"] == Reasoned.unclaimed
    printed = "\n".join(summary(found))
    assert "every worker was busy (no limits)" in printed
    assert "  cannot be asked for resume: it keeps nothing" in printed


def test_a_reason_for_a_capability_that_there_is_not_is_refused() -> None:
    class Odd(Backend):
        unclaimed: Mapping[str, str] = {"flying": "no wings"}

    with pytest.raises(SpecError, match="unclaimed: no such capability: 'flying'"):
        check_capabilities(Odd())


@pytest.mark.parametrize(
    ("attribute", "wrong"),
    [
        ("unasked", "unasked: expected a set of situations, or reasons by them, got 5"),
        ("unclaimed", "unclaimed: expected reasons by capability, got 5"),
        ("saving", "saving: expected a SavePolicy, got 5"),
        ("fit", "fit: expected a method"),
    ],
)
def test_an_attribute_of_another_type_is_refused_in_a_line(attribute: str, wrong: str) -> None:
    backend = Backend()
    setattr(backend, attribute, 5)
    with pytest.raises(SpecError, match=f"^backend Backend: {wrong}$"):
        check_capabilities(backend)


def test_every_report_says_how_many_incarnations_were_judged_without_a_claim(
    found: dict[str, Any], tmp_path: Path
) -> None:
    assert "by_table_alone" not in found["backends"][0]["evidence"]

    class Silent(ScriptedSuite):
        def run(self, work: Workload, waive: Collection[str] = ()) -> RunResult:
            ended = super().run(work, waive)
            ended.by_table_alone = 2
            return ended

    plain = scripted_suite(tmp_path, max_examples=2)
    suite = Silent(plain.options, plain.backend, True, plain.profiles, {})
    suite.run_all()
    told = results(suite)
    number = told["backends"][0]["evidence"]["by_table_alone"]
    assert number >= 2
    words = f"{number} incarnations without a known claim: judged by tables, and by what calls"
    assert any(line.startswith(words) for line in summary(told))
    write_reports(told, folder=tmp_path)
    assert "incarnations judged by tables, and by calls" in (tmp_path / "index.html").read_text()
    told["backends"][0]["profiles"]["core"]["out_of_reach"] = ["a barrier ran again"]
    line = "  not asked for in core, nothing that the engine keeps leads to it: a barrier ran again"
    assert line in summary(told)


def test_a_folder_of_reports_holds_results_and_pages(found: dict[str, Any], tmp_path: Path) -> None:
    write_reports(found, folder=tmp_path, json_file=tmp_path / "deep" / "own.json")
    assert json.loads((tmp_path / "results.json").read_text()) == found
    assert json.loads((tmp_path / "deep" / "own.json").read_text()) == found
    assert (tmp_path / "index.html").exists()


def test_an_error_of_the_suite_itself_is_kept_apart(tmp_path: Path) -> None:
    class Failing(ScriptedSuite):
        def run(self, work: Workload, waive: Collection[str] = ()) -> RunResult:
            if len(work.columns) > 3:
                raise RuntimeError("a bug of the suite")
            return super().run(work, ("SCHED-01", *waive))

    suite = Failing(Options("e:B", tmp_path, max_examples=20), Backend(), True, PROFILES, {})
    suite.run_all()
    assert sorted(suite.errors) == ["core", "retries"]
    (note,) = suite.errors["core"].__notes__
    assert re.match(r"workload \d+ of profile core, seed 0: Workload\(columns=", note)
    entry = results(suite)["backends"][0]["clauses"]["SCHED-02"]
    assert entry["verdict"] == "inconclusive"
    assert entry["reason"] == "the suite itself failed: RuntimeError: a bug of the suite"


# Files


def test_files_are_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"a": "old"})
    synced = 0

    def refuse(_handle: int) -> None:
        nonlocal synced
        synced += 1
        if synced == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(SpecError, match="cannot be written: No space left on device"):
        write_files(tmp_path, {"a": "new", "b/c": "new"})
    assert {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == {
        "a": "old"
    }


# The backend


def test_a_module_beside_the_user_is_found_and_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')\n")
    (tmp_path / "engine_beside.py").write_text(
        "from tests.conformance.report.test_report import Backend\nit = Backend()"
    )
    backend, made = load_backend("engine_beside:it", tmp_path)
    assert backend.name == "engine"
    assert not made
    assert load_backend("engine_beside:Backend", tmp_path)[1]
    assert json.loads("1") == 1


def test_the_summary_says_which_inconclusive_clauses_have_no_say(found: dict[str, Any]) -> None:
    told = json.loads(json.dumps(found))
    (backend,) = told["backends"]
    entry = {"verdict": "inconclusive", "reason": "why", "examples": 1, "exercised": 0}
    backend["clauses"] = dict.fromkeys(("SCHED-01", "SCHED-02", "SCHED-03"), entry)
    one = {"SCHED-01": "why"}
    backend["inconclusive"] = {"clauses": one, "allowed": True, "fails": False, "remedies": []}
    backend["causes"][0]["consequences"] = {"SCHED-02": {"workloads": 1, "detail": "so"}}
    rest = "1 consequence of root causes, 1 without a test in this run"
    line = f"1 judged clause is inconclusive (not counting {rest}), which "
    assert any(each.startswith(line) for each in summary(told))
    backend["pins"] = {"file": "f", "version": "1"} | {
        key: {} for key in ("new", "changed", "removed", "goals")
    }
    assert any("causes, 1 accepted), which " in each for each in summary(told))


def test_the_summary_names_thin_clauses_and_pairs_of_features(found: dict[str, Any]) -> None:
    again = json.loads(json.dumps(found))
    (backend,) = again["backends"]
    entry = next(iter(backend["clauses"].values()))
    entry |= {"verdict": "pass", "exercised": 3, "examples": 20}
    backend["profiles"]["core"] |= {
        "stopped_at": "",
        "pairs": {"possible": 3, "met": 2, "unmet": ["groups + skips"]},
    }
    text = "\n".join(summary(again))
    assert re.search(r"^exercised by the fewest workloads: [A-Z]+-\d+ by 3 of 20", text, re.M)
    assert "  never together in core: groups + skips" in text
