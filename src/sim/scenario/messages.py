"""From faults to messages: the place, the expected value, and the given one.

A message reads ``s.yaml:7: columns 'b': latency.modle: no such field; did you mean 'model'?``. A
column is named by its name, and each other item of a list by its position. A fault of a value that
an option brought names the option, as in ``s.yaml: --set columns.b.latency.sigma: …``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import ValidationError

from cellspec.text import did_you_mean
from sim.scenario.strict import Fault
from sim.scenario.words import given_words, key_words
from sim.scenario.yaml_text import MOST, Document

__all__ = ["Place", "explain", "faults_of", "place_words"]

Place: TypeAlias = tuple[Any, ...]
"""Keys and positions that lead to a value in plain data."""

_TYPES = {
    "int_type": "an integer",
    "float_type": "a number",
    "string_type": "a string",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "finite_number": "a finite number",
    "string_too_short": "a string that is not empty",
    "too_short": "at least one item",
}
_NONE = object()
"""No key: a key may be None."""

_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def faults_of(error: ValidationError, data: Mapping[str, Any]) -> list[Fault]:
    """All that pydantic found, each at its place in the data that it looked at."""
    found = []
    for item in error.errors(include_url=False):
        kind = item["type"]
        context = item.get("ctx", {})
        kept = context["depth"] if kind == "field" else int(kind == "missing")
        where = _resolve(item["loc"], data, kept)
        # A list whose items are refused counts as empty, which nobody who reads the file sees.
        if kind != "too_short" or not item["input"]:
            text = _text(kind, context, item["input"], item["msg"])
            found.append(Fault(where, text, context.get("about", ())))
    return list(dict.fromkeys(found))


def _text(kind: str, context: Mapping[str, Any], given: Any, message: str) -> str:
    """The message of one fault; `message` is pydantic's, for kinds that are named nowhere here."""
    if kind == "field":
        return str(context["message"])
    if kind == "missing":
        return "is missing"
    got = f", got {given_words(given)}"
    if kind == "literal_error":
        known = str(context["expected"]).split("'")[1::2]
        return f"expected {context['expected']}{got}{did_you_mean(given, known)}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"expected {words} {context[key]:g}{got}"
    if (
        kind == "int_type"
        and isinstance(given, float)
        and given.is_integer()
        and abs(given) >= MOST
    ):
        return f"expected an integer of less than 2^63{got}"
    if kind in _TYPES:
        return f"expected {_TYPES[kind]}{got}"
    return f"{message.splitlines()[0]}{got}"


def _resolve(loc: Sequence[int | str], data: Any, kept: int) -> Place:
    """The parts of pydantic's location that stand in the file.

    Pydantic also names the alternative that it tried, such as the member of a union; this part is
    left out.

    Args:
        loc: the location.
        data: the data that was validated.
        kept: so many of the last parts stay, also if the file does not have them.
    """
    where: list[Any] = []
    here = data
    for depth, part in enumerate(loc):
        if isinstance(here, Mapping):
            key = _key(here, part)
            # A model may have a field of its own name; the name comes first.
            named = part == here.get("model") and part in loc[depth + 1 : depth + 2]
            if key is not _NONE and not named:
                # The words of a key lead to it in the file.
                where.append(part if key is None or isinstance(key, bool) else key)
                here = here[key]
                continue
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            where.append(part)
            here = here[part]
            continue
        if depth >= len(loc) - kept:
            where.append(part)
    return tuple(where)


def _key(mapping: Mapping[Any, Any], part: int | str) -> Any:
    """The key of a mapping that pydantic names so; `_NONE` if there is none."""
    if part in mapping and not isinstance(part, bool):
        return part
    # The key of a table may be a number that the file, as JSON does, writes as a string.
    return next((key for key in mapping if key_words(key) == key_words(part)), _NONE)


def place_words(where: Place, data: Any = None) -> str:
    """A place as people write it: ``limits.workers``, ``crashes[0]``, ``columns 'b': latency``.

    Args:
        where: the place.
        data: the scenario, where a column is to be named by its name.
    """
    prefixes = []
    for field in ("beside", "columns"):
        if len(where) < 2 or where[0] != field or not isinstance(data, Mapping):
            continue
        items, position = data.get(field), where[1]
        item = items[position] if isinstance(items, list) and position < len(items) else None
        name = item.get("name") if isinstance(item, Mapping) else None
        if isinstance(name, str) and name:
            prefixes.append(f"{field} {name!r}")
            where, data = where[2:], item
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) and (text or prefixes) else f".{part}"
    return ": ".join(filter(None, (*prefixes, text.removeprefix("."))))


def explain(
    faults: Sequence[Fault],
    path: object,
    document: Document,
    changed: Mapping[str, Place],
    *,
    data: Any = None,
    option: str = "--set ",
) -> list[str]:
    """The faults of a scenario as messages, by line, and then those of options.

    Args:
        faults: at least one.
        path: of the file.
        document: the file.
        changed: overrides, and the field that each one set.
        data: the file's data with the overrides; None without any.
        option: what stands before the path of an override; "" if overrides are no options.
    """
    data = document.data if data is None else data
    order = {one: place for place, one in enumerate(changed)}
    chosen = {one: place[:-1] for one, place in changed.items() if place[-1] == "model"}
    unknown = {
        place for place in chosen.values() if any(f.where == (*place, "model") for f in faults)
    }
    found = []
    for fault in faults:
        where = fault.where
        place = place_words(where, data)
        text = f"{place}: {fault.text}" if place else fault.text
        brought = [one for one in changed if _brought(changed[one], where, document)]
        if brought:
            brought_by = f"{option}{brought[-1]}: " if option else ""
            message = f"{path}: {brought_by}{text}"
            found.append((1, (order[brought[-1]], 0), message))
            continue
        if any(_holds(place, where) for place in unknown):
            # The option names no model, by which the file's own fields could be judged.
            continue
        inside = [
            f"{option}{one}"
            for one in changed
            if any(_holds(place, changed[one]) for place in (where, *fault.about) if place)
            or (one in chosen and _holds(chosen[one], where))
        ]
        if inside:
            text += f" (with {', '.join(inside)})"
        position = document.position(where)
        found.append((0, position, f"{path}:{position[0]}: {text}"))
    return [message for _, _, message in sorted(found, key=lambda item: item[:2])]


def _brought(option: Place, where: Place, document: Document) -> bool:
    """True if an option set the place, set something around it, or caused it to be made."""
    return _holds(option, where) or (
        bool(where) and _holds(where, option) and not document.has(where)
    )


def _holds(outer: Place, inner: Place) -> bool:
    """True if one place is the other, or around it."""
    return inner[: len(outer)] == outer
