"""The account of a search: runs, situations and pairs of situations, and the first violation."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

from cellspec.conformance.campaign.generator.size import Knobs
from cellspec.conformance.judge.profiles import DRAWN
from cellspec.conformance.run.case import Case
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.workload import Workload
from cellspec.fuzz.options import Options

__all__ = ["Account", "FoundViolation", "RunSummary"]


@dataclass(frozen=True, slots=True)
class FoundViolation:
    """A clause that a run broke.

    Attributes:
        clause, detail: the violation.
        work: the workload, with the end of each call as the schedule chose it.
        method: how the run was scheduled.
    """

    clause: str
    detail: str
    work: Workload
    method: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The result of one run, small enough to be sent between processes.

    Attributes:
        method: how it was scheduled.
        seed: of the workload.
        knobs: of the workload; None if they were drawn with it.
        sometimes: situations that it was in.
        events: its events.
        crashes: crashes among them.
        in_doubt: results of calls that were not claimed, at the crash with the most of them.
        trace: a digest of the order of events.
        refused: the engine refused the workload, as it must.
        found: the violation, if there is one.
    """

    method: str
    seed: int
    knobs: Knobs | None
    sometimes: tuple[Sometimes, ...]
    events: int
    crashes: int
    in_doubt: int
    trace: str
    refused: bool = False
    found: FoundViolation | None = None


@dataclass(slots=True)
class Account:
    """The account of a search.

    Attributes:
        options: the options of the search.
        capabilities: the engine's capabilities.
        unasked: situations that it cannot be asked to be in (see
        `cellspec.conformance.run.backend`). runs: by method, how many were counted.
        events, crashes, refused: in all of them.
        traces: different orders of events.
        in_doubt: the most results in doubt at one crash.
        sometimes: situations, with the number of runs that were in each.
        pairs: pairs of situations that some run was in at once.
        last_new: the run that showed the last new pair.
        stopped: why the search stopped.
        found: the first violation.
        case: it as a case, made small.
        comes_again: the case breaks the clause without the schedule that found it.
    """

    options: Options
    capabilities: frozenset[str]
    unasked: frozenset[str] = frozenset()
    runs: dict[str, int] = field(default_factory=dict)
    events: int = 0
    crashes: int = 0
    refused: int = 0
    traces: set[str] = field(default_factory=set)
    in_doubt: int = 0
    sometimes: dict[Sometimes, int] = field(default_factory=dict)
    pairs: set[tuple[Sometimes, Sometimes]] = field(default_factory=set)
    last_new: int = 0
    stopped: str = ""
    found: FoundViolation | None = None
    case: Case | None = None
    comes_again: bool = True

    @property
    def total(self) -> int:
        """Runs, of all methods."""
        return sum(self.runs.values())

    def uncovered(self) -> list[Sometimes]:
        """Situations that these capabilities allow, and that every run missed."""
        return [
            one.what
            for profile in DRAWN
            if profile.name in self.capabilities
            for one in profile.goals
            if one.needs <= self.capabilities
            and str(one.what) not in self.unasked
            and one.what not in self.sometimes
        ]

    def count(self, seen: RunSummary) -> bool:
        """Count a run; True if it showed something new."""
        self.runs[seen.method] = self.runs.get(seen.method, 0) + 1
        self.events += seen.events
        self.crashes += seen.crashes
        self.refused += seen.refused
        self.traces.add(seen.trace)
        self.in_doubt = max(self.in_doubt, seen.in_doubt)
        for one in seen.sometimes:
            self.sometimes[one] = self.sometimes.get(one, 0) + 1
        new = set(combinations(seen.sometimes, 2)) - self.pairs
        self.pairs |= new
        if new:
            self.last_new = self.total
        if seen.found is not None:
            self.found = seen.found
        return bool(new)
