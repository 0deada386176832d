"""Checkpoints that stop the run while they are written, against a program of a few lines."""

from __future__ import annotations

import heapq
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellspec import ColumnDescriptor, ExecutionGraph, Limits, Violation
from cellspec.check import check_file
from sim.cli import main
from sim.scenario.loader import load_scenario
from sim.simulator.outcome import Outcome
from sim.simulator.plan import CheckpointPlan, CrashPlan, RunPlan
from sim.simulator.simulator import Simulator
from tests.recompute.comparison import starts_in_writes


class _Given:
    """Latencies from a list, by row."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = seconds

    def get(self, _column: int, row: int, _call: int = 1) -> float:
        return self.seconds[row]

    def get_barrier(self, _column: int, _scope: int, _call: int = 1) -> float:
        return 0.0

    def reader(self, _column: int) -> Any:
        return self.seconds.__getitem__

    def mean_s(self, _column: int) -> float:
        return 1.0


def naive_makespan(seconds: list[float], workers: int, every: int, write_s: float) -> float:
    """One column, first come first served: a write begins before the next start, and holds it."""
    t, rows, started, first_open, saved, due = 0.0, len(seconds), 0, 0, 0, every
    running: list[tuple[float, int]] = []
    done: set[int] = set()
    written_at = None
    while True:
        if written_at is None and (first_open >= due or saved < first_open == rows):
            written_at, saved, due = t + write_s, first_open, first_open + every
        while written_at is None and len(running) < workers and started < rows:
            heapq.heappush(running, (t + seconds[started], started))
            started += 1
        if written_at is not None and (not running or written_at < running[0][0]):
            t, written_at = written_at, None
        elif running:
            t, row = heapq.heappop(running)
            done.add(row)
            while first_open in done:
                first_open += 1
        else:
            return t


def makespan(seconds: list[float], plan: RunPlan, *, recorded: bool = False) -> Outcome:
    graph = ExecutionGraph(len(seconds), [ColumnDescriptor("a")])
    notify = (lambda *_, **__: None) if recorded else None
    return Simulator(graph, _Given(seconds), plan, notify=notify).run()


@pytest.mark.parametrize("seed", range(60))
def test_a_write_that_blocks_holds_every_start(seed: int) -> None:
    pick = random.Random(seed)
    seconds = [pick.uniform(0.5, 4.0) for _ in range(pick.randint(1, 40))]
    workers, every, write_s = pick.randint(1, 6), pick.randint(1, 9), pick.choice((0.3, 2.0, 7.0))
    saved = CheckpointPlan(every_rows=every, write_s=write_s, blocking=True)
    plan = RunPlan(limits=Limits(workers=workers), policy="fifo", checkpoint=saved)
    expected = naive_makespan(seconds, workers, every, write_s)
    outcomes = [makespan(seconds, plan, recorded=recorded) for recorded in (False, True)]
    assert outcomes[0].makespan_s == pytest.approx(expected, rel=1e-12)
    assert outcomes[1].makespan_s == outcomes[0].makespan_s
    assert outcomes[1].fingerprint == outcomes[0].fingerprint


def test_one_worker_waits_for_each_write() -> None:
    seconds, saved = [10.0] * 50, CheckpointPlan(every_rows=20, write_s=30.0, blocking=True)
    plan = RunPlan(limits=Limits(workers=1), checkpoint=saved)
    # 20 and 20 rows, and the last ten, each with a write behind them.
    assert makespan(seconds, plan).makespan_s == 50 * 10 + 3 * 30
    beside = replace(plan, checkpoint=replace(saved, blocking=False))
    assert makespan(seconds, beside).makespan_s == 50 * 10 + 30


def test_a_timer_begins_a_write_that_holds_the_next_start() -> None:
    saved = CheckpointPlan(every_s=25.0, write_s=30.0, blocking=True)
    plan = RunPlan(limits=Limits(workers=1), checkpoint=saved)
    # Begun at 25 s with two rows; the third ends at 30 s; rows go on at 55 s. The timer of 50 s
    # finds the write, that of 75 s begins the next one, and so on.
    found = makespan([10.0] * 4, plan)
    assert (found.makespan_s, found.checkpoints) == (95.0, 2)


def test_a_run_with_blocking_writes_is_judged_for_idleness_outside_of_them() -> None:
    class Idle(Simulator):
        def _dispatcher(self) -> Any:
            dispatch = super()._dispatcher()
            return lambda t: dispatch(t) if t < 10 else None

    graph = ExecutionGraph(9, [ColumnDescriptor("a")])
    saved = CheckpointPlan(every_rows=1, write_s=1.0, blocking=True)
    plan = RunPlan(limits=Limits(workers=2), checkpoint=saved)
    with pytest.raises(Violation, match="SCHED-09"):
        Idle(graph, _Given([50.0] + [6.0] * 8), plan).run()


def test_a_crash_in_a_write_that_blocks_leaves_a_run_that_goes_on() -> None:
    saved = CheckpointPlan(every_rows=2, write_s=1.5, blocking=True)
    kept = set()
    for seed in range(20):
        plan = RunPlan(
            seed=seed,
            limits=Limits(workers=1),
            checkpoint=saved,
            crashes=[CrashPlan(at_time_s=2.5)],
        )
        found = makespan([1.0] * 4, plan)
        kept.add((found.incarnations[1].claimed_rows, found.makespan_s))
    # The write from 2 s to 3.5 s is lost or kept; then the rest, with its writes.
    assert kept == {(0, 2.5 + 7.0), (2, 2.5 + 3.5)}


def test_a_crash_as_a_write_begins_leaves_the_time_of_the_first_row() -> None:
    saved = CheckpointPlan(every_rows=1, write_s=1.5, blocking=True)
    first = set()
    for seed in range(20):
        # Event 4 is the claim on row 0, which ended at 1 s.
        plan = RunPlan(
            seed=seed,
            limits=Limits(workers=1),
            checkpoint=saved,
            crashes=[CrashPlan(at_event=4)],
            restart_delay_s=5.0,
        )
        found = makespan([1.0] * 4, plan)
        first.add((found.incarnations[1].claimed_rows, found.first_row_s))
    assert first == {(0, 7.0), (1, 1.0)}


SCENARIO: dict[str, Any] = {
    "name": "blocking",
    "rows": 12,
    "columns": [
        {"name": "a", "latency": {"model": "exponential", "mean_s": 2.0}},
        {"name": "b", "dependencies": ["a"], "latency": {"model": "constant", "value_s": 1.0}},
    ],
    "limits": {"workers": 3},
    "checkpoint": {"every_rows": 2, "write_s": 3.0, "blocking": True},
    "crashes": [{"at_time_s": 9.0}],
}


def test_the_trace_promises_no_conservation_of_work_and_passes(tmp_path: Path) -> None:
    path, trace = tmp_path / "scenario.yaml", tmp_path / "run.jsonl"
    path.write_text(yaml.safe_dump(SCENARIO), encoding="utf-8")
    assert main(["run", str(path), "--trace", str(trace)]) == 0
    found = check_file(trace)
    assert found.violations == []
    assert found.header is not None
    assert "work_conserving" not in found.header.claims
    lines = trace.read_text(encoding="utf-8").splitlines()
    assert starts_in_writes(lines) == []
    # Without the word calls start in writes, and the digest is what it was.
    without = {**SCENARIO, "checkpoint": {"every_rows": 2, "write_s": 3.0}}
    path.write_text(yaml.safe_dump(without), encoding="utf-8")
    assert main(["run", str(path), "--trace", str(trace)]) == 0
    assert starts_in_writes(trace.read_text(encoding="utf-8").splitlines())
    assert load_scenario(path).digest() == "8ee4b9c0d81a878c42a6c8149b4026ea"
    assert (
        load_scenario(path, {"checkpoint.blocking": "true"}).digest()
        != "8ee4b9c0d81a878c42a6c8149b4026ea"
    )
