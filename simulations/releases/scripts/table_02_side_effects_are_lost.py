# Clause: TABLE-02 TABLE-03
# Releases: 0.5.4 0.5.5
# Defect: A side effect of a cell is not kept: who needs it is called without it, and its output
#   was made from nothing.
# Public: no, it drives AsyncTaskScheduler
"""Cell `a` also makes `a_more`, and `b` needs that. `a_more` is in what the generator of `a`
gives, and must be in the record with which `b` is called. `_run_cell` writes back the columns
of the graph alone."""

from __future__ import annotations

from _template import Run

WAIT_S = 10.0


def table() -> Run:
    async def fine(_row: int, _call: int) -> None:
        pass

    return Run([("a", [], fine), ("b", ["a_more"], fine)], groups=[1], options={})


def defect(run: Run) -> str:
    absent = run.calls("start b[0] without a_more")
    return "b was called without the side effect that it needs" if absent else ""
