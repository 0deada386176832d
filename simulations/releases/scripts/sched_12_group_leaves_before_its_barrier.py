# Clause: SCHED-12 TABLE-04
# Releases: 0.6.1 0.7.0 0.8.0
# Defect: A row group whose rows are all dropped leaves while a full-column call of it is in
#   flight; when that call ends there is no row group any more, and newer releases take that for a
#   bug of their own and abort the whole run.
# Fixed by: https://github.com/NVIDIA-NeMo/DataDesigner/pull/810
# Public: no, it drives AsyncTaskScheduler
"""Two row groups of one row. The full column `A` takes half a second; meanwhile `b[0]` fails
for good, and row 0 is dropped. When `A` comes to its end for the first group, its rows are
wanted by nobody, and the run must go on: row 1 is saved."""

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
        await asyncio.sleep(1)

    return Run([("A", [], a), ("b", [], b)], groups=[1, 1], options={})


def defect(run: Run) -> str:
    if run.saved == [1] and not run.error:
        return ""
    return f"row 1 is not saved, for the run died of {run.error or 'nothing'}"
