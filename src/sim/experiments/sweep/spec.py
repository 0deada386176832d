"""The sweep file: which points of a scenario are run, and how often each.

A small one::

    scenario: text_to_sql          # an example's name, or a path from this file's folder
    set: {rows: 500}               # for every point
    replications: 20               # seeds 0 to 19
    grid:
      limits.resources.nvidia-text: [4, 8, 16]
      policy: [fifo, row-first]

Fields are named as for ``cellspec run --set``. Where a file gives several of grid, random and
ladder, there is a point for each combination.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationError,
    model_validator,
)

from cellspec.errors import FaultsError
from sim.experiments.stopping import FIRST_ROUND, MOST_RUNS, FixedRuns, Precision, Stopping
from sim.scenario.loader import read_document
from sim.scenario.messages import explain, faults_of
from sim.scenario.records import Name, Positive
from sim.scenario.strict import Fault, StrictModel, faults_error
from sim.scenario.words import given_words
from sim.scenario.yaml_text import Document, dump_yaml

__all__ = [
    "MOST_POINTS",
    "LadderSpec",
    "PrecisionSpec",
    "RandomSpec",
    "RangeSpec",
    "SweepSpec",
    "canonical",
    "load_spec",
    "spec_of",
    "sweep_schema",
]

MOST_POINTS = 100_000
"""Points that a sweep may have."""

_OF_RUNS = {
    "seed": "runs of a point have the seeds 0, 1, 2, …; say replications or precision",
}
_OF_NOBODY = ("name", "description", "source")
"""Fields that decide nothing of a run."""

Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Varied: TypeAlias = Annotated[
    Name, Field(json_schema_extra={"not": {"enum": [*_OF_RUNS, *_OF_NOBODY]}})
]
"""A field that points may differ in."""

Values: TypeAlias = Annotated[tuple[Any, ...], Field(strict=False, min_length=1)]


class PrecisionSpec(StrictModel):
    """How narrow the interval of a figure is to be at each point."""

    half_width: float = Field(gt=0, lt=1, description="half of the interval, a share of the mean")
    figure: Name = Field("makespan_s", description="named as by `cellspec run --format csv`")
    most: int = Field(
        MOST_RUNS, ge=FIRST_ROUND, description="runs after which it ends all the same"
    )


class RangeSpec(StrictModel):
    """Numbers to draw from."""

    start: Number = Field(alias="from", description="the least number")
    stop: Number = Field(alias="to", description="the greatest number")
    scale: Literal["linear", "log"] = Field(
        "linear", description="log: as many between 1 and 10 as between 10 and 100"
    )
    whole: bool = Field(False, description="whole numbers alone")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not math.isfinite(self.stop - self.start):
            text = f"expected no more than {sys.float_info.max:.2g} above from ({self.start:g})"
            raise faults_error([Fault(("to",), text)])
        if self.stop <= self.start:
            text = f"expected more than from ({self.start:g}), got {self.stop:g}"
            raise faults_error([Fault(("to",), text)])
        if self.scale == "log" and self.start <= 0:
            text = f"expected more than 0 with scale: log, got {self.start:g}"
            raise faults_error([Fault(("from",), text)])
        if self.whole and not (self.start.is_integer() and self.stop.is_integer()):
            raise faults_error([Fault(("whole",), "expected whole numbers in from and to")])
        return self


def _form(value: Any) -> str:
    return "range" if isinstance(value, Mapping | RangeSpec) else "values"


Drawn: TypeAlias = Annotated[
    Annotated[RangeSpec, Tag("range")] | Annotated[Values, Tag("values")], Discriminator(_form)
]


class RandomSpec(StrictModel):
    """Points with random values; those of one field depend on its name and `seed` alone."""

    points: int = Field(ge=1, le=MOST_POINTS, description="how many are drawn")
    seed: int = Field(0, ge=0, description="decides the draws")
    fields: dict[Varied, Drawn] = Field(
        min_length=1, description="by field: a list to choose from, or a range of numbers"
    )


class LadderSpec(StrictModel):
    """Points with larger and larger values, until a step gains too little."""

    field: Varied = Field(description="of the scenario")
    start: float = Field(1.0, alias="from", gt=0, allow_inf_nan=False, description="the first rung")
    factor: float = Field(2.0, gt=1, le=1000, description="from one rung to the next")
    most: float = Field(gt=0, allow_inf_nan=False, description="no rung is above it")
    whole: bool = Field(True, description="rungs are rounded to whole numbers")
    figure: Name = Field("rows_per_s", description="named as by `cellspec run --format csv`")
    better: Literal["higher", "lower"] = Field("higher", description="which figure is a gain")
    gain: float = Field(
        0.02, ge=0, lt=1, description="a step that gains less than this share is the last one"
    )

    @model_validator(mode="after")
    def _climbs(self) -> Self:
        if self.most < self.start:
            text = f"expected at least from ({self.start:g}), got {self.most:g}"
            raise faults_error([Fault(("most",), text)])
        if self.whole and not self.start.is_integer():
            text = f"expected a whole number, or whole: false, got {self.start:g}"
            raise faults_error([Fault(("from",), text)])
        if (steps := self._steps()) > MOST_POINTS:
            text = (
                f"expected larger steps: from {self.start:g} to {self.most:g} it takes "
                f"{steps:,.0f}, and may take {MOST_POINTS:,}"
            )
            raise faults_error([Fault(("factor",), text)])
        return self

    def _steps(self) -> float:
        """How many steps lead from the first rung to the last one, whole or not."""
        return math.floor((math.log(self.most) - math.log(self.start)) / math.log(self.factor))

    def rungs(self) -> list[float]:
        """The values of the field, the least first."""
        found: list[float] = []
        # One more than are counted, for the last one may be a rounding away from `most`.
        for power in range(int(self._steps()) + 2):
            half = power // 2
            try:
                # In two steps, for the power alone may be larger than a number can be.
                value = self.start * self.factor**half * self.factor ** (power - half)
                value = round(value) if self.whole else float(f"{value:.12g}")
            except OverflowError:
                break
            if value > self.most:
                break
            if not found or value > found[-1]:
                found.append(value)
        return found


def _given(name: str, **schema: JsonValue) -> JsonValue:
    """The JSON Schema of a mapping that has a field of this kind."""
    return {"required": [name], "properties": {name: schema}}


class SweepSpec(StrictModel):
    """A sweep: the points of a scenario, and how often each is run."""

    model_config = ConfigDict(
        json_schema_extra={
            # Nothing, as an editor may leave it behind a name, is as good as absent.
            "oneOf": [_given("replications", type="integer"), _given("precision", type="object")],
            "anyOf": [
                _given("grid", minProperties=1),
                _given("random", type="object"),
                _given("ladder", type="object"),
            ],
        }
    )
    one_of = ("replications", "precision")

    description: str = ""
    scenario: Name = Field(
        description="the name of an example, or a path from the folder of the sweep file"
    )
    fixed: dict[Name, Any] = Field(
        default_factory=dict, alias="set", description="fields of the scenario, for every point"
    )
    replications: Positive | None = Field(None, description="runs of each point, seeds from 0")
    precision: PrecisionSpec | None = Field(
        None, description="runs of a point go on until the interval of a figure is so narrow"
    )
    grid: dict[Varied, Values] = Field(
        default_factory=dict, description="by field, its values: a point for each combination"
    )
    random: RandomSpec | None = Field(None, description="points with random values")
    ladder: LadderSpec | None = Field(
        None, description="larger and larger values, until a step gains too little"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        faults = [*self._misplaced(), *self._repeated()]
        if not self.grid and self.random is None and self.ladder is None:
            faults.append(Fault((), "expected grid, random or ladder, got none of them"))
        elif (count := self.size) > MOST_POINTS:
            text = f"has {count:,} points, and may have {MOST_POINTS:,}"
            faults.append(Fault((), text))
        if faults:
            raise faults_error(faults)
        return self

    def _named(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """The fields that differ between points: where each is named, and its name."""
        for name in self.grid:
            yield ("grid", name), name
        for name in () if self.random is None else self.random.fields:
            yield ("random", "fields", name), name
        if self.ladder is not None:
            yield ("ladder", "field"), self.ladder.field

    def _misplaced(self) -> Iterator[Fault]:
        """Fields that a point may not set, or that are set twice."""
        seen: dict[str, tuple[str, ...]] = {name: ("set", name) for name in self.fixed}
        for where, name in [*((place, name) for name, place in seen.items()), *self._named()]:
            if name in _OF_RUNS:
                yield Fault(where, _OF_RUNS[name])
            elif name in _OF_NOBODY and where[0] != "set":
                yield Fault(where, "decides nothing of a run")
        for where, name in self._named():
            if name in seen:
                yield Fault(where, f"{name!r} is given in {seen[name][0]} too")
            seen.setdefault(name, where)
        for where, name in self._named():
            # What `set` gives comes first, so that a field within it can be set after it.
            for other, place in seen.items():
                if name.startswith(f"{other}.") and place[0] != "set":
                    yield Fault(where, f"lies within {other!r}, which {place[0]} gives as a whole")
                elif other.startswith(f"{name}.") and place[0] == "set":
                    yield Fault(place, f"lies within {name!r}, which {where[0]} gives as a whole")

    def _repeated(self) -> Iterator[Fault]:
        for name, values in self.grid.items():
            seen: list[str] = []
            for place, value in enumerate(values):
                text = canonical(value)
                if text in seen:
                    yield Fault(("grid", name, place), f"{given_words(value)} is given twice")
                seen.append(text)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that differ between points, in the order of the file."""
        return tuple(name for _, name in self._named())

    @property
    def size(self) -> int:
        """How many points there are at most; random points that are drawn twice count twice."""
        drawn = 1 if self.random is None else self.random.points
        rungs = 1 if self.ladder is None else len(self.ladder.rungs())
        return math.prod(map(len, self.grid.values())) * drawn * rungs

    @property
    def stopping(self) -> Stopping:
        """When a point has enough runs."""
        if self.precision is not None:
            return Precision(self.precision.half_width, self.precision.most)
        assert self.replications is not None
        return FixedRuns(self.replications)

    @property
    def is_adaptive(self) -> bool:
        """Whether the runs that are wanted depend on the figures of others."""
        return self.precision is not None or self.ladder is not None

    def asked_figures(self) -> Iterator[tuple[str, str]]:
        """The figures that the file asks for: where it does, and the name."""
        if self.precision is not None:
            yield "precision.figure", self.precision.figure
        if self.ladder is not None:
            yield "ladder.figure", self.ladder.figure


def canonical(value: Any) -> str:
    """Plain data as text that is the same for equal data, also after it was kept as JSON."""
    # Keys that are numbers are texts in JSON, and sorted as such.
    return json.dumps(json.loads(json.dumps(value)), sort_keys=True)


def sweep_schema() -> dict[str, Any]:
    """The JSON Schema of a sweep file."""
    return SweepSpec.model_json_schema(by_alias=True)


def load_spec(path: Path) -> SweepSpec:
    """Read and check a sweep file; its scenario is not looked at.

    Raises:
        FaultsError: a line for each fault, with the file, the line and the field.
        SpecError: the file cannot be read, or holds something else than a mapping.
    """
    return _spec_of(read_document(path), path)


def spec_of(data: Mapping[str, Any], called: Path) -> SweepSpec:
    """Check a sweep that is no file.

    Args:
        data: the fields of a sweep file.
        called: its name in messages, whose lines are those of the YAML that the fields make.

    Raises:
        FaultsError: a line for each fault.
    """
    return _spec_of(Document(dump_yaml(dict(data))), called)


def _spec_of(document: Document, path: Path) -> SweepSpec:
    if unfit := list(_unfit(document.data)):
        raise FaultsError(explain(unfit, path, document, {}))
    try:
        return SweepSpec.model_validate(document.data)
    except ValidationError as error:
        faults = faults_of(error, document.data)
    raise FaultsError(explain(faults, path, document, {}))


def _unfit(value: Any, where: tuple[int | str, ...] = ()) -> Iterator[Fault]:
    """What YAML can hold and JSON cannot, and so neither the folder of a sweep."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _unfit(item, (*where, key if type(key) is int else str(key)))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _unfit(item, (*where, place))
    elif isinstance(value, float) and not math.isfinite(value):
        yield Fault(where, f"expected a finite number, got {given_words(value)}")
    elif not (value is None or isinstance(value, str | bool | int | float)):
        kind = type(value).__name__
        yield Fault(where, f"expected text, numbers, lists or mappings, got a value of type {kind}")
