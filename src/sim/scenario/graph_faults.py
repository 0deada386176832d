"""All that keeps a scenario's columns from forming a graph, each fault at its own column.

A graph refuses columns at its first fault. Here the columns at fault are put right one after
another, so that the graph's own checks find the next fault.
"""

from __future__ import annotations

from collections.abc import Sequence

from cellspec.errors import GraphError
from cellspec.graph.columns import ColumnDescriptor
from cellspec.graph.graph import BarrierScope
from cellspec.graph.rules import compile_rules, needing_only, resolve_columns
from sim.scenario.strict import Fault

__all__ = ["Given", "graph_faults"]

Given = tuple[int, ColumnDescriptor]
"""A column, after its position in the file."""


def graph_faults(
    field: str,
    columns: Sequence[Given],
    *,
    strict: bool,
    batch_size: int | None,
    barrier_scope: BarrierScope,
) -> list[Fault]:
    """The faults of columns: names produced twice, cycles, barriers without a batch size.

    Args:
        field: the part of the file that gives the columns; ``columns`` if they are listed there.
        columns: those that are well-formed.
        strict: report dependencies that no column produces.
        batch_size: of the scenario.
        barrier_scope: of the scenario.
    """
    found: list[Fault] = []
    rest = list(columns)
    order: Sequence[ColumnDescriptor] = ()
    while rest and not order:
        try:
            order = resolve_columns([item for _, item in rest], strict=strict and not found)[0]
        except GraphError as error:
            found.append(_fault(field, error, [rest[i] for i in error.positions]))
            if not error.positions:
                return found
            _put_names_right(rest, error.positions)
    place = {item.name: position for position, item in rest}
    while order:
        try:
            # The number of rows decides none of these faults.
            compile_rules(1, order, batch_size=batch_size, barrier_scope=barrier_scope)
            break
        except GraphError as error:
            at = [(place[order[i].name], order[i]) for i in error.positions]
            scope = (("batch_size",), ("barrier_scope",))
            found.append(_fault(field, error, at, scope))
            if not at:
                break
            order = [
                ColumnDescriptor(item.name, side_effects=item.side_effects)
                if i in error.positions
                else item
                for i, item in enumerate(order)
            ]
    return found


def _fault(
    field: str, error: GraphError, at: Sequence[Given], about: tuple[tuple[str], ...] = ()
) -> Fault:
    """A fault of a graph, at the first of the columns that it is about."""
    if field != "columns" or not at:
        return Fault((field,), str(error), about)
    position, item = at[0]
    text = str(error).removeprefix(f"column {item.name!r} ")
    return Fault((field, position), text, (*((field, place) for place, _ in at), *about))


def _put_names_right(rest: list[Given], positions: Sequence[int]) -> None:
    """Undo a fault of names: cut the columns of a cycle apart, or drop the second of two."""
    names = [set(rest[i][1].all_produced_columns) for i in positions]
    if len(positions) == 2 and (positions[0] == positions[1] or names[0] & names[1]):
        del rest[positions[0]]
    else:
        made = set().union(*names)
        for i in positions:
            place, item = rest[i]
            rest[i] = place, needing_only(item, set(item.dependencies) - made)
