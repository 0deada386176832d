"""Bounds: how much a run may do before it counts as one that never ends.

No clock tells that in virtual time, where an engine may turn in circles without any time passing.
So counts do: of calls, of all calls and reports together, and of turns of the loop. They are far
above what an engine needs that ends, and grow with the workload.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ROOMY", "Bounds"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one incarnation; more of anything ends it as one that never ends.

    Attributes:
        calls: of generators.
        uses: of the probe: calls and reports.
        idle_uses: the same, at one instant.
        turns: of the loop, in virtual time.
        idle_turns: the same, at one instant.
    """

    calls: int = 1_000_000
    uses: int = 10_000_000
    idle_uses: int = 1_000_000
    turns: int = 10_000_000
    idle_turns: int = 1_000_000

    @classmethod
    def of(cls, calls: int) -> Bounds:
        """The bounds for a workload of so many calls, if each that fails is made once more."""
        turns, idle = 20_000 + 2_000 * calls, 10_000 + 200 * calls
        return cls(100 + 10 * calls, turns, idle, turns, idle)


ROOMY = Bounds()
"""The bounds of a run whose workload nobody has looked at."""
