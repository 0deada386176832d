"""Which runs of the suite a release gets, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from simulations.releases.command import main
from simulations.releases.environments import Workspace
from simulations.releases.outcome import Outcome, Plan
from simulations.releases.suite_runs import gather_failures, run_suite
from tests.releases.toy import engine


def test_every_failure_of_a_clause_counts_with_its_seed_and_what_was_waived_in_it() -> None:
    backend: dict[str, Any] = {
        "clauses": {
            "SCHED-12": {"failure": {"detail": "first"}},
            "SCHED-10": {"failure": {"detail": "alone"}},
            "SCHED-01": {"failure": None},
        },
        "causes": [
            {
                "clause": "SCHED-12",
                "seed": 0,
                "waived": [],
                "consequences": {"SCHED-10": {"workloads": 3, "detail": "lost"}},
            },
            {
                "clause": "SCHED-12",
                "seed": 2,
                "waived": ["SCHED-09"],
                "failure": {"detail": "second"},
            },
        ],
    }
    cases = [{"clause": "SCHED-12", "waived": ["DROP-01"]}, {"clause": "SCHED-10", "waived": ["X"]}]
    gather_failures(backend, cases)
    assert backend["clauses"] == {
        "SCHED-12": {
            "failure": {"detail": "first", "waived": [], "seed": 0},
            "failures": [
                {"detail": "first", "waived": [], "seed": 0},
                {"detail": "second", "waived": ["SCHED-09"], "seed": 2},
            ],
        },
        "SCHED-10": {
            "failure": {"detail": "alone", "waived": ["X"]},
            "failures": [{"detail": "alone", "waived": ["X"]}],
        },
        "SCHED-01": {"failure": None},
    }
    assert backend["consequences"] == {"SCHED-10": {"SCHED-12": 3}}


def test_the_newest_two_releases_get_all_seeds_and_workloads(tmp_path: Path) -> None:
    listed = engine(tmp_path)
    plan = Plan(seed=7, seeds=3)
    assert [plan.seeds_of(listed, one) for one in listed.releases] == [[7], [7, 8, 9], [7, 8, 9]]
    assert [plan.is_older(listed, one) for one in listed.releases] == [True, False, False]
    plan = Plan(max_examples=250, older=100)
    assert [plan.examples_of(listed, one) for one in listed.releases] == [100, 250, 250]
    assert Plan(max_examples=40, older=50).examples_of(listed, listed.releases[0]) == 40


def test_one_run_of_the_suite_draws_from_all_seeds(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumable: a release and entry point whose outcome is kept are not judged again."""
    asked: list[list[str]] = []

    def run(_: Workspace, command: list[str], *_args: object, **_options: object) -> int:
        asked.append([part for part in command if "seed" in part or "examples" in part])
        asked[-1] += [part for part in command if part == "--slow"]
        return 9

    monkeypatch.setattr(Workspace, "run", run)
    old, *_, new = workspace.engine.releases
    plan = Plan(max_examples=50, seed=4, seeds=3)
    for release in (new, old):
        outcome = run_suite(workspace, release, workspace.engine.entry_points[0], plan)
        assert (outcome.status, outcome.seeds) == ("died", [])
    assert asked == [
        ["--max-examples=50", "--seed=4", "--seeds=3"],
        ["--max-examples=40", "--seed=4", "--slow"],
    ]


def test_what_takes_longest_is_begun_first(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[str] = []

    def judged(_: Workspace, release: Any, entry_point: Any, *_args: object) -> Outcome:
        begun.append(f"{release.version} {entry_point.name}")
        return Outcome()

    def in_order(_: int, tasks: Iterable[Callable[[], Any]]) -> list[Any]:
        return [task() for task in tasks]

    monkeypatch.setattr("simulations.releases.command.run_suite", judged)
    # Two threads would take the tasks in order, yet might note them in another.
    monkeypatch.setattr("simulations.releases.command.at_once", in_order)
    listed = str(workspace.folder.parent / "lists" / "toy.toml")
    main([listed, f"--work={workspace.folder}", f"--out={tmp_path / 'out'}", "--jobs=1"])
    assert begun == [
        *("3.0 outer", "2.0 outer", "3.0 inner", "2.0 inner"),
        *("1.0 outer", "1.0 inner"),
    ]
