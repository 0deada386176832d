"""DataDesigner's scheduler, driven by hand: the adapter adds nothing and hides nothing.

What the newest release breaks is listed in `KNOWN`, clause by clause, with where it comes from. A
test that finds another clause broken has found a defect of the adapter, or a new one of
DataDesigner's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cellspec import ColumnDescriptor
from cellspec import ExecutionTraits as T
from cellspec.conformance.campaign.campaign import drawn_workload, run_campaign
from cellspec.conformance.campaign.causes import Causes
from cellspec.conformance.campaign.smoke import smoke
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import reasons_of
from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.workload import Fault, StorageFault, Workload
from cellspec.errors import SpecError
from cellspec.faults import BackPressure, GeneratorError, Permanent, Retryable
from cellspec.machine.machine import FailurePolicy, Limits
from tests.engines.door_cases import DROPPED_IN_A_BARRIER, expect_a_drop_and_no_skip

pytest.importorskip(
    "data_designer.engine", reason="needs the extra cellspec[datadesigner], which is absent"
)
pytestmark = pytest.mark.datadesigner

from cellspec.engines.datadesigner import SchedulerBackend, scheduler_run  # noqa: E402
from cellspec.engines.datadesigner.mocks import FAILURES, ROW, failure_of  # noqa: E402
from cellspec.engines.datadesigner.releases import FEATURES, load  # noqa: E402
from cellspec.engines.datadesigner.scheduler_fit import fitted as fitted_to  # noqa: E402

DRAWN = ("core", "ordered", "groups", "retries", "drops", "skips")

A = ColumnDescriptor("a")
B = ColumnDescriptor("b")
ROOT = ColumnDescriptor("b", traits=T.BATCH_BARRIER)
SEED = ColumnDescriptor("a", traits=T.START | T.BATCH_BARRIER | T.ORDERED)
CHAIN = (A, ColumnDescriptor("b", dependencies=["a"]))
LOST = (Fault("a", 0, failure="permanent"),)


def twice(column: str, row: int, count: int) -> tuple[Fault, ...]:
    """So many calls of a cell time out."""
    return tuple(Fault(column, row, call) for call in range(1, count + 1))


KNOWN: Mapping[str, tuple[str, Workload]] = {
    "SCHED-02": (
        "a drop makes unfinished roots ready again, as batch tasks",
        Workload((A, ROOT), rows=2, batch_size=2, faults=LOST),
    ),
    "BARR-06": (
        "a full-column root is given rows that were dropped",
        Workload((A, ROOT), rows=2, batch_size=2, limits=Limits(workers=1), faults=LOST),
    ),
    "BARR-08": (
        "a full-column root is called for a row group of which nothing is left",
        Workload((A, ROOT), rows=1, batch_size=1, limits=Limits(workers=1), faults=LOST),
    ),
    "BARR-01": (
        "an order-dependent root that is to be tried again is overtaken by the next row group",
        Workload((SEED,), rows=2, batch_size=1, faults=twice("a", 0, 1)),
    ),
    "SCHED-09": (
        "a task that waits for its turn keeps a place among the tasks in flight",
        Workload((SEED, B), rows=2, batch_size=1, seed=126, limits=Limits(workers=2)),
    ),
    "SCHED-12": (
        "a deferred task whose row group was saved during salvage is put back, and waited for",
        Workload(
            (B, ColumnDescriptor("c")),
            rows=2,
            batch_size=1,
            latency_s={"c": 2.0},
            faults=(
                Fault("b", 1),
                Fault("c", 0, failure="permanent"),
                Fault("b", 0, failure="backpressure"),
            ),
        ),
    ),
    "GROUP-07": (
        "a row group that is done in a round of salvage is saved when the whole round is over",
        Workload(
            (A,),
            rows=2,
            seed=1,
            limits=Limits(group_rows=1, groups=2),
            faults=(Fault("a", 0), Fault("a", 1)),
        ),
    ),
    "DROP-01": (
        "rounds of salvage are counted for all tasks together: b is never tried again",
        Workload(
            CHAIN,
            rows=1,
            failures=FailurePolicy(3),
            faults=(*twice("a", 0, 2), *twice("b", 0, 1)),
        ),
    ),
    "DROP-03": (
        "a row whose last attempt failed goes on until the round ends",
        Workload(
            (A, B, ColumnDescriptor("c")),
            rows=1,
            limits=Limits(workers=1),
            faults=(*twice("a", 0, 2), *twice("b", 0, 1), *twice("c", 0, 1)),
        ),
    ),
    "FAIL-02": (
        "a task that fails while another row group is salvaged gets further rounds",
        Workload(
            (A,),
            rows=2,
            limits=Limits(group_rows=1, groups=2),
            failures=FailurePolicy(3),
            latency_s={"a": 2.0},
            faults=(*twice("a", 0, 5), *twice("a", 1, 6)),
        ),
    ),
    "STOP-01": (
        "salvage goes on after an early shutdown",
        Workload(
            (A, ROOT),
            rows=5,
            batch_size=4,
            limits=Limits(workers=1),
            failures=FailurePolicy(2, stop_window=2, stop_rate=0.25),
            faults=(Fault("b", 1), Fault("b", 1, 2, "permanent")),
        ),
    ),
    "STOP-02": (
        "a root that failed is made ready again by its drop, and that counts as a success",
        Workload(
            (ROOT,),
            rows=1,
            batch_size=1,
            failures=FailurePolicy(2, stop_window=2, stop_rate=0.25),
            faults=(Fault("b", 0, failure="permanent"),),
        ),
    ),
}

FOLLOWS: Mapping[str, str] = {
    "SCHED-03": "the second task of a root column (SCHED-02) gives it once more",
    "DROP-04": "the second task of a root column (SCHED-02) ends while a drop is not recorded",
}
"""What is broken only because something else was, and that was not judged."""


@pytest.fixture(scope="module")
def backend() -> SchedulerBackend:
    return SchedulerBackend()


def run(backend: SchedulerBackend, work: Workload) -> RunResult:
    fitted = backend.fit(work)
    assert fitted is not None
    return run_workload(backend, fitted)


def drawn(backend: SchedulerBackend, profile: str, count: int) -> Iterator[Workload]:
    beside = sorted(backend.capabilities - {"counted_work"})
    for example in range(count):
        yield drawn_workload(7, profile, example, beside)


def chain(**fields: Any) -> Workload:
    columns = (ColumnDescriptor("a", traits=T.START), ColumnDescriptor("b", dependencies=["a"]))
    return Workload(columns, **{"rows": 2, **fields})


# It is wired up


def test_the_smoke_test_finds_nothing(backend: SchedulerBackend) -> None:
    assert smoke(lambda work: run_workload(backend, work), backend.fit) is None


def test_figures_that_are_left_out_change_nothing_of_a_run(
    backend: SchedulerBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = [work.replace(seed=1) for work in drawn(backend, "drops", 4)]
    quiet = [run(backend, work) for work in works]
    monkeypatch.setattr(scheduler_run, "is_watched", lambda _: True)
    watched = [run(backend, work) for work in works]
    assert [one.events for one in quiet] == [one.events for one in watched]


@pytest.mark.parametrize("profile", DRAWN)
def test_a_small_campaign_of_each_profile_breaks_only_known_clauses(
    backend: SchedulerBackend, profile: str
) -> None:
    if profile not in backend.capabilities:
        pytest.skip(f"DataDesigner {backend.version} is not asked for {profile}")

    def run(work: Workload, waive: Collection[str]) -> RunResult:
        return run_workload(backend, work, waive=tuple(waive))

    causes = Causes(run, fit=backend.fit, shrink_runs=0)
    campaign = run_campaign(
        run,
        profile,
        beside=sorted(backend.capabilities - {"counted_work"}),
        max_examples=12,
        causes=causes,
        fit=backend.fit,
    )
    found = {root.failure.clause: root.failure.detail for root in causes.roots}
    for root in causes.roots:
        found.update(root.details)
    assert {
        clause: text
        for clause, text in found.items()
        if clause not in KNOWN and clause not in FOLLOWS
    } == {}
    assert campaign.evidence.workloads == 12
    assert campaign.evidence.unequal == ""


def test_a_run_reports_groups_durable_rows_and_its_end(backend: SchedulerBackend) -> None:
    result = run(backend, chain(rows=3, limits=Limits(group_rows=2, groups=1)))
    assert result.violations == []
    kinds = [event["event"] for event in result.events]
    assert kinds.count("admit") == kinds.count("retire") == kinds.count("durable") == 2
    assert kinds[-1] == "end"
    assert sorted(result.tables[0].rows) == [0, 1, 2]


def test_side_effects_are_columns_of_the_table(backend: SchedulerBackend) -> None:
    columns = (
        ColumnDescriptor("a", traits=T.START | T.BARRIER, side_effects=["a_more"]),
        ColumnDescriptor("b", dependencies=["a_more"], side_effects=["b_more"]),
        ColumnDescriptor("c", dependencies=["b_more"]),
    )
    result = run(backend, Workload(columns, rows=2))
    assert result.violations == []
    assert set(result.tables[0].rows[0]) == {"a", "a_more", "b", "b_more", "c"}


@pytest.mark.parametrize("clause", sorted(KNOWN))
def test_each_known_clause_breaks(backend: SchedulerBackend, clause: str) -> None:
    if backend.version != "0.9.6":
        pytest.skip("the list is of DataDesigner 0.9.6")
    _, work = KNOWN[clause]
    result = run(backend, work)
    assert [one.clause for one in result.violations] == [clause]


# It is the same each time


_TRACE = """
import json, sys
from cellspec.conformance.campaign.campaign import drawn_workload
from cellspec.conformance.judge.harness import run_workload
from cellspec.engines.datadesigner import SchedulerBackend
backend = SchedulerBackend()
for profile in ("core", "retries", "drops"):
    beside = sorted(backend.capabilities - {"counted_work"})
    for example in range(6):
        work = backend.fit(drawn_workload(3, profile, example, beside))
        result = run_workload(backend, work)
        print(json.dumps([result.events, [one.clause for one in result.violations]]))
"""


def test_traces_are_equal_with_any_hash_seed() -> None:
    printed = []
    for seed in ("0", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", _TRACE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        printed.append(done.stdout)
    assert printed[0].count("\n") == 18
    assert printed[0] == printed[1]


# What it is asked for


@pytest.mark.parametrize("profile", DRAWN)
def test_fit_is_idempotent_and_only_narrows(backend: SchedulerBackend, profile: str) -> None:
    for work in drawn(backend, profile, 40):
        once = backend.fit(work)
        assert once is not None
        assert backend.fit(once) == once
        assert once.rows == work.rows
        assert [item.name for item in once.columns] == [item.name for item in work.columns]
        for new, old in zip(once.columns, work.columns, strict=True):
            assert list(new.dependencies) == list(old.dependencies)
            assert list(new.side_effects) == list(old.side_effects)
        assert set(once.skips) <= set(work.skips)
        assert len(once.faults) <= len(work.faults)
        assert once.limits.group_rows == work.limits.group_rows
        assert once.limits.groups == work.limits.groups


def test_barriers_are_asked_for_by_row_group(backend: SchedulerBackend) -> None:
    columns = (ColumnDescriptor("a"), ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]))
    fitted = backend.fit(Workload(columns, rows=4, limits=Limits(group_rows=3, groups=2)))
    assert fitted is not None
    assert (fitted.batch_size, fitted.barrier_scope) == (3, "batch")


def test_only_columns_from_scratch_are_ordered(backend: SchedulerBackend) -> None:
    columns = (
        ColumnDescriptor("a", traits=T.START | T.ORDERED),
        ColumnDescriptor("b", traits=T.ORDERED, dependencies=["a"]),
    )
    fitted = backend.fit(Workload(columns, rows=2))
    assert fitted is not None
    rules = fitted.graph().rules.columns
    assert [(rule.ordered, rule.is_barrier) for rule in rules] == [(True, True), (False, False)]


def test_backoffs_and_a_single_attempt_are_fitted_away(backend: SchedulerBackend) -> None:
    fault = Fault("a", 0, failure="backpressure", cool_down_s=3.0)
    fitted = backend.fit(chain(faults=(fault,), failures=FailurePolicy(1)))
    assert fitted is not None
    assert fitted.faults == (Fault("a", 0, failure="backpressure"),)
    assert fitted.failures.max_attempts == 2


def test_a_row_that_is_dropped_during_a_barrier_is_not_skipped_at_its_end(
    backend: SchedulerBackend,
) -> None:
    if "skips" not in backend.capabilities:
        pytest.skip("the release has no skip conditions")
    expect_a_drop_and_no_skip(run(backend, DROPPED_IN_A_BARRIER))


def test_a_skipped_cell_is_no_outcome_of_a_call(backend: SchedulerBackend) -> None:
    if "skips" not in backend.capabilities:
        pytest.skip(f"DataDesigner {backend.version} is not asked for skips")
    columns = (ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"], may_skip=True))
    work = Workload(columns, rows=2, skips=(("b", 1),))
    fitted = backend.fit(work)
    assert fitted is not None
    assert fitted.skips == work.skips
    stops = backend.fit(work.replace(failures=FailurePolicy(2, stop_window=2, stop_rate=0.5)))
    assert stops is not None
    assert stops.skips == ()


@pytest.mark.parametrize(
    ("users", "resources"),
    [
        ({"a": "r", "b": "r"}, {"r": 1, "local": 1}),
        ({"a": "r"}, {"r": 1}),
        ({}, {"r": 1}),
    ],
    ids=["all call a model", "one does", "none does"],
)
def test_where_waiting_for_a_model_takes_a_place_that_place_is_not_shared(
    backend: SchedulerBackend, users: dict[str, str], resources: dict[str, int]
) -> None:
    old = replace(
        backend.release, features=backend.release.features - {"models_take_places", "model_limits"}
    )
    limits = Limits(workers=2, resources={"r": 1}, column_resource=users)
    once = fitted_to(chain(limits=limits), old)
    assert fitted_to(once, old) == once
    assert dict(once.limits.resources) == resources
    assert dict(once.limits.column_resource) == users
    assert once.limits.workers == (None if users else 2)
    # What was asked of an old release is no limit of all tasks in a new one.
    new = replace(backend.release, features=old.features | {"models_take_places", "admits_ahead"})
    assert fitted_to(once, new).limits == Limits(once.limits.workers, {"r": 1}, users)
    # A place that no column uses is no limit of the engine either.
    idle = Limits(resources={"r": 1, "local": 1})
    assert "local" not in fitted_to(chain(limits=idle), old).limits.resources


# Failures


@pytest.mark.parametrize("kind", list(FAILURES))
def test_each_failure_becomes_an_error_of_datadesigners_own_generators(
    backend: SchedulerBackend, kind: type[GeneratorError]
) -> None:
    release = backend.release
    retryable = release.parts.scheduler._is_retryable
    for position, name in enumerate(FAILURES[kind]):
        made = failure_of(kind("text"), position, release.errors)
        assert type(made).__name__ == name
        assert retryable(made) == (kind is not Permanent)


def test_failures_end_as_the_workload_says(backend: SchedulerBackend) -> None:
    for failure, kind in (("retryable", Retryable), ("backpressure", BackPressure)):
        for row in range(len(FAILURES[kind])):
            result = run(backend, chain(rows=3, faults=(Fault("b", row, failure=failure),)))  # type: ignore[arg-type]
            assert result.violations == []
            assert sorted(result.tables[0].rows) == [0, 1, 2]
    for row in range(len(FAILURES[Permanent])):
        result = run(backend, chain(rows=4, faults=(Fault("b", row, failure="permanent"),)))
        assert result.violations == []
        assert result.tables[0].dropped == {row}


def test_a_full_column_that_fails_for_good_drops_its_row_group(backend: SchedulerBackend) -> None:
    columns = (ColumnDescriptor("a"), ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]))
    work = Workload(
        columns,
        rows=4,
        limits=Limits(group_rows=2),
        faults=(Fault("v", 0, failure="permanent"),),
    )
    result = run(backend, work)
    assert result.violations == []
    assert result.tables[0].dropped == {0, 1}
    assert sorted(result.tables[0].rows) == [2, 3]


def test_an_early_shutdown_is_a_stop_and_leaves_open_rows_out(
    backend: SchedulerBackend,
) -> None:
    work = chain(
        rows=4,
        limits=Limits(workers=1, group_rows=4),
        failures=FailurePolicy(2, stop_window=1, stop_rate=1.0),
        faults=(Fault("b", 1, failure="permanent"),),
    )
    result = run(backend, work)
    assert result.violations == []
    assert result.outcomes == ["stopped"]
    assert not result.tables[0].dropped - {1}


# What is broken on purpose is found


class Forgetful(SchedulerBackend):
    """Its tracker forgets a cell of `b`."""

    def alter(self, run: Any) -> None:
        mark = run.tracker.mark_cell_complete

        def forget(column: str, row_group: int, row_index: int) -> Any:
            if (column, row_index) == ("b", 1):
                column, row_index = "b", 0
            return mark(column, row_group, row_index)

        run.tracker.mark_cell_complete = forget


class Hoarder(SchedulerBackend):
    """Its buffer writes rows that were dropped."""

    def alter(self, run: Any) -> None:
        drop = run.buffer.drop_row

        def keep(row_group: int, row_index: int) -> None:
            drop(row_group, row_index)
            run.buffer._dropped[row_group].discard(row_index)

        run.buffer.drop_row = keep


class Shuffler(SchedulerBackend):
    """Its buffer gives rows the values of others."""

    def alter(self, run: Any) -> None:
        update = run.buffer.update_cell

        def shift(row_group: int, row_index: int, column: str, value: Any) -> None:
            update(row_group, 1 - row_index if column == "b" else row_index, column, value)

        run.buffer.update_cell = shift


class Eager(SchedulerBackend):
    """Its scheduler takes one task more than it may."""

    def alter(self, run: Any) -> None:
        limits = run.probe.work.limits
        run.probe.work = run.probe.work.replace(limits=Limits(workers=(limits.workers or 0) + 1))
        run.make()
        run.probe.work = run.probe.work.replace(limits=limits)


@pytest.mark.parametrize(
    ("broken", "work", "clauses"),
    [
        (Forgetful, chain(), {"SCHED-10", "TABLE-04", "SCHED-12"}),
        (
            Hoarder,
            chain(faults=(Fault("b", 0, failure="permanent"),)),
            {"TABLE-01", "TABLE-04"},
        ),
        (Shuffler, chain(), {"TABLE-02"}),
        (Eager, chain(rows=4, limits=Limits(workers=1)), {"SCHED-06"}),
    ],
)
def test_a_part_that_is_broken_is_found(
    broken: type[SchedulerBackend], work: Workload, clauses: set[str]
) -> None:
    result = run(broken(), work)
    assert {one.clause for one in result.violations} <= clauses
    assert result.violations


# Releases


def test_a_release_is_known_by_its_features(backend: SchedulerBackend) -> None:
    release = load()
    assert release is backend.release
    assert release.features <= set(FEATURES)
    named = release.keywords(workers=3, groups=2, salvage_rounds=1)
    assert sorted(named.values()) == [1, 2, 3]
    assert set(named) <= release.known


def test_without_datadesigner_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from cellspec.engines.datadesigner import releases

    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(releases, "version", absent)
    with pytest.raises(SpecError, match=r"pip install .\.\[datadesigner\]"):
        releases.load.__wrapped__()


def test_stored_lines_name_each_row_once(backend: SchedulerBackend, tmp_path: Path) -> None:
    fitted = backend.fit(chain(rows=3, limits=Limits(group_rows=2)))
    assert fitted is not None
    run_workload(backend, fitted, keep_folder=tmp_path)
    lines = [
        line
        for file in sorted((tmp_path / "life-0").glob("group-*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) == 3
    assert not any(ROW in line for line in lines)


# Storage

FULL = Workload((A,), rows=4, limits=Limits(group_rows=2), storage_faults=(StorageFault("data"),))


def test_a_row_group_that_cannot_be_saved_is_missed() -> None:
    """Defect of 0.9.7: the scheduler logs the error, and ends as if all were well."""
    backend = SchedulerBackend()
    work = fitted_to(FULL, load())
    assert [one.clause for one in run_workload(backend, work).violations] == ["CKPT-23"]
    result = run_workload(backend, work, waive=("SCHED-10", "CKPT-23"))
    assert [one.clause for one in result.violations] == ["TABLE-04"]
    assert sorted(result.tables[-1].rows) == [2, 3]


class _Raises(SchedulerBackend):
    """A scheduler that ends with the error of a write."""

    def alter(self, run: Any) -> None:
        plain = run.scheduler.run

        async def raises() -> None:
            await plain()
            raise RuntimeError("a row group could not be saved")

        run.scheduler.run = raises


def test_a_scheduler_that_says_that_a_write_failed_is_right() -> None:
    last = FULL.replace(
        limits=Limits(group_rows=2, groups=1), storage_faults=(StorageFault("data", 2),)
    )
    result = run_workload(_Raises(), fitted_to(last, load()))
    assert not result.violations
    assert result.outcomes == ["failed"]


def test_each_capability_that_is_left_out_has_a_reason() -> None:
    backend = SchedulerBackend()
    unasked, unclaimed = reasons_of(backend)
    assert set(unasked) <= set(map(str, Sometimes))
    assert {"resume", "targets", "config", "torn_writes", "streaming"} <= set(unclaimed)
    assert not set(unclaimed) & backend.capabilities
