"""The requests of LiteLLM's logs.

LiteLLM writes a `StandardLoggingPayload` for each call, and its proxy a row of spend logs; the two
name start, end, tokens and status alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cellspec.errors import SpecError
from sim.experiments.calibration.requests import (
    Omitted,
    Request,
    ending_of,
    moment_of,
    number_of,
    span_of,
)

__all__ = ["litellm_requests"]

_IDS = ("id", "request_id", "litellm_call_id")


def litellm_requests(
    records: Iterable[tuple[str, Mapping[str, Any]]], omitted: Omitted
) -> Iterator[Request]:
    """The requests of LiteLLM's logs.

    Args:
        records: each with where it stands, for errors.
        omitted: counts those without a start or an end, and copies of others.

    Raises:
        SpecError: a time that is none, or an end before its start.
    """
    seen = set()
    for where, record in _unwrapped(records):
        data = {key: _unpacked(value) for key, value in record.items()}
        start_s, end_s = (_moment(where, data, name) for name in ("startTime", "endTime"))
        if start_s is None or end_s is None:
            lacking = "startTime" if start_s is None else "endTime"
            omitted.add(f"request without {lacking}", f"requests without {lacking}", where)
            continue
        # Tries of one request share its id.
        copy = *(str(data.get(name)) for name in _IDS), start_s, end_s
        if copy in seen and any(data.get(name) for name in _IDS):
            omitted.add("copy of another request", "copies of other requests", where)
            continue
        seen.add(copy)
        failure, named = None, True
        if str(data.get("status") or "success") == "failure":
            failure, named = ending_of(*_error(data))
        first_s = _moment(where, data, "completionStartTime")
        yield Request(
            start_s,
            span_of(where, start_s, end_s),
            failure,
            named,
            str(data.get("model_group") or data.get("model") or ""),
            (number_of(data.get("prompt_tokens")), number_of(data.get("completion_tokens"))),
            # Of an answer that came at once the log gives the end.
            None if first_s is None or first_s >= end_s else first_s - start_s,
            data.get("cache_hit") is True or data.get("cache_hit") == "True",
            data,
        )


def _unwrapped(
    records: Iterable[tuple[str, Mapping[str, Any]]],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The records, also those of an answer of the proxy, which has them under ``data``."""
    for where, record in records:
        inner = record.get("data")
        if "startTime" not in record and isinstance(inner, list):
            for place, item in enumerate(inner, 1):
                if isinstance(item, Mapping):
                    yield f"{where}: data {place}", item
        else:
            yield where, record


def _unpacked(value: Any) -> Any:
    """A value of a table's column that holds JSON, as what it holds."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _error(data: Mapping[str, Any]) -> tuple[object, str]:
    """The code of an error, and what else names it."""
    metadata = data.get("metadata")
    inner = metadata.get("error_information") if isinstance(metadata, Mapping) else None
    error = data.get("error_information") or inner
    if isinstance(error, Mapping) and (error.get("error_code") or error.get("error_class")):
        return error.get("error_code"), str(error.get("error_class") or "")
    # Its first word is the class of the error; the rest is anybody's text.
    return None, str(data.get("error_str") or "").partition(":")[0]


def _moment(where: str, data: Mapping[str, Any], name: str) -> float | None:
    given = data.get(name)
    if given in (None, ""):
        return None
    found = moment_of(given)
    if found is None:
        raise SpecError(
            f"{where}: {name}: expected seconds since 1970 or a date and time, got {given!r}"
        )
    return found
