"""The parts of a scenario file, as strict records: columns, limits, failures, checkpoints, crashes.

`sim.scenario.scenario.Scenario` is the whole file. Each record checks the fields that it holds;
names that refer to another part of the file are checked when the scenario is put together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    AliasChoices,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from cellspec.errors import GraphError
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from sim.scenario.distributions import Constant, LatencyModel
from sim.scenario.latency import Latency
from sim.scenario.strict import (
    DIVISOR,
    Fault,
    PositiveSeconds,
    Seconds,
    StrictModel,
    faults_error,
    field_error,
)

__all__ = [
    "AcceptSpec",
    "Backoff",
    "CheckpointSpec",
    "ColumnSpec",
    "Crash",
    "EarlyStop",
    "FailureRates",
    "FailuresSpec",
    "LimitsSpec",
    "Name",
    "Pipeline",
    "PipelineLatency",
    "Positive",
    "RandomCrashes",
    "ResourceLimit",
    "RowGroups",
    "Share",
    "Trait",
    "Weight",
    "one_of_schema",
]

Name = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False), DIVISOR]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Names = Annotated[tuple[Name, ...], Field(strict=False)]
Trait: TypeAlias = Literal[
    "START", "CELL_BY_CELL", "ROW_STREAMABLE", "BARRIER", "BATCH_BARRIER", "ORDERED"
]


def one_of_schema(*names: str) -> dict[str, Any]:
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
    resources: dict[Name, Positive] | None = Field(
        None,
        min_length=1,
        description="in place of resource: places that a call takes, by resource; it starts when "
        "all are free, and holds them to its end",
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
    timeout_s: PositiveSeconds | None = Field(
        None, description="of each call of the column; none: as failures.timeout_s says"
    )

    @model_validator(mode="after")
    def _fits_its_traits(self) -> Self:
        faults = []
        try:
            self.descriptor()
        except GraphError as error:
            text = str(error).removeprefix(f"column {self.name!r}: ").removeprefix("traits ")
            faults.append(Fault(("traits",), text))
        is_barrier = {"BARRIER", "BATCH_BARRIER"} & set(self.traits)
        if self.latency_per_row_s and not is_barrier:
            text = "the column is no barrier, and reads no rows"
            faults.append(Fault(("latency_per_row_s",), text))
        if self.range_rows > 1 and (is_barrier or "ROW_STREAMABLE" not in self.traits):
            text = "the column is not ROW_STREAMABLE: one call makes one cell"
            faults.append(Fault(("range_rows",), text))
        if self.resource is not None and self.resources is not None:
            text = "resource is given too, and means one place of it; leave one of the two out"
            faults.append(Fault(("resources",), text))
        if faults:
            raise faults_error(faults)
        return self

    @property
    def takes(self) -> dict[str, int]:
        """By resource that a call takes: how many places."""
        if self.resources is not None:
            return self.resources
        return {} if self.resource is None else {self.resource: 1}

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

    def of(self, column: str, resource: str) -> tuple[LatencyModel, tuple[str, ...]]:
        """The latency of a column that takes a resource ("" for none), and where it stands."""
        if column in self.by_column:
            return self.by_column[column], ("by_column", column)
        if resource in self.by_resource:
            return self.by_resource[resource], ("by_resource", resource)
        return self.default, ("default",)


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


class ResourceLimit(StrictModel):
    """The limits of a resource in the words of clients that are told a rate."""

    max_concurrent: Positive | None = Field(
        None, description="cells and barriers at once; none: as many as there are workers"
    )
    max_requests_per_minute: Positive | None = Field(
        None,
        le=10**15,
        description="calls that its endpoint takes a minute, one after the other; as "
        "endpoints.NAME.limits with per_s: 60 and burst: 1",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.max_concurrent is None and self.max_requests_per_minute is None:
            text = "expected max_concurrent, max_requests_per_minute, or both; got none"
            raise field_error("", text)
        return self


def _kind_of_limit(limit: Any) -> str:
    return "words" if isinstance(limit, Mapping | ResourceLimit) else "calls"


class LimitsSpec(StrictModel):
    """How many calls may be in flight at once."""

    workers: Positive = Field(description="cells and barriers in all")
    resources: dict[
        Name,
        Annotated[
            Annotated[Positive, Tag("calls")] | Annotated[ResourceLimit, Tag("words")],
            Discriminator(_kind_of_limit),
        ],
    ] = Field(
        default_factory=dict,
        description="cells and barriers by resource; for a pipeline, beside its own limits",
    )
    measured_at: dict[Name, Positive] = Field(
        default_factory=dict,
        description="calls in flight at which the latencies of a resource were measured, so that "
        "another limit can be pointed out; decides nothing",
    )
    row_groups: RowGroups | None = Field(None, description="none: rows are not admitted in groups")

    def calls(self, others: Mapping[str, int]) -> dict[str, int]:
        """How many calls may use each resource at once.

        Args:
            others: the limits of a pipeline's own, which those that are stated here go before.
        """
        found = dict(others)
        for name, item in self.resources.items():
            stated = item.max_concurrent if isinstance(item, ResourceLimit) else item
            if stated is not None:
                found[name] = stated
            else:
                found.setdefault(name, self.workers)
        return found

    def requests_per_minute(self) -> dict[str, int]:
        """By resource that says so: how many calls its endpoint takes a minute."""
        return {
            name: item.max_requests_per_minute
            for name, item in self.resources.items()
            if isinstance(item, ResourceLimit) and item.max_requests_per_minute is not None
        }


def _ends(share: float) -> float:
    if share == 1:
        text = "expected less than 1, got 1: where every call is told to wait no run ever ends"
        raise field_error("", text)
    return share


class FailureRates(StrictModel):
    """The share of calls that fail, by kind; for a barrier column, of its runs."""

    retryable: Share = Field(0.0, description="a time-out, a server error: costs an attempt")
    back_pressure: Annotated[Share, AfterValidator(_ends)] = Field(
        0.0, description="429, a full queue: costs time only; less than 1"
    )
    permanent: Share = Field(0.0, description="fails for good: the row is dropped")

    @model_validator(mode="after")
    def _shares(self) -> Self:
        total = self.retryable + self.back_pressure + self.permanent
        if total > 1:
            raise field_error("", f"expected shares that add up to at most 1, got {total:g}")
        return self


class Backoff(StrictModel):
    """The backoff of a node after its n-th failure: first_s × factor ^ (n − 1), at most most_s."""

    first_s: Seconds = Field(1.0, description="after the first failure")
    factor: float = Field(2.0, ge=1, le=100, allow_inf_nan=False)
    most_s: Seconds = Field(60.0, description="at most")
    jitter: Share = Field(
        0.0, description="share by which a backoff may be longer or shorter, drawn"
    )


class EarlyStop(StrictModel):
    """When a run gives up."""

    window: Positive = Field(le=10**15, description="the last so many ended calls are looked at")
    rate: float = Field(
        gt=0, le=1, allow_inf_nan=False, description="share of permanent failures among them"
    )


class FailuresSpec(StrictModel):
    """The failures of calls, how often they come, and the answer to them; the closest rate wins."""

    max_attempts: Positive = Field(3, description="attempts of a node in one incarnation")
    timeout_s: PositiveSeconds | None = Field(
        None,
        description="a call that takes longer ends then, as a retryable failure; none: never; a "
        "column's own timeout_s goes before it",
    )
    default: FailureRates = Field(FailureRates(), description="of all other columns")
    by_resource: dict[Name, FailureRates] = Field(
        default_factory=dict,
        description="of the columns that use a resource; of several, the first that is named here",
    )
    by_column: dict[Name, FailureRates] = Field(default_factory=dict, description="of one column")
    backoff: Backoff = Field(
        Backoff(),
        validation_alias=AliasChoices("backoff", "cool_down"),
        description="between a failure and the next try",
    )
    early_stop: EarlyStop | None = Field(None, description="none: the run never gives up")


class CheckpointSpec(StrictModel):
    """When progress is written down."""

    model_config = ConfigDict(json_schema_extra=one_of_schema("every_rows", "every_s"))
    one_of = ("every_rows", "every_s")

    every_rows: Positive | None = Field(None, description="after so many rows")
    every_s: Annotated[PositiveSeconds, DIVISOR] | None = Field(
        None, description="after so many seconds"
    )
    version: Literal[1, 2, 3] = Field(
        1,
        description="1: finished rows; 2: the first rows of each column; 3: any cells done",
    )
    write_s: Seconds = Field(0.0, description="seconds until a checkpoint is durable")
    blocking: bool = Field(
        False, description="no call starts while a checkpoint is due or is being written"
    )


class AcceptSpec(StrictModel):
    """The run ends when enough rows are accepted."""

    rows: Positive = Field(description="so many are enough")
    rate: Share = Field(
        1.0, description="share of the rows that are accepted, each when its last cell ends"
    )


class RandomCrashes(StrictModel):
    """Crashes at exponentially distributed distances."""

    mean_s: float = Field(
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="mean seconds from the start, or a resume, to the next crash",
    )
    count: Positive | None = Field(
        None, description="at most so many crashes; none: again and again, to the end of the run"
    )


class Crash(StrictModel):
    """One cause of crashes: exactly one of the fields."""

    model_config = ConfigDict(json_schema_extra=one_of_schema("at_event", "at_time_s", "random"))
    one_of = ("at_event", "at_time_s", "random")

    at_event: Positive | None = Field(
        None, description="just after the event with this number, over all incarnations of the run"
    )
    at_time_s: Seconds | None = Field(None, description="seconds since the run began")
    random: RandomCrashes | None = None
