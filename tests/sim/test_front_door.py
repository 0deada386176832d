"""The console script, its examples, and what cannot take the place of the simulator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import cellspec
from cellspec.__main__ import main as main_of_script
from sim import commands
from sim.cli import main, parser_of_commands
from sim.examples import EXAMPLES, SWEEPS, example_path, is_path
from sim.experiments.sweep.spec import load_spec
from sim.scenario.loader import load_scenario

ROOT = Path(__file__).parents[2]
SCRIPT = [str(Path(sys.executable).with_name("cellspec"))]
MODULE = [sys.executable, "-m", "cellspec"]
SIM = [sys.executable, "-m", "sim"]

needs_script = pytest.mark.skipif(
    not Path(SCRIPT[0]).exists(), reason="cellspec was installed before it had a console script"
)
WAYS = [pytest.param(SCRIPT, marks=needs_script), MODULE, SIM]

# "Passes" whatever it is given.
IMPOSTOR = "import sys; print('every event satisfied the specification'); sys.exit(0)\n"


def run(command: list[str], *args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *args],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_module_of_commands_is_a_command() -> None:
    # The others are parts that commands share.
    names = {
        path.stem
        for path in Path(commands.__path__[0]).glob("*.py")
        if "def add_parser(" in path.read_text(encoding="utf-8")
    }
    text = parser_of_commands().format_help()
    listed = re.findall(r"^    ([a-z]+(?:-[a-z]+)*) ", text, re.MULTILINE)
    assert names == {name.replace("-", "_") for name in listed}


@pytest.mark.parametrize("way", WAYS)
def test_the_version_is_that_of_the_distribution(tmp_path: Path, way: list[str]) -> None:
    done = run(way, "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"cellspec {version('cellspec')}\n",
        "",
    )
    assert cellspec.__version__ == version("cellspec")


@pytest.mark.parametrize(
    ("way", "program"),
    [
        pytest.param(SCRIPT, "cellspec", marks=needs_script),
        (MODULE, "python -m cellspec"),
        (SIM, "python -m sim"),
    ],
)
def test_usage_names_the_program_that_was_started(
    tmp_path: Path, way: list[str], program: str
) -> None:
    assert run(way, "run", "--help", cwd=tmp_path).stdout.startswith(f"usage: {program} run ")
    wrong = run(way, "run", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.endswith(f"(see {program} run --help)\n")


def test_a_start_waits_for_no_library(tmp_path: Path) -> None:
    code = (
        "import sys; from cellspec.__main__ import main; code = main(sys.argv[1:]); "
        "heavy = {'numpy', 'pydantic', 'simpy', 'yaml', 'msgspec'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy or code else 0)"
    )
    for args in (["--version"], ["--help"], ["conformance", "--help"], ["backends", "--help"]):
        done = run([sys.executable, "-c", code], *args, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


# Examples


def test_the_wheel_holds_the_examples_and_each_has_one_source() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert wheel["targets"]["wheel"]["force-include"] == {
        f"simulations/{name}.yaml": f"sim/examples/{name}.yaml" for name in (*EXAMPLES, *SWEEPS)
    }
    assert not list((ROOT / "src" / "sim" / "examples").glob("*.yaml"))
    for name in EXAMPLES:
        assert example_path(name) == ROOT / "simulations" / f"{name}.yaml"
        # A copy in a wheel finds no file beside it.
        assert load_scenario(example_path(name)).files() == {}
    for name in SWEEPS:
        assert example_path(name, SWEEPS) == ROOT / "simulations" / f"{name}.yaml"
        assert load_spec(example_path(name, SWEEPS)).scenario in EXAMPLES


def test_examples_are_listed_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*EXAMPLES, *SWEEPS]
    assert all(line.endswith(".") for line in lines)


def test_an_example_is_printed_as_it_is_and_runs_from_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["examples", "text_to_sql"]) == 0
    text = capsys.readouterr().out
    assert text == example_path("text_to_sql").read_text(encoding="utf-8")
    Path("my.yaml").write_text(text, encoding="utf-8")
    few = ("--set", "rows=20", "--format", "csv")
    assert main(["run", "my.yaml", *few]) == 0
    of_file = capsys.readouterr().out
    assert main(["run", "text_to_sql", *few]) == 0
    assert capsys.readouterr().out == of_file


def test_a_bare_name_is_an_example_and_never_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = example_path("text_to_sql").read_text(encoding="utf-8")
    Path("text_to_sq").write_text(text, encoding="utf-8")
    assert main(["run", "text_to_sq"]) == 2
    assert capsys.readouterr().err == (
        "error: no example is called 'text_to_sq': did you mean text_to_sql? there are "
        "text_to_sql, reviews_rate_limited, barrier_option_c; ./text_to_sq is a file here: "
        "give ./text_to_sq to take that\n"
    )
    Path("text_to_sq").rename("text_to_sql")
    few = ("--set", "rows=5", "--format", "csv")
    assert main(["run", "text_to_sql", *few]) == 0
    assert (
        "runs the example; ./text_to_sql is a file here: give ./text_to_sql to run that\n"
        in capsys.readouterr().err
    )
    Path("text_to_sql").rename("text_to_sq")
    assert main(["run", "text_to_sql", *few]) == 0
    assert "is a file here" not in capsys.readouterr().err
    assert main(["run", "text_to_s"]) == 2
    assert "has a suffix or a folder, as in ./text_to_s\n" in capsys.readouterr().err
    assert main(["run", "./text_to_sq", "--set", "rows=5", "--format", "csv"]) == 0
    assert main(["examples", "no_such"]) == 2
    err = capsys.readouterr().err
    assert "no example is called 'no_such': there are text_to_sql, " in err


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("text_to_sql", False),
        ("my.yaml", True),
        ("./scenario", True),
        ("folder/scenario", True),
        ("/scenario", True),
        ("..", True),
    ],
)
def test_a_path_has_a_suffix_or_a_separator(word: str, expected: bool) -> None:
    assert is_path(word) is expected


# A module of the simulator's name


@needs_script
def test_a_sim_py_in_the_users_folder_changes_no_run_of_the_console_script(tmp_path: Path) -> None:
    (tmp_path / "sim.py").write_text(IMPOSTOR)
    done = run(SCRIPT, "run", "text_to_sql", "--set", "rows=20", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("text_to_sql: 20 rows × 11 columns")


@pytest.mark.parametrize("shadow", ["sim.py", "sim/__init__.py", "sim/cli.py"])
def test_a_sim_py_that_hides_the_simulator_is_named_and_nothing_is_run(
    tmp_path: Path, shadow: str
) -> None:
    place = tmp_path / shadow
    place.parent.mkdir(exist_ok=True)
    place.write_text(IMPOSTOR)
    done = run(MODULE, "run", "text_to_sql", "--set", "rows=20", cwd=tmp_path)
    if shadow == "sim/cli.py":
        # A folder without __init__.py gives way to a package that has one.
        assert (done.returncode, done.stdout[:20]) == (0, "text_to_sql: 20 rows")
        return
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {place}: expected the simulator of cellspec in ")
    assert done.stderr.count("\n") == 1


@needs_script
def test_a_sim_py_on_the_python_path_is_named_by_the_console_script(tmp_path: Path) -> None:
    (tmp_path / "sim.py").write_text(IMPOSTOR)
    done = run(SCRIPT, "run", "text_to_sql", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "another module of that name hides it" in done.stderr


# What needs an extra


def test_a_completion_script_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="needs the extra cellspec[completion]")
    for shell in ("bash", "zsh", "tcsh"):
        assert main(["--print-completion", shell]) == 0
        text = capsys.readouterr().out
        assert "cellspec" in text
        assert "conformance" in text
        assert "python -m sim" not in text


@pytest.mark.parametrize(
    ("absent", "args", "extra"),
    [
        ("shtab", ["--print-completion", "bash"], "completion"),
        ("pytest", ["conformance", "reference"], "conformance"),
    ],
)
def test_an_extra_that_is_absent_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    absent: str,
    args: list[str],
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    assert main_of_script(args) == 2
    assert capsys.readouterr().err.endswith(
        f"needs an optional dependency; in a checkout of cellspec: pip install '.[{extra}]'\n"
    )


def test_a_conformance_run_without_a_backend_misses_that_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["conformance"]) == 2
    err = capsys.readouterr().err
    assert "the following arguments are required: BACKEND (see " in err
    assert "..." not in err
