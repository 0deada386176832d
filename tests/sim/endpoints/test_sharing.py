"""Processor sharing: exact over long runs, in order, and through stalls."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
import simpy

from cellspec.errors import SpecError
from sim.endpoints import sharing
from sim.endpoints.plan import SpeedTable
from sim.endpoints.request import Request
from sim.endpoints.sharing import Sharing

SPLITWISE = SpeedTable(((1, 0.0306), (8, 0.0325), (16, 0.0342), (32, 0.0386), (64, 0.0502)))
LONG = np.longdouble
"""64 bits of mantissa on x86; where it has no more than a float, the oracle is as good as we."""


def ends(
    speed: SpeedTable | None,
    works: list[float],
    gaps: list[float],
    together: int,
    sharing: Callable[..., Sharing] = Sharing,
) -> list[float]:
    """When calls end; so many run at most, and the n-th is sent `gaps` after a place is free."""
    env = simpy.Environment()
    end_s = [0.0] * len(works)
    left = iter(range(len(works)))

    def on_end(requests: list[Request], t: float) -> None:
        for request in requests:
            assert isinstance(request.call, int)
            end_s[request.call] = t
            begin()

    def begin() -> None:
        number = next(left, None)
        if number is not None:
            event = env.timeout(gaps[number], Request(call=number, work=works[number]))
            event.callbacks.append(lambda event: server.add(event.value, env.now))

    server = sharing(env, speed, on_end)
    for _ in range(together):
        begin()
    env.run()
    assert server.running == 0
    return end_s


def slow_ends(
    speed: SpeedTable, works: list[float], gaps: list[float], together: int
) -> list[float]:
    """The same with all remaining work worked out at each change, in longer floats."""
    units = [LONG(speed.unit_s(n)) for n in range(together + 1)]
    left = np.zeros(together, LONG)
    who = np.full(together, -1)
    coming = [(LONG(gaps[n]), n) for n in range(together)]
    sent, t, end_s = together, LONG(0), [0.0] * len(works)
    while True:
        running = np.flatnonzero(who >= 0)
        unit_s = units[len(running)]
        first = running[np.argmin(left[running])] if len(running) else -1
        end = t + left[first] * unit_s if first >= 0 else LONG(np.inf)
        coming.sort()
        join = coming[0][0] if coming else LONG(np.inf)
        now = min(end, join)
        if now == np.inf:
            return end_s
        left[running] -= (now - t) / unit_s
        t = now
        if end <= join:
            end_s[who[first]] = float(t)
            who[first] = -1
            if sent < len(works):
                coming.append((t + LONG(gaps[sent]), sent))
                sent += 1
        else:
            _, number = coming.pop(0)
            place = int(np.flatnonzero(who < 0)[0])
            who[place], left[place] = number, LONG(works[number])


def drawn(calls: int, mean: float, seed: int) -> list[float]:
    draw = random.Random(seed)
    return [draw.expovariate(1 / mean) for _ in range(calls)]


@pytest.mark.parametrize("speed", [SPLITWISE, SpeedTable.sharing(8)])
def test_ends_are_exact_to_a_billionth_of_a_second(speed: SpeedTable) -> None:
    works, gaps = drawn(5_000, 120, 1), drawn(5_000, 2, 2)
    off = np.abs(np.array(ends(speed, works, gaps, 64)) - slow_ends(speed, works, gaps, 64))
    assert off.max() < 1e-9


class Bench:
    """Sharing on a clock of its own, with what ended."""

    def __init__(self, speed: SpeedTable | None) -> None:
        self.env = simpy.Environment()
        self.ended: list[tuple[object, float]] = []
        self.instants = 0
        self.sharing = Sharing(self.env, speed, self.on_end)

    def on_end(self, requests: list[Request], t: float) -> None:
        self.instants += 1
        self.ended += [(request.call, t) for request in requests]

    def add(self, work: float, call: object = None) -> Request:
        request = Request(call=call, work=work)
        self.sharing.add(request, self.env.now)
        return request

    def to(self, t: float) -> None:
        self.env.run(until=t)


def test_calls_that_end_together_end_at_one_instant_in_order_of_arrival() -> None:
    """By rounding 0.1 + 0.2 comes after 0.3, and is not first in the heap."""
    bench = Bench(SpeedTable.sharing(1))
    bench.add(0.3, "a")
    bench.add(0.3, "b")
    bench.to(0.2)
    bench.add(0.2, "c")
    bench.add(5.0, "d")
    bench.env.run()
    assert [call for call, _ in bench.ended] == ["a", "b", "c", "d"]
    assert len({t for _, t in bench.ended}) == bench.instants == 2


def test_alone_a_call_ends_at_the_very_sum_of_start_and_work() -> None:
    bench = Bench(None)
    bench.to(0.1)
    bench.add(0.2, "a")
    bench.to(0.7)
    bench.add(0.1, "b")
    bench.env.run()
    assert bench.ended == [("a", 0.1 + 0.2), ("b", 0.7 + 0.1)]


def test_a_stall_in_a_stall_holds_until_both_have_ended() -> None:
    bench = Bench(SpeedTable.sharing(1))
    bench.add(2.0, "a")
    bench.to(1.0)
    bench.sharing.stall(1.0)
    bench.to(2.0)
    bench.sharing.stall(2.0)
    bench.add(0.5, "b")
    bench.to(4.0)
    bench.sharing.go_on(4.0)
    bench.to(5.0)
    assert bench.sharing.due_s == float("inf")
    bench.sharing.go_on(5.0)
    bench.env.run()
    assert bench.ended == [("b", 6.0), ("a", 6.5)]


def test_calls_that_leave_speed_the_others_up_and_are_forgotten() -> None:
    bench = Bench(SpeedTable.sharing(1))
    kept = bench.add(1.0, "kept")
    gone = [bench.add(100.0, number) for number in range(99)]
    bench.to(50.0)
    for request in gone:
        assert bench.sharing.remove(request, 50.0)
        assert not bench.sharing.remove(request, 50.0)
    assert bench.sharing.members() == [kept]
    bench.env.run()
    assert bench.ended == [("kept", 50.5)]


def test_a_table_that_comes_to_nothing_is_named() -> None:
    bench = Bench(SpeedTable(((1, 0.2), (2, 0.1)), "line"))
    bench.add(1.0)
    bench.add(1.0)
    with pytest.raises(SpecError, match=r"speed: a unit .* 0 s with 3 calls .* stay above 0"):
        bench.add(1.0)


def lines_of_changes(together: int) -> int:
    """Lines of `sharing` that 200 ends and starts take while so many run."""
    bench = Bench(SPLITWISE)
    works = iter(drawn(together + 200, 120, 3))
    for _ in range(together):
        bench.add(next(works))
    lines = 0

    def count(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != sharing.__file__:
            return None
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        while len(bench.ended) < 200:
            ended = len(bench.ended)
            bench.env.step()
            for _ in range(len(bench.ended) - ended):
                bench.add(next(works))
    finally:
        sys.settrace(before)
    return lines


def test_a_change_takes_no_more_steps_with_many_calls_than_with_few() -> None:
    """But for the depth of a heap, which no line of Python sees."""
    few, many = lines_of_changes(64), lines_of_changes(8192)
    assert many <= few * 1.1
