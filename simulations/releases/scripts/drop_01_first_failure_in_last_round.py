# Clause: DROP-01
# Releases: 0.5.4 0.5.5 0.5.7 0.5.9 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: A cell that runs for the first time in the last salvage round, because a cell before
#   it had to be repeated, is never repeated itself: its first time-out drops the row.
# Public: no, it drives AsyncTaskScheduler
"""Cell `a` of one row times out twice and is right the third time. Then `b` runs for the first
time, and times out once. It has as many attempts left as any other cell, so it must be called
again, and the row must be saved. But the rounds of salvage are counted for all cells
together."""

from __future__ import annotations

from _template import Run, failure

WAIT_S = 10.0


def table() -> Run:
    async def a(_row: int, call: int) -> None:
        if call <= 2:
            raise failure("ModelTimeoutError")

    async def b(_row: int, call: int) -> None:
        if call == 1:
            raise failure("ModelTimeoutError")

    return Run([("a", [], a), ("b", ["a"], b)], groups=[1], options={})


def defect(run: Run) -> str:
    if run.saved == [0]:
        return ""
    return f"b[0] was called {run.calls('start b[0]')} time(s), and its row is lost"
