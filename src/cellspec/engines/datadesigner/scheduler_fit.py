"""Workloads that the scheduler can be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cellspec.conformance.run.workload import Workload
from cellspec.engines.datadesigner.fitting import (
    buffer_rows,
    fitted_ends,
    fitted_faults,
    node_counts,
)
from cellspec.engines.datadesigner.mocks import LOCAL
from cellspec.engines.datadesigner.releases import Release
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.machine.limits import FailurePolicy, Limits

__all__ = ["fitted"]

_T = ExecutionTraits


def fitted(work: Workload, release: Release) -> Workload:
    """The nearest workload that the scheduler of a release can be asked for."""
    rows = work.rows_of(0)
    base = work.replace(
        rows=rows,
        faults=(),
        ends=(),
        skips=(),
        crashes=(),
        targets=(),
        keep=False,
        storage_s=0.0,
        storage_faults=tuple(
            replace(one, lands=False) for one in work.storage_faults if one.write == "data"
        ),
    )
    columns = tuple(_fitted_column(item, work, release) for item in work.columns)
    barriers = any((_T.BARRIER | _T.BATCH_BARRIER) & item.traits for item in columns)
    new = base.replace(
        columns=columns,
        batch_size=buffer_rows(base),
        barrier_scope="batch" if barriers else "declared",
        limits=_fitted_limits(work, columns, release),
        failures=FailurePolicy(
            max(2, work.failures.max_attempts),
            work.failures.stop_window,
            work.failures.stop_rate,
        ),
        checkpoint_every_rows=None,
        checkpoint_version=1,
        # Order-dependent generators take their turns in the order in which asyncio starts tasks,
        # and that is documented to be the order in which they were made.
        order_seed=0 if any(_T.ORDERED in item.traits for item in columns) else work.order_seed,
    )
    # A cell that is skipped is a task that ended well in the window of early shutdown.
    able = {item.name for item in columns if item.may_skip and work.failures.stop_window is None}
    counts = node_counts(new)
    return new.replace(
        faults=fitted_faults(work.faults, counts),
        ends=fitted_ends((end for end in work.ends if not end.incarnation), counts),
        skips=tuple(pair for pair in work.skips if pair[0] in able and pair[1] < rows),
    )


def _fitted_column(item: ColumnDescriptor, work: Workload, release: Release) -> ColumnDescriptor:
    """A column that the release has a generator for."""
    rules = work.graph().rules
    rule = rules.columns[rules.index[item.name]]
    root = not item.dependencies
    full = rule.is_barrier
    traits = item.traits & ~(_T.ROW_STREAMABLE | _T.ORDERED)
    waits = work.limits.group_rows is not None and "admits_ahead" not in release.features
    if rule.ordered and root and not waits:
        # Only a column from scratch may depend on the order of row groups.
        traits |= _T.ORDERED | _T.START
        full = True
    if root and not full and "cell_roots" not in release.features:
        full = True
    if root and full and "full_column_roots" not in release.features:
        traits |= _T.START
    if full and not rule.is_barrier:
        traits = (traits & ~_T.CELL_BY_CELL) | _T.BARRIER
    skips = "skips" in release.features
    return ColumnDescriptor(
        item.name,
        traits=traits,
        dependencies=item.dependencies,
        side_effects=item.side_effects,
        may_skip=item.may_skip and skips and not full,
        propagate_skip=item.propagate_skip or not skips,
    )


def _fitted_limits(work: Workload, columns: Sequence[ColumnDescriptor], release: Release) -> Limits:
    limits = work.limits
    workers, resources = limits.workers, dict(limits.resources)
    column_resource = dict(limits.column_resource)
    if "models_take_places" not in release.features:
        models = [name for name in column_resource.values() if name != LOCAL]
        calling = {name for name, used in column_resource.items() if used != LOCAL}
        bounded = workers is not None or LOCAL in resources
        resources.pop(LOCAL, None)
        column_resource = {}
        if models:
            # There is one limit for models. A task that calls a model takes a worker's place first,
            # keeps it while it waits for the model, and then gives it back. So one place is enough
            # for those; a task without a model would find it taken by one that only waits.
            resources = {models[0]: resources[models[0]]}
            column_resource = {item.name: models[0] for item in columns if item.name in calling}
            workers = None
            if bounded and len(calling) == len(columns):
                resources[LOCAL] = 1
    elif resources.pop(LOCAL, None) is not None:
        # These releases have no limit for the tasks alone that call no model.
        column_resource = {name: used for name, used in column_resource.items() if used != LOCAL}
    if limits.group_rows is not None and "admits_ahead" not in release.features:
        workers = None
        resources.pop(LOCAL, None)
        column_resource = {
            name: used for name, used in column_resource.items() if used in resources
        }
    return Limits(workers, resources, column_resource, limits.group_rows, limits.groups)
