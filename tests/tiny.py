"""A tiny engine that is right, to test the suite with; one thing at a time, row by row.

It sweeps over the rows and runs whatever has its inputs, until a sweep finds nothing to do. One
generator (`Tiny.steps`) is the engine; `TinyAsync` awaits what it asks for, `TinySync` calls it in
a thread. Storage is two JSON files, each replaced as a whole: rows with drops, and the claim.
Each method is one decision, so that a test can override one to make an engine that is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from cellspec.conformance import (
    SKIPPED,
    BackPressure,
    Permanent,
    Probe,
    Refused,
    Retryable,
    Table,
    Value,
)
from cellspec.conformance.run.foreign import is_foreign
from cellspec.graph.rules import ColumnRule

Steps = Generator[tuple[Any, ...], Any, Any]
Cells = dict[int, dict[str, Value]]


class Tiny:
    """The engine, but for how it waits."""

    name = "tiny"
    version = "1"
    capabilities = frozenset(
        {"core", "batch_barriers", "ordered", "retries", "drops", "skips", "resume", "targets"}
        | {"storage_steps"}
    )

    def steps(self, probe: Probe) -> Steps:
        """The whole run; yields the calls that it makes, and is sent what they give."""
        self.probe, self.rules = probe, probe.graph.rules
        self.cells: Cells = {row: {} for row in range(probe.rows)}
        self.dropped: dict[int, str] = {}
        self.claim = 0
        self.restore()
        while (yield from self.sweep()):
            pass
        self.save(force=True)
        probe.end(self.outcome())

    def outcome(self) -> Any:
        return "success"

    def sweep(self) -> Steps:
        progress = False
        for row in range(self.probe.rows):
            for rule in self.rules.columns:
                if rule.name not in self.cells[row] and self.is_ready(rule, row):
                    yield from self.run_node(rule, row)
                    progress = True
            self.save()
        return progress

    def is_ready(self, rule: ColumnRule, row: int) -> bool:
        if row in self.dropped:
            return False
        scope = self.scope(rule, row)
        if rule.ordered and not all(self.resolved(r, rule.name) for r in range(scope.start)):
            return False
        return all(self.has_inputs(rule, other) for other in scope)

    def scope(self, rule: ColumnRule, row: int) -> range:
        """The rows whose inputs a cell, or its barrier, waits for."""
        if not rule.is_barrier:
            return range(row, row + 1)
        return range(*self.rules.scope_bounds(rule.index, row // rule.scope_rows))

    def has_inputs(self, rule: ColumnRule, row: int) -> bool:
        return all(self.resolved(row, self.rules.columns[need].name) for need in rule.needs)

    def resolved(self, row: int, column: str) -> bool:
        return row in self.dropped or column in self.cells[row]

    def inputs(self, rule: ColumnRule, row: int) -> Mapping[str, Value]:
        return {
            self.rules.columns[need].name: self.cells[row][self.rules.columns[need].name]
            for need in rule.needs
        }

    def row_outcome(self, rule: ColumnRule, row: int) -> str:
        names = [self.rules.columns[need].name for need in rule.needs]
        spread = rule.propagates and any(self.cells[row].get(name) is SKIPPED for name in names)
        return "skip" if spread or self.probe.wants_skip(rule.name, row) else "run"

    def run_node(self, rule: ColumnRule, row: int) -> Steps:
        if rule.is_barrier:
            yield from self.run_barrier(rule, row)
        elif self.row_outcome(rule, row) == "skip":
            self.skip(rule.name, row)
        else:
            call = ("cell", rule.name, row, self.inputs(rule, row))
            value = yield from self.attempts(rule.name, row, call, [row])
            if value is not None:
                self.keep(rule.name, row, value)

    def run_barrier(self, rule: ColumnRule, row: int) -> Steps:
        scope = row // rule.scope_rows
        live = [row for row in self.scope(rule, row) if row not in self.dropped]
        reads = [row for row in live if self.row_outcome(rule, row) != "skip"]
        wanted = [row for row in reads if rule.name not in self.cells[row]]
        if wanted:
            call = self.barrier_call(rule, scope, reads)
            values = yield from self.attempts(rule.name, scope, call, wanted)
            for row, value in zip(reads, values or (), strict=False):
                if row in wanted:
                    self.keep(rule.name, row, value)
        for row in live:
            if self.row_outcome(rule, row) == "skip" and rule.name not in self.cells[row]:
                self.skip(rule.name, row)

    def barrier_call(self, rule: ColumnRule, scope: int, reads: Sequence[int]) -> tuple[Any, ...]:
        return ("barrier", rule.name, scope, reads, [self.inputs(rule, row) for row in reads])

    def attempts(
        self, column: str, position: int, call: tuple[Any, ...], rows: Sequence[int]
    ) -> Steps:
        """Call until it succeeds or has failed for good; then None, and the rows are dropped."""
        spent = 0
        while True:
            try:
                return (yield call)
            except BackPressure as failure:
                yield from self.wait(column, position, failure.retry_after_s or 0)
            except Retryable:
                spent += 1
                if spent == self.probe.work.failures.max_attempts:
                    break
                yield from self.wait(column, position, 0)
            except Permanent:
                break
        for row in rows:
            self.drop(row, column)
        return None

    def wait(self, column: str, position: int, seconds: float) -> Steps:
        until = self.probe.now() + seconds
        self.probe.cooling(column, position, until)
        if seconds:
            # It waits here, with all other work.
            self.probe.pause(until)
        yield ("sleep", seconds)

    def keep(self, column: str, row: int, value: Value) -> None:
        self.cells[row][column] = value

    def skip(self, column: str, row: int) -> None:
        self.probe.skip(column, row)
        self.keep(column, row, SKIPPED)

    def drop(self, row: int, column: str) -> None:
        self.dropped[row] = column
        self.probe.drop(row, row + 1, column)

    # Storage: the rows that are resolved without a gap, and after them the claim on them.

    def prefix(self) -> int:
        names = self.probe.graph.column_names
        for row in range(self.probe.rows):
            if row not in self.dropped and any(name not in self.cells[row] for name in names):
                return row
        return self.probe.rows

    def save(self, *, force: bool = False) -> None:
        rows, every = self.prefix(), self.probe.work.checkpoint_every_rows
        if rows == self.claim or not (force or (every and rows - self.claim >= every)):
            return
        self.write_rows(rows)
        self.write_claim(rows)
        self.claim = rows

    def write_rows(self, rows: int) -> None:
        kept = {row: self.cells[row] for row in range(rows) if row not in self.dropped}
        table = {
            "rows": {row: {name: _plain(value) for name, value in cells.items()}
                     for row, cells in kept.items()},
            "dropped": [row for row in sorted(self.dropped) if row < rows],
        }  # fmt: skip
        self.replace("table.json", table)
        self.probe.durable("", 0, rows)

    def write_claim(self, rows: int) -> None:
        self.probe.checkpoint_begin(rows)
        self.replace("claim.json", {"claim": rows, "of": self.probe.rows})
        self.probe.checkpoint_durable()

    def replace(self, name: str, data: object) -> None:
        new = self.probe.folder / "new"
        self.probe.storage_step(f"write {name}")
        new.write_text(json.dumps(data))
        self.probe.storage_step(f"replace {name}")
        new.replace(self.probe.folder / name)

    def read(self, probe: Probe, name: str, otherwise: Any) -> Any:
        path = probe.folder / name
        return json.loads(path.read_text()) if path.exists() else otherwise

    def restore(self) -> None:
        saved = self.read(self.probe, "claim.json", {"claim": 0, "of": self.probe.rows})
        self.claim = saved["claim"]
        self.expect_same_scopes(saved["of"])
        table = self.table(self.probe)
        drops = [row for row in sorted(table.dropped) if row < self.claim]
        self.cells.update({r: dict(c) for r, c in table.rows.items() if r < self.claim})
        self.dropped.update(dict.fromkeys(drops, ""))
        if self.probe.incarnation:
            skips = {
                name: [r for r in range(self.claim) if self.cells[r].get(name) is SKIPPED]
                for name in self.probe.graph.column_names
            }
            self.probe.resumed(self.claim, drops, skips, self.probe.work.keep)

    def expect_same_scopes(self, before: int) -> None:
        """Refuse another target if claimed rows of a barrier would have two runs beside them."""
        if self.probe.rows < self.claim:
            raise Refused(f"{self.claim} rows are claimed")
        for rule in self.rules.columns:
            if rule.is_barrier and self.claim and before != self.probe.rows:
                last = (self.claim - 1) // rule.scope_rows * rule.scope_rows
                whole = rule.batched and min(before, self.probe.rows) >= last + rule.scope_rows
                if not whole and not self.probe.work.keep:
                    raise Refused(f"the scope of {rule.name} changes")

    def table(self, probe: Probe) -> Table:
        saved = self.read(probe, "table.json", {"rows": {}, "dropped": []})
        rows = {
            int(row): {name: SKIPPED if value is None else value for name, value in cells.items()}
            for row, cells in saved["rows"].items()
        }
        return Table(rows, frozenset(saved["dropped"]))


def _plain(value: Value) -> str | None:
    return value if isinstance(value, str) else None


_FAILURES = (BackPressure, Retryable, Permanent)


class TinyAsync(Tiny):
    """The tiny engine as a coroutine, for virtual time."""

    async def run(self, probe: Probe) -> None:
        steps = self.steps(probe)
        with contextlib.suppress(StopIteration):
            step: Any = next(steps)
            while True:
                kind, *arguments = step
                try:
                    result = await self.do(probe, kind, *arguments)
                except _FAILURES as failure:
                    step = steps.throw(failure)
                except Exception as error:
                    if not is_foreign(error):
                        raise
                    step = steps.throw(Permanent(str(error)))
                else:
                    step = steps.send(result)

    async def do(self, probe: Probe, kind: str, *arguments: Any) -> Any:
        if kind == "sleep":
            await asyncio.sleep(*arguments)
            return None
        return await getattr(probe, kind)(*arguments)


class TinySync(Tiny):
    """The tiny engine as a plain function, for real time."""

    def run(self, probe: Probe) -> None:
        steps = self.steps(probe)
        with contextlib.suppress(StopIteration):
            step: Any = next(steps)
            while True:
                kind, *arguments = step
                try:
                    result = self.do(probe, kind, *arguments)
                except _FAILURES as failure:
                    step = steps.throw(failure)
                except Exception as error:
                    if not is_foreign(error):
                        raise
                    step = steps.throw(Permanent(str(error)))
                else:
                    step = steps.send(result)

    def do(self, probe: Probe, kind: str, *arguments: Any) -> Any:
        if kind == "sleep":
            time.sleep(*arguments)
            return None
        return getattr(probe, f"{kind}_sync")(*arguments)
