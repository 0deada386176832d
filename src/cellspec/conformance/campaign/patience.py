"""Patience: how long the suite waits for an engine in real time that stands still.

In real time nothing tells a hang from a long wait, so the first run that stands still is waited for
in full (`STALL_S`). From then on the engine is known to hang, and each further wait costs more than
it tells: a run is waited for four times as long as the slowest run that came to its end, and two
seconds at least. The smallest workload found that way is run once more, and waited for in full.
"""

from __future__ import annotations

from dataclasses import dataclass

from cellspec.conformance.judge.harness import STALL_S

__all__ = ["Patience"]

_LEAST_S = 2.0
_TIMES = 4


@dataclass(slots=True)
class Patience:
    """How long a run is waited for.

    Attributes:
        hangs: whether a run has stood still.
        slowest_s: the real seconds of the slowest run that came to its end.
    """

    hangs: bool = False
    slowest_s: float = 0.0

    @property
    def wait_s(self) -> float:
        """Real seconds without any call after which a run stands still."""
        if not self.hangs:
            return STALL_S
        return min(STALL_S, max(_LEAST_S, _TIMES * self.slowest_s))

    def note(self, stood_still: bool, took_s: float) -> None:
        """Note a run that is over.

        Args:
            stood_still: whether it was given up.
            took_s: the real seconds that it took.
        """
        if stood_still:
            self.hangs = True
        else:
            self.slowest_s = max(self.slowest_s, took_s)
