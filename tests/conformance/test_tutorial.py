"""The tutorial: a reader who follows the page to the letter gets the output that it shows."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path

import pytest

from tests.conformance.tutorial import BESIDE, PAGE, files_after, read_steps, replay

TEXT = PAGE.read_text(encoding="utf-8")
STEPS = read_steps(TEXT)
FILES = {name: text for name, text in files_after(STEPS).items() if name.endswith(".py")}


def test_the_tutorial_has_nine_steps_and_a_table_that_leads_to_them() -> None:
    assert [step.number for step in STEPS] == list(range(1, 10))
    for step in STEPS:
        anchor = f"step-{step.number}-{step.title.replace(' ', '-')}"
        assert f"| [{step.number}](#{anchor})" in TEXT


def test_every_command_of_the_tutorial_shows_its_output() -> None:
    for step in STEPS:
        runs = [block for block in step.blocks if block.kind == "sh"]
        shown = [block for block in step.blocks if block.prints]
        assert len(runs) == len(shown) > 0, step.title


def test_the_text_before_a_block_names_its_file() -> None:
    for step in STEPS:
        for block in step.blocks:
            before = TEXT[: block.at].split("\n\n")[-2]
            assert not block.file or f"`{block.file}`" in before, block.body


@pytest.mark.pages
@pytest.mark.parametrize("number", range(1, len(STEPS) + 1))
def test_a_step_prints_what_the_page_says(number: int, tmp_path: Path) -> None:
    for block, shown in replay(STEPS[:number], tmp_path).items():
        difference = "".join(
            difflib.unified_diff(
                block.body.splitlines(keepends=True),
                shown.splitlines(keepends=True),
                "the page",
                "printed",
            )
        )
        assert not difference, (
            f"{difference}\nto write it: python -m tests.pages --write plans/your-engine.md"
        )


def test_the_adapter_is_under_70_lines() -> None:
    assert len(FILES["my_backend.py"].splitlines()) < 70


def test_the_engine_is_independent_of_cellspec() -> None:
    modules = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(FILES["my_engine.py"]))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert modules
    assert not [name for name in modules if name and name.startswith("cellspec")]


def test_the_files_beside_the_page_are_those_it_ends_with() -> None:
    beside = {path.name: path.read_text(encoding="utf-8") for path in BESIDE.glob("*.py")}
    assert beside == FILES


def test_the_tutorial_ends_with_every_clause_passed_or_not_claimed() -> None:
    last = STEPS[-1].blocks[-1].body
    assert "violated" not in last
    assert "inconclusive" not in last
    assert "xfail" not in last
    assert "not claimed" in last
