"""Explanations: why a step was not allowed, for the person who has to find the mistake.

The number of a clause is for looking up; the state of the machine at that moment shows the mistake.
An explanation is a few lines of text: the rule, the event, the finding, the state that mattered,
and the last events of the same matter. The state depends on the event: it is about a cell or a
barrier node, the limits, the clock or storage.

This module only explains. It looks at one event, the one that ended the judging, so it may search.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from cellspec.clauses import clauses
from cellspec.graph.nodes import CellNodeId, NodeId, barrier_key, cell_key
from cellspec.machine.explain_refusal import words_of
from cellspec.machine.machine import Machine
from cellspec.state.claims import Rows, are_prefixes
from cellspec.state.codes import (
    BACKOFF,
    CLAIMED,
    DONE,
    DROPPED,
    DROPPED_BEHIND,
    RANGED,
    READY,
    RUNNING,
    SKIP_READY,
    SKIPPED,
    is_resolved,
)
from cellspec.text import cell_words, counted, listed, node_words, noun, row_words
from cellspec.trace import Event, to_json

__all__ = ["describe", "explain", "how"]

EVENTS_SHOWN = 8
NODES_SHOWN = 6

_CALLS = frozenset({"start", "complete", "fail", "cancel"})
_STORAGE = frozenset(
    {
        "write_begin",
        "durable",
        "checkpoint_begin",
        "checkpoint_durable",
        "checkpoint_failed",
        "commit_begin",
        "committed",
        "commit_failed",
        "crash",
        "resume",
    }
)
_ASKED = frozenset({"stop_requested", "stop", "start", "admit"})
_INCARNATIONS = frozenset({"crash", "resume"})
_OF_TIME = frozenset({"SCHED-08", "SCHED-09", "SCHED-15", "GROUP-06", "GROUP-07", "CKPT-19"})
_WORDS = {
    READY: "ready",
    SKIP_READY: "to be skipped",
    RANGED: "running, in a range",
    BACKOFF: "failed, to be tried again",
    RUNNING: "running",
    DONE: "complete",
    CLAIMED: "claimed by a checkpoint",
    SKIPPED: "skipped",
    DROPPED: "dropped",
    DROPPED_BEHIND: "dropped",
}


def explain(
    clause: str,
    detail: str,
    event: Event | None,
    machine: Machine | None,
    recent: Collection[Event],
) -> list[str]:
    """The explanation of one violation, a line each.

    Args:
        clause: the number of the clause that was broken.
        detail: the violation, in one line.
        event: the event that broke it; None for a violation without an event.
        machine: the state just before that event; None if the header was refused.
        recent: the events before it, oldest first, as many as were kept.
    """
    known = clauses().get(clause)
    lines = [f"{clause}: {known.text if known is not None else 'no such clause'}"]
    if event is None or machine is None:
        return [*lines, f"found: {detail}"]
    lines.append(f"event {event.seq} (line {event.seq + 1}): {describe(event)}")
    lines.append(f"found: {detail}")
    lines += (f"state: {text}" for text in _state(clause, event, machine))
    past = _related(clause, event, machine, list(recent))
    if past:
        lines.append("before it, of what it has to do with:")
        lines += (f"  {one.seq}: {describe(one)}" for one in past)
    return lines


def describe(event: Event) -> str:
    """An event in one line, as ``t=2.5 s start c[3] attempt=2``."""
    where = _where(event)
    shown = ("seq", "t", "event", "column", "rows", "scope")
    rest = [
        f"{name}={_spans(value) if name in ('reads', 'dropped') else _short(value)}"
        for name, value in to_json(event).items()
        if name not in shown and (name, value) != ("attempt", 1)
    ]
    return " ".join(filter(None, [f"t={event.t:g} s", event.event, where, *rest]))


def _where(event: Event) -> str:
    column = event.column or ""
    if event.scope is not None:
        return node_words(column, scope=event.scope)
    if event.rows is None:
        return repr(column) if column else ""
    rows = (event.rows, event.rows + 1) if isinstance(event.rows, int) else event.rows
    return cell_words(column, *rows) if column else row_words([rows])


def _spans(spans: Sequence[tuple[int, int]]) -> str:
    """Ranges of rows, as the rows of an event are written."""
    return _short(", ".join(f"[{start}:{stop}]" for start, stop in spans) or "none")


def _short(value: object) -> str:
    text = "none" if value in ({}, [], ()) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


# The state that mattered


def _state(clause: str, event: Event, machine: Machine) -> Iterator[str]:
    column = machine.graph.rules.index.get(event.column or "")
    # When time moved on over idle work, the event that moved it is beside the point.
    if column is not None and event.event not in _STORAGE and clause not in _OF_TIME:
        yield from _nodes(event, column, machine)
    if machine.crashed or machine.ended:
        yield "the run has " + ("ended" if machine.ended else "crashed, and was not resumed")
    elif machine.must_stop or machine.stopped:
        yield "the run " + ("has stopped early" if machine.stopped else "must stop early")
    elif machine.stop_requested:
        yield "a stop was requested"
    if event.event == "start" or clause in ("SCHED-09", "SCHED-15"):
        yield _load(machine)
    if machine.state.is_paused:
        yield f"the engine pauses until t={machine.state.paused_until:g} s"
    if machine.limits.group_rows is not None and clause.startswith("GROUP"):
        most = machine.limits.groups
        limit = "" if most is None else f" of {most}"
        yield f"row groups admitted: {_listed(sorted(machine.admitted))}{limit}"
    if event.event == "end":
        total = machine.graph.num_records
        yield f"{machine.completed_rows} of {counted(total, 'row')} resolved without a gap"
    if clause.startswith(("CKPT", "DROP-04")) or event.event in _STORAGE | {"end"}:
        yield from _storage(machine)
    if machine.unrecorded:
        rows = sorted(machine.unrecorded)
        yield f"not recorded as dropped: {noun(len(rows), 'row')} {_listed(rows)}"


def _nodes(event: Event, column: int, machine: Machine) -> Iterator[str]:
    """The node of an event: its state, and the nodes that it waits for."""
    graph = machine.graph
    if event.scope is not None:
        if event.scope < graph.rules.scope_count(column):
            yield from _node(graph.barrier_node(column, event.scope), column, machine)
        return
    span = (event.rows, event.rows + 1) if isinstance(event.rows, int) else event.rows
    if span is None:
        return
    rows = range(span[0], min(span[1], graph.num_records))
    for row in rows[:NODES_SHOWN]:
        yield from _node(graph.cell_node(column, row), column, machine)
    if len(rows) > NODES_SHOWN:
        yield f"and {counted(len(rows) - NODES_SHOWN, 'more row')}"


def _node(node: NodeId, column: int, machine: Machine) -> Iterator[str]:
    is_cell = isinstance(node, CellNodeId)
    place = node.row if isinstance(node, CellNodeId) else node.batch or 0
    key = cell_key(column, place) if is_cell else barrier_key(column, place)
    # How far a cell of a dropped row had come is of no account.
    lost = is_cell and place in machine.counters.dropped
    words = [f"{words_of(node)} is " + (f"of row {place}, dropped" if lost else how(node, machine))]
    spent = machine.attempts.get(key, 0)
    if spent < 0:
        words.append("it failed for good")
    elif spent:
        words.append(f"{spent} of {counted(machine.failures.max_attempts, 'attempt')} spent")
    if key in machine.backoffs:
        until = machine.backoffs[key]
        words.append(
            "its retry is left open" if until is None else f"in a backoff until t={until:g} s"
        )
    size = machine.limits.group_rows
    if is_cell and size is not None and place // size not in machine.admitted:
        words.append(f"row group {place // size} is not admitted")
    yield ", ".join(words)
    waits = [need for need in machine.graph.iter_dependencies(node) if not _resolved(need, machine)]
    if waits:
        shown = [f"{words_of(need)} ({how(need, machine)})" for need in waits]
        yield f"{words_of(node)} waits for {listed(shown, NODES_SHOWN)}"


def _code(node: NodeId, machine: Machine) -> int:
    column = machine.graph.rules.index[node.column]
    if isinstance(node, CellNodeId):
        return machine.counters.cells[column][node.row]
    return machine.counters.barrier_state(column, node.batch or 0)


def how(node: NodeId, machine: Machine) -> str:
    """The state of a node in words, as "running"; O(1)."""
    return _WORDS.get(_code(node, machine), "waiting")


def _resolved(node: NodeId, machine: Machine) -> bool:
    return is_resolved(_code(node, machine))


def _load(machine: Machine) -> str:
    workers = machine.limits.workers
    words = [
        f"{machine.in_flight} in flight, workers: {'no limit' if workers is None else workers}"
    ]
    places = machine.state.places
    for group, (name, limit) in enumerate(machine.limits.resources.items()):
        taken = machine.counters.busy[group] if places is None else places.taken(group)
        words.append(f"{name!r}: {taken} of {limit}")
    return "; ".join(words)


def _storage(machine: Machine) -> Iterator[str]:
    names = machine.graph.column_names
    prefixes = machine.counters.column_prefixes()
    yield "rows resolved without a gap: " + _claim(names, prefixes)
    yield "rows on storage: " + _claim(names, machine.durable)
    yield "last durable claim: " + _claim(names, machine.durable_claim)
    if machine.pending_claim is not None:
        yield "claim being written: " + _claim(names, machine.pending_claim)
    for kind, commits in (
        ("open", machine.state.commits.values()),
        ("that reported an error", machine.state.failed_commits),
    ):
        for commit in list(commits)[:NODES_SHOWN]:
            yield f"commit {kind}: " + _claim(names, commit.cells)


def _claim(names: Sequence[str], claim: Sequence[Rows]) -> str:
    if len(set(claim)) == 1 and are_prefixes(tuple(claim)):
        return f"{claim[0]} of every column"
    return _short(
        ", ".join(
            f"{rows if isinstance(rows, int) else row_words(rows)} of {name!r}"
            for name, rows in zip(names, claim, strict=True)
        )
    )


def _listed(numbers: Sequence[int]) -> str:
    return listed([*map(str, numbers)], NODES_SHOWN)


# The events that have to do with it


def _related(
    clause: str, event: Event, machine: Machine, recent: Sequence[Event]
) -> Sequence[Event]:
    """The last events of the same node, row, resource or matter; failing that, the last few."""
    if clause.startswith(("CKPT", "TRACE")) or event.event in _STORAGE:
        found = [one for one in recent if one.event in _STORAGE]
    elif clause in ("SCHED-06", "SCHED-11", "STOP-01", "STOP-02"):
        found = [one for one in recent if one.event in _CALLS and _same_slots(event, one, machine)]
    elif clause in ("STOP-05", "STOP-06", "STOP-07"):
        found = [one for one in recent if one.event in _ASKED or one.event in _STORAGE]
    elif clause == "SCHED-16":
        found = [one for one in recent if one.event in ("fail", "pause")]
    elif clause in ("GROUP-02", "GROUP-06", "GROUP-07", "GROUP-08"):
        found = [one for one in recent if one.event in ("admit", "retire")]
    elif clause in _OF_TIME:
        found = list(recent)
    else:
        span = _span(event, machine)
        found = [one for one in recent if span is not None and _meets(span, one, machine)]
        if found:
            # An incarnation that ended since then has to do with everything.
            first = found[0].seq
            found += [one for one in recent if one.event in _INCARNATIONS and one.seq > first]
            found.sort(key=lambda one: one.seq)
    return (found or recent)[-EVENTS_SHOWN:]


def _same_slots(event: Event, other: Event, machine: Machine) -> bool:
    """True if both take the same resource; without one, all calls share the workers."""
    takes, places = machine.limits.column_resource, machine.limits.column_places
    mine, its = event.column or "", other.column or ""
    if mine not in takes:
        return True
    return not {*places.get(mine, (takes[mine],))}.isdisjoint(places.get(its, (takes.get(its),)))


def _span(event: Event, machine: Machine) -> tuple[int, int] | None:
    """The rows that an event is about; for a barrier node the rows of its scope."""
    if isinstance(event.rows, int):
        return event.rows, event.rows + 1
    if event.rows is not None:
        return event.rows
    if event.scope is None:
        return None
    column = machine.graph.rules.index.get(event.column or "")
    # Beyond the last scope there are no rows, and the range is empty.
    return None if column is None else machine.graph.rules.scope_bounds(column, event.scope)


def _meets(span: tuple[int, int], other: Event, machine: Machine) -> bool:
    rows = _span(other, machine)
    return rows is not None and max(span[0], rows[0]) < min(span[1], rows[1])
