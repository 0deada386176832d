"""The findings of a release matrix: defects, replays, scripts, troubles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cellspec.clauses import clauses
from simulations.releases.cases import FoundCase, cases_of
from simulations.releases.explained import explain
from simulations.releases.gather import gather
from simulations.releases.outcome import Outcome
from simulations.releases.page import pages
from simulations.releases.published import findings_json
from simulations.releases.script_files import Script
from tests.releases.toy import SAID, engine, failure, found_in, outcome, row_of


@pytest.mark.parametrize(
    ("clause", "waived"),
    [("COST-01", [("DROP-01", "SCHED-02")]), ("TABLE-01", [("DROP-01",), ("SCHED-02",)])],
)
def test_cases_about_cost_are_one_whatever_their_runs_waived(
    tmp_path: Path, clause: str, waived: list[tuple[str, ...]]
) -> None:
    def broken(*others: str) -> Outcome:
        failures = [{**failure(2), "waived": list(others)}]
        return Outcome("ran", found={"clauses": {clause: {"failures": failures}}})

    outcomes = {("1.0", "inner"): broken("SCHED-02"), ("2.0", "inner"): broken("DROP-01")}
    cases = cases_of(engine(tmp_path), "toy", outcomes)
    assert sorted(one.case.waived for one in cases) == waived
    assert {place for one in cases for place in one.places} == set(outcomes)


def test_cases_that_break_a_clause_in_the_same_places_are_one_defect(tmp_path: Path) -> None:
    listed = engine(tmp_path)
    outcomes = {
        ("1.0", "inner"): outcome(2),
        ("1.0", "outer"): outcome(5),
        ("2.0", "inner"): outcome(3),
        ("2.0", "outer"): outcome(None),
        ("3.0", "inner"): outcome(2),
        ("3.0", "outer"): outcome(None),
    }
    cases = cases_of(listed, "toy", outcomes)
    assert [one.case.workload.rows for one in cases] == [2, 3, 5]
    assert cases[0].places == (("1.0", "inner"), ("3.0", "inner"))

    def does(one: FoundCase, place: tuple[str, str]) -> Mapping[str, Any]:
        everywhere = one.case.workload.rows != 5
        shows = everywhere or place == ("1.0", "outer")
        return {"says": "same" if shows else "none", "clause": "", "detail": "", "adapter": ""}

    replays = {place: {one.name: dict(does(one, place)) for one in cases} for place in outcomes}
    found = gather(listed, "toy", "0", outcomes, cases, replays, [], {})
    assert [(one.shown.case.workload.rows, one.cases) for one in found.defects] == [(2, 2), (5, 1)]
    assert found.defects[0].found == (("1.0", "inner"), ("2.0", "inner"), ("3.0", "inner"))
    assert not found.troubles
    page = pages(found)["toy.md"]
    assert "#### SCHED-12, workload 2" in page


def test_an_error_of_the_matrix_itself_is_never_a_silent_success(tmp_path: Path) -> None:
    listed = engine(tmp_path)
    outcomes = {
        ("1.0", "inner"): outcome(2),
        ("1.0", "outer"): Outcome("out of time", "it was ended after 1 s"),
        ("2.0", "inner"): outcome(None),
        ("2.0", "outer"): outcome(None),
    }
    outcomes["2.0", "inner"].twice = "SCHED-12 pass, then violated"
    outcomes["2.0", "outer"].suite = "another"
    cases = cases_of(listed, "toy", outcomes)
    said = {"says": "nothing", "clause": "", "detail": "", "adapter": ""}
    replays = {("1.0", "inner"): {cases[0].name: said}}
    script = Script("sched_12_x.py", ("SCHED-12",), ("1.0",), "It stands still.")
    ran = {
        ("1.0", script.file): {"says": "fine", "detail": ""},
        ("2.0", script.file): {"says": "failed", "detail": "exit code 1: ImportError"},
    }
    found = gather(listed, "toy", "0", outcomes, cases, replays, [script], ran)
    assert [line.partition(" (")[0] for line in found.troubles] == [
        "the releases were not all judged by the same suite",
        "1.0 outer: out of time: it was ended after 1 s",
        "2.0 inner: two runs differ: SCHED-12 pass, then violated",
        "3.0 inner: not run",
        "3.0 outer: not run",
        f"1.0 inner: {cases[0].name}: replayed where it was found: nothing",
        "2.0: scripts/sched_12_x.py: exit code 1: ImportError",
        "scripts/sched_12_x.py: its header says that it shows in 1.0, and it shows in none",
    ]


def test_a_clause_that_a_replay_breaks_is_never_passed(tmp_path: Path) -> None:
    found = found_in(
        tmp_path, {("1.0", "inner"): {"says": "same"}, ("2.0", "inner"): {"says": "same"}}
    )
    assert found.verdict("2.0", "inner", "SCHED-12") != "violated"
    assert found.stands("2.0", "inner", "SCHED-12") == "shown by a replay"
    assert found.stands("1.0", "inner", "SCHED-12") == "violated"
    (case,) = json.loads(findings_json(found))["releases"][1]["entry_points"]["inner"]["clauses"][
        "SCHED-12"
    ]["replays"]
    assert case == found.defects[0].identity
    assert " R " in row_of(pages(found)["toy.md"], "SCHED-12")


def test_a_replay_of_a_changed_workload_is_never_nothing_breaks(tmp_path: Path) -> None:
    does: dict[tuple[str, str], dict[str, Any]] = {
        ("1.0", "inner"): {"says": "same"},
        ("1.0", "outer"): {"says": "nothing", "changes": ["without 2 attempts"]},
        ("2.0", "inner"): {"says": "nothing"},
        ("2.0", "outer"): {"says": "refused", "changes": ["with 1 row"]},
        ("3.0", "inner"): {"says": "another", "changes": ["with 1 row"]},
    }
    found = found_in(tmp_path, does)
    (defect,) = found.defects
    says = {place: each["says"] for place, each in defect.replays.items()}
    assert says["1.0", "outer"] == says["2.0", "outer"] == "changed"
    assert says["2.0", "inner"] == "nothing"
    assert says["3.0", "inner"] == "another"
    data = json.loads(findings_json(found))
    assert data["replayed"] == {
        "inner": {"another": 1, "nothing": 1, "same": 1},
        "outer": {"changed": 2},
    }
    page = pages(found)["toy.md"]
    assert "| outer | ≈ | ≈ | · |" in page
    assert "| outer | 0 | 0 | 0 | 2 | 0 | 0 |" in page
    page = " ".join(page.split())
    assert "it could not be asked (what ran instead is below, and broke nothing) on 1.0." in page
    assert "- What outer was asked for instead on 1.0 (≈): without 2 attempts." in page
    assert "nothing breaks on" not in page


def test_a_change_where_the_case_was_found_too_makes_no_other_workload(tmp_path: Path) -> None:
    """A case about cost is kept as it was asked for, and brought to the engine at each size."""
    does: dict[tuple[str, str], dict[str, Any]] = {
        ("1.0", "inner"): {"says": "same", "changes": ["with 2 attempts"]},
        ("2.0", "inner"): {"says": "nothing", "changes": ["with 2 attempts"]},
        ("2.0", "outer"): {"says": "nothing", "changes": ["with 3 attempts"]},
    }
    (defect,) = found_in(tmp_path, does).defects
    assert [each["says"] for each in defect.replays.values()] == ["same", "nothing", "changed"]


def test_a_violation_that_does_not_come_again_does_not_count(tmp_path: Path) -> None:
    found = found_in(tmp_path, {("1.0", "inner"): {"says": "nothing"}})
    assert found.verdict("1.0", "inner", "SCHED-12") == "violated"
    assert found.stands("1.0", "inner", "SCHED-12") == "not repeated"
    said = json.loads(findings_json(found))["releases"][0]["entry_points"]["inner"]["clauses"][
        "SCHED-12"
    ]
    assert (said["verdict"], said["stands"], said["replay"]) == (
        "violated",
        "not repeated",
        "nothing",
    )
    files = pages(found)
    assert "| ↺ ✓ | ✓ ✓ | ✓ ✓ |" in row_of(files["toy.md"], "SCHED-12")
    assert "- Not repeated: found once (inner on 1.0): 2 rows stand still. " in files["toy.md"]
    assert "was found broke nothing." in files["toy.md"].replace("\n  ", " ")
    assert "↺ not repeated" in files["toy/index.html"]
    assert not any("/failure-" in name for name in files)
    once = found_in(tmp_path, {("1.0", "inner"): {"says": "same"}})
    assert "| ✗ ✓ | ✓ ✓ | ✓ ✓ |" in row_of(pages(once)["toy.md"], "SCHED-12")


def test_a_workload_that_differs_where_it_was_found_says_so_and_hides_no_other(
    tmp_path: Path,
) -> None:
    listed = engine(tmp_path)
    outcomes = {("3.0", "inner"): outcome(2), ("1.0", "inner"): outcome(3)}
    broken = outcomes["3.0", "inner"].found
    assert broken is not None
    broken["clauses"]["SCHED-12"]["failures"] = [failure(2), failure(3)]
    small, large = cases_of(listed, "toy", outcomes)
    does = {small.name: {**SAID, "says": "same"}, large.name: {**SAID, "says": "nothing"}}
    again = {large.name: {**SAID, "says": "same"}}
    replays = {("3.0", "inner"): does, ("1.0", "inner"): again}
    found = gather(listed, "toy", "0", outcomes, [small, large], replays, [], {})
    assert found.stands("3.0", "inner", "SCHED-12") == "violated"
    assert found.stands("1.0", "inner", "SCHED-12") == "violated"
    assert explain(found).once == [("SCHED-12", "inner")]
    page = " ".join(pages(found)["toy.md"].split())
    assert "found by inner on 3.0, where the replay broke nothing." in page
    assert page.count("**Not repeated everywhere**") == 1


def test_no_release_passes_by_a_clause_that_a_script_shows_broken(tmp_path: Path) -> None:
    does = {("1.0", "inner"): {"says": "same"}}
    found = found_in(tmp_path, does, v1_0="shows", v2_0="shows", v3_0="fine")
    stands = {
        (version, entry_point): found.stands(version, entry_point, "SCHED-12")
        for version, entry_point in found.outcomes
    }
    assert stands["1.0", "inner"] == "violated"
    assert stands["1.0", "outer"] == stands["2.0", "inner"] == stands["2.0", "outer"]
    assert stands["2.0", "inner"] == "shown by a script"
    assert stands["3.0", "inner"] == found.verdict("3.0", "inner", "SCHED-12")
    files = pages(found)
    assert "| ✗ S | S S | ✓ ✓ |" in row_of(files["toy.md"], "SCHED-12")
    assert "S shown by a script" in files["toy/index.html"]
    data = json.loads(findings_json(found))
    assert data["releases"][1]["entry_points"]["outer"]["clauses"]["SCHED-12"] == {
        "verdict": found.verdict("2.0", "outer", "SCHED-12"),
        "reason": "",
        "examples": 1,
        "stands": "shown by a script",
        "scripts": ["sched_12_x.py"],
    }


def test_a_verdict_says_which_sentence_of_its_clause_it_follows_from(tmp_path: Path) -> None:
    listed = engine(tmp_path)
    old, new = outcome(None), outcome(None)
    new.rules = {number: clause.text for number, clause in clauses().items()}
    old.rules = {**new.rules, "SCHED-12": "A run ends."}
    outcomes = {("1.0", "inner"): old, ("2.0", "inner"): new}
    found = gather(listed, "toy", "0", outcomes, [], {}, [], {})
    page = pages(found)["toy.md"]
    assert "| ✓† · | ✓ · | · · |" in row_of(page, "SCHED-12")
    assert "- SCHED-12 was, for 1.0: A run ends." in page
    data = json.loads(findings_json(found))
    said = [one["entry_points"]["inner"] for one in data["releases"]]
    assert said[0]["earlier_rules"] == ["SCHED-12"]
    assert data["rules"][said[0]["rules"]] == {"SCHED-12": "A run ends."}
    assert said[1]["earlier_rules"] == []
    assert said[0]["rules"] != said[1]["rules"]
    assert f"| 1.0 | inner | ran | {said[0]['rules']} |" in page


def test_a_case_against_an_earlier_sentence_need_not_break_the_present_one(tmp_path: Path) -> None:
    listed = engine(tmp_path)
    outcomes = {("1.0", "inner"): outcome(2)}
    cases = cases_of(listed, "toy", outcomes)
    replays = {("1.0", "inner"): {cases[0].name: {**SAID, "says": "nothing"}}}
    late = f"1.0 inner: {cases[0].name}: replayed where it was found: nothing"
    assert late in gather(listed, "toy", "0", outcomes, cases, replays, [], {}).troubles
    outcomes["1.0", "inner"].rules = {"SCHED-12": "A run ends."}
    found = gather(listed, "toy", "0", outcomes, cases, replays, [], {})
    assert late not in found.troubles
    page = " ".join(pages(found)["toy.md"].split())
    assert "broke nothing. It was found by an earlier sentence of the clause." in page
    assert "| ↺† · |" in page
