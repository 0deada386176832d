"""Joins the runs of several seeds through one entry point of one release into one outcome.

Each seed draws other workloads, and what one of them breaks another may miss. So the runs of all
seeds count as one: a clause that any seed broke is broken, with the failure of every seed that
broke it; else one that any seed passed is passed, and its evidence is that of all seeds together.
A seed without results is no seed: it is named in the outcome's detail, and the others count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cellspec.clauses import clauses
from cellspec.conformance.judge.verdict import Verdict, says_pass
from cellspec.text import counted
from simulations.releases.outcome import Outcome
from simulations.releases.processes import Json

__all__ = ["joined"]

_FIRST = (Verdict.VIOLATED, Verdict.XFAIL, Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.NOT_CLAIMED)
"""Of verdicts by several seeds, the first of these is the verdict of all."""

_OF_ALL_SEEDS = ("owed", "unasked")
"""Lists of a profile that hold what no seed reached."""


def joined(runs: Mapping[int, Outcome]) -> Outcome:
    """The outcome of all seeds together.

    Args:
        runs: the outcome of each seed, by seed.
    """
    ran = {seed: one for seed, one in sorted(runs.items()) if one.found is not None}
    others = {seed: one for seed, one in sorted(runs.items()) if one.found is None}
    if not ran:
        return replace(next(iter(others.values()), Outcome()), seeds=[])
    first = next(iter(ran.values()))
    missing = [
        f"seed {seed}: {one.status}{': ' if one.detail else ''}{one.detail}"
        for seed, one in others.items()
    ]
    return Outcome(
        "ran",
        "; ".join(missing),
        _found(ran),
        _twice(ran),
        first.suite if len({one.suite for one in ran.values()}) == 1 else "several",
        first.rules,
        first.rules_id,
        min(one.max_examples for one in ran.values()),
        list(ran),
        round(sum(one.seconds for one in runs.values()), 1),
        round(sum(one.cpu_seconds for one in runs.values()), 1),
    )


def _twice(runs: Mapping[int, Outcome]) -> str:
    """The comparisons with second runs, in one line."""
    said = {one.twice for one in runs.values()}
    if len(said) == 1:
        return said.pop()
    different = [
        f"seed {seed}: {one.twice or 'run once'}"
        for seed, one in runs.items()
        if one.twice not in ("equal", "equal verdicts")
    ]
    return "; ".join(different) or "equal verdicts"


def _found(runs: Mapping[int, Outcome]) -> Json:
    results = {seed: one.found for seed, one in runs.items() if one.found is not None}
    each = list(results.values())
    numbers = dict.fromkeys(number for one in each for number in one["clauses"])
    return {
        **each[0],
        "seed": min(results),
        "evidence": _evidence([one["evidence"] for one in each]),
        "sometimes": _sums([one["sometimes"] for one in each]),
        "profiles": {
            name: _profile([one["profiles"][name] for one in each if name in one["profiles"]])
            for name in dict.fromkeys(name for one in each for name in one.get("profiles") or {})
        },
        "clauses": {number: _clause(number, results) for number in numbers},
        **_consequences(each),
    }


def _consequences(each: Sequence[Json]) -> Json:
    """In how many workloads a clause broke as a consequence of which root, all seeds together."""
    said: dict[str, Json] = {}
    for one in each:
        for number, of_root in one.get("consequences", {}).items():
            said[number] = _sums([said.get(number, {}), of_root])
    return {"consequences": said} if said else {}


def _evidence(each: Sequence[Json]) -> Json:
    """Counts added up; the first bad word of the smoke test."""
    smoke = next((one["smoke"] for one in each if one["smoke"] != "fine"), "fine")
    flag = all(one.get("deterministic", True) for one in each)
    return {**each[0], **_sums(each), "smoke": smoke, "deterministic": flag}


def _sums(each: Sequence[Json]) -> Json:
    """The whole numbers of several results added up, by name; other values are left out."""
    sums: Json = {}
    for one in each:
        for name, value in one.items():
            if isinstance(value, int) and not isinstance(value, bool):
                sums[name] = sums.get(name, 0) + value
    return dict(sorted(sums.items()))


def _profile(each: Sequence[Json]) -> Json:
    ran = [one for one in each if "not_run" not in one]
    if not ran:
        return each[0]
    said: Json = {**ran[0], **_sums(ran)}
    for name, value in ran[0].items():
        if isinstance(value, dict):
            said[name] = _sums([one.get(name, {}) for one in ran])
        elif name in _OF_ALL_SEEDS:
            said[name] = [what for what in value if all(what in one[name] for one in ran)]
    return said


def _clause(number: str, results: Mapping[int, Json]) -> Json:
    said = {
        seed: one["clauses"][number] for seed, one in results.items() if number in one["clauses"]
    }
    words = [one["verdict"] for one in said.values()]
    word = next((one.value for one in _FIRST if one.value in words), words[0])
    entry = next(one for one in said.values() if one["verdict"] == word)
    examples = sum(one["examples"] or 0 for one in said.values())
    exercised = sum(_exercised(number, results[seed]) for seed in said)
    reason = entry["reason"]
    if says_pass(word) and len(said) > 1:
        reason = f"exercised in {exercised:,} of {counted(examples, 'workload')}"
    return {
        **entry,
        "verdict": word,
        "reason": reason,
        "examples": examples,
        "exercised": exercised,
        "failures": [
            {**failure, "seed": seed}
            for seed, one in said.items()
            for failure in one.get("failures") or filter(None, [one.get("failure")])
        ],
    }


def _exercised(number: str, result: Mapping[str, Any]) -> int:
    """In how many workloads of the clause's own profile it could have failed."""
    clause = clauses().get(number)
    home = (result.get("profiles") or {}).get(clause.profile, {}) if clause is not None else {}
    return int(home.get("occasions", {}).get(number, 0))
