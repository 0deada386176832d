"""DataDesigner's `AsyncTaskScheduler`, driven directly in virtual time.

`SchedulerBackend` gives the real scheduler a real execution graph, completion tracker and buffer of
row groups, and generators whose calls are the probe's (`cellspec.engines.datadesigner.mocks`). Its
decisions are its own: order, retries and salvage rounds, drops, skips, early shutdown, admission of
row groups and tasks.

A workload in its words, beside its columns:

===================  ===============================================================================
a workload's          is in DataDesigner
===================  ===============================================================================
row group             a row group; without any, one of a batch's rows, or of all rows
barrier's scope       a row group, over which it runs barriers
workers               tasks in flight
resource              a model, and its parallel requests
attempts              one, and the rounds of salvage
early stop            early shutdown, by its error rate and window
===================  ===============================================================================

`SchedulerBackend.fit` removes from a workload the features that it lacks: barriers of another
scope, ordered columns that need others, backoffs (a model's client keeps those, and is not here), a
single attempt.

**The reports.** A row group is admitted when its buffer is made, and retires when the buffer is
released. A drop is reported when the buffer drops the row, with the first column that failed for
good. An early stop is reported when the error rate is reached. DataDesigner also calls rows dropped
that an early stop leaves undone; these are not reported. A skipped cell is reported when it is
marked, and one of a barrier when the barrier is over.

**Storage.** The buffer gives a table to storage when a row group is complete. Here that writes a
file of JSON lines for each group: a line for each row, and one with the dropped rows. A write may
fail, as on a full disk.

**The same order each time.** The first releases keep tasks and columns in sets. Where an order
comes out of one, it is replaced by the columns' own order, which is one that could have come out.

The modules: `scheduler_fit` (workloads that it can be asked for), `scheduler_run` (one run, with
its reports), `scheduler_seams` (DataDesigner's classes, observed), `scheduler_storage`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping

from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.values import Table
from cellspec.conformance.run.workload import Workload
from cellspec.engines.datadesigner.releases import load
from cellspec.engines.datadesigner.scheduler_fit import fitted
from cellspec.engines.datadesigner.scheduler_run import SchedulerRun
from cellspec.engines.datadesigner.scheduler_storage import read_table

__all__ = ["SchedulerBackend"]


class SchedulerBackend:
    """`AsyncTaskScheduler` in virtual time. See the module.

    Attributes:
        name: its name in reports.
        version: DataDesigner's version.
        capabilities: the capabilities of this release.
        unasked: situations that a workload cannot ask of it, with the reasons.
        unclaimed: the capabilities that it has not, with the reasons.

    Raises:
        SpecError: DataDesigner is not installed.
    """

    name = "datadesigner-scheduler"
    unasked: Mapping[Sometimes, str] = {
        Sometimes.SCOPE_OVER_GROUPS: "a full column always reads one row group",
        Sometimes.BACKOFF_ENDED: "a model's client keeps backoffs, and the mocks call no model",
        Sometimes.ORDER_HELD: "its order-dependent generators need no other column",
        Sometimes.ORDER_INVERTED: "its order-dependent generators need no other column",
        Sometimes.CLAIM_FAILED: "the scheduler makes no claims; `create` does",
        Sometimes.LANDED: "the scheduler makes no claims; `create` does",
        Sometimes.SLOW_WRITE: "it writes on its event loop, and nothing else runs meanwhile",
    }

    def __init__(self) -> None:
        self.release = load()
        self.version = self.release.version
        self.capabilities = self.release.capabilities
        self.unclaimed = self.release.unclaimed

    def fit(self, work: Workload) -> Workload | None:
        """The nearest workload that the scheduler can be asked for."""
        return fitted(work, self.release)

    async def run(self, probe: Probe) -> None:
        """Run the workload for one run of the process."""
        run = SchedulerRun(probe, self.release)
        self.alter(run)
        with _silence():
            try:
                await run.scheduler.run()
            except Exception:
                if not run.lost_write:
                    raise
                run.report_end(failed=True)
                return
        run.report_end()

    def alter(self, run: SchedulerRun) -> None:
        """Change something before the run; a test does so to make an engine that is wrong."""

    def table(self, probe: Probe) -> Table:
        """The rows of every row group on storage."""
        return read_table(probe.folder)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence DataDesigner's log, which is long and has times in it."""
    logger = logging.getLogger("data_designer")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
