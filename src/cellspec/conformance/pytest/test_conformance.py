"""The conformance tests: one for each clause, after the smoke test and the campaigns.

`cellspec.conformance.campaign.suite` does the work, and `cellspec.conformance.pytest.session` turns
its results into outcomes of tests. Run them with ``pytest --pyargs cellspec.conformance
--engine-backend=module:Backend``.
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
    """The adapter is wired up: the simplest workloads come through."""
    conformance.smoke()


def test_campaign(conformance: Session, profile: Profile, record_property: Record) -> None:
    """Random workloads of a profile were run, and met all its coverage goals."""
    record_property("profile", profile.name)
    for name, value in conformance.campaign(profile).items():
        if isinstance(value, int):
            record_property(name, value)


def test_clause(
    conformance: Session, clause: Clause, profile: Profile, record_property: Record
) -> None:
    """Every workload kept the clause, and the evidence is complete."""
    judgement = conformance.judge(clause, profile)
    record_property("clause", clause.number)
    record_property("verdict", judgement.verdict.value)
    record_property("profile", profile.name)
    if not judgement.passed:
        record_property("reason", judgement.reason)
    conformance.note(clause, judgement)


def test_other_clauses(conformance: Session) -> None:
    """Every workload kept the clauses that have no test above."""
    conformance.others()


def test_replay(conformance: Session) -> None:
    """The workload of the case file keeps every clause."""
    conformance.replay()
