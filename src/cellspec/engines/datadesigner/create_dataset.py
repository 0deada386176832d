"""The dataset that `create` leaves in its folder, as a user reads it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from cellspec.conformance.run.values import SKIPPED, Table
from cellspec.conformance.run.workload import Workload
from cellspec.engines.datadesigner.mocks import ROW, SKIP

__all__ = ["DATASET", "StoredDataset", "prefix_of"]

DATASET = "dataset"
_NOTES = "cellspec-notes.json"


class StoredDataset:
    """The folder of a dataset, as a user reads it, with the adapter's notes beside it.

    Attributes:
        base: the folder. A run that may not use it makes another one, with a time in its name.
    """

    def __init__(self, folder: Path) -> None:
        self.base = folder / DATASET
        self._notes = folder / _NOTES

    def find(self, work: Workload) -> None:
        """Turn to the folder in which the last run of this workload's config put its rows."""
        place = self._read("places").get(_config_of(work))
        if place is not None:
            self.base = self._notes.parent / place

    def note_place(self, work: Workload) -> None:
        """Note where a run of this workload's config puts its rows."""
        self._note("places", {_config_of(work): self.base.name})

    @property
    def has_metadata(self) -> bool:
        """True if there is metadata; a resume without it starts anew."""
        return (self.base / "metadata.json").exists()

    def note_group(self, file: Path, rows: Iterable[int]) -> None:
        """Note the rows of a group before it is written to its file."""
        self._note(f"groups of {self.base.name}", {_group_of(file): list(rows)})

    def note_dropped(self, rows: Iterable[int]) -> None:
        """Note the rows that were dropped in a run that has come to its end."""
        self._note(f"dropped of {self.base.name}", dict.fromkeys(map(str, rows), True))

    def _noted(self) -> dict[str, list[int]]:
        return self._read(f"groups of {self.base.name}")

    def _read(self, what: str) -> dict[str, Any]:
        found: dict[str, Any] = self._noted_so_far.get(what, {})
        return found

    @cached_property
    def _noted_so_far(self) -> dict[str, Any]:
        """All notes. One object at a time writes them, so it reads them once."""
        try:
            found: dict[str, Any] = json.loads(self._notes.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def _note(self, what: str, more: dict[str, Any]) -> None:
        """Add to the notes of one kind. If the process dies in here, those from before stay."""
        notes = self._noted_so_far
        notes[what] = notes.get(what, {}) | more
        fresh = self._notes.with_suffix(".new")
        fresh.write_text(json.dumps(notes), "utf-8")
        fresh.replace(self._notes)

    def _files(self) -> dict[str, Path]:
        """The files of saved groups, by the group's number."""
        files = sorted((self.base / "parquet-files").glob("batch_*.parquet"))
        return {_group_of(file): file for file in files}

    def safe_rows(self) -> set[int]:
        """The rows that a resume counts as done."""
        return self.placed_rows() if self.has_metadata else set()

    def placed_rows(self) -> set[int]:
        """The rows of the groups whose files are where a resume looks for them."""
        noted = self._noted()
        return {row for group in self._files() for row in noted.get(group, ())}

    def claim(self) -> int | None:
        """The first rows that a resume counts as done; None if it counts further rows too."""
        safe = self.safe_rows()
        claim = prefix_of(safe)
        return claim if claim == len(safe) else None

    def table(self) -> Table:
        """The rows of all saved groups, and the dropped rows."""
        parquet = importlib.import_module("pyarrow.parquet")
        records = []
        for file in self._files().values():
            for record in parquet.ParquetFile(file).read().to_pylist():
                row = record.pop(ROW)
                cells = {
                    name: SKIPPED if value is None else value
                    for name, value in record.items()
                    if not name.startswith(SKIP)
                }
                records.append((row, cells))
        kept = {row for row, _ in records}
        return Table.from_records(records, self._missing() - kept)

    def _missing(self) -> set[int]:
        """The rows of finished groups: saved, or all dropped in a run that came to its end."""
        return self.placed_rows() | {int(row) for row in self._read(f"dropped of {self.base.name}")}


def _group_of(file: Path) -> str:
    return str(int(file.stem.partition("_")[2]))


def _config_of(work: Workload) -> str:
    """What tells one config of DataDesigner from another."""
    return repr((work.columns, work.batch_size, sorted(work.versions.items())))


def prefix_of(rows: set[int]) -> int:
    """The number of rows from 0 on without a gap."""
    count = 0
    while count in rows:
        count += 1
    return count
