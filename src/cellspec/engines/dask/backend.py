"""Dask as a backend: in threads of this process, in processes, or on a cluster that is there."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.values import Table
from cellspec.conformance.run.workload import Workload
from cellspec.engines.dask.calls import serve_elsewhere, serve_here
from cellspec.engines.dask.clusters import Shape, client_of, connect, limits_of
from cellspec.engines.dask.driver import Driver
from cellspec.engines.rows import table, with_failures_in_line, with_named_failures
from cellspec.errors import SpecError, how_to_install
from cellspec.machine.limits import Limits

__all__ = ["ADDRESS", "THREADS", "DaskBackend", "ProcessBackend"]

ADDRESS = "DASK_SCHEDULER_ADDRESS"
"""The environment variable that names the scheduler of a cluster that is there already."""

THREADS = 16
"""Threads of the workers where the workload sets no limit."""


class DaskBackend:
    """Dask in threads of this process, or on a cluster that is there already.

    See `cellspec.engines.dask`.

    Args:
        address: the scheduler of a cluster to use; by default the one that
            ``DASK_SCHEDULER_ADDRESS`` names, or a cluster of its own.

    Raises:
        SpecError: Dask is not installed, or nothing answers at the address.
    """

    name = "dask"
    capabilities = frozenset(
        {"core", "batch_barriers", "ordered", "retries", "drops", "skips", "resume", "targets"}
        | {"column_checkpoints", "config", "storage_steps"}
    )
    driver_class: type[Driver] = Driver

    def __init__(self, address: str | None = None) -> None:
        try:
            import distributed
        except ImportError:
            raise SpecError(f"{type(self).__name__} needs Dask; {how_to_install('dask')}") from None
        self.version: str = distributed.__version__
        # Asked once: a worker that restarts is missing meanwhile, and fit must not depend on that.
        self._there = self._connect(address or os.environ.get(ADDRESS, ""))
        self._has = Limits() if self._there is None else limits_of(self._there)

    def _connect(self, address: str) -> Any:
        """A client of the cluster that every workload runs on; None if each has one of its own."""
        return connect(address) if address else None

    def fit(self, work: Workload) -> Workload:
        """The nearest workload that Dask can be asked for."""
        work = with_failures_in_line(with_named_failures(work))
        if self._there is None:
            return work
        has, asked = self._has.resources, work.limits
        takes = {column: name for column, name in asked.column_resource.items() if name in has}
        resources = {name: has[name] for name in asked.resources if name in has}
        limits = replace(
            asked, workers=self._has.workers, resources=resources, column_resource=takes
        )
        return work if limits == asked else work.replace(limits=limits)

    def run(self, probe: Probe) -> None:
        """Run a workload for one run of the process."""
        driver = self.driver_class(probe, elsewhere=self._there is not None)
        driver.state.restore()
        if not driver.state.complete:
            serve = serve_here if self._there is None else serve_elsewhere
            with serve(driver.broker) as calls:
                driver.drive(self.client(probe.work), calls)
        driver.state.save()
        probe.end("success" if driver.state.complete else "failed")

    def table(self, probe: Probe) -> Table:
        """The durable rows."""
        return table(probe.folder)

    def client(self, work: Workload) -> Any:
        """A client of the cluster that a workload runs on."""
        if self._there is not None:
            return self._there
        resources = tuple(sorted(work.limits.resources.items()))
        return client_of(Shape(work.limits.workers or THREADS, resources))

    def close(self) -> None:
        """Leave the cluster that was there already."""
        if self._there is not None:
            self._there.close()


class ProcessBackend(DaskBackend):
    """Dask with two workers that are processes, each with a nanny that starts it again if it dies.

    They are started with the backend, for that takes seconds. Each has one thread, and one unit of
    the resource that the suite's workloads use; workloads are fitted to that.
    """

    name = "dask-processes"

    def _connect(self, _address: str) -> Any:
        return client_of(Shape(1, (("r", 1),), processes=2))
