"""Blocking calls: a coroutine that takes real time on a virtual loop is named by its line."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from cellspec import virtualtime

HERE = Path(__file__).name


async def sleeps(seconds: float) -> None:
    time.sleep(seconds)


async def sleeps_in_a_thread() -> None:
    await asyncio.to_thread(time.sleep, 0.001)


def test_a_coroutine_that_blocks_is_named_with_file_and_line() -> None:
    line = sleeps.__code__.co_firstlineno + 1
    for _ in range(2):
        with pytest.warns(
            virtualtime.RealTimeWarning, match=r"time.sleep\(\) takes real time"
        ) as told:
            virtualtime.run(sleeps(0.001))
        assert [(Path(one.filename).name, one.lineno) for one in told] == [(HERE, line)]


def test_what_takes_no_time_of_the_loop_is_not_named() -> None:
    before = time.sleep
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        virtualtime.run(sleeps(0))
        virtualtime.run(sleeps_in_a_thread())
        asyncio.run(sleeps(0.001))
    assert time.sleep is before


async def runs_a_child() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def test_blocking_calls_are_kept_by_the_line_outside_of_the_standard_library() -> None:
    line = runs_a_child.__code__.co_firstlineno + 1
    with virtualtime.blocking_calls() as found, pytest.warns(virtualtime.RealTimeWarning):
        virtualtime.run(runs_a_child())
    assert list(found) == [f"a wait for a child process at virtualtime/{HERE}:{line}"]
    with virtualtime.blocking_calls() as found:
        virtualtime.run(sleeps(0))
    assert list(found) == []
