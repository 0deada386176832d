"""Processes in the environment of a release, and their output without places of this machine.

`run_process` starts a command with its output in a file and ends it, with every process that it
started, when its time is up; `at_once` has several go at a time. The other functions read that
output for a page: the last line of a log, and text in which paths and addresses of this machine are
shortened, so that equal runs give equal pages.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

from cellspec.files import open_log

__all__ = [
    "Json",
    "at_once",
    "cpu_seconds",
    "kill_all",
    "last_line",
    "plain",
    "read_object",
    "run_process",
    "settled",
]

Json = dict[str, Any]

_T = TypeVar("_T")
_RUNNING: set[subprocess.Popen[bytes]] = set()
_SPENT = threading.local()
_ENDING = threading.Event()


def run_process(
    command: Sequence[str],
    folder: Path,
    log: Path,
    limit_s: float,
    variables: Mapping[str, str],
) -> int | None:
    """Run a command in a folder, its output in `log`.

    Args:
        command: the program and its arguments.
        folder: the working directory.
        log: the file for stdout and stderr.
        limit_s: seconds after which the command, and all that it started, is killed.
        variables: environment variables, added to those of this process.

    Returns:
        The exit code; None if the command was killed because its time was up.

    Raises:
        RuntimeError: the whole run is being ended; the command was ended, or is not begun.
    """
    _expect_to_go_on()
    environment = {**os.environ, **variables}
    # Options for the tests of this checkout do not hold for the suite that runs here.
    environment.pop("PYTEST_ADDOPTS", None)
    # A release's modules take seconds to compile, and hundreds of processes import them.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with open_log(log) as output:
        child = subprocess.Popen(
            list(command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _RUNNING.add(child)
        if _ENDING.is_set():
            _kill(child)
        try:
            code = _ended(child, limit_s)
        finally:
            _kill(child)
            _ended(child, None)
            _RUNNING.discard(child)
    _expect_to_go_on()
    return code


def _expect_to_go_on() -> None:
    """Leave a task of a run that is being ended: what its process said counts for nothing."""
    if _ENDING.is_set():
        raise RuntimeError("the run is being ended")


def _ended(child: subprocess.Popen[bytes], limit_s: float | None) -> int | None:
    """Wait for a process and count its CPU time; its exit code, or None if its time is up."""
    began = time.monotonic()
    while child.returncode is None:
        process, status, usage = os.wait4(child.pid, os.WNOHANG)
        if process:
            child.returncode = os.waitstatus_to_exitcode(status)
            _SPENT.cpu_s = cpu_seconds() + usage.ru_utime + usage.ru_stime
        elif limit_s is not None and time.monotonic() - began > limit_s:
            return None
        else:
            time.sleep(0.02)
    return child.returncode


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def kill_all() -> None:
    """End every process that runs now, and all that they started."""
    for child in list(_RUNNING):
        _kill(child)


def cpu_seconds() -> float:
    """CPU seconds of all processes that this thread has started and that have ended."""
    return float(getattr(_SPENT, "cpu_s", 0.0))


def at_once(jobs: int, tasks: Iterable[Callable[[], _T]]) -> list[_T]:
    """Run tasks that start processes, `jobs` of them at a time; their results in order.

    An interrupt, or an error of one task, ends the processes of all, and no other is begun.
    """
    pool = ThreadPoolExecutor(jobs)
    futures = [pool.submit(task) for task in tasks]
    try:
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
        return [future.result() for future in futures]
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        outermost = not _ENDING.is_set()
        _ENDING.set()
        kill_all()
        pool.shutdown()
        if outermost:
            _ENDING.clear()
        raise
    finally:
        pool.shutdown()


def read_object(path: Path) -> Json:
    """The JSON object in a file of the work folder; empty without one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def last_line(log: Path) -> str:
    """The last line of a log that is not blank, at most 300 characters; "" without one."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    filled = [line.strip() for line in lines if line.strip()]
    return filled[-1][:300] if filled else ""


def plain(text: str, root: Path, folder: Path) -> str:
    """The text with paths below `root` and `folder`, of packages, and addresses shortened."""
    for place in (str(folder), str(root)):
        text = text.replace(f"{place}/", "").replace(place, ".")
    text = re.sub(r"[\w./+-]*/site-packages/", "", text)
    text = re.sub(r"[\w./+-]*/lib/python3\.\d+/", "", text)
    text = re.sub(r"(?:/dev/shm|/tmp|/var/tmp)/cellspec-\w+", "…", text)
    return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x…", text)


def settled(value: Any, root: Path, folder: Path) -> Any:
    """Results with every text made `plain`, and without ``cost``, which differs by machine."""
    if isinstance(value, str):
        return plain(value, root, folder)
    if isinstance(value, list):
        return [settled(item, root, folder) for item in value]
    if isinstance(value, dict):
        return {key: settled(item, root, folder) for key, item in value.items() if key != "cost"}
    return value
