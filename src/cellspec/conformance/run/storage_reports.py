"""The reports of storage that an adapter makes: data, claims, commits, and a resume from them.

No call of a generator shows them, so the suite takes the adapter's word, and holds it against the
table that the run leaves. Each report is a step at which the process may die.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from cellspec.conformance.run.arguments import Arguments, ClaimedRows
from cellspec.conformance.run.calls import Calls
from cellspec.conformance.run.recorder import Entry, Recorder
from cellspec.conformance.run.storage import PlannedWrite, WorkloadStorage
from cellspec.conformance.run.workload import StorageWrite, Workload
from cellspec.graph.rowset import ranges_of

__all__ = ["StorageReports"]


class StorageReports:
    """The part of a `Probe` that takes reports of storage.

    Args:
        work: the workload.
        incarnation: the number of the incarnation, from 0.
        recorder: records the events.
        arguments: checks what a report names.
        storage: how long each write takes, and which one fails.
        calls: is told what is claimed and dropped when the incarnation begins.

    Attributes:
        in_storage_step: the engine is at a step on storage, or died at one.
    """

    def __init__(
        self,
        work: Workload,
        incarnation: int,
        recorder: Recorder,
        arguments: Arguments,
        calls: Calls,
        storage: WorkloadStorage,
    ) -> None:
        self.work = work
        self.incarnation = incarnation
        self.rows = work.rows_of(incarnation)
        self.in_storage_step = False
        self._recorder = recorder
        self._arguments = arguments
        self._calls = calls
        self._storage = storage

    def storage(self, write: StorageWrite) -> AbstractAsyncContextManager[None]:
        """Surround one write of the engine: of rows (``"data"``) or of a claim (``"claim"``).

        For engines with the capability ``storage_faults``: ``async with probe.storage("data"):``.
        The write takes as long as the workload says. Report before it what it holds
        (`write_begin`, `checkpoint_begin`), and after it how it went.

        Raises:
            OSError: on entry, the write fails, and the engine does not do it; on exit, the write
                was done and reports an error all the same. Report `checkpoint_failed`.
        """
        return self._storage.write(write)

    def storage_sync(self, write: StorageWrite) -> AbstractContextManager[None]:
        """`storage`, for threads."""
        return self._storage.write_sync(write)

    def next_write(self, write: StorageWrite) -> PlannedWrite:
        """How the engine's next write of this kind goes, in place of `storage`.

        For an engine whose own clock lets the time of the write pass, such as another process.
        """
        return self._storage.next_write(write)

    def write_begin(self, column: str, start: int, stop: int) -> None:
        """Rows ``[start, stop)`` of a column, or with ``""`` of every one, are handed to storage.

        Report it if storage takes time: until the rows are `durable`, or the write fails
        (`checkpoint_failed`), the engine is not idle (clauses SCHED-15 and STOP-05). A dropped row
        is written with ``""``; rows that are written once more, after a write that
        failed or a request to stop, are `durable` once more.
        """
        if column:
            self._arguments.check_column(column)
        self._recorder.report_storage(
            "write_begin", column=column, rows=self._arguments.rows(start, stop)
        )

    def durable(self, column: str, start: int, stop: int) -> None:
        """Rows ``[start, stop)`` of a column, or with ``""`` of every one, are safe on storage."""
        if column:
            self._arguments.check_column(column)
        self._recorder.report_storage(
            "durable", column=column, rows=self._arguments.rows(start, stop)
        )

    def checkpoint_begin(self, claim: Mapping[str, ClaimedRows] | int) -> None:
        """A claim is being written.

        Args:
            claim: by column, how many rows from row 0 on, or any rows, or ranges of rows; or one
                number of rows for all columns.
        """
        self._recorder.report_storage("checkpoint_begin", claim=self._arguments.claim(claim))

    def checkpoint_durable(self) -> None:
        """The claim that was being written is safe on storage."""
        self._recorder.report_storage("checkpoint_durable")

    def checkpoint_failed(self) -> None:
        """The claim that was being written, or the rows for the next one, could not be written."""
        self._recorder.report_storage("checkpoint_failed")

    def commit_begin(
        self,
        column: str = "",
        start: int = 0,
        stop: int = 0,
        *,
        claim: Mapping[str, ClaimedRows] | None = None,
        number: int | None = None,
    ) -> None:
        """Data is being written together with the claim on it: a crash leaves both, or neither.

        Args:
            column: the column that is new, or ``""`` for every column.
            start: its first new row.
            stop: the row after the last.
            claim: instead of these three, what is new by column, as `checkpoint_begin` takes it.
            number: tells apart commits that are open at the same time.
        """
        fields: Entry = {} if number is None else {"commit": number}
        if claim is None:
            if column:
                self._arguments.check_column(column)
            fields |= {"column": column, "rows": self._arguments.rows(start, stop)}
        else:
            new = self._arguments.claim(claim)
            fields["claim"] = {name: rows for name, rows in new.items() if rows}
        self._recorder.report_storage("commit_begin", **fields)

    def committed(self, number: int | None = None) -> None:
        """A commit is on storage: its data, and the claim on it.

        The process may die before this is said: the commit is there then, and nobody knew.
        """
        with self._recorder.lock:
            self._recorder.check_alive()
            self._recorder.step()
            self._report_commit("committed", number)

    def commit_failed(self, number: int | None = None) -> None:
        """A commit reported an error. It may be on storage all the same."""
        self._report_commit("commit_failed", number)

    def _report_commit(self, event: str, number: int | None) -> None:
        fields: Entry = {} if number is None else {"commit": number}
        self._recorder.report_storage(event, **fields)

    def resumed(
        self,
        claim: Mapping[str, ClaimedRows] | int,
        dropped: Iterable[int] | None = None,
        skipped: Mapping[str, Iterable[int]] | None = None,
        keep: bool = False,
        config: Mapping[str, str] | None = None,
        keep_config: bool = False,
    ) -> None:
        """This incarnation goes on from a claim that storage gave back. Report it before any call.

        Args:
            claim: the claim, as `checkpoint_begin` takes it.
            dropped: the rows whose drop storage gave back, within the claim; None if the engine
                does not say.
            skipped: the cells, by column, whose skip mark storage gave back, within the claim; None
                if the engine does not say.
            keep: claimed rows of barriers that change with the target are kept.
            config: by column, the digest of what shapes its values in this process; None if the
                engine does not compare it.
            keep_config: claimed cells of another configuration are kept on purpose.
        """
        if self.incarnation == 0:
            self._recorder.refuse("resumed: the first incarnation has nothing to resume from")
        claimed = self._arguments.claim(claim)
        fields: Entry = {"claim": claimed}
        if dropped is not None:
            dropped = sorted(set(dropped))
            fields["dropped"] = ranges_of(dropped)
        if skipped is not None:
            marks = {column: ranges_of(sorted(set(rows))) for column, rows in skipped.items()}
            fields["skipped"] = {column: spans for column, spans in marks.items() if spans}
        if self.rows != self.work.rows_of(self.incarnation - 1):
            fields["records"] = self.rows
        if keep:
            fields["keep"] = True
        if config is not None:
            fields["config"] = dict(config)
        if keep_config:
            fields["keep_config"] = True
        with self._recorder.lock:
            self._calls.claimed = claimed
            self._calls.dropped.update(dropped or ())
            self._recorder.report("resume", **fields)

    def storage_step(self, name: str) -> None:  # noqa: ARG002 - for whoever reads the adapter
        """The engine is about to do one step on storage: a write, a sync, a rename, by name.

        The process may be killed here; the step is then not done.
        """
        with self._recorder.lock:
            self._recorder.check_alive()
            self.in_storage_step = True
            self._recorder.step()
            self.in_storage_step = False
