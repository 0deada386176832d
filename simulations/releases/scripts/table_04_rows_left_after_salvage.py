# Clause: TABLE-04 SCHED-10 DROP-04
# Releases: 0.5.4
# Defect: If one cell of a row group times out in every attempt, the other rows of its group,
#   which are complete, are not saved either.
# Fixed by: https://github.com/NVIDIA-NeMo/DataDesigner/pull/456
# Public: no, it drives AsyncTaskScheduler
"""Two rows of one group. Cell `a[1]` times out for ever, `a[0]` is right. Row 1 must be given
up in the end, and row 0 saved. The run ends well."""

from __future__ import annotations

from _template import Run, failure

WAIT_S = 10.0


def table() -> Run:
    async def a(row: int, _call: int) -> None:
        if row == 1:
            raise failure("ModelTimeoutError")

    return Run([("a", [], a)], groups=[2], options={})


def defect(run: Run) -> str:
    if run.saved == [0]:
        return ""
    return f"row 0 is complete, and saved are {run.saved or 'no rows'}"
