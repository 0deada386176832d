"""Under real threads, at every interleaving that was tried, a thread-safe tracker loses nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def explored(kind: str) -> str:
    """What `tests.interleavings` prints for one kind of tracker."""
    frontrun = Path(sys.executable).parent / "frontrun"
    done = subprocess.run(
        [frontrun, sys.executable, "-m", "tests.interleavings", kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.clause("TRACK-08")
def test_a_thread_safe_tracker_keeps_every_mark() -> None:
    assert explored("thread-safe") == "every mark kept in 300 interleavings"


@pytest.mark.clause("TRACK-08")
def test_the_exploration_can_fail_a_plain_tracker_loses_a_mark() -> None:
    assert explored("plain").startswith("a mark was lost")
