"""Scenario files: one simulated run, described in YAML and checked before anything runs.

A scenario gives the columns (or a DataDesigner pipeline), rows and batches; the latency of each
column (`sim.scenario.latency`); the limits of calls at once; and policy, checkpoints, crashes and
failures. A small one::

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from cellspec.errors import SpecError
from cellspec.graph.graph import BarrierScope, ExecutionGraph
from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.state.claims import Claim, prefix_of
from sim.endpoints.plan import EndpointPlan, SerialPlan, ThrottlePlan
from sim.policies import Policy
from sim.scenario.accept import accept_faults
from sim.scenario.arrivals import arrival_times
from sim.scenario.beside import COMMON, read_beside, seed_of
from sim.scenario.endpoints import (
    EndpointSpec,
    ResourceOutage,
    SchedulerSpec,
    ThrottleSpec,
    endpoint_plans,
    rate_limits,
)
from sim.scenario.latency import Plain
from sim.scenario.places import share_place_faults
from sim.scenario.records import (
    AcceptSpec,
    CheckpointSpec,
    ColumnSpec,
    Crash,
    FailureRates,
    FailuresSpec,
    LimitsSpec,
    Name,
    Pipeline,
    Positive,
    RowGroups,
    Weight,
    one_of_schema,
)
from sim.scenario.resolve import Parts, Resolved, clients_of, readable_parts, resolve
from sim.scenario.row_effect import RowEffectSpec, effect_faults
from sim.scenario.sampler import ColumnLatency, LatencySource
from sim.scenario.shares import share_faults
from sim.scenario.start_from import read_start
from sim.scenario.strict import Fault, Seconds, StrictModel, faults_error, one_of_faults
from sim.scenario.yaml_text import dump_yaml

__all__ = ["Scenario"]


_SOURCES = ("columns", "pipeline")
"""The fields that give the columns; a scenario has one of them."""


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
    row_effect: RowEffectSpec | None = Field(
        None, description="what the calls of one row have in common; none: nothing"
    )
    limits: LimitsSpec
    policy: Policy = Field("fifo", description="which of the nodes that could start starts next")
    checkpoint: CheckpointSpec | None = Field(None, description="none: a crash loses all")
    crashes: Annotated[tuple[Crash, ...], Field(strict=False)] = ()
    restart_delay_s: Seconds = Field(0.0, description="seconds from a crash to the resume")
    redo: Literal["fresh", "same"] | None = Field(
        None,
        description="after a crash a call that runs again draws its latency, tokens and failures "
        "anew (fresh), or meets the same numbers again (same); none: same",
    )
    failures: FailuresSpec | None = Field(None, description="none: every call ends well")
    endpoints: dict[Name, EndpointSpec] = Field(
        default_factory=dict,
        description="the server behind a resource: its speed, its limits, its weather, its price",
    )
    outages: Annotated[tuple[ResourceOutage, ...], Field(strict=False)] = Field(
        (), description="further outages of endpoints, each with its resource"
    )
    throttle: dict[Name, ThrottleSpec] = Field(
        default_factory=dict,
        description="by resource: the client lowers its limit when it is refused",
    )
    scheduler: SchedulerSpec | None = Field(
        None, description="the scheduler's own time for each start and end; none: none"
    )

    start_from: Any = Field(
        None,
        description="the checkpoint that the run starts from, or the name of a file that holds "
        "it; none: it is the first run",
        json_schema_extra={"type": ["object", "string", "null"]},
    )

    arrivals: Plain | None = Field(
        None, description="the gaps between rows that come; none: all are there at 0 s"
    )
    shares: dict[Name, dict[Name, Weight]] = Field(
        default_factory=dict,
        description="by resource, the weights of its columns: of what could start, the column "
        "furthest below its share does; none: as policy says",
    )
    accept: AcceptSpec | None = Field(None, description="none: every row is wanted")

    beside: Annotated[tuple[Any, ...], Field(strict=False)] = Field(
        (),
        description="further pipelines that run at the same time: each a scenario, whose columns "
        "are served by the endpoints of this one; a seed that one does not state follows from "
        "this file's seed and its name",
    )

    _plan: Resolved = PrivateAttr()
    _start: Claim | None = PrivateAttr(None)
    _beside: tuple[Scenario, ...] = PrivateAttr(())
    _folder: Path = PrivateAttr(default_factory=Path)
    _file_digests: dict[str, str] | None = PrivateAttr(None)

    @model_validator(mode="wrap")
    @classmethod
    def _resolved(
        cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """Check the fields, and then how they fit together, as far as the fields can be read."""
        folder = (info.context or {}).get("folder", Path())
        faults: list[Fault] = []
        try:
            scenario = handler(data)
        except ValidationError as error:
            if isinstance(data, Mapping):
                faults += one_of_faults(_SOURCES, data, cls.model_fields)
                resolve(data, readable_parts(data, info.context), folder, faults)
            raise faults_error(faults, error) from None
        scenario._folder = folder
        scenario._resolve(faults)
        if scenario.beside:
            scenario._beside = scenario._read_beside(faults)
        if faults:
            raise faults_error(faults)
        return scenario

    def _resolve(self, faults: list[Fault]) -> None:
        """Build the graph and all that follows from it, or collect why that cannot be done."""
        given = {name: getattr(self, name) for name in _SOURCES}
        faults += one_of_faults(_SOURCES, given, given)
        if faults:
            return
        parts = Parts(
            self.rows,
            self.batch_size,
            self.barrier_scope,
            self.columns,
            self.pipeline,
            self.limits,
            self.endpoints,
            self.throttle,
            self.outages,
        )
        plan = resolve(self.model_dump(by_alias=True), parts, self._folder, faults)
        if plan is None:
            return
        self._plan = plan
        if self.row_effect is not None:
            models = {item.name: item.latency for item in plan.columns}
            faults += effect_faults(self.row_effect.columns, plan.graph.rules, models)
        if self.start_from is not None:
            version = None if self.checkpoint is None else self.checkpoint.version
            self._start = read_start(self.start_from, self._folder, plan.graph, version, faults)
        if self.arrivals is not None and self.limits.row_groups is not None:
            text = "rows come one by one, and each is a row group; leave limits.row_groups out"
            faults.append(Fault(("arrivals",), text))
        faults += share_faults(self.shares, plan.source.column_resource)
        faults += share_place_faults(self.shares, plan.source.column_places)
        if self.accept is not None:
            faults += accept_faults(self.accept.rows, self.rows, plan.graph)
        if self.failures is None:
            failing = next((item.name for item in plan.columns if item.latency.fails), None)
            late = next((item.name for item in self.columns or () if item.timeout_s), None)
            text = (
                "is missing; column {!r} {}, and failures says how often a call is tried, and "
                "after which backoff"
            )
            if failing is not None:
                what = "replays requests that failed"
                faults.append(Fault(("failures",), text.format(failing, what)))
            elif late is not None:
                faults.append(Fault(("failures",), text.format(late, "has a timeout_s")))

    def _read_beside(self, faults: list[Fault]) -> tuple[Scenario, ...]:
        """The pipelines beside this one."""
        data = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        common = {name: data.get(name, {}) for name in COMMON}
        context = {"folder": self._folder}
        return read_beside(
            self, common, lambda item: Scenario.model_validate(item, context=context), faults
        )

    def with_seed(self, seed: int) -> Scenario:
        """The same scenario with another seed, as ``--seed`` gives it.

        A pipeline beside it that states a seed of its own keeps it.
        """
        copy = self.model_copy(update={"seed": seed})
        copy._beside = tuple(
            one if "seed" in given else one.model_copy(update={"seed": seed_of(seed, one.name)})
            for given, one in zip(self.beside, self._beside, strict=True)
        )
        return copy

    # What a simulator asks

    def pipelines(self) -> tuple[Scenario, ...]:
        """What runs, each as a scenario that stands alone: this pipeline, and those beside it."""
        if not self.beside:
            return (self,)
        taken = set(self.column_resource.values())
        alone = {
            "beside": (),
            "endpoints": {name: one for name, one in self.endpoints.items() if name in taken},
            "outages": tuple(one for one in self.outages if one.resource in taken),
        }
        return self.model_copy(update=alone), *self._beside

    def most_calls(self, resource: str) -> int:
        """No more calls of a resource than this ever run at once, of this pipeline alone."""
        return clients_of(self.graph(), self._plan.source, self.limits).most_calls(resource)

    @property
    def conditions(self) -> Mapping[str, str]:
        """By column of a pipeline: the condition (``skip.when``) that skips its cells."""
        return self._plan.source.conditions

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
        effect, keep = self.row_effect, blocks_per_column
        seed = self.seed if seed is None else seed
        return LatencySource(
            seed,
            [item._replace(token_s=self._token_s(item.name)) for item in self.latencies()],
            self.rows,
            blocks_per_column=keep,
            row_effect=None
            if effect is None
            else effect.of_run(seed, self.graph().rules.index, keep),
        )

    def _token_s(self, column: str) -> tuple[float, float]:
        """The seconds of a token of a prompt, and of an answer, at a column's idle endpoint."""
        endpoint = self.endpoints.get(self.column_resource.get(column, ""))
        if endpoint is None or endpoint.tpot_s is None:
            return 0.0, 0.0
        plan = endpoint.plan("")
        assert plan.speed is not None
        rate = plan.prefill_tokens_per_s
        return 0.0 if rate is None else 1 / rate, plan.speed.unit_s(1)

    @property
    def column_resource(self) -> Mapping[str, str]:
        """The resource of each column that takes one."""
        return self._plan.source.column_resource

    def takes(self, column: str) -> Mapping[str, int]:
        """By resource that a call of a column takes: how many places; empty if it takes none."""
        return self.run_limits().places_of(column)

    @property
    def resource_limits(self) -> Mapping[str, int]:
        """How many nodes may use each resource at once, the pipeline's own limits included."""
        return self._plan.source.limits

    def arrival_times(self) -> Sequence[float]:
        """When each row comes, in seconds; empty if all are there from the start."""
        gaps, done = self.arrivals, min(map(prefix_of, self._start or (0,)))
        return () if gaps is None else arrival_times(gaps, self.seed, self.rows, done)

    @property
    def start_claim(self) -> Claim | None:
        """What the run finds on storage; None if that is nothing."""
        return self._start

    def run_limits(self) -> Limits:
        """The limits of the run."""
        groups = self.limits.row_groups or (RowGroups(rows=1) if self.arrivals else None)
        return Limits(
            workers=self.limits.workers,
            resources=self.resource_limits,
            column_resource=self.column_resource,
            column_places=self._plan.source.column_places,
            group_rows=None if groups is None else groups.rows,
            groups=None if groups is None else groups.admitted,
        )

    def failure_policy(self) -> FailurePolicy | None:
        """How often the run tries a call, and when it gives up; None for a run without failures."""
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
        named = [failures.by_resource.get(name) for name in self.takes(column)]
        general = next((rates for rates in named if rates is not None), failures.default)
        return failures.by_column.get(column, general)

    def timeouts(self) -> dict[str, float]:
        """By column whose calls have one: the seconds after which a call ends as timed out."""
        failures = self.failures
        general = None if failures is None else failures.timeout_s
        own = {item.name: item.timeout_s for item in self.columns or ()}
        names = self.graph().column_names
        found = {name: own.get(name) or general for name in names}
        return {name: seconds for name, seconds in found.items() if seconds is not None}

    def endpoint_plans(self) -> dict[str, EndpointPlan]:
        """By resource that has one: the server behind it."""
        return endpoint_plans(self.endpoints, self.outages, self.limits)

    def endpoints_as_given(self) -> dict[str, dict[str, Any]]:
        """By resource that has an endpoint or a throttle, its words, wherever in the file."""
        found: dict[str, dict[str, Any]] = {name: {} for name in self.endpoint_plans()}
        data = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for name, words in data.get("endpoints", {}).items():
            found[name] |= words
        for words in data.get("outages", ()):
            name = words.pop("resource")
            found[name]["outages"] = [*found[name].get("outages", ()), words]
        for name, limit in rate_limits(self.limits).items():
            words = limit.model_dump(mode="json", exclude_unset=True)
            found[name]["limits"] = [*found[name].get("limits", ()), words]
        for name, words in data.get("throttle", {}).items():
            found.setdefault(name, {})["throttle"] = words
        return found

    def throttle_plans(self) -> dict[str, ThrottlePlan]:
        """By resource that has one: how its client lowers and raises its own limit."""
        limits = self.resource_limits
        return {name: item.plan(limits[name]) for name, item in self.throttle.items()}

    def serial_plan(self) -> SerialPlan | None:
        """The scheduler's own time for each start and end; None if it takes none."""
        return None if self.scheduler is None else self.scheduler.plan()

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
        """True for a scenario without failures, skips, rejected rows, row groups and ranges."""
        return (
            self.failures is None
            and self.accept is None
            and self.arrivals is None
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
        """A digest of all that decides a run: every field, and the content of each file.

        Raises:
            SpecError: a file cannot be read any more.
        """
        data = self.model_dump(by_alias=True, exclude={"name", "description", "source"})
        _leave_out_unused(data)
        for mapping, key in _file_fields(data):
            mapping[key] = self._file_digest(mapping[key])
        text = json.dumps(data, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _file_digest(self, name: str) -> str:
        """The digest of a file's content.

        Raises:
            SpecError: the file cannot be read any more, and its digest was not kept.
        """
        if self._file_digests is not None:
            return self._file_digests[name]
        try:
            content = (self._folder / name).read_bytes()
        except OSError as error:
            raise SpecError(f"{name!r} cannot be read: {error.strerror}") from None
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    def without_files(self) -> Scenario:
        """The same scenario, which reads no file any more: it may run on another machine.

        Raises:
            SpecError: a file cannot be read any more.
        """
        copy = self.model_copy()
        copy._file_digests = {name: self._file_digest(name) for name in self.files()}
        copy._beside = tuple(one.without_files() for one in self._beside)
        return copy

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


def _leave_out_unused(data: dict[str, Any]) -> None:
    """Leave unused fields out of the digest, so that a new field changes no older digest."""
    del data["limits"]["measured_at"]
    if data["pipeline"] is not None and not data["pipeline"]["skip_rates"]:
        del data["pipeline"]["skip_rates"]
    for mapping, _ in _file_fields(data):
        if mapping.get("failed_column", "") is None:
            del mapping["failed_column"], mapping["failed"]
        if mapping.get("from_start") is False:
            del mapping["from_start"]
    for name in ("redo", "row_effect"):
        if data[name] is None:
            del data[name]
    if data["failures"] is None:
        del data["failures"]
    else:
        # The digest of a scenario is older than the name.
        data["failures"]["cool_down"] = data["failures"].pop("backoff")
        if data["failures"]["timeout_s"] is None:
            del data["failures"]["timeout_s"]
    for name in ("endpoints", "outages", "throttle", "scheduler"):
        if not data[name]:
            del data[name]
    for name in ("start_from", "accept", "shares", "arrivals", "beside"):
        if not data[name]:
            del data[name]
    if data["checkpoint"] is not None and not data["checkpoint"]["blocking"]:
        del data["checkpoint"]["blocking"]
    if data["limits"]["row_groups"] is None:
        del data["limits"]["row_groups"]
    for item in data["columns"] or ():
        for name, default in (
            ("resources", None),
            ("skip_rate", 0.0),
            ("propagate_skip", True),
            ("range_rows", 1),
            ("timeout_s", None),
        ):
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
        if isinstance(data.get("start_from"), str):
            found.append((data, "start_from"))
        for value in data.values():
            found.extend(_file_fields(value))
    elif isinstance(data, list | tuple):
        for value in data:
            found.extend(_file_fields(value))
    return found
