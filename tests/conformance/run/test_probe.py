"""The probe sees each call for itself, decides how it ends, and kills the process at its step."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import ColumnDescriptor, ExecutionTraits, FailurePolicy, Limits
from cellspec.conformance import (
    SKIPPED,
    AdapterError,
    Backend,
    BackPressure,
    Crash,
    End,
    Fault,
    Permanent,
    Probe,
    Retryable,
    Table,
    Workload,
)
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.run.bounds import Bounds
from cellspec.conformance.run.calls import Lost
from cellspec.conformance.run.clock import Clock
from cellspec.conformance.run.clock_mode import ClockMode, RealClock, VirtualClock
from cellspec.conformance.run.recorder import Endless
from cellspec.conformance.run.values import Registry, barrier_value, value_of
from cellspec.text import row_words
from tests.tiny import TinyAsync

T = ExecutionTraits
Script = Callable[[Probe], Awaitable[Any]]

COLUMNS = (
    ColumnDescriptor("a", traits=T.START, side_effects=["a_score"]),
    ColumnDescriptor("b", dependencies=["a"]),
    ColumnDescriptor("s", traits=T.ROW_STREAMABLE),
    ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]),
    ColumnDescriptor("w", traits=T.BATCH_BARRIER, dependencies=["a"]),
    ColumnDescriptor("x", dependencies=["a_score"], may_skip=True),
)
WORK = Workload(COLUMNS, 6, batch_size=4, latency_s=dict.fromkeys("abvwx", 1 / 16) | {"s": 1 / 16})


class Scripted:
    """A backend that does what a test says."""

    name, version, capabilities = "scripted", "1", frozenset({"core"})

    def __init__(self, script: Script) -> None:
        self.run = script

    def table(self, _probe: Probe) -> Table:
        return Table({})


def incarnations_of(
    clock_mode: ClockMode,
    work: Workload,
    backend: Any,
    folder: Path | None = None,
    incarnation: int = 0,
    capabilities: tuple[str, ...] = ("core",),
) -> tuple[Probe, BaseException | None]:
    frozen: list[Probe] = []

    def make(clock: Clock) -> Probe:
        probe = Probe(
            work,
            incarnation,
            folder or Path(),
            frozenset(capabilities),
            clock,
            Registry(),
            freeze=lambda: frozen.append(probe),
        )
        return probe

    probe, error = clock_mode.run(backend, make, 0.0)
    assert bool(frozen) == (probe.ended_by == "crash")
    return probe, error


def watch(script: Script, work: Workload = WORK, incarnation: int = 0, *capabilities: str) -> Probe:
    """Run a script in virtual time; its errors are the test's."""
    probe, error = incarnations_of(
        VirtualClock(work),
        work,
        Scripted(script),
        incarnation=incarnation,
        capabilities=("core", *capabilities),
    )
    if error is not None and not isinstance(error, Crash):
        raise error
    return probe


def steps(probe: Probe, *fields: str) -> list[tuple[Any, ...]]:
    return [(entry["event"], *(entry.get(name) for name in fields)) for entry in probe.log]


async def expect(kind: type[Exception], call: Awaitable[Any]) -> Any:
    try:
        await call
    except kind as error:
        return error
    raise AssertionError(f"it did not raise {kind.__name__}")


# Calls


def test_a_cell_starts_at_its_call_and_completes_after_its_latency() -> None:
    async def script(probe: Probe) -> None:
        await asyncio.sleep(2)
        assert await probe.cell("a", 3, {}) == value_of("a", 3, {})

    work = WORK.replace(latency_s={"a": 1.0})
    took = work.latency("a", 3, 1)
    assert watch(script, work).log == [
        {"t": 2.0, "event": "start", "column": "a", "attempt": 1, "rows": 3},
        {"t": 2.0 + took, "event": "complete", "column": "a", "rows": 3},
    ]


def test_the_value_is_made_of_the_inputs_that_the_column_needs_and_of_no_others() -> None:
    async def script(probe: Probe) -> None:
        plain = await probe.cell("x", 0, {"a_score": "1", "b": "2", "zzz": "3"})
        assert plain == value_of("x", 0, {"a": "1"}) == await probe.cell("x", 0, {"a": "1"})

    watch(script)


def test_an_input_that_was_skipped_may_be_marked_or_none_or_left_out() -> None:
    async def script(probe: Probe) -> None:
        made = [await probe.cell("b", 0, inputs) for inputs in ({"a": SKIPPED}, {"a": None}, {})]
        assert made == [value_of("b", 0, {})] * 3

    watch(script)


def test_the_nth_call_of_a_cell_meets_the_nth_fault() -> None:
    async def script(probe: Probe) -> None:
        await probe.cell("a", 1, {})
        await expect(Retryable, probe.cell("a", 0, {}))
        pushed = await expect(BackPressure, probe.cell("a", 0, {}))
        assert pushed.retry_after_s == 2.5
        await expect(Permanent, probe.cell("a", 0, {}))
        await probe.cell("a", 0, {})

    faults = (
        Fault("a", 0, 1, "retryable"),
        Fault("a", 0, 2, "backpressure", 2.5),
        Fault("a", 0, 3, "permanent"),
    )
    probe = watch(script, WORK.replace(faults=faults, failures=FailurePolicy(max_attempts=9)))
    assert steps(probe, "rows", "attempt", "failure")[2:] == [
        ("start", 0, 1, None),
        ("fail", 0, 1, "retryable"),
        ("start", 0, 2, None),
        ("fail", 0, 2, "backpressure"),
        ("start", 0, 2, None),
        ("fail", 0, 2, "permanent"),
        ("start", 0, 2, None),
        ("complete", 0, None, None),
    ]


def test_an_engine_that_counts_attempts_itself_is_taken_at_its_word() -> None:
    async def script(probe: Probe) -> None:
        await probe.cell("a", 0, {}, attempt=7)

    assert steps(watch(script), "attempt") == [("start", 7), ("complete", None)]


def test_a_cancelled_call_is_seen_to_be_cancelled() -> None:
    async def script(probe: Probe) -> None:
        task = asyncio.create_task(probe.cell("a", 0, {}))
        await asyncio.sleep(1 / 64)
        task.cancel()
        await expect(asyncio.CancelledError, task)  # type: ignore[arg-type]

    assert steps(watch(script), "t", "rows") == [("start", 0.0, 0), ("cancel", 1 / 64, 0)]


def test_a_call_raises_a_foreign_exception_and_is_recorded_as_the_workload_reads_it() -> None:
    faults = (
        Fault("a", 0, 1, raises="OSError"),
        Fault("a", 0, 2, "backpressure", cool_down_s=None),
    )
    work = WORK.replace(faults=faults, foreign="retryable", failures=FailurePolicy(max_attempts=9))

    async def script(probe: Probe) -> None:
        await expect(OSError, probe.cell("a", 0, {}))
        busy = await expect(BackPressure, probe.cell("a", 0, {}))
        assert busy.retry_after_s is None

    ends = [kind for event, kind in steps(watch(script, work), "failure") if event == "fail"]
    assert ends == ["retryable", "backpressure"]


HANGS = WORK.replace(
    failures=FailurePolicy(2, timeout_s=2.0), faults=(Fault("a", 0, failure="timeout"),)
)


@pytest.mark.clause("FAIL-07")
@pytest.mark.parametrize("bound_s", [1.0, 2.0])
def test_a_call_that_is_cancelled_at_its_bound_has_timed_out(bound_s: float) -> None:
    async def script(probe: Probe) -> None:
        await expect(TimeoutError, asyncio.wait_for(probe.cell("a", 0, {}), bound_s))

    end = ("fail", 2.0, "timeout") if bound_s == 2 else ("cancel", 1.0, None)
    seen = steps(watch(script, HANGS, 0, "timeouts"), "t", "failure")
    assert seen == [("start", 0.0, None), end]
    # Without the capability nobody agreed on a bound.
    assert steps(watch(script, HANGS))[-1] == ("cancel",)


@pytest.mark.clause("FAIL-05", "FAIL-07")
def test_the_late_end_of_an_abandoned_call_is_no_event_and_its_answer_no_value() -> None:
    answers: list[object] = []

    async def script(probe: Probe) -> None:
        late = asyncio.create_task(probe.cell("a", 0, {}))
        await asyncio.sleep(2)
        probe.abandon("a", 0)
        answers.append(await probe.cell("a", 0, {}))
        answers.append(await late)

    probe = watch(script, HANGS, 0, "timeouts")
    assert steps(probe, "rows", "failure", "abandoned", "attempt") == [
        ("start", 0, None, None, 1),
        ("fail", 0, "timeout", True, 1),
        ("start", 0, None, None, 2),
        ("complete", 0, None, None, None),
    ]
    assert answers[0] != answers[1]


def test_a_call_that_does_not_run_cannot_be_abandoned() -> None:
    async def script(probe: Probe) -> None:
        await probe.cell("a", 0, {})
        probe.abandon("a", 0)

    probe, _ = incarnations_of(VirtualClock(HANGS), HANGS, Scripted(script))
    assert probe.misuse == "abandon: no call of 'a' at 0 is in flight"


@pytest.mark.clause("FAIL-06")
@pytest.mark.parametrize("reason", ["", "its worker idles"])
def test_a_call_that_is_taken_back_says_why_if_the_engine_does(reason: str) -> None:
    async def script(probe: Probe) -> None:
        task = asyncio.create_task(probe.cell("a", 0, {}))
        await asyncio.sleep(1 / 64)
        probe.take_back("a", 0, reason)
        task.cancel()
        await asyncio.sleep(0)

    taken = {"t": 1 / 64, "event": "take_back", "column": "a", "rows": 0}
    assert watch(script).log[1:] == [taken | ({"reason": reason} if reason else {})]


# A cache


@pytest.mark.clause("CKPT-25")
def test_a_barrier_that_is_recalled_gives_its_output_without_a_call() -> None:
    async def script(probe: Probe) -> None:
        probe.recall_barrier("w", 1, [4, 5], [{"a": "1"}, {"a": "2"}], ["x", "y"])

    probe = watch(script)
    assert steps(probe, "scope", "rows") == [("recall", 1, None), ("emit", None, (4, 6))]
    assert (probe.calls, probe.steps) == (0, 1)


@pytest.mark.clause("CKPT-25")
@pytest.mark.parametrize(
    ("inputs", "values", "odd"),
    [
        ((1, 2), None, False),
        ((1, 3), None, True),
        ((1,), None, True),
        ((1, 2), ["another", "value"], True),
    ],
    ids=["the same", "another input", "a row less", "another value"],
)
def test_what_a_cache_gives_for_a_barrier_is_compared_with_what_its_runs_read_and_gave(
    inputs: tuple[int, ...], values: list[str] | None, odd: bool
) -> None:
    async def script(probe: Probe) -> None:
        made = await probe.barrier("w", 1, [4, 5], [{"a": "1"}, {"a": "2"}])
        assert isinstance(made, list)
        rows = [4, 5][: len(inputs)]
        given = [{"a": str(one)} for one in inputs]
        probe.recall_barrier("w", 1, rows, given, values or made[: len(rows)])

    found = watch(script)._registry.odd_recalls
    assert found == (
        [
            f"barrier 1 of 'w' is recalled for {row_words([(4, 5), (5, 6)][: len(inputs)])}, with "
            "values that no run of it gave for the same inputs of exactly these rows"
        ]
        if odd
        else []
    )


def test_a_call_that_the_end_of_the_run_cancels_is_no_event() -> None:
    async def script(probe: Probe) -> None:
        probe.task = asyncio.create_task(probe.cell("a", 0, {}))  # type: ignore[attr-defined]
        await asyncio.sleep(1 / 64)
        probe.end("success")

    assert steps(watch(script)) == [("start",), ("end",)]


# Backoffs


def pushed_back(script: Script, **changes: Any) -> list[tuple[Any, ...]]:
    faults = (Fault("a", 0, 1, "backpressure", 2.0),)
    return steps(watch(script, WORK.replace(faults=faults, **changes)), "until")


def test_a_failure_without_a_reported_backoff_has_no_time() -> None:
    async def script(probe: Probe) -> None:
        await expect(BackPressure, probe.cell("a", 0, {}))
        await asyncio.sleep(3)

    assert pushed_back(script)[1] == ("fail", None)


def test_a_call_that_was_turned_away_was_in_backoff_until_it_came_back() -> None:
    async def script(probe: Probe) -> None:
        await expect(BackPressure, probe.cell("a", 0, {}))
        await asyncio.sleep(3)
        await probe.cell("a", 0, {})

    assert pushed_back(script)[1] == ("fail", 3.0625)


def test_a_crash_before_a_call_may_come_back_came_in_its_backoff() -> None:
    async def script(probe: Probe) -> None:
        await expect(BackPressure, probe.cell("a", 0, {}))
        probe.durable("", 0, 1)

    assert pushed_back(script, crashes=(3,))[1] == ("fail", 2.0625)


def test_a_failure_has_the_time_that_the_engine_gives() -> None:
    async def script(probe: Probe) -> None:
        await expect(BackPressure, probe.cell("a", 0, {}))
        probe.cooling("a", 0, probe.now() + 3)

    assert pushed_back(script)[1] == ("fail", 3.0625)


def test_a_reported_backoff_is_never_shorter_than_the_failure_asked_for() -> None:
    async def script(probe: Probe) -> None:
        await expect(BackPressure, probe.cell("a", 0, {}))
        probe.cooling("a", 0, probe.now())

    assert pushed_back(script)[1] == ("fail", 2.0625)


def test_a_call_that_comes_back_before_its_time_is_recorded_as_too_early() -> None:
    async def script(probe: Probe) -> None:
        await expect(BackPressure, probe.cell("a", 0, {}))
        await asyncio.sleep(1)
        await probe.cell("a", 0, {})

    assert pushed_back(script)[1] == ("fail", 2.0625)


# Barriers


def test_a_barrier_says_what_it_reads_and_gives_a_value_of_all_of_it_to_each() -> None:
    async def script(probe: Probe) -> None:
        rows = [0, 1, 3, 4]
        inputs = [{"a": f"value {row}"} for row in rows]
        reads = list(zip(rows, inputs, strict=True))
        made = await probe.barrier("v", 0, rows, inputs)
        assert made == [barrier_value("v", row, reads) for row in rows]

    assert steps(watch(script), "column", "scope", "rows", "reads") == [
        ("start", "v", 0, None, ((0, 2), (3, 5))),
        ("complete", "v", 0, None, None),
        ("emit", "v", None, (0, 2), None),
        ("emit", "v", None, (3, 5), None),
    ]


def test_a_barrier_gives_nothing_to_a_row_that_was_reported_as_dropped() -> None:
    async def script(probe: Probe) -> None:
        barrier = asyncio.create_task(probe.barrier("v", 0, [0, 1, 2], [{}] * 3))
        await asyncio.sleep(0)
        probe.drop(1, 2, "a")
        await barrier

    assert [step[1] for step in steps(watch(script), "rows") if step[0] == "emit"] == [0, 2]


def test_rows_that_are_read_out_of_order_are_recorded_as_they_are_read() -> None:
    async def script(probe: Probe) -> None:
        await probe.barrier("v", 0, [2, 0, 1], [{}, {}, {}])

    assert steps(watch(script), "reads")[0] == ("start", ((2, 3), (0, 2)))


def test_a_barrier_gives_no_output_to_a_row_that_was_dropped_meanwhile() -> None:
    async def script(probe: Probe) -> None:
        barrier = asyncio.create_task(probe.barrier("v", 0, [0, 1, 2], [{}] * 3))
        await expect(Permanent, probe.cell("a", 1, {}))
        await barrier

    work = WORK.replace(
        faults=(Fault("a", 1, failure="permanent"),), latency_s={"a": 1 / 16, "v": 100.0}
    )
    assert [step for step in steps(watch(script, work), "rows") if step[0] == "emit"] == [
        ("emit", 0),
        ("emit", 2),
    ]


def test_a_barrier_that_runs_again_gives_nothing_to_rows_that_are_claimed() -> None:
    async def script(probe: Probe) -> None:
        probe.resumed({"a": 6, "v": 2}, dropped=[3])
        await probe.barrier("v", 0, [0, 1, 2, 4, 5], [{}] * 5)

    probe = watch(script, WORK.replace(crashes=(9,)), incarnation=1)
    assert steps(probe, "rows")[3:] == [("emit", 2), ("emit", (4, 6))]


def test_a_barrier_that_fails_for_good_drops_the_rows_that_it_read() -> None:
    async def script(probe: Probe) -> None:
        await expect(Permanent, probe.barrier("w", 0, [0, 1], [{}] * 2))
        await probe.barrier("v", 0, [0, 1, 2], [{}] * 3)

    probe = watch(script, WORK.replace(faults=(Fault("w", 0, failure="permanent"),)))
    assert steps(probe, "rows")[-1] == ("emit", 2)


# Ranges


async def rows_of(calls: Any, most: int = 99) -> list[int]:
    found = []
    async for row, value in calls:
        assert value == value_of("s", row, {})
        found.append(row)
        if len(found) == most:
            await calls.aclose()
    return found


def test_a_range_gives_its_rows_one_by_one() -> None:
    async def script(probe: Probe) -> None:
        assert await rows_of(probe.range("s", 2, 5, [{}] * 3)) == [2, 3, 4]

    assert steps(watch(script), "t", "rows") == [
        ("start", 0.0, (2, 5)),
        ("complete", 1 / 16, 2),
        ("complete", 2 / 16, 3),
        ("complete", 3 / 16, 4),
    ]


def test_a_range_of_one_row_is_a_cell() -> None:
    async def script(probe: Probe) -> None:
        assert await rows_of(probe.range("s", 2, 3, [{}])) == [2]

    probe = watch(script)
    assert steps(probe, "rows") == [("start", 2), ("complete", 2)]


def test_a_range_that_fails_keeps_what_it_gave_and_spends_an_attempt_of_the_rest() -> None:
    async def script(probe: Probe) -> None:
        await expect(Retryable, rows_of(probe.range("s", 0, 4, [{}] * 4)))
        assert await rows_of(probe.range("s", 1, 4, [{}] * 3)) == [1, 2, 3]

    probe = watch(script, WORK.replace(faults=(Fault("s", 1),)))
    assert steps(probe, "rows", "attempt") == [
        ("start", (0, 4), 1),
        ("complete", 0, None),
        ("fail", (1, 4), 1),
        ("start", (1, 4), 2),
        *(("complete", row, None) for row in (1, 2, 3)),
    ]


def test_a_call_of_a_range_counts_for_the_rows_that_it_comes_to() -> None:
    async def script(probe: Probe) -> None:
        await expect(Retryable, rows_of(probe.range("s", 0, 4, [{}] * 4)))
        await expect(Retryable, rows_of(probe.range("s", 1, 4, [{}] * 3)))
        assert await rows_of(probe.range("s", 3, 4, [{}])) == [3]

    faults = (Fault("s", 1, 1), Fault("s", 2, 1))
    probe = watch(script, WORK.replace(faults=faults, failures=FailurePolicy(max_attempts=9)))
    assert [step[1] for step in steps(probe, "rows") if step[0] == "fail"] == [(1, 4), (2, 4)]


def test_a_range_that_is_closed_is_cancelled_in_what_it_has_not_given() -> None:
    async def script(probe: Probe) -> None:
        assert await rows_of(probe.range("s", 0, 4, [{}] * 4), most=2) == [0, 1]

    assert steps(watch(script), "rows")[-1] == ("cancel", (2, 4))


# Reports


def test_the_reports_of_an_engine_are_recorded_unchanged() -> None:
    async def script(probe: Probe) -> None:
        probe.admit(1)
        probe.skip("x", 4)
        probe.drop(1, 3, "a")
        probe.durable("", 0, 6)
        probe.durable("a", 3, 4)
        probe.checkpoint_begin({"a": 2})
        probe.checkpoint_failed()
        probe.checkpoint_begin(1)
        probe.checkpoint_durable()
        probe.retire(1)
        probe.stop("enough")
        probe.end("stopped", "too many")

    probe = watch(script, WORK.replace(limits=Limits(group_rows=4)))
    none = dict.fromkeys("bsvwx", 0)
    assert [{k: v for k, v in entry.items() if k != "t"} for entry in probe.log] == [
        {"event": "admit", "rows": (4, 6)},
        {"event": "skip", "column": "x", "rows": 4},
        {"event": "drop", "column": "a", "rows": (1, 3)},
        {"event": "durable", "column": "", "rows": (0, 6)},
        {"event": "durable", "column": "a", "rows": 3},
        {"event": "checkpoint_begin", "claim": {"a": 2} | none},
        {"event": "checkpoint_failed"},
        {"event": "checkpoint_begin", "claim": dict.fromkeys("absvwx", 1)},
        {"event": "checkpoint_durable"},
        {"event": "retire", "rows": (4, 6)},
        {"event": "stop", "reason": "enough"},
        {"event": "end", "outcome": "stopped", "reason": "too many"},
    ]


def test_a_resume_records_the_claim_of_storage_and_the_number_of_rows() -> None:
    async def script(probe: Probe) -> None:
        probe.resumed(3, dropped=[2, 0, 1], skipped={"x": [1], "a": []}, keep=True)

    (entry,) = watch(script, WORK.replace(targets=(6, 9)), incarnation=1).log
    assert entry == {
        "t": 0.0,
        "event": "resume",
        "claim": dict.fromkeys("absvwx", 3),
        "dropped": ((0, 3),),
        "skipped": {"x": ((1, 2),)},
        "records": 9,
        "keep": True,
    }


def test_a_resume_without_drops_leaves_them_open() -> None:
    async def script(probe: Probe) -> None:
        probe.resumed(3)

    (entry,) = watch(script, WORK.replace(crashes=(1,)), incarnation=1).log
    assert entry.keys() == {"t", "event", "claim"}


# What an adapter cannot mean

MISUSES: list[tuple[str, Callable[[Probe], Any], str]] = [
    ("cell of no column", lambda p: p.cell("z", 0, {}), "unknown column 'z'; the workload has 'a'"),
    ("cell of no row", lambda p: p.cell("a", 6, {}), "'a': row 6 is out of range; there are 6"),
    (
        "a row that is none",
        lambda p: p.cell("a", cast(int, 0.0), {}),
        "'a': expected the number of a row, got 0.0",
    ),
    ("cell of a barrier", lambda p: p.cell("v", 0, {}), "cell: column 'v' is a barrier; call"),
    ("barrier of a cell", lambda p: p.barrier("a", 0, [], []), "barrier: column 'a' is no barrier"),
    ("no such scope", lambda p: p.barrier("w", 2, [], []), "barrier: column 'w' has no scope 2 of"),
    ("too few inputs", lambda p: p.barrier("v", 0, [1], []), "barrier: 'v': 1 row, 0 inputs"),
    (
        "recall of a barrier",
        lambda p: p.recall("v", 0, {}, ""),
        "recall: column 'v' is a barrier; call recall_barrier",
    ),
    (
        "recalled barrier of a cell",
        lambda p: p.recall_barrier("a", 0, [], [], []),
        "recall_barrier: column 'a' is no barrier; call recall",
    ),
    (
        "too few recalled values",
        lambda p: p.recall_barrier("v", 0, [1], [{}], []),
        "recall_barrier: 'v': 1 row, 0 values",
    ),
    (
        "range of a cell",
        lambda p: rows_of(p.range("a", 0, 1, [{}])),
        "range: column 'a' is not row-streamable; call cell",
    ),
    ("empty range", lambda p: rows_of(p.range("s", 1, 1, [])), "rows [1, 1) are not within 0 to 6"),
    ("too few", lambda p: rows_of(p.range("s", 0, 2, [{}])), "range: 's': 2 rows, 1 input"),
    ("resume", lambda p: p.resumed(0), "resumed: the first incarnation has nothing to resume from"),
    ("claim", lambda p: p.checkpoint_begin({"z": 1}), "unknown column 'z'; the workload has"),
    ("backoff", lambda p: p.cooling("a", 0, 1.0), "no backoff of 'a' at 0: it did not fail before"),
    (
        "end",
        lambda p: p.end(cast(Any, "fine")),
        "end: expected one of success, stopped, failed, interrupted, got 'fine'",
    ),
    ("group", lambda p: p.admit(0), "the workload has no row groups"),
    ("skip", lambda p: p.skip("z", 0), "unknown column 'z'"),
    ("drop", lambda p: p.drop(0, 7, "a"), "rows [0, 7) are not within 0 to 6"),
    ("durable", lambda p: p.durable("a", 3, 2), "rows [3, 2) are not within 0 to 6"),
    ("wish", lambda p: p.wants_skip("a", -1), "'a': row -1 is out of range"),
]


@pytest.mark.parametrize(
    ("misuse", "expected"), [case[1:] for case in MISUSES], ids=[case[0] for case in MISUSES]
)
def test_a_call_that_no_engine_could_mean_ends_the_run_with_one_line(
    misuse: Callable[[Probe], Any], expected: str
) -> None:
    after = []

    async def script(probe: Probe) -> None:
        try:
            made = misuse(probe)
            if asyncio.iscoroutine(made):
                await made
        except Exception:
            pass  # an engine that takes everything for a failure of the generator
        await asyncio.sleep(0)
        after.append("went on")

    probe, error = incarnations_of(VirtualClock(WORK), WORK, Scripted(script))
    assert isinstance(error, AdapterError)
    assert str(error) == probe.misuse
    assert probe.misuse.startswith(expected)
    assert "\n" not in probe.misuse
    assert (probe.ended_by, probe.log, after) == ("misuse", [], [])


# Crashes

FULL = Workload(
    (*COLUMNS[:2], *COLUMNS[3:]),
    3,
    batch_size=2,
    faults=(Fault("b", 1, 1, "backpressure", 1.0), Fault("w", 1, failure="permanent")),
    skips=(("x", 0),),
    checkpoint_every_rows=1,
)


def in_virtual_time(work: Workload, folder: Path) -> Probe:
    folder.mkdir()
    return incarnations_of(VirtualClock(work), work, TinyAsync(), folder)[0]


def test_a_crash_at_any_step_cuts_the_same_run_off_at_that_step(tmp_path: Path) -> None:
    whole = in_virtual_time(FULL, tmp_path / "whole")
    assert whole.steps > 30
    for step in range(1, whole.steps + 1):
        cut = in_virtual_time(FULL.replace(crashes=(step,)), tmp_path / str(step))
        assert (cut.ended_by, cut.steps) == ("crash", step)
        # The time to wait is said after the failure, and the process may die before it is.
        mine, others = (
            [{name: value for name, value in entry.items() if name != "until"} for entry in log]
            for log in (cut.log, whole.log)
        )
        assert mine == others[: len(mine)]


def test_nothing_of_the_engine_runs_after_its_crash_in_virtual_time() -> None:
    after = []

    async def other() -> None:
        await asyncio.sleep(0)
        after.append("another task")

    async def script(probe: Probe) -> None:
        probe.task = asyncio.create_task(other())  # type: ignore[attr-defined]
        try:
            await probe.cell("a", 0, {})
        except BaseException:
            await asyncio.sleep(0)
            after.append("the same task")
        finally:
            await asyncio.sleep(0)
            after.append("its clean-up")

    probe = watch(script, WORK.replace(crashes=(1,)))
    assert (probe.ended_by, after) == ("crash", [])


def test_every_later_call_and_report_raises_the_crash_and_leaves_no_event() -> None:
    raised = []

    async def script(probe: Probe) -> None:
        try:
            await probe.cell("a", 0, {})
        except Crash:
            for late in (
                lambda: probe.cell_sync("a", 1, {}),
                lambda: probe.barrier_sync("v", 0, [], []),
                lambda: list(probe.range_sync("s", 0, 1, [{}])),
                lambda: probe.durable("", 0, 1),
                lambda: probe.storage_step("write"),
                lambda: probe.end("success"),
            ):
                with pytest.raises(Crash):
                    late()
                raised.append(late)
            raise

    probe = watch(script, WORK.replace(crashes=(2,)))
    assert len(raised) == 6
    assert steps(probe) == [("start",), ("complete",)]


def test_a_step_of_storage_dies_before_it_is_done() -> None:
    done = []

    async def script(probe: Probe) -> None:
        for name in ("write", "sync", "rename"):
            probe.storage_step(name)
            done.append(name)

    watch(script, WORK.replace(crashes=(2,)))
    assert done == ["write"]


def test_a_run_that_makes_calls_for_ever_is_stopped() -> None:
    async def script(probe: Probe) -> None:
        while True:
            await probe.cell("a", 0, {})

    def make(clock: Clock) -> Probe:
        return Probe(WORK, 0, Path(), frozenset(), clock, Registry(), bounds=Bounds(calls=50))

    backend: Any = Scripted(script)
    probe, error = VirtualClock(WORK).run(backend, make, 0.0)
    assert isinstance(error, Crash)
    assert (probe.ended_by, str(error)) == ("limit", "stopped after 50 calls")


async def write_for_ever(probe: Probe) -> None:
    while True:
        # Against a storage that takes no time this never gives anybody else a turn.
        with contextlib.suppress(OSError):
            async with probe.storage("data"):
                pass
        probe.checkpoint_failed()


async def write_for_ever_every_second(probe: Probe) -> None:
    while True:
        probe.checkpoint_failed()
        await asyncio.sleep(1.0)


@pytest.mark.parametrize(
    ("script", "what"),
    [
        (write_for_ever, "100 calls and reports without any time passing"),
        (write_for_ever_every_second, "1,000 calls and reports"),
    ],
)
def test_a_run_that_uses_the_probe_for_ever_is_stopped_with_the_line_of_the_engine(
    script: Callable[[Probe], Any], what: str
) -> None:
    bounds = Bounds(uses=1_000, idle_uses=100)

    def make(clock: Clock) -> Probe:
        return Probe(WORK, 0, Path(), frozenset(), clock, Registry(), bounds=bounds)

    backend: Any = Scripted(script)
    probe, error = VirtualClock(WORK).run(backend, make, 0.0)
    assert isinstance(error, Endless)
    assert (probe.ended_by, str(error)) == ("limit", f"stopped after {what}")
    assert error.places[0].startswith(f"in {script.__name__} (run/test_probe.py:")
    assert len(probe.log) <= 1_000


def test_a_run_that_reports_much_at_many_instants_is_not_stopped() -> None:
    async def script(probe: Probe) -> None:
        for _ in range(20):
            for _ in range(90):
                probe.checkpoint_failed()
            await asyncio.sleep(1.0)

    def make(clock: Clock) -> Probe:
        bounds = Bounds(uses=10_000, idle_uses=100)
        return Probe(WORK, 0, Path(), frozenset(), clock, Registry(), bounds=bounds)

    backend: Any = Scripted(script)
    probe, error = VirtualClock(WORK).run(backend, make, 0.0)
    assert (probe.ended_by, error, len(probe.log)) == ("", None, 1_800)


# Threads


@pytest.mark.clause("SCHED-12")
def test_threads_that_use_the_probe_for_ever_are_stopped_even_if_they_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Bounds, "of", lambda *_: Bounds(uses=500))

    class Spins:
        name, version, capabilities = "spins", "1", frozenset({"core"})

        def run(self, probe: Probe) -> None:
            with contextlib.suppress(BaseException):
                while True:
                    probe.checkpoint_failed()

        def table(self, _probe: Probe) -> Table:
            return Table({})

    backend: Any = Spins()
    (found,) = run_workload(backend, WORK.replace(rows=1)).violations
    assert (found.clause, found.detail.split(" after ")[0]) == (
        "SCHED-12",
        "the run does not end: stopped",
    )
    assert "in test_threads_that_use" in found.explanation[2]


def in_threads(count: int, work: Workload, each: Callable[[Probe, int], Any]) -> Probe:
    class Threads:
        name, version, capabilities = "threads", "1", frozenset({"core"})

        def run(self, probe: Probe) -> None:
            self.ends: list[str] = []

            def one(number: int) -> None:
                try:
                    each(probe, number)
                    self.ends.append("end")
                except Crash:
                    self.ends.append("crash")

            threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    backend: Any = Threads()
    probe, error = incarnations_of(RealClock(1 / 1024, 20.0), work, backend)
    assert error is None
    probe.ends = backend.ends  # type: ignore[attr-defined]
    return probe


def test_calls_of_many_threads_are_put_into_one_order_of_time() -> None:
    def each(probe: Probe, number: int) -> None:
        for row in range(number, 64, 8):
            probe.cell_sync("a", row, {})

    probe = in_threads(8, Workload(COLUMNS, 64, batch_size=4), each)
    times = [entry["t"] for entry in probe.log]
    assert times == sorted(times)
    for kind in ("start", "complete"):
        rows = [entry["rows"] for entry in probe.log if entry["event"] == kind]
        assert sorted(rows) == list(range(64))


def test_a_crash_comes_out_of_the_calls_of_every_thread_however_long_they_take() -> None:
    def each(probe: Probe, number: int) -> None:
        if number:
            probe.cell_sync("b", number, {})
        else:
            for row in range(6):
                probe.cell_sync("a", row, {})

    work = WORK.replace(crashes=(10,), latency_s={"a": 1 / 16, "b": 10.0**6})
    probe = in_threads(4, work, each)
    assert probe.ends == ["crash"] * 4  # type: ignore[attr-defined]
    assert probe.steps == 10


@pytest.mark.parametrize("name", ["cell", "barrier", "range"])
def test_a_call_whose_caller_died_is_turned_away_and_spends_no_attempt(name: str) -> None:
    """What it was to give is still wanted: it may be made again, with the same attempt."""

    def each(probe: Probe, _number: int) -> None:
        died = threading.Event()

        def call(**lost: Any) -> Any:
            if name == "range":
                return list(probe.range_sync("s", 0, 2, [{}, {}], **lost))
            if name == "barrier":
                return probe.barrier_sync("v", 0, [0], [{"a": "x"}], **lost)
            return probe.cell_sync("a", 0, {}, **lost)

        caller = threading.Timer(0.05, died.set)
        caller.start()
        with pytest.raises(Lost, match="the caller died"):
            call(lost=died.is_set)
        caller.join()
        call(lost=lambda: False)

    never = tuple(End(0, column, 0, call=1, t=10.0**6) for column in "asv")
    probe = in_threads(1, WORK.replace(ends=never), each)
    assert probe.ends == ["end"]  # type: ignore[attr-defined]
    assert steps(probe, "attempt", "failure")[:3] == [
        ("start", 1, None),
        ("fail", 1, "backpressure"),
        ("start", 1, None),
    ]
    assert [entry["event"] for entry in probe.log].count("complete") == 1 + (name == "range")


# The graph


def test_the_graph_counts_its_questions() -> None:
    async def script(probe: Probe) -> None:
        graph = probe.graph
        node = graph.barrier_node(graph.rules.index["v"], 0)
        assert graph.questions == 0
        graph.get_dependencies(node)
        assert graph.questions == 1 + 6
        graph.get_dependents(node)
        assert graph.questions == 7 + 1 + 6
        next(iter(graph.iter_ready_nodes(graph.tracker())))
        assert graph.questions == 14 + 2

    watch(script)


@given(st.integers(1, 40), st.integers(1, 40))
def test_the_questions_per_event_do_not_grow_with_rows(few: int, more: int) -> None:
    async def script(probe: Probe) -> None:
        tracker = probe.graph.tracker()
        for node in probe.graph.iter_ready_nodes(tracker):
            if hasattr(node, "row"):
                await probe.cell("a", node.row, {})
            tracker.mark_complete(node)

    asked: Sequence[float] = [
        (probe := watch(script, Workload(COLUMNS[:1], rows))).graph.questions / len(probe.log)
        for rows in (few, few + more)
    ]
    assert asked[1] <= asked[0]


def test_an_object_with_the_members_of_the_protocol_is_a_backend() -> None:
    async def script(probe: Probe) -> None:
        probe.end("success")

    assert isinstance(Scripted(script), Backend)
    assert not isinstance(object(), Backend)
