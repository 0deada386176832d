"""`NodeCodes`: each node of a graph as one integer, so that its state is one byte of an array.

The cells come first, row by row; behind them come the barrier nodes, scope by scope. So the codes
of one row are neighbours, and a cell has a smaller code than any barrier node.
"""

from __future__ import annotations

from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import CellNodeId, NodeId

__all__ = ["NodeCodes"]


class NodeCodes:
    """Translates between the nodes of a graph and integers from 0 to `size` - 1.

    Attributes:
        columns: how many columns the graph has; ``code % columns`` is the node's column.
        rows: how many rows it has.
        cells: how many cells it has; a code below that is a cell.
        size: how many codes there are.
    """

    def __init__(self, graph: ExecutionGraph) -> None:
        self._graph = graph
        self._names = graph.column_names
        self.columns = graph.num_columns
        self.rows = graph.num_records
        self.cells = self.rows * self.columns
        scopes = max(map(graph.rules.scope_count, range(self.columns)))
        self.size = self.cells + scopes * self.columns

    def cell(self, column: int, row: int) -> int:
        """The code of a cell."""
        return row * self.columns + column

    def barrier(self, column: int, scope: int) -> int:
        """The code of the barrier node of a scope."""
        return (self.rows + scope) * self.columns + column

    def of(self, node: NodeId) -> int:
        """The code of a node."""
        column = self._graph.rules.index[node.column]
        if isinstance(node, CellNodeId):
            return self.cell(column, node.row)
        return self.barrier(column, node.batch or 0)

    def split(self, code: int) -> tuple[int, int, bool]:
        """Column, row (of a barrier node its scope), and whether it is a barrier node."""
        place, column = divmod(code, self.columns)
        if place < self.rows:
            return column, place, False
        return column, place - self.rows, True

    def node(self, code: int) -> NodeId:
        """The node of a code."""
        column, place, is_barrier = self.split(code)
        if is_barrier:
            return self._graph.barrier_node(column, place)
        return CellNodeId(place, self._names[column])
