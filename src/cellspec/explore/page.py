"""The counts on the page ``specs/exploration.md``: written there by a run, and compared with it.

The page is prose with a table for each of the bounds, between two comments that name them. A run
writes its own table and leaves the rest alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellspec.errors import SpecError
from cellspec.files import write_files

if TYPE_CHECKING:
    from cellspec.explore.bounds import Configuration, Totals

__all__ = ["compare_page", "pinned", "write_page"]

Rows = Sequence[tuple["Configuration", "Totals"]]


def _marks(bounds: int) -> tuple[str, str]:
    return f"<!-- counts: bounds {bounds} -->\n", "<!-- end of counts -->\n"


def _table(bounds: int, rows: Rows) -> str:
    if bounds == 0:
        lines = [
            "| graph | rows | batch | rules | states | transitions | deepest | ends |",
            "| --- | --: | --: | --- | --: | --: | --: | --: |",
        ]
        lines += [
            f"| `{one.graph}` | {one.rows} | {one.batch or '–'} | {one.rules()} | "
            f"{totals.states:,} | {totals.transitions:,} | {totals.depth} | {totals.ends:,} |"
            for one, totals in rows
        ]
    else:
        lines = [
            "| columns | rows | batch | rules | graphs | explored | states | transitions | "
            "deepest | states of all graphs |",
            "| --- | --: | --: | --- | --: | --: | --: | --: | --: | --: |",
        ]
        lines += [
            f"| {one.columns} of {', '.join(one.kinds)} | {one.rows} | {one.batch or '–'} | "
            f"{one.rules()} | {totals.graphs:,} | {totals.classes:,} | {totals.states:,} | "
            f"{totals.transitions:,} | {totals.depth} | {totals.all_states:,} |"
            for one, totals in rows
        ]
    return "".join(line + "\n" for line in lines)


def _parts(path: Path, bounds: int) -> tuple[str, str, str]:
    """The page before the table of some bounds, the table, and the page after it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    begin, end = _marks(bounds)
    before, found, rest = text.partition(begin)
    table, closed, after = rest.partition(end)
    if not found or not closed:
        raise SpecError(f"{path}: expected the line {begin.strip()!r} and one {end.strip()!r}")
    return before + found, table, closed + after


def write_page(path: Path, bounds: int, rows: Rows) -> None:
    """Put the table of some bounds where it belongs.

    Raises:
        SpecError: the page lacks the two comments, or cannot be written.
    """
    before, _, after = _parts(path, bounds)
    write_files(path.parent, {path.name: f"{before}\n{_table(bounds, rows)}\n{after}"})


def pinned(path: Path, bounds: int) -> list[str]:
    """The lines of the table of some bounds, without its head."""
    return _parts(path, bounds)[1].strip().splitlines()[2:]


def compare_page(path: Path, bounds: int, rows: Rows) -> str:
    """The first difference between the page and a run, or "".

    Raises:
        SpecError: the page lacks the two comments.
    """
    expected = pinned(path, bounds)
    found = _table(bounds, rows).splitlines()[2:]
    for was, now in zip(expected, found, strict=False):
        if was != now:
            return f"expected {was}, found {now}"
    if len(expected) != len(found):
        return f"expected {len(expected)} lines of bounds {bounds}, found {len(found)}"
    return ""
