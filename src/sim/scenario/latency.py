"""Every latency model of a scenario, and the mixture of them.

A model is a class in `sim.scenario.distributions`, in `sim.scenario.recorded` if it repeats
recorded requests, or in `sim.scenario.tokens` if it counts tokens. Three lists here name it:
`Plain`, the models that a mixture may hold, `Latency`, all of them, and `LATENCY_MODELS`, their
names. The mixture itself has ``components``, each a ``weight`` and a ``latency``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, WrapValidator

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
from sim.scenario.mixed import Mixed, Weight
from sim.scenario.named import NamedModel
from sim.scenario.recorded import Tokens, Trace
from sim.scenario.strict import StrictModel
from sim.scenario.tokens import Request

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

    weight: Weight = Field(description="share of the cells; weights need not sum to 1")
    latency: Plain = Field(description="any model but a mixture, a list or a request")


class Mixture(Mixed):
    """Each cell follows one of several models, chosen with the given weights."""

    part = "latency"

    model: Literal["mixture"] = "mixture"
    components: Annotated[tuple[Component, ...], Field(strict=False, min_length=1, max_length=64)]

    def parts(self) -> Sequence[tuple[float, LatencyModel]]:
        return [(item.weight, item.latency) for item in self.components]


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
