"""Replications: the figures of ``cellspec run --seed N``, in this process or in another."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellspec.errors import SpecError
from sim.experiments.experiment import Experiment
from sim.experiments.replication import Replication, Task, made, packed, replicate
from sim.scenario.loader import load_scenario
from sim.scenario.scenario import Scenario

SMALL = """
name: small
rows: 20
columns:
  - {name: topic, traits: [START, ROW_STREAMABLE]}
  - name: answer
    traits: [CELL_BY_CELL]
    dependencies: [topic]
    resource: chat
    latency: {model: exponential, mean_s: 2}
limits: {workers: 8, resources: {chat: 4}}
"""

BESIDE = """
name: day
rows: 20
columns:
  - name: answer
    traits: [CELL_BY_CELL]
    resource: chat
    latency: {model: exponential, mean_s: 2}
endpoints: {chat: {max_in_flight: 6}}
limits: {workers: 4, resources: {chat: 4}}
beside:
  - name: night
    rows: 10
    columns:
      - {name: b, traits: [CELL_BY_CELL], resource: chat, latency: {model: exponential, mean_s: 1}}
    limits: {workers: 4, resources: {chat: 4}}
  - name: fixed
    seed: 7
    rows: 10
    columns:
      - {name: c, traits: [CELL_BY_CELL], resource: chat, latency: {model: exponential, mean_s: 1}}
    limits: {workers: 4, resources: {chat: 4}}
"""


@pytest.fixture(params=[SMALL, BESIDE], ids=["alone", "beside"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "scenario.yaml"
    path.write_text(request.param)
    return path


def load(path: Path, seed: int | None = None) -> Scenario:
    return load_scenario(path, {} if seed is None else {"seed": str(seed)})


def test_a_seed_given_later_is_the_same_as_one_in_the_file(file: Path) -> None:
    later, there = load(file).with_seed(3), load(file, 3)
    assert later.digest() == there.digest()
    assert [one.seed for one in later.pipelines()] == [one.seed for one in there.pipelines()]
    assert replicate(load(file), 3).figures == replicate(there, 3).figures


def test_a_scenario_keeps_its_seed_when_a_copy_has_another(file: Path) -> None:
    scenario = load(file)
    before = [one.seed for one in scenario.pipelines()]
    scenario.with_seed(3)
    assert [one.seed for one in scenario.pipelines()] == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_runs_are_the_same_in_other_processes(file: Path, jobs: int) -> None:
    scenario, heard = load(file), []
    made = Experiment([scenario], jobs=jobs, on_run=lambda place, run: heard.append((place, run)))
    made.grow(3)
    made.grow(5)
    made.grow(2)
    assert made.runs[0] == [replicate(scenario, seed) for seed in range(5)]
    assert heard == [(0, run) for run in made.runs[0]]


def test_scenarios_meet_the_same_seeds_or_their_own(file: Path) -> None:
    made = Experiment([load(file), load(file)])
    made.grow(3)
    made.grow(5, places=[1])
    assert [[run.seed for run in runs] for runs in made.runs] == [[0, 1, 2], [0, 1, 2, 3, 4]]
    assert made.values("makespan_s", 0) == (made.values("makespan_s", 1) or [])[:3]
    apart = Experiment([load(file), load(file)], first_seeds=[0, 100])
    apart.grow(2)
    assert [[run.seed for run in runs] for runs in apart.runs] == [[0, 1], [100, 101]]


def test_a_figure_that_one_run_lacks_has_no_values(file: Path) -> None:
    made = Experiment([load(file)])
    made.grow(2)
    made.runs[0].append(Replication(9, {**made.runs[0][0].figures, "makespan_s": None}))
    assert made.values("makespan_s") is None


def test_seeds_give_different_runs(file: Path) -> None:
    spans = {replicate(load(file), seed).value("makespan_s") for seed in range(4)}
    assert len(spans) == 4


def test_only_numbers_are_values(file: Path) -> None:
    found = replicate(load(file), 0)
    assert found.value("makespan_s") == found.figures["makespan_s"]
    assert found.value("checked") is None
    assert found.value("verdict") is None
    with pytest.raises(KeyError):
        found.value("speed")


RECORDED = SMALL.replace(
    "{model: exponential, mean_s: 2}", "{model: trace, file: calls.csv, column_s: seconds}"
)


def test_a_packed_scenario_needs_no_file_any_more(tmp_path: Path) -> None:
    calls, path = tmp_path / "calls.csv", tmp_path / "scenario.yaml"
    calls.write_text("seconds\n1\n2\n3\n")
    path.write_text(RECORDED)
    scenario = load(path)
    before, sent = replicate(scenario, 3), packed(scenario)
    calls.unlink()
    assert made(Task(5, sent, 3)) == (5, before)
    with pytest.raises(SpecError, match=r"^'calls\.csv' cannot be read: "):
        replicate(scenario, 3)
    with pytest.raises(SpecError, match=r"^'calls\.csv' cannot be read: "):
        packed(scenario)


def test_the_pipelines_beside_a_packed_scenario_need_no_file_either(tmp_path: Path) -> None:
    calls, path = tmp_path / "calls.csv", tmp_path / "scenario.yaml"
    calls.write_text("seconds\n1\n2\n3\n")
    recorded = "{model: trace, file: calls.csv, column_s: seconds}"
    path.write_text(BESIDE.replace("{model: exponential, mean_s: 1}", recorded))
    scenario = load(path)
    before, sent = replicate(scenario, 3), packed(scenario)
    calls.unlink()
    assert made(Task(0, sent, 3)) == (0, before)
