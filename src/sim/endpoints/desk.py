"""One server with several clients, each of which sees its own calls: a desk for each.

The server lives on a clock of its own, so that it goes on where one of its clients dies.
"""

from __future__ import annotations

from typing import Protocol

import simpy

from sim.endpoints.conservation import ServerCounts
from sim.endpoints.plan import EndpointPlan
from sim.endpoints.provider_limits import ProviderLimits
from sim.endpoints.request import Refusal, Request
from sim.endpoints.server import Handler, Server

__all__ = ["CommonServer", "Desk", "Inform"]


class Inform(Protocol):
    """Lets a client hear of one of its calls, whatever becomes of the client by it."""

    def __call__(self, handler: Handler, request: Request, t: float, /) -> object:
        """Call the handler with the call and the time."""


class CommonServer:
    """A server, and the desks of its clients.

    Args:
        plan: of the server.
        env: its clock; all clients have the same time.
        traced: clients want to know when calls leave the line, and when their answers begin.

    Attributes:
        plan: of the server.
    """

    def __init__(self, plan: EndpointPlan, env: simpy.Environment, *, traced: bool) -> None:
        self.plan = plan
        self._desks: dict[Request, Desk] = {}
        self.server = Server(
            plan,
            env,
            lambda request, t: self._desks.pop(request).served(request, t),
            lambda request, t: self._desks.pop(request).lost(request, t),
            on_serving=lambda request, t: self._desks[request].serving(request, t),
            on_decoding=self._decoding if traced else None,
        )

    def _decoding(self, request: Request, t: float) -> None:
        self._desks[request].decoding(request, t)

    def desk(
        self,
        inform: Inform,
        on_served: Handler,
        on_lost: Handler,
        on_serving: Handler | None = None,
        on_decoding: Handler | None = None,
    ) -> Desk:
        """A desk for one more client, which takes what `Desk` does."""
        return Desk(self, inform, on_served, on_lost, on_serving, on_decoding)

    # What desks ask

    def offer(self, desk: Desk, request: Request, t: float) -> Refusal | None:
        """A call comes from a desk; None if it is taken in."""
        self._desks[request] = desk
        refusal = self.server.offer(request, t)
        if refusal is not None:
            del self._desks[request]
        return refusal

    def cancel(self, request: Request, t: float) -> bool:
        """A client gives a call up; False if it ends at this very instant."""
        if not self.server.cancel(request, t):
            return False
        del self._desks[request]
        return True

    def leave(self, desk: Desk, t: float) -> None:
        """A client is gone at time t, with its calls."""
        mine = [request for request, its_desk in self._desks.items() if its_desk is desk]
        for request in mine:
            del self._desks[request]
        self.server.leave(mine, t)


class Desk:
    """A server as one of several clients sees it; an `sim.endpoints.client.Endpoint`.

    Args:
        common: the server.
        inform: lets the client hear of a call.
        on_served, on_lost, on_serving, on_decoding: as of `sim.endpoints.server.Server`.

    Attributes:
        in_flight: calls of this client that are served.
    """

    def __init__(
        self,
        common: CommonServer,
        inform: Inform,
        on_served: Handler,
        on_lost: Handler,
        on_serving: Handler | None = None,
        on_decoding: Handler | None = None,
    ) -> None:
        self._common, self._inform = common, inform
        self._on_served, self._on_lost = on_served, on_lost
        self._on_serving, self._on_decoding = on_serving, on_decoding
        self.in_flight = 0
        self._call_s = self._at_s = 0.0
        self._in_line: set[Request] = set()

    # What the client asks

    def offer(self, request: Request, t: float) -> Refusal | None:
        """A call comes at time t in seconds; None if it is taken in."""
        self._pass(t)
        self._in_line.add(request)
        refusal = self._common.offer(self, request, t)
        if refusal is not None:
            self._in_line.remove(request)
        return refusal

    def cancel(self, request: Request, t: float) -> bool:
        """The client gives a call up; False if it ends at this very instant."""
        if not self._common.cancel(request, t):
            return False
        self._left(request, t)
        return True

    def crash(self, t: float) -> None:
        """The client's process is gone, and its calls with it."""
        self._pass(t)
        self._common.leave(self, t)
        self._in_line.clear()
        self.in_flight = 0

    def attach(self, env: simpy.Environment) -> None:
        """A new incarnation of the client; the server keeps its own clock."""

    @property
    def waiting(self) -> int:
        """Calls of this client in line."""
        return len(self._in_line)

    @property
    def limits(self) -> ProviderLimits | None:
        """The server's limits, which all clients share."""
        return self._common.server.limits

    def counts(self, t: float) -> ServerCounts:
        """The server's counts, of all clients."""
        return self._common.server.counts(t)

    def call_s(self, t: float) -> float:
        """The integral of this client's calls over time, up to t."""
        return self._call_s + (self.in_flight + len(self._in_line)) * (t - self._at_s)

    # What the server tells

    def served(self, request: Request, t: float) -> None:
        """A call ended."""
        self._left(request, t)
        self._inform(self._on_served, request, t)

    def lost(self, request: Request, t: float) -> None:
        """An outage took a call."""
        self._left(request, t)
        self._inform(self._on_lost, request, t)

    def serving(self, request: Request, t: float) -> None:
        """A call left the line."""
        self._in_line.remove(request)
        self.in_flight += 1
        if self._on_serving is not None:
            self._on_serving(request, t)

    def decoding(self, request: Request, t: float) -> None:
        """The answer of a call begins."""
        if self._on_decoding is not None:
            self._on_decoding(request, t)

    # Counts

    def _pass(self, t: float) -> None:
        """Time passes up to t."""
        self._call_s = self.call_s(t)
        self._at_s = t

    def _left(self, request: Request, t: float) -> None:
        self._pass(t)
        if request in self._in_line:
            self._in_line.remove(request)
        else:
            self.in_flight -= 1
