"""The parts of an endpoint on a bare clock: one column of calls, without machine and driver."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import simpy

from sim.endpoints.client import BackOff, Client
from sim.endpoints.request import Request
from sim.endpoints.serial import SerialLoop
from sim.endpoints.server import Server
from sim.endpoints.throttle import Throttle
from sim.scenario.endpoints import EndpointSpec, SchedulerSpec, ThrottleSpec

__all__ = ["Parts"]

Times = dict[str, list[float]]


class Parts:
    """A run of the first column of a scenario, whose calls start in the order of rows.

    Attributes:
        times: by row, when what happened to its call.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.latency, self.rows = data["columns"][0]["latency"], data["rows"]
        self.most = min(data["limits"]["workers"], data["limits"]["resources"]["chat"])
        self.times: Mapping[int, Times] = defaultdict(lambda: defaultdict(list))
        self.started = 0
        self.env = simpy.Environment()
        plan = EndpointSpec.model_validate(data["endpoints"]["chat"]).plan("chat")
        throttle = None
        if "throttle" in data:
            spec = ThrottleSpec.model_validate(data["throttle"]["chat"])
            throttle = Throttle(spec.plan(data["limits"]["resources"]["chat"]))
        self.client = Client(
            plan,
            self.env,
            lambda served, lost: Server(
                plan,
                self.env,
                served,
                lost,
                on_serving=lambda request, t: self._once("serving", request, t),
                on_decoding=lambda request, t: self._once("decoding", request, t),
            ),
            self._through,
            throttle=throttle,
            back_off=_back_off(data.get("failures", {}).get("cool_down")),
            watch=self,
        )
        self.loop: SerialLoop[Request] | None = None
        if "scheduler" in data:
            serial = SchedulerSpec.model_validate(data["scheduler"]).plan()
            self.loop = SerialLoop(serial, self.env, self._begin, self._complete)

    def run(self) -> Mapping[int, Times]:
        """Until nothing happens any more."""
        for _ in range(self.most):
            self._start(0.0)
        self.env.run()
        return self.times

    def _start(self, t: float) -> None:
        if self.started == self.rows:
            return
        row, self.started = self.started, self.started + 1
        self.times[row]["start"].append(t)
        request = self._request(row)
        if self.loop is None:
            self._begin(request, t)
        else:
            self.loop.start(request)

    def _begin(self, request: Request, t: float) -> None:
        request.entered_s = t
        self.client.enter(request, t)

    def _through(self, request: Request, t: float) -> None:
        if self.loop is None:
            self._complete(request, t)
        else:
            self.loop.end(request)

    def _complete(self, request: Request, t: float) -> None:
        self._once("complete", request, t)
        self._start(t)

    def _request(self, row: int) -> Request:
        latency = self.latency
        if latency["model"] == "list":
            return Request(call=row, work=latency["values_s"][row])
        output = latency["output_tokens"]["values"][row]
        most = latency.get("max_output_tokens")
        if most is not None:
            output = min(output, most)
        return Request(
            call=row,
            prompt_tokens=latency.get("prompt_tokens", {"values": [0.0] * self.rows})["values"][
                row
            ],
            output_tokens=output,
            reserved_tokens=output if most is None else most,
            work=output,
        )

    # What is watched

    def _once(self, step: str, request: Request, t: float) -> None:
        """The last time counts: a call that an outage lost is served again."""
        self._of(request)[step] = [t]

    def _of(self, request: Request) -> Times:
        assert isinstance(request.call, int)
        return self.times[request.call]

    def sent(self, request: Request, t: float) -> None:
        self._of(request)["sent"].append(t)

    def accepted(self, request: Request, t: float) -> None:
        """Nothing that the naive program would tell apart from serving."""

    def turned_away(self, request: Request, t: float) -> None:
        """The naive program tells when the client hears of it."""

    def refused(self, request: Request, retry_after_s: float | None, t: float) -> None:
        self._of(request)["refused"].append(t)
        if retry_after_s is not None:
            self._of(request)["Retry-After"].append(retry_after_s)

    def lost(self, request: Request, t: float) -> None:
        self._of(request)["lost"].append(t)


def _back_off(rest: Mapping[str, float] | None) -> BackOff | None:
    if rest is None:
        return None
    return lambda _, n: min(rest["first_s"] * rest["factor"] ** (n - 1), rest["most_s"])
