"""Endpoints in scenario files: the plans that a run takes, and one clear line for what is wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cellspec.errors import SpecError
from sim.cli import main
from sim.endpoints.plan import (
    ColdStart,
    EndpointPlan,
    LimitPlan,
    Outage,
    Pause,
    Price,
    RefusalPlan,
    SerialPlan,
    SpeedTable,
    ThrottlePlan,
)
from sim.scenario.loader import load_scenario
from sim.simulation import make_simulator, run_plan
from tests.sim.scenario.test_scenario import SIMULATIONS, refusal, write

EVERYTHING: dict[str, Any] = {
    "work": {1: 1.0, 4: 0.8},
    "beyond": "line",
    "prefill_tokens_per_s": 10500,
    "prefill_stalls_decode": True,
    "max_in_flight": 64,
    "queue": 200,
    "kv_tokens": 400000,
    "limits": [
        {"requests": 600, "per_s": 60},
        {"tokens": 200000, "per_s": 60, "burst": 250000, "give_back": True},
        {"tokens": 9000, "per_s": 6, "charge": "used"},
        {"requests": 10, "per_s": 1, "window": "fixed"},
    ],
    "refusal": {"latency_s": 0.05, "retry_after": "none", "charged": True},
    "outages": [{"from_s": 50, "to_s": 60}, {"from_s": 3, "to_s": 4, "running": "hang"}],
    "pauses": [{"from_s": 7200, "to_s": 7260}],
    "cold_start": {"first_s": 40, "idle_s": 300},
    "price": {"prompt_per_million": 0.6, "output_per_million": 2.4, "cached_share": 0.5},
}


def with_endpoint(folder: Path, endpoint: dict[str, Any], **more: Any) -> Path:
    """A scenario file whose resource `gpu`, with 2 calls at once, has an endpoint."""
    return write(folder, {"endpoints": {"gpu": endpoint}, **more})


# What the words mean


def test_an_endpoint_becomes_the_plan_of_a_run(tmp_path: Path) -> None:
    plan = run_plan(load_scenario(with_endpoint(tmp_path, EVERYTHING)))
    assert plan.endpoints == {
        "gpu": EndpointPlan(
            name="gpu",
            speed=SpeedTable(((1, 1.0), (4, 1.25)), "line"),
            prefill_tokens_per_s=10500,
            prefill_stalls_decode=True,
            max_in_flight=64,
            queue=200,
            kv_tokens=400000,
            limits=(
                LimitPlan("requests", 600, 60, 600),
                LimitPlan("tokens", 200000, 60, 250000, give_back=True),
                LimitPlan("tokens", 9000, 6, 9000, charge="used"),
                LimitPlan("requests", 10, 1, 10, window="fixed"),
            ),
            refusal=RefusalPlan(0.05, "none", True),
            outages=(Outage(3, 4, "hang"), Outage(50, 60, "fail")),
            pauses=(Pause(7200, 7260),),
            cold_start=ColdStart(40, 300),
            price=Price(0.6, 2.4, 0.5),
        )
    }


def test_an_endpoint_without_words_takes_any_number_of_calls_at_their_own_speed(
    tmp_path: Path,
) -> None:
    scenario = load_scenario(with_endpoint(tmp_path, {"cold_start": {"first_s": 2}}))
    assert scenario.endpoint_plans() == {
        "gpu": EndpointPlan(name="gpu", cold_start=ColdStart(2, math.inf))
    }


def test_full_speed_is_shared_by_those_above_it(tmp_path: Path) -> None:
    scenario = load_scenario(with_endpoint(tmp_path, {"work": {"full_speed": 8}}))
    speed = scenario.endpoint_plans()["gpu"].speed
    assert speed is not None
    assert [speed.unit_s(n) for n in (1, 8, 9, 16, 80)] == [1, 1, 9 / 8, 2, 10]


@pytest.mark.parametrize("keys", [(1, 2, 4), ("1", "2", "4"), (4, 1, 2)])
def test_the_points_of_a_table_are_numbers_in_any_order(tmp_path: Path, keys: Any) -> None:
    """JSON writes each key as a string."""
    values = {int(key): 0.25 * int(key) for key in keys}
    table = {key: values[int(key)] for key in keys}
    scenario = load_scenario(with_endpoint(tmp_path, {"work": table}))
    speed = scenario.endpoint_plans()["gpu"].speed
    assert speed == SpeedTable(((1, 4.0), (2, 2.0), (4, 1.0)))


def test_a_throttle_begins_at_the_clients_limit_and_stays_below_it(tmp_path: Path) -> None:
    file = write(tmp_path, {"throttle": {"gpu": {}}})
    assert run_plan(load_scenario(file)).throttles == {"gpu": ThrottlePlan(start=2, most=2)}
    words = {"start": 1, "decrease": 0.5, "increase": 2, "successes": 3, "cool_down_s": 4}
    file = write(tmp_path, {"throttle": {"gpu": {**words, "ramp_s": 0}}})
    assert load_scenario(file).throttle_plans() == {"gpu": ThrottlePlan(1, 0.5, 2, 3, 4.0, most=2)}


def test_the_scheduler_takes_time(tmp_path: Path) -> None:
    assert run_plan(load_scenario(write(tmp_path))).serial is None
    file = write(tmp_path, {"scheduler": {"start_s": 0.0004, "end_s": 0.0003}})
    assert run_plan(load_scenario(file)).serial == SerialPlan(0.0004, 0.0003)


def test_the_time_out_of_a_column_goes_before_the_general_one(tmp_path: Path) -> None:
    general = {"failures": {"timeout_s": 120}}
    assert run_plan(load_scenario(write(tmp_path, general))).timeouts == dict.fromkeys("abc", 120)
    file = write(tmp_path, {**general, "columns[1].timeout_s": 5})
    assert load_scenario(file).timeouts() == {"a": 120, "b": 5, "c": 120}
    file = write(tmp_path, {"failures": {}, "columns[1].timeout_s": 5})
    assert load_scenario(file).timeouts() == {"b": 5}


def test_what_is_said_of_endpoints_is_written_down_and_read_back(tmp_path: Path) -> None:
    more = {
        "throttle": {"gpu": {"start": 2}},
        "scheduler": {"start_s": 1},
        "failures": {"timeout_s": 2},
        "columns[1].timeout_s": 5,
    }
    scenario = load_scenario(with_endpoint(tmp_path, EVERYTHING, **more))
    (tmp_path / "again.yaml").write_text(scenario.to_yaml())
    again = load_scenario(tmp_path / "again.yaml")
    assert run_plan(again) == run_plan(scenario)
    assert again.digest() == scenario.digest()


# Digests


def test_a_scenario_without_endpoints_has_the_digest_that_it_had(tmp_path: Path) -> None:
    """Digests of November 2026, before there were endpoints."""
    assert load_scenario(write(tmp_path)).digest() == "5cfd3b1a42339b0dfc0fe82bca378fdc"
    failing = write(tmp_path, {"failures": {"max_attempts": 2}})
    assert load_scenario(failing).digest() == "4568e86932fa6ca1ae15b449654e95ef"
    shipped = load_scenario(SIMULATIONS / "million.yaml")
    assert shipped.digest() == "306c298889c7a931102113ff164ae378"


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoints": {"gpu": {}}},
        {"endpoints": {"gpu": {"work": {"full_speed": 2}}}},
        {"throttle": {"gpu": {}}},
        {"scheduler": {"start_s": 1}},
        {"failures": {"timeout_s": 2}},
        {"columns[1].timeout_s": 2, "failures": {}},
    ],
)
def test_each_new_word_changes_the_digest(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"failures": {}} if "failures" in changes else {}
    before = load_scenario(write(tmp_path, plain)).digest()
    assert load_scenario(write(tmp_path, changes)).digest() != before


# What is not simulated yet


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"endpoints": {"gpu": {}}}, "'endpoints'"),
        ({"throttle": {"gpu": {}}}, "'throttle'"),
        ({"scheduler": {"start_s": 1}}, "'scheduler'"),
    ],
)
def test_what_is_not_simulated_yet_is_not_left_out_in_silence(
    tmp_path: Path, changes: dict[str, Any], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, changes)
    with pytest.raises(SpecError, match=word):
        make_simulator(load_scenario(file), None)
    assert main(["run", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line


def test_a_call_that_would_take_longer_ends_at_its_time_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"failures": {"max_attempts": 1}, "columns[1].timeout_s": 1, "limits.workers": 1}
    changes["columns[1].latency"] = {"model": "constant", "value_s": 4}
    assert main(["run", str(write(tmp_path, changes)), "--format", "json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["makespan_s"], figures["rows_dropped"]) == (10.0, 10)


# What is wrong

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"wrok": {"full_speed": 2}}, "endpoints.gpu.wrok: no such field; did you mean 'work'?"),
    ({"work": {}}, "endpoints.gpu.work: expected at least one item, got a mapping"),
    ({"work": {1: 0}}, "endpoints.gpu.work[1]: expected more than 0, got 0"),
    ({"work": {0: 1}}, "endpoints.gpu.work[0]: expected at least 1, got 0"),
    ({"work": {1: 1, "1": 2}}, "endpoints.gpu.work: 1 is given twice"),
    ({"work": 8}, "endpoints.gpu.work: expected a mapping, got 8"),
    (
        {"work": {"full_sped": 2}},
        "endpoints.gpu.work.full_sped: no such field; did you mean 'full_speed'?",
    ),
    ({"tpot_s": {}}, "endpoints.gpu.tpot_s: expected at least one item, got a mapping"),
    ({"tpot_s": {1: -1}}, "endpoints.gpu.tpot_s[1]: expected more than 0, got -1"),
    ({"tpot_s": {"1": 0}}, "endpoints.gpu.tpot_s.1: expected more than 0, got 0"),
    ({"tpot_s": {"one": 1}}, 'endpoints.gpu.tpot_s.one: expected an integer, got "one"'),
    (
        {"limits": [{"per_s": 1}]},
        "endpoints.gpu.limits[0]: expected exactly one of requests, tokens, got none",
    ),
]


@pytest.mark.parametrize(("endpoint", "message"), REFUSED)
def test_a_bad_endpoint_is_named_in_one_line(
    tmp_path: Path, endpoint: dict[str, Any], message: str
) -> None:
    assert refusal(with_endpoint(tmp_path, endpoint)) == message


def test_a_time_out_needs_to_know_how_failures_are_answered(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, {"columns[1].timeout_s": 5})) == (
        "failures: is missing; column 'b' has a timeout_s, and failures says how often a call is "
        "tried, and after which backoff"
    )
