"""The simulator: what runs when, against schedules made by hand, closed forms and a naive check.

Each test writes down when every node started, by listening to who asks for latencies. The first
parts hold small runs against times that a reader can follow with a finger; then come crashes, at
every event of a small run; then queues whose means are known; then random pipelines, where a
checker that shares no code with the simulator says whether a schedule could have been better.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits, Violation
from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId
from cellspec.state.claims import Prefixes, as_prefixes
from sim.policies import POLICIES, Policy
from sim.scenario.distributions import Constant, Exponential
from sim.scenario.sampler import ColumnLatency, LatencySource
from sim.simulator.outcome import Outcome
from sim.simulator.plan import CheckpointPlan, CrashPlan, RunPlan
from sim.simulator.simulator import Simulator
from tests.strategies import Case, limited_cases

START = ExecutionTraits.START
BARRIER = ExecutionTraits.BARRIER
BATCH = ExecutionTraits.BATCH_BARRIER
ORDERED = ExecutionTraits.ORDERED
NONE = ExecutionTraits.NONE

Seconds = float | Callable[[int], float]


class Started(NamedTuple):
    """A node that started: a cell, or the barrier node of a scope (its `row`)."""

    t: float
    column: str
    row: int
    seconds: float
    incarnation: int
    barrier: bool


@dataclass
class Run:
    """What a run did, and all that was seen on the way."""

    simulator: Simulator
    started: list[Started]
    claims: list[Prefixes]
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def order(self) -> str:
        """The nodes in the order of their starts, as in "a0 a1 b0"."""
        return " ".join(f"{item.column}{item.row}" for item in self.started)

    @property
    def times(self) -> list[tuple[float, str]]:
        return [(item.t, f"{item.column}{item.row}") for item in self.started]


class _Listener:
    """Latencies from a table of seconds by column; writes down who asks, and when."""

    def __init__(self, graph: ExecutionGraph, seconds: Mapping[str, Seconds]) -> None:
        self._names = graph.column_names
        self._seconds = seconds
        self.simulator: Simulator
        self.started: list[Started] = []

    def _start(self, column: int, row: int, *, barrier: bool) -> float:
        given = self._seconds[self._names[column]]
        seconds = given(row) if callable(given) else given
        incarnation = self.simulator.machine.incarnation
        now = self.simulator.now
        self.started.append(Started(now, self._names[column], row, seconds, incarnation, barrier))
        return seconds

    def reader(self, column: int) -> Callable[[int], float]:
        return lambda row: self._start(column, row, barrier=False)

    def get(self, column: int, row: int, attempt: int = 1) -> float:
        """Asked of what a crash lost: no start."""
        assert attempt == 1
        given = self._seconds[self._names[column]]
        return given(row) if callable(given) else given

    def get_barrier(self, column: int, scope: int, attempt: int = 1) -> float:
        assert attempt == 1
        if self.simulator.machine.crashed:
            return self.get(column, scope)
        return self._start(column, scope, barrier=True)

    def mean_s(self, column: int) -> float:
        given = self._seconds[self._names[column]]
        return given(0) if callable(given) else given


class _Observed(Simulator):
    """Remembers what each resume began from."""

    claims: list[Prefixes]

    def _claim_after_crash(self) -> Prefixes:
        claim = as_prefixes(super()._claim_after_crash())
        self.claims.append(claim)
        return claim


def run(
    graph: ExecutionGraph,
    seconds: Mapping[str, Seconds],
    plan: RunPlan | None = None,
    *,
    checked: bool = True,
    kind: type[_Observed] = _Observed,
) -> Run:
    listener = _Listener(graph, seconds)
    simulator = kind(graph, listener, plan or RunPlan(), checked=checked)
    simulator.claims = []
    listener.simulator = simulator
    found = Run(simulator, listener.started, simulator.claims)
    found.outcome = simulator.run()
    assert simulator.machine.ended
    return found


def graph_of(
    rows: int,
    *columns: tuple[str, str] | tuple[str, str, ExecutionTraits],
    batch_size: int | None = None,
) -> ExecutionGraph:
    """A graph from (name, "needs with blanks between", traits)."""
    made = []
    for name, needs, *traits in columns:
        given = traits[0] if traits else NONE
        made.append(ColumnDescriptor(name, traits=given, dependencies=str(needs).split()))
    return ExecutionGraph(rows, made, batch_size=batch_size)


def workers(count: int, **more: Any) -> RunPlan:
    return RunPlan(limits=Limits(workers=count), **more)


CHAIN = graph_of(3, ("a", "", START), ("b", "a"))
CHAIN_S = {"a": 1.0, "b": 2.0}


# Time, workers and resources


def test_one_worker_runs_one_node_after_another() -> None:
    found = run(CHAIN, CHAIN_S, workers(1))
    assert found.times == [
        (0.0, "a0"),
        (1.0, "b0"),
        (3.0, "a1"),
        (4.0, "b1"),
        (6.0, "a2"),
        (7.0, "b2"),
    ]
    outcome = found.outcome
    assert outcome.makespan_s == 9.0
    assert outcome.first_row_s == 3.0
    assert outcome.done == [3, 3]
    assert outcome.busy_s == [3.0, 6.0]
    # a1 waited 3 s and a2 6 s; no b waited.
    assert outcome.wait_s == [9.0]
    # Twelve starts and completions, two columns durable, and the end.
    assert outcome.events == 15
    assert outcome.window_rows == 1


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (7, 2), (8, 4), (9, 4), (3, 100)])
def test_equal_cells_take_the_number_of_waves(rows: int, count: int) -> None:
    found = run(graph_of(rows, ("a", "")), {"a": 2.5}, workers(count))
    assert found.outcome.makespan_s == 2.5 * math.ceil(rows / count)


def test_without_a_limit_the_makespan_is_the_longest_chain() -> None:
    found = run(CHAIN, {"a": lambda row: 1.0 + row, "b": lambda row: 5.0 - row})
    assert found.outcome.makespan_s == 6.0
    assert found.outcome.wait_s == [0.0]


def test_a_resource_limit_holds_and_is_used_up() -> None:
    limits = Limits(resources={"gpu": 2}, column_resource={"a": "gpu"})
    found = run(graph_of(6, ("a", "")), {"a": 3.0}, RunPlan(limits=limits))
    assert [item.t for item in found.started] == [0, 0, 3, 3, 6, 6]
    # Resource gpu: two waited 3 s, two 6 s; nobody takes no resource.
    assert found.outcome.wait_s == [18.0, 0.0]


def test_a_busy_resource_holds_up_nobody_else() -> None:
    limits = Limits(workers=2, resources={"gpu": 1}, column_resource={"a": "gpu"})
    for policy in ("fifo", "row-first", "column-first", "critical-path"):
        plan = RunPlan(limits=limits, policy=policy)
        found = run(graph_of(2, ("a", ""), ("b", "")), {"a": 4.0, "b": 1.0}, plan)
        assert set(found.times) == {(0, "a0"), (0, "b0"), (1, "b1"), (4, "a1")}, policy
        assert found.outcome.wait_s == [4.0, 1.0], policy


def test_columns_that_share_a_resource_share_its_limit() -> None:
    limits = Limits(resources={"gpu": 1}, column_resource={"a": "gpu", "b": "gpu"})
    found = run(CHAIN, CHAIN_S, RunPlan(limits=limits, policy="fifo"))
    assert found.order == "a0 a1 a2 b0 b1 b2"
    assert found.outcome.makespan_s == 9.0


def test_an_ordered_column_runs_one_row_at_a_time() -> None:
    found = run(graph_of(3, ("a", "", ORDERED)), {"a": lambda row: 3.0 - row})
    assert found.times == [(0.0, "a0"), (3.0, "a1"), (5.0, "a2")]


def test_the_first_row_may_be_complete_at_once() -> None:
    found = run(graph_of(3, ("a", "")), {"a": lambda row: 4.0 * row}, workers(1))
    assert found.outcome.first_row_s == 0.0
    assert found.outcome.makespan_s == 12.0


def test_a_run_may_take_no_time_at_all() -> None:
    found = run(CHAIN, {"a": 0.0, "b": 0.0}, workers(1))
    assert found.outcome.makespan_s == 0.0
    assert found.outcome.done == [3, 3]


def test_the_window_reaches_from_the_first_open_row_to_the_last_finished_cell() -> None:
    # Row 0 takes 10 s, and by then rows 1 to 4 are complete.
    found = run(graph_of(6, ("a", "")), {"a": lambda row: 2.0 if row else 10.0}, workers(2))
    assert found.outcome.window_rows == 5


def test_a_barrier_that_needs_nothing_opens_the_window_to_all_rows() -> None:
    graph = graph_of(4, ("a", "", BARRIER | START), ("b", "a"))
    assert run(graph, {"a": 1.0, "b": 1.0}, workers(1)).outcome.window_rows == 4


# Policies


THREE = graph_of(3, ("a", "", START), ("b", "a"), ("c", "", START))
THREE_S = {"a": 1.0, "b": 1.0, "c": 5.0}


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        ("fifo", "a0 a1 a2 c0 c1 c2 b0 b1 b2"),
        ("row-first", "c0 a0 b0 c1 a1 b1 c2 a2 b2"),
        ("column-first", "a0 a1 a2 b0 b1 b2 c0 c1 c2"),
        ("critical-path", "c0 c1 c2 a0 a1 a2 b0 b1 b2"),
    ],
)
def test_policies_order_what_is_ready(policy: Policy, order: str) -> None:
    found = run(THREE, THREE_S, workers(1, policy=policy))
    assert found.order == order


def test_a_policy_orders_heads_of_different_resources_too() -> None:
    limits = Limits(workers=1, resources={"gpu": 1}, column_resource={"c": "gpu"})
    orders = {
        "fifo": "a0 a1 a2 c0 c1 c2 b0 b1 b2",
        "row-first": "c0 a0 b0 c1 a1 b1 c2 a2 b2",
        "column-first": "a0 a1 a2 b0 b1 b2 c0 c1 c2",
        "critical-path": "c0 c1 c2 a0 a1 a2 b0 b1 b2",
    }
    for policy, order in orders.items():
        plan = RunPlan(limits=limits, policy=policy)  # type: ignore[arg-type]
        assert run(THREE, THREE_S, plan).order == order, policy


def test_the_critical_path_counts_what_comes_after() -> None:
    # a is short, and leads to a long tail; c is longer than a alone.
    seconds = {"a": 1.0, "b": 6.0, "c": 2.0}
    found = run(THREE, seconds, workers(1, policy="critical-path"))
    assert found.order == "a0 a1 a2 b0 b1 b2 c0 c1 c2"
    long_chain = run(THREE, seconds, workers(3, policy="critical-path"))
    by_row = run(THREE, seconds, workers(3, policy="row-first"))
    assert long_chain.outcome.makespan_s == 9.0
    assert by_row.outcome.makespan_s > 9.0


def test_the_random_policy_follows_its_seed() -> None:
    orders = [run(THREE, THREE_S, workers(1, policy="random", seed=s)).order for s in range(20)]
    again = [run(THREE, THREE_S, workers(1, policy="random", seed=s)).order for s in range(20)]
    assert orders == again
    assert len(set(orders)) > 15
    assert {tuple(sorted(order.split())) for order in orders} == {tuple(sorted(orders[0].split()))}


def test_the_random_policy_is_uniform_over_nodes_of_all_resources() -> None:
    # One of four ready nodes takes the resource: it goes first in a quarter of the runs.
    graph = graph_of(1, ("x", ""), ("a", ""), ("b", ""), ("c", ""))
    limits = Limits(workers=1, resources={"gpu": 1}, column_resource={"x": "gpu"})
    first = Counter(
        run(graph, dict.fromkeys("xabc", 1.0), RunPlan(seed, limits, "random")).started[0].column
        for seed in range(600)
    )
    # Standard deviation 10.6 of 150.
    assert all(110 < first[name] < 190 for name in "xabc"), first


def test_a_barrier_goes_before_cells_where_the_policy_ranks() -> None:
    graph = graph_of(2, ("a", ""), ("v", "a", BARRIER), ("z", ""))
    seconds = {"a": 1.0, "v": 1.0, "z": 1.0}
    limits = Limits(workers=1, resources={"gpu": 1}, column_resource={"v": "gpu"})
    for plan in (workers(1, policy="column-first"), RunPlan(0, limits, "column-first")):
        assert run(graph, seconds, plan).order == "a0 a1 v0 z0 z1"
    assert run(graph, seconds, workers(1, policy="fifo")).order == "a0 a1 z0 z1 v0"


# Barriers


def test_a_dataset_barrier_waits_for_all_and_gives_all_at_once() -> None:
    graph = graph_of(3, ("a", "", START), ("v", "a", BARRIER), ("c", "v"))
    seconds: dict[str, Seconds] = {"a": lambda row: 1.0 + row, "v": 10.0, "c": 1.0}
    found = run(graph, seconds, RunPlan())
    assert found.times == [
        (0.0, "a0"),
        (0.0, "a1"),
        (0.0, "a2"),
        (3.0, "v0"),
        (13.0, "c0"),
        (13.0, "c1"),
        (13.0, "c2"),
    ]
    outcome = found.outcome
    assert outcome.makespan_s == 14.0
    assert outcome.done == [3, 3, 3]
    assert outcome.busy_s == [6.0, 10.0, 3.0]
    # Two for each of six cells and the barrier, one emission, three columns durable, the end.
    assert outcome.events == 14 + 1 + 3 + 1


def test_batch_barriers_wait_for_their_batch_only() -> None:
    columns = (("a", "", START), ("v", "a", BATCH), ("c", "v"))
    graph = graph_of(5, *columns, batch_size=2)
    found = run(graph, {"a": 1.0, "v": 2.0, "c": 1.0}, workers(1))
    assert found.times == [
        (0, "a0"),
        (1, "a1"),
        (2, "v0"),
        (4, "c0"),
        (5, "c1"),
        (6, "a2"),
        (7, "a3"),
        (8, "v1"),
        (10, "c2"),
        (11, "c3"),
        (12, "a4"),
        (13, "v2"),
        (15, "c4"),
    ]
    assert found.outcome.makespan_s == 16.0


def test_a_barrier_after_a_barrier_waits_for_its_output() -> None:
    graph = graph_of(2, ("a", ""), ("v", "a", BARRIER), ("w", "v", BARRIER), ("c", "w v"))
    found = run(graph, {"a": 1.0, "v": 2.0, "w": 4.0, "c": 8.0})
    assert found.times[2:] == [(1.0, "v0"), (3.0, "w0"), (7.0, "c0"), (7.0, "c1")]
    assert found.outcome.makespan_s == 15.0


def test_output_cells_of_a_barrier_take_no_worker() -> None:
    graph = graph_of(100, ("v", "", BARRIER))
    found = run(graph, {"v": 3.0}, workers(1))
    assert found.outcome.makespan_s == 3.0
    assert found.outcome.done == [100]


# Checkpoints


def row_payload(rows: int) -> int:
    return len(json.dumps({"version": 1, "completed_rows": rows}))


def test_a_checkpoint_every_so_many_rows() -> None:
    plan = workers(1, checkpoint=CheckpointPlan(every_rows=3))
    outcome = run(graph_of(10, ("a", "")), {"a": 1.0}, plan).outcome
    # At 3, 6, 9, and at the end, however small the rest.
    assert outcome.checkpoints == 4
    assert outcome.checkpoint_bytes == 3 * row_payload(3) + row_payload(10)
    assert outcome.makespan_s == 10.0


def test_no_second_claim_on_the_same_rows() -> None:
    plan = workers(1, checkpoint=CheckpointPlan(every_rows=5))
    outcome = run(graph_of(10, ("a", "")), {"a": 1.0}, plan).outcome
    assert outcome.checkpoints == 2


def test_a_checkpoint_every_so_many_seconds() -> None:
    plan = workers(1, checkpoint=CheckpointPlan(every_s=2.75))
    outcome = run(graph_of(10, ("a", "")), {"a": 1.0}, plan).outcome
    # At 2.75, 5.5 and 8.25 s; at 10 s the run is over, and claims what is left.
    assert outcome.checkpoints == 4
    idle = run(graph_of(1, ("a", "")), {"a": 100.0}, plan).outcome
    assert idle.checkpoints == 1


def test_the_last_write_is_part_of_the_makespan() -> None:
    plan = workers(1, checkpoint=CheckpointPlan(every_rows=4, write_s=0.25))
    outcome = run(graph_of(10, ("a", "")), {"a": 1.0}, plan).outcome
    assert outcome.checkpoints == 3
    assert outcome.makespan_s == 10.25


def test_no_claim_is_begun_while_another_is_written() -> None:
    plan = workers(1, checkpoint=CheckpointPlan(every_rows=1, write_s=2.5))
    outcome = run(graph_of(10, ("a", "")), {"a": 1.0}, plan).outcome
    # Writes begin at 1, 3.5, 6, 8.5 and 11 s.
    assert outcome.checkpoints == 5
    assert outcome.makespan_s == 13.5


HALF_DONE = replace(workers(1, policy="column-first"), crashes=[CrashPlan(at_time_s=6.5)])


def test_version_1_claims_rows_and_version_2_columns() -> None:
    graph, seconds = graph_of(4, ("a", "", START), ("b", "a")), {"a": 1.0, "b": 1.0}
    # At the crash a is done, and b in rows 0 and 1; row 2 is in flight.
    rows = run(graph, seconds, replace(HALF_DONE, checkpoint=CheckpointPlan(every_s=1.25)))
    assert rows.claims == [(2, 2)]
    columns = run(
        graph, seconds, replace(HALF_DONE, checkpoint=CheckpointPlan(every_s=1.25, version=2))
    )
    assert columns.claims == [(4, 2)]
    nothing = run(graph, seconds, HALF_DONE)
    assert nothing.claims == [(0, 0)]
    for found, lost in ((rows, 2), (columns, 0), (nothing, 6)):
        first = found.outcome.incarnations[0]
        assert (first.cells_done, first.cells_lost, first.in_flight_lost) == (6, lost, 1)
        assert found.outcome.makespan_s == 6.5 + 8 - 6 + lost


def test_version_2_counts_cells_of_any_column() -> None:
    graph = graph_of(4, ("a", "", START), ("b", "a"))
    plan = workers(1, policy="column-first", checkpoint=CheckpointPlan(every_rows=1, version=2))
    outcome = run(graph, {"a": 1.0, "b": 1.0}, plan).outcome
    # A row's worth is two cells: at 2, 4, 6 and 8 s. No row is complete before 5 s.
    assert outcome.checkpoints == 4


# Crash and resume

TEN = graph_of(10, ("a", ""))


def test_a_crash_at_a_time_with_every_figure_by_hand() -> None:
    plan = workers(
        1,
        checkpoint=CheckpointPlan(every_rows=2),
        crashes=[CrashPlan(at_time_s=5.5)],
        restart_delay_s=10.0,
    )
    found = run(TEN, {"a": 1.0}, plan)
    first, second = found.outcome.incarnations
    # Rows 0 to 3 are claimed at 4 s; row 4 was done; row 5 ran.
    assert (first.start_s, first.end_s, first.crashed, first.claimed_rows) == (0.0, 5.5, True, 0)
    assert (first.cells_done, first.cells_lost, first.in_flight_lost) == (5, 1, 1)
    assert (second.start_s, second.end_s, second.crashed) == (15.5, 21.5, False)
    assert (second.claimed_rows, second.cells_done, second.cells_lost) == (4, 6, 0)
    assert found.outcome.makespan_s == 21.5
    assert found.outcome.cells_done == 11
    assert found.outcome.busy_s == [11.5]
    # Six started after 0 to 5 s; then six waited 0 to 5 s. What never started has no wait.
    assert found.outcome.wait_s == [15.0 + 15.0]
    # Row 4, which was done, and half of row 5.
    assert first.busy_lost_s == 1.5
    assert found.outcome.calls == [12]
    assert [item.row for item in found.started if item.incarnation] == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("event", "end_s", "done", "in_flight", "waited"),
    [
        (1, 0.0, 0, 1, 0.0),
        (2, 1.0, 1, 0, 0.0),
        (3, 1.0, 1, 1, 1.0),
        (4, 2.0, 2, 0, 1.0),
        (5, 2.0, 2, 1, 3.0),
        (6, 3.0, 3, 0, 3.0),
    ],
)
def test_a_crash_comes_just_after_the_event_of_its_number(
    event: int, end_s: float, done: int, in_flight: int, waited: float
) -> None:
    # Starts and completions alternate: event 1 starts row 0, event 2 completes it.
    plan = workers(1, crashes=[CrashPlan(at_event=event)])
    outcome = run(graph_of(3, ("a", "")), {"a": 1.0}, plan).outcome
    first = outcome.incarnations[0]
    assert (first.end_s, first.cells_done, first.in_flight_lost) == (end_s, done, in_flight)
    assert first.cells_lost == done
    # The second incarnation waits 0 + 1 + 2 s.
    assert outcome.wait_s == [waited + 3.0]
    # Seven actions without a crash, of which `done` completions and all starts come twice.
    assert outcome.events == event + 2 + 8


def test_a_barrier_counts_as_a_start_a_completion_and_an_emission() -> None:
    graph = graph_of(2, ("v", "", BARRIER), ("c", "v"))
    for event, end_s, in_flight in ((1, 0.0, 1), (2, 5.0, 0), (3, 5.0, 0), (4, 5.0, 1)):
        plan = workers(1, crashes=[CrashPlan(at_event=event)])
        first = run(graph, {"v": 5.0, "c": 1.0}, plan).outcome.incarnations[0]
        assert (first.end_s, first.in_flight_lost) == (end_s, in_flight), event
        assert first.cells_done == (2 if event >= 3 else 0), event


def test_several_crashes_of_each_kind_come_in_turn() -> None:
    plan = workers(
        1,
        checkpoint=CheckpointPlan(every_rows=1),
        crashes=[
            CrashPlan(at_time_s=7.25),
            CrashPlan(at_event=11),
            CrashPlan(at_time_s=4.25),
        ],
        restart_delay_s=0.5,
    )
    found = run(TEN, {"a": 1.0}, plan)
    incarnations = found.outcome.incarnations
    # After the first start a row is five events: it completes, the next one starts, its data is
    # durable, its claim is begun, and durable. Event 11 is the last of row 1.
    assert [incarnation.end_s for incarnation in incarnations[:3]] == [2.0, 4.25, 7.25]
    assert [incarnation.claimed_rows for incarnation in incarnations] == [0, 2, 3, 5]
    assert found.outcome.makespan_s == 7.75 + 5


def test_a_crash_that_falls_into_the_restart_strikes_nobody() -> None:
    plan = workers(
        1,
        crashes=[CrashPlan(at_time_s=2.5), CrashPlan(at_time_s=4.0)],
        restart_delay_s=3.0,
    )
    outcome = run(TEN, {"a": 1.0}, plan).outcome
    assert [incarnation.crashed for incarnation in outcome.incarnations] == [True, False]
    assert outcome.makespan_s == 5.5 + 10


def test_a_crash_at_a_time_strikes_once_however_its_time_rounds() -> None:
    # start + (at - start) is less than `at` in floating point.
    start, at = next(
        (s / 7, a / 10)
        for s in range(1, 20)
        for a in range(1, 60)
        if s / 7 < a / 10 and s / 7 + (a / 10 - s / 7) < a / 10
    )
    plan = workers(1, crashes=[CrashPlan(at_event=2), CrashPlan(at_time_s=at)])
    outcome = run(graph_of(2, ("a", "")), {"a": lambda row: 100.0 if row else start}, plan).outcome
    assert [incarnation.crashed for incarnation in outcome.incarnations] == [True, True, False]


def test_random_crashes_are_exponential_and_as_many_as_asked() -> None:
    ends, graph = [], graph_of(1, ("a", ""))
    for seed in range(400):
        # Four crashes; each time the only cell starts again, and never ends before.
        plan = workers(1, seed=seed, crashes=[CrashPlan(mean_s=5.0, count=4)], restart_delay_s=1)
        incarnations = run(graph, {"a": 1e4}, plan).outcome.incarnations
        assert [incarnation.crashed for incarnation in incarnations] == [True] * 4 + [False]
        ends += [incarnation.end_s - incarnation.start_s for incarnation in incarnations[:-1]]
    # 1,600 draws: the mean is known to 2.5 %, and as many lie below the median as above.
    assert sum(ends) / len(ends) == pytest.approx(5.0, rel=0.1)
    assert sum(x < 5.0 * math.log(2) for x in ends) / len(ends) == pytest.approx(0.5, abs=0.05)


def test_a_crash_while_a_claim_is_written_resumes_from_the_old_or_the_new() -> None:
    seen = Counter[Prefixes]()
    for seed in range(40):
        plan = workers(
            1,
            seed=seed,
            checkpoint=CheckpointPlan(every_rows=2, write_s=1.5),
            crashes=[CrashPlan(at_time_s=4.75)],
        )
        found = run(TEN, {"a": 1.0}, plan)
        # Two rows are durable at 3.5 s; a claim on four was begun at 4 s.
        seen.update(found.claims)
        assert found.outcome.incarnations[0].cells_lost == 4 - found.claims[0][0]
    assert set(seen) == {(2,), (4,)}
    assert min(seen.values()) > 8


def test_a_crash_when_all_is_done_but_not_durable() -> None:
    lost = set()
    for seed in range(20):
        plan = workers(
            1,
            seed=seed,
            checkpoint=CheckpointPlan(every_rows=100, write_s=1.0),
            crashes=[CrashPlan(at_time_s=10.5)],
            restart_delay_s=2.0,
        )
        found = run(TEN, {"a": 1.0}, plan)
        lost.add(found.outcome.incarnations[0].cells_lost)
        # All is claimed, and the second incarnation only ends; or it does everything again.
        assert found.outcome.makespan_s == (12.5 if found.claims == [(10,)] else 12.5 + 11.0)
    assert lost == {0, 10}


def test_a_barrier_runs_again_for_rows_that_were_not_claimed() -> None:
    graph = graph_of(4, ("a", "", START), ("v", "a", BARRIER), ("c", "v"))
    plan = workers(
        1, checkpoint=CheckpointPlan(every_rows=1), crashes=[CrashPlan(at_time_s=4 + 10 + 2.5)]
    )
    found = run(graph, {"a": 1.0, "v": 10.0, "c": 1.0}, plan)
    assert found.claims == [(2, 2, 2)]
    again = [f"{item.column}{item.row}" for item in found.started if item.incarnation]
    assert again == ["a2", "a3", "v0", "c2", "c3"]


SMALL = graph_of(
    4, ("a", "", START), ("v", "a", BATCH), ("b", "a", ORDERED), ("c", "b v"), batch_size=3
)
SMALL_S: dict[str, Seconds] = {"a": 1.0, "v": 2.5, "b": lambda row: 1.0 + row % 2, "c": 0.5}


def small_plan(version: int, *events: int) -> RunPlan:
    return RunPlan(
        seed=3,
        limits=Limits(workers=2, resources={"gpu": 1}, column_resource={"c": "gpu"}),
        checkpoint=CheckpointPlan(every_rows=1, version=version, write_s=0.75),
        crashes=[CrashPlan(at_event=event) for event in events],
        restart_delay_s=1.0,
    )


def check_resumes(found: Run) -> None:
    """Claimed cells never start again, everything ends, and the counts add up."""
    graph, outcome = found.simulator.graph, found.outcome
    names = graph.column_names
    incarnations = outcome.incarnations
    assert [incarnation.number for incarnation in incarnations] == list(range(len(incarnations)))
    assert [incarnation.crashed for incarnation in incarnations] == [True] * (
        len(incarnations) - 1
    ) + [False]
    assert len(found.claims) == len(incarnations) - 1
    rules = graph.rules.columns
    claims: list[Prefixes] = [(0,) * len(names), *found.claims]
    for incarnation, claim in zip(incarnations, claims, strict=True):
        cells = [x for x in found.started if x.incarnation == incarnation.number and not x.barrier]
        assert all(x.row >= claim[names.index(x.column)] for x in cells)
        assert len({(x.column, x.row) for x in cells}) == len(cells)
        assert incarnation.claimed_rows == min(claim)
    for before, after in pairwise(claims):
        assert all(x <= y for x, y in zip(before, after, strict=True))
    # What the last incarnation did not start, the last claim held.
    last = {
        (x.column, x.row)
        for x in found.started
        if x.incarnation == len(incarnations) - 1 and not x.barrier
    }
    held = {(name, row) for name, n in zip(names, claims[-1], strict=True) for row in range(n)}
    wanted = {(r.name, row) for r in rules if not r.is_barrier for row in range(graph.num_records)}
    assert last | held >= wanted
    assert not last & held
    total = graph.num_records * graph.num_columns
    assert outcome.cells_done == total + sum(incarnation.cells_lost for incarnation in incarnations)
    assert sum(outcome.done) == outcome.cells_done
    assert found.simulator.machine.completed_rows == graph.num_records


@pytest.mark.parametrize("version", [1, 2])
def test_a_crash_at_every_event_ends_with_every_row(version: int) -> None:
    whole = run(SMALL, SMALL_S, small_plan(version))
    check_resumes(whole)
    for event in range(1, whole.outcome.events):
        found = run(SMALL, SMALL_S, small_plan(version, event))
        assert len(found.outcome.incarnations) == 2, event
        check_resumes(found)
        # Until it crashes, a run does what it would have done.
        crashed_s = found.outcome.incarnations[0].end_s
        before = [x for x in whole.started if x.t < crashed_s]
        assert found.started[: len(before)] == before, event
    # The last event is the end itself: nothing is left to crash.
    ended = run(SMALL, SMALL_S, small_plan(version, whole.outcome.events)).outcome
    assert ended.fingerprint == whole.outcome.fingerprint


@pytest.mark.parametrize("version", [1, 2])
def test_two_crashes_at_all_pairs_of_events_end_with_every_row(version: int) -> None:
    events = run(SMALL, SMALL_S, small_plan(version)).outcome.events
    for first in range(1, events, 3):
        for second in range(first + 1, first + events, 4):
            check_resumes(run(SMALL, SMALL_S, small_plan(version, first, second)))


# Queues whose means are known


def chain_of_stages(rows: int, stages: Sequence[tuple[float, int]]) -> Run:
    """A tandem of stages, each (seconds, servers), first come first served."""
    names = [f"s{i}" for i in range(len(stages))]
    columns = [(name, "" if i == 0 else names[i - 1]) for i, name in enumerate(names)]
    limits = Limits(
        resources={name: servers for name, (_, servers) in zip(names, stages, strict=True)},
        column_resource={name: name for name in names},
    )
    seconds = {name: each for name, (each, _) in zip(names, stages, strict=True)}
    return run(graph_of(rows, *columns), seconds, RunPlan(limits=limits, policy="fifo"))


def test_the_tandem_queue_of_a_published_example() -> None:
    # NVIDIA NeMo Curator's documentation: 1,000 tasks through three stages of 2, 1 and 10 s with
    # 2, 1 and 10 replicas, "about 1,000 s". Two tasks leave stage one every 2 s, stage two passes
    # one a second from 3 s on, and the last takes 10 s more: 2 + 1,000 + 10.
    outcome = chain_of_stages(1000, [(2.0, 2), (1.0, 1), (10.0, 10)]).outcome
    assert outcome.makespan_s == 1012.0
    assert outcome.busy_s == [2000.0, 1000.0, 10_000.0]
    # Stage one: pair k waits 2k s. Stage two: the second of each pair waits 1 s. Stage three: none.
    assert outcome.wait_s == [2 * 2 * sum(range(500)), 500.0, 0.0, 0.0]


@pytest.mark.parametrize(("rows", "servers", "seconds"), [(100, 1, 3.0), (60, 4, 0.5)])
def test_waiting_after_a_batch_arrival(rows: int, servers: int, seconds: float) -> None:
    outcome = chain_of_stages(rows, [(seconds, servers)]).outcome
    waves = rows // servers
    assert outcome.wait_s[0] / rows == pytest.approx(seconds * (waves - 1) / 2)
    assert outcome.busy_s[0] / (servers * outcome.makespan_s) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("service", "expected_s"), [(Exponential(mean_s=1.0), 1.0), (Constant(value_s=1.0), 0.5)]
)
def test_one_server_with_random_arrivals(service: Any, expected_s: float) -> None:
    # An ordered column of exponential latencies is a Poisson process. Half load: the mean wait is
    # 1 service time if services are exponential (M/M/1), and half of that if equal (M/D/1).
    rows = 40_000
    graph = graph_of(rows, ("arrive", "", START | ORDERED), ("serve", "arrive"))
    latency = LatencySource(
        5,
        [
            ColumnLatency("arrive", Exponential(mean_s=2.0), 0.0, 0),
            ColumnLatency("serve", service, 0.0, 0),
        ],
        rows,
    )
    limits = Limits(resources={"server": 1}, column_resource={"serve": "server"})
    outcome = Simulator(graph, latency, RunPlan(limits=limits, policy="fifo")).run()
    assert outcome.wait_s[0] / rows == pytest.approx(expected_s, rel=0.1)
    assert outcome.wait_s[1] == pytest.approx(0.0, abs=1e-6)
    assert outcome.busy_s[1] / outcome.makespan_s == pytest.approx(0.5, rel=0.03)


def test_the_makespan_of_many_exponential_cells() -> None:
    # All workers are busy until the last R − W have started; the rest is the longest of W.
    rows, count = 20_000, 16
    latency = LatencySource(1, [ColumnLatency("a", Exponential(mean_s=1.0), 0.0, 0)], rows)
    outcome = Simulator(graph_of(rows, ("a", "")), latency, workers(count)).run()
    tail = sum(1 / k for k in range(1, count + 1))
    assert outcome.makespan_s == pytest.approx((rows - count) / count + tail, rel=0.03)


# What is judged, and what is not


class _Lazy(_Observed):
    """Stops to start anything after three nodes."""

    def _dispatcher(self) -> Callable[[float], None]:
        dispatch = super()._dispatcher()

        def lazy(t: float) -> None:
            if self.state.events < 3:
                dispatch(t)

        return lazy


def test_work_left_undone_breaks_work_conservation() -> None:
    with pytest.raises(Violation, match="was ready, with a worker") as caught:
        run(TEN, {"a": lambda row: 1.0 + row}, workers(3), kind=_Lazy)
    assert caught.value.clause == "SCHED-09"


@pytest.mark.parametrize("checkpoint", [None, CheckpointPlan(every_s=1.0, write_s=0.25)])
def test_a_run_that_stands_still_is_found_even_unchecked(checkpoint: CheckpointPlan | None) -> None:
    plan = workers(3, checkpoint=checkpoint)
    with pytest.raises(Violation, match="nothing can ever run again"):
        run(TEN, {"a": 1.0}, plan, kind=_Lazy, checked=False)


def test_checking_changes_nothing_but_the_judgement() -> None:
    plan = small_plan(2, 17, 60)
    on, off = run(SMALL, SMALL_S, plan), run(SMALL, SMALL_S, plan, checked=False)
    assert on.outcome == off.outcome
    assert on.started == off.started


def test_progress_is_told_of_finished_rows() -> None:
    shown: list[tuple[float, int]] = []
    listener = _Listener(CHAIN, CHAIN_S)
    simulator = Simulator(CHAIN, listener, workers(1), progress=lambda t, n: shown.append((t, n)))
    listener.simulator = simulator
    simulator.run()
    assert shown == [(0.0, 0), (3.0, 1), (6.0, 2), (9.0, 3)]


# Random pipelines


def check_schedule(case: Case, limits: Limits, started: Sequence[Started]) -> list[float]:
    """Every node ran once, after its dependencies, within the limits, and as early as it could.

    Written from the clauses: readiness from the graph's own edges, use from the list of intervals.

    Returns:
        Seconds that cells waited, by resource, then for those that take none.
    """
    waited = dict.fromkeys([*limits.resources, None], 0.0)
    graph = case.graph()
    capacity: dict[str | None, float] = {None: math.inf}
    capacity.update(limits.resources)
    total = math.inf if limits.workers is None else limits.workers
    scopes = {rule.name: (rule.scope_rows, rule.batched) for rule in graph.rules.columns}
    end: dict[NodeId, float] = {}
    begin: dict[NodeId, float] = {}
    for item in started:
        batch = item.row if scopes[item.column][1] else None
        node: NodeId = CellNodeId(item.row, item.column)
        if item.barrier:
            node = BarrierNodeId(item.column, batch)
        assert node not in begin
        begin[node], end[node] = item.t, item.t + item.seconds
    busy = [(b, end[n], limits.column_resource.get(n.column)) for n, b in begin.items()]
    for node in graph.iter_nodes():
        if isinstance(node, CellNodeId) and scopes[node.column][0]:
            assert node not in begin
            (barrier,) = graph.get_dependencies(node)
            end[node] = end[barrier]
    moments = sorted({*begin.values(), *end.values()})
    for node, start in begin.items():
        ready = max((end[need] for need in graph.get_dependencies(node)), default=0.0)
        assert start >= ready
        mine = limits.column_resource.get(node.column)
        if isinstance(node, CellNodeId):
            waited[mine] += start - ready
        for t in moments:
            in_use = [resource for b, e, resource in busy if b <= t < e]
            assert len(in_use) <= total
            assert in_use.count(mine) <= capacity[mine]
            if ready <= t < start:
                assert len(in_use) == total or in_use.count(mine) == capacity[mine], (node, t)
    return list(waited.values())


def spread(seed: int) -> Callable[[int], float]:
    """Latencies of a column that are exact in binary, so that sums of them are."""
    return lambda row: 0.25 + ((seed * 7 + row * 13) * 2_654_435_761 % 16) / 16


def spread_for(case: Case) -> dict[str, Seconds]:
    return {item.name: spread(place) for place, item in enumerate(case.columns)}


@given(limited_cases(max_columns=5, max_rows=6), st.sampled_from(POLICIES))
def test_no_policy_breaks_a_limit_or_leaves_a_worker_idle(
    example: tuple[Case, Limits], policy: Policy
) -> None:
    case, limits = example
    plan = RunPlan(seed=1, limits=limits, policy=policy)
    found = run(case.graph(), spread_for(case), plan)
    assert found.outcome.wait_s == check_schedule(case, limits, found.started)
    assert found.outcome.busy_s == pytest.approx(
        [
            sum(x.seconds for x in found.started if x.column == name)
            for name in case.graph().column_names
        ]
    )


crash_plans = st.lists(
    st.builds(CrashPlan, at_event=st.integers(1, 120))
    | st.builds(CrashPlan, at_time_s=st.integers(0, 40).map(lambda n: n / 4))
    | st.builds(CrashPlan, mean_s=st.sampled_from((0.5, 4.0)), count=st.integers(1, 2)),
    max_size=4,
)
checkpoints = st.none() | st.builds(
    CheckpointPlan,
    every_rows=st.sampled_from((1, 2, 5)),
    version=st.sampled_from((1, 2)),
    write_s=st.sampled_from((0.0, 0.75)),
)


@given(
    limited_cases(max_columns=5, max_rows=6),
    st.sampled_from(POLICIES),
    checkpoints,
    crash_plans,
    st.integers(0, 3),
    st.sampled_from((0.0, 1.5)),
)
def test_any_run_through_any_crashes_ends_with_every_row(
    example: tuple[Case, Limits],
    policy: Policy,
    checkpoint: CheckpointPlan | None,
    crashes: list[CrashPlan],
    seed: int,
    delay_s: float,
) -> None:
    case, limits = example
    plan = RunPlan(seed, limits, policy, checkpoint, crashes, delay_s)
    found = run(case.graph(), spread_for(case), plan)
    check_resumes(found)
    planned = sum(crash.count or 1 for crash in crashes)
    assert len(found.claims) <= planned
    again = run(case.graph(), spread_for(case), plan)
    assert again.outcome == found.outcome
    assert again.started == found.started
