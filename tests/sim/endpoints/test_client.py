"""Clients against the figures of cases C1 to C7 and D1 to D3, and rule by rule."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import simpy

from cellspec.errors import SpecError
from sim.endpoints.plan import EndpointPlan, LimitPlan, Outage, RefusalPlan, ThrottlePlan
from sim.endpoints.provider_limits import ProviderLimits
from sim.endpoints.request import Request
from sim.endpoints.throttle import Throttle
from tests.sim.endpoints.plain_server import Loop, PlainServer, loop
from tests.theory.naive import simulate


def alike(calls: int, work: float) -> Iterator[Request]:
    return (Request(work=work) for _ in range(calls))


def exponential(calls: int, mean_s: float, seed: int) -> Iterator[Request]:
    draw = random.Random(seed)
    return (Request(work=draw.expovariate(1 / mean_s)) for _ in range(calls))


def endpoint(*limits: LimitPlan, latency_s: float = 0.0, told: bool = True) -> EndpointPlan:
    refusal = RefusalPlan(latency_s, "exact" if told else "none")
    return EndpointPlan("chat", limits=limits, refusal=refusal)


def requests(amount: float, burst: float, per_s: float = 1.0) -> LimitPlan:
    return LimitPlan("requests", amount, per_s, burst)


def ran(found: Loop) -> dict[str, float]:
    found.env.run()
    return found.figures()


# The cases, with their numbers


def c1(server: type[PlainServer] = PlainServer) -> bool:
    found = ran(loop(endpoint(requests(2.0, 60)), alike(500, 4.0), 30, server=server))
    return found["makespan_s"] == pytest.approx(224.0, abs=0.255)


def c2() -> bool:
    window = LimitPlan("requests", 10, 10.0, 10, window="fixed")
    found = ran(loop(endpoint(window), alike(500, 2.0), 100))
    return found["makespan_s"] == pytest.approx(492.0, abs=1e-6)


def c3(server: type[PlainServer] = PlainServer) -> bool:
    found = ran(loop(endpoint(requests(0.5, 4)), alike(16, 3.0), 16, server=server))
    return found["makespan_s"] == pytest.approx(27.0, abs=1e-6) and found["refused"] == 78


def c4(server: type[PlainServer] = PlainServer) -> bool:
    plan = endpoint(requests(0.5, 4), latency_s=0.125)
    found = ran(loop(plan, alike(40, 2.0), 10, server=server))
    return found["makespan_s"] == pytest.approx(74.125, abs=0.5) and (
        found["refused"] == pytest.approx(285, abs=5.7)
    )


@pytest.mark.parametrize("case", [c1, c2, c3, c4])
def test_calls_that_are_refused_come_back_when_they_were_told(case: Callable[[], bool]) -> None:
    assert case()


@pytest.mark.parametrize(
    ("charge", "give_back", "low", "high", "refused"),
    [
        ("reserved", False, 302.48, 305.52, 4512),
        ("reserved", True, 156.215, 158.53875, 3604),
        ("used", False, 153.23, 154.77, 3548),
    ],
)
def test_tokens_are_charged_as_reserved_as_given_back_and_as_used(
    charge: str, give_back: bool, low: float, high: float, refused: int
) -> None:
    """Cases C5, C6 and C7, and the refusals of a recursion in rational time."""
    plan = LimitPlan("tokens", 60000, 60.0, 60000, charge=charge, give_back=give_back)  # type: ignore[arg-type]
    calls = (Request(None, 800, 250, 1000, work=4.0) for _ in range(200))
    loop_ = loop(endpoint(plan), calls, 32)
    found = ran(loop_)
    assert low <= found["makespan_s"] <= high
    assert found["refused"] == pytest.approx(refused, rel=0.002), "calls come back together"
    taken, returned = loop_.server.provider.charges()[0]
    ended = sum(request.prompt_tokens + request.output_tokens for request, _ in loop_.ended)
    spare = 750 * 200 if charge == "reserved" else 0
    assert taken - returned == ended + (0 if give_back else spare)


DATA_DESIGNER = ThrottlePlan(32)
D2 = requests(4.0, 8)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (
            EndpointPlan("chat", max_in_flight=12, queue=0, refusal=RefusalPlan(0.1, "none")),
            {"rows_per_s": 5.0488, "mean_limit": 10.266},
        ),
        (endpoint(D2, latency_s=0.1, told=False), {"rows_per_s": 3.2680, "mean_limit": 6.6700}),
        (endpoint(D2, latency_s=0.1), {"rows_per_s": 3.1277, "mean_limit": 6.2506}),
    ],
    ids=["D1", "D2", "D3"],
)
def test_a_throttled_client_finds_what_the_endpoint_bears(
    plan: EndpointPlan, expected: dict[str, float]
) -> None:
    """Cases D1 to D3 with a tenth of their calls: three seeds, and three times their tolerance."""
    figures = [ran(loop(plan, exponential(4000, 2.0, s), 32, DATA_DESIGNER)) for s in range(3)]
    for figure, value in expected.items():
        assert sum(each[figure] for each in figures) / 3 == pytest.approx(value, rel=0.09)


# Mutants


class EmptyAtStart(ProviderLimits):
    """A mutant: the buckets are empty at 0."""

    def __init__(self, limits: list[LimitPlan], *, charged: bool = False) -> None:
        super().__init__(limits, charged=charged)
        for _ in range(int(limits[0].burst)):
            self.ask(Request(), 0.0)


class ByReservation(ProviderLimits):
    """A mutant: who is refused is told when those who were refused before it have been served."""

    def __init__(self, limits: list[LimitPlan], *, charged: bool = False) -> None:
        super().__init__(limits, charged=charged)
        self.each_s = limits[0].per_s / limits[0].amount
        self.until_s = 0.0

    def ask(self, request: Request, t: float) -> float | None:
        wait_s = super().ask(request, t)
        if wait_s is None:
            return None
        self.until_s = max(self.until_s + self.each_s, t + wait_s)
        return self.until_s - t


@pytest.mark.parametrize("mutant", [EmptyAtStart, ByReservation])
def test_other_limits_are_found_out(mutant: type[ProviderLimits]) -> None:
    class Server(PlainServer):
        limits = mutant

    assert not all(case(Server) for case in (c1, c3, c4))


@pytest.mark.invariant
@pytest.mark.parametrize("seed", range(8))
def test_a_client_does_what_the_naive_simulator_does(seed: int) -> None:
    draw = random.Random(seed)
    works = [draw.expovariate(0.5) for _ in range(400)]
    workers, told = draw.randint(6, 24), draw.random() < 0.5
    rate, burst, latency_s = draw.choice([1.0, 3.0]), draw.randint(2, 9), draw.choice([0.0, 0.1])
    throttled = draw.random() < 0.7
    words: dict[str, Any] = {
        "rows": 400,
        "columns": [
            {"name": "a", "resource": "chat", "latency": {"model": "list", "values": works}}
        ],
        "limits": {"workers": 99, "resources": {"chat": workers}},
        "policy": "fifo",
        "failures": {"cool_down": {"first_s": 1.0, "factor": 1.5}},
        "endpoints": {
            "chat": {
                "limits": [{"requests": rate, "per_s": 1, "burst": burst}],
                "refusal": {"latency_s": latency_s, "retry_after": "exact" if told else "none"},
            }
        },
    }
    rules = {"start": 20, "decrease": 0.75, "increase": 1, "successes": 5, "cool_down_s": 2.0}
    if throttled:
        words["throttle"] = {"chat": rules}
    naive = simulate(words)
    found = loop(
        endpoint(requests(rate, burst), latency_s=latency_s, told=told),
        (Request(work=work) for work in works),
        workers,
        ThrottlePlan(**rules) if throttled else None,  # type: ignore[arg-type]
        back_off=lambda _, number: 1.5 ** (number - 1),
    )
    figures = ran(found)
    assert figures["makespan_s"] == pytest.approx(naive.makespan_s, rel=1e-12)
    assert figures["refused"] == sum(len(call.waits_s) for call in naive.calls)
    if throttled:
        assert figures["mean_limit"] == pytest.approx(naive.mean_limit["chat"], rel=1e-12)


# Rules


def test_the_client_hears_of_a_refusal_when_it_took_its_time_and_waits_from_then() -> None:
    plan = endpoint(requests(0.5, 1), latency_s=0.25)
    found = loop(plan, alike(2, 1.0), 2)
    found.env.run()
    assert [(call.sent_s, call.refusals, t) for call, t in found.ended] == [
        (0.0, 0, 1.0),
        (2.25, 1, 3.25),
    ]


def test_a_refusal_that_says_nothing_is_followed_by_a_rest_by_its_number() -> None:
    plan = endpoint(requests(0.1, 1), latency_s=0.5, told=False)
    rests = list[int]()

    def back_off(_: Request, number: int) -> float:
        rests.append(number)
        return 2.0**number

    found = loop(plan, alike(2, 1.0), 2, back_off=back_off)
    found.env.run()
    assert rests == [1, 2, 3]
    assert found.ended[-1][0].sent_s == 0.5 + 2 + 0.5 + 4 + 0.5 + 8
    with pytest.raises(ValueError, match="needs a throttle or a back-off"):
        loop(plan, alike(2, 1.0), 2)


def test_calls_wait_for_the_throttle_first_come_first_served() -> None:
    found = loop(endpoint(), alike(6, 1.0), 6, ThrottlePlan(2))
    assert found.client.waiting == 4
    assert found.client.waits_for_limit
    found.env.run()
    order = [(request.sent_s, t) for request, t in found.ended]
    assert order == [(0, 1), (0, 1), (1, 2), (1, 2), (2, 3), (2, 3)]


def test_no_call_goes_out_in_a_pause_of_all_and_one_more_event_ends_it() -> None:
    """A call that is refused stops the others for 10 s, as Curator's clients do."""
    plan = endpoint(requests(0.5, 2))
    found = loop(plan, alike(4, 1.0), 3, ThrottlePlan.pausing(10.0))
    assert not found.client.waits_for_limit
    found.env.run()
    assert [call.sent_s for call, _ in found.ended] == [0, 0, 10, 10]


def test_an_answer_that_is_an_error_is_no_success() -> None:
    plan = ThrottlePlan(4, successes=1, most=8)
    for fails, limit in ((False, 8), (True, 4)):
        found = loop(endpoint(), (Request(work=1.0, fails=fails) for _ in range(9)), 9, plan)
        found.env.run()
        assert found.throttle is not None
        assert (found.throttle.limit, found.throttle.out) == (limit, 0)


def test_a_call_that_takes_longer_than_its_bound_ends_there() -> None:
    """One that takes just so long ends well."""
    works = [1.0, 3.0, 2.0, 2.5, 2.0]
    calls = [Request(work=work, timeout_s=2.0) for work in works]
    found = loop(endpoint(), calls, 1, bounded=True)
    found.env.run()
    assert [(request.work, t) for request, t in found.ended] == [(1.0, 1.0), (2.0, 5.0), (2.0, 9.0)]
    assert [(request.work, t) for request, t in found.late] == [(3.0, 3.0), (2.5, 7.0)]
    assert not found.server.running


def test_bounds_of_several_lengths_are_kept_and_count_from_the_sending() -> None:
    calls = [Request(work=9.0, timeout_s=bound_s) for bound_s in (5.0, 1.0, 3.0, 1.0, 0.5)]
    found = loop(endpoint(), calls, 3, ThrottlePlan(2), bounded=True)
    found.env.run()
    late = [(request.timeout_s, request.sent_s, t) for request, t in found.late]
    assert late == [
        (1.0, 0.0, 1.0),
        (3.0, 1.0, 4.0),
        (5.0, 0.0, 5.0),
        (1.0, 4.0, 5.0),
        (0.5, 5.0, 5.5),
    ]
    assert found.throttle is not None
    assert found.throttle.out == 0


def test_a_refusal_that_takes_longer_than_the_call_may_is_not_heard() -> None:
    plan = endpoint(requests(1e-6, 1), latency_s=5.0)
    calls = [Request(work=1.0, timeout_s=3.0) for _ in range(2)]
    found = loop(plan, calls, 2, ThrottlePlan(8), bounded=True)
    found.env.run()
    assert found.late == [(calls[1], 3.0)]
    assert found.throttle is not None
    assert found.throttle.cuts == 0


def test_calls_that_an_outage_loses_are_sent_again_and_wait_for_its_end() -> None:
    """Case I3: 100 calls of 4 s, five at a time; from 22 to 40 s each call fails."""
    plan = EndpointPlan("chat", outages=[Outage(22.0, 40.0)])
    found = loop(plan, alike(100, 4.0), 5)
    found.env.timeout(22.0).callbacks.append(lambda _: found.server.lose())
    found.env.run()
    assert found.figures()["makespan_s"] == 100.0
    assert found.client.refused == 5
    assert found.client.accepted == 105


def test_a_crash_ends_what_was_under_way_and_the_throttle_begins_anew() -> None:
    plan = endpoint(requests(1e-6, 3), latency_s=1.0)
    found = loop(
        plan, (Request(work=9.0, timeout_s=99.0) for _ in count()), 8, ThrottlePlan(4), bounded=True
    )
    found.env.run(until=2.0)
    assert found.throttle is not None
    assert (found.throttle.limit, found.client.waiting) == (3, 5)
    found.client.crash(2.0)
    assert (found.throttle.limit, found.throttle.out, found.client.waiting) == (4, 0, 0)
    env = simpy.Environment(5.0)
    found.client.attach(env)
    env.run()
    assert not found.ended
    assert not found.late


def test_calls_that_would_be_refused_for_ever_end_the_run_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = endpoint(requests(1e-9, 1), told=False)
    found = loop(plan, alike(9, 1.0), 9, back_off=lambda *_: 0.001)
    monkeypatch.setattr("sim.endpoints.client.REFUSALS", 1000)
    with pytest.raises(SpecError, match=r"^endpoints.chat: it refused 1,000 calls in a row and"):
        found.env.run()
    assert found.client.refused == 2000


class Told:
    """A watch that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float, float | None]] = []

    def sent(self, request: Request, t: float) -> None:  # noqa: ARG002
        self.told.append(("sent", t, None))

    def accepted(self, request: Request, t: float) -> None:  # noqa: ARG002
        self.told.append(("accepted", t, None))

    def turned_away(self, request: Request, t: float) -> None:  # noqa: ARG002
        self.told.append(("turned away", t, None))

    def refused(self, request: Request, retry_after_s: float | None, t: float) -> None:  # noqa: ARG002
        self.told.append(("refused", t, retry_after_s))

    def lost(self, request: Request, t: float) -> None:  # noqa: ARG002
        self.told.append(("lost", t, None))


@pytest.mark.parametrize("throttle", [None, ThrottlePlan(8)])
def test_a_watch_is_told_when_the_client_hears_of_it_and_changes_nothing(
    throttle: ThrottlePlan | None,
) -> None:
    plan = endpoint(requests(0.5, 4), latency_s=0.125)
    told = Told()
    watched = ran(loop(plan, alike(12, 2.0), 6, throttle, watch=told))
    assert watched == ran(loop(plan, alike(12, 2.0), 6, throttle))
    assert told.told == sorted(told.told, key=lambda each: each[1])
    assert told.told[8:13] == [
        ("sent", 0.0, None),
        ("turned away", 0.0, None),
        ("sent", 0.0, None),
        ("turned away", 0.0, None),
        ("refused", 0.125, 2.0),
    ]
    assert sum(what == "refused" for what, *_ in told.told) == watched["refused"]
    assert sum(what == "accepted" for what, *_ in told.told) == 12
    assert sum(what == "sent" for what, *_ in told.told) == watched["refused"] + 12


@pytest.mark.invariant
@pytest.mark.parametrize("seed", range(6))
def test_every_call_ends_once_and_what_is_charged_is_what_ran(seed: int) -> None:
    """With refusals, a throttle or none, time-outs and losses at random."""
    draw = random.Random(seed)
    limits = [
        LimitPlan("tokens", 3000, 10.0, 3000, give_back=draw.random() < 0.5),
        requests(draw.choice([2.0, 5.0]), 10),
    ]
    plan = endpoint(*limits, latency_s=draw.choice([0.0, 0.2]))
    calls = [
        Request(None, draw.randint(0, 300), 50, 100, draw.expovariate(0.5), timeout_s=4.0)
        for _ in range(300)
    ]
    throttle = ThrottlePlan(12) if seed % 2 else None
    found = loop(plan, calls, 16, throttle, bounded=True)
    lost = 0
    for at in range(5, 60, 7):
        found.env.timeout(at).callbacks.append(lambda _: found.server.lose())
    found.env.run()
    through = [request for request, _ in found.ended + found.late]
    assert sorted(map(id, through)) == sorted(map(id, calls))
    lost = found.client.accepted - len(calls)
    taken = [taken for taken, _ in found.server.provider.charges()]
    returned = [back for _, back in found.server.provider.charges()]
    assert taken[1] == found.client.accepted
    assert lost > 0
    assert returned == [50 * found.client.accepted if limits[0].give_back else 0, 0]
    if found.throttle is not None:
        assert found.throttle.out == 0


def test_a_throttle_that_cuts_at_each_refusal_is_found_out() -> None:
    class CutsAtEach(Throttle):
        """A mutant: each refusal cuts."""

        def refused(self, t: float, went_at: int, retry_after_s: float | None) -> None:  # noqa: ARG002
            super().refused(t, self.limit, retry_after_s)

    plan = endpoint(D2, latency_s=0.1)
    right = ran(loop(plan, exponential(2000, 2.0, 0), 32, DATA_DESIGNER))
    wrong = ran(loop(plan, exponential(2000, 2.0, 0), 32, DATA_DESIGNER, throttled=CutsAtEach))
    assert right["mean_limit"] == pytest.approx(6.25, rel=0.1)
    assert wrong["mean_limit"] != pytest.approx(6.25, rel=0.1)
