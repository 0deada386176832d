"""The folder in which rows outlive the process: a table that grows, and a claim over it.

``rows.jsonl`` is appended to and synced: a line for each row, or part of one, and a line for each
dropped row. ``claim.json`` says how many of its bytes count, and which cells they hold; it is
written beside, synced, and renamed into place. The next process cuts off the bytes that a dead one
left beyond its claim.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from cellspec.conformance.run.values import SKIPPED, Table, Value
from cellspec.errors import SpecError
from cellspec.files import sync_file, sync_folder

__all__ = ["Kept", "append", "claim", "cut", "read", "table"]

ROWS = "rows.jsonl"
CLAIM = "claim.json"

Step: TypeAlias = Callable[[str], None]
"""Called with the name of a step on storage before it is done."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The rows of a folder that its claim covers.

    Attributes:
        record: the claim, as `claim` was given it.
        rows: for each row its cells, by column.
        dropped: for each dropped row the column that failed.
    """

    record: Mapping[str, Any]
    rows: Mapping[int, Mapping[str, Value]] = field(default_factory=dict)
    dropped: Mapping[int, str] = field(default_factory=dict)


def append(folder: Path, lines: Iterable[Mapping[str, Any]], step: Step) -> int:
    """Append lines to the table, and push them to the disk.

    Args:
        folder: the folder.
        lines: JSON objects, a line each.
        step: called before each step.

    Returns:
        The table's size in bytes, which a claim that covers these lines must name.
    """
    step("append rows")
    with (folder / ROWS).open("ab") as file:
        for line in lines:
            file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        file.flush()
        step("sync rows")
        sync_file(file)
        return file.tell()


def claim(folder: Path, record: Mapping[str, Any], step: Step) -> None:
    """Replace the claim, as a whole.

    Args:
        folder: the folder.
        record: a JSON object; ``bytes`` in it says how much of the table counts.
        step: called before each step.
    """
    new = folder / f"{CLAIM}.new"
    step("write claim")
    with new.open("w") as file:
        json.dump(record, file)
        file.flush()
        step("sync claim")
        sync_file(file)
    step("replace claim")
    new.replace(folder / CLAIM)
    step("sync folder")
    sync_folder(folder)


def cut(folder: Path, size: int, step: Step) -> None:
    """Cut off the bytes that a dead process left in the table beyond its claim.

    Args:
        folder: the folder.
        size: the bytes that count.
        step: called before each step.
    """
    path = folder / ROWS
    if path.exists() and path.stat().st_size > size:
        step("cut rows")
        os.truncate(path, size)


def read(folder: Path) -> Kept | None:
    """The rows that the claim in a folder covers; None if there is no claim.

    Raises:
        SpecError: the table is shorter than its claim says, or a line cannot be read.
    """
    path = folder / CLAIM
    if not path.exists():
        return None
    record = json.loads(path.read_bytes())
    body = (folder / ROWS).read_bytes()[: record["bytes"]] if record["bytes"] else b""
    if len(body) < record["bytes"]:
        raise SpecError(f"{ROWS}: expected {record['bytes']} bytes, found {len(body)}")
    rows: dict[int, dict[str, Value]] = {}
    dropped: dict[int, str] = {}
    for number, line in enumerate(body.splitlines(), 1):
        try:
            entry = json.loads(line)
            if "dropped" in entry:
                dropped[entry["row"]] = entry["dropped"]
            else:
                cells = {c: SKIPPED if v is None else v for c, v in entry["cells"].items()}
                rows.setdefault(entry["row"], {}).update(cells)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SpecError(f"{ROWS}: line {number}: cannot be read") from None
    for row in dropped:
        # Column by column, cells of it may have been written before it was given up.
        rows.pop(row, None)
    return Kept(record, rows, dropped)


def table(folder: Path) -> Table:
    """The table in a folder, for a backend's `table`.

    Raises:
        SpecError: as `read`.
    """
    kept = read(folder)
    return Table({}) if kept is None else Table(kept.rows, frozenset(kept.dropped))
