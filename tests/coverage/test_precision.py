"""The page of coverage: what it says of ``run --precision``, and a few experiments made again."""

from __future__ import annotations

import re

import pytest

from tests.coverage.page import CAMPAIGNS, HEAD, PAGE, page, sections_of
from tests.coverage.precision import (
    HARD,
    KNOWN,
    LEAST_SHARE,
    REPETITIONS,
    Known,
    Repetition,
    first_words,
    rendered,
    repetition,
)

TEXT = PAGE.read_text(encoding="utf-8")


def line_of(known: Known) -> list[str]:
    """The cells of its line on the page."""
    found = re.search(rf"^\| {known.name} \| (.*) \|$", TEXT, re.MULTILINE)
    assert found is not None
    return found[1].split(" | ")


def test_a_page_without_campaigns_is_the_page_as_it_is() -> None:
    assert page((), TEXT, jobs=1) == TEXT
    assert list(sections_of(TEXT)) == list(CAMPAIGNS.values())
    assert TEXT.startswith(HEAD)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_at_least_92_percent_of_the_intervals_held_the_mean(known: Known) -> None:
    share = float(line_of(known)[3].removesuffix(" %"))
    assert 100 * LEAST_SHARE <= share < 98
    assert f"`cellspec run --precision 0.02`, {REPETITIONS:,} times for each scenario" in TEXT


@pytest.mark.parametrize("known", [*KNOWN, *HARD], ids=lambda known: known.name)
def test_the_first_experiment_is_as_on_the_page(known: Known) -> None:
    line = line_of(known)
    assert line[1] == f"{known.mean:.6g}"
    assert line[5] == first_words(repetition(0, known))


@pytest.mark.long
@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_a_few_more_experiments_hold_the_mean_as_a_rule(known: Known) -> None:
    # Of six, with the page's share, one in a thousand or fewer hold less than three.
    assert sum(repetition(number, known).holds for number in range(1, 7)) >= 3


def test_the_share_is_counted() -> None:
    found = [Repetition(10, 1.0, 0.1, holds=number % 4 > 0) for number in range(8)]
    text = rendered({one.name: found for one in (*KNOWN, *HARD)})
    assert text.count("| 8 | 75.00 % | 10.0 | 10 runs: 1.0000 ± 0.1000 |") == len(KNOWN) + len(HARD)
