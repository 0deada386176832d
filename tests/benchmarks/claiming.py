"""What it costs to restore a claim, by the number of its ranges.

The graph is a chain of ten columns; every column claims the same rows, about half of all. The
claim without a gap is the measure: each of the others is a ratio to it, taken within one round. A
time here is the processor's, not the clock's: nothing waits, and the machine may be busy.
"""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

from cellspec import CompletionTracker, ExecutionGraph
from cellspec.graph.rowset import Ranges
from cellspec.state.checkpoint import make_payload
from cellspec.state.claims import Claim, normal
from cellspec.state.counters import Counters
from tests.benchmarks.graphs import chain
from tests.benchmarks.timing import interleave, quiet_collector

__all__ = ["LIMITS", "PREFIX", "measure_claims"]

PREFIX = "no gap"

LIMITS = {
    "one gap a column": (1.13, 1.1),
    "every other group of 1,000 rows": (3.1, 1.5),
    "three rows of every six": (19, None),
    "every other row": (33, 24),
}
"""By claim: how many times the cost of no gap a restore of the counters may take, and a
`from_checkpoint`, which reads the payload too."""


def _every(rows: int, size: int) -> Ranges:
    return tuple((start, min(start + size, rows)) for start in range(0, rows, 2 * size))


def _claims(rows: int) -> dict[str, Ranges]:
    quarter = rows // 4
    return {
        PREFIX: ((0, 2 * quarter),),
        "one gap a column": ((0, quarter), (2 * quarter, 3 * quarter)),
        "every other group of 1,000 rows": _every(rows, min(1_000, quarter)),
        "three rows of every six": _every(rows, 3),
        "every other row": _every(rows, 1),
    }


def _processor_seconds(work: Callable[[], object]) -> float:
    with quiet_collector():
        start = time.process_time()
        work()
        return time.process_time() - start


def measure_claims(rows: int, rounds: int) -> dict[str, Any]:
    """By claim: seconds to restore, to read and to write its payload, its size, and memory."""
    graph = chain(rows)
    counters = Counters(graph.rules)
    read = partial(CompletionTracker.from_checkpoint, graph=graph)
    found: dict[str, Any] = {}
    restores: dict[str, Callable[[], float]] = {}
    reads: dict[str, Callable[[], float]] = {}
    payloads = {name: _payload(graph, ranges) for name, ranges in _claims(rows).items()}
    for name, ranges in _claims(rows).items():
        claim: Claim = (normal(ranges),) * graph.num_columns
        restores[name] = _timed(counters.restore, claim)
        reads[name] = _timed(read, payloads[name])
        size = len(json.dumps(payloads[name]))
        found[name] = {"ranges": len(ranges), "payload_bytes": size}
    for what, cases in (("restore", restores), ("from_checkpoint", reads)):
        for name, figure in interleave(cases, rounds).items():
            found[name][what] = list(figure.values)
    for name, payload in payloads.items():
        found[name] |= _of_tracker(graph, payload)
    return {"rows": rows, "columns": graph.num_columns, "claims": found}


def _timed(work: Callable[[Any], object], argument: Any) -> Callable[[], float]:
    return lambda: _processor_seconds(lambda: work(argument))


def _payload(graph: ExecutionGraph, ranges: Ranges) -> dict[str, Any]:
    """Made of one list for all columns: five million lists would not fit."""
    zero = make_payload(graph, (0,) * graph.num_columns, 3)
    rows = [list(span) for span in ranges]
    whole = rows[0][1] if rows[0][0] == 0 else 0
    return zero | {"column_rows": dict.fromkeys(graph.column_names, rows), "completed_rows": whole}


def _of_tracker(graph: ExecutionGraph, payload: Any) -> dict[str, Any]:
    """Seconds of `to_checkpoint` after a restore, and the bytes that the tracker holds."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracker = CompletionTracker.from_checkpoint(payload, graph)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    seconds = _processor_seconds(lambda: tracker.to_checkpoint(graph, 3))
    return {"to_checkpoint": seconds, "memory_bytes": held}
