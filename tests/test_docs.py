"""What the pages say holds: code runs, links lead somewhere, clauses exist, numbers are right."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellspec.clauses import chapters, clauses
from cellspec.conformance.judge.profiles import ENGINE_CLAUSES
from cellspec.conformance.run.backend import CAPABILITIES
from sim.cli import main
from tests.pages import (
    COMPARED_IN_CI,
    FIGURES,
    IN_CI,
    NEEDS,
    NOT_PRINTED,
    NOT_RUN,
    PAGES,
    ROOT,
    SLOW_PAGES,
    WALK,
    Block,
    Figure,
    blocks_of,
    commands_of,
    picked,
    recipe,
    rewritten,
    run_python,
    run_script,
    script_of,
    shown_scripts,
)
from tests.test_architecture_rooms import ROOMS, SIM, SUITE

PLAN = ROOT / "plans" / "execution-graph.md"
IN_CI_FILE = ROOT / ".ci" / "run"
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
OTHERS = {page: text for page, text in TEXTS.items() if page != WALK}


def name(page: Path) -> str:
    """A page by its path from the root."""
    return str(page.relative_to(ROOT))


def written_elsewhere(page: Path) -> bool:
    """Whether a command writes the whole page."""
    return name(page) in NOT_PRINTED


each_page = pytest.mark.parametrize("page", PAGES, ids=name)


def prose(text: str) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# What is run, and what is shown


def scripts() -> Iterator[Any]:
    """Each script of a shell block of all pages but the walk, once, as parameters.

    With it stand the blocks that show its output, and as markers what it needs.
    """
    in_ci = {command for command, reason in NOT_RUN.items() if reason == COMPARED_IN_CI}
    places: dict[str, list[str]] = {}
    shown: dict[str, list[Block]] = {}
    for page, text in OTHERS.items():
        for block in blocks_of(text):
            if block.kind == "sh" and not written_elsewhere(page):
                where = f"{name(page)}:{text.count(chr(10), 0, block.at) + 1}"
                places.setdefault(script_of(commands_of(block)), []).append(where)
        for block, script in shown_scripts(text, replace=in_ci).items():
            where = f"{name(page)}:{text.count(chr(10), 0, block.at) + 1}"
            places.setdefault(script, []).append(where)
            shown.setdefault(script, []).append(block)
    for script, at in places.items():
        if script:
            marked = list(marks(script, at))
            yield pytest.param(script, shown.get(script, []), id=at[0], marks=marked)


def marks(script: str, places: Iterable[str]) -> Iterator[pytest.MarkDecorator]:
    for marker, word in NEEDS.items():
        if word in script:
            yield getattr(pytest.mark, marker)
    if all(where.partition(":")[0] in SLOW_PAGES for where in places):
        yield pytest.mark.pages


@pytest.mark.parametrize(("script", "shown"), list(scripts()))
def test_a_shell_block_ends_well_and_prints_what_pages_show(
    script: str, shown: list[Block], request: pytest.FixtureRequest
) -> None:
    needs = [marker for marker in NEEDS if request.node.get_closest_marker(marker)]
    missing = [marker for marker in needs if not is_here(marker)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    printed = run_script(script)
    for block in shown:
        assert block.body == picked(block.prints, printed), AGAIN


def test_every_block_that_shows_an_output_is_compared() -> None:
    """A block whose commands are none would show the output of nothing."""
    for text in OTHERS.values():
        assert all(shown_scripts(text).values())


def is_here(needed: str) -> bool:
    if needed == "datadesigner":
        shared = ROOT.parent / "shared" / "data"
        return shared.is_dir() and importlib.util.find_spec("data_designer") is not None
    return shutil.which(needed) is not None


@pytest.mark.parametrize("page", OTHERS, ids=name)
def test_a_page_shows_what_its_code_prints(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for block, printed in run_python(page, TEXTS[page]).items():
        assert block.body == printed, AGAIN


AGAIN = "to write it: python -m tests.pages --write"


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.sentence)
def test_a_number_in_a_sentence_is_the_computed_one(figure: Figure) -> None:
    found = figure.found(TEXTS[ROOT / figure.page])
    assert found.groupdict() == figure.numbers(), AGAIN


@pytest.mark.parametrize("page", OTHERS, ids=name)
def test_a_block_of_text_is_an_output_or_has_a_reason(page: Path) -> None:
    for block in blocks_of(TEXTS[page]):
        if block.kind in ("text", ""):
            assert block.prints or reason(page, block), f"{name(page)}: {block.body[:60]!r}"


def reason(page: Path, block: Block) -> str:
    """Why no command prints a block of text; "" if nothing is said."""
    keys = [key for key in NOT_PRINTED if key == name(page)]
    keys += [key for key in NOT_PRINTED if f"{name(page)}: {block.body}".startswith(key + "")]
    return NOT_PRINTED[keys[0]] if keys else ""


def test_the_job_for_every_day_runs_what_the_shell_block_runs() -> None:
    blocks = list(blocks_of(TEXTS[ROOT / "plans" / "every-day.md"]))
    shown = next(block.body for block in blocks if "--conformance-baseline" in block.body)
    job = yaml.safe_load(next(block.body for block in blocks if block.kind == "yaml"))
    steps = job["jobs"]["conformance"]["steps"]
    (step,) = (step for step in steps if "pytest" in step.get("run", ""))
    (suite,) = re.findall(r'^suite="(.*)"$', shown, re.MULTILINE)
    (options,) = re.findall(r"^\$suite (--conformance-baseline.*?) \|\|", shown, re.MULTILINE)
    short = {"--profile=core", "--max-examples=60"}
    assert (
        set(shlex.split(step["run"].replace("\\\n", " ")))
        == {*suite.split(), *options.split()} - short
    )


def test_the_job_for_every_day_installs_the_package_from_a_copy_that_it_has() -> None:
    blocks = blocks_of(TEXTS[ROOT / "plans" / "every-day.md"])
    job = yaml.safe_load(next(block.body for block in blocks if block.kind == "yaml"))
    steps = job["jobs"]["conformance"]["steps"]
    (copy,) = (step["with"]["path"] for step in steps if "repository" in step.get("with", {}))
    (install,) = (step["run"] for step in steps if "pip install" in step.get("run", ""))
    assert f"./{copy}[conformance]" in shlex.split(install)


def test_no_exception_is_left_over() -> None:
    commands = {
        command
        for page, text in OTHERS.items()
        if not written_elsewhere(page)
        for block in blocks_of(text)
        if block.kind == "sh"
        for command in commands_of(block)
    }
    assert set(NOT_RUN) <= commands
    bodies = [
        f"{name(page)}: {block.body}" for page, text in OTHERS.items() for block in blocks_of(text)
    ]
    for key in NOT_PRINTED:
        assert any(body.startswith(key) for body in bodies), key


def test_no_shell_block_hides_from_the_reader_of_pages() -> None:
    for page, text in TEXTS.items():
        read = sum(1 for _ in blocks_of(text))
        assert text.count("```") - 2 * read == text.count("````"), name(page)


def test_what_a_page_says_of_make_and_of_ci_holds() -> None:
    lines = IN_CI_FILE.read_text(encoding="utf-8").splitlines()
    ci = [line.strip() for line in lines]
    for command, why in NOT_RUN.items():
        if why == IN_CI:
            assert command in ci
        if why == COMPARED_IN_CI and command.startswith("make "):
            assert f".venv/bin/python -m tests.pages '{command}'" in ci
    for text in TEXTS.values():
        for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)(?= *(?:`|#|$))", text, re.MULTILINE):
            recipe(target)


def test_the_conformance_command_of_the_readme_is_what_make_runs() -> None:
    commands = [
        command
        for block in blocks_of(TEXTS[ROOT / "README.md"])
        if block.kind == "sh"
        for command in commands_of(block)
    ]
    assert recipe("conformance") in commands


def test_writing_the_pages_changes_nothing_that_is_right(tmp_path: Path) -> None:
    page = ROOT / "plans" / "virtual-time.md"
    assert rewritten(page) == TEXTS[page]
    del tmp_path


def test_no_page_installs_the_package_from_where_it_is_not_published() -> None:
    sources = {path: path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py")}
    for page, text in (TEXTS | sources).items():
        assert not re.findall(r"pip install ['\"]?cellspec", text), name(page)


# Names of files and functions

HOUSE = ROOT / "plans" / "house.md"
NAMING = [HOUSE, ROOT / "CONTRIBUTING.md"]
CORE = ROOT / "src" / "cellspec"
HOMES = (ROOT, CORE, CORE.parent / "sim", ROOT / "tests/matrix")
"""The folders that a name of a file may be read from."""


def named_in(page: Path) -> list[str]:
    """The paths that a page names in code font, each with ``::`` and a name in the file, or not."""
    spans = re.findall(r"`([^`\n]+)`", prose(TEXTS[page]))
    shapes = r"(?:\.?[\w-]+/)+(?:[\w-]+\.\w+)?(?:::[\w.]+)?|[\w-]+\.(?:py|toml|md)"
    return sorted({span for span in spans if re.fullmatch(shapes, span)})


def defined_in(path: Path) -> set[str]:
    """Functions and classes of a module, and methods as ``Class.method``."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
            names |= {f"{node.name}.{method.name}" for method in methods}
    return names


@pytest.mark.parametrize("page", NAMING, ids=name)
def test_each_file_and_function_that_a_page_of_the_house_names_exists(page: Path) -> None:
    assert named_in(page)
    for named in named_in(page):
        path, _, function = named.partition("::")
        found = [root / path for root in HOMES if (root / path).exists()]
        assert found, f"{name(page)}: {named}"
        assert not function or function in defined_in(found[0]), f"{name(page)}: {named}"


def test_the_walks_of_the_house_name_the_functions_on_the_way() -> None:
    for walk in TEXTS[HOUSE].split("## Walk ")[1:]:
        assert walk.count("::") >= 2, walk[:40]


def test_the_house_has_a_sentence_for_each_package() -> None:
    for package in {path.parent for path in CORE.rglob("__init__.py")} - {CORE}:
        room = package.relative_to(CORE).as_posix()
        depth = 2 if room.startswith("conformance/") else 1
        assert f"| `{'/'.join(room.split('/')[:depth])}/" in TEXTS[HOUSE], room


def rows_of_the_house() -> list[list[str]]:
    """The first column of the table of rooms: for each row, the names in it."""
    table = TEXTS[HOUSE].partition("| room | sentence |")[2].partition("\n## ")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    names = [re.findall(r"`(?:src/sim/)?([^`]*?)/?`", cell) for cell in cells]
    return [[name for name in row if name] for row in names]


def floors_of(home: Path, floors: Iterable[Iterable[str]]) -> list[list[str]]:
    """Floors of the test of the rooms, with each room as its folder or file."""
    return [
        [room if (home / room).is_dir() else f"{room}.py" for room in floor] for floor in floors
    ]


def test_the_table_of_rooms_has_every_room_in_the_order_in_which_rooms_may_import() -> None:
    plain = [[room.removeprefix("cellspec.") for room in floor] for floor in ROOMS]
    rooms = floors_of(CORE, plain[: plain.index(["sim"])])
    at = rooms.index(["conformance"])
    rooms[at : at + 1] = [[f"conformance/{part}"] for part in SUITE]
    rooms += floors_of(CORE.parent / "sim", SIM)
    rooms[-1] += ["__main__.py"]
    outside = [["simulations/releases"], ["simulations/barriers"]]
    assert rows_of_the_house() == [*rooms, *outside]


# Links and clauses


@each_page
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name}: {target}"
        if heading and file.suffix == ".html":
            # A page that reads the part after "#" itself: it holds the name that it looks for.
            assert heading.partition("=")[2] in file.read_text("utf-8"), f"{page.name}: {target}"
        elif heading:
            assert heading in anchors(file), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the common renderers name them."""
    titles = re.findall(r"^#+ +(.*?) *$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_no_page_names_a_path_of_some_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"(?<![\w./:-])/(?:home|root|Users|work|tmp|opt|mnt|var|srv)/\S*", text)
    assert not found


@each_page
def test_each_clause_that_a_page_names_exists(page: Path) -> None:
    prefixes = "|".join(prefix for chapter in chapters() for prefix in chapter.prefixes)
    named = re.findall(rf"\b(?:{prefixes})-\d+\b", TEXTS[page])
    assert set(named) <= set(clauses())


def test_the_clauses_that_judge_an_engine_are_those_of_the_profiles() -> None:
    assert set(clauses()) > ENGINE_CLAUSES
    own = {clauses()[number].chapter for number in set(clauses()) - ENGINE_CLAUSES}
    assert own == {"graph", "tracker", "barrier", "checkpoint", "endpoints"}


def rows_of(header: str) -> list[list[str]]:
    """The cells of a table of the plan, by its first column's title."""
    lines = PLAN.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if re.match(rf"\| {header} +\|", line))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_walk_says_of_each_capability_what_the_adapter_does() -> None:
    rows = re.findall(r"^  \| (`.+?) \|.*\|$", TEXTS[WALK], re.MULTILINE)
    told = [capability for row in rows for capability in re.findall(r"`(\w+)`", row)]
    assert sorted(told) == sorted(set(CAPABILITIES) - {"core"})


def test_the_plan_names_every_clause_that_settles_a_defect() -> None:
    by_defect: dict[str, set[str]] = {}
    for number, clause in clauses().items():
        if clause.source.startswith("seed defect "):
            by_defect.setdefault(f"{int(clause.source.split()[-1]):02}", set()).add(number)
    stated = {row[0]: set(re.findall(r"[A-Z]+-\d+", row[-1])) for row in rows_of("no.")}
    assert stated == by_defect
    assert len(stated) == 12


@pytest.mark.parametrize(
    "row", rows_of("in flight +\\| version"), ids=lambda row: " ".join(row[:2])
)
def test_the_comparison_of_claims_is_what_the_scenario_gives(
    row: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    calls, version, _, *figures = row
    settings = (
        f"checkpoint.version={version}",
        "checkpoint.every_rows=null",
        "checkpoint.every_s=10",
        f"limits.resources.nvidia-text={calls}",
        "crashes=[{at_time_s: 250}]",
    )
    arguments = [str(ROOT / "simulations" / "barrier_option_c.yaml")]
    for setting in settings:
        arguments += ["--set", setting]
    assert main(["run", *arguments, "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    again, lost_s, share = (
        result[name] for name in ("cells_done_again", "busy_lost_s", "busy_lost_share")
    )
    assert figures == [f"{again:,}", f"{round(lost_s):,}", f"{100 * share:.1f}"]


@pytest.mark.parametrize(
    "row", rows_of("option +\\| checkpoint due"), ids=lambda row: " ".join(row)
)
def test_the_comparison_of_barriers_is_what_the_scenarios_give(
    row: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    option, due, *figures = row
    arguments = [str(ROOT / "simulations" / f"barrier_option_{option.lower()}.yaml")]
    _, number, unit = due.split()
    fields = {"every_rows": "null", "every_s": "null"}
    fields["every_rows" if unit == "rows" else "every_s"] = number
    for name, value in fields.items():
        arguments += ["--set", f"checkpoint.{name}={value}"]
    assert main(["run", *arguments, "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    names = ("makespan_s", "cells_done_again", "checkpoints", "checkpoint_bytes")
    assert figures == [f"{round(result[name]):,}" for name in names]


def test_the_ranking_of_barriers_is_what_a_comparison_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (row,) = (row for row in rows_of("from → to") if row[:2] == ["B → D", "50 rows"])
    files = [str(ROOT / "simulations" / f"barrier_option_{one.lower()}.yaml") for one in "BD"]
    assert main(["compare", *files, "--replications", "10"]) == 0
    printed = capsys.readouterr().out.splitlines()
    for figure, words in zip(("makespan_s", "cells_done_again"), row[2:], strict=True):
        assert any(
            line.startswith(f"{figure} ") and line.endswith(f"B {words}") for line in printed
        )
