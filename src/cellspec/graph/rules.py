"""Column rules: the nodes that each column of a graph waits for, compiled once.

This module alone works out what traits mean for an engine. Others state traits, as a builder or a
draw of random columns does; and the table judge reads them by itself, so that it is independent.
Everything that schedules, tracks, checks or explores works from `ColumnRule`, where a column is a
handful of integers:

- ``needs``: the columns whose cells it waits for: in its own row (a row column), or in every row
  of its scope (a barrier);
- ``scope_rows``: 0 for a row column; for a barrier, how many rows one barrier node waits for;
- ``ordered``: a cell also waits for the cell of the row before, a barrier for the barrier of the
  batch before; thereby each waits for all that come before it;
- ``streamable``: one call may run a range of rows;
- ``may_skip``, ``propagates``, ``skippable``: whether a cell can be skipped by its own condition,
  whether a skipped input skips it, and whether either can happen at all in this graph;
- ``cell_dependents`` and ``barrier_dependents``: the columns that wait for its cells.

Order is thus an ordinary dependency.
"""

from __future__ import annotations

import graphlib
import hashlib
import heapq
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cellspec.errors import GraphError
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.text import listed_names

__all__ = [
    "MAX_NEEDS",
    "ColumnRule",
    "Rules",
    "compile_rules",
    "fingerprint",
    "needing_only",
    "resolve_columns",
]

MAX_NEEDS = 116
"""How many columns one column may need directly: what a cell waits for is counted in 7 bits."""


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """The columns that one column waits for, and those that wait for it, by position."""

    index: int
    name: str
    needs: tuple[int, ...]
    scope_rows: int
    batched: bool
    ordered: bool
    is_start: bool
    streamable: bool
    may_skip: bool
    propagates: bool
    skippable: bool
    cell_dependents: tuple[int, ...]
    barrier_dependents: tuple[int, ...]

    @property
    def is_barrier(self) -> bool:
        """True if the column's cells come from barrier nodes."""
        return self.scope_rows > 0

    @property
    def is_sink(self) -> bool:
        """True if nothing waits for this column's cells."""
        return not self.cell_dependents and not self.barrier_dependents


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a graph: its columns in topological order, and its number of rows."""

    num_records: int
    columns: tuple[ColumnRule, ...]
    index: Mapping[str, int]

    def scope_count(self, column: int) -> int:
        """How many barrier nodes the column has: 0 for a row column."""
        size = self.columns[column].scope_rows
        return -(-self.num_records // size) if size else 0

    def scope_bounds(self, column: int, scope: int) -> tuple[int, int]:
        """The rows ``[start, stop)`` of one barrier node; the last scope may be short."""
        size = self.columns[column].scope_rows
        return scope * size, min((scope + 1) * size, self.num_records)


def resolve_columns(
    descriptors: Iterable[ColumnDescriptor], *, strict: bool
) -> tuple[tuple[ColumnDescriptor, ...], tuple[tuple[str, str], ...]]:
    """Check names, resolve dependencies and put columns into topological order.

    Returns:
        The columns, each after those that it needs (an order that is valid as given is kept), and
        the (column, dependency) pairs that were dropped for want of a producer.

    Raises:
        GraphError: clauses GRAPH-01 (a name produced twice), GRAPH-02 (an unknown dependency, if
            `strict`) and GRAPH-03 (a cycle, which the message spells out).
    """
    given = list(descriptors)
    for item in given:
        if not isinstance(item, ColumnDescriptor):
            raise GraphError(f"column_descriptors: expected ColumnDescriptor, got {item!r}")
    if not given:
        raise GraphError("column_descriptors cannot be empty: a graph has at least one column")
    producer = _producers(given)
    dropped = tuple(
        (item.name, name) for item in given for name in item.dependencies if name not in producer
    )
    if dropped and strict:
        unknown = ", ".join(
            f"column {column!r} depends on unknown column {name!r}" for column, name in dropped
        )
        raise GraphError(f"{unknown}; available names: {listed_names(producer)}")
    if dropped:
        given = [needing_only(item, producer) for item in given]
    return tuple(given[i] for i in _topological_order(given, producer)), dropped


def _producers(given: Sequence[ColumnDescriptor]) -> dict[str, int]:
    """Which column, by position, makes each name."""
    producer: dict[str, int] = {}
    role: dict[str, str] = {}
    for position, item in enumerate(given):
        for offset, name in enumerate(item.all_produced_columns):
            what = "a column" if offset == 0 else f"a side effect of column {item.name!r}"
            if name in producer:
                raise GraphError(
                    f"name {name!r} is produced twice: {role[name]} and {what}",
                    (position, producer[name]),
                )
            producer[name] = position
            role[name] = what
    return producer


def needing_only(item: ColumnDescriptor, names: Container[str]) -> ColumnDescriptor:
    """A column with those of its dependencies that are among some names."""
    known = [name for name in item.dependencies if name in names]
    if len(known) == len(item.dependencies):
        return item
    return ColumnDescriptor(
        item.name,
        item.config,
        item.generator_cls,
        item.traits,
        known,
        item.side_effects,
        item.may_skip,
        item.propagate_skip,
    )


def _topological_order(given: Sequence[ColumnDescriptor], producer: Mapping[str, int]) -> list[int]:
    sorter: graphlib.TopologicalSorter[int] = graphlib.TopologicalSorter()
    for position, item in enumerate(given):
        sorter.add(position, *(producer[name] for name in item.dependencies))
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        cycle: list[int] = error.args[1]
        # graphlib lists each column before the one that needs it; a reader expects "a needs b".
        names = " needs ".join(repr(given[i].name) for i in reversed(cycle))
        raise GraphError(f"the columns form a cycle: {names}", cycle[:0:-1]) from None
    order: list[int] = []
    ready: list[int] = []
    while sorter.is_active():
        for position in sorter.get_ready():
            heapq.heappush(ready, position)
        first = heapq.heappop(ready)
        order.append(first)
        sorter.done(first)
    return order


def compile_rules(
    num_records: int,
    columns: Sequence[ColumnDescriptor],
    *,
    batch_size: int | None,
    barrier_scope: str,
) -> Rules:
    """Compile the columns of a graph, in topological order, into rules.

    Raises:
        GraphError: a barrier of batch scope without a batch size, or a column that needs more
            than `MAX_NEEDS` others.
    """
    producer = _producers(columns)
    needs: list[tuple[int, ...]] = []
    cell_dependents: list[list[int]] = [[] for _ in columns]
    barrier_dependents: list[list[int]] = [[] for _ in columns]
    for index, item in enumerate(columns):
        # Two names of one producer are one need, or its cells would be counted twice.
        mine = tuple(dict.fromkeys(producer[name] for name in item.dependencies))
        if len(mine) > MAX_NEEDS:
            raise GraphError(
                f"column {item.name!r} needs {len(mine)} columns directly; "
                f"the limit is {MAX_NEEDS}",
                (index,),
            )
        needs.append(mine)
        for need in mine:
            (barrier_dependents if item.is_barrier else cell_dependents)[need].append(index)
    skippable: list[bool] = []
    for index, item in enumerate(columns):
        from_inputs = item.propagate_skip and any(skippable[need] for need in needs[index])
        skippable.append(item.may_skip or from_inputs)
    rules = tuple(
        ColumnRule(
            index=index,
            name=item.name,
            needs=needs[index],
            scope_rows=_scope_rows(index, item, num_records, batch_size, barrier_scope),
            batched=item.is_batch_barrier or (item.is_barrier and barrier_scope == "batch"),
            ordered=item.is_ordered,
            is_start=ExecutionTraits.START in item.traits,
            streamable=item.is_row_streamable and not item.is_barrier,
            may_skip=item.may_skip,
            propagates=item.propagate_skip,
            skippable=skippable[index],
            cell_dependents=tuple(cell_dependents[index]),
            barrier_dependents=tuple(barrier_dependents[index]),
        )
        for index, item in enumerate(columns)
    )
    return Rules(num_records, rules, {rule.name: rule.index for rule in rules})


def _scope_rows(
    index: int,
    item: ColumnDescriptor,
    num_records: int,
    batch_size: int | None,
    barrier_scope: str,
) -> int:
    if not item.is_barrier:
        return 0
    if not item.is_batch_barrier and barrier_scope == "declared":
        return num_records
    if batch_size is None:
        raise GraphError(
            f"column {item.name!r} is a barrier of batch scope: batch_size is needed", (index,)
        )
    return batch_size


def _skips(item: ColumnDescriptor) -> bool:
    return item.may_skip or not item.propagate_skip


def fingerprint(columns: Sequence[ColumnDescriptor], rules: Rules, batch_size: int | None) -> str:
    """A digest of columns, traits, dependencies, side effects, order, scope and batch size.

    The number of rows is left out, so that a run may be resumed with another target, and so is
    the order in which a column's dependencies were listed.
    """
    shape = [
        [
            item.name,
            item.traits.value,
            sorted(item.dependencies),
            sorted(item.side_effects),
            rule.batched,
            # What has no skips keeps the digest that it had before there were any.
            *([[item.may_skip, item.propagate_skip]] if _skips(item) else []),
        ]
        for item, rule in zip(columns, rules.columns, strict=True)
    ]
    batch = batch_size if any(rule.batched for rule in rules.columns) else None
    text = json.dumps([shape, batch], separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
