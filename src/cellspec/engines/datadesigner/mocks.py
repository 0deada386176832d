"""Generators for DataDesigner whose calls are the probe's.

A workload's columns become columns of DataDesigner, as a plugin of its users would bring them:

=======================  ==========================================================================
a workload's              is in DataDesigner
=======================  ==========================================================================
cell                      `ColumnGeneratorCellByCell`
barrier                   `ColumnGeneratorFullColumn`: it is given the rows of one row group
barrier without needs     `FromScratchColumnGenerator`, as samplers and seeds are, if it is a START
                          column; if it is not, a full-column generator
… with side effects       several columns of one generator (`MultiColumnConfig`), if from scratch;
                          else side-effect columns
… and ORDERED             an order-dependent generator, as the one of seed datasets is
skip condition            `SkipConfig`, whose ``when`` reads a mark that its row brings
resource                  a model, with so many parallel requests
=======================  ==========================================================================

Failures become errors that DataDesigner's own generators raise (`failure_of`). The class changes
from row to row, so that each class comes up.

Every row carries its number from the moment that it enters, under a name that workloads leave free.
A generator that is given only the number of rows to make asks for the row group of its task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, Final, Literal, Protocol, cast

from cellspec.conformance.run.probe import Inputs, Probe
from cellspec.engines.datadesigner.releases import Release
from cellspec.faults import BackPressure, GeneratorError, Permanent, Retryable
from cellspec.graph.columns import ColumnDescriptor

__all__ = [
    "FAILURES",
    "ROW",
    "SKIP",
    "CallListener",
    "Calls",
    "Generators",
    "failure_of",
    "generators_of",
    "inputs_of",
    "mark_of",
]

ROW: Final = "cellspec_row"
"""Under this name a row carries its number."""

SKIP: Final = "cellspec_skip_"
"""Begins the names under which a row carries whether a column is to be skipped in it."""

FAILURES: Final[Mapping[type[GeneratorError], tuple[str, ...]]] = {
    Retryable: ("ModelTimeoutError", "ModelInternalServerError", "ModelAPIConnectionError"),
    BackPressure: ("ModelRateLimitError",),
    Permanent: ("ModelBadRequestError", "ValueError", "ModelAuthenticationError", "KeyError"),
}
"""The error classes for a failure, of DataDesigner's models or built in."""

_BUILT_IN: Final[Mapping[str, type[Exception]]] = {"ValueError": ValueError, "KeyError": KeyError}


def failure_of(error: GeneratorError, position: int, errors: Any) -> Exception:
    """The error that a generator of DataDesigner raises where one of the workload's fails.

    Args:
        error: how it fails.
        position: the row, or the barrier's scope; decides which class it is.
        errors: DataDesigner's module of errors that models raise.
    """
    names = next(names for kind, names in FAILURES.items() if isinstance(error, kind))
    name = names[position % len(names)]
    made: Exception = (_BUILT_IN.get(name) or getattr(errors, name))(str(error))
    return made


def mark_of(column: str) -> str:
    """The name under which a row carries whether a column is to be skipped in it."""
    return f"{SKIP}{column}"


def inputs_of(item: ColumnDescriptor, record: Mapping[str, Any]) -> Inputs:
    """The values of a row under the names that a column needs; skipped cells are left out."""
    found = {name: record.get(name) for name in item.dependencies}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def rows_of(item: ColumnDescriptor, frame: Any) -> tuple[list[int], list[Inputs]]:
    """The numbers of the rows of a table, and the inputs that each has for a column.

    The table goes column by column, because pandas takes long to give it row by row.
    """
    # A table without rows may lack columns, too.
    rows = [int(row) for row in frame[ROW].tolist()] if ROW in frame.columns else []
    names = [name for name in item.dependencies if name in frame.columns]
    columns = [frame[name].tolist() for name in names]
    records = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    return rows, [inputs_of(item, record) for record in records or [{} for _ in rows]]


class CallListener(Protocol):
    """Receives the reports of the calls, and knows the row group of each."""

    def failed(
        self, column: str, position: int, rows: Iterable[int], error: GeneratorError
    ) -> None:
        """A call fails that these rows wait for."""

    def barrier_over(self, column: str, scope: int, *, well: bool) -> None:
        """A barrier's call has ended."""

    def group_here(self) -> int:
        """The row group of the task that is running."""

    def live_rows(self, group: int) -> list[int]:
        """The rows of a row group that are not dropped."""


@dataclass
class Calls:
    """The state that the generators of one run share.

    Attributes:
        probe: the probe.
        release: the installed DataDesigner.
        listener: receives the reports.
        group_rows: rows of a row group.
    """

    probe: Probe
    release: Release
    listener: CallListener
    group_rows: int

    async def cell(self, item: ColumnDescriptor, record: dict[str, Any]) -> dict[str, Any]:
        """Make a cell; gives the record with it."""
        row = int(record[ROW])
        try:
            value = await self.probe.cell(item.name, row, inputs_of(item, record))
        except GeneratorError as error:
            self.listener.failed(item.name, row, [row], error)
            raise failure_of(error, row, self.release.errors) from error
        return record | dict.fromkeys(item.all_produced_columns, value)

    async def full(self, item: ColumnDescriptor, frame: Any) -> Any:
        """Make a column of the rows of a table; gives the table with it."""
        made = frame.copy()
        rows, inputs = rows_of(item, frame)
        # A table without rows needs no call.
        values = await self._barrier(item, rows, inputs) if rows else []
        for name in item.all_produced_columns:
            made[name] = values
        return made

    async def from_scratch(self, item: ColumnDescriptor, count: int) -> Any:
        """Make a column of so many rows."""
        group = self.listener.group_here()
        first = group * self.group_rows
        live = self.listener.live_rows(group)
        values = await self._barrier(item, live, [{} for _ in live], scope=group)
        by_row = dict(zip(live, values, strict=True))
        column = [by_row.get(row) for row in range(first, first + count)]
        return self.release.parts.frame(dict.fromkeys(item.all_produced_columns, column))

    async def _barrier(
        self,
        item: ColumnDescriptor,
        rows: Sequence[int],
        inputs: Sequence[Inputs],
        scope: int | None = None,
    ) -> list[str]:
        if scope is None:
            scope = rows[0] // self.group_rows
        try:
            values = await self.probe.barrier(item.name, scope, rows, inputs)
        except GeneratorError as error:
            self.listener.barrier_over(item.name, scope, well=False)
            self.listener.failed(item.name, scope, rows, error)
            raise failure_of(error, scope, self.release.errors) from error
        self.listener.barrier_over(item.name, scope, well=True)
        return cast("list[str]", values)


@dataclass
class Generators:
    """A workload's columns, as the scheduler takes them.

    Attributes:
        configs: of the columns, each after those that it needs.
        by_column: the generator of each column that DataDesigner knows.
        strategies: how each is made.
    """

    configs: list[Any]
    by_column: dict[str, Any]
    strategies: dict[str, Any]


def generators_of(calls: Calls) -> Generators:
    """The generators of a workload."""
    classes = _classes(calls.release)
    graph = calls.probe.graph
    made = Generators([], {}, {})
    for item in map(graph.get_column_descriptor, graph.column_names):
        config, kind = _config(calls, item, classes)
        generator = kind(config=config, resource_provider=calls)
        generator.item = item
        generator.limit = _model_of(calls, item)
        made.configs.append(config)
        names = [item.name]
        if isinstance(config, calls.release.parts.multi_config):
            names = list(item.all_produced_columns)
        for name in names:
            made.by_column[name] = generator
            made.strategies[name] = generator.get_generation_strategy()
    return made


def _model_of(calls: Calls, item: ColumnDescriptor) -> tuple[str, int] | None:
    """The resource of a column, and its limit."""
    limits = calls.probe.work.limits
    name = limits.column_resource.get(item.name)
    return None if name is None or name == LOCAL else (name, limits.resources[name])


LOCAL: Final = "local"
"""The resource of tasks that call no model, where these have a limit of their own."""


def _config(calls: Calls, item: ColumnDescriptor, classes: Any) -> tuple[Any, type]:
    """The config of a column, and the class of its generator."""
    rules = calls.probe.graph.rules
    rule = rules.columns[rules.index[item.name]]
    from_scratch = rule.is_barrier and item.is_start_column and not item.dependencies
    if from_scratch and item.side_effects:
        singles = [
            classes.column(name=name, needs=[], more=[]) for name in item.all_produced_columns
        ]
        return classes.columns(columns=singles), classes.scratch_columns
    fields: dict[str, Any] = {
        "name": item.name,
        "needs": list(item.dependencies),
        "more": list(item.side_effects),
    }
    if "skips" in calls.release.features:
        fields["propagate_skip"] = item.propagate_skip
        if item.may_skip:
            fields["skip"] = classes.skip(when="{{ " + mark_of(item.name) + " }}")
    kind = classes.scratch if from_scratch else classes.full if rule.is_barrier else classes.cell
    return classes.column(**fields), kind


@cache
def _classes(release: Release) -> Any:
    """Classes of configs and generators; they are made of those of the release."""
    parts = release.parts

    class Column(parts.single_config):  # type: ignore[misc, name-defined]
        column_type: Literal["cellspec"] = "cellspec"
        needs: list[str]
        more: list[str]

        @property
        def required_columns(self) -> list[str]:
            return self.needs

        @property
        def side_effect_columns(self) -> list[str]:
            return self.more

        @staticmethod
        def get_column_emoji() -> str:
            return ""

    class Columns(parts.multi_config):  # type: ignore[misc, name-defined]
        pass

    class Mock:
        item: ColumnDescriptor
        limit: tuple[str, int] | None

        @property
        def is_llm_bound(self) -> bool:
            return self.limit is not None

        def get_scheduling_metadata(self) -> Any:
            if self.limit is None:
                return parts.scheduling.local()
            name, limit = self.limit
            return parts.scheduling.model("cellspec", name, "chat", weight=limit)

    class Cell(Mock, parts.cell_generator[Column]):  # type: ignore[misc, name-defined]
        def generate(self, data: dict[str, Any]) -> dict[str, Any]:
            raise NotImplementedError

        async def agenerate(self, data: dict[str, Any]) -> dict[str, Any]:
            return await self.resource_provider.cell(self.item, data)  # type: ignore[no-any-return]

    class Full(Mock, parts.full_generator[Column]):  # type: ignore[misc, name-defined]
        def generate(self, data: Any) -> Any:
            raise NotImplementedError

        async def agenerate(self, data: Any) -> Any:
            return await self.resource_provider.full(self.item, data)

    scratch_of = _scratch_of(parts, Mock)
    return SimpleNamespace(
        column=Column,
        columns=Columns,
        skip=None if parts.skip_config is None else _skip_class(parts.skip_config),
        cell=Cell,
        full=Full,
        scratch=scratch_of(Column),
        scratch_columns=scratch_of(Columns),
    )


def _scratch_of(parts: Any, mock: type) -> Callable[[type], type]:
    """Makes the class of generators from scratch for a class of configs."""

    def made(config: type) -> type:
        class Scratch(mock, parts.scratch_generator[config]):  # type: ignore[misc]
            @property
            def is_order_dependent(self) -> bool:
                rules = self.resource_provider.probe.graph.rules
                ordered: bool = rules.columns[rules.index[self.item.name]].ordered
                return ordered

            @staticmethod
            def get_generation_strategy() -> Any:
                return parts.strategy.FULL_COLUMN

            def generate_from_scratch(self, num_records: int) -> Any:
                raise NotImplementedError

            async def agenerate_from_scratch(self, num_records: int) -> Any:
                return await self.resource_provider.from_scratch(self.item, num_records)

            async def agenerate(self, data: Any) -> Any:
                return await self.resource_provider.full(self.item, data)

        return Scratch

    return made


def _skip_class(skip_config: Any) -> Any:
    class Skip(skip_config):  # type: ignore[misc]
        @property
        def columns(self) -> list[str]:
            """The mark comes with the row: no column has to be made first."""
            return []

    return Skip
