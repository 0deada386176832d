"""The results of a campaign: evidence, and a failure for each clause that broke.

Campaigns that draw workloads (`cellspec.conformance.campaign.campaign`) need Hypothesis. These
values and the judge of cost work without it, so that a case is replayed wherever cellspec is
installed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cellspec.conformance.judge.evidence import Evidence
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.workload import Workload

__all__ = ["Campaign", "Failure", "failure_of"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A clause that broke, and the smallest workload found that breaks it.

    Attributes:
        clause: its number.
        detail: the violation, in one line.
        explanation: the rule, the finding and the events before it, a line each.
        workload: the workload.
        header: the first line of the trace of that run.
        events: its events.
        profile: the profile whose campaign found it; "" outside a campaign.
        example: which workload of the campaign broke it first, from 1.
        seed: the seed of that campaign's draws.
        waived: the clauses that were left unjudged.
        seq: the number of the event that broke it; None for a violation without an event.
        nth: which failure of this clause it is, from 1: two bugs may break one clause.
        is_smallest: the search for a smaller workload was not interrupted.
    """

    clause: str
    detail: str
    explanation: tuple[str, ...]
    workload: Workload
    header: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    profile: str = ""
    example: int = 0
    seed: int = 0
    waived: tuple[str, ...] = ()
    seq: int | None = None
    nth: int = 1
    is_smallest: bool = True

    @property
    def name(self) -> str:
        """The clause; of a second failure of one clause and later ones, with their number."""
        return self.clause if self.nth == 1 else f"{self.clause}-{self.nth}"


@dataclass(slots=True)
class Campaign:
    """The evidence of a campaign, and its failures by clause."""

    profile: str
    evidence: Evidence
    failures: dict[str, Failure] = field(default_factory=dict)


def failure_of(
    result: RunResult,
    *,
    profile: str = "",
    example: int = 0,
    seed: int = 0,
    waived: Collection[str] = (),
    is_smallest: bool = True,
) -> Failure:
    """The failure of a run that broke a clause."""
    broken = result.violations[0]
    return Failure(
        clause=broken.clause,
        detail=broken.detail,
        explanation=tuple(broken.explanation),
        workload=result.work,
        header=result.header,
        events=tuple(result.events),
        profile=profile,
        example=example,
        seed=seed,
        waived=tuple(waived),
        seq=broken.seq,
        is_smallest=is_smallest,
    )
