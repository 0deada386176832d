"""Waits and ages: which rows and calls are looked at when there are too many for all."""

from __future__ import annotations

import numpy as np
import pytest

import sim.simulator.timings
import tests.recompute.figures
from cellspec import ColumnDescriptor, ExecutionGraph
from sim.simulator.timings import Timings, percentiles, place_of, sample_every
from tests.recompute.comparison import compare


@pytest.mark.parametrize(
    ("rows", "columns", "every"),
    [
        (1, 1, 1),
        (200_000, 1, 1),
        (20_000, 10, 1),
        (20_001, 10, 2),
        (80_000, 10, 5),
        (1_000_000, 10, 53),
    ],
)
def test_the_sample_is_every_row_or_every_nth_of_a_prime_n(
    rows: int, columns: int, every: int
) -> None:
    assert sample_every(rows, columns) == every


def test_figures_of_a_sample_are_those_that_its_trace_bears_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Where all cells are made it is worked out when one was ready, else it is noted.
    for module in (sim.simulator.timings, tests.recompute.figures):
        monkeypatch.setattr(module, "SAMPLED_CELLS", 20)
        monkeypatch.setattr(module, "KEPT_CALLS", 8)
    found = compare(range(60), seed=3)
    assert found.wrong == []


def test_of_too_many_calls_every_second_is_kept_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.simulator.timings, "KEPT_CALLS", 8)
    rules = ExecutionGraph(100, [ColumnDescriptor("a")]).rules
    timings = Timings(rules, [0], [[0]], [True])
    for row in range(100):
        timings.called(0, row, row + 1, float(row), 0.0)
        if row % 30 == 0:
            timings.settle(0.0)
    timings.settle(0.0)
    # Of 100 calls 50, 25 and 13 are too many.
    (waits,) = timings.waits(100.0)
    kept = range(0, 100, 16)
    assert (waits.calls, waits.total_s) == (len(kept), sum(kept))
    assert waits.percentiles == (48.0, 96.0, 96.0)
    assert waits.by_quarter == (8.0, 40.0, 64.0, 88.0)


@pytest.mark.parametrize(("percent", "expected"), [(1, 1.0), (50, 2.0), (51, 3.0), (100, 4.0)])
def test_a_percentile_is_one_of_the_values(percent: int, expected: float) -> None:
    assert [1.0, 2.0, 3.0, 4.0][place_of(percent, 4)] == expected


def test_percentiles_are_found_in_values_of_any_order() -> None:
    values = np.array([float(n * 7 % 100) for n in range(100)])
    assert percentiles(values) == (49.0, 94.0, 98.0)


def test_of_no_values_there_is_no_percentile() -> None:
    assert percentiles(np.array([])) == (None, None, None)


def test_what_is_kept_of_a_large_table_does_not_grow_with_it() -> None:
    rules = ExecutionGraph(2_000_000, [ColumnDescriptor("a")]).rules
    timings = Timings(rules, [0], [[0]], [True])
    assert timings.every == 11
    assert sum(map(bool, timings.flags)) == len(timings.ends[0]) == 181_819
