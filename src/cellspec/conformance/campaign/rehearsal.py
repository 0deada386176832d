"""Rehearsal: few workloads for a slow engine, chosen by what they do to a fast one.

An engine that needs seconds for a run cannot run hundreds of workloads. A `Rehearsal` takes
several workloads for each that the slow engine runs, runs them all on the reference engine, which
needs milliseconds in virtual time, and takes the one that covers most that none taken before did:
coverage goals first, then clauses that it exercises, then pairs of things that it asks for.

The slow engine may take another path than the reference. So this decides what is run, and nothing
about the evidence: that counts what the slow engine did.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import combinations

from cellspec.conformance.campaign.needs import needs_of
from cellspec.conformance.judge.coverage import run_coverage
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.workload import Workload

__all__ = ["Rehearsal"]

_GOAL, _CLAUSE, _PAIR = 100, 10, 1
"""What something new counts for."""


class Rehearsal:
    """Chooses workloads for one campaign.

    Args:
        run: runs a workload on the fast engine.
        drawn_for_one: of so many workloads one is taken.
    """

    def __init__(self, run: Callable[[Workload], RunResult], drawn_for_one: int) -> None:
        self.drawn_for_one = drawn_for_one
        self._run = run
        self._met: set[Hashable] = set()

    def take(self, draw: Callable[[int], Workload]) -> Workload:
        """The workload that covers most that none taken before did; of equals the first.

        Args:
            draw: draws one of the workloads to choose from, by its number from 0.
        """
        works = map(draw, range(self.drawn_for_one))
        covered = [(work, self._covers(work)) for work in works]

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
        found.update(dict.fromkeys(seen.sometimes, _GOAL))
        return found
