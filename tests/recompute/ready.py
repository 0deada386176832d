"""When nodes were ready, and had not started, as the trace tells it; those too that never did."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.recompute.history import Call, Column, History, Incarnation

__all__ = ["ready_spans"]

Span = tuple[float, float]


def ready_spans(history: History) -> Iterator[tuple[str, Span]]:
    """The column of a node, and from when to when it was ready, for each time that it was.

    Nothing waits any more when an early stop has come, or somebody asked for a stop.
    """
    grouped = history.limits.get("group_rows") is not None
    for incarnation in history.incarnations:
        calls: dict[tuple[str, int | None, int], list[Call]] = defaultdict(list)
        for call in incarnation.calls:
            for row in call.rows if call.scope is None else call.rows[:1]:
                calls[call.column, call.scope, row].append(call)
        for column in history.columns.values():
            before_s = 0.0
            for scope, rows in _nodes(column, history.rows):
                mine = calls[column.name, scope, rows[0]]
                admitted = [
                    row for row in rows if grouped and not _was_whole(history, incarnation, row)
                ]
                since = _ready_s(incarnation, column, rows, admitted)
                if column.ordered and scope is not None:
                    # A barrier waits for the call before, also if all rows of that were dropped.
                    since = max(since, before_s)
                    ends = [incarnation.end_s if c.end_s is None else c.end_s for c in mine]
                    before_s = max([before_s, *ends])
                over = _over_s(incarnation, column, rows)
                for span in _waits(incarnation, mine, since, over):
                    yield column.name, span


def _nodes(column: Column, rows: int) -> Iterator[tuple[int | None, range]]:
    if not column.scope_rows:
        yield from ((None, range(row, row + 1)) for row in range(rows))
        return
    for scope, first in enumerate(range(0, rows, column.scope_rows)):
        yield scope, range(first, min(first + column.scope_rows, rows))


def _was_whole(history: History, incarnation: Incarnation, row: int) -> bool:
    """True if nothing of the row was left when the incarnation began: no group of it comes."""
    start_s = incarnation.start_s
    return all(incarnation.resolved_s((name, row)) <= start_s for name in history.columns)


def _ready_s(
    incarnation: Incarnation, column: Column, rows: Iterable[int], admitted: Iterable[int]
) -> float:
    """When all that a node waits for was there; infinite if it never was."""
    times = [incarnation.start_s]
    for row in rows:
        times += [incarnation.resolved_s((need, row)) for need in column.needs]
    for row in admitted:
        times.append(min((t for some, t in incarnation.admitted if row in some), default=math.inf))
    if column.ordered:
        times += [incarnation.resolved_s((column.name, row)) for row in range(min(rows))]
    return max(times)


def _over_s(incarnation: Incarnation, column: Column, rows: Iterable[int]) -> float:
    """When nobody wanted the node any more, or nothing started any more."""
    ends = [incarnation.end_s, incarnation.stopped_s, incarnation.stop_asked_s]
    resolved = max(incarnation.resolved_s((column.name, row)) for row in rows)
    return min(resolved, *(t for t in ends if t is not None))


def _waits(
    incarnation: Incarnation, calls: list[Call], since: float, over: float
) -> Iterator[Span]:
    for call in calls:
        if since < call.start_s:
            yield since, min(call.start_s, over)
        since = math.inf
        if call.outcome in ("retryable", "backpressure", "timeout"):
            # The rows that it had given are not asked for again.
            asked = call.rows if call.scope is None else (call.scope,)
            since = next(
                (
                    until
                    for name, first, at, until in incarnation.backoffs
                    if name == call.column and first in asked and at == call.end_s
                ),
                math.inf,
            )
    if since < over:
        yield since, over
