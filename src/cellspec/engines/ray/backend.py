"""Ray as a backend: one instance or cluster for all workloads, a driver for each run."""

from __future__ import annotations

import os

from cellspec.conformance.run.probe import Probe, Refused
from cellspec.conformance.run.values import Table
from cellspec.conformance.run.workload import Workload
from cellspec.engines.ray.driver import Driver
from cellspec.engines.ray.instance import RESOURCES_MAX, started
from cellspec.engines.remote import ProbeServer
from cellspec.engines.rows import table, with_failures_in_line, with_named_failures
from cellspec.errors import SpecError
from cellspec.machine.limits import check_limits

__all__ = ["RayBackend"]


class RayBackend:
    """Ray, through its tasks and object references. See `cellspec.engines.ray`.

    Attributes:
        driver_class: the driver; a test puts one in that is wrong on purpose.

    Raises:
        SpecError: Ray is not installed, or the cluster that ``RAY_ADDRESS`` names has none of the
            resources that limits are parts of.
    """

    name = "ray"
    capabilities = frozenset(
        {
            "core",
            "batch_barriers",
            "groups",
            "ordered",
            "retries",
            "drops",
            "skips",
            "resume",
            "targets",
            "config",
            "storage_steps",
        }
    )
    driver_class: type[Driver] = Driver

    def __init__(self) -> None:
        self.ray = started()
        self.version: str = self.ray.__version__

    def fit(self, work: Workload) -> Workload | None:
        """The nearest workload that Ray can be asked for; None with too many limited resources."""
        if len(work.limits.resources) > RESOURCES_MAX:
            return None
        return with_failures_in_line(with_named_failures(work))

    def run(self, probe: Probe) -> None:
        """Run the workload for one run of the process.

        Raises:
            Refused: limits under which no barrier could run, or a resume that does not fit.
        """
        try:
            check_limits(probe.work.limits, probe.work.graph(probe.incarnation).rules)
        except SpecError as error:
            raise Refused(str(error)) from None
        # Ray counts a dead worker on the same budget as the exceptions that it repeats.
        probe.lost_as = "retryable"
        more = {"skip": lambda column, row, lost: probe.skip(column, row)}  # noqa: ARG005
        host = os.environ.get("CELLSPEC_PROBE_HOST", "127.0.0.1")
        with ProbeServer(probe, more, host=host) as server:
            self.driver_class(self.ray, probe, server.remote).run()

    def table(self, probe: Probe) -> Table:
        """The durable rows."""
        return table(probe.folder)
