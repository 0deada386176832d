"""The trace: the events of a run, line by line, in a file that every engine can write.

A trace is JSON Lines in UTF-8, one object a line, perhaps compressed (gzip). It is complete in
itself: the first line holds the graph, so that a checker needs the file alone.

====== =========== ===============================================================================
line   value       what it holds
====== =========== ===============================================================================
1      `Header`    version, engine, graph, limits, failure policy, seed, clock, what is claimed
2 …    `Event`     ``seq`` 1, 2, 3 …, ``t`` in seconds, ``event``, and only the fields that are used
last   `Footer`    how many events there are, in all and by kind
====== =========== ===============================================================================

A trace without a footer was cut off. It can be read as far as it goes, and is inconclusive.

Writing and reading are streams: each holds a line and a buffer, for a trace of any length.

>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> from cellspec import ColumnDescriptor, ExecutionGraph
>>> from cellspec.trace import TraceReader, TraceWriter, header_for
>>> graph = ExecutionGraph(1, [ColumnDescriptor("topic")])
>>> with TemporaryDirectory() as folder:
...     path = Path(folder, "run.jsonl")
...     with TraceWriter(path, header_for(graph, engine="mine", version="1")) as trace:
...         _ = trace.add("start", 0.0, column="topic", rows=0)
...         _ = trace.add("complete", 1.5, column="topic", rows=0)
...     with TraceReader(path) as lines:
...         [(event.t, event.event, event.rows) for event in lines]
[(0.0, 'start', 0), (1.5, 'complete', 0)]

`action_of` turns an event into a step that `cellspec.machine.machine.Machine` can judge;
``specs/trace.schema.json`` describes the lines for other languages; ``plans/trace.md`` is the
format in prose.
"""

from cellspec.errors import TraceError
from cellspec.trace.convert import (
    action_of,
    check_size,
    claimed_rows,
    claims_of,
    clause_set,
    event_of,
    failures_of,
    graph_of,
    header_for,
    limits_of,
    saving_of,
)
from cellspec.trace.format import (
    KINDS,
    TRACE_VERSION,
    Column,
    Engine,
    Event,
    FailureRules,
    Footer,
    Graph,
    Header,
    Kind,
    RunLimits,
    misfit,
    to_json,
)
from cellspec.trace.reader import TraceReader, event_from_json, header_from_json
from cellspec.trace.writer import PARTIAL, TraceWriter

__all__ = [
    "KINDS",
    "PARTIAL",
    "TRACE_VERSION",
    "Column",
    "Engine",
    "Event",
    "FailureRules",
    "Footer",
    "Graph",
    "Header",
    "Kind",
    "RunLimits",
    "TraceError",
    "TraceReader",
    "TraceWriter",
    "action_of",
    "check_size",
    "claimed_rows",
    "claims_of",
    "clause_set",
    "event_from_json",
    "event_of",
    "failures_of",
    "graph_of",
    "header_for",
    "header_from_json",
    "limits_of",
    "misfit",
    "saving_of",
    "to_json",
]
