"""How things are timed: side by side, many times, and with the machine's size beside the figures.

A time alone says little: the machine may be busy, slow or small. So what is compared runs in turn,
A B A B, in one process, and a ratio is taken within each round, where both met the same machine.
A figure is the median over the rounds; the least and the most are shown with it. The collector of
cyclic garbage is emptied before each measurement and off during it, for all alike.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("simpy", "numpy", "pydantic", "data-designer")


@dataclass(frozen=True, slots=True)
class Figure:
    """What one thing cost, by round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def over(self, other: Figure) -> Figure:
        """The ratio of two figures of the same rounds."""
        return Figure(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def show(self, digits: int = 2) -> str:
        low, high = min(self.values), max(self.values)
        return f"{self.median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


@contextlib.contextmanager
def quiet_collector() -> Iterator[None]:
    """No garbage collection while this lasts."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def seconds(work: Callable[[], object]) -> float:
    """What one call takes."""
    with quiet_collector():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start


def interleave(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Figure]:
    """Measure each case once a round; the first round warms up and is dropped."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, measure in cases.items():
            value = measure()
            if number:
                found[name].append(value)
    return {name: Figure(tuple(values)) for name, values in found.items()}


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def environment() -> dict[str, str]:
    """The variables of a child process: it finds the package in this tree."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def child(*arguments: str, python: str = sys.executable) -> Any:
    """What one part of the benchmarks reports when it runs in a process of its own."""
    command = [python, "-m", "tests.benchmarks", "--part", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout)


def memory(field: str) -> int:
    """``VmRSS`` (memory in use) or ``VmHWM`` (its peak) of this process, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"this system does not tell {field}")
    return int(found[1]) * 1024


def wall_seconds(command: Sequence[str], rounds: int) -> Figure:
    """Wall time of a command, by round."""
    values = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=True)
        values.append(time.perf_counter() - start)
    return Figure(tuple(values))


def versions() -> dict[str, str]:
    """Of Python, and of the packages whose speed is measured."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def machine_size() -> dict[str, str]:
    """Cores, memory and processor: what a reader needs to compare with another machine."""
    size = {"cores": str(os.cpu_count())}
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        size["processor"] = model[1].strip() if model else platform.machine()
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        total = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
        size["memory"] = f"{int(total[1]) / 2**20:.1f} GB" if total else "unknown"
        size["load when it began"] = f"{os.getloadavg()[0]:.2f}"
    return size
