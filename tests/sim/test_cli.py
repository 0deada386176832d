"""The command line: what is printed where, exit codes, and files that are whole or not there.

Whatever depends on the interpreter (its hash seed, its imports, its streams, its end) runs in a
fresh one; the rest calls `main` directly.
"""

from __future__ import annotations

import bdb
import json
import os
import platform
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellspec import SpecError, Violation
from cellspec.clauses import clause_set_data
from cellspec.exit_codes import CODES, exit_codes_text
from cellspec.files import check_folder, write_files
from sim.cli import main
from sim.output import run
from sim.results import Result
from sim.scenario.loader import load_scenario
from sim.scenario.schema import schema_text
from sim.simulator.outcome import Outcome
from sim.simulator.simulator import Simulator
from tests.sim.terminals import rest_of

SCENARIO: dict[str, Any] = {
    "name": "small",
    "rows": 30,
    "seed": 5,
    "batch_size": 10,
    "columns": [
        {
            "name": "a",
            "traits": ["START"],
            "latency": {"model": "uniform", "low_s": 1, "high_s": 2},
        },
        {
            "name": "b",
            "dependencies": ["a"],
            "resource": "gpu",
            "latency": {"model": "lognormal", "median_s": 2, "p99_s": 9},
        },
        {
            "name": "v",
            "traits": ["BATCH_BARRIER"],
            "dependencies": ["b"],
            "latency": {"model": "constant", "value_s": 3},
        },
        {"name": "c", "dependencies": ["v", "a"], "side_effects": ["d"]},
    ],
    "limits": {"workers": 5, "resources": {"gpu": 2}},
    "policy": "random",
    "checkpoint": {"every_rows": 4, "version": 2, "write_s": 0.5},
    "crashes": [{"at_event": 70}, {"random": {"mean_s": 20.0, "count": 2}}],
    # What is not given is said on stderr.
    "redo": "same",
    "restart_delay_s": 2.0,
}

FILES = ["fingerprint.txt", "manifest.json", "result.json", "runs.csv", "scenario.yaml"]


def write(folder: Path, data: Any = SCENARIO, **changes: Any) -> Path:
    path = folder / "in.yaml"
    content = {**data, **changes} if isinstance(data, dict) else data
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    return write(tmp_path)


def fresh(
    *args: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """``python -m sim`` in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-m", "sim", *map(str, args)],
        capture_output=True,
        timeout=120,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )


def result_of(capsys: pytest.CaptureFixture[str], *args: str | Path) -> dict[str, Any]:
    assert main(["run", *map(str, args), "--format", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# The same bytes


def test_stdout_and_files_are_the_same_whatever_the_hash_seed_or_terminal(
    tmp_path: Path, scenario: Path
) -> None:
    seen = set()
    # The scenario crashes and resumes three times, and its policy is random.
    for number, env in enumerate(
        (
            {"PYTHONHASHSEED": "0"},
            {"PYTHONHASHSEED": "1", "COLUMNS": "20", "TERM": "dumb", "NO_COLOR": "1"},
            {
                "PYTHONHASHSEED": "12345",
                "LC_ALL": "C",
                "PYTHONIOENCODING": "ascii",
                "PYTHONUTF8": "0",
            },
        )
    ):
        out = tmp_path / str(number)
        done = fresh("run", scenario, "--out", out, env=env)
        assert done.returncode == 0, done.stderr
        files = tuple((out / name).read_bytes() for name in FILES)
        seen.add((done.stdout, files))
    assert len(seen) == 1
    ((stdout, _),) = seen
    assert "30 rows × 4 columns".encode() in stdout
    assert b"crashes                      3 of 3 planned\n" in stdout


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_second_run_prints_the_same(
    scenario: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    texts = []
    for _ in range(2):
        assert main(["run", str(scenario), "--format", form]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].endswith("\n")


def test_time_and_memory_go_to_stderr_only(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(scenario)]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"wall time [\d.]+ s, [\d,]+ events/s(, peak memory [\d,]+ MiB)?\n", err)
    assert "wall" not in out
    assert "MiB" not in out


# What can be changed


def test_set_seed_and_crash_at(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = result_of(capsys, scenario)
    assert (plain["seed"], plain["rows"], plain["crashes_planned"]) == (5, 30, 3)
    other = result_of(
        capsys,
        scenario,
        *("--set", "rows=10", "--set", "columns.b.latency.median_s=3", "--set", "crashes=[]"),
        *("--seed", "6", "--crash-at", "9", "--crash-at", "12.5s", "--crash-at", "random:40s"),
    )
    # Random crashes of the command line come again and again.
    assert (other["seed"], other["rows"], other["crashes_planned"]) == (6, 10, None)
    assert other["fingerprint"] != plain["fingerprint"]
    assert other["scenario_digest"] != plain["scenario_digest"]
    assert other["incarnations"][1]["end_s"] in (12.5, other["makespan_s"])


def test_crashes_of_the_command_line_are_added(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = result_of(capsys, scenario, "--crash-at", "3")
    assert more["crashes_planned"] == 4
    assert more["incarnations"][0]["end_s"] == 0.0


def test_a_crash_on_the_command_line_is_one_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crashes = [{"at_event": 40}, {"at_time_s": 25.5}, {"random": {"mean_s": 30.0}}]
    in_file = result_of(capsys, write(tmp_path, crashes=crashes))
    given = ("--crash-at", "40", "--crash-at", "25.5s", "--crash-at", "random:30s")
    assert result_of(capsys, write(tmp_path, crashes=[]), *given) == in_file


def test_seed_beats_set_and_the_last_set_counts(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--set", "seed=1", "--set", "rows=9", "--seed", "2", "--set", "rows=8")
    found = result_of(capsys, scenario, *given)
    assert (found["seed"], found["rows"]) == (2, 8)


def test_a_value_may_hold_an_equals_sign(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert result_of(capsys, scenario, "--set", "name=a=b")["name"] == "a=b"


def test_without_checks_the_verdict_says_so_and_the_run_is_the_same(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked, not_checked = result_of(capsys, scenario), result_of(capsys, scenario, "--no-check")
    assert checked.pop("verdict") == "every event satisfied the specification"
    assert not_checked.pop("verdict") == "not checked"
    assert (checked.pop("checked"), not_checked.pop("checked")) == (True, False)
    assert checked == not_checked


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == schema_text()


# Help


def test_help_waits_for_no_library() -> None:
    code = (
        "import sys; from sim.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'numpy', 'pydantic', 'simpy', 'yaml', 'msgspec'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy or code else 0)"
    )
    for args in (["--help"], ["run", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stderr == b""
        assert done.stdout


def test_help_says_how_to_write_a_crash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "5000 = just after event number 5000, 300s = at 300 s" in text
    assert "random:600s" in text
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "run " in text
    assert "schema " in text
    assert "  2    bad usage or input\n" in text


# Bad usage and input: one line, exit code 2, nothing written


def refused(
    capsys: pytest.CaptureFixture[str], *args: str | Path, folder: Path | None = None
) -> str:
    """The complaint about a command that must be refused, checked for its form."""
    before = sorted(folder.rglob("*")) if folder else []
    assert main(list(map(str, args))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    if folder:
        assert sorted(folder.rglob("*")) == before
    return err


COLUMNS: list[dict[str, Any]] = SCENARIO["columns"]


def with_column(**fields: Any) -> dict[str, Any]:
    return {**SCENARIO, "columns": [*COLUMNS, {"name": "z", **fields}]}


BAD: dict[str, tuple[Any, str]] = {
    "unknown field": ({**SCENARIO, "row": 3}, "row: no such field; did you mean 'rows'?"),
    "unknown field of a column": (with_column(need=["a"]), "columns 'z': need: no such field"),
    "missing field": ({k: v for k, v in SCENARIO.items() if k != "limits"}, "limits: is missing"),
    "unknown dependency": (
        with_column(dependencies=["nobody"]),
        "no column or side effect 'nobody'",
    ),
    "cycle": (
        with_column(dependencies=["y"])
        | {"columns": [{"name": n, "dependencies": [m]} for n, m in ("yz", "zy")]},
        "cycle: ",
    ),
    "duplicate name": ({**SCENARIO, "columns": [*COLUMNS, {"name": "a"}]}, "'a' is produced twice"),
    "shadowed name": ({**SCENARIO, "columns": [*COLUMNS, {"name": "d"}]}, "'d' is produced twice"),
    "negative latency": (
        with_column(latency={"model": "constant", "value_s": -1}),
        "columns 'z': latency.value_s: expected at least 0, got -1",
    ),
    "unknown latency model": (
        with_column(latency={"model": "guess"}),
        "columns 'z': latency.model",
    ),
    "unreadable trace": (
        with_column(latency={"model": "trace", "file": "no.csv", "column_s": "s"}),
        "columns 'z': latency.file: trace 'no.csv' cannot be read",
    ),
    "worker limit of zero": (
        {**SCENARIO, "limits": {"workers": 0, "resources": {"gpu": 1}}},
        "limits.workers: expected at least 1, got 0",
    ),
    "resource limit of zero": (
        {**SCENARIO, "limits": {"workers": 1, "resources": {"gpu": 0}}},
        "limits.resources.gpu: expected at least 1, got 0",
    ),
    "resource without a limit": (
        with_column(resource="tpu"),
        "columns 'z': resource: no resource 'tpu'",
    ),
    "no rows": ({**SCENARIO, "rows": 0}, "rows: expected at least 1, got 0"),
    "rows that are no number": ({**SCENARIO, "rows": True}, "rows: expected an integer, got true"),
    "batch barrier without batches": ({**SCENARIO, "batch_size": None}, "batch_size"),
    "unknown policy": ({**SCENARIO, "policy": "best"}, "policy: expected "),
    "two causes of one crash": (
        {**SCENARIO, "crashes": [{"at_event": 1, "at_time_s": 2}]},
        "crashes[0]: expected exactly one of ",
    ),
    "a crash before the first event": ({**SCENARIO, "crashes": [{"at_event": 0}]}, "at_event: "),
    "no mapping": ([1, 2], "expected a mapping of fields, got a list of 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_scenario_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    data, expected = BAD[case]
    path = write(tmp_path, data)
    err = refused(capsys, "run", path, "--out", tmp_path / "out", folder=tmp_path)
    assert err.startswith(f"error: {path}:")
    assert expected in err


@pytest.mark.parametrize("case", ["unknown field", "cycle", "negative latency", "no mapping"])
def test_a_bad_scenario_in_an_interpreter_of_its_own(tmp_path: Path, case: str) -> None:
    data, expected = BAD[case]
    done = fresh("run", write(tmp_path, data), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert expected in done.stderr.decode()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"name: [1", "in.yaml:1: "),
        (b"name: a\nname: b\n", "key 'name' is given twice"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"", "expected a mapping of fields, got nothing"),
        (b"just words", 'expected a mapping of fields, got "just words"'),
    ],
)
def test_a_file_that_is_no_scenario(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, expected: str
) -> None:
    path = tmp_path / "in.yaml"
    path.write_bytes(content)
    assert expected in refused(capsys, "run", path)


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "no.yaml"
    assert (
        refused(capsys, "run", path)
        == f"error: {path}: cannot be read: No such file or directory\n"
    )
    refused(capsys, "run", tmp_path)
    refused(capsys, "run", tmp_path / "two\nlines.yaml")


@pytest.mark.parametrize("content", [b"s\n1\nfour\n", b"t\n1\n", b"", b"\x80\x81"])
def test_a_trace_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    trace = {"model": "trace", "file": "t.csv", "column_s": "s"}
    err = refused(capsys, "run", write(tmp_path, with_column(latency=trace)), folder=tmp_path)
    assert "columns 'z': latency.file: trace 't.csv'" in err


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], "required: COMMAND"),
        (["walk"], "walk"),
        (["run"], "SCENARIO.yaml"),
        (["run", "x.yaml", "y.yaml"], "y.yaml"),
        (["run", "x.yaml", "--speed", "3"], "--speed"),
        (["run", "x.yaml", "--form", "csv"], "--form"),
        (["run", "x.yaml", "--format", "xml"], "invalid choice: 'xml'"),
        (["run", "x.yaml", "--set", "rows"], "--set: expected FIELD=VALUE, got 'rows'"),
        (["run", "x.yaml", "--set", "=3"], "--set: expected FIELD=VALUE, got '=3'"),
        (["run", "x.yaml", "--set", "a\nb"], "--set: expected FIELD=VALUE"),
        (["run", "x.yaml", "--seed", "-1"], "--seed: expected a whole number from 0, got '-1'"),
        (["run", "x.yaml", "--seed", "1.5"], "--seed: expected a whole number"),
        (["run", "x.yaml", "--seed", "٣"], "--seed: expected a whole number"),
        (["run", "x.yaml", "--seed", "9" * 5000], "--seed: expected a whole number"),
        (["run", "x.yaml", "--crash-at", "0"], "expected an event number from 1, got '0'"),
        (["run", "x.yaml", "--crash-at", "soon"], "EVENT, TIMEs or random:MEANs, got 'soon'"),
        (["run", "x.yaml", "--crash-at", "5m"], "EVENT, TIMEs or random:MEANs"),
        (["run", "x.yaml", "--crash-at", "-3s"], "--crash-at"),
        (["run", "x.yaml", "--crash-at", "nans"], "expected 0 to 1e9 seconds"),
        (["run", "x.yaml", "--crash-at", "infs"], "expected 0 to 1e9 seconds"),
        (["run", "x.yaml", "--crash-at", "random:0s"], "expected more than 0 to 1e9 seconds"),
        (["run", "x.yaml", "--crash-at", "random:9"], "EVENT, TIMEs or random:MEANs"),
        (["run", "x.yaml", "--crash-at", "poisson:9s"], "EVENT, TIMEs or random:MEANs"),
        (["schema", "x"], "x"),
        (["fuzz", "--examples", "0"], "--examples: expected a whole number from 1, got '0'"),
        (["fuzz", "--plateau", "few"], "--plateau: expected a whole number from 1, got 'few'"),
        (["fuzz", "--jobs", "-1"], "--jobs: expected a whole number from 1, got '-1'"),
        (["replay", "x.json", "--until", "0"], "--until: expected an event number from 1, got '0'"),
    ],
)
def test_bad_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], args: list[str], expected: str
) -> None:
    err = refused(capsys, *args)
    assert expected in err
    assert "--help)\n" in err


def test_every_bad_value_of_an_option_is_told_beside_the_faults_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, {**SCENARIO, "rows": 0})
    bad = ["--set", "=3", "--set", "seed=x", "--crash-at", "x", "--set", "y", "--crash-at", "5x"]
    assert main(["run", str(file), "--out", str(tmp_path / "out"), *bad]) == 2
    printed = capsys.readouterr()
    told = [line.partition(", got")[0] for line in printed.err.splitlines()]
    assert [line.removeprefix("error: ").removeprefix(f"{file}:") for line in told] == [
        "2: rows: expected at least 1",
        " --set seed: seed: expected an integer",
        "argument --set: expected FIELD=VALUE",
        "argument --set: expected FIELD=VALUE",
        "argument --crash-at: expected EVENT, TIMEs or random:MEANs",
        "argument --crash-at: expected EVENT, TIMEs or random:MEANs",
    ]
    assert printed.out == ""
    assert [item.name for item in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("rows=many", '--set rows: rows: expected an integer, got "many"'),
        ("rows=[", "--set rows: "),
        (
            "limits.workers=0",
            "--set limits.workers: limits.workers: expected at least 1, got 0",
        ),
        ("columns.q.name=x", "--set columns.q.name: columns has no item 'q'"),
        ("a..b=1", "--set a..b: "),
        ("columns.b.latency.median=1", "median"),
    ],
)
def test_a_bad_override_is_named(
    scenario: Path, capsys: pytest.CaptureFixture[str], setting: str, expected: str
) -> None:
    err = refused(capsys, "run", scenario, "--set", setting)
    assert err.startswith(f"error: {scenario}: ")
    assert expected in err


@pytest.mark.parametrize("rows", [10**12, 10**18, 10**40])
def test_more_rows_than_the_machine_holds(
    scenario: Path, capsys: pytest.CaptureFixture[str], rows: int
) -> None:
    err = refused(capsys, "run", scenario, "--set", f"rows={rows}")
    assert err.startswith(f"error: {scenario}: --set rows: rows: {rows:,} rows × 4 columns need ")
    assert "GiB" in err


# A violation


def test_a_violation_is_one_line_and_code_1_and_nothing_is_written(
    tmp_path: Path,
    scenario: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dispatcher = Simulator._dispatcher

    def lazy(simulator: Simulator) -> Callable[[float], None]:
        dispatch = dispatcher(simulator)
        return lambda t: None if t > 5 else dispatch(t)

    monkeypatch.setattr(Simulator, "_dispatcher", lazy)
    assert main(["run", str(scenario), "--out", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"violated: SCHED-09: .+ was not started before t=.+ s\n", err)
    assert not (tmp_path / "out").exists()


# Files


def test_out_holds_the_run(
    tmp_path: Path, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    given = ("--set", "rows=12", "--seed", "8", "--crash-at", "20s", "--out", out)
    result = result_of(capsys, scenario, *given)
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert json.loads((out / "result.json").read_text(encoding="utf-8")) == result
    assert (out / "fingerprint.txt").read_text() == result["fingerprint"] + "\n"
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest == {
        "cellspec": version("cellspec"),
        "clauses": clause_set_data(),
        "scenario_digest": result["scenario_digest"],
        "seed": 8,
        "checked": True,
        "fingerprint": result["fingerprint"],
        "python": platform.python_version(),
        "architecture": platform.machine(),
        "dependencies": {n: version(n) for n in ("numpy", "pydantic", "PyYAML", "simpy")},
    }
    # What was run can be run again from what was written.
    assert load_scenario(out / "scenario.yaml").digest() == result["scenario_digest"]
    assert result_of(capsys, out / "scenario.yaml") == result


def test_the_written_scenario_finds_its_traces_from_where_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.csv").write_text("s\n1.5\n2.5\n")
    trace = {"model": "trace", "file": "t.csv", "column_s": "s"}
    path = write(tmp_path / "in", with_column(latency=trace))
    result = result_of(capsys, path, "--out", tmp_path / "out")
    assert result_of(capsys, tmp_path / "out" / "scenario.yaml") == result
    assert str(tmp_path) not in (tmp_path / "out" / "scenario.yaml").read_text()


def test_a_second_run_replaces_the_first_and_leaves_other_files(
    tmp_path: Path, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    result_of(capsys, scenario, "--out", out)
    (out / "notes.txt").write_text("mine")
    second = result_of(capsys, scenario, "--seed", "77", "--out", out)
    assert (out / "fingerprint.txt").read_text() == second["fingerprint"] + "\n"
    assert sorted(path.name for path in out.iterdir()) == sorted([*FILES, "notes.txt"])


def test_a_folder_that_is_none_is_refused_before_the_run(
    tmp_path: Path,
    scenario: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Simulator, "run", lambda *_args, **_more: pytest.fail("it was run"))
    file = tmp_path / "file"
    file.write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for out in (file, file / "below", tmp_path / "dangling"):
        err = refused(capsys, "run", scenario, "--out", out, folder=tmp_path)
        assert err.startswith(f"error: {out}: expected a folder, but ")


def test_a_folder_that_cannot_be_written_costs_no_result(
    tmp_path: Path,
    scenario: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    render = run.render

    def render_meanwhile(result: Result, form: str) -> str:
        if form == "table":
            (out / "result.json").mkdir(parents=True)
        return render(result, form)

    monkeypatch.setattr(run, "render", render_meanwhile)
    assert main(["run", str(scenario), "--out", str(out)]) == 2
    text, err = capsys.readouterr()
    assert "every event satisfied the specification" in text
    assert f"error: {out / 'result.json'}: cannot be written: it is a folder" in err
    assert not [path for path in out.iterdir() if path.name.endswith(".tmp")]


def test_files_are_whole_or_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "out", {"a": "old", "b": "old"})
    synced: list[int] = []

    def fail_second(handle: int) -> None:
        synced.append(handle)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail_second)
    with pytest.raises(SpecError, match="No space left"):
        write_files(tmp_path / "out", {"a": "new", "b": "new"})
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        "a": "old",
        "b": "old",
    }


def test_written_files_have_the_usual_permissions_and_bytes(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": "× \n"})
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "a").read_bytes() == b"\xc3\x97 \n"
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "plain")}
    assert len(modes) == 1


def test_a_folder_to_be_made_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_folder(tmp_path / "not" / "yet")
    monkeypatch.chdir(tmp_path)
    check_folder(Path("not/yet"))
    assert list(tmp_path.iterdir()) == []


# Streams and signals


def test_a_reader_who_leaves_is_no_error(scenario: Path) -> None:
    # argparse hides the error of an unbuffered stream, which leaves 0.
    cases = ((["run", str(scenario)], {141}), (["schema"], {141}), (["--help"], {0, 141}))
    for args, codes in cases:
        process = subprocess.Popen(
            [sys.executable, "-m", "sim", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=60) in codes
        assert b"Traceback" not in err
        assert b"Broken" not in err
        assert b"Exception" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_behind_stdout_is_said(scenario: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sim", "run", str(scenario)],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert done.returncode == 2
    lines = done.stderr.decode().splitlines()
    assert lines[1:] == ["error: stdout: No space left on device"]


def test_closed_streams_do_no_harm(scenario: Path) -> None:
    command = f"exec '{sys.executable}' -m sim run '{scenario}' >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("end", "said"),
    [(KeyboardInterrupt, "interrupted\n"), (bdb.BdbQuit, "the debugger was quit\n")],
)
def test_an_interrupt_is_code_130(
    end: type[BaseException],
    said: str,
    scenario: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(_simulator: Simulator) -> Outcome:
        raise end

    monkeypatch.setattr(Simulator, "run", interrupt)
    assert main(["run", str(scenario)]) == 130
    assert capsys.readouterr() == ("", said)


def test_progress_on_a_terminal_and_ctrl_c(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    path = write(tmp_path, rows=3_000_000, crashes=[], policy="row-first")
    terminal, end = pty.openpty()
    # A shell has its background jobs ignore Ctrl-C, and a program inherits that; one with a handler
    # of its own hands on the default.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "sim", "run", str(path), "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=end,
    )
    signal.signal(signal.SIGINT, handler)
    os.close(end)
    # The first progress is told when the run begins, so the signal finds it running.
    text = b""
    while b"of 3,000,000 rows" not in text:
        text += os.read(terminal, 1000)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == b""
    text += rest_of(terminal)
    assert process.returncode == 130
    assert b"Traceback" not in text
    assert text.replace(b"\r\n", b"\n").endswith(b" \rinterrupted\n")
    assert not (tmp_path / "out").exists()


def test_no_progress_without_a_terminal(scenario: Path) -> None:
    assert fresh("run", scenario).stderr.count(b"\n") == 1


@pytest.mark.parametrize("kind", [AssertionError, OSError, FileNotFoundError, MemoryError])
def test_a_mistake_of_ours_is_code_70_with_its_traceback_and_never_a_verdict(
    scenario: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Exception],
) -> None:
    def broken(_result: Any, _form: str) -> str:
        raise kind("a countdown is open and nothing is missing")

    monkeypatch.setattr(run, "render", broken)
    # No memory for a run is what its rows ask for; see test_more_rows_than_the_machine_holds.
    code = 2 if kind is MemoryError else 70
    assert main(["run", str(scenario)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    if code == 70:
        *_, traceback_end, line = err.splitlines()
        assert traceback_end == f"{kind.__name__}: a countdown is open and nothing is missing"
        assert line.startswith(f"internal error: {traceback_end}: this is a mistake of cellspec, ")


def test_the_table_of_exit_codes_is_in_help_and_on_a_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) +\| (.+?) +\|$", page, re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == CODES
    for command in ([], ["run"], ["check"], ["fuzz"], ["explore"]):
        assert main([*command, "--help"]) == 0
        assert capsys.readouterr().out.endswith(exit_codes_text())


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["run", "s.yaml"], 0),
        (["run", "s.yaml", "--trace", "-"], 0),
        (["run", "no.yaml"], 2),
        (["run"], 2),
        (["explore", "--columns", "1", "--rows", "1"], 0),
        (["fuzz", "--examples", "1"], 0),
    ],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_stderr_that_takes_nothing_changes_no_verdict(
    tmp_path: Path, command: list[str], code: int
) -> None:
    write(tmp_path).rename(tmp_path / "s.yaml")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sim", *command],
            stdout=subprocess.PIPE,
            stderr=full,
            cwd=tmp_path,
            timeout=120,
        )
    assert (done.returncode, done.stdout != b"") == (code, code == 0)


def test_sigterm_is_code_143_and_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, rows=3_000_000, crashes=[], policy="row-first")
    trace = tmp_path / "run.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "sim", "run", str(path), "--trace", str(trace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not list(tmp_path.glob("run.jsonl*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (143, b"", b"ended by SIGTERM\n")
    assert not trace.exists()


def test_the_message_of_a_violation_is_the_clause_and_what_happened(
    scenario: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def violate(_simulator: Simulator) -> Outcome:
        raise Violation("SCHED-02", "a\nb[3] starts while it is in flight")

    monkeypatch.setattr(Simulator, "run", violate)
    assert main(["run", str(scenario)]) == 1
    assert capsys.readouterr() == ("", "violated: SCHED-02: a b[3] starts while it is in flight\n")
