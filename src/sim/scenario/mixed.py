"""The mixture of several models, of latencies or of token counts."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator

from sim.scenario.distributions import LatencyModel
from sim.scenario.strict import Fault, faults_error

if TYPE_CHECKING:
    from sim.draws import Draws, Floats

__all__ = ["Mixed", "Weight"]

Weight = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
"""The share of the cells that follow a part; weights need not sum to 1."""


class Mixed(LatencyModel):
    """The base of a mixture: each cell follows one of several models, by their weights."""

    part: ClassVar[str]
    """The field of a component that holds its model."""

    @abstractmethod
    def parts(self) -> Sequence[tuple[float, LatencyModel]]:
        """The models, each with its weight."""

    @model_validator(mode="after")
    def _ends_well(self) -> Self:
        text = "expected leave_out: calls of a mixture do not fail as their parts did"
        faults = [
            Fault(("components", place, self.part, "failed"), text)
            for place, (_, model) in enumerate(self.parts())
            if model.fails
        ]
        if faults:
            raise faults_error(faults)
        return self

    def remark(self) -> str:
        found = dict.fromkeys(model.remark() for _, model in self.parts())
        return "; ".join(text for text in found if text)

    def loads(self) -> Sequence[int]:
        return [load for _, model in self.parts() for load in model.loads()]

    def bounds(self, row: int) -> tuple[float, float]:
        least, most = zip(*(model.bounds(row) for _, model in self.parts()), strict=True)
        return min(least), max(most)

    def sample(self, draws: Draws, start: int, count: int) -> Floats:
        import numpy as np

        ends = np.cumsum([weight for weight, _ in self.parts()])
        picks = np.searchsorted(ends, draws.rng.random(count) * ends[-1], side="right")
        found = np.empty(count)
        for index, (_, model) in enumerate(self.parts()):
            # Each part draws the whole block: then a weight changes who is picked, and no number.
            mine = model.sample(draws.part(index), start, count)
            np.copyto(found, mine, where=picks == index)
        return found

    def expected(self) -> float:
        total = math.fsum(weight for weight, _ in self.parts())
        return math.fsum(weight * model.expected() for weight, model in self.parts()) / total
