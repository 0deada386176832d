"""The JSON Schemas of the protocol's lines, made from the messages.

``python -m cellspec.engines.lines.schema specs/protocol`` writes one file for each direction. A
schema describes one line; ``specs/protocol/README.md`` says which line may follow which. The suite
accepts every line that a schema accepts, and also null for a field that may be left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cellspec.engines.lines import messages as m
from cellspec.exit_codes import FINE, Parser, run_command
from cellspec.files import write_files

__all__ = ["schema_files"]

_REFERENCE = "#/$defs/{name}"
_NODES = {"start", "cancel", "abandon", "take_back", "cooling", "complete", "fail", "recall"}


def schema_files() -> dict[str, str]:
    """The text of each file of ``specs/protocol`` that is a schema, by name."""
    ways: dict[str, tuple[Mapping[str, type[m.Line]], str]] = {
        "from-engine": (m.FROM_ENGINE, "the lines that an engine writes"),
        "to-engine": (m.TO_ENGINE, "the lines that an engine reads"),
    }
    return {
        f"{name}.schema.json": json.dumps(_schema(known, about), indent=2, ensure_ascii=False)
        + "\n"
        for name, (known, about) in ways.items()
    }


def _schema(known: Mapping[str, type[m.Line]], about: str) -> dict[str, Any]:
    _, parts = msgspec.json.schema_components(list(known.values()), ref_template=_REFERENCE)
    names = {line.__name__: kind for kind, line in known.items()}
    defs: dict[str, Any] = {}
    for name, part in parts.items():
        made = {key: _plain(value) for key, value in part.items() if key != "title"}
        made["properties"] = {field: _field(value) for field, value in part["properties"].items()}
        kind = names.get(name)
        if kind is not None:
            made["properties"]["event"] = {"const": kind}
            made.update(_fitting(kind))
        defs[name if kind is None else f"event_{kind}"] = made
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"cellspec line protocol {m.PROTOCOL_VERSION}: {about}, one line",
        "oneOf": [{"$ref": _REFERENCE.format(name=f"event_{kind}")} for kind in known],
        "$defs": defs,
    }


def _field(field: dict[str, Any]) -> dict[str, Any]:
    """A field; one that may be left out cannot be null."""
    plain: dict[str, Any] = _plain(field)
    if "default" in plain and plain.pop("default") is None:
        plain["anyOf"] = [option for option in plain["anyOf"] if option != {"type": "null"}]
        if len(plain["anyOf"]) == 1:
            plain.update(plain.pop("anyOf")[0])
    return plain


def _plain(value: Any) -> Any:
    """Add the bounds that msgspec leaves out: a row is 0 or more."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(item) for key, item in value.items()}
    if plain == {"type": "integer"}:
        plain |= {"minimum": 0, "maximum": 2**53 - 1}
    return plain


def _fitting(kind: str) -> dict[str, Any]:
    """The fields that fit together in one line: `misfit` of the messages, as a schema."""
    if kind == "commit_begin":
        rows = _has("rows", without=["claim"])
        return {"oneOf": [rows, _has("claim", without=["rows", "column"])]}
    if kind == "hello":
        group: dict[str, Any] = {"properties": {"group": {"const": True}}, "required": ["group"]}
        one: dict[str, Any] = {"oneOf": [group, {"required": ["rows"]}, {"required": ["seconds"]}]}
        return {"allOf": [{"properties": {"saving": one}}]}
    if kind not in _NODES:
        return {}
    cell = _has("rows", without=["scope"])
    barrier = _has("scope", without=["rows"])
    if kind == "complete":
        cell = _has("rows", without=["scope", "values"])
        cell["oneOf"] = [{"required": ["value"]}, {"required": ["rejected"]}]
        barrier = _has("scope", "values", without=["rows", "value"])
    elif kind == "recall":
        cell = _has("rows", "value", without=["scope", "reads", "values"])
        cell["properties"] = {"inputs": {"type": "object"}}
        barrier = _has("scope", "reads", "values", without=["rows", "value"])
        barrier["properties"] = {"inputs": {"type": "array"}}
    elif kind == "start":
        each = {"inputs": {"type": "array"}}
        one = {"rows": {"type": "integer"}, "inputs": {"type": "object"}}
        several = {"rows": {"type": "array"}, **each}
        cell = _has("rows", without=["scope", "reads"])
        cell["anyOf"] = [{"properties": one}, {"properties": several}]
        barrier = _has("scope", "reads", without=["rows"])
        barrier["properties"] = each
    return {"oneOf": [cell, barrier]}


def _has(*names: str, without: Sequence[str]) -> dict[str, Any]:
    """An object that has some fields, and none of others."""
    return {
        "required": list(names),
        "not": {"anyOf": [{"required": [name]} for name in without]},
    }


def main(arguments: list[str]) -> int:
    """Write the schemas into the folder that is named; an exit code of `cellspec.exit_codes`."""
    parser = Parser(
        prog="python -m cellspec.engines.lines.schema",
        description="Write the JSON Schemas of the line protocol.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder to write to")

    def command() -> int:
        write_files(parser.parse_args(arguments).folder, schema_files())
        return FINE

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
