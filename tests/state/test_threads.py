"""Threads on one tracker: whatever the interleaving, a thread-safe tracker loses no mark.

Three ways to look: every order of conflicting steps of two small threads (dynamic partial order
reduction), a sample of interleavings of single bytecodes (a program of its own, under the
explorer's command line), and real threads that switch as often as the interpreter lets them.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import frontrun
import pytest

from cellspec import (
    BarrierNodeId,
    CellNodeId,
    ColumnDescriptor,
    CompletionTracker,
    ExecutionGraph,
    ExecutionTraits,
    NodeId,
    ThreadSafeCompletionTracker,
)

T = ExecutionTraits
ROOT = Path(__file__).parents[2]


class Race(NamedTuple):
    """Two nodes that two threads mark, and what is ready when both are."""

    graph: ExecutionGraph
    marks: tuple[NodeId, NodeId]
    ready: set[NodeId]


RACES = {
    "two inputs of a cell": Race(
        ExecutionGraph(
            1,
            [
                ColumnDescriptor("a"),
                ColumnDescriptor("b"),
                ColumnDescriptor("c", dependencies=["a", "b"]),
            ],
        ),
        (CellNodeId(0, "a"), CellNodeId(0, "b")),
        {CellNodeId(0, "c")},
    ),
    "two rows of a barrier": Race(
        ExecutionGraph(
            2,
            [
                ColumnDescriptor("a"),
                ColumnDescriptor("b", traits=T.BARRIER, dependencies=["a"]),
            ],
        ),
        (CellNodeId(0, "a"), CellNodeId(1, "a")),
        {BarrierNodeId("b")},
    ),
    "two columns of a batch barrier": Race(
        ExecutionGraph(
            1,
            [
                ColumnDescriptor("a"),
                ColumnDescriptor("b"),
                ColumnDescriptor("c", traits=T.BATCH_BARRIER, dependencies=["a", "b"]),
            ],
            batch_size=1,
        ),
        (CellNodeId(0, "a"), CellNodeId(0, "b")),
        {BarrierNodeId("c", 0)},
    ),
}


class Shared:
    """What the threads of one interleaving share."""

    def __init__(self, race: Race, make: Callable[[ExecutionGraph], CompletionTracker]) -> None:
        self.race = race
        self.tracker = make(race.graph)
        self.claims: list[int] = []

    def mark_first(self) -> None:
        self.tracker.mark_complete(self.race.marks[0])

    def mark_second(self) -> None:
        self.tracker.mark_complete(self.race.marks[1])

    def mark_both(self) -> None:
        self.mark_first()
        self.mark_second()

    def claim(self) -> None:
        self.claims.append(self.tracker.to_checkpoint(self.race.graph)["completed_rows"])

    def nothing_is_lost(self) -> bool:
        ready = set(self.race.graph.iter_ready_nodes(self.tracker))
        return len(self.tracker) == 2 and ready == self.race.ready


def explore(
    monkeypatch: pytest.MonkeyPatch,
    setup: Callable[[], Shared],
    *threads: Callable[[Shared], None],
) -> bool | None:
    """Whether nothing is lost in any order of conflicting steps; None if that stayed open."""
    # The explorer skips a test that it was not asked for by name; it needs no more than this.
    monkeypatch.setenv("FRONTRUN_ACTIVE", "1")
    result = frontrun.explore(
        setup=setup,
        workers=list(threads),
        invariant=Shared.nothing_is_lost,
        strategy="dpor",
        preemption_bound=None,
        detect_io=False,
        reproduce_on_failure=0,
        total_timeout=60,
    )
    return result.property_holds  # type: ignore[no-any-return]


def unbound(cls: type[CompletionTracker]) -> Callable[[ExecutionGraph], CompletionTracker]:
    """Makes a tracker that no graph has asked yet."""
    return lambda graph: cls(graph.num_records)


@pytest.mark.clause("TRACK-08")
@pytest.mark.parametrize("name", RACES)
def test_in_every_order_of_two_marks_a_thread_safe_tracker_keeps_both(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for make in (ThreadSafeCompletionTracker.for_graph, unbound(ThreadSafeCompletionTracker)):
        setup = partial(Shared, RACES[name], make)
        assert explore(monkeypatch, setup, Shared.mark_first, Shared.mark_second) is True


@pytest.mark.clause("TRACK-08")
@pytest.mark.parametrize("name", RACES)
def test_the_same_two_marks_can_be_lost_by_a_tracker_that_is_not_thread_safe(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = partial(Shared, RACES[name], CompletionTracker.for_graph)
    assert explore(monkeypatch, setup, Shared.mark_first, Shared.mark_second) is False


@pytest.mark.clause("TRACK-08", "CKPT-02")
def test_a_checkpoint_taken_between_two_marks_loses_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first checkpoint also binds the tracker to its graph, which moves every mark."""
    race = RACES["two rows of a barrier"]
    setup = partial(Shared, race, unbound(ThreadSafeCompletionTracker))
    assert explore(monkeypatch, setup, Shared.mark_both, Shared.claim) is True


def test_exploring_leaves_the_locks_of_this_process_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = (threading.Lock, threading.RLock)
    setup = partial(Shared, RACES["two inputs of a cell"], ThreadSafeCompletionTracker.for_graph)
    explore(monkeypatch, setup, Shared.mark_first, Shared.mark_second)
    assert (threading.Lock, threading.RLock) == before


def sampled(kind: str) -> str:
    """What `tests.engine.interleavings` prints for one kind of tracker."""
    program = Path(sys.executable).parent / "frontrun"
    done = subprocess.run(
        [program, sys.executable, "-m", "tests.engine.interleavings", kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.long
@pytest.mark.clause("TRACK-08")
def test_a_thread_safe_tracker_keeps_every_mark_between_any_two_bytecodes() -> None:
    assert sampled("thread-safe") == "every mark kept in 300 interleavings"


@pytest.mark.clause("TRACK-08")
def test_the_sample_can_fail_a_plain_tracker_loses_a_mark() -> None:
    assert sampled("plain").startswith("a mark was lost")


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads that switch as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work(0)` to `work(count - 1)` at once, and fail if any of them does."""
    failures: list[BaseException] = []
    start = threading.Barrier(count)

    def body(number: int) -> None:
        start.wait()
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.clause("TRACK-08", "TRACK-01")
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("bound", [True, False])
def test_four_threads_that_report_the_same_cells_count_each_once(bound: bool) -> None:
    rows = 2_000
    inputs = [ColumnDescriptor(name, traits=T.START) for name in "abcd"]
    graph = ExecutionGraph(
        rows,
        [
            *inputs,
            ColumnDescriptor("sum", dependencies=list("abcd")),
            ColumnDescriptor("all", traits=T.BATCH_BARRIER, dependencies=list("abcd")),
        ],
        batch_size=7,
    )
    tracker = ThreadSafeCompletionTracker(rows)
    if bound:
        tracker = ThreadSafeCompletionTracker.for_graph(graph)

    def mark(number: int) -> None:
        # Every thread reports every cell, each in an order of its own: the same mark can come from
        # two threads at once, which is what a tracker without a lock counts twice.
        for row in range(rows):
            for name in "abcd"[number:] + "abcd"[:number]:
                tracker.mark_complete(CellNodeId(row, name))

    in_threads(4, mark)
    assert len(tracker) == 4 * rows
    assert set(graph.iter_ready_nodes_for_column("sum", tracker)) == {
        CellNodeId(row, "sum") for row in range(rows)
    }
    assert set(graph.iter_ready_nodes_for_column("all", tracker)) == {
        BarrierNodeId("all", batch) for batch in range(-(-rows // 7))
    }


@pytest.mark.clause("TRACK-08", "GRAPH-14", "TRACK-10")
@pytest.mark.usefixtures("hasty")
def test_four_engines_on_one_tracker_finish_the_graph_while_others_read_it() -> None:
    rows = 40
    graph = ExecutionGraph(
        rows,
        [
            ColumnDescriptor("a", traits=T.START),
            ColumnDescriptor("b", traits=T.BARRIER, dependencies=["a"]),
            ColumnDescriptor("c", dependencies=["a", "b"]),
            ColumnDescriptor("d", traits=T.ORDERED, dependencies=["c"]),
        ],
    )
    tracker = ThreadSafeCompletionTracker.for_graph(graph)
    seen: list[int] = []

    def run(number: int) -> None:
        while not graph.is_complete(tracker):
            for node in graph.iter_ready_nodes(tracker):
                assert all(need in tracker for need in graph.iter_dependencies(node))
                tracker.mark_complete(node)
            if number == 0:
                payload = tracker.to_checkpoint(graph, version=2)
                seen.append(payload["completed_rows"])
                ThreadSafeCompletionTracker.from_checkpoint(payload, graph)

    in_threads(4, run)
    assert seen == sorted(seen)
    assert len(tracker) == graph.num_nodes
    assert graph.get_completed_row_count(tracker) == rows
