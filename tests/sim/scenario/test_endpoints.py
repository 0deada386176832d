"""Endpoints in scenario files: the plans that a run takes, and one clear line for what is wrong."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

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
from sim.scenario.endpoints import (
    ColdStartSpec,
    EndpointSpec,
    LimitSpec,
    OutageSpec,
    PriceSpec,
    RefusalSpec,
)
from sim.scenario.loader import load_scenario
from sim.scenario.remarks import load_notes, remarks
from sim.scenario.schema import schema_text
from sim.simulation import run_plan
from tests.sim.scenario.test_scenario import DAMAGE, PIPELINE, SIMULATIONS, refusal, refusals, write
from tests.sim.scenario.test_scenario import pipeline as pipeline

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


def test_a_client_may_only_pause_after_a_refusal(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, {"throttle": {"gpu": {"pause_s": 10}}}))
    assert scenario.throttle_plans() == {"gpu": ThrottlePlan.pausing(10, 2)}
    (tmp_path / "again.yaml").write_text(scenario.to_yaml())
    assert load_scenario(tmp_path / "again.yaml").throttle_plans() == scenario.throttle_plans()


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


def test_an_override_changes_a_point_of_a_table_or_gives_one(tmp_path: Path) -> None:
    file = with_endpoint(tmp_path, {"work": {1: 1, 2: 0.5}})
    overrides = {"endpoints.gpu.work.2": "0.25", "endpoints.gpu.work.8": "0.125"}
    speed = load_scenario(file, overrides).endpoint_plans()["gpu"].speed
    assert speed == SpeedTable(((1, 1), (2, 4), (8, 8)))


def test_words_that_nothing_comes_of_are_remarked(tmp_path: Path) -> None:
    scenario = load_scenario(with_endpoint(tmp_path, {"queue": 3}))
    assert remarks(scenario) == [
        "endpoints.gpu.queue: no call waits without max_in_flight, kv_tokens or cold_start"
    ]
    assert remarks(load_scenario(with_endpoint(tmp_path, {"queue": 3, "max_in_flight": 1}))) == []
    refuses: dict[str, Any] = {"refusal": {"latency_s": 1}}
    assert remarks(load_scenario(with_endpoint(tmp_path, refuses))) == [
        "endpoints.gpu.refusal: no call is refused without limits, outages or queue"
    ]
    refuses["outages"] = [OUTAGE]
    assert remarks(load_scenario(with_endpoint(tmp_path, refuses))) == []
    endpoint = {"kv_tokens": 9, "limits": [{"tokens": 9, "per_s": 1}], "price": {}}
    why = "no column that takes it has tokens (latency of model request)"
    assert remarks(load_scenario(with_endpoint(tmp_path, endpoint))) == [
        f"endpoints.gpu.{word}: {why}" for word in ("kv_tokens", "limits", "price")
    ]
    assert remarks(load_scenario(asking(tmp_path, {"kv_tokens": 9000}))) == []
    scenario = load_scenario(write(tmp_path, {"throttle": {"gpu": {}}}))
    assert remarks(scenario) == ["throttle.gpu: nothing refuses its calls without endpoints.gpu"]
    scenario = load_scenario(with_endpoint(tmp_path, {}, throttle={"gpu": {}}))
    assert remarks(scenario) == [
        "throttle.gpu: nothing refuses its calls without limits, outages or queue of endpoints.gpu"
    ]
    refuses = {"outages": [OUTAGE]}
    scenario = load_scenario(with_endpoint(tmp_path, refuses, throttle={"gpu": {"start": 3}}))
    assert remarks(scenario) == [
        "throttle.gpu.start: 3 is above limits.resources.gpu (2), which holds"
    ]
    assert scenario.throttle_plans()["gpu"].start == 2


def test_a_load_at_which_latencies_were_measured_is_no_news_of_an_endpoint(
    tmp_path: Path,
) -> None:
    changes = {"limits.measured_at": {"gpu": 1}}
    assert load_notes(load_scenario(with_endpoint(tmp_path, {}, **changes)))
    endpoint = {"work": {"full_speed": 1}}
    assert load_notes(load_scenario(with_endpoint(tmp_path, endpoint, **changes))) == []


# Digests


def test_a_scenario_without_endpoints_has_the_digest_that_it_had(tmp_path: Path) -> None:
    """Digests of November 2026, before there were endpoints."""
    assert load_scenario(write(tmp_path)).digest() == "5cfd3b1a42339b0dfc0fe82bca378fdc"
    failing = write(tmp_path, {"failures": {"max_attempts": 2}})
    assert load_scenario(failing).digest() == "4568e86932fa6ca1ae15b449654e95ef"
    shipped = load_scenario(SIMULATIONS / "million.yaml", {"redo": "null"})
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


def test_a_call_that_would_take_longer_ends_at_its_time_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"failures": {"max_attempts": 1}, "columns[1].timeout_s": 1, "limits.workers": 1}
    changes["columns[1].latency"] = {"model": "constant", "value_s": 4}
    assert main(["run", str(write(tmp_path, changes)), "--format", "json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["makespan_s"], figures["rows_dropped"]) == (10.0, 10)


# What is wrong

OUTAGE = {"from_s": 10, "to_s": 20}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"wrok": {"full_speed": 2}}, "wrok: no such field; did you mean 'work'?"),
    ({"work": {}}, "work: expected at least one item, got a mapping"),
    ({"work": {2: 0}}, "work[2]: expected more than 0, got 0"),
    ({"work": {0: 1, 2: 1}}, "work[0]: expected at least 1, got 0"),
    ({"work": {2: 1, "2": 2}}, "work: 2 is given twice"),
    ({"work": 8}, "work: expected a mapping, got 8"),
    (
        {"work": {"full_speed": 2, 8: 0.1}},
        "work: full_speed stands in work, and alone: no table goes with it",
    ),
    (
        {"tpot_s": {"full_speed": 2}},
        "tpot_s: full_speed stands in work, and alone: no table goes with it",
    ),
    (
        {"work": {"full_sped": 2}},
        "work.full_sped: no such field; did you mean 'full_speed'?",
    ),
    ({"tpot_s": {}}, "tpot_s: expected at least one item, got a mapping"),
    ({"tpot_s": {2: -1}}, "tpot_s[2]: expected more than 0, got -1"),
    ({"tpot_s": {"2": 0}}, "tpot_s.2: expected more than 0, got 0"),
    ({"tpot_s": {"one": 1}}, 'tpot_s.one: expected an integer, got "one"'),
    (
        {"tpot_s": {2: 1}, "work": {"full_speed": 2}},
        "work: expected one of tpot_s and work, got both: a call is tokens, or seconds",
    ),
    (
        {"beyond": "hodl", "work": {1: 1}},
        "beyond: expected 'line', 'hold' or 'refuse', got \"hodl\"; did you mean 'hold'?",
    ),
    (
        {"beyond": "hold", "work": {"full_speed": 1}},
        "beyond: is read only with tpot_s, or with work by calls at once",
    ),
    (
        {"beyond": "line", "work": {1: 1}},
        "beyond: expected two points at least for a line, got one",
    ),
    ({"prefill_tokens_per_s": 0}, "prefill_tokens_per_s: expected more than 0, got 0"),
    (
        {"prefill_stalls_decode": True},
        "prefill_stalls_decode: is read only with prefill_tokens_per_s",
    ),
    ({"max_in_flight": 0}, "max_in_flight: expected at least 1, got 0"),
    ({"queue": -1}, "queue: expected at least 0, got -1"),
    ({"kv_tokens": 0}, "kv_tokens: expected more than 0, got 0"),
    (
        {"limits": [{"per_s": 1}]},
        "limits[0]: expected exactly one of requests, tokens, got none",
    ),
    (
        {"limits": [{"per_s": 1, "requests": 1, "tokens": 1}]},
        "limits[0]: expected exactly one of requests, tokens, got requests and tokens",
    ),
    ({"limits": [{"requests": 1}]}, "limits[0].per_s: is missing"),
    ({"limits": [{"requests": 1, "per_s": 0}]}, "limits[0].per_s: expected more than 0, got 0"),
    # A run divides by these, and no quotient may overflow.
    (
        {"limits": [{"requests": 1, "per_s": 1e-300, "window": "fixed"}]},
        "limits[0].per_s: expected at least 1e-09, got 1e-300",
    ),
    (
        {"limits": [{"requests": 1e-300, "per_s": 1e9, "burst": 1}]},
        "limits[0].requests: expected at least 1e-09, got 1e-300",
    ),
    (
        {"prefill_tokens_per_s": 1e-300},
        "prefill_tokens_per_s: expected at least 1e-09, got 1e-300",
    ),
    ({"work": {1: 1e-300, 2: 1}}, "work[1]: expected at least 1e-09, got 1e-300"),
    ({"tpot_s": {1: 1e-300, 2: 1}}, "tpot_s[1]: expected at least 1e-09, got 1e-300"),
    (
        {"limits": [{"requests": 3, "per_s": 1, "window": "fixed", "burst": 5}]},
        "limits[0].burst: a fixed window has no bucket; leave burst out, or take window: bucket",
    ),
    (
        {"limits": [{"requests": 0.5, "per_s": 1, "window": "fixed"}]},
        "limits[0].requests: expected at least 1, got 0.5: no call could pass; say a longer per_s",
    ),
    (
        {"limits": [{"requests": 0.5, "per_s": 1}]},
        "limits[0].requests: expected at least 1, got 0.5: no call could pass; say a longer per_s, "
        "or burst: 1",
    ),
    (
        {"limits": [{"requests": 5, "per_s": 1, "burst": 0.5}]},
        "limits[0].burst: expected at least 1, got 0.5: no call could pass",
    ),
    (
        {"limits": [{"requests": 5, "per_s": 1, "charge": "used"}]},
        "limits[0].charge: is read only with tokens: a call is one request",
    ),
    (
        {"limits": [{"requests": 5, "per_s": 1, "give_back": True}]},
        "limits[0].give_back: is read only with tokens: a call is one request",
    ),
    (
        {"limits": [{"tokens": 5, "per_s": 1, "charge": "used", "give_back": True}]},
        "limits[0].give_back: nothing is left to give back with charge: used",
    ),
    ({"refusal": {"latency_s": -1}}, "refusal.latency_s: expected at least 0, got -1"),
    (
        {"refusal": {"retry_after": "exactly"}},
        "refusal.retry_after: expected 'exact' or 'none', got \"exactly\"; did you mean 'exact'?",
    ),
    (
        {"outages": [{"from_s": 5, "to_s": 5}]},
        "outages[0].to_s: expected more than from_s (5), got 5",
    ),
    (
        {"outages": [OUTAGE, {"from_s": 19, "to_s": 30}]},
        "outages[1].from_s: expected at least 20, where the one before ends, got 19: make one of "
        "the two",
    ),
    (
        {"outages": [{**OUTAGE, "refuse": "never"}]},
        "outages[0].refuse: expected 'until end', got \"never\"",
    ),
    (
        {"pauses": [OUTAGE, {"from_s": 5, "to_s": 11}]},
        "pauses[0].from_s: expected at least 11, where the one before ends, got 10: make one of "
        "the two",
    ),
    ({"cold_start": {"idle_s": 3}}, "cold_start.first_s: is missing"),
    (
        {"price": {"prompt_per_million": -1}},
        "price.prompt_per_million: expected at least 0, got -1",
    ),
    ({"price": {"cached_share": 2}}, "price.cached_share: expected at most 1, got 2"),
    (
        {"work": {1: 1}},
        "work: expected a point for 2 calls at once, got 1 as the last one; give more, or beyond: "
        "line or hold, or a smaller max_in_flight",
    ),
]


@pytest.mark.parametrize(("endpoint", "message"), REFUSED)
def test_a_bad_endpoint_is_named_in_one_line(
    tmp_path: Path, endpoint: dict[str, Any], message: str
) -> None:
    assert refusal(with_endpoint(tmp_path, endpoint)) == f"endpoints.gpu.{message}"


OTHERS: list[tuple[dict[str, Any], str]] = [
    (
        {"endpoints": {"gpuu": {}}},
        "endpoints.gpuu: no column takes 'gpuu'; did you mean 'gpu'?",
    ),
    (
        {"throttle": {"gpus": {}}},
        "throttle.gpus: no column takes 'gpus'; did you mean 'gpu'?",
    ),
    ({"endpoitns": {}}, "endpoitns: no such field; did you mean 'endpoints'?"),
    ({"throttle": {"gpu": {"decrease": 1}}}, "throttle.gpu.decrease: expected less than 1, got 1"),
    ({"throttle": {"gpu": {"successes": 0}}}, "throttle.gpu.successes: expected at least 1, got 0"),
    (
        {"throttle": {"gpu": {"pause_s": 5, "start": 1}}},
        "throttle.gpu.start: is not read with pause_s: the limit stays; leave one of them out",
    ),
    (
        {"throttle": {"gpu": {"ramp_s": 5}}},
        "throttle.gpu.ramp_s: expected 0: a limit that rises by time is not simulated; say a lower "
        "start, from which successes raise it",
    ),
    ({"scheduler": {"start_s": -1}}, "scheduler.start_s: expected at least 0, got -1"),
    ({"failures": {"timeout_s": 0}}, "failures.timeout_s: expected more than 0, got 0"),
    (
        {"outages": [{"resource": "gpuu", **OUTAGE}]},
        "outages[0].resource: no column takes 'gpuu'; did you mean 'gpu'?",
    ),
    ({"outages": [OUTAGE]}, "outages[0].resource: is missing"),
    (
        {
            "outages": [{"resource": "gpu", "from_s": 15, "to_s": 30}],
            "endpoints": {"gpu": {"outages": [OUTAGE]}},
        },
        "outages[0].from_s: expected at least 20, where the one before ends, got 15: make one of "
        "the two",
    ),
    (
        {"limits.resources.gpu": {}},
        "limits.resources.gpu: expected max_concurrent, max_requests_per_minute, or both; got none",
    ),
    (
        {"limits.resources.gpu": {"max_concurrent": 0}},
        "limits.resources.gpu.max_concurrent: expected at least 1, got 0",
    ),
    (
        {"limits.resources.gpu": {"max_concurent": 1}},
        "limits.resources.gpu.max_concurent: no such field; did you mean 'max_concurrent'?",
    ),
    (
        {"limits.resources.gpu": {"max_requests_per_minute": 10**16}},
        "limits.resources.gpu.max_requests_per_minute: expected at most 1e+15, got "
        "10000000000000000",
    ),
    (
        {"failures": {"early_stop": {"window": 10**30, "rate": 0.5}}},
        f"failures.early_stop.window: expected at most 1e+15, got {10**30}",
    ),
    (
        {"checkpoint": {"every_s": 1e-300}},
        "checkpoint.every_s: expected at least 1e-09, got 1e-300",
    ),
    ({"limits.resources.gpu": "many"}, 'limits.resources.gpu: expected an integer, got "many"'),
]


@pytest.mark.parametrize(("changes", "message"), OTHERS)
def test_what_does_not_fit_is_named_in_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    assert refusal(write(tmp_path, changes)) == message


def test_faults_of_endpoints_are_told_beside_each_other(tmp_path: Path) -> None:
    changes = {
        "rows": "many",
        "endpoints": {"gpu": {"work": {1: 1}}, "gpuu": {}},
        "throttle": {"gpu": {"start": 3, "increase": 0}},
        "columns[1].timeout_s": 0,
    }
    places = [message.split(": ", 1)[1] for message in refusals(write(tmp_path, changes))]
    assert places == [
        'rows: expected an integer, got "many"',
        "columns 'b': timeout_s: expected more than 0, got 0",
        "endpoints.gpuu: no column takes 'gpuu'; did you mean 'gpu'?",
        "throttle.gpu.increase: expected at least 1, got 0",
    ]


# The table, and the calls that may run at once


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({}, 2),
        ({"limits.resources.gpu": 3}, 3),
        ({"limits.resources.gpu": 9}, 4),
        ({"limits.resources.gpu": 9, "limits.workers": 50}, 9),
        ({"limits.resources.gpu": 90, "limits.workers": 50}, 10),
        ({"limits.resources.gpu": 90, "limits.workers": 50, "columns[2].resource": "gpu"}, 10),
        (
            {
                "limits.resources.gpu": 90,
                "limits.workers": 50,
                "columns[2].resource": "gpu",
                "columns[2].dependencies": ["a"],
            },
            20,
        ),
        (
            {
                "limits.resources.gpu": 90,
                "limits.workers": 50,
                "limits.row_groups": {"rows": 3, "admitted": 2},
            },
            6,
        ),
        ({"limits.resources.gpu": 90, "limits.workers": 50, "endpoints.gpu.max_in_flight": 5}, 5),
        (
            {
                "limits.resources.gpu": 90,
                "limits.workers": 50,
                "columns[2]": {
                    "name": "c",
                    "traits": ["BARRIER"],
                    "dependencies": ["a"],
                    "resource": "gpu",
                },
            },
            11,
        ),
    ],
)
def test_a_table_reaches_as_far_as_calls_may_run_at_once(
    tmp_path: Path, changes: dict[str, Any], most: int
) -> None:
    """Columns that wait for each other in a row are not in flight for one row at once."""
    base: dict[str, Any] = {"endpoints": {"gpu": {"work": {1: 1, most: 0.5}}}}
    load_scenario(write(tmp_path, {**base, **changes}))
    base = {"endpoints": {"gpu": {"work": {1: 1, most - 1: 0.5}}}}
    message = refusal(write(tmp_path, {**base, **changes}))
    assert f"expected a point for {most} calls at once, got {most - 1}" in message
    base["endpoints"]["gpu"]["beyond"] = "hold"
    load_scenario(write(tmp_path, {**base, **changes}))


def test_the_last_line_of_a_table_stays_above_0(tmp_path: Path) -> None:
    changes = {"limits.resources.gpu": 4}
    for last, fits in ((0.8, True), (0.6, False)):
        table = {1: 1, 2: 1 / last}
        endpoint = {"work": table, "beyond": "line"}
        # Seconds a unit at 4 calls: 3 last − 2.
        if fits:
            load_scenario(with_endpoint(tmp_path, endpoint, **changes))
        else:
            assert refusal(with_endpoint(tmp_path, endpoint, **changes)) == (
                "endpoints.gpu.beyond: expected more than 0 seconds at 4 calls at once, where the "
                "last line of work falls below 0; give a point nearer, or beyond: hold"
            )


# The older words


def test_outages_beside_the_endpoints_are_outages_of_the_endpoint(tmp_path: Path) -> None:
    older = write(tmp_path, {"outages": [{"resource": "gpu", "from_s": 10, "to_s": 600}]})
    newer = with_endpoint(tmp_path, {"outages": [{"from_s": 10, "to_s": 600}]})
    plans = load_scenario(older).endpoint_plans()
    assert plans == load_scenario(newer).endpoint_plans()
    assert plans["gpu"].outages == (Outage(10, 600),)


def test_a_rate_by_the_minute_is_a_limit_of_the_endpoint(tmp_path: Path) -> None:
    words = {"max_concurrent": 2, "max_requests_per_minute": 600}
    limit = {"requests": 600, "per_s": 60, "burst": 1}
    older = load_scenario(write(tmp_path, {"limits.resources.gpu": words}))
    newer = load_scenario(with_endpoint(tmp_path, {"limits": [limit]}))
    assert older.endpoint_plans() == newer.endpoint_plans()
    assert older.resource_limits == newer.resource_limits == {"gpu": 2}
    # Beside other words of the endpoint, and without a limit on calls at once.
    changes = {
        "limits.resources.gpu": {"max_requests_per_minute": 60},
        "endpoints": {"gpu": {"queue": 3, "limits": [{"requests": 1, "per_s": 1}]}},
    }
    scenario = load_scenario(write(tmp_path, changes))
    assert scenario.resource_limits == {"gpu": 4}, "as many as workers"
    plan = scenario.endpoint_plans()["gpu"]
    assert (plan.queue, [limit.amount for limit in plan.limits]) == (3, [1, 60])
    only = load_scenario(write(tmp_path, {"limits.resources.gpu": {"max_concurrent": 2}}))
    assert (only.endpoint_plans(), only.resource_limits) == ({}, {"gpu": 2})


def test_a_time_out_needs_to_know_how_failures_are_answered(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, {"columns[1].timeout_s": 5})) == (
        "failures: is missing; column 'b' has a timeout_s, and failures says how often a call is "
        "tried, and after which backoff"
    )


# Requests: tokens, to which an endpoint gives time

TOKENS: dict[str, Any] = {
    "model": "request",
    "prompt_tokens": {"model": "constant", "value": 800},
    "output_tokens": {"model": "exponential", "mean": 100},
    "max_output_tokens": 1000,
}
TPOT: dict[str, Any] = {"tpot_s": {1: 0.03, 2: 0.04}}


def asking(folder: Path, endpoint: dict[str, Any], **latency: Any) -> Path:
    """A scenario file whose column `b` sends requests to an endpoint; None takes a field away."""
    fields = {name: item for name, item in {**TOKENS, **latency}.items() if item is not None}
    return with_endpoint(folder, {**TPOT, **endpoint}, **{"columns[1].latency": fields})


def test_tokens_need_an_endpoint_that_gives_them_time(tmp_path: Path) -> None:
    load_scenario(asking(tmp_path, {}))
    text = "columns 'b': latency: a request has tokens, to which an endpoint gives time: expected "
    assert refusal(write(tmp_path, {"columns[1].latency": TOKENS})) == (
        f"{text}endpoints.gpu with tpot_s"
    )
    assert refusal(with_endpoint(tmp_path, {}, **{"columns[1].latency": TOKENS})) == (
        f"{text}endpoints.gpu with tpot_s"
    )
    changes = {"columns[1].latency": TOKENS, "columns[1].resource": ...}
    assert refusal(write(tmp_path, changes)) == (
        f"{text}a resource of column 'b', and its endpoint with tpot_s"
    )


def test_seconds_do_not_go_to_an_endpoint_of_tokens(tmp_path: Path) -> None:
    changes = {"columns[2].resource": "gpu", "columns[1].latency": TOKENS}
    messages = refusals(with_endpoint(tmp_path, TPOT, **changes))
    assert [message.split(": ", 1)[1] for message in messages] == [
        "columns 'c': latency: expected model: request, as endpoints.gpu has tpot_s; or give that "
        "work instead, and the latency stays in seconds"
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoints": {"gpu": {"tpot_s": {1: 0.03, 2: 0}}}},
        {"endpoitns": {"gpu": TPOT}},
        {"endpoints": 3},
    ],
)
def test_an_endpoint_with_faults_is_not_missing_too(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    refusal(write(tmp_path, {**changes, "columns[1].latency": TOKENS}))


WITHOUT_MAX = {"max_output_tokens": None}
LISTED = {"model": "list", "values": [100, 900, 500, 100, 100, 100, 100, 100, 100, 100]}
AGAINST = {"model": "list", "values": [900, 100, 100, 100, 100, 100, 100, 100, 100, 100]}
UNIFORM = {"model": "uniform", "low": 10, "high": 500}
MIXTURE = {
    "model": "mixture",
    "components": [
        {"weight": 1, "tokens": {"model": "constant", "value": 100}},
        {"weight": 0.001, "tokens": UNIFORM},
    ],
}


@pytest.mark.parametrize(
    ("latency", "charge", "asked"),
    [
        ({}, "reserved", 1800),
        ({}, "used", 1800),
        ({"output_tokens": UNIFORM}, "reserved", 1800),
        ({"output_tokens": UNIFORM}, "used", 1300),
        ({"output_tokens": UNIFORM, **WITHOUT_MAX}, "reserved", 1300),
        ({"output_tokens": MIXTURE}, "used", 1300),
        # Nothing bounds the answer: at least its prompt is asked for.
        (WITHOUT_MAX, "reserved", 800),
        ({"output_tokens": LISTED}, "used", 1700),
        # Row by row, for the longest prompt need not have the longest answer.
        ({"output_tokens": LISTED, "prompt_tokens": AGAINST}, "used", 1000),
        ({"output_tokens": LISTED, "prompt_tokens": AGAINST}, "reserved", 1900),
        ({"prompt_tokens": {"model": "pareto", "minimum": 7, "alpha": 2}}, "reserved", 1007),
    ],
)
def test_a_request_that_no_limit_can_hold_is_refused_before_the_run(
    tmp_path: Path, latency: dict[str, Any], charge: str, asked: int
) -> None:
    def limit(tokens: float) -> dict[str, Any]:
        return {"limits": [{"tokens": tokens, "per_s": 60, "charge": charge}]}

    load_scenario(asking(tmp_path, limit(asked), **latency))
    assert refusal(asking(tmp_path, limit(asked - 1), **latency)) == (
        f"endpoints.gpu.limits[0].tokens: expected at least {asked}, which a call of column 'b' "
        f"may ask for and would wait for without end, got {asked - 1}"
    )
    if charge == "reserved":
        load_scenario(asking(tmp_path, {"kv_tokens": asked}, **latency))
        message = refusal(asking(tmp_path, {"kv_tokens": asked - 1}, **latency))
        assert message.startswith(f"endpoints.gpu.kv_tokens: expected at least {asked}, which")


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        (
            {"limits": [{"tokens": 900, "per_s": 1}]},
            "limits[0]: {tokens} tokens never pass a limit of 900: ask for fewer, or raise the "
            "limit's burst",
        ),
        (
            {"kv_tokens": 900},
            "kv_tokens: a call that reserves {tokens} tokens never fits into 900: give more, or a "
            "lower max_output_tokens",
        ),
    ],
)
def test_a_draw_that_never_passes_ends_the_run_with_a_line_that_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], endpoint: dict[str, Any], message: str
) -> None:
    file = asking(tmp_path, endpoint, **WITHOUT_MAX)
    assert main(["run", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    before, after = message.split("{tokens}")
    assert line.startswith(f"error: {file}: endpoints.gpu.{before}")
    assert line.endswith(after)


def test_a_burst_holds_what_the_limit_does_not(tmp_path: Path) -> None:
    limit = {"tokens": 600, "per_s": 60, "burst": 1800}
    load_scenario(asking(tmp_path, {"limits": [limit]}))
    message = refusal(asking(tmp_path, {"limits": [{**limit, "burst": 1700}]}))
    assert message.startswith("endpoints.gpu.limits[0].burst: expected at least 1800, which")


def test_a_prompt_that_holds_answers_is_as_long_as_they_may_be(tmp_path: Path) -> None:
    of = ["b.output_tokens", "b.prompt_tokens"]
    judge = {
        "model": "request",
        "prompt_tokens": {"model": "sum", "of": of, "plus": 300},
        "output_tokens": {"model": "constant", "value": 40},
    }
    changes: dict[str, Any] = {"columns[1].latency": TOKENS, "columns[2].latency": judge}
    changes["columns[2].resource"] = "gpu"
    for room, fits in ((2140, True), (2139, False)):
        file = with_endpoint(tmp_path, {**TPOT, "kv_tokens": room}, **changes)
        if fits:
            load_scenario(file)
        else:
            assert "expected at least 2140, which a call of column 'c' may" in refusal(file)


def test_a_sum_is_not_judged_by_a_column_that_is_malformed(tmp_path: Path) -> None:
    judge = {**TOKENS, "prompt_tokens": {"model": "sum", "of": ["b.output_tokens"]}}
    changes: dict[str, Any] = {"columns[1].latency": {**TOKENS, "max_output_tokens": 0}}
    changes |= {"columns[2].latency": judge, "columns[2].resource": "gpu"}
    assert refusal(with_endpoint(tmp_path, {**TPOT, "kv_tokens": 9}, **changes)) == (
        "columns 'b': latency.max_output_tokens: expected more than 0, got 0"
    )


# A pipeline from a DataDesigner configuration


@pytest.mark.usefixtures("pipeline")
def test_a_pipelines_resource_may_have_an_endpoint(tmp_path: Path) -> None:
    """Its limit may be the pipeline's own; its columns may share a latency, and then a fault."""
    latency = {"by_resource": {"alias": TOKENS}}
    changes: dict[str, Any] = {
        **PIPELINE,
        "pipeline": {"datadesigner": "p.yaml", "latency": latency},
        "failures": {"timeout_s": 9},
        "endpoints": {"alias": {"tpot_s": {1: 0.03, 4: 0.04}}},
        "throttle": {"alias": {}},
        "limits": {"workers": 9, "resources": {"alias": {"max_requests_per_minute": 60}}},
    }
    plan = run_plan(load_scenario(write(tmp_path, changes)))
    assert plan.endpoints["alias"].limits == (LimitPlan("requests", 60, 60, 1),)
    assert plan.throttles == {"alias": ThrottlePlan(4, most=4)}
    assert plan.timeouts == dict.fromkeys(["topic", "text", "judge", "check"], 9)
    assert refusal(write(tmp_path, {**changes, "endpoints": {}})) == (
        "pipeline.latency.by_resource.alias: a request has tokens, to which an endpoint gives "
        "time: expected endpoints.alias with tpot_s"
    )
    changes["limits"] = {"workers": 9, "resources": {"alias": 5}}
    changes["endpoints"]["alias"]["tpot_s"] = {1: 0.03}
    assert "expected a point for 5 calls at once, got 1" in refusal(write(tmp_path, changes))


# The page

PAGE = SIMULATIONS / "endpoints.md"


def test_the_examples_of_the_page_are_scenarios(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    whole, older, several = re.findall(
        r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    validator.validate(json.loads(json.dumps(yaml.safe_load(several))))
    for text in (whole, re.sub(r"(?ms)^limits:.*", "", whole) + older):
        data = json.loads(json.dumps(yaml.safe_load(text)))
        validator.validate(data)
        (tmp_path / "s.yaml").write_text(text)
        plan = run_plan(load_scenario(tmp_path / "s.yaml"))
        assert plan.endpoints["chat"].max_in_flight == 64
    assert [limit.amount for limit in plan.endpoints["chat"].limits] == [600, 200000, 10, 600]
    for field, value in (("work", {"full_sped": 8}), ("work", {}), ("tpot_s", {"one": 1})):
        assert not validator.is_valid({**data, "endpoints": {"chat": {field: value}}})
    for work in ({"full_speed": 8}, {"1": 1.0, "8": 0.5}):
        validator.validate({**data, "endpoints": {"chat": {"work": work}}})


@pytest.mark.parametrize("seed", range(40))
def test_damage_of_any_kind_is_named_in_lines(tmp_path: Path, seed: int) -> None:
    """Whatever stands in the example of the page, it loads, or each message names the file."""
    draw = random.Random(seed)
    (whole, _, several) = re.findall(
        r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    data: Any = yaml.safe_load(several if seed % 4 == 3 else whole)
    for _ in range(draw.randint(1, 3)):
        here = data
        while isinstance(here, dict | list) and here:
            key = draw.choice(list(here) if isinstance(here, dict) else range(len(here)))
            if draw.random() < 0.2 or not isinstance(here[key], dict | list):
                here[key] = draw.choice(DAMAGE)
                break
            here = here[key]
    file = tmp_path / "s.yaml"
    file.write_text(yaml.dump(data, sort_keys=False))
    text = ""
    try:
        run_plan(load_scenario(file))
    except SpecError as error:
        text = str(error)
    assert all(line.startswith(f"{file}:") for line in text.splitlines())


def test_the_page_names_every_word_of_an_endpoint_and_its_clients() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for record in (EndpointSpec, LimitSpec, RefusalSpec, OutageSpec, ColdStartSpec, PriceSpec):
        for word in record.model_fields:
            assert re.search(rf"\b{word}\b", text), word
