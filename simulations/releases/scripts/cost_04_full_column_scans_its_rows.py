# Clause: COST-04
# Releases: 0.5.4 0.5.5 0.5.7 0.5.9 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: When a cell is complete that a full column needs, the tracker looks at every row of its
#   row group again, so that a row group costs the square of its rows.
# Public: no, it drives CompletionTracker
"""A full column `V` needs the cells of `a`. Every one of these cells is marked as complete, for row
groups of 500 and of 2,000 rows. A mark must cost the same in both. `_are_cell_ups_complete` asks
for all rows at each mark whether they are complete or dropped."""

from __future__ import annotations

import sys
import time

FEW, MANY = 500, 2000


def seconds_a_mark(rows: int) -> float:
    """CPU seconds of one mark, the best of three runs."""
    # First, for releases in which the others import each other in a circle.
    from data_designer.engine.column_generators.generators import base  # noqa: F401, I001
    from data_designer.config.column_configs import GenerationStrategy
    from data_designer.engine.dataset_builders.utils.execution_graph import ExecutionGraph

    try:
        from data_designer.engine.dataset_builders.scheduling.completion import CompletionTracker
    except ImportError:
        from data_designer.engine.dataset_builders.utils.completion_tracker import CompletionTracker
    best = float("inf")
    for _ in range(3):
        graph = ExecutionGraph()
        graph.add_column("a", GenerationStrategy.CELL_BY_CELL)
        graph.add_column("V", GenerationStrategy.FULL_COLUMN)
        graph.add_edge(upstream="a", downstream="V")
        tracker = CompletionTracker.with_graph(graph, [(0, rows)])
        began = time.process_time()
        # From the end, so that no look at the rows is over at the first one that is missing.
        for row in reversed(range(rows)):
            tracker.mark_cell_complete("a", 0, row)
        for_all = time.process_time() - began
        began = time.process_time()
        tracker = CompletionTracker.with_graph(graph, [(0, rows)])
        for row in range(rows):
            tracker.mark_cell_complete("a", 0, row)
        best = min(best, max(for_all, time.process_time() - began) / rows)
    return best


def main() -> int:
    few, many = seconds_a_mark(FEW), seconds_a_mark(MANY)
    print(f"{__doc__}\n")
    print(f"a mark with {FEW} rows: {few * 1e6:.1f} µs; with {MANY} rows: {many * 1e6:.1f} µs")
    if many / few > 2:
        print(f"DEFECT: four times as many rows cost {4 * many / few:.0f} times as much")
        return 1
    print("as expected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
