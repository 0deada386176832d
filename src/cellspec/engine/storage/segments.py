"""The files of durable storage: the formats of rows and checkpoints, and how damage is recognised.

There are two kinds of file. Both are lines of JSON, and end with a line that holds a checksum over
all lines before it: a reader recognises a file that was cut, has a hole, or lost a bit.

*Rows*, one file a flush, which stays unchanged once it is safe: a header, and a line for each row
with the cells that were flushed. A row that was given up has its tombstone in the header::

    {"rows_file": 1, "run": "seed 7", "graph": "9c…", "incarnation": 0, "number": 1,
     "cells": {"a": [[0, 3]], "b": [[0, 2]]}, "dropped": [[3, "b", "timed out"]]}
    {"row": 0, "cells": {"a": "x", "b": 1.5}}
    {"row": 1, "cells": {"a": "y"}, "skipped": ["b"]}
    {"row": 2, "cells": {"a": "z"}}
    {"checksum": "…"}

*A checkpoint*: a payload of `cellspec.state.checkpoint`, and beside it the facts that make its
claim readable: run, graph and rows of the dataset, a serial number that grows with each write, and
for each incarnation that wrote rows (in the file under the name ``lives``), which of its files
count and what it had claimed when it ended: by column a number of first rows, or ranges where there
is a gap. So rows that it wrote beyond its last claim do not
count, even if they still lie in the folder::

    {"checkpoint_file": 1, "run": "seed 7", "graph": "9c…", "records": 4, "serial": 3,
     "lives": [{"incarnation": 0, "segments": 1, "failed": [], "claim": [3, 2]}],
     "checkpoint": {"version": 1, "completed_rows": 2}}
    {"checksum": "…"}
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Final

from cellspec.engine.calls import Drop
from cellspec.engine.values import SKIPPED
from cellspec.errors import SpecError
from cellspec.graph.rowset import Ranges, ranges_of, rows_of
from cellspec.state.checkpoint import Checkpoint
from cellspec.state.claims import Claim, Rows, count_rows, covers, normal, spans

__all__ = [
    "ClaimedRows",
    "DamagedError",
    "InDoubtError",
    "InUseError",
    "Incarnation",
    "Layers",
    "Record",
    "Segment",
    "StorageError",
    "StorageWriteError",
    "cells_of",
    "encode_rows",
    "incoming_name",
    "is_incoming",
    "segment_name",
    "segment_number",
    "unsealed",
]

_FORMAT: Final = 1
_CHUNK: Final = 1 << 20
_NAME: Final = re.compile(r"rows-(\d{6,})-(?:[0-9a-z]{8}-)?(\d{6,})\.jsonl")
_INCOMING: Final = re.compile(r"checkpoint\.(?:[0-9a-z]{8}\.)?new\.json")


class StorageError(SpecError):
    """Stored data cannot be used, or given data cannot be stored."""


class StorageWriteError(StorageError, OSError):
    """A write failed. Exactly the data that was safe before still is; it may be tried again."""


class InUseError(StorageError):
    """Another process works on the folder; the message names it. The folder was left untouched."""


class InDoubtError(StorageError):
    """Finishing a checkpoint failed, and so did undoing it; the next incarnation sees which holds.

    Further writes are refused. It is not an `OSError`, so that an engine does not try again.
    """


class DamagedError(Exception):
    """A file is missing or damaged; the message names the file, and says how it differs."""


def segment_name(incarnation: int, number: int, writer: str = "") -> str:
    """The name of a file of rows: unique in its folder, and sorted by age.

    Args:
        incarnation: the incarnation that writes it.
        number: its number in that incarnation.
        writer: the process that writes it, in eight letters; two processes give different names,
            even if they come to be on one folder, and in one incarnation, at once.
    """
    own = f"{writer}-" if writer else ""
    return f"rows-{incarnation:06d}-{own}{number:06d}.jsonl"


def incoming_name(writer: str = "") -> str:
    """The name under which a process writes a checkpoint, before that takes its place."""
    return f"checkpoint.{writer}.new.json" if writer else "checkpoint.new.json"


def is_incoming(name: str) -> bool:
    """True of a checkpoint that some process was writing."""
    return _INCOMING.fullmatch(name) is not None


def segment_number(name: str) -> tuple[int, int] | None:
    """Incarnation and number of a file of rows, by its name; None for another file."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


# Lines and checksums


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _line(value: object) -> bytes:
    return _encode(value).encode() + b"\n"


def _sum(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def _sealed(body: bytes) -> bytes:
    return body + _line({"checksum": _sum(body)})


def unsealed(name: str, data: bytes) -> bytes:
    """The lines of a file without its last one, which is their checksum.

    Raises:
        DamagedError: the checksum is not there, or is of other lines.
    """
    cut = data.rfind(b"\n", 0, max(0, len(data) - 1)) + 1
    body = data[:cut]
    expected = _line({"checksum": _sum(body)})
    if data[cut:] != expected:
        raise DamagedError(
            f"{name}: damaged: expected the checksum {_sum(body)} after {cut} bytes, "
            f"got {bytes(data[cut : cut + 60])!r}"
        )
    return body


# Files of rows


@dataclass(frozen=True, slots=True)
class Segment:
    """The header of a file of rows: whose it is, and the cells and tombstones that it holds."""

    name: str
    run: str
    graph: str
    cells: Mapping[str, Ranges]
    dropped: Mapping[int, Drop]

    @classmethod
    def decode(cls, name: str, data: bytes) -> Segment:
        """Read the header of a file whose checksum has been compared.

        Raises:
            DamagedError: it is not a header of this format.
        """
        try:
            header = json.loads(data[: data.index(b"\n")])
            _expect_format(header, "rows_file")
            return cls(
                name,
                header["run"],
                header["graph"],
                {
                    column: tuple((start, stop) for start, stop in ranges)
                    for column, ranges in header["cells"].items()
                },
                {row: Drop(*drop) for row, *drop in header["dropped"]},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{name}: no file of rows of format {_FORMAT}: {error}") from error


def cells_of(rows: Mapping[int, Mapping[str, Any]]) -> dict[str, Ranges]:
    """Which rows have a value, or are skipped, by column."""
    found: dict[str, list[int]] = {}
    for row in sorted(rows):
        for name in rows[row]:
            found.setdefault(name, []).append(row)
    return {name: ranges_of(mine) for name, mine in found.items()}


def _drop_fields(drop: Drop) -> list[str]:
    """A drop as the header of a file holds it; a kind that is not usual comes last."""
    kind = [] if drop.kind == "failed" else [drop.kind]
    return [drop.column, drop.cause, *kind]


def encode_rows(
    identity: Mapping[str, object],
    cells: Mapping[str, Ranges],
    rows: Mapping[int, Mapping[str, Any]],
    dropped: Mapping[int, Drop],
) -> Iterator[bytes]:
    """A file of rows, in pieces of about a megabyte.

    Args:
        identity: run, graph, incarnation and number, for the header.
        cells: which rows there are, by column.
        rows: by row, the values by column; `SKIPPED` for a skipped cell.
        dropped: the rows that were given up, with the reason.

    Raises:
        StorageError: a value that would not come back from JSON as it was.
    """
    header = {
        "rows_file": _FORMAT,
        **identity,
        "cells": cells,
        "dropped": [[row, *_drop_fields(dropped[row])] for row in sorted(dropped)],
    }
    digest = hashlib.blake2b(digest_size=16)
    piece = bytearray(_line(header))
    for row in sorted(rows):
        piece += _encode_row(row, rows[row])
        if len(piece) >= _CHUNK:
            digest.update(piece)
            yield bytes(piece)
            piece.clear()
    digest.update(piece)
    yield bytes(piece) + _line({"checksum": digest.hexdigest()})


def _encode_row(row: int, values: Mapping[str, Any]) -> bytes:
    cells = {name: value for name, value in values.items() if value is not SKIPPED}
    line: dict[str, object] = {"row": row, "cells": cells}
    if len(cells) < len(values):
        line["skipped"] = [name for name in values if name not in cells]
    if (encoded := _faithful(line)) is not None:
        return encoded
    # Something in this row is at fault; say which cell.
    for name, value in cells.items():
        if _faithful(value) is None:
            raise StorageError(
                f"column {name!r}, row {row}: expected a value that JSON gives back as it was, "
                f"got a {type(value).__name__}"
            )
    raise StorageError(f"row {row}: expected values that JSON gives back as they were")


def _faithful(value: object) -> bytes | None:
    """The value as a line; None if it would come back as another one, or not at all."""
    try:
        encoded = _line(value)
        return encoded if json.loads(encoded) == value else None
    except (TypeError, ValueError, RecursionError):
        return None


def _decode_rows(body: bytes) -> dict[int, dict[str, Any]]:
    """The rows of a file whose checksum has been compared."""
    found: dict[int, dict[str, Any]] = {}
    for line in json.loads(b"[%b]" % b",".join(body.splitlines()[1:])):
        found[line["row"]] = {**line["cells"], **dict.fromkeys(line.get("skipped", ()), SKIPPED)}
    return found


# Checkpoint files

# The word of the format for a field of `Record`.
_NAMES: Final = {"incarnations": "lives"}


@dataclass(frozen=True, slots=True)
class Incarnation:
    """Which files of one incarnation count, and how far it had claimed.

    Attributes:
        incarnation: its number in the folder.
        segments: its files are numbered from 1 to this.
        failed: except for these, which could not be written.
        claim: its last claim; rows that it wrote beyond that do not count.
        writer: the process that wrote its files, as their names hold it.
    """

    incarnation: int
    segments: int
    failed: tuple[int, ...]
    claim: Claim
    writer: str = ""

    def names(self) -> Iterator[str]:
        """Its files that count, in the order in which they were written."""
        for number in range(1, self.segments + 1):
            if number not in self.failed:
                yield segment_name(self.incarnation, number, self.writer)


@dataclass(frozen=True, slots=True)
class Record:
    """A checkpoint file: the payload, and the facts that make its claim readable.

    Attributes:
        config: by column, the digest of the configuration that makes its cells now.
        kept: by column, the digests of earlier ones, of which claimed cells were kept on purpose.
    """

    run: str
    graph: str
    records: int
    serial: int
    incarnations: tuple[Incarnation, ...]
    checkpoint: Checkpoint
    config: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The file."""
        plain = {_NAMES.get(name, name): value for name, value in _plain(self).items()}
        for name in ("config", "kept"):
            if not plain[name]:
                del plain[name]
        plain["lives"] = runs = list(map(_plain, self.incarnations))
        for incarnation in runs:
            if not incarnation["writer"]:
                del incarnation["writer"]
        return _sealed(_line({"checkpoint_file": _FORMAT, **plain}))

    @classmethod
    def decode(cls, name: str, data: bytes) -> Record:
        """Read a file whose checksum has been compared.

        Raises:
            DamagedError: it is not a checkpoint file of this format.
        """
        try:
            record = json.loads(data)
            _expect_format(record, "checkpoint_file")
            incarnations = tuple(
                Incarnation(
                    incarnation["incarnation"],
                    incarnation["segments"],
                    tuple(incarnation["failed"]),
                    tuple(map(_rows_of, incarnation["claim"])),
                    incarnation.get("writer", ""),
                )
                for incarnation in record["lives"]
            )
            return cls(
                record["run"],
                record["graph"],
                record["records"],
                record["serial"],
                incarnations,
                record["checkpoint"],
                _config_of(record),
                {name: tuple(digests) for name, digests in record.get("kept", {}).items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{name}: no checkpoint of format {_FORMAT}: {error}") from error


def _plain(one: Incarnation | Record) -> dict[str, Any]:
    return {each.name: getattr(one, each.name) for each in fields(one)}


def _rows_of(rows: int | list[list[int]]) -> Rows:
    """The rows of a column of a claim; a number stands for the first ones."""
    return rows if isinstance(rows, int) else normal((start, stop) for start, stop in rows)


def _config_of(record: Mapping[str, Any]) -> dict[str, str]:
    config = record.get("config", {})
    if not all(isinstance(text, str) for text in (*config, *config.values())):
        raise ValueError(f"config is {config!r}")
    return dict(config)


def _expect_format(header: Mapping[str, object], field: str) -> None:
    if header[field] != _FORMAT:
        raise ValueError(f"{field} is {header[field]!r}")


# Who holds which row


class Layers:
    """Ranges of rows laid over each other; of a row the one that was laid last counts."""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int, int]] = []

    def lay(self, start: int, stop: int, item: int) -> None:
        """Lay `item` over rows ``[start, stop)``."""
        ranges = self._ranges
        first = bisect_right(ranges, start, key=_stop_of)
        last = bisect_left(ranges, stop, key=_start_of)
        pieces = [(start, stop, item)]
        if first < last:
            before, after = ranges[first], ranges[last - 1]
            if before[0] < start:
                pieces.insert(0, (before[0], start, before[2]))
            if after[1] > stop:
                pieces.append((stop, after[1], after[2]))
        if first and pieces[0][0] == ranges[first - 1][1] and pieces[0][2] == ranges[first - 1][2]:
            # Rows that come one flush after the other are one range: memory does not grow.
            first -= 1
            pieces[0] = (ranges[first][0], *pieces[0][1:])
        ranges[first:last] = pieces

    def find(self, row: int) -> int | None:
        """The item that counts for a row, if any does."""
        place = bisect_right(self._ranges, row, key=_stop_of)
        if place < len(self._ranges) and self._ranges[place][0] <= row:
            return self._ranges[place][2]
        return None

    def gap(self, rows: Rows, dropped: Collection[int]) -> int | None:
        """The first of the rows that is missing without a drop."""
        place = 0
        for row, stop in spans(rows):
            while row < stop:
                while place < len(self._ranges) and self._ranges[place][1] <= row:
                    place += 1
                if place < len(self._ranges) and self._ranges[place][0] <= row:
                    row = self._ranges[place][1]
                elif row in dropped:
                    row += 1
                else:
                    return row
        return None


def _start_of(piece: tuple[int, int, int]) -> int:
    return piece[0]


def _stop_of(piece: tuple[int, int, int]) -> int:
    return piece[1]


class ClaimedRows(Mapping[int, Mapping[str, Any]]):
    """The claimed cells by row, read from storage when they are asked for.

    Rows that were dropped are not in it. Memory is O(rows of the flushes over which a row is
    spread); reading on in row order reads each file once.

    Args:
        columns: by column, which file holds which row.
        names: the files.
        dropped: the rows that were dropped.
        rows: the rows to give; each is claimed, at least in one column.
        read: gives the lines of a file, having compared its checksum.
    """

    def __init__(
        self,
        columns: Mapping[str, Layers],
        names: list[str],
        dropped: Collection[int],
        rows: Rows,
        read: Callable[[str], bytes],
    ) -> None:
        self._columns = columns
        self._dropped = dropped
        self._claimed = rows
        self._rows_of = lru_cache(max(8, len(columns)))(
            lambda item: _decode_rows(read(names[item]))
        )

    def __getitem__(self, row: int) -> dict[str, Any]:
        known = type(row) is int and row >= 0 and covers(self._claimed, row)
        if not known or row in self._dropped:
            raise KeyError(row)
        return {
            name: self._rows_of(item)[row][name]
            for name, layers in self._columns.items()
            if (item := layers.find(row)) is not None
        }

    def __iter__(self) -> Iterator[int]:
        return (row for row in rows_of(spans(self._claimed)) if row not in self._dropped)

    def __len__(self) -> int:
        gone = sum(covers(self._claimed, row) for row in self._dropped)
        return count_rows(self._claimed) - gone
