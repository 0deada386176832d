"""What calls ask of an endpoint: `sim.scenario.sampler.LatencySource` has it for a scenario."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sim.simulator.latency import Latency

__all__ = ["Tokens", "WorkSource"]


class Tokens(Protocol):
    """The tokens of calls; `sim.scenario.token_source.TokenSource` fulfils it."""

    @property
    def referenced(self) -> frozenset[int]:
        """The columns whose counts are part of another column's."""

    def is_request(self, column: int) -> bool:
        """True if the column's calls have tokens instead of seconds."""

    def reader(self, column: int) -> Callable[[int], tuple[float, float, float]]:
        """``tokens(column, row)`` of one column, as a function of the row."""

    def tokens(self, column: int, place: int, attempt: int = 1) -> tuple[float, float, float]:
        """Of the prompt and of the answer, and what is reserved for it."""

    def gave(self, column: int, row: int, attempt: int) -> None:
        """A call gave a cell of a `referenced` column its value; attempt 0 stands for a skip."""


class WorkSource(Latency, Protocol):
    """What calls ask of an endpoint: tokens, or seconds of work."""

    @property
    def counts(self) -> Tokens:
        """The tokens."""
