"""The printed figures of a run are those that an independent program works out from its trace."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import sim.simulator.timings
from cellspec.check.checker import check_file
from cellspec.conformance.judge.verdict import Verdict, judge_trace
from cellspec.state.checkpoint import make_payload
from cellspec.state.claims import as_rows
from sim.figures import KEPT_CALLS, SAMPLED_CELLS
from sim.scenario.loader import load_scenario
from sim.scenario.sampler import LatencySource
from sim.simulator.simulator import Simulator
from tests.recompute import figures
from tests.recompute.__main__ import report
from tests.recompute.comparison import Comparison, compare, compare_one
from tests.recompute.faults import FAULTS, Fault
from tests.recompute.figures import NOT_FIGURES, differences, figure_of, recompute
from tests.recompute.history import read
from tests.recompute.runner import run, run_csv
from tests.recompute.scenarios import draw
from tests.theory.test_kinds import BY_HAND

pytestmark = pytest.mark.invariant

HERE = Path(__file__).parents[1] / "recompute"
PAGE = Path(__file__).parents[2] / "simulations" / "figures.md"

# The example of plans/trace.md, short: a topic, an answer that takes a model, a barrier over both
# rows. The answer of row 0 fails, is tried again, and fails for good.
SCENARIO: dict[str, Any] = {
    "name": "example",
    "policy": "fifo",
    "columns": [],
    "limits": {},
    "failures": {},
    "checkpoint": {"version": 1},
}
COLUMNS = [("topic", ["START"], []), ("answer", [], ["topic"]), ("twin", ["BARRIER"], ["answer"])]
HEADER = {
    "trace": 1,
    "seed": 3,
    "graph": {
        "rows": 2,
        "columns": [
            {"name": name, "traits": traits, "needs": needs, "side_effects": []}
            | {"may_skip": False, "propagate_skip": True}
            for name, traits, needs in COLUMNS
        ],
        "batch_size": None,
        "barrier_scope": "declared",
    },
    "limits": {"workers": 2, "resources": {"model": 1}, "column_resource": {"answer": "model"}},
}
EVENTS: list[dict[str, Any]] = [
    {"t": 0.0, "event": "start", "column": "topic", "rows": 0},
    {"t": 0.0, "event": "start", "column": "topic", "rows": 1},
    {"t": 0.5, "event": "complete", "column": "topic", "rows": 0},
    {"t": 0.5, "event": "start", "column": "answer", "rows": 0},
    {"t": 0.5, "event": "complete", "column": "topic", "rows": 1},
    {"t": 2.0, "event": "fail", "column": "answer", "rows": 0, "failure": "retryable"}
    | {"until": 3.0},
    {"t": 2.0, "event": "start", "column": "answer", "rows": 1},
    {"t": 3.0, "event": "complete", "column": "answer", "rows": 1},
    {"t": 3.0, "event": "start", "column": "answer", "rows": 0, "attempt": 2},
    {"t": 4.0, "event": "fail", "column": "answer", "rows": 0, "failure": "permanent"},
    {"t": 4.0, "event": "drop", "column": "answer", "rows": 0},
    {"t": 4.0, "event": "start", "column": "twin", "scope": 0, "reads": [[1, 2]]},
    {"t": 4.5, "event": "complete", "column": "twin", "scope": 0},
    {"t": 4.5, "event": "emit", "column": "twin", "rows": 1},
    {"t": 4.5, "event": "durable", "rows": [0, 2]},
    {"t": 4.5, "event": "checkpoint_begin", "claim": {"topic": 2, "answer": 2, "twin": 2}},
    {"t": 4.75, "event": "checkpoint_durable"},
    {"t": 4.75, "event": "end", "outcome": "success"},
]


def example() -> dict[str, Any]:
    footer = {"footer": True, "events": len(EVENTS)}
    return recompute(SCENARIO, read(map(json.dumps, [HEADER, *EVENTS, footer])))


def test_the_figures_of_a_small_run_are_those_worked_out_by_hand() -> None:
    found = example()
    assert {
        "rows_tried": 2,
        "rows_delivered": 1,
        "rows_dropped": 1,
        "cells_made": 3,
        "cells_done": 4,
        "first_row_s": 4.5,
        # The first answer of row 1 starts at 2 s, and the row is whole at 4.5 s.
        "row_age_p50_s": 2.5,
        "row_age_mean_s": 2.5,
        # answer[1] has its value while row 0 is not resolved.
        "window_rows": 2,
        "worker_busy_s": 0.5 + 0.5 + 1.5 + 1.0 + 1.0 + 0.5,
        "worker_utilisation": 5.0 / (2 * 4.75),
        "checkpoint_bytes": len('{"version": 1, "completed_rows": 2}'),
    }.items() <= found.items()
    # From its start to 3 s, and to 4.5 s for row 0 and for the barrier's own call.
    assert found["row_time"] == [
        {"part": "running", "mean_s": 1.0, "share": 0.4},
        {"part": "barrier", "mean_s": 1.5, "share": 0.6},
    ]
    assert [item["call_p99_s"] for item in found["by_column"]] == [0.5, 1.0, None]
    model = found["by_resource"][0]
    # answer[0] never waits, its rest left out; answer[1] waits for it from 0.5 s to 2 s.
    assert (model["calls"], model["wait_calls"], model["wait_s"]) == (3, 3, 1.5)
    assert (model["wait_p50_s"], model["wait_p95_s"]) == (0.0, 1.5)
    assert model["busy_s"] == 3.5
    assert found["failures"][1] == {
        "column": "answer",
        "retryable": 1,
        "backpressure": 0,
        "permanent": 1,
        "rows_dropped": 1,
        "skipped": 0,
    }


def of_endpoint(folder: Path) -> dict[str, Any]:
    """The figures of a run with an endpoint and a throttle that no run without them has."""
    latency = {"model": "constant", "value_s": 1}
    data = scenario({"name": "a", "traits": ["START"], "resource": "x", "latency": latency})
    data["limits"] = {"workers": 2, "resources": {"x": 2}}
    data |= {"endpoints": {"x": {"work": {"full_speed": 1}}}, "throttle": {"x": {"start": 1}}}
    found = recompute(data, read(run(data, folder).trace))
    return {key: value for key, value in found.items() if key not in example()}


def test_every_figure_on_the_page_is_worked_out_and_no_other(tmp_path: Path) -> None:
    # `tests.sim.test_beside` works out what several pipelines have in common.
    text, _, _ = PAGE.read_text(encoding="utf-8").partition("## Several pipelines")
    on_page = {
        f"{key.rpartition('.')[0]}.{name}".removeprefix(".")
        for key in re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)
        for name in _names(key.rpartition(".")[2])
    }
    found = example() | of_endpoint(tmp_path)
    worked_out = set()
    for key, value in found.items():
        if isinstance(value, list):
            worked_out |= {f"{key}.{inner}" for inner in value[0]}
        else:
            worked_out.add(key)
    beside = set(re.findall(r"`(\w+)`", text.rpartition("Beside them")[2]))
    names = {
        "by_resource.resource",
        "by_resource.limit",
        "by_column.column",
        "by_column.resource",
        "by_column.barrier",
        "incarnations.incarnation",
        "failures.column",
        "by_endpoint.endpoint",
        *(f"{part}.{key}" for part in ("call_times", "bill") for key in ("column", "endpoint")),
        "bill.cause",
        "binding.binding",
        "row_time.part",
    }
    assert on_page - worked_out == set()
    assert worked_out - on_page - names <= beside
    assert beside >= NOT_FIGURES


def _names(listed: str) -> list[str]:
    """The names of ``a, b``, and of ``a_q1_s … a_q4_s``."""
    first, dots, _ = listed.partition(" … ")
    if dots:
        return [first.replace("1", str(n)) for n in range(1, 5)]
    return listed.split(", ")


def test_sums_may_differ_in_their_last_digits_and_counts_may_not() -> None:
    assert not differences({"a": 1.0}, {"a": 1.0 + 1e-12})
    assert differences({"a": 1.0}, {"a": 1.0 + 1e-8})
    assert differences({"a": 1_000_000_000_000}, {"a": 1_000_000_000_001})
    assert differences({"a": None}, {"a": 0.0})
    assert differences({"a": [1]}, {"a": [1, 2]})
    assert differences({}, {"a": 1})
    assert differences({"a": 1}, {})


PARTS = ("history", "figures", "endpoints", "ready", "chains")


@pytest.mark.parametrize("name", [f"{part}.py" for part in PARTS])
def test_the_figures_are_worked_out_with_the_standard_library_alone(name: str) -> None:
    tree = ast.parse((HERE / name).read_text(encoding="utf-8"))
    modules = {
        *(x.module or "" for x in ast.walk(tree) if isinstance(x, ast.ImportFrom)),
        *(a.name for x in ast.walk(tree) if isinstance(x, ast.Import) for a in x.names),
    }
    others = {x for x in modules if x.partition(".")[0] not in sys.stdlib_module_names}
    assert others <= {f"tests.recompute.{part}" for part in PARTS if part != "figures"}
    assert "importlib" not in modules
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"__import__", "eval", "exec"}


def test_the_printed_figures_are_those_that_the_trace_tells() -> None:
    text, right = report(compare(range(240)))
    assert right, text


def test_a_line_of_csv_holds_the_same_figures(tmp_path: Path) -> None:
    for number in range(20):
        data = draw(0, number)
        worked_out = recompute(data, read(run(data, tmp_path).trace))
        expected = {key: value for key, value in worked_out.items() if not isinstance(value, list)}
        for item in worked_out["by_resource"]:
            if item["resource"] is not None:
                expected |= {f"resource.{item['resource']}.{key}": item[key] for key in item}
        for item in worked_out.get("by_endpoint", ()):
            expected |= {f"endpoint.{item['endpoint']}.{key}": item[key] for key in item}
        line = {key: None if text == "" else text for key, text in run_csv(data, tmp_path).items()}
        named = (".resource", ".endpoint")
        expected = {key: value for key, value in expected.items() if not key.endswith(named)}
        for key, value in expected.items():
            text = line[key]
            if isinstance(value, int | float) and text is not None:
                assert not differences({key: float(text)}, {key: float(value)})
            else:
                assert text == value, key
        assert line.keys() - expected.keys() <= NOT_FIGURES


def test_waits_and_ages_of_a_large_table_are_those_of_a_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (figures.SAMPLED_CELLS, figures.KEPT_CALLS) == (SAMPLED_CELLS, KEPT_CALLS)
    for module in (sim.simulator.timings, figures):
        monkeypatch.setattr(module, "SAMPLED_CELLS", 12)
        monkeypatch.setattr(module, "KEPT_CALLS", 5)
    text, right = report(compare(range(60)))
    assert right, text


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.figure)
def test_a_wrong_definition_is_noticed(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.plant(monkeypatch)
    found = compare(range(400), until=fault.figure)
    assert found.wrong, f"{fault.says}: nothing differs"
    _, wrong = found.wrong[-1]
    assert fault.figure in map(figure_of, wrong), wrong


def test_at_least_fifteen_wrong_definitions_are_planted() -> None:
    assert len({fault.says for fault in FAULTS}) >= 15


def test_calls_are_refused_lost_cut_off_and_made_again_behind_endpoints(tmp_path: Path) -> None:
    steps: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    for number in range(300):
        data = draw(0, number)
        if "endpoints" not in data:
            continue
        done = run(data, tmp_path)
        events = map(json.loads, done.trace[1:-1])
        steps.update(event["request"]["step"] for event in events if event["event"] == "request")
        causes.update(item["cause"] for item in done.printed["bill"])
    assert {"queued", "refused", "lost", "answered"} <= steps.keys(), steps
    assert min(causes[cause] for cause in ("first", "done again", "lost")) > 9, causes


def test_a_range_that_a_crash_cuts_off_between_its_rows_gave_nothing(tmp_path: Path) -> None:
    column = {"name": "a", "traits": ["START", "ROW_STREAMABLE"], "range_rows": 2}
    data = {
        "name": "cut",
        "policy": "fifo",
        "rows": 2,
        "columns": [column | {"resource": "chat", "latency": {"model": "constant", "value_s": 2}}],
        "limits": {"workers": 1, "resources": {"chat": 1}},
        "endpoints": {"chat": {}},
        "crashes": [{"at_event": 2}],
    }
    assert compare_one(data, tmp_path, Comparison()) == []
    causes = [item["cause"] for item in run(data, tmp_path).printed["bill"]]
    assert causes == ["first", "lost"]


def test_a_start_is_in_the_quarter_in_which_it_is_exactly(tmp_path: Path) -> None:
    # The floats nearest to 76.35 and to three quarters of 101.8 are the same; the number is less.
    latency = {"model": "list", "values_s": [76.35, 25.45]}
    data = {
        "name": "quarters",
        "rows": 2,
        "columns": [{"name": "a", "traits": ["START"], "latency": latency}],
        "limits": {"workers": 1},
        "policy": "fifo",
    }
    assert compare_one(data, tmp_path, Comparison()) == []


def test_a_call_whose_turn_comes_when_it_is_given_up_is_not_paid(tmp_path: Path) -> None:
    name = "calls whose turn comes when they are given up are not paid"
    data, _ = BY_HAND[name]
    assert compare_one(data, tmp_path, Comparison()) == []


def test_nor_is_one_whose_row_is_dropped_at_that_moment(tmp_path: Path) -> None:
    """Its end is a `complete`, as of every call whose row was dropped while it ran."""
    assert compare_one(draw(0, 2224), tmp_path, Comparison()) == []


def test_nothing_waits_that_failed_and_whose_row_was_dropped_then(tmp_path: Path) -> None:
    assert compare_one(draw(0, 3425), tmp_path, Comparison()) == []


def test_nor_is_one_whose_turn_comes_at_the_end_of_the_run(tmp_path: Path) -> None:
    assert compare_one(draw(0, 2779), tmp_path, Comparison()) == []


def test_an_ordered_barrier_waits_for_a_call_whose_rows_were_dropped(tmp_path: Path) -> None:
    assert compare_one(draw(7, 109), tmp_path, Comparison()) == []


def test_random_scenarios_have_calls_that_take_several_places() -> None:
    taken = [c["resources"] for n in range(600) for c in draw(0, n)["columns"] if "resources" in c]
    assert sum(len(places) > 1 for places in taken) > 20
    assert sum(max(places.values()) > 1 for places in taken) > 20


def test_a_first_row_that_a_crash_loses_is_complete_when_it_is_made_again(tmp_path: Path) -> None:
    column = {"name": "a", "traits": ["START"], "latency": {"model": "constant", "value_s": 10}}
    crashes = [{"at_time_s": 35}, {"at_time_s": 1030}]
    data = scenario(column, rows=4, crashes=crashes, restart_delay_s=980)
    data["limits"]["workers"] = 1
    for more, first_row_s in (
        ({}, 2020.0),
        ({"checkpoint": {"every_rows": 1, "version": 1}}, 10.0),
    ):
        assert not compare_one(data | more, tmp_path, Comparison())
        assert run(data | more, tmp_path).printed["first_row_s"] == first_row_s


def test_an_early_stop_delivers_the_rows_that_are_complete_without_checkpoints_too(
    tmp_path: Path,
) -> None:
    column = {"name": "a", "traits": ["START"], "latency": {"model": "constant", "value_s": 1}}
    failures = {
        "max_attempts": 1,
        "default": {"permanent": 0.05},
        "early_stop": {"window": 20, "rate": 0.2},
    }
    data = scenario(column, rows=1000, failures=failures)
    data["limits"]["workers"] = 1
    assert not compare_one(data, tmp_path, Comparison())
    printed = run(data, tmp_path).printed
    assert printed["outcome"] == "stopped"
    assert printed["rows_delivered"] == printed["rows_tried"] - printed["rows_dropped"] > 100
    assert printed["first_row_s"] == 1.0


def test_rows_that_a_barrier_without_inputs_fails_for_were_tried(tmp_path: Path) -> None:
    data = scenario(
        {"name": "a", "traits": ["START", "BARRIER"]},
        rows=6,
        failures={"by_column": {"a": {"permanent": 1.0}}},
    )
    assert not compare_one(data, tmp_path, Comparison())
    printed = run(data, tmp_path).printed
    assert (printed["rows_tried"], printed["rows_dropped"]) == (6, 6)


def test_of_no_cells_done_no_share_is_lost(tmp_path: Path) -> None:
    column = {"name": "a", "traits": ["START"], "skip_rate": 1.0}
    data = scenario(column, crashes=[{"at_event": 2}])
    assert not compare_one(data, tmp_path, Comparison())
    printed = run(data, tmp_path).printed
    assert (printed["cells_done"], printed["cells_done_again_share"]) == (0, None)


def test_a_range_makes_nothing_of_rows_that_were_dropped_in_the_meantime(tmp_path: Path) -> None:
    slow = {"model": "constant", "value_s": 4}
    data = scenario(
        {"name": "a", "traits": ["START", "ROW_STREAMABLE"], "range_rows": 2, "latency": slow},
        {"name": "b", "traits": ["START"], "latency": {"model": "constant", "value_s": 1}},
        failures={"by_column": {"b": {"permanent": 1.0}}},
        checkpoint={"every_rows": 1, "write_s": 9, "version": 1},
    )
    assert not compare_one(data, tmp_path, Comparison())
    assert run(data, tmp_path).printed["cells_done"] == 0


@pytest.mark.parametrize("own", [False, True])
def test_a_call_that_takes_too_long_ends_at_its_bound(own: bool, tmp_path: Path) -> None:
    slow = {"model": "exponential", "mean_s": 4.0}
    stream = {"name": "b", "traits": ["START", "ROW_STREAMABLE"], "range_rows": 3, "latency": slow}
    data = scenario(
        {"name": "a", "traits": ["START"], "latency": slow},
        stream | ({"timeout_s": 2.5} if own else {}),
        {"name": "c", "traits": ["BARRIER"], "dependencies": ["a"], "latency": slow},
        rows=30,
        failures={"max_attempts": 3, "timeout_s": 3.0, "default": {"retryable": 0.1}},
        crashes=[{"at_time_s": 9.5}, {"random": {"mean_s": 20.0, "count": 3}}],
        checkpoint={"every_rows": 2, "version": 3},
    )
    assert not compare_one(data, tmp_path, Comparison())
    done = run(data, tmp_path)
    header, *events = map(json.loads, done.trace)
    assert header.get("timeout_s") == (None if own else 3.0)
    assert "timeouts" in header["claims"]
    assert sum(event.get("failure") == "timeout" for event in events) > 9
    judged = judge_trace(check_file(tmp_path / "run.jsonl"))
    assert judged.verdict == Verdict.PASS, judged


def test_no_time_at_all_is_lost_or_busy_where_calls_end_when_they_begin(tmp_path: Path) -> None:
    # The resume comes at 0.1 s, and 0.1 + 0.3 - 0.1 is not 0.3.
    data = scenario(
        {"name": "a", "traits": ["START"], "latency": {"model": "constant", "value_s": 0.3}},
        {"name": "b", "traits": ["START"]},
        crashes=[{"at_time_s": 0.0}],
        restart_delay_s=0.1,
        failures={"by_column": {"b": {"permanent": 1.0}}},
    )
    data["limits"] = {"workers": 16}
    assert not compare_one(data, tmp_path, Comparison())
    printed = run(data, tmp_path).printed
    assert (printed["worker_busy_s"], printed["busy_lost_share"]) == (0.0, None)


def scenario(*columns: dict[str, Any], **rest: Any) -> dict[str, Any]:
    """Two rows, three workers."""
    return {
        "name": "small",
        "rows": 2,
        "columns": list(columns),
        "limits": {"workers": 3},
        "policy": "fifo",
        **rest,
    }


def test_a_checkpoint_that_blocks_holds_up_what_is_ready(tmp_path: Path) -> None:
    column = {"name": "a", "traits": ["START"], "resource": "gpu"}
    data = {
        "name": "blocks",
        "rows": 4,
        "columns": [column | {"latency": {"model": "constant", "value_s": 3.0}}],
        "limits": {"workers": 2, "resources": {"gpu": 1}},
        "policy": "fifo",
        "endpoints": {"gpu": {}},
        "checkpoint": {"version": 1, "every_rows": 1, "write_s": 1.0, "blocking": True},
    }
    assert compare_one(data, tmp_path, Comparison()) == []
    held = {item["binding"]: item["share"] for item in run(data, tmp_path).printed["binding"]}
    # The last call and the last write let nothing wait.
    assert held == pytest.approx({"resource gpu": 9 / 16, "checkpoint": 3 / 16, "pipeline": 4 / 16})


def _writes() -> dict[str, Any]:
    column = {
        "name": "a",
        "traits": ["START"],
        "latency": {"model": "exponential", "mean_s": 1.0},
    }
    data = scenario(column, rows=40, redo="fresh", seed=5)
    data["limits"]["workers"] = 2
    data["checkpoint"] = {"every_rows": 4, "version": 1, "write_s": 1.5, "blocking": True}
    return data


def test_a_write_that_does_not_block_is_seen_by_what_starts_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not compare_one(_writes(), tmp_path, Comparison())
    monkeypatch.setattr(Simulator, "_behind_writes", lambda _, dispatch: dispatch)
    wrong = compare_one(_writes(), tmp_path, Comparison())
    assert any("a call started in a write" in text for text in wrong), wrong


def test_the_same_draws_after_a_crash_are_seen_by_how_long_the_calls_take_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash that loses all, the same draws end calls at the same times, 3 s later."""

    def seconds() -> list[float]:
        done = run(data, tmp_path)
        assert done.code == 0, done.said
        ends = [json.loads(line) for line in done.trace[1:-1]]
        return [event["t"] for event in ends if event["event"] == "complete"]

    data = _writes() | {"crashes": [{"at_time_s": 3.0}]}
    del data["checkpoint"]
    fresh = seconds()
    monkeypatch.setattr(LatencySource, "begin", lambda source, incarnation: None)  # noqa: ARG005
    again = seconds()
    lost = sum(t <= 3.0 for t in fresh)
    assert fresh[:lost] == again[:lost]
    made = [t - 3.0 for t in again[lost : 2 * lost]]
    assert made == pytest.approx(again[:lost]), "a crash that changes nothing but the clock"
    assert [t - 3.0 for t in fresh[lost : 2 * lost]] != pytest.approx(fresh[:lost])


@pytest.mark.parametrize("claimed", [{"a": 2, "b": 2}, {"a": 3, "b": 2}, {"a": [[0, 2], [3, 4]]}])
def test_the_last_checkpoint_of_a_run_that_states_none_holds_what_it_found(
    claimed: dict[str, Any], tmp_path: Path
) -> None:
    columns = [{"name": "a", "traits": ["START"]}, {"name": "b", "dependencies": ["a"]}]
    data = {**scenario(columns[0], rows=5), "columns": columns}
    path = tmp_path / "of_graph.yaml"
    path.write_text(json.dumps(data), encoding="utf-8")
    claim = [claimed.get(name, [[0, 2]]) for name in ("a", "b")]
    rows = tuple(one if isinstance(one, int) else as_rows(list(map(tuple, one))) for one in claim)
    version = 2 if all(isinstance(one, int) for one in claim) else 3
    data["start_from"] = make_payload(load_scenario(path).graph(), rows, version)
    assert not compare_one(data, tmp_path, Comparison())


def test_a_barrier_waits_for_no_group_of_rows_that_were_found_whole(tmp_path: Path) -> None:
    """It is ready when the last row that is left is there, though no group of the others comes."""
    columns: list[Any] = [
        {"name": "a", "traits": ["START"], "latency": {"model": "constant", "value_s": 1.0}},
        {"name": "slow", "traits": ["START"], "latency": {"model": "constant", "value_s": 5.0}},
        {"name": "all", "traits": ["BARRIER"], "dependencies": ["a"]},
    ]
    for column in columns:
        column["resource"] = "x"
    data = {**scenario(columns[0], rows=3), "columns": columns}
    data["limits"] = {"workers": 4, "resources": {"x": 1}}
    data |= {"scheduler": {"start_s": 0.25}, "arrivals": {"model": "constant", "value_s": 0.0}}
    data["start_from"] = {"version": 1, "completed_rows": 2}
    assert not compare_one(data, tmp_path, Comparison())
