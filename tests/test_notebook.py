"""The notebooks beside the plans run from the first cell to the last, in a fresh kernel.

Their cells assert what they claim, so a run without an error is the test; and the one that is kept
with outputs gives them again.
"""

from __future__ import annotations

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
