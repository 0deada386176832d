"""Further pipelines of a scenario file: they run beside it, and its endpoints serve them all.

Each is a scenario as any other, but for what is said once for all, at the top of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from cellspec.text import listed_names
from sim.draws import sequence
from sim.scenario.endpoint_faults import beyond_faults
from sim.scenario.endpoints import EndpointSpec
from sim.scenario.messages import faults_of
from sim.scenario.records import LimitsSpec
from sim.scenario.references import resources_taken
from sim.scenario.strict import Fault
from sim.scenario.words import given_words

__all__ = ["COMMON", "read_beside", "seed_of"]

COMMON = ("endpoints", "outages")
"""The fields that are said once for all pipelines."""


class PipelineRecord(Protocol):
    """What is asked of a scenario here; `sim.scenario.scenario.Scenario` is one."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def seed(self) -> int:
        """Decides every draw of its run."""

    @property
    def limits(self) -> LimitsSpec:
        """The calls that it has at once."""

    @property
    def endpoints(self) -> Mapping[str, EndpointSpec]:
        """By resource, what serves its columns."""

    @property
    def beside(self) -> Sequence[Any]:
        """Further pipelines, as plain data."""

    def most_calls(self, resource: str) -> int:
        """No more calls of a resource than this ever run at once."""


ScenarioT = TypeVar("ScenarioT", bound=PipelineRecord)


def seed_of(seed: int, name: str) -> int:
    """The seed of a pipeline that states none: a function of the file's seed, and its name."""
    return sequence(seed, "beside", name).getrandbits(32)


def read_beside(
    top: ScenarioT,
    common: Mapping[str, Any],
    validate: Callable[[Any], ScenarioT],
    faults: list[Fault],
) -> tuple[ScenarioT, ...]:
    """The pipelines that stand beside a scenario.

    Args:
        top: the scenario.
        common: its endpoints and outages, as plain data.
        validate: makes a scenario of plain data.
        faults: receives all that does not fit.
    """
    found: list[ScenarioT] = []
    names = [top.name]
    if not common["endpoints"]:
        text = "pipelines run beside each other for the endpoints that serve them; give endpoints"
        faults.append(Fault(("beside",), text))
    for place, item in enumerate(top.beside):
        if not isinstance(item, Mapping):
            text = f"expected a mapping, the fields of a scenario, got {given_words(item)}"
            faults.append(Fault(("beside", place), text))
            continue
        own = _of_others(item)
        faults += [Fault(("beside", place, *fault.where), fault.text) for fault in own]
        data = _whole(item, top.seed, common)
        try:
            scenario = validate(data)
        except ValidationError as error:
            name = item.get("name")
            faults += [_moved(fault, place, name) for fault in faults_of(error, data)]
            continue
        if scenario.name in names:
            others = f"the others are {listed_names(names)}"
            text = f"expected a name of its own, got {scenario.name!r}; {others}"
            faults.append(Fault(("beside", place, "name"), text))
        names.append(scenario.name)
        if common["endpoints"] and not own and not scenario.endpoints:
            taken = listed_names(common["endpoints"])
            text = f"expected a column that takes an endpoint of this file ({taken}), got none"
            faults.append(Fault(("beside", place), text))
        found.append(scenario)
    faults += _rates(top.limits.requests_per_minute())
    if not faults:
        faults += _too_many_together([top, *found])
    return tuple(found)


def _of_others(item: Mapping[str, Any]) -> list[Fault]:
    """What a pipeline says that is not its own to say, at its place in the pipeline."""
    faults = [
        Fault((word,), "is said once for all pipelines, at the top of the file")
        for word in COMMON
        if word in item
    ]
    if "beside" in item:
        text = "expected all pipelines in one list, at the top of the file"
        faults.append(Fault(("beside",), text))
    limits = item.get("limits")
    given = limits.get("resources") if isinstance(limits, Mapping) else None
    words = given if isinstance(given, Mapping) else {}
    return faults + _rates(
        {
            name: words[name]
            for name in words
            if isinstance(words[name], Mapping) and "max_requests_per_minute" in words[name]
        }
    )


def _rates(resources: Mapping[str, Any]) -> list[Fault]:
    """The faults of rates that only one client of an endpoint would be told."""
    return [
        Fault(
            ("limits", "resources", name, "max_requests_per_minute"),
            f"is a limit of the endpoint, and that serves several pipelines: say endpoints.{name}"
            ".limits, at the top of the file",
        )
        for name in resources
    ]


def _whole(item: Mapping[str, Any], seed: int, common: Mapping[str, Any]) -> dict[str, Any]:
    """A pipeline with what it has from the top of the file."""
    taken = resources_taken(item)
    name = item.get("name")
    data = {key: value for key, value in item.items() if key not in (*COMMON, "beside")}
    if "seed" not in data and isinstance(name, str):
        data["seed"] = seed_of(seed, name)
    endpoints = {name: words for name, words in common["endpoints"].items() if name in taken}
    outages = [outage for outage in common["outages"] if outage["resource"] in taken]
    return data | {"endpoints": endpoints, "outages": outages}


def _moved(fault: Fault, place: int, name: object) -> Fault:
    """A fault of a pipeline at its place in the file; the endpoints are those of the top."""

    def moved(where: tuple[int | str, ...]) -> tuple[int | str, ...]:
        return where if where[:1] == ("endpoints",) else ("beside", place, *where)

    text = fault.text
    if fault.where[:1] == ("endpoints",):
        text += f" (for the pipeline {name!r})"
    return Fault(moved(fault.where), text, tuple(map(moved, fault.about)))


def _too_many_together(scenarios: Sequence[PipelineRecord]) -> list[Fault]:
    """The faults of speeds that are not known for as many calls as all pipelines may send."""
    found: list[Fault] = []
    for name, endpoint in scenarios[0].endpoints.items():
        most = sum(scenario.most_calls(name) for scenario in scenarios)
        found += beyond_faults(name, endpoint, most)
    return found
