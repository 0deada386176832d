"""Figures beside an interval: the digits that are known, and never an exponent in a share."""

from __future__ import annotations

import pytest

from sim.output.uncertain import apart, estimated, known, percent, rounded, significant


@pytest.mark.parametrize(
    ("values", "half_width", "texts"),
    [
        ([1234.5678, 23.0], 23.0, ["1,235", "23"]),
        ([0.045231, 0.00075], 0.00075, ["0.04523", "0.00075"]),
        ([3.14159, None, 0.25], 0.25, ["3.14", "–", "0.25"]),
        ([12.0, 0.0, None], 0.0, ["12", "0", "–"]),
        ([12.5, 0.0], 0.0, ["12.50", "0.00"]),
        ([838143.6, 81652.5], 81652.5, ["838,144", "81,652"]),
        ([1e-12, 3e-13], 3e-13, ["1e-12", "3e-13"]),
        ([-0.0001, 0.5], 0.5, ["0.00", "0.50"]),
    ],
)
def test_figures_have_the_digits_of_their_half_width(
    values: list[float | None], half_width: float, texts: list[str]
) -> None:
    assert known(values, half_width) == texts


def test_more_digits_are_given_where_they_are_asked_for() -> None:
    assert rounded(10.0, 3.25, by=3.25) == ["10", "3"]
    assert rounded(10.0, 3.25, by=3.25, more=2) == ["10.00", "3.25"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(473.2, "470"), (99.6, "100"), (1.25, "1.2"), (0.0000123, "0.000012"), (0.0, "0"), (2, "2")],
)
def test_a_number_has_so_many_digits_and_no_exponent(value: float, text: str) -> None:
    assert significant(value, 2) == text


def test_a_share_is_a_percentage() -> None:
    assert [percent(share) for share in (0.02, 0.125, 1.9876, 0.0000002)] == [
        "2 %",
        "12.5 %",
        "199 %",
        "0.00002 %",
    ]


def test_an_estimate_of_runs_has_two_digits() -> None:
    assert [estimated(runs) for runs in (7, 22, 101, 7512)] == ["7", "22", "110", "7,600"]


def test_a_difference_and_its_half_width_have_digits_that_tell_them_apart() -> None:
    assert apart(5.44, 5.36, 1) == ["5.44", "5.36"]
    assert apart(5.04, 5.01, 1) == ["5.04", "5.01"]
    assert apart(86.2, 18.7, 1) == ["86", "19"]
    assert apart(5.0, 5.0, 1) == ["5.0", "5.0"]
