"""The loop of runs of single cells, held against the parts that it does without."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest

from cellspec.errors import Violation
from sim.scenario.scenario import Scenario
from sim.simulation import make_simulator
from sim.simulator.calls import Calls
from sim.simulator.picking import Picker
from sim.simulator.run_state import RunState
from sim.simulator.simulator import Simulator
from tests.benchmarks.kinds import KINDS

POLICIES = ("fifo", "fifo", "row-first", "column-first", "critical-path", "random")


class Composed(Simulator):
    """Overrides a step, and so takes all of them itself."""

    def _picker(self) -> Picker:
        return super()._picker()


def scenario(number: int, *, plain: bool = True) -> Scenario:
    """A random scenario: columns with barriers, resources, checkpoints, crashes at a time.

    If it is not plain, calls fail, and rows come in groups, or one of the two.
    """
    draw = random.Random(f"plain/{number}")
    resources = {f"r{n}": draw.randint(1, 5) for n in range(draw.choice((0, 0, 1, 2, 4)))}
    columns: list[dict[str, Any]] = []
    for place in range(draw.randint(1, 5)):
        needs = draw.sample(range(place), min(place, draw.choice((0, 1, 1, 2))))
        traits = [draw.choice(("ROW_STREAMABLE", "ROW_STREAMABLE", "ORDERED"))]
        if needs and draw.random() < 0.2:
            traits = [draw.choice(("BATCH_BARRIER", "BARRIER"))]
        mean = draw.choice((0.5, 1.0, 3.0))
        drawn = {"model": "exponential", "mean_s": mean}
        columns.append(
            {
                "name": f"c{place}",
                "traits": traits if needs else ["START", "ROW_STREAMABLE"],
                "dependencies": [f"c{need}" for need in needs],
                "latency": drawn if draw.random() < 0.6 else {"model": "constant", "value_s": mean},
            }
        )
        if resources and draw.random() < 0.8:
            columns[-1]["resource"] = draw.choice(sorted(resources))
    used = {column.get("resource") for column in columns}
    limits: dict[str, Any] = {"workers": draw.choice((1, 2, 5, 9, 1000))}
    limits["resources"] = {name: limit for name, limit in resources.items() if name in used}
    data: dict[str, Any] = {
        "name": "plain",
        "rows": draw.choice((1, 7, 40, 300)),
        "batch_size": 6,
        "seed": number,
        "policy": draw.choice(POLICIES),
        "columns": columns,
        "limits": limits,
    }
    if draw.random() < 0.5:
        every = draw.choice(({"every_rows": 5}, {"every_s": 4.0}))
        data["checkpoint"] = {**every, "version": draw.choice((1, 2)), "write_s": 0.7}
        if draw.random() < 0.6:
            data["crashes"] = [{"at_time_s": at_s} for at_s in sorted(draw.sample(range(1, 60), 2))]
            data["restart_delay_s"] = 2.0
    if not plain:
        _add_failures_and_groups(data, draw)
    return Scenario.model_validate(data)


def _add_failures_and_groups(data: dict[str, Any], draw: random.Random) -> None:
    kind = draw.choice(("failures", "groups", "both"))
    if kind != "groups":
        rates = {name: draw.choice((0.0, 0.05, 0.4)) for name in ("retryable", "back_pressure")}
        data["failures"] = {
            "max_attempts": draw.choice((1, 2, 5)),
            "default": rates | {"permanent": draw.choice((0.0, 0.0, 0.1))},
            "backoff": {"first_s": draw.choice((0.0, 0.5, 1.0)), "jitter": draw.choice((0.0, 0.5))},
        }
        for column in data["columns"]:
            # A row that is dropped would hand its turn on.
            column["traits"] = [t.replace("ORDERED", "CELL_BY_CELL") for t in column["traits"]]
    if kind != "failures":
        data["limits"]["row_groups"] = {"rows": draw.choice((3, 10, 400))}
        if not any("BARRIER" in trait for c in data["columns"] for trait in c["traits"]):
            data["limits"]["row_groups"]["admitted"] = draw.choice((1, 2, 3))


def run(kind: type[Simulator], made: Scenario, **options: Any) -> Simulator:
    given = make_simulator(made, None)
    outcomes = given.parts.outcomes
    simulator = kind(made.graph(), given.state.latency, given.plan, outcomes=outcomes, **options)
    simulator.run()
    return simulator


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An item for each incarnation that took the loop."""
    taken: list[int] = []
    break_it(monkeypatch, lambda _: taken.append(1))
    return taken


def break_it(monkeypatch: pytest.MonkeyPatch, action: Callable[[RunState], object]) -> None:
    """Do something to a run just before its loop begins."""
    inner = Calls.run_plain

    def run_plain(mine: Any, *parts: Any) -> None:
        action(mine._state)
        inner(mine, *parts)

    monkeypatch.setattr(Calls, "run_plain", run_plain)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("checked", [True, False])
def test_the_loop_gives_the_results_of_the_parts(
    checked: bool, plain: bool, loops: list[int]
) -> None:
    crashes = 0
    for number in range(40):
        made = scenario(number, plain=plain)
        composed = run(Composed, made, checked=checked).outcome
        assert not loops
        looped = run(Simulator, made, checked=checked).outcome
        assert len(loops) == len(looped.incarnations)
        loops.clear()
        assert dataclasses.asdict(looped) == dataclasses.asdict(composed), number
        crashes += len(looped.incarnations) - 1
    assert crashes > 10


def refused(kind: str) -> str:
    """The clause that refuses a run of a kind."""
    with pytest.raises(Violation) as found:
        make_simulator(KINDS[kind].scenario(200), None).run()
    return found.value.clause


@pytest.mark.parametrize("kind", ["plain, fifo", "plain, row-first", "3 resources"])
@pytest.mark.parametrize(("more", "clause"), [(1, "SCHED-06"), (-1, "SCHED-09")])
def test_a_loop_that_miscounts_workers_is_refused(
    kind: str, more: int, clause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def miscount(state: RunState) -> None:
        state.workers += more

    break_it(monkeypatch, miscount)
    assert refused(kind) == clause


@pytest.mark.parametrize(
    ("kind", "more", "clause"),
    [
        ("1 resource", -1, "SCHED-09"),
        ("3 resources", -1, "SCHED-09"),
        ("10 resources", -1, "SCHED-09"),
        ("3 resources", 1, "SCHED-11"),
        ("10 resources", 1, "SCHED-11"),
    ],
)
def test_a_loop_that_miscounts_a_resource_is_refused(
    kind: str, more: int, clause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def miscount(state: RunState) -> None:
        assert isinstance(state.capacity, list)
        state.capacity[0] += more

    break_it(monkeypatch, miscount)
    assert refused(kind) == clause


def test_a_loop_in_which_time_falls_is_refused() -> None:
    given = make_simulator(KINDS["plain, fifo"].scenario(100), None)
    latency = given.state.latency
    given.state.latency = _Backwards(latency)
    with pytest.raises(Violation, match="SCHED-08"):
        given.run()


class _Backwards:
    """Latencies of which one is below zero."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def reader(self, column: int) -> Any:
        inner = self._inner.reader(column)
        return lambda row: -1.0 if column and row == 3 else inner(row)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_a_call_may_fail_more_often_than_a_byte_can_count(loops: list[int]) -> None:
    fields = KINDS["50 % refusals"].fields["failures"] | {"default": {"back_pressure": 0.99}}
    made = KINDS["50 % refusals"]._replace(fields={"failures": fields}).scenario(40)
    looped, composed = run(Simulator, made).outcome, run(Composed, made).outcome
    assert len(loops) == 1
    assert dataclasses.asdict(looped) == dataclasses.asdict(composed)
    # Of 400 cells one in thirteen needs more than 255 calls: the mean is 100.
    assert 36_000 < sum(looped.calls) < 44_000
