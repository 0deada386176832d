"""An engine that resumes from nothing but its cache, as those do that key answers by their inputs.

It is the second engine without claims: each answer goes into a file, under its column, its row and
its inputs, and the table is written at the end. After a crash it begins anew, and takes from the
file whatever it would call for again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cellspec.conformance import SKIPPED, Probe, Table, Value
from cellspec.graph.rules import ColumnRule
from tests.conformance.second_engine import ColumnFirst, Incarnation

__all__ = ["CacheIncarnation", "Cached"]


class Cached(ColumnFirst):
    """The engine as a backend."""

    name = "cached"
    capabilities = frozenset(
        {"core", "batch_barriers", "ordered", "retries", "skips", "resume", "cache"}
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
        given = {n: v for n, v in self.inputs(rule, row).items() if v is not SKIPPED}
        return json.dumps([rule.name, row, given], sort_keys=True)

    def startable(self) -> Iterator[Any]:
        """Before anything is called, all that the cache knows is there."""
        while self.recall_some():
            self.skip_some()
        yield from super().startable()

    def recall_some(self) -> bool:
        found = False
        for rule in self.rules.columns:
            for row in range(self.probe.rows):
                if not rule.is_barrier and self.may_run_cell(rule, row, row):
                    found = self.recall(rule, row) or found
        return found

    def recall(self, rule: ColumnRule, row: int) -> bool:
        value = self.cache.get(self.key(rule, row)) if self.probe.incarnation else None
        if value is None or self.stopped:
            return False
        self.probe.recall(rule.name, row, self.inputs(rule, row), value)
        self.cells[rule.name, row] = value
        return True

    def take(self, rule: ColumnRule, row: int, value: object) -> None:
        super().take(rule, row, value)
        if isinstance(value, str) and not rule.is_barrier:
            self.remember(rule, row, value)

    def remember(self, rule: ColumnRule, row: int, value: str) -> None:
        self.cache[self.key(rule, row)] = value
        self.write("cache.json", self.cache)
        self.probe.durable(rule.name, row, row + 1)

    def save(self, *, last: bool = False) -> None:
        """The whole table, at the end."""
        if last and all(map(self.is_resolved_row, range(self.probe.rows))):
            cells: dict[int, dict[str, Value | None]] = {}
            for (name, row), value in sorted(self.cells.items()):
                cells.setdefault(row, {})[name] = None if value is SKIPPED else value
            self.write("table.json", cells)
            self.probe.durable("", 0, self.probe.rows)
