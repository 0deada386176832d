"""Recorded trace files: columns of numbers from CSV or JSON lines, packed or plain."""

from __future__ import annotations

import csv
import gzip
import json
import math
from array import array
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from cellspec.errors import SpecError
from cellspec.machine.actions import Failure
from sim.scenario.strict import MAX_SECONDS

__all__ = ["FAILURES", "Kind", "read_columns"]

Kind: TypeAlias = Literal["seconds", "tokens", "failure"]
FAILURES: tuple[Failure | None, ...] = (None, "retryable", "backpressure")
"""How a recorded request may have failed, by the number that is kept of it."""

_EXPECTED = {
    "seconds": f"seconds from 0 to {MAX_SECONDS:g}",
    "tokens": f"a whole number from 0 to {MAX_SECONDS:g}",
}


def read_columns(path: Path, columns: Mapping[str, Kind]) -> tuple[array[float], ...]:
    """Columns of numbers from a trace file, each in the file's order.

    Args:
        path: a file whose name ends in .csv, .csv.gz, .jsonl or .jsonl.gz.
        columns: the name of each column, and the kind of its numbers.

    Raises:
        SpecError: another file type, an empty file, an unknown column, or a value of another
            kind; the message names the line.
        OSError: the file cannot be opened; other errors if it is damaged.
    """
    status = path.stat()
    return _read_columns(path, tuple(columns.items()), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _read_columns(
    path: Path,
    columns: tuple[tuple[str, Kind], ...],
    _mtime_ns: int,
    _size: int,
) -> tuple[array[float], ...]:
    """`read_columns`; several columns of a pipeline often replay one file, so it is kept."""
    found = tuple(array("d") for _ in columns)
    slots = [(name, kind, found[i]) for i, (name, kind) in enumerate(columns)]
    teller = next((name for name, kind in columns if kind == "failure"), None)
    for line, record in _records(path):
        for name, kind, values in slots:
            if name not in record:
                names = ", ".join(str(x) for x in record)
                raise SpecError(f"line {line} has no column {name!r}; its columns are: {names}")
            given = record[name]
            if kind == "failure":
                values.append(_failure(given))
                continue
            value = _number(given)
            if math.isnan(value) and teller is not None and _failure(record.get(teller)):
                # Of a request that failed not everything is known.
                value = 0.0
            if not 0 <= value <= MAX_SECONDS or (kind == "tokens" and value != int(value)):
                text = f"line {line}, column {name!r}: expected {_EXPECTED[kind]}, got {given!r}"
                raise SpecError(text)
            values.append(value)
    if not found[0]:
        raise SpecError("it holds no rows")
    return found


def _number(given: object) -> float:
    """A cell of a trace as a number; NaN, which every check refuses, for anything else."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return math.nan
    try:
        return float(given)
    except (ValueError, OverflowError):
        return math.nan


def _failure(given: object) -> int:
    """How a request ended, by a cell of its trace: a place in `FAILURES`."""
    if given is None or given is False or (isinstance(given, str) and not given.strip()):
        return 0
    value = _number(given)
    return 0 if value == 0 else FAILURES.index("backpressure" if value == 429 else "retryable")


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """The rows of a trace file, each with its line number."""
    name = path.name.lower().removesuffix(".gz")
    if not name.endswith((".csv", ".jsonl")):
        raise SpecError("expected a file named .csv, .csv.gz, .jsonl or .jsonl.gz")
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
        if name.endswith(".csv"):
            reader = csv.DictReader(lines, strict=True)
            for row in reader:
                yield reader.line_num, row
            return
        for line, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise SpecError(f"line {line}: expected a JSON object")
            yield line, record
