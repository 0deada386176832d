"""Dask passes with its capabilities, and a wrong use of it breaks the clause that forbids it."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits, FailurePolicy, Limits, SpecError
from cellspec.conformance import Fault, Probe, Workload, run_workload
from cellspec.conformance.campaign.options import Options
from cellspec.conformance.campaign.smoke import smoke
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.judge.verdict import Verdict
from cellspec.conformance.run.workload import Visit
from cellspec.engines import dask as engine
from cellspec.engines.dask import CallBroker, DaskBackend, Driver, ProcessBackend, clusters
from cellspec.engines.dask.driver import ReportedState
from cellspec.engines.rows import Dropped
from cellspec.graph.rules import ColumnRule

pytestmark = pytest.mark.dask
T = ExecutionTraits


@pytest.fixture(autouse=True, scope="module")
def _dask() -> Iterator[None]:
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("needs the extra cellspec[dask], which is absent")
    yield
    engine.stop_clusters()


def column(name: str, needs: str = "", traits: T = T.NONE, **more: Any) -> ColumnDescriptor:
    return ColumnDescriptor(name, traits=traits, dependencies=needs.split(), **more)


CHAIN = (column("a"), column("v", "a", T.BARRIER), column("c", "v"))
WORK = Workload(CHAIN, 4, limits=Limits(2), latency_s=dict.fromkeys("avc", 0.25))
SAVING = WORK.replace(
    checkpoint_every_rows=1, limits=Limits(1), latency_s={"a": 0.25, "v": 0.25, "c": 4.0}
)


def run(work: Workload, driver: type[Driver] = Driver, **options: Any) -> RunResult:
    backend = DaskBackend()
    backend.driver_class = driver
    return run_workload(backend, backend.fit(work), **options)


def broken(result: RunResult) -> str:
    """The clause that a run broke, or ""."""
    return result.violations[0].clause if result.violations else ""


def resumed_half_way(driver: type[Driver] = Driver) -> RunResult:
    """A run that crashed when some rows were claimed and others were not."""
    for step in range(24, 60):
        result = run(SAVING.replace(crashes=(step,)), driver)
        if 0 < len(result.tables[0].rows) < 4 and len(result.outcomes) == 2:
            return result
    raise AssertionError("no crash came after a claim")


def fields_of(result: RunResult, kind: str, *fields: str) -> list[tuple[Any, ...]]:
    return [
        tuple(event.get(name) for name in fields)
        for event in result.events
        if event["event"] == kind
    ]


# What Dask is given


class Graphs(Driver):
    """Keeps the graph of each run that it gave to Dask: the dependencies of each node."""

    def drive(self, client: Any, calls: engine.Calls) -> None:
        from dask.core import get_deps

        graph, _ = self.graph(calls)
        needed, _ = get_deps(dict(graph))

        def plain(key: engine.Key) -> tuple[str, str, int]:
            name, kind, _ = key[0].split("-")
            return name, kind, key[1]

        given.append({plain(key): {plain(need) for need in needed[key]} for key in needed})
        super().drive(client, calls)


given: list[dict[tuple[str, str, int], set[tuple[str, str, int]]]] = []


def nodes(column: str, rows: Sequence[int], kind: str = "cell") -> set[tuple[str, str, int]]:
    return {(column, kind, row) for row in rows}


def test_each_cell_and_each_barrier_is_a_key_and_waits_for_what_it_needs() -> None:
    given.clear()
    columns = (*CHAIN, column("o", "a", T.ORDERED), column("w", "c", T.BATCH_BARRIER))
    assert not run(WORK.replace(columns=columns, batch_size=3), Graphs).violations
    graph = given[0]
    assert graph["a", "cell", 1] == set()
    assert graph["v", "barrier", 0] == nodes("a", range(4))
    assert graph["v", "cell", 1] == {("v", "barrier", 0)}
    assert graph["c", "cell", 1] == {("v", "cell", 1)}
    assert graph["o", "cell", 2] == {("a", "cell", 2), ("o", "cell", 1)}
    assert graph["w", "barrier", 1] == {("c", "cell", 3)}
    assert len(graph) == 5 * 4 + 1 + 2


def test_a_run_that_resumes_gives_dask_only_the_rest_of_the_graph() -> None:
    """The barrier is in it again, over all rows; the claimed ones stand in it as values."""
    result = resumed_half_way(Graphs)
    assert not result.violations
    claim = result.tables[0].rows
    left = range(len(claim), 4)
    graph = given[-1]
    assert set(graph) == (
        nodes("a", left) | nodes("v", [0], "barrier") | nodes("v", left) | nodes("c", left)
    )
    assert graph["v", "barrier", 0] == nodes("a", left)
    assert fields_of(result, "start", "column", "reads")[-1 - len(left)] == ("v", ((0, 4),))


def test_annotations_give_dask_the_resource_and_the_retries_of_a_task() -> None:
    work = WORK.replace(
        limits=Limits(4, {"r": 2}, {"c": "r"}), failures=FailurePolicy(3), faults=(Fault("c", 1),)
    )
    seen: dict[str, Any] = {}

    class Annotated(Driver):
        def graph(self, calls: engine.Calls) -> Any:
            graph, waits_for = super().graph(calls)
            for name, layer in graph.layers.items():
                priority = layer.annotations["priority"]
                first_two = [priority((name, place)) for place in range(2)]
                seen[name.rpartition("-")[0]] = {**layer.annotations, "priority": first_two}
            return graph, waits_for

    assert not run(work, Annotated).violations
    assert seen == {
        "a-cell": {"retries": 2, "priority": [0, -1]},
        "v-barrier": {"retries": 2, "priority": [0, -4]},
        "v-cell": {"priority": [0, -1]},
        "c-cell": {"retries": 2, "resources": {"r": 1}, "priority": [0, -1]},
    }


# It passes with its capabilities


def test_dask_is_wired_up() -> None:
    backend = DaskBackend()
    assert smoke(lambda work: run_workload(backend, work), backend.fit) is None


def verdicts(folder: Path, examples: int) -> dict[str, Verdict]:
    options = Options("cellspec.engines.dask:DaskBackend", folder, max_examples=examples)
    suite = Suite.of(options)
    suite.run_all()
    assert not suite.errors
    return {clause.number: found.verdict for _, clause, found in suite.judgements()}


def test_three_runs_of_the_suite_blame_dask_for_nothing(tmp_path: Path) -> None:
    """Whether a run in real time was in each situation that it owes is chance at this size."""
    for number in range(3):
        found = verdicts(tmp_path / str(number), examples=6)
        allowed = {Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.NOT_CLAIMED}
        assert {clause for clause, verdict in found.items() if verdict not in allowed} == set()
        assert Verdict.PASS in found.values()


def test_a_call_that_is_turned_away_waits_for_the_time_that_it_is_asked_for() -> None:
    result = run(WORK.replace(faults=(Fault("a", 1, 1, "backpressure", 2.0),)))
    assert not result.violations
    (failed,) = fields_of(result, "fail", "t", "until")
    assert failed[1] - failed[0] >= 2.0 / 64
    assert fields_of(result, "start", "column", "rows", "attempt").count(("a", 1, None)) == 2


def test_a_row_that_fails_for_good_hands_a_marker_on_and_the_barrier_goes_on() -> None:
    result = run(WORK.replace(faults=(Fault("a", 1, 1, "permanent"),)))
    assert not result.violations
    assert fields_of(result, "drop", "rows", "column") == [(1, "a")]
    assert fields_of(result, "start", "column", "reads")[4] == ("v", ((0, 1), (2, 4)))
    assert set(result.tables[0].rows) == {0, 2, 3}


def test_a_barrier_that_fails_for_good_drops_every_row_that_wants_its_output() -> None:
    result = run(WORK.replace(faults=(Fault("v", 0, 1, "permanent"),)))
    assert not result.violations
    assert fields_of(result, "drop", "rows", "column") == [(row, "v") for row in range(4)]
    assert ("c",) not in fields_of(result, "start", "column")


def test_a_crash_at_any_step_is_survived() -> None:
    step, crashed = 0, True
    while crashed:
        step += 1
        result = run(SAVING.replace(crashes=(step,)), scale=1 / 256)
        crashed = "crash" in result.outcomes
        assert not result.violations, f"crash at step {step}: {result.explanation}"
        assert result.outcomes[-1] == "success"
        assert set(result.tables[-1].rows) == set(range(4))
    # Two of each of nine calls, and what is done for three checkpoints at least.
    assert step > 40


def visited(kind: Visit, driver: type[Driver] = Driver) -> RunResult:
    """A run that crashed after a claim, and in whose folder another process began then."""
    columns = (column("a"), column("v", "a", T.BATCH_BARRIER), column("c", "v"))
    versions = {"a": "1"} if kind == "config" else {}
    work = SAVING.replace(columns=columns, batch_size=2, visits=(kind,), versions=versions)
    for step in range(24, 60):
        result = run(work.replace(crashes=(step,)), driver, scale=1 / 256)
        if result.visits:
            return result
    raise AssertionError("no crash came after a claim")


@pytest.mark.parametrize("kind", get_args(Visit)[1:])
def test_a_process_with_other_work_is_refused(kind: Visit) -> None:
    result = visited(kind)
    assert not result.violations
    assert result.outcomes == ["crash", "success"]


def test_a_driver_that_does_not_compare_configurations_is_caught() -> None:
    class Careless(ReportedState):
        def expect_config(self, before: Any) -> None:
            pass

    class Takes(Driver):
        state_class = Careless

    assert broken(visited("config", Takes)) == "CKPT-20"


# Fit


@pytest.mark.parametrize("faults", [(), (Fault("a", 1, 1, "permanent"),)])
def test_a_fitted_workload_stays_as_it_is(faults: Sequence[Fault]) -> None:
    backend = DaskBackend()
    columns = (column("a"), column("b"), column("c", "b"))
    once = backend.fit(Workload(columns, 4, faults=tuple(faults)))
    assert backend.fit(once) == once
    assert (once.columns == columns) is (not faults)


def test_a_cluster_that_is_there_is_used_as_it_is() -> None:
    from distributed import Scheduler, SpecCluster, Worker

    here = {"host": "127.0.0.1", "protocol": "tcp://", "dashboard_address": "127.0.0.1:0"}
    cluster = SpecCluster(
        scheduler={"cls": Scheduler, "options": {**here, "port": 0, "dashboard": False}},
        workers={
            place: {"cls": Worker, "options": {**here, "nthreads": 1, "resources": {"r": 1}}}
            for place in range(2)
        },
        silence_logs=50,
    )
    with cluster:
        backend = DaskBackend(cluster.scheduler_address)
        work = backend.fit(
            WORK.replace(limits=Limits(7, {"r": 1, "q": 1}, {"a": "r", "c": "q"}), crashes=(9,))
        )
        assert work.limits == Limits(2, {"r": 2}, {"a": "r"})
        assert backend.fit(work) == work
        result = run_workload(backend, work)
        backend.close()
    assert not result.violations
    assert result.outcomes == ["crash", "success"]


def test_a_cluster_without_workers_is_refused() -> None:
    from distributed import Scheduler, SpecCluster

    here = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with (
        SpecCluster(scheduler={"cls": Scheduler, "options": here}, silence_logs=50) as cluster,
        pytest.raises(SpecError, match="has no workers"),
    ):
        DaskBackend(cluster.scheduler_address)


def test_an_address_without_a_scheduler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "CONNECT_S", 0.2)
    monkeypatch.setenv(engine.ADDRESS, "tcp://127.0.0.1:1")
    with pytest.raises(SpecError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        DaskBackend()


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SpecError, match=r"pip install '\.\[dask\]'"):
        DaskBackend()


# Uses of Dask that are wrong


class ForgetsDependency(Driver):
    """Leaves the last column that a column needs out of its tasks."""

    def needs(self, rule: ColumnRule) -> tuple[str, ...]:
        return super().needs(rule)[:-1]


class ForgetsRow(Driver):
    """A barrier does not depend on the last row of its scope."""

    def barriers(self, rule: ColumnRule, calls: engine.Calls) -> dict[engine.Key, Any]:
        tasks = super().barriers(rule, calls)
        return {
            key: (task, job, [*inputs[:-1], ["made up"]], after)
            for key, (task, job, inputs, after) in tasks.items()
        }


class ForgetsOrder(Driver):
    """A cell of an ordered column does not depend on the one before it."""

    def cells(self, rule: ColumnRule, calls: engine.Calls) -> dict[engine.Key, Any]:
        return {key: (*task[:-1], []) for key, task in super().cells(rule, calls).items()}


class ForgetsResource(Driver):
    """Does not name the resources of its tasks."""

    def annotations(self, rule: ColumnRule) -> dict[str, Any]:
        return {"retries": super().annotations(rule)["retries"]}


class NeverRetries(Driver):
    """Asks Dask to run no task again."""

    def retries(self) -> int:
        return 0


class RetriesOnceMore(Driver):
    """Leaves it to Dask to count, and tells it the number of attempts."""

    class broker_class(CallBroker):  # noqa: N801 - the name that `Driver` has for it
        def expect_last(self, _column: str, _position: int, failure: Exception) -> None:
            raise failure

    def retries(self) -> int:
        return super().retries() + 1


class RestoresBarrier(Driver):
    """A barrier that has run in an earlier run counts as complete; others take its output."""

    def wanted(self, rule: ColumnRule, rows: Any) -> tuple[int, ...]:
        return () if self.state.claimed[rule.name] else super().wanted(rule, rows)

    def result(self, column: str, row: int) -> Any:
        rule = self.rules.columns[self.rules.index[column]]
        restored = rule.is_barrier and self.state.claimed[column]
        return super().result(column, 0 if restored else row)


class DropsSilently(Driver):
    """Does not record that rows were dropped."""

    class broker_class(CallBroker):  # noqa: N801 - the name that `Driver` has for it
        def drop(self, rows: Any, column: str) -> Any:
            return {row: Dropped(column) for row in rows}


class ReadsDropped(Driver):
    """A barrier reads rows that were dropped."""

    class broker_class(CallBroker):  # noqa: N801 - the name that `Driver` has for it
        def reads(self, _column: str, inputs: Any) -> list[int]:
            return list(inputs)


class RunsClaimedAgain(Driver):
    """A run that resumes makes every cell again."""

    def result(self, column: str, row: int) -> Any:
        return self.key(column, "cell", row)

    def cells(self, rule: ColumnRule, calls: engine.Calls) -> dict[engine.Key, Any]:
        values, self.state.values = self.state.values, {}
        try:
            return super().cells(rule, calls)
        finally:
            self.state.values = values


LAST_IS_SLOW = WORK.replace(seed=29, limits=Limits(4), latency_s={"a": 2.0})
TWO = Workload(CHAIN[:2], 4, limits=Limits(2))
WIDE = Workload(tuple(map(column, "ab")), 6, latency_s=dict.fromkeys("ab", 1.0))
BROKEN: dict[str, tuple[type[Driver], Workload, str]] = {
    "forgets a dependency of a barrier": (ForgetsDependency, TWO, "BARR-01"),
    "forgets a dependency of a cell": (
        ForgetsDependency,
        WIDE.replace(columns=(column("a"), column("b", "a"))),
        "SCHED-01",
    ),
    "forgets a row of a barrier": (ForgetsRow, LAST_IS_SLOW, "BARR-01"),
    "forgets the order": (
        ForgetsOrder,
        WIDE.replace(columns=(column("a", traits=T.ORDERED), column("b"))),
        "SCHED-13",
    ),
    "forgets a resource": (
        ForgetsResource,
        WIDE.replace(limits=Limits(4, {"r": 1}, {"a": "r", "b": "r"})),
        "SCHED-11",
    ),
    "never retries": (
        NeverRetries,
        WORK.replace(failures=FailurePolicy(3), faults=(Fault("a", 1),)),
        "SCHED-12",
    ),
    "retries once more": (
        RetriesOnceMore,
        WORK.replace(
            failures=FailurePolicy(2), faults=(Fault("a", 1), Fault("a", 1, 2), Fault("a", 1, 3))
        ),
        "FAIL-02",
    ),
    "drops silently": (
        DropsSilently,
        WORK.replace(faults=(Fault("c", 1, 1, "permanent"),)),
        "DROP-04",
    ),
    "reads dropped rows": (
        ReadsDropped,
        WORK.replace(faults=(Fault("a", 1, 1, "permanent"),)),
        "BARR-06",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_use_of_dask_that_is_wrong_is_caught_by_the_clause_that_it_breaks(name: str) -> None:
    driver, work, clause = BROKEN[name]
    assert broken(run(work)) == "", "what is right must not be blamed"
    result = run(work, driver)
    assert broken(result) == clause, result.explanation


@pytest.mark.parametrize(
    ("driver", "clause"), [(RestoresBarrier, "SCHED-01"), (RunsClaimedAgain, "SCHED-05")]
)
def test_a_resume_that_is_wrong_is_caught_by_the_clause_that_it_breaks(
    driver: type[Driver], clause: str
) -> None:
    result = resumed_half_way(driver)
    assert broken(result) == clause, result.explanation


# A worker that is killed


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


class Kills(ProcessBackend):
    """A worker is killed while a call of a column is in flight."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column
        self.killed: list[int] = []

    def run(self, probe: Probe) -> None:
        client = self.client(probe.work)
        client.wait_for_workers(2)
        pids = client.run(os.getpid)

        def started() -> bool:
            return any(e["event"] == "start" and e["column"] == self.column for e in probe.log)

        def kill() -> None:
            until(started)
            busy = next(worker for worker, keys in client.processing().items() if keys)
            os.kill(pids[busy], signal.SIGKILL)
            self.killed.append(pids[busy])

        killer = threading.Thread(target=kill)
        killer.start()
        super().run(probe)
        killer.join()


SLOW = WORK.replace(latency_s={"a": 0.25, "v": 96.0, "c": 0.25})


@pytest.mark.parametrize("name", ["a", "v"])
def test_dask_makes_the_call_of_a_worker_that_was_killed_again_and_no_other(name: str) -> None:
    backend = Kills(name)
    work = (
        SLOW if name == "v" else WORK.replace(rows=1, latency_s={"a": 96.0, "v": 0.25, "c": 0.25})
    )
    work = backend.fit(work)
    result = run_workload(backend, work, stall_s=120)
    assert backend.killed
    assert not result.violations, result.explanation
    assert result.outcomes == ["success"]
    assert fields_of(result, "fail", "column", "failure") == [(name, "backpressure")]
    assert len(fields_of(result, "start")) == work.graph().num_nodes - work.rows + 1


class Forgetful(Driver):
    """Dask alone: a task's result is in the memory of its worker only."""

    def __init__(self, probe: Probe, **_elsewhere: bool) -> None:
        super().__init__(probe, elsewhere=False)


def test_dask_alone_pays_twice_for_the_earlier_results_of_the_worker() -> None:
    backend = Kills("v")
    backend.driver_class = Forgetful
    result = run_workload(backend, backend.fit(SLOW), stall_s=120)
    assert backend.killed
    assert broken(result) == "SCHED-03", result.explanation
