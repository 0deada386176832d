# Clause: SCHED-02
# Releases: 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: If a row is dropped while a full column without inputs is being made for its row
#   group, that column is made a second time at once.
# Public: no, it drives AsyncTaskScheduler
"""Two rows of one group. The full column `A` needs nothing, and takes half a second from
scratch; meanwhile `b[0]` fails for good, and row 0 is dropped. `CompletionTracker.drop_row`
looks for full columns that have become ready by that, and takes `A` for one: it needs nothing
and is not complete. That it is in flight is known of another task, for it was started from
scratch. So `A`, which may be thousands of calls of a model, is made twice."""

from __future__ import annotations

import asyncio

from _template import Run, failure

WAIT_S = 10.0


def table() -> Run:
    async def a(_row: int, _call: int) -> None:
        await asyncio.sleep(0.5)

    async def b(row: int, _call: int) -> None:
        if row == 0:
            raise failure("ModelBadRequestError")

    return Run([("A", None, a), ("b", [], b)], groups=[2], options={})


def defect(run: Run) -> str:
    began = sum(text.startswith("start A") for _, text in run.log)
    return "" if began == 1 else f"A was started {began} times for one row group"
