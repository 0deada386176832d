"""The workload of a trace: it leads an engine into the steps that the trace holds.

In `workload_of` each call ends at the very time at which it ends in the trace, so that an engine
meets the same situations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from cellspec.conformance.run.workload import DEFAULT_LATENCY_S, TICK_S, End, Fault, Workload
from cellspec.graph.graph import ExecutionGraph
from cellspec.replay.source import Steps, numbered
from cellspec.replay.storage_of import storage_of
from cellspec.state.claims import are_prefixes
from cellspec.trace import Event, claimed_rows, failures_of, graph_of, limits_of

__all__ = ["ends_of", "plain_workload_of", "timed", "unsaid", "workload_of"]


def timed(steps: Steps) -> Steps:
    """The trace with its steps a tick apart, if all its times are 0 as in the explorer's traces."""
    if any(event.t > 0 for event in steps.events):
        return steps
    events = tuple(
        msgspec.structs.replace(event, t=number * TICK_S)
        for number, event in enumerate(steps.events, 1)
    )
    return Steps(steps.source, steps.header, events, steps.unread)


def workload_of(steps: Steps) -> Workload:
    """The workload that leads an engine into the steps of a trace.

    Columns, rows, limits and failures are the trace's, and each call ends when it does there; other
    calls end after the last event of that incarnation. Claims fail as they do there. The engine
    decides when calls begin and when it writes. So crashes, stops and losses, which a workload
    counts in steps, are left to `cellspec.replay.mishap_steps`; `unsaid` names what no trace says.

    Args:
        steps: the trace; one without times goes through `timed` first.

    Raises:
        SpecError: the trace is beyond a workload: its columns form an invalid graph, say.
    """
    plain = plain_workload_of(steps)
    graph = plain.graph()
    written = storage_of(steps.events)
    able = {name for name in graph.column_names if graph.get_column_descriptor(name).may_skip}
    skips: dict[tuple[str, int], None] = {}
    last_s: dict[int, float] = {0: 0.0}
    for incarnation, event in numbered(steps.events):
        last_s[incarnation] = event.t
        if event.event == "skip" and isinstance(event.rows, int) and event.column in able:
            skips[event.column, event.rows] = None
    faults: dict[tuple[str, int, int], Fault] = {}
    ends: list[End] = []
    rejects: dict[tuple[str, int], None] = {}
    for end, event in ends_of(steps.events, graph):
        ends.append(end)
        for start, stop in event.rejected or ():
            rejects.update(((end.column, row), None) for row in range(start, stop))
        if event.event == "fail":
            wait_s = 0.0 if event.until is None else max(0.0, event.until - event.t)
            faults[end.column, end.position, end.call] = Fault(
                end.column, end.position, end.call, event.failure or "retryable", wait_s
            )
    ends += _later_ends(ends, _calls_made(steps.events), last_s, plain)
    return plain.replace(
        faults=tuple(faults.values()),
        skips=tuple(skips),
        rejects=tuple(rejects),
        ends=tuple(ends),
        seed=steps.header.seed or 0,
        checkpoint_every_rows=_save_rows_of(steps),
        checkpoint_version=_version_of(steps),
        keep=any(event.keep for event in steps.events),
        stop_twice=_is_asked_twice(steps.events),
        storage_s=written.took_s or 0.0,
        storage_faults=written.faults,
    )


def unsaid(steps: Steps) -> tuple[str, ...]:
    """What may have befallen the engine of a trace that the trace does not say, in words."""
    kinds = {event.event for event in steps.events}
    said = list(storage_of(steps.events).unsaid)
    if "crash" in kinds and steps.header.killer_tries:
        said.append("whether a cell ended a process")
    saving = steps.header.saving
    if saving is not None and saving.rows is None:
        said.append("after how many rows a save was asked for")
    if steps.header.config is not None:
        said.append("the versions of columns behind their digests")
        if "crash" in kinds:
            said.append("processes of others in the folder")
    return tuple(said)


def plain_workload_of(steps: Steps) -> Workload:
    """The request of a run: columns, limits, and the rows of each incarnation, without its calls.

    Raises:
        SpecError: no workload describes the trace.
    """
    graph = graph_of(steps.header, steps.source)
    targets = [graph.num_records]
    for event in steps.events:
        if event.event == "resume":
            targets.append(event.records or targets[-1])
    return Workload(
        columns=tuple(map(graph.get_column_descriptor, graph.column_names)),
        rows=graph.num_records,
        batch_size=graph.batch_size,
        barrier_scope=steps.header.graph.barrier_scope,
        limits=limits_of(steps.header, steps.source),
        failures=failures_of(steps.header),
        targets=tuple(targets) if len(set(targets)) > 1 else (),
    )


def ends_of(events: Iterable[Event], graph: ExecutionGraph) -> Iterator[tuple[End, Event]]:
    """When each call of a run ended, and the event that says so.

    The output cells of a barrier are made without calls, so their events are left out.
    """
    barriers = {rule.name for rule in graph.rules.columns if rule.is_barrier}
    calls: Counter[tuple[int, str, int]] = Counter()
    for incarnation, event in numbered(events):
        if event.event in ("complete", "fail", "cancel") and event.column:
            if event.scope is None and event.column in barriers:
                continue
            for position in _positions(event):
                calls[incarnation, event.column, position] += 1
                nth = calls[incarnation, event.column, position]
                if event.event == "cancel":
                    continue
                yield End(incarnation, event.column, position, nth, event.t), event


def _calls_made(events: Iterable[Event]) -> Counter[tuple[int, str, int]]:
    """How many calls of each node began in each incarnation; one taken back is made again."""
    made: Counter[tuple[int, str, int]] = Counter()
    for incarnation, event in numbered(events):
        if event.event in ("start", "take_back") and event.column:
            for position in _positions(event):
                made[incarnation, event.column, position] += 1 if event.event == "start" else -1
    return made


def _later_ends(
    ends: Iterable[End],
    made: Counter[tuple[int, str, int]],
    last_s: Mapping[int, float],
    plain: Workload,
) -> Iterator[End]:
    """The ends of calls that end in no event: after all that the incarnation did."""
    ended = {(end.incarnation, end.column, end.position, end.call) for end in ends}
    for incarnation, t in last_s.items():
        for column, position in _calls_of(plain.graph(incarnation)):
            for call in range(1, max(1, made[incarnation, column, position]) + 1):
                if (incarnation, column, position, call) not in ended:
                    yield End(incarnation, column, position, call, t + DEFAULT_LATENCY_S)


def _calls_of(graph: ExecutionGraph) -> Iterator[tuple[str, int]]:
    """Every call that a graph takes: its column, and its row or scope."""
    for rule in graph.rules.columns:
        for position in range(graph.rules.scope_count(rule.index) or graph.num_records):
            yield rule.name, position


def _positions(event: Event) -> Sequence[int]:
    if event.scope is not None:
        return (event.scope,)
    rows = event.rows
    return range(*rows) if isinstance(rows, tuple) else () if rows is None else (rows,)


def _version_of(steps: Steps) -> Literal[1, 2, 3]:
    """The version of the checkpoints of a trace, by its header or by what its claims need.

    Version 1 has one number for all columns, version 2 one for each, and version 3 any rows, which
    commits add to.
    """
    claims = [event.claim for event in steps.events if event.claim]
    said = steps.header.claim_version or 0
    if (
        said == 3
        or any(event.event == "commit_begin" for event in steps.events)
        or any(not are_prefixes(tuple(map(claimed_rows, claim.values()))) for claim in claims)
    ):
        return 3
    return 2 if said == 2 or any(len(set(claim.values())) > 1 for claim in claims) else 1


def _save_rows_of(steps: Steps) -> int | None:
    """After how many rows a save is due: as the header says, or after each one.

    An engine that would promise it and does not is asked for none before the end, unless it saves
    while calls are still to come.
    """
    saving = steps.header.saving
    if saving is not None or "prompt_saving" not in steps.header.claims:
        return 1 if saving is None else saving.rows or 1
    saved: set[int] = set()
    for incarnation, event in numbered(steps.events):
        if event.event in ("durable", "checkpoint_begin"):
            saved.add(incarnation)
        elif event.event == "start" and incarnation in saved:
            return 1
    return None


def _is_asked_twice(events: Iterable[Event]) -> bool:
    """A run of the process was asked to stop more than once."""
    asked = [number for number, event in numbered(events) if event.event == "stop_requested"]
    return len(asked) > len(set(asked))
