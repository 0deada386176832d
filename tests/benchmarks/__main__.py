"""``python -m tests.benchmarks``: measures everything, and writes the page and its raw figures.

Each part is in a module of its own: `simulating`, `tracking`, `claiming`,
`tracing`; `graphs` has what they run
on, `timing` how, and `page` what becomes of it. Parts that need a fresh process (for memory) or
another interpreter (one that has DataDesigner) are run again from here with ``--part``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.page import render
from tests.benchmarks.timing import (
    ROOT,
    child,
    machine_size,
    progress,
    versions,
    wall_seconds,
)

TRACKER_ROWS = (1_000, 2_000, 4_000, 8_000)
NAIVE_ROWS = (125, 250, 500)
SCALE_ROWS = {10_000: 5, 100_000: 3, 1_000_000: 1}
"""Sizes, and how many processes measure each."""
SCALED = ("row-first", "fifo", "50 % refusals")
"""What is measured at each size: policies of a plain run, and kinds of runs."""
CHECKPOINT_ROWS = (1_000, 10_000, 100_000, 1_000_000)


def run_part(arguments: Sequence[str]) -> Any:
    """One part, in this process."""
    from tests.benchmarks import claiming, tracking

    name, *numbers = arguments
    if name == "claims":
        return claiming.measure_claims(int(numbers[0]), int(numbers[1]))
    if name == "trackers":
        return tracking.measure_trackers(TRACKER_ROWS, NAIVE_ROWS, int(numbers[0]))
    if name == "checkpoints":
        return tracking.measure_checkpoints(CHECKPOINT_ROWS, int(numbers[0]))
    if name in ("traces", "check", "trace-file"):
        return run_trace_part(name, numbers)
    from tests.benchmarks import kinds, simulating

    if name == "cells":
        return simulating.measure_cells(int(numbers[0]), int(numbers[1]))
    if name == "kinds":
        return kinds.measure_kinds(int(numbers[0]), int(numbers[1]))
    if name == "million":
        return simulating.measure_million()
    if numbers[1] in kinds.KINDS:
        return kinds.measure_kind_scale(int(numbers[0]), numbers[1])
    policy = next(known for known in simulating.POLICIES if known == numbers[1])
    return simulating.measure_scale(int(numbers[0]), policy)


def run_trace_part(name: str, arguments: Sequence[str]) -> Any:
    """One part of what traces cost, in this process."""
    from tests.benchmarks import tracing

    rows = int(arguments[0])
    if name == "traces":
        return tracing.measure_traces(rows, int(arguments[1]))
    if name == "check":
        return tracing.measure_check(rows)
    return tracing.write_chain(Path(arguments[1]), rows)


def datadesigner_python(given: str | None) -> str:
    """An interpreter that has DataDesigner, if there is one; else this one."""
    if given is not None:
        return given
    beside = ROOT / ".venv-datadesigner" / "bin" / "python"
    if importlib.util.find_spec("data_designer") is None and beside.is_file():
        return str(beside)
    return sys.executable


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every part, one after the other."""
    rounds = str(arguments.rounds)
    data: dict[str, Any] = {
        "command": "make bench" if not arguments.quick else "python -m tests.benchmarks --quick",
        "rounds": arguments.rounds,
        "machine": machine_size(),
        "versions": versions(),
    }
    progress("one simulated cell")
    data["cells"] = child("cells", str(arguments.rows), rounds)
    progress("kinds of runs")
    data["kinds"] = child("kinds", str(arguments.rows), rounds)
    progress("trackers")
    data["trackers"] = child(
        "trackers", rounds, python=datadesigner_python(arguments.datadesigner_python)
    )
    if data["trackers"]["datadesigner"]:
        data["versions"]["data-designer"] = data["trackers"]["datadesigner"]
    progress("checkpoints")
    data["checkpoints"] = child("checkpoints", rounds)
    progress("claims with gaps")
    data["claims"] = child("claims", "100000" if arguments.quick else "1000000", "3")
    progress("traces")
    data["traces"] = child("traces", "2000", rounds)
    data["check"] = child("check", "5000" if arguments.quick else "50000")
    data["scale"] = []
    for what in SCALED:
        for rows, times in SCALE_ROWS.items():
            if arguments.quick and rows >= 1_000_000:
                continue
            progress(f"{rows:,} rows, {what}")
            runs = [child("scale", str(rows), what) for _ in range(times)]
            data["scale"].append(sorted(runs, key=lambda run: float(run["us"]))[times // 2])
    progress("a million rows, a barrier, a crash and a resume")
    data["million"] = None if arguments.quick else child("million")
    progress("start-up")
    python = sys.executable
    commands = {
        "import cellspec": [python, "-c", "import cellspec"],
        "python -m sim --help": [python, "-m", "sim", "--help"],
    }
    data["start"] = {
        name: list(wall_seconds(command, 5).values) for name, command in commands.items()
    }
    return data


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave a million rows out")
    parser.add_argument("--rounds", type=int, default=7, help="of each comparison (7)")
    parser.add_argument("--rows", type=int, default=4096, help="of one simulated cell (4096)")
    parser.add_argument(
        "--datadesigner-python", metavar="PATH", help="an interpreter that has DataDesigner"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "simulations" / "results", metavar="FOLDER"
    )
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.part:
        print(json.dumps(run_part(arguments.part)))
        return 0
    data = measure(arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    (arguments.output / "benchmarks.json").write_text(text, encoding="utf-8")
    page = arguments.output / "benchmarks.md"
    # What the raw figures say, and in their order.
    page.write_text(render(json.loads(text)), encoding="utf-8")
    progress(f"wrote {page.name} and benchmarks.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
