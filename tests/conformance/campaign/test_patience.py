"""Patience: the first run that stands still is waited for in full, and later ones less long."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellspec import ColumnDescriptor
from cellspec.conformance.campaign.options import Options
from cellspec.conformance.campaign.patience import Patience
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.harness import STALL_S
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend
from cellspec.conformance.run.workload import Workload

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
