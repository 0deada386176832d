"""Words of messages: counts, rows, and the names of columns and nodes, each spelled in one way.

The name of a column is quoted where it stands as a word, because a column may be called *a* or
*is*; a cell is written ``a[3]`` and a range of cells ``a[3:7]``, as in case files and replay lines.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterable, Sequence

__all__ = [
    "be",
    "cell_words",
    "closest",
    "counted",
    "did_you_mean",
    "instants",
    "listed",
    "listed_names",
    "node_words",
    "noun",
    "quoted",
    "row_words",
    "seconds_of",
    "span_words",
    "table_lines",
]

SPANS_SHOWN = 8


def counted(number: int, what: str, plural: str = "") -> str:
    """How many of a thing there are: "1 row", "2,000 rows".

    Args:
        number: how many.
        what: one of them.
        plural: several of them; by default with an s.
    """
    return f"{number:,} {noun(number, what, plural)}"


def noun(number: int, what: str, plural: str = "") -> str:
    """The noun after a count: "row", "rows".

    Args:
        number: the count.
        what: one of them.
        plural: several of them; by default with an s.
    """
    return what if number == 1 else plural or f"{what}s"


def be(number: int) -> str:
    """The verb after a count: "is" or "are"."""
    return noun(number, "is", "are")


def listed_names(names: Iterable[str]) -> str:
    """Names in quotation marks, as in a list: "'a', 'b', 'c'"; "none" for an empty list."""
    return ", ".join(map(repr, names)) or "none"


def quoted(given: Iterable[str]) -> str:
    """Names in quotation marks, as in a sentence: "'a', 'b' and 'c'"; "none" without names."""
    words = [repr(name) for name in given]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]])) or "none"


def listed(words: Sequence[str], most: int) -> str:
    """The first few of some words, and how many more there are; "none" without words."""
    more = len(words) - most
    return (", ".join(words[:most]) or "none") + (f", and {more:,} more" if more > 0 else "")


def span_words(spans: Iterable[tuple[int, int]]) -> str:
    """Ranges ``[start, stop)`` of rows in the usual way of writing: "0–3, 5"; "none" if empty."""
    words = [f"{start}" if stop == start + 1 else f"{start}–{stop - 1}" for start, stop in spans]
    return (", ".join(words[:SPANS_SHOWN]) or "none") + (", …" if len(words) > SPANS_SHOWN else "")


def row_words(spans: Iterable[tuple[int, int]]) -> str:
    """Ranges of rows with their noun: "row 5", "rows 0–3, 5", "no row"."""
    known = list(spans)
    if not known:
        return "no row"
    single = len(known) == 1 and known[0][1] == known[0][0] + 1
    return f"{'row' if single else 'rows'} {span_words(known)}"


def cell_words(column: str, start: int, stop: int | None = None) -> str:
    """A cell, or a range of cells: "a[3]", "a[3:7]"."""
    return f"{column}[{start}]" if stop in (None, start + 1) else f"{column}[{start}:{stop}]"


def node_words(column: str, row: int | None = None, scope: int | None = None) -> str:
    """A node: "a[3]", or "barrier 0 of 'a'"."""
    return f"barrier {scope or 0} of {column!r}" if row is None else cell_words(column, row)


def table_lines(rows: Sequence[Sequence[str]], left: Container[int]) -> list[str]:
    """The lines of a table for a terminal, with two spaces between columns.

    Args:
        rows: the cells of each line, as many in each.
        left: the columns that are aligned to the left; others are aligned to the right.
    """
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_aligned(row, widths, left)) for row in rows]


def _aligned(row: Sequence[str], widths: Sequence[int], left: Container[int]) -> Iterable[str]:
    for place, (text, width) in enumerate(zip(row, widths, strict=True)):
        space = " " * (width - _width(text))
        yield text + space if place in left else space + text


def _width(text: str) -> int:
    """How many places a terminal gives a text: two for a wide letter, none for a mark above one."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def closest(name: object, known: Iterable[str], likeness: float = 0.75) -> str | None:
    """The known name that is spelled most like `name`, upper and lower case being one.

    Args:
        name: the given name; None is returned for a value that is not text.
        known: the names to choose from.
        likeness: how alike the two must be, from 0 to 1.
    """
    if not isinstance(name, str):
        return None
    # A program that is spelled right does without it.
    from difflib import get_close_matches

    folded = {item.casefold(): item for item in known if isinstance(item, str)}
    found = get_close_matches(name.casefold(), folded, 1, likeness)
    return folded[found[0]] if found else None


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of a message: "; did you mean 'model'?", or "" if all are unlike it."""
    found = closest(name, known)
    return "" if found is None else f"; did you mean {found!r}?"


def instants(*times: float) -> list[str]:
    """Moments of a run as a sentence names them, "0.5 s", with digits enough to tell them apart.

    Two moments may differ by a rounding alone; a sentence that says "then" shows that they do.

    Args:
        times: the moments, in seconds.
    """
    texts: list[str] = []
    for digits in (6, 9, 12, 15, 17):
        texts = [f"{t:.{digits}g} s" for t in times]
        if len(set(texts)) == len(set(times)):
            break
    return texts


def seconds_of(text: str) -> float | None:
    """The seconds that a length of time names: "2", "2s" or "2000ms"; None if it names none.

    A length is more than 0 and at most 1e9 seconds.
    """
    try:
        value = float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
    except ValueError:
        return None
    return value if 0 < value <= 1e9 else None
