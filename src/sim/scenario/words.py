"""Words of messages about scenario files: values as they stand in YAML, names, and near misses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from cellspec.text import did_you_mean, listed_names

__all__ = ["given_words", "key_words", "unknown_name"]

_LONGEST = 60


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
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def key_words(key: object) -> str:
    """The key of a mapping as it stands in YAML."""
    if key is None:
        return "null"
    return str(key).lower() if isinstance(key, bool) else str(key)


def unknown_name(text: str, name: object, known: Iterable[str], what: str) -> str:
    """A message about an unknown name: the nearest known one, or else all of them.

    Args:
        text: says that the name is unknown.
        name: the name.
        known: the names that would have done.
        what: introduces the list of them.
    """
    names = list(known)
    return text + (did_you_mean(name, names) or f"; {what}: {listed_names(names)}")
