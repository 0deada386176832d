"""The serial loop against a recursion in rational time, and what it does at one instant."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from fractions import Fraction

import pytest
import simpy

from sim.endpoints.plan import SerialPlan
from sim.endpoints.serial import SerialLoop


class StartsFirst(SerialLoop[int]):
    """A mutant: starts that wait go before ends. It is the loop with both roles exchanged."""

    def __init__(
        self,
        plan: SerialPlan,
        env: simpy.Environment,
        started: Callable[[int, float], object],
        ended: Callable[[int, float], object],
    ) -> None:
        super().__init__(SerialPlan(plan.end_s, plan.start_s), env, ended, started)

    def start(self, call: int) -> None:
        super().end(call)

    def end(self, call: int) -> None:
        super().start(call)


def run(
    plan: SerialPlan,
    calls: int,
    places: int,
    takes_s: float,
    make: type[SerialLoop[int]] = SerialLoop,
) -> float:
    """The makespan of so many calls with so many places."""
    env = simpy.Environment()
    left = calls

    def start() -> None:
        nonlocal left
        if left:
            left -= 1
            loop.start(left)

    def begun(call: int, _: float) -> None:
        env.timeout(takes_s).callbacks.append(lambda _: loop.end(call))

    loop = make(plan, env, begun, lambda _call, _t: start())
    for _ in range(places):
        start()
    env.run()
    assert loop.busy_s == pytest.approx(calls * (plan.start_s + plan.end_s))
    assert loop.waiting == 0
    return env.now


def naive(start_s: str, end_s: str, calls: int, places: int, takes_s: str) -> float:
    """The same by a walk over the loop's turns, in rational time."""
    s, e, x = Fraction(start_s), Fraction(end_s), Fraction(takes_s)
    t, starts, running, left = Fraction(0), min(calls, places), deque[Fraction](), calls
    left -= starts
    while starts or running:
        if running and running[0] <= t:
            running.popleft()
            t += e
            if left:
                left, starts = left - 1, starts + 1
        elif starts:
            starts -= 1
            t += s
            running.append(t + x)
        else:
            t = running[0]
    return float(t)


def test_a_loop_that_costs_something_is_a_ceiling() -> None:
    """Case I6: 16 places would give 15.1 calls a second, the loop alone 16.7."""
    found = run(SerialPlan(0.04, 0.02), 500, 16, 1.0)
    assert found == pytest.approx(34.22, abs=0.12)
    assert found == pytest.approx(naive("0.04", "0.02", 500, 16, "1"), abs=0.12)


# Bounds at which no two things fall on one instant, so that the order is stated.
@pytest.mark.parametrize("places", [1, 3, 16, 40])
@pytest.mark.parametrize(("start_s", "end_s"), [("0.0407", "0.0211"), ("0.013", "0.0507")])
def test_makespans_are_those_of_a_recursion(places: int, start_s: str, end_s: str) -> None:
    found = run(SerialPlan(float(start_s), float(end_s)), 200, places, 1.001)
    assert found == pytest.approx(naive(start_s, end_s, 200, places, "1.001"), rel=1e-12)


def test_a_loop_that_takes_starts_first_is_found_out() -> None:
    right = naive("0.0407", "0.0211", 200, 16, "1.001")
    wrong = run(SerialPlan(0.0407, 0.0211), 200, 16, 1.001, StartsFirst)
    assert wrong != pytest.approx(right, rel=1e-3)


def test_ends_that_wait_go_before_starts_that_wait() -> None:
    env, order = simpy.Environment(), list[tuple[str, str, float]]()
    loop = SerialLoop[str](
        SerialPlan(1.0, 2.0),
        env,
        lambda call, t: order.append(("start", call, t)),
        lambda call, t: order.append(("end", call, t)),
    )
    loop.start("a")
    loop.start("b")
    loop.start("c")
    loop.end("x")
    loop.end("y")
    assert loop.waiting == 4
    env.run()
    assert order == [
        ("start", "a", 1.0),
        ("end", "x", 3.0),
        ("end", "y", 5.0),
        ("start", "b", 6.0),
        ("start", "c", 7.0),
    ]


def test_what_takes_no_time_waits_for_the_loop_all_the_same() -> None:
    env, order = simpy.Environment(), list[tuple[str, float]]()
    loop = SerialLoop[str](
        SerialPlan(start_s=1.0),
        env,
        lambda call, t: order.append((call, t)),
        lambda call, t: order.append((call, t)),
    )
    loop.end("at once")
    assert order == [("at once", 0.0)]
    loop.start("a")
    loop.end("x")
    env.run()
    assert order[1:] == [("a", 1.0), ("x", 1.0)]


def test_a_crash_clears_the_loop() -> None:
    env, order = simpy.Environment(), list[str]()
    loop = SerialLoop[str](
        SerialPlan(1.0, 1.0), env, lambda call, _: order.append(call), lambda *_: None
    )
    loop.start("gone")
    loop.start("gone too")
    env = simpy.Environment(5.0)
    loop.attach(env)
    loop.start("new")
    env.run()
    assert order == ["new"]
    assert env.now == 6.0
