"""``python -m tests.benchmarks.engines``: what each engine's scheduler costs for a task.

Calls cost nothing here: a generator gives an empty value after one turn of the loop, and the probe
writes nothing down (`Weightless`). What is left is the engine: who is next, what becomes ready,
what is written. The *unit* is an asyncio program of ten lines that makes the same calls with no
scheduler at all: a task for each, and a semaphore. It runs in the same process right before and
right after the engine, and an engine's cost is told as a multiple of it, so that machines can be
compared. What a call costs in the probe is in both.

- Engines on a loop run in virtual time; CPU time of the process.
- Dask and Ray run in real time; CPU time of the process and of all that descend from it. Their
  clusters are started before. Ray's tasks reach the probe through a socket, and what that costs is
  measured apart (`measure_socket`).

Each measurement is a process of its own, cut off after two minutes of CPU time (`CUT_OFF_S`). A
size that would take longer, to judge by the ones before, is not tried. With ``--python
RELEASE=INTERPRETER`` the engine of another environment is measured, as a release of DataDesigner.
The same interpreter also says what the clauses about cost
(`cellspec.conformance.campaign.scaling`) find, function by function.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellspec import virtualtime
from cellspec.conformance.campaign.scaling import run_cost_campaign
from cellspec.conformance.campaign.scaling_limits import LIMIT, rounded
from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES
from cellspec.conformance.run.backend import Backend, fit_of
from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.registered import backend_path
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.machine.limits import Limits
from tests.benchmarks.timing import ROOT, environment, machine_size, progress, quiet_collector
from tests.benchmarks.weightless import WORKERS, Weightless, bare

SIZES = (1_000, 10_000, 100_000)
"""Tasks: calls of cells and barriers."""

CUT_OFF_S = 120
_PATIENCE = 8
"""On a busy machine a process may take so many times its CPU time."""

_ROUNDS = 3
_WARM_UP_TASKS = 40

TITLES = {"dask": "Dask", "ray": "Ray"}
"""Registered backends that are measured in an interpreter of their own, as the page names them."""

_A, _B = ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])
_V = ColumnDescriptor("v", traits=ExecutionTraits.BARRIER, dependencies=["b"])
_C = ColumnDescriptor("c", dependencies=["v"])
_BATCHES = ColumnDescriptor("v", traits=ExecutionTraits.BATCH_BARRIER, dependencies=["b"])
_GROUP_ROWS = 500

SHAPES: Mapping[str, str] = {
    "cells": "two columns of cells, the second needs the first",
    "barrier": "as *cells*, a barrier over all rows that needs the second column, and a column of "
    "cells that needs the barrier",
    "groups": f"as *cells*, in row groups of {_GROUP_ROWS}, three at once",
    "batches": f"as *barrier*, with a barrier for each row group of {_GROUP_ROWS}, three at once",
}
_NEEDS = {"groups": "groups", "batches": "groups batch_barriers"}


def workload(shape: str, tasks: int) -> Workload:
    """A workload of a shape with so many tasks, about."""
    barrier = {"barrier": (_V, _C), "batches": (_BATCHES, _C)}.get(shape, ())
    grouped = shape in ("groups", "batches")
    columns = (_A, _B, *barrier)
    return Workload(
        columns,
        # A barrier is one task, or a few.
        tasks // (3 if barrier else 2),
        batch_size=_GROUP_ROWS if shape == "batches" else None,
        limits=Limits(WORKERS, group_rows=_GROUP_ROWS, groups=3) if grouped else Limits(WORKERS),
        latency_s={item.name: 0.0 for item in columns},
    )


# Measuring


def unit_us(tasks: int) -> float:
    """Microseconds of CPU for a task of the unit."""
    return _virtual(bare, workload("cells", tasks))[0]


def _virtual(run: Callable[[Probe], Any], work: Workload) -> tuple[float, Weightless]:
    made: list[Weightless] = []
    spent: list[float] = []

    async def live() -> None:
        with tempfile.TemporaryDirectory(dir=_memory()) as folder:
            loop = asyncio.get_running_loop()
            probe = Weightless(work, Path(folder), loop.time)
            made.append(probe)
            began = time.process_time()
            await run(probe)
            spent.append(time.process_time() - began)

    with quiet_collector():
        virtualtime.run(live, max_iterations=10**9, max_idle_iterations=10**9)
    return spent[0] / made[0].tasks * 1e6, made[0]


def _real(backend: Backend, work: Workload) -> tuple[float, Weightless]:
    with tempfile.TemporaryDirectory(dir=_memory()) as folder, quiet_collector():
        probe = Weightless(work, Path(folder), time.monotonic)
        began = tree_cpu_s()
        backend.run(probe)
        spent = tree_cpu_s() - began
    return spent / max(probe.tasks, 1) * 1e6, probe


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def tree_cpu_s() -> float:
    """CPU seconds of this process, of all that descend from it, and of those they waited for."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        ticks[int(entry.name)] = sum(map(int, fields[11:15]))
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(ticks[pid] for pid in mine) / os.sysconf("SC_CLK_TCK")


def load(spec: str) -> Backend:
    """The backend that ``module:attribute`` names.

    Raises:
        SpecError: it is not there, or needs what is not installed.
    """
    made: Backend = _find(spec)()
    return made


def _find(spec: str) -> Any:
    module, _, name = spec.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"{spec}: {error}") from None


def measure(spec: str, shape: str, tasks: int) -> dict[str, Any]:
    """One engine on one workload: microseconds a task, and those of the unit."""
    if spec == "unit":
        return {"us": [unit_us(tasks) for _ in range(_ROUNDS)], "unit_us": [unit_us(tasks)]}
    backend = load(spec)
    missing = set(_NEEDS.get(shape, "").split()) - set(backend.capabilities)
    if missing:
        return {"absent": f"does not claim {', '.join(sorted(missing))}"}
    work = fit_of(backend)(workload(shape, tasks))
    warm_up = fit_of(backend)(workload(shape, _WARM_UP_TASKS))
    if work is None or warm_up is None:
        return {"absent": "cannot be asked for it"}
    virtual = inspect.iscoroutinefunction(backend.run)

    def once(work: Workload) -> tuple[float, Weightless]:
        return _virtual(backend.run, work) if virtual else _real(backend, work)

    once(warm_up)
    unit_us(_WARM_UP_TASKS)
    found: dict[str, Any] = {"us": [], "unit_us": [], "version": backend.version}
    began = time.process_time()
    while len(found["us"]) < _ROUNDS:
        found["unit_us"].append(unit_us(min(tasks, 10_000)))
        us, probe = once(work)
        if probe.outcome != "success":
            return {"absent": f"ended as {probe.outcome or 'nothing'}"}
        found["us"].append(us)
        found["tasks"] = probe.tasks
        # One round of something slow is enough.
        if time.process_time() - began > CUT_OFF_S / 6:
            break
    return found


def judge(spec: str) -> dict[str, Any]:
    """What the clauses about cost say of an engine, whether it claims to be judged by them or not.

    Clauses that are not about cost are the business of its other campaigns.
    """
    if not inspect.iscoroutinefunction(_find(spec).run):
        return {"real_time": True}
    backend = load(spec)
    done = run_cost_campaign(backend, backend.capabilities)
    shapes = {
        name: {
            "clause": scaling.clause,
            "lines": [round(scaling.before.each, 1), round(scaling.after.each, 1)],
            "ratio": rounded(scaling.ratio),
            "function_ratio": round(scaling.function_ratio, 1),
            "too_much": scaling.is_too_much,
            "whole_too_much": scaling.ratio >= LIMIT,
            "growing": list(scaling.growing.items())[:3],
        }
        for name, scaling in done.scalings.items()
    }
    broken = {
        clause: failure.detail
        for clause, failure in done.failures.items()
        if clause in COST_CLAUSES
    }
    unjudged = dict(done.evidence.unjudged)
    return {"version": backend.version, "shapes": shapes, "broken": broken, "unjudged": unjudged}


def measure_socket(calls: int = 2_000) -> dict[str, Any]:
    """Microseconds of CPU for one call of a probe that is served on a socket; both ends."""
    remote = importlib.import_module("cellspec.engines.remote")
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        probe = Weightless(workload("cells", _WARM_UP_TASKS), Path(folder), time.monotonic)
        with remote.ProbeServer(probe, {"cell": lambda *_, **__: ""}) as server:
            server.remote.cell("a", 0, {})
            began = time.process_time()
            for _ in range(calls):
                server.remote.cell("a", 0, {})
            spent = time.process_time() - began
    return {"us": spent / calls * 1e6}


# Processes


@dataclass(frozen=True)
class Engine:
    """An engine to measure: what the page calls it, its backend, and whose Python has it."""

    name: str
    spec: str
    python: str = sys.executable
    most: int = SIZES[-1]


def engines(pythons: Sequence[str]) -> list[Engine]:
    """The engines of this package, and those of the environments that are given.

    Args:
        pythons: ``RELEASE=INTERPRETER`` for a release of DataDesigner, ``dask=…`` or ``ray=…``.

    Raises:
        SpecError: one that is not of that form, or an interpreter that is not there.
    """
    found = [
        Engine("bare asyncio (the unit)", "unit"),
        Engine("reference, asyncio", "cellspec.engines.reference:ReferenceBackend"),
        Engine("second engine", "tests.conformance.second_engine:ColumnFirst"),
    ]
    for given in pythons:
        name, _, python = given.partition("=")
        if not Path(python).is_file():
            raise SpecError(f"--python: expected RELEASE=INTERPRETER, got {given!r}")
        if name in TITLES:
            found.append(Engine(TITLES[name], backend_path(name, "--python"), python))
        else:
            spec = "cellspec.engines.datadesigner:SchedulerBackend"
            found.append(Engine(f"DataDesigner {name}", spec, python))
    return found


def child(engine: Engine, *arguments: str, seconds: int = CUT_OFF_S) -> dict[str, Any]:
    """What a part of this module says, run by the engine's own interpreter.

    Args:
        engine: whose.
        arguments: the part, and what it needs.
        seconds: of CPU time, after which it is cut off.
    """
    command = [engine.python, "-m", "tests.benchmarks.engines", "--seconds", str(seconds)]
    command += ["--part", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**environment(), "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=seconds * _PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return {"cut_off": seconds}
    if done.returncode == -signal.SIGXCPU:
        return {"cut_off": seconds}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {"absent": last[-200:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_all(asked: Sequence[Engine], sizes: Sequence[int]) -> dict[str, Any]:
    """Every engine, shape and size; and what the clauses about cost say."""
    loads: dict[str, dict[str, dict[str, Any]]] = {shape: {} for shape in SHAPES}
    for engine in asked:
        for shape in SHAPES:
            loads[shape][engine.name] = {
                str(tasks): found for tasks, found in _sizes(engine, shape, sizes)
            }
    costs: dict[str, Any] = {}
    for engine in asked:
        if engine.spec != "unit":
            progress(f"{engine.name}: counted work")
            costs[engine.name] = child(engine, "judge", engine.spec, seconds=3 * CUT_OFF_S)
    data: dict[str, Any] = {"machine": machine_size(), "sizes": list(sizes), "cut_off_s": CUT_OFF_S}
    data |= {"loads": loads, "costs": costs}
    remote = next((engine for engine in asked if engine.spec.endswith("RayBackend")), None)
    if remote is not None:
        data["socket"] = child(remote, "socket")
    return data


def _sizes(
    engine: Engine, shape: str, sizes: Sequence[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    each: list[float] = []
    for tasks in sizes:
        # As it grew before, so it is expected to grow again.
        growth = max(1.0, each[-1] / each[-2]) if len(each) > 1 else 1.0
        expected_s = tasks * each[-1] * growth / 1e6 if each else 0.0
        if expected_s > CUT_OFF_S:
            yield tasks, {"expected_s": round(expected_s)}
            return
        progress(f"{engine.name}: {shape}, {tasks:,} tasks")
        found = child(engine, "load", engine.spec, shape, str(tasks))
        yield tasks, found
        if "us" not in found:
            return
        each.append(statistics.median(found["us"]))


def run_part(arguments: Sequence[str]) -> dict[str, Any]:
    """One part, in this process."""
    name, *rest = arguments
    if name == "load":
        return measure(rest[0], rest[1], int(rest[2]))
    return judge(rest[0]) if name == "judge" else measure_socket()


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.engines", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="RELEASE=INTERPRETER",
        help="another environment: a release of DataDesigner, or dask=…, ray=…; may be repeated",
    )
    parser.add_argument("--most", type=int, default=SIZES[-1], help="tasks at most (100000)")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "simulations" / "results", metavar="FOLDER"
    )
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.part:
        if arguments.seconds:
            # Dask and Ray spend theirs in other threads and processes, and are waited for.
            resource.setrlimit(resource.RLIMIT_CPU, (arguments.seconds, arguments.seconds + 5))
        try:
            print(json.dumps(run_part(arguments.part)))
        except SpecError as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    from tests.benchmarks.engines_page import write

    try:
        asked = engines(arguments.python)
    except SpecError as error:
        print(error, file=sys.stderr)
        return 2
    data = measure_all(asked, [size for size in SIZES if size <= arguments.most])
    write(data, arguments.output)
    progress("wrote engines.md and engines.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
