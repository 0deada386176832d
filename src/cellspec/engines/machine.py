"""The transition system itself as an engine, so that it can be put under the suite and fuzzed.

``--backend machine`` is the plainest engine there can be: it asks `Machine.enabled` for the steps
that may happen, picks one, and takes it. Its result is judged like any engine's, by the table that
it leaves; the table judge shares no code with the rules. So a rule that allows too much or too
little shows, in runs of any size.

The durable state is a file in the probe's folder. The machine of a run that crashed is kept in
memory for the next run of the process, because the machine itself says where a resume may start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Final

from cellspec.conformance.run.backend import claim_version_of
from cellspec.conformance.run.foreign import is_foreign
from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.values import REJECTED, SKIPPED, Table
from cellspec.faults import BackPressure, GeneratorError, Retryable
from cellspec.files import write_files
from cellspec.graph.rowset import Ranges, ranges_of, rows_of
from cellspec.machine.actions import Action
from cellspec.machine.limits import ClaimKind
from cellspec.machine.machine import Failure, Machine
from cellspec.state.claims import Prefixes, as_prefixes
from cellspec.state.codes import SKIP_READY

__all__ = ["MachineBackend"]

OPTIONS_MAX: Final = 48
"""How many of the possible steps one is picked from; they come in the order of columns and rows."""

_LATER = frozenset(
    {
        *("complete", "fail", "cancel", "take_back", "worker_lost", "lose"),
        *("checkpoint_failed", "commit_failed", "crash", "end"),
    }
)
"""What the engine does not do of its own accord: calls end when they end, storage never fails."""

_STORAGE = frozenset({"durable", "checkpoint_begin", "checkpoint_durable"})

_FILE = "table.json"

_TURNS: Final = 4
"""Turns of the loop after which a call that ended at this moment is known to have."""


class MachineBackend:
    """`cellspec.machine.machine.Machine`, run as it stands."""

    name = "cellspec-machine"
    version = version("cellspec")
    capabilities = frozenset(
        {
            "core",
            "batch_barriers",
            "groups",
            "ordered",
            "retries",
            "drops",
            "skips",
            "resume",
            "column_checkpoints",
            "early_stop",
            "interrupts",
            "lost_workers",
            "work_conserving",
            "timeouts",
            "filters",
            "torn_writes",
        }
    )
    reads_foreign = True
    machine_class: type[Machine] = Machine

    def __init__(self) -> None:
        self._left: tuple[Machine, Any] | None = None
        self._running: _Incarnation | None = None

    async def run(self, probe: Probe) -> None:
        """Run one incarnation."""
        if probe.incarnation:
            assert self._left is not None
            machine, values = self._left
            if not machine.ended:
                machine.crash()
        else:
            work = probe.work
            kind = claim_version_of(self, work) or 1
            machine = self.machine_class(
                probe.graph,
                work.limits,
                failures=work.failures,
                claims=ClaimKind(kind, by_column=kind > 1),
            )
            values = {}
        machine.state.offers_losses = True
        self._left = (machine, values)
        incarnation = _Incarnation(probe, machine, values)
        if probe.incarnation:
            incarnation.resume()
        self._running = incarnation
        await incarnation.run()

    def request_stop(self, probe: Probe) -> None:  # noqa: ARG002 - the run that goes on
        """Ask the incarnation that runs to stop."""
        assert self._running is not None
        self._running.request_stop()

    def lose_worker(self, probe: Probe) -> None:  # noqa: ARG002 - of the run that goes on
        """Lose some of the results that may be lost, once the calls begun by now have started."""
        assert self._running is not None
        self._running.losses += 1
        if self._running.woken is not None:
            self._running.woken.set()

    def table(self, probe: Probe) -> Table:
        """Every cell that the claim in the folder covers."""
        stored = _load(probe.folder)
        rows: dict[int, dict[str, Any]] = {}
        for column, cells in stored["cells"].items():
            for row, value in cells.items():
                if int(row) < stored["claim"].get(column, 0) and int(row) not in stored["dropped"]:
                    rows.setdefault(int(row), {})[column] = SKIPPED if value is None else value
        covered = max(stored["claim"].values(), default=0)
        return Table(rows, frozenset(row for row in stored["dropped"] if row < covered))


def _load(folder: Path) -> dict[str, Any]:
    path = folder / _FILE
    if not path.exists():
        return {"claim": {}, "cells": {}, "dropped": []}
    stored: dict[str, Any] = json.loads(path.read_text())
    return stored


class _Incarnation:
    """One run of the process: it takes steps while it can, and then waits for a call."""

    def __init__(self, probe: Probe, machine: Machine, values: dict[tuple[str, int], str]) -> None:
        self.probe = probe
        self.machine = machine
        self.graph = probe.graph
        self.values = values
        self.stored = _load(probe.folder)
        self.calls: dict[asyncio.Task[Any], Action] = {}
        # In the order in which they ended; of two failures of a row, the first is the cause.
        self.ended: list[asyncio.Task[Any]] = []
        self.dice = random.Random(probe.work.seed + probe.incarnation)
        every = probe.work.checkpoint_every_rows
        self.saves = 0.0 if every is None else 1 / every
        self.asked = asyncio.Event()
        self.losses = 0
        self.woken = asyncio.Event() if probe.work.loss_step(probe.incarnation) else None

    def resume(self) -> None:
        """Go on from the claim in the folder."""
        claim: Prefixes = tuple(map(self._claimed, self.graph.column_names))
        self.machine.at(self.probe.now())
        self.machine.resume(claim)
        covered = max(claim)
        dropped = sorted(row for row in self.machine.counters.dropped if row < covered)
        # What no claim covers is made anew, and other values may come of it.
        self.stored["dropped"] = dropped
        self.stored["cells"] = {
            name: {row: value for row, value in cells.items() if int(row) < self._claimed(name)}
            for name, cells in self.stored["cells"].items()
        }
        skipped = {
            name: [
                int(row)
                for row, value in self.stored["cells"].get(name, {}).items()
                if value is None and int(row) < rows and int(row) not in dropped
            ]
            for name, rows in self._named(claim).items()
        }
        self.probe.resumed(self._named(claim), dropped, skipped)

    def _claimed(self, name: str) -> int:
        rows: int = self.stored["claim"].get(name, 0)
        return rows

    def request_stop(self) -> None:
        """Somebody wants the run to end: the machine allows no further call."""
        self.machine.at(self.probe.now())
        self.machine.request_stop()
        self.asked.set()
        if self.woken is not None:
            self.woken.set()

    async def run(self) -> None:
        """Until the end."""
        while not self.machine.ended:
            self.machine.at(self.probe.now())
            if self.losses:
                self.losses -= 1
                self._lose_worker()
                if self.woken is not None:
                    self.woken.clear()
            while self._act():
                pass
            if self.machine.ended:
                return
            await self._wait()

    def _lose_worker(self) -> None:
        """Lose a worker, and about half of what may go with it."""
        machine, graph = self.machine, self.graph
        machine.apply(Action("worker_lost"))
        for action in [each for each in machine.enabled() if each.kind == "lose"]:
            if self.dice.random() < 0.5:
                continue
            rows = action.rows
            if action.scope is not None:
                column = graph.rules.index[action.column]
                rows = graph.rules.scope_bounds(column, action.scope)
            for start, stop in self._fragile(action.column, rows or (0, 0)):
                self.probe.lost(action.column, start, stop)
            machine.apply(action)

    def _fragile(self, name: str, rows: tuple[int, int]) -> Ranges:
        """The rows whose values no storage holds, and nobody dropped or skipped."""
        column, machine = self.graph.rules.index[name], self.machine
        safe = set(rows_of(machine.state.on_storage.within(column, *rows)))
        counters = machine.counters
        return ranges_of(
            row
            for row in range(*rows)
            if row not in safe
            and row not in counters.dropped
            and not counters.is_skipped(column, row)
            and not counters.must_skip(column, row)
        )

    # What may be done now

    def _act(self) -> bool:
        """Take one of the possible steps; False if the list is empty."""
        options = list(islice(self._options(), OPTIONS_MAX))
        if not options:
            return self._save_or_end()
        self._take(self.dice.choice(options))
        return True

    def _options(self) -> Iterator[Action]:
        admits = False
        for action in self.machine.enabled():
            if action.kind in _LATER or action.kind in _STORAGE:
                continue
            if action.kind == "admit":
                # Any group may be admitted, but with an ordered column only the first is safe: a
                # later one could wait for rows of a group that then never gets in.
                if admits:
                    continue
                admits = True
            if action.kind == "start" and self._is_output(action):
                yield Action("emit", action.column, action.rows)
            elif action.kind not in ("start", "skip") or self._is_meant(action):
                yield action

    def _is_meant(self, action: Action) -> bool:
        """A cell with a condition is started or skipped, as its condition says."""
        if action.scope is not None:
            return True
        assert action.rows is not None
        row, rules = action.rows[0], self.graph.rules
        column = rules.index[action.column]
        if not rules.columns[column].may_skip:
            return True
        forced = self.machine.counters.cells[column][row] == SKIP_READY
        skips = forced or self.probe.wants_skip(action.column, row)
        return skips == (action.kind == "skip")

    def _is_output(self, action: Action) -> bool:
        rules = self.graph.rules
        return action.scope is None and rules.columns[rules.index[action.column]].is_barrier

    def _save_or_end(self) -> bool:
        """Save, or end the run: after all other steps, and often, seldom or at the end alone."""
        options = [action for action in self.machine.enabled() if action.kind in _STORAGE]
        last = not self.calls and (self.asked.is_set() or not self._ends_of_backoffs())
        if options and (last or self.dice.random() < self.saves):
            self._take(self.dice.choice(options))
            return True
        ends = [action for action in self.machine.enabled() if action.kind == "end"]
        saved = min(as_prefixes(self.machine.durable_claim)) == self.graph.num_records
        if ends and last and (saved or ends[0].outcome in ("stopped", "interrupted")):
            self._take(ends[0])
            return True
        return False

    def _take(self, action: Action) -> None:
        kind, probe = action.kind, self.probe
        if kind == "start":
            self.machine.apply(action)
            task = asyncio.ensure_future(self._bounded(action))
            task.add_done_callback(self.ended.append)
            self.calls[task] = action
            return
        if kind == "checkpoint_durable":
            self._write_claim()
            # The process may die between the write and the word that it is done.
            probe.storage_step("claim")
        elif kind == "durable":
            self._write_rows(action)
        self.machine.apply(action)
        start, stop = action.rows or (0, 0)
        if kind == "skip":
            probe.skip(action.column, start)
        elif kind == "drop":
            probe.drop(start, stop, action.column, action.cause or "failed")
        elif kind in ("admit", "retire"):
            assert self.machine.limits.group_rows is not None
            getattr(probe, kind)(start // self.machine.limits.group_rows)
        elif kind == "durable":
            probe.durable(action.column, start, stop)
        elif kind == "checkpoint_begin":
            probe.checkpoint_begin(self._named(as_prefixes(action.claim or ())))
        elif kind == "checkpoint_durable":
            probe.checkpoint_durable()
        elif kind == "stop":
            probe.stop("too many calls failed permanently")
        elif kind == "end":
            probe.end(action.outcome or "success")

    def _named(self, claim: Prefixes) -> dict[str, int]:
        return dict(zip(self.graph.column_names, claim, strict=True))

    # Storage

    def _write_rows(self, action: Action) -> None:
        """The rows of a column, with the drops and skip marks among them."""
        assert action.rows is not None
        column = self.graph.rules.index[action.column]
        cells = self.stored["cells"].setdefault(action.column, {})
        counters = self.machine.counters
        for row in range(*action.rows):
            if row in counters.dropped:
                if row not in self.stored["dropped"]:
                    self.stored["dropped"].append(row)
            elif row in counters.skipped.get(column, ()):
                cells[str(row)] = None
            else:
                cells.setdefault(str(row), self.values.get((action.column, row)))
        self._write()

    def _write_claim(self) -> None:
        assert self.machine.pending_claim is not None
        self.stored["claim"] = self._named(as_prefixes(self.machine.pending_claim))
        self._write()

    def _write(self) -> None:
        write_files(self.probe.folder, {_FILE: json.dumps(self.stored)})

    # Calls

    async def _bounded(self, action: Action) -> Any:
        async with asyncio.timeout(self.probe.timeout_s):
            return await self._call(action)

    async def _call(self, action: Action) -> Any:
        probe, machine = self.probe, self.machine
        rule = self.graph.rules.columns[self.graph.rules.index[action.column]]
        if action.scope is None:
            assert action.rows is not None
            row = action.rows[0]
            return await probe.cell(action.column, row, self._inputs(rule, row), action.attempt)
        rows = list(rows_of(machine.counters.reads(rule.index, action.scope)))
        inputs = [self._inputs(rule, row) for row in rows]
        made = await probe.barrier(action.column, action.scope, rows, inputs, action.attempt)
        if isinstance(made, dict):
            return made
        if len(made) != len(rows):
            raise Retryable(f"{len(made)} values for {len(rows)} rows")
        return dict(zip(rows, made, strict=True))

    def _inputs(self, rule: Any, row: int) -> Mapping[str, str]:
        names = (self.graph.column_names[need] for need in rule.needs)
        found = {name: self.values.get((name, row)) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def _ends_of_backoffs(self) -> list[float]:
        """The known ends of backoffs; a call without a known end may start again at once."""
        return [until for until in self.machine.backoffs.values() if until is not None]

    async def _wait(self) -> None:
        """Until a call ends, or a backoff does."""
        untils = self._ends_of_backoffs()
        timeout = max(0.0, min(untils) - self.probe.now()) if untils else None
        if not self.calls:
            if timeout is None:
                self.machine.stuck()
            with contextlib.suppress(TimeoutError):
                woken = self.asked if self.woken is None else self.woken
                await asyncio.wait_for(woken.wait(), timeout or 0.0)
            return
        await self._pass_time(timeout)
        # Calls that end at the same moment all end before the next step is chosen.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        self.machine.at(self.probe.now())
        ended, self.ended[:] = self.ended[:], []
        for task in ended:
            self._end(task, self.calls.pop(task))

    async def _pass_time(self, timeout_s: float | None) -> None:
        """Until a call ends, time is up, or a worker is lost."""
        if self.woken is None:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait(self.calls, timeout=timeout_s, return_when=first)
            return
        waker = asyncio.ensure_future(self.woken.wait())
        waits = (*self.calls, waker)
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        waker.cancel()
        self.woken.clear()

    def _end(self, task: asyncio.Task[Any], action: Action) -> None:
        try:
            made = task.result()
        except Exception as error:
            if not isinstance(error, GeneratorError | TimeoutError) and not is_foreign(error):
                raise
            self._fail(action, error)
            return
        rejected: tuple[int, ...] = ()
        if action.scope is None:
            assert action.rows is not None
            if made is REJECTED:
                rejected = (action.rows[0],)
            else:
                self.values[action.column, action.rows[0]] = made
        else:
            column = self.graph.rules.index[action.column]
            read = rows_of(self.machine.counters.reads(column, action.scope))
            rejected = tuple(row for row in read if row not in made)
            claim = self._named(as_prefixes(self.machine.durable_claim))
            for row, value in made.items():
                # What a rerun says of claimed rows is discarded.
                if row >= claim[action.column]:
                    self.values[action.column, row] = value
        end = action._replace(kind="complete", rejected=ranges_of(rejected) or None)
        self.machine.apply(end)

    def _fail(self, action: Action, error: Exception) -> None:
        until = None
        # The one that a bound raises says nothing; one of a call says which.
        bounded = isinstance(error, TimeoutError) and not error.args
        failure: Failure = "timeout" if bounded else self.probe.work.foreign
        if isinstance(error, GeneratorError):
            failure = error.failure
        if isinstance(error, BackPressure) and error.retry_after_s:
            until = self.probe.now() + error.retry_after_s
        self.machine.apply(action._replace(kind="fail", failure=failure, until=until))
        if until is not None:
            start = action.rows[0] if action.rows is not None else action.scope
            assert start is not None
            self.probe.cooling(action.column, start, until)
