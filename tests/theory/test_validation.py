"""The page of what others measured says what is simulated now, and how far off it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.theory.validation import DATA, OUTPUT, OVERSTATED, PAGE, Sims, measured_ms, page


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


def test_a_constant_speed_overstates_by_the_ratio_of_what_was_measured() -> None:
    """By hand, where all 64 requests do the same at the same time: answers alone, and a batch."""
    if not DATA.is_dir():
        pytest.skip("nothing was compared: there is no folder ../shared/data")
    text = PAGE.read_text(encoding="utf-8").partition("## Splitwise")[2]
    (shipped,) = re.findall(r"([\d.]+) times \(of 8, answers\) to ([\d.]+) times", text)
    seen = 0
    for (hardware, parallel), by_size in measured_ms().items():
        (line,) = re.findall(rf"^\| {hardware} \| {parallel} \|(.*)\|$", text, re.MULTILINE)
        of_8, answers, batch, *_ = map(float, line.split("|")[-len(OVERSTATED) :])
        token, (one_s, all_s) = (
            {size: token for size, (_, token) in by_size.items()},
            (by_size[n][0] + OUTPUT * by_size[n][1] for n in (1, 64)),
        )
        found = (token[64] / token[8], token[64] / token[1], all_s / one_s)
        assert (of_8, answers, batch) == pytest.approx(found, abs=0.00501)
        if (hardware, parallel) == ("h100-80gb", "8"):
            assert tuple(map(float, shipped)) == (of_8, batch) == (1.54, 2.36)
        seen += 1
    assert seen == 6
