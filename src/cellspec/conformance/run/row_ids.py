"""Row ids: the names by which an engine knows the rows of a dataset, in place of their numbers.

A workload, its clauses and its calls speak of row numbers: 0, 1, 2 … in the order of the dataset.
Engines in the field name rows by a key of their own: numbers with gaps, numbers in another order,
texts, texts that look like numbers. A backend with the capability ``row_ids`` gives its engine the
ids of a workload, and translates what the engine says of an id into the number of its row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

__all__ = ["RowId", "RowIds", "ids_of", "row_of"]

RowIds: TypeAlias = Literal["", "shuffled", "gappy", "text", "digits"]
"""How the ids of a workload look: ``"shuffled"`` for the row numbers in another order, ``"gappy"``
for rising numbers with gaps, ``"text"`` for texts, ``"digits"`` for texts of digits, several of
which are the same number (``"7"``, ``"07"``); ``""`` for the row numbers themselves."""

RowId: TypeAlias = int | str


@lru_cache(maxsize=8)
def ids_of(kind: RowIds, seed: int, rows: int) -> tuple[RowId, ...]:
    """The ids of all rows of a workload, in the order of the dataset; each is another one.

    Args:
        kind: how they look.
        seed: decides them.
        rows: how many there are.
    """

    def number(row: int) -> int:
        text = f"{seed}\nrow ids\n{row}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big")

    found: list[RowId] = []
    if kind == "shuffled":
        order: list[int] = sorted(range(rows), key=number)
        found.extend(order)
    elif kind == "gappy":
        last = -1
        for row in range(rows):
            last += 1 + number(row) % 9
            found.append(last)
    elif kind == "text":
        # The row's number backwards makes each one another.
        found.extend(f"{number(row):08x}-{str(row)[::-1]}" for row in range(rows))
    elif kind == "digits":
        first = number(0) % 90
        found.extend("0" * (2 - row % 3) + str(first + row // 3) for row in range(rows))
    else:
        found.extend(range(rows))
    return tuple(found)


def row_of(kind: RowIds, seed: int, rows: int, one: object) -> int:
    """The number of the row with this id; −1 for one that no row has.

    A text is no number: of the rows ``"7"`` and ``"07"`` none has the id 7.
    """
    if not isinstance(one, int | str) or isinstance(one, bool):
        return -1
    return _rows_by_id(kind, seed, rows).get(one, -1)


@lru_cache(maxsize=8)
def _rows_by_id(kind: RowIds, seed: int, rows: int) -> Mapping[RowId, int]:
    return {one: row for row, one in enumerate(ids_of(kind, seed, rows))}
