"""Ray itself: the local instance that is started here, or a cluster, and its resources."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellspec.errors import SpecError, how_to_install

__all__ = ["CPUS", "PARTS_MAX", "RESOURCES", "RESOURCES_MAX", "WORKERS", "part_of", "started"]

CPUS = 4
"""Logical processors of the local instance: worker processes, and so the most calls at once."""

RESOURCES_MAX = 8
"""How many limited resources a workload may have beside its limit of workers."""

PARTS_MAX = 99
"""The highest limit that a part of a resource can express; a higher one is taken for this one."""

OBJECT_STORE_BYTES = 100 * 2**20

WORKERS = "cellspec_workers"
RESOURCES = tuple(f"cellspec_{number}" for number in range(RESOURCES_MAX))
_STARTS = 3
"""Attempts to start the local instance."""

_LEAVES_S = 5.0
_LAST_LINES_S = 0.5


def part_of(limit: int) -> float:
    """The part of a resource that each task takes, so that `limit` tasks fit; the resource has one.

    Ray counts in ten-thousandths.
    """
    return (10_000 // min(limit, PARTS_MAX)) / 10_000


def started() -> Any:
    """Ray, connected to the cluster that the environment names or to a local instance.

    Raises:
        SpecError: Ray is not installed, does not start, or lacks the resources.
    """
    # Ray reads these when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A call after the end is a mistake, and no reason to start Ray once more.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    # A repeated task is no error here.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "Task run_(cell|barrier) failed")
    if not os.environ.get("RAY_ADDRESS"):
        # Keeps Ray on the loopback; elsewhere than on Linux this is the default.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise SpecError(f"the Ray backend needs Ray; {how_to_install('ray')}") from None
    if not ray.is_initialized():
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if os.environ.get("RAY_ADDRESS"):
                ray.init(**quiet)
            else:
                _start_local(ray, quiet)
        except Exception as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise SpecError(f"Ray does not start: {why}") from None
    missing = [name for name in (WORKERS, RESOURCES[0]) if name not in ray.cluster_resources()]
    if missing:
        raise SpecError(
            f"Ray: the cluster has no resource {missing[0]!r}; start one node with "
            f'--resources=\'{{"{WORKERS}": 1, "{RESOURCES[0]}": 1}}\''
        )
    return ray


def _start_local(ray: Any, quiet: Mapping[str, Any]) -> None:
    """Start a local instance, which ends with this process."""
    for left in reversed(range(_STARTS)):
        # Not where TMPDIR says: the paths of sockets must be short.
        folder = tempfile.mkdtemp(prefix="cellspec-ray-", dir="/tmp")
        atexit.register(_stop_local, ray, folder)
        try:
            ray.init(
                address="local",
                num_cpus=CPUS,
                num_gpus=0,
                resources=dict.fromkeys((WORKERS, *RESOURCES), 1),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                _temp_dir=folder,
                # Other programs on the machine are no reason to kill a task.
                _system_config={"memory_monitor_refresh_ms": 0},
                **quiet,
            )
        except Exception:
            # Ray waits 30 s for its own processes; a busy machine may need longer to start them.
            # Ray stops them at exit, so the folder stays until then.
            if not left:
                raise
        else:
            # A worker that still starts when a task needs it looks like a run that stands still.
            warm_up = ray.remote(num_cpus=1)(_warm_up)
            ray.get([warm_up.remote() for _ in range(CPUS)])
            return


def _warm_up() -> None:
    """Import this module in a worker; the pause leaves the next call to another worker."""
    time.sleep(0.1)


def _stop_local(ray: Any, folder: str) -> None:
    with contextlib.suppress(Exception):
        ray.shutdown()
    until = time.monotonic() + _LEAVES_S
    while Path(folder).exists() and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        # Processes that are stopping may write last lines, and so make the folder again.
        time.sleep(_LAST_LINES_S)
