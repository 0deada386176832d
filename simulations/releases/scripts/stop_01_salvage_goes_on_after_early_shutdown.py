# Clause: STOP-01
# Releases: 0.5.4 0.5.7 0.5.9 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: An early shutdown that is due while a salvage round runs is not noticed before that
#   round is over: everything that is ready is still started.
# Public: no, it drives AsyncTaskScheduler
"""Forty rows in one group, one call at a time. Each call times out once, so all of them are
repeated in a salvage round, and there each fails for good. After ten failures in a row the
early shutdown is due (window 10, rate 0.5), and nothing may start any more: the other thirty
calls are money for nothing."""

from __future__ import annotations

from _template import Run, failure

WAIT_S = 10.0


def table() -> Run:
    async def a(_row: int, call: int) -> None:
        raise failure("ModelTimeoutError" if call == 1 else "ModelBadRequestError")

    options = {
        "disable_early_shutdown": False,
        "shutdown_error_window": 10,
        "shutdown_error_rate": 0.5,
        "max_in_flight_tasks": 1,
    }
    return Run([("a", [], a)], groups=[40], options=options)


def defect(run: Run) -> str:
    failed = sum(run.calls(f"fail a[{row}]") - 1 for row in range(40))
    return "" if failed <= 15 else f"{failed} calls failed for good, one after the other"
