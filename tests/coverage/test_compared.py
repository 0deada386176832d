"""The interval of a comparison holds a known difference: a few experiments, and the page."""

from __future__ import annotations

import re
from math import exp

import pytest

from tests.coverage.compared import CASES, EXPERIMENTS, counted
from tests.coverage.gains import CASES as GAINS
from tests.coverage.page import PAGE, sections_of


@pytest.mark.long
def test_intervals_of_a_known_difference_hold_it() -> None:
    found = counted(CASES[0], 40, 8)
    # Of 40 at 95 % fewer than 33 hold in one of 3,000 campaigns.
    held = (
        found.paired,
        found.independent,
        found.paired_share,
        found.independent_share,
        found.none_shown,
    )
    assert min(held) >= 33
    # Common random numbers make the interval far narrower, and as honest.
    assert found.width < found.independent_width / 3
    assert found.gain > 10


def test_the_known_means_are_those_of_the_formulas() -> None:
    limit, restart, _ = CASES
    assert limit.a_s == pytest.approx(36 / 4 + 1 + 1 / 2 + 1 / 3 + 1 / 4)
    assert restart.b_s == pytest.approx(10 * (exp(1 / 2) - 1) * 4)


def test_the_page_has_shares_from_92_to_98_per_cent() -> None:
    text = sections_of(PAGE.read_text(encoding="utf-8"))["Comparisons of two scenarios"]
    assert f"{EXPERIMENTS} times" in text
    for case in CASES:
        line = next(
            line for line in text.splitlines() if line.startswith(f"| {case.name} ") and "%" in line
        )
        shares = [float(share) for share in re.findall(r"([\d.]+) %", line)]
        assert len(shares) == 5
        assert all(92 <= share <= 98 for share in shares), line


def test_the_page_has_the_commands_of_the_gains() -> None:
    text = sections_of(PAGE.read_text(encoding="utf-8"))["What common random numbers gain"]
    assert all(f"- `{case.command()}`\n" in text for case in GAINS)
    gains = [float(gain) for gain in re.findall(r"\| ([\d.]+) x \|", text)]
    limit, row_first, at_random, interval, crashed = gains
    assert min(limit, row_first, at_random) > 30
    assert 1 < interval < 10
    assert crashed < 2
