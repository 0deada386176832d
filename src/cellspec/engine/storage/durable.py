"""Durable storage of a run: rows and checkpoints in one folder, whole again after any crash.

**Promise.** After a crash at any moment, and after crashes during recovery, `Storage.load` gives
back the last checkpoint that was safe, or the one that was being written, and every cell that it
claims, exactly as it was written; and only these. Otherwise it refuses with one line: a gap or a
mixture of two runs is impossible. `cellspec.engine.storage.model_filesystem` lists the crashes; the
tests try all of them.

**Method.** The promise follows from the order of the operations:

======================  ==========================================================================
operation               why
======================  ==========================================================================
write rows, a new file  safe data is not written over, so a torn write cannot harm it
sync the file           its content is durable before its name is
sync the folder         a file without a durable name is lost; now the rows are safe
write checkpoint.new    beside the checkpoint, not over it
sync the file           a rename may become durable before the content that it names
rename to .previous     the checkpoint before is kept until the newer is safe, and after
rename .new in place    at one stroke: the old claim or the new one, whole
sync the folder         until now the rename may be undone; now the claim is safe
======================  ==========================================================================

Each incarnation of the run has a number of its own in the folder, and each flush a number in it.
The checkpoint says which flushes count, and up to which row. Rows that an earlier incarnation wrote
beyond its claim do not count; they are removed at the first write of the next one, and correctness
does not depend on that. The number of a failed write is not used again, because a second sync after
a failed one proves little: the system may have thrown the data away.

If the last two steps fail, either claim may survive. So the claim before is written once more, and
the failure is reported when that is safe. If that fails too, the storage is *in doubt* and refuses
further writes.

**One process at a time.** A second one would remove, as leftovers, the rows that the first has yet
to claim, and each would claim over the other. So `Storage.load` locks the folder before it looks,
and `Storage.close` releases it; a second process is refused with the name of the first. The system
ends the lock of a process that dies. Some file systems only pretend to lock. There the names of the
files still hold their writer, so that rows of two processes are kept and counted apart.

`cellspec.engine.storage.recovery` reads a folder, and `cellspec.engine.storage.segments` has the
formats of the files. One folder, one run: files of another run or graph are refused. The number of
rows is outside of a run's identity, so a run may go on with another target, as long as each claimed
row stays.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from itertools import chain
from typing import Any

from cellspec.engine.calls import Drop, Restored, Save
from cellspec.engine.storage.filesystem import LOCK, FileSystem
from cellspec.engine.storage.recovery import (
    CURRENT,
    PREVIOUS,
    FolderState,
    RunDirectory,
    reason,
    reported,
)
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
from cellspec.graph.configuration import changed_columns
from cellspec.graph.graph import ExecutionGraph
from cellspec.state.checkpoint import Checkpoint, make_payload, read_payload
from cellspec.state.claims import Claim, count_rows, covers, meet, spans
from cellspec.text import counted, listed_names

__all__ = ["InDoubtError", "InUseError", "Storage", "StorageError", "StorageWriteError"]


class Storage(RunDirectory):
    """Rows and checkpoints of one incarnation of a run; a `cellspec.engine.storage.stores.Store`.

    One thread at a time. `load` comes first; then rows, then the checkpoint on them; then `close`.
    From `load` to `close` the folder is this process's alone, and a second one is refused.

    Args:
        files: the folder; only this object may write there.
        graph: the graph of this incarnation.
        run: a text that tells this run from others of the same graph, such as its seed.

    Attributes:
        incarnation: the number of this incarnation in the folder, from 0; as of `load`.
        notes: the damage that `load` found and could do without, a line each.
    """

    def __init__(self, files: FileSystem, graph: ExecutionGraph, *, run: str = "") -> None:
        super().__init__(files, graph, run=run)
        self.incarnation = 0
        self.notes: tuple[str, ...] = ()
        self._is_open = False
        self._process = 0
        self._leaves = False
        self._config: dict[str, str] = {}
        self._kept: dict[str, Sequence[str]] = {}
        self._busy = threading.Lock()

    def load(self) -> Restored | None:
        """Begin an incarnation, and give the rows that earlier ones claimed; None without a claim.

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
            restored = self._begin_incarnation(found)
        except BaseException:
            # The incarnation has not begun, so `close` would not be called.
            self.close()
            raise
        return restored

    def _begin_incarnation(self, found: FolderState) -> Restored | None:
        names = self.graph.column_names
        zero = (0,) * len(names)
        self._config = self.graph.config
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
        # A column without a version now keeps the digest that its claimed cells were made under.
        self._config = {**record.config, **self.graph.config}
        self._kept = dict(record.kept)
        for name in changed_columns(record.config, self.graph.config):
            if found.claim[self.graph.rules.index[name]]:
                self._kept[name] = (*self._kept.get(name, ()), record.config[name])
        self._sealed = dict(zip(names, found.claim, strict=True))
        self._held = {name: Layers() for name in names}
        for name, rows in self._sealed.items():
            for start, stop in spans(rows):
                self._held[name].lay(start, stop, 0)
        self._process = os.getpid()
        self._is_open = True
        return self.restored(found)

    def close(self) -> None:
        """End the incarnation: another process may begin one.

        A write of another thread ends first; the folder is left after it.
        """
        self._is_open = False
        self._leaves = True
        self._leave_if_idle()

    def _enter(self) -> None:
        """Lock the folder before anything is read, or name the process that has it."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        me = f"process {os.getpid()} on {os.uname().nodename}, since {since}"
        with reported(LOCK, "locked"):
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
        return self.rows(found, reduce(meet, found.claim)), found.index.dropped

    def write_rows(self, save: Save) -> None:
        """Make rows and tombstones safe: when this returns, a claim on them may be written.

        Row groups may come in any order, and a cell again: the later value counts, and of a row
        that was dropped the tombstone. Cells of dropped rows are not written.

        Raises:
            StorageWriteError: it failed; all safe data is still safe, and it may be tried again.
            StorageError: `save` lacks a cell that it promises, holds one that an earlier
                incarnation claimed (clause TABLE-05), or holds a value that is not JSON.
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
        """Make a claim on safe data safe (clause CKPT-10). Until this returns either may count.

        Raises:
            StorageWriteError: it failed, and the claim before counts; it may be tried again.
            InDoubtError: it failed, and so did taking it back: the next incarnation will see which
                one counts.
            StorageError: it claims cells that were not written.
            CheckpointError: the payload is malformed, or of another graph.
        """
        with self._writing():
            self._write_checkpoint(checkpoint)

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        claim = read_payload(checkpoint, self.graph, self._dropped)
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
            self.run,
            graph.fingerprint,
            graph.num_records,
            serial,
            incarnations,
            checkpoint,
            self._config,
            self._kept,
        )

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def _write_segment(self, name: str, pieces: Iterable[bytes]) -> None:
        with reported(name, "written", StorageWriteError):
            self._write_file(name, pieces)
            self.sync_folder()

    def _replace_checkpoint(self, record: Record) -> None:
        with reported(CURRENT, "written", StorageWriteError):
            self._write_file(self._incoming, [record.encode()])
            if self._keeps_current and self.files.exists(CURRENT):
                self.files.replace(CURRENT, PREVIOUS)
        try:
            with reported(CURRENT, "written", StorageWriteError):
                self._publish()
        except StorageWriteError as error:
            self._take_back(error)
            raise
        finally:
            self._keeps_current = True

    def _take_back(self, error: StorageWriteError) -> None:
        """Make the last claim safe once more, since the new one may or may not be."""
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
        self.sync_folder()

    def _write_file(self, name: str, pieces: Iterable[bytes]) -> None:
        put = self.files.write
        for piece in pieces:
            put(name, piece)
            put = self.files.append
        self._sync_file(name)

    def _sync_file(self, name: str) -> None:
        self.files.sync_file(name)

    def _begin(self) -> None:
        """Remove, before the first write, the files that the checkpoint leaves out."""
        if not self._is_open:
            raise StorageError("storage: load it first, to see the rows of earlier incarnations")
        if self._process != os.getpid():
            raise InUseError(
                f"storage: process {self._process} has loaded it, and a process that was forked "
                "from that one writes nothing; let it load a folder of its own"
            )
        while self._leftovers:
            with reported(self._leftovers[-1], "removed", StorageWriteError):
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
                if covers(self._sealed[name], row):
                    raise StorageError(
                        f"{name}[{row}]: an earlier incarnation claimed it; "
                        "it cannot be written again"
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
                    f"{name}[{row}]: a checkpoint claims {counted(count_rows(rows), 'row')} of "
                    f"{name!r}, but this one was not written"
                )
