"""The times at which the rows of a scenario come."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import pairwise

from sim.draws import stream
from sim.scenario.distributions import LatencyModel
from sim.scenario.sampler import BLOCK_ROWS

__all__ = ["arrival_times", "longest_gap_s"]


def arrival_times(gaps: LatencyModel, seed: int, rows: int, done: int) -> array[float]:
    """When each row comes, in seconds: the first at 0, each other a gap after the row before it.

    Args:
        gaps: between rows, in seconds.
        seed: of the run.
        rows: of the dataset.
        done: so many rows are complete when the run begins, and the next is then the first.
    """
    import numpy as np

    draws = stream(seed, "arrivals", "", 1)
    blocks = range(-(-rows // BLOCK_ROWS))
    parts = [gaps.sample(draws.at(block), block * BLOCK_ROWS, BLOCK_ROWS) for block in blocks]
    times = np.concatenate(([0.0], np.concatenate(parts)[1:rows])).cumsum()
    start_s = times[min(done, rows - 1)]
    return array("d", np.maximum(times - start_s, 0.0).tobytes())


def longest_gap_s(times: Sequence[float]) -> float:
    """The longest time in which no row comes, from the first row to the last; 0 without rows."""
    return max((after - before for before, after in pairwise(times)), default=0.0)
