# Clause: GROUP-06
# Releases: 0.5.4 0.5.5
# Defect: A row group that is complete is not saved, and the next one not admitted, before
#   everything that was ready at an earlier moment has been submitted.
# Fixed by: https://github.com/NVIDIA-NeMo/DataDesigner/pull/505
# Public: no, it drives AsyncTaskScheduler
"""Groups of one row, of ten rows and of one row; two at a time, and one call at a time of a
tenth of a second. Group 0 is complete after its only call: it must be saved then, and group 2
be admitted."""

from __future__ import annotations

import asyncio

from _template import Run

WAIT_S = 10.0


def table() -> Run:
    async def a(_row: int, _call: int) -> None:
        await asyncio.sleep(0.1)

    options = {"max_concurrent_row_groups": 2, "max_in_flight_tasks": 1}
    return Run([("a", [], a)], groups=[1, 10, 1], options=options)


def defect(run: Run) -> str:
    waited_s = run.at("save group 0") - run.at("end a[0]")
    return "" if waited_s < 0.35 else f"group 0 was complete, and saved {waited_s:.1f} s later"
