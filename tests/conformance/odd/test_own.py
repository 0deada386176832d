"""The odd engines on their own, without the suite: a crash at each step leads to the same table."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from cellspec import virtualtime
from tests.conformance.odd.batch_files import BatchFilesEngine, read_files
from tests.conformance.odd.graceful_stop import GracefulEngine, read_state
from tests.conformance.odd.journal import Journal, JournalEngine, read_journal
from tests.conformance.odd.lost_worker import LostWorkerEngine, read_parts
from tests.conformance.odd.pauses_on_429 import PausingEngine, read_columns
from tests.conformance.odd.pipeline import Again, Busy, Column, Job
from tests.conformance.odd.saves_seldom import SeldomEngine, read_database

ROWS = 4
Cells = dict[tuple[str, int], Any]


class Killed(BaseException):
    """The process is gone."""


class Process:
    """One process: it counts its steps, and dies at one of them."""

    def __init__(self, folder: Path, dies_at: int = 0) -> None:
        self.folder, self.dies_at = folder, dies_at
        self.steps = 0
        self.calls: Counter[tuple[str, int]] = Counter()
        self.at: dict[int, Callable[[], None]] = {}
        self.dead: asyncio.Future[None] | None = None

    def step(self, name: str) -> None:
        self.steps += 1
        if self.steps in self.at:
            self.at[self.steps]()
        if self.dies_at and self.steps >= self.dies_at:
            if self.dead is not None and not self.dead.done():
                self.dead.set_result(None)
            raise Killed(name)

    def job(self, workers: int | None = 3) -> Job:
        """Cells, a barrier of batches and one over all rows, skips, failures, and two resources."""
        return Job(
            columns=[
                self.column("a", (), resource="r"),
                self.column("s", ("a",), leaves_out=lambda row: row == 1),
                self.column("t", ("s",), resource="q"),
                self.column("w", ("a",), scope_rows=2),
                self.column("v", ("t",), scope_rows=ROWS, resource="q"),
                self.column("c", ("a", "v"), passes_skips=False),
            ],
            rows=ROWS,
            folder=self.folder,
            workers=workers,
            resources={"r": 2, "q": 1},
            attempts=2,
        )

    def column(self, name: str, needs: tuple[str, ...], **traits: Any) -> Column:
        async def make(number: int, rows: list[int], inputs: list[dict[str, Any]]) -> Sequence[str]:
            self.step(f"call {name} {number}")
            self.calls[name, number] += 1
            call = self.calls[name, number]
            await asyncio.sleep((len(name) + 7 * number + ord(name)) % 5 / 4)
            self.step(f"end of {name} {number}")
            if (name, number, call) == ("c", 3, 1):
                raise Again
            if (name, number, call) == ("w", 1, 1):
                raise Busy(0.5)
            if (name, number) == ("a", 2):
                raise ValueError("cannot be made")
            given = [sorted(row.items(), key=lambda item: item[0]) for row in inputs]
            of = given if "scope_rows" in traits else given[0]
            return [f"{name}{row} of {of}" for row in rows]

        return Column(name, needs, make, **traits)

    def live(self, start: Callable[[Job], Engine]) -> Any:
        """Run an engine to its end, or to the death of the process."""

        async def main() -> Any:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda *_: None)  # Nobody hears what the dead say.
            self.dead = loop.create_future()
            engine = asyncio.ensure_future(start(self.job()).run())
            await asyncio.wait([engine, self.dead], return_when=asyncio.FIRST_COMPLETED)
            if self.dead.done():
                engine.cancel()
                await asyncio.gather(engine, return_exceptions=True)
                raise Killed
            return engine.result()

        return virtualtime.run(main())


class Engine(Protocol):
    """What all odd engines have."""

    def run(self) -> Any:
        """Run to the end."""


class Case:
    """An engine, how a process starts it, and how its folder is read."""

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, process: Process) -> Callable[[Job], Engine]:
        def started(job: Job) -> Engine:
            engine: Any
            if self.name.startswith("journal"):
                journal = Journal(job.folder / "journal", self.name.endswith("marks"))
                journal.step = process.step  # type: ignore[method-assign]
                return JournalEngine(job, journal)
            if self.name == "batch files":
                engine = BatchFilesEngine(job)
            elif self.name.startswith("graceful"):
                engine = GracefulEngine(job)
                engine.cancels = self.name.endswith("cancels")
            elif self.name == "lost worker":
                engine = LostWorkerEngine(job)
            elif self.name.startswith("saves"):
                seconds = 1.5 if self.name.endswith("seconds") else None
                engine = SeldomEngine(job, 2, None, seconds)
            else:
                engine = PausingEngine(job, self.name.endswith("column"))
            engine.step = process.step
            return engine  # type: ignore[no-any-return]

        return started

    def read(self, folder: Path) -> tuple[Cells, dict[int, str]]:
        if self.name.startswith("journal"):
            return read_journal(folder / "journal", self.name.endswith("marks"))
        if self.name == "batch files":
            rows, dropped = read_files(folder)
            return {(n, row): v for row in rows for n, v in rows[row].items()}, dropped
        if self.name.startswith("graceful"):
            columns, dropped = read_state(folder)
            return {(n, row): v for n in columns for row, v in columns[n].items()}, dropped
        if self.name == "lost worker":
            return read_parts(folder)
        if self.name.startswith("saves"):
            return read_database(folder)
        names = [column.name for column in Process(folder).job().columns]
        prefixes, dropped = read_columns(folder, names)
        return {(n, row): v for n in names for row, v in enumerate(prefixes[n])}, dropped

    def table(self, folder: Path) -> tuple[Cells, dict[int, str]]:
        """The cells of rows that were not given up, and the others."""
        cells, dropped = self.read(folder)
        return {cell: v for cell, v in cells.items() if cell[1] not in dropped}, dropped


CASES = [
    Case(name)
    for name in (
        "journal",
        "journal with marks",
        "batch files",
        "graceful lets run",
        "graceful cancels",
        "lost worker",
        "saves by group",
        "saves by seconds",
        "pauses by row",
        "pauses by column",
    )
]
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def plain(case: Case, folder: Path) -> tuple[Process, Any]:
    folder.mkdir()
    process = Process(folder)
    process.live(case.start(process))
    return process, case.table(folder)


@by_name
def test_a_plain_run_makes_every_row_but_the_one_that_fails(case: Case, tmp_path: Path) -> None:
    _, (cells, dropped) = plain(case, tmp_path / "plain")
    assert dropped == {2: "a"}
    assert set(cells) == {(name, row) for name in "astwvc" for row in (0, 1, 3)}
    assert "('v', <Skip.SKIP: 'skip'>)" in cells["c", 1]
    assert "a2" not in str(cells)


@by_name
def test_a_crash_at_each_step_leads_to_the_same_table(case: Case, tmp_path: Path) -> None:
    first, expected = plain(case, tmp_path / "plain")
    assert first.steps > 26
    for step in range(1, first.steps + 1):
        folder = tmp_path / str(step)
        folder.mkdir()
        dying = Process(folder, step)
        with pytest.raises(Killed):
            dying.live(case.start(dying))
        kept = case.table(folder)[0]
        assert kept.items() <= expected[0].items()
        heir = Process(folder)
        heir.live(case.start(heir))
        assert case.table(folder) == expected, f"after a crash at step {step}"


@by_name
def test_two_crashes_lead_to_the_same_table(case: Case, tmp_path: Path) -> None:
    first, expected = plain(case, tmp_path / "plain")
    for step in range(2, first.steps, 7):
        folder = tmp_path / str(step)
        folder.mkdir()
        for at in (step, step // 2):
            dying = Process(folder, at)
            with suppress(Killed):  # It may have too little left to do to die in it.
                dying.live(case.start(dying))
        heir = Process(folder)
        heir.live(case.start(heir))
        assert case.table(folder) == expected, f"after crashes at steps {step} and {step // 2}"
