"""Where the time of a row went: runs whose parts are worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sim.results import Result, summarise
from sim.scenario.scenario import Scenario
from sim.simulation import make_simulator


def run(rows: int, *columns: Mapping[str, Any], **rest: Any) -> Result:
    limits = rest.pop("limits", {"workers": 1})
    data = {"name": "a", "rows": rows, "columns": list(columns), "limits": limits}
    scenario = Scenario.model_validate({"policy": "fifo", **data, **rest})
    return summarise(scenario, make_simulator(scenario, None).run(), checked=True)


def column(name: str, seconds: float, *needs: str, **rest: Any) -> dict[str, Any]:
    traits = ["CELL_BY_CELL"] if needs else ["START"]
    latency = {"model": "constant", "value_s": seconds}
    found = {"name": name, "traits": traits, "dependencies": list(needs), "latency": latency}
    return found | rest


def parts_of(result: Result) -> dict[str, float]:
    """The mean seconds of each part; they make up the whole."""
    shares = [item.share or 0.0 for item in result.row_time]
    assert sum(shares) == pytest.approx(1)
    found = {item.part: item.mean_s or 0.0 for item in result.row_time}
    assert sum(found.values()) == pytest.approx(result.row_age_mean_s)
    return found


def test_a_row_waits_in_the_line_of_the_slower_of_two_servers() -> None:
    # Row n is with the first from n to n + 1, and with the second from 3n + 1 to 3n + 4.
    result = run(
        10,
        column("a", 1, resource="x"),
        column("b", 3, "a", resource="y"),
        limits={"workers": 4, "resources": {"x": 1, "y": 1}},
    )
    assert parts_of(result) == pytest.approx({"waiting": 9.0, "running": 4.0})
    assert result.row_age_mean_s == 13.0
    first, second = result.by_column
    assert (first.call_p50_s, second.call_p50_s, second.call_p99_s) == (1.0, 3.0, 3.0)


def test_a_row_waits_at_a_barrier_for_the_rows_after_it() -> None:
    # Row n of 6 is there at n + 1; the barrier gives its output at 6 + 5.
    barrier = column("b", 5, "a") | {"traits": ["BARRIER"]}
    limits = {"workers": 1, "resources": {"x": 1}}
    result = run(6, column("a", 1, resource="x"), barrier, limits=limits)
    assert parts_of(result) == pytest.approx({"running": 1.0, "barrier": 11 - 3.5})
    assert result.by_column[1].call_p50_s is None


def test_time_before_the_resume_that_a_row_was_made_after_is_redone() -> None:
    # Row n was started at 10n, and after the crash at 35 again at 40 + 10n.
    result = run(4, column("a", 10), crashes=[{"at_time_s": 35}], restart_delay_s=5)
    expected = {"redone": 40 - 15, "waiting": 15, "running": 10}
    assert parts_of(result) == pytest.approx(expected)


def test_nothing_of_a_row_is_redone_that_a_checkpoint_held() -> None:
    crashes = [{"at_time_s": 35}]
    checkpoint = {"every_rows": 1, "version": 1}
    result = run(4, column("a", 10), crashes=crashes, restart_delay_s=5, checkpoint=checkpoint)
    # The last row alone: from 30 to the resume at 40, and to 50.
    assert parts_of(result) == pytest.approx({"redone": 2.5, "running": 10})


def test_a_cell_that_keeps_the_order_waits_for_the_row_before() -> None:
    # Both of a row begin at once, and row n's second one at 3n.
    ordered = column("b", 3) | {"traits": ["START", "ORDERED"]}
    result = run(5, column("a", 1), ordered, limits={"workers": 10})
    assert parts_of(result) == pytest.approx({"order": 6.0, "running": 3.0})


def test_a_row_that_fails_goes_on_when_its_call_is_tried_again() -> None:
    failures = {
        "max_attempts": 9,
        "default": {"retryable": 0.5},
        "backoff": {"first_s": 4, "factor": 1},
    }
    result = run(400, column("a", 2), failures=failures, limits={"workers": 400})
    found = parts_of(result)
    # Each failure takes the call of 2 s and the rest of 4 s; nothing waits.
    assert found["running"] == pytest.approx(2)
    failed = sum(item.retryable for item in result.failures)
    dropped = result.rows_dropped
    assert found["retries"] * result.rows_delivered == pytest.approx(6 * (failed - 9 * dropped))
    assert found.keys() == {"running", "retries"}


ENDPOINT = {
    "tpot_s": {1: 1.0},
    "beyond": "hold",
    "prefill_tokens_per_s": 10,
    "max_in_flight": 1,
}
REQUEST = {
    "model": "request",
    "prompt_tokens": {"model": "constant", "value": 20},
    "output_tokens": {"model": "constant", "value": 3},
}


def behind(rows: int, **rest: Any) -> Result:
    data = {"endpoints": {"x": ENDPOINT}} | rest
    limits = data.pop("limits", {"workers": rows, "resources": {"x": rows}})
    return run(rows, column("a", 1, resource="x", latency=REQUEST), limits=limits, **data)


def test_a_row_waits_in_the_queue_of_its_endpoint() -> None:
    # One after the other: 2 s of prefill and 3 tokens of a second each.
    assert parts_of(behind(5)) == pytest.approx({"queue": 10.0, "prefill": 2.0, "decode": 3.0})


def test_a_row_that_is_refused_waits_for_the_limit() -> None:
    # A call each 10 s, the first at once.
    limits = [{"requests": 1, "per_s": 10, "burst": 1}]
    result = behind(3, endpoints={"x": ENDPOINT | {"limits": limits}})
    assert parts_of(result) == pytest.approx({"refused": 10.0, "prefill": 2.0, "decode": 3.0})


def test_a_row_waits_in_the_line_of_a_client_that_lets_one_out() -> None:
    result = behind(3, throttle={"x": {"start": 1, "successes": 100}})
    assert parts_of(result) == pytest.approx({"line": 5.0, "prefill": 2.0, "decode": 3.0})


def test_a_row_is_with_the_scheduler_before_and_after_its_call() -> None:
    result = run(1, column("a", 1), scheduler={"start_s": 0.25, "end_s": 0.5})
    assert parts_of(result) == pytest.approx({"scheduler": 0.75, "running": 1.0})
    result = behind(1, scheduler={"start_s": 0.25, "end_s": 0.5})
    expected = {"scheduler": 0.75, "prefill": 2.0, "decode": 3.0}
    assert parts_of(result) == pytest.approx(expected)


def test_a_row_whose_call_an_outage_took_is_sent_again_after_it() -> None:
    outages = [{"from_s": 4, "to_s": 20, "running": "fail"}]
    result = behind(1, endpoints={"x": ENDPOINT | {"outages": outages}})
    found = parts_of(result)
    assert found["outage"] == pytest.approx(4.0)
    assert found["refused"] == pytest.approx(16.0)
    assert result.makespan_s == pytest.approx(25.0)
