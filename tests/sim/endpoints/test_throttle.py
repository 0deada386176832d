"""DataDesigner's throttle: the worked example, its rules one by one, and a naive twin."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from sim.endpoints.plan import ThrottlePlan
from sim.endpoints.throttle import Throttle


def test_the_worked_example_20_15_11() -> None:
    """The refusals of one burst cut once; those of calls that went out after the cut, again."""
    throttle = Throttle(ThrottlePlan(20))
    burst = [throttle.went() for _ in range(20)]
    assert not throttle.may_go(0.0)
    for went_at in burst:
        throttle.refused(0.1, went_at, None)
    assert throttle.limit == 15
    assert throttle.out == 0
    assert not throttle.may_go(2.0)
    assert throttle.next_s == 2.1
    assert throttle.may_go(2.1)
    for went_at in [throttle.went() for _ in range(15)]:
        throttle.refused(2.2, went_at, None)
    assert throttle.limit == 11
    assert throttle.cuts == 2


def test_the_limit_stays_between_1_and_that_of_the_client() -> None:
    throttle = Throttle(ThrottlePlan(40, decrease=0.1, successes=1, cool_down_s=0.0, most=32))
    assert throttle.limit == 32
    for _ in range(5):
        throttle.refused(0.0, throttle.went(), None)
    assert throttle.limit == 1
    for _ in range(100):
        throttle.went()
        throttle.succeeded(1.0)
    assert throttle.limit == 32


def test_successes_count_after_the_cool_down_only_and_a_refusal_begins_the_count_anew() -> None:
    throttle = Throttle(ThrottlePlan(8, successes=3))
    for _ in range(8):
        throttle.went()
    throttle.refused(1.0, 8, None)
    assert throttle.limit == 6
    throttle.succeeded(2.9)
    throttle.succeeded(3.0)
    throttle.succeeded(3.0)
    assert throttle.limit == 6
    throttle.refused(4.0, 8, None)
    assert throttle.limit == 6, "of the burst that cut before"
    throttle.succeeded(6.0)
    throttle.succeeded(6.0)
    assert throttle.limit == 6
    throttle.succeeded(6.0)
    assert throttle.limit == 7
    assert throttle.out == 0


def test_the_newest_refusal_decides_when_calls_go_out_again() -> None:
    throttle = Throttle(ThrottlePlan(8))
    for _ in range(8):
        throttle.went()
    throttle.refused(1.0, 8, 30.0)
    assert throttle.next_s == 31.0
    throttle.refused(2.0, 8, 5.0)
    assert throttle.next_s == 7.0, "Retry-After instead of the cool-down, even for an earlier end"
    throttle.refused(3.0, 8, None)
    assert throttle.next_s == 5.0
    throttle.refused(3.0, 8, 0.0)
    assert throttle.next_s == 3.0


def test_a_call_that_failed_or_was_lost_is_no_success() -> None:
    throttle = Throttle(ThrottlePlan(2, successes=1))
    throttle.went()
    throttle.left()
    assert (throttle.limit, throttle.out) == (2, 0)


def test_a_pause_of_all_calls_keeps_the_limit_and_reads_no_retry_after() -> None:
    throttle = Throttle(ThrottlePlan.pausing(10.0, most=64))
    for _ in range(3):
        throttle.went()
    throttle.refused(1.0, 64, 3.0)
    assert throttle.limit == 64
    assert not throttle.may_go(10.9)
    throttle.refused(5.0, 64, None)
    assert throttle.next_s == 15.0
    assert throttle.may_go(15.0)


def test_the_mean_limit_is_its_integral_over_time_through_a_new_beginning() -> None:
    throttle = Throttle(ThrottlePlan(20))
    assert throttle.mean_limit(0.0) == 20
    throttle.refused(3.0, throttle.went(), None)
    assert throttle.mean_limit(4.0) == (3 * 20 + 1 * 15) / 4
    throttle.begin(5.0)
    assert throttle.limit == 20
    assert throttle.mean_limit(10.0) == (3 * 20 + 2 * 15 + 5 * 20) / 10


class Naive:
    """The rules once more, from the list of all that happened."""

    def __init__(self, start: int, most: int) -> None:
        self.start, self.most = start, most
        self.history: list[tuple[float, str, int, float]] = []

    def now(self, t: float) -> tuple[int, float, float]:
        """The limit, the end of the cool-down, and the integral of the limit until t."""
        limit, until, count, area, last = min(self.start, self.most), 0.0, 0, 0.0, 0.0
        for at, what, went_at, wait_s in self.history:
            area, last = area + limit * (at - last), at
            if what == "refused":
                count, until = 0, at + wait_s
                if not went_at > limit:
                    limit = max(1, math.floor(limit * 0.75))
            elif at >= until:
                count += 1
                if count == 25:
                    count, limit = 0, min(self.most, limit + 1)
        return limit, until, area + limit * (t - last)


def disagreement(make: Callable[[ThrottlePlan], Throttle], seed: int) -> bool:
    """True if a throttle does otherwise than the naive one in a random run."""
    draw = random.Random(seed)
    start, most = draw.randint(1, 40), draw.randint(1, 40)
    throttle, naive = make(ThrottlePlan(start, most=most)), Naive(start, most)
    t, out = 0.0, list[int]()
    for _ in range(600):
        t += draw.choice([0.0, 0.1, 0.5])
        if throttle.may_go(t):
            out.append(throttle.went())
            if out[-1] != naive.now(t)[0]:
                return True
        elif out:
            went_at = out.pop(draw.randrange(len(out)))
            if draw.random() < 0.06:
                told = draw.choice([None, 0.3, 4.0])
                throttle.refused(t, went_at, told)
                naive.history.append((t, "refused", went_at, 2.0 if told is None else told))
            else:
                throttle.succeeded(t)
                naive.history.append((t, "succeeded", 0, 0.0))
        limit, until, area = naive.now(t)
        if (throttle.limit, throttle.next_s, throttle.out) != (limit, until, len(out)):
            return True
        if t and not math.isclose(throttle.mean_limit(t) * t, area):
            return True
    return False


@pytest.mark.invariant
@pytest.mark.parametrize("seed", range(8))
def test_a_throttle_is_its_naive_twin(seed: int) -> None:
    assert not disagreement(Throttle, seed)


class CutsAtEach(Throttle):
    """A mutant: each refusal cuts, also those of one burst."""

    def refused(self, t: float, went_at: int, retry_after_s: float | None) -> None:  # noqa: ARG002
        super().refused(t, self.limit, retry_after_s)


class CountsAlways(Throttle):
    """A mutant: successes count during a cool-down."""

    def succeeded(self, t: float) -> None:
        super().succeeded(max(t, self.next_s))


@pytest.mark.parametrize("mutant", [CutsAtEach, CountsAlways])
def test_a_throttle_with_another_rule_is_found_out(mutant: type[Throttle]) -> None:
    assert any(disagreement(mutant, seed) for seed in range(20))
