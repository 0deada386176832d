"""The page of what others measured says what is simulated now, and how far off it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.theory.validation import DATA, PAGE, Sims, page


def test_the_page_says_what_is_simulated(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip("the page was not compared: there is no folder ../shared/data")
    expected = "\n\n".join(page(Sims(tmp_path))) + "\n"
    assert PAGE.read_text(encoding="utf-8") == expected, "run `make validation`"


def test_the_errors_of_the_page_are_small() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (errors,) = re.findall(r"^Mean absolute errors: .*?\n\n", text, re.DOTALL | re.MULTILINE)
    barrier, apart, stream = map(float, re.findall(r"([\d.]+) %", errors))
    assert max(barrier, apart) <= 4.5 < stream
    (streamed,) = re.findall(r"\| streamed \| 1,000 \| 1,012 \| \+([\d.]+) % \|", text)
    assert float(streamed) <= 2
    assert re.search(r"goes 20 → 15 → 11\..*: 20 → 15 → 11\.$", text, re.DOTALL | re.MULTILINE)
    assert len(re.findall(r"\| 0\.0 ms \|$", text, re.MULTILINE)) == 6
