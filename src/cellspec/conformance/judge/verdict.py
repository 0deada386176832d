"""What may be said of an engine, and what must be known before it is said.

A test that finds nothing may have looked nowhere. So *pass* is not the absence of a violation: it
is a certificate, and this module alone may issue it. Nothing else in the package holds the word;
a test reads the sources to see to that.

=================  =============================================================================
verdict            said of a clause when
=================  =============================================================================
violated           a run broke it. One run is enough, and nothing takes it back
expected failure   a run broke it, and the list of expected failures names it
not claimed        the backend does not claim a capability that the clause is about
inconclusive       nothing broke it, and something is missing that a pass needs; the reason says
                   what
pass               nothing broke it, and `Evidence` has all of the below
=================  =============================================================================

A pass of a clause needs, from the campaign of its profile:

- workloads were run, and the campaign came to its end (or at least to its half, if another clause
  broke and stopped it);
- the clause had an *occasion* to fail: a limit on workers was reached, a barrier started, a run was
  resumed. An occasion made of events that the adapter inferred, and nobody observed, does not
  count;
- every obligation of the profile was met. An obligation is a situation (`Sometimes`) that the
  campaign must have been in at least once, such as a row dropped while a barrier was in flight: a
  campaign that never was there has proved nothing about it;
- workloads were run twice, and both runs were equal: to the byte for an engine that is
  deterministic in virtual time, in verdict and table for one that says it is not.

A recorded trace is judged by `judge_trace`: without its footer, with clauses waived, with inferred
events or without an end it is inconclusive, however well it went so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Protocol

from cellspec.clauses import clauses_of
from cellspec.text import counted

__all__ = [
    "DRAWN",
    "ENGINE_CLAUSES",
    "PROFILES",
    "CheckedTrace",
    "Evidence",
    "Judged",
    "Judgement",
    "Obligation",
    "Profile",
    "Sometimes",
    "Verdict",
    "judge_clause",
    "judge_trace",
    "profile_of",
    "says_pass",
]


class Verdict(Enum):
    """The five things that can be said; the value is how reports spell it."""

    PASS = "pass"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"
    NOT_CLAIMED = "not claimed"
    XFAIL = "xfail"


def says_pass(word: str) -> bool:
    """True if the word, read in a report, says that something passed."""
    return word == Verdict.PASS.value


class Sometimes(StrEnum):
    """A situation that a campaign must have been in; the value is the sentence reports print."""

    WORKERS_FULL = "every worker was busy"
    RESOURCE_FULL = "a resource was used up to its limit"
    BARRIER_RAN = "a barrier started"
    BARRIER_CHAIN = "a barrier read the output of another barrier"
    JOIN = "a cell waited for two columns"
    SHORT_BATCH = "a barrier ran on a short last batch"
    OVERTAKING = "a row overtook an earlier one"
    ORDER_HELD = "an ordered column held back a row whose inputs were there"
    ORDER_INVERTED = "an ordered column got its inputs in another order"
    RANGE_STARTED = "a range of several rows started"
    RANGE_PART = "a range had given some of its rows and not others"
    RANGE_FED = "a node started on a row of a range that was still running"
    SHORT_GROUP = "the last row group was shorter than the others"
    GROUPS_FULL = "as many row groups were admitted as the limit allows"
    GROUP_TURN = "a row group was admitted after another had retired"
    SCOPE_OVER_GROUPS = "a barrier read rows of several row groups"
    RETRIED = "a failed call was tried again"
    PUSHED_BACK = "a call was turned away without spending an attempt"
    COOLED_DOWN = "a call was tried again after its cool-down"
    BARRIER_RETRIED = "a failed barrier was tried again"
    LAST_ATTEMPT = "the last attempt allowed ended well"
    RANGE_RETRIED = "a range failed after it had given some of its rows"
    DROPPED = "a row was dropped by a permanent failure"
    SPENT = "a row was dropped because its attempts were spent"
    DROP_BESIDE_CALL = "a row was dropped while another of its calls was in flight"
    DROP_DURING_BARRIER = "a row was dropped while a barrier was in flight"
    BARRIER_WITHOUT_ROW = "a barrier ran without a dropped row"
    BARRIER_FAILED = "a barrier failed for good"
    SCOPE_DROPPED = "every row of a barrier's scope was dropped"
    STOPPED = "a run stopped early"
    STOPPED_IN_FLIGHT = "a call was in flight when a run stopped early"
    SKIPPED = "a cell was skipped by its own condition"
    SKIP_SPREAD = "a skip went on to a column that needs it"
    SKIP_HELD = "a cell ran although an input was skipped"
    BARRIER_WITHOUT_SKIP = "a barrier ran without a skipped row"
    SCOPE_SKIPPED = "every row of a barrier's scope was skipped or dropped"
    CRASH_EARLY = "a crash came before any claim was durable"
    CLAIM_PART = "a run resumed from a claim of some of its rows"
    CRASH_TWICE = "a run crashed, was resumed and crashed again"
    CRASH_IN_BARRIER = "a crash came while a barrier was in flight"
    CRASH_LATE = "a crash came when every row was resolved and the run had not ended"
    CRASH_IN_CLAIM = "a crash came while a claim was being written"
    BARRIER_AGAIN = "a barrier ran again although rows of its scope were claimed"
    CLAIM_WITH_DROP = "a run resumed from a claim that covers a dropped row"
    CLAIM_WITH_SKIP = "a run resumed from a claim that covers a skipped cell"
    CRASH_IN_GROUP = "a crash came while a row group was half done"
    CRASH_IN_COOL_DOWN = "a crash came while a failed call waited to be tried again"
    MORE_ROWS = "a run was resumed with more rows"
    FEWER_ROWS = "a run was resumed with fewer rows"
    COLUMN_CLAIM = "a run resumed from a claim of more rows of one column than of another"


@dataclass(frozen=True, slots=True)
class Judged:
    """A clause that runs are judged by, and the capabilities it is about beside its profile's."""

    number: str
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Obligation:
    """A situation that a campaign must have been in, if the backend claims what it needs."""

    what: Sometimes
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Profile:
    """A capability, the clauses whose home it is, and what its campaign owes.

    Attributes:
        name: the capability that a backend claims to be judged by this profile.
        about: one line for the person who reads the report.
        clauses: in the order in which they are reported.
        obligations: in the order in which they are reported.
        drawn: random workloads are drawn for it; else it brings workloads of its own.
    """

    name: str
    about: str
    clauses: tuple[Judged, ...]
    obligations: tuple[Obligation, ...]
    drawn: bool = True


def _judged_by(profile: str) -> tuple[Judged, ...]:
    """The clauses of a profile, as the registry has them."""
    return tuple(Judged(clause.number, clause.needs) for clause in clauses_of(profile))


def _owes(*plain: Sometimes, **needing: Collection[Sometimes]) -> tuple[Obligation, ...]:
    """Obligations; a keyword names the further capabilities of its obligations, ``a__b``."""
    owed = {what: frozenset[str]() for what in plain}
    for capabilities, group in needing.items():
        owed |= dict.fromkeys(group, frozenset(capabilities.split("__")))
    return tuple(Obligation(what, owed[what]) for what in Sometimes if what in owed)


_S = Sometimes
# Obligations that need calls of several nodes at once are owed by engines that claim to leave
# nothing undone (`work_conserving`): one that runs column by column is right, and never is there.
PROFILES: tuple[Profile, ...] = (
    Profile(
        "core",
        "cells, barriers, limits, and a table that holds each value once",
        _judged_by("core"),
        _owes(
            _S.WORKERS_FULL,
            _S.RESOURCE_FULL,
            _S.BARRIER_RAN,
            _S.BARRIER_CHAIN,
            _S.JOIN,
            batch_barriers=[_S.SHORT_BATCH],
            work_conserving=[_S.OVERTAKING],
        ),
    ),
    Profile(
        "ordered",
        "columns whose rows run in order, one at a time",
        _judged_by("ordered"),
        _owes(_S.ORDER_HELD, work_conserving=[_S.ORDER_INVERTED]),
    ),
    Profile(
        "streaming",
        "calls that make many rows and give each as it is ready",
        _judged_by("streaming"),
        _owes(_S.RANGE_STARTED, _S.RANGE_PART, work_conserving=[_S.RANGE_FED]),
    ),
    Profile(
        "groups",
        "row groups, admitted up to a limit and retired when they are done",
        _judged_by("groups"),
        _owes(
            _S.SHORT_GROUP,
            _S.GROUPS_FULL,
            _S.GROUP_TURN,
            _S.SCOPE_OVER_GROUPS,
        ),
    ),
    Profile(
        "retries",
        "calls that fail and may be repeated, and calls that are turned away",
        _judged_by("retries"),
        _owes(
            _S.RETRIED,
            _S.PUSHED_BACK,
            _S.COOLED_DOWN,
            _S.BARRIER_RETRIED,
            _S.LAST_ATTEMPT,
            streaming=[_S.RANGE_RETRIED],
        ),
    ),
    Profile(
        "drops",
        "rows that fail for good, and the barriers that go on without them",
        _judged_by("drops"),
        _owes(
            _S.DROPPED,
            _S.BARRIER_WITHOUT_ROW,
            _S.BARRIER_FAILED,
            _S.SCOPE_DROPPED,
            retries=[_S.SPENT],
            early_stop=[_S.STOPPED],
            work_conserving=[_S.DROP_BESIDE_CALL, _S.DROP_DURING_BARRIER],
            early_stop__work_conserving=[_S.STOPPED_IN_FLIGHT],
        ),
    ),
    Profile(
        "skips",
        "cells that are left out by a condition, and what follows from that",
        _judged_by("skips"),
        _owes(
            _S.SKIPPED,
            _S.SKIP_SPREAD,
            _S.SKIP_HELD,
            _S.BARRIER_WITHOUT_SKIP,
            _S.SCOPE_SKIPPED,
        ),
    ),
    Profile(
        "resume",
        "crashes anywhere, checkpoints, and going on from them",
        _judged_by("resume"),
        _owes(
            _S.CRASH_EARLY,
            _S.CLAIM_PART,
            _S.CRASH_TWICE,
            _S.CRASH_IN_BARRIER,
            _S.CRASH_LATE,
            _S.BARRIER_AGAIN,
            storage_steps=[_S.CRASH_IN_CLAIM],
            drops=[_S.CLAIM_WITH_DROP],
            skips=[_S.CLAIM_WITH_SKIP],
            groups=[_S.CRASH_IN_GROUP],
            retries=[_S.CRASH_IN_COOL_DOWN],
            targets=[_S.MORE_ROWS, _S.FEWER_ROWS],
            column_checkpoints=[_S.COLUMN_CLAIM],
        ),
    ),
    Profile(
        "counted_work",
        "what an event costs, in lines of the engine's code, as runs grow",
        _judged_by("counted_work"),
        (),
        drawn=False,
    ),
)
"""What runs are judged by, in the order in which it is judged: simple things first."""

DRAWN: tuple[Profile, ...] = tuple(profile for profile in PROFILES if profile.drawn)
"""The profiles for which random workloads are drawn."""


ENGINE_CLAUSES = frozenset(one.number for profile in PROFILES for one in profile.clauses)
"""The clauses that engines are judged by; the others say how this package's own classes behave."""


def profile_of(name: str) -> Profile:
    """The profile of that name; KeyError if there is none."""
    return {profile.name: profile for profile in PROFILES}[name]


@dataclass(slots=True)
class Evidence:
    """How much a campaign tried, and what came up. Only what makes a verdict, and can be printed.

    Attributes:
        planned: workloads that the campaign was asked for.
        workloads: workloads that it ran.
        lives: lives of those runs, each from a start or a resume to its end or crash.
        crash_points: crashes that happened.
        events: events judged.
        inferred: how many of them an adapter inferred; no occasion is made of them.
        graphs: digests of the pipelines; their number says how many different ones there were.
        traces: digests of the order of events; their number says how many different ones there
            were.
        repeated: workloads that were run twice.
        unequal: what differed when a workload was run twice; "" if nothing did.
        occasions: for each clause, the workloads in which it could have failed.
        inferred_occasions: the same, where the occasion was made of inferred events.
        sometimes: for each situation, the workloads that were in it.
        refused: workloads that the engine refused, as it must.
        by_table_alone: lives whose events could not be judged, and whose tables were.
        stopped_at: the clause that broke and ended the campaign; "" if it came to its end.
        waived: clauses that broke and were not judged from there on.
        unjudged: clauses that such runs cannot be judged by, with the reason.
        unasked: situations that the engine cannot be asked to be in, because it has no word for
            what leads there; they are not owed, and are told with every verdict.
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
    inferred_occasions: Counter[str] = field(default_factory=Counter)
    sometimes: Counter[Sometimes] = field(default_factory=Counter)
    refused: int = 0
    by_table_alone: int = 0
    stopped_at: str = ""
    waived: tuple[str, ...] = ()
    unjudged: Mapping[str, str] = field(default_factory=dict)
    unasked: tuple[Sometimes, ...] = ()

    def owed(self, profile: Profile, claims: Collection[str]) -> list[Sometimes]:
        """The obligations of the profile that were not met, in its order."""
        return [
            one.what
            for one in profile.obligations
            if one.needs <= frozenset(claims)
            and not self.sometimes[one.what]
            and one.what not in self.unasked
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
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, why, and what it rests on.

    Raises:
        ValueError: a pass without evidence.
    """

    verdict: Verdict
    reason: str = ""
    evidence: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.verdict is Verdict.PASS and not self.evidence:
            raise ValueError("a pass is a certificate: it needs its evidence")

    @property
    def passed(self) -> bool:
        """True for a pass, and for nothing else."""
        return self.verdict is Verdict.PASS

    @property
    def broken(self) -> bool:
        """True if a run broke the clause, whether that was expected or not."""
        return self.verdict in (Verdict.VIOLATED, Verdict.XFAIL)


def judge_clause(
    clause: Judged,
    profile: Profile,
    claims: Collection[str],
    evidence: Evidence | None,
    *,
    violation: str = "",
    expected: str = "",
    not_run: str = "",
) -> Judgement:
    """What may be said of one clause, of an engine that claims `claims`.

    Args:
        clause: the clause.
        profile: its home.
        claims: the capabilities of the backend.
        evidence: of the profile's campaign; None if there was none.
        violation: what broke the clause, in whatever campaign; "" if nothing did.
        expected: the reason in the list of expected failures; "" if it is not on it.
        not_run: why there was no campaign.
    """
    if violation:
        # Whatever was claimed: it happened.
        if expected:
            return Judgement(Verdict.XFAIL, expected)
        return Judgement(Verdict.VIOLATED, violation)
    missing = sorted(({profile.name} | clause.needs) - frozenset(claims))
    if missing:
        names = ", ".join(repr(name) for name in missing)
        return Judgement(Verdict.NOT_CLAIMED, f"the backend does not claim {names}")
    if evidence is None:
        return Judgement(Verdict.INCONCLUSIVE, not_run or f"no campaign of {profile.name} was run")
    short = _shortfall(clause, profile, claims, evidence)
    if short:
        return Judgement(Verdict.INCONCLUSIVE, short)
    return Judgement(
        Verdict.PASS,
        f"{counted(evidence.exercised[clause.number], 'occasion')} in "
        f"{counted(evidence.workloads, 'workload')}",
        evidence.to_json(),
    )


def _shortfall(
    clause: Judged, profile: Profile, claims: Collection[str], evidence: Evidence
) -> str:
    """What a pass of this clause lacks, the most important thing first; "" if nothing."""
    if evidence.unequal:
        return f"two runs of one workload differ: {evidence.unequal}"
    if clause.number in evidence.unjudged:
        return evidence.unjudged[clause.number]
    if clause.number in evidence.waived:
        return "the clause was waived"
    if evidence.stopped_at and 2 * evidence.workloads < evidence.planned:
        return f"the campaign of profile {profile.name} stopped at {evidence.stopped_at}"
    if not evidence.workloads:
        return f"the campaign of profile {profile.name} ran no workload"
    if not evidence.repeated:
        return "no workload was run twice, so nothing is known of its determinism"
    owed = evidence.owed(profile, claims)
    if owed:
        more = f", and {len(owed) - 1} more" if len(owed) > 1 else ""
        return f"it never happened that {owed[0]}{more}; more examples may help"
    if not evidence.exercised[clause.number]:
        if evidence.inferred_occasions[clause.number]:
            return "every occasion to break it was inferred by the adapter, not observed"
        return f"no workload of {evidence.workloads} gave an occasion to break it"
    return ""


class CheckedTrace(Protocol):
    """What `judge_trace` needs to know of a trace that was checked.

    Attributes:
        violations: what broke, in order; each has `clause` and `detail`.
        events: events judged.
        inferred: how many of them were inferred.
        evidence: how often something could have gone wrong, by what was judged.
        unreadable: why reading ended before the footer, with the line; "" if it did not.
        ended: whether the run came to an end event.
        waived: clauses that were not judged because somebody said so.
        unjudged: clauses that such a trace cannot be judged by, with the reason.
        footer: the last line, with what its writer thought of the run; None if it was not read.
    """

    @property
    def violations(self) -> Sequence[Any]: ...
    @property
    def events(self) -> int: ...
    @property
    def inferred(self) -> int: ...
    @property
    def evidence(self) -> Mapping[str, int]: ...
    @property
    def unreadable(self) -> str: ...
    @property
    def ended(self) -> bool: ...
    @property
    def waived(self) -> Collection[str]: ...
    @property
    def unjudged(self) -> Mapping[str, str]: ...
    @property
    def footer(self) -> Any: ...


def judge_trace(checked: CheckedTrace) -> Judgement:
    """What may be said of one recorded trace: of that run alone, and not of its engine."""
    if checked.violations:
        first = checked.violations[0]
        return Judgement(Verdict.VIOLATED, f"{first.clause}: {first.detail}")
    lacking = _lacking(checked)
    if lacking:
        return Judgement(Verdict.INCONCLUSIVE, lacking)
    replace = f", but for {', '.join(sorted(checked.unjudged))}" if checked.unjudged else ""
    return Judgement(
        Verdict.PASS,
        f"{counted(checked.events, 'event')}, each of them allowed{replace}",
        {"events": checked.events, **checked.evidence},
    )


def _lacking(checked: CheckedTrace) -> str:
    """What a pass of this trace lacks, the most important thing first; "" if nothing."""
    if checked.unreadable:
        return checked.unreadable
    if checked.footer is None:
        return "the trace has no footer: it is a beginning of one"
    if not checked.events:
        return "the trace has no event"
    if not checked.ended:
        return "the run did not come to its end"
    if checked.waived:
        return f"{', '.join(sorted(checked.waived))} waived"
    if checked.inferred:
        were = "was" if checked.inferred == 1 else "were"
        return (
            f"{checked.inferred:,} of {counted(checked.events, 'event')} {were} inferred, "
            "not observed"
        )
    said = checked.footer.verdict
    if said is not None and not says_pass(said):
        # Whoever wrote it may have seen more than events: the table, say.
        return f"its writer says {said!r}, and its events do not show why"
    return ""
