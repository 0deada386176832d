"""An engine that prints a lot: all of it stays inside pytest's capture, and out of the verdicts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cellspec.exit_codes import FINE
from tests.conformance.pytest.test_plugin import ENGINE, SUITE

LOUD = """
import logging
import os
import subprocess
import sys
import threading
import warnings

import quiet

logging.basicConfig(level=logging.INFO)


def shout(where):
    print("LOUD stdout", where)
    print("LOUD stderr", where, file=sys.stderr)
    os.write(1, b"LOUD file 1\\n")
    os.write(2, b"LOUD file 2\\n")
    logging.getLogger("loud").warning("LOUD log %s", where)
    warnings.warn("LOUD warning", stacklevel=1)


shout("import")


class Backend(quiet.Backend):
    def save(self, probe, rows):
        shout("loop")
        thread = threading.Thread(target=shout, args=("thread",))
        thread.start()
        thread.join()
        if len(rows) == 1:
            subprocess.run(["sh", "-c", "echo LOUD child; echo LOUD child >&2"], check=True)
        super().save(probe, rows)
"""


@pytest.mark.parametrize("more", [[], ["-n2"]], ids=["one process", "xdist"])
def test_an_engine_that_prints_a_lot_does_not_show_in_the_output(
    more: list[str], tmp_path: Path
) -> None:
    (tmp_path / "quiet.py").write_text(ENGINE)
    (tmp_path / "loud.py").write_text(LOUD)
    options = ["--engine-backend=loud:Backend", "--profile=core", "--max-examples=3"]
    # A summary of warnings is pytest's own, and shows each once.
    plain = ["--disable-warnings", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *SUITE, *options, *plain, *more],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == FINE
    assert "\nclauses: " in done.stdout
    assert [line for line in done.stdout.splitlines() if "LOUD" in line] == []
    assert done.stderr == ""
