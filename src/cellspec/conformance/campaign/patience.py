"""Patience: how long the suite waits for an engine in real time that stands still.

In real time nothing tells a hang from a long wait, so the first run that stands still is waited for
in full (`STALL_S`). From then on the engine is known to hang, and each further wait costs more than
it tells: a run is waited for four times as long as the slowest run that came to its end, and two
seconds at least. The smallest workload found that way is run once more, and waited for in full.

In virtual time a run that turns in circles is given up by counts, its bounds
(`cellspec.conformance.run.bounds`). An engine that is known to do so gets a part of them: four
times the part that a run needed which came to its end, and a twentieth at least. No clock has a
say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from cellspec.conformance.judge.harness import STALL_S
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.case import describe
from cellspec.conformance.run.workload import Workload

__all__ = ["Patience"]

_LEAST_S = 2.0
_LEAST_VIRTUAL_S = 1.0
_TIMES = 4


class Patience:
    """Runs workloads, and decides how long each is waited for.

    Args:
        run: runs a workload, with these clauses waived and with so many real seconds without any
            call after which it stands still.
        say: called with a line for the user when a run stands still for the first time.
    """

    def __init__(
        self,
        run: Callable[[Workload, Collection[str], float], RunResult],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._say = say
        self._hangs = False
        self._least_s = _LEAST_S
        self._slowest_s = 0.0

    @property
    def wait_s(self) -> float:
        """Real seconds for which the next run may stand still; in virtual time they stand for the
        bounds of what it may do."""
        if not self._hangs:
            return STALL_S
        return min(STALL_S, max(self._least_s, _TIMES * self._slowest_s))

    def run(self, work: Workload, waive: Collection[str] = ()) -> RunResult:
        """Run a workload, and wait for it as long as is known to be enough."""
        began_s = time.monotonic()
        wait_s = self.wait_s
        result = self._run(work, waive, wait_s)
        result.in_haste = result.stood_still_s > 0 and wait_s < STALL_S
        self.note(result, time.monotonic() - began_s)
        return result

    def run_in_full(self, work: Workload, waive: Collection[str] = ()) -> RunResult:
        """Run a workload, and wait for it in full."""
        return self._run(work, waive, STALL_S)

    def note(self, result: RunResult, took_s: float) -> None:
        """Note a run that is over, and the real seconds that it took."""
        virtual = result.part_used > 0
        if virtual:
            self._least_s, took_s = _LEAST_VIRTUAL_S, result.part_used * STALL_S
        if not result.stood_still_s:
            self._slowest_s = max(self._slowest_s, took_s)
            return
        if not self._hangs and not virtual:
            self._say(
                f"nothing happened for {result.stood_still_s:g} s in a run of "
                f"{describe(result.work)[0]}: the engine stands still. A smaller workload is "
                "searched for, for a minute or two; Ctrl-C ends that, and tells what was found"
            )
        self._hangs = True
