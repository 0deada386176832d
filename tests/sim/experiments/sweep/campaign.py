"""A sweep of 100 points × 20 seeds, killed ten times: the bytes of one that was left in peace?

``python -m tests.sim.experiments.sweep.campaign`` (``make sweeps``) runs text_to_sql at 100 points
in two folders. One sweep runs to its end. The other is killed (SIGKILL) at random moments, and
started again with other ``--jobs`` and ``--shard``; two shards make the rest at the same time. The
derived files must be equal, byte for byte. It also compares the CPU time of a run of the sweep, all
processes included, with that of the simulation alone.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sim.experiments.replication import replicate
from sim.experiments.sweep.points import Sweep, load_sweep

POINTS, SEEDS, KILLS = 100, 20, 10
MOST_CPU = 1.3
"""CPU time of a run of a sweep, over that of the simulation alone."""

DERIVED = ("points.jsonl", "runs.csv", "summary.csv")


def sweep_file(folder: Path, rows: int, seeds: int = SEEDS) -> Path:
    """The file of the sweep: 100 points, each a run of so many rows with so many seeds."""
    spec = {
        "scenario": "text_to_sql",
        "set": {"rows": rows, "crashes": [{"random": {"mean_s": 20 * rows}}]},
        "replications": seeds,
        "grid": {
            "limits.resources.nvidia-text": [2, 3, 4, 6, 8, 12, 16, 24, 32, 64],
            "policy": ["fifo", "row-first"],
            "checkpoint.every_rows": [5, 10, 20, 50, 100],
        },
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


def derived(folder: Path) -> dict[str, bytes]:
    """The files that must be equal."""
    return {name: (folder / name).read_bytes() for name in DERIVED}


def lines(folder: Path) -> int:
    """Runs in the files of all shards."""
    return sum(path.read_bytes().count(b"\n") for path in (folder / "runs").glob("*.jsonl"))


def start(path: Path, out: Path, *options: object) -> subprocess.Popen[bytes]:
    """A sweep in processes of their own group."""
    command = [sys.executable, "-m", "sim", "sweep", path, "--out", out, *options]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def to_its_end(path: Path, out: Path, *options: object) -> float:
    """Run a sweep, and return its CPU seconds, those of its workers included."""
    process = start(path, out, *options)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, options
    return used.ru_utime + used.ru_stime


def alone(sweep: Sweep, share: int = 10) -> float:
    """CPU seconds of one run without a sweep: the mean over one run in `share`."""
    loaded = {digest: pickle.loads(one) for digest, one in sweep.scenarios.items()}
    keys = [(one.digest, seed) for one in sweep.points for seed in range(SEEDS)]
    # The first run of a process pays for what all have.
    replicate(next(iter(loaded.values())), 0)
    before = time.process_time()
    for digest, seed in keys[::share]:
        assert digest is not None
        replicate(loaded[digest], seed)
    return (time.process_time() - before) / len(keys[::share])


def killed(path: Path, out: Path, rng: random.Random, say: Any = print) -> None:
    """Make the sweep through `KILLS` kills, and let two shards make the rest side by side."""
    for kill in range(1, KILLS + 1):
        jobs, count = rng.randint(1, 3), rng.randint(1, 4)
        options = ["--jobs", jobs, "--shard", f"{rng.randint(1, count)}/{count}"]
        before = lines(out)
        wanted = before + rng.randint(1, 2 * POINTS * SEEDS // (KILLS + 5))
        process = start(path, out, *options)
        while process.poll() is None and lines(out) < wanted:
            time.sleep(0.02)
        # Anywhere in a run, or in a line of it.
        time.sleep(rng.random() / 10)
        ended = process.poll() is not None
        if not ended:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        how = "ended before" if ended else "killed"
        say(f"kill {kill}: {' '.join(map(str, options))}: {how}, {lines(out):,} runs there")
    beside = [start(path, out, "--shard", f"{index}/2", "--jobs", 1) for index in (1, 2)]
    assert [one.wait() for one in beside] == [0, 0]


def main(arguments: Sequence[str]) -> int:
    """The command line: 0 if the files are equal and the CPU time is within its bound."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.experiments.sweep.campaign")
    parser.add_argument("--rows", type=int, default=100, help="of each run (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="decides when it is killed")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = sweep_file(folder, args.rows)
        sweep = load_sweep(path)
        assert len(sweep.points) == len(sweep.scenarios) == POINTS
        before = alone(sweep)
        spent = to_its_end(path, folder / "straight", "--jobs", 2)
        each, mine = spent / (POINTS * SEEDS), (before + alone(sweep)) / 2
        ratio = each / mine
        print(
            f"CPU of a run: {1000 * each:.1f} ms in the sweep, {1000 * mine:.1f} ms alone: "
            f"{ratio:.2f} times as much",
            flush=True,
        )
        killed(path, folder / "killed", random.Random(args.seed))
        equal = derived(folder / "straight") == derived(folder / "killed")
        size = len(derived(folder / "straight")["runs.csv"])
        print(f"runs.csv, {size:,} bytes: {'the same bytes' if equal else 'OTHER BYTES'}")
    return 0 if equal and ratio <= MOST_CPU else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
