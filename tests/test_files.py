"""Outputs: whole or not at all, and only in place of files."""

from __future__ import annotations

import ast
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cellspec import SpecError
from cellspec.files import (
    GrowingFile,
    check_folder,
    check_target,
    locked,
    open_log,
    path_of,
    write_files,
)
from cellspec.trace import TraceReader
from sim.cli import main
from tests.replay.test_replay import barrier_twice
from tests.sim.test_cli import SCENARIO

SRC = Path(__file__).parent.parent / "src"
PRECIOUS = "precious\n"


def link(path: Path) -> None:
    (path.parent / "precious").write_text(PRECIOUS)
    path.symlink_to(path.parent / "precious")


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "nothing")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        # A name that is longer than a socket may have would be refused, and pytest's are long.
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


ODD: dict[str, Callable[[Path], None]] = {
    "a link": link,
    "a link ": link_to_nothing,
    "a pipe": os.mkfifo,
    "a socket": listening,
    "a device": device,
}


@pytest.fixture(params=list(ODD))
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A name of something other than a file, and its kind."""
    path = tmp_path / "target"
    ODD[request.param](path)
    return path, request.param.strip()


def unharmed(path: Path, before: os.stat_result) -> bool:
    after = path.lstat()
    beside = path.parent / "precious"
    return (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino) and (
        not beside.exists() or beside.read_text() == PRECIOUS
    )


def test_only_files_are_replaced(odd: tuple[Path, str]) -> None:
    path, what = odd
    before = path.lstat()
    message = f"{path}: cannot be written: it is {what}, and only files are replaced"
    with pytest.raises(SpecError) as caught:
        check_target(path)
    assert str(caught.value) == message
    with pytest.raises(SpecError) as caught:
        write_files(path.parent, {"other": "x", path.name: "x"})
    assert str(caught.value) == message
    words = f"it is {what}, and only files are replaced"
    with pytest.raises(OSError, match=words):
        GrowingFile(path)
    with pytest.raises(OSError, match=words):
        GrowingFile(path.parent / "new", partial=path)
    with pytest.raises(OSError, match=words):
        open_log(path)
    assert unharmed(path, before)
    assert not (path.parent / "other").exists()
    assert not (path.parent / "new").exists()
    assert not (path.parent / "nothing").exists()


def test_every_command_refuses_a_target_that_is_no_file(
    odd: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, what = odd
    before = path.lstat()
    scenario = tmp_path / "in.yaml"
    scenario.write_text(yaml.safe_dump(SCENARIO))
    trace = barrier_twice(tmp_path / "broken.jsonl")
    (tmp_path / "out").mkdir()
    odd_inside = tmp_path / "out" / "manifest.json"
    ODD["a pipe"](odd_inside)
    for arguments, named in (
        (["run", scenario, "--trace", path], path),
        (["run", scenario, "--out", tmp_path / "out"], odd_inside),
        (["check", trace, "--chrome", path], path),
        (["replay", trace, "--trace", path], path),
        (["replay", trace, "--html", path], path),
        (["shrink", trace, "--out", path], path),
        (["fuzz", "--examples", "1", "--case", path], path),
    ):
        assert main([str(one) for one in arguments]) == 2, arguments
        complaint = capsys.readouterr().err.splitlines()[-1]
        expected = "a pipe" if named == odd_inside else what
        assert f"{named}: cannot be written: it is {expected}, and only" in complaint
        assert complaint.endswith("; - writes to stdout") == ("--trace" in arguments)
    assert unharmed(path, before)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("run in.yaml --trace in.yaml", "in.yaml: cannot be written: it is what is read"),
        ("run in.yaml --trace out/../in.yaml", "it is what is read"),
        (
            "run replays.yaml --trace latencies.csv",
            "latencies.csv: cannot be written: it is what is",
        ),
        ("run out/scenario.yaml --out out", "out/scenario.yaml: cannot be written: it is what is"),
        ("run in.yaml --out out --trace out/result.json", "two outputs have this name"),
        ("check broken.jsonl --chrome broken.jsonl", "it is what is read"),
        ("replay broken.jsonl --trace broken.jsonl", "it is what is read"),
        ("replay broken.jsonl --html broken.jsonl", "it is what is read"),
        ("replay broken.jsonl --trace new --html out/../new", "two outputs have this name"),
        ("shrink broken.jsonl --out broken.jsonl", "it is what is read"),
        ("check broken.jsonl --chrome out", "out: cannot be written: it is a folder"),
    ],
)
def test_an_output_replaces_neither_an_input_nor_another_output(
    command: str,
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    for name in ("in.yaml", "out/scenario.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(SCENARIO))
    replay = {"model": "trace", "file": "latencies.csv", "column_s": "s"}
    replays = {**SCENARIO, "columns": [{**SCENARIO["columns"][0], "latency": replay}]}
    (tmp_path / "replays.yaml").write_text(yaml.safe_dump(replays))
    (tmp_path / "latencies.csv").write_text("s\n1\n")
    barrier_twice(tmp_path / "broken.jsonl")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert why in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_partial_file_is_made_anew_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text(PRECIOUS)
    partial = tmp_path / "run.partial"
    partial.write_text("of one that died")
    growing = GrowingFile(tmp_path / "run", partial=partial)
    growing.file.write(b"whole")
    # Somebody else takes the name while it grows.
    partial.unlink()
    partial.symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="another process writes it too"):
        growing.publish()
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "precious").read_text() == PRECIOUS


def test_a_text_that_utf_8_cannot_hold_is_written_with_its_escapes(tmp_path: Path) -> None:
    write_files(tmp_path, {"odd": "no file \udc80"})
    assert (tmp_path / "odd").read_text(encoding="utf-8") == "no file \\udc80"


def test_the_name_of_a_growing_file_is_looked_at_again_at_its_end(tmp_path: Path) -> None:
    growing = GrowingFile(tmp_path / "run")
    growing.file.write(b"whole")
    os.mkfifo(tmp_path / "run")
    with pytest.raises(OSError, match="it is a pipe"):
        growing.publish()
    growing.abandon()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_two_writers_of_one_trace_do_not_mix(tmp_path: Path) -> None:
    partial = tmp_path / "run.partial"
    first = GrowingFile(tmp_path / "run", partial=partial)
    second = GrowingFile(tmp_path / "run", partial=partial)
    first.file.write(b"first")
    second.file.write(b"second")
    with pytest.raises(OSError, match="another process writes it too"):
        first.publish()
    second.publish()
    assert (tmp_path / "run").read_bytes() == b"second"


def test_a_trace_goes_to_stdout_and_the_figures_to_stderr(tmp_path: Path) -> None:
    scenario = tmp_path / "in.yaml"
    scenario.write_text(yaml.safe_dump(SCENARIO))
    done = subprocess.run(
        [sys.executable, "-m", "sim", "run", scenario, "--trace", "-", "--format", "json"],
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert main(["run", str(scenario), "--trace", str(tmp_path / "run.jsonl")]) == 0
    assert done.stdout == (tmp_path / "run.jsonl").read_bytes()
    with TraceReader(tmp_path / "run.jsonl") as reader:
        assert sum(1 for _ in reader) > 100
    figures = done.stderr.decode().partition("\n")[2]
    assert json.loads(figures)["name"] == "small"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.yaml", "run.jsonl"]


def test_a_trace_whose_reader_leaves_is_no_error(tmp_path: Path) -> None:
    scenario = tmp_path / "in.yaml"
    scenario.write_text(yaml.safe_dump({**SCENARIO, "rows": 5_000}))
    command = f"'{sys.executable}' -m sim run '{scenario}' --trace - 2>err; echo $? >code"
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=60)
    assert (tmp_path / "code").read_text() == "141\n"
    assert "Traceback" not in (tmp_path / "err").read_text()


def test_a_replay_writes_its_trace_to_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = barrier_twice(tmp_path / "broken.jsonl")
    assert main(["replay", str(trace), "--trace", str(tmp_path / "again.jsonl")]) == 1
    capsys.readouterr()
    assert main(["replay", str(trace), "--trace", "-"]) == 1
    out, err = capsys.readouterr()
    assert out == (tmp_path / "again.jsonl").read_text()
    assert "violated: " in err


SIMULATIONS = SRC.parent / "simulations"
PYTHON = sorted([*SRC.rglob("*.py"), *SIMULATIONS.rglob("*.py")])


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.relative_to(SRC.parent).as_posix())
def test_one_module_waits_for_the_disk(path: Path) -> None:
    names = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    if path != SRC / "cellspec" / "files.py":
        assert not names & {"fsync", "fdatasync", "F_FULLFSYNC"}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no file system of processes")
@pytest.mark.parametrize("check", [check_folder, check_target])
def test_a_folder_that_can_hold_no_file_is_refused_whatever_its_permissions(
    check: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: True)
    with pytest.raises(
        SpecError, match=r"^/proc/report.*: cannot be written: no file can be made in /proc: \w"
    ):
        check("/proc/report/results.json")


@pytest.mark.parametrize("check", [check_folder, check_target, path_of])
def test_an_empty_name_names_no_place(check: Callable[[str], object]) -> None:
    with pytest.raises(SpecError, match=r"^expected the name of a file or folder, got an empty"):
        check("")


@pytest.mark.parametrize("option", [["--out"], ["--trace"]], ids=["a folder of results", "a trace"])
def test_a_command_refuses_an_empty_name_of_an_output(
    option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scenario = tmp_path / "in.yaml"
    scenario.write_text(yaml.safe_dump(SCENARIO))
    assert main(["run", str(scenario), *option, ""]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["in.yaml"]


# Engines, and models of engines, that keep their data in a folder of their own: what they write
# must survive worse, and is nobody's output.
STORAGE = {
    "cellspec/conformance/run/torn_writes.py",
    "cellspec/engine/storage/filesystem.py",
    "cellspec/engine/suspects.py",
    "cellspec/engines/rows/storage.py",
    "cellspec/engines/datadesigner/create_dataset.py",
    "cellspec/engines/datadesigner/scheduler_storage.py",
}


@pytest.mark.parametrize(
    "path", sorted(SRC.rglob("*.py")), ids=lambda path: path.relative_to(SRC).as_posix()
)
def test_outputs_are_written_in_one_place(path: Path) -> None:
    if path.relative_to(SRC).as_posix() in {"cellspec/files.py", *STORAGE}:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        assert name not in {"write_text", "write_bytes", "NamedTemporaryFile", "mkstemp"}
        if name == "open":
            modes = [one.value for one in node.args if isinstance(one, ast.Constant)]
            modes += [one.value.value for one in node.keywords if one.arg == "mode"]  # type: ignore[attr-defined]
            assert not [mode for mode in modes if set(str(mode)) & set("wax+")], ast.unparse(node)


def test_a_file_is_held_by_one_opener_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open_log(path) as one, open_log(path) as other:
        with locked(one), pytest.raises(BlockingIOError), locked(other):
            pass
        with locked(other):
            pass


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    write_files(tmp_path, {"raw": b"\xff\x00", "text": "é"})
    assert (tmp_path / "raw").read_bytes() == b"\xff\x00"
    assert (tmp_path / "text").read_bytes() == b"\xc3\xa9"
