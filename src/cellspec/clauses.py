"""The clause registry: every rule of the specification by number.

The rules are data, in ``clauses.toml`` beside this module, so that a violation can be explained
wherever the package is installed. The chapters in ``specs/`` are made from that file. The set of
clauses has a version, which moves whenever a clause is added, reworded or retired; results and
traces say which set they were judged by.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

__all__ = [
    "Chapter",
    "Clause",
    "chapters",
    "clause_digest",
    "clause_set",
    "clause_set_data",
    "clause_set_version",
    "clauses",
    "clauses_of",
    "retired_clauses",
    "version_of",
]


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
        profile: the profile of the conformance suite that judges engines by it; "" for a rule
            about the classes of this package.
        needs: the capabilities that an engine must have beside the profile's to be judged by it.
    """

    number: str
    chapter: str
    level: str
    text: str
    intent: str
    source: str
    status: str = "tested"
    profile: str = ""
    needs: frozenset[str] = frozenset()


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
            profile=entry.get("profile", ""),
            needs=frozenset(entry.get("needs", ())),
        )
        for number, entry in _registry()["clause"].items()
    }


def clauses_of(profile: str) -> tuple[Clause, ...]:
    """The clauses that a profile judges engines by: chapter by chapter, then by number."""
    prefixes = [prefix for chapter in chapters() for prefix in chapter.prefixes]
    mine = [clause for clause in clauses().values() if clause.profile == profile]
    mine.sort(key=lambda one: (prefixes.index(one.number.partition("-")[0]), one.number))
    return tuple(mine)


def chapters() -> list[Chapter]:
    """The chapters, in order."""
    return [
        Chapter(name, entry["title"], entry["about"], tuple(entry["prefixes"]))
        for name, entry in _registry()["chapter"].items()
    ]


def retired_clauses() -> Mapping[str, str]:
    """Every number that is used no more, with the reason."""
    found: dict[str, str] = _registry()["retired"]
    return found


# The version of the set


def clause_set_version() -> str:
    """The version of this set of clauses, such as ``1``."""
    version: str = _registry()["version"]
    return version


@lru_cache(maxsize=1)
def clause_set() -> str:
    """The digest of all that judging follows from: the name of this set in a trace's header.

    That is each clause's number, level, text, status, profile and needs. The digest of version 1
    was made of numbers and texts alone; the registry holds it as it was published.
    """
    text = json.dumps([_what_judges(clause) for clause in clauses().values()])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def clause_digest(clause: Clause) -> str:
    """The digest of all that judging by a clause follows from.

    A user keeps the digests of all to see which clauses another version of cellspec adds or changes
    (`cellspec.conformance.campaign.pins`).
    """
    text = json.dumps(_what_judges(clause))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def clause_set_data() -> dict[str, str]:
    """The version and the digest of this set, as an output for programs carries them."""
    return {"version": clause_set_version(), "digest": clause_set()}


def _what_judges(clause: Clause) -> list[object]:
    needs = sorted(clause.needs)
    return [clause.number, clause.level, clause.text, clause.status, clause.profile, needs]


def version_of(digest: str) -> str:
    """The version of the set with this digest; "" if the registry does not know the digest."""
    digests: dict[str, str] = _registry()["digests"]
    return next((version for version, known in digests.items() if known == digest), "")
