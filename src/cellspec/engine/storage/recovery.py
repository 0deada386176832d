"""`RunDirectory`: reads the folder of a run; which checkpoint counts, and where its cells are.

`RunDirectory.look` only reads, but begins with a sync: a file may still be in the cache of a
process that was killed, and must not vanish once the next run is built upon it. Then it takes the
newest checkpoint that is whole and whose data is whole. Damage to the newest makes the one before
count, and is noted. After an *error* while reading, the folder is refused and can be tried again:
an earlier claim must not win because of a passing fault. A file that looks damaged is read twice,
since a read may be short or stale once.

Files of another run or another graph are refused rather than skipped, even if they do not count:
two runs in one folder are a mistake that its user wants to know of. Files that are too torn to
belong to a run are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

from cellspec.engine.calls import Drop, Restored
from cellspec.engine.storage.filesystem import FileSystem
from cellspec.engine.storage.segments import (
    ClaimedRows,
    DamagedError,
    Layers,
    Record,
    Segment,
    StorageError,
    incoming_name,
    is_incoming,
    segment_number,
    unsealed,
)
from cellspec.graph.graph import ExecutionGraph
from cellspec.state.checkpoint import read_payload
from cellspec.state.claims import Claim, Rows, join, meet, normal, reaches, spans

__all__ = [
    "CURRENT",
    "INCOMING",
    "PREVIOUS",
    "FolderState",
    "Index",
    "RunDirectory",
    "reason",
    "reported",
]

CURRENT: Final[str] = "checkpoint.json"
PREVIOUS: Final[str] = "checkpoint.previous.json"
INCOMING: Final[str] = incoming_name()


@dataclass(slots=True)
class Index:
    """Where the claimed cells are.

    Attributes:
        columns: by column, the position in `segments` of the file that holds a row.
        segments: the files that count, in the order in which they were written.
        dropped: the dropped rows that the claim covers, with the reason.
    """

    columns: dict[str, Layers]
    segments: list[str] = field(default_factory=list)
    dropped: dict[int, Drop] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FolderState:
    """The state of a folder.

    Attributes:
        record: the checkpoint that counts, if there is one.
        claim: the rows that it claims, by column.
        index: the places of their cells.
        is_current: it is the newest that there is.
        incarnation: the number for an incarnation that begins now.
        serial: the highest serial number of a checkpoint.
        leftovers: files of this run that do not count.
        notes: the damage that could be done without, a line each.
    """

    record: Record | None
    claim: Claim
    index: Index
    is_current: bool
    incarnation: int
    serial: int
    leftovers: tuple[str, ...]
    notes: tuple[str, ...]


class RunDirectory:
    """The folder of a run, to be read.

    Args:
        files: the folder.
        graph: the graph of this incarnation.
        run: a text that tells this run from others of the same graph, such as its seed.
    """

    def __init__(self, files: FileSystem, graph: ExecutionGraph, *, run: str = "") -> None:
        self.files = files
        self.graph = graph
        self.run = run

    def look(self) -> FolderState:
        """The state of the folder; it is read twice if it looks damaged.

        Raises:
            StorageError: the folder is of another run or graph, or cannot be read, or each
                checkpoint is damaged, or its data is.
            CheckpointError: the checkpoint does not fit the graph.
        """
        try:
            found = self._look()
        except StorageError:
            return self._look()
        return self._look() if found.notes else found

    def read(self) -> Restored | None:
        """The claimed rows, without beginning an incarnation; None without a claim.

        The folder may be in use. If another process writes to it at the moment, a file that it
        removes meanwhile may be missed, and the folder is then refused.

        Raises:
            StorageError, CheckpointError: as `look`.
        """
        return self.restored(self.look())

    def restored(self, found: FolderState) -> Restored | None:
        """The claimed rows of a folder that was read, for a new incarnation."""
        if found.record is None:
            return None
        record = found.record
        rows = self.rows(found, reduce(join, found.claim))
        return Restored(record.checkpoint, record.records, rows, found.index.dropped, record.config)

    def rows(self, found: FolderState, rows: Rows) -> ClaimedRows:
        """The claimed cells of some rows, read when they are asked for."""
        index = found.index
        return ClaimedRows(index.columns, index.segments, index.dropped, rows, self._read_again)

    def _look(self) -> FolderState:
        with reported("folder", "read"):
            self._settle()
            names = self.files.names()
        notes: list[str] = []
        records = {
            name: self._read_record(name, notes) for name in (CURRENT, PREVIOUS) if name in names
        }
        self._check_serials(records)
        index = Index(self._no_layers())
        claim: Claim = (0,) * self.graph.num_columns
        chosen = ""
        for name, record in records.items():
            if record is not None and not chosen:
                # Which rows were dropped is in the files that count, which the claim decides.
                any_row = range(self.graph.num_records)
                claim = read_payload(record.checkpoint, self.graph, any_row)
                try:
                    index = self._index(record, claim)
                    chosen = name
                except DamagedError as error:
                    notes.append(str(error))
                else:
                    read_payload(record.checkpoint, self.graph, index.dropped)
        if notes and not chosen:
            raise StorageError(f"{notes[0]}; and there is no earlier checkpoint to fall back to")
        known = [record for record in records.values() if record is not None]
        return FolderState(
            record=records.get(chosen),
            claim=claim,
            index=index,
            is_current=chosen == CURRENT,
            incarnation=self._next_incarnation(names, known),
            serial=max((record.serial for record in known), default=0),
            leftovers=self._leftovers_of(names, index),
            notes=tuple(notes),
        )

    def _next_incarnation(self, names: list[str], records: list[Record]) -> int:
        used = [number[0] for name in names if (number := segment_number(name)) is not None]
        used += [
            incarnation.incarnation for record in records for incarnation in record.incarnations
        ]
        return max(used, default=-1) + 1

    def _leftovers_of(self, names: list[str], index: Index) -> tuple[str, ...]:
        counted = frozenset(index.segments)
        found = [name for name in names if segment_number(name) and name not in counted]
        for name in found:
            self._check_leftover(name)
        return (*found, *filter(is_incoming, names))

    def _read_record(self, name: str, notes: list[str]) -> Record | None:
        try:
            record = Record.decode(name, self._verified(name, self._read(name)))
        except DamagedError as error:
            notes.append(str(error))
            return None
        self._check_identity(name, record.run, record.graph)
        return record

    def _check_serials(self, records: Mapping[str, Record | None]) -> None:
        newest, before = records.get(CURRENT), records.get(PREVIOUS)
        if newest is not None and before is not None and newest.serial <= before.serial:
            raise StorageError(
                f"{CURRENT}: stale: expected a serial after {before.serial} of {PREVIOUS}, "
                f"got {newest.serial}"
            )

    def _index(self, record: Record, claim: Claim) -> Index:
        """Where the claimed cells are.

        Raises:
            DamagedError: a file that counts is missing or damaged, or a claimed cell is nowhere.
        """
        index = Index(self._no_layers())
        for incarnation in record.incarnations:
            try:
                # Rows beyond a claim were made again by a later incarnation, or will be.
                reach = dict(zip(index.columns, map(meet, incarnation.claim, claim), strict=True))
                for name in incarnation.names():
                    self._add(index, self._read_segment(name), reach)
            except (LookupError, TypeError, ValueError) as error:
                if isinstance(error, StorageError):
                    raise
                where = f"files of incarnation {incarnation.incarnation!r}"
                raise DamagedError(f"{where}: do not fit the graph: {error!r}") from error
        for (name, layers), rows in zip(index.columns.items(), claim, strict=True):
            if (row := layers.gap(rows, index.dropped)) is not None:
                raise DamagedError(f"{name}[{row}]: claimed, but no file holds it")
        index.dropped = dict(sorted(index.dropped.items()))
        return index

    def _add(self, index: Index, segment: Segment, reach: Mapping[str, Rows]) -> None:
        for column, ranges in segment.cells.items():
            for start, stop in spans(meet(normal(ranges), reach[column])):
                index.columns[column].lay(start, stop, len(index.segments))
        claim = tuple(reach.values())
        index.dropped.update(
            (row, drop) for row, drop in segment.dropped.items() if reaches(claim, row)
        )
        index.segments.append(segment.name)

    def _no_layers(self) -> dict[str, Layers]:
        return {name: Layers() for name in self.graph.column_names}

    def _read_segment(self, name: str) -> Segment:
        segment = Segment.decode(name, self._verified(name, self._read(name)))
        self._check_identity(name, segment.run, segment.graph)
        return segment

    def _verified(self, name: str, data: bytes) -> bytes:
        """The lines of a file whose checksum is right."""
        return unsealed(name, data)

    def _check_leftover(self, name: str) -> None:
        """Refuse a file that does not count if it is of another run."""
        try:
            self._read_segment(name)
        except DamagedError:
            return

    def _check_identity(self, name: str, run: str, graph: str) -> None:
        mine = {"graph": (self.graph.fingerprint, graph), "run": (self.run, run)}
        for what, (expected, given) in mine.items():
            if expected != given:
                raise StorageError(
                    f"{name}: {what}: expected {expected!r}, got {given!r}; give each run a folder "
                    f"of its own"
                )

    def _read(self, name: str) -> bytes:
        with reported(name, "read"):
            try:
                return self.files.read(name)
            except FileNotFoundError:
                raise DamagedError(f"{name}: missing") from None

    def _read_again(self, name: str) -> bytes:
        """The lines of a file that was whole when the folder was looked at."""
        try:
            return self._verified(name, self._read(name))
        except DamagedError:
            try:
                return self._verified(name, self._read(name))
            except DamagedError as error:
                raise StorageError(f"{error}; it was whole when the folder was read") from error

    def _settle(self) -> None:
        """Make the files durable before the run builds upon them."""
        self.sync_folder()

    def sync_folder(self) -> None:
        """Make the names in the folder durable."""
        self.files.sync_folder()


@contextmanager
def reported(
    name: str, verb: str, error_class: type[StorageError] = StorageError
) -> Iterator[None]:
    """Turn an error of the file system into one line that names the file."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise error_class(f"{name}: could not be {verb}: {reason(error)}") from error


def reason(error: OSError) -> str:
    """The system's words for an error."""
    return error.strerror or str(error)
