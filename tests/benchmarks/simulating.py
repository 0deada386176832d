"""What a simulated cell costs, measured in events of bare SimPy.

The unit is the least that SimPy can do for one task: a `timeout` with a shared callback, 64 of them
in flight. A simulated cell is that event and all that makes it a cell of a graph: which one is
ready, which goes first, how long it takes, what its end makes ready, and whether each step was
allowed.

Growth is measured in a process for each size. Its memory is the peak less what was in use after
imports; so it holds the queues, the latencies and the state, and none of the interpreter.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import simpy

from cellspec import ExecutionGraph
from cellspec.machine.machine import Limits
from sim.policies import Policy
from sim.scenario.distributions import Exponential
from sim.scenario.sampler import ColumnLatency, LatencySource
from sim.simulator.outcome import Outcome
from sim.simulator.plan import CheckpointPlan, CrashPlan, RunPlan
from sim.simulator.simulator import Simulator
from tests.benchmarks.graphs import SHAPES, chain
from tests.benchmarks.timing import ROOT, environment, interleave, memory, seconds

WORKERS = 64
POLICIES: tuple[Policy, ...] = ("fifo", "row-first", "column-first", "critical-path", "random")
UNIT = "bare SimPy event"


def bare_event(tasks: int) -> float:
    """Microseconds for one `timeout` with a shared callback."""
    draw = random.Random(1)
    sample = [draw.expovariate(1.0) for _ in range(4096)]
    delays = islice(cycle(sample), tasks)
    environment_ = simpy.Environment()
    timeout = environment_.timeout

    def done(_: simpy.events.Event) -> None:
        delay = next(delays, None)
        if delay is not None:
            timeout(delay).callbacks.append(done)

    for delay in islice(delays, WORKERS):
        timeout(delay).callbacks.append(done)
    return seconds(environment_.run) / tasks * 1e6


def simulator(
    graph: ExecutionGraph, policy: Policy, *, checked: bool = True, crash_at: int | None = None
) -> Simulator:
    """A run with exponential latencies of one second, and checkpoints if it is to crash."""
    latency = LatencySource(
        1,
        [
            ColumnLatency(rule.name, Exponential(mean_s=1.0), scope_rows=rule.scope_rows)
            for rule in graph.rules.columns
        ],
        graph.num_records,
    )
    plan = RunPlan(seed=1, limits=Limits(workers=WORKERS), policy=policy)
    if crash_at is not None:
        every = max(1, graph.num_records // 20)
        plan = RunPlan(
            seed=1,
            limits=Limits(workers=WORKERS),
            policy=policy,
            checkpoint=CheckpointPlan(every_rows=every, version=2, write_s=0.5),
            crashes=[CrashPlan(at_event=crash_at)],
            restart_delay_s=30.0,
        )
    return Simulator(graph, latency, plan, checked=checked)


def _cell(graph: ExecutionGraph, policy: Policy, checked: bool) -> Callable[[], float]:
    cells = graph.num_records * graph.num_columns
    return lambda: seconds(simulator(graph, policy, checked=checked).run) / cells * 1e6


def measure_cells(rows: int, rounds: int) -> dict[str, Any]:
    """Microseconds per cell, by shape, policy and check, with the unit in every round."""
    cases: dict[str, Callable[[], float]] = {UNIT: lambda: bare_event(rows * 10)}
    keys: dict[str, tuple[str, str, bool]] = {}
    for shape, build in SHAPES.items():
        graph = build(rows)
        for policy in POLICIES if shape == "chain of 10" else POLICIES[:2]:
            for checked in (True, False):
                name = f"{shape} / {policy} / {'checked' if checked else 'unchecked'}"
                keys[name] = (shape, policy, checked)
                cases[name] = _cell(graph, policy, checked)
    found = interleave(cases, rounds)
    unit = found.pop(UNIT)
    return {
        "rows": rows,
        "unit_us": list(unit.values),
        "cells": [
            {
                "shape": keys[name][0],
                "policy": keys[name][1],
                "checked": keys[name][2],
                "us": list(figure.values),
                "ratio": list(figure.over(unit).values),
            }
            for name, figure in found.items()
        ],
    }


def measure_scale(rows: int, policy: Policy, unit_tasks: int = 100_000) -> dict[str, Any]:
    """One checked run of `rows` × 10, for a process of its own: time and memory per cell."""
    return measure_growth(policy, lambda n: simulator(chain(n), policy), rows, unit_tasks)


def measure_growth(
    what: str,
    make: Callable[[int], Simulator],
    rows: int,
    unit_tasks: int,
    number: Callable[[Outcome], int] | None = None,
) -> dict[str, Any]:
    """Time and memory of one run, for a process of its own; time by cell, or by what is counted."""
    # Everything that is loaded lazily is loaded before memory is read for the first time.
    make(64).run()
    before = memory("VmRSS")
    run = make(rows)
    wall_s = seconds(run.run)
    peak = memory("VmHWM")
    units = sorted(bare_event(unit_tasks) for _ in range(3))
    cells = rows * run.graph.num_columns
    us = wall_s / (cells if number is None else number(run.outcome)) * 1e6
    return {
        "rows": rows,
        "policy": what,
        "wall_s": wall_s,
        "us": us,
        "ratio": us / units[1],
        "imports_bytes": before,
        "peak_bytes": peak,
        "bytes_per_cell": (peak - before) / cells,
    }


def measure_million(rows: int = 1_000_000) -> dict[str, Any]:
    """A barrier, a crash and a resume at a million rows; for a process of its own."""
    import resource

    scenario = ROOT / "simulations" / "million.yaml"
    if scenario.is_file() and (ROOT / "src" / "sim" / "cli.py").is_file():
        command = [sys.executable, "-m", "sim", "run", str(scenario)]
        start = time.perf_counter()
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            wall_s = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
            return {
                "how": "python -m sim run simulations/million.yaml",
                "wall_s": wall_s,
                "peak_bytes": peak,
                "output": done.stdout,
            }
    return measure_crash(rows)


def measure_crash(rows: int) -> dict[str, Any]:
    """The same kind of run without a scenario file."""
    run = simulator(chain(rows, barrier=5), "row-first", crash_at=rows * 14)
    start = time.perf_counter()
    outcome = run.run()
    return {
        "how": f"{rows:,} rows × 10 columns, driven directly",
        "wall_s": time.perf_counter() - start,
        "peak_bytes": memory("VmHWM"),
        "output": f"{outcome.cells_done:,} cells in {len(outcome.incarnations)} incarnations, "
        f"{outcome.checkpoints} checkpoints\n",
    }
