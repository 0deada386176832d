"""Other cases of the same kinds, each with its figure by hand or by a closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest

from tests.recompute.runner import run

Data = dict[str, Any]


def scenario(latency: Data, rows: int, places: int, **words: Any) -> Data:
    """One column on a resource."""
    traits = ["START", "CELL_BY_CELL"]
    return {
        "name": "kind",
        "rows": rows,
        "columns": [{"name": "call", "traits": traits, "resource": "chat", "latency": latency}],
        "limits": {"workers": places, "resources": {"chat": places}},
        "policy": "fifo",
        **words,
    }


def constant(seconds: float) -> Data:
    return {"model": "constant", "value_s": seconds}


def request(output: int, prompt: int = 0, most: int | None = None) -> Data:
    found = {"model": "request", "output_tokens": {"model": "constant", "value": output}}
    found |= {"prompt_tokens": {"model": "constant", "value": prompt}} if prompt else {}
    return found if most is None else {**found, "max_output_tokens": most}


def crashing(at_s: float, **endpoint: Any) -> Data:
    """An endpoint whose client's process dies once."""
    return {"endpoints": {"chat": endpoint}, "crashes": [{"at_time_s": at_s}]}


FLAT = {1: 0.01, 64: 0.01}
BY_HAND: Mapping[str, tuple[Data, Mapping[str, float]]] = {
    # One is served to 2 s, the next to 3 s, when all others are given up in line.
    "calls whose turn comes when they are given up are not paid": (
        scenario(
            request(20, 100),
            100,
            100,
            endpoints={
                "chat": {
                    "tpot_s": {1: 0.1},
                    "beyond": "hold",
                    "max_in_flight": 1,
                    "price": {"prompt_per_million": 1e4},
                }
            },
            failures={"timeout_s": 3, "max_attempts": 1},
        ),
        {"makespan_s": 3.0, "cost": 2.0},
    ),
    # 20 calls ended, 10 were cut off, and all 100 are made after it; each is 0.001.
    "all calls that ran are paid": (
        scenario(
            request(250, 1000),
            100,
            10,
            **crashing(
                6.0,
                tpot_s=FLAT,
                price={"prompt_per_million": 0.5, "output_per_million": 2.0},
            ),
        ),
        {"cost": 0.13, "makespan_s": 31.0},
    ),
    # The 10 calls that the crash cut off emptied the bucket, which fills in 100 s.
    "a bucket keeps its level over a crash": (
        scenario(constant(1.0), 10, 10, **crashing(0.5, limits=[{"requests": 10, "per_s": 100}])),
        {"makespan_s": 101.0},
    ),
    # Full 1,000, less 2 x 500; at 0.5 s it has 5, and 2 x 400 come back. One call takes 500 of it;
    # the other lacks 195, which take 19.5 s, and then its own 1 s.
    "what was reserved comes back at a crash": (
        scenario(
            request(100, most=500),
            2,
            2,
            **crashing(
                0.5,
                tpot_s=FLAT,
                limits=[{"tokens": 1000, "per_s": 100, "charge": "reserved", "give_back": True}],
            ),
        ),
        {"makespan_s": 21.0},
    ),
    # Warm from 12 s on; the crash at 13 s loses the first wave; two waves from 15 s on.
    "an endpoint is warm still after a crash": (
        scenario(
            constant(1.5),
            8,
            4,
            restart_delay_s=2.0,
            **crashing(13.0, cold_start={"first_s": 12.0}),
        ),
        {"makespan_s": 18.0},
    ),
    # Waves of 4 calls of 10 s from the crash on, however the client's limit moves meanwhile.
    "a throttle begins anew after a crash": (
        scenario(
            constant(10.0),
            30,
            16,
            throttle={"chat": {"start": 16}},
            **crashing(
                5.0,
                max_in_flight=4,
                queue=0,
                refusal={"latency_s": 0.1, "retry_after": "none"},
            ),
        ),
        {"makespan_s": 85.0},
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_figure_is_what_it_is_by_hand(name: str, tmp_path: Path) -> None:
    data, figures = BY_HAND[name]
    done = run(data, tmp_path, trace=False)
    assert not done.code, done.said
    got = {figure: done.printed[figure] for figure in figures}
    assert got == pytest.approx(figures, rel=1e-9)


@pytest.mark.parametrize(
    ("places", "shares", "rows"),
    [(6, {"a": 2, "b": 1}, 120), (16, {"a": 5, "b": 2, "c": 1}, 160), (10, {"a": 1, "b": 9}, 90)],
)
def test_shares_are_those_of_the_places(
    places: int, shares: dict[str, int], rows: int, tmp_path: Path
) -> None:
    one = scenario(constant(1.0), rows, places, shares={"chat": shares})
    columns = [{**one["columns"][0], "name": name} for name in shares]
    printed = run({**one, "columns": columns}, tmp_path, trace=False).printed
    # What one column leaves the others take: no place is ever free.
    assert printed["makespan_s"] == pytest.approx(rows * len(shares) / places)
    assert printed["mean_in_flight"] == pytest.approx(places)


def near(data: Data, figures: Mapping[str, float], runs: int, folder: Path) -> None:
    """The mean of each figure over seeds is within 4 of its standard errors."""
    got: dict[str, list[float]] = {figure: [] for figure in figures}
    for seed in range(runs):
        done = run({**data, "seed": seed}, folder, trace=False)
        assert not done.code, done.said
        for figure, values in got.items():
            values.append(done.printed[figure])
    for figure, want in figures.items():
        assert abs(fmean(got[figure]) - want) <= 4 * stdev(got[figure]) / math.sqrt(runs), figure


@pytest.mark.theory
@pytest.mark.parametrize(
    ("rows", "every", "row_s", "write_s", "between_s", "restart_s"),
    [(150, 15, 2, 5, 60, 10), (120, 5, 3, 8, 50, 3), (60, 60, 1, 20, 80, 7)],
)
def test_writes_that_block_between_crashes(
    rows: int,
    every: int,
    row_s: float,
    write_s: float,
    between_s: float,
    restart_s: float,
    tmp_path: Path,
) -> None:
    work_s = row_s * every
    crashed, crashed_at_work = (-math.expm1(-s / between_s) for s in (work_s + write_s, work_s))
    kept = 1 - crashed + (crashed - crashed_at_work) / 2
    data = scenario(
        constant(row_s),
        rows,
        1,
        checkpoint={"every_rows": every, "write_s": write_s, "blocking": True},
        crashes=[{"random": {"mean_s": between_s}}],
        restart_delay_s=restart_s,
    )
    expected = rows / every * (between_s + restart_s) * crashed / kept
    near(data, {"makespan_s": expected}, 200, tmp_path)


@pytest.mark.theory
@pytest.mark.parametrize(("mean_s", "between_s", "restart_s"), [(2.0, 3.0, 1.0), (0.5, 4.0, 0.0)])
def test_calls_that_take_a_fresh_time(
    mean_s: float, between_s: float, restart_s: float, tmp_path: Path
) -> None:
    data = scenario(
        {"model": "exponential", "mean_s": mean_s},
        100,
        1,
        checkpoint={"every_rows": 1},
        crashes=[{"random": {"mean_s": between_s}}],
        restart_delay_s=restart_s,
        redo="fresh",
    )
    near(data, {"makespan_s": 100 * (mean_s + restart_s * mean_s / between_s)}, 100, tmp_path)


@pytest.mark.theory
@pytest.mark.parametrize(("timeout_s", "mean_s", "attempts"), [(3.0, 2.0, 2), (5.0, 5.0, 4)])
def test_calls_that_time_out(
    timeout_s: float, mean_s: float, attempts: int, tmp_path: Path
) -> None:
    late = math.exp(-timeout_s / mean_s)
    busy_s = mean_s * (1 - late) * sum(late**k for k in range(attempts))
    rest = {"first_s": 0.5, "factor": 1.0, "most_s": 0.5}
    failures = {"max_attempts": attempts, "timeout_s": timeout_s, "cool_down": rest}
    data = scenario({"model": "exponential", "mean_s": mean_s}, 200, 1, failures=failures)
    figures = {"worker_busy_s": 200 * busy_s, "rows_dropped": 200 * late**attempts}
    near(data, figures, 100, tmp_path)


@pytest.mark.theory
@pytest.mark.parametrize(("accepted", "rate", "places"), [(30, 0.4, 5), (40, 0.8, 12)])
def test_rows_until_enough_are_accepted(
    accepted: int, rate: float, places: int, tmp_path: Path
) -> None:
    rng, waves = np.random.default_rng(3), []
    for _ in range(20_000):
        found = count = 0
        while found < accepted:
            found, count = found + rng.binomial(places, rate), count + 1
        waves.append(count)
    words = {"accept": {"rows": accepted, "rate": rate}}
    data = scenario(constant(3.0), 5000, places, **words)
    figures = {"makespan_s": 3 * fmean(waves), "rows_tried": places * fmean(waves)}
    near(data, figures, 100, tmp_path)


@pytest.mark.theory
@pytest.mark.parametrize(("together", "wide", "narrow"), [(0.5, 0.6, 0.6), (0.25, 0.9, 0.4)])
def test_rows_whose_calls_go_together(
    together: float, wide: float, narrow: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    shape = (100_000, 12)
    row = math.sqrt(together) * rng.standard_normal(shape)
    own = math.sqrt(1 - together)
    seconds = 2 * np.exp(wide * (row + own * rng.standard_normal(shape)))
    seconds += 3 * np.exp(narrow * (row + own * rng.standard_normal(shape)))
    first = {"model": "lognormal", "median_s": 2.0, "sigma": wide}
    second = {"model": "lognormal", "median_s": 3.0, "sigma": narrow}
    data = scenario(first, 240, 64, row_effect={"columns": ["call", "b"], "correlation": together})
    after = {"name": "b", "traits": ["CELL_BY_CELL"], "dependencies": ["call"], "latency": second}
    data["columns"].append(after)
    data["limits"]["row_groups"] = {"rows": 12, "admitted": 1}
    near(data, {"makespan_s": 20 * float(seconds.max(1).mean())}, 100, tmp_path)
