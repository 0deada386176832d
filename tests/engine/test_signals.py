"""A real process of the reference engine gets a real signal, and the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cellspec import ColumnDescriptor, ExecutionGraph
from cellspec.engine.storage.filesystem import RealFileSystem
from cellspec.engine.storage.recovery import RunDirectory

ROWS = 40

ASYNCIO = r"""
import asyncio, os, signal, sys
from cellspec import ColumnDescriptor, ExecutionGraph, Limits
from cellspec.engine import AsyncioEngine

async def a(row, inputs):
    os.write(1, f"{row}\n".encode())
    await asyncio.sleep(0.02)
    return row

async def main(folder):
    graph = ExecutionGraph(40, [ColumnDescriptor("a")])
    engine = AsyncioEngine(graph, {"a": a}, folder=folder, limits=Limits(workers=2))
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, engine.request_stop)
    print("end", (await engine.run()).outcome, flush=True)

asyncio.run(main(sys.argv[1]))
"""

THREADS = r"""
import os, signal, sys, time
from cellspec import ColumnDescriptor, ExecutionGraph, Limits
from cellspec.engine import ThreadEngine

def a(row, inputs):
    os.write(1, f"{row}\n".encode())
    time.sleep(0.02)
    return row

graph = ExecutionGraph(40, [ColumnDescriptor("a")])
engine = ThreadEngine(graph, {"a": a}, folder=sys.argv[1], limits=Limits(workers=2))
for each in (signal.SIGINT, signal.SIGTERM):
    signal.signal(each, lambda *_: engine.request_stop())
print("end", engine.run().outcome, flush=True)
"""


def calls_of(text: str) -> list[int]:
    return [int(line) for line in text.split() if line.isdigit()]


def claimed(folder: Path) -> int:
    """The rows that the folder's checkpoint claims, each of which it holds."""
    graph = ExecutionGraph(ROWS, [ColumnDescriptor("a")])
    found = RunDirectory(RealFileSystem(folder), graph).read()
    assert found is not None
    rows = dict(found.rows)
    assert rows == {row: {"a": row} for row in range(len(rows))}
    return len(rows)


@pytest.mark.clause("STOP-05", "STOP-06", "STOP-07", "CKPT-12")
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", [ASYNCIO, THREADS], ids=["asyncio", "threads"])
def test_a_signal_ends_a_run_well_and_the_next_process_does_the_rest(
    program: str, number: signal.Signals, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        before = "".join(process.stdout.readline() for _ in range(8))
        process.send_signal(number)
        after, _ = process.communicate(timeout=60)
    made = calls_of(before + after)
    assert after.splitlines()[-1] == "end interrupted"
    assert process.returncode == 0
    # Every call that began has ended, and its row is claimed.
    assert claimed(tmp_path) == len(made) < ROWS
    rest = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert rest.stdout.splitlines()[-1] == "end success"
    assert sorted(calls_of(rest.stdout)) == list(range(len(made), ROWS))
    assert claimed(tmp_path) == ROWS
