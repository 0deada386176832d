"""The bill of an endpoint: tokens and money, by column and by what they were paid for.

Every call that ran is paid in full, also if it failed, was timed out, or was cut off by a crash or
an outage. A call that the endpoint refused, or that still waited in its line, did not run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from sim.endpoints.plan import Price

__all__ = ["Bill", "BillLine", "Cause", "Sums"]

Cause: TypeAlias = Literal["first", "done again", "lost"]
"""What a call was paid for: values that its node had not had before; values that it had had, and a
crash lost; or nothing, as it gave none."""

CAUSES: tuple[Cause, ...] = get_args(Cause)


@dataclass(frozen=True, slots=True)
class BillLine:
    """What the calls of a column came to that were paid for one cause."""

    column: int
    cause: Cause
    calls: int
    prompt_tokens: float
    output_tokens: float
    money: float


class Bill:
    """Tokens and money of an endpoint's calls.

    Args:
        price: None if tokens cost nothing.
        columns: how many the pipeline has.
    """

    def __init__(self, price: Price | None, columns: int) -> None:
        self._price = price if price is not None else Price()
        self._sums = {cause: Sums(columns) for cause in CAUSES}

    def pay(self, column: int, cause: Cause, prompt_tokens: float, output_tokens: float) -> None:
        """Add a call that ran."""
        sums = self._sums[cause]
        sums.calls[column] += 1
        sums.prompt[column] += prompt_tokens
        sums.output[column] += output_tokens

    def sums(self, cause: Cause) -> Sums:
        """What was paid for one cause, for who adds to it without a call."""
        return self._sums[cause]

    def lines(self) -> list[BillLine]:
        """By column, and then by cause; without those of no call."""
        return [
            BillLine(column, cause, calls, prompt, output, self._money(prompt, output))
            for column in range(len(self._sums["first"].calls))
            for cause in CAUSES
            for calls, prompt, output in [self._sums[cause].of(column)]
            if calls
        ]

    def cost(self) -> float:
        """The money of all."""
        return self._money(
            _total(each.prompt for each in self._sums.values()),
            _total(each.output for each in self._sums.values()),
        )

    def _money(self, prompt: float, output: float) -> float:
        price = self._price
        charged = prompt * (1 - price.cached_share) * price.prompt_per_million
        return (charged + output * price.output_per_million) / 1e6


class Sums:
    """Calls and tokens by column."""

    __slots__ = ("calls", "output", "prompt")

    def __init__(self, columns: int) -> None:
        self.calls = [0] * columns
        self.prompt = [0.0] * columns
        self.output = [0.0] * columns

    def of(self, column: int) -> tuple[int, float, float]:
        return self.calls[column], self.prompt[column], self.output[column]


def _total(sums: Iterable[Sequence[float]]) -> float:
    return sum(map(sum, sums), 0.0)
