"""The graphs that are measured, each of which costs an interpreter something else."""

from __future__ import annotations

from collections.abc import Callable

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits

_START = ExecutionTraits.START | ExecutionTraits.CELL_BY_CELL
_CELL = ExecutionTraits.CELL_BY_CELL
_BARRIER = ExecutionTraits.BARRIER


def _column(name: str, traits: ExecutionTraits, needs: list[str]) -> ColumnDescriptor:
    return ColumnDescriptor(name, None, None, traits, needs)


def chain(rows: int, columns: int = 10, barrier: int | None = None) -> ExecutionGraph:
    """Each column needs the one before; one of them may be a dataset barrier."""
    made = [_column("c0", _START, [])]
    for index in range(1, columns):
        traits = _BARRIER if index == barrier else _CELL
        made.append(_column(f"c{index}", traits, [f"c{index - 1}"]))
    return ExecutionGraph(rows, made)


def wide(rows: int) -> ExecutionGraph:
    """One column, eight that need it, and one that needs those."""
    middle = [f"w{index}" for index in range(8)]
    made = [_column("first", _START, [])]
    made += [_column(name, _CELL, ["first"]) for name in middle]
    made.append(_column("last", _CELL, middle))
    return ExecutionGraph(rows, made)


def gate(rows: int) -> ExecutionGraph:
    """Two cell columns, a dataset barrier that needs the second, and a cell column after it."""
    return chain(rows, 4, barrier=2)


SHAPES: dict[str, Callable[[int], ExecutionGraph]] = {
    "chain of 10": chain,
    "wide 1→8→1": wide,
    "chain of 10, dataset barrier in the middle": lambda rows: chain(rows, barrier=5),
}
