"""A run by definition: what is done, what runs, and what the edges of the graph make ready.

It shares no code with the counters; a test takes each step here and in the machine.
"""

from __future__ import annotations

from collections import Counter

from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, Limits, Machine
from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId
from cellspec.machine.actions import Action
from cellspec.machine.limits import FailurePolicy

__all__ = ["ROWS", "SHAPES", "Run"]

T = ExecutionTraits
ROWS = 4

SHAPES = {
    "cells": [("a", T.START, ""), ("b", T.NONE, "a"), ("c", T.NONE, "ab")],
    "ordered": [("a", T.START, ""), ("b", T.ORDERED, "a"), ("c", T.NONE, "b")],
    "barrier": [("a", T.START, ""), ("b", T.BARRIER, "a"), ("c", T.NONE, "ab")],
    "batches": [("a", T.START, ""), ("b", T.BATCH_BARRIER, "a"), ("c", T.BATCH_BARRIER, "b")],
    "batches over a barrier": [
        ("a", T.START, ""),
        ("b", T.BARRIER, "a"),
        ("c", T.BATCH_BARRIER, "b"),
        ("d", T.BATCH_BARRIER, "ab"),
    ],
    "ordered batches": [
        ("a", T.ORDERED, ""),
        ("b", T.BATCH_BARRIER | T.ORDERED, "a"),
        ("c", T.ORDERED, "b"),
    ],
}


class Run:
    """A run of the machine, and beside it the nodes that are done, run, wait, or are on storage."""

    def __init__(self, shape: str, limits: Limits | None = None) -> None:
        columns = [
            ColumnDescriptor(name, traits=traits, dependencies=list(needs))
            for name, traits, needs in SHAPES[shape]
        ]
        self.graph = ExecutionGraph(ROWS, columns, batch_size=2)
        self.limits = limits or Limits()
        self.machine = Machine(self.graph, limits, failures=FailurePolicy(max_attempts=1000))
        self.done: set[NodeId] = set()
        self.running: set[NodeId] = set()
        self.saved: set[NodeId] = set()
        self.backoff: dict[NodeId, float] = {}

    def ready(self) -> set[NodeId]:
        """By definition: pending, in no backoff, and all that it depends on is done."""
        return {
            node
            for node in self.graph.iter_nodes()
            if node not in self.done | self.running
            and self.backoff.get(node, 0.0) <= self.machine.now
            and self.needs(node) <= self.done
        }

    def startable(self) -> set[NodeId]:
        """Of those that are ready, the nodes for which a worker and a place are free."""
        taken = Counter(self.limits.column_resource.get(node.column) for node in self.running)

        def fits(node: NodeId) -> bool:
            name = self.limits.column_resource.get(node.column)
            workers = self.limits.workers
            return (workers is None or len(self.running) < workers) and (
                name is None or taken[name] < self.limits.resources[name]
            )

        return {node for node in self.ready() if self.is_output(node) or fits(node)}

    def needs(self, node: NodeId) -> set[NodeId]:
        """What a node depends on; in an ordered column on every node before it."""
        needs = set(self.graph.get_dependencies(node))
        if T.ORDERED in self.traits(node) and not self.is_output(node):
            needs |= {other for other in self.graph.iter_nodes() if is_before(other, node)}
        return needs

    def traits(self, node: NodeId) -> ExecutionTraits:
        return self.graph.get_column_descriptor(node.column).traits

    def offered(self) -> set[NodeId]:
        """The nodes that the machine lets start, or give their output."""
        found: set[NodeId] = set()
        for step in self.machine.enabled():
            if step.kind in ("start", "emit"):
                found |= self.nodes_of(step)
        return found

    def nodes_of(self, step: Action) -> set[NodeId]:
        if step.scope is not None:
            names = {node for node in self.graph.iter_nodes() if isinstance(node, BarrierNodeId)}
            return {
                node
                for node in names
                if (node.batch or 0, node.column) == (step.scope, step.column)
            }
        assert step.rows is not None
        return {CellNodeId(row, step.column) for row in range(*step.rows)}

    def fail(self, node: NodeId, until: float) -> None:
        """A call ends badly; its node may start again from a time on."""
        scope = (node.batch or 0) if isinstance(node, BarrierNodeId) else None
        rows = (node.row, node.row + 1) if isinstance(node, CellNodeId) else None
        step = Action("fail", node.column, rows, scope, failure="retryable", until=until)
        self.machine.apply(step)
        self.running.remove(node)
        self.backoff[node] = until

    def take(self, node: NodeId, kind: str) -> None:
        """Start, complete or lose a node; output is given at once."""
        name = node.column
        if isinstance(node, BarrierNodeId):
            self.machine.apply(Action(kind, name, scope=node.batch or 0))
        elif kind == "start" and self.is_output(node):
            self.machine.apply(Action("emit", name, (node.row, node.row + 1)))
            self.done.add(node)
            return
        else:
            self.machine.apply(Action(kind, name, (node.row, node.row + 1)))
        if kind == "start":
            self.running.add(node)
        elif kind == "complete":
            self.running.remove(node)
            self.done.add(node)
        else:
            self.done -= {node, *self.output_of(node)} - self.saved

    def save(self, node: CellNodeId) -> None:
        self.machine.apply(Action("durable", node.column, (node.row, node.row + 1)))
        self.saved.add(node)

    def is_output(self, node: NodeId) -> bool:
        barrier = T.BARRIER | T.BATCH_BARRIER
        return isinstance(node, CellNodeId) and bool(self.traits(node) & barrier)

    def output_of(self, node: NodeId) -> set[NodeId]:
        """The cells that get their values from a barrier node."""
        if not isinstance(node, BarrierNodeId):
            return set()
        cells = (CellNodeId(row, node.column) for row in range(ROWS))
        return {cell for cell in cells if node in self.graph.get_dependencies(cell)}

    def may_lose(self) -> list[NodeId]:
        """Nodes that are done; of each, something is not on storage."""
        return [
            node
            for node in self.graph.iter_nodes()
            if node in self.done
            and not self.is_output(node)
            and not (self.output_of(node) or {node}) <= self.saved
        ]

    def may_save(self) -> list[CellNodeId]:
        """Cells that are done, and not on storage."""
        cells = [node for node in self.graph.iter_nodes() if isinstance(node, CellNodeId)]
        return [cell for cell in cells if cell in self.done - self.saved]


def is_before(other: NodeId, node: NodeId) -> bool:
    if other.column != node.column or type(other) is not type(node):
        return False
    if isinstance(other, CellNodeId) and isinstance(node, CellNodeId):
        return other.row < node.row
    assert isinstance(other, BarrierNodeId)
    assert isinstance(node, BarrierNodeId)
    return (other.batch or 0) < (node.batch or 0)
