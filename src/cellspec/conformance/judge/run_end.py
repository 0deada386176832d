"""The end of an incarnation: why the engine stood still, and which workloads it must refuse.

An incarnation that does not crash must come to an end and report it (clauses SCHED-12 and
SCHED-14), unless the engine refuses the workload with good reason (clauses GROUP-04 and CKPT-16).
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cellspec import virtualtime
from cellspec.conformance.run.clock_mode import StoodStill
from cellspec.conformance.run.probe import Crash, Endless, Entry, Probe
from cellspec.conformance.run.values import Registry, Table
from cellspec.conformance.run.workload import Workload
from cellspec.faults import GeneratorError
from cellspec.graph.graph import ExecutionGraph
from cellspec.machine.policy import changed_scopes, scopes_too_wide
from cellspec.state.claims import Rows, end_of, meet, normal
from cellspec.text import be, counted, node_words

__all__ = [
    "BadEnd",
    "Refusal",
    "bad_end",
    "due_refusal",
    "first_line",
    "tail",
    "without_last_cancels",
]

_TRACEBACK_LINES = 6


@dataclass(frozen=True, slots=True)
class BadEnd:
    """An end that breaks a clause.

    Attributes:
        clause: the clause.
        detail: the reason, in one line.
        more: further lines: frames of a traceback, or the tasks that wait.
        adapter: the mistake of the adapter, if it made one; "" else.
    """

    clause: str
    detail: str
    more: tuple[str, ...] = ()
    adapter: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal that is due.

    Attributes:
        clause: the clause that demands it.
        reason: why, in words.
        sure: False if it may be due, for the engine does not report what its storage keeps.
    """

    clause: str
    reason: str
    sure: bool = True


def bad_end(
    probe: Probe,
    error: BaseException | None,
    outcome: str,
    ends: Sequence[Entry],
    *,
    by_table_alone: bool,
) -> BadEnd | None:
    """The clause that the end of an incarnation breaks; None if it ended as it must.

    Args:
        probe: its probe; the incarnation did not crash.
        error: the exception that came out of the backend, or None.
        outcome: the outcome that it reported; "" without a report.
        ends: the events that report an end.
        by_table_alone: events of this run cannot be judged.
    """
    if probe.misuse:
        detail = f"the adapter asks for what is not there: {probe.misuse}"
        return BadEnd("TRACE-02", detail, probe.misuse_place, probe.misuse)
    if isinstance(error, virtualtime.RealTimeError):
        line = first_line(error)
        return BadEnd(
            "SCHED-12",
            f"the run cannot go on in virtual time: {line}",
            adapter=f"{line}; make run a plain function to have it run in real time",
        )
    if error is not None and (outcome in ("", "success") or _stands_still(error)):
        return BadEnd("SCHED-12", _why_stuck(error), tuple(tail(error)))
    if not ends:
        return BadEnd(
            "SCHED-12",
            "run returned without a report of how it ended",
            adapter="run returned, and end was not reported",
        )
    if outcome == "failed" and by_table_alone and not _storage_failed(probe):
        # Without judged events, a failure of storage is the only known reason to give up.
        reason = ends[0].get("reason", "no reason given")
        return BadEnd("SCHED-14", f"the run gave up although nothing stood in its way: {reason}")
    return None


def refused_answer_used(calls: Registry, table: Table | None) -> str:
    """Where a barrier's answer of another length than its input was used; "" if nowhere.

    Args:
        calls: the calls of the run.
        table: the table that the incarnation left, or None.
    """
    if not calls.refused:
        return ""
    odd = "an answer of another length than its input"
    for column, place, value in calls.used:
        source = calls.refused[value]
        return f"a call of {column!r} at {place} was given {value!r} of {source!r}, {odd}"
    for row, cells in sorted(table.rows.items()) if table is not None else ():
        for name, held in sorted(cells.items()):
            if isinstance(held, str) and held in calls.refused:
                return f"{name}[{row}] holds {held!r}, of {odd}"
    return ""


def _stands_still(error: BaseException) -> bool:
    return isinstance(error, virtualtime.VirtualTimeError | TimeoutError | Crash)


def _storage_failed(probe: Probe) -> bool:
    return any(entry["event"] == "checkpoint_failed" for entry in probe.log)


def _why_stuck(error: BaseException) -> str:
    if isinstance(error, virtualtime.Deadlock | virtualtime.Livelock | TimeoutError):
        return first_line(error)
    if isinstance(error, Crash):
        return f"the run does not end: {error}"
    if isinstance(error, GeneratorError):
        return f"a generator's failure came out of the run: {first_line(error)}"
    return f"the engine died of {type(error).__name__}: {first_line(error)}"


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, or its class."""
    try:
        lines = str(error).splitlines()
    except Exception:
        lines = ["its text cannot be read"]
    return _writable((lines or [type(error).__name__])[0])


def _writable(text: str) -> str:
    """A text without halves of pairs of code units, which no file can hold: as their escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def without_last_cancels(log: Sequence[Entry]) -> list[Entry]:
    """The events of an engine that died, without the calls that it cancelled as it did.

    An exception that comes out of one of its tasks may cancel the others (`asyncio.TaskGroup`).
    That is how it died, and no choice of calls to cancel.
    """
    end = len(log)
    while end and log[end - 1]["event"] == "cancel" and log[end - 1]["t"] == log[-1]["t"]:
        end -= 1
    return list(log[:end])


def tail(error: BaseException) -> list[str]:
    """Where an exception came from: its last frames and itself, or the tasks that wait."""
    if isinstance(error, StoodStill):
        return list(error.threads)
    if isinstance(error, Endless):
        return list(error.places)
    if isinstance(error, virtualtime.Deadlock | virtualtime.Livelock):
        return [line.strip() for line in str(error).splitlines()[1:]]
    lines = "".join(traceback.format_exception(error)).splitlines()
    # Versions of Python underline what they quote in different ways.
    plain = [line for line in lines if line.strip(" ~^")]
    return list(map(_writable, plain[-_TRACEBACK_LINES:]))


# Refusals


def due_refusal(
    work: Workload,
    probe: Probe,
    settled: int,
    table: Table | None,
    claim: Mapping[str, Rows] | None,
) -> Refusal | None:
    """The refusal that the engine owes in this incarnation; None if it must run.

    Args:
        work: the workload.
        probe: the incarnation's probe.
        settled: the incarnation whose number of rows storage keeps to.
        table: the table that the incarnation before it left; None for the first incarnation.
        claim: by column, every row that a claim on storage may hold; None if the engine reports
            nothing of its storage. Then a table of whole rows may leave out parts of others.
    """
    scope = _scope_too_wide(work, probe.graph)
    if scope:
        return Refusal("GROUP-04", scope)
    rows, before = work.rows_of(probe.incarnation), work.rows_of(settled)
    if table is None or rows == before:
        return None
    changes = [] if work.keep else list(changed_scopes(probe.graph.rules, before, rows))
    known = claim or {}
    for changed in changes:
        name = probe.graph.column_names[changed.column]
        first, was = changed.start, changed.before
        held = any(name in table.rows.get(row, {}) for row in range(first, was))
        if held or meet(known.get(name, 0), normal([(first, was)])):
            what = f"rows of {name!r} from {first} are kept, and their scope ends at {was}"
            return Refusal("CKPT-16", f"{what}, then at {changed.after}")
    reached = end_of(tuple(known.values())) if known else 0
    kept = max((reached, *(row + 1 for row in (*table.rows, *table.dropped))))
    if rows < kept:
        text = f"{counted(rows, 'row')} {be(rows)} asked for, and more are kept"
        return Refusal("CKPT-16", text)
    if claim is None and (changes or rows < before):
        return Refusal("CKPT-16", "what is kept of the run before is not reported", sure=False)
    return None


def _scope_too_wide(work: Workload, graph: ExecutionGraph) -> str:
    """A barrier whose scope takes more row groups than may be admitted at once, in words."""
    most = work.limits.groups
    for wide in scopes_too_wide(graph.rules, work.limits.group_rows, most):
        barrier = node_words(graph.rules.columns[wide.column].name, scope=wide.scope)
        return f"{barrier} needs {counted(len(wide.groups), 'row group')} at once of {most}"
    return ""
