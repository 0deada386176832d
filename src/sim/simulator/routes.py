"""The routes of a run: what the calls of a column go through where a latency alone does not say.

`make_routes` joins the parts of `sim.endpoints` to a route for each resource that has an endpoint
or a throttle: its client, the server behind it, and the counts of both. A route lives through all
incarnations of a run: limits, warmth and counts stay where the client's process dies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from math import nan
from operator import attrgetter
from typing import Any, Protocol

import simpy

from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.rowset import RowSet
from cellspec.trace.format import EndpointSums
from sim.endpoints.client import Client, Through
from sim.endpoints.conservation import ServerCounts
from sim.endpoints.desk import Desk
from sim.endpoints.plan import EndpointPlan, ThrottlePlan
from sim.endpoints.request import Request
from sim.endpoints.server import Handler, Server
from sim.endpoints.throttle import Throttle
from sim.simulator.bare_route import BareRoute, has_bare_route
from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.endpoint_counts import PARTS, EndpointCounts, EndpointOutcome, parts_s
from sim.simulator.outcome import Outcome
from sim.simulator.plan import RunPlan
from sim.simulator.recording import Notify
from sim.simulator.request_events import RequestEvents
from sim.simulator.route import Finish, Route
from sim.simulator.row_times import RowTimes
from sim.simulator.run_state import Task
from sim.simulator.serial_route import SerialRoute
from sim.simulator.work_source import WorkSource

__all__ = ["OpenDesk", "make_routes"]


class OpenDesk(Protocol):
    """Makes this client's desk at a server that it shares with others."""

    def __call__(
        self,
        on_served: Handler,
        on_lost: Handler,
        on_serving: Handler | None,
        on_decoding: Handler | None,
    ) -> Desk:
        """The desk, given what hears of calls, as `sim.endpoints.server.Server` takes it."""


def make_routes(
    graph: ExecutionGraph,
    source: WorkSource,
    plan: RunPlan,
    outcomes: CallOutcomes,
    notify: Notify | None = None,
    desks: Mapping[str, OpenDesk] | None = None,
    *,
    even: bool = False,
) -> dict[int, Route]:
    """By column that has one, its route; columns of one resource share it.

    A scheduler that takes time is a route for all columns, around those of their resources.

    Args:
        graph: of the run.
        source: what calls ask.
        plan: of the run.
        outcomes: say how long a call rests that was refused and not told for how long.
        notify: receives the steps of calls on their way; see `sim.simulator.recording`.
        desks: by resource whose endpoint other runs share, what makes the desk of this one.
        even: each call is the first of its node in an incarnation, and gives its value.
    """
    routes: dict[int, Route] = {}
    for name in dict.fromkeys((*plan.endpoints, *plan.throttles)):
        taken_by = plan.limits.column_resource
        columns = [rule.index for rule in graph.rules.columns if taken_by.get(rule.name) == name]
        endpoint = plan.endpoints.get(name) or EndpointPlan(name)
        throttle, desk = plan.throttles.get(name), (desks or {}).get(name)
        route: Route
        if even and notify is None and desk is None and has_bare_route(plan, endpoint):
            route = BareRoute(endpoint, columns, graph, source)
        else:
            route = EndpointRoute(
                endpoint, throttle, graph, source, plan, outcomes, notify, desk, even=even
            )
        routes |= dict.fromkeys(columns, route)
    if plan.serial is None:
        return routes
    bounds = {graph.rules.index[name]: bound_s for name, bound_s in plan.timeouts.items()}
    loop = SerialRoute(plan.serial, routes, source, bounds, graph.column_names, notify)
    return dict.fromkeys(range(graph.num_columns), loop)


_serial = attrgetter("serial")


class EndpointRoute:
    """The way through one endpoint.

    Args:
        endpoint: the server.
        throttle: of its client; None if each call looks after itself.
        graph, source, plan, outcomes, notify: as of `make_routes`.
        desk: makes this client's desk; None if the server serves nobody else.
        even: as of `make_routes`.

    Attributes:
        enter: as of `sim.simulator.route.Route`.
    """

    def __init__(
        self,
        endpoint: EndpointPlan,
        throttle: ThrottlePlan | None,
        graph: ExecutionGraph,
        source: WorkSource,
        plan: RunPlan,
        outcomes: CallOutcomes,
        notify: Notify | None,
        desk: OpenDesk | None,
        *,
        even: bool,
    ) -> None:
        self._open_desk = desk
        columns = range(graph.num_columns)
        resource_of = plan.limits.column_resource
        self._columns = [
            rule.index
            for rule in graph.rules.columns
            if resource_of.get(rule.name) == endpoint.name
        ]
        self._endpoint, self._source, self._outcomes = endpoint, source, outcomes
        self._tokens, self._referenced = source.counts, source.counts.referenced
        self._names = graph.column_names
        self._is_request = [self._tokens.is_request(column) for column in columns]
        bounds = {graph.rules.index[name]: bound_s for name, bound_s in plan.timeouts.items()}
        self._bound_s = [bounds.get(column, math.inf) for column in columns]
        self._seconds_of = [source.reader(column) for column in columns]
        self._tokens_of = [
            self._tokens.reader(column) if asks else None
            for column, asks in enumerate(self._is_request)
        ]
        self._throttle = None if throttle is None else Throttle(throttle)
        crashes = bool(plan.crashes)
        self._counts = EndpointCounts(endpoint, len(columns), graph.num_records, crashes=crashes)
        # All records of calls; those that are free, and how many calls have entered.
        self._records: list[Request] = []
        self._spare: list[Request] = []
        self._entered = 0
        self._nodes: dict[Request, dict[str, Any]] = {}
        # Calls that were answered and have not ended: the scheduler holds them.
        self._unpaid: dict[Task, Request] = {}
        # Ranges that give their rows one by one.
        self._giving: dict[Task, Request] = {}
        self._held = plan.serial is not None
        self._events: RequestEvents | None = None
        if notify is not None:
            has_tokens = dict(zip(self._names, self._is_request, strict=True))
            self._events = RequestEvents(notify, self._nodes, has_tokens, self._throttle)
        self._holders = _holders(endpoint)
        self._client: Client | None = None
        # Nobody asks more of a call that has ended.
        self._even = even and notify is None and not self._held and not crashes
        self.enter = self._enter_first if self._even else self._enter

    def attach(
        self, env: simpy.Environment, finish: Finish, dropped: RowSet, times: RowTimes
    ) -> None:
        self._finish, self._env, self._dropped, self._times = finish, env, dropped, times
        times.behind(self._columns)
        if self._client is not None:
            self._client.attach(env)
            return
        self._client = Client(
            self._endpoint,
            env,
            self._serve,
            self._answered_well if self._even else self._answered,
            throttle=self._throttle,
            timed_out=self._timed_out if min(self._bound_s) < math.inf else None,
            back_off=self._back_off,
            watch=self._events,
        )
        self._send = self._client.enter

    def _serve(self, served: Through, lost: Through) -> Server | Desk:
        """The server, or the desk at it; it tells of a lost call after that was counted."""

        def count_lost(request: Request, t: float) -> None:
            self._counts.lost(request, request.column, t)
            lost(request, t)

        events = self._events
        serving = None if events is None else events.serving
        decoding = None if events is None else events.decoding
        self._server: Server | Desk
        if self._open_desk is not None:
            self._server = self._open_desk(served, count_lost, serving, decoding)
        else:
            self._server = Server(
                self._endpoint,
                self._env,
                served,
                count_lost,
                on_serving=serving,
                on_decoding=decoding,
            )
        return self._server

    def _enter_first(self, task: Task, call: int, stop: int, fails: bool, t: float) -> None:
        """`enter` where every call is the first of its node, and gives its value."""
        column = task.column
        if column < 0:
            self._enter(task, call, stop, fails, t)
            return
        spare = self._spare
        request = spare.pop() if spare else self._new()
        read = self._tokens_of[column]
        if read is None:
            request.work = self._seconds_of[column](task.row)
        else:
            prompt, output, reserved = read(task.row)
            request.prompt_tokens, request.output_tokens = prompt, output
            request.reserved_tokens, request.work = reserved, output
        request.call, request.column, request.place = task, column, task.row
        request.entered_s = t
        request.sent_s = request.first_sent_s = request.accepted_s = nan
        request.served_s = request.decoding_s = nan
        request.refusals = 0
        self._entered = request.serial = self._entered + 1
        self._send(request, t)

    def _answered_well(self, request: Request, t: float) -> None:
        """`_answered` of a call that gives its value."""
        column, place, task = request.column, request.place, request.call
        assert isinstance(task, Task)
        self._counts.ended_well(request, column, t)
        waited = request.decoding_s != request.entered_s or self._counts.losses
        if waited and task.column >= 0:
            self._times.went(column, place, place + 1, request)
        request.call = None
        self._spare.append(request)
        self._finish(task)

    def _enter(self, task: Task, call: int, stop: int, fails: bool, t: float) -> None:
        place = task.row
        column = task.column if task.column >= 0 else ~task.column
        request = self._spare.pop() if self._spare else self._new()
        if self._is_request[column]:
            prompt, output, reserved = self._tokens.tokens(column, place, call)
            request.prompt_tokens, request.output_tokens = prompt, output
            request.reserved_tokens, request.work = reserved, output
        else:
            request.prompt_tokens = request.output_tokens = request.reserved_tokens = 0.0
            asked = self._source.get if task.column >= 0 else self._source.get_barrier
            request.work = asked(column, place, call)
        request.call, request.number, request.stop = task, call, stop
        request.column, request.place = column, place
        request.entered_s = t
        request.sent_s = request.first_sent_s = request.accepted_s = nan
        request.served_s = request.decoding_s = nan
        request.refusals = 0
        request.timeout_s = self._bound_s[column]
        request.fails = fails
        self._entered = request.serial = self._entered + 1
        if self._events is not None:
            node: dict[str, Any] = {"scope": place}
            if task.column >= 0:
                node = {"rows": place if stop == place + 1 else (place, stop)}
            self._nodes[request] = {"column": self._names[column], **node}
        self._send(request, t)

    def _new(self) -> Request:
        request = Request()
        self._records.append(request)
        return request

    def _under_way(self) -> list[Request]:
        """The calls that have no answer, in the order in which they entered."""
        return sorted((one for one in self._records if one.call is not None), key=_serial)

    def _release(self, request: Request) -> None:
        """A call is not under way any more."""
        request.call = None
        self._spare.append(request)

    def _back_off(self, request: Request, refusals: int) -> float:
        """How long a call rests that was refused, and was not told for how long."""
        return self._outcomes.backoff_s(request.column, request.place, refusals, "backpressure")

    # What comes back

    def _answered(self, request: Request, t: float) -> None:
        task, column, place = request.call, request.column, request.place
        assert isinstance(task, Task)
        self._counts.answered(request, column, t)
        waited = request.decoding_s != request.entered_s or self._counts.losses
        if waited and task.column >= 0:
            self._times.went(column, place, request.stop, request)
        if self._events is not None:
            self._events.answered(request, t, failed=request.fails)
            del self._nodes[request]
        if column in self._referenced and task.column >= 0 and not request.fails:
            for row in range(place, request.stop):
                self._tokens.gave(column, row, request.number)
        if self._held:
            request.call = None
            self._unpaid[task] = request
        else:
            self._ends(request, task)
        self._finish(task)

    def ended(self, task: Task) -> None:
        if task in self._unpaid:
            self._ends(self._unpaid.pop(task), task)

    def _ends(self, request: Request, task: Task) -> None:
        """A call ends, or begins to give its rows."""
        gives = not request.fails and (task.column < 0 or request.place not in self._dropped)
        if gives and request.stop > request.place + 1 and task.column >= 0:
            request.call = None
            self._giving[task] = request
        else:
            self._pay(request, gives=gives)

    def gave(self, task: Task) -> None:
        if task in self._giving:
            self._pay(self._giving.pop(task), gives=True)

    def _pay(self, request: Request, *, gives: bool) -> None:
        self._counts.pay(request, request.column, request.place, gives=gives)
        self._release(request)

    def _timed_out(self, request: Request, t: float) -> None:
        self._counts.cut_off(request, request.column, t)
        if self._events is not None:
            self._events.answered(request, t, failed=True)
            del self._nodes[request]
        task = request.call
        assert isinstance(task, Task)
        self._release(request)
        self._finish(task, "timeout")

    def skip(self, column: int, row: int) -> None:
        if column in self._referenced:
            self._tokens.gave(column, row, 0)

    may_hold_up = True

    def holds_up(self) -> str:
        assert self._client is not None
        if self._server.waiting:
            return self._holders["queue"]
        waits_for = self._client.waits_for(self._env.now)
        return "" if waits_for is None else self._holders[waits_for]

    # What ends

    def crash(self, t: float) -> None:
        self._cut_off(t)
        assert self._client is not None
        self._client.crash(t)
        if self._events is not None:
            self._events.begin()
        self._checked(t)

    def _cut_off(self, t: float) -> None:
        for request in self._under_way():
            self._counts.cut_off(request, request.column, t)
            request.call = None
        for request in [*self._unpaid.values(), *self._giving.values()]:
            self._counts.pay(request, request.column, request.place, gives=False)
        self._unpaid.clear()
        self._giving.clear()
        self._spare[:] = self._records
        self._nodes.clear()

    def _checked(self, t: float) -> ServerCounts:
        """The server's counts, held to each other and to what its limits charged."""
        name, limits = self._endpoint.name, self._server.limits
        counts = self._server.counts(t)
        counts.check(name)
        if limits is not None:
            limits.check(name, counts.accepted, counts.refused, counts.tokens_in, t)
        return counts

    def sums(self, t: float) -> dict[str, EndpointSums]:
        under_way = self._under_way()
        ways = [parts_s(request, t) for request in under_way]
        parts = [
            math.fsum(each) for each in zip(*ways, *self._counts.parts_s.values(), strict=True)
        ]
        _, _, queue_s, prefill_s, decode_s = parts or [0.0] * len(PARTS)
        # Paid or not yet: each call that left the line is paid for.
        running = [request for request in under_way if request.served_s < t]
        running += [*self._unpaid.values(), *self._giving.values()]
        paid = [(it.prompt_tokens, it.output_tokens) for it in self._counts.bill.lines()]
        paid += [(it.prompt_tokens, it.output_tokens) for it in running]
        prompts, answers = (math.fsum(each) for each in zip((0.0, 0.0), *paid, strict=True))
        sums = EndpointSums(queue_s, prefill_s, decode_s, prompts, answers)
        return {self._endpoint.name: sums}

    def add_up(self, outcome: Outcome) -> None:
        t, counts, client = outcome.makespan_s, self._counts, self._client
        desk = self._server if isinstance(self._server, Desk) else None
        assert client is not None
        self._cut_off(t)
        of_server = self._checked(t)
        outcome.endpoints.append(
            EndpointOutcome(
                self._endpoint.name,
                accepted=client.accepted,
                refused=client.refused,
                lost=counts.losses,
                call_s=of_server.call_s if desk is None else desk.call_s(t),
                mean_limit=None if self._throttle is None else self._throttle.mean_limit(t),
                parts_s=counts.parts_s,
                bill=counts.bill.lines(),
                cost=counts.bill.cost(),
            )
        )
        # Nobody waits for what is still under way, and others go on without it.
        client.crash(t)


def _holders(endpoint: EndpointPlan) -> dict[str, str]:
    """By what a call waits for (`Client.waits_for`), its name among what holds a run up."""
    name = endpoint.name
    found = {"": f"throttle {name}", "queue": f"endpoint {name}", "outage": f"outage {name}"}
    for number, limit in enumerate(endpoint.limits, 1):
        found[f"limit {number}"] = f"limit {number} ({limit.counts}) {name}"
    return found
