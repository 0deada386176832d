"""What ``python -m sim replay`` and ``python -m sim shrink`` print.

A replay is for the person who has to find the mistake. It says what was asked for, each event in a
line, what broke and why; and it ends with ways to take the failure along: one line of text, a test
to paste, a page with a slider. All of it is the same bytes for the same case.
"""

from __future__ import annotations

import json
import shlex
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from cellspec.check.checker import Finding
from cellspec.check.explain import describe as describe_event
from cellspec.check.explain import how
from cellspec.conformance.campaign.scaling import COST_CLAUSES, judge_cost
from cellspec.conformance.campaign.shrink_workload import shrunk_workload
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.report.grid_page import render_trace
from cellspec.conformance.run.backend import Backend, fit_of
from cellspec.conformance.run.case import Case, describe, python_test
from cellspec.conformance.run.loading import expect_named, load_backend
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError
from cellspec.files import write_files
from cellspec.graph.nodes import BarrierNodeId, CellNodeId
from cellspec.machine.machine import Machine
from cellspec.replay import (
    PREFIX,
    Steps,
    ends_of,
    judge,
    plain_workload_of,
    read_source,
    shrunk_trace,
    timed,
    to_string,
    workload_of,
)
from cellspec.trace import KINDS, Event, Footer, event_from_json, header_from_json, to_json

__all__ = [
    "Replayed",
    "render_json",
    "render_text",
    "replay",
    "replay_line",
    "shrink",
    "trace_text",
    "write_outputs",
]

REFERENCE = "cellspec.engines.reference:ReferenceBackend"
"""The engine that a case is replayed on if it names no other, and the user none."""

SHRINK_RUNS_MAX = 2_000
CRASH_STEPS_MAX = 400
"""How many steps at one moment an engine is crashed at, one after the other."""

_STRING_MAX = 4_000
_GRID_ROWS_MAX = 60


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay showed.

    Attributes:
        source: the file, or what else the case came from.
        asked: what the run was asked for, a line each.
        header: line 1 of the trace.
        events: the events, in order, as a trace writes them.
        finding: the clause that broke; None if nothing did.
        more: what else is to be said, a line each.
        state: the table at the end, a line a column; nothing if it was not asked for.
        string: the case as one line of text; "" if it is too long for that.
        test: a test to paste.
        backend: the engine that a replay must name; "" if none.
        is_cut_off: the trace ends before its footer, so that nothing can be said of all of it.
        rest: the events after the one that broke a clause, which are not judged.
        is_part: the replay was stopped before the last event.
    """

    source: str
    asked: tuple[str, ...]
    header: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    finding: Finding | None
    more: tuple[str, ...]
    state: tuple[str, ...]
    string: str
    test: str
    backend: str = ""
    is_cut_off: bool = False
    rest: tuple[Mapping[str, Any], ...] = ()
    is_part: bool = False


# Replaying


def replay(
    source: str, *, folder: Path, backend: str | None = None, until: int | None = None
) -> Replayed:
    """Replay a case.

    Args:
        source: a trace, a case file, or a replay string.
        folder: where the user is; a backend's module is looked for there too.
        backend: the engine to replay on, as ``module:attribute``. By default a trace is replayed
            on the transition system, and a case on the reference engine, unless it names another
            one: that must be named here, for nothing that a file names is imported.
        until: stop after this event.

    Raises:
        SpecError: something cannot be read or used; one line that names it.
    """
    found = read_source(source)
    if isinstance(found, Steps):
        if backend is None:
            return _replay_steps(found, until)
        return _replay_steps_on(found, backend, folder, until)
    case, engine, made = _engine_of(source, found, backend, folder)
    result = _run(engine, case)
    return _of_result(source, case, engine, result, until, made_by_call=made)


def _engine_of(
    source: str, found: Case, backend: str | None, folder: Path
) -> tuple[Case, Backend, bool]:
    """The case with the name of its engine; the engine; and whether it was made by a call."""
    if not backend and found.backend in ("", REFERENCE):
        backend = REFERENCE
    name = "replay string" if source.startswith(PREFIX) else source
    case = replace(found, backend=expect_named(backend, found, name, "--backend"))
    return case, *load_backend(case.backend, folder, "--backend")


def _run(engine: Backend, case: Case) -> RunResult:
    """Run the case; one about cost with more and more rows, because it shows in no run alone."""
    if case.clause in COST_CLAUSES:
        return judge_cost(engine, case.clause, case.workload, waive=case.waived)
    return run_workload(engine, case.workload, waive=case.waived)


def _replay_steps(steps: Steps, until: int | None) -> Replayed:
    judged = judge(steps, until)
    header = judged.checker.header
    stopped = until is not None and until <= len(steps.events)
    more = [steps.unread] if steps.unread and judged.finding is None and not stopped else []
    text = "\n".join(steps.to_lines()) + "\n"
    return Replayed(
        source=steps.source,
        asked=tuple(_describe_header(steps)),
        header=_json(header),
        events=tuple(map(_json, judged.events)),
        finding=judged.finding,
        more=tuple(more),
        state=() if until is None else tuple(_grid(judged.checker.machine)),
        string=_string_of(text),
        test=_trace_test(text, judged.finding),
        is_cut_off=bool(more),
        rest=() if stopped else tuple(map(_json, steps.events[len(judged.events) :])),
        is_part=stopped,
    )


def _describe_header(steps: Steps) -> Iterator[str]:
    """What a trace's header says, in the words of a workload; or plainly, if it is none."""
    try:
        work = plain_workload_of(steps)
    except SpecError as error:
        yield str(error)
        return
    yield from describe(work)


def _replay_steps_on(steps: Steps, backend: str, folder: Path, until: int | None) -> Replayed:
    """Let an engine meet what a trace tells, with a crash at the same moment."""
    engine, made = load_backend(backend, folder, "--backend")
    steps = timed(steps)
    work = fit_of(engine)(workload_of(steps))
    if work is None:
        raise SpecError(f"{backend}: cannot be asked for what {steps.source} is about")
    best: RunResult | None = None
    tried = 0
    for crashes in _crash_steps(engine, work, steps):
        tried += 1
        result = run_workload(engine, work.replace(crashes=crashes))
        if best is None or result.violations:
            best = result
        if result.violations:
            break
    if best is None:
        # It may break something before it gets there.
        best = run_workload(engine, work)
    if not tried and not best.violations:
        raise SpecError(
            f"{steps.source}: {backend} takes no step at the time of a crash in it; it cannot be "
            "crashed there"
        )
    broken = best.violations[0].clause if best.violations else ""
    case = Case(best.work, broken, best.violations[0].detail if broken else "", backend)
    more = f"{tried} {'run' if tried == 1 else 'runs'}, with a crash at another step in each"
    told = _of_result(steps.source, case, engine, best, until, made_by_call=made)
    return replace(told, more=(*told.more, more)) if any(best.work.crashes) else told


def _crash_steps(engine: Backend, work: Workload, steps: Steps) -> Iterator[tuple[int, ...]]:
    """Steps to crash at, one list a run: all that come at the time at which the trace crashes.

    How many steps an engine takes until a moment is its own affair, so each is tried. With several
    crashes the first ones are fixed, one after the other, at the first step that fits.
    """
    # What an engine does between calls, it does when one ends.
    ends = {event.seq for _, event in ends_of(steps.events, work.graph())}
    moments: list[tuple[float, float]] = []
    ended_s = 0.0
    for event in steps.events:
        if event.event == "crash":
            moments.append((ended_s, event.t))
        elif event.seq in ends:
            ended_s = event.t
    fixed: tuple[int, ...] = ()
    for number, (after, before) in enumerate(moments):
        fitting = _steps_between(engine, work, fixed, after, max(after, before))
        if number == len(moments) - 1:
            yield from ((*fixed, step) for step in fitting)
            return
        fixed = (*fixed, fitting[0] if fitting else 1)
    yield fixed


def _steps_between(
    engine: Backend, work: Workload, fixed: tuple[int, ...], after_s: float, before_s: float
) -> list[int]:
    """The steps at which the next life can be crashed so that it dies between two moments."""
    times: dict[int, float] = {}

    def time_of(step: int) -> float:
        if step not in times:
            result = run_workload(engine, work.replace(crashes=(*fixed, step)))
            times[step] = _crash_time(result, len(fixed))
        return times[step]

    # The later the step the later the crash, and beyond the last step there is none.
    high = 1
    while time_of(high) < after_s:
        high *= 2
    first = bisect_left(range(high + 1), after_s, 1, key=time_of)
    steps = range(first, first + CRASH_STEPS_MAX)
    return list(takewhile(lambda step: time_of(step) <= before_s, steps))


def _crash_time(result: RunResult, number: int) -> float:
    times = [float(event["t"]) for event in result.events if event["event"] == "crash"]
    return times[number] if number < len(times) else float("inf")


def _of_result(
    source: str,
    case: Case,
    engine: Backend,
    result: RunResult,
    until: int | None,
    *,
    made_by_call: bool,
) -> Replayed:
    finding = result.violations[0] if result.violations else None
    events = tuple(event for event in result.events if until is None or event["seq"] <= until)
    if until is not None and finding is not None and len(events) < len(result.events):
        # What broke is told of the whole run, and the run was stopped before that.
        finding = None
    clause, detail = ("", "") if finding is None else (finding.clause, finding.detail)
    own = replace(case, clause=clause, detail=detail)
    return Replayed(
        source=source,
        asked=(f"engine: {engine.name} {engine.version}", *describe(case.workload)),
        header=result.header,
        events=events,
        finding=finding,
        more=(f"refused: {result.refused}",) if result.refused else (),
        state=() if until is None else _state_after(result.header, events),
        string=_string_of(own.to_json()),
        test=python_test(own, made_by_call=made_by_call),
        backend="" if case.backend == REFERENCE else case.backend,
        rest=() if until is not None else tuple(result.rest),
        is_part=until is not None and until < len(result.events) + len(result.rest),
    )


def _string_of(text: str) -> str:
    line = to_string(text)
    return line if len(line) <= _STRING_MAX else ""


# The state in between

_SYMBOLS = {
    "waiting": ".",
    "ready": "o",
    "to be skipped": "o",
    "running": ">",
    "running, in a range": ">",
    "failed, to be tried again": "!",
    "complete": "#",
    "claimed by a checkpoint": "=",
    "skipped": "-",
    "dropped": "x",
}
_LEGEND = (
    ". waiting   o ready   > running   # complete   = claimed   - skipped   x dropped   "
    "! failed, to be tried again"
)


def _state_after(header: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    steps = Steps("", header_from_json(header), tuple(map(event_from_json, events)))
    return tuple(_grid(judge(steps).checker.machine))


def _grid(machine: Machine) -> Iterator[str]:
    """The table, a line a column; barrier nodes stand before their output cells."""
    graph = machine.graph
    shown = min(graph.num_records, _GRID_ROWS_MAX)
    width = max(map(len, graph.column_names))
    for rule in graph.rules.columns:
        nodes: list[CellNodeId | BarrierNodeId] = [
            CellNodeId(row, rule.name) for row in range(shown)
        ]
        cells = "".join(_SYMBOLS[how(node, machine)] for node in nodes)
        barriers = [
            BarrierNodeId(rule.name, scope if rule.batched else None)
            for scope in range(graph.rules.scope_count(rule.index))
        ]
        more = "" if shown == graph.num_records else " …"
        own = "".join(_SYMBOLS[how(node, machine)] for node in barriers)
        yield f"{rule.name:{width}}  {cells}{more}" + (f"  barrier {own}" if own else "")
    yield _LEGEND
    if machine.crashed:
        yield "crashed: what storage gives back is open"


# Shrinking


def shrink(source: str, *, folder: Path, backend: str | None = None) -> tuple[str, Replayed]:
    """Make a case small.

    Args:
        source: a trace, a case file, or a replay string.
        folder: where the user is.
        backend: as for `replay`.

    Returns:
        The content of the smaller file, and its replay.

    Raises:
        SpecError: something cannot be read or used, or nothing breaks.
    """
    found = read_source(source)
    if isinstance(found, Steps):
        if backend is not None:
            raise SpecError("--backend: a trace is made small on the transition system alone")
        small = shrunk_trace(found)
        return "\n".join(small.to_lines()) + "\n", _replay_steps(small, None)
    case, engine, made = _engine_of(source, found, backend, folder)
    if case.clause in COST_CLAUSES:
        raise SpecError(
            f"{source}: {case.clause} is about cost; its workload is as small as it gets"
        )
    first = run_workload(engine, case.workload, waive=case.waived)
    if not first.violations:
        raise SpecError(f"{source}: nothing breaks on {case.backend}; there is nothing to shrink")
    best = first

    def breaks(work: Workload) -> bool:
        nonlocal best
        tried = run_workload(engine, work, waive=case.waived)
        same = bool(tried.violations) and tried.violations[0].clause == first.violations[0].clause
        best = tried if same else best
        return same

    shrunk_workload(case.workload, breaks, runs_max=SHRINK_RUNS_MAX, fit=fit_of(engine))
    broken = best.violations[0]
    case = replace(case, workload=best.work, clause=broken.clause, detail=broken.detail)
    told = _of_result(source, case, engine, best, None, made_by_call=made)
    return case.to_json(), told


# Output


def render_text(told: Replayed, *, test: bool = False) -> str:
    """The replay for a person."""
    lines = [*told.asked, ""]
    lines += [_event_line(event) for event in told.events]
    if told.state:
        lines += ["", *told.state]
    lines.append("")
    if told.finding is None:
        lines.append("no clause broke")
    else:
        where = "" if told.finding.seq is None else f" at event {told.finding.seq}"
        lines.append(f"violated: {told.finding.clause}{where}")
        lines += ["", *(f"  {line}" for line in told.finding.explanation)]
    lines += told.more
    if told.string:
        lines += ["", f"again: {replay_line(told.string, told.backend)}"]
    if test:
        lines += ["", told.test.rstrip()]
    return "\n".join(lines) + "\n"


def replay_line(case: str, backend: str = "") -> str:
    """The command that replays a case; it names the engine, because the case's word is not run.

    Args:
        case: a file, or a line of text.
        backend: the engine; "" for the transition system, or the reference engine.
    """
    named = ["--backend", backend] if backend not in ("", REFERENCE) else []
    return shlex.join(["python", "-m", "sim", "replay", *named, case])


def _event_line(event: Mapping[str, Any]) -> str:
    made: Event = event_from_json(event)
    return f"{made.seq:>5}  {describe_event(made)}"


def render_json(told: Replayed) -> str:
    """The replay for a program."""
    found = told.finding
    plain = {
        "case": told.source,
        "violation": None
        if found is None
        else {
            "clause": found.clause,
            "detail": found.detail,
            "seq": found.seq,
            "story": list(found.explanation),
        },
        "more": list(told.more),
        "asked": list(told.asked),
        "header": told.header,
        "events": list(told.events),
        "state": list(told.state),
        "string": told.string,
        "backend": told.backend,
    }
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def trace_text(told: Replayed) -> str:
    """The events of a replay as a trace."""
    lines = [told.header, *told.events, *told.rest]
    if not (told.is_part or told.is_cut_off):
        lines.append(_footer(lines[1:], told.finding))
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def write_outputs(told: Replayed, *, trace: Path | None, html: Path | None) -> None:
    """Write the trace of a replay, and its page.

    The trace goes on after what broke, up to the end of that life, and has its footer: it is the
    trace of a whole run, unless the replay was stopped or the trace that it is of was cut off.

    Raises:
        SpecError: a file cannot be written, or a page holds no such table.
    """
    if trace is not None:
        write_files(trace.parent, {trace.name: trace_text(told)})
    if html is not None:
        seq = None if told.finding is None else told.finding.seq
        title = "No clause broke" if told.finding is None else f"{told.finding.clause} broke"
        page = render_trace(told.header, told.events, title, violation=seq)
        write_files(html.parent, {html.name: page})


def _footer(events: Sequence[Mapping[str, Any]], finding: Finding | None) -> Mapping[str, Any]:
    found = Counter(event["event"] for event in events)
    counts: dict[Any, int] = {kind: found[kind] for kind in KINDS if found[kind]}
    return _json(Footer(True, len(events), counts, None if finding is None else "violated"))


def _json(value: Any) -> Mapping[str, Any]:
    plain: Mapping[str, Any] = to_json(value)
    return plain


_TEST = """\
import io

from cellspec.check.checker import check_file

TRACE = '''\\
{trace}'''


def test_{name}() -> None:
    \"\"\"{title}\"\"\"
    result = check_file(io.BytesIO(TRACE.encode()))
    assert not result.violations, "\\n".join(result.violations[0].explanation)
"""


def _trace_test(text: str, finding: Finding | None) -> str:
    """A test that fails as long as a step of the trace is not allowed."""
    if finding is None:
        return _TEST.format(trace=_quoted(text), name="case", title="Every step is allowed.")
    name = finding.clause.lower().replace("-", "_")
    detail = finding.detail.replace("\\", "/").replace('"', "'")
    return _TEST.format(trace=_quoted(text), name=name, title=f"{finding.clause}: {detail}")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'''", "\\'\\'\\'")
