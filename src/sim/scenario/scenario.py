"""Scenario files: one simulated run, described in YAML and checked before anything runs.

A scenario says *what* is generated (columns, or a DataDesigner pipeline; rows; batches), *how
long* each column takes (`sim.scenario.latency`), *what may run at once* (limits), and what happens
on the way (policy, checkpoints, crashes). A small one::

    name: two-columns
    rows: 1000
    columns:
      - {name: topic, traits: [START, ROW_STREAMABLE]}
      - name: answer
        traits: [CELL_BY_CELL]
        dependencies: [topic]
        resource: endpoint
        latency: {model: lognormal, median_s: 2.0, p99_s: 9.0}
    limits: {workers: 64, resources: {endpoint: 4}}

`sim.scenario.loader` reads such a file; `sim.scenario.schema` gives the JSON Schema for editors.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field, PrivateAttr, ValidationInfo, model_validator

from cellspec.errors import GraphError, SpecError
from cellspec.graph.columns import ColumnDescriptor
from cellspec.graph.graph import BarrierScope, ExecutionGraph
from cellspec.machine.limits import FailurePolicy, Limits, check_limits
from sim.scenario.distributions import LatencyModel
from sim.scenario.messages import listed_names
from sim.scenario.records import (
    CheckpointSpec,
    ColumnSpec,
    Crash,
    FailureRates,
    FailuresSpec,
    LimitsSpec,
    Name,
    Pipeline,
    Positive,
    exactly_one,
    one_of_schema,
)
from sim.scenario.sampler import ColumnLatency, LatencySource
from sim.scenario.strict import Seconds, StrictModel, field_error
from sim.scenario.yaml_text import dump_yaml
from sim.simulator.queues import Policy

if TYPE_CHECKING:
    from cellspec.build.datadesigner import PipelineColumn

__all__ = ["Scenario"]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a scenario comes to: whichever way it names its columns."""

    graph: ExecutionGraph
    columns: tuple[ColumnLatency, ...]
    column_resource: dict[str, str]
    resource_limits: dict[str, int]
    conditions: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Source:
    """Columns as a scenario gives them, from either place.

    Attributes:
        conditions: by column, what a pipeline skips its cells by.
    """

    descriptors: list[ColumnDescriptor]
    latencies: dict[str, tuple[LatencyModel, float]]
    column_resource: dict[str, str]
    limits: dict[str, int]
    conditions: dict[str, str]


class Scenario(StrictModel):
    """One run to simulate. A scenario that exists is valid: its graph is built, its traces read."""

    model_config = ConfigDict(json_schema_extra=one_of_schema("columns", "pipeline"))

    name: Name
    description: str = ""
    source: str = Field("", description="where its facts and numbers come from")
    rows: Positive = Field(description="rows of the dataset")
    seed: int = Field(0, ge=0, description="decides every latency and every random choice")
    batch_size: Positive | None = Field(None, description="rows of one batch")
    barrier_scope: BarrierScope = Field(
        "declared", description="declared: as each column's traits say; batch: all wait for a batch"
    )
    columns: Annotated[tuple[ColumnSpec, ...], Field(strict=False, min_length=1)] | None = None
    pipeline: Pipeline | None = Field(None, description="instead of columns")
    limits: LimitsSpec
    policy: Policy = Field("fifo", description="which of the nodes that could start starts next")
    checkpoint: CheckpointSpec | None = Field(None, description="none: a crash loses all")
    crashes: Annotated[tuple[Crash, ...], Field(strict=False)] = ()
    restart_delay_s: Seconds = Field(0.0, description="seconds from a crash to the resume")
    failures: FailuresSpec | None = Field(None, description="none: every call ends well")

    _plan: _Plan = PrivateAttr()
    _folder: Path = PrivateAttr(default_factory=Path)

    @model_validator(mode="after")
    def _build(self, info: ValidationInfo) -> Self:
        self._folder = (info.context or {}).get("folder", Path())
        source_field = exactly_one(self, ("columns", "pipeline"))
        source = self._from_columns() if self.pipeline is None else self._from_pipeline()
        try:
            graph = ExecutionGraph(
                self.rows,
                source.descriptors,
                batch_size=self.batch_size,
                barrier_scope=self.barrier_scope,
            )
        except GraphError as error:
            raise field_error(source_field, str(error)) from None
        rules = graph.rules.columns
        columns = tuple(
            ColumnLatency(rule.name, *source.latencies[rule.name], rule.scope_rows)
            for rule in rules
        )
        for item in columns:
            if item.per_row_s and not item.scope_rows:
                path = self._per_row_path(item.name)
                raise field_error(path, f"column {item.name!r} is no barrier, and reads no rows")
        self._plan = _Plan(graph, columns, source.column_resource, source.limits, source.conditions)
        for name in self.limits.measured_at:
            if name not in source.limits:
                text = (
                    f"no such resource has a limit; those with one: {listed_names(source.limits)}"
                )
                raise field_error(f"limits.measured_at.{name}", text)
        self._check_groups(graph)
        self._check_failures(graph)
        return self

    def _check_groups(self, graph: ExecutionGraph) -> None:
        try:
            check_limits(self.run_limits(), graph.rules)
        except SpecError as error:
            raise field_error("limits.row_groups.admitted", str(error)) from None

    def _check_failures(self, graph: ExecutionGraph) -> None:
        for position, item in enumerate(self.columns or ()):
            rule = graph.rules.columns[graph.rules.index[item.name]]
            if item.range_rows > 1 and not rule.streamable:
                text = f"column {item.name!r} is not ROW_STREAMABLE: one call makes one cell"
                raise field_error(f"columns[{position}].range_rows", text)
        if self.failures is None:
            for latency in self._plan.columns:
                if latency.latency.fails:
                    text = (
                        f"is missing; column {latency.name!r} replays requests that failed, and "
                        "failures says how often a call is tried and how long it rests"
                    )
                    raise field_error("failures", text)
            return
        resources = sorted(set(self.column_resource.values()))
        for path, given, known in (
            ("by_resource", self.failures.by_resource, resources),
            ("by_column", self.failures.by_column, graph.column_names),
        ):
            for name in given:
                if name not in known:
                    text = f"the scenario has no such name; it has: {listed_names(known)}"
                    raise field_error(f"failures.{path}.{name}", text)

    def _per_row_path(self, column: str) -> str:
        for position, item in enumerate(self.columns or ()):
            if item.name == column:
                return f"columns[{position}].latency_per_row_s"
        return f"pipeline.latency.per_row_s_by_column.{column}"

    def _from_columns(self) -> _Source:
        specs = self.columns or ()
        for position, item in enumerate(specs):
            if item.resource is not None and item.resource not in self.limits.resources:
                known = listed_names(self.limits.resources)
                raise field_error(
                    f"columns[{position}].resource",
                    f"{item.resource!r} has no limit in limits.resources; those with one: {known}",
                )
        descriptors = []
        for position, item in enumerate(specs):
            try:
                descriptors.append(item.descriptor())
            except GraphError as error:
                raise field_error(f"columns[{position}]", str(error)) from None
        return _Source(
            descriptors,
            {item.name: (item.latency, item.latency_per_row_s) for item in specs},
            {item.name: item.resource for item in specs if item.resource is not None},
            dict(self.limits.resources),
            {},
        )

    def _from_pipeline(self) -> _Source:
        assert self.pipeline is not None
        from cellspec.build.datadesigner import load_pipeline

        try:
            loaded = load_pipeline(self._folder / self.pipeline.datadesigner)
        except SpecError as error:
            raise field_error("pipeline.datadesigner", str(error)) from None
        resource = {item.name: item.resource for item in loaded.columns if item.resource}
        names = [item.name for item in loaded.columns]
        rules = self.pipeline.latency
        for path, given, known in (
            ("by_resource", rules.by_resource, sorted(set(resource.values()))),
            ("by_column", rules.by_column, names),
            ("per_row_s_by_column", rules.per_row_s_by_column, names),
        ):
            for name in given:
                if name not in known:
                    text = f"the pipeline has no such name; it has: {listed_names(known)}"
                    raise field_error(f"pipeline.latency.{path}.{name}", text)
        latencies: dict[str, tuple[LatencyModel, float]] = {}
        for name in names:
            general = rules.by_resource.get(resource.get(name, ""), rules.default)
            model = rules.by_column.get(name, general)
            latencies[name] = (model, rules.per_row_s_by_column.get(name, 0.0))
        limits = {**loaded.limits, **self.limits.resources}
        missing = sorted(set(resource.values()) - set(limits))
        if missing:
            text = f"the pipeline uses {listed_names(missing)} without a limit; give one here"
            raise field_error("limits.resources", text)
        conditions = {item.name: item.skip_when for item in loaded.columns if item.skip_when}
        rates = self.pipeline.skip_rates
        for name in rates:
            if name not in conditions:
                text = f"no such column has a condition; those with one: {listed_names(conditions)}"
                raise field_error(f"pipeline.skip_rates.{name}", text)
        descriptors = loaded.descriptors
        if rates:
            descriptors = [
                _skipping(item, rates.get(item.name, 0.0) > 0) for item in loaded.columns
            ]
        return _Source(descriptors, latencies, resource, limits, conditions)

    # What a simulator asks

    @property
    def conditions(self) -> Mapping[str, str]:
        """By column of a pipeline: the condition (``skip.when``) that skips its cells."""
        return self._plan.conditions

    def graph(self) -> ExecutionGraph:
        """The execution graph of the scenario's columns and rows; immutable, always the same."""
        return self._plan.graph

    def latencies(self) -> tuple[ColumnLatency, ...]:
        """How long each column takes, in the graph's order of columns."""
        return self._plan.columns

    def latency_source(
        self, *, seed: int | None = None, blocks_per_column: int | None = 8
    ) -> LatencySource:
        """The latencies of a run of this scenario, by the graph's column index.

        Args:
            seed: another seed than the scenario's, for one of several replications.
            blocks_per_column: see `LatencySource`; None where rows are visited at random.
        """
        return LatencySource(
            self.seed if seed is None else seed,
            self.latencies(),
            self.rows,
            blocks_per_column=blocks_per_column,
        )

    @property
    def column_resource(self) -> Mapping[str, str]:
        """The resource of each column that takes one."""
        return self._plan.column_resource

    @property
    def resource_limits(self) -> Mapping[str, int]:
        """How many nodes may use each resource at once, the pipeline's own limits included."""
        return self._plan.resource_limits

    def run_limits(self) -> Limits:
        """What may run at once."""
        groups = self.limits.row_groups
        return Limits(
            workers=self.limits.workers,
            resources=self.resource_limits,
            column_resource=self.column_resource,
            group_rows=None if groups is None else groups.rows,
            groups=None if groups is None else groups.admitted,
        )

    def failure_policy(self) -> FailurePolicy | None:
        """What the run does about failures; None if there are none."""
        failures = self.failures
        if failures is None:
            return None
        stop = failures.early_stop
        return FailurePolicy(
            max_attempts=failures.max_attempts,
            stop_window=None if stop is None else stop.window,
            stop_rate=1.0 if stop is None else stop.rate,
        )

    def failure_rates(self, column: str) -> FailureRates:
        """How often calls of a column fail."""
        failures = self.failures or FailuresSpec()
        general = failures.by_resource.get(self.column_resource.get(column, ""), failures.default)
        return failures.by_column.get(column, general)

    def skip_rates(self) -> dict[str, float]:
        """The share of cells that each column's own condition skips."""
        if self.pipeline is not None:
            return dict(self.pipeline.skip_rates)
        return {item.name: item.skip_rate for item in self.columns or ()}

    def range_rows(self) -> dict[str, int]:
        """How many rows one call makes, for columns where that is more than one."""
        return {item.name: item.range_rows for item in self.columns or () if item.range_rows > 1}

    @property
    def is_plain(self) -> bool:
        """True if every call makes one cell and ends well, no cell is skipped, no row waits."""
        return (
            self.failures is None
            and self.limits.row_groups is None
            and not self.range_rows()
            and not any(self.skip_rates().values())
        )

    # What a run writes down

    def files(self) -> dict[str, Path]:
        """Every file that the scenario reads beside its own: its name as given, and where it is."""
        data = self.model_dump(by_alias=True)
        return {mapping[key]: self._folder / mapping[key] for mapping, key in _file_fields(data)}

    def digest(self) -> str:
        """A digest of what decides a run: every field, and the content of each file, not its place.

        Raises:
            SpecError: a file can no longer be read.
        """
        data = self.model_dump(by_alias=True, exclude={"name", "description", "source"})
        _leave_out_unused(data)
        for mapping, key in _file_fields(data):
            try:
                content = (self._folder / mapping[key]).read_bytes()
            except OSError as error:
                raise SpecError(f"{mapping[key]!r} cannot be read: {error.strerror}") from None
            mapping[key] = hashlib.blake2b(content, digest_size=16).hexdigest()
        text = json.dumps(data, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def to_yaml(self, folder: Path | None = None) -> str:
        """The scenario as a file that `load_scenario` reads back, overrides and defaults included.

        Args:
            folder: where the file will stand, so that relative paths are written from there; if
                not given, the folder that the scenario came from.
        """
        data = self.model_dump(by_alias=True, exclude_none=True)
        if folder is not None:
            for mapping, key in _file_fields(data):
                path = (self._folder / mapping[key]).resolve()
                mapping[key] = Path(os.path.relpath(path, folder.resolve())).as_posix()
        return dump_yaml(data)


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


def _leave_out_unused(data: dict[str, Any]) -> None:
    """A field that a scenario does not use decides nothing: the digest is as if it were unknown."""
    del data["limits"]["measured_at"]
    if data["pipeline"] is not None and not data["pipeline"]["skip_rates"]:
        del data["pipeline"]["skip_rates"]
    for mapping, _ in _file_fields(data):
        if mapping.get("failed_column", "") is None:
            del mapping["failed_column"], mapping["failed"]
    if data["failures"] is None:
        del data["failures"]
    if data["limits"]["row_groups"] is None:
        del data["limits"]["row_groups"]
    for item in data["columns"] or ():
        for name, default in (("skip_rate", 0.0), ("propagate_skip", True), ("range_rows", 1)):
            if item[name] == default:
                del item[name]


def _file_fields(data: Any) -> list[tuple[dict[str, Any], str]]:
    """Where plain scenario data names a file: the mappings, and their keys."""
    found: list[tuple[dict[str, Any], str]] = []
    if isinstance(data, dict):
        if data.get("model") in ("trace", "tokens"):
            found.append((data, "file"))
        if isinstance(data.get("datadesigner"), str):
            found.append((data, "datadesigner"))
        for value in data.values():
            found.extend(_file_fields(value))
    elif isinstance(data, list | tuple):
        for value in data:
            found.extend(_file_fields(value))
    return found
