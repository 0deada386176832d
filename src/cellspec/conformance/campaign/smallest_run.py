"""The smallest run: a run that broke a clause, made as small as the search can."""

from __future__ import annotations

from collections.abc import Callable

from cellspec.conformance.campaign.shrink_workload import shrunk_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Fit
from cellspec.conformance.run.workload import Workload

__all__ = ["smallest_run"]


def smallest_run(
    run: Callable[[Workload], RunResult], result: RunResult, *, runs_max: int, fit: Fit
) -> RunResult:
    """The run of the smallest workload found that breaks the same clause first.

    Args:
        run: runs one workload.
        result: a run that broke a clause.
        runs_max: how many further runs the search may make.
        fit: brings a workload to one that the engine can be asked for.
    """
    clause = result.violations[0].clause
    best = result

    def breaks(work: Workload) -> bool:
        nonlocal best
        tried = run(work)
        if not tried.violations or tried.violations[0].clause != clause:
            return False
        best = tried
        return True

    shrunk_workload(result.work, breaks, runs_max=runs_max, fit=fit)
    return best
