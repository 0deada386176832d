"""Second engines broken on purpose, where the reference engine has nothing to break.

The reference engine keeps its results in its own process, so it loses none with a worker, and has
no cache beside its claims. Each mutant is the second engine (`tests.conformance.second_engine`), or
the one with a cache, with one method replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from cellspec.graph.rules import ColumnRule
from tests.conformance.cache_engine import Cached, CacheIncarnation
from tests.conformance.second_engine import ColumnFirst, Incarnation
from tests.matrix.engine_mutants import EngineMutant

__all__ = ["SECOND_MUTANTS", "SecondMutant"]


@dataclass(frozen=True)
class SecondMutant(EngineMutant):
    """A second engine, or one with a cache, that is wrong: the class that runs its incarnations."""

    incarnation: type[Incarnation] = Incarnation

    @property
    def able(self) -> frozenset[str]:
        return self._engine.capabilities

    @property
    def _engine(self) -> type[ColumnFirst]:
        return Cached if issubclass(self.incarnation, CacheIncarnation) else ColumnFirst

    def backend(self) -> ColumnFirst:  # type: ignore[override]  # an engine of another kind
        """The engine as the suite takes it."""
        broken = self._engine()
        broken.begin = self.incarnation  # type: ignore[method-assign]
        return broken

    def as_right(self) -> SecondMutant:
        """The right engine that it was made from."""
        right = CacheIncarnation if self._engine is Cached else Incarnation
        return replace(self, name="second engine", wrong="nothing", incarnation=right)


SECOND_MUTANTS: list[SecondMutant] = []


def mutant(wrong: str) -> Callable[[type[Incarnation]], type[Incarnation]]:
    """Register a broken class."""

    def register(broken: type[Incarnation]) -> type[Incarnation]:
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in broken.__name__).strip()
        SECOND_MUTANTS.append(SecondMutant(words, wrong, incarnation=broken))
        return broken

    return register


@mutant("the loss of a worker is taken for the loss of what is on storage too")
class LosesDurableResults(Incarnation):
    def is_fragile(self, rule: ColumnRule, row: int) -> bool:
        made = isinstance(self.cells.get((rule.name, row)), str) and row not in self.dropped
        return made and not self.in_flight(rule.name, row)


@mutant("what went with a worker is not made again: its value counts as known")
class ForgetsToMakeAgain(Incarnation):
    def lose_results(self) -> None:
        known = dict(self.cells)
        super().lose_results()
        self.cells |= known


@mutant("what went with a worker is reported late, when it is made again")
class ReportsLossesLate(Incarnation):
    def lose_results(self) -> None:
        report, self.probe.lost = self.probe.lost, lambda *_: None  # type: ignore[method-assign]
        super().lose_results()
        self.probe.lost = report  # type: ignore[method-assign]


@mutant("the results that come in next after the loss of a worker count as lost with it")
class LosesLaterResults(Incarnation):
    lost = False

    def lose_results(self) -> None:
        super().lose_results()
        self.lost = True

    def look(self) -> None:
        known = len(self.cells)
        if self.lost:
            super().lose_results()
            self.news.clear()
            self.lost = known == len(self.cells)
        super().look()


@mutant("all that was made from a lost result is made again as well")
class RemakesDescendants(Incarnation):
    def lose_results(self) -> None:
        before = set(self.cells)
        super().lose_results()
        lost = before - set(self.cells)
        for rule in self.rules.columns:
            for row in range(self.probe.rows):
                from_lost = any((name, row) in lost for name in self.needs(rule))
                if from_lost and not rule.is_barrier and self.is_fragile(rule, row):
                    del self.cells[rule.name, row]
                    lost.add((rule.name, row))


@mutant("dependents of a lost result that wait start without it")
class StartsWithoutLostInputs(Incarnation):
    def lose_results(self) -> None:
        self.remembered = dict(self.cells)
        super().lose_results()

    def has_inputs(self, rule: ColumnRule, row: int) -> bool:
        known = getattr(self, "remembered", {})
        return all(self.is_resolved(name, row) or (name, row) in known for name in self.needs(rule))

    def inputs(self, rule: ColumnRule, row: int) -> dict[str, object]:  # type: ignore[override]
        known = getattr(self, "remembered", {}) | self.cells
        return {name: known[name, row] for name in self.needs(rule)}


@mutant("a barrier whose output was lost is not run again")
class KeepsLostBarriers(Incarnation):
    def lose_output(self, rule: ColumnRule, start: int, stop: int) -> None:
        super().lose_output(rule, start, stop)
        if any(rule.name == name for name, _ in self.cells):
            self.finished_barriers.add((rule.name, stop - 1))


@mutant("a cell that ends the process is tried for ever")
class TriesKillersForEver(Incarnation):
    def give_up_some(self) -> bool:
        return False


@mutant("the row of each cell that was in flight at a crash is given up at once")
class GivesUpAtTheFirstCrash(Incarnation):
    def give_up_some(self) -> bool:
        self.suspects.died = {cell: times + 1 for cell, times in self.suspects.died.items()}
        given_up = super().give_up_some()
        self.suspects.died = {cell: times - 1 for cell, times in self.suspects.died.items()}
        return given_up


@mutant("a cell that ended well counts as in flight until its process ends")
class SuspectsWhatEndedWell(Incarnation):
    def note_in_flight(self) -> None:
        if "killer_cells" not in self.probe.capabilities:
            return
        cells = [(name, row) for name, start, stop in self.called for row in range(start, stop)]
        known = {rule.name for rule in self.rules.columns if not rule.is_barrier}
        self.begun = {**getattr(self, "begun", {}), **dict.fromkeys(cells)}
        self.suspects.note([cell for cell in self.begun if cell[0] in known])


@mutant("what was in flight at the last crash replaces what earlier processes died with")
class ForgetsEarlierDeaths(Incarnation):
    def expect_same_pipeline(self) -> None:
        super().expect_same_pipeline()
        path = self.probe.folder / "suspects.json"
        if path.exists():
            known = json.loads(path.read_text())
            path.write_text(json.dumps({**known, "died": []}))


@mutant("the row of a cell that ended the process counts as failed")
class CallsKillersFailed(Incarnation):
    def give_up_some(self) -> bool:
        drop = self.probe.drop
        self.probe.drop = lambda *where: drop(*where[:3])  # type: ignore[method-assign]
        given_up = super().give_up_some()
        self.probe.drop = drop  # type: ignore[method-assign]
        return given_up


@mutant("the key of the cache leaves the row out, and rows with equal inputs get one answer")
class RecallsForOtherRows(CacheIncarnation):
    def key(self, rule: ColumnRule, row: int) -> str:
        return super().key(rule, row).replace(f'", {row}, ', '", ', 1)


@mutant("an answer counts as kept when it is in the file, whether or not that was synced")
class RecallsWhatWasNotDurable(CacheIncarnation):
    def remember(self, key: str, answer: str, rule: ColumnRule, rows: list[int]) -> None:
        odd = [row for row in rows if row % 2]
        super().remember(key, answer, rule, odd)


@mutant("all that the cache holds is recalled at the start, before its inputs are there")
class RecallsBeforeItsInputs(CacheIncarnation):
    def restore(self) -> None:
        super().restore()
        for key, value in self.cache.items():
            name, row, given = json.loads(key)
            barrier = self.rules.columns[self.rules.index[name]].is_barrier
            if not barrier and row < self.probe.rows:
                self.probe.recall(name, row, given, value)
                self.cells[name, row] = value


@mutant("a barrier's output is recalled row by row: other rows that it read may be gone, or others")
class RecallsBarriersByRow(CacheIncarnation):
    def kept_output(self, rule: ColumnRule, row: int, reads: list[int]) -> list[str] | None:
        for key, answer in self.cache.items():
            name, first, read = json.loads(key)
            if (name, first) == (rule.name, row):
                rows = (one for one, _ in read)
                kept = dict(zip(rows, json.loads(answer), strict=True))
                if kept.keys() >= set(reads):
                    return [kept[one] for one in reads]
        return None


@mutant("each file is written in place, and not beside it and renamed")
class WritesInPlace(Incarnation):
    def write(self, name: str, data: Any) -> None:
        self.probe.storage_step(f"write {name}")
        (self.probe.folder / name).write_text(json.dumps(data))


@mutant("row ids are put in order as texts before their rows are written")
class SortsIdsAsTexts(Incarnation):
    def ids_of(self, rows: Iterable[int]) -> list[int | str]:
        return sorted(super().ids_of(rows), key=str)


@mutant("a row id that is a text of digits is written as a number")
class MakesNumbersOfIds(Incarnation):
    def ids_of(self, rows: Iterable[int]) -> list[int | str]:
        found = super().ids_of(rows)
        return [int(one) if isinstance(one, str) and one.isdigit() else one for one in found]


@mutant("after a resume rows are written under their numbers, not their ids")
class ForgetsIdsAtResume(Incarnation):
    def ids_of(self, rows: Iterable[int]) -> list[int | str]:
        return list(rows) if self.probe.incarnation else super().ids_of(rows)


@mutant("a folder is taken up by a run with another batch size")
class IgnoresTheBatchSize(Incarnation):
    def expect_same_pipeline(self) -> None:
        mine = self.work.replace(batch_size=1).graph()
        path = self.probe.folder / "pipeline.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        if not found or found != {"graph": mine.fingerprint, **mine.config}:
            super().expect_same_pipeline()
            path.write_text(json.dumps({"graph": mine.fingerprint, **mine.config}))


class _ForgetsFrom(Incarnation):
    """Claimed rows from one on are taken for claimed, and are not there."""

    first = 0

    def restore(self) -> None:
        super().restore()
        self.cells = {cell: value for cell, value in self.cells.items() if cell[1] < self.first}


@mutant("a mask of one byte says which claimed rows there are: those from row 8 on are forgotten")
class ResumesByAByte(_ForgetsFrom):
    first = 8


@mutant("a mask of 64 bits says which claimed rows there are: those from row 64 on are forgotten")
class ResumesByAWord(_ForgetsFrom):
    first = 64


@mutant("claimed groups are looked for in the order of their numbers as texts, to the first gap")
class CountsGroupsAsTexts(Incarnation):
    def restore(self) -> None:
        super().restore()
        names = sorted(map(str, range(-(-self.claimed // self.size))))
        found = takewhile(lambda pair: pair[1] == str(pair[0]), enumerate(names))
        stop = self.size * sum(1 for _ in found)
        self.cells = {cell: value for cell, value in self.cells.items() if cell[1] < stop}


@mutant("of the ids of a group only the first is kept: the others are counted on from it")
class CountsIdsOn(Incarnation):
    def ids_of(self, rows: Iterable[int]) -> list[int | str]:
        found = super().ids_of(rows)
        first = found[0] if found else 0
        return [first + place for place in range(len(found))] if isinstance(first, int) else found
