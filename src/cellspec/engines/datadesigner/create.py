"""DataDesigner through its front door: `DataDesigner.create`, as its users call it.

`CreateBackend` turns a workload into a DataDesigner config and calls ``create(...)`` once for each
life, in the same folder, with ``resume=``. Nothing inside is driven by hand: config, compiler,
builder, scheduler, storage and resume are DataDesigner's own. How a workload is said in its words:

===================  ===============================================================================
a workload's          is in DataDesigner
===================  ===============================================================================
cell                  a custom column, cell by cell, whose function is a coroutine function
barrier               a custom column for the full column: it gets the rows of one row group
row number            a seed dataset in order: its column ``cellspec_row``, and for each column with
                      a skip condition of its own ``cellspec_skip_…``
dependency            ``required_columns``; everything needs ``cellspec_row`` besides
side effect           ``side_effect_columns``
skip condition        ``SkipConfig(when="{{ cellspec_skip_… }}")``, and ``propagate_skip``
retryable failure     ``ModelTimeoutError``; back-pressure is ``ModelRateLimitError``, and a failure
                      for good any other exception
row group             ``RunConfig.buffer_size`` rows, ``max_concurrent_row_groups`` at once
workers               ``RunConfig.max_in_flight_tasks``
next life             ``ResumeMode.IF_POSSIBLE`` if the workload's seed is even; if it is odd
                      ``ResumeMode.ALWAYS``, as soon as there is a dataset to resume
===================  ===============================================================================

What `create` has no words for is taken out by `CreateBackend.fit`: barriers over anything but a row
group, limits of resources and cool-downs (both are kept by a model's client, and there is none
here), another number of attempts, fewer rows than the last life was asked for, and in older
releases limits of workers and of row groups. Ordered columns and ranges there are none. An early
stop is not claimed: the tasks that make row numbers are counted as calls that ended well.

**What is durable.** A row group is saved as one parquet file, which is written elsewhere and then
moved to ``parquet-files``; a resume takes a group for done if its file is there, and looks for
files only if there is a ``metadata.json``. So a claim is the rows of all groups up to the first
whose file is missing, and becomes durable with the move, the first one with the metadata. Groups
end in any order: where a later group is saved and an earlier one is not, no claim says what is
there, and the adapter says nothing (the suite then judges by tables). Which rows were dropped
stands nowhere; a row is read as dropped if the file of its group is there without it. For that the
adapter notes beside the dataset, before a group is saved, which rows it was made of.

**All rows dropped.** ``create`` raises ``DataDesignerGenerationError`` if it is left without a
single row. That is how it says so, and the run is taken as having done all its work.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib
import importlib.util
import inspect
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.probe import Probe, Refused
from cellspec.conformance.run.values import SKIPPED, Table
from cellspec.conformance.run.workload import End, Fault, Workload
from cellspec.engines.datadesigner.create_seams import seams
from cellspec.engines.datadesigner.handoff import LockStep
from cellspec.errors import SpecError, how_to_install
from cellspec.faults import BackPressure, GeneratorError, Retryable
from cellspec.graph.columns import ColumnDescriptor
from cellspec.graph.rowset import ranges_of
from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.machine.policy import is_final

__all__ = ["MAX_ATTEMPTS", "CreateBackend"]

MAX_ATTEMPTS = 3
"""A call is made once, and again in each of the two rounds of salvage; no option changes that."""

FIXED_GROUPS = 3
"""Row groups at once in releases that have no option for it."""

_ROW = "cellspec_row"
_SKIP = "cellspec_skip_"
_DATASET = "dataset"
_NOTES = "cellspec-groups.json"
_MANY = 1_000_000
_column_here: ContextVar[str] = ContextVar("cellspec_column_here", default="")


class CreateBackend:
    """`DataDesigner.create` in virtual time. See the module.

    Attributes:
        name: what reports call it.
        version: DataDesigner's version.
        capabilities: what this release can be asked for through `create`.
        unasked: situations that it cannot be asked to be in.

    Raises:
        SpecError: DataDesigner is not installed.
    """

    name = "datadesigner-create"

    def __init__(self) -> None:
        self.release = _load()
        self.version = self.release.version
        self.capabilities = frozenset(self.release.capabilities)
        self.unasked = frozenset(self.release.unasked)

    def fit(self, work: Workload) -> Workload | None:
        """The nearest workload that `create` can be asked for; None if there is none."""
        return _fit(work, self.release)

    async def run(self, probe: Probe) -> None:
        """Run one life."""
        incarnation = self.incarnation_class(
            probe, self.release, self.config(probe), self.resume_mode(probe)
        )
        with seams(self.release, incarnation, incarnation.steps):
            incarnation.report_resume()
            try:
                await incarnation.steps.run(incarnation.create)
            except self.release.generation_error as error:
                incarnation.judge_error(error)
            incarnation.report_end()

    def table(self, probe: Probe) -> Table:
        """What a user finds: in the dataset's folder, or where else the last run put it."""
        stored = _Stored(probe.folder, self.release)
        others = [path for path in probe.folder.glob(f"{_DATASET}_*") if path.is_dir()]
        if others and not (stored.base.is_dir() and any(stored.base.iterdir())):
            stored.base = max(others, key=lambda path: (path.stat().st_mtime_ns, path.name))
        return stored.table()

    @property
    def incarnation_class(self) -> type[_Incarnation]:
        """What listens to one call of `create`; a test may put something else in here."""
        return _Incarnation

    def config(self, probe: Probe) -> _Config:
        """What `create` is asked for; a test may ask for something else."""
        return _Config(probe.work, self.release)

    def resume_mode(self, probe: Probe) -> str:
        """The name of the resume mode of a life; "" if the release has none."""
        if not self.release.resumes:
            return ""
        folder = probe.folder / _DATASET
        there = folder.is_dir() and any(folder.iterdir())
        return "always" if there and probe.work.seed % 2 else "if_possible"


# The release


@dataclass(frozen=True)
class _Release:
    """The parts of DataDesigner that are used, and what this release can do."""

    version: str
    builder: ModuleType
    scheduler: ModuleType
    custom: ModuleType
    storage: ModuleType
    interface: ModuleType
    config: ModuleType
    errors: ModuleType
    seed_source: type
    frame: type
    options: frozenset[str]
    resumes: bool
    retries: bool
    skips: bool

    @property
    def generation_error(self) -> type[Exception]:
        """What `create` raises."""
        found: type[Exception] = self.interface.DataDesignerGenerationError
        return found

    @property
    def capabilities(self) -> Iterable[str]:
        yield from ("core", "batch_barriers", "groups", "drops", "work_conserving")
        if self.retries:
            yield "retries"
        if self.skips:
            yield "skips"
        if self.resumes:
            yield from ("resume", "targets", "storage_steps")

    @property
    def unasked(self) -> Iterable[Sometimes]:
        """Resources and cool-downs live in a model's client; what is saved are whole row groups."""
        yield from (
            Sometimes.RESOURCE_FULL,
            Sometimes.COOLED_DOWN,
            Sometimes.CRASH_IN_COOL_DOWN,
            Sometimes.SCOPE_OVER_GROUPS,
            Sometimes.BARRIER_AGAIN,
            Sometimes.FEWER_ROWS,
        )
        if "max_in_flight_tasks" not in self.options:
            yield Sometimes.WORKERS_FULL


@cache
def _load() -> _Release:
    """Import DataDesigner: quiet, without telemetry, with its own folder for its defaults.

    Raises:
        SpecError: it is not installed.
    """
    try:
        found = version("data-designer")
    except PackageNotFoundError:
        raise SpecError(
            f"DataDesigner is not installed; {how_to_install('datadesigner')}"
        ) from None
    os.environ.setdefault("NEMO_TELEMETRY_ENABLED", "false")
    os.environ.setdefault("DATA_DESIGNER_ASYNC_ENGINE", "1")
    if "DATA_DESIGNER_HOME" not in os.environ and "data_designer" not in sys.modules:
        home = tempfile.mkdtemp(prefix="cellspec-datadesigner-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        os.environ["DATA_DESIGNER_HOME"] = home
    builders = "data_designer.engine.dataset_builders"
    config = importlib.import_module("data_designer.config")
    interface = importlib.import_module("data_designer.interface.data_designer")
    builder = _first_module(f"{builders}.dataset_builder", f"{builders}.column_wise_builder")
    scheduler = importlib.import_module(f"{builders}.async_scheduler")
    custom = importlib.import_module("data_designer.engine.column_generators.generators.custom")
    return _Release(
        version=found,
        builder=builder,
        scheduler=scheduler,
        custom=custom,
        storage=importlib.import_module("data_designer.engine.storage.artifact_storage"),
        interface=interface,
        config=config,
        errors=importlib.import_module("data_designer.engine.models.errors"),
        seed_source=importlib.import_module(
            "data_designer.config.seed_source_dataframe"
        ).DataFrameSeedSource,
        frame=importlib.import_module("pandas").DataFrame,
        options=frozenset(config.RunConfig.model_fields),
        resumes="resume" in inspect.signature(interface.DataDesigner.create).parameters,
        retries=hasattr(custom, "RETRYABLE_MODEL_ERRORS"),
        skips=hasattr(scheduler, "apply_skip_to_record"),
    )


def _first_module(*names: str) -> ModuleType:
    """The first of some modules that is there; what it is called differs between releases."""
    found = next(name for name in names if importlib.util.find_spec(name) is not None)
    return importlib.import_module(found)


# What can be asked for


def group_rows(work: Workload) -> int:
    """Rows of a row group: ``RunConfig.buffer_size``."""
    return work.limits.group_rows or work.batch_size or work.rows_of(0)


def _fit(work: Workload, release: _Release) -> Workload | None:
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
    fitted = plain.replace(
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
    places = _Places(work, fitted)
    return fitted.replace(
        faults=places.faults(work.faults), ends=places.ends(work.ends), skips=work.skips
    )


def _targets(work: Workload, step: int) -> tuple[int, ...]:
    """Rows of each life: a dataset can be extended, by whole row groups if they matter.

    Fewer rows are refused, whatever is there, and that is right only if more are kept. So fewer are
    asked for only after a life that is left to end.
    """
    targets: list[int] = []
    for incarnation, wanted in enumerate(work.targets):
        rows = -(-wanted // step) * step
        if targets and rows < targets[-1] and (work.crash_step(incarnation - 1) or work.faults):
            rows = targets[-1]
        targets.append(rows)
    return tuple(targets)


class _Places:
    """Scopes of barriers are others in a fitted workload: what names one is brought to it."""

    def __init__(self, old: Workload, new: Workload) -> None:
        graph = new.graph(max(range(new.incarnations), key=new.rows_of))
        self._counts = {
            rule.name: graph.rules.scope_count(rule.index) or graph.num_records
            for rule in graph.rules.columns
        }
        self._old = old

    def faults(self, faults: Iterable[Fault]) -> tuple[Fault, ...]:
        """The faults; how soon a call may be repeated is not said to DataDesigner here."""
        came_from: dict[tuple[str, int], int] = {}
        kept = []
        for fault in faults:
            position = fault.position % self._counts[fault.column]
            if came_from.setdefault((fault.column, position), fault.position) == fault.position:
                kept.append(replace(fault, position=position, cool_down_s=0.0))
        return tuple(kept)

    def ends(self, ends: Iterable[End]) -> tuple[End, ...]:
        """The ends that are set, of nodes that are there."""
        return tuple(end for end in ends if end.position < self._counts[end.column])


class _Config:
    """A workload as a config of DataDesigner."""

    def __init__(self, work: Workload, release: _Release) -> None:
        self.work = work
        self.release = release

    def builder(self, function_of: Callable[[ColumnDescriptor], Any]) -> Any:
        """The config's builder.

        Args:
            function_of: the function of a custom column.
        """
        dd = self.release.config
        # A model that no column uses: without any, defaults would be read from a file.
        model = dd.ModelConfig(alias="none", model="none", provider="none")
        builder = dd.DataDesignerConfigBuilder(model_configs=[model])
        builder.with_seed_dataset(self.release.seed_source(df=self._seed()))
        for item in self.work.columns:
            builder.add_column(self.column(item, function_of(item)))
        return builder

    def column(self, item: ColumnDescriptor, function: Any) -> Any:
        """The config of one column."""
        dd = self.release.config
        rules = self.work.graph().rules
        fields: dict[str, Any] = {"name": item.name, "generator_function": function}
        if self.release.skips:
            fields["propagate_skip"] = item.propagate_skip
            if item.may_skip:
                fields["skip"] = dd.SkipConfig(when="{{ " + _SKIP + item.name + " }}")
        column = dd.CustomColumnConfig(**fields)
        if rules.columns[rules.index[item.name]].is_barrier:
            # As an argument it becomes text, on which 0.6.1 dies: its users could have no such
            # column, and nothing else of it could be judged.
            column.generation_strategy = dd.GenerationStrategy.FULL_COLUMN
        return column

    def _seed(self) -> Any:
        work = self.work
        rows = range(max(map(work.rows_of, range(work.incarnations))))
        columns: dict[str, list[Any]] = {_ROW: list(rows)}
        for item in work.columns:
            if item.may_skip:
                columns[_SKIP + item.name] = [work.wants_skip(item.name, row) for row in rows]
        return self.release.frame(columns)

    def run_config(self) -> Any:
        """How the run goes about it."""
        work, limits = self.work, self.work.limits
        options = {
            "buffer_size": group_rows(work),
            "disable_early_shutdown": True,
            "max_concurrent_row_groups": limits.groups or _MANY,
            "max_in_flight_tasks": limits.workers or _MANY,
            "otel_metrics_port": None,
        }
        known = self.release.options
        return self.release.config.RunConfig(
            **{name: value for name, value in options.items() if name in known}
        )


# One life


class _Incarnation:
    """One call of `create`: its generators, and what is reported of it."""

    def __init__(self, probe: Probe, release: _Release, config: _Config, resume: str) -> None:
        self.probe = probe
        self.release = release
        self.config = config
        self.resume = resume
        self.steps = LockStep()
        self.stored = _Stored(probe.folder, release)
        self._blamed: dict[int, tuple[str, bool]] = {}
        self._last_failed = ""
        self._spent: dict[tuple[str, int], int] = {}
        self._skips: set[tuple[str, int]] = set()
        self._held: dict[tuple[str, int], list[int]] = {}
        self._dropped: set[int] = set()
        self._saving: list[int] | None = None
        self._safe = self.stored.safe_rows()
        self._saved = set(self._safe)
        self._claim = 0
        self._ran = False

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
        asked: dict[str, Any] = {"num_records": self.probe.rows, "dataset_name": _DATASET}
        if self.resume:
            asked["resume"] = self.release.storage.ResumeMode(self.resume)
        designer.create(self.config.builder(self.generator), **asked)

    def judge_error(self, error: Exception) -> None:
        """What `create` raises: a refusal, word that no row is left, or a failure.

        Raises:
            Refused: it refuses to resume.
            Exception: the error, if it is neither.
        """
        if "Cannot resume" in str(error):
            raise Refused(str(error)) from error
        if not (self._ran and self._dropped.issuperset(range(self.probe.rows))):
            raise error

    def report_resume(self) -> None:
        """Say what this life goes on from, if a claim can say it."""
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
        """`create` has returned: groups that were dropped as a whole are over, too."""
        self._settle_skips()
        self._report_durable(sorted(self._dropped - self._saved))
        self.probe.end("success")

    # Generators

    def generator(self, item: ColumnDescriptor) -> Any:
        """The function of a custom column: the probe's calls."""
        rules = self.probe.graph.rules
        barrier = rules.columns[rules.index[item.name]].is_barrier
        made = self._full_column(item) if barrier else self._cell(item)
        # Part of the config's fingerprint.
        made.__name__ = made.__qualname__ = f"make_{item.name}"
        needs = [*item.dependencies, _ROW]
        decorate = self.release.config.custom_column_generator
        return decorate(required_columns=needs, side_effect_columns=list(item.side_effects))(made)

    def _cell(self, item: ColumnDescriptor) -> Any:
        async def make(row: dict[str, Any]) -> dict[str, Any]:
            number = int(row[_ROW])
            self._settle_skips()
            try:
                value = await self.probe.cell(item.name, number, _inputs(item, row))
            except GeneratorError as error:
                raise self._failure(item.name, number, [number], error) from error
            return row | dict.fromkeys(item.all_produced_columns, value)

        return make

    def _full_column(self, item: ColumnDescriptor) -> Any:
        probe = self.probe
        scope_rows = probe.graph.rules.columns[probe.graph.rules.index[item.name]].scope_rows

        def make(df: Any) -> Any:
            rows = [int(row) for row in df[_ROW].tolist()]
            inputs = [_inputs(item, record) for record in df.to_dict(orient="records")]
            scope = rows[0] // scope_rows
            left_out = self._held.pop((item.name, scope), [])
            self._settle_skips()
            try:
                values = self.steps.wait_for(probe.barrier(item.name, scope, rows, inputs))
            except GeneratorError as error:
                raise self._failure(item.name, scope, rows, error) from error
            self._report_skips(item.name, left_out)
            for name in item.all_produced_columns:
                df[name] = values
            return df

        return make

    def _failure(
        self, column: str, position: int, rows: Iterable[int], error: GeneratorError
    ) -> Exception:
        """DataDesigner's word for a failure. Keeps whom to blame if a row is dropped for it."""
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

    # What goes on

    def ran(self) -> None:
        """The scheduler has come to its end, and without an error."""
        self._ran = True

    def place(self, column: str) -> int:
        """Where a column stands in the workload; the seed's come first."""
        return self.probe.graph.rules.index.get(column, -1)

    def at_task(self, column: str) -> None:
        """The task that is running now is one of this column."""
        if column in self.probe.graph.rules.index:
            _column_here.set(column)

    def admitted(self, group: int) -> None:
        """A row group enters."""
        self._settle_skips()
        if self.probe.work.limits.group_rows is not None:
            self.probe.admit(group)

    def retired(self, group: int) -> None:
        """A row group leaves."""
        self._settle_skips()
        if self.probe.work.limits.group_rows is not None:
            self.probe.retire(group)

    def dropped(self, record: dict[str, Any]) -> None:
        """A row is dropped."""
        self._settle_skips()
        row = int(record[_ROW])
        self._dropped.add(row)
        # No call failed, and DataDesigner drops the row all the same: it says so of some column.
        here = self._last_failed or _column_here.get() or self.probe.graph.column_names[-1]
        self.probe.drop(row, row + 1, self._blamed.get(row, (here, False))[0])

    def skipped(self, column: str, record: dict[str, Any]) -> None:
        """A cell is marked as skipped; again, if a barrier is tried again.

        DataDesigner marks what a barrier is to leave out before it calls it. The barrier's output
        cells are there when the call has ended, or now, if it finds that there is nothing to call.
        """
        row = int(record[_ROW])
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
        """Something else goes on: barriers that leave out cells, and were not called, are over."""
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

    def saving(self, group: int, records: list[dict[str, Any]]) -> None:
        """A row group is about to be saved."""
        self._settle_skips()
        self._saving = [int(record[_ROW]) for record in records]
        self.stored.note(group, self._saving)

    def wrote_rows(self) -> None:
        """The rows that live are on storage, and that the others do not."""
        if self._saving is not None:
            self._saved.update(self._saving)
            self._report_durable(self._saving)

    def _report_durable(self, rows: Iterable[int]) -> None:
        for start, stop in ranges_of(rows):
            self.probe.durable("", start, stop)

    def moving(self, target: Path, done: Callable[[], Any]) -> Any:
        """The file of the group goes to where a resume finds it."""
        self.stored.base = target.parent.parent
        saved, self._saving = self._saving or [], None
        if not self.stored.has_metadata:
            result = done()
            self._safe |= set(saved)
            return result
        return self._claiming(self._safe | set(saved), done)

    def writing_metadata(self, base: Path, done: Callable[[], Any]) -> Any:
        """From the first metadata on a resume finds what is saved."""
        self.stored.base = base
        return done() if self.stored.has_metadata else self._claiming(self._safe, done)

    def _claiming(self, safe: set[int], done: Callable[[], Any]) -> Any:
        """Do what makes a claim of these rows durable."""
        claim = _prefix(safe)
        grows = claim > self._claim and self.release.resumes
        if grows:
            self.probe.checkpoint_begin(claim)
        try:
            result = done()
        except Exception:
            if grows:
                self.probe.checkpoint_failed()
            raise
        self._safe = safe
        if grows:
            self._claim = claim
            self.probe.checkpoint_durable()
        return result


def _inputs(item: ColumnDescriptor, record: Mapping[str, Any]) -> dict[str, Any]:
    """What a call is given of what its column needs; what was skipped holds no text."""
    values = {name: record.get(name) for name in item.dependencies}
    return {name: value for name, value in values.items() if isinstance(value, str)}


# What is stored


class _Stored:
    """The folder of a dataset, as a user reads it, with the adapter's notes beside it.

    Attributes:
        base: the folder. A run that may not use it makes another one, with a time in its name.
    """

    def __init__(self, folder: Path, release: _Release) -> None:
        self.base = folder / _DATASET
        self._notes = folder / _NOTES
        self._release = release

    @property
    def has_metadata(self) -> bool:
        """Without metadata a resume starts anew."""
        return (self.base / "metadata.json").exists()

    def metadata(self) -> dict[str, Any]:
        """The metadata; nothing if there is none that can be read."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.base / "metadata.json").read_text("utf-8"))
            return found if isinstance(found, dict) else {}
        return {}

    def note(self, group: int, rows: list[int]) -> None:
        """Write down which rows a group is made of, before it is saved."""
        self._notes.write_text(json.dumps(self._noted() | {str(group): rows}), "utf-8")

    def _noted(self) -> dict[str, list[int]]:
        try:
            found: dict[str, list[int]] = json.loads(self._notes.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def _files(self) -> dict[str, Path]:
        """The files of saved groups, by the group's number."""
        files = sorted((self.base / "parquet-files").glob("batch_*.parquet"))
        return {str(int(file.stem.partition("_")[2])): file for file in files}

    def safe_rows(self) -> set[int]:
        """Rows that a resume takes for done."""
        if not self.has_metadata:
            return set()
        noted = self._noted()
        return {row for group in self._files() for row in noted.get(group, ())}

    def claim(self) -> int | None:
        """How many rows from 0 on a resume takes for done; None if there are others besides."""
        safe = self.safe_rows()
        claim = _prefix(safe)
        return claim if claim == len(safe) else None

    def table(self) -> Table:
        """The rows of all saved groups, and which rows of those are missing."""
        parquet = importlib.import_module("pyarrow.parquet")
        records = []
        for file in self._files().values():
            for record in parquet.ParquetFile(file).read().to_pylist():
                row = record.pop(_ROW)
                cells = {
                    name: SKIPPED if value is None else value
                    for name, value in record.items()
                    if not name.startswith(_SKIP)
                }
                records.append((row, cells))
        kept = {row for row, _ in records}
        return Table.from_records(records, self._missing() - kept)

    def _missing(self) -> set[int]:
        """Rows of groups that are through: saved, or all dropped in a run that came to its end."""
        noted, files = self._noted(), self._files()
        through = {row for group in files for row in noted.get(group, ())}
        metadata = self.metadata()
        if "column_statistics" in metadata or metadata.get("actual_num_records") == 0:
            through |= set(range(metadata.get("target_num_records", 0))) - {
                row for group, rows in noted.items() if group in files for row in rows
            }
        return through


def _prefix(rows: set[int]) -> int:
    """How many rows from 0 on are there without a gap."""
    count = 0
    while count in rows:
        count += 1
    return count
