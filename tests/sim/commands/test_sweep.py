"""``cellspec sweep``: it makes what is missing, and gives the same files whatever stopped it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cellspec.errors import SpecError, Violation
from sim.cli import main
from sim.commands.progress import RunProgress
from sim.experiments.replication import Replication, Task, replicate
from sim.experiments.sweep.points import load_sweep
from sim.experiments.sweep.runner import make_missing
from tests.sim.experiments.sweep.small import GRID, SCENARIO, begun, write_sweep

Run = Callable[..., tuple[int, str, str]]

FILES = ("points.jsonl", "runs.csv", "summary.csv")

LADDER: dict[str, Any] = {
    "precision": {"half_width": 0.1, "most": 13},
    "grid": {"policy": ["fifo", "row-first"]},
    "ladder": {"field": "limits.resources.chat", "most": 4, "gain": 0.05},
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``cellspec sweep``: the exit code, stdout, and stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main(["sweep", *map(str, arguments)], program="cellspec")
        return code, *capsys.readouterr()

    return command


def files_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def lines_of(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (folder / "runs").glob("*.jsonl"))


def test_a_sweep_makes_what_is_missing_and_no_more(tmp_path: Path, run: Run) -> None:
    path, out = write_sweep(tmp_path), tmp_path / "out"
    code, first, err = run(path, "--out", out)
    assert (code, lines_of(out)) == (0, 18)
    assert re.fullmatch(r"wall time [\d.]+ s, [\d,]+ runs/s, peak memory [\d,]+ MiB\n", err)
    before = files_of(out)
    assert run(path, "--out", out) == (0, first, "")
    assert (files_of(out), lines_of(out)) == (before, 18)
    write_sweep(tmp_path, grid=GRID | {"limits.resources.chat": [1, 2, 4, 8]}, replications=4)
    assert run(path, "--out", out)[0] == 0
    assert lines_of(out) == 32


def test_a_terminal_shows_the_widest_interval_of_all_points(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(RunProgress, "is_due", property(lambda _self: True))
    monkeypatch.setattr(RunProgress, "say", lambda _self, text: said.append(text))
    path, out = write_sweep(tmp_path), tmp_path / "out"
    run(path, "--out", out, "--figure", "first_row_s")
    summary = list(csv.DictReader((out / "summary.csv").open(encoding="utf-8")))
    mine = [line for line in summary if line["figure"] == "first_row_s"]
    widest = max(float(line["half_width"]) / float(line["mean"]) for line in mine)
    match = re.fullmatch(r"first_row_s ± ([\d.]+) % at the widest", said[-1])
    assert match is not None
    assert float(match[1]) == pytest.approx(100 * widest, rel=0.05)
    # A sweep that goes on knows the runs of before.
    (one,) = (out / "runs").glob("*.jsonl")
    one.write_bytes(b"".join(one.read_bytes().splitlines(keepends=True)[:-1]))
    last = said[-1]
    said.clear()
    run(path, "--out", out, "--figure", "first_row_s")
    assert said[-1] == last
    assert 1 < len(said) <= len(mine) + 1


def test_points_whose_scope_changes_the_result_are_said(tmp_path: Path, run: Run) -> None:
    scopes = {"barrier_scope": ["declared", "batch"], "policy": ["fifo", "row-first"]}
    barrier = {"name": "search", "traits": ["BARRIER"], "dependencies": ["text"]}
    text = {"name": "text", "traits": ["START", "CELL_BY_CELL"]}
    limits = {"workers": 2}
    data = {"name": "s", "rows": 20, "batch_size": 5, "columns": [text, barrier], "limits": limits}
    (tmp_path / "s.yaml").write_text(json.dumps(data), encoding="utf-8")
    sweep = tmp_path / "sweep.yaml"
    spec = {"scenario": "./s.yaml", "grid": scopes, "replications": 1}
    sweep.write_text(json.dumps(spec), encoding="utf-8")
    code, _, err = run(sweep, "--dry-run")
    assert code == 0
    assert err == (
        f"note: {sweep}: barrier_scope: in 2 points a batch is read at a time by 'search', and not "
        "all rows as declared: the result may be another one\n"
    )


def test_a_run_has_the_figures_that_the_command_run_prints(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_sweep(tmp_path), tmp_path / "out"
    run(path, "--out", out)
    lines = list(csv.DictReader((out / "runs.csv").open(encoding="utf-8")))
    assert [(one["point"], one["seed"]) for one in lines] == [
        (str(point), str(seed)) for point in range(6) for seed in range(3)
    ]
    wanted = lines[3 * 3 + 2]
    assert (wanted["field.limits.resources.chat"], wanted["field.policy"]) == ("2", "row-first")
    options = ["--set", "limits.resources.chat=2", "--set", "policy=row-first", "--seed", "2"]
    assert main(["run", str(tmp_path / "small.yaml"), *options, "--format", "csv"]) == 0
    (alone,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert {name: wanted[name] for name in alone} == dict(alone)
    # The digest of a point is that of its run with seed 0.
    points = [json.loads(line) for line in (out / "points.jsonl").read_text().splitlines()]
    assert [one["digest"] for one in points] == [one["scenario_digest"] for one in lines[::3]]


@pytest.mark.parametrize("given", [{}, LADDER], ids=["grid", "ladder"])
def test_jobs_and_shards_change_no_byte(given: Any, tmp_path: Path, run: Run) -> None:
    path = write_sweep(tmp_path, **given)
    code, whole, _ = run(path, "--out", tmp_path / "whole")
    assert code == 0
    for index in (3, 1, 2):
        shard = ("--shard", f"{index}/3")
        jobs = 2 if index == 1 and not given else 1
        run(path, "--out", tmp_path / "one", *shard, "--jobs", jobs)
        run(path, "--out", tmp_path / str(index), *shard)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "whole")
    shards = [tmp_path / str(index) for index in (1, 2, 3)]
    code, joined, err = run("--merge", *shards, "--out", tmp_path / "joined")
    assert (code, joined) == (0, whole)
    assert err == f"{lines_of(tmp_path / 'whole')} runs added to {tmp_path / 'joined'}\n"
    assert files_of(tmp_path / "joined") == files_of(tmp_path / "whole")
    # Once more adds nothing, and the joined folder goes on as any other.
    again = run("--merge", *shards, "--out", tmp_path / "joined")
    assert again == (0, whole, f"0 runs added to {tmp_path / 'joined'}\n")
    assert run(path, "--out", tmp_path / "joined") == (0, whole, "")


def test_folders_of_two_sweeps_are_not_joined(tmp_path: Path, run: Run) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    run(write_sweep(tmp_path), "--out", one, "--shard", "1/2")
    run(write_sweep(tmp_path, grid=GRID, replications=2), "--out", other, "--shard", "2/2")
    code, out, err = run("--merge", one, other, "--out", tmp_path / "joined")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {other}: holds another sweep than {one}; folders that are")
    assert not (tmp_path / "joined").exists()


def test_runs_that_a_join_lacks_are_said(tmp_path: Path, run: Run) -> None:
    path, part, out = write_sweep(tmp_path), tmp_path / "part", tmp_path / "joined"
    run(path, "--out", part, "--shard", "1/3")
    code, printed, err = run("--merge", part, "--out", out)
    assert (code, printed.splitlines()[0]) == (0, "small: 6 points, 6 of 18 runs")
    assert err.splitlines()[1] == (
        f"note: 12 runs of the sweep are missing: the sweep file with --out {out} makes them"
    )
    (part / "points.jsonl").unlink()
    code, printed, err = run("--merge", part, "--out", tmp_path / "other")
    assert (code, printed) == (2, "")
    assert "its points are not those of manifest.json: a process was killed as it began" in err
    assert not (tmp_path / "other").exists()


def test_lists_and_mappings_are_told_apart_in_the_table(tmp_path: Path, run: Run) -> None:
    limits = [{"workers": count, "resources": {"chat": 2}} for count in (0, 4)]
    path = write_sweep(tmp_path, grid={"limits": limits}, replications=2)
    printed = run(path, "--out", tmp_path / "out")[1].splitlines()
    assert printed[4].startswith('1      {"workers": 4, "resources": {"chat": 2}}     2  ')
    # A remark stands at the left of its column, however long another one is.
    assert re.search(r"–  cannot be run: \./small", printed[3])


def test_a_precision_that_was_not_reached_is_said(tmp_path: Path, run: Run) -> None:
    rule = {"half_width": 0.001, "most": 12}
    path = write_sweep(tmp_path, grid={"policy": ["fifo"]}, precision=rule)
    _, printed, _ = run(path, "--out", tmp_path / "out")
    (line,) = [line for line in printed.splitlines() if line.startswith("0 ")]
    assert re.search(r"  makespan_s reached ± [1-9][\d.]* %; ± 0\.1 % was wished$", line)
    wide = write_sweep(tmp_path, grid={"policy": ["fifo"]}, precision=rule | {"half_width": 0.9})
    assert "wished" not in run(wide, "--out", tmp_path / "wide")[1]


# Stopped


def start(path: Path, out: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sim", "sweep", path, "--out", out, *arguments]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Its processes end with it, as on a terminal that is closed.
        start_new_session=True,
    )


def wait_for_lines(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    while process.poll() is None and (not out.is_dir() or lines_of(out) < count):
        time.sleep(0.01)


# Each run takes some 10 ms, so that a kill falls among them.
SLOW: dict[str, Any] = {"set": {"rows": 100}, "grid": GRID, "replications": 6}


def test_a_sweep_that_is_killed_again_and_again_gives_the_same_bytes(
    tmp_path: Path, run: Run
) -> None:
    path, out = write_sweep(tmp_path, **SLOW), tmp_path / "out"
    rng = random.Random(7)
    for kill in range(4):
        shard = rng.choice([(), ("--shard", "2/3"), ("--shard", "1/2")])
        before = lines_of(out) if out.is_dir() else 0
        with start(path, out, *shard, "--jobs", 1 + kill % 2) as process:
            wait_for_lines(out, before + rng.randint(1, 6), process)
            os.killpg(process.pid, signal.SIGKILL)
    assert 4 <= lines_of(out) < 36
    run(path, "--out", out)
    run(path, "--out", tmp_path / "straight")
    assert files_of(out) == files_of(tmp_path / "straight")


STEPS = ("open", "write", "fsync", "replace", "ftruncate", "mkdir", "unlink")
"""What a sweep asks of the disk."""


def dies_at(step: int, path: Path, out: Path) -> bool:
    """Whether a sweep ends at its step to the disk of this number, as by SIGKILL, in a fork."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    left = step

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                if name == "write":
                    # Half of it is there.
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os._exit(1)
            return real(*arguments, **options)

        return call

    for name in STEPS:
        setattr(os, name, counted(name, getattr(os, name)))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = main(["sweep", str(path), "--out", str(out)], program="cellspec")
    os._exit(code)


def test_a_sweep_that_dies_at_any_step_to_the_disk_goes_on(tmp_path: Path, run: Run) -> None:
    path = write_sweep(tmp_path, set={"rows": 2}, grid={"policy": ["fifo"]}, replications=2)
    run(path, "--out", tmp_path / "straight")
    straight, many, step = files_of(tmp_path / "straight"), tmp_path / "many", 0
    while True:
        out = tmp_path / str(step)
        if not dies_at(step, path, out):
            break
        # One folder is left at one step, and another one at each of them.
        dies_at(step, path, many)
        code, _, err = run(path, "--out", out)
        assert (code, err.count("error")) == (0, 0), (step, err)
        assert files_of(out) == straight, step
        assert {one.name for one in out.iterdir()} == {".lock", "manifest.json", "runs", *FILES}
        step += 1
    assert step > 30
    run(path, "--out", many)
    assert files_of(many) == straight


@pytest.mark.parametrize(
    ("number", "code", "jobs"), [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 2)]
)
def test_who_stops_a_sweep_reads_how_it_goes_on(
    number: signal.Signals, code: int, jobs: int, tmp_path: Path
) -> None:
    path, out = write_sweep(tmp_path, **SLOW), tmp_path / "o ut"
    with start(path, out, "--jobs", jobs, "--figure", "rows_per_s") as process:
        wait_for_lines(out, 2, process)
        process.send_signal(number)
        printed, err = process.communicate(timeout=60)
    assert (process.returncode, printed) == (code, "")
    command = f"sweep {path} --out '{out}'" + (" --jobs 2" if jobs == 2 else "")
    assert re.search(
        rf"^\d+ of 36 runs made; they are kept; to go on: python -m sim {re.escape(command)} "
        "--figure rows_per_s$",
        err,
        re.MULTILINE,
    )
    assert "Traceback" not in err
    assert lines_of(out) >= 2


def test_a_second_process_of_the_same_shard_is_refused(tmp_path: Path, run: Run) -> None:
    path, out = write_sweep(tmp_path, **SLOW | {"replications": 60}), tmp_path / "out"
    with start(path, out) as process:
        wait_for_lines(out, 1, process)
        process.send_signal(signal.SIGSTOP)
        code, printed, err = run(path, "--out", out)
        process.kill()
    assert (code, printed) == (2, "")
    assert err == (
        f"error: {out}/runs/1-of-1.jsonl: another process adds to it; wait for its end, or give "
        "each process a --shard of its own\n"
    )


# Points that cannot be run


def test_a_point_that_cannot_be_run_is_recorded_and_the_others_go_on(
    tmp_path: Path, run: Run
) -> None:
    grid = {"limits.workers": [0, 4]}
    path, out = write_sweep(tmp_path, grid=grid, replications=2), tmp_path / "out"
    code, printed, err = run(path, "--out", out)
    assert code == 2
    assert re.search(
        r"^0      0 +0 +– +– +–  cannot be run: \./small\.yaml: ", printed, re.MULTILINE
    )
    reason = "./small.yaml: limits.workers: expected at least 1, got 0"
    assert f"error: {path}: point 0 (limits.workers=0): {reason}\n" in err
    points = [json.loads(line) for line in (out / "points.jsonl").read_text().splitlines()]
    assert points[0] == {"point": 0, "fields": {"limits.workers": 0}, "error": reason}
    lines = list(csv.DictReader((out / "runs.csv").open(encoding="utf-8")))
    assert [(one["point"], one["seed"], one["error"]) for one in lines] == [
        ("0", "", reason),
        ("1", "0", ""),
        ("1", "1", ""),
    ]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (SpecError("it may\nnever end"), 2, "it may never end"),
        (Violation("SCHED-01", "a starts twice"), 1, "SCHED-01: a starts twice"),
    ],
)
def test_a_run_that_fails_is_recorded_with_its_seed(
    error: Exception,
    code: int,
    words: str,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def made(task: Task) -> tuple[int, Replication]:
        if task.seed == 1 and task.scenario == bad:
            raise error
        return task.place, replicate(pickle.loads(task.scenario), task.seed)

    monkeypatch.setattr("sim.experiments.sweep.runner.made", made)
    path, out = write_sweep(tmp_path), tmp_path / "out"
    sweep = load_sweep(path)
    bad = sweep.scenarios[str(sweep.points[2].digest)]
    found, _, err = run(path, "--out", out)
    assert found == code
    line = f"error: {path}: point 2 (limits.resources.chat=2, policy=fifo): seed 1: {words}\n"
    assert line in err
    assert lines_of(out) == 18
    before = files_of(out)
    assert before["runs.csv"].decode().count(words) == 1
    monkeypatch.undo()
    # A failure is a result too, and is not tried again.
    assert run(path, "--out", out)[0] == code
    assert (lines_of(out), files_of(out)) == (18, before)


def test_a_figure_that_nobody_has_is_said_after_the_first_run(tmp_path: Path, run: Run) -> None:
    path, out = write_sweep(tmp_path), tmp_path / "out"
    code, printed, err = run(path, "--out", out, "--figure", "makespan")
    assert (code, printed) == (2, "")
    said = "no figure of this scenario is called 'makespan'; did you mean 'makespan_s'?"
    assert f"error: --figure: {said}\n" in err
    assert lines_of(out) == 1
    assert run(path, "--out", out, "--figure", "verdict")[2] == (
        "error: --figure: verdict is 'every event satisfied the specification', and no number\n"
    )
    bad = write_sweep(tmp_path, grid=GRID, precision={"half_width": 0.1, "figure": "row_per_s"})
    assert run(bad, "--out", out)[2] == (
        f"error: {bad}: precision.figure: no figure of this scenario is called 'row_per_s'; "
        "did you mean 'rows_per_s'?\n"
    )


# The command line


def test_a_dry_run_lists_points_and_missing_runs_and_writes_nothing(
    tmp_path: Path, run: Run
) -> None:
    path, out = write_sweep(tmp_path), tmp_path / "out"
    code, printed, err = run(path, "--dry-run", "--out", out)
    assert (code, err) == (0, "")
    assert printed.splitlines()[-3:] == [
        "5      4                      row-first     0        3",
        "",
        "6 points, 18 missing runs",
    ]
    assert not out.exists()
    assert run(path, "--dry-run")[:2] == (0, printed)
    run(path, "--out", out, "--shard", "1/2")
    before = {one: one.stat().st_mtime_ns for one in out.rglob("*")}
    assert run(path, "--dry-run", "--out", out)[1].endswith("6 points, 9 missing runs\n")
    parts = [run(path, "--dry-run", "--shard", f"{one}/4")[1].splitlines()[-1] for one in (1, 4)]
    assert parts == ["6 points, 5 missing runs", "6 points, 4 missing runs"]
    assert {one: one.stat().st_mtime_ns for one in out.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a sweep file, or --merge and the folders to join (see cellspec sweep --he"),
        (["{path}"], "--out: expected the folder that keeps the runs"),
        (["{path}", "--merge", "x", "--out", "y"], "expected a sweep file, or --merge and the fo"),
        (["{path}", "--out", "{path}"], "{path}: expected a folder, but it is no folder"),
        (["--merge", "{folder}", "--out", "y"], "{folder}: is no folder of a sweep: it has no man"),
        (["no_sweep", "--out", "y"], "no example is called 'no_sweep': there are concurrency_swee"),
        (["{path}", "--out", "y", "--shard", "4/3"], "argument --shard: expected a part and the"),
    ],
)
def test_a_wrong_use_is_said_in_one_line(
    arguments: Sequence[str], message: str, tmp_path: Path, run: Run
) -> None:
    names = {"path": write_sweep(tmp_path), "folder": tmp_path}
    code, printed, err = run(*(word.format(**names) for word in arguments))
    assert (code, printed) == (2, "")
    assert err.startswith(f"error: {message.format(**names)}")
    assert err.count("\n") == 1


def test_json_and_csv_hold_the_figures_of_the_summary(tmp_path: Path, run: Run) -> None:
    path, out = write_sweep(tmp_path, **LADDER), tmp_path / "out"
    found = json.loads(run(path, "--out", out, "--format", "json")[1])
    assert found["scenario"] == "small"
    summary = {
        int(line["point"]): line
        for line in csv.DictReader((out / "summary.csv").open(encoding="utf-8"))
        if line["figure"] == "makespan_s"
    }
    lines = list(csv.DictReader(run(path, "--out", out, "--format", "csv")[1].splitlines()))
    assert len(found["points"]) == len(lines) == 6
    for one, line in zip(found["points"], lines, strict=True):
        assert one["fields"]["policy"] == line["field.policy"]
        for name in ("mean", "half_width", "sd"):
            assert line[name] == str(one[name]) == summary[one["point"]][name]
        assert one["runs"] == one["wanted"] == int(summary[one["point"]]["runs"])
    assert [end["why"] for end in found["ladders"]] == ["top", "top"]
    table = run(path, "--out", out)[1]
    assert "policy=row-first: ends at 4, its last rung; no step gained less than 5 %" in table
    assert (
        run(path, "--out", out, "--figure", "rows_per_s", "--format", "csv")[1].count(
            ",rows_per_s,"
        )
        == 6
    )


def test_parquet_files_are_written_beside(tmp_path: Path, run: Run) -> None:
    path, out = write_sweep(tmp_path), tmp_path / "out"
    assert run(path, "--out", out, "--parquet")[0] == 0
    assert {"runs.parquet", "summary.parquet"} < {one.name for one in out.iterdir()}


# What a run costs


def test_a_run_of_a_sweep_costs_little_more_than_the_simulation(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"set": {"rows": 200}, "grid": GRID, "replications": 3}
    sweep = load_sweep(write_sweep(tmp_path, SCENARIO, **fields))
    assert sweep.points[0].digest is not None
    ratios: list[float] = []
    # On a busy machine any of them may be too large.
    while len(ratios) < 5 and not any(ratio < 1.3 for ratio in ratios):
        spent = _alone(sweep.scenarios)
        ratios.append(_swept(sweep, tmp_path / str(len(ratios))) / spent)
    assert min(ratios) < 1.3, ratios


def _alone(scenarios: Mapping[str, bytes]) -> float:
    loaded = [pickle.loads(one) for one in scenarios.values()]
    before = time.process_time()
    for scenario in loaded:
        for seed in range(3):
            replicate(scenario, seed)
    return time.process_time() - before


def _swept(sweep: Any, out: Path) -> float:
    folder = begun(sweep, out)
    before = time.process_time()
    make_missing(sweep, folder)
    return time.process_time() - before
