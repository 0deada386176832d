"""Every latency model of a scenario, and the mixture of them.

A model is a class in `sim.scenario.distributions`, in `sim.scenario.recorded` if it repeats
recorded requests, or in `sim.scenario.tokens` if it counts tokens. Three lists here name it:
`Plain`, the models that a mixture may hold, `Latency`, all of them, and `LATENCY_MODELS`, their
names. The mixture itself has ``components``, each a ``weight`` and a ``latency``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, WrapValidator, model_validator

from sim.scenario.distributions import (
    Constant,
    Exponential,
    Gamma,
    LatencyModel,
    List,
    Lognormal,
    Pareto,
    Quantiles,
    Uniform,
    Weibull,
)
from sim.scenario.named import NamedModel
from sim.scenario.recorded import Tokens, Trace
from sim.scenario.strict import Fault, StrictModel, faults_error
from sim.scenario.tokens import Request

if TYPE_CHECKING:
    from sim.draws import Draws, Floats

__all__ = ["LATENCY_MODELS", "Component", "Latency", "Mixture", "Plain"]

LATENCY_MODELS = (
    "constant",
    "uniform",
    "exponential",
    "lognormal",
    "gamma",
    "weibull",
    "pareto",
    "mixture",
    "quantiles",
    "trace",
    "tokens",
    "list",
    "request",
)
"""The names of all models, in the order of the tables."""

_UNMIXED = ("mixture", "list", "request")
"""The models that no mixture holds."""

Plain = Annotated[
    Constant
    | Uniform
    | Exponential
    | Lognormal
    | Gamma
    | Weibull
    | Pareto
    | Quantiles
    | Trace
    | Tokens,
    Field(discriminator="model"),
    WrapValidator(NamedModel(*(name for name in LATENCY_MODELS if name not in _UNMIXED))),
]


class Component(StrictModel):
    """One part of a mixture."""

    weight: float = Field(
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="share of the cells; weights need not sum to 1",
    )
    latency: Plain = Field(description="any model but a mixture, a list or a request")


class Mixture(LatencyModel):
    """Each cell follows one of several models, chosen with the given weights."""

    model: Literal["mixture"] = "mixture"
    components: Annotated[tuple[Component, ...], Field(strict=False, min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _ends_well(self) -> Self:
        text = "expected leave_out: calls of a mixture do not fail as their parts did"
        faults = [
            Fault(("components", place, "latency", "failed"), text)
            for place, item in enumerate(self.components)
            if item.latency.fails
        ]
        if faults:
            raise faults_error(faults)
        return self

    def remark(self) -> str:
        found = dict.fromkeys(item.latency.remark() for item in self.components)
        return "; ".join(text for text in found if text)

    def loads(self) -> Sequence[int]:
        return [load for item in self.components for load in item.latency.loads()]

    def sample(self, draws: Draws, start: int, count: int) -> Floats:
        import numpy as np

        ends = np.cumsum([item.weight for item in self.components])
        picks = np.searchsorted(ends, draws.rng.random(count) * ends[-1], side="right")
        found = np.empty(count)
        for index, item in enumerate(self.components):
            # Each part draws the whole block: then a weight changes who is picked, and no number.
            mine = item.latency.sample(draws.part(index), start, count)
            np.copyto(found, mine, where=picks == index)
        return found

    def expected(self) -> float:
        total = math.fsum(item.weight for item in self.components)
        return math.fsum(item.weight * item.latency.expected() for item in self.components) / total


Latency = Annotated[
    Constant
    | Uniform
    | Exponential
    | Lognormal
    | Gamma
    | Weibull
    | Pareto
    | Mixture
    | Quantiles
    | Trace
    | Tokens
    | List
    | Request,
    Field(discriminator="model"),
    WrapValidator(NamedModel(*LATENCY_MODELS)),
]
"""Any latency model, chosen by its field ``model``."""
