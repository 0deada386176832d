"""Parts in other processes: the results of one process, and what is said when a process is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DIES = """
import os, signal, sys
from cellspec.errors import SpecError
from cellspec.parallel import in_parallel

def dies(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number

if __name__ == "__main__":
    try:
        list(in_parallel(dies, range(6), jobs=2, cluster=sys.argv[1]))
    except SpecError as error:
        print(error)
"""
"""A program whose part kills its process, on the backend that is its argument."""


def test_a_process_that_is_killed_under_its_part_is_said_in_one_line(tmp_path: Path) -> None:
    program = tmp_path / "dies.py"
    program.write_text(DIES)
    done = subprocess.run(
        [sys.executable, str(program), "loky"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (
        0,
        "one of the 2 processes was killed from outside, as a system without memory does; a "
        "smaller --jobs takes less\n",
    ), done.stderr
