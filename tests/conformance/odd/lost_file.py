"""Engines that lose a file to a full disk: one makes the rest and says it at the end, two give up.

As exporters do: a file that cannot be written is logged, the others are written, and the job ends
red, so that somebody runs it again. Or the first error ends the job: a task group cancels what
runs, or what runs comes to its end and nothing new starts. None tries the file again in the same
process; the next one makes its rows anew.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from cellspec.conformance import Probe
from tests.conformance.odd.adapting import job_of
from tests.conformance.odd.batch_files import BatchFiles, WatchedBatchFiles
from tests.conformance.odd.pipeline import Node

__all__ = ["Cancels", "Drains", "GoesOn", "GoesOnByTablesAlone"]


class _GoesOnEngine(WatchedBatchFiles):
    lost = ""

    def disk(self) -> AbstractAsyncContextManager[None]:
        return self.probe.storage("data")

    def not_written(self, number: int, error: OSError) -> None:
        self.lost = str(error)
        self.probe.commit_failed(number)


class _CancelsEngine(_GoesOnEngine):
    def not_written(self, number: int, error: OSError) -> None:
        super().not_written(number, error)
        raise error


class _DrainsEngine(_GoesOnEngine):
    def startable(self) -> list[Node]:
        if self.lost:
            self.waiting.clear()
            self.ready.clear()
        return super().startable()


class _RowsEngine(_GoesOnEngine):
    """Reports rows that are on storage, and no claim on them."""

    def begin(self, number: int, batch: list[int]) -> None:
        self.batches = getattr(self, "batches", {}) | {number: batch}

    def written(self, number: int) -> None:
        for row in self.batches[number]:
            self.probe.durable("", row, row + 1)

    def not_written(self, number: int, error: OSError) -> None:  # noqa: ARG002 - the engine's
        self.lost = str(error)
        self.probe.checkpoint_failed()


class GoesOn(BatchFiles):
    """Goes on after a file that could not be written, and fails at the end."""

    name = "odd-loses-a-file-and-goes-on"
    capabilities = BatchFiles.capabilities - {"prompt_saving"} | {"storage_faults"}
    engine: type[_GoesOnEngine] = _GoesOnEngine

    async def run(self, probe: Probe) -> None:
        engine = self.engine(job_of(probe))
        engine.probe = probe
        self.resume(probe, engine)
        try:
            await engine.run()
        except* OSError:
            pass
        if engine.lost:
            probe.end("failed", engine.lost)
        else:
            probe.end("success")


class Cancels(GoesOn):
    """Cancels what runs, and fails, as soon as a file could not be written."""

    name = "odd-loses-a-file-and-cancels"
    engine = _CancelsEngine


class Drains(GoesOn):
    """Starts nothing more as soon as a file could not be written, and fails once nothing runs."""

    name = "odd-loses-a-file-and-drains"
    engine = _DrainsEngine


class GoesOnByTablesAlone(GoesOn):
    """The first of them, which claims nothing: only the table shows what it keeps."""

    name = "odd-loses-a-file-by-tables-alone"
    capabilities = GoesOn.capabilities - {"set_claims", "commits"}
    engine = _RowsEngine

    def resume(self, probe: Probe, engine: WatchedBatchFiles) -> None:
        """Report nothing."""
