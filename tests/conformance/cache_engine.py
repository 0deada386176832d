"""An engine that resumes from nothing but its cache, as those do that key answers by their inputs.

It is the second engine without claims: each answer goes into a file, under its column, its row and
its inputs, or under all rows that a barrier read with theirs, and the table is written at the end.
After a crash it begins anew, and takes from the file whatever it would call for again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cellspec.conformance import SKIPPED, Probe, Table, Value
from cellspec.graph.rowset import ranges_of
from cellspec.graph.rules import ColumnRule
from tests.conformance.second_engine import ColumnFirst, Incarnation

__all__ = ["CacheIncarnation", "Cached"]


class Cached(ColumnFirst):
    """The engine as a backend."""

    name = "cached"
    capabilities = frozenset(
        {"core", "batch_barriers", "ordered", "retries", "skips", "resume", "cache", "targets"}
        | {"storage_steps", "torn_writes", "work_conserving"}
    )

    def begin(self, probe: Probe) -> Incarnation:
        return CacheIncarnation(probe)

    def table(self, probe: Probe) -> Table:
        """What the last save left."""
        path = probe.folder / "table.json"
        rows = json.loads(path.read_text()) if path.exists() else {}
        return Table(
            {
                int(row): {n: SKIPPED if value is None else value for n, value in cells.items()}
                for row, cells in rows.items()
            }
        )


class CacheIncarnation(Incarnation):
    """One incarnation."""

    def restore(self) -> None:
        path = self.probe.folder / "cache.json"
        self.cache: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        if self.probe.incarnation:
            self.probe.resumed(0)

    def key(self, rule: ColumnRule, row: int) -> str:
        return json.dumps([rule.name, row, self.given(rule, row)], sort_keys=True)

    def barrier_key(self, rule: ColumnRule, row: int, reads: list[int]) -> str:
        """The key of a barrier's answer, by the first row of its scope: all that it read."""
        read = [(one, self.given(rule, one)) for one in reads]
        return json.dumps([rule.name, row, read], sort_keys=True)

    def given(self, rule: ColumnRule, row: int) -> dict[str, Value]:
        return {n: v for n, v in self.inputs(rule, row).items() if v is not SKIPPED}

    def startable(self) -> Iterator[Any]:
        """Before anything is called, all that the cache knows is there."""
        while self.recall_some():
            self.skip_some()
        yield from super().startable()

    def recall_some(self) -> bool:
        if not self.probe.incarnation or self.stopped:
            return False
        found = False
        for rule in self.rules.columns:
            for row in range(self.probe.rows):
                if rule.is_barrier and row == self.scope(rule, row)[0]:
                    if self.may_run_barrier(rule, row):
                        found = self.recall_barrier(rule, row) or found
                elif not rule.is_barrier and self.may_run_cell(rule, row, row):
                    found = self.recall(rule, row) or found
        return found

    def recall(self, rule: ColumnRule, row: int) -> bool:
        value = self.cache.get(self.key(rule, row))
        if value is None:
            return False
        self.probe.recall(rule.name, row, self.inputs(rule, row), value)
        self.cells[rule.name, row] = value
        return True

    def recall_barrier(self, rule: ColumnRule, row: int) -> bool:
        start, stop = self.scope(rule, row)
        reads = [one for one in range(start, stop) if self.wants_output(rule, one)]
        values = self.kept_output(rule, row, reads)
        if values is None:
            return False
        given = [self.inputs(rule, one) for one in reads]
        self.probe.recall_barrier(rule.name, start // rule.scope_rows, reads, given, values)
        self.finished_barriers.add((rule.name, stop - 1))
        self.cells |= {(rule.name, one): value for one, value in zip(reads, values, strict=True)}
        return True

    def kept_output(self, rule: ColumnRule, row: int, reads: list[int]) -> list[str] | None:
        """What the barrier gave these rows, if it read exactly them with their inputs."""
        answer = self.cache.get(self.barrier_key(rule, row, reads))
        return None if answer is None else json.loads(answer)

    async def call_barrier(self, rule: ColumnRule, start: int, stop: int) -> None:
        reads = [row for row in range(start, stop) if self.wants_output(rule, row)]
        await super().call_barrier(rule, start, stop)
        values = json.dumps([self.cells[rule.name, row] for row in reads])
        self.remember(self.barrier_key(rule, start, reads), values, rule, reads)

    def take(self, rule: ColumnRule, row: int, value: object) -> None:
        super().take(rule, row, value)
        if isinstance(value, str) and not rule.is_barrier:
            self.remember(self.key(rule, row), value, rule, [row])

    def remember(self, key: str, answer: str, rule: ColumnRule, rows: list[int]) -> None:
        """Keep an answer, which gave the values of these rows."""
        self.cache[key] = answer
        self.write("cache.json", self.cache)
        for start, stop in ranges_of(rows):
            self.probe.durable(rule.name, start, stop)

    def save(self, *, last: bool = False) -> None:
        """The whole table, at the end."""
        if last and all(map(self.is_resolved_row, range(self.probe.rows))):
            cells: dict[int, dict[str, Value | None]] = {}
            for (name, row), value in sorted(self.cells.items()):
                cells.setdefault(row, {})[name] = None if value is SKIPPED else value
            self.write("table.json", cells)
            self.probe.durable("", 0, self.probe.rows)
