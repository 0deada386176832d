# Clause: COST-02
# Releases: 0.6.1 0.7.0 0.8.0
# Defect: What the scheduler does for one cell grows with the cells that were made before, so
#   that a row group costs the square of its rows.
# Fixed by: https://github.com/NVIDIA-NeMo/DataDesigner/pull/810
# Public: no, it drives AsyncTaskScheduler
"""One column, whose cells take no time, four calls at once, in one row group of 300 rows and in
one of 1,200. What the scheduler does for a cell must not depend on how many there were.
`FairTaskQueue` keeps an entry for each time that a group of tasks had its turn, and goes
through them at each choice. It is taken for a defect here from 2.5 times on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from _template import Run

WAIT_S = 60.0


def group_of(rows: int) -> tuple[Run, Callable[[], float]]:
    """A run, and the CPU seconds of a cell in it, known when it has ended."""
    marks: list[float] = []

    async def a(_row: int, _call: int) -> None:
        marks.append(time.process_time())
        await asyncio.sleep(0)

    options = {"max_in_flight_tasks": 4}
    return Run([("a", [], a)], [rows], options), lambda: (marks[-1] - marks[0]) / rows


def table() -> Run:
    return group_of(300)[0]


def defect(_run: Run) -> str:
    costs = []
    for rows in (300, 1200):
        run, seconds_a_cell = group_of(rows)
        asyncio.run(run.go(WAIT_S))
        costs.append(seconds_a_cell())
    few_s, many_s = costs
    print(f"a cell of 300: {few_s * 1e6:.0f} µs; a cell of 1,200: {many_s * 1e6:.0f} µs")
    slower = many_s / few_s
    return "" if slower < 2.5 else f"a cell among 1,200 costs {slower:.1f} times one among 300"
