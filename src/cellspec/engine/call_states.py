"""`CallStates`: how far the call of each node has come, one byte for each.

=========  =========================================================================================
WAITING    something it depends on is open, or its row group is not admitted
QUEUED     it may start as soon as a worker and its resource are free
BACKOFF    it failed, and may not start again before a moment in time
RUNNING    a call is in flight
ENDED      it has its value, or was skipped, or its row was dropped
=========  =========================================================================================
"""

from __future__ import annotations

from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.nodes import NodeKey

__all__ = ["BACKOFF", "ENDED", "QUEUED", "RUNNING", "WAITING", "CallStates"]

WAITING, QUEUED, BACKOFF, RUNNING, ENDED = range(5)


class CallStates:
    """A mapping from each node's key to the state of its call; every node begins as WAITING."""

    def __init__(self, graph: ExecutionGraph) -> None:
        columns = range(graph.num_columns)
        # A key's first number is an index of this list: that of a barrier node counts from its end.
        self._bytes = [bytearray(graph.num_records) for _ in columns]
        self._bytes += [bytearray(graph.rules.scope_count(column)) for column in reversed(columns)]

    def __getitem__(self, key: NodeKey) -> int:
        return self._bytes[key[0]][key[1]]

    def __setitem__(self, key: NodeKey, state: int) -> None:
        self._bytes[key[0]][key[1]] = state

    def end_rows(self, column: int, start: int, stop: int) -> None:
        """The cells of rows ``[start, stop)`` of a column have ended."""
        self._bytes[column][start:stop] = bytes((ENDED,)) * (stop - start)
