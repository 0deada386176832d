"""A small engine: one task for each cell, and one for each barrier."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
    every: int | None = None  # A checkpoint after so many rows.

    def __init__(self, columns: list[Column], rows: int, slots: dict[str, int], folder: Path):
        self.columns, self.rows, self.folder = columns, range(rows), folder
        self.slots = {name: asyncio.Semaphore(count) for name, count in slots.items()}
        new = asyncio.get_running_loop().create_future
        self.cells = {(column.name, row): new() for column in columns for row in self.rows}
        self.dropped: dict[int, str] = {}
        self.done = self.claimed = 0  # Rows from the first on that are finished, and claimed.
        self.restore()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for column in self.columns:
                for rows in [list(self.rows)] if column.barrier else [[row] for row in self.rows]:
                    tasks.create_task(self.call(column, rows))
        self.checkpoint(1)

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
                self.cells[column.name, row].set_result(value)
        self.checkpoint(self.every)

    def give_up(self, column: Column, rows: list[int]) -> None:
        for row in rows:
            if not self.cells[column.name, row].done():
                self.drop(row, column.name)
        self.checkpoint(self.every)

    def drop(self, row: int, cause: str) -> None:
        """Leave a row out, and let go whoever waits for a cell of it."""
        self.dropped[row] = cause
        for column in self.columns:
            if not self.cells[column.name, row].done():
                self.cells[column.name, row].set_result(None)

    def checkpoint(self, every: int | None) -> None:
        """Save what is finished from the first row on, if there is enough of it."""
        while self.done < self.rows.stop and all(
            self.cells[column.name, self.done].done() for column in self.columns
        ):
            self.done += 1
        if every and self.done - self.claimed >= every:
            self.save_rows(self.claimed, self.done)
            self.save_claim(self.done)
            self.claimed = self.done

    def save_rows(self, start: int, stop: int) -> None:
        """Append finished rows to the table, a line each: its values, or why it was dropped."""
        with (self.folder / "rows.jsonl").open("a") as file:
            for row in range(start, stop):
                values = {c.name: self.cells[c.name, row].result() for c in self.columns}
                file.write(json.dumps(self.dropped.get(row, values)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def save_claim(self, rows: int) -> None:
        """Say how much of the table counts; what a crash leaves behind it does not."""
        size = (self.folder / "rows.jsonl").stat().st_size
        new = self.folder / "claim.new"
        new.write_text(json.dumps([rows, size]))
        new.replace(self.folder / "claim")

    def restore(self) -> None:
        """Go on from the claim of the run before, if there was one."""
        rows, self.dropped = read(self.folder)
        self.done = self.claimed = len(rows) + len(self.dropped)
        for row in range(self.claimed):
            for column in self.columns:
                self.cells[column.name, row].set_result(rows.get(row, {}).get(column.name))
        if (self.folder / "rows.jsonl").exists():
            os.truncate(self.folder / "rows.jsonl", claim(self.folder)[1])


def claim(folder: Path) -> tuple[int, int]:
    """How many rows of the table count, and how many bytes they are."""
    path = folder / "claim"
    rows, size = json.loads(path.read_text()) if path.exists() else (0, 0)
    return rows, size


def read(folder: Path) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """The table in a folder: the values of each row, and what dropped the others."""
    rows, size = claim(folder)
    lines = (folder / "rows.jsonl").read_bytes()[:size].splitlines() if rows else []
    records = dict(enumerate(map(json.loads, lines)))
    dropped = {row: record for row, record in records.items() if isinstance(record, str)}
    return {row: records[row] for row in records if row not in dropped}, dropped
