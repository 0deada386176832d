"""Making a failure small: a trace on the transition system, a case on an engine."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES
from cellspec.conformance.campaign.smallest_run import smallest_run
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.run.backend import fit_of
from cellspec.errors import SpecError
from cellspec.replay.rerun import Replayed, engine_of, replay_steps, replayed_run
from cellspec.replay.shrink_trace import shrunk_trace
from cellspec.replay.source import Steps, read_source

__all__ = ["SHRINK_RUNS_MAX", "shrink"]

SHRINK_RUNS_MAX = 2_000


def shrink(source: str, *, folder: Path, backend: str | None = None) -> tuple[str, Replayed]:
    """Make a case small.

    Args:
        source: a trace, a case file, or a replay string.
        folder: where the user is.
        backend: as for `replay`.

    Returns:
        The content of the smaller file, and its replay.

    Raises:
        SpecError: the source or the backend cannot be used, or every clause holds.
    """
    found = read_source(source)
    if isinstance(found, Steps):
        if backend is not None:
            raise SpecError("--backend: a trace is made small on the transition system alone")
        small = shrunk_trace(found)
        return "\n".join(small.to_lines()) + "\n", replay_steps(small)
    case, engine, made = engine_of(source, found, backend, folder)
    if case.clause in COST_CLAUSES:
        raise SpecError(
            f"{source}: {case.clause} is about cost; its workload is as small as it gets"
        )
    first = run_workload(engine, case.workload, waive=case.waived)
    if not first.violations:
        raise SpecError(f"{source}: nothing breaks on {case.backend}; there is nothing to shrink")
    run = partial(run_workload, engine, waive=case.waived)
    best = smallest_run(run, first, runs_max=SHRINK_RUNS_MAX, fit=fit_of(engine))
    broken = best.violations[0]
    case = replace(case, workload=best.work, clause=broken.clause, detail=broken.detail)
    again = replayed_run(source, case, engine, best, None, made_by_call=made)
    return case.to_json(), again
