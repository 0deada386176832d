"""The registry of clauses: its version is held to its texts, and no number is used twice."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from cellspec.clauses import (
    chapters,
    clause_digest,
    clause_set,
    clause_set_version,
    clauses,
    clauses_of,
    retired_clauses,
    version_of,
)
from cellspec.conformance.judge.profiles import PROFILES

CHANGED = (
    "clauses changed: give clauses.toml a new `version` and add its digest to "
    "[digests]; a version that was published keeps the digest that it has (CONTRIBUTING.md)"
)


def test_the_version_of_the_clause_set_is_that_of_its_texts() -> None:
    assert version_of(clause_set()) == clause_set_version(), f"{CHANGED}: {clause_set()}"


def test_a_published_set_keeps_its_digest() -> None:
    assert version_of("63ca8bff2ad02c2e") == "1"


@pytest.mark.parametrize(
    "change",
    [
        {"level": "SHOULD"},
        {"text": "Another rule."},
        {"status": "stochastic"},
        {"profile": "drops"},
        {"needs": frozenset({"early_stop"})},
    ],
)
def test_the_digest_follows_from_all_that_decides_a_verdict(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clause_set()
    first = clauses()["GRAPH-01"]
    changed = {**clauses(), "GRAPH-01": replace(first, **change)}
    assert changed["GRAPH-01"] != first
    monkeypatch.setattr("cellspec.clauses.clauses", lambda: changed)
    assert clause_set.__wrapped__() != before
    assert clause_digest(changed["GRAPH-01"]) != clause_digest(first)


def test_a_digest_that_the_registry_does_not_know_has_no_version() -> None:
    assert version_of("0000000000000000") == ""


def test_a_retired_number_is_a_number_of_a_chapter_and_no_clause_has_it() -> None:
    prefixes = "|".join(prefix for chapter in chapters() for prefix in chapter.prefixes)
    for number, reason in retired_clauses().items():
        assert re.fullmatch(rf"(?:{prefixes})-\d\d", number)
        assert reason
        assert number not in clauses()


def test_every_clause_with_a_profile_is_judged_by_that_profile_alone() -> None:
    named = {clause.number: clause.profile for clause in clauses().values() if clause.profile}
    judged = {one.number: profile.name for profile in PROFILES for one in profile.clauses}
    assert judged == named


def test_a_clause_needs_further_capabilities_only_with_a_profile() -> None:
    for clause in clauses().values():
        assert clause.profile or not clause.needs, clause.number
        assert clause.profile not in clause.needs, clause.number


def test_the_clauses_of_a_profile_stand_by_chapter_and_number() -> None:
    assert [one.number for one in clauses_of("resume")] == [
        *("SCHED-05", "SKIP-03", "GROUP-05"),
        *(f"CKPT-{number:02}" for number in (5, 8, 9, 10, 11, 12, 16, 17, 18, 19, 20, 21, 22)),
        *("TABLE-05", "TABLE-06", "TABLE-09"),
    ]
