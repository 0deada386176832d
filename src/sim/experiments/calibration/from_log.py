"""The record of a run from a log of requests, and what such a log lacks.

A log knows requests and no pipeline: which row and column a call was for, what it waited for, and
which calls repeat a failed one. So the record's columns are what a field of the log tells apart,
none of them needs another, and each has as many rows as calls that ended well. Where a scenario of
the pipeline is at hand, its latencies are filled instead (`calibrate`).
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellspec.errors import SpecError
from cellspec.text import counted, did_you_mean, listed
from sim.experiments.calibration.csv_log import ROLES, csv_requests
from sim.experiments.calibration.from_trace import read_trace
from sim.experiments.calibration.litellm import litellm_requests
from sim.experiments.calibration.record import Call, Record, Source, most_at_once
from sim.experiments.calibration.requests import Omitted, Request
from sim.experiments.calibration.spans import span_requests

__all__ = ["LogOptions", "kind_of", "read_record"]

_NAMES: Mapping[Source, str] = {
    "litellm": "a log of LiteLLM",
    "opentelemetry": "spans of OpenTelemetry",
    "csv": "a CSV file of requests",
}
_FIELDS_SHOWN = 12
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What a user says of a log.

    Attributes:
        column_by: the field that says whose call a request is; None for the model.
        column: the column of all its calls; None if `column_by` says it.
        fields: of a CSV, by role the name of its column.
    """

    column_by: str | None = None
    column: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, column_by: str | None, column: str | None, fields: Sequence[str]) -> LogOptions:
        """The options from the words of the command line.

        Raises:
            SpecError: a role that is not known, or two options that exclude each other.
        """
        if column_by is not None and column is not None:
            raise SpecError("--column names the column of all calls; leave --column-by out")
        found = {}
        for text in fields:
            role, equals, name = text.partition("=")
            if not equals or not name:
                raise SpecError(f"--field: expected ROLE=NAME, got {text!r}")
            if role not in ROLES:
                near = did_you_mean(role, ROLES)
                raise SpecError(f"--field: no role {role!r}{near}; roles are {', '.join(ROLES)}")
            found[role] = name
        return cls(column_by, column, found)


def read_record(path: str | Path, kind: Source | None, options: LogOptions) -> Record:
    """The record of a trace or a log.

    Args:
        path: the file, perhaps compressed.
        kind: of file; None to see by its beginning.
        options: what the user says of a log.

    Raises:
        SpecError: it cannot be read, or says too little.
    """
    path = Path(path)
    try:
        found = kind or kind_of(path)
        if found == "trace":
            if options != LogOptions():
                text = "--column-by, --column and --field are for logs; a trace names its columns"
                raise SpecError(text)
            return read_trace(path)
        omitted = Omitted()
        requests = list(_requests(path, found, options, omitted))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(f"{path}: cannot be read: {reason}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 text: {error.reason}") from None
    if not requests:
        why = "; ".join(omitted.sentences) or f"expected {_NAMES[found]}"
        raise SpecError(f"{path}: no request in it: {why}")
    made = _record(str(path), found, requests, options)
    made.left_out[:0] = omitted.sentences
    return made


def kind_of(path: Path) -> Source:
    """The kind of a file, by its name and its beginning.

    Raises:
        SpecError: it is of none of them.
        OSError: it cannot be opened.
    """
    with _opened(path) as lines:
        head = lines.read(1 << 16).lstrip("\ufeff \r\n\t")
    first = head.partition("\n")[0]
    if head.startswith(("{", "[")):
        if '"trace":' in first and '"engine":' in first:
            return "trace"
        if any(word in head for word in ('"resourceSpans"', '"resource_spans"')):
            return "opentelemetry"
        if '"context"' in head and '"span_id"' in head:
            return "opentelemetry"
        if '"startTime"' in head and '"endTime"' in head:
            return "litellm"
    elif path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv")):
        return "csv"
    empty = "" if head else "the file is empty: "
    raise SpecError(
        f"{path}: {empty}expected a trace, a log of LiteLLM (JSON with startTime and endTime), "
        "spans of OpenTelemetry (OTLP in JSON) or a file named .csv; --from says which it is"
    )


def _opened(path: Path) -> Any:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    opened = gzip.open if packed else open
    return opened(path, "rt", encoding="utf-8-sig", newline="")


def _requests(path: Path, kind: Source, options: LogOptions, omitted: Omitted) -> Iterator[Request]:
    if kind == "csv":
        with _opened(path) as lines:
            first = lines.readline()
            lines.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            reader = csv.DictReader(lines, strict=True, delimiter=delimiter)
            try:
                rows = ((f"{path}:{reader.line_num}", row) for row in reader)
                yield from csv_requests(rows, options.fields, omitted)
            except csv.Error as error:
                raise SpecError(f"{path}:{reader.line_num}: no CSV: {error}") from None
        return
    read = litellm_requests if kind == "litellm" else span_requests
    yield from read(_objects(path, omitted), omitted)


def _objects(path: Path, omitted: Omitted) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The JSON objects of a file: one after the other, on a line or on several, or in an array."""
    with _opened(path) as lines:
        text = lines.read()
    decoder, line, done, end = json.JSONDecoder(), 1, 0, len(text.rstrip())
    place = len(text) - len(text.lstrip())
    while place < end:
        line, done = line + text.count("\n", done, place), place
        where = f"{path}:{line}"
        try:
            item, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            if done and "\n" not in text[place:end]:
                # Its writer may still be at it, or was stopped.
                omitted.add("line that is cut off", "lines that are cut off", where)
                return
            raise SpecError(f"{where}: expected a JSON object") from None
        if isinstance(item, list):
            for number, one in enumerate(item, 1):
                yield _object(f"{where}, item {number}", one)
        else:
            yield _object(where, item)
        while place < end and text[place].isspace():
            place += 1


def _object(where: str, item: Any) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(item, dict):
        raise SpecError(f"{where}: expected a JSON object")
    return where, item


# From requests to a record


def _record(source: str, kind: Source, requests: list[Request], options: LogOptions) -> Record:
    kept = [one for one in requests if not one.cached]
    if not kept:
        raise SpecError(f"{source}: all its requests were answered from a cache")
    names = _columns(source, kept, options)
    known = [(one, name) for one, name in zip(kept, names, strict=True) if name]
    has_times = all(one.seconds is not None for one, _ in known if one.failure is None)
    starts = [one.start_s for one, _ in known if one.failure is None]
    has_starts = has_times and None not in starts
    begin_s = 0.0
    if has_starts:
        begin_s = min((one.start_s for one, _ in known if one.start_s is not None), default=0.0)
    calls = [_call(one, name, begin_s, has_starts) for one, name in known]
    calls.sort(key=lambda call: call.end_s)
    made = Record(
        kind,
        _NAMES[kind],
        calls,
        {},
        _resources(known),
        makespan_s=max(call.end_s for call in calls) if has_starts else None,
        timed=has_times,
    )
    made.scenario = _scenario(Path(source), made, has_starts)
    _say_what_is_missing(made, requests, known, options, has_starts)
    return made


def _columns(source: str, requests: Sequence[Request], options: LogOptions) -> list[str]:
    """Whose call each request is; "" where its field is not there."""
    if options.column is not None:
        return [options.column] * len(requests)
    if options.column_by is None:
        return [_text(one.fields.get("column")) or one.resource or "call" for one in requests]
    found = [_text(_at(one.fields, options.column_by)) for one in requests]
    if not any(found):
        fields = sorted({name for one in requests[:100] for name in one.fields})
        near = did_you_mean(options.column_by, fields)
        raise SpecError(
            f"{source}: --column-by {options.column_by}: no request has this field{near}; they "
            f"have {listed(fields, _FIELDS_SHOWN)}"
        )
    return found


def _at(fields: Any, dotted: str) -> Any:
    """A field by its name, or by a path of names and places with dots between them."""
    if isinstance(fields, Mapping) and dotted in fields:
        return fields[dotted]
    name, dot, rest = dotted.partition(".")
    here = None
    if isinstance(fields, Mapping):
        here = fields.get(name)
    elif isinstance(fields, list) and name.isdigit() and int(name) < len(fields):
        here = fields[int(name)]
    return _at(here, rest) if dot and here is not None else here


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return "" if value is None else str(value)


def _resources(known: Sequence[tuple[Request, str]]) -> dict[str, str]:
    """By column, the model that most of its calls asked."""
    models: dict[str, Counter[str]] = {}
    for one, name in known:
        models.setdefault(name, Counter())[one.resource or name] += 1
    return {name: counts.most_common(1)[0][0] for name, counts in models.items()}


def _call(one: Request, name: str, begin_s: float, has_starts: bool) -> Call:
    start_s = 0.0 if one.start_s is None or not has_starts else one.start_s - begin_s
    return Call(
        name,
        start_s,
        start_s + (one.seconds or 0.0),
        one.failure,
        timed=one.seconds is not None,
        tokens=one.tokens,
        first_token_s=one.first_token_s,
    )


def _scenario(path: Path, made: Record, has_starts: bool) -> dict[str, Any]:
    columns = list(made.resources)
    well = Counter(call.column for call in made.calls if call.failure is None)
    limits = {
        resource: most_at_once(
            call for call in made.calls if made.resources[call.column] == resource
        )
        if has_starts
        else 1
        for resource in dict.fromkeys(made.resources.values())
    }
    return {
        "name": path.name.partition(".")[0] or "log",
        "rows": max(well.values(), default=1),
        "columns": [
            {"name": name, "traits": ["START", "CELL_BY_CELL"], "resource": made.resources[name]}
            for name in columns
        ],
        "limits": {"workers": sum(limits.values()), "resources": limits},
    }


def _say_what_is_missing(
    made: Record,
    requests: Sequence[Request],
    known: Sequence[tuple[Request, str]],
    options: LogOptions,
    has_starts: bool,
) -> None:
    """What the log does not tell, and what the user can say instead."""
    say = made.lacks.append
    if options == LogOptions(fields=options.fields) and not any(
        one.fields.get("column") for one in requests
    ):
        by = "the model" if any(one.resource for one in requests) else "nothing"
        say(f"whose call a request is: {by} tells them apart; --column-by FIELD, or --column NAME")
    say(
        "which row a call is for, and what it needs: no column needs another here, and the "
        "makespan is not predicted; --pipeline SCENARIO.yaml fills a scenario that knows"
    )
    if any(one.failure for one in requests):
        say("which calls repeat a failed one, and how long they waited")
    if not made.timed:
        say("how long a call took: only its tokens are fitted")
    elif not has_starts:
        say("when a call started: calls at once and makespan are not known; limits say 1 at once")
    cached = sum(one.cached for one in requests)
    if cached:
        made.left_out.append(f"{counted(cached, 'request')} answered from a cache")
    lost = len(requests) - cached - len(known)
    if lost:
        made.left_out.append(f"{counted(lost, 'request')} without the field {options.column_by!r}")
    unnamed = sum(not one.named for one, _ in known)
    if unnamed:
        words = counted(unnamed, "failure")
        made.left_out.append(f"the kind of {words}, which is not named: taken as retryable")
    if any(one.first_token_s is not None for one, _ in known):
        made.left_out.append("the time to the first token: a call's seconds are up to its end")
