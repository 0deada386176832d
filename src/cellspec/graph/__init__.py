"""The graph of a pipeline: its columns, its nodes, and which node waits for which."""

from cellspec.graph.graph import BarrierScope, CompletionTrackerProtocol, ExecutionGraph

__all__ = ["BarrierScope", "CompletionTrackerProtocol", "ExecutionGraph"]
