"""DataDesigner's `AsyncTaskScheduler`, driven by hand in virtual time.

`SchedulerBackend` gives the real scheduler a real execution graph, completion tracker and buffer of
row groups, and generators whose calls are the probe's (`cellspec.engines.datadesigner.mocks`). What
it decides is its own: order, retries and salvage rounds, drops, skips, early shutdown, admission of
row groups and tasks.

How a workload is said in its words, beside its columns:

===================  ===============================================================================
a workload's          is in DataDesigner
===================  ===============================================================================
row group             a row group; without any, one of a batch's rows, or of all rows
barrier's scope       a row group: what it runs barriers on
workers               tasks in flight
resource              a model, and its parallel requests
attempts              one, and the rounds of salvage
early stop            early shutdown, by its error rate and window
===================  ===============================================================================

`SchedulerBackend.fit` takes out what it has no word for: barriers of another scope, ordered columns
that need others, cool-downs (a model's client keeps those, and it is not here), a single attempt.

**What is reported, and when.** A row group is admitted when its buffer is made, and retires when
that is given back. A drop is reported when the buffer hears of it, with the column that failed for
good first. An early stop is reported when the error rate is reached. What is left undone by an
early stop DataDesigner calls dropped as well; here that is not a drop, and nothing is said of it. A
skipped cell is reported when it is marked, and one of a barrier when the barrier is over.

**What is stored.** The buffer hands a table to storage when a row group is complete. Here that
writes a file of JSON lines for each group: a line for each row, and one with the rows that were
dropped.

**The same order each time.** The first releases keep tasks and columns in sets. Where an order
comes out of one, it is replaced by the columns' own order, which is one that could have come out.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.values import SKIPPED, Table
from cellspec.conformance.run.workload import End, Fault, Workload
from cellspec.engines.datadesigner.mocks import (
    LOCAL,
    ROW,
    SKIP,
    Calls,
    generators_of,
    mark_of,
)
from cellspec.engines.datadesigner.releases import Release, load
from cellspec.faults import GeneratorError
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.graph.rowset import ranges_of
from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.machine.policy import is_final

__all__ = ["SchedulerBackend"]

MANY: Final = 1_000_000
"""A limit that is none."""

_T = ExecutionTraits
_group_here: ContextVar[int] = ContextVar("cellspec_group_here")


class SchedulerBackend:
    """`AsyncTaskScheduler` in virtual time. See the module.

    Attributes:
        name: what reports call it.
        version: DataDesigner's version.
        capabilities: what this release can be asked for.
        unasked: situations that it cannot be asked to be in: its barriers run on one row group, how
            long a rate limit lasts is known to a model's client alone, and its ordered columns have
            no inputs.

    Raises:
        SpecError: DataDesigner is not installed.
    """

    name = "datadesigner-scheduler"
    unasked = frozenset(
        {
            Sometimes.SCOPE_OVER_GROUPS,
            Sometimes.COOLED_DOWN,
            Sometimes.ORDER_HELD,
            Sometimes.ORDER_INVERTED,
        }
    )

    def __init__(self) -> None:
        self.release = load()
        self.version = self.release.version
        self.capabilities = self.release.capabilities

    def fit(self, work: Workload) -> Workload | None:
        """The nearest workload that the scheduler can be asked for."""
        return fitted(work, self.release)

    async def run(self, probe: Probe) -> None:
        """Run one life."""
        incarnation = _Incarnation(probe, self.release)
        self.alter(incarnation)
        with _silence():
            await incarnation.scheduler.run()
        incarnation.report_end()

    def alter(self, incarnation: _Incarnation) -> None:
        """Change something before the run: for tests, of what must be found."""

    def table(self, probe: Probe) -> Table:
        """The rows of every row group that was handed to storage."""
        records: list[tuple[int, dict[str, Any]]] = []
        dropped: list[int] = []
        for file in sorted(probe.folder.glob("group-*.jsonl")):
            for line in file.read_text(encoding="utf-8").splitlines():
                found = json.loads(line)
                dropped += found.get("dropped", [])
                if "cells" in found:
                    cells = {
                        name: SKIPPED if value is None else value
                        for name, value in found["cells"].items()
                    }
                    records.append((found["row"], cells))
        return Table.from_records(records, dropped)


# What can be asked for


def group_rows(work: Workload) -> int:
    """Rows of a row group."""
    return work.limits.group_rows or work.batch_size or work.rows


def fitted(work: Workload, release: Release) -> Workload:
    """The nearest workload that the scheduler of a release can be asked for."""
    rows = work.rows_of(0)
    base = work.replace(rows=rows, faults=(), ends=(), skips=(), crashes=(), targets=(), keep=False)
    columns = tuple(_fitted_column(item, work, release) for item in work.columns)
    barriers = any((_T.BARRIER | _T.BATCH_BARRIER) & item.traits for item in columns)
    new = base.replace(
        columns=columns,
        batch_size=group_rows(base),
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
    positions = _positions(new)
    return new.replace(
        faults=_fitted_faults(work.faults, positions),
        ends=_fitted_ends(work.ends, positions),
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
        # Only what makes rows from scratch may depend on the order of row groups.
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
            # There is one limit for models. Whoever calls one takes a worker's place first, keeps
            # it while it waits for the model, and is no worker any more then. So one place is
            # enough for those; what calls no model would find it taken by who only waits.
            resources = {models[0]: resources[models[0]]}
            column_resource = {item.name: models[0] for item in columns if item.name in calling}
            workers = None
            if bounded and len(calling) == len(columns):
                resources[LOCAL] = 1
    elif resources.pop(LOCAL, None) is not None:
        # A place for those alone that call no model is a limit that there is no more.
        column_resource = {name: used for name, used in column_resource.items() if used != LOCAL}
    if limits.group_rows is not None and "admits_ahead" not in release.features:
        workers = None
        resources.pop(LOCAL, None)
        column_resource = {
            name: used for name, used in column_resource.items() if used in resources
        }
    return Limits(workers, resources, column_resource, limits.group_rows, limits.groups)


def _positions(work: Workload) -> dict[str, int]:
    """How many nodes of each column can fail."""
    graph = work.graph()
    return {
        rule.name: graph.rules.scope_count(rule.index) or graph.num_records
        for rule in graph.rules.columns
    }


def _fitted_faults(faults: Iterable[Fault], positions: dict[str, int]) -> tuple[Fault, ...]:
    """The faults, each at a node that is there; of two that would meet there the first."""
    came_from: dict[tuple[str, int], int] = {}
    kept = []
    for fault in faults:
        position = fault.position % positions[fault.column]
        if came_from.setdefault((fault.column, position), fault.position) == fault.position:
            kept.append(replace(fault, position=position, cool_down_s=0.0))
    return tuple(kept)


def _fitted_ends(ends: Iterable[End], positions: dict[str, int]) -> tuple[End, ...]:
    return tuple(
        end for end in ends if end.position < positions[end.column] and not end.incarnation
    )


# One life


class _Incarnation:
    """One run of the scheduler: its parts, and what is reported of it.

    Attributes:
        scheduler: DataDesigner's scheduler.
        tracker: its completion tracker.
        buffer: its buffer of row groups.
        graph: its execution graph.
    """

    def __init__(self, probe: Probe, release: Release) -> None:
        self.probe = probe
        self.release = release
        self.size = group_rows(probe.work)
        self.grouped = probe.work.limits.group_rows is not None
        self._blamed: dict[int, str] = {}
        self._last_failed = ""
        self._spent: dict[tuple[str, int], int] = {}
        self._skipped: set[tuple[str, int]] = set()
        self._held: dict[tuple[str, int], list[int]] = {}
        self._dropped: set[int] = set()
        self._left_out: set[int] = set()
        self._make()

    def _make(self) -> None:
        probe, work = self.probe, self.probe.work
        classes = _observed(self.release)
        made = generators_of(Calls(probe, self.release, self, self.size))
        self.graph = classes.graph.create(made.configs, made.strategies)
        groups = [
            (number, min(self.size, probe.rows - first))
            for number, first in enumerate(range(0, probe.rows, self.size))
        ]
        self.tracker = classes.tracker.with_graph(self.graph, groups)
        self.tracker.place = {name: place for place, name in enumerate(self.graph.columns)}
        self.buffer = classes.buffer(_Storage(probe.folder))
        self.buffer.incarnation = self
        limits, policy = work.limits, work.failures
        workers = limits.resources.get(LOCAL, limits.workers or MANY)
        models = MANY
        if "model_limits" not in self.release.features:
            models = min(
                (most for name, most in limits.resources.items() if name != LOCAL), default=MANY
            )
        self.scheduler = classes.scheduler(
            generators=made.by_column,
            graph=self.graph,
            tracker=self.tracker,
            row_groups=groups,
            buffer_manager=self.buffer,
            **self.release.keywords(
                workers=workers,
                model_calls=models,
                groups=limits.groups or MANY,
                salvage_rounds=policy.max_attempts - 1,
                save=lambda group: self.buffer.checkpoint_row_group(group),
                stop_rate=policy.stop_rate,
                stop_window=policy.stop_window or 1,
                never_stop=policy.stop_window is None,
            ),
        )
        self.scheduler.incarnation = self
        self.scheduler.put_in_order()

    # What the generators tell

    def failed(
        self, column: str, position: int, rows: Iterable[int], error: GeneratorError
    ) -> None:
        """A call fails. Keeps whom to blame if a row is dropped for it."""
        spent = self._spent.get((column, position), 0)
        self._spent[column, position] = spent + (error.failure == "retryable")
        self._last_failed = column
        if is_final(error.failure, spent + 1, self.probe.work.failures.max_attempts):
            for row in rows:
                self._blamed.setdefault(row, column)

    def barrier_over(self, column: str, scope: int, *, well: bool) -> None:
        """A barrier has ended: what it left out is skipped, or is marked again the next time."""
        rows = self._held.pop((column, scope), [])
        if well:
            self._report_skips(column, rows)

    def group_here(self) -> int:
        """The row group of the task that is running."""
        return _group_here.get()

    def live_rows(self, group: int) -> list[int]:
        """The rows of a row group that are not dropped."""
        return [row for row in self.rows(group) if row not in self._dropped]

    def rows(self, group: int) -> range:
        """The rows of a row group."""
        return range(group * self.size, min((group + 1) * self.size, self.probe.rows))

    # What the scheduler tells

    def task_over(self, column: str, group: int) -> None:
        """A task has ended: if it made no call, what it left out is skipped now."""
        self.barrier_over(column, group, well=True)

    def skipped(self, column: str, record: dict[str, Any], *, of_barrier: bool) -> None:
        """A cell is marked as skipped; again, if a barrier is tried again."""
        row = int(record[ROW])
        if of_barrier:
            self._held.setdefault((column, row // self.size), []).append(row)
        else:
            self._report_skips(column, [row])

    def _report_skips(self, column: str, rows: Iterable[int]) -> None:
        for row in rows:
            if (column, row) not in self._skipped:
                self._skipped.add((column, row))
                self.probe.skip(column, row)

    @property
    def stopped(self) -> bool:
        """The error rate was reached."""
        stopped: bool = self.scheduler._early_shutdown
        return stopped

    # What the buffer tells

    def entered(self, group: int, records: list[dict[str, Any]]) -> None:
        """A row group enters: its rows get their numbers, and their marks."""
        work = self.probe.work
        for row, record in zip(self.rows(group), records, strict=True):
            record[ROW] = row
            for item in work.columns:
                if item.may_skip:
                    record[mark_of(item.name)] = work.wants_skip(item.name, row)
        if self.grouped:
            self.probe.admit(group)

    def dropped(self, group: int, index: int) -> None:
        """A row is dropped, or was not done in time."""
        row = group * self.size + index
        if row in self._dropped or row in self._left_out:
            return
        if self.stopped and row not in self._blamed:
            self._left_out.add(row)
            return
        self._dropped.add(row)
        self.probe.drop(row, row + 1, self._blamed.get(row, self._last_failed))

    def left(self, group: int, saved: Iterable[int]) -> None:
        """A row group has left, and these rows of it are stored."""
        dropped = [row for row in self.rows(group) if row in self._dropped]
        _write(self.probe.folder, group, [{"dropped": dropped}] if dropped else [])
        safe = sorted({*saved, *dropped})
        for start, stop in ranges_of(safe):
            self.probe.durable("", start, stop)
        if self.grouped and not self._left_out.intersection(self.rows(group)):
            self.probe.retire(group)

    def report_end(self) -> None:
        """`run` has returned."""
        if self.stopped:
            self.probe.end("stopped", "the error rate was reached")
        else:
            self.probe.end("success")


@dataclass
class _Observed:
    """Classes of a release that tell a `_Life` what they do."""

    graph: Any
    scheduler: Any
    tracker: Any
    buffer: Any


@cache
def _observed(release: Release) -> _Observed:
    parts = release.parts
    return _Observed(
        _graph_class(parts.graph),
        _scheduler_class(parts.scheduler),
        _tracker_class(parts.tracker),
        _buffer_class(parts.buffer),
    )


def _graph_class(base: Any) -> Any:
    """The graph, which is asked for columns in the order in which they were given."""

    class Graph(base):  # type: ignore[misc]
        def get_upstream_columns(self, column: str) -> Any:
            return self._in_order(super().get_upstream_columns(column))

        def get_downstream_columns(self, column: str) -> Any:
            return self._in_order(super().get_downstream_columns(column))

        def get_topological_order(self) -> list[str]:
            super().get_topological_order()
            columns: list[str] = self.columns
            return columns

        def _in_order(self, names: set[str]) -> _OrderedSet:
            return _OrderedSet(name for name in self.columns if name in names)

    return Graph


def _scheduler_class(base: Any) -> Any:
    class Scheduler(base):  # type: ignore[misc]
        incarnation: _Incarnation
        _worker_tasks: Any
        _seed_cols: Any

        def put_in_order(self) -> None:
            """Where a set decides what comes first, the order of columns or of starts does."""
            self._worker_tasks = _OrderedSet(self._worker_tasks)
            if isinstance(self._seed_cols, frozenset):
                self._seed_cols = tuple(
                    name for name in self._graph.columns if name in self._seed_cols
                )

        async def _execute_task_inner(self, task: Any, *args: Any, **kwargs: Any) -> Any:
            _group_here.set(task.row_group)
            result = await super()._execute_task_inner(task, *args, **kwargs)
            if task.row_index is None:
                self.incarnation.task_over(task.column, task.row_group)
            return result

        def _apply_skip_to_record(self, task: Any, record: dict[str, Any]) -> Any:
            self.incarnation.skipped(task.column, record, of_barrier=task.row_index is None)
            return super()._apply_skip_to_record(task, record)

        def _check_error_rate(self, *, success: bool) -> None:
            before = self._early_shutdown
            super()._check_error_rate(success=success)
            if self._early_shutdown and not before:
                self.incarnation.probe.stop("the error rate was reached")

    return Scheduler


def _tracker_class(base: Any) -> Any:
    class Tracker(base):  # type: ignore[misc]
        place: dict[str, int]

        def get_ready_tasks(self, *args: Any, **kwargs: Any) -> Any:
            return sorted(super().get_ready_tasks(*args, **kwargs), key=self._order)

        def _order(self, task: Any) -> tuple[int, int, int, str]:
            row = -1 if task.row_index is None else task.row_index
            return task.row_group, self.place[task.column], row, task.task_type

    return Tracker


def _buffer_class(base: Any) -> Any:
    class Buffer(base):  # type: ignore[misc]
        incarnation: _Incarnation
        _saving: int | None = None

        def init_row_group(self, row_group: int, size: int) -> None:
            super().init_row_group(row_group, size)
            self.incarnation.entered(row_group, [self.get_row(row_group, i) for i in range(size)])

        def drop_row(self, row_group: int, row_index: int) -> None:
            super().drop_row(row_group, row_index)
            self.incarnation.dropped(row_group, row_index)

        def checkpoint_row_group(self, row_group: int, *args: Any, **kwargs: Any) -> None:
            self._saving = row_group
            try:
                super().checkpoint_row_group(row_group, *args, **kwargs)
            finally:
                self._saving = None
            self.incarnation.left(row_group, self._artifact_storage.saved.get(row_group, []))

        def free_row_group(self, row_group: int) -> None:
            super().free_row_group(row_group)
            if self._saving is None:
                self.incarnation.left(row_group, [])

    return Buffer


class _OrderedSet(dict[Any, None]):
    """A set that keeps the order in which things were added."""

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(dict.fromkeys(items))

    def add(self, item: Any) -> None:
        """Add a thing."""
        self[item] = None

    def discard(self, item: Any) -> None:
        """Remove a thing, if it is there."""
        self.pop(item, None)


class _Storage:
    """What the buffer hands tables to.

    Attributes:
        saved: the rows of each row group that is stored.
    """

    dataset_name = "dataset"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._partial: dict[int, list[dict[str, Any]]] = {}
        self.saved: dict[int, list[int]] = {}

    def write_batch_to_parquet_file(
        self,
        batch_number: int,
        dataframe: Any,
        batch_stage: Any,  # noqa: ARG002 - there is one stage here
    ) -> Path:
        """Take the table of a row group."""
        frame = dataframe.astype(object).where(dataframe.notna(), None)
        self._partial[batch_number] = [
            {
                "row": int(record.pop(ROW)),
                "cells": {
                    name: value for name, value in record.items() if not name.startswith(SKIP)
                },
            }
            for record in frame.to_dict(orient="records")
        ]
        return self._folder / f"partial-{batch_number}"

    def move_partial_result_to_final_file_path(self, batch_number: int) -> Path:
        """Store it for good."""
        lines = self._partial.pop(batch_number)
        self.saved[batch_number] = [line["row"] for line in lines]
        return _write(self._folder, batch_number, lines)


def _write(folder: Path, group: int, lines: Iterable[dict[str, Any]]) -> Path:
    path = folder / f"group-{group:06d}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
    return path


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep DataDesigner from saying what goes on: at length, and with times in it."""
    logger = logging.getLogger("data_designer")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
