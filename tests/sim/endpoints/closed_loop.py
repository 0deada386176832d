"""A closed loop of clients on a bare server: each sends its next call when the last has ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

from sim.endpoints.plan import ColdStart, EndpointPlan, LimitPlan, Outage, Pause, SpeedTable
from sim.endpoints.request import Request
from sim.endpoints.server import Server
from sim.endpoints.timer import Timer

__all__ = ["ClosedLoop", "Ended", "of_case", "tokens"]

WAIT_S = 1.0
"""A client that is told nothing comes back after so long."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The times of a call, in seconds; `end_s` is infinite if it has not ended."""

    start_s: float
    serving_s: float
    decoding_s: float
    end_s: float


class ClosedLoop:
    """Clients that send requests one after the other, in the order of their list.

    Args:
        plan: of the server.
        requests: what is sent; `call` is set to the place in the list.
        clients: how many send at once.
        think_s: by request, what its client does before it sends it.
    """

    def __init__(
        self,
        plan: EndpointPlan,
        requests: Sequence[Request],
        clients: int,
        think_s: Sequence[float] | None = None,
        *,
        server: Callable[..., Server] = Server,
    ) -> None:
        self.env = simpy.Environment()
        self.requests = requests
        for number, request in enumerate(requests):
            request.call = number
        self._left: Iterator[Request] = iter(requests)
        self._clients, self._think_s = clients, think_s
        self.end_s = [math.inf] * len(requests)
        self.serving: list[Request] = []
        self.server = server(plan, self.env, self._served, self._lost, on_serving=self._serving)

    def run(self) -> list[Ended]:
        """Until nothing happens any more; the counts of the server must come out even."""
        for _ in range(self._clients):
            self._next(0.0)
        self.env.run()
        self.server.counts(self.env.now).check(self.server.plan.name)
        return [
            Ended(request.entered_s, request.served_s, request.decoding_s, end_s)
            for request, end_s in zip(self.requests, self.end_s, strict=True)
        ]

    @property
    def makespan_s(self) -> float:
        """When the last call ended."""
        return max(self.end_s)

    def _next(self, t: float) -> None:
        request = next(self._left, None)
        if request is None:
            return
        think_s = 0.0 if self._think_s is None else self._think_s[self._number(request)]
        if think_s:
            self._at(t + think_s, request)
        else:
            self._send(request, t)

    def _at(self, t: float, request: Request) -> None:
        Timer(self.env, lambda t: self._send(request, t)).at(t)

    def _send(self, request: Request, t: float) -> None:
        if math.isnan(request.entered_s):
            request.entered_s = t
        refusal = self.server.offer(request, t)
        if refusal is not None:
            wait_s = refusal.retry_after_s
            self._at(t + (WAIT_S if wait_s is None else wait_s), request)

    def _serving(self, request: Request, t: float) -> None:
        assert request.served_s == t
        self.serving.append(request)

    def _served(self, request: Request, t: float) -> None:
        self.end_s[self._number(request)] = t
        self._next(t)

    def _lost(self, request: Request, t: float) -> None:
        self._send(request, t)

    def _number(self, request: Request) -> int:
        assert isinstance(request.call, int)
        return request.call


def tokens(prompt: float, output: float, most: float | None = None) -> Request:
    """A call of a ``request`` latency."""
    return Request(
        prompt_tokens=prompt,
        output_tokens=output,
        reserved_tokens=output if most is None else most,
        work=output,
    )


def of_case(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The words of an endpoint in a scenario as arguments of `EndpointPlan`, as far as needed."""
    plan: dict[str, Any] = {"name": "chat"}
    beyond = endpoint.get("beyond", "hold")
    for word, value in endpoint.items():
        match word:
            case "tpot_s":
                points = sorted((int(n), float(s)) for n, s in value.items())
                plan["speed"] = SpeedTable(tuple(points), beyond)
            case "work" if "full_speed" in value:
                plan["speed"] = SpeedTable.sharing(value["full_speed"])
            case "work":
                points = sorted((int(n), 1 / float(s)) for n, s in value.items())
                plan["speed"] = SpeedTable(tuple(points), beyond)
            case "pauses":
                plan["pauses"] = [Pause(**one) for one in value]
            case "outages":
                plan["outages"] = [
                    Outage(one["from_s"], one["to_s"], one["running"]) for one in value
                ]
            case "cold_start":
                plan["cold_start"] = ColdStart(**value)
            case "limits":
                plan["limits"] = [
                    LimitPlan("requests", one["requests"], one["per_s"], one["requests"])
                    for one in value
                ]
            case "beyond":
                pass
            case _:
                plan[word] = value
    return plan
