"""The differences between releases of DataDesigner, as data.

DataDesigner's scheduler has changed in every release: classes moved, keywords were renamed, skips
and limits for each model came. An adapter that asks for a version number must learn of the next
one. So the adapter never asks for it. Each difference is a line in one of three tables:

- `PLACES`: the places where a class may be; the first one that has it counts;
- `KEYWORDS`: the names of an argument of the scheduler; an argument that a release lacks is left
  out;
- `FEATURES`: the features of a release, each with a test for it.

`load` looks once, and gives a `Release`. Everything else in this package asks that.

Two features are about *roots*, columns that need no other column. In the first releases the
scheduler calls every root as one that makes rows from scratch: a full-column root is given a table
without rows, and so is a cell-by-cell root. Their rows are then dropped. For these releases,
workloads are fitted to roots that make rows from scratch.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import CodeType, SimpleNamespace
from typing import Any, Final

from cellspec.errors import SpecError, how_to_install

__all__ = ["CAPABILITIES", "FEATURES", "KEYWORDS", "PLACES", "UNCLAIMED", "Release", "load"]

_BUILDERS = "data_designer.engine.dataset_builders"
_GENERATORS = "data_designer.engine.column_generators.generators.base"

PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "scheduler": (f"{_BUILDERS}.async_scheduler:AsyncTaskScheduler",),
    "tracker": (
        f"{_BUILDERS}.scheduling.completion:CompletionTracker",
        f"{_BUILDERS}.utils.completion_tracker:CompletionTracker",
    ),
    "graph": (f"{_BUILDERS}.utils.execution_graph:ExecutionGraph",),
    "buffer": (f"{_BUILDERS}.utils.row_group_buffer:RowGroupBufferManager",),
    "strategy": ("data_designer.config.column_configs:GenerationStrategy",),
    "single_config": ("data_designer.config.base:SingleColumnConfig",),
    "multi_config": (f"{_BUILDERS}.multi_column_configs:MultiColumnConfig",),
    "skip_config": ("data_designer.config.base:SkipConfig",),
    "scheduling": ("data_designer.config.scheduling:SchedulingMetadata",),
    "resolver": (f"{_BUILDERS}.scheduling.resolver:TaskSchedulingResolver",),
    "cell_generator": (f"{_GENERATORS}:ColumnGeneratorCellByCell",),
    "full_generator": (f"{_GENERATORS}:ColumnGeneratorFullColumn",),
    "scratch_generator": (f"{_GENERATORS}:FromScratchColumnGenerator",),
    "frame": ("pandas:DataFrame",),
}
"""Places of a class: ``module:name``. Those of `_OPTIONAL` need not be there."""

_OPTIONAL = ("skip_config", "scheduling", "resolver")

KEYWORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "workers": ("max_in_flight_tasks", "max_submitted_tasks"),
    "model_calls": ("max_model_task_admission", "max_llm_wait_tasks"),
    "groups": ("max_concurrent_row_groups",),
    "salvage_rounds": ("salvage_max_rounds",),
    "save": ("on_finalize_row_group",),
    "stop_rate": ("shutdown_error_rate",),
    "stop_window": ("shutdown_error_window",),
    "never_stop": ("disable_early_shutdown",),
}
"""Names of the scheduler's arguments, by their meaning here. Without ``save`` the scheduler saves
row groups by itself."""

FEATURES: Final[Mapping[str, Callable[[Any], bool]]] = {
    # The table that a full-column root is given is made of the rows of its group.
    "full_column_roots": lambda found: _mentions(
        found.scheduler._run_from_scratch.__code__, "get_row"
    ),
    # Roots are made ready by the tracker, each by its strategy.
    "cell_roots": lambda found: hasattr(found.tracker, "add_root_tasks"),
    # A row group is admitted although none of its calls may start yet. Before, admission itself
    # waits for a worker, and for the turn of an order-dependent generator.
    "admits_ahead": lambda found: hasattr(found.tracker, "add_root_tasks"),
    "skips": lambda found: found.skip_config is not None,
    # A call of a model takes a place among all calls as well. Before, whoever has a place among the
    # calls of models gives the other back.
    "models_take_places": lambda found: found.scheduling is not None,
    # Each model has a limit of its own. Before, there is one for all of them.
    "model_limits": lambda found: hasattr(found.resolver, "request_resource_limits"),
}
"""Features of a release, each with a test on the parts that `PLACES` found."""

CAPABILITIES: Final[Mapping[str, str]] = {
    "core": "",
    "batch_barriers": "",
    "groups": "",
    "ordered": "",
    "retries": "",
    "drops": "",
    "skips": "skips",
    "early_stop": "",
    "work_conserving": "",
    "storage_faults": "",
    "counted_work": "",
}
"""The capabilities of the adapter, each with the feature that it needs; "" for none."""

_KEEPS_NOTHING: Final = "the scheduler keeps nothing for a next process; `create` resumes"

UNCLAIMED: Final[Mapping[str, str]] = {
    "streaming": "a task makes one cell, or a column of a row group",
    "resume": _KEEPS_NOTHING,
    "targets": _KEEPS_NOTHING,
    "config": _KEEPS_NOTHING,
    "storage_steps": _KEEPS_NOTHING,
    "torn_writes": _KEEPS_NOTHING,
    "timeouts": "a time limit belongs to a model's client, and the mocks call no model",
    "interrupts": "whoever cancels the scheduler gets no answer that says what was finished",
    "filters": "a generator has no answer that rejects its row",
    "skips": "this release has no skip conditions",
}
"""Why the adapter leaves out a capability."""


@dataclass(frozen=True, eq=False)
class Release:
    """An installed release of DataDesigner.

    Attributes:
        version: its version.
        parts: the classes of `PLACES`, by name; None for an optional one that is absent.
        errors: its module of errors that models raise.
        features: those of `FEATURES` that it has.
        known: the keywords of its scheduler.
    """

    version: str
    parts: Any
    errors: Any
    features: frozenset[str]
    known: frozenset[str]

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities of the adapter with this release."""
        return frozenset(
            name for name, needs in CAPABILITIES.items() if not needs or needs in self.features
        )

    @property
    def unclaimed(self) -> dict[str, str]:
        """The capabilities that the adapter leaves out with this release, with the reasons."""
        return {name: why for name, why in UNCLAIMED.items() if name not in self.capabilities}

    def keywords(self, **arguments: Any) -> dict[str, Any]:
        """Arguments for the scheduler, under the names that this release has for them.

        Args:
            arguments: by names of `KEYWORDS`.
        """
        named = {}
        for meaning, value in arguments.items():
            name = next((name for name in KEYWORDS[meaning] if name in self.known), None)
            if name is not None:
                named[name] = value
        return named


def _mentions(code: CodeType, name: str) -> bool:
    """True if a function, or one defined inside of it, uses a name."""
    inside = (each for each in code.co_consts if isinstance(each, CodeType))
    return name in code.co_names or any(_mentions(each, name) for each in inside)


def _find(places: tuple[str, ...]) -> Any:
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    return None


@cache
def load() -> Release:
    """Look at the installed DataDesigner.

    Raises:
        SpecError: DataDesigner is not installed, or this adapter does not know its scheduler.
    """
    try:
        found = version("data-designer")
    except PackageNotFoundError:
        raise SpecError(
            f"DataDesigner is not installed; {how_to_install('datadesigner')}"
        ) from None
    os.environ.setdefault("NEMO_TELEMETRY_ENABLED", "false")
    # Its modules import each other in circles; this is where to begin.
    importlib.import_module("data_designer.interface.data_designer")
    parts = SimpleNamespace(**{name: _find(places) for name, places in PLACES.items()})
    missing = [name for name, part in vars(parts).items() if part is None and name not in _OPTIONAL]
    if missing:
        raise SpecError(f"DataDesigner {found} has no {', '.join(missing)} that this adapter knows")
    return Release(
        version=found,
        parts=parts,
        errors=importlib.import_module("data_designer.engine.models.errors"),
        features=frozenset(name for name, has in FEATURES.items() if has(parts)),
        known=frozenset(inspect.signature(parts.scheduler).parameters),
    )
