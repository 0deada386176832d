"""Pairs of features: which of them a campaign has had in one workload, and which comes next.

A mistake often shows only where two features meet: a skip before a crash, a row that is dropped in
a run that stops early. Chance alone leaves most pairs thin. So every other workload of a campaign
is drawn with the pair that was met least so far, a function of the workloads before it alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import combinations

from cellspec.conformance.campaign.generator.features import (
    FEATURES,
    NEEDS,
    features_of,
    never_together,
)
from cellspec.conformance.run.workload import Workload

__all__ = ["Pair", "Pairs"]

Pair = tuple[str, str]

_TRIES = 4
"""How often a pair is asked for that no workload has had: the engine's backend takes it away."""


class Pairs:
    """The pairs of features of one campaign.

    Args:
        profile: the profile of the campaign.
        known: other capabilities that its workloads may make use of.

    Attributes:
        known: as given.
        goals: the pairs that a workload can have.
        met: in how many workloads each was.
    """

    def __init__(self, profile: str, known: Collection[str]) -> None:
        self.known = known
        able = {profile, *known}
        names = [name for name in FEATURES if name in able and able.issuperset(NEEDS.get(name, ()))]
        self.goals: tuple[Pair, ...] = tuple(
            pair for pair in combinations(names, 2) if not never_together(pair, profile)
        )
        self.met: Counter[Pair] = Counter()
        self._asked: Counter[Pair] = Counter()

    def next(self, example: int) -> tuple[str, ...]:
        """The features to force on the n-th workload, from 1; none on every other."""
        if example % 2:
            return ()
        open_ones = [pair for pair in self.goals if self.met[pair] or self._asked[pair] < _TRIES]
        if not open_ones:
            return ()
        pair = min(open_ones, key=lambda pair: (self.met[pair] + self._asked[pair], self.met[pair]))
        self._asked[pair] += 1
        return pair

    def count(self, work: Workload) -> None:
        """Count the pairs of a workload, as it is put to the engine."""
        has = features_of(work)
        self.met.update(pair for pair in self.goals if has.issuperset(pair))
