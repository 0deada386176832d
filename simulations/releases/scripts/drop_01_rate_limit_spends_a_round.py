# Clause: DROP-01
# Releases: 0.5.4 0.5.5 0.5.7 0.5.9 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: A rate limit between two time-outs uses up one of the salvage rounds, so that the row
#   is lost after fewer attempts than without it.
# Public: no, it drives AsyncTaskScheduler
"""Cell `a` of one row times out, is turned away once (429), times out again, and would be right
then. Two time-outs are no reason to give up: with nothing but time-outs, the third attempt is
made."""

from __future__ import annotations

from _template import Run, failure

WAIT_S = 10.0


def table() -> Run:
    async def a(_row: int, call: int) -> None:
        if call <= 3:
            raise failure("ModelRateLimitError" if call == 2 else "ModelTimeoutError")

    return Run([("a", [], a)], groups=[1], options={})


def defect(run: Run) -> str:
    if run.saved == [0]:
        return ""
    return f"a[0] timed out twice in {run.calls('start a[0]')} calls, and its row is lost"
