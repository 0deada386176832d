"""``cellspec tune`` finds the checkpoint interval that a formula has as the best: cases like F2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.recompute.runner import run_tune
from tests.theory.formulas import checkpointed_s, daly_s, young_s
from tests.theory.models import one_by_one

WORSE = 1.02
"""The mean makespan of what is chosen, over that of the best, at most: 1 % is what `tune` does not
tell apart, and as much again is chance."""


@dataclass(frozen=True, slots=True)
class Saved:
    """Rows one after the other, saved every so many, with random crashes; times in seconds."""

    rows: int
    row_s: float
    write_s: float
    between_s: float
    restart_s: float
    every: int

    def makespan_s(self, every: int) -> float:
        return checkpointed_s(
            self.rows, every, self.row_s, self.between_s, self.restart_s, self.write_s
        )


@pytest.mark.theory
@pytest.mark.parametrize(
    "saved",
    [
        Saved(200, 10, 10, 400, 60, 40),
        Saved(300, 5, 20, 900, 30, 10),
        Saved(240, 10, 60, 2400, 120, 120),
        Saved(600, 2, 15, 500, 20, 30),
        Saved(100, 10, 30, 1200, 300, 50),
        Saved(200, 20, 5, 800, 60, 100),
    ],
    ids=lambda saved: f"{saved.rows}-{saved.between_s:g}",
)
def test_the_interval_that_is_found_is_nearly_the_best_one(saved: Saved, tmp_path: Path) -> None:
    checkpoint = {"every_rows": saved.every, "write_s": saved.write_s, "blocking": True}
    row = {"model": "constant", "value_s": saved.row_s}
    data = one_by_one(saved.rows, row, saved.between_s, saved.restart_s, checkpoint=checkpoint)
    options = ("--goal", "throughput", "--over", "checkpoint.every_rows", "--most", "40")
    done = run_tune(data, tmp_path, *options, "--no-check")
    assert done.code == 0, done.said
    winner = done.printed["winner"]
    found = int(winner["settings"].get("checkpoint.every_rows", saved.every))
    best_s = min(map(saved.makespan_s, range(1, saved.rows + 1)))
    assert saved.makespan_s(found) <= WORSE * best_s
    # The winner's own mean makespan, on seeds that did not choose it.
    took = winner["makespan_s"]
    error_s = took["sd"] / took["runs"] ** 0.5
    assert took["mean"] == pytest.approx(saved.makespan_s(found), abs=3.5 * error_s)
    formulas = winner["checkpoint_interval"]
    young, daly = (f(saved.write_s, saved.between_s) for f in (young_s, daly_s))
    assert (formulas["young_s"], formulas["daly_s"]) == pytest.approx((young, daly))
    rows = (formulas["young_rows"], formulas["daly_rows"])
    assert rows == pytest.approx((young / saved.row_s, daly / saved.row_s))
