"""A column as plain data: from a descriptor to its JSON shape, and back."""

from __future__ import annotations

from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.shapes import Column

__all__ = ["column_shape", "descriptor_of"]


def column_shape(descriptor: ColumnDescriptor) -> Column:
    """The JSON shape of a column; `descriptor_of` gives the descriptor again."""
    return Column(
        name=descriptor.name,
        traits=tuple(flag.name for flag in ExecutionTraits if flag in descriptor.traits),  # type: ignore[misc]  # flags have names
        needs=descriptor.dependencies,
        side_effects=descriptor.side_effects,
        may_skip=descriptor.may_skip,
        propagate_skip=descriptor.propagate_skip,
    )


def descriptor_of(column: Column) -> ColumnDescriptor:
    """The descriptor of a column.

    Raises:
        GraphError: traits that contradict each other, or another field that cannot be used.
    """
    traits = ExecutionTraits.NONE
    for name in column.traits:
        traits |= ExecutionTraits[name]
    return ColumnDescriptor(
        column.name,
        traits=traits,
        dependencies=column.needs,
        side_effects=column.side_effects,
        may_skip=column.may_skip,
        propagate_skip=column.propagate_skip,
    )
