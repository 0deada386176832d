"""A server and its closed loops: figures known exactly, and the mutants that miss them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import simpy

from sim.endpoints.client import Client
from sim.endpoints.plan import (
    ColdStart,
    EndpointPlan,
    LimitPlan,
    Outage,
    Pause,
    RefusalPlan,
    SpeedTable,
)
from sim.endpoints.request import Refusal, Request
from sim.endpoints.server import Server
from sim.endpoints.sharing import Sharing
from tests.sim.endpoints.closed_loop import ClosedLoop, tokens

TPOT = SpeedTable(
    (
        (1, 0.045033),
        (2, 0.044559),
        (4, 0.045792),
        (8, 0.046465),
        (16, 0.050435),
        (32, 0.053017),
        (64, 0.071605),
    )
)
# fmt: off
OUTPUTS = [214, 541, 288, 508, 541, 106, 373, 279, 409, 349, 112, 326,
           376, 514, 291, 404, 580, 174, 513, 389, 369, 457, 488, 120]
PROMPTS = [812, 95, 2310, 640, 1501, 377, 1204, 88, 919, 1733, 260, 1041,
           505, 2048, 701, 156, 1390, 433, 997, 1620, 318, 744, 1187, 529]
ENDS_OF_FOUR = [
    9.7995, 24.7735, 13.1881, 23.2623, 34.573, 18.042, 35.1225, 36.0383, 43.5024, 50.5544, 40.2512,
    50.9665, 57.469, 67.0395, 63.8798, 69.4665, 84.0283, 71.8476, 90.5308, 87.2796, 88.7449,
    104.6168, 109.2102, 94.19,
]
# fmt: on


def seconds(calls: int, work_s: float) -> list[Request]:
    return [Request(work=work_s) for _ in range(calls)]


def lengths(prompts: Sequence[float] | None = None) -> list[Request]:
    return [tokens(p, o) for p, o in zip(prompts or [0] * 24, OUTPUTS, strict=True)]


def mean_end_s(loop: ClosedLoop) -> float:
    return fmean(loop.end_s)


def test_a_change_of_load_changes_the_calls_that_run() -> None:
    loop = ClosedLoop(EndpointPlan("chat", TPOT), lengths(), 4)
    assert [round(call.end_s, 4) for call in loop.run()] == ENDS_OF_FOUR
    assert loop.makespan_s == pytest.approx(109.2101715, abs=1e-6)
    assert mean_end_s(loop) == pytest.approx(57.0156886875, abs=1e-6)


@pytest.mark.parametrize(
    ("prefill", "stalls", "makespan_s", "mean_s"),
    [
        (None, False, 59.42207925, 32.53156196875),
        (4300.0, False, 60.7276182237, 33.7541995945),
        (4300.0, True, 64.4471955291, 36.396280961),
    ],
)
def test_prompts_are_read_one_at_a_time_and_may_stall_the_answers(
    prefill: float | None, stalls: bool, makespan_s: float, mean_s: float
) -> None:
    plan = EndpointPlan("chat", TPOT, prefill, stalls)
    loop = ClosedLoop(plan, lengths(PROMPTS), 8)
    loop.run()
    assert loop.makespan_s == pytest.approx(makespan_s, abs=1e-6)
    assert mean_end_s(loop) == pytest.approx(mean_s, abs=1e-6)


def test_the_line_is_the_same_as_clients_that_wait() -> None:
    """Eight places for 24 clients are eight clients."""
    loop = ClosedLoop(EndpointPlan("chat", TPOT, 4300.0, max_in_flight=8), lengths(PROMPTS), 24)
    loop.run()
    assert loop.makespan_s == pytest.approx(60.7276182237, abs=1e-6)
    assert [request.call for request in loop.serving] == list(range(24))


def test_a_pause_makes_the_run_longer_by_itself() -> None:
    for speed in (None, SpeedTable.sharing(5)):
        loop = ClosedLoop(EndpointPlan("chat", speed, pauses=[Pause(22, 40)]), seconds(100, 4.0), 5)
        loop.run()
        assert loop.makespan_s == pytest.approx(98.0, abs=1e-9)


@pytest.mark.parametrize(
    ("running", "makespan_s"),
    # Calls that ran from 20 s begin again at 40 s, end 18 s later, or ended at 24 s.
    [("fail", 100.0), ("hang", 98.0), ("finish", 96.0)],
)
def test_an_outage_loses_holds_or_leaves_what_runs(running: str, makespan_s: float) -> None:
    outage = Outage(22, 40, running)  # type: ignore[arg-type]
    loop = ClosedLoop(EndpointPlan("chat", outages=[outage]), seconds(100, 4.0), 5)
    loop.run()
    assert loop.makespan_s == pytest.approx(makespan_s, abs=1e-9)
    counts = loop.server.counts(loop.env.now)
    assert counts.lost == (5 if running == "fail" else 0)
    assert counts.refused == counts.refused_by_outage == (0 if running == "hang" else 5)


def test_a_call_that_ends_as_an_outage_begins_has_ended() -> None:
    loop = ClosedLoop(EndpointPlan("chat", outages=[Outage(0.7, 5)]), seconds(14, 0.1), 2)
    assert [round(call.end_s, 9) for call in loop.run()][-1] == 0.7
    assert loop.server.counts(loop.env.now).lost == 0


def test_a_cold_server_holds_the_first_calls() -> None:
    plan = EndpointPlan("chat", cold_start=ColdStart(12.0))
    loop = ClosedLoop(plan, seconds(60, 1.5), 4)
    loop.run()
    assert loop.makespan_s == 34.5


def test_a_server_that_is_not_used_is_cold_again() -> None:
    plan = EndpointPlan("chat", cold_start=ColdStart(12.0, idle_s=100.0))
    loop = ClosedLoop(plan, seconds(3, 2.0), 1, [0.0, 99.0, 100.0])
    assert [call.end_s for call in loop.run()] == [14.0, 115.0, 229.0]


def test_a_pause_holds_a_cold_start_up() -> None:
    plan = EndpointPlan("chat", cold_start=ColdStart(12.0), pauses=[Pause(5, 10)])
    loop = ClosedLoop(plan, seconds(1, 2.0), 1)
    loop.run()
    assert loop.makespan_s == 19.0


def test_memory_is_a_bound_on_calls_served() -> None:
    speed = SpeedTable(((1, 0.02), (4096, 0.02)))
    plan = EndpointPlan("chat", speed, kv_tokens=2048)
    loop = ClosedLoop(plan, [tokens(256, 128, 128) for _ in range(48)], 64)
    loop.run()
    assert loop.makespan_s == pytest.approx(25.6, abs=1e-9)
    assert loop.server.counts(loop.env.now).most_in_flight == 5


def test_a_call_that_does_not_fit_holds_those_behind_it() -> None:
    plan = EndpointPlan("chat", kv_tokens=100)
    calls = [tokens(50, 10), tokens(80, 10), tokens(5, 1)]
    loop = ClosedLoop(plan, calls, 3)
    assert [call.serving_s for call in loop.run()] == [0.0, 10.0, 10.0]


def test_a_call_that_never_fits_is_named() -> None:
    loop = ClosedLoop(EndpointPlan("chat", kv_tokens=100), [tokens(50, 10, 60)], 1)
    with pytest.raises(ValueError, match=r"endpoints\.chat\.kv_tokens: .* 110 tokens .* 100: give"):
        loop.run()


class Asked(ClosedLoop):
    """A loop whose refusals are kept."""

    def offers(self, times: Sequence[float], work_s: float = 10.0) -> list[Refusal | None]:
        return [self.server.offer(Request(work=work_s), t) for t in times]


def test_a_full_queue_refuses_and_a_limit_says_how_long() -> None:
    plan = EndpointPlan("chat", max_in_flight=2, queue=1)
    assert Asked(plan, [], 0).offers([0, 0, 0, 0]) == [None, None, None, Refusal(None, "queue")]
    limits = [LimitPlan("requests", 3, 60, 3)]
    plan = EndpointPlan("chat", max_in_flight=2, queue=1, limits=limits)
    assert Asked(plan, [], 0).offers([0, 0, 0, 0])[-1] == Refusal(20.0, "queue")
    silent = EndpointPlan("chat", limits=limits, refusal=RefusalPlan(retry_after="none"))
    assert Asked(silent, [], 0).offers([0, 0, 0, 0])[-1] == Refusal(None, "limit 1")


def test_an_end_makes_room_for_what_comes_at_the_same_instant() -> None:
    """Whoever was scheduled first, and whatever was rounded: 0.1 + 0.2 is not 0.3."""
    plan = EndpointPlan("chat", max_in_flight=1, queue=0)
    loop = ClosedLoop(plan, seconds(2, 0.2), 2, [0.1, 0.3])
    assert [call.end_s for call in loop.run()] == pytest.approx([0.3, 0.5])
    assert loop.server.counts(loop.env.now).refused == 0


def test_a_cancelled_call_makes_room_and_one_that_ends_now_has_ended() -> None:
    plan = EndpointPlan("chat", SpeedTable.sharing(1), max_in_flight=1)
    loop = ClosedLoop(plan, [], 0)
    loop.end_s = [math.inf] * 3
    first, second, third = (Request(call=n, work=5.0) for n in range(3))
    for request in (first, second, third):
        loop.server.offer(request, 0.0)
    loop.env.run(until=2.0)
    assert loop.server.cancel(third, 2.0)
    assert loop.server.cancel(first, 2.0)
    assert second.served_s == 2.0
    loop.env.run(until=6.5)
    assert not loop.server.cancel(second, 7.0)
    loop.env.run()
    assert loop.end_s == [math.inf, 7.0, math.inf]
    assert not loop.server.cancel(second, 7.0)
    counts = loop.server.counts(7.0)
    counts.check("chat")
    assert (counts.ended, counts.cancelled, counts.call_s) == (1, 2, 2.0 + 2.0 + 7.0)


def test_counts_that_differ_are_told() -> None:
    loop = ClosedLoop(EndpointPlan("chat", max_in_flight=2), seconds(9, 1.0), 4)
    loop.run()
    counts = loop.server.counts(loop.env.now)
    assert (counts.accepted, counts.left, counts.inside, counts.most_in_flight) == (9, 9, 0, 2)
    # 3 of 4 calls wait a second, and so on: each is there for two seconds but for the ends.
    assert counts.call_s == pytest.approx(sum([1, 1, 2, 2, 2, 2, 2, 2, 2]))
    for wrong, message in [
        ({"accepted": 8}, r"endpoint 'chat': calls accepted 8, left or still here 9"),
        ({"call_s": 17.0}, r"calls in the server over time 17.0, their time there"),
        ({"most_in_flight": 3}, r"3 calls in flight, and 2 may be"),
        ({"tokens_out": 1.0}, r"tokens charged 0.0, of calls that left or are here 1.0"),
    ]:
        with pytest.raises(AssertionError, match=message):
            replace(counts, **wrong).check("chat")  # type: ignore[arg-type]


# In few replications; the cases themselves have more.
MEANS = [
    # clients, calls, think_s, mean output, prefill, stalls, mean and sd of the makespan
    (8, 250, 0.0, 120.0, None, False, 183.4424795714286, 12.737503524792174),
    (32, 250, 0.0, 120.0, None, False, 66.17439331412321, 7.506983275642079),
    (8, 250, 0.0, 120.0, 4300.0, False, 191.3513037888275, 12.658843478913814),
    (32, 250, 0.0, 120.0, 4300.0, True, 112.68602122109988, 8.06276156307509),
    (32, 250, 2.5, 120.0, None, False, 84.80381167383167, 7.584292522567964),
]


@pytest.mark.parametrize(
    ("clients", "calls", "think_s", "output", "prefill", "stalls", "mean", "sd"), MEANS
)
def test_mean_makespans_are_those_of_exact_recursions(
    clients: int,
    calls: int,
    think_s: float,
    output: float,
    prefill: float | None,
    stalls: bool,
    mean: float,
    sd: float,
) -> None:
    got, runs = [], 12
    for seed in range(runs):
        rng = np.random.default_rng([seed, 1])
        requests = [
            tokens(p, o)
            for p, o in zip(
                rng.exponential(800, calls), rng.exponential(output, calls), strict=True
            )
        ]
        thinks = rng.exponential(think_s, calls).tolist() if think_s else None
        loop = ClosedLoop(EndpointPlan("chat", TPOT, prefill, stalls), requests, clients, thinks)
        loop.run()
        got.append(loop.makespan_s)
    assert abs(fmean(got) - mean) <= 3.5 * sd / math.sqrt(runs)


@pytest.mark.parametrize(
    ("full_speed", "clients", "mean", "sd"),
    [(1, 8, 253.97859941140553, 15.405908933584067), (4, 12, 92.75719585129467, 5.45069067950367)],
)
def test_a_server_shared_by_whoever_is_there_has_the_exact_mean(
    full_speed: int, clients: int, mean: float, sd: float
) -> None:
    got, runs = [], 12
    for seed in range(runs):
        rng = np.random.default_rng([seed, 2])
        requests = [Request(work=work) for work in rng.exponential(1.0, 250)]
        plan = EndpointPlan("chat", SpeedTable.sharing(full_speed))
        loop = ClosedLoop(plan, requests, clients, rng.exponential(3.0, 250).tolist())
        loop.run()
        got.append(loop.makespan_s)
    assert abs(fmean(got) - mean) <= 3.5 * sd / math.sqrt(runs)


def test_a_call_that_takes_just_its_bound_ends_well() -> None:
    """Three units of 0.1 s take 0.3 s, which floats round to a little more."""
    ended: list[float] = []
    late: list[float] = []
    env = simpy.Environment()
    plan = EndpointPlan("chat", SpeedTable(((1, 0.1),)))
    client = Client(
        plan,
        env,
        lambda served, lost: Server(plan, env, served, lost),
        lambda _, t: ended.append(t),
        timed_out=lambda _, t: late.append(t),
    )
    for work in (3.0, 3.0, 3.1):
        client.enter(Request(work=work, timeout_s=0.3), 0.0)
    env.run()
    assert (ended, late) == ([3 * 0.1] * 2, [0.3])
    assert ended[0] > 0.3


def test_an_outage_loses_the_line_too_and_what_limits_took_comes_back() -> None:
    # 15 are left of 75; by 9 s nine have come, and three times 12.
    limit = LimitPlan("tokens", 75, 75, 75, give_back=True)
    plan = EndpointPlan("chat", max_in_flight=1, limits=[limit], outages=[Outage(5, 9)])
    loop = ClosedLoop(plan, [tokens(0, 8, 20) for _ in range(3)], 3)
    assert [call.end_s for call in loop.run()] == [17.0, 25.0, 33.0]
    counts = loop.server.counts(loop.env.now)
    assert (counts.lost, counts.refused_by_outage, counts.refused_by_limits) == (3, 3, 0)


def test_a_hanging_server_holds_its_line_and_a_pause_takes_calls_in() -> None:
    plan = EndpointPlan(
        "chat", max_in_flight=1, outages=[Outage(1, 3, "hang")], pauses=[Pause(2, 6)]
    )
    loop = ClosedLoop(plan, seconds(3, 2.0), 2)
    # One second of the first call, then five of nothing.
    assert [call.end_s for call in loop.run()] == [7.0, 9.0, 11.0]
    plan = EndpointPlan("chat", pauses=[Pause(0, 5), Pause(5, 6)])
    loop = ClosedLoop(plan, seconds(2, 2.0), 2)
    assert [(call.serving_s, call.end_s) for call in loop.run()] == [(0.0, 8.0)] * 2


def test_a_cold_server_takes_in_what_it_can_serve_and_its_queue() -> None:
    plan = EndpointPlan("chat", max_in_flight=2, queue=1, cold_start=ColdStart(10.0))
    loop = Asked(plan, [], 0)
    assert loop.offers([0.0] * 4) == [None, None, None, Refusal(None, "queue")]
    assert (loop.server.in_flight, loop.server.waiting) == (0, 3)


def test_calls_die_with_their_client_and_warmth_and_limits_stay() -> None:
    limit = LimitPlan("requests", 3, 60, 3)
    plan = EndpointPlan(
        "chat",
        SpeedTable.sharing(1),
        10.0,
        True,
        limits=[limit],
        cold_start=ColdStart(10.0, idle_s=50.0),
        pauses=[Pause(30, 35)],
    )
    loop = ClosedLoop(plan, [], 0)
    for work in (8.0, 2.0, 4.0):
        loop.server.offer(Request(work=work, prompt_tokens=20), 0.0)
    loop.env.run(until=13.0)
    loop.server.crash(13.0)
    counts = loop.server.counts(13.0)
    assert (counts.crashed, counts.inside, counts.call_s) == (3, 0, 39.0)
    env = simpy.Environment(33.0)
    loop.server.attach(env)
    loop.end_s = [math.inf]
    again = Request(call=0, work=1.0, prompt_tokens=20)
    assert loop.server.offer(again, 33.0) is None
    env.run()
    # A pause until 35 s, two seconds of prompt, and one of answer: it is warm, and runs alone.
    assert loop.end_s == [38.0]
    # 3 of 3 requests were gone at 0 s, and one more at 33 s: 1.9 have come back by 38 s.
    refusal = loop.server.offer(Request(work=1.0), 38.0)
    assert refusal is not None
    assert refusal.retry_after_s == pytest.approx(2.0)
    loop.server.counts(38.0).check("chat")


def test_a_call_in_line_takes_no_place_that_another_leaves_as_their_client_dies() -> None:
    env, served, ended = simpy.Environment(), list[Request](), list[Any]()

    def end(*call: object) -> None:
        ended.append(call)

    plan = EndpointPlan("chat", max_in_flight=1)
    server = Server(plan, env, end, end, on_serving=lambda request, _: served.append(request))
    first, second = Request(work=2.0), Request(work=1.0)
    server.offer(first, 0.0)
    server.offer(second, 0.0)
    # The end of the first is due at this moment, and the crash comes before it.
    env.run(until=2.0)
    server.crash(2.0)
    assert (served, ended) == ([first], [])
    counts = server.counts(2.0)
    assert (counts.crashed, counts.inside) == (2, 0)


def test_a_cold_start_goes_on_while_the_client_is_gone() -> None:
    loop = ClosedLoop(EndpointPlan("chat", cold_start=ColdStart(10.0), pauses=[Pause(4, 6)]), [], 0)
    loop.server.offer(Request(work=1.0), 0.0)
    loop.env.run(until=2.0)
    loop.server.crash(2.0)
    env = simpy.Environment(7.0)
    loop.server.attach(env)
    loop.end_s = [math.inf]
    loop.server.offer(Request(call=0, work=1.0), 7.0)
    env.run()
    assert loop.end_s == [13.0]


class Frozen(Sharing):
    """Mutant: the speed of a call is fixed when it starts."""

    def __init__(self, env: simpy.Environment, speed: SpeedTable, *told: Any) -> None:
        super().__init__(env, None, *told)
        self._table = speed

    def add(self, request: Request, t: float) -> None:
        request.work *= self._table.unit_s(self.running + 1)
        super().add(request, t)


class OneByOne(Sharing):
    """Mutant: first come first served, each as if alone."""

    def __init__(self, env: simpy.Environment, speed: SpeedTable, *told: Any) -> None:
        super().__init__(env, None, *told)
        self._table, self._free_s = speed, 0.0

    def add(self, request: Request, t: float) -> None:
        self._free_s = max(self._free_s, t) + request.work * self._table.unit_s(1)
        request.work = self._free_s - t
        super().add(request, t)


@pytest.mark.parametrize(("mutant", "makespan_s"), [(Frozen, 109.626), (OneByOne, 392.733)])
def test_the_exact_cases_see_speed_that_is_not_shared(
    mutant: type[Sharing], makespan_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.endpoints.server.Sharing", mutant)
    loop = ClosedLoop(EndpointPlan("chat", TPOT), lengths(), 4)
    loop.run()
    assert loop.makespan_s == pytest.approx(makespan_s, abs=1e-3)
    assert abs(loop.makespan_s - 109.2101715) > 1e-3


def lognormal_makespan_s() -> float:
    """Case A1L in few replications: four clients, work whose spread is wide."""
    got = []
    for seed in range(16):
        rng = np.random.default_rng([seed, 3])
        works = 0.32465246735834974 * np.exp(1.5 * rng.standard_normal(750))
        requests = [Request(work=work) for work in works.tolist()]
        thinks = rng.exponential(3.0, 750).tolist()
        loop = ClosedLoop(EndpointPlan("chat", SpeedTable.sharing(1)), requests, 4, thinks)
        loop.run()
        got.append(loop.makespan_s)
    return fmean(got)


def test_sharing_forgets_the_distribution_of_work_and_a_queue_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = pytest.approx(947.30, abs=3.5 * 55.27 / 4 + 0.0088 * 947.3)
    assert lognormal_makespan_s() == expected
    monkeypatch.setattr("sim.endpoints.server.Sharing", OneByOne)
    assert lognormal_makespan_s() != expected
