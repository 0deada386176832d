"""The seams of `DataDesigner.create`: the names that are wrapped while one run of it is observed.

DataDesigner's code runs as it is. Its scheduler's coroutine and the functions for whole columns are
moved to a loop in virtual time (`cellspec.engines.datadesigner.handoff`), and a few names are
wrapped for the time of the run, so that their calls are observed:

- the buffer of row groups: a group is admitted, a row dropped, a group saved or released;
- the function that marks a cell as skipped;
- the database in memory that reads the seed dataset: to open one takes longer than the rest of a
  small run, so all runs share one, and each reads through a cursor with tables of its own;
- each operation on storage, before it is done: folders are made, files written, moved and removed.
  There the process may die, or storage may fail.

Older releases keep tasks and columns in sets, and take the first of those. Their order is replaced
by that of columns and rows, which is one that could have come out.

In seven of eight workloads some work is left out that says nothing of the dataset, and takes a
fifth of a run: the figures that the scheduler notes about itself, and the statistics of the
columns of a dataset that is done. What a smallest workload shows, the engine shows as it is.

A name that a release lacks is left out. `seams` puts everything back at the end of the run, however
it ends.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

from cellspec.engines.datadesigner.handoff import Handoff
from cellspec.engines.datadesigner.scheduler_seams import OrderedSet, quiet

__all__ = ["Listener", "Modules", "seams"]

_SILENT = logging.CRITICAL + 1


class Modules(Protocol):
    """The modules of DataDesigner that are observed."""

    @property
    def interface(self) -> ModuleType:
        """The module of `create`."""

    @property
    def builder(self) -> ModuleType:
        """The module that builds the dataset."""

    @property
    def scheduler(self) -> ModuleType:
        """The module that runs cells."""

    @property
    def custom(self) -> ModuleType:
        """The module that calls the functions of custom columns."""

    @property
    def storage(self) -> ModuleType:
        """The module that stores artifacts."""

    @property
    def seeds(self) -> ModuleType:
        """The module that reads seed datasets."""

    @property
    def configs(self) -> ModuleType:
        """The module that builds configurations."""

    @property
    def frame(self) -> type:
        """The class of tables in memory."""


class Listener(Protocol):
    """Receives the reports of the wrapped names."""

    def ran(self) -> None:
        """The scheduler has come to its end, and without an error."""

    def place(self, column: str) -> int:
        """The place of a column in the order."""

    def at_task(self, column: str) -> None:
        """The task that is running now is one of this column."""

    def planned(self, first_row: Callable[[int], int]) -> None:
        """The first row of each row group is known."""

    def admitted(self, group: int, records: list[dict[str, Any]]) -> None:
        """A row group enters, with the records of its rows."""

    def stopped_early(self) -> None:
        """The scheduler stops early."""

    def dropped(self, record: dict[str, Any]) -> None:
        """A row is dropped, with its record so far."""

    def skipped(self, column: str, record: dict[str, Any]) -> None:
        """A cell is marked as skipped."""

    def saving(self, records: list[dict[str, Any]]) -> None:
        """A row group is about to be saved, with all its rows, dropped ones too."""

    def retired(self, group: int) -> None:
        """A row group leaves."""

    def storage_step(self, name: str, what: str) -> None:
        """An operation on storage is about to be done."""

    def writing_rows(self, path: Path, done: Callable[[], Any]) -> None:
        """`done` writes the rows of the group to a file, out of sight of a resume."""

    def moving(self, target: Path, done: Callable[[], Any]) -> Any:
        """`done` moves the rows of the group to where a resume finds them."""

    def writing_metadata(self, base: Path, done: Callable[[], Any]) -> Any:
        """`done` writes metadata to a dataset's folder."""


class _Overlay:
    """A module with some of its names replaced."""

    def __init__(self, module: ModuleType, **names: Any) -> None:
        self.__dict__.update(names)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextmanager
def seams(
    modules: Modules, listener: Listener, handoff: Handoff, *, watched: bool = True
) -> Iterator[None]:
    """Wrap the names of DataDesigner; put everything back at the end.

    Args:
        modules: the modules of DataDesigner.
        listener: receives the reports.
        handoff: runs what blocks.
        watched: do what says nothing of the dataset too: figures and statistics.
    """
    with ExitStack() as stack:

        def swap(owner: Any, name: str, made: Callable[[Any], Any]) -> None:
            found = vars(owner).get(name)
            if found is None:
                return
            plain = found.__func__ if isinstance(found, staticmethod) else found
            new = made(plain)
            setattr(owner, name, staticmethod(new) if plain is not found else new)
            stack.callback(setattr, owner, name, found)

        if not watched:
            swap(modules.builder, "AsyncTaskScheduler", quiet)
            swap(modules.interface, "DataDesignerDatasetProfiler", lambda _: _NoStatistics)
        _to_virtual_time(modules, listener, handoff, swap)
        _observe_rows(modules, listener, swap)
        _observe_storage(modules, listener, swap)
        swap(modules.seeds, "lazy", _sharing_a_database)
        swap(modules.configs, "get_library_version", _known)
        # It would take over the handlers of the root.
        swap(modules.interface, "configure_logging", lambda _: lambda *_args, **_options: None)
        logger = logging.getLogger("data_designer")
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(_SILENT)
        yield


class _Swap(Protocol):
    def __call__(self, owner: Any, name: str, made: Callable[[Any], Any], /) -> None: ...


class _NoStatistics:
    """In place of the part that counts what the columns of a dataset hold."""

    def __init__(self, **_parts: Any) -> None:
        pass

    def profile_dataset(self, *_args: Any, **_options: Any) -> Any:
        """No statistics of any column."""
        return SimpleNamespace(column_statistics=[])


class _Handed:
    """A future whose coroutine is handed to the loop when its result is asked for."""

    def __init__(self, handoff: Handoff, listener: Listener, coroutine: Any) -> None:
        self._handoff = handoff
        self._listener = listener
        self._coroutine = coroutine

    def result(self, timeout: float | None = None) -> Any:  # noqa: ARG002 - time is virtual
        result = self._handoff.wait_for(self._coroutine)
        self._listener.ran()
        return result


def _to_virtual_time(modules: Modules, listener: Listener, handoff: Handoff, swap: _Swap) -> None:
    def hand_over(coroutine: Any, loop: Any) -> _Handed:  # noqa: ARG001 - there is one loop only
        return _Handed(handoff, listener, coroutine)

    async def to_thread(function: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await handoff.run(function, *args, **kwargs)

    swap(
        modules.builder,
        "asyncio",
        lambda _: _Overlay(asyncio, run_coroutine_threadsafe=hand_over),
    )
    swap(modules.builder, "ensure_async_engine_loop", lambda _: lambda: None)
    swap(modules.custom, "asyncio", lambda _: _Overlay(asyncio, to_thread=to_thread))


def _observe_rows(modules: Modules, listener: Listener, swap: _Swap) -> None:
    def skips(mark: Any) -> Any:
        def marked(record: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            listener.skipped(kwargs["column_name"], record)
            return mark(record, *args, **kwargs)

        return marked

    swap(modules.builder, "RowGroupBufferManager", lambda base: _observed(base, listener))
    swap(modules.builder, "ExecutionGraph", lambda base: _ordered_graph(base, listener))
    swap(modules.builder, "CompletionTracker", lambda base: _ordered_tracker(base, listener))
    swap(modules.builder, "AsyncTaskScheduler", lambda base: _ordered_scheduler(base, listener))
    swap(modules.scheduler, "apply_skip_to_record", skips)


def _sharing_a_database(lazy: Any) -> Any:
    """DataDesigner's module of late imports, whose database is one for all runs."""
    return _Overlay(lazy, duckdb=_Overlay(lazy.duckdb, connect=lambda: _database().cursor()))


@cache
def _known(version: Callable[[], str]) -> Callable[[], str]:
    """The version of the library, without a look at its files in each run."""
    return cache(version)


@cache
def _database() -> Any:
    # More threads wait for each other longer than a seed dataset takes to read.
    return importlib.import_module("duckdb").connect(config={"threads": 1})


def _observed(base: Any, listener: Listener) -> Any:
    """The buffer of row groups, which reports to a listener."""

    class Observed(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._sizes: dict[int, int] = {}

        def init_row_group(self, row_group: int, size: int) -> None:
            self._sizes[row_group] = size
            super().init_row_group(row_group, size)
            listener.admitted(row_group, [self.get_row(row_group, row) for row in range(size)])

        def drop_row(self, row_group: int, row_index: int) -> None:
            # A call may fail after its group was released.
            if row_group in self._sizes and not self.is_dropped(row_group, row_index):
                listener.dropped(self.get_row(row_group, row_index))
            super().drop_row(row_group, row_index)

        def checkpoint_row_group(self, row_group: int, *args: Any, **kwargs: Any) -> None:
            rows = range(self._sizes[row_group])
            listener.saving([self.get_row(row_group, row) for row in rows])
            try:
                super().checkpoint_row_group(row_group, *args, **kwargs)
            except Exception:
                # It leaves all the same, and nothing more is done for it.
                self._retire(row_group)
                raise
            if row_group in self._sizes:
                # Older releases free it in there.
                self._retire(row_group)

        def free_row_group(self, row_group: int) -> None:
            super().free_row_group(row_group)
            self._retire(row_group)

        def _retire(self, row_group: int) -> None:
            if self._sizes.pop(row_group, None) is not None:
                listener.retired(row_group)

    return Observed


class _InOrder(set[str]):
    """A set of columns that iterates in their order."""

    def __init__(self, columns: Iterable[str], place: Callable[[str], int]) -> None:
        super().__init__(columns)
        self._place = place

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(super().__iter__(), key=lambda name: (self._place(name), name)))


def _ordered_graph(base: Any, listener: Listener) -> Any:
    """The graph, which gives neighbours in the order of columns."""

    class Ordered(base):  # type: ignore[misc]
        def get_upstream_columns(self, column: str) -> Any:
            return self._in_order(super().get_upstream_columns(column))

        def get_downstream_columns(self, column: str) -> Any:
            return self._in_order(super().get_downstream_columns(column))

        def _in_order(self, found: Any) -> Any:
            return _InOrder(found, listener.place) if isinstance(found, set) else found

    return Ordered


def _ordered_tracker(base: Any, listener: Listener) -> Any:
    """The tracker, which gives ready tasks in the order of columns."""

    class Ordered(base):  # type: ignore[misc]
        def get_ready_tasks(self, *args: Any, **kwargs: Any) -> Any:
            return sorted(super().get_ready_tasks(*args, **kwargs), key=self._order)

        def _order(self, task: Any) -> tuple[int, int, int, str]:
            row = -1 if task.row_index is None else task.row_index
            return task.row_group, listener.place(task.column), row, task.task_type

    return Ordered


def _ordered_scheduler(base: Any, listener: Listener) -> Any:
    """The scheduler, which starts roots in the order of columns, and reports each task."""

    class Ordered(base):  # type: ignore[misc]
        _worker_tasks: Any

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            first_row = getattr(kwargs.get("row_groups"), "row_group_start_offset", None)
            if first_row is not None:
                listener.planned(first_row)
            # When it cancels its tasks, it takes them in this order.
            self._worker_tasks = OrderedSet(self._worker_tasks)
            roots = getattr(self, "_seed_cols", ())
            if isinstance(roots, frozenset):
                self._seed_cols = tuple(_InOrder(roots, listener.place))

        async def _execute_task_inner(self, task: Any, *args: Any, **kwargs: Any) -> Any:
            listener.at_task(task.column)
            return await super()._execute_task_inner(task, *args, **kwargs)

        def _check_error_rate(self, *, success: bool) -> None:
            before = self._early_shutdown
            super()._check_error_rate(success=success)
            if self._early_shutdown and not before:
                listener.stopped_early()

    return Ordered


def _observe_storage(modules: Modules, listener: Listener, swap: _Swap) -> None:
    storage = modules.storage.ArtifactStorage

    def stepped(name: str) -> Callable[[Any], Any]:
        """`function`, and a step before it."""

        def made(function: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                listener.storage_step(name, str(args[-1]) if args else "")
                return function(*args, **kwargs)

            return call

        return made

    def make_folder(function: Any) -> Any:
        def call(path: Any) -> Any:
            if not Path(path).exists():
                listener.storage_step("mkdir", str(path))
            return function(path)

        return call

    def write_rows(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            path = Path(args[1])
            listener.storage_step("write_parquet", str(path))
            listener.writing_rows(path, lambda: function(*args, **kwargs))

        return call

    def move(source: Any, target: Any) -> Any:
        def done() -> Any:
            listener.storage_step("move", str(target))
            return shutil.move(source, target)

        return listener.moving(Path(target), done)

    def write_metadata(function: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            base = self.base_dataset_path
            return listener.writing_metadata(base, lambda: function(self, *args, **kwargs))

        return call

    swap(storage, "mkdir_if_needed", make_folder)
    swap(storage, "create_dataset_directory", stepped("claim_folder"))
    swap(storage, "write_metadata", write_metadata)
    swap(modules.frame, "to_parquet", write_rows)
    for name in ("DatasetBuilder", "ColumnWiseDatasetBuilder"):
        if (builder := getattr(modules.builder, name, None)) is not None:
            swap(builder, "_write_builder_config", stepped("write_config"))
    overlays: dict[str, tuple[ModuleType, dict[str, Any]]] = {
        "shutil": (shutil, {"move": move, "rmtree": stepped("rmtree")(shutil.rmtree)}),
        "os": (os, {"replace": stepped("replace")(os.replace)}),
        "json": (json, {"dump": stepped("write_json")(json.dump)}),
    }
    for name, (module, names) in overlays.items():
        swap(
            modules.storage,
            name,
            lambda _, module=module, names=names: _Overlay(module, **names),  # type: ignore[misc]
        )
