"""Work in other processes, by joblib, or on a cluster.

Work comes in parts, each a function of its item alone. So the results are the same for any number
of processes.
"""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from cellspec.clusters import on_cluster
from cellspec.errors import MissingExtraError, SpecError

__all__ = ["CLUSTERS", "in_parallel"]

T = TypeVar("T")
A = TypeVar("A")

CLUSTERS = ("loky", "dask", "ray")
"""Where parts may run: processes on this machine, a Dask cluster, a Ray cluster."""


def in_parallel(
    part: Callable[[A], T],
    items: Iterable[A],
    *,
    jobs: int,
    cluster: str = "loky",
    ordered: bool = True,
) -> Generator[T, None, None]:
    """The results of ``part(item)`` for each item, several at once; one job works in this process.

    Args:
        part: a function of a module, so that it can be sent elsewhere.
        items: what the parts work on; there may be no end of them, and each is taken when a
            process is about to be free.
        jobs: parts at once.
        cluster: one of `CLUSTERS`; `cellspec.clusters` says which cluster is taken.
        ordered: results in the order of the items; else each as soon as it is there.

    Raises:
        MissingExtraError: joblib, or the cluster's package, is not installed.
        SpecError: the cluster does not answer, or a process ended under its part.
    """
    if jobs == 1 and cluster == "loky":
        yield from map(part, items)
        return
    if cluster != "loky":
        yield from on_cluster(part, items, jobs=jobs, cluster=cluster, ordered=ordered)
        return
    from concurrent.futures.process import BrokenProcessPool

    try:
        import joblib
    except ImportError:
        raise MissingExtraError("running several jobs", "parallel") from None
    with joblib.parallel_config(backend="loky"):
        parts: Any = joblib.Parallel(
            n_jobs=jobs,
            return_as="generator" if ordered else "generator_unordered",
            pre_dispatch="2*n_jobs",
        )
        # Ctrl-C is for this process, which ends the others; one that is just beginning would show
        # a traceback of its imports.
        with _deaf_to_interrupts():
            running = parts(joblib.delayed(part)(item) for item in items)
        try:
            # Not `yield from`, which would close it before the warning can be kept away.
            for result in running:  # noqa: UP028
                yield result
        except BrokenProcessPool:
            raise SpecError(
                f"one of the {jobs} processes was killed from outside, as a system without memory "
                "does; a smaller --jobs takes less"
            ) from None
        finally:
            with warnings.catch_warnings():
                # That parts under way are not wanted any more is how every search ends.
                warnings.simplefilter("ignore")
                running.close()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A context in which a process may begin that ignores Ctrl-C; here it waits until the end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    handler = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
