"""The descriptor of a column: its generator's traits, and the names it needs and produces.

A pipeline is a list of `ColumnDescriptor`. The number of rows enters
with the graph. Traits are facts about a column's generator, stated by the builder of the
descriptor (see `cellspec.build.builder`); `cellspec.graph.rules` alone turns them into behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from typing import Any, Self

from cellspec.errors import GraphError

__all__ = ["ColumnDescriptor", "ExecutionTraits"]


class ExecutionTraits(Flag):
    """How a column's generator may be run.

    - ``START``: makes values from nothing; with no dependencies its cells can run first.
    - ``CELL_BY_CELL``: one call makes one cell.
    - ``ROW_STREAMABLE``: one call makes many rows, and gives each as it is ready.
    - ``BARRIER``: needs all rows of its inputs before it gives any output (scope: the dataset).
    - ``BATCH_BARRIER``: the same, within one batch of rows.
    - ``ORDERED``: a cursor; its rows (or batches) run in order, one at a time.

    ``BARRIER | BATCH_BARRIER`` is refused: a column has one scope (clause GRAPH-06).
    """

    NONE = 0
    START = auto()
    CELL_BY_CELL = auto()
    ROW_STREAMABLE = auto()
    BARRIER = auto()
    BATCH_BARRIER = auto()
    ORDERED = auto()


@dataclass(frozen=True, slots=True)
class ColumnDescriptor:
    """One column of a pipeline: frozen, and comparable by value.

    Args:
        name: the column's name; a graph holds each name once (clause GRAPH-01).
        config: the data from which the engine makes the generator; opaque here.
        generator_cls: the generator's class, if there is one; opaque here, and not instantiated.
        traits: how the generator may be run.
        dependencies: names that a cell needs in its own row: columns, or side effects of columns.
        side_effects: further names that this column produces beside its own.
        may_skip: the column has a condition of its own by which its cells may be skipped.
        propagate_skip: a cell is skipped if one of its inputs was; False makes it run all the same.
        version: a text that changes when the column's values would: the version of the generator,
            or `cellspec.graph.configuration.config_digest` of prompt, model and sampling. It is no
            part of the graph's fingerprint. None: the column's configuration is not compared.

    Raises:
        GraphError: if the name is empty, the traits hold both kinds of barrier, or the version is
            no text.
    """

    name: str
    config: Any = field(compare=False)
    generator_cls: type | None = field(compare=False)
    traits: ExecutionTraits
    dependencies: tuple[str, ...]
    side_effects: tuple[str, ...]
    may_skip: bool
    propagate_skip: bool
    version: str | None

    def __init__(
        self,
        name: str,
        config: Any = None,
        generator_cls: type | None = None,
        traits: ExecutionTraits = ExecutionTraits.NONE,
        dependencies: Iterable[str] = (),
        side_effects: Iterable[str] = (),
        may_skip: bool = False,
        propagate_skip: bool = True,
        version: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise GraphError(f"column name: expected a non-empty string, got {name!r}")
        both = ExecutionTraits.BARRIER | ExecutionTraits.BATCH_BARRIER
        if traits & both == both:
            raise GraphError(
                f"column {name!r}: traits BARRIER and BATCH_BARRIER exclude each other; "
                "a barrier waits for the dataset or for one batch"
            )
        for label, names in (("dependencies", dependencies), ("side_effects", side_effects)):
            if isinstance(names, str):
                raise GraphError(f"column {name!r}: {label}: expected a list of names, got a str")
        if version is not None and not isinstance(version, str):
            raise GraphError(
                f"column {name!r}: version: expected a text, got {version!r}; config_digest makes "
                "one of JSON data"
            )
        put = object.__setattr__
        put(self, "name", name)
        put(self, "config", config)
        put(self, "generator_cls", generator_cls)
        put(self, "traits", traits)
        # A name given twice is one dependency; first mention keeps its place.
        put(self, "dependencies", tuple(dict.fromkeys(dependencies)))
        put(self, "side_effects", tuple(side_effects))
        put(self, "may_skip", bool(may_skip))
        put(self, "propagate_skip", bool(propagate_skip))
        put(self, "version", version)

    def replace(self, *, version: str | None) -> Self:
        """The same column with another version; itself, if it has that one."""
        return self if version == self.version else replace(self, version=version)

    @property
    def is_start_column(self) -> bool:
        """True if the generator makes values from nothing (``START``)."""
        return ExecutionTraits.START in self.traits

    @property
    def is_cell_by_cell(self) -> bool:
        """True if one call makes one cell (``CELL_BY_CELL``)."""
        return ExecutionTraits.CELL_BY_CELL in self.traits

    @property
    def is_row_streamable(self) -> bool:
        """True if one call makes many rows and gives each as it is ready (``ROW_STREAMABLE``)."""
        return ExecutionTraits.ROW_STREAMABLE in self.traits

    @property
    def is_barrier(self) -> bool:
        """True for a barrier of either scope (``BARRIER`` or ``BATCH_BARRIER``)."""
        return bool(self.traits & (ExecutionTraits.BARRIER | ExecutionTraits.BATCH_BARRIER))

    @property
    def is_batch_barrier(self) -> bool:
        """True for a barrier whose declared scope is one batch (``BATCH_BARRIER``)."""
        return ExecutionTraits.BATCH_BARRIER in self.traits

    @property
    def is_ordered(self) -> bool:
        """True if rows, or batches, must run in order, one at a time (``ORDERED``)."""
        return ExecutionTraits.ORDERED in self.traits

    @property
    def has_dependencies(self) -> bool:
        """True if the column needs another column of its row."""
        return bool(self.dependencies)

    @property
    def has_side_effects(self) -> bool:
        """True if the column produces names beside its own."""
        return bool(self.side_effects)

    @property
    def all_produced_columns(self) -> list[str]:
        """The column's own name, then its side effects."""
        return [self.name, *self.side_effects]
