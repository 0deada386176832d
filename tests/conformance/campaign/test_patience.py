"""Patience: the first run that stands still is waited for in full, and later ones less long."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cellspec import ColumnDescriptor
from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.campaign.causes import Causes
from cellspec.conformance.campaign.options import Options
from cellspec.conformance.campaign.patience import Patience
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.harness import CIRCLES_S, STALL_S, run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend
from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.workload import Workload
from tests.tiny import TinyAsync

WORK = Workload((ColumnDescriptor("a"),), rows=2)
ENDED, STOOD_STILL = RunResult(WORK, {}), RunResult(WORK, {}, stood_still_s=STALL_S)


def patience() -> Patience:
    return Patience(lambda work, *_: RunResult(work, {}))


def test_every_run_is_waited_for_in_full_until_one_stands_still() -> None:
    runs = patience()
    runs.note(ENDED, 0.01)
    assert runs.wait_s == STALL_S
    runs.note(STOOD_STILL, STALL_S)
    assert runs.wait_s == 2.0


def test_an_engine_whose_runs_are_slow_is_waited_for_longer_and_never_longer_than_in_full() -> None:
    runs = patience()
    runs.note(STOOD_STILL, STALL_S)
    runs.note(ENDED, 1.5)
    assert runs.wait_s == 6.0
    runs.note(ENDED, 60.0)
    assert runs.wait_s == STALL_S


def test_in_virtual_time_counts_alone_say_how_long_a_run_is_waited_for() -> None:
    said: list[str] = []
    runs = Patience(lambda work, *_: RunResult(work, {}), said.append)
    runs.note(RunResult(WORK, {}, part_used=0.002), 600.0)
    assert runs.wait_s == STALL_S
    runs.note(RunResult(WORK, {}, part_used=1.0, stood_still_s=CIRCLES_S), 600.0)
    assert runs.wait_s == STALL_S / 20
    runs.note(RunResult(WORK, {}, part_used=0.05), 0.0)
    assert runs.wait_s == STALL_S / 5
    runs.note(RunResult(WORK, {}, part_used=0.5), 0.0)
    assert runs.wait_s == STALL_S
    assert said == []


@pytest.mark.clause("SCHED-12")
def test_an_engine_in_virtual_time_that_turns_in_circles_costs_little_once_that_is_known() -> None:
    class WaitsBusily(TinyAsync):
        async def run(self, probe: Probe) -> None:
            await super().run(probe)
            while probe.rows > 1:
                await asyncio.sleep(0)

    backend: Any = WaitsBusily()
    runs = Patience(
        lambda work, waive, stall_s: run_workload(backend, work, waive=waive, stall_s=stall_s)
    )
    first, again = runs.run(WORK), runs.run(WORK)
    assert (first.stood_still_s, again.stood_still_s) == (CIRCLES_S, CIRCLES_S / 20)
    assert "10,400 iterations without any time passing" in first.violations[0].detail
    assert "520 iterations without any time passing" in again.violations[0].detail
    # The smallest workload is told as if it had been found first.
    causes = Causes(runs.run, patient=runs.run_in_full)
    found = causes.sort(runs.run(WORK.replace(rows=5)))
    (failure,) = found.failures
    assert failure.workload.rows == 2
    assert "10,400 iterations without any time passing" in failure.detail


@pytest.mark.clause("SCHED-12")
def test_a_run_that_is_given_up_sooner_the_second_time_does_not_count_as_another_one() -> None:
    class Writes(TinyAsync):
        async def run(self, probe: Probe) -> None:
            while True:
                probe.checkpoint_failed()

    backend: Any = Writes()
    runs = Patience(
        lambda work, waive, stall_s: run_workload(backend, work, waive=waive, stall_s=stall_s / 10)
    )
    causes = Causes(runs.run, runs=0)
    done = run_campaign(runs.run, "core", max_examples=1, causes=causes)
    assert done.evidence.stopped_at == ""
    assert (done.evidence.repeated, done.evidence.unequal) == (1, "")


def test_the_suite_says_at_once_that_a_run_stands_still_and_waits_less_long_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []

    def run(_: Backend, work: Workload, *, stall_s: float, **__: object) -> RunResult:
        waits.append(stall_s)
        return RunResult(work, {}, stood_still_s=stall_s)

    monkeypatch.setattr("cellspec.conformance.campaign.suite.run_workload", run)
    suite = Suite.of(Options("reference", folder=Path()))
    said: list[str] = []
    suite.say = said.append
    for _ in range(3):
        suite.run(WORK)
    assert waits == [STALL_S, 2.0, 2.0]
    (line,) = said
    assert line.startswith("nothing happened for 20 s in a run of 1 column × 2 rows: the engine ")
