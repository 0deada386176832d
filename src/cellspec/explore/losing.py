"""The steps by which results are lost: complete, not durable, and gone with a worker.

A step takes one result, of a cell or of a barrier node; the loss of several is several steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cellspec.explore.histories import Histories
from cellspec.explore.invariants import Invariants
from cellspec.explore.relation import Relation, bits
from cellspec.explore.steps import Step

__all__ = ["Loss", "Losses"]


class Loss(NamedTuple):
    """One loss: the step, with which histories, where it leads, and the clause that breaks."""

    step: Step
    histories: int
    base: int
    clause: str


class Losses:
    """The losses of one graph, those from each base worked out once.

    Args:
        relation: the steps.
        invariants: the judge of them.
        histories: the numbering of histories.
    """

    def __init__(self, relation: Relation, invariants: Invariants, histories: Histories) -> None:
        self._relation, self._invariants, self._histories = relation, invariants, histories
        self._known: dict[int, list[Loss]] = {}
        self._safe: dict[int, list[tuple[int, int]]] = {}

    def of(self, base: int) -> list[Loss]:
        """The results that a worker may take from a base."""
        found = self._known.get(base)
        if found is None:
            found = self._known[base] = list(self._of(base))
        return found

    def _of(self, base: int) -> Iterator[Loss]:
        relation = self._relation
        for place in bits(base & relation.calls):
            given = relation.outputs[place] or 1 << place
            if given not in self._safe:
                claimed = relation.claimed_cells
                self._safe[given] = self._histories.by_safe([each & given for each in claimed])
            for safe, histories in self._safe[given]:
                if relation.may_lose(base, place, safe):
                    other = relation.lose(base, place, safe)
                    clause = self._invariants.lose(base, other, place, safe)
                    yield Loss(Step("lose", place), histories, other, clause)
