"""Processes in the environment of a release, and their output without places of this machine.

`run_process` starts a command with its output in a file and ends it, with every process that it
started, when its time is up. The other functions read that output for a page: the last line of a
log, and text in which paths and addresses of this machine are shortened, so that equal runs give
equal pages.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellspec.files import open_log

__all__ = ["Json", "cpu_seconds", "last_line", "plain", "read_object", "run_process", "settled"]

Json = dict[str, Any]


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
    """
    environment = {**os.environ, **variables}
    # Options for the tests of this checkout do not hold for the suite that runs here.
    environment.pop("PYTEST_ADDOPTS", None)
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
        try:
            return child.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def cpu_seconds() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


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
