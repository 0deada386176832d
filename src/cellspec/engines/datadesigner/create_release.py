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
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.errors import SpecError, how_to_install

__all__ = ["CreateRelease", "load"]


@dataclass(frozen=True)
class CreateRelease:
    """The parts of DataDesigner that `create` needs, and the features of this release."""

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
        if self.resumes:
            yield from ("resume", "targets", "storage_steps")

    @property
    def unasked(self) -> Iterable[Sometimes]:
        """Situations that need resources, backoffs, or parts of a row group."""
        yield from (
            Sometimes.RESOURCE_FULL,
            Sometimes.BACKOFF_ENDED,
            Sometimes.CRASH_IN_BACKOFF,
            Sometimes.SCOPE_OVER_GROUPS,
            Sometimes.BARRIER_AGAIN,
            Sometimes.FEWER_ROWS,
        )
        if "max_in_flight_tasks" not in self.options:
            yield Sometimes.WORKERS_FULL


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
    return CreateRelease(
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
    """The first of some modules that is there; its name differs between releases."""
    found = next(name for name in names if importlib.util.find_spec(name) is not None)
    return importlib.import_module(found)
