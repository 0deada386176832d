"""Whoever knows the seed finds its words here: names, messages and exceptions.

What differs on purpose is listed in plans/execution-graph.md, "Departures from the seed".
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cellspec import (
    BarrierNodeId,
    CellNodeId,
    ColumnDescriptor,
    CompletionTracker,
    ExecutionGraph,
    ExecutionTraits,
    ThreadSafeCompletionTracker,
)

T = ExecutionTraits


def graph(rows: int = 10) -> ExecutionGraph:
    return ExecutionGraph(
        rows,
        [
            ColumnDescriptor("a", traits=T.START),
            ColumnDescriptor("b", None, None, T.BARRIER, ["a"]),
        ],
    )


def test_a_node_reads_as_what_it_is() -> None:
    assert f"{CellNodeId(5, 'x')}" == repr(CellNodeId(5, "x")) == "Cell(5, 'x')"
    assert f"{BarrierNodeId('x')}" == repr(BarrierNodeId("x")) == "Barrier('x')"
    assert repr(BarrierNodeId("x", 2)) == "Barrier('x', 2)"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: graph(0), "num_records must be positive"),
        (lambda: graph(-5), "num_records must be positive"),
        (lambda: CompletionTracker(0), "num_records must be positive"),
        (lambda: ExecutionGraph(1, []), "column_descriptors cannot be empty"),
        (
            lambda: ExecutionGraph(1, [ColumnDescriptor("b", dependencies=["z"])]),
            "column 'b' depends on unknown column 'z'",
        ),
        (lambda: graph().is_row_complete(10, set()), "Row 10 is out of range"),
        (lambda: graph().is_row_complete(-1, set()), "Row -1 is out of range"),
        (
            lambda: CompletionTracker.from_checkpoint({"version": 999}, graph()),
            "Incompatible checkpoint version: 999",
        ),
        (
            lambda: ThreadSafeCompletionTracker.from_checkpoint({"version": 0}, graph()),
            "Incompatible checkpoint version: 0",
        ),
    ],
)
def test_a_refusal_says_what_the_seed_says(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.clause("GRAPH-19")
@pytest.mark.parametrize(
    "ask",
    [
        lambda g: g.get_column_descriptor("z"),
        lambda g: g.get_generator_and_config(CellNodeId(0, "z")),
        lambda g: g.get_dependencies(CellNodeId(0, "z")),
        lambda g: g.get_dependents(BarrierNodeId("z")),
        lambda g: list(g.iter_ready_nodes_for_column("z", set())),
    ],
)
def test_a_column_that_a_graph_does_not_have_is_a_missing_key(
    ask: Callable[[ExecutionGraph], object],
) -> None:
    for kind in (KeyError, ValueError):
        with pytest.raises(kind) as caught:
            ask(graph())
        assert str(caught.value) == "unknown column 'z'; this graph has 'a', 'b'"
