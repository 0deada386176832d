"""The route to a bare server, in a run whose calls all give their values, and at once.

There nothing happens to a call but that it runs, and nobody asks more of it when it has ended: what
`sim.simulator.routes` does for any call, without what this one has no use for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import simpy

from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.rowset import RowSet
from cellspec.trace.format import EndpointSums
from sim.endpoints.bare_server import BareServer, is_bare
from sim.endpoints.bill import Bill
from sim.endpoints.plan import EndpointPlan
from sim.endpoints.request import Request
from sim.simulator.endpoint_counts import PARTS, EndpointOutcome
from sim.simulator.outcome import Outcome
from sim.simulator.plan import RunPlan
from sim.simulator.route import Finish
from sim.simulator.row_times import RowTimes
from sim.simulator.run_state import Task
from sim.simulator.work_source import WorkSource

__all__ = ["BareRoute", "has_bare_route"]


def has_bare_route(plan: RunPlan, endpoint: EndpointPlan) -> bool:
    """True if nothing happens to the calls of an endpoint but that they run.

    Args:
        plan: of a run whose calls are each the first of its node, and give its value.
        endpoint: one of its endpoints.
    """
    name, workers = endpoint.name, plan.limits.workers
    most = min(plan.limits.resources[name], workers or plan.limits.resources[name])
    asks_more = plan.throttles.get(name) or plan.serial or plan.timeouts or plan.crashes
    return not asks_more and is_bare(endpoint, most)


class BareRoute:
    """The way through one such endpoint.

    Args:
        endpoint: the server.
        behind: the columns whose calls it takes.
        graph: of the run.
        source: what calls ask.
    """

    may_hold_up = False

    def __init__(
        self,
        endpoint: EndpointPlan,
        behind: Iterable[int],
        graph: ExecutionGraph,
        source: WorkSource,
    ) -> None:
        columns, self._behind = range(graph.num_columns), behind
        self._endpoint, self._source = endpoint, source
        self._seconds_of = [source.reader(column) for column in columns]
        self._tokens_of = [
            source.counts.reader(column) if source.counts.is_request(column) else None
            for column in columns
        ]
        self._bill = Bill(endpoint.price, len(columns))
        self._paid = self._bill.sums("first")
        self._decode_s = [0.0 for _ in columns]

    def attach(
        self,
        env: simpy.Environment,
        finish: Finish,
        dropped: RowSet,  # noqa: ARG002
        times: RowTimes,
    ) -> None:
        times.behind(self._behind)
        self._server = BareServer(self._endpoint, env, self.end)
        self._finish, self._offer = finish, self._server.offer
        columns = range(len(self._decode_s))
        self._entries = [self.entry(column) for column in columns]
        self._counters = [self.counter(column) for column in columns]

    def enter(self, task: Task, call: int, stop: int, fails: bool, t: float) -> None:  # noqa: ARG002
        if task.column >= 0:
            self._entries[task.column](task, task.row, t)
            return
        request = Request(task)
        read = self._tokens_of[~task.column]
        if read is not None:
            request.prompt_tokens, request.work, _ = read(task.row)
        else:
            request.work = self._source.get_barrier(~task.column, task.row)
        self._offer(request, t)

    def end(self, request: Request, t: float) -> None:
        """A call ends, at time t."""
        task = request.call
        assert isinstance(task, Task)
        if task.column >= 0:
            self._counters[task.column](request, t)
        else:
            self._count(~task.column, request, t)
        self._finish(task)

    def _count(self, column: int, request: Request, t: float) -> None:
        self._decode_s[column] += t - request.decoding_s
        paid = self._paid
        paid.calls[column] += 1
        if self._tokens_of[column] is not None:
            paid.prompt[column] += request.prompt_tokens
            paid.output[column] += request.work

    # What a loop takes that knows the columns of its calls

    def entry(self, column: int) -> Callable[[Task, int, float], None]:
        """`enter` of the calls of one column, which make a cell each: task, row and time."""
        seconds_of, tokens_of, offer = (
            self._seconds_of[column],
            self._tokens_of[column],
            self._offer,
        )

        def enter_seconds(task: Task, row: int, t: float) -> None:
            request = task.request
            if request is None:
                request = task.request = Request(task)
            request.work = seconds_of(row)
            offer(request, t)

        def enter_tokens(task: Task, row: int, t: float) -> None:
            assert tokens_of is not None
            request = task.request
            if request is None:
                request = task.request = Request(task)
            request.prompt_tokens, request.work, _ = tokens_of(row)
            offer(request, t)

        return enter_seconds if tokens_of is None else enter_tokens

    def counter(self, column: int) -> Callable[[Request, float], None]:
        """Counts a call of one column that made a cell and ends, given the time."""
        if self._tokens_of[column] is not None:
            return lambda request, t: self._count(column, request, t)
        decode_s, calls = self._decode_s, self._paid.calls

        def count_seconds(request: Request, t: float) -> None:
            decode_s[column] += t - request.decoding_s
            calls[column] += 1

        return count_seconds

    def skip(self, column: int, row: int) -> None:
        """No cell is skipped."""

    def ended(self, task: Task) -> None:
        """Nothing holds its calls up."""

    def gave(self, task: Task) -> None:
        """A call is paid when it is through."""

    def holds_up(self) -> str:
        return ""

    def crash(self, t: float) -> None:
        """The process does not die."""

    def sums(self, t: float) -> dict[str, EndpointSums]:  # noqa: ARG002
        """None: nobody records its runs."""
        return {}

    def add_up(self, outcome: Outcome) -> None:
        counts, bill = self._server.counts(outcome.makespan_s), self._bill
        counts.check(self._endpoint.name)
        outcome.endpoints.append(
            EndpointOutcome(
                self._endpoint.name,
                accepted=counts.accepted,
                refused=0,
                lost=0,
                call_s=counts.call_s,
                mean_limit=None,
                parts_s={
                    column: [0.0] * (len(PARTS) - 1) + [self._decode_s[column]]
                    for column, calls in enumerate(self._paid.calls)
                    if calls
                },
                bill=bill.lines(),
                cost=bill.cost(),
            )
        )
