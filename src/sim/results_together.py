"""The figures of pipelines that ran beside each other: those of each, and of what served them all.

All that is common follows from the figures of the pipelines; `sim.figures` defines it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sim.results import Result, ratio, summarise, tidy

if TYPE_CHECKING:
    from sim.scenario.scenario import Scenario
    from sim.simulator.outcome import Outcome

__all__ = ["CommonEndpoint", "TogetherResult", "join", "result_of"]


@dataclass(frozen=True, slots=True)
class CommonEndpoint:
    """What one endpoint did for all pipelines, to the end of the last one.

    Attributes:
        pipelines: how many it served.
        sent, accepted, refused, lost: calls of all of them.
        mean_in_flight: calls that it had taken in.
        utilisation: the share of its `max_in_flight` places that was taken; None without one.
        cost: money.
    """

    endpoint: str
    pipelines: int
    sent: int
    accepted: int
    refused: int
    refused_share: float | None
    lost: int
    mean_in_flight: float | None
    utilisation: float | None
    cost: float


@dataclass(frozen=True, slots=True)
class TogetherResult:
    """The figures of a scenario with further pipelines beside it.

    Attributes:
        makespan_s: to the end of the last pipeline.
        pipelines: in the order of the file, each as if it had run alone.
    """

    name: str
    scenario_digest: str
    seed: int
    makespan_s: float
    checked: bool
    verdict: str
    fingerprint: str
    common_endpoints: tuple[CommonEndpoint, ...]
    pipelines: tuple[Result, ...]


def result_of(
    scenario: Scenario, outcomes: Sequence[Outcome], *, checked: bool
) -> Result | TogetherResult:
    """The figures of a run of a scenario, and of all pipelines beside it.

    Args:
        scenario: what was run.
        outcomes: of each of its pipelines, the counters.
        checked: whether every event was judged; else the verdict does not claim it.

    Raises:
        SpecError: a file of the scenario cannot be read any more.
    """
    runs = scenario.pipelines()
    results = [
        summarise(run, outcome, checked=checked)
        for run, outcome in zip(runs, outcomes, strict=True)
    ]
    return results[0] if len(runs) == 1 else join(scenario, results)


def join(scenario: Scenario, results: Sequence[Result]) -> TogetherResult:
    """The figures of all pipelines.

    Args:
        scenario: with those beside it.
        results: of each.

    Raises:
        SpecError: a file of the scenario cannot be read any more.
    """
    makespan_s = max(result.makespan_s for result in results)
    prints = "\n".join(result.fingerprint for result in results)
    return TogetherResult(
        name=scenario.name,
        scenario_digest=scenario.digest(),
        seed=scenario.seed,
        makespan_s=makespan_s,
        checked=results[0].checked,
        verdict=results[0].verdict,
        fingerprint=hashlib.blake2b(prints.encode(), digest_size=16).hexdigest(),
        common_endpoints=tuple(
            _common(name, plan.max_in_flight, results, makespan_s)
            for name, plan in scenario.endpoint_plans().items()
        ),
        pipelines=tuple(map(_without_load, results)),
    )


def _without_load(result: Result) -> Result:
    """A pipeline that does not say how few calls would do: those of the others count too."""
    endpoints = (replace(item, as_much_with=None) for item in result.by_endpoint)
    return replace(result, by_endpoint=tuple(endpoints))


def _common(
    name: str, places: int | None, results: Sequence[Result], makespan_s: float
) -> CommonEndpoint:
    mine = [
        (item, result) for result in results for item in result.by_endpoint if item.endpoint == name
    ]
    served_s = sum(
        times.prefill_s + times.decode_s
        for result in results
        for times in result.call_times
        if times.endpoint == name
    )
    sent, refused = sum(item.sent for item, _ in mine), sum(item.refused for item, _ in mine)
    call_s = sum((item.mean_in_flight or 0.0) * result.makespan_s for item, result in mine)
    return CommonEndpoint(
        endpoint=name,
        pipelines=len(mine),
        sent=sent,
        accepted=sum(item.accepted for item, _ in mine),
        refused=refused,
        refused_share=ratio(refused, sent),
        lost=sum(item.lost for item, _ in mine),
        mean_in_flight=ratio(call_s, makespan_s),
        utilisation=None if places is None else ratio(served_s, places * makespan_s),
        cost=tidy(sum(item.cost for item, _ in mine)),
    )
