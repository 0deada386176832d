"""What the pages say holds: code runs, links lead somewhere, clauses exist, numbers are right."""

from __future__ import annotations

import doctest
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellspec.clauses import clauses
from sim.cli import main

ROOT = Path(__file__).parents[1]
PLAN = ROOT / "plans" / "execution-graph.md"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            p
            for d in ("examples", "plans", "specs", "simulations")
            for p in ROOT.glob(f"{d}/**/*.md")
        ),
    ]
)
WITH_CODE = [page for page in PAGES if "\n```python\n" in page.read_text(encoding="utf-8")]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code_blocks(text: str) -> Iterator[tuple[int, str]]:
    """Blocks marked as Python, each with the number of its first line."""
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, block.start(1)) + 1, block.group(1)


def prose(text: str) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs_in_order(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {"__name__": "__main__"}
    for line, code in code_blocks(page.read_text(encoding="utf-8")):
        where = f"{page}:{line}"
        if code.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(code, names, where, str(page), line - 1)
            report: list[str] = []
            failed = doctest.DocTestRunner().run(test, out=report.append, clear_globs=False).failed
            assert not failed, "".join(report)
            names = test.globs
        else:
            # Blank lines put the block on its own line of the page, for a traceback's sake.
            exec(compile("\n" * (line - 1) + code, str(page), "exec", dont_inherit=True), names)


@each_page
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name}: {target}"
        if heading:
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
    named = re.findall(r"\b(?:GRAPH|TRACK|SCHED|BARR|CKPT)-\d+\b", page.read_text(encoding="utf-8"))
    assert set(named) <= set(clauses())


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


def test_the_plan_names_every_clause_that_settles_a_defect() -> None:
    by_defect: dict[str, set[str]] = {}
    for number, clause in clauses().items():
        if clause.source.startswith("seed defect "):
            by_defect.setdefault(f"{int(clause.source.split()[-1]):02}", set()).add(number)
    stated = {row[0]: set(re.findall(r"[A-Z]+-\d+", row[-1])) for row in rows_of("no.")}
    assert stated == by_defect
    assert len(stated) == 12


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
