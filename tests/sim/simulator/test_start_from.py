"""Runs that start from a checkpoint: each is the second process of a run that crashed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellspec.check import check_file
from cellspec.graph.graph import ExecutionGraph
from cellspec.state.checkpoint import make_payload
from cellspec.state.claims import as_rows
from sim.cli import main
from sim.scenario.loader import load_scenario
from tests.recompute.comparison import Comparison, compare_one
from tests.recompute.runner import run
from tests.recompute.scenarios import Data, draw

SCENARIO: Data = {
    "name": "going on",
    "rows": 20,
    "columns": [
        {"name": "a", "traits": ["START"], "latency": {"model": "constant", "value_s": 1.0}},
        {"name": "v", "traits": ["BARRIER"], "dependencies": ["a"]},
        {
            "name": "b",
            "dependencies": ["v"],
            "resource": "gpu",
            "latency": {"model": "constant", "value_s": 3.0},
        },
    ],
    "limits": {"workers": 4, "resources": {"gpu": 2}},
    "policy": "fifo",
    "start_from": {"version": 1, "completed_rows": 8},
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}), encoding="utf-8")
    return path


def fault_of(folder: Path, capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    assert main(["run", str(write(folder, **changes))]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    return error


def crashing() -> list[Data]:
    """Random scenarios in which nothing fails, with checkpoints and one crash.

    Without what outlasts a crash: used limits of an endpoint, rows that came, rows accepted.
    """
    found = []
    for number in range(400):
        data = draw(7, number)
        lasting = {"endpoints", "arrivals", "accept"} & set(data)
        if "checkpoint" in data and data["policy"] != "random" and not lasting:
            for name in ("failures", "start_from", "redo"):
                data.pop(name, None)
            for column in data["columns"]:
                column.pop("skip_rate", None)
            data["crashes"] = [{"at_time_s": 5.0}]
            found.append(data)
    return found[:60]


@pytest.mark.parametrize("data", crashing(), ids=lambda data: data["name"])
def test_it_takes_as_long_as_the_rest_of_a_run_that_crashed(data: Data, tmp_path: Path) -> None:
    whole = run(data, tmp_path)
    assert whole.code == 0, whole.said
    if len(whole.printed["incarnations"]) < 2:
        return
    graph = graph_of(data, tmp_path)
    (resumed,) = (json.loads(line) for line in whole.trace if '"resume","claim"' in line)
    claim = tuple(
        rows if isinstance(rows, int) else as_rows([tuple(span) for span in rows])
        for rows in (resumed["claim"][name] for name in graph.column_names)
    )
    start = make_payload(graph, claim, data["checkpoint"]["version"])
    rest = run({**data, "start_from": start, "crashes": []}, tmp_path)
    second = whole.printed["incarnations"][1]
    took = second["end_s"] - second["start_s"]
    assert rest.printed["makespan_s"] == pytest.approx(took, rel=1e-9)
    assert rest.printed["cells_done"] == second["cells_done"]
    assert rest.printed["rows_delivered"] == data["rows"]
    assert check_file(tmp_path / "run.jsonl").violations == []


def graph_of(data: Data, folder: Path) -> ExecutionGraph:
    path = folder / "of_graph.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return load_scenario(path).graph()


def test_the_figures_are_those_of_the_rest(tmp_path: Path) -> None:
    found = Comparison()
    assert compare_one({**SCENARIO, "seed": 0}, tmp_path, found) == []
    printed = run({**SCENARIO, "seed": 0}, tmp_path).printed
    # 12 rows of `a` in 3 s, the barrier again, and 12 rows of `b` in 18 s.
    assert [one["calls"] for one in printed["by_column"]] == [12, 1, 12]
    assert printed["makespan_s"] == 21.0
    assert printed["rows_per_s"] == pytest.approx(12 / 21)
    assert printed["cells_per_s"] == pytest.approx(36 / 21)
    assert (printed["rows_delivered"], printed["crashes"], printed["first_row_s"]) == (20, 0, 0.0)
    assert [one["claimed_rows"] for one in printed["incarnations"]] == [8]


def test_a_trace_of_it_passes_and_says_where_the_run_begins(tmp_path: Path) -> None:
    trace = tmp_path / "run.jsonl"
    groups = {"workers": 4, "resources": {"gpu": 2}, "row_groups": {"rows": 3, "admitted": 7}}
    assert main(["run", str(write(tmp_path, limits=groups)), "--trace", str(trace)]) == 0
    found = check_file(trace)
    assert (found.violations, found.outcome, found.inferred) == ([], "success", 0)
    crashes = [line for line in trace.read_text(encoding="utf-8").splitlines() if '"crash"' in line]
    assert json.loads(crashes[0])["reason"] == "start_from"


def test_a_checkpoint_of_all_rows_leaves_nothing_to_do(tmp_path: Path) -> None:
    for rows, makespan_s in ((20, 0.0), (19, 4.0)):
        data = {**SCENARIO, "start_from": {"version": 1, "completed_rows": rows}}
        done = run(data, tmp_path)
        assert done.code == 0, done.said
        assert (done.printed["makespan_s"], done.printed["calls"]) == (makespan_s, 3 * (20 - rows))
    empty = run({**SCENARIO, "start_from": {"version": 1, "completed_rows": 0}}, tmp_path)
    without = {name: value for name, value in SCENARIO.items() if name != "start_from"}
    assert empty.printed["fingerprint"] == run(without, tmp_path).printed["fingerprint"]


def test_a_crash_goes_back_no_further_than_the_checkpoint(tmp_path: Path) -> None:
    data = {**SCENARIO, "crashes": [{"at_time_s": 5.0}]}
    printed = run(data, tmp_path).printed
    assert [one["claimed_rows"] for one in printed["incarnations"]] == [8, 8]
    assert printed["makespan_s"] == 5.0 + 21.0
    assert compare_one({**data, "seed": 0}, tmp_path, Comparison()) == []


def test_found_rows_are_complete_from_the_start_also_if_the_process_dies_at_once(
    tmp_path: Path,
) -> None:
    data = {**SCENARIO, "crashes": [{"at_event": 1}], "restart_delay_s": 2.0, "seed": 0}
    assert compare_one(data, tmp_path, Comparison()) == []
    assert run(data, tmp_path).printed["first_row_s"] == 0.0


def test_it_may_be_a_file_whose_content_is_in_the_digest(tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    saved.write_text('{"version": 1, "completed_rows": 8}', encoding="utf-8")
    path = write(tmp_path, start_from="saved.json")
    scenario = load_scenario(path)
    assert scenario.start_claim == (8, 8, 8)
    digest = scenario.digest()
    assert scenario.files() == {"saved.json": saved}
    saved.write_text('{"version": 1, "completed_rows": 9}', encoding="utf-8")
    assert load_scenario(path).digest() != digest
    (tmp_path / "below").mkdir()
    copy = tmp_path / "below" / "copy.yaml"
    copy.write_text(load_scenario(path).to_yaml(copy.parent), encoding="utf-8")
    assert load_scenario(copy).start_claim == (9, 9, 9)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (5, "start_from: expected a checkpoint, or the name of a file that holds one, got 5"),
        ("lost.json", "start_from: 'lost.json' cannot be read: No such file or directory"),
        ("scenario.yaml", "start_from: 'scenario.yaml' cannot be read: expected a checkpoint as"),
        ({"completed_rows": 8}, "start_from: version: missing; expected 1, 2 or 3"),
        (
            {"version": 1, "completed_rows": 21},
            "start_from: completed_rows: expected an integer from 0 to 20, got 21",
        ),
        (
            {"version": 2, "completed_rows": 0, "column_rows": {}, "graph": "?"},
            "start_from: graph: this run's graph is",
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused(
    start: Any, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in fault_of(tmp_path, capsys, start_from=start)


def test_a_run_must_save_as_much_as_its_checkpoint_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = graph_of(SCENARIO, tmp_path)
    for version, claim in ((2, (20, 8, 8)), (3, (20, 8, ((2, 5),)))):
        start = make_payload(graph, claim, version)
        error = fault_of(tmp_path, capsys, start_from=start, checkpoint={"every_rows": 1})
        assert f"checkpoint.version must be at least {version}" in error
        data = {**SCENARIO, "start_from": start, "seed": 0}
        for saved in ({}, {"checkpoint": {"every_rows": 2, "version": version}}):
            assert compare_one({**data, **saved}, tmp_path, Comparison()) == []
            assert check_file(tmp_path / "run.jsonl").violations == []


def test_cells_of_more_row_groups_than_fit_at_once_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = [SCENARIO["columns"][0], {"name": "b", "dependencies": ["a"], "resource": "gpu"}]
    limits = {"workers": 4, "resources": {"gpu": 2}, "row_groups": {"rows": 3, "admitted": 1}}
    graph = graph_of({**SCENARIO, "columns": columns, "start_from": None}, tmp_path)
    start = make_payload(graph, (6, 0), 2)
    error = fault_of(tmp_path, capsys, columns=columns, limits=limits, start_from=start)
    assert "start_from: its cells lie in more row groups than" in error
