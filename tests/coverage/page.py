"""The page ``simulations/coverage.md``, section by section: a campaign takes minutes to hours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

__all__ = ["CAMPAIGNS", "PAGE", "page", "sections_of"]

PAGE = Path(__file__).parents[2] / "simulations" / "coverage.md"

CAMPAIGNS: Mapping[str, str] = {
    "precision": "Runs until a precision is reached",
    "compared": "Comparisons of two scenarios",
    "gains": "What common random numbers gain",
    "tuned": "Searches for the best settings",
}
"""By module of this package, the title of its section; in the order of the page."""

HEAD = """\
# How often an interval holds the truth

An interval of 95 % is to hold the true mean in 95 of 100 experiments. Whether it does is measured
here on scenarios whose true means follow from a formula. The seeds were fixed before: repetition
*r* of a campaign takes seeds from 1,000 *r* on, so that no run is in two repetitions.

`make coverage` measures everything again and writes this page;
`python -m tests.coverage --write precision` measures one section. The tests repeat a few
experiments of each.
"""


class Campaign(Protocol):
    """A module with a section of the page."""

    def section(self, jobs: int = 1) -> str:
        """Measure, and give the section."""


def sections_of(text: str) -> dict[str, str]:
    """The sections of a page, by title."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0].removeprefix("## "): part for part in parts}


def page(names: Collection[str], text: str, jobs: int) -> str:
    """The page, with some sections measured anew, and the others as they are.

    Args:
        names: of the campaigns that are run.
        text: the page as it is.
        jobs: runs at once.
    """
    found = sections_of(text)
    parts = [HEAD]
    for name, title in CAMPAIGNS.items():
        if name in names:
            module = cast("Campaign", import_module(f"tests.coverage.{name}"))
            parts.append(module.section(jobs))
        elif title in found:
            parts.append(found[title])
    return "\n".join(f"{part.strip()}\n" for part in parts)
