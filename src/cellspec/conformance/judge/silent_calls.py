"""The calls of a process that went on from storage and reported no claim: what needs none.

Nobody knows which cells such a process found. But one that it does not make, and whose inputs it
does not make either, may have been there, and one that it makes was not used before. So a claim is
inferred that holds the former, and the calls are held against the transition system from that
claim on: limits, nodes that start twice, attempts, stops and pauses. Clauses that rest on the claim
itself, on data or on row groups are waived; at a step that breaks another one, the claim may be
inferred wrongly, and the rest of the process is not judged by its calls.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import reduce

import msgspec

from cellspec.check.checker import Checker, Finding
from cellspec.clauses import clauses
from cellspec.conformance.run.values import Table
from cellspec.errors import TraceError
from cellspec.graph.graph import ExecutionGraph
from cellspec.graph.rules import Rules
from cellspec.state.claims import Rows, meet, minus, normal, prefix_of, spans
from cellspec.trace import Event, Header, header_for

__all__ = ["JUDGED_BY_CALLS", "judge_silent_calls"]

JUDGED_BY_CALLS = frozenset(
    (
        *("SCHED-02", "SCHED-03", "SCHED-06", "SCHED-11", "SCHED-16"),
        *("FAIL-01", "FAIL-02", "FAIL-03", "FAIL-06", "FAIL-07"),
        *("STOP-01", "STOP-05"),
    )
)
"""The clauses that need no claim."""

_WAIVED = tuple(
    number
    for number in clauses()
    if number.startswith(("CKPT", "GROUP", "TABLE"))
    or number in ("SCHED-05", "SCHED-07", "SCHED-09", "SCHED-15", "SCHED-17")
)
_CALLS = frozenset(
    (
        *("start", "complete", "fail", "cancel", "take_back", "recall", "emit", "skip", "drop"),
        *("stop", "stop_requested", "worker_lost", "lose", "pause"),
    )
)
_MADE = frozenset(("start", "recall", "skip", "lose"))


def judge_silent_calls(
    header: Header,
    graph: ExecutionGraph,
    events: Sequence[Event],
    before: Table,
    *,
    waive: Collection[str] = (),
    slack_s: float = 0.0,
) -> Finding | None:
    """The first clause of `JUDGED_BY_CALLS` that the process breaks; None if there is none.

    Args:
        header: of the run's trace.
        graph: of this process.
        events: those of this process, in order.
        before: the table that the process before left.
        waive: clauses not to judge.
        slack_s: as of the checker.
    """
    if not events:
        return None
    made = _made(graph.rules, events)
    dropped = {*before.dropped, *_left_out(graph.rules, events)}.difference(*made)
    claim = _inferred(graph.rules, made)
    checker = Checker(
        _without_claims(header, graph), waive=sorted({*_WAIVED, *waive}), slack_s=slack_s
    )
    resume = Event(
        2,
        events[0].t,
        "resume",
        claim={
            name: rows if isinstance(rows, int) else spans(rows)
            for name, rows in zip(graph.column_names, claim, strict=True)
        },
        dropped=spans(normal([(row, row + 1) for row in sorted(dropped)])),
        incarnation=1,
    )
    steps = [Event(1, events[0].t, "crash"), resume]
    steps += [event for event in events if event.event in _CALLS and event.cause != "killer"]
    try:
        for event in steps:
            found = checker.feed(event)
            if found is not None:
                return found if found.clause in JUDGED_BY_CALLS else None
            if event is resume:
                # It may go on with a pause of the process before.
                checker.machine.state.unanswered = 1
    except TraceError:
        return None
    return None


def _left_out(rules: Rules, events: Iterable[Event]) -> set[int]:
    """The rows that are given up without a failure, and those that a barrier does not read."""
    found: set[int] = set()
    for event in events:
        if event.event == "drop" and event.cause == "killer":
            found.update(_rows_of(rules, event))
        elif event.event == "start" and event.column is not None and event.scope is not None:
            scope = rules.scope_bounds(rules.index[event.column], event.scope)
            found |= {*range(*scope)}.difference(_rows_of(rules, event))
    return found


def _rows_of(rules: Rules, event: Event) -> Iterable[int]:
    """The rows of an event: those that it names, or those that a barrier reads."""
    if event.reads is not None:
        return (row for span in event.reads for row in range(*span))
    if event.scope is not None and event.column is not None:
        return range(*rules.scope_bounds(rules.index[event.column], event.scope))
    rows = event.rows
    if isinstance(rows, int):
        return range(rows, rows + 1)
    return range(0) if rows is None else range(*rows)


def _made(rules: Rules, events: Iterable[Event]) -> list[set[int]]:
    """By column, the rows whose cells the process makes, or the barriers of which it runs."""
    made: list[set[int]] = [set() for _ in rules.columns]
    for event in events:
        if event.event in _MADE and event.column is not None:
            made[rules.index[event.column]].update(_rows_of(rules, event))
    return made


def _inferred(rules: Rules, made: Sequence[Collection[int]]) -> list[Rows]:
    """By column, the rows that the process may have found: the most that its calls allow."""
    claim: list[Rows] = []
    for rule in rules.columns:
        own = normal([(row, row + 1) for row in sorted(made[rule.index])])
        rows = reduce(meet, (claim[need] for need in rule.needs), minus(rules.num_records, own))
        if rule.ordered:
            done = prefix_of(rows)
            whole = not rule.batched or done == rules.num_records
            rows = done if whole else done - done % rule.scope_rows
        claim.append(rows)
    return claim


def _without_claims(header: Header, graph: ExecutionGraph) -> Header:
    """The header of a run of the same calls: without row groups, and promises about storage."""
    limits = msgspec.structs.replace(header.limits, group_rows=None, groups=None)
    return msgspec.structs.replace(
        header,
        graph=header_for(graph, engine="", version="").graph,
        limits=limits,
        claims=tuple(name for name in header.claims if name in ("core", "drops", "lost_workers")),
        config=None,
        saving=None,
        idle_s=None,
        bypass=None,
        killer_tries=None,
        claim_version=None,
    )
