"""The campaign of searches: its formula, and a few of its searches."""

from __future__ import annotations

import pytest

from sim.experiments.elimination import Effort
from tests.coverage.tuned import CASES, Case, searched


def test_the_formula_is_that_of_the_cases_with_known_answers() -> None:
    """Cases F1-20, F1-25 and F1-80, in tens of seconds."""
    case = Case(120, (20, 25, 80), rows=400, write_s=3, restart_s=6)
    spans = [10 * case.makespan_s(value) for value in case.values]
    assert spans == pytest.approx([5257.375148559, 5231.872499358, 6202.846424818], rel=1e-9)
    assert case.best() == 25


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.crashes_s:g} s")
def test_a_search_keeps_the_best_one(case: Case) -> None:
    found = searched(0, case, Effort(precision=0.02, most_runs=13))
    assert not found.lost
    assert found.runs <= 13 * len(case.values)
