"""Bounds: they grow with the workload, and say which part of them a run needed."""

from __future__ import annotations

from cellspec.conformance.run.bounds import Bounds


def test_a_part_of_the_bounds_leaves_the_bound_of_calls() -> None:
    assert Bounds.of(10) == Bounds(200, 40_000, 12_000, 40_000, 12_000)
    assert Bounds.of(10, 0.25) == Bounds(200, 10_000, 3_000, 10_000, 3_000)


def test_the_part_that_a_run_needed_is_that_of_the_bound_that_it_came_nearest_to() -> None:
    bounds = Bounds(1, uses=100, idle_uses=10, turns=1_000, idle_turns=100)
    assert bounds.part_used(10, 1, ()) == 0.01
    assert bounds.part_used(500, 1, ()) == 0.5
    assert bounds.part_used(10, 50, ()) == 0.5
    assert bounds.part_used(10, 1, map(float, range(50))) == 0.5
    assert bounds.part_used(10, 1, [0.0, 1.0, 1.0, 1.0, 2.0]) == 0.3
