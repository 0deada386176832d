"""Runs that are right, made at random: what traces of a right engine look like.

`toy_run` is an engine with no queue and no plan. It starts whatever the transition system lets it
start, as long as anything can start; then it lets time pass and ends one of its calls, well or
badly. Drops, skips, row groups, ranges, checkpoints, crashes and resumes come as the dice fall. So
its traces hold every kind of event, in orders that no policy would choose, and break no clause.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from cellspec import Action, ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits, Machine
from cellspec.graph.rowset import ranges_of
from cellspec.machine.calls import range_of
from cellspec.machine.machine import FailurePolicy
from cellspec.machine.resuming import covered_drops, covered_skips
from cellspec.state.claims import as_prefixes
from cellspec.state.codes import READY
from cellspec.trace import Event, Header, TraceWriter, event_of, header_for

T = ExecutionTraits


@dataclass(frozen=True)
class Dice:
    """How likely things are, each at one moment."""

    fail: float = 0.15
    skip: float = 0.2
    checkpoint: float = 0.15
    crash: float = 0.02
    crashes: int = 2
    ranges: float = 0.7


CALM = Dice(fail=0, skip=0, crash=0)


def everything(rows: int = 7) -> ExecutionGraph:
    """A small graph with every kind of column."""
    return ExecutionGraph(
        rows,
        [
            ColumnDescriptor("seed", traits=T.START | T.ORDERED),
            ColumnDescriptor("many", traits=T.ROW_STREAMABLE, dependencies=["seed"]),
            ColumnDescriptor("half", dependencies=["many"], may_skip=True),
            ColumnDescriptor("batch", traits=T.BATCH_BARRIER, dependencies=["half"]),
            ColumnDescriptor("all", traits=T.BARRIER, dependencies=["many"]),
            ColumnDescriptor("last", dependencies=["batch", "all"], propagate_skip=False),
        ],
        batch_size=3,
    )


EVERYTHING_LIMITS = Limits(
    workers=3, resources={"gpu": 2}, column_resource={"half": "gpu", "all": "gpu"}
)


class _Toy:
    def __init__(
        self,
        graph: ExecutionGraph,
        limits: Limits,
        failures: FailurePolicy,
        seed: int,
        dice: Dice,
    ) -> None:
        self.machine = Machine(graph, limits, failures=failures)
        self.resource_of = limits.column_resource
        self.dice = dice
        self.random = random.Random(seed)
        self.t = 0.0
        self.events: list[Event] = []
        self.crashes = dice.crashes
        self.running: list[Action] = []

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def take(self, action: Action, incarnation: int | None = None) -> None:
        self.machine.at(self.t)
        self.machine.apply(action)
        resource = self.resource_of.get(action.column) if action.kind == "start" else None
        self.events.append(
            event_of(
                action,
                self.machine.graph,
                seq=len(self.events) + 1,
                t=self.t,
                resource=resource,
                incarnation=incarnation,
            )
        )

    def run(self) -> list[Event]:
        for _ in range(100_000):
            self.start_all()
            self.keep()
            if self.finish():
                return self.events
            if self.crashes and self.chance(self.dice.crash):
                self.crash()
            elif self.wait() and self.running:
                self.end_one()
        raise AssertionError("the run does not end")

    def wait(self) -> bool:
        """Let time pass, but not beyond the end of a backoff; False if that came first."""
        then = self.t + self.random.randint(0, 4) / 16
        due = [u for u in self.machine.backoffs.values() if u is not None and u > self.t]
        self.t = min([then, *due])
        self.machine.at(self.t)
        return self.t == then

    # What can be done at once is done at once

    def start_all(self) -> None:
        while True:
            options = [action for action in self.instant() if self.wants(action)]
            if not options:
                return
            self.do(self.random.choice(options))

    def instant(self) -> Iterator[Action]:
        for action in self.machine.enabled():
            if action.kind in ("start", "skip", "admit", "retire", "drop"):
                yield action

    def do(self, action: Action) -> None:
        machine = self.machine
        column = machine.graph.rules.index.get(action.column, 0)
        rule = machine.graph.rules.columns[column]
        if action.kind == "start" and action.scope is not None:
            action = action._replace(reads=machine.counters.reads(column, action.scope))
        elif action.kind == "start" and rule.is_barrier:
            self.take(self.output(column, action))
            return
        elif action.kind == "start" and rule.streamable and self.chance(self.dice.ranges):
            action = self.ranged(column, action)
        self.take(action)
        if action.kind == "start":
            self.running.append(action)

    def wants(self, action: Action) -> bool:
        """False for a skip that is up to the column's own condition, most of the time."""
        if action.kind != "skip":
            return True
        assert action.rows is not None
        column = self.machine.graph.rules.index[action.column]
        may_run = self.machine.counters.cells[column][action.rows[0]] == READY
        return not may_run or self.chance(self.dice.skip)

    def output(self, column: int, action: Action) -> Action:
        assert action.rows is not None
        start = stop = action.rows[0]
        body = self.machine.counters.cells[column]
        while stop < self.machine.graph.num_records and body[stop] == READY:
            stop += 1
        return Action("emit", action.column, (start, self.random.randint(start + 1, stop)))

    def ranged(self, column: int, action: Action) -> Action:
        assert action.rows is not None
        start = action.rows[0]
        body = self.machine.counters.cells[column]
        stop = start + 1
        while (
            stop < self.machine.graph.num_records
            and body[stop] == READY
            and self.machine.attempts.get((column, stop), 0) + 1 == action.attempt
        ):
            stop += 1
        return action._replace(rows=(start, stop))

    # Calls end

    def end_one(self) -> None:
        action = self.running.pop(self.random.randrange(len(self.running)))
        column = self.machine.graph.rules.index[action.column]
        if action.scope is not None:
            self.end_call(action)
            return
        assert action.rows is not None
        start, stop = action.rows
        if stop > start + 1:
            ranged = range_of(self.machine.state, column, start)
            assert ranged is not None
            if self.chance(self.dice.fail):
                self.fail(action)
                return
            left = [row for row in range(start, stop) if row not in ranged.given]
            row = left[0] if self.chance(0.5) else self.random.choice(left)
            self.take(Action("complete", action.column, (row, row + 1)))
            if len(left) > 1:
                self.running.append(action)
        else:
            self.end_call(action)

    def end_call(self, action: Action) -> None:
        column = self.machine.graph.rules.index[action.column]
        gone = action.scope is None and (column, action.rows[0]) in self.machine.counters.abandoned  # type: ignore[index]
        if gone and self.chance(0.5):
            self.take(Action("cancel", action.column, action.rows, action.scope, action.attempt))
        elif self.chance(self.dice.fail):
            self.fail(action)
        else:
            self.take(Action("complete", action.column, action.rows, action.scope, action.attempt))

    def fail(self, action: Action) -> None:
        kind = self.random.choice(("retryable", "retryable", "backpressure", "permanent"))
        until = None
        if kind != "permanent" and self.chance(0.5):
            until = self.t + self.random.randint(0, 8) / 16
        ended = Action("fail", action.column, action.rows, action.scope, action.attempt)
        self.take(ended._replace(failure=kind, until=until))  # type: ignore[arg-type]

    # Storage, crashes, the end

    def keep(self) -> None:
        machine = self.machine
        if machine.pending_claim is not None and self.chance(0.5):
            failed = self.chance(0.2)
            self.take(Action("checkpoint_failed" if failed else "checkpoint_durable"))
        elif machine.pending_claim is None and self.chance(self.dice.checkpoint):
            self.store()
            claim = as_prefixes(machine.claim(self.random.choice((1, 2))))
            known = as_prefixes(machine.durable_claim)
            if all(c >= d for c, d in zip(claim, known, strict=True)):
                self.take(Action("checkpoint_begin", claim=claim))

    def store(self) -> None:
        for action in list(self.machine.enabled()):
            if action.kind == "durable":
                self.take(action)

    def crash(self) -> None:
        machine = self.machine
        self.crashes -= 1
        self.take(Action("crash"))
        self.running.clear()
        self.t += self.random.randint(0, 16) / 16
        claims = [action.claim for action in machine.enabled()]
        claim = self.random.choice(claims)
        assert claim is not None
        drops = covered_drops(machine.state, claim)
        dropped = ranges_of(drops)
        skips = covered_skips(machine.state, claim, drops, None)
        skipped = {
            machine.graph.rules.columns[column].name: ranges_of(rows)
            for column, rows in skips.items()
        }
        gives_back = self.chance(0.7)
        self.take(
            Action(
                "resume",
                claim=claim,
                dropped=dropped if gives_back else None,
                skipped=skipped if gives_back else None,
            ),
            machine.incarnation + 1,
        )

    def finish(self) -> bool:
        machine = self.machine
        if machine.must_stop or machine.stopped:
            if not machine.stopped:
                self.take(Action("stop"))
            if self.running:
                return False
            self.keep_rest()
            self.take(Action("end", outcome="stopped"))
            return True
        if machine.completed_rows < machine.graph.num_records or self.running:
            return False
        self.keep_rest()
        self.take(Action("end", outcome="success"))
        return True

    def keep_rest(self) -> None:
        """Store what is finished, and claim it in a run that claims rows."""
        machine = self.machine
        if machine.pending_claim is not None:
            self.take(Action("checkpoint_durable"))
        self.store()
        claim = machine.claim(2)
        if machine.state.claim_version and claim != machine.durable_claim:
            self.take(Action("checkpoint_begin", claim=claim))
            self.take(Action("checkpoint_durable"))


def toy_run(
    graph: ExecutionGraph,
    limits: Limits | None = None,
    failures: FailurePolicy | None = None,
    *,
    seed: int = 0,
    dice: Dice | None = None,
) -> tuple[Header, list[Event]]:
    """The header and the events of a run that is right."""
    limits = limits or Limits()
    failures = failures or FailurePolicy()
    header = header_for(
        graph,
        engine="toy",
        version="1",
        limits=limits,
        failures=failures,
        seed=seed,
        claims=("core", "work_conserving"),
    )
    return header, _Toy(graph, limits, failures, seed, dice or Dice()).run()


def write_trace(path: Path, header: Header, events: Iterable[Event]) -> Path:
    """Write a trace file, whatever its events mean."""
    with TraceWriter(path, header) as writer:
        for event in events:
            writer.write(event)
    return path


def renumbered(events: Iterable[Event]) -> list[Event]:
    """The same events, numbered from 1."""
    return [replace(event, seq=number) for number, event in enumerate(events, 1)]
