"""The results of a run as JSON data: the input of the summary and of the HTML pages.

Summary, pages and JUnit properties are all made from `results`, so they agree, and a run spread
over several processes can be reported by one of them. The verdicts come from
`cellspec.conformance.judge.verdict`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cellspec
from cellspec.clauses import clause_set, clause_set_version
from cellspec.conformance.campaign.results import Failure
from cellspec.conformance.campaign.shrink_workload import extent_of
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.profiles import Profile
from cellspec.conformance.report.failure_text import pasted_test
from cellspec.conformance.report.read_results import RESULTS_FORMAT
from cellspec.conformance.run.backend import reasons_of

__all__ = ["RESULTS_FORMAT", "results", "suite_sources", "suite_version"]

Json = dict[str, Any]


def results(suite: Suite) -> Json:
    """The results of a run, as JSON data: the same for the same seed, but for the cost."""
    return {
        "format": RESULTS_FORMAT,
        "suite": {
            "version": suite_version(),
            "sources": suite_sources(),
            "clauses": clause_set_version(),
            "digest": clause_set(),
        },
        "backends": [_backend(suite)],
    }


def suite_version() -> str:
    """The version of cellspec."""
    try:
        return version("cellspec")
    except PackageNotFoundError:
        return "unknown"


@cache
def suite_sources() -> str:
    """A digest of the sources of cellspec, which tells checkouts of one version apart."""
    found = hashlib.blake2b(digest_size=8)
    root = Path(cellspec.__file__).parent
    for path in sorted(root.rglob("*")):
        if path.suffix in (".py", ".toml"):
            found.update(path.relative_to(root).as_posix().encode() + b"\0")
            found.update(path.read_bytes() + b"\0")
    return found.hexdigest()


def _backend(suite: Suite) -> Json:
    judged: Json = {}
    for profile, clause, judgement in suite.judgements():
        done = suite.campaigns.get(profile.name)
        failure = suite.failures.get(clause.number)
        judged[clause.number] = {
            "verdict": judgement.verdict.value,
            "reason": judgement.reason,
            "examples": 0 if done is None else done.evidence.workloads,
            "exercised": 0 if done is None else done.evidence.exercised[clause.number],
            "failure": None if failure is None else _failure(suite, failure),
        }
    others = suite.other_failures()
    for failure in [] if suite.options.only else others:
        judgement = suite.broken(failure)
        judged[failure.clause] = {
            "verdict": judgement.verdict.value,
            "reason": judgement.reason,
            "examples": failure.example,
            "failure": _failure(suite, failure),
        }
    unasked, unclaimed = reasons_of(suite.backend)
    remedies = [one.remedy for one in suite.inconclusive.values()]
    sometimes: Counter[str] = Counter()
    for campaign in suite.campaigns.values():
        sometimes.update({str(what): n for what, n in campaign.evidence.sometimes.items()})
    return {
        "name": suite.backend.name,
        "version": suite.backend.version,
        "capabilities": list(suite.capabilities),
        **({"unasked": unasked} if unasked else {}),
        **({"unclaimed": unclaimed} if unclaimed else {}),
        "seed": suite.options.seed,
        **({"seeds": suite.options.seeds} if suite.options.seeds > 1 else {}),
        "command": suite.command,
        **({"interrupted": True} if suite.interrupted else {}),
        "clauses": judged,
        **({"causes": _causes(suite)} if suite.roots else {}),
        **({"not_asked": {one.clause: one.detail for one in others}} if suite.options.only else {}),
        "cases": sorted({path.name for path in suite.saved.values()}),
        "inconclusive": {
            "clauses": {number: one.reason for number, one in suite.inconclusive.items()},
            "remedies": list(dict.fromkeys(filter(None, remedies))),
            "allowed": suite.options.allow_inconclusive,
            "fails": suite.fails_inconclusive,
        },
        "evidence": _evidence(suite),
        "sometimes": {what: sometimes[what] for what in sorted(sometimes)},
        "profiles": {profile.name: _profile(suite, profile) for profile in suite.profiles},
    }


def _failure(suite: Suite, failure: Failure) -> Json:
    return {
        "clause": failure.clause,
        "detail": failure.detail,
        "seq": failure.seq,
        "story": list(failure.explanation),
        "workload": failure.workload.to_dict(),
        "trace": {"header": dict(failure.header), "events": [dict(e) for e in failure.events]},
        "replay": suite.replay_command(failure),
        "pytest": pasted_test(suite, failure),
    }


def _causes(suite: Suite) -> list[Json]:
    """The roots of all that broke, in the order in which they were found."""
    return [
        {
            "clause": root.failure.clause,
            "detail": root.failure.detail,
            "size": extent_of(root.failure.workload),
            "workloads": root.found,
            "seed": root.failure.seed,
            **({"seeds": sorted(root.seeds)} if suite.options.seeds > 1 else {}),
            "profile": root.failure.profile,
            "example": root.failure.example,
            "waived": list(root.failure.waived),
            "replay": suite.replay_command(root.failure),
            "consequences": {
                clause: {"workloads": number, "detail": root.details[clause]}
                for clause, number in sorted(root.consequences.items())
            },
            # The first failure of a clause stands with the clause.
            **({} if root.failure.nth == 1 else {"failure": _failure(suite, root.failure)}),
        }
        for root in suite.roots
    ]


def _profile(suite: Suite, profile: Profile) -> Json:
    done = suite.campaigns.get(profile.name)
    if done is None:
        return {"not_run": suite.not_run(profile)}
    able = frozenset(suite.capabilities)
    out = done.evidence.out_of_reach(able)
    far = [str(one.what) for one in profile.goals if one.needs <= able and one.what in out]
    return {
        **done.evidence.to_json(),
        "sometimes": {
            str(one.what): done.evidence.sometimes[one.what]
            for one in profile.goals
            if one.needs <= able
        },
        **({"out_of_reach": far} if far else {}),
        "owed": [str(what) for what in done.evidence.uncovered(profile, able)],
    }


def _evidence(suite: Suite) -> Json:
    """The evidence of all campaigns together, in figures that can be added up."""
    all_of_them = [campaign.evidence for campaign in suite.campaigns.values()]
    graphs = {digest for evidence in all_of_them for digest in evidence.graphs}
    traces = {digest for evidence in all_of_them for digest in evidence.traces}
    blocking = {call for evidence in all_of_them for call in evidence.blocking}
    by_table_alone = sum(evidence.by_table_alone for evidence in all_of_them)
    smoke = suite.smoke
    return {
        "smoke": "fine" if smoke is None else str(smoke),
        "workloads": sum(evidence.workloads for evidence in all_of_them),
        "pipelines": len(graphs),
        "schedules": len(traces),
        "lives": sum(evidence.incarnations for evidence in all_of_them),
        "crashes": sum(evidence.crash_points for evidence in all_of_them),
        "events": sum(evidence.events for evidence in all_of_them),
        **({"by_table_alone": by_table_alone} if by_table_alone else {}),
        "run_twice": sum(evidence.repeated for evidence in all_of_them),
        "deterministic": suite.deterministic,
        "cost": suite.cost(),
        **({"real_time_in_virtual_time": sorted(blocking)} if blocking else {}),
    }
