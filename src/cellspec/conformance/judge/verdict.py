"""The verdicts on a clause and on a trace, and the evidence that each needs.

A test may find no violation because it looked in the wrong places. So *pass* means more than the
absence of a violation: it is a certificate, and this module alone issues it. A test reads the
sources to make sure that the other modules of the package do not use the word.

=================  =============================================================================
verdict            given to a clause when
=================  =============================================================================
violated           a run broke it. One run is enough, whatever later runs do
expected failure   a run broke it, and the list of expected failures names it
not claimed        the backend lacks a capability that the clause is about
inconclusive       every run kept it, and a pass needs more evidence; the reason names it
pass               every run kept it, and `Evidence` has all of the below
=================  =============================================================================

A pass of a clause needs, from the campaign of its profile:

- workloads were run, and the campaign came to its end (or at least to its half, if another clause
  broke and stopped it: what is missing of the rest is then put down to the stop);
- the clause was *exercised*: a limit on workers was reached, a barrier started, a run was resumed.
  Only observed events count, and events that the adapter inferred do not;
- every coverage goal of the profile was covered. A coverage goal is a situation
  (`cellspec.conformance.run.coverage_goals`), such as a row dropped while a barrier was in flight:
  a campaign proves something about a situation only if it was in it;
- workloads were run twice, and both runs were equal: to the byte for an engine that is
  deterministic in virtual time, in verdict and table for one that says it is not.

A recorded trace is judged by `judge_trace`: without its footer, with clauses waived, with inferred
events or without an end it is inconclusive, however well it went so far.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from cellspec.clauses import Clause
from cellspec.conformance.judge.evidence import Evidence
from cellspec.conformance.judge.profiles import Profile
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.text import counted, listed_names, noun

__all__ = [
    "TO_THE_END",
    "CheckedTrace",
    "Judgement",
    "Verdict",
    "judge_clause",
    "judge_trace",
    "missing_for",
    "says_pass",
]

_OF_PARTS = "CKPT-16"
"""The clause that also says what becomes of a barrier whose answer is claimed in part."""


_MORE = "more workloads (--max-examples)"
_UNASKED = f"{_MORE}, or `unasked` in the backend for what never happens in your engine"
_EQUAL = (
    "runs that are equal, or `deterministic = False` in the backend if the order of events may "
    "differ from run to run"
)
_SLACK = "--slack 200ms, the time that ready work may wait in real time"
_OBSERVED = "events that the adapter reports as they happen"
TO_THE_END = "a run without --conformance-first"
_NO_HANG = "an engine that does not hang"
_NO_ROOT = "an engine without that root cause"
"""What helps against an inconclusive clause, by the reason."""


class Verdict(Enum):
    """The five verdicts; the value is the word that reports print."""

    PASS = "pass"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"
    NOT_CLAIMED = "not claimed"
    XFAIL = "xfail"


def says_pass(word: str) -> bool:
    """True if the word, read in a report, says that something passed."""
    return word == Verdict.PASS.value


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, its reason, its evidence, and what helps if it is inconclusive.

    Raises:
        ValueError: a pass without evidence.
    """

    verdict: Verdict
    reason: str = ""
    evidence: Mapping[str, Any] | None = None
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.verdict is Verdict.PASS and not self.evidence:
            raise ValueError("a pass is a certificate: it needs its evidence")

    @property
    def passed(self) -> bool:
        """True for a pass alone."""
        return self.verdict is Verdict.PASS

    @property
    def broken(self) -> bool:
        """True if a run broke the clause, whether that was expected or not."""
        return self.verdict in (Verdict.VIOLATED, Verdict.XFAIL)


def judge_clause(
    clause: Clause,
    profile: Profile,
    capabilities: Collection[str],
    evidence: Evidence | None,
    *,
    violation: str = "",
    behind: str = "",
    expected: str = "",
    not_run: str = "",
    remedy: str = "",
) -> Judgement:
    """The verdict on one clause, for an engine with these capabilities.

    Args:
        clause: the clause.
        profile: its home.
        capabilities: the capabilities of the backend.
        evidence: of the profile's campaign; None if it was not run.
        violation: how a run broke the clause, in any campaign; "" if every run kept it.
        behind: the clause that was waived in each run that broke this one, in words; "" if no run
            broke it.
        expected: the reason in the list of expected failures; "" if it is not on it.
        not_run: why the campaign was not run.
        remedy: what helps against that.
    """
    if violation:
        # Also without the capability: it happened.
        if expected:
            return Judgement(Verdict.XFAIL, expected)
        return Judgement(Verdict.VIOLATED, violation)
    missing = missing_for(clause, profile, capabilities)
    if missing:
        noun = "capability" if len(missing) == 1 else "capabilities"
        reason = f"the backend lacks the {noun} {listed_names(missing)}"
        return Judgement(Verdict.NOT_CLAIMED, reason)
    if evidence is None:
        reason = not_run or f"no campaign of {profile.name} was run"
        return Judgement(Verdict.INCONCLUSIVE, reason, remedy=remedy)
    by_claims = profile.name == "resume" and not clause.number.startswith(("TABLE", "GROUP"))
    if by_claims and evidence.is_silent and not evidence.exercised[clause.number]:
        reason = "the engine reports no claims: what it resumes from is judged by its tables"
        return Judgement(Verdict.NOT_CLAIMED, reason)
    short, remedy = behind, _NO_ROOT
    if not behind:
        short, remedy = _shortfall(clause, profile, capabilities, evidence)
    if short:
        return Judgement(Verdict.INCONCLUSIVE, short, remedy=remedy)
    exercised = f"exercised in {evidence.exercised[clause.number]:,} of "
    exercised += counted(evidence.workloads, "workload")
    if clause.number == _OF_PARTS and Sometimes.BARRIER_AGAIN in evidence.out_of_reach(
        capabilities
    ):
        exercised += "; no claim of it held a part of a barrier's answer"
    return Judgement(Verdict.PASS, exercised, evidence.to_json())


def missing_for(clause: Clause, profile: Profile, capabilities: Collection[str]) -> list[str]:
    """The capabilities that a backend lacks to be judged by a clause of this profile."""
    return sorted(({profile.name} | clause.needs) - frozenset(capabilities))


def _shortfall(
    clause: Clause, profile: Profile, capabilities: Collection[str], evidence: Evidence
) -> tuple[str, str]:
    """The evidence that a pass of this clause lacks, the most important first; and what helps."""
    if evidence.unequal:
        return f"two runs of one workload differ: {evidence.unequal}", _EQUAL
    if clause.number in evidence.unjudged:
        return evidence.unjudged[clause.number], _SLACK
    if clause.number in evidence.waived:
        return "the clause was waived", ""
    uncovered = evidence.uncovered(profile, capabilities)
    seen = evidence.exercised[clause.number] and evidence.repeated and not uncovered
    if evidence.stopped_at and not (seen and 2 * evidence.workloads >= evidence.planned):
        stopped = f"the campaign of profile {profile.name} stopped at {evidence.stopped_at}"
        if evidence.stood_still:
            return f"{stopped}, for too many runs stood still", _NO_HANG
        return stopped, TO_THE_END
    if not evidence.workloads:
        return f"the campaign of profile {profile.name} ran no workload", _MORE
    if not evidence.repeated:
        return "no workload was run twice, so nothing is known of its determinism", _MORE
    if uncovered:
        more = f", and {len(uncovered) - 1} more" if len(uncovered) > 1 else ""
        never = f"it never happened that {uncovered[0]}{more}; more examples may help"
        return f"{never}, or `unasked` in the backend", _UNASKED
    if not evidence.exercised[clause.number]:
        if evidence.exercised_inferred[clause.number]:
            inferred = "only events that the adapter inferred exercised it, and none that was"
            return f"{inferred} observed", _OBSERVED
        return f"no workload of {evidence.workloads} exercised it", _MORE
    return "", ""


class CheckedTrace(Protocol):
    """The facts about a checked trace that `judge_trace` needs.

    Attributes:
        violations: the broken clauses, in order; each has `clause` and `detail`.
        events: events judged.
        inferred: how many of them were inferred.
        evidence: by check, how often it could have failed.
        unreadable: why reading ended before the footer, with the line; "" if it did not.
        ended: whether the run came to an end event.
        waived: clauses that were not judged by request.
        unjudged: clauses that such a trace cannot be judged by, with the reason.
        footer: the last line, with its writer's verdict; None if it was not read.
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
    """The verdict on one recorded trace: on that run alone, and not on its engine."""
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
    """The evidence that a pass of this trace lacks, the most important first; or ""."""
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
        were = noun(checked.inferred, "was", "were")
        return (
            f"{checked.inferred:,} of {counted(checked.events, 'event')} {were} inferred, "
            "not observed"
        )
    said = checked.footer.verdict
    if said is not None and not says_pass(said):
        # Its writer may have judged more than events: the table, say.
        return f"its writer says {said!r}, and its events do not show why"
    return ""
