"""Limits of a provider against closed forms, OpenAI's messages, and a ledger in rational time."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from cellspec.errors import SpecError
from sim.endpoints.plan import LimitPlan
from sim.endpoints.provider_limits import ProviderLimits, retry_after_s, too_large
from sim.endpoints.request import Request


def bucket(
    amount: float, per_s: float = 1.0, burst: float | None = None, **more: object
) -> LimitPlan:
    return LimitPlan("requests", amount, per_s, amount if burst is None else burst, **more)  # type: ignore[arg-type]


def tokens(amount: float, per_s: float = 60.0, **more: object) -> LimitPlan:
    return LimitPlan("tokens", amount, per_s, amount, **more)  # type: ignore[arg-type]


def call(prompt: float = 0.0, output: float = 0.0, reserved: float | None = None) -> Request:
    return Request(None, prompt, output, output if reserved is None else reserved)


@pytest.mark.parametrize(
    ("limit", "used", "asked", "says"),
    [
        (10000, 8554, 3082, 9.816),
        (30000, 29937, 385, 0.644),
        (10000, 8782, 8172, 41.724),
        (3, 3, 1, 20.0),
    ],
)
def test_retry_after_is_that_of_real_messages_to_the_millisecond(
    limit: float, used: float, asked: float, says: float
) -> None:
    assert round(retry_after_s(limit=limit, used=used, asked=asked), 3) == says


def test_who_is_let_pass_has_nothing_to_wait_for() -> None:
    assert retry_after_s(limit=10000, used=2000, asked=8000) == 0.0


def test_a_bucket_is_full_at_0_and_retry_after_ignores_who_else_waits() -> None:
    limits = ProviderLimits([bucket(0.5, burst=4)])
    assert [limits.ask(call(), 0.0) for _ in range(6)] == [None] * 4 + [2.0, 2.0]
    assert limits.ask(call(), 1.0) == 1.0
    assert limits.ask(call(), 2.0) is None
    assert limits.ask(call(), 2.0) == 2.0


def test_a_bucket_refills_to_its_burst_and_no_further() -> None:
    limits = ProviderLimits([bucket(10, burst=3)])
    assert [limits.ask(call(), 1000.0) for _ in range(3)] == [None] * 3
    assert limits.ask(call(), 1000.0) == pytest.approx(0.1)


def test_what_lacks_a_billionth_lacks_nothing() -> None:
    limits = ProviderLimits([bucket(1 / 3, burst=1)])
    t = 0.0
    for _ in range(10_000):
        assert limits.ask(call(), t) is None
        wait_s = limits.ask(call(), t)
        assert wait_s == pytest.approx(3.0)
        assert wait_s is not None
        t += wait_s
    assert limits.rooms(t)[0] <= 1


@pytest.mark.parametrize("window", ["bucket", "fixed"])
def test_a_wait_is_never_too_short_for_the_clock(window: str) -> None:
    limits = ProviderLimits([tokens(1e9, per_s=1e-9, window=window)])
    t = 1e9
    assert limits.ask(call(1e9), t) is None
    wait_s = limits.ask(call(1e9), t)
    assert wait_s
    assert t + wait_s > t


@pytest.mark.parametrize(
    ("charge", "give_back", "taken", "after"),
    [("reserved", False, 1800, 0), ("reserved", True, 1800, 750), ("used", False, 1050, 0)],
)
def test_what_a_call_is_charged_and_what_comes_back(
    charge: str, give_back: bool, taken: float, after: float
) -> None:
    limits = ProviderLimits([tokens(60000, charge=charge, give_back=give_back)])
    asks = call(800, 250, 1000)
    assert limits.ask(asks, 0.0) is None
    assert limits.rooms(0.0) == [60000 - taken]
    limits.ended(asks, 0.0)
    assert limits.rooms(0.0) == [60000 - taken + after]
    assert limits.charges() == [(taken, after)]
    limits.ended(asks, 1.0)
    assert limits.rooms(1.0) == [min(60000, 60000 - taken + 2 * after + 1000)]


def test_a_call_at_a_boundary_is_in_the_new_window() -> None:
    limits = ProviderLimits([bucket(2, per_s=10, window="fixed")])
    assert limits.ask(call(), 9.0) is None
    assert limits.ask(call(), 9.5) is None
    assert limits.ask(call(), 9.75) == 0.25
    assert limits.ask(call(), 10.0) is None


def test_a_window_whose_bounds_are_no_binary_numbers_is_not_asked_for_ever() -> None:
    limits = ProviderLimits([bucket(1, per_s=0.1, window="fixed")])
    t = 0.0
    for _ in range(1000):
        assert limits.ask(call(), t) is None
        wait_s = limits.ask(call(), t)
        assert wait_s == pytest.approx(0.1, rel=1e-6)
        assert wait_s is not None
        t += wait_s
    assert t == pytest.approx(100)


def test_the_longest_wait_counts_and_nothing_is_charged_unless_all_let_it_pass() -> None:
    limits = ProviderLimits([bucket(1, burst=5), tokens(100, per_s=1), tokens(1000, per_s=1000)])
    assert limits.ask(call(100), 0.0) is None
    assert limits.rooms(0.0) == [4, 0, 900]
    assert limits.ask(call(50), 0.0) == 0.5
    assert limits.rooms(0.0) == [4, 0, 900]
    assert limits.refused_by == [0, 1, 0]
    assert limits.ask(call(100), 0.0) == 1.0
    assert limits.refused_by == [0, 2, 0]


def test_a_charged_refusal_takes_a_request_where_there_is_one() -> None:
    limits = ProviderLimits([bucket(0.1, burst=3), tokens(100, per_s=10)], charged=True)
    assert limits.ask(call(100), 0.0) is None
    assert limits.ask(call(50), 0.0) == 5.0
    assert limits.rooms(0.0) == [1, 0]
    assert limits.ask(call(50), 0.0) == 10.0, "what it lacks after it took the last request"
    assert limits.rooms(0.0) == [0, 0]
    assert limits.ask(call(50), 4.0) == pytest.approx(6.0)
    assert limits.rooms(4.0) == [0.4, 40]
    assert limits.ask(call(50), 10.0) is None


def test_a_call_above_a_limit_is_known_before_the_run() -> None:
    limits = [bucket(1), tokens(1000, charge="used"), tokens(2000)]
    assert too_large(limits, 500, 500, 1500) is None
    assert too_large(limits, 500, 501, 501) is limits[1]
    assert too_large(limits, 500, 500, 1501) is limits[2]
    says = r"endpoints\.chat\.limits\[2\]: 2001 tokens never pass a limit of 2000: .* burst$"
    with pytest.raises(SpecError, match=says):
        ProviderLimits(limits, name="chat").ask(call(500, 500, 1501), 0.0)


class Ledger:
    """One bucket in rational time: every charge and return by its moment, summed anew each time."""

    def __init__(self, amount: int, per_s: int, burst: int) -> None:
        self.rate, self.burst = Fraction(amount, per_s), Fraction(burst)
        self.moves: list[tuple[Fraction, Fraction]] = []

    def level(self, t: Fraction) -> Fraction:
        level, at = self.burst, Fraction(0)
        for when, change in self.moves:
            level = min(self.burst, level + (when - at) * self.rate)
            level, at = min(self.burst, level + change), when
        return min(self.burst, level + (t - at) * self.rate)


@pytest.mark.invariant
@pytest.mark.parametrize("seed", range(8))
def test_levels_and_waits_are_those_of_a_ledger(seed: int) -> None:
    draw = random.Random(seed)
    plans = [
        tokens(draw.randint(500, 4000), per_s=draw.randint(1, 60), give_back=draw.random() < 0.7)
        for _ in range(draw.randint(1, 3))
    ]
    limits = ProviderLimits(plans)
    ledgers = [Ledger(int(p.amount), int(p.per_s), int(p.burst)) for p in plans]
    running: list[Request] = []
    t = Fraction(0)
    charged = returned = Fraction(0)
    for _ in range(80):
        t += Fraction(draw.randint(0, 64), 64)
        now = float(t)
        if running and draw.random() < 0.4:
            gone = running.pop(draw.randrange(len(running)))
            limits.ended(gone, now)
            back = Fraction(gone.reserved_tokens - gone.output_tokens)
            returned += back
            for plan, ledger in zip(plans, ledgers, strict=True):
                if plan.give_back:
                    ledger.moves.append((t, back))
        else:
            asks = call(draw.randint(0, 200), draw.randint(0, 100), 100 + draw.randint(0, 200))
            need = Fraction(asks.prompt_tokens + asks.reserved_tokens)
            lacks = [max(Fraction(0), need - each.level(t)) / each.rate for each in ledgers]
            wait_s = limits.ask(asks, now)
            if wait_s is None:
                assert not any(lacks)
                running.append(asks)
                charged += need
                for ledger in ledgers:
                    ledger.moves.append((t, -need))
            else:
                assert wait_s == pytest.approx(float(max(lacks)), rel=1e-9)
        for room, plan, ledger in zip(limits.rooms(now), plans, ledgers, strict=True):
            assert 0 <= room <= plan.burst
            assert room == pytest.approx(float(ledger.level(t)), abs=1e-6)
    for plan, (taken, back_again) in zip(plans, limits.charges(), strict=True):
        assert taken == float(charged)
        assert back_again == (float(returned) if plan.give_back else 0)
