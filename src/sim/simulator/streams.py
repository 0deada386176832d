"""The costs of cells that were made by a range: seconds a row, until a claim holds the rows."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence

__all__ = ["StreamCosts"]


class StreamCosts:
    """By column that makes ranges: the rows that each call gave, and the seconds of each row.

    Args:
        columns: the columns.
    """

    def __init__(self, columns: Iterable[int]) -> None:
        self._calls = {column: (array("q"), array("d")) for column in columns}

    def __contains__(self, column: int) -> bool:
        return column in self._calls

    def add(self, column: int, start: int, stop: int, row_s: float) -> None:
        """A call gave rows ``[start, stop)``, each in `row_s` seconds; perhaps none."""
        kept = self._calls.get(column)
        if kept is not None and stop > start:
            kept[0].extend((start, stop))
            kept[1].append(row_s)

    def forget(self, claim: Sequence[int]) -> None:
        """The rows below the claim of each column are safe: their costs are not asked any more."""
        for column, (bounds, seconds) in self._calls.items():
            rows = claim[column]
            left = [place for place in range(len(seconds)) if bounds[2 * place + 1] > rows]
            self._calls[column] = (
                array("q", (bounds[2 * p + k] for p in left for k in (0, 1))),
                array("d", (seconds[p] for p in left)),
            )

    def cost(self, column: int, num_records: int) -> Callable[[int], float]:
        """By row, the seconds that its cell took."""
        bounds, seconds = self._calls[column]
        of_row = array("d", bytes(8 * num_records))
        for place, each in enumerate(seconds):
            start, stop = bounds[2 * place : 2 * place + 2]
            of_row[start:stop] = array("d", [each]) * (stop - start)
        return of_row.__getitem__
