"""Replay: a failure as a file, shown again step by step, on any engine, and made smaller.

A failure is kept in one of two files, and ``cellspec replay`` takes both:

- a *trace* (`cellspec.trace`): the steps of a run. The explorer and the fuzzer write their
  counterexamples as traces, and every engine writes its runs as traces. The transition system
  replays a trace and says of each step whether it is allowed;
- a *case file* (`cellspec.conformance.run.case`): the workload that an engine failed on. That
  engine, or another one, runs it again.

===============  ===================================================================================
module           contents
===============  ===================================================================================
`source`         reads a trace, a case file or a replay string
`strings`        a file as one line of text
`judging`        puts the steps of a trace to the transition system
`workload_of`    makes the workload that leads an engine into the steps of a trace
`storage_of`     reads from a trace which claims could not be written, and how long a write took
`shrink_trace`   looks for the smallest trace that breaks the same clause
`rerun`          replays a trace or a case, perhaps on an engine
`mishap_steps`   finds the steps at which an engine dies, is asked to stop or loses a worker when
                 the engine of a trace did
`state_grid`     draws the state after an event
`trace_test`     makes a trace a test in Python
`shrink`         makes a trace or a case small
===============  ===================================================================================
"""

from cellspec.replay.judging import Judged, events_until, judge
from cellspec.replay.shrink_trace import shrunk_trace
from cellspec.replay.source import Steps, read_source
from cellspec.replay.strings import PREFIX, to_string
from cellspec.replay.workload_of import ends_of, plain_workload_of, timed, workload_of

__all__ = [
    "PREFIX",
    "Judged",
    "Steps",
    "ends_of",
    "events_until",
    "judge",
    "plain_workload_of",
    "read_source",
    "shrunk_trace",
    "timed",
    "to_string",
    "workload_of",
]
