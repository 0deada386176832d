"""Two threads, one tracker, hundreds of interleavings of their bytecode.

Run as ``python -m tests.engine.interleavings plain`` or ``… thread-safe``: it prints how many
interleavings were tried and whether one of them lost a mark. It is a program of its own because
the explorer replaces the locks of the process that it runs in.
"""

from __future__ import annotations

import sys

from frontrun import explore_random

from cellspec import (
    BarrierNodeId,
    CellNodeId,
    ColumnDescriptor,
    CompletionTracker,
    ExecutionGraph,
    ExecutionTraits,
    ThreadSafeCompletionTracker,
)

GRAPH = ExecutionGraph(
    1,
    [
        ColumnDescriptor("a", traits=ExecutionTraits.START),
        ColumnDescriptor("b", traits=ExecutionTraits.START),
        ColumnDescriptor("sum", dependencies=["a", "b"]),
        ColumnDescriptor("all", traits=ExecutionTraits.BARRIER, dependencies=["a", "b"]),
    ],
)


def both_marks_are_kept(tracker: CompletionTracker) -> bool:
    """After a[0] and b[0], the node that needs both is ready, and two nodes are complete."""
    ready = set(GRAPH.iter_ready_nodes(tracker))
    return len(tracker) == 2 and ready == {CellNodeId(0, "sum"), BarrierNodeId("all")}


def main(kind: str) -> None:
    cls = ThreadSafeCompletionTracker if kind == "thread-safe" else CompletionTracker
    result = explore_random(
        setup=lambda: cls.for_graph(GRAPH),
        threads=[
            lambda tracker: tracker.mark_complete(CellNodeId(0, "a")),
            lambda tracker: tracker.mark_complete(CellNodeId(0, "b")),
        ],
        invariant=both_marks_are_kept,
        max_attempts=300,
        seed=1,
        trace_packages=["cellspec*"],
        reproduce_on_failure=0,
        total_timeout=40,
    )
    verdict = "every mark kept" if result.property_holds else "a mark was lost"
    print(f"{verdict} in {result.num_explored} interleavings")


if __name__ == "__main__":
    main(sys.argv[1])
