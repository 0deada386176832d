"""The dataset that `create` leaves in its folder, as a user reads it."""

from __future__ import annotations

import contextlib
import importlib
import json
from pathlib import Path
from typing import Any

from cellspec.conformance.run.values import SKIPPED, Table
from cellspec.engines.datadesigner.mocks import ROW, SKIP

__all__ = ["DATASET", "StoredDataset", "prefix_of"]

DATASET = "dataset"
_NOTES = "cellspec-groups.json"


class StoredDataset:
    """The folder of a dataset, as a user reads it, with the adapter's notes beside it.

    Attributes:
        base: the folder. A run that may not use it makes another one, with a time in its name.
    """

    def __init__(self, folder: Path) -> None:
        self.base = folder / DATASET
        self._notes = folder / _NOTES

    @property
    def has_metadata(self) -> bool:
        """True if there is metadata; a resume without it starts anew."""
        return (self.base / "metadata.json").exists()

    def metadata(self) -> dict[str, Any]:
        """The metadata; empty if it is missing or cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.base / "metadata.json").read_text("utf-8"))
            return found if isinstance(found, dict) else {}
        return {}

    def note(self, group: int, rows: list[int]) -> None:
        """Note the rows of a group before it is saved."""
        self._notes.write_text(json.dumps(self._noted() | {str(group): rows}), "utf-8")

    def _noted(self) -> dict[str, list[int]]:
        try:
            found: dict[str, list[int]] = json.loads(self._notes.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def _files(self) -> dict[str, Path]:
        """The files of saved groups, by the group's number."""
        files = sorted((self.base / "parquet-files").glob("batch_*.parquet"))
        return {str(int(file.stem.partition("_")[2])): file for file in files}

    def safe_rows(self) -> set[int]:
        """The rows that a resume counts as done."""
        if not self.has_metadata:
            return set()
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
        noted, files = self._noted(), self._files()
        through = {row for group in files for row in noted.get(group, ())}
        metadata = self.metadata()
        if "column_statistics" in metadata or metadata.get("actual_num_records") == 0:
            through |= set(range(metadata.get("target_num_records", 0))) - {
                row for group, rows in noted.items() if group in files for row in rows
            }
        return through


def prefix_of(rows: set[int]) -> int:
    """The number of rows from 0 on without a gap."""
    count = 0
    while count in rows:
        count += 1
    return count
