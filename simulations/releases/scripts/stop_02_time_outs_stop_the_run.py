# Clause: STOP-02
# Releases: 0.5.4 0.5.5 0.5.7 0.5.9
# Defect: Time-outs that are to be repeated count towards the early shutdown, so that a slow
#   minute of the model ends the run.
# Fixed by: https://github.com/NVIDIA-NeMo/DataDesigner/pull/585
# Public: no, it drives AsyncTaskScheduler
"""A row group of ten rows and one of one row, each of whose calls times out once and is right
the second time. No call fails for good, so the run must not be stopped early, and all rows must
be saved."""

from __future__ import annotations

from _template import Run, failure

WAIT_S = 10.0


def table() -> Run:
    async def a(_row: int, call: int) -> None:
        if call == 1:
            raise failure("ModelTimeoutError")

    options = {"disable_early_shutdown": False, "max_concurrent_row_groups": 1}
    return Run([("a", [], a)], groups=[10, 1], options=options)


def defect(run: Run) -> str:
    if run.saved == list(range(11)):
        return ""
    return f"no call failed for good, and {len(run.saved)} of 11 rows were saved"
