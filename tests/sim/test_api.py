"""Experiments in Python: the same numbers as the command line prints, as arrays and intervals."""

from __future__ import annotations

import doctest
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim
from cellspec.errors import FaultsError, MissingExtraError, SpecError
from sim import compare, load, run, sweep
from sim.api import PairedRuns, Runs, SweepRuns
from sim.cli import main
from sim.experiments.intervals import Difference, Mean, Quantile

ONE_RUN = {"rows": 20, "crashes": []}


@pytest.fixture(scope="module")
def runs() -> Runs:
    return run(load("barrier_option_c", ONE_RUN), replications=12)


def test_the_example_of_the_package_is_true() -> None:
    assert doctest.testmod(sim).failed == 0


def test_the_names_are_there_and_no_others() -> None:
    assert {"compare", "load", "run", "sweep"} <= set(dir(sim))
    with pytest.raises(AttributeError, match="has no attribute 'walk'"):
        _ = sim.walk


PAGE = Path(__file__).parents[2] / "simulations" / "python.md"


@pytest.mark.parametrize(
    "kind",
    [Runs, PairedRuns, SweepRuns, Mean, Quantile, Difference],
    ids=lambda kind: kind.__name__,
)
def test_the_page_of_python_names_each_field_of_a_result(kind: type) -> None:
    """In the table of its class: other tables have fields of the same names."""
    text = PAGE.read_text(encoding="utf-8")
    _, _, table = text.partition(f"| of the result `{kind.__name__}` |")
    lines = [f"|{line}" for line in table.partition("\n\n")[0].splitlines()]
    if not table:
        after = text.partition(f"| `{kind.__name__}` |")[2].partition("\n| `")
        lines = after[0].splitlines()
    named = set(re.findall(r"`(\w+)", " ".join(line.split("|")[-3] for line in lines)))
    assert {name for name in dir(kind) if name[0] != "_"} <= named


@pytest.mark.parametrize("call", [load, run, compare, sweep], ids=lambda call: call.__name__)
def test_the_page_of_python_names_each_argument(call: Callable[..., object]) -> None:
    section = PAGE.read_text(encoding="utf-8").partition(f"## {call.__name__}: ")[2]
    named = set(re.findall(r"`(\w+)", section.partition("\n## ")[0]))
    if "those of `run`" in section.partition("\n## ")[0]:
        named |= set(inspect.signature(run).parameters)
    # Those that a call gives by their place are seen in the example.
    parameters = inspect.signature(call).parameters
    placed = {"scenario", "given", "out"}
    assert set(parameters) - placed <= named


def test_importing_the_package_loads_no_library() -> None:
    code = "import sim, sys; print([n for n in ('numpy', 'pydantic', 'scipy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_field_is_changed_by_its_path() -> None:
    changed = load("text_to_sql", {"rows": 7, "limits.resources.nvidia-text": 9, "policy": "fifo"})
    assert (changed.rows, changed.resource_limits["nvidia-text"], changed.policy) == (7, 9, "fifo")
    with pytest.raises(FaultsError, match="workerz"):
        load("text_to_sql", {"limits.workerz": 2})
    with pytest.raises(SpecError, match="no example is called 'text_to_sqll'"):
        load("text_to_sqll")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": -1}, r"text_to_sql\.yaml: changes: rows: rows: expected at least 1, got -1"),
        ({"rows.x": 1}, r"text_to_sql\.yaml: changes: rows\.x: rows is 2000, and has no fields"),
        (
            {"columns.sql.latency.model": "constant"},
            r"value_s: is missing \(with changes: columns\.sql\.latency\.model\)",
        ),
    ],
)
def test_a_fault_of_a_change_names_the_argument_and_no_option(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(FaultsError, match=said) as caught:
        load("text_to_sql", changes)
    assert "--" not in str(caught.value)


def test_a_figure_is_an_array_of_a_number_for_each_run(runs: Runs) -> None:
    assert len(runs) == 12
    assert runs.seeds == list(range(12))
    assert runs["makespan_s"].shape == (12,)
    assert runs["makespan_s"].dtype == np.float64
    assert len(set(runs["makespan_s"])) == 12
    assert runs.mean("makespan_s").mean == pytest.approx(runs["makespan_s"].mean())
    assert np.isnan(runs["endpoint.nvidia-text.mean_limit"]).all()


def test_the_runs_are_those_of_the_command_line(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = [f"--set={name}={json.dumps(value)}" for name, value in ONE_RUN.items()]
    assert main(["run", "barrier_option_c", *changed, "--seed", "3", "--format", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["makespan_s"] == runs["makespan_s"][3]
    assert printed["fingerprint"] == runs.replications[3].figures["fingerprint"]


def test_a_quantile_takes_its_number_of_runs(runs: Runs) -> None:
    found = runs.quantile("makespan_s", 0.5)
    assert found is not None
    assert found.low < found.value < found.high
    assert runs.quantile("makespan_s", 0.95) is None


def test_a_misspelled_figure_is_named(runs: Runs) -> None:
    with pytest.raises(KeyError, match="did you mean 'makespan_s'"):
        _ = runs["makespan"]
    with pytest.raises(SpecError, match="12 of 12 runs have none"):
        runs.mean("endpoint.nvidia-text.mean_limit")


def test_runs_go_on_until_they_are_sure_enough() -> None:
    scenario = load("barrier_option_c", ONE_RUN)
    heard: list[int] = []
    found = run(scenario, precision=0.08, on_run=lambda _, one: heard.append(one.seed))
    relative = found.mean("makespan_s").relative
    assert relative is not None
    assert relative <= 0.08
    assert len(found) > 10
    assert heard == found.seeds
    assert len(run(scenario, precision=0.001, most=11)) == 11


def test_seeds_may_begin_elsewhere() -> None:
    scenario = load("barrier_option_c", ONE_RUN)
    assert run(scenario, 2, first_seed=10).seeds == [10, 11]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"replications": 0}, "replications: expected 1 or more, got 0"),
        ({"replications": 3, "precision": 0.1}, "give one of them"),
        ({"precision": 1.5}, "precision: expected a share between 0 and 1, got 1.5"),
        ({"replications": 2, "figure": "cots"}, "'cots'"),
        ({"replications": 2.5}, "replications: expected a whole number, got 2.5"),
        ({"replications": True}, "replications: expected a whole number, got True"),
        ({"replications": 2, "jobs": 0}, "jobs: expected 1 or more, got 0"),
        ({"replications": 2, "first_seed": -1}, "first_seed: expected 0 or more, got -1"),
        ({"precision": 0.1, "most": 0}, "most: expected 1 or more, got 0"),
    ],
)
def test_what_cannot_be_asked_is_said(options: dict[str, float], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        run(load("barrier_option_c", ONE_RUN), **options)  # type: ignore[arg-type]


def test_what_is_no_scenario_is_refused_with_what_to_give(tmp_path: Path) -> None:
    scenario: Any = "text_to_sql"
    with pytest.raises(SpecError, match=r"scenario: .* as in load\('text_to_sql'\), got 'text_to"):
        run(scenario, 2)
    with pytest.raises(SpecError, match=r"^b: expected a scenario"):
        compare(load("barrier_option_c", ONE_RUN), scenario, 2)
    with pytest.raises(SpecError, match=r"^sweep: scenario: expected a number, a text"):
        sweep({**SWEEP, "scenario": load("barrier_option_c")}, tmp_path)


def test_numbers_of_numpy_ranges_and_paths_may_be_given(tmp_path: Path) -> None:
    assert load("barrier_option_c", {"rows": np.int64(7)}).rows == 7
    for number, values in enumerate(
        ([2, 4], range(2, 5, 2), np.array([2, 4]), list(np.arange(2, 5, 2)))
    ):
        given = {**SWEEP, "grid": {"limits.resources.nvidia-text": values}, "replications": 1}
        made = sweep(given, tmp_path / str(number))
        assert [one["limits.resources.nvidia-text"] for one in made.fields] == [2, 4]


def test_a_figure_of_words_is_no_array(runs: Runs) -> None:
    with pytest.raises(SpecError, match="policy: its values are words, as 'row-first'"):
        _ = runs["policy"]
    with pytest.raises(SpecError, match=r"share: expected a number between 0 and 1, got 1\.5"):
        runs.quantile("makespan_s", 1.5)


def test_a_result_is_one_line_at_the_end_of_a_cell(runs: Runs, tmp_path: Path) -> None:
    mean = runs.mean("makespan_s")
    assert repr(runs) == (
        f"<12 runs of 'barrier_option_c', seeds 0 to 11: makespan_s {mean.mean:.4g} ± "
        f"{mean.half_width:.2g} (95 %)>"
    )
    a, b = runs.scenario, load("barrier_option_c", {**ONE_RUN, "limits.workers": 1})
    assert repr(compare(a, a, 2)).endswith("B 'barrier_option_c': identical>")
    assert "2 pairs of runs, A 'barrier_option_c'" in repr(compare(a, b, 2))
    one = {**SWEEP, "replications": 1, "grid": {"limits.resources.nvidia-text": [4, -1]}}
    assert repr(sweep(one, tmp_path)) == (
        f"<2 points, 1 run, 1 point without any run, in {str(tmp_path)!r}>"
    )
    assert repr(run(a, 1)).endswith(", of one run>")


def test_two_scenarios_are_compared_run_by_run() -> None:
    a = load("barrier_option_c", ONE_RUN)
    b = load("barrier_option_c", {**ONE_RUN, "limits.resources.nvidia-text": 8})
    found = compare(a, b, replications=5)
    one = found.difference("makespan_s")
    assert one.is_shown
    assert one.difference.mean == pytest.approx(
        (found.b["makespan_s"] - found.a["makespan_s"]).mean()
    )
    assert found.comparison.of("makespan_s").verdict == "lower"
    assert not found.identical
    assert compare(a, a, replications=2).identical
    assert compare(a, a, replications=2, independent=True).b.seeds == [1_000_000, 1_000_001]
    with pytest.raises(SpecError, match="a run has none"):
        found.difference("endpoint.nvidia-text.mean_limit")


def test_tables_are_of_pandas(runs: Runs) -> None:
    pytest.importorskip("pandas")
    table = runs.to_pandas()
    assert table["makespan_s"].tolist() == runs["makespan_s"].tolist()
    a = load("barrier_option_c", ONE_RUN)
    figures = compare(a, a, replications=2).to_pandas()
    assert figures.loc["makespan_s", "verdict"] == "identical"


def test_without_pandas_the_extra_is_named(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"to_pandas\(\).*pandas"):
        runs.to_pandas()


def test_a_file_is_read_from_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nrows: 3\ncolumns: [{name: a, traits: [START]}]\nlimits: {workers: 1}"
    )
    assert load(path).rows == 3
    assert load(str(path), {"rows": 5}).rows == 5


SWEEP: dict[str, Any] = {
    "scenario": "barrier_option_c",
    "set": ONE_RUN,
    "replications": 2,
    "grid": {"limits.resources.nvidia-text": [2, 4, 8]},
}


def test_a_sweep_is_an_array_of_points_and_runs(tmp_path: Path) -> None:
    heard: list[int] = []
    made = sweep(SWEEP, tmp_path / "out", on_run=heard.append)
    assert heard == [6] * 6
    assert made["makespan_s"].shape == (len(made), 2) == (3, 2)
    assert [fields["limits.resources.nvidia-text"] for fields in made.fields] == [2, 4, 8]
    four = load("barrier_option_c", {**ONE_RUN, "limits.resources.nvidia-text": 4})
    assert made["makespan_s"][1].tolist() == run(four, 2)["makespan_s"].tolist()
    mean = made.mean("makespan_s")[1]
    assert mean is not None
    assert mean.mean == run(four, 2).mean("makespan_s").mean
    assert np.isnan(made["endpoint.nvidia-text.mean_limit"]).all()
    assert made.to_pandas()["makespan_s"].tolist() == made["makespan_s"].ravel().tolist()
    with pytest.raises(KeyError, match="did you mean 'makespan_s'"):
        made.mean("makespan")


def test_a_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    heard: list[int] = []
    first = sweep(SWEEP, tmp_path)
    again = sweep({**SWEEP, "replications": 3}, tmp_path, on_run=heard.append)
    assert heard == [3, 3, 3]
    assert again["makespan_s"][:, :2].tolist() == first["makespan_s"].tolist()
    assert (tmp_path / "runs.csv").read_text().count("\n") == 10


def test_the_faults_of_a_sweep_name_its_fields(tmp_path: Path) -> None:
    with pytest.raises(FaultsError, match=r"^sweep:\d+: replicationz: .*did you mean"):
        sweep({**SWEEP, "replicationz": 3}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_sweep_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(json.dumps(SWEEP))
    assert len(sweep(file, tmp_path / "out")) == 3
