"""A server against the naive simulator of `tests.theory`, which shares no code with it.

There each event advances the remaining work of every call. Serving, decoding and end of each call
must be equal to a billionth of a second.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from sim.endpoints.plan import EndpointPlan
from sim.endpoints.request import Request
from tests.sim.endpoints.closed_loop import ClosedLoop, of_case, tokens
from tests.theory.naive import Run, simulate

MEMORY = 500
# Without a grid no two things happen at one instant by chance; on the grid many do.
FINE = st.floats(0.0625, 10)
GRID = st.integers(1, 8).map(lambda n: n / 4)


@st.composite
def speeds(draw: st.DrawFn) -> dict[str, Any]:
    """A table by load, sharing, or calls that do not know of each other."""
    kind = draw(st.sampled_from(["tpot_s", "full_speed", "alone", "work"]))
    if kind == "alone":
        return {}
    if kind == "full_speed":
        return {"work": {"full_speed": draw(st.integers(1, 4))}}
    points = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4, unique=True))
    values = draw(st.lists(FINE | GRID, min_size=len(points), max_size=len(points)))
    if kind == "tpot_s":
        values.sort()
    else:
        values.sort(reverse=True)
    table = dict(zip(sorted(points), values, strict=True))
    return {kind: table, "beyond": draw(st.sampled_from(["line", "hold"]))}


@st.composite
def spans(draw: st.DrawFn, odd_s: float) -> list[dict[str, Any]]:
    """Times that do not overlap, and begin and end when nothing else does."""
    found, at = [], 0.0
    for _ in range(draw(st.integers(0, 3))):
        from_s = at + draw(FINE | GRID) + odd_s
        at = from_s + draw(FINE | GRID) + odd_s
        found.append({"from_s": from_s, "to_s": at})
    return found


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    numbers = draw(st.sampled_from([FINE, GRID]))
    rows, clients = draw(st.integers(1, 14)), draw(st.integers(1, 8))
    endpoint = draw(speeds())
    if draw(st.booleans()):
        endpoint["prefill_tokens_per_s"] = draw(st.sampled_from([1, 50, 400]))
        endpoint["prefill_stalls_decode"] = draw(st.booleans())
    endpoint["pauses"] = draw(spans(0.0123456789))
    running = draw(st.sampled_from(["fail", "hang", "finish"]))
    endpoint["outages"] = [{**span, "running": running} for span in draw(spans(0.0198765432))]
    # No convention says whether who waits for a place is lost with the calls that run.
    if running != "fail" or not endpoint["outages"]:
        if draw(st.booleans()):
            endpoint["max_in_flight"] = draw(st.integers(1, 5))
        if draw(st.booleans()):
            endpoint["kv_tokens"] = MEMORY
        if draw(st.booleans()) and not endpoint["pauses"] and not endpoint["outages"]:
            endpoint["cold_start"] = {"first_s": draw(numbers)}
    values = st.lists(numbers, min_size=rows, max_size=rows)
    prompts = [20 * value for value in draw(values)]
    column = {
        "name": "call",
        "resource": "chat",
        "latency": {
            "model": "request",
            "prompt_tokens": {"model": "list", "values": prompts},
            "output_tokens": {"model": "list", "values": draw(values)},
        },
    }
    return {
        "rows": rows,
        "columns": [column],
        "limits": {"workers": clients, "resources": {"chat": clients}},
        "policy": "fifo",
        "endpoints": {"chat": endpoint},
    }


def requests(data: dict[str, Any]) -> list[Request]:
    latency = data["columns"][0]["latency"]
    prompts, outputs = latency["prompt_tokens"]["values"], latency["output_tokens"]["values"]
    return [tokens(prompt, output) for prompt, output in zip(prompts, outputs, strict=True)]


def times(run: Run) -> list[tuple[float, float, float]]:
    return [(call.serving_s, call.decoding_s, call.end_s) for call in run.calls]


def near(one: list[tuple[float, float, float]], other: list[tuple[float, float, float]]) -> bool:
    return all(a == pytest.approx(b, abs=1e-9) for a, b in zip(one, other, strict=True))


@given(scenarios())
def test_each_call_is_served_as_the_naive_simulator_serves_it(data: dict[str, Any]) -> None:
    expected = times(simulate(data))
    # What depends on the order within one instant is fixed by no convention.
    assume(near(expected, times(simulate(data, last_first=True))))
    plan = EndpointPlan(**of_case(data["endpoints"]["chat"]))
    loop = ClosedLoop(plan, requests(data), data["limits"]["workers"])
    ended = loop.run()
    got = [(call.serving_s, call.decoding_s, call.end_s) for call in ended]
    for number, (mine, theirs) in enumerate(zip(got, expected, strict=True)):
        assert mine == pytest.approx(theirs, abs=1e-9), number
    event("refused" if loop.server.counts(loop.env.now).refused else "all taken in")
    event("waited" if any(call.serving_s > call.start_s for call in ended) else "no line")
