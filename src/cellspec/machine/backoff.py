"""Nodes in backoff: they failed, and may start again from a time on."""

from __future__ import annotations

import heapq

from cellspec.graph.nodes import (
    NodeKey,
    column_of,
    place_of,
)
from cellspec.machine.run_state import RunState
from cellspec.state.slots import release

__all__ = ["begin_backoff", "end_backoffs"]


def begin_backoff(run: RunState, key: NodeKey, until: float | None) -> None:
    """A node that failed may start again at `until`; None leaves the time to the engine."""
    run.backoffs[key] = until
    if until is not None:
        heapq.heappush(run.due, (until, key))
        if until <= run.now:
            end_backoffs(run, run.now)


def end_backoffs(run: RunState, t: float) -> None:
    """The clock reads `t`: nodes whose backoff is over are ready again."""
    run.now = t
    due, backoffs, counters = run.due, run.backoffs, run.counters
    while due and due[0][0] <= t:
        until, key = heapq.heappop(due)
        if backoffs.get(key) == until:
            del backoffs[key]
            # `is_barrier_key`, inlined: a call for each node would be felt.
            if key[0] >= 0:
                release(counters, key[0], key[1])
            else:
                counters.release_barrier(column_of(key), place_of(key))
