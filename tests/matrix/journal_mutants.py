"""Journals broken on purpose: engines that resume from a set of cells, and get it wrong.

The reference engine claims the first rows of each column alone, so mistakes with sets and commits
are planted in the journal of the tests. Each mutant replaces one method of a right one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from cellspec.conformance.run.backend import Backend
from cellspec.graph.rules import ColumnRule
from tests.conformance.journal_engine import (
    Cell,
    ClaimJournal,
    Claims,
    CommitJournal,
    Commits,
    Journal,
    Line,
    PromptCommits,
    TableJournal,
    Tables,
    by_column,
    content,
)
from tests.matrix.engine_mutants import EngineMutant

__all__ = ["JOURNAL_MUTANTS"]


@dataclass(frozen=True)
class JournalMutant(EngineMutant):
    """A journal that is wrong: the backend that tells of it, and what it runs."""

    tells: type[Commits] = Commits
    journal: type[Journal] = CommitJournal

    @property
    def able(self) -> frozenset[str]:
        return self.tells.capabilities.difference(self.lacks)

    def backend(self) -> Backend:  # type: ignore[override]  # an engine of another kind
        """The engine as the suite takes it."""
        broken: Any = type(
            self.journal.__name__,
            (self.tells,),
            {"incarnation": self.journal, "capabilities": self.able},
        )
        made: Backend = broken()
        return made

    def as_right(self) -> JournalMutant:
        """The right journal that it was made from."""
        return replace(self, name="journal", wrong="nothing", journal=self.tells.incarnation)


JOURNAL_MUTANTS: list[JournalMutant] = []

IN_PARTS = ("torn_writes",)
"""What a journal must not promise that writes a commit in several operations on files."""

_TELLS: dict[type[Journal], type[Commits]] = {
    CommitJournal: Commits,
    ClaimJournal: Claims,
    TableJournal: Tables,
}


def mutant(wrong: str, tells: type[Commits] | None = None, lacks: tuple[str, ...] = ()) -> Any:
    """Register a broken journal; the right one that it is made from says how it is told of."""

    def register(broken: type[Journal]) -> type[Journal]:
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in broken.__name__).strip()
        known = tells or next(told for base, told in _TELLS.items() if issubclass(broken, base))
        JOURNAL_MUTANTS.append(
            JournalMutant(words, wrong, lacks=lacks, tells=known, journal=broken)
        )
        return broken

    return register


@mutant("a claim of a column reaches from its first row to its last, gaps or not")
class ClaimsTheRowsOfAGap(ClaimJournal):
    def claim_of(self, cells: set[Cell]) -> Any:
        return {name: range(rows[0], rows[-1] + 1) for name, rows in by_column(cells).items()}


@mutant("a resume from a set takes the rows before its first gap alone, the second time")
class DropsItsSetAtTheSecondResume(ClaimJournal):
    def given_back(self) -> list[Line]:
        lines = super().given_back()
        if self.probe.incarnation < 2:
            return lines
        cells, dropped = content(lines)
        for line in lines:
            line["cells"] = [
                [name, row, value]
                for name, row, value in line["cells"]
                if all((name, before) in cells or before in dropped for before in range(row))
            ]
        return lines


@mutant("saves when every row is finished, and not when the run ends before that")
class SavesWhenAllIsFinished(ClaimJournal):
    def save(self, *, last: bool = False) -> None:
        if all(map(self.is_resolved_row, range(self.probe.rows))):
            super().save(last=last)


@mutant("what is finished behind a row that waits is not saved before that row", PromptCommits)
class SavesTheFirstRowsAlone(CommitJournal):
    first_rows = 0

    def save(self, *, last: bool = False) -> None:
        done = [self.is_resolved_row(row) for row in range(self.probe.rows)]
        first = done.index(False) if False in done else len(done)
        every = self.work.checkpoint_every_rows
        if last or (every is not None and first - self.first_rows >= every):
            self.first_rows = first
            super().save(last=last)


@mutant("a commit takes the first of the rows that are due, and leaves the others", PromptCommits)
class CommitsOneRowOfThoseDue(CommitJournal):
    def save(self, *, last: bool = False) -> None:
        before, parts_of = set(self.saved), self.parts_of
        first = min((row for _, row in self.resolved() - before), default=0)
        if last or any(rule.ordered or rule.is_barrier for rule in self.rules.columns):
            super().save(last=last)
            return
        self.parts_of = lambda new: [[c for c in new if c[1] == first]]  # type: ignore[method-assign]
        super().save()
        self.parts_of = parts_of  # type: ignore[method-assign]
        self.saved = {c for c in self.saved if c in before or c[1] == first}


@mutant("after a resume data is appended, and the claim on it is not written")
class ClaimsNothingAfterAResume(ClaimJournal):
    def write_parts(self, parts: list[list[Cell]]) -> None:
        if not self.probe.incarnation:
            super().write_parts(parts)
            return
        for part in parts:
            self.append(self.line_of(part))
            for name, row in part:
                self.probe.durable(name, row, row + 1)


@mutant("a barrier that runs again replaces the output that is claimed")
class ReplacesClaimedOutput(CommitJournal):
    async def call_barrier(self, rule: ColumnRule, start: int, stop: int) -> None:
        held = {row: self.cells.pop((rule.name, row), None) for row in range(start, stop)}
        await super().call_barrier(rule, start, stop)
        for row, value in held.items():
            if value is not None and (rule.name, row) not in self.cells:
                self.cells[rule.name, row] = value
        self.saved -= {(rule.name, row) for row, value in held.items() if value is not None}


@mutant("a resume runs a barrier again of which all output is claimed")
class RunsFinishedBarriers(ClaimJournal):
    def restore(self) -> None:
        super().restore()
        self.once_more = self.finished_barriers.copy()
        self.finished_barriers.clear()

    def wants_output(self, rule: ColumnRule, row: int) -> bool:
        barrier = rule.name, self.scope(rule, row)[1] - 1
        again = barrier in self.once_more and barrier not in self.finished_barriers
        return super().wants_output(rule, row) or (again and row not in self.dropped)


@mutant("a barrier that runs again gives no output before the last row that is claimed")
class GivesOutputBehindTheClaim(CommitJournal):
    def restore(self) -> None:
        super().restore()
        self.found = {(name, row) for name, row in self.saved if row not in self.dropped}

    def take(self, rule: ColumnRule, row: int, value: object) -> None:
        behind = range(row + 1, self.scope(rule, row)[1]) if rule.is_barrier else ()
        if not any((rule.name, each) in self.found for each in behind):
            super().take(rule, row, value)


@mutant("the mark of a commit is written first, and its data after that", lacks=IN_PARTS)
class MarksACommitBeforeItsData(CommitJournal):
    def append(self, line: Line) -> None:
        with (self.probe.folder / "marks").open("a") as file:
            file.write(json.dumps([[name, row] for name, row, _ in line["cells"]]) + "\n")
        super().append(line)

    def tell_resume(self) -> None:
        path = self.probe.folder / "marks"
        for line in path.read_text().splitlines() if path.exists() else ():
            self.saved |= {(name, row) for name, row in json.loads(line)}
        super().tell_resume()


@mutant("the data of a commit is there before the mark by which it is found", lacks=IN_PARTS)
class MarksACommitAfterItsData(CommitJournal):
    def append(self, line: Line) -> None:
        super().append({**line, "mark": 0})
        path = self.probe.folder / "journal"
        text = path.read_text()
        path.write_text(text.replace('"mark": 0', '"mark": 1'))

    def given_back(self) -> list[Line]:
        return [line for line in super().given_back() if line["mark"]]


@mutant("of a commit that was cut off, the part that was written is taken", lacks=IN_PARTS)
class TakesHalfACommit(CommitJournal):
    def append(self, line: Line) -> None:
        path = self.probe.folder / "journal"
        before = path.read_text() if path.exists() else ""
        cells = sorted(line["cells"], key=lambda cell: self.rules.index[cell[0]])
        super().append({**line, "cells": cells[: len(cells) // 2], "dropped": []})
        path.write_text(before)
        super().append(line)


@mutant("a resume reads the last commit alone")
class ForgetsOlderCommits(CommitJournal):
    def given_back(self) -> list[Line]:
        return super().given_back()[-1:]


@mutant("after a resume a column is committed before its inputs are")
class CommitsOutputBeforeInput(CommitJournal):
    def parts_of(self, new: list[Cell]) -> list[list[Cell]]:
        if not self.probe.incarnation:
            return super().parts_of(new)
        names = [rule.name for rule in reversed(self.rules.columns)]
        parts = [[cell for cell in new if cell[0] == name] for name in names]
        return [part for part in parts if part]


@mutant("after a resume two commits that are open have one number")
class NumbersEveryCommitAlike(CommitJournal):
    def number_of(self, number: int) -> int | None:
        return 1 if self.probe.incarnation else super().number_of(number)


@mutant("half a line at the end of the journal is read like any other")
class ReadsHalfALine(CommitJournal):
    def given_back(self) -> list[Line]:
        path = self.probe.folder / "journal"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@mutant("half a line is passed over, and the next line is appended behind it")
class AppendsBehindHalfALine(CommitJournal):
    def cut_torn_line(self) -> None:
        pass


@mutant("the number of claimed lines is written over the one before: half of 12 is 1")
class WritesItsClaimInPlace(ClaimJournal):
    def write_claim(self, lines: int) -> None:
        (self.probe.folder / "claim").write_text(str(lines))


@mutant("a commit is a line for each of its cells, and the lines that are there count")
class CommitsLineByLine(CommitJournal):
    def append(self, line: Line) -> None:
        self.cut_torn_line()
        self.probe.storage_step("append")
        lines = [{**line, "cells": [cell]} for cell in line["cells"]] or [line]
        with (self.probe.folder / "journal").open("a") as file:
            file.write("".join(json.dumps(one) + "\n" for one in lines))
        self.probe.storage_step("appended")


@mutant("an engine that says nothing of its storage begins with an empty folder after a crash")
class ClearsItsFolder(TableJournal):
    def given_back(self) -> list[Line]:
        (self.probe.folder / "journal").unlink(missing_ok=True)
        return []


@mutant("an engine that says nothing of its storage gives up the rows that were half done")
class GivesUpHalfDoneRows(TableJournal):
    def restore(self) -> None:
        super().restore()
        begun = {row for _, row in self.cells}
        self.dropped |= {row: "" for row in sorted(begun) if not self.is_resolved_row(row)}
