"""The notebooks beside the plans run from the first cell to the last, in a fresh kernel.

Their cells assert what they claim, so a run without an error is the test; and the one that is kept
with outputs gives them again.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.notebooks import PLANS, SHOWN, execute, read, texts

PLAIN = "execution_graph_explained.ipynb"


def test_these_are_all_notebooks() -> None:
    assert {path.name for path in PLANS.rglob("*.ipynb")} == {PLAIN, SHOWN}


def test_the_notebook_runs_without_an_error(tmp_path: Path) -> None:
    notebook = read(PLAIN)
    execute(notebook, tmp_path, timeout_s=60)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = read(PLAIN)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.long
def test_the_notebook_of_a_decision_shows_what_it_gives(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    kept = read(SHOWN)
    nbformat.validate(kept)
    again = read(SHOWN)
    execute(again, tmp_path, timeout_s=300)
    assert texts(again) == texts(kept)


def test_a_share_of_the_notebook_has_the_interval_of_a_share() -> None:
    """A half-width divided by A's mean is another one: it can reach below −100 %."""
    notebook = read(SHOWN)
    codes = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert not [code for code in codes if re.search(r"half_width\s*/", code)]
    shown = " ".join(str(text) for cell in texts(notebook) for text in cell)
    shares = re.findall(r"([+-][\d.]+) % ± ([\d.]+) %", shown)
    assert len(shares) >= 8
    assert all(float(share) - float(half) > -100 for share, half in shares)


def test_what_the_notebook_chose_is_confirmed_on_other_seeds() -> None:
    codes = [cell.source for cell in read(SHOWN).cells if cell.cell_type == "code"]
    decided = [code for code in codes if "saving(best)" in code and "compare(" in code]
    assert len(decided) == 2
    assert all("first_seed=" in code for code in decided)


def test_the_notebook_of_a_decision_has_its_plots() -> None:
    plots = [
        output.data["image/png"]
        for cell in read(SHOWN).cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(plots) == 3
    assert all(len(one) > 10_000 for one in plots)
