"""Intervals of means, quantiles and differences: published values, and how often they hold."""

from __future__ import annotations

import random
import sys
from math import sqrt

import pytest

from cellspec.errors import MissingExtraError
from sim.experiments.intervals import least_runs, mean_of, paired, quantile_of
from sim.experiments.stopping import Precision, next_size


def test_the_interval_of_a_mean_is_students() -> None:
    # t of 9 degrees of freedom and 95 %: 2.262157 (any table of Student's distribution).
    found = mean_of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
    assert found.mean == 5.5
    assert found.sd == pytest.approx(sqrt(55 / 6))
    assert found.half_width == pytest.approx(2.262157 * sqrt(55 / 60), rel=1e-6)
    assert found.relative == pytest.approx(2.262157 * sqrt(55 / 60) / 5.5, rel=1e-6)


def test_a_single_run_has_no_interval() -> None:
    found = mean_of([3.0])
    assert (found.mean, found.sd, found.half_width, found.relative) == (3.0, None, None, None)
    assert not Precision(0.5).is_met(found)


def test_equal_runs_have_an_interval_of_no_width() -> None:
    found = mean_of([0.1] * 7)
    assert (found.mean, found.half_width, found.relative) == (0.1, 0.0, 0.0)
    assert Precision(0.0).is_met(found)
    assert mean_of([0.0, 0.0]).relative == 0.0
    assert mean_of([-1.0, 1.0]).relative is None


@pytest.mark.parametrize(("share", "runs"), [(0.5, 6), (0.95, 59), (0.99, 299)])
def test_a_quantile_takes_a_number_of_runs(share: float, runs: int) -> None:
    assert least_runs(share) == runs
    assert quantile_of([float(n) for n in range(runs - 1)], share) is None
    found = quantile_of([float(n) for n in range(runs)], share)
    assert found is not None
    # So few runs give an interval that ends only with the greatest of them.
    assert found.high == runs - 1


def test_the_interval_of_a_median_is_that_of_the_sign_test() -> None:
    # Of 20 runs, ranks 6 and 15 hold the median with 95.9 % (Conover 1999, table A3: binomial).
    found = quantile_of([float(n) for n in range(1, 21)], 0.5)
    assert found is not None
    assert (found.value, found.low, found.high) == (10.0, 6.0, 15.0)


@pytest.mark.parametrize(("share", "truth"), [(0.5, 0.5), (0.95, 0.95)])
def test_intervals_of_quantiles_hold_as_often_as_they_say(share: float, truth: float) -> None:
    rng, held = random.Random(1), 0
    for _ in range(2000):
        found = quantile_of([rng.random() for _ in range(80)], share)
        assert found is not None
        held += found.low <= truth <= found.high
    # 3.5 standard errors of 2,000 trials at 95 % are 1.7 %.
    assert held / 2000 >= 0.95 - 0.017


def test_intervals_of_means_hold_as_often_as_they_say() -> None:
    rng, held = random.Random(2), 0
    for _ in range(2000):
        found = mean_of([rng.gauss(3, 2) for _ in range(10)])
        assert found.half_width is not None
        held += abs(found.mean - 3) <= found.half_width
    assert abs(held / 2000 - 0.95) <= 0.017


def test_a_difference_is_taken_run_by_run() -> None:
    a = [10.0, 20.0, 30.0, 40.0]
    found = paired(a, [value + 1 + 0.1 * (-1) ** n for n, value in enumerate(a)])
    assert found.difference.mean == pytest.approx(1.0)
    assert found.is_shown
    assert not found.identical
    assert found.relative == pytest.approx(0.04)
    assert found.gain is not None
    assert found.gain > 10_000


def test_equal_runs_are_identical_and_no_difference_is_shown() -> None:
    found = paired([1.0, 5.0, 2.0], [1.0, 5.0, 2.0])
    assert found.identical
    assert not found.is_shown
    assert found.gain is None


def test_a_constant_difference_is_shown() -> None:
    found = paired([1.0, 5.0, 2.0], [2.0, 6.0, 3.0])
    assert found.is_shown
    assert (found.difference.half_width, found.gain) == (0.0, None)


def test_rounds_grow_by_a_quarter() -> None:
    sizes = [next_size(0)]
    while sizes[-1] < 100:
        sizes.append(next_size(sizes[-1]))
    assert sizes == [10, 13, 17, 22, 28, 35, 44, 55, 69, 87, 109]
    assert Precision(0.1, most_runs=30).next_size(28) == 30
    assert Precision(0.1, most_runs=30).next_size(30) == 30


def test_an_interval_names_the_extra_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtraError, match=r"an interval.*experiments"):
        quantile_of([float(n) for n in range(7)], 0.45)


def test_the_interval_of_a_share_holds_where_only_the_mean_of_a_varies() -> None:
    # B is A and a constant: the difference is known, and its share of A's mean is not.
    rng, held = random.Random(3), 0
    for _ in range(2000):
        a = [rng.gauss(10, 3) for _ in range(20)]
        found = paired(a, [value + 1 for value in a])
        assert found.relative is not None
        assert found.relative_half_width is not None
        held += abs(found.relative - 0.1) <= found.relative_half_width
    assert abs(held / 2000 - 0.95) <= 0.025


def test_the_interval_of_a_share_has_no_width_where_b_is_a_share_of_a() -> None:
    a = [10.0, 20.0, 30.0]
    found = paired(a, [value / 2 for value in a])
    assert (found.relative, found.relative_half_width) == (-0.5, 0.0)
    assert found.difference.half_width
    assert paired([0.0, 0.0], [1.0, 2.0]).relative_half_width is None
    assert paired([1.0], [2.0]).relative_half_width is None


def test_a_share_is_given_where_it_says_what_the_difference_says() -> None:
    # A fixed share of a figure that varies: the share is known better than the difference.
    a = [1.0, 2.0, 4.0, 7.0]
    found = paired(a, [0.1 * x for x in a])
    assert not found.is_shown
    assert found.relative_half_width == pytest.approx(0)
    assert found.share is None
    even = paired([10.0, 11.0, 9.0], [5.1, 5.4, 4.5])
    assert even.share == (even.relative, even.relative_half_width)
    # B may be next to nothing, and its interval reaches below it.
    low = paired([10.0, 11.0, 9.0], [0.0, 0.9, 0.0])
    assert low.is_shown
    assert low.share is None
    assert paired([1.0], [2.0]).share is None
    assert paired([0.0, 0.0], [1.0, 2.0]).share is None
