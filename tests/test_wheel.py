"""The published files: the wheel, in an environment without any extra, and the sdist.

The commands are found in the parser and in the sources, so that a new one that does not work from
the plain wheel, or was forgotten here, fails. Run by ``make test-wheel``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import cellspec
from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance.run.case import Case
from cellspec.conformance.run.workload import Workload
from cellspec.exit_codes import exit_codes_text
from sim.cli import parser_of_commands
from sim.examples import EXAMPLES, SWEEPS
from tests.test_imports import TESTING_AN_ENGINE

pytestmark = pytest.mark.wheel

ROOT = Path(__file__).parent.parent
SCENARIO = ROOT / "simulations" / "text_to_sql.yaml"
UV = Path(sys.executable).with_name("uv")
ENGINE = ROOT / "tests" / "engines" / "reference_engine.py"

# How each command of `cellspec` is used, after its name, and the code that it ends with. The
# files are those that the uses before leave.
USES = {
    "run": (
        [
            *("{scenario}", "--set", "rows=40", "--trace", "run.jsonl"),
            *("--out", "out", "--report", "run.html"),
        ],
        0,
    ),
    # Intervals need an extra; see `test_what_needs_an_extra_names_it`.
    "sweep": (["concurrency_sweep", "--dry-run"], 0),
    "check": (["run.jsonl", "--chrome", "chrome.json"], 0),
    "fuzz": (["--examples", "4", "--case", "none.json"], 0),
    "explore": (["--graph", "a v:barrier(a)", "--out", "explored"], 0),
    "replay": (["case.json", "--html", "page.html", "--trace", "case.jsonl", "--pytest"], 0),
    "shrink": (["broken.jsonl", "--out", "small.jsonl"], 0),
    "schema": ([], 0),
    "backends": ([], 0),
    "new-backend": (["mine", "--out", "new"], 0),
    "examples": (["text_to_sql"], 0),
    # scipy is an extra too.
    "calibrate": (["run.jsonl"], 2),
    # It reads the folder that a sweep leaves, and there is none.
    "report": (["."], 2),
    "compare": (["{scenario}", "{scenario}"], 2),
    "tune": (["{scenario}", "--goal", "throughput"], 2),
    # pytest is an extra; see `test_what_needs_an_extra_names_it`.
    "conformance": (["reference"], 2),
}
# What is left out of the values that an option may have: it takes more than a few seconds, or it
# writes files that may not be there yet.
LEFT_OUT = {("explore", "--bounds"), ("new-backend", "--kind")}
# What an option is given with, where that is not what `USES` has: it is about several runs.
GIVEN_WITH = {("run", "--backend"): ["{scenario}", "--replications", "2"]}

CASE = Case(Workload((ColumnDescriptor("a", traits=ExecutionTraits.START),), rows=2))


def subcommands() -> dict[str, argparse.ArgumentParser]:
    for action in parser_of_commands()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("no subcommands")


def programs() -> Iterator[str]:
    """Every module that can be run: ``python -m NAME``."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        if re.search(r'^if __name__ == "__main__":', path.read_text(encoding="utf-8"), re.M):
            parts = path.relative_to(ROOT / "src").with_suffix("").parts
            yield ".".join(part for part in parts if part != "__main__")


def uv(*arguments: str | Path) -> None:
    done = subprocess.run([UV, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("bare")
    uv("build", "--wheel", "--out-dir", folder / "dist", ROOT)
    uv("venv", "--python", sys.executable, folder / "env")
    (wheel,) = (folder / "dist").glob("*.whl")
    python = folder / "env" / "bin" / "python"
    uv("pip", "install", "--python", python, "-c", ROOT / "constraints.txt", wheel)
    return python


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("uses")
    (made / "case.json").write_text(CASE.to_json(), encoding="utf-8")
    return made


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m`` with these arguments; or the console script, if they begin with its name."""
    script = str(python.with_name("cellspec"))
    command = (
        [script, *arguments[1:]] if arguments[0] == "cellspec" else [str(python), "-m", *arguments]
    )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_the_environment_is_bare(bare: Path, folder: Path) -> None:
    code = "import importlib.util as u; print([u.find_spec(x) for x in ('pytest', 'hypothesis')])"
    done = subprocess.run([bare, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.stdout == "[None, None]\n"


@pytest.mark.parametrize("name", list(programs()))
def test_every_program_prints_its_help(bare: Path, folder: Path, name: str) -> None:
    done = run(bare, folder, name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("name", list(subcommands()))
def test_every_command_prints_the_exit_codes(bare: Path, folder: Path, name: str) -> None:
    done = run(bare, folder, "cellspec", name, "--help")
    assert done.returncode == 0
    assert done.stdout.endswith(exit_codes_text())


def test_every_command_works_from_the_plain_wheel(bare: Path, folder: Path) -> None:
    assert set(USES) == set(subcommands())
    for name, (arguments, code) in USES.items():
        if name == "shrink":
            lines = (folder / "run.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            started = next(k for k, line in enumerate(lines) if '"event":"start"' in line)
            # A start twice: the smallest failure that there is.
            again = re.sub(r'"seq":\d+', f'"seq":{started + 1}', lines[started])
            broken = "".join([*lines[: started + 1], again])
            (folder / "broken.jsonl").write_text(broken, encoding="utf-8")
        used = [one.format(scenario=SCENARIO) for one in arguments]
        done = run(bare, folder, "cellspec", name, *used)
        assert done.returncode == code, f"{name}: {done.stdout}{done.stderr}"
        for option, value in choices(name):
            given = GIVEN_WITH.get((name, option), arguments)
            mine = [one.format(scenario=SCENARIO) for one in given]
            chosen = [option, value] if option.startswith("-") else [value]
            more = run(bare, folder, "cellspec", name, *mine, *chosen)
            assert more.returncode == code or names_an_extra(more), f"{name} {option} {value}"


def choices(name: str) -> Iterator[tuple[str, str]]:
    for action in subcommands()[name]._actions:
        for value in action.choices or ():
            # An argument without an option has the name that the help gives it.
            option = next(iter(action.option_strings), action.dest)
            if (name, option) not in LEFT_OUT:
                yield option, str(value)


def names_an_extra(done: subprocess.CompletedProcess[str]) -> bool:
    line = done.stderr.splitlines()[-1]
    return (
        done.returncode == 2
        and re.search(r"in a checkout of cellspec: pip install '\.\[\w+\]'$", line) is not None
    )


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["conformance", "reference"], "conformance"),
        (["compare", "text_to_sql", "text_to_sql"], "experiments"),
        (["tune", "text_to_sql", "--goal", "throughput"], "experiments"),
        (["--print-completion", "bash"], "completion"),
        (["fuzz", "--methods", "random", "--jobs", "2"], "parallel"),
        (["sweep", "concurrency_sweep", "--out", "swept"], "experiments"),
    ],
)
def test_what_needs_an_extra_names_it(
    bare: Path, folder: Path, arguments: list[str], extra: str
) -> None:
    done = run(bare, folder, "cellspec", *arguments)
    assert done.stderr.count("\n") == 1
    assert names_an_extra(done)
    assert f"pip install '.[{extra}]'" in done.stderr


@pytest.mark.parametrize("way", [["cellspec"], ["cellspec.__main__"], ["sim"]])
def test_the_first_command_of_the_readme_runs_anywhere(
    bare: Path, tmp_path: Path, way: list[str]
) -> None:
    assert run(bare, tmp_path, *way, "--version").stdout == f"cellspec {cellspec.__version__}\n"
    done = run(bare, tmp_path, *way, "run", "text_to_sql")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("text_to_sql: 2,000 rows × 11 columns = 22,000 cells\n")
    assert "every event satisfied the specification" in done.stdout


def test_every_example_of_the_wheel_is_the_file_of_the_repository(
    bare: Path, tmp_path: Path
) -> None:
    for name in (*EXAMPLES, *SWEEPS):
        source = ROOT / "simulations" / f"{name}.yaml"
        printed = run(bare, tmp_path, "cellspec", "examples", name).stdout
        assert printed == source.read_text(encoding="utf-8")
        if name in SWEEPS:
            continue
        few = run(bare, tmp_path, "cellspec", "run", name, "--set", "rows=100", "--format", "csv")
        assert few.returncode == 0, few.stderr


def test_a_sim_py_beside_the_user_takes_the_place_of_nothing(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "sim.py").write_text("import sys; sys.exit(0)\n")
    few = ("run", "text_to_sql", "--set", "rows=20")
    done = run(bare, tmp_path, "cellspec", *few)
    assert (done.returncode, done.stdout[:21]) == (0, "text_to_sql: 20 rows ")
    hidden = run(bare, tmp_path, "cellspec.__main__", *few)
    assert (hidden.returncode, hidden.stdout) == (2, "")
    assert "another module of that name hides it" in hidden.stderr


def test_an_engine_is_tested_without_the_libraries_of_the_simulator(
    bare: Path, tmp_path: Path
) -> None:
    # The plugin is pytest's, which is no part of the plain wheel.
    code = TESTING_AN_ENGINE.replace(", cellspec.conformance.pytest.plugin", "")
    done = subprocess.run(
        [bare, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stderr, done.stdout) == ("", "[]\n")


def test_an_engine_that_speaks_lines_is_checked_from_the_plain_wheel(
    bare: Path, folder: Path
) -> None:
    done = run(bare, folder, "cellspec.engines.lines", str(bare), str(ENGINE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sdist_holds_every_file_of_the_repository(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not in a repository: this is an sdist")
    uv("build", "--sdist", "--out-dir", tmp_path, ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        held = {name.partition("/")[2] for name in packed.getnames()}
    assert set(listed.stdout.splitlines()) - held == set()
