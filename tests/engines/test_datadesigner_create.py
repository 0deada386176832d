"""DataDesigner through `create`: a whole workload, its crashes and its resumes, in virtual time."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance import Fault, Probe, Workload, run_workload
from cellspec.conformance.campaign.smoke import smoke
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import check_capabilities, reasons_of
from cellspec.conformance.run.values import SKIPPED
from cellspec.conformance.run.workload import End, StorageFault, Visit
from cellspec.engines.datadesigner import create
from cellspec.engines.datadesigner.create import CreateBackend
from cellspec.engines.datadesigner.handoff import Handoff
from cellspec.machine.machine import FailurePolicy, Limits
from cellspec.virtualtime.loop import run as run_virtually
from tests.engines.door_cases import DROPPED_IN_A_BARRIER, expect_a_drop_and_no_skip

pytestmark = pytest.mark.datadesigner

T = ExecutionTraits
A = ColumnDescriptor("a", side_effects=["a_more"])
V = ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a_more"])
C = ColumnDescriptor("c", dependencies=["v", "a"])
TWO_GROUPS = Workload((A, V, C), rows=2, limits=Limits(group_rows=1), latency_s={"v": 0.25})
ONE_BY_ONE = Workload((A, V, C), rows=4, limits=Limits(group_rows=2, groups=1))
STOPPING = Workload(
    (A, ColumnDescriptor("c", dependencies=["a"])),
    rows=4,
    limits=Limits(workers=1),
    failures=FailurePolicy(3, stop_window=2),
    faults=(Fault("a", 1, failure="permanent"), Fault("a", 2, failure="permanent")),
)
ROOTS = Workload(
    (
        ColumnDescriptor("r", traits=T.START),
        ColumnDescriptor("v", traits=T.START | T.BATCH_BARRIER),
        ColumnDescriptor("x", dependencies=["r", "v"]),
    ),
    rows=4,
    batch_size=2,
    limits=Limits(group_rows=2, groups=1),
)
EXTENDED = Workload((A, ColumnDescriptor("c", dependencies=["a"])), rows=4, batch_size=3)


@pytest.fixture(scope="module")
def backend() -> CreateBackend:
    pytest.importorskip(
        "data_designer.engine", reason="needs the extra cellspec[datadesigner], which is absent"
    )
    return CreateBackend()


@pytest.fixture
def resuming(backend: CreateBackend) -> CreateBackend:
    if "resume" not in backend.capabilities:
        pytest.skip(f"DataDesigner {backend.version} does not resume")
    return backend


def run(backend: CreateBackend, work: Workload, **options: Any) -> RunResult:
    fitted = backend.fit(work)
    assert fitted is not None
    assert backend.fit(fitted) == fitted
    return run_workload(backend, fitted, **options)


def broken(result: RunResult) -> list[str]:
    return [finding.clause for finding in result.violations]


def test_smoke(backend: CreateBackend) -> None:
    assert smoke(lambda work: run_workload(backend, work), backend.fit) is None


def test_a_barrier_reads_one_row_group(backend: CreateBackend) -> None:
    result = run(backend, TWO_GROUPS.replace(rows=3, limits=Limits(group_rows=2)))
    assert not result.violations
    reads = [event["reads"] for event in result.events if event.get("reads")]
    assert sorted(map(list, reads)) == [[(0, 2)], [(2, 3)]]
    assert sorted(result.tables[-1].rows) == [0, 1, 2]


def test_a_barrier_takes_virtual_time(backend: CreateBackend) -> None:
    """Its function blocks in a thread, and other cells go on meanwhile."""
    work = TWO_GROUPS.replace(latency_s={"v": 4.0, "a": 1.0}, limits=Limits(group_rows=1, groups=2))
    events = run(backend, work).events
    times = {
        (event["event"], event.get("scope", event.get("rows"))): event["t"]
        for event in events
        if event.get("column") == "v"
    }
    assert times["complete", 0] > times["start", 0]
    assert times["start", 1] < times["complete", 0]


def test_skips_spread_as_the_workload_says(backend: CreateBackend) -> None:
    if "skips" not in backend.capabilities:
        pytest.skip(f"DataDesigner {backend.version} has no skip conditions")
    columns = (
        ColumnDescriptor("a", may_skip=True),
        ColumnDescriptor("b", dependencies=["a"]),
        ColumnDescriptor("v", traits=T.BARRIER, dependencies=["b"]),
        ColumnDescriptor("c", dependencies=["v"], propagate_skip=False),
    )
    result = run(backend, Workload(columns, rows=2, skips=(("a", 1),)))
    assert not result.violations
    row = result.tables[-1].rows[1]
    assert (row["a"], row["b"], row["v"]) == (SKIPPED, SKIPPED, SKIPPED)
    assert row["c"] is not SKIPPED


def test_a_row_that_is_dropped_during_a_barrier_is_not_skipped_at_its_end(
    backend: CreateBackend,
) -> None:
    if "skips" not in backend.capabilities:
        pytest.skip("the release has no skip conditions")
    expect_a_drop_and_no_skip(run(backend, DROPPED_IN_A_BARRIER))


def test_a_failure_for_good_drops_its_row(backend: CreateBackend) -> None:
    faults = (Fault("a", 1, failure="permanent"),)
    result = run(backend, TWO_GROUPS.replace(rows=3, limits=Limits(group_rows=2), faults=faults))
    assert not result.violations
    assert result.tables[-1].dropped == {1}
    assert [event["column"] for event in result.events if event["event"] == "drop"] == ["a"]


def test_a_failure_of_the_moment_is_tried_again(backend: CreateBackend) -> None:
    if "retries" not in backend.capabilities:
        pytest.skip(f"DataDesigner {backend.version} retries nothing in custom columns")
    faults = (Fault("v", 0), Fault("a", 1, failure="backpressure"))
    result = run(backend, TWO_GROUPS.replace(faults=faults), waive=("SCHED-09",))
    assert not result.violations
    assert len(result.tables[-1].rows) == 2


def test_a_run_in_which_every_row_fails_has_done_its_work(backend: CreateBackend) -> None:
    faults = tuple(Fault("a", row, failure="permanent") for row in range(2))
    result = run(backend, TWO_GROUPS.replace(faults=faults))
    assert not result.violations
    assert result.outcomes == ["success"]
    assert result.tables[-1].dropped == {0, 1}


# Crashes and resumes


@pytest.mark.parametrize("seed", [0, 1], ids=["if possible", "always"])
def test_a_crash_at_any_step_is_resumed(resuming: CreateBackend, seed: int) -> None:
    work = TWO_GROUPS.replace(seed=seed)
    whole = run(resuming, work).tables[-1]
    step, outcomes = 0, ["crash"]
    while "crash" in outcomes:
        step += 1
        result = run(resuming, work.replace(crashes=(step,)))
        outcomes = result.outcomes
        assert not result.violations, f"step {step}: {result.violations[0]}"
        assert result.tables[-1] == whole
    assert step > 30


def test_a_group_that_is_saved_is_not_made_again(resuming: CreateBackend) -> None:
    work = TWO_GROUPS.replace(rows=3, limits=Limits(group_rows=1, groups=1))
    steps = len(run(resuming, work).events)
    result = run(resuming, work.replace(crashes=(steps - 2,)))
    assert not result.violations
    resume = next(event for event in result.events if event["event"] == "resume")
    assert min(resume["claim"].values()) > 0
    again = [event for event in result.events if event["seq"] > resume["seq"]]
    made = [event["rows"] for event in again if event["event"] == "complete" and "rows" in event]
    assert made
    assert min(made) >= min(resume["claim"].values())


class _Counts(CreateBackend):
    """Notes the cells of `a` that each run of the process starts."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[list[int]] = []

    async def run(self, probe: Probe) -> None:
        await super().run(probe)
        self.started.append(
            [
                event["rows"]
                for event in probe.log
                if (event["event"], event.get("column")) == ("start", "a")
            ]
        )


def test_a_row_group_of_which_nothing_is_left_is_made_again(
    resuming: CreateBackend,  # noqa: ARG001
) -> None:
    """Defect of 0.9.6: such a group has no file, and so the next run pays for its calls again."""
    backend = _Counts()
    work = TWO_GROUPS.replace(faults=(Fault("a", 1, failure="permanent"),), targets=(2, 3))
    assert broken(run(backend, work)) == ["CKPT-22"]
    backend.started.clear()
    assert run(backend, work, waive=("CKPT-22",)).outcomes == ["success", "success"]
    assert backend.started == [[0, 1], [1, 2]]


def test_a_dataset_is_extended(resuming: CreateBackend) -> None:
    result = run(resuming, EXTENDED.replace(targets=(4, 9)))
    assert not result.violations
    assert [sorted(table.rows) for table in result.tables] == [list(range(4)), list(range(9))]


def test_fewer_rows_than_are_there_are_refused(resuming: CreateBackend) -> None:
    result = run(resuming, EXTENDED.replace(targets=(4, 3)))
    assert not result.violations
    assert result.outcomes == ["success", "refused"]
    assert "num_records=3" in result.refused


class _Changed(CreateBackend):
    """Asks for another config in the second run."""

    def __init__(self, change: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.change = change

    def resume_mode(self, probe: Probe) -> str:
        return "always" if probe.incarnation else super().resume_mode(probe)

    def config(self, probe: Probe) -> Any:
        config = super().config(probe)
        if probe.incarnation:
            plain, change, dd = config.builder, self.change, self.release.config
            config.builder = lambda function_of: change(dd, plain(function_of))  # type: ignore[method-assign]
        return config


def test_a_config_with_another_column_is_refused(resuming: CreateBackend) -> None:  # noqa: ARG001
    def change(dd: Any, builder: Any) -> Any:
        expression = dd.ExpressionColumnConfig(name="more", expr="{{ a }}")
        return builder.add_column(expression)

    result = run(_Changed(change), EXTENDED.replace(targets=(4, 9)))
    assert result.outcomes == ["success", "refused"]
    assert "does not match" in str(result.violations[0])


def test_a_config_with_another_time_out_is_resumed(resuming: CreateBackend) -> None:  # noqa: ARG001
    def change(dd: Any, builder: Any) -> Any:
        parameters = dd.ChatCompletionInferenceParams(timeout=7)
        builder.delete_model_config("none")
        return builder.add_model_config(
            dd.ModelConfig(
                alias="none", model="none", provider="none", inference_parameters=parameters
            )
        )

    result = run(_Changed(change), EXTENDED.replace(targets=(4, 9)))
    assert not result.violations
    assert sorted(result.tables[-1].rows) == list(range(9))


# Variants that are broken on purpose


class _Forgets(CreateBackend):
    """Starts anew instead of going on."""

    def resume_mode(self, probe: Probe) -> str:  # noqa: ARG002 - whatever is there
        return "never"


class _AdmitsAll(CreateBackend):
    """Does not keep to the limit of row groups."""

    def config(self, probe: Probe) -> Any:
        config = super().config(probe)
        plain = config.run_config()
        config.run_config = lambda: plain.model_copy(update={"max_concurrent_row_groups": 9})  # type: ignore[method-assign]
        return config


def test_a_resume_that_forgets_is_caught(resuming: CreateBackend) -> None:  # noqa: ARG001
    result = run(_Forgets(), TWO_GROUPS.replace(targets=(2, 3)))
    assert broken(result) == ["SCHED-05"]


def test_a_limit_that_is_not_kept_is_caught(backend: CreateBackend) -> None:
    if "max_concurrent_row_groups" not in backend.release.options:
        pytest.skip(f"DataDesigner {backend.version} has no such limit")
    result = run(_AdmitsAll(), TWO_GROUPS.replace(limits=Limits(group_rows=1, groups=1)))
    assert broken(result) == ["GROUP-02"]


@pytest.mark.parametrize("write", ["data", "claim"])
def test_a_row_group_that_cannot_be_saved_is_missed(resuming: CreateBackend, write: str) -> None:
    """Defect of 0.9.7: it logs the error, returns as if all were well, and the rows are gone."""
    faults = (StorageFault("data" if write == "data" else "claim", 2),)
    result = run(resuming, ONE_BY_ONE.replace(storage_faults=faults))
    assert broken(result) == ["CKPT-23"]
    result = run(resuming, ONE_BY_ONE.replace(storage_faults=faults), waive=("CKPT-23", "CKPT-22"))
    assert result.outcomes == ["success"]
    assert broken(result) == ["TABLE-04"]


def test_a_disk_that_is_full_from_the_beginning_fails_the_run(resuming: CreateBackend) -> None:
    work = ONE_BY_ONE.replace(storage_faults=(StorageFault("data", lasts=True),))
    result = run(resuming, work)
    assert not result.violations
    assert result.outcomes == ["failed"]


# Other configurations in one folder


@pytest.mark.parametrize("faults", [(), (StorageFault("data", lasts=True),)])
def test_fewer_rows_are_asked_for_only_after_a_run_that_kept_what_it_made(
    resuming: CreateBackend, faults: tuple[StorageFault, ...]
) -> None:
    work = Workload((A,), rows=2, targets=(2, 1), limits=Limits(group_rows=1))
    fitted = resuming.fit(work.replace(storage_faults=faults))
    assert fitted is not None
    assert fitted.targets == ((2, 2) if faults else (2, 1))


@pytest.mark.clause("STOP-04")
def test_a_run_may_fail_whose_only_file_no_resume_would_find(resuming: CreateBackend) -> None:
    """No claim says which rows that file holds, for the first group is lost and leaves none."""
    work = Workload(
        (ColumnDescriptor("a"),),
        rows=1,
        targets=(1, 2),
        limits=Limits(group_rows=1),
        faults=(Fault("a", 0, failure="permanent"),),
        storage_faults=(StorageFault("claim"),),
    )
    result = run(resuming, work)
    assert not result.violations
    assert result.outcomes == ["success", "failed"]


@pytest.mark.parametrize("seed", [0, 1], ids=["if possible", "always"])
@pytest.mark.parametrize("visit", ["config", "batch_size", "pipeline"])
def test_a_process_of_another_configuration_leaves_the_dataset_as_it_is(
    resuming: CreateBackend, visit: Visit, seed: int
) -> None:
    versions = {"a": "1", "v": "1", "c": "1"}
    work = ONE_BY_ONE.replace(crashes=(34,), visits=(visit,), seed=seed, versions=versions)
    result = run(resuming, work)
    assert not result.violations
    assert (result.visits, result.outcomes) == ([visit], ["crash", "success"])


class _SeesNoChange(CreateBackend):
    """Takes a visitor's config for that of the dataset."""

    def config(self, probe: Probe) -> Any:
        config = super().config(probe)
        plain = config.run_config()
        config.run_config = lambda: plain.model_copy(update={"buffer_size": 2})  # type: ignore[method-assign]
        return config


def test_a_visitor_that_is_let_in_is_caught(resuming: CreateBackend) -> None:  # noqa: ARG001
    work = ONE_BY_ONE.replace(crashes=(34,), visits=("batch_size",))
    assert broken(run(_SeesNoChange(), work)) == ["CKPT-21"]


# Early stops


def test_a_run_stops_early_when_all_calls_of_the_window_failed(backend: CreateBackend) -> None:
    result = run(backend, STOPPING)
    assert not result.violations
    assert result.outcomes == ["stopped"]
    assert sorted(result.tables[-1].rows) == [0]
    assert result.tables[-1].dropped == {1, 2}


def test_a_dataset_that_stopped_early_cannot_be_completed(resuming: CreateBackend) -> None:
    """Defect of 0.9.7: what an early stop left undone in a row group is taken for done."""
    ends = (End(0, "a", 0, 1, 0.05), End(0, "c", 0, 1, 0.1), End(0, "a", 3, 1, 9.0))
    work = STOPPING.replace(targets=(4, 8), ends=ends)
    result = run(resuming, work, waive=("SCHED-09",))
    assert result.outcomes == ["stopped", "success"]
    assert broken(result) == ["SCHED-10"]
    assert 3 not in result.tables[-1].rows


@pytest.mark.clause("STOP-08")
def test_an_early_stop_keeps_nothing_of_a_row_group_without_survivors(
    resuming: CreateBackend,
) -> None:
    """The row that was dropped leaves no file, as of any lost group; so no claim can hold it."""
    work = Workload(
        (ColumnDescriptor("a"), ColumnDescriptor("b")),
        rows=1,
        targets=(1, 2),
        failures=FailurePolicy(3, stop_window=1),
        faults=(Fault("b", 1, failure="permanent"),),
    )
    assert broken(run(resuming, work)) == ["STOP-08"]


@pytest.mark.clause("STOP-08")
def test_a_dropped_row_without_a_file_is_no_late_write(resuming: CreateBackend) -> None:
    """Storage refused the file of row 1, and nothing was written after that."""
    if not resuming.release.roots:
        pytest.skip(f"DataDesigner {resuming.version} needs an input for each custom column")
    work = Workload(
        (ColumnDescriptor("a", traits=T.START),),
        rows=1,
        targets=(1, 4),
        batch_size=1,
        failures=FailurePolicy(3, stop_window=2),
        faults=(Fault("a", 0, failure="permanent"), Fault("a", 3, failure="permanent")),
        ends=(End(1, "a", 1, 1, 0.5), End(1, "a", 2, 1, 0.5), End(1, "a", 0, 1, 9.0)),
        storage_faults=(StorageFault("data"),),
    )
    result = run(resuming, work)
    assert not result.violations
    assert result.outcomes[-1] == "stopped"


def test_a_run_that_may_stop_keeps_its_faults_within_fewer_rows(backend: CreateBackend) -> None:
    work = STOPPING.replace(
        rows=9, targets=(2, 5, 9), faults=(Fault("a", 8, failure="permanent"),), crashes=(3,)
    )
    fitted = backend.fit(work)
    assert fitted is not None
    assert (fitted.targets, fitted.crashes) == ((2, 6), ())
    assert [fault.position for fault in fitted.faults] == [2]
    assert backend.fit(fitted) == fitted


def test_what_is_retried_goes_on_after_an_early_stop(backend: CreateBackend) -> None:
    """Defect of 0.9.7: a salvage round looks only at its end whether the run is to stop."""
    faults = (Fault("a", 0), Fault("a", 1), Fault("a", 0, 2, "permanent"))
    work = STOPPING.replace(faults=faults, rows=2, failures=FailurePolicy(3, 1))
    assert broken(run(backend, work)) == ["STOP-01"]


# Columns without inputs


def test_a_column_without_inputs_waits_for_nothing(backend: CreateBackend) -> None:
    if not backend.release.roots:
        pytest.skip(f"DataDesigner {backend.version} needs an input for each custom column")
    result = run(backend, ROOTS)
    assert not result.violations
    starts = [event["column"] for event in result.events if event["event"] == "start"]
    assert starts[:2] == ["r", "v"]
    assert sorted(result.tables[-1].rows) == [0, 1, 2, 3]


def test_a_column_without_inputs_is_numbered_by_the_plan_of_row_groups(
    resuming: CreateBackend,
) -> None:
    if not resuming.release.roots:
        pytest.skip(f"DataDesigner {resuming.version} needs an input for each custom column")
    work = ROOTS.replace(columns=(ROOTS.columns[0],), targets=(3, 5), limits=Limits())
    result = run(resuming, work)
    assert not result.violations
    assert sorted(result.tables[-1].rows) == list(range(5))


def test_a_full_column_without_inputs_is_made_twice(backend: CreateBackend) -> None:
    """Defect of 0.9.7: a drop takes it for one that has become ready."""
    if not backend.release.roots:
        pytest.skip(f"DataDesigner {backend.version} needs an input for each custom column")
    faults = (Fault("r", 0, failure="permanent"),)
    result = run(backend, ROOTS.replace(faults=faults, latency_s={"r": 0.25, "v": 4.0}))
    assert broken(result) == ["SCHED-02"]


# What it cannot be asked for


def test_each_capability_that_is_left_out_has_a_reason(backend: CreateBackend) -> None:
    check_capabilities(backend)
    unasked, unclaimed = reasons_of(backend)
    assert all(unasked.values())
    assert not set(unclaimed) & backend.capabilities
    assert {"streaming", "ordered", "timeouts", "interrupts"} <= set(unclaimed)


# The adapter itself


def test_two_runs_are_equal_whatever_the_hash_seed(backend: CreateBackend) -> None:  # noqa: ARG001
    code = (
        "import json; from tests.engines import test_datadesigner_create as t\n"
        "b = t.CreateBackend(); w = t.TWO_GROUPS.replace(rows=5, order_seed=3, crashes=(20,))\n"
        "w = w.replace(columns=(t.ColumnDescriptor('s', may_skip=True), *w.columns))\n"
        "w = w.replace(skips=(('s', 2),))\n"
        "print('events', json.dumps(t.run(b, w, waive=('SCHED-09',)).events))\n"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "77")
    ]
    assert printed[0] == printed[1]
    assert len(json.loads(printed[0].removeprefix("events "))) > 40


def test_calls_are_cancelled_in_the_order_of_their_start(backend: CreateBackend) -> None:
    """The scheduler keeps its tasks in a set, whose order differs from run to run."""
    work = Workload(
        (ColumnDescriptor("f"), ColumnDescriptor("a")),
        rows=40,
        failures=FailurePolicy(3, stop_window=2),
        latency_s={"f": 0.25, "a": 1.0},
        faults=tuple(Fault("f", row, failure="permanent") for row in range(40)),
    )
    events = run(backend, work).events
    cancelled = [(e["column"], e["rows"]) for e in events if e["event"] == "cancel"]
    started = [(e["column"], e["rows"]) for e in events if e["event"] == "start"]
    assert len(cancelled) > 40
    assert cancelled == [cell for cell in started if cell in cancelled]


def test_all_runs_share_a_database_and_none_sees_the_table_of_another(
    backend: CreateBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = pytest.importorskip("duckdb")
    run(backend, ONE_BY_ONE)
    monkeypatch.setattr(duckdb, "connect", lambda *_: pytest.fail("another database is opened"))
    assert run(backend, TWO_GROUPS).tables[-1].rows.keys() == {0, 1}
    assert run(backend, ONE_BY_ONE).tables[-1].rows.keys() == {0, 1, 2, 3}


def test_figures_that_are_left_out_change_nothing_of_a_run(
    resuming: CreateBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = [ONE_BY_ONE.replace(seed=1, crashes=(12,)), STOPPING.replace(seed=3)]
    quiet = [run(resuming, work) for work in works]
    monkeypatch.setattr(create, "is_watched", lambda _: True)
    watched = [run(resuming, work) for work in works]
    assert [one.events for one in quiet] == [one.events for one in watched]
    assert [one.tables for one in quiet] == [one.tables for one in watched]


def test_statistics_of_a_dataset_are_made_in_one_workload_of_eight_and_in_the_smallest(
    backend: CreateBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise ValueError("no statistics")

    profiler = backend.release.interface.DataDesignerDatasetProfiler
    monkeypatch.setattr(profiler, "profile_dataset", fail)
    broken = [bool(run(backend, ONE_BY_ONE.replace(seed=seed)).violations) for seed in range(9)]
    assert broken == [True, *[False] * 7, True]


def test_nothing_is_left_behind(
    backend: CreateBackend, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = backend.release
    owners = [
        release.builder,
        release.scheduler,
        release.custom,
        release.storage,
        release.storage.ArtifactStorage,
        release.frame,
    ]
    before = [dict(vars(owner)) for owner in owners]
    level = logging.getLogger("data_designer").level
    called: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *args: called.append(args))
    for work in (TWO_GROUPS, TWO_GROUPS.replace(crashes=(12,)), TWO_GROUPS.replace(crashes=(3,))):
        run(backend, work)
    for owner, names in zip(owners, before, strict=True):
        assert {name: vars(owner)[name] for name in names} == names
    assert logging.getLogger("data_designer").level == level
    assert capfd.readouterr() == ("", "")
    assert not called


def test_a_handoff_keeps_the_thread_and_the_loop_apart() -> None:
    seen: list[str] = []
    steps = Handoff()

    async def sleeps(name: str, seconds: float) -> str:
        seen.append(f"{name} begins")
        await asyncio.sleep(seconds)
        seen.append(f"{name} ends")
        return name

    def blocking(name: str, seconds: float) -> str:
        assert steps.wait_for(sleeps(name, seconds)) == name
        return steps.wait_for(sleeps(name, seconds))

    async def main() -> list[str]:
        both = [steps.run(blocking, "x", 2.0), steps.run(blocking, "y", 3.0)]
        return list(await asyncio.gather(*both))

    assert run_virtually(main) == ["x", "y"]
    assert seen == [
        "x begins",
        "y begins",
        "x ends",
        "x begins",
        "y ends",
        "y begins",
        "x ends",
        "y ends",
    ]


def test_a_handoff_unwinds_a_function_that_is_cut_short() -> None:
    steps = Handoff()
    seen: list[str] = []

    def blocking() -> None:
        try:
            steps.wait_for(asyncio.sleep(10))
        finally:
            seen.append("unwound")
            with pytest.raises(asyncio.CancelledError):
                steps.wait_for(asyncio.sleep(1))

    async def main() -> None:
        task = asyncio.create_task(steps.run(blocking))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        seen.append("cancelled")

    run_virtually(main)
    assert seen == ["unwound", "cancelled"]
    with pytest.raises(RuntimeError, match="did not start"):
        steps.wait_for(asyncio.sleep(0))
