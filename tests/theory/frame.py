"""The frame of a page that a program writes: a heading for each section, and how it is asked for.

A section is known by a word: ``python -m MODULE WORD`` prints it, ``--write`` writes the whole page
and ``--check`` compares it.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

__all__ = ["ROOT", "Frame", "table"]

ROOT = Path(__file__).parents[2]

T = TypeVar("T")


@dataclass(frozen=True)
class Frame(Generic[T]):
    """A page of sections.

    Attributes:
        module: that is run.
        path: of the page.
        top: what stands above the sections.
        sections: by word, the title and what gives the text.
        needs: what must be there, beside the checkout.
    """

    module: str
    path: Path
    top: str
    sections: Mapping[str, tuple[str, Callable[[T], str]]]
    needs: Sequence[Path]

    def parts(self, given: T, names: Sequence[str] = ()) -> Iterator[str]:
        """The sections of these names, or the page."""
        if not names:
            yield self.top
        for name in names or self.sections:
            title, section = self.sections[name]
            yield f"## {title}\n\n`python -m {self.module} {name}`\n\n{section(given)}"

    def parser(self, about: str | None) -> argparse.ArgumentParser:
        """What the page can be asked for."""
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}", description=about)
        choices = [*self.sections, []]
        parser.add_argument("sections", nargs="*", choices=choices, help="default: the page")
        parser.add_argument("--write", action="store_true", help=f"write {self.path.name}")
        parser.add_argument(
            "--check", action="store_true", help="compare the page; 1 if it differs"
        )
        return parser

    def asked(self, parser: argparse.ArgumentParser) -> argparse.Namespace:
        """What is asked for; ends the program if it cannot be given."""
        args = parser.parse_args()
        if args.sections and (args.write or args.check):
            parser.error("only the whole page is written and compared")
        for needed in self.needs:
            if not needed.exists():
                parser.exit(2, f"error: there is no {needed}\n")
        return args

    def answer(self, args: argparse.Namespace, given: T) -> int:
        """Print, write or compare what is asked for."""
        text = "\n\n".join(self.parts(given, args.sections)) + "\n"
        if args.check:
            return self._compared(text)
        if args.write:
            self.path.write_text(text, encoding="utf-8")
        else:
            sys.stdout.write(text)
        return 0

    def _compared(self, text: str) -> int:
        there = self.path.read_text(encoding="utf-8")
        lines: Iterable[str] = difflib.unified_diff(
            there.splitlines(), text.splitlines(), self.path.name, "now", lineterm=""
        )
        for line in lines:
            print(line)
        return int(there != text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """A table in Markdown, whose first columns hold words."""
    line = [" --- " if place < words else " ---: " for place in range(len(head))]
    return "\n".join(
        [f"| {' | '.join(head)} |", f"|{'|'.join(line)}|"] + [f"| {' | '.join(r)} |" for r in rows]
    )
