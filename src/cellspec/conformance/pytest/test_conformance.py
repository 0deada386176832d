"""The conformance tests: one for each clause, and what must come before them.

They hold no logic: `cellspec.conformance.pytest.session` says what to say, and
`cellspec.conformance.campaign.suite` does the work. Run them with ``pytest --pyargs
cellspec.conformance --engine-backend=module:Backend``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellspec.clauses import Clause
    from cellspec.conformance.judge.profiles import Profile
    from cellspec.conformance.pytest.session import Session

Record = Callable[[str, object], None]


def test_smoke(conformance: Session) -> None:
    """The adapter is wired up, and the engine gets the simplest workloads right."""
    conformance.smoke()


def test_campaign(conformance: Session, profile: Profile, record_property: Record) -> None:
    """Random workloads of a profile were run, and were in every situation that it owes."""
    record_property("profile", profile.name)
    for name, value in conformance.campaign(profile).items():
        if isinstance(value, int):
            record_property(name, value)


def test_clause(
    conformance: Session, clause: Clause, profile: Profile, record_property: Record
) -> None:
    """No workload broke the clause, and enough was tried to say so."""
    judgement = conformance.judge(clause, profile)
    record_property("clause", clause.number)
    record_property("verdict", judgement.verdict.value)
    record_property("profile", profile.name)
    if not judgement.passed:
        record_property("reason", judgement.reason)
    conformance.note(clause, judgement)


def test_other_clauses(conformance: Session) -> None:
    """No workload broke a clause that none of the tests above is about."""
    conformance.others()


def test_replay(conformance: Session) -> None:
    """The workload of the case file breaks no clause."""
    conformance.replay()
