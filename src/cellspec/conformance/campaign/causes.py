"""Causes: the bugs behind the violations of a conformance run, each told once.

A broken engine breaks more than one clause, and one bug of it shows in many workloads. The suite
goes on after a violation, and sorts what it finds by *root*: a root stands for one bug. It has the
smallest workload found that shows it, the number of workloads that showed it, and its
*consequences*, the other clauses that broke with it.

Each failing workload is run with every clause judged, and what breaks first is its `Symptom`
(`cellspec.conformance.campaign.symptoms`). A symptom that is known is counted. A new one is made
smaller, and belongs to a known root if one of these holds:

- the two smallest workloads are the same;
- the smallest workload of one, run on with its clause waived, shows the symptom of the other, and
  that symptom is no mere consequence of it;
- a workload that is smaller than its smallest by one step shows a symptom of the root instead;
  A root whose smallest workload asks for nothing shows nearly everywhere, so this says nothing;
- the root broke the same clause, and one of the two smallest workloads asks for all that the other
  asks for (`cellspec.conformance.campaign.needs`);
- the root broke a clause of the same kind, and of what the two smallest workloads ask for at least
  half is in both; or one of them asks for nothing, and both have as many columns and rows. Clauses
  of one chapter are of one kind, but for those against work that is left undone (`LEFT_UNDONE`):
  one bug shows as an idle engine here, as a hang there, and elsewhere as a save that is late.

Otherwise it is a root of its own. Then the workload is run on (of those that show a root that many
showed before, one in a few is) with the clause waived, and at last
with every clause waived that is known as a consequence of the roots that it showed, so that one bug
does not hide others. A symptom that shows only there is a consequence if its smallest workload,
with every clause judged, still breaks the clause in front of it. Where it shows later with every
clause judged, it is sorted again: the search for a smaller workload may have ended too early to
part the two.

These are signs, and no proof: two bugs that always show together are told as one, and one bug that
shows in two unlike ways as two. ``plans/root-causes.md`` has measured how often.

Counts bound the work, and no clock does: the same seed gives the same roots everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from cellspec.conformance.campaign.needs import needs_of
from cellspec.conformance.campaign.results import Failure, failure_of
from cellspec.conformance.campaign.shrink_workload import shrunk_workload, size_of
from cellspec.conformance.campaign.symptoms import Symptom, symptom_of
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Fit
from cellspec.conformance.run.workload import Workload

__all__ = [
    "LEFT_UNDONE",
    "RUNS_MAX",
    "SHRINK_RUNS_MAX",
    "Causes",
    "Place",
    "Root",
    "Run",
    "Sorted",
]

SHRINK_RUNS_MAX = 600
"""Runs in search of a smaller workload for one symptom. A count, so that it is the same count on a
slow machine."""

RUNS_MAX = 4000
"""Runs in search of smaller workloads for all symptoms of a conformance run together. Most of them
are far smaller than the workloads that are drawn."""

SHRINK_EVENTS_MAX = 30_000
"""Events of the runs in search of a smaller workload for one symptom: a run of a large workload
takes as long as many runs of small ones."""

EVENTS_AT_FIRST = 120_000
"""Events that all these searches may take, and half as many more as the workloads that failed
had. So an engine that always fails costs at most three times as much as one that is right."""

EVENTS_KEPT = 30_000
"""So many of these events are kept for the few runs that tell the root of a symptom."""

LEFT_UNDONE = frozenset(
    ("SCHED-09", "SCHED-12", "SCHED-14", "SCHED-15", "GROUP-06", "GROUP-07", "CKPT-19", "STOP-08")
)
"""The clauses that an engine breaks by leaving work undone that it could do: to start a call, to
admit or retire a row group, to save, to end."""

STOOD_STILL_S_MAX = 60.0
"""Seconds that runs of all these searches may stand still together, but for the last run. Each is
waited for as long as the one before, so this too is a count."""

DRAWN_STOOD_STILL_S = 25.0
"""Seconds that drawn workloads stand still together before a campaign stops there."""

BEHIND_MAX = 2
"""How often one workload is run on with one more clause waived."""

FAR_WORKLOADS = 100
"""So many failing workloads are run on that often; those after them once."""

RUN_ON_ALWAYS = 100
"""So many workloads that show a root are run on; of those after them one in `RUN_ON_EVERY`: behind
a bug that shows in hundreds of workloads the next one shows soon."""

RUN_ON_EVERY = 4

Run: TypeAlias = Callable[[Workload, Collection[str]], RunResult]
"""Runs one workload, with these clauses waived."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a workload was drawn: the profile, the number in its campaign, and the seed."""

    profile: str = ""
    example: int = 0
    seed: int = 0


@dataclass(slots=True, eq=False)
class Root:
    """One bug.

    Attributes:
        failure: the violation that stands for it, with the smallest workload found.
        found: the number of workloads that showed it.
        seeds: the seeds of these workloads.
        consequences: the other clauses that it broke, each with the number of workloads.
        details: for each of these, the first violation in one line.
        alone: those of them that also broke with every clause judged.
    """

    failure: Failure
    found: int = 0
    seeds: set[int] = field(default_factory=set)
    consequences: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)
    alone: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Sorted:
    """What became of a failing workload.

    Attributes:
        last: its run that came farthest.
        waived: the clauses that were waived in that run.
        failures: the roots that it showed first.
        stopped_at: the clause at which the campaign is to stop; "" for none.
    """

    last: RunResult
    waived: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    stopped_at: str = ""


@dataclass(slots=True)
class _Small:
    """A symptom with its smallest run, and the symptoms that show around it.

    Attributes:
        near: those of workloads that are smaller by one step.
        behind: those of the same workload, with more clauses waived.
        front: the clause that breaks first in it, where its own shows only with that one waived.
        is_smallest: the search for a smaller workload came to its end.
    """

    symptom: Symptom
    result: RunResult
    waived: tuple[str, ...]
    near: set[Symptom] = field(default_factory=set)
    behind: tuple[Symptom, ...] = ()
    front: str = ""
    is_smallest: bool = True


class Causes:
    """The roots of the violations of one conformance run.

    Args:
        run: runs one workload.
        fit: brings a workload to one that the engine can be asked for.
        patient: runs one workload, and waits in full before it is said to stand still; by default
            as `run` does.
        shrink_runs: runs in search of a smaller workload for one symptom; 0 takes the first.
        runs: runs in search of smaller workloads for all symptoms together.

    Attributes:
        waited_enough: the last workload that was sorted stood still, as too many before it.
    """

    def __init__(
        self,
        run: Run,
        *,
        fit: Fit = lambda work: work,
        patient: Run | None = None,
        shrink_runs: int = SHRINK_RUNS_MAX,
        runs: int = RUNS_MAX,
    ) -> None:
        self.roots: list[Root] = []
        self._run = run
        self._fit = fit
        self._patient = patient or run
        self._still_left_s = STOOD_STILL_S_MAX
        self._drawn_still_s = 0.0
        self.waited_enough = False
        self._shrink_runs = shrink_runs
        self._runs_left = runs
        self._events_left = EVENTS_AT_FIRST
        self._far_left = FAR_WORKLOADS
        self._known: dict[Symptom, Root] = {}
        self._only_behind: set[Symptom] = set()

    def add(self, failure: Failure) -> Failure:
        """Add a root that was found and made smaller elsewhere; its failure, numbered."""
        before = sum(root.failure.clause == failure.clause for root in self.roots)
        numbered = replace(failure, nth=before + 1)
        self.roots.append(Root(numbered, found=1))
        return numbered

    def add_interrupted(
        self, result: RunResult, place: Place, waived: tuple[str, ...] = ()
    ) -> None:
        """Add what broke in a run that the user ended; nothing is searched for."""
        symptom = symptom_of(result.violations[0])
        self._note(_Small(symptom, result, waived, is_smallest=False), place)

    def _note(self, small: _Small, place: Place) -> None:
        """Count a symptom that was not sorted to the end under its root."""
        root = self._known.get(small.symptom) or self._linked(small, {}) or self._new(small, place)
        root.found += 1
        root.seeds.add(place.seed)

    def sort(
        self,
        result: RunResult,
        place: Place = Place(),
        waived: tuple[str, ...] = (),
        stops_at: Callable[[str], bool] = lambda _: False,
    ) -> Sorted:
        """Count the violation of a run under its root, and those behind it.

        Args:
            result: a run that broke a clause.
            place: where its workload was drawn.
            waived: the clauses that were waived in it.
            stops_at: whether to stop when this clause broke.
        """
        self._events_left += len(result.events) // 2
        roots_before = len(self.roots)
        fronts: dict[str, Root] = {}
        shown: list[Root] = []
        stopped_at = ""
        depth = self._depth()
        for step in range(depth + 1):
            broken = result.violations[0]
            self._drawn_still_s += result.stood_still_s
            enough = self._drawn_still_s >= DRAWN_STOOD_STILL_S
            self.waited_enough = result.stood_still_s > 0 and enough
            if step == 0:
                self._sort_again(symptom_of(broken))
            root = self._root_of(result, place, waived, fronts)
            fronts[broken.clause] = root
            if root not in shown:
                shown.append(root)
                root.found += 1
                root.seeds.add(place.seed)
            if broken.clause != root.failure.clause:
                root.consequences[broken.clause] += 1
                root.details.setdefault(broken.clause, broken.detail)
                root.alone.update([broken.clause] if step == 0 else [])
            if stops_at(root.failure.clause):
                stopped_at = root.failure.clause
            if result.adapter or stopped_at or step == depth or result.stood_still_s:
                # Nothing comes behind a run that stands still.
                break
            if step == 0 and root.found > RUN_ON_ALWAYS and root.found % RUN_ON_EVERY:
                break
            waived = tuple(sorted({*waived, broken.clause}))
            if step + 1 == depth:
                waived = tuple(sorted({*waived, *self._explained_by(shown)}))
            result = self._run(result.work, waived)
            if not result.violations:
                break
        new = tuple(root.failure for root in self.roots[roots_before:])
        return Sorted(result, waived, new, stopped_at)

    def _explained_by(self, roots: Collection[Root]) -> set[str]:
        """The clauses of which each violation so far was a consequence of one of these roots."""
        explained = {clause for root in roots for clause in root.consequences}
        others = [root for root in self.roots if root not in roots]
        return explained.difference(
            clause for root in others for clause in (root.failure.clause, *root.consequences)
        )

    def _depth(self) -> int:
        """How many more clauses are waived in this workload, one after the other."""
        self._far_left -= 1
        return BEHIND_MAX if self._far_left >= 0 else 1

    def _root_of(
        self,
        result: RunResult,
        place: Place,
        waived: tuple[str, ...],
        fronts: Mapping[str, Root],
    ) -> Root:
        """The root of a violation, which is sorted now if its symptom is new."""
        symptom = symptom_of(result.violations[0])
        if symptom not in self._known:
            small = _Small(symptom, result, waived)
            try:
                self._make_smaller(small)
            except BaseException:
                # By Ctrl-C, perhaps: what was found is told all the same.
                small.is_smallest = False
                self._note(small, place)
                raise
            root = self._linked(small, fronts)
            if root is None:
                root = self._new(small, place)
            elif root is fronts.get(small.front):
                self._only_behind.add(symptom)
            self._known[symptom] = root
        return self._known[symptom]

    def _sort_again(self, symptom: Symptom) -> None:
        """Forget the root of a symptom that is now seen without the clause in front of it."""
        if symptom not in self._only_behind:
            return
        self._only_behind.remove(symptom)
        root = self._known.pop(symptom)
        others = (known.clause for known, its in self._known.items() if its is root)
        if symptom.clause not in (root.failure.clause, *others):
            root.consequences.pop(symptom.clause, None)
            root.details.pop(symptom.clause, None)
            root.alone.discard(symptom.clause)

    def _new(self, small: _Small, place: Place) -> Root:
        self.add(
            failure_of(
                small.result,
                profile=place.profile,
                example=place.example,
                seed=place.seed,
                waived=small.waived,
                is_smallest=small.is_smallest,
            )
        )
        root = self.roots[-1]
        root.found = 0
        for symptom in small.behind:
            if self._known.setdefault(symptom, root) is root:
                self._only_behind.add(symptom)
        return root

    # Smaller

    def _make_smaller(self, small: _Small) -> None:
        """Put the smallest run found in place of one, with what shows around it."""
        first, symptom, waived = small.result, small.symptom, small.waived
        least = max(EVENTS_KEPT, self._events_left - SHRINK_EVENTS_MAX)

        def breaks(work: Workload) -> bool:
            if self._events_left <= least or self._still_left_s <= 0:
                return False
            tried = self._search(work, small.waived)
            if not tried.violations:
                return False
            seen = symptom_of(tried.violations[0])
            if seen.clause != symptom.clause or (seen != symptom and seen in self._known):
                small.near.add(seen)
                return False
            small.result = tried
            small.near.clear()
            return True

        most = max(0, min(self._shrink_runs, self._runs_left))
        shrunk_workload(first.work, breaks, runs_max=most, fit=self._fit)
        if self._runs_left > 0 and self._events_left > 0:
            self._look_around(small)
        if small.result.in_haste:
            # Found in haste: on a busy machine it may have been a pause.
            small.result = self._patient(small.result.work, small.waived)
            found = small.result.violations
            if not found or found[0].clause != symptom.clause:
                small.result, small.waived = first, waived

    def _look_around(self, small: _Small) -> None:
        """Note what shows behind a symptom, and in front of it if a clause is waived in its run."""
        if small.waived:
            # What is near it with clauses waived says little: the waived one may stand in front.
            small.near.clear()
            alone = self._search(small.result.work, ())
            first = alone.violations[0] if alone.violations else None
            if first is not None and symptom_of(first) != small.symptom:
                small.near.add(symptom_of(first))
                small.front = first.clause
                return
            if first is not None:
                small.result, small.waived = alone, ()
        if not small.result.stood_still_s:
            small.behind = self._behind(small.result, small.waived)

    def _search(self, work: Workload, waived: Collection[str]) -> RunResult:
        """Run a workload that was not drawn, and count the run."""
        found = self._run(work, waived)
        self._runs_left -= 1
        self._events_left -= len(found.events)
        self._still_left_s -= found.stood_still_s
        return found

    def _behind(self, result: RunResult, waived: tuple[str, ...]) -> tuple[Symptom, ...]:
        """What a run shows when the clause that broke is waived, and then the next."""
        found: list[Symptom] = []
        clauses = {*waived, result.violations[0].clause}
        while len(found) < BEHIND_MAX:
            again = self._search(result.work, tuple(sorted(clauses)))
            if not again.violations:
                break
            found.append(symptom_of(again.violations[0]))
            clauses.add(found[-1].clause)
        return tuple(found)

    # The same root

    def _linked(self, small: _Small, fronts: Mapping[str, Root]) -> Root | None:
        """The known root that a new symptom belongs to; None if it is a root of its own."""
        for root in self.roots:
            if root.failure.workload == small.result.work:
                return root
        needs = needs_of(small.result.work)
        for symptom in (*small.behind, *sorted(small.near)):
            known = self._known.get(symptom)
            # Two bugs may have the same consequence, and a root that needs nothing shows beside
            # anything.
            if known is None or symptom in self._only_behind:
                continue
            if not needs or needs_of(known.failure.workload):
                return known
        if small.front in fronts:
            return fronts[small.front]
        return next((root for root in self.roots if _alike(small, root)), None)


def _alike(small: _Small, root: Root) -> bool:
    """Whether a symptom and a root break like clauses in workloads that ask for like things."""
    clause = small.symptom.clause
    work, other = small.result.work, root.failure.workload
    mine, others = needs_of(work), needs_of(other)
    comparable = mine <= others or others <= mine
    if clause in (root.failure.clause, *root.consequences):
        return comparable
    if _kind(clause) != _kind(root.failure.clause):
        return False
    if not mine or not others:
        return size_of(work)[:2] == size_of(other)[:2]
    return 2 * len(mine & others) >= len(mine | others)


def _kind(clause: str) -> str:
    """What a clause forbids: work that is left undone, or else what its chapter is about."""
    return "undone" if clause in LEFT_UNDONE else clause.partition("-")[0]
