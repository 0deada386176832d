"""A right engine that resumes from a set of cells: it appends what is new to a journal.

It runs like the second engine, and saves otherwise: after each turn it writes the cells that are
resolved since, in whatever rows they are, as one line of a file. Three backends tell the suite of
it in three honest ways: `Commits` says that a line is data and claim at once, `Claims` writes data
first and then a claim on it, and `Tables` says nothing and is judged by what it leaves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from cellspec.conformance import SKIPPED, Probe, Refused, Table, Value
from tests.conformance.second_engine import ColumnFirst, Incarnation

Cell = tuple[str, int]
Line = dict[str, Any]

OF_THE_JOURNAL = ColumnFirst.capabilities - {
    "config",
    "prompt_saving",
    "lost_workers",
    "row_ids",
    "killer_cells",
}
"""A journal keeps no word of the pipeline that it is of, nor of row groups, nor of workers."""


class Journal(Incarnation):
    """One incarnation that saves to a journal; the three ways of telling are its subclasses."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        self.saved: set[Cell] = set()

    # Saving

    def save(self, *, last: bool = False) -> None:
        """Write what is new, if so much is asked for, or at the end."""
        every = self.work.checkpoint_every_rows
        new = sorted(self.resolved() - self.saved)
        if new and (last or (every is not None and len(new) >= every)):
            self.write_parts(self.parts_of(new))
            self.saved.update(new)

    def resolved(self) -> set[Cell]:
        names = [rule.name for rule in self.rules.columns]
        return {*self.cells, *((name, row) for name in names for row in self.dropped)}

    def parts_of(self, new: list[Cell]) -> list[list[Cell]]:
        """What is new in two parts, the later rows first; each is closed by itself."""
        rows = sorted({row for _, row in new})
        if len(rows) < 2 or any(rule.ordered for rule in self.rules.columns):
            return [new]
        half = rows[len(rows) // 2]
        return [[c for c in new if c[1] >= half], [c for c in new if c[1] < half]]

    def write_parts(self, parts: list[list[Cell]]) -> None:
        for part in parts:
            self.append(self.line_of(part))

    def line_of(self, new: list[Cell]) -> Line:
        """The cells as a line; the number of rows that the run has stands beside."""
        made = [
            [name, row, None if self.cells[name, row] is SKIPPED else self.cells[name, row]]
            for name, row in new
            if row not in self.dropped
        ]
        dropped = sorted({row for _, row in new if row in self.dropped})
        return {"cells": made, "dropped": dropped, "of": self.probe.rows}

    def append(self, line: Line) -> None:
        self.cut_torn_line()
        self.probe.storage_step("append")
        with (self.probe.folder / "journal").open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.probe.storage_step("appended")

    def cut_torn_line(self) -> None:
        """Cut off half a line of a process that died in the middle of it."""
        path = self.probe.folder / "journal"
        if path.exists() and path.stat().st_size > len(whole_lines(path)):
            self.probe.storage_step("cut the torn line")
            os.truncate(path, len(whole_lines(path)))

    # Resuming

    def restore(self) -> None:
        """Take back every cell that is claimed, and say so."""
        lines = self.given_back()
        cells, dropped = content(lines)
        self.saved = {*cells}
        self.cells = {cell: value for cell, value in cells.items() if cell[1] not in dropped}
        self.dropped = dict.fromkeys(sorted(dropped), "")
        self.saved |= {(rule.name, row) for rule in self.rules.columns for row in dropped}
        self.expect_same_scopes(lines[-1]["of"] if lines else None)
        for rule in self.rules.columns:
            for row in range(0, self.probe.rows if rule.is_barrier else 0, rule.scope_rows or 1):
                start, stop = self.scope(rule, row)
                if all((rule.name, one) in self.saved for one in range(start, stop)):
                    self.finished_barriers.add((rule.name, stop - 1))
                elif rule.ordered:
                    # A later scope whose rows were all dropped does not end the wait for this one.
                    break
        if self.probe.incarnation:
            self.tell_resume()

    def given_back(self) -> list[Line]:
        """The lines that storage gives back."""
        return claimed_lines(self.probe.folder)

    def tell_resume(self) -> None:
        skips = {
            rule.name: [row for row in range(self.probe.rows) if self.was_skipped(rule.name, row)]
            for rule in self.rules.columns
        }
        self.probe.resumed(by_column(self.saved), self.dropped, skips, keep=self.work.keep)

    def was_skipped(self, name: str, row: int) -> bool:
        return self.cells.get((name, row)) is SKIPPED

    def expect_same_scopes(self, before: int | None) -> None:
        rows = self.probe.rows
        if any(row >= rows for _, row in self.saved):
            raise Refused("rows beyond the target are kept")
        if before is None or before == rows or self.work.keep:
            return
        for rule in self.rules.columns:
            for name, row in self.saved if rule.is_barrier else ():
                if name != rule.name or row in self.dropped:
                    continue
                first = row // rule.scope_rows * rule.scope_rows if rule.batched else 0
                size = rule.scope_rows if rule.batched else max(rows, before)
                if min(before, first + size) != min(rows, first + size):
                    raise Refused(f"the scope of {rule.name} changes")


class CommitJournal(Journal):
    """A line is data and claim in one; two of them are on their way at once."""

    def write_parts(self, parts: list[list[Cell]]) -> None:
        for number, part in enumerate(parts):
            self.probe.commit_begin(claim=by_column(part), number=self.number_of(number))
        for number, part in enumerate(parts):
            self.append(self.line_of(part))
            self.probe.committed(self.number_of(number))

    def number_of(self, number: int) -> int | None:
        return number or None


class ClaimJournal(Journal):
    """Data is appended; then a file says how many lines of it are claimed."""

    def restore(self) -> None:
        if not (self.probe.folder / "claim").exists():
            self.write_claim(0)
        super().restore()

    def write_parts(self, parts: list[list[Cell]]) -> None:
        path = self.probe.folder / "journal"
        lines = read(path)
        if len(lines) > claimed_count(self.probe.folder):
            # Lines that no claim holds are cut off before others follow them.
            self.probe.storage_step("cut")
            kept = whole_lines(path).splitlines(keepends=True)
            os.truncate(path, sum(map(len, kept[: claimed_count(self.probe.folder)])))
        claimed = set(self.saved)
        for part in parts:
            self.append(self.line_of(part))
            for name, row in part:
                self.probe.durable(name, row, row + 1)
            claimed.update(part)
            self.probe.checkpoint_begin(self.claim_of(claimed))
            self.probe.storage_step("write claim")
            self.write_claim(len(read(path)))
            self.probe.storage_step("claim written")
            self.probe.checkpoint_durable()

    def write_claim(self, lines: int) -> None:
        """Write how many lines are claimed beside the claim, which stays whole until then."""
        new = self.probe.folder / "claim.new"
        new.write_text(str(lines))
        new.replace(self.probe.folder / "claim")

    def claim_of(self, cells: set[Cell]) -> Mapping[str, list[int]]:
        return by_column(cells)


class TableJournal(Journal):
    """The lines are there, and nobody is told."""

    def tell_resume(self) -> None:
        pass


class Commits(ColumnFirst):
    """The journal as a backend that commits data and claim in one write."""

    name = "journal-commits"
    capabilities = OF_THE_JOURNAL | {"column_checkpoints", "set_claims", "commits"}
    incarnation: ClassVar[type[Journal]] = CommitJournal
    shows_parts = True

    def begin(self, probe: Probe) -> Incarnation:
        """The incarnation that is to run."""
        return self.incarnation(probe)

    def table(self, probe: Probe) -> Table:
        """Every claimed cell; without the capability to claim columns, every whole row."""
        cells, dropped = content(claimed_lines(probe.folder))
        rows: dict[int, dict[str, Value]] = {}
        for (name, row), value in cells.items():
            if row not in dropped:
                rows.setdefault(row, {})[name] = value
        if not self.shows_parts:
            names = probe.graph.column_names
            rows = {row: held for row, held in rows.items() if len(held) == len(names)}
        return Table(rows, frozenset(dropped))


class PromptCommits(Commits):
    """The journal as a backend that promises when it commits: every so many rows."""

    name = "journal-commits-promptly"
    capabilities = Commits.capabilities | {"prompt_saving"}
    saving = None  # type: ignore[assignment]  # by rows, as it is asked


class Claims(Commits):
    """The journal as a backend that writes data, then a claim."""

    name = "journal-claims"
    capabilities = OF_THE_JOURNAL | {"column_checkpoints", "set_claims"}
    incarnation = ClaimJournal


class Tables(Commits):
    """The journal as a backend that reports nothing of its storage."""

    name = "journal-tables"
    capabilities = OF_THE_JOURNAL - {"storage_steps"}
    incarnation = TableJournal
    shows_parts = False


def by_column(cells: set[Cell] | list[Cell]) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name, row in sorted(cells):
        found.setdefault(name, []).append(row)
    return found


def whole_lines(path: Path) -> bytes:
    """The journal without the half line that a crash may have left."""
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1]


def read(path: Path) -> list[Line]:
    return list(map(json.loads, whole_lines(path).splitlines())) if path.exists() else []


def claimed_count(folder: Path) -> int:
    """How many lines of the journal are claimed; every one if no file says otherwise."""
    path = folder / "claim"
    return int(path.read_text()) if path.exists() else 0


def claimed_lines(folder: Path) -> list[Line]:
    lines = read(folder / "journal")
    return lines[: claimed_count(folder)] if (folder / "claim").exists() else lines


def content(lines: list[Line]) -> tuple[dict[Cell, Value], set[int]]:
    """The cells and the dropped rows of a journal."""
    cells: dict[Cell, Value] = {}
    dropped: set[int] = set()
    for line in lines:
        dropped.update(line["dropped"])
        for name, row, value in line["cells"]:
            cells[name, row] = SKIPPED if value is None else value
    return cells, dropped
