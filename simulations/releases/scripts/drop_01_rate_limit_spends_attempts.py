# Clause: DROP-01
# Releases: 0.5.4 0.5.5 0.5.7 0.5.9 0.6.0
# Defect: A call that is turned away by a rate limit counts as an attempt, so that rows are lost
#   that never failed.
# Fixed by: https://github.com/NVIDIA-NeMo/DataDesigner/pull/703
# Public: no, it drives AsyncTaskScheduler
"""Cell `a` of one row is turned away three times (429), and would be answered then. A rate
limit says "later", not "no": the row must be saved in the end."""

from __future__ import annotations

from _template import Run, failure

WAIT_S = 10.0


def table() -> Run:
    async def a(_row: int, call: int) -> None:
        if call <= 3:
            raise failure("ModelRateLimitError")

    return Run([("a", [], a)], groups=[1], options={})


def defect(run: Run) -> str:
    if run.saved == [0]:
        return ""
    return f"a[0] was turned away {run.calls('fail a[0]')} times, and its row is lost"
