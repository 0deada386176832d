"""A small engine: one task for each cell, and one for each barrier."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any


@dataclass
class Column:
    """A column; `make` gets rows with the inputs of each, and gives the value of each."""

    name: str
    needs: list[str]
    make: Callable[[list[int], list[dict[str, Any]]], Awaitable[Sequence[Any]]]
    barrier: bool
    resource: str


class Engine:
    """Give it columns, run it, and read the table; run it again if it did not come to its end."""

    again: type[Exception] = TimeoutError  # Worth another attempt.
    busy: type[Exception] = BlockingIOError  # Costs no attempt, and says when to come back.
    attempts = 1

    def __init__(self, columns: list[Column], rows: int, slots: dict[str, int], folder: Path):
        self.columns, self.rows, self.folder = columns, range(rows), folder
        self.slots = {name: asyncio.Semaphore(count) for name, count in slots.items()}
        new = asyncio.get_running_loop().create_future
        self.cells = {(column.name, row): new() for column in columns for row in self.rows}
        self.dropped: dict[int, str] = {}
        self.restore()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for column in self.columns:
                for rows in [list(self.rows)] if column.barrier else [[row] for row in self.rows]:
                    tasks.create_task(self.call(column, rows))

    async def call(self, column: Column, rows: list[int]) -> None:
        """Make one cell, or all cells of a barrier; again if that may help."""
        await self.ready(column, rows)
        attempt = 1
        while True:
            async with self.slots[column.resource], self.slots["workers"]:
                rows = [row for row in rows if row not in self.dropped]
                if all(self.cells[column.name, row].done() for row in rows):
                    return
                try:
                    inputs = [self.inputs(column, row) for row in rows]
                    values = await column.make(rows, inputs)
                except self.busy as error:
                    pause = error.retry_after_s or 1.0
                except self.again:
                    attempt, pause = attempt + 1, 2.0**attempt
                except Exception:
                    attempt = self.attempts + 1
                else:
                    self.keep(column, rows, values)
                    return
                if attempt > self.attempts:
                    self.give_up(column, rows)
                    return
            await asyncio.sleep(pause)

    async def ready(self, column: Column, rows: list[int]) -> None:
        for name in column.needs:
            for row in rows:
                await self.cells[name, row]

    def inputs(self, column: Column, row: int) -> dict[str, Any]:
        return {name: self.cells[name, row].result() for name in column.needs}

    def keep(self, column: Column, rows: list[int], values: Sequence[Any]) -> None:
        for row, value in zip(rows, values, strict=True):
            if not self.cells[column.name, row].done():
                self.append(row, {"column": column.name, "value": value})
                self.cells[column.name, row].set_result(value)

    def give_up(self, column: Column, rows: list[int]) -> None:
        for row in rows:
            if not self.cells[column.name, row].done():
                self.drop(row, column.name)

    def drop(self, row: int, cause: str) -> None:
        """Leave a row out, and let go whoever waits for a cell of it."""
        self.append(row, {"dropped": cause})
        self.let_go(row, cause)

    def let_go(self, row: int, cause: str) -> None:
        self.dropped[row] = cause
        for column in self.columns:
            if not self.cells[column.name, row].done():
                self.cells[column.name, row].set_result(None)

    def append(self, row: int, record: dict[str, Any]) -> None:
        """Append a finished cell, or a dropped row, before anybody makes use of it."""
        with (self.folder / "journal.jsonl").open("a") as file:
            file.write(json.dumps({"row": row, **record}) + "\n")
            file.flush()
            self.sync(file)

    def sync(self, file: IO[str]) -> None:
        os.fsync(file.fileno())

    def restore(self) -> None:
        """Go on from the cells in the journal of the run before, if there was one."""
        if (self.folder / "journal.jsonl").exists():
            os.truncate(self.folder / "journal.jsonl", len(whole_lines(self.folder)))
        rows, dropped = read(self.folder)
        for row, cells in rows.items():
            for name, value in cells.items():
                self.cells[name, row].set_result(value)
        for row, cause in dropped.items():
            self.let_go(row, cause)


def whole_lines(folder: Path) -> bytes:
    """The journal in a folder, without the half line that a crash may have left."""
    path = folder / "journal.jsonl"
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def read(folder: Path) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """The journal in a folder: the cells of each row, and what dropped rows."""
    rows: dict[int, dict[str, Any]] = {}
    dropped: dict[int, str] = {}
    for record in map(json.loads, whole_lines(folder).splitlines()):
        cells = rows.setdefault(record["row"], {})
        if "dropped" in record:
            dropped[record["row"]] = record["dropped"]
        else:
            cells[record["column"]] = record["value"]
    return rows, dropped
