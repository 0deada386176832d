"""Durable storage of a run: rows and checkpoints in one folder, whole again after any crash.

What is promised. After a crash at any moment, during recovery too, and again, `Storage.load` gives
back the last checkpoint that was safe, or the one that was being written, and every cell that it
claims, exactly as it was written. It gives back nothing else. Where it cannot, it refuses with one
line; it never leaves a gap and never mixes. The crashes meant are those that
`cellspec.engine.storage.model_filesystem` lists; the tests try all of them.

How. The order of operations is the whole art:

======================  ==========================================================================
operation               why
======================  ==========================================================================
write rows, a new file  what is safe is never written over, so a torn write harms nothing
sync the file           before its name is
sync the folder         a file without a durable name is lost; now the rows are safe
write checkpoint.new    beside the checkpoint, not over it
sync the file           a rename may become durable before the content that it names
rename to .previous     the checkpoint before is kept until the newer is safe, and after
rename .new in place    at one stroke: the old claim or the new one, never half
sync the folder         until now the rename may be undone; now the claim is safe
======================  ==========================================================================

Each life has a number of its own in the folder, its incarnation, and each flush a number in it. The
checkpoint says which of them count, up to where. So what an earlier life wrote beyond its claim is
as good as gone; it is removed at the first write of the next life, and nothing depends on that. A
number whose write failed is never used again: after a failed sync, a second one proves nothing.

If the last two steps fail, nobody knows which claim would survive. So the claim before is written
once more, and only when that is safe is the failure told. If that fails too, the storage is *in
doubt* and takes no more writes.

One process at a time. A second one would remove, as leftovers, what the first has not claimed yet,
and each would claim over the other. So `Storage.load` locks the folder, before it looks, and until
`Storage.close`; who comes meanwhile is told who is there. The system ends the lock of a process
that dies. Should a lock be worth nothing, on a file system that only pretends, then names still
hold who wrote: what two processes write is never mixed in one file, and never counted as one's.

How a new life reads all this is `cellspec.engine.storage.recovery`; the files are in
`cellspec.engine.storage.segments`. One folder, one run: files of another run or graph are refused.
The number of rows is no part of a run's identity, so a run may go on with another target, as long
as that loses no claimed row.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from cellspec.engine.calls import Drop, Restored, Save
from cellspec.engine.storage.filesystem import LOCK, FileSystem
from cellspec.engine.storage.recovery import CURRENT, PREVIOUS, Found, RunDirectory, reason, told
from cellspec.engine.storage.segments import (
    Incarnation,
    InDoubtError,
    InUseError,
    Layers,
    Record,
    StorageError,
    StorageWriteError,
    cells_of,
    encode_rows,
    incoming_name,
    segment_name,
)
from cellspec.graph.graph import ExecutionGraph
from cellspec.state.checkpoint import Checkpoint, make_payload, read_payload
from cellspec.state.counters import Claim
from cellspec.text import counted, listed_names

__all__ = ["InDoubtError", "InUseError", "Storage", "StorageError", "StorageWriteError"]


class Storage(RunDirectory):
    """Rows and checkpoints of one life of a run; a `cellspec.engine.storage.stores.Store`.

    One thread at a time. `load` comes first; then rows, then the checkpoint on them; then `close`.
    From `load` to `close` the folder is this process's alone, and a second one is refused.

    Args:
        files: the folder; nothing else may write there.
        graph: the graph of this life.
        run: what tells this run from others of the same graph, such as its seed.

    Attributes:
        incarnation: the number of this life in the folder, from 0; as of `load`.
        notes: what `load` found damaged and did without, a line each.
    """

    def __init__(self, files: FileSystem, graph: ExecutionGraph, *, run: str = "") -> None:
        super().__init__(files, graph, run=run)
        self.incarnation = 0
        self.notes: tuple[str, ...] = ()
        self._is_open = False
        self._process = 0
        self._leaves = False
        self._busy = threading.Lock()

    def load(self) -> Restored | None:
        """What an earlier life left, and the beginning of a new one; None if there was no claim.

        The rows are read when they are asked for. Every file that counts is read once, to compare
        its checksum; memory is O(files), and O(rows of a flush) while reading.

        Raises:
            InUseError: another process is at it; the message names it.
            StorageError: the folder is of another run or graph, or cannot be read, or no
                checkpoint is whole with its data.
            CheckpointError: the checkpoint does not fit this graph (clauses CKPT-03 to CKPT-05),
                for instance claims more rows than there are now.
        """
        self._enter()
        try:
            found = self.look()
            restored = self._begin_life(found)
        except BaseException:
            # No life has begun, so nobody would end it.
            self.close()
            raise
        return restored

    def _begin_life(self, found: Found) -> Restored | None:
        names = self.graph.column_names
        zero = (0,) * len(names)
        record = found.record or self._make_record(make_payload(self.graph, zero, 1), 0, ())
        self.incarnation = found.incarnation
        self.notes = found.notes
        self._number = 0
        self._failed: list[int] = []
        self._last = record
        self._serial = found.serial
        self._keeps_current = found.is_current
        self._leftovers = list(found.leftovers)
        self._dropped = dict(found.index.dropped)
        self._sealed = dict(zip(names, found.claim, strict=True))
        self._held = {name: Layers() for name in names}
        for name, rows in self._sealed.items():
            if rows:
                self._held[name].lay(0, rows, 0)
        self._process = os.getpid()
        self._is_open = True
        return self.restored(found)

    def close(self) -> None:
        """The life is over: nothing more is written, and another process may begin one.

        A write that another thread is at is waited for, as it were: the folder is left after it.
        """
        self._is_open = False
        self._leaves = True
        self._leave_if_idle()

    def _enter(self) -> None:
        """Take the folder, or say who has it; before anything is read that is built upon."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        me = f"process {os.getpid()} on {os.uname().nodename}, since {since}"
        with told(LOCK, "locked"):
            owner = self._lock(me)
        if owner is not None:
            where = getattr(self.files, "root", "folder")
            raise InUseError(
                f"{where}: in use by {owner}; let it end, or give this run a folder of its own"
            )
        self._leaves = False

    def _lock(self, owner: str) -> str | None:
        return self.files.lock(owner)

    def _leave_if_idle(self) -> None:
        # Not to wait: whoever closes may be the one that the writer waits for.
        if self._leaves and self._busy.acquire(blocking=False):
            try:
                self.files.unlock()
            finally:
                self._busy.release()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._busy:
                self._begin()
                yield
        finally:
            self._leave_if_idle()

    def table(self) -> tuple[Mapping[int, Mapping[str, Any]], Mapping[int, Drop]]:
        """The rows that the newest checkpoint claims in every column, and the dropped ones.

        Raises:
            StorageError, CheckpointError: as `load`.
        """
        found = self.look()
        return self.rows(found, min(found.claim)), found.index.dropped

    def write_rows(self, save: Save) -> None:
        """Make rows and tombstones safe: when this returns, a claim on them may be written.

        Row groups may come in any order, and a cell again: the later value counts, and of a row
        that was dropped the tombstone. Cells of dropped rows are not written.

        Raises:
            StorageWriteError: it failed; nothing that was safe is lost, and it may be tried again.
            StorageError: a cell that `save` promises is not in it, one that an earlier life
                claimed is (clause TABLE-05), or a value is no JSON.
        """
        with self._writing():
            self._write_rows(save)

    def _write_rows(self, save: Save) -> None:
        dropped = {row: drop for row, drop in save.dropped.items() if row not in self._dropped}
        rows = {
            row: values
            for row, values in save.rows.items()
            if values and row not in self._dropped and row not in dropped
        }
        self._check_cells(rows, dropped)
        self._check_promise(save.ranges, rows, dropped)
        if not rows and not dropped:
            return
        cells = cells_of(rows)
        self._number += 1
        name = segment_name(self.incarnation, self._number, self.files.writer)
        identity = {
            "run": self.run,
            "graph": self.graph.fingerprint,
            "incarnation": self.incarnation,
            "number": self._number,
        }
        try:
            self._write_segment(name, encode_rows(identity, cells, rows, dropped))
        except Exception:
            self._failed.append(self._number)
            raise
        self._dropped.update(dropped)
        for column, ranges in cells.items():
            for start, stop in ranges:
                self._held[column].lay(start, stop, 0)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Make a claim safe, whose data is (clause CKPT-10). Until this returns either may count.

        Raises:
            StorageWriteError: it failed, and the claim before counts; it may be tried again.
            InDoubtError: it failed, and so did taking it back: the next life will see which counts.
            StorageError: it claims cells that were not written.
            CheckpointError: the payload is malformed, or of another graph.
        """
        with self._writing():
            self._write_checkpoint(checkpoint)

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        claim = read_payload(checkpoint, self.graph)
        self._check_covered(claim)
        earlier = tuple(x for x in self._last.incarnations if x.incarnation != self.incarnation)
        failed = tuple(self._failed)
        mine = Incarnation(self.incarnation, self._number, failed, claim, self.files.writer)
        record = self._make_record(dict(checkpoint), self._next_serial(), (*earlier, mine))
        self._replace_checkpoint(record)
        self._last = record

    def _make_record(
        self, checkpoint: Checkpoint, serial: int, incarnations: tuple[Incarnation, ...]
    ) -> Record:
        graph = self.graph
        return Record(
            self.run, graph.fingerprint, graph.num_records, serial, incarnations, checkpoint
        )

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def _write_segment(self, name: str, pieces: Iterable[bytes]) -> None:
        with told(name, "written", StorageWriteError):
            self._write_file(name, pieces)
            self._sync_folder()

    def _replace_checkpoint(self, record: Record) -> None:
        with told(CURRENT, "written", StorageWriteError):
            self._write_file(self._incoming, [record.encode()])
            if self._keeps_current and self.files.exists(CURRENT):
                self.files.replace(CURRENT, PREVIOUS)
        try:
            with told(CURRENT, "written", StorageWriteError):
                self._publish()
        except StorageWriteError as error:
            self._take_back(error)
            raise
        finally:
            self._keeps_current = True

    def _take_back(self, error: StorageWriteError) -> None:
        """Nobody knows whether the new claim is safe: make it certain that the last one is."""
        try:
            again = replace(self._last, serial=self._next_serial())
            self._write_file(self._incoming, [again.encode()])
            self._publish()
        except OSError as second:
            self._is_open = False
            raise InDoubtError(f"{error}; nor could it be taken back: {reason(second)}") from second

    @property
    def _incoming(self) -> str:
        return incoming_name(self.files.writer)

    def _publish(self) -> None:
        self.files.replace(self._incoming, CURRENT)
        self._sync_folder()

    def _write_file(self, name: str, pieces: Iterable[bytes]) -> None:
        put = self.files.write
        for piece in pieces:
            put(name, piece)
            put = self.files.append
        self._sync_file(name)

    def _sync_file(self, name: str) -> None:
        self.files.sync_file(name)

    def _begin(self) -> None:
        """Before the first write: remove what no checkpoint counts."""
        if not self._is_open:
            raise StorageError("storage: load it first, to see what an earlier life left")
        if self._process != os.getpid():
            raise InUseError(
                f"storage: process {self._process} has loaded it, and a process that was forked "
                "from that one writes nothing; let it load a folder of its own"
            )
        while self._leftovers:
            with told(self._leftovers[-1], "removed", StorageWriteError):
                self.files.remove(self._leftovers[-1])
            self._leftovers.pop()

    # What may be written

    def _check_cells(
        self, rows: Mapping[int, Mapping[str, Any]], dropped: Mapping[int, Drop]
    ) -> None:
        for row in chain(rows, dropped):
            if not 0 <= row < self.graph.num_records:
                raise StorageError(
                    f"row {row}: expected a row from 0 to {self.graph.num_records - 1}"
                )
        for row, values in rows.items():
            for name in values:
                if name not in self._sealed:
                    known = listed_names(self._sealed)
                    raise StorageError(f"unknown column {name!r}; this graph has {known}")
                if row < self._sealed[name]:
                    raise StorageError(
                        f"{name}[{row}]: an earlier life claimed it; it cannot be written again"
                    )

    def _check_promise(
        self,
        ranges: Iterable[tuple[str, int, int]],
        rows: Mapping[int, Mapping[str, Any]],
        dropped: Mapping[int, Drop],
    ) -> None:
        for column, start, stop in ranges:
            for name in (column,) if column else self._held:
                for row in range(start, stop):
                    if name in rows.get(row, ()) or row in dropped or row in self._dropped:
                        continue
                    if name not in self._held or self._held[name].find(row) is None:
                        raise StorageError(f"{name}[{row}]: promised as safe, but has no value")

    def _check_covered(self, claim: Claim) -> None:
        for (name, layers), rows in zip(self._held.items(), claim, strict=True):
            if (row := layers.gap(rows, self._dropped)) is not None:
                raise StorageError(
                    f"{name}[{row}]: a checkpoint claims {counted(rows, 'row')} of {name!r}, but "
                    "this one was not written"
                )
