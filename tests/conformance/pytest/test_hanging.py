"""An engine that computes for ever, and the user who ends the run: what each of the two is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cellspec.exit_codes import INTERRUPTED

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
