"""Ray passes with its capabilities, and a wrong use of it breaks the clause that forbids it.

One local instance of Ray serves all these tests. Ray repeats a failed task about a second after it
failed, whatever else it has to do, so few of them have tasks that are repeated.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits, FailurePolicy, Limits, SpecError
from cellspec.conformance import Fault, Probe, Workload, run_workload
from cellspec.conformance.campaign.options import Options
from cellspec.conformance.campaign.smoke import smoke
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.judge.verdict import Verdict
from cellspec.conformance.run.workload import End
from cellspec.engines import ray as engine
from cellspec.engines.ray import Driver, Key, RayBackend, instance
from cellspec.engines.ray.tasks import run_barrier
from cellspec.engines.remote import RemoteProbe
from cellspec.engines.rows import DriverState, Dropped
from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId
from cellspec.state.tracker import CompletionTracker

pytestmark = pytest.mark.ray
T = ExecutionTraits


@pytest.fixture(autouse=True)
def _ray() -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs the extra cellspec[ray], which is absent")


def column(name: str, needs: str = "", traits: T = T.NONE, **more: Any) -> ColumnDescriptor:
    return ColumnDescriptor(name, traits=traits, dependencies=needs.split(), **more)


CHAIN = (column("a"), column("v", "a", T.BARRIER), column("c", "v"))
WORK = Workload(CHAIN, 4, limits=Limits(2), latency_s=dict.fromkeys("avc", 0.25))
SAVING = WORK.replace(
    checkpoint_every_rows=1, limits=Limits(1), latency_s={"a": 0.25, "v": 0.25, "c": 4.0}
)


def run(work: Workload, driver: type[Driver] = Driver, **options: Any) -> RunResult:
    backend = RayBackend()
    backend.driver_class = driver
    fitted = backend.fit(work)
    assert fitted is not None
    return run_workload(backend, fitted, **options)


def broken(result: RunResult) -> str:
    """The clause that a run broke, or ""."""
    return result.violations[0].clause if result.violations else ""


def resumed_half_way(driver: type[Driver] = Driver) -> RunResult:
    """A run that crashed when some rows were claimed and others were not."""
    for step in range(26, 60, 2):
        result = run(SAVING.replace(crashes=(step,)), driver)
        if 0 < len(result.tables[0].rows) < 4 and "resume" in kinds(result):
            return result
    raise AssertionError("no crash came after a claim")


def kinds(result: RunResult) -> list[str]:
    return [event["event"] for event in result.events]


def values_of(result: RunResult, kind: str, *fields: str) -> list[tuple[Any, ...]]:
    return [
        tuple(event.get(name) for name in fields)
        for event in result.events
        if event["event"] == kind
    ]


# What Ray is given


class Recorded(Driver):
    """Keeps the inputs of each node's task in each run: references, and values."""

    def run(self) -> None:
        incarnations.append({})
        super().run()

    def submit(self, node: NodeId, *, gave_up: bool = False) -> None:
        keys = [*self.needs_of(node), *self.after(node)]
        inputs = {key: self.input_of(key) for key in keys}
        incarnations[-1][node] = {
            key: "reference" if type(value).__name__ == "ObjectRef" else "value"
            for key, value in inputs.items()
        }
        super().submit(node, gave_up=gave_up)


incarnations: list[dict[NodeId, dict[Key, str]]] = []


def references(*keys: Key) -> dict[Key, str]:
    return dict.fromkeys(keys, "reference")


def test_each_cell_and_each_barrier_is_a_task_and_is_given_references() -> None:
    incarnations.clear()
    columns = (*CHAIN, column("o", "a", T.ORDERED), column("w", "c", T.BATCH_BARRIER))
    assert not run(WORK.replace(columns=columns, batch_size=3), Recorded).violations
    tasks = incarnations[0]
    every = range(4)
    assert tasks[CellNodeId(1, "a")] == {}
    assert tasks[BarrierNodeId("v")] == references(*(("a", row) for row in every))
    assert tasks[CellNodeId(1, "c")] == references(("v", 1))
    assert tasks[CellNodeId(2, "o")] == references(("a", 2), ("o", 1))
    assert tasks[BarrierNodeId("w", 1)] == references(("c", 3))
    assert len(tasks) == 3 * 4 + 1 + 2, "output cells of barriers are no tasks"


def test_a_run_that_resumes_gives_ray_only_the_rest() -> None:
    """The barrier is run again, over all rows; what claimed rows give to it is in the table."""
    incarnations.clear()
    result = resumed_half_way(Recorded)
    assert not result.violations
    claimed = len(result.tables[0].rows)
    left = range(claimed, 4)
    tasks = incarnations[-1]
    assert set(tasks) == {
        BarrierNodeId("v"),
        *(CellNodeId(row, name) for name in "ac" for row in left),
    }
    assert list(tasks[BarrierNodeId("v")].values()) == (
        ["value"] * claimed + ["reference"] * len(left)
    )
    again = [reads for name, reads in values_of(result, "start", "column", "reads") if name == "v"][
        -1
    ]
    assert again == ((0, 4),)


def test_options_give_ray_the_resources_and_the_retries_of_a_task() -> None:
    work = WORK.replace(limits=Limits(3, {"q": 1, "r": 2}, {"c": "r"}), failures=FailurePolicy(3))
    seen: dict[str, dict[str, Any]] = {}

    class Seen(Driver):
        def options_of(self, node: NodeId) -> dict[str, Any]:
            seen[node.column] = super().options_of(node)
            return seen[node.column]

    assert not run(work, Seen).violations
    assert seen["a"]["resources"] == {"cellspec_workers": 0.3333}
    assert seen["c"]["resources"] == {"cellspec_workers": 0.3333, "cellspec_1": 0.5}
    assert {options["max_retries"] for options in seen.values()} == {2}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 64, instance.PARTS_MAX])
def test_of_a_part_as_many_fit_as_the_limit_says_and_no_more(limit: int) -> None:
    parts = round(instance.part_of(limit) * 10_000)
    assert limit * parts <= 10_000 < (limit + 1) * parts


# It passes with its capabilities


def test_ray_is_wired_up() -> None:
    backend = RayBackend()
    assert smoke(lambda work: run_workload(backend, work), backend.fit) is None


def verdicts(folder: Path, examples: int) -> dict[str, Verdict]:
    options = Options("cellspec.engines.ray:RayBackend", folder, max_examples=examples)
    suite = Suite.of(options)
    suite.run_all()
    assert not suite.errors
    return {clause.number: found.verdict for _, clause, found in suite.judgements()}


def test_two_runs_of_the_suite_blame_ray_for_nothing(tmp_path: Path) -> None:
    """Whether a run in real time was in each situation that it owes is chance at this size."""
    for number in range(2):
        found = verdicts(tmp_path / str(number), examples=4)
        allowed = {Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.NOT_CLAIMED}
        assert {clause for clause, verdict in found.items() if verdict not in allowed} == set()
        assert Verdict.PASS in found.values()


def test_ray_repeats_a_call_and_says_which_attempt_it_is() -> None:
    result = run(WORK.replace(failures=FailurePolicy(2), faults=(Fault("a", 1),)))
    assert not result.violations
    starts = values_of(result, "start", "column", "rows", "attempt")
    attempts = [(row, attempt or 1) for name, row, attempt in starts if name == "a"]
    assert sorted(attempts) == [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1)]


def test_a_call_that_is_turned_away_waits_for_the_time_that_it_is_asked_for() -> None:
    result = run(WORK.replace(faults=(Fault("a", 1, 1, "backpressure", 2.0),)))
    assert not result.violations
    (failed,) = values_of(result, "fail", "t", "until")
    assert failed[1] - failed[0] >= 2.0 / 64


def test_a_row_that_fails_for_good_hands_a_marker_on_and_the_barrier_goes_on() -> None:
    incarnations.clear()
    result = run(WORK.replace(faults=(Fault("a", 1, 1, "permanent"),)), Recorded)
    assert not result.violations
    assert values_of(result, "drop", "rows", "column") == [(1, "a")]
    assert [
        reads for name, reads in values_of(result, "start", "column", "reads") if name == "v"
    ] == [((0, 1), (2, 4))]
    assert set(result.tables[0].rows) == {0, 2, 3}
    assert "value" not in incarnations[0][BarrierNodeId("v")].values(), "the reference was kept"


def test_where_ray_gives_up_it_is_given_the_dependents_again() -> None:
    """Its own error would go on to all that reads it, the barrier and every row among them."""
    incarnations.clear()
    result = run(WORK.replace(faults=(Fault("a", 1),)), Recorded)
    assert not result.violations
    assert values_of(result, "drop", "rows", "column") == [(1, "a")]
    assert set(result.tables[0].rows) == {0, 2, 3}
    assert ("a", 1) not in incarnations[0][BarrierNodeId("v")]


def test_the_order_of_barriers_outlasts_a_row_that_ray_gives_up() -> None:
    """The barrier of the batch before is given again, and the next one waits for it as before."""
    columns = (column("a"), column("v", "a", T.BATCH_BARRIER | T.ORDERED))
    # The rows fail at moments far apart: what fails at one moment in two processes has no order.
    ends = (End(0, "a", 3, 1, 32.0), End(0, "a", 0, 1, 64.0))
    work = Workload(columns, 4, batch_size=2, faults=(Fault("a", 1), Fault("a", 3)), ends=ends)
    result = run(work)
    assert not result.violations, result.explanation
    assert values_of(result, "drop", "rows", "column") == [(1, "a"), (3, "a")]
    reads = [reads for name, reads in values_of(result, "start", "column", "reads") if name == "v"]
    assert reads == [((0, 1),), ((2, 3),)]


def test_a_barrier_that_has_no_row_left_is_not_given_again() -> None:
    """It had been given already, when its last row was given up."""
    incarnations.clear()
    result = run(Workload(CHAIN, 2, faults=(Fault("a", 0), Fault("a", 1))), Recorded)
    assert not result.violations
    assert sorted(values_of(result, "drop", "rows", "column")) == [(0, "a"), (1, "a")]
    assert kinds(result).count("start") == 2


def test_a_barrier_that_fails_for_good_drops_every_row_that_wants_its_output() -> None:
    for failure in ("permanent", "retryable"):
        result = run(WORK.replace(faults=(Fault("v", 0, 1, failure),)))
        assert not result.violations
        assert values_of(result, "drop", "rows", "column") == [(row, "v") for row in range(4)]
        assert "c" not in [name for (name,) in values_of(result, "start", "column")]


def test_row_groups_enter_as_others_leave() -> None:
    limits = Limits(2, group_rows=1, groups=2)
    result = run(Workload((column("a"), column("b", "a")), 4, limits=limits))
    assert not result.violations
    assert values_of(result, "admit", "rows") == [(row,) for row in range(4)]
    assert (
        kinds(result).index("retire")
        < [place for place, kind in enumerate(kinds(result)) if kind == "admit"][2]
    )


@pytest.mark.parametrize("step", range(1, 60, 7))
def test_a_crash_at_any_step_is_survived(step: int) -> None:
    result = run(SAVING.replace(crashes=(step, step // 2)), scale=1 / 256)
    assert not result.violations, result.explanation
    assert result.outcomes[-1] == "success"
    assert set(result.tables[-1].rows) == set(range(4))


def test_a_resume_that_would_change_claimed_output_is_refused() -> None:
    for step in range(26, 60, 2):
        result = run(SAVING.replace(crashes=(step,), targets=(4, 6)))
        assert not result.violations
        if result.tables[0].rows:
            assert result.refused
            return
    raise AssertionError("no crash came after a claim")


def test_a_process_with_another_version_of_a_column_is_refused() -> None:
    work = SAVING.replace(versions={"a": "1"}, visits=("config",))
    for step in range(26, 60, 2):
        result = run(work.replace(crashes=(step,)))
        assert not result.violations
        if result.visits:
            assert result.outcomes == ["crash", "success"]
            return
    raise AssertionError("no crash came after a claim")


# Fit, and what cannot be used


@pytest.mark.parametrize("faults", [(), (Fault("a", 1, 1, "permanent"),)])
def test_a_fitted_workload_stays_as_it_is(faults: Sequence[Fault]) -> None:
    backend = RayBackend()
    columns = (column("a"), column("b"), column("c", "b"))
    once = backend.fit(Workload(columns, 4, faults=tuple(faults)))
    assert once is not None
    assert backend.fit(once) == once
    assert (once.columns == columns) is (not faults)


def test_a_workload_that_limits_too_many_resources_is_not_asked_for() -> None:
    many = {f"r{number}": 1 for number in range(instance.RESOURCES_MAX + 1)}
    assert RayBackend().fit(WORK.replace(limits=Limits(1, many))) is None


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SpecError, match=r"pip install '\.\[ray\]'"):
        RayBackend()


def test_a_cluster_without_the_resources_for_limits_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"is_initialized": lambda: True, "cluster_resources": lambda: {"CPU": 8.0}}
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(**there))
    with pytest.raises(SpecError, match="no resource 'cellspec_workers'; start one node with"):
        RayBackend()


# Uses of Ray that are wrong


class ForgetsDependency(Driver):
    """Does not give a task the last column that it needs."""

    def needs_of(self, node: NodeId) -> list[Key]:
        left_out = [self.rules.columns[need].name for need in self.rule_of(node).needs[-1:]]
        return [key for key in super().needs_of(node) if key[0] not in left_out]

    def spec_of(self, node: NodeId, rows: Iterable[int], *, gave_up: bool) -> engine.Spec:
        spec = super().spec_of(node, rows, gave_up=gave_up)
        return engine.Spec(**{**fields_of(spec), "needs": spec.needs[:-1]})


class ForgetsRow(Driver):
    """A barrier is not given the last row of its scope, but something made up."""

    def submit(self, node: NodeId, *, gave_up: bool = False) -> None:
        self.made_up = isinstance(node, BarrierNodeId)
        super().submit(node, gave_up=gave_up)

    def input_of(self, key: Key) -> Any:
        return "made up" if self.made_up and key[1] == 3 else super().input_of(key)


class ForgetsOrder(Driver):
    """A task of an ordered column is not given the one before it."""

    def after(self, node: NodeId) -> list[Key]:  # noqa: ARG002
        return []


class ForgetsWorkers(Driver):
    """Does not say that a task takes a worker."""

    def options_of(self, node: NodeId) -> dict[str, Any]:
        return {**super().options_of(node), "resources": {}}


class ForgetsResource(Driver):
    """Does not name the resources of a task beside a worker."""

    def options_of(self, node: NodeId) -> dict[str, Any]:
        options = super().options_of(node)
        taken = {name: part for name, part in options["resources"].items() if "workers" in name}
        return {**options, "resources": taken}


class RetriesOnceMore(Driver):
    """Tells Ray the number of attempts for that of retries."""

    def options_of(self, node: NodeId) -> dict[str, Any]:
        return {**super().options_of(node), "max_retries": self.probe.work.failures.max_attempts}


class NeverRetries(Driver):
    """Has Ray repeat no call that failed."""

    def options_of(self, node: NodeId) -> dict[str, Any]:
        return {**super().options_of(node), "retry_exceptions": False}


class RetriesWhatCannotSucceed(Driver):
    """Takes a failure of a barrier for good, and makes the call again all the same."""

    def failed(self, node: NodeId, error: Exception) -> None:
        if isinstance(node, BarrierNodeId):
            self.submit(node)
            for other, given in list(self.given.items()):
                if any(key[0] == node.column for key in given.inputs):
                    self.submit(other)
        else:
            super().failed(node, error)


class DropsSilently(Driver):
    """Does not record that rows were dropped."""

    class state_class(DriverState):  # noqa: N801 - the name that `Driver` has for it
        def drop(self, row: int, column: str) -> None:
            self.dropped[row] = column
            self.tracker.mark_dropped(row)


class ClaimsFirst(Driver):
    """Claims rows that are not written yet."""

    class state_class(DriverState):  # noqa: N801 - the name that `Driver` has for it
        def save(self) -> None:
            self.probe.checkpoint_begin(self.claim())
            self.probe.checkpoint_durable()
            super().save()


class RestoresBarrier(Driver):
    """A barrier that has run in an earlier run counts as complete; others take its output."""

    class state_class(DriverState):  # noqa: N801 - the name that `Driver` has for it
        def restore(self) -> None:
            super().restore()
            for rule in self.graph.rules.columns:
                if rule.is_barrier and self.claimed[rule.name]:
                    self.tracker.mark_complete(self.graph.barrier_node(rule.index, 0))
                    for row in range(self.claimed[rule.name], self.graph.num_records):
                        self.settle(rule.name, row, self.values[rule.name, 0])


class ReadsOnlyTheRest(Driver):
    """A barrier that runs again reads the rows that are left, and not those that are claimed."""

    def rows_of(self, node: NodeId) -> list[int]:
        rows = super().rows_of(node)
        if isinstance(node, BarrierNodeId):
            return [row for row in rows if row >= self.state.claimed[node.column]]
        return rows


class RunsClaimedAgain(Driver):
    """A run that resumes makes every cell again."""

    class state_class(DriverState):  # noqa: N801 - the name that `Driver` has for it
        def restore(self) -> None:
            super().restore()
            self.values.clear()
            self.claimed = dict.fromkeys(self.claimed, 0)
            self.tracker = CompletionTracker.for_graph(self.graph)


def fields_of(spec: engine.Spec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in engine.Spec.__slots__}


TWO = Workload(CHAIN[:2], 3, ends=tuple(End(0, "a", row, 1, 128.0) for row in range(3)))
WIDE = Workload(tuple(map(column, "ab")), 6, latency_s=dict.fromkeys("ab", 1.0))
BROKEN: dict[str, tuple[type[Driver], Workload, str]] = {
    "forgets a dependency of a barrier": (ForgetsDependency, TWO, "BARR-01"),
    "forgets a dependency of a cell": (
        ForgetsDependency,
        TWO.replace(columns=(column("a"), column("b", "a"))),
        "SCHED-01",
    ),
    "forgets a row of a barrier": (
        ForgetsRow,
        WORK.replace(limits=Limits(), ends=(End(0, "a", 3, 1, 128.0),)),
        "BARR-01",
    ),
    "forgets the order": (
        ForgetsOrder,
        WIDE.replace(columns=(column("a", traits=T.ORDERED), column("b"))),
        "SCHED-13",
    ),
    "forgets workers": (ForgetsWorkers, WIDE.replace(limits=Limits(1)), "SCHED-06"),
    "forgets a resource": (
        ForgetsResource,
        WIDE.replace(limits=Limits(4, {"r": 1}, {"a": "r", "b": "r"})),
        "SCHED-11",
    ),
    "retries once more": (
        RetriesOnceMore,
        WORK.replace(faults=(Fault("a", 1), Fault("a", 1, 2))),
        "FAIL-02",
    ),
    "never retries": (
        NeverRetries,
        WORK.replace(failures=FailurePolicy(3), faults=(Fault("a", 1),)),
        "DROP-01",
    ),
    "retries what cannot succeed": (
        RetriesWhatCannotSucceed,
        WORK.replace(faults=(Fault("v", 0),)),
        "FAIL-02",
    ),
    "drops silently": (
        DropsSilently,
        WORK.replace(faults=(Fault("c", 1, 1, "permanent"),)),
        "DROP-04",
    ),
    "claims first": (ClaimsFirst, SAVING, "CKPT-10"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_use_of_ray_that_is_wrong_is_caught_by_the_clause_that_it_breaks(name: str) -> None:
    driver, work, clause = BROKEN[name]
    assert broken(run(work)) == "", "what is right must not be blamed"
    result = run(work, driver)
    assert broken(result) == clause, result.explanation


@pytest.mark.parametrize(
    ("driver", "clause"),
    [
        (RestoresBarrier, "SCHED-01"),
        (ReadsOnlyTheRest, "BARR-06"),
        (RunsClaimedAgain, "SCHED-05"),
    ],
)
def test_a_resume_that_is_wrong_is_caught_by_the_clause_that_it_breaks(
    driver: type[Driver], clause: str
) -> None:
    result = resumed_half_way(driver)
    assert broken(result) == clause, result.explanation


def reads_dropped(call: Any, spec: engine.Spec, scope: int, wanted: Any, *inputs: Any) -> Any:
    """The task of a barrier that takes a dropped row for one without a value."""
    plain = ["" if isinstance(value, Dropped) else value for value in inputs]
    return run_barrier(call, spec, scope, wanted, *plain)


def test_a_barrier_that_reads_a_dropped_row_is_caught() -> None:
    class ReadsDropped(Driver):
        def task(self, function: Callable[..., Any], node: NodeId, rows: int) -> Any:
            barrier = isinstance(node, BarrierNodeId)
            return super().task(reads_dropped if barrier else function, node, rows)

    result = run(WORK.replace(faults=(Fault("a", 1, 1, "permanent"),)), ReadsDropped)
    assert broken(result) == "BARR-06", result.explanation


# A worker that is killed; last, for Ray starts another only when it is wanted


class Telling:
    """A probe that notes its callers, in a file for each cell."""

    def __init__(self, call: RemoteProbe, folder: Path) -> None:
        self.call = call
        self.folder = folder

    def cell(self, column: str, row: int, inputs: Any, attempt: int | None = None) -> str:
        (self.folder / f"{column}-{row}").write_text(str(os.getpid()))
        return self.call.cell(column, row, inputs, attempt)

    def barrier(self, column: str, scope: int, *more: Any) -> list[str]:
        (self.folder / f"{column}-{scope}").write_text(str(os.getpid()))
        return self.call.barrier(column, scope, *more)


def killing(name: str, position: int, folder: Path) -> type[Driver]:
    """A driver whose first call of one cell or barrier is cut off by the death of its worker."""

    class Killing(Driver):
        def __init__(self, ray: Any, probe: Probe, call: RemoteProbe) -> None:
            super().__init__(ray, probe, Telling(call, folder))  # type: ignore[arg-type]

        def run(self) -> None:
            killer = threading.Thread(target=self.kill)
            killer.start()
            super().run()
            killer.join()

        def kill(self) -> None:
            while not any(
                entry["event"] == "start"
                and entry["column"] == name
                and position in (entry.get("rows"), entry.get("scope"))
                for entry in list(self.probe.log)
            ):
                time.sleep(0.005)
            os.kill(int((folder / f"{name}-{position}").read_text()), signal.SIGKILL)

    return Killing


def endless(name: str, position: int) -> Workload:
    """A workload whose first call of one cell or barrier does not end by itself."""
    return WORK.replace(ends=(End(0, name, position, 1, 6400.0),))


@pytest.mark.parametrize(("name", "position"), [("a", 1), ("v", 0)])
def test_the_call_of_a_worker_that_is_killed_is_made_again(
    tmp_path: Path, name: str, position: int
) -> None:
    work = endless(name, position).replace(failures=FailurePolicy(2))
    result = run(work, killing(name, position, tmp_path))
    assert not result.violations, result.explanation
    assert values_of(result, "fail", "column", "failure") == [(name, "retryable")]
    assert (name, 2) in values_of(result, "start", "column", "attempt")
    assert set(result.tables[0].rows) == set(range(4))


def test_a_row_is_lost_if_its_last_attempt_died_with_the_worker(tmp_path: Path) -> None:
    """No clause is broken: Ray counts the death of the worker as a failure of the call."""
    result = run(endless("a", 1), killing("a", 1, tmp_path))
    assert not result.violations, result.explanation
    assert values_of(result, "drop", "rows", "column") == [(1, "a")]
    assert set(result.tables[0].rows) == {0, 2, 3}
