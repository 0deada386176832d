"""The graph: which nodes there are, which waits for which, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspec import (
    BarrierNodeId,
    CellNodeId,
    ColumnDescriptor,
    CompletionTracker,
    CompletionTrackerProtocol,
    ExecutionGraph,
    ExecutionTraits,
    GraphError,
    NodeError,
    NodeId,
    ThreadSafeCompletionTracker,
)
from cellspec.graph.nodes import (
    barrier_key,
    cell_key,
    column_of,
    is_barrier_key,
    place_of,
    split_key,
)
from cellspec.graph.rules import MAX_NEEDS
from tests.oracles import Definition, NaiveModel
from tests.strategies import Case, cases, picks

pytestmark = pytest.mark.invariant

T = ExecutionTraits
C = ColumnDescriptor


def definition_of(case: Case) -> Definition:
    return Definition(case.rows, case.columns, case.batch_size, case.barrier_scope)


# Nodes and descriptors


def test_nodes_are_values() -> None:
    assert CellNodeId(1, "a") == CellNodeId(1, "a")
    assert CellNodeId(1, "a") != CellNodeId(1, "b")
    cell: object = CellNodeId(0, "a")
    assert cell != BarrierNodeId("a")
    assert BarrierNodeId("a") != BarrierNodeId("a", 0)
    nodes = {CellNodeId(0, "a"), CellNodeId(0, "a"), BarrierNodeId("a"), BarrierNodeId("a", None)}
    assert len(nodes) == 2
    assert sorted([CellNodeId(1, "a"), CellNodeId(0, "b")])[0].row == 0
    assert repr(CellNodeId(3, "a")) == "Cell(3, 'a')"
    assert repr(BarrierNodeId("a", 2)) == "Barrier('a', 2)"


@pytest.mark.parametrize(
    ("thing", "field"),
    [(CellNodeId(0, "a"), "row"), (BarrierNodeId("a"), "batch"), (C("a"), "name")],
    ids=["cell", "barrier", "descriptor"],
)
def test_nodes_and_descriptors_are_frozen_small_and_portable(thing: Any, field: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, field, 7)
    with pytest.raises((AttributeError, TypeError)):
        thing.note = "not a field"
    assert not hasattr(thing, "__dict__")
    assert pickle.loads(pickle.dumps(thing)) == thing
    assert copy.deepcopy(thing) == thing
    assert hash(copy.copy(thing)) == hash(thing)


def test_a_descriptor_states_the_kind_of_its_column() -> None:
    item = C("a", traits=T.START | T.ROW_STREAMABLE, side_effects=["a_cost", "a_trace"])
    assert item.is_start_column
    assert item.is_row_streamable
    assert not item.is_cell_by_cell
    assert not item.is_barrier
    assert not item.is_ordered
    assert not item.has_dependencies
    assert item.has_side_effects
    assert item.all_produced_columns == ["a", "a_cost", "a_trace"]
    later = C("b", traits=T.CELL_BY_CELL | T.ORDERED, dependencies=["a"])
    assert later.is_cell_by_cell
    assert later.is_ordered
    assert later.has_dependencies
    assert not later.has_side_effects
    assert C("c", traits=T.BARRIER).is_barrier
    assert not C("c", traits=T.BARRIER).is_batch_barrier
    assert C("c", traits=T.BATCH_BARRIER).is_barrier
    assert C("c", traits=T.BATCH_BARRIER).is_batch_barrier


def test_descriptors_compare_by_the_fields_that_a_graph_reads() -> None:
    one = C("a", {"model": "x"}, int, T.START, ["b"], ["s"])
    assert one == C("a", {"model": "y"}, str, T.START, ("b", "b"), ["s"])
    assert hash(one) == hash(C("a", None, None, T.START, ["b"], ["s"]))
    assert one != dataclasses.replace(one, traits=T.NONE)
    assert one != dataclasses.replace(one, dependencies=())
    assert one != dataclasses.replace(one, side_effects=())
    needs = ["b"]
    item = C("a", dependencies=needs)
    needs.append("c")
    assert item.dependencies == ("b",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: C(""), "column name: expected a non-empty string, got ''"),
        (lambda: C(3), "column name: expected a non-empty string, got 3"),  # type: ignore[arg-type]
        (
            lambda: C("a", dependencies="bc"),
            "column 'a': dependencies: expected a list of names, got a str",
        ),
        (
            lambda: C("a", side_effects="bc"),
            "column 'a': side_effects: expected a list of names, got a str",
        ),
        (
            lambda: C("a", version=2),  # type: ignore[arg-type]
            "column 'a': version: expected a text, got 2; config_digest makes one of JSON data",
        ),
    ],
)
def test_a_descriptor_that_makes_no_sense_is_refused(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(GraphError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.clause("GRAPH-06")
def test_a_column_has_one_kind_of_barrier() -> None:
    with pytest.raises(GraphError) as caught:
        C("a", traits=T.BARRIER | T.BATCH_BARRIER | T.START)
    assert str(caught.value) == (
        "column 'a': traits BARRIER and BATCH_BARRIER exclude each other; "
        "a barrier waits for the dataset or for one batch"
    )


# What is no graph


def refused(clause: str, name: str, columns: list[Any], message: str) -> Any:
    marks = [pytest.mark.clause(clause)] if clause else []
    return pytest.param(columns, message, marks=marks, id=name)


REFUSED = [
    refused(
        "GRAPH-01",
        "a name twice",
        [C("a"), C("a", dependencies=[])],
        "name 'a' is produced twice: a column and a column",
    ),
    refused(
        "GRAPH-01",
        "a side effect shadows a column",
        [C("a"), C("b", side_effects=["a"])],
        "name 'a' is produced twice: a column and a side effect of column 'b'",
    ),
    refused(
        "GRAPH-01",
        "a side effect of two columns",
        [C("a", side_effects=["s"]), C("b", side_effects=["s"])],
        "name 's' is produced twice: a side effect of column 'a' and a side effect of column 'b'",
    ),
    refused(
        "GRAPH-01",
        "a side effect twice",
        [C("a", side_effects=["s", "s"])],
        "name 's' is produced twice: a side effect of column 'a' and a side effect of column 'a'",
    ),
    refused(
        "GRAPH-01",
        "a side effect shadows its own column",
        [C("a", side_effects=["a"])],
        "name 'a' is produced twice: a column and a side effect of column 'a'",
    ),
    refused(
        "GRAPH-02",
        "unknown names",
        [C("a", dependencies=["x"]), C("b", dependencies=["y", "a"], side_effects=["s"])],
        "column 'a' depends on unknown column 'x', column 'b' depends on unknown column 'y'; "
        "available names: 'a', 'b', 's'",
    ),
    refused(
        "GRAPH-03",
        "a cycle",
        [C("a", dependencies=["c"]), C("b", dependencies=["a"]), C("c", dependencies=["b"])],
        "the columns form a cycle: 'a' needs 'c' needs 'b' needs 'a'",
    ),
    refused(
        "GRAPH-03",
        "a column that needs itself",
        [C("a", dependencies=["a"])],
        "the columns form a cycle: 'a' needs 'a'",
    ),
    refused(
        "GRAPH-03",
        "a column that needs its own side effect",
        [C("a", dependencies=["s"], side_effects=["s"])],
        "the columns form a cycle: 'a' needs 'a'",
    ),
    refused("", "none", [], "column_descriptors cannot be empty: a graph has at least one column"),
    refused("", "no descriptor", ["a"], "column_descriptors: expected ColumnDescriptor, got 'a'"),
    refused(
        "",
        "no descriptor after one",
        [C("a"), "b"],
        "column_descriptors: expected ColumnDescriptor, got 'b'",
    ),
    refused(
        "BARR-05",
        "a batch barrier without a batch size",
        [C("b", traits=T.BATCH_BARRIER)],
        "column 'b' is a barrier of batch scope: batch_size is needed",
    ),
]


@pytest.mark.parametrize(("columns", "message"), REFUSED)
def test_columns_that_form_no_graph_are_refused_with_one_line(
    columns: list[ColumnDescriptor], message: str
) -> None:
    with pytest.raises(GraphError) as caught:
        ExecutionGraph(2, columns)
    assert str(caught.value) == message


@pytest.mark.clause("BARR-05")
def test_batch_scope_without_a_batch_size_is_refused_only_if_there_is_a_barrier() -> None:
    with pytest.raises(GraphError) as caught:
        ExecutionGraph(2, [C("b", traits=T.BARRIER)], barrier_scope="batch")
    assert str(caught.value) == "column 'b' is a barrier of batch scope: batch_size is needed"
    assert ExecutionGraph(2, [C("a")], barrier_scope="batch").num_nodes == 2


@pytest.mark.parametrize("bad", [0, -1, True, 2.0, "3", None, float("nan")], ids=repr)
def test_a_number_of_rows_or_a_batch_size_that_is_none_is_refused(bad: Any) -> None:
    with pytest.raises(GraphError) as caught:
        ExecutionGraph(bad, [C("a")])
    assert str(caught.value) == (
        f"num_records must be positive: expected an integer from 1, got {bad!r}"
    )
    if bad is not None:
        with pytest.raises(GraphError) as caught:
            ExecutionGraph(1, [C("a")], batch_size=bad)
        assert str(caught.value) == (
            f"batch_size must be positive: expected an integer from 1, got {bad!r}"
        )


def test_an_unknown_barrier_scope_is_refused() -> None:
    with pytest.raises(GraphError) as caught:
        ExecutionGraph(1, [C("a")], barrier_scope="row")  # type: ignore[arg-type]
    assert str(caught.value) == "barrier_scope: expected 'declared' or 'batch', got 'row'"


def test_a_column_may_need_up_to_a_limit_of_others_directly() -> None:
    assert MAX_NEEDS == 116
    inputs = [C(f"i{n}") for n in range(MAX_NEEDS + 1)]
    names = [item.name for item in inputs]
    graph = ExecutionGraph(1, [*inputs, C("z", dependencies=names[:-1])])
    tracker = graph.tracker()
    for node in graph.iter_ready_nodes(tracker):
        tracker.mark_complete(node)
    assert graph.is_complete(tracker)
    with pytest.raises(GraphError) as caught:
        ExecutionGraph(1, [*inputs, C("z", dependencies=names)])
    assert str(caught.value) == (
        f"column 'z' needs {MAX_NEEDS + 1} columns directly; the limit is {MAX_NEEDS}"
    )


# Names and order


@pytest.mark.clause("GRAPH-16")
def test_a_lenient_graph_drops_and_lists_dependencies_without_a_producer() -> None:
    columns = [
        C("b", dependencies=["a", "x", "c"]),
        C("a", dependencies=["y"], side_effects=["s"]),
        C("c", dependencies=["x", "s"]),
    ]
    graph = ExecutionGraph(2, columns, strict=False)
    assert graph.dropped_dependencies == (("b", "x"), ("a", "y"), ("c", "x"))
    assert graph.get_dependencies(CellNodeId(1, "b")) == [CellNodeId(1, "a"), CellNodeId(1, "c")]
    assert graph.get_dependencies(CellNodeId(1, "a")) == []
    assert graph.get_column_descriptor("b").dependencies == ("a", "c")
    assert graph.get_column_descriptor("c").dependencies == ("s",)
    assert ExecutionGraph(2, [C("a")], strict=False).dropped_dependencies == ()


@pytest.mark.clause("GRAPH-04")
@given(case=cases())
def test_columns_come_in_topological_order_and_a_valid_order_is_kept(case: Case) -> None:
    graph, definition = case.graph(), definition_of(case)
    names = graph.column_names
    assert sorted(names) == sorted(item.name for item in case.columns)
    for position, name in enumerate(names):
        assert definition.inputs(name) <= set(names[:position])
    again = ExecutionGraph(
        case.rows,
        [graph.get_column_descriptor(name) for name in names],
        batch_size=case.batch_size,
        barrier_scope=case.barrier_scope,
    )
    assert again.column_names == names
    assert again.fingerprint == graph.fingerprint


@pytest.mark.clause("GRAPH-04")
def test_the_columns_of_a_cycle_are_named_each_once_after_the_one_that_needs_it() -> None:
    needs = {"d": "x", "x": "", "a": "c", "c": "b", "b": "a"}
    with pytest.raises(GraphError) as caught:
        ExecutionGraph(1, [C(name, dependencies=[*need]) for name, need in needs.items()])
    assert caught.value.positions == (2, 3, 4)


@pytest.mark.clause("GRAPH-04")
def test_of_columns_that_may_come_next_the_one_that_was_given_first_does() -> None:
    names = ["d", "a", "c", "b", "e"]
    columns = [C("z", dependencies=["b"]), *map(C, names), C("y", dependencies=["d"])]
    assert ExecutionGraph(1, columns).column_names == [*names[:4], "z", "e", "y"]


@given(case=cases())
def test_a_graph_shows_the_columns_and_rows_it_was_made_of(case: Case) -> None:
    graph = case.graph()
    assert graph.num_records == case.rows
    assert graph.num_columns == len(case.columns)
    for item in case.columns:
        assert graph.get_column_descriptor(item.name) is item
    starts = {item.name for item in case.columns if item.is_start_column}
    assert set(graph.start_columns) == starts
    assert graph.dropped_dependencies == ()
    assert graph.batch_size == case.batch_size
    assert all(name in repr(graph) for name in graph.column_names)


def test_a_node_leads_to_the_generator_that_makes_it() -> None:
    graph = ExecutionGraph(2, [C("a", {"n": 1}, int), C("b", None, str, T.BARRIER, ["a"])])
    assert graph.get_generator_and_config(CellNodeId(1, "a")) == (int, {"n": 1})
    assert graph.get_generator_and_config(BarrierNodeId("b")) == (str, None)
    assert graph.get_generator_and_config(CellNodeId(0, "b")) == (str, None)


def test_a_graph_cannot_be_changed() -> None:
    graph = ExecutionGraph(2, [C("a")])
    for name in ("num_records", "fingerprint", "rules", "column_names", "colour"):
        with pytest.raises(AttributeError):
            setattr(graph, name, None)
    graph.column_names.append("z")
    assert graph.column_names == ["a"]


# Edges


@pytest.mark.clause(
    "GRAPH-07", "GRAPH-08", "GRAPH-09", "GRAPH-10", "GRAPH-11", "GRAPH-13", "BARR-03", "BARR-04"
)
@given(case=cases())
def test_dependencies_are_those_of_the_definition_each_once(case: Case) -> None:
    graph, definition = case.graph(), definition_of(case)
    for node in definition.nodes():
        needs = graph.get_dependencies(node)
        assert len(needs) == len(set(needs))
        assert set(needs) == definition.dependencies(node)
        assert list(graph.iter_dependencies(node)) == needs


@pytest.mark.clause("GRAPH-05")
@given(case=cases())
def test_dependents_are_the_exact_inverse_of_dependencies(case: Case) -> None:
    graph = case.graph()
    nodes = list(graph.iter_nodes())
    forward = [(a, b) for a in nodes for b in graph.get_dependents(a)]
    backward = [(a, b) for b in nodes for a in graph.get_dependencies(b)]
    assert len(forward) == len(set(forward))
    assert set(forward) == set(backward)


@pytest.mark.clause("GRAPH-05", "GRAPH-07", "GRAPH-08", "GRAPH-13", "BARR-03")
@given(case=cases(skips=True))
def test_the_rules_of_a_column_follow_from_its_descriptor(case: Case) -> None:
    definition, rules = definition_of(case), case.graph().rules
    names = [rule.name for rule in rules.columns]
    assert rules.num_records == case.rows
    assert rules.index == {name: place for place, name in enumerate(names)}
    for place, (name, rule) in enumerate(zip(names, rules.columns, strict=True)):
        item = definition.column(name)
        assert rule.index == place
        assert sorted(names[need] for need in rule.needs) == sorted(definition.inputs(name))
        waiting = [other for other in names if name in definition.inputs(other)]
        assert [names[other] for other in rule.cell_dependents] == [
            other for other in waiting if not definition.is_barrier(other)
        ]
        assert [names[other] for other in rule.barrier_dependents] == [
            other for other in waiting if definition.is_barrier(other)
        ]
        assert rule.is_sink == (not waiting)
        assert rule.is_barrier == definition.is_barrier(name)
        assert rule.batched == definition.is_batched(name)
        assert rule.ordered == definition.is_ordered(name)
        assert rule.is_start == (T.START in item.traits)
        assert rule.streamable == (T.ROW_STREAMABLE in item.traits)
        scopes = [definition.scope(node) for node in definition.barriers(name)]
        assert rules.scope_count(place) == len(scopes)
        for scope, rows in enumerate(scopes):
            assert rules.scope_bounds(place, scope) == (rows.start, rows.stop)


def test_a_barrier_is_one_call_also_if_it_could_stream_rows() -> None:
    for scope in (T.BARRIER, T.BATCH_BARRIER):
        graph = ExecutionGraph(3, [C("b", traits=scope | T.ROW_STREAMABLE)], batch_size=2)
        assert graph.rules.columns[0].is_barrier
        assert not graph.rules.columns[0].streamable


@pytest.mark.clause("SKIP-01")
@given(case=cases(skips=True))
def test_a_cell_can_be_skipped_by_its_own_condition_or_if_an_input_can(case: Case) -> None:
    definition = definition_of(case)
    able: set[str] = set()
    for rule in case.graph().rules.columns:
        item = definition.column(rule.name)
        if item.may_skip or (item.propagate_skip and definition.inputs(rule.name) & able):
            able.add(rule.name)
        assert rule.may_skip == item.may_skip
        assert rule.propagates == item.propagate_skip
        assert rule.skippable == (rule.name in able)


@pytest.mark.clause("SKIP-01")
@pytest.mark.parametrize("propagates", [True, False])
def test_one_input_that_may_be_skipped_is_enough(propagates: bool) -> None:
    columns = [
        *(C(name, may_skip=name == "b") for name in "abc"),
        C("d", dependencies=["a", "b", "c"], propagate_skip=propagates),
        C("e", dependencies=["d"], propagate_skip=True),
        C("f", dependencies=["d"], propagate_skip=False, may_skip=True),
    ]
    found = [rule.skippable for rule in ExecutionGraph(1, columns).rules.columns]
    assert found == [False, True, False, propagates, propagates, True]


@pytest.mark.clause("GRAPH-17")
@given(case=cases())
def test_iter_nodes_gives_every_node_once_after_all_that_it_depends_on(case: Case) -> None:
    graph = case.graph()
    nodes = list(graph.iter_nodes())
    assert set(nodes) == set(definition_of(case).nodes())
    assert len(nodes) == graph.num_nodes
    seen: set[NodeId] = set()
    for node in nodes:
        assert node not in seen
        assert set(graph.get_dependencies(node)) <= seen
        seen.add(node)


@pytest.mark.clause("GRAPH-12")
@given(case=cases())
def test_start_nodes_are_the_nodes_of_start_columns_without_dependencies(case: Case) -> None:
    found = list(case.graph().iter_start_nodes())
    assert len(found) == len(set(found))
    assert set(found) == definition_of(case).start_nodes()


@pytest.mark.clause("GRAPH-09", "GRAPH-12")
def test_a_start_column_that_is_a_barrier_starts_with_its_barrier() -> None:
    graph = ExecutionGraph(2, [C("a", traits=T.START | T.BARRIER), C("b", traits=T.NONE)])
    assert list(graph.iter_start_nodes()) == [BarrierNodeId("a")]
    assert graph.get_dependencies(CellNodeId(0, "a")) == [BarrierNodeId("a")]
    # b is no START column, and needs nothing: not a start node, but ready.
    assert list(graph.iter_ready_nodes(set())) == [
        BarrierNodeId("a"),
        CellNodeId(0, "b"),
        CellNodeId(1, "b"),
    ]


@pytest.mark.clause("GRAPH-12", "SCHED-13")
def test_of_an_ordered_start_column_only_the_first_node_is_a_start_node() -> None:
    columns = [
        C("a", traits=T.START | T.BATCH_BARRIER),
        C("b", traits=T.START | T.BATCH_BARRIER | T.ORDERED),
        C("c", traits=T.START | T.ORDERED),
    ]
    graph = ExecutionGraph(3, columns, batch_size=2)
    assert list(graph.iter_start_nodes()) == [
        *(BarrierNodeId("a", batch) for batch in (0, 1)),
        BarrierNodeId("b", 0),
        CellNodeId(0, "c"),
    ]


@pytest.mark.clause("GRAPH-12")
def test_a_start_column_with_dependencies_has_no_start_nodes() -> None:
    graph = ExecutionGraph(2, [C("a"), C("b", traits=T.START, dependencies=["a"])])
    assert list(graph.iter_start_nodes()) == []
    assert graph.start_columns == ["b"]


@pytest.mark.clause("GRAPH-07")
def test_two_names_of_one_producer_are_one_dependency() -> None:
    columns = [C("a", side_effects=["s", "t"]), C("b", dependencies=["s", "a", "t"])]
    graph = ExecutionGraph(1, columns)
    assert graph.get_dependencies(CellNodeId(0, "b")) == [CellNodeId(0, "a")]
    assert graph.get_dependents(CellNodeId(0, "a")) == [CellNodeId(0, "b")]
    tracker = graph.tracker()
    tracker.mark_complete(CellNodeId(0, "a"))
    assert list(graph.iter_ready_nodes(tracker)) == [CellNodeId(0, "b")]


@pytest.mark.clause("BARR-03")
@pytest.mark.parametrize(
    ("batch_size", "scopes"),
    [(2, [[0, 1], [2, 3], [4]]), (5, [[0, 1, 2, 3, 4]]), (9, [[0, 1, 2, 3, 4]])],
)
def test_batches_divide_the_rows_and_only_the_last_may_be_shorter(
    batch_size: int, scopes: list[list[int]]
) -> None:
    columns = [C("a"), C("b", traits=T.BATCH_BARRIER, dependencies=["a"])]
    graph = ExecutionGraph(5, columns, batch_size=batch_size)
    barriers = [node for node in graph.iter_nodes() if isinstance(node, BarrierNodeId)]
    assert barriers == [BarrierNodeId("b", number) for number in range(len(scopes))]
    for barrier, rows in zip(barriers, scopes, strict=True):
        assert graph.get_dependencies(barrier) == [CellNodeId(row, "a") for row in rows]
        assert graph.get_dependents(barrier) == [CellNodeId(row, "b") for row in rows]


@pytest.mark.clause("BARR-04")
def test_with_batch_scope_every_barrier_waits_for_its_batch_only() -> None:
    columns = [C("a"), C("b", traits=T.BARRIER, dependencies=["a"])]
    graph = ExecutionGraph(3, columns, batch_size=2, barrier_scope="batch")
    assert graph.get_dependencies(BarrierNodeId("b", 1)) == [CellNodeId(2, "a")]
    with pytest.raises(NodeError):
        graph.get_dependencies(BarrierNodeId("b"))
    declared = ExecutionGraph(3, columns, batch_size=2)
    assert len(declared.get_dependencies(BarrierNodeId("b"))) == 3


FOREIGN: list[tuple[Any, str]] = [
    (CellNodeId(0, "z"), "unknown column 'z'; this graph has 'a', 'b', 'p'"),
    (BarrierNodeId("z"), "unknown column 'z'; this graph has 'a', 'b', 'p'"),
    (CellNodeId(3, "a"), "Row 3 is out of range; expected 0 to 2"),
    (CellNodeId(-1, "a"), "Row -1 is out of range; expected 0 to 2"),
    (CellNodeId(True, "a"), "Row True is out of range; expected 0 to 2"),
    (CellNodeId(1.0, "a"), "Row 1.0 is out of range; expected 0 to 2"),  # type: ignore[arg-type]
    (BarrierNodeId("a"), "column 'a' is not a barrier and has no barrier node"),
    (BarrierNodeId("b", 0), "barrier 'b' waits for the dataset; batch 0 given"),
    (BarrierNodeId("p"), "barrier 'p': batch None is out of range; expected 0 to 1"),
    (BarrierNodeId("p", 2), "barrier 'p': batch 2 is out of range; expected 0 to 1"),
    (BarrierNodeId("p", -1), "barrier 'p': batch -1 is out of range; expected 0 to 1"),
    (BarrierNodeId("p", True), "barrier 'p': batch True is out of range; expected 0 to 1"),
    ("a", "expected a CellNodeId or a BarrierNodeId, got 'a'"),
    ((0, "a"), "expected a CellNodeId or a BarrierNodeId, got (0, 'a')"),
    (None, "expected a CellNodeId or a BarrierNodeId, got None"),
]


@pytest.mark.clause("GRAPH-19")
@pytest.mark.parametrize(("node", "message"), FOREIGN, ids=[str(node) for node, _ in FOREIGN])
def test_a_node_that_the_graph_does_not_have_is_refused(node: Any, message: str) -> None:
    graph = ExecutionGraph(
        3,
        [
            C("a"),
            C("b", traits=T.BARRIER, dependencies=["a"]),
            C("p", traits=T.BATCH_BARRIER, dependencies=["a"]),
        ],
        batch_size=2,
    )
    questions: list[Callable[[Any], object]] = [
        graph.get_dependencies,
        graph.get_dependents,
        graph.get_generator_and_config,
        graph.check_node,
    ]
    for ask in questions:
        with pytest.raises(NodeError) as caught:
            ask(node)
        assert str(caught.value) == message


@pytest.mark.clause("GRAPH-19")
def test_an_unknown_column_or_row_is_refused_wherever_it_is_asked_for() -> None:
    graph = ExecutionGraph(2, [C("a")])
    for completed in (set[NodeId](), graph.tracker()):
        with pytest.raises(NodeError, match="unknown column 'z'; this graph has 'a'"):
            list(graph.iter_ready_nodes_for_column("z", completed))
        for row in (-1, 2, True, "0", 0.0):
            with pytest.raises(NodeError, match="out of range; expected 0 to 1"):
                graph.is_row_complete(row, completed)  # type: ignore[arg-type]
    with pytest.raises(NodeError):
        graph.get_column_descriptor("z")


# Progress

TRACKERS: list[Callable[[ExecutionGraph], Any]] = [
    lambda _graph: set(),
    lambda graph: CompletionTracker(graph.num_records),
    lambda graph: ThreadSafeCompletionTracker(graph.num_records),
    CompletionTracker.for_graph,
    ThreadSafeCompletionTracker.for_graph,
]
any_tracker = pytest.mark.parametrize(
    "make",
    TRACKERS,
    ids=["set", "bare", "bare thread-safe", "of the graph", "thread-safe of the graph"],
)


def mark(completed: Any, node: NodeId) -> None:
    if isinstance(completed, set):
        completed.add(node)
    else:
        completed.mark_complete(node)


@pytest.mark.clause("GRAPH-14")
@any_tracker
@given(case=cases())
def test_one_pass_that_marks_as_it_goes_finishes_the_graph(
    make: Callable[[ExecutionGraph], Any], case: Case
) -> None:
    graph = case.graph()
    completed = make(graph)
    assert isinstance(completed, CompletionTrackerProtocol)
    seen: set[NodeId] = set()
    for node in graph.iter_ready_nodes(completed):
        assert set(graph.get_dependencies(node)) <= seen
        assert node not in seen
        seen.add(node)
        mark(completed, node)
    assert seen == set(graph.iter_nodes())
    assert graph.is_complete(completed)
    assert graph.get_completed_row_count(completed) == case.rows
    assert list(graph.iter_ready_nodes(completed)) == []


@pytest.mark.clause("GRAPH-18", "TRACK-05", "TRACK-06", "TRACK-10")
@any_tracker
@given(case=cases(max_columns=5, max_rows=6), answers=picks)
def test_a_graph_answers_alike_whatever_kind_of_tracker_it_is_asked_with(
    make: Callable[[ExecutionGraph], Any], case: Case, answers: list[int]
) -> None:
    """Nodes are marked in any order, ready or not, so that no answer can lean on the order."""
    graph, model = case.graph(), NaiveModel(definition_of(case))
    completed = make(graph)
    nodes = list(graph.iter_nodes())
    for step in range(len(answers) + 1):
        ready = list(graph.iter_ready_nodes(completed))
        assert len(ready) == len(set(ready))
        assert set(ready) == model.ready()
        by_column = [
            node
            for name in graph.column_names
            for node in graph.iter_ready_nodes_for_column(name, completed)
        ]
        assert by_column == ready
        complete = [graph.is_row_complete(row, completed) for row in range(case.rows)]
        assert complete == [model.row_complete(row) for row in range(case.rows)]
        assert graph.get_completed_row_count(completed) == model.completed_rows()
        assert graph.is_complete(completed) == (model.done == set(nodes))
        if step < len(answers):
            node = nodes[answers[step] % len(nodes)]
            mark(completed, node)
            model.mark(node)


class NoRow:
    """A tracker of another engine, which refuses to be asked about a row that there is not."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __contains__(self, node: NodeId) -> bool:
        assert isinstance(node, BarrierNodeId) or node.row < self.rows
        return True


@pytest.mark.clause("GRAPH-18")
def test_a_foreign_tracker_is_not_asked_about_rows_beyond_the_last() -> None:
    tracker: Any = NoRow(3)
    assert ExecutionGraph(3, [C("a")]).get_completed_row_count(tracker) == 3


@pytest.mark.clause("GRAPH-18", "GRAPH-14")
@any_tracker
@given(lag=st.integers(0, 12), rows=st.integers(1, 12))
def test_marks_that_come_late_hide_no_node_from_the_pass(
    make: Callable[[ExecutionGraph], Any], lag: int, rows: int
) -> None:
    """An engine with calls in flight marks a node while later ones have been handed out."""
    graph = ExecutionGraph(rows, [C("a", traits=T.START)])
    completed = make(graph)
    seen: list[NodeId] = []
    for node in graph.iter_ready_nodes(completed):
        seen.append(node)
        if len(seen) > lag:
            mark(completed, seen[len(seen) - 1 - lag])
    assert seen == [CellNodeId(row, "a") for row in range(rows)]


# Fingerprint


@pytest.mark.clause("GRAPH-15")
@given(case=cases(), rows=st.integers(1, 100))
def test_the_fingerprint_does_not_depend_on_the_number_of_rows(case: Case, rows: int) -> None:
    assert case.graph().fingerprint == dataclasses.replace(case, rows=rows).graph().fingerprint


BASE = Case(
    4,
    (
        C("a", traits=T.START, side_effects=["s"]),
        C("b", dependencies=["a"]),
        C("p", traits=T.BATCH_BARRIER, dependencies=["b"]),
        C("q", traits=T.BARRIER, dependencies=["a", "p"]),
    ),
    batch_size=2,
)


def with_column(case: Case, position: int, **changes: Any) -> Case:
    columns = list(case.columns)
    columns[position] = dataclasses.replace(columns[position], **changes)
    return dataclasses.replace(case, columns=tuple(columns))


OTHERS = {
    "traits": with_column(BASE, 0, traits=T.NONE),
    "a streaming column": with_column(BASE, 1, traits=T.ROW_STREAMABLE),
    "order": with_column(BASE, 1, traits=T.ORDERED),
    "dependencies": with_column(BASE, 1, dependencies=("a", "s")),
    "no dependencies": with_column(BASE, 1, dependencies=()),
    "side effects": with_column(BASE, 0, side_effects=()),
    "another side effect": with_column(BASE, 0, side_effects=("t",)),
    "scope of one barrier": with_column(BASE, 3, traits=T.BATCH_BARRIER),
    "scope of all barriers": dataclasses.replace(BASE, barrier_scope="batch"),
    "batch size": dataclasses.replace(BASE, batch_size=3),
    "one column more": dataclasses.replace(BASE, columns=(*BASE.columns, C("z"))),
    "a column that may skip": with_column(BASE, 1, may_skip=True),
    "a column that keeps skips": with_column(BASE, 1, propagate_skip=False),
    "a column that may skip and keeps skips": with_column(
        BASE, 1, may_skip=True, propagate_skip=False
    ),
    "the place of a column": dataclasses.replace(BASE, columns=(C("z"), *BASE.columns)),
}


@pytest.mark.clause("GRAPH-15")
def test_the_fingerprint_tells_any_two_pipelines_apart() -> None:
    prints = {name: case.graph().fingerprint for name, case in {"": BASE, **OTHERS}.items()}
    assert len(set(prints.values())) == len(prints), prints


@pytest.mark.clause("GRAPH-15")
def test_the_fingerprint_ignores_rows_and_the_order_of_dependencies() -> None:
    plain = ExecutionGraph(4, [C("a"), C("b"), C("c", dependencies=["a", "b"])])
    other = ExecutionGraph(
        9, [C("a", {"x": 1}, int), C("b"), C("c", dependencies=["b", "a"])], batch_size=3
    )
    assert plain.fingerprint == other.fingerprint


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    """Stored in checkpoints: a change here refuses all that were written before."""
    assert BASE.graph().fingerprint == "6d148e145d25667bd671e5a2b86f2436"
    assert (
        ExecutionGraph(1, [C("straße", may_skip=True)]).fingerprint
        == "6ca43043199ac2b12d3726492dc51d84"
    )


# Memory


def held_by(make: Callable[[], object]) -> int:
    """Bytes that stay allocated while the result lives."""
    make()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = make()
        after = tracemalloc.get_traced_memory()[0]
        del kept
    finally:
        tracemalloc.stop()
    return after - before


def test_a_graph_of_ten_million_rows_is_as_small_as_one_of_ten() -> None:
    def make(rows: int) -> ExecutionGraph:
        return ExecutionGraph(rows, BASE.columns, batch_size=2)

    small, large = held_by(lambda: make(10)), held_by(lambda: make(10_000_000))
    assert large < 16_384
    # A few integers of the large graph are beyond those that the interpreter keeps ready.
    assert abs(large - small) < 512


def test_questions_about_single_nodes_of_a_huge_graph_are_answered_at_once() -> None:
    graph = ExecutionGraph(10_000_000, BASE.columns, batch_size=2)
    assert graph.num_nodes == 4 * 10_000_000 + 5_000_000 + 1
    assert graph.get_dependents(CellNodeId(9_999_999, "b")) == [BarrierNodeId("p", 4_999_999)]
    assert next(iter(graph.iter_nodes())) == CellNodeId(0, "a")
    assert next(graph.iter_dependencies(BarrierNodeId("q"))) == CellNodeId(0, "a")


@pytest.mark.parametrize(("column", "place"), [(0, 0), (0, 3), (2, 1)])
def test_a_key_names_one_node_and_reads_back(column: int, place: int) -> None:
    cell, barrier = cell_key(column, place), barrier_key(column, place)
    assert cell != barrier
    assert (is_barrier_key(cell), is_barrier_key(barrier)) == (False, True)
    assert column_of(cell) == column_of(barrier) == column
    assert place_of(cell) == place_of(barrier) == place
    assert split_key(cell) == (column, place, False)
    assert split_key(barrier) == (column, place, True)


def test_a_graph_makes_a_tracker_also_if_none_was_imported() -> None:
    program = (
        "from cellspec.graph.columns import ColumnDescriptor\n"
        "from cellspec.graph.graph import ExecutionGraph\n"
        "tracker = ExecutionGraph(1, [ColumnDescriptor('a')]).tracker()\n"
        "print(type(tracker).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("CompletionTracker\n", "")
