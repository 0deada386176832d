"""The folder of a sweep, as a report reads it: what its summary and its runs say, and no more.

Numbers keep the text that they have in ``summary.csv``, so that a page holds the very same ones.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellspec.errors import SpecError
from sim.experiments.sweep.derived import field_cell
from sim.result_fields import csv_cell

__all__ = ["Cell", "SweepPoint", "SweepTables", "is_number", "read_sweep"]

MANIFEST, POINTS, RUNS, SUMMARY = "manifest.json", "points.jsonl", "runs.csv", "summary.csv"
_FIELD = "field."


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of a point, as ``summary.csv`` has it.

    Attributes:
        mean, half_width: the texts of the file; an empty one is not known.
    """

    mean: str
    half_width: str

    @property
    def value(self) -> float:
        """The mean."""
        return float(self.mean)

    @property
    def half(self) -> float:
        """The half-width; 0 if it is not known."""
        return float(self.half_width) if self.half_width else 0.0


@dataclass(slots=True)
class SweepPoint:
    """One point of a sweep.

    Attributes:
        number: of the point.
        fields: by name, the text of each value.
        runs: how many there are.
        error: why it cannot be run, or one of its runs could not; "" if all is well.
        figures: by name.
        by_seed: of each run its figures that are numbers.
    """

    number: int
    fields: Mapping[str, str]
    runs: int = 0
    error: str = ""
    figures: dict[str, Cell] = field(default_factory=dict)
    by_seed: dict[int, dict[str, float]] = field(default_factory=dict)

    def words(self, without: str = "") -> str:
        """Its fields on one line, but for one that is left out."""
        return ", ".join(f"{k}={v}" for k, v in self.fields.items() if k != without)


@dataclass(frozen=True, slots=True)
class SweepTables:
    """A sweep.

    Attributes:
        path: of its folder.
        name: of the scenario.
        fields: the names of those that it varies.
        points: in the order of their numbers.
    """

    path: Path
    name: str
    fields: tuple[str, ...]
    points: tuple[SweepPoint, ...]

    @property
    def good(self) -> list[SweepPoint]:
        """The points that have figures."""
        return [point for point in self.points if point.figures]

    def varied(self, name: str) -> list[str]:
        """The values of a field at points that have figures, each once."""
        return list(dict.fromkeys(one.fields[name] for one in self.good if one.fields[name]))


def is_number(text: str) -> bool:
    """Whether the value of a field is a number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def read_sweep(folder: Path) -> SweepTables:
    """Read the folder of a sweep.

    Raises:
        SpecError: it holds no sweep, or a file of it cannot be read; one line that says which.
    """
    manifest = _manifest(folder)
    points: dict[int, SweepPoint] = {}
    for where, line in _lines(folder / SUMMARY, ("point", "runs", "error", "figure", "mean")):
        point = _point(points, where, line)
        point.runs, point.error = _whole(where, "runs", line["runs"]), line["error"]
        if line["figure"]:
            for name in ("mean", "half_width"):
                if line.get(name) and not is_number(line[name]):
                    raise SpecError(f"{where}: {name}: expected a number, got {line[name]!r}")
            point.figures[line["figure"]] = Cell(line["mean"], line.get("half_width", ""))
    for where, line in _lines(folder / RUNS, ("point", "seed", "error")):
        point = _point(points, where, line)
        if line["seed"] and not line["error"]:
            figures = {
                name: float(text)
                for name, text in line.items()
                if name in point.figures and is_number(text)
            }
            point.by_seed[_whole(where, "seed", line["seed"])] = figures
    fields = tuple(next(iter(points.values())).fields) if points else ()
    for planned in _planned(folder / POINTS):
        number: int = planned["point"]
        if number not in points:
            values = {k: str(csv_cell(field_cell(v))) for k, v in planned["fields"].items()}
            points[number] = SweepPoint(number, values)
    ordered = tuple(points[number] for number in sorted(points))
    return SweepTables(folder, str(manifest.get("name") or folder.name), fields, ordered)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"{folder}: is no folder of a sweep: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict) or "sweep" not in found:
        scenario = folder / "scenario.yaml"
        hint = (
            f"it is that of a run, which `cellspec run {scenario} --report FILE.html` draws"
            if scenario.is_file()
            else "as `cellspec sweep` writes it"
        )
        raise SpecError(f"{path}: is no manifest of a sweep; {hint}")
    return found


def _planned(path: Path) -> Iterator[dict[str, Any]]:
    """The points of a sweep, whether they have runs or not; none without the file."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
            known = isinstance(found["point"], int) and isinstance(found["fields"], dict)
        except (ValueError, TypeError, KeyError):
            known = False
        if not known:
            raise SpecError(f"{path}: line {number}: is no point of a sweep")
        yield found


def _lines(path: Path, needs: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each line of a table is, and its cells by column."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise SpecError(
            f"{path.parent}: has no {path.name}; run `cellspec sweep` to its end, which writes it"
        ) from None
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    # A name may hold what other readers of lines take for an end of one.
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for name in needs:
        if name not in (reader.fieldnames or ()):
            raise SpecError(f"{path}: line 1: expected a column {name!r}, got none")
    for line in reader:
        where = f"{path}: line {reader.line_num}"
        if None in line or None in line.values():
            raise SpecError(f"{where}: expected as many cells as there are columns")
        yield where, line


def _point(points: dict[int, SweepPoint], where: str, line: Mapping[str, str]) -> SweepPoint:
    number = _whole(where, "point", line["point"])
    if number not in points:
        fields = {k.removeprefix(_FIELD): v for k, v in line.items() if k.startswith(_FIELD)}
        points[number] = SweepPoint(number, fields)
    return points[number]


def _whole(where: str, name: str, text: str) -> int:
    if not text.isdecimal():
        raise SpecError(f"{where}: {name}: expected a whole number, got {text!r}")
    return int(text)
