"""A probe that is served to other processes answers there as it does at home."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance import (
    AdapterError,
    BackPressure,
    Crash,
    Fault,
    Permanent,
    Probe,
    Retryable,
    Table,
    Workload,
)
from cellspec.conformance.run.clock import Clock
from cellspec.conformance.run.clock_mode import RealClock
from cellspec.conformance.run.values import Registry, barrier_value, value_of
from cellspec.engines.remote import Gone, ProbeServer, RemoteProbe

T = ExecutionTraits
WORK = Workload(
    (
        ColumnDescriptor("a"),
        ColumnDescriptor("s", traits=T.ROW_STREAMABLE),
        ColumnDescriptor("v", traits=T.BARRIER, dependencies=["a"]),
        ColumnDescriptor("x", may_skip=True),
    ),
    4,
    latency_s=dict.fromkeys("asvx", 1 / 16),
    skips=(("x", 2),),
)
SLOW = WORK.replace(latency_s=dict.fromkeys("asvx", 600.0))
SPAWN = multiprocessing.get_context("spawn")


@contextlib.contextmanager
def served(
    work: Workload = WORK, **more: Callable[..., Any]
) -> Iterator[tuple[Probe, ProbeServer]]:
    """A probe in real time, and the server that serves it."""
    made: list[Probe] = []
    ready, over = threading.Event(), threading.Event()

    class Waits:
        name, version, capabilities = "waits", "1", frozenset({"core"})

        def run(self, probe: Probe) -> None:
            made.append(probe)
            ready.set()
            over.wait()

        def table(self, _probe: Probe) -> Table:
            return Table({})

    def make(clock: Clock) -> Probe:
        return Probe(work, 0, Path(), frozenset({"core"}), clock, Registry())

    incarnation = threading.Thread(target=RealClock(1 / 64, 60.0).run, args=(Waits(), make, 0.0))
    incarnation.start()
    ready.wait()
    try:
        with ProbeServer(made[0], more) as server:
            try:
                yield made[0], server
            finally:
                made[0].close()
    finally:
        over.set()
        incarnation.join()


def steps(probe: Probe, *fields: str) -> list[tuple[Any, ...]]:
    return [(entry["event"], *(entry.get(name) for name in fields)) for entry in probe.log]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.002)


def test_a_remote_call_gives_the_probes_result_and_the_probe_sees_it() -> None:
    with served() as (probe, server):
        remote = pickle.loads(pickle.dumps(server.remote))
        value = remote.cell("a", 1, {})
        assert value == value_of("a", 1, {})
        reads = [(1, {"a": value})]
        assert remote.barrier("v", 0, [1], [{"a": value}]) == [barrier_value("v", 1, reads)]
        assert [remote.wants_skip("x", row) for row in range(4)] == [False, False, True, False]
    assert steps(probe, "column", "rows", "reads") == [
        ("start", "a", 1, None),
        ("complete", "a", 1, None),
        ("start", "v", None, ((1, 2),)),
        ("complete", "v", None, None),
        ("emit", "v", 1, None),
    ]


def test_a_range_gives_its_rows_one_by_one() -> None:
    with served() as (_, server):
        rows = server.remote.range("s", 0, 3, [{}, {}, {}])
        assert list(rows) == [(row, value_of("s", row, {})) for row in range(3)]


def test_a_range_that_is_closed_is_cancelled_before_close_returns() -> None:
    with served() as (probe, server):
        rows = server.remote.range("s", 0, 4, [{}] * 4)
        assert next(rows)[0] == 0
        rows.close()
        assert steps(probe, "column")[-1] == ("cancel", "s")
        assert server.remote.cell("a", 0, {}) == value_of("a", 0, {})


@pytest.mark.parametrize("failure", ["retryable", "backpressure", "permanent"])
def test_a_failure_comes_out_as_the_kind_that_it_is(failure: Any) -> None:
    kinds = {"retryable": Retryable, "backpressure": BackPressure, "permanent": Permanent}
    work = WORK.replace(faults=(Fault("a", 0, 1, failure, 8.0), Fault("s", 1, 1, failure)))
    with served(work) as (_, server):
        with pytest.raises(kinds[failure], match="call 1 fails, as the workload says") as found:
            server.remote.cell("a", 0, {})
        if isinstance(found.value, BackPressure):
            assert found.value.retry_after_s == 8.0 / 64
        given: list[tuple[int, str]] = []
        with pytest.raises(kinds[failure]):
            given.extend(server.remote.range("s", 0, 3, [{}, {}, {}]))
        # The connection is as good as before.
        assert server.remote.cell("a", 1, {}) == value_of("a", 1, {})


def test_an_error_of_the_adapter_comes_out_as_one() -> None:
    with (
        served() as (_, server),
        pytest.raises(AdapterError, match="unknown column 'nope'"),
    ):
        server.remote.cell("nope", 0, {})


def test_a_crash_is_no_base_exception_in_a_worker_and_is_one_beside_the_probe() -> None:
    with served(WORK.replace(crashes=(2,))) as (probe, server):
        server.check()
        with pytest.raises(Gone, match="dies at step 2"):
            server.remote.cell("a", 0, {})
        with pytest.raises(Gone):
            server.remote.cell("a", 1, {})
        with pytest.raises(Crash, match="dies at step 2"):
            server.check()
        assert probe.ended_by == "crash"


def test_a_probe_that_is_served_no_more_is_gone() -> None:
    with served() as (_, server):
        server.remote.cell("a", 0, {})
        server.close()
        for _ in range(2):
            with pytest.raises(Gone, match="not served any more"):
                server.remote.cell("a", 1, {})


def test_a_caller_without_the_key_is_turned_away_and_others_are_served() -> None:
    with served() as (_, server):
        stranger = RemoteProbe(server.remote._host, server.remote._port, b"guess")
        with pytest.raises(Gone):
            stranger.cell("a", 0, {})
        assert server.remote.cell("a", 0, {}) == value_of("a", 0, {})


def test_threads_are_served_at_the_same_time() -> None:
    with served() as (probe, server):
        both = threading.Barrier(2)

        def pass_time(wait: Callable[[], None]) -> None:
            both.wait(10)
            wait()

        probe.pass_time_in(pass_time)
        threads = [
            threading.Thread(target=server.remote.cell, args=("a", row, {})) for row in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [event for (event,) in steps(probe)] == ["start", "start", "complete", "complete"]


def test_functions_of_the_adapter_are_served_too() -> None:
    def add(one: int, two: int, lost: Callable[[], bool]) -> int:
        assert not lost()
        return one + two

    with served(add=add) as (_, server):
        assert server.remote.ask("add", 1, 2) == 3


# A worker that dies


def make_cell(remote: RemoteProbe, column: str, row: int) -> None:
    remote.cell(column, row, {})


def run_barrier(remote: RemoteProbe) -> None:
    remote.barrier("v", 0, [0], [{"a": "x"}])


def run_range(remote: RemoteProbe) -> None:
    list(remote.range("s", 0, 4, [{}] * 4))


@pytest.mark.parametrize(
    ("task", "arguments"),
    [(make_cell, ("a", 0)), (run_barrier, ()), (run_range, ())],
    ids=["cell", "barrier", "range"],
)
def test_the_call_of_a_worker_that_is_killed_is_turned_away_and_spends_no_attempt(
    task: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    with served(SLOW) as (probe, server):
        worker = SPAWN.Process(target=task, args=(server.remote, *arguments))
        worker.start()
        until(lambda: len(probe.log) == 1)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        until(lambda: len(probe.log) == 2)
        assert steps(probe, "attempt", "failure") == [
            ("start", 1, None),
            ("fail", 1, "backpressure"),
        ]


def test_nothing_is_left_when_a_server_is_closed() -> None:
    before = threading.active_count()
    with served() as (_, server):
        server.remote.cell("a", 0, {})
    assert threading.active_count() == before
