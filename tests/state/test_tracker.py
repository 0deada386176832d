"""Trackers: what is known to have run, what is refused, and what it costs."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from cellspec import (
    BarrierNodeId,
    CellNodeId,
    ColumnDescriptor,
    CompletionTracker,
    CompletionTrackerProtocol,
    ExecutionGraph,
    ExecutionTraits,
    NodeError,
    NodeId,
    ThreadSafeCompletionTracker,
)
from tests.matrix.checks import steps
from tests.oracles import Definition, NaiveModel
from tests.strategies import Case, cases, picks

pytestmark = pytest.mark.invariant

T = ExecutionTraits
C = ColumnDescriptor

BOTH = pytest.mark.parametrize("cls", [CompletionTracker, ThreadSafeCompletionTracker])

COLUMNS = [
    C("a", traits=T.START),
    C("b", traits=T.BARRIER, dependencies=["a"]),
    C("p", traits=T.BATCH_BARRIER, dependencies=["a"]),
    C("c", dependencies=["b", "p"]),
]
GRAPH = ExecutionGraph(3, COLUMNS, batch_size=2)


def cells(column: str, rows: int) -> list[NodeId]:
    return [CellNodeId(row, column) for row in range(rows)]


# Marks


@pytest.mark.clause("TRACK-01")
@BOTH
@pytest.mark.parametrize("own", [True, False], ids=["of the graph", "bare"])
def test_a_node_is_complete_from_its_first_mark_on(cls: type[CompletionTracker], own: bool) -> None:
    tracker = cls.for_graph(GRAPH) if own else cls(3)
    assert tracker.num_records == 3
    nodes: list[NodeId] = [
        CellNodeId(1, "a"),
        BarrierNodeId("b"),
        BarrierNodeId("p", 1),
        CellNodeId(2, "p"),
    ]
    for count, node in enumerate(nodes, 1):
        assert node not in tracker
        for _ in range(3):
            tracker.mark_complete(node)
            assert node in tracker
            assert tracker.is_complete(node)
            assert len(tracker) == count
    assert tracker.is_barrier_complete("b")
    assert tracker.is_barrier_complete("p", 1)
    assert not tracker.is_barrier_complete("p", 0)


@pytest.mark.clause("TRACK-01", "TRACK-04")
@given(case=cases(max_columns=4, max_rows=5), answers=picks)
def test_marking_again_changes_no_answer(case: Case, answers: list[int]) -> None:
    graph = case.graph()
    nodes = list(graph.iter_nodes())
    once, twice = graph.tracker(), graph.tracker()
    for pick in answers:
        node = nodes[pick % len(nodes)]
        once.mark_complete(node)
        twice.mark_complete(node)
        twice.mark_complete(nodes[answers[0] % len(nodes)])
    assert list(graph.iter_ready_nodes(once)) == list(graph.iter_ready_nodes(twice))
    assert len(once) == len(twice)
    assert once.to_checkpoint(graph, 2) == twice.to_checkpoint(graph, 2)


@pytest.mark.clause("TRACK-04")
@BOTH
def test_a_column_is_complete_when_each_of_its_cells_is(cls: type[CompletionTracker]) -> None:
    for tracker in (cls(3), cls.for_graph(GRAPH)):
        assert tracker.column_completion_count("a") == 0
        for done, row in enumerate((2, 0, 0, 1)):
            assert tracker.is_column_complete("a") is False
            tracker.mark_complete(CellNodeId(row, "a"))
            assert tracker.column_completion_count("a") == (1, 2, 2, 3)[done]
        assert tracker.is_column_complete("a") is True
        assert not tracker.is_column_complete("b")


@pytest.mark.clause("TRACK-04")
def test_a_barrier_node_is_no_cell_of_its_column() -> None:
    tracker = GRAPH.tracker()
    tracker.mark_complete(BarrierNodeId("b"))
    assert tracker.column_completion_count("b") == 0
    assert tracker.is_barrier_complete("b")
    assert len(tracker) == 1


# What is refused

OUT_OF_RANGE: list[Any] = [-1, 3, 10**30, True, False, 1.0, "1", None, [0], (0,)]


@pytest.mark.clause("TRACK-02")
@BOTH
@pytest.mark.parametrize("row", OUT_OF_RANGE, ids=repr)
def test_a_row_out_of_range_is_refused_and_not_counted(
    cls: type[CompletionTracker], row: Any
) -> None:
    for tracker in (cls(3), cls.for_graph(GRAPH)):
        with pytest.raises(NodeError) as caught:
            tracker.mark_complete(CellNodeId(row, "a"))
        assert str(caught.value) == f"Row {row!r} is out of range; expected 0 to 2"
        with pytest.raises(NodeError):
            tracker.is_complete(CellNodeId(row, "a"))
        assert CellNodeId(row, "a") not in tracker
        assert len(tracker) == 0
        assert tracker.column_completion_count("a") == 0


FOREIGN: list[tuple[Any, str]] = [
    (CellNodeId(0, "z"), "unknown column 'z'; this graph has 'a', 'b', 'p', 'c'"),
    (BarrierNodeId("z"), "unknown column 'z'; this graph has 'a', 'b', 'p', 'c'"),
    (BarrierNodeId("a"), "column 'a' is not a barrier and has no barrier node"),
    (BarrierNodeId("b", 0), "barrier 'b' waits for the dataset; batch 0 given"),
    (BarrierNodeId("p"), "barrier 'p': batch None is out of range; expected 0 to 1"),
    (BarrierNodeId("p", 2), "barrier 'p': batch 2 is out of range; expected 0 to 1"),
]


@pytest.mark.clause("TRACK-03")
@BOTH
@pytest.mark.parametrize(("node", "message"), FOREIGN, ids=[str(node) for node, _ in FOREIGN])
def test_a_graphs_own_tracker_refuses_nodes_that_the_graph_does_not_have(
    cls: type[CompletionTracker], node: NodeId, message: str
) -> None:
    tracker = cls.for_graph(GRAPH)
    for ask in (tracker.mark_complete, tracker.is_complete):
        with pytest.raises(NodeError) as caught:
            ask(node)
        assert str(caught.value) == message
    assert node not in tracker
    assert len(tracker) == 0


@pytest.mark.clause("TRACK-03")
def test_a_graphs_own_tracker_refuses_questions_about_unknown_columns() -> None:
    tracker = GRAPH.tracker()
    message = "unknown column 'z'; this graph has 'a', 'b', 'p', 'c'"
    for ask in (
        tracker.column_completion_count,
        tracker.is_column_complete,
        tracker.is_barrier_complete,
    ):
        with pytest.raises(NodeError) as caught:
            ask("z")
        assert str(caught.value) == message


NEEDS_A_GRAPH: list[tuple[str, Callable[[CompletionTracker], object]]] = [
    ("a skip", lambda tracker: tracker.mark_skipped(CellNodeId(0, "a"))),
    ("a skip", lambda tracker: tracker.is_skipped(CellNodeId(0, "a"))),
    ("a skip", lambda tracker: tracker.must_skip(CellNodeId(0, "a"))),
    ("a skip", lambda tracker: tracker.is_in_turn(CellNodeId(0, "a"))),
    ("mark_dropped", lambda tracker: tracker.mark_dropped(0)),
    ("barrier_reads", lambda tracker: tracker.barrier_reads(BarrierNodeId("b"))),
    ("listen", lambda tracker: tracker.listen(str)),
]


@pytest.mark.clause("TRACK-03")
@BOTH
@pytest.mark.parametrize(("what", "ask"), NEEDS_A_GRAPH)
def test_a_tracker_without_a_graph_refuses_questions_that_need_one(
    cls: type[CompletionTracker], what: str, ask: Callable[[CompletionTracker], object]
) -> None:
    tracker = cls(3)
    with pytest.raises(NodeError) as caught:
        ask(tracker)
    assert str(caught.value) == (f"{what}: needs a tracker of a graph; graph.tracker() makes one")
    assert not tracker.is_dropped(0)
    # The first question of a graph makes it one.
    assert GRAPH.get_completed_row_count(tracker) == 0
    ask(tracker)


@pytest.mark.clause("TRACK-02")
@BOTH
@pytest.mark.parametrize("row", OUT_OF_RANGE, ids=repr)
def test_a_drop_or_skip_out_of_range_is_refused_and_not_counted(
    cls: type[CompletionTracker], row: Any
) -> None:
    tracker = cls.for_graph(GRAPH)
    for mark in (tracker.mark_dropped, lambda row: tracker.mark_skipped(CellNodeId(row, "a"))):
        with pytest.raises(NodeError) as caught:
            mark(row)
        assert str(caught.value) == f"Row {row!r} is out of range; expected 0 to 2"
    assert len(tracker) == 0
    assert not any(map(tracker.is_dropped, range(3)))


@pytest.mark.clause("TRACK-03")
@BOTH
def test_only_cells_are_skipped_and_only_barriers_read(cls: type[CompletionTracker]) -> None:
    no_cells: list[Any] = [BarrierNodeId("b"), BarrierNodeId("p", 0), CellNodeId, "a", None]
    no_barriers: list[Any] = [CellNodeId(0, "a"), CellNodeId(1, "b"), "b", None]
    bound = cls(3)
    assert GRAPH.get_completed_row_count(bound) == 0
    for tracker in (bound, cls.for_graph(GRAPH)):
        for node in no_cells:
            for ask in (
                tracker.mark_skipped,
                tracker.is_skipped,
                tracker.must_skip,
                tracker.is_in_turn,
            ):
                with pytest.raises(NodeError) as caught:
                    ask(node)
                assert str(caught.value) == f"{node} is no cell of this graph"
        for node in no_barriers:
            with pytest.raises(NodeError) as caught:
                tracker.barrier_reads(node)
            assert str(caught.value) == f"{node} is no barrier of this graph"
        assert len(tracker) == 0
    # One that is bound, and no graph's own, has no say in what other tables hold.
    with pytest.raises(NodeError, match=r"^Cell\(0, 'z'\) is no cell of this graph$"):
        bound.mark_skipped(CellNodeId(0, "z"))
    with pytest.raises(NodeError, match=r" is no barrier of this graph$"):
        bound.barrier_reads(BarrierNodeId("z"))


JUNK: list[Any] = [None, 0, "a", (0, "a"), ["a"], {"row": 0}, object(), float("nan"), CellNodeId]


@BOTH
@pytest.mark.parametrize("thing", JUNK, ids=[str(type(thing)) for thing in JUNK])
def test_a_value_that_is_no_node_is_in_no_tracker_and_cannot_be_marked(
    cls: type[CompletionTracker], thing: Any
) -> None:
    for tracker in (cls(3), cls.for_graph(GRAPH)):
        assert thing not in tracker
        for ask in (tracker.mark_complete, tracker.is_complete):
            with pytest.raises(NodeError, match=r"^expected a CellNodeId or a BarrierNodeId, got "):
                ask(thing)
        assert len(tracker) == 0


@BOTH
@pytest.mark.parametrize("bad", [0, -1, True, 2.0, "3", None], ids=repr)
def test_a_tracker_of_no_rows_is_refused(cls: type[CompletionTracker], bad: Any) -> None:
    with pytest.raises(NodeError) as caught:
        cls(bad)
    assert str(caught.value) == (
        f"num_records must be positive: expected an integer from 1, got {bad!r}"
    )


# Bare trackers


@pytest.mark.clause("TRACK-03")
@BOTH
@given(case=cases(max_columns=4, max_rows=4), answers=picks, asked=picks)
def test_marks_of_another_table_mislead_no_question_of_a_graph(
    cls: type[CompletionTracker], case: Case, answers: list[int], asked: list[int]
) -> None:
    graph = case.graph()
    model = NaiveModel(Definition(case.rows, case.columns, case.batch_size, case.barrier_scope))
    tracker = cls(case.rows)
    nodes = list(graph.iter_nodes())
    foreign: set[NodeId] = set()
    for step, pick in enumerate(answers):
        row = pick % case.rows
        others: tuple[NodeId, ...] = (
            CellNodeId(row, "other"),
            BarrierNodeId("other"),
            BarrierNodeId("a", 99),
        )
        foreign.add(others[pick % 3])
        tracker.mark_complete(others[pick % 3])
        model.mark(nodes[pick % len(nodes)])
        tracker.mark_complete(nodes[pick % len(nodes)])
        # Asked early or late: the first question binds the tracker to the graph.
        if step in asked:
            assert set(graph.iter_ready_nodes(tracker)) == model.ready()
    assert set(graph.iter_ready_nodes(tracker)) == model.ready()
    assert graph.get_completed_row_count(tracker) == model.completed_rows()
    assert graph.is_complete(tracker) == (model.done == set(nodes))
    assert {node for node in nodes if node in tracker} == model.done
    assert all(node in tracker for node in foreign)
    assert len(tracker) == len(model.done) + len(foreign)


@pytest.mark.clause("TRACK-03", "TRACK-05")
@BOTH
@given(first=cases(max_columns=3, max_rows=4), second=cases(max_columns=3), answers=picks)
def test_two_graphs_that_ask_one_bare_tracker_in_turn_each_get_their_own_answer(
    cls: type[CompletionTracker], first: Case, second: Case, answers: list[int]
) -> None:
    second = Case(first.rows, second.columns, second.batch_size, second.barrier_scope)
    graphs = (first.graph(), second.graph())
    tracker = cls(first.rows)
    marked: set[NodeId] = set()
    for step, pick in enumerate(answers):
        graph = graphs[step % 2]
        nodes = list(graph.iter_nodes())
        node = nodes[pick % len(nodes)]
        tracker.mark_complete(node)
        marked.add(node)
        # A set that holds only the nodes that this graph has, which is all it may see.
        mine = marked & set(nodes)
        assert list(graph.iter_ready_nodes(tracker)) == list(graph.iter_ready_nodes(mine))
        assert graph.get_completed_row_count(tracker) == graph.get_completed_row_count(mine)
        assert graph.is_complete(tracker) == graph.is_complete(mine)
        assert all(node in tracker for node in marked)
        assert len(tracker) == len(marked)


@BOTH
def test_a_graph_with_other_rows_may_not_ask(cls: type[CompletionTracker]) -> None:
    more = ExecutionGraph(4, COLUMNS, batch_size=2)
    questions: list[Callable[[Any], object]] = [
        more.is_complete,
        more.get_completed_row_count,
        lambda tracker: more.is_row_complete(0, tracker),
        lambda tracker: list(more.iter_ready_nodes(tracker)),
    ]
    for tracker in (cls(3), cls.for_graph(GRAPH)):
        for ask in questions:
            with pytest.raises(NodeError) as caught:
                ask(tracker)
            assert str(caught.value) == "a tracker of 3 rows was asked about a graph of 4"


@pytest.mark.clause("TRACK-03")
@BOTH
def test_another_pipeline_may_not_ask_a_graphs_own_tracker(cls: type[CompletionTracker]) -> None:
    other = ExecutionGraph(3, [C("a")])
    with pytest.raises(NodeError, match=r"^this tracker belongs to ExecutionGraph\(num_records=3"):
        other.get_completed_row_count(cls.for_graph(GRAPH))


@pytest.mark.clause("TRACK-03", "TRACK-12")
@BOTH
@pytest.mark.parametrize("own", [True, False], ids=["of the graph", "bare"])
def test_an_equal_graph_may_ask_and_every_mark_is_kept(
    cls: type[CompletionTracker], own: bool
) -> None:
    tracker = cls.for_graph(GRAPH) if own else cls(3)
    assert GRAPH.get_completed_row_count(tracker) == 0
    tracker.mark_complete(CellNodeId(0, "a"))
    tracker.mark_skipped(CellNodeId(1, "a"))
    tracker.mark_dropped(2)
    equal = ExecutionGraph(3, COLUMNS, batch_size=2)
    assert list(equal.iter_ready_nodes(tracker)) == list(GRAPH.iter_ready_nodes(tracker))
    assert tracker.is_skipped(CellNodeId(1, "a"))
    assert tracker.is_dropped(2)
    assert equal.is_row_complete(2, tracker)


@pytest.mark.clause("CKPT-06")
@BOTH
def test_an_equal_graph_asks_a_restored_tracker_about_the_claimed_rows(
    cls: type[CompletionTracker],
) -> None:
    tracker = cls.from_checkpoint({"version": 1, "completed_rows": 2}, GRAPH)
    equal = ExecutionGraph(3, COLUMNS, batch_size=2)
    assert equal.get_completed_row_count(tracker) == 2
    assert equal.is_row_complete(1, tracker)


@pytest.mark.clause("TRACK-01", "TRACK-03")
@BOTH
def test_marks_stay_when_other_graphs_ask(cls: type[CompletionTracker]) -> None:
    tracker = cls(3)
    nodes = set(GRAPH.iter_nodes())
    # A number of marks of one column, of which another graph has all, some or none.
    others = [
        ExecutionGraph(3, [C("a"), C("z")]),
        ExecutionGraph(3, [C("p", traits=T.BATCH_BARRIER)], batch_size=3),
        ExecutionGraph(3, [C("b"), C("p")]),
    ]
    for node in nodes:
        tracker.mark_complete(node)
    for other in (*others, GRAPH, *others):
        other.get_completed_row_count(tracker)
        assert all(node in tracker for node in nodes)
        assert len(tracker) == len(nodes)
    assert GRAPH.is_complete(tracker)


@pytest.mark.clause("TRACK-14")
@BOTH
def test_a_cell_that_was_announced_as_ready_is_not_announced_again_to_be_skipped(
    cls: type[CompletionTracker],
) -> None:
    """Marks out of order: the barrier gives its output before an input is skipped."""
    graph = ExecutionGraph(2, COLUMNS[:2])
    tracker = cls.for_graph(graph)
    notified: list[NodeId] = []
    tracker.listen(notified.append)
    tracker.mark_complete(BarrierNodeId("b"))
    tracker.mark_skipped(CellNodeId(0, "a"))
    assert tracker.must_skip(CellNodeId(0, "b"))
    assert sorted(map(str, notified)) == sorted(map(str, [*cells("a", 2), *cells("b", 2)]))
    assert set(graph.iter_ready_nodes(tracker)) == {CellNodeId(1, "a"), CellNodeId(1, "b")}


def test_a_graph_makes_its_own_tracker() -> None:
    tracker = GRAPH.tracker()
    assert type(tracker) is CompletionTracker
    assert isinstance(tracker, CompletionTrackerProtocol)
    assert tracker.num_records == 3
    with pytest.raises(NodeError):
        tracker.mark_complete(CellNodeId(0, "z"))


@pytest.mark.clause("TRACK-03", "TRACK-05")
@BOTH
def test_a_pass_goes_on_from_the_marks_of_another_graph(
    cls: type[CompletionTracker],
) -> None:
    mine = ExecutionGraph(4, [C("a"), C("b", dependencies=["a"])])
    other = ExecutionGraph(4, [C("a"), C("z", dependencies=["a"])])
    tracker = cls(4)
    ready = mine.iter_ready_nodes(tracker)
    assert next(ready) == CellNodeId(0, "a")
    assert CellNodeId(2, "a") in set(other.iter_ready_nodes(tracker))
    for row in (0, 1, 2):
        tracker.mark_complete(CellNodeId(row, "a"))
    assert list(ready) == [CellNodeId(3, "a"), *cells("b", 3)]


# The lock


class CountedLock:
    """Is held by nobody, and counts how often it is asked for."""

    def __init__(self) -> None:
        self.taken = 0

    def __enter__(self) -> None:
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        pass


QUESTIONS: dict[str, Callable[[CompletionTracker], object]] = {
    "__contains__": lambda tracker: CellNodeId(0, "a") in tracker,
    "__len__": len,
    "all_complete": lambda tracker: tracker.all_complete(GRAPH),
    "barrier_reads": lambda tracker: tracker.barrier_reads(BarrierNodeId("b")),
    "column_completion_count": lambda tracker: tracker.column_completion_count("a"),
    "completed_row_count": lambda tracker: tracker.completed_row_count(GRAPH),
    "is_barrier_complete": lambda tracker: tracker.is_barrier_complete("b"),
    "is_column_complete": lambda tracker: tracker.is_column_complete("a"),
    "is_complete": lambda tracker: tracker.is_complete(CellNodeId(0, "a")),
    "is_dropped": lambda tracker: tracker.is_dropped(0),
    "is_in_turn": lambda tracker: tracker.is_in_turn(CellNodeId(0, "a")),
    "is_skipped": lambda tracker: tracker.is_skipped(CellNodeId(0, "a")),
    "listen": lambda tracker: tracker.listen(str),
    "mark_complete": lambda tracker: tracker.mark_complete(CellNodeId(0, "a")),
    "mark_dropped": lambda tracker: tracker.mark_dropped(0),
    "mark_skipped": lambda tracker: tracker.mark_skipped(CellNodeId(0, "a")),
    "must_skip": lambda tracker: tracker.must_skip(CellNodeId(0, "a")),
    "ready_nodes": lambda tracker: next(tracker.ready_nodes(GRAPH, None)),
    "reset": lambda tracker: tracker.reset(),
    "row_complete": lambda tracker: tracker.row_complete(GRAPH, 0),
    "to_checkpoint": lambda tracker: tracker.to_checkpoint(GRAPH),
}


@pytest.mark.clause("TRACK-08")
def test_every_mark_and_every_question_takes_the_lock() -> None:
    assert QUESTIONS.keys() == {
        name
        for name, thing in vars(CompletionTracker).items()
        if callable(thing) and (not name.startswith("_") or name in ("__len__", "__contains__"))
    }
    for name, ask in QUESTIONS.items():
        tracker = ThreadSafeCompletionTracker.for_graph(GRAPH)
        lock = CountedLock()
        tracker._lock = lock  # type: ignore[assignment]
        ask(tracker)
        assert lock.taken >= 1, name


# Reset


@pytest.mark.clause("TRACK-09")
@BOTH
@given(case=cases(max_columns=4, max_rows=5), answers=picks)
def test_after_reset_a_tracker_is_as_new(
    cls: type[CompletionTracker], case: Case, answers: list[int]
) -> None:
    graph = case.graph()
    nodes = list(graph.iter_nodes())
    claim = {"version": 1, "completed_rows": case.rows // 2}
    for tracker in (cls(case.rows), cls.for_graph(graph), cls.from_checkpoint(claim, graph)):
        for pick in answers:
            tracker.mark_complete(nodes[pick % len(nodes)])
        list(graph.iter_ready_nodes(tracker))
        tracker.reset()
        assert len(tracker) == 0
        assert not any(node in tracker for node in nodes)
        assert list(graph.iter_ready_nodes(tracker)) == list(graph.iter_ready_nodes(set()))
        assert graph.get_completed_row_count(tracker) == 0
        assert tracker.to_checkpoint(graph) == {"version": 1, "completed_rows": 0}
        for node in graph.iter_ready_nodes(tracker):
            tracker.mark_complete(node)
        assert graph.is_complete(tracker)


@pytest.mark.clause("TRACK-09")
@BOTH
def test_a_reset_forgets_also_the_marks_that_no_graph_has_asked_for(
    cls: type[CompletionTracker],
) -> None:
    tracker = cls(3)
    for asked in (False, True):
        for node in (CellNodeId(0, "a"), CellNodeId(0, "z"), BarrierNodeId("z")):
            tracker.mark_complete(node)
        assert GRAPH.get_completed_row_count(tracker) == 0 if asked else True
        assert len(tracker) == 3
        tracker.reset()
        assert len(tracker) == 0
        assert CellNodeId(0, "z") not in tracker
        assert BarrierNodeId("z") not in tracker
        assert tracker.column_completion_count("z") == 0


# Cost: steps


def costs(rows: int) -> dict[str, int]:
    """The most lines that one question took, over a run that finishes rows in random order."""
    graph = ExecutionGraph(
        rows,
        [
            C("a", traits=T.START),
            C("o", traits=T.ORDERED | T.START),
            C("b", traits=T.BARRIER, dependencies=["a"]),
            C("p", traits=T.BATCH_BARRIER | T.ORDERED, dependencies=["a"]),
            C("c", dependencies=["b", "p", "o"]),
        ],
        batch_size=10,
    )
    tracker = graph.tracker()
    order = list(range(rows))
    random.Random(rows).shuffle(order)
    worst: dict[str, int] = {}
    asked = 0

    def measure(what: str, work: Callable[[], object]) -> None:
        worst[what] = max(worst.get(what, 0), steps(work))

    def mark(node: NodeId) -> None:
        nonlocal asked
        kind = "barrier" if isinstance(node, BarrierNodeId) else "cell"
        measure(f"mark a {kind}", lambda: tracker.mark_complete(node))
        asked += 1
        if asked % 97 == 0:
            measure("completed rows", lambda: graph.get_completed_row_count(tracker))
            measure("version 1", lambda: tracker.to_checkpoint(graph))
            measure("version 2", lambda: tracker.to_checkpoint(graph, version=2))
            measure("row", lambda: graph.is_row_complete(rows // 2, tracker))
            measure("count", lambda: (len(tracker), graph.is_complete(tracker)))
            measure("first ready", lambda: next(graph.iter_ready_nodes(tracker), None))

    for column in ("a", "o"):
        for row in order:
            mark(CellNodeId(row, column))
    mark(BarrierNodeId("b"))
    for batch in range(rows // 10):
        mark(BarrierNodeId("p", batch))
    for column in "bpc":
        for row in order:
            mark(CellNodeId(row, column))
    assert graph.is_complete(tracker)
    return worst


@pytest.mark.clause("TRACK-11")
def test_no_question_takes_more_steps_with_a_hundred_times_the_rows() -> None:
    few, many = costs(100), costs(10_000)
    assert few.keys() == many.keys()
    for what in few:
        # The worst of more tries may hit one more branch, but nothing that grows with rows.
        assert many[what] <= few[what] + 10, what
    assert many["mark a cell"] < 100


class Watched(bytearray):
    """Counts the cells that a search for one looked at."""

    looked = 0

    def find(self, *what: Any) -> int:
        found = super().find(*what)
        self.looked += (found if found >= 0 else len(self)) - what[1]
        return found


@pytest.mark.clause("TRACK-11")
def test_a_pass_that_marks_nothing_looks_no_further_than_the_last_ready_cell() -> None:
    rows, done = 1_000, 5
    graph = ExecutionGraph(rows, [C("a"), C("b", dependencies=["a"])])
    tracker = CompletionTracker.for_graph(graph)
    for node in cells("a", done):
        tracker.mark_complete(node)
    counters = tracker._counters
    assert counters is not None
    for column, name in enumerate("ab"):
        watched = Watched(counters.cells[column])  # type: ignore[arg-type]
        counters.cells[column] = watched
        found = list(graph.iter_ready_nodes_for_column(name, tracker))
        assert len(found) == (rows - done, done)[column]
        assert watched.looked == 0
    assert found == cells("b", done)


# Cost: memory

ROWS = 50_000
ALLOWANCE = 16_384


class Held:
    """Bytes allocated since this was made and not freed."""

    def __enter__(self) -> Held:
        tracemalloc.start()
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        tracemalloc.stop()

    @staticmethod
    def _now() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    def bytes(self) -> int:
        return self._now() - self._before


CHAIN = ExecutionGraph(
    ROWS,
    [
        C("a", traits=T.START),
        C("b", dependencies=["a"]),
        C("c", traits=T.BARRIER, dependencies=["b"]),
        C("d", dependencies=["c"]),
    ],
)


@pytest.mark.measured
@pytest.mark.clause("TRACK-07")
@pytest.mark.parametrize("order", ["abcd", "dcba"], ids=["in order", "last column first"])
def test_a_tracker_holds_a_byte_a_cell_of_columns_that_are_not_complete(order: str) -> None:
    rows = list(range(ROWS))
    random.Random(0).shuffle(rows)
    with Held() as held:
        tracker = CHAIN.tracker()
        for left, column in zip((4, 3, 2, 1), order, strict=True):
            if column == "c":
                tracker.mark_complete(BarrierNodeId("c"))
            for row in rows[: ROWS // 2]:
                tracker.mark_complete(CellNodeId(row, column))
            assert held.bytes() <= left * ROWS + ALLOWANCE
            for row in rows[ROWS // 2 :]:
                tracker.mark_complete(CellNodeId(row, column))
            assert held.bytes() <= (left - 1) * ROWS + ALLOWANCE
        assert CHAIN.is_complete(tracker)
        assert held.bytes() <= ALLOWANCE


@pytest.mark.measured
@pytest.mark.clause("TRACK-07")
def test_a_bare_tracker_holds_a_byte_a_cell_too() -> None:
    with Held() as held:
        tracker = CompletionTracker(ROWS)
        tracker.mark_complete(CellNodeId(7, "a"))
        tracker.mark_complete(CellNodeId(7, "z"))
        assert held.bytes() <= 2 * ROWS + ALLOWANCE
        for row in range(ROWS):
            tracker.mark_complete(CellNodeId(row, "a"))
        assert held.bytes() <= ROWS + ALLOWANCE
        assert CHAIN.get_completed_row_count(tracker) == 0
        # Bound now: a is complete, b to d are not, and z is another table's.
        assert held.bytes() <= 4 * ROWS + ALLOWANCE


@pytest.mark.measured
@pytest.mark.clause("TRACK-07")
def test_a_restored_tracker_holds_nothing_for_columns_that_are_claimed_whole() -> None:
    half = {"a": ROWS, "b": ROWS, "c": ROWS // 2, "d": 0}
    payload = {
        "version": 2,
        "completed_rows": 0,
        "column_rows": half,
        "graph": CHAIN.fingerprint,
    }
    with Held() as held:
        tracker = CompletionTracker.from_checkpoint(payload, CHAIN)
        assert held.bytes() <= 2 * ROWS + ALLOWANCE
        del tracker
        whole = CompletionTracker.from_checkpoint({"version": 1, "completed_rows": ROWS}, CHAIN)
        assert held.bytes() <= ALLOWANCE
        assert CHAIN.is_complete(whole)


@pytest.mark.measured
@pytest.mark.clause("TRACK-07", "CKPT-06")
def test_a_restored_tracker_holds_bits_for_columns_that_only_a_drop_completed() -> None:
    claim = {"a": ROWS, "b": ROWS - 1, "c": ROWS - 1, "d": ROWS - 1}
    payload = {
        "version": 2,
        "completed_rows": ROWS - 1,
        "column_rows": claim,
        "graph": CHAIN.fingerprint,
    }
    with Held() as held:
        tracker = CompletionTracker.from_checkpoint(payload, CHAIN, dropped=[ROWS - 1])
        assert CHAIN.is_complete(tracker)
        assert held.bytes() <= 4 * (ROWS // 8) + ALLOWANCE


@pytest.mark.measured
@pytest.mark.clause("TRACK-07")
def test_batch_barriers_hold_nothing_once_they_are_complete() -> None:
    graph = ExecutionGraph(
        ROWS, [C("a"), C("p", traits=T.BATCH_BARRIER, dependencies=["a"])], batch_size=10
    )
    with Held() as held:
        tracker = graph.tracker()
        # Beside the cells: a state of one byte and a count of eight for each barrier node.
        assert held.bytes() <= 2 * ROWS + 9 * (ROWS // 10) + ALLOWANCE
        for node in graph.iter_nodes():
            tracker.mark_complete(node)
        assert held.bytes() <= ALLOWANCE


@pytest.mark.clause("TRACK-07", "TRACK-09")
def test_a_reset_frees_the_old_counters_before_it_makes_new_ones() -> None:
    tracker = CHAIN.tracker()
    gc.collect()
    with Held():
        tracker.reset()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert before >= 4 * ROWS
        tracker.reset()
        # One column is copied while its ready cells are found.
        assert tracemalloc.get_traced_memory()[1] <= before + ROWS + ALLOWANCE


def test_cells_are_counted_up_to_the_last_one_of_a_large_table() -> None:
    tracker = CHAIN.tracker()
    for node in cells("a", ROWS - 1):
        tracker.mark_complete(node)
    assert not tracker.is_column_complete("a")
    tracker.mark_complete(CellNodeId(ROWS - 1, "a"))
    assert tracker.is_column_complete("a")
    assert len(tracker) == ROWS
