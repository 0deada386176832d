"""How calls end is the same, whether it is drawn for one call or for a block of them."""

from __future__ import annotations

from cellspec.machine.actions import Failure
from sim.draws import unit
from sim.simulator.call_outcomes import ColumnRates, DrawnOutcomes

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
            first = outcomes.of_first_calls(column)
            assert (first is None) == (rates == ColumnRates())
            for row in (*range(0, 12_000, 37), 3):
                for call in (1, 2, 5, 9):
                    wanted = failure_of(rates, unit(7, column, row, call, 0, *anew))
                    assert outcomes.of_cell(column, row, call) == wanted
                    if call == 1 and first is not None:
                        assert first(row) == wanted


def test_a_recorded_failure_comes_after_the_drawn_ones() -> None:
    def recorded(column: int, place: int, call: int, *, barrier: bool) -> Failure | None:
        assert not barrier
        return "retryable" if (column + place + call) % 3 == 0 else None

    outcomes = DrawnOutcomes(7, RATES, recorded=recorded)
    for column, rates in enumerate(RATES):
        first = outcomes.of_first_calls(column)
        assert first is not None
        for row in range(2000):
            drawn = failure_of(rates, unit(7, column, row, 1, 0))
            wanted = drawn or recorded(column, row, 1, barrier=False)
            assert first(row) == wanted == outcomes.of_cell(column, row, 1)


def test_a_block_of_skips_is_that_of_its_cells() -> None:
    outcomes = DrawnOutcomes(7, [ColumnRates(), ColumnRates(skip=0.3)])
    assert outcomes.of_skips(0) is None
    by_row = outcomes.of_skips(1)
    assert by_row is not None
    for row in (*range(0, 40_000, 91), 3):
        assert by_row(row) == outcomes.skips(1, row) == (unit(7, 1, row, 0, 2) < 0.3)
