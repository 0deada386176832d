"""cellspec: the executable specification of engines that generate datasets cell by cell.

The reference is small: an `ExecutionGraph` says which node waits for which, a `CompletionTracker`
says what has run and is saved to, and restored from, a checkpoint, and a `Machine` is the
transition system that says which steps a run may take and refuses all others with the clause that
they would break. The clauses themselves are in ``specs/``.

>>> from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits
>>> graph = ExecutionGraph(2, [
...     ColumnDescriptor("topic", traits=ExecutionTraits.START),
...     ColumnDescriptor("text", dependencies=["topic"]),
... ])
>>> tracker = graph.tracker()
>>> for node in graph.iter_ready_nodes(tracker):
...     tracker.mark_complete(node)
>>> graph.get_completed_row_count(tracker)
2
"""

from cellspec.build.builder import GraphBuilder
from cellspec.errors import (
    CheckpointError,
    GraphError,
    MissingExtraError,
    NodeError,
    SpecError,
    UnknownColumnError,
    Violation,
)
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.graph.graph import CompletionTrackerProtocol, ExecutionGraph
from cellspec.graph.nodes import BarrierNodeId, CellNodeId, NodeId
from cellspec.machine.machine import Action, FailurePolicy, Limits, Machine
from cellspec.state.checkpoint import CHECKPOINT_VERSION
from cellspec.state.tracker import CompletionTracker, ThreadSafeCompletionTracker

__all__ = [
    "CHECKPOINT_VERSION",
    "Action",
    "BarrierNodeId",
    "CellNodeId",
    "CheckpointError",
    "ColumnDescriptor",
    "CompletionTracker",
    "CompletionTrackerProtocol",
    "ExecutionGraph",
    "ExecutionTraits",
    "FailurePolicy",
    "GraphBuilder",
    "GraphError",
    "Limits",
    "Machine",
    "MissingExtraError",
    "NodeError",
    "NodeId",
    "SpecError",
    "ThreadSafeCompletionTracker",
    "UnknownColumnError",
    "Violation",
]


def __getattr__(name: str) -> str:
    # Looked up when asked for: reading metadata takes as long as all imports above.
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("cellspec")
