"""`Values`: the values of the rows that a run is working on.

A value is kept from the moment it is made until its row is safe on storage in every column, and
each barrier over the row has run. So the memory of a run is its window of unfinished rows and,
before a barrier, the rows of its scope. Rows that an earlier incarnation finished are loaded only
if a barrier must read them again. `SKIPPED` stands where a cell was skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellspec.graph.columns import ColumnDescriptor
from cellspec.graph.graph import ExecutionGraph
from cellspec.skipped import SKIPPED, Skipped

__all__ = ["SKIPPED", "Skipped", "Values"]


class Values:
    """Values by column and row, and the inputs that a generator gets of them."""

    def __init__(self, graph: ExecutionGraph) -> None:
        self._columns: list[dict[int, Any]] = [{} for _ in range(graph.num_columns)]
        self._names = graph.column_names
        self._sources = [_sources(graph, name) for name in self._names]

    def __len__(self) -> int:
        """How many values are held."""
        return sum(map(len, self._columns))

    def put(self, column: int, row: int, value: Any) -> None:
        """Keep a value."""
        self._columns[column][row] = value

    def get(self, column: int, row: int) -> Any:
        """The value of a cell that is resolved and still needed."""
        return self._columns[column][row]

    def inputs(self, column: int, row: int) -> dict[str, Any]:
        """The inputs of a generator of `column` for `row`: by name, the values that it depends on.

        A side effect is an item of its producer's value if that is a mapping that holds it, and
        else the whole value.
        """
        found: dict[str, Any] = {}
        for name, producer in self._sources[column]:
            value = self._columns[producer][row]
            if name != self._names[producer] and isinstance(value, Mapping) and name in value:
                value = value[name]
            found[name] = value
        return found

    def row(self, row: int) -> dict[str, Any]:
        """The values held of one row, by column."""
        return {
            name: cells[row]
            for name, cells in zip(self._names, self._columns, strict=True)
            if row in cells
        }

    def forget_row(self, row: int) -> None:
        """Drop the values of a row."""
        for cells in self._columns:
            cells.pop(row, None)


def _sources(graph: ExecutionGraph, column: str) -> list[tuple[str, int]]:
    """For each name that a column depends on, the position of the column that makes it."""
    makers = {
        produced: graph.rules.index[name]
        for name in graph.column_names
        for produced in graph.get_column_descriptor(name).all_produced_columns
    }
    item: ColumnDescriptor = graph.get_column_descriptor(column)
    return [(name, makers[name]) for name in item.dependencies]
