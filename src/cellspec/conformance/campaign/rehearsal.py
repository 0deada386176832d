"""Rehearsal: few workloads for a slow engine, chosen by what they do to a fast one.

An engine that needs seconds for a run cannot run hundreds of workloads. A `Rehearsal` takes
several workloads for each that the slow engine runs, runs them all on the reference engine, which
needs milliseconds in virtual time, and takes the one that covers most that none taken before did:
what the campaign wants first (the coverage goals and the clauses of its profile), then other
situations, other clauses that it exercises, and pairs of things that it asks for. While something
is wanted that none of the several covers, it draws on, so that few workloads meet the goals of
many.

The slow engine may take another path than the reference. So this decides what is run, and nothing
about the evidence: that counts what the slow engine did.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from itertools import combinations, count

from cellspec.conformance.campaign.needs import needs_of
from cellspec.conformance.judge.coverage import run_coverage
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.workload import Workload

__all__ = ["Rehearsal"]

_WANTED, _SITUATION, _CLAUSE, _PAIR = 10_000, 100, 10, 1
"""What something new counts for."""

_DRAWN_ON = 20
"""In search of what is wanted, a campaign draws at most so many times the usual number."""


class Rehearsal:
    """Chooses workloads for one campaign.

    Args:
        run: runs a workload on the fast engine.
        drawn_for_one: of so many workloads one is taken.
        wanted: the situations and clauses that the campaign is to cover.
    """

    def __init__(
        self,
        run: Callable[[Workload], RunResult],
        drawn_for_one: int,
        wanted: Collection[Hashable] = (),
    ) -> None:
        self.drawn_for_one = drawn_for_one
        self._run = run
        self._wanted = frozenset(wanted)
        self._left = _DRAWN_ON * drawn_for_one
        self._met: set[Hashable] = set()

    def take(self, draw: Callable[[int], Workload]) -> Workload:
        """The workload that covers most that none taken before did; of equals the first.

        Args:
            draw: draws one of the workloads to choose from, by its number from 0.
        """
        wanted = self._wanted - self._met
        covered = []
        for number in count():
            if number >= self.drawn_for_one:
                if not wanted or not self._left:
                    break
                self._left -= 1
            work = draw(number)
            covers = self._covers(work)
            covered.append((work, covers))
            if not wanted.isdisjoint(covers):
                # Enough, once the usual number is drawn.
                wanted = frozenset()

        def new(one: tuple[Workload, dict[Hashable, int]]) -> int:
            return sum(weight for what, weight in one[1].items() if what not in self._met)

        work, covers = max(covered, key=new)
        self._met.update(covers)
        return work

    def _covers(self, work: Workload) -> dict[Hashable, int]:
        """What a workload covers on the fast engine, each with what it counts for."""
        needs = sorted(needs_of(work))
        found: dict[Hashable, int] = dict.fromkeys(needs, _PAIR)
        found.update(dict.fromkeys(combinations(needs, 2), _PAIR))
        seen = run_coverage(self._run(work))
        found.update(dict.fromkeys(seen.exercised, _CLAUSE))
        found.update(dict.fromkeys(seen.sometimes, _SITUATION))
        found.update(dict.fromkeys(self._wanted.intersection(found), _WANTED))
        return found
