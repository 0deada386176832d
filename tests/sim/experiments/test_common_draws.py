"""Where random numbers are common to two scenarios, as ``simulations/experiments.md`` has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sim.experiments.replication import replicate
from sim.scenario.loader import load_scenario

PLAIN = """
name: draws
rows: 30
columns:
  - {name: topic, traits: [START, ROW_STREAMABLE]}
  - name: answer
    traits: [CELL_BY_CELL]
    dependencies: [topic]
    resource: chat
    latency: {model: lognormal, median_s: 2, p99_s: 9}
limits: {workers: 8, resources: {chat: 4}}
"""
FAILING = "failures: {max_attempts: 9, by_resource: {chat: {retryable: 0.3}}}\n"
FIRST = "  - {name: first, traits: [START, ROW_STREAMABLE]}\n  - {name: topic,"


Figures = Callable[..., dict[str, float]]


@pytest.fixture
def figures(tmp_path: Path) -> Figures:
    def of(text: str, **sets: str) -> dict[str, float]:
        path = tmp_path / "a.yaml"
        path.write_text(text)
        found = replicate(load_scenario(path, sets), 3)
        return {name: found.value(name) or 0.0 for name in ("worker_busy_s", "calls", "makespan_s")}

    return of


def test_another_limit_or_policy_meets_the_same_latencies(figures: Figures) -> None:
    a = figures(PLAIN)
    for sets in ({"limits.resources.chat": "3"}, {"policy": "column-first"}):
        assert figures(PLAIN, **sets)["worker_busy_s"] == pytest.approx(a["worker_busy_s"])


def test_another_median_scales_each_call(figures: Figures) -> None:
    latency = "{model: lognormal, median_s: 3, p99_s: 13.5}"
    b = figures(PLAIN, **{"columns.answer.latency": latency})
    assert b["makespan_s"] == pytest.approx(1.5 * figures(PLAIN)["makespan_s"])


def test_latencies_are_functions_of_the_name_of_a_column(figures: Figures) -> None:
    renamed = figures(PLAIN.replace("answer", "reply"))
    assert renamed["worker_busy_s"] != pytest.approx(figures(PLAIN)["worker_busy_s"])


def test_failures_are_functions_of_the_number_of_a_column(figures: Figures) -> None:
    more = PLAIN.replace("  - {name: topic,", FIRST, 1)
    assert figures(more)["worker_busy_s"] == pytest.approx(figures(PLAIN)["worker_busy_s"])
    a, b = figures(PLAIN + FAILING), figures(more + FAILING)
    assert a["calls"] > figures(PLAIN)["calls"]
    # Calls that fail are others; the column `first` adds a call for each row.
    assert b["worker_busy_s"] != pytest.approx(a["worker_busy_s"])
