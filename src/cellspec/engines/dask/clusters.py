"""Clusters of Dask: those that are started here, and those that are there already."""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any

from cellspec.errors import SpecError
from cellspec.machine.limits import Limits

__all__ = ["Shape", "client_of", "connect", "limits_of", "stop_clusters"]

CONNECT_S = 10

_QUIET = {
    # Each cluster would look at its threads a hundred times a second, for a page that stays shut.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The threads and resources of each worker; one worker in this process, or many processes."""

    threads: int
    resources: tuple[tuple[str, int], ...]
    processes: int = 0


_clients: dict[Shape, Any] = {}
_starting = threading.Lock()


def client_of(shape: Shape) -> Any:
    """A client of a cluster of this shape; it is started once, and stopped when Python ends."""
    with _starting:
        if not _clients:
            # Registered after Dask's own, and so called before them.
            atexit.register(stop_clusters)
        if shape not in _clients:
            _clients[shape] = _start(shape)
        return _clients[shape]


def _start(shape: Shape) -> Any:
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster, Worker

    where: dict[str, Any] = {"protocol": "inproc://"}
    if shape.processes:
        where = {"protocol": "tcp://", "host": "127.0.0.1"}
    # There is no dashboard; without an address its server would still ask for a port of its own.
    where |= {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    has = {"nthreads": shape.threads, "resources": dict(shape.resources), "memory_limit": None}
    worker = {
        "cls": Nanny if shape.processes else Worker,
        "options": where | has | {"silence_logs": logging.CRITICAL},
    }
    with dask.config.set(_QUIET):
        cluster = SpecCluster(
            scheduler={"cls": Scheduler, "options": where | {"port": 0}},
            workers=dict.fromkeys(range(shape.processes or 1), worker),
            silence_logs=logging.CRITICAL,
        )
        return Client(cluster, set_as_default=False)


def stop_clusters() -> None:
    """Stop every cluster that was started here; workloads that follow start them again."""
    while _clients:
        _, client = _clients.popitem()
        with contextlib.suppress(Exception):
            cluster = client.cluster
            client.close()
            cluster.close()


def connect(address: str) -> Any:
    from distributed import Client

    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SpecError(f"no Dask scheduler answers at {address}: {error}") from None


def limits_of(client: Any) -> Limits:
    """The threads and resources that the workers of a cluster have together.

    Raises:
        SpecError: the cluster has no workers.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not workers:
        raise SpecError(f"the Dask scheduler at {client.scheduler.address} has no workers")
    has: Counter[str] = Counter()
    for worker in workers:
        has.update({name: int(most) for name, most in worker["resources"].items()})
    return Limits(
        sum(worker["nthreads"] for worker in workers),
        {name: most for name, most in sorted(has.items()) if most},
    )
