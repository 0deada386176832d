"""Rows that come one after the other, against recursions that know nothing of the simulator."""

from __future__ import annotations

import heapq
import json
from itertools import pairwise
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
    "name": "rows that come",
    "rows": 100,
    "seed": 1,
    "columns": [{"name": "a", "latency": {"model": "constant", "value_s": 2.0}}],
    "limits": {"workers": 1},
    "policy": "fifo",
    "arrivals": {"model": "exponential", "mean_s": 3.0},
}


def times_of(done: Run, kind: str) -> list[float]:
    events = map(json.loads, done.trace)
    return [event["t"] for event in events if event.get("event") == kind]


@pytest.mark.parametrize(("gap_s", "makespan_s"), [(3.0, 299.0), (1.0, 200.0), (2.0, 200.0)])
def test_the_first_row_is_there_and_each_other_a_gap_later(
    gap_s: float, makespan_s: float, tmp_path: Path
) -> None:
    data = {**SCENARIO, "arrivals": {"model": "constant", "value_s": gap_s}}
    done = run(data, tmp_path)
    assert done.printed["makespan_s"] == makespan_s
    assert times_of(done, "admit") == [row * gap_s for row in range(100)]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_each_row_starts_when_it_is_there_and_a_worker_is_free(
    workers: int, tmp_path: Path
) -> None:
    latency = {"model": "lognormal", "median_s": 4.0, "p99_s": 30.0}
    columns = [{"name": "a", "latency": latency}]
    data = {**SCENARIO, "columns": columns, "limits": {"workers": workers}}
    done = run(data, tmp_path)
    source = load_scenario(tmp_path / "scenario.yaml").latency_source()
    free, ends = [0.0] * workers, []
    for row, came_s in enumerate(times_of(done, "admit")):
        start_s = max(came_s, heapq.heappop(free))
        ends.append(start_s + source.get(0, row))
        heapq.heappush(free, ends[-1])
    assert done.printed["makespan_s"] == pytest.approx(max(ends), rel=1e-9)
    assert times_of(done, "complete") == pytest.approx(sorted(ends), rel=1e-9)


def test_the_wait_is_that_of_a_queue_with_one_server(tmp_path: Path) -> None:
    done = run({**SCENARIO, "rows": 40_000}, tmp_path, trace=False)
    (resource,) = done.printed["by_resource"]
    # M/D/1 at 2/3 of its capacity: the mean wait is 2/3 × 2 s / (2 × 1/3).
    assert resource["mean_wait_s"] == pytest.approx(2.0, rel=0.08)
    assert done.printed["worker_utilisation"] == pytest.approx(2 / 3, rel=0.02)
    assert done.printed["makespan_s"] / 40_000 == pytest.approx(3.0, rel=0.02)


def test_rows_come_also_while_the_process_is_down(tmp_path: Path) -> None:
    crash = {"crashes": [{"at_time_s": 50.0}], "restart_delay_s": 40.0}
    data = {**SCENARIO, "checkpoint": {"every_rows": 1}, **crash}
    came = times_of(run(SCENARIO, tmp_path), "admit")
    done = run(data, tmp_path)
    kept = done.printed["incarnations"][1]["claimed_rows"]
    admitted = times_of(done, "admit")
    there = [t for t in came[kept:] if t <= 90.0]
    assert admitted[-len(came[kept:]) :] == [max(90.0, t) for t in came[kept:]]
    assert len(there) > 5
    assert check_file(tmp_path / "run.jsonl").violations == []


def test_a_timer_of_checkpoints_goes_on_while_no_row_is_there(tmp_path: Path) -> None:
    gaps = {"model": "constant", "value_s": 50.0}
    data = {**SCENARIO, "rows": 5, "arrivals": gaps, "checkpoint": {"every_s": 10.0}}
    begun = times_of(run(data, tmp_path), "checkpoint_begin")
    assert begun == [10.0, 60.0, 110.0, 160.0, 202.0]


def coming() -> list[Data]:
    found = []
    for number in range(60):
        data = draw(13, number)
        data["limits"].pop("row_groups", None)
        gap_s = (0.0, 0.5, 2.0)[number % 3]
        gaps = {"model": "exponential", "mean_s": gap_s} if gap_s else {"model": "constant"}
        found.append({**data, "arrivals": gaps if gap_s else {**gaps, "value_s": 0.0}})
    return found


@pytest.mark.parametrize("data", coming(), ids=lambda data: data["name"])
def test_any_run_whose_rows_come_has_a_trace_that_passes(data: Data, tmp_path: Path) -> None:
    assert compare_one(data, tmp_path, Comparison()) == []
    found = check_file(tmp_path / "run.jsonl")
    assert found.violations == []


def test_a_trace_declares_how_long_a_row_may_be_waited_for(tmp_path: Path) -> None:
    done = run(SCENARIO, tmp_path)
    header = json.loads(done.trace[0])
    gaps = [after - before for before, after in pairwise(times_of(done, "admit"))]
    assert header["idle_s"] == pytest.approx(max(gaps))
    assert "work_conserving" not in header["claims"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"arrivals": {"model": "exponential"}}, "arrivals.mean_s: is missing"),
        ({"arrivals": {"model": "request"}}, "arrivals.model: expected "),
        (
            {"limits": {"workers": 1, "row_groups": {"rows": 2}}},
            "arrivals: rows come one by one, and each is a row group; leave limits.row_groups out",
        ),
    ],
)
def test_what_cannot_come_is_refused(
    changes: Any, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}), encoding="utf-8")
    assert main(["run", str(path)]) == 2
    assert says in capsys.readouterr().err


def test_without_the_word_the_digest_is_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    data = {name: value for name, value in SCENARIO.items() if name != "arrivals"}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    before = "ae8ea46a14e74d4ced0a89fb627912f4"
    assert load_scenario(path).digest() == before
    gaps = {"arrivals": "{model: constant, value_s: 1}"}
    assert load_scenario(path, gaps).digest() != before
