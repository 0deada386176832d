"""The runs of several seeds, joined into one outcome."""

from __future__ import annotations

from typing import Any

from simulations.releases.cases import cases_of
from simulations.releases.joined_seeds import joined
from simulations.releases.outcome import Outcome, Plan
from simulations.releases.suite_runs import gather_failures
from tests.releases.toy import engine, outcome


def run_of(rows: int | None, verdict: str = "", exercised: int = 1) -> Outcome:
    """A run that breaks SCHED-12 with so many rows, or has the verdict."""
    made = outcome(rows)
    assert made.found is not None
    if verdict:
        made.found["clauses"]["SCHED-12"]["verdict"] = verdict
        made.found["clauses"]["SCHED-12"]["reason"] = f"{verdict}, says the run"
    made.found["profiles"] = {
        "core": {
            "workloads": 4,
            "occasions": {"SCHED-12": exercised},
            "sometimes": {"a row was dropped": exercised},
            "unasked": ["never", "only here"] if rows else ["never"],
            "owed": [],
        }
    }
    return made


def entry_of(*runs: Outcome) -> dict[str, Any]:
    found = joined(dict(enumerate(runs))).found
    assert found is not None
    return dict(found["clauses"]["SCHED-12"])


def test_a_clause_that_one_seed_broke_is_broken_with_the_failure_of_each() -> None:
    entry = entry_of(run_of(None), run_of(3), run_of(2))
    assert entry["verdict"] == "violated"
    assert [(one["seed"], one["detail"]) for one in entry["failures"]] == [
        (1, "3 rows stand still"),
        (2, "2 rows stand still"),
    ]


def test_every_failure_of_a_clause_counts_with_what_was_waived_in_it() -> None:
    backend: dict[str, Any] = {
        "clauses": {
            "SCHED-12": {"failure": {"detail": "first"}},
            "SCHED-10": {"failure": {"detail": "alone"}},
            "SCHED-01": {"failure": None},
        },
        "causes": [
            {
                "clause": "SCHED-12",
                "waived": [],
                "consequences": {"SCHED-10": {"workloads": 3, "detail": "lost"}},
            },
            {"clause": "SCHED-12", "waived": ["SCHED-09"], "failure": {"detail": "second"}},
        ],
    }
    cases = [{"clause": "SCHED-12", "waived": ["DROP-01"]}, {"clause": "SCHED-10", "waived": ["X"]}]
    gather_failures(backend, cases)
    assert backend["clauses"] == {
        "SCHED-12": {
            "failure": {"detail": "first", "waived": []},
            "failures": [
                {"detail": "first", "waived": []},
                {"detail": "second", "waived": ["SCHED-09"]},
            ],
        },
        "SCHED-10": {
            "failure": {"detail": "alone", "waived": ["X"]},
            "failures": [{"detail": "alone", "waived": ["X"]}],
        },
        "SCHED-01": {"failure": None},
    }
    assert backend["consequences"] == {"SCHED-10": {"SCHED-12": 3}}
    made = run_of(2)
    assert made.found is not None
    made.found["consequences"] = backend["consequences"]
    both = joined({0: made, 1: made}).found
    assert both is not None
    assert both["consequences"] == {"SCHED-10": {"SCHED-12": 6}}
    entry = made.found["clauses"]["SCHED-12"]
    entry["failures"] = [entry["failure"], {**entry["failure"], "detail": "second"}]
    assert [one["detail"] for one in entry_of(made, run_of(3))["failures"]] == [
        "2 rows stand still",
        "second",
        "3 rows stand still",
    ]


def test_a_clause_that_one_seed_passed_is_passed_with_the_evidence_of_all() -> None:
    entry = entry_of(run_of(None, "inconclusive", 0), run_of(None, exercised=2), run_of(None))
    assert entry["verdict"] == "pass"
    assert (entry["exercised"], entry["examples"]) == (3, 3)
    assert entry["reason"] == "exercised in 3 of 3 workloads"
    none = entry_of(run_of(None, "inconclusive"), run_of(None, "inconclusive"))
    assert (none["verdict"], none["reason"]) == ("inconclusive", "inconclusive, says the run")


def test_counts_are_added_up_and_only_what_no_seed_reached_is_unasked() -> None:
    both = joined({4: run_of(None), 5: run_of(2)})
    assert both.found is not None
    assert both.seeds == [4, 5]
    assert both.found["evidence"]["workloads"] == 8
    profile = both.found["profiles"]["core"]
    assert profile["workloads"] == 8
    assert profile["sometimes"] == {"a row was dropped": 2}
    assert profile["unasked"] == ["never"]


def test_a_seed_without_results_is_named_and_the_others_count() -> None:
    both = joined({0: run_of(2), 1: Outcome("out of time", "it was ended after 1 s")})
    assert (both.status, both.seeds) == ("ran", [0])
    assert both.detail == "seed 1: out of time: it was ended after 1 s"
    assert joined({0: Outcome("died", "why")}).status == "died"
    assert joined({}).status == "not run"


def test_the_failures_of_all_seeds_are_cases(tmp_path: Any) -> None:
    union = joined({0: run_of(2), 1: run_of(3), 2: run_of(2)})
    cases = cases_of(engine(tmp_path), "toy", {("1.0", "inner"): union})
    assert [one.case.workload.rows for one in cases] == [2, 3]
    assert all(one.places == (("1.0", "inner"),) for one in cases)


def test_the_newest_two_releases_get_all_seeds_and_workloads(tmp_path: Any) -> None:
    listed = engine(tmp_path)
    plan = Plan(seed=7, seeds=3)
    assert [plan.seeds_of(listed, one) for one in listed.releases] == [[7], [7, 8, 9], [7, 8, 9]]
    plan = Plan(max_examples=250, older=100)
    assert [plan.examples_of(listed, one) for one in listed.releases] == [100, 250, 250]
    assert Plan(max_examples=40).examples_of(listed, listed.releases[0]) == 40
