"""The reference engines, and a correct engine unlike them, are blamed for nothing.

Workloads of every kind are written out, and more are drawn at random for each profile. What is
tested here is both sides at once: that the engines are right, and that the judge is.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, FailurePolicy, Limits
from cellspec.conformance import Backend, Fault, SavePolicy, Workload, run_workload
from cellspec.conformance.campaign.campaign import drawn_workload
from cellspec.conformance.judge.profiles import DRAWN
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.clock import WallClock
from cellspec.conformance.run.workload import End, StorageFault
from cellspec.engine import AsyncioEngine, Scheduler
from cellspec.engine.call_builder import CallBuilder
from cellspec.engine.calls import Call
from cellspec.engine.ready_queues import ReadyQueues
from cellspec.engines.reference import LockedCalls, ReferenceBackend, ThreadBackend
from cellspec.graph.nodes import NodeKey
from tests.conformance.journal_engine import Claims, Commits, Tables
from tests.conformance.second_engine import ColumnFirst
from tests.engine.test_engine import Failing

T = ExecutionTraits


class Patient(AsyncioEngine):
    """Lets calls of dropped rows end."""

    cancel_dropped = False


class PatientBackend(ReferenceBackend):
    """The reference with the other answer to each question that the specification leaves open."""

    engine_class = Patient

    class FirstInFirstOut(ReadyQueues):
        """Another order."""

        def rank(self, key: NodeKey) -> int:  # noqa: ARG002
            return self.stamp()

    class ShortRanges(CallBuilder):
        """Ranges of two rows at most."""

        def range_stop(self, column: int, row: int) -> int:
            return min(super().range_stop(column, row), row + 2)

    class Other(Scheduler):
        """A scheduler of these two parts."""

    Other.parts = replace(Scheduler.parts, queues=FirstInFirstOut, calls=ShortRanges)
    scheduler_class = Other


class WaitsFor(AsyncioEngine):
    """Bounds each call by `asyncio.wait_for`, as most programs do, and not by its own means."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._bound_s = options.pop("timeout_s")
        super().__init__(*arguments, **options)

    async def _value(self, call: Call) -> Any:
        return await asyncio.wait_for(super()._value(call), self._bound_s)

    async def _give_rows(self, call: Call) -> None:
        await asyncio.wait_for(super()._give_rows(call), self._bound_s)


class WaitsForBackend(ReferenceBackend):
    """The reference with `asyncio.wait_for` around its calls."""

    engine_class = WaitsFor


class Steals(AsyncioEngine):
    """Takes a call back from its worker, and gives it to another, up to twice in a row."""

    most = 2

    def _spark(self) -> None:
        super()._spark()
        self._stolen = getattr(self, "_stolen", {})
        for call in list(self.scheduler.slots.running.values()):
            place = call.column, call.scope, next(iter(call.left), call.start)
            times = self._stolen.get(place, 0)
            task = self._task_of.get(call.number)
            if call.number % 3 == 0 and times < self.most and task is not None:
                self._stolen[place] = times + 1
                self._loop.call_soon(self._steal, call, task)

    def _steal(self, call: Call, task: asyncio.Task[Any]) -> None:
        wanted = self.scheduler.progress.is_wanted(call)
        if not wanted or self._task_of.get(call.number) is not task or task.done():
            return
        if call.number in self._cancelled:
            return
        position = next(iter(call.left)) if call.scope is None else call.scope
        self.observer.probe.take_back(call.column, position)  # type: ignore[attr-defined]
        self._cancelled.add(call.number)
        task.cancel()


class StealingBackend(ReferenceBackend):
    """A reference whose workers steal calls from each other."""

    engine_class = Steals


BACKENDS: dict[str, Backend] = {
    "asyncio": ReferenceBackend(),
    "patient": PatientBackend(),
    "wait-for": WaitsForBackend(),
    "steals": StealingBackend(),
    "column-first": ColumnFirst(),
    "journal-commits": Commits(),
    "journal-claims": Claims(),
    "journal-tables": Tables(),
    "threads": ThreadBackend(),
}
# Those that `make test` tries on random workloads; `make test-long` tries the others.
USUAL = ("asyncio", "column-first", "threads")
FEW = settings().max_examples // 3
EXAMPLES = dict.fromkeys(BACKENDS, FEW) | {"asyncio": 2 * FEW, "threads": 5}


def column(name: str, needs: str = "", traits: T = T.NONE) -> ColumnDescriptor:
    return ColumnDescriptor(name, traits=traits, dependencies=needs.split())


CHAIN = (
    column("a", traits=T.START),
    column("v", "a", T.BARRIER),
    column("c", "v a"),
)
BATCHES = (
    column("a", traits=T.START | T.ROW_STREAMABLE),
    ColumnDescriptor("b", dependencies=["a"], may_skip=True),
    column("v", "b", T.BATCH_BARRIER),
    ColumnDescriptor(
        "o", None, None, T.ORDERED | T.ROW_STREAMABLE, dependencies=["v"], propagate_skip=False
    ),
    column("w", "o", T.BARRIER),
    column("d", "w a"),
)
SLOW = {"a": 1.0, "v": 3.0}

WORKLOADS: dict[str, Workload] = {
    "a chain through a barrier": Workload(CHAIN, rows=5, latency_s=SLOW),
    "one worker": Workload(CHAIN, rows=5, limits=Limits(workers=1)),
    "a narrow resource": Workload(
        CHAIN, rows=6, limits=Limits(3, {"model": 1}, {"a": "model", "v": "model"})
    ),
    "batches, streams, order, skips": Workload(
        BATCHES, rows=7, batch_size=3, latency_s=SLOW, skips=(("b", 1), ("b", 3), ("b", 4))
    ),
    "every barrier by batch": Workload(CHAIN, rows=7, batch_size=3, barrier_scope="batch"),
    "a batch of skips": Workload(
        BATCHES, rows=4, batch_size=2, skips=(("b", 0), ("b", 1), ("b", 2))
    ),
    "row groups": Workload(
        CHAIN,
        rows=7,
        batch_size=3,
        barrier_scope="batch",
        limits=Limits(workers=4, group_rows=2, groups=2),
    ),
    "retries and back-pressure": Workload(
        BATCHES,
        rows=5,
        batch_size=2,
        failures=FailurePolicy(max_attempts=3),
        faults=(
            Fault("a", 1),
            Fault("a", 1, 2, "backpressure", 3.0),
            Fault("a", 1, 3),
            Fault("v", 1, 1, "backpressure", 1.0),
            Fault("o", 2),
            Fault("w", 0),
            Fault("w", 0, 2),
        ),
    ),
    "drops of every kind": Workload(
        BATCHES,
        rows=8,
        batch_size=2,
        latency_s=SLOW,
        failures=FailurePolicy(max_attempts=2),
        faults=(
            Fault("a", 7, 1, "permanent"),
            Fault("b", 2),
            Fault("b", 2, 2),
            Fault("v", 2, 1, "permanent"),
            Fault("d", 3, 1, "permanent"),
        ),
    ),
    "a barrier that fails for good": Workload(
        CHAIN, rows=3, faults=(Fault("v", 0, 1, "permanent"),)
    ),
    "a row dropped beside a barrier": Workload(
        (*CHAIN, column("e")), rows=4, latency_s={"e": 2.0}, faults=(Fault("e", 2, 1, "permanent"),)
    ),
    "batches dropped beside their own barriers, in order": Workload(
        (column("a"), column("v", traits=T.BARRIER | T.ORDERED)),
        rows=4,
        batch_size=1,
        barrier_scope="batch",
        latency_s={"a": 0.5, "v": 2.0},
        faults=tuple(Fault("a", row, 1, "permanent") for row in range(3)),
    ),
    "rows that a failed barrier does not want": Workload(
        (ColumnDescriptor("a", may_skip=True), column("v", "a", T.BARRIER)),
        rows=3,
        skips=(("a", 0),),
        faults=(Fault("v", 0, 1, "permanent"),),
    ),
    "an early stop": Workload(
        CHAIN[:1],
        rows=9,
        limits=Limits(workers=2),
        failures=FailurePolicy(stop_window=4, stop_rate=0.5),
        faults=tuple(Fault("a", row, 1, "permanent") for row in range(2, 9)),
    ),
    "two crashes": Workload(
        BATCHES,
        rows=7,
        batch_size=3,
        skips=(("b", 1),),
        checkpoint_every_rows=1,
        crashes=(40, 30),
        faults=(Fault("a", 6, 1, "permanent"), Fault("d", 0, 1, "permanent")),
        limits=Limits(workers=3),
    ),
    "a crash beside row groups": Workload(
        CHAIN,
        rows=7,
        batch_size=2,
        barrier_scope="batch",
        limits=Limits(group_rows=3, groups=2),
        checkpoint_every_rows=2,
        crashes=(25, 25),
    ),
    "more rows, then fewer": Workload(
        (column("a"), column("b", "a")), rows=4, checkpoint_every_rows=1, targets=(3, 6, 6, 6)
    ),
    "more rows are refused": Workload(CHAIN, rows=3, targets=(3, 5)),
    "more rows, and what barriers gave is kept": Workload(CHAIN, rows=3, targets=(3, 5), keep=True),
    "groups that no barrier fits into": Workload(
        CHAIN, rows=5, limits=Limits(group_rows=2, groups=2)
    ),
    "columns are saved as far as they got": Workload(
        BATCHES,
        rows=6,
        batch_size=3,
        skips=(("b", 2),),
        checkpoint_every_rows=1,
        checkpoint_version=2,
        crashes=(30, 44),
        limits=Limits(workers=2),
        faults=(Fault("b", 4, 1, "permanent"),),
    ),
}
REFUSED = {"more rows are refused", "groups that no barrier fits into"}


def complaints_of(result: RunResult) -> str:
    """The complaints about a run; empty if all is well."""
    lines = [result.adapter, *result.explanation]
    return "\n".join([repr(result.work), *lines]) if any(lines) else ""


@pytest.mark.parametrize("kind", WORKLOADS)
@pytest.mark.parametrize("name", BACKENDS)
def test_no_engine_that_is_right_is_blamed_on_a_workload_of_any_kind(name: str, kind: str) -> None:
    backend, work = BACKENDS[name], WORKLOADS[kind]
    if work.checkpoint_version == 2 and "column_checkpoints" not in backend.capabilities:
        work = work.replace(checkpoint_version=1)
    result = run_workload(backend, work)
    assert not complaints_of(result)
    assert bool(result.refused) == (kind in REFUSED)
    if not result.refused:
        assert result.outcomes[-1] == ("stopped" if kind == "an early stop" else "success")


@cache
def drawn(profile: str, capabilities: frozenset[str], example: int) -> Workload:
    """A random workload of a profile; most of the engines here have the same capabilities."""
    return drawn_workload(11, profile, example, capabilities)


@pytest.mark.parametrize("profile", [profile.name for profile in DRAWN])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in USUAL else pytest.mark.long) for name in BACKENDS],
)
def test_no_engine_that_is_right_is_blamed_on_random_workloads(name: str, profile: str) -> None:
    backend = BACKENDS[name]
    for example in range(EXAMPLES[name]):
        work = drawn(profile, frozenset(backend.capabilities), example)
        assert not complaints_of(run_workload(backend, work))


def test_cells_that_a_barrier_skips_are_skipped_after_its_call_wanted_or_not() -> None:
    # While `e` runs, a failure of `d` drops every row that wants its output, but not the row whose
    # output is to be skipped.
    barriers = [
        ColumnDescriptor(name, traits=ExecutionTraits.BARRIER, dependencies=["a"]) for name in "de"
    ]
    work = Workload(
        (ColumnDescriptor("a", may_skip=True), *barriers),
        rows=3,
        latency_s={"e": 4.0},
        faults=(Fault("d", 0, failure="permanent"),),
        skips=(("a", 2),),
    )
    for seed in range(8):
        result = run_workload(ReferenceBackend(), work.replace(seed=seed))
        assert not result.violations, result.violations[0]


def test_the_reference_runs_in_real_time_too() -> None:
    for kind in ("batches, streams, order, skips", "drops of every kind", "two crashes"):
        assert not complaints_of(run_workload(ReferenceBackend(), WORKLOADS[kind], real_time=True))


def test_a_crash_at_every_step_is_survived() -> None:
    """From the first call to the last sync: no step is one too many."""
    work = WORKLOADS["drops of every kind"].replace(checkpoint_every_rows=2, checkpoint_version=2)
    step = 0
    while True:
        step += 1
        result = run_workload(ReferenceBackend(), work.replace(crashes=(step,)))
        assert not complaints_of(result)
        if "crash" not in result.outcomes:
            break
    assert step > 60


@pytest.mark.clause("CKPT-16")
def test_a_target_that_a_run_died_too_early_to_refuse_is_refused_by_the_next() -> None:
    work = Workload(CHAIN, rows=4, targets=(4, 2))
    refused = [
        bool(result.refused)
        for step in range(1, 40)
        if not complaints_of(
            result := run_workload(ReferenceBackend(), work.replace(crashes=(step, 1)))
        )
    ]
    assert len(refused) == 39
    assert True in refused
    assert False in refused


def test_the_cost_of_an_event_does_not_grow_with_rows() -> None:
    """The engine's questions to the graph for each event, in a workload and a longer one."""

    def asked(rows: int) -> float:
        work = Workload(BATCHES, rows=rows, batch_size=4, limits=Limits(workers=4))
        cost = run_workload(ReferenceBackend(), work).cost
        return cost.graph_questions / cost.events

    assert asked(120) <= 1.1 * asked(12)


class FullDisk(AsyncioEngine):
    """Its storage takes no rows, or no claims."""

    writes: range

    def __init__(self, *arguments: Any, folder: object, **more: Any) -> None:
        del folder
        super().__init__(*arguments, store=Failing(3, self.writes), **more)


@pytest.mark.clause("SCHED-14", "STOP-04")
@pytest.mark.parametrize("first", [1, 2], ids=["rows", "claims"])
def test_an_engine_whose_storage_takes_nothing_may_say_that_it_failed(first: int) -> None:
    class Full(FullDisk):
        writes = range(first, 1000)

    class FullBackend(ReferenceBackend):
        engine_class = Full

    work = Workload(columns=(column("a"), column("b", "a")), rows=3, checkpoint_every_rows=None)
    result = run_workload(FullBackend(), work)
    assert (result.outcomes, result.violations) == (["failed"], [])


@pytest.mark.clause("GROUP-01")
def test_a_barrier_of_claimed_inputs_waits_for_its_row_group() -> None:
    """After a stop every input is claimed, so that nothing else holds the barriers back."""
    work = Workload(
        (ColumnDescriptor("a"), ColumnDescriptor("b", traits=T.BATCH_BARRIER, dependencies=["a"])),
        rows=3,
        batch_size=1,
        limits=Limits(group_rows=1, groups=2),
        failures=FailurePolicy(2),
        faults=(Fault("b", 0, 1, "backpressure"),),
        checkpoint_every_rows=1,
        checkpoint_version=2,
        stop_at=(21,),
        ends=(End(0, "b", 0, 1, 2.0), End(0, "b", 1, 1, 1.0)),
    )
    for engine in (ReferenceBackend(), ThreadBackend()):
        result = run_workload(engine, work)
        assert (result.outcomes[-1], result.violations) == ("success", [])


@pytest.mark.clause("STOP-05")
def test_a_claim_that_is_written_again_writes_no_data_before_it() -> None:
    work = Workload(
        (ColumnDescriptor("a"),),
        rows=1,
        checkpoint_every_rows=1,
        storage_s=0.25,
        storage_faults=(StorageFault("claim", 1),),
        stop_at=(3,),
    )
    result = run_workload(ReferenceBackend(), work)
    assert not result.violations


@pytest.mark.clause("STOP-05")
@pytest.mark.parametrize("backend", [ReferenceBackend(), ThreadBackend()], ids=lambda b: b.name)
def test_a_slow_write_of_drops_alone_is_announced(backend: Backend) -> None:
    """At a request to stop only the drop of a row is left to write, and that takes a second."""
    work = Workload(
        (ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])),
        rows=2,
        latency_s={"a": 0.0, "b": 0.5},
        failures=FailurePolicy(max_attempts=3),
        faults=(Fault("b", 0),),
        rejects=(("b", 1),),
        checkpoint_every_rows=1,
        checkpoint_version=2,
        storage_s=1.0,
        stop_at=(5,),
    )
    result = run_workload(backend, work)
    assert not result.violations
    kinds = [(event["event"], event.get("rows")) for event in result.events]
    assert kinds.count(("write_begin", 1)) == kinds.count(("durable", 1))
    # On threads the stop falls where the machine's load puts it, perhaps before the drop.
    if backend.name == ReferenceBackend.name:
        assert ("durable", 1) in kinds


@pytest.mark.clause("CKPT-19")
def test_a_policy_by_which_no_save_was_due_is_not_exercised() -> None:
    class Seldom(ReferenceBackend):
        """Saves every row, and promises to do so within a million seconds."""

        saving = SavePolicy(seconds=1e6)

    work = Workload((ColumnDescriptor("a"),), 4, checkpoint_every_rows=1, limits=Limits(1))
    assert run_workload(ReferenceBackend(), work).due_saves
    assert not run_workload(Seldom(), work).due_saves


@pytest.mark.clause("FAIL-07")
def test_the_bound_of_a_call_counts_from_where_it_takes_time(tmp_path: Path) -> None:
    """On a busy machine a thread may wait long between taking a call and making it."""
    clock = [0.0]

    def make(row: int, _inputs: object) -> str:
        clock[0] += 10.0
        engine.let_go(lambda: time.sleep(0.05))
        return f"{row}"

    graph = ExecutionGraph(1, [ColumnDescriptor("a")])
    engine = LockedCalls(graph, {"a": make}, folder=tmp_path, timeout_s=5.0)
    engine.clock = lambda: clock[0]
    result = engine.run()
    assert (result.outcome, result.dropped) == ("success", {})


@pytest.mark.clause("TABLE-06", "FAIL-07")
def test_a_row_that_a_busy_machine_costs_is_no_fault_of_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In real time a call may take longer than its workload says, and pass its bound."""
    wait = WallClock.wait

    def busy(self: WallClock, seconds: float, gone: threading.Event) -> None:
        wait(self, seconds + 0.05, gone)

    monkeypatch.setattr(WallClock, "wait", busy)
    bound = FailurePolicy(max_attempts=1, timeout_s=1.0)
    work = Workload(CHAIN[:1], rows=2, failures=bound, crashes=(1,), latency_s={"a": 0.0625})
    result = run_workload(ThreadBackend(), work)
    assert result.violations == []
    assert result.outcomes == ["crash", "success"]
    assert result.tables[-1].dropped == {0, 1}
