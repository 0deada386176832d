"""The installed release of DataDesigner, as `create` shows it."""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import inspect
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType, SimpleNamespace

from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.engines.datadesigner.releases import FEATURES
from cellspec.errors import SpecError, how_to_install

__all__ = ["CreateRelease", "load"]


@dataclass(frozen=True)
class CreateRelease:
    """The parts of DataDesigner that `create` needs, and the features of this release.

    Attributes:
        version: its version.
        builder: the module that builds the dataset; the next ones are named as in `create_seams`.
        scheduler: the module that runs cells.
        custom: the module of custom columns.
        storage: the module of storage.
        seeds: the module that reads seed datasets.
        configs: the module that builds configurations.
        interface: the module of `create`.
        config: the module of configs.
        errors: the module of errors that models raise.
        seed_source: the class of a seed dataset in memory.
        frame: the class of tables.
        options: the fields of its `RunConfig`.
        resumes: `create` goes on from a folder.
        retries: a call of a custom column is made again.
        skips: a column may have a skip condition.
        roots: a custom column may be made without any input.
    """

    version: str
    builder: ModuleType
    scheduler: ModuleType
    custom: ModuleType
    storage: ModuleType
    seeds: ModuleType
    configs: ModuleType
    interface: ModuleType
    config: ModuleType
    errors: ModuleType
    seed_source: type
    frame: type
    options: frozenset[str]
    resumes: bool
    retries: bool
    skips: bool
    roots: bool

    @property
    def stops(self) -> bool:
        """A run may stop early, by a rate and a window of calls."""
        return {"shutdown_error_rate", "shutdown_error_window"} <= self.options

    @property
    def generation_error(self) -> type[Exception]:
        """The error of `create`."""
        found: type[Exception] = self.interface.DataDesignerGenerationError
        return found

    @property
    def capabilities(self) -> Iterable[str]:
        """The capabilities of this release: those of all releases, and those that it can do."""
        yield from ("core", "batch_barriers", "groups", "drops", "work_conserving")
        if self.retries:
            yield "retries"
        if self.skips:
            yield "skips"
        if self.stops:
            yield "early_stop"
        if self.resumes:
            yield from ("resume", "targets", "config")
            yield from ("storage_steps", "storage_faults", "torn_writes")

    @property
    def unasked(self) -> Mapping[Sometimes, str]:
        """Situations that a workload cannot ask of `create`, each with the reason."""
        client = "a model's client keeps limits and backoffs, and the mocks call no model"
        group = "a full column always reads one row group"
        found = {
            Sometimes.RESOURCE_FULL: client,
            Sometimes.BACKOFF_ENDED: client,
            Sometimes.CRASH_IN_BACKOFF: client,
            Sometimes.SCOPE_OVER_GROUPS: group,
            Sometimes.BARRIER_AGAIN: f"{group}, which is saved whole",
            Sometimes.FEWER_ROWS: "fewer records than there are, are always refused",
            Sometimes.LANDED: "it makes a claim by a rename, which is done or reports an error",
            Sometimes.SLOW_WRITE: "it writes on its event loop, and nothing else runs meanwhile",
        }
        if "max_in_flight_tasks" not in self.options:
            found[Sometimes.WORKERS_FULL] = "this release has no option for calls at once"
        return found

    @property
    def unclaimed(self) -> Mapping[str, str]:
        """The capabilities that are left out, each with the reason."""
        found = {
            "streaming": "a custom column is made cell by cell, or for a whole row group",
            "ordered": "no option of a column makes its rows wait for each other",
            "timeouts": "a time limit belongs to a model's client, and the mocks call no model",
            "interrupts": "a run is interrupted by Ctrl-C alone, which ends a process",
            "filters": "a custom column has no answer that rejects its row",
            "counted_work": "its loop takes turns with a thread, in which lines are not counted",
        }
        absent = "this release has no such feature"
        able = frozenset(self.capabilities)
        features = ("retries", "skips", "early_stop", "resume", "targets", "config")
        for name in (*features, "storage_steps", "storage_faults", "torn_writes"):
            if name not in able:
                found[name] = absent
        return found


@cache
def load() -> CreateRelease:
    """Import DataDesigner: quiet, without telemetry, with its own folder for its defaults.

    Raises:
        SpecError: DataDesigner is not installed.
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
    parts = SimpleNamespace(
        scheduler=scheduler.AsyncTaskScheduler, tracker=builder.CompletionTracker
    )
    # Rows are numbered by the plan of row groups.
    planned = importlib.util.find_spec(f"{builders}.row_group_plan") is not None
    return CreateRelease(
        version=found,
        builder=builder,
        scheduler=scheduler,
        custom=custom,
        storage=importlib.import_module("data_designer.engine.storage.artifact_storage"),
        seeds=importlib.import_module("data_designer.engine.resources.seed_reader"),
        configs=importlib.import_module("data_designer.config.config_builder"),
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
        roots=planned
        and all(FEATURES[name](parts) for name in ("cell_roots", "full_column_roots")),
    )


def _first_module(*names: str) -> ModuleType:
    """The first of some modules that is there; its name differs between releases."""
    found = next(name for name in names if importlib.util.find_spec(name) is not None)
    return importlib.import_module(found)
