"""Calls that run again after a crash: the same numbers (``same``), or new ones (``fresh``)."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from sim.scenario.distributions import Exponential, Lognormal
from sim.scenario.loader import load_scenario
from sim.scenario.remarks import remarks
from sim.scenario.sampler import BLOCK_ROWS, ColumnLatency, LatencySource
from sim.scenario.scenario import Scenario
from sim.scenario.tokens import Request
from sim.simulation import make_simulator
from sim.simulator.call_outcomes import ColumnRates, DrawnOutcomes
from sim.simulator.outcome import Outcome

BASE: dict[str, Any] = {
    "name": "t",
    "rows": 60,
    "columns": [
        {
            "name": "call",
            "traits": ["START", "CELL_BY_CELL"],
            "latency": {"model": "exponential", "mean_s": 1.0},
        }
    ],
    "limits": {"workers": 1},
    "checkpoint": {"every_rows": 1},
    "crashes": [{"random": {"mean_s": 3.0, "count": 100_000}}],
    "restart_delay_s": 0.5,
}


def scenario(folder: Path, **changes: Any) -> Scenario:
    data = {name: value for name, value in {**BASE, **changes}.items() if value is not None}
    file = folder / "s.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return load_scenario(file)


def run(found: Scenario, *, stepwise: bool = False) -> Outcome:
    events: list[Any] = []
    notify = (lambda *event, **fields: events.append((event, fields))) if stepwise else None
    return make_simulator(found, notify).run()


def test_the_first_incarnation_meets_the_numbers_of_a_run_without_crashes() -> None:
    columns = [ColumnLatency("a", Exponential(mean_s=1.0))]
    source, never = LatencySource(7, columns, 5000), LatencySource(7, columns, 5000)
    first = [source.get(0, row, attempt) for row in range(200) for attempt in (1, 2)]
    reader = source.reader(0)
    source.begin(1)
    assert reader(3) == source.get(0, 3) != first[6], "a reader follows too"
    again = [source.get(0, row, attempt) for row in range(200) for attempt in (1, 2)]
    barrier = source.get_barrier(0, 5)
    assert not set(first) & set(again)
    source.begin(2)
    assert source.get(0, 3) not in {first[6], again[6]}
    assert source.get_barrier(0, 5) != barrier
    source.begin(0)
    assert first == [never.get(0, row, attempt) for row in range(200) for attempt in (1, 2)]
    assert source.get(0, 3) == first[6]


def test_what_is_drawn_anew_has_the_same_distribution() -> None:
    source = LatencySource(7, [("a", Lognormal(median_s=2.0, sigma=0.5))], 20_000)
    source.begin(3)
    values = [source.get(0, row) for row in range(20_000)]
    error = statistics.pstdev(values) / math.sqrt(len(values))
    assert abs(statistics.fmean(values) - 2 * math.exp(0.125)) < 4 * error
    longer = LatencySource(7, [("a", Lognormal(median_s=2.0, sigma=0.5))], 40_000)
    longer.begin(3)
    assert [longer.get(0, row) for row in range(BLOCK_ROWS)] == values[:BLOCK_ROWS]


def test_failures_and_backoffs_are_drawn_anew_and_skips_are_not() -> None:
    def all_of(outcomes: DrawnOutcomes) -> list[list[Any]]:
        rows = range(400)
        return [
            [outcomes.of_cell(0, row, 1) for row in rows],
            [outcomes.of_barrier(0, row, 1) for row in rows],
            [outcomes.backoff_s(0, row, 1, "retryable") for row in rows],
            [outcomes.skips(0, row) for row in rows],
        ]

    rates = [ColumnRates(retryable=0.2, backpressure=0.2, permanent=0.1, skip=0.5)]
    outcomes = DrawnOutcomes(5, rates, jitter=0.5)
    first = all_of(outcomes)
    outcomes.begin(1)
    second = all_of(outcomes)
    assert [a != b for a, b in zip(first, second, strict=True)] == [True, True, True, False]
    for kind, share in (("retryable", 0.2), ("permanent", 0.1)):
        assert second[0].count(kind) / 400 == pytest.approx(share, abs=4 * 0.02)
    outcomes.begin(0)
    assert all_of(outcomes) == first


def test_a_sum_counts_the_incarnation_that_gave_the_value() -> None:
    def request(**fields: Any) -> Request:
        return Request.model_validate({"model": "request", **fields})

    draft = request(output_tokens={"model": "exponential", "mean": 100})
    judge = request(output_tokens={"model": "sum", "of": ["draft.output_tokens"]})
    source = LatencySource(1, [("draft", draft), ("judge", judge)], 50)
    old = [source.tokens(0, row)[1] for row in range(50)]
    source.begin(1)
    new = source.tokens(0, 7)[1]
    assert new != old[7]
    source.counts.gave(0, 7, 1)
    assert source.tokens(1, 7)[1] == new
    assert source.tokens(1, 6)[1] == old[6], "made before the crash"
    source.begin(2)
    assert source.tokens(1, 7)[1] == new
    source.counts.gave(0, 6, 0)
    assert source.tokens(1, 6)[1] == 0


def test_a_call_that_runs_again_takes_a_new_time(tmp_path: Path) -> None:
    """One row, no checkpoint: the long call that a crash cuts off is short another time."""
    mean_s = {
        redo: statistics.fmean(
            run(scenario(tmp_path, rows=1, redo=redo, seed=seed)).makespan_s for seed in range(120)
        )
        for redo in ("fresh", "same")
    }
    # A call of mean m = 1, crashes each M = 3 s, a restart of D = 0.5 s.
    assert mean_s["fresh"] == pytest.approx(1 + 0.5 / 3, abs=0.4)
    # The same time again: (M + D)(E[e^(t/M)] - 1).
    assert mean_s["same"] > mean_s["fresh"]


def test_both_simulators_draw_anew_alike(tmp_path: Path) -> None:
    found = scenario(tmp_path, redo="fresh")
    plain, stepwise = run(found), run(found, stepwise=True)
    assert plain.fingerprint == stepwise.fingerprint
    assert len(plain.incarnations) > 5
    assert plain.makespan_s != run(scenario(tmp_path)).makespan_s


def test_without_a_crash_nothing_changes(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"crashes": None, "restart_delay_s": None}
    same = run(scenario(tmp_path, **changes))
    assert run(scenario(tmp_path, **changes, redo="fresh")).fingerprint == same.fingerprint


def test_files_without_the_word_keep_the_same_numbers_and_digest(tmp_path: Path) -> None:
    silent, same = scenario(tmp_path), scenario(tmp_path, redo="same")
    assert run(silent).fingerprint == run(same).fingerprint
    assert silent.redo is None
    assert len({silent.digest(), same.digest(), scenario(tmp_path, redo="fresh").digest()}) == 3


def test_crashes_and_random_latencies_without_the_word_are_pointed_out(tmp_path: Path) -> None:
    def said(**changes: Any) -> list[str]:
        return [text for text in remarks(scenario(tmp_path, **changes)) if "redo" in text]

    (text,) = said()
    assert text.startswith("redo is not given: a call that a crash cuts off takes the same time")
    assert not said(redo="same")
    assert not said(redo="fresh")
    assert not said(crashes=None)
    (column,) = BASE["columns"]
    assert not said(columns=[{**column, "latency": {"model": "constant", "value_s": 1}}])
    listed = {"model": "list", "values_s": [1.0] * 60}
    assert not said(columns=[{**column, "latency": listed}])


def test_a_prompt_holds_the_answer_that_was_drawn_anew(tmp_path: Path) -> None:
    """Through crashes, failed attempts and skipped cells, as the trace of the run has it."""

    def column(name: str, **fields: Any) -> dict[str, Any]:
        request = {"model": "request", "output_tokens": {"model": "exponential", "mean": 50}}
        latency = {**request, **fields.pop("latency", {})}
        return {
            "name": name,
            "traits": ["CELL_BY_CELL"],
            "resource": "chat",
            "latency": latency,
        } | (fields)

    answers = {"model": "sum", "of": ["draft.output_tokens"], "plus": 300}
    found = scenario(
        tmp_path,
        columns=[
            column("draft", traits=["START", "CELL_BY_CELL"], skip_rate=0.2),
            column(
                "judge",
                dependencies=["draft"],
                propagate_skip=False,
                latency={"prompt_tokens": answers},
            ),
        ],
        limits={"workers": 8, "resources": {"chat": 8}},
        endpoints={"chat": {"tpot_s": {1: 0.01, 8: 0.02}}},
        checkpoint={"every_rows": 5, "version": 3},
        failures={"max_attempts": 9, "default": {"retryable": 0.3}},
        redo="fresh",
    )
    drawn: dict[int, float] = {}
    kept: dict[int, float] = {}
    seen = []

    def notify(kind: str, _: float, **fields: Any) -> None:
        row = fields.get("rows", -1)
        if kind == "request" and fields["request"].step == "sent":
            step = fields["request"]
            if fields["column"] == "draft":
                drawn[row] = step.output_tokens
            else:
                assert step.prompt_tokens == 300 + kept.get(row, 0.0)
                seen.append(row)
        elif kind == "complete" and fields.get("column") == "draft":
            kept[row] = drawn[row]

    outcome = make_simulator(found, notify).run()
    assert len(outcome.incarnations) > 3
    assert set(seen) == set(range(60))
