"""Workloads to judge by, from the simplest to the random; the same ones every time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cellspec import ExecutionTraits, Limits
from cellspec.graph.graph import BarrierScope
from sim.simulator.plan import CheckpointPlan, CrashPlan, RunPlan

Column = tuple[str, Any, Any, ExecutionTraits, tuple[str, ...], tuple[str, ...]]

START = ExecutionTraits.START
CELL = ExecutionTraits.CELL_BY_CELL
BARRIER = ExecutionTraits.BARRIER
BATCH = ExecutionTraits.BATCH_BARRIER
ORDERED = ExecutionTraits.ORDERED


def column(
    name: str,
    traits: ExecutionTraits = CELL,
    needs: Iterable[str] = (),
    side: Iterable[str] = (),
) -> Column:
    """Arguments of a ColumnDescriptor."""
    return name, None, None, traits, tuple(needs), tuple(side)


@dataclass(frozen=True, eq=False)
class Example:
    """One workload: columns × rows, and how it is run.

    Attributes:
        seconds: latency of (column, row), as a table of 7 numbers to pick from.
    """

    name: str
    rows: int
    columns: tuple[Column, ...]
    batch_size: int | None = None
    scope: BarrierScope = "declared"
    plan: RunPlan = field(default_factory=RunPlan)
    seed: int = 0


class TableLatency:
    """Latencies that are spread, exact in binary, and a function of the cell."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def reader(self, column: int) -> Callable[[int], float]:
        return lambda row: self.get(column, row)

    def get(self, column: int, row: int, attempt: int = 1) -> float:
        return 1 + ((self.seed * 7 + column * 5 + row * 3 + attempt) * 2_654_435_761 % 64) / 16

    def get_barrier(self, column: int, scope: int, attempt: int = 1) -> float:
        return self.get(column, scope + 11, attempt)

    def mean_s(self, column: int) -> float:
        return 3.0 + column % 2


SMOKE = Example("smoke", 1, (column("a", START), column("b", CELL, ["a"])))


@cache
def examples() -> tuple[Example, ...]:
    """All examples, in the order in which they are tried."""
    return (*_simplest(), *(_random(seed) for seed in range(28)))


def _simplest() -> Iterable[Example]:
    """The simplest workload of each kind of run, and a few that are known to be hard."""
    chain = (column("a", START), column("b", CELL, ["a"]))
    barrier = (column("a", START), column("v", BARRIER, ["a"]), column("c", CELL, ["v"]))
    two = RunPlan(limits=Limits(workers=2))
    yield Example("chain", 2, chain, plan=two)
    yield Example("dataset barrier", 3, barrier, plan=two)
    yield Example("batch barrier", 3, barrier, batch_size=2, scope="batch", plan=two)
    yield Example(
        "checkpoint",
        4,
        chain,
        plan=RunPlan(limits=Limits(workers=2), checkpoint=CheckpointPlan(every_rows=2)),
    )
    yield Example(
        "two endpoints",
        4,
        (column("a", START), column("b", CELL, ["a"]), column("c", CELL, ["a"])),
        plan=RunPlan(
            limits=Limits(
                workers=4, resources={"x": 1, "y": 2}, column_resource={"b": "x", "c": "y"}
            ),
            policy="fifo",
        ),
    )
    half_done = CheckpointPlan(every_rows=1, write_s=0.5)
    for event in range(14, 34, 3):
        yield Example(
            f"half-done column after a barrier, crash at event {event}",
            4,
            (*barrier, column("d", CELL, ["c", "a"])),
            plan=RunPlan(
                limits=Limits(workers=3),
                checkpoint=half_done,
                crashes=(CrashPlan(at_event=event), CrashPlan(at_event=event + 9)),
                restart_delay_s=2.0,
            ),
            seed=event,
        )


def _random(seed: int) -> Example:
    draw = random.Random(seed)
    names = [f"c{i}" for i in range(draw.randint(2, 5))]
    columns: list[Column] = []
    available: list[str] = []
    for name in names:
        needs = draw.sample(available, draw.randint(0, min(3, len(available))))
        traits = draw.choice([CELL, CELL, CELL, BARRIER, BATCH])
        if not needs and draw.random() < 0.8:
            traits |= START
        if draw.random() < 0.2:
            traits |= ORDERED
        side = (f"{name}_extra",) if draw.random() < 0.3 else ()
        columns.append(column(name, traits, needs, side))
        available += [name, *side]
    rows = draw.randint(2, 7)
    limited = {name: "endpoint" for name in names if draw.random() < 0.4}
    return Example(
        f"random {seed}",
        rows,
        tuple(draw.sample(columns, len(columns))),
        batch_size=draw.randint(1, rows + 1),
        scope=draw.choice(["declared", "declared", "batch"]),
        plan=RunPlan(
            seed=seed,
            limits=Limits(
                workers=draw.randint(1, 4),
                resources={"endpoint": draw.randint(1, 2)},
                column_resource=limited,
            ),
            policy=draw.choice(["fifo", "row-first", "column-first", "critical-path", "random"]),
            checkpoint=CheckpointPlan(
                every_rows=draw.randint(1, 3),
                version=draw.choice([1, 2]),
                write_s=draw.choice([0, 0.5, 3.0]),
            ),
            crashes=tuple(
                CrashPlan(at_event=event)
                for event in sorted(draw.sample(range(2, 60), draw.randint(0, 3)))
            ),
            restart_delay_s=draw.choice([0.0, 1.5]),
        ),
        seed=seed,
    )
