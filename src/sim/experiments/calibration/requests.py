"""Requests as logs hold them: LiteLLM's, OpenTelemetry's spans of ``gen_ai``, and CSV.

Each reader gives one `Request` a call, with all its fields, so that one of them can say whose call
it is. What a log says of a failure is brought to the kinds that a scenario knows (`ending_of`).

LiteLLM writes a `StandardLoggingPayload` for each call, and its proxy a row of spend logs; the two
name start, end, tokens and status alike. OpenTelemetry's conventions have renamed the attributes of
tokens since version 1.27 (``prompt_tokens`` to ``input_tokens``, ``completion_tokens`` to
``output_tokens``); both are read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cellspec.errors import SpecError
from cellspec.text import did_you_mean, listed_names
from sim.experiments.calibration.record import Ending

__all__ = ["ROLES", "Request", "csv_requests", "ending_of", "litellm_requests", "span_requests"]


@dataclass(slots=True)
class Request:
    """One request of a log.

    Attributes:
        start_s: seconds since 1970, or of the log's own clock; None if the log does not tell.
        seconds: how long it took; None if the log does not tell.
        failure: how it failed; None if it ended well.
        named: the log names the kind of its failure.
        resource: the model that was asked; "" if the log does not tell.
        tokens: of the prompt and of the answer; None where the log does not tell.
        first_token_s: seconds to the first token; None if the log does not tell.
        cached: it was answered from a cache.
        fields: all that the log says of it.
    """

    start_s: float | None = None
    seconds: float | None = None
    failure: Ending | None = None
    named: bool = True
    resource: str = ""
    tokens: tuple[float | None, float | None] = (None, None)
    first_token_s: float | None = None
    cached: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


_BY_NAME: Final[tuple[tuple[str, Ending], ...]] = (
    (r"rate.?limit|too.?many|throttl|overload|quota|429", "back_pressure"),
    (r"time.?d?.?out|connection|unavailable|internal.?server|server.?error|5\d\d", "retryable"),
    (r"bad.?request|auth|permission|not.?found|invalid|content|unprocess|4\d\d", "permanent"),
)


def ending_of(code: object, name: str = "") -> tuple[Ending, bool]:
    """The kind of a failure, and whether the log names it; retryable if it does not.

    Args:
        code: a status of HTTP, or any other word for the error.
        name: the class of the error.
    """
    number = _number(code)
    if number is not None and 400 <= number < 600:
        if number == 429:
            return "back_pressure", True
        return ("retryable" if number >= 500 or number == 408 else "permanent"), True
    for pattern, kind in _BY_NAME:
        if re.search(pattern, f"{name} {code or ''}", re.IGNORECASE):
            return kind, True
    return "retryable", False


# LiteLLM


def litellm_requests(records: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[Request]:
    """The requests of LiteLLM's logs.

    Args:
        records: each with where it stands, for errors.

    Raises:
        SpecError: a record without a start or an end.
    """
    for where, record in records:
        data = {key: _unpacked(value) for key, value in record.items()}
        start_s, end_s = (_moment(where, data, name) for name in ("startTime", "endTime"))
        failure, named = None, True
        if str(data.get("status") or "success") == "failure":
            metadata = data.get("metadata")
            inner = metadata.get("error_information") if isinstance(metadata, Mapping) else None
            error = data.get("error_information") or inner or {}
            failure, named = ending_of(error.get("error_code"), str(error.get("error_class") or ""))
        first = data.get("completionStartTime")
        first_s = None if first in (None, "") else _moment(where, data, "completionStartTime")
        yield Request(
            start_s,
            end_s - start_s,
            failure,
            named,
            str(data.get("model_group") or data.get("model") or ""),
            (_number(data.get("prompt_tokens")), _number(data.get("completion_tokens"))),
            # Of an answer that came at once the log gives the end.
            None if first_s is None or first_s >= end_s else first_s - start_s,
            data.get("cache_hit") is True or data.get("cache_hit") == "True",
            data,
        )


def _unpacked(value: Any) -> Any:
    """A value of a table's column that holds JSON, as what it holds."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _moment(where: str, data: Mapping[str, Any], name: str) -> float:
    found = _time_of(data.get(name))
    if found is None:
        raise SpecError(
            f"{where}: {name}: expected seconds since 1970 or a date and time, got "
            f"{data.get(name)!r}"
        )
    return found


# OpenTelemetry

_CALLS = frozenset({"", "chat", "text_completion", "generate_content", "embeddings"})
"""Operations of ``gen_ai`` that are a call of a model; others are agents and tools."""

_ATTRIBUTES: Final = (
    ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
)


def span_requests(documents: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[Request]:
    """The calls of models among OpenTelemetry's spans.

    Args:
        documents: messages of OTLP in JSON, each with where it stands, for errors.

    Raises:
        SpecError: a span without a start or an end.
    """
    spans = list(_spans(documents))
    by_id = {span.get("spanId"): (attributes, span) for _, span, attributes in spans}
    for where, span, attributes in spans:
        if not any(name.startswith("gen_ai.") for name in attributes):
            continue
        if str(attributes.get("gen_ai.operation.name") or "") not in _CALLS:
            continue
        model = attributes.get("gen_ai.request.model") or attributes.get("gen_ai.response.model")
        if model is None:
            continue
        start_s, end_s = (_nanoseconds(where, span, f"{x}TimeUnixNano") for x in ("start", "end"))
        failure, named = None, True
        status = span.get("status") or {}
        kind = attributes.get("error.type")
        if kind is not None or status.get("code") in (2, "STATUS_CODE_ERROR"):
            failure, named = ending_of(kind, str(status.get("message") or ""))
        prompt, output = (_first_number(attributes, names) for names in _ATTRIBUTES)
        yield Request(
            start_s,
            end_s - start_s,
            failure,
            named,
            str(model),
            (prompt, output),
            fields=_with_ancestors(span, attributes, by_id),
        )


def _first_number(attributes: Mapping[str, Any], names: Iterable[str]) -> float | None:
    """The first attribute of some that is there."""
    found = (_number(attributes.get(name)) for name in names)
    return next((value for value in found if value is not None), None)


def _spans(
    documents: Iterable[tuple[str, Mapping[str, Any]]],
) -> Iterator[tuple[str, Mapping[str, Any], dict[str, Any]]]:
    """Every span, with where it stands and its attributes."""
    for where, document in documents:
        for resource in document.get("resourceSpans") or document.get("resource_spans") or ():
            shared = _attributes((resource.get("resource") or {}).get("attributes"))
            for scope in resource.get("scopeSpans") or resource.get("scope_spans") or ():
                for span in scope.get("spans") or ():
                    yield where, span, {**shared, **_attributes(span.get("attributes"))}


def _attributes(items: Iterable[Mapping[str, Any]] | None) -> dict[str, Any]:
    return {item.get("key", ""): _any_value(item.get("value") or {}) for item in items or ()}


def _any_value(value: Mapping[str, Any]) -> Any:
    """A value of OTLP, in which the type is the key."""
    if "intValue" in value:
        return int(value["intValue"])
    return next(iter(value.values()), None)


def _with_ancestors(
    span: Mapping[str, Any], attributes: Mapping[str, Any], by_id: Mapping[Any, Any]
) -> dict[str, Any]:
    """The attributes of a span and of those that it is within, with its name and its parent's."""
    found: dict[str, Any] = {"name": span.get("name")}
    chain, seen, here = [attributes], {span.get("spanId")}, span.get("parentSpanId")
    while here in by_id and here not in seen:
        seen.add(here)
        above, parent = by_id[here]
        found.setdefault("parent", parent.get("name"))
        chain.append(above)
        here = parent.get("parentSpanId")
    for each in reversed(chain):
        found.update(each)
    return found


def _nanoseconds(where: str, span: Mapping[str, Any], name: str) -> float:
    found = span.get(name)
    if not isinstance(found, int | str) or not str(found).isdigit():
        raise SpecError(
            f"{where}: span {span.get('name')!r}: {name}: expected nanoseconds since 1970, got "
            f"{found!r}"
        )
    return int(found) / 1e9


# CSV

ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "start": ("start", "start_time", "starttime", "timestamp", "time", "created_at"),
    "end": ("end", "end_time", "endtime"),
    "seconds": (
        "seconds",
        "duration",
        "latency",
        "response_time",
        "end_to_end_latency",
        "e2e_latency",
    ),
    "first_token": ("ttft", "time_to_first_token"),
    "failure": ("failure", "error", "error_code", "error_type", "status", "status_code"),
    "prompt_tokens": ("prompt_tokens", "input_tokens", "contexttokens", "input_length"),
    "output_tokens": (
        "output_tokens",
        "completion_tokens",
        "generatedtokens",
        "output_length",
    ),
    "resource": ("resource", "model"),
    "column": ("column",),
}
"""By role of a CSV's column, the names by which it is known; ``_s`` or ``_ms`` may follow."""

_UNITS: Final = {"_s": 1.0, "_ms": 1e-3, "_us": 1e-6, "_ns": 1e-9}
_WELL = frozenset({"", "ok", "success", "none", "null", "false", "completed", "stop", "0"})


def csv_requests(
    rows: Iterable[tuple[str, Mapping[str, str]]], given: Mapping[str, str]
) -> Iterator[Request]:
    """The requests of a CSV file.

    Args:
        rows: each with where it stands, for errors.
        given: by role, the name of the file's column, where it is said.

    Raises:
        SpecError: a column that is not there, or a value that is no number.
    """
    roles: dict[str, str] | None = None
    for where, row in rows:
        if None in row or None in row.values():
            raise SpecError(f"{where}: expected as many values as the first line has names")
        if roles is None:
            roles = _roles(where, list(row), given)
        start_s = _timed(where, row, roles, "start")
        end_s = _timed(where, row, roles, "end")
        failure, named = None, True
        said = row.get(roles.get("failure", ""), "") or ""
        code = _number(said)
        if said.strip().lower() not in _WELL and not (code is not None and 200 <= code < 300):
            failure, named = ending_of(said)
        seconds = _timed(where, row, roles, "seconds", failed=failure is not None)
        if seconds is None and start_s is not None and end_s is not None:
            seconds = end_s - start_s
        if start_s is None and end_s is not None and seconds is not None:
            start_s = end_s - seconds
        if seconds is not None and seconds < 0:
            raise SpecError(f"{where}: expected an end after its start, got {seconds:g} s")
        prompt, output = (
            _counted(where, row, roles, name, failed=failure is not None)
            for name in ("prompt_tokens", "output_tokens")
        )
        yield Request(
            start_s,
            seconds,
            failure,
            named,
            row.get(roles.get("resource", ""), "") or "",
            (prompt, output),
            _timed(where, row, roles, "first_token", failed=True),
            fields={**row, "column": row.get(roles.get("column", ""), "")},
        )


def _roles(where: str, names: list[str], given: Mapping[str, str]) -> dict[str, str]:
    """By role, the column of the file that has it."""
    found = {}
    for role, column in given.items():
        if column not in names:
            raise SpecError(
                f"{where}: --field {role}={column}: no such column{did_you_mean(column, names)}; "
                f"its columns are {listed_names(names)}"
            )
        found[role] = column
    known = {re.sub(r"_(s|ms|us|ns)$", "", name.lower()): name for name in reversed(names)}
    for role, words in ROLES.items():
        name = next((known[word] for word in words if word in known), None)
        if name is not None and role not in found and name not in found.values():
            found[role] = name
    if not found.keys() & {"seconds", "end", "prompt_tokens", "output_tokens"}:
        raise SpecError(
            f"{where}: no column is known to hold seconds, an end or tokens: its columns are "
            f"{listed_names(names)}; say it as --field seconds=NAME"
        )
    return found


def _timed(
    where: str,
    row: Mapping[str, str],
    roles: Mapping[str, str],
    role: str,
    *,
    failed: bool = False,
) -> float | None:
    """A time of a row in seconds, by the unit at the end of its column's name."""
    name = roles.get(role)
    if name is None:
        return None
    text = (row.get(name) or "").strip()
    value = _time_of(text)
    if value is None:
        if failed and not text:
            return None
        raise SpecError(f"{where}, column {name!r}: expected a time, got {text!r}")
    unit = next((each for end, each in _UNITS.items() if name.lower().endswith(end)), 1.0)
    return value * unit


def _counted(
    where: str, row: Mapping[str, str], roles: Mapping[str, str], role: str, *, failed: bool
) -> float | None:
    name = roles.get(role)
    if name is None:
        return None
    value = _number(row.get(name))
    if value is None and not failed:
        raise SpecError(f"{where}, column {name!r}: expected tokens, got {row.get(name)!r}")
    return value


def _number(given: object) -> float | None:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        value = float(given)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _time_of(given: object) -> float | None:
    """Seconds, from a number or from a date and time in ISO 8601; None for anything else."""
    value = _number(given)
    if value is not None or not isinstance(given, str):
        return value
    # Python takes six digits of a second, and some logs have seven.
    text = re.sub(r"(\.\d{6})\d+", r"\1", given.strip())
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
