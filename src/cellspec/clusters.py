"""Work on a cluster of the user's, by Dask or by Ray: one task is one item.

*Dask.* A client that is connected is taken, or else the scheduler that ``DASK_SCHEDULER_ADDRESS``
names. *Ray.* A connection that is there is taken, or else the cluster that ``RAY_ADDRESS`` names.
Without any of them a cluster starts on this machine, with a worker for each job, and ends with this
process.

A cluster that does not answer, and a worker that dies under a task, are a `SpecError` of one line.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

from cellspec.errors import MissingExtraError, SpecError

__all__ = ["on_cluster"]

T = TypeVar("T")
A = TypeVar("A")

UNDER_WAY = 2
"""Tasks for each job: while one runs, the next is on its way."""

CONNECT_S = 10.0
"""Seconds in which the address of a Ray cluster has to take a connection."""

JOIN_S = 60.0
"""Seconds in which a Ray cluster has to be joined; Ray itself tries for many minutes."""


def on_cluster(
    part: Callable[[A], T], items: Iterable[A], *, jobs: int, cluster: str, ordered: bool = True
) -> Generator[T, None, None]:
    """The results of ``part(item)`` for each item, each a task of its own.

    Args:
        part, items, ordered: as of `cellspec.parallel.in_parallel`.
        jobs: about so many tasks run at once, as far as the cluster has workers.
        cluster: dask or ray.

    Raises:
        MissingExtraError: the cluster's package is not installed.
        SpecError: the cluster does not answer, or lost a task.
    """
    link: _Link = {"dask": _Dask, "ray": _Ray}[cluster](part, jobs)
    rest = iter(items)
    under_way = deque(map(link.submit, islice(rest, UNDER_WAY * jobs)))
    try:
        while under_way:
            if ordered:
                done = under_way.popleft()
            else:
                done = link.first_done(under_way)
                under_way.remove(done)
            result = link.result(done)
            # The workers have something to do while the result is looked at.
            under_way.extend(map(link.submit, islice(rest, 1)))
            yield result
    finally:
        for task in under_way:
            link.give_up(task)


class _Link(ABC):
    """A connection to a cluster.

    Args:
        part: the function of each task.
        jobs: workers of a cluster that is started here.
    """

    @abstractmethod
    def __init__(self, part: Callable[[Any], Any], jobs: int) -> None: ...

    @abstractmethod
    def submit(self, item: object) -> Any:
        """Begin a task, and return it."""

    @abstractmethod
    def first_done(self, tasks: Sequence[Any]) -> Any:
        """One of some tasks that is done; it waits for one."""

    @abstractmethod
    def result(self, task: Any) -> Any:
        """The result of a task, or the exception that its function raised."""

    @abstractmethod
    def give_up(self, task: Any) -> None:
        """Say that a task is not wanted any more; it may run to its end all the same."""


class _Dask(_Link):
    """A Dask client."""

    def __init__(self, part: Callable[[Any], Any], jobs: int) -> None:
        try:
            import distributed
        except ImportError:
            raise MissingExtraError("a Dask cluster", "dask") from None
        self._part, self._api = part, distributed
        try:
            self._client = distributed.default_client()
        except ValueError:
            self._client = self._connected(jobs)

    def _connected(self, jobs: int) -> Any:
        from dask import config

        if not config.get("scheduler-address", None):
            return self._api.Client(
                n_workers=jobs,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
        try:
            return self._api.Client()
        except (OSError, ValueError) as error:
            address = config.get("scheduler-address")
            raise SpecError(f"no Dask scheduler answers at {address}: {error}") from None

    def submit(self, item: object) -> Any:
        # Two tasks with equal arguments are two tasks.
        return self._client.submit(self._part, item, pure=False)

    def first_done(self, tasks: Sequence[Any]) -> Any:
        done, _ = self._api.wait(list(tasks), return_when="FIRST_COMPLETED")
        return next(task for task in tasks if task in done)

    def result(self, task: Any) -> Any:
        lost = (self._api.KilledWorker, self._api.CancelledError, self._api.comm.CommClosedError)
        try:
            return task.result()
        except lost as error:
            raise _lost("Dask", error) from None

    def give_up(self, task: Any) -> None:
        task.cancel()


class _Ray(_Link):
    """A connection to Ray."""

    def __init__(self, part: Callable[[Any], Any], jobs: int) -> None:
        # Ray reads these when it is imported.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if not os.environ.get("RAY_ADDRESS"):
            # Keeps Ray on the loopback; elsewhere than on Linux this is the default.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        try:
            import ray
        except ImportError:
            raise MissingExtraError("a Ray cluster", "ray") from None
        self._ray = ray
        if not ray.is_initialized():
            address = os.environ.get("RAY_ADDRESS")
            quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
            try:
                if address:
                    _expect_answer(address)
                    _within(lambda: ray.init(**quiet), f"no Ray cluster answers at {address}")
                else:
                    local = {"num_cpus": jobs, "num_gpus": 0, "include_dashboard": False}
                    ray.init(address="local", **local, **quiet)
            except SpecError:
                raise
            except Exception as error:
                why = (str(error).splitlines() or [type(error).__name__])[0]
                raise SpecError(f"Ray does not start: {why}") from None
        self._part = ray.remote(num_cpus=1)(part)

    def submit(self, item: object) -> Any:
        return self._part.remote(item)

    def first_done(self, tasks: Sequence[Any]) -> Any:
        return self._ray.wait(list(tasks), num_returns=1)[0][0]

    def result(self, task: Any) -> Any:
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            # As it was raised; Ray's own text is a traceback of the worker.
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            raise _lost("Ray", error) from None

    def give_up(self, task: Any) -> None:
        """Do nothing: to cancel a task that is just ending aborts this process, in Ray's own code.

        The few that are under way end by themselves, or with this process.
        """


def _lost(cluster: str, error: Exception) -> SpecError:
    # The first sentence; what follows is for people who run clusters.
    why = " ".join(str(error).split()).partition(". ")[0].rstrip(".") or type(error).__name__
    return SpecError(f"{cluster} lost a task: {why}")


def _expect_answer(address: str) -> None:
    """Refuse the address of a Ray cluster at which nothing listens.

    Args:
        address: ``HOST:PORT``, or ``ray://HOST:PORT``; any other text, such as ``auto``, is left
            to Ray.

    Raises:
        SpecError: it does not take a connection within `CONNECT_S` seconds.
    """
    place = re.fullmatch(r"(?:ray://)?\[?([^/\]]+?)\]?:(\d{1,5})", address)
    if place is None:
        return
    try:
        socket.create_connection((place[1], int(place[2])), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise SpecError(f"no Ray cluster answers at {address}: {why}") from None


def _within(join: Callable[[], object], silent: str) -> None:
    """Join a cluster, or give up after `JOIN_S` seconds.

    Args:
        join: returns when it is joined.
        silent: what is said otherwise.

    Raises:
        SpecError: it is not joined in time.
        Exception: as of `join`.
    """
    failed: list[Exception] = []

    def joined() -> None:
        try:
            join()
        except Exception as error:
            failed.append(error)

    # Nothing interrupts Ray's own code; a thread that waits in it ends with the process.
    thread = threading.Thread(target=joined, daemon=True)
    thread.start()
    thread.join(JOIN_S)
    if thread.is_alive():
        raise SpecError(f"{silent}: something listens there, and is no Ray cluster")
    if failed:
        raise failed[0]
