"""Stop requests of a workload: when the engine is asked, and what is made of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest

from cellspec import ColumnDescriptor, FailurePolicy, Limits, SpecError
from cellspec.conformance import (
    Crash,
    Fault,
    Permanent,
    Probe,
    RunResult,
    Table,
    Workload,
    run_workload,
)
from cellspec.conformance.run.backend import check_capabilities
from cellspec.conformance.run.clock import WallClock
from cellspec.conformance.run.recorder import Recorder
from cellspec.engines.reference import ReferenceBackend, ThreadBackend

WORK = Workload((ColumnDescriptor("a"),), rows=4, limits=Limits(workers=2), stop_at=(1,))


class Asked:
    """An engine without storage that makes its cells as a test says."""

    name, version, capabilities = "asked", "1", frozenset({"core", "interrupts"})

    def __init__(self, script: Callable[[Asked, Probe], Awaitable[Any]]) -> None:
        self._script = script
        self.requests: list[float] = []

    async def run(self, probe: Probe) -> None:
        await self._script(self, probe)

    def request_stop(self, probe: Probe) -> None:
        self.requests.append(probe.now())

    def table(self, _probe: Probe) -> Table:
        return Table({})


def judged(
    script: Callable[[Asked, Probe], Awaitable[Any]], work: Workload = WORK
) -> tuple[Asked, RunResult]:
    engine = Asked(script)
    return engine, run_workload(engine, work)


def kinds(result: RunResult) -> list[str]:
    return [event["event"] for event in result.events]


def test_an_engine_is_asked_after_the_step_that_the_workload_names() -> None:
    async def script(_engine: Asked, probe: Probe) -> None:
        await probe.cell("a", 0, {})
        probe.end("interrupted")

    engine, result = judged(script)
    assert engine.requests == [0.0]
    assert kinds(result) == ["start", "stop_requested", "complete", "end"]
    assert not result.violations
    assert result.outcomes == ["interrupted"]


def test_an_engine_may_be_asked_twice() -> None:
    async def script(_engine: Asked, probe: Probe) -> None:
        await asyncio.gather(*(probe.cell("a", row, {}) for row in (0, 1)))
        probe.end("interrupted")

    engine, result = judged(script, WORK.replace(stop_at=(2,), stop_twice=True))
    assert len(engine.requests) == 2
    assert kinds(result).count("stop_requested") == 2
    assert not result.violations


def test_an_engine_that_has_not_the_capability_is_not_asked() -> None:
    async def script(_engine: Asked, probe: Probe) -> None:
        await probe.cell("a", 0, {})
        probe.end("interrupted")

    engine = Asked(script)
    engine.capabilities = frozenset({"core"})
    result = run_workload(engine, WORK)
    assert not engine.requests
    assert [one.clause for one in result.violations] == ["STOP-06"]


@pytest.mark.clause("STOP-05")
def test_what_an_engine_had_decided_on_when_it_was_asked_may_still_start() -> None:
    """The second task was made before the request, and its first step comes after it."""

    async def script(_engine: Asked, probe: Probe) -> None:
        calls = [asyncio.ensure_future(probe.cell("a", 0, {}))]
        await asyncio.sleep(0)
        calls.append(asyncio.ensure_future(probe.cell("a", 1, {})))
        await asyncio.gather(*calls)
        probe.end("interrupted")

    _, result = judged(script)
    assert kinds(result)[:3] == ["start", "start", "stop_requested"]
    assert not result.violations


@pytest.mark.clause("STOP-05")
def test_a_start_that_comes_later_or_after_an_answer_to_the_request_is_a_finding() -> None:
    async def later(_engine: Asked, probe: Probe) -> None:
        await probe.cell("a", 0, {})
        await probe.cell("a", 1, {})
        probe.end("interrupted")

    async def after_the_answer(_engine: Asked, probe: Probe) -> None:
        call = asyncio.ensure_future(probe.cell("a", 0, {}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        await probe.cell("a", 1, {})
        probe.end("interrupted")

    for script in (later, after_the_answer):
        _, result = judged(script)
        assert [one.clause for one in result.violations] == ["STOP-05"], script


def test_a_process_that_is_asked_while_it_reads_its_storage_was_asked_after_its_resume() -> None:
    recorder = Recorder(WallClock(1.0, 0.0), 0, lambda: None)
    recorder.request_stop(lambda: None)
    recorder.record("resume", claim={})
    recorder.record("end", outcome="interrupted")
    assert [entry["event"] for entry in recorder.log] == ["resume", "stop_requested", "end"]


def test_a_process_that_is_gone_or_over_is_not_asked() -> None:
    async def ends(_engine: Asked, probe: Probe) -> None:
        for row in range(4):
            await probe.cell("a", row, {})
        probe.end("failed")

    engine, _ = judged(ends, WORK.replace(stop_at=(99,)))
    assert not engine.requests

    async def dies(_engine: Asked, probe: Probe) -> None:
        try:
            await probe.cell("a", 0, {})
        except Crash:
            await asyncio.sleep(0)
            raise

    engine, _ = judged(dies, WORK.replace(crashes=(1,)))
    assert not engine.requests


def test_an_error_of_the_method_is_a_mistake_of_the_adapter() -> None:
    class Broken(Asked):
        def request_stop(self, probe: Probe) -> None:
            raise ValueError(f"no engine of run {probe.incarnation}")

    async def script(_engine: Asked, probe: Probe) -> None:
        await probe.cell("a", 0, {})
        probe.end("interrupted")

    result = run_workload(Broken(script), WORK)
    assert result.adapter == "request_stop: ValueError: no engine of run 0"


def test_the_capability_needs_the_method() -> None:
    class Without:
        name, version, capabilities = "without", "1", frozenset({"core", "interrupts"})

        def run(self, probe: Probe) -> None: ...

        def table(self, _probe: Probe) -> Table:
            return Table({})

    with pytest.raises(SpecError, match=r"request_stop: expected a method, which the capability"):
        check_capabilities(Without())


@pytest.mark.clause("STOP-05", "STOP-06", "STOP-07", "CKPT-12")
@pytest.mark.parametrize("backend", [ReferenceBackend(), ThreadBackend()], ids=["aio", "threads"])
def test_an_interrupted_run_goes_on_from_what_it_had_finished(
    backend: ReferenceBackend | ThreadBackend,
) -> None:
    columns = (ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"]))
    work = Workload(columns, rows=6, limits=Limits(workers=2), stop_at=(9, 9))
    result = run_workload(backend, work)
    assert not result.violations
    assert result.outcomes == ["interrupted", "interrupted", "success"]
    claims = [event["claim"] for event in result.events if event["event"] == "resume"]
    assert 0 < min(claims[0].values()) < min(claims[1].values())


def test_the_next_process_of_an_engine_that_cannot_resume_is_not_started() -> None:
    async def script(_engine: Asked, probe: Probe) -> None:
        await probe.cell("a", 0, {})
        probe.end("interrupted")

    _, result = judged(script, WORK.replace(stop_at=(1, 1)))
    assert result.outcomes == ["interrupted"]


@pytest.mark.clause("STOP-08")
@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("outcome", ["stopped", "failed"])
def test_an_engine_without_claims_is_judged_by_the_table_that_an_early_stop_leaves(
    keeps: bool, outcome: Literal["stopped", "failed"]
) -> None:
    class Journal(Asked):
        capabilities = frozenset({"core", "drops", "early_stop", "resume"})

        def table(self, _probe: Probe) -> Table:
            return Table({0: {"a": made[0]}} if keeps else {}, frozenset({1}))

    made: list[Any] = []

    async def script(_engine: Asked, probe: Probe) -> None:
        made.append(await probe.cell("a", 0, {}))
        with pytest.raises(Permanent):
            await probe.cell("a", 1, {})
        probe.drop(1, 2, "a")
        probe.stop("one call of one failed")
        probe.end(outcome)

    work = Workload(
        (ColumnDescriptor("a"),),
        rows=3,
        faults=(Fault("a", 1, failure="permanent"),),
        failures=FailurePolicy(1, 1, 1.0),
    )
    result = run_workload(Journal(script), work)
    assert [one.clause for one in result.violations] == ([] if keeps else ["STOP-08"])


@pytest.mark.clause("STOP-07")
@pytest.mark.parametrize("keeps", [True, False])
def test_an_engine_without_claims_is_judged_by_the_table_that_an_interruption_leaves(
    keeps: bool,
) -> None:
    class Journal(Asked):
        capabilities = frozenset({"core", "interrupts", "resume"})
        rows: dict[int, dict[str, Any]]

        def table(self, _probe: Probe) -> Table:
            return Table(dict(self.rows) if keeps else {})

    async def script(engine: Asked, probe: Probe) -> None:
        assert isinstance(engine, Journal)
        engine.rows = {} if not probe.incarnation else engine.rows
        for row in range(len(engine.rows), 4):
            engine.rows[row] = {"a": await probe.cell("a", row, {})}
            if engine.requests and not probe.incarnation:
                probe.end("interrupted")
                return
        probe.end("success")

    result = run_workload(Journal(script), WORK)
    assert [one.clause for one in result.violations] == ([] if keeps else ["STOP-07"])
