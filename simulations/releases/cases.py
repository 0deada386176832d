"""Cases: the smallest workloads that broke a clause, and which runs found them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from cellspec.clauses import clauses
from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES
from cellspec.conformance.run.case import Case
from cellspec.conformance.run.workload import Workload
from simulations.releases.outcome import Outcome, digest
from simulations.releases.processes import Json
from simulations.releases.release_list import Engine

__all__ = ["FoundCase", "Place", "cases_of", "explanation_of"]

Place: TypeAlias = tuple[str, str]
"""A release and an entry point, by name."""


@dataclass(frozen=True, slots=True)
class FoundCase:
    """A case, and the runs that found it.

    Attributes:
        name: its file.
        case: the case.
        failure: the suite's report of it.
        places: the releases and entry points whose run of the suite found it.
    """

    name: str
    case: Case
    failure: Json
    places: tuple[Place, ...]

    @property
    def size(self) -> tuple[int, ...]:
        """A sort key: a smaller case is easier to read."""
        work = self.case.workload
        return (
            len(work.columns) * work.rows,
            len(work.columns),
            work.incarnations,
            len(work.faults) + len(work.skips),
            len(work.to_json()),
        )


def cases_of(engine: Engine, name: str, outcomes: Mapping[Place, Outcome]) -> list[FoundCase]:
    """The cases of all runs, each once, by clause in the order of the registry.

    Two that differ in the clauses that were waived are two cases, but not if they are about cost:
    there the clauses are waived so that the run can be counted to its end, and counts take long.
    """
    backends = {entry_point.name: entry_point.backend for entry_point in engine.entry_points}
    for_cost: dict[tuple[str, str], set[str]] = {}
    for _, number, failure, work in _failures(outcomes):
        if number in COST_CLAUSES:
            for_cost.setdefault((number, work.to_json()), set()).update(failure.get("waived", ()))
    found: dict[str, FoundCase] = {}
    for place, number, failure, work in _failures(outcomes):
        waived = tuple(failure.get("waived", ()))
        waived = tuple(sorted(for_cost.get((number, work.to_json()), waived)))
        key = f"{name}_{number}_{digest(work.to_json(), waived)}.json"
        known = found.get(key)
        if known is None:
            case = Case(work, number, failure["detail"], backends[place[1]], waived)
            known = FoundCase(key, case, failure, ())
        if place not in known.places:
            found[key] = replace(known, places=(*known.places, place))
    order = {number: at for at, number in enumerate(clauses())}
    return sorted(
        found.values(), key=lambda one: (order.get(one.case.clause, len(order)), one.size, one.name)
    )


def _failures(outcomes: Mapping[Place, Outcome]) -> Iterator[tuple[Place, str, Json, Workload]]:
    """Every failure of every run, with its place, clause and workload."""
    for place, outcome in outcomes.items():
        for number, entry in ((outcome.found or {}).get("clauses") or {}).items():
            for failure in entry.get("failures") or filter(None, [entry["failure"]]):
                yield (
                    place,
                    number,
                    failure,
                    Workload.from_dict(failure["workload"], f"{place}: {number}"),
                )


def explanation_of(failure: Mapping[str, Any]) -> list[str]:
    """The lines that explain a failure; results before format 3 call them its story."""
    lines: Sequence[object] = failure.get("explanation") or failure.get("story") or ()
    return [str(line) for line in lines]
