# Clause: SCHED-09
# Releases: 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: While a salvage round runs, a cell whose call returns at once does not wake the
#   scheduler: what became ready by it waits until some other call ends.
# Public: no, it drives AsyncTaskScheduler
"""Cell `a` of both rows times out once. In the salvage round that follows, `a[0]` answers at
once and `a[1]` takes a second. `b[0]` needs `a[0]` alone and has all workers to itself, so it
must start when `a[0]` has ended. `_drain_frontier` sleeps once after it has dispatched, and
only then clears the event by which `a[0]` has told meanwhile that it is done."""

from __future__ import annotations

import asyncio

from _template import Run, failure

WAIT_S = 10.0


def table() -> Run:
    async def a(row: int, call: int) -> None:
        if call == 1:
            raise failure("ModelTimeoutError")
        if row == 1:
            await asyncio.sleep(1)

    async def b(_row: int, _call: int) -> None:
        pass

    return Run([("a", [], a), ("b", ["a"], b)], groups=[2], options={})


def defect(run: Run) -> str:
    waited_s = run.at("start b[0]") - run.at("end a[0]")
    return "" if waited_s < 0.5 else f"b[0] was ready, and started {waited_s:.1f} s later"
