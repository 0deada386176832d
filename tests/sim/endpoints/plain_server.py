"""An endpoint in which calls run as if alone, and workers who send it one call after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import simpy

from sim.endpoints.client import Client, Through
from sim.endpoints.plan import EndpointPlan, ThrottlePlan
from sim.endpoints.provider_limits import ProviderLimits
from sim.endpoints.request import Refusal, Request
from sim.endpoints.throttle import Throttle
from sim.endpoints.timer import SAME_S


class PlainServer:
    """Answers a call `work` seconds after it took it in. It has no line: when full, it refuses."""

    limits: Callable[..., ProviderLimits] = ProviderLimits

    def __init__(
        self, plan: EndpointPlan, env: simpy.Environment, served: Through, lost: Through
    ) -> None:
        self.plan, self.env = plan, env
        self._served, self._lost = served, lost
        self.provider = self.limits(plan.limits, charged=plan.refusal.charged)
        self.most = plan.max_in_flight or 1 << 30
        self.running: dict[Request, simpy.Event] = {}

    def offer(self, request: Request, t: float) -> Refusal | None:
        told = self.plan.refusal.retry_after == "exact"
        for outage in self.plan.outages:
            if outage.from_s <= t < outage.to_s:
                return Refusal(outage.to_s - t if told else None)
        if len(self.running) >= self.most:
            return Refusal()
        wait_s = self.provider.ask(request, t)
        if wait_s is not None:
            return Refusal(wait_s if told else None)
        request.accepted_s = t
        self.running[request] = event = self.env.timeout(request.work, request)
        event.callbacks.append(self._done)
        return None

    def _done(self, event: simpy.Event) -> None:
        request = event.value
        assert isinstance(request, Request)
        if self.running.get(request) is event:
            self._leave(request, self.env.now)
            self._served(request, self.env.now)

    def _leave(self, request: Request, t: float) -> None:
        del self.running[request]
        self.provider.ended(request, t)

    def lose(self) -> None:
        """Lose all calls that run."""
        for request in list(self.running):
            self._leave(request, self.env.now)
            self._lost(request, self.env.now)

    def cancel(self, request: Request, t: float) -> bool:
        if request.accepted_s + request.work <= t + SAME_S:
            return False
        self._leave(request, t)
        return True

    def crash(self, t: float) -> None:
        for request in list(self.running):
            self._leave(request, t)

    def attach(self, env: simpy.Environment) -> None:
        self.env = env


@dataclass
class Loop:
    """Workers that send one call after the other; what came of it.

    Attributes:
        ended, late: the calls that were answered and that timed out, each with its time.
    """

    env: simpy.Environment
    client: Client
    server: PlainServer
    throttle: Throttle | None
    ended: list[tuple[Request, float]]
    late: list[tuple[Request, float]]

    def figures(self) -> dict[str, float]:
        """The figures of the cases, under their names."""
        refused, accepted = self.client.refused, self.client.accepted
        makespan_s = self.ended[-1][1]
        found = {
            "makespan_s": makespan_s,
            "rows_per_s": len(self.ended) / makespan_s,
            "refused": refused,
            "refused_share": refused / (refused + accepted),
        }
        if self.throttle is not None:
            found["mean_limit"] = self.throttle.mean_limit(makespan_s)
        return found


def loop(
    plan: EndpointPlan,
    calls: Iterable[Request],
    workers: int,
    throttle: ThrottlePlan | None = None,
    *,
    server: type[PlainServer] = PlainServer,
    throttled: Callable[[ThrottlePlan], Throttle] = Throttle,
    bounded: bool = False,
    **more: Any,
) -> Loop:
    """Workers that are about to send `calls`: `Loop.env.run()` does."""
    env, left = simpy.Environment(), iter(calls)
    made: list[PlainServer] = []

    def serve(served: Through, lost: Through) -> PlainServer:
        made.append(server(plan, env, served, lost))
        return made[0]

    def follow(found: list[tuple[Request, float]]) -> Through:
        def through(request: Request, t: float) -> None:
            found.append((request, t))
            following = next(left, None)
            if following is not None:
                client.enter(following, t)

        return through

    ended, late = list[tuple[Request, float]](), list[tuple[Request, float]]()
    cuts = throttled(replace(throttle, most=min(workers, throttle.most))) if throttle else None
    client = Client(
        plan,
        env,
        serve,
        follow(ended),
        throttle=cuts,
        timed_out=follow(late) if bounded else None,
        **more,
    )
    result = Loop(env, client, made[0], cuts, ended, late)
    for _ in range(workers):
        following = next(left, None)
        if following is not None:
            client.enter(following, 0.0)
    return result
