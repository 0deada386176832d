"""The JSON Schema of a trace's lines, made from the types and the table of kinds.

``python -m cellspec.trace > specs/trace.schema.json`` writes it. The schema describes one line.
That the header comes first, the footer last, and that events are numbered without a gap, is beyond
a schema, and is clause TRACE-01. A reader takes all that the schema takes. A reader also takes null
for a field that may be left out.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from cellspec.trace.format import KINDS, Event, Footer, Header, fields_of

__all__ = ["schema", "schema_text"]

_REFERENCE = "#/$defs/{name}"


def schema() -> dict[str, Any]:
    """The schema of one line: header, event or footer."""
    (header, footer, event), parts = msgspec.json.schema_components(
        [Header, Footer, Event], ref_template=_REFERENCE
    )
    fields = parts.pop("Event")["properties"]
    events = {f"event_{kind}": _event(kind) for kind in KINDS}
    del event, fields["event"]
    parts["Footer"]["properties"]["footer"]["const"] = True
    references = [header, *({"$ref": _REFERENCE.format(name=name)} for name in events), footer]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cellspec trace, one line",
        "description": "A trace is JSON Lines in UTF-8: a header, then one event a line, numbered "
        "from 1 without a gap, then a footer that counts them.",
        "oneOf": references,
        "$defs": {
            **{name: _untitled(part) for name, part in sorted(parts.items())},
            **{f"field_{name}": _plain(name, field) for name, field in fields.items()},
            **events,
        },
    }


def _untitled(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "title"}


def _event(kind: str) -> dict[str, Any]:
    """An event of one kind: the fields that it may hold, and those that it must."""
    shape = KINDS[kind]
    own: dict[str, Any] = {
        name: {"$ref": _REFERENCE.format(name=f"field_{name}")} for name in fields_of(kind)
    }
    own["event"] = {"const": kind}
    made: dict[str, Any] = {
        "description": shape.about,
        "type": "object",
        "properties": own,
        "required": ["seq", "t", "event", *shape.needs],
        "additionalProperties": False,
    }
    if shape.node:
        made["oneOf"] = [
            {"required": ["rows"], "not": {"required": ["reads"]}},
            {"required": ["scope"]},
        ]
    if kind == "commit_begin":
        named = [{"required": ["rows"]}, {"required": ["column"]}]
        made["oneOf"] = [
            {"required": ["rows"], "not": {"required": ["claim"]}},
            {"required": ["claim"], "not": {"anyOf": named}},
        ]
    return made


def _plain(name: str, field: dict[str, Any]) -> dict[str, Any]:
    """A field of an event: left out at its default, so it is never null."""
    field = {key: value for key, value in field.items() if key != "default"}
    options = [option for option in field.pop("anyOf", []) if option != {"type": "null"}]
    if name == "rows":
        options[0] = {**options[0], "minimum": 0, "maximum": 2**53 - 1}
    if name == "claim":
        rows = options[0]["additionalProperties"]["anyOf"]
        rows[0] = {**rows[0], "minimum": 0, "maximum": 2**53 - 1}
    if name == "column":
        options = [{**options[0], "minLength": 1}]
    if len(options) == 1:
        return {**options[0], **field}
    return {**field, "anyOf": options} if options else field


def schema_text() -> str:
    """The schema as the file ``specs/trace.schema.json`` holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
