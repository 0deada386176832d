# Clause: BARR-08
# Releases: 0.5.4 0.5.5 0.5.7 0.5.9 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: A row whose cell has failed in every attempt is given up only when all salvage rounds
#   are over; until then other columns of it are still made, which nobody wants.
# Public: no, it drives AsyncTaskScheduler
"""One row. `a[0]` times out in every attempt. `c[0]` times out twice, and is right in its third
attempt, which takes a third of a second: when it ends, `a[0]` has spent its attempts, and the
only row of the group is lost. The full column `B` needs `c`, and is called then, for
nothing."""

from __future__ import annotations

import asyncio

from _template import Run, failure

WAIT_S = 10.0


def table() -> Run:
    async def a(_row: int, _call: int) -> None:
        raise failure("ModelTimeoutError")

    async def c(_row: int, call: int) -> None:
        if call <= 2:
            raise failure("ModelTimeoutError")
        await asyncio.sleep(0.3)

    async def b(_row: int, _call: int) -> None:
        pass

    return Run([("a", [], a), ("c", [], c), ("B", ["c"], b)], groups=[1], options={})


def defect(run: Run) -> str:
    attempts = run.calls("fail a[0]")
    return f"B was called after a[0] had failed {attempts} times" if run.calls("start B") else ""
