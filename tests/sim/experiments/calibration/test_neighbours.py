"""Calls that wait for the same thing are told from draws of their own."""

from __future__ import annotations

import numpy as np
import pytest

from sim.experiments.calibration.neighbours import likeness


@pytest.mark.parametrize("count", [8, 30, 300])
def test_draws_of_their_own_are_not_alike(count: int) -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        assert likeness(rng.lognormal(0, 1, count).tolist()) is None


def test_calls_whose_ends_wait_for_one_another_are_alike() -> None:
    rng = np.random.default_rng(0)
    waits = 0.02 * rng.lognormal(0, 0.2, 200) + 0.0003 * np.arange(200)
    found = likeness(waits.tolist())
    assert found is not None
    assert found > 0.8


def test_equal_seconds_are_not_alike_whatever_their_rounding() -> None:
    assert likeness([0.1 + 0.2, 0.3] * 50) is None
    assert likeness([(number + 1) * 0.1 - number * 0.1 for number in range(500)]) is None
    assert likeness([1.0, 2.0]) is None
    assert likeness([0.0] * 20) is None
