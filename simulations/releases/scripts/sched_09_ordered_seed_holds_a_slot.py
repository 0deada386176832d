# Clause: SCHED-09
# Releases: 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: A task of an order-dependent generator takes a place among those in flight while it
#   waits for its turn, so that work that is ready waits although nothing else runs.
# Public: no, it drives AsyncTaskScheduler
"""Two row groups of one row, and two tasks in flight at most. The order-dependent generator
`SEED` takes a second for each group, one after the other. Beside it there is a free place, and
`b` needs nothing of `SEED`: both of its cells must be over within that second. But the second
task of `SEED` sits in the free place and waits for the lock that the first one holds."""

from __future__ import annotations

import asyncio
from typing import Any

from _template import Run

WAIT_S = 10.0


def table() -> Run:
    async def seed(_row: int, _call: int) -> None:
        await asyncio.sleep(1)

    async def b(_row: int, _call: int) -> None:
        await asyncio.sleep(0.1)

    columns: list[Any] = [("SEED", None, seed), ("b", [], b)]
    return Run(columns, groups=[1, 1], options={"max_in_flight_tasks": 2})


def defect(run: Run) -> str:
    late_s = max(run.at("start b[0]"), run.at("start b[1]"))
    return (
        "" if late_s < 0.7 else f"b was ready, a place was free, and it started at {late_s:.1f} s"
    )
