"""Warm-up: whether the first calls of a resource took longer than later ones.

The first calls are those that started before any call of the resource had ended. A rank test asks
whether they are slower than the others, each as a share of its column's mean. If they are, the
resource had a *cold start*: a first time ``first_s`` in which nothing is served, as a scenario's
``endpoints.NAME.cold_start`` says. What a call lost to it is the rest of that time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Final

from sim.experiments.calibration.record import Call, Record

__all__ = ["LEAST_SLOWER", "SHOWN", "WarmUp", "warm_ups"]

SHOWN: Final = 0.001
"""A cold start is fitted if the rank test's p-value is below this, …"""

LEAST_SLOWER: Final = 0.05
"""… and the first calls took longer than others by this share at least."""

_FEWEST = 20
"""Later calls, below which nothing is said."""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The first calls of a resource beside later ones.

    Attributes:
        resource: the resource.
        calls: how many first calls there are.
        slower: how much longer they took, as a share; less than 0 if they were faster.
        p_value: one-sided, of the rank test.
        first_s: of the cold start; 0 if none is shown.
        until_s: calls of the resource that started before this time were held up.
    """

    resource: str
    calls: int
    slower: float
    p_value: float
    first_s: float = 0.0
    until_s: float = -math.inf


def warm_ups(record: Record) -> list[WarmUp]:
    """The warm-up of each resource of a run, where there are calls enough to tell."""
    found = []
    for name in dict.fromkeys(record.resources.values()):
        calls = [
            call
            for call in record.calls
            if record.resources.get(call.column) == name and call.failure is None
        ]
        calls.sort(key=lambda call: call.start_s)
        ends_s = min((call.end_s for call in calls), default=0.0)
        first = [call for call in calls if call.start_s < ends_s]
        later = calls[len(first) :]
        if first and len(later) >= _FEWEST:
            found.append(_of_resource(name, first, later))
    return found


def _of_resource(name: str, first: Sequence[Call], later: Sequence[Call]) -> WarmUp:
    by_column: dict[str, list[float]] = {}
    for call in later:
        by_column.setdefault(call.column, []).append(call.seconds)
    mean_s = {column: fmean(each) for column, each in by_column.items()}
    first = [call for call in first if mean_s.get(call.column)]
    if not first:
        return WarmUp(name, 0, 0.0, 1.0)
    shares = [call.seconds / mean_s[call.column] for call in first]
    others = [call.seconds / mean_s[call.column] for call in later if mean_s[call.column]]
    slower, p_value = fmean(shares) - 1, _larger(shares, others)
    begin_s = first[0].start_s
    if p_value >= SHOWN or slower < LEAST_SLOWER:
        return WarmUp(name, len(first), slower, p_value)
    first_s = fmean(call.seconds - mean_s[call.column] + call.start_s - begin_s for call in first)
    return WarmUp(name, len(first), slower, p_value, first_s, begin_s + first_s)


def _larger(some: Sequence[float], others: Sequence[float]) -> float:
    """The one-sided p-value that some numbers are larger than others (Mann-Whitney, normal)."""
    import numpy as np

    rest = np.sort(np.array(others))
    mine = np.array(some)
    left, right = np.searchsorted(rest, mine, "left"), np.searchsorted(rest, mine, "right")
    wins = float(left.sum() + (right - left).sum() / 2)
    count, other = len(mine), len(rest)
    expected = count * other / 2
    sd = math.sqrt(count * other * (count + other + 1) / 12)
    return 1 - NormalDist().cdf((wins - expected - 0.5) / sd)
