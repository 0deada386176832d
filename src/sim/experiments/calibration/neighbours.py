"""Do calls that start one after the other take alike long?

A fit takes each call as a draw of its own, and so do the intervals of what it predicts. Calls that
wait for the same thing are not: a hundred calls that end at once and whose ends an engine's loop
handles one after the other, or those of one slow minute. Their seconds hold that wait, which
another run has at other times. It shows in the rank correlation of the seconds of each call with
those of the call that started next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

__all__ = ["LEAST", "SIGMAS", "likeness"]

LEAST: Final = 0.3
"""A correlation below this widens an interval by less than 1.4 times, and is left alone."""

SIGMAS: Final = 3.5
"""Of n independent calls the correlation is below so many times 1 / √n, but for 1 of 4,000."""


def likeness(seconds: Sequence[float]) -> float | None:
    """The rank correlation of each call with the next one; None if none is shown.

    Args:
        seconds: of the calls, in the order of their starts.
    """
    import numpy as np

    if len(seconds) < 3:
        return None
    x = np.array(seconds, float)
    # Equal seconds, but for the rounding of two times, have one rank.
    _, place, counts = np.unique(
        np.round(x / max(float(x.max()), 1e-300), 6), return_inverse=True, return_counts=True
    )
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    ranks -= ranks.mean()
    spread = float((ranks * ranks).sum())
    if not spread:
        return None
    found = float((ranks[1:] * ranks[:-1]).sum()) / spread
    return found if found >= max(LEAST, SIGMAS / math.sqrt(len(x))) else None
