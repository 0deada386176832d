"""Verdicts: what must be known before an engine may be said to pass."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cellspec.clauses import clauses
from cellspec.conformance.judge.evidence import Evidence
from cellspec.conformance.judge.kept_scopes import Kept
from cellspec.conformance.judge.profiles import PROFILES, Profile, profile_of
from cellspec.conformance.judge.verdict import (
    Judgement,
    Verdict,
    judge_clause,
    judge_trace,
    says_pass,
)
from cellspec.conformance.run.backend import CAPABILITIES
from cellspec.conformance.run.coverage_goals import Sometimes

SRC = Path(__file__).parents[3] / "src"
RETRIES = profile_of("retries")
FAIL_03 = next(clause for clause in RETRIES.clauses if clause.number == "FAIL-03")
CLAIMS = ("core", "retries")


def plenty(profile: Profile = RETRIES) -> Evidence:
    """All that a pass of any clause of the profile needs."""
    return Evidence(
        planned=10,
        workloads=10,
        repeated=2,
        exercised=Counter({clause.number: 7 for clause in profile.clauses}),
        sometimes=Counter({one.what: 1 for one in profile.goals}),
    )


def judged(evidence: Evidence | None, **said: Any) -> Judgement:
    return judge_clause(FAIL_03, RETRIES, CLAIMS, evidence, **said)


# Clauses


def test_with_all_the_evidence_a_clause_passes_and_the_verdict_carries_it() -> None:
    judgement = judged(plenty())
    assert judgement.passed
    assert judgement.reason == "exercised in 7 of 10 workloads"
    assert judgement.evidence is not None
    assert judgement.evidence["workloads"] == 10


def test_a_pass_without_evidence_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="certificate"):
        Judgement(Verdict.PASS, "trust me")
    with pytest.raises(ValueError, match="certificate"):
        Judgement(Verdict.PASS, "trust me", {})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"workloads": 0}, "the campaign of profile retries ran no workload"),
        ({"repeated": 0}, "no workload was run twice, so nothing is known of its determinism"),
        ({"unequal": "event 3"}, "two runs of one workload differ: event 3"),
        (
            {"stopped_at": "FAIL-01", "workloads": 4},
            "the campaign of profile retries stopped at FAIL-01",
        ),
        (
            {"stopped_at": "FAIL-01", "workloads": 9, "exercised": Counter()},
            "the campaign of profile retries stopped at FAIL-01",
        ),
        ({"waived": ("FAIL-03",)}, "the clause was waived"),
        ({"unjudged": {"FAIL-03": "no clock"}}, "no clock"),
        ({"exercised": Counter()}, "no workload of 10 exercised it"),
        (
            {"exercised": Counter(), "exercised_inferred": Counter({"FAIL-03": 9})},
            "only events that the adapter inferred exercised it, and none that was observed",
        ),
        (
            {"sometimes": Counter()},
            "it never happened that a failed call was tried again, and 4 more; "
            "more examples may help, or `unasked` in the backend",
        ),
    ],
)
def test_each_missing_piece_of_evidence_makes_a_clause_inconclusive_with_that_reason(
    change: Mapping[str, Any], reason: str
) -> None:
    judgement = judged(replace(plenty(), **change))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason == reason
    assert not judgement.passed


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"unequal": "event 3"}, "`deterministic = False` in the backend"),
        ({"unjudged": {"FAIL-03": "no clock"}}, "--slack 200ms"),
        ({"exercised": Counter()}, "more workloads (--max-examples)"),
        ({"sometimes": Counter()}, "`unasked` in the backend"),
        ({"stopped_at": "FAIL-01", "workloads": 4}, "without --conformance-first"),
        (
            {"stopped_at": "SCHED-12", "stood_still": True, "workloads": 4},
            "an engine that does not hang",
        ),
    ],
)
def test_an_inconclusive_clause_names_what_helps(change: Mapping[str, Any], remedy: str) -> None:
    assert remedy in judged(replace(plenty(), **change)).remedy


def test_an_engine_that_never_reports_a_claim_is_judged_by_its_tables_alone() -> None:
    resume = profile_of("resume")
    shown = Counter({"TABLE-06": 3})
    silent = replace(plenty(resume), by_table_alone=4, exercised=shown)
    silent.sometimes[Sometimes.CRASH_IN_CLAIM] = 0
    able = ("core", "resume", "storage_steps")

    def judged_by(evidence: Evidence) -> dict[str, Verdict]:
        return {
            number: judge_clause(clauses()[number], resume, able, evidence).verdict
            for number in ("CKPT-12", "TABLE-05", "TABLE-06")
        }

    assert judged_by(silent) == {
        "CKPT-12": Verdict.NOT_CLAIMED,
        "TABLE-05": Verdict.INCONCLUSIVE,
        "TABLE-06": Verdict.PASS,
    }
    assert set(judged_by(replace(silent, reports_claims=True)).values()) == {Verdict.INCONCLUSIVE}


def test_each_coverage_goal_of_a_profile_is_needed() -> None:
    for profile in PROFILES:
        for one in profile.goals:
            evidence = plenty(profile)
            evidence.sometimes[one.what] = 0
            clause = replace(profile.clauses[0], needs=frozenset())
            judgement = judge_clause(clause, profile, CAPABILITIES, evidence)
            assert judgement.verdict is Verdict.INCONCLUSIVE
            assert judgement.reason.startswith(f"it never happened that {one.what};")


def test_a_coverage_goal_holds_only_for_a_backend_with_the_capabilities_it_needs() -> None:
    evidence = plenty()
    evidence.sometimes[Sometimes.RANGE_RETRIED] = 0
    assert judge_clause(FAIL_03, RETRIES, CLAIMS, evidence).passed
    assert not judge_clause(FAIL_03, RETRIES, (*CLAIMS, "streaming"), evidence).passed


def test_a_campaign_that_was_stopped_past_its_half_counts() -> None:
    evidence = replace(plenty(), stopped_at="FAIL-01", workloads=5)
    assert judged(evidence).passed


def test_no_campaign_is_inconclusive() -> None:
    assert judged(None).reason == "no campaign of retries was run"
    judgement = judged(None, not_run="the smoke test failed")
    assert (judgement.verdict, judgement.reason) == (
        Verdict.INCONCLUSIVE,
        "the smoke test failed",
    )


def test_a_broken_clause_is_violated_with_any_evidence() -> None:
    for claims in (CLAIMS, ()):
        judgement = judge_clause(FAIL_03, RETRIES, claims, plenty(), violation="too soon")
        assert (judgement.verdict, judgement.reason) == (Verdict.VIOLATED, "too soon")
        assert judgement.broken


def test_a_broken_clause_on_the_list_is_an_expected_failure() -> None:
    judgement = judged(plenty(), violation="too soon", expected="ticket 7")
    assert (judgement.verdict, judgement.reason) == (Verdict.XFAIL, "ticket 7")
    assert judgement.broken
    assert not judgement.passed


def test_a_clause_on_the_list_that_holds_is_judged_as_ever() -> None:
    assert judged(plenty(), expected="ticket 7").passed


def test_a_clause_without_its_capability_is_not_judged() -> None:
    judgement = judge_clause(FAIL_03, RETRIES, ("core",), plenty())
    assert judgement.verdict is Verdict.NOT_CLAIMED
    assert judgement.reason == "the backend lacks the capability 'retries'"
    needing = clauses()["SCHED-09"]
    assert needing.needs == {"work_conserving"}
    judgement = judge_clause(needing, profile_of("core"), ("core",), plenty(profile_of("core")))
    assert judgement.verdict is Verdict.NOT_CLAIMED


# Traces


@dataclass
class Footer:
    verdict: str | None = None


@dataclass
class Broken:
    clause: str = "BARR-01"
    detail: str = "too soon"


@dataclass
class Trace:
    """A trace that was checked, and in which all is well."""

    violations: list[Broken] = field(default_factory=list)
    events: int = 12
    inferred: int = 0
    evidence: Mapping[str, int] = field(default_factory=lambda: {"starts": 4})
    unreadable: str = ""
    ended: bool = True
    waived: tuple[str, ...] = ()
    unjudged: Mapping[str, str] = field(default_factory=dict)
    footer: Footer | None = field(default_factory=Footer)


def test_a_situation_that_an_engine_cannot_express_is_no_goal_and_is_listed() -> None:
    evidence = plenty()
    del evidence.sometimes[Sometimes.BACKOFF_ENDED]
    assert not judged(evidence).passed
    evidence.unasked = (Sometimes.BACKOFF_ENDED,)
    judgement = judged(evidence)
    assert judgement.passed
    assert judgement.evidence is not None
    assert judgement.evidence["unasked"] == [str(Sometimes.BACKOFF_ENDED)]


def test_a_whole_trace_in_which_all_is_allowed_passes() -> None:
    judgement = judge_trace(Trace())
    assert judgement.passed
    assert judgement.reason == "12 events, each of them allowed"
    assert judgement.evidence == {"events": 12, "starts": 4}
    named = judge_trace(Trace(unjudged={"SCHED-09": "the engine does not claim it"}))
    assert named.reason == "12 events, each of them allowed, but for SCHED-09"


def test_a_violation_comes_before_everything_that_is_missing() -> None:
    judgement = judge_trace(Trace(violations=[Broken()], unreadable="line 7", footer=None))
    assert (judgement.verdict, judgement.reason) == (Verdict.VIOLATED, "BARR-01: too soon")


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (Trace(unreadable="x.jsonl: line 9: cut off"), "x.jsonl: line 9: cut off"),
        (Trace(footer=None), "the trace has no footer: it is a beginning of one"),
        (Trace(events=0), "the trace has no event"),
        (Trace(ended=False), "the run did not come to its end"),
        (Trace(waived=("SCHED-09", "BARR-01")), "BARR-01, SCHED-09 waived"),
        (Trace(inferred=3), "3 of 12 events were inferred, not observed"),
        (
            Trace(footer=Footer("violated")),
            "its writer says 'violated', and its events do not show why",
        ),
        (
            Trace(footer=Footer("inconclusive")),
            "its writer says 'inconclusive', and its events do not show why",
        ),
    ],
)
def test_a_trace_that_lacks_anything_is_inconclusive(trace: Trace, reason: str) -> None:
    judgement = judge_trace(trace)
    assert (judgement.verdict, judgement.reason) == (Verdict.INCONCLUSIVE, reason)


# The table of profiles


def test_every_clause_that_runs_are_judged_by_is_in_the_registry_and_has_one_home() -> None:
    homes = [clause.number for profile in PROFILES for clause in profile.clauses]
    assert len(set(homes)) == len(homes)
    assert not [number for number in homes if number not in clauses()]


def test_every_clause_about_runs_has_a_home() -> None:
    """The rest are about a graph, a tracker, a checkpoint, or traces of calls at endpoints."""
    homes = {clause.number for profile in PROFILES for clause in profile.clauses}
    about_runs = {
        number
        for number in clauses()
        if number.partition("-")[0] not in ("GRAPH", "TRACK", "CKPT", "BARR", "ENDP")
    }
    assert sorted(about_runs - homes) == []


def test_profiles_need_only_capabilities_that_there_are() -> None:
    for profile in PROFILES:
        assert profile.name in CAPABILITIES
        needs = [clause.needs for clause in profile.clauses]
        needs += [one.needs for one in profile.goals]
        # A number that a backend promises is an attribute, and no capability.
        assert frozenset().union(*needs) <= {*CAPABILITIES, "bypass_bound"}


def test_every_situation_is_a_coverage_goal_of_one_profile() -> None:
    owed = [one.what for profile in PROFILES for one in profile.goals]
    assert sorted(owed) == sorted(Sometimes)


# Who may say it

# What shows verdicts that others gave, and says of a word only whether it is one of them.
SHOW = {"cellspec/conformance/report/page_parts.py", "cellspec/trace/format.py"}


def test_only_one_module_may_say_pass() -> None:
    word = Verdict.PASS.value
    for path in sorted([*(SRC / "cellspec").rglob("*.py"), *(SRC / "sim").rglob("*.py")]):
        name = path.relative_to(SRC).as_posix()
        if name == "cellspec/conformance/judge/verdict.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{name}:{getattr(node, 'lineno', 0)}"
            assert not (isinstance(node, ast.Attribute) and node.attr == "PASS"), where
            if name not in SHOW:
                assert not (isinstance(node, ast.Constant) and node.value == word), where
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                # A verdict made from a word, or a judgement made by hand.
                assert node.func.id not in ("Verdict", "Judgement"), where


def test_the_word_is_told_from_all_others() -> None:
    assert [word.name for word in Verdict if says_pass(word.value)] == ["PASS"]
    assert not says_pass("passed")


def test_an_engine_that_leaves_no_barrier_half_claimed_is_not_asked_for_one() -> None:
    resume = profile_of("resume")
    again, between = Sometimes.BARRIER_AGAIN, Sometimes.BARRIER_BETWEEN
    able = ["core", "resume", "set_claims", "commits", "targets"]
    evidence = plenty(resume)
    evidence.sometimes[again] = evidence.sometimes[between] = 0

    def left(found: Mapping[Kept, int], *more: str) -> list[Sometimes]:
        return replace(evidence, kept=Counter(found)).uncovered(resume, [*able, *more])

    assert left({}) == [again, between]
    assert left({Kept.ANY: 9}) == [again, between]
    assert left({Kept.ANY: 10}) == []
    assert left({Kept.ANY: 10, Kept.PART: 1}) == [again]
    assert left({Kept.ANY: 10, Kept.PART: 1, Kept.GAP: 1}) == [again, between]
    # A dropped row counts as claimed, and its barrier runs later.
    assert left({Kept.ANY: 10}, "drops") == [again, between]
    # Tables alone may show the situation without what led to it.
    met = replace(evidence, kept=Counter({Kept.ANY: 10}), sometimes=Counter({again: 1}))
    assert met.out_of_reach(able) == [between]
    evidence.kept[Kept.ANY] = 10
    said = judge_clause(clauses()["CKPT-16"], resume, able, evidence)
    assert said.passed
    assert said.reason.endswith("; no claim of it held a part of a barrier's answer")
