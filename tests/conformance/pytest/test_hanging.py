"""An engine that computes for ever, and the user who ends the run: what each of the two is told.

And what ends a run otherwise: threads that hang hold up no end of the process, nor does an engine
that is at work when SIGTERM comes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cellspec import ColumnDescriptor, exit_codes
from cellspec.conformance import Workload
from cellspec.conformance.run.case import Case
from cellspec.exit_codes import INTERRUPTED, TERMINATED, VIOLATED
from tests.conformance.pytest.test_plugin import SUITE

ENGINE = """
import signal

from cellspec.conformance import Table
from cellspec.conformance.pytest import session
from cellspec.conformance.run import watchdog

# A process that a shell starts in the background ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
watchdog.QUIET_S = 0.2
session.HANDING_OVER_S = 120.0


class Backend:
    name = "computes"
    version = "1"
    capabilities = frozenset({"core"})

    async def run(self, probe):
        value = await probe.cell("a", 0, {})
        while probe.rows > 1:
            pass
        self.values = {"a": value}
        probe.end("success")

    def table(self, _):
        return Table({0: self.values})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to a group of processes")
@pytest.mark.parametrize("workers", [["-pno:xdist"], ["-n1"]], ids=["alone", "xdist"])
def test_an_engine_that_computes_for_ever_is_named_and_judged_when_the_user_ends_the_run(
    tmp_path: Path, workers: list[str]
) -> None:
    (tmp_path / "forever.py").write_text(ENGINE)
    suite = ["-m", "pytest", "--pyargs", "cellspec.conformance", "--engine-backend=forever:Backend"]
    run = subprocess.Popen(
        [sys.executable, *suite, "--profile=core", *workers, "--conformance-json=found.json"],
        cwd=tmp_path,
        stdout=(tmp_path / "out").open("w"),
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    with run:
        assert run.stderr is not None
        said = next((line for line in run.stderr if line.startswith("cellspec: ")), "")
        os.killpg(run.pid, signal.SIGINT)
        rest = run.stderr.read()
    assert " has not come back to its event loop for 0.2 s: it is in Backend.run (" in said
    assert (run.returncode, "Traceback" in rest) == (INTERRUPTED, False)
    text = (tmp_path / "out").read_text(encoding="utf-8")
    found, _, summary = text.partition(" cellspec conformance ===")
    assert "SCHED-12 is broken by computes 1 (workload 2 of the smoke test)" in found
    assert "the engine does not come back to its event loop: Backend.run (" in found
    (case,) = (tmp_path / ".cellspec" / "cases").iterdir()
    assert f"--replay .cellspec/cases/{case.name}" in found
    assert "root causes: 1 " in summary
    assert "written: found.json" in summary


EXECUTOR = """
import threading
from concurrent.futures import ThreadPoolExecutor

from cellspec import exit_codes
from cellspec.conformance import Table
from cellspec.conformance.campaign import patience

patience.STALL_S = exit_codes.EXIT_S = 0.1


class Backend:
    name = "waits"
    version = "1"
    capabilities = frozenset({"core"})

    def run(self, probe):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(threading.Event().wait).result()

    def table(self, _):
        return Table({})
"""


@pytest.mark.parametrize(
    "program",
    [
        ["pytest", "-pno:cacheprovider", *SUITE, "--engine-backend=forever:Backend"],
        ["cellspec", "conformance", "forever:Backend", "-pno:cacheprovider"],
    ],
    ids=["pytest", "cellspec"],
)
def test_threads_of_an_executor_that_wait_for_ever_do_not_keep_the_process(
    tmp_path: Path, program: list[str]
) -> None:
    (tmp_path / "forever.py").write_text(EXECUTOR)
    (tmp_path / "case.json").write_text(Case(Workload((ColumnDescriptor("a"),), 1)).to_json())
    done = subprocess.run(
        [sys.executable, "-m", *program, "--replay=case.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == VIOLATED
    assert "SCHED-12 is broken by waits 1" in done.stdout
    assert "Traceback" not in done.stderr


EMBEDDED = """
import sys, threading
import pytest
threading.Thread(target=threading.Event().wait, daemon=True).start()
{run}
import time
time.sleep(1.5)
print("went on")
"""


@pytest.mark.parametrize(
    "run", ["pytest.main(sys.argv[1:])", "from sim import cli; cli.main(['check', '--help'])"]
)
def test_a_program_that_goes_on_is_not_ended_for_its_threads(tmp_path: Path, run: str) -> None:
    (tmp_path / "runner.py").write_text(EMBEDDED.format(run=run))
    done = subprocess.run(
        [sys.executable, "runner.py", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "went on" in done.stdout


def test_a_process_in_which_no_engine_hung_takes_the_time_that_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(exit_codes, "EXIT_S", 0.0)
    monkeypatch.setattr(os, "_exit", lambda _code: ended.set())
    monkeypatch.setattr(exit_codes, "_PROCESS", exit_codes._Process())
    thread = threading.Thread(target=over.wait, daemon=True)
    thread.start()
    try:
        exit_codes.bound_exit(1)
        assert not ended.wait(0.1)
        exit_codes.leave_threads()
        exit_codes.bound_exit(1)
        assert ended.wait(10)
    finally:
        over.set()
        thread.join()


STOPPED = """
import signal

from cellspec.conformance import Table


class Backend:
    name = "right"
    version = "1"
    capabilities = frozenset({"core"})

    async def run(self, probe):
        self.values = {"a": await probe.cell("a", 0, {})}
        signal.raise_signal(signal.SIGTERM)
        probe.end("success")

    def table(self, _):
        return Table({0: self.values})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM")
def test_sigterm_ends_a_run_at_once_and_judges_nothing(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(STOPPED)
    done = subprocess.run(
        [sys.executable, "-m", "cellspec", "conformance", "right:Backend", "-pno:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == TERMINATED
    assert "violated" not in done.stdout + done.stderr
