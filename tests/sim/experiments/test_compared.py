"""Two scenarios compared: by seed, figure by figure, whatever they are called."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from cellspec.errors import (
    FaultsError,
    GraphError,
    MissingExtraError,
    SpecError,
    TraceError,
    Violation,
)
from sim.experiments import replication
from sim.experiments.compared import (
    INDEPENDENT_SEED,
    as_share,
    compare,
    compared,
)
from sim.experiments.intervals import paired
from sim.experiments.replication import Replication, Task, made
from sim.experiments.stopping import FixedRuns, Precision, next_size
from sim.result_fields import Scalar
from sim.scenario.loader import load_scenario
from sim.scenario.scenario import Scenario
from tests.sim.experiments.test_replication import BESIDE, SMALL


@pytest.fixture(params=[SMALL, BESIDE], ids=["alone", "beside"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "scenario.yaml"
    path.write_text(request.param)
    return path


def load(path: Path, **sets: str) -> Scenario:
    return load_scenario(path, {name.replace("__", "."): text for name, text in sets.items()})


def test_a_scenario_is_identical_to_a_copy_with_another_name(file: Path) -> None:
    copy = load(file, name="other", description="a copy", seed="9")
    found, made = compare(load(file), copy, FixedRuns(3))
    assert found.identical
    assert not found.independent
    assert found.pairs == 3
    assert (found.only_a, found.only_b, found.settings) == ((), (), ())
    assert {one.verdict for one in found.figures} == {"identical"}
    assert [[run.seed for run in runs] for runs in made.runs] == [[0, 1, 2]] * 2


def test_a_run_of_two_that_are_the_same_is_made_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def counted(task: Task) -> tuple[int, Replication]:
        seeds.append(task.seed)
        return made(task)

    monkeypatch.setattr(replication, "made", counted)
    found, experiment = compare(load(file), load(file, seed="9"), FixedRuns(3))
    assert found.identical
    assert found.same_scenario
    assert [len(runs) for runs in experiment.runs] == [3, 3]
    assert seeds == [0, 1, 2]
    seeds.clear()
    # With another name it is shown, and not taken for granted.
    assert compare(load(file), load(file, name="other"), FixedRuns(2))[0].identical
    assert seeds == [0, 0, 1, 1]


def test_independent_runs_of_one_scenario_are_not_identical(file: Path) -> None:
    found, made = compare(load(file), load(file), FixedRuns(4), independent=True)
    first = INDEPENDENT_SEED
    assert found.independent
    assert not found.identical
    assert [run.seed for run in made.runs[1]] == [first, first + 1, first + 2, first + 3]


def test_another_scenario_differs_in_figures_and_settings(file: Path) -> None:
    a, b = load(file), load(file, limits__resources__chat="2", rows="21")
    found, made = compare(a, b, FixedRuns(8))
    assert not found.identical
    one = found.of("makespan_s")
    mine, others = (made.values("makespan_s", place) or [] for place in (0, 1))
    assert one.found == paired(mine, others)
    assert one.verdict == "higher"
    if file.read_text() == SMALL:
        assert {(item.name, item.a, item.b) for item in found.settings} == {
            ("rows", 20, 21),
            ("limits.resources.chat", 4, 2),
        }
    names = {item.figure for item in found.figures}
    assert "rows_delivered" in names or "pipeline.day.rows_delivered" in names
    assert not {name for name in names if name.endswith((".seed", ".limit", ".fingerprint"))}


def test_scenarios_with_other_resources_compare_what_they_share(tmp_path: Path) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(SMALL)
    b.write_text(SMALL.replace("chat", "big"))
    found, _ = compare(load(a), load(b), FixedRuns(3))
    assert {one.verdict for one in found.figures} == {"identical"}
    assert not found.identical
    assert {name.rpartition(".")[0] for name in found.only_a} == {"resource.chat"}
    assert {name.rpartition(".")[0] for name in found.only_b} == {"resource.big"}
    with pytest.raises(SpecError, match=r"only scenario A has the figure 'resource.chat.busy_s'"):
        compare(load(a), load(b), figure="resource.chat.busy_s")
    with pytest.raises(SpecError, match=r"only scenario B has the figure 'resource.big.busy_s'"):
        compare(load(a), load(b), figure="resource.big.busy_s")


def test_a_precision_is_about_the_difference_as_a_share_of_a(file: Path) -> None:
    a, b = load(file), load(file, limits__resources__chat="3")
    found, made = compare(a, b, Precision(0.02, 60))
    sizes = [10]
    while sizes[-1] < found.pairs:
        sizes.append(min(next_size(sizes[-1]), 60))
    assert sizes[-1] == found.pairs
    shares = [
        as_share(compared(*(one[:size] for one in made.runs)).of("makespan_s")) for size in sizes
    ]
    reached = shares[-1].relative
    assert reached is not None
    assert found.pairs == 60 or reached <= 0.02
    assert not any(Precision(0.02).is_enough(now, before) for before, now in pairwise(shares[:-1]))


def runs(*figures: Mapping[str, Scalar]) -> list[Replication]:
    plain: Mapping[str, Scalar] = {"checked": True}
    return [Replication(seed, {**plain, **one}) for seed, one in enumerate(figures)]


def test_a_figure_that_a_run_lacks_is_not_compared() -> None:
    a = runs({"x": 1.0, "y": None, "z": 4}, {"x": 2.0, "y": None, "z": 5})
    b = runs({"x": None, "y": None, "z": 4}, {"x": 2.0, "y": None, "z": 5})
    found = compared(a, b)
    x, y, z = (found.of(name) for name in "xyz")
    assert (x.found, x.lacking_a, x.lacking_b, x.verdict) == (None, 0, 1, "lacking")
    assert (y.found, y.lacking_a, y.lacking_b, y.verdict) == (None, 2, 2, "identical")
    assert z.verdict == "identical"
    assert not found.identical
    assert not Precision(0.5).is_met(as_share(x))
    assert compared(a, a).identical


def test_how_runs_end_is_compared_by_words() -> None:
    a = runs({"outcome": "success"}, {"outcome": "stopped"}, {"outcome": "success"})
    b = runs({"outcome": "stopped"}, {"outcome": "success"}, {"outcome": "success"})
    (one,) = compared(a, b).outcomes
    # As often, and not in the same pairs.
    assert one.a == one.b == {"stopped": 1, "success": 2}
    assert not one.identical
    assert not compared(a, b).identical


def test_a_difference_beside_a_mean_of_zero_has_no_share() -> None:
    a, b = [{"x": 0.0}] * 3, [{"x": 1.0}, {"x": 1.5}, {"x": 2.0}]
    found = compared(runs(*a), runs(*b)).of("x")
    assert found.verdict == "higher"
    assert found.found is not None
    assert (found.found.relative, found.found.relative_half_width) == (None, None)
    assert not Precision(0.9).is_met(as_share(found))
    assert Precision(0.1).is_met(as_share(compared(runs(*a), runs(*a)).of("x")))


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ("makespan", "no figure of this scenario is called 'makespan'; did you mean 'makespan_s'"),
        ("policy", "policy is 'fifo', and no number"),
        ("rows", "rows is what the scenario says, and no figure of its runs"),
        ("outcome", "outcome is 'success', and no number"),
    ],
)
def test_a_figure_that_is_none_is_refused_before_the_runs(
    tmp_path: Path, figure: str, said: str
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(SMALL)
    made: list[object] = []
    with pytest.raises(SpecError, match=f"--figure: {said}"):
        compare(load(path), load(path), figure=figure, on_run=lambda _place, run: made.append(run))
    assert len(made) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_fails_names_its_file_and_seed(tmp_path: Path, jobs: int) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(SMALL)
    drawn = """{model: request, prompt_tokens: {model: constant, value: 1},
      output_tokens: {model: exponential, mean: 10}}"""
    room = "endpoints: {chat: {kv_tokens: 15, tpot_s: {1: .1}, beyond: hold}}"
    b.write_text(SMALL.replace("{model: exponential, mean_s: 2}", drawn) + room)
    with pytest.raises(SpecError, match=r"^b\.yaml: seed 0: endpoints\.chat\.kv_tokens: "):
        compare(load(a), load(b), files=("a.yaml", "b.yaml"), jobs=jobs)


@pytest.mark.parametrize(
    "error",
    [
        Violation("SCHED-01", "a[3] starts twice"),
        FaultsError(["a", "b"]),
        GraphError("a cycle", [1, 2]),
        TraceError("t.jsonl", 1, "event", "expected a name", clause="TRACE-01"),
        MissingExtraError("an interval", "experiments"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_a_run_comes_whole_from_another_process(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_the_own_pipelines_are_compared_whatever_they_are_called(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(BESIDE)
    found, _ = compare(load(path), load(path, name="week"), FixedRuns(2))
    assert "pipeline.day.makespan_s" in {one.figure for one in found.figures}
    assert (found.only_a, found.only_b) == ((), ())
    # Of pipelines beside them the names count: their draws are functions of them.
    other = BESIDE.replace("name: night", "name: dusk")
    path.write_text(other)
    path2 = tmp_path / "b.yaml"
    path2.write_text(BESIDE)
    found, _ = compare(load(path2), load(path), FixedRuns(2))
    assert {name.split(".")[1] for name in found.only_b} == {"dusk"}


def test_a_comparison_is_a_function_of_the_runs_alone(file: Path) -> None:
    a, b = load(file), load(file, limits__resources__chat="3")
    one, made = compare(a, b, FixedRuns(3))
    assert compare(a, b, FixedRuns(3), jobs=2)[0] == one
    alone = compared(*made.runs, names=(a.name, b.name))
    assert replace(alone, settings=one.settings) == one
    assert replace(one, pairs=4) != one
