"""Crashes that come again and again, runs that never end by them, and crashes that never came."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellspec import ColumnDescriptor, ExecutionGraph, Limits
from sim.cli import main
from sim.scenario.distributions import Constant
from sim.scenario.loader import load_scenario
from sim.scenario.sampler import ColumnLatency, LatencySource
from sim.simulator.crashes import FRUITLESS_CRASHES, CrashSchedule, EndlessError, Progress
from sim.simulator.outcome import Outcome
from sim.simulator.plan import CheckpointPlan, CrashPlan, RunPlan
from sim.simulator.simulator import Simulator

SCENARIO: dict[str, Any] = {
    "name": "crashing",
    "rows": 5,
    "columns": [{"name": "a", "latency": {"model": "constant", "value_s": 1}}],
    "limits": {"workers": 2},
    "checkpoint": {"every_rows": 2, "write_s": 1},
    "crashes": [{"random": {"mean_s": 30.0, "count": 2}}],
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}), encoding="utf-8")
    return path


def outcome_of(seconds: float, *crashes: CrashPlan, rows: int = 1, **plan: Any) -> Outcome:
    """A run of one column and one worker, whose cells take so many seconds."""
    graph = ExecutionGraph(rows, [ColumnDescriptor("a")])
    latency = LatencySource(0, [ColumnLatency("a", Constant(value_s=seconds), 0.0, 0)], rows)
    return Simulator(
        graph, latency, RunPlan(limits=Limits(workers=1), crashes=crashes, **plan)
    ).run()


def test_crashes_without_a_count_are_those_of_a_count_that_is_never_reached() -> None:
    saved = CheckpointPlan(every_rows=4, write_s=0.5)
    without, counted = (
        outcome_of(1.0, CrashPlan(mean_s=6.0, count=count), rows=40, seed=3, checkpoint=saved)
        for count in (None, 10**6)
    )
    assert len(without.incarnations) > 5
    assert (without.fingerprint, without.makespan_s) == (counted.fingerprint, counted.makespan_s)


def test_a_cell_under_crashes_takes_as_long_as_the_formula_says() -> None:
    mean_s, work_s, restart_s, runs = 10.0, 12.0, 3.0, 600
    took = [
        outcome_of(work_s, CrashPlan(mean_s=mean_s), seed=seed, restart_delay_s=restart_s)
        for seed in range(runs)
    ]
    # A renewal: each process works until it crashes, or to the end.
    expected = (mean_s + restart_s) * (math.exp(work_s / mean_s) - 1)
    times = [found.makespan_s for found in took]
    mean = sum(times) / runs
    spread = math.sqrt(sum((t - mean) ** 2 for t in times) / (runs - 1) / runs)
    assert abs(mean - expected) < 3.5 * spread
    assert spread < 0.05 * expected


def test_several_causes_crash_as_often_as_their_rates_add_up_to() -> None:
    schedule = CrashSchedule(
        RunPlan(crashes=[CrashPlan(mean_s=8.0), CrashPlan(mean_s=8.0), CrashPlan(mean_s=4.0)]),
        [],
    )
    times = [schedule.next_time(100.0) or 0.0 for _ in range(4000)]
    # The mean of 4,000 exponential times of 2 s is known to 1.6 %.
    assert sum(times) / len(times) - 100.0 == pytest.approx(2.0, rel=0.06)


def test_crashes_with_a_count_come_beside_those_without() -> None:
    saved = CheckpointPlan(every_rows=1)
    crashes = [CrashPlan(mean_s=1e-3, count=50), CrashPlan(mean_s=1e9)]
    found = outcome_of(1.0, *crashes, rows=3, checkpoint=saved)
    assert len(found.incarnations) == 51


def test_a_run_that_never_saves_anything_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.simulator.crashes.FRUITLESS_CRASHES", 200)
    with pytest.raises(EndlessError, match="200 crashes in a row came before anything more"):
        outcome_of(600.0, CrashPlan(mean_s=10.0))
    # The same crashes with a count are run to their end.
    assert len(outcome_of(600.0, CrashPlan(mean_s=10.0, count=300)).incarnations) == 301


def test_what_is_saved_counts_anew() -> None:
    progress = Progress((0, 0))
    for claim in range(1, 4):
        progress.expect((claim, 0), 0)
        for _ in range(FRUITLESS_CRASHES - 1):
            progress.expect((claim, 0), 0)
    with pytest.raises(EndlessError):
        progress.expect((3, 0), 0)


def test_long_processes_that_save_nothing_are_given_up_by_their_events() -> None:
    progress = Progress((0,))
    for number in range(1, 100):
        progress.expect((0,), number * 1_000_000)
    with pytest.raises(EndlessError, match="100 crashes in a row"):
        progress.expect((0,), 100_000_000)


def test_the_command_names_file_and_field_of_a_run_that_never_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.simulator.crashes.FRUITLESS_CRASHES", 1_000)
    path = write(tmp_path, crashes=[{"random": {"mean_s": 0.01}}])
    assert main(["run", str(path)]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {path}: crashes: 1,000 crashes in a row")
    assert "checkpoint" in error
    assert "random.count" in error


def test_the_command_line_asks_for_crashes_again_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, crashes=[], rows=400)
    assert main(["run", str(path), "--crash-at", "random:20s", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["crashes_planned"] is None
    assert found["crashes"] > 4
    assert main(["run", str(path), "--crash-at", "random:20s"]) == 0
    assert f"{found['crashes']}; they come again and again" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--crash-at", "90s"], ["crashes[1]: the crash at 90 s never came: the run ended at"]),
        (["--crash-at", "2s"], []),
        (["--crash-at", "900"], ["the crash after event 900 never came: the run ended with event"]),
        (["--set", "rows=1"], ["crashes[0]: the crash at 3 s never came: the run ended at 2 s"]),
        (
            ["--crash-at", "5s", "--set", "restart_delay_s=4"],
            ["crashes[1]: the crash at 5 s never came: the process was down from 3 to 7 s"],
        ),
    ],
)
def test_a_crash_that_never_came_is_said(
    given: list[str], says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, crashes=[{"at_time_s": 3}])
    assert main(["run", str(path), *given]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "never came" in line]
    assert len(notes) == len(says)
    for note, words in zip(notes, says, strict=True):
        assert note.startswith(f"note: {path}: ")
        assert words in note


def test_the_last_event_is_the_end_and_no_crash_comes_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, crashes=[], checkpoint=None)
    assert main(["run", str(path), "--format", "json"]) == 0
    events = json.loads(capsys.readouterr().out)["events"]
    for number, crashes in ((events - 1, 1), (events, 0)):
        assert main(["run", str(path), "--crash-at", str(number), "--format", "json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["crashes"] == crashes
        assert ("never came" in err) == (crashes == 0)


TWICE = ["--crash-at", "3s", "--crash-at", "3s"]


@pytest.mark.parametrize(
    ("changes", "given", "says"),
    [
        # Both options and the scenario ask for 3 s; the process is there for one of them.
        ({}, TWICE, ["crashes[1]: the crash at 3 s", "crashes[2]: the crash at 3 s"]),
        ({"restart_delay_s": 2}, TWICE[:2], ["crashes[1]: the crash at 3 s"]),
        ({"crashes": [{"at_event": 4}, {"at_event": 4}]}, [], ["crashes[1]: the crash after"]),
        # What the first crash took is at the moment of the other.
        ({"crashes": [{"at_time_s": 1.0}, {"at_event": 1}]}, [], []),
    ],
)
def test_of_crashes_at_one_moment_one_comes_and_the_others_are_said(
    changes: Any,
    given: list[str],
    says: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path, **{"crashes": [{"at_time_s": 3}], **changes})
    assert main(["run", str(path), *given, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    notes = [line for line in err.splitlines() if "never came" in line]
    assert len(notes) == len(says)
    for note, words in zip(notes, says, strict=True):
        assert note.startswith(f"note: {path}: {words}")
    assert all(note.endswith(" never came: another crash came at that moment") for note in notes)
    found = json.loads(out)
    assert found["crashes"] + len(notes) == found["crashes_planned"]


@pytest.mark.parametrize("crash", [{"at_time_s": 0.0}, {"at_event": 1}])
def test_a_run_that_finds_all_done_ends_before_any_crash(
    crash: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, crashes=[crash], start_from={"version": 1, "completed_rows": 5})
    assert main(["run", str(path), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["crashes"] == 0
    assert "never came: the run ended" in err


@pytest.mark.parametrize("seed", range(25))
def test_each_planned_crash_comes_or_is_said(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = random.Random(seed)
    crashes = [
        {"at_event": source.randint(1, 25)}
        if source.random() < 0.5
        else {"at_time_s": source.choice((0, 1, 1, 2, 3, 4.5, 30))}
        for _ in range(source.randint(1, 6))
    ]
    delay_s = source.choice((0, 0, 1, 2.5))
    path = write(tmp_path, rows=source.randint(1, 6), crashes=crashes, restart_delay_s=delay_s)
    assert main(["run", str(path), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["crashes"] + err.count("never came") == len(crashes)


def test_a_stated_count_keeps_the_digest_that_it_had(tmp_path: Path) -> None:
    stated = load_scenario(write(tmp_path)).digest()
    assert stated == "e86e823e5a3d88c20a50e2890e5f5f70"
    endless = load_scenario(write(tmp_path, crashes=[{"random": {"mean_s": 30.0}}]))
    assert endless.digest() != stated
    assert "count" not in endless.to_yaml()
