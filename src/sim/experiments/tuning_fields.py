"""The fields of a scenario that `tune` searches, and the values of each.

If the command line says nothing else, these are searched, as far as they decide something in the
scenario:

=======================  ===========================================================================
concurrency              ``limits.resources.NAME``: from a quarter of the scenario's own limit,
                         doubled up to what the endpoint serves at once (``max_in_flight``, or the
                         end of its table of speeds), else to four times its own, with as many
                         workers as that takes; ``limits.workers``, where that is the limit
batch                    ``batch_size``: a quarter to four times, where a barrier works by batch
barrier scope            ``barrier_scope``, where it leaves the result as it is
policy                   all but ``random``
checkpoint interval      a quarter to four times, and the intervals of Young and Daly, where crashes
                         strike or a write stops the run
=======================  ===========================================================================

Where the first or last number of a field is shown to be the best, half or twice of it is tried too,
and so on.

A setting that changes the *result* is no candidate: `other_result` says which.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cellspec.errors import SpecError
from cellspec.graph.rules import compile_rules
from cellspec.text import counted, listed_names
from sim.experiments.checkpoint_interval import Formulas
from sim.policies import POLICIES
from sim.scenario.records import ResourceLimit
from sim.scenario.remarks import scope_changes_result
from sim.scenario.scenario import Scenario
from sim.scenario.yaml_text import parse_yaml

__all__ = [
    "WORKERS",
    "Choice",
    "Field",
    "Ladder",
    "Settings",
    "dataset_barriers",
    "default_fields",
    "given_field",
    "merged",
    "other_result",
    "with_workers",
]

Settings = Mapping[str, str]
"""Fields by their dotted names, and the YAML text of each value, as ``--set`` takes them."""

WORKERS = "limits.workers"
"""The field that holds how many calls are out at once, whatever they take."""

_STEPS = (0.25, 0.5, 1, 2, 4)
"""Multiples of a scenario's own value."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a field.

    Attributes:
        label: in words.
        settings: what is set; empty for the scenario's own value.
    """

    label: str
    settings: Settings

    @property
    def is_own(self) -> bool:
        """Whether it is the value of the scenario itself."""
        return not self.settings


@dataclass(frozen=True, slots=True)
class Ladder:
    """Numbers that a field may have.

    Attributes:
        own: the scenario's.
        most: the largest that makes sense; infinite if nothing says so.
        whole: whether only whole numbers do.
    """

    own: float
    most: float = math.inf
    whole: bool = True

    def choices(self, name: str, values: Iterable[float]) -> tuple[Choice, ...]:
        """The numbers as choices of a field, in order, the scenario's own among them."""
        found = {self.own}
        for value in values:
            near = max(1, round(value)) if self.whole else float(f"{value:.3g}")
            if near <= self.most:
                found.add(near)
        return tuple(
            Choice(f"{value:.10g}", {} if value == self.own else {name: f"{value:.10g}"})
            for value in sorted(found)
        )


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is searched.

    Attributes:
        name: dotted, as ``--set`` takes it.
        choices: its values, in the order in which they are listed.
        ladder: of what numbers they are a choice; None if they are not.
        is_interval: whether the intervals of Young and Daly are to be among them.
        may_grow: whether the ladder may go on where its end is the best.
    """

    name: str
    choices: tuple[Choice, ...]
    ladder: Ladder | None = None
    is_interval: bool = False
    may_grow: bool = False

    def having(self, choice: Choice | None) -> Field:
        """The same field, with one more choice of its ladder if it is not among them."""
        if choice is None or self.ladder is None or choice in self.choices:
            return self
        choices = sorted((*self.choices, choice), key=lambda one: float(one.label))
        return replace(self, choices=tuple(choices))

    def end(self, value: str) -> str:
        """Which end of the ladder a value is, if it could go on there: "largest", "smallest"."""
        labels = [choice.label for choice in self.choices]
        if self.ladder is None or len(labels) < 2 or value not in (labels[0], labels[-1]):
            return ""
        if value == labels[-1]:
            return "largest" if float(value) < self.ladder.most else ""
        return "" if self.ladder.whole and value == "1" else "smallest"

    def grown(self, value: str) -> Field:
        """The same field with twice its largest number, or half its smallest, if that is given."""
        end = self.end(value)
        if not self.may_grow or self.ladder is None or not end:
            return self
        given = [float(choice.label) for choice in self.choices]
        more = min(2 * given[-1], self.ladder.most) if end == "largest" else given[0] / 2
        return replace(self, choices=self.ladder.choices(self.name, [*given, more]))

    def with_formulas(self, found: Formulas | None) -> Field:
        """The same field, with the intervals of Young and Daly beside its own values."""
        if not self.is_interval or self.ladder is None or found is None:
            return self
        rows = self.name.endswith("every_rows")
        more = (found.young_rows, found.daly_rows) if rows else (found.young_s, found.daly_s)
        given = [float(choice.label) for choice in self.choices]
        return replace(self, choices=self.ladder.choices(self.name, [*given, *more]))


def merged(choices: Iterable[Choice]) -> Settings:
    """What some choices set together."""
    return {name: value for choice in choices for name, value in choice.settings.items()}


def with_workers(own: Scenario, settings: Settings) -> Settings:
    """Settings with as many workers as their limits of resources take, if they raise one of them.

    Args:
        own: the scenario without them.
        settings: perhaps with limits of resources, and of workers.
    """
    before = {name: own.resource_limits[name] for name in _used(own)}
    after = {
        name: int(settings.get(_limit_field(own, name), limit)) for name, limit in before.items()
    }
    taken = sum(after.values())
    is_raised = any(after[name] > limit for name, limit in before.items())
    if not is_raised or taken <= int(settings.get(WORKERS, own.limits.workers)):
        return settings
    return {**settings, WORKERS: str(taken)}


def other_result(own: Scenario, other: Scenario, allowed: Collection[str] = ()) -> str:
    """Why a scenario makes another table than the own one; "" if nothing is known to change it.

    Args:
        own: as the file has it.
        other: with another setting.
        allowed: barriers of which their author says that each row's value is the same whatever
            rows are read with it.
    """
    if own.rows != other.rows:
        return f"rows: {other.rows:,} and not {own.rows:,} would be made"
    if own.graph().column_names != other.graph().column_names:
        return "the pipeline has other columns"
    before, after = _batches(own), _batches(other)
    changed = [
        name
        for name in other.graph().column_names
        if before.get(name) != after.get(name) and name not in allowed
    ]
    if not changed:
        return ""
    read = after.get(changed[0])
    now = f"{counted(read, 'row')} at a time" if read else f"all {own.rows:,} rows"
    was = before.get(changed[0])
    before_words = f"{counted(was, 'row')} at a time" if was else f"all {own.rows:,}"
    return (
        f"{listed_names(changed)} would read {now} and not {before_words}, which may be another "
        "result"
    )


def _batches(scenario: Scenario) -> dict[str, int]:
    """The barriers that are declared to read the dataset and read batches, with their rows."""
    size = min(scenario.batch_size or scenario.rows, scenario.rows)
    return dict.fromkeys(scope_changes_result(scenario), size)


def dataset_barriers(scenario: Scenario) -> list[str]:
    """The barriers that are declared to read rows of the whole dataset."""
    graph = scenario.graph()
    columns = [graph.get_column_descriptor(name) for name in graph.column_names]
    rules = compile_rules(
        graph.num_records, columns, batch_size=graph.batch_size, barrier_scope="declared"
    )
    return [
        rule.name for rule in rules.columns if rule.is_barrier and rule.needs and not rule.batched
    ]


def default_fields(
    scenario: Scenario, allowed: Collection[str] = (), *, more_workers: bool = True
) -> tuple[list[Field], list[str]]:
    """The fields that are searched if nothing else is said, and a line on each that is left out.

    Args:
        scenario: as the file has it.
        allowed: as of `other_result`.
        more_workers: whether workers go up with the limits of resources (`with_workers`); if not,
            a limit is raised no further than there are workers.
    """
    notes: list[str] = []
    fields = [
        *_concurrency(scenario, notes, more_workers=more_workers),
        *_batch(scenario, allowed, notes),
        *_scope(scenario, allowed, notes),
        _policy(scenario),
        *_checkpoint(scenario, notes),
    ]
    return [field for field in fields if len(field.choices) > 1], notes


def _numbers(name: str, values: Iterable[float], ladder: Ladder) -> Field:
    return Field(name, ladder.choices(name, values), ladder, may_grow=True)


def _steps(own: float) -> list[float]:
    return [own * step for step in _STEPS]


def _used(scenario: Scenario) -> list[str]:
    """The resources with a limit that a column takes."""
    return [
        name
        for name in scenario.resource_limits
        if any(name in scenario.takes(item.name) for item in scenario.latencies())
    ]


def _limit_field(scenario: Scenario, name: str) -> str:
    """The field that holds the limit of a resource."""
    field = f"limits.resources.{name}"
    stated = scenario.limits.resources.get(name)
    return f"{field}.max_concurrent" if isinstance(stated, ResourceLimit) else field


def _concurrency(scenario: Scenario, notes: list[str], *, more_workers: bool) -> list[Field]:
    used, workers = _used(scenario), scenario.limits.workers
    found = []
    for name in used:
        if "." in name:
            notes.append(f"limits.resources.{name}: a name with a dot cannot be set")
            continue
        found.append(_resource(scenario, name, notes, more_workers=more_workers))
    own_limits = sum(scenario.resource_limits[name] for name in used)
    if not used:
        found.append(_numbers(WORKERS, _steps(workers), Ladder(workers)))
    elif workers < own_limits:
        values = [*_steps(workers), own_limits]
        found.append(_numbers(WORKERS, values, Ladder(workers, own_limits)))
    return found


def _resource(scenario: Scenario, name: str, notes: list[str], *, more_workers: bool) -> Field:
    own, workers = scenario.resource_limits[name], scenario.limits.workers
    field, served = _limit_field(scenario, name), _served(scenario, name)
    top = max(own, served or 4 * own)
    if not more_workers and top > max(own, workers):
        notes.append(
            f"{field}: no more than the {counted(workers, 'worker')} of {WORKERS}; "
            f"without a value of your own it goes up with {field}"
        )
        top = max(own, workers)
    values = [float(top)]
    step = own / 4
    while step < top:
        values.append(step)
        step *= 2
    # Without a word of what is served, more might be better.
    most = math.inf if served is None and more_workers else top
    return _numbers(field, values, Ladder(own, most))


def _served(scenario: Scenario, name: str) -> int | None:
    """How many calls the endpoint of a resource serves at once; None if that is not said."""
    endpoint = scenario.endpoints.get(name)
    if endpoint is None:
        return None
    if endpoint.max_in_flight is None and endpoint.table and endpoint.beyond in (None, "refuse"):
        return max(endpoint.table)
    return endpoint.max_in_flight


def _batch(scenario: Scenario, allowed: Collection[str], notes: list[str]) -> list[Field]:
    own = scenario.batch_size
    if own is None or not any(rule.batched for rule in scenario.graph().rules.columns):
        return []
    fixed = [name for name in scope_changes_result(scenario) if name not in allowed]
    if fixed:
        notes.append(
            f"batch_size: {listed_names(fixed)}, declared BARRIER, would read other rows, which "
            f"may be another result; {_how_to_allow(fixed)}"
        )
        return []
    return [_numbers("batch_size", _steps(own), Ladder(own, max(own, scenario.rows)))]


def _scope(scenario: Scenario, allowed: Collection[str], notes: list[str]) -> list[Field]:
    names = dataset_barriers(scenario)
    if not names:
        return []
    fixed = [name for name in names if name not in allowed]
    own, other = (
        scenario.barrier_scope,
        "batch" if scenario.barrier_scope == "declared" else "declared",
    )
    if fixed:
        reads = "a batch at a time" if other == "batch" else "all rows"
        notes.append(
            f"barrier_scope={other}: {listed_names(fixed)}, declared BARRIER, would read {reads}, "
            f"which may be another result; {_how_to_allow(fixed)}"
        )
        return []
    choices = [Choice(own, {})]
    if other == "batch" and scenario.batch_size is None:
        sizes = sorted({max(1, scenario.rows // part) for part in (50, 20, 10, 5)})
        choices += [
            Choice(f"batch of {size:,}", {"barrier_scope": "batch", "batch_size": str(size)})
            for size in sizes
        ]
    else:
        choices.append(Choice(other, {"barrier_scope": other}))
    return [Field("barrier_scope", tuple(choices))]


def _how_to_allow(names: Sequence[str]) -> str:
    options = " ".join(f"--allow-batch-scope {name}" for name in names)
    return f"{options} if each row's value is the same"


def _policy(scenario: Scenario) -> Field:
    own = scenario.policy
    names = [name for name in POLICIES if name != "random" or own == "random"]
    choices = (Choice(name, {} if name == own else {"policy": name}) for name in names)
    return Field("policy", tuple(choices))


def _checkpoint(scenario: Scenario, notes: list[str]) -> list[Field]:
    checkpoint = scenario.checkpoint
    if checkpoint is None:
        if scenario.crashes:
            notes.append(
                "checkpoint: the scenario has none; --over checkpoint.every_rows=… tries some"
            )
        return []
    if not scenario.crashes and not (checkpoint.blocking and checkpoint.write_s):
        return []
    if checkpoint.every_rows is not None:
        rows = checkpoint.every_rows
        field = "checkpoint.every_rows"
        found = _numbers(field, _steps(rows), Ladder(rows, max(rows, scenario.rows)))
    else:
        own_s = checkpoint.every_s or 0.0
        found = _numbers("checkpoint.every_s", _steps(own_s), Ladder(own_s, whole=False))
    return [replace(found, is_interval=True)]


def given_field(
    name: str,
    values: str,
    load: Callable[[Settings], Scenario],
    own: Scenario,
    allowed: Collection[str] = (),
) -> Field:
    """A field with values from the command line.

    Args:
        name: dotted.
        values: YAML, with commas between them.
        load: gives the scenario with settings.
        own: the scenario without.
        allowed: as of `other_result`.

    Raises:
        SpecError: a value cannot be used, or would give another result.
    """
    if name == "seed":
        raise SpecError("--over: seed: every candidate runs on the seeds 0, 1, …")
    found = parse_yaml(f"[{values}]")
    if not isinstance(found, list) or not found:
        raise SpecError(f"--over: expected {name}=V1,V2,…, got {values!r}")
    choices, digest = [], own.digest()
    for value in dict.fromkeys(map(_yaml_text, found)):
        scenario = load({name: value})
        if why := other_result(own, scenario, allowed):
            raise SpecError(f"--over {name}={value}: {why}")
        choices.append(Choice(value, {} if scenario.digest() == digest else {name: value}))
    if len(choices) > 1 and all(choice.is_own for choice in choices):
        raise SpecError(f"--over {name}: the runs are the same with each of these values")
    numbers = all(type(value) in (int, float) for value in found)
    whole = all(isinstance(value, int) for value in found)
    if not numbers:
        return Field(name, tuple(choices))
    choices.sort(key=lambda choice: float(choice.label))
    return Field(name, tuple(choices), Ladder(0.0, whole=whole))


def _yaml_text(value: object) -> str:
    """A value as ``--set`` takes it: a plain word stays one."""
    if isinstance(value, str) and _reads_as(value, value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _reads_as(text: str, value: object) -> bool:
    try:
        return bool(parse_yaml(text) == value)
    except SpecError:
        return False
