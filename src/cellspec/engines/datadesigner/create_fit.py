"""Workloads that `create` can be asked for."""

from __future__ import annotations

from dataclasses import replace

from cellspec.conformance.run.workload import Workload
from cellspec.engines.datadesigner.create_release import CreateRelease
from cellspec.engines.datadesigner.fitting import (
    buffer_rows,
    fitted_ends,
    fitted_faults,
    node_counts,
)
from cellspec.graph.columns import ColumnDescriptor
from cellspec.machine.limits import FailurePolicy, Limits

__all__ = ["FIXED_GROUPS", "MAX_ATTEMPTS", "fitted", "is_root"]

MAX_ATTEMPTS = 3
"""A call is made once, and again in each of the two rounds of salvage; no option changes that."""

FIXED_GROUPS = 3
"""Row groups at once in releases that have no option for it."""


def is_root(work: Workload, item: ColumnDescriptor, release: CreateRelease) -> bool:
    """Whether a column is made without any input; else it needs the row's number at least.

    A START column that needs nothing is. A skip condition reads the seed dataset, and in a run that
    may stop early the call that reads that dataset has to come before all others.
    """
    rules = work.graph().rules
    return (
        release.roots
        and rules.columns[rules.index[item.name]].is_start
        and not item.dependencies
        and not item.may_skip
        and work.failures.stop_window is None
    )


def fitted(work: Workload, release: CreateRelease) -> Workload | None:
    rules = work.graph().rules.columns
    if any(rule.ordered or rule.streamable for rule in rules):
        return None
    size = buffer_rows(work)
    barriers = any(rule.is_barrier for rule in rules)
    grouped = work.limits.group_rows is not None
    groups = work.limits.groups
    if "max_concurrent_row_groups" not in release.options:
        grouped, groups = True, FIXED_GROUPS
    window = work.failures.stop_window if release.stops else None
    plain = work.replace(faults=(), ends=(), skips=(), storage_faults=())
    if window:
        plain = _with_one_group(plain)
        size, grouped, groups = work.rows_of(0), False, None
    loses = bool(work.faults or work.storage_faults)
    targets = _targets(plain, size if barriers or grouped or window else 1, loses=loses)
    new = plain.replace(
        rows=targets[0] if targets else work.rows_of(0),
        targets=targets,
        batch_size=size,
        barrier_scope="batch" if barriers else work.barrier_scope,
        limits=Limits(
            workers=plain.limits.workers if "max_in_flight_tasks" in release.options else None,
            group_rows=size if grouped else None,
            groups=groups,
        ),
        failures=FailurePolicy(MAX_ATTEMPTS, window, 1.0)
        if window
        else FailurePolicy(MAX_ATTEMPTS),
        checkpoint_every_rows=None,
        checkpoint_version=1,
        keep=False,
        storage_s=0.0,
    )
    counts = node_counts(new)
    rows = max(map(new.rows_of, range(new.incarnations)))
    # A cell that is skipped is a task that ended well in the window of early shutdown.
    return new.replace(
        faults=fitted_faults(work.faults, counts),
        ends=fitted_ends(work.ends, counts),
        skips=() if window else tuple(pair for pair in work.skips if pair[1] < rows),
        storage_faults=tuple(
            # A file that is renamed, or written aside, is there or is not.
            replace(fault, lands=False)
            for fault in work.storage_faults
        ),
    )


def _with_one_group(work: Workload) -> Workload:
    """The workload, so that the seed dataset's calls are no part of a window full of failures.

    The engine counts the call that reads the seed dataset of a row group as one that ended well. In
    a run of one row group it comes before all others. In a dataset that is extended the second run
    may have two of them, which begin at once and end before any other call.
    """
    if not work.targets:
        return work
    latency_s = {name: mean_s for name, mean_s in work.latency_s.items() if mean_s}
    limits = replace(work.limits, workers=None)
    return work.replace(
        targets=work.targets[:2], crashes=(), visits=(), latency_s=latency_s, limits=limits
    )


def _targets(work: Workload, step: int, *, loses: bool) -> tuple[int, ...]:
    """Rows of each run: a dataset can be extended, by whole row groups if they matter.

    DataDesigner always refuses fewer rows, and that is right only if more are kept. So a workload
    asks for fewer rows only after a run that comes to its end.
    """
    targets: list[int] = []
    for incarnation, wanted in enumerate(work.targets):
        rows = -(-wanted // step) * step
        if targets and rows < targets[-1] and (work.crash_step(incarnation - 1) or loses):
            rows = targets[-1]
        targets.append(rows)
    return tuple(targets)
