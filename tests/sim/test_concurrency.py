"""Which concurrency? The shipped pipelines at several client limits, and a formula.

The formula is that of asymptotic bounds (Denning and Buzen, 1978): with N calls in flight a row's
calls take at least R0, their time alone, and the endpoint gives at most X_max rows a second, so
that the throughput is at most min(N / R0, X_max), and its knee is at N = R0 · X_max.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import pytest

from sim.examples import example_path
from sim.output.run import render
from sim.results import Result, summarise
from sim.scenario.loader import load_scenario
from sim.simulation import make_simulator

LIMITS = [2**n for n in range(11)]
ENDPOINT = "endpoints.nvidia-text"
NEAR = 0.03
"""Throughputs that differ by less are alike: the run has a beginning and an end."""

TPOT_S = {1: 0.0306, 4: 0.0318, 8: 0.0325, 16: 0.0342, 32: 0.0386, 64: 0.0502}
PREFILL_TOKENS_PER_S = 10_500


@cache
def run(limit: int, endpoint: str = "") -> Result:
    """A run without crashes, with so many calls in flight, and perhaps another endpoint."""
    changes = {
        "limits.workers": "2048",
        "limits.resources.nvidia-text": str(limit),
        "crashes": "[]",
        **({ENDPOINT: endpoint} if endpoint else {}),
    }
    scenario = load_scenario(example_path("text_to_sql"), changes)
    outcome = make_simulator(scenario, None, checked=False).run()
    return summarise(scenario, outcome, checked=False)


def rate(limit: int, endpoint: str = "") -> float:
    found = run(limit, endpoint).rows_per_s
    assert found is not None
    return found


class Bounds(NamedTuple):
    """A row's calls alone, in seconds, and the most rows a second."""

    r0_s: float
    x_max: float

    def rows_per_s(self, calls: int) -> float:
        return min(calls / self.r0_s, self.x_max)

    @property
    def knee(self) -> float:
        return self.r0_s * self.x_max


def bounds(result: Result) -> Bounds:
    """By the tokens of the run and the measured table; no simulator's times are in it."""
    prompt, output = (
        math.fsum(getattr(item, name) for item in result.bill) / result.rows
        for name in ("prompt_tokens", "output_tokens")
    )
    tokens_per_s = max(calls / seconds for calls, seconds in TPOT_S.items())
    return Bounds(output * TPOT_S[1] + prompt / PREFILL_TOKENS_PER_S, tokens_per_s / output)


def test_throughput_rises_to_a_knee_and_stays_there() -> None:
    rates = {limit: rate(limit) for limit in LIMITS}
    most = max(rates.values())
    knee = min(limit for limit in LIMITS if rates[limit] > (1 - NEAR) * most)
    for limit in LIMITS:
        if limit < knee:
            assert rates[2 * limit] > 1.5 * rates[limit]
        else:
            assert rates[limit] == pytest.approx(most, rel=NEAR)
    formula = bounds(run(1))
    assert abs(math.log2(knee / formula.knee)) <= 1
    assert knee == max(TPOT_S)


@pytest.mark.parametrize("limit", LIMITS)
def test_throughput_is_within_the_bounds_of_the_formula(limit: int) -> None:
    """Never above, exactly; near to them at both ends. Between, calls wait for each other."""
    formula = bounds(run(limit))
    assert rate(limit) <= formula.rows_per_s(limit)
    if limit < 4 or limit >= max(TPOT_S):
        assert rate(limit) == pytest.approx(formula.rows_per_s(limit), rel=0.04)


def test_a_constant_speed_would_rise_on() -> None:
    constant = "{tpot_s: {4: .0318}, beyond: hold}"
    assert rate(4, constant) == pytest.approx(rate(4), rel=0.02)
    assert rate(64, constant) > 1.5 * rate(64)
    assert rate(512, constant) > 6 * rate(512)


@pytest.mark.parametrize("limit", LIMITS)
def test_beyond_the_knee_the_output_says_saturated(limit: int) -> None:
    """At 64 in flight the client's limit and the endpoint's places are the same number."""
    lines = render(run(limit), "table").splitlines()
    (line,) = (line for line in lines if line.startswith("binding: "))
    beyond = limit > max(TPOT_S)
    assert line.startswith(f"binding: {'endpoint' if beyond else 'resource'} nvidia-text ")
    assert ("(saturated)" in line) is beyond


def in_line(result: Result) -> float:
    """How many calls wait in the endpoint's line, on average."""
    return math.fsum(item.queue_s for item in result.call_times) / result.makespan_s


def test_what_is_in_flight_beyond_the_knee_waits_in_line() -> None:
    """By Little's law the time of a row grows with what is in flight, and nothing else does."""
    served: Any = pytest.approx(64, rel=0.03)
    for limit in (128, 256, 512):
        (endpoint,) = run(limit).by_endpoint
        assert endpoint.mean_in_flight is not None
        assert endpoint.mean_in_flight - in_line(run(limit)) == served
    assert in_line(run(64)) == 0


@pytest.mark.parametrize("limit", [2, 5, 20])
def test_the_reviews_take_as_long_as_their_provider_lets_them(limit: int) -> None:
    """Ten calls a minute, whatever the client's limit, but for the last rows and the rests."""
    changes = {"limits.resources.endpoint": str(limit), "crashes": "[]"}
    scenario = load_scenario(example_path("reviews_rate_limited"), changes)
    outcome = make_simulator(scenario, None, checked=False).run()
    result = summarise(scenario, outcome, checked=False)
    (endpoint,) = result.by_endpoint
    windows = math.ceil(result.makespan_s / 60)
    assert 0.97 * 10 * windows < endpoint.accepted <= 10 * windows
    assert endpoint.refused > windows
