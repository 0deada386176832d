"""From a scenario's records to the graph, the latencies, the resources and the limits of its run.

The columns come from the scenario itself, or from a DataDesigner pipeline. Every fault is
collected, so that one reading of a file reports them all.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from cellspec.errors import GraphError, SpecError
from cellspec.graph.columns import ColumnDescriptor
from cellspec.graph.graph import BarrierScope, ExecutionGraph
from cellspec.machine.limits import Limits, check_limits
from cellspec.text import closest, listed_names
from sim.scenario.distributions import LatencyModel
from sim.scenario.endpoint_faults import Clients, endpoint_faults, token_faults
from sim.scenario.endpoints import EndpointSpec, ResourceOutage, ThrottleSpec
from sim.scenario.graph_faults import graph_faults
from sim.scenario.places import place_faults
from sim.scenario.records import ColumnSpec, LimitsSpec, Pipeline, Positive
from sim.scenario.references import Names, reference_faults, unknown_keys
from sim.scenario.row_faults import row_faults
from sim.scenario.sampler import ColumnLatency
from sim.scenario.strict import Fault

if TYPE_CHECKING:
    from cellspec.build.datadesigner import Pipeline as LoadedPipeline
    from cellspec.build.datadesigner import PipelineColumn

__all__ = ["Parts", "Resolved", "Source", "clients_of", "readable_parts", "resolve"]


class Parts(NamedTuple):
    """The parts of a scenario that its columns depend on; None for a part that is malformed.

    An item that is malformed, of columns, endpoints and so on, is None among the others.
    """

    rows: int | None
    batch_size: int | None
    barrier_scope: BarrierScope | None
    columns: Sequence[ColumnSpec | None] | None
    pipeline: Pipeline | None
    limits: LimitsSpec | None
    endpoints: Mapping[str, EndpointSpec | None] | None
    throttle: Mapping[str, ThrottleSpec | None] | None
    outages: Sequence[ResourceOutage | None]


@dataclass(frozen=True, slots=True)
class Source:
    """Columns as a scenario gives them, from either place.

    Attributes:
        field: the scenario's field that gives them.
        latencies: by column, the model and the further seconds for each row that a barrier reads.
        column_resource: by column that takes one, its resource; of several the one that has an
            endpoint or a throttle, or else the first.
        column_places: by column whose calls take several places, how many of each resource.
        limits: by resource.
        conditions: by column, the condition that a pipeline skips its cells by.
        places: by column, where the file gives its latency.
    """

    field: str
    descriptors: list[ColumnDescriptor]
    latencies: dict[str, tuple[LatencyModel, float]]
    column_resource: dict[str, str]
    limits: dict[str, int]
    conditions: dict[str, str]
    places: dict[str, tuple[int | str, ...]]
    column_places: dict[str, dict[str, int]]

    def columns(self, graph: ExecutionGraph) -> tuple[ColumnLatency, ...]:
        """How long each column takes, in the graph's order of columns."""
        return tuple(
            ColumnLatency(rule.name, *self.latencies[rule.name], rule.scope_rows)
            for rule in graph.rules.columns
        )


@dataclass(frozen=True, slots=True)
class Resolved:
    """The graph of a scenario, and how long each of its columns takes, in the graph's order."""

    graph: ExecutionGraph
    columns: tuple[ColumnLatency, ...]
    source: Source


def readable_parts(data: Mapping[str, Any], context: Any) -> Parts:
    """The well-formed parts of plain data."""

    def read(kind: Any, value: Any) -> Any:
        try:
            return TypeAdapter(kind).validate_python(value, context=context)
        except ValidationError:
            return None

    def read_all(kind: Any, field: str) -> dict[str, Any] | None:
        given = data.get(field, {})
        misspelt = field not in data and any(closest(key, [field]) for key in data)
        if misspelt or not isinstance(given, Mapping):
            return None
        return {name: read(kind, item) for name, item in given.items() if isinstance(name, str)}

    outages = data.get("outages")
    columns = data.get("columns")
    items = [read(ColumnSpec, item) for item in columns] if isinstance(columns, list) else []
    size = data.get("batch_size")
    misspelt = any(closest(key, ["batch_size"]) for key in data if key != "batch_size")
    return Parts(
        # Any number of rows shows what is wrong with the columns.
        read(Positive, data.get("rows")) or 1,
        # A size that is malformed is given all the same.
        read(Positive, size) or (1 if misspelt or size is not None else None),
        read(BarrierScope, data.get("barrier_scope", "declared")),
        items or None,
        read(Pipeline, data.get("pipeline")),
        read(LimitsSpec, data.get("limits")),
        read_all(EndpointSpec, "endpoints"),
        read_all(ThrottleSpec, "throttle"),
        [read(ResourceOutage, item) for item in outages] if isinstance(outages, list) else [],
    )


def resolve(
    data: Mapping[str, Any], parts: Parts, folder: Path, faults: list[Fault]
) -> Resolved | None:
    """Put a scenario together, as far as its parts allow.

    Args:
        data: the scenario as plain data, for the names in it.
        parts: the records.
        folder: where the files of the scenario are looked for.
        faults: receives all that does not fit.

    Returns:
        None if the columns or names do not fit.

    Raises:
        MissingExtraError: the scenario takes a DataDesigner pipeline, and that extra is absent.
    """
    source = loaded = None
    if parts.pipeline is not None:
        loaded = _load_pipeline(folder, parts.pipeline.datadesigner, faults)
    if loaded is None:
        names = Names.of(data, None, None)
    else:
        taken = {item.name: item.resource for item in loaded.columns}
        names = Names.of(data, taken, loaded.limits)
    if parts.pipeline is not None:
        if parts.limits is not None and loaded is not None:
            source = _source_of_pipeline(parts.pipeline, loaded, parts.limits, faults)
    elif parts.columns is not None:
        source = _source_of_columns(parts.columns, parts.limits, _behind(parts))
    faults += reference_faults(data, names)
    if parts.columns is not None and parts.limits is not None:
        faults += place_faults(parts.columns, parts.limits.calls({}), _behind(parts))
    if source is None:
        return None
    graph = _build_graph(source, parts, faults)
    fits = not faults
    if graph is not None and parts.limits is not None and parts.barrier_scope is not None:
        _check_groups(graph, parts.limits, faults)
    if graph is not None and parts.limits is not None:
        clients = clients_of(graph, source, parts.limits)
        faults += endpoint_faults(parts.endpoints, parts.outages, clients)
    if graph is None or not fits:
        return None
    ranged = [item.name for item in parts.columns or () if item is not None and item.range_rows > 1]
    if None not in (parts.columns or ()):
        # Sums of tokens name other columns, and one that is malformed is not missing too.
        faults += row_faults(graph.rules, source.latencies, source.places, ranged)
        if not faults and parts.limits is not None:
            faults += token_faults(parts.endpoints, clients_of(graph, source, parts.limits))
    return Resolved(graph, source.columns(graph), source)


def _behind(parts: Parts) -> set[str]:
    """The resources whose calls go through an endpoint or a throttle."""
    outages = [item.resource for item in parts.outages if item is not None]
    rates = () if parts.limits is None else parts.limits.requests_per_minute()
    return {*(parts.endpoints or ()), *(parts.throttle or ()), *outages, *rates}


def _source_of_columns(
    columns: Sequence[ColumnSpec | None], limits: LimitsSpec | None, behind: Container[str]
) -> Source:
    """The columns that a scenario lists itself, as far as they are well-formed.

    Args:
        columns, limits: of the scenario.
        behind: the resources whose calls go through an endpoint or a throttle.
    """
    places = {item.name: place for place, item in enumerate(columns) if item is not None}
    known = [item for item in columns if item is not None]
    return Source(
        "columns",
        [item.descriptor() for item in known],
        {item.name: (item.latency, item.latency_per_row_s) for item in known},
        {
            item.name: next((name for name in item.takes if name in behind), next(iter(item.takes)))
            for item in known
            if item.takes
        },
        {} if limits is None else limits.calls({}),
        {},
        {name: ("columns", place, "latency") for name, place in places.items()},
        {item.name: item.takes for item in known if sum(item.takes.values()) > 1},
    )


def _load_pipeline(folder: Path, file: str, faults: list[Fault]) -> LoadedPipeline | None:
    """The DataDesigner configuration that a scenario names; a fault and None if it cannot be used.

    Raises:
        MissingExtraError: the extra for DataDesigner is absent.
    """
    from cellspec.build import datadesigner

    try:
        return datadesigner.load_pipeline(folder / file)
    except SpecError as error:
        faults.append(Fault(("pipeline", "datadesigner"), str(error)))
        return None


def _source_of_pipeline(
    pipeline: Pipeline, loaded: LoadedPipeline, limits: LimitsSpec, faults: list[Fault]
) -> Source:
    """The columns of a pipeline, with the latencies and rates that the scenario gives them.

    Args:
        pipeline: the scenario's part about it.
        loaded: the configuration.
        limits: of the scenario; they win over those of the configuration.
        faults: receives unknown names, and resources without a limit.
    """
    resource = {item.name: item.resource for item in loaded.columns if item.resource}
    conditions = {item.name: item.skip_when for item in loaded.columns if item.skip_when}
    faults += _unknown_names(pipeline, loaded, resource, conditions)
    names = [item.name for item in loaded.columns]
    rules = pipeline.latency
    latencies: dict[str, tuple[LatencyModel, float]] = {}
    places: dict[str, tuple[int | str, ...]] = {}
    for name in names:
        model, place = rules.of(name, resource.get(name, ""))
        latencies[name] = (model, rules.per_row_s_by_column.get(name, 0.0))
        places[name] = ("pipeline", "latency", *place)
    all_limits = limits.calls(loaded.limits)
    missing = sorted(set(resource.values()) - set(all_limits))
    if missing:
        text = f"the pipeline uses {listed_names(missing)} without a limit; give one here"
        faults.append(Fault(("limits", "resources"), text))
    rates = pipeline.skip_rates
    descriptors = loaded.descriptors
    if rates:
        descriptors = [_skipping(item, rates.get(item.name, 0.0) > 0) for item in loaded.columns]
    return Source("pipeline", descriptors, latencies, resource, all_limits, conditions, places, {})


def _unknown_names(
    pipeline: Pipeline,
    loaded: LoadedPipeline,
    resource: Mapping[str, str],
    conditions: Mapping[str, str],
) -> list[Fault]:
    rules = pipeline.latency
    names = [item.name for item in loaded.columns]
    barriers = [item.name for item in loaded.columns if item.descriptor.is_barrier]
    no_column = "the pipeline has no column {!r}"
    found: list[Fault] = []
    for where, given, known, text in (
        ("by_resource", rules.by_resource, sorted(set(resource.values())), "no column takes {!r}"),
        ("by_column", rules.by_column, names, no_column),
        ("per_row_s_by_column", rules.per_row_s_by_column, names, no_column),
    ):
        path = ("pipeline", "latency", where)
        found += unknown_keys(path, given, known, text, "there are")
    for name, seconds in rules.per_row_s_by_column.items():
        if seconds and name in names and name not in barriers:
            text = "the column is no barrier, and reads no rows"
            found.append(Fault(("pipeline", "latency", "per_row_s_by_column", name), text))
    text = "no column {!r} has a condition"
    found += unknown_keys(
        ("pipeline", "skip_rates"), pipeline.skip_rates, conditions, text, "columns with one"
    )
    return found


def _skipping(column: PipelineColumn, may_skip: bool) -> ColumnDescriptor:
    """The column of a pipeline in which conditions skip cells."""
    known = column.descriptor
    return ColumnDescriptor(
        known.name,
        known.config,
        known.generator_cls,
        known.traits,
        known.dependencies,
        known.side_effects,
        may_skip=may_skip,
        propagate_skip=column.propagate_skip,
    )


def _build_graph(source: Source, parts: Parts, faults: list[Fault]) -> ExecutionGraph | None:
    """The execution graph of a scenario's columns; its faults and None if they form none.

    Unknown names were reported before; they are left out, so that the other faults show.
    """
    if parts.rows is None or not source.descriptors:
        return None
    places = [i for i, item in enumerate(parts.columns or ()) if item is not None]
    whole = source.field != "columns" or len(places) == len(parts.columns or ())
    strict, scope = whole and not faults, parts.barrier_scope or "declared"
    try:
        return ExecutionGraph(
            parts.rows,
            source.descriptors,
            batch_size=parts.batch_size,
            barrier_scope=scope,
            strict=strict,
        )
    except GraphError:
        if source.field != "columns":
            places = list(range(len(source.descriptors)))
        faults += graph_faults(
            source.field,
            list(zip(places, source.descriptors, strict=True)),
            strict=strict,
            batch_size=parts.batch_size,
            barrier_scope=scope,
        )
        return None


def clients_of(graph: ExecutionGraph, source: Source, limits: LimitsSpec) -> Clients:
    """The columns of a scenario, as its endpoints see them."""
    groups = limits.row_groups
    admitted = None if groups is None or groups.admitted is None else groups.rows * groups.admitted
    return Clients(
        graph.rules,
        {name: model for name, (model, _) in source.latencies.items()},
        source.places,
        source.column_resource,
        source.column_places,
        source.limits,
        limits.workers,
        admitted,
    )


def _check_groups(graph: ExecutionGraph, limits: LimitsSpec, faults: list[Fault]) -> None:
    """Report row groups under which a barrier could wait for ever."""
    groups = limits.row_groups
    if groups is None:
        return
    try:
        check_limits(Limits(group_rows=groups.rows, groups=groups.admitted), graph.rules)
    except SpecError as error:
        text = str(error).removeprefix("limits: groups: ")
        faults.append(Fault(("limits", "row_groups", "admitted"), text))
