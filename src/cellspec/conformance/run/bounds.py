"""Bounds: how much a run may do before it counts as one that never ends.

No clock tells that in virtual time, where an engine may turn in circles without any time passing.
So counts do: of calls, of all calls and reports together, and of turns of the loop. They are far
above what an engine needs that ends, and grow with the workload. For an engine that is known to
turn in circles a part of them will do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

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
    def of(cls, calls: int, part: float = 1.0) -> Bounds:
        """The bounds for a workload of so many calls, if each that fails is made once more.

        Args:
            calls: how many.
            part: of all bounds but that of calls, from 0 to 1.
        """
        turns, idle = int(part * (20_000 + 2_000 * calls)), int(part * (10_000 + 200 * calls))
        return cls(100 + 10 * calls, turns, idle, turns, idle)

    def part_used(self, turns: int, idle_turns: int, times: Iterable[float]) -> float:
        """The part of these bounds that a run needed, from 0 to 1.

        Args:
            turns: its turns of the loop.
            idle_turns: the most of them at one instant.
            times: the times of its events, in order.
        """
        at_once = [len(list(events)) for _, events in groupby(times)]
        return max(
            turns / self.turns,
            idle_turns / self.idle_turns,
            sum(at_once) / self.uses,
            max(at_once, default=0) / self.idle_uses,
        )


ROOMY = Bounds()
"""The bounds of a run whose workload nobody has looked at."""
