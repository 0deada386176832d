"""A server with nothing but a speed: each call that comes runs, none is refused, and none waits.

It is what `sim.endpoints.server.Server` is for a plan that asks for no more (`is_bare`), without
its stages: a call joins those that run, and its client is told when it ends.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import simpy

from sim.endpoints.conservation import ServerCounts
from sim.endpoints.plan import EndpointPlan
from sim.endpoints.request import Request
from sim.endpoints.sharing import Sharing
from sim.endpoints.timer import Timer

__all__ = ["BareServer", "is_bare"]


def is_bare(plan: EndpointPlan, clients: float) -> bool:
    """True if no call of a server ever does anything but run, with so many calls at most."""
    has_place = plan.max_in_flight is None or plan.max_in_flight >= clients
    return has_place and not (
        plan.prefill_tokens_per_s
        or plan.kv_tokens is not None
        or plan.limits
        or plan.outages
        or plan.pauses
        or plan.cold_start
    )


class BareServer:
    """One endpoint of which its plan says no more than a speed.

    Args:
        plan: what it is.
        env: the clock.
        on_served: gets a call that ended; others may be offered before it returns.

    Attributes:
        offer: takes a call that comes, and the time in seconds; others may end at that time.
    """

    def __init__(
        self,
        plan: EndpointPlan,
        env: simpy.Environment,
        on_served: Callable[[Request, float], object],
    ) -> None:
        self.plan, self._on_served = plan, on_served
        self._leaving: deque[Request] = deque()
        self._freed_s, self._late_s = math.inf, 0.0
        self._sharing = Sharing(env, plan.speed, self._ended, on_served, self._free, taken=True)
        self._later = Timer(env, self._notify)
        self.offer = self._sharing.add

    def _ended(self, requests: list[Request], t: float) -> None:
        """Calls end at one instant."""
        if not self._leaving:
            self._freed_s = t
        self._leaving.extend(requests)
        self._notify(t)

    def _free(self, t: float) -> None:
        """Another call comes as calls end: they do not run beside it, and are told later."""
        due_s = self._sharing.due_s
        self._leaving.extend(self._sharing.free(t))
        self._freed_s = t
        self._later.at(max(due_s, t))

    def _notify(self, t: float) -> None:
        """Let the client know of calls that ended; until then they are here."""
        if t > self._freed_s:
            self._late_s += len(self._leaving) * (t - self._freed_s)
        while self._leaving:
            self._on_served(self._leaving.popleft(), t)

    def counts(self, t: float) -> ServerCounts:
        """The server's counts up to time t; `check` holds them to each other."""
        sharing, inside = self._sharing, self._sharing.members()
        return ServerCounts(
            accepted=sharing.joined,
            ended=sharing.ended,
            inside=len(inside),
            call_s=sharing.call_s + len(inside) * (t - sharing.counted_s) + self._late_s,
            sojourn_s=sharing.sojourn_s,
            inside_s=sum(t - request.decoding_s for request in inside),
            max_in_flight=self.plan.max_in_flight,
        )
