"""Ticks: at round numbers, inside the axis, and with space between their labels."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sim.output.report.scale import (
    ROOM,
    ROOM_BESIDE_WORDS,
    Axis,
    lanes,
    linear,
    logarithmic,
    number,
    of_values,
    over_time,
    symmetric,
)

sizes = st.floats(1e-6, 1e9)


def is_round(value: float) -> bool:
    """Whether a number is 1, 2 or 5 times a power of ten, or 0."""
    return value == 0 or f"{value:.6e}"[:8] in {"1.000000", "2.000000", "5.000000"}


def step_of(axis: Axis) -> float:
    return axis.ticks[1][0] - axis.ticks[0][0]


@given(sizes, sizes, st.booleans())
def test_a_linear_axis_holds_its_values_and_has_ticks_at_round_distances(
    one: float, other: float, zero: bool
) -> None:
    assume(one == other or abs(one - other) > 1e-6 * one)
    axis = linear("x, s", [one, other], zero=zero)
    assert axis.low <= min(one, other) * (1 + 1e-6)
    assert axis.high >= max(one, other) * (1 - 1e-6)
    assert 2 <= len(axis.ticks) <= 8
    assert len({word for _, word in axis.ticks}) == len(axis.ticks)
    assert is_round(step_of(axis))
    if zero:
        assert axis.ticks[0] == (0.0, number(0.0, step_of(axis)))


def test_a_linear_axis_reads_as_a_person_writes_it() -> None:
    assert [word for _, word in linear("", [0.37]).ticks] == ["0.0", "0.1", "0.2", "0.3", "0.4"]
    assert [word for _, word in linear("", [1, 1987]).ticks][-1] == "2,000"
    assert [at for at, _ in linear("", [95, 103], zero=False).ticks] == [94, 96, 98, 100, 102, 104]
    assert [at for at, _ in linear("", [-3, 4]).ticks] == [-4, -2, 0, 2, 4]


@pytest.mark.parametrize("values", [[], [0.0], [5.0], [math.inf]])
def test_an_axis_of_one_value_or_none_has_a_length(values: list[float]) -> None:
    axis = linear("", values)
    assert axis.low < axis.high
    assert len(axis.ticks) >= 2


@given(sizes)
def test_labels_of_time_have_space_between_them_and_end_within_the_run(end_s: float) -> None:
    axis = over_time(end_s)
    assert axis.ticks[0][0] == 0
    assert axis.ticks[-1][0] <= end_s * (1 + 1e-6)
    assert len(axis.ticks) >= 2
    assert sum(len(word) + 2 for _, word in axis.ticks) <= ROOM
    for (one, word), (other, after) in zip(axis.ticks, axis.ticks[1:], strict=False):
        room = (axis.place(other) - axis.place(one)) * ROOM
        assert room >= (len(word) + len(after)) / 2


@pytest.mark.parametrize(
    ("end_s", "unit", "last"),
    [(90.0, "s", "90"), (7000.0, "s", "7,000"), (18187.6, "h", "5"), (400_000.0, "days", "4")],
)
def test_time_has_the_unit_that_its_length_asks_for(end_s: float, unit: str, last: str) -> None:
    axis = over_time(end_s)
    assert axis.label == f"time, {unit}"
    assert axis.ticks[-1][1] == last


@given(sizes, sizes)
def test_a_logarithmic_axis_has_at_least_two_ticks_inside(one: float, other: float) -> None:
    axis = logarithmic("", [one, other])
    assert 2 <= len(axis.ticks) <= 6
    for at, _ in axis.ticks:
        assert -1e-6 <= axis.place(at) <= 1 + 1e-6


def test_a_logarithmic_axis_refuses_nought() -> None:
    with pytest.raises(ValueError, match="above 0"):
        logarithmic("", [0.0, 1.0])


@given(sizes, st.floats(1, 1e9), st.floats(-1, 1))
def test_a_symmetric_axis_tells_the_least_from_0_and_keeps_the_order(
    least: float, times: float, back: float
) -> None:
    high, low = least * times, least * times * back
    axis = symmetric("x, s", [low, high], least, room=ROOM_BESIDE_WORDS)
    assert "x, s (log beyond " in axis.label
    values = sorted([min(low, 0.0), 0.0, least, high])
    places = [axis.place(value) for value in values]
    assert places == sorted(places)
    assert places[0] == pytest.approx(0)
    assert places[-1] == pytest.approx(1)
    if times < 1e5:
        assert axis.place(least) - axis.place(0.0) > 0.04
    assert (0.0, "0") in axis.ticks
    assert len(axis.ticks) >= 2
    for (one, word), (other, after) in zip(axis.ticks, axis.ticks[1:], strict=False):
        room = (axis.place(other) - axis.place(one)) * ROOM_BESIDE_WORDS
        assert room >= (len(word) + len(after)) / 2


def test_a_symmetric_axis_has_its_ticks_at_powers_of_ten_from_0_on() -> None:
    axis = symmetric("x, s", [-30, 2500], 7, room=ROOM_BESIDE_WORDS)
    assert axis.label == "x, s (log beyond ±1)"
    assert [word for _, word in axis.ticks] == ["-10", "-1", "0", "1", "10", "100"]
    # Near 0 it is linear, and as long on each side as a factor of ten.
    tenth = axis.place(100) - axis.place(10)
    assert axis.place(0.5) - axis.place(-0.5) == pytest.approx(tenth)
    assert axis.place(1) - axis.place(0) == pytest.approx(tenth)


def test_a_swept_field_has_its_ticks_at_the_values_that_were_run() -> None:
    axis = of_values("calls", [64, 1, 4, 16, 2, 32, 8])
    assert axis.is_log
    assert axis.label == "calls (log)"
    assert [word for _, word in axis.ticks] == ["1", "2", "4", "8", "16", "32", "64"]
    # Thousands of them leave those out that have no space.
    close = of_values("calls", range(100, 1100, 20))
    assert 2 <= len(close.ticks) <= 12
    assert not of_values("calls", [4, 6, 8]).is_log
    assert not of_values("calls", [0, 1, 100]).is_log


def test_lanes_are_named_in_their_middle() -> None:
    assert lanes(["a", "", "c"]).ticks == ((0.5, "a"), (2.5, "c"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234.5, "1,234"),
        (12.345, "12.3"),
        (0.012345, "0.0123"),
        (2.0, "2"),
        (-3.5, "-3.5"),
    ],
)
def test_a_number_has_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text
