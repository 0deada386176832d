"""One workload under a debugger: the engine stops at a breakpoint, and time lets it."""

from __future__ import annotations

import io
import pdb
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, cast

import pytest

from cellspec import ColumnDescriptor
from cellspec.conformance import Probe, Table, Workload, run_workload
from cellspec.conformance.run.case import Case
from cellspec.exit_codes import BAD_INPUT, FINE, INTERRUPTED
from tests.conformance.pytest.test_plugin import SUITE

ENGINE = """
import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from cellspec.conformance import Table


class Virtual:
    name, version, capabilities = "stops", "1", frozenset({"core"})

    async def run(self, probe):
        rows = [await probe.cell("a", 0, {})]
        seen = "in virtual time"
        breakpoint()
        self.rows = [*rows, await probe.cell("a", 1, {})]
        probe.end("success")

    def table(self, probe):
        return Table({row: {"a": value} for row, value in enumerate(self.rows)})


class InThread(Virtual):
    def run(self, probe):
        def work():
            rows = [probe.cell_sync("a", 0, {})]
            seen = "in a thread"
            breakpoint()
            self.rows = [*rows, probe.cell_sync("a", 1, {})]

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        probe.end("success")


class Tasks(Virtual):
    async def run(self, probe):
        async def work(row):
            breakpoint()
            return await probe.cell("a", row, {})

        self.rows = await asyncio.gather(*(work(row) for row in range(probe.rows)))
        probe.end("success")


class Threads(Virtual):
    def run(self, probe):
        def work(row):
            breakpoint()
            return probe.cell_sync("a", row, {})

        with ThreadPoolExecutor(4) as pool:
            self.rows = list(pool.map(work, range(probe.rows)))
        probe.end("success")


class Swallows(Virtual):
    async def run(self, probe):
        self.rows = []
        try:
            await super().run(probe)
        except Exception:
            probe.end("success")
"""


@pytest.mark.parametrize(
    ("name", "seen"), [("Virtual", "'in virtual time'"), ("InThread", "'in a thread'")]
)
def test_a_breakpoint_in_an_engine_opens_a_debugger_and_the_run_goes_on_after_it(
    name: str, seen: str, tmp_path: Path
) -> None:
    done = debugged(name, "p seen\nc\n", tmp_path)
    assert "PDB set_trace (IO-capturing turned off)" in done.stdout
    assert f"(Pdb) {seen}" in done.stdout
    assert "PDB continue (IO-capturing resumed)" in done.stdout
    assert done.returncode == FINE
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("name", ["Virtual", "InThread", "Swallows"])
def test_quitting_the_debugger_ends_the_run_as_pytest_ends_it_and_judges_nothing(
    name: str, tmp_path: Path
) -> None:
    done = debugged(name, "q\n", tmp_path)
    assert "PDB set_trace" in done.stdout
    assert "Exit: Quitting debugger !!!" in done.stdout
    assert "no tests ran" in done.stdout
    assert done.returncode == INTERRUPTED


@pytest.mark.parametrize("name", ["Tasks", "Threads"])
def test_the_debugger_is_quit_once_in_however_many_tasks_or_threads_it_would_open(
    name: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        command(name, tmp_path, rows=6),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("q\n")
    process.stdin.flush()
    # The terminal stays open, and nothing more is typed.
    try:
        assert process.wait(timeout=60) == INTERRUPTED
    finally:
        process.kill()
        printed = process.stdout.read()
        process.communicate()
    assert printed.count("(Pdb)") == 1
    assert "Exit: Quitting debugger !!!" in printed


def test_a_breakpoint_without_a_terminal_is_said_in_a_line(tmp_path: Path) -> None:
    done = debugged("Virtual", "", tmp_path, "-n1")
    assert done.returncode == BAD_INPUT
    assert "\na breakpoint needs a terminal, and -n has none; leave -n out\n" in done.stdout
    assert "SCHED-12" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def debugged(
    name: str, commands: str, folder: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    """A replay of an engine of `ENGINE`, with commands for the debugger that it opens."""
    return subprocess.run(
        [*command(name, folder), *more],
        cwd=folder,
        input=commands,
        capture_output=True,
        text=True,
        timeout=60,
    )


def command(name: str, folder: Path, rows: int = 2) -> list[str]:
    """The command line of a replay of an engine of `ENGINE`."""
    (folder / "engine.py").write_text(ENGINE)
    (folder / "case.json").write_text(Case(Workload((ColumnDescriptor("a"),), rows)).to_json())
    options = (f"--engine-backend=engine:{name}", "--replay=case.json", "-p", "no:cacheprovider")
    return [sys.executable, "-m", "pytest", *SUITE, *options]


class Slow:
    """The terminal of a developer who thinks before each command."""

    def readline(self) -> str:
        time.sleep(0.3)
        return "c\n"


class Stops:
    """Its thread waits for a while: in a debugger, or by itself."""

    name, version, capabilities = "stops", "1", frozenset({"core"})

    def __init__(self, *, debugged: bool) -> None:
        self._debugged = debugged

    def run(self, probe: Probe) -> None:
        if self._debugged:
            pdb.Pdb(
                stdin=cast(IO[str], Slow()), stdout=io.StringIO(), nosigint=True, readrc=False
            ).set_trace()
        else:
            time.sleep(0.3)
        self.values: dict[str, str] = {"a": str(probe.cell_sync("a", 0, {}))}
        probe.end("success")

    def table(self, _: Probe) -> Table:
        return Table({0: self.values} if hasattr(self, "values") else {})


@pytest.mark.parametrize("debugged", [True, False])
def test_an_engine_that_waits_at_a_breakpoint_does_not_stand_still(debugged: bool) -> None:
    trace = sys.gettrace()
    work = Workload((ColumnDescriptor("a"),), rows=1)
    result = run_workload(Stops(debugged=debugged), work, stall_s=0.1)
    assert sys.gettrace() is trace
    assert [found.clause for found in result.violations] == ([] if debugged else ["SCHED-12"])
