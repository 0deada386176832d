"""The reference engine runs real generators, really writes, and finishes after a crash.

Engines on asyncio run in virtual time here, so that hours pass in milliseconds; engines on threads
run in real time, and the tests do not depend on how long anything takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import io
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import cellspec.engine
from cellspec import (
    ColumnDescriptor,
    ExecutionGraph,
    ExecutionTraits,
    FailurePolicy,
    Limits,
    SpecError,
    virtualtime,
)
from cellspec.engine import (
    SKIPPED,
    AsyncioEngine,
    Backoff,
    Call,
    Drop,
    Failed,
    Generator,
    MemoryStore,
    Observer,
    Observers,
    ProgressBar,
    Result,
    Save,
    Scheduler,
    ThreadEngine,
)
from cellspec.faults import BackPressure, Permanent, Retryable

T = ExecutionTraits
Row = Mapping[str, Any]
Generators = Mapping[str, Callable[..., Any]]


def run(graph: ExecutionGraph, generators: Generators, **options: Any) -> Result:
    """Run on asyncio, in virtual time."""
    resume = {name: options.pop(name) for name in ("resume", "keep") if name in options}
    return virtualtime.run(AsyncioEngine(graph, generators, **options).run(**resume))


def run_threads(graph: ExecutionGraph, generators: Generators, **options: Any) -> Result:
    return ThreadEngine(graph, generators, **options).run()


both = pytest.mark.parametrize("run_on", [run, run_threads], ids=["asyncio", "threads"])


class Log(Observer):
    """An observer that remembers each step as a short line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, call: Call) -> None:
        self.lines.append(f"start {call}" + (f" #{call.attempt}" if call.attempt > 1 else ""))

    def completed(self, call: Call, row: int | None) -> None:
        self.lines.append(f"done {call}" if row is None else f"done {call.column}[{row}]")

    def failed(self, call: Call, failed: Failed) -> None:
        self.lines.append(f"{failed.failure} {call} until {failed.until_s}")

    def cancelled(self, call: Call) -> None:
        self.lines.append(f"cancel {call}")

    def ignored(self, call: Call) -> None:
        self.lines.append(f"ignore {call}")

    def skipped(self, column: str, row: int) -> None:
        self.lines.append(f"skip {column}[{row}]")

    def dropped(self, start: int, stop: int, drop: Drop) -> None:
        self.lines.append(f"drop {start}:{stop} by {drop.column}")

    def admitted(self, group: int) -> None:
        self.lines.append(f"admit {group}")

    def retired(self, group: int) -> None:
        self.lines.append(f"retire {group}")

    def rows_durable(self, column: str, start: int, stop: int) -> None:
        self.lines.append(f"durable {column} {start}:{stop}")

    def checkpoint_begin(self, checkpoint: dict[str, Any]) -> None:
        self.lines.append(f"begin {checkpoint['completed_rows']}")

    def checkpoint_durable(self, checkpoint: dict[str, Any]) -> None:
        self.lines.append(f"safe {checkpoint['completed_rows']}")

    def stopped(self, reason: str) -> None:
        self.lines.append(f"stop: {reason}")

    def ended(self, outcome: str, reason: str) -> None:
        self.lines.append(f"{outcome}: {reason}")

    def of(self, *words: str) -> list[str]:
        """The lines that begin with one of these words."""
        return [line for line in self.lines if line.split(" ")[0] in words]


# A pipeline with one column of each kind

COLUMNS = (
    ColumnDescriptor("seed", traits=T.START | T.ROW_STREAMABLE),
    ColumnDescriptor("text", dependencies=["seed"], side_effects=["tokens"]),
    ColumnDescriptor("twin", traits=T.BARRIER, dependencies=["text"]),
    ColumnDescriptor("rank", traits=T.BATCH_BARRIER, dependencies=["tokens"]),
    ColumnDescriptor("judge", dependencies=["twin", "rank"], may_skip=True),
    ColumnDescriptor("note", traits=T.ORDERED, dependencies=["judge"]),
    ColumnDescriptor("final", dependencies=["note", "seed"], propagate_skip=False),
)


def pipeline(rows: int) -> ExecutionGraph:
    return ExecutionGraph(rows, COLUMNS, batch_size=3)


def wants_skip(row: int, inputs: Row) -> bool:  # noqa: ARG001 - as a condition is called
    return row % 4 == 1


class Pipeline:
    """The generators of `COLUMNS`: coroutine functions or plain ones, as each column likes."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def generators(self) -> dict[str, Callable[..., Any]]:
        return {
            "seed": self.seed,
            "text": self.text,
            "twin": self.twin,
            "rank": self.rank,
            "judge": self.judge,
            "note": partial(self.plain, "note"),
            "final": partial(self.plain, "final"),
        }

    def seed(self, rows: Sequence[int], inputs: Sequence[Row]) -> Iterator[tuple[int, int]]:
        assert inputs == [{}] * len(rows)
        for row in rows:
            self.calls.append(("seed", row))
            yield row, 10 * row

    async def text(self, row: int, inputs: Row) -> dict[str, Any]:
        self.calls.append(("text", row))
        await asyncio.sleep(0.001 * (row % 3))
        return {"text": f"text of {inputs['seed']}", "tokens": inputs["seed"] + 1}

    async def twin(self, rows: Sequence[int], inputs: Sequence[Row]) -> list[int]:
        self.calls.append(("twin", rows[0]))
        await asyncio.sleep(0.001)
        return [len(inputs[place]["text"]["text"]) + row for place, row in enumerate(rows)]

    def rank(self, rows: Sequence[int], inputs: Sequence[Row]) -> Iterable[int]:
        self.calls.append(("rank", rows[0]))
        total = sum(item["tokens"] for item in inputs)
        return (total - item["tokens"] for item in inputs)

    async def judge(self, row: int, inputs: Row) -> list[int]:
        self.calls.append(("judge", row))
        await asyncio.sleep(0.001)
        return [inputs["twin"], inputs["rank"]]

    def plain(self, name: str, row: int, inputs: Row) -> str:
        self.calls.append((name, row))
        shown = {key: "none" if value is SKIPPED else value for key, value in inputs.items()}
        return f"{name} {json.dumps(shown, sort_keys=True)}"


def expected(rows: int) -> dict[int, dict[str, Any]]:
    """The right table, worked out column by column."""
    table: dict[int, dict[str, Any]] = {row: {"seed": 10 * row} for row in range(rows)}
    for row, cells in table.items():
        cells["text"] = {"text": f"text of {10 * row}", "tokens": 10 * row + 1}
        cells["twin"] = len(cells["text"]["text"]) + row
    for row, cells in table.items():
        batch = range(row // 3 * 3, min(row // 3 * 3 + 3, rows))
        cells["rank"] = sum(10 * other + 1 for other in batch if other != row)
        if wants_skip(row, {}):
            cells["judge"] = cells["note"] = SKIPPED
        else:
            cells["judge"] = [cells["twin"], cells["rank"]]
            cells["note"] = f"note {json.dumps({'judge': cells['judge']})}"
        shown = "none" if cells["note"] is SKIPPED else cells["note"]
        cells["final"] = f"final {json.dumps({'note': shown, 'seed': 10 * row})}"
    return table


OPTIONS: dict[str, Any] = {"skip_when": {"judge": wants_skip}}


@both
@pytest.mark.parametrize("order", ["row-first", "fifo"])
@pytest.mark.clause("SCHED-01", "SCHED-10", "SKIP-01", "TABLE-01", "TABLE-06")
def test_the_table_is_what_the_columns_make_one_after_another(
    run_on: Callable[..., Result], order: str
) -> None:
    made = Pipeline()
    result = run_on(
        pipeline(8), made.generators(), order=order, limits=Limits(workers=3), **OPTIONS
    )
    assert (result.outcome, result.rows()) == ("success", expected(8))
    assert not result.dropped
    assert len(made.calls) == len(set(made.calls))


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("group_rows", [None, 2])
@pytest.mark.clause("CKPT-12", "TABLE-05", "TABLE-06", "GROUP-05")
def test_a_run_that_dies_anywhere_any_number_of_times_ends_with_the_same_table(
    tmp_path: Path, version: int, group_rows: int | None
) -> None:
    """Each incarnation dies a few steps later than the one before, until one comes to its end."""
    for clock_mode in (7, 19, 41):
        incarnations, result = 0, None
        while result is None:
            incarnations += 1
            made = Pipeline()
            with contextlib.suppress(Death):
                result = run(
                    pipeline(7),
                    made.generators(),
                    folder=tmp_path / str(clock_mode),
                    observer=Dies(after=clock_mode * incarnations),
                    checkpoint_every_rows=2,
                    checkpoint_version=version,
                    limits=Limits(workers=4, group_rows=group_rows),
                    **OPTIONS,
                )
        assert (result.outcome, result.rows()) == ("success", expected(7))
        assert incarnations > 2


class Death(BaseException):
    """The process is gone."""


class Dies(Observer):
    """Kills the process at the n-th thing that happens."""

    def __init__(self, after: int) -> None:
        self._left = after

    def _step(self, *_: Any, **__: Any) -> None:
        self._left -= 1
        if self._left <= 0:
            raise Death

    started = completed = emitted = skipped = storage_step = _step
    rows_durable = checkpoint_begin = checkpoint_durable = _step


@both
@pytest.mark.clause("SCHED-05")
def test_a_finished_row_is_not_made_again(tmp_path: Path, run_on: Callable[..., Result]) -> None:
    first, second = Pipeline(), Pipeline()
    run_on(pipeline(6), first.generators(), folder=tmp_path, **OPTIONS)
    result = run_on(pipeline(6), second.generators(), folder=tmp_path, **OPTIONS)
    assert second.calls == []
    assert (result.outcome, result.rows()) == ("success", expected(6))


# Failures

AB = (ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"]))


def failing(*errors: BaseException | None, row: int = 1) -> Callable[..., Any]:
    """A cell generator whose n-th call for `row` raises the n-th error."""
    left = list(errors)

    async def cell(at: int, inputs: Row) -> str:
        virtual = isinstance(asyncio.get_running_loop(), virtualtime.VirtualTimeLoop)
        await asyncio.sleep(1.0 if virtual else 0.0)
        if at == row and left and (error := left.pop(0)) is not None:
            raise error
        return f"{at}:{inputs.get('a', '')}"

    return cell


@pytest.mark.clause("FAIL-01", "FAIL-03")
def test_a_retryable_failure_spends_an_attempt_and_backs_off() -> None:
    log = Log()
    result = run(
        ExecutionGraph(2, AB),
        {"a": failing(Retryable("slow"), Retryable("slow")), "b": failing()},
        failures=FailurePolicy(max_attempts=3),
        backoff=Backoff(first_s=0.5, factor=4.0, most_s=60.0),
        observer=log,
    )
    assert result.outcome == "success"
    assert log.of("retryable") == ["retryable a[1] until 1.5", "retryable a[1] until 4.5"]
    assert [line for line in log.of("start") if "a[1]" in line] == [
        "start a[1]",
        "start a[1] #2",
        "start a[1] #3",
    ]


@pytest.mark.clause("FAIL-02", "DROP-01")
def test_a_spent_budget_drops_the_row_with_its_cause() -> None:
    result = run(
        ExecutionGraph(3, AB),
        {"a": failing(Retryable("one"), Retryable("two")), "b": failing()},
        failures=FailurePolicy(max_attempts=2),
    )
    assert result.outcome == "success"
    assert result.dropped == {1: Drop("a", "Retryable: two")}
    assert sorted(result.rows()) == [0, 2]


@pytest.mark.clause("FAIL-01", "FAIL-03")
def test_back_pressure_spends_no_attempt_and_is_believed_about_the_wait() -> None:
    log = Log()
    busy = BackPressure("429", retry_after_s=30.0)
    result = run(
        ExecutionGraph(2, AB),
        {"a": failing(busy, busy, busy), "b": failing()},
        observer=log,
    )
    assert result.outcome == "success"
    assert log.of("backpressure") == [
        "backpressure a[1] until 31.0",
        "backpressure a[1] until 62.0",
        "backpressure a[1] until 93.0",
    ]
    assert not any("#" in line for line in log.lines)


@both
@pytest.mark.parametrize("error", [Permanent("no"), ZeroDivisionError("no")], ids=repr)
@pytest.mark.clause("DROP-01", "DROP-02", "DROP-03")
def test_a_permanent_failure_drops_its_row_alone_and_once(
    run_on: Callable[..., Result], error: Exception
) -> None:
    log = Log()
    result = run_on(ExecutionGraph(3, AB), {"a": failing(error), "b": failing()}, observer=log)
    assert result.dropped == {1: Drop("a", f"{type(error).__name__}: no")}
    assert log.of("drop") == ["drop 1:2 by a"]
    assert "start b[1]" not in log.lines
    assert (result.outcome, sorted(result.rows())) == ("success", [0, 2])


@pytest.mark.clause("BARR-06", "TABLE-03")
def test_a_barrier_waits_for_dropped_rows_no_longer_and_does_not_read_them() -> None:
    read: list[tuple[list[int], list[Row]]] = []

    def barrier(rows: list[int], inputs: list[Row]) -> list[int]:
        read.append((rows, inputs))
        return rows

    graph = ExecutionGraph(3, [AB[0], ColumnDescriptor("v", None, None, T.BARRIER, ["a"])])
    result = run(graph, {"a": failing(Permanent()), "v": barrier})
    assert read == [([0, 2], [{"a": "0:"}, {"a": "2:"}])]
    assert result.rows() == {0: {"a": "0:", "v": 0}, 2: {"a": "2:", "v": 2}}


@both
@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (lambda rows, _: rows[:-1], "expected 2 values, one for each row that it was given, got 1"),
        (lambda rows, _: 1 / (len(rows) - 2), "division by zero"),
        (lambda *_: None, "'NoneType' object is not iterable"),
    ],
)
@pytest.mark.clause("DROP-01")
def test_a_barrier_that_fails_drops_the_live_rows_of_its_scope(
    run_on: Callable[..., Result], answer: Callable[..., Any], cause: str
) -> None:
    log = Log()
    graph = ExecutionGraph(
        4, [AB[0], ColumnDescriptor("v", None, None, T.BATCH_BARRIER, ["a"])], batch_size=2
    )

    def barrier(rows: list[int], inputs: list[Row]) -> Any:
        return answer(rows, inputs) if 2 in rows else rows

    result = run_on(graph, {"a": failing(), "v": barrier}, observer=log)
    assert log.of("drop") == ["drop 2:4 by v"]
    assert cause in result.dropped[2].cause
    assert (result.outcome, sorted(result.rows())) == ("success", [0, 1])


@pytest.mark.clause("DROP-03", "FAIL-04")
def test_calls_of_a_dropped_row_are_cancelled_or_their_end_is_ignored() -> None:
    graph = ExecutionGraph(2, [ColumnDescriptor("a"), ColumnDescriptor("c")])

    async def slow(row: int, _: Row) -> int:
        await asyncio.sleep(100.0)
        return row

    log = Log()
    run(graph, {"a": failing(Permanent()), "c": slow}, observer=log)
    assert log.of("cancel", "ignore") == ["cancel c[1]"]

    class Patient(AsyncioEngine):
        cancel_dropped = False

    log = Log()
    engine = Patient(graph, {"a": failing(Permanent()), "c": slow}, observer=log)
    virtualtime.run(engine.run())
    assert log.of("cancel", "ignore") == ["ignore c[1]"]


# Ranges

STREAM = ColumnDescriptor("s", traits=T.START | T.ROW_STREAMABLE)


@both
@pytest.mark.clause("RANGE-01", "RANGE-02", "DROP-01")
def test_a_range_that_fails_keeps_the_rows_that_it_gave(run_on: Callable[..., Result]) -> None:
    calls: list[list[int]] = []

    def stream(rows: Sequence[int], inputs: Sequence[Row]) -> Iterator[tuple[int, str]]:
        calls.append(list(rows))
        assert len(inputs) == len(rows)
        for row in rows:
            if row == 2 and len(calls) == 1:
                raise Retryable("lost")
            yield row, f"s{row}"

    result = run_on(
        ExecutionGraph(5, [STREAM]),
        {"s": stream},
        failures=FailurePolicy(max_attempts=2),
        limits=Limits(workers=1),
        backoff=Backoff(first_s=0.001),
        range_rows=4,
    )
    assert calls[0] == [0, 1, 2, 3]
    assert sorted(calls[1:]) == [[2, 3], [4]]
    assert result.rows() == {row: {"s": f"s{row}"} for row in range(5)}


@both
@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ([0, 1, 1, 2], "Permanent: gave row 1 of s[0:3]; expected row 2"),
        ([0, 1, 7], "Permanent: gave row 7 of s[0:3]; expected row 2"),
        ([0, 1], "Permanent: ended without row 2 of s[0:3]"),
    ],
)
@pytest.mark.clause("RANGE-02")
def test_a_range_that_gives_other_rows_than_its_own_fails(
    run_on: Callable[..., Result], given: list[int], cause: str
) -> None:
    def stream(*_: object) -> Iterator[tuple[int, int]]:
        yield from ((row, row) for row in given)

    result = run_on(ExecutionGraph(3, [STREAM]), {"s": stream})
    assert result.dropped == {2: Drop("s", cause)}
    assert sorted(result.rows()) == [0, 1]


@both
@pytest.mark.clause("SCHED-13", "RANGE-01", "RANGE-02")
def test_ranges_of_an_ordered_column_run_in_row_order(run_on: Callable[..., Result]) -> None:
    log = Log()
    columns = [
        ColumnDescriptor("a"),
        ColumnDescriptor("s", None, None, T.ORDERED | T.ROW_STREAMABLE, ["a"]),
    ]

    async def stream(rows: Sequence[int], inputs: Sequence[Row]) -> AsyncIterator[tuple[int, str]]:
        for row, mine in zip(rows, inputs, strict=True):
            await asyncio.sleep(0.001)
            yield row, mine["a"]

    async def first(row: int, _: Row) -> str:
        await asyncio.sleep(0.001 * (5 - row))
        return f"a{row}"

    result = run_on(
        ExecutionGraph(6, columns), {"a": first, "s": stream}, observer=log, range_rows=3
    )
    assert [line for line in log.of("done") if " s" in line] == [f"done s[{r}]" for r in range(6)]
    assert result.rows() == {row: {"a": f"a{row}", "s": f"a{row}"} for row in range(6)}


# Limits, groups, order


@pytest.mark.clause("SCHED-06", "SCHED-09", "SCHED-11")
def test_limits_are_kept_and_used_to_the_full() -> None:
    running: dict[str, int] = {"a": 0, "c": 0}
    most: dict[str, int] = {"a": 0, "c": 0, "all": 0}

    def cell(name: str) -> Callable[..., Any]:
        async def make(row: int, _: Row) -> int:
            running[name] += 1
            most[name] = max(most[name], running[name])
            most["all"] = max(most["all"], sum(running.values()))
            await asyncio.sleep(1.0)
            running[name] -= 1
            return row

        return make

    async def timed() -> float:
        engine = AsyncioEngine(
            ExecutionGraph(12, [ColumnDescriptor("a"), ColumnDescriptor("c")]),
            {"a": cell("a"), "c": cell("c")},
            limits=Limits(workers=5, resources={"model": 2}, column_resource={"a": "model"}),
        )
        await engine.run()
        return asyncio.get_running_loop().time()

    assert virtualtime.run(timed()) == 6.0
    assert most == {"a": 2, "c": 3, "all": 5}


@pytest.mark.clause("GROUP-01", "GROUP-02", "GROUP-03", "GROUP-06")
def test_row_groups_are_admitted_one_after_another() -> None:
    log = Log()
    run(
        ExecutionGraph(5, AB),
        {"a": failing(Permanent(), row=3), "b": failing()},
        limits=Limits(group_rows=2, groups=1),
        observer=log,
    )
    assert log.of("admit", "retire") == [
        "admit 0",
        "retire 0",
        "admit 1",
        "retire 1",
        "admit 2",
        "retire 2",
    ]
    assert log.lines.index("start a[2]") > log.lines.index("admit 1")


@pytest.mark.clause("GROUP-04")
def test_groups_that_could_never_hold_a_barrier_are_refused_before_the_run() -> None:
    with pytest.raises(SpecError, match="'twin' waits for rows 0 to 7, which are 4 row groups"):
        AsyncioEngine(
            pipeline(8), Pipeline().generators(), limits=Limits(group_rows=2, groups=3), **OPTIONS
        )


@pytest.mark.clause("STOP-01", "STOP-02", "STOP-03")
def test_a_run_in_which_too_much_fails_stops_says_so_and_keeps_what_is_finished() -> None:
    log = Log()

    async def cell(row: int, _: Row) -> int:
        await asyncio.sleep(1.0)
        if row >= 2:
            raise Permanent("broken")
        return row

    result = run(
        ExecutionGraph(50, [ColumnDescriptor("a")]),
        {"a": cell},
        failures=FailurePolicy(stop_window=4, stop_rate=0.75),
        limits=Limits(workers=1),
        observer=log,
    )
    assert result.outcome == "stopped"
    assert log.of("stop:") == ["stop: 3 of the last 4 calls failed permanently"]
    assert log.of("start")[-1] == "start a[4]"
    assert result.rows() == {0: {"a": 0}, 1: {"a": 1}}


@pytest.mark.clause("STOP-02")
@pytest.mark.parametrize("late", ["cell", "failure", "barrier"])
def test_the_end_that_makes_a_run_stop_is_notified_before_the_stop(late: str) -> None:
    """The call that ends last is of a row that was dropped meanwhile."""

    class Patient(AsyncioEngine):
        cancel_dropped = False

    async def slow(row: int, _: Row) -> int:
        await asyncio.sleep(100.0)
        if late == "failure":
            raise Permanent("late")
        return row

    async def slow_barrier(rows: Sequence[int], _: Sequence[Row]) -> Sequence[int]:
        await asyncio.sleep(100.0)
        return rows

    async def fails(row: int, _: Row) -> int:
        await asyncio.sleep(50.0)
        raise Permanent(f"row {row}")

    log = Log()
    traits = T.BARRIER if late == "barrier" else T.NONE
    engine = Patient(
        ExecutionGraph(1, [ColumnDescriptor("a"), ColumnDescriptor("c", traits=traits)]),
        {"a": fails, "c": slow_barrier if late == "barrier" else slow},
        failures=FailurePolicy(stop_window=2, stop_rate=0.5),
        observer=log,
    )
    assert virtualtime.run(engine.run()).outcome == "stopped"
    assert [line.split(" ")[0] for line in log.of("ignore", "stop:")] == ["ignore", "stop:"]


# Another target


@pytest.mark.clause("CKPT-16")
def test_a_finished_run_goes_on_with_more_rows(tmp_path: Path) -> None:
    for rows in (2, 5):
        calls: list[int] = []

        def cell(row: int, _: Row, calls: list[int] = calls) -> int:
            calls.append(row)
            return row

        result = run(ExecutionGraph(rows, AB), {"a": cell, "b": cell}, folder=tmp_path)
        assert result.outcome == "success"
    assert sorted(set(calls)) == [2, 3, 4]
    assert result.rows() == {row: {"a": row, "b": row} for row in range(5)}


@pytest.mark.clause("CKPT-16")
def test_another_target_is_refused_if_a_barrier_would_have_read_other_rows(tmp_path: Path) -> None:
    run(pipeline(6), Pipeline().generators(), folder=tmp_path, **OPTIONS)
    with pytest.raises(SpecError, match=r"barrier 'twin' gave output .* resume with keep=True"):
        run(pipeline(9), Pipeline().generators(), folder=tmp_path, **OPTIONS)
    kept = run(pipeline(9), Pipeline().generators(), folder=tmp_path, keep=True, **OPTIONS)
    assert kept.outcome == "success"
    before = expected(6)
    assert {row: kept.rows()[row] for row in before} == before
    assert sorted(kept.rows()) == list(range(9))


def test_fewer_rows_than_are_saved_are_refused(tmp_path: Path) -> None:
    cells = {"a": failing(), "b": failing()}
    run(ExecutionGraph(4, AB), cells, folder=tmp_path)
    with pytest.raises(SpecError, match="completed_rows: expected an integer from 0 to 3, got 4"):
        run(ExecutionGraph(3, AB), cells, folder=tmp_path)


def test_a_folder_that_holds_a_run_is_not_begun_anew(tmp_path: Path) -> None:
    cells = {"a": failing(), "b": failing()}
    run(ExecutionGraph(2, AB), cells, folder=tmp_path)
    with pytest.raises(SpecError, match="there is a run to resume here"):
        run(ExecutionGraph(2, AB), cells, folder=tmp_path, resume=False)


# Storage


class Failing(MemoryStore):
    """Fails at given writes, counted from 1 over rows and checkpoints."""

    def __init__(self, records: int, at: Iterable[int]) -> None:
        super().__init__(records)
        self.at = frozenset(at)
        self.count = 0

    def _write(self) -> None:
        self.count += 1
        if self.count in self.at:
            raise OSError(28, "No space left on device")

    def write_rows(self, save: Save) -> None:
        self._write()
        super().write_rows(save)

    def write_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._write()
        super().write_checkpoint(checkpoint)


@both
@pytest.mark.clause("CKPT-08", "CKPT-10", "CKPT-11")
@pytest.mark.parametrize("at", [(1,), (2,), (1, 3)])
def test_a_failed_write_is_tried_again_and_nothing_is_claimed_on_it(
    run_on: Callable[..., Result], at: tuple[int, ...]
) -> None:
    log = Log()
    store = Failing(6, at)
    result = run_on(
        ExecutionGraph(6, AB),
        {"a": failing(Permanent()), "b": lambda row, _: row},
        store=store,
        checkpoint_every_rows=2,
        observer=log,
    )
    assert result.outcome == "success"
    assert sorted(result.rows()) == [0, 2, 3, 4, 5]
    assert sorted(store.table()[1]) == [1]
    begun = [line.split()[1] for line in log.of("begin")]
    assert begun == sorted(begun)


@both
@pytest.mark.clause("STOP-03", "SCHED-10")
def test_a_run_that_cannot_save_does_not_say_that_it_succeeded(
    run_on: Callable[..., Result],
) -> None:
    result = run_on(
        ExecutionGraph(2, AB),
        {"a": lambda row, _: row, "b": lambda row, _: row},
        store=Failing(2, range(1000)),
    )
    assert result.outcome == "failed"
    assert "No space left on device" in result.reason
    assert result.rows() == {}


def test_rows_are_saved_while_others_are_being_made() -> None:
    log = Log()
    run(
        ExecutionGraph(20, [ColumnDescriptor("a")]),
        {"a": failing()},
        limits=Limits(workers=2),
        checkpoint_every_rows=5,
        observer=log,
    )
    claims = [int(line.split()[1]) for line in log.of("safe")]
    assert len(claims) > 1
    assert claims == sorted(claims)
    assert claims[-1] == 20
    assert log.lines.index("start a[19]") > log.lines.index(log.of("safe")[0])


@pytest.mark.clause("CKPT-13")
def test_version_2_saves_columns_as_far_as_they_got(tmp_path: Path) -> None:
    """All rows are unfinished before the barrier; its inputs survive a crash all the same."""
    graph = ExecutionGraph(4, [AB[0], ColumnDescriptor("v", None, None, T.BARRIER, ["a"])])
    made: list[int] = []

    async def cell(row: int, _: Row) -> int:
        await asyncio.sleep(1.0)
        made.append(row)
        return row

    def barrier(rows: list[int], _: list[Row]) -> list[int]:
        if len(made) == 4 and not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
            raise Death
        return rows

    options: dict[str, Any] = {
        "folder": tmp_path / "run",
        "checkpoint_version": 2,
        "checkpoint_every_rows": 1,
        "limits": Limits(workers=1),
    }
    with pytest.raises(Death):
        run(graph, {"a": cell, "v": barrier}, **options)
    result = run(graph, {"a": cell, "v": barrier}, **options)
    assert made[:4] == [0, 1, 2, 3]
    assert len(made) < 8
    assert result.rows() == {row: {"a": row, "v": row} for row in range(4)}


# Memory and cost


def test_values_are_forgotten_once_they_are_safe_and_no_barrier_needs_them() -> None:
    most = 0

    class Watch(Observer):
        def started(self, call: Call) -> None:  # noqa: ARG002
            nonlocal most
            most = max(most, len(engine.scheduler.values))

    engine = AsyncioEngine(
        ExecutionGraph(200, AB),
        {"a": lambda row, _: row, "b": lambda row, _: row},
        limits=Limits(workers=2),
        checkpoint_every_rows=5,
        observer=Watch(),
    )
    assert virtualtime.run(engine.run()).outcome == "success"
    assert most < 40
    assert len(engine.scheduler.values) == 0


def test_an_event_costs_the_same_whatever_the_number_of_rows() -> None:
    small, large = (_calls_for_each_cell(rows) for rows in (200, 1600))
    assert large < 1.2 * small


def _calls_for_each_cell(rows: int) -> float:
    """Function calls within the scheduler and the tracker, for each cell of a run."""
    columns = [*AB, ColumnDescriptor("v", traits=T.BATCH_BARRIER, dependencies=["b"])]
    scheduler = Scheduler(ExecutionGraph(rows, columns, batch_size=20), limits=Limits(workers=4))
    count = 0

    def counted(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    scheduler.begin()
    sys.setprofile(counted)
    try:
        _drive(scheduler)
    finally:
        sys.setprofile(None)
    return count / (3 * rows)


def _drive(scheduler: Scheduler) -> None:
    """Run everything at once, without a clock and without storage of any kind."""
    running: list[Call] = []
    while not scheduler.is_over():
        while (call := scheduler.next_call()) is not None:
            running.append(call)
        if running:
            call = running.pop(0)
            scheduler.on_complete(call, call.rows if call.kind == "barrier" else call.start)
        if (save := scheduler.due_save()) is not None:
            scheduler.on_rows_durable(save)
            if save.checkpoint is not None:
                scheduler.on_checkpoint_begin(save)
                scheduler.on_checkpoint_durable(save)


# What may be given, and what is refused


@pytest.mark.parametrize(
    ("columns", "given", "line"),
    [
        (AB, {"a": print}, "generators: column 'b' has none"),
        (AB, {"a": print, "b": 3}, "generators: column 'b': expected a function, got 3"),
        (AB, {"a": print, "b": print, "c": print}, "unknown column 'c'; the columns are 'a', 'b'"),
        (
            (STREAM,),
            {"s": Generator(print, "barrier", False)},
            "column 's' is no barrier, got a barrier",
        ),
        (AB, {"a": Pipeline().seed, "b": print}, "column 'a' runs one row in a call"),
    ],
)
def test_generators_that_do_not_fit_are_refused_in_one_line(
    columns: tuple[ColumnDescriptor, ...], given: Mapping[str, Any], line: str
) -> None:
    with pytest.raises(SpecError) as refused:
        AsyncioEngine(ExecutionGraph(2, columns), given)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"order": "lifo"}, "order: expected 'row-first' or 'fifo', got 'lifo'"),
        ({"range_rows": 0}, "range_rows: expected a positive integer, got 0"),
        ({"checkpoint_every_rows": -1}, "every_rows: expected a positive integer, got -1"),
        ({"checkpoint_version": 4}, "version: expected 1, 2 or 3, got 4"),
        ({"skip_when": {"a": wants_skip}}, "skip_when: no column 'a' with may_skip=True"),
        ({"skip_when": {"x": wants_skip}}, "skip_when: no column 'x' with may_skip=True"),
        ({"folder": "x", "store": MemoryStore(1)}, "folder and store: give one of them"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_in_one_line(
    options: dict[str, Any], line: str
) -> None:
    with pytest.raises(SpecError) as refused:
        AsyncioEngine(ExecutionGraph(2, AB), {"a": print, "b": print}, **options)
    assert line in str(refused.value)


@both
def test_an_object_that_is_called_may_be_a_generator(run_on: Callable[..., Result]) -> None:
    class Doubles:
        async def __call__(self, row: int, _: Row) -> int:
            return 2 * row

    async def value(row: int) -> int:
        return row

    result = run_on(ExecutionGraph(2, AB), {"a": Doubles(), "b": lambda row, _: value(row)})
    assert result.rows() == {0: {"a": 0, "b": 0}, 1: {"a": 2, "b": 1}}


# Who watches


@both
def test_an_exception_of_an_observer_ends_the_run_and_the_next_run_goes_on(
    tmp_path: Path, run_on: Callable[..., Result]
) -> None:
    class Breaks(Observer):
        def completed(self, call: Call, row: int | None) -> None:
            if (call.column, row) == ("b", 3):
                raise LookupError("no such page")

    cells = {"a": lambda row, _: row, "b": lambda row, _: row}
    options = {"folder": tmp_path, "checkpoint_every_rows": 1}
    with pytest.raises(LookupError, match="no such page"):
        run_on(ExecutionGraph(5, AB), cells, observer=Breaks(), **options)
    result = run_on(ExecutionGraph(5, AB), cells, **options)
    assert result.rows() == {row: {"a": row, "b": row} for row in range(5)}


def test_a_run_on_asyncio_can_be_cancelled_and_resumed(tmp_path: Path) -> None:
    cells = {"a": failing(), "b": failing()}
    graph = ExecutionGraph(4, AB)

    async def give_up_soon() -> list[str]:
        engine = AsyncioEngine(graph, cells, folder=tmp_path, limits=Limits(workers=1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.run(), timeout=2.5)
        return [task.get_name() for task in asyncio.all_tasks()]

    assert len(virtualtime.run(give_up_soon())) == 1
    assert run(graph, cells, folder=tmp_path).outcome == "success"


def test_threads_really_run_at_once_and_the_tracker_is_read_meanwhile() -> None:
    together = threading.Barrier(3)
    seen: list[int] = []

    def cell(row: int, _: Row) -> int:
        together.wait(timeout=30)
        seen.append(len(engine.tracker))
        return row

    engine = ThreadEngine(
        ExecutionGraph(6, [ColumnDescriptor("a")]), {"a": cell}, limits=Limits(workers=3)
    )
    assert engine.run().outcome == "success"
    assert len(seen) == 6


def test_several_observers_are_notified_in_turn() -> None:
    first, second = Log(), Log()
    cells = {"a": failing(), "b": failing()}
    run(ExecutionGraph(2, AB), cells, observer=Observers(first, second))
    assert first.lines == second.lines != []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_and_nowhere_else() -> None:
    shown, silent = Terminal(), io.StringIO()
    bars = Observers(ProgressBar(2, shown), ProgressBar(2, silent))
    run(ExecutionGraph(2, AB), {"a": failing(), "b": failing()}, observer=bars)
    assert silent.getvalue() == ""
    assert "2/2 rows saved, 4 cells done, 0 rows dropped" in shown.getvalue()
    assert shown.getvalue().endswith("success: 2 of 2 rows saved, 0 dropped\n")


@pytest.mark.clause("SCHED-08", "SCHED-09")
def test_a_run_is_the_same_twice(tmp_path: Path) -> None:
    lines = []
    for name in ("one", "two"):
        log = Log()
        made = Pipeline()
        run(
            pipeline(9),
            made.generators(),
            folder=tmp_path / name,
            observer=log,
            limits=Limits(workers=3),
            **OPTIONS,
        )
        lines.append(log.lines)
    assert lines[0] == lines[1]


def test_the_example_of_the_package_is_true() -> None:
    assert doctest.testmod(cellspec.engine).failed == 0
