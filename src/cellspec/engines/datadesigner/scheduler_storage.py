"""Storage for the scheduler: a file of JSON lines for each row group."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from cellspec.conformance.run.values import SKIPPED, Table
from cellspec.engines.datadesigner.mocks import ROW, SKIP

__all__ = ["GroupStorage", "read_table", "write_group"]


class GroupStorage:
    """The storage of the buffer.

    Args:
        folder: where the files are.
        write: surrounds the writing of a row group; it may raise `OSError`.

    Attributes:
        saved: the rows of each row group that is stored.
    """

    dataset_name = "dataset"

    def __init__(
        self, folder: Path, write: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._folder = folder
        self._write = write
        self._partial: dict[int, list[dict[str, Any]]] = {}
        self.saved: dict[int, list[int]] = {}

    def write_batch_to_parquet_file(
        self,
        batch_number: int,
        dataframe: Any,
        batch_stage: Any,  # noqa: ARG002 - there is one stage here
    ) -> Path:
        """Take the table of a row group."""
        with self._write():
            return self._take(batch_number, dataframe)

    def _take(self, batch_number: int, dataframe: Any) -> Path:
        names = [name for name in dataframe.columns if name != ROW and not name.startswith(SKIP)]
        columns = [_values_of(dataframe[name]) for name in names]
        rows = dataframe[ROW].tolist()
        # Without columns there are no values to go with the rows.
        cells = zip(*columns, strict=True) if columns else [()] * len(rows)
        self._partial[batch_number] = [
            {"row": int(row), "cells": dict(zip(names, values, strict=True))}
            for row, values in zip(rows, cells, strict=True)
        ]
        return self._folder / f"partial-{batch_number}"

    def move_partial_result_to_final_file_path(self, batch_number: int) -> Path:
        """Store it for good."""
        lines = self._partial.pop(batch_number)
        self.saved[batch_number] = [line["row"] for line in lines]
        return write_group(self._folder, batch_number, lines)


def _values_of(column: Any) -> list[Any]:
    """The values of a column; None for each that is missing."""
    missing = column.isna().tolist()
    return [None if gone else value for value, gone in zip(column.tolist(), missing, strict=True)]


def write_group(folder: Path, group: int, lines: Iterable[dict[str, Any]]) -> Path:
    path = folder / f"group-{group:06d}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
    return path


def read_table(folder: Path) -> Table:
    """The rows of every row group in a folder."""
    records: list[tuple[int, dict[str, Any]]] = []
    dropped: list[int] = []
    for file in sorted(folder.glob("group-*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            dropped += found.get("dropped", [])
            if "cells" in found:
                cells = {
                    name: SKIPPED if value is None else value
                    for name, value in found["cells"].items()
                }
                records.append((found["row"], cells))
    return Table.from_records(records, dropped)
