"""Symptoms: what two violations have in common that look alike.

One bug of an engine breaks a clause again and again, each time in another cell and at another
moment. A *symptom* is the clause and the finding in words, without names, numbers and values. Where
an exception came out of the engine, its type and the function that raised it belong to the symptom.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cellspec.check.checker import Finding

__all__ = ["Symptom", "symptom_of"]

_FRAME = re.compile(r'File "(?:.*[/\\])?([^"/\\]+)", line \d+, in (\S+)')

_SPECIFIC = (
    (re.compile(r"'[^']*'|\"[^\"]*\"|<[^>]*>"), "…"),
    (re.compile(r"\b[\w.]+\[[^\]]*\]|\[[^\]]*\]|\([^)]*\)"), "…"),
    (re.compile(r"-?\b\d[\w.:+-]*"), "…"),
    (re.compile(r"\bbarrier … of …|\b(row|cell)s? …"), "…"),
    (re.compile(r"\b(call|row|time|run|event|cell|group|attempt|column|process)(e?s)?\b"), "…"),
    (re.compile(r"(?:[…,]|\b(?:and|of|no|is|are|was|were)\b|\s)+"), " "),
)
"""What differs between two violations of one kind, and what stands in its place."""


class Symptom(NamedTuple):
    """What violations have in common that look alike.

    Attributes:
        clause: the clause that broke.
        words: the finding without names, numbers and values.
        place: the file and function that raised the exception, if one came out; "" else.
    """

    clause: str
    words: str
    place: str = ""


def symptom_of(finding: Finding) -> Symptom:
    """The symptom of a violation."""
    words = finding.detail
    for pattern, instead in _SPECIFIC:
        words = pattern.sub(instead, words)
    frames = [found.groups() for line in finding.explanation if (found := _FRAME.search(line))]
    place = ":".join(frames[-1]) if frames else ""
    return Symptom(finding.clause, words.strip(), place)
