"""The formulas have the numbers that other programs worked out, and agree where two apply."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tests.theory import formulas
from tests.theory.cases import FOLDER, read_cases
from tests.theory.formulas import MANY, Station
from tests.theory.models import closed_networks, crashes, lines, tandems


def test_each_mean_of_a_case_is_what_another_program_worked_out() -> None:
    if not FOLDER.is_dir():
        pytest.skip("no mean was compared: there is no folder ../shared/theory")
    cases = {case.id: case for case in read_cases()}
    models = [
        model
        for section in (lines, tandems, closed_networks, crashes)
        for model in section(cases)
        if model.case
    ]
    assert len(models) == 14
    for model in models:
        (expected,) = cases[model.case].expected
        # Of general services the other program knows the mean from runs, within so much.
        assert model.mean == pytest.approx(expected.value, rel=expected.rel or 1e-9), model.label


def test_a_wait_nears_that_of_the_steady_state_from_below() -> None:
    for waits, steady in (
        ([formulas.mmk_wait_s(1.0, 2.4, 3, n) for n in (10, 100, 2000)],
         formulas.mmk_steady_wait_s(1.0, 2.4, 3)),
        ([formulas.md1_wait_s(2.0, 1.0, n) for n in (10, 100, 20_000)],
         formulas.mg1_steady_wait_s(2.0, 1.0, 0.0)),
        ([formulas.mgamma1_wait_s(2.0, 1.0, 0.5, n) for n in (10, 100, 20_000)],
         formulas.mg1_steady_wait_s(2.0, 1.0, 2.0)),
    ):  # fmt: skip
        assert all(less < more for less, more in pairwise([*waits, steady]))
        assert waits[-1] == pytest.approx(steady, rel=0.02)


def test_exponential_services_are_gamma_services_of_shape_one() -> None:
    by_chain = formulas.mmk_wait_s(2.0, 1.5, 1, 500)
    assert formulas.mgamma1_wait_s(2.0, 1.5, 1.0, 500) == pytest.approx(by_chain, rel=1e-9)
    assert formulas.mmk_steady_wait_s(2.0, 1.5, 1) == pytest.approx(
        formulas.mg1_steady_wait_s(2.0, 1.5, 1.0)
    )


def test_mean_value_analysis_is_what_a_long_run_of_two_stations_gains_by_a_row() -> None:
    for first, second in (
        (Station(3.0, MANY), Station(1.0)),
        (Station(1.0, 2), Station(2.5, 4)),
        (Station(0.3), Station(1.0, 5)),
    ):
        for customers in (1, 3, 9):
            gained_s = formulas.closed_s(first, second, 800, customers) - formulas.closed_s(
                first, second, 700, customers
            )
            x = formulas.mva_rows_per_s([first, second], customers)
            assert gained_s / 100 == pytest.approx(1 / x, rel=1e-6)


def test_one_station_in_two_is_the_station_alone() -> None:
    at_once_s = formulas.closed_s(Station(2.0, 16), Station(1e-9, MANY), 200, 200)
    assert at_once_s == pytest.approx(formulas.all_at_once_s(200, 16, 2.0), rel=1e-6)


def test_saves_that_cost_nothing_are_pieces_that_may_be_lost() -> None:
    assert formulas.segment_s(10, 40, 2) == pytest.approx(42 * math.expm1(0.25))
    assert formulas.checkpointed_s(25, 10, 1, 40, 2) == pytest.approx(
        2 * formulas.segment_s(10, 40, 2) + formulas.segment_s(5, 40, 2)
    )
    # Without crashes only work and writes are left.
    assert formulas.checkpointed_s(20, 10, 1, 1e12, 2, 3) == pytest.approx(26, rel=1e-6)


def test_young_and_daly_are_near_the_best_interval() -> None:
    def per_second(work_s: float) -> float:
        return formulas.segment_s(work_s, 900.0, 0.0, 20.0) / work_s

    best = min(range(50, 400), key=per_second)
    assert formulas.daly_s(20, 900) == pytest.approx(best, rel=0.03)
    assert formulas.young_s(20, 900) == pytest.approx(best, rel=0.1)
    assert formulas.daly_s(2000, 900) == 900


def test_the_bounds_of_a_schedule_meet_where_there_is_one_worker_or_one_chain() -> None:
    chain = formulas.critical_path_s({"a": 1, "b": 2, "c": 4}, {"a": [], "b": ["a"], "c": []})
    assert chain == 4
    assert formulas.graham_bounds_s(7, chain, 1) == (7, 7)
    assert formulas.graham_bounds_s(7, chain, 2) == (4, 5.5)
    assert formulas.graham_bounds_s(7, 7, 5) == (7, 7)
