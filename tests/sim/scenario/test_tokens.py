"""Token counts of requests: the distribution asked for, one number per cell, sums, and faults."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from cellspec.errors import SpecError
from sim.scenario.distributions import LatencyModel
from sim.scenario.latency import Latency
from sim.scenario.loader import load_scenario
from sim.scenario.sampler import BLOCK_ROWS, SPARSE_ROWS, ColumnLatency, LatencySource
from sim.scenario.scenario import Scenario
from sim.scenario.tokens import TOKEN_MODELS

DATA = Path(__file__).parents[4] / "shared" / "data"

_ADAPTER: TypeAdapter[LatencyModel] = TypeAdapter(Latency)

ROWS = 3 * BLOCK_ROWS

EXAMPLES: dict[str, dict[str, Any]] = {
    "constant": {"value": 250},
    "uniform": {"low": 100, "high": 300},
    "exponential": {"mean": 120},
    "lognormal": {"median": 129, "p90": 424},
    "gamma": {"mean": 200, "shape": 3},
    "weibull": {"scale": 200, "shape": 1.5},
    "pareto": {"minimum": 100, "alpha": 4},
    "mixture": {
        "components": [
            {"weight": 3, "tokens": {"model": "exponential", "mean": 100}},
            {"weight": 1, "tokens": {"model": "lognormal", "median": 900, "sigma": 0.2}},
        ]
    },
    "quantiles": {"quantiles": {0: 1, 0.5: 200, 0.9: 400, 1: 900}},
}
"""One model of each kind that needs no file and no other column."""

MEANS = {
    "constant": 250,
    "uniform": 200,
    "exponential": 120,
    "lognormal": 129 * math.exp((math.log(424 / 129) / 1.2815515655446004) ** 2 / 2),
    "gamma": 200,
    "weibull": 200 * math.gamma(5 / 3),
    "pareto": 400 / 3,
    "mixture": 0.75 * 100 + 0.25 * 900 * math.exp(0.02),
    "quantiles": 0.5 * 100.5 + 0.4 * 300 + 0.1 * 650,
}


def request(folder: Path | None = None, /, **fields: Any) -> LatencyModel:
    data = {"model": "request", **fields}
    return _ADAPTER.validate_python(data, context={"folder": folder or Path()})


def example(kind: str) -> dict[str, Any]:
    return {"model": kind, **EXAMPLES[kind]}


def source(*columns: tuple[str, LatencyModel], seed: int = 1, rows: int = ROWS) -> LatencySource:
    return LatencySource(seed, columns, rows)


def draw(part: int, /, **fields: Any) -> list[float]:
    found = source(("a", request(**fields)), rows=40_000, seed=5)
    return [found.tokens(0, row)[part] for row in range(40_000)]


# Counts


def test_every_model_of_a_count_has_an_example() -> None:
    assert set(TOKEN_MODELS) == {*EXAMPLES, "list", "trace", "sum"}


@pytest.mark.parametrize("part", ["prompt_tokens", "output_tokens"])
@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_the_mean_of_many_counts_is_the_closed_form(kind: str, part: str) -> None:
    fields = {"output_tokens": example("constant"), part: example(kind)}
    at = ("prompt_tokens", "output_tokens").index(part)
    values = draw(at, **fields)
    error = statistics.pstdev(values) / math.sqrt(len(values))
    assert abs(statistics.fmean(values) - MEANS[kind]) <= 4 * error
    assert source(("a", request(**fields))).counts.mean_tokens(0)[at] == pytest.approx(MEANS[kind])
    if kind != "constant":
        assert any(value != int(value) for value in values), "drawn counts are not rounded"


@pytest.mark.parametrize(
    ("kind", "below", "share"),
    [
        ("exponential", 120, 1 - math.exp(-1)),
        ("lognormal", 129, 0.5),
        ("lognormal", 424, 0.9),
        ("quantiles", 400, 0.9),
    ],
)
def test_the_share_of_counts_below_a_point_is_the_closed_form(
    kind: str, below: float, share: float
) -> None:
    values = draw(1, output_tokens=example(kind))
    found = sum(value <= below for value in values) / len(values)
    assert found == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / len(values)))


def test_an_answer_is_cut_at_what_the_call_reserves() -> None:
    fields = {"output_tokens": {"model": "list", "values": [3, 200, 50.5]}}
    free, cut = (
        source(("a", request(**fields, **most)), rows=3)
        for most in ({}, {"max_output_tokens": 100})
    )
    assert [free.tokens(0, row) for row in range(3)] == [(0, 3, 3), (0, 200, 200), (0, 50.5, 50.5)]
    assert [cut.tokens(0, row) for row in range(3)] == [(0, 3, 100), (0, 100, 100), (0, 50.5, 100)]
    always = source(("a", request(output_tokens=example("constant"), max_output_tokens=128)))
    assert always.tokens(0, 7, 2) == (0, 128, 128)
    assert always.counts.mean_tokens(0) == (0, 128)


def test_a_list_has_the_same_count_in_every_attempt() -> None:
    values = [float(n) for n in range(ROWS)]
    found = source(("a", request(output_tokens={"model": "list", "values": values})))
    for row in (0, 1, BLOCK_ROWS, ROWS - 1):
        assert {found.tokens(0, row, attempt)[1] for attempt in (1, 2, 3)} == {row}


# One number per cell


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_a_count_depends_on_seed_column_row_and_attempt_alone(kind: str) -> None:
    model = request(prompt_tokens=example(kind), output_tokens=example(kind))
    cells = [(row, attempt) for row in (0, 5, BLOCK_ROWS, ROWS - 1) for attempt in (1, 2, 3)]
    alone = source(("a", model))
    expected = {cell: alone.tokens(0, *cell) for cell in cells}
    other = request(output_tokens=example("gamma"))
    beside = LatencySource(1, [("b", other), ("a", model)], 10 * ROWS, blocks_per_column=1)
    asked = cells * 2
    random.Random(3).shuffle(asked)
    for row, attempt in asked:
        beside.tokens(0, row, attempt)
        assert beside.tokens(1, row, attempt) == expected[row, attempt]
    if kind != "constant":
        assert len({value for found in expected.values() for value in found[:2]}) == 2 * len(cells)
        assert source(("a", model), seed=2).tokens(0, 0) != expected[0, 1]


def test_the_scopes_of_a_barrier_have_counts_too() -> None:
    model = request(output_tokens=example("exponential"), max_output_tokens=1e6)
    found = LatencySource(1, [ColumnLatency("v", model, scope_rows=4)], 10_000)
    counts = [found.tokens(0, scope)[1] for scope in range(300)]
    assert len(set(counts)) == 300
    again = LatencySource(1, [ColumnLatency("v", model, scope_rows=4)], 10_000)
    assert [again.tokens(0, scope)[1] for scope in reversed(range(300))] == counts[::-1]


def test_seconds_and_tokens_are_not_taken_for_each_other() -> None:
    seconds = _ADAPTER.validate_python({"model": "exponential", "mean_s": 1})
    found = source(("a", seconds), ("b", request(output_tokens=example("gamma"))))
    assert [found.is_request(column) for column in (0, 1)] == [False, True]
    with pytest.raises(TypeError, match="'a' takes seconds"):
        found.tokens(0, 0)
    with pytest.raises(TypeError, match="tokens and no seconds"):
        found.get(1, 0)
    with pytest.raises(IndexError):
        found.tokens(1, -1)


def test_the_mean_seconds_of_a_request_are_those_of_its_mean_tokens() -> None:
    model = request(prompt_tokens=example("uniform"), output_tokens=example("exponential"))
    found = LatencySource(1, [ColumnLatency("a", model, token_s=(0.001, 0.03))], 10)
    assert found.mean_s(0) == pytest.approx(200 * 0.001 + 120 * 0.03)


_PRINT = """
from pydantic import TypeAdapter
import json, sys
from sim.scenario.latency import Latency
from sim.scenario.sampler import LatencySource
kinds = json.loads(sys.argv[1])
for kind in kinds:
    if kind["model"] == "quantiles":
        kind["quantiles"] = {float(key): value for key, value in kind["quantiles"].items()}
models = [TypeAdapter(Latency).validate_python(
    {"model": "request", "prompt_tokens": kind, "output_tokens": kind}) for kind in kinds]
source = LatencySource(11, [(f"c{i}", model) for i, model in enumerate(models)], 5000)
for column in range(len(models)):
    print([source.tokens(column, row, a) for row in (0, 1, 4999) for a in (1, 2)])
"""


def test_every_process_and_hash_seed_gives_the_same_counts() -> None:
    kinds = json.dumps([example(kind) for kind in EXAMPLES])
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _PRINT, kinds],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "4711")
    }
    assert len(outputs) == 1
    assert outputs.pop().count("\n") == len(EXAMPLES)


# Recorded counts


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A folder with a trace of 3,000 requests; the answer of entry n has n tokens more."""
    lines = [f"{n},{2 * n},{'429' if n % 10 == 0 else ''}\n" for n in range(3000)]
    (tmp_path / "t.csv").write_text("in,out,error\n" + "".join(lines))
    return tmp_path


@pytest.mark.parametrize("order", ["sequential", "bootstrap"])
def test_prompt_and_answer_come_from_one_entry(recorded: Path, order: str) -> None:
    trace = {"model": "trace", "file": "t.csv", "order": order}
    model = request(
        recorded, prompt_tokens={**trace, "column": "in"}, output_tokens={**trace, "column": "out"}
    )
    found = source(("a", model))
    pairs = [found.tokens(0, row, attempt)[:2] for row in range(200) for attempt in (1, 2)]
    assert all(output == 2 * prompt for prompt, output in pairs)
    assert len(set(pairs)) > 300


def test_a_trace_from_its_start_gives_row_i_its_entry_i(recorded: Path) -> None:
    trace = {"model": "trace", "file": "t.csv", "from_start": True}
    model = request(
        recorded, prompt_tokens={**trace, "column": "in"}, output_tokens={**trace, "column": "out"}
    )
    found = source(("a", model), rows=3010)
    for row in (0, 17, 2999, 3007):
        assert found.tokens(0, row)[:2] == (row % 3000, 2 * (row % 3000))
        assert found.tokens(0, row, 2) == found.tokens(0, row)


def test_calls_that_replay_requests_that_failed_fail_too(recorded: Path) -> None:
    trace = {"model": "trace", "file": "t.csv", "failed_column": "error", "failed": "fail"}
    model = request(
        recorded, prompt_tokens=example("gamma"), output_tokens={**trace, "column": "in"}
    )
    assert model.fails
    found = source(("a", model))
    for row in range(200):
        failed = found.tokens(0, row)[1] % 10 == 0
        assert found.failure(0, row) == ("backpressure" if failed else None)


def test_prompt_and_answer_of_one_trace_are_read_alike(recorded: Path) -> None:
    trace = {"model": "trace", "file": "t.csv"}
    with pytest.raises(ValidationError, match="but for column: both replay"):
        request(
            recorded,
            prompt_tokens={**trace, "column": "in"},
            output_tokens={**trace, "column": "out", "order": "bootstrap"},
        )


@pytest.mark.skipif(not DATA.is_dir(), reason="shared/data absent")
def test_a_real_trace_gives_its_counts_in_its_order() -> None:
    """The Azure LLM inference trace 2023: medians of 1,020 and 129 tokens, by another reader."""
    file = DATA / "azure2023" / "AzureLLMInferenceTrace_conv.csv.gz"
    with gzip.open(file, "rt", encoding="utf-8-sig") as lines:
        rows = [(int(r["ContextTokens"]), int(r["GeneratedTokens"])) for r in csv.DictReader(lines)]
    assert [statistics.median(column) for column in zip(*rows, strict=True)] == [1020, 129]
    trace = {"model": "trace", "file": file.name, "from_start": True}
    model = request(
        file.parent,
        prompt_tokens={**trace, "column": "ContextTokens"},
        output_tokens={**trace, "column": "GeneratedTokens"},
        max_output_tokens=500,
    )
    found = source(("a", model), rows=len(rows))
    for row in (0, 1, 4711, len(rows) - 1):
        prompt, output = rows[row]
        assert found.tokens(0, row) == (prompt, min(output, 500), 500)


# Sums


SUM = {"model": "sum", "of": ["draft.output_tokens", "draft.prompt_tokens"], "plus": 300}


def chain() -> LatencySource:
    draft = request(prompt_tokens=example("uniform"), output_tokens=example("exponential"))
    judge = request(prompt_tokens=SUM, output_tokens=example("constant"))
    final = request(output_tokens={"model": "sum", "of": ["judge.prompt_tokens"]})
    return source(("judge", judge), ("draft", draft), ("final", final))


def test_a_sum_counts_what_the_other_calls_of_its_row_drew() -> None:
    found = chain()
    for row in (0, 3, BLOCK_ROWS + 1, ROWS - 1):
        prompt, output, _ = found.tokens(1, row)
        assert found.tokens(0, row)[0] == 300 + output + prompt
        assert found.tokens(0, row, 2)[0] == 300 + output + prompt, "its own attempt is another"
        assert found.tokens(2, row)[1] == 300 + output + prompt
    assert found.counts.mean_tokens(2) == (0, 300 + 200 + 120)
    assert found.counts.referenced == {0, 1}


def test_a_sum_counts_the_call_that_gave_the_value() -> None:
    found = chain()
    found.counts.gave(1, 7, 3)
    found.counts.gave(1, 8, 0)
    prompt, output, _ = found.tokens(1, 7, 3)
    assert found.tokens(0, 7)[0] == 300 + output + prompt
    assert found.tokens(0, 8)[0] == 300, "a skipped cell counts nothing"
    prompt, output, _ = found.tokens(1, 9)
    assert found.tokens(0, 9)[0] == 300 + output + prompt
    found.counts.gave(1, 7, 1)
    prompt, output, _ = found.tokens(1, 7)
    assert found.tokens(0, 7)[0] == 300 + output + prompt


def test_an_answer_is_cut_before_another_column_counts_it() -> None:
    draft = request(output_tokens=example("exponential"), max_output_tokens=50)
    judge = request(output_tokens={"model": "sum", "of": ["draft.output_tokens"]})
    found = source(("draft", draft), ("judge", judge))
    assert max(found.tokens(1, row)[1] for row in range(200)) == 50


# Scenario files


def scenario(folder: Path, latency: dict[str, Any], **changes: Any) -> Scenario:
    judge = {"resource": "chat"} if latency.get("model") == "request" else {}
    draft = {"model": "request", "output_tokens": example("exponential")}
    data = {
        "name": "t",
        "rows": 4,
        "batch_size": 2,
        "columns": [
            {"name": "draft", "traits": ["START"], "resource": "chat", "latency": draft},
            {"name": "side", "traits": ["START"], "resource": "chat", "latency": draft},
            {"name": "plain", "dependencies": ["draft"]},
            {"name": "judge", "dependencies": ["plain"], "latency": latency, **judge},
        ],
        "endpoints": {"chat": {"tpot_s": {1: 0.03, 2: 0.04}}},
        "limits": {"workers": 4, "resources": {"chat": 2}},
        **changes,
    }
    file = folder / "s.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return load_scenario(file)


def test_a_scenario_gives_the_tokens_of_its_columns(tmp_path: Path) -> None:
    latency = {"model": "request", "prompt_tokens": {**SUM, "of": ["draft.output_tokens"]}}
    latency["output_tokens"] = example("constant")
    found = scenario(tmp_path, latency)
    tokens = found.latency_source()
    index = found.graph().rules.index
    drafted = tokens.tokens(index["draft"], 3)[1]
    assert tokens.tokens(index["judge"], 3) == (300 + drafted, 250, 250)
    again = tmp_path / "again.yaml"
    again.write_text(found.to_yaml())
    assert load_scenario(again).digest() == found.digest()


COUNT = "columns 'judge': latency.output_tokens"

BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": "gauss"}, f'{COUNT}.model: expected one of: {", ".join(TOKEN_MODELS)}, got "gauss"'),
    ({"model": "constant", "value_s": 3}, f"{COUNT}.value_s: no such field; did you mean 'value'?"),
    ({"model": "exponential", "mean": 0}, f"{COUNT}.mean: expected more than 0, got 0"),
    (
        {"model": "lognormal", "median": 9, "p90": 3},
        f"{COUNT}.p90: expected more than median (9), got 3",
    ),
    (
        {"model": "lognormal", "median": 9},
        f"{COUNT}: expected exactly one of sigma, p90, p99, got none",
    ),
    (
        {"model": "uniform", "low": 9, "high": 3},
        f"{COUNT}.high: expected at least low (9), got 3",
    ),
    (
        {"model": "quantiles", "quantiles": {0: 3, 1: 2}},
        f"{COUNT}.quantiles: expected increasing tokens, got 2 at 1 after 3 at 0",
    ),
    (
        {"model": "list", "values": [1, 2, 3]},
        f"{COUNT}.values: expected a number for each of 4 rows, got 3",
    ),
    (
        {"model": "sum", "of": ["draft"]},
        f'{COUNT}.of[0]: expected COLUMN.output_tokens or COLUMN.prompt_tokens, got "draft"',
    ),
    (
        {"model": "sum", "of": ["draft.output_tokens", "drift.output_tokens"]},
        f"{COUNT}.of[1]: no column 'drift'; did you mean 'draft'?",
    ),
    (
        {"model": "sum", "of": ["side.output_tokens"]},
        f"{COUNT}.of[0]: column 'judge' does not depend on 'side'; it may count: 'draft'",
    ),
    (
        {"model": "sum", "of": ["judge.prompt_tokens"]},
        f"{COUNT}.of[0]: column 'judge' does not depend on 'judge'; it may count: 'draft'",
    ),
    (
        {"model": "sum", "of": ["plain.prompt_tokens"]},
        f"{COUNT}.of[0]: column 'plain' has no tokens of single rows; it may count: 'draft'",
    ),
]


@pytest.mark.parametrize(("count", "message"), BAD)
def test_a_bad_count_is_named_in_one_line(
    tmp_path: Path, count: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        scenario(tmp_path, {"model": "request", "output_tokens": count})
    (line,) = str(caught.value).splitlines()
    assert line.partition("s.yaml:")[2].partition(": ")[2] == message


def test_a_list_of_seconds_must_have_one_for_each_row(tmp_path: Path) -> None:
    found = scenario(tmp_path, {"model": "list", "values_s": [1, 2, 3, 4.5]})
    source = found.latency_source()
    column = found.graph().rules.index["judge"]
    assert [source.get(column, row, attempt) for row in (0, 3) for attempt in (1, 2)] == [
        1,
        1,
        4.5,
        4.5,
    ]
    with pytest.raises(SpecError, match=r"latency.values_s: expected a number for each of 5 rows"):
        scenario(tmp_path, {"model": "list", "values_s": [1, 2, 3, 4.5]}, rows=5)


def test_a_barrier_counts_no_single_row(tmp_path: Path) -> None:
    columns = [
        {"name": "draft", "traits": ["START"], "resource": "chat", "latency": request_fields()},
        {
            "name": "all",
            "traits": ["BARRIER"],
            "dependencies": ["draft"],
            "resource": "chat",
            "latency": request_fields(
                prompt_tokens={"model": "sum", "of": ["draft.output_tokens"]}
            ),
            "latency_per_row_s": 1,
        },
        {
            "name": "after",
            "dependencies": ["all"],
            "resource": "chat",
            "latency": request_fields(prompt_tokens={"model": "sum", "of": ["all.output_tokens"]}),
        },
    ]
    with pytest.raises(SpecError) as caught:
        scenario(tmp_path, {}, columns=columns)
    texts = [line.partition(": ")[2] for line in str(caught.value).splitlines()]
    assert texts == [
        "columns 'all': latency: column 'all' has tokens instead of seconds; no row adds seconds "
        "to it",
        "columns 'all': latency.prompt_tokens.of: column 'all' is a barrier, and reads more than "
        "one row",
        "columns 'after': latency.prompt_tokens.of[0]: column 'all' has no tokens of single rows; "
        "it may count: 'draft'",
    ]


def request_fields(**fields: Any) -> dict[str, Any]:
    return {"model": "request", "output_tokens": example("exponential"), **fields}


def test_blocks_of_later_attempts_are_kept_apart() -> None:
    found = source(("a", request(output_tokens=example("exponential"))))
    first = [found.tokens(0, row)[1] for row in range(2 * SPARSE_ROWS)]
    second = [found.tokens(0, row, 2)[1] for row in range(2 * SPARSE_ROWS)]
    assert not set(first) & set(second)
    assert len(set(second)) == 2 * SPARSE_ROWS


def test_the_endpoint_of_a_request_gives_its_mean_seconds(tmp_path: Path) -> None:
    latency = request_fields(prompt_tokens=example("constant"))
    endpoint = {"tpot_s": {1: 0.03, 64: 0.05}, "prefill_tokens_per_s": 1000}
    found = scenario(tmp_path, latency, endpoints={"chat": endpoint})
    column = found.graph().rules.index["judge"]
    assert found.latency_source().mean_s(column) == pytest.approx(0.25 + 120 * 0.03)


def test_blocks_that_were_dropped_are_drawn_again_as_they_were() -> None:
    model = request(output_tokens=example("exponential"), max_output_tokens=300)
    few = LatencySource(1, [("a", model)], ROWS, blocks_per_column=1)
    many = LatencySource(1, [("a", model)], ROWS, blocks_per_column=None)
    cells = [(row, attempt) for row in (0, BLOCK_ROWS, ROWS - 1, 5) for attempt in (1, 2, 1)]
    for incarnation in (0, 1, 0, 2, 1):
        few.begin(incarnation)
        many.begin(incarnation)
        assert [few.tokens(0, *cell) for cell in cells] == [many.tokens(0, *cell) for cell in cells]
