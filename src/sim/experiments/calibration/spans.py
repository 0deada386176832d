"""The calls of models among OpenTelemetry's spans: those with attributes of ``gen_ai``.

The conventions have renamed the attributes of tokens since version 1.27 (``prompt_tokens`` to
``input_tokens``, ``completion_tokens`` to ``output_tokens``); both are read. Spans come as messages
of OTLP in JSON, or as the SDK prints them itself (`ReadableSpan.to_json`).

Two libraries may tell one call: a framework, and the client that it calls. Then one span is within
the other, and the inner one is taken: it is one request; the outer one may hold several tries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cellspec.errors import SpecError
from cellspec.text import counted
from sim.experiments.calibration.requests import (
    Omitted,
    Request,
    ending_of,
    moment_of,
    number_of,
    span_of,
)

__all__ = ["span_requests"]

_CALLS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
"""Operations of ``gen_ai`` that are a call of a model; others are agents and tools."""

_MODELS: Final = ("gen_ai.request.model", "gen_ai.response.model")

_TOKENS: Final = (
    ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
)


@dataclass(frozen=True, slots=True)
class _Span:
    """A span, in one form, whoever wrote it.

    Attributes:
        where: it stands in the file.
        name: its name.
        own: its trace and its number.
        above: those of the span around it; None if it has none.
        times: its start and its end; None for one that is not there.
        error: its status says so.
        message: of its status.
        attributes: its own, over those of its resource.
    """

    where: str
    name: str
    own: tuple[str, str]
    above: tuple[str, str] | None
    times: tuple[float | None, float | None]
    error: bool
    message: str
    attributes: Mapping[str, Any]

    @property
    def operation(self) -> str | None:
        """What it does, if it calls a model; None if it does not."""
        operation = str(self.attributes.get("gen_ai.operation.name") or "")
        if operation:
            return operation if operation in _CALLS else None
        return "" if any(self.attributes.get(name) for name in _MODELS) else None


def span_requests(
    documents: Iterable[tuple[str, Mapping[str, Any]]], omitted: Omitted
) -> Iterator[Request]:
    """The calls of models among OpenTelemetry's spans.

    Args:
        documents: messages of OTLP in JSON, or spans of the SDK, each with where it stands.
        omitted: counts the calls without a start or an end, copies, and those around others.

    Raises:
        SpecError: a time that is none, an end before its start, or no span calls a model.
    """
    spans: dict[tuple[str, str], _Span] = {}
    for place, span in enumerate(_spans(documents)):
        key = span.own if span.own[1] else ("", str(place))
        if key not in spans:
            spans[key] = span
        elif span.operation is not None:
            omitted.add("copy of another span", "copies of other spans", span.where)
    calls = {key: span for key, span in spans.items() if span.operation is not None}
    if spans and not calls:
        raise SpecError(
            f"{next(iter(spans.values())).where}: none of {counted(len(spans), 'span')} calls a "
            f"model: expected gen_ai.operation.name to be one of {', '.join(sorted(_CALLS))}, or "
            "gen_ai.request.model"
        )
    around = _around(spans, calls)
    for key, span in calls.items():
        start_s, end_s = span.times
        if key in around:
            one = "span around another one of the same call"
            omitted.add(one, "spans around other ones of the same call", span.where)
        elif start_s is None or end_s is None:
            omitted.add("span without its start or its end", "spans without both times", span.where)
        else:
            yield _request(span, start_s, end_s, spans)


def _around(
    spans: Mapping[tuple[str, str], _Span], calls: Mapping[tuple[str, str], _Span]
) -> set[tuple[str, str]]:
    """The calls within which another span tells the same operation."""
    found: set[tuple[str, str]] = set()
    for key, span in calls.items():
        for above in _ancestors(span, spans):
            outer = calls.get(above)
            if outer is not None and above != key and span.operation in ("", outer.operation):
                found.add(above)
    return found


def _ancestors(span: _Span, spans: Mapping[tuple[str, str], _Span]) -> Iterator[tuple[str, str]]:
    """The spans around a span, the nearest first."""
    seen, here = {span.own}, span.above
    while here is not None and here in spans and here not in seen:
        yield here
        seen.add(here)
        here = spans[here].above


def _request(
    span: _Span, start_s: float, end_s: float, spans: Mapping[tuple[str, str], _Span]
) -> Request:
    attributes, failure, named = span.attributes, None, True
    kind = attributes.get("error.type")
    if kind is not None or span.error:
        failure, named = ending_of(kind, span.message)
    model = next((attributes[name] for name in _MODELS if attributes.get(name)), "")
    fields: dict[str, Any] = {"name": span.name}
    chain = [spans[key] for key in _ancestors(span, spans)]
    if chain:
        fields["parent"] = chain[0].name
    for each in (*reversed(chain), span):
        fields.update(each.attributes)
    prompt, output = (_first_number(attributes, names) for names in _TOKENS)
    seconds = span_of(f"{span.where}: span {span.name!r}", start_s, end_s)
    return Request(start_s, seconds, failure, named, str(model), (prompt, output), fields=fields)


def _first_number(attributes: Mapping[str, Any], names: Iterable[str]) -> float | None:
    """The first attribute of some that is there."""
    found = (number_of(attributes.get(name)) for name in names)
    return next((value for value in found if value is not None), None)


# Both forms


def _spans(documents: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[_Span]:
    """Every span."""
    for where, document in documents:
        if "context" in document and "start_time" in document:
            yield _sdk_span(where, document)
        for resource in document.get("resourceSpans") or document.get("resource_spans") or ():
            shared = _attributes((resource.get("resource") or {}).get("attributes"))
            for scope in resource.get("scopeSpans") or resource.get("scope_spans") or ():
                for span in scope.get("spans") or ():
                    yield _otlp_span(where, span, shared)


def _otlp_span(where: str, span: Mapping[str, Any], shared: Mapping[str, Any]) -> _Span:
    status, trace = span.get("status") or {}, str(span.get("traceId") or "")
    above = span.get("parentSpanId")
    return _Span(
        where,
        str(span.get("name") or ""),
        (trace, str(span.get("spanId") or "")),
        (trace, str(above)) if above else None,
        (
            _nanoseconds(where, span, "startTimeUnixNano"),
            _nanoseconds(where, span, "endTimeUnixNano"),
        ),
        status.get("code") in (2, "STATUS_CODE_ERROR"),
        str(status.get("message") or ""),
        {**shared, **_attributes(span.get("attributes"))},
    )


def _sdk_span(where: str, span: Mapping[str, Any]) -> _Span:
    context, status = span.get("context") or {}, span.get("status") or {}
    trace, above = str(context.get("trace_id") or ""), span.get("parent_id")
    times = []
    for name in ("start_time", "end_time"):
        given = span.get(name)
        times.append(None if given is None else moment_of(given))
        if given is not None and times[-1] is None:
            text = f"{where}: {name}: expected a date and time, got {given!r}"
            raise SpecError(text)
    shared = (span.get("resource") or {}).get("attributes") or {}
    return _Span(
        where,
        str(span.get("name") or ""),
        (trace, str(context.get("span_id") or "")),
        (trace, str(above)) if above else None,
        (times[0], times[1]),
        status.get("status_code") == "ERROR",
        str(status.get("description") or ""),
        {**shared, **(span.get("attributes") or {})},
    )


def _attributes(items: Iterable[Mapping[str, Any]] | None) -> dict[str, Any]:
    return {item.get("key", ""): _any_value(item.get("value") or {}) for item in items or ()}


def _any_value(value: Mapping[str, Any]) -> Any:
    """A value of OTLP, in which the type is the key."""
    if "intValue" in value:
        return int(value["intValue"])
    return next(iter(value.values()), None)


def _nanoseconds(where: str, span: Mapping[str, Any], name: str) -> float | None:
    found = span.get(name)
    if found in (None, "", 0, "0"):
        # OTLP's word for a time that is not known.
        return None
    if not isinstance(found, int | str) or not str(found).isdigit():
        raise SpecError(
            f"{where}: span {span.get('name')!r}: {name}: expected nanoseconds since 1970, got "
            f"{found!r}"
        )
    return int(found) / 1e9
