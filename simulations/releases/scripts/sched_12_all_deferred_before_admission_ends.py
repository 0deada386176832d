# Clause: SCHED-12
# Releases: 0.5.4
# Defect: If every call of the row groups that were admitted has failed and is to be repeated,
#   and there are more row groups than may be admitted at once, the run stands still for ever.
# Fixed by: https://github.com/NVIDIA-NeMo/DataDesigner/pull/456
# Public: no, it drives AsyncTaskScheduler
"""Two row groups of one row, one at a time. The call of the first one times out once. Nothing
is in flight then, nothing is ready, and the second group waits for the first to leave: the
scheduler must repeat the call, and not wait for an event that nobody sends."""

from __future__ import annotations

from _template import Run, failure

WAIT_S = 10.0


def table() -> Run:
    async def a(row: int, call: int) -> None:
        if row == 0 and call == 1:
            raise failure("ModelTimeoutError")

    return Run([("a", [], a)], groups=[1, 1], options={"max_concurrent_row_groups": 1})


def defect(run: Run) -> str:
    if run.ended and run.saved == [0, 1]:
        return ""
    return f"the run {'ended' if run.ended else 'stands still'}, with rows {run.saved} saved"
