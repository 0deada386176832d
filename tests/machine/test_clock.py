"""The clock: a driver that takes the compiled function of an incarnation is judged alike."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from cellspec import (
    Action,
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    Limits,
    Machine,
    Violation,
)
from cellspec.machine.clock import compile_at
from cellspec.machine.limits import FailurePolicy, SavePolicy
from tests.pair import snapshot

pytestmark = pytest.mark.invariant

T = ExecutionTraits

LIMITS = {
    "workers": Limits(workers=2),
    "a resource": Limits(workers=3, resources={"r": 1}, column_resource={"b": "r", "d": "r"}),
    "a resource of a barrier": Limits(resources={"r": 2}, column_resource={"c": "r", "d": "r"}),
    "shared places": Limits(
        resources={"r": 3, "q": 1},
        column_resource={"a": "r", "b": "r", "d": "q"},
        column_places={"a": {"r": 2, "q": 1}},
    ),
    "row groups": Limits(workers=2, group_rows=1, groups=3),
    "groups of all": Limits(workers=3, group_rows=2),
}
IDLE = ("SCHED-09", "GROUP-06", "SCHED-15")
SETTINGS: dict[str, tuple[Limits, dict[str, Any]]] = {
    **{name: (limits, {}) for name, limits in LIMITS.items()},
    "a wait": (LIMITS["a resource"], {"idle_s": 1.0, "waive": ["SCHED-09"]}),
    "a slack": (LIMITS["a resource"], {"slack_s": 1.0}),
    "late news": (
        LIMITS["workers"],
        {"hears_late": True, "failures": FailurePolicy(3, stop_window=2, stop_rate=0.5)},
    ),
    "saves": (LIMITS["workers"], {"saving": SavePolicy(rows=1), "waive": IDLE}),
    "a bound": (Limits(workers=3), {"failures": FailurePolicy(3, timeout_s=2.0), "waive": IDLE}),
    "a bypass bound": (LIMITS["a resource"], {"bypass": 1}),
}


def machine(limits: Limits, **promises: Any) -> Machine:
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("b", dependencies=["a"]),
        ColumnDescriptor("c", dependencies=["a"], traits=T.BATCH_BARRIER),
        ColumnDescriptor("d", dependencies=["c"], traits=T.ORDERED),
    ]
    graph = ExecutionGraph(4, columns, batch_size=2)
    return Machine(graph, limits, **{"failures": FailurePolicy(max_attempts=3)} | promises)


def refused(clock: Callable[[float], None], t: float) -> str:
    """What is wrong with the clock's move; "" if nothing is."""
    try:
        clock(t)
    except Violation as broken:
        return str(broken)
    return ""


WEIGHTS = {
    "start": 12,
    "complete": 4,
    "skip": 0.5,
    "fail": 1,
    "drop": 12,
    "admit": 12,
    "retire": 12,
}


def step_of(run: Machine, drawn: random.Random) -> Action | None:
    """One step that may be taken now; where work could start, it mostly does."""
    if run.state.unanswered and not run.state.is_paused and drawn.random() < 0.2:
        return Action("pause", until=run.now + drawn.choice((1.0, 2.0)))
    options = [step for step in run.enabled() if step.kind in WEIGHTS]
    if not options:
        return None
    kinds = sorted({step.kind for step in options})
    (kind,) = drawn.choices(kinds, [WEIGHTS[kind] for kind in kinds])
    step = drawn.choice([step for step in options if step.kind == kind])
    if step.failure in ("retryable", "backpressure"):
        return step._replace(until=run.now + drawn.choice((0.0, 1.0, 1.5)))
    return step


@pytest.mark.clause("SCHED-08", "SCHED-09", "GROUP-06", "SCHED-15")
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
@pytest.mark.parametrize("seed", range(6))
def test_the_compiled_clock_passes_and_refuses_the_moments_that_the_clock_does(
    setting: tuple[Limits, dict[str, Any]], seed: int
) -> None:
    limits, promises = setting
    drawn = random.Random(seed)
    said, looked = machine(limits, **promises), machine(limits, **promises)
    tick = compile_at(looked.state)
    for _ in range(80):
        for _ in range(drawn.choice((0, 1, 2))):
            t = said.now + drawn.choice((0.0, 0.5, 1.0, 1.0, 2.0, -1.0 if said.now else 0.0))
            assert refused(tick, t) == refused(said.at, t)
            assert (looked.now, looked.counters.ready) == (said.now, said.counters.ready)
        if drawn.random() < 0.1:
            tick = compile_at(looked.state)
        step = step_of(said, drawn)
        if step is not None:
            assert refused_step(looked, step) == refused_step(said, step)
    assert snapshot(looked) == snapshot(said)


def refused_step(run: Machine, step: Action) -> str:
    """What is wrong with a step; "" if nothing is."""
    try:
        run.apply(step)
    except Violation as broken:
        return str(broken)
    return ""


@pytest.mark.clause("SCHED-08", "SCHED-09", "SCHED-15")
@pytest.mark.parametrize(
    ("waive", "towards", "broken"),
    [([], 1.0, "SCHED-09"), (["SCHED-09"], 1.0, "SCHED-15"), ([], 0.0, "SCHED-08")],
)
def test_the_moments_of_a_refusal_are_written_apart_however_near_they_are(
    waive: list[str], towards: float, broken: str
) -> None:
    run = Machine(ExecutionGraph(1, [ColumnDescriptor("a", traits=T.START)]), waive=waive)
    run.state.now = 0.5
    said = refused(run.at, math.nextafter(0.5, towards))
    assert said.startswith(broken)
    moments = re.findall(r"\b0\.\d+", said)
    assert len(moments) == len(set(moments)) == 2, said


def method(run: Machine) -> Callable[[float], None]:
    return run.at


def compiled(run: Machine) -> Callable[[float], None]:
    return compile_at(run.state)


BOTH = pytest.mark.parametrize("clock_of", [method, compiled])
Clock = Callable[[Machine], Callable[[float], None]]


def small(
    rows: int, limits: Limits | None = None, failures: FailurePolicy | None = None, **promises: Any
) -> Machine:
    """Column a, whose cells may be skipped, and b, which waits for it; v waits for nothing."""
    columns = [
        ColumnDescriptor("a", may_skip=True),
        ColumnDescriptor("b", dependencies=["a"]),
        ColumnDescriptor("v", traits=T.BARRIER),
    ]
    return Machine(ExecutionGraph(rows, columns), limits, failures=failures, **promises)


def take(run: Machine, *steps: Action) -> None:
    for step in steps:
        run.apply(step)


V = Action("start", "v", scope=0)
OUTPUT = Action("emit", "v", (0, 1))


def end_of(start: Action) -> Action:
    return start._replace(kind="complete")


def a(row: int) -> Action:
    return Action("start", "a", (row, row + 1))


def fails(start: Action, until: float) -> Action:
    return start._replace(kind="fail", failure="retryable", until=until)


@pytest.mark.clause("SCHED-09")
@BOTH
def test_output_waits_for_no_worker_so_it_may_not_wait_while_all_are_busy(clock_of: Clock) -> None:
    run = small(1, Limits(workers=1))
    clock = clock_of(run)
    take(run, V, end_of(V), a(0))
    assert refused(clock, 1.0).startswith("SCHED-09: v[0] ")
    take(run, OUTPUT)
    assert not refused(clock, 1.0)


@pytest.mark.clause("GROUP-06")
@BOTH
def test_a_row_group_waits_for_no_worker_so_it_may_not_wait_while_all_are_busy(
    clock_of: Clock,
) -> None:
    groups = Limits(workers=1, group_rows=1, groups=2)
    run = Machine(ExecutionGraph(2, [ColumnDescriptor("a")]), groups)
    clock = clock_of(run)
    take(run, Action("admit", rows=(0, 1)), a(0))
    assert refused(clock, 1.0).startswith("GROUP-06: 1 row group waits at t=0")
    take(run, Action("admit", rows=(1, 2)))
    assert not refused(clock, 1.0)


@pytest.mark.clause("SCHED-09")
@BOTH
def test_a_wait_within_the_slack_is_over_once_every_worker_is_busy(clock_of: Clock) -> None:
    limits = Limits(workers=2, resources={"r": 1}, column_resource={"v": "r"})
    run = small(3, limits, slack_s=2.0)
    clock = clock_of(run)
    take(run, a(0))
    clock(1.0)
    take(run, V)
    clock(3.0)
    take(run, end_of(V), Action("emit", "v", (0, 3)))
    clock(5.0)
    assert refused(clock, 5.5).startswith("SCHED-09: a[1] is ready, and since t=3 s ")


@pytest.mark.clause("SCHED-15")
@BOTH
def test_a_cell_that_only_has_to_be_skipped_does_not_wait_while_nothing_is_in_flight(
    clock_of: Clock,
) -> None:
    run = small(1)
    clock = clock_of(run)
    take(run, V, end_of(V), OUTPUT, Action("skip", "a", (0, 1)))
    assert refused(clock, 1.0).startswith("SCHED-15: b[0], which is to be skipped, waited from t=0")


@pytest.mark.clause("STOP-01")
@BOTH
def test_who_hears_late_of_a_stop_knows_it_at_the_next_moment(clock_of: Clock) -> None:
    run = small(3, failures=FailurePolicy(stop_window=1), hears_late=True)
    clock = clock_of(run)
    take(run, V, a(0), a(1), a(2), a(0)._replace(kind="fail", failure="permanent"), end_of(a(1)))
    take(run, Action("start", "b", (1, 2)))
    clock(1.0)
    take(run, end_of(a(2)))
    with pytest.raises(Violation, match=r"^STOP-01: b\[2\] starts"):
        take(run, Action("start", "b", (2, 3)))


@pytest.mark.clause("FAIL-03")
@BOTH
@pytest.mark.parametrize("workers", [1, 2])
def test_a_node_is_ready_at_the_very_moment_in_which_its_backoff_ends(
    clock_of: Clock, workers: int
) -> None:
    run = small(2, Limits(workers=workers), FailurePolicy(2))
    announced: list[int] = []
    ignore = [lambda _row: None] * 2
    run.listen([announced.append, *ignore], lambda *_: None, lambda *_: None)
    clock = clock_of(run)
    take(run, V, end_of(V), Action("emit", "v", (0, 2)), a(0), fails(a(0), 1.0), a(1))
    clock(0.5)
    assert announced == []
    clock(1.0)
    assert announced == [0]


@pytest.mark.clause("SCHED-17")
@BOTH
@pytest.mark.parametrize("first", [0, 1])
def test_of_two_backoffs_the_one_that_ends_first_makes_its_node_ready_first(
    clock_of: Clock, first: int
) -> None:
    run = small(2, Limits(workers=1), FailurePolicy(2), bypass=0)
    clock = clock_of(run)
    take(run, a(0), fails(a(0), 1.0), a(1), fails(a(1), 2.0), V)
    clock(1.0)
    clock(2.0)
    take(run, end_of(V))
    if first == 0:
        take(run, a(0))
        return
    with pytest.raises(Violation, match=r"^SCHED-17: a\[1\] starts, and is number 1"):
        take(run, a(1))


@pytest.mark.clause("SCHED-17")
@pytest.mark.parametrize(("t", "late"), [(1.0, False), (2.0, True)])
def test_what_is_made_ready_as_a_backoff_ends_is_no_later_for_a_driver_of_methods(
    t: float, late: bool
) -> None:
    run = small(2, Limits(workers=2), FailurePolicy(2), bypass=0)
    take(run, a(0), fails(a(0), 1.0), V, a(1))
    run.at(t)
    run.complete_cell(0, 1)
    said = refused(lambda _: run.start_cell(1, 1), t)
    assert said.startswith("SCHED-17: b[1] starts, and is number 1") is late
    assert bool(said) is late


@pytest.mark.clause("SCHED-09")
@BOTH
def test_a_clock_that_is_compiled_with_calls_in_flight_knows_of_the_places_that_they_free(
    clock_of: Clock,
) -> None:
    limits = Limits(
        resources={"r": 1, "q": 1},
        column_resource={"a": "r", "v": "q"},
        column_places={"v": {"r": 1, "q": 1}},
    )
    run = small(2, limits)
    take(run, a(0), end_of(a(0)), V, Action("start", "b", (0, 1)))
    clock = clock_of(run)
    assert not refused(clock, 1.0)
    take(run, end_of(V), Action("emit", "v", (0, 2)))
    assert refused(clock, 2.0).startswith("SCHED-09: a[1] at t=1 s was ready")
