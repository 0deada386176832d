"""Latencies: a fact about (seed, column, row, attempt), with the distribution that was asked for.

The first half states what makes two runs comparable: a number does not depend on who asks, in what
order, for how many rows, beside which columns, or in which process. The second half holds each
model against its closed form, and the replays against their files.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sim.scenario import distributions
from sim.scenario.distributions import (
    Constant,
    Exponential,
    LatencyModel,
    Lognormal,
    Pareto,
    Quantiles,
)
from sim.scenario.latency import LATENCY_MODELS, Latency
from sim.scenario.recorded import Tokens, Trace
from sim.scenario.sampler import BLOCK_ROWS, SPARSE_ROWS, ColumnLatency, LatencySource

DATA = Path(__file__).parents[4] / "shared" / "data"

_ADAPTER: TypeAdapter[LatencyModel] = TypeAdapter(Latency)


def model(folder: Path | None = None, /, **fields: Any) -> LatencyModel:
    """A model from the fields that a scenario would give."""
    return _ADAPTER.validate_python(fields, context={"folder": folder or Path()})


EXAMPLES: dict[str, dict[str, Any]] = {
    "constant": {"value_s": 2.0},
    "uniform": {"low_s": 1.0, "high_s": 3.0},
    "exponential": {"mean_s": 2.0},
    "lognormal": {"median_s": 2.0, "sigma": 0.5},
    "gamma": {"mean_s": 2.0, "shape": 3.0},
    "weibull": {"scale_s": 2.0, "shape": 1.5},
    "pareto": {"minimum_s": 1.0, "alpha": 4.0},
    "mixture": {
        "components": [
            {"weight": 3, "latency": {"model": "exponential", "mean_s": 1.0}},
            {"weight": 1, "latency": {"model": "constant", "value_s": 5.0}},
        ]
    },
    "quantiles": {"quantiles_s": {0: 1.0, 0.5: 2.0, 0.9: 4.0, 1: 9.0}},
}
"""One model of each kind that needs no file."""


def example(kind: str) -> LatencyModel:
    return model(model=kind, **EXAMPLES[kind])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one trace of seconds in four formats, and one of tokens."""
    folder = tmp_path_factory.mktemp("traces")
    seconds = [0.5, 1.5, 2.5, 3.5, 7.0]
    csv = "when,e2e_s\n" + "".join(f"x,{value}\n" for value in seconds)
    lines = "".join(json.dumps({"e2e_s": value}) + "\n" for value in seconds)
    (folder / "t.csv").write_text(csv)
    (folder / "t.jsonl").write_text(lines)
    (folder / "t.csv.gz").write_bytes(gzip.compress(csv.encode()))
    (folder / "t.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "tokens.csv").write_text("in,out\n100,1\n200,11\n300,0\n400,21\n50,1\n")
    return folder


# One number per cell

KINDS = st.sampled_from(sorted(EXAMPLES))
NAMES = st.text(min_size=1, max_size=8)
ROWS = 3 * BLOCK_ROWS
CELLS = st.lists(
    st.tuples(st.integers(0, ROWS - 1), st.sampled_from([1, 1, 1, 2, 3])), min_size=1, max_size=12
)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**70),
    name=NAMES,
    kind=KINDS,
    others=st.lists(st.tuples(NAMES, KINDS), max_size=3),
    cells=CELLS,
    shuffle=st.randoms(use_true_random=False),
)
def test_a_latency_depends_on_seed_column_row_and_attempt_alone(
    seed: int,
    name: str,
    kind: str,
    others: list[tuple[str, str]],
    cells: list[tuple[int, int]],
    shuffle: random.Random,
) -> None:
    """Whatever was drawn before, and whatever other columns there are, before it or after it."""
    alone = LatencySource(seed, [(name, example(kind))], ROWS)
    expected = {cell: alone.get(0, *cell) for cell in cells}

    columns = [(other, example(k)) for other, k in others if other != name]
    place = shuffle.randint(0, len(columns))
    columns.insert(place, (name, example(kind)))
    beside = LatencySource(seed, columns, ROWS, blocks_per_column=1)
    asked = [(c, *cell) for c in range(len(columns)) for cell in cells] * 2
    shuffle.shuffle(asked)
    for column, row, attempt in asked:
        found = beside.get(column, row, attempt)
        if column == place:
            assert found == expected[row, attempt]


@settings(deadline=None, max_examples=40)
@given(kind=KINDS, few=st.integers(1, ROWS), more=st.integers(1, ROWS), attempt=st.integers(1, 3))
def test_more_rows_never_change_earlier_ones(kind: str, few: int, more: int, attempt: int) -> None:
    short, long = sorted((few, more))
    small = LatencySource(7, [("a", example(kind))], short)
    large = LatencySource(7, [("a", example(kind))], long)
    for row in {0, short // 2, short - 1}:
        assert small.get(0, row, attempt) == large.get(0, row, attempt)


@pytest.mark.parametrize("kind", sorted(set(EXAMPLES) - {"constant"}))
def test_seed_column_row_and_attempt_each_matter(kind: str) -> None:
    source = LatencySource(1, [("a", example(kind)), ("b", example(kind))], 100)
    other_seed = LatencySource(2, [("a", example(kind))], 100)

    def row(values: LatencySource, column: int, attempt: int) -> list[float]:
        return [values.get(column, r, attempt) for r in range(100)]

    first = row(source, 0, 1)
    assert len(set(first)) > 10
    for different in (row(source, 1, 1), row(source, 0, 2), row(other_seed, 0, 1)):
        assert different != first


def test_a_barrier_has_a_stream_of_its_own() -> None:
    """Barriers are keyed by scope; no barrier's draw is a cell's draw, and order is free too."""
    source = LatencySource(1, [("a", example("exponential"))], 10_000)
    scopes = [source.get_barrier(0, scope) for scope in range(300)]
    again = LatencySource(1, [("x", Constant(value_s=1)), ("a", example("exponential"))], 10)
    assert [again.get_barrier(1, scope) for scope in reversed(range(300))] == scopes[::-1]
    assert not set(scopes) & {source.get(0, row) for row in range(300)}
    assert source.get_barrier(0, 5, 2) != source.get_barrier(0, 5)


def test_a_barrier_takes_longer_for_each_row_that_it_reads() -> None:
    column = ColumnLatency("v", Constant(value_s=0.5), per_row_s=0.01, scope_rows=100)
    source = LatencySource(1, [column], 250)
    assert source.get_barrier(0, 0) == pytest.approx(1.5)
    assert source.get_barrier(0, 2) == pytest.approx(1.0), "the last batch is short"
    assert source.get_barrier(0, 0, rows=7) == pytest.approx(0.57), "rows that were dropped"
    assert source.mean_s(0) == pytest.approx(1.5)


def test_the_output_cells_of_a_barrier_take_no_time() -> None:
    source = LatencySource(1, [ColumnLatency("v", example("gamma"), scope_rows=10)], 10)
    assert [source.get(0, row) for row in range(10)] == [0.0] * 10


def test_blocks_and_readers_give_what_get_gives() -> None:
    rows = BLOCK_ROWS + 100
    source = LatencySource(3, [("a", example("lognormal")), ("c", example("constant"))], rows)
    for column in (0, 1):
        one_by_one = [source.get(column, row) for row in range(rows)]
        assert source.block(column, 0) + source.block(column, 1) == one_by_one
        reader = source.reader(column)
        assert [reader(row) for row in range(rows)] == one_by_one
        later = [source.get(column, row, 2) for row in range(SPARSE_ROWS)]
        assert source.block(column, 0, 2) == later
    assert all(type(value) is float for value in source.block(0, 1))
    assert (source.fixed(0), source.fixed(1)) == (None, 2.0)


@pytest.mark.parametrize("row", [-1, 20, BLOCK_ROWS])
def test_a_row_that_does_not_exist_has_no_latency(row: int) -> None:
    source = LatencySource(3, [("a", example("lognormal"))], 20)
    with pytest.raises(IndexError):
        source.get(0, row)
    with pytest.raises(IndexError):
        source.reader(0)(row)
    with pytest.raises(IndexError):
        source.block(0, row // BLOCK_ROWS or 1)


def test_memory_is_a_few_blocks_per_column_for_any_number_of_rows() -> None:
    source = LatencySource(3, [("a", example("exponential"))], 1_000_000)
    for row in range(0, 1_000_000, BLOCK_ROWS // 2):
        source.get(0, row)
        source.get(0, row, 2)
        source.get_barrier(0, row)
    assert len(source._blocks[0]) <= 8
    assert len(source._sparse) <= 8


def test_any_order_of_rows_is_served_when_all_blocks_are_kept() -> None:
    rows = 20 * BLOCK_ROWS
    few = LatencySource(3, [("a", example("exponential"))], rows)
    all_kept = LatencySource(3, [("a", example("exponential"))], rows, blocks_per_column=None)
    order = random.Random(1).sample(range(rows), 500)
    assert [few.get(0, row) for row in order] == [all_kept.get(0, row) for row in order]
    assert len(all_kept._blocks[0]) == 20


_PRINT = """
from sim.scenario.latency import *
from sim.scenario.sampler import *
from pydantic import TypeAdapter
import ast, sys
models = TypeAdapter(dict[str, Latency]).validate_python(ast.literal_eval(sys.argv[1]))
source = LatencySource(11, list(models.items()), 5000)
for column in range(len(models)):
    print([source.get(column, row, a).hex() for row in (0, 1, 4999) for a in (1, 2)])
    print([source.get_barrier(column, scope).hex() for scope in (0, 400)])
"""


def test_every_process_and_hash_seed_gives_the_same_numbers() -> None:
    fields = {kind: {"model": kind, **EXAMPLES[kind]} for kind in EXAMPLES}

    def run(hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", _PRINT, repr(fields)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    outputs = {run(hash_seed) for hash_seed in ("0", "1", "4711")}
    assert len(outputs) == 1
    assert outputs.pop().count("[") == 2 * len(fields)


# Distributions


def draw(latency: LatencyModel, rows: int = 40_000) -> list[float]:
    source = LatencySource(5, [("a", latency)], rows, blocks_per_column=None)
    return [source.get(0, row) for row in range(rows)]


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_the_mean_of_many_draws_is_the_closed_form(kind: str) -> None:
    latency = example(kind)
    values = draw(latency)
    error = statistics.pstdev(values) / math.sqrt(len(values))
    assert abs(statistics.fmean(values) - latency.mean_s()) <= 4 * error
    assert all(0 <= value < math.inf for value in values)


def test_means_that_are_known_by_hand() -> None:
    assert example("constant").mean_s() == 2
    assert example("uniform").mean_s() == 2
    assert example("gamma").mean_s() == 2
    assert example("lognormal").mean_s() == pytest.approx(2 * math.exp(0.125))
    assert example("weibull").mean_s() == pytest.approx(2 * math.gamma(5 / 3))
    assert example("pareto").mean_s() == pytest.approx(4 / 3)
    assert example("mixture").mean_s() == pytest.approx(2)
    assert example("quantiles").mean_s() == pytest.approx(0.5 * 1.5 + 0.4 * 3 + 0.1 * 6.5)
    heavy = Pareto(minimum_s=1, alpha=1)
    assert heavy.mean_s() == math.inf, "no finite mean at alpha 1 and below"


@pytest.mark.parametrize(
    ("kind", "below", "share"),
    [
        ("uniform", 1.5, 0.25),
        ("exponential", 2.0, 1 - math.exp(-1)),
        ("lognormal", 2.0, 0.5),
        ("gamma", 2.0, 1 - math.exp(-3) * (1 + 3 + 4.5)),
        ("weibull", 2.0, 1 - math.exp(-1)),
        ("pareto", 2.0, 1 - 2**-4),
        ("mixture", 1.0, 0.75 * (1 - math.exp(-1))),
        ("quantiles", 3.0, 0.7),
    ],
)
def test_the_share_of_draws_below_a_point_is_the_closed_form(
    kind: str, below: float, share: float
) -> None:
    values = draw(example(kind))
    found = sum(value <= below for value in values) / len(values)
    assert found == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / len(values)))


@pytest.mark.parametrize(("spread", "share"), [("p90_s", 0.90), ("p99_s", 0.99)])
def test_a_lognormal_can_be_given_by_two_published_quantiles(spread: str, share: float) -> None:
    values = draw(model(model="lognormal", median_s=2.0, **{spread: 7.0}))
    assert sum(value <= 7.0 for value in values) / len(values) == pytest.approx(share, abs=0.005)


def test_a_quantile_table_is_kept_at_its_points_and_never_left() -> None:
    table = {0: 0.2, 0.5: 2.0, 0.99: 20.0, 1: 60.0}
    for interpolation in ("linear", "log"):
        latency = model(model="quantiles", quantiles_s=table, interpolation=interpolation)
        values = np.array(draw(latency))
        assert values.min() >= 0.2
        assert values.max() <= 60.0
        assert float(np.mean(values <= 2.0)) == pytest.approx(0.5, abs=0.01)
        assert float(np.mean(values <= 20.0)) == pytest.approx(0.99, abs=0.002)
    straight = Quantiles(quantiles_s={0: 1, 1: math.e}, interpolation="log")
    assert straight.mean_s() == pytest.approx(math.e - 1), "log-uniform between 1 and e"


def test_two_models_that_differ_in_scale_differ_in_nothing_else() -> None:
    """A policy or a speed-up is compared on the same luck."""
    slow = draw(Exponential(mean_s=3), 100)
    fast = draw(Exponential(mean_s=1), 100)
    assert slow == pytest.approx([3 * value for value in fast])
    wide = draw(Lognormal(median_s=1, sigma=1.0), 100)
    narrow = draw(Lognormal(median_s=1, sigma=0.5), 100)
    assert wide == pytest.approx([value**2 for value in narrow])


# Replays


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.jsonl.gz"])
def test_a_trace_is_replayed_in_order_and_round_again(recorded: Path, name: str) -> None:
    latency = model(recorded, model="trace", file=name, column_s="e2e_s")
    assert isinstance(latency, Trace)
    entries = list(latency.seconds)
    assert entries == [0.5, 1.5, 2.5, 3.5, 7.0]
    assert latency.mean_s() == pytest.approx(3.0)
    values = draw(latency, BLOCK_ROWS + 7)
    offset = entries.index(values[0])
    assert values == [entries[(offset + row) % 5] for row in range(len(values))]


def test_where_a_replay_begins_depends_on_seed_column_and_attempt(recorded: Path) -> None:
    latency = model(recorded, model="trace", file="t.csv", column_s="e2e_s")
    begins = {
        (seed, name, attempt): LatencySource(seed, [(name, latency)], 10).get(0, 0, attempt)
        for seed in range(6)
        for name in "ab"
        for attempt in (1, 2)
    }
    assert len(set(begins.values())) == 5, "all entries are begun with by someone"


def test_a_bootstrap_draws_every_entry_about_equally_often(recorded: Path) -> None:
    latency = model(recorded, model="trace", file="t.csv", column_s="e2e_s", order="bootstrap")
    values = draw(latency, 20_000)
    for entry in (0.5, 1.5, 2.5, 3.5, 7.0):
        assert values.count(entry) / 20_000 == pytest.approx(0.2, abs=0.015)


def test_tokens_become_seconds_by_first_token_and_time_per_further_token(recorded: Path) -> None:
    fields = {
        "model": "tokens",
        "file": "tokens.csv",
        "prompt_tokens": "in",
        "output_tokens": "out",
        "ttft_s": {300: 0.5, 100: 0.1},
    }
    latency = model(recorded, **fields, tpot_s=0.02)
    assert isinstance(latency, Tokens)
    expected = [
        0.1,
        0.3 + 10 * 0.02,  # between two points
        0.5,  # no output token is no further token
        0.7 + 20 * 0.02,  # beyond the last point, on the same line
        0.0,  # before the first
    ]
    assert list(latency.seconds) == pytest.approx(expected)
    flat = model(recorded, **{**fields, "ttft_s": {100: 0.1}}, tpot_s=0.0)
    assert isinstance(flat, Tokens)
    assert set(flat.seconds) == {0.1}, "one point is a constant"
    table = model(recorded, **fields, tpot_by_batch_s={1: 0.01, 9: 0.05}, batch=3)
    assert isinstance(table, Tokens)
    assert table.tpot() == pytest.approx(0.02)
    assert list(table.seconds) == pytest.approx(expected)


def test_a_line_that_would_give_a_negative_time_is_refused(recorded: Path) -> None:
    with pytest.raises(ValidationError, match="its line falls below 0 s at 50 prompt tokens"):
        model(
            recorded,
            model="tokens",
            file="tokens.csv",
            prompt_tokens="in",
            output_tokens="out",
            ttft_s={100: 0.1, 200: 0.4},
            tpot_s=0.02,
        )


def test_every_model_has_a_name_in_the_list_that_messages_give() -> None:
    assert set(LATENCY_MODELS) == {*EXAMPLES, "trace", "tokens", "list", "request"}


def test_a_trace_from_its_start_gives_row_i_its_entry_i(recorded: Path) -> None:
    fields = {"model": "trace", "file": "t.csv", "column_s": "e2e_s"}
    latency = model(recorded, **fields, from_start=True)
    seconds = [0.5, 1.5, 2.5, 3.5, 7.0]
    for seed, name in ((1, "a"), (2, "b")):
        source = LatencySource(seed, [(name, latency)], 3000)
        for row in (0, 1, 4, 5, 129, BLOCK_ROWS, 2999):
            assert {source.get(0, row, attempt) for attempt in (1, 2)} == {seconds[row % 5]}
        assert [source.get_barrier(0, scope) for scope in range(5)] == seconds
    source.begin(3)
    assert source.get(0, 7) == 2.5, "in every incarnation"
    assert not latency.is_drawn
    assert model(recorded, **fields).is_drawn


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"order": "bootstrap"}, "expected order: sequential"),
        ({"failed_column": "e2e_s", "failed": "fail"}, "expected failed: leave_out"),
    ],
)
def test_a_trace_from_its_start_draws_nothing(
    recorded: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        model(recorded, model="trace", file="t.csv", column_s="e2e_s", from_start=True, **fields)


# The real traces


def shared(name: str) -> Path:
    """A file of the real inputs: absent with its whole folder it skips, absent alone it fails."""
    if not DATA.is_dir():
        pytest.skip("shared/data absent")
    assert (DATA / name).is_file(), f"shared/data is here, but {name} is not"
    return DATA / name


@pytest.mark.parametrize(
    ("name", "columns", "count", "median_tokens"),
    [
        (
            "azure2023/AzureLLMInferenceTrace_conv.csv.gz",
            ("ContextTokens", "GeneratedTokens"),
            19_366,
            129,
        ),
        (
            "azure2023/AzureLLMInferenceTrace_code.csv.gz",
            ("ContextTokens", "GeneratedTokens"),
            8_819,
            13,
        ),
        (
            "mooncake/mooncake_conversation_tokens.csv.gz",
            ("input_length", "output_length"),
            12_031,
            350,
        ),
    ],
)
def test_real_traces_are_read_whole(
    name: str, columns: tuple[str, str], count: int, median_tokens: int
) -> None:
    latency = model(
        model="tokens",
        file=str(shared(name)),
        prompt_tokens=columns[0],
        output_tokens=columns[1],
        ttft_s={1: 0.0},
        tpot_s=1.0,
    )
    assert isinstance(latency, Tokens)
    assert len(latency.seconds) == count
    assert statistics.median(latency.seconds) == median_tokens - 1


def test_no_latency_goes_through_what_numpy_chooses_by_the_processor() -> None:
    """Their last bits differ: one seed would draw other latencies on another machine."""
    chosen = re.compile(r"np\.(exp|expm1|exp2|log|log1p|log2|log10|power|sin|cos|tan|tanh)\b")
    for path in Path(distributions.__file__).parent.glob("*.py"):
        assert not chosen.findall(path.read_text(encoding="utf-8")), path.name
