"""DataDesigner's `AsyncTaskScheduler`, driven by hand in virtual time.

`SchedulerBackend` gives the real scheduler a real execution graph, completion tracker and buffer of
row groups, and generators whose calls are the probe's (`cellspec.engines.datadesigner.mocks`). What
it decides is its own: order, retries and salvage rounds, drops, skips, early shutdown, admission of
row groups and tasks.

How a workload is said in its words, beside its columns:

===================  ===============================================================================
a workload's          is in DataDesigner
===================  ===============================================================================
row group             a row group; without any, one of a batch's rows, or of all rows
barrier's scope       a row group: what it runs barriers on
workers               tasks in flight
resource              a model, and its parallel requests
attempts              one, and the rounds of salvage
early stop            early shutdown, by its error rate and window
===================  ===============================================================================

`SchedulerBackend.fit` takes out what it has no word for: barriers of another scope, ordered columns
that need others, cool-downs (a model's client keeps those, and it is not here), a single attempt.

**What is reported, and when.** A row group is admitted when its buffer is made, and retires when
that is given back. A drop is reported when the buffer hears of it, with the column that failed for
good first. An early stop is reported when the error rate is reached. What is left undone by an
early stop DataDesigner calls dropped as well; here that is not a drop, and nothing is said of it. A
skipped cell is reported when it is marked, and one of a barrier when the barrier is over.

**What is stored.** The buffer hands a table to storage when a row group is complete. Here that
writes a file of JSON lines for each group: a line for each row, and one with the rows that were
dropped.

**The same order each time.** The first releases keep tasks and columns in sets. Where an order
comes out of one, it is replaced by the columns' own order, which is one that could have come out.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

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
        name: what reports call it.
        version: DataDesigner's version.
        capabilities: what this release can be asked for.
        unasked: situations that it cannot be asked to be in: its barriers run on one row group, how
            long a rate limit lasts is known to a model's client alone, and its ordered columns have
            no inputs.

    Raises:
        SpecError: DataDesigner is not installed.
    """

    name = "datadesigner-scheduler"
    unasked = frozenset(
        {
            Sometimes.SCOPE_OVER_GROUPS,
            Sometimes.COOLED_DOWN,
            Sometimes.ORDER_HELD,
            Sometimes.ORDER_INVERTED,
        }
    )

    def __init__(self) -> None:
        self.release = load()
        self.version = self.release.version
        self.capabilities = self.release.capabilities

    def fit(self, work: Workload) -> Workload | None:
        """The nearest workload that the scheduler can be asked for."""
        return fitted(work, self.release)

    async def run(self, probe: Probe) -> None:
        """Run one life."""
        run = SchedulerRun(probe, self.release)
        self.alter(run)
        with _silence():
            await run.scheduler.run()
        run.report_end()

    def alter(self, run: SchedulerRun) -> None:
        """Change something before the run: for tests, of what must be found."""

    def table(self, probe: Probe) -> Table:
        """The rows of every row group that was handed to storage."""
        return read_table(probe.folder)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep DataDesigner from saying what goes on: at length, and with times in it."""
    logger = logging.getLogger("data_designer")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
