"""The routes of a run: what the calls of a column go through where a latency alone does not say.

`make_routes` joins the parts of `sim.endpoints` to a route for each resource that has an endpoint
or a throttle: its client, the server behind it, and the counts of both. A route lives through all
incarnations of a run: limits, warmth and counts stay where the client's process dies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import simpy

from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import column_of
from cellspec.graph.rowset import RowSet
from cellspec.trace.format import EndpointSums
from sim.endpoints.client import Client, Through
from sim.endpoints.conservation import ServerCounts
from sim.endpoints.desk import Desk
from sim.endpoints.plan import EndpointPlan, ThrottlePlan
from sim.endpoints.request import Request
from sim.endpoints.server import Handler, Server
from sim.endpoints.throttle import Throttle
from sim.simulator.call_outcomes import CallOutcomes
from sim.simulator.endpoint_counts import PARTS, EndpointCounts, EndpointOutcome, parts_s
from sim.simulator.latency import Latency
from sim.simulator.outcome import Outcome
from sim.simulator.plan import RunPlan
from sim.simulator.recording import Notify
from sim.simulator.request_events import RequestEvents
from sim.simulator.route import Finish, Route
from sim.simulator.row_times import RowTimes
from sim.simulator.run_state import Task
from sim.simulator.serial_route import SerialRoute

__all__ = ["OpenDesk", "Tokens", "WorkSource", "make_routes"]


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


class Tokens(Protocol):
    """The tokens of calls; `sim.scenario.token_source.TokenSource` fulfils it."""

    @property
    def referenced(self) -> frozenset[int]:
        """The columns whose counts are part of another column's."""

    def is_request(self, column: int) -> bool:
        """True if the column's calls have tokens instead of seconds."""

    def tokens(self, column: int, place: int, attempt: int = 1) -> tuple[float, float, float]:
        """Of the prompt and of the answer, and what is reserved for it."""

    def gave(self, column: int, row: int, attempt: int) -> None:
        """A call gave a cell of a `referenced` column its value; attempt 0 stands for a skip."""


class WorkSource(Latency, Protocol):
    """What calls ask of an endpoint: tokens, or seconds of work."""

    @property
    def counts(self) -> Tokens:
        """The tokens."""


def make_routes(
    graph: ExecutionGraph,
    source: WorkSource,
    plan: RunPlan,
    outcomes: CallOutcomes,
    notify: Notify | None = None,
    desks: Mapping[str, OpenDesk] | None = None,
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
    """
    routes: dict[int, Route] = {}
    for name in dict.fromkeys((*plan.endpoints, *plan.throttles)):
        taken_by = plan.limits.column_resource
        columns = [rule.index for rule in graph.rules.columns if taken_by.get(rule.name) == name]
        endpoint = plan.endpoints.get(name) or EndpointPlan(name)
        throttle, desk = plan.throttles.get(name), (desks or {}).get(name)
        route = EndpointRoute(endpoint, throttle, graph, source, plan, outcomes, notify, desk)
        routes |= dict.fromkeys(columns, route)
    if plan.serial is None:
        return routes
    bounds = {graph.rules.index[name]: bound_s for name, bound_s in plan.timeouts.items()}
    loop = SerialRoute(plan.serial, routes, source, bounds, graph.column_names, notify)
    return dict.fromkeys(range(graph.num_columns), loop)


class EndpointRoute:
    """The way through one endpoint.

    Args:
        endpoint: the server.
        throttle: of its client; None if each call looks after itself.
        graph, source, plan, outcomes, notify: as of `make_routes`.
        desk: makes this client's desk; None if the server serves nobody else.
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
        self._throttle = None if throttle is None else Throttle(throttle)
        crashes = bool(plan.crashes)
        self._counts = EndpointCounts(endpoint, len(columns), graph.num_records, crashes=crashes)
        # By call that is under way: its number, its column, its row or scope, and where it ends.
        self._under_way: dict[Request, tuple[int, int, int, int]] = {}
        self._nodes: dict[Request, dict[str, Any]] = {}
        # Calls that were answered and have not ended: the scheduler holds them.
        self._unpaid: dict[Task, tuple[Request, int]] = {}
        self._held = plan.serial is not None
        self._events: RequestEvents | None = None
        if notify is not None:
            has_tokens = dict(zip(self._names, self._is_request, strict=True))
            self._events = RequestEvents(notify, self._nodes, has_tokens, self._throttle)
        self._holders = _holders(endpoint)
        self._client: Client | None = None

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
            self._answered,
            throttle=self._throttle,
            timed_out=self._timed_out if min(self._bound_s) < math.inf else None,
            back_off=self._back_off,
            watch=self._events,
        )

    def _serve(self, served: Through, lost: Through) -> Server | Desk:
        """The server, or the desk at it; it tells of a lost call after that was counted."""

        def count_lost(request: Request, t: float) -> None:
            self._counts.lost(request, self._under_way[request][1], t)
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

    def enter(self, task: Task, call: int, stop: int, fails: bool, t: float) -> None:
        place = task.row
        column = task.column if task.column >= 0 else ~task.column
        if self._is_request[column]:
            prompt, output, reserved = self._tokens.tokens(column, place, call)
            request = Request(task, prompt, output, reserved, output, t)
        elif task.column >= 0:
            request = Request(task, work=self._source.get(column, place, call), entered_s=t)
        else:
            seconds = self._source.get_barrier(column, place, call)
            request = Request(task, work=seconds, entered_s=t)
        request.timeout_s = self._bound_s[column]
        request.fails = fails
        self._under_way[request] = (call, column, place, stop)
        if self._events is not None:
            node: dict[str, Any] = {"scope": place}
            if task.column >= 0:
                node = {"rows": place if stop == place + 1 else (place, stop)}
            self._nodes[request] = {"column": self._names[column], **node}
        assert self._client is not None
        self._client.enter(request, t)

    def _back_off(self, request: Request, refusals: int) -> float:
        """How long a call rests that was refused, and was not told for how long."""
        _, column, place, _ = self._under_way[request]
        return self._outcomes.backoff_s(column, place, refusals, "backpressure")

    # What comes back

    def _answered(self, request: Request, t: float) -> None:
        call, column, place, stop = self._under_way.pop(request)
        task = request.call
        assert isinstance(task, Task)
        self._counts.answered(request, column, t)
        waited = request.decoding_s != request.entered_s or self._counts.losses
        if waited and task.column >= 0:
            self._times.went(column, place, stop, request)
        if self._events is not None:
            self._events.answered(request, t, failed=request.fails)
            del self._nodes[request]
        if column in self._referenced and task.column >= 0 and not request.fails:
            for row in range(place, stop):
                self._tokens.gave(column, row, call)
        if self._held:
            self._unpaid[task] = request, place
        else:
            self._pay(request, task, column, place)
        self._finish(task)

    def ended(self, task: Task) -> None:
        if task in self._unpaid:
            request, place = self._unpaid.pop(task)
            self._pay(request, task, column_of((task.column, task.row)), place)

    def _pay(self, request: Request, task: Task, column: int, place: int) -> None:
        gives = not request.fails and (task.column < 0 or place not in self._dropped)
        self._counts.pay(request, column, place, gives=gives)

    def _timed_out(self, request: Request, t: float) -> None:
        _, column, _, _ = self._under_way.pop(request)
        self._counts.cut_off(request, column, t)
        if self._events is not None:
            self._events.answered(request, t, failed=True)
            del self._nodes[request]
        task = request.call
        assert isinstance(task, Task)
        self._finish(task, "timeout")

    def skip(self, column: int, row: int) -> None:
        if column in self._referenced:
            self._tokens.gave(column, row, 0)

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
        for request, (_, column, _, _) in self._under_way.items():
            self._counts.cut_off(request, column, t)
        for task, (request, place) in self._unpaid.items():
            self._counts.pay(request, column_of((task.column, task.row)), place, gives=False)
        self._unpaid.clear()
        self._under_way.clear()
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
        ways = [parts_s(request, t) for request in self._under_way]
        parts = [
            math.fsum(each) for each in zip(*ways, *self._counts.parts_s.values(), strict=True)
        ]
        _, _, queue_s, prefill_s, decode_s = parts or [0.0] * len(PARTS)
        # Paid or not yet: each call that left the line is paid for.
        running = [request for request in self._under_way if request.served_s < t]
        running += [request for request, _ in self._unpaid.values()]
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
