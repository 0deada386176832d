"""Every latency model of a scenario, and the mixture of them.

A model is added in `sim.scenario.distributions` or `sim.scenario.recorded` and listed here twice:
in `Plain`, which a mixture may hold, and in `LATENCY_MODELS`. The mixture itself has
``components``, each a ``weight`` and a ``latency``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from sim.scenario.distributions import (
    Constant,
    Exponential,
    Gamma,
    LatencyModel,
    Lognormal,
    Pareto,
    Quantiles,
    Uniform,
    Weibull,
)
from sim.scenario.recorded import Tokens, Trace
from sim.scenario.strict import StrictModel, field_error

if TYPE_CHECKING:
    from sim.draws import Draws, Floats

__all__ = ["LATENCY_MODELS", "Component", "Latency", "Mixture", "Plain"]

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
]


class Component(StrictModel):
    """One part of a mixture."""

    weight: float = Field(
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="share of the cells; weights need not sum to 1",
    )
    latency: Plain = Field(description="any model but a mixture")


class Mixture(LatencyModel):
    """Each cell follows one of several models, chosen with the given weights."""

    model: Literal["mixture"] = "mixture"
    components: Annotated[tuple[Component, ...], Field(strict=False, min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _ends_well(self) -> Self:
        for place, item in enumerate(self.components):
            if item.latency.fails:
                text = "expected leave_out: calls of a mixture do not fail as their parts did"
                raise field_error(f"components[{place}].latency.failed", text)
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

    def mean_s(self) -> float:
        total = math.fsum(item.weight for item in self.components)
        return math.fsum(item.weight * item.latency.mean_s() for item in self.components) / total


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
    | Tokens,
    Field(discriminator="model"),
]
"""Any latency model, chosen by its field ``model``."""

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
)
