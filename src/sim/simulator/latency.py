"""The latencies that a simulator asks for: a protocol, which `sim.scenario.sampler` fulfils."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Latency"]


class Latency(Protocol):
    """Durations in seconds, each a function of (seed, column, row, attempt) alone.

    With ``redo: fresh`` of the incarnation too: then they change at each resume.
    """

    def reader(self, column: int) -> Callable[[int], float]:
        """Of the first attempt at a column's cells, by row."""

    def get(self, column: int, row: int, attempt: int = 1) -> float:
        """Of one attempt at a cell."""

    def get_barrier(self, column: int, scope: int, attempt: int = 1) -> float:
        """Of one barrier node."""

    def mean_s(self, column: int) -> float:
        """The expected duration of a column's cell, or of its barrier node."""
