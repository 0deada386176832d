"""The measurement of engines and traces: which clause catches each mutant first, and where.

An engine mutant runs workload after workload, as the conformance suite draws them from seed 0: one
of each profile in turn, then the next of each. The first that breaks a clause has caught it; that
workload's number is published, so that a test can run it alone. A trace mutant is judged by the
checker, run after run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, partial

from cellspec.conformance.campaign.campaign import drawn_workload
from cellspec.conformance.campaign.smoke import smoke
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.profiles import DRAWN
from cellspec.conformance.run.workload import Workload
from tests.matrix.engine_mutants import MEASURED, EngineMutant

PROFILES = tuple(profile.name for profile in DRAWN)
WORKLOADS = 2000
AFTER = 500
"""Workloads on which a mutant is run again without the clause that caught it."""


@dataclass(frozen=True)
class EngineRow:
    """One line of the engines' part of the matrix; `example` counts from 1."""

    name: str
    wrong: str
    clause: str
    example: int
    without: str = ""


@cache
def workload(number: int, able: frozenset[str] = MEASURED) -> Workload:
    """The workload with this number, from 1, for engines with these capabilities."""
    profiles = [name for name in PROFILES if name in able]
    profile = profiles[(number - 1) % len(profiles)]
    example = (number - 1) // len(profiles) + 1
    return drawn_workload(0, profile, example, beside(profile, able))


def beside(profile: str, able: frozenset[str]) -> list[str]:
    """The capabilities that a campaign of this profile may mix in: all but later profiles."""
    profiles = [name for name in PROFILES if name in able]
    later = profiles[profiles.index(profile) + 1 :]
    return [name for name in sorted(able) if name not in later]


def broken_clause(mutant: EngineMutant, number: int, waive: Collection[str] = ()) -> str:
    """The clause that a mutant breaks on a workload; "" if none."""
    result = run_workload(mutant.backend(), workload(number, mutant.able), waive=waive)
    assert not result.adapter, f"{mutant.name}: the adapter is wrong: {result.adapter}"
    return result.violations[0].clause if result.violations else ""


def first_broken(
    mutant: EngineMutant, waive: Collection[str] = (), most: int = WORKLOADS
) -> tuple[str, int]:
    """The first clause that a mutant breaks, and on which workload; ("", 0) if it survives."""
    for number in range(1, most + 1):
        clause = broken_clause(mutant, number, waive)
        if clause:
            return clause, number
    return "", 0


def smoke_of(mutant: EngineMutant) -> str:
    """What the smoke test says of a mutant; "" if it passes."""
    found = smoke(partial(run_workload, mutant.backend()))
    return "" if found is None else str(found)


def measure_engine(mutant: EngineMutant) -> EngineRow:
    """One mutant, judged, and judged again without the clause that caught it."""
    clause, number = first_broken(mutant)
    after = first_broken(mutant, (clause,), AFTER)[0] if clause else ""
    return EngineRow(
        mutant.name, mutant.wrong, clause, number, f"then {after}" if after else "survives"
    )


def reference_breaks() -> Iterator[tuple[int, str]]:
    """Workloads on which the reference itself breaks a clause: there must be none."""
    right = EngineMutant("reference", "nothing")
    for number in range(1, WORKLOADS + 1):
        clause = broken_clause(right, number)
        if clause:
            yield number, clause
