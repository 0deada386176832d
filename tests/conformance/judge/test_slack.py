"""Slack: in real time an engine is judged for being idle only by a caller who says from when on."""

from __future__ import annotations

import time

import pytest

from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.run.probe import Probe
from cellspec.conformance.run.values import Table
from cellspec.conformance.run.workload import Workload
from cellspec.engines.reference import ThreadBackend
from cellspec.graph.columns import ColumnDescriptor
from tests.matrix.engine_measure import workload

TWO = Workload((ColumnDescriptor("a"),), rows=2, latency_s={"a": 0.0})


class Sleeper:
    """Sleeps between its two calls, in real time."""

    name = "sleeper"
    version = "1"
    capabilities = frozenset({"core"})
    sleep_s = 0.4

    def __init__(self) -> None:
        self.values: dict[int, dict[str, str]] = {}

    def run(self, probe: Probe) -> None:
        for row in range(probe.rows):
            self.values[row] = {"a": str(probe.cell_sync("a", row, {}))}
            time.sleep(self.sleep_s)
        probe.durable("", 0, probe.rows)
        probe.end("success")

    def table(self, probe: Probe) -> Table:  # noqa: ARG002
        return Table(dict(self.values))


class DeclaredSleeper(Sleeper):
    """Says how long it sleeps."""

    idle_s = 0.5


@pytest.mark.clause("SCHED-15")
@pytest.mark.parametrize(
    ("backend", "slack_s", "clause"),
    [
        (Sleeper, 0.0, ""),
        (Sleeper, 0.1, "SCHED-15"),
        (DeclaredSleeper, 30.0, ""),
    ],
)
def test_an_engine_that_sleeps_for_longer_than_the_slack_is_idle(
    backend: type[Sleeper], slack_s: float, clause: str
) -> None:
    result = run_workload(backend(), TWO, slack_s=slack_s)
    assert [one.clause for one in result.violations] == ([clause] if clause else [])


@pytest.mark.clause("SCHED-09", "SCHED-15", "GROUP-06")
def test_the_engine_on_threads_is_never_idle_for_long() -> None:
    for number in range(1, 25):
        result = run_workload(ThreadBackend(), workload(number), slack_s=2.0)
        assert not result.violations, result.explanation
