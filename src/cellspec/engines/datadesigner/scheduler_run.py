"""One run of DataDesigner's scheduler: its parts, and the reports of what they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from cellspec.conformance.run.probe import Probe
from cellspec.engines.datadesigner.fitting import buffer_rows
from cellspec.engines.datadesigner.mocks import LOCAL, ROW, Calls, generators_of, mark_of
from cellspec.engines.datadesigner.releases import Release
from cellspec.engines.datadesigner.scheduler_seams import group_here, is_watched, observed
from cellspec.engines.datadesigner.scheduler_storage import GroupStorage, write_group
from cellspec.faults import GeneratorError
from cellspec.graph.rowset import ranges_of
from cellspec.machine.policy import is_final

__all__ = ["SchedulerRun"]

_MANY: Final = 1_000_000
"""In place of no limit."""


class SchedulerRun:
    """One run of the scheduler: its parts, and its reports to the probe.

    Attributes:
        scheduler: DataDesigner's scheduler.
        tracker: its completion tracker.
        buffer: its buffer of row groups.
        graph: its execution graph.
        lost_write: the error of a write that failed; "" for none.
    """

    def __init__(self, probe: Probe, release: Release) -> None:
        self.probe = probe
        self.release = release
        self.size = buffer_rows(probe.work)
        self.grouped = probe.work.limits.group_rows is not None
        self._blamed: dict[int, str] = {}
        self._last_failed = ""
        self._spent: dict[tuple[str, int], int] = {}
        self._skipped: set[tuple[str, int]] = set()
        self._held: dict[tuple[str, int], list[int]] = {}
        self._dropped: set[int] = set()
        self._left_out: set[int] = set()
        self.lost_write = ""
        self.make()

    def make(self) -> None:
        probe, work = self.probe, self.probe.work
        classes = observed(self.release, watched=is_watched(work))
        made = generators_of(Calls(probe, self.release, self, self.size))
        self.graph = classes.graph.create(made.configs, made.strategies)
        groups = [
            (number, min(self.size, probe.rows - first))
            for number, first in enumerate(range(0, probe.rows, self.size))
        ]
        self.tracker = classes.tracker.with_graph(self.graph, groups)
        self.tracker.place = {name: place for place, name in enumerate(self.graph.columns)}
        self.buffer = classes.buffer(GroupStorage(probe.folder, self._writing))
        self.buffer.reports_to = self
        limits, policy = work.limits, work.failures
        workers = limits.resources.get(LOCAL, limits.workers or _MANY)
        models = _MANY
        if "model_limits" not in self.release.features:
            models = min(
                (most for name, most in limits.resources.items() if name != LOCAL), default=_MANY
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
                groups=limits.groups or _MANY,
                salvage_rounds=policy.max_attempts - 1,
                save=lambda group: self.buffer.checkpoint_row_group(group),
                stop_rate=policy.stop_rate,
                stop_window=policy.stop_window or 1,
                never_stop=policy.stop_window is None,
            ),
        )
        self.scheduler.reports_to = self
        self.scheduler.put_in_order()

    # Reports of the generators

    def failed(
        self, column: str, position: int, rows: Iterable[int], error: GeneratorError
    ) -> None:
        """A call fails. Notes the column to blame if a row is dropped."""
        spent = self._spent.get((column, position), 0)
        self._spent[column, position] = spent + (error.failure == "retryable")
        self._last_failed = column
        if is_final(error.failure, spent + 1, self.probe.work.failures.max_attempts):
            for row in rows:
                self._blamed.setdefault(row, column)

    def barrier_over(self, column: str, scope: int, *, well: bool) -> None:
        """A barrier has ended: the rows that it left out are skipped, if it ended well.

        A row that was dropped during the call is over already.
        """
        rows = self._held.pop((column, scope), [])
        if well:
            self._report_skips(column, [row for row in rows if row not in self._dropped])

    def group_here(self) -> int:
        """The row group of the task that is running."""
        return group_here()

    def live_rows(self, group: int) -> list[int]:
        """The rows of a row group that are not dropped."""
        return [row for row in self.rows(group) if row not in self._dropped]

    def rows(self, group: int) -> range:
        """The rows of a row group."""
        return range(group * self.size, min((group + 1) * self.size, self.probe.rows))

    # Reports of the scheduler

    def task_over(self, column: str, group: int) -> None:
        """A task has ended: rows that it left out without a call are skipped now."""
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

    def stopped_early(self) -> None:
        """The scheduler calls this when it stops early; the probe records the stop."""
        self.probe.stop("the error rate was reached")

    @property
    def stopped(self) -> bool:
        """True from the early stop on; asked at drops, and for the outcome of the run."""
        stopped: bool = self.scheduler._early_shutdown
        return stopped

    # Reports of the buffer

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One write of a row group, which fails where the workload says so."""
        try:
            with self.probe.storage_sync("data"):
                yield
        except OSError as error:
            self.lost_write = str(error)
            self.probe.checkpoint_failed()
            raise

    def not_saved(self, group: int) -> None:
        """A row group could not be written; it leaves all the same."""
        self._retire(group)

    def _retire(self, group: int) -> None:
        # A row that an early stop left out is not resolved.
        if self.grouped and not self._left_out.intersection(self.rows(group)):
            self.probe.retire(group)

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
        write_group(self.probe.folder, group, [{"dropped": dropped}] if dropped else [])
        safe = sorted({*saved, *dropped})
        for start, stop in ranges_of(safe):
            self.probe.durable("", start, stop)
        self._retire(group)

    def report_end(self, *, failed: bool = False) -> None:
        """`run` has returned, or failed because of a write."""
        if self.stopped:
            self.probe.end("stopped", "the error rate was reached")
        elif failed:
            self.probe.end("failed", self.lost_write)
        else:
            self.probe.end("success")
