"""What the odd engines are given: columns, limits, and generators that fail in two ways."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

__all__ = [
    "SKIP",
    "Again",
    "Busy",
    "Column",
    "Job",
    "Node",
    "atomically",
    "packed",
    "ranges",
    "sync_folder",
    "unpacked",
]


class Skip(Enum):
    """The type of `SKIP`."""

    SKIP = "skip"


SKIP: Final = Skip.SKIP
"""Stands in a table in place of a value that is left out on purpose."""


class Again(Exception):  # noqa: N818 - it says what to do
    """The call may succeed another time."""


class Busy(Exception):  # noqa: N818 - it says what is the matter
    """The endpoint takes no call before `after_s` seconds have passed."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"busy for {after_s} s")
        self.after_s = after_s


Make = Callable[[int, list[int], list[dict[str, Any]]], Awaitable[Sequence[Any]]]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column; `make` gets a scope, its rows and the inputs of each, and gives their values.

    Attributes:
        scope_rows: the rows of one call of a barrier; 0 for a column of cells.
        leaves_out: whether the column's own condition leaves a row out.
        passes_skips: whether a cell is left out if an input of it was.
    """

    name: str
    needs: tuple[str, ...]
    make: Make
    scope_rows: int = 0
    ordered: bool = False
    resource: str = ""
    leaves_out: Callable[[int], bool] = lambda _: False
    passes_skips: bool = True

    def skips(self, row: int, inputs: dict[str, Any]) -> bool:
        """Whether the cell is left out."""
        return self.leaves_out(row) or (self.passes_skips and SKIP in inputs.values())


@dataclass(frozen=True, slots=True)
class Node:
    """One call: of a cell, or of a barrier over the rows of a scope."""

    column: Column
    number: int
    rows: range


@dataclass(slots=True)
class Job:
    """All that an engine is asked for.

    Attributes:
        workers: calls at once; None for any number.
        resources: calls at once of the columns that use a resource.
        attempts: calls of a node that may fail, each but the last followed by another.
        every: a hint, how much to finish between two saves.
    """

    columns: Sequence[Column]
    rows: int
    folder: Path
    workers: int | None = None
    resources: dict[str, int] = field(default_factory=dict)
    attempts: int = 1
    every: int = 2

    def nodes(self) -> Iterator[Node]:
        """Every call of the pipeline, column by column."""
        for column in self.columns:
            size = column.scope_rows or 1
            for number, start in enumerate(range(0, self.rows, size)):
                yield Node(column, number, range(start, min(start + size, self.rows)))


def packed(value: Any) -> Any:
    """A value as JSON data."""
    return {"skip": True} if value is SKIP else value


def unpacked(data: Any) -> Any:
    """The value that JSON data stands for."""
    return SKIP if data == {"skip": True} else data


def ranges(rows: Sequence[int] | set[int]) -> list[tuple[int, int]]:
    """Sorted ranges ``[start, stop)`` of some rows."""
    found: list[tuple[int, int]] = []
    for row in sorted(rows):
        if found and found[-1][1] == row:
            found[-1] = (found[-1][0], row + 1)
        else:
            found.append((row, row + 1))
    return found


def atomically(path: Path, content: Any, step: Callable[[str], None]) -> None:
    """Replace a file of JSON; a crash leaves the old one or the new one."""
    new = path.with_name(path.name + ".new")
    step(f"write {new.name}")
    with new.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    step(f"rename to {path.name}")
    new.replace(path)
    step("sync the folder")
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
