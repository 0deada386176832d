"""Causes: the bugs behind the violations of a conformance run, each told once.

A broken engine breaks more than one clause, and one bug of it shows in many workloads. The suite
goes on after a violation, and sorts what it finds by *root*: a root stands for one bug. It has the
smallest workload found that shows it, the number of workloads that showed it, and its
*consequences*, the other clauses that broke with it.

Each failing workload is run with every clause judged, and what breaks first is its `Symptom`
(`cellspec.conformance.campaign.symptoms`). A symptom that is known is counted. A new one is made
smaller, and belongs to a known root if one of these holds:

- the two smallest workloads are the same;
- the smallest workload of one, run on with its clause waived, shows the symptom of the other;
- a workload that is smaller than its smallest by one step shows a symptom of the root instead.

Otherwise it is a root of its own. Then the workload is run on with the clause waived, so that one
bug does not hide others. A symptom that shows only there is a consequence if its smallest workload,
with every clause judged, still breaks the clause in front of it.

Counts bound the work, and no clock does: the same seed gives the same roots everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TypeAlias

from cellspec.conformance.campaign.results import Failure, failure_of
from cellspec.conformance.campaign.shrink_workload import shrunk_workload
from cellspec.conformance.campaign.symptoms import Symptom, symptom_of
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Fit
from cellspec.conformance.run.workload import Workload
from cellspec.graph.columns import ColumnDescriptor

__all__ = ["BEHIND_MAX", "RUNS_MAX", "SHRINK_RUNS_MAX", "Causes", "Place", "Root", "Run"]

SHRINK_RUNS_MAX = 600
"""Runs in search of a smaller workload for one symptom. A count, so that it is the same count on a
slow machine."""

RUNS_MAX = 4000
"""Runs in search of smaller workloads for all symptoms of a conformance run together. Most of them
are far smaller than the workloads that are drawn."""

BEHIND_MAX = 2
"""How often one workload is run on with one more clause waived."""

Run: TypeAlias = Callable[[Workload, Collection[str]], RunResult]
"""Runs one workload, with these clauses waived."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a workload was drawn: the profile, the number in its campaign, and the seed."""

    profile: str = ""
    example: int = 0
    seed: int = 0


@dataclass(slots=True)
class Root:
    """One bug.

    Attributes:
        failure: the violation that stands for it, with the smallest workload found.
        found: the number of workloads that showed it.
        consequences: the other clauses that it broke, each with the number of workloads.
        details: for each of these, the first violation in one line.
    """

    failure: Failure
    found: int = 0
    consequences: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Small:
    """A symptom with its smallest workload, and the symptoms that are near it."""

    symptom: Symptom
    result: RunResult
    waived: tuple[str, ...]
    near: set[Symptom] = field(default_factory=set)
    behind: list[Symptom] = field(default_factory=list)


class Causes:
    """The roots of the violations of one conformance run.

    Args:
        run: runs one workload.
        fit: brings a workload to one that the engine can be asked for.
        shrink_runs: runs in search of a smaller workload for one symptom; 0 takes the first.
    """

    def __init__(
        self, run: Run, *, fit: Fit = lambda work: work, shrink_runs: int = SHRINK_RUNS_MAX
    ) -> None:
        self._run = run
        self._fit = fit
        self._shrink_runs = shrink_runs
        self._left = RUNS_MAX
        self._known: dict[Symptom, Root] = {}
        self._smallest: dict[int, _Small] = {}
        self.roots: list[Root] = []
        self.log: list[str] = []

    def sort(
        self, result: RunResult, place: Place, waived: tuple[str, ...] = ()
    ) -> tuple[RunResult, tuple[str, ...]]:
        """Count the violation of a run under its root, and those behind it.

        Returns:
            The last run of the workload, and the clauses that were waived in it.
        """
        shown: dict[int, Root] = {}
        fronts: dict[str, Root] = {}
        for _ in range(BEHIND_MAX + 1):
            root = self._root(result, place, waived, fronts)
            broken = result.violations[0]
            if id(root) not in shown:
                shown[id(root)] = root
                root.found += 1
            if broken.clause != root.failure.clause:
                root.consequences[broken.clause] += 1
                root.details.setdefault(broken.clause, broken.detail)
            fronts[broken.clause] = root
            if result.adapter or len(waived) > BEHIND_MAX:
                break
            waived = tuple(sorted({*waived, broken.clause}))
            result = self._run(result.work, waived)
            if not result.violations:
                break
        return result, waived

    def _root(self, result: RunResult, place: Place, waived: tuple[str, ...], fronts: Mapping[str, Root]) -> Root:
        """The root of a violation, which is sorted now if its symptom is new."""
        symptom = symptom_of(result.violations[0])
        root = self._known.get(symptom)
        if root is None:
            small = self._small(symptom, result, waived)
            root = self._linked(small, fronts)
            if root is None:
                root = self._new(small, place)
            self._known[symptom] = root
        return root

    def _new(self, small: _Small, place: Place) -> Root:
        failure = failure_of(
            small.result, profile=place.profile, example=place.example, waived=small.waived
        )
        root = Root(failure)
        self.roots.append(root)
        self._smallest[id(root)] = small
        self.log.append(f"root {len(self.roots)}: {small.symptom}")
        for symptom in small.behind:
            self._known.setdefault(symptom, root)
        return root

    # Smaller

    def _small(self, symptom: Symptom, result: RunResult, waived: tuple[str, ...]) -> _Small:
        """The smallest workload found for a symptom, with what shows around it."""
        best = result
        near: set[Symptom] = set()

        def breaks(work: Workload) -> bool:
            nonlocal best, near
            self._left -= 1
            tried = self._run(work, waived)
            if not tried.violations:
                return False
            seen = symptom_of(tried.violations[0])
            if seen.clause != symptom.clause or (seen != symptom and seen in self._known):
                near.add(seen)
                return False
            best, near = tried, set()
            return True

        most = min(self._shrink_runs, self._left)
        shrunk_workload(result.work, breaks, runs_max=max(0, most), fit=self._fit)
        small = _Small(symptom, best, waived, near)
        if waived:
            small.near = set()
            alone = self._run(best.work, ())
            seen = symptom_of(alone.violations[0]) if alone.violations else None
            if seen == symptom:
                small.result, small.waived = alone, ()
            elif seen is not None:
                small.near = {seen}
                return small
        small.behind = self._behind(small)
        return small

    def _behind(self, small: _Small) -> list[Symptom]:
        """What the smallest workload shows when the clause that broke is waived."""
        found: list[Symptom] = []
        waived = {*small.waived, small.result.violations[0].clause}
        while len(found) < BEHIND_MAX:
            result = self._run(small.result.work, tuple(sorted(waived)))
            if not result.violations:
                break
            found.append(symptom_of(result.violations[0]))
            waived.add(found[-1].clause)
        return found

    # Linked

    def _linked(self, small: _Small, fronts: Mapping[str, Root]) -> Root | None:
        """The known root that a new symptom belongs to; None if it is a root of its own."""
        for root in self.roots:
            if root.failure.workload == small.result.work:
                self.log.append(f"same work: {small.symptom} -> {root.failure.clause}")
                return root
        for symptoms, why in ((small.behind, "behind"), (sorted(small.near), "near")):
            for symptom in symptoms:
                if symptom in self._known:
                    root = self._known[symptom]
                    self.log.append(f"{why}: {small.symptom} -> {root.failure.clause}")
                    return root
        for symptom in sorted(small.near) if small.waived else ():
            if symptom.clause in fronts:
                root = fronts[symptom.clause]
                self.log.append(f"front: {small.symptom} -> {root.failure.clause}")
                return root
        needs = needs_of(small.result.work)
        for root in self.roots:
            others = needs_of(root.failure.workload)
            clauses = {root.failure.clause, *root.consequences}
            if small.symptom.clause in clauses and (needs <= others or others <= needs):
                self.log.append(f"same clause: {small.symptom} -> {root.failure.clause}")
                return root
            chapter = small.symptom.clause.partition("-")[0]
            if chapter == root.failure.clause.partition("-")[0] and needs == others:
                self.log.append(f"same needs: {small.symptom} -> {root.failure.clause}")
                return root
        return None


_USUAL = Workload((ColumnDescriptor("a"),), 1)
_PART_OF_ALL = frozenset({"columns", "rows", "seed", "order_seed", "latency_s", "ends", "batch_size"})
_GROUPS = ("limits", "failures")


def needs_of(work: Workload) -> frozenset[str]:
    """What a workload asks for beyond plain cells, each thing by a name."""
    found: set[str] = set()
    for item in fields(Workload):
        value, usual = getattr(work, item.name), getattr(_USUAL, item.name)
        if item.name in _GROUPS:
            found.update(
                part.name
                for part in fields(value)
                if getattr(value, part.name) != getattr(usual, part.name)
            )
        elif item.name not in _PART_OF_ALL and value != usual:
            found.add(item.name)
    found.update(fault.failure for fault in work.faults)
    for column in work.columns:
        found.update(trait.name or "" for trait in column.traits)
    return frozenset(found - {"faults", "START", "CELL_BY_CELL", "stop_rate"})
