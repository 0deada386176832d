"""The harness: a right engine breaks nothing, and a wrong one is found by the clause it breaks."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given

from cellspec import (
    ColumnDescriptor,
    ExecutionTraits,
    FailurePolicy,
    Limits,
    SpecError,
    virtualtime,
)
from cellspec.check.checker import check_file
from cellspec.conformance import (
    BackPressure,
    Fault,
    Probe,
    Refused,
    RunResult,
    Table,
    Value,
    Workload,
    run_workload,
)
from cellspec.conformance.judge.run_end import tail
from cellspec.graph.rules import ColumnRule
from tests.tiny import Steps, Tiny, TinyAsync, TinySync
from tests.workloads import workloads

T = ExecutionTraits
A = ColumnDescriptor("a", traits=T.START)
B = ColumnDescriptor("b", dependencies=["a"])
V = ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"])
W = ColumnDescriptor("w", traits=T.BATCH_BARRIER, dependencies=["a"])
C = ColumnDescriptor("c", dependencies=["v"])
D = ColumnDescriptor("d", dependencies=["w"])
S = ColumnDescriptor("s", dependencies=["a"], may_skip=True)
U = ColumnDescriptor("u", dependencies=["s"])

PLAIN = Workload((A, B), 3)
BARRIER = Workload((A, V, C), 3)
BATCHED = Workload((A, W, D), 6, batch_size=2, checkpoint_every_rows=2)
DROPS = BARRIER.replace(faults=(Fault("a", 1, failure="permanent"),))
PUSHED = PLAIN.replace(faults=(Fault("a", 0, 1, "backpressure", 2.0),))
RETRIED = PLAIN.replace(
    faults=(Fault("a", 0), Fault("a", 0, 2)), failures=FailurePolicy(max_attempts=2)
)
SKIPS = Workload((A, S, U), 2, skips=(("s", 0),))
RICH = Workload(
    (A, S, W, V, ColumnDescriptor("e", dependencies=["v", "w"])),
    5,
    batch_size=2,
    faults=(Fault("a", 1, failure="permanent"), Fault("w", 1), Fault("e", 0, 1, "backpressure", 1)),
    skips=(("s", 2),),
    failures=FailurePolicy(max_attempts=2),
    checkpoint_every_rows=1,
)


# A step of the tiny engine in BATCHED at which some rows are claimed, and not all.
LATE = 36


def broken(backend: Any, work: Workload, **options: Any) -> tuple[str, str]:
    """The clause that a run broke, and how."""
    result = run_workload(backend, work, **options)
    assert len(result.violations) == 1, result.outcomes
    found = result.violations[0]
    assert "\n" not in found.detail
    assert found.explanation[0].startswith(f"{found.clause}: ")
    return found.clause, found.detail


def kinds(result: RunResult, *only: str) -> list[str]:
    return [event["event"] for event in result.events if not only or event["event"] in only]


# Engines that are right


@pytest.mark.parametrize("work", [PLAIN, BARRIER, BATCHED, DROPS, PUSHED, RETRIED, SKIPS, RICH])
@pytest.mark.parametrize("engine", [TinyAsync, TinySync])
def test_a_right_engine_breaks_no_clause(engine: Callable[[], Any], work: Workload) -> None:
    result = run_workload(engine(), work)
    assert result.violations == []
    assert (result.adapter, result.refused, result.outcomes) == ("", "", ["success"])


def test_a_right_engine_breaks_no_clause_at_any_crash_step() -> None:
    hit, step = True, 0
    while hit:
        step += 1
        result = run_workload(TinyAsync(), RICH.replace(crashes=(step, 7)))
        assert result.violations == [], step
        hit = result.outcomes[0] == "crash"
    assert step > 50


@given(workloads("resume", beside=["core", "drops", "retries", "skips", "ordered", "targets"]))
def test_a_right_engine_breaks_no_clause_on_any_workload(work: Workload) -> None:
    assert run_workload(TinyAsync(), work).violations == []


def test_an_ordinary_loop_runs_a_coroutine_in_real_time_if_that_is_asked_for() -> None:
    result = run_workload(TinyAsync(), PUSHED, real_time=True, scale=1 / 512)
    assert result.violations == []
    assert result.header["clock"] == "real"


def test_a_run_in_virtual_time_is_the_same_run_each_time() -> None:
    work = RICH.replace(crashes=(20,))
    first, second = (run_workload(TinyAsync(), work) for _ in range(2))
    assert first.events == second.events
    assert first.tables == second.tables


# Engines that are wrong


class Early(TinyAsync):
    """Does not wait for what a cell needs."""

    def inputs(self, rule: ColumnRule, row: int) -> Mapping[str, Value]:
        names = [self.rules.columns[need].name for need in rule.needs]
        return {name: self.cells[row].get(name, "") for name in names}

    def sweep(self) -> Steps:
        yield from self.run_node(self.rules.columns[-1], 0)
        return (yield from super().sweep())


class HalfBarrier(TinyAsync):
    """Runs a barrier when the first row of its scope is there."""

    def scope(self, _rule: ColumnRule, row: int) -> range:
        return range(row, row + 1)


class ReadsDropped(TinyAsync):
    """Leaves a row that was dropped in what a barrier reads."""

    def barrier_call(self, rule: ColumnRule, scope: int, reads: Any) -> tuple[Any, ...]:
        reads = sorted([*reads, *self.dropped])
        return ("barrier", rule.name, scope, reads, [{} for _ in reads])


class ReadsBackwards(TinyAsync):
    def barrier_call(self, rule: ColumnRule, scope: int, reads: Any) -> tuple[Any, ...]:
        return super().barrier_call(rule, scope, list(reversed(reads)))


class Impatient(TinyAsync):
    """Does not wait before it tries again."""

    def wait(self, _column: str, _position: int, seconds: float) -> Steps:
        self.probe.pause(self.probe.now() + seconds / 2)
        yield ("sleep", seconds / 2)


class Twice(TinyAsync):
    """Runs each cell again when it is done."""

    def run_node(self, rule: ColumnRule, row: int) -> Steps:
        yield from super().run_node(rule, row)
        yield from super().run_node(rule, row)


class NeverGivesUp(TinyAsync):
    def attempts(self, column: str, position: int, call: Any, _rows: Any) -> Steps:
        while True:
            value = yield from super().attempts(column, position, call, [])
            if value is not None:
                return value


class Miscounts(TinyAsync):
    def attempts(self, column: str, position: int, call: Any, rows: Any) -> Steps:
        return (yield from super().attempts(column, position, (*call, 2), rows))


class DropsInSilence(TinyAsync):
    def drop(self, row: int, column: str) -> None:
        self.dropped[row] = column


class DropsTwice(TinyAsync):
    def drop(self, row: int, column: str) -> None:
        super().drop(row, column)
        super().drop(row, column)


class BlamesAnother(TinyAsync):
    def drop(self, row: int, _column: str) -> None:
        super().drop(row, "v")


class SkipsForNothing(TinyAsync):
    def row_outcome(self, _rule: ColumnRule, _row: int) -> str:
        return "skip"


class SkipsAlone(TinyAsync):
    """Goes by a column's own condition, and not by what was skipped before it."""

    def row_outcome(self, rule: ColumnRule, row: int) -> str:
        return "skip" if self.probe.wants_skip(rule.name, row) else "run"


class NeverSkips(TinyAsync):
    def row_outcome(self, _rule: ColumnRule, _row: int) -> str:
        return "run"


class ClaimsFirst(TinyAsync):
    def save(self, *, force: bool = False) -> None:
        if force:
            self.write_claim(self.probe.rows)
            self.write_rows(self.probe.rows)


class ClaimsTooMuch(TinyAsync):
    def prefix(self) -> int:
        return self.probe.rows if self.probe.work.checkpoint_every_rows else super().prefix()


class SavesNothing(TinyAsync):
    def save(self, *, force: bool = False) -> None:
        pass


class ForgetsTheClaim(TinyAsync):
    """Begins anew after a crash, although rows were claimed."""

    def restore(self) -> None:
        if self.probe.incarnation:
            self.probe.resumed(0)


class RunsClaimedRows(TinyAsync):
    def restore(self) -> None:
        super().restore()
        self.cells[0] = {}


class GivesUp(TinyAsync):
    def outcome(self) -> Any:
        return "failed"


class LosesARow(TinyAsync):
    def table(self, probe: Probe) -> Table:
        rows = dict(super().table(probe).rows)
        rows.pop(2, None)
        return Table(rows)


class SwapsCells(TinyAsync):
    def table(self, probe: Probe) -> Table:
        rows = {row: dict(cells) for row, cells in super().table(probe).rows.items()}
        if len(rows) > 2:
            rows[0]["b"], rows[2]["b"] = rows[2]["b"], rows[0]["b"]
        return Table(rows)


class Stale(TinyAsync):
    """Hands on what it computed itself in place of what the generator gave."""

    def keep(self, column: str, row: int, value: Value) -> None:
        super().keep(column, row, f"{value}!")


WRONG: list[tuple[type[Tiny], Workload, str]] = [
    (Early, PLAIN, "SCHED-01"),
    (Twice, PLAIN, "SCHED-03"),
    (RunsClaimedRows, BATCHED.replace(crashes=(LATE,)), "SCHED-05"),
    (SavesNothing, PLAIN, "SCHED-10"),
    (GivesUp, PLAIN, "STOP-04"),
    (HalfBarrier, BARRIER, "BARR-01"),
    (ReadsDropped, DROPS, "BARR-06"),
    (ReadsBackwards, BARRIER, "BARR-06"),
    (Miscounts, PLAIN, "FAIL-01"),
    (NeverGivesUp, RETRIED, "FAIL-02"),
    (Impatient, PUSHED, "FAIL-03"),
    (BlamesAnother, DROPS, "DROP-01"),
    (DropsTwice, DROPS, "DROP-02"),
    (DropsInSilence, DROPS, "DROP-04"),
    (SkipsForNothing, PLAIN, "SKIP-01"),
    (SkipsAlone, SKIPS, "SKIP-02"),
    (NeverSkips, SKIPS, "SKIP-04"),
    (ClaimsTooMuch, BATCHED, "CKPT-08"),
    (ClaimsFirst, PLAIN, "CKPT-10"),
    (ForgetsTheClaim, BATCHED.replace(crashes=(LATE,)), "CKPT-12"),
    (LosesARow, PLAIN, "TABLE-04"),
    (SwapsCells, PLAIN, "TABLE-02"),
    (Stale, PLAIN, "TABLE-02"),
]


@pytest.mark.parametrize(
    ("engine", "work", "clause"), WRONG, ids=[f"{one.__name__}-{c}" for one, _, c in WRONG]
)
def test_a_wrong_engine_is_found_by_the_clause_that_it_breaks(
    engine: type[Tiny], work: Workload, clause: str
) -> None:
    assert broken(engine(), work)[0] == clause


def test_a_clause_that_is_waived_is_not_found() -> None:
    assert broken(DropsTwice(), DROPS)[0] == "DROP-02"
    assert run_workload(DropsTwice(), DROPS, waive=["DROP-02"]).violations == []


def test_a_clause_to_waive_must_be_one() -> None:
    with pytest.raises(SpecError, match="no such clause: 'DROP-99'"):
        run_workload(TinyAsync(), PLAIN, waive=["DROP-99"])


def test_the_first_thing_that_is_wrong_ends_the_run() -> None:
    result = run_workload(Early(), PLAIN.replace(crashes=(9, 9)))
    assert len(result.violations) == 1
    assert len(result.outcomes) == 1
    assert kinds(result) == ["start"]


def test_the_explanation_has_the_rule_the_finding_and_the_last_events() -> None:
    lines = run_workload(SwapsCells(), PLAIN).explanation
    assert lines[0].startswith("TABLE-02: A value stands in the row")
    assert "it was made for b[2]" in lines[1]
    assert lines[2] == "the last events:"
    assert lines[-1].endswith("end outcome=success")


# Ends


class Ends(TinyAsync):
    """Does what a test says in place of its last sweep."""

    def __init__(self, last: Callable[[Probe], Any]) -> None:
        self.last = last

    async def run(self, probe: Probe) -> None:
        await probe.cell("a", 0, {})
        made = self.last(probe)
        if asyncio.iscoroutine(made):
            await made


def hang(_probe: Probe) -> Any:
    return asyncio.get_running_loop().create_future()


async def hang_now(probe: Probe) -> None:
    await hang(probe)


async def poll(_probe: Probe) -> None:
    while True:
        await asyncio.sleep(1)


async def spin(_probe: Probe) -> None:
    while True:
        await asyncio.sleep(0)


async def call(probe: Probe) -> None:
    row = 0
    while True:
        await probe.cell("b", row % 3, {"a": ""})
        row += 1


def die(_probe: Probe) -> None:
    raise ZeroDivisionError("by zero")


async def die_in_a_group(_probe: Probe) -> None:
    async def task() -> None:
        raise ZeroDivisionError("by zero")

    async with asyncio.TaskGroup() as group:
        group.create_task(task())


async def die_beside_a_call(probe: Probe) -> None:
    """The group cancels a call as the engine dies of the other task."""

    async def task() -> None:
        await asyncio.sleep(0.01)
        raise ZeroDivisionError("by zero")

    async with asyncio.TaskGroup() as group:
        group.create_task(probe.cell("b", 0, {"a": ""}))
        group.create_task(task())


def leave(_probe: Probe) -> None:
    raise SystemExit(3)


class UnreadableError(Exception):
    """Its text cannot be read."""

    def __str__(self) -> str:
        raise ValueError


def die_unreadably(_probe: Probe) -> None:
    raise UnreadableError


def die_of_a_name(_probe: Probe) -> None:
    raise OSError("no file \udc80")


def leak(_probe: Probe) -> None:
    raise BackPressure("too many requests")


@pytest.mark.parametrize(
    ("last", "detail"),
    [
        (hang_now, "nothing can ever run at virtual time"),
        (poll, "the run does not end: "),
        (spin, "the run does not end: "),
        (die, "the engine died of ZeroDivisionError: by zero"),
        (die_in_a_group, "the engine died of ZeroDivisionError: by zero"),
        (die_beside_a_call, "the engine died of ZeroDivisionError: by zero"),
        (leave, "the engine died of SystemExit: 3"),
        (die_unreadably, "the engine died of UnreadableError: its text cannot be read"),
        (die_of_a_name, "the engine died of OSError: no file \\udc80"),
        (leak, "a generator's failure came out of the run: too many requests"),
        (lambda _: None, "run returned without a report of how it ended"),
    ],
    ids=[
        "hang",
        "poll",
        "spin",
        "die",
        "die in a group",
        "die beside a call",
        "leave",
        "die unreadably",
        "die of a name",
        "leak",
        "return",
    ],
)
def test_a_run_that_does_not_come_to_its_end_has_stood_still(
    last: Callable[[Probe], Any], detail: str
) -> None:
    clause, text = broken(Ends(last), PLAIN)
    assert clause == "SCHED-12"
    assert text.startswith(detail), text


@pytest.mark.clause("SCHED-14")
def test_a_run_that_gives_up_needs_a_cause_and_a_reason_in_words_is_none() -> None:
    clause, text = broken(Ends(lambda probe: probe.end("failed", "tired")), PLAIN)
    assert clause == "SCHED-14"
    assert text.startswith("the run gives up although a[1] is ready, and its places are free")


def test_a_run_that_makes_calls_for_ever_is_judged_by_its_first_violation() -> None:
    assert broken(Ends(call), PLAIN)[0] == "SCHED-01"


def test_after_a_waived_death_there_is_no_further_incarnation() -> None:
    result = run_workload(Ends(die), PLAIN.replace(targets=(3, 5)), waive=["SCHED-12"])
    assert (result.violations, result.outcomes) == ([], [""])


def test_the_explanation_of_a_run_that_died_says_where() -> None:
    (found,) = run_workload(Ends(die), PLAIN).violations
    assert any("in die" in line for line in found.explanation)
    assert "ZeroDivisionError: by zero" in found.explanation


def test_the_explanation_of_a_run_that_hangs_names_each_task_that_waits_and_its_line() -> None:
    (found,) = run_workload(Ends(hang_now), PLAIN).violations
    assert "\n" not in found.detail
    assert found.explanation[2].startswith("Task-1 in ")


def test_threads_that_hang_have_stood_still() -> None:
    class Hangs(TinySync):
        def run(self, probe: Probe) -> None:
            probe.cell_sync("a", 0, {})
            threading.Event().wait()

    clause, text = broken(Hangs(), PLAIN, stall_s=0.3)
    assert (clause, text) == ("SCHED-12", "nothing happened for 0.3 s")


# Adapters that are wrong


def test_an_adapter_that_names_an_unknown_row_is_blamed() -> None:
    async def ask(probe: Probe) -> None:
        await probe.cell("a", 3, {})

    result = run_workload(Ends(ask), PLAIN)
    assert result.adapter == "'a': row 3 is out of range; there are 3"
    assert result.violations[0].clause == "TRACE-02"
    assert re.fullmatch(r"called in .*\.ask \(judge/test_harness\.py:\d+\)", result.explanation[2])


def test_an_adapter_that_reports_no_end_is_blamed() -> None:
    result = run_workload(Ends(lambda _: None), PLAIN)
    assert result.adapter == "run returned, and end was not reported"


def test_an_engine_that_needs_threads_is_told_to_run_in_real_time() -> None:
    async def thread(_probe: Probe) -> None:
        loop = asyncio.get_running_loop()
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor() as pool:
            await loop.run_in_executor(pool, time.sleep, 0)

    result = run_workload(Ends(thread), PLAIN)
    assert result.adapter.endswith("make run a plain function to have it run in real time")


@pytest.mark.parametrize(
    ("given_back", "wrong"),
    [
        (None, "expected a Table, got NoneType"),
        ({0: {"a": "x"}}, "expected a Table, got dict"),
        (Table(cast(Any, [{"a": "x"}])), "rows: expected a mapping by row, got list"),
        (Table(cast(Any, {0: None})), "rows: row 0: expected a mapping by column, got NoneType"),
        (Table(cast(Any, {"0": {"a": "x"}})), "rows: expected the number of a row, got '0'"),
        (Table({}, cast(Any, [0])), "dropped: expected a set of rows, got list"),
        (Table({}, cast(Any, {"0"})), "dropped: expected the number of a row, got '0'"),
        (Table({}, doubled=cast(Any, None)), "doubled: expected a set of rows, got NoneType"),
        (Table({}, causes=cast(Any, None)), "causes: expected a mapping by row, got NoneType"),
    ],
)
@pytest.mark.parametrize("crashes", [(), (3,)])
def test_a_table_that_cannot_be_one_is_the_adapters_fault(
    given_back: Any, wrong: str, crashes: tuple[int, ...]
) -> None:
    class NoTable(TinyAsync):
        capabilities = TinyAsync.capabilities | {"resume"}

        def table(self, probe: Probe) -> Table:
            return given_back if probe.ended_by or probe.log else super().table(probe)

    result = run_workload(NoTable(), PLAIN.replace(crashes=crashes))
    assert result.adapter == f"table: {wrong}"
    assert not any("Traceback" in line for line in result.explanation)


def test_the_folder_after_a_crash_must_be_readable() -> None:
    class Torn(TinyAsync):
        def replace(self, name: str, data: object) -> None:
            (self.probe.folder / name).write_text("{")
            super().replace(name, data)

        def read(self, probe: Probe, name: str, otherwise: Any) -> Any:
            path = probe.folder / name
            return json.loads(path.read_text()) if path.exists() else otherwise

    clauses = set()
    for step in range(1, 40):
        result = run_workload(Torn(), BATCHED.replace(crashes=(step,)))
        clauses |= {(found.clause, found.detail[:34]) for found in result.violations}
        assert not result.adapter
    # The adapter cannot read a torn table, and no next incarnation a torn claim.
    assert clauses == {
        ("TABLE-01", "what the crash left cannot be read"),
        ("SCHED-12", "the engine died of JSONDecodeError"),
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": None}, "name: expected a string"),
        ({"capabilities": "core"}, "capabilities: expected a set of names, got 'core'"),
        ({"capabilities": {"core", "magic"}}, "capabilities: unknown magic; there are core"),
        ({"capabilities": frozenset()}, "capabilities: 'core' is missing"),
        ({"run": 3}, "run: expected a method"),
    ],
)
def test_a_backend_that_cannot_be_used_is_refused_in_one_line(
    change: dict[str, Any], expected: str
) -> None:
    backend = TinyAsync()
    for name, value in change.items():
        setattr(backend, name, value)
    with pytest.raises(SpecError) as caught:
        run_workload(backend, PLAIN)
    assert str(caught.value).startswith(f"backend TinyAsync: {expected}")


# Incarnations


def test_each_incarnation_goes_on_from_the_folder_as_it_was_at_the_crash(tmp_path: Path) -> None:
    seen = []

    class Looks(TinyAsync):
        def restore(self) -> None:
            seen.append(sorted(path.name for path in self.probe.folder.iterdir()))
            super().restore()

    run_workload(Looks(), BATCHED.replace(crashes=(1, 0)), keep_folder=tmp_path / "runs")
    assert seen == [[], []]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "life-0",
        "life-0-left",
        "life-1",
    ]


def test_folders_are_removed_unless_they_are_kept() -> None:
    folders = []

    class Looks(TinyAsync):
        def restore(self) -> None:
            folders.append(self.probe.folder)
            super().restore()

    run_workload(Looks(), BATCHED.replace(crashes=(20,)))
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)


def test_time_goes_on_over_the_incarnations() -> None:
    result = run_workload(TinyAsync(), BATCHED.replace(crashes=(12, 12)))
    times = [event["t"] for event in result.events]
    assert times == sorted(times)
    assert kinds(result, "crash", "resume", "end") == ["crash", "resume", "crash", "resume", "end"]
    assert [event.get("incarnation") for event in result.events if event["event"] == "resume"] == [
        1,
        2,
    ]


def test_an_incarnation_that_ended_is_followed_only_by_one_with_another_number_of_rows() -> None:
    assert run_workload(TinyAsync(), PLAIN.replace(crashes=(0, 5))).outcomes == ["success"]
    longer = run_workload(TinyAsync(), PLAIN.replace(targets=(3, 5, 5, 4)))
    assert longer.outcomes == ["success", "success"]
    assert [len(table.rows) for table in longer.tables] == [3, 5]


def test_after_the_end_an_incarnation_may_be_asked_for_more_rows() -> None:
    result = run_workload(TinyAsync(), PLAIN.replace(targets=(3, 5)))
    (resume,) = [event for event in result.events if event["event"] == "resume"]
    assert resume["records"] == 5
    assert result.violations == []


def test_an_incarnation_that_never_reaches_its_crash_step_runs_to_its_end() -> None:
    assert run_workload(TinyAsync(), PLAIN.replace(crashes=(999,))).outcomes == ["success"]


# Refusals

TOO_WIDE = BARRIER.replace(limits=Limits(group_rows=1, groups=2))


class Refuses(TinyAsync):
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def run(self, _probe: Probe) -> None:
        raise self.error


@pytest.mark.parametrize("error", [Refused("no"), SpecError("limits: no")])
def test_a_run_that_must_be_refused_is_judged_on_if_that_is_waived(
    error: Exception,
) -> None:
    assert run_workload(Refuses(error), TOO_WIDE, waive=["GROUP-04"]).violations == []
    found = run_workload(TinyAsync(), TOO_WIDE, waive=["GROUP-04"])
    assert [one.clause for one in found.violations] in ([], ["GROUP-01"])


@pytest.mark.parametrize("error", [Refused("no"), SpecError("limits: no")])
def test_limits_that_can_never_admit_a_barrier_must_be_refused(error: Exception) -> None:
    result = run_workload(Refuses(error), TOO_WIDE)
    assert (result.violations, result.refused) == ([], str(error))
    clause, detail = broken(TinyAsync(), TOO_WIDE)
    assert clause == "GROUP-04"
    assert detail == "barrier 0 of 'v' needs 3 row groups at once of 2, and the engine ran it"


def test_a_workload_that_can_be_run_may_not_be_refused() -> None:
    clause, detail = broken(Refuses(Refused("too hard")), PLAIN)
    assert (clause, detail) == (
        "SCHED-12",
        "the engine refuses a workload that can be run: too hard",
    )
    assert broken(Refuses(SpecError("odd")), PLAIN)[1] == "the engine died of SpecError: odd"


def test_another_target_that_changes_a_claimed_barrier_must_be_refused_or_kept() -> None:
    work = BARRIER.replace(targets=(3, 5))
    result = run_workload(TinyAsync(), work)
    assert (result.violations, result.outcomes) == ([], ["success", "refused"])
    assert result.refused == "the scope of v changes"

    class Goes(TinyAsync):
        def expect_same_scopes(self, before: int) -> None:
            pass

    assert broken(Goes(), work)[0] == "CKPT-16"
    assert run_workload(TinyAsync(), work.replace(keep=True)).outcomes == ["success", "success"]


# What is not reported


class Silent(TinyAsync):
    """Reports nothing of its storage, nor what it resumes from."""

    quiet = (
        "durable",
        "checkpoint_begin",
        "checkpoint_durable",
        "resumed",
    )

    def steps(self, probe: Probe) -> Steps:
        for name in self.quiet:
            setattr(probe, name, lambda *_, **__: None)
        return super().steps(probe)


def test_where_storage_is_not_reported_its_last_state_is_inferred_from_the_table() -> None:
    result = run_workload(Silent(), PLAIN)
    assert result.violations == []
    assert [event for event in result.events if event.get("inferred")] == [
        {"seq": 13, "t": result.events[-1]["t"], "event": "durable", "rows": (0, 3)}
        | {"inferred": True}
    ]


def test_an_engine_that_reports_no_resume_is_judged_by_its_tables_from_the_crash_on() -> None:
    result = run_workload(Silent(), BATCHED.replace(crashes=(20,)))
    assert (result.violations, result.by_table_alone) == ([], 1)
    assert result.outcomes == ["crash", "success"]
    assert kinds(result)[-1] == "crash"

    class Wrong(Silent, LosesARow):
        pass

    assert broken(Wrong(), BATCHED.replace(crashes=(20,)))[0] == "TABLE-04"


# The trace


def test_the_trace_of_a_run_is_judged_alike_by_the_checker(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    result = run_workload(TinyAsync(), RICH.replace(crashes=(30,)), trace=path)
    checked = check_file(path)
    assert (checked.violations, checked.unreadable) == ([], "")
    assert checked.events == len(result.events)
    assert (checked.incarnations, checked.outcome) == (2, "success")

    run_workload(DropsTwice(), DROPS, trace=path)
    (found,) = check_file(path).violations
    assert found.clause == "DROP-02"


def test_the_header_states_the_capabilities_and_the_workload() -> None:
    header = run_workload(TinyAsync(), RICH.replace(seed=7)).header
    assert header["engine"] == {"name": "tiny", "version": "1"}
    assert header["claims"][:3] == ("core", "batch_barriers", "ordered")
    assert (header["seed"], header["graph"]["rows"], header["failures"]["max_attempts"]) == (
        7,
        5,
        2,
    )


def test_a_call_that_takes_a_resource_names_it() -> None:
    limits = Limits(resources={"gpu": 1}, column_resource={"b": "gpu"})
    result = run_workload(TinyAsync(), PLAIN.replace(limits=limits))
    named = {(e["column"], e.get("resource")) for e in result.events if e["event"] == "start"}
    assert named == {("a", None), ("b", "gpu")}


# What was seen


def test_evidence_counts_incarnations_crashes_calls_and_events() -> None:
    result = run_workload(TinyAsync(), RICH.replace(crashes=(30,)))
    evidence = result.evidence
    assert (evidence["lives"], evidence["crashes"]) == (2, 1)
    assert evidence["start"] == kinds(result).count("start")
    assert sum(evidence.values()) == 3 + evidence["calls"] + len(result.events)


def test_cost_is_measured_while_the_engine_runs() -> None:
    cost = run_workload(TinyAsync(), RICH).cost
    assert cost.cpu_s > 0
    assert cost.events > 20
    assert cost.graph_questions == 0


def test_a_run_tells_of_calls_that_took_real_time_inside_virtual_time() -> None:
    class Sleeps(TinyAsync):
        async def run(self, probe: Probe) -> None:
            time.sleep(0.001)
            await super().run(probe)

    with pytest.warns(virtualtime.RealTimeWarning):
        result = run_workload(Sleeps(), PLAIN)
    line = Sleeps.run.__code__.co_firstlineno + 1
    assert list(result.blocking) == [f"time.sleep() at judge/test_harness.py:{line}"]


def test_the_end_of_a_traceback_is_the_same_on_each_version_of_python() -> None:
    with pytest.raises(TypeError) as caught:
        len(min([5]))  # type: ignore[arg-type]
    lines = tail(caught.value)
    assert lines[-1] == "TypeError: object of type 'int' has no len()"
    assert not any(set(line) <= set(" ~^") for line in lines)
