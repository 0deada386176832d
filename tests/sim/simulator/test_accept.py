"""Runs that end when enough rows are accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellspec.check import check_file
from sim.cli import main
from sim.scenario.loader import load_scenario
from tests.recompute.comparison import Comparison, compare_one
from tests.recompute.runner import Run, run
from tests.recompute.scenarios import Data, draw

SCENARIO: Data = {
    "name": "accepting",
    "rows": 400,
    "seed": 3,
    "columns": [{"name": "a", "latency": {"model": "constant", "value_s": 2.0}}],
    "limits": {"workers": 8},
    "policy": "fifo",
    "accept": {"rows": 60, "rate": 0.7},
}


def events_of(done: Run) -> list[Data]:
    return [json.loads(line) for line in done.trace]


@pytest.mark.parametrize("seed", range(8))
def test_the_wave_in_which_enough_are_accepted_is_the_last(seed: int, tmp_path: Path) -> None:
    done = run({**SCENARIO, "seed": seed}, tmp_path)
    ends = [event for event in events_of(done) if event.get("event") == "complete"]
    good = [event["t"] for event in ends if "rejected" not in event]
    waves = len(ends) // 8
    # All calls of the last wave are counted, and what began behind them is given up.
    assert done.printed["makespan_s"] == 2.0 * waves == good[59]
    assert done.printed["rows_tried"] == 8 * waves == len(ends)
    assert done.printed["rows_delivered"] == len(good) >= 60
    assert done.printed["rows_dropped"] == len(ends) - len(good)
    assert done.printed["outcome"] == "interrupted"
    assert 0.5 < len(good) / len(ends) < 0.9


def test_calls_that_go_on_are_given_up_and_finished_rows_are_kept(tmp_path: Path) -> None:
    latency = {"model": "exponential", "mean_s": 2.0}
    data = {**SCENARIO, "columns": [{"name": "a", "latency": latency}]}
    done = run(data, tmp_path)
    cancelled = [event for event in events_of(done) if event.get("event") == "cancel"]
    assert {event["t"] for event in cancelled} == {events_of(done)[-2]["t"]}
    assert len(cancelled) == 7
    # Rows behind a gap are delivered too; without the last one there were 59.
    assert done.printed["rows_delivered"] == 60
    assert done.printed["calls"] == done.printed["rows_tried"] + 7
    assert check_file(tmp_path / "run.jsonl").violations == []


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("write_s", [0.0, 1.5])
def test_a_last_checkpoint_is_written_before_the_end(
    version: int, write_s: float, tmp_path: Path
) -> None:
    saved = {"every_rows": 10, "version": version, "write_s": write_s}
    latency = {"model": "uniform", "low_s": 1.0, "high_s": 3.0}
    columns = [{"name": "a", "latency": latency}]
    done = run({**SCENARIO, "columns": columns, "checkpoint": saved}, tmp_path)
    events = events_of(done)
    (asked,) = (event for event in events if event.get("event") == "stop_requested")
    assert events[-2]["event"] == "end"
    assert write_s <= events[-2]["t"] - asked["t"] <= 2 * write_s
    if version == 3:
        assert done.printed["rows_delivered"] == 60
    else:
        assert 50 < done.printed["rows_delivered"] <= 60
    assert check_file(tmp_path / "run.jsonl").violations == []


@pytest.mark.parametrize("redo", ["same", "fresh"])
def test_after_a_crash_only_kept_rows_count(redo: str, tmp_path: Path) -> None:
    saved = {"every_rows": 8, "write_s": 0.5}
    crash = {"crashes": [{"at_time_s": 13.0}], "checkpoint": saved, "redo": redo}
    whole = run({**SCENARIO, "checkpoint": saved}, tmp_path)
    done = run({**SCENARIO, **crash}, tmp_path)
    kept = [one["claimed_rows"] for one in done.printed["incarnations"]]
    assert kept == [0, 48]
    # With the same draws the same rows are accepted in the end.
    if redo == "same":
        for name in ("rows_tried", "rows_delivered", "rows_dropped"):
            assert done.printed[name] == whole.printed[name]
    assert compare_one({**SCENARIO, **crash}, tmp_path, Comparison()) == []
    assert check_file(tmp_path / "run.jsonl").violations == []


def accepting() -> list[Data]:
    """Random scenarios that accept some of their rows."""
    found = []
    for number in range(60):
        data = draw(11, number)
        for column in data["columns"]:
            column.pop("skip_rate", None)
        rows = max(1, data["rows"] * (number % 4) // 4)
        found.append({**data, "accept": {"rows": rows, "rate": 0.6}})
    return found


@pytest.mark.parametrize("data", accepting(), ids=lambda data: data["name"])
def test_any_run_that_accepts_rows_has_a_trace_that_passes(data: Data, tmp_path: Path) -> None:
    assert compare_one(data, tmp_path, Comparison()) == []
    found = check_file(tmp_path / "run.jsonl")
    assert found.violations == []
    assert found.outcome in ("interrupted", "success", "stopped")


def test_a_barrier_that_is_the_last_of_a_row_rejects_it(tmp_path: Path) -> None:
    columns = [
        *SCENARIO["columns"],
        {"name": "v", "traits": ["BATCH_BARRIER"], "dependencies": ["a"]},
    ]
    data = {**SCENARIO, "columns": columns, "batch_size": 16}
    done = run(data, tmp_path)
    runs = [e for e in events_of(done) if e.get("event") == "complete" and "scope" in e]
    assert any(event.get("rejected") for event in runs)
    assert done.printed["rows_delivered"] >= 60
    assert done.printed["rows_tried"] % 16 == 0
    assert check_file(tmp_path / "run.jsonl").violations == []


def test_rows_that_run_out_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, "rows": 70}), encoding="utf-8")
    assert main(["run", str(path)]) == 0
    out, err = capsys.readouterr()
    assert f"note: {path}: accept.rows: 60 rows were wanted, and of all 70 only " in err
    assert "outcome                      success" in out


@pytest.mark.parametrize("version", [1, 2, 3])
def test_rows_that_are_accepted_and_not_delivered_are_said(
    version: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latency = {"model": "exponential", "mean_s": 2.0}
    data = {**SCENARIO, "columns": [{"name": "a", "latency": latency}]}
    data["checkpoint"] = {"every_rows": 5, "version": version}
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert main(["run", str(path), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    delivered = json.loads(out)["rows_delivered"]
    assert (delivered == 60) == (version == 3)
    says = f"note: {path}: accept.rows: of the 60 rows that were accepted only {delivered} are del"
    assert (says in err) == (version < 3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"accept": {"rows": 401}}, "accept.rows: expected at most 400, the rows of the dataset"),
        ({"accept": {"rows": 4, "rate": 1.5}}, "accept.rate: expected at most 1, got 1.5"),
        ({"accept": {"rate": 0.5}}, "accept.rows: is missing"),
        (
            {"columns": [{**SCENARIO["columns"][0], "skip_rate": 0.5}]},
            "accept: a row is accepted or not by the call that ends last in it, and a cell of "
            "column 'a' that is skipped has none",
        ),
    ],
)
def test_what_cannot_be_accepted_is_refused(
    changes: Any, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}), encoding="utf-8")
    assert main(["run", str(path)]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert says in error


def test_without_the_word_the_digest_is_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    data = {name: value for name, value in SCENARIO.items() if name != "accept"}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert load_scenario(path).digest() == "43ecb086ae555ed0e682f4f0bfa12edf"
    assert load_scenario(path, {"accept.rows": "5"}).digest() != "43ecb086ae555ed0e682f4f0bfa12edf"
