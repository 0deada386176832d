"""One call of `create`: its generators, and the reports of what it does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from cellspec.conformance.run.probe import Probe, Refused
from cellspec.conformance.run.values import SKIPPED
from cellspec.engines.datadesigner.create_config import CreateConfig
from cellspec.engines.datadesigner.create_dataset import DATASET, StoredDataset, prefix_of
from cellspec.engines.datadesigner.create_fit import is_root
from cellspec.engines.datadesigner.create_release import CreateRelease
from cellspec.engines.datadesigner.handoff import Handoff
from cellspec.engines.datadesigner.mocks import ROW, inputs_of, rows_of
from cellspec.faults import BackPressure, GeneratorError, Retryable
from cellspec.graph.columns import ColumnDescriptor
from cellspec.graph.rowset import ranges_of
from cellspec.machine.policy import is_final

__all__ = ["CreateRun"]

_column_here: ContextVar[str] = ContextVar("cellspec_column_here", default="")


class CreateRun:
    """One call of `create`: it makes the generators, and reports to the probe."""

    def __init__(
        self, probe: Probe, release: CreateRelease, config: CreateConfig, resume: str
    ) -> None:
        self.probe = probe
        self.release = release
        self.config = config
        self.resume = resume
        self.handoff = Handoff()
        self.stored = StoredDataset(probe.folder)
        self._blamed: dict[int, tuple[str, bool]] = {}
        self._last_failed = ""
        self._spent: dict[tuple[str, int], int] = {}
        self._skips: set[tuple[str, int]] = set()
        self._held: dict[tuple[str, int], list[int]] = {}
        self._dropped: set[int] = set()
        self._left_out: set[int] = set()
        self._stopped = False
        self._first_row: Callable[[int], int] | None = None
        self._numbers_rows = any(is_root(probe.work, item, release) for item in probe.work.columns)
        self._lost_write = ""
        self._saving: list[int] | None = None
        self._written: list[int] = []
        self._safe = self.stored.safe_rows()
        self._saved = set(self._safe)
        self._claim = 0
        self._ran = False
        self._failed = False

    # The run

    def create(self) -> None:
        """Call `create`, in a thread."""
        interface = self.release.interface
        parts: dict[str, Any] = {
            "artifact_path": self.probe.folder,
            "model_providers": [
                self.release.config.ModelProvider(name="none", endpoint="http://127.0.0.1:9")
            ],
            "auto_configure_logging": False,
        }
        known = inspect.signature(interface.DataDesigner).parameters
        designer = interface.DataDesigner(**{k: v for k, v in parts.items() if k in known})
        designer.set_run_config(self.config.run_config())
        asked: dict[str, Any] = {"num_records": self.probe.rows, "dataset_name": DATASET}
        if self.resume:
            asked["resume"] = self.release.storage.ResumeMode(self.resume)
        designer.create(self.config.builder(self.generator), **asked)

    def judge_error(self, error: Exception) -> None:
        """Judge an error of `create`: a refusal, the end of a run without rows, or a failure.

        Raises:
            Refused: `create` refuses to resume.
            Exception: the error itself, if it is a failure.
        """
        if "Cannot resume" in str(error):
            raise Refused(str(error)) from error
        nothing_left = self._ran and self._dropped.issuperset(range(self.probe.rows))
        if not (nothing_left or self._stopped or self._lost_write):
            raise error
        self._failed = bool(self._lost_write) and not nothing_left

    def report_resume(self) -> None:
        """Report the claim that this run resumes from, if a claim describes the folder."""
        if not self.probe.incarnation:
            return
        claim = self.stored.claim()
        if claim is None:
            return
        self._claim = claim
        table = self.stored.table()
        skipped: dict[str, list[int]] = {}
        for row, cells in table.rows.items():
            for name, value in cells.items():
                if value is SKIPPED and row < claim and name in self.probe.graph.column_names:
                    skipped.setdefault(name, []).append(row)
        dropped = [row for row in sorted(table.dropped) if row < claim]
        self.probe.resumed(claim, dropped, skipped)

    def report_end(self) -> None:
        """Report the end: `create` has returned.

        Of rows that were dropped and are in no file nothing was written, and nothing will be. A
        success says that they are over; any other end says nothing of them.
        """
        self._settle_skips()
        self.stored.note_dropped(sorted(self._dropped))
        if self._stopped:
            self.probe.end("stopped", "the error rate was reached")
        elif self._failed:
            self.probe.end("failed", self._lost_write)
        else:
            self._report_durable(sorted(self._dropped - self._saved))
            self.probe.end("success")

    # Generators

    def generator(self, item: ColumnDescriptor) -> Any:
        """The function of a custom column: the probe's calls."""
        rules = self.probe.graph.rules
        barrier = rules.columns[rules.index[item.name]].is_barrier
        made = self._full_column(item) if barrier else self._cell(item)
        # Part of the config's fingerprint.
        version = self.probe.work.versions.get(item.name, "")
        made.__name__ = made.__qualname__ = f"make_{item.name}{version}"
        # Each call of it is preceded by a look at its signature, which takes as long as the call.
        made.__signature__ = inspect.signature(made)
        root = is_root(self.probe.work, item, self.release)
        needs = [] if root else [*item.dependencies, ROW]
        decorate = self.release.config.custom_column_generator
        return decorate(required_columns=needs, side_effect_columns=list(item.side_effects))(made)

    def _cell(self, item: ColumnDescriptor) -> Any:
        async def make(row: dict[str, Any]) -> dict[str, Any]:
            number = int(row[ROW])
            self._settle_skips()
            try:
                value = await self.probe.cell(item.name, number, inputs_of(item, row))
            except GeneratorError as error:
                raise self._failure(item.name, number, [number], error) from error
            return row | dict.fromkeys(item.all_produced_columns, value)

        return make

    def _full_column(self, item: ColumnDescriptor) -> Any:
        probe = self.probe
        scope_rows = probe.graph.rules.columns[probe.graph.rules.index[item.name]].scope_rows

        def make(df: Any) -> Any:
            rows, inputs = rows_of(item, df)
            scope = rows[0] // scope_rows
            left_out = self._held.pop((item.name, scope), [])
            self._settle_skips()
            try:
                values = self.handoff.wait_for(probe.barrier(item.name, scope, rows, inputs))
            except GeneratorError as error:
                raise self._failure(item.name, scope, rows, error) from error
            # A row that was dropped during the call is over already.
            self._report_skips(item.name, [row for row in left_out if row not in self._dropped])
            for name in item.all_produced_columns:
                df[name] = values
            return df

        return make

    def _failure(
        self, column: str, position: int, rows: Iterable[int], error: GeneratorError
    ) -> Exception:
        """DataDesigner's error for a failure. Notes the column to blame if a row is dropped."""
        spent = self._spent.get((column, position), 0)
        self._spent[column, position] = spent + (error.failure == "retryable")
        final = is_final(error.failure, spent + 1, self.probe.work.failures.max_attempts)
        self._last_failed = column
        for row in rows:
            if final or not self._blamed.get(row, ("", False))[1]:
                self._blamed[row] = (column, final)
        word: type[Exception] = ValueError
        if isinstance(error, Retryable):
            word = self.release.errors.ModelTimeoutError
        elif isinstance(error, BackPressure):
            word = self.release.errors.ModelRateLimitError
        return word(str(error))

    # Reports of DataDesigner

    def ran(self) -> None:
        """The scheduler has ended without an error."""
        self._ran = True

    def place(self, column: str) -> int:
        """The place of a column in the workload; the seed's columns come first."""
        return self.probe.graph.rules.index.get(column, -1)

    def at_task(self, column: str) -> None:
        """The task that is running now is one of this column."""
        if column in self.probe.graph.rules.index:
            _column_here.set(column)

    def planned(self, first_row: Callable[[int], int]) -> None:
        """The first row of each row group is known."""
        self._first_row = first_row

    def admitted(self, group: int, records: list[dict[str, Any]]) -> None:
        """A row group enters; a column that is made without input knows its rows from here on."""
        self._settle_skips()
        if self._numbers_rows and self._first_row is not None:
            for row, record in enumerate(records, self._first_row(group)):
                record[ROW] = row
        if self.probe.work.limits.group_rows is not None:
            self.probe.admit(group)

    def retired(self, group: int) -> None:
        """A row group leaves."""
        self._settle_skips()
        if self.probe.work.limits.group_rows is not None:
            self.probe.retire(group)

    def stopped_early(self) -> None:
        """The scheduler stops early."""
        self._stopped = True
        self.probe.stop("the error rate was reached")

    def dropped(self, record: dict[str, Any]) -> None:
        """A row is dropped, or was not done in time."""
        self._settle_skips()
        row = int(record[ROW])
        if self._stopped and not self._blamed.get(row, ("", False))[1]:
            self._left_out.add(row)
            return
        self._dropped.add(row)
        # Without a failed call DataDesigner may drop a row too: some column must then be blamed.
        here = self._last_failed or _column_here.get() or self.probe.graph.column_names[-1]
        self.probe.drop(row, row + 1, self._blamed.get(row, (here, False))[0])

    def skipped(self, column: str, record: dict[str, Any]) -> None:
        """A cell is marked as skipped; again, if a barrier is tried again.

        DataDesigner marks the rows that a barrier leaves out before it calls the barrier. The
        output cells are resolved when the call has ended, or now, if there is no row to call for.
        """
        row = int(record[ROW])
        rule = self.probe.graph.rules.columns[self.probe.graph.rules.index[column]]
        key = (column, row // rule.scope_rows) if rule.is_barrier else None
        self._settle_skips(replace=key)
        if key is None:
            self._report_skips(column, [row])
        elif key in self._held:
            self._held[key].append(row)
        else:
            self._held[key] = [row]
            # If it is called, it is called at once.
            asyncio.get_running_loop().call_soon(self._settle_skips)

    def _settle_skips(self, replace: tuple[str, int] | None = None) -> None:
        """Report the cells that barriers left out, where the barrier was not called."""
        for key in [key for key in self._held if key != replace]:
            self._report_skips(key[0], self._held.pop(key))

    def _report_skips(self, column: str, rows: Iterable[int]) -> None:
        for row in rows:
            if (column, row) not in self._skips:
                self._skips.add((column, row))
                self.probe.skip(column, row)

    # Storage

    def storage_step(self, name: str, what: str) -> None:  # noqa: ARG002 - for a test
        """An operation on storage is about to be done."""
        self.probe.storage_step(name)

    def saving(self, records: list[dict[str, Any]]) -> None:
        """A row group is about to be saved."""
        self._settle_skips()
        rows = (int(record[ROW]) for record in records)
        self._saving = [row for row in rows if row not in self._left_out]

    def writing_rows(self, path: Path, done: Callable[[], Any]) -> None:
        """Write the live rows of the group."""
        self._use(path.parent.parent)
        rows = self._saving or []
        self.stored.note_group(path, rows)
        for start, stop in ranges_of(rows):
            self.probe.write_begin("", start, stop)
        try:
            with self.probe.storage_sync("data"):
                done()
        except OSError as error:
            self._lose_write(error)
            raise
        self._saved.update(rows)
        self._written += rows
        if not self.release.resumes:
            self._report_written()

    def _report_written(self) -> None:
        """What was written is where the next run finds it, or the claim on it comes next."""
        rows, self._written = self._written, []
        self._report_durable(rows)

    def _use(self, base: Path) -> None:
        """The rows of this run are put into this folder."""
        self.stored.base = base
        self.stored.note_place(self.probe.work)

    def _lose_write(self, error: OSError) -> None:
        self._lost_write = str(error)
        self.probe.checkpoint_failed()

    def _report_durable(self, rows: Iterable[int]) -> None:
        for start, stop in ranges_of(rows):
            self.probe.durable("", start, stop)

    def moving(self, target: Path, done: Callable[[], Any]) -> Any:
        """Move the file of the group to where a resume finds it."""
        self._use(target.parent.parent)
        saved, self._saving = self._saving or [], None
        if not self.stored.has_metadata:
            result = done()
            self._safe |= set(saved)
            return result
        return self._claiming(self._safe | set(saved), done)

    def writing_metadata(self, base: Path, done: Callable[[], Any]) -> Any:
        """Write metadata; from the first one on a resume finds the saved groups."""
        self._use(base)
        return done() if self.stored.has_metadata else self._claiming(self._safe, done)

    def _claiming(self, safe: set[int], done: Callable[[], Any]) -> Any:
        """Call `done`, which makes a claim of these rows durable, and report the claim."""
        claim = prefix_of(safe)
        grows = claim > self._claim and self.release.resumes
        if grows:
            self._report_written()
            self.probe.checkpoint_begin(claim)
        # A write that adds no row to what a resume finds is none that the workload counts.
        adds = grows or safe > self._safe
        try:
            with self.probe.storage_sync("claim") if adds else nullcontext():
                result = done()
        except OSError as error:
            self._lose_write(error)
            # It may be there all the same.
            self._safe = self.stored.placed_rows()
            raise
        except Exception:
            if grows:
                self.probe.checkpoint_failed()
            raise
        self._safe = safe
        self._report_written()
        if grows:
            self._claim = claim
            self.probe.checkpoint_durable()
        return result
