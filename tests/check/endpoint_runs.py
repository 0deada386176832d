"""Random scenarios with endpoints, on few rows and round numbers, so that much happens at once."""

from __future__ import annotations

import random
from typing import Any, TypeAlias

__all__ = ["draw"]

Data: TypeAlias = dict[str, Any]


def draw(number: int) -> Data:
    """The scenario with this number."""
    pick = random.Random(f"endpoint runs/{number}")

    def yes(share: float) -> bool:
        return pick.random() < share

    tokens = yes(0.7)
    rows = pick.randint(2, 14)
    columns: list[Data] = [
        {"name": "a", "traits": ["START"], "resource": "chat", "latency": _latency(pick, tokens)}
    ]
    if yes(0.7):
        latency = _latency(pick, tokens)
        columns.append(
            {"name": "b", "traits": ["CELL_BY_CELL"], "dependencies": ["a"], "latency": latency}
        )
        columns[-1]["resource"] = "chat"
    if yes(0.3):
        value = {"model": "constant", "value_s": pick.choice((1, 2))}
        last = columns[-1]["name"]
        columns.append(
            {"name": "z", "traits": ["BARRIER"], "dependencies": [last], "latency": value}
        )
    chat = pick.randint(1, 8)
    data: Data = {
        "name": f"endpoint run {number}",
        "rows": rows,
        "seed": pick.randrange(1 << 16),
        "columns": columns,
        "limits": {"workers": pick.randint(2, 12), "resources": {"chat": chat}},
        "endpoints": {"chat": _endpoint(pick, tokens)},
        "failures": {"max_attempts": 3, "backoff": {"first_s": 0.5, "jitter": 0}},
    }
    if yes(0.3):
        data["failures"]["default"] = {"retryable": 0.2, "permanent": 0.1}
    if yes(0.3):
        data["failures"]["timeout_s"] = pick.choice((2, 4, 4.5))
    if yes(0.4):
        data["throttle"] = {"chat": _throttle(pick)}
    if yes(0.2):
        data["outages"] = [{"resource": "chat", **_span(pick, 30), **_running(pick)}]
    if yes(0.2):
        data["limits"]["resources"] = {
            "chat": {"max_concurrent": chat, "max_requests_per_minute": pick.choice((30, 60, 120))}
        }
    if yes(0.3):
        data["crashes"] = [{"at_time_s": pick.choice((1, 2.5, 4, 6))}]
        data["checkpoint"] = {"every_rows": 2, "version": 2, "write_s": pick.choice((0, 0.5))}
        data["restart_delay_s"] = pick.choice((0, 1, 30))
    if yes(0.2):
        data["scheduler"] = {"start_s": 0.25, "end_s": pick.choice((0, 0.25))}
    return data


def _latency(pick: random.Random, tokens: bool) -> Data:
    constant = pick.random() < 0.6
    if not tokens:
        seconds = {"model": "constant", "value_s": pick.choice((1, 2, 3))}
        return seconds if constant else {"model": "exponential", "mean_s": 2.0}
    found: Data = {"model": "request", "max_output_tokens": pick.choice((20, 40))}
    found["output_tokens"] = {"model": "constant", "value": pick.choice((0, 10, 20))}
    if not constant:
        found["output_tokens"] = {
            "model": "list",
            "values": [pick.randint(0, 20) for _ in range(20)],
        }
    if pick.random() < 0.6:
        found["prompt_tokens"] = {"model": "constant", "value": pick.choice((0, 10, 30))}
    return found


def _span(pick: random.Random, first: int) -> Data:
    start = first + pick.choice((0, 1, 2, 2.5, 5))
    return {"from_s": start, "to_s": start + pick.choice((1, 2, 3.5))}


def _running(pick: random.Random) -> Data:
    return {"running": pick.choice(("fail", "hang", "finish"))}


def _throttle(pick: random.Random) -> Data:
    if pick.random() < 0.2:
        return {"pause_s": pick.choice((0.5, 2.0))}
    found = {"successes": pick.randint(1, 4), "cool_down_s": pick.choice((0.5, 2.0))}
    if pick.random() < 0.5:
        found["start"] = 1
    return found | {"increase": pick.choice((1, 2)), "decrease": pick.choice((0.5, 0.75))}


def _endpoint(pick: random.Random, tokens: bool) -> Data:
    def yes(share: float) -> bool:
        return pick.random() < share

    found: Data = {}
    if tokens:
        found["tpot_s"] = pick.choice(({"1": 0.1, "4": 0.25}, {"1": 0.1}, {"2": 0.05, "8": 0.3}))
        found["beyond"] = "line" if len(found["tpot_s"]) > 1 else "hold"
        if yes(0.5):
            found["prefill_tokens_per_s"] = pick.choice((10, 20, 100))
            found["prefill_stalls_decode"] = yes(0.5)
        if yes(0.4):
            found["kv_tokens"] = pick.choice((70, 100, 150))
    elif yes(0.7):
        found["work"] = pick.choice(({"full_speed": 2}, {"1": 1.0, "4": 0.5}))
        if "1" in found["work"]:
            found["beyond"] = "line"
    if yes(0.5):
        found["max_in_flight"] = pick.randint(1, 4)
        if yes(0.5):
            found["queue"] = pick.randint(0, 3)
    if yes(0.6):
        found["limits"] = [_limit(pick, tokens) for _ in range(pick.choice((1, 1, 2)))]
    if yes(0.5):
        found["refusal"] = {
            "latency_s": pick.choice((0, 0.25)),
            "retry_after": pick.choice(("exact", "exact", "none")),
            "charged": yes(0.2),
        }
    if yes(0.25):
        found["outages"] = [{**_span(pick, 0), **_running(pick)}]
    if yes(0.25):
        found["pauses"] = [_span(pick, 0), _span(pick, 12)]
    if yes(0.2):
        found["cold_start"] = {"first_s": pick.choice((0.5, 2)), "idle_s": 3.0}
    return found


def _limit(pick: random.Random, tokens: bool) -> Data:
    per_s = pick.choice((1, 4, 10))
    if tokens and pick.random() < 0.7:
        found: Data = {"tokens": pick.choice((80, 100, 150)), "per_s": per_s}
        found["charge"] = pick.choice(("reserved", "reserved", "used"))
        if found["charge"] == "reserved":
            found["give_back"] = pick.random() < 0.6
    else:
        found = {"requests": pick.choice((1, 2, 4)), "per_s": per_s}
        if pick.random() < 0.3:
            found["burst"] = pick.choice((1, 3))
            return found
    if pick.random() < 0.3:
        found["window"] = "fixed"
    elif pick.random() < 0.3 and "tokens" in found:
        found["burst"] = 150
    return found
