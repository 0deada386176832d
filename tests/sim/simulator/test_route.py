"""Calls on a route: a stand-in that takes the latencies changes nothing that is counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import simpy

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, FailurePolicy, Limits
from cellspec.errors import SpecError
from cellspec.graph.rowset import RowSet
from cellspec.trace.format import EndpointSums
from sim.simulator.call_outcomes import ColumnRates, DrawnOutcomes
from sim.simulator.outcome import Outcome
from sim.simulator.plan import CheckpointPlan, CrashPlan, RunPlan
from sim.simulator.route import Finish
from sim.simulator.row_times import RowTimes
from sim.simulator.run_state import Task
from sim.simulator.simulator import Simulator
from tests.matrix.examples import TableLatency
from tests.sim.simulator.test_parts import failing_run


class LatencyRoute:
    """A route that takes as long as a table says, and holds its calls itself."""

    may_hold_up = True

    def __init__(self, latency: TableLatency) -> None:
        self.latency = latency
        self.died_s: list[float] = []

    def attach(
        self,
        env: simpy.Environment,
        finish: Finish,
        dropped: RowSet,
        times: RowTimes,  # noqa: ARG002
    ) -> None:
        self.env, self.finish, self.inside, self.dropped = env, finish, 0, dropped

    def enter(self, task: Task, call: int, stop: int, fails: bool, t: float) -> None:  # noqa: ARG002
        assert t == self.env.now
        column, row = task.column, task.row
        if column >= 0:
            seconds = self.latency.get(column, row, call)
        else:
            seconds = self.latency.get_barrier(-column - 1, row, call)
        self.inside += 1
        callbacks: list[Any] = [lambda _: self.leave(task)]
        self.env.timeout(seconds).callbacks = callbacks

    def leave(self, task: Task) -> None:
        self.inside -= 1
        self.finish(task)

    def skip(self, column: int, row: int) -> None:
        assert column >= 0 <= row

    def ended(self, task: Task) -> None:
        raise AssertionError(task)

    def gave(self, task: Task) -> None:
        """No range is paid."""

    def holds_up(self) -> str:
        return ""

    def sums(self, t: float) -> dict[str, EndpointSums]:
        assert t == self.env.now
        return {}

    def add_up(self, outcome: Outcome) -> None:
        assert outcome.makespan_s == self.env.now

    def crash(self, t: float) -> None:
        assert t == self.env.now
        self.died_s.append(t)


class NoLatency(TableLatency):
    """Is not to be asked: its columns have a route."""

    def get(self, column: int, row: int, attempt: int = 1) -> float:
        raise AssertionError((column, row, attempt))


def rounded(value: Any) -> Any:
    """Figures for comparison: sums may have been added in another order."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return {k: rounded(v) for k, v in value.items()} if isinstance(value, dict) else value


def crashed(outcome: Outcome) -> int:
    return sum(item.crashed for item in outcome.incarnations)


def test_a_route_that_takes_the_latencies_gives_the_same_run() -> None:
    crashes = 0
    for seed in range(150):
        made = failing_run(seed)
        if made is None:
            continue
        graph, plan, outcomes = made
        plan = dataclasses.replace(plan, range_rows={})
        wanted = Simulator(graph, TableLatency(seed), plan, outcomes=outcomes).run()
        for step in (1, 2):
            route = LatencyRoute(TableLatency(seed))
            routes = dict.fromkeys(range(0, graph.num_columns, step), route)
            latency = NoLatency(seed) if step == 1 else TableLatency(seed)
            found = Simulator(graph, latency, plan, outcomes=outcomes, routes=routes).run()
            held = found.binding
            assert held is not None
            down_s = held.get("restart", 0.0)
            assert sum(held.values()) == pytest.approx(found.makespan_s), "and all of it"
            assert down_s == pytest.approx(plan.restart_delay_s * crashed(found))
            found.binding = None
            assert rounded(dataclasses.asdict(found)) == rounded(dataclasses.asdict(wanted)), seed
            assert len(route.died_s) == len(found.incarnations) - 1
        crashes += len(wanted.incarnations) - 1
    assert crashes > 30


def test_a_range_on_a_route_gives_all_its_rows_at_the_end() -> None:
    graph = ExecutionGraph(6, [ColumnDescriptor("a", traits=ExecutionTraits.ROW_STREAMABLE)])
    told: list[tuple[str, float]] = []
    plan = RunPlan(
        limits=Limits(workers=1),
        checkpoint=CheckpointPlan(every_rows=3, version=2, write_s=1.0),
        crashes=[CrashPlan(at_time_s=5.5)],
        range_rows={"a": 3},
    )
    route = LatencyRoute(Steady(4.0))
    outcome = Simulator(
        graph,
        NoLatency(0),
        plan,
        notify=lambda event, t, **_: told.append((event, t)),
        routes={0: route},
    ).run()
    assert [t for event, t in told if event == "complete"] == [4.0] * 3 + [9.5] * 3
    assert outcome.busy_s == [4.0 + 1.5 + 4.0]
    # The first range is safe at 5 s, and the second one began at 4 s.
    assert [item.busy_lost_s for item in outcome.incarnations] == [1.5, 0.0]
    plan = dataclasses.replace(plan, checkpoint=None)
    outcome = Simulator(graph, NoLatency(0), plan, routes={0: LatencyRoute(Steady(4.0))}).run()
    assert [item.busy_lost_s for item in outcome.incarnations] == [5.5, 0.0]


class Steady(TableLatency):
    """Every call takes the same time, or one by the number of its attempt."""

    def __init__(self, *seconds: float) -> None:
        super().__init__(0)
        self.seconds = seconds

    def get(self, column: int, row: int, attempt: int = 1) -> float:  # noqa: ARG002
        return self.seconds[min(attempt, len(self.seconds)) - 1]


class Giving(LatencyRoute):
    """Gives up each first call."""

    def leave(self, task: Task) -> None:
        self.given = getattr(self, "given", 0) + 1
        self.finish(task, "timeout" if self.given == 1 else None)


def test_a_route_may_end_a_call_with_a_failure_of_its_own() -> None:
    graph = ExecutionGraph(1, [ColumnDescriptor("a")])
    plan = RunPlan(limits=Limits(workers=1), failures=FailurePolicy(max_attempts=2))
    outcome = Simulator(
        graph,
        NoLatency(0),
        plan,
        outcomes=DrawnOutcomes(0, [ColumnRates()], first_s=3.0),
        routes={0: Giving(Steady(4.0))},
    ).run()
    assert outcome.failures == [{"retryable": 1, "backpressure": 0, "permanent": 0}]
    assert (outcome.makespan_s, outcome.delivered) == (11.0, 1)


# Bounds of calls without a route


def timed_out(
    seconds: tuple[float, ...], rows: int = 1, **changes: Any
) -> tuple[Outcome, list[tuple[str, float, Any]]]:
    told: list[tuple[str, float, Any]] = []
    traits = ExecutionTraits.ROW_STREAMABLE
    graph = ExecutionGraph(rows, [ColumnDescriptor("a", traits=traits)])
    plan = RunPlan(
        limits=Limits(workers=1),
        failures=FailurePolicy(max_attempts=2, timeout_s=6.0),
        timeouts={"a": 6.0},
    )
    outcome = Simulator(
        graph,
        Steady(*seconds),
        dataclasses.replace(plan, **changes),
        outcomes=DrawnOutcomes(0, [ColumnRates()], first_s=1.0),
        notify=lambda event, t, **fields: told.append((event, t, fields.get("failure"))),
    ).run()
    return outcome, [item for item in told if item[0] in ("complete", "fail", "drop")]


def test_a_call_that_would_take_longer_ends_at_its_bound_and_spends_an_attempt() -> None:
    outcome, told = timed_out((9.0, 6.0))
    # At the bound itself a call ends well.
    assert told == [("fail", 6.0, "timeout"), ("complete", 13.0, None)]
    assert outcome.busy_s == [12.0]
    assert outcome.failures == [{"retryable": 1, "backpressure": 0, "permanent": 0}]
    outcome, told = timed_out((9.0, 7.0))
    assert told == [("fail", 6.0, "timeout"), ("fail", 13.0, "timeout"), ("drop", 13.0, None)]
    assert (outcome.dropped, outcome.busy_s) == (1, [12.0])


def test_a_range_that_times_out_has_given_no_row() -> None:
    _, told = timed_out((9.0, 4.0), rows=4, range_rows={"a": 4})
    assert told == [
        ("fail", 6.0, "timeout"),
        *(("complete", 7.0 + k, None) for k in (1.0, 2.0, 3.0, 4.0)),
    ]


def test_a_value_costs_what_the_attempt_took_that_gave_it() -> None:
    outcome, _ = timed_out((9.0, 5.0), rows=2, crashes=[CrashPlan(at_time_s=18.0)])
    # The second attempt at row 0, from 12 s on, and 1 s of that at row 1.
    assert [item.busy_lost_s for item in outcome.incarnations] == [6.0, 0.0]


def test_a_bound_without_an_answer_to_failures_is_refused() -> None:
    graph = ExecutionGraph(1, [ColumnDescriptor("a")])
    make: Callable[..., object] = Simulator
    with pytest.raises(SpecError, match="timeouts: 'a' has a bound"):
        make(graph, Steady(1.0), RunPlan(timeouts={"a": 6.0}))
