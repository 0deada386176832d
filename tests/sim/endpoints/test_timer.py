"""Timers: one event that is moved, and wakes that are too early or stale."""

from __future__ import annotations

import math
from functools import partial

import simpy
from hypothesis import given
from hypothesis import strategies as st

from sim.endpoints.timer import Timer


def acts(moves: list[tuple[float, float | None]]) -> list[float]:
    """When a timer acts that is moved at given times: (when, to what time; None clears it)."""
    env = simpy.Environment()
    seen: list[float] = []
    timer = Timer(env, seen.append)

    def move(to: float | None) -> None:
        if to is None:
            timer.clear()
        else:
            timer.at(to)

    for when, to in moves:
        Timer(env, partial(lambda to, _: move(to), to)).at(when)
    env.run()
    assert timer.due_s == math.inf
    return seen


def test_it_acts_once_at_the_time_that_was_last_asked_for() -> None:
    assert acts([(0, 5)]) == [5]
    assert acts([(0, 5), (1, 7)]) == [7]
    assert acts([(0, 5), (1, 3)]) == [3]
    assert acts([(0, 5), (1, 3), (4, 6)]) == [3, 6]
    assert acts([(0, 5), (1, None)]) == []
    assert acts([(0, 5), (1, None), (2, 9)]) == [9]
    assert acts([(4, 2)]) == [4]


def test_a_timer_that_its_own_action_moves_acts_again() -> None:
    env = simpy.Environment()
    seen: list[float] = []

    def act(t: float) -> None:
        seen.append(t)
        if t < 3:
            timer.at(t + 1)

    timer = Timer(env, act)
    timer.at(1)
    env.run()
    assert seen == [1, 2, 3]


MOMENTS = st.floats(0, 1e6)


@given(st.lists(st.tuples(MOMENTS, st.none() | MOMENTS), max_size=12))
def test_it_acts_at_the_very_instant_whatever_the_clock_rounds(
    moves: list[tuple[float, float | None]],
) -> None:
    moves.sort(key=lambda move: move[0])
    expected, due = [], math.inf
    for when, to in moves:
        if due < when:
            expected.append(due)
            due = math.inf
        due = math.inf if to is None else max(to, when)
    if due < math.inf:
        expected.append(due)
    seen = acts(moves)
    # What is due at the instant of a move may act before it.
    assert [t for t in seen if t not in {when for when, _ in moves}] == [
        t for t in expected if t not in {when for when, _ in moves}
    ]
