"""Where two scenarios say different things, field by field, in the words of ``--set``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sim.scenario.scenario import Scenario

__all__ = ["differences"]

_NO_MATTER = frozenset({"name", "description", "source", "seed"})
"""Fields that decide nothing of a run, and the seed, which is that of the run."""


def differences(a: Scenario, b: Scenario) -> dict[str, tuple[Any, Any]]:
    """By field, what each of two scenarios has, as JSON has it; None where one lacks the field.

    Columns, and other items that have a name, are told apart by it: ``columns.judge.retries``.
    Files that have one path and not one content are named as *content of files*, with the digests
    of both scenarios.

    Raises:
        SpecError: a file of a scenario cannot be read any more.
    """
    mine, others = (
        one.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=set(_NO_MATTER))
        for one in (a, b)
    )
    found = dict(_differing("", mine, others))
    if not found and a.digest() != b.with_seed(a.seed).digest():
        found["content of files"] = (a.digest(), b.with_seed(a.seed).digest())
    return found


def _differing(path: str, a: Any, b: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if a == b:
        return
    mine, others = _fields(a), _fields(b)
    if mine is None or others is None:
        yield path, (a, b)
        return
    for name in dict.fromkeys([*mine, *others]):
        yield from _differing(f"{path}.{name}" if path else name, mine.get(name), others.get(name))


def _fields(value: Any) -> Mapping[str, Any] | None:
    """What a value has within it, by name; None if it has no names."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(_is_named(one) for one in value):
        return {one["name"]: {key: one[key] for key in one if key != "name"} for one in value}
    return None


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)
