"""The pipelines in scope: every graph of a small size.

A *shape* is a pipeline without rows: for each column its kind, and which columns before it it
needs. Columns are in topological order, so a shape has edges from earlier to later columns only,
and every acyclic graph has a shape (some have several). `all_shapes` lists every DAG × every kind
of each column. Renaming columns keeps the behaviour (the argument is in ``specs/exploration.md``),
so `distinct_shapes` keeps one of each class of shapes that differ in names only, with the size of
its class.

A shape is written on one line, a word a column: ``a v:barrier(a) c(v)`` is a column, a dataset
barrier over it, and a column that needs the barrier's output. The kinds are ``row``, ``barrier``
and ``batch``, each perhaps with ``+ordered``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cellspec.errors import SpecError
from cellspec.graph.columns import ColumnDescriptor, ExecutionTraits
from cellspec.graph.graph import ExecutionGraph

__all__ = ["KINDS", "Shape", "all_shapes", "distinct_shapes", "parse_shape"]

KINDS = {
    "row": ExecutionTraits.CELL_BY_CELL,
    "barrier": ExecutionTraits.BARRIER,
    "batch": ExecutionTraits.BATCH_BARRIER,
    "row+ordered": ExecutionTraits.CELL_BY_CELL | ExecutionTraits.ORDERED,
    "barrier+ordered": ExecutionTraits.BARRIER | ExecutionTraits.ORDERED,
    "batch+ordered": ExecutionTraits.BATCH_BARRIER | ExecutionTraits.ORDERED,
}
"""The kinds of columns by name. Traits that change no step (START, ROW_STREAMABLE) are left out."""

_NAMES = "abcdefghijklmnopqrstuvwxyz"
_WORD = re.compile(r"(?P<name>\w+)(:(?P<kind>[a-z+]+))?(\((?P<needs>[\w, ]*)\))?\s*", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """A pipeline without rows.

    Attributes:
        kinds: by column, a name of `KINDS`.
        needs: by column, the columns before it that it needs, by position.
        names: the names of the columns; shapes that differ in names are equal.
    """

    kinds: tuple[str, ...]
    needs: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = field(default=tuple(_NAMES), compare=False, repr=False)

    def __str__(self) -> str:
        words = []
        for name, kind, needs in zip(self.names, self.kinds, self.needs, strict=False):
            word = name + ("" if kind == "row" else f":{kind}")
            inputs = ",".join(self.names[need] for need in needs)
            words.append(word + (f"({inputs})" if needs else ""))
        return " ".join(words)

    def graph(self, rows: int, batch_size: int | None = None) -> ExecutionGraph:
        """The graph of this shape.

        Raises:
            GraphError: a kind of batch scope without a batch size.
        """
        return ExecutionGraph(
            rows,
            [
                ColumnDescriptor(
                    name, traits=KINDS[kind], dependencies=[self.names[need] for need in needs]
                )
                for name, kind, needs in zip(self.names, self.kinds, self.needs, strict=False)
            ],
            batch_size=batch_size,
        )

    def renamed(self, places: Sequence[int]) -> Shape | None:
        """The same pipeline with column i at ``places[i]``; None if that breaks the topological
        order.

        The needs of a column are listed by position, so that equal pipelines are equal values.
        """
        kinds = [""] * len(places)
        needs: list[tuple[int, ...]] = [()] * len(places)
        for index, place in enumerate(places):
            moved = sorted(places[need] for need in self.needs[index])
            if moved and moved[-1] > place:
                return None
            kinds[place] = self.kinds[index]
            needs[place] = tuple(moved)
        return Shape(tuple(kinds), tuple(needs))


def all_shapes(columns: int, kinds: Sequence[str]) -> Iterator[Shape]:
    """Every DAG over columns in topological order × every kind of each, in a fixed order."""
    pairs = [(early, late) for late in range(columns) for early in range(late)]
    for edges in itertools.product((False, True), repeat=len(pairs)):
        chosen = [pair for pair, there in zip(pairs, edges, strict=True) if there]
        needs = tuple(
            tuple(early for early, late in chosen if late == column) for column in range(columns)
        )
        for mine in itertools.product(kinds, repeat=columns):
            yield Shape(mine, needs)


def distinct_shapes(columns: int, kinds: Sequence[str]) -> dict[Shape, int]:
    """One shape of each class that differs in names only, and how many of `all_shapes` are in it.

    The class is named by the least of its shapes that is in topological order.
    """
    orders = list(itertools.permutations(range(columns)))
    classes: dict[Shape, int] = {}
    for shape in all_shapes(columns, kinds):
        least = min(found for order in orders if (found := shape.renamed(order)) is not None)
        classes[least] = classes.get(least, 0) + 1
    return classes


def parse_shape(text: str) -> Shape:
    """Read a shape from its line. Names are any words.

    Raises:
        SpecError: a word that does not read as a column, an unknown kind, or a need that is not an
            earlier column.
    """
    kinds: list[str] = []
    needs: list[tuple[int, ...]] = []
    names: list[str] = []
    place, text = 0, text.strip()
    while place < len(text):
        word = _WORD.match(text, place)
        if word is None:
            raise SpecError(
                f"graph: expected columns as in 'a v:barrier(a) c(v)', got {text[place:]!r}"
            )
        place = word.end()
        name, kind = word["name"], word["kind"] or "row"
        if name in names:
            raise SpecError(f"graph: column {name!r} is there twice")
        if kind not in KINDS:
            raise SpecError(
                f"graph: column {name!r}: unknown kind {kind!r}; known: {', '.join(KINDS)}"
            )
        wanted = [need for need in re.split(r"[, ]+", word["needs"] or "") if need]
        for need in wanted:
            if need not in names:
                raise SpecError(f"graph: column {name!r} needs {need!r}, which no column before is")
        names.append(name)
        kinds.append(kind)
        needs.append(tuple(sorted({names.index(need) for need in wanted})))
    if not names:
        raise SpecError("graph: expected at least one column")
    return Shape(tuple(kinds), tuple(needs), tuple(names))
