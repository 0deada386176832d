"""cellspec: the executable specification of engines that generate datasets cell by cell.

The reference is small. An `ExecutionGraph` says which node waits for which. A `CompletionTracker`
records the nodes that have run; a checkpoint saves and restores it. A `Machine` is the transition
system: it says which steps a run may take, and refuses all others with the clause that
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

The names below are loaded when they are first asked for, so that ``cellspec --version`` and the
completion of a shell start at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "cellspec.build.builder": ("GraphBuilder",),
    "cellspec.errors": (
        "CheckpointError",
        "GraphError",
        "MissingExtraError",
        "NodeError",
        "SpecError",
        "UnknownColumnError",
        "Violation",
    ),
    "cellspec.graph.columns": ("ColumnDescriptor", "ExecutionTraits"),
    "cellspec.graph.graph": ("CompletionTrackerProtocol", "ExecutionGraph"),
    "cellspec.graph.nodes": ("BarrierNodeId", "CellNodeId", "NodeId"),
    "cellspec.machine.machine": ("Action", "FailurePolicy", "Limits", "Machine"),
    "cellspec.state.checkpoint": ("CHECKPOINT_VERSION",),
    "cellspec.state.tracker": ("CompletionTracker", "ThreadSafeCompletionTracker"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

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


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("cellspec")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
