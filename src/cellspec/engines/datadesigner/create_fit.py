"""Workloads that `create` can be asked for."""

from __future__ import annotations

from cellspec.conformance.run.workload import Workload
from cellspec.engines.datadesigner.create_release import CreateRelease
from cellspec.engines.datadesigner.fitting import fitted_ends, fitted_faults, node_counts
from cellspec.machine.limits import FailurePolicy, Limits

__all__ = ["FIXED_GROUPS", "MAX_ATTEMPTS", "fitted", "group_rows"]

MAX_ATTEMPTS = 3
"""A call is made once, and again in each of the two rounds of salvage; no option changes that."""

FIXED_GROUPS = 3
"""Row groups at once in releases that have no option for it."""


def group_rows(work: Workload) -> int:
    """Rows of a row group: ``RunConfig.buffer_size``."""
    return work.limits.group_rows or work.batch_size or work.rows_of(0)


def fitted(work: Workload, release: CreateRelease) -> Workload | None:
    rules = work.graph().rules.columns
    if any(rule.ordered or rule.streamable for rule in rules):
        return None
    size = group_rows(work)
    barriers = any(rule.is_barrier for rule in rules)
    grouped = work.limits.group_rows is not None
    groups = work.limits.groups
    if "max_concurrent_row_groups" not in release.options:
        grouped, groups = True, FIXED_GROUPS
    targets = _targets(work, size if barriers or grouped else 1)
    plain = work.replace(faults=(), ends=(), skips=())
    new = plain.replace(
        rows=targets[0] if targets else work.rows,
        targets=targets,
        batch_size=size,
        barrier_scope="batch" if barriers else work.barrier_scope,
        limits=Limits(
            workers=work.limits.workers if "max_in_flight_tasks" in release.options else None,
            group_rows=size if grouped else None,
            groups=groups,
        ),
        failures=FailurePolicy(MAX_ATTEMPTS),
        checkpoint_every_rows=None,
        checkpoint_version=1,
        keep=False,
    )
    counts = node_counts(new)
    return new.replace(
        faults=fitted_faults(work.faults, counts),
        ends=fitted_ends(work.ends, counts),
        skips=work.skips,
    )


def _targets(work: Workload, step: int) -> tuple[int, ...]:
    """Rows of each run: a dataset can be extended, by whole row groups if they matter.

    DataDesigner always refuses fewer rows, and that is right only if more are kept. So a workload
    asks for fewer rows only after a run that comes to its end.
    """
    targets: list[int] = []
    for incarnation, wanted in enumerate(work.targets):
        rows = -(-wanted // step) * step
        if targets and rows < targets[-1] and (work.crash_step(incarnation - 1) or work.faults):
            rows = targets[-1]
        targets.append(rows)
    return tuple(targets)
