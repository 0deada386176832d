"""What the pages show is what the commands print: both are read here, and written here.

A page shows blocks of shell commands and of Python, and what they print. `tests/test_docs.py` runs
every block and compares what is shown. This module reads the pages and runs the blocks:

    python -m tests.pages --write [PAGE ...]    # everything that is shown, as it is printed now
    python -m tests.pages 'make conformance'    # run a command, compare what the pages show of it

A block of ``text`` shows what the block before it printed, if a comment says so, which no renderer
shows. Its parts are separated by ``|``:

==================================  ================================================================
comment before the block            what the block shows
==================================  ================================================================
``<!-- prints: A .. B | C -->``     the lines from one that contains A to one that contains B, then
                                    one that contains C, each looked for after the part before;
                                    ``…`` stands between parts that were not next to each other
``<!-- prints: .. -->``             everything
``<!-- prints of `make run`: … -->``  the same, of that command instead of the block before
==================================  ================================================================

``…`` also stands for times. A command that is not run stands in `NOT_RUN` with the reason, a block
of text that no command prints in `NOT_PRINTED`. Numbers within sentences are in `FIGURES`.
``plans/your-engine.md`` is more than its blocks: `tests.conformance.tutorial` follows it step by
step.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "ALL",
    "COMPARED_IN_CI",
    "FIGURES",
    "IN_CI",
    "NEEDS",
    "NOT_PRINTED",
    "NOT_RUN",
    "PAGES",
    "ROOT",
    "SLOW_PAGES",
    "WALK",
    "Block",
    "Figure",
    "blocks_of",
    "commands_of",
    "picked",
    "recipe",
    "rewritten",
    "run_python",
    "run_script",
    "script_of",
    "shell",
    "shown_scripts",
]

ROOT = Path(__file__).parents[1]
WALK = ROOT / "plans" / "your-engine.md"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            page
            for folder in ("examples", "plans", "specs", "simulations")
            for page in ROOT.glob(f"{folder}/**/*.md")
        ),
    ]
)

ALL = ".."
_BLOCK = re.compile(
    r"^(?:<!-- prints(?: of `(?P<command>[^`\n]+)`)?: (?P<prints>[^\n]*) -->\n)?"
    r"```(?P<kind>\w*)(?: file=(?P<file>\S+))?\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINES_SHOWN = 40
_CHANGING = (
    (re.compile(r"^=+ (.*?) =+$"), r"=== \1 ==="),
    (re.compile(r" in \d+\.\d+s\b( \([0-9:]+\))?"), " in …"),
    (re.compile(r"CPU time × \d+\.\d+"), "CPU time × …"),
)

# Commands that are not run

IN_CI = "`.ci/run` runs it"
COMPARED_IN_CI = "`.ci/run` runs it and compares what the pages show of it: it takes a minute"
MINUTES = "it takes minutes to hours, and writes pages"
RELEASES = "it installs releases of DataDesigner"
EXPLORED = "`make explore`, which `.ci/run` runs, explores the same and compares the same page"

NOT_RUN = {
    ". .venv/bin/activate": "the tests take the interpreter that runs them",
    "make test": "it is what runs the pages",
    "pytest -m invariant": "`make test` runs these tests, and all others",
    "make conformance": COMPARED_IN_CI,
    "cellspec conformance reference": COMPARED_IN_CI,
    "make explore": IN_CI,
    "make odd": MINUTES,
    "make restores": MINUTES,
    "make record": "it takes minutes, and writes recordings; tests/sim judges those that are there",
    "make recompute": "it takes minutes; `.ci/run` runs a fifth of it",
    "make theory": "it takes minutes; `make test` runs the short cases",
    "make sweeps": "it takes minutes; `make test` kills a small sweep",
    "make differential": "it takes minutes; `.ci/run` compares 80",
    "make validation": "it writes pages; tests/theory compares them",
    "make experiments": "it takes minutes; tests/barriers repeats some of its runs",
    "make coverage": MINUTES,
    "make test-browser": IN_CI,
    "make test-clusters": IN_CI,
    "make test-datadesigner": IN_CI,
    "make test-long": IN_CI,
    "make test-model": IN_CI,
    "make test-pages": IN_CI,
    "make test-sdist": IN_CI,
    "make test-wheel": IN_CI,
    "make power": MINUTES,
    "make test-pythons": "it wants several versions of Python; minutes",
    "make specs": MINUTES,
    "python -m tests.mutation state.slots": MINUTES,
    "python -m tests.mutation state.slots --open": "it prints what the run found",
    "make bench": MINUTES,
    "make bench-engines": MINUTES,
    "make engines": MINUTES,
    "make fuzz": MINUTES,
    "make methods": MINUTES,
    "make mutation": MINUTES,
    "python -m tests.matrix.methods --write": MINUTES,
    "python -m tests.explore.rumur --write": MINUTES,
    "python -m tests.pages --write": "it writes these pages",
    "apt-get install rumur gcc": "it installs packages of the system; `.ci/run` does the same",
    "cellspec run simulations/million.yaml": "it takes a minute; `make bench` runs it",
    "python -m sim explore --bounds 1 --expect specs/exploration.md": EXPLORED,
    "python -m sim explore --bounds 2 --expect specs/exploration.md --jobs 2": EXPLORED,
    "python -m sim explore --bounds 3 --expect specs/exploration.md --out explored "
    "--resume": MINUTES,
    "python -m simulations.releases --release 0.9.6 --max-examples 25": RELEASES,
    "python -m simulations.releases --twice": RELEASES,
    "python -m simulations.releases --scripts": RELEASES,
    "python -m simulations.releases --page": MINUTES,
    "python -m simulations.releases --published": "it writes pages; tests/releases compares them",
    "python -m simulations.releases simulations/releases/yours.toml": "the reader's own file",
}

# The same command within bounds, or with something in place of what the reader has.
_VIOLATED = "tests/cases/traces/hedged_request.jsonl"
_HANGS = "cellspec conformance examples.hangs:Backend"
_HANGS_REPLAY = (
    "cellspec replay .cellspec/cases/examples.hangs-Backend-SCHED-12.json "
    "--backend examples.hangs:Backend"
)
_INSTEAD = {
    _HANGS: f"{_HANGS} || test $? = 1",
    _HANGS_REPLAY: f"{_HANGS} > hangs.txt || test $? = 1; {_HANGS_REPLAY} || test $? = 1",
    "cellspec fuzz --time 60s": "cellspec fuzz --time 1s",
    "cellspec replay CASE": f"cellspec replay {_VIOLATED} || test $? = 1",
    "cellspec shrink CASE": f"cellspec shrink {_VIOLATED}",
    "cellspec conformance lines": "cellspec conformance lines -q --profile=core --max-examples=2",
    "HYPOTHESIS_PROFILE=dev python -m pytest tests/machine/test_stateful.py": (
        "HYPOTHESIS_PROFILE=dev python -m pytest -q --collect-only tests/machine/test_stateful.py"
    ),
}

# What a command needs beside the package: the marker of the tests that have it, and a word of it.
NEEDS = {"node": "node ", "rumur": "rumur one.m", "datadesigner": "text_to_sql_azure"}

# Pages whose commands make dozens of runs each; `make test-pages` runs and compares them.
SLOW_PAGES = (
    "plans/every-day.md",
    "plans/ten-questions.md",
    "simulations/sweeps.md",
    "simulations/tuning.md",
)

# Pages whose every block is written by a command, and blocks of text that no command prints

_BENCH = "`make bench` writes the page; `tests/benchmarks` compares it with its raw figures"
NOT_PRINTED = {
    "simulations/releases/datadesigner.md": "`make engines` writes the page from recorded runs",
    "simulations/results/benchmarks.md": _BENCH,
    "specs/protocol/README.md: say hello": "pseudo-code",
    "specs/protocol/README.md: # my_engine.py": "the reader's own module",
    'specs/protocol/README.md: → {"event":"run"': "tests/engines/test_node.py compares it",
}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page.

    Attributes:
        kind: ``python``, ``diff``, ``sh``, ``text``, …
        file: the file that it writes or changes; "" if none.
        prints: which lines of an output it shows; "" if it shows none.
        command: the command that prints them; "" for the block before.
        body: what stands between the fences.
        at: where in the page the body begins.
    """

    kind: str
    file: str
    prints: str
    command: str
    body: str
    at: int


def blocks_of(page: str, start: int = 0, stop: int | None = None) -> Iterator[Block]:
    """The fenced blocks of a part of a page, in its order."""
    for found in _BLOCK.finditer(page, start, len(page) if stop is None else stop):
        parts = {name: found[name] or "" for name in ("kind", "file", "prints", "command", "body")}
        yield Block(**parts, at=found.start("body"))


# Shell


def commands_of(block: Block) -> list[str]:
    """The commands of a block, without comments, as they are named in `NOT_RUN`."""
    lines = [re.sub(r"(^|\s+)#.*$", "", line).strip() for line in block.body.splitlines()]
    return [line.replace(".venv/bin/", "") if line[:2] != ". " else line for line in lines if line]


def script_of(commands: Sequence[str]) -> str:
    """What is run of some commands: those of `NOT_RUN` left out, `make run` as its recipe."""
    run = [_INSTEAD.get(line, line) for line in commands if line not in NOT_RUN]
    return "\n".join(recipe(line[5:]) if line.startswith("make ") else line for line in run)


def recipe(target: str) -> str:
    """The commands of a target of the Makefile, for the interpreter of the tests."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n\t\t", "")
    found = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)*)", text, re.MULTILINE)
    assert found is not None, f"the Makefile has no target {target}"
    lines = re.sub(r"^\t", "", found[1], flags=re.MULTILINE).replace("$(BIN)/", "")
    return lines.rstrip("\n")


def shell(script: str, folder: Path, *, both: bool) -> tuple[int, str, str]:
    """Run commands in a folder: the exit code, stdout, and stderr where that is not in stdout."""
    ours = ("PYTEST", "HYPOTHESIS", "COV_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "COLUMNS": "80",
        "PY_COLORS": "0",
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if both else subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout, done.stderr or ""


@lru_cache(maxsize=64)
def run_script(script: str) -> str:
    """What commands print on stdout, in a folder that looks like the checkout; each runs once.

    Raises:
        AssertionError: one of them ended badly.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for item in ROOT.iterdir():
            if item.name[0] != ".":
                (folder / item.name).symlink_to(item)
        code, out, err = shell(f"set -e\n{script}", folder, both=False)
    assert code == 0, f"{script}\nended with {code}:\n{_last(out)}\n{_last(err)}"
    return out


def _last(output: str) -> str:
    return "\n".join(output.splitlines()[-_LINES_SHOWN:])


# Python


def run_python(page: Path, text: str) -> dict[Block, str]:
    """Run the Python blocks of a page in order, in this process.

    Returns:
        What each block that shows an output of theirs should show.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    shown: dict[Block, str] = {}
    printed, by_python = "", False
    for block in blocks_of(text):
        if block.kind == "python" and block.body.startswith(">>>"):
            names = _run_doctest(page, text, block, names)
        elif block.kind == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                _run_python_block(page, text, block, names)
            printed = out.getvalue()
        elif block.prints and not block.command and by_python:
            shown[block] = picked(block.prints, printed)
        by_python = block.kind == "python" or (by_python and block.kind == "text")
    return shown


def _run_python_block(page: Path, text: str, block: Block, names: dict[str, object]) -> None:
    # Blank lines put the block on its own line of the page, for a traceback's sake.
    lines = "" if block.file else "\n" * text.count("\n", 0, block.at)
    name = block.file or str(page)
    exec(compile(lines + block.body, name, "exec", dont_inherit=True), names)


def _run_doctest(
    page: Path, text: str, block: Block, names: dict[str, object]
) -> dict[str, object]:
    line = text.count("\n", 0, block.at)
    test = doctest.DocTestParser().get_doctest(
        block.body, names, f"{page}:{line + 1}", str(page), line
    )
    report: list[str] = []
    failed = doctest.DocTestRunner().run(test, out=report.append, clear_globs=False).failed
    assert not failed, "".join(report)
    return test.globs


# Outputs


def shown_by(text: str, *, replace: Collection[str] = ()) -> dict[Block, str]:
    """What each block of a page should show of what shell commands print.

    Args:
        text: the page.
        replace: commands that are not run.
    """
    scripts = shown_scripts(text, replace=replace)
    return {block: picked(block.prints, run_script(script)) for block, script in scripts.items()}


def shown_scripts(text: str, *, replace: Collection[str] = ()) -> dict[Block, str]:
    """The commands whose output each block of a page shows.

    Args:
        text: the page.
        replace: commands that are not run; the blocks that show them are left out.
    """
    shown: dict[Block, str] = {}
    before: Block | None = None
    for block in blocks_of(text):
        if block.kind in ("sh", "python"):
            before = block
        elif block.command and block.command not in replace:
            shown[block] = recipe_or(block.command)
        elif block.prints and not block.command and before and before.kind == "sh":
            shown[block] = script_of(commands_of(before))
    return shown


def recipe_or(command: str) -> str:
    """A command as it is run, though it stands in `NOT_RUN`."""
    return recipe(command[5:]) if command.startswith("make ") else command


def picked(prints: str, output: str) -> str:
    """The lines of an output that a block shows."""
    lines = [_steady(line) for line in output.splitlines()]
    if prints == ALL:
        return "".join(f"{line}\n" for line in lines)
    shown: list[str] = []
    at = 0
    for part in prints.split(" | "):
        first, _, last = part.partition(" .. ")
        start = _find(lines, first, at, output)
        stop = _find(lines, last, start + 1, output) if last else start
        if shown and start > at:
            shown.append("…")
        shown += lines[start : stop + 1]
        at = stop + 1
    return "".join(f"{line}\n" for line in shown)


def _find(lines: Sequence[str], text: str, start: int, output: str) -> int:
    for number in range(start, len(lines)):
        if text in lines[number]:
            return number
    raise AssertionError(f"{text!r} is not printed; the last lines are\n{_last(output)}")


def _steady(line: str) -> str:
    for changing, steady in _CHANGING:
        line = changing.sub(steady, line)
    return line.rstrip()


# Numbers within sentences


@dataclass(frozen=True, slots=True)
class Figure:
    """A sentence of a page whose numbers are computed.

    Attributes:
        page: its path from the root.
        sentence: some of its words, with the names of numbers in braces.
    """

    page: str
    sentence: str

    def pattern(self) -> re.Pattern[str]:
        """Finds the sentence; each number is a group with its name."""
        words = [
            re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[\\d,.:]*\\d)", re.escape(word))
            for word in self.sentence.split()
        ]
        return re.compile(r"\s+".join(words))

    def found(self, text: str) -> re.Match[str]:
        """Where it stands.

        Raises:
            AssertionError: it stands there more than once, or not at all.
        """
        found = list(self.pattern().finditer(text))
        assert len(found) == 1, f"{self.page} must say once: {self.sentence}"
        return found[0]

    def numbers(self) -> dict[str, str]:
        """The numbers as they are."""
        return {name: _NUMBERS[name]() for name in self.pattern().groupindex}


FIGURES = (
    Figure("README.md", "as {clauses} numbered clauses"),
    Figure("README.md", "{engine_clauses} of them judge an engine"),
    Figure("README.md", "and {endpoint_clauses} its calls at a model endpoint"),
    Figure("README.md", "other {own_clauses} say how"),
    Figure("README.md", "pipeline: {run_rows} rows"),
    Figure("README.md", "{run_hours} hours of virtual time at {run_limit} requests in flight"),
    Figure("README.md", "busy {run_busy} % of them"),
    Figure("README.md", "cost {lost} % of the paid worker"),
    Figure("README.md", "{most} in flight deliver {faster} times as much as {run_limit}"),
    Figure("README.md", "`make engines` runs {releases} releases"),
    Figure("README.md", "an engine in {node_lines} lines of JavaScript"),
    Figure("specs/protocol/README.md", "an engine in {node_lines} lines of JavaScript"),
    Figure("specs/model/README.md", "{model_lines} lines, written by hand"),
    Figure("specs/model/README.md", "each of {mistakes} mistakes"),
    Figure("plans/execution-graph.md", "may need at most {max_needs} columns directly"),
    Figure("plans/execution-graph.md", "may need {max_needs} columns directly, and not"),
    Figure("plans/execution-graph.md", "takes {set_mb} MB for its table alone"),
)


def _clauses(judged: str = "") -> str:
    """How many clauses there are of what is judged; of everything if that is not said."""
    from cellspec.clauses import clauses
    from cellspec.conformance.judge.profiles import ENGINE_CLAUSES

    def judges(number: str) -> str:
        if number in ENGINE_CLAUSES:
            return "engine"
        return "endpoint" if clauses()[number].chapter == "endpoints" else "own"

    return str(sum(judged in ("", judges(number)) for number in clauses()))


@lru_cache(maxsize=1)
def _run() -> Any:
    return json.loads(run_script(f"{recipe('run')} --format json"))


def _limit() -> Any:
    (found,) = (one for one in _run()["by_resource"] if one["limit"])
    return found


def _scenario() -> Any:
    return yaml.safe_load((ROOT / "simulations" / "text_to_sql.yaml").read_text(encoding="utf-8"))


def _most() -> int:
    """How many requests the endpoint of `make run` serves at once."""
    found: int = _scenario()["endpoints"][_limit()["resource"]]["max_in_flight"]
    return found


def _faster() -> str:
    """The throughput with as many in flight, in that of the scenario's limit; without crashes."""
    rates = []
    for limit in (_most(), _limit()["limit"]):
        settings = (f"limits.resources.{_limit()['resource']}={limit}", "crashes=[]")
        options = " ".join(f"--set '{setting}'" for setting in settings)
        rates.append(json.loads(run_script(f"{recipe('run')} {options} --format json")))
    return f"{rates[0]['rows_per_s'] / rates[1]['rows_per_s']:.1f}"


def _releases() -> str:
    engines = tomllib.loads((ROOT / "simulations/releases/datadesigner.toml").read_text("utf-8"))
    return str(len(engines["releases"]))


def _lines(path: str, to: int) -> str:
    count = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    return str(round(count / to) * to)


def _max_needs() -> str:
    from cellspec.graph.rules import MAX_NEEDS

    return str(MAX_NEEDS)


def _mistakes() -> str:
    from tests.explore.rumur import MISTAKES

    return str(len(MISTAKES))


_NUMBERS: Mapping[str, Callable[[], str]] = {
    "clauses": _clauses,
    "engine_clauses": lambda: _clauses("engine"),
    "endpoint_clauses": lambda: _clauses("endpoint"),
    "own_clauses": lambda: _clauses("own"),
    "run_rows": lambda: f"{_run()['rows']:,}",
    "run_hours": lambda: f"{_run()['makespan_s'] / 3600:.1f}",
    "run_limit": lambda: str(_limit()["limit"]),
    "run_busy": lambda: f"{100 * _limit()['utilisation']:.0f}",
    "lost": lambda: f"{100 * _run()['busy_lost_share']:.2f}",
    "most": lambda: str(_most()),
    "faster": _faster,
    "releases": _releases,
    "node_lines": lambda: _lines("examples/node/engine.mjs", 10),
    "model_lines": lambda: _lines("specs/model/cellspec.m", 100),
    "max_needs": _max_needs,
    "mistakes": _mistakes,
    "set_mb": lambda: str(sys.getsizeof(set(range(10**6))) // 10**6),
}


# Writing


def rewritten(page: Path) -> str:
    """A page with everything that it shows as it is printed now."""
    text = page.read_text(encoding="utf-8")
    shown = run_python(page, text) | shown_by(text)
    for block in sorted(shown, key=lambda block: -block.at):
        text = text[: block.at] + shown[block] + text[block.at + len(block.body) :]
    for figure in FIGURES:
        if ROOT / figure.page == page:
            text = _with_numbers(figure, text)
    return text


def _with_numbers(figure: Figure, text: str) -> str:
    found = figure.found(text)
    now = figure.numbers()
    for name in sorted(now, key=found.start, reverse=True):
        text = text[: found.start(name)] + now[name] + text[found.end(name) :]
    return text


def _write(names: Sequence[str]) -> int:
    pages = [(Path.cwd() / name).resolve() for name in names] or PAGES
    unknown = [str(page) for page in pages if page not in PAGES]
    if unknown:
        print(f"error: no such page: {', '.join(unknown)}", file=sys.stderr)
        return 2
    for page in pages:
        print(page.relative_to(ROOT), file=sys.stderr)
        if page == WALK:
            from tests.conformance import tutorial as walk

            walk.write()
        else:
            page.write_text(rewritten(page), encoding="utf-8")
    return 0


def _compare(command: str) -> int:
    """Run a command, print what it prints, and compare what the pages show of it."""
    try:
        output = run_script(recipe_or(command))
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1
    print(output, end="")
    stale = 0
    for page in PAGES:
        for block in blocks_of(page.read_text(encoding="utf-8")):
            if block.command == command and block.body != picked(block.prints, output):
                name = page.relative_to(ROOT)
                print(f"{name} shows something else of `{command}`", file=sys.stderr)
                stale = 1
    if stale:
        print("to write it: python -m tests.pages --write", file=sys.stderr)
    return stale


def main(arguments: Sequence[str]) -> int:
    """The command line; `__doc__` says what it takes."""
    if arguments[:1] == ["--write"]:
        return _write(arguments[1:])
    if len(arguments) == 1 and arguments[0][:1] != "-":
        return _compare(arguments[0])
    print("usage: python -m tests.pages (--write [PAGE ...] | COMMAND)", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
