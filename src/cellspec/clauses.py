"""The clause registry: every rule of the specification by number.

The rules themselves are data, in ``clauses.toml`` beside this module, so that a violation can be
explained wherever the package is installed. The chapters in ``specs/`` are made from it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

__all__ = ["Chapter", "Clause", "chapters", "clauses"]


@dataclass(frozen=True, slots=True)
class Clause:
    """One rule.

    Attributes:
        number: such as ``SCHED-01``; never used again for another rule.
        chapter: the chapter it stands in.
        level: ``MUST`` or ``SHOULD``.
        text: the rule, one sentence.
        intent: why it exists, one sentence.
        source: where it comes from.
        status: ``tested``, ``stochastic``, or ``untestable: …`` with the reason.
    """

    number: str
    chapter: str
    level: str
    text: str
    intent: str
    source: str
    status: str


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter of the specification: its name, title and one sentence about it.

    A clause belongs to the chapter that lists the first part of its number in `prefixes`.
    """

    name: str
    title: str
    about: str
    prefixes: tuple[str, ...]


@lru_cache(maxsize=1)
def _registry() -> dict[str, Any]:
    text = files("cellspec").joinpath("clauses.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@lru_cache(maxsize=1)
def clauses() -> Mapping[str, Clause]:
    """Every clause by number, in the order of the registry."""
    chapter_of = {prefix: chapter.name for chapter in chapters() for prefix in chapter.prefixes}
    return {
        number: Clause(
            number=number,
            chapter=chapter_of[number.partition("-")[0]],
            level=entry["level"],
            text=entry["text"],
            intent=entry["intent"],
            source=entry["source"],
            status=entry.get("status", "tested"),
        )
        for number, entry in _registry()["clause"].items()
    }


def chapters() -> list[Chapter]:
    """The chapters, in order."""
    return [
        Chapter(name, entry["title"], entry["about"], tuple(entry["prefixes"]))
        for name, entry in _registry()["chapter"].items()
    ]
