"""Running a failure again: on the transition system, or on an engine.

A replay (`Replayed`) helps a person to find the mistake. It holds the workload, the events, the
clause that broke, and two ways to take the failure along: one line of text, and a test to paste.
`sim.output.replay` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cellspec.check.checker import Finding
from cellspec.conformance.campaign.scaling import judge_cost
from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.run.backend import Backend, fit_of
from cellspec.conformance.run.case import Case, describe, python_test
from cellspec.conformance.run.loading import expect_named, load_backend
from cellspec.conformance.run.registered import REFERENCE, backend_path, canonical_path
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError
from cellspec.replay.judging import judge
from cellspec.replay.mishap_steps import MishapSearch
from cellspec.replay.source import Steps, read_source
from cellspec.replay.state_grid import grid, state_after
from cellspec.replay.strings import PREFIX, to_string
from cellspec.replay.trace_test import trace_test
from cellspec.replay.workload_of import plain_workload_of, timed, unsaid, workload_of
from cellspec.text import listed, noun
from cellspec.trace import to_json

__all__ = ["Replayed", "engine_of", "replay", "replay_steps", "replayed_run"]

_STRING_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay.

    Attributes:
        source: the file, or another origin of the case.
        asked: the request of the run, in lines.
        header: line 1 of the trace.
        events: the events, in order, as a trace writes them.
        finding: the clause that broke; None if every clause held.
        more: further remarks, a line each.
        state: the table at the end, a line a column; empty if it was not asked for.
        string: the case as one line of text; "" if it is too long for that.
        test: a test to paste.
        backend: the engine that a replay must name; "" for a trace.
        is_cut_off: the trace ends before its footer, so the whole of it is inconclusive.
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


def replay(
    source: str, *, folder: Path, backend: str | None = None, until: int | None = None
) -> Replayed:
    """Replay a case.

    Args:
        source: a trace, a case file, or a replay string.
        folder: where the user is; a backend's module is looked for there too.
        backend: the engine to replay on: a registered name, or ``module:attribute``. By default a
            trace is replayed on the transition system, and a case on the reference engine. A case
            that was found on another engine needs that engine's name here: no name in a file is
            imported.
        until: stop after this event.

    Raises:
        SpecError: something cannot be read or used; one line that names it.
    """
    found = read_source(source)
    if isinstance(found, Steps):
        if backend is None:
            return replay_steps(found, until)
        return _replay_steps_on(found, backend, folder, until)
    case, engine, made = engine_of(source, found, backend, folder)
    result = _run_case(engine, case)
    return replayed_run(source, case, engine, result, until, made_by_call=made)


def engine_of(
    source: str, found: Case, backend: str | None, folder: Path
) -> tuple[Case, Backend, bool]:
    """The case with the name of its engine; the engine; and whether it was made by a call."""
    if not backend and canonical_path(found.backend) in ("", REFERENCE):
        backend = REFERENCE
    name = "replay string" if source.startswith(PREFIX) else source
    named = backend_path(expect_named(backend, found, name, "--backend"), "--backend")
    return replace(found, backend=named), *load_backend(named, folder, "--backend")


def _run_case(engine: Backend, case: Case) -> RunResult:
    """Run the case; one about cost with more and more rows, because a single run cannot show it."""
    if case.clause in COST_CLAUSES:
        return judge_cost(engine, case.clause, case.workload, waive=case.waived)
    return run_workload(engine, case.workload, waive=case.waived)


def replay_steps(steps: Steps, until: int | None = None) -> Replayed:
    """Replay a trace on the transition system, up to an event."""
    judged = judge(steps, until)
    header = judged.checker.header
    stopped = until is not None and until <= len(steps.events)
    more = [steps.unread] if steps.unread and judged.finding is None and not stopped else []
    text = "\n".join(steps.to_lines()) + "\n"
    return Replayed(
        source=steps.source,
        asked=tuple(_describe_header(steps)),
        header=_plain(header),
        events=tuple(map(_plain, judged.events)),
        finding=judged.finding,
        more=tuple(more),
        state=() if until is None else tuple(grid(judged.checker.machine)),
        string=_string_of(text),
        test=trace_test(text, judged.finding),
        is_cut_off=bool(more),
        rest=() if stopped else tuple(map(_plain, steps.events[len(judged.events) :])),
        is_part=stopped,
    )


def _describe_header(steps: Steps) -> Iterator[str]:
    """The header of a trace in the words of a workload; or plainly, if it describes none."""
    try:
        work = plain_workload_of(steps)
    except SpecError as error:
        yield str(error)
        return
    yield from describe(work)


def _replay_steps_on(steps: Steps, backend: str, folder: Path, until: int | None) -> Replayed:
    """Lead an engine into the steps of a trace, with crashes and stops at the same moments."""
    engine, made = load_backend(backend, folder, "--backend")
    steps = timed(steps)
    work = fit_of(engine)(workload_of(steps))
    if work is None:
        raise SpecError(f"{backend}: cannot be asked for what {steps.source} is about")
    best: RunResult | None = None
    tried = 0
    search = MishapSearch(engine, steps)
    for asked in search.workloads(work):
        tried += 1
        result = run_workload(engine, asked)
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
    path = backend_path(backend, "--backend")
    case = Case(best.work, broken, best.violations[0].detail if broken else "", path)
    again = replayed_run(steps.source, case, engine, best, until, made_by_call=made)
    return replace(again, more=(*again.more, *_remarks(steps, search, tried, best.work)))


def _remarks(steps: Steps, search: MishapSearch, tried: int, work: Workload) -> Iterator[str]:
    """What the runs of an engine have of the trace that led to them, and what they lack."""
    if any(work.crashes):
        yield f"{tried} {noun(tried, 'run')}, with a crash at another step in each"
    if search.missed:
        yield f"no step of the engine is at {listed(search.missed, 3)}, which is left out"
    left_out = unsaid(steps)
    if left_out:
        yield f"the trace does not say, so the runs leave out: {listed(left_out, 9)}"


def replayed_run(
    source: str,
    case: Case,
    engine: Backend,
    result: RunResult,
    until: int | None,
    *,
    made_by_call: bool,
) -> Replayed:
    """The replay that one run of an engine was."""
    finding = result.violations[0] if result.violations else None
    events = tuple(event for event in result.events if until is None or event["seq"] <= until)
    if until is not None and finding is not None and len(events) < len(result.events):
        # The violation is one of the whole run, and the run was stopped before it.
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
        state=() if until is None else state_after(result.header, events),
        string=_string_of(own.to_json()),
        test=python_test(own, made_by_call=made_by_call),
        backend="" if case.backend == REFERENCE else case.backend,
        rest=() if until is not None else tuple(result.rest),
        is_part=until is not None and until < len(result.events) + len(result.rest),
    )


def _string_of(text: str) -> str:
    """A case in one line to paste; "" if the line would be too long to paste."""
    line = to_string(text)
    return line if len(line) <= _STRING_MAX else ""


def _plain(value: Any) -> Mapping[str, Any]:
    plain: Mapping[str, Any] = to_json(value)
    return plain
