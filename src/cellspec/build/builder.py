"""From a pipeline's configuration to its graph: which generator makes which column, and how.

An engine knows its columns as *configs* and keeps a *registry* that names the generator class of
each kind of config. The builder joins the two into column descriptors. It asks each class four
questions and ignores everything else, the class's name included, so a plugin's generator is
understood as well as a built-in one:

- ``can_generate_from_scratch``: true makes the column a ``START``;
- ``get_generation_strategy``: ``cell_by_cell`` makes it ``CELL_BY_CELL``; the other strategy is
  ``full_column`` (an Enum or a string, in any of its spellings);
- ``is_row_streamable``: of a full-column generator, true makes it ``ROW_STREAMABLE`` and false a
  ``BARRIER``;
- ``is_order_dependent``: true adds ``ORDERED``.

Each may be a plain attribute, a static or class method, a property or an instance method; see
`cellspec.build.inference` for how a class is read without making an instance.

An answer may be unknown: it depends on the instance, or the class does not give it. Then the
builder takes the value under which every run stays correct, whichever is the truth, and says so in
its report:

- *strategy* or *streamability* unknown, or not declared: ``BARRIER`` of dataset scope. Whatever the
  generator reads is complete when it runs; a generator that could have run row by row merely waits
  longer.
- *from scratch* unknown: not ``START``. A generator is then never asked for rows on the strength of
  a guess; without dependencies its column is ready at once all the same.
- *order* unknown: ``ORDERED``. Rows run in order, one at a time, which suits every generator.

A flag that a class does not have at all is false, as it is for an engine that never asks for it;
this is reported only where it makes the barrier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from cellspec.build.inference import Absent, Known, Unknown, infer
from cellspec.errors import SpecError
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.graph.graph import BarrierScope, ExecutionGraph

__all__ = [
    "BuildReport",
    "GeneratorRegistry",
    "GraphBuilder",
    "RegistryLike",
    "Resolution",
]

CELL_BY_CELL = "cell_by_cell"
FULL_COLUMN = "full_column"


@runtime_checkable
class GeneratorRegistry(Protocol):
    """The registry of an engine's generator classes; a plain mapping does as well."""

    def get_for_config_type(self, config_type: type, /) -> type:
        """The generator class for configs of `config_type`; any exception means: unknown."""
        ...


RegistryLike: TypeAlias = GeneratorRegistry | Mapping[type, type]


@dataclass(frozen=True, slots=True)
class Resolution:
    """A fact that a generator class leaves open, and the builder's assumption.

    Attributes:
        column: the column that it concerns.
        generator: the generator class.
        fact: the attribute that was asked for.
        kind: ``"unknown"`` (it is there, but not certain) or ``"absent"``.
        reason: why it is not settled.
        resolved_as: the builder's assumption, on the safe side.
    """

    column: str
    generator: type
    fact: str
    kind: Literal["unknown", "absent"]
    reason: str
    resolved_as: str

    def __str__(self) -> str:
        return (
            f"column {self.column!r}: {self.generator.__name__}.{self.fact} is {self.kind} "
            f"({self.reason}); taken as {self.resolved_as}"
        )


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The facts that the builder had to assume, in the order of the columns; empty is best."""

    resolutions: tuple[Resolution, ...] = ()

    def __iter__(self) -> Iterator[Resolution]:
        return iter(self.resolutions)

    def __len__(self) -> int:
        return len(self.resolutions)

    def for_column(self, column: str) -> tuple[Resolution, ...]:
        """The entries of one column."""
        return tuple(item for item in self.resolutions if item.column == column)

    def __str__(self) -> str:
        return "\n".join(map(str, self.resolutions))


@dataclass(frozen=True, slots=True)
class _Traits:
    """The reading of one generator class: its traits, and (fact, kind, reason, resolved as)."""

    flags: ExecutionTraits
    open_facts: tuple[tuple[str, Literal["unknown", "absent"], str, str], ...]


class GraphBuilder:
    """Builds descriptors and graphs from configs and a registry of generator classes.

    Of a configuration exactly this is read. The configuration itself: its ``columns``, or else the
    object as an iterable. Each entry is a column's config:

    - ``name``: the column's name;
    - ``required_columns``, or else ``dependencies``: names that it needs, in any order (a set will
      do); a name may be another column's side effect;
    - ``skip``, if there and not None: the names in its ``columns`` are needed too, because whether
      a cell is skipped is decided from them;
    - ``side_effect_columns``, or else ``side_effects``: names that it makes beside its own.

    An entry with ``columns`` of its own is a *multi-column config*: one generator, found by the
    entry's type, that makes several columns. Each becomes a descriptor of its own, with the whole
    entry as its config. One call makes them all, so each also needs the inputs of all others from
    outside the entry.

    Args:
        registry: gives the generator class for the type of a config.
    """

    def __init__(self, registry: RegistryLike) -> None:
        self._registry = registry
        self._report = BuildReport()

    @property
    def report(self) -> BuildReport:
        """The assumptions of the last `describe` or `build`."""
        return self._report

    def build(
        self,
        config: Any,
        num_records: int,
        *,
        strict: bool = True,
        batch_size: int | None = None,
        barrier_scope: BarrierScope = "declared",
    ) -> ExecutionGraph:
        """The graph of `config` for `num_records` rows; the other arguments are the graph's own.

        Raises:
            SpecError: as `describe` does.
            GraphError: the columns do not form a graph.
        """
        return ExecutionGraph(
            num_records,
            self.describe(config),
            strict=strict,
            batch_size=batch_size,
            barrier_scope=barrier_scope,
        )

    def describe(self, config: Any) -> list[ColumnDescriptor]:
        """The columns of `config`, in its order; dependencies stand in the order of the columns.

        Raises:
            SpecError: a config without a usable name or list of names, or whose type the registry
                does not have.
        """
        entries = _entries(config)
        position = _positions(entries)
        descriptors: list[ColumnDescriptor] = []
        resolutions: list[Resolution] = []
        for entry in entries:
            generator = self._generator_for(entry)
            traits = _infer_traits(generator)
            for column in entry.columns:
                needs = entry.needs_of(column)
                descriptors.append(
                    ColumnDescriptor(
                        column.name,
                        entry.config,
                        generator,
                        traits.flags,
                        sorted(needs, key=lambda name: (position.get(name, len(position)), name)),
                        column.side_effects,
                    )
                )
                resolutions += [
                    Resolution(column.name, generator, *fact) for fact in traits.open_facts
                ]
        self._report = BuildReport(tuple(resolutions))
        return descriptors

    def _generator_for(self, entry: _Entry) -> type:
        config_type = type(entry.config)
        where = f"column {entry.columns[0].name!r}"
        try:
            if isinstance(self._registry, Mapping):
                found: object = self._registry[config_type]
            else:
                found = self._registry.get_for_config_type(config_type)
        except Exception as error:
            raise SpecError(
                f"{where}: no generator class is registered for its config type "
                f"{config_type.__name__} ({type(error).__name__})"
            ) from error
        if not isinstance(found, type):
            raise SpecError(
                f"{where}: the registry gave {found!r} for {config_type.__name__}, expected a class"
            )
        return found


# Configs


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    needs: tuple[str, ...]
    side_effects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a configuration: a config, and the columns that its generator makes."""

    config: Any
    columns: tuple[_Column, ...]

    def needs_of(self, column: _Column) -> set[str]:
        made = {name for item in self.columns for name in (item.name, *item.side_effects)}
        shared = {name for item in self.columns for name in item.needs} - made
        return shared | set(column.needs)


def _entries(config: Any) -> list[_Entry]:
    found = getattr(config, "columns", config)
    if isinstance(found, str) or not isinstance(found, Iterable):
        raise SpecError(
            f"config: expected an object with columns, or a list of column configs, "
            f"got {type(config).__name__}"
        )
    return [_entry(item, place) for place, item in enumerate(found)]


def _entry(item: Any, place: int) -> _Entry:
    parts = getattr(item, "columns", None)
    if parts is None:
        return _Entry(item, (_column(item, f"columns[{place}]"),))
    if isinstance(parts, str) or not isinstance(parts, Iterable):
        raise SpecError(
            f"columns[{place}].columns: expected a list of column configs, "
            f"got {type(parts).__name__}"
        )
    columns = tuple(
        _column(part, f"columns[{place}].columns[{inner}]") for inner, part in enumerate(parts)
    )
    if not columns:
        raise SpecError(f"columns[{place}].columns: expected at least one column, got none")
    return _Entry(item, columns)


def _column(item: Any, where: str) -> _Column:
    name = getattr(item, "name", None)
    if not isinstance(name, str) or not name:
        raise SpecError(f"{where}.name: expected a non-empty string, got {name!r}")
    needs = _names(item, name, ("required_columns", "dependencies"))
    skip = getattr(item, "skip", None)
    if skip is not None:
        needs += _names(skip, name, ("columns",), "skip.")
    return _Column(name, needs, _names(item, name, ("side_effect_columns", "side_effects")))


def _names(item: Any, column: str, fields: tuple[str, ...], prefix: str = "") -> tuple[str, ...]:
    for field in fields:
        value = getattr(item, field, None)
        if value is None:
            continue
        if isinstance(value, Iterable) and not isinstance(value, str | bytes):
            names = tuple(value)
            if all(isinstance(name, str) for name in names):
                return names
        raise SpecError(f"column {column!r}: {prefix}{field}: expected names, got {value!r}")
    return ()


def _positions(entries: list[_Entry]) -> dict[str, int]:
    """Where each name is made, so that dependencies have one order however they were given."""
    columns = [column for entry in entries for column in entry.columns]
    return {
        name: place
        for place, column in enumerate(columns)
        for name in (column.name, *column.side_effects)
    }


# Traits


def _infer_traits(generator: type) -> _Traits:
    flags = ExecutionTraits.NONE
    open_facts: list[tuple[str, Literal["unknown", "absent"], str, str]] = []

    match infer(generator, "can_generate_from_scratch", bool):
        case Known(value=True):
            flags |= ExecutionTraits.START
        case Unknown(reason=reason):
            open_facts.append(("can_generate_from_scratch", "unknown", reason, "not START"))

    match infer(generator, "is_order_dependent", bool):
        case Known(value=True):
            flags |= ExecutionTraits.ORDERED
        case Unknown(reason=reason):
            flags |= ExecutionTraits.ORDERED
            open_facts.append(("is_order_dependent", "unknown", reason, "ORDERED"))

    strategy, kind, reason = _strategy(generator)
    if strategy == CELL_BY_CELL:
        return _Traits(flags | ExecutionTraits.CELL_BY_CELL, tuple(open_facts))
    if strategy is None:
        open_facts.append(("get_generation_strategy", kind, reason, "BARRIER"))
        return _Traits(flags | ExecutionTraits.BARRIER, tuple(open_facts))

    match infer(generator, "is_row_streamable", bool):
        case Known(value=True):
            return _Traits(flags | ExecutionTraits.ROW_STREAMABLE, tuple(open_facts))
        case Unknown(reason=reason):
            open_facts.append(("is_row_streamable", "unknown", reason, "BARRIER"))
        case Absent():
            open_facts.append(("is_row_streamable", "absent", "not declared", "BARRIER"))
    return _Traits(flags | ExecutionTraits.BARRIER, tuple(open_facts))


def _strategy(generator: type) -> tuple[str | None, Literal["unknown", "absent"], str]:
    """The strategy, or None with the kind and the reason why it is unknown."""
    answer = infer(generator, "get_generation_strategy", (str, Enum))
    if isinstance(answer, Absent):
        return None, "absent", "not declared"
    if isinstance(answer, Unknown):
        return None, "unknown", answer.reason
    value = answer.value
    spellings = (value.value, value.name) if isinstance(value, Enum) else (value,)
    for spelling in spellings:
        if isinstance(spelling, str):
            plain = spelling.lower().replace("-", "_")
            if plain in (CELL_BY_CELL, FULL_COLUMN):
                return plain, "unknown", ""
    return None, "unknown", f"{value!r} is neither {CELL_BY_CELL!r} nor {FULL_COLUMN!r}"
