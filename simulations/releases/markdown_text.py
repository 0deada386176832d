"""Pieces of Markdown: wrapped paragraphs, blocks, cells of tables, lists of places."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["block", "cell", "places", "wrapped"]


def wrapped(text: str, width: int = 100, indent: str = "") -> list[str]:
    """A paragraph as lines; long words and hyphens stay whole."""
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def block(lines: Sequence[str], language: str = "text") -> list[str]:
    """A fenced block, and a blank line after it."""
    return [f"```{language}", *(line.replace("```", "'''") for line in lines), "```", ""]


def cell(text: str) -> str:
    """The text for a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def places(listed: Iterable[tuple[str, str]]) -> str:
    """Releases and entry points in words: ``create on 0.9.6, 0.9.7``."""
    versions_of: dict[str, list[str]] = {}
    for version, entry_point in listed:
        versions_of.setdefault(entry_point, []).append(version)
    return "; ".join(
        f"{entry_point} on {', '.join(versions)}" for entry_point, versions in versions_of.items()
    )
