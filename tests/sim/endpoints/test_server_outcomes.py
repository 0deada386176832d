"""Every call that a server takes in has one outcome, whatever weather, clients and crashes do."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import simpy
from hypothesis import event, given
from hypothesis import strategies as st

from sim.endpoints.plan import ColdStart, EndpointPlan, LimitPlan, Outage, Pause, SpeedTable
from sim.endpoints.request import Request
from sim.endpoints.server import Server
from tests.sim.endpoints.closed_loop import tokens

MOMENTS = st.integers(0, 80).map(lambda n: n / 4)
RUNNING: list[Literal["fail", "hang", "finish"]] = ["fail", "hang", "finish"]
SHORT = st.integers(1, 16).map(lambda n: n / 4)


@st.composite
def plans(draw: st.DrawFn) -> EndpointPlan:
    """Any mixture of what a server can be."""

    def maybe(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | values)

    def span() -> tuple[float, float]:
        from_s = draw(MOMENTS)
        return from_s, from_s + draw(SHORT)

    outages = [
        Outage(*span(), draw(st.sampled_from(RUNNING))) for _ in range(draw(st.integers(0, 2)))
    ]
    limit = LimitPlan("tokens", 40, draw(SHORT), 60, "bucket", "reserved", draw(st.booleans()))
    cold = maybe(SHORT)
    return EndpointPlan(
        "chat",
        maybe(st.integers(1, 3).map(SpeedTable.sharing)),
        maybe(st.sampled_from([2.0, 10.0])),
        draw(st.booleans()),
        maybe(st.integers(1, 4)),
        maybe(st.integers(0, 3)),
        maybe(st.just(30.0)),
        limits=draw(st.sampled_from([(), (limit,)])),
        outages=outages,
        pauses=[Pause(*span()) for _ in range(draw(st.integers(0, 2)))],
        cold_start=None if cold is None else ColdStart(cold, idle_s=draw(SHORT)),
    )


class Town:
    """A server, and what became of the calls that were sent to it."""

    def __init__(self, plan: EndpointPlan) -> None:
        self.env = simpy.Environment()
        self.here: dict[Request, None] = {}
        self.left = Counter[str]()
        self.server = Server(plan, self.env, self.out("ended"), self.out("lost"))

    def out(self, how: str) -> Any:
        def gone(request: Request, t: float) -> None:
            assert t == self.env.now >= request.accepted_s
            del self.here[request]
            self.left[how] += 1

        return gone

    def offer(self, request: Request) -> None:
        if self.server.offer(request, self.env.now) is None:
            self.here[request] = None
            self.left["accepted"] += 1

    def cancel(self, place: int) -> None:
        request = list(self.here)[place % len(self.here)]
        if self.server.cancel(request, self.env.now):
            del self.here[request]
            self.left["cancelled"] += 1

    def crash(self, delay_s: float) -> None:
        t = self.env.now
        self.server.crash(t)
        self.left["crashed"] += len(self.here)
        self.here.clear()
        self.env = simpy.Environment(t + delay_s)
        self.server.attach(self.env)


STEPS = st.lists(
    st.tuples(
        SHORT.map(lambda s: s - 0.25),
        st.sampled_from(["offer", "offer", "offer", "cancel", "crash"]),
        st.integers(0, 20),
    ),
    max_size=40,
)


@given(plans(), STEPS)
def test_every_call_has_one_outcome_and_all_comes_out_even(
    plan: EndpointPlan, steps: list[tuple[float, str, int]]
) -> None:
    town = Town(plan)
    for gap_s, step, number in steps:
        if gap_s:
            town.env.run(until=town.env.now + gap_s)
        if step == "offer":
            town.offer(tokens(number, number / 2 + 0.25, 15 - number / 2))
        elif step == "crash" and number < 5:
            town.crash(float(number))
        elif town.here:
            town.cancel(number)
        town.server.counts(town.env.now).check("chat")
    town.env.run()
    counts = town.server.counts(town.env.now)
    counts.check("chat")
    assert not town.here
    assert town.server.in_flight == town.server.waiting == counts.inside == 0
    assert town.left == Counter(
        accepted=counts.accepted,
        ended=counts.ended,
        lost=counts.lost,
        cancelled=counts.cancelled,
        crashed=counts.crashed,
    )
    for what in ("lost", "cancelled", "crashed"):
        event(f"{what}: {bool(town.left[what])}")
