"""The two oracles agree with each other, and with what the clauses say of a pipeline by hand.

They share no code, so an error would have to be made twice in the same place to stay unseen here.
"""

from __future__ import annotations

import pytest
from hypothesis import given

from cellspec import BarrierNodeId, CellNodeId, ColumnDescriptor, ExecutionTraits, NodeId
from tests.oracles import Definition, NaiveModel, SorterOracle
from tests.strategies import Case, cases, picks

pytestmark = pytest.mark.invariant

T = ExecutionTraits


@given(case=cases(), answers=picks)
def test_the_naive_model_and_graphlib_offer_the_same_nodes_all_along(
    case: Case, answers: list[int]
) -> None:
    definition = Definition(case.rows, case.columns, case.batch_size, case.barrier_scope)
    model, sorter = NaiveModel(definition), SorterOracle(definition)
    step = 0
    while ready := sorter.ready():
        assert model.ready() == ready
        options = sorted(ready, key=repr)
        node = options[answers[step] % len(options) if step < len(answers) else 0]
        model.mark(node)
        sorter.mark(node)
        step += 1
    assert not model.ready()
    assert model.done == set(definition.nodes())
    assert model.completed_rows() == case.rows


PIPELINE = Definition(
    5,
    (
        ColumnDescriptor("judge", dependencies=["text_score", "all"]),
        ColumnDescriptor("text", traits=T.START, side_effects=["text_score"]),
        ColumnDescriptor("all", traits=T.BARRIER, dependencies=["text", "part"]),
        ColumnDescriptor("part", traits=T.BATCH_BARRIER | T.ORDERED, dependencies=["text"]),
        ColumnDescriptor("seed", traits=T.START | T.ORDERED),
    ),
    batch_size=2,
)


@pytest.mark.clause("GRAPH-07", "GRAPH-08", "GRAPH-09", "GRAPH-10", "GRAPH-11", "GRAPH-13")
@pytest.mark.parametrize(
    ("node", "needs"),
    [
        (CellNodeId(3, "text"), set()),
        (CellNodeId(3, "judge"), {CellNodeId(3, "text"), CellNodeId(3, "all")}),
        (CellNodeId(3, "all"), {BarrierNodeId("all")}),
        (
            BarrierNodeId("all"),
            {CellNodeId(row, column) for row in range(5) for column in ("text", "part")},
        ),
        (BarrierNodeId("part", 0), {CellNodeId(0, "text"), CellNodeId(1, "text")}),
        (BarrierNodeId("part", 2), {CellNodeId(4, "text"), BarrierNodeId("part", 1)}),
        (CellNodeId(4, "part"), {BarrierNodeId("part", 2)}),
        (CellNodeId(0, "seed"), set()),
        (CellNodeId(3, "seed"), {CellNodeId(2, "seed")}),
    ],
    # A set has no order of its own, and a test's name must be the same each time.
    ids=lambda value: "" if isinstance(value, set) else str(value),
)
def test_the_oracle_and_the_graph_give_the_dependencies_that_the_clauses_spell_out(
    node: NodeId, needs: set[NodeId]
) -> None:
    assert PIPELINE.dependencies(node) == needs
    graph = Case(5, tuple(PIPELINE.columns), batch_size=2).graph()
    assert set(graph.get_dependencies(node)) == needs


@pytest.mark.clause("CKPT-06", "CKPT-07")
def test_the_oracle_restores_exactly_what_is_claimed() -> None:
    model = NaiveModel(PIPELINE)
    model.restore({"text": 5, "part": 3, "all": 2, "judge": 2, "seed": 2})
    assert {node for node in model.done if isinstance(node, BarrierNodeId)} == {
        BarrierNodeId("part", 0)
    }
    assert model.completed_rows() == 2
    assert model.prefixes() == {"text": 5, "part": 3, "all": 2, "judge": 2, "seed": 2}
    assert model.ready() == {BarrierNodeId("part", 1), CellNodeId(2, "seed")}
