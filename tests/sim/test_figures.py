"""The table of figures: one source for the page and ``--help``."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.cli import main
from sim.figures import FIGURES, page_text

PAGE = Path(__file__).parents[2] / "simulations" / "figures.md"


def test_the_page_of_figures_is_made_from_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_text(), "run python -m sim.figures > the page"


def test_help_of_run_defines_each_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(figure.key in text for figure in FIGURES)
    assert max(map(len, text.splitlines())) <= 98
