"""How often to write a checkpoint, by the two formulas of the literature.

Young (A first order approximation to the optimum checkpoint interval, Communications of the ACM
17(9), 1974) gives √(2 δ M) seconds of work between two checkpoints, for writes of δ seconds and
crashes M seconds apart on average. Daly (A higher order estimate of the optimum checkpoint interval
for restart dumps, Future Generation Computer Systems 22(3), 2006, equation 37) adds terms for
writes that are not short beside M: √(2 δ M) · (1 + ⅓ √(δ / 2M) + ⅑ · δ / 2M) − δ, or M for writes
of 2 M and more.

Both assume that the time to the next crash is exponential, that nothing else goes on during a
write, that a crash loses all work since the last one, and that work advances evenly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.scenario.scenario import Scenario

__all__ = ["Formulas", "daly_s", "formulas_of", "mean_between_crashes_s", "young_s"]


@dataclass(frozen=True, slots=True)
class Formulas:
    """The two intervals of a scenario.

    Attributes:
        write_s: seconds of a write.
        crashes_s: mean seconds from a start or resume to the next crash.
        rows_per_s: how fast rows are made between them.
        young_s, daly_s: seconds of work between two checkpoints.
    """

    write_s: float
    crashes_s: float
    rows_per_s: float
    young_s: float
    daly_s: float

    @property
    def young_rows(self) -> float:
        """Young's interval in rows."""
        return self.young_s * self.rows_per_s

    @property
    def daly_rows(self) -> float:
        """Daly's interval in rows."""
        return self.daly_s * self.rows_per_s


def young_s(write_s: float, crashes_s: float) -> float:
    """Seconds of work between two checkpoints, by Young.

    Args:
        write_s: of one checkpoint.
        crashes_s: mean seconds to the next crash.
    """
    return math.sqrt(2 * write_s * crashes_s)


def daly_s(write_s: float, crashes_s: float) -> float:
    """Seconds of work between two checkpoints, by Daly's higher order estimate.

    Args:
        write_s: of one checkpoint.
        crashes_s: mean seconds to the next crash.
    """
    if write_s >= 2 * crashes_s:
        return crashes_s
    share = write_s / (2 * crashes_s)
    return young_s(write_s, crashes_s) * (1 + math.sqrt(share) / 3 + share / 9) - write_s


def mean_between_crashes_s(scenario: Scenario) -> float | None:
    """Mean seconds to the next random crash; None without one. Several causes add their rates."""
    rates = [1 / crash.random.mean_s for crash in scenario.crashes if crash.random is not None]
    return 1 / sum(rates) if rates else None


def formulas_of(scenario: Scenario, rows_per_s: float) -> Formulas | None:
    """The intervals of a scenario; None where a formula has nothing to say.

    That is without random crashes, and where a checkpoint takes the run no time: it is written in
    no time, or work goes on meanwhile.

    Args:
        scenario: with its crashes and its checkpoint.
        rows_per_s: how fast it makes rows without either.
    """
    checkpoint, crashes_s = scenario.checkpoint, mean_between_crashes_s(scenario)
    if checkpoint is None or crashes_s is None:
        return None
    if not checkpoint.blocking or not checkpoint.write_s:
        return None
    write = checkpoint.write_s
    return Formulas(
        write, crashes_s, rows_per_s, young_s(write, crashes_s), daly_s(write, crashes_s)
    )
