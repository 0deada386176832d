"""A second correct engine, as unlike the reference as one can be; the suite must not blame it.

It shares nothing with `cellspec.engine`. There is no queue and no tracker: after each event it
looks at every cell, column by column, and starts whatever it may, so earlier columns run far ahead
of later ones. Rows become durable a group at a time, in whatever order the groups are finished,
each as a file of its own, in which rows are named by their ids; a checkpoint says how many groups
from the first on are all there. It keeps its events coarse: it does not say when it will try a
failed call again, nor in which column data is durable, and it lets calls of dropped rows end.

It is a hundred times slower than it should be, and easy to believe.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from cellspec.conformance import (
    CAPABILITIES,
    REJECTED,
    SKIPPED,
    BackPressure,
    Permanent,
    Probe,
    Refused,
    Retryable,
    SavePolicy,
    Table,
    Value,
)
from cellspec.graph.rules import ColumnRule

Node = tuple[str, int, int]
"""Column, and the rows [start, stop) of a call; of a barrier those of its scope."""

REST_S = 0.75
RANGE_ROWS = 5
GROUP_ROWS = 2


class ColumnFirst:
    """The engine as a backend."""

    name = "column-first"
    version = "1"
    capabilities = frozenset(CAPABILITIES) - {
        "column_checkpoints",
        "set_claims",
        "commits",
        "cache",
        "storage_faults",
        "counted_work",
    }
    saving = SavePolicy(group=True)
    killer_tries = 2
    # It writes a claim without a pause in which it could be asked.
    reads_foreign = True
    unasked = ("a stop was requested while a claim was being written",)

    async def run(self, probe: Probe) -> None:
        """Run one incarnation of a workload."""
        self._running = self.begin(probe)
        await self._running.run()

    def begin(self, probe: Probe) -> Incarnation:
        """The incarnation that is to run."""
        return Incarnation(probe)

    def request_stop(self, _probe: Probe) -> None:
        """Ask the incarnation that runs to end."""
        self._running.request_stop()

    def lose_worker(self, _probe: Probe) -> None:
        """A worker goes, with every other result that no file holds."""
        self._running.lose_results()

    def table(self, probe: Probe) -> Table:
        """Every group that has a file, whether a claim covers it or not."""
        rows: list[tuple[int, dict[str, Value]]] = []
        dropped: set[int] = set()
        for path in sorted(probe.folder.glob("group-*.json")):
            group = json.loads(path.read_text())
            dropped.update(map(probe.row_of, group["dropped"]))
            for one, cells in group["rows"]:
                held = {name: SKIPPED if value is None else value for name, value in cells.items()}
                rows.append((probe.row_of(one), held))
        return Table.from_records(rows, dropped)


class Suspects:
    """A small file: the cells in flight, and how many processes died with each of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        nothing: dict[str, Any] = {"in_flight": [], "died": []}
        known = json.loads(path.read_text()) if path.exists() else nothing
        self.died = {(name, row): times for name, row, times in known["died"]}
        for name, row in known["in_flight"]:
            self.count((name, row))
        self.note([])

    def count(self, cell: tuple[str, int]) -> None:
        """A process died with this cell in flight."""
        self.died[cell] = self.died.get(cell, 0) + 1

    def note(self, cells: list[tuple[str, int]]) -> None:
        """These cells are in flight from now on, and no others."""
        died = [[*cell, times] for cell, times in self.died.items()]
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"in_flight": cells, "died": died}))
        new.rename(self.path)


class Incarnation:
    """One incarnation: the table so far, and what runs."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.work = probe.work
        self.rules = probe.graph.rules
        self.size = self.work.limits.group_rows or GROUP_ROWS
        self.groups = -(-probe.rows // self.size)
        self.cells: dict[tuple[str, int], Value] = {}
        self.dropped: dict[int, str] = {}
        # By column and the last row of the scope.
        self.finished_barriers: set[tuple[str, int]] = set()
        self.running: list[Node] = []
        self.resting: dict[tuple[str, int], float] = {}
        self.spent: dict[tuple[str, int], int] = {}
        self.admitted: set[int] = set()
        self.retired: set[int] = set()
        self.durable: set[int] = set()
        self.claimed = 0
        self.ends: deque[bool] = deque(maxlen=self.work.failures.stop_window or 1)
        self.stopped = self.asked = False
        self.tasks: dict[Node, asyncio.Task[None]] = {}
        self.news = asyncio.Event()
        self.called: list[Node] = []
        self.answered: set[tuple[str, int]] = set()

    async def run(self) -> None:
        """Until nothing is left to do."""
        self.refuse_what_cannot_be()
        self.expect_same_pipeline()
        self.suspects = Suspects(self.probe.folder / "suspects.json")
        self.restore()
        while True:
            self.news.clear()
            self.look()
            if not self.tasks and not self.resting_soon():
                break
            await self.sleep()
        self.save(last=True)
        whole = all(map(self.is_resolved_row, range(self.probe.rows)))
        if self.stopped or whole or not self.asked:
            self.probe.end("stopped" if self.stopped else "success" if whole else "failed")
        else:
            self.probe.end("interrupted")

    def request_stop(self) -> None:
        """Start nothing more; what runs may end."""
        self.asked = True
        self.news.set()

    async def sleep(self) -> None:
        """Until a call has ended, or one that failed has rested."""
        until = self.resting_soon()
        loop = asyncio.get_running_loop()
        alarm = loop.call_at(until, self.news.set) if until is not None else None
        await self.news.wait()
        if alarm is not None:
            alarm.cancel()

    def resting_soon(self) -> float | None:
        now = self.probe.now()
        soon = [
            until
            for (name, row), until in self.resting.items()
            if until > now and not self.is_done(name, row)
        ]
        return min(soon) if soon and not self.stopped and not self.asked else None

    def is_done(self, name: str, row: int) -> bool:
        rule = self.rules.columns[self.rules.index[name]]
        if rule.is_barrier:
            return (name, self.scope(rule, row)[1] - 1) in self.finished_barriers
        return self.is_resolved(name, row)

    # What may start

    def look(self) -> None:
        """Skip, admit, save and start whatever can be, until there is nothing more."""
        while self.skip_some() or self.give_up_some() or self.retire_some() or self.admit_one():
            pass
        self.save()
        # A task looks again before it begins: what it was made for may be gone by then.
        for node in self.startable():
            self.running.append(node)
            self.tasks[node] = asyncio.get_running_loop().create_task(self.call(node))

    def startable(self) -> Iterator[Node]:
        for rule in self.rules.columns:
            row = 0
            while row < self.probe.rows:
                stop = self.reach(rule, row)
                if stop > row and self.has_slot(rule.name):
                    yield rule.name, row, stop
                row = max(stop, row + 1)

    def reach(self, rule: ColumnRule, row: int) -> int:
        """How far one call from `row` may go; `row` itself if none may start there."""
        if rule.is_barrier:
            start, stop = self.scope(rule, row)
            return stop if row == start and self.may_run_barrier(rule, row) else row
        stop = row
        while (
            stop < self.probe.rows
            and (stop == row or (rule.streamable and stop < row + RANGE_ROWS))
            and self.may_run_cell(rule, stop, row)
        ):
            stop += 1
        return stop

    def may_run_cell(self, rule: ColumnRule, row: int, first: int) -> bool:
        name = rule.name
        behind = rule.ordered and not self.are_resolved(name, row)
        return (
            not self.is_resolved(name, row)
            and not self.in_flight(name, row)
            and self.has_inputs(rule, row)
            and not self.wants_skip(rule, row)
            and self.is_in(row)
            and self.may_again(name, row)
            and self.spent.get((name, row), 0) == self.spent.get((name, first), 0)
            and (row > first or not behind)
        )

    def may_run_barrier(self, rule: ColumnRule, row: int) -> bool:
        name, (start, stop) = rule.name, self.scope(rule, row)
        before = (name, start - 1) in self.finished_barriers
        return (
            (name, stop - 1) not in self.finished_barriers
            and not self.in_flight(name, start)
            and all(self.has_inputs(rule, other) for other in range(start, stop))
            and any(self.wants_output(rule, other) for other in range(start, stop))
            and all(map(self.is_in, range(start, stop)))
            and self.may_again(name, start)
            and (not rule.ordered or start == 0 or before)
        )

    def wants_output(self, rule: ColumnRule, row: int) -> bool:
        return not self.is_resolved(rule.name, row) and not self.wants_skip(rule, row)

    def has_slot(self, name: str) -> bool:
        limits = self.work.limits
        resource = limits.column_resource.get(name)
        if (
            self.stopped
            or self.asked
            or (limits.workers is not None and len(self.running) >= limits.workers)
        ):
            return False
        users = [node for node in self.running if limits.column_resource.get(node[0]) == resource]
        return resource is None or len(users) < limits.resources[resource]

    def may_again(self, name: str, row: int) -> bool:
        return self.resting.get((name, row), 0.0) <= self.probe.now()

    def in_flight(self, name: str, row: int) -> bool:
        return any(other == name and start <= row < stop for other, start, stop in self.running)

    def scope(self, rule: ColumnRule, row: int) -> tuple[int, int]:
        return self.rules.scope_bounds(rule.index, row // rule.scope_rows)

    def needs(self, rule: ColumnRule) -> list[str]:
        return [self.rules.columns[need].name for need in rule.needs]

    def has_inputs(self, rule: ColumnRule, row: int) -> bool:
        return all(self.is_resolved(name, row) for name in self.needs(rule))

    def inputs(self, rule: ColumnRule, row: int) -> dict[str, Value]:
        return {name: self.cells[name, row] for name in self.needs(rule)}

    def is_resolved(self, name: str, row: int) -> bool:
        return row in self.dropped or (name, row) in self.cells

    def are_resolved(self, name: str, stop: int) -> bool:
        """True for a column whose rows before `stop` are all there, or dropped."""
        return all(self.is_resolved(name, row) for row in range(stop))

    def is_resolved_row(self, row: int) -> bool:
        return all(self.is_resolved(rule.name, row) for rule in self.rules.columns)

    # Calls

    async def call(self, node: Node) -> None:
        """Make one call, if it may still be made."""
        name, start, stop = node
        rule = self.rules.columns[self.rules.index[name]]
        self.running.remove(node)
        fits = not self.stopped and not self.asked and self.reach(rule, start) >= stop
        try:
            self.running.append(node)
            if not fits:
                return
            self.called.append(node)
            self.answered -= {(name, row) for row in range(start, stop)}
            self.note_in_flight()
            async with asyncio.timeout(self.probe.timeout_s):
                await self.make(rule, start, stop)
        except Exception as failure:
            self.fail(rule, start, stop, failure)
        finally:
            self.running.remove(node)
            del self.tasks[node]
            if node in self.called:
                self.called.remove(node)
                self.note_in_flight()
            self.news.set()

    async def make(self, rule: ColumnRule, start: int, stop: int) -> None:
        if rule.is_barrier:
            await self.call_barrier(rule, start, stop)
        elif rule.streamable:
            await self.call_range(rule, start, stop)
        else:
            value = await self.probe.cell(rule.name, start, self.inputs(rule, start))
            self.count_end(well=True)
            self.take(rule, start, value)

    async def call_barrier(self, rule: ColumnRule, start: int, stop: int) -> None:
        live = [row for row in range(start, stop) if row not in self.dropped]
        reads = [row for row in live if not self.wants_skip(rule, row)]
        given = [self.inputs(rule, row) for row in reads]
        answer = await self.probe.barrier(rule.name, start // rule.scope_rows, reads, given)
        if isinstance(answer, list) and len(answer) != len(reads):
            raise Permanent(f"{len(answer)} values for {len(reads)} rows")
        self.finished_barriers.add((rule.name, stop - 1))
        self.count_end(well=True)
        values = answer if isinstance(answer, dict) else dict(zip(reads, answer, strict=True))
        for row in reads:
            if not self.is_resolved(rule.name, row):
                self.take(rule, row, values.get(row, REJECTED))

    async def call_range(self, rule: ColumnRule, start: int, stop: int) -> None:
        given = [self.inputs(rule, row) for row in range(start, stop)]
        async for row, value in self.probe.range(rule.name, start, stop, given):
            if row == stop - 1:
                self.count_end(well=True)
            self.take(rule, row, value)
            self.note_in_flight()
            self.news.set()

    def take(self, rule: ColumnRule, row: int, value: object) -> None:
        """Keep a value, or drop the row that the answer rejects."""
        self.suspects.died.pop((rule.name, row), None)
        self.answered.add((rule.name, row))
        if row in self.dropped:
            return
        if value is REJECTED:
            self.dropped[row] = rule.name
            self.probe.drop(row, row + 1, rule.name, "filtered")
        else:
            assert isinstance(value, str)
            self.cells[rule.name, row] = value

    def fail(self, rule: ColumnRule, start: int, stop: int, failure: Exception) -> None:
        """Rest and try again, or drop what the call was for."""
        name = rule.name
        if rule.is_barrier:
            rows = [row for row in range(start, stop) if self.wants_output(rule, row)]
            keys = [(name, start)]
        else:
            rows = [row for row in range(start, stop) if not self.is_resolved(name, row)]
            keys = [(name, row) for row in rows]
        if not isinstance(failure, Retryable | BackPressure | Permanent | TimeoutError):
            failure = Retryable() if self.work.foreign == "retryable" else Permanent()
        if isinstance(failure, Permanent):
            self.count_end(well=False)
        if not rows:
            self.finished_barriers.add((name, stop - 1))
            return
        if isinstance(failure, Retryable | TimeoutError):
            self.spent |= {key: self.spent.get(key, 0) + 1 for key in keys}
        final = isinstance(failure, Permanent) or (
            isinstance(failure, Retryable | TimeoutError)
            and self.spent[keys[0]] >= self.work.failures.max_attempts
        )
        if final:
            self.drop(rule.name, rows)
            self.finished_barriers.add((name, stop - 1))
            return
        wait_s = (failure.retry_after_s or 0.0) if isinstance(failure, BackPressure) else REST_S
        self.resting |= {key: self.probe.now() + wait_s for key in keys}

    def drop(self, name: str, rows: list[int]) -> None:
        self.dropped |= dict.fromkeys(rows, name)
        start = rows[0]
        for row, after in zip(rows, [*rows[1:], -1], strict=True):
            if after != row + 1:
                self.probe.drop(start, row + 1, name)
                start = after

    def count_end(self, *, well: bool) -> None:
        policy = self.work.failures
        self.ends.append(well)
        bad = self.ends.count(False)
        if policy.stop_window is None or len(self.ends) < policy.stop_window or self.stopped:
            return
        # What a person means by a rate is its decimal digits.
        if bad >= Decimal(repr(policy.stop_rate)) * policy.stop_window:
            self.stopped = True
            self.probe.stop(f"{bad} of {policy.stop_window} failed")

    # Cells that end the process

    def note_in_flight(self) -> None:
        """Write down which cells are being called, for the process after this one."""
        if "killer_cells" not in self.probe.capabilities:
            return
        self.suspects.note(
            [
                (name, row)
                for name, start, stop in self.called
                if not self.rules.columns[self.rules.index[name]].is_barrier
                for row in range(start, stop)
                if (name, row) not in self.cells and (name, row) not in self.answered
            ]
        )

    def give_up_some(self) -> bool:
        """Drop the rows of cells with which so many processes died."""
        given_up = False
        for (name, row), times in self.suspects.died.items():
            rule = self.rules.columns[self.rules.index[name]]
            if (
                times >= ColumnFirst.killer_tries
                and row < self.probe.rows
                and not self.stopped
                and not self.asked
                and not self.is_resolved(name, row)
                and self.has_inputs(rule, row)
                and not self.wants_skip(rule, row)
                and self.is_in(row)
            ):
                self.dropped[row] = name
                self.probe.drop(row, row + 1, name, "killer")
                given_up = True
        return given_up

    # The loss of a worker

    def lose_results(self) -> None:
        """Forget what it held; what was made from that stays, and its calls are made by another."""
        for name, start, stop in list(self.called):
            rule = self.rules.columns[self.rules.index[name]]
            # Of a range the worker may have given the last row at this moment.
            if (start + rule.index) % 2 == 0 and not rule.streamable:
                self.probe.take_back(name, start // rule.scope_rows if rule.is_barrier else start)
                self.tasks[name, start, stop].cancel()
        for rule in self.rules.columns:
            for scope in range(self.rules.scope_count(rule.index)):
                if (scope + rule.index) % 2 == 0:
                    self.lose_output(rule, *self.rules.scope_bounds(rule.index, scope))
            for row in () if rule.is_barrier else range(self.probe.rows):
                if (row + rule.index) % 2 == 0 and self.is_fragile(rule, row):
                    del self.cells[rule.name, row]
                    self.probe.lost(rule.name, row, row + 1)
        self.news.set()

    def lose_output(self, rule: ColumnRule, start: int, stop: int) -> None:
        for row in range(start, stop):
            if self.is_fragile(rule, row):
                self.finished_barriers.discard((rule.name, stop - 1))
                del self.cells[rule.name, row]
                self.probe.lost(rule.name, row, row + 1)

    def is_fragile(self, rule: ColumnRule, row: int) -> bool:
        """True for a value that a worker holds, and no file; a range holds its rows to its end."""
        value = self.cells.get((rule.name, row))
        if self.in_flight(rule.name, row):
            return False
        safe = row < self.claimed or row // self.size in self.durable
        return isinstance(value, str) and row not in self.dropped and not safe

    # Skips and groups

    def wants_skip(self, rule: ColumnRule, row: int) -> bool:
        spread = rule.propagates and any(
            self.cells.get((name, row)) is SKIPPED for name in self.needs(rule)
        )
        return spread or (rule.may_skip and self.probe.wants_skip(rule.name, row))

    def skip_some(self) -> bool:
        """Skip cells that wait for nothing any more; and finish barriers that nobody wants."""
        skipped = False
        for rule in self.rules.columns:
            for row in range(self.probe.rows):
                if rule.is_barrier:
                    self.pass_over(rule, row)
                if (
                    not self.is_resolved(rule.name, row)
                    and self.wants_skip(rule, row)
                    and self.has_inputs(rule, row)
                    and self.has_turn(rule, row)
                ):
                    self.probe.skip(rule.name, row)
                    self.cells[rule.name, row] = SKIPPED
                    skipped = True
        return skipped

    def has_turn(self, rule: ColumnRule, row: int) -> bool:
        if rule.is_barrier:
            finished = (rule.name, self.scope(rule, row)[1] - 1) in self.finished_barriers
            return finished and self.is_in(row)
        if rule.ordered and not self.are_resolved(rule.name, row):
            return False
        return self.is_in(row) and not self.in_flight(rule.name, row)

    def pass_over(self, rule: ColumnRule, row: int) -> None:
        """A barrier whose output nobody wants is as good as finished, once it could have run."""
        start, stop = self.scope(rule, row)
        rows = range(start, stop)
        if (
            row == start
            and not self.in_flight(rule.name, start)
            and all(self.has_inputs(rule, other) and self.is_in(other) for other in rows)
            and not any(self.wants_output(rule, other) for other in rows)
            and (not rule.ordered or not start or (rule.name, start - 1) in self.finished_barriers)
        ):
            self.finished_barriers.add((rule.name, stop - 1))

    def is_in(self, row: int) -> bool:
        """True if the row's group is admitted, or there are no groups to be admitted."""
        group = row // self.size
        free = self.work.limits.group_rows is None or self.is_whole(group)
        return free or group in self.admitted | self.retired

    def rows_of(self, group: int) -> range:
        return range(group * self.size, min((group + 1) * self.size, self.probe.rows))

    def retire_some(self) -> bool:
        whole = [g for g in sorted(self.admitted) if self.is_whole(g)]
        for group in whole:
            self.probe.retire(group)
            self.admitted.discard(group)
            self.retired.add(group)
        return bool(whole)

    def admit_one(self) -> bool:
        limits = self.work.limits
        if limits.group_rows is None or self.stopped or self.asked:
            return False
        if limits.groups is not None and len(self.admitted) >= limits.groups:
            return False
        for group in range(self.groups):
            if group not in self.admitted | self.retired and not self.is_whole(group):
                self.probe.admit(group)
                self.admitted.add(group)
                return True
        return False

    def is_whole(self, group: int) -> bool:
        return all(map(self.is_resolved_row, self.rows_of(group)))

    # Storage

    def save(self, *, last: bool = False) -> None:
        """Write each group that is whole, and then how many there are from the first on."""
        # Its promise: every row group is claimed as soon as it, and all before it, are whole.
        grouped = self.work.limits.group_rows is not None
        every = 1 if grouped else self.work.checkpoint_every_rows
        for group in range(self.groups):
            if (every or last) and group not in self.durable and self.is_whole(group):
                self.write_group(group)
        rows = 0
        while rows < self.probe.rows and rows // self.size in self.durable:
            rows = self.rows_of(rows // self.size).stop
        if last and (self.asked or self.stopped):
            rows = self.write_part(rows)
        if rows - self.claimed >= (every or self.probe.rows) or (last and rows > self.claimed):
            self.probe.checkpoint_begin(rows)
            self.write("claim.json", {"rows": rows, "of": self.probe.rows})
            self.claimed = rows
            self.probe.checkpoint_durable()

    def write_part(self, start: int) -> int:
        """Write the first rows of a group that are whole, in a file that the next run replaces."""
        stop = max(start, self.claimed)
        while stop < self.probe.rows and self.is_resolved_row(stop):
            stop += 1
        if stop > max(start, self.claimed):
            self.write_rows(range(start, stop))
        return stop

    def write_group(self, group: int) -> None:
        self.write_rows(self.rows_of(group))
        self.durable.add(group)

    def write_rows(self, rows: range) -> None:
        live = [row for row in rows if row not in self.dropped]
        cells = [
            {
                rule.name: None if (value := self.cells[rule.name, row]) is SKIPPED else value
                for rule in self.rules.columns
            }
            for row in live
        ]
        kept = list(zip(self.ids_of(live), cells, strict=True))
        dropped = self.ids_of(row for row in rows if row in self.dropped)
        number = rows.start // self.size
        self.write(f"group-{number:06}.json", {"rows": kept, "dropped": dropped})
        self.probe.durable("", rows.start, rows.stop)

    def ids_of(self, rows: Iterable[int]) -> list[int | str]:
        """The ids by which files name these rows."""
        return [self.probe.row_ids[row] for row in rows]

    def write(self, name: str, data: Any) -> None:
        new = self.probe.folder / "new"
        self.probe.storage_step(f"write {name}")
        new.write_text(json.dumps(data))
        self.probe.storage_step(f"rename {name}")
        new.rename(self.probe.folder / name)

    def restore(self) -> None:
        """Take back what is claimed; what is beyond the claim is removed."""
        path = self.probe.folder / "claim.json"
        nothing: dict[str, Any] = {"rows": 0, "of": None}
        saved = json.loads(path.read_text()) if path.exists() else nothing
        self.claimed = saved["rows"]
        self.expect_same_scopes(saved["of"])
        for file in sorted(self.probe.folder.glob("group-*.json")):
            self.restore_group(file)
        for rule in self.rules.columns:
            for row in range(self.claimed):
                if rule.is_barrier and self.scope(rule, row)[1] == row + 1:
                    self.finished_barriers.add((rule.name, row))
        if self.probe.incarnation:
            skips: dict[str, list[int]] = {rule.name: [] for rule in self.rules.columns}
            for (name, row), value in self.cells.items():
                if value is SKIPPED:
                    skips[name].append(row)
            self.probe.resumed(self.claimed, self.dropped, skips, keep=self.work.keep)

    def restore_group(self, file: Path) -> None:
        number = int(file.stem.partition("-")[2])
        group = json.loads(file.read_text())
        kept = {self.probe.row_of(one): cells for one, cells in group["rows"]}
        gone = list(map(self.probe.row_of, group["dropped"]))
        rows = sorted([*kept, *gone])
        if rows[0] >= self.claimed:
            file.unlink()
            return
        for row, cells in kept.items():
            for name, value in cells.items() if row < self.claimed else ():
                self.cells[name, row] = SKIPPED if value is None else value
        self.dropped |= dict.fromkeys((row for row in gone if row < self.claimed), "")
        # With more rows than were claimed, the last group has to be written again.
        if self.rows_of(number).stop <= self.claimed:
            self.durable.add(number)

    def refuse_what_cannot_be(self) -> None:
        most = self.work.limits.groups
        for rule in self.rules.columns:
            for start in range(0, self.probe.rows, rule.scope_rows or self.probe.rows):
                if rule.is_barrier and self.work.limits.group_rows and most is not None:
                    first, last = start, self.scope(rule, start)[1] - 1
                    if last // self.size - first // self.size >= most:
                        raise Refused(f"{rule.name} from row {start} needs too many groups")

    def expect_same_pipeline(self) -> None:
        """Write down what is run before anything is claimed, and compare it afterwards."""
        graph = self.probe.graph
        mine = {"graph": graph.fingerprint, **graph.config}
        path = self.probe.folder / "pipeline.json"
        if not (self.probe.folder / "claim.json").exists():
            path.write_text(json.dumps(mine))
        elif json.loads(path.read_text()) != mine:
            raise Refused("the folder holds a run of another pipeline")

    def expect_same_scopes(self, before: int | None) -> None:
        rows = self.probe.rows
        if self.claimed > rows:
            raise Refused(f"{self.claimed} rows are claimed")
        if before is None or before == rows or self.work.keep:
            return
        for rule in self.rules.columns:
            if rule.is_barrier and self.claimed:
                first = (self.claimed - 1) // rule.scope_rows * rule.scope_rows
                if not rule.batched or min(before, first + rule.scope_rows) != min(
                    rows, first + rule.scope_rows
                ):
                    raise Refused(f"the scope of {rule.name} changes")
