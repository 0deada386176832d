"""The requests of a CSV file, whose columns are known by their names, or said.

Names are compared without case, spaces and underscores, and the unit may stand at their end:
``latency_ms``, ``Latency (ms)`` and ``latencyMs`` are one name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cellspec.errors import SpecError
from cellspec.text import did_you_mean, listed_names
from sim.experiments.calibration.record import Ending
from sim.experiments.calibration.requests import (
    Omitted,
    Request,
    ending_of,
    moment_of,
    number_of,
    span_of,
)

__all__ = ["ROLES", "csv_requests"]

ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "start": ("start", "starttime", "startedat", "timestamp", "time", "createdat"),
    "end": ("end", "endtime", "endedat", "finishedat", "completedat"),
    "seconds": (
        "seconds",
        "duration",
        "latency",
        "responsetime",
        "endtoendlatency",
        "e2elatency",
        "elapsed",
    ),
    "first_token": ("ttft", "timetofirsttoken"),
    "failure": ("failure", "error", "errorcode", "errortype", "status", "statuscode"),
    "prompt_tokens": ("prompttokens", "inputtokens", "contexttokens", "inputlength"),
    "output_tokens": ("outputtokens", "completiontokens", "generatedtokens", "outputlength"),
    "resource": ("resource", "model", "modelname"),
    "column": ("column",),
}
"""By role of a CSV's column, the names by which it is known; a unit may follow."""

_UNITS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("s", "sec", "secs", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millis", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "micros", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanos", "nanoseconds"), 1e-9),
}

_WELL = frozenset({"", "ok", "success", "none", "null", "false", "completed", "stop", "0"})

_Failure = tuple[Ending | None, bool]


def csv_requests(
    rows: Iterable[tuple[str, Mapping[str, str]]], given: Mapping[str, str], omitted: Omitted
) -> Iterator[Request]:
    """The requests of a CSV file.

    Args:
        rows: each with where it stands, for errors.
        given: by role, the name of the file's column, where it is said.
        omitted: counts those that ended well and have no time.

    Raises:
        SpecError: a column that is not there, or a value that is no number.
    """
    roles: dict[str, list[str]] | None = None
    for where, row in rows:
        if None in row or None in row.values():
            raise SpecError(f"{where}: expected as many values as the first line has names")
        if roles is None:
            roles = _roles(where, list(row), given)
        start_s, end_s, seconds, first_s = (
            _timed(where, row, roles, role) for role in ("start", "end", "seconds", "first_token")
        )
        failure, named = _failure(row, roles)
        if seconds is None and start_s is not None and end_s is not None:
            seconds = span_of(where, start_s, end_s)
        if start_s is None and end_s is not None and seconds is not None:
            start_s = end_s - seconds
        if seconds is not None and seconds < 0:
            raise SpecError(f"{where}: expected seconds from 0 on, got {seconds:g}")
        if failure is None and _lacks(roles, start_s, seconds):
            omitted.add("request without its times", "requests without their times", where)
            continue
        prompt, output = (_counted(where, row, roles, f"{x}_tokens") for x in ("prompt", "output"))
        names = {role: row.get(each[0], "") for role, each in roles.items()}
        yield Request(
            start_s,
            seconds,
            failure,
            named,
            names.get("resource", ""),
            (prompt, output),
            first_s,
            fields={**row, "column": names.get("column", "")},
        )


def _lacks(roles: Mapping[str, object], start_s: float | None, seconds: float | None) -> bool:
    """Whether a row lacks a time that the file has."""
    has_end = bool(roles.keys() & {"seconds"}) or {"start", "end"} <= roles.keys()
    has_start = "start" in roles or {"end", "seconds"} <= roles.keys()
    return (has_end and seconds is None) or (has_start and start_s is None)


def _failure(row: Mapping[str, str], roles: Mapping[str, list[str]]) -> _Failure:
    """How a request failed, by the columns that may say so, and whether the kind is named."""
    found: _Failure = None, True
    for name in roles.get("failure", ()):
        said = row[name].strip()
        code = number_of(said)
        if said.lower() in _WELL or (code is not None and 200 <= code < 400):
            continue
        one = ending_of(said)
        # One column may say that it failed, and another one how.
        if found[0] is None or (one[1] and not found[1]):
            found = one
    return found


def _plain(name: str) -> tuple[str, float | None]:
    """A column's name as it is compared, and the unit at its end; None without one."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    lower = [word.lower() for word in words]
    scale = _UNITS.get(lower[-1]) if len(lower) > 1 else None
    return "".join(lower if scale is None else lower[:-1]), scale


def _roles(where: str, names: list[str], given: Mapping[str, str]) -> dict[str, list[str]]:
    """By role, the columns of the file that have it: one, or several that may tell a failure."""
    found: dict[str, list[str]] = {}
    for role, column in given.items():
        if column not in names:
            raise SpecError(
                f"{where}: --field {role}={column}: no such column{did_you_mean(column, names)}; "
                f"its columns are {listed_names(names)}"
            )
        found[role] = [column]
    taken = set(given.values())
    known: dict[str, str] = {}
    for name in names:
        if name not in taken:
            known.setdefault(_plain(name)[0], name)
    for role, words in ROLES.items():
        mine = [known[word] for word in words if word in known]
        if mine and role not in found:
            found[role] = mine if role == "failure" else mine[:1]
    if not found.keys() & {"seconds", "end", "prompt_tokens", "output_tokens"}:
        raise SpecError(
            f"{where}: no column is known to hold seconds, an end or tokens: its columns are "
            f"{listed_names(names)}; say it as --field seconds=NAME"
        )
    return found


def _timed(
    where: str, row: Mapping[str, str], roles: Mapping[str, list[str]], role: str
) -> float | None:
    """A time of a row in seconds, by the unit in its column's name; None where there is none."""
    if role not in roles:
        return None
    name = roles[role][0]
    text, scale = row[name].strip(), _plain(name)[1]
    if not text:
        return None
    value = number_of(text) if scale is not None or role in ("seconds", "first_token") else None
    if value is not None:
        return value * (scale or 1.0)
    value = moment_of(text) if role in ("start", "end") else None
    if value is None:
        raise SpecError(f"{where}, column {name!r}: expected a time, got {text!r}")
    return value


def _counted(
    where: str, row: Mapping[str, str], roles: Mapping[str, list[str]], role: str
) -> float | None:
    if role not in roles:
        return None
    name = roles[role][0]
    text = row[name].strip()
    value = number_of(text)
    if text and (value is None or value < 0):
        raise SpecError(f"{where}, column {name!r}: expected tokens, got {text!r}")
    return value
