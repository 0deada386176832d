"""``python -m tests.sim.experiments.calibration.recording``: DataDesigner in real time, recorded.

Runs DataDesigner's own scheduler with mock generators that sleep, at three sizes and two limits of
calls at once, and writes each run's trace into ``recordings/``; ``make record`` does it in the
environment that has DataDesigner. Each run draws sleeps of its own. One run after the other, about
two minutes in all; the machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from pathlib import Path
from statistics import NormalDist
from tempfile import TemporaryDirectory
from typing import Final

from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.run.workload import Workload
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.machine.limits import FailurePolicy, Limits
from cellspec.trace import TraceReader, TraceWriter

FOLDER: Final = Path(__file__).parent / "recordings"
ROWS: Final = (150, 300, 600)
LIMITS: Final = (8, 16)

_T = ExecutionTraits

COLUMNS: Final = (
    ColumnDescriptor("topic", traits=_T.START | _T.CELL_BY_CELL),
    ColumnDescriptor("draft", traits=_T.CELL_BY_CELL, dependencies=["topic"]),
    ColumnDescriptor("judge", traits=_T.CELL_BY_CELL, dependencies=["draft"]),
    ColumnDescriptor("final", traits=_T.CELL_BY_CELL, dependencies=["draft", "judge"]),
)
"""A topic without a model, and three calls to one model."""

SPEED: Final = {"topic": (0.02, 0.2), "draft": (0.25, 0.25), "judge": (0.12, 0.2)}
"""By column with lognormal sleeps: the median in seconds, and sigma."""

FINAL: Final = (0.2, 16)
"""The sleeps of *final*: mean in seconds and shape of a gamma distribution."""


class Sleeps(Workload):
    """A workload whose calls take as long as real requests, and no multiple of a tick."""

    def latency(self, column: str, position: int, call: int) -> float:
        """Seconds that a call sleeps: a function of (seed, column, position, call)."""

        def unit(number: int) -> float:
            key = f"{self.seed} {column} {position} {call} {number}".encode()
            drawn = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
            return (drawn + 0.5) / 2**64

        if column in SPEED:
            median_s, sigma = SPEED[column]
            return median_s * math.exp(sigma * NormalDist().inv_cdf(unit(0)))
        mean_s, shape = FINAL
        return -mean_s / shape * sum(math.log(unit(number)) for number in range(shape))


def path_of(rows: int, limit: int) -> Path:
    """The recording of a run with so many rows, and so many calls at once."""
    return FOLDER / f"datadesigner-{rows}-rows-{limit}-calls.jsonl.gz"


def record(rows: int, limit: int) -> float:
    """Run and record; gives the seconds that the run took.

    Raises:
        RuntimeError: the engine broke a clause.
    """
    from cellspec.engines.datadesigner import SchedulerBackend

    backend = SchedulerBackend()
    work = Sleeps(
        columns=COLUMNS,
        rows=rows,
        seed=1000 * limit + rows,
        limits=Limits(
            resources={"model": limit},
            column_resource=dict.fromkeys(["draft", "judge", "final"], "model"),
        ),
        failures=FailurePolicy(max_attempts=3),
    )
    fitted = backend.fit(work)
    assert fitted is not None
    with TemporaryDirectory() as folder:
        trace = Path(folder, "run.jsonl")
        result = run_workload(backend, fitted, real_time=True, scale=1.0, trace=trace)
        if result.violations or result.outcomes != ["success"]:
            raise RuntimeError(
                f"{rows} rows, {limit} calls: {result.violations}, {result.outcomes}"
            )
        return _shortened(trace, path_of(rows, limit))


def _shortened(trace: Path, path: Path) -> float:
    """Copy a trace with times in whole microseconds, which pack well; gives its last time."""
    t = 0.0
    with TraceReader(trace) as reader, TraceWriter(path, reader.header) as writer:
        for event in reader:
            t = round(event.t, 6)
            fields = {
                name: getattr(event, name)
                for name in event.__struct_fields__
                if name not in ("seq", "t", "event")
            }
            writer.add(event.event, t, **fields)
    return t


def main() -> None:
    parser = argparse.ArgumentParser(description="Record DataDesigner in real time.")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--limits", type=int, nargs="+", default=LIMITS)
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for limit in args.limits:
        for rows in args.rows:
            seconds = record(rows, limit)
            size = path_of(rows, limit).stat().st_size
            print(f"{path_of(rows, limit).name}: {seconds:.2f} s, {size:,} bytes")


if __name__ == "__main__":
    main()
