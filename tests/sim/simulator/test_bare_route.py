"""Calls of a bare endpoint, in the loop and by the parts, are those of a server with all stages."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

import pytest

from sim.endpoints.plan import EndpointPlan
from sim.scenario.scenario import Scenario
from sim.simulation import make_simulator
from sim.simulator.bare_route import has_bare_route
from sim.simulator.outcome import Outcome
from sim.simulator.picking import Picker
from sim.simulator.plan import RunPlan
from sim.simulator.simulator import Simulator

SEEDS = 120


class Composed(Simulator):
    """Overrides a step, and so takes all of them itself."""

    def _picker(self) -> Picker:
        return super()._picker()


def scenario(number: int) -> Scenario:
    """Columns behind two endpoints and none; many ends at one instant where times are constant."""
    draw = random.Random(f"bare/{number}")
    tokens = draw.random() < 0.4
    columns: list[dict[str, Any]] = []
    for place in range(draw.randint(1, 4)):
        needs = draw.sample(range(place), min(place, draw.choice((0, 1, 2))))
        traits = ["CELL_BY_CELL"] if needs else ["START", "CELL_BY_CELL"]
        if needs and draw.random() < 0.25:
            traits = [draw.choice(("BATCH_BARRIER", "BARRIER"))]
        behind = draw.choice(("chat", "chat", "other", None)) if place else "chat"
        mean = draw.choice((0.5, 1.0, 3.0))
        latency: dict[str, Any] = {"model": "exponential", "mean_s": mean}
        if draw.random() < 0.5:
            latency = {"model": "constant", "value_s": mean}
        if tokens and behind == "chat":
            output = {"model": "exponential", "mean": 30}
            if draw.random() < 0.5:
                output = {"model": "constant", "value": 20}
            prompt = {"model": "constant", "value": 100}
            latency = {"model": "request", "prompt_tokens": prompt, "output_tokens": output}
        columns.append({"name": f"c{place}", "traits": traits, "latency": latency})
        columns[-1]["dependencies"] = [f"c{need}" for need in needs]
        if behind:
            columns[-1]["resource"] = behind
    speeds: Any = (
        {"work": {"full_speed": draw.randint(1, 9)}},
        {"work": {1: 1.0, 8: 0.9, 64: 0.5}},
        {},
    )
    chat = {"tpot_s": {1: 0.02, 8: 0.03, 32: 0.08}} if tokens else draw.choice(speeds)
    served = {"chat": {**chat, "max_in_flight": 9, "price": {"output_per_million": 2.0}}}
    places = {"chat": draw.choice((2, 9))}
    if any(column.get("resource") == "other" for column in columns):
        served["other"], places["other"] = draw.choice(speeds), 3
    return Scenario.model_validate(
        {
            "name": "bare",
            "rows": draw.choice((1, 7, 40, 130)),
            "batch_size": 6,
            "seed": number,
            "policy": draw.choice(("fifo", "fifo", "row-first", "random")),
            "columns": columns,
            "endpoints": served,
            "limits": {"workers": draw.choice((1, 2, 5, 9, 16)), "resources": places},
        }
    )


def result(made: Scenario, kind: type[Simulator] | None = None) -> tuple[Mapping[str, Any], str]:
    """All that a run counts, and its fingerprint."""
    simulator = make_simulator(made, None)
    if kind is not None:
        given, state = simulator, simulator.state
        simulator = kind(made.graph(), state.latency, given.plan, routes=given.parts.routes)
    found: Outcome = simulator.run()
    return dataclasses.asdict(found), simulator.state.digest.hexdigest()


@pytest.mark.parametrize("first", range(0, SEEDS, 30))
def test_a_bare_endpoint_gives_what_one_with_all_stages_gives(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(first, first + 30):
        made = scenario(number)
        looped, composed = result(made), result(made, Composed)
        assert looped == composed, number
        with monkeypatch.context() as patch:
            patch.setattr("sim.simulator.routes.has_bare_route", _never)
            assert result(made) == looped, number


def _never(_plan: RunPlan, _endpoint: EndpointPlan) -> bool:
    return False


def test_what_asks_for_more_is_not_bare() -> None:
    made = scenario(0)
    plan = make_simulator(made, None).plan
    chat = plan.endpoints["chat"]
    assert has_bare_route(plan, chat)
    for more in (
        {"max_in_flight": 1},
        {"kv_tokens": 1e9},
        {"prefill_tokens_per_s": 1e9},
    ):
        busier = dataclasses.replace(plan, limits=dataclasses.replace(plan.limits, workers=9))
        assert not has_bare_route(busier, dataclasses.replace(chat, **more))
