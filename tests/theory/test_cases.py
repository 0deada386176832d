"""Every case with a known answer, run as a user would run it: ``../shared/theory/README.md``.

A case whose words the simulator does not understand yet would be a strict xfail: the first run in
which it is right fails here until its word is taken out of `NOT_YET`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.theory.cases import CASES, FOLDER, Case, Expected, failures_of, read_cases

SHORT = 15_000
"""Cases of at most so many cells, over all their runs, are in the default tests."""

NOT_YET: set[str] = set()
"""Words of scenarios that a run does not follow yet."""


def marks(case: Case) -> Iterator[pytest.MarkDecorator]:
    lacks = sorted(NOT_YET.intersection(case.needs))
    if lacks:
        yield pytest.mark.xfail(reason=f"not understood yet: {', '.join(lacks)}", strict=True)
    if case.cells > SHORT:
        yield pytest.mark.theory


def parameters() -> list[Any]:
    """A parameter for each case; none if the file is not there, of which a test below tells."""
    if not CASES.is_file():
        return []
    return [pytest.param(case, id=case.id, marks=list(marks(case))) for case in read_cases()]


@pytest.mark.parametrize("case", parameters())
def test_a_case_has_the_figures_of_theory(case: Case, tmp_path: Path) -> None:
    assert not failures_of(case, tmp_path), case.title


def test_all_cases_are_there() -> None:
    if not FOLDER.is_dir():
        pytest.skip("no cases with known answers were run: there is no folder ../shared/theory")
    cases = list(read_cases())
    assert len(cases) == 77
    assert len({case.id for case in cases}) == 77
    assert {word for case in cases for word in case.needs} >= NOT_YET
    assert all(case.expected for case in cases)


def test_a_figure_is_missed_by_its_kind() -> None:
    exact = Expected("refused", "exact", value=78.0)
    assert exact.missed([78.0, 78.0]) == ""
    assert exact.missed([78.0, 79.0]) == "refused: 79.0, expected 78.0 ± 0"
    mean = Expected("makespan_s", "mean", value=10.0, sd=1.0, rel=0.01)
    # 3.5 standard errors of 4 seeds are 1.75; the relative part is 0.1 more.
    assert mean.missed([11.8, 11.8, 11.8, 11.8]) == ""
    assert mean.missed([11.9, 11.9, 11.9, 11.9]).startswith("makespan_s: mean 11.9 of 4")
    bounds = Expected("makespan_s", "bounds", low=1.0, high=2.0)
    assert bounds.missed([1.0, 2.0]) == ""
    assert bounds.missed([1.5, 2.1]) == "makespan_s: 2.1, expected 1.0 to 2.0"
