"""`Suspects`: the cells whose calls were in flight when processes of a run died.

A call may end the process: it runs out of memory, or a library aborts. The next process finds only
that its predecessor is gone, so it suspects every cell that was in flight then. With `tries`
deaths a cell is given up (clause DROP-06); one that ended well since is no suspect any more.

The engine writes down each call as it starts and as it ends, in a file beside the rows: one short
line each, which is not synced, for a killed process leaves to the operating system what it wrote.
A line comes before the call that it tells of, so a process that dies while it writes one has not
made that call, and a line that was cut short counts for none of its rows. A start that was never
written down with its end was in flight when the process died.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from cellspec.engine.calls import BARRIER, Call, Drop, Failed
from cellspec.engine.observer import Observer
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import NodeKey, cell_key

__all__ = ["SUSPECTS", "Suspects"]

SUSPECTS: Final = "in-flight.jsonl"
"""The file's name; no other file of a run's folder is called so."""

Cell: TypeAlias = tuple[str, int]


class Suspects(Observer):
    """Writes down which cells are in flight, and counts the processes that died with each.

    Args:
        folder: the folder of the run.
        graph: the columns and rows to generate.
        tries: how many processes may die with a cell in flight before it is given up, from 1.
    """

    def __init__(self, folder: Path, graph: ExecutionGraph, tries: int) -> None:
        self._path = folder / SUSPECTS
        self._graph = graph
        self._tries = tries
        self._file: BinaryIO | None = None

    def close(self) -> None:
        """Close the file; what was written stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def load(self) -> frozenset[NodeKey]:
        """The cells to give up, as an incarnation begins in a folder that is this process's alone.

        It writes down that a process died with each of the cells that were in flight.
        """
        died: Counter[Cell] = Counter()
        in_flight: dict[Cell, None] = {}
        for word, column, row in self._lines():
            cell = (column, row)
            if word == "start":
                in_flight[cell] = None
                continue
            in_flight.pop(cell, None)
            if word == "died":
                died[cell] += 1
            elif word == "well":
                died.pop(cell, None)
        of_column: dict[str, list[int]] = {}
        for column, row in in_flight:
            of_column.setdefault(column, []).append(row)
        for column, mine in of_column.items():
            self._write("died", column, mine)
        died.update(list(in_flight))
        index, rows = self._graph.rules.index, self._graph.num_records
        return frozenset(
            cell_key(index[column], row)
            for (column, row), times in died.items()
            if times >= self._tries and row < rows
        )

    def _lines(self) -> Iterator[tuple[str, str, int]]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        for line in text.splitlines():
            # One that the process died over may be cut, or run into the next.
            with contextlib.suppress(ValueError):
                word, column, rows = json.loads(line)
                # A number alone is a line of an earlier version.
                for row in [rows] if isinstance(rows, int) else rows:
                    yield word, column, row

    def _write(self, word: str, column: str, rows: Iterable[int]) -> None:
        line = json.dumps([word, column, list(rows)])
        if self._file is None:
            # Unbuffered: a line outlives the process that wrote it.
            self._file = self._path.open("ab", buffering=0)
        # One line for all rows: of a write that was cut short nothing counts.
        self._file.write(f"\n{line}".encode())

    def _note(self, word: str, call: Call, rows: Iterable[int]) -> None:
        if call.kind != BARRIER:
            self._write(word, call.column, rows)

    # How calls go

    def started(self, call: Call) -> None:
        self._note("start", call, call.left)

    def completed(self, call: Call, row: int | None) -> None:
        if row is not None:
            self._note("well", call, [row])

    def row_ignored(self, call: Call, row: int) -> None:
        self._note("badly", call, [row])

    def dropped(self, start: int, stop: int, drop: Drop) -> None:
        if drop.kind == "filtered":
            # The answer came: a rejected cell has ended well.
            self._write("well", drop.column, range(start, stop))

    def failed(self, call: Call, failed: Failed) -> None:  # noqa: ARG002
        self._note("badly", call, call.left)

    def cancelled(self, call: Call) -> None:
        self._note("badly", call, call.left)

    def ignored(self, call: Call) -> None:
        self._note("badly", call, call.left)
