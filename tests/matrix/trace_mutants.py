"""Traces that are wrong: a run that was right, written down by an engine that is not.

An engine in another language is known by its trace alone. Each mutant changes the events of a right
run (`tests.traces.toy_run`) in the way in which such an engine would get them wrong, and the
checker must say which clause that breaks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cellspec import FailurePolicy, Limits
from cellspec.check.checker import check_file
from tests.matrix.engine_measure import EngineRow
from tests.traces import EVERYTHING_LIMITS, everything, toy_run, write_trace

Lines = list[dict[str, Any]]
RUNS = 60


@dataclass(frozen=True)
class TraceMutant:
    """A change to the lines of a trace: header first, footer last."""

    name: str
    wrong: str
    change: Callable[[Lines], Lines]


TRACE_MUTANTS: list[TraceMutant] = []


def mutant(wrong: str) -> Callable[[Callable[[Lines], Lines]], Callable[[Lines], Lines]]:
    """Register a change."""

    def register(change: Callable[[Lines], Lines]) -> Callable[[Lines], Lines]:
        TRACE_MUTANTS.append(TraceMutant(change.__name__.replace("_", " "), wrong, change))
        return change

    return register


def _numbered(lines: Lines) -> Lines:
    """The lines with their numbers, and the footer's counts, put right."""
    header, *events, footer = lines
    counts: dict[str, int] = {}
    for number, event in enumerate(events, 1):
        event["seq"] = number
        counts[event["event"]] = counts.get(event["event"], 0) + 1
    return [header, *events, footer | {"events": len(events), "counts": counts}]


def _rows(event: dict[str, Any]) -> tuple[int, int]:
    rows = event["rows"]
    return (rows, rows + 1) if isinstance(rows, int) else (rows[0], rows[1])


@mutant("an event is written twice when the buffer is flushed")
def writes_an_event_twice(lines: Lines) -> Lines:
    return [*lines[:9], dict(lines[8]), *lines[9:]]


@mutant("the footer counts the events of the last incarnation only")
def counts_the_last_incarnation(lines: Lines) -> Lines:
    resumes = [place for place, line in enumerate(lines) if line.get("event") == "resume"]
    if resumes:
        lines[-1] = lines[-1] | {"events": len(lines) - 1 - resumes[-1]}
    return lines


@mutant("a side effect is named where its column is meant")
def names_no_column(lines: Lines) -> Lines:
    return [
        line | {"column": "half_more"} if line.get("column") == "half" else line for line in lines
    ]


@mutant("output of a barrier is given to rows that were dropped since")
def gives_output_to_dropped_rows(lines: Lines) -> Lines:
    dropped: set[int] = set()
    for line in lines:
        if line.get("event") == "drop":
            dropped.update(range(*_rows(line)))
        elif line.get("event") == "resume":
            dropped.clear()
        elif line.get("event") == "emit":
            start, stop = _rows(line)
            if start - 1 in dropped:
                line["rows"] = [start - 1, stop]
    return lines


@mutant("a call that failed for good is made again at once")
def retries_what_failed_for_good(lines: Lines) -> Lines:
    for place, line in enumerate(lines):
        if line.get("failure") == "permanent" and "scope" not in line:
            again = {key: line[key] for key in ("t", "column", "rows")}
            attempt = line.get("attempt", 1) + 1
            lines.insert(place + 1, again | {"event": "start", "attempt": attempt})
            return _numbered(lines)
    return lines


@mutant("the late answer of a call that timed out is taken for that of the next attempt")
def takes_the_answer_of_an_earlier_attempt(lines: Lines) -> Lines:
    for line in lines:
        if line.get("event") == "complete" and line.get("attempt", 1) > 1:
            line["attempt"] = 1
            break
    return lines


@mutant("a barrier is run over a batch of which every row was dropped")
def runs_barriers_over_nothing(lines: Lines) -> Lines:
    dropped: set[int] = set()
    for place, line in enumerate(lines):
        kind = line.get("event")
        if kind == "resume":
            dropped.clear()
        elif kind == "drop":
            dropped.update(range(*_rows(line)))
            for scope in range(3):
                batch = set(range(3 * scope, min(3 * scope + 3, 7)))
                if batch <= dropped and not _started(lines[:place], scope):
                    run = {"t": line["t"], "column": "batch", "scope": scope}
                    start = {"event": "start", "reads": [[min(batch), max(batch) + 1]]}
                    lines[place + 1 : place + 1] = [run | start, run | {"event": "complete"}]
                    return _numbered(lines)
    return lines


def _started(lines: Lines, scope: int) -> bool:
    return any(line.get("column") == "batch" and line.get("scope") == scope for line in lines)


@mutant("row groups count from the first open row after a resume")
def counts_groups_from_the_resume(lines: Lines) -> Lines:
    first = 0
    for line in lines:
        if line.get("event") == "resume":
            first = min(line["claim"].values()) % 2
        elif line.get("event") == "admit" and first:
            start, stop = _rows(line)
            line["rows"] = [start + first, stop + first if stop < 7 else stop]
    return lines


@mutant("a range reports a row again with the next one")
def range_reports_a_row_again(lines: Lines) -> Lines:
    made: Lines = []
    open_range: tuple[int, int] | None = None
    for line in lines:
        if line.get("column") == "many" and line["event"] == "start":
            start, stop = _rows(line)
            open_range = (start, stop) if stop - start > 1 else None
        made.append(line)
        if open_range and line.get("column") == "many" and line["event"] == "complete":
            made.append(dict(line))
            open_range = None
    return _numbered(made)


@mutant("a call is reported started when it is queued, before its row group is admitted")
def starts_before_admission(lines: Lines) -> Lines:
    for place in range(1, len(lines) - 1):
        one, two = lines[place], lines[place + 1]
        if one["event"] == "admit" and two.get("event") == "start" and one["t"] == two["t"]:
            lines[place], lines[place + 1] = two, one
            break
    return _numbered(lines)


@mutant("a resume reports the drops of the whole file, covered by its claim or not")
def reports_all_drops(lines: Lines) -> Lines:
    dropped: set[int] = set()
    for line in lines:
        if line.get("event") == "drop":
            dropped.update(range(*_rows(line)))
        elif line.get("event") == "resume":
            line["dropped"] = [[row, row + 1] for row in sorted(dropped)]
    return lines


@mutant("a group is admitted only when the next event comes, a moment late")
def admits_late(lines: Lines) -> Lines:
    for place in range(2, len(lines) - 2):
        line, later = lines[place], lines[place + 1]
        if line["event"] == "admit" and later["t"] == line["t"]:
            moved = next((n for n in range(place, len(lines) - 1) if lines[n]["t"] > line["t"]), 0)
            if moved:
                line["t"] = lines[moved]["t"]
                lines.insert(moved + 1, line)
                del lines[place]
                break
    return _numbered(lines)


def _at_first_failure(lines: Lines, more: Lines) -> Lines:
    """Events at the moment of the first failure, after it."""
    for place, line in enumerate(lines):
        if line.get("event") == "fail":
            lines[place + 1 : place + 1] = [{"t": line["t"], **one} for one in more]
            break
    return _numbered(lines)


@mutant("after the first failure the engine pauses, and leaves open for how long")
def pauses_for_ever(lines: Lines) -> Lines:
    return _at_first_failure(lines, [{"event": "pause"}])


@mutant("after the first failure a pause is reported, and what is in line starts all the same")
def starts_during_a_pause(lines: Lines) -> Lines:
    return _at_first_failure(lines, [{"event": "pause", "until": 1e6}])


@mutant("a pause is reported again and again, long after the failure that was its cause")
def pauses_without_a_cause(lines: Lines) -> Lines:
    again = [{"event": "pause", "until": 0.0}, {"event": "pause", "until": 0.0}]
    return _at_first_failure(lines, again)


@mutant("an engine that promises that no node is overtaken takes whichever is ready")
def starves_what_was_ready_first(lines: Lines) -> Lines:
    return [lines[0] | {"trace": 2, "bypass": 0}, *lines[1:]]


@mutant("an engine that promises nothing sleeps beside ready work when its last call has ended")
def sleeps_after_the_last_call(lines: Lines) -> Lines:
    lines[0]["claims"] = ["core"]
    running = late_s = 0
    last = ""
    for line in lines[1:-1]:
        kind = line["event"]
        late_s += kind == "start" and not running and last == "complete"
        running = 0 if kind == "crash" else running + (kind == "start")
        running -= kind in ("complete", "fail", "cancel") and "rows" in line
        last = kind
        line["t"] += late_s
    return lines


@cache
def _run(number: int) -> tuple[str, ...]:
    """The lines of a right run: a function of the number alone."""
    graph = everything()
    limits = Limits(
        workers=3,
        resources=EVERYTHING_LIMITS.resources,
        column_resource=EVERYTHING_LIMITS.column_resource,
        group_rows=2 if number % 2 else None,
    )
    header, events = toy_run(graph, limits, FailurePolicy(max_attempts=2), seed=number)
    with TemporaryDirectory() as folder:
        path = write_trace(Path(folder, "run.jsonl"), header, events)
        return tuple(path.read_text(encoding="utf-8").splitlines())


def trace_breaks(change: Callable[[Lines], Lines], number: int, waive: Collection[str] = ()) -> str:
    """The clause that a changed trace breaks; "" if none."""
    lines = change([json.loads(line) for line in _run(number)])
    with TemporaryDirectory() as folder:
        path = Path(folder, "run.jsonl")
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        result = check_file(path, waive=waive)
    return result.violations[0].clause if result.violations else ""


def measure_trace(mutant: TraceMutant) -> EngineRow:
    """One mutant, judged, and judged again without the clause that caught it."""

    def first(waive: Collection[str]) -> tuple[str, int]:
        for number in range(1, RUNS + 1):
            clause = trace_breaks(mutant.change, number, waive)
            if clause:
                return clause, number
        return "", 0

    clause, number = first(())
    after = first((clause,))[0] if clause else ""
    return EngineRow(
        mutant.name, mutant.wrong, clause, number, f"then {after}" if after else "survives"
    )
