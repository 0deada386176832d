"""The profiles of few examples draw the same each time, whatever else a process did before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LATE = (
    "sim.cli,"
    "cellspec.fuzz,"
    "cellspec.explore,"
    "cellspec.conformance.campaign.suite,"
    "tests.matrix.engine_mutants"
)
ALL = ("graphs", "plain", "steps")


def drawn(*arguments: str, hash_seed: str = "0") -> dict[str, str]:
    """By property, the number and a digest of what a process of its own draws."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.campaign.drawn", *arguments],
        cwd=ROOT,
        env={**os.environ, "HYPOTHESIS_PROFILE": "quick", "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def in_order() -> dict[str, str]:
    return drawn(",".join(ALL))


def test_the_order_of_properties_and_late_imports_change_no_draw(
    in_order: dict[str, str],
) -> None:
    assert drawn("steps,plain,graphs", LATE, hash_seed="1") == in_order
    assert drawn("graphs,steps,plain", LATE, hash_seed="2") == in_order


def test_a_property_that_runs_in_a_process_of_its_own_draws_the_same(
    in_order: dict[str, str],
) -> None:
    for name in ALL:
        assert drawn(name, hash_seed="3") == {name: in_order[name]}
