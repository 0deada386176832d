"""Scenario files: what they mean, what may be overridden, and one clear line for what is wrong."""

from __future__ import annotations

import copy
import csv
import gzip
import json
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml

from cellspec.build import datadesigner
from cellspec.build.builder import BuildReport
from cellspec.errors import MissingExtraError, SpecError
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.graph.nodes import BarrierNodeId, CellNodeId
from sim.cli import main
from sim.examples import SWEEPS
from sim.scenario.distributions import Constant, Exponential, Lognormal, Quantiles
from sim.scenario.latency import LATENCY_MODELS
from sim.scenario.loader import load_scenario
from sim.scenario.recorded import Trace
from sim.scenario.records import Trait
from sim.scenario.scenario import Scenario
from sim.scenario.schema import schema_text
from sim.scenario.tokens import Request

ROOT = Path(__file__).parents[3]
SIMULATIONS = ROOT / "simulations"
DATA = ROOT.parent / "shared" / "data"

GOOD: dict[str, Any] = {
    "name": "t",
    "rows": 10,
    "columns": [
        {"name": "a", "traits": ["START", "ROW_STREAMABLE"]},
        {
            "name": "b",
            "traits": ["CELL_BY_CELL"],
            "dependencies": ["a"],
            "resource": "gpu",
            "latency": {"model": "lognormal", "median_s": 2, "sigma": 0.5},
        },
        {"name": "c", "dependencies": ["b"]},
    ],
    "limits": {"workers": 4, "resources": {"gpu": 2}},
}


def put(data: Any, path: str, value: Any) -> None:
    """Set one field, named as messages name it; `...` takes it away."""
    parts: list[str | int] = [
        int(part) if part.isdigit() else part
        for part in path.replace("[", ".").replace("]", "").split(".")
    ]
    for part in parts[:-1]:
        data = data[part]
    if value is ...:
        del data[parts[-1]]
    else:
        data[parts[-1]] = value


def write(folder: Path, changes: dict[str, Any] | None = None, name: str = "s.yaml") -> Path:
    """A scenario file: `GOOD`, with some fields changed."""
    data = copy.deepcopy(GOOD)
    for path, value in copy.deepcopy(changes or {}).items():
        put(data, path, value)
    file = folder / name
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


def refusals(file: Path, overrides: dict[str, str] | None = None) -> list[str]:
    """The messages with which a file is refused, each after the file's name: line, place, text."""
    with pytest.raises(SpecError) as caught:
        load_scenario(file, overrides or {})
    messages = str(caught.value).splitlines()
    assert all(message.startswith(f"{file}:") for message in messages), messages
    return [message.removeprefix(f"{file}:").strip() for message in messages]


def refusal(file: Path, overrides: dict[str, str] | None = None) -> str:
    """The one message with which a file is refused, after its name and the line."""
    (message,) = refusals(file, overrides)
    return re.sub(r"^[0-9]+: ", "", message)


# What a scenario means


def test_a_small_scenario_has_a_graph_latencies_and_limits(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path))
    graph = scenario.graph()
    assert graph.column_names == ["a", "b", "c"]
    assert graph.num_records == 10
    assert graph.get_column_descriptor("a").traits == (
        ExecutionTraits.START | ExecutionTraits.ROW_STREAMABLE
    )
    assert graph.get_dependencies(CellNodeId(3, "c")) == [CellNodeId(3, "b")]
    assert [item.name for item in scenario.latencies()] == ["a", "b", "c"]
    assert scenario.column_resource == {"b": "gpu"}
    assert scenario.resource_limits == {"gpu": 2}
    assert scenario.limits.workers == 4
    assert (scenario.seed, scenario.policy, scenario.checkpoint) == (0, "fifo", None)
    source = scenario.latency_source()
    assert source.get(0, 5) == 0.0, "no latency is none"
    assert source.get(1, 5) == scenario.latency_source(seed=0).get(1, 5)
    assert source.get(1, 5) != scenario.latency_source(seed=1).get(1, 5)


def test_latencies_come_in_the_order_of_the_graph(tmp_path: Path) -> None:
    """Columns may be given in any order; the simulator counts them in topological order."""
    given = [GOOD["columns"][2], GOOD["columns"][1], GOOD["columns"][0]]
    scenario = load_scenario(write(tmp_path, {"columns": given}))
    assert scenario.graph().column_names == ["a", "b", "c"]
    assert [type(item.latency) for item in scenario.latencies()] == [Constant, Lognormal, Constant]


def test_a_barrier_knows_its_scope_and_its_time_per_row(tmp_path: Path) -> None:
    changes = {
        "columns[2].traits": ["BATCH_BARRIER"],
        "columns[2].latency_per_row_s": 0.5,
        "batch_size": 4,
    }
    scenario = load_scenario(write(tmp_path, changes))
    assert scenario.latencies()[2].scope_rows == 4
    assert scenario.latency_source().get_barrier(2, 0) == 2.0
    assert scenario.latency_source().get_barrier(2, 2) == 1.0, "2 of 10 rows are left"
    assert BarrierNodeId("c", 2) in list(scenario.graph().iter_nodes())


def test_batch_scope_for_all_barriers_is_the_scenarios_choice(tmp_path: Path) -> None:
    changes = {"columns[2].traits": ["BARRIER"], "batch_size": 4, "barrier_scope": "batch"}
    assert load_scenario(write(tmp_path, changes)).latencies()[2].scope_rows == 4
    changes["barrier_scope"] = "declared"
    assert load_scenario(write(tmp_path, changes)).latencies()[2].scope_rows == 10


def test_traits_are_those_of_the_specification() -> None:
    assert set(get_args(Trait)) == set(ExecutionTraits.__members__) - {"NONE"}


def test_checkpoints_and_crashes_are_read(tmp_path: Path) -> None:
    changes = {
        "checkpoint": {"every_s": 60, "version": 2, "write_s": 0.5},
        "crashes": [
            {"at_event": 5},
            {"at_time_s": 3.5},
            {"random": {"mean_s": 100, "count": 3}},
        ],
        "restart_delay_s": 30,
    }
    scenario = load_scenario(write(tmp_path, changes))
    assert scenario.checkpoint is not None
    assert (scenario.checkpoint.every_s, scenario.checkpoint.version) == (60, 2)
    event, time, chance = scenario.crashes
    assert (event.at_event, time.at_time_s) == (5, 3.5)
    assert chance.random is not None
    assert (chance.random.mean_s, chance.random.count) == (100, 3)


def test_a_scenario_does_not_change(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        scenario.rows = 3  # type: ignore[misc]


def test_a_scenario_travels_to_another_process(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path))
    other = pickle.loads(pickle.dumps(scenario))
    assert other.digest() == scenario.digest()
    assert other.graph().fingerprint == scenario.graph().fingerprint
    assert other.latency_source().get(1, 7) == scenario.latency_source().get(1, 7)


def test_trace_files_are_looked_up_in_the_scenarios_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.csv").write_text("s\n1\n2\n")
    changes = {"columns[1].latency": {"model": "trace", "file": "in/t.csv", "column_s": "s"}}
    file = write(tmp_path, changes)
    monkeypatch.chdir("/")
    scenario = load_scenario(file)
    assert isinstance(scenario.latencies()[1].latency, Trace)
    assert scenario.files() == {"in/t.csv": tmp_path / "in/t.csv"}


def test_what_is_written_down_is_read_back_the_same(tmp_path: Path) -> None:
    """Overrides and defaults included, from another folder too."""
    (tmp_path / "t.csv").write_text("s\n1\n2\n")
    (tmp_path / "out").mkdir()
    changes = {
        "columns[1].latency": {"model": "trace", "file": "t.csv", "column_s": "s"},
        "columns[2].latency": {"model": "quantiles", "quantiles_s": {0: 1, 0.5: 2, 1: 3}},
        "crashes": [{"at_event": 5}],
        "description": "no",
        "restart_delay_s": 1e-7,
    }
    overrides = {"rows": "12", "checkpoint.every_rows": "3", "source": "'1e-3'"}
    scenario = load_scenario(write(tmp_path, changes), overrides)
    moved = tmp_path / "out" / "resolved.yaml"
    moved.write_text(scenario.to_yaml(moved.parent))
    again = load_scenario(moved)
    assert again.rows == 12
    assert (again.source, again.description, again.restart_delay_s) == ("1e-3", "no", 1e-7)
    assert "file: ../t.csv" in moved.read_text()
    assert again.digest() == scenario.digest()


def test_the_digest_tells_scenarios_apart_by_what_decides_a_run(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("s\n1\n2\n")
    changes = {"columns[1].latency": {"model": "trace", "file": "t.csv", "column_s": "s"}}
    file = write(tmp_path, changes)
    digest = load_scenario(file).digest()
    assert digest == load_scenario(file, {"columns.b.latency.from_start": "false"}).digest()
    assert digest != load_scenario(file, {"columns.b.latency.from_start": "true"}).digest()
    assert load_scenario(file, {"name": "other", "description": "other"}).digest() == digest
    assert load_scenario(file, {"seed": "1"}).digest() != digest
    (tmp_path / "t.csv").write_text("s\n1\n3\n")
    assert load_scenario(file).digest() != digest


def test_no_word_that_came_later_changes_an_older_digest(tmp_path: Path) -> None:
    """Digests of November 2026, before token counts, redo, row effects and from_start."""
    (tmp_path / "t.csv").write_text("s\n1\n2\n")
    (tmp_path / "u.csv").write_text("p,o\n1,2\n")
    trace = {"model": "trace", "file": "t.csv", "column_s": "s"}
    file = write(tmp_path, {"columns[1].latency": trace})
    assert load_scenario(file).digest() == "e3b39af79b9622455a59bc05ad21cb0e"
    tokens = {**TOKENS, "file": "u.csv", "ttft_s": {100: 0.1}, "tpot_s": 0.02}
    lognormal = {"model": "lognormal", "median_s": 2.0, "p90_s": 3.0}
    parts = [{"weight": 1.0, "latency": tokens}, {"weight": 2.0, "latency": lognormal}]
    changes = {
        "columns[1].latency": {"model": "mixture", "components": parts},
        "crashes": [{"random": {"mean_s": 3.0, "count": 2}}],
    }
    assert load_scenario(write(tmp_path, changes)).digest() == "8125c9321e1abd094dbba0d3d37c7632"


# Overrides


def test_an_override_replaces_a_value(tmp_path: Path) -> None:
    overrides = {
        "rows": "20",
        "columns.b.latency.median_s": "4",
        "columns.2.name": "last",
        "limits.resources.gpu": "7",
        "checkpoint": "{every_rows: 5, version: 2}",
        "columns.a.latency": "{model: exponential, mean_s: 1e-3}",
    }
    scenario = load_scenario(write(tmp_path), overrides)
    assert scenario.rows == 20
    first, second, third = scenario.latencies()
    assert isinstance(second.latency, Lognormal)
    assert second.latency.median == 4
    assert third.name == "last"
    assert scenario.resource_limits == {"gpu": 7}
    assert scenario.checkpoint is not None
    assert scenario.checkpoint.version == 2
    assert first.latency == Exponential(mean_s=0.001)


def test_an_override_makes_the_mapping_that_the_file_leaves_out(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path), {"checkpoint.every_rows": "5"})
    assert scenario.checkpoint is not None
    assert scenario.checkpoint.every_rows == 5


def test_an_override_changes_one_place_where_the_file_shares_a_part(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "name: t\nrows: 1\nlimits: {workers: 1}\ncolumns:\n"
        "  - {name: a, latency: &x {model: exponential, mean_s: 1}}\n"
        "  - {name: b, latency: *x}\n"
        "  - {name: c, latency: {<<: *x, mean_s: 3}}\n"
    )
    scenario = load_scenario(file, {"columns.b.latency.mean_s": "2"})
    assert [item.latency.mean_s() for item in scenario.latencies()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "colums.b.latency",
            "1",
            "--set colums.b.latency: colums: no such field; did you mean 'columns'?",
        ),
        ("columns.x.name", "q", "--set columns.x.name: columns has no item 'x'; it has 3 named "),
        ("columns.3.name", "q", "--set columns.3.name: columns has no item '3'; it has 3 named "),
        ("rows.x", "1", "--set rows.x: rows is 10, and has no fields"),
        ("a..b", "1", "--set a..b: expected names with single dots between them"),
        ("", "1", "--set : expected names with single dots between them"),
        ("rows", "[1", "--set rows: line 1: while parsing a flow sequence, expected ',' or ']', "),
        ("rows", "", "--set rows: rows: expected an integer, got nothing"),
        (
            "columns.b.latency.sigma",
            "-1",
            "--set columns.b.latency.sigma: columns 'b': latency.sigma: expected more than 0, "
            "got -1",
        ),
        (
            "columns.b.dependencies",
            "[c]",
            "columns 'b': the columns form a cycle: 'b' needs 'c' needs 'b' "
            "(with --set columns.b.dependencies)",
        ),
    ],
)
def test_an_override_without_a_place_or_with_a_wrong_value_is_refused(
    tmp_path: Path, path: str, value: str, expected: str
) -> None:
    message = refusal(write(tmp_path), {path: value})
    assert message.startswith(expected), message


# Bad input: one line each

LATENCY = "columns[1].latency"
IN_B = "columns 'b': latency"
ALL_MODELS = ", ".join(LATENCY_MODELS)
TOKENS = {"model": "tokens", "file": "tokens.csv", "prompt_tokens": "p", "output_tokens": "o"}

BAD_FIELDS: list[tuple[str, Any, str]] = [
    ("rows", True, "rows: expected an integer, got true"),
    ("rows", 2.0, "rows: expected an integer, got 2.0"),
    ("rows", "ten", 'rows: expected an integer, got "ten"'),
    ("rows", 0, "rows: expected at least 1, got 0"),
    ("rows", ..., "rows: is missing"),
    ("name", "", 'name: expected a string that is not empty, got ""'),
    ("seed", -1, "seed: expected at least 0, got -1"),
    ("batch_size", 0, "batch_size: expected at least 1, got 0"),
    ("barrier_scope", "row", "barrier_scope: expected 'declared' or 'batch', got \"row\""),
    (
        "policy",
        "lifo",
        "policy: expected 'fifo', 'row-first', 'column-first', 'critical-path' or 'random', "
        "got \"lifo\"; did you mean 'fifo'?",
    ),
    ("limits", ..., "limits: is missing"),
    ("limits.workers", 0, "limits.workers: expected at least 1, got 0"),
    ("limits.resources.gpu", 0, "limits.resources.gpu: expected at least 1, got 0"),
    (
        "limits.speed",
        1,
        "limits.speed: no such field; its fields are: workers, resources, measured_at, row_groups",
    ),
    ("restart_delay_s", -1, "restart_delay_s: expected at least 0, got -1"),
    ("columns", ..., "expected exactly one of columns, pipeline, got none"),
    (
        "pipeline",
        {"datadesigner": "p.yaml"},
        "expected exactly one of columns, pipeline, got columns and pipeline",
    ),
    ("columns", [], "columns: expected at least one item, got a list of 0"),
    ("columns", 3, "columns: expected a list, got 3"),
    ("columns[1]", 3, "columns[1]: expected a mapping, got 3"),
    (
        "columns[1].dependecies",
        ["a"],
        "columns 'b': dependecies: no such field; did you mean 'dependencies'?",
    ),
    (
        "columns[1].traits",
        ["FAST"],
        "columns 'b': traits[0]: expected 'START', 'CELL_BY_CELL', 'ROW_STREAMABLE', 'BARRIER', "
        "'BATCH_BARRIER' or 'ORDERED', got \"FAST\"",
    ),
    ("columns[1].traits", "START", "columns 'b': traits: expected a list, got \"START\""),
    (
        "columns[1].traits",
        ["BARRIER", "BATCH_BARRIER"],
        "columns 'b': traits: BARRIER and BATCH_BARRIER exclude each other; a barrier "
        "waits for the dataset or for one batch",
    ),
    (
        "columns[1].traits",
        ["BATCH_BARRIER"],
        "columns 'b': is a barrier of batch scope: batch_size is needed",
    ),
    (
        "columns[1].resource",
        "tpu",
        "columns 'b': resource: no resource 'tpu' in limits.resources; those with a limit: 'gpu'",
    ),
    (
        "columns[2].latency_per_row_s",
        0.1,
        "columns 'c': latency_per_row_s: the column is no barrier, and reads no rows",
    ),
    # The graph
    (
        "columns[1].dependencies",
        ["zz"],
        "columns 'b': dependencies[0]: no column or side effect 'zz'; there are: 'a', 'c'",
    ),
    (
        "columns[1].dependencies",
        ["c"],
        "columns 'b': the columns form a cycle: 'b' needs 'c' needs 'b'",
    ),
    ("columns[2].name", "b", "columns 'b': name 'b' is produced twice: a column and a column"),
    (
        "columns[1].side_effects",
        ["a"],
        "columns 'b': name 'a' is produced twice: a column and a side effect of column 'b'",
    ),
    # Checkpoints and crashes
    (
        "checkpoint",
        {"version": 1},
        "checkpoint: expected exactly one of every_rows, every_s, got none",
    ),
    (
        "checkpoint",
        {"every_rows": 1, "every_s": 1},
        "checkpoint: expected exactly one of every_rows, every_s, got every_rows and every_s",
    ),
    ("checkpoint", {"every_rows": 0}, "checkpoint.every_rows: expected at least 1, got 0"),
    ("checkpoint", {"every_s": 0}, "checkpoint.every_s: expected more than 0, got 0"),
    (
        "checkpoint",
        {"every_rows": 1, "version": 4},
        "checkpoint.version: expected 1, 2 or 3, got 4",
    ),
    (
        "crashes",
        [{"at_event": 1, "at_time_s": 2}],
        "crashes[0]: expected exactly one of at_event, at_time_s, random, "
        "got at_event and at_time_s",
    ),
    ("crashes", [{"at_event": 0}], "crashes[0].at_event: expected at least 1, got 0"),
    ("crashes", [{"at_time_s": -1}], "crashes[0].at_time_s: expected at least 0, got -1"),
    (
        "crashes",
        [{"random": {"mean_s": 0, "count": 1}}],
        "crashes[0].random.mean_s: expected more than 0, got 0",
    ),
    # Latencies
    (f"{LATENCY}.model", "norm", f'{IN_B}.model: expected one of: {ALL_MODELS}, got "norm"'),
    (f"{LATENCY}.model", ..., f"{IN_B}.model: expected one of: {ALL_MODELS}, got nothing"),
    (LATENCY, 2.0, f"{IN_B}: expected a mapping, got 2.0"),
    (f"{LATENCY}.median_s", -2, f"{IN_B}.median_s: expected more than 0, got -2"),
    (
        f"{LATENCY}.median_s",
        float("nan"),
        f"{IN_B}.median_s: expected a finite number, got .nan",
    ),
    (
        f"{LATENCY}.median_s",
        float("inf"),
        f"{IN_B}.median_s: expected a finite number, got .inf",
    ),
    (f"{LATENCY}.median_s", "2 s", f'{IN_B}.median_s: expected a number, got "2 s"'),
    (f"{LATENCY}.median_s", True, f"{IN_B}.median_s: expected a number, got true"),
    (
        f"{LATENCY}.mean_s",
        1,
        f"{IN_B}.mean_s: no such field; did you mean 'median_s'?",
    ),
    (
        f"{LATENCY}.p99_s",
        9,
        f"{IN_B}: expected exactly one of sigma, p90_s, p99_s, got sigma and p99_s",
    ),
    (
        LATENCY,
        {"model": "lognormal", "median_s": 2, "p90_s": 1},
        f"{IN_B}.p90_s: expected more than median_s (2), got 1",
    ),
    (
        LATENCY,
        {"model": "constant", "value_s": -1},
        f"{IN_B}.value_s: expected at least 0, got -1",
    ),
    (
        LATENCY,
        {"model": "uniform", "low_s": 3, "high_s": 1},
        f"{IN_B}.high_s: expected at least low_s (3), got 1",
    ),
    (
        LATENCY,
        {"model": "pareto", "minimum_s": 1, "alpha": 0},
        f"{IN_B}.alpha: expected at least 0.1, got 0",
    ),
    (
        LATENCY,
        {"model": "quantiles", "quantiles_s": {0: 1, 0.5: 3, 1: 2}},
        f"{IN_B}.quantiles_s: expected increasing seconds, got 2 at 1 after 3 at 0.5",
    ),
    (
        LATENCY,
        {"model": "quantiles", "quantiles_s": {0.5: 3, 0.9: 4}},
        f"{IN_B}.quantiles_s: expected probabilities from 0 to 1, got 0.5 to 0.9",
    ),
    (
        LATENCY,
        {"model": "quantiles", "quantiles_s": {}},
        f"{IN_B}.quantiles_s: expected probabilities from 0 to 1, got an empty table",
    ),
    (
        LATENCY,
        {"model": "quantiles", "quantiles_s": {0: -1, 1: 2}},
        f"{IN_B}.quantiles_s[0]: expected at least 0, got -1",
    ),
    (
        LATENCY,
        {"model": "quantiles", "quantiles_s": {0: 0, 1: 2}, "interpolation": "log"},
        f"{IN_B}.quantiles_s: expected more than 0 seconds everywhere for interpolation: log, "
        "got 0 at 0",
    ),
    (
        LATENCY,
        {
            "model": "mixture",
            "components": [{"weight": 0, "latency": {"model": "constant", "value_s": 1}}],
        },
        f"{IN_B}.components[0].weight: expected more than 0, got 0",
    ),
    (
        LATENCY,
        {"model": "mixture", "components": [{"weight": 1, "latency": {"model": "constant"}}]},
        f"{IN_B}.components[0].latency.value_s: is missing",
    ),
    # Traces
    (
        LATENCY,
        {"model": "trace", "file": "no.csv", "column_s": "s"},
        f"{IN_B}.file: trace 'no.csv' cannot be read: No such file or directory",
    ),
    (
        LATENCY,
        {"model": "trace", "file": "folder.csv", "column_s": "s"},
        f"{IN_B}.file: trace 'folder.csv' cannot be read: Is a directory",
    ),
    (
        LATENCY,
        {"model": "trace", "file": "t.parquet", "column_s": "s"},
        f"{IN_B}.file: trace 't.parquet': expected a file named .csv, .csv.gz, .jsonl or .jsonl.gz",
    ),
    (
        LATENCY,
        {"model": "trace", "file": "empty.csv", "column_s": "s"},
        f"{IN_B}.file: trace 'empty.csv': it holds no rows",
    ),
    (
        LATENCY,
        {"model": "trace", "file": "words.csv", "column_s": "t"},
        f"{IN_B}.file: trace 'words.csv': line 2 has no column 't'; its columns are: s, u",
    ),
    (
        LATENCY,
        {"model": "trace", "file": "words.csv", "column_s": "s"},
        f"{IN_B}.file: trace 'words.csv': line 3, column 's': expected seconds from 0 to 1e+09, "
        "got 'soon'",
    ),
    (
        LATENCY,
        {"model": "trace", "file": "words.csv", "column_s": "u"},
        f"{IN_B}.file: trace 'words.csv': line 2, column 'u': expected seconds from 0 to 1e+09, "
        "got '-2'",
    ),
    (
        LATENCY,
        {"model": "trace", "file": "plain.csv.gz", "column_s": "s"},
        f"{IN_B}.file: trace 'plain.csv.gz' cannot be read: Not a gzipped file (b's\\n')",
    ),
    (
        LATENCY,
        {"model": "trace", "file": "cut.csv.gz", "column_s": "s"},
        f"{IN_B}.file: trace 'cut.csv.gz' is damaged or of another format: Compressed file "
        "ended before the end-of-stream marker was reached",
    ),
    (
        LATENCY,
        {"model": "trace", "file": "binary.csv", "column_s": "s"},
        f"{IN_B}.file: trace 'binary.csv' is damaged or of another format: 'utf-8' codec can't "
        "decode byte 0xff in position 0: invalid start byte",
    ),
    (
        LATENCY,
        {"model": "trace", "file": "list.jsonl", "column_s": "s"},
        f"{IN_B}.file: trace 'list.jsonl': line 2: expected a JSON object",
    ),
    (
        LATENCY,
        {**TOKENS, "ttft_s": {1: 0.1}, "tpot_s": 0.1},
        f"{IN_B}.file: trace 'tokens.csv': line 3, column 'o': expected a whole number from 0 "
        "to 1e+09, got '1.5'",
    ),
    (
        LATENCY,
        {**TOKENS, "ttft_s": {1: 0.1}},
        f"{IN_B}: expected exactly one of tpot_s, tpot_by_batch_s, got none",
    ),
    (
        LATENCY,
        {**TOKENS, "ttft_s": {1: 0.1}, "tpot_by_batch_s": {1: 0.1, 8: 0.2}, "batch": 9},
        f"{IN_B}.batch: expected a number within tpot_by_batch_s (1 to 8), got 9",
    ),
    (
        LATENCY,
        {**TOKENS, "ttft_s": {1: 0.1}, "tpot_s": 0.1, "batch": 9},
        f"{IN_B}.batch: is read only with tpot_by_batch_s; tpot_s is one number",
    ),
    (
        LATENCY,
        {**TOKENS, "ttft_s": {0: 0.1}, "tpot_s": 0.1},
        f"{IN_B}.ttft_s[0]: expected at least 1, got 0",
    ),
]


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A folder with trace files that are broken in one way each."""
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    (tmp_path / "empty.csv").write_text("s\n")
    (tmp_path / "words.csv").write_text("s,u\n1,-2\nsoon,2\n")
    (tmp_path / "plain.csv.gz").write_text("s\n1\n")
    packed = gzip.compress(b"s\n" + b"1.25\n" * 1000)
    (tmp_path / "cut.csv.gz").write_bytes(packed[:-12])
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "list.jsonl").write_text('{"s": 1}\n[1]\n')
    (tmp_path / "tokens.csv").write_text("p,o\n10,1\n10,1.5\n")
    return tmp_path


@pytest.mark.parametrize(("path", "value", "expected"), BAD_FIELDS)
def test_a_bad_field_is_named_in_one_line(
    traces: Path, path: str, value: Any, expected: str
) -> None:
    assert refusal(write(traces, {path: value})) == expected


MANY = """\
name: many
rows: 1.5e0
columns:
  - name: a
    traits: [STRAT]
  - name: b
    dependencies: [aa]
    resource: gpuu
    latency: {modle: lognormal, median_s: 2, sgima: 1}
  - name: c
    dependancies: [b]
    dependencies: [first]
    latency: {model: exponental, mean: 2}
    range_rows: 0
  - name: first
    traits: [BARRIER, BATCH_BARRIER]
limits: {workers: 0, resources: {gpu: 2}}
polcy: fifo
policy: lifo
failures:
  by_resource: {gpuv: {retryable: 0.1}}
  by_column:
    sicth: {retryable: 2}
"""


def test_every_fault_of_a_file_is_told_at_once_by_line(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(MANY)
    models = ALL_MODELS
    assert refusals(file) == [
        "2: rows: expected an integer, got 1.5",
        "5: columns 'a': traits[0]: expected 'START', 'CELL_BY_CELL', 'ROW_STREAMABLE', 'BARRIER', "
        "'BATCH_BARRIER' or 'ORDERED', got \"STRAT\"; did you mean 'START'?",
        "7: columns 'b': dependencies[0]: no column or side effect 'aa'; there are: 'a', 'c', "
        "'first'",
        "8: columns 'b': resource: no resource 'gpuu' in limits.resources; did you mean 'gpu'?",
        "9: columns 'b': latency.modle: no such field; did you mean 'model'?",
        "9: columns 'b': latency.sgima: no such field; did you mean 'sigma'?",
        "11: columns 'c': dependancies: no such field; did you mean 'dependencies'?",
        f"13: columns 'c': latency.model: expected one of: {models}, got \"exponental\"; did you "
        "mean 'exponential'?",
        "13: columns 'c': latency.mean: no such field; did you mean 'mean_s'?",
        "14: columns 'c': range_rows: expected at least 1, got 0",
        "16: columns 'first': traits: BARRIER and BATCH_BARRIER exclude each other; a barrier "
        "waits for the dataset or for one batch",
        "17: limits.workers: expected at least 1, got 0",
        "18: polcy: no such field; did you mean 'policy'?",
        "19: policy: expected 'fifo', 'row-first', 'column-first', 'critical-path' or 'random', "
        "got \"lifo\"; did you mean 'fifo'?",
        "21: failures.by_resource.gpuv: no column takes 'gpuv'; did you mean 'gpuu'?",
        "23: failures.by_column.sicth: no column 'sicth'; there are: 'a', 'b', 'c', 'first'",
        "23: failures.by_column.sicth.retryable: expected at most 1, got 2",
    ]


def test_faults_of_options_follow_those_of_the_file_and_name_the_option(tmp_path: Path) -> None:
    file = write(tmp_path, {"rows": 0})
    overrides = {
        "columns.d.latency": "1",
        "limits.wrokers": "3",
        "columns.b.latency.modle": "gamma",
        "seed": "-1",
    }
    assert refusals(file, overrides) == [
        "2: rows: expected at least 1, got 0",
        "--set limits.wrokers: limits.wrokers: no such field; did you mean 'workers'?",
        "--set columns.b.latency.modle: columns 'b': latency.modle: no such field; did you mean "
        "'model'?",
        "--set seed: seed: expected at least 0, got -1",
        "--set columns.d.latency: columns has no item 'd'; it has 3 named 'a', 'b', 'c'",
    ]


TANGLED = """\
name: tangled
rows: 10
columns:
  - {name: a, traits: [START]}
  - {name: b, dependencies: [d]}
  - {name: c, dependencies: [a], latency: {model: constant, value_s: -1}}
  - {name: d, dependencies: [b, c]}
  - {name: e, dependencies: [e], traits: [BATCH_BARRIER]}
  - {name: a}
  - {name: f, side_effects: [a, f]}
  - {name: g, dependencies: [d], traits: [BATCH_BARRIER]}
limits: {workers: 0}
"""


def test_every_fault_of_the_graph_is_told_at_its_column(tmp_path: Path) -> None:
    """Beside faults of other parts, and without the columns that are malformed."""
    file = tmp_path / "s.yaml"
    file.write_text(TANGLED)
    needs_size = "is a barrier of batch scope: batch_size is needed"
    assert refusals(file) == [
        "5: columns 'b': the columns form a cycle: 'b' needs 'd' needs 'b'",
        "6: columns 'c': latency.value_s: expected at least 0, got -1",
        "8: columns 'e': the columns form a cycle: 'e' needs 'e'",
        f"8: columns 'e': {needs_size}",
        "9: columns 'a': name 'a' is produced twice: a column and a column",
        "10: columns 'f': name 'a' is produced twice: a column and a side effect of column 'f'",
        f"11: columns 'g': {needs_size}",
        "12: limits.workers: expected at least 1, got 0",
    ]


@pytest.mark.parametrize("size", ["batch_size: 0", "batchsize: 4"])
def test_a_batch_size_that_is_malformed_is_not_missing_too(tmp_path: Path, size: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        f"name: t\nrows: 9\n{size}\nlimits: {{workers: 1}}\ncolumns:\n"
        "  - {name: a, traits: [BATCH_BARRIER]}\n"
    )
    (message,) = refusals(file)
    assert message.startswith("3: batch")


def test_an_option_is_named_at_the_other_column_of_a_cycle(tmp_path: Path) -> None:
    message = refusal(write(tmp_path), {"columns.a.dependencies": "[c]"})
    assert message.endswith("(with --set columns.a.dependencies)")
    message = refusal(
        write(tmp_path, {"columns[1].traits": ["BARRIER"]}), {"barrier_scope": "batch"}
    )
    assert message.endswith("batch_size is needed (with --set barrier_scope)")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "checkpoint",
            {"every_rows": 5, "every_s": 0},
            [
                "checkpoint: expected exactly one of every_rows, every_s, "
                "got every_rows and every_s",
                "checkpoint.every_s: expected more than 0, got 0",
            ],
        ),
        (
            LATENCY,
            {"model": "lognormal", "median_s": 1, "sigma": 1, "p99_s": -1},
            [
                f"{IN_B}: expected exactly one of sigma, p90_s, p99_s, got sigma and p99_s",
                f"{IN_B}.p99_s: expected more than 0, got -1",
            ],
        ),
        (
            "failures",
            {"default": {"permanent": 1.5, "back_pressure": 1}},
            [
                "failures.default.back_pressure: expected less than 1, got 1: where every call is "
                "told to wait no run ever ends",
                "failures.default.permanent: expected at most 1, got 1.5",
            ],
        ),
        (
            "pipeline",
            {"datadesinger": "x.yaml"},
            [
                "expected exactly one of columns, pipeline, got columns and pipeline",
                "pipeline.datadesinger: no such field; did you mean 'datadesigner'?",
            ],
        ),
    ],
)
def test_a_choice_between_fields_is_judged_beside_faults_of_the_fields(
    tmp_path: Path, path: str, value: Any, expected: list[str]
) -> None:
    found = [re.sub("^[0-9]+: ", "", one) for one in refusals(write(tmp_path, {path: value}))]
    assert sorted(found) == sorted(expected)


def test_missing_failures_are_told_beside_row_groups_that_are_too_few(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("s,f\n1,0\n2,1\n")
    trace = {"model": "trace", "file": "t.csv", "column_s": "s", "failed_column": "f"}
    changes = {
        LATENCY: {**trace, "failed": "fail"},
        "columns[2].traits": ["BARRIER"],
        "limits.row_groups": {"rows": 5, "admitted": 1},
    }
    failures, groups = refusals(write(tmp_path, changes))
    assert failures.startswith("1: failures: is missing; column 'b' replays")
    assert "limits.row_groups.admitted: barrier 'c'" in groups


def test_keys_of_any_kind_are_told_at_their_lines(tmp_path: Path) -> None:
    file = write(tmp_path)
    lines = file.read_text().count("\n")
    file.write_text(file.read_text() + "~: 1\nTrue: 2\n1.5: 3\n")
    assert [message.partition(": no such field")[0] for message in refusals(file)] == [
        f"{lines + 1}: null",
        f"{lines + 2}: true",
        f"{lines + 3}: 1.5",
    ]


@pytest.mark.parametrize(("line", "byte"), [(1, b"\xff\xfe"), (3, b"a: \xe9"), (3, b"a: \0")])
def test_text_that_cannot_be_read_is_told_at_its_line(
    tmp_path: Path, line: int, byte: bytes
) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(b"\n" * (line - 1) + byte + b"\n")
    (message,) = refusals(file)
    assert message.startswith(f"{line}: ")


def test_more_rows_than_memory_holds_are_one_of_the_faults(tmp_path: Path) -> None:
    file = write(tmp_path, {"rows": 10**15, "policy": "rowfirst"})
    with pytest.raises(SpecError) as caught:
        load_scenario(file, memory=2**30)
    rows, policy = str(caught.value).splitlines()
    assert rows.startswith(f"{file}:2: rows: 1,000,000,000,000,000 rows × 3 columns need")
    assert "did you mean 'row-first'?" in policy
    assert load_scenario(write(tmp_path), memory=2**30).rows == 10


def test_a_number_beyond_all_numbers_hides_no_fault(tmp_path: Path) -> None:
    file = write(tmp_path, {"policy": "rowfirst"})
    file.write_text(file.read_text().replace("rows: 10", "rows: 1e999999999"))
    rows, policy = refusals(file)
    assert rows == "2: rows: expected an integer, got .inf"
    assert "did you mean" in policy


def test_a_column_is_not_offered_to_itself(tmp_path: Path) -> None:
    changes = {"columns[1].name": "beta", "columns[2].dependencies": ["beta"]}
    message = refusal(write(tmp_path, {**changes, "columns[1].dependencies": ["beto"]}))
    assert message.endswith("no column or side effect 'beto'; there are: 'a', 'c'")
    message = refusal(write(tmp_path, {"columns[1].propagate_skip": "maybe"}))
    assert message.endswith('propagate_skip: expected true or false, got "maybe"')


def test_row_groups_are_judged_beside_other_faults(tmp_path: Path) -> None:
    changes = {
        "columns[2].traits": ["BARRIER"],
        "limits.row_groups": {"rows": 5, "admitted": 1},
        "policy": "row-frst",
    }
    groups, policy = refusals(write(tmp_path, changes))
    assert groups.partition(": ")[2] == (
        "limits.row_groups.admitted: barrier 'c' waits for rows 0 to 9, which are 2 row groups of "
        "5; only 1 may be admitted at once"
    )
    assert "did you mean 'row-first'?" in policy


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("limits", {"workrs": 4, "resources": {"gpu": 2}}, "limits.workrs: {}'workers'?"),
        (LATENCY, {"model": "constant", "value": 1}, "columns 'b': latency.value: {}'value_s'?"),
        (LATENCY, {"model": "exponential", "mean": 1}, "columns 'b': latency.mean: {}'mean_s'?"),
        ("checkpoint", {"every_row": 5}, "checkpoint.every_row: {}'every_rows'?"),
    ],
)
def test_a_misspelt_required_field_is_one_fault(
    tmp_path: Path, path: str, value: Any, expected: str
) -> None:
    message = refusal(write(tmp_path, {path: value}))
    assert message == expected.format("no such field; did you mean ")


def test_a_model_from_an_option_is_named_where_the_file_no_longer_fits_it(tmp_path: Path) -> None:
    option = "columns.b.latency.model"
    found = refusals(write(tmp_path), {option: "constant"})
    assert len(found) == 3
    assert all(message.endswith(f"(with --set {option})") for message in found), found


def test_a_misspelt_model_from_an_option_is_one_fault(tmp_path: Path) -> None:
    option = "columns.b.latency.model"
    found = refusals(write(tmp_path), {option: "constnt"})
    assert [message.partition(": columns")[0] for message in found] == [f"--set {option}"]


def test_the_older_name_of_a_field_is_read_and_means_the_same(tmp_path: Path) -> None:
    old = load_scenario(write(tmp_path, {"failures": {"cool_down": {"first_s": 3}}}))
    new = load_scenario(write(tmp_path, {"failures": {"backoff": {"first_s": 3}}}))
    assert old.model_dump() == new.model_dump()
    assert old.digest() == new.digest()
    assert "backoff: {" in old.to_yaml() or "backoff:\n" in old.to_yaml()
    assert "cool_down" not in old.to_yaml()
    file = write(tmp_path, {"failures": {"cool_down": {"frist_s": 3}}})
    (message,) = refusals(file)
    assert message.endswith("failures.cool_down.frist_s: no such field; did you mean 'first_s'?")
    both = {"cool_down": {"first_s": 3}, "backoff": {"first_s": -1}}
    found = [re.sub("^[0-9]+: ", "", one) for one in refusals(write(tmp_path, {"failures": both}))]
    assert found == [
        "failures.cool_down: is the older name of backoff, which is given too",
        "failures.backoff.first_s: expected at least 0, got -1",
    ]


def test_a_command_tells_every_fault_on_a_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(MANY)
    code = main(["run", str(file), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert "Traceback" not in printed.err
    lines = printed.err.splitlines()
    assert len(lines) == 17
    assert all(line.startswith(f"error: {file}:") for line in lines)
    assert [item.name for item in tmp_path.iterdir()] == ["s.yaml"]


def test_faults_of_merged_and_shared_parts_are_told_where_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "name: t\nrows: 1\nlimits: {workers: 1}\ncolumns:\n"
        "  - {name: a, latency: &x {model: exponential,\n"
        "       mean_s: -1}}\n"
        "  - {name: b, latency: {<<: *x,\n"
        "       mean: 3}}\n"
        "  - name: ''\n"
    )
    assert refusals(file) == [
        "6: columns 'a': latency.mean_s: expected more than 0, got -1",
        "6: columns 'b': latency.mean_s: expected more than 0, got -1",
        "8: columns 'b': latency.mean: no such field; did you mean 'mean_s'?",
        '9: columns[2].name: expected a string that is not empty, got ""',
    ]


def test_a_fault_of_a_kind_without_words_of_ours_is_told_in_a_line(tmp_path: Path) -> None:
    part = {"weight": 1, "latency": {"model": "constant", "value_s": 1}}
    mixture = {"model": "mixture", "components": [part] * 65}
    message = refusal(write(tmp_path, {"columns[1].latency": mixture}))
    assert message.startswith("columns 'b': latency.components: Tuple should have at most 64 items")


DAMAGE: list[Any] = [
    *(None, True, -1, 1e300, float("nan"), "x", "", [], [None], {}, {1: 2}, {None: 1}, {1.5: {}}),
    *(10**400, "1e3", [[]], {"model": ["x"]}, {"model": "constant"}, {True: 2}),
]


@pytest.mark.parametrize("seed", range(60))
def test_damage_of_any_kind_is_told_in_lines(tmp_path: Path, seed: int) -> None:
    """Whatever a file holds, loading it ends well or with messages, each of which names it."""
    draw = random.Random(seed)
    data: Any = copy.deepcopy(GOOD) | {"failures": {"by_resource": {"gpu": {"retryable": 0.1}}}}
    for _ in range(draw.randint(1, 4)):
        here = data
        while isinstance(here, dict | list) and here:
            key = draw.choice(list(here) if isinstance(here, dict) else range(len(here)))
            if draw.random() < 0.4 or not isinstance(here[key], dict | list):
                here[key] = draw.choice(DAMAGE)
                break
            here = here[key]
    file = tmp_path / "s.yaml"
    file.write_text(yaml.dump(data, sort_keys=False))
    text = ""
    try:
        load_scenario(file, {"columns.b.resource": "gpv"} if seed % 3 == 0 else {})
    except SpecError as error:
        text = str(error)
    assert all(line.startswith(f"{file}:") for line in text.splitlines())


def test_keys_given_twice_are_all_told(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("rows: 1\nname: x\nrows: 2\nlimits: {workers: 1, workers: 2}\n")
    assert refusals(file) == ["3: key 'rows' is given twice", "4: key 'workers' is given twice"]


@pytest.mark.parametrize(
    ("text", "rows"),
    [("1e3", 1000), ("1_000", 1000), ("1E+3", 1000), ("1.5e3", 1500), ("1_0e2", 1000)],
)
def test_a_whole_number_may_have_an_exponent_or_underscores(
    tmp_path: Path, text: str, rows: int
) -> None:
    file = write(tmp_path)
    file.write_text(file.read_text().replace("rows: 10", f"rows: {text}"))
    assert load_scenario(file).rows == rows
    assert load_scenario(write(tmp_path), {"rows": text}).rows == rows


@pytest.mark.parametrize("text", ["1.5e0", "1e-3", "1000.0", "1e30", "0x10", "1e", "'1e3'"])
def test_other_numbers_are_no_whole_number_of_rows(tmp_path: Path, text: str) -> None:
    file = write(tmp_path)
    file.write_text(file.read_text().replace("rows: 10", f"rows: {text}"))
    limit = " of less than 2^63" if text == "1e30" else ""
    assert refusal(file).startswith(f"rows: expected an integer{limit}, got ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a mapping of fields, got nothing"),
        ("[1, 2]", "expected a mapping of fields, got a list of 2"),
        ("rows: 1\nname: x\nrows: 2\n", "3: key 'rows' is given twice"),
        ("limits: {workers: 1, workers: 2}", "1: key 'workers' is given twice"),
        ("latency: {0: 1, 0.0: 2}", "1: key 0.0 is given twice"),
        (
            "a: [",
            "1: while parsing a flow node, expected the node content, but found '<stream end>'",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "2: expected a single document in the stream, but found another document",
        ),
        (
            "a: !!python/object:os.system {}",
            "1: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object:os.system'",
        ),
        ("rows: !!int x", "1: expected a value of type int, got 'x'"),
        ("a: 1\nrows: !!bool x", "2: expected a value of type bool, got 'x'"),
        ("rows: !!timestamp x", "1: expected a value of type timestamp, got 'x'"),
        ("rows: " + "9" * 5000, f"1: expected a value of type int, got '{'9' * 40}…'"),
        ("? [1]\n: 2", "1: a key must be a plain word or number"),
        ("a: &x [*x]", "an alias (*) stands inside of the part that it repeats"),
        (
            "a: &a [1,2,3,4,5,6,7,8,9]\n"
            + "".join(
                f"{y}: &{y} [{', '.join([f'*{x}'] * 9)}]\n"
                for x, y in zip("abcdef", "bcdefg", strict=True)
            ),
            "it holds more than 200000 values",
        ),
    ],
)
def test_text_that_is_no_scenario_is_refused_in_one_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    assert refusals(file) == [expected]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.yaml") == "cannot be read: No such file or directory"
    assert refusal(tmp_path) == "cannot be read: Is a directory"
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    assert refusal(tmp_path / "x.yaml") == "cannot be read: not UTF-8 text, invalid start byte"


def test_plain_words_are_read_as_yaml_1_2_reads_them(tmp_path: Path) -> None:
    """A column may be called no, and 1e-3 is a number."""
    file = tmp_path / "s.yaml"
    file.write_text(
        "name: 12:30\nrows: 1_000\nlimits: {workers: 1}\n"
        "columns: [{name: no, latency: {model: constant, value_s: 1e-3}}]\n"
    )
    scenario = load_scenario(file)
    assert (scenario.name, scenario.rows) == ("12:30", 1000)
    assert scenario.latencies()[0].name == "no"
    assert scenario.latencies()[0].latency == Constant(value_s=0.001)


# A pipeline from a DataDesigner configuration

PIPELINE = {
    "columns": ...,
    "pipeline": {
        "datadesigner": "p.yaml",
        "latency": {
            "default": {"model": "constant", "value_s": 1},
            "by_resource": {"alias": {"model": "constant", "value_s": 2}},
            "by_column": {"judge": {"model": "constant", "value_s": 3}},
            "per_row_s_by_column": {"check": 0.5},
        },
    },
    "limits": {"workers": 4},
}


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replaces the reader of DataDesigner configurations; gives the paths that it was asked for."""
    asked: list[Path] = []

    def load(path: str | Path) -> datadesigner.Pipeline:
        asked.append(Path(path))
        if Path(path).name != "p.yaml":
            raise SpecError(f"{path}: expected a readable file: No such file or directory")
        columns = [
            ColumnDescriptor("topic", traits=ExecutionTraits.START),
            ColumnDescriptor("text", dependencies=["topic"]),
            ColumnDescriptor("judge", dependencies=["text"]),
            ColumnDescriptor("check", traits=ExecutionTraits.BARRIER, dependencies=["text"]),
        ]
        uses = {"text": ("alias",), "judge": ("alias",)}
        return datadesigner.Pipeline(
            "p",
            Path(path),
            tuple(
                datadesigner.PipelineColumn(item, "", uses.get(item.name, ())) for item in columns
            ),
            {"alias": datadesigner.Model("alias", "provider", "model", 4)},
            (),
            BuildReport(()),
        )

    monkeypatch.setattr(datadesigner, "load_pipeline", load)
    return asked


def test_a_pipeline_brings_columns_resources_and_limits(
    tmp_path: Path, pipeline: list[Path]
) -> None:
    scenario = load_scenario(write(tmp_path, PIPELINE))
    assert pipeline == [tmp_path / "p.yaml"]
    assert scenario.graph().column_names == ["topic", "text", "judge", "check"]
    assert [item.latency.mean_s() for item in scenario.latencies()] == [1, 2, 3, 1]
    assert scenario.latency_source().get_barrier(3, 0) == 1 + 10 * 0.5
    assert scenario.column_resource == {"text": "alias", "judge": "alias"}
    assert scenario.resource_limits == {"alias": 4}


def test_the_scenarios_limit_wins_over_the_pipelines(tmp_path: Path, pipeline: list[Path]) -> None:
    scenario = load_scenario(write(tmp_path, PIPELINE), {"limits.resources.alias": "9"})
    assert pipeline
    assert scenario.resource_limits == {"alias": 9}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "pipeline.latency.by_column",
            {"jugde": {"model": "constant", "value_s": 3}},
            "pipeline.latency.by_column.jugde: the pipeline has no column 'jugde'; did you mean "
            "'judge'?",
        ),
        (
            "pipeline.latency.by_resource",
            {"other": {"model": "constant", "value_s": 3}},
            "pipeline.latency.by_resource.other: no column takes 'other'; there are: 'alias'",
        ),
        (
            "pipeline.latency.per_row_s_by_column",
            {"text": 1},
            "pipeline.latency.per_row_s_by_column.text: the column is no barrier, and reads no "
            "rows",
        ),
        (
            "pipeline.latency.default",
            {"model": "exponential", "mean_s": 0},
            "pipeline.latency.default.mean_s: expected more than 0, got 0",
        ),
        ("barrier_scope", "batch", "pipeline: column 'check' is a barrier of batch scope: "),
        ("pipeline.datadesigner", "q.yaml", "pipeline.datadesigner: "),
    ],
)
def test_a_pipeline_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, pipeline: list[Path], path: str, value: Any, expected: str
) -> None:
    del pipeline
    message = refusal(write(tmp_path, {**PIPELINE, path: value}))
    assert message.startswith(expected), message


# The files that the project ships

SHIPPED = sorted(path for path in SIMULATIONS.glob("*.yaml") if path.stem not in SWEEPS)
NEEDS_SHARED_DATA = {"text_to_sql_azure"}


def shared(name: str) -> Path:
    """A file of the real inputs: absent with its whole folder it skips, absent alone it fails."""
    if not DATA.is_dir():
        pytest.skip("shared/data absent")
    assert (DATA / name).is_file(), f"shared/data is here, but {name} is not"
    return DATA / name


@pytest.fixture(params=[item for item in SHIPPED if item.stem not in NEEDS_SHARED_DATA], ids=str)
def shipped(request: pytest.FixtureRequest) -> Scenario:
    return load_scenario(request.param)


def test_every_shipped_scenario_loads_and_names_itself_and_its_source(shipped: Scenario) -> None:
    assert (SIMULATIONS / f"{shipped.name}.yaml").is_file()
    assert shipped.description
    assert shipped.source
    assert shipped.checkpoint is not None
    assert shipped.crashes or shipped.beside


def test_the_schema_beside_the_scenarios_is_current() -> None:
    found = (SIMULATIONS / "scenario.schema.json").read_text(encoding="utf-8")
    assert found == schema_text(), (
        "write it again: python -m sim.scenario.schema > simulations/scenario.schema.json"
    )


@pytest.mark.parametrize("in_file", ["backoff", "cool_down"])
@pytest.mark.parametrize("in_option", ["backoff", "cool_down"])
def test_an_override_takes_either_name_of_the_backoff(
    tmp_path: Path, in_file: str, in_option: str
) -> None:
    file = write(tmp_path, {"failures": {in_file: {"first_s": 2, "factor": 5}}})
    scenario = load_scenario(file, {f"failures.{in_option}.first_s": "3"})
    assert scenario.failures is not None
    assert (scenario.failures.backoff.first_s, scenario.failures.backoff.factor) == (3, 5)


def test_the_schema_takes_either_name_of_the_backoff_and_deprecates_the_older() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(schema_text())
    validator = jsonschema.Draft202012Validator(schema)
    data = yaml.safe_load((SIMULATIONS / "reviews_rate_limited.yaml").read_text(encoding="utf-8"))
    backoff = data["failures"].pop("backoff")
    data["failures"]["cool_down"] = backoff
    validator.validate(data)
    data["failures"]["backoff"] = backoff
    assert not validator.is_valid(data)
    data["failures"] = {"cool_down": {"frist_s": 1}}
    assert not validator.is_valid(data)
    fields = schema["$defs"]["FailuresSpec"]["properties"]
    assert fields["cool_down"]["deprecated"] is True
    assert "deprecated" not in fields["backoff"]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_scenarios_fit_the_schema(file: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(schema_text())
    data = json.loads(json.dumps(yaml.safe_load(file.read_text(encoding="utf-8"))))
    jsonschema.Draft202012Validator(schema).validate(data)
    broken = {**data, "rwos": 1}
    assert not jsonschema.Draft202012Validator(schema).is_valid(broken)


def recorded_graph(name: str) -> dict[str, Any]:
    """A recipe's columns and edges, as DataDesigner itself compiled them."""
    graphs = json.loads(shared("configs/graphs.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(item for item in graphs if item["config"] == name)
    return found


def columns_and_edges(scenario: Scenario, *, without: frozenset[str] = frozenset()) -> Any:
    graph = scenario.graph()
    names = [name for name in graph.column_names if name not in without]
    edges = {
        (need, name) for name in names for need in graph.get_column_descriptor(name).dependencies
    }
    return set(names), edges


@pytest.mark.parametrize(
    ("recipe", "files", "ours"),
    [
        ("text_to_sql", ["text_to_sql"], frozenset[str]()),
        (
            "text_to_python",
            [f"barrier_option_{letter}" for letter in "abcd"],
            frozenset({"near_duplicate_of"}),
        ),
    ],
)
def test_shipped_pipelines_are_the_recipes_that_they_cite(
    recipe: str, files: list[str], ours: frozenset[str]
) -> None:
    recorded = recorded_graph(recipe)
    expected = (
        {item["name"] for item in recorded["columns"]},
        {tuple(edge) for edge in recorded["edges"]},
    )
    for file in files:
        scenario = load_scenario(SIMULATIONS / f"{file}.yaml")
        assert columns_and_edges(scenario, without=ours) == expected
        assert scenario.column_resource == {
            item["name"]: item["model_alias"]
            for item in recorded["columns"]
            if item["model_alias"] is not None
        }
        assert scenario.resource_limits == {
            alias: model[2] for alias, model in recorded["models_used"].items()
        }


PROBABILITIES = [0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1]


def trace_quantiles(name: str, tokens: str) -> dict[float, float]:
    """The published table, computed again from the trace without the package's own reader."""
    with gzip.open(shared(name), "rt", encoding="utf-8") as lines:
        counts = [int(row[tokens]) for row in csv.DictReader(lines)]
    return dict(zip(PROBABILITIES, np.quantile(counts, PROBABILITIES), strict=True))


def requests(name: str) -> dict[str, Request]:
    """The requests of a shipped scenario, by column."""
    found = {item.name: item.latency for item in _shipped(name).latencies()}
    return {column: item for column, item in found.items() if isinstance(item, Request)}


@pytest.mark.parametrize(
    ("column", "trace", "tokens"),
    [
        ("sql_prompt", "azure2023/AzureLLMInferenceTrace_conv.csv.gz", "GeneratedTokens"),
        ("sql_context", "mooncake/mooncake_conversation_tokens.csv.gz", "output_length"),
    ],
)
def test_shipped_quantiles_are_those_of_the_traces_that_they_cite(
    column: str, trace: str, tokens: str
) -> None:
    answer = requests("text_to_sql")[column].output_tokens
    assert isinstance(answer, Quantiles)
    assert answer.quantiles == pytest.approx(trace_quantiles(trace, tokens), abs=0.51)


def test_all_scenarios_use_the_same_two_tables() -> None:
    """The quantiles of text_to_sql are checked against the traces; the others repeat them."""
    sql = {column: item.output_tokens for column, item in requests("text_to_sql").items()}
    assert sql["sql_prompt"] == sql["sql"] == sql["code_judge_result"]
    for letter in "abcd":
        name = f"barrier_option_{letter}"
        option = {column: item.output_tokens for column, item in requests(name).items()}
        assert option["instruction"] == option["code_judge_result"] == sql["sql_prompt"]
        assert option["code_implementation"] == sql["sql_context"]


SPLITWISE = "splitwise/median_table.csv"


def test_shipped_endpoints_are_the_measurements_that_they_cite() -> None:
    """Milliseconds a token by batch, and the prompts whose tokens a second bracket the prefill."""
    with shared(SPLITWISE).open(encoding="utf-8") as lines:
        rows = [
            row
            for row in csv.DictReader(lines)
            if (row["model"], row["hardware"]) == ("llama2-70b", "h100-80gb")
            and row["tensor_parallel"] == "8"
        ]
    tpot_s = {
        int(row["batch_size"]): float(row["token_time_ms_p50"]) / 1000
        for row in rows
        if row["prompt_size"] == "512"
    }
    speeds = [
        int(row["prompt_size"]) * size / float(row["prompt_time_ms_p50"]) * 1000
        for row in rows
        if (size := int(row["batch_size"])) >= 16 or row["prompt_size"] == "4096"
    ]
    for name in ("text_to_sql", *(f"barrier_option_{letter}" for letter in "abcd")):
        plan = _shipped(name).endpoint_plans()["nvidia-text"]
        assert plan.speed is not None
        points = dict(plan.speed.points)
        # 2 in a batch measured a little faster than 1; the table leaves it out.
        assert points == pytest.approx({n: tpot_s[n] for n in tpot_s if n != 2}, abs=5.1e-5)
        assert plan.prefill_tokens_per_s is not None
        assert min(speeds) < plan.prefill_tokens_per_s < max(speeds)
        assert plan.max_in_flight == max(tpot_s)


@pytest.mark.parametrize(
    ("name", "recipe"), [("text_to_sql", "text_to_sql"), ("barrier_option_a", "text_to_python")]
)
def test_shipped_prompts_are_the_templates_of_the_recipes_and_the_answers_in_them(
    name: str, recipe: str
) -> None:
    """A template's characters, at four a token; the answers are those of the columns it needs."""
    config = yaml.safe_load(shared(f"configs/{recipe}.yaml").read_text(encoding="utf-8"))
    columns = {item["name"]: item for item in config["data_designer"]["columns"]}
    found = requests(name)
    for column, request in found.items():
        stated = columns[column]
        texts = [stated["prompt"], stated["system_prompt"] or ""]
        if stated.get("scores"):
            texts.append(json.dumps(stated["scores"]))
        drawn = request.prompt_tokens
        assert drawn.expected() == pytest.approx(sum(map(len, texts)) / 4, abs=1)
        needs = _shipped(name).graph().get_column_descriptor(column).dependencies
        assert {item.column for item in drawn.references()} == set(needs) & set(found)


def test_the_limit_of_reviews_is_the_one_that_the_runs_of_the_provider_show() -> None:
    """Ten answers, over a hundred refusals, ten answers: within a minute that two windows share."""
    with gzip.open(shared("llmperf/llmperf_requests.csv.gz"), "rt", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["provider"] == "lepton"]
    for size in ("7b", "13b", "70b"):
        codes = [row["error_code"] for row in rows if row["model_size"] == size]
        answered = [place for place, code in enumerate(codes) if not code]
        assert set(codes) == {"", "429"}
        assert (len(codes), answered[:10]) == (150, [*range(10)])
        assert answered[10] > 120
        assert len(answered) == 20
    with shared("llmperf/llmperf_closed_loop_check.csv").open(encoding="utf-8") as lines:
        walls = [
            float(row["published_wall_s"])
            for row in csv.DictReader(lines)
            if row["provider"] == "lepton"
        ]
    assert max(walls) < 60
    (limit,) = _shipped("reviews_rate_limited").endpoint_plans()["endpoint"].limits
    assert (limit.counts, limit.amount, limit.per_s, limit.window) == ("requests", 10, 60, "fixed")
    drawn = [item.latency for item in _shipped("reviews_rate_limited").latencies()]
    latency, *others = (item for item in drawn if isinstance(item, Quantiles))
    assert all(other == latency for other in others)
    seconds = [
        float(row["end_to_end_latency_s"])
        for row in rows
        if row["model_size"] == "70b" and not row["error_code"]
    ]
    table = dict(zip(latency.quantiles, np.quantile(seconds, [*latency.quantiles]), strict=True))
    assert latency.quantiles == pytest.approx(table, abs=6e-4)


def test_the_barrier_options_differ_in_barriers_and_checkpoints_only() -> None:
    def rest(letter: str) -> dict[str, Any]:
        data = _shipped(f"barrier_option_{letter}").model_dump(
            exclude={"name", "description", "batch_size", "barrier_scope"}
        )
        data["checkpoint"].pop("version")
        for column in data["columns"]:
            column["traits"] = [t.removeprefix("BATCH_") for t in column["traits"]]
        return data

    assert rest("a") == rest("b") == rest("c") == rest("d")
    versions = [
        _shipped(f"barrier_option_{x}").model_dump()["checkpoint"]["version"] for x in "abcd"
    ]
    assert versions == [1, 1, 2, 2]
    scopes = [
        [item.scope_rows for item in _shipped(f"barrier_option_{x}").latencies() if item.scope_rows]
        for x in "abcd"
    ]
    assert scopes == [[500, 500], [100, 100], [500, 500], [100, 500]]


def _shipped(name: str) -> Scenario:
    return load_scenario(SIMULATIONS / f"{name}.yaml")


@pytest.mark.datadesigner
def test_the_azure_scenario_takes_its_pipeline_from_datadesigner() -> None:
    shared("configs/text_to_sql.yaml")
    pytest.importorskip("data_designer", reason="needs the extra cellspec[datadesigner]")
    scenario = _shipped("text_to_sql_azure")
    assert columns_and_edges(scenario) == columns_and_edges(_shipped("text_to_sql"))
    assert scenario.column_resource == _shipped("text_to_sql").column_resource
    assert scenario.resource_limits == {"nvidia-text": 4}
    plan = scenario.endpoint_plans()["nvidia-text"]
    assert plan == _shipped("text_to_sql").endpoint_plans()["nvidia-text"]
    by_name = {item.name: item.latency for item in scenario.latencies()}
    prompt, query = by_name["sql_prompt"], by_name["sql"]
    assert isinstance(prompt, Request)
    assert isinstance(query, Request)
    means = [count.expected() for item in (prompt, query) for count in item.counts]
    assert means == pytest.approx([1154.7, 211.1, 2047.8, 27.9], abs=0.1)


def test_without_the_extra_a_pipeline_is_refused_by_its_name() -> None:
    shared("configs/text_to_sql.yaml")
    try:
        import data_designer  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"pip install '\.\[datadesigner\]'"):
            _shipped("text_to_sql_azure")
    else:
        pytest.skip("the extra cellspec[datadesigner] is installed")


# Cost


def test_importing_scenarios_does_not_import_numpy_or_datadesigner() -> None:
    code = (
        "import sys, sim.scenario.loader\n"
        "print([x for x in ('numpy', 'simpy', 'data_designer') if x in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
