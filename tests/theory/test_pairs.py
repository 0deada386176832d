"""Pairs and triples of an endpoint's words, each with its makespan by hand.

Work is seconds at full speed, or tokens of 0.1 s each at any load; a comment says what happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.recompute.runner import run
from tests.theory.test_kinds import Data, constant, request, scenario

TPOT: Data = {"tpot_s": {1: 0.1}, "beyond": "hold"}


def down(start_s: float, stop_s: float, running: str = "fail") -> Data:
    return {"outages": [{"from_s": start_s, "to_s": stop_s, "running": running}]}


def still(start_s: float, stop_s: float) -> Data:
    return {"pauses": [{"from_s": start_s, "to_s": stop_s}]}


def seconds(rows: int, each: float, *parts: Data, **words: Any) -> Data:
    """Calls of so many seconds, as many at once, at an endpoint with these words."""
    return at_endpoint(constant(each), rows, parts, words)


def tokens(rows: int, latency: Data, *parts: Data, **words: Any) -> Data:
    """Calls of so many tokens."""
    return at_endpoint(latency, rows, [TPOT, *parts], words)


def at_endpoint(latency: Data, rows: int, parts: Any, words: Data) -> Data:
    endpoint: Data = {}
    for part in parts:
        endpoint |= part
    return scenario(latency, rows, rows, endpoints={"chat": endpoint}, **words)


def tried(timeout_s: float, attempts: int, first_s: float = 1) -> Data:
    """Calls time out, and are tried again."""
    backoff = {"first_s": first_s}
    return {"timeout_s": timeout_s, "max_attempts": attempts, "backoff": backoff}


ONE: Data = {"max_in_flight": 1}
CRASH: Data = {"crashes": [{"at_time_s": 10}], "restart_delay_s": 5}
READ: Data = {"prefill_tokens_per_s": 10}
STALLED: Data = {**READ, "prefill_stalls_decode": True}


def limit(**words: Any) -> Data:
    return {"limits": [words]}


PAIRS: Mapping[str, tuple[Data, float]] = {
    # 0 to 4, 4 to 5 and lost with the line; refused to 7, and then one after the other.
    "line, outage that fails": (seconds(3, 4, ONE, down(5, 7)), 15),
    "line, outage that hangs": (seconds(3, 4, ONE, down(5, 7, "hang")), 14),
    "line, outage that finishes": (seconds(3, 4, ONE, down(5, 7, "finish")), 12),
    "line, pause": (seconds(3, 4, ONE, still(5, 7)), 14),
    "cold start, pause": (seconds(1, 3, {"cold_start": {"first_s": 4}}, still(1, 3)), 9),
    "cold start, hang": (seconds(1, 3, {"cold_start": {"first_s": 4}}, down(1, 3, "hang")), 9),
    # It has become warm by 4 s, while calls are refused.
    "cold start, outage": (seconds(1, 3, {"cold_start": {"first_s": 4}}, down(1, 7)), 10),
    # Given up at 3 s; it is warm from 4 s on.
    "cold start, time-out": (
        seconds(1, 0.5, {"cold_start": {"first_s": 4}}, failures=tried(3, 3, 2)),
        5.5,
    ),
    # At 5 s it is cold again, to 9 s: the second attempt ends at 8 s, the third at 15 s.
    "cold start, idle, time-out": (
        seconds(1, 0.5, {"cold_start": {"first_s": 4, "idle_s": 0.5}}, failures=tried(3, 3, 2)),
        15,
    ),
    # Still from 1 to 5 s.
    "pause, hang": (seconds(1, 4, still(1, 3), down(2, 5, "hang")), 8),
    # Given up at 5 and at 11 s, and sent again at 6 and 13 s.
    "pause, time-out": (seconds(1, 4, still(1, 10), failures=tried(5, 5)), 17),
    # The second waits to 4 s, is given up at 5 s, and sent again at 6 s.
    "line, time-out": (seconds(2, 4, ONE, failures=tried(5, 5)), 10),
    # The refusal takes longer than the call may: given up at 0.5, 2.0 and 4.5 s.
    "refusal, time-out": (
        seconds(
            2,
            0.2,
            limit(requests=1, per_s=6),
            {"refusal": {"latency_s": 1}},
            failures=tried(0.5, 3),
        ),
        4.5,
    ),
    # All are lost at 0.5 s, hear of 5 s at 0.75 s, and three may go at 5.25 s.
    "outage, throttle, latency of refusals": (
        seconds(
            4,
            1,
            down(0.5, 5),
            {"refusal": {"latency_s": 0.25}},
            throttle={"chat": {"start": 4}},
        ),
        7.25,
    ),
    # The third goes at 10 s, and the one that was refused at 20 s.
    "limit, pause of all": (
        seconds(3, 1, limit(requests=1, per_s=4), throttle={"chat": {"pause_s": 10}}),
        21,
    ),
    # Tried at 0, 1, 3 and 7 s.
    "limit, no Retry-After, backoff": (
        seconds(2, 1, limit(requests=1, per_s=6), {"refusal": {"retry_after": "none"}}),
        8,
    ),
    # The refusal by tokens takes the second request; another one is there at 10 s.
    "two limits, refusals are charged": (
        tokens(
            2,
            request(10),
            {"limits": [{"tokens": 15, "per_s": 15}, {"requests": 2, "per_s": 20}]},
            {"refusal": {"charged": True}},
        ),
        11,
    ),
    # 60 of 100, and 50 come back at 1 s: full at 20 s; the third lacks 20 then.
    "reserved, given back, three calls": (
        tokens(3, request(10, most=60), limit(tokens=100, per_s=100, give_back=True)),
        41,
    ),
    # At the crash 100 of 300 come back, and 10 have refilled; 185 are lacking at 15 s.
    "reserved, given back, crash": (
        tokens(1, request(200, most=300), limit(tokens=300, per_s=300, give_back=True), **CRASH),
        220,
    ),
    "reserved, crash": (
        tokens(1, request(200, most=300), limit(tokens=300, per_s=300), **CRASH),
        320,
    ),
    "window, crash": (
        tokens(1, request(200), limit(requests=1, per_s=100, window="fixed"), **CRASH),
        120,
    ),
    # Given up at 10 s: 110 are there, and 189 lacking at 11 s.
    "reserved, given back, time-out": (
        tokens(
            1,
            request(200, most=300),
            limit(tokens=300, per_s=300, give_back=True),
            failures=tried(10, 2),
        ),
        210,
    ),
    # What comes back in the window is not enough for the second.
    "window, given back": (
        tokens(
            2,
            request(10, most=60),
            limit(tokens=100, per_s=100, window="fixed", give_back=True),
        ),
        101,
    ),
    "room, no queue": (
        tokens(3, request(20, most=60), {"kv_tokens": 100, "max_in_flight": 4, "queue": 0}),
        6,
    ),
    "prefill, pause": (tokens(3, request(10, 10), READ, still(0.5, 1.5)), 5),
    "prefill that stalls, pause": (tokens(3, request(10, 10), STALLED, still(0.5, 1.5)), 5),
    "prefill that stalls, pause of decode": (
        tokens(3, request(10, 10), STALLED, still(3.2, 4.2)),
        5,
    ),
    # All begin again at 2 s: one decodes, one is read and one waits.
    "prefill, outage": (tokens(3, request(10, 10), READ, down(1.5, 2)), 6),
    "prefill that stalls, outage": (tokens(3, request(10, 10), STALLED, down(1.5, 2)), 6),
    # The call of the next process begins at 18 s.
    "pause, crash": (tokens(1, request(200), still(9, 18), **CRASH), 38),
    "hang, crash": (tokens(1, request(200), down(9, 18, "hang"), **CRASH), 38),
}


@pytest.mark.parametrize("name", PAIRS)
def test_words_go_together(name: str, tmp_path: Path) -> None:
    data, makespan_s = PAIRS[name]
    done = run(data, tmp_path)
    assert done.code == 0, done.said
    assert done.printed["makespan_s"] == pytest.approx(makespan_s, abs=1e-9)
    # The plainer parts that a run without a trace is made of do the same.
    assert run(data, tmp_path, trace=False).printed == done.printed
