"""DataDesigner through its public entry point: `DataDesigner.create`, as its users call it.

`CreateBackend` turns a workload into a DataDesigner config and calls ``create(...)`` once for each
run of the process, in the same folder, with ``resume=``. Config, compiler, builder, scheduler,
storage and resume are DataDesigner's own. A workload in its words:

===================  ===============================================================================
a workload's          is in DataDesigner
===================  ===============================================================================
cell                  a custom column, cell by cell, whose function is a coroutine function
barrier               a custom column for the full column: it gets the rows of one row group
row number            a seed dataset in order: its column ``cellspec_row``, and for each column with
                      a skip condition of its own ``cellspec_skip_…``
dependency            ``required_columns``; every column needs ``cellspec_row`` besides
side effect           ``side_effect_columns``
skip condition        ``SkipConfig(when="{{ cellspec_skip_… }}")``, and ``propagate_skip``
retryable failure     ``ModelTimeoutError``; back-pressure is ``ModelRateLimitError``, and a failure
                      for good any other exception
row group             ``RunConfig.buffer_size`` rows, ``max_concurrent_row_groups`` at once
workers               ``RunConfig.max_in_flight_tasks``
buffer size           ``RunConfig.buffer_size``; where the workload leaves it open, one of four
root column           ``required_columns=[]``, for a START column that needs nothing
early stop            ``shutdown_error_window``, and ``shutdown_error_rate``, which is always 1
version of a column   a part of the name of its function
write that fails      ``OSError`` of the data frame's ``to_parquet``, or of the move of its file
next run              ``ResumeMode.IF_POSSIBLE`` if the workload's seed is even; if it is odd
                      ``ResumeMode.ALWAYS``, as soon as there is a dataset to resume
===================  ===============================================================================

`CreateBackend.fit` removes from a workload the features that `create` lacks: barriers over anything
but a row group, limits of resources and backoffs (a model's client keeps both, and there is none
here), another number of attempts, fewer rows than the run before was asked for, and in older
releases limits of workers and of row groups. DataDesigner has neither ordered columns nor ranges.
The engine counts calls that read the seed dataset as calls that ended well: so a workload that may
stop early has one row group, and stops when all calls of its window failed. Reports give the reason
for each capability that is left out.

**Durable rows.** A row group is saved as one parquet file, which is written elsewhere and then
moved to ``parquet-files``; a resume counts a group as done if its file is there, and looks for
files only if there is a ``metadata.json``. So a claim is the rows of all groups up to the first
whose file is missing, and becomes durable with the move, the first one with the metadata. Groups
end in any order. Where a later group is saved and an earlier one is not, a claim cannot describe
the folder, and the adapter reports none (the suite then judges by tables). DataDesigner does not
store the dropped rows; a row counts as dropped if the file of its group is there without it. For
that the adapter notes beside the dataset, before a group is saved, the rows that it was made of.

**All rows dropped.** ``create`` raises ``DataDesignerGenerationError`` if it is left without a
single row. The adapter takes such a run as one that has done all its work.

The modules: `create_fit` and `create_config` (a workload in DataDesigner's words), `create_run`
(one call, with its reports), `create_seams` (the wrapped names of DataDesigner), `create_dataset`
(the folder), `create_release`.
"""

from __future__ import annotations

from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.values import Table
from cellspec.conformance.run.workload import Workload
from cellspec.engines.datadesigner.create_config import CreateConfig
from cellspec.engines.datadesigner.create_dataset import DATASET, StoredDataset
from cellspec.engines.datadesigner.create_fit import fitted
from cellspec.engines.datadesigner.create_release import load
from cellspec.engines.datadesigner.create_run import CreateRun
from cellspec.engines.datadesigner.create_seams import seams
from cellspec.engines.datadesigner.scheduler_seams import is_watched

__all__ = ["CreateBackend"]


class CreateBackend:
    """`DataDesigner.create` in virtual time. See the module.

    Attributes:
        name: its name in reports.
        version: DataDesigner's version.
        capabilities: the capabilities of this release through `create`.
        unasked: situations that a workload cannot ask of it, with the reasons.
        unclaimed: the capabilities that it has not, with the reasons.

    Raises:
        SpecError: DataDesigner is not installed.
    """

    name = "datadesigner-create"

    def __init__(self) -> None:
        self.release = load()
        self.version = self.release.version
        self.capabilities = frozenset(self.release.capabilities)
        self.unasked = self.release.unasked
        self.unclaimed = self.release.unclaimed

    def fit(self, work: Workload) -> Workload | None:
        """The nearest workload that `create` can be asked for; None if there is none."""
        return fitted(work, self.release)

    async def run(self, probe: Probe) -> None:
        """Run the workload for one run of the process."""
        run = self.run_class(probe, self.release, self.config(probe), self.resume_mode(probe))
        watched = is_watched(probe.work)
        with seams(self.release, run, run.handoff, watched=watched):
            run.report_resume()
            try:
                await run.handoff.run(run.create)
            except self.release.generation_error as error:
                run.judge_error(error)
            run.report_end()

    def table(self, probe: Probe) -> Table:
        """The table that a user finds in the dataset's folder, or where the last run put it."""
        stored = StoredDataset(probe.folder)
        stored.find(probe.work)
        return stored.table()

    @property
    def run_class(self) -> type[CreateRun]:
        """The class of one call of `create`; a test may put in another."""
        return CreateRun

    def config(self, probe: Probe) -> CreateConfig:
        """The config for `create`; a test may give another."""
        return CreateConfig(probe.work, self.release)

    def resume_mode(self, probe: Probe) -> str:
        """The name of the resume mode; "" if the release has none."""
        if not self.release.resumes:
            return ""
        folder = probe.folder / DATASET
        there = folder.is_dir() and any(folder.iterdir())
        return "always" if there and probe.work.seed % 2 else "if_possible"
