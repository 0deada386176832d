"""The evidence of a campaign: how much it tried, and which clauses and situations it exercised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cellspec.conformance.judge.kept_scopes import NEEDS_KEPT, Kept
from cellspec.conformance.judge.profiles import Profile
from cellspec.conformance.run.coverage_goals import Sometimes

__all__ = ["Evidence"]


_WITHIN_A_CLAIM = frozenset({Sometimes.CRASH_IN_CLAIM, Sometimes.ASKED_IN_CLAIM})
"""Situations that only an engine can be in that reports its claims."""

_ENOUGH_KEPT = 10
"""Workloads in which a resume found an answer of a barrier, after which it is known whether the
engine ever leaves a part of one."""


@dataclass(slots=True)
class Evidence:
    """How much a campaign tried, and what it exercised: all that a verdict rests on.

    Attributes:
        planned: workloads that the campaign was asked for.
        workloads: workloads that it ran.
        incarnations: runs of the process, each from a start or a resume to its end or crash.
        crash_points: crashes that happened.
        events: events judged.
        inferred: how many of them an adapter inferred; a pass does not rest on these.
        graphs: digests of the pipelines; their number says how many different ones there were.
        traces: digests of the order of events; their number says how many different ones there
            were.
        repeated: workloads that were run twice.
        unequal: the difference between two runs of one workload; "" if they were equal.
        exercised: for each clause, the number of workloads in which it could have failed.
        exercised_inferred: the same, by inferred events.
        sometimes: for each situation, the number of workloads that covered it.
        kept: for what a resume may find of a barrier's answer, the number of workloads in which
            one found it.
        refused: workloads that the engine refused, as it must.
        by_table_alone: runs of the process whose events could not be judged, but for what calls
            show without a claim; their tables were.
        reports_claims: a run began a claim or a commit, or resumed from one.
        stopped_at: the clause that broke and ended the campaign; "" if it came to its end.
        stood_still: it ended because too many runs stood still, or turned in circles.
        waived: clauses that broke and were not judged from there on.
        blocking: the calls of the engine that took real time inside virtual time: what, and file
            and line.
        unjudged: clauses that such runs cannot be judged by, with the reason.
        unasked: situations that this engine cannot express; they are not among its goals,
            and every report lists them.
        pair_goals: the pairs of features that a workload can have.
        pairs: for each pair, the number of workloads that had it.
    """

    planned: int = 0
    workloads: int = 0
    incarnations: int = 0
    crash_points: int = 0
    events: int = 0
    inferred: int = 0
    graphs: set[str] = field(default_factory=set)
    traces: set[str] = field(default_factory=set)
    repeated: int = 0
    unequal: str = ""
    exercised: Counter[str] = field(default_factory=Counter)
    exercised_inferred: Counter[str] = field(default_factory=Counter)
    sometimes: Counter[Sometimes] = field(default_factory=Counter)
    kept: Counter[Kept] = field(default_factory=Counter)
    refused: int = 0
    by_table_alone: int = 0
    reports_claims: bool = False
    stopped_at: str = ""
    stood_still: bool = False
    waived: tuple[str, ...] = ()
    blocking: set[str] = field(default_factory=set)
    unjudged: Mapping[str, str] = field(default_factory=dict)
    unasked: tuple[Sometimes, ...] = ()
    pair_goals: tuple[tuple[str, str], ...] = ()
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def unmet_pairs(self) -> list[tuple[str, str]]:
        """The pairs of features that could meet in a workload, and never did."""
        return [pair for pair in self.pair_goals if not self.pairs[pair]]

    @property
    def is_silent(self) -> bool:
        """True if the engine went on from storage, and never reported a claim."""
        return bool(self.by_table_alone) and not self.reports_claims

    def uncovered(self, profile: Profile, capabilities: Collection[str]) -> list[Sometimes]:
        """The coverage goals of the profile that are still to be covered, in its order."""
        return [
            one.what
            for one in profile.goals
            if one.needs <= frozenset(capabilities)
            and not self.sometimes[one.what]
            and one.what not in self.unasked
            and not (self.is_silent and one.what in _WITHIN_A_CLAIM)
            and one.what not in self.out_of_reach(capabilities)
        ]

    def out_of_reach(self, capabilities: Collection[str]) -> list[Sometimes]:
        """The situations that nothing which the engine claims leads to; they are no goals for it.

        With the capability ``drops`` there are none: a claim holds the cells of dropped rows.
        """
        if "drops" in capabilities or self.kept[Kept.ANY] < _ENOUGH_KEPT:
            return []
        return [
            what
            for what, found in NEEDS_KEPT.items()
            if not self.kept[found] and not self.sometimes[what]
        ]

    def to_json(self) -> dict[str, Any]:
        """Counts alone, in a fixed order, for the results file."""
        return {
            "planned": self.planned,
            "workloads": self.workloads,
            "lives": self.incarnations,
            "crash_points": self.crash_points,
            "events": self.events,
            "inferred": self.inferred,
            "distinct_graphs": len(self.graphs),
            "distinct_traces": len(self.traces),
            "repeated": self.repeated,
            "unequal": self.unequal,
            "occasions": dict(sorted(self.exercised.items())),
            "refused": self.refused,
            "by_table_alone": self.by_table_alone,
            "stopped_at": self.stopped_at,
            "waived": list(self.waived),
            "unasked": [str(what) for what in self.unasked],
            "pairs": {
                "possible": len(self.pair_goals),
                "met": len(self.pair_goals) - len(self.unmet_pairs),
                "unmet": [" + ".join(pair) for pair in self.unmet_pairs],
            },
        }
