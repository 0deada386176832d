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

`load_scenario` reads such a file, applies overrides (``columns.answer.latency.median_s=3``), and
returns a frozen `Scenario`, or raises one `SpecError` of one line: the file, the field, what was
expected and what was given. Whatever could stop a run later is looked at then: the graph is built,
traces are read, each resource has a limit. Relative paths start from the file's own folder.

YAML is read as version 1.2 reads plain words, so ``no``, ``12:30`` and ``1e-3`` mean a string, a
string and a number; a key given twice is refused, because one of the two would be lost.

`scenario_schema` gives the JSON Schema for editors; ``python -m sim.scenario.scenario`` prints it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

import yaml
from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from cellspec.errors import GraphError, SpecError
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.graph.graph import BarrierScope, ExecutionGraph
from cellspec.machine.actions import FailurePolicy, Limits, check_limits
from cellspec.plain_yaml import PlainLoader
from cellspec.text import counted
from sim.scenario.latency import (
    LATENCY_MODELS,
    ColumnLatency,
    Constant,
    Latency,
    LatencyModel,
    LatencySource,
    Seconds,
    StrictModel,
    field_error,
)
from sim.simulator.queues import Policy

if TYPE_CHECKING:
    from cellspec.build.datadesigner import PipelineColumn

__all__ = [
    "CheckpointSpec",
    "ColumnSpec",
    "Crash",
    "LimitsSpec",
    "Pipeline",
    "PipelineLatency",
    "RandomCrashes",
    "Scenario",
    "load_scenario",
    "scenario_schema",
    "schema_text",
]

Name = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Names = Annotated[tuple[Name, ...], Field(strict=False)]
Trait: TypeAlias = Literal[
    "START", "CELL_BY_CELL", "ROW_STREAMABLE", "BARRIER", "BATCH_BARRIER", "ORDERED"
]


def _exactly_one(model: StrictModel, names: Sequence[str]) -> str:
    """The one field of `names` that has a value.

    Raises:
        PydanticCustomError: none has, or several have.
    """
    given = [name for name in names if getattr(model, name) is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none"
        raise field_error("", f"expected exactly one of {', '.join(names)}, got {got}")
    return given[0]


def _one_of_schema(*names: str) -> dict[str, Any]:
    return {"oneOf": [{"required": [name]} for name in names]}


class ColumnSpec(StrictModel):
    """One column of the table."""

    name: Name
    traits: Annotated[tuple[Trait, ...], Field(strict=False)] = Field(
        (), description="facts about the generator, in the specification's names"
    )
    dependencies: Names = Field((), description="columns, or side effects, needed in the same row")
    side_effects: Names = Field((), description="further names that the column produces")
    resource: Name | None = Field(
        None, description="what each node of the column takes one of, such as a model endpoint"
    )
    latency: Latency = Field(
        Constant(value_s=0.0), description="of one cell; of the barrier for a barrier column"
    )
    latency_per_row_s: Seconds = Field(
        0.0, description="seconds that a barrier takes beside, for each row that it reads"
    )
    skip_rate: Share = Field(
        0.0, description="share of the cells that the column's own condition skips"
    )
    propagate_skip: bool = Field(True, description="a skipped input skips the cell")
    range_rows: Positive = Field(
        1, description="rows that one call makes, for a ROW_STREAMABLE column"
    )

    def descriptor(self) -> ColumnDescriptor:
        """The column as a graph takes it.

        Raises:
            GraphError: traits that exclude each other.
        """
        traits = ExecutionTraits.NONE
        for name in self.traits:
            traits |= ExecutionTraits[name]
        return ColumnDescriptor(
            self.name,
            traits=traits,
            dependencies=self.dependencies,
            side_effects=self.side_effects,
            may_skip=self.skip_rate > 0,
            propagate_skip=self.propagate_skip,
        )


class PipelineLatency(StrictModel):
    """Latencies of a pipeline whose columns come from elsewhere; the closest rule applies."""

    default: Latency = Field(Constant(value_s=0.0), description="of all other columns")
    by_resource: dict[Name, Latency] = Field(
        default_factory=dict, description="of the columns that use a resource (a model alias)"
    )
    by_column: dict[Name, Latency] = Field(default_factory=dict, description="of one column")
    per_row_s_by_column: dict[Name, Seconds] = Field(
        default_factory=dict,
        description="seconds that a barrier takes beside, for each row that it reads",
    )


class Pipeline(StrictModel):
    """Columns taken from a DataDesigner configuration."""

    datadesigner: Name = Field(
        description="a configuration in YAML, as DataDesigner writes it; relative to the "
        "scenario's folder"
    )
    latency: PipelineLatency = Field(default_factory=PipelineLatency)
    skip_rates: dict[Name, Share] = Field(
        default_factory=dict,
        description="share of the cells that a column's condition (skip.when) skips, by column; "
        "what a condition says of a row is not known here, so without a rate it skips none",
    )


class RowGroups(StrictModel):
    """Rows that are admitted in groups."""

    rows: Positive = Field(description="of one group; the last may be shorter")
    admitted: Positive | None = Field(None, description="groups at once; none: no limit")


class LimitsSpec(StrictModel):
    """What may be in flight at once."""

    workers: Positive = Field(description="cells and barriers in all")
    resources: dict[Name, Positive] = Field(
        default_factory=dict,
        description="cells and barriers by resource; for a pipeline, beside its own limits",
    )
    measured_at: dict[Name, Positive] = Field(
        default_factory=dict,
        description="calls in flight at which the latencies of a resource were measured, so that "
        "another limit can be pointed out; decides nothing",
    )
    row_groups: RowGroups | None = Field(None, description="none: rows are not admitted in groups")


class FailureRates(StrictModel):
    """The share of calls that fail, by kind; for a barrier column, of its runs."""

    retryable: Share = Field(0.0, description="a time-out, a server error: costs an attempt")
    back_pressure: Share = Field(0.0, description="429, a full queue: costs time only; less than 1")
    permanent: Share = Field(0.0, description="fails for good: the row is dropped")

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.back_pressure == 1:
            text = "expected less than 1, got 1: where every call is told to wait no run ever ends"
            raise field_error("back_pressure", text)
        total = self.retryable + self.back_pressure + self.permanent
        if total > 1:
            raise field_error("", f"expected shares that add up to at most 1, got {total:g}")
        return self


class CoolDown(StrictModel):
    """How long a node rests after its n-th failure: first_s × factor ^ (n − 1), at most most_s."""

    first_s: Seconds = Field(1.0, description="after the first failure")
    factor: float = Field(2.0, ge=1, le=100, allow_inf_nan=False)
    most_s: Seconds = Field(60.0, description="at most")
    jitter: Share = Field(0.0, description="share by which a rest may be longer or shorter, drawn")


class EarlyStop(StrictModel):
    """When a run gives up."""

    window: Positive = Field(description="the last so many ended calls are looked at")
    rate: float = Field(
        gt=0, le=1, allow_inf_nan=False, description="share of permanent failures among them"
    )


class FailuresSpec(StrictModel):
    """What goes wrong, how often, and what is done about it; the closest rate applies."""

    max_attempts: Positive = Field(3, description="attempts of a node in one life")
    default: FailureRates = Field(FailureRates(), description="of all other columns")
    by_resource: dict[Name, FailureRates] = Field(
        default_factory=dict, description="of the columns that use a resource"
    )
    by_column: dict[Name, FailureRates] = Field(default_factory=dict, description="of one column")
    cool_down: CoolDown = Field(CoolDown(), description="between a failure and the next try")
    early_stop: EarlyStop | None = Field(None, description="none: the run never gives up")


class CheckpointSpec(StrictModel):
    """When progress is written down."""

    model_config = ConfigDict(json_schema_extra=_one_of_schema("every_rows", "every_s"))

    every_rows: Positive | None = Field(None, description="after so many rows")
    every_s: float | None = Field(
        None, gt=0, le=1e9, allow_inf_nan=False, description="after so many seconds"
    )
    version: Literal[1, 2] = Field(
        1, description="1: finished rows; 2: finished rows, and the rows of each column"
    )
    write_s: Seconds = Field(0.0, description="seconds until a checkpoint is durable")

    @model_validator(mode="after")
    def _one_interval(self) -> Self:
        _exactly_one(self, ("every_rows", "every_s"))
        return self


class RandomCrashes(StrictModel):
    """Crashes at exponentially distributed distances."""

    mean_s: float = Field(
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="mean seconds from one crash, or the start, to the next",
    )
    count: Positive = Field(1, description="at most so many crashes")


class Crash(StrictModel):
    """One cause of crashes: exactly one of the fields."""

    model_config = ConfigDict(json_schema_extra=_one_of_schema("at_event", "at_time_s", "random"))

    at_event: Positive | None = Field(
        None, description="just after the event with this number, over all lives of the run"
    )
    at_time_s: Seconds | None = Field(None, description="seconds since the run began")
    random: RandomCrashes | None = None

    @model_validator(mode="after")
    def _one_cause(self) -> Self:
        _exactly_one(self, ("at_event", "at_time_s", "random"))
        return self


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

    model_config = ConfigDict(json_schema_extra=_one_of_schema("columns", "pipeline"))

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
        source_field = _exactly_one(self, ("columns", "pipeline"))
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
                text = f"no such resource has a limit; those with one: {_listed(source.limits)}"
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
                    text = f"the scenario has no such name; it has: {_listed(known)}"
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
                known = _listed(self.limits.resources)
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
                    text = f"the pipeline has no such name; it has: {_listed(known)}"
                    raise field_error(f"pipeline.latency.{path}.{name}", text)
        latencies: dict[str, tuple[LatencyModel, float]] = {}
        for name in names:
            general = rules.by_resource.get(resource.get(name, ""), rules.default)
            model = rules.by_column.get(name, general)
            latencies[name] = (model, rules.per_row_s_by_column.get(name, 0.0))
        limits = {**loaded.limits, **self.limits.resources}
        missing = sorted(set(resource.values()) - set(limits))
        if missing:
            text = f"the pipeline uses {_listed(missing)} without a limit; give one here"
            raise field_error("limits.resources", text)
        conditions = {item.name: item.skip_when for item in loaded.columns if item.skip_when}
        rates = self.pipeline.skip_rates
        for name in rates:
            if name not in conditions:
                text = f"no such column has a condition; those with one: {_listed(conditions)}"
                raise field_error(f"pipeline.skip_rates.{name}", text)
        descriptors = loaded.descriptors
        if rates:
            descriptors = [
                _skipping(item, rates.get(item.name, 0.0) > 0) for item in loaded.columns
            ]
        return _Source(descriptors, latencies, resource, limits, conditions)

    # What a simulator asks

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

    # What a person must know

    def remarks(self) -> list[str]:
        """What the scenario says, or leaves out, without an effect that one might expect."""
        found = []
        used = set(self.column_resource.values())
        for name in self.limits.resources:
            if name not in used:
                found.append(f"limits.resources.{name}: no column takes it")
            elif self.resource_limits[name] > self.limits.workers:
                workers = counted(self.limits.workers, "worker")
                found.append(
                    f"limits.resources.{name}: {self.resource_limits[name]} is never reached with "
                    f"{workers}"
                )
        by_text: dict[str, list[str]] = {}
        for item in self._plan.columns:
            if text := item.latency.remark():
                by_text.setdefault(text, []).append(item.name)
        for text, names in by_text.items():
            found.append(f"latency of {_listed(names)}: {text}")
        for name, when in self._plan.conditions.items():
            if name not in self.skip_rates():
                found.append(
                    f"column {name!r} skips cells when {when!r}; none is skipped here unless "
                    f"pipeline.skip_rates.{name} says how many"
                )
        return found

    def load_notes(self) -> list[str]:
        """Of each resource whose limit is not the load at which its latencies were measured.

        Fewer workers than that are the limit.
        """
        found = []
        for name, limit in self.resource_limits.items():
            most = min(limit, self.limits.workers)
            mine = [x for x in self._plan.columns if self.column_resource.get(x.name) == name]
            loads = sorted({load for item in mine for load in item.latency.loads()})
            if name in self.limits.measured_at:
                loads = [self.limits.measured_at[name]]
            if mine and any(load != most for load in loads):
                slower = most > max(loads)
                where = f"at the limit of {limit}"
                if most < limit and not slower:
                    where = f"with {counted(most, 'worker')}"
                at = " and ".join(map(str, loads))
                found.append(
                    f"{name}: latencies were measured at {at} in flight and do not depend on the "
                    f"load; {where} a real endpoint answers "
                    f"{'more slowly' if slower else 'at another speed'}"
                )
        return found

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
        text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
        return text


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


# Reading YAML

MAX_VALUES = 200_000
"""How many values a scenario file may hold, aliases written out."""


class _Loader(PlainLoader):
    """Plain data only, no key twice, and plain words as YAML 1.2 reads them."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Looked for here, before merge keys (<<) are spread: overriding a merged key is no mistake.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="a key must be a plain word or number", problem_mark=key_node.start_mark
                )
            key = self.construct_object(key_node)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes every word that `_Loader`, or a reader of YAML 1.1, would not read as a string."""


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*\.[0-9_]*)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
):
    for _reader in (_Loader, _Dumper):
        _reader.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
        )


def _parse_yaml(text: str) -> Any:
    """Plain data from YAML text.

    Raises:
        SpecError: in one line, where it is not YAML, or a key is given twice.
    """
    try:
        # An alias is one object in several places; an override must change one place.
        return _unshared(yaml.load(text, Loader=_Loader), [MAX_VALUES])
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise SpecError(f"{where}{what}") from None
    except yaml.YAMLError as error:
        raise SpecError(str(error).splitlines()[0]) from None
    except RecursionError:
        raise SpecError("it is nested too deeply") from None


def _unshared(value: Any, budget: list[int]) -> Any:
    """A copy without shared parts.

    Raises:
        SpecError: it has more than `budget` values (a few aliases of aliases can mean billions).
    """
    budget[0] -= 1
    if budget[0] < 0:
        raise SpecError(f"it holds more than {MAX_VALUES} values")
    if isinstance(value, dict):
        return {key: _unshared(item, budget) for key, item in value.items()}
    if isinstance(value, list):
        return [_unshared(item, budget) for item in value]
    return value


# Loading


def load_scenario(path: str | Path, overrides: Mapping[str, str] | None = None) -> Scenario:
    """Read and check a scenario file.

    Args:
        path: the YAML file.
        overrides: dotted paths and YAML values that replace what the file says, such as
            ``{"columns.sql.latency.median_s": "2"}``. An item of a list is named by its position
            or, where items have names, by its name. A mapping that the file leaves out is made; a
            field that no scenario has is refused. A key that holds a dot cannot be named: replace
            the mapping that it is in.

    Raises:
        SpecError: one line that names the file, the field, what was expected and what was given.
        MissingExtraError: the scenario takes a DataDesigner pipeline, and that extra is absent.
    """
    path = Path(path)
    try:
        data = _parse_yaml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: cannot be read: not UTF-8 text, {error.reason}") from None
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise SpecError(f"{path}: expected a mapping of fields, got {_given(data)}")
    changed: dict[str, str] = {}
    for dotted, text in (overrides or {}).items():
        try:
            changed[dotted] = _path(_override(data, dotted, text))
        except SpecError as error:
            raise SpecError(f"{path}: --set {dotted}: {error}") from None
    try:
        return Scenario.model_validate(data, context={"folder": path.parent})
    except ValidationError as error:
        raise SpecError(f"{path}: {_explain(error, data, changed)}") from None


def _override(data: dict[Any, Any], dotted: str, text: str) -> tuple[Any, ...]:
    """Put one value into plain scenario data, and return where it went.

    Raises:
        SpecError: there is no such place, or the text is not YAML.
    """
    value = _parse_yaml(text)
    where: list[Any] = []
    parts = dotted.split(".")
    if not all(parts):
        raise SpecError("expected names with single dots between them")
    here: Any = data
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(here, list):
            part = _item(here, part, _path(where))
        elif not isinstance(here, dict):
            raise SpecError(f"{_path(where)} is {_given(here)}, and has no fields")
        where.append(part)
        if last:
            here[part] = value
        else:
            if isinstance(here, dict) and here.get(part) is None:
                here[part] = {}
            here = here[part]
    return tuple(where)


def _item(items: list[Any], part: str, path: str) -> Any:
    names = [item.get("name") for item in items if isinstance(item, dict)]
    if part in names:
        return next(
            i for i, item in enumerate(items) if isinstance(item, dict) and item.get("name") == part
        )
    if part.isascii() and part.isdigit() and int(part) < len(items):
        return int(part)
    known = [name for name in names if isinstance(name, str)]
    listed = f" named {_listed(known)}" if known else ""
    raise SpecError(f"{path} has no item {part!r}; it has {len(items)}{listed}")


# From pydantic's errors to one line

_TYPES = {
    "int_type": "an integer",
    "float_type": "a number",
    "string_type": "a string",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
    "string_too_short": "a string that is not empty",
    "too_short": "at least one item",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _explain(error: ValidationError, data: Mapping[str, Any], changed: Mapping[str, str]) -> str:
    """The first of pydantic's errors as one line, and how many more there are.

    Args:
        error: what pydantic found.
        data: what it looked at.
        changed: overrides, and the field that each one set.
    """
    errors = error.errors(include_url=False)
    if any(item["type"] != "too_short" for item in errors):
        # A list whose items are refused counts as empty, which nobody who reads the file sees.
        errors = [item for item in errors if item["type"] != "too_short"]
    first = errors[0]
    kind, context = first["type"], first.get("ctx", {})
    where = _resolve(first["loc"], data, missing=kind == "missing")
    path = _path(where)
    given = f", got {_given(first['input'])}"
    if kind == "field":
        path = ".".join(x for x in (path, str(context["path"])) if x)
        text = str(context["message"])
    elif kind == "missing":
        text = "is missing"
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        path += ".model"
        tag = context.get("tag")
        given = f", got {_given(tag)}" if tag is not None else ", got nothing"
        text = f"expected one of: {', '.join(LATENCY_MODELS)}{given}"
    elif kind == "literal_error":
        text = f"expected {context['expected']}{given}"
    elif kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        text = f"expected {words} {context[key]:g}{given}"
    elif kind in _TYPES:
        text = f"expected {_TYPES[kind]}{given}"
    else:
        text = f"{first['msg'].splitlines()[0]}{given}"
    notes = [f"--set {name}" for name, place in changed.items() if _related(place, path)]
    if notes:
        text += f" (with {', '.join(notes)})"
    if len(errors) > 1:
        text += f" (and {len(errors) - 1} more)"
    return f"{path}: {text}" if path else text


def _related(one: str, other: str) -> bool:
    """Whether one field holds the other, or is the other."""
    outer, inner = sorted((one, other), key=len)
    return bool(outer) and inner.startswith(outer) and inner[len(outer) :][:1] in ("", ".", "[")


def _resolve(loc: Sequence[int | str], data: Any, *, missing: bool) -> tuple[Any, ...]:
    """The parts of pydantic's location that stand in the file.

    Pydantic also names what it tried, such as the member of a union; those parts are left out.
    """
    where: list[Any] = []
    here = data
    for depth, part in enumerate(loc):
        if isinstance(here, dict):
            if part in here:
                where.append(part)
                here = here[part]
                continue
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            where.append(part)
            here = here[part]
            continue
        if missing and depth == len(loc) - 1:
            where.append(part)
    return tuple(where)


def _path(where: Sequence[Any]) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) and text else f".{part}"
    return text.removeprefix(".")


def _given(value: Any) -> str:
    """A value as it stands in a YAML file, on one short line."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    if isinstance(value, bool):
        text = text.lower()
    return text if len(text) <= 60 else f"{text[:57]}..."


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names) or "none"


# The schema


def scenario_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file (draft 2020-12)."""
    schema = Scenario.model_json_schema(by_alias=True)
    for part in schema["$defs"].values():
        # In Python a model knows its own name; in a file the name chooses the model.
        if part["properties"].get("model", {}).get("const"):
            part["required"] = ["model", *part.get("required", [])]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """The JSON Schema as the text of ``simulations/scenario.schema.json``."""
    return json.dumps(scenario_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Print the schema; an exit code of `cellspec.exit_codes`."""
    from cellspec.exit_codes import FINE, put, run_command

    def command() -> int:
        put(schema_text())
        return FINE

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
