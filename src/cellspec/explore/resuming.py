"""Resumes: the states that a new process may begin in, after a crash or an interruption."""

from __future__ import annotations

from cellspec.explore.histories import Histories
from cellspec.explore.invariants import Invariants
from cellspec.explore.relation import Relation
from cellspec.explore.steps import State, Step

__all__ = ["Resumes"]


class Resumes:
    """The resumes of one graph, each worked out once.

    Args:
        relation: the steps.
        invariants: the judge of them.
        histories: the numbering of histories.
    """

    def __init__(self, relation: Relation, invariants: Invariants, histories: Histories) -> None:
        self._relation, self._invariants, self._histories = relation, invariants, histories
        self._known: dict[tuple[str, int, int], list[tuple[Step, State, str]]] = {}

    def after(self, kind: str, history: int, dropped: int) -> list[tuple[Step, State, str]]:
        """The steps to a new process, the state that it begins in, and the clause that breaks.

        Args:
            kind: crash or interrupt.
            history: the history before.
            dropped: the rows that are dropped before.
        """
        key = (kind, history, dropped)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._judged(*key)
        return found

    def _judged(self, kind: str, history: int, dropped: int) -> list[tuple[Step, State, str]]:
        relation, invariants, histories = self._relation, self._invariants, self._histories
        durable, pending = histories.claims_of(history)
        before = dropped << 2 * relation.size
        judged = []
        for outcome, claim in relation.interrupted(durable, pending):
            base = relation.restore(claim, dropped)
            clause = invariants.resume(claim, durable, pending) or invariants.restore(
                claim, before, base
            )
            step = Step(kind, claim, outcome if kind == "crash" else "")
            after = histories.resumed(history, claim, crash=kind == "crash")
            judged.append((step, State(base, after), clause))
        return judged
