"""The route to a bare server, in a run whose calls all give their values, and at once.

There nothing happens to a call but that it runs, and nobody asks more of it when it has ended: what
`sim.simulator.routes` does for any call, without what this one has no use for.
"""

from __future__ import annotations

from collections.abc import Iterable

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

    Attributes:
        join: takes a call that begins, with what it asks for, and the time in seconds.
        tokens_of: by column, `Tokens.reader`; None of a column whose calls ask for seconds.
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
        self.tokens_of = [
            source.counts.reader(column) if source.counts.is_request(column) else None
            for column in columns
        ]
        self._bill = Bill(endpoint.price, len(columns))
        self._paid = self._bill.sums("first")

    def attach(
        self,
        env: simpy.Environment,
        finish: Finish,
        dropped: RowSet,  # noqa: ARG002
        times: RowTimes,
    ) -> None:
        times.behind(self._behind)
        self._server = BareServer(self._endpoint, env, self.end)
        self._finish, self.join = finish, self._server.offer

    def enter(self, task: Task, call: int, stop: int, fails: bool, t: float) -> None:  # noqa: ARG002
        request = task.request
        if request is None:
            request = task.request = Request(task)
        column = task.column if task.column >= 0 else ~task.column
        read = self.tokens_of[column]
        if read is not None:
            request.prompt_tokens, request.work, _ = read(task.row)
        elif task.column >= 0:
            request.work = self._seconds_of[column](task.row)
        else:
            request.work = self._source.get_barrier(column, task.row)
        self.join(request, t)

    def end(self, request: Request, t: float) -> None:  # noqa: ARG002
        """A call ends, at time t."""
        task = request.call
        assert isinstance(task, Task)
        column = task.column if task.column >= 0 else ~task.column
        if self.tokens_of[column] is not None:
            self.pay_tokens(column, request)
        self.pay_calls(column, 1)
        self._finish(task)

    def pay_tokens(self, column: int, request: Request) -> None:
        """A call of a column that asks for tokens has ended."""
        self._paid.prompt[column] += request.prompt_tokens
        self._paid.output[column] += request.work

    def pay_calls(self, column: int, number: int) -> None:
        """So many calls of a column have ended."""
        self._paid.calls[column] += number

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
                # Nothing else happens to a call: it is decoded as long as a worker has it.
                parts_s={
                    column: [0.0] * (len(PARTS) - 1) + [outcome.busy_s[column]]
                    for column, calls in enumerate(self._paid.calls)
                    if calls
                },
                bill=bill.lines(),
                cost=bill.cost(),
            )
        )
