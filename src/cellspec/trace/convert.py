"""Conversion between the lines of a trace and their meaning: graph and header, action and event.

A line is text that anyone may have written; an `Action` is a step that the transition system can
judge. The conversion needs the header: is there such a column, such a row, such a barrier node? An
unknown name is refused (clause TRACE-02).

Both directions are exact: `action_of` after `event_of` gives the action again, and `graph_of` after
`header_for` a graph with the same fingerprint and rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from cellspec.clauses import clause_set
from cellspec.errors import GraphError, SpecError, TraceError
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.plain import column_shape, descriptor_of
from cellspec.machine.limits import ClaimKind
from cellspec.machine.machine import Action, FailurePolicy, Limits, Ranges, SavePolicy
from cellspec.state.claims import Claim, Rows, end_of, normal
from cellspec.trace.format import (
    TRACE_VERSION,
    WORDS_OF_2,
    Clock,
    Engine,
    Event,
    FailureRules,
    Graph,
    Header,
    RunLimits,
    SavingPolicy,
)

__all__ = [
    "action_of",
    "check_size",
    "claimed_rows",
    "claims_of",
    "clause_set",
    "event_of",
    "failures_of",
    "graph_of",
    "header_for",
    "limits_of",
    "saving_of",
]

_TURN_BYTES = 25
"""What the order of turns takes for a row: 24 bytes while it waits, and what an array grows by."""

# The header


def header_for(
    graph: ExecutionGraph,
    *,
    engine: str,
    version: str,
    limits: Limits | None = None,
    failures: FailurePolicy | None = None,
    seed: int | None = None,
    clock: Clock = "virtual",
    claims: Iterable[str] = ("core",),
    config: Mapping[str, str] | None = None,
    saving: SavePolicy | None = None,
    idle_s: float = 0.0,
    bypass: int | None = None,
    killer_tries: int | None = None,
    claim_version: int | None = None,
    endpoints: Mapping[str, Mapping[str, Any]] | None = None,
) -> Header:
    """Line 1 of the trace of a run.

    Args:
        graph: the graph of the run.
        engine, version: the engine that ran.
        limits, failures: its limits and failure policy; by default unlimited, with one attempt a
            node.
        seed: the seed of the run, if it has one.
        clock: "virtual" if time passes only when the engine waits, "real" if it just passes.
        claims: the engine's capabilities, under the format's name.
        config: by column, a digest of what shapes its values; None if it is not compared.
        saving: when the engine promises to save.
        idle_s: how long, in seconds, ready work may wait while nothing is in flight.
        bypass: the most later nodes that overtake a ready one, if the engine promises a bound.
        killer_tries: how often a cell that ends the process is tried, if that is promised.
        claim_version: the kind of claims that the run is asked for, 0 for none. Only a header of
            version 2 says it; 0 alone, which decides nothing, makes none.
        endpoints: by resource the endpoint behind it, in words that JSON has.
    """
    claims = tuple(claims)
    limits = limits or Limits()
    failures = failures or FailurePolicy()
    places = {name: dict(each) for name, each in limits.column_places.items()} or None
    promises = (
        *(config, saving, idle_s or None, bypass, killer_tries, failures.timeout_s, endpoints),
        places,
    )
    promised = any(one is not None for one in promises)
    newer = promised or bool(claim_version) or not WORDS_OF_2.isdisjoint(claims)
    rules = graph.rules
    columns = [graph.get_column_descriptor(name) for name in graph.column_names]
    # A graph does not keep the word it was given; batches everywhere mean the same either way.
    declared = all(
        item.is_batch_barrier or not rule.batched
        for item, rule in zip(columns, rules.columns, strict=True)
    )
    return Header(
        trace=TRACE_VERSION if newer else 1,
        engine=Engine(engine, version),
        graph=Graph(
            rows=graph.num_records,
            columns=tuple(map(column_shape, columns)),
            batch_size=graph.batch_size,
            barrier_scope="declared" if declared else "batch",
        ),
        limits=RunLimits(
            workers=limits.workers,
            resources=dict(limits.resources),
            column_resource=dict(limits.column_resource),
            group_rows=limits.group_rows,
            groups=limits.groups,
        ),
        failures=FailureRules(failures.max_attempts, failures.stop_window, failures.stop_rate),
        seed=seed,
        clock=clock,
        claims=claims,
        clauses=clause_set(),
        config=None if config is None else dict(config),
        saving=None if saving is None else SavingPolicy(saving.rows, saving.group, saving.seconds),
        idle_s=idle_s or None,
        bypass=bypass,
        killer_tries=killer_tries,
        timeout_s=failures.timeout_s,
        claim_version=claim_version if newer else None,
        endpoints=None if endpoints is None else {k: dict(v) for k, v in endpoints.items()},
        places=places,
    )


def graph_of(header: Header, source: str = "trace") -> ExecutionGraph:
    """The graph that a header describes.

    Args:
        header: line 1.
        source: the name of the trace in errors.

    Raises:
        TraceError: clause TRACE-02: its columns form an invalid graph, or the configuration names
            one that it does not have.
    """
    names = {column.name for column in header.graph.columns}
    for name in header.config or ():
        if name not in names:
            field = f"config.{name}"
            raise TraceError(source, 1, field, "no such column", clause="TRACE-02")
    try:
        return ExecutionGraph(
            header.graph.rows,
            map(descriptor_of, header.graph.columns),
            batch_size=header.graph.batch_size,
            barrier_scope=header.graph.barrier_scope,
        )
    except GraphError as error:
        raise TraceError(source, 1, "graph", str(error), clause="TRACE-02") from None


def check_size(
    rows: int,
    columns: int,
    source: str,
    line: int,
    *,
    memory_bytes: int | None = None,
    turns: bool = False,
) -> None:
    """Say that a run is too large to follow, before the machine swaps: a byte a cell is needed.

    Whose turn it is to start takes 25 bytes a row more.

    Args:
        rows, columns: of the graph.
        source, line: the place of the statement.
        memory_bytes: how much may be used; by default half of the machine's memory.
        turns: the engine bounds how often a ready node is overtaken (SCHED-17).

    Raises:
        TraceError: it is.
    """
    if memory_bytes is None:
        try:
            memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        except (AttributeError, OSError, ValueError):
            return
    needed = rows * (columns + _TURN_BYTES * turns)
    if needed > memory_bytes:
        expected = (
            f"{rows:,} rows × {columns:,} columns need {needed >> 20:,} MiB of memory; "
            f"{memory_bytes >> 20:,} MiB may be used"
        )
        field = "graph.rows" if line == 1 else "records"
        raise TraceError(source, line, field, expected)


def limits_of(header: Header, source: str = "trace") -> Limits:
    """The limits that a header states.

    Raises:
        TraceError: clause TRACE-02: they contradict each other, or name a column outside the graph.
    """
    names = {column.name for column in header.graph.columns}
    given = header.limits
    places = header.places or {}
    for field, columns in (("limits.column_resource", given.column_resource), ("places", places)):
        for name in columns:
            if name not in names:
                where = f"{field}.{name}"
                raise TraceError(source, 1, where, "no such column", clause="TRACE-02")
    try:
        return Limits(
            workers=given.workers,
            resources=given.resources,
            column_resource=given.column_resource,
            group_rows=given.group_rows,
            groups=given.groups,
            column_places=places,
        )
    except SpecError as error:
        raise TraceError(source, 1, "", str(error), clause="TRACE-02") from None


def saving_of(header: Header, source: str = "trace") -> SavePolicy | None:
    """When the engine of a header promises to save; None if it promises nothing.

    Raises:
        TraceError: it names none of the three policies or several, or row groups in a run without
            them. Which save is due cannot be said then, and no clause is broken.
    """
    given = header.saving
    if given is None:
        return None
    if given.group and header.limits.group_rows is None:
        expected = "this run has no row groups"
        raise TraceError(source, 1, "saving.group", expected)
    try:
        return SavePolicy(given.rows, given.group, given.seconds)
    except SpecError as error:
        raise TraceError(source, 1, "", str(error)) from None


def claims_of(header: Header) -> ClaimKind | None:
    """The kind of claims that the run of a header is to make; None if its claims have to show it.

    The header says it; or else an engine that can claim any cells is taken to do so. Claims of
    version 3 hold whole rows, as batch files do, unless the engine also claims by column.
    """
    version = header.claim_version
    if version is None:
        version = 3 if {"set_claims", "commits"}.intersection(header.claims) else 0
    if not version:
        return None
    return ClaimKind(version, by_column=version > 1 and "column_checkpoints" in header.claims)


def failures_of(header: Header) -> FailurePolicy:
    """The failure policy of a header; its types make it valid."""
    given = header.failures
    return FailurePolicy(given.max_attempts, given.stop_window, given.stop_rate, header.timeout_s)


# Events


def action_of(event: Event, graph: ExecutionGraph, source: str = "trace") -> Action:
    """The step that an event reports.

    Raises:
        TraceError: clause TRACE-02: it names a column, row or barrier node that the graph does not
            have, or does not claim for each of its columns.
    """
    column = event.column or ""
    if column and column not in graph.rules.index:
        _foreign(source, event, "column", f"no such column: {column!r}")
    rows = (event.rows, event.rows + 1) if isinstance(event.rows, int) else event.rows
    for name in event.config or ():
        if name not in graph.rules.index:
            _foreign(source, event, f"config.{name}", "no such column")
    total = graph.num_records
    if rows is not None and rows[1] > total:
        _foreign(source, event, "rows", f"expected rows below {total}, got {rows[1] - 1}")
    if event.scope is not None:
        count = graph.rules.scope_count(graph.rules.index[column])
        if event.scope >= count:
            expected = f"{column!r} has {count} barrier nodes, got number {event.scope}"
            _foreign(source, event, "scope", expected)
    if event.reads and max(stop for _, stop in event.reads) > total:
        _foreign(source, event, "reads", f"expected rows below {total}")
    return Action(
        event.event,
        column,
        rows,
        event.scope,
        # A start without a number is a first attempt; an end without one ends the running one.
        1 if event.attempt is None and event.event == "start" else event.attempt,
        _claim_of(event, graph, source),
        failure=event.failure,
        until=event.until,
        reads=None if event.reads is None else _joined(event.reads),
        dropped=None if event.dropped is None else _joined(event.dropped),
        skipped=_skipped_of(event, graph, source),
        records=event.records,
        keep=event.keep,
        outcome=event.outcome,
        reason=event.reason,
        commit=event.commit,
        abandoned=event.abandoned,
        rejected=None if event.rejected is None else _joined(event.rejected),
        cause=event.cause,
        config=event.config,
        keep_config=event.keep_config,
    )


def _claim_of(event: Event, graph: ExecutionGraph, source: str) -> Claim | None:
    claim = event.claim
    if claim is None:
        return None
    names = graph.column_names
    for name in names if event.event != "commit_begin" else ():
        if name not in claim:
            _foreign(source, event, f"claim.{name}", "missing: a claim names every column")
    for name in claim:
        if name not in graph.rules.index:
            _foreign(source, event, f"claim.{name}", "no such column")
    made = tuple(claimed_rows(claim.get(name, 0)) for name in names)
    total = graph.num_records
    if event.event == "commit_begin" and end_of(made) > total:
        # How far a claim may reach is judged; a commit is of cells that there are.
        name, rows = next(one for one in claim.items() if end_of((claimed_rows(one[1]),)) > total)
        expected = f"expected rows below {total}, got {end_of((claimed_rows(rows),)) - 1}"
        _foreign(source, event, f"claim.{name}", expected)
    return made


def claimed_rows(rows: int | Ranges) -> Rows:
    """The rows of a column in the claim of an event, as one value."""
    return rows if isinstance(rows, int) else normal(rows)


def _skipped_of(event: Event, graph: ExecutionGraph, source: str) -> Mapping[str, Ranges] | None:
    if event.skipped is None:
        return None
    for name in event.skipped:
        if name not in graph.rules.index:
            _foreign(source, event, f"skipped.{name}", "no such column")
    return {name: _joined(ranges) for name, ranges in event.skipped.items()}


def _joined(ranges: Ranges) -> Ranges:
    """Ranges that touch are one; a set of rows is written in one way."""
    found: list[tuple[int, int]] = []
    for start, stop in ranges:
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return tuple(found)


def _foreign(source: str, event: Event, field: str, expected: str) -> NoReturn:
    raise TraceError(source, event.seq + 1, field, expected, clause="TRACE-02")


def event_of(
    action: Action,
    graph: ExecutionGraph,
    *,
    seq: int,
    t: float,
    resource: str | None = None,
    incarnation: int | None = None,
    inferred: bool = False,
) -> Event:
    """The event that reports a step.

    Args:
        action: the step.
        graph: gives the names of columns.
        seq: the event's number, from 1.
        t: when, in seconds of the engine's clock.
        resource: the resource of the call, if its column takes one.
        incarnation: of a resume, the number of the incarnation that begins.
        inferred: the step was not observed, but concluded.
    """
    rows = action.rows
    claim = action.claim
    return Event(
        seq,
        t,
        action.kind,  # type: ignore[arg-type]  # an action's kind is a string; a reader checks it
        action.column or None,
        rows[0] if rows is not None and rows[1] == rows[0] + 1 else rows,
        action.scope,
        None if action.kind == "start" and action.attempt == 1 else action.attempt,
        resource,
        action.failure,
        action.until,
        action.reads,
        None if claim is None else dict(zip(graph.column_names, claim, strict=True)),
        action.dropped,
        None if action.skipped is None else dict(action.skipped),
        action.records,
        action.keep,
        action.outcome,
        action.reason,
        incarnation,
        action.commit,
        action.abandoned,
        action.rejected,
        action.cause,
        None if action.config is None else dict(action.config),
        action.keep_config,
        inferred=inferred,
    )
