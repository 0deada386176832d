"""The row effect: distributions stay, scores of one row are correlated, and bad input is named."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from cellspec.errors import SpecError
from sim.scenario.distributions import LatencyModel
from sim.scenario.latency import LATENCY_MODELS, Latency
from sim.scenario.loader import load_scenario
from sim.scenario.row_effect import RowEffect
from sim.scenario.sampler import BLOCK_ROWS, ColumnLatency, LatencySource
from sim.scenario.scenario import Scenario

_ADAPTER: TypeAdapter[LatencyModel] = TypeAdapter(Latency)

EXAMPLES: dict[str, dict[str, Any]] = {
    "uniform": {"low_s": 1.0, "high_s": 3.0},
    "exponential": {"mean_s": 2.0},
    "lognormal": {"median_s": 2.0, "sigma": 0.6},
    "weibull": {"scale_s": 2.0, "shape": 1.5},
    "pareto": {"minimum_s": 1.0, "alpha": 4.0},
    "quantiles": {"quantiles_s": {0: 1.0, 0.5: 2.0, 0.9: 4.0, 1: 9.0}},
}


def model(kind: str, **fields: Any) -> LatencyModel:
    return _ADAPTER.validate_python({"model": kind, **(fields or EXAMPLES[kind])})


def source(
    correlation: float, *models: LatencyModel, rows: int = 20_000, seed: int = 3
) -> LatencySource:
    effect = RowEffect(seed, range(len(models)), correlation, None)
    columns = [ColumnLatency(f"c{i}", item) for i, item in enumerate(models)]
    return LatencySource(seed, columns, rows, blocks_per_column=None, row_effect=effect)


def column(found: LatencySource, index: int, rows: int = 20_000, attempt: int = 1) -> list[float]:
    return [found.get(index, row, attempt) for row in range(rows)]


# Distributions


def closed_form(kind: str, p: float) -> float:
    """The quantile at p, by the definition of the distribution."""
    if kind == "lognormal":
        return 2 * math.exp(0.6 * statistics.NormalDist().inv_cdf(p))
    found: float = {
        "uniform": 1 + 2 * p,
        "exponential": -2 * math.log(1 - p),
        "weibull": 2 * (-math.log(1 - p)) ** (1 / 1.5),
        "pareto": (1 - p) ** -0.25,
        "quantiles": float(np.interp(p, [0, 0.5, 0.9, 1], [1, 2, 4, 9])),
    }[kind]
    return found


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_a_quantile_is_the_closed_form(kind: str) -> None:
    normal = statistics.NormalDist()
    for p in (1e-9, 0.01, 0.25, 0.5, 0.9, 0.999, 1 - 1e-9):
        (found,) = model(kind).quantile(np.array([normal.inv_cdf(p)]))
        assert found == pytest.approx(closed_form(kind, p), rel=1e-6)
    far = model(kind).quantile(np.array([-30.0, 30.0]))
    assert np.isfinite(far).all()


def test_the_models_with_quantiles_are_those_above() -> None:
    known = {"constant", "gamma", "mixture", "trace", "tokens", "list", "request", *EXAMPLES}
    assert set(LATENCY_MODELS) == known
    assert all(model(kind).has_quantile for kind in EXAMPLES)
    gamma = model("gamma", mean_s=2.0, shape=3.0)
    assert not gamma.has_quantile
    with pytest.raises(NotImplementedError):
        gamma.quantile(np.zeros(1))


@pytest.mark.parametrize("correlation", [0.0, 0.6, 1.0])
def test_a_column_that_replays_a_trace_keeps_its_numbers(
    correlation: float, tmp_path: Path
) -> None:
    recorded = [float(n * n) for n in range(10)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["s", *map(str, reversed(recorded))]) + "\n", encoding="utf-8")
    trace = model("trace", file=str(path), column_s="s")
    found = source(correlation, trace, model("lognormal"))
    values = column(found, 0)
    for number in recorded:
        share = values.count(number) / len(values)
        assert share == pytest.approx(0.1, abs=4 * 0.3 / math.sqrt(len(values)))
    if correlation == 1:
        # The tenth of the rows that is longest in one column is longest in the other.
        scores = column(found, 1)
        longest = sorted(scores)[-len(values) // 20 :][0]
        assert {v for v, s in zip(values, scores, strict=True) if s >= longest} == {81.0}
    far = trace.quantile(np.array([-30.0, 30.0]))
    assert far.tolist() == [0.0, 81.0]


@pytest.mark.long
@pytest.mark.parametrize("correlation", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_each_column_keeps_its_distribution(kind: str, correlation: float) -> None:
    values = column(source(correlation, model(kind)), 0)
    error = statistics.pstdev(values) / math.sqrt(len(values))
    assert abs(statistics.fmean(values) - model(kind).mean_s()) <= 4 * error
    for p in (0.1, 0.5, 0.9):
        share = sum(value <= closed_form(kind, p) for value in values) / len(values)
        assert share == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / len(values)))


# What a row has in common


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6, 1.0])
def test_the_normal_scores_of_two_columns_have_the_correlation(correlation: float) -> None:
    log = model("lognormal", median_s=1.0, sigma=1.0)
    found = source(correlation, log, log)
    scores = [np.log(column(found, index)) for index in (0, 1)]
    measured = float(np.corrcoef(scores[0], scores[1])[0, 1])
    assert measured == pytest.approx(correlation, abs=4 * (1 - correlation**2) / 140 + 1e-9)
    again = np.log(column(found, 0, 5_000, attempt=2))
    measured = float(np.corrcoef(scores[0][:5_000], again)[0, 1])
    assert measured == pytest.approx(correlation, abs=4 * (1 - correlation**2) / 70 + 1e-9)


def test_with_the_whole_correlation_a_row_has_one_score() -> None:
    found = source(1.0, model("lognormal"), model("exponential"), rows=3000)
    below = statistics.NormalDist().cdf
    for row in (0, 1, 127, 128, BLOCK_ROWS, 2999):
        score = math.log(found.get(0, row) / 2) / 0.6
        assert found.get(1, row) == pytest.approx(-2 * math.log(1 - below(score)))
        assert found.get(0, row, 3) == found.get(0, row), "later attempts are of the same row"
    found.begin(1)
    assert found.get(0, 5) == source(1.0, model("lognormal")).get(0, 5), "and later incarnations"


def test_the_columns_that_take_no_part_draw_as_before() -> None:
    exponential = model("exponential")
    effect = RowEffect(3, [1], 0.5, None)
    mixed = LatencySource(3, [("a", exponential), ("b", exponential)], 100, row_effect=effect)
    plain = LatencySource(3, [("a", exponential), ("b", exponential)], 100)
    assert column(mixed, 0, 100) == column(plain, 0, 100)
    assert not set(column(mixed, 1, 100)) & set(column(plain, 1, 100))
    constant = source(0.5, model("constant", value_s=2.0), rows=10)
    assert column(constant, 0, 10) == [2.0] * 10


def test_more_rows_and_other_columns_change_no_draw() -> None:
    models = [model("lognormal"), model("weibull")]
    small, large = source(0.6, *models, rows=1500), source(0.6, *models, rows=30_000)
    alone = source(0.6, models[0], rows=30_000)
    large.get(0, 29_999)
    for row in (0, 700, 1499):
        assert small.get(0, row) == large.get(0, row) == alone.get(0, row)
        assert small.get(1, row, 2) == large.get(1, row, 2)


def test_both_counts_of_a_request_take_part() -> None:
    counts = {
        "prompt_tokens": {"model": "lognormal", "median": 1000, "sigma": 1.0},
        "output_tokens": {"model": "lognormal", "median": 100, "sigma": 1.0},
    }
    found = source(0.8, model("request", **counts), model("request", **counts), rows=20_000)
    scores = [
        np.log([found.tokens(index, row)[part] for row in range(20_000)])
        for index in (0, 1)
        for part in (0, 1)
    ]
    for one in range(4):
        for other in range(one):
            measured = float(np.corrcoef(scores[one], scores[other])[0, 1])
            assert measured == pytest.approx(0.8, abs=0.012)


# Scenario files


def scenario(folder: Path, effect: dict[str, Any] | None, **latencies: Any) -> Scenario:
    columns: list[dict[str, Any]] = [
        {"name": name, "traits": ["START"], "latency": latency}
        for name, latency in latencies.items()
    ]
    for item in columns:
        if item["latency"]["model"] == "request":
            item["resource"] = "chat"
    columns.append({"name": "all", "traits": ["BARRIER"], "dependencies": [columns[0]["name"]]})
    data = {
        "name": "t",
        "rows": 20,
        "columns": columns,
        "limits": {"workers": 4, "resources": {"chat": 4}},
        "endpoints": {"chat": {"tpot_s": {1: 0.02}, "beyond": "hold"}},
    }
    if not any("resource" in item for item in columns):
        del data["endpoints"]
    file = folder / "s.yaml"
    file.write_text(yaml.safe_dump(data | ({"row_effect": effect} if effect else {})))
    return load_scenario(file)


LOG = {"model": "lognormal", "median_s": 2.0, "sigma": 0.6}


def test_a_scenario_says_what_goes_together(tmp_path: Path) -> None:
    effect = {"columns": ["a", "b"], "correlation": 1}
    found = scenario(tmp_path, effect, a=LOG, b=LOG, c=LOG)
    a, b, c = (
        column(found.latency_source(), 0, 20),
        *(column(found.latency_source(), index, 20) for index in (1, 2)),
    )
    assert a == b != c
    plain = scenario(tmp_path, None, a=LOG, b=LOG, c=LOG)
    assert c == column(plain.latency_source(), 2, 20)
    assert plain.digest() != found.digest()
    again = tmp_path / "again.yaml"
    again.write_text(found.to_yaml())
    assert load_scenario(again).digest() == found.digest()


@pytest.mark.parametrize(
    ("effect", "message"),
    [
        (
            {"columns": ["a", "d"], "correlation": 0.5},
            "row_effect.columns[1]: no column 'd'; there are: 'a', 'b', 'c', 'all'",
        ),
        (
            {"columns": ["a"], "correlation": 1.5},
            "row_effect.correlation: expected at most 1, got 1.5",
        ),
        ({"columns": [], "correlation": 0.5}, "row_effect.columns: expected at least one item"),
        ({"columns": ["a"]}, "row_effect.correlation: is missing"),
        (
            {"columns": ["a", "all"], "correlation": 0.5},
            "row_effect.columns[1]: column 'all' is a barrier: its calls belong to no single row",
        ),
        (
            {"columns": ["b"], "correlation": 0.5},
            "row_effect.columns[0]: the latency of column 'b' is of model gamma, whose quantiles "
            "are not known here; take lognormal, quantiles, or a trace",
        ),
        (
            {"columns": ["c"], "correlation": 0.5},
            "row_effect.columns[0]: the output_tokens of column 'c' is of model gamma, whose "
            "quantiles are not known here; take lognormal, quantiles, or a trace",
        ),
    ],
)
def test_what_cannot_go_together_is_named_in_one_line(
    tmp_path: Path, effect: dict[str, Any], message: str
) -> None:
    gamma = {"model": "gamma", "mean_s": 2.0, "shape": 3}
    request = {"model": "request", "output_tokens": {"model": "gamma", "mean": 9, "shape": 3}}
    with pytest.raises(SpecError) as caught:
        scenario(tmp_path, effect, a=LOG, b=gamma, c=request)
    (line,) = str(caught.value).splitlines()
    assert line.partition("s.yaml:")[2].partition(": ")[2].startswith(message)


_PRINT = """
from sim.scenario.distributions import Lognormal
from sim.scenario.row_effect import RowEffect
from sim.scenario.sampler import LatencySource
model = Lognormal(median_s=2.0, sigma=0.5)
source = LatencySource(11, [("a", model)], 5000, row_effect=RowEffect(11, [0], 0.5, 8))
print([source.get(0, row, attempt).hex() for row in (0, 1, 4999) for attempt in (1, 2)])
"""


def test_every_process_and_hash_seed_gives_the_same_numbers() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _PRINT],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "4711")
    }
    assert len(outputs) == 1
