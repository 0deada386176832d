"""From pydantic's errors to messages: the field, what was expected, and what was given."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from sim.scenario.latency import LATENCY_MODELS

__all__ = ["explain_errors", "field_path", "given_words", "listed_names"]

_TYPES = {
    "int_type": "an integer",
    "float_type": "a number",
    "string_type": "a string",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
    "string_too_short": "a string that is not empty",
    "too_short": "at least one item",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def explain_errors(
    error: ValidationError, data: Mapping[str, Any], changed: Mapping[str, str]
) -> str:
    """The first of pydantic's errors as one line, and how many more there are.

    Args:
        error: what pydantic found.
        data: what it looked at.
        changed: overrides, and the field that each one set.
    """
    errors = error.errors(include_url=False)
    if any(item["type"] != "too_short" for item in errors):
        # A list whose items are refused counts as empty, which nobody who reads the file sees.
        errors = [item for item in errors if item["type"] != "too_short"]
    first = errors[0]
    kind, context = first["type"], first.get("ctx", {})
    where = _resolve(first["loc"], data, missing=kind == "missing")
    path = field_path(where)
    given = f", got {given_words(first['input'])}"
    if kind == "field":
        path = ".".join(x for x in (path, str(context["path"])) if x)
        text = str(context["message"])
    elif kind == "missing":
        text = "is missing"
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        path += ".model"
        tag = context.get("tag")
        given = f", got {given_words(tag)}" if tag is not None else ", got nothing"
        text = f"expected one of: {', '.join(LATENCY_MODELS)}{given}"
    elif kind == "literal_error":
        text = f"expected {context['expected']}{given}"
    elif kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        text = f"expected {words} {context[key]:g}{given}"
    elif kind in _TYPES:
        text = f"expected {_TYPES[kind]}{given}"
    else:
        text = f"{first['msg'].splitlines()[0]}{given}"
    notes = [f"--set {name}" for name, place in changed.items() if _related(place, path)]
    if notes:
        text += f" (with {', '.join(notes)})"
    if len(errors) > 1:
        text += f" (and {len(errors) - 1} more)"
    return f"{path}: {text}" if path else text


def _related(one: str, other: str) -> bool:
    """Whether one field holds the other, or is the other."""
    outer, inner = sorted((one, other), key=len)
    return bool(outer) and inner.startswith(outer) and inner[len(outer) :][:1] in ("", ".", "[")


def _resolve(loc: Sequence[int | str], data: Any, *, missing: bool) -> tuple[Any, ...]:
    """The parts of pydantic's location that stand in the file.

    Pydantic also names what it tried, such as the member of a union; those parts are left out.
    """
    where: list[Any] = []
    here = data
    for depth, part in enumerate(loc):
        if isinstance(here, dict):
            if part in here:
                where.append(part)
                here = here[part]
                continue
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            where.append(part)
            here = here[part]
            continue
        if missing and depth == len(loc) - 1:
            where.append(part)
    return tuple(where)


def field_path(where: Sequence[Any]) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) and text else f".{part}"
    return text.removeprefix(".")


def given_words(value: Any) -> str:
    """A value as it stands in a YAML file, on one short line."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    if isinstance(value, bool):
        text = text.lower()
    return text if len(text) <= 60 else f"{text[:57]}..."


def listed_names(names: Any) -> str:
    return ", ".join(repr(name) for name in names) or "none"
