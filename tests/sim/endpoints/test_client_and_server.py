"""A client and its server: what is conserved over refusals, outages, time-outs and crashes."""

from __future__ import annotations

import random

import pytest
import simpy

from sim.endpoints.client import Client, Through
from sim.endpoints.plan import (
    ColdStart,
    EndpointPlan,
    LimitPlan,
    Outage,
    Pause,
    RefusalPlan,
    SpeedTable,
    ThrottlePlan,
)
from sim.endpoints.provider_limits import ProviderLimits
from sim.endpoints.request import Request
from sim.endpoints.server import Server
from sim.endpoints.throttle import Throttle

pytestmark = pytest.mark.invariant


class Run:
    """A closed loop of random calls through a random endpoint, in two incarnations.

    Attributes:
        ended, late: by the number of a call, how often it was answered, and how often it timed out.
        losses: calls that an outage took.
    """

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        self.plan = plan = EndpointPlan(
            "chat",
            speed=draw.choice([None, SpeedTable.sharing(4), SpeedTable(((1, 1.0), (16, 1.6)))]),
            prefill_tokens_per_s=draw.choice([None, 2000.0]),
            prefill_stalls_decode=draw.random() < 0.5,
            max_in_flight=draw.choice([None, 6]),
            queue=draw.choice([None, 3]),
            kv_tokens=draw.choice([None, 3000.0]),
            limits=draw.choice(
                [
                    [],
                    [LimitPlan("tokens", 3000, 10.0, 3000, give_back=True)],
                    [
                        LimitPlan("requests", 3, 1.0, 10),
                        LimitPlan("tokens", 4000, 10.0, 6000, charge="used"),
                    ],
                    [
                        LimitPlan("requests", 20, 5.0, 20, window="fixed"),
                        LimitPlan("tokens", 9000, 20.0, 9000, window="fixed", give_back=True),
                    ],
                ]
            ),
            refusal=RefusalPlan(
                draw.choice([0.0, 0.2]), draw.choice(["exact", "none"]), draw.random() < 0.3
            ),
            outages=draw.choice([[], [Outage(5.0, 9.0)], [Outage(4.5, 6.0, "hang")]]),
            pauses=draw.choice([[], [Pause(11.0, 12.5)]]),
            cold_start=draw.choice([None, ColdStart(3.0, 5.0)]),
        )
        self.draw, self.env = draw, simpy.Environment()
        self.throttle = draw.choice([None, Throttle(ThrottlePlan(8)), Throttle(ThrottlePlan(3))])
        self.ended, self.late = dict[int, int](), dict[int, int]()
        self.losses = 0
        self.left = 150
        bounded = draw.random() < 0.5
        self.bound_s = 4.0 if bounded else float("inf")
        self.client = Client(
            plan,
            self.env,
            self.serve,
            lambda request, t: self.through(self.ended, request, t),
            throttle=self.throttle,
            timed_out=(lambda request, t: self.through(self.late, request, t)) if bounded else None,
            back_off=lambda _, number: min(4.0, 0.3 * 1.5**number),
            watch=self,
        )

    def serve(self, served: Through, lost: Through) -> Server:
        self.server = Server(self.plan, self.env, served, lost)
        return self.server

    def start(self, t: float) -> None:
        if not self.left:
            return
        self.left -= 1
        draw = self.draw
        prompt, output = draw.randint(0, 300), draw.randint(1, 100)
        request = Request(
            self.left, prompt, output, 100, draw.expovariate(0.7), timeout_s=self.bound_s
        )
        self.client.enter(request, t)

    def through(self, found: dict[int, int], request: Request, t: float) -> None:
        assert isinstance(request.call, int)
        found[request.call] = found.get(request.call, 0) + 1
        self.look(t)
        self.start(t)

    def look(self, t: float) -> None:
        """No limit is below 0, or above what it holds."""
        if self.server.limits is not None:
            for room, plan in zip(self.server.limits.rooms(t), self.plan.limits, strict=True):
                assert 0 <= room <= (plan.amount if plan.window == "fixed" else plan.burst)

    # As a watch

    def sent(self, request: Request, t: float) -> None:
        assert request.sent_s == t
        self.look(t)

    def accepted(self, request: Request, t: float) -> None:
        assert request.accepted_s == request.sent_s == t

    def turned_away(self, request: Request, t: float) -> None:
        assert request.refused_by
        assert request.sent_s == t

    def refused(self, request: Request, retry_after_s: float | None, t: float) -> None:
        assert retry_after_s is None or retry_after_s > 0
        assert request.refusals > 0
        self.look(t)

    def lost(self, request: Request, t: float) -> None:  # noqa: ARG002
        self.losses += 1

    def run(self) -> None:
        for _ in range(12):
            self.start(0.0)
        crash_s = self.draw.choice([7.0, 8.3])
        self.env.run(until=crash_s)
        gone = 150 - self.left - sum(self.ended.values()) - sum(self.late.values())
        self.client.crash(crash_s)
        self.env = simpy.Environment(crash_s + 2.0)
        self.client.attach(self.env)
        for _ in range(12):
            self.start(self.env.now)
        self.env.run()
        assert sum(self.ended.values()) + sum(self.late.values()) == 150 - gone
        assert set(self.ended.values()) | set(self.late.values()) == {1}
        assert not self.ended.keys() & self.late.keys()


def run_of(seed: int) -> Run:
    run = Run(seed)
    run.run()
    return run


@pytest.mark.parametrize("seed", range(40))
def test_every_call_ends_once_and_all_counts_come_out_even(seed: int) -> None:
    run = run_of(seed)
    counts = run.server.counts(run.env.now)
    counts.check("chat")
    assert counts.inside == 0
    assert (counts.accepted, counts.refused) == (run.client.accepted, run.client.refused)
    assert counts.lost == run.losses
    assert counts.ended == sum(run.ended.values())
    if run.throttle is not None:
        assert (run.throttle.out, run.client.waiting) == (0, 0)
    if run.server.limits is None:
        return
    run.server.limits.check("chat", counts.accepted, counts.refused, counts.tokens_in, run.env.now)
    for plan, (_, returned) in zip(run.plan.limits, run.server.limits.charges(), strict=True):
        assert (returned > 0) == plan.give_back


@pytest.mark.parametrize(("accepted", "held"), [(1, 30), (3, 30), (2, 29), (2, 31)])
def test_charges_that_are_not_those_of_the_calls_are_found_out(accepted: int, held: float) -> None:
    limits = ProviderLimits([LimitPlan("requests", 9, 1.0, 9), LimitPlan("tokens", 99, 1.0, 99)])
    for _ in range(2):
        assert limits.ask(Request(None, 10, 5, 5), 0.0) is None
    limits.check("chat", 2, 0, 30, 0.0)
    with pytest.raises(AssertionError, match=r"^endpoint 'chat': limit [01] charged "):
        limits.check("chat", accepted, 0, held, 0.0)
