"""The counting graph: an execution graph that counts the questions that an engine asks it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cellspec.conformance.run.workload import Workload
from cellspec.graph.graph import CompletionTrackerProtocol, ExecutionGraph
from cellspec.graph.nodes import NodeId

__all__ = ["CountingGraph"]


class CountingGraph(ExecutionGraph):
    """A graph that counts one for each question, and one for each node in an answer.

    Attributes:
        questions: the count. Per event it must not grow with the number of rows.
    """

    __slots__ = ("questions",)

    questions: int

    @classmethod
    def of(cls, work: Workload, incarnation: int) -> CountingGraph:
        """The graph of one incarnation of a workload."""
        # A graph does not change: this one shares what the workload's own is made of.
        made = work.graph(incarnation)
        graph = cls.__new__(cls)
        for name in ExecutionGraph.__slots__:
            setattr(graph, name, getattr(made, name))
        graph.questions = 0
        return graph

    def _counted(self, nodes: Iterable[NodeId]) -> Iterator[NodeId]:
        self.questions += 1
        for node in nodes:
            self.questions += 1
            yield node

    def iter_dependencies(self, node: NodeId) -> Iterator[NodeId]:
        return self._counted(super().iter_dependencies(node))

    def get_dependents(self, node: NodeId) -> list[NodeId]:
        return list(self._counted(super().get_dependents(node)))

    def iter_nodes(self) -> Iterator[NodeId]:
        return self._counted(super().iter_nodes())

    def iter_start_nodes(self) -> Iterator[NodeId]:
        return self._counted(super().iter_start_nodes())

    def iter_ready_nodes(self, completed: CompletionTrackerProtocol) -> Iterator[NodeId]:
        return self._counted(super().iter_ready_nodes(completed))

    def iter_ready_nodes_for_column(
        self, column: str, completed: CompletionTrackerProtocol
    ) -> Iterator[NodeId]:
        return self._counted(super().iter_ready_nodes_for_column(column, completed))
