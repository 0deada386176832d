"""What it costs to keep track: mark a node complete, and learn what became ready.

The graph is the smallest in which it matters how a tracker works: two cell columns, a dataset
barrier that needs the second, and a cell column after it. Every tracker meets the same completions
in the same order, row by row within column by column, and only its own calls are in the time.

- *tracker*: ``for node in graph.iter_ready_nodes(tracker): tracker.mark_complete(node)``;
- *counters*: what the simulator uses, which hands over what became ready;
- *naive*: a set of nodes that is asked afresh after each completion; so is ours, for comparison;
- *DataDesigner*: its `CompletionTracker` with its graph, asked in its cheapest way, as its own
  scheduler does: each mark returns the tasks that it added. Its scheduler then acknowledges them,
  which costs more and is left out. A full column is one mark for all rows; ours marks each cell.

This module needs neither SimPy nor numpy, so that it runs wherever DataDesigner is installed.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from cellspec import CompletionTracker, ExecutionGraph
from cellspec.graph.nodes import CellNodeId, NodeId
from cellspec.state.counters import Counters
from tests.benchmarks.graphs import chain, gate
from tests.benchmarks.timing import Figure, interleave, quiet_collector, seconds

CALLS = 200


def with_tracker(rows: int) -> float:
    """Microseconds per cell of the seed's loop."""
    graph = gate(rows)
    tracker = graph.tracker()

    def loop() -> None:
        mark = tracker.mark_complete
        for node in graph.iter_ready_nodes(tracker):
            mark(node)

    found = seconds(loop)
    assert graph.is_complete(tracker)
    return found / (rows * graph.num_columns) * 1e6


def with_counters(rows: int, *, backwards: bool = False) -> float:
    """Microseconds per cell of start and resolve, ready work taken from a list."""
    graph = gate(rows)
    counters = Counters(graph.rules)
    ready: list[tuple[int, int, int]] = []
    barriers: list[tuple[int, int]] = []
    counters.listen(
        [_pusher(ready.append, column) for column in range(graph.num_columns)],
        lambda column, start, stop: ready.append((column, start, stop)),
        lambda column, scope: barriers.append((column, scope)),
    )
    counters.restore((0,) * graph.num_columns)
    barrier, step = 2, -1 if backwards else 1

    def loop() -> None:
        start, resolve = counters.start, counters.resolve
        waiting = iter(ready)
        while True:
            for column, first, stop in waiting:
                if column == barrier:
                    counters.resolve_range(column, first, stop)
                    continue
                for row in range(first, stop)[::step]:
                    start[column](row)
                    resolve[column](row)
            if not barriers:
                return
            where = barriers.pop()
            waiting = itertools.islice(ready, len(ready), None)
            counters.start_barrier(*where)
            counters.resolve_barrier(*where)

    found = seconds(loop)
    assert counters.completed_rows() == rows
    return found / (rows * graph.num_columns) * 1e6


def _pusher(push: Callable[[tuple[int, int, int]], object], column: int) -> Callable[[int], object]:
    return lambda row: push((column, row, row + 1))


def _asked_afresh(rows: int, *, naive: bool) -> float:
    graph = gate(rows)
    done: set[NodeId] = set()
    tracker = graph.tracker()

    def loop() -> None:
        while True:
            node = next(graph.iter_ready_nodes(done if naive else tracker), None)
            if node is None:
                return
            if naive:
                done.add(node)
            else:
                tracker.mark_complete(node)

    return seconds(loop) / (rows * graph.num_columns) * 1e6


def naive_set(rows: int) -> float:
    """Microseconds per cell of a set that is asked for a ready node after each completion."""
    return _asked_afresh(rows, naive=True)


def tracker_afresh(rows: int) -> float:
    """The same question to our tracker."""
    return _asked_afresh(rows, naive=False)


def datadesigner(*, backwards: bool = False) -> Callable[[int], float] | None:
    """What measures DataDesigner's tracker; None where its package is absent."""
    try:
        from data_designer.config.column_configs import GenerationStrategy
        from data_designer.engine.dataset_builders.scheduling.completion import (
            CompletionTracker as TheirTracker,
        )
        from data_designer.engine.dataset_builders.utils.execution_graph import (
            ExecutionGraph as TheirGraph,
        )
    except ImportError:
        return None

    def measure(rows: int) -> float:
        graph = TheirGraph()
        ours = gate(rows)
        for rule in ours.rules.columns:
            cells, full = GenerationStrategy.CELL_BY_CELL, GenerationStrategy.FULL_COLUMN
            graph.add_column(rule.name, full if rule.is_barrier else cells)
            for need in rule.needs:
                graph.add_edge(ours.rules.columns[need].name, rule.name)
        tracker = TheirTracker.with_graph(graph, [(0, rows)])
        marked = 0

        def loop() -> None:
            nonlocal marked
            ready = list(tracker.add_root_tasks(0, rows).added)[:: -1 if backwards else 1]
            for task in ready:
                if task.row_index is None:
                    delta = tracker.mark_row_range_complete(task.column, 0, rows)
                    marked += rows
                else:
                    delta = tracker.mark_cell_complete(task.column, 0, task.row_index)
                    marked += 1
                ready.extend(delta.added[:: -1 if backwards else 1])

        found = seconds(loop)
        assert marked == rows * ours.num_columns
        return found / marked * 1e6

    return measure


def measure_trackers(
    sizes: Sequence[int], naive_sizes: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Microseconds per completed cell at each size; all trackers in turn."""
    theirs = datadesigner()
    version = _version() if theirs is not None else None
    found: list[dict[str, Any]] = []
    for rows in sizes:
        cases: dict[str, Callable[[], float]] = {
            "tracker": lambda rows=rows: with_tracker(rows),  # type: ignore[misc]
            "counters": lambda rows=rows: with_counters(rows),  # type: ignore[misc]
        }
        if theirs is not None:
            cases["datadesigner"] = lambda rows=rows: theirs(rows)  # type: ignore[misc]
        found.append({"rows": rows, **_values(interleave(cases, rounds))})
    back = _backwards(sizes[-1], rounds)
    naive: list[dict[str, Any]] = []
    for rows in naive_sizes:
        cases = {
            "naive": lambda rows=rows: naive_set(rows),  # type: ignore[misc]
            "tracker": lambda rows=rows: tracker_afresh(rows),  # type: ignore[misc]
        }
        naive.append({"rows": rows, **_values(interleave(cases, 1))})
    return {"datadesigner": version, "sizes": found, "backwards": back, "afresh": naive}


def _backwards(rows: int, rounds: int) -> dict[str, Any]:
    """The last row first: a tracker that looks for the first open row finds it at once."""
    theirs = datadesigner(backwards=True)
    cases: dict[str, Callable[[], float]] = {
        "counters": lambda: with_counters(rows, backwards=True)
    }
    if theirs is not None:
        cases["datadesigner"] = lambda: theirs(rows)
    return {"rows": rows, **_values(interleave(cases, rounds))}


def _values(figures: dict[str, Figure]) -> dict[str, list[float]]:
    return {name: list(figure.values) for name, figure in figures.items()}


def _version() -> str:
    from importlib.metadata import version

    return version("data-designer")


def _with_holes(graph: ExecutionGraph) -> CompletionTracker:
    """A tracker marked out of order: each column has a finished prefix, and islands after it."""
    tracker = CompletionTracker.for_graph(graph)
    rows = graph.num_records
    for name in graph.column_names:
        for row in (*range(rows - 50, rows), *range(99, -1, -1), *range(110, 150)):
            tracker.mark_complete(CellNodeId(row, name))
    return tracker


def measure_checkpoints(sizes: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Microseconds of the calls that look at the whole run, right after a mark out of order."""
    found: list[dict[str, Any]] = []
    for rows in sizes:
        graph = chain(rows)
        tracker = _with_holes(graph)
        half = CompletionTracker.from_checkpoint({"version": 1, "completed_rows": rows // 2}, graph)
        payload = half.to_checkpoint(graph, 2)
        cases: dict[str, Callable[[], float]] = {
            "to_checkpoint v1": _each(tracker, lambda t, g: t.to_checkpoint(g, 1), graph),
            "to_checkpoint v2": _each(tracker, lambda t, g: t.to_checkpoint(g, 2), graph),
            "get_completed_row_count": _each(
                tracker, lambda t, g: g.get_completed_row_count(t), graph
            ),
            "from_checkpoint v2": _restore(payload, graph),
        }
        found.append({"rows": rows, **_values(interleave(cases, rounds))})
    return found


def _each(
    tracker: CompletionTracker,
    call: Callable[[CompletionTracker, ExecutionGraph], object],
    graph: ExecutionGraph,
) -> Callable[[], float]:
    """Microseconds of `call`, each time after one more row of the first column was marked."""
    first = graph.column_names[0]
    marks = itertools.count(200, 2)

    def measure() -> float:
        taken: list[float] = []
        with quiet_collector():
            for _ in range(CALLS):
                tracker.mark_complete(CellNodeId(next(marks) % graph.num_records, first))
                start = time.perf_counter()
                call(tracker, graph)
                taken.append(time.perf_counter() - start)
        # One call that lost the processor to another process would be most of a mean.
        return statistics.median(taken) * 1e6

    return measure


def _restore(payload: object, graph: ExecutionGraph) -> Callable[[], float]:
    return lambda: seconds(lambda: CompletionTracker.from_checkpoint(payload, graph)) * 1e6
