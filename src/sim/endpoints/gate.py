"""The gate of a server: it refuses calls for an outage, a full queue, or a limit."""

from __future__ import annotations

from typing import Literal

from sim.endpoints.plan import EndpointPlan
from sim.endpoints.provider_limits import ProviderLimits
from sim.endpoints.request import Refusal, Request
from sim.endpoints.weather import Weather

__all__ = ["Gate", "Reason"]

Reason = Literal["limits", "queue", "outage"]


class Gate:
    """Refuses calls, and says when to come back as the plan of refusals does.

    Args:
        plan: of the server.
        weather: knows of outages.
        limits: are charged by each call that passes.

    Attributes:
        refused: how many calls it refused, by reason.
    """

    def __init__(
        self, plan: EndpointPlan, weather: Weather | None, limits: ProviderLimits | None
    ) -> None:
        self._weather, self._limits = weather, limits
        self._charged = plan.refusal.charged
        self._says_when = plan.refusal.retry_after == "exact"
        # Refusals are many, and nobody keeps one: there is one of each kind, used again.
        self._by_limit = [Refusal(by=f"limit {n}") for n in range(1, len(plan.limits) + 1)]
        self._by_outage, self._by_queue = Refusal(by="outage"), Refusal(by="queue")
        self.refused: dict[Reason, int] = {"limits": 0, "queue": 0, "outage": 0}

    def refusal(self, request: Request, t: float, *, full: bool) -> Refusal | None:
        """The answer to a call that comes at time t, or None if it may pass; good until the next.

        Args:
            full: there is neither a place nor one in the queue.
        """
        weather, limits = self._weather, self._limits
        rest_s = 0.0 if weather is None else weather.outage_s(t)
        if rest_s:
            return self._refuse("outage", self._by_outage, rest_s)
        if full:
            wait_s = None
            if limits is not None:
                if self._charged:
                    limits.refused(t)
                # The server does not know when there will be a place; a limit says for itself.
                wait_s = limits.wait_s(request, t) or None
            return self._refuse("queue", self._by_queue, wait_s)
        if limits is not None:
            wait_s = limits.ask(request, t)
            if wait_s is not None:
                return self._refuse("limits", self._by_limit[limits.last], wait_s)
        return None

    def _refuse(self, why: Reason, refusal: Refusal, wait_s: float | None) -> Refusal:
        self.refused[why] += 1
        refusal.retry_after_s = wait_s if self._says_when else None
        return refusal
