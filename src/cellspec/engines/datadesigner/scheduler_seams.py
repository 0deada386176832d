"""Classes of DataDesigner that report what they do, and keep one order.

Each is a subclass of the release's own. The first releases keep tasks and columns in sets; where an
order comes out of one, it is replaced by the columns' own order.

`quiet` leaves out what the scheduler notes for those who watch it, which takes a tenth of a run.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from cellspec.conformance.run.workload import Workload
from cellspec.engines.datadesigner.releases import Release

__all__ = ["Listener", "Observed", "OrderedSet", "group_here", "is_watched", "observed", "quiet"]

_group_here: ContextVar[int] = ContextVar("cellspec_group_here")


def group_here() -> int:
    """The row group of the task that is running."""
    return _group_here.get()


class Listener(Protocol):
    """Receives the reports of the scheduler and of the buffer of row groups."""

    def task_over(self, column: str, group: int) -> None:
        """A task over a whole row group has ended."""

    def skipped(self, column: str, record: dict[str, Any], *, of_barrier: bool) -> None:
        """A cell is marked as skipped."""

    def stopped_early(self) -> None:
        """The error rate was reached."""

    def entered(self, group: int, records: list[dict[str, Any]]) -> None:
        """A row group enters, with the records of its rows."""

    def dropped(self, group: int, index: int) -> None:
        """A row is dropped, or was not done in time."""

    def not_saved(self, group: int) -> None:
        """A row group could not be written; it leaves all the same."""

    def left(self, group: int, saved: Iterable[int]) -> None:
        """A row group has left, and these rows of it are stored."""


@dataclass
class Observed:
    """Classes of a release that report to a `Listener`."""

    graph: Any
    scheduler: Any
    tracker: Any
    buffer: Any


_WATCHED_EVERY = 8

_NOTES = (
    "_record_observed_task_state",
    "_scheduler_health_diagnostics",
    "_scheduler_job_diagnostics",
)
"""Methods of the scheduler that gather figures, by which nothing that it does is decided."""


def is_watched(work: Workload) -> bool:
    """Whether a run of this workload does all that the engine does, figures included.

    One workload in eight is, and every one with the seed 0, as the smallest ones are.
    """
    return work.seed % _WATCHED_EVERY == 0


def quiet(base: Any) -> Any:
    """The scheduler without the figures that it notes about itself, where a release has them."""

    def nothing(*_args: Any, **_options: Any) -> dict[str, Any]:
        return {}

    return type(base.__name__, (base,), {name: nothing for name in _NOTES if hasattr(base, name)})


@cache
def observed(release: Release, *, watched: bool) -> Observed:
    """The classes of a release that report.

    Args:
        release: the release.
        watched: with the figures that the scheduler notes about itself.
    """
    parts = release.parts
    return Observed(
        _graph_class(parts.graph),
        _scheduler_class(parts.scheduler if watched else quiet(parts.scheduler)),
        _tracker_class(parts.tracker),
        _buffer_class(parts.buffer),
    )


def _graph_class(base: Any) -> Any:
    """The graph, which gives columns in their own order."""

    class Graph(base):  # type: ignore[misc]
        def get_upstream_columns(self, column: str) -> Any:
            return self._in_order(super().get_upstream_columns(column))

        def get_downstream_columns(self, column: str) -> Any:
            return self._in_order(super().get_downstream_columns(column))

        def get_topological_order(self) -> list[str]:
            super().get_topological_order()
            columns: list[str] = self.columns
            return columns

        def _in_order(self, names: set[str]) -> OrderedSet:
            return OrderedSet(name for name in self.columns if name in names)

    return Graph


def _scheduler_class(base: Any) -> Any:
    class Scheduler(base):  # type: ignore[misc]
        reports_to: Listener
        _worker_tasks: Any
        _seed_cols: Any

        def put_in_order(self) -> None:
            """Replace sets by the order of columns, or of starts."""
            self._worker_tasks = OrderedSet(self._worker_tasks)
            if isinstance(self._seed_cols, frozenset):
                self._seed_cols = tuple(
                    name for name in self._graph.columns if name in self._seed_cols
                )

        async def _execute_task_inner(self, task: Any, *args: Any, **kwargs: Any) -> Any:
            _group_here.set(task.row_group)
            result = await super()._execute_task_inner(task, *args, **kwargs)
            if task.row_index is None:
                self.reports_to.task_over(task.column, task.row_group)
            return result

        def _apply_skip_to_record(self, task: Any, record: dict[str, Any]) -> Any:
            self.reports_to.skipped(task.column, record, of_barrier=task.row_index is None)
            return super()._apply_skip_to_record(task, record)

        def _check_error_rate(self, *, success: bool) -> None:
            before = self._early_shutdown
            super()._check_error_rate(success=success)
            if self._early_shutdown and not before:
                self.reports_to.stopped_early()

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
        reports_to: Listener
        _saving: int | None = None

        def init_row_group(self, row_group: int, size: int) -> None:
            super().init_row_group(row_group, size)
            self.reports_to.entered(row_group, [self.get_row(row_group, i) for i in range(size)])

        def drop_row(self, row_group: int, row_index: int) -> None:
            super().drop_row(row_group, row_index)
            self.reports_to.dropped(row_group, row_index)

        def checkpoint_row_group(self, row_group: int, *args: Any, **kwargs: Any) -> None:
            self._saving = row_group
            try:
                super().checkpoint_row_group(row_group, *args, **kwargs)
            except Exception:
                self.reports_to.not_saved(row_group)
                raise
            finally:
                self._saving = None
            self.reports_to.left(row_group, self._artifact_storage.saved.get(row_group, []))

        def free_row_group(self, row_group: int) -> None:
            super().free_row_group(row_group)
            if self._saving is None:
                self.reports_to.left(row_group, [])

    return Buffer


class OrderedSet(dict[Any, None]):
    """A set in the order of insertion."""

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(dict.fromkeys(items))

    def add(self, item: Any) -> None:
        """Add a thing."""
        self[item] = None

    def discard(self, item: Any) -> None:
        """Remove a thing, if it is there."""
        self.pop(item, None)
