"""The row effect: what one row's calls in several columns have in common, such as its length.

Each row has a standard normal number, the same in all columns, attempts and incarnations. A column
that takes part draws a normal number of its own for each call, as it would draw a latency, and
mixes the two: ``z = √c · row + √(1 − c) · own``, where c is the correlation. What it draws is the
quantile of its model at z. So each column keeps its distribution, and the normal scores of two of
them have the correlation c. Both counts of a request take part, each with a number of its own.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cellspec.graph.rules import Rules
from sim.draws import stream
from sim.scenario.distributions import LatencyModel
from sim.scenario.strict import Fault, StrictModel
from sim.scenario.tokens import PARTS, Request

if TYPE_CHECKING:
    from sim.draws import Draws, Floats

__all__ = ["RowEffect", "RowEffectSpec", "effect_faults"]

_ROWS = 1024
"""Rows of one block of the rows' own numbers."""


class RowEffect:
    """The draws of the columns that take part, in one run.

    Args:
        seed: the run's seed.
        columns: indices of the columns.
        correlation: 0 to 1.
        keep: blocks of rows kept; None keeps all.
    """

    __slots__ = ("_blocks", "_common", "_draws", "_keep", "_own", "columns")

    def __init__(
        self, seed: int, columns: Collection[int], correlation: float, keep: int | None
    ) -> None:
        self.columns = frozenset(columns)
        self._common, self._own = math.sqrt(correlation), math.sqrt(1 - correlation)
        self._draws = stream(seed, "row", "", 1)
        self._keep = keep
        self._blocks: dict[int, Floats] = {}

    def sample(
        self, column: int, model: LatencyModel, draws: Draws, start: int, count: int
    ) -> Floats:
        """As `LatencyModel.sample`, of a column of the run; `count` divides a block of rows."""
        if column not in self.columns or not model.is_drawn:
            return model.sample(draws, start, count)
        own = draws.rng.standard_normal(count)
        return model.quantile(self._common * self._of_rows(start, count) + self._own * own)

    def _of_rows(self, start: int, count: int) -> Floats:
        """The numbers of consecutive rows, which lie in one block."""
        block, first = divmod(start, _ROWS)
        found = self._blocks.get(block)
        if found is None:
            found = self._draws.at(block).rng.standard_normal(_ROWS)
            if self._keep is not None and len(self._blocks) >= self._keep:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[block] = found
        return found[first : first + count]


class RowEffectSpec(StrictModel):
    """What the calls of one row have in common."""

    columns: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)
    ] = Field(description="whose latencies, or tokens, go together in a row")
    correlation: float = Field(
        ge=0, le=1, allow_inf_nan=False, description="of the normal scores of two columns"
    )

    def of_run(self, seed: int, index: Mapping[str, int], keep: int | None) -> RowEffect:
        """The draws of a run.

        Args:
            seed: the run's.
            index: of the run's columns.
            keep: blocks of rows kept; None keeps all.
        """
        columns = [index[name] for name in self.columns]
        return RowEffect(seed, columns, self.correlation, keep)


def effect_faults(
    names: Sequence[str], rules: Rules, latencies: Mapping[str, LatencyModel]
) -> Iterator[Fault]:
    """The columns that cannot take part, by their position in ``row_effect.columns``.

    Args:
        names: those columns; ones that do not exist are left out.
        rules: of the scenario's graph.
        latencies: by column.
    """
    for place, name in enumerate(names):
        if name not in rules.index:
            continue
        where, model = ("row_effect", "columns", place), latencies[name]
        if rules.columns[rules.index[name]].is_barrier:
            yield Fault(where, f"column {name!r} is a barrier: its calls belong to no single row")
            continue
        parts = [("latency", model)]
        if isinstance(model, Request):
            parts = list(zip(PARTS, model.counts, strict=True))
        for part, item in parts:
            if item.is_drawn and not item.has_quantile:
                kind = getattr(item, "model", "")
                text = f"the {part} of column {name!r} is of model {kind}, whose quantiles are not"
                yield Fault(where, f"{text} known here; take lognormal, quantiles, or a trace")
            elif item.fails:
                text = f"the {part} of column {name!r} replays failures, which have no quantile"
                yield Fault(where, f"{text}; say failed: leave_out")
