"""The general law of a restore: exactly what was claimed is complete, and all else follows.

Runs are driven through the tracker, crash after crash, with checkpoints of either version between
them, against the naive model and against `graphlib`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

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
from cellspec.graph.rowset import ranges_of
from cellspec.state import restoring_sets
from cellspec.state.claims import normal
from cellspec.state.codes import CLAIMED
from cellspec.state.counters import Counters
from tests.oracles import Definition, NaiveModel, SorterOracle
from tests.state.restores import run
from tests.strategies import Case, cases, picks

pytestmark = pytest.mark.invariant

T = ExecutionTraits
C = ColumnDescriptor


def definition_of(case: Case) -> Definition:
    return Definition(case.rows, case.columns, case.batch_size, case.barrier_scope)


def model_of(case: Case) -> NaiveModel:
    return NaiveModel(definition_of(case))


def in_order(nodes: set[NodeId]) -> list[NodeId]:
    """Nodes by row, barriers first: a run that finishes rows early."""
    return sorted(
        nodes,
        key=lambda n: (n.row if isinstance(n, CellNodeId) else -1, n.column, repr(n)),
    )


def advance(model: NaiveModel, tracker: CompletionTracker, answers: Sequence[int]) -> None:
    """Complete ready nodes on both sides; an answer says which."""
    for pick in answers:
        ready = in_order(model.ready())
        if not ready:
            return
        node = ready[pick % len(ready)]
        note(f"    {node}")
        model.mark(node)
        tracker.mark_complete(node)


def agree(graph: ExecutionGraph, tracker: CompletionTracker, model: NaiveModel) -> None:
    """Every question about progress has the model's answer."""
    nodes = model.definition.nodes()
    assert {node for node in nodes if node in tracker} == model.done
    assert {node for node in nodes if tracker.is_complete(node)} == model.done
    assert len(tracker) == len(model.done)
    ready = list(graph.iter_ready_nodes(tracker))
    assert len(ready) == len(set(ready))
    assert set(ready) == model.ready()
    for column in graph.column_names:
        done = sum(cell in model.done for cell in model.definition.cells(column))
        assert tracker.column_completion_count(column) == done
        assert tracker.is_column_complete(column) == (done == graph.num_records)
        mine = set(graph.iter_ready_nodes_for_column(column, tracker))
        assert mine == {node for node in ready if node.column == column}
        for barrier in model.definition.barriers(column):
            found = tracker.is_barrier_complete(column, barrier.batch)
            assert found == (barrier in model.done)
    for row in range(graph.num_records):
        assert graph.is_row_complete(row, tracker) == model.row_complete(row)
    assert graph.get_completed_row_count(tracker) == model.completed_rows()
    assert graph.is_complete(tracker) == (model.done == set(nodes))


def crash_and_restore(
    graph: ExecutionGraph, tracker: CompletionTracker, model: NaiveModel, version: int
) -> CompletionTracker:
    """Through a checkpoint of a version, as JSON, into a new tracker; the model likewise."""
    claim = model.prefixes() if version == 2 else model.rows_claim()
    rows = model.completed_rows()
    payload = tracker.to_checkpoint(graph, version)
    note(f"    crash, restore {payload}")
    assert payload["completed_rows"] == rows
    if version == 1:
        assert payload == {"version": 1, "completed_rows": rows}
    else:
        assert payload["column_rows"] == claim
        assert payload["graph"] == graph.fingerprint
    restored = type(tracker).from_checkpoint(json.loads(json.dumps(payload)), graph)
    model.restore(claim)
    assert restored.to_checkpoint(graph, version) == payload
    assert graph.get_completed_row_count(restored) == rows
    return restored


@pytest.mark.clause(
    "CKPT-01",
    "CKPT-02",
    "CKPT-06",
    "CKPT-07",
    "CKPT-13",
    "CKPT-14",
    "CKPT-15",
    "TRACK-04",
    "TRACK-05",
    "TRACK-06",
    "TRACK-10",
)
@given(
    case=cases(max_columns=5, max_rows=6),
    parts=st.lists(st.tuples(picks, st.sampled_from((1, 2))), min_size=1, max_size=4),
    hurry=st.integers(0, 40),
)
def test_after_any_chain_of_crashes_exactly_the_claimed_cells_are_complete(
    case: Case, parts: list[tuple[list[int], int]], hurry: int
) -> None:
    graph, model = case.graph(), model_of(case)
    tracker = CompletionTracker.for_graph(graph)
    rows = 0
    for answers, version in parts:
        # Zeros finish rows first, so that there is something to claim.
        advance(model, tracker, [0] * hurry + answers)
        agree(graph, tracker, model)
        tracker = crash_and_restore(graph, tracker, model, version)
        agree(graph, tracker, model)
        assert model.completed_rows() >= rows
        rows = model.completed_rows()


@pytest.mark.clause("CKPT-15", "GRAPH-18", "TRACK-05")
@given(case=cases(), answers=picks, version=st.sampled_from((1, 2)), order=picks)
def test_a_restored_run_offers_what_graphlib_offers_until_it_is_complete(
    case: Case, answers: list[int], version: int, order: list[int]
) -> None:
    graph, model = case.graph(), model_of(case)
    tracker: CompletionTracker = ThreadSafeCompletionTracker.for_graph(graph)
    advance(model, tracker, answers)
    tracker = crash_and_restore(graph, tracker, model, version)
    sorter = SorterOracle(model.definition, model.done)
    step = 0
    while sorter.ready():
        assert set(graph.iter_ready_nodes(tracker)) == sorter.ready()
        ready = in_order(sorter.ready())
        node = ready[order[step] % len(ready) if step < len(order) else 0]
        sorter.mark(node)
        tracker.mark_complete(node)
        step += 1
    assert graph.is_complete(tracker)
    assert len(tracker) == graph.num_nodes


@pytest.mark.clause("GRAPH-14")
@given(case=cases(), answers=picks, version=st.sampled_from((1, 2)))
def test_one_pass_of_the_simplest_engine_finishes_a_restored_run(
    case: Case, answers: list[int], version: int
) -> None:
    graph, model = case.graph(), model_of(case)
    tracker = CompletionTracker.for_graph(graph)
    advance(model, tracker, answers)
    tracker = crash_and_restore(graph, tracker, model, version)
    for node in graph.iter_ready_nodes(tracker):
        assert node not in model.done
        tracker.mark_complete(node)
    assert graph.is_complete(tracker)
    assert graph.get_completed_row_count(tracker) == graph.num_records


@pytest.mark.clause("CKPT-07", "CKPT-02")
@given(case=cases())
def test_no_dataset_barrier_is_complete_before_all_rows_are_claimed(case: Case) -> None:
    graph, definition = case.graph(), definition_of(case)
    for rows in range(case.rows + 1):
        payload = {"version": 1, "completed_rows": rows}
        tracker = CompletionTracker.from_checkpoint(payload, graph)
        assert graph.get_completed_row_count(tracker) == rows
        for column in graph.column_names:
            for barrier in definition.barriers(column):
                whole = rows == case.rows
                if barrier.batch is not None:
                    whole = rows >= definition.scope(barrier).stop
                assert tracker.is_barrier_complete(column, barrier.batch) == whole


@pytest.mark.clause("CKPT-07", "BARR-03")
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7, 8, 20])
def test_a_batch_barrier_is_complete_exactly_if_its_batch_is_claimed(batch_size: int) -> None:
    columns = [
        ColumnDescriptor("a", traits=T.START),
        ColumnDescriptor("b", traits=T.BATCH_BARRIER, dependencies=["a"]),
    ]
    graph = ExecutionGraph(7, columns, batch_size=batch_size)
    batches = -(-7 // batch_size)
    for own in range(8):
        payload = {
            "version": 2,
            "completed_rows": own,
            "column_rows": {"a": 7, "b": own},
            "graph": graph.fingerprint,
        }
        tracker = CompletionTracker.from_checkpoint(payload, graph)
        complete = [tracker.is_barrier_complete("b", batch) for batch in range(batches)]
        assert complete == [own >= min((b + 1) * batch_size, 7) for b in range(batches)]


A_B_C = [
    ColumnDescriptor("a", traits=T.START),
    ColumnDescriptor("b", traits=T.BARRIER, dependencies=["a"]),
    ColumnDescriptor("c", dependencies=["b"]),
]


def half_done() -> tuple[ExecutionGraph, CompletionTracker]:
    """a is complete, its barrier b has run, and c has rows 0 and 1 of 4."""
    graph = ExecutionGraph(4, A_B_C)
    tracker = CompletionTracker.for_graph(graph)
    for row in range(4):
        tracker.mark_complete(CellNodeId(row, "a"))
    tracker.mark_complete(BarrierNodeId("b"))
    for row in range(4):
        tracker.mark_complete(CellNodeId(row, "b"))
    for row in range(2):
        tracker.mark_complete(CellNodeId(row, "c"))
    return graph, tracker


@pytest.mark.clause("CKPT-06", "CKPT-07", "CKPT-15", "TRACK-06")
def test_version_1_of_a_half_done_column_runs_the_barrier_again_and_keeps_the_claimed_rows() -> (
    None
):
    graph, tracker = half_done()
    payload = tracker.to_checkpoint(graph)
    assert payload == {"version": 1, "completed_rows": 2}

    restored = CompletionTracker.from_checkpoint(payload, graph)
    assert graph.get_completed_row_count(restored) == 2
    assert not restored.is_barrier_complete("b")
    assert [graph.is_row_complete(row, restored) for row in range(4)] == [True, True, False, False]
    assert list(graph.iter_ready_nodes(restored)) == [CellNodeId(2, "a"), CellNodeId(3, "a")]
    restored.mark_complete(CellNodeId(2, "a"))
    assert BarrierNodeId("b") not in set(graph.iter_ready_nodes(restored))
    restored.mark_complete(CellNodeId(3, "a"))
    assert list(graph.iter_ready_nodes(restored)) == [BarrierNodeId("b")]
    restored.mark_complete(BarrierNodeId("b"))
    assert list(graph.iter_ready_nodes(restored)) == [CellNodeId(2, "b"), CellNodeId(3, "b")]
    assert restored.to_checkpoint(graph) == payload


@pytest.mark.clause("CKPT-07", "CKPT-13", "CKPT-15")
def test_version_2_of_a_half_done_column_keeps_the_rows_before_the_barrier() -> None:
    graph, tracker = half_done()
    payload = tracker.to_checkpoint(graph, version=2)
    assert payload["column_rows"] == {"a": 4, "b": 4, "c": 2}

    # The barrier's whole output is claimed, so the barrier need not run again.
    restored = CompletionTracker.from_checkpoint(payload, graph)
    assert restored.is_barrier_complete("b")
    assert list(graph.iter_ready_nodes(restored)) == [CellNodeId(2, "c"), CellNodeId(3, "c")]

    payload["column_rows"]["b"] = 3
    restored = CompletionTracker.from_checkpoint(payload, graph)
    assert not restored.is_barrier_complete("b")
    assert list(graph.iter_ready_nodes(restored)) == [
        BarrierNodeId("b"),
        CellNodeId(2, "c"),
    ]
    assert graph.get_completed_row_count(restored) == 2


@pytest.mark.clause("CKPT-06", "TRACK-06")
def test_an_unclaimed_row_needs_its_barrier_although_a_claimed_one_does_not() -> None:
    graph, _ = half_done()
    tracker = CompletionTracker.from_checkpoint({"version": 1, "completed_rows": 2}, graph)
    for column in "abc":
        tracker.mark_complete(CellNodeId(2, column))
    assert graph.is_row_complete(1, tracker)
    assert not graph.is_row_complete(2, tracker)
    assert graph.get_completed_row_count(tracker) == 2
    assert tracker.to_checkpoint(graph) == {"version": 1, "completed_rows": 2}


# What is told beside the claim


def restored(graph: ExecutionGraph, claim: dict[str, int], **given_back: Any) -> CompletionTracker:
    payload = {
        "version": 2,
        "completed_rows": min(claim.values()),
        "column_rows": claim,
        "graph": graph.fingerprint,
    }
    return CompletionTracker.from_checkpoint(payload, graph, **given_back)


@pytest.mark.clause("CKPT-06")
@pytest.mark.parametrize("needs", [["a", "b"], ["b", "a"]], ids="".join)
def test_after_a_restore_a_cell_waits_for_each_input_that_does_not_claim_its_row(
    needs: list[str],
) -> None:
    graph = ExecutionGraph(4, [C("a"), C("b"), C("c", dependencies=needs)])
    tracker = restored(graph, {"a": 3, "b": 1, "c": 0})
    assert list(graph.iter_ready_nodes_for_column("c", tracker)) == [CellNodeId(0, "c")]
    for row in (1, 2, 3):
        tracker.mark_complete(CellNodeId(row, "b"))
    assert list(graph.iter_ready_nodes_for_column("c", tracker)) == [
        CellNodeId(row, "c") for row in (0, 1, 2)
    ]


@pytest.mark.clause("SKIP-03", "BARR-06")
def test_after_a_restore_each_given_skip_is_passed_on_to_all_cells_that_read_it() -> None:
    graph = ExecutionGraph(
        3,
        [
            C("a", may_skip=True),
            C("b", dependencies=["a"]),
            C("c", dependencies=["a"]),
            C("v", traits=T.BARRIER, dependencies=["a"]),
            C("w", traits=T.BARRIER, dependencies=["a"]),
        ],
    )
    tracker = restored(graph, {"a": 3, "b": 0, "c": 0, "v": 0, "w": 0}, skipped={"a": [0, 2]})
    for name in "bcvw":
        found = [tracker.must_skip(CellNodeId(row, name)) for row in range(3)]
        assert found == [True, False, True], name
    for name in "vw":
        assert tracker.barrier_reads(BarrierNodeId(name)) == ((1, 2),)


@pytest.mark.clause("CKPT-06", "CKPT-07")
def test_after_a_restore_no_barrier_waits_for_a_row_given_as_dropped() -> None:
    graph = ExecutionGraph(
        2,
        [
            C("x"),
            C("a"),
            C("v", traits=T.BARRIER, dependencies=["a"]),
            C("w", traits=T.BARRIER, dependencies=["a"]),
        ],
    )
    tracker = restored(graph, {"x": 2, "a": 1, "v": 0, "w": 0}, dropped=[1])
    assert list(graph.iter_ready_nodes(tracker)) == [BarrierNodeId("v"), BarrierNodeId("w")]


@pytest.mark.clause("CKPT-06", "SCHED-13")
def test_after_a_restore_a_turn_passes_over_the_rows_given_as_dropped() -> None:
    graph = ExecutionGraph(5, [C("x"), C("o", traits=T.ORDERED)])
    tracker = restored(graph, {"x": 5, "o": 0}, dropped=[0, 3])
    for row in (1, 2, 4):
        assert list(graph.iter_ready_nodes(tracker)) == [CellNodeId(row, "o")]
        tracker.mark_complete(CellNodeId(row, "o"))
    assert graph.is_complete(tracker)


@pytest.mark.clause("CKPT-13")
@pytest.mark.parametrize("there", ["a", "b"])
def test_a_claim_of_a_column_waits_for_each_of_its_inputs(there: str) -> None:
    graph = ExecutionGraph(2, [C("a"), C("b"), C("c", dependencies=["a", "b"])])
    tracker = graph.tracker()
    for name in ("c", there):
        tracker.mark_complete(CellNodeId(0, name))
    expected = {"a": 0, "b": 0, "c": 0, there: 1}
    assert tracker.to_checkpoint(graph, 2)["column_rows"] == expected


# Claims of any rows


@pytest.mark.clause("CKPT-06", "CKPT-07", "CKPT-13", "CKPT-14", "CKPT-15")
@pytest.mark.parametrize("first", range(0, 120, 5))
def test_restores_from_any_rows_follow_the_law(first: int) -> None:
    """The first of the runs of ``make restores``."""
    for seed in range(first, first + 5):
        run(seed, Counter())


def test_these_restores_are_of_all_kinds() -> None:
    seen: Counter[str] = Counter()
    for seed in range(25):
        run(seed, seen)
    assert len(seen) == 7
    assert min(seen.values()) > 2, seen


@pytest.mark.clause("CKPT-06")
@pytest.mark.parametrize("few", [0, 256])
@given(data=st.data(), rows=st.integers(1, 9), group_rows=st.none() | st.integers(1, 4))
def test_after_a_restore_each_cell_waits_for_its_open_inputs_its_turn_and_its_group(
    few: int, data: st.DataObject, rows: int, group_rows: int | None
) -> None:
    columns = [C("a"), C("b"), C("c", dependencies=["a", "b"]), C("o", traits=T.ORDERED)]
    graph = ExecutionGraph(rows, columns)
    claim = {name: data.draw(st.sets(st.integers(0, rows - 1))) for name in "ab"}
    claim["c"] = data.draw(st.sets(st.integers(0, rows - 1))) & claim["a"] & claim["b"]
    claim["o"] = set(range(data.draw(st.integers(0, rows))))
    counters = Counters(graph.rules, group_rows=group_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restoring_sets, "FEW_EDGES", few)
        counters.restore(tuple(normal(ranges_of(sorted(claim[name]))) for name in "abco"))
    held = group_rows is not None
    inputs = {"c": ("a", "b")}
    for index, name in enumerate("abco"):
        for row in range(rows):
            waits = sum(row not in claim[need] for need in inputs.get(name, ()))
            waits += (name == "o" and row > len(claim["o"])) + held
            found = counters.cells[index][row]
            assert found == (CLAIMED if row in claim[name] else waits), f"{name}[{row}]"
            assert counters.is_claimed(index, row) == (row in claim[name])
