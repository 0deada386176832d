"""The pinned clauses of a user: those by which her engine is judged, whatever cellspec adds later.

    {"clause_pins": 1, "version": "3", "digest": "229c994c408ad9de",
     "clauses": {"SCHED-01": ["5a0f…", "A node starts only when …"], …},
     "goals": {"core": ["every worker was busy", …], …}}

A new version of cellspec may judge by more clauses, by other sentences, and may demand that a
campaign meets more coverage goals. Somebody who keeps this file beside her tests sees all of that
in each run, and her build fails by none of it until she pins the new set: she removes the file, and
the next run writes it again.

A clause counts as changed if anything changed that judging by it follows from
(`cellspec.clauses.clause_digest`). The sentences are in the file for people, who read what a
clause was.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cellspec.clauses import (
    clause_digest,
    clause_set,
    clause_set_version,
    clauses,
    retired_clauses,
)
from cellspec.conformance.judge.profiles import PROFILES, Profile
from cellspec.errors import SpecError

__all__ = ["PINS_FORMAT", "Pins", "pins_text", "read_pins"]

PINS_FORMAT = 1
"""The version of the file."""


@dataclass(frozen=True, slots=True)
class Pins:
    """The clauses and coverage goals that a file pins.

    Attributes:
        shown: the file, as the user named it.
        version: the version of the clause set when it was written.
        digests: by clause, the digest of what judging by it followed from.
        texts: by clause, its sentence.
        goals: by profile, the names of its coverage goals.
    """

    shown: str
    version: str
    digests: Mapping[str, str]
    texts: Mapping[str, str]
    goals: Mapping[str, Collection[str]]

    def is_new(self, clause: str) -> bool:
        """Whether the clause was added since."""
        return clause not in self.digests

    def is_changed(self, clause: str) -> bool:
        """Whether the clause was there, and judges otherwise now."""
        known, pinned = clauses().get(clause), self.digests.get(clause)
        return known is not None and pinned not in (None, clause_digest(known))

    @property
    def removed(self) -> dict[str, str]:
        """The clauses that are no more, each with the reason as far as it is known."""
        known, retired = clauses(), retired_clauses()
        return {
            number: retired.get(number, "this version of cellspec has no such clause")
            for number in self.digests
            if number not in known
        }

    def pinned(self, profile: Profile) -> Profile:
        """The profile with those of its coverage goals alone that are pinned."""
        known = self.goals.get(profile.name, ())
        return replace(profile, goals=tuple(one for one in profile.goals if str(one.what) in known))

    def compared(
        self, verdicts: Mapping[str, str], profiles: Collection[Profile]
    ) -> dict[str, Any]:
        """What is other than pinned, as JSON data.

        Args:
            verdicts: by clause, the verdict of this run.
            profiles: the profiles of which campaigns were run.
        """
        known = clauses()
        return {
            "file": self.shown,
            "version": self.version,
            "new": {number: word for number, word in verdicts.items() if self.is_new(number)},
            "changed": {
                number: {
                    "verdict": word,
                    "was": self.texts[number],
                    "is": known[number].text,
                }
                for number, word in verdicts.items()
                if self.is_changed(number)
            },
            "removed": self.removed,
            "goals": [
                f"{one.what} ({profile.name})"
                for profile in profiles
                for one in profile.goals
                if one not in self.pinned(profile).goals
            ],
        }


def pins_text() -> str:
    """The file that pins the clauses and the coverage goals of this version."""
    pairs = (
        f"  {json.dumps(number)}: "
        f"{json.dumps([clause_digest(clause), clause.text], ensure_ascii=False)}"
        for number, clause in clauses().items()
    )
    goals = (f"  {json.dumps(profile.name)}: {_listed(profile)}" for profile in PROFILES)
    return (
        f'{{"clause_pins": {PINS_FORMAT}, "version": {json.dumps(clause_set_version())}, '
        f'"digest": {json.dumps(clause_set())},\n'
        ' "clauses": {\n' + ",\n".join(pairs) + '},\n "goals": {\n' + ",\n".join(goals) + "}}\n"
    )


def _listed(profile: Profile) -> str:
    return json.dumps([str(one.what) for one in profile.goals], ensure_ascii=False)


def read_pins(path: Path, where: str, shown: str) -> Pins | None:
    """Read the file that pins clauses; None if there is none.

    Args:
        path: the file.
        where: the beginning of messages.
        shown: its name in reports.

    Raises:
        SpecError: it cannot be read or used.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SpecError(f"{where}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where}: not JSON: {error}") from None
    if not isinstance(found, dict) or "clause_pins" not in found:
        raise SpecError(
            f"{where}: expected a file that pins clauses; where there is no file, a run writes one"
        )
    if found["clause_pins"] != PINS_FORMAT:
        raise SpecError(
            f"{where}: clause_pins: expected {PINS_FORMAT}, got {found['clause_pins']!r}"
        )
    entries: Any = found.get("clauses")
    goals: Any = found.get("goals")
    for fault in _faults(entries, goals):
        raise SpecError(f"{where}: {fault}")
    return Pins(
        shown,
        str(found.get("version", "")),
        {number: digest for number, (digest, _) in entries.items()},
        {number: text for number, (_, text) in entries.items()},
        goals,
    )


def _faults(entries: object, goals: object) -> Iterator[str]:
    """What cannot be used in the two objects of the file."""
    if not isinstance(entries, dict) or not entries:
        yield f"clauses: expected an object with clauses, got {entries!r:.80}"
        return
    for number, entry in entries.items():
        if not _is_texts(entry) or len(entry) != 2:
            yield f"clauses: {number}: expected a digest and a sentence, got {entry!r:.80}"
    if not isinstance(goals, dict):
        yield f"goals: expected an object, got {goals!r:.80}"
        return
    for name, names in goals.items():
        if not _is_texts(names):
            yield f"goals: {name}: expected a list of names, got {names!r:.80}"


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
