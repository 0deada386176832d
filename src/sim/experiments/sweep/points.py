"""The points of a sweep file, each with its resolved scenario.

The numbers of points follow from the file alone: those of a grid come in the order of the file,
its last field changing first, then those of the random draws, and those of a ladder change first of
all. So the rungs of one ladder stand beside each other.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellspec.errors import FaultsError, SpecError
from sim.draws import sequence
from sim.examples import example_path, is_path
from sim.experiments.replication import packed
from sim.experiments.sweep.spec import RangeSpec, SweepSpec, canonical, load_spec, spec_of
from sim.scenario.loader import ScenarioFile
from sim.scenario.remarks import kept_seeds, scope_changes_result
from sim.scenario.words import given_words
from sim.scenario.yaml_text import dump_yaml

__all__ = ["Point", "Sweep", "fields_of", "load_sweep", "value_words"]


_LONGEST = 60
"""Characters of a list or a mapping that are shown."""

_DIGITS = 6
"""Digits of the digest of one that is longer."""


@dataclass(frozen=True, slots=True)
class Point:
    """A scenario with some of its fields set.

    Attributes:
        number: from 0, in the order of the sweep file.
        fields: by name, the values that make it this point.
        digest: of the resolved scenario with seed 0; None if there is none.
        error: why it cannot be run, on one line; None if it can.
    """

    number: int
    fields: Mapping[str, Any]
    digest: str | None
    error: str | None = None

    def words(self) -> str:
        """Its fields on one line: ``limits.workers=4, policy=fifo``."""
        return ", ".join(f"{name}={value_words(value)}" for name, value in self.fields.items())

    def data(self) -> dict[str, Any]:
        """As a line of ``points.jsonl`` holds it."""
        found: dict[str, Any] = {"point": self.number, "fields": dict(self.fields)}
        return found | ({"digest": self.digest} if self.error is None else {"error": self.error})


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep file, read.

    Attributes:
        path: of the file.
        spec: what it says.
        name: of the scenario.
        identity: a digest of the scenario that all points come from.
        points: in the order of their numbers.
        scenarios: by digest, the scenario of a point, as `sim.experiments.replication.Task` takes
            it.
        repeated: random draws that gave a point which was there.
        narrowed: by number of a point, the columns whose result batch scope changes there.
        kept_seeds: remarks on pipelines beside it that draw the same in every run.
    """

    path: Path
    spec: SweepSpec
    name: str
    identity: str
    points: tuple[Point, ...]
    scenarios: Mapping[str, bytes]
    repeated: int
    narrowed: Mapping[int, tuple[str, ...]]
    kept_seeds: tuple[str, ...]


def value_words(value: Any) -> str:
    """A value of a field on one short line, a string without quotation marks.

    Of a long list or mapping it is the beginning and a digest, by which two of them differ.
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        text = json.dumps(value, ensure_ascii=False)
        if len(text) <= _LONGEST:
            return text
        digest = hashlib.blake2b(canonical(value).encode()).hexdigest()[:_DIGITS]
        return f"{text[: _LONGEST - _DIGITS - 4]}... {digest}"
    return given_words(value)


def load_sweep(given: str | Path | Mapping[str, Any], *, memory: int | None = None) -> Sweep:
    """Read a sweep file, and resolve the scenario of each point.

    Args:
        given: the file; or its fields, whose paths begin in the current folder.
        memory: bytes that the machine has; a point whose run needs more cannot be run.

    Raises:
        FaultsError: the sweep file has faults; a line for each.
        SpecError: it or its scenario cannot be read, or no point can be run.
        MissingExtraError: the scenario takes a DataDesigner pipeline, and that extra is absent.
    """
    path = Path("sweep") if isinstance(given, Mapping) else Path(given)
    spec = spec_of(given, path) if isinstance(given, Mapping) else load_spec(path)
    try:
        name = spec.scenario
        file = ScenarioFile(path.parent / name if is_path(name) else example_path(name))
    except FaultsError:
        raise
    except SpecError as error:
        raise SpecError(f"{path}: scenario: {error}") from None
    fixed = {name: dump_yaml(value) for name, value in spec.fixed.items()}
    points: list[Point] = []
    scenarios: dict[str, bytes] = {}
    narrowed: dict[int, tuple[str, ...]] = {}
    kept: dict[str, None] = {}
    every, repeated = _fields(spec)
    name = str(file.document.data.get("name", ""))
    for number, fields in enumerate(every):
        overrides = fixed | {key: dump_yaml(value) for key, value in fields.items()}
        try:
            scenario = file.load(overrides, memory=memory, option="", called=spec.scenario)
            digest = scenario.with_seed(0).digest()
            if digest not in scenarios:
                scenarios[digest] = packed(scenario)
        except SpecError as error:
            points.append(Point(number, fields, None, _one_line(error)))
            continue
        name = scenario.name
        points.append(Point(number, fields, digest))
        kept.update(dict.fromkeys(kept_seeds(scenario)))
        if columns := scope_changes_result(scenario):
            narrowed[number] = columns
    if not scenarios:
        first = points[0]
        raise SpecError(f"{path}: no point can be run; point 0 ({first.words()}): {first.error}")
    identity = _identity(file, spec)
    return Sweep(
        path, spec, name, identity, tuple(points), scenarios, repeated, narrowed, tuple(kept)
    )


def _one_line(error: SpecError) -> str:
    return "; ".join(" ".join(line.split()) for line in str(error).splitlines())


def _identity(file: ScenarioFile, spec: SweepSpec) -> str:
    """A digest of the scenario that all points come from: what the file says, and ``set``."""
    data = {k: v for k, v in file.document.data.items() if k not in ("description", "source")}
    text = json.dumps(json.loads(json.dumps([data, spec.fixed], default=str)), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def fields_of(spec: SweepSpec) -> list[dict[str, Any]]:
    """The fields of each point, in the order of their numbers."""
    return _fields(spec)[0]


def _fields(spec: SweepSpec) -> tuple[list[dict[str, Any]], int]:
    """The fields of each point, and how many random draws gave fields that were drawn before."""
    grid = [
        dict(zip(spec.grid, one, strict=True)) for one in itertools.product(*spec.grid.values())
    ]
    drawn: list[dict[str, Any]] = [{}]
    repeated = 0
    if spec.random is not None:
        distinct: dict[str, dict[str, Any]] = {}
        for one in _drawn(spec):
            distinct.setdefault(canonical(one), one)
        drawn = list(distinct.values())
        repeated = spec.random.points - len(drawn)
    rungs: list[dict[str, Any]] = [{}]
    if spec.ladder is not None:
        rungs = [{spec.ladder.field: value} for value in spec.ladder.rungs()]
    return [a | b | c for a, b, c in itertools.product(grid, drawn, rungs)], repeated


def _drawn(spec: SweepSpec) -> Iterator[dict[str, Any]]:
    """Random points: more of them, or more fields, leave the draws that were there as they are."""
    random = spec.random
    assert random is not None
    for number in range(random.points):
        found: dict[str, Any] = {}
        for name, choice in random.fields.items():
            share = sequence(random.seed, "sweep", name, number).random()
            if isinstance(choice, RangeSpec):
                found[name] = _number(choice, share)
            else:
                found[name] = choice[int(share * len(choice))]
        yield found


def _number(given: RangeSpec, share: float) -> float:
    """The number that a share of a range reaches to, without the digits that machines differ in."""
    start, stop = given.start, given.stop + (1 if given.whole else 0)
    if given.scale == "log":
        value = math.exp(math.log(start) + share * (math.log(stop) - math.log(start)))
    else:
        value = start + share * (stop - start)
    value = float(f"{value:.12g}")
    return min(math.floor(value), int(given.stop)) if given.whole else value
