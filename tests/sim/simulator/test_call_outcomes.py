"""How calls end is the same, whether it is drawn for one call or for a block of them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from cellspec.machine.actions import Failure
from sim.draws import unit
from sim.scenario.distributions import Constant, Exponential
from sim.scenario.sampler import ColumnLatency, LatencySource
from sim.scenario.scenario import Scenario
from sim.simulation import make_simulator
from sim.simulator import later_calls
from sim.simulator.call_outcomes import ColumnRates, DrawnOutcomes
from sim.simulator.call_times import CallTimes
from sim.simulator.time_outs import BoundedLatency, BoundedOutcomes

RATES = [ColumnRates(0.3, 0.4, 0.1), ColumnRates(), ColumnRates(0.01), ColumnRates(0, 0.5)]


def failure_of(rates: ColumnRates, u: float) -> Failure | None:
    if u < rates.permanent:
        return "permanent"
    u -= rates.permanent
    if u < rates.retryable:
        return "retryable"
    return "backpressure" if u - rates.retryable < rates.backpressure else None


def test_a_block_of_outcomes_is_that_of_its_calls() -> None:
    outcomes = DrawnOutcomes(7, RATES)
    for incarnation in (0, 2):
        outcomes.begin(incarnation)
        anew = (incarnation,) if incarnation else ()
        for column, rates in enumerate(RATES):
            assert outcomes.may_fail(column) == (rates != ColumnRates())
            for call in (1, 2, 5, 9):
                rows = np.arange(100, 3000, 3, dtype=np.uint64)
                failing = dict(
                    zip(rows.tolist(), outcomes.failing(column, rows, call), strict=True)
                )
                for row in (*range(0, 12_000, 37), 3):
                    wanted = failure_of(rates, unit(7, column, row, call, 0, *anew))
                    assert outcomes.of_cell(column, row, call) == wanted
                    if row in failing:
                        assert failing[row] == (wanted is not None)


def test_a_recorded_failure_comes_after_the_drawn_ones() -> None:
    def recorded(column: int, place: int, call: int, *, barrier: bool) -> Failure | None:
        assert not barrier
        return "retryable" if (column + place + call) % 3 == 0 else None

    outcomes = DrawnOutcomes(7, RATES, recorded=recorded)
    for column, rates in enumerate(RATES):
        assert outcomes.may_fail(column)
        for row in range(2000):
            drawn = failure_of(rates, unit(7, column, row, 1, 0))
            wanted = drawn or recorded(column, row, 1, barrier=False)
            assert outcomes.of_cell(column, row, 1) == wanted


def test_a_block_of_skips_is_that_of_its_cells() -> None:
    outcomes = DrawnOutcomes(7, [ColumnRates(), ColumnRates(skip=0.3)])
    assert outcomes.of_skips(0) is None
    by_row = outcomes.of_skips(1)
    assert by_row is not None
    for row in (*range(0, 40_000, 91), 3):
        assert by_row(row) == outcomes.skips(1, row) == (unit(7, 1, row, 0, 2) < 0.3)


def test_the_sign_of_a_call_s_time_says_whether_it_fails() -> None:
    columns = [
        ColumnLatency("drawn", Exponential(mean_s=1.0)),
        ColumnLatency("same", Constant(value_s=2.0)),
        ColumnLatency("none", Constant(value_s=0.0)),
    ]
    latency = LatencySource(7, columns, 9000)
    rates = [ColumnRates(0.2, 0.3), ColumnRates(), ColumnRates(permanent=0.8)]
    outcomes = DrawnOutcomes(7, rates)
    bounded = BoundedLatency(latency, {0: 0.5}), BoundedOutcomes(outcomes, latency, {0: 0.5})
    for seconds, ends in ((latency, outcomes), bounded):
        times = CallTimes(seconds, ends, 9000, 3)
        most = 0
        # Calls are numbered through: one is made if those before it fail.
        for column, row in product(range(3), range(0, 9000, 7)):
            fails, call = True, 1
            while fails:
                read = times.first[column](row) if call == 1 else times.later[column](row, call)
                assert abs(read) == seconds.get(column, row, call)
                fails = ends.of_cell(column, row, call) is not None
                assert times.fails(read) == fails
                most, call = max(most, call), call + 1
        assert most > 20


def test_later_calls_that_were_forgotten_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    latency = LatencySource(7, [ColumnLatency("a", Exponential(mean_s=1.0))], 20_000)
    outcomes = DrawnOutcomes(7, [ColumnRates(backpressure=0.9)])
    rows = [row for row in range(20_000) if outcomes.of_cell(0, row, 1) is not None]
    many = CallTimes(latency, outcomes, 20_000, 1).later[0]
    wanted = [many(row, 2) for row in rows]
    monkeypatch.setattr(later_calls, "_KEPT", 50_000)
    few = CallTimes(latency, outcomes, 20_000, 1).later[0]
    assert [few(row, 2) for row in rows] == [few(row, 2) for row in rows] == wanted


def test_later_calls_of_a_large_run_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int, int]] = []
    inner = LatencySource.of_rows

    def of_rows(self: LatencySource, column: int, rows: Any, attempt: int) -> Any:
        if attempt > 1:
            drawn.append((column, attempt, int(rows[0]) // 4096))
        return inner(self, column, rows, attempt)

    monkeypatch.setattr(LatencySource, "of_rows", of_rows)
    data: dict[str, Any] = {
        "name": "large",
        "rows": 50_000,
        "seed": 1,
        "columns": [{"name": "a", "latency": {"model": "exponential", "mean_s": 1.0}}],
        "limits": {"workers": 64},
        "failures": {"default": {"back_pressure": 0.5}, "backoff": {"first_s": 0.5, "factor": 1}},
    }
    data["columns"][0]["traits"] = ["START", "ROW_STREAMABLE"]
    outcome = make_simulator(Scenario.model_validate(data), None).run()
    # All rows are under way at once, and each is come back to again and again.
    assert sum(outcome.calls) > 95_000
    assert len(drawn) == len(set(drawn)) > 100
