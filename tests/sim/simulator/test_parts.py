"""What may go wrong in a run is simulated, judged, recorded, and repeatable."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, FailurePolicy, SpecError
from cellspec.check.checker import check_file
from cellspec.conformance.judge.verdict import judge_trace
from cellspec.trace import TraceWriter, header_for
from sim.draws import unit
from sim.scenario.loader import load_scenario
from sim.simulator.call_outcomes import ColumnRates, DrawnOutcomes
from sim.simulator.outcome import Outcome
from sim.simulator.plan import RunPlan
from sim.simulator.simulator import Simulator
from tests.matrix.examples import Example, TableLatency, examples
from tests.matrix.subject import Subject

ONE_KIND = ExecutionTraits.BARRIER | ExecutionTraits.BATCH_BARRIER
SCENARIO: dict[str, Any] = {
    "name": "failing",
    "rows": 60,
    "seed": 3,
    "columns": [
        {"name": "topic", "traits": ["START", "ROW_STREAMABLE"], "range_rows": 7, "skip_rate": 0.1},
        {
            "name": "draft",
            "dependencies": ["topic"],
            "resource": "llm",
            "latency": {"model": "exponential", "mean_s": 2.0},
        },
        {"name": "check", "traits": ["BATCH_BARRIER"], "dependencies": ["draft"]},
        {"name": "answer", "dependencies": ["check", "draft"], "propagate_skip": False},
    ],
    "batch_size": 10,
    "limits": {"workers": 8, "resources": {"llm": 3}, "row_groups": {"rows": 10, "admitted": 2}},
    "checkpoint": {"every_rows": 10, "version": 2, "write_s": 0.5},
    "crashes": [{"at_event": 100}],
    "failures": {
        "max_attempts": 2,
        "by_resource": {"llm": {"retryable": 0.2, "back_pressure": 0.2, "permanent": 0.02}},
        "by_column": {"check": {"retryable": 0.3, "permanent": 0.1}},
        "backoff": {"jitter": 0.5},
    },
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "failing.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}), encoding="utf-8")
    return path


def sim(*args: str | Path, seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sim", *map(str, args)],
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": seed, "PATH": ""},
        check=False,
    )


class Calm:
    """Outcomes of a run in which nothing goes wrong: it has every part, and takes none of them."""

    def of_cell(self, column: int, row: int, call: int) -> None:
        pass

    def may_fail(self, column: int) -> bool:  # noqa: ARG002
        return False

    def only_failure(self, column: int) -> None:
        pass

    def foresees(self, column: int) -> bool:  # noqa: ARG002
        return False

    def failing(self, *_: Any) -> NoReturn:
        raise AssertionError

    backoffs_s = ()

    def of_skips(self, column: int) -> None:
        pass

    def of_barrier(self, column: int, scope: int, call: int) -> None:
        pass

    def skips(self, column: int, row: int) -> bool:  # noqa: ARG002
        return False

    def backoff_s(self, *_: Any) -> float:
        raise AssertionError


@pytest.mark.parametrize("parts", ["recorded", "may fail", "may stop", "all"])
@pytest.mark.parametrize("example", examples(), ids=lambda e: e.name.replace(" ", "-"))
def test_parts_that_have_nothing_to_do_change_nothing(example: Example, parts: str) -> None:
    graph, plan = Subject().graph_of(example), example.plan
    notified: list[str] = []
    options: dict[str, Any] = {}
    if parts in ("recorded", "all"):
        options["notify"] = lambda event, _t, **_f: notified.append(event)
    if parts in ("may fail", "all"):
        options["outcomes"] = Calm()
    if parts in ("may stop", "all"):
        plan = dataclasses.replace(plan, failures=FailurePolicy(3, 1, 1.0))
    plain = Simulator(graph, TableLatency(example.seed), example.plan).run()
    found = Simulator(graph, TableLatency(example.seed), plan, **options).run()
    for name in (field.name for field in dataclasses.fields(Outcome)):
        assert getattr(found, name) == getattr(plain, name), name
    assert notified.count("end") == (parts in ("recorded", "all"))


def failing_run(seed: int) -> tuple[ExecutionGraph, RunPlan, DrawnOutcomes] | None:
    """A random run with everything in it; None if its limits could never admit a barrier."""
    draw = random.Random(seed)
    example = examples()[-1 - seed % 28]
    columns = []
    for name, _, _, traits, needs, side in example.columns:
        if draw.random() < 0.4 and not traits & ONE_KIND:
            traits |= ExecutionTraits.ROW_STREAMABLE
        skips: dict[str, Any] = {
            "may_skip": draw.random() < 0.3,
            "propagate_skip": draw.random() < 0.7,
        }
        columns.append(ColumnDescriptor(name, None, None, traits, needs, side, **skips))
    graph = ExecutionGraph(
        example.rows, columns, batch_size=example.batch_size, barrier_scope=example.scope
    )
    size = draw.choice([None, 1, 2, 3])
    limits = dataclasses.replace(
        example.plan.limits,
        group_rows=size,
        groups=None if size is None else draw.choice([None, 1, 2, 9]),
    )
    window = draw.choice([None, 3])
    plan = dataclasses.replace(
        example.plan,
        limits=limits,
        failures=FailurePolicy(draw.randint(1, 3), window, 0.3),
        range_rows={name: draw.randint(1, 4) for name in graph.column_names},
    )
    rates = [
        ColumnRates(
            draw.choice([0, 0.2]),
            draw.choice([0, 0.2]),
            draw.choice([0, 0.1]),
            draw.choice([0, 0.4]),
        )
        for _ in columns
    ]
    try:
        Simulator(graph, TableLatency(seed), plan)
    except SpecError:
        return None
    return graph, plan, DrawnOutcomes(seed, rates)


def test_no_run_with_failures_breaks_a_clause_and_every_trace_of_one_passes(
    tmp_path: Path,
) -> None:
    seen: set[str] = set()
    for seed in range(150):
        made = failing_run(seed)
        if made is None:
            continue
        graph, plan, outcomes = made
        path = tmp_path / f"{seed}.jsonl"
        header = header_for(
            graph,
            engine="simulator",
            version="0",
            limits=plan.limits,
            failures=plan.failures,
            claims=("core", "work_conserving"),
        )
        with TraceWriter(path, header) as trace:
            outcome = Simulator(
                graph, TableLatency(seed), plan, outcomes=outcomes, notify=trace.add
            ).run()
        result = check_file(path)
        assert judge_trace(result).passed, (seed, result.violations)
        seen.add(outcome.outcome)
        seen.update(line["event"] for line in map(json.loads, path.open()) if "event" in line)
    wanted = {"fail", "drop", "skip", "admit", "retire", "stop", "crash", "resume", "emit"}
    assert wanted | {"success", "stopped"} <= seen


ENDPOINT: dict[str, Any] = {
    "endpoints": {
        "llm": {
            "work": {"full_speed": 1},
            "max_in_flight": 2,
            "limits": [{"requests": 9, "per_s": 5}],
            "outages": [{"from_s": 5, "to_s": 7, "running": "fail"}],
        }
    },
    "throttle": {"llm": {"start": 3}},
    "scheduler": {"start_s": 0.001, "end_s": 0.001},
}


@pytest.mark.parametrize("changes", [{}, ENDPOINT], ids=["plain", "behind an endpoint"])
def test_a_failing_scenario_prints_and_traces_the_same_bytes_for_any_hash_seed(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path, **changes)
    runs = []
    for seed in ("0", "1", "12345"):
        trace = tmp_path / f"{seed}.jsonl"
        done = sim("run", path, "--trace", trace, seed=seed)
        assert done.returncode == 0, done.stderr
        runs.append((done.stdout, trace.read_bytes()))
    assert runs[0] == runs[1] == runs[2]
    assert "rows dropped" in runs[0][0]
    checked = sim("check", tmp_path / "0.jsonl")
    assert checked.returncode == 0, checked.stdout


def test_an_early_stop_ends_the_run_as_stopped_and_keeps_finished_rows(tmp_path: Path) -> None:
    broken = {"by_column": {"answer": {"permanent": 0.9}}, "early_stop": {"window": 5, "rate": 0.8}}
    path = write(
        tmp_path, failures=broken, crashes=[], limits={"workers": 2, "resources": {"llm": 1}}
    )
    done = sim("run", path, "--format", "json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["outcome"] == "stopped"
    assert result["checkpoints"] > 0


BAD = [
    ({"failures": {"max_attempts": 0}}, "failures.max_attempts: expected"),
    ({"failures": {"default": {"retryable": 1.5}}}, "failures.default.retryable: expected"),
    (
        {"failures": {"default": {"back_pressure": 1.0}}},
        "failures.default.back_pressure: expected less than 1, got 1: where every call is told to",
    ),
    (
        {"failures": {"default": {"retryable": 0.6, "permanent": 0.6}}},
        "failures.default: expected shares that add up to at most 1, got 1.2",
    ),
    ({"failures": {"by_column": {"nobody": {}}}}, "failures.by_column.nobody: no column 'nobody'"),
    ({"failures": {"by_resource": {"gpu": {}}}}, "failures.by_resource.gpu: no column takes 'gpu'"),
    (
        {
            "limits": {
                "workers": 1,
                "resources": {"llm": 1},
                "row_groups": {"rows": 3, "admitted": 1},
            }
        },
        "limits.row_groups.admitted: ",
    ),
]


@pytest.mark.parametrize(("change", "expected"), BAD)
@pytest.mark.clause("GROUP-04")
def test_a_bad_failure_field_is_named_in_one_line(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(SpecError) as caught:
        load_scenario(write(tmp_path, **change))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_outcomes_of_calls_do_not_depend_on_what_was_asked_before() -> None:
    columns = [ColumnRates(0.3, 0.3, 0.1, 0.5)] * 2
    keys = [(column, row, call) for column in (0, 1) for row in range(30) for call in (1, 2, 3)]
    first, second = DrawnOutcomes(5, columns), DrawnOutcomes(5, columns)
    forward = {key: first.of_cell(*key) for key in keys}
    backward = {key: second.of_cell(*key) for key in reversed(keys)}
    assert forward == backward
    assert {None, "retryable", "backpressure", "permanent"} == set(forward.values())


def test_as_many_calls_meet_back_pressure_as_the_rate_says() -> None:
    outcomes = DrawnOutcomes(1, [ColumnRates(backpressure=0.9)])
    calls = []
    for row in range(2_000):
        call = 1
        while outcomes.of_cell(0, row, call) is not None:
            call += 1
        calls.append(call)
    # Geometric: the mean is 10, and of 2,000 of them the standard error is 0.21.
    assert abs(sum(calls) / len(calls) - 10) < 0.8
    assert max(calls) > 40


def test_back_pressure_for_ever_is_refused() -> None:
    with pytest.raises(SpecError, match="never ends"):
        DrawnOutcomes(1, [ColumnRates(backpressure=1.0)])


def test_drawn_numbers_are_spread_evenly() -> None:
    numbers = [unit(7, 1, row, 1, 0) for row in range(20_000)]
    assert all(0 <= number < 1 for number in numbers)
    for low in range(10):
        share = sum(low / 10 <= number < (low + 1) / 10 for number in numbers) / len(numbers)
        assert abs(share - 0.1) < 0.01
