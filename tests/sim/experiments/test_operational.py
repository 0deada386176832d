"""Bounds on throughput of systems whose throughput is known, and the points that none beats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.experiments.intervals import mean_of, paired
from sim.experiments.operational import Measured, asymptotes, pareto_front


def balanced(calls: int, stations: int) -> float:
    """Exact throughput of a closed network of equal exponential stations of mean service 1."""
    return calls / (calls + stations - 1)


@pytest.mark.parametrize("stations", [1, 2, 5])
def test_a_closed_network_has_the_bounds_that_theory_gives(stations: int) -> None:
    points = [Measured(n, balanced(n, stations)) for n in (1, 2, 4, 8, 16, 64, 512)]
    found = asymptotes(points)
    assert found is not None
    assert found.each == pytest.approx(1 / stations)
    assert found.most == pytest.approx(1.0, rel=0.01)
    assert found.knee == pytest.approx(stations, rel=0.01)
    for point in points:
        assert point.rate <= found.bound(point.calls) * (1 + 1e-9)


def test_throughput_that_still_grows_has_no_upper_bound_yet() -> None:
    growing = asymptotes([Measured(n, 2.0 * n, 0.1) for n in (1, 2, 4)])
    assert growing is not None
    assert not growing.is_saturated
    flat = asymptotes([Measured(1, 1.0, 0.1), Measured(4, 3.9, 0.1), Measured(8, 4.0, 0.1)])
    assert flat is not None
    assert flat.is_saturated
    falling = asymptotes([Measured(1, 1.0), Measured(4, 4.0), Measured(8, 3.0)])
    assert falling is not None
    assert falling.is_saturated
    # An interval that holds much growth and none at all shows neither.
    unsure = asymptotes([Measured(1, 1.0, 0.1), Measured(4, 3.9, 0.8), Measured(8, 4.0, 0.8)])
    assert unsure is not None
    assert (unsure.is_saturated, unsure.is_growing) == (False, False)
    # Almost as few calls at once say nothing.
    near = asymptotes([Measured(1, 1.0), Measured(9, 9.0, 0.5), Measured(10, 9.1, 0.5)])
    assert near is not None
    assert not near.is_saturated


def test_a_knee_below_the_fewest_calls_is_not_seen() -> None:
    found = asymptotes([Measured(4, 1.0), Measured(8, 1.02)])
    assert found is not None
    assert (found.fewest, found.is_knee_below) == (4, True)
    other = asymptotes([Measured(1, 1.0), Measured(8, 4.0), Measured(16, 4.0)])
    assert other is not None
    assert not other.is_knee_below


def test_a_bound_that_a_measurement_is_above_does_not_hold() -> None:
    for half, holds in ((0.1, False), (2.0, True)):
        found = asymptotes([Measured(1, 1.0, 0.0), Measured(4, 5.0, half)])
        assert found is not None
        assert found.holds is holds


SCALE = {0: 0.5, 1: 0.8, 2: 1.0, 3: 1.3, 4: 1.6}
"""By seed, how much faster a run is than the mean: as where crashes fall at random."""


def varying(calls: float, rate: float, noise: float = 0.01) -> Measured:
    """A point whose runs differ much, and in the same way as those of other points."""
    runs = {seed: rate * (by + noise * (seed % 2)) for seed, by in SCALE.items()}
    found = mean_of(list(runs.values()))
    assert found.half_width is not None
    return Measured(calls, found.mean, found.half_width, runs)


def test_growth_is_judged_run_by_run_and_not_by_intervals_that_overlap() -> None:
    points = [varying(2, 1.0, 0.0), varying(16, 6.0), varying(32, 8.0, 0.02)]
    before, last = points[1:]
    assert before.rate + before.half_width > last.rate - last.half_width
    found = asymptotes(points)
    assert found is not None
    assert (found.is_saturated, found.is_growing) == (False, True)
    by_hand = paired(list(before.by_seed.values()), list(last.by_seed.values()))
    assert (found.last.few, found.last.many) == (16, 32)
    assert found.last.more == by_hand.difference.mean
    assert found.last.half_width == by_hand.difference.half_width
    assert found.last.share == pytest.approx(1 / 3, rel=0.05)


def test_a_gain_over_many_times_the_calls_is_none_at_the_most_calls() -> None:
    far = asymptotes([varying(1, 0.3), varying(64, 7.0)])
    assert far is not None
    assert far.last.is_shown
    assert (far.is_saturated, far.is_growing, far.is_last_near) == (False, False, False)
    # Of points close together the last gain is that of some of them.
    rates = {1: 0.3, 26: 6.9, 34: 7.0, 40: 7.0, 44: 7.01}
    dense = asymptotes([varying(calls, rate) for calls, rate in rates.items()])
    assert dense is not None
    assert (dense.last.few, dense.is_saturated) == (26, True)


def test_the_gain_beyond_the_knee_is_that_of_the_points_around_it() -> None:
    rates = {1: 0.9, 8: 6.0, 16: 8.0, 32: 9.0, 64: 9.1}
    found = asymptotes([varying(calls, rate) for calls, rate in rates.items()])
    assert found is not None
    assert found.is_saturated
    assert 8 < found.knee < 16
    assert [(one.few, one.many) for one in found.gains] == [(8, 64), (16, 64)]
    assert [one.share for one in found.gains] == pytest.approx([9.1 / 6 - 1, 9.1 / 8 - 1])
    assert all(one.is_shown for one in found.gains)


def test_a_point_is_above_the_bound_where_its_runs_are_seed_by_seed() -> None:
    points = [varying(2, 1.0, 0.0), varying(8, 4.4), varying(16, 5.0), varying(32, 5.0)]
    found = asymptotes(points)
    assert found is not None
    fewest, above = points[0], points[1]
    assert above.rate - above.half_width < 4 * (fewest.rate + fewest.half_width)
    (excess,) = found.above
    assert not found.holds
    expected = mean_of([above.by_seed[k] - 4 * fewest.by_seed[k] for k in SCALE])
    assert (excess.calls, excess.more, excess.half_width) == (
        8,
        expected.mean,
        expected.half_width,
    )


def test_the_interval_of_a_knee_is_narrow_where_runs_vary_together() -> None:
    scale = {0: 0.8, 1: 1.0, 2: 1.2}
    together = asymptotes(
        [
            Measured(n, rate, 0.5, {k: rate * x for k, x in scale.items()})
            for n, rate in ((1, 1.0), (8, 4.0))
        ]
    )
    assert together is not None
    assert together.knee_half_width == pytest.approx(0.0, abs=1e-9)
    apart = asymptotes(
        [
            Measured(1, 1.0, 0.5, scale),
            Measured(
                8, 4.0, 2.0, {k: 4.0 * x for k, x in zip((2, 1, 0), scale.values(), strict=True)}
            ),
        ]
    )
    assert apart is not None
    # t of two degrees of freedom at 95 %, and a deviation of 4 * 0.4 over three runs.
    assert apart.knee_half_width == pytest.approx(4.30265 * 1.6 / 3**0.5, rel=1e-4)
    alone = asymptotes([Measured(1, 1.0, 0.0, {0: 1.0}), Measured(8, 4.0, 0.0, {0: 4.0})])
    assert alone is not None
    assert alone.knee_half_width is None


def test_a_single_concurrency_or_no_throughput_has_no_bounds() -> None:
    assert asymptotes([Measured(4, 2.0)]) is None
    assert asymptotes([Measured(1, 0.0), Measured(2, 0.0)]) is None


pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


@given(pairs)
def test_the_front_has_each_point_that_no_other_beats(points: list[tuple[int, int]]) -> None:
    def beats(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one[0] <= other[0] and one[1] <= other[1] and one != other

    best = {one for one in points if not any(beats(other, one) for other in points)}
    front = pareto_front(points)
    assert [points[place] for place in front] == sorted(best)
    assert all(points.index(points[place]) == place for place in front)
